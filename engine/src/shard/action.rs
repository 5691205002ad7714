//! What a shard is made with, and what it hands to its host.

use crate::acl::AclId;
use crate::error_code::ErrorCode;
use crate::ids::{ConnId, CoreId, Origin, PartitionId, ShardId};
use crate::partition::{Damage, LogAction, PartitionCut, Place};
use crate::path::HashKey;
use crate::piece::CapturedStat;
use crate::read::{ReadBody, ReadReply};
use crate::zxid::Zxid;
use bytes::Bytes;
use std::sync::Arc;

/// What a shard must know of the server.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Which shard this is.
    pub id: ShardId,
    /// Shards of this server. With 1 the view is always what has been applied, and history is kept for pins only.
    pub shards: u16,
    /// Partitions of the namespace: a power of two up to 65,536.
    pub partitions: u32,
    /// The key of the path hash.
    pub key: Arc<HashKey>,
    /// `zookeeper.extendedTypesEnabled`, as in [`crate::node_owner::NodeOwner::kind`].
    pub extended_types: bool,
}

/// How a read ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadOutcome {
    /// The reply record has been appended to the buffer.
    Record,
    /// The request failed; nothing has been appended.
    Failed(ErrorCode),
    /// A result that is no record.
    Body(ReadBody),
    /// The answer will come as [`ShardAction::Answer`]; nothing has been appended.
    Deferred,
}

/// A watch event for some connections of one core.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventBatch {
    /// The core of the connections.
    pub core: CoreId,
    /// The transaction that fired it.
    pub zxid: Zxid,
    /// The [`crate::piece::RoutedPiece::order`] of the piece that fired it. A piece makes one event at the most, so
    /// (zxid, order) puts the events of all shards into the order in which ZooKeeper sends them.
    pub order: u32,
    /// The whole notification frame.
    pub frame: Bytes,
    /// Goes only to connections that this list grants READ; the others lose it.
    pub acl: AclId,
    /// The connections, each of them once.
    pub conns: Arc<[ConnId]>,
    /// `None`: fired as the transaction was applied. Else the watch was registered as of a view before the transaction
    /// by this request (its connection is the only one), while the shard was further on: the event belongs behind the
    /// reply to the request, even if the core's view has passed `zxid` by now.
    pub owed_by: Option<Origin>,
}

/// Identifies work that waits for bytes to become resident.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct JobId(pub u64);

/// What the host is to do for a shard, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ShardAction {
    /// A Stat that the reply to a write waits for; to the core of its origin.
    Stat(CapturedStat),
    /// A watch event; to its core.
    Events(EventBatch),
    /// The answer to a read that was [`ReadOutcome::Deferred`]; to the core of its origin.
    Answer(ReadReply),
    /// Bring these bytes of a log into memory, then call [`super::Shard::fetched`]. Each one asked for is to be
    /// answered, also where the same bytes are asked for twice.
    Fetch {
        /// Who waits.
        job: JobId,
        /// The partition.
        partition: PartitionId,
        /// The bytes.
        place: Place,
    },
    /// Something for the log of a partition.
    Log(LogAction),
    /// The checkpoint that was begun is written: what the manifest is to say of this shard's partitions.
    Cut(Vec<PartitionCut>),
    /// A partition's log is not what was written. The server must stop; nothing more is answered from this place.
    Damaged(Damage),
}
