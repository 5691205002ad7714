//! What goes into the role and what comes out.

use super::RoleFault;
use crate::ledger::SubtreeUsage;
use crate::request::{WriteAnswer, WriteRequest};
use crate::session::LearnerId;
use crate::wal::Durable;
use bytes::Bytes;
use engine::acl::{AclId, AclList, Identity};
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
    /// Looking: serve clients that only read, until the mode changes. The host has waited as long as is decent.
    ServeReadOnly,
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
    /// A quorum has everything up to this zxid (a leader's count, or COMMIT). The first zxid of an epoch, which no
    /// transaction has, means all that went before.
    Committed(Zxid),

    /// Commit more of what may be committed: [`super::Role::has_ready`] has said that there is some.
    GoOn,

    /// Following: the leader's next transaction (PROPOSAL, INFORM): answered by [`Action::Append`]. One that is here
    /// already is passed over.
    Proposal {
        /// Its place.
        zxid: Zxid,
        /// `TxnHeader`, record, and perhaps a digest.
        bytes: Bytes,
    },
    /// Following: the leader's answer to the oldest [`Action::ForwardSync`] (SYNC).
    SyncReturned,
    /// Following: the leader's answer to the oldest [`Action::Revalidate`] (REVALIDATE).
    Revalidated {
        /// The session.
        session: SessionId,
        /// Whether it lives, and is this server's now.
        valid: bool,
    },

    /// Leading: a request that a learner has forwarded (REQUEST), but for sync.
    Forwarded {
        /// Who forwarded it.
        learner: LearnerId,
        /// The client's session.
        session: SessionId,
        /// The client's xid.
        cxid: i32,
        /// Its type ([`crate::request::codec::opcode`]).
        opcode: i32,
        /// Its body.
        body: Bytes,
        /// The client's credentials, which the learner has checked; `None` for createSession.
        ids: Option<Arc<Identity>>,
    },
    /// Leading: a learner's client syncs: answered by [`Action::SyncFor`].
    ForwardedSync {
        /// Who asks.
        learner: LearnerId,
    },
    /// Leading: sessions that a learner has heard from (the reply to a PING), with their timeouts in milliseconds.
    LearnerTouched {
        /// The sessions.
        sessions: Vec<(SessionId, i32)>,
    },
    /// Leading: a learner's client renews a session (REVALIDATE): answered by [`Action::Revalidated`].
    LearnerRevalidate {
        /// Who asks, and owns the session if it is valid.
        learner: LearnerId,
        /// The session.
        session: SessionId,
        /// Its newly negotiated timeout in milliseconds.
        timeout_ms: i32,
    },
    /// Leading: a learner is gone; its sessions live on without an owner.
    LearnerGone {
        /// Which one.
        learner: LearnerId,
    },
}

impl Input {
    /// Whether a client's connection asks, and is owed an answer.
    pub fn is_request(&self) -> bool {
        matches!(self, Input::Write(_) | Input::Sync { .. } | Input::Connect(_) | Input::Ephemerals { .. })
    }
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
        /// `TxnHeader` and record; where another server leads, as it sent them.
        bytes: Bytes,
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

    /// Following: send this to the leader (REQUEST), in this order. It comes back as a proposal with the session and
    /// the xid.
    Forward {
        /// The client's session.
        session: SessionId,
        /// The client's xid.
        cxid: i32,
        /// Type of the request ([`crate::request::codec::opcode`]).
        opcode: i32,
        /// Its body.
        body: Bytes,
        /// The client's credentials; `None` for createSession.
        ids: Option<Arc<Identity>>,
    },
    /// Following: send a sync to the leader (REQUEST of type sync, with any xid and the body of
    /// [`crate::request::codec::encode_sync`]). Answers come in the order of the questions ([`Input::SyncReturned`]).
    ForwardSync {
        /// The session that asks.
        session: SessionId,
    },
    /// Following: ask the leader whether a session lives (REVALIDATE). Answers come in the order of the questions
    /// ([`Input::Revalidated`]).
    Revalidate {
        /// The session.
        session: SessionId,
        /// Its newly negotiated timeout in milliseconds.
        timeout_ms: i32,
    },

    /// Leading: the answer to [`Input::LearnerRevalidate`].
    Revalidated {
        /// Who asked.
        learner: LearnerId,
        /// The session.
        session: SessionId,
        /// Whether it lives, and is that learner's now.
        valid: bool,
    },
    /// Leading: the answer to [`Input::ForwardedSync`] (SYNC): everything outstanding when it was asked has been
    /// committed. It goes behind the COMMITs that came before.
    SyncFor {
        /// Who asked.
        learner: LearnerId,
    },
    /// Leading: the epoch has no zxid left. Leave the role; the next epoch goes on.
    Resign,
    /// The server must stop, loudly: the role does nothing more.
    Fail(RoleFault),
}
