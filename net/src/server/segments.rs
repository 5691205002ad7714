//! Segment files of partition logs: the bridge between what a log asks for and the files that hold it.

use super::data_dir::partition_file;
use super::log_space::ShardSpace;
use super::mail::{Mail, ShardMail};
use super::post::{Post, deliver};
use super::spares::Spares;
use bytes::Bytes;
use engine::ids::PartitionId;
use engine::partition::{LogAction, PartitionCut};
use hardware::block_file::BlockFile;
use hardware::mapping::MappedSegment;
use hardware::reactor::Reactor;
use hardware::storage::{StorageHandle, StorageJob, StorageOutcome, StorageResult};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Which segment of which log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentKey {
    /// The partition.
    pub partition: PartitionId,
    /// Generation of its log.
    pub generation: u32,
    /// Index of the segment.
    pub segment: u32,
}

/// An open segment.
pub struct OpenSegment {
    /// For writing.
    pub file: Arc<BlockFile>,
    /// For reading.
    pub map: Arc<MappedSegment>,
    /// Written to since a checkpoint last flushed it.
    pub unflushed: bool,
    /// Bytes written to it, or on their way.
    end: u64,
    /// Writes under way, in the order of their offsets. The ring may end them in another.
    writes: VecDeque<Writing>,
}

impl OpenSegment {
    /// A segment whose file and map are open.
    pub fn new(file: Arc<BlockFile>, map: Arc<MappedSegment>) -> OpenSegment {
        let end = map.published() as u64;
        OpenSegment { file, map, unflushed: false, end, writes: VecDeque::new() }
    }

    /// One write has ended; up to where everything has, if that moved.
    fn ended(&mut self, token: u64) -> Option<u64> {
        self.writes.iter_mut().filter(|write| write.token == token).for_each(|write| write.ended = true);
        let mut upto = None;
        while let Some(write) = self.writes.pop_front_if(|write| write.ended) {
            upto = Some(write.end);
        }
        upto
    }
}

struct Writing {
    token: u64,
    end: u64,
    ended: bool,
}

/// The segment files of one shard.
pub struct Segments {
    folder: PathBuf,
    open: HashMap<SegmentKey, OpenSegment>,
    writing: HashMap<u64, SegmentKey>,
    preparing: HashSet<SegmentKey>,
    next_token: u64,
    storage: StorageHandle,
    spares: Spares,
    space: ShardSpace,
    /// Sum of the ends of all open segments.
    written: u64,
    /// Sum of their sizes.
    allocated: u64,
}

/// Bytes of emptied segments that a server keeps to use them again, if its logs take as many. Enough for what compaction
/// frees between two checkpoints unless the load is heavy, and then it is a small part of what the logs take.
const SPARE_BYTES_MAX: u64 = 64 << 20;

/// Tokens of log writes have this bit, those of the write-ahead log do not.
pub const LOG_TOKEN: u64 = 1 << 63;

/// Tokens that nobody else in this process counts through: a shard that takes another's place must not take what is still
/// under way for its own.
pub fn first_token() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1 << 40, Ordering::Relaxed) & !LOG_TOKEN
}

impl Segments {
    /// The segments that recovery opened, in `folder`.
    pub fn new(
        folder: PathBuf,
        open: HashMap<SegmentKey, OpenSegment>,
        storage: StorageHandle,
        space: ShardSpace,
    ) -> Segments {
        let written = open.values().map(|segment| segment.end).sum();
        let allocated = open.values().map(|segment| segment.map.len() as u64).sum();
        space.set_written(written);
        Segments {
            folder,
            open,
            writing: HashMap::new(),
            preparing: HashSet::new(),
            next_token: first_token() | LOG_TOKEN,
            storage,
            spares: Spares::default(),
            space,
            written,
            allocated,
        }
    }

    /// Carries out one action of a log.
    ///
    /// # Errors
    /// The log names a segment that is not open, or the storage executor takes no more work: both end the server.
    pub fn carry_out(&mut self, action: LogAction, reactor: &mut Reactor, post: &Post) -> io::Result<()> {
        match action {
            LogAction::NeedSegment { partition, generation, segment, bytes } => {
                self.prepare(SegmentKey { partition, generation, segment }, bytes, post)
            }
            LogAction::Write { partition, generation, segment, offset, bytes } => {
                self.write(SegmentKey { partition, generation, segment }, offset, bytes, reactor)
            }
            LogAction::RemoveSegment { partition, generation, segment } => {
                self.remove(SegmentKey { partition, generation, segment }, post)
            }
        }
    }

    /// A segment is there. False if it was asked for by a shard whose place this one has taken.
    pub fn opened(&mut self, key: SegmentKey, file: Arc<BlockFile>, map: Arc<MappedSegment>) -> bool {
        if !self.preparing.remove(&key) {
            return false;
        }
        self.allocated += map.len() as u64;
        self.open.insert(key, OpenSegment { unflushed: true, ..OpenSegment::new(file, map) });
        true
    }

    /// A write has ended; which segment is now readable up to where.
    ///
    /// # Errors
    /// What the system said: the first failed write is the last.
    pub fn written(&mut self, token: u64, result: io::Result<usize>) -> io::Result<Option<(SegmentKey, u64)>> {
        let Some(key) = self.writing.remove(&token) else { return Ok(None) };
        result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path(key).display())))?;
        let Some(segment) = self.open.get_mut(&key) else { return Ok(None) };
        segment.unflushed = true;
        let Some(end) = segment.ended(token) else { return Ok(None) };
        segment.map.publish(usize::try_from(end).unwrap_or(usize::MAX));
        Ok(Some((key, end)))
    }

    /// The files that these cuts rely on and that were written to since they were last asked for. What compaction has
    /// emptied is left out, and so need not go to the disk any more.
    pub fn take_unflushed(&mut self, cuts: &[PartitionCut]) -> Vec<Arc<BlockFile>> {
        let mut files = Vec::new();
        for cut in cuts {
            for segment in &cut.segments {
                let key =
                    SegmentKey { partition: cut.partition, generation: segment.generation, segment: segment.segment };
                if let Some(open) = self.open.get_mut(&key).filter(|open| open.unflushed) {
                    open.unflushed = false;
                    files.push(Arc::clone(&open.file));
                }
            }
        }
        files
    }

    /// So many bytes of the logs say what is.
    pub fn set_live(&self, bytes: u64) {
        self.space.set_live(bytes);
    }

    /// The paths of all open segments.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.open.keys().map(|key| self.path(*key))
    }

    /// The file of a segment.
    ///
    /// # Errors
    /// It is not open.
    pub fn file(&self, key: SegmentKey) -> io::Result<Arc<BlockFile>> {
        let open = self.open.get(&key).map(|segment| Arc::clone(&segment.file));
        open.ok_or_else(|| io::Error::other(format!("{} is not open", self.path(key).display())))
    }

    fn path(&self, key: SegmentKey) -> PathBuf {
        partition_file(&self.folder, key.partition.0, key.generation, key.segment)
    }

    fn prepare(&mut self, key: SegmentKey, bytes: u64, post: &Post) -> io::Result<()> {
        let reply = post.return_address();
        let done = move |result: StorageResult| {
            let result = result.and_then(|outcome| match outcome {
                StorageOutcome::Mapped(file, map) => Ok((file, map)),
                _ => Err(io::Error::other("a segment was prepared without a map")),
            });
            let SegmentKey { partition, generation, segment } = key;
            let mail = ShardMail::Segment { partition, generation, segment, result };
            deliver(&reply, Mail::Shard(mail));
        };
        let path = self.path(key);
        // A crash may have left a file of this name that no manifest knows.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.preparing.insert(key);
        let instead_of = self.spares.take(bytes);
        submit(&self.storage, StorageJob::PrepareMapped { path, bytes, instead_of }, Box::new(done))
    }

    fn write(&mut self, key: SegmentKey, offset: u64, bytes: Bytes, reactor: &mut Reactor) -> io::Result<()> {
        let path = self.path(key);
        let Some(segment) = self.open.get_mut(&key) else {
            return Err(io::Error::other(format!("a log writes to {}, which is not open", path.display())));
        };
        let token = self.next_token;
        self.next_token = self.next_token.wrapping_add(1) | LOG_TOKEN;
        self.writing.insert(token, key);
        let end = offset + bytes.len() as u64;
        segment.writes.push_back(Writing { token, end, ended: false });
        self.written += end.saturating_sub(segment.end);
        segment.end = segment.end.max(end);
        self.space.set_written(self.written);
        reactor.write_bytes(token, &segment.file, offset, bytes.into());
        Ok(())
    }

    fn remove(&mut self, key: SegmentKey, post: &Post) -> io::Result<()> {
        let path = self.path(key);
        let Some(OpenSegment { file, map, end, .. }) = self.open.remove(&key) else {
            return Err(io::Error::other(format!("a log does without {}, which is not open", path.display())));
        };
        self.written -= end;
        self.space.set_written(self.written);
        let bytes = map.len() as u64;
        self.allocated -= bytes;
        let spare_max = self.space.share_of(SPARE_BYTES_MAX).min(self.allocated);
        // Who still has it goes on reading what it held.
        let unread = Arc::into_inner(map).is_some() && Arc::into_inner(file).is_some();
        let paths = if unread { self.spares.put(path, bytes, spare_max) } else { vec![path] };
        if paths.is_empty() {
            return Ok(());
        }
        let reply = post.return_address();
        let done = move |result: StorageResult| {
            if let Err(error) = result {
                deliver(&reply, Mail::Removed(Err(error)));
            }
        };
        submit(&self.storage, StorageJob::Remove { paths, unread }, Box::new(done))
    }
}

/// Gives the storage executor a job.
///
/// # Errors
/// It takes none: it has stopped, or its bounded queue is full.
pub fn submit(storage: &StorageHandle, job: StorageJob, done: hardware::storage::StorageDone) -> io::Result<()> {
    storage.submit(job, done).map_err(|refused| io::Error::other(refused.reason))
}
