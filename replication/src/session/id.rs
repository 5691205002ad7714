//! Session ids (`SessionTrackerImpl.initializeNextSessionId`).

use engine::ids::SessionId;
use engine::node_owner::NodeOwner;

/// Hands out ids: the server's id in the top byte, five bytes of a clock at the start of the run, then a count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionIds {
    server: u8,
    next: i64,
}

impl SessionIds {
    /// Ids of this server that come after every one that `seen` was told of.
    pub fn new(server: u8, next: i64) -> SessionIds {
        SessionIds { server, next }
    }

    /// A run begins. The clock is the wall's, since a monotonic one starts again with the machine and would repeat ids;
    /// where it has gone back, ids go on behind the last ones.
    pub fn start(&mut self, wall_ms: i64) {
        let by_clock = ((wall_ms as u64) << 24 >> 8) as i64 | i64::from(self.server) << 56;
        self.next = if self.is_own(self.next) { self.next.max(by_clock) } else { by_clock };
    }

    /// A session with this id exists or has existed.
    pub fn seen(&mut self, id: SessionId) {
        if self.is_own(id.0) && (!self.is_own(self.next) || id.0 >= self.next) {
            self.next = id.0.wrapping_add(1);
        }
    }

    /// An id that `taken` does not know.
    pub fn allot(&mut self, taken: impl Fn(SessionId) -> bool) -> SessionId {
        loop {
            let id = SessionId(self.next);
            self.next = self.next.wrapping_add(1);
            if id != SessionId::NONE && id.0 != NodeOwner::CONTAINER.0 && !taken(id) {
                return id;
            }
        }
    }

    /// Where to go on after a restart.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// Whether an id is one of this server's.
    pub fn is_own(&self, id: i64) -> bool {
        (id as u64 >> 56) as u8 == self.server && id as u64 & 0x00FF_FFFF_FFFF_FFFF != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_server_and_clock() {
        let mut ids = SessionIds::new(1, 0);
        ids.start(0x0190_1234_5678);
        let id = ids.allot(|_| false);
        assert_eq!(id, SessionId(0x0190_1234_5678_0000_u64 as i64 & 0x00FF_FFFF_FFFF_FFFF | 1 << 56));
        assert_eq!(ids.allot(|_| false).0, id.0 + 1);
        assert_eq!(ids.allot(|taken| taken.0 == id.0 + 2).0, id.0 + 3);
    }

    #[test]
    fn a_clock_that_went_back_repeats_nothing() {
        let mut ids = SessionIds::new(1, 0);
        ids.start(5000);
        let last = ids.allot(|_| false);
        let mut again = SessionIds::new(1, 0);
        again.seen(last);
        again.start(4000);
        assert!(again.allot(|_| false) > last);
        again.seen(SessionId(2 << 56 | 5));
        assert_eq!(again.next() >> 56, 1, "ids of another server are its own affair");
    }

    #[test]
    fn the_mark_of_containers_is_skipped() {
        let mut ids = SessionIds::new(0x80, i64::MIN);
        assert_eq!(ids.allot(|_| false), SessionId(i64::MIN + 1));
    }
}
