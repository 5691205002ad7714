//! The bounded queues between the cores and the executor, one per class of jobs.
//!
//! Takers are tasks of glommio or plain threads, so both a waker and a condition variable announce a new job.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use super::{Lane, Refused, RefusedReason, Shutdown, StorageDone, StorageJob, cancelled};

pub(super) type Work = (StorageJob, StorageDone);

#[derive(Debug)]
pub(super) struct Inbox {
    state: Mutex<State>,
    arrived: Condvar,
    /// Jobs under way are to stop at their next step.
    cancelling: AtomicBool,
    queue_max: usize,
}

#[derive(Default)]
struct State {
    foreground: Queue,
    bulk: Queue,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Work>,
    taker: Option<Waker>,
}

impl Inbox {
    pub(super) fn new(queue_max: usize) -> Inbox {
        Inbox {
            state: Mutex::default(),
            arrived: Condvar::new(),
            cancelling: AtomicBool::new(false),
            queue_max: queue_max.max(1),
        }
    }

    pub(super) fn push(&self, job: StorageJob, done: StorageDone) -> Result<(), Box<Refused>> {
        let lane = job.lane();
        let taker = {
            let mut state = self.lock();
            let closed = state.closed;
            let queue = state.queue(lane);
            if closed || queue.jobs.len() >= self.queue_max {
                let reason = if closed { RefusedReason::Stopped } else { RefusedReason::Full };
                return Err(Box::new(Refused { job, done, reason }));
            }
            queue.jobs.push_back((job, done));
            queue.taker.take()
        };
        self.arrived.notify_all();
        if let Some(taker) = taker {
            taker.wake();
        }
        Ok(())
    }

    /// The next job of `lane`, in a task; `None` when closed and empty.
    pub(super) async fn next(&self, lane: Lane) -> Option<Work> {
        poll_fn(|context| {
            let mut state = self.lock();
            let closed = state.closed;
            let queue = state.queue(lane);
            match queue.jobs.pop_front() {
                Some(work) => Poll::Ready(Some(work)),
                None if closed => Poll::Ready(None),
                None => {
                    queue.taker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The next job of the first of `lanes` that has one, in a thread; `None` when closed and empty.
    pub(super) fn wait_for(&self, lanes: &[Lane]) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = lanes.iter().find_map(|lane| state.queue(*lane).jobs.pop_front()) {
                return Some(work);
            }
            if state.closed {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Accepts nothing more, and cancels what waits if asked.
    pub(super) fn close(&self, how: Shutdown) {
        let (dropped, takers) = {
            let mut state = self.lock();
            state.closed = true;
            let mut dropped = Vec::new();
            if how == Shutdown::Cancel {
                self.cancelling.store(true, Ordering::Relaxed);
                dropped.extend(state.foreground.jobs.drain(..));
                dropped.extend(state.bulk.jobs.drain(..));
            }
            (dropped, [state.foreground.taker.take(), state.bulk.taker.take()])
        };
        self.arrived.notify_all();
        takers.into_iter().flatten().for_each(Waker::wake);
        for (job, done) in dropped {
            tracing::debug!(?job, "cancelled");
            done(Err(cancelled()));
        }
    }

    pub(super) fn is_cancelling(&self) -> bool {
        self.cancelling.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code of a job or callback runs under the lock, so what it guards is whole whoever panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn queue(&mut self, lane: Lane) -> &mut Queue {
        match lane {
            Lane::Foreground => &mut self.foreground,
            Lane::Bulk => &mut self.bulk,
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("foreground", &self.foreground.jobs.len())
            .field("bulk", &self.bulk.jobs.len())
            .field("closed", &self.closed)
            .finish()
    }
}

/// Closes the inbox when the last taker ends, also by a panic, so that nobody submits into the void.
pub(super) struct CloseOnExit<'a>(pub(super) &'a Inbox);

impl Drop for CloseOnExit<'_> {
    fn drop(&mut self) {
        self.0.close(Shutdown::Cancel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::ErrorKind;
    use std::sync::mpsc;

    fn compute() -> StorageJob {
        StorageJob::Compute { step: Box::new(|| false) }
    }

    fn remove() -> StorageJob {
        StorageJob::Remove { paths: Vec::new() }
    }

    #[test]
    fn each_class_has_its_own_bound_and_foreground_goes_first() {
        let inbox = Inbox::new(2);
        for _ in 0..2 {
            inbox.push(compute(), Box::new(|_| ())).unwrap();
        }
        assert_eq!(inbox.push(compute(), Box::new(|_| ())).unwrap_err().reason, RefusedReason::Full);
        inbox.push(remove(), Box::new(|_| ())).unwrap();
        let both = [Lane::Foreground, Lane::Bulk];
        assert!(matches!(inbox.wait_for(&both).unwrap().0, StorageJob::Remove { .. }));
        assert!(matches!(inbox.wait_for(&both).unwrap().0, StorageJob::Compute { .. }));
    }

    #[test]
    fn closing_drains_or_cancels() {
        for how in [Shutdown::Drain, Shutdown::Cancel] {
            let inbox = Inbox::new(2);
            let (out, results) = mpsc::channel();
            inbox.push(compute(), Box::new(move |result| out.send(result).unwrap())).unwrap();
            inbox.close(how);
            assert_eq!(inbox.push(compute(), Box::new(|_| ())).unwrap_err().reason, RefusedReason::Stopped);
            let left = inbox.wait_for(&[Lane::Bulk]);
            assert_eq!(left.is_some(), how == Shutdown::Drain);
            assert_eq!(inbox.is_cancelling(), how == Shutdown::Cancel);
            if how == Shutdown::Cancel {
                assert_eq!(results.recv().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
            }
            assert!(inbox.wait_for(&[Lane::Bulk]).is_none());
        }
    }
}
