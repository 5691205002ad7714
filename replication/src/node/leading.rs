//! Leading: between the leader machine, the role and the host.

use super::{Action, Epochs, Named, Node, Standing, State};
use crate::peer::ensemble::{Ensemble, ServerId, Views};
use crate::peer::history::History;
use crate::peer::leader::{self, Leader, LeaderConfig, LeaderStart};
use crate::peer::quorum_set::{Configuration, Configurations, QuorumSet};
use crate::role::{self, Now};
use engine::acl::Identity;
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::{info, warn};

use crate::peer::election::port::PortInput;

impl Node {
    pub(super) fn begin_leading(&mut self, now: Now, history: History, out: &mut Vec<Action>) {
        self.stand(Standing::Preparing, out);
        let config = LeaderConfig {
            tick_ms: self.config.tick_ms,
            init_limit: self.config.init_limit,
            sync_limit: self.config.sync_limit,
            reconfig_enabled: self.config.reconfig_enabled,
            named: self.is_named,
            force_snapshot: self.config.force_snapshot,
            #[cfg(test)]
            mistake: self.config.mistake,
            ..LeaderConfig::new(wire_sid(self.config.sid))
        };
        let start = LeaderStart {
            accepted_epoch: self.epochs.accepted,
            current_epoch: self.epochs.current,
            last: self.durable,
            history,
            configurations: configurations(&self.views),
            log_base: self.log_base,
        };
        let mut actions = Vec::new();
        let leader = Leader::new(now.mono_ms, config, start, &mut actions);
        self.state = State::Leading(Box::new(leader));
        out.push(Action::Listen(true));
        self.do_for_leader(now, actions, out);
    }

    pub(super) fn step_leader(&mut self, now: Now, input: leader::Input, out: &mut Vec<Action>) {
        let State::Leading(leader) = &mut self.state else { return };
        let mut actions = Vec::new();
        leader.step(now.mono_ms, input, &mut actions);
        self.do_for_leader(now, actions, out);
    }

    fn do_for_leader(&mut self, now: Now, actions: Vec<leader::Action>, out: &mut Vec<Action>) {
        for action in actions {
            match action {
                leader::Action::Send { learner, bytes } => out.push(Action::WriteLearner(learner, bytes)),
                leader::Action::Disconnect { learner, reason } => {
                    info!(%learner, "a learner is disconnected: {reason}");
                    #[cfg(test)]
                    self.partings.push(format!("disconnects a learner: {reason}"));
                    out.push(Action::CloseLearner(learner));
                    self.step_role(now, role::Input::LearnerGone { learner }, out);
                }
                leader::Action::PersistAcceptedEpoch(epoch) => {
                    self.persist(Epochs { accepted: epoch, ..self.epochs }, epoch, out);
                }
                leader::Action::PersistCurrentEpoch(epoch) => {
                    self.persist(Epochs { current: epoch, ..self.epochs }, epoch, out);
                }
                leader::Action::ReadLog { learner, after, upto, bytes_max } => {
                    out.push(Action::ReadLog { learner, after, upto, bytes_max });
                }
                leader::Action::SnapshotWanted { learner } => out.push(Action::SnapshotWanted(learner)),
                leader::Action::Commit { upto } => self.step_role(now, role::Input::Committed(upto), out),
                leader::Action::Established { epoch } => self.established_as_leader(now, epoch, out),
                leader::Action::Activate { configuration, designated, zxid } => {
                    let named = Named { leader: ServerId(designated as i64), zxid };
                    self.activate(now, &configuration, named, out);
                }
                leader::Action::Request { learner, request } => {
                    let ids = request.ids.map(|ids| Arc::new(identity(&ids)));
                    let input = role::Input::Forwarded {
                        learner,
                        session: request.session,
                        cxid: request.cxid,
                        opcode: request.opcode,
                        body: request.body,
                        ids,
                    };
                    self.step_role(now, input, out);
                }
                leader::Action::Sync { learner, .. } => {
                    self.step_role(now, role::Input::ForwardedSync { learner }, out);
                }
                leader::Action::Touched { sessions, .. } => {
                    self.step_role(now, role::Input::LearnerTouched { sessions }, out);
                }
                leader::Action::Revalidate { learner, session, timeout_ms } => {
                    self.step_role(now, role::Input::LearnerRevalidate { learner, session, timeout_ms }, out);
                }
                leader::Action::Resign(reason) => {
                    warn!("this server leads no longer: {reason}");
                    #[cfg(test)]
                    self.partings.push(format!("leads no longer: {reason}"));
                    out.push(Action::Listen(false));
                    if let State::Leading(leader) = std::mem::replace(&mut self.state, State::Settling) {
                        self.leave(now, leader.into_history(), out);
                    }
                    return;
                }
            }
        }
    }

    fn established_as_leader(&mut self, now: Now, epoch: u32, out: &mut Vec<Action>) {
        info!(epoch, "this server leads");
        self.step_port(now, PortInput::Established { peer_epoch: i64::from(epoch) }, out);
        let mut actions = std::mem::take(&mut self.role_actions);
        self.role.lead(now, epoch, &mut actions);
        self.pass_on(now, &mut actions, out);
        let config = Arc::clone(self.views.committed());
        self.role.write_config(now, &config, &mut actions);
        self.pass_on(now, &mut actions, out);
        self.role_actions = actions;
        self.stand(Standing::Leading, out);
    }
}

/// The credentials that a learner vouches for.
fn identity(ids: &[crate::peer::wire::packet::AuthId]) -> Identity {
    let mut identity = Identity::anonymous();
    for id in ids {
        identity.add(&id.scheme, &id.id);
    }
    identity
}

pub(super) fn wire_sid(sid: ServerId) -> u64 {
    sid.0 as u64
}

fn configurations(views: &Views) -> Configurations {
    let proposed = views.is_changing().then(|| configuration(views.last_seen()));
    Configurations { committed: configuration(views.committed()), proposed }
}

pub(super) fn configuration(ensemble: &Arc<Ensemble>) -> Configuration {
    Configuration {
        version: ensemble.version(),
        text: bytes::Bytes::copy_from_slice(ensemble.text().as_bytes()),
        members: Arc::clone(ensemble) as Arc<dyn QuorumSet>,
    }
}

impl QuorumSet for Ensemble {
    fn has_quorum(&self, sids: &BTreeSet<u64>) -> bool {
        let sids: Vec<ServerId> = sids.iter().map(|sid| ServerId(*sid as i64)).collect();
        Ensemble::has_quorum(self, &sids)
    }

    fn is_voter(&self, sid: u64) -> bool {
        Ensemble::is_voter(self, ServerId(sid as i64))
    }

    fn is_member(&self, sid: u64) -> bool {
        self.member(ServerId(sid as i64)).is_some()
    }

    fn quorum_address(&self, sid: u64) -> Option<String> {
        let addresses = self.member(ServerId(sid as i64))?.quorum_addresses();
        Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join("|"))
    }
}
