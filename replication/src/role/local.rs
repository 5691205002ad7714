//! What happens to clients of this server before the ensemble hears of it: local sessions (`UpgradeableSessionTracker`,
//! `QuorumZooKeeperServer.checkUpgradeSession`) and the early look at ACLs (`ZooKeeperServer.authWriteRequest`). Both are
//! of members that lead or follow, and only where they are switched on.

use super::outstanding::Waiter;
use super::{Action, ConnectRequest, Mode, Now, Role};
use crate::request::codec::{self, opcode};
use crate::request::{CreateKind, MultiOp, WriteAnswer, WriteOp, WriteRequest, WriteResult};
use crate::session::{Connection, LocalSessions, Owner, Standing, password};
use engine::error_code::ErrorCode;
use engine::ids::SessionId;
use engine::zxid::Zxid;

/// How a member treats its own clients. By default as the ensemble treats all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientPolicy {
    /// `localSessionsEnabled`: new sessions are this server's alone. All members have to have the same.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: a local session becomes one of the ensemble with its first ephemeral.
    pub upgrades: bool,
    /// `zookeeper.enableEagerACLCheck`: what the ACLs known here forbid goes no further.
    pub eager_acl: bool,
}

impl Role {
    /// A role of a member begins: nobody has a session of this server's own.
    pub(super) fn begin_local(&mut self) {
        self.local = self.config.clients.local_sessions.then(|| LocalSessions::new(self.config.tick_ms));
    }

    /// Sessions that only this server knows.
    pub fn local_sessions(&self) -> Option<&LocalSessions> {
        self.local.as_ref()
    }

    /// A handshake that concerns a local session is answered here; any other one is given back.
    pub(super) fn connect_local(
        &mut self,
        now: Now,
        request: ConnectRequest,
        out: &mut Vec<Action>,
    ) -> Option<ConnectRequest> {
        let Some(local) = &mut self.local else { return Some(request) };
        if request.session == SessionId::NONE {
            if local.has_room() {
                let session = self.ids.allot(|id| self.sessions.contains(id));
                open_local(local, session, request, self.committed, now, out);
            } else {
                out.push(close(&request, self.committed));
            }
            return None;
        }
        if !local.contains(request.session) {
            return Some(request);
        }
        renew_local(local, request, [self.committed, self.proposed], now, out);
        None
    }

    /// What is to become of a client's write, if it goes further at all.
    #[inline]
    pub(super) fn screened(&mut self, now: Now, request: WriteRequest, out: &mut Vec<Action>) -> Option<WriteRequest> {
        // Nearly always nothing is switched on.
        if self.local.is_none() && !self.config.clients.eager_acl {
            Some(request)
        } else {
            self.screen(now, request, out)
        }
    }

    fn screen(&mut self, now: Now, mut request: WriteRequest, out: &mut Vec<Action>) -> Option<WriteRequest> {
        let Some(origin) = request.origin else { return Some(request) };
        if self.config.clients.eager_acl
            && let Some(code) = self.ledger.forbids_early(&request.identity, &request.op)
        {
            // It has no place in the order, and its answer holds as soon as it is its turn.
            out.push(Action::Answer(WriteAnswer { origin, zxid: Zxid::ZERO, result: Err(code) }));
            return None;
        }
        let Some(local) = self.local.as_mut().filter(|local| local.contains(request.session)) else {
            return Some(request);
        };
        let connection = Connection { core: origin.core, conn: origin.conn };
        let mut answer = |result| out.push(Action::Answer(WriteAnswer { origin, zxid: self.committed, result }));
        match local.judge(request.session, Owner::Local(connection), now.mono_ms) {
            Standing::Good | Standing::Local => {}
            Standing::Gone => {
                answer(Err(ErrorCode::SessionExpired));
                return None;
            }
            Standing::Moved => {
                answer(Err(ErrorCode::SessionMoved));
                return None;
            }
        }
        if request.op == WriteOp::CloseSession {
            local.remove(request.session);
            answer(Ok(WriteResult::Done));
            return None;
        }
        if makes_ephemerals(&request.op) {
            if self.config.clients.upgrades {
                self.upgrade(now, request.session, connection, out);
            } else if matches!(request.op, WriteOp::Create(_)) {
                request.op = WriteOp::Refused(ErrorCode::EphemeralOnLocalSession);
            }
        }
        Some(request)
    }

    /// The session becomes one of the ensemble, under its id, ahead of the request that needs it.
    fn upgrade(&mut self, now: Now, session: SessionId, connection: Connection, out: &mut Vec<Action>) {
        let Some(timeout_ms) = self.local.as_mut().and_then(|local| local.remove(session)) else { return };
        if self.mode == Mode::Following {
            self.sessions.adopt(session, timeout_ms, connection);
            let body = codec::encode_create_session(timeout_ms);
            out.push(Action::Forward { session, cxid: 0, opcode: opcode::CREATE_SESSION, body, ids: None });
        } else {
            self.sessions.track(session, timeout_ms, Some(Owner::Local(connection)), now.mono_ms);
            self.propose_session(now, session, timeout_ms, Waiter::Nobody, out);
        }
    }

    /// Judges a request by its session, wherever that is known.
    pub(super) fn judge(&mut self, now: Now, session: SessionId, from: Option<Owner>) -> Standing {
        let standing = self.sessions.judge(session, from, now.mono_ms);
        match (&mut self.local, from) {
            (Some(local), Some(from)) if standing == Standing::Gone && !self.sessions.contains(session) => {
                if local.contains(session) {
                    return match local.judge(session, from, now.mono_ms) {
                        Standing::Good => Standing::Local,
                        other => other,
                    };
                }
                // It may live on the server that forwards, if it is not from here (`LeaderSessionTracker.checkSession`).
                match from {
                    Owner::Learner(_) if !self.ids.is_own(session.0) => Standing::Local,
                    _ => Standing::Gone,
                }
            }
            _ => standing,
        }
    }

    /// Takes those out that are local.
    pub(super) fn touch_local(&mut self, now: Now, sessions: &mut Vec<SessionId>) {
        if let Some(local) = &mut self.local {
            sessions.retain(|session| !local.touch(*session, now.mono_ms));
        }
    }

    /// Ends local sessions whose time has come.
    pub(super) fn expire_local(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(local) = &mut self.local else { return };
        while let Some((session, connection)) = local.next_expired(now.mono_ms) {
            self.counters.sessions_expired += 1;
            if let Some(Connection { core, conn }) = connection {
                out.push(Action::CloseConnection { core, conn, session, at: self.committed });
            }
        }
    }
}

/// A handshake that gets a new session.
pub(super) fn open_local(
    local: &mut LocalSessions,
    session: SessionId,
    request: ConnectRequest,
    at: Zxid,
    now: Now,
    out: &mut Vec<Action>,
) {
    let ConnectRequest { core, conn, timeout_ms, .. } = request;
    local.open(session, timeout_ms, Connection { core, conn }, now.mono_ms);
    out.push(Action::Connected { core, conn, session, timeout_ms, password: password(session), at });
}

/// A handshake that renews a session, or has no right to it. The older connection is closed from the first zxid on, and
/// the new one answered from the second.
pub(super) fn renew_local(
    local: &mut LocalSessions,
    request: ConnectRequest,
    [closed_at, at]: [Zxid; 2],
    now: Now,
    out: &mut Vec<Action>,
) {
    let ConnectRequest { core, conn, session, timeout_ms, .. } = request;
    let password = password(session);
    let renewed = if request.password == Some(password) {
        local.renew(session, timeout_ms, Connection { core, conn }, now.mono_ms).ok()
    } else {
        None
    };
    let Some(before) = renewed else { return out.push(Action::Refused { core, conn }) };
    if let Some(Connection { core, conn }) = before {
        out.push(Action::CloseConnection { core, conn, session, at: closed_at });
    }
    out.push(Action::Connected { core, conn, session, timeout_ms, password, at });
}

/// The end of a connection that is not answered.
pub(super) fn close(request: &ConnectRequest, at: Zxid) -> Action {
    Action::CloseConnection { core: request.core, conn: request.conn, session: request.session, at }
}

/// Whether a session that only one server knows cannot ask for this. Containers and TTL nodes have no owner.
fn makes_ephemerals(op: &WriteOp) -> bool {
    match op {
        WriteOp::Create(op) => {
            matches!(op.kind, CreateKind::Create | CreateKind::Create2) && codec::is_ephemeral(op.flags)
        }
        // createTTL with the flags of another kind is a plain create there.
        WriteOp::Multi(ops) => ops.iter().any(|op| match op {
            MultiOp::Create(op) => op.kind != CreateKind::Container && codec::is_ephemeral(op.flags),
            _ => false,
        }),
        _ => false,
    }
}
