//! Transactions of the log that are not known to be committed: a new leader validates behind them.

use super::Ledger;
use super::nodes::NodeState;
use super::resolve::has_failed;
use bytes::Bytes;
use engine::acl::AclList;
use engine::ids::SessionId;
use engine::node_owner::{NodeKind, NodeOwner};
use engine::path;
use engine::piece::HashedPath;
use engine::txn::{Txn, TxnHeader};
use std::collections::HashSet;
use std::sync::Arc;

impl Ledger {
    /// Puts an outstanding transaction over the committed state, as [`Ledger::propose`] had done where it was proposed.
    /// To be called in zxid order.
    pub fn expect(&mut self, header: &TxnHeader, txn: &Txn) {
        match txn {
            Txn::Multi { entries } if has_failed(entries) => {}
            Txn::Multi { entries } => entries.iter().for_each(|entry| self.expect_entry(header, entry)),
            single => self.expect_entry(header, single),
        }
    }

    fn expect_entry(&mut self, header: &TxnHeader, entry: &Txn) {
        match entry {
            Txn::Create { path, data, acl, ephemeral, parent_cversion, create2 } => {
                let owner = if *ephemeral { NodeOwner::session(header.client) } else { NodeOwner::PERSISTENT };
                let node = self.new_node(header, acl, owner, data);
                self.expect_node(header, path, node, *parent_cversion, !create2);
            }
            Txn::CreateContainer { path, data, acl, parent_cversion } => {
                let node = self.new_node(header, acl, NodeOwner::CONTAINER, data);
                self.expect_node(header, path, node, *parent_cversion, false);
            }
            Txn::CreateTtl { path, data, acl, parent_cversion, ttl_ms } => {
                let node = self.new_node(header, acl, NodeOwner::ttl(*ttl_ms), data);
                self.expect_node(header, path, node, *parent_cversion, false);
            }
            Txn::Delete { path, .. } => self.expect_deletion(header, path),
            Txn::SetData { path, data, version, .. } => {
                self.expect_change(header, path, |node| {
                    node.version = *version;
                    node.data_length = length(data);
                });
            }
            Txn::SetAcl { path, acl, version } => {
                let acl = self.acls.intern(acl, header.zxid);
                self.expect_change(header, path, |node| {
                    node.aversion = *version;
                    node.acl = acl;
                });
            }
            Txn::CloseSession { paths } => {
                for path in paths.iter().flatten() {
                    self.expect_deletion(header, path);
                }
                for node in self.pending_ephemerals(header.client) {
                    self.expect_deletion(header, &node.path);
                }
            }
            Txn::CreateSession { .. } | Txn::Error { .. } | Txn::Check { .. } | Txn::Multi { .. } => {}
        }
    }

    fn new_node(&mut self, header: &TxnHeader, acl: &AclList, owner: NodeOwner, data: &Option<Bytes>) -> NodeState {
        let acl = self.acls.intern(acl, header.zxid);
        NodeState { acl, owner, data_length: length(data), ..NodeState::default() }
    }

    /// `mends` says that the type is the one that moves the parent's cversion over an existing node too.
    fn expect_node(&mut self, header: &TxnHeader, path: &Arc<str>, new: NodeState, cversion: i32, mends: bool) {
        let Some(parent_path) = path::parent(path) else { return };
        let (parent_hash, node) = (self.hash(parent_path), self.hashed(path));
        let Some(mut parent) = self.node(parent_hash) else { return };
        if let Some(existing) = self.node(node.hash) {
            self.overlay.set(node.hash, header.zxid, Some(NodeState { acl: new.acl, ..existing }));
            if mends && cversion > parent.cversion {
                parent.cversion = cversion;
                self.overlay.set(parent_hash, header.zxid, Some(parent));
            }
            return;
        }
        let cversion = if cversion == -1 { parent.cversion.wrapping_add(1) } else { cversion };
        parent.cversion = cversion.max(parent.cversion);
        parent.children = parent.children.saturating_add(1);
        self.overlay.set(parent_hash, header.zxid, Some(parent));
        self.overlay.set(node.hash, header.zxid, Some(new));
        if let NodeKind::Ephemeral(session) = new.owner.kind(self.config.extended_types) {
            self.overlay.creates_ephemeral(header.zxid, session, node);
        }
    }

    fn expect_deletion(&mut self, header: &TxnHeader, path: &Arc<str>) {
        let Some(parent_path) = path::parent(path) else { return };
        let hash = self.hash(path);
        if self.node(hash).is_some() {
            self.overlay_delete(header, hash, self.hash(parent_path));
        }
    }

    fn expect_change(&mut self, header: &TxnHeader, path: &str, change: impl FnOnce(&mut NodeState)) {
        let hash = self.hash(path);
        if let Some(mut node) = self.node(hash) {
            change(&mut node);
            self.overlay.set(hash, header.zxid, Some(node));
        }
    }

    /// Ephemerals of a session with all outstanding changes, each once.
    pub(super) fn pending_ephemerals(&self, session: SessionId) -> Vec<HashedPath> {
        let mut seen = HashSet::new();
        let candidates = self.kept.ephemerals(session).chain(self.overlay.created_ephemerals(session).cloned());
        let is_pending = |node: &HashedPath| {
            let owner = self.node(node.hash).map(|state| state.owner.kind(self.config.extended_types));
            owner == Some(NodeKind::Ephemeral(session)) && seen.insert(node.hash)
        };
        candidates.filter(is_pending).collect()
    }
}

fn length(data: &Option<Bytes>) -> u32 {
    data.as_ref().map_or(0, |data| data.len() as u32)
}
