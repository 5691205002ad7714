//! All shards of a server, as plainly as can be: applies pieces and knows nothing else.

use crate::ledger::{LedgerLoader, NodeFact, SubtreeUsage};
use bytes::Bytes;
use engine::acl::{AclId, AclTable};
use engine::node_owner::NodeOwner;
use engine::path::{HashKey, PathHash, parent};
use engine::piece::{Piece, ShardTxn};
use engine::stat::Stat;
use std::collections::{BTreeMap, BTreeSet};

/// A znode.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    pub data: Option<Bytes>,
    pub acl: AclId,
    pub owner: NodeOwner,
    /// Everything but owner, length and children.
    pub stat: Stat,
    pub children: BTreeSet<String>,
}

impl Node {
    pub fn data_length(&self) -> u32 {
        self.data.as_ref().map_or(0, |data| data.len() as u32)
    }
}

#[derive(Clone, Default)]
pub struct Replica {
    pub nodes: BTreeMap<String, Node>,
    pub acls: AclTable,
}

impl Replica {
    /// Applies pieces, and returns the Stats that answers wait for as (op, version, aversion).
    pub fn apply(&mut self, txn: &ShardTxn) -> Vec<(u32, i32, i32)> {
        let zxid = txn.zxid.to_wire();
        let mut stats = Vec::new();
        for routed in &txn.pieces {
            let path = match &routed.piece {
                Piece::Put { node, data, acl, owner } => {
                    assert!(self.acls.get(*acl).is_some(), "a list is defined before it is used");
                    let (ctime, mtime) = (txn.time_ms, txn.time_ms);
                    let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime, mtime, ..Stat::default() };
                    let children = BTreeSet::new();
                    let new = Node { data: data.clone(), acl: *acl, owner: *owner, stat, children };
                    assert!(self.nodes.insert(node.path.to_string(), new).is_none(), "{} was there", node.path);
                    &node.path
                }
                Piece::SetData { node, data, version } => {
                    let found = self.nodes.get_mut(&*node.path).unwrap();
                    found.data = data.clone();
                    found.stat.version = *version;
                    found.stat.mzxid = zxid;
                    found.stat.mtime = txn.time_ms;
                    &node.path
                }
                Piece::SetAcl { node, acl, aversion } => {
                    assert!(self.acls.get(*acl).is_some(), "a list is defined before it is used");
                    let found = self.nodes.get_mut(&*node.path).unwrap();
                    found.acl = *acl;
                    found.stat.aversion = *aversion;
                    &node.path
                }
                Piece::Link { child, cversion, moves_pzxid, .. } => {
                    let found = self.nodes.get_mut(parent(&child.path).unwrap()).unwrap();
                    assert!(found.children.insert(child.path.to_string()), "{} was linked", child.path);
                    found.stat.cversion = *cversion;
                    if *moves_pzxid {
                        found.stat.pzxid = zxid;
                    }
                    &child.path
                }
                Piece::Unlink { child, .. } => {
                    let found = self.nodes.get_mut(parent(&child.path).unwrap()).unwrap();
                    assert!(found.children.remove(&*child.path), "{} was not linked", child.path);
                    found.stat.pzxid = found.stat.pzxid.max(zxid);
                    &child.path
                }
                Piece::Remove { node } => {
                    assert!(self.nodes.remove(&*node.path).is_some(), "{} was not there", node.path);
                    &node.path
                }
                Piece::Rewrite { node, data, version, mzxid } => {
                    let found = self.nodes.get_mut(&*node.path).unwrap();
                    found.data = Some(data.clone());
                    (found.stat.version, found.stat.mzxid) = (*version, mzxid.to_wire());
                    found.stat.mtime = txn.time_ms;
                    &node.path
                }
                Piece::QuotaUsage { node, data } => {
                    self.nodes.get_mut(&*node.path).unwrap().data = Some(data.clone());
                    &node.path
                }
            };
            if let Some((_, op)) = routed.stat_for {
                let stat = &self.nodes[&**path].stat;
                stats.push((op, stat.version, stat.aversion));
            }
        }
        stats
    }

    pub fn usage(&self, root: &str) -> SubtreeUsage {
        let mut usage = SubtreeUsage::default();
        for (path, node) in &self.nodes {
            if path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                usage.count += 1;
                usage.bytes += i64::from(node.data_length());
            }
        }
        usage
    }

    /// Shows the nodes to a loader, as recovery does.
    pub fn load(&self, key: &HashKey, loader: &mut LedgerLoader) {
        for (path, node) in &self.nodes {
            let text = if NodeFact::wants_text(path) { node.data.as_deref() } else { None };
            let fact = NodeFact {
                path,
                hash: key.hash(path),
                cversion: node.stat.cversion,
                version: node.stat.version,
                aversion: node.stat.aversion,
                children: node.children.len() as u32,
                acl: node.acl,
                owner: node.owner,
                data_length: node.data_length(),
                mtime_ms: node.stat.mtime,
                text,
            };
            loader.node(fact).unwrap();
        }
    }

    /// Takes over the nodes of one partition.
    pub fn take_partition(&mut self, from: &Replica, belongs: impl Fn(PathHash) -> bool, key: &HashKey) {
        for (path, node) in &from.nodes {
            if belongs(key.hash(path)) {
                self.nodes.insert(path.clone(), node.clone());
            }
        }
    }
}
