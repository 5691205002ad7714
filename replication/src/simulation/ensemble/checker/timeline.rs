//! What the tree was as of every zxid, by a model of ZooKeeper's semantics that is given the very requests of the clients
//! in the order in which they took effect.

use super::Members;
use crate::ledger::answer;
use crate::peer::ensemble::Ensemble;
use crate::request::{MultiResult, WriteOp, WriteResult};
use crate::role::tests::model::{Ask, Model, ModelNode};
use bytes::Bytes;
use engine::acl::{AclList, Identity};
use engine::error_code::ErrorCode;
use engine::event::EventKind;
use engine::ids::SessionId;
use engine::path::CONFIG_NODE;
use engine::stat::{Stat, wire_cversion};
use engine::txn::{self, Txn, TxnHeader};
use engine::zxid::Zxid;
use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

/// What a change tells those who watch.
pub type Event = (EventKind, String);

/// The events of one transaction in ZooKeeper's order, each with the list that says who may hear of it.
type Told = Vec<(Event, AclList)>;

/// What a client must be told about its request, and the Stats that belong to it, by the op of its multi.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub result: Result<WriteResult, ErrorCode>,
    pub stats: BTreeMap<u32, Stat>,
}

/// A request that a client has sent.
struct Asked {
    op: WriteOp,
    identity: Arc<Identity>,
    /// The connection, and the place among the writes of that connection.
    conn: u32,
    place: usize,
    done: bool,
}

/// One znode as of a moment, in full.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    pub data: Option<Bytes>,
    pub stat: Stat,
    pub acl: AclList,
}

pub struct Timeline {
    model: Model,
    pub members: Members,
    /// By path, every state that the node has had; `None` where it went.
    versions: BTreeMap<String, Vec<(Zxid, Option<ModelNode>)>>,
    events: BTreeMap<Zxid, Told>,
    outcomes: BTreeMap<Zxid, (SessionId, i32, Outcome)>,
    sessions: BTreeMap<SessionId, Vec<(Zxid, bool)>>,
    asked: BTreeMap<(SessionId, i32), Asked>,
    /// By connection, how many writes were sent, and how many of them have taken effect.
    sent: BTreeMap<u32, usize>,
    effective: BTreeMap<u32, usize>,
    /// How many connections each session has had.
    connections: BTreeMap<SessionId, u32>,
    pub expired: u64,
    pub failed: u64,
    pub multis: u64,
}

impl Timeline {
    /// A tree as it begins, of an ensemble with these members.
    pub fn new(members: Arc<Ensemble>) -> Timeline {
        let model = Model::new();
        let versions = model.nodes.iter().map(|(path, node)| (path.clone(), vec![(Zxid::ZERO, Some(node.clone()))]));
        Timeline {
            versions: versions.collect(),
            model,
            members: Members::new(members),
            events: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asked: BTreeMap::new(),
            sent: BTreeMap::new(),
            effective: BTreeMap::new(),
            connections: BTreeMap::new(),
            expired: 0,
            failed: 0,
            multis: 0,
        }
    }

    /// A session is asked for by another connection.
    pub fn connects(&mut self, session: SessionId) {
        *self.connections.entry(session).or_default() += 1;
    }

    /// A client sends a write.
    pub fn asks(&mut self, session: SessionId, xid: i32, conn: u32, identity: Arc<Identity>, op: WriteOp) {
        let place = self.sent.entry(conn).or_default();
        self.asked.insert((session, xid), Asked { op, identity, conn, place: *place, done: false });
        *place += 1;
    }

    /// A transaction takes effect, somewhere, for the first time.
    pub fn append(&mut self, zxid: Zxid, bytes: &Bytes) -> Result<(), String> {
        let (header, txn) = txn::decode(bytes).map_err(|problem| problem.to_string())?;
        if let Txn::CreateSession { .. } = txn {
            self.sessions.entry(header.client).or_default().push((zxid, true));
            return match self.model.sessions.insert(header.client) {
                true => Ok(()),
                false => Err(format!("{zxid} creates session {:?}, which lives", header.client)),
            };
        }
        let Some((op, identity)) = self.op_of(&header, &txn)? else { return Ok(()) };
        let before = self.model.clone();
        let session = header.client;
        let ask = Ask { zxid: zxid.to_wire(), time_ms: header.time_ms, session, identity: &identity };
        let result = match &op {
            WriteOp::Reconfig(op) if self.model.sessions.contains(&session) => {
                let told = answer(&txn);
                self.members.judge(op, zxid, &identity, &told)?;
                told
            }
            WriteOp::Reconfig(_) => Err(ErrorCode::SessionExpired),
            op => self.model.run(&ask, op),
        };
        if result != answer(&txn) {
            return Err(format!("{zxid} is {txn:?}; {op:?} ought to give {result:?}"));
        }
        let mut stats = BTreeMap::new();
        let events = match &result {
            Ok(result) => self.consequences(before.clone(), &ask, &op, result, &mut stats),
            Err(_) => Vec::new(),
        };
        self.failed += u64::from(result.is_err());
        self.multis += u64::from(matches!(op, WriteOp::Multi(_)));
        if !events.is_empty() {
            self.events.insert(zxid, events);
        }
        if before.sessions.len() > self.model.sessions.len() {
            self.sessions.entry(session).or_default().push((zxid, false));
            self.expired += u64::from(header.cxid == 0);
        }
        self.outcomes.insert(zxid, (session, header.cxid, Outcome { result, stats }));
        self.keep(zxid, &before);
        Ok(())
    }

    /// What was asked for, and by whom; `None` if nothing is to come of it.
    fn op_of(&mut self, header: &TxnHeader, txn: &Txn) -> Result<Option<(WriteOp, Arc<Identity>)>, String> {
        let (zxid, session) = (header.zxid, header.client);
        if header.cxid == 0 {
            return match txn {
                Txn::CloseSession { .. } => Ok(Some((WriteOp::CloseSession, Arc::default()))),
                Txn::Error { .. } => Ok(None),
                other => Err(format!("{zxid} is {other:?}, which nobody asked for")),
            };
        }
        let Some(asked) = self.asked.get_mut(&(session, header.cxid)) else {
            return Err(format!("{zxid} is of {session:?} and {}, which nobody asked for", header.cxid));
        };
        if std::mem::replace(&mut asked.done, true) {
            return Err(format!("{zxid} is request {} of {session:?} once more", header.cxid));
        }
        // What a connection has asked for takes effect in order, without a hole.
        let effective = self.effective.entry(asked.conn).or_default();
        if asked.place != *effective {
            let place = asked.place;
            return Err(format!("{zxid} is write {place} of a connection, write {effective} was to come first"));
        }
        *effective += 1;
        let moved = ErrorCode::SessionMoved.code();
        if matches!(txn, Txn::Error { code } if *code == moved) {
            let connections = self.connections.get(&session).copied().unwrap_or_default();
            return match connections {
                0 | 1 => Err(format!("{zxid} says that {session:?} has moved, and it has not")),
                _ => Ok(Some((WriteOp::Refused(ErrorCode::SessionMoved), Arc::default()))),
            };
        }
        Ok(Some((asked.op.clone(), Arc::clone(&asked.identity))))
    }

    /// The Stats and events that come of a request which has succeeded, op by op.
    fn consequences(
        &self,
        mut model: Model,
        ask: &Ask<'_>,
        op: &WriteOp,
        result: &WriteResult,
        stats: &mut BTreeMap<u32, Stat>,
    ) -> Told {
        let mut events = Vec::new();
        match (op, result) {
            (WriteOp::Create(_), WriteResult::Created { path, stat }) => {
                created(&self.model, path, &mut events);
                if *stat {
                    stats.insert(0, present(&self.model, path));
                }
            }
            (WriteOp::Delete(op), _) => deleted(&model, &op.path, &mut events),
            (WriteOp::SetData(op), _) => {
                changed(&model, &op.path, &mut events);
                stats.insert(0, present(&self.model, &op.path));
            }
            (WriteOp::SetAcl { path, .. }, _) => {
                stats.insert(0, present(&self.model, path));
            }
            (WriteOp::Multi(ops), WriteResult::Multi(results)) => {
                if results.iter().any(|result| matches!(result, MultiResult::Failed(_))) {
                    return events;
                }
                for (at, (op, result)) in ops.iter().zip(results).enumerate() {
                    if let crate::request::MultiOp::Delete(op) = op {
                        deleted(&model, &op.path, &mut events);
                    }
                    model.multi_op(ask, op).expect("what went well together goes well one by one");
                    match (op, result) {
                        (_, MultiResult::Created(path)) => created(&model, path, &mut events),
                        (_, MultiResult::CreatedWithStat(path)) => {
                            created(&model, path, &mut events);
                            stats.insert(at as u32, present(&model, path));
                        }
                        (crate::request::MultiOp::SetData(op), _) => {
                            changed(&model, &op.path, &mut events);
                            stats.insert(at as u32, present(&model, &op.path));
                        }
                        _ => {}
                    }
                }
            }
            (WriteOp::Reconfig(_), WriteResult::Config { data }) => {
                changed(&model, CONFIG_NODE, &mut events);
                stats.insert(0, config_stat(ask, data.len()));
            }
            (WriteOp::CloseSession, _) => {
                let gone = model.nodes.keys().filter(|path| !self.model.nodes.contains_key(*path));
                gone.for_each(|path| deleted(&model, path, &mut events));
            }
            _ => {}
        }
        events
    }

    /// Keeps what has changed.
    fn keep(&mut self, zxid: Zxid, before: &Model) {
        for path in before.nodes.keys().filter(|path| !self.model.nodes.contains_key(*path)) {
            self.versions.entry(path.clone()).or_default().push((zxid, None));
        }
        for (path, node) in &self.model.nodes {
            if before.nodes.get(path) != Some(node) {
                self.versions.entry(path.clone()).or_default().push((zxid, Some(node.clone())));
            }
        }
    }

    // ---- looking ----

    /// What became of the request that took this zxid: its session, its xid, its outcome.
    pub fn outcome(&self, zxid: Zxid) -> Option<&(SessionId, i32, Outcome)> {
        self.outcomes.get(&zxid)
    }

    /// Whether a session ended with this zxid.
    pub fn closes(&self, session: SessionId, zxid: Zxid) -> bool {
        self.sessions.get(&session).is_some_and(|changes| changes.contains(&(zxid, false)))
    }

    /// What those who watch everything, and may hear of it, are told within these zxids.
    pub fn events(&self, range: impl RangeBounds<Zxid>) -> impl Iterator<Item = (Zxid, &Event, &AclList)> {
        let told = self.events.range(range);
        told.flat_map(|(zxid, events)| events.iter().map(|(event, acl)| (*zxid, event, acl)))
    }

    /// Ephemerals of a session as of a zxid, in order.
    pub fn ephemerals(&self, session: SessionId, at: Zxid) -> Vec<&str> {
        let owned = |versions: &[(Zxid, Option<ModelNode>)]| newest(versions, at).is_some_and(|n| n.owner == session.0);
        self.versions.iter().filter(|(_, versions)| owned(versions)).map(|(path, _)| path.as_str()).collect()
    }

    /// How many nodes are below one as of a zxid.
    pub fn descendants(&self, path: &str, at: Zxid) -> usize {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.versions.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        below.filter(|(path, versions)| **path != prefix && newest(versions, at).is_some()).count()
    }

    fn node(&self, path: &str, at: Zxid) -> Option<&ModelNode> {
        newest(self.versions.get(path)?, at)
    }

    /// Names of the children of a node as of a zxid.
    pub fn children(&self, path: &str, at: Zxid) -> Vec<&str> {
        let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let below = self.versions.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let children = below.filter(|(_, versions)| newest(versions, at).is_some());
        children.map(|(path, _)| &path[prefix.len()..]).filter(|name| !name.is_empty() && !name.contains('/')).collect()
    }

    /// A node as of a zxid.
    pub fn seen(&self, path: &str, at: Zxid) -> Option<Seen> {
        let node = self.node(path, at)?;
        Some(whole(node, self.children(path, at).len()))
    }

    /// The whole tree as of a zxid.
    pub fn tree(&self, at: Zxid) -> BTreeMap<&str, Seen> {
        let nodes = self.versions.iter().filter_map(|(path, versions)| Some((path.as_str(), newest(versions, at)?)));
        let nodes: BTreeMap<&str, &ModelNode> = nodes.collect();
        let mut children: BTreeMap<&str, usize> = BTreeMap::new();
        for parent in nodes.keys().filter_map(|path| engine::path::parent(path)) {
            *children.entry(parent).or_default() += 1;
        }
        let count = |path: &str| children.get(path).copied().unwrap_or_default();
        nodes.into_iter().map(|(path, node)| (path, whole(node, count(path)))).collect()
    }

    /// The sessions as of a zxid.
    pub fn sessions(&self, at: Zxid) -> Vec<SessionId> {
        let alive = self.sessions.iter().filter(|(_, changes)| {
            let known = changes.iter().rev().find(|(zxid, _)| *zxid <= at);
            known.is_some_and(|(_, alive)| *alive)
        });
        alive.map(|(session, _)| *session).collect()
    }

    /// Paths of the newest tree, but for the system's own.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.model.nodes.keys().map(String::as_str).filter(|path| *path != "/" && !path.starts_with("/zookeeper"))
    }

    /// Sessions and ephemerals that are left.
    pub fn remains(&self) -> (usize, usize) {
        (self.model.sessions.len(), self.model.nodes.values().filter(|node| node.owner != 0).count())
    }
}

fn newest(versions: &[(Zxid, Option<ModelNode>)], at: Zxid) -> Option<&ModelNode> {
    let known = versions.partition_point(|(zxid, _)| *zxid <= at);
    versions[..known].last()?.1.as_ref()
}

/// Nobody makes containers or nodes with a time to live here: an owner is a session.
fn whole(node: &ModelNode, children: usize) -> Seen {
    let stat = Stat {
        cversion: wire_cversion(node.stat.cversion, children as i32),
        ephemeral_owner: node.owner,
        data_length: node.data.as_ref().map_or(0, Bytes::len) as i32,
        num_children: children as i32,
        ..node.stat
    };
    Seen { data: node.data.clone(), stat, acl: node.acl.clone() }
}

fn present(model: &Model, path: &str) -> Stat {
    model.nodes.get(path).map(|node| whole(node, model.children(path)).stat).unwrap_or_default()
}

/// What a reconfiguration's reply says of /zookeeper/config.
fn config_stat(ask: &Ask<'_>, length: usize) -> Stat {
    let (mzxid, mtime) = (ask.zxid, ask.time_ms);
    Stat { mzxid, mtime, version: -1, aversion: -1, data_length: length as i32, ..Stat::default() }
}

fn acl_of(model: &Model, path: &str) -> AclList {
    model.nodes.get(path).map_or_else(|| [].into(), |node| node.acl.clone())
}

fn changed(model: &Model, path: &str, events: &mut Told) {
    events.push(((EventKind::NodeDataChanged, path.to_owned()), acl_of(model, path)));
}

/// With the model as it is afterwards.
fn created(model: &Model, path: &str, events: &mut Told) {
    events.push(((EventKind::NodeCreated, path.to_owned()), acl_of(model, path)));
    children_changed(model, path, events);
}

/// With the model as it was before.
fn deleted(model: &Model, path: &str, events: &mut Told) {
    events.push(((EventKind::NodeDeleted, path.to_owned()), acl_of(model, path)));
    children_changed(model, path, events);
}

fn children_changed(model: &Model, path: &str, events: &mut Told) {
    let parent = engine::path::parent(path).unwrap_or("/");
    events.push(((EventKind::NodeChildrenChanged, parent.to_owned()), acl_of(model, parent)));
}
