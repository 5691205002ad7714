//! Following and observing: between the learner machine, the role and the host.

use super::{Action, Epochs, Installing, Named, Node, Standing, State, history_of};
use crate::peer::election::port::PortInput;
use crate::peer::ensemble::{MemberRole, ServerId};
use crate::peer::history::History;
use crate::peer::learner::{self, Learner, LearnerConfig, LearnerStart};
use crate::peer::wire::bodies::ForwardedRequest;
use crate::peer::wire::packet::AuthId;
use crate::request::codec;
use crate::role::{self, Now};
use crate::wal::Durable;
use bytes::Bytes;
use engine::acl::Identity;
use engine::ids::SessionId;
use engine::zxid::Zxid;
use std::sync::Arc;
use tracing::{info, warn};

impl Node {
    pub(super) fn begin_learning(&mut self, now: Now, leader: ServerId, history: History, out: &mut Vec<Action>) {
        self.stand(Standing::Joining, out);
        let mut actions = std::mem::take(&mut self.role_actions);
        self.role.follow(now, &mut actions);
        self.pass_on(now, &mut actions, out);
        self.role_actions = actions;
        self.leader = Some(leader);
        let config = LearnerConfig {
            only_epoch: self.only_epoch(),
            config_version: self.views.committed().version(),
            tick_ms: self.config.tick_ms,
            init_limit: self.config.init_limit,
            sync_limit: self.config.sync_limit,
            connect_limit: self.config.connect_limit,
            #[cfg(test)]
            mistake: self.config.mistake,
            ..LearnerConfig::new(super::leading::wire_sid(self.config.sid), self.learner_kind())
        };
        let applied = self.role.known_committed();
        let start = LearnerStart {
            accepted_epoch: self.epochs.accepted,
            current_epoch: self.epochs.current,
            last: self.durable,
            applied,
            history,
            outstanding: self.role.outstanding().map(|(zxid, _)| zxid).filter(|zxid| *zxid > applied).collect(),
        };
        let mut actions = Vec::new();
        let learner = Learner::new(now.mono_ms, config, start, &mut actions);
        self.state = State::Following(Box::new(learner));
        self.do_for_learner(now, actions, out);
    }

    pub(super) fn step_learner(&mut self, now: Now, input: learner::Input, out: &mut Vec<Action>) {
        let State::Following(learner) = &mut self.state else { return };
        let mut actions = Vec::new();
        learner.step(now.mono_ms, input, &mut actions);
        self.do_for_learner(now, actions, out);
    }

    fn do_for_learner(&mut self, now: Now, actions: Vec<learner::Action>, out: &mut Vec<Action>) {
        for action in actions {
            match action {
                learner::Action::Connect { timeout_ms } => self.dial_leader(timeout_ms, out),
                learner::Action::Send(bytes) => out.push(Action::WriteLeader(bytes)),
                learner::Action::PersistAcceptedEpoch(epoch) => {
                    self.persist(Epochs { accepted: epoch, ..self.epochs }, epoch, out);
                }
                learner::Action::PersistCurrentEpoch(epoch) => {
                    self.persist(Epochs { current: epoch, ..self.epochs }, epoch, out);
                }
                learner::Action::Truncate { to } => match self.role.truncate(to) {
                    Ok(()) => {
                        self.truncating = Some(to);
                        out.push(Action::TruncateLog(to));
                    }
                    Err(fault) => out.push(Action::Fail(fault.to_string())),
                },
                learner::Action::SnapshotBegin { zxid } => out.push(Action::SnapshotBegin(zxid)),
                learner::Action::SnapshotBytes(bytes) => out.push(Action::SnapshotBytes(bytes)),
                learner::Action::SnapshotEnd { zxid, entries } => match self.role.check_snapshot(zxid) {
                    Ok(()) => {
                        self.installing = Some(Installing { zxid, entries: entries.clone() });
                        out.push(Action::SnapshotEnd { zxid, entries });
                    }
                    Err(fault) => out.push(Action::Fail(fault.to_string())),
                },
                learner::Action::SnapshotDrop => out.push(Action::SnapshotDrop),
                learner::Action::LastSeen { text } => self.see(now, &text, out),
                learner::Action::Log { zxid, txn } => {
                    self.step_role(now, role::Input::Proposal { zxid, bytes: txn }, out);
                }
                learner::Action::Commit { upto } => self.step_role(now, role::Input::Committed(upto), out),
                learner::Action::Activate { zxid, designated } => {
                    let ensemble = Arc::clone(self.views.last_seen());
                    let named = Named { leader: ServerId(designated as i64), zxid };
                    if self.take_into_force(now, ensemble, Some(named), out) {
                        self.leaving = Some(zxid);
                    }
                }
                learner::Action::Established { epoch } if self.has_to_come_back() => {
                    if let State::Following(learner) = std::mem::replace(&mut self.state, State::Settling) {
                        self.come_back(now, epoch, learner.into_history(), out);
                    }
                    return;
                }
                learner::Action::Established { epoch } => {
                    self.repaired(out);
                    info!(epoch, leader = ?self.leader, "this server is in step with its leader");
                    self.step_port(now, PortInput::Established { peer_epoch: i64::from(epoch) }, out);
                    if self.take_leaders(now, epoch, out) {
                        self.leaving = Some(Zxid::ZERO);
                        continue;
                    }
                    let ensemble = Arc::clone(self.views.committed());
                    let mut actions = std::mem::take(&mut self.role_actions);
                    self.role.write_config(now, &ensemble, &mut actions);
                    self.pass_on(now, &mut actions, out);
                    self.role_actions = actions;
                    let observes = self.member_role() == MemberRole::Observer;
                    self.stand(if observes { Standing::Observing } else { Standing::Following }, out);
                }
                learner::Action::TouchesWanted => {
                    let touches = self.role.take_touches();
                    self.step_learner(now, learner::Input::Touches(touches), out);
                }
                learner::Action::Revalidated { session, valid } => {
                    self.step_role(now, role::Input::Revalidated { session, valid }, out);
                }
                learner::Action::SyncDone { .. } => self.step_role(now, role::Input::SyncReturned, out),
                learner::Action::Leave(reason) => {
                    warn!("this server follows its leader no longer: {reason}");
                    #[cfg(test)]
                    self.partings.push(format!("follows no longer: {reason}"));
                    out.push(Action::CloseLeader);
                    if let State::Following(learner) = std::mem::replace(&mut self.state, State::Settling) {
                        self.leave(now, learner.into_history(), out);
                    }
                    return;
                }
            }
        }
    }

    /// A leader's snapshot has taken the place of everything. If that leader has been left meanwhile, the next election
    /// goes by what is there now.
    pub(super) fn snapshot_installed(&mut self, now: Now, end: Durable<Zxid>, out: &mut Vec<Action>) {
        let Some(Installing { zxid, entries }) = self.installing.take() else { return };
        (self.appended, self.durable) = (end.get(), end);
        self.step_role(now, role::Input::Durable(end), out);
        match self.state {
            State::Following(_) => self.step_learner(now, learner::Input::SnapshotInstalled, out),
            _ => self.history = Some(history_of(zxid, entries, end.get(), self.config.history_bytes_max)),
        }
    }

    fn dial_leader(&mut self, timeout_ms: i64, out: &mut Vec<Action>) {
        let addresses = self.leader.and_then(|leader| {
            let member = self.views.committed().member(leader).or_else(|| self.views.last_seen().member(leader))?;
            Some(member.quorum_addresses())
        });
        out.push(Action::DialLeader { addresses: addresses.unwrap_or_default(), timeout_ms });
    }
}

pub(super) fn forwarded(
    session: SessionId,
    cxid: i32,
    opcode: i32,
    body: Bytes,
    ids: Option<&Identity>,
) -> learner::Input {
    let ids = ids.map(|identity| {
        let credentials = identity.credentials().iter();
        credentials.map(|known| AuthId { scheme: known.scheme.clone(), id: known.id.clone() }).collect()
    });
    learner::Input::Forward(ForwardedRequest { session, cxid, opcode, body, ids })
}

pub(super) fn forwarded_sync(session: SessionId) -> learner::Input {
    let ids = Some(Vec::new());
    let (opcode, body) = (codec::opcode::SYNC, codec::encode_sync());
    learner::Input::Forward(ForwardedRequest { session, cxid: 0, opcode, body, ids })
}
