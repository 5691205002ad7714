//! A member whose disk has lost something that it may have acknowledged.
//!
//! Others have counted on what it said. If it took part with what is left, a quorum could settle on a history without a
//! transaction that was committed on its word. So it becomes a full member again in steps:
//!
//! 1. In elections it abstains (zxid -1) and believes only those that lead and follow already.
//! 2. It presents itself as an observer, whose promises and acknowledgements no leader counts, of whatever release. An
//!    observer hears UPTODATE from an established leader alone, and the history of such a one has whatever was committed.
//! 3. Then it comes back as a follower, to the leader of that epoch and to no other, and so gets what is proposed and not
//!    committed there as well: it may have acknowledged some of that before. Another leader need not be established, and
//!    is left before anything is promised to it that counts as knowledge of the past. With UPTODATE it is a full member.
//!
//! Should the leader be lost on the way, it begins again with the first step; should the server stop, a mark on its disk
//! makes it do so ([`Action::Repaired`] takes that away).

use super::{Action, Node, NodeConfig, NodeStart, State};
use crate::peer::ensemble::{MemberRole, ServerId};
use crate::peer::history::History;
use crate::peer::learner::LearnerKind;
use crate::role::Now;
use tracing::{info, warn};

/// How far a repair has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Repair {
    /// Nothing is missing.
    Done,
    /// Steps 1 and 2.
    Observing,
    /// Step 3.
    Following { leader: ServerId, epoch: u32 },
}

impl Node {
    /// A member whose disk has lost something that it may have acknowledged: see the module's text.
    pub fn repairing(now: Now, config: NodeConfig, start: NodeStart, out: &mut Vec<Action>) -> Node {
        #[cfg(test)]
        if config.mistake == Some(crate::peer::mistake::Mistake::LossesForgotten) {
            out.push(Action::Repaired);
            return Node::new(now, config, start, out);
        }
        Node::begin(now, config, start, Repair::Observing, out)
    }

    /// What it says of the end of its log in elections.
    pub(super) fn zxid_to_vote_with(&self) -> i64 {
        if self.repair == Repair::Done {
            return self.appended.to_wire();
        }
        warn!("this server abstains from elections until a leader that others elect has given it what it has lost");
        -1
    }

    /// How it presents itself to a leader.
    pub(super) fn learner_kind(&self) -> LearnerKind {
        match (self.member_role(), self.repair) {
            (MemberRole::Observer, _) | (MemberRole::Participant, Repair::Observing) => LearnerKind::Observer,
            (MemberRole::Participant, Repair::Done | Repair::Following { .. }) => LearnerKind::Follower,
        }
    }

    /// The only epoch whose leader it follows.
    pub(super) fn only_epoch(&self) -> Option<u32> {
        match self.repair {
            Repair::Following { epoch, .. } => Some(epoch),
            Repair::Done | Repair::Observing => None,
        }
    }

    /// Whether it has to come back as a follower, now that the leader has brought it up to date.
    pub(super) fn has_to_come_back(&self) -> bool {
        self.repair == Repair::Observing && self.member_role() == MemberRole::Participant
    }

    /// Leaves the leader of this epoch to come back as a follower.
    pub(super) fn come_back(&mut self, now: Now, epoch: u32, history: History, out: &mut Vec<Action>) {
        info!(epoch, "this server has what is committed, and comes back to its leader for what is proposed");
        out.push(Action::CloseLeader);
        self.repair = self.leader.map_or(Repair::Observing, |leader| Repair::Following { leader, epoch });
        self.history = Some(history);
        self.look(now, out);
    }

    /// Begins to follow without an election where a repair asks for that.
    pub(super) fn follow_to_repair(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let Repair::Following { leader, .. } = self.repair else { return false };
        let Some(history) = self.history.take() else { return false };
        self.begin_learning(now, leader, history, out);
        matches!(self.state, State::Following(_))
    }

    /// The leader has been left ahead of time.
    pub(super) fn repair_again(&mut self) {
        if self.repair != Repair::Done {
            self.repair = Repair::Observing;
        }
    }

    /// It has everything.
    pub(super) fn repaired(&mut self, out: &mut Vec<Action>) {
        if std::mem::replace(&mut self.repair, Repair::Done) != Repair::Done {
            info!("this server is repaired: it has everything that its leader has");
            out.push(Action::Repaired);
        }
    }
}
