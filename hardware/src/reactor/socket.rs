//! The life of a socket: adopted, open, closing, released.
//!
//! A slot is released only when every submission that names it has had its last completion, so a completion always
//! finds the socket it belongs to. Closing goes through these stages, each only forward:
//!
//! | stage | receives | sends | left when |
//! |---|---|---|---|
//! | open | delivered | queued | [`Reactor::close`] |
//! | flushing | dropped | what is queued | all sent (then draining) or an error (then finishing) |
//! | draining | dropped | none, stream ended | the peer ends its side, or a second has passed |
//! | finishing | cancelled | cancelled | no operation is left: closed and released |

use std::cmp::Reverse;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::net::Shutdown;
use rustix::net::sockopt::{set_socket_linger, set_tcp_quickack};

use super::receive::ReceiveState;
use super::send::SendQueue;
use super::stamp::{STAMP_BYTES, stamp_arrivals};
use super::tag::Kind;
use super::turn::Deadline;
use super::{CloseHow, Event, Reactor, SocketId};

/// How long a closed socket waits for the peer to end its side.
const LINGER: Duration = Duration::from_secs(1);

pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) stage: Stage,
    pub(super) receive: ReceiveState,
    pub(super) send: SendQueue,
    /// Submissions whose last completion has not come.
    pub(super) operations: u32,
    /// [`Event::Closed`] was reported.
    pub(super) closed_reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    Flushing,
    Draining,
    Finishing { reset: bool },
}

impl Reactor {
    /// Takes over a connected stream socket and starts receiving from it.
    pub fn adopt(&mut self, fd: OwnedFd) -> SocketId {
        self.take_over(fd, ReceiveState::new(false))
    }

    /// As [`adopt`](Self::adopt), and asks the kernel when bytes arrive, for [`RecvBuf::arrived`](super::RecvBuf::arrived). Each
    /// receive costs a little more, and has 48 bytes less room in its buffer.
    pub fn adopt_stamped(&mut self, fd: OwnedFd) -> SocketId {
        let stamped = stamp_arrivals(fd.as_fd()).is_ok() && self.buffers.buffer_bytes() > 2 * STAMP_BYTES;
        self.take_over(fd, ReceiveState::new(stamped))
    }

    fn take_over(&mut self, fd: OwnedFd, receive: ReceiveState) -> SocketId {
        // On a non-blocking socket the ring reports EAGAIN instead of waiting. If this fails the first receive tells.
        if let Ok(flags) = rustix::fs::fcntl_getfl(&fd)
            && flags.contains(rustix::fs::OFlags::NONBLOCK)
        {
            let _ = rustix::fs::fcntl_setfl(&fd, flags - rustix::fs::OFlags::NONBLOCK);
        }
        let (slot, generation) = self.sockets.insert(Socket {
            fd,
            stage: Stage::Open,
            receive,
            send: SendQueue::default(),
            operations: 0,
            closed_reported: false,
        });
        self.arm_receive(slot);
        SocketId { slot, generation }
    }

    /// Acknowledges what came on a TCP connection, and lets the acknowledgement of what comes next wait for bytes to go with,
    /// mostly for 40 ms, as the kernel does by itself where requests follow replies. Holds until one had to go by itself, or a
    /// second message comes before that. Does nothing for an id that is gone.
    pub fn delay_acks(&self, id: SocketId) {
        if let Some(socket) = self.sockets.get(id.slot, id.generation) {
            // Of other sockets the option is unknown, and they need it as little.
            let _ = set_tcp_quickack(&socket.fd, true);
            let _ = set_tcp_quickack(&socket.fd, false);
        }
    }

    /// Closes a socket. After this only [`Event::Sent`] and at last [`Event::Released`] follow for it; what the
    /// peer sends meanwhile is dropped. A second call may only make haste: `Now` or `Reset` cut short an
    /// `AfterSends`. Does nothing for an id that is gone.
    pub fn close(&mut self, id: SocketId, how: CloseHow) {
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        match how {
            CloseHow::AfterSends if socket.stage != Stage::Open => {}
            CloseHow::AfterSends if socket.send.failed || socket.receive.failed => self.finish(id.slot, false),
            CloseHow::AfterSends => {
                socket.stage = Stage::Flushing;
                // Input is read and dropped, so that a peer that sends before it reads gets as far as reading.
                socket.receive.paused = false;
                if socket.send.is_idle() {
                    self.end_stream(id.slot);
                } else {
                    self.arm_receive(id.slot);
                }
            }
            CloseHow::Now => self.finish(id.slot, false),
            CloseHow::Reset => self.finish(id.slot, true),
        }
    }

    /// Everything is sent: end the stream and wait for the peer's end.
    pub(super) fn end_stream(&mut self, slot: u32) {
        let Some((generation, socket)) = self.sockets.at_mut(slot) else { return };
        let ended = socket.receive.ended;
        if rustix::net::shutdown(&socket.fd, Shutdown::Write).is_err() || ended {
            self.finish(slot, false);
            return;
        }
        socket.stage = Stage::Draining;
        self.deadlines.push(Reverse((Instant::now() + LINGER, Deadline::Linger(slot, generation))));
        self.arm_receive(slot);
    }

    /// The peer has had its time.
    pub(super) fn end_linger(&mut self, slot: u32, generation: u32) {
        if self.sockets.get(slot, generation).is_some_and(|socket| socket.stage == Stage::Draining) {
            self.finish(slot, false);
        }
    }

    /// Cancels what is in flight; the last completion releases the socket.
    pub(super) fn finish(&mut self, slot: u32, reset: bool) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        if let Stage::Finishing { reset: before } = &mut socket.stage {
            *before |= reset;
            return;
        }
        socket.stage = Stage::Finishing { reset };
        let (receiving, sending) = (socket.receive.armed, socket.send.in_flight);
        if receiving {
            self.cancel_socket(slot, Kind::Receive);
        }
        if sending {
            self.cancel_socket(slot, Kind::Send);
        }
        self.release_if_done(slot);
    }

    pub(super) fn release_if_done(&mut self, slot: u32) {
        let Some((generation, socket)) = self.sockets.at_mut(slot) else { return };
        let Stage::Finishing { reset } = socket.stage else { return };
        if socket.operations > 0 {
            return;
        }
        if reset {
            // If it fails the connection ends with a FIN instead, which the peer can tell from data as well.
            let _ = set_socket_linger(&socket.fd, Some(Duration::ZERO));
        }
        self.sockets.remove(slot);
        self.ready.push_back(Event::Released { socket: SocketId { slot, generation } });
    }

    /// The connection broke or the peer ended it: tell the host once, or get on with closing.
    pub(super) fn on_connection_end(&mut self, slot: u32, error: Option<io::Error>) {
        let Some((generation, socket)) = self.sockets.at_mut(slot) else { return };
        match socket.stage {
            Stage::Open => {
                if !std::mem::replace(&mut socket.closed_reported, true) {
                    self.ready.push_back(Event::Closed { socket: SocketId { slot, generation }, error });
                }
            }
            // The peer's orderly end does not stop it from reading the rest.
            Stage::Flushing if error.is_none() => {}
            Stage::Flushing | Stage::Draining => self.finish(slot, false),
            Stage::Finishing { .. } => {}
        }
    }
}
