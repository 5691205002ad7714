//! What the replication role knows of the tree: enough to validate every request and to say what each transaction means.
//!
//! 1. [`Ledger::propose`] turns a request into an idempotent transaction, or into the error that takes its place. It
//!    looks at the *committed* part through the *overlay* of outstanding changes, which only a leader has; a new leader
//!    builds it from the end of its log ([`Ledger::expect`]).
//! 2. [`Ledger::commit`] applies a transaction to the committed part and resolves it into unconditional pieces. It
//!    serves transactions of one's own, of another leader, and of the log at start alike, and is exact also where a
//!    partition is already further on than the log's start ([`LedgerLoader::new`]).
//!
//! Nodes are known by the hash of their path: 44 bytes each. Paths are kept for ephemerals, containers, TTL nodes and
//! quotas alone.

mod acls;
mod answer;
mod fix_acl;
mod kept;
mod load;
mod nodes;
mod overlay;
mod owners;
mod pending;
mod quota;
mod resolve;
mod validate;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::config as test_config;

pub use acls::Acls;
pub use answer::answer;
pub use fix_acl::Schemes;
pub use kept::Reapable;
pub(crate) use load::FRESH;
pub use load::{LedgerLoader, LoadError, LoadedPart, NodeFact, PartLoader, bootstrap_pieces};
pub use nodes::{NodeState, OrderedNodes};
pub use quota::{Quota, QuotaNode, StatsTrack, Usage};
pub use resolve::{Resolved, SubtreeUsage};
pub use validate::Asker;

use engine::acl::{AclId, AclList};
use engine::ids::SessionId;
use engine::path::{HashKey, PathHash};
use engine::piece::HashedPath;
use engine::zxid::Zxid;
use kept::Kept;
use nodes::Nodes;
use overlay::Overlay;
use quota::Quotas;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings that validation depends on.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Key of the path hashes, as kept in the data directory.
    pub hash_key: HashKey,
    /// Number of partitions, a power of two, as kept in the data directory.
    pub partitions: u32,
    /// Authentication schemes that ACLs may name.
    pub schemes: Schemes,
    /// `zookeeper.extendedTypesEnabled`: TTL nodes exist.
    pub extended_types: bool,
    /// `enforceQuota`: hard limits forbid.
    pub enforce_quota: bool,
    /// `reconfigEnabled`: without it reconfig is refused before anything else.
    pub reconfig_enabled: bool,
}

/// The state behind validation and resolution.
#[derive(Debug)]
pub struct Ledger {
    config: LedgerConfig,
    nodes: Nodes,
    acls: Acls,
    kept: Kept,
    quotas: Quotas,
    overlay: Overlay,
    /// Per partition the zxid up to which it was loaded; only while the log is replayed.
    marks: Option<Box<[Zxid]>>,
    /// Sum of path and data lengths.
    data_bytes: i64,
    quota_refusals: BTreeMap<Box<str>, u64>,
    /// Version of the configuration that /zookeeper/config holds, where that is known.
    config_held: Option<Zxid>,
}

impl Ledger {
    /// The node as committed.
    pub fn committed_node(&self, path: &str) -> Option<NodeState> {
        self.nodes.get(self.hash(path))
    }

    /// The node with this hash as committed.
    pub fn committed_at(&self, hash: PathHash) -> Option<NodeState> {
        self.nodes.get(hash)
    }

    /// The node with this hash and all outstanding changes.
    pub fn pending_at(&self, hash: PathHash) -> Option<NodeState> {
        self.node(hash)
    }

    /// Committed znodes; the root counts once.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes that the table of znodes occupies, slack included.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.memory_bytes()
    }

    /// Sum of the lengths of all paths and data, in bytes (`approximate_data_size`).
    pub fn data_bytes(&self) -> i64 {
        self.data_bytes
    }

    /// Committed ephemerals.
    pub fn ephemeral_count(&self) -> usize {
        self.kept.ephemeral_count()
    }

    /// Committed ephemerals of a session.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = HashedPath> {
        self.kept.ephemerals(session)
    }

    /// Sessions that own committed ephemerals, each with its number of them, in order of their ids.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = (SessionId, usize)> {
        self.kept.owners()
    }

    /// Containers and TTL nodes behind `after`, in the order of a sweep.
    pub fn reapables(&self, after: Option<PathHash>) -> impl Iterator<Item = (PathHash, &Reapable)> {
        self.kept.reapables(after)
    }

    /// Quotas by the path that they are about.
    pub fn quotas(&self) -> impl Iterator<Item = (&str, &Quota)> {
        self.quotas.iter()
    }

    /// Requests that a hard quota has refused, by the first component of their path
    /// (`quota_exceeded_error_per_namespace`).
    pub fn quota_refusals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.quota_refusals.iter().map(|(namespace, count)| (&**namespace, *count))
    }

    /// Paths with an outstanding change.
    pub fn outstanding_paths(&self) -> usize {
        self.overlay.len()
    }

    /// The interned ACLs of clients, by number.
    pub fn acls(&self) -> impl Iterator<Item = (AclId, &AclList)> {
        self.acls.iter()
    }

    /// The list behind a number, of clients or well-known.
    pub fn acl(&self, id: AclId) -> Option<&AclList> {
        self.acls.list(id)
    }

    /// The next number for an ACL.
    pub fn next_acl(&self) -> u32 {
        self.acls.next()
    }

    /// Names every ACL that the cores do not know yet, and takes them for known.
    pub fn announce_all(&mut self, mut tell: impl FnMut(AclId, AclList)) {
        let ids: Vec<AclId> = self.acls.iter().map(|(id, _)| id).collect();
        for id in ids {
            if let Some(list) = self.acls.announce(id) {
                tell(id, list);
            }
        }
    }

    /// Forgets ACLs that no node has and nothing behind `committed` names: before a checkpoint.
    pub fn drop_unused_acls(&mut self, committed: Zxid) {
        self.acls.drop_unused(committed);
    }

    /// All partitions are at the same place now: the log has been replayed.
    pub fn finish_replay(&mut self) {
        self.marks = None;
    }

    /// Drops every outstanding change: leadership is lost.
    pub fn drop_outstanding(&mut self) {
        self.overlay.clear();
    }

    /// The settings.
    pub fn config(&self) -> &LedgerConfig {
        &self.config
    }

    fn hash(&self, path: &str) -> PathHash {
        self.config.hash_key.hash(path)
    }

    fn hashed(&self, path: &Arc<str>) -> HashedPath {
        HashedPath { path: path.clone(), hash: self.hash(path) }
    }

    /// The node with all outstanding changes.
    fn node(&self, hash: PathHash) -> Option<NodeState> {
        match self.overlay.get(hash) {
            Some(pending) => pending,
            None => self.nodes.get(hash),
        }
    }
}
