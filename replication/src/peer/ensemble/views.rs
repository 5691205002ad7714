//! The committed configuration and the last one seen, and what must hold in both.

use super::reconfig::ReconfigError;
use super::{Ensemble, ServerId};
use engine::error_code::ErrorCode;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The two configurations of a server (`QuorumPeer.getQuorumVerifier`, `getLastSeenQuorumVerifier`). The last seen one
/// is never older than the committed one.
#[derive(Clone, Debug)]
pub struct Views {
    committed: Arc<Ensemble>,
    last_seen: Arc<Ensemble>,
}

impl Views {
    /// No reconfiguration under way.
    pub fn settled(committed: Arc<Ensemble>) -> Views {
        Views { last_seen: Arc::clone(&committed), committed }
    }

    /// The configuration in force.
    pub fn committed(&self) -> &Arc<Ensemble> {
        &self.committed
    }

    /// The newest configuration proposed, or the committed one again.
    pub fn last_seen(&self) -> &Arc<Ensemble> {
        &self.last_seen
    }

    /// Takes a committed configuration if it is newer than the one in force (`QuorumPeer.setQuorumVerifier`). Whether it
    /// was.
    pub fn commit(&mut self, ensemble: Arc<Ensemble>) -> bool {
        let newer = ensemble.version() > self.committed.version();
        if newer {
            self.see(Arc::clone(&ensemble));
            self.committed = ensemble;
        }
        newer
    }

    /// Takes a proposed configuration if it is newer than the last one seen. Whether it was.
    pub fn see(&mut self, ensemble: Arc<Ensemble>) -> bool {
        let newer = ensemble.version() > self.last_seen.version();
        if newer {
            self.last_seen = ensemble;
        }
        newer
    }

    /// Takes what a leader holds to be the last configuration: one that was seen from a former leader, and that this one
    /// knows nothing of, was never committed, and is dropped. One below the configuration in force is history, and says
    /// nothing. Whether anything has changed.
    pub fn follow(&mut self, ensemble: Arc<Ensemble>) -> bool {
        let before = self.last_seen.version();
        if ensemble.version() < self.committed.version() {
            return false;
        }
        self.last_seen =
            if ensemble.version() > self.committed.version() { ensemble } else { Arc::clone(&self.committed) };
        self.last_seen.version() != before
    }

    /// Whether a reconfiguration is proposed and not committed.
    pub fn is_changing(&self) -> bool {
        self.last_seen.version() > self.committed.version()
    }

    /// Whether `sid` votes in either.
    pub fn is_voter(&self, sid: ServerId) -> bool {
        self.committed.is_voter(sid) || self.last_seen.is_voter(sid)
    }

    /// Those who vote in either, in order (`getCurrentAndNextConfigVoters`).
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.committed.voters().chain(self.last_seen.voters()).collect()
    }

    /// Whether these servers are a quorum of the committed configuration, and of the one under way if there is one.
    pub fn has_quorum(&self, sids: &BTreeSet<ServerId>) -> bool {
        self.has_quorum_of(|sid| sids.contains(&sid))
    }

    /// The same for the voters that `present` says yes to.
    pub fn has_quorum_of(&self, present: impl Fn(ServerId) -> bool) -> bool {
        self.committed.has_quorum_of(&present) && (!self.is_changing() || self.last_seen.has_quorum_of(&present))
    }

    /// Whether a reconfiguration may be asked for now, on the condition that the configuration has version `expected`
    /// (-1: any).
    ///
    /// # Errors
    /// [`ErrorCode::ReconfigInProgress`], then [`ErrorCode::BadVersion`].
    pub fn may_reconfigure(&self, expected: i64) -> Result<(), ReconfigError> {
        if self.last_seen.version() != self.committed.version() {
            let message = format!("the configuration of version {:x} is not committed yet", self.last_seen.version());
            return Err(ReconfigError { code: ErrorCode::ReconfigInProgress, message });
        }
        if expected != -1 && expected != self.last_seen.version() {
            let message = format!("version {expected:x} was expected, and it is {:x}", self.last_seen.version());
            return Err(ReconfigError { code: ErrorCode::BadVersion, message });
        }
        Ok(())
    }
}
