//! What this server is in its ensemble, for operators' questions on any core.

use crate::admin::{MemberFacts, ZabPhase};
use crate::four_letter::{EnsembleConf, EnsembleGauges, LeaderGauges, ServerState, SizeRange};
use replication::node::{Node, Standing};
use replication::peer::ensemble::{Ensemble, HostPort, ServerId};
use replication::role::Counters;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tuning::config::EnsembleConfig;

/// Told by the replication role's core, read by any. Nothing that is hot is in here.
#[derive(Debug, Default)]
pub struct Status(Mutex<Facts>);

#[derive(Clone, Debug, Default)]
struct Facts {
    /// `None` for an ensemble of one.
    member: Option<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    standing: Standing,
    since: Instant,
    voters: u64,
    followers: u64,
    non_voting: u64,
    observers: u64,
    is_read_only: bool,
    /// The configuration in force, and this server's ports in it, several joined by `|`.
    membership: Arc<str>,
    election_ports: String,
    quorum_ports: String,
    is_observer: bool,
    sid: ServerId,
    leader: Option<ServerId>,
    ensemble: Arc<Ensemble>,
    observer_sids: Vec<u64>,
}

impl Status {
    /// The member is as it is now.
    pub fn set(&self, node: &Node) {
        let standing = node.standing();
        let mut facts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = facts.member.as_ref().filter(|before| before.standing == standing).map(|before| before.since);
        let views = node.views();
        let own = views.committed().member(node.sid());
        facts.member = Some(Member {
            standing,
            since: since.unwrap_or_else(Instant::now),
            voters: views.committed().voters().count() as u64,
            followers: 0,
            non_voting: 0,
            observers: 0,
            is_read_only: false,
            membership: Arc::clone(views.committed().text()),
            election_ports: own.map(|own| ports(&own.election_addresses())).unwrap_or_default(),
            quorum_ports: own.map(|own| ports(&own.quorum_addresses())).unwrap_or_default(),
            is_observer: !views.is_voter(node.sid()),
            sid: node.sid(),
            leader: node.leader(),
            ensemble: Arc::clone(views.committed()),
            observer_sids: Vec::new(),
        });
        drop(facts);
        self.count_learners(node);
    }

    /// The learners that the member serves are those that it has now. They come and go without a change of standing, so
    /// this is called whenever somebody wants to know.
    pub fn count_learners(&self, node: &Node) {
        let (followers, observers) = node.leading().map(|leader| leader.served_learners()).unwrap_or_default();
        if let Some(member) = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).member {
            let is_voter = |sid: &&u64| node.views().is_voter(ServerId(**sid as i64));
            member.followers = followers.iter().filter(is_voter).count() as u64;
            member.non_voting = followers.len() as u64 - member.followers;
            member.observers = observers.len() as u64;
            member.observer_sids = observers;
        }
    }

    /// The member, which looks for a leader, serves clients that only read, until the next [`Self::set`].
    pub fn set_read_only(&self) {
        if let Some(member) = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).member {
            member.is_read_only = true;
        }
    }

    /// As `srvr` shows it.
    pub fn state(&self) -> ServerState {
        let member = self.member();
        if member.as_ref().is_some_and(|member| member.is_read_only) {
            return ServerState::ReadOnly;
        }
        match member.map(|member| member.standing) {
            None => ServerState::Standalone,
            Some(Standing::Leading | Standing::Preparing) => ServerState::Leader,
            Some(Standing::Observing) => ServerState::Observer,
            Some(Standing::Following | Standing::Joining | Standing::Looking) => ServerState::Follower,
        }
    }

    /// What a member is doing (`QuorumPeer.getServerState`, `getDetailedPeerState`).
    pub fn peer_state(&self) -> Option<String> {
        let doing = match self.member()?.standing {
            Standing::Looking => "looking",
            Standing::Joining => "following - synchronization",
            Standing::Following => "following - broadcast",
            Standing::Observing => "observing - broadcast",
            Standing::Preparing => "leading - discovery",
            Standing::Leading => "leading - broadcast",
        };
        Some(doing.to_owned())
    }

    /// What `mntr` shows of an ensemble.
    pub fn gauges(&self, counters: &Counters) -> Option<EnsembleGauges> {
        let member = self.member()?;
        let size = |bytes: usize| if bytes == 0 { -1 } else { i64::try_from(bytes).unwrap_or(i64::MAX) };
        let leader = (member.standing == Standing::Leading).then(|| LeaderGauges {
            learners: member.followers + member.non_voting + member.observers,
            synced_followers: member.followers,
            synced_non_voting_followers: member.non_voting,
            pending_syncs: 0,
            uptime_ms: u64::try_from(member.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            proposals: SizeRange {
                last: size(counters.last_proposal_bytes),
                min: size(counters.min_proposal_bytes),
                max: size(counters.max_proposal_bytes),
            },
        });
        Some(EnsembleGauges { quorum_size: member.voters, synced_observers: member.observers, leader })
    }

    /// What `conf` shows of an ensemble (`QuorumZooKeeperServer.dumpConf`).
    pub fn conf(&self, config: &EnsembleConfig) -> Option<EnsembleConf> {
        let member = self.member()?;
        Some(EnsembleConf {
            init_limit: config.init_limit_ticks,
            sync_limit: config.sync_limit_ticks,
            election_ports: member.election_ports,
            quorum_ports: member.quorum_ports,
            is_observer: member.is_observer,
            membership: member.membership.to_string(),
        })
    }

    /// What the admin server shows of an ensemble; `None` for a lone server.
    pub fn member_facts(&self) -> Option<MemberFacts> {
        let member = self.member()?;
        let phase = match member.standing {
            Standing::Looking => ZabPhase::Election,
            Standing::Preparing => ZabPhase::Discovery,
            Standing::Joining => ZabPhase::Synchronization,
            Standing::Following | Standing::Observing | Standing::Leading => ZabPhase::Broadcast,
        };
        Some(MemberFacts {
            sid: member.sid,
            leader: member.leader,
            is_leader: member.standing == Standing::Leading,
            phase,
            ensemble: member.ensemble,
            observers: member.observer_sids,
        })
    }

    fn member(&self) -> Option<Member> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).member.clone()
    }
}

fn ports(addresses: &[HostPort]) -> String {
    addresses.iter().map(|address| address.port.to_string()).collect::<Vec<_>>().join("|")
}
