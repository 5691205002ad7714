//! Why a learner leaves its leader.

use crate::peer::wire::packet::PacketError;
use engine::jute::DecodeError;
use engine::zxid::Zxid;

/// Why a learner left its leader.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaveReason {
    /// No connection came about in time.
    #[error("the leader could not be reached within {limit_ms} ms; check that its quorum port is open")]
    Unreachable {
        /// The time allowed.
        limit_ms: i64,
    },
    /// The connection ended.
    #[error("the leader closed the connection")]
    Disconnected,
    /// Nothing came for too long.
    #[error("nothing was heard of the leader for {limit_ms} ms")]
    Silence {
        /// The time allowed.
        limit_ms: i64,
    },
    /// The leader's epoch is below what was promised to another one.
    #[error("the leader's epoch {epoch} is below {accepted}, which has been promised already")]
    StaleLeader {
        /// As proposed.
        epoch: u32,
        /// As promised.
        accepted: u32,
    },
    /// The leader's epoch is not the one that this server has come back for.
    #[error("the leader's epoch {epoch} is not {only}, whose leader repairs this server")]
    OtherEpoch {
        /// As proposed.
        epoch: u32,
        /// As expected.
        only: u32,
    },
    /// The bytes are no packets.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet does not hold what its type says.
    #[error("a packet of the leader's cannot be read: {0}")]
    Body(#[from] DecodeError),
    /// A packet that has no place here.
    #[error("the leader does not follow the protocol: {0}")]
    Protocol(&'static str),
    /// Transactions are missing (ZOOKEEPER-4925).
    #[error("the leader sent transaction {zxid} behind {last}: what lies between is missing")]
    Gap {
        /// As sent.
        zxid: Zxid,
        /// The last one before.
        last: Zxid,
    },
    /// A commit out of order.
    #[error("the leader committed {zxid} where {expected:?} is next")]
    WrongCommit {
        /// As sent.
        zxid: Zxid,
        /// The head of the queue.
        expected: Option<Zxid>,
    },
    /// What the leader wants dropped is part of the state, or not in the log: only a snapshot helps. The database is to
    /// be dropped, and the server to come back with a log that ends with zxid 0.
    #[error("the leader wants the log cut to {to}, which this server cannot go back to; a snapshot is needed")]
    CannotTruncate {
        /// Where to.
        to: Zxid,
    },
    /// The leader has restarted and does not know yet how much of its log is committed: its state is older than the own,
    /// Too much to hold in memory.
    #[error("more than {0} bytes of transactions followed the snapshot; raise the limit or try again under less load")]
    StageFull(usize),
    /// Too many proposals without a commit.
    #[error("more than {0} proposals wait for their commit")]
    PendingFull(usize),
    /// The leader does not read.
    #[error("more than {0} bytes wait to be sent to the leader")]
    QueueFull(usize),
}
