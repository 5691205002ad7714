//! One configuration of the ensemble: who its members are, and which of them form a quorum (`QuorumVerifier`).
//!
//! A server holds two: the *committed* one, and the *last seen* one, which is newer while a reconfiguration is under
//! way. [`Views`] is the pair, and answers what must hold in both.

mod address;
mod designated;
mod member;
mod parse;
mod quorum;
mod reconfig;
mod views;

#[cfg(test)]
mod tests;

pub use address::HostPort;
pub use designated::{designated_leader, loses_leader};
pub use member::{Member, MemberAddress, MemberRole};
pub use parse::EnsembleError;
pub use quorum::{Hierarchy, QuorumSystem};
pub use reconfig::{Change, ReconfigError};
pub use views::Views;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A server's number, from `myid` (a Java long; use 1 to 255).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServerId(pub i64);

impl ServerId {
    /// Reserved for observers that no configuration lists (`QuorumPeer.OBSERVER_ID`).
    pub const ANONYMOUS: ServerId = ServerId(i64::MAX);
    /// The vote of those who have none, and in place of a leader "nobody".
    pub const NOBODY: ServerId = ServerId(i64::MIN);
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "server.{}", self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One configuration. Immutable; a change makes a new one.
#[derive(Clone, Debug)]
pub struct Ensemble {
    members: BTreeMap<ServerId, Member>,
    system: QuorumSystem,
    version: i64,
    text: Arc<str>,
}

impl Ensemble {
    /// A configuration decided by majority.
    pub fn majority(members: BTreeMap<ServerId, Member>, version: i64) -> Ensemble {
        Ensemble::new(members, QuorumSystem::Majority, version)
    }

    fn new(members: BTreeMap<ServerId, Member>, system: QuorumSystem, version: i64) -> Ensemble {
        let text = render(&members, &system, version).into();
        Ensemble { members, system, version, text }
    }

    /// The same members under another version, its text written anew.
    pub fn with_version(&self, version: i64) -> Ensemble {
        Ensemble::new(self.members.clone(), self.system.clone(), version)
    }

    /// All members.
    pub fn members(&self) -> &BTreeMap<ServerId, Member> {
        &self.members
    }

    /// The member with this number.
    pub fn member(&self, sid: ServerId) -> Option<&Member> {
        self.members.get(&sid)
    }

    /// Members that vote.
    pub fn voters(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.with_role(MemberRole::Participant)
    }

    /// Members that do not vote.
    pub fn observers(&self) -> impl Iterator<Item = ServerId> + '_ {
        self.with_role(MemberRole::Observer)
    }

    fn with_role(&self, role: MemberRole) -> impl Iterator<Item = ServerId> + '_ {
        self.members.iter().filter(move |(_, member)| member.role == role).map(|(sid, _)| *sid)
    }

    /// Whether `sid` votes.
    pub fn is_voter(&self, sid: ServerId) -> bool {
        self.members.get(&sid).is_some_and(|member| member.role == MemberRole::Participant)
    }

    /// What a server of this number is under this configuration: as listed; one that is not listed is a participant
    /// without a vote (`QuorumPeer.updateLearnerType`).
    pub fn role_of(&self, sid: ServerId) -> MemberRole {
        self.members.get(&sid).map_or(MemberRole::Participant, |member| member.role)
    }

    /// The rule for quorums.
    pub fn system(&self) -> &QuorumSystem {
        &self.system
    }

    /// Weight of a server in elections: one of weight 0 is never elected. A majority gives 1 to everyone.
    pub fn weight(&self, sid: ServerId) -> u64 {
        match &self.system {
            QuorumSystem::Majority => 1,
            QuorumSystem::Hierarchical(hierarchy) => hierarchy.weight(sid),
        }
    }

    /// Whether these servers form a quorum. Those that do not vote here are not counted, nor is anyone twice.
    pub fn has_quorum<'a>(&self, sids: impl IntoIterator<Item = &'a ServerId>) -> bool {
        let present: BTreeSet<ServerId> = sids.into_iter().copied().collect();
        self.has_quorum_of(|sid| present.contains(&sid))
    }

    /// The same for the voters that `present` says yes to; a majority is counted without an allocation.
    pub fn has_quorum_of(&self, present: impl Fn(ServerId) -> bool) -> bool {
        let present = self.voters().filter(|sid| present(*sid));
        match &self.system {
            QuorumSystem::Majority => present.count() > self.voters().count() / 2,
            QuorumSystem::Hierarchical(hierarchy) => hierarchy.has_quorum(present),
        }
    }

    /// 0 while never established, then the zxid of the reconfiguration that made it (`epoch << 32` for the first).
    pub fn version(&self) -> i64 {
        self.version
    }

    /// The text of `/zookeeper/config` and of notifications: as received where it was received, since servers order
    /// their lines differently.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Whether both have the same members with the same addresses, roles, weights and groups. What decides if a change
    /// makes sockets and roles anew.
    pub fn same_membership(&self, other: &Ensemble) -> bool {
        self.members == other.members && self.system == other.system
    }
}

/// Equal versions are equal configurations whatever they hold, as in ZooKeeper; otherwise the members decide.
impl PartialEq for Ensemble {
    fn eq(&self, other: &Ensemble) -> bool {
        self.version == other.version || self.same_membership(other)
    }
}

/// Lines in the order of their numbers, the version last, no line feed at the end (`QuorumMaj.toString`,
/// `QuorumHierarchical.toString`).
fn render(members: &BTreeMap<ServerId, Member>, system: &QuorumSystem, version: i64) -> String {
    let mut text: String = members.iter().map(|(sid, member)| format!("server.{sid}={member}\n")).collect();
    if let QuorumSystem::Hierarchical(hierarchy) = system {
        for (group, sids) in hierarchy.groups() {
            let sids: Vec<String> = sids.iter().map(ServerId::to_string).collect();
            text.push_str(&format!("group.{group}={}\n", sids.join(":")));
        }
        for (sid, weight) in hierarchy.weights() {
            text.push_str(&format!("weight.{sid}={weight}\n"));
        }
    }
    text.push_str(&format!("version={version:x}"));
    text
}
