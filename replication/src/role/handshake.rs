//! Handshakes and what else concerns sessions (`ZooKeeperServer.processConnectRequest`).

use super::outstanding::Waiter;
use super::{Action, ConnectRequest, Now, Role};
use crate::session::{Connection, Owner, password};
use engine::ids::{ConnId, CoreId, Origin, SessionId};
use std::sync::Arc;

impl Role {
    pub(super) fn connect(&mut self, now: Now, request: ConnectRequest, out: &mut Vec<Action>) {
        let ConnectRequest { core, conn, session, timeout_ms, .. } = request;
        let connection = Connection { core, conn };
        if session == SessionId::NONE {
            let session = self.ids.allot(|id| self.sessions.contains(id));
            self.sessions.track(session, timeout_ms, Some(Owner::Local(connection)), now.mono_ms);
            self.propose_session(now, session, timeout_ms, Waiter::Handshake(connection), out);
            return;
        }
        // The password comes first: who does not know it cannot knock the owner's connection off either.
        let password = password(session);
        let renewed = if request.password == Some(password) {
            self.sessions.renew(session, timeout_ms, Owner::Local(connection), now.mono_ms).ok()
        } else {
            None
        };
        let Some(before) = renewed else {
            out.push(Action::Refused { core, conn });
            return;
        };
        let at = self.committed;
        if let Some(Owner::Local(Connection { core, conn })) = before {
            out.push(Action::CloseConnection { core, conn, session, at });
        }
        // What the older connection had under way is done before the renewal is answered, so that the client sees it.
        out.push(Action::Connected { core, conn, session, timeout_ms, password, at: self.proposed });
    }

    pub(super) fn disconnected(&mut self, session: SessionId, core: CoreId, conn: ConnId) {
        let connection = Connection { core, conn };
        self.sessions.disconnected(session, connection);
        if let Some(local) = &mut self.local {
            local.disconnected(session, connection);
        }
        if let Some(read_only) = &mut self.read_only {
            read_only.disconnected(session, connection);
        }
    }

    pub(super) fn ephemerals(&self, origin: Origin, session: SessionId, prefix: Option<&str>) -> Action {
        let prefix = prefix.filter(|prefix| !prefix.trim().is_empty() && *prefix != "/").unwrap_or_default();
        let paths: Vec<Arc<str>> =
            self.ledger.ephemerals(session).map(|node| node.path).filter(|path| path.starts_with(prefix)).collect();
        Action::Ephemerals { origin, at: self.committed, paths }
    }
}
