//! A new configuration comes into force (`Leader.getDesignatedLeader`, `tryToCommit`, `startZkServer`).

use super::{Action, Leader, Phase, ResignReason};
use crate::peer::quorum_set::{Configuration, Configurations};
use engine::zxid::Zxid;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Leader {
    /// Who leads under the new configuration: this server, if it votes there and is found where it was; otherwise a voter
    /// that has acknowledged the reconfiguration, and of what was proposed after it as much as any.
    pub(super) fn designated_leader(&self, new: &Configuration, acks: &BTreeSet<u64>) -> u64 {
        let own = self.config.sid;
        let address = |configuration: &Configuration| configuration.members.quorum_address(own);
        if new.members.is_voter(own) && address(new) == address(&self.configurations.committed) {
            return own;
        }
        let mut candidates: Vec<u64> =
            acks.iter().copied().filter(|sid| *sid != own && new.members.is_voter(*sid)).collect();
        for later in &self.outstanding {
            let further: Vec<u64> = candidates.iter().copied().filter(|sid| later.acks.contains(sid)).collect();
            if further.is_empty() {
                break;
            }
            candidates = further;
        }
        candidates.first().copied().unwrap_or(own)
    }

    /// A reconfiguration that a former leader left behind is completed by the quorum that has taken this server's
    /// history (ZOOKEEPER-1324).
    pub(super) fn complete_reconfig(&mut self, out: &mut Vec<Action>) {
        if let Some(proposed) = self.configurations.proposed.clone() {
            let designated = self.designated_leader(&proposed, &self.adopted);
            self.activate(self.epoch_zero(), proposed, designated, out);
        }
    }

    /// Followers leave for the leader that was named when they have heard of it. With the quorum nothing is left to wait
    /// for.
    pub(super) fn hand_over(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if let Phase::HandedOver { to } = self.phase
            && !self.has_quorum(now_ms)
        {
            self.resign(ResignReason::HandedOver(to), out);
        }
    }

    pub(super) fn activate(
        &mut self,
        zxid: Zxid,
        configuration: Configuration,
        designated: u64,
        out: &mut Vec<Action>,
    ) {
        self.configurations = Arc::new(Configurations { committed: configuration.clone(), proposed: None });
        if designated != self.config.sid {
            self.phase = Phase::HandedOver { to: designated };
        }
        out.push(Action::Activate { zxid, designated, configuration });
    }
}
