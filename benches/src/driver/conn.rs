//! One connection of a run.

use super::making::Made;
use crate::wire::Frames;
use crate::workload::Op;
use hardware::reactor::SocketId;
use std::collections::VecDeque;

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// An operation of the mix.
    Op(Op),
    /// A watch to be left.
    Watch,
    /// The end of the session.
    Close,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// When it was meant to be sent, nanoseconds from the begin of the run.
    pub(super) meant_ns: u64,
    pub(super) xid: i32,
    pub(super) asked: Asked,
}

/// State of a connection.
pub(super) struct Conn {
    /// Among those of all threads.
    pub(super) number: u32,
    /// `None` between two sessions.
    pub(super) socket: Option<SocketId>,
    pub(super) frames: Frames,
    pub(super) sent: VecDeque<Sent>,
    pub(super) made: Made,
    /// Requests of this turn.
    pub(super) out: Vec<u8>,
    /// Whether its session is being closed.
    pub(super) closing: bool,
    next_xid: i32,
}

impl Conn {
    pub(super) fn new(number: u32, made: Made) -> Conn {
        Conn {
            number,
            socket: None,
            frames: Frames::default(),
            sent: VecDeque::new(),
            made,
            out: Vec::new(),
            closing: false,
            next_xid: 1,
        }
    }

    /// A new connection takes the place of the old one.
    pub(super) fn attach(&mut self, socket: SocketId) {
        self.socket = Some(socket);
        self.frames = Frames::default();
        self.closing = false;
        self.next_xid = 1;
    }

    /// The connection is gone; what was on its way is returned.
    pub(super) fn detach(&mut self) -> VecDeque<Sent> {
        self.socket = None;
        self.closing = false;
        self.out.clear();
        self.made.session_ended();
        std::mem::take(&mut self.sent)
    }

    /// Whether operations may be sent on it, so many of them unanswered at most.
    pub(super) fn has_room(&self, outstanding: u32) -> bool {
        self.socket.is_some() && !self.closing && self.sent.len() < outstanding as usize
    }

    /// The xid of the next request, always above 0.
    pub(super) fn xid(&mut self) -> i32 {
        let xid = self.next_xid;
        self.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
        xid
    }
}
