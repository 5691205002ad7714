//! The election port as a whole: elections on top of links. What a host drives.

use super::{Election, ElectionAction, ElectionConfig, ElectionInput};
use crate::peer::ensemble::{Ensemble, HostPort, MemberRole, ServerId, Views};
use crate::peer::links::{LinkAction, LinkId, LinkInput, Links, LinksConfig};
use crate::peer::wire::notification::{Notification, PeerState, Vote};
use bytes::Bytes;
use std::sync::Arc;

/// What the port is told.
#[derive(Clone, Debug)]
pub enum PortInput<'a> {
    /// Something happened to a connection; [`LinkInput::Tick`] and [`LinkInput::Send`] are the port's own affair.
    Link(LinkInput<'a>),
    /// Begin a round; see [`ElectionInput::Look`].
    Look {
        /// What this server is.
        role: MemberRole,
        /// Its last zxid, -1 if data is missing.
        zxid: i64,
        /// Its `currentEpoch`.
        peer_epoch: i64,
    },
    /// A configuration was proposed, or committed without a change of members.
    Views(Views),
    /// The members changed: sockets and rounds begin anew. The host closes the listener where the own election addresses
    /// changed, opens the new one, and forgets its dials.
    Restart {
        /// Where this server can be called now.
        own_addresses: Vec<HostPort>,
        /// The configurations.
        views: Views,
    },
    /// See [`ElectionInput::Established`].
    Established {
        /// The epoch.
        peer_epoch: i64,
    },
    /// See [`ElectionInput::Designated`].
    Designated {
        /// The leader named.
        leader: ServerId,
        /// zxid of the reconfiguration.
        zxid: i64,
    },
    /// Time has passed; to be given when [`ElectionPort::next_deadline`] is due.
    Tick,
}

/// What the port asks for, to be done in this order.
#[derive(Clone, Debug)]
pub enum PortAction {
    /// See [`LinkAction::Connect`].
    Connect {
        /// Whom.
        sid: ServerId,
        /// Where.
        addresses: Vec<HostPort>,
    },
    /// See [`LinkAction::Write`].
    Write {
        /// Where.
        link: LinkId,
        /// What.
        bytes: Bytes,
    },
    /// See [`LinkAction::Close`].
    Close {
        /// Which connection.
        link: LinkId,
    },
    /// See [`ElectionAction::Elected`].
    Elected {
        /// Who leads.
        leader: ServerId,
        /// What this server becomes.
        state: PeerState,
        /// The winning vote.
        vote: Vote,
    },
    /// See [`ElectionAction::Adopt`]; where it asks for a restart, [`PortInput::Restart`] is meant.
    Adopt {
        /// The configuration.
        ensemble: Arc<Ensemble>,
        /// Whether the round has been given up.
        restart: bool,
    },
}

/// Elections and links, joined.
#[derive(Debug)]
pub struct ElectionPort {
    links: Links,
    election: Election,
    /// What the two have asked of each other; empty between steps.
    link_actions: Vec<LinkAction>,
    election_actions: Vec<ElectionAction>,
}

impl ElectionPort {
    /// A port that waits for [`PortInput::Look`].
    pub fn new(election: ElectionConfig, links: LinksConfig, views: Views) -> ElectionPort {
        ElectionPort {
            links: Links::new(links, views.clone()),
            election: Election::new(election, views),
            link_actions: Vec::new(),
            election_actions: Vec::new(),
        }
    }

    /// Takes one input and appends what is to be done.
    pub fn step(&mut self, now_ms: i64, input: PortInput<'_>, out: &mut Vec<PortAction>) {
        match input {
            PortInput::Link(input) => self.links.step(now_ms, input, &mut self.link_actions),
            PortInput::Look { role, zxid, peer_epoch } => {
                self.elect(now_ms, ElectionInput::Look { role, zxid, peer_epoch });
            }
            PortInput::Views(views) => {
                self.links.set_views(views.clone());
                self.elect(now_ms, ElectionInput::Views(views));
            }
            PortInput::Restart { own_addresses, views } => {
                self.links.restart(own_addresses, views.clone(), &mut self.link_actions);
                self.elect(now_ms, ElectionInput::Restart(views));
            }
            PortInput::Established { peer_epoch } => self.elect(now_ms, ElectionInput::Established { peer_epoch }),
            PortInput::Designated { leader, zxid } => self.elect(now_ms, ElectionInput::Designated { leader, zxid }),
            PortInput::Tick => {
                self.links.step(now_ms, LinkInput::Tick, &mut self.link_actions);
                let delivered = self.links.have_delivered();
                self.elect(now_ms, ElectionInput::Tick { delivered });
            }
        }
        self.settle(now_ms, out);
    }

    /// When [`PortInput::Tick`] is due.
    pub fn next_deadline(&self) -> Option<i64> {
        self.links.next_deadline().into_iter().chain(self.election.next_deadline()).min()
    }

    /// The election's side, to look at.
    pub fn election(&self) -> &Election {
        &self.election
    }

    /// The connections, to look at.
    pub fn links(&self) -> &Links {
        &self.links
    }

    fn elect(&mut self, now_ms: i64, input: ElectionInput) {
        self.election.step(now_ms, input, &mut self.election_actions);
    }

    /// Passes actions to and fro until what is left concerns the host.
    fn settle(&mut self, now_ms: i64, out: &mut Vec<PortAction>) {
        while !self.link_actions.is_empty() || !self.election_actions.is_empty() {
            for action in std::mem::take(&mut self.link_actions) {
                match action {
                    LinkAction::Connect { sid, addresses } => out.push(PortAction::Connect { sid, addresses }),
                    LinkAction::Write { link, bytes } => out.push(PortAction::Write { link, bytes }),
                    LinkAction::Close { link } => out.push(PortAction::Close { link }),
                    LinkAction::Received { from, payload } => match Notification::decode(&payload) {
                        Ok(notification) => self.elect(now_ms, ElectionInput::Notification { from, notification }),
                        Err(error) => tracing::debug!(%from, %error, "a malformed notification is skipped"),
                    },
                }
            }
            for action in std::mem::take(&mut self.election_actions) {
                match action {
                    ElectionAction::Send { to, notification } => {
                        let input = LinkInput::Send { sid: to, payload: notification };
                        self.links.step(now_ms, input, &mut self.link_actions);
                    }
                    ElectionAction::ConnectAll => {
                        self.links.step(now_ms, LinkInput::ConnectAll, &mut self.link_actions);
                    }
                    ElectionAction::Elected { leader, state, vote } => {
                        out.push(PortAction::Elected { leader, state, vote });
                    }
                    ElectionAction::Adopt { ensemble, restart } => {
                        self.links.set_views(self.election.views().clone());
                        out.push(PortAction::Adopt { ensemble, restart });
                    }
                }
            }
        }
    }
}
