//! Reconfig: what a leader holds a request against, and the configuration on this server's own account.

use super::{Action, Now, Role};
use crate::peer::ensemble::{Change, Ensemble, ServerId, Views};
use crate::request::ReconfigOp;
use bytes::Bytes;
use engine::error_code::ErrorCode;
use engine::zxid::Zxid;
use std::collections::BTreeSet;

/// The ensemble as its leader sees it.
#[derive(Clone, Debug)]
pub struct EnsembleFacts {
    /// The configurations.
    pub views: Views,
    /// Followers that are in step, and the leader.
    pub following: BTreeSet<ServerId>,
    /// `standaloneEnabled`: two must vote.
    pub standalone_enabled: bool,
}

impl EnsembleFacts {
    /// The text of the configuration that a request leads to, or why not, in ZooKeeper's order (`PrepRequestProcessor`).
    pub(super) fn judge(&self, op: &ReconfigOp, zxid: Zxid) -> Result<Bytes, ErrorCode> {
        let refused = |problem: crate::peer::ensemble::ReconfigError| {
            tracing::info!("a reconfiguration is refused: {problem}");
            problem.code
        };
        self.views.may_reconfigure(op.config_version).map_err(refused)?;
        let change = match op.members.as_deref() {
            Some(members) => Change::Members(members),
            None => Change::Steps { joining: op.joining.as_deref(), leaving: op.leaving.as_deref() },
        };
        let next = self.views.last_seen().changed(change, zxid.to_wire(), self.standalone_enabled).map_err(refused)?;
        if !next.has_quorum(&self.following) {
            tracing::info!("a reconfiguration is refused: no quorum of the new members follows and is in step");
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        Ok(Bytes::copy_from_slice(next.text().as_bytes()))
    }
}

impl Role {
    /// The configuration in force becomes the content of /zookeeper/config. For a member that is about to serve: nobody
    /// may be reading.
    pub fn write_config(&mut self, now: Now, ensemble: &Ensemble, out: &mut Vec<Action>) {
        let version = Zxid::from_wire(ensemble.version());
        if let Some(piece) = self.ledger.write_config(ensemble.text(), version) {
            self.routes.route(self.committed, now.wall_ms, &mut vec![piece], out);
        }
    }
}
