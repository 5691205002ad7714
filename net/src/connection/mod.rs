//! A client connection as a state machine: bytes and answers in, requests and bytes out. No socket, no clock.
//!
//! # States
//! *Fresh* until the first bytes make it a four-letter word or a handshake; *connecting* until the replication role
//! has answered and the view has reached the session's creation; then *established*. A connection *ends* ([`Fate`])
//! when the client closes its session, when the protocol says so (unknown opcode, failed authentication, bad length),
//! or when the host says so.
//!
//! # How the host drives it
//! * Received bytes go to [`Connection::receive`]; while [`Connection::wants_input`] is false, receive no more.
//! * When the core's view has moved, and before anything else happens to the connection, call
//!   [`Connection::step_view`] if there are events for it up to the new view or [`Connection::next_view`] has been
//!   reached. Answers and Stats of writes are to be noted before the view steps past them.
//! * Answers go to the method that names them. Those of requests that are no longer waited for change nothing. Answers
//!   and Stats of writes are only noted: call [`Connection::step_view`] when the view has come to where
//!   [`Connection::next_view`] says.
//! * After any call: send [`Connection::output`] (take it with [`Connection::take_output`], report progress with
//!   [`Connection::output_sent`]) and look at [`Connection::fate`].
//!
//! # What it keeps
//! * Replies leave in request order. A read is dispatched only when every write and sync before it is done, and a write
//!   is submitted only when every read before it has been dispatched: an earlier read never sees a later write of its
//!   own session. Writes are pipelined among themselves.
//! * Requests that cannot be dispatched yet stay as they came, undecoded, so that the bytes of a client that pipelines
//!   far ahead are held once, or not read from its socket at all.
//! * While a read that may register a watch is under way to another core, the connection stays at the view that the
//!   read was dispatched with, so that an event which the registration itself fires finds its place.
//! * Events go behind every read that was dispatched before them and ahead of writes still pending; the zxid in a
//!   reply's header never promises events that come after it.

mod collect;
mod counters;
mod cx;
mod handshake;
mod limits;
mod queue;
mod request;
#[cfg(test)]
mod tests;
mod throttle;

pub use counters::{ConnectionCounters, ConnectionInfo};
pub use cx::{Cx, HandshakeKind, ReadCall, ReadDispatch, ReadTarget, Serving, ViewEvent};
pub use limits::{AuthPolicy, ConnectionLimits};
pub use throttle::RequestThrottle;

use crate::four_letter::Word;
use crate::frame::{FrameDecoder, LENGTH_BYTES, Peek};
use crate::metrics::{AdvancedSummary, Counter};
use crate::proto::OpCode;
use crate::proto::auth::identity_at_accept;
use engine::acl::{Identity, perms};
use engine::ids::{ConnId, CoreId, Origin, SessionId};
use engine::piece::CapturedStat;
use engine::read::ReadReply;
use engine::zxid::Zxid;
use handshake::Phase;
use queue::{Finished, Queue, State, Stop};
use replication::request::WriteAnswer;
use request::Offer;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use throttle::Throttled;

/// Whether a connection goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It does.
    Open,
    /// Close it as soon as its output has been sent. Nothing more will be added.
    CloseWhenSent,
    /// Close it now; unsent output is lost.
    CloseNow,
}

/// A client connection. See the module for how it is driven.
#[derive(Debug)]
pub struct Connection {
    decoder: FrameDecoder,
    /// Whether decoding stopped before it ran out of bytes.
    stalled: bool,
    machine: Machine,
}

// There may be a hundred thousand of them, most of them idle.
const _: () = assert!(size_of::<Connection>() <= 768);

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    /// When everything asked before has been answered and sent.
    WhenAnswered,
    /// When the output has been sent.
    WhenSent,
    /// At once.
    Now,
}

/// Everything but the bytes not decoded yet.
#[derive(Debug)]
struct Machine {
    id: ConnId,
    core: CoreId,
    peer: SocketAddr,
    limits: Arc<ConnectionLimits>,
    identity: Arc<Identity>,
    phase: Phase,
    ending: Option<Ending>,
    queue: Queue,
    /// Everything up to here that concerns this connection stands before what is written next.
    horizon: Zxid,
    /// Events beyond the view that the connection is held at, in order.
    later: VecDeque<ViewEvent>,
    later_bytes: usize,
    /// The session's life ends when the view has reached this.
    close_at: Option<Zxid>,
    touched_ms: i64,
    counters: ConnectionCounters,
    /// Under a request throttle only.
    throttled: Option<Box<Throttled>>,
}

impl Connection {
    /// A connection that has just been accepted at `now_ms` of the core's monotonic clock.
    pub fn new(id: ConnId, core: CoreId, peer: SocketAddr, limits: Arc<ConnectionLimits>, now_ms: i64) -> Connection {
        let identity = Arc::new(identity_at_accept(peer.ip(), &limits.auth));
        let throttled = limits.throttle.map(|_| Box::default());
        Connection {
            decoder: FrameDecoder::new(limits.frame_bytes_max),
            stalled: false,
            machine: Machine {
                id,
                core,
                peer,
                limits,
                identity,
                phase: Phase::Fresh,
                ending: None,
                queue: Queue::default(),
                horizon: Zxid::ZERO,
                later: VecDeque::new(),
                later_bytes: 0,
                close_at: None,
                touched_ms: i64::MIN,
                counters: ConnectionCounters::new(now_ms),
                throttled,
            },
        }
    }

    /// Takes received bytes: decodes and dispatches as far as order and limits allow, and keeps the rest.
    pub fn receive(&mut self, cx: &mut impl Cx, bytes: &[u8]) {
        cx.metrics().count(Counter::BytesReceived, bytes.len() as u64);
        self.machine.horizon = self.machine.reach(cx);
        if let Some(throttled) = &mut self.machine.throttled {
            throttled.arrive(bytes.len(), cx.now_ms());
        }
        self.pump(cx, bytes);
    }

    /// Goes on decoding where it stopped: room has come at the replication role, or a global limit no longer holds.
    pub fn resume(&mut self, cx: &mut impl Cx) {
        self.machine.horizon = self.machine.reach(cx);
        self.pump(cx, &[]);
    }

    /// The session is established or renewed; the reply holds once the view has reached `at`.
    pub fn connected(&mut self, cx: &mut impl Cx, session: SessionId, timeout_ms: i32, password: [u8; 16], at: Zxid) {
        self.machine.connected(session, timeout_ms, password, at);
        self.after_answer(cx);
    }

    /// The handshake failed: unknown or expired session, or a wrong password.
    pub fn refused(&mut self, cx: &mut impl Cx) {
        self.machine.refused(cx);
    }

    /// The session has been closed, has expired or has moved: once the view has reached `at` and what was owed before
    /// has been sent, the connection is closed without a frame. The answer to a closeSession comes before this.
    pub fn close_at(&mut self, cx: &mut impl Cx, at: Zxid) {
        self.machine.close_at = Some(at);
        self.after_answer(cx);
    }

    /// Notes the answer to a write. It is sent when [`Self::step_view`] finds the view where it must be.
    pub fn note_answer(&mut self, write: WriteAnswer) {
        if let Some(State::Writing { answer, .. }) = self.machine.waiting(&write.origin) {
            *answer = Some((write.zxid, write.result));
        }
    }

    /// Notes a Stat that a write's reply needs, likewise.
    pub fn note_stat(&mut self, captured: CapturedStat) {
        if let Some(State::Writing { stats, .. }) = self.machine.waiting(&captured.origin)
            && stats.iter().all(|(op, _)| *op != captured.op)
        {
            stats.push((captured.op, captured.stat));
        }
    }

    /// A shard's answer to a read that was taken as [`ReadDispatch::Later`].
    pub fn read_reply(&mut self, cx: &mut impl Cx, read: ReadReply) {
        self.machine.read_reply(cx, read);
        self.after_answer(cx);
    }

    /// A sync is complete once the view has reached `at`.
    pub fn sync_done(&mut self, cx: &mut impl Cx, origin: Origin, done_at: Zxid) {
        if let Some(State::Syncing { at, .. }) = self.machine.waiting(&origin) {
            *at = Some(done_at);
            self.after_answer(cx);
        }
    }

    /// The session's ephemerals as of `at`, for a getEphemerals.
    pub fn ephemerals(&mut self, cx: &mut impl Cx, origin: Origin, at: Zxid, paths: Vec<Arc<str>>) {
        if let Some(State::Listing { answer }) = self.machine.waiting(&origin) {
            *answer = Some((at, paths));
            self.after_answer(cx);
        }
    }

    /// The core's view has moved to [`Cx::view`]. `events` are those of this connection up to it that have not been
    /// delivered, in order of zxid and, within one, in ZooKeeper's. They are merged with the writes that are done by
    /// now, an event before the reply of the write that caused it; then waiting requests are dispatched.
    ///
    /// A watch that was registered as of a view that its shard had left fires at once if the node has changed since
    /// (V3), and then the event may belong to a view that this core has left too. It is delivered by this same call,
    /// before the reply of the read that registered it; until that reply comes the connection stays at the view that
    /// the read was dispatched with.
    pub fn step_view(&mut self, cx: &mut impl Cx, events: &[ViewEvent]) {
        if self.machine.ending.is_none() || self.machine.ending == Some(Ending::WhenAnswered) {
            self.machine.merge(cx, events);
        }
        self.after_answer(cx);
    }

    /// The answer to the four-letter word that [`Self::word`] names. It is sent and the connection closed.
    pub fn answer_word(&mut self, answer: &[u8]) {
        self.machine.queue.write_here(|out| out.extend_from_slice(answer));
        self.machine.ending = Some(Ending::WhenSent);
    }

    /// Ends the connection without a frame, at once.
    pub fn end(&mut self) {
        self.machine.end(Ending::Now);
    }

    /// Bytes that are ready to be sent.
    pub fn output(&self) -> &[u8] {
        self.machine.queue.output()
    }

    /// Hands over the bytes that are ready to be sent, and takes an empty vector to collect what comes next.
    pub fn take_output(&mut self, empty: Vec<u8>) -> Vec<u8> {
        self.machine.queue.take_output(empty)
    }

    /// So many of the bytes handed over have been sent. May go on decoding.
    pub fn output_sent(&mut self, cx: &mut impl Cx, bytes: usize) {
        self.machine.queue.sent(bytes);
        if self.stalled {
            self.resume(cx);
        }
    }

    /// Whether the host should go on receiving.
    pub fn wants_input(&self) -> bool {
        self.machine.ending.is_none()
            && (!self.stalled || self.decoder.kept_bytes() < self.machine.limits.input_pause_bytes)
    }

    /// The view that must be reached before [`Self::step_view`] does anything without events; `None` if none would.
    pub fn next_view(&self) -> Option<Zxid> {
        let machine = &self.machine;
        if machine.queue.held_view().is_some() {
            return None;
        }
        let session = machine.phase.waits_for();
        [machine.queue.frontier_done_at(), machine.close_at, session].into_iter().flatten().min()
    }

    /// Whether decoding stopped for want of room at the replication role or of a limit, so that
    /// [`Self::resume`] may do something.
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }

    /// Whether the connection goes on.
    pub fn fate(&self) -> Fate {
        let machine = &self.machine;
        match machine.ending {
            None => Fate::Open,
            Some(Ending::WhenAnswered) if !machine.queue.is_empty() => Fate::Open,
            Some(Ending::WhenAnswered | Ending::WhenSent) => Fate::CloseWhenSent,
            Some(Ending::Now) => Fate::CloseNow,
        }
    }

    /// The four-letter word that waits for [`Self::answer_word`], with the argument of `stmk`.
    pub fn word(&self) -> Option<(Word, i64)> {
        match (self.machine.phase, self.machine.ending) {
            (Phase::Word { word, argument }, None) => Some((word, argument)),
            _ => None,
        }
    }

    /// The established session; `None` before and after.
    pub fn session(&self) -> Option<SessionId> {
        match self.machine.phase {
            Phase::Established { session, .. } => Some(session),
            _ => None,
        }
    }

    /// The connection's credentials.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.machine.identity
    }

    /// Bytes reserved by [`Cx::reserve_large`] and not released.
    pub fn large_bytes_held(&self) -> usize {
        self.machine.queue.large_bytes() + self.machine.queue.large_bytes_released
    }

    /// Takes the count of requests begun by [`Cx::begin_request`] and not ended: the host gives them back when the
    /// connection is gone.
    pub fn take_requests_counted(&mut self) -> usize {
        self.machine.take_requests_counted()
    }

    /// Requests that are not answered, for limits over all connections.
    pub fn outstanding(&self) -> usize {
        self.machine.queue.len()
    }

    /// Bytes held for this connection: undecoded input, unanswered requests, unsent output.
    pub fn held_bytes(&self) -> usize {
        let machine = &self.machine;
        self.decoder.capacity() + machine.queue.request_bytes() + machine.queue.unsent_bytes() + machine.later_bytes
    }

    /// What `cons`, `stat` and `dump` show.
    pub fn info(&self) -> ConnectionInfo {
        self.machine.info(self.wants_input() && !self.stalled)
    }

    /// Back to nothing received and nothing sent (`crst`).
    pub fn reset_counters(&mut self) {
        self.machine.counters.reset();
    }

    /// Something may have been finished: sends what can be sent, then dispatches what waited for it.
    fn after_answer(&mut self, cx: &mut impl Cx) {
        if !self.machine.later.is_empty() {
            self.machine.merge(cx, &[]);
        }
        self.machine.horizon = self.machine.reach(cx);
        self.machine.settle(cx);
        self.pump(cx, &[]);
    }

    fn pump(&mut self, cx: &mut impl Cx, mut chunk: &[u8]) {
        let Connection { decoder, stalled, machine } = self;
        let was_stalled = std::mem::replace(stalled, false);
        loop {
            if !machine.takes_requests() {
                *stalled = true;
                if !was_stalled && machine.session_is_established() {
                    cx.metrics().count(Counter::RequestThrottleWaits, 1);
                }
                break;
            }
            match decoder.peek(&mut chunk) {
                Peek::Frame(frame) => {
                    let bytes = frame.len();
                    if machine.offer(cx, frame) == Offer::Wait {
                        *stalled = true;
                        break;
                    }
                    decoder.consume(&mut chunk, bytes);
                    if let Some(throttled) = &mut machine.throttled {
                        throttled.decode(LENGTH_BYTES + bytes);
                        machine.release_requests(cx);
                    }
                }
                Peek::NeedMore => break,
                Peek::Word(Word::Stmk) => {
                    const BYTES: usize = LENGTH_BYTES + Word::STMK_ARGUMENT_BYTES;
                    let Some(bytes) = decoder.peek_raw::<BYTES>(&mut chunk) else { break };
                    let argument = bytes.last_chunk().copied().map(i64::from_be_bytes).unwrap_or_default();
                    machine.word(cx, Word::Stmk, argument);
                    decoder.skip(&mut chunk, BYTES);
                }
                Peek::Word(word) => {
                    machine.word(cx, word, 0);
                    decoder.skip(&mut chunk, LENGTH_BYTES);
                }
                Peek::TelnetInterrupt | Peek::BadLength(_) => machine.end(Ending::Now),
            }
        }
        if machine.ending.is_some() || matches!(machine.phase, Phase::Word { .. }) {
            decoder.forget();
            return;
        }
        decoder.keep(chunk);
        if decoder.kept_bytes() > machine.limits.input_bytes_max {
            machine.end(Ending::Now);
            decoder.forget();
        }
    }
}

impl Machine {
    /// What the request behind `origin` waits for.
    fn waiting(&mut self, origin: &Origin) -> Option<&mut State> {
        let is_own = origin.core == self.core && origin.conn == self.id;
        self.queue.slot_mut(origin.seq).filter(|_| is_own).map(|slot| &mut slot.state)
    }

    /// A four-letter word has come.
    fn word(&mut self, cx: &mut impl Cx, word: Word, argument: i64) {
        self.counters.received();
        cx.metrics().packets_received += 1;
        self.phase = Phase::Word { word, argument };
    }

    fn session_is_established(&self) -> bool {
        matches!(self.phase, Phase::Established { .. }) && self.ending.is_none()
    }

    fn origin(&self) -> Origin {
        Origin { core: self.core, conn: self.id, seq: self.queue.next_seq() }
    }

    /// The view that the connection has got to: the core's, unless it is held back.
    fn reach(&self, cx: &impl Cx) -> Zxid {
        self.queue.held_view().unwrap_or_else(|| cx.view())
    }

    /// Puts events and finished writes in order (V4), as far as the connection has got; events beyond that are kept.
    fn merge(&mut self, cx: &mut impl Cx, events: &[ViewEvent]) {
        let reach = self.reach(cx);
        let close_at = self.close_at.unwrap_or(Zxid(u64::MAX));
        let last = close_at.min(reach);
        for event in events.iter().take_while(|event| event.zxid <= close_at) {
            if !cx.acl_permits(event.acl, perms::READ, &self.identity) {
                continue;
            }
            if self.later.is_empty() && event.zxid <= reach {
                self.place(cx, event.zxid, &event.frame);
            } else {
                let at = self.later.partition_point(|kept| kept.zxid <= event.zxid);
                self.later_bytes += event.frame.len();
                self.later.insert(at, event.clone());
            }
        }
        while self.later.front().is_some_and(|event| event.zxid <= last)
            && let Some(event) = self.later.pop_front()
        {
            self.later_bytes -= event.frame.len();
            self.place(cx, event.zxid, &event.frame);
        }
        if self.queue.unsent_event_bytes() + self.later_bytes > self.limits.event_backlog_bytes {
            cx.metrics().count(Counter::ConnectionDrops, 1);
            self.end(Ending::Now);
        }
    }

    /// Puts an event behind the writes that came before it and ahead of the one that caused it.
    fn place(&mut self, cx: &mut impl Cx, zxid: Zxid, frame: &[u8]) {
        let before = Zxid(zxid.0.saturating_sub(1));
        self.finish_up_to(cx, before);
        if self.ending == Some(Ending::Now) || self.ending == Some(Ending::WhenSent) {
            return;
        }
        self.horizon = self.horizon.max(before);
        self.queue.push_event(frame);
        self.counters.sent();
        cx.metrics().packets_sent += 1;
        cx.metrics().count(Counter::WatchBytes, frame.len() as u64);
    }

    /// Finishes what is done as of the view, and then the session or the connection, if their time has come.
    fn settle(&mut self, cx: &mut impl Cx) {
        if matches!(self.ending, Some(Ending::Now | Ending::WhenSent)) {
            return;
        }
        let view = self.reach(cx);
        let due = self.close_at.filter(|at| *at <= view);
        self.finish_up_to(cx, due.unwrap_or(view));
        if due.is_some() && self.ending != Some(Ending::Now) {
            self.end(Ending::WhenSent);
        }
        if let Some(response) = self.phase.settle(view) {
            self.queue.write_here(|out| response.encode_frame(out));
            self.counters.session(view, cx.now_ms());
            cx.metrics().packets_sent += 1;
        }
        self.release_large(cx);
        self.release_requests(cx);
    }

    fn finish_up_to(&mut self, cx: &mut impl Cx, limit: Zxid) {
        loop {
            match self.queue.finish_one(limit, &mut self.horizon) {
                Ok(finished) => self.replied(cx, finished),
                Err(Stop::NotYet) => return,
                Err(Stop::SessionMoved) => {
                    self.end(Ending::WhenSent);
                    return;
                }
            }
        }
    }

    fn read_reply(&mut self, cx: &mut impl Cx, read: ReadReply) {
        let seq = read.origin.seq;
        let Some(State::Reading(collect)) = self.waiting(&read.origin) else { return };
        collect.take(read.part, read.result);
        if !collect.is_complete() {
            return;
        }
        let zxid = collect.view.to_wire();
        let Some(slot) = self.queue.slot_mut(seq) else { return };
        let (xid, op, received_ms) = (slot.xid, slot.op, slot.received_ms);
        let State::Reading(collect) = std::mem::replace(&mut slot.state, State::Done(Vec::new())) else { return };
        let mut frame = Vec::new();
        let watches = collect.watches;
        collect.encode(&mut frame, xid);
        let bytes = frame.len();
        self.queue.complete_read(seq, frame, watches);
        self.replied(cx, Finished { op, xid, received_ms, zxid, bytes });
    }

    /// Counts a reply.
    fn replied(&mut self, cx: &mut impl Cx, reply: Finished) {
        let now_ms = cx.now_ms();
        let latency_ms = now_ms.saturating_sub(reply.received_ms).max(0) as u64;
        self.counters.replied(reply.op, reply.xid, reply.zxid, now_ms, latency_ms);
        let metrics = cx.metrics();
        metrics.packets_sent += 1;
        metrics.latency.add(latency_ms);
        metrics.add_response(reply.bytes);
        match reply.op {
            OpCode::Ping | OpCode::Auth | OpCode::Sasl => {}
            op if op.is_write() => metrics.add_advanced(AdvancedSummary::UpdateLatency, latency_ms),
            _ => metrics.add_advanced(AdvancedSummary::ReadLatency, latency_ms),
        }
    }

    fn release_large(&mut self, cx: &mut impl Cx) {
        let released = std::mem::take(&mut self.queue.large_bytes_released);
        if released > 0 {
            cx.release_large(released);
        }
    }

    fn end(&mut self, ending: Ending) {
        if ending != Ending::WhenAnswered {
            self.queue.abandon();
            self.later.clear();
            self.later_bytes = 0;
        }
        if self.ending != Some(Ending::Now) {
            self.ending = Some(ending);
        }
    }
}
