//! Read-only mode: a member without a leader serves clients that can do with reads (`ReadOnlyZooKeeperServer`).
//!
//! Their sessions are this server's alone: no transaction makes or ends them, nobody else knows them, and all of them are
//! gone when the server takes up a role. Sessions of the ensemble are not served: their clients have to find a server that
//! can keep them alive.

use super::{Action, ConnectRequest, Input, Mode, Now, Role, Stopping};
use crate::request::{WriteAnswer, WriteOp, WriteRequest, WriteResult};
use crate::session::{Connection, Owner, Sessions, password};
use engine::error_code::ErrorCode;
use engine::ids::{ConnId, CoreId, SessionId};

/// Sessions at a time; who comes then finds its connection closed.
const SESSIONS_MAX: usize = 1 << 20;

/// The sessions of a server in read-only mode.
#[derive(Debug)]
pub(super) struct ReadOnly {
    sessions: Sessions,
    count: usize,
    /// Where the ids of these sessions begin.
    first: i64,
}

impl ReadOnly {
    fn remove(&mut self, session: SessionId) -> Option<Owner> {
        self.count -= usize::from(self.sessions.contains(session));
        self.sessions.remove(session)
    }

    /// When a session expires, on the monotonic clock.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.sessions.next_deadline()
    }

    /// A connection is gone.
    pub(super) fn disconnected(&mut self, session: SessionId, connection: Connection) {
        self.sessions.disconnected(session, connection);
    }
}

impl Role {
    /// [`Input::ServeReadOnly`].
    pub(super) fn serve_read_only(&mut self) {
        if self.mode == Mode::Looking && self.stopping == Stopping::No && self.read_only.is_none() {
            let sessions = Sessions::new(self.config.tick_ms);
            self.read_only = Some(ReadOnly { sessions, count: 0, first: self.ids.next() });
        }
    }

    pub(super) fn step_read_only(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        let Some(read_only) = &mut self.read_only else { return };
        match input {
            Input::Connect(request) => self.connect_read_only(now, request, out),
            Input::Write(WriteRequest { origin: Some(origin), session, op, .. }) => {
                let result = if op == WriteOp::CloseSession {
                    read_only.remove(session);
                    Ok(WriteResult::Done)
                } else {
                    Err(ErrorCode::NotReadOnly)
                };
                out.push(Action::Answer(WriteAnswer { origin, zxid: self.committed, result }));
            }
            Input::Touch(sessions) => {
                for session in sessions {
                    read_only.sessions.touch(session, now.mono_ms);
                }
            }
            Input::Ephemerals { origin, session, prefix } => {
                out.push(self.ephemerals(origin, session, prefix.as_deref()));
            }
            Input::Tick => {
                while let Some(session) = read_only.sessions.next_expired(now.mono_ms) {
                    if let Some(Owner::Local(Connection { core, conn })) = read_only.remove(session) {
                        out.push(Action::CloseConnection { core, conn, session, at: self.committed });
                    }
                }
            }
            _ => {}
        }
    }

    fn connect_read_only(&mut self, now: Now, request: ConnectRequest, out: &mut Vec<Action>) {
        let Some(read_only) = &mut self.read_only else { return };
        let ConnectRequest { core, conn, session, timeout_ms, .. } = request;
        let (at, owner) = (self.committed, Owner::Local(Connection { core, conn }));
        let connected = |session| {
            let password = password(session);
            Action::Connected { core, conn, session, timeout_ms, password, at }
        };
        let close = |core: CoreId, conn: ConnId| Action::CloseConnection { core, conn, session, at };
        if session == SessionId::NONE {
            if read_only.count >= SESSIONS_MAX {
                return out.push(close(core, conn));
            }
            let session = self.ids.allot(|id| self.sessions.contains(id));
            read_only.sessions.track(session, timeout_ms, Some(owner), now.mono_ms);
            read_only.count += 1;
            return out.push(connected(session));
        }
        let is_of_here = (read_only.first..self.ids.next()).contains(&session.0) && !self.sessions.contains(session);
        if !is_of_here {
            // Whether it lives only the ensemble can tell: the client is to ask elsewhere, or later.
            return out.push(close(core, conn));
        }
        let knows = request.password == Some(password(session));
        let renewed = if knows { read_only.sessions.renew(session, timeout_ms, owner, now.mono_ms).ok() } else { None };
        match renewed {
            None => out.push(Action::Refused { core, conn }),
            Some(before) => {
                if let Some(Owner::Local(Connection { core, conn })) = before {
                    out.push(close(core, conn));
                }
                out.push(connected(session));
            }
        }
    }
}
