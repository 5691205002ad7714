//! From one mode to the next.

use super::commit_point::CommitPoint;
use super::outstanding::{Proposal, Waiter};
use super::waiting::Waiting;
use super::{Action, Now, Role, RoleFault};
use crate::ledger::{Acls, Ledger};
use bytes::Bytes;
use engine::ids::SessionId;
use engine::txn::{self, Txn, TxnHeader};
use engine::zxid::Zxid;

/// What a role does. See the module's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The log is being read.
    Replaying,
    /// An ensemble of one.
    Standalone,
    /// A member without a leader.
    Looking,
    /// A member that leads.
    Leading {
        /// The epoch of its proposals.
        epoch: u32,
    },
    /// A member that follows or observes.
    Following,
}

impl Role {
    /// One transaction of the log that is known to be committed, in zxid order. An ensemble of one has committed what its
    /// log holds.
    ///
    /// # Panics
    /// If the log was read to its end before: a fault of the host.
    pub fn replay(&mut self, header: TxnHeader, txn: Txn, out: &mut Vec<Action>) {
        assert!(self.mode == Mode::Replaying, "the log is replayed before anything else");
        let is_new = header.zxid > self.committed;
        self.proposed = self.proposed.max(header.zxid);
        self.point.decide(header.zxid);
        let proposal = Proposal { header, txn, waiter: Waiter::Nobody, bytes: 0, record: Bytes::new() };
        let mut held = std::mem::take(&mut self.held);
        self.commit_one(proposal, Vec::new(), out, &mut held);
        if is_new {
            out.push(Action::Publish { commit: self.committed });
        }
        // Nobody is there to be told.
        held.clear();
        self.held = held;
    }

    /// One transaction of the end of the log, in zxid order, that is not known to be committed: it stays outstanding. For
    /// members of an ensemble, behind everything that was given to [`Self::replay`]. `record` is what the log holds.
    ///
    /// # Panics
    /// If the log was read to its end before: a fault of the host.
    pub fn replay_uncommitted(&mut self, header: TxnHeader, txn: Txn, record: Bytes) {
        assert!(self.mode == Mode::Replaying, "the log is replayed before anything else");
        self.keep_outstanding(header, txn, record);
    }

    fn keep_outstanding(&mut self, header: TxnHeader, txn: Txn, record: Bytes) {
        if header.zxid > self.proposed {
            self.proposed = header.zxid;
            if matches!(txn, Txn::CreateSession { .. }) {
                self.ids.seen(header.client);
            }
            self.outstanding.push(Proposal { header, txn, waiter: Waiter::Nobody, bytes: record.len(), record });
        }
    }

    /// The log has been replayed by an ensemble of one: requests are taken from here on. Every session gets a full
    /// timeout, and ephemerals of sessions that nobody knows are removed. Quotas are counted afresh: writes are taken,
    /// and commit once the answers to [`Action::Measure`] have come.
    pub fn serve(&mut self, now: Now, out: &mut Vec<Action>) {
        self.mode = Mode::Standalone;
        self.point.decide_alone();
        self.begin(now);
        self.begin_proposing(now, out);
    }

    /// The log has been replayed by a member, or its role has ended. Waiters and what they asked are forgotten (the host
    /// closes their connections), sessions have no owners, and the end of the log stays outstanding. The host goes on
    /// with [`Input::Durable`](super::Input::Durable) while the log finishes its writes, before the end of the log counts
    /// in an election.
    pub fn look(&mut self, now: Now, out: &mut Vec<Action>) {
        if self.mode != Mode::Looking {
            self.read_only = None;
        }
        self.mode = Mode::Looking;
        self.local = None;
        self.resigning = false;
        self.begin(now);
        self.ledger.drop_outstanding();
        self.sessions.lose_role();
        self.outstanding.drop_waiters();
        self.syncs.clear();
        self.learner_syncs.clear();
        self.waiting = Waiting::default();
        self.revalidating.clear();
        self.forwarded_syncs.clear();
        self.finish_draining(out);
    }

    /// The ensemble has established this server as the leader of `epoch`: everything in its log is what the ensemble
    /// goes on from. Proposals go on with the first zxid of the epoch, validated behind what is outstanding; that commits
    /// when the leader machine says so. Sessions and quotas are begun with as in [`Self::serve`].
    pub fn lead(&mut self, now: Now, epoch: u32, out: &mut Vec<Action>) {
        if epoch <= self.proposed.epoch() {
            return self.fail(RoleFault::EpochUsed { epoch, last: self.proposed }, out);
        }
        self.mode = Mode::Leading { epoch };
        self.read_only = None;
        self.begin_local();
        self.begin(now);
        self.ledger.drop_outstanding();
        for proposal in self.outstanding.decoded() {
            self.ledger.expect(&proposal.header, &proposal.txn);
            if let Txn::CreateSession { timeout_ms } = proposal.txn
                && !self.sessions.contains(proposal.header.client)
            {
                self.sessions.track(proposal.header.client, timeout_ms, None, now.mono_ms);
            }
        }
        self.begin_proposing(now, out);
    }

    /// This server takes its part from a leader from here on, synchronisation included.
    pub fn follow(&mut self, now: Now, out: &mut Vec<Action>) {
        self.mode = Mode::Following;
        self.read_only = None;
        self.begin_local();
        self.begin(now);
        self.count_quotas(out);
        self.commit_ready(out);
    }

    fn begin(&mut self, now: Now) {
        self.ledger.finish_replay();
        self.ids.start(now.wall_ms);
    }

    fn begin_proposing(&mut self, now: Now, out: &mut Vec<Action>) {
        self.sessions.restart(now.mono_ms);
        for proposal in self.outstanding.decoded() {
            if matches!(proposal.txn, Txn::CloseSession { .. }) {
                self.sessions.close(proposal.header.client);
            }
        }
        self.reaper.start(now.mono_ms);
        self.count_quotas(out);
        let owners = self.ledger.ephemeral_owners().map(|(session, _)| session);
        let orphans: Vec<_> = owners.filter(|session| !self.sessions.contains(*session)).collect();
        for session in orphans {
            self.propose_close(now, session, out);
        }
        self.commit_ready(out);
    }

    /// Drops what is outstanding behind `to` (TRUNC); the host cuts the log.
    ///
    /// # Errors
    /// [`RoleFault::TruncatesCommitted`] where that would take back what was committed: nothing has changed then, and the
    /// server must stop.
    pub fn truncate(&mut self, to: Zxid) -> Result<(), RoleFault> {
        let decided = self.known_committed();
        if to < decided {
            return Err(RoleFault::TruncatesCommitted { to, decided });
        }
        self.outstanding.truncate(to);
        self.proposed = self.outstanding.last().unwrap_or(self.committed);
        self.point.truncate(to);
        Ok(())
    }

    /// What a snapshot's lists are to be interned in, for [`Role::loader`]'s like: their numbers go on behind those in
    /// use, as shards and connections know lists by number.
    pub fn acls_for_snapshot(&self) -> Acls {
        Acls::from_checkpoint([], self.ledger.next_acl())
    }

    /// Whether a snapshot may take the place of everything here.
    ///
    /// # Errors
    /// [`RoleFault::SnapshotBehind`] where that would take back what was committed: the server must stop.
    pub fn check_snapshot(&self, zxid: Zxid) -> Result<(), RoleFault> {
        let decided = self.known_committed();
        if zxid < decided { Err(RoleFault::SnapshotBehind { zxid, decided }) } else { Ok(()) }
    }

    /// The tree and the sessions of a leader's snapshot take the place of everything (SNAP), when the host has them
    /// durable, the shards rebuilt and the log begun anew behind its zxid with `logged`, which stays outstanding. `ledger`
    /// was made with [`Self::acls_for_snapshot`]. The actions tell the cores its ACLs.
    ///
    /// # Errors
    /// Those of [`Self::check_snapshot`], and [`RoleFault::Undecodable`]: nothing has changed then, and the server must
    /// stop.
    pub fn restart_from_snapshot(
        &mut self,
        ledger: Ledger,
        zxid: Zxid,
        sessions: &[(SessionId, i32)],
        logged: &[(Zxid, Bytes)],
        out: &mut Vec<Action>,
    ) -> Result<(), RoleFault> {
        self.check_snapshot(zxid)?;
        let mut outstanding = Vec::with_capacity(logged.len());
        for (zxid, record) in logged {
            let (header, txn) = txn::decode(record).map_err(|source| RoleFault::Undecodable { zxid: *zxid, source })?;
            outstanding.push((header, txn, record.clone()));
        }
        self.ledger = ledger;
        self.ledger.finish_replay();
        self.ledger.announce_all(|id, list| out.push(Action::DefineAcl { id, list }));
        self.sessions = crate::session::Sessions::new(self.config.tick_ms);
        for (session, timeout_ms) in sessions {
            self.ids.seen(*session);
            self.sessions.commit(*session, *timeout_ms);
        }
        self.outstanding.truncate(Zxid::ZERO);
        self.measuring = None;
        self.quotas_are_counted = false;
        (self.proposed, self.committed, self.restored) = (zxid, zxid, zxid);
        self.point = CommitPoint::at(zxid);
        for (header, txn, record) in outstanding {
            self.keep_outstanding(header, txn, record);
        }
        out.push(Action::Publish { commit: zxid });
        if self.mode == Mode::Following {
            self.count_quotas(out);
        }
        Ok(())
    }
}
