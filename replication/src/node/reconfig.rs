//! The ensemble changes: a proposal that names new members, a configuration that comes into force, and the way from one
//! leader to the next without an election (`QuorumPeer.processReconfig`).

use super::leading::configuration;
use super::{Action, Named, Node, State};
use crate::peer::ensemble::{Ensemble, ServerId, loses_leader};
use crate::peer::quorum_set::Configuration;
use crate::peer::wire::bodies::epoch_zxid;
use crate::request::WriteOp;
use crate::request::codec::opcode;
use crate::role::{self, EnsembleFacts, Now};
use bytes::Bytes;
use engine::jute::Reader;
use engine::txn::{self, Txn};
use std::sync::Arc;
use tracing::{info, warn};

impl Node {
    /// Tells the role what it needs for judging a reconfig, if this is one.
    pub(super) fn prepare_reconfig(&mut self, input: &role::Input) {
        let is_reconfig = match input {
            role::Input::Write(request) => matches!(request.op, WriteOp::Reconfig(_)),
            role::Input::Forwarded { opcode, .. } => *opcode == opcode::RECONFIG,
            _ => false,
        };
        if let State::Leading(leader) = &self.state
            && is_reconfig
        {
            let (followers, _) = leader.served_learners();
            let following = followers.into_iter().map(|sid| ServerId(sid as i64)).chain([self.config.sid]).collect();
            let standalone_enabled = self.config.standalone_enabled;
            self.role.know_ensemble(EnsembleFacts { views: self.views.clone(), following, standalone_enabled });
        }
    }

    /// A leader's own proposal of a configuration: seen from here on, and needed by the leader machine.
    pub(super) fn take_proposed(&mut self, now: Now, record: &Bytes, out: &mut Vec<Action>) -> Option<Configuration> {
        if !matches!(self.state, State::Leading(_)) {
            return None;
        }
        let ensemble = Arc::new(proposed_by(record)?);
        self.views.see(Arc::clone(&ensemble));
        out.push(Action::KeepLastSeen(Arc::clone(&ensemble)));
        self.views_have_changed(now, false, out);
        Some(configuration(&ensemble))
    }

    /// The leader has proposed a configuration, or named its last one in NEWLEADER.
    pub(super) fn see(&mut self, now: Now, text: &Bytes, out: &mut Vec<Action>) {
        if !self.config.reconfig_enabled {
            return;
        }
        match Ensemble::parse(&String::from_utf8_lossy(text)) {
            Ok(ensemble) => {
                if self.views.follow(Arc::new(ensemble)) {
                    out.push(Action::KeepLastSeen(Arc::clone(self.views.last_seen())));
                    self.views_have_changed(now, false, out);
                }
            }
            Err(problem) => warn!("the leader's configuration cannot be read: {problem}"),
        }
    }

    /// In step with a leader: the configuration that it named in NEWLEADER is in force, if it is one of a former epoch,
    /// which a quorum has now completed, or the epoch's own first (ZOOKEEPER-1324, 1783), or is known to be committed.
    /// One that this leader has proposed and not committed comes into force with its commit; a Java follower takes it at
    /// once, and may be alone with it when the leader dies.
    pub(super) fn take_leaders(&mut self, now: Now, epoch: u32, out: &mut Vec<Action>) -> bool {
        let State::Following(learner) = &self.state else { return false };
        let settled = learner.committed().max(epoch_zxid(epoch)).to_wire();
        let ensemble = Arc::clone(self.views.last_seen());
        ensemble.version() <= settled && self.take_into_force(now, ensemble, None, out)
    }

    /// As leader: a configuration is in force, and names the leader from now on.
    pub(super) fn activate(&mut self, now: Now, configuration: &Configuration, named: Named, out: &mut Vec<Action>) {
        match Ensemble::parse(&String::from_utf8_lossy(&configuration.text)) {
            Ok(ensemble) => {
                self.take_into_force(now, Arc::new(ensemble), Some(named), out);
            }
            Err(problem) => warn!("a configuration in force cannot be read: {problem}"),
        }
    }

    /// A configuration is in force from here on. True if this server has to leave its role: it is something else now, or
    /// its leader is another, which `named` is then, or nobody knows yet.
    pub(super) fn take_into_force(
        &mut self,
        now: Now,
        ensemble: Arc<Ensemble>,
        named: Option<Named>,
        out: &mut Vec<Action>,
    ) -> bool {
        let before = Arc::clone(self.views.committed());
        if !self.views.commit(Arc::clone(&ensemble)) {
            return false;
        }
        info!(version = format!("{:x}", ensemble.version()), "a configuration is in force");
        out.push(Action::Activate(Arc::clone(&ensemble)));
        let is_same = ensemble.same_membership(&before);
        self.views_have_changed(now, !is_same, out);
        if is_same {
            return false;
        }
        let sid = self.config.sid;
        let leader_changes = match (named, self.leader) {
            (Some(named), leader) => leader != Some(named.leader),
            (None, Some(leader)) => loses_leader(leader, &before, &ensemble),
            (None, None) => false,
        };
        let leaves = leader_changes || before.role_of(sid) != ensemble.role_of(sid);
        if leaves {
            self.named = named;
        }
        leaves
    }

    /// Leaves the leader when the reconfiguration that asks for it has taken effect here, so that a client that asked for
    /// it hears of it. What came before this server was in step takes effect later, under whichever leader.
    pub(super) fn leave_if_due(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(zxid) = self.leaving else { return };
        let State::Following(learner) = &self.state else { return };
        if self.role.committed() >= zxid || !learner.is_following() {
            self.leave_leader(now, out);
        }
    }

    fn leave_leader(&mut self, now: Now, out: &mut Vec<Action>) {
        info!(named = ?self.named, "the new configuration asks for another role or leader");
        out.push(Action::CloseLeader);
        if let State::Following(learner) = std::mem::replace(&mut self.state, State::Settling) {
            self.leave(now, learner.into_history(), out);
        }
    }
}

/// The configuration that a transaction proposes, if it is a reconfiguration.
pub(super) fn proposed_by(record: &[u8]) -> Option<Ensemble> {
    if type_of(record) != Some(opcode::RECONFIG) {
        return None;
    }
    match txn::decode(record) {
        Ok((_, Txn::SetData { data: Some(text), reconfig: true, .. })) => {
            Ensemble::parse(&String::from_utf8_lossy(&text)).ok()
        }
        _ => None,
    }
}

/// The type in a transaction's header, without decoding more of it.
fn type_of(record: &[u8]) -> Option<i32> {
    let mut r = Reader::new(record);
    r.long().ok()?;
    r.int().ok()?;
    r.long().ok()?;
    r.long().ok()?;
    r.int().ok()
}
