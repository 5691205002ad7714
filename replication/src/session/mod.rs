//! Sessions: who is alive, until when, and on which connection.
//!
//! A session is tracked from the moment that its creation is proposed, and is part of the committed state from the
//! moment that it is committed. Touching costs O(1): a session lies in one bucket of deadlines, and is filed again only
//! when that bucket comes up.
//!
//! Only a leader has deadlines. A follower notes which sessions it has heard from, for its leader to know
//! ([`Sessions::hear`], [`Sessions::take_heard`]).

mod id;
mod local;
mod owner;
mod password;

pub use id::SessionIds;
pub use local::LocalSessions;
pub use owner::{Connection, LearnerId, Owner, Standing};
pub use password::password;

use engine::ids::SessionId;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

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
    /// A follower has noted it for its leader.
    heard: bool,
    owner: Option<Owner>,
}

impl Session {
    /// One without a deadline.
    fn new(timeout_ms: i32) -> Session {
        Session {
            timeout_ms,
            committed_timeout_ms: None,
            deadline_ms: i64::MAX,
            filed_ms: i64::MAX,
            closing: false,
            heard: false,
            owner: None,
        }
    }
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    tick_ms: i64,
    by_id: HashMap<SessionId, Session, BuildHasherDefault<IdHasher>>,
    buckets: BTreeMap<i64, Vec<SessionId>>,
    committed: usize,
    /// Those with `heard`.
    heard: Vec<SessionId>,
}

impl Sessions {
    /// No sessions. Deadlines are rounded up to multiples of `tick_ms` (`tickTime`), at least 1.
    pub fn new(tick_ms: i64) -> Sessions {
        Sessions {
            tick_ms: tick_ms.max(1),
            by_id: HashMap::default(),
            buckets: BTreeMap::new(),
            committed: 0,
            heard: Vec::new(),
        }
    }

    /// Tracks a session whose creation is proposed.
    pub fn track(&mut self, id: SessionId, timeout_ms: i32, owner: Option<Owner>, mono_ms: i64) {
        let deadline_ms = self.deadline(mono_ms, timeout_ms);
        let session = Session { deadline_ms, filed_ms: deadline_ms, owner, ..Session::new(timeout_ms) };
        self.by_id.insert(id, session);
        self.buckets.entry(deadline_ms).or_default().push(id);
    }

    /// The creation of a session is committed, here or by another leader. Sessions that are not tracked yet are tracked
    /// from [`Self::restart`] on.
    pub fn commit(&mut self, id: SessionId, timeout_ms: i32) {
        let session = self.by_id.entry(id).or_insert(Session::new(timeout_ms));
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

    /// Moves a session's deadline by the timeout that a learner has for it in milliseconds.
    pub fn touch_for(&mut self, id: SessionId, timeout_ms: i32, mono_ms: i64) {
        if let Some(session) = self.by_id.get_mut(&id).filter(|session| !session.closing) {
            session.timeout_ms = timeout_ms;
            self.touch(id, mono_ms);
        }
    }

    /// Judges a request, and touches the session if it is good. A learner becomes the owner of a session that has none.
    /// `from` is `None` for requests of the server's own, which nobody can have overtaken.
    pub fn judge(&mut self, id: SessionId, from: Option<Owner>, mono_ms: i64) -> Standing {
        let Some(session) = self.by_id.get_mut(&id).filter(|session| !session.closing) else { return Standing::Gone };
        match (session.owner, from) {
            (Some(owner), Some(from)) if owner != from => return Standing::Moved,
            (None, Some(from @ Owner::Learner(_))) => session.owner = Some(from),
            _ => {}
        }
        self.touch(id, mono_ms);
        Standing::Good
    }

    /// Renews a session, with a newly negotiated timeout. `Err` if there is none or it is closing, else the owner that
    /// it had before, if that is another.
    pub fn renew(
        &mut self,
        id: SessionId,
        timeout_ms: i32,
        owner: Owner,
        mono_ms: i64,
    ) -> Result<Option<Owner>, UnknownSession> {
        let session = self.by_id.get_mut(&id).filter(|session| !session.closing).ok_or(UnknownSession)?;
        session.timeout_ms = timeout_ms;
        let before = session.owner.replace(owner).filter(|before| *before != owner);
        self.touch(id, mono_ms);
        Ok(before)
    }

    /// A follower's client has the session now, by its leader's word, which may come before its creation is committed
    /// here. Returns the owner before, if that is another.
    pub fn adopt(&mut self, id: SessionId, timeout_ms: i32, connection: Connection) -> Option<Owner> {
        let session = self.by_id.entry(id).or_insert(Session::new(timeout_ms));
        session.timeout_ms = timeout_ms;
        let owner = Owner::Local(connection);
        session.owner.replace(owner).filter(|before| *before != owner)
    }

    /// A follower has heard from the session.
    pub fn hear(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id)
            && !std::mem::replace(&mut session.heard, true)
        {
            self.heard.push(id);
        }
    }

    /// The sessions heard from since the last call, with their timeouts in milliseconds.
    pub fn take_heard(&mut self) -> Vec<(SessionId, i32)> {
        let mut heard = Vec::with_capacity(self.heard.len());
        for id in std::mem::take(&mut self.heard) {
            if let Some(session) = self.by_id.get_mut(&id) {
                session.heard = false;
                heard.push((id, session.timeout_ms));
            }
        }
        heard
    }

    /// A role ends: nobody owns a session, none has a deadline, and those whose creation is not committed are forgotten.
    pub fn lose_role(&mut self) {
        self.buckets.clear();
        self.heard.clear();
        self.by_id.retain(|_, session| session.committed_timeout_ms.is_some());
        for session in self.by_id.values_mut() {
            let timeout_ms = session.committed_timeout_ms.unwrap_or(session.timeout_ms);
            let committed_timeout_ms = session.committed_timeout_ms;
            *session = Session { committed_timeout_ms, ..Session::new(timeout_ms) };
        }
    }

    /// A learner is gone: its sessions have no owner.
    pub fn release(&mut self, learner: LearnerId) {
        for session in self.by_id.values_mut().filter(|session| session.owner == Some(Owner::Learner(learner))) {
            session.owner = None;
        }
    }

    /// The session takes no more requests.
    pub fn close(&mut self, id: SessionId) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.closing = true;
        }
    }

    /// The session's end is committed. Returns who owned it.
    pub fn remove(&mut self, id: SessionId) -> Option<Owner> {
        let session = self.by_id.remove(&id)?;
        self.committed -= usize::from(session.committed_timeout_ms.is_some());
        session.owner
    }

    /// The session's timeout in milliseconds, as negotiated last.
    pub fn timeout_ms(&self, id: SessionId) -> Option<i32> {
        self.by_id.get(&id).map(|session| session.timeout_ms)
    }

    /// Who owns the session, if anybody does.
    pub fn owner(&self, id: SessionId) -> Option<Owner> {
        self.by_id.get(&id)?.owner
    }

    /// A connection is gone.
    pub fn disconnected(&mut self, id: SessionId, connection: Connection) {
        if let Some(session) = self.by_id.get_mut(&id)
            && session.owner == Some(Owner::Local(connection))
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
    use engine::ids::{ConnId, CoreId};
    use proptest::prelude::*;

    const S: SessionId = SessionId(0x0100_0000_0000_0001);

    fn at(slot: u32) -> Connection {
        Connection { core: CoreId(0), conn: ConnId { slot, generation: 0 } }
    }

    fn connection(slot: u32) -> Owner {
        Owner::Local(at(slot))
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
        sessions.disconnected(S, at(1));
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

    #[test]
    fn ownership_is_claimed_moved_and_released() {
        let (one, other) = (Owner::Learner(LearnerId(1)), Owner::Learner(LearnerId(2)));
        let mut sessions = Sessions::new(1000);
        assert_eq!(sessions.judge(S, Some(one), 0), Standing::Gone);
        sessions.commit(S, 4000);
        assert_eq!(sessions.judge(S, Some(connection(1)), 0), Standing::Good);
        assert_eq!(sessions.owner(S), None, "a connection owns what it has opened or renewed");
        assert_eq!(sessions.judge(S, Some(one), 0), Standing::Good);
        assert_eq!(sessions.judge(S, Some(other), 0), Standing::Moved);
        assert_eq!(sessions.judge(S, Some(connection(1)), 0), Standing::Moved);
        assert_eq!(sessions.judge(S, None, 0), Standing::Good);
        assert_eq!(sessions.renew(S, 4000, other, 0), Ok(Some(one)));
        sessions.release(LearnerId(1));
        assert_eq!(sessions.judge(S, Some(one), 0), Standing::Moved);
        sessions.release(LearnerId(2));
        assert_eq!(sessions.judge(S, Some(one), 0), Standing::Good);
        sessions.close(S);
        assert_eq!(sessions.judge(S, Some(one), 0), Standing::Gone);
        assert_eq!(sessions.judge(S, Some(other), 0), Standing::Gone, "expired goes before moved");
    }

    #[test]
    fn a_follower_hears_of_a_session_once_until_it_has_told() {
        let mut sessions = Sessions::new(1000);
        sessions.hear(S);
        assert_eq!(sessions.take_heard(), [], "nobody");
        sessions.commit(S, 4000);
        sessions.hear(S);
        sessions.hear(S);
        assert_eq!(sessions.take_heard(), [(S, 4000)]);
        assert_eq!(sessions.take_heard(), []);
        sessions.hear(S);
        assert_eq!(sessions.adopt(S, 9000, at(1)), None);
        assert_eq!(sessions.adopt(S, 9000, at(2)), Some(connection(1)));
        assert_eq!(sessions.take_heard(), [(S, 9000)]);
        sessions.hear(S);
        sessions.remove(S);
        assert_eq!(sessions.take_heard(), []);
    }

    #[test]
    fn with_the_role_go_owners_deadlines_and_what_is_not_committed() {
        let other = SessionId(9);
        let mut sessions = Sessions::new(1000);
        sessions.track(S, 4000, Some(connection(1)), 0);
        sessions.commit(S, 4000);
        sessions.track(other, 4000, Some(connection(2)), 0);
        sessions.renew(S, 9000, connection(1), 0).unwrap();
        sessions.close(S);
        sessions.lose_role();
        assert_eq!((sessions.contains(S), sessions.contains(other)), (true, false));
        assert_eq!((sessions.owner(S), sessions.next_deadline(), sessions.len()), (None, None, 1));
        sessions.restart(100);
        assert_eq!(sessions.next_deadline(), Some(5000), "the timeout of its creation");
        assert!(sessions.touch(S, 100));
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
