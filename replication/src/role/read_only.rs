//! Read-only mode: a member without a leader serves clients that can do with reads (`ReadOnlyZooKeeperServer`).
//!
//! Their sessions are this server's alone: no transaction makes or ends them, nobody else knows them, and all of them are
//! gone when the server takes up a role. Sessions of the ensemble are not served: their clients have to find a server that
//! can keep them alive.

use super::local::{close, open_local, renew_local};
use super::{Action, ConnectRequest, Input, Mode, Now, Role, Stopping};
use crate::request::{WriteAnswer, WriteOp, WriteRequest, WriteResult};
use crate::session::{Connection, LocalSessions};
use engine::error_code::ErrorCode;
use engine::ids::SessionId;

/// The sessions of a server in read-only mode.
#[derive(Debug)]
pub(super) struct ReadOnly {
    sessions: LocalSessions,
    /// Where the ids of these sessions begin.
    first: i64,
}

impl ReadOnly {
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
            let sessions = LocalSessions::new(self.config.tick_ms);
            self.read_only = Some(ReadOnly { sessions, first: self.ids.next() });
        }
    }

    pub(super) fn step_read_only(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        let Some(read_only) = &mut self.read_only else { return };
        match input {
            Input::Connect(request) => self.connect_read_only(now, request, out),
            Input::Write(WriteRequest { origin: Some(origin), session, op, .. }) => {
                let result = if op == WriteOp::CloseSession {
                    read_only.sessions.remove(session);
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
                while let Some((session, connection)) = read_only.sessions.next_expired(now.mono_ms) {
                    if let Some(Connection { core, conn }) = connection {
                        out.push(Action::CloseConnection { core, conn, session, at: self.committed });
                    }
                }
            }
            _ => {}
        }
    }

    fn connect_read_only(&mut self, now: Now, request: ConnectRequest, out: &mut Vec<Action>) {
        let Some(read_only) = &mut self.read_only else { return };
        let at = self.committed;
        if request.session == SessionId::NONE {
            if !read_only.sessions.has_room() {
                return out.push(close(&request, at));
            }
            let session = self.ids.allot(|id| self.sessions.contains(id));
            return open_local(&mut read_only.sessions, session, request, at, now, out);
        }
        let ids = read_only.first..self.ids.next();
        let is_of_here = ids.contains(&request.session.0) && !self.sessions.contains(request.session);
        if !is_of_here {
            // Whether it lives only the ensemble can tell: the client is to ask elsewhere, or later.
            return out.push(close(&request, at));
        }
        renew_local(&mut read_only.sessions, request, [at, at], now, out);
    }
}
