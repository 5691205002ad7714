//! Jobs on glommio: one thread, two task queues, direct streams.
//!
//! Foreground jobs get ten times the shares of bulk jobs. Calls that io_uring does not have (or that glommio would make
//! on its own thread) go to glommio's blocking threads. A file system without direct I/O gets the plain calls instead.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::io::{DmaFile, DmaStreamReaderBuilder, OpenOptions};
use glommio::sync::Semaphore;
use glommio::timer::sleep;
use glommio::{
    Latency, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, Shares, Task, TaskQueueHandle, executor,
    spawn_local, spawn_local_into, yield_if_needed,
};

use super::inbox::{CloseOnExit, Inbox};
use super::{Lane, StorageConfig, StorageJob, StorageOutcome, StorageResult, blocking, cancelled, with_path};
use crate::aligned::BLOCK_BYTES;
use crate::block_file::{BlockFile, PreferDirect};
use crate::data_dir::{dir_sync, parent};

const FOREGROUND_SHARES: usize = 1000;
const BULK_SHARES: usize = 100;
/// How soon bulk work should make way for a foreground job.
const FOREGROUND_LATENCY: Duration = Duration::from_millis(1);
/// The executor looks around this often even if nothing seems to happen: about once in a hundred starts it was seen to
/// sleep on although a call on a blocking thread had ended. With the heartbeat it is about once in 700, so this is a
/// help and no cure. Costs some 15 us of processor time each.
const HEARTBEAT: Duration = Duration::from_millis(20);
/// Threads for calls that io_uring does not have.
const BLOCKING_THREADS: usize = 4;
/// Registered buffers; streams that need more at a time get theirs from the heap. Each of glommio's three rings counts
/// them against the limit on locked memory, which is 8 MiB by default.
const IO_MEMORY_BYTES: usize = 2 << 20;
const RING_DEPTH: usize = 128;
/// Bytes per direct transfer.
const STEP_BYTES: usize = 512 << 10;
/// Transfers in flight per stream.
const STREAM_DEPTH: usize = 4;

/// Starts the thread, and returns when glommio runs on it or has failed to.
pub(super) fn start(inbox: &Arc<Inbox>, config: &StorageConfig) -> io::Result<JoinHandle<()>> {
    let (report, started) = mpsc::channel();
    let (inbox, config) = (Arc::clone(inbox), config.clone());
    let thread = std::thread::Builder::new().name("storage".to_string()).spawn(move || {
        let glommio = match make() {
            Ok(glommio) => glommio,
            Err(error) => {
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = report.send(Ok(()));
        let _guard = CloseOnExit(&inbox);
        glommio.run(run_lanes(Arc::clone(&inbox), config));
    })?;
    match started.recv() {
        Ok(Ok(())) => Ok(thread),
        outcome => {
            let panicked = thread.join().is_err();
            Err(match outcome {
                Ok(Err(error)) => error,
                _ => io::Error::other(format!("glommio ended at once (panicked: {panicked})")),
            })
        }
    }
}

fn make() -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("storage")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
        .make()
        .map_err(|error| {
            io::Error::other(format!(
                "{error}; io_uring has to be allowed, and locked memory (ulimit -l) to be 512 KiB or more"
            ))
        })
}

async fn run_lanes(inbox: Arc<Inbox>, config: StorageConfig) {
    let glommio = executor();
    let foreground = glommio.create_task_queue(
        Shares::Static(FOREGROUND_SHARES),
        Latency::Matters(FOREGROUND_LATENCY),
        "foreground",
    );
    let bulk = glommio.create_task_queue(Shares::Static(BULK_SHARES), Latency::NotImportant, "bulk");
    let lanes = [
        run_lane(Arc::clone(&inbox), Lane::Foreground, foreground, config.foreground_max),
        run_lane(inbox, Lane::Bulk, bulk, config.bulk_max),
    ];
    let heartbeat = spawn_local(async {
        loop {
            sleep(HEARTBEAT).await;
        }
    });
    for lane in lanes.map(spawn_local) {
        lane.await;
    }
    heartbeat.cancel().await;
}

/// Starts the jobs of one class, at most `at_once` at a time, and ends when the inbox is closed and all have ended.
async fn run_lane(inbox: Arc<Inbox>, lane: Lane, queue: TaskQueueHandle, at_once: usize) {
    let at_once = at_once.max(1) as u64;
    let permits = Rc::new(Semaphore::new(at_once));
    loop {
        let Ok(permit) = permits.acquire_static_permit(1).await else { return };
        let Some((job, done)) = inbox.next(lane).await else { break };
        let job_inbox = Arc::clone(&inbox);
        let started = spawn_local_into(
            async move {
                done(perform(job, job_inbox).await);
                drop(permit);
            },
            queue,
        );
        match started {
            Ok(task) => drop(task.detach()),
            Err(error) => tracing::error!(%error, "task queue is gone"),
        }
    }
    // All permits are back when the last job has ended.
    let _ = permits.acquire(at_once).await;
}

async fn perform(job: StorageJob, inbox: Arc<Inbox>) -> StorageResult {
    match job {
        StorageJob::PrepareFile { path, bytes, zero: true, direct } => match zeroed_file(&path, bytes, &inbox).await {
            Ok(()) => blocking_call(move || open_prepared(&path, direct)).await,
            Err(Zeroing::NoDirect) => blocking_call(move || blocking::prepare_file(&path, bytes, true, direct)).await,
            Err(Zeroing::Failed(error)) => Err(error),
        },
        StorageJob::PrepareFile { path, bytes, zero: false, direct } => {
            blocking_call(move || blocking::prepare_file(&path, bytes, false, direct)).await
        }
        StorageJob::PrepareMapped { path, bytes } => {
            blocking_call(move || blocking::prepare_mapped(&path, bytes)).await
        }
        job @ (StorageJob::SyncFiles { .. } | StorageJob::ReplaceFile { .. } | StorageJob::Remove { .. }) => {
            blocking_call(move || blocking::perform(job, &inbox)).await
        }
        StorageJob::ReadStream { path, from, to, chunk, mut each } => match DmaFile::open(&path).await {
            Ok(file) => read_stream(&path, file, from, to, chunk, &mut each, &inbox).await,
            Err(error) if lacks_direct(&error) => {
                blocking_call(move || blocking::read_stream(&path, from, to, chunk, &mut each, &inbox)).await
            }
            Err(error) => Err(with_path(&path, error)),
        },
        StorageJob::WriteStream { path, mut source } => match DmaFile::create(&path).await {
            Ok(file) => match write_stream(file, &mut source, &inbox).await {
                Ok(total) => blocking_call(move || flush_written(&path, total)).await,
                Err(error) => Err(blocking::abandon(&path, error)),
            },
            Err(error) if lacks_direct(&error) => {
                blocking_call(move || blocking::write_stream(&path, &mut source, &inbox)).await
            }
            Err(error) => Err(with_path(&path, error)),
        },
        StorageJob::Compute { mut step } => {
            while !inbox.is_cancelling() {
                if !step() {
                    return Ok(StorageOutcome::Done);
                }
                yield_if_needed().await;
            }
            Err(cancelled())
        }
    }
}

async fn blocking_call(call: impl FnOnce() -> StorageResult + Send + 'static) -> StorageResult {
    executor().spawn_blocking(call).await
}

enum Zeroing {
    NoDirect,
    Failed(io::Error),
}

/// Creates and allocates a file and writes zeroes over all of it.
async fn zeroed_file(path: &Path, bytes: u64, inbox: &Inbox) -> Result<(), Zeroing> {
    let created = OpenOptions::new().read(true).write(true).create_new(true).dma_open(path).await;
    let file = match created {
        Ok(file) => file,
        Err(error) if lacks_direct(&error) => {
            // The file was created before direct I/O was refused.
            let _ = crate::data_dir::remove_file(path);
            return Err(Zeroing::NoDirect);
        }
        Err(error) => return Err(Zeroing::Failed(with_path(path, error))),
    };
    let result = write_zeroes(file, bytes, inbox).await;
    result.map_err(|error| Zeroing::Failed(blocking::abandon(path, error)))
}

async fn write_zeroes(file: DmaFile, bytes: u64, inbox: &Inbox) -> io::Result<()> {
    let file = Rc::new(file);
    let mut written = Ok(());
    if bytes > 0 {
        written = file.pre_allocate(bytes, false).await.map_err(io::Error::from);
    }
    let mut window = Window::new(Rc::clone(&file));
    let mut offset = 0;
    while written.is_ok() && offset < bytes {
        if inbox.is_cancelling() {
            written = Err(cancelled());
            break;
        }
        let step = (bytes - offset).next_multiple_of(BLOCK_BYTES as u64).min(STEP_BYTES as u64) as usize;
        let mut buffer = file.alloc_dma_buffer(step);
        buffer.as_bytes_mut().fill(0);
        written = window.write(buffer, offset).await;
        offset += step as u64;
        yield_if_needed().await;
    }
    let drained = window.drain().await;
    let mut result = written.and(drained);
    if result.is_ok() && offset > bytes {
        result = file.truncate(bytes).await.map_err(io::Error::from);
    }
    if result.is_ok() {
        result = file.fdatasync().await.map_err(io::Error::from);
    }
    let closed = file.close_rc().await.map(drop).map_err(io::Error::from);
    result.and(closed)
}

fn open_prepared(path: &Path, direct: PreferDirect) -> StorageResult {
    match dir_sync(parent(path)).and_then(|()| BlockFile::open(path, direct)) {
        Ok(file) => Ok(StorageOutcome::File(file)),
        Err(error) => Err(blocking::abandon(path, error)),
    }
}

async fn read_stream(
    path: &Path,
    file: DmaFile,
    from: u64,
    to: u64,
    chunk: usize,
    each: &mut dyn FnMut(u64, &[u8]) -> bool,
    inbox: &Inbox,
) -> StorageResult {
    let chunk = chunk.max(1) as u64;
    let mut offset = from;
    let mut result = match file.file_size().await {
        Ok(size) if from >= to.min(size) => {
            let closed = file.close().await;
            return closed.map(|()| StorageOutcome::Streamed(0)).map_err(|error| with_path(path, error));
        }
        Ok(_) => Ok(()),
        Err(error) => Err(with_path(path, error)),
    };
    let mut reader = DmaStreamReaderBuilder::new(file)
        .with_start_pos(from)
        .with_end_pos(to)
        .with_buffer_size(STEP_BYTES)
        .with_read_ahead(STREAM_DEPTH)
        .build();
    while result.is_ok() && offset < to {
        if inbox.is_cancelling() {
            result = Err(cancelled());
            break;
        }
        match reader.get_buffer_aligned(chunk.min(to - offset)).await {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                let start = offset;
                offset += bytes.len() as u64;
                if !each(start, &bytes) {
                    break;
                }
            }
            Err(error) => result = Err(with_path(path, error)),
        }
        yield_if_needed().await;
    }
    let closed = reader.close().await.map_err(|error| with_path(path, error));
    result.and(closed).map(|()| StorageOutcome::Streamed(offset - from))
}

async fn write_stream(file: DmaFile, source: &mut dyn FnMut(&mut Vec<u8>) -> bool, inbox: &Inbox) -> io::Result<u64> {
    let file = Rc::new(file);
    let mut window = Window::new(Rc::clone(&file));
    let mut pending = Vec::with_capacity(STEP_BYTES);
    let mut offset = 0;
    let mut total = 0;
    let mut result = Ok(());
    let mut more = true;
    let mut fresh = Vec::new();
    while result.is_ok() && more {
        if inbox.is_cancelling() {
            result = Err(cancelled());
            break;
        }
        fresh.clear();
        more = source(&mut fresh);
        total += fresh.len() as u64;
        let mut rest = &fresh[..];
        while result.is_ok() && (!rest.is_empty() || (!more && !pending.is_empty())) {
            let room = STEP_BYTES - pending.len();
            let (taken, left) = rest.split_at(rest.len().min(room));
            pending.extend_from_slice(taken);
            rest = left;
            let last = !more && rest.is_empty();
            if pending.len() < STEP_BYTES && !last {
                break;
            }
            let mut buffer = file.alloc_dma_buffer(pending.len().next_multiple_of(BLOCK_BYTES));
            let bytes = buffer.as_bytes_mut();
            bytes[..pending.len()].copy_from_slice(&pending);
            bytes[pending.len()..].fill(0);
            let step = bytes.len() as u64;
            pending.clear();
            result = window.write(buffer, offset).await;
            offset += step;
        }
        yield_if_needed().await;
    }
    let drained = window.drain().await;
    result = result.and(drained);
    if result.is_ok() && offset > total {
        // The last block was padded.
        result = file.truncate(total).await.map_err(io::Error::from);
    }
    if result.is_ok() {
        result = file.fdatasync().await.map_err(io::Error::from);
    }
    let closed = file.close_rc().await.map(drop).map_err(io::Error::from);
    result.and(closed).map(|()| total)
}

fn flush_written(path: &Path, total: u64) -> StorageResult {
    match dir_sync(parent(path)) {
        Ok(()) => Ok(StorageOutcome::Streamed(total)),
        Err(error) => Err(blocking::abandon(path, error)),
    }
}

/// Writes in flight, at most [`STREAM_DEPTH`].
struct Window {
    file: Rc<DmaFile>,
    writes: VecDeque<Task<io::Result<()>>>,
}

impl Window {
    fn new(file: Rc<DmaFile>) -> Window {
        Window { file, writes: VecDeque::with_capacity(STREAM_DEPTH) }
    }

    /// Starts a write, after the oldest has ended if there are too many; the error may be of an earlier write.
    async fn write(&mut self, buffer: glommio::io::DmaBuffer, offset: u64) -> io::Result<()> {
        if self.writes.len() >= STREAM_DEPTH
            && let Some(oldest) = self.writes.pop_front()
        {
            oldest.await?;
        }
        let file = Rc::clone(&self.file);
        self.writes.push_back(spawn_local(async move {
            let len = buffer.len();
            match file.write_at(buffer, offset).await {
                Ok(count) if count == len => Ok(()),
                Ok(count) => {
                    Err(io::Error::new(io::ErrorKind::WriteZero, format!("{count} of {len} bytes written at {offset}")))
                }
                Err(error) => Err(error.into()),
            }
        }));
        Ok(())
    }

    /// Waits for all writes and returns the first error.
    async fn drain(mut self) -> io::Result<()> {
        let mut result = Ok(());
        while let Some(write) = self.writes.pop_front() {
            result = result.and(write.await);
        }
        result
    }
}

/// Whether the file system refused direct I/O rather than the file.
fn lacks_direct<T>(error: &glommio::GlommioError<T>) -> bool {
    let errno = match error {
        glommio::GlommioError::IoError(error) => error.raw_os_error(),
        glommio::GlommioError::EnhancedIoError { source, .. } => source.raw_os_error(),
        _ => None,
    };
    matches!(errno, Some(libc::EINVAL | libc::EOPNOTSUPP))
}
