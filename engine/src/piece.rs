//! What a committed transaction means for one shard.
//!
//! The ledger resolves each transaction into *pieces* that hold without condition, so that no shard has to ask another
//! whether a piece applies. A shard gets the pieces of the paths that it owns, transaction by transaction, in zxid order.

use crate::acl::AclId;
use crate::ids::Origin;
use crate::node_owner::NodeOwner;
use crate::path::PathHash;
use crate::stat::Stat;
use crate::zxid::Zxid;
use bytes::Bytes;
use std::sync::Arc;

/// A path with its hash, shared by the pieces and events that speak of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HashedPath {
    /// The full path.
    pub path: Arc<str>,
    /// Its hash under the data directory's key.
    pub hash: PathHash,
}

/// One unconditional change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// A node comes to be (or, where one is there already by a replay, is replaced): czxid = mzxid = pzxid = the
    /// transaction, ctime = mtime = its time, all versions 0. Fires NodeCreated.
    Put {
        /// The node.
        node: HashedPath,
        /// Its data; `None` is null.
        data: Option<Bytes>,
        /// Its interned ACL.
        acl: AclId,
        /// Its stored owner.
        owner: NodeOwner,
    },
    /// Data replaced: version as given, mzxid and mtime of the transaction. Fires NodeDataChanged.
    SetData {
        /// The node.
        node: HashedPath,
        /// New data; `None` is null.
        data: Option<Bytes>,
        /// The version after the change.
        version: i32,
    },
    /// ACL replaced. Fires nothing.
    SetAcl {
        /// The node.
        node: HashedPath,
        /// The new list.
        acl: AclId,
        /// The aversion after the change.
        aversion: i32,
    },
    /// A child appears below `parent`. Fires NodeChildrenChanged at the parent.
    Link {
        /// Hash of the parent, which this shard owns.
        parent: PathHash,
        /// The child's full path; the parent's path is its prefix.
        child: HashedPath,
        /// The parent's stored cversion after the change.
        cversion: i32,
        /// Whether the parent's pzxid becomes the transaction's (always, but for replays over newer state).
        moves_pzxid: bool,
    },
    /// A child goes. Fires NodeChildrenChanged at the parent.
    Unlink {
        /// Hash of the parent, which this shard owns.
        parent: PathHash,
        /// The child's full path.
        child: HashedPath,
        /// Whether the parent's pzxid becomes the transaction's.
        moves_pzxid: bool,
    },
    /// The node goes. Fires NodeDeleted.
    Remove {
        /// The node.
        node: HashedPath,
    },
    /// Content of a `zookeeper_stats` node: data and dataLength change, nothing else, and nothing fires.
    QuotaUsage {
        /// The stats node.
        node: HashedPath,
        /// Its new content.
        data: Bytes,
    },
    /// Data that a server writes for itself, outside of the order of transactions: /zookeeper/config, whose Stat names the
    /// version of the configuration (`ZKDatabase.initConfigInZKDatabase`). Fires NodeDataChanged.
    Rewrite {
        /// The node.
        node: HashedPath,
        /// Its new content.
        data: Bytes,
        /// The version after the change.
        version: i32,
        /// Its mzxid from here on; may lie ahead of everything that was applied.
        mzxid: Zxid,
    },
}

impl Piece {
    /// The hash whose owner gets the piece.
    pub fn routed_by(&self) -> PathHash {
        match self {
            Piece::Put { node, .. }
            | Piece::SetData { node, .. }
            | Piece::SetAcl { node, .. }
            | Piece::Remove { node }
            | Piece::QuotaUsage { node, .. }
            | Piece::Rewrite { node, .. } => node.hash,
            Piece::Link { parent, .. } | Piece::Unlink { parent, .. } => *parent,
        }
    }
}

/// A piece on its way to its shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoutedPiece {
    /// Place of the piece's events among those of the whole transaction, over all shards: the order in which ZooKeeper
    /// sends them (op by op; the node before its parent).
    pub order: u32,
    /// The change.
    pub piece: Piece,
    /// Somebody waits for the node's Stat as it is right after this piece: the origin, and the op's index in its multi
    /// (0 elsewhere).
    pub stat_for: Option<(Origin, u32)>,
}

/// All pieces of one transaction for one shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardTxn {
    /// The transaction.
    pub zxid: Zxid,
    /// Its time: milliseconds since the epoch by the leader's clock.
    pub time_ms: i64,
    /// The pieces, in order of application.
    pub pieces: Vec<RoutedPiece>,
}

/// A Stat that a reply was waiting for ([`RoutedPiece::stat_for`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapturedStat {
    /// Who waits.
    pub origin: Origin,
    /// Index of the op in its multi.
    pub op: u32,
    /// The node right after the op.
    pub stat: Stat,
}
