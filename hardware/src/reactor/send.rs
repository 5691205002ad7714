//! Sending: a queue of owned buffers per socket, one operation in flight, everything queued meanwhile gathered into the
//! next one.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};

use super::ring::Completion;
use super::socket::Stage;
use super::tag::{Kind, pack};
use super::{Event, Reactor, SocketId};

/// Buffers gathered into one operation.
const GATHER_MAX: usize = 64;
/// Bytes per operation; keeps results within 31 bits and lets other sockets' completions in between.
const SEND_BYTES_MAX: usize = 1 << 24;
/// Spare gather vectors kept.
const SPARE_GATHERS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct SendQueue {
    /// Unsent buffers; those of an operation in flight stay here, untouched, until it completes.
    buffers: VecDeque<Vec<u8>>,
    /// Bytes of the first buffer that are sent.
    front_sent: usize,
    queued_bytes: usize,
    pub(super) in_flight: bool,
    /// In the reactor's list of sockets to send for.
    listed: bool,
    /// Sending failed; nothing more is taken.
    pub(super) failed: bool,
    gather: Option<Box<Gather>>,
}

/// The vectors of one gathering send; the kernel reads them while it is in flight.
pub(super) struct Gather {
    header: libc::msghdr,
    vectors: [libc::iovec; GATHER_MAX],
}

impl SendQueue {
    /// Nothing queued and nothing in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.buffers.is_empty() && !self.in_flight
    }

    /// Takes `count` bytes off the front and passes on each buffer that is done, with the bytes still queued behind it.
    fn advance(&mut self, mut count: usize, mut done: impl FnMut(Vec<u8>, usize)) {
        self.queued_bytes -= count;
        while let Some(front) = self.buffers.front() {
            let rest = front.len() - self.front_sent;
            if count < rest {
                self.front_sent += count;
                return;
            }
            count -= rest;
            self.front_sent = 0;
            if let Some(mut buffer) = self.buffers.pop_front() {
                buffer.clear();
                let behind = self.queued_bytes + count;
                done(buffer, behind);
            }
            if count == 0 {
                return;
            }
        }
    }
}

impl Reactor {
    /// Queues `bytes` behind what is queued already; they leave with the next turn. Comes back as [`Event::Sent`]. On a
    /// socket that has failed, is closing or is gone the bytes are dropped; its [`Event::Closed`] or [`Event::Released`]
    /// tells. The queue has no bound of its own: the host watches [`queued_bytes`](Self::queued_bytes).
    pub fn send(&mut self, id: SocketId, bytes: Vec<u8>) {
        let Some(socket) = self.sockets.get_mut(id.slot, id.generation) else { return };
        if socket.stage != Stage::Open || socket.send.failed {
            return;
        }
        if bytes.is_empty() {
            let queued = socket.send.queued_bytes;
            self.ready.push_back(Event::Sent { socket: id, buf: bytes, queued });
            return;
        }
        socket.send.queued_bytes += bytes.len();
        socket.send.buffers.push_back(bytes);
        self.list_unsent(id.slot);
    }

    /// Bytes handed to [`send`](Self::send) and not yet taken by the kernel; 0 for an id that is gone.
    pub fn queued_bytes(&self, id: SocketId) -> usize {
        self.sockets.get(id.slot, id.generation).map_or(0, |socket| socket.send.queued_bytes)
    }

    /// Hands what is queued to the kernel at once, not with the next turn: for a host that serves many sockets in a row,
    /// so that the first peers have theirs while it still works for the last.
    pub fn send_now(&mut self) {
        self.start_sends();
        // An error comes again with the next turn.
        let _ = self.ring.submit();
    }

    /// Starts a send on every socket that has something to send.
    pub(super) fn start_sends(&mut self) {
        self.sends_started = !self.unsent.is_empty();
        let mut unsent = std::mem::take(&mut self.unsent);
        for slot in unsent.drain(..) {
            self.start_send(slot);
        }
        self.unsent = unsent;
    }

    pub(super) fn on_send(&mut self, slot: u32, completion: Completion) {
        let Some((generation, socket)) = self.sockets.at_mut(slot) else { return };
        socket.operations -= 1;
        socket.send.in_flight = false;
        if let Some(gather) = socket.send.gather.take()
            && self.gathers.len() < SPARE_GATHERS_MAX
        {
            self.gathers.push(gather);
        }
        match completion.outcome() {
            Ok(count) => {
                let ready = &mut self.ready;
                socket.send.advance(count as usize, |buf, queued| {
                    ready.push_back(Event::Sent { socket: SocketId { slot, generation }, buf, queued });
                });
                if !socket.send.buffers.is_empty() {
                    self.list_unsent(slot);
                } else if socket.stage == Stage::Flushing {
                    self.end_stream(slot);
                }
            }
            Err(error) if is_transient(&error) => self.list_unsent(slot),
            Err(error) => {
                socket.send.failed = true;
                socket.send.buffers.clear();
                socket.send.front_sent = 0;
                socket.send.queued_bytes = 0;
                self.on_connection_end(slot, Some(error));
            }
        }
        self.release_if_done(slot);
    }

    fn list_unsent(&mut self, slot: u32) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        if !socket.send.in_flight && !std::mem::replace(&mut socket.send.listed, true) {
            self.unsent.push(slot);
        }
    }

    fn start_send(&mut self, slot: u32) {
        let Some((_, socket)) = self.sockets.at_mut(slot) else { return };
        let send = &mut socket.send;
        // A list entry may have outlived its socket and name a successor in the slot.
        if !std::mem::take(&mut send.listed) || send.in_flight || send.failed || send.buffers.is_empty() {
            return;
        }
        if matches!(socket.stage, Stage::Draining | Stage::Finishing { .. }) {
            return;
        }
        let fd = types::Fd(socket.fd.as_raw_fd());
        let entry = if send.buffers.len() == 1 {
            let unsent = &send.buffers[0][send.front_sent..];
            opcode::Send::new(fd, unsent.as_ptr(), unsent.len().min(SEND_BYTES_MAX) as u32)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        } else {
            let mut gather = self.gathers.pop().unwrap_or_else(Gather::boxed);
            gather.fill(&send.buffers, send.front_sent);
            let entry = opcode::SendMsg::new(fd, &raw const gather.header).flags(libc::MSG_NOSIGNAL as u32).build();
            send.gather = Some(gather);
            entry
        };
        send.in_flight = true;
        socket.operations += 1;
        // SAFETY: the buffers stay in the queue, unchanged, until the completion (moving a `Vec` does not move its bytes),
        // and the gather vector stays boxed in the socket; the socket stays in its slot until its operations are done.
        unsafe { self.ring.push(entry.user_data(pack(Kind::Send, slot))) };
    }
}

impl Gather {
    fn boxed() -> Box<Gather> {
        let empty = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        // SAFETY: an all-zero msghdr is valid: no name, no vectors, no control data.
        let header = unsafe { std::mem::zeroed() };
        Box::new(Gather { header, vectors: [empty; GATHER_MAX] })
    }

    fn fill(&mut self, buffers: &VecDeque<Vec<u8>>, front_sent: usize) {
        let mut count = 0;
        let mut bytes = 0;
        for (buffer, vector) in buffers.iter().zip(&mut self.vectors) {
            let unsent = if count == 0 { &buffer[front_sent..] } else { &buffer[..] };
            let len = unsent.len().min(SEND_BYTES_MAX - bytes);
            *vector = libc::iovec { iov_base: unsent.as_ptr().cast_mut().cast(), iov_len: len };
            count += 1;
            bytes += len;
            if bytes == SEND_BYTES_MAX {
                break;
            }
        }
        self.header.msg_iov = self.vectors.as_mut_ptr();
        self.header.msg_iovlen = count;
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the kernel cuts what it takes, each buffer comes back once, in order, when its last byte is gone, and
        /// what the next operation would send is exactly the rest.
        #[test]
        fn partial_sends_add_up(sizes in proptest::collection::vec(1usize..50, 1..100), cuts in proptest::collection::vec(0usize..400, 0..60)) {
            let mut send = SendQueue::default();
            for (index, size) in sizes.iter().enumerate() {
                send.buffers.push_back(vec![index as u8; *size]);
                send.queued_bytes += size;
            }
            let stream: Vec<u8> = sizes.iter().enumerate().flat_map(|(index, size)| vec![index as u8; *size]).collect();
            let mut gather = Gather::boxed();
            let (mut sent, mut returned) = (0, 0);
            for cut in cuts.into_iter().chain(std::iter::repeat_n(GATHER_MAX, sizes.len() * 50)) {
                if send.buffers.is_empty() {
                    break;
                }
                gather.fill(&send.buffers, send.front_sent);
                let vectors = &gather.vectors[..gather.header.msg_iovlen];
                let offered: usize = vectors.iter().map(|vector| vector.iov_len).sum();
                let first = vectors[0];
                // SAFETY: `fill` described buffers that still stand in the queue.
                let bytes = unsafe { std::slice::from_raw_parts(first.iov_base.cast::<u8>(), first.iov_len) };
                prop_assert_eq!(bytes, &stream[sent..sent + first.iov_len]);
                prop_assert_eq!(vectors.len(), send.buffers.len().min(GATHER_MAX));
                let taken = cut.min(offered);
                sent += taken;
                send.advance(taken, |buf, queued| {
                    assert!(buf.is_empty() && buf.capacity() >= sizes[returned]);
                    returned += 1;
                    assert_eq!(queued, sizes[returned..].iter().sum::<usize>());
                });
                prop_assert_eq!(send.queued_bytes, stream.len() - sent);
                let whole = sizes.iter().scan(0, |end, size| { *end += size; Some(*end) }).filter(|end| *end <= sent).count();
                prop_assert_eq!(returned, whole);
            }
            prop_assert_eq!(returned, sizes.len());
        }
    }
}
