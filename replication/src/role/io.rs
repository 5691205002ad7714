//! What goes into the role and what comes out.

use crate::ledger::SubtreeUsage;
use crate::request::{WriteAnswer, WriteRequest};
use crate::wal::Durable;
use engine::acl::{AclId, AclList};
use engine::ids::{ConnId, CoreId, Origin, SessionId, ShardId};
use engine::piece::ShardTxn;
use engine::zxid::Zxid;
use std::sync::Arc;

/// One reading of the clocks, taken by the host once per turn of its loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// Milliseconds of a monotonic clock with any origin: session expiry and pacing.
    pub mono_ms: i64,
    /// Milliseconds since the epoch: times of transactions, and the age of TTL nodes.
    pub wall_ms: i64,
}

/// A handshake, decoded and clamped by the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest {
    /// Core that owns the connection.
    pub core: CoreId,
    /// The connection.
    pub conn: ConnId,
    /// Session to renew; [`SessionId::NONE`] asks for a new one.
    pub session: SessionId,
    /// Negotiated timeout in milliseconds, already between the server's bounds.
    pub timeout_ms: i32,
    /// Password for a renewal; `None` if the client sent null or another length than 16 bytes.
    pub password: Option<[u8; 16]>,
}

/// An event for the role.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// A write, to be validated and ordered. The host holds back when [`super::Role::has_room`] says so.
    Write(WriteRequest),
    /// A sync: answered by [`Action::SyncDone`].
    Sync {
        /// Who waits.
        origin: Origin,
        /// The session that asks.
        session: SessionId,
    },
    /// A handshake: answered by [`Action::Connected`] or [`Action::Refused`].
    Connect(ConnectRequest),
    /// Sessions that were heard of since the last such input.
    Touch(Vec<SessionId>),
    /// getEphemerals: answered by [`Action::Ephemerals`].
    Ephemerals {
        /// Who waits.
        origin: Origin,
        /// Whose ephemerals.
        session: SessionId,
        /// Plain string prefix; `None`, blank or "/" means all.
        prefix: Option<Box<str>>,
    },
    /// A connection is gone; its session lives on until its deadline.
    Disconnected {
        /// The session that it had.
        session: SessionId,
        /// Core that owned the connection.
        core: CoreId,
        /// The connection.
        conn: ConnId,
    },
    /// The log holds everything up to this zxid.
    Durable(Durable<Zxid>),
    /// Answer to [`Action::Measure`]: the sum over all shards.
    Measured {
        /// The subtree's root.
        path: Arc<str>,
        /// What it held; zeros if there is no such node.
        usage: SubtreeUsage,
    },
    /// The time of [`super::Role::next_deadline`] has come (early or late does no harm).
    Tick,
    /// A checkpoint is wanted: answered by [`Action::Checkpoint`].
    CheckpointDue,
    /// Take no more requests; finish what is outstanding, then say [`Action::Drained`].
    Shutdown,
}

/// What the host is to do, in the order given. A host that executes actions strictly in sequence is correct.
///
/// Per transaction the order is: `Append` when it is proposed; once it is durable and committed `DefineAcl`, `Route`,
/// then one `Publish` for all that became committed in the same step, then the answers and closings that hold from
/// then on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Log this transaction: header and record in ZooKeeper's encoding, in zxid order without gaps within an epoch.
    Append {
        /// Its place.
        zxid: Zxid,
        /// `TxnHeader` and record.
        bytes: Vec<u8>,
    },
    /// Every core learns this list before it sees a piece that names it.
    DefineAcl {
        /// Its number.
        id: AclId,
        /// The list.
        list: AclList,
    },
    /// A shard's part of a committed transaction.
    Route {
        /// The shard.
        shard: ShardId,
        /// Its pieces.
        txn: ShardTxn,
    },
    /// Everything up to `commit` has been routed: the commit point and the marks of untouched shards may move.
    Publish {
        /// The commit point.
        commit: Zxid,
    },
    /// The answer to a write, which holds once the connection's view has reached its zxid.
    Answer(WriteAnswer),
    /// A sync is complete once the connection's view has reached `at`.
    SyncDone {
        /// Who waits.
        origin: Origin,
        /// The view to wait for.
        at: Zxid,
    },
    /// A session is established or renewed.
    Connected {
        /// Core that owns the connection.
        core: CoreId,
        /// The connection.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// Negotiated timeout in milliseconds.
        timeout_ms: i32,
        /// The session's password.
        password: [u8; 16],
        /// The reply holds once the view has reached this zxid.
        at: Zxid,
    },
    /// A handshake failed (unknown or expired session, or wrong password): answer with timeout 0 and close.
    Refused {
        /// Core that owns the connection.
        core: CoreId,
        /// The connection.
        conn: ConnId,
    },
    /// Close a connection without a frame, once its view has reached `at` and what was owed before has been sent:
    /// its session was closed, has expired, or was renewed on another connection.
    CloseConnection {
        /// Core that owns the connection.
        core: CoreId,
        /// The connection.
        conn: ConnId,
        /// The session that it had.
        session: SessionId,
        /// The view to wait for.
        at: Zxid,
    },
    /// Answer to [`Input::Ephemerals`], as of `at`; the connection waits until its view is there.
    Ephemerals {
        /// Who waits.
        origin: Origin,
        /// The view to wait for.
        at: Zxid,
        /// Full paths, in no particular order.
        paths: Vec<Arc<str>>,
    },
    /// Ask every shard what the subtree holds as of `at` (everything routed so far), and answer with
    /// [`Input::Measured`]. Commits stand still until then. Asked for when a `zookeeper_stats` node is created over a
    /// subtree with children, and once per quota at the start.
    Measure {
        /// Root of the subtree.
        path: Arc<str>,
        /// The state to measure.
        at: Zxid,
    },
    /// Flush every shard as of exactly this point in the sequence of actions, then write a manifest with this zxid and
    /// system state.
    Checkpoint {
        /// Everything up to here is in the shards.
        zxid: Zxid,
        /// Sessions, ACL table and counters .
        system: Vec<u8>,
    },
    /// Nothing is outstanding any more, and nothing will be taken: the answer to [`Input::Shutdown`].
    Drained {
        /// The last committed transaction.
        zxid: Zxid,
    },
}
