//! Which sets of voters suffice (`QuorumMaj`, `QuorumHierarchical`).

use super::ServerId;
use std::collections::{BTreeMap, BTreeSet};

/// The rule by which voters form a quorum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum QuorumSystem {
    /// More than half of the voters.
    Majority,
    /// More than half of the groups, each by more than half of its weight.
    Hierarchical(Hierarchy),
}

/// Weights and groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hierarchy {
    /// `group.G`: the group of each server.
    group_of: BTreeMap<ServerId, i64>,
    /// `weight.N`, and 1 for every participant without one.
    weights: BTreeMap<ServerId, u64>,
    /// Sum of the weights per group.
    group_weights: BTreeMap<i64, u64>,
}

impl Hierarchy {
    /// Checks that every voter is in a group, and gives weight 1 to those that have none.
    ///
    /// # Errors
    /// The server at fault, and what is wrong with it.
    pub(super) fn new(
        group_of: BTreeMap<ServerId, i64>,
        mut weights: BTreeMap<ServerId, u64>,
        voters: impl Iterator<Item = ServerId>,
    ) -> Result<Hierarchy, (ServerId, String)> {
        for voter in voters {
            if !group_of.contains_key(&voter) {
                return Err((voter, "is a participant and in no group: add it to a group.N line".to_owned()));
            }
            weights.entry(voter).or_insert(1);
        }
        let mut group_weights = BTreeMap::new();
        for (sid, group) in &group_of {
            let Some(weight) = weights.get(sid) else {
                return Err((*sid, format!("is in group {group}, but neither a participant nor of a weight")));
            };
            let sum: &mut u64 = group_weights.entry(*group).or_default();
            *sum = sum.saturating_add(*weight);
        }
        Ok(Hierarchy { group_of, weights, group_weights })
    }

    /// Weight of a server; 0 for one that has none.
    pub fn weight(&self, sid: ServerId) -> u64 {
        self.weights.get(&sid).copied().unwrap_or(0)
    }

    /// The servers of each group.
    pub fn groups(&self) -> BTreeMap<i64, BTreeSet<ServerId>> {
        let mut groups: BTreeMap<i64, BTreeSet<ServerId>> = BTreeMap::new();
        for (sid, group) in &self.group_of {
            groups.entry(*group).or_default().insert(*sid);
        }
        groups
    }

    /// Every weight, said or implied.
    pub fn weights(&self) -> &BTreeMap<ServerId, u64> {
        &self.weights
    }

    pub(super) fn has_quorum(&self, set: impl Iterator<Item = ServerId>) -> bool {
        let mut present: BTreeMap<i64, u64> = BTreeMap::new();
        for sid in set {
            if let Some(group) = self.group_of.get(&sid) {
                let sum = present.entry(*group).or_default();
                *sum = sum.saturating_add(self.weight(sid));
            }
        }
        let counted = present.iter().filter(|(group, sum)| **sum > self.group_weights[group] / 2).count();
        // Groups without any weight can never count, so they must not raise the number that is needed.
        let groups = self.group_weights.values().filter(|weight| **weight > 0).count();
        counted > groups / 2
    }
}
