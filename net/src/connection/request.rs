//! One frame of an established session: what it asks, whether its time has come, and where it goes.

use super::collect::{Collect, Kind, MultiResults, OpResult};
use super::handshake::Phase;
use super::queue::{Finished, State};
use super::throttle::{Passed, Verdict};
use super::{Cx, Ending, Machine, ReadCall, ReadDispatch, ReadTarget, Serving};
use crate::frame::LENGTH_BYTES;
use crate::metrics::Counter;
use crate::proto::auth::{self, AuthPacket};
use crate::proto::reply::{self, header_zxid, xid as reserved};
use crate::proto::watch::WatchRequest;
use crate::proto::{OpCode, multi, read, watch};
use engine::error_code::ErrorCode;
use engine::ids::{SessionId, ShardId};
use engine::jute::{Reader, Writer};
use engine::read::{ReadBody, ReadOp, RestoredKind, RestoredWatch, WatchSelector};
use replication::request::{WriteOp, WriteRequest, codec};
use smallvec::SmallVec;
use std::sync::Arc;

/// Whether a frame was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offer {
    /// It was.
    Taken,
    /// Its time has not come: offer it again.
    Wait,
}

/// Bytes of a `RequestHeader`.
const HEADER_BYTES: usize = 8;

/// The header of the request at hand.
#[derive(Clone, Copy)]
struct Header {
    xid: i32,
    op: OpCode,
    session: SessionId,
    /// Length of the frame.
    bytes: usize,
}

impl Machine {
    /// Whether the next frame may be looked at.
    pub(super) fn takes_requests(&self) -> bool {
        if self.ending.is_some() {
            return false;
        }
        match self.phase {
            Phase::Fresh => true,
            Phase::Word { .. } | Phase::Connecting { .. } | Phase::Settling { .. } => false,
            Phase::Established { .. } => {
                let full = self.queue.len() >= self.limits.outstanding_max
                    || self.queue.request_bytes() >= self.limits.outstanding_bytes_max
                    || self.queue.unsent_bytes() >= self.limits.unsent_bytes_max;
                !full
            }
        }
    }

    /// Takes a frame, or says that it has to wait.
    pub(super) fn offer(&mut self, cx: &mut impl Cx, frame: &[u8]) -> Offer {
        if cx.serving() == Serving::No {
            cx.metrics().count(Counter::ClosedWithoutServer, 1);
            self.end(Ending::Now);
            return Offer::Taken;
        }
        let Phase::Established { session, seen, timeout_ms } = self.phase else {
            self.received(cx);
            self.handshake(cx, frame);
            return Offer::Taken;
        };
        let Some((header, record)) = frame.split_first_chunk::<HEADER_BYTES>() else {
            self.end(Ending::Now);
            return Offer::Taken;
        };
        let [x0, x1, x2, x3, o0, o1, o2, o3] = *header;
        let xid = i32::from_be_bytes([x0, x1, x2, x3]);
        let Some(op) = OpCode::from_wire(i32::from_be_bytes([o0, o1, o2, o3])) else {
            self.received(cx);
            self.reply_unknown(cx, xid);
            return Offer::Taken;
        };
        let header = Header { xid, op, session, bytes: frame.len() };
        let mut is_late = false;
        if self.throttled.is_some() && !matches!(op, OpCode::Auth | OpCode::Sasl) {
            match self.throttle(cx, op, LENGTH_BYTES + frame.len(), timeout_ms) {
                Verdict::Pass(passed) => is_late = passed == Passed::Late,
                Verdict::Wait => {
                    // Its pings wait as well: a session must not expire for want of its turn.
                    self.touch(cx, session);
                    return Offer::Wait;
                }
                Verdict::Drop => {
                    self.end(Ending::Now);
                    return Offer::Taken;
                }
            }
        }
        let is_free = matches!(op, OpCode::Ping | OpCode::Auth | OpCode::Sasl | OpCode::WhoAmI);
        let goes_to_role = op.is_write() || op == OpCode::Sync;
        let is_behind = seen > cx.view() || self.reach(cx) < cx.view();
        if !is_free && !goes_to_role && (!self.queue.is_open() || is_behind) {
            return Offer::Wait;
        }
        if (goes_to_role || op == OpCode::GetEphemerals) && !cx.has_room(self.queue.len()) {
            return Offer::Wait;
        }
        self.received(cx);
        self.touch(cx, session);
        if !matches!(op, OpCode::Auth | OpCode::Sasl) && !auth::satisfies(&self.identity, &self.limits.auth) {
            let code = ErrorCode::SessionClosedRequireSaslAuth.code();
            self.reply_now(cx, header, Some(header_zxid::NONE), |out| {
                reply::encode_header_only(out, xid, header_zxid::NONE, code);
            });
            self.end(Ending::WhenAnswered);
            return Offer::Taken;
        }
        if is_late {
            self.fail_now(cx, header, ErrorCode::ThrottledOp);
            return Offer::Taken;
        }
        self.dispatch_large(cx, header, record);
        Offer::Taken
    }

    fn received(&mut self, cx: &mut impl Cx) {
        self.counters.received();
        cx.metrics().packets_received += 1;
    }

    fn touch(&mut self, cx: &mut impl Cx, session: SessionId) {
        let now_ms = cx.now_ms();
        if self.touched_ms != now_ms {
            self.touched_ms = now_ms;
            cx.touch(session);
        }
    }

    /// Dispatches, with large requests accounted for as long as they are in process.
    fn dispatch_large(&mut self, cx: &mut impl Cx, header: Header, record: &[u8]) {
        if self.limits.large_request_threshold.is_none_or(|threshold| header.bytes <= threshold) {
            return self.dispatch(cx, header, record);
        }
        if !cx.reserve_large(header.bytes) {
            cx.metrics().count(Counter::LargeRequestsRejected, 1);
            return self.end(Ending::Now);
        }
        let seq = self.queue.next_seq();
        self.dispatch(cx, header, record);
        if self.queue.next_seq() != seq
            && let Some(slot) = self.queue.last_mut()
        {
            slot.large_bytes = header.bytes;
        } else {
            cx.release_large(header.bytes);
        }
    }

    fn dispatch(&mut self, cx: &mut impl Cx, header: Header, record: &[u8]) {
        let mut reader = Reader::with_length_max(record, self.limits.field_bytes_max);
        let r = &mut reader;
        let is_read_only = cx.serving() == Serving::ReadOnly;
        match header.op {
            OpCode::Ping => self.reply_now(cx, header, None, |out| {
                reply::encode_header_only(out, reserved::PING, 0, 0);
            }),
            OpCode::Auth => self.authenticate(cx, header, r),
            OpCode::Sasl => match r.buffer() {
                Ok(_) => self.reply_now(cx, header, Some(header_zxid::NONE), |out| {
                    let start = reply::begin(out, header.xid);
                    auth::encode_sasl_unconfigured(out);
                    reply::finish(out, start, header_zxid::NONE, 0);
                }),
                Err(_) => self.end(Ending::Now),
            },
            OpCode::WhoAmI => {
                let identity = Arc::clone(&self.identity);
                self.reply_now(cx, header, None, |out| {
                    let start = reply::begin(out, header.xid);
                    auth::encode_who_am_i(&identity, out);
                    reply::finish(out, start, 0, 0);
                });
            }
            op if is_read_only && (op.is_write() && op != OpCode::CloseSession || op == OpCode::Sync) => {
                self.fail_now(cx, header, ErrorCode::NotReadOnly);
            }
            OpCode::Sync => match read::optional_text(r) {
                Ok(path) => {
                    let origin = self.origin();
                    let state = State::Syncing { path: path.map(Into::into), at: None };
                    self.push(cx, header, state);
                    cx.sync(origin, header.session);
                }
                Err(_) => self.fail_now(cx, header, ErrorCode::MarshallingError),
            },
            OpCode::GetEphemerals => match read::optional_text(r) {
                Ok(prefix) => {
                    let origin = self.origin();
                    self.push(cx, header, State::Listing { answer: None });
                    cx.ephemerals(origin, header.session, prefix.map(Into::into));
                }
                Err(_) => self.fail_now(cx, header, ErrorCode::MarshallingError),
            },
            OpCode::MultiRead => match multi::decode_reads(r) {
                Ok(ops) => self.read_many(cx, header, &ops),
                Err(_) => self.fail_now(cx, header, ErrorCode::MarshallingError),
            },
            op => {
                if let Some(decoded) = read::decode(op, r) {
                    match decoded {
                        Ok(op) => self.read(cx, header, &op),
                        Err(_) => self.fail_now(cx, header, ErrorCode::MarshallingError),
                    }
                } else if let Some(decoded) = codec::decode(op as i32, r) {
                    match decoded {
                        Ok(op) => self.write(cx, header, op),
                        Err(_) => self.fail_now(cx, header, ErrorCode::MarshallingError),
                    }
                } else if let Some(decoded) = watch::decode(op, r) {
                    match decoded {
                        Ok(WatchRequest::One(op)) => self.read(cx, header, &op),
                        Ok(WatchRequest::Nowhere) => self.fail_now(cx, header, ErrorCode::NoWatcher),
                        Ok(WatchRequest::Restore(zxid, items)) => self.restore(cx, header, zxid, items),
                        Err(_) => self.fail_now(cx, header, ErrorCode::MarshallingError),
                    }
                }
            }
        }
    }

    fn authenticate(&mut self, cx: &mut impl Cx, header: Header, r: &mut Reader<'_>) {
        let Ok(packet) = AuthPacket::decode(r) else { return self.end(Ending::Now) };
        let applied = packet.apply(&self.identity, self.peer.ip(), &self.limits.auth);
        let err = applied.as_ref().err().map_or(0, |code| code.code());
        self.reply_now(cx, header, Some(header_zxid::NONE), |out| {
            reply::encode_header_only(out, header.xid, header_zxid::NONE, err);
        });
        match applied {
            Ok(identity) => self.identity = Arc::new(identity),
            Err(_) => {
                cx.metrics().auth_failed += 1;
                self.end(Ending::WhenAnswered);
            }
        }
    }

    fn write(&mut self, cx: &mut impl Cx, header: Header, op: WriteOp) {
        let closes = op == WriteOp::CloseSession;
        let origin = self.origin();
        self.push(cx, header, State::Writing { answer: None, stats: SmallVec::new() });
        cx.write(WriteRequest {
            origin: Some(origin),
            session: header.session,
            cxid: header.xid,
            identity: Arc::clone(&self.identity),
            op,
        });
        if closes {
            self.end(Ending::WhenAnswered);
        }
    }

    /// A read that is one op, whether one shard answers it or all of them.
    fn read(&mut self, cx: &mut impl Cx, header: Header, op: &ReadOp<'_>) {
        let everywhere = match op {
            ReadOp::CountDescendants { .. } | ReadOp::AddWatch { recursive: true, .. } => true,
            ReadOp::FindWatch { kind, .. } => {
                matches!(kind, WatchSelector::Any | WatchSelector::PersistentRecursive)
            }
            _ => false,
        };
        let kind = match op {
            ReadOp::CountDescendants { .. } => Kind::Count(0),
            ReadOp::AddWatch { .. } => Kind::AddWatch,
            ReadOp::FindWatch { .. } => Kind::Find(false),
            _ => return self.read_record(cx, header, op),
        };
        let parts = if everywhere { cx.shards() } else { 1 };
        let mut collect = Collect::new(cx.view(), usize::from(parts), kind);
        for part in 0..parts {
            let target = if everywhere { ReadTarget::Shard(ShardId(part)) } else { ReadTarget::Owner };
            self.read_part(cx, target, u32::from(part), op, &mut collect);
        }
        self.collected(cx, header, collect);
    }

    /// The hot path: a record from one shard, straight into the output if it is there at once.
    fn read_record(&mut self, cx: &mut impl Cx, header: Header, op: &ReadOp<'_>) {
        let call = ReadCall { target: ReadTarget::Owner, origin: self.origin(), part: 0, identity: &self.identity, op };
        let zxid = cx.view().to_wire();
        let (taken, bytes) = self.queue.write_here(|out| {
            let start = reply::begin(out, header.xid);
            let taken = cx.read(call, out);
            match &taken {
                ReadDispatch::Answered => reply::finish(out, start, zxid, 0),
                ReadDispatch::Failed(code) => reply::fail(out, start, zxid, *code),
                ReadDispatch::Body(ReadBody::Record(record)) => {
                    out.truncate(start + reply::HEADER_BYTES);
                    out.extend_from_slice(record);
                    reply::finish(out, start, zxid, 0);
                }
                ReadDispatch::Body(_) => reply::fail(out, start, zxid, ErrorCode::MarshallingError),
                ReadDispatch::Later => out.truncate(start),
            }
            (taken, out.len() - start)
        });
        if taken == ReadDispatch::Later {
            let mut collect = Collect::new(cx.view(), 1, Kind::Record(Vec::new()));
            collect.watches = matches!(
                op,
                ReadOp::Exists { watch: true, .. }
                    | ReadOp::GetData { watch: true, .. }
                    | ReadOp::GetChildren { watch: true, .. }
            );
            self.push(cx, header, State::Reading(collect));
        } else {
            self.replied_at_once(cx, header, zxid, bytes);
        }
    }

    /// One part of a read that is put together from several.
    fn read_part(&mut self, cx: &mut impl Cx, target: ReadTarget, part: u32, op: &ReadOp<'_>, collect: &mut Collect) {
        let call = ReadCall { target, origin: self.origin(), part, identity: &self.identity, op };
        let mut record = Vec::new();
        match cx.read(call, &mut record) {
            ReadDispatch::Answered => collect.take(part, Ok(ReadBody::Record(record))),
            ReadDispatch::Failed(code) => collect.take(part, Err(code)),
            ReadDispatch::Body(body) => collect.take(part, Ok(body)),
            ReadDispatch::Later => {}
        }
    }

    /// Answers what is complete; what is not takes a slot.
    fn collected(&mut self, cx: &mut impl Cx, header: Header, collect: Collect) {
        if !collect.is_complete() {
            return self.push(cx, header, State::Reading(collect));
        }
        let zxid = collect.view.to_wire();
        let bytes = self.queue.write_here(|out| {
            let start = out.len();
            collect.encode(out, header.xid);
            out.len() - start
        });
        self.replied_at_once(cx, header, zxid, bytes);
    }

    /// setWatches: every shard gets the paths that it owns, and all of the recursive ones.
    fn restore(&mut self, cx: &mut impl Cx, header: Header, relative_zxid: i64, items: Vec<RestoredWatch>) {
        let shards = cx.shards();
        let mut by_shard: Vec<Vec<RestoredWatch>> = vec![Vec::new(); usize::from(shards)];
        match &mut by_shard[..] {
            [only] => *only = items,
            _ => {
                for item in items {
                    if item.kind == RestoredKind::PersistentRecursive {
                        by_shard.iter_mut().for_each(|shard| shard.push(item.clone()));
                    } else if let Some(shard) = by_shard.get_mut(usize::from(cx.shard_of(&item.path).0)) {
                        shard.push(item);
                    }
                }
            }
        }
        let parts = by_shard.iter().filter(|items| !items.is_empty()).count();
        let mut collect = Collect::new(cx.view(), parts, Kind::Restore(Vec::new()));
        for (shard, items) in by_shard.into_iter().enumerate() {
            if !items.is_empty() {
                let op = ReadOp::SetWatches { relative_zxid, items };
                let target = ReadTarget::Shard(ShardId(shard as u16));
                self.read_part(cx, target, shard as u32, &op, &mut collect);
            }
        }
        self.collected(cx, header, collect);
    }

    /// multiRead: results that are there at once are encoded as they come; from the first that is not, they are kept
    /// apart.
    fn read_many(&mut self, cx: &mut impl Cx, header: Header, ops: &[ReadOp<'_>]) {
        let mut encoded = Vec::new();
        let mut rest: Vec<OpResult> = Vec::new();
        let mut encoded_ops = 0;
        let mut bytes = 0;
        let mut missing = 0;
        for (part, op) in ops.iter().enumerate() {
            let part = part as u32;
            let op_code = if matches!(op, ReadOp::GetData { .. }) { OpCode::GetData } else { OpCode::GetChildren };
            let start = encoded.len();
            multi::encode_header(&mut Writer::new(&mut encoded), op_code as i32, false, 0);
            let body = encoded.len();
            let call =
                ReadCall { target: ReadTarget::Owner, origin: self.origin(), part, identity: &self.identity, op };
            let result = match cx.read(call, &mut encoded) {
                ReadDispatch::Answered if rest.is_empty() => {
                    encoded_ops += 1;
                    bytes += encoded.len() - body;
                    if bytes > self.limits.multi_read_bytes_max {
                        return self.fail_now(cx, header, ErrorCode::MarshallingError);
                    }
                    continue;
                }
                ReadDispatch::Answered => OpResult::Record(op_code, encoded.split_off(body)),
                ReadDispatch::Body(ReadBody::Record(record)) => OpResult::Record(op_code, record),
                ReadDispatch::Body(_) => OpResult::Failed(ErrorCode::MarshallingError),
                ReadDispatch::Failed(code) => OpResult::Failed(code),
                ReadDispatch::Later => OpResult::Missing(op_code),
            };
            encoded.truncate(start);
            match &result {
                OpResult::Record(_, record) => bytes += record.len(),
                OpResult::Missing(_) => missing += 1,
                OpResult::Failed(_) => {}
            }
            if rest.is_empty() && !matches!(result, OpResult::Missing(_)) {
                result.encode(&mut Writer::new(&mut encoded));
                encoded_ops += 1;
            } else {
                rest.push(result);
            }
            if bytes > self.limits.multi_read_bytes_max {
                return self.fail_now(cx, header, ErrorCode::MarshallingError);
            }
        }
        let results = MultiResults { encoded, encoded_ops, rest, bytes, bytes_max: self.limits.multi_read_bytes_max };
        self.collected(cx, header, Collect::new(cx.view(), missing, Kind::Multi(results)));
    }

    /// An unknown opcode is answered with a header zxid of its own, and is the last thing answered.
    fn reply_unknown(&mut self, cx: &mut impl Cx, xid: i32) {
        let Phase::Established { session, .. } = self.phase else { return };
        let header = Header { xid, op: OpCode::Sasl, session, bytes: HEADER_BYTES };
        self.reply_now(cx, header, Some(header_zxid::UNKNOWN_OPCODE), |out| {
            let code = ErrorCode::Unimplemented.code();
            reply::encode_header_only(out, xid, header_zxid::UNKNOWN_OPCODE, code);
        });
        self.end(Ending::WhenAnswered);
    }

    fn fail_now(&mut self, cx: &mut impl Cx, header: Header, code: ErrorCode) {
        self.reply_now(cx, header, None, |out| reply::encode_header_only(out, header.xid, 0, code.code()));
    }

    /// A reply that needs nobody, in its place. Without a header zxid of its own it gets what holds there.
    fn reply_now(&mut self, cx: &mut impl Cx, header: Header, zxid: Option<i64>, encode: impl FnOnce(&mut Vec<u8>)) {
        if !self.queue.is_open() {
            let mut frame = Vec::new();
            encode(&mut frame);
            return self.push(cx, header, State::Ready { frame, stamped: zxid.is_some() });
        }
        let stamp = zxid.unwrap_or(self.horizon.to_wire());
        let bytes = self.queue.write_here(|out| {
            let start = out.len();
            encode(out);
            reply::stamp(out, start, stamp);
            out.len() - start
        });
        self.replied_at_once(cx, header, stamp, bytes);
    }

    fn replied_at_once(&mut self, cx: &mut impl Cx, header: Header, zxid: i64, bytes: usize) {
        let Header { op, xid, .. } = header;
        self.replied(cx, Finished { op, xid, received_ms: cx.now_ms(), zxid, bytes });
    }

    fn push(&mut self, cx: &mut impl Cx, header: Header, state: State) {
        self.queue.push(header.xid, header.op, cx.now_ms(), header.bytes, state);
    }
}
