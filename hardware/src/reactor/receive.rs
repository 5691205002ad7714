//! Receiving: one multishot receive per socket, filling buffers that the kernel picks from the pool.

use io_uring::{opcode, types};
use std::io;
use std::os::fd::AsRawFd;

use super::buffers::{BUFFER_GROUP, out_of_buffers};
use super::ring::Completion;
use super::socket::Stage;
use super::tag::{Kind, pack};
use super::{Event, Reactor, SocketId};

#[derive(Debug, Default)]
pub(super) struct ReceiveState {
    /// A multishot receive is with the kernel. There is never a second one, which keeps the bytes in order.
    pub(super) armed: bool,
    /// Its cancellation is with the kernel too.
    cancelling: bool,
    /// In the reactor's list of those that wait for a buffer.
    starved: bool,
    /// The host wants no more for now.
    pub(super) paused: bool,
    /// The peer's stream has ended or failed.
    pub(super) ended: bool,
    /// It failed.
    pub(super) failed: bool,
    /// The kernel tells when bytes arrived.
    pub(super) stamped: bool,
}

impl ReceiveState {
    pub(super) fn new(stamped: bool) -> ReceiveState {
        ReceiveState { stamped, ..ReceiveState::default() }
    }
}

impl Reactor {
    /// Stops receiving, so that the peer's sends back up. Bytes that the kernel has already delivered to the ring may
    /// still be reported.
    pub fn pause_receive(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        if socket.stage != Stage::Open || socket.receive.paused {
            return;
        }
        socket.receive.paused = true;
        if socket.receive.armed && !socket.receive.cancelling {
            socket.receive.cancelling = true;
            self.cancel_socket(id.slot, Kind::Receive);
        }
    }

    /// Receives again after [`pause_receive`](Self::pause_receive).
    pub fn resume_receive(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        if socket.receive.paused {
            socket.receive.paused = false;
            self.arm_receive(id.slot);
        }
    }

    pub(super) fn on_receive(&mut self, slot: u32, completion: Completion) {
        let mut outcome = completion.outcome();
        let mut filled = match (completion.buffer(), &outcome) {
            (Some(buffer), outcome) => self.buffers.take(buffer, outcome.as_ref().map_or(0, |len| *len)),
            (None, _) => None,
        };
        let Some((generation, socket)) = self.sockets.at_mut(slot) else { return };
        if !completion.more() {
            socket.receive.armed = false;
            socket.receive.cancelling = false;
            socket.operations -= 1;
        }
        if socket.receive.stamped
            && let Some(raw) = filled.take_if(|_| outcome.is_ok())
        {
            match self.stamp_header.split(&raw) {
                Some((start, stamp)) => {
                    if !std::mem::replace(&mut self.clocks_read, true) {
                        self.clocks.read();
                    }
                    let data = raw.stamped(start, stamp.and_then(|stamp| self.clocks.instant_of(stamp)));
                    outcome = Ok(data.len() as u32);
                    filled = Some(data);
                }
                None => outcome = Err(io::Error::other("a stamped receive without its header")),
            }
        }
        match outcome {
            Ok(0) => {
                socket.receive.ended = true;
                self.on_connection_end(slot, None);
            }
            Ok(_) => {
                if let (Stage::Open, false, Some(data)) = (socket.stage, socket.closed_reported, filled) {
                    self.ready.push_back(Event::Received { socket: SocketId { slot, generation }, data });
                }
                self.cancel_again_if_paused(slot);
            }
            Err(error) if out_of_buffers(&error) => {
                if !std::mem::replace(&mut socket.receive.starved, true) {
                    self.starved.push_back(slot);
                }
            }
            // The kernel does not know this kind of receive: bytes come without their time.
            Err(error) if socket.receive.stamped && error.raw_os_error() == Some(libc::EINVAL) => {
                socket.receive.stamped = false;
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ECANCELED | libc::EINTR | libc::EAGAIN)) => {}
            Err(error) => {
                socket.receive.ended = true;
                socket.receive.failed = true;
                self.on_connection_end(slot, Some(error));
            }
        }
        self.arm_receive(slot);
        self.release_if_done(slot);
    }

    /// The cancellation of a receive or send has been answered; what it cancelled answers for itself.
    pub(super) fn on_socket_cancelled(&mut self, slot: u32, completion: Completion) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        socket.operations -= 1;
        if completion.result < 0 {
            // Not found, or running just then. If it is still armed the next bytes bring another cancellation.
            socket.receive.cancelling = false;
        }
        self.release_if_done(slot);
    }

    /// Starts a receive unless one is armed or none is wanted.
    pub(super) fn arm_receive(&mut self, slot: u32) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        let receive = &mut socket.receive;
        if receive.armed || receive.starved || receive.paused || receive.ended {
            return;
        }
        if matches!(socket.stage, Stage::Finishing { .. }) {
            return;
        }
        receive.armed = true;
        socket.operations += 1;
        let fd = types::Fd(socket.fd.as_raw_fd());
        let entry = if receive.stamped {
            opcode::RecvMsgMulti::new(fd, self.stamp_header.as_ptr(), BUFFER_GROUP).build()
        } else {
            opcode::RecvMulti::new(fd, BUFFER_GROUP).build()
        };
        // SAFETY: memory comes from the registered buffers, which outlive the ring; the header of a stamped receive, which the
        // kernel copies at submission, stays boxed in the reactor; the socket stays open until its operations are done.
        unsafe { self.ring.push(entry.user_data(pack(Kind::Receive, slot))) };
    }

    /// Arms as many of the sockets that ran out of buffers as there are buffers again, oldest first.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.buffers.available().min(self.starved.len()) {
            let Some(slot) = self.starved.pop_front() else { break };
            if let Some((_, socket)) = self.sockets.at_mut(slot) {
                socket.receive.starved = false;
                self.arm_receive(slot);
            }
        }
    }

    pub(super) fn cancel_socket(&mut self, slot: u32, what: Kind) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        socket.operations += 1;
        let cancel = opcode::AsyncCancel::new(pack(what, slot)).build();
        // SAFETY: a cancellation names no memory.
        unsafe { self.ring.push(cancel.user_data(pack(Kind::CancelSocket, slot))) };
    }

    fn cancel_again_if_paused(&mut self, slot: u32) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        let receive = &mut socket.receive;
        if receive.paused && receive.armed && !receive.cancelling {
            receive.cancelling = true;
            self.cancel_socket(slot, Kind::Receive);
        }
    }
}
