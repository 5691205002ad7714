//! A round under way (`FastLeaderElection.lookForLeader`).

use super::order::{Ballot, beats};
use super::{Election, ElectionAction};
use crate::peer::ensemble::{MemberRole, ServerId};
use crate::peer::wire::notification::{NOTIFICATION_VERSION, Notification, PeerState, Vote};
use std::collections::{BTreeMap, BTreeSet};

/// Silence in ms that must follow a quorum before the round is decided (`finalizeWait`).
pub(super) const QUIET_MS: i64 = 200;

/// The round's tables. They hold one entry per voter at most.
#[derive(Debug)]
pub(super) struct Looking {
    /// The vote for oneself with which the round began.
    own: Vote,
    proposal: Vote,
    /// The last word of each voter in this round (`recvset`).
    heard: BTreeMap<ServerId, Ballot>,
    /// The last word of each voter that leads or follows, whatever its round (`outofelection`).
    settled: BTreeMap<ServerId, Ballot>,
    /// Whether a quorum agrees and only silence is missing.
    finishing: bool,
    interval_ms: i64,
    deadline_ms: i64,
}

impl Looking {
    pub(super) fn deadline_ms(&self) -> i64 {
        self.deadline_ms
    }

    pub(super) fn proposal(&self, round: i64) -> Vote {
        Vote { round, ..self.proposal }
    }
}

/// A notification without its configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) state: PeerState,
    pub(super) vote: Vote,
    pub(super) version: i32,
}

impl Election {
    pub(super) fn look(
        &mut self,
        now_ms: i64,
        role: MemberRole,
        zxid: i64,
        peer_epoch: i64,
        out: &mut Vec<ElectionAction>,
    ) {
        self.state = PeerState::Looking;
        self.role = role;
        if self.current.is_none() {
            self.current = Some(Vote { leader: self.config.own, zxid, round: -1, peer_epoch });
        }
        // A peer may have sent any number, and the clock went there with it.
        self.round = self.round.wrapping_add(1);
        let is_voter = self.views.committed().is_voter(self.config.own);
        let leader = if is_voter { self.config.own } else { ServerId::NOBODY };
        let (zxid, peer_epoch) = match role {
            MemberRole::Participant => (zxid, peer_epoch),
            MemberRole::Observer => (i64::MIN, i64::MIN),
        };
        let own = Vote { leader, zxid, round: self.round, peer_epoch };
        self.looking = Some(Looking {
            own,
            proposal: own,
            heard: BTreeMap::new(),
            settled: BTreeMap::new(),
            finishing: false,
            interval_ms: self.config.interval_min_ms,
            deadline_ms: now_ms.saturating_add(self.config.interval_min_ms),
        });
        self.tell_all(now_ms, out);
    }

    pub(super) fn tick(&mut self, now_ms: i64, delivered: bool, out: &mut Vec<ElectionAction>) {
        let Some(looking) = &mut self.looking else { return };
        if now_ms < looking.deadline_ms {
            return;
        }
        if looking.finishing {
            let vote = looking.proposal(self.round);
            return self.conclude(vote, out);
        }
        looking.interval_ms = looking.interval_ms.saturating_mul(2).min(self.config.interval_max_ms);
        looking.deadline_ms = now_ms.saturating_add(looking.interval_ms);
        if delivered {
            self.tell_all(now_ms, out);
        } else {
            out.push(ElectionAction::ConnectAll);
        }
    }

    /// Sends the proposal to every voter. A server that votes hears itself, which is how its own vote counts.
    fn tell_all(&mut self, now_ms: i64, out: &mut Vec<ElectionAction>) {
        let Some(looking) = &self.looking else { return };
        let vote = looking.proposal(self.round);
        let notification = Notification::encode(self.state, vote, self.views.committed().text());
        let voters = self.views.voters();
        let others = voters.iter().filter(|sid| **sid != self.config.own);
        out.extend(others.map(|sid| ElectionAction::Send { to: *sid, notification: notification.clone() }));
        if voters.contains(&self.config.own) {
            let heard = Heard { state: PeerState::Looking, vote, version: NOTIFICATION_VERSION };
            self.hear(now_ms, self.config.own, heard, out);
        }
    }

    /// Takes the word of a voter.
    pub(super) fn hear(&mut self, now_ms: i64, from: ServerId, heard: Heard, out: &mut Vec<ElectionAction>) {
        let Some(looking) = &mut self.looking else { return };
        let electable = self.views.is_voter(heard.vote.leader);
        if looking.finishing {
            let is_better = electable && beats(self.views.committed(), &heard.vote, &looking.proposal);
            // Who has gone on to a later round supports nobody in this one (Java's counts it all the same, and may lead
            // alone, for as long as a leader waits for its followers).
            if heard.state == PeerState::Looking && heard.vote.round > self.round {
                looking.heard.remove(&from);
            }
            let proposal = Ballot::looking(looking.proposal(self.round));
            if !is_better && self.views.has_quorum(&supporters(&looking.heard, &proposal)) {
                looking.deadline_ms = now_ms.saturating_add(QUIET_MS);
                return;
            }
            looking.finishing = false;
        }
        looking.deadline_ms = now_ms.saturating_add(looking.interval_ms);
        if !electable {
            if heard.state == PeerState::Looking && heard.vote.leader == ServerId::NOBODY {
                self.join_round(now_ms, heard.vote, out);
            }
            return;
        }
        match heard.state {
            PeerState::Looking => self.hear_looking(now_ms, from, heard.vote, out),
            PeerState::Following | PeerState::Leading => self.hear_settled(from, heard, out),
            PeerState::Observing => {}
        }
    }

    /// Somebody whom the configuration under way makes a voter, and who cannot be elected yet, is in a later round. Its vote
    /// is for nobody and does not count, but the one that it is to give may be needed, and it listens to nothing said in
    /// rounds before its own (Java's members do not follow it there, and wait for ever).
    fn join_round(&mut self, now_ms: i64, vote: Vote, out: &mut Vec<ElectionAction>) {
        let Some(looking) = &mut self.looking else { return };
        if looking.own.zxid == -1 || vote.zxid == -1 || vote.round <= self.round {
            return;
        }
        self.round = vote.round;
        looking.heard.clear();
        looking.proposal = looking.own;
        self.tell_all(now_ms, out);
    }

    fn hear_looking(&mut self, now_ms: i64, from: ServerId, vote: Vote, out: &mut Vec<ElectionAction>) {
        let Some(looking) = &mut self.looking else { return };
        // -1 says that the voter's data is incomplete: neither it nor its vote may decide.
        if looking.own.zxid == -1 || vote.zxid == -1 || vote.round < self.round {
            return;
        }
        let committed = self.views.committed();
        let joined = vote.round > self.round;
        if joined {
            self.round = vote.round;
            looking.heard.clear();
            looking.proposal = if beats(committed, &vote, &looking.own) { vote } else { looking.own };
        }
        let adopted = beats(committed, &vote, &looking.proposal);
        if adopted {
            looking.proposal = vote;
        }
        let ballot = Ballot::looking(vote);
        // It had a role when this server told it its vote, or has not heard it.
        let had_role = looking.settled.remove(&from).is_some();
        let repeats = looking.heard.insert(from, ballot) == Some(ballot) && from != self.config.own;
        if (repeats || had_role) && beats(committed, &looking.proposal, &vote) {
            // It would never hear the better word if it went on to break the silence that makes this server repeat it.
            let proposal = looking.proposal(self.round);
            self.answer(now_ms, from, (PeerState::Looking, vote), proposal, out);
        } else if joined || adopted {
            // The own word comes back from there, and is tallied.
            self.tell_all(now_ms, out);
        }
        self.tally(now_ms);
    }

    /// A quorum that agrees with the proposal must be followed by silence.
    fn tally(&mut self, now_ms: i64) {
        let Some(looking) = &mut self.looking else { return };
        let proposal = Ballot::looking(looking.proposal(self.round));
        if !looking.finishing && self.views.has_quorum(&supporters(&looking.heard, &proposal)) {
            looking.finishing = true;
            looking.deadline_ms = now_ms.saturating_add(QUIET_MS);
        }
    }

    fn hear_settled(&mut self, from: ServerId, heard: Heard, out: &mut Vec<ElectionAction>) {
        let Some(looking) = &mut self.looking else { return };
        let Heard { state, vote, version } = heard;
        let ballot = Ballot { vote, state, version };
        let same_round = vote.round == self.round;
        if same_round {
            looking.heard.insert(from, Ballot { version: 0, ..ballot });
        }
        looking.settled.insert(from, ballot);
        let won = |table: &BTreeMap<ServerId, Ballot>| {
            // A leader is believed on its own word only: its followers may not know yet that it is dead. The word that
            // this server leads can be true of the present round alone.
            let supporters = supporters(table, &ballot);
            if vote.leader == self.config.own {
                return same_round && self.views.has_quorum(&supporters);
            }
            // There is nothing to elect: the leader has its quorums, and says which configuration is under way. Whoever has
            // seen one that came to nothing would ask for a quorum that nobody gathers; and one that is still under way
            // may need this server (Java's asks for both, and stays outside).
            let confirmed = table.get(&vote.leader).is_some_and(|leader| leader.state == PeerState::Leading);
            confirmed && self.views.committed().has_quorum(&supporters)
        };
        if (same_round && won(&looking.heard)) || won(&looking.settled) {
            self.round = vote.round;
            self.conclude(vote, out);
        }
    }
}

fn supporters(table: &BTreeMap<ServerId, Ballot>, of: &Ballot) -> BTreeSet<ServerId> {
    table.iter().filter(|(_, ballot)| of.agrees(ballot)).map(|(sid, _)| *sid).collect()
}
