//! The bounded queues between the cores and the executor's threads, one per class of jobs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

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
    foreground: VecDeque<Work>,
    bulk: VecDeque<Work>,
    removal: VecDeque<Work>,
    closed: bool,
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
        let mut state = self.lock();
        let closed = state.closed;
        let queue = state.queue(lane);
        let is_full = lane != Lane::Removal && queue.len() >= self.queue_max;
        if closed || is_full {
            let reason = if closed { RefusedReason::Stopped } else { RefusedReason::Full };
            return Err(Box::new(Refused { job, done, reason }));
        }
        queue.push_back((job, done));
        drop(state);
        self.arrived.notify_all();
        Ok(())
    }

    /// The next job of `lane`; `None` when closed and empty.
    pub(super) fn wait_for(&self, lane: Lane) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(work) = state.queue(lane).pop_front() {
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
        let mut dropped = Vec::new();
        let mut state = self.lock();
        state.closed = true;
        if how == Shutdown::Cancel {
            self.cancelling.store(true, Ordering::Relaxed);
            dropped.extend(state.foreground.drain(..));
            dropped.extend(state.bulk.drain(..));
            dropped.extend(state.removal.drain(..));
        }
        drop(state);
        self.arrived.notify_all();
        for (job, done) in dropped {
            tracing::debug!(?job, "cancelled");
            done(Err(cancelled()));
        }
    }

    /// How many jobs of `lane` have not been begun.
    pub(super) fn waiting(&self, lane: Lane) -> usize {
        self.lock().queue(lane).len()
    }

    /// Whether it accepts nothing more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
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
    fn queue(&mut self, lane: Lane) -> &mut VecDeque<Work> {
        match lane {
            Lane::Foreground => &mut self.foreground,
            Lane::Bulk => &mut self.bulk,
            Lane::Removal => &mut self.removal,
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("foreground", &self.foreground.len())
            .field("bulk", &self.bulk.len())
            .field("removal", &self.removal.len())
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

    fn read() -> StorageJob {
        let path = std::path::PathBuf::new();
        StorageJob::ReadStream { path, from: 0, to: 0, chunk: 1, each: Box::new(|_, _| true) }
    }

    fn remove() -> StorageJob {
        StorageJob::Remove { paths: Vec::new(), unread: true }
    }

    fn compute() -> StorageJob {
        StorageJob::Compute { step: Box::new(|| false) }
    }

    #[test]
    fn each_class_has_its_own_bound_and_its_own_takers() {
        let inbox = Inbox::new(2);
        for _ in 0..2 {
            inbox.push(read(), Box::new(|_| ())).unwrap();
        }
        assert_eq!(inbox.push(read(), Box::new(|_| ())).unwrap_err().reason, RefusedReason::Full);
        for _ in 0..3 {
            inbox.push(remove(), Box::new(|_| ())).expect("a removal is not refused");
        }
        inbox.push(compute(), Box::new(|_| ())).unwrap();
        assert_eq!(inbox.waiting(Lane::Removal), 3);
        assert!(matches!(inbox.wait_for(Lane::Removal).unwrap().0, StorageJob::Remove { .. }));
        assert!(matches!(inbox.wait_for(Lane::Foreground).unwrap().0, StorageJob::Compute { .. }));
        assert!(matches!(inbox.wait_for(Lane::Bulk).unwrap().0, StorageJob::ReadStream { .. }));
    }

    #[test]
    fn closing_drains_or_cancels() {
        for how in [Shutdown::Drain, Shutdown::Cancel] {
            let inbox = Inbox::new(2);
            let (out, results) = mpsc::channel();
            inbox.push(read(), Box::new(move |result| out.send(result).unwrap())).unwrap();
            inbox.close(how);
            assert_eq!(inbox.push(read(), Box::new(|_| ())).unwrap_err().reason, RefusedReason::Stopped);
            let left = inbox.wait_for(Lane::Bulk);
            assert_eq!(left.is_some(), how == Shutdown::Drain);
            assert_eq!(inbox.is_cancelling(), how == Shutdown::Cancel);
            if how == Shutdown::Cancel {
                assert_eq!(results.recv().unwrap().unwrap_err().kind(), ErrorKind::Interrupted);
            }
            assert!(inbox.wait_for(Lane::Bulk).is_none());
        }
    }
}
