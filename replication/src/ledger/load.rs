//! Filling the ledger at start, from what recovery finds in the partition logs.

use super::nodes::{NodeState, Nodes, NodesPart, OrderedNodes};
use super::quota::QuotaNode;
use super::{Acls, Ledger, LedgerConfig};
use bytes::Bytes;
use engine::acl::{AclId, AclList};
use engine::ids::PartitionId;
use engine::node_owner::{NodeKind, NodeOwner};
use engine::partition::NodeFacts;
use engine::path::{PathHash, RESERVED, parent};
use engine::piece::{HashedPath, Piece, RoutedPiece};
use engine::zxid::Zxid;
use std::collections::HashMap;

/// One znode as recovery finds it.
#[derive(Clone, Copy, Debug)]
pub struct NodeFact<'a> {
    /// Full path.
    pub path: &'a str,
    /// Its hash.
    pub hash: PathHash,
    /// Stored cversion.
    pub cversion: i32,
    /// setData count.
    pub version: i32,
    /// setACL count.
    pub aversion: i32,
    /// Direct children.
    pub children: u32,
    /// Interned ACL.
    pub acl: AclId,
    /// Stored owner.
    pub owner: NodeOwner,
    /// Bytes of data; 0 for null.
    pub data_length: u32,
    /// Time of the last setData or of creation, milliseconds since the epoch.
    pub mtime_ms: i64,
    /// The data, where [`NodeFact::wants_text`] says so; `None` elsewhere, and for null.
    pub text: Option<&'a [u8]>,
}

impl NodeFact<'_> {
    /// Whether the ledger needs the data of this node: limits and stats of quotas.
    pub fn wants_text(path: &str) -> bool {
        QuotaNode::of(path).is_some()
    }
}

impl<'a> From<&NodeFacts<'a>> for NodeFact<'a> {
    fn from(facts: &NodeFacts<'a>) -> NodeFact<'a> {
        let image = &facts.image;
        NodeFact {
            path: image.path,
            hash: image.hash,
            cversion: image.cversion,
            version: image.version,
            aversion: image.aversion,
            children: facts.num_children,
            acl: image.acl,
            owner: image.owner,
            data_length: image.data.map_or(0, |data| data.len() as u32),
            mtime_ms: image.mtime,
            text: image.data.filter(|_| NodeFact::wants_text(image.path)),
        }
    }
}

/// Why what recovery found cannot be a tree.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// A node names a list that the system state does not have.
    #[error("znode {path} names ACL {}, which the system state of the checkpoint lacks: the manifest joins files that \
             do not belong together; restore the data directory from a backup or another member", acl.0)]
    UnknownAcl {
        /// The node.
        path: Box<str>,
        /// The number.
        acl: AclId,
    },
    /// An owner that says it is of an extended type, but of none that this version knows (`EphemeralType`).
    #[error(
        "znode {path} has owner 0x{owner:x}, an extended type that this version does not know: use the version \
             that wrote it, or switch zookeeper.extendedTypesEnabled off if it is the id of a session"
    )]
    UnknownOwner {
        /// The node.
        path: Box<str>,
        /// The stored owner.
        owner: i64,
    },
    /// One of the nodes that are always there is not.
    #[error("znode {0} is missing from the partition logs: restore the data directory from a backup or another member")]
    MissingNode(&'static str),
    /// The same node twice.
    #[error(
        "znode {0} was found twice in the partition logs: restore the data directory from a backup or another \
             member"
    )]
    Twice(Box<str>),
    /// A node in a log that is not its partition's.
    #[error(
        "znode {0} was found in the log of another partition than its own: restore the data directory from a backup or \
             another member"
    )]
    Misplaced(Box<str>),
}

/// Takes the facts, in any order, and makes the ledger: [`Self::node`] for every znode, then [`Self::finish`]. The znodes
/// of a partition can be loaded apart, on another thread ([`Self::part`]).
#[derive(Debug)]
pub struct LedgerLoader {
    config: LedgerConfig,
    acls: Acls,
    marks: Box<[Zxid]>,
    /// By partition.
    parts: Vec<LoadedPart>,
}

impl LedgerLoader {
    /// A loader. `marks` says per partition up to which zxid its facts go; the log is then replayed from the smallest
    /// of them, and each half of a transaction that a partition has seen is left out. `acls` comes from a system state
    /// that is not older than the newest mark.
    pub fn new(config: LedgerConfig, acls: Acls, marks: Box<[Zxid]>) -> LedgerLoader {
        assert_eq!(marks.len(), config.partitions as usize, "one mark per partition");
        let parts = (0..config.partitions).map(|_| LoadedPart::default()).collect();
        LedgerLoader { config, acls, marks, parts }
    }

    /// A znode.
    ///
    /// # Errors
    /// [`LoadError`]: there can be no such znode.
    pub fn node(&mut self, fact: NodeFact<'_>) -> Result<(), LoadError> {
        let partition = fact.hash.partition(self.config.partitions);
        self.parts[usize::from(partition.0)].node(&self.config, &self.acls, fact)
    }

    /// A loader of one partition's znodes, about so many, beside this one. What it makes goes to [`Self::add`].
    pub fn part(&self, partition: PartitionId, nodes: usize) -> PartLoader<'_> {
        let loaded = LoadedPart { nodes: NodesPart::with_room(nodes), ..LoadedPart::default() };
        PartLoader { config: &self.config, acls: &self.acls, partition, loaded }
    }

    /// The znodes of a partition, collected with lists that this loader has, in place of all that there were.
    ///
    /// # Errors
    /// [`LoadError::UnknownOwner`].
    pub fn add_collected(&mut self, partition: PartitionId, part: LoadedPart) -> Result<(), LoadError> {
        for (node, owner, _) in &part.kept {
            check_owner(&self.config, &node.path, *owner)?;
        }
        self.add(partition, part);
        Ok(())
    }

    /// The znodes of a partition, in place of all that there were.
    pub fn add(&mut self, partition: PartitionId, part: LoadedPart) {
        self.parts[usize::from(partition.0)] = part;
    }

    /// The ledger, ready for the replay of the log.
    ///
    /// # Errors
    /// [`LoadError::MissingNode`].
    pub fn finish(self) -> Result<Ledger, LoadError> {
        let ledger = self.filled();
        for path in RESERVED {
            if ledger.committed_node(path).is_none() {
                return Err(LoadError::MissingNode(path));
            }
        }
        Ok(ledger)
    }

    fn filled(self) -> Ledger {
        let LedgerLoader { config, acls, marks, parts } = self;
        let mut ledger = Ledger {
            nodes: Nodes::new(config.partitions),
            config,
            acls,
            kept: Default::default(),
            quotas: Default::default(),
            overlay: Default::default(),
            marks: Some(marks),
            data_bytes: 0,
            quota_refusals: Default::default(),
            config_held: None,
        };
        ledger.nodes = parts.into_iter().map(|part| part.hand_over(&mut ledger)).collect();
        ledger
    }
}

/// Takes the facts of one partition's znodes; see [`LedgerLoader::part`].
#[derive(Debug)]
pub struct PartLoader<'a> {
    config: &'a LedgerConfig,
    acls: &'a Acls,
    partition: PartitionId,
    loaded: LoadedPart,
}

impl PartLoader<'_> {
    /// A znode of the partition.
    ///
    /// # Errors
    /// [`LoadError`]: there can be no such znode.
    pub fn node(&mut self, fact: NodeFact<'_>) -> Result<(), LoadError> {
        if fact.hash.partition(self.config.partitions) != self.partition {
            return Err(LoadError::Misplaced(fact.path.into()));
        }
        self.loaded.node(self.config, self.acls, fact)
    }

    /// What was loaded.
    pub fn finish(self) -> LoadedPart {
        self.loaded
    }
}

/// What the ledger is to know of one partition's znodes.
#[derive(Debug, Default)]
pub struct LoadedPart {
    nodes: NodesPart,
    /// How many of them have each list.
    acls: HashMap<AclId, u64>,
    /// What is not persistent: owner and time of the last change, milliseconds since the epoch.
    kept: Vec<(HashedPath, NodeOwner, i64)>,
    /// Limits and stats, with their data.
    quotas: Vec<(HashedPath, Option<Box<[u8]>>)>,
    data_bytes: i64,
}

impl LoadedPart {
    fn node(&mut self, config: &LedgerConfig, acls: &Acls, fact: NodeFact<'_>) -> Result<(), LoadError> {
        if acls.list(fact.acl).is_none() {
            return Err(LoadError::UnknownAcl { path: fact.path.into(), acl: fact.acl });
        }
        check_owner(config, fact.path, fact.owner)?;
        let state = NodeState {
            cversion: fact.cversion,
            version: fact.version,
            aversion: fact.aversion,
            children: fact.children,
            acl: fact.acl,
            owner: fact.owner,
            data_length: fact.data_length,
        };
        if self.nodes.insert(fact.hash, state).is_some() {
            return Err(LoadError::Twice(fact.path.into()));
        }
        self.collect(&fact);
        Ok(())
    }

    /// Takes all of a znode that is not in the table, for [`LedgerLoader::add_collected`]. The table follows by
    /// [`Self::set_nodes`].
    pub fn collect(&mut self, fact: &NodeFact<'_>) {
        // Most have one of the lists that are always there, whose uses nobody counts.
        if fact.acl >= AclId::FIRST_FREE {
            *self.acls.entry(fact.acl).or_default() += 1;
        }
        self.data_bytes += fact.path.len() as i64 + i64::from(fact.data_length);
        let hashed = || HashedPath { path: fact.path.into(), hash: fact.hash };
        if fact.owner != NodeOwner::PERSISTENT {
            self.kept.push((hashed(), fact.owner, fact.mtime_ms));
        }
        if NodeFact::wants_text(fact.path) {
            self.quotas.push((hashed(), fact.text.map(Box::from)));
        }
    }

    /// The table of all znodes that were [collected](Self::collect).
    pub fn set_nodes(&mut self, nodes: OrderedNodes) {
        self.nodes = nodes.finish();
    }

    /// Gives the ledger everything but the table of znodes, and returns that.
    fn hand_over(self, ledger: &mut Ledger) -> NodesPart {
        for (acl, nodes) in self.acls {
            ledger.acls.acquire(acl, nodes);
        }
        ledger.data_bytes += self.data_bytes;
        for (node, owner, mtime_ms) in self.kept {
            ledger.kept.created(&node, owner, ledger.config.extended_types, mtime_ms);
        }
        for (node, text) in self.quotas {
            if let Some(quota) = QuotaNode::of(&node.path) {
                ledger.quotas.created(quota, &node, text.as_deref());
            }
        }
        self.nodes
    }
}

fn check_owner(config: &LedgerConfig, path: &str, owner: NodeOwner) -> Result<(), LoadError> {
    let extended = config.extended_types && (owner.0 as u64) >> 56 == 0xFF;
    if extended && !matches!(owner.kind(true), NodeKind::Ttl(_)) {
        return Err(LoadError::UnknownOwner { path: path.into(), owner: owner.0 });
    }
    Ok(())
}

impl Ledger {
    /// The ledger of a fresh tree: the four nodes that are always there.
    pub fn fresh(config: LedgerConfig) -> Ledger {
        let partitions = config.partitions as usize;
        let mut loader = LedgerLoader::new(config, Acls::default(), vec![Zxid::ZERO; partitions].into());
        for (path, children, acl, aversion) in FRESH {
            let hash = loader.config.hash_key.hash(path);
            let part = hash.partition(loader.config.partitions);
            let part = &mut loader.parts[usize::from(part.0)];
            part.nodes.insert(hash, NodeState { children, acl, aversion, ..NodeState::default() });
            part.data_bytes += path.len() as i64;
        }
        let mut ledger = loader.filled();
        ledger.marks = None;
        ledger
    }
}

/// Path, children, ACL and aversion of the nodes of a fresh tree; everything else about them is zero.
pub(crate) const FRESH: [(&str, u32, AclId, i32); 4] = [
    ("/", 1, AclId::OPEN, 0),
    ("/zookeeper", 2, AclId::OPEN, 0),
    ("/zookeeper/quota", 0, AclId::OPEN, 0),
    ("/zookeeper/config", 0, AclId::WORLD_READ, -1),
];

/// Pieces that make the four nodes of a fresh tree, to be applied at zxid 0 and time 0.
pub fn bootstrap_pieces(ledger: &Ledger) -> Vec<RoutedPiece> {
    let mut pieces: Vec<RoutedPiece> = Vec::new();
    let mut push = |piece| pieces.push(RoutedPiece { order: pieces.len() as u32, piece, stat_for: None });
    for (path, _, acl, aversion) in FRESH {
        let node = HashedPath { path: path.into(), hash: ledger.hash(path) };
        push(Piece::Put { node: node.clone(), data: Some(Bytes::new()), acl, owner: NodeOwner::PERSISTENT });
        if aversion != 0 {
            push(Piece::SetAcl { node: node.clone(), acl, aversion });
        }
        if let Some(parent) = parent(path) {
            push(Piece::Link { parent: ledger.hash(parent), child: node, cversion: 0, moves_pzxid: false });
        }
    }
    pieces
}

impl Acls {
    /// The lists of a checkpoint, which the cores are told anew.
    pub fn from_checkpoint(lists: impl IntoIterator<Item = (AclId, AclList)>, next: u32) -> Acls {
        let mut acls = Acls::default();
        for (id, list) in lists {
            acls.restore(id, list);
        }
        acls.reserve_below(next);
        acls
    }
}
