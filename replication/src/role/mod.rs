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
mod modes;
mod outstanding;
mod propose;
mod reaper;
mod routes;
mod system;
mod waiting;

#[cfg(test)]
pub(crate) mod tests;

pub use fault::RoleFault;
pub use io::{Action, ConnectRequest, Input, Now};
pub use modes::Mode;
pub use reaper::ReaperConfig;
pub use system::{SystemState, SystemStateError};

use crate::ledger::{self, Acls, Ledger, LedgerConfig, LedgerLoader, Resolved};
use crate::session::{LearnerId, SessionIds, Sessions};
use bytes::Bytes;
use commit::Measuring;
use commit_point::CommitPoint;
use engine::ids::{Origin, ShardId};
use engine::zxid::Zxid;
use learners::Forwarded;
use outstanding::Outstanding;
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
    /// `zookeeper.skipACL`: forwarded requests pass every check. Clients of this server have it in their identity.
    pub skip_acl: bool,
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
            config,
        }
    }

    /// Takes one input and appends what is to be done. What does not belong to the mode is passed over: it was under way
    /// when the mode changed.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        if self.has_failed {
            return;
        }
        match input {
            Input::Durable(zxid) => {
                self.point.durable_here(zxid);
                self.commit_ready(out);
                self.run_timers(now, out);
            }
            Input::Committed(zxid) => self.decided(zxid, out),
            Input::Measured { path, usage } => {
                self.measured(now, path, usage, out);
                self.commit_ready(out);
            }
            Input::Disconnected { session, core, conn } => self.disconnected(session, core, conn),
            Input::CheckpointDue => self.checkpoint(out),
            Input::Shutdown => {
                self.stopping = Stopping::Draining;
                self.finish_draining(out);
            }
            Input::Proposal { .. } | Input::SyncReturned | Input::Revalidated { .. } => {
                if self.mode == Mode::Following {
                    self.step_following(input, out);
                    self.finish_draining(out);
                }
            }
            // What comes before serving or after draining gets no answer: its connection is closed.
            _ if self.stopping != Stopping::No => {}
            Input::Forwarded { .. }
            | Input::ForwardedSync { .. }
            | Input::LearnerTouched { .. }
            | Input::LearnerRevalidate { .. }
            | Input::LearnerGone { .. } => {
                if matches!(self.mode, Mode::Leading { .. }) {
                    self.step_leading(now, input, out);
                }
            }
            _ => match self.mode {
                Mode::Replaying | Mode::Looking => {}
                Mode::Following => self.step_client_of_follower(input, out),
                Mode::Standalone | Mode::Leading { .. } => self.step_client(now, input, out),
            },
        }
    }

    fn step_client(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Write(request) => self.write(now, request, out),
            Input::Sync { origin, session } => self.sync(now, origin, session, out),
            Input::Connect(request) => self.connect(now, request, out),
            Input::Touch(sessions) => {
                for session in sessions {
                    self.sessions.touch(session, now.mono_ms);
                }
            }
            Input::Ephemerals { origin, session, prefix } => {
                out.push(self.ephemerals(origin, session, prefix.as_deref()));
            }
            Input::Tick => self.run_timers(now, out),
            _ => {}
        }
    }

    fn step_client_of_follower(&mut self, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Write(request) => self.forward_write(request, out),
            Input::Sync { origin, session } => self.forward_sync(origin, session, out),
            Input::Connect(request) => self.forward_connect(request, out),
            Input::Touch(sessions) => {
                for session in sessions {
                    self.sessions.hear(session);
                }
            }
            Input::Ephemerals { origin, session, prefix } => {
                out.push(self.ephemerals(origin, session, prefix.as_deref()));
            }
            _ => {}
        }
    }

    fn step_following(&mut self, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Proposal { zxid, bytes } => self.proposal(zxid, bytes, out),
            Input::SyncReturned => self.sync_returned(out),
            Input::Revalidated { session, valid } => self.revalidated(session, valid, out),
            _ => {}
        }
    }

    fn step_leading(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Forwarded { learner, session, cxid, opcode, body, ids } => {
                self.forwarded(now, Forwarded { learner, session, cxid, opcode, body, ids }, out);
            }
            Input::ForwardedSync { learner } => self.learner_sync(learner, out),
            Input::LearnerTouched { sessions } => self.learner_touched(now, sessions),
            Input::LearnerRevalidate { learner, session, timeout_ms } => {
                self.learner_revalidate(now, learner, session, timeout_ms, out);
            }
            Input::LearnerGone { learner } => self.learner_gone(learner),
            _ => {}
        }
    }

    /// The quorum's word.
    fn decided(&mut self, zxid: Zxid, out: &mut Vec<Action>) {
        if !matches!(self.mode, Mode::Leading { .. } | Mode::Following) {
            return;
        }
        if zxid > self.proposed && zxid.counter() != 0 {
            return self.fail(RoleFault::CommitAhead { zxid, last: self.proposed }, out);
        }
        self.point.decide(zxid);
        self.answer_learner_syncs(out);
        self.commit_ready(out);
    }

    fn fail(&mut self, fault: RoleFault, out: &mut Vec<Action>) {
        self.has_failed = true;
        out.push(Action::Fail(fault));
    }

    /// When [`Input::Tick`] is due, on the monotonic clock; `None` while only other inputs can move anything. To be asked
    /// after every step.
    pub fn next_deadline(&self) -> Option<i64> {
        if !self.has_timers() || !self.has_room() {
            return None;
        }
        let reaping = self.reaper.next_deadline();
        Some(self.sessions.next_deadline().map_or(reaping, |expiry| expiry.min(reaping)))
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
        self.outstanding.iter().map(|proposal| (proposal.header.zxid, &proposal.record))
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

    /// What is known of the tree.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Running totals.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The shard that owns a partition's paths.
    pub fn shard_of(&self, hash: engine::path::PathHash) -> ShardId {
        self.routes.shard(hash)
    }

    /// Only who decides on the order lets time pass for sessions and containers.
    fn has_timers(&self) -> bool {
        let leads = matches!(self.mode, Mode::Standalone | Mode::Leading { .. });
        leads && self.stopping == Stopping::No && !self.resigning && !self.has_failed
    }

    /// Expiry and reaping, as far as there is room for what they propose.
    fn run_timers(&mut self, now: Now, out: &mut Vec<Action>) {
        while self.has_timers()
            && self.has_room()
            && let Some(session) = self.sessions.next_expired(now.mono_ms)
        {
            self.counters.sessions_expired += 1;
            self.propose_close(now, session, out);
        }
        while self.has_timers()
            && self.has_room()
            && let Some(path) = self.reaper.next(now, &self.ledger)
        {
            self.counters.reaped += 1;
            self.propose_reap(now, &path, out);
        }
    }

    fn finish_draining(&mut self, out: &mut Vec<Action>) {
        if self.stopping == Stopping::Draining && !self.owes_answers() {
            self.stopping = Stopping::Drained;
            out.push(Action::Drained { zxid: self.committed });
        }
    }

    /// Whether anything is outstanding that somebody waits for. What the leader sends goes on for ever, and what nobody
    /// leads stays in the log.
    fn owes_answers(&self) -> bool {
        match self.mode {
            Mode::Looking => false,
            Mode::Following => {
                let waited_for = self.outstanding.iter().any(|proposal| proposal.waiter != outstanding::Waiter::Nobody);
                let with_leader = self.waiting.len() + self.revalidating.len() + self.forwarded_syncs.len();
                waited_for || with_leader > 0 || !self.syncs.is_empty()
            }
            Mode::Replaying | Mode::Standalone | Mode::Leading { .. } => !self.outstanding.is_empty(),
        }
    }
}
