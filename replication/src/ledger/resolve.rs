//! Resolution: what a committed transaction changes, as pieces that hold without condition (`DataTree.processTxn`).
//!
//! A creation or deletion has two halves, the node's and its parent's, and each belongs to the partition of its path.
//! While the log is replayed a partition may be further on than the transaction; then its half has happened already and
//! is left out, here as there. Otherwise both halves apply, and what the reference server would find missing or there
//! already is treated as it does.

use super::Ledger;
use super::answer::wants_stat;
use super::nodes::NodeState;
use super::quota::{QuotaNode, is_within};
use super::validate::CONFIG_VERSION;
use bytes::Bytes;
use engine::acl::{AclId, AclList};
use engine::ids::Origin;
use engine::node_owner::NodeOwner;
use engine::path::{self, CONFIG_NODE, PathHash};
use engine::piece::{HashedPath, Piece, RoutedPiece};
use engine::txn::{Txn, TxnHeader};
use engine::zxid::Zxid;
use std::sync::Arc;

/// How much a subtree holds, its root included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubtreeUsage {
    /// Znodes.
    pub count: i64,
    /// Sum of data lengths in bytes.
    pub bytes: i64,
}

/// What a transaction comes to. Reused from one to the next.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Its pieces for all shards, in order of application.
    pub pieces: Vec<RoutedPiece>,
    /// Lists that its pieces name and the cores do not know yet.
    pub defines: Vec<(AclId, AclList)>,
}

impl Resolved {
    fn clear(&mut self) {
        self.pieces.clear();
        self.defines.clear();
        // The pieces went out with the vector: most transactions make one or two.
        if self.pieces.capacity() == 0 {
            self.pieces.reserve_exact(2);
        }
    }
}

/// One transaction on its way.
struct Step<'a> {
    header: &'a TxnHeader,
    waiter: Option<Origin>,
    op: u32,
    measured: Vec<(Arc<str>, SubtreeUsage)>,
    out: &'a mut Resolved,
}

impl Step<'_> {
    fn push(&mut self, piece: Piece) {
        let order = self.out.pieces.len() as u32;
        self.out.pieces.push(RoutedPiece { order, piece, stat_for: None });
    }

    /// Pushes a piece whose node's Stat the answer to `entry` carries.
    fn push_answered(&mut self, piece: Piece, entry: &Txn) {
        self.push(piece);
        if wants_stat(entry)
            && let Some(pushed) = self.out.pieces.last_mut()
        {
            pushed.stat_for = self.waiter.map(|origin| (origin, self.op));
        }
    }

    /// Earlier ops of a multi count towards a usage that was measured before it.
    fn measure(&mut self, path: &str, count: i64, bytes: i64) {
        for (root, usage) in &mut self.measured {
            if is_within(path, root) {
                usage.count += count;
                usage.bytes += bytes;
            }
        }
    }
}

impl Ledger {
    /// Subtrees whose usage must be known, as of everything before it, before the transaction can be committed. Nearly
    /// always none: only the creation of a `zookeeper_stats` node over a subtree that has children asks for it. While
    /// the log is replayed nothing need be measured: a quota committed without is counted when the replay is over
    /// ([`Self::quotas_to_count`]).
    pub fn unmeasured(&self, txn: &Txn) -> Vec<Arc<str>> {
        let entries = match txn {
            Txn::Multi { entries } if !has_failed(entries) => &entries[..],
            Txn::Multi { .. } => &[],
            single => std::slice::from_ref(single),
        };
        let mut paths: Vec<Arc<str>> = Vec::new();
        for entry in entries {
            let Some(created) = created_path(entry) else { continue };
            if let Some(QuotaNode::Stats(of)) = QuotaNode::of(created)
                && self.known_usage(of).is_none()
                && !paths.iter().any(|path| **path == *of)
            {
                paths.push(of.into());
            }
        }
        paths
    }

    /// Quotas whose usage is to be counted, as of everything committed, once the log has been replayed.
    pub fn quotas_to_count(&self) -> Vec<Arc<str>> {
        self.quotas.to_count().map(Arc::from).collect()
    }

    /// A usage as counted at start. Returns whether the stats node says something else; the next transaction, of
    /// whatever kind, then brings the right text.
    pub fn count_quota(&mut self, path: &str, usage: SubtreeUsage) -> bool {
        self.quotas.count(path, usage)
    }

    /// Applies a committed transaction and resolves it into `out`. `waiter` gets the Stats of its answer; `measured`
    /// answers [`Self::unmeasured`].
    pub fn commit(
        &mut self,
        header: &TxnHeader,
        txn: &Txn,
        waiter: Option<Origin>,
        measured: Vec<(Arc<str>, SubtreeUsage)>,
        out: &mut Resolved,
    ) {
        out.clear();
        let mut step = Step { header, waiter, op: 0, measured, out };
        match txn {
            Txn::Multi { entries } if has_failed(entries) => {}
            Txn::Multi { entries } => {
                for created in entries.iter().filter_map(created_path) {
                    self.measure_known(&mut step, created);
                }
                for (at, entry) in entries.iter().enumerate() {
                    step.op = at as u32;
                    self.apply(&mut step, entry);
                }
            }
            single => {
                if let Some(created) = created_path(single) {
                    self.measure_known(&mut step, created);
                }
                self.apply(&mut step, single);
            }
        }
        if self.quotas.has_dirty() {
            self.write_usage(&mut step);
        }
        self.overlay.settle_ephemerals(header.zxid);
    }

    /// This server's own configuration becomes the content of /zookeeper/config, by a piece of no transaction: where the
    /// configuration came from somewhere else than the log (`QuorumPeer.initConfigInZKDatabase`). Reconfigurations before
    /// it that are committed afterwards do not bring their members back. `None` where it is that already: whoever watches
    /// the node has been told, and a core that has not heard yet that nobody is served would tell them again.
    pub fn write_config(&mut self, text: &str, version: Zxid) -> Option<RoutedPiece> {
        if self.config_held == Some(version) {
            return None;
        }
        let node = self.hashed(&CONFIG_NODE.into());
        let before = self.nodes.update(node.hash, |state| {
            (state.version, state.data_length) = (CONFIG_VERSION, text.len() as u32);
        })?;
        self.config_held = Some(version);
        self.data_bytes += text.len() as i64 - i64::from(before.data_length);
        let data = Bytes::copy_from_slice(text.as_bytes());
        let piece = Piece::Rewrite { node, data, version: CONFIG_VERSION, mzxid: version };
        Some(RoutedPiece { order: 0, piece, stat_for: None })
    }

    fn apply(&mut self, step: &mut Step<'_>, entry: &Txn) {
        match entry {
            Txn::Create { path, data, acl, ephemeral, parent_cversion, create2 } => {
                let owner = if *ephemeral { NodeOwner::session(step.header.client) } else { NodeOwner::PERSISTENT };
                let creation = Creation { path, data, acl, owner, cversion: *parent_cversion, plain: !create2, entry };
                self.apply_create(step, creation);
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                let (owner, cversion) = (NodeOwner::CONTAINER, *parent_cversion);
                self.apply_create(step, Creation { path, data, acl, owner, cversion, plain: false, entry });
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl_ms } => {
                let (owner, cversion) = (NodeOwner::ttl(*ttl_ms), *parent_cversion);
                self.apply_create(step, Creation { path, data, acl, owner, cversion, plain: false, entry });
            }
            Txn::Delete { path, .. } => self.apply_delete(step, path),
            // A member that begins to serve has written what is in force, and commits the end of its log behind that. The
            // transaction of what is in force need not be there: the log may have been lost, and the file kept.
            Txn::SetData { path, reconfig: true, .. }
                if self.config_held.is_some_and(|held| step.header.zxid < held) =>
            {
                self.overlay.settle(self.hash(path), step.header.zxid);
            }
            Txn::SetData { path, data, version, .. } => self.apply_set_data(step, path, data, *version, entry),
            Txn::SetAcl { path, acl, version } => self.apply_set_acl(step, path, acl, *version, entry),
            Txn::CloseSession { paths } => {
                for path in paths.iter().flatten() {
                    self.apply_delete(step, path);
                }
                let left: Vec<_> = self.kept.ephemerals(step.header.client).map(|node| node.path).collect();
                for path in left {
                    self.apply_delete(step, &path);
                }
            }
            Txn::CreateSession { .. } | Txn::Error { .. } | Txn::Check { .. } | Txn::Multi { .. } => {}
        }
    }

    fn apply_create(&mut self, step: &mut Step<'_>, new: Creation<'_>) {
        let Some(parent_path) = path::parent(new.path) else { return };
        let zxid = step.header.zxid;
        let (parent, node) = (self.hash(parent_path), self.hashed(new.path));
        self.overlay.settle(parent, zxid);
        self.overlay.settle(node.hash, zxid);
        let (parent_is_due, node_is_due) = (self.is_due(parent, zxid), self.is_due(node.hash, zxid));
        let parent_state = self.nodes.get(parent);
        if parent_is_due && parent_state.is_none() {
            return;
        }
        let acl = self.acls.intern(new.acl, zxid);
        step.out.defines.extend(self.acls.announce(acl).map(|list| (acl, list)));
        let existing = if node_is_due { self.nodes.get(node.hash) } else { None };

        if let Some(existing) = existing {
            self.replace_acl(node.hash, existing.acl, acl, existing.aversion);
            step.push(Piece::SetAcl { node: node.clone(), acl, aversion: existing.aversion });
            let behind = parent_state.is_some_and(|parent| new.cversion > parent.cversion);
            if new.plain && parent_is_due && behind {
                self.nodes.update(parent, |parent| parent.cversion = new.cversion);
                step.push(Piece::Link { parent, child: node, cversion: new.cversion, moves_pzxid: true });
            }
            return;
        }
        if node_is_due {
            self.add_node(step, &node, new.data, acl, new.owner);
            let (node, data) = (node.clone(), new.data.clone());
            step.push_answered(Piece::Put { node, data, acl, owner: new.owner }, new.entry);
        }
        if let (true, Some(state)) = (parent_is_due, parent_state) {
            let cversion = if new.cversion == -1 { state.cversion.wrapping_add(1) } else { new.cversion };
            let moves_pzxid = cversion > state.cversion;
            let cversion = cversion.max(state.cversion);
            self.nodes.update(parent, |parent| {
                parent.cversion = cversion;
                parent.children = parent.children.saturating_add(1);
            });
            step.push(Piece::Link { parent, child: node.clone(), cversion, moves_pzxid });
        }
        if node_is_due {
            self.account_creation(step, &node, new.data);
        }
    }

    fn add_node(&mut self, step: &Step<'_>, node: &HashedPath, data: &Option<Bytes>, acl: AclId, owner: NodeOwner) {
        let data_length = length(data);
        let state = NodeState { acl, owner, data_length: data_length as u32, ..NodeState::default() };
        self.nodes.insert(node.hash, state);
        self.acls.acquire(acl, 1);
        self.kept.created(node, owner, self.config.extended_types, step.header.time_ms);
        self.data_bytes += node.path.len() as i64 + data_length;
    }

    /// Quota nodes take effect, and then the quota that the new node falls under is charged.
    fn account_creation(&mut self, step: &mut Step<'_>, node: &HashedPath, data: &Option<Bytes>) {
        let bytes = length(data);
        step.measure(&node.path, 1, bytes);
        if let Some(quota) = QuotaNode::of(&node.path) {
            self.quotas.created(quota, node, data.as_deref());
            if let QuotaNode::Stats(of) = quota {
                let usage = step.measured.iter().find(|(root, _)| **root == *of).map(|(_, usage)| *usage);
                self.quotas.set_usage(of, usage);
            }
        }
        self.charge(&node.path, 1, bytes);
    }

    fn apply_delete(&mut self, step: &mut Step<'_>, path: &Arc<str>) {
        let Some(parent_path) = path::parent(path) else { return };
        let zxid = step.header.zxid;
        let (parent, node) = (self.hash(parent_path), self.hashed(path));
        self.overlay.settle(parent, zxid);
        self.overlay.settle(node.hash, zxid);
        let (parent_is_due, node_is_due) = (self.is_due(parent, zxid), self.is_due(node.hash, zxid));
        if parent_is_due && self.nodes.get(parent).is_none() {
            return;
        }
        let removed = if node_is_due { self.nodes.remove(node.hash) } else { None };
        if let Some(state) = removed {
            self.acls.release(state.acl);
            self.kept.deleted(node.hash, state.owner, self.config.extended_types);
            self.data_bytes -= path.len() as i64 + i64::from(state.data_length);
            step.push(Piece::Remove { node: node.clone() });
        }
        if parent_is_due {
            if removed.is_some() || !node_is_due {
                self.nodes.update(parent, |parent| parent.children = parent.children.saturating_sub(1));
            }
            step.push(Piece::Unlink { parent, child: node.clone(), moves_pzxid: true });
        }
        if let Some(state) = removed {
            let bytes = i64::from(state.data_length);
            step.measure(path, -1, -bytes);
            if let Some(quota) = QuotaNode::of(path) {
                self.quotas.deleted(quota, node.hash);
            }
            self.charge(path, -1, -bytes);
        }
    }

    fn apply_set_data(
        &mut self,
        step: &mut Step<'_>,
        path: &Arc<str>,
        data: &Option<Bytes>,
        version: i32,
        entry: &Txn,
    ) {
        let node = self.hashed(path);
        self.overlay.settle(node.hash, step.header.zxid);
        if !self.is_due(node.hash, step.header.zxid) {
            return;
        }
        let before = self.nodes.update(node.hash, |state| {
            state.version = version;
            state.data_length = length(data) as u32;
        });
        let Some(before) = before else { return };
        if **path == *CONFIG_NODE {
            let is_reconfig = matches!(entry, Txn::SetData { reconfig: true, .. });
            self.config_held = is_reconfig.then_some(step.header.zxid);
        }
        let change = length(data) - i64::from(before.data_length);
        self.kept.written(node.hash, before.owner, step.header.time_ms);
        self.data_bytes += change;
        if self.quotas.is_quota_node(node.hash)
            && let Some(quota) = QuotaNode::of(path)
        {
            self.quotas.written(quota, &node, data.as_deref());
        }
        step.push_answered(Piece::SetData { node, data: data.clone(), version }, entry);
        step.measure(path, 0, change);
        self.charge(path, 0, change);
    }

    fn apply_set_acl(&mut self, step: &mut Step<'_>, path: &Arc<str>, list: &AclList, aversion: i32, entry: &Txn) {
        let node = self.hashed(path);
        self.overlay.settle(node.hash, step.header.zxid);
        if !self.is_due(node.hash, step.header.zxid) {
            return;
        }
        let Some(before) = self.nodes.get(node.hash) else { return };
        let acl = self.acls.intern(list, step.header.zxid);
        step.out.defines.extend(self.acls.announce(acl).map(|list| (acl, list)));
        self.replace_acl(node.hash, before.acl, acl, aversion);
        step.push_answered(Piece::SetAcl { node, acl, aversion }, entry);
    }

    fn replace_acl(&mut self, hash: PathHash, before: AclId, after: AclId, aversion: i32) {
        self.nodes.update(hash, |state| {
            state.acl = after;
            state.aversion = aversion;
        });
        self.acls.acquire(after, 1);
        self.acls.release(before);
    }

    /// Charges the deepest active quota. The stats node's text grows or shrinks with it.
    fn charge(&mut self, path: &str, count: i64, bytes: i64) {
        if let Some((stats, text_length)) = self.quotas.charge(path, count, bytes) {
            self.set_text_length(stats, text_length);
        }
    }

    fn set_text_length(&mut self, stats: PathHash, text_length: u32) {
        if let Some(before) = self.nodes.update(stats, |state| state.data_length = text_length) {
            self.data_bytes += i64::from(text_length) - i64::from(before.data_length);
        }
    }

    /// One piece per stats node that the transaction has changed, behind all others: it fires nothing and moves no Stat.
    fn write_usage(&mut self, step: &mut Step<'_>) {
        for (node, text) in self.quotas.take_dirty() {
            self.set_text_length(node.hash, text.len() as u32);
            if self.is_due(node.hash, step.header.zxid) {
                step.push(Piece::QuotaUsage { node, data: Bytes::from(text) });
            }
        }
    }

    /// Usage of a subtree that needs no walk, before the transaction at hand.
    fn known_usage(&self, path: &str) -> Option<SubtreeUsage> {
        if self.marks.is_some() {
            return None;
        }
        match self.nodes.get(self.hash(path)) {
            None => Some(SubtreeUsage::default()),
            Some(node) if node.children == 0 => Some(SubtreeUsage { count: 1, bytes: i64::from(node.data_length) }),
            Some(_) => None,
        }
    }

    fn measure_known(&self, step: &mut Step<'_>, created: &Arc<str>) {
        if let Some(QuotaNode::Stats(of)) = QuotaNode::of(created)
            && !step.measured.iter().any(|(root, _)| **root == *of)
            && let Some(usage) = self.known_usage(of)
        {
            step.measured.push((of.into(), usage));
        }
    }

    /// Whether the partition of this path has yet to see the transaction.
    fn is_due(&self, hash: PathHash, zxid: Zxid) -> bool {
        match &self.marks {
            None => true,
            Some(marks) => zxid > marks[usize::from(hash.partition(self.config.partitions).0)],
        }
    }
}

/// The record of a creation, whichever its type.
struct Creation<'a> {
    path: &'a Arc<str>,
    data: &'a Option<Bytes>,
    acl: &'a AclList,
    owner: NodeOwner,
    cversion: i32,
    /// Type 1: the only one whose replay over an existing node mends the parent.
    plain: bool,
    entry: &'a Txn,
}

fn created_path(txn: &Txn) -> Option<&Arc<str>> {
    match txn {
        Txn::Create { path, .. } | Txn::CreateContainer { path, .. } | Txn::CreateTtl { path, .. } => Some(path),
        _ => None,
    }
}

pub(super) fn has_failed(entries: &[Txn]) -> bool {
    entries.iter().any(|entry| matches!(entry, Txn::Error { .. }))
}

fn length(data: &Option<Bytes>) -> i64 {
    data.as_ref().map_or(0, |data| data.len() as i64)
}
