//! The ring itself: set-up, submission that never fails for want of room, and completions copied out before they run.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

use super::ReactorError;

/// IORING_ENTER_GETEVENTS: run deferred task work, and wait if completions are wanted.
const ENTER_GETEVENTS: u32 = 1;
/// IORING_ENTER_EXT_ARG: the argument carries a timeout.
const ENTER_EXT_ARG: u32 = 8;

/// A completion, copied out of the shared queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    flags: u32,
}

impl Completion {
    /// Whether further completions of the same submission follow.
    pub(super) fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The provided buffer that the kernel took for it.
    pub(super) fn buffer(&self) -> Option<u16> {
        cqueue::buffer_select(self.flags)
    }

    /// Bytes, descriptor or error.
    pub(super) fn outcome(&self) -> io::Result<u32> {
        u32::try_from(self.result).map_err(|_| io::Error::from_raw_os_error(-self.result))
    }
}

pub(super) struct Ring {
    uring: IoUring,
    /// Submissions that found the queue full and the kernel unwilling to take it; they go first at the next entry.
    backlog: VecDeque<squeue::Entry>,
    /// Operations whose last completion has not been seen.
    in_flight: u64,
}

impl Ring {
    pub(super) fn new(sq_entries: u32, cq_entries: u32) -> Result<Ring, ReactorError> {
        let uring = IoUring::builder()
            .setup_cqsize(cq_entries)
            .setup_clamp()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .build(sq_entries)
            .map_err(|source| ReactorError::Setup { source })?;
        let features = uring.params();
        for (present, name) in [
            (features.is_feature_ext_arg(), "waiting with a timeout (IORING_FEAT_EXT_ARG)"),
            (features.is_feature_nodrop(), "completions that are never dropped (IORING_FEAT_NODROP)"),
            (features.is_feature_fast_poll(), "poll-driven sockets (IORING_FEAT_FAST_POLL)"),
        ] {
            if !present {
                return Err(ReactorError::MissingFeature { name });
            }
        }
        Ok(Ring { uring, backlog: VecDeque::new(), in_flight: 0 })
    }

    /// Queues an operation for the next [`enter`](Self::enter), or submits right away when the queue is full.
    ///
    /// # Safety
    /// All memory and descriptors that `entry` names must stay valid, and memory to be written must stay unaliased, until
    /// its last completion has been taken from [`take_completions`](Self::take_completions).
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        self.in_flight += 1;
        if self.backlog.is_empty() && self.try_push(&entry) {
            return;
        }
        if self.backlog.is_empty() && self.uring.submit().is_ok() && self.try_push(&entry) {
            return;
        }
        self.backlog.push_back(entry);
    }

    /// Operations whose last completion has not been seen.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Whether anything waits to be submitted.
    pub(super) fn has_submissions(&mut self) -> bool {
        !self.backlog.is_empty() || !self.uring.submission().is_empty()
    }

    /// Whether completions can be taken without entering the kernel.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }

    /// Whether the kernel holds completions back until the next entry.
    pub(super) fn kernel_has_work(&mut self) -> bool {
        let submission = self.uring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Submits what is queued, lets the kernel post completions, and waits for `want` of them, at most for
    /// `timeout`.
    pub(super) fn enter(&mut self, want: u32, timeout: Option<Duration>) -> io::Result<()> {
        while let Some(entry) = self.backlog.front().cloned() {
            if !self.try_push(&entry) {
                break;
            }
            self.backlog.pop_front();
        }
        let queued = self.uring.submission().len() as u32;
        // With a backlog left the entry must return to let the rest follow.
        let want = if self.backlog.is_empty() { want } else { 0 };
        let result = match timeout {
            Some(timeout) if want > 0 => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                // SAFETY: `args` is the structure that EXT_ARG announces, and it and the time it points to outlive the call.
                unsafe { self.uring.submitter().enter(queued, want, ENTER_GETEVENTS | ENTER_EXT_ARG, Some(&args)) }
            }
            // SAFETY: no argument is passed, so nothing is read beyond the ring.
            _ => unsafe { self.uring.submitter().enter::<libc::sigset_t>(queued, want, ENTER_GETEVENTS, None) },
        };
        later_or_error(result)
    }

    /// Submits what is queued and no more: completions come at the next [`enter`](Self::enter).
    pub(super) fn submit(&mut self) -> io::Result<()> {
        later_or_error(self.uring.submit())
    }

    /// Moves at most `max` completions to `into`.
    pub(super) fn take_completions(&mut self, into: &mut Vec<Completion>, max: usize) {
        let completions = self.uring.completion();
        for entry in completions.take(max) {
            let completion = Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() };
            if !completion.more() {
                self.in_flight -= 1;
            }
            into.push(completion);
        }
    }

    /// Registers a ring of provided buffers under `group`.
    ///
    /// # Safety
    /// `address` must be page-aligned memory for `entries` buffer ring entries that outlives the ring.
    pub(super) unsafe fn register_buffers(&self, address: u64, entries: u16, group: u16) -> io::Result<()> {
        // SAFETY: passed on to the caller.
        unsafe { self.uring.submitter().register_buf_ring_with_flags(address, entries, group, 0) }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller of `push` vouches for what the entry names until its last completion.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }
}

/// Passes over what the next turn resolves: the time is up, a signal came, or the kernel wants completions taken or
/// memory freed first.
fn later_or_error(result: io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}
