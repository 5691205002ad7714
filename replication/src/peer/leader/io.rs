//! What goes into a leader and what comes out.

use super::reason::{DisconnectReason, ResignReason};
use crate::peer::history::History;
use crate::peer::quorum_set::{Configuration, Configurations};
use crate::peer::wire::bodies::ForwardedRequest;
use crate::peer::wire::packet::DATA_BYTES_MAX;
use crate::session::LearnerId;
use crate::wal::Durable;
use bytes::Bytes;
use engine::ids::SessionId;
use engine::zxid::Zxid;

/// Settings of a leader.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    /// This server's id.
    pub sid: u64,
    /// `tickTime` in milliseconds; a PING goes out every half of it.
    pub tick_ms: i64,
    /// `initLimit` in ticks: each of the waits for a quorum, and silence of a learner before it has acknowledged
    /// NEWLEADER.
    pub init_limit: i64,
    /// `syncLimit` in ticks: silence of a learner from then on, and the age of its oldest missing ACK.
    pub sync_limit: i64,
    /// Connections of learners.
    pub learners_max: usize,
    /// Bytes of data that a packet may have.
    pub data_bytes_max: usize,
    /// Bytes that may wait for one learner.
    pub queue_bytes_max: usize,
    /// Bytes that one [`Action::ReadLog`] asks for, and that wait for a learner before history is copied further.
    pub log_read_bytes: usize,
    /// Bytes of recent history that a learner gets in one step: what is live for others waits behind it.
    pub step_bytes: usize,
    /// Snapshots under way beyond which an observer is turned away
    /// (`zookeeper.leader.maxConcurrentSnapSyncs`); followers never are.
    pub snapshot_syncs_max: usize,
    /// Other synchronisations under way beyond which an observer is turned away (`...maxConcurrentDiffSyncs`).
    pub diff_syncs_max: usize,
    /// Always send snapshots (`zookeeper.forceSnapshotSync`).
    pub force_snapshot: bool,
    /// Let servers in that no configuration lists. Joiners need it; without authentication on the port so does any
    /// stranger.
    pub accept_strangers: bool,
    /// `reconfigEnabled`: the first leader gives a configuration of version 0 a version.
    pub reconfig_enabled: bool,
    /// A reconfiguration has named this server, and nobody has compared logs: it gives way to a voter that is ahead.
    pub named: bool,
    /// A mistake to make.
    #[cfg(test)]
    pub mistake: Option<crate::peer::mistake::Mistake>,
}

impl LeaderConfig {
    /// The defaults of ZooKeeper and its sample configuration: ticks of 2 s, 10 and 5 of them.
    pub fn new(sid: u64) -> LeaderConfig {
        LeaderConfig {
            sid,
            tick_ms: 2000,
            init_limit: 10,
            sync_limit: 5,
            learners_max: 1000,
            data_bytes_max: DATA_BYTES_MAX,
            queue_bytes_max: 192 << 20,
            log_read_bytes: 4 << 20,
            step_bytes: 512 << 10,
            snapshot_syncs_max: 10,
            diff_syncs_max: 100,
            force_snapshot: false,
            accept_strangers: true,
            reconfig_enabled: false,
            named: false,
            #[cfg(test)]
            mistake: None,
        }
    }
}

/// What a server brings along when it has been elected.
#[derive(Debug)]
pub struct LeaderStart {
    /// The highest epoch promised.
    pub accepted_epoch: u32,
    /// The epoch whose leader's history was last taken in full.
    pub current_epoch: u32,
    /// The end of the log: all of it becomes the ensemble's history. Nothing may be on its way to it.
    pub last: Durable<Zxid>,
    /// The recent end of the log. If it does not end with `last` it is dropped, and learners get what they lack from
    /// the log.
    pub history: History,
    /// Committed and last-seen configuration.
    pub configurations: Configurations,
    /// The log holds everything behind this zxid, and may be read for learners; `None` if it may not.
    pub log_base: Option<Zxid>,
}

/// An event for a leader.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection on the quorum port (authenticated, if that is wanted).
    Accepted {
        /// Its name from now on.
        learner: LearnerId,
    },
    /// Bytes from a learner.
    Received {
        /// Which.
        learner: LearnerId,
        /// The bytes.
        bytes: Bytes,
    },
    /// So many of the bytes for a learner have been written.
    Written {
        /// Which.
        learner: LearnerId,
        /// How many.
        bytes: usize,
    },
    /// A learner's connection is gone.
    Disconnected {
        /// Which.
        learner: LearnerId,
    },
    /// The epoch of the last [`Action::PersistAcceptedEpoch`] or [`Action::PersistCurrentEpoch`] is on disk.
    EpochPersisted(u32),
    /// The next transaction, given to the log too. Only after [`Action::Established`], and from counter 1 of the epoch.
    Proposed {
        /// Its place.
        zxid: Zxid,
        /// Header, record, and perhaps a digest.
        txn: Bytes,
        /// What a reconfiguration leads to. None may be outstanding then.
        reconfig: Option<Configuration>,
    },
    /// The own log is durable up to here.
    Durable(Durable<Zxid>),
    /// The log holds everything behind this zxid now (segments were retired).
    LogBase(Option<Zxid>),
    /// Answer to [`Action::ReadLog`].
    LogRead {
        /// For whom.
        learner: LearnerId,
        /// Transactions in order, from the first one behind `after`, at most up to `upto`.
        entries: Vec<(Zxid, Bytes)>,
        /// There are no more up to `upto`.
        done: bool,
    },
    /// Answer to [`Action::SnapshotWanted`]: a state is pinned, and its stream will follow.
    SnapshotAt {
        /// For whom.
        learner: LearnerId,
        /// Exactly the state after this transaction.
        zxid: Zxid,
    },
    /// A part of the stream. The host paces itself by [`super::Leader::has_room`].
    SnapshotBytes {
        /// For whom.
        learner: LearnerId,
        /// The next bytes.
        bytes: Bytes,
    },
    /// The stream, signature included, is complete.
    SnapshotEnd {
        /// For whom.
        learner: LearnerId,
    },
    /// Answer to [`Action::Sync`]: what was outstanding then has been committed.
    SyncFor {
        /// For whom.
        learner: LearnerId,
    },
    /// Answer to [`Action::Revalidate`].
    Revalidated {
        /// For whom.
        learner: LearnerId,
        /// The session.
        session: SessionId,
        /// Whether it lives, and belongs to the learner now.
        valid: bool,
    },
    /// Give up leading: the server stops, or has no zxid left for the next request.
    Resign,
    /// The time of [`super::Leader::next_deadline`] has come (early or late does no harm).
    Tick,
}

/// What the host is to do, in the order given.
#[derive(Clone, Debug)]
pub enum Action {
    /// Bytes for a learner.
    Send {
        /// Which.
        learner: LearnerId,
        /// The bytes, perhaps shared with other learners.
        bytes: Bytes,
    },
    /// Close a learner's connection, and end what is being read for it. It is forgotten.
    Disconnect {
        /// Which.
        learner: LearnerId,
        /// Why.
        reason: DisconnectReason,
    },
    /// Write the promise down and flush it: [`Input::EpochPersisted`].
    PersistAcceptedEpoch(u32),
    /// Write the current epoch down and flush it: [`Input::EpochPersisted`].
    PersistCurrentEpoch(u32),
    /// Read transactions in `(after, upto]` from the log: one [`Input::LogRead`].
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
    /// Pin the state and stream it: [`Input::SnapshotAt`], [`Input::SnapshotBytes`], [`Input::SnapshotEnd`].
    SnapshotWanted {
        /// For whom.
        learner: LearnerId,
    },
    /// Committed up to here.
    Commit {
        /// The last one.
        upto: Zxid,
    },
    /// A quorum has taken this server's history: proposals may begin with counter 1 of the epoch.
    Established {
        /// The epoch.
        epoch: u32,
    },
    /// A configuration is in force.
    Activate {
        /// The reconfiguration, or the epoch's zero when a former leader's is completed.
        zxid: Zxid,
        /// The leader from now on. If it is another server, nothing is committed any more, and the host waits for
        /// [`Action::Resign`].
        designated: u64,
        /// The configuration.
        configuration: Configuration,
    },
    /// A request of a learner's client. The host reads no further from the learner while the role has no room.
    Request {
        /// From whom; owns the session.
        learner: LearnerId,
        /// The request.
        request: ForwardedRequest,
    },
    /// A sync of a learner's client: [`Input::SyncFor`] once everything proposed so far is committed. In order.
    Sync {
        /// From whom.
        learner: LearnerId,
        /// The session that asks.
        session: SessionId,
    },
    /// Sessions that a learner has heard of, with their timeouts in milliseconds.
    Touched {
        /// From whom.
        learner: LearnerId,
        /// The sessions.
        sessions: Vec<(SessionId, i32)>,
    },
    /// May this session move to the learner? [`Input::Revalidated`].
    Revalidate {
        /// From whom.
        learner: LearnerId,
        /// The session.
        session: SessionId,
        /// Its timeout in milliseconds.
        timeout_ms: i32,
    },
    /// It is over: close all connections, look for a leader. An epoch on its way to the disk still gets there. Nothing
    /// follows.
    Resign(ResignReason),
}
