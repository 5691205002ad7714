//! One turn of a core's loop: deadlines, submissions, at most one sleep, completions, events.

use std::cmp::Reverse;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use super::ring::Completion;
use super::tag::{Kind, pack, unpack};
use super::{Event, Reactor};

/// Completions turned into events per turn; the rest waits for the next, so that one turn has a bound.
pub const TURN_COMPLETIONS_MAX: usize = 4096;

/// Completions that end the sleep of [`Reactor::turn_at`] before its time, or half as many as there are receive buffers.
pub const GATHER_MAX: u32 = 256;

/// Looks for work between two readings of the clock.
const SPIN_STEPS: u32 = 16;
/// How long dropping a reactor waits for the kernel to let go of its memory before that is leaked.
const DROP_PATIENCE: Duration = Duration::from_secs(10);
const DROP_STEP: Duration = Duration::from_millis(100);

/// What the reactor itself has to do at some time. The numbers are slot and generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    /// Try a listener again.
    Accept(u32, u32),
    /// Stop waiting for the peer of a closed socket.
    Linger(u32, u32),
}

impl Reactor {
    /// Submits what is queued and appends what has happened to `events`. Sleeps only if nothing has happened and `idle`
    /// agrees, until something happens, [`CoreWaker::wake`](super::CoreWaker::wake) is called, or `until` passes (`None`:
    /// without limit). May return without events.
    ///
    /// `idle` says whether the core's mailboxes are empty. It is asked for the last time after the core has announced its
    /// sleep, so a message sent with a wake-up is either seen by it or ends the sleep. It may be asked many times and
    /// should cost no more than a few loads.
    ///
    /// # Errors
    /// When the ring itself has failed; it then is of no more use.
    pub fn turn(
        &mut self,
        events: &mut Vec<Event>,
        until: Option<Instant>,
        idle: impl FnMut() -> bool,
    ) -> io::Result<()> {
        self.turn_with(events, until, 1, idle)
    }

    /// As [`turn`](Self::turn), but what peers send, what files do, and [`CoreWaker::wake`](super::CoreWaker::wake) do not end
    /// the sleep, unless [`GATHER_MAX`] of it has gathered: for a host that acts by the clock and learns from
    /// [`RecvBuf::arrived`](super::RecvBuf::arrived) when bytes came. Bytes wait in the kernel and messages in their mailboxes
    /// meanwhile, so the time should be short.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn turn_at(&mut self, events: &mut Vec<Event>, until: Instant, idle: impl FnMut() -> bool) -> io::Result<()> {
        self.turn_with(events, Some(until), GATHER_MAX.min(self.buffers.count() / 2).max(1), idle)
    }

    fn turn_with(
        &mut self,
        events: &mut Vec<Event>,
        until: Option<Instant>,
        want: u32,
        mut idle: impl FnMut() -> bool,
    ) -> io::Result<()> {
        self.run_deadlines();
        self.submit_files()?;
        self.feed_starved();
        self.start_sends();
        if self.ready.is_empty() && !self.ring.has_completions() {
            self.submit_and_wait(until, want, &mut idle)?;
        } else if self.ring.has_submissions() || self.ring.kernel_has_work() {
            self.ring.enter(0, None)?;
        }
        self.run_completions();
        events.extend(self.ready.drain(..));
        Ok(())
    }

    /// Arms the poll of the waker's eventfd: edge-triggered and multishot, so the counter is never read.
    pub(super) fn watch_waker(&mut self) {
        let fd = types::Fd(self.waker.event_fd().as_raw_fd());
        let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
        // SAFETY: the entry names no memory; the reactor holds the eventfd for as long as the ring lives.
        unsafe { self.ring.push(entry.user_data(pack(Kind::Wake, 0))) };
    }

    /// Hands the disk its work ahead of the sends: with more than two operations in one submission the kernel holds block
    /// requests back until it has carried out the whole of it.
    fn submit_files(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.files_queued) && !self.unsent.is_empty() {
            return self.ring.submit();
        }
        Ok(())
    }

    /// Sleeps until `want` completions are there.
    fn submit_and_wait(
        &mut self,
        until: Option<Instant>,
        want: u32,
        idle: &mut impl FnMut() -> bool,
    ) -> io::Result<()> {
        // Most sends complete within their submission, so look before announcing a sleep. A disk takes its time: handing it
        // work and going to sleep is one system call.
        if self.ring.kernel_has_work() || (self.ring.has_submissions() && (self.sends_started || self.may_spin())) {
            self.ring.enter(0, None)?;
            if want == 1 && self.ring.has_completions() {
                return Ok(());
            }
        }
        let until = match (until, self.deadlines.peek()) {
            (Some(until), Some(Reverse((deadline, _)))) => Some(until.min(*deadline)),
            (until, deadline) => until.or(deadline.map(|Reverse((deadline, _))| *deadline)),
        };
        if want == 1 && !self.ring.has_submissions() && idle() && self.spin_pays(until, idle) {
            return if self.ring.kernel_has_work() { self.ring.enter(0, None) } else { Ok(()) };
        }
        self.waker.announce_sleep();
        let slept = if idle() {
            let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
            self.ring.enter(want, timeout)
        } else if self.ring.has_submissions() {
            self.ring.enter(0, None)
        } else {
            Ok(())
        };
        self.waker.end_sleep();
        slept
    }

    fn may_spin(&self) -> bool {
        if self.files.len() > 0 { self.file_spin.is_due() } else { self.sockets.len() > 0 && self.socket_spin.is_due() }
    }

    /// Polls for a while if that has paid lately; true if something turned up.
    fn spin_pays(&mut self, until: Option<Instant>, idle: &mut impl FnMut() -> bool) -> bool {
        let files = self.files.len() > 0;
        if !files && self.sockets.len() == 0 {
            return false;
        }
        let policy = if files { &mut self.file_spin } else { &mut self.socket_spin };
        let Some(limit) = policy.next_attempt() else { return false };
        let full = Instant::now() + limit;
        let end = until.map_or(full, |until| full.min(until));
        let found = loop {
            if (0..SPIN_STEPS).any(|_| {
                std::hint::spin_loop();
                self.ring.has_completions() || self.ring.kernel_has_work() || !idle()
            }) {
                break true;
            }
            if Instant::now() >= end {
                break false;
            }
        };
        // An attempt that a deadline cut short proves nothing.
        if found || end == full {
            let policy = if files { &mut self.file_spin } else { &mut self.socket_spin };
            policy.record(found);
        }
        found
    }

    fn run_deadlines(&mut self) {
        if self.deadlines.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some(Reverse((time, deadline))) = self.deadlines.peek().copied() {
            if time > now {
                return;
            }
            self.deadlines.pop();
            match deadline {
                Deadline::Accept(slot, generation) => self.retry_accept(slot, generation),
                Deadline::Linger(slot, generation) => self.end_linger(slot, generation),
            }
        }
    }

    fn run_completions(&mut self) {
        self.clocks_read = false;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.take_completions(&mut completions, TURN_COMPLETIONS_MAX);
        for completion in completions.drain(..) {
            self.dispatch(completion);
        }
        self.completions = completions;
    }

    fn dispatch(&mut self, completion: Completion) {
        let Some((kind, slot)) = unpack(completion.user_data) else {
            tracing::error!(?completion, "completion of an unknown operation");
            return;
        };
        match kind {
            // Waking was all there was to it.
            Kind::Wake if completion.more() => {}
            Kind::Wake => self.watch_waker(),
            Kind::Accept => self.on_accept(slot, completion),
            Kind::Receive => self.on_receive(slot, completion),
            Kind::Send => self.on_send(slot, completion),
            Kind::CancelSocket => self.on_socket_cancelled(slot, completion),
            Kind::CancelAccept => self.on_accept_cancelled(slot),
            Kind::File => self.on_file(slot, completion),
            Kind::CancelAll => {}
        }
    }
}

impl Drop for Reactor {
    /// Waits until the kernel has let go of every buffer; if it does not in time they are leaked, never freed under it.
    fn drop(&mut self) {
        let give_up = Instant::now() + DROP_PATIENCE;
        let mut completions = Vec::new();
        while self.ring.in_flight() > 0 && Instant::now() < give_up {
            let cancel = opcode::AsyncCancel2::new(types::CancelBuilder::any().all()).build();
            // SAFETY: a cancellation names no memory.
            unsafe { self.ring.push(cancel.user_data(pack(Kind::CancelAll, 0))) };
            let mut failed = false;
            loop {
                failed |= self.ring.enter(1, Some(DROP_STEP)).is_err();
                self.ring.take_completions(&mut completions, usize::MAX);
                if completions.is_empty() || failed {
                    break;
                }
                for completion in completions.drain(..) {
                    if let (Some((Kind::Accept, _)), Ok(fd)) = (unpack(completion.user_data), completion.outcome()) {
                        // SAFETY: the kernel has just installed this descriptor for this completion; nobody else knows it.
                        drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
                    }
                }
                if self.ring.in_flight() == 0 {
                    break;
                }
            }
            if failed {
                break;
            }
        }
        if self.ring.in_flight() > 0 {
            tracing::error!(operations = self.ring.in_flight(), "operations did not end; their memory is leaked");
            std::mem::forget(std::mem::replace(&mut self.sockets, crate::slots::Slots::new()));
            std::mem::forget(std::mem::replace(&mut self.files, crate::slots::Slots::new()));
            std::mem::forget(std::rc::Rc::clone(&self.buffers));
        }
    }
}
