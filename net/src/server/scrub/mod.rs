//! Scrubbing: everything that a restart would rely on is read from the disk again, slowly and in the background, and
//! checked as recovery would check it, so that decay is found while there is still another copy.
//!
//! What is read has been written for good: the segments of partition logs up to where the durable manifest cites them, and
//! those of the write-ahead log that are full. The manifest and the folder say which; no core is asked. Reads go past the
//! page cache and through the storage executor's bulk class, at the rate that is set. A find is told and counted and
//! changes nothing: the server goes on with what it has in memory.

mod plan;

use super::context::Context;
use super::data_dir::partition_file;
use super::segments::submit;
use super::wal_host::{segment_file, segment_sequence};
use engine::partition::{self, Manifest};
use hardware::storage::{StorageJob, StorageOutcome};
use plan::{Plan, Step, Target};
use replication::wal::{DirectoryId, SegmentSeq, check};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, error, info, warn};

/// The newest segments of the write-ahead log are being written and prepared.
const WAL_OPEN: usize = 2;

/// What scrubbing has done since the start.
#[derive(Debug, Default)]
pub struct ScrubCounters {
    /// Passes that came to their end.
    pub passes: AtomicU64,
    /// Bytes read.
    pub bytes: AtomicU64,
    /// Files found damaged or unreadable, once per pass.
    pub damage: AtomicU64,
}

/// The thread that scrubs.
pub struct Scrubber {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Scrubber {
    /// Starts it, unless it is turned off.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn start(context: &Arc<Context>) -> io::Result<Option<Scrubber>> {
        let config = &context.config.local.storage;
        if config.scrub_rate == 0 {
            return Ok(None);
        }
        let plan = Plan::new(Instant::now(), config.scrub_rate, Duration::from_millis(config.scrub_interval_ms));
        let (stop, stopped) = mpsc::channel();
        let scrub = Scrub { context: Arc::clone(context), plan, check: None, found: 0 };
        let thread = std::thread::Builder::new().name("scrub".into()).spawn(move || scrub.run(&stopped))?;
        Ok(Some(Scrubber { stop, thread }))
    }

    /// Ends it; a read under way is waited for.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            error!("scrubbing has failed; this is a bug");
        }
    }
}

/// The check of the file under way.
enum Check {
    Log(partition::SegmentCheck),
    Wal(check::SegmentCheck),
}

impl Check {
    /// Takes the file's next bytes; what is wrong with them, and where.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match self {
            Check::Log(check) => check.feed(bytes).map_err(Fault::of),
            Check::Wal(check) => check.feed(bytes).map_err(|(offset, fault)| Fault { offset, what: fault.to_string() }),
        }
    }

    /// All of it has been read.
    fn finish(&self) -> Result<(), Fault> {
        match self {
            Check::Log(check) => check.finish().map_err(Fault::of),
            Check::Wal(_) => Ok(()),
        }
    }
}

/// What is wrong with a file.
struct Fault {
    offset: u64,
    what: String,
}

impl Fault {
    fn of(damage: partition::Damage) -> Fault {
        Fault { offset: damage.offset, what: damage.fault.to_string() }
    }
}

/// How reading a range ended.
enum Reading {
    /// So many bytes, nothing wrong with them.
    Sound(u64),
    Damaged(Fault),
    /// The file is not needed any more and was removed.
    Gone,
    /// The executor is busy or stopping.
    Refused,
}

struct Scrub {
    context: Arc<Context>,
    plan: Plan,
    check: Option<Arc<Mutex<Check>>>,
    /// Files found damaged in this pass.
    found: u64,
}

impl Scrub {
    fn run(mut self, stopped: &mpsc::Receiver<()>) {
        let mut wait = Duration::ZERO;
        while stopped.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Timeout) {
            wait = Duration::ZERO;
            match self.plan.step(Instant::now()) {
                Step::Wait(time) => wait = time,
                Step::List => self.list(),
                Step::Read(target, from, to) => self.read(target, from, to),
                Step::Ended(pass) => {
                    self.context.scrub.passes.fetch_add(1, Ordering::Relaxed);
                    let (ms, bytes, damaged) = (pass.took.as_millis(), pass.bytes, self.found);
                    info!(ms, bytes, damaged, "scrubbing: all segments that are full or checkpointed were read again");
                }
            }
        }
    }

    fn list(&mut self) {
        let now = Instant::now();
        self.found = 0;
        let mut targets = self.logs();
        match wal_segments(&self.context.wal) {
            Ok(segments) => targets.extend(segments),
            Err(problem) => warn!("scrubbing: {}: {problem}", self.context.wal.display()),
        }
        self.check = None;
        self.plan.listed(now, targets);
    }

    /// The segments that the durable manifest cites.
    fn logs(&mut self) -> Vec<Target> {
        let path = self.context.manifest.clone();
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            // There has been no checkpoint yet.
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(problem) => {
                self.report(&path, None, &Fault { offset: 0, what: problem.to_string() });
                return Vec::new();
            }
        };
        match Manifest::decode(&bytes) {
            Ok(manifest) => {
                let segments = |cut: &partition::PartitionCut| {
                    let partition = cut.partition;
                    cut.segments.clone().into_iter().map(move |segment| Target::Log(partition, segment))
                };
                manifest.partitions.iter().flat_map(segments).collect()
            }
            Err(problem) => {
                self.report(&path, None, &Fault { offset: 0, what: problem.to_string() });
                Vec::new()
            }
        }
    }

    fn path(&self, target: Target) -> PathBuf {
        match target {
            Target::Log(partition, cut) => {
                partition_file(&self.context.partitions, partition.0, cut.generation, cut.segment)
            }
            Target::Wal(sequence, _) => segment_file(&self.context.wal, sequence),
        }
    }

    fn read(&mut self, target: Target, from: u64, to: u64) {
        let path = self.path(target);
        let check = match &self.check {
            Some(check) if from > 0 => Arc::clone(check),
            _ => {
                let check = Arc::new(Mutex::new(match target {
                    Target::Log(partition, cut) => Check::Log(partition::SegmentCheck::new(partition, cut)),
                    Target::Wal(sequence, _) => {
                        Check::Wal(check::SegmentCheck::new(DirectoryId(self.context.directory_id), sequence))
                    }
                }));
                self.check = Some(Arc::clone(&check));
                check
            }
        };
        let reading = self.read_range(&path, from, to, &check);
        let now = Instant::now();
        match reading {
            Reading::Sound(bytes) => {
                self.context.scrub.bytes.fetch_add(bytes, Ordering::Relaxed);
                if self.plan.read(now, bytes)
                    && let Err(fault) = lock(&check).finish()
                    && path.exists()
                {
                    self.report(&path, Some(target), &fault);
                }
            }
            // What is put to another use, or cut down, while it is read, has another name by then.
            Reading::Damaged(_) if !path.exists() => self.plan.skip(),
            Reading::Damaged(fault) => {
                self.report(&path, Some(target), &fault);
                self.plan.skip();
            }
            Reading::Gone => {
                debug!(path = %path.display(), "scrubbing: removed meanwhile");
                self.plan.skip();
            }
            Reading::Refused => self.plan.put_off(now),
        }
    }

    /// Reads a range through the storage executor, into the check.
    fn read_range(&self, path: &Path, from: u64, to: u64, check: &Arc<Mutex<Check>>) -> Reading {
        let found = Arc::new(Mutex::new(None));
        let (into, faults) = (Arc::clone(check), Arc::clone(&found));
        let each = Box::new(move |_: u64, bytes: &[u8]| match lock(&into).feed(bytes) {
            Ok(()) => true,
            Err(fault) => {
                lock(&faults).get_or_insert(fault);
                false
            }
        });
        let (done, ended) = mpsc::channel();
        let job = StorageJob::ReadStream { path: path.to_path_buf(), from, to, chunk: 256 << 10, each };
        let report = move |result| {
            let _ = done.send(result);
        };
        if submit(&self.context.storage, job, Box::new(report)).is_err() {
            return Reading::Refused;
        }
        let result = ended.recv();
        if let Some(fault) = lock(&found).take() {
            return Reading::Damaged(fault);
        }
        match result {
            Ok(Ok(StorageOutcome::Streamed(bytes))) => Reading::Sound(bytes),
            Ok(Err(problem)) if problem.kind() == io::ErrorKind::NotFound => Reading::Gone,
            Ok(Err(problem)) if problem.kind() != io::ErrorKind::Interrupted => {
                Reading::Damaged(Fault { offset: from, what: problem.to_string() })
            }
            _ => Reading::Refused,
        }
    }

    fn report(&mut self, path: &Path, target: Option<Target>, fault: &Fault) {
        self.found += 1;
        self.context.scrub.damage.fetch_add(1, Ordering::Relaxed);
        let (file, offset, what) = (path.display(), fault.offset, &fault.what);
        match target {
            Some(Target::Log(partition, _)) if self.context.config.ensemble.is_distributed() => error!(
                %file, offset, partition = partition.0,
                "scrubbing found damage in {file}, offset {offset}, partition {}: {what}. The server goes on, but cannot \
                 serve what is there: check the disk and start this member again, and it takes its state from its leader",
                partition.0
            ),
            Some(Target::Log(partition, _)) => error!(
                %file, offset, partition = partition.0,
                "scrubbing found damage in {file}, offset {offset}, partition {}: {what}. The server goes on, but cannot \
                 serve what is there and would not start again: save the data through a client, check the disk, and \
                 restore the data directory from a backup", partition.0
            ),
            Some(Target::Wal(..)) => error!(
                %file, offset,
                "scrubbing found damage in {file}, offset {offset}: {what}. The server goes on, for it has applied what was \
                 there; stop it with SIGTERM, which writes a checkpoint that does without, and check the disk"
            ),
            None => error!(
                %file, offset,
                "scrubbing found damage in {file}: {what}. The server goes on, but would not start again before the next \
                 checkpoint; stop it with SIGTERM, which writes one, and check the disk"
            ),
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The segments in the log's folder that are written no more, oldest first.
fn wal_segments(folder: &Path) -> io::Result<Vec<Target>> {
    let mut segments: Vec<(SegmentSeq, u64)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if let (Some(sequence), Ok(meta)) = (segment_sequence(&entry.path()), entry.metadata()) {
            segments.push((sequence, meta.len()));
        }
    }
    segments.sort_unstable_by_key(|(sequence, _)| *sequence);
    segments.truncate(segments.len().saturating_sub(WAL_OPEN));
    Ok(segments.into_iter().map(|(sequence, bytes)| Target::Wal(sequence, bytes)).collect())
}
