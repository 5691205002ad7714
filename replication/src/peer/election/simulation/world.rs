//! Servers that hold elections, and around them a model of what comes after: followers that stay as long as they hear
//! from their leader, epochs that a quorum confirms, and a history that grows.

use super::dice::Dice;
use super::network::{Arrival, Network};
use crate::peer::election::port::{ElectionPort, PortAction, PortInput};
use crate::peer::election::{ElectionConfig, PeerState};
use crate::peer::ensemble::{Ensemble, HostPort, ServerId, Views};
use crate::peer::links::{LinkInput, LinksConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Epoch and last zxid: what survives a crash.
type Key = (i64, i64);

/// The model looks at each server so often, in ms.
const WAKE_MS: i64 = 40;
/// How long a follower goes without its leader, and a leader without a quorum, in ms.
const PATIENCE_MS: i64 = 400;

#[derive(Debug)]
struct Node {
    /// `None` while down.
    port: Option<ElectionPort>,
    key: Key,
    /// Who leads, and when all was last well with it.
    role: Option<Role>,
    /// Per round in which this server looked: the smallest key that it had.
    looked: BTreeMap<i64, Key>,
}

#[derive(Clone, Copy, Debug)]
struct Role {
    leader: i64,
    round: i64,
    well_ms: i64,
    /// Synchronised with the leader in this epoch.
    epoch: Option<i64>,
}

#[derive(Debug)]
pub struct World {
    pub net: Network,
    ensemble: Arc<Ensemble>,
    nodes: BTreeMap<i64, Node>,
    /// What a quorum has, in the epoch of its leader.
    committed: Key,
    epochs_used: BTreeSet<i64>,
    /// Per round, the leader that a quorum followed in it. Rounds begin anew with a server, so that this is kept only
    /// where none ever does.
    led: BTreeMap<i64, i64>,
    pub restarts: bool,
}

impl World {
    /// The members of `ensemble` and the servers `unlisted`, all up.
    pub fn new(seed: u64, ensemble: Ensemble, unlisted: &[i64]) -> World {
        let sids: Vec<i64> = ensemble.members().keys().map(|sid| sid.0).chain(unlisted.iter().copied()).collect();
        let mut world = World {
            net: Network::new(Dice(seed)),
            ensemble: Arc::new(ensemble),
            nodes: BTreeMap::new(),
            committed: (0, 0),
            epochs_used: BTreeSet::new(),
            led: BTreeMap::new(),
            restarts: false,
        };
        for sid in sids {
            // Histories of the past differ by what nobody had committed.
            let key = (0, world.net.dice.below(3) as i64);
            world.nodes.insert(sid, Node { port: None, key, role: None, looked: BTreeMap::new() });
            world.start(sid);
            world.net.put(sid, 1, Arrival::Wake);
        }
        world
    }

    pub fn start(&mut self, sid: i64) {
        let views = Views::settled(Arc::clone(&self.ensemble));
        let links = LinksConfig {
            own: ServerId(sid),
            own_addresses: vec![HostPort::new(format!("h{sid}"), 3888)],
            multi_address: false,
            hello_timeout_ms: 5_000,
        };
        let port = ElectionPort::new(ElectionConfig::new(ServerId(sid), true), links, views);
        if let Some(node) = self.nodes.get_mut(&sid).filter(|node| node.port.is_none()) {
            node.port = Some(port);
            self.look(sid);
        }
    }

    pub fn crash(&mut self, sid: i64) {
        let node = self.nodes.get_mut(&sid).unwrap();
        (node.port, node.role) = (None, None);
        self.net.crash(sid);
        self.restarts = true;
    }

    pub fn sids(&self) -> Vec<i64> {
        self.nodes.keys().copied().collect()
    }

    pub fn is_up(&self, sid: i64) -> bool {
        self.nodes[&sid].port.is_some()
    }

    pub fn voters(&self) -> Vec<i64> {
        self.ensemble.voters().map(|sid| sid.0).collect()
    }

    /// The leader, if it is up, and every server that is up follows it in its established epoch.
    pub fn agreed_leader(&self) -> Option<i64> {
        let mut roles = self.nodes.values().filter(|node| node.port.is_some()).map(|node| node.role);
        let first = roles.next()??;
        let same =
            |role: Option<Role>| role.is_some_and(|role| (role.leader, role.epoch) == (first.leader, first.epoch));
        (self.is_up(first.leader) && first.epoch.is_some() && roles.all(same)).then_some(first.leader)
    }

    /// A line per server, for a failed run.
    pub fn summary(&self) -> String {
        let line = |(sid, node): (&i64, &Node)| {
            let Some(port) = &node.port else { return format!("\n{sid}: down") };
            let (election, links) = (port.election(), port.links().connected_servers().collect::<Vec<_>>());
            let (state, round, next_ms) = (election.state(), election.round(), port.next_deadline());
            format!("\n{sid}: {state:?} in {round} until {next_ms:?}, {:?}, connected {links:?}", node.role)
        };
        self.nodes.iter().map(line).collect()
    }

    /// Runs until `until_ms`, or until `done` says so. Whether it did.
    pub fn run(&mut self, until_ms: i64, mut done: impl FnMut(&World) -> bool) -> bool {
        while let Some((sid, arrival)) = self.net.next(until_ms) {
            self.arrive(sid, arrival);
            if done(self) {
                return true;
            }
        }
        false
    }

    fn arrive(&mut self, sid: i64, arrival: Arrival) {
        if let Arrival::Wake = arrival {
            self.net.put(sid, WAKE_MS, Arrival::Wake);
            self.step(sid, PortInput::Tick);
            return self.model(sid);
        }
        let input = match &arrival {
            Arrival::Accepted { link } => LinkInput::Accepted { link: *link },
            Arrival::Connected { link, sid } => LinkInput::Connected { link: *link, sid: ServerId(*sid) },
            Arrival::ConnectFailed { sid } => LinkInput::ConnectFailed { sid: ServerId(*sid) },
            Arrival::Bytes { link, bytes } => LinkInput::Bytes { link: *link, bytes },
            Arrival::Written { link } => LinkInput::Written { link: *link },
            Arrival::Closed { link } => LinkInput::Closed { link: *link },
            Arrival::Wake => return,
        };
        self.step(sid, PortInput::Link(input));
    }

    fn step(&mut self, sid: i64, input: PortInput<'_>) {
        let mut actions = Vec::new();
        let node = self.nodes.get_mut(&sid).unwrap();
        let Some(port) = &mut node.port else { return };
        port.step(self.net.now_ms, input, &mut actions);
        if port.election().state() == PeerState::Looking {
            let least = node.looked.entry(port.election().round()).or_insert(node.key);
            *least = node.key.min(*least);
        }
        for action in actions {
            match action {
                PortAction::Connect { sid: to, addresses } => {
                    assert_eq!(addresses, [HostPort::new(format!("h{to}"), 3888)]);
                    let reachable = self.nodes.get(&to.0).is_some_and(|node| node.port.is_some());
                    self.net.connect(sid, to.0, reachable);
                }
                PortAction::Write { link, bytes } => self.net.write(link, &bytes),
                PortAction::Close { link } => self.net.close(link),
                PortAction::Elected { leader, state, vote } => {
                    // Others hear, while a voter looks, of the last winner in the present round; they are not counted.
                    if self.ensemble.is_voter(ServerId(sid)) {
                        self.check_vote(leader, (vote.peer_epoch, vote.zxid), vote.round);
                    }
                    assert_eq!(state == PeerState::Leading, leader.0 == sid);
                    let role = Role { leader: leader.0, round: vote.round, well_ms: self.net.now_ms, epoch: None };
                    self.nodes.get_mut(&sid).unwrap().role = Some(role);
                }
                PortAction::Adopt { .. } => panic!("no configuration is ever newer here"),
            }
        }
    }

    fn look(&mut self, sid: i64) {
        let node = self.nodes.get_mut(&sid).unwrap();
        node.role = None;
        let (peer_epoch, zxid) = node.key;
        self.step(sid, PortInput::Look { role: self.ensemble.role_of(ServerId(sid)), zxid, peer_epoch });
    }

    /// The winner is at least as advanced as a quorum of those that took part in its round.
    fn check_vote(&self, leader: ServerId, won: Key, round: i64) {
        assert!(self.ensemble.is_voter(leader) && self.ensemble.weight(leader) > 0, "{leader:?} cannot be elected");
        let behind = self.nodes.iter().filter(|(sid, node)| {
            let key = node.looked.get(&round).map(|key| (*key, ServerId(**sid)));
            key.is_some_and(|key| key <= (won, leader) || self.ensemble.weight(ServerId(**sid)) == 0)
        });
        let behind: Vec<ServerId> = behind.map(|(sid, _)| ServerId(*sid)).collect();
        assert!(
            self.ensemble.has_quorum(&behind),
            "{leader:?} with {won:?} in round {round}: only {behind:?} are behind"
        );
    }

    /// Servers that follow `leader` and can talk to it, itself among them.
    fn supporters(&self, leader: i64) -> Vec<i64> {
        let follows = |(sid, node): &(&i64, &Node)| {
            node.role.is_some_and(|role| role.leader == leader) && !self.net.is_blocked(**sid, leader)
        };
        self.nodes.iter().filter(follows).map(|(sid, _)| *sid).collect()
    }

    fn is_quorum(&self, sids: &[i64]) -> bool {
        self.ensemble.has_quorum(&sids.iter().map(|sid| ServerId(*sid)).collect::<Vec<_>>())
    }

    /// What follows an election, in short.
    fn model(&mut self, sid: i64) {
        let Some(role) = self.nodes[&sid].role else { return };
        let supporters = self.supporters(role.leader);
        // A leader that was elected anew has dropped those that followed it before.
        let leads = |node: &Node| {
            node.role.is_some_and(|own| own.leader == role.leader && (role.epoch.is_none() || own.epoch == role.epoch))
        };
        let well = if sid == role.leader {
            self.is_quorum(&supporters)
        } else {
            leads(&self.nodes[&role.leader]) && !self.net.is_blocked(sid, role.leader)
        };
        if !well {
            // A leader that nobody hears goes on writing what nobody else has, until it notices.
            if sid == role.leader && role.epoch.is_some() && self.net.dice.chance(30) {
                self.nodes.get_mut(&sid).unwrap().key.1 += 1;
            }
            if self.net.now_ms - role.well_ms > PATIENCE_MS {
                self.look(sid);
            }
            return;
        }
        self.nodes.get_mut(&sid).unwrap().role.as_mut().unwrap().well_ms = self.net.now_ms;
        if sid == role.leader {
            self.lead(sid, role, &supporters);
        } else if role.epoch.is_none()
            && let Some(epoch) = self.nodes[&role.leader].role.and_then(|leader| leader.epoch)
        {
            let key = self.nodes[&role.leader].key;
            self.establish(sid, epoch, key);
        }
    }

    fn lead(&mut self, sid: i64, role: Role, supporters: &[i64]) {
        let own = self.nodes[&sid].key;
        let Some(_) = role.epoch else {
            // A leader that a follower is ahead of gives up, as in discovery.
            let counts = |sid: &i64| self.ensemble.is_voter(ServerId(*sid)) && self.ensemble.weight(ServerId(*sid)) > 0;
            let voters: Vec<i64> = supporters.iter().copied().filter(counts).collect();
            if voters.iter().any(|sid| self.nodes[sid].key > own) {
                return self.look(sid);
            }
            let other = *self.led.entry(role.round).or_insert(sid);
            assert!(self.restarts || other == sid, "round {} had the leaders {other} and {sid}", role.round);
            assert!(own >= self.committed, "server {sid} leads with {own:?} and lost {:?}", self.committed);
            let epoch = voters.iter().map(|sid| self.nodes[sid].key.0).max().unwrap_or(0) + 1;
            assert!(self.epochs_used.insert(epoch), "epoch {epoch} had a quorum before");
            for voter in voters {
                self.establish(voter, epoch, (epoch, own.1));
            }
            self.committed = (epoch, own.1);
            return;
        };
        // A write, which some followers have sooner than others.
        if self.net.dice.chance(20) {
            let written = (own.0, own.1 + 1);
            let mut have = vec![sid];
            for follower in supporters {
                let synced = self.nodes[follower].role.is_some_and(|other| other.epoch == role.epoch);
                if synced && self.net.dice.chance(70) {
                    have.push(*follower);
                }
            }
            for sid in &have {
                self.nodes.get_mut(sid).unwrap().key = written;
            }
            if self.is_quorum(&have) {
                self.committed = written;
            }
        }
    }

    fn establish(&mut self, sid: i64, epoch: i64, key: Key) {
        let node = self.nodes.get_mut(&sid).unwrap();
        node.key = key;
        node.role.as_mut().unwrap().epoch = Some(epoch);
        self.step(sid, PortInput::Established { peer_epoch: epoch });
    }
}
