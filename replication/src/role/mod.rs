//! The replication role: the state machine that orders writes, hosted by a core's loop.
//!
//! ```text
//!            Write, Connect, timers, Forwarded      Durable, Committed           Measured
//!                     |                                |                            |
//!   +--------+   +----v-----+  Append   +----------+   |   +------------------+     |
//!   | ledger |<->| propose  |---------->| the log  |---+-->| commit point     |<----+
//!   +----^---+   +----+-----+           +----------+       +--------+---------+
//!        |            | outstanding, in zxid order                  |
//!        |            +-------------------------------------------->|
//!        +--------------------- commit, resolve --------------------+--> DefineAcl, Route, Publish, Answer
//! ```
//!
//! # Modes
//!
//! ```text
//!                serve                        an ensemble of one: what its own log has is decided
//!   Replaying -----------> Standalone
//!       |                                     lead(epoch)
//!       | look              +---------+ ----------------------> Leading    proposes for all; Committed says what is
//!       +-----------------> | Looking | <---------------------- (look)     decided, never beyond the own disk
//!                           |         | ----------------------> Following  Write -> Forward -> Proposal -> Append;
//!                           +---------+ <---------------------- (look)     Committed and Durable -> applied, answered
//!                                             follow
//! ```
//!
//! * *Replaying*: the host feeds what the log holds behind the checkpoint. What is known to be committed takes effect
//!   ([`Role::replay`]); what is not stays outstanding ([`Role::replay_uncommitted`]).
//! * *Standalone*: a quorum of one. A proposal commits when the own log has it.
//! * *Looking*: nobody is served. What the log holds beyond the commit point stays outstanding until an established
//!   leader says what becomes of it: it is committed, or [cut off](Role::truncate), or a
//!   [snapshot](Role::restart_from_snapshot) takes the place of everything. So nothing that has taken effect is ever
//!   taken back.
//! * *Leading*: requests of this server's clients and of learners are validated behind everything outstanding, that of
//!   earlier epochs included. The host follows the commits of the leader machine ([`Input::Committed`]).
//! * *Following*: validation is the leader's. A write waits, per session in order, for the proposal with its session and
//!   xid, and is answered when that has taken effect here. Nothing expires and nothing is reaped.
//!
//! A member that leads or follows may keep new sessions to itself until they need the ensemble, and refuse early what
//! the ACLs forbid ([`ClientPolicy`]); both stand in front of the above.
//!
//! [`Input::Shutdown`] makes a role *drain* in any mode. A contradiction between what has taken effect and what the
//! leader says ends in [`Action::Fail`].

mod checkpoint;
mod commit;
mod commit_point;
mod fault;
mod following;
mod handshake;
mod io;
mod learners;
mod local;
mod modes;
mod outstanding;
mod propose;
mod read_only;
mod reaper;
mod reconfig;
mod routes;
mod step;
mod system;
mod waiting;

#[cfg(test)]
pub(crate) mod tests;

pub use fault::RoleFault;
pub use io::{Action, ConnectRequest, Input, Now};
pub use local::ClientPolicy;
pub use modes::Mode;
pub use reaper::ReaperConfig;
pub use reconfig::EnsembleFacts;
pub use system::{SystemState, SystemStateError};

use crate::ledger::{self, Acls, Ledger, LedgerConfig, LedgerLoader, Resolved};
use crate::session::{LearnerId, LocalSessions, SessionIds, Sessions};
use bytes::Bytes;
use commit::Measuring;
use commit_point::CommitPoint;
use engine::ids::{Origin, ShardId};
use engine::zxid::Zxid;
use outstanding::Outstanding;
use read_only::ReadOnly;
use reaper::Reaper;
use routes::Routes;
use std::collections::VecDeque;
use waiting::Waiting;

/// Settings of the role.
#[derive(Clone, Debug)]
pub struct RoleConfig {
    /// Top byte of session ids: myid, and 1 for a standalone server.
    pub server: u8,
    /// `tickTime` in milliseconds: session deadlines are multiples of it.
    pub tick_ms: i64,
    /// Shards of this server, at least 1.
    pub shards: u16,
    /// Proposals and syncs that may be outstanding before [`Role::has_room`] says no.
    pub outstanding_max: usize,
    /// Bytes of outstanding proposals before [`Role::has_room`] says no. The log's backlog must hold the largest record
    /// on top: a request, or the ephemerals of a session that ends.
    pub outstanding_bytes_max: usize,
    /// Transactions that one step commits; the rest waits for [`Input::GoOn`], see [`Role::has_ready`]. What a step says
    /// is all in memory at once, and a member that was away has to commit very many.
    pub commit_step: usize,
    /// `zookeeper.skipACL`: forwarded requests pass every check. Clients of this server have it in their identity.
    pub skip_acl: bool,
    /// How a member treats its own clients.
    pub clients: ClientPolicy,
    /// Reaping of containers and TTL nodes.
    pub reaper: ReaperConfig,
    /// What validation depends on.
    pub ledger: LedgerConfig,
}

/// Running totals, for `mntr`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Transactions proposed, errors among them (`proposal_count`).
    pub proposals: u64,
    /// Transactions committed (`commit_count`).
    pub commits: u64,
    /// Requests that failed validation.
    pub errors: u64,
    /// Sessions expired (`stale_sessions_expired`).
    pub sessions_expired: u64,
    /// Containers and TTL nodes reaped.
    pub reaped: u64,
    /// Bytes of the last proposal, and of the smallest and largest since the start.
    pub last_proposal_bytes: usize,
    /// The smallest; 0 before the first.
    pub min_proposal_bytes: usize,
    /// The largest.
    pub max_proposal_bytes: usize,
}

impl Counters {
    fn proposed(&mut self, bytes: usize, is_error: bool) {
        self.proposals += 1;
        self.errors += u64::from(is_error);
        self.last_proposal_bytes = bytes;
        self.max_proposal_bytes = self.max_proposal_bytes.max(bytes);
        self.min_proposal_bytes = if self.min_proposal_bytes == 0 { bytes } else { bytes.min(self.min_proposal_bytes) };
    }
}

/// How far a shutdown has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stopping {
    No,
    Draining,
    Drained,
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Role {
    config: RoleConfig,
    mode: Mode,
    stopping: Stopping,
    has_failed: bool,
    /// The epoch has no zxid left, and the host has been told.
    resigning: bool,
    ledger: Ledger,
    sessions: Sessions,
    ids: SessionIds,
    routes: Routes,
    point: CommitPoint,
    reaper: Reaper,
    /// The end of the log: the last zxid given out, or taken from a leader.
    proposed: Zxid,
    /// The last zxid resolved, routed and published.
    committed: Zxid,
    /// Zxid of the checkpoint that the session table came from.
    restored: Zxid,
    outstanding: Outstanding,
    /// Syncs of clients here, and the transactions that have to take effect first.
    syncs: VecDeque<(Zxid, Origin)>,
    /// Leading: syncs of learners, and the transactions that have to be decided first.
    learner_syncs: VecDeque<(Zxid, LearnerId)>,
    /// Following: what has gone to the leader and has not come back.
    waiting: Waiting,
    revalidating: VecDeque<ConnectRequest>,
    forwarded_syncs: VecDeque<Origin>,
    measuring: Option<Measuring>,
    quotas_are_counted: bool,
    /// These two are kept from commit to commit, so that they need not be allocated: what a transaction comes to, and
    /// what waits for the publication.
    resolved: Resolved,
    held: Vec<Action>,
    counters: Counters,
    /// Looking, and serving clients that only read.
    read_only: Option<ReadOnly>,
    /// Leading and following, where new sessions are this server's own.
    local: Option<LocalSessions>,
    /// Leading: what a reconfig is held against.
    ensemble: Option<EnsembleFacts>,
}

impl Role {
    /// A role over a fresh tree, or over a log from its first transaction on, where no checkpoint was ever made. The
    /// actions make the tree's four nodes in the shards. [`Self::replay`] may follow, and [`Self::serve`] or
    /// [`Self::look`] must.
    pub fn fresh(config: RoleConfig, out: &mut Vec<Action>) -> Role {
        let ledger = Ledger::fresh(config.ledger.clone());
        let mut pieces = ledger::bootstrap_pieces(&ledger);
        let role = Role::new(config, ledger, SystemState::default());
        role.routes.route(Zxid::ZERO, 0, &mut pieces, out);
        out.push(Action::Publish { commit: Zxid::ZERO });
        role
    }

    /// The loader of the ledger of a tree that recovery found, to be given its facts; see [`LedgerLoader`]. `marks`
    /// says per partition up to which zxid its facts go.
    pub fn loader(config: &RoleConfig, system: &SystemState, marks: Box<[Zxid]>) -> LedgerLoader {
        let acls = Acls::from_checkpoint(system.acls.iter().cloned(), system.next_acl);
        LedgerLoader::new(config.ledger.clone(), acls, marks)
    }

    /// A role over a recovered tree, to be given the rest of the log by [`Self::replay`]. The actions tell the cores the
    /// ACLs of the checkpoint.
    pub fn recovered(config: RoleConfig, ledger: Ledger, system: SystemState, out: &mut Vec<Action>) -> Role {
        let mut role = Role::new(config, ledger, system);
        role.ledger.announce_all(|id, list| out.push(Action::DefineAcl { id, list }));
        role
    }

    fn new(config: RoleConfig, ledger: Ledger, system: SystemState) -> Role {
        let mut ids = SessionIds::new(config.server, system.next_session);
        let mut sessions = Sessions::new(config.tick_ms);
        for (id, timeout_ms) in &system.sessions {
            ids.seen(*id);
            sessions.commit(*id, *timeout_ms);
        }
        Role {
            mode: Mode::Replaying,
            stopping: Stopping::No,
            has_failed: false,
            resigning: false,
            ledger,
            sessions,
            ids,
            routes: Routes::new(config.ledger.partitions, config.shards),
            point: CommitPoint::at(system.zxid),
            reaper: Reaper::new(config.reaper),
            proposed: system.zxid,
            committed: system.zxid,
            restored: system.zxid,
            outstanding: Outstanding::default(),
            syncs: VecDeque::new(),
            learner_syncs: VecDeque::new(),
            waiting: Waiting::default(),
            revalidating: VecDeque::new(),
            forwarded_syncs: VecDeque::new(),
            measuring: None,
            quotas_are_counted: false,
            resolved: Resolved::default(),
            held: Vec::new(),
            counters: Counters::default(),
            read_only: None,
            local: None,
            ensemble: None,
            config,
        }
    }

    /// When [`Input::Tick`] is due, on the monotonic clock; `None` while only other inputs can move anything. To be asked
    /// after every step.
    pub fn next_deadline(&self) -> Option<i64> {
        if let Some(read_only) = &self.read_only {
            return read_only.next_deadline();
        }
        let local = self.local.as_ref().and_then(LocalSessions::next_deadline);
        if !self.has_timers() || !self.has_room() {
            return local;
        }
        let others = [local, self.sessions.next_deadline()].into_iter().flatten();
        Some(others.fold(self.reaper.next_deadline(), i64::min))
    }

    /// Whether the host may pass on more writes, syncs and handshakes. Answers make room.
    pub fn has_room(&self) -> bool {
        self.outstanding_requests() < self.config.outstanding_max
            && self.outstanding.bytes() + self.waiting.bytes() < self.config.outstanding_bytes_max
    }

    /// Proposals, syncs, and requests that are with the leader, that are not answered yet (`outstanding_requests`).
    pub fn outstanding_requests(&self) -> usize {
        let with_leader = self.waiting.len() + self.revalidating.len() + self.forwarded_syncs.len();
        self.outstanding.len() + self.syncs.len() + with_leader
    }

    /// The end of the log that has not taken effect: zxid and record, in order. Records are empty in an ensemble of one.
    pub fn outstanding(&self) -> impl Iterator<Item = (Zxid, &Bytes)> {
        self.outstanding.records()
    }

    /// What the role does at the moment.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether commits wait for [`Input::Measured`].
    pub fn is_measuring(&self) -> bool {
        self.measuring.is_some()
    }

    /// The end of the log: the last zxid given out, or taken from a leader.
    pub fn proposed(&self) -> Zxid {
        self.proposed
    }

    /// The last zxid published.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The last zxid known to be committed, though it may still have to take effect here.
    pub fn known_committed(&self) -> Zxid {
        self.committed.max(self.point.decided())
    }

    /// What is known of the tree.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// What the ensemble's members have to say to a reconfig: before each that a leader is given.
    pub fn know_ensemble(&mut self, ensemble: EnsembleFacts) {
        self.ensemble = Some(ensemble);
    }

    /// Running totals.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The shard that owns a partition's paths.
    pub fn shard_of(&self, hash: engine::path::PathHash) -> ShardId {
        self.routes.shard(hash)
    }
}
