//! Sessions: who is alive, until when, and on which connection.
//!
//! A session is tracked from the moment that its creation is proposed, and is part of the committed state from the
//! moment that it is committed. Touching costs O(1): a session lies in one bucket of deadlines, and is filed again only
//! when that bucket comes up.

mod id;
mod password;

pub use id::SessionIds;
pub use password::password;

use engine::ids::{ConnId, CoreId, SessionId};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// A connection, on its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connection {
    /// The core.
    pub core: CoreId,
    /// The connection.
    pub conn: ConnId,
}

/// One session.
#[derive(Clone, Copy, Debug)]
struct Session {
    /// Negotiated at the last handshake, in milliseconds.
    timeout_ms: i32,
    /// As the transaction that created it says; `None` until that is committed.
    committed_timeout_ms: Option<i32>,
    deadline_ms: i64,
    /// Bucket that it lies in: its deadline, or an earlier one.
    filed_ms: i64,
    closing: bool,
    owner: Option<Connection>,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    tick_ms: i64,
    by_id: HashMap<SessionId, Session, BuildHasherDefault<IdHasher>>,
    buckets: BTreeMap<i64, Vec<SessionId>>,
    committed: usize,
}

impl Sessions {
    /// No sessions. Deadlines are rounded up to multiples of `tick_ms` (`tickTime`), at least 1.
    pub fn new(tick_ms: i64) -> Sessions {
        Sessions { tick_ms: tick_ms.max(1), by_id: HashMap::default(), buckets: BTreeMap::new(), committed: 0 }
    }

    /// Tracks a session whose creation is proposed.
    pub fn track(&mut self, id: SessionId, timeout_ms: i32, owner: Option<Connection>, mono_ms: i64) {
        let deadline_ms = self.deadline(mono_ms, timeout_ms);
        let session = Session {
            timeout_ms,
            committed_timeout_ms: None,
            deadline_ms,
            filed_ms: deadline_ms,
            closing: false,
            owner,
        };
        self.by_id.insert(id, session);
        self.buckets.entry(deadline_ms).or_default().push(id);
    }

    /// The creation of a session is committed, here or by another leader. Sessions that are not tracked yet are tracked
    /// from [`Self::restart`] on.
    pub fn commit(&mut self, id: SessionId, timeout_ms: i32) {
        let session = self.by_id.entry(id).or_insert(Session {
            timeout_ms,
            committed_timeout_ms: None,
            deadline_ms: i64::MAX,
            filed_ms: i64::MAX,
            closing: false,
            owner: None,
        });
        self.committed += usize::from(session.committed_timeout_ms.replace(timeout_ms).is_none());
    }

    /// Leadership begins: every session gets a full timeout, the one stored at its creation.
    pub fn restart(&mut self, mono_ms: i64) {
        self.buckets.clear();
        let tick_ms = self.tick_ms;
        for (id, session) in &mut self.by_id {
            session.timeout_ms = session.committed_timeout_ms.unwrap_or(session.timeout_ms);
            session.deadline_ms = round_up(mono_ms + i64::from(session.timeout_ms), tick_ms);
            session.filed_ms = session.deadline_ms;
            session.closing = false;
            self.buckets.entry(session.filed_ms).or_default().push(*id);
        }
        for bucket in self.buckets.values_mut() {
            bucket.sort_unstable();
        }
    }

    /// Moves a session's deadline. False if there is none, or if it is closing.
    pub fn touch(&mut self, id: SessionId, mono_ms: i64) -> bool {
        let tick_ms = self.tick_ms;
        let Some(session) = self.by_id.get_mut(&id).filter(|session| !session.closing) else { return false };
        session.deadline_ms = round_up(mono_ms + i64::from(session.timeout_ms), tick_ms);
        if session.deadline_ms < session.filed_ms {
            session.filed_ms = session.deadline_ms;
            self.buckets.entry(session.deadline_ms).or_default().push(id);
        }
        true
    }

    /// Renews a session on a connection, with a newly negotiated timeout. `Err` if there is none or it is closing, else
    /// the connection that had it before, if that is another.
    pub fn renew(
        &mut self,
        id: SessionId,
        timeout_ms: i32,
        owner: Connection,
        mono_ms: i64,
    ) -> Result<Option<Connection>, UnknownSession> {
        let session = self.by_id.get_mut(&id).filter(|session| !session.closing).ok_or(UnknownSession)?;
        session.timeout_ms = timeout_ms;
        let before = session.owner.replace(owner).filter(|before| *before != owner);
        self.touch(id, mono_ms);
        Ok(before)
    }

    /// The session takes no more requests.
    pub fn close(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.closing = true;
        }
    }

    /// The session's end is committed. Returns the connection that had it.
    pub fn remove(&mut self, id: SessionId) -> Option<Connection> {
        let session = self.by_id.remove(&id)?;
        self.committed -= usize::from(session.committed_timeout_ms.is_some());
        session.owner
    }

    /// The connection that has the session, if one has.
    pub fn owner(&self, id: SessionId) -> Option<Connection> {
        self.by_id.get(&id)?.owner
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, id: SessionId, connection: Connection) {
        if let Some(session) = self.by_id.get_mut(&id)
            && session.owner == Some(connection)
        {
            session.owner = None;
        }
    }

    /// A session whose deadline has passed; it is closing from now on. Call until `None`.
    pub fn next_expired(&mut self, mono_ms: i64) -> Option<SessionId> {
        loop {
            let mut bucket = self.buckets.first_entry().filter(|bucket| *bucket.key() <= mono_ms)?;
            let filed_ms = *bucket.key();
            let Some(id) = bucket.get_mut().pop() else {
                bucket.remove();
                continue;
            };
            let Some(session) = self.by_id.get_mut(&id).filter(|session| session.filed_ms == filed_ms) else {
                continue;
            };
            if session.deadline_ms > filed_ms {
                session.filed_ms = session.deadline_ms;
                let deadline_ms = session.deadline_ms;
                self.buckets.entry(deadline_ms).or_default().push(id);
            } else if !session.closing {
                session.closing = true;
                return Some(id);
            }
        }
    }

    /// When [`Self::next_expired`] is to be asked again, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<i64> {
        self.buckets.keys().next().copied()
    }

    /// Whether there is such a session, closing or not.
    pub fn contains(&self, id: SessionId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Committed sessions.
    pub fn len(&self) -> usize {
        self.committed
    }

    /// Whether no session is committed.
    pub fn is_empty(&self) -> bool {
        self.committed == 0
    }

    /// Committed sessions with the timeouts of their creation, by id.
    pub fn committed(&self) -> Vec<(SessionId, i32)> {
        let mut sessions: Vec<_> =
            self.by_id.iter().filter_map(|(id, session)| Some((*id, session.committed_timeout_ms?))).collect();
        sessions.sort_unstable();
        sessions
    }

    /// Sessions by the deadlines that they have now, for the `dump` command.
    pub fn by_deadline(&self) -> BTreeMap<i64, Vec<SessionId>> {
        let mut deadlines: BTreeMap<i64, Vec<SessionId>> = BTreeMap::new();
        for (id, session) in &self.by_id {
            deadlines.entry(session.deadline_ms).or_default().push(*id);
        }
        for sessions in deadlines.values_mut() {
            sessions.sort_unstable();
        }
        deadlines
    }

    fn deadline(&self, mono_ms: i64, timeout_ms: i32) -> i64 {
        round_up(mono_ms + i64::from(timeout_ms), self.tick_ms)
    }
}

/// No such session, or it is closing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no such session")]
pub struct UnknownSession;

/// The next multiple of the tick, never the time itself (`ExpiryQueue.roundToNextInterval`).
fn round_up(time_ms: i64, tick_ms: i64) -> i64 {
    (time_ms.div_euclid(tick_ms) + 1) * tick_ms
}

/// Spreads session ids, which the server itself hands out in sequence.
#[derive(Clone, Copy, Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_i64(&mut self, value: i64) {
        let mixed = (value as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 32;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const S: SessionId = SessionId(0x0100_0000_0000_0001);

    fn connection(slot: u32) -> Connection {
        Connection { core: CoreId(0), conn: ConnId { slot, generation: 0 } }
    }

    #[test]
    fn deadlines_are_rounded_up_past_the_timeout() {
        let mut sessions = Sessions::new(2000);
        sessions.track(S, 4000, None, 800);
        assert_eq!(sessions.next_deadline(), Some(6000));
        assert_eq!(sessions.next_expired(5999), None);
        assert_eq!(sessions.next_expired(6000), Some(S));
        assert_eq!(sessions.next_expired(6000), None, "it expires once");
        assert!(!sessions.touch(S, 6000), "a closing session is not touched");
        let mut sessions = Sessions::new(2000);
        sessions.track(S, 4000, None, 2000);
        assert_eq!(sessions.next_deadline(), Some(8000), "a multiple of the tick goes up to the next");
    }

    #[test]
    fn touching_defers_the_end() {
        let mut sessions = Sessions::new(2000);
        sessions.track(S, 4000, None, 0);
        assert!(sessions.touch(S, 5999));
        assert_eq!(sessions.next_expired(6000), None);
        assert_eq!(sessions.next_deadline(), Some(10_000));
        assert_eq!(sessions.next_expired(10_000), Some(S));
    }

    #[test]
    fn renewal_takes_the_session_over_and_may_shorten_it() {
        let mut sessions = Sessions::new(1000);
        sessions.track(S, 40_000, Some(connection(1)), 0);
        assert_eq!(sessions.renew(S, 4000, connection(2), 100), Ok(Some(connection(1))));
        assert_eq!(sessions.renew(S, 4000, connection(2), 100), Ok(None));
        sessions.disconnected(S, connection(1));
        assert_eq!(sessions.next_expired(5000), Some(S));
        assert_eq!(sessions.renew(S, 4000, connection(3), 5000), Err(UnknownSession));
        assert_eq!(sessions.remove(S), Some(connection(2)));
        assert_eq!(sessions.next_expired(100_000), None, "what is left in later buckets is nobody");
        assert_eq!(sessions.renew(S, 4000, connection(3), 5000), Err(UnknownSession));
    }

    #[test]
    fn a_restart_gives_the_timeout_of_the_creation() {
        let mut sessions = Sessions::new(1000);
        sessions.commit(S, 5000);
        assert_eq!(sessions.next_deadline(), None, "nothing expires before somebody leads");
        sessions.restart(100);
        assert_eq!(sessions.next_deadline(), Some(6000));
        assert_eq!(sessions.committed(), [(S, 5000)]);
        sessions.commit(S, 5000);
        assert_eq!(sessions.len(), 1);
        sessions.remove(S);
        assert!(sessions.is_empty());
    }

    proptest! {
        /// Against the plain rule: a session expires at the first look at or after its rounded deadline.
        #[test]
        fn buckets_agree_with_plain_deadlines(
            steps in proptest::collection::vec((0_i64..3, 0_i64..6, 0_i64..1500, 0_i32..5000), 1..200)
        ) {
            let mut sessions = Sessions::new(700);
            let mut model: BTreeMap<i64, (i64, i32)> = BTreeMap::new();
            let mut now = 0;
            for (what, id, later, timeout) in steps {
                now += later;
                let session = SessionId(id + 1);
                match what {
                    0 if !model.contains_key(&id) => {
                        sessions.track(session, timeout, None, now);
                        model.insert(id, (((now + i64::from(timeout)) / 700 + 1) * 700, timeout));
                    }
                    1 => {
                        let touched = sessions.touch(session, now);
                        prop_assert_eq!(touched, model.contains_key(&id));
                        if let Some((deadline, timeout)) = model.get_mut(&id) {
                            *deadline = ((now + i64::from(*timeout)) / 700 + 1) * 700;
                        }
                    }
                    _ => {
                        if let Some((deadline, old)) = model.get_mut(&id) {
                            prop_assert!(sessions.renew(session, timeout, connection(1), now).is_ok());
                            *old = timeout;
                            *deadline = ((now + i64::from(timeout)) / 700 + 1) * 700;
                        }
                    }
                }
                let mut expired = std::iter::from_fn(|| sessions.next_expired(now)).collect::<Vec<_>>();
                expired.sort();
                let due: Vec<_> = model.iter().filter(|(_, (d, _))| *d <= now).map(|(id, _)| *id).collect();
                prop_assert_eq!(&expired, &due.iter().map(|id| SessionId(id + 1)).collect::<Vec<_>>());
                for id in due {
                    model.remove(&id);
                    sessions.remove(SessionId(id + 1));
                }
                if let Some(next) = model.values().map(|(deadline, _)| *deadline).min() {
                    prop_assert!(sessions.next_deadline().unwrap() <= next);
                }
            }
        }
    }
}
