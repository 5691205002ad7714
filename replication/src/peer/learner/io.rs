//! What goes into a learner and what comes out.

use super::reason::LeaveReason;
use crate::peer::history::History;
use crate::peer::wire::bodies::ForwardedRequest;
use crate::peer::wire::packet::DATA_BYTES_MAX;
use crate::wal::Durable;
use bytes::Bytes;
use engine::ids::SessionId;
use engine::zxid::Zxid;

/// How a server takes part without leading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LearnerKind {
    /// Logs and acknowledges proposals; counted where it is a voter.
    Follower,
    /// Learns what is committed.
    Observer,
}

/// Settings of a learner.
#[derive(Clone, Debug)]
pub struct LearnerConfig {
    /// This server's id.
    pub sid: u64,
    /// How it takes part.
    pub kind: LearnerKind,
    /// Version of the committed configuration.
    pub config_version: i64,
    /// Learn of no leader but that of this epoch.
    pub only_epoch: Option<u32>,
    /// `tickTime` in milliseconds.
    pub tick_ms: i64,
    /// `initLimit` in ticks: silence of the leader that is borne until NEWLEADER is acknowledged.
    pub init_limit: i64,
    /// `syncLimit` in ticks: the same from then on.
    pub sync_limit: i64,
    /// `connectToLearnerMasterLimit` in ticks: time for connecting, all tries together; 0 means `initLimit`.
    pub connect_limit: i64,
    /// Bytes of data that a packet may have.
    pub data_bytes_max: usize,
    /// Bytes of transactions that may follow a snapshot before NEWLEADER: they wait in memory.
    pub staged_bytes_max: usize,
    /// Proposals that may wait for their commit.
    pub pending_max: usize,
    /// Bytes that may wait to be sent to the leader.
    pub queue_bytes_max: usize,
    /// A mistake to make.
    #[cfg(test)]
    pub mistake: Option<crate::peer::mistake::Mistake>,
}

impl LearnerConfig {
    /// The defaults of ZooKeeper's sample configuration: ticks of 2 s, 10 and 5 of them.
    pub fn new(sid: u64, kind: LearnerKind) -> LearnerConfig {
        LearnerConfig {
            sid,
            kind,
            config_version: 0,
            only_epoch: None,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            connect_limit: 0,
            data_bytes_max: DATA_BYTES_MAX,
            staged_bytes_max: 256 << 20,
            pending_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            #[cfg(test)]
            mistake: None,
        }
    }
}

/// What a server brings along when it begins to learn.
#[derive(Debug)]
pub struct LearnerStart {
    /// The highest epoch promised.
    pub accepted_epoch: u32,
    /// The epoch whose leader's history was last taken in full.
    pub current_epoch: u32,
    /// The end of the log. Nothing may be on its way to it.
    pub last: Durable<Zxid>,
    /// Up to here the state holds transactions, from where no cut leads back.
    pub applied: Zxid,
    /// The recent end of the log. If it does not end with `last` it is dropped.
    pub history: History,
    /// What the log holds behind `applied`, in order.
    pub outstanding: Vec<Zxid>,
}

/// An event for a learner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The connection that [`Action::Connect`] asked for is there (authenticated, if that is wanted).
    Connected,
    /// It is not, for now.
    ConnectFailed,
    /// Bytes from the leader. Not to be read while [`super::Learner::has_room`] says no.
    Received(Bytes),
    /// So many of the bytes handed out by [`Action::Send`] have been written.
    Written(usize),
    /// The connection is gone.
    Disconnected,
    /// The epoch of the last [`Action::PersistAcceptedEpoch`] or [`Action::PersistCurrentEpoch`] is on disk.
    EpochPersisted(u32),
    /// The log has been cut, durably, and ends with this zxid.
    Truncated {
        /// The last transaction kept.
        last: Zxid,
    },
    /// The snapshot's stream is complete, its signature is right, and these bytes came behind it.
    SnapshotParsed {
        /// The beginning of what follows.
        rest: Bytes,
    },
    /// The snapshot is the state now, and the log begins behind it with what [`Action::SnapshotEnd`] named: durably.
    SnapshotInstalled,
    /// The log is durable up to here.
    Durable(Durable<Zxid>),
    /// Answer to [`Action::TouchesWanted`]: sessions heard of since the last time, with their timeouts in milliseconds.
    Touches(Vec<(SessionId, i32)>),
    /// A request of a client of this server. A sync (opcode 9) is answered by [`Action::SyncDone`], in order.
    Forward(ForwardedRequest),
    /// May this session move here? Answered by [`Action::Revalidated`].
    Revalidate {
        /// The session.
        session: SessionId,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    },
    /// The time of [`super::Learner::next_deadline`] has come (early or late does no harm).
    Tick,
}

/// What the host is to do, in the order given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Connect to the leader's quorum address: [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// Give up after so many milliseconds.
        timeout_ms: i64,
    },
    /// Bytes for the leader.
    Send(Bytes),
    /// Write the promise down and flush it: [`Input::EpochPersisted`].
    PersistAcceptedEpoch(u32),
    /// Write the current epoch down and flush it: [`Input::EpochPersisted`].
    PersistCurrentEpoch(u32),
    /// Cut the log, and drop what is outstanding behind: [`Input::Truncated`]. Not asked for where the leader is about to
    /// send the very same transactions again.
    Truncate {
        /// The last transaction to keep.
        to: Zxid,
    },
    /// A snapshot's stream begins. It goes to a stage of its own, which is dropped if the learner leaves.
    SnapshotBegin {
        /// The state's zxid. The stream of a Java server may hold parts of later transactions.
        zxid: Zxid,
    },
    /// A part of the stream, and perhaps bytes behind it, which belong into [`Input::SnapshotParsed`].
    SnapshotBytes(Bytes),
    /// Make the stage the state, and begin the log anew behind `zxid` with `entries`, which stay outstanding:
    /// [`Input::SnapshotInstalled`]. All at once: a crash leaves the former state and log, or the new ones, whole.
    SnapshotEnd {
        /// The state's zxid.
        zxid: Zxid,
        /// All that the leader has proposed behind it, up to NEWLEADER.
        entries: Vec<(Zxid, Bytes)>,
    },
    /// The stage is not needed: drop it.
    SnapshotDrop,
    /// This configuration was proposed: keep it as last seen, durably, before the next action is carried out.
    LastSeen {
        /// Its text as it came.
        text: Bytes,
    },
    /// The next transaction, to be logged and kept outstanding. The host reads no further from the leader while the log
    /// has no room.
    Log {
        /// Its place.
        zxid: Zxid,
        /// Header, record, and perhaps a digest.
        txn: Bytes,
    },
    /// Committed up to here: to be applied as far as the own log is durable. Never before [`Action::Established`].
    Commit {
        /// The last one.
        upto: Zxid,
    },
    /// The last-seen configuration is in force.
    Activate {
        /// The reconfiguration.
        zxid: Zxid,
        /// The leader from now on.
        designated: u64,
    },
    /// The leader is established, and this server may serve clients. The configuration of NEWLEADER, if it is newer, is
    /// in force.
    Established {
        /// Its epoch.
        epoch: u32,
    },
    /// [`Input::Touches`], please: the leader has asked.
    TouchesWanted,
    /// Answer to [`Input::Revalidate`].
    Revalidated {
        /// The session.
        session: SessionId,
        /// Whether it lives, and belongs to this server now.
        valid: bool,
    },
    /// A forwarded sync is complete once everything committed so far has been applied.
    SyncDone {
        /// The session that asked.
        session: SessionId,
        /// Its xid.
        cxid: i32,
    },
    /// It is over: close the connection, drop a stage, finish or drop a cut that is under way, and look for a leader.
    /// An epoch on its way to the disk still gets there. Nothing follows.
    Leave(LeaveReason),
}
