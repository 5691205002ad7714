//! Listeners: one multishot accept each, armed again whenever the kernel ends it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use super::ring::Completion;
use super::tag::{Kind, pack};
use super::turn::Deadline;
use super::{Event, ListenerId, Reactor};

/// Pause after an accept that failed for want of descriptors or memory: the connection stays in the backlog and would
/// fail again at once.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Listener {
    socket: TcpListener,
    armed: bool,
    stopping: bool,
    /// Submissions whose last completion has not come.
    operations: u32,
}

impl Reactor {
    /// Starts accepting. The listener closes when [`stop_listening`](Self::stop_listening) has taken effect or the reactor
    /// is dropped.
    ///
    /// # Errors
    /// When the socket cannot be put into the mode that the ring needs.
    pub fn listen(&mut self, listener: TcpListener) -> io::Result<ListenerId> {
        // On a non-blocking socket the ring reports EAGAIN instead of waiting.
        listener.set_nonblocking(false)?;
        let (slot, generation) =
            self.listeners.insert(Listener { socket: listener, armed: false, stopping: false, operations: 0 });
        self.arm_accept(slot);
        Ok(ListenerId { slot, generation })
    }

    /// Stops accepting and closes the listener. Connections already accepted may still be reported in this turn's events;
    /// later ones are closed. Does nothing for an id that is gone.
    pub fn stop_listening(&mut self, id: ListenerId) {
        let Some(listener) = self.listeners.get_mut(id.slot, id.generation) else { return };
        if listener.stopping {
            return;
        }
        listener.stopping = true;
        if listener.armed {
            listener.operations += 1;
            let cancel = opcode::AsyncCancel::new(pack(Kind::Accept, id.slot)).build();
            // SAFETY: a cancellation names no memory.
            unsafe { self.ring.push(cancel.user_data(pack(Kind::CancelAccept, id.slot))) };
        } else {
            self.release_listener_if_done(id.slot);
        }
    }

    /// The address that a listener is bound to.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when the listener is gone.
    pub fn local_addr(&self, id: ListenerId) -> io::Result<SocketAddr> {
        let listener = self.listeners.get(id.slot, id.generation).ok_or(io::ErrorKind::NotFound)?;
        listener.socket.local_addr()
    }

    pub(super) fn on_accept(&mut self, slot: u32, completion: Completion) {
        let outcome = completion.outcome();
        // SAFETY: the kernel has just installed this descriptor for this completion; nobody else knows it.
        let accepted = outcome.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) });
        let Some((generation, listener)) = self.listeners.at_mut(slot) else { return };
        if !completion.more() {
            listener.armed = false;
            listener.operations -= 1;
        }
        let stopping = listener.stopping;
        let listener = ListenerId { slot, generation };
        match accepted {
            Ok(_) if stopping => {}
            Ok(fd) => {
                // Without a peer the connection was reset before anybody looked: nothing to report.
                if let Some(peer) = peer_address(&fd) {
                    self.ready.push_back(Event::Accepted { listener, fd, peer });
                }
            }
            Err(_) if stopping => {}
            Err(error) if is_the_connections_own(&error) => {}
            Err(error) => {
                self.ready.push_back(Event::AcceptFailed { listener, error });
                if !completion.more() {
                    self.deadlines
                        .push(std::cmp::Reverse((Instant::now() + RETRY_PAUSE, Deadline::Accept(slot, generation))));
                    return;
                }
            }
        }
        if stopping {
            self.release_listener_if_done(slot);
        } else {
            self.arm_accept(slot);
        }
    }

    pub(super) fn on_accept_cancelled(&mut self, slot: u32) {
        if let Some((_, listener)) = self.listeners.at_mut(slot) {
            listener.operations -= 1;
            self.release_listener_if_done(slot);
        }
    }

    /// The pause after a failure is over.
    pub(super) fn retry_accept(&mut self, slot: u32, generation: u32) {
        if self.listeners.get(slot, generation).is_some_and(|listener| !listener.stopping) {
            self.arm_accept(slot);
        }
    }

    fn arm_accept(&mut self, slot: u32) {
        let Some((_, listener)) = self.listeners.at_mut(slot) else { return };
        if listener.armed {
            return;
        }
        listener.armed = true;
        listener.operations += 1;
        let entry = opcode::AcceptMulti::new(types::Fd(listener.socket.as_raw_fd())).flags(libc::SOCK_CLOEXEC).build();
        // SAFETY: the entry names no memory; the listener stays open until its operations are done.
        unsafe { self.ring.push(entry.user_data(pack(Kind::Accept, slot))) };
    }

    fn release_listener_if_done(&mut self, slot: u32) {
        if self.listeners.at_mut(slot).is_some_and(|(_, listener)| listener.stopping && listener.operations == 0) {
            self.listeners.remove(slot);
        }
    }
}

fn peer_address(fd: &OwnedFd) -> Option<SocketAddr> {
    rustix::net::getpeername(fd).ok().flatten().and_then(|address| SocketAddr::try_from(address).ok())
}

/// Errors of the one connection that was being accepted, as accept(2) lists them; the listener is fine.
fn is_the_connections_own(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::EINTR
                | libc::EPROTO
                | libc::ENETDOWN
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ECANCELED
        )
    )
}
