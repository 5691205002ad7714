//! Fast leader election (`FastLeaderElection`): who shall lead, by rounds of votes.
//!
//! 1. [`ElectionInput::Look`] begins a round: the server votes for itself and tells every voter.
//! 2. A better vote (by epoch, then zxid, then number) of the same round is adopted and told; a higher round is
//!    joined; to a lower one the own vote is the answer.
//! 3. When a quorum of both configurations agrees with the own vote, and nothing better arrives for 200 ms, the round is
//!    decided, unless some of that quorum have gone on to a later round meanwhile. Silence before that makes the vote go
//!    out again, ever less often.
//! 4. Servers that lead or follow answer with their leader. A quorum of such answers, among them the leader's own,
//!    decides without a vote.
//!
//! Those without a vote (observers, joiners) run the same loop, and are answered but never counted.

pub mod port;

mod answers;
mod looking;
mod order;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use super::ensemble::{Ensemble, MemberRole, ServerId, Views};
use super::wire::notification::{Notification, PeerState, Vote};
use answers::{Answers, Word};
use bytes::Bytes;
use looking::{Heard, Looking};
use std::sync::Arc;

/// Settings of elections.
#[derive(Clone, Copy, Debug)]
pub struct ElectionConfig {
    /// This server's number.
    pub own: ServerId,
    /// `reconfigEnabled`: without it no configuration is ever taken from others.
    pub reconfig_enabled: bool,
    /// First silence before the vote goes out again, in ms (`zookeeper.fastleader.minNotificationInterval`).
    pub interval_min_ms: i64,
    /// The silence doubles up to this, in ms (`zookeeper.fastleader.maxNotificationInterval`).
    pub interval_max_ms: i64,
}

impl ElectionConfig {
    /// ZooKeeper's defaults: 200 ms and one minute.
    pub fn new(own: ServerId, reconfig_enabled: bool) -> ElectionConfig {
        ElectionConfig { own, reconfig_enabled, interval_min_ms: 200, interval_max_ms: 60_000 }
    }
}

/// What elections are told. Times are on the monotonic clock, in ms.
#[derive(Clone, Debug)]
pub enum ElectionInput {
    /// The server has no role, or has lost it: begin a round.
    Look {
        /// What this server is: as the committed configuration lists it, or as the file says if it does not.
        role: MemberRole,
        /// Last zxid of its log; -1 if it knows that data is missing, which bars it from electing.
        zxid: i64,
        /// Its `currentEpoch`.
        peer_epoch: i64,
    },
    /// A notification arrived from a server.
    Notification {
        /// Whose connection it came on.
        from: ServerId,
        /// The message.
        notification: Notification,
    },
    /// A configuration was proposed or committed that changes no membership, or none that is committed yet.
    Views(Views),
    /// The membership changed: the service begins anew at round 0. A round under way is forgotten; [`Self::Look`]
    /// begins the next.
    Restart(Views),
    /// Synchronised with the leader, or established as the leader, in this epoch (`updateElectionVote`,
    /// ZOOKEEPER-1732). Without it newcomers would see mixed epochs and never join.
    Established {
        /// The epoch.
        peer_epoch: i64,
    },
    /// A committed reconfiguration names the next leader: no election. To be given after the new views.
    Designated {
        /// The leader named.
        leader: ServerId,
        /// zxid of the reconfiguration.
        zxid: i64,
    },
    /// Time has passed; to be given when [`Election::next_deadline`] is due.
    Tick {
        /// Whether some peer's mailbox is empty ([`super::links::Links::have_delivered`]).
        delivered: bool,
    },
}

/// What elections ask for, to be done in this order.
#[derive(Clone, Debug)]
pub enum ElectionAction {
    /// Put this notification into the mailbox of a server (never this one).
    Send {
        /// For whom.
        to: ServerId,
        /// The encoded notification.
        notification: Bytes,
    },
    /// Nothing goes out to anybody: connect to everybody.
    ConnectAll,
    /// The election is over, or a reconfiguration has named the leader.
    Elected {
        /// Who leads; may be this server.
        leader: ServerId,
        /// What this server becomes: leading, following or observing.
        state: PeerState,
        /// The winning vote.
        vote: Vote,
    },
    /// A newer committed configuration came with a notification. It must be on disk before the actions behind this one
    /// are done.
    Adopt {
        /// The configuration, with its text as received.
        ensemble: Arc<Ensemble>,
        /// Whether its members differ, so that the round has been given up: rebuild the sockets, then
        /// [`ElectionInput::Restart`] and [`ElectionInput::Look`].
        restart: bool,
    },
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Election {
    config: ElectionConfig,
    views: Views,
    role: MemberRole,
    state: PeerState,
    round: i64,
    /// What those are told that are answered: the own vote at first, then the last winning one.
    current: Option<Vote>,
    /// The round under way; none while in a role, and while a restart is awaited.
    looking: Option<Looking>,
    answers: Answers,
}

impl Election {
    /// A service that waits for [`ElectionInput::Look`].
    pub fn new(config: ElectionConfig, views: Views) -> Election {
        let role = views.committed().role_of(config.own);
        Election {
            config,
            views,
            role,
            state: PeerState::Looking,
            round: 0,
            current: None,
            looking: None,
            answers: Answers::default(),
        }
    }

    /// Takes one input and appends what is to be done.
    pub fn step(&mut self, now_ms: i64, input: ElectionInput, out: &mut Vec<ElectionAction>) {
        match input {
            ElectionInput::Look { role, zxid, peer_epoch } => self.look(now_ms, role, zxid, peer_epoch, out),
            ElectionInput::Notification { from, notification } => self.receive(now_ms, from, notification, out),
            ElectionInput::Views(views) => self.views = views,
            ElectionInput::Restart(views) => {
                self.views = views;
                self.round = 0;
                self.looking = None;
                self.answers.forget();
                if self.state == PeerState::Looking {
                    self.current = None;
                }
            }
            ElectionInput::Established { peer_epoch } => {
                if let Some(current) = &mut self.current {
                    current.peer_epoch = peer_epoch;
                }
            }
            ElectionInput::Designated { leader, zxid } => self.designate(leader, zxid, out),
            ElectionInput::Tick { delivered } => self.tick(now_ms, delivered, out),
        }
    }

    /// When [`ElectionInput::Tick`] is due; `None` outside of a round.
    pub fn next_deadline(&self) -> Option<i64> {
        self.looking.as_ref().map(Looking::deadline_ms)
    }

    /// What this server is at the moment.
    pub fn state(&self) -> PeerState {
        self.state
    }

    /// The vote that others are told while this server is in a role (`QuorumPeer.getCurrentVote`).
    pub fn current_vote(&self) -> Option<Vote> {
        self.current
    }

    /// The round (`logicalclock`).
    pub fn round(&self) -> i64 {
        self.round
    }

    /// The configurations as known here.
    pub fn views(&self) -> &Views {
        &self.views
    }

    fn receive(&mut self, now_ms: i64, from: ServerId, notification: Notification, out: &mut Vec<ElectionAction>) {
        let Some(current) = self.current else { return };
        if let Some(text) = &notification.config
            && self.looking.is_some()
            && self.adopt(text, out)
        {
            return;
        }
        let Notification { state, vote, version, .. } = notification;
        if !self.views.is_voter(from) {
            // It may be a voter by a configuration that this server has not seen. Java tells it, in this round's name, of
            // the leader that is lost; that vote for a dead server would be taken for a fresh one, and spread.
            let round = self.round;
            let answer = self.looking.as_ref().map_or(Vote { round, ..current }, |looking| looking.proposal(round));
            self.answer(now_ms, from, (state, vote), answer, out);
        } else if let Some(looking) = &self.looking {
            if state == PeerState::Looking && vote.round < self.round {
                let answer = looking.proposal(self.round);
                self.answer(now_ms, from, (state, vote), answer, out);
            }
            self.hear(now_ms, from, Heard { state, vote, version }, out);
        } else if state == PeerState::Looking && self.state != PeerState::Looking {
            self.send(from, current, out);
        }
    }

    /// Takes a configuration that is newer than the committed one. True if the round is over because of it. A text that
    /// does not parse says nothing about the vote beside it.
    fn adopt(&mut self, text: &str, out: &mut Vec<ElectionAction>) -> bool {
        if !self.config.reconfig_enabled || text == &**self.views.committed().text() {
            return false;
        }
        let Ok(ensemble) = Ensemble::parse(text) else { return false };
        let restart = !ensemble.same_membership(self.views.committed());
        let ensemble = Arc::new(ensemble);
        if !self.views.commit(Arc::clone(&ensemble)) {
            return false;
        }
        out.push(ElectionAction::Adopt { ensemble, restart });
        if restart {
            self.looking = None;
        }
        restart
    }

    fn designate(&mut self, leader: ServerId, zxid: i64, out: &mut Vec<ElectionAction>) {
        let role = self.views.committed().role_of(self.config.own);
        let kept = self.current.filter(|current| current.leader == leader);
        if kept.is_none() || role != self.role {
            self.role = role;
            self.conclude(kept.unwrap_or(Vote { leader, zxid, round: -1, peer_epoch: -1 }), out);
        }
    }

    fn conclude(&mut self, vote: Vote, out: &mut Vec<ElectionAction>) {
        self.state = match self.role {
            _ if vote.leader == self.config.own => PeerState::Leading,
            MemberRole::Participant => PeerState::Following,
            MemberRole::Observer => PeerState::Observing,
        };
        self.looking = None;
        self.current = Some(vote);
        out.push(ElectionAction::Elected { leader: vote.leader, state: self.state, vote });
    }

    /// Answers the word of a server, unless that has just been done. Where neither looks there is nothing to tell.
    fn answer(&mut self, now_ms: i64, to: ServerId, word: Word, answer: Vote, out: &mut Vec<ElectionAction>) {
        let is_due = match self.state {
            PeerState::Looking => self.answers.is_due(now_ms, to, word, answer),
            _ => word.0 == PeerState::Looking,
        };
        if is_due {
            self.send(to, answer, out);
        }
    }

    fn send(&self, to: ServerId, vote: Vote, out: &mut Vec<ElectionAction>) {
        let notification = Notification::encode(self.state, vote, self.views.committed().text());
        out.push(ElectionAction::Send { to, notification });
    }
}
