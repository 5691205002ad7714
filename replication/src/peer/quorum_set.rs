//! What the leader has to know of the ensemble: who votes, what makes a quorum, and when two configurations count.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

/// One configuration's members, as the leader sees them (`QuorumVerifier`).
pub trait QuorumSet: Debug + Send + Sync {
    /// Whether these servers make a quorum. Those that are no voters do not count.
    fn has_quorum(&self, sids: &BTreeSet<u64>) -> bool;

    /// Whether the server votes.
    fn is_voter(&self, sid: u64) -> bool;

    /// Whether the server is listed at all, as voter or observer.
    fn is_member(&self, sid: u64) -> bool;

    /// Where learners find the server when it leads, in any form that compares; `None` if it is not listed.
    fn quorum_address(&self, sid: u64) -> Option<String>;
}

/// A configuration with its version.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Zxid of the reconfiguration that made it; 0 for one that was never established.
    pub version: i64,
    /// Its text, exactly as it came.
    pub text: Bytes,
    /// Its meaning.
    pub members: Arc<dyn QuorumSet>,
}

impl Configuration {
    /// The same members under another version, in the text too.
    pub fn with_version(&self, version: i64) -> Configuration {
        let text = String::from_utf8_lossy(&self.text);
        let mut renewed: String =
            text.lines().filter(|line| !line.starts_with("version=")).flat_map(|line| [line, "\n"]).collect();
        renewed.push_str(&format!("version={version:x}"));
        Configuration { version, text: renewed.into(), members: self.members.clone() }
    }
}

/// The committed configuration, and the last-seen one while it is newer: then both must agree.
#[derive(Clone, Debug)]
pub struct Configurations {
    /// In force.
    pub committed: Configuration,
    /// Proposed and not yet in force.
    pub proposed: Option<Configuration>,
}

impl Configurations {
    /// The one to announce in NEWLEADER: last seen.
    pub fn last_seen(&self) -> &Configuration {
        self.proposed.as_ref().unwrap_or(&self.committed)
    }

    /// Whether these servers make a quorum of each.
    pub fn have_quorum(&self, sids: &BTreeSet<u64>) -> bool {
        self.each().all(|configuration| configuration.members.has_quorum(sids))
    }

    /// Whether the server votes in any.
    pub fn is_voter(&self, sid: u64) -> bool {
        self.each().any(|configuration| configuration.members.is_voter(sid))
    }

    /// Whether the server is listed in any.
    pub fn is_member(&self, sid: u64) -> bool {
        self.each().any(|configuration| configuration.members.is_member(sid))
    }

    fn each(&self) -> impl Iterator<Item = &Configuration> {
        std::iter::once(&self.committed).chain(&self.proposed)
    }
}

/// Voters of equal weight (`QuorumMaj`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Majority {
    voters: BTreeSet<u64>,
}

impl Majority {
    /// These voters.
    pub fn new(voters: impl IntoIterator<Item = u64>) -> Majority {
        Majority { voters: voters.into_iter().collect() }
    }
}

impl QuorumSet for Majority {
    fn has_quorum(&self, sids: &BTreeSet<u64>) -> bool {
        self.voters.intersection(sids).count() > self.voters.len() / 2
    }

    fn is_voter(&self, sid: u64) -> bool {
        self.voters.contains(&sid)
    }

    fn is_member(&self, sid: u64) -> bool {
        self.is_voter(sid)
    }

    fn quorum_address(&self, sid: u64) -> Option<String> {
        self.is_voter(sid).then(|| sid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        let three = Majority::new([1, 2, 3]);
        assert!(!three.has_quorum(&[1].into()));
        assert!(three.has_quorum(&[1, 3].into()));
        assert!(!three.has_quorum(&[1, 4, 5, 6].into()), "strangers do not count");
        assert!(!Majority::new([1, 2, 3, 4]).has_quorum(&[1, 2].into()));
        assert!(!Majority::new([]).has_quorum(&[].into()));
    }

    #[test]
    fn while_two_configurations_count_both_must_agree() {
        let configuration = |version, voters: &[u64]| Configuration {
            version,
            text: Bytes::new(),
            members: Arc::new(Majority::new(voters.iter().copied())),
        };
        let both =
            Configurations { committed: configuration(1, &[1, 2, 3]), proposed: Some(configuration(2, &[3, 4, 5])) };
        assert!(!both.have_quorum(&[1, 2, 3].into()));
        assert!(!both.have_quorum(&[3, 4, 5].into()));
        assert!(both.have_quorum(&[2, 3, 4].into()));
        assert!(both.is_voter(1) && both.is_voter(5) && !both.is_voter(6));
    }

    #[test]
    fn a_new_version_replaces_the_line_in_the_text() {
        let members = Arc::new(Majority::new([1]));
        let first =
            Configuration { version: 0, text: Bytes::from_static(b"server.1=a:1:2:participant\nversion=0"), members };
        let second = first.with_version(0x1_0000_0000);
        assert_eq!(second.text, &b"server.1=a:1:2:participant\nversion=100000000"[..]);
        assert_eq!(second.version, 0x1_0000_0000);
    }
}
