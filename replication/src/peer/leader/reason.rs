//! Why learners are disconnected, and why a leader resigns.

use crate::peer::wire::packet::PacketError;
use engine::jute::DecodeError;
use engine::zxid::Zxid;

/// Why a learner was disconnected.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DisconnectReason {
    /// More connections than allowed.
    #[error("more than {0} learners are connected")]
    TooMany(usize),
    /// More observers synchronise than allowed.
    #[error("too many learners are being synchronised; the observer may try again")]
    Busy,
    /// The bytes are no packets.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// A packet does not hold what its type says.
    #[error("a packet of the learner's cannot be read: {0}")]
    Body(#[from] DecodeError),
    /// A packet that has no place here.
    #[error("the learner does not follow the protocol: {0}")]
    Protocol(&'static str),
    /// A server that the configuration does not list.
    #[error("server {0} is not part of the ensemble; add it to the configuration, or let joining servers in")]
    Stranger(u64),
    /// This server's own id.
    #[error("the learner claims this server's own id {0}; every server needs its own myid")]
    OwnSid(u64),
    /// A server from before ZAB 1.0.
    #[error("the learner speaks protocol version {0:#x}; Apache ZooKeeper 3.4 or later is needed")]
    OldProtocol(i32),
    /// The learner knows a later configuration.
    #[error("the learner's configuration {learner:x} is newer than {leader:x} here")]
    NewerConfiguration {
        /// Its version there.
        learner: i64,
        /// Its version here.
        leader: i64,
    },
    /// The learner has promised the highest epoch there is.
    #[error("the learner has promised epoch {0}, behind which there is none")]
    LastEpoch(u32),
    /// The learner holds a history beyond this server's, and could be lost by being led.
    #[error("the learner's history (epoch {epoch}, {last}) is ahead of this server's; it must not be led by it")]
    Ahead {
        /// Its current epoch.
        epoch: u32,
        /// The end of its log.
        last: Zxid,
    },
    /// A newer connection of the same server.
    #[error("server {0} has connected again")]
    Superseded(u64),
    /// Nothing came, or nothing was read, for too long.
    #[error("nothing was heard of the learner for {limit_ms} ms")]
    Silence {
        /// The time allowed.
        limit_ms: i64,
    },
    /// A proposal was not acknowledged in time.
    #[error("the learner has not acknowledged proposal {zxid} within {limit_ms} ms")]
    LateAck {
        /// The proposal.
        zxid: Zxid,
        /// The time allowed.
        limit_ms: i64,
    },
    /// The learner reads too slowly.
    #[error("more than {0} bytes wait for the learner; check its disk and network")]
    QueueFull(usize),
    /// Transactions are missing between what the learner has and what could be sent.
    #[error("history behind {last} is not at hand (next is {next:?}); the learner gets a snapshot when it comes back")]
    Gap {
        /// The last one that it has.
        last: Zxid,
        /// The next at hand.
        next: Option<Zxid>,
    },
}

/// Why a leader resigned.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResignReason {
    /// No quorum in time for one of the three steps.
    #[error("no quorum {step} within {limit_ms} ms")]
    NoQuorum {
        /// What it was wanted for.
        step: &'static str,
        /// The time allowed.
        limit_ms: i64,
    },
    /// The quorum is gone.
    #[error("a quorum of followers has not been heard of for {limit_ms} ms")]
    QuorumLost {
        /// The time allowed.
        limit_ms: i64,
    },
    /// Something proposed before a reconfiguration was in force needs the former members, and they are gone.
    #[error(
        "{zxid} needs a quorum of the former members too, which has not been heard of for {limit_ms} ms; the new ones begin a new epoch"
    )]
    FormerQuorumLost {
        /// The oldest proposal.
        zxid: Zxid,
        /// The time allowed.
        limit_ms: i64,
    },
    /// A reconfiguration has named another leader, and too few are left here.
    #[error("a reconfiguration has made server {0} the leader")]
    HandedOver(u64),
    /// A reconfiguration has named this server, and a voter has more than it.
    #[error("server {sid} is ahead with {last}, and has to lead; an election decides")]
    Overtaken {
        /// Which voter.
        sid: u64,
        /// The end of its log.
        last: Zxid,
    },
    /// The counter of the epoch has run out (ZOOKEEPER-1277).
    #[error("the transaction counter of the epoch has run out; a new epoch begins")]
    ZxidRollover,
    /// There is no further epoch.
    #[error("epoch {0} is the last there is")]
    LastEpoch(u32),
    /// A voter cannot follow because of what it has promised.
    #[error("server {sid} has promised epoch {accepted} and cannot follow in epoch {epoch}; a new epoch begins")]
    Outbid {
        /// Which voter.
        sid: u64,
        /// Its promise.
        accepted: u32,
        /// The epoch being led.
        epoch: u32,
    },
    /// The host wants it.
    #[error("leading was given up")]
    Asked,
    /// The host proposed out of order: a fault of this server.
    #[error("proposal {zxid} does not follow {last}")]
    OutOfOrder {
        /// As proposed.
        zxid: Zxid,
        /// The last one before.
        last: Zxid,
    },
}
