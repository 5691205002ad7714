//! Waking a core from other threads.
//!
//! The core publishes that it is about to sleep, then looks once more whether there is work; a waker first publishes
//! the work, then looks whether the core sleeps. With a sequentially consistent fence between the two steps on either
//! side, at least one of them sees the other, so no wake-up is lost and an awake core costs the waker no system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::event::{EventfdFlags, eventfd};

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;

/// Ends the sleep of one core; shared by everybody who hands that core work.
#[derive(Debug)]
pub struct CoreWaker {
    state: AtomicU32,
    event: OwnedFd,
}

impl CoreWaker {
    /// A waker of no reactor: its core counts as awake for ever. For receivers that poll, and for tests.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn detached() -> io::Result<Arc<CoreWaker>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(CoreWaker { state: AtomicU32::new(AWAKE), event }))
    }

    /// Makes the core look at its mailboxes. Call it after the message is in. One fence and one load when the core is
    /// awake, one write to an eventfd when it sleeps.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::Relaxed) == SLEEPING
            && self.state.compare_exchange(SLEEPING, AWAKE, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        {
            // The counter would have to be written 2^64 times to refuse, and then it is readable anyway.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Announces sleep. The caller must look for work once more after this and before it sleeps.
    pub(super) fn announce_sleep(&self) {
        self.state.store(SLEEPING, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn end_sleep(&self) {
        self.state.store(AWAKE, Ordering::SeqCst);
    }

    pub(super) fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn readable(waker: &CoreWaker) -> bool {
        let mut counter = [0u8; 8];
        rustix::io::read(&waker.event, &mut counter).is_ok()
    }

    #[test]
    fn an_awake_core_is_not_written_to_and_a_sleeping_one_once() {
        let waker = CoreWaker::detached().unwrap();
        waker.wake();
        assert!(!readable(&waker));
        waker.announce_sleep();
        waker.wake();
        waker.wake();
        assert!(readable(&waker));
        waker.wake();
        assert!(!readable(&waker));
        waker.announce_sleep();
        waker.end_sleep();
        waker.wake();
        assert!(!readable(&waker));
    }
}
