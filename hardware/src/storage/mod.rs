//! Bulk file work off the request path: preparing segments, flushing, scanning, compaction, exports.
//!
//! Jobs run on classes of plain threads, so that a segment which a core waits for is never behind a long scan, nor behind the
//! removal of what is no longer needed.
//! Streams use direct I/O through glommio, which keeps some transfers in flight and hot pages in the cache; where glommio
//! cannot start (io_uring forbidden, locked memory too small) or a file system has no direct I/O, plain calls do the same.
//!
//! Nothing here is on the path of a request, and nothing waits here for a core: results go to a callback, which should
//! do no more than put a message into a mailbox.
//!
//! | file | idea |
//! |---|---|
//! | `inbox` | the bounded queues between the cores and the executor |
//! | `workers` | the threads |
//! | `calls` | jobs that are a few system calls |
//! | `stream` | reading and writing front to back, direct or not |
//! | `direct` | direct transfers: requests, answers, and what happens when none comes |
//! | `glommio_io` | the thread of the process that carries them out |

mod calls;
mod direct;
mod glommio_io;
mod inbox;
mod stream;
mod workers;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::block_file::{BlockFile, PreferDirect};
use crate::mapping::MappedSegment;

use self::direct::Direct;
use self::inbox::Inbox;

/// A piece of bulk file work.
///
/// Callbacks run on one of the executor's threads. Those of a stream keep only it waiting, all others should be short.
pub enum StorageJob {
    /// Creates a file of `bytes`, allocates it, writes zeroes over it if asked (so that later writes change no metadata),
    /// and flushes it and its directory. Fails if the file exists; leaves nothing behind when it fails. Foreground.
    PrepareFile {
        /// Where.
        path: PathBuf,
        /// How long.
        bytes: u64,
        /// Whether to write zeroes.
        zero: bool,
        /// Whether the file handed out is to be direct.
        direct: PreferDirect,
    },
    /// Creates a buffered file of `bytes` and maps all of it, with nothing published yet. Flushes the directory. Fails if
    /// the file exists; leaves nothing behind when it fails. Foreground.
    PrepareMapped {
        /// Where.
        path: PathBuf,
        /// How long.
        bytes: u64,
        /// A file that nobody has open or mapped, to be renamed for this if it is as long: that allocates nothing and frees
        /// nothing. It keeps its bytes, and takes the place of a file that is there.
        instead_of: Option<PathBuf>,
    },
    /// Flushes each file (fdatasync), up to the first that fails; in small pieces if there are to be pauses. Foreground.
    SyncFiles {
        /// Which.
        files: Vec<Arc<BlockFile>>,
        /// How much of the disk's time it leaves to others.
        pace: Pace,
        /// Asked again and again: whether there are to be no pauses now.
        hurry: Box<dyn Fn() -> bool + Send>,
    },
    /// Replaces a small file atomically and durably, as [`crate::data_dir::replace_file`]. Foreground.
    ReplaceFile {
        /// Which.
        path: PathBuf,
        /// The new content.
        bytes: Vec<u8>,
    },
    /// Removes files one by one, also ones that are gone already, each with a flush of its directory. On a thread of its own,
    /// with pauses unless many such jobs wait, because nobody waits for them and a device may take long over what it is told
    /// is free. Never refused for a full queue: there are no more of them than files, which would stay.
    Remove {
        /// Which.
        paths: Vec<PathBuf>,
        /// Nobody has them open or mapped any more: large ones are renamed (`.removing` behind the name, which a crash may
        /// leave) and cut down step by step.
        unread: bool,
    },
    /// Reads a file front to back, past the page cache where possible. Bulk.
    ReadStream {
        /// Which.
        path: PathBuf,
        /// First byte.
        from: u64,
        /// End (not included); the end of the file if that comes first.
        to: u64,
        /// Most bytes per call.
        chunk: usize,
        /// Takes an offset in the file and the bytes there, in order and without gaps; `false` ends the reading early.
        each: ReadSink,
    },
    /// Writes a file front to back (replacing one that exists), past the page cache where possible, and flushes it and its
    /// directory. Leaves nothing behind when it fails. Bulk.
    WriteStream {
        /// Which.
        path: PathBuf,
        /// Appends the next bytes to the (empty) buffer; `false` with or after the last.
        source: WriteSource,
    },
    /// Computes in steps, between which it can be cancelled. Foreground.
    Compute {
        /// Does one step; `false` after the last.
        step: Box<dyn FnMut() -> bool + Send>,
    },
}

/// How gently a job uses the disk. Writes in front of which a whole flush lies wait as long as that takes; with pauses they
/// wait for a piece of it. There are none any more once the executor shuts down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// After each piece comes a pause of so many times what the piece took.
    pub times: u32,
    /// All pauses together, at the most; what is left then is done in one go.
    pub all_at_most: Duration,
}

impl Pace {
    /// No pauses.
    pub const AT_ONCE: Pace = Pace { times: 0, all_at_most: Duration::ZERO };
}

/// Takes an offset in the file and the bytes there; returns whether to go on.
pub type ReadSink = Box<dyn FnMut(u64, &[u8]) -> bool + Send>;

/// Appends the next bytes; returns whether there are more.
pub type WriteSource = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

/// What a job that succeeded leaves.
#[derive(Debug)]
pub enum StorageOutcome {
    /// [`StorageJob::PrepareFile`].
    File(Arc<BlockFile>),
    /// [`StorageJob::PrepareMapped`].
    Mapped(Arc<BlockFile>, Arc<MappedSegment>),
    /// [`StorageJob::ReadStream`] and [`StorageJob::WriteStream`]: bytes read or written.
    Streamed(u64),
    /// [`StorageJob::SyncFiles`].
    Synced {
        /// How much of the time were pauses.
        paused: Duration,
    },
    /// All others.
    Done,
}

/// The outcome, or the first error, with the path it concerns in its text and its kind kept. A job that shutting down
/// cancelled fails with [`io::ErrorKind::Interrupted`].
pub type StorageResult = io::Result<StorageOutcome>;

/// Takes the result, on the executor's thread. Called exactly once for every job that was accepted.
pub type StorageDone = Box<dyn FnOnce(StorageResult) + Send>;

/// What carries out the streams; all else runs on plain threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageBackend {
    /// glommio, with direct I/O. All executors of a process share it, and it ends with the process.
    Glommio,
    /// Plain threads, through the page cache.
    Threads,
}

/// Sizes of a [`StorageExecutor`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Jobs that may wait per class (foreground, bulk); more are refused.
    pub queue_max: usize,
    /// Foreground jobs under way at once: so many threads.
    pub foreground_max: usize,
    /// Bulk jobs under way at once: so many threads; each takes up to 4 MiB of buffers.
    pub bulk_max: usize,
    /// Insist on a backend; `None` tries glommio and falls back to threads.
    pub backend: Option<StorageBackend>,
}

impl Default for StorageConfig {
    fn default() -> StorageConfig {
        StorageConfig { queue_max: 1024, foreground_max: 4, bulk_max: 2, backend: None }
    }
}

/// A job that was not accepted, with its callback.
pub struct Refused {
    /// The job.
    pub job: StorageJob,
    /// Its callback, not called.
    pub done: StorageDone,
    /// Why.
    pub reason: RefusedReason,
}

/// Why a job was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefusedReason {
    /// Too many of its class wait.
    #[error("the storage executor's queue is full; try again when a job has ended")]
    Full,
    /// The executor is shutting down or has failed.
    #[error("the storage executor has stopped")]
    Stopped,
}

/// What becomes of waiting jobs at shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// They are carried out.
    Drain,
    /// They are cancelled, and so are streams and computations under way, at their next step.
    Cancel,
}

/// The executor; dropping it shuts it down with [`Shutdown::Cancel`].
#[derive(Debug)]
pub struct StorageExecutor {
    handle: StorageHandle,
    backend: StorageBackend,
    threads: Vec<JoinHandle<()>>,
}

/// Submits jobs from any thread.
#[derive(Debug, Clone)]
pub struct StorageHandle {
    inbox: Arc<Inbox>,
}

impl StorageExecutor {
    /// Starts the executor's threads.
    ///
    /// # Errors
    /// When no thread can be started, or when glommio was insisted on and cannot start.
    pub fn start(config: StorageConfig) -> io::Result<StorageExecutor> {
        let direct = match config.backend {
            Some(StorageBackend::Threads) => None,
            Some(StorageBackend::Glommio) => Some(Direct::of_process()?),
            None => Direct::of_process()
                .inspect_err(|error| tracing::warn!(%error, "glommio cannot start; streams go through the page cache"))
                .ok(),
        };
        let backend = if direct.is_some() { StorageBackend::Glommio } else { StorageBackend::Threads };
        let inbox = Arc::new(Inbox::new(config.queue_max));
        let handle = StorageHandle { inbox: Arc::clone(&inbox) };
        let mut executor = StorageExecutor { handle, backend, threads: Vec::new() };
        workers::start(&inbox, &config, direct.as_ref(), &mut executor.threads)?;
        tracing::info!(?backend, "storage executor started");
        Ok(executor)
    }

    /// What carries out the streams.
    pub fn backend(&self) -> StorageBackend {
        self.backend
    }

    /// For submitting from other threads.
    pub fn handle(&self) -> StorageHandle {
        self.handle.clone()
    }

    /// As [`StorageHandle::submit`].
    ///
    /// # Errors
    /// [`Refused`], with the job.
    pub fn submit(&self, job: StorageJob, done: StorageDone) -> Result<(), Box<Refused>> {
        self.handle.submit(job, done)
    }

    /// Accepts no more jobs, deals with those that wait as `how` says, and returns when all callbacks were called and all
    /// threads have ended. Must not be called from a callback.
    pub fn shutdown(mut self, how: Shutdown) {
        self.stop(how);
    }

    fn stop(&mut self, how: Shutdown) {
        self.handle.inbox.close(how);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the storage executor panicked");
            }
        }
    }
}

impl Drop for StorageExecutor {
    fn drop(&mut self) {
        self.stop(Shutdown::Cancel);
    }
}

impl StorageHandle {
    /// Queues `job`; `done` gets its result. Does not block. Jobs of a class start in order, several run at once.
    ///
    /// # Errors
    /// [`Refused`], with the job, when too many wait or the executor has stopped.
    pub fn submit(&self, job: StorageJob, done: StorageDone) -> Result<(), Box<Refused>> {
        self.inbox.push(job, done)
    }
}

/// Which threads a job runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    Foreground,
    Bulk,
    Removal,
}

impl StorageJob {
    fn lane(&self) -> Lane {
        match self {
            StorageJob::PrepareFile { .. }
            | StorageJob::PrepareMapped { .. }
            | StorageJob::SyncFiles { .. }
            | StorageJob::ReplaceFile { .. }
            | StorageJob::Compute { .. } => Lane::Foreground,
            StorageJob::Remove { .. } => Lane::Removal,
            StorageJob::ReadStream { .. } | StorageJob::WriteStream { .. } => Lane::Bulk,
        }
    }
}

impl fmt::Debug for StorageJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageJob::PrepareFile { path, .. } => write!(f, "PrepareFile({})", path.display()),
            StorageJob::PrepareMapped { path, .. } => write!(f, "PrepareMapped({})", path.display()),
            StorageJob::SyncFiles { files, .. } => write!(f, "SyncFiles({} files)", files.len()),
            StorageJob::ReplaceFile { path, .. } => write!(f, "ReplaceFile({})", path.display()),
            StorageJob::Remove { paths, .. } => write!(f, "Remove({} files)", paths.len()),
            StorageJob::ReadStream { path, .. } => write!(f, "ReadStream({})", path.display()),
            StorageJob::WriteStream { path, .. } => write!(f, "WriteStream({})", path.display()),
            StorageJob::Compute { .. } => f.write_str("Compute"),
        }
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("job", &self.job).field("reason", &self.reason).finish()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.job, self.reason)
    }
}

impl std::error::Error for Refused {}

/// `error` with the path it concerns.
fn with_path(path: &Path, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn cancelled() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "cancelled: the storage executor is shutting down")
}
