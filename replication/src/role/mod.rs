//! The replication role: the state machine that orders writes, hosted by a core's loop.
//!
//! ```text
//!            Write, Connect, timers                 Durable                      Measured
//!                     |                                |                            |
//!   +--------+   +----v-----+  Append   +----------+   |   +------------------+     |
//!   | ledger |<->| propose  |---------->| the log  |---+-->| quorum: commit   |<----+
//!   +----^---+   +----+-----+           +----------+       +--------+---------+
//!        |            | outstanding, in zxid order                  |
//!        |            +-------------------------------------------->|
//!        +--------------------- commit, resolve --------------------+--> DefineAcl, Route, Publish, Answer
//! ```
//!
//! A role starts *replaying*: the host feeds it what the log holds behind the checkpoint. [`Role::serve`] makes it
//! *serve*; [`Input::Shutdown`] makes it *drain*. An ensemble of one is a quorum of one: a proposal commits when this
//! server's own log has it. Peers add marks to the same quorum.

mod checkpoint;
mod commit;
mod handshake;
mod io;
mod propose;
mod quorum;
mod reaper;
mod routes;
mod system;

#[cfg(test)]
mod tests;

pub use io::{Action, ConnectRequest, Input, Now};
pub use reaper::ReaperConfig;
pub use system::{SystemState, SystemStateError};

use crate::ledger::{self, Acls, Ledger, LedgerConfig, LedgerLoader, Resolved};
use crate::session::{SessionIds, Sessions};
use commit::Measuring;
use engine::ids::{Origin, ShardId};
use engine::txn::{Txn, TxnHeader};
use engine::zxid::Zxid;
use propose::Proposal;
use quorum::Quorum;
use reaper::Reaper;
use routes::Routes;
use std::collections::VecDeque;

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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Replaying,
    Serving,
    Draining,
    Drained,
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Role {
    config: RoleConfig,
    phase: Phase,
    ledger: Ledger,
    sessions: Sessions,
    ids: SessionIds,
    routes: Routes,
    quorum: Quorum,
    reaper: Reaper,
    /// The last zxid given out.
    proposed: Zxid,
    /// The last zxid resolved, routed and published.
    committed: Zxid,
    /// Zxid of the checkpoint that the session table came from.
    restored: Zxid,
    outstanding: VecDeque<Proposal>,
    /// Record bytes of `outstanding`.
    outstanding_bytes: usize,
    syncs: VecDeque<(Zxid, Origin)>,
    measuring: Option<Measuring>,
    /// These two are kept from commit to commit, so that they need not be allocated: what a transaction comes to, and
    /// what waits for the publication.
    resolved: Resolved,
    held: Vec<Action>,
    counters: Counters,
}

impl Role {
    /// A role over a fresh tree, or over a log from its first transaction on, where no checkpoint was ever made. The
    /// actions make the tree's four nodes in the shards. [`Self::replay`] may follow, and [`Self::serve`] must.
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
            phase: Phase::Replaying,
            ledger,
            sessions,
            ids,
            routes: Routes::new(config.ledger.partitions, config.shards),
            quorum: Quorum::alone(system.zxid),
            reaper: Reaper::new(config.reaper),
            proposed: system.zxid,
            committed: system.zxid,
            restored: system.zxid,
            outstanding: VecDeque::new(),
            outstanding_bytes: 0,
            syncs: VecDeque::new(),
            measuring: None,
            resolved: Resolved::default(),
            held: Vec::new(),
            counters: Counters::default(),
            config,
        }
    }

    /// One committed transaction of the log, in zxid order.
    ///
    /// # Panics
    /// If the role already serves: a fault of the host.
    pub fn replay(&mut self, header: TxnHeader, txn: Txn, out: &mut Vec<Action>) {
        assert!(self.phase == Phase::Replaying, "the log is replayed before anybody is served");
        self.proposed = self.proposed.max(header.zxid);
        self.outstanding.push_back(Proposal::of_log(header, txn));
        self.quorum.durable_here(self.proposed);
        self.commit_ready(out);
    }

    /// The log has been replayed: requests are taken from here on. Every session gets a full timeout, and ephemerals of
    /// sessions that nobody knows are removed. Quotas are counted afresh: writes are taken, and
    /// commit once the answers to [`Action::Measure`] have come.
    pub fn serve(&mut self, now: Now, out: &mut Vec<Action>) {
        self.phase = Phase::Serving;
        self.ledger.finish_replay();
        self.ids.start(now.wall_ms);
        self.sessions.restart(now.mono_ms);
        self.reaper.start(now.mono_ms);
        self.count_quotas(out);
        let owners = self.ledger.ephemeral_owners().map(|(session, _)| session);
        let orphans: Vec<_> = owners.filter(|session| !self.sessions.contains(*session)).collect();
        for session in orphans {
            self.propose_close(now, session, out);
        }
    }

    /// Takes one input and appends what is to be done.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Durable(zxid) => {
                self.quorum.durable_here(zxid.get());
                self.commit_ready(out);
                self.run_timers(now, out);
            }
            Input::Measured { path, usage } => {
                self.measured(now, path, usage, out);
                self.commit_ready(out);
            }
            Input::Disconnected { session, core, conn } => self.disconnected(session, core, conn),
            Input::CheckpointDue => self.checkpoint(out),
            Input::Shutdown => {
                self.phase = Phase::Draining;
                self.finish_draining(out);
            }
            // What comes before serving or after draining gets no answer: its connection is closed.
            _ if self.phase != Phase::Serving => {}
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
        }
    }

    /// When [`Input::Tick`] is due, on the monotonic clock; `None` while only other inputs can move anything. To be asked
    /// after every step.
    pub fn next_deadline(&self) -> Option<i64> {
        if self.phase != Phase::Serving || !self.has_room() {
            return None;
        }
        let reaping = self.reaper.next_deadline();
        Some(self.sessions.next_deadline().map_or(reaping, |expiry| expiry.min(reaping)))
    }

    /// Whether the host may pass on more writes, syncs and handshakes. Answers make room.
    pub fn has_room(&self) -> bool {
        self.outstanding_requests() < self.config.outstanding_max
            && self.outstanding_bytes < self.config.outstanding_bytes_max
    }

    /// Proposals and syncs that are not answered yet (`outstanding_requests`).
    pub fn outstanding_requests(&self) -> usize {
        self.outstanding.len() + self.syncs.len()
    }

    /// Whether commits wait for [`Input::Measured`].
    pub fn is_measuring(&self) -> bool {
        self.measuring.is_some()
    }

    /// The last zxid given out.
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

    /// Expiry and reaping, as far as there is room for what they propose.
    fn run_timers(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.phase != Phase::Serving {
            return;
        }
        while self.has_room()
            && let Some(session) = self.sessions.next_expired(now.mono_ms)
        {
            self.counters.sessions_expired += 1;
            self.propose_close(now, session, out);
        }
        while self.has_room()
            && let Some(path) = self.reaper.next(now, &self.ledger)
        {
            self.counters.reaped += 1;
            self.propose_reap(now, &path, out);
        }
    }

    fn finish_draining(&mut self, out: &mut Vec<Action>) {
        if self.phase == Phase::Draining && self.outstanding.is_empty() {
            self.phase = Phase::Drained;
            out.push(Action::Drained { zxid: self.committed });
        }
    }
}
