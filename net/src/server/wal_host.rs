//! The write-ahead log on the core that hosts the replication role: its writes go to the ring, its segments are made
//! ready by the storage executor.
//!
//! A segment is zeroed (or taken from the retired ones as it is), given a header with a fresh identity under a temporary
//! name, flushed, renamed, and its folder flushed, before the log hears of it.

use super::mail::Mail;
use super::post::{Post, deliver};
use super::restore::WalSegment;
use super::segments::submit;
use crate::metrics::{AdvancedSummary, BasicSummary, CoreMetrics};
use bytes::Bytes;
use engine::zxid::Zxid;
use hardware::aligned::AlignedBuf;
use hardware::block_file::{BlockFile, PreferDirect, WriteSync};
use hardware::data_dir::dir_sync;
use hardware::mailbox::MailSender;
use hardware::reactor::Reactor;
use hardware::storage::{StorageHandle, StorageJob, StorageOutcome, StorageResult};
use replication::wal::read::BatchPlace;
use replication::wal::{
    AppendError, DirectoryId, Durable, LogLayout, Prepare, SegmentHandle, SegmentHeader, SegmentIdentity, SegmentSeq,
    TruncateError, Truncation, WalWriter, WriteToken,
};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{error, warn};

/// Retired segments kept aside for use as new ones; more are removed.
const SPARES_MAX: usize = 8;
/// How long after a failed preparation the next one is tried.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

/// Where and how a log is kept.
#[derive(Clone, Debug)]
pub struct WalPlace {
    /// Its folder.
    pub folder: PathBuf,
    /// The data directory's id.
    pub directory: DirectoryId,
    /// The server's id, written into headers.
    pub server: u64,
    /// Whether a write is durable when it ends (`forceSync`).
    pub sync: WriteSync,
    /// Flushes slower than this are named in the log.
    pub slow_flush: Duration,
    /// Bytes of segments that are kept for learners.
    pub keep_bytes: u64,
}

/// The log, hosted.
pub struct WalHost {
    writer: WalWriter,
    place: WalPlace,
    storage: StorageHandle,
    files: HashMap<SegmentSeq, Arc<BlockFile>>,
    in_flight: Option<(WriteToken, Instant, u64)>,
    next_token: u64,
    records_waiting: u64,
    spares: Vec<PathBuf>,
    prepare_again: Option<Instant>,
    failure: Option<String>,
}

/// File name of a segment.
pub fn segment_file(folder: &Path, sequence: SegmentSeq) -> PathBuf {
    folder.join(format!("{:016}.wal", sequence.0))
}

/// Sequence of a segment file, if the name is one.
pub fn segment_sequence(path: &Path) -> Option<SegmentSeq> {
    let name = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    if name.len() == 16 { name.parse().ok().map(SegmentSeq) } else { None }
}

impl WalHost {
    /// Hosts a log; `files` are the segments that it holds.
    pub fn new(
        writer: WalWriter,
        place: WalPlace,
        files: HashMap<SegmentSeq, Arc<BlockFile>>,
        storage: StorageHandle,
    ) -> WalHost {
        WalHost {
            writer,
            place,
            storage,
            files,
            in_flight: None,
            next_token: 0,
            records_waiting: 0,
            spares: Vec::new(),
            prepare_again: None,
            failure: None,
        }
    }

    /// Gathers a transaction into the next write.
    pub fn append(&mut self, zxid: Zxid, bytes: &[u8]) {
        match self.writer.append(zxid, bytes) {
            Ok(()) => self.records_waiting += 1,
            Err(problem) => self.fail(format!("transaction {zxid} cannot be logged: {problem}")),
        }
    }

    /// Whether more transactions may be appended; where not, segments or flushes are late.
    pub fn has_room(&self) -> bool {
        self.writer.has_room(1 << 20)
    }

    /// The durable end.
    pub fn durable(&self) -> Durable<Zxid> {
        self.writer.durable()
    }

    /// Drops everything behind `to`; see [`WalWriter::truncate`].
    ///
    /// # Errors
    /// When the log does not reach back so far.
    pub fn truncate(&mut self, to: Zxid) -> Result<Truncation, TruncateError> {
        self.writer.truncate(to)
    }

    /// Begins the log anew behind a state that was taken from elsewhere, with these records; see [`WalWriter::reset`].
    ///
    /// # Errors
    /// When the log has failed, or cannot take the records.
    pub fn reset(&mut self, base: Zxid, records: &[(Zxid, Bytes)]) -> Result<(), AppendError> {
        self.writer.reset(base, records.iter().map(|(zxid, record)| (*zxid, &record[..])))?;
        self.records_waiting = records.len() as u64;
        Ok(())
    }

    /// Whether a cut is not durable yet.
    pub fn is_cutting(&self) -> bool {
        self.writer.is_cutting()
    }

    /// Whether the log is still to be begun anew behind a state that was taken from elsewhere.
    pub fn is_resetting(&self) -> bool {
        self.writer.is_resetting()
    }

    /// Why this log takes no more, if so: the server must stop.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// When to look again although nothing has happened.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.prepare_again
    }

    /// Issues the write that is due, and asks for the segment that will be.
    pub fn submit(&mut self, commit: Zxid, reactor: &mut Reactor, post: &Post) {
        if self.prepare_again.is_none_or(|at| Instant::now() >= at) {
            self.prepare_again = None;
            if let Some(prepare) = self.writer.poll_prepare() {
                self.prepare(prepare, post);
            }
        }
        let Some(write) = self.writer.poll_write(commit) else { return };
        let Some(file) = self.files.get(&write.segment) else {
            return self.fail(format!("segment {} of the log is not open", write.segment.0));
        };
        self.next_token += 1;
        self.in_flight = Some((write.token, Instant::now(), std::mem::take(&mut self.records_waiting)));
        reactor.write(self.next_token, file, write.offset, write.buf, self.place.sync);
    }

    /// A write has ended. Everything up to the returned zxid is durable.
    pub fn written(
        &mut self,
        result: io::Result<usize>,
        buf: AlignedBuf,
        metrics: &mut CoreMetrics,
    ) -> Option<Durable<Zxid>> {
        let (token, begun, records) = self.in_flight.take()?;
        let took = begun.elapsed();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        metrics.add(BasicSummary::FsyncTime, took_ms);
        metrics.add(BasicSummary::LogBatchSize, records);
        metrics.add_advanced(AdvancedSummary::LogFlushTime, took_ms);
        if took >= self.place.slow_flush {
            metrics.slow_flushes += 1;
            warn!(took_ms, "flushing the transaction log took long; the disk is slow or busy");
        }
        self.writer.recycle(buf);
        match self.writer.written(token, result) {
            Ok(durable) => Some(durable),
            Err(problem) => {
                self.fail(problem.to_string());
                None
            }
        }
    }

    /// A segment is ready, or could not be made.
    pub fn prepared(&mut self, sequence: u64, result: io::Result<(SegmentHandle, Arc<BlockFile>)>) {
        match result {
            Ok((handle, file)) => match self.writer.prepared(handle) {
                Ok(()) => {
                    self.files.insert(handle.sequence, file);
                }
                Err(problem) => self.fail(problem.to_string()),
            },
            Err(problem) => {
                error!(
                    segment = sequence,
                    "the next segment of the transaction log cannot be made: {problem}; free space in {}. Writes wait \
                     until then",
                    self.place.folder.display()
                );
                self.writer.prepare_failed();
                self.prepare_again = Some(Instant::now() + PREPARE_AGAIN);
            }
        }
    }

    /// What is durable, and where it lies.
    pub fn layout(&self) -> &LogLayout {
        self.writer.layout()
    }

    /// The data directory's id.
    pub fn directory(&self) -> DirectoryId {
        self.place.directory
    }

    /// The files that these batches lie in, to be read by another thread: they stay open even if they retire meanwhile.
    pub fn segments_of(&self, places: &[BatchPlace]) -> Vec<WalSegment> {
        let mut segments: Vec<WalSegment> = Vec::new();
        for place in places {
            if segments.last().is_none_or(|last| last.sequence != place.segment)
                && let Some(file) = self.files.get(&place.segment)
            {
                segments.push(WalSegment { sequence: place.segment, file: Arc::clone(file), blocks: u32::MAX });
            }
        }
        segments
    }

    /// A checkpoint at `upto` is durable: segments that nobody needs are kept aside or removed. What a learner is being
    /// given from behind `reading` on stays, unless it holds up more than twice what is kept anyway.
    pub fn retire(&mut self, upto: Zxid, reading: Option<Zxid>, post: &Post) {
        let pinned = reading.filter(|_| self.layout().bytes() <= self.place.keep_bytes.saturating_mul(2));
        let upto = pinned.map_or(upto, |pinned| pinned.min(upto));
        for retired in self.writer.retire(upto) {
            let file = self.files.remove(&retired.sequence);
            let path = segment_file(&self.place.folder, retired.sequence);
            let aside = self.place.folder.join(format!("spare-{}", retired.sequence.0));
            // A start removes what has this name, whole or not.
            let is_aside = fs::rename(&path, &aside).is_ok();
            if is_aside && self.spares.len() < SPARES_MAX {
                self.spares.push(aside);
                continue;
            }
            let reply = post.return_address();
            let done = move |result: StorageResult| {
                if let Err(problem) = result {
                    deliver(&reply, Mail::Removed(Err(problem)));
                }
            };
            // Who reads it for a learner goes on doing so.
            let unread = is_aside && file.is_none_or(|file| Arc::into_inner(file).is_some());
            let job = StorageJob::Remove { paths: vec![if is_aside { aside } else { path }], unread };
            if let Err(problem) = submit(&self.storage, job, Box::new(done)) {
                warn!("a retired segment of the transaction log stays: {problem}");
            }
        }
    }

    fn fail(&mut self, why: String) {
        self.failure.get_or_insert(why);
    }

    fn prepare(&mut self, prepare: Prepare, post: &Post) {
        let fits = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.len() == prepare.bytes);
        let spare = self.spares.iter().position(fits).map(|at| self.spares.swap_remove(at));
        let finish = Finish { prepare, place: self.place.clone(), reply: post.return_address() };
        let path = self.place.folder.join(format!("prepare-{}", prepare.sequence.0));
        let started = match spare {
            Some(spare) => fs::rename(&spare, &path).and_then(|()| finish.clone().submit(path, &self.storage)),
            None => {
                let storage = self.storage.clone();
                let zeroed = path.clone();
                let finishing = finish.clone();
                let done = move |result: StorageResult| {
                    let next = match result {
                        Ok(StorageOutcome::File(_)) => finishing.clone().submit(zeroed, &storage),
                        Ok(_) => Err(io::Error::other("a segment was prepared without a file")),
                        Err(problem) => Err(problem),
                    };
                    if let Err(problem) = next {
                        finishing.report(Err(problem));
                    }
                };
                let _ = fs::remove_file(&path);
                let job = StorageJob::PrepareFile { path, bytes: prepare.bytes, zero: true, direct: PreferDirect::Yes };
                submit(&self.storage, job, Box::new(done))
            }
        };
        if let Err(problem) = started {
            self.prepared(prepare.sequence.0, Err(problem));
        }
    }
}

/// The last steps of making a segment ready.
#[derive(Clone)]
struct Finish {
    prepare: Prepare,
    place: WalPlace,
    reply: MailSender<Mail>,
}

impl Finish {
    fn submit(self, path: PathBuf, storage: &StorageHandle) -> io::Result<()> {
        let step = move || {
            let result = self.carry_out(&path);
            if result.is_err() {
                let _ = fs::remove_file(&path);
            }
            self.report(result);
            false
        };
        submit(storage, StorageJob::Compute { step: Box::new(step) }, Box::new(|_| ()))
    }

    fn carry_out(&self, path: &Path) -> io::Result<(SegmentHandle, Arc<BlockFile>)> {
        let Prepare { sequence, bytes } = self.prepare;
        let identity = SegmentIdentity(fresh_identity()?);
        let header =
            SegmentHeader { directory: self.place.directory, server: self.place.server, sequence, identity, bytes };
        let file = BlockFile::open(path, PreferDirect::Yes)?;
        file.write_at(0, header.encode().as_slice(), WriteSync::Data)?;
        file.sync_data()?;
        let name = segment_file(&self.place.folder, sequence);
        fs::rename(path, &name)?;
        dir_sync(&self.place.folder)?;
        // Opened again under its lasting name, which errors will cite.
        Ok((SegmentHandle { sequence, identity, bytes }, BlockFile::open(&name, PreferDirect::Yes)?))
    }

    fn report(&self, result: io::Result<(SegmentHandle, Arc<BlockFile>)>) {
        deliver(&self.reply, Mail::WalSegment { sequence: self.prepare.sequence.0, result });
    }
}

fn fresh_identity() -> io::Result<u64> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u64::from_le_bytes(bytes) | 1)
}
