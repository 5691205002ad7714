//! Sessions that one server keeps for itself: no transaction makes or ends them, and no other server knows them
//! (`LocalSessionTracker`).

use super::{Connection, Owner, Sessions, Standing, UnknownSession};
use engine::ids::SessionId;

/// Sessions at a time; who comes then finds its connection closed.
const SESSIONS_MAX: usize = 1 << 20;

/// The sessions. Unlike those of an ensemble they have deadlines on the server that their clients are connected to.
#[derive(Debug)]
pub struct LocalSessions {
    sessions: Sessions,
    count: usize,
}

impl LocalSessions {
    /// None yet. Deadlines are rounded up to multiples of `tick_ms`.
    pub fn new(tick_ms: i64) -> LocalSessions {
        LocalSessions { sessions: Sessions::new(tick_ms), count: 0 }
    }

    /// Whether there is room for another one.
    pub fn has_room(&self) -> bool {
        self.count < SESSIONS_MAX
    }

    /// A new session, with its timeout in milliseconds.
    pub fn open(&mut self, id: SessionId, timeout_ms: i32, connection: Connection, mono_ms: i64) {
        self.sessions.track(id, timeout_ms, Some(Owner::Local(connection)), mono_ms);
        self.count += 1;
    }

    /// Renews a session, with a newly negotiated timeout in milliseconds. Returns the connection that it had before, if
    /// that is another.
    ///
    /// # Errors
    /// If there is no such session.
    pub fn renew(
        &mut self,
        id: SessionId,
        timeout_ms: i32,
        connection: Connection,
        mono_ms: i64,
    ) -> Result<Option<Connection>, UnknownSession> {
        let before = self.sessions.renew(id, timeout_ms, Owner::Local(connection), mono_ms)?;
        Ok(before.and_then(Owner::connection))
    }

    /// Whether the session is one of these.
    pub fn contains(&self, id: SessionId) -> bool {
        self.sessions.contains(id)
    }

    /// Judges a request by its session, as [`Sessions::judge`] does.
    pub fn judge(&mut self, id: SessionId, from: Owner, mono_ms: i64) -> Standing {
        self.sessions.judge(id, Some(from), mono_ms)
    }

    /// Moves a session's deadline. False if it is none of these.
    pub fn touch(&mut self, id: SessionId, mono_ms: i64) -> bool {
        self.sessions.touch(id, mono_ms)
    }

    /// The session ends, or is no longer local. Returns its timeout in milliseconds.
    pub fn remove(&mut self, id: SessionId) -> Option<i32> {
        let timeout_ms = self.sessions.timeout_ms(id)?;
        self.sessions.remove(id);
        self.count -= 1;
        Some(timeout_ms)
    }

    /// Ends a session whose deadline has passed. Returns it with the connection that it had. Call until `None`.
    pub fn next_expired(&mut self, mono_ms: i64) -> Option<(SessionId, Option<Connection>)> {
        let id = self.sessions.next_expired(mono_ms)?;
        let connection = self.sessions.owner(id).and_then(Owner::connection);
        self.remove(id);
        Some((id, connection))
    }

    /// When [`Self::next_expired`] is to be asked again, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<i64> {
        self.sessions.next_deadline()
    }

    /// A connection is gone; the session lives on until its deadline.
    pub fn disconnected(&mut self, id: SessionId, connection: Connection) {
        self.sessions.disconnected(id, connection);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sessions, each with its deadline and its timeout, both in milliseconds, for the `dump` command.
    pub fn list(&self) -> Vec<(SessionId, i64, i32)> {
        let by_deadline = self.sessions.by_deadline();
        let all = by_deadline.into_iter().flat_map(|(at, ids)| ids.into_iter().map(move |id| (id, at)));
        all.map(|(id, at)| (id, at, self.sessions.timeout_ms(id).unwrap_or(0))).collect()
    }
}
