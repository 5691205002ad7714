//! Reads whose answer comes later or in parts: one record, or one part from every shard, or one per op of a multiRead.

use crate::proto::OpCode;
use crate::proto::{multi, reply};
use engine::error_code::ErrorCode;
use engine::event::{SYNTHETIC_EVENT_ZXID, event_frame};
use engine::jute::Writer;
use engine::read::{OwedEvent, ReadBody};
use engine::zxid::Zxid;

/// What has come of a read so far.
#[derive(Debug)]
pub(super) struct Collect {
    /// The view that all parts are answered as of.
    pub view: Zxid,
    /// Whether it may register watches, whose first events belong to views that the core may have left by then.
    pub watches: bool,
    missing: usize,
    failed: Option<ErrorCode>,
    kind: Kind,
}

/// What the parts add up to.
#[derive(Debug)]
pub(super) enum Kind {
    /// The reply record, from one shard.
    Record(Vec<u8>),
    /// getAllChildrenNumber: the sum.
    Count(u32),
    /// addWatch: that all shards know.
    AddWatch,
    /// checkWatches, removeWatches: whether any shard had it.
    Find(bool),
    /// setWatches: the events that are owed at once.
    Restore(Vec<OwedEvent>),
    /// multiRead.
    Multi(MultiResults),
}

/// Results of a multiRead.
#[derive(Debug)]
pub(super) struct MultiResults {
    /// Results that came at once, encoded.
    pub encoded: Vec<u8>,
    /// How many ops those are.
    pub encoded_ops: u32,
    /// The others.
    pub rest: Vec<OpResult>,
    /// Bytes of all results.
    pub bytes: usize,
    /// The most that they may be.
    pub bytes_max: usize,
}

/// Result of one op of a multiRead.
#[derive(Debug)]
pub(super) enum OpResult {
    /// Not known yet; the op's type.
    Missing(OpCode),
    /// The op's type and record.
    Record(OpCode, Vec<u8>),
    /// Its error.
    Failed(ErrorCode),
}

impl Collect {
    /// A read of `parts` parts, as of `view`.
    pub fn new(view: Zxid, parts: usize, kind: Kind) -> Collect {
        let watches = matches!(kind, Kind::AddWatch | Kind::Restore(_));
        Collect { view, watches, missing: parts, failed: None, kind }
    }

    /// Whether every part has come.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Takes a part.
    pub fn take(&mut self, part: u32, result: Result<ReadBody, ErrorCode>) {
        match (&mut self.kind, result) {
            (Kind::Multi(results), result) => {
                if !results.take(part, result) {
                    return;
                }
                if results.bytes > results.bytes_max {
                    results.rest.iter_mut().for_each(|result| *result = OpResult::Failed(ErrorCode::MarshallingError));
                    self.failed = Some(ErrorCode::MarshallingError);
                    self.missing = 1;
                }
            }
            (Kind::Find(_), Err(ErrorCode::NoWatcher)) => {}
            (_, Err(code)) => self.failed = Some(code),
            (Kind::Record(record), Ok(ReadBody::Record(body))) => *record = body,
            (Kind::Count(total), Ok(ReadBody::Count(count))) => *total = total.saturating_add(count),
            (Kind::Find(found), Ok(ReadBody::Found(here))) => *found |= here,
            (Kind::Restore(owed), Ok(ReadBody::Restored(more))) => owed.extend(more),
            (Kind::AddWatch, Ok(_)) => {}
            (Kind::Record(_) | Kind::Count(_) | Kind::Find(_) | Kind::Restore(_), Ok(_)) => {
                self.failed = Some(ErrorCode::MarshallingError);
            }
        }
        self.missing = self.missing.saturating_sub(1);
    }

    /// Appends the reply, the owed events of a setWatches before it.
    pub fn encode(mut self, out: &mut Vec<u8>, xid: i32) {
        if let (Kind::Restore(owed), None) = (&mut self.kind, self.failed) {
            owed.sort_by_key(|event| event.index);
            for event in owed {
                out.extend_from_slice(&event_frame(SYNTHETIC_EVENT_ZXID, event.kind, &event.path));
            }
        }
        let start = reply::begin(out, xid);
        let err = self.failed.or_else(|| self.encode_body(out));
        match err {
            None => reply::finish(out, start, self.view.to_wire(), 0),
            Some(code) => reply::fail(out, start, self.view.to_wire(), code),
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Option<ErrorCode> {
        let mut w = Writer::new(out);
        match &self.kind {
            Kind::Record(record) => w.raw(record),
            Kind::Count(total) => w.int(i32::try_from(*total).unwrap_or(i32::MAX)),
            Kind::AddWatch => w.int(0),
            Kind::Find(true) | Kind::Restore(_) => {}
            Kind::Find(false) => return Some(ErrorCode::NoWatcher),
            Kind::Multi(results) => results.encode(&mut w),
        }
        None
    }
}

impl MultiResults {
    /// Whether the part was missing.
    fn take(&mut self, part: u32, result: Result<ReadBody, ErrorCode>) -> bool {
        let index = part.checked_sub(self.encoded_ops).map(|index| index as usize);
        let Some(place) = index.and_then(|index| self.rest.get_mut(index)) else { return false };
        let OpResult::Missing(op) = *place else { return false };
        *place = match result {
            Ok(ReadBody::Record(record)) => {
                self.bytes += record.len();
                OpResult::Record(op, record)
            }
            Ok(_) => OpResult::Failed(ErrorCode::MarshallingError),
            Err(code) => OpResult::Failed(code),
        };
        true
    }

    fn encode(&self, w: &mut Writer<'_>) {
        w.raw(&self.encoded);
        self.rest.iter().for_each(|result| result.encode(w));
        multi::encode_terminator(w);
    }
}

impl OpResult {
    /// Appends the result.
    pub fn encode(&self, w: &mut Writer<'_>) {
        match self {
            OpResult::Record(op, record) => {
                multi::encode_header(w, *op as i32, false, 0);
                w.raw(record);
            }
            OpResult::Failed(code) => multi::encode_failure(w, code.code()),
            OpResult::Missing(_) => multi::encode_failure(w, ErrorCode::MarshallingError.code()),
        }
    }
}
