//! What goes into a member and what comes out.

use crate::peer::ensemble::{Ensemble, HostPort, ServerId};
use crate::peer::files::directory::Epochs;
use crate::peer::links::LinkId;
use crate::role;
use crate::session::LearnerId;
use crate::wal::Durable;
use bytes::Bytes;
use engine::zxid::Zxid;
use std::sync::Arc;

/// An event for a member.
#[derive(Debug)]
pub enum Input<'a> {
    /// For the role: answers to its own questions. What the log, the leader and learners have to say comes by the inputs
    /// below.
    Role(role::Input),
    /// For the role, from connections whose host had heard of this era last. What was asked in another era is passed over,
    /// as its connection is let go: something that the same connection asked before may be lost, and what a connection asks
    /// takes effect in order, without a hole.
    Client(Era, role::Input),
    /// The log holds everything up to this zxid.
    Durable(Durable<Zxid>),
    /// [`Action::PersistEpochs`] is on disk.
    EpochsPersisted,
    /// [`Action::TruncateLog`] is durable, and the log ends here.
    LogTruncated(Durable<Zxid>),

    /// Somebody has connected to the election port.
    LinkAccepted(LinkId),
    /// [`Action::DialLink`] has succeeded.
    LinkConnected(LinkId, ServerId),
    /// [`Action::DialLink`] has failed at every address.
    LinkFailed(ServerId),
    /// Bytes on the election port.
    LinkBytes(LinkId, &'a [u8]),
    /// The last [`Action::WriteLink`] is in the kernel's hands.
    LinkWritten(LinkId),
    /// A connection on the election port is gone.
    LinkClosed(LinkId),

    /// The quorum port cannot be opened.
    CannotListen(String),
    /// A learner has connected to the quorum port.
    LearnerAccepted(LearnerId),
    /// Bytes from a learner.
    LearnerBytes(LearnerId, Bytes),
    /// So many of the bytes for a learner have been written.
    LearnerWritten(LearnerId, usize),
    /// A learner is gone.
    LearnerClosed(LearnerId),
    /// Answer to [`Action::SnapshotWanted`]: a state is pinned, and its stream will follow.
    SnapshotAt(LearnerId, Zxid),
    /// The next bytes of the stream, as far as [`super::Node::has_room_for`] says yes.
    SnapshotBytes(LearnerId, Bytes),
    /// The stream is complete.
    SnapshotEnd(LearnerId),
    /// The log holds everything behind this zxid, and may be read for learners; `None` if it may not, as at first.
    LogBase(Option<Zxid>),
    /// Answer to [`Action::ReadLog`].
    LogRead {
        /// For whom.
        learner: LearnerId,
        /// Transactions in order, from the first one behind `after`, at most up to `upto`.
        entries: Vec<(Zxid, Bytes)>,
        /// There are no more up to `upto`. Without entries: the learner is to get a snapshot.
        done: bool,
    },

    /// [`Action::DialLeader`] has succeeded.
    LeaderConnected,
    /// [`Action::DialLeader`] has failed at every address.
    LeaderUnreachable,
    /// Bytes from the leader.
    LeaderBytes(Bytes),
    /// So many of the bytes for the leader have been written.
    LeaderWritten(usize),
    /// The connection to the leader is gone.
    LeaderClosed,
    /// The snapshot's stream is complete and right, and these bytes came behind it.
    SnapshotParsed(Bytes),
    /// The snapshot is the state now, and the log ends here, having begun anew behind it: durably.
    SnapshotInstalled(Durable<Zxid>),
    /// The snapshot cannot be taken in. The former state and log are what they were.
    SnapshotFailed,

    /// The time of [`super::Node::next_deadline`] has come.
    Tick,
}

/// What the host is to do, in the order given.
#[derive(Debug)]
pub enum Action {
    /// What the role asks for.
    Role(role::Action),
    /// Connect to a server's election port: answered by [`Input::LinkConnected`] or [`Input::LinkFailed`].
    DialLink {
        /// Whom.
        sid: ServerId,
        /// Where; any of them will do.
        addresses: Vec<HostPort>,
    },
    /// Write these bytes, in one piece: answered by [`Input::LinkWritten`].
    WriteLink(LinkId, Bytes),
    /// Close a connection of the election port.
    CloseLink(LinkId),

    /// Open the quorum port, or close it and every connection on it.
    Listen(bool),
    /// Write to a learner.
    WriteLearner(LearnerId, Bytes),
    /// Close a learner's connection, and end its snapshot.
    CloseLearner(LearnerId),
    /// Pin the state and stream it to a learner.
    SnapshotWanted(LearnerId),
    /// Read transactions in `(after, upto]` from the log: one [`Input::LogRead`]. Only after [`Input::LogBase`].
    ReadLog {
        /// For whom.
        learner: LearnerId,
        /// Begin behind this zxid.
        after: Zxid,
        /// The last one wanted.
        upto: Zxid,
        /// Stop after about so many bytes.
        bytes_max: usize,
    },

    /// Connect to the leader's quorum port: answered by [`Input::LeaderConnected`] or [`Input::LeaderUnreachable`].
    DialLeader {
        /// Where; any of them will do.
        addresses: Vec<HostPort>,
        /// For everything together, in milliseconds.
        timeout_ms: i64,
    },
    /// Write to the leader.
    WriteLeader(Bytes),
    /// Close the connection to the leader, also one that is being made; drop a snapshot for which [`Action::SnapshotEnd`]
    /// has not come.
    CloseLeader,
    /// A snapshot's stream begins.
    SnapshotBegin(Zxid),
    /// A part of it, and perhaps of what comes behind it.
    SnapshotBytes(Bytes),
    /// Make it the state, and begin the log anew behind it with `entries`: answered by [`Input::SnapshotInstalled`] or
    /// [`Input::SnapshotFailed`]. A crash must leave the former state and log, or the new ones with every entry. The role
    /// is told by [`crate::role::Role::restart_from_snapshot`], ahead of the answer.
    SnapshotEnd {
        /// The state's zxid.
        zxid: Zxid,
        /// What the log holds behind it.
        entries: Vec<(Zxid, Bytes)>,
    },
    /// It is not needed: drop it.
    SnapshotDrop,

    /// Write the epoch files and flush them: answered by [`Input::EpochsPersisted`].
    PersistEpochs(Epochs),
    /// Cut the log behind this zxid: answered by [`Input::LogTruncated`].
    TruncateLog(Zxid),
    /// This configuration was proposed: keep it, durably, before the next action is carried out.
    KeepLastSeen(Arc<Ensemble>),
    /// This configuration is in force.
    Activate(Arc<Ensemble>),
    /// The member is something else now, and its clients ask in this era.
    Standing(Standing, Era),
    /// The member has what its disk had lost ([`super::Node::repairing`]): take the mark of that away.
    Repaired,
    /// This server must stop: it could only go on by telling a lie.
    Fail(String),
}

/// Counts the times that a member has let its clients go. Requests may be on their way then, and arrive when it serves
/// others, or looks for a leader, or is being brought up to date by one that a reconfiguration has named.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Era(u32);

impl Era {
    pub(super) fn end(&mut self) {
        self.0 = self.0.wrapping_add(1);
    }
}

/// What a member is at the moment. Clients are served only as [`Standing::Following`], [`Standing::Observing`] and
/// [`Standing::Leading`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Looking for a leader.
    Looking,
    /// Not in step with its leader yet.
    Joining,
    /// Following.
    Following,
    /// Observing.
    Observing,
    /// Elected, without a quorum yet.
    Preparing,
    /// Leading.
    Leading,
}

impl Standing {
    /// Whether clients are served.
    pub fn serves(self) -> bool {
        matches!(self, Standing::Following | Standing::Observing | Standing::Leading)
    }
}
