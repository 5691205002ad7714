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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::sync::Arc;

    const THREE: &str = "server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2;3\nversion=100000000";

    fn facts(following: &[i64]) -> EnsembleFacts {
        EnsembleFacts {
            views: Views::settled(Arc::new(Ensemble::parse(THREE).unwrap())),
            following: following.iter().map(|sid| ServerId(*sid)).collect(),
            standalone_enabled: true,
        }
    }

    fn steps(joining: Option<&str>, leaving: Option<&str>, config_version: i64) -> ReconfigOp {
        ReconfigOp { joining: joining.map(Into::into), leaving: leaving.map(Into::into), members: None, config_version }
    }

    #[test]
    fn what_passes_has_the_transactions_zxid_as_its_version() {
        let text = facts(&[1, 2]).judge(&steps(None, Some("3"), 0x1_0000_0000), Zxid::new(1, 7)).unwrap();
        assert_eq!(
            &text[..],
            b"server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\nversion=100000007"
        );
        let members = Some("server.1=a:1:2;3,server.4=d:1:2;3".into());
        let whole = ReconfigOp { members, ..steps(Some("nonsense"), None, -1) };
        let text = facts(&[1, 4]).judge(&whole, Zxid::new(1, 8)).unwrap();
        assert!(
            text.starts_with(b"server.1=a:1:2:participant;0.0.0.0:3\nserver.4=d"),
            "new members take everything's place"
        );
    }

    #[test]
    fn errors_come_in_zookeepers_order() {
        let at = Zxid::new(1, 7);
        let hopeless = steps(Some("server.9=i:1"), None, 5);
        let mut facts = facts(&[1]);
        let next = Ensemble::parse(THREE).unwrap().with_version(0x1_0000_0005);
        facts.views.see(Arc::new(next));
        assert_eq!(facts.judge(&hopeless, at), Err(ErrorCode::ReconfigInProgress));
        let settled = facts.views.committed().clone();
        facts.views = Views::settled(settled);
        assert_eq!(facts.judge(&hopeless, at), Err(ErrorCode::BadVersion));
        assert_eq!(facts.judge(&ReconfigOp { config_version: -1, ..hopeless }, at), Err(ErrorCode::BadArguments));
        assert_eq!(facts.judge(&steps(None, Some("2,3"), -1), at), Err(ErrorCode::BadArguments), "one voter");
        assert_eq!(facts.judge(&steps(None, Some("3"), -1), at), Err(ErrorCode::NewConfigNoQuorum));
        facts.standalone_enabled = false;
        assert!(facts.judge(&steps(None, Some("2,3"), -1), at).is_ok());
    }
}
