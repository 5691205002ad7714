//! The thread that carries out direct reads and writes, on glommio.
//!
//! There is one per process and it lives as long as the process, because a glommio executor must not end: it frees its
//! buffers while the kernel still has transfers into them (those that nobody waits for any more, and the read of its own
//! event counter), and the memory's next owner then finds foreign bytes in it. For the same reason no transfer is ever
//! cancelled, and each keeps its buffer and its file until the kernel has answered.
//!
//! Nor may anything but the disk wake it. Before it runs the tasks that are ready glommio looks whether its preemption
//! timer or a wake-up from another thread has arrived, and if so it goes to sleep without having run them, for ever if
//! nothing else happens. So the timer is out of reach, no waker of a task is in the hands of another thread, nothing is
//! given to glommio's blocking threads, and new requests are noticed when a transfer ends or, while none is under way,
//! by waiting on the queue itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::File;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::time::Duration;

use glommio::io::{DmaFile, OpenOptions};
use glommio::{GlommioError, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, executor, spawn_local};

use super::direct::{Access, Answer, FileId, Queue, Request};

/// Registered buffers, the least that glommio takes: its three rings count them against the user's limit on locked memory,
/// and large transfers gain nothing by them. Transfers get theirs from the heap.
const IO_MEMORY_BYTES: usize = 64 << 10;
const RING_DEPTH: usize = 128;
/// More than the time between two rounds of the executor.
const NEVER: Duration = Duration::from_secs(24 * 3600);
/// How long it waits for a request while nothing is under way: any long time well below [`NEVER`] would do.
const IDLE: Duration = Duration::from_secs(600);

/// Starts the thread, and returns when glommio runs on it or has failed to.
pub(super) fn start(queue: &Arc<Queue>) -> io::Result<()> {
    let (report, started) = mpsc::channel();
    let queue = Arc::clone(queue);
    std::thread::Builder::new().name("storage-direct".to_string()).spawn(move || {
        // Not even a panic may end the executor: leaking it is what keeps its memory from being given away.
        let glommio = match make() {
            Ok(glommio) => ManuallyDrop::new(glommio),
            Err(error) => {
                let _ = report.send(Err(error));
                return;
            }
        };
        let _ = report.send(Ok(()));
        let _guard = EndOnExit(&queue);
        glommio.run(serve(Arc::clone(&queue)));
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("glommio ended at once")))
}

struct EndOnExit<'a>(&'a Queue);

impl Drop for EndOnExit<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn make() -> io::Result<LocalExecutor> {
    LocalExecutorBuilder::new(Placement::Unbound)
        .name("storage-direct")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(NEVER)
        // glommio insists on one; nothing here uses it.
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| {
            io::Error::other(format!(
                "{error}; io_uring has to be allowed, and locked memory (ulimit -l) to be 512 KiB or more"
            ))
        })
}

/// What the tasks share.
#[derive(Default)]
struct Desk {
    /// Nothing yet for a file that is being opened.
    files: RefCell<HashMap<FileId, Option<Rc<DmaFile>>>>,
    under_way: Cell<usize>,
    /// A request has ended since the first task looked.
    news: Cell<bool>,
    first_task: RefCell<Option<Waker>>,
}

impl Desk {
    fn ended(&self) {
        self.under_way.set(self.under_way.get() - 1);
        self.news.set(true);
        if let Some(waker) = self.first_task.take() {
            waker.wake();
        }
    }

    async fn until_news(&self) {
        poll_fn(|context| {
            if self.news.take() {
                return Poll::Ready(());
            }
            self.first_task.replace(Some(context.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

async fn serve(queue: Arc<Queue>) {
    let desk = Rc::new(Desk::default());
    loop {
        let idle = desk.under_way.get() == 0;
        for request in queue.take(if idle { IDLE } else { Duration::ZERO }) {
            if let Request::Open { id, .. } = &request {
                desk.files.borrow_mut().insert(*id, None);
            }
            desk.under_way.set(desk.under_way.get() + 1);
            let task_desk = Rc::clone(&desk);
            spawn_local(async move {
                carry_out(request, &task_desk).await;
                task_desk.ended();
            })
            .detach();
        }
        if desk.under_way.get() == 0 {
            executor().yield_task_queue_now().await;
        } else {
            desk.until_news().await;
        }
    }
}

async fn carry_out(request: Request, desk: &Desk) {
    match request {
        Request::Open { file, id, access, reply } => {
            let result = match open(&file, access).await {
                Ok(opened) => {
                    let closed = match desk.files.borrow_mut().get_mut(&id) {
                        Some(place) => place.replace(Rc::new(opened)),
                        None => Some(Rc::new(opened)),
                    };
                    if let Some(file) = closed {
                        release(file).await;
                    }
                    Ok(Vec::new())
                }
                Err(error) => {
                    desk.files.borrow_mut().remove(&id);
                    Err(error)
                }
            };
            // Dropped only now: until here glommio cites the file by its descriptor.
            drop(file);
            answer(&reply, 0, result);
        }
        Request::Read { id, offset, len, reply } => {
            let result = with_file(desk, id, |file| async move {
                Ok(file.read_at_aligned(offset, len).await.map_err(system_error)?.to_vec())
            });
            answer(&reply, offset, result.await);
        }
        Request::Write { id, offset, bytes, reply } => {
            let result = with_file(desk, id, |file| async move {
                let mut buffer = file.alloc_dma_buffer(bytes.len());
                buffer.as_bytes_mut().copy_from_slice(&bytes);
                match file.write_at(buffer, offset).await {
                    Ok(count) if count == bytes.len() => Ok(Vec::new()),
                    Ok(count) => {
                        let text = format!("{count} of {} bytes written at {offset}", bytes.len());
                        Err(io::Error::new(io::ErrorKind::WriteZero, text))
                    }
                    Err(error) => Err(system_error(error)),
                }
            });
            answer(&reply, offset, result.await);
        }
        Request::Close { id } => {
            let file = desk.files.borrow_mut().remove(&id);
            if let Some(Some(file)) = file {
                release(file).await;
            }
        }
    }
}

/// Closes a file if nobody else has it: transfers that nobody waits for any more release it when they end.
async fn release(file: Rc<DmaFile>) {
    if let Some(file) = Rc::into_inner(file)
        && let Err(error) = file.close().await
    {
        tracing::warn!(%error, "a file of a stream did not close cleanly");
    }
}

async fn with_file<R: Future<Output = io::Result<Vec<u8>>>>(
    desk: &Desk,
    id: FileId,
    transfer: impl FnOnce(Rc<DmaFile>) -> R,
) -> io::Result<Vec<u8>> {
    let file = desk.files.borrow().get(&id).cloned().flatten();
    let Some(file) = file else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the stream's file is not open"));
    };
    let result = transfer(Rc::clone(&file)).await;
    release(file).await;
    result
}

/// Opens the file once more, for direct I/O. By its descriptor: its name may have gone or have changed hands meanwhile.
async fn open(file: &File, access: Access) -> io::Result<DmaFile> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Also to write, because glommio tries out with a read what the device can do.
    OpenOptions::new().read(true).write(access == Access::Write).dma_open(&path).await.map_err(system_error)
}

/// The system's own error: glommio's conversion loses its number.
fn system_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::EnhancedIoError { source, .. } => source,
        error => error.into(),
    }
}

fn answer(reply: &mpsc::Sender<Answer>, offset: u64, result: io::Result<Vec<u8>>) {
    // A stream that ended early waits for no answer.
    let _ = reply.send(Answer { offset, result });
}
