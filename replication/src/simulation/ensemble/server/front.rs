//! What a server's connections do for its clients, in their plainest form: requests in order, reads behind the writes of
//! their session and as of the view, events ahead of whatever shows the change.

use super::{PARTITIONS, Server};
use crate::peer::mistake::Mistake;
use crate::request::{MultiResult, WriteOp, WriteRequest, WriteResult};
use crate::role::{self, Action, ConnectRequest};
use engine::acl::{AclTable, Identity, perms};
use engine::error_code::ErrorCode;
use engine::event::EventKind;
use engine::ids::{ConnId, CoreId, Origin, SessionId, ShardId};
use engine::jute::Reader;
use engine::path::shard_of;
use engine::piece::CapturedStat;
use engine::read::{OwedEvent, ReadBody, ReadOp, RestoredKind, RestoredWatch};
use engine::shard::{EventBatch, ReadOutcome};
use engine::stat::Stat;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a client sends.
#[derive(Clone, Debug)]
pub enum Ask {
    /// The handshake, with the timeout in milliseconds and the largest zxid that the client was shown.
    Connect(SessionId, i32, Zxid, Arc<Identity>),
    Write(i32, WriteOp),
    Sync(i32),
    Read(i32, ReadOp<'static>),
    /// multiRead.
    MultiRead(i32, Vec<ReadOp<'static>>),
    /// getEphemerals, with a prefix.
    Ephemerals(i32, &'static str),
    /// setWatches: changes after this zxid have been missed.
    Restore(i32, Zxid, Vec<RestoredWatch>),
    /// The connection is gone.
    HangUp,
}

/// What a client is told.
#[derive(Debug)]
pub enum Told {
    Connected(SessionId),
    Refused,
    Closed,
    Event(Zxid, EventKind, String),
    Written { xid: i32, zxid: Zxid, result: Result<WriteResult, ErrorCode>, stats: BTreeMap<u32, Stat> },
    Synced { xid: i32, zxid: Zxid },
    Read { xid: i32, view: Zxid, result: Result<Vec<u8>, ErrorCode> },
    MultiRead { xid: i32, view: Zxid, results: Vec<Result<Vec<u8>, ErrorCode>> },
    Ephemerals { xid: i32, at: Zxid, paths: Vec<Arc<str>> },
    Restored { xid: i32, view: Zxid, owed: Vec<OwedEvent> },
}

/// How far a handshake has come.
enum Phase {
    Connecting,
    Settling(SessionId, Zxid),
    Open(SessionId),
}

/// A request that the role has been given.
struct Slot {
    xid: i32,
    state: State,
}

enum State {
    Writing { answer: Option<(Zxid, Result<WriteResult, ErrorCode>)>, stats: BTreeMap<u32, Stat> },
    Syncing(Option<Zxid>),
    Listing(Option<(Zxid, Vec<Arc<str>>)>),
}

impl State {
    /// The view that the reply waits for, if it is known.
    fn done_at(&self) -> Option<Zxid> {
        match self {
            State::Writing { answer: Some((zxid, result)), stats } => {
                (stats.len() >= result.as_ref().map_or(0, stats_wanted)).then_some(*zxid)
            }
            State::Writing { answer: None, .. } => None,
            State::Syncing(at) => *at,
            State::Listing(list) => list.as_ref().map(|(at, _)| *at),
        }
    }
}

fn stats_wanted(result: &WriteResult) -> usize {
    match result {
        WriteResult::Created { stat, .. } => usize::from(*stat),
        WriteResult::Done => 0,
        WriteResult::Stat | WriteResult::Config { .. } => 1,
        WriteResult::Multi(results) => {
            let with_stat =
                |result: &&MultiResult| matches!(result, MultiResult::CreatedWithStat(_) | MultiResult::SetData);
            results.iter().filter(with_stat).count()
        }
    }
}

/// One connection.
struct Front {
    phase: Phase,
    identity: Arc<Identity>,
    /// No read before the view is here: what the client was shown elsewhere.
    seen: Zxid,
    /// What is not answered, in order.
    slots: VecDeque<Slot>,
    /// Events that the view has not reached, by zxid and order.
    events: BTreeMap<(Zxid, u32), (EventKind, String)>,
    close_at: Option<Zxid>,
    /// What has not been looked at.
    waiting: VecDeque<Ask>,
}

impl Front {
    fn finish(&mut self, upto: Zxid, told: &mut Vec<Told>) {
        while self.slots.front().and_then(|slot| slot.state.done_at()).is_some_and(|at| at <= upto) {
            let Some(Slot { xid, state }) = self.slots.pop_front() else { return };
            match state {
                State::Writing { answer: Some((_, Err(ErrorCode::SessionMoved))), .. } => {
                    return told.push(Told::Closed);
                }
                State::Writing { answer: Some((zxid, result)), stats } => {
                    told.push(Told::Written { xid, zxid, result, stats });
                }
                State::Writing { answer: None, .. } | State::Listing(None) => {}
                State::Listing(Some((at, paths))) => told.push(Told::Ephemerals { xid, at, paths }),
                State::Syncing(at) => told.push(Told::Synced { xid, zxid: at.unwrap_or_default() }),
            }
        }
    }
}

/// All connections of a server, by their numbers.
#[derive(Default)]
pub(super) struct Fronts(BTreeMap<u32, Front>);

impl Fronts {
    pub(super) fn captured(&mut self, captured: &CapturedStat) {
        if let Some(State::Writing { stats, .. }) = self.waiting(&captured.origin) {
            stats.insert(captured.op, captured.stat);
        }
    }

    pub(super) fn events(&mut self, acls: &AclTable, batch: &EventBatch) -> Result<(), String> {
        let event = decode(&batch.frame).map_err(|problem| format!("an event cannot be read: {problem}"))?;
        for conn in batch.conns.iter() {
            let Some(front) = self.0.get_mut(&conn.slot) else { continue };
            if !acls.permits(batch.acl, perms::READ, &front.identity) {
                continue;
            }
            if let Some(other) = front.events.insert((batch.zxid, batch.order), event.clone()) {
                return Err(format!("{event:?} and {other:?} are both event {} of {}", batch.order, batch.zxid));
            }
        }
        Ok(())
    }

    fn waiting(&mut self, origin: &Origin) -> Option<&mut State> {
        let front = self.0.get_mut(&origin.conn.slot)?;
        front.slots.iter_mut().find(|slot| slot.xid as u64 == origin.seq).map(|slot| &mut slot.state)
    }
}

fn decode(frame: &[u8]) -> Result<(EventKind, String), String> {
    let mut reader = Reader::new(frame);
    let text = |problem: engine::jute::DecodeError| problem.to_string();
    reader.int().map_err(text)?;
    reader.int().map_err(text)?;
    reader.long().map_err(text)?;
    reader.int().map_err(text)?;
    let kind = match reader.int().map_err(text)? {
        1 => EventKind::NodeCreated,
        2 => EventKind::NodeDeleted,
        3 => EventKind::NodeDataChanged,
        4 => EventKind::NodeChildrenChanged,
        other => return Err(format!("{other} is no type")),
    };
    reader.int().map_err(text)?;
    Ok((kind, reader.string().map_err(text)?.unwrap_or_default().into_owned()))
}

fn conn_id(conn: u32) -> ConnId {
    ConnId { slot: conn, generation: 0 }
}

fn origin(conn: u32, xid: i32) -> Origin {
    Origin { core: CoreId(0), conn: conn_id(conn), seq: xid as u64 }
}

impl Server {
    /// Something comes from a client. Whether the connection goes on.
    pub fn hears(&mut self, conn: u32, ask: Ask) -> (bool, Option<role::Input>) {
        match ask {
            Ask::Connect(session, timeout_ms, seen, identity) => {
                let is_behind = seen > self.view && self.mistake != Some(Mistake::ReadsGoBack);
                if !self.serves || is_behind {
                    return (false, None);
                }
                let (slots, events, waiting) = (VecDeque::new(), BTreeMap::new(), VecDeque::new());
                let front = Front { phase: Phase::Connecting, identity, seen, slots, events, close_at: None, waiting };
                self.fronts.0.insert(conn, front);
                let password = Some(crate::session::password(session));
                let request = ConnectRequest { core: CoreId(0), conn: conn_id(conn), session, timeout_ms, password };
                (true, Some(role::Input::Connect(request)))
            }
            Ask::HangUp => {
                let front = self.fronts.0.remove(&conn);
                self.forget_watches(conn);
                let session = match front.map(|front| front.phase) {
                    Some(Phase::Open(session) | Phase::Settling(session, _)) => session,
                    _ => return (false, None),
                };
                (false, Some(role::Input::Disconnected { session, core: CoreId(0), conn: conn_id(conn) }))
            }
            other => match self.fronts.0.get_mut(&conn) {
                Some(front) => {
                    front.waiting.push_back(other);
                    (true, None)
                }
                None => (false, None),
            },
        }
    }

    fn forget_watches(&mut self, conn: u32) {
        for shard in &mut self.shards {
            shard.drop_connection(CoreId(0), conn_id(conn));
        }
    }

    /// Every client is let go.
    pub fn drop_fronts(&mut self) {
        for conn in self.fronts() {
            self.fronts.0.remove(&conn);
            self.forget_watches(conn);
        }
    }

    /// Its connections.
    pub fn fronts(&self) -> Vec<u32> {
        self.fronts.0.keys().copied().collect()
    }

    /// What the role has to say to a connection.
    pub(super) fn tell_front(&mut self, action: Action) {
        match action {
            Action::Answer(answer) => {
                if let Some(State::Writing { answer: known, .. }) = self.fronts.waiting(&answer.origin) {
                    *known = Some((answer.zxid, answer.result));
                }
            }
            Action::SyncDone { origin, at } => {
                if let Some(State::Syncing(known)) = self.fronts.waiting(&origin) {
                    *known = Some(at);
                }
            }
            Action::Ephemerals { origin, at, paths } => {
                if let Some(State::Listing(known)) = self.fronts.waiting(&origin) {
                    *known = Some((at, paths));
                }
            }
            Action::Connected { conn, session, at, .. } => {
                if let Some(front) = self.fronts.0.get_mut(&conn.slot) {
                    front.phase = Phase::Settling(session, at);
                }
            }
            Action::Refused { conn, .. } => {
                if let Some(front) = self.fronts.0.get_mut(&conn.slot) {
                    front.close_at = Some(Zxid::ZERO);
                }
            }
            Action::CloseConnection { conn, at, .. } => {
                if let Some(front) = self.fronts.0.get_mut(&conn.slot) {
                    front.close_at = Some(at);
                }
            }
            _ => {}
        }
    }

    /// The next request of a connection that is for the role, if it is its turn: reads wait for what is before them.
    pub fn next_request(&mut self, conn: u32) -> Option<role::Input> {
        let view = self.view;
        let front = self.fronts.0.get_mut(&conn)?;
        let Phase::Open(session) = front.phase else { return None };
        let is_free = front.slots.is_empty() && view >= front.seen;
        let is_due = |ask: &mut Ask| match ask {
            Ask::Write(..) | Ask::Sync(_) => true,
            Ask::Ephemerals(..) => is_free,
            _ => false,
        };
        let ask = front.waiting.pop_front_if(is_due)?;
        match ask {
            Ask::Write(xid, op) => {
                let state = State::Writing { answer: None, stats: BTreeMap::new() };
                front.slots.push_back(Slot { xid, state });
                let identity = Arc::clone(&front.identity);
                let origin = Some(origin(conn, xid));
                Some(role::Input::Write(WriteRequest { origin, session, cxid: xid, identity, op }))
            }
            Ask::Sync(xid) => {
                front.slots.push_back(Slot { xid, state: State::Syncing(None) });
                Some(role::Input::Sync { origin: origin(conn, xid), session })
            }
            Ask::Ephemerals(xid, prefix) => {
                front.slots.push_back(Slot { xid, state: State::Listing(None) });
                Some(role::Input::Ephemerals { origin: origin(conn, xid), session, prefix: Some(prefix.into()) })
            }
            _ => None,
        }
    }

    /// What a connection may be told by now, in order.
    pub fn deliver(&mut self, conn: u32) -> Result<Vec<Told>, String> {
        let (view, mut told) = (self.view, Vec::new());
        let Some(front) = self.fronts.0.get_mut(&conn) else { return Ok(told) };
        if let Phase::Settling(session, at) = front.phase
            && (at <= view || self.mistake == Some(Mistake::ReadsGoBack))
        {
            front.phase = Phase::Open(session);
            told.push(Told::Connected(session));
        }
        let last = front.close_at.unwrap_or(view).min(view);
        if self.mistake == Some(Mistake::EventsTrail) {
            front.finish(last, &mut told);
        }
        while let Some(entry) = front.events.first_entry().filter(|entry| entry.key().0 <= last) {
            let ((zxid, _), (kind, path)) = entry.remove_entry();
            front.finish(Zxid(zxid.0 - 1), &mut told);
            told.push(Told::Event(zxid, kind, path));
        }
        front.finish(last, &mut told);
        let is_closed = matches!(told.last(), Some(Told::Closed));
        if is_closed || front.close_at.is_some_and(|at| at <= view) {
            if !is_closed {
                told.push(if matches!(front.phase, Phase::Connecting) { Told::Refused } else { Told::Closed });
            }
            self.fronts.0.remove(&conn);
            self.forget_watches(conn);
            return Ok(told);
        }
        while let Some(ask) = self.next_read(conn) {
            told.push(self.read(conn, ask)?);
        }
        Ok(told)
    }

    /// The next request of a connection that is answered from the view, if it is its turn.
    fn next_read(&mut self, conn: u32) -> Option<Ask> {
        let (view, errs) = (self.view, self.mistake == Some(Mistake::ReadsGoBack));
        let front = self.fronts.0.get_mut(&conn)?;
        if !matches!(front.phase, Phase::Open(_)) || !front.slots.is_empty() || (view < front.seen && !errs) {
            return None;
        }
        front.waiting.pop_front_if(|ask| matches!(ask, Ask::Read(..) | Ask::MultiRead(..) | Ask::Restore(..)))
    }

    fn read(&mut self, conn: u32, ask: Ask) -> Result<Told, String> {
        let view = self.view;
        let told = match ask {
            Ask::Read(xid, op) => Told::Read { xid, view, result: self.read_one(conn, xid, &op)? },
            Ask::MultiRead(xid, ops) => {
                let results = ops.iter().map(|op| self.read_one(conn, xid, op)).collect::<Result<_, String>>()?;
                Told::MultiRead { xid, view, results }
            }
            Ask::Restore(xid, relative, items) => {
                let mut owed = Vec::new();
                for shard in self.all_shards() {
                    let is_for = |item: &RestoredWatch| {
                        item.kind == RestoredKind::PersistentRecursive || self.owner(&item.path) == shard
                    };
                    let items: Vec<RestoredWatch> = items.iter().filter(|item| is_for(item)).cloned().collect();
                    let op = ReadOp::SetWatches { relative_zxid: relative.to_wire(), items };
                    match self.read_at(shard, conn, xid, &op, &mut Vec::new()) {
                        ReadOutcome::Body(ReadBody::Restored(more)) => owed.extend(more),
                        other => return Err(format!("watches cannot be restored: {other:?}")),
                    }
                }
                owed.sort_by_key(|event| event.index);
                Told::Restored { xid, view, owed }
            }
            other => return Err(format!("{other:?} is no read")),
        };
        self.take_shard_actions()?;
        Ok(told)
    }

    /// The record of a read, of whichever shards have a part in it.
    fn read_one(&mut self, conn: u32, xid: i32, op: &ReadOp<'_>) -> Result<Result<Vec<u8>, ErrorCode>, String> {
        let shards = match op {
            ReadOp::AddWatch { recursive: true, .. } | ReadOp::CountDescendants { .. } => self.all_shards(),
            other => vec![self.owner(other.path().unwrap_or("/"))],
        };
        let (mut out, mut failed, mut sum) = (Vec::new(), None, None::<u32>);
        for shard in shards {
            out.clear();
            match self.read_at(shard, conn, xid, op, &mut out) {
                ReadOutcome::Record => {}
                ReadOutcome::Failed(code) => failed = Some(code),
                ReadOutcome::Body(ReadBody::Count(count)) => sum = Some(sum.unwrap_or_default() + count),
                other => return Err(format!("{op:?} cannot be answered: {other:?}")),
            }
        }
        if let Some(sum) = sum {
            out = sum.to_be_bytes().to_vec();
        }
        Ok(failed.map_or(Ok(out), Err))
    }

    fn read_at(&mut self, shard: ShardId, conn: u32, xid: i32, op: &ReadOp<'_>, out: &mut Vec<u8>) -> ReadOutcome {
        let identity = self.fronts.0.get(&conn).map(|front| Arc::clone(&front.identity)).unwrap_or_default();
        let shard = &mut self.shards[usize::from(shard.0)];
        shard.read(&self.acls, self.view, origin(conn, xid), 0, &identity, op, out)
    }

    fn all_shards(&self) -> Vec<ShardId> {
        (0..self.shards.len() as u16).map(ShardId).collect()
    }

    fn owner(&self, path: &str) -> ShardId {
        let hash = self.key.hash(engine::path::canonical(path));
        shard_of(hash.partition(PARTITIONS), self.shards.len() as u16)
    }
}
