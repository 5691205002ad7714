//! What a connection owes its client, in order.
//!
//! Requests that cannot be answered at once take a *slot*. The slots before the *frontier* are reads that have been
//! dispatched; at the frontier stands the first *barrier*, a write or sync that is not done, and what has come behind
//! it. No read is dispatched while there is a barrier. Whatever is to be sent behind everything dispatched so far (a
//! reply that is ready, an event) is kept with the last slot before the frontier, or goes to the output if there is
//! none.

use super::collect::Collect;
use crate::proto::OpCode;
use crate::proto::reply;
use engine::error_code::ErrorCode;
use engine::stat::Stat;
use engine::zxid::Zxid;
use replication::request::WriteResult;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;

/// Slots whose memory a connection without pending requests may keep.
const SLOTS_RETAINED: usize = 64;

/// A request that waits, and what follows its reply.
#[derive(Debug)]
pub(super) struct Slot {
    pub xid: i32,
    pub op: OpCode,
    pub received_ms: i64,
    /// Length of the request.
    pub request_bytes: usize,
    /// Bytes reserved as a large request.
    pub large_bytes: usize,
    pub state: State,
    /// Replies and events that go right behind this slot's reply.
    after: Vec<u8>,
    /// How much of `after` are events.
    after_event_bytes: usize,
}

/// What a slot waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Its turn in the output.
    Done(Vec<u8>),
    /// Shards.
    Reading(Collect),
    /// The frontier; then the reply's header zxid is filled in, unless it has one of its own.
    Ready { frame: Vec<u8>, stamped: bool },
    /// The replication role, Stats and the view.
    Writing { answer: Option<(Zxid, Result<WriteResult, ErrorCode>)>, stats: SmallVec<[(u32, Stat); 1]> },
    /// The replication role and the view.
    Syncing { path: Option<Box<str>>, at: Option<Zxid> },
    /// The replication role and the view.
    Listing { answer: Option<(Zxid, Vec<Arc<str>>)> },
}

impl State {
    /// The view at which a barrier is done, as far as is known.
    fn done_at(&self) -> Option<Zxid> {
        match self {
            State::Writing { answer: Some((zxid, result)), stats } => {
                let wanted = result.as_ref().map_or(0, reply::stats_wanted);
                (stats.len() >= wanted).then_some(*zxid)
            }
            State::Syncing { at: Some(at), .. } => Some(*at),
            State::Listing { answer: Some((at, _)) } => Some(*at),
            _ => None,
        }
    }
}

/// A slot's fate that its owner must know about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Finished {
    pub op: OpCode,
    pub xid: i32,
    pub received_ms: i64,
    pub zxid: i64,
    /// Bytes of the reply.
    pub bytes: usize,
}

/// Why the slot at the frontier is not a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// It is not done yet, or there is none.
    NotYet,
    /// The session has moved: the connection ends without a reply.
    SessionMoved,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    slots: VecDeque<Slot>,
    /// [`engine::ids::Origin::seq`] of the first slot.
    first_seq: u64,
    frontier: usize,
    /// Bytes of requests in slots.
    request_bytes: usize,
    /// Bytes of replies and events in slots.
    held_bytes: usize,
    /// How much of them are events.
    held_event_bytes: usize,
    output: Vec<u8>,
    output_event_bytes: usize,
    flight_bytes: usize,
    flight_event_bytes: usize,
    /// Reads under way that may register watches, and the view that they were dispatched with.
    watching: usize,
    watching_view: Zxid,
    /// Large-request bytes of slots that are gone, for the owner to give back.
    pub large_bytes_released: usize,
}

impl Queue {
    /// Number of the request that takes the next slot.
    pub fn next_seq(&self) -> u64 {
        self.first_seq + self.slots.len() as u64
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether everything that has come has been dispatched and no write or sync is pending.
    pub fn is_open(&self) -> bool {
        self.frontier == self.slots.len()
    }

    pub fn request_bytes(&self) -> usize {
        self.request_bytes
    }

    /// Bytes of replies and events that have not been sent.
    pub fn unsent_bytes(&self) -> usize {
        self.held_bytes + self.output.len() + self.flight_bytes
    }

    /// Bytes of events that have not been sent.
    pub fn unsent_event_bytes(&self) -> usize {
        self.held_event_bytes + self.output_event_bytes + self.flight_event_bytes
    }

    pub fn large_bytes(&self) -> usize {
        self.slots.iter().map(|slot| slot.large_bytes).sum()
    }

    /// Lets `write` append something behind everything dispatched so far.
    pub fn write_here<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        match self.frontier.checked_sub(1).and_then(|last| self.slots.get_mut(last)) {
            None => write(&mut self.output),
            Some(slot) => {
                let before = slot.after.len();
                let result = write(&mut slot.after);
                self.held_bytes += slot.after.len() - before;
                result
            }
        }
    }

    /// Appends an event behind everything dispatched so far.
    pub fn push_event(&mut self, frame: &[u8]) {
        self.write_here(|out| out.extend_from_slice(frame));
        match self.frontier.checked_sub(1).and_then(|last| self.slots.get_mut(last)) {
            None => self.output_event_bytes += frame.len(),
            Some(slot) => {
                slot.after_event_bytes += frame.len();
                self.held_event_bytes += frame.len();
            }
        }
    }

    /// Takes a slot. A read must not come while there is a barrier.
    pub fn push(&mut self, xid: i32, op: OpCode, received_ms: i64, request_bytes: usize, state: State) {
        if let State::Reading(collect) = &state {
            debug_assert!(self.is_open());
            self.frontier += 1;
            if collect.watches {
                self.watching += 1;
                self.watching_view = collect.view;
            }
        }
        if let State::Ready { frame, .. } = &state {
            self.held_bytes += frame.len();
        }
        self.request_bytes += request_bytes;
        self.slots.push_back(Slot {
            xid,
            op,
            received_ms,
            request_bytes,
            large_bytes: 0,
            state,
            after: Vec::new(),
            after_event_bytes: 0,
        });
    }

    /// The slot of a request, if it waits.
    pub fn slot_mut(&mut self, seq: u64) -> Option<&mut Slot> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        self.slots.get_mut(index)
    }

    /// The slot taken last.
    pub fn last_mut(&mut self) -> Option<&mut Slot> {
        self.slots.back_mut()
    }

    /// The view that the connection stays at while a read that may register a watch is under way: an event that the
    /// registration fires must come right behind the read's reply, before anything newer.
    pub fn held_view(&self) -> Option<Zxid> {
        (self.watching > 0).then_some(self.watching_view)
    }

    /// Puts the reply of a read in its place and sends what can be sent.
    pub fn complete_read(&mut self, seq: u64, frame: Vec<u8>, watches: bool) {
        let bytes = frame.len();
        self.watching -= usize::from(watches);
        if let Some(slot) = self.slot_mut(seq) {
            slot.state = State::Done(frame);
            self.held_bytes += bytes;
            self.flush();
        }
    }

    /// The view at which the barrier at the frontier is done, if that is known; a slot that only waits for its turn is
    /// done at once.
    pub fn frontier_done_at(&self) -> Option<Zxid> {
        match &self.slots.get(self.frontier)?.state {
            State::Ready { .. } => Some(Zxid::ZERO),
            state => state.done_at(),
        }
    }

    /// Finishes the slot at the frontier if it is done as of `limit`. `horizon` is the zxid up to which everything has
    /// been put before it; it moves on with the slot.
    pub fn finish_one(&mut self, limit: Zxid, horizon: &mut Zxid) -> Result<Finished, Stop> {
        if self.frontier_done_at().is_none_or(|at| at > limit) {
            return Err(Stop::NotYet);
        }
        let at_head = self.frontier == 0;
        let Some(slot) = self.slots.get_mut(self.frontier) else { return Err(Stop::NotYet) };
        let state = std::mem::replace(&mut slot.state, State::Done(Vec::new()));
        let mut finished = Finished { op: slot.op, xid: slot.xid, received_ms: slot.received_ms, zxid: 0, bytes: 0 };
        let mut frame = Vec::new();
        let out = if at_head { &mut self.output } else { &mut frame };
        let start = out.len();
        finished.zxid = match state {
            State::Ready { frame, stamped } => {
                self.held_bytes -= frame.len();
                out.extend_from_slice(&frame);
                if !stamped {
                    reply::stamp(out, start, horizon.to_wire());
                }
                horizon.to_wire()
            }
            State::Writing { answer: Some((_, Err(ErrorCode::SessionMoved))), .. } => return Err(Stop::SessionMoved),
            State::Writing { answer: Some((zxid, result)), stats } => {
                *horizon = zxid.max(*horizon);
                reply::encode_write(out, slot.xid, zxid, &result, &stats);
                zxid.to_wire()
            }
            State::Syncing { path, at } => {
                *horizon = at.unwrap_or_default().max(*horizon);
                reply::encode_sync(out, slot.xid, *horizon, path.as_deref());
                horizon.to_wire()
            }
            State::Listing { answer } => {
                let (at, paths) = answer.unwrap_or_default();
                *horizon = at.max(*horizon);
                reply::encode_ephemerals(out, slot.xid, *horizon, &paths);
                horizon.to_wire()
            }
            other @ (State::Done(_) | State::Reading(_) | State::Writing { answer: None, .. }) => {
                slot.state = other;
                return Err(Stop::NotYet);
            }
        };
        finished.bytes = out.len() - start;
        if at_head {
            if let Some(slot) = self.slots.pop_front() {
                self.forget(&slot);
            }
        } else {
            self.held_bytes += frame.len();
            slot.state = State::Done(frame);
            self.frontier += 1;
        }
        Ok(finished)
    }

    /// Drops everything that has not reached the output.
    pub fn abandon(&mut self) {
        while let Some(slot) = self.slots.pop_front() {
            self.forget(&slot);
        }
        self.frontier = 0;
        self.watching = 0;
        self.held_bytes = 0;
        self.held_event_bytes = 0;
    }

    /// Bytes that are ready to be sent.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Bytes handed out to be sent, of which nothing is known yet.
    pub fn flight_bytes(&self) -> usize {
        self.flight_bytes
    }

    /// Hands the output over to be sent, and takes `empty` for what comes next.
    pub fn take_output(&mut self, empty: Vec<u8>) -> Vec<u8> {
        debug_assert!(empty.is_empty());
        self.flight_bytes += self.output.len();
        self.flight_event_bytes += std::mem::take(&mut self.output_event_bytes);
        std::mem::replace(&mut self.output, empty)
    }

    /// So many bytes have been sent.
    pub fn sent(&mut self, bytes: usize) {
        self.flight_bytes = self.flight_bytes.saturating_sub(bytes);
        if self.flight_bytes == 0 {
            self.flight_event_bytes = 0;
        }
    }

    /// Moves replies that are ready, and what follows them, to the output.
    fn flush(&mut self) {
        while self.frontier > 0 {
            let Some(Slot { state: State::Done(_), .. }) = self.slots.front() else { break };
            let Some(mut slot) = self.slots.pop_front() else { break };
            self.frontier -= 1;
            if let State::Done(frame) = &mut slot.state {
                self.held_bytes -= frame.len() + slot.after.len();
                append(&mut self.output, frame);
                append(&mut self.output, &mut slot.after);
            }
            self.held_event_bytes -= slot.after_event_bytes;
            self.output_event_bytes += slot.after_event_bytes;
            self.forget(&slot);
        }
    }

    fn forget(&mut self, slot: &Slot) {
        if self.slots.is_empty() && self.slots.capacity() > SLOTS_RETAINED {
            self.slots = VecDeque::new();
        }
        self.first_seq += 1;
        self.request_bytes -= slot.request_bytes;
        self.large_bytes_released += slot.large_bytes;
    }
}

/// Appends, without copying where there is nothing to append to.
fn append(out: &mut Vec<u8>, more: &mut Vec<u8>) {
    if out.is_empty() && more.len() > out.capacity() {
        std::mem::swap(out, more);
    } else {
        out.append(more);
    }
}
