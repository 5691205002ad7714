//! Connections as TCP has them: bytes arrive in order and whole, cut anywhere, after any delay; connections break, and
//! take what is under way with them; what a partition blocks arrives later, or the connection breaks.

use super::dice::Dice;
use crate::peer::links::LinkId;
use std::collections::{BTreeMap, BTreeSet};

/// Something that reaches a server.
#[derive(Clone, Debug)]
pub enum Arrival {
    Accepted {
        link: LinkId,
    },
    Connected {
        link: LinkId,
        sid: i64,
    },
    ConnectFailed {
        sid: i64,
    },
    Bytes {
        link: LinkId,
        bytes: Vec<u8>,
    },
    Written {
        link: LinkId,
    },
    Closed {
        link: LinkId,
    },
    /// Time for the server's own timers, and for the model around it.
    Wake,
}

/// An end of a connection.
#[derive(Clone, Copy, Debug)]
struct End {
    here: i64,
    there: i64,
    peer: LinkId,
    /// When the last bytes from here arrive over there.
    last_ms: i64,
}

/// The network and the queue of what is to come.
#[derive(Debug)]
pub struct Network {
    pub dice: Dice,
    pub now_ms: i64,
    queue: BTreeMap<(i64, u64), (i64, Arrival)>,
    next: u64,
    ends: BTreeMap<LinkId, End>,
    /// Directions that nothing passes.
    blocked: BTreeSet<(i64, i64)>,
    pub delay_max_ms: u64,
}

impl Network {
    pub fn new(dice: Dice) -> Network {
        Network {
            dice,
            now_ms: 0,
            queue: BTreeMap::new(),
            next: 0,
            ends: BTreeMap::new(),
            blocked: BTreeSet::new(),
            delay_max_ms: 5,
        }
    }

    /// The next arrival that is due until `until_ms`; time goes on to it.
    pub fn next(&mut self, until_ms: i64) -> Option<(i64, Arrival)> {
        loop {
            let (&(at_ms, _), _) = self.queue.first_key_value()?;
            if at_ms > until_ms {
                self.now_ms = until_ms;
                return None;
            }
            let (_, (to, arrival)) = self.queue.pop_first()?;
            self.now_ms = self.now_ms.max(at_ms);
            match arrival {
                Arrival::Bytes { link, bytes } => {
                    // A connection that is gone, or stands still for a while.
                    let Some(end) = self.ends.get(&link).copied() else { continue };
                    if self.blocked.contains(&(end.there, end.here)) {
                        self.hold(to, link, bytes);
                        continue;
                    }
                    return Some((to, Arrival::Bytes { link, bytes }));
                }
                Arrival::Closed { link } if self.ends.remove(&link).is_none() => {}
                // Broken before its end here was ever known.
                Arrival::Accepted { link } if !self.ends.contains_key(&link) => {}
                Arrival::Connected { link, sid } if !self.ends.contains_key(&link) => {
                    return Some((to, Arrival::ConnectFailed { sid }));
                }
                other => return Some((to, other)),
            }
        }
    }

    pub fn put(&mut self, to: i64, after_ms: i64, arrival: Arrival) {
        self.queue.insert((self.now_ms + after_ms, self.next), (to, arrival));
        self.next += 1;
    }

    fn delay(&mut self) -> i64 {
        self.dice.below(self.delay_max_ms + 1) as i64
    }

    /// A blocked segment: everything behind it waits too, since arrivals of a connection keep their order.
    fn hold(&mut self, to: i64, link: LinkId, bytes: Vec<u8>) {
        if self.dice.chance(10) {
            self.break_link(link);
            return;
        }
        let later: Vec<_> = self
            .queue
            .iter()
            .filter(|(_, (_, arrival))| {
                matches!(arrival, Arrival::Bytes { link: other, .. } | Arrival::Closed { link: other } if *other == link)
            })
            .map(|(key, _)| *key)
            .collect();
        let mut moved = vec![(to, Arrival::Bytes { link, bytes })];
        moved.extend(later.iter().filter_map(|key| self.queue.remove(key)));
        for (to, arrival) in moved {
            self.put(to, 200, arrival);
        }
        if let Some(peer) = self.ends.get(&link).map(|end| end.peer)
            && let Some(end) = self.ends.get_mut(&peer)
        {
            end.last_ms = end.last_ms.max(self.now_ms + 200);
        }
    }

    /// `reachable`: somebody listens there.
    pub fn connect(&mut self, from: i64, to: i64, reachable: bool) {
        if self.is_blocked(from, to) {
            let timeout_ms = 5_000;
            return self.put(from, timeout_ms, Arrival::ConnectFailed { sid: to });
        }
        if !reachable {
            let delay = self.delay();
            return self.put(from, delay, Arrival::ConnectFailed { sid: to });
        }
        let (near, far) = (LinkId(self.next), LinkId(self.next + 1));
        self.next += 2;
        let accepted_ms = self.delay();
        let last_ms = self.now_ms + accepted_ms;
        self.ends.insert(near, End { here: from, there: to, peer: far, last_ms });
        self.ends.insert(far, End { here: to, there: from, peer: near, last_ms });
        self.put(to, accepted_ms, Arrival::Accepted { link: far });
        let connected_ms = accepted_ms + self.delay();
        self.put(from, connected_ms, Arrival::Connected { link: near, sid: to });
        if let Some(end) = self.ends.get_mut(&far) {
            end.last_ms = self.now_ms + connected_ms;
        }
    }

    pub fn write(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(end) = self.ends.get(&link).copied() else { return };
        let mut rest = bytes;
        let mut at_ms = end.last_ms.max(self.now_ms);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(1 + self.dice.below(rest.len() as u64) as usize);
            rest = behind;
            at_ms += self.delay();
            self.put(end.there, at_ms - self.now_ms, Arrival::Bytes { link: end.peer, bytes: piece.to_vec() });
        }
        let written_ms = self.delay();
        self.put(end.here, written_ms, Arrival::Written { link });
        if let Some(end) = self.ends.get_mut(&link) {
            end.last_ms = at_ms;
        }
    }

    /// An orderly end: the other side hears of it behind the last bytes.
    pub fn close(&mut self, link: LinkId) {
        if let Some(end) = self.ends.remove(&link) {
            let after_ms = end.last_ms.max(self.now_ms) - self.now_ms + self.delay();
            self.put(end.there, after_ms, Arrival::Closed { link: end.peer });
        }
    }

    fn break_link(&mut self, link: LinkId) {
        let Some(end) = self.ends.get(&link).copied() else { return };
        let lost = |arrival: &Arrival| matches!(arrival, Arrival::Bytes { link: other, .. } if *other == link || *other == end.peer);
        self.queue.retain(|_, (_, arrival)| !lost(arrival));
        for (to, link) in [(end.here, link), (end.there, end.peer)] {
            let after_ms = self.delay();
            self.put(to, after_ms, Arrival::Closed { link });
        }
    }

    pub fn break_any(&mut self) {
        let links: Vec<_> = self.ends.keys().copied().collect();
        if let Some(link) = self.dice.pick(&links) {
            self.break_link(link);
        }
    }

    /// A server is gone: its connections end, and nothing reaches it any more.
    pub fn crash(&mut self, sid: i64) {
        let links: Vec<_> = self.ends.iter().filter(|(_, end)| end.here == sid).map(|(link, _)| *link).collect();
        for link in links {
            self.break_link(link);
            self.ends.remove(&link);
        }
        self.queue.retain(|_, (to, arrival)| *to != sid || matches!(arrival, Arrival::Wake));
    }

    pub fn block(&mut self, from: i64, to: i64) {
        self.blocked.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    /// Whether two servers cannot talk in both directions.
    pub fn is_blocked(&self, one: i64, other: i64) -> bool {
        self.blocked.contains(&(one, other)) || self.blocked.contains(&(other, one))
    }
}
