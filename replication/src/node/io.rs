//! What goes into a member and what comes out, besides what concerns its role.

use crate::role;
use crate::wal::Durable;
use bytes::Bytes;
use engine::zxid::Zxid;

/// A connection on the election port, named by the host and never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkId(pub u64);

/// An event for a member.
#[derive(Debug)]
pub enum NodeInput<'a> {
    /// For the role: requests of clients, answers to its own questions.
    Role(role::Input),
    /// The log holds everything up to this zxid.
    Durable(Durable<Zxid>),
    /// [`NodeAction::PersistEpochs`] is on disk.
    EpochsPersisted,
    /// Somebody has connected to the election port.
    LinkAccepted(LinkId),
    /// [`NodeAction::DialLink`] has succeeded.
    LinkConnected(LinkId),
    /// [`NodeAction::DialLink`] has failed, and the peer's number.
    LinkFailed(LinkId),
    /// Bytes on the election port.
    LinkBytes(LinkId, &'a [u8]),
    /// A connection on the election port is gone.
    LinkClosed(LinkId),
    /// The quorum port is open, or cannot be opened.
    Listening(Result<(), String>),
    /// A learner has connected to the quorum port.
    LearnerAccepted(LearnerId),
    /// Bytes from a learner.
    LearnerBytes(LearnerId, &'a [u8]),
    /// Bytes that are queued towards a learner and not sent.
    LearnerQueued(LearnerId, usize),
    /// A learner is gone.
    LearnerClosed(LearnerId),
    /// [`NodeAction::DialLeader`] has succeeded.
    LeaderConnected,
    /// [`NodeAction::DialLeader`] has failed.
    LeaderUnreachable(String),
    /// Bytes from the leader.
    LeaderBytes(&'a [u8]),
    /// The connection to the leader is gone.
    LeaderClosed,
    /// The time of [`super::Node::next_deadline`] has come.
    Tick,
}

/// What the host is to do, in the order given.
#[derive(Debug)]
pub enum NodeAction {
    /// What the role asks for; never `Append` of a member that is behind a cut (the host executes strictly in order).
    Role(role::Action),
    /// Connect to a peer's election port.
    DialLink {
        /// The connection's name.
        link: LinkId,
        /// `host:port`, in the order in which to try them.
        addresses: Vec<String>,
    },
    /// Write these bytes, in one piece.
    WriteLink(LinkId, Vec<u8>),
    /// Close the connection.
    CloseLink(LinkId),
    /// Open the quorum port: answered by [`NodeInput::Listening`]; or close it, and every learner's connection.
    Listen(bool),
    /// Write to a learner.
    WriteLearner(LearnerId, Bytes),
    /// Close a learner's connection.
    CloseLearner(LearnerId),
    /// Connect to the leader's quorum port.
    DialLeader {
        /// `host:port`, in the order in which to try them.
        addresses: Vec<String>,
        /// For everything together.
        timeout_ms: u64,
    },
    /// Write to the leader.
    WriteLeader(Bytes),
    /// Close the connection to the leader, also one that is still being made.
    CloseLeader,
    /// Write the epoch files: answered by [`NodeInput::EpochsPersisted`].
    PersistEpochs(Epochs),
    /// Cut the log behind this zxid.
    TruncateLog(Zxid),
    /// The member is something else now: clients are served, or let go.
    Standing(Standing),
    /// This server must stop: it could only go on by telling a lie.
    Fail(String),
}

/// The promises of a member (files `acceptedEpoch` and `currentEpoch`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Epochs {
    /// The highest epoch that a leader was promised.
    pub accepted: u32,
    /// The epoch of the leader whose history was last taken in full.
    pub current: u32,
}

/// What a member is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Looking for a leader.
    Looking,
    /// Following, not in step yet.
    Joining,
    /// Following or observing, in step: clients are served.
    Following,
    /// Elected, without a quorum yet.
    Preparing,
    /// Leading: clients are served.
    Leading,
}
