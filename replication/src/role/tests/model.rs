//! ZooKeeper's semantics over a plain map, written without a look at the ledger. It applies requests at once, as if
//! nothing were ever outstanding.

use crate::request::{AclSpec, CreateKind, CreateOp, MultiOp, MultiResult, WriteOp, WriteResult};
use bytes::Bytes;
use engine::acl::{Acl, AclList, Identity, permits, perms};
use engine::error_code::ErrorCode::{self, *};
use engine::ids::SessionId;
use engine::stat::Stat;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelNode {
    pub data: Option<Bytes>,
    pub acl: AclList,
    /// Stored owner.
    pub owner: i64,
    /// cversion is the stored one; owner, length and children are not kept in here.
    pub stat: Stat,
}

#[derive(Clone)]
pub struct Model {
    pub nodes: BTreeMap<String, ModelNode>,
    pub sessions: BTreeSet<SessionId>,
}

/// When, by whom.
pub struct Ask<'a> {
    pub zxid: i64,
    pub time_ms: i64,
    pub session: SessionId,
    pub identity: &'a Identity,
}

type Outcome<T> = Result<T, ErrorCode>;

impl Model {
    pub fn new() -> Model {
        let mut nodes = BTreeMap::new();
        for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
            let acl = [Acl::world(if path.ends_with("config") { 1 } else { 31 })].into();
            let stat = Stat { aversion: if path.ends_with("config") { -1 } else { 0 }, ..Stat::default() };
            nodes.insert(path.to_owned(), ModelNode { data: Some(Bytes::new()), acl, owner: 0, stat });
        }
        Model { nodes, sessions: BTreeSet::new() }
    }

    pub fn run(&mut self, ask: &Ask<'_>, op: &WriteOp) -> Outcome<WriteResult> {
        match op {
            WriteOp::Create(op) => {
                let path = self.create(ask, op)?;
                Ok(WriteResult::Created { path, stat: op.kind != CreateKind::Create })
            }
            WriteOp::Delete(op) => self.delete(ask, &op.path, op.version).map(|()| WriteResult::Done),
            WriteOp::SetData(op) => self.set_data(ask, &op.path, &op.data, op.version).map(|()| WriteResult::Stat),
            WriteOp::SetAcl { path, acl, version } => {
                self.alive(ask)?;
                valid(path)?;
                let list = list_of(acl);
                let node = self.nodes.get_mut(&**path).ok_or(NoNode)?;
                allowed(node, perms::ADMIN, ask)?;
                check_version(node.stat.aversion, *version)?;
                node.acl = list;
                node.stat.aversion += 1;
                Ok(WriteResult::Stat)
            }
            WriteOp::Multi(ops) => {
                let before = self.clone();
                let mut results = Vec::new();
                for (at, op) in ops.iter().enumerate() {
                    match self.multi_op(ask, op) {
                        Ok(result) => results.push(result),
                        Err(code) => {
                            *self = before;
                            let mut codes = vec![0; at];
                            codes.push(code.code());
                            codes.resize(ops.len(), -2);
                            return Ok(WriteResult::Multi(codes.into_iter().map(MultiResult::Failed).collect()));
                        }
                    }
                }
                Ok(WriteResult::Multi(results))
            }
            WriteOp::CloseSession => {
                let own = |node: &ModelNode| node.owner == ask.session.0;
                let gone: Vec<_> =
                    self.nodes.iter().filter(|(_, node)| own(node)).map(|(path, _)| path.clone()).collect();
                for path in gone {
                    self.remove(ask, &path);
                }
                self.sessions.remove(&ask.session);
                Ok(WriteResult::Done)
            }
            WriteOp::Reconfig(_) => Err(ReconfigDisabled),
            WriteOp::Refused(code) => Err(*code),
        }
    }

    pub fn multi_op(&mut self, ask: &Ask<'_>, op: &MultiOp) -> Outcome<MultiResult> {
        Ok(match op {
            MultiOp::Create(op) => {
                let path = self.create(ask, op)?;
                if op.kind == CreateKind::Create {
                    MultiResult::Created(path)
                } else {
                    MultiResult::CreatedWithStat(path)
                }
            }
            MultiOp::Delete(op) => {
                self.delete(ask, &op.path, op.version)?;
                MultiResult::Deleted
            }
            MultiOp::SetData(op) => {
                self.set_data(ask, &op.path, &op.data, op.version)?;
                MultiResult::SetData
            }
            MultiOp::Check { path, version } => {
                self.alive(ask)?;
                valid(path)?;
                let node = self.nodes.get(&**path).ok_or(NoNode)?;
                allowed(node, perms::READ, ask)?;
                check_version(node.stat.version, *version)?;
                MultiResult::Checked
            }
        })
    }

    fn create(&mut self, ask: &Ask<'_>, op: &CreateOp) -> Outcome<Arc<str>> {
        if !(0..=6).contains(&op.flags) {
            return Err(BadArguments);
        }
        let ttl_flags = op.flags >= 5;
        let owner = match op.kind {
            CreateKind::Ttl { ttl_ms } if ttl_flags && ttl_ms > 0 => (0xFF << 56) | ttl_ms,
            CreateKind::Ttl { .. } => return Err(BadArguments),
            _ if ttl_flags => return Err(BadArguments),
            CreateKind::Container => i64::MIN,
            _ if matches!(op.flags, 1 | 3) => ask.session.0,
            _ => 0,
        };
        self.alive(ask)?;
        let slash = op.path.rfind('/').ok_or(BadArguments)?;
        let list = list_of(&op.acl);
        let parent = if slash == 0 { "/".to_owned() } else { op.path[..slash].to_owned() };
        let found = self.nodes.get(&parent).ok_or(NoNode)?;
        allowed(found, perms::CREATE, ask)?;
        let mut path = op.path.to_string();
        if matches!(op.flags, 2 | 3 | 6) {
            path += &format!("{:010}", found.stat.cversion);
        }
        valid(&path)?;
        if self.nodes.contains_key(&path) {
            return Err(NodeExists);
        }
        let kind_bits = found.owner as u64 >> 56;
        if found.owner != 0 && found.owner != i64::MIN && kind_bits != 0xFF {
            return Err(NoChildrenForEphemerals);
        }
        let zxid = ask.zxid;
        let (ctime, mtime) = (ask.time_ms, ask.time_ms);
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime, mtime, ..Stat::default() };
        self.nodes.insert(path.clone(), ModelNode { data: op.data.clone(), acl: list, owner, stat });
        let found = self.nodes.get_mut(&parent).unwrap();
        found.stat.cversion += 1;
        found.stat.pzxid = zxid;
        if let Some(of) = path.strip_prefix("/zookeeper/quota").and_then(|rest| rest.strip_suffix("/zookeeper_stats")) {
            let (count, bytes) = self.subtree(of);
            self.nodes.get_mut(&path).unwrap().data = Some(format!("count={count},bytes={bytes}").into());
        }
        self.charge(&path, 1, length(&op.data));
        Ok(path.into())
    }

    fn delete(&mut self, ask: &Ask<'_>, path: &str, version: i32) -> Outcome<()> {
        self.alive(ask)?;
        let slash = path.rfind('/').ok_or(BadArguments)?;
        if engine::path::RESERVED.contains(&path) {
            return Err(BadArguments);
        }
        let parent = if slash == 0 { "/" } else { &path[..slash] };
        allowed(self.nodes.get(parent).ok_or(NoNode)?, perms::DELETE, ask)?;
        let node = self.nodes.get(path).ok_or(NoNode)?;
        check_version(node.stat.version, version)?;
        if self.children(path) > 0 {
            return Err(NotEmpty);
        }
        self.remove(ask, path);
        Ok(())
    }

    fn set_data(&mut self, ask: &Ask<'_>, path: &str, data: &Option<Bytes>, version: i32) -> Outcome<()> {
        self.alive(ask)?;
        valid(path)?;
        let node = self.nodes.get_mut(path).ok_or(NoNode)?;
        allowed(node, perms::WRITE, ask)?;
        check_version(node.stat.version, version)?;
        let change = length(data) - length(&node.data);
        node.data = data.clone();
        node.stat.version += 1;
        node.stat.mzxid = ask.zxid;
        node.stat.mtime = ask.time_ms;
        self.charge(path, 0, change);
        Ok(())
    }

    fn remove(&mut self, ask: &Ask<'_>, path: &str) {
        let node = self.nodes.remove(path).unwrap();
        let parent = engine::path::parent(path).unwrap();
        self.nodes.get_mut(parent).unwrap().stat.pzxid = ask.zxid;
        self.charge(path, -1, -length(&node.data));
    }

    fn charge(&mut self, path: &str, count: i64, bytes: i64) {
        let quota = |of: &str, name: &str| format!("/zookeeper/quota{of}/{name}");
        let limited = |of: &&str| self.nodes.contains_key(&quota(of, "zookeeper_limits"));
        let Some(of) = engine::path::self_and_ancestors(path).find(limited) else { return };
        let Some(stats) = self.nodes.get_mut(&quota(of, "zookeeper_stats")) else { return };
        let text = String::from_utf8(stats.data.clone().unwrap().to_vec()).unwrap();
        let (had_count, had_bytes) = text.strip_prefix("count=").unwrap().split_once(",bytes=").unwrap();
        let count = had_count.parse::<i64>().unwrap() + count;
        let bytes = had_bytes.parse::<i64>().unwrap() + bytes;
        stats.data = Some(format!("count={count},bytes={bytes}").into());
    }

    fn subtree(&self, root: &str) -> (usize, i64) {
        let below = format!("{root}/");
        let within: Vec<_> = self.nodes.iter().filter(|(path, _)| *path == root || path.starts_with(&below)).collect();
        (within.len(), within.iter().map(|(_, node)| length(&node.data)).sum())
    }

    pub fn children(&self, path: &str) -> usize {
        self.nodes.keys().filter(|other| engine::path::parent(other) == Some(path)).count()
    }

    fn alive(&self, ask: &Ask<'_>) -> Outcome<()> {
        if self.sessions.contains(&ask.session) { Ok(()) } else { Err(SessionExpired) }
    }
}

fn length(data: &Option<Bytes>) -> i64 {
    data.as_ref().map_or(0, Bytes::len) as i64
}

fn valid(path: &str) -> Outcome<()> {
    if engine::path::is_valid(path) { Ok(()) } else { Err(BadArguments) }
}

fn check_version(current: i32, expected: i32) -> Outcome<()> {
    if expected == -1 || expected == current { Ok(()) } else { Err(BadVersion) }
}

fn allowed(node: &ModelNode, perm: i32, ask: &Ask<'_>) -> Outcome<()> {
    if permits(&node.acl, perm, ask.identity) { Ok(()) } else { Err(NoAuth) }
}

/// The random test uses lists that need no fixing.
fn list_of(acl: &AclSpec) -> AclList {
    match acl {
        AclSpec::Open => [Acl::world(31)].into(),
        AclSpec::List(list) => list
            .iter()
            .flatten()
            .map(|entry| Acl::new(entry.perms, entry.scheme.as_deref().unwrap(), entry.id.as_deref().unwrap()))
            .collect(),
    }
}
