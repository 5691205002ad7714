//! The recent end of the log in memory, and what a learner that lags is served from it.
//!
//! One list for all roles: a follower fills it too, so that it can serve the others the moment it leads. It is contiguous
//! by construction. Transactions leave it at its old end, once they are settled and the list is over its bounds; what is
//! older is read from the log.

mod plan;

pub use plan::{SyncFacts, SyncPlan, choose, log_continues, log_is_worthwhile};

use crate::peer::wire::packet::ProposalFrame;
use engine::zxid::Zxid;
use std::collections::VecDeque;

/// Settled transactions that stay even if they exceed the bytes (ZooKeeper's least `commitLogCount`), up to
/// [`SLACK`] times the bytes.
const ENTRIES_MIN: usize = 500;
const SLACK: usize = 4;
/// What an entry costs besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Why a transaction does not belong at the end of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("transaction {zxid} does not follow {last}")]
pub struct Gap {
    /// The transaction.
    pub zxid: Zxid,
    /// The end of the list.
    pub last: Zxid,
}

/// Whether `next` may follow `last` in a log without holes: the next of the same epoch, or the first of a later one.
pub fn follows(last: Zxid, next: Zxid) -> bool {
    if next.epoch() == last.epoch() { last.next() == Some(next) } else { next > last && next.counter() == 1 }
}

/// The list. See the module's text.
#[derive(Clone, Debug)]
pub struct History {
    /// The transaction before the first entry.
    base: Zxid,
    entries: VecDeque<(Zxid, ProposalFrame)>,
    bytes: usize,
    bytes_max: usize,
}

impl History {
    /// An empty list behind `base`, the end of the log, to hold about `bytes_max` bytes.
    pub fn new(base: Zxid, bytes_max: usize) -> History {
        History { base, entries: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// The last transaction, or the base.
    pub fn last(&self) -> Zxid {
        self.entries.back().map_or(self.base, |(zxid, _)| *zxid)
    }

    /// The transaction before the first entry: what is up to here is not in the list.
    pub fn base(&self) -> Zxid {
        self.base
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the next transaction.
    ///
    /// # Errors
    /// When there would be a hole.
    pub fn push(&mut self, zxid: Zxid, frame: ProposalFrame) -> Result<(), Gap> {
        let last = self.last();
        if !follows(last, zxid) {
            return Err(Gap { zxid, last });
        }
        self.append(zxid, frame);
        Ok(())
    }

    /// Appends a transaction without looking at the one before.
    pub(in crate::peer) fn append(&mut self, zxid: Zxid, frame: ProposalFrame) {
        self.bytes += cost(&frame);
        self.entries.push_back((zxid, frame));
    }

    /// Everything up to here may leave the list: nobody waits for it any more.
    pub fn settle(&mut self, upto: Zxid) {
        while self.bytes > self.bytes_max
            && let Some((zxid, _)) = self.entries.front()
            && *zxid <= upto
            && (self.entries.len() > ENTRIES_MIN || self.bytes > SLACK * self.bytes_max)
            && let Some((zxid, frame)) = self.entries.pop_front()
        {
            self.bytes -= cost(&frame);
            self.base = zxid;
        }
    }

    /// Drops everything behind `after` (TRUNC).
    pub fn truncate(&mut self, after: Zxid) {
        while let Some((_, frame)) = self.entries.pop_back_if(|(zxid, _)| *zxid > after) {
            self.bytes -= cost(&frame);
        }
        self.base = self.base.min(after);
    }

    /// Begins anew behind `base` (a snapshot).
    pub fn reset(&mut self, base: Zxid) {
        *self = History::new(base, self.bytes_max);
    }

    /// The transaction with this zxid.
    pub fn get(&self, zxid: Zxid) -> Option<&ProposalFrame> {
        let at = self.entries.binary_search_by_key(&zxid, |(zxid, _)| *zxid).ok()?;
        self.entries.get(at).map(|(_, frame)| frame)
    }

    /// Whether the list holds everything behind `after`.
    pub fn reaches_back_to(&self, after: Zxid) -> bool {
        after >= self.base
    }

    /// The transactions in `(after, upto]`.
    pub fn range(&self, after: Zxid, upto: Zxid) -> impl Iterator<Item = (Zxid, &ProposalFrame)> {
        let from = self.entries.partition_point(|(zxid, _)| *zxid <= after);
        let to = self.entries.partition_point(|(zxid, _)| *zxid <= upto).max(from);
        self.entries.range(from..to).map(|(zxid, frame)| (*zxid, frame))
    }

    /// The largest zxid below `zxid`, and the smallest above it, among the entries up to `upto`.
    pub(super) fn around(&self, zxid: Zxid, upto: Zxid) -> (Option<Zxid>, Option<Zxid>) {
        let below = self.entries.partition_point(|(entry, _)| *entry < zxid);
        let above = self.entries.partition_point(|(entry, _)| *entry <= zxid);
        let at = |index: usize| self.entries.get(index).map(|(zxid, _)| *zxid);
        (below.checked_sub(1).and_then(at), at(above).filter(|above| *above <= upto))
    }
}

fn cost(frame: &ProposalFrame) -> usize {
    frame.bytes() + ENTRY_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn frame(zxid: Zxid) -> ProposalFrame {
        ProposalFrame::new(zxid, &[0; 36])
    }

    fn filled(count: u32, bytes_max: usize) -> History {
        let mut history = History::new(Zxid::ZERO, bytes_max);
        for counter in 1..=count {
            history.push(Zxid::new(1, counter), frame(Zxid::new(1, counter))).expect("in order");
        }
        history
    }

    #[test]
    fn there_are_no_holes() {
        let mut history = filled(3, 1 << 20);
        for wrong in [Zxid::new(1, 3), Zxid::new(1, 5), Zxid::new(2, 0), Zxid::new(2, 2), Zxid::ZERO] {
            let refused = history.push(wrong, frame(wrong));
            assert_eq!(refused, Err(Gap { zxid: wrong, last: Zxid::new(1, 3) }));
        }
        history.push(Zxid::new(4, 1), frame(Zxid::new(4, 1))).expect("the first of an epoch");
        assert_eq!(history.last(), Zxid::new(4, 1));
        assert!(!follows(Zxid::new(1, Zxid::LAST_COUNTER), Zxid::new(1, u32::MAX)));
    }

    #[test]
    fn only_what_is_settled_leaves_and_the_newest_stay() {
        let each = cost(&frame(Zxid::ZERO));
        let mut history = filled(2000, 600 * each);
        history.settle(Zxid::new(1, 700));
        assert_eq!(history.base(), Zxid::new(1, 700));
        history.settle(Zxid::new(1, 2000));
        assert_eq!((history.base(), history.last()), (Zxid::new(1, 1400), Zxid::new(1, 2000)));
        assert_eq!(history.bytes(), 600 * each);

        let mut small = filled(2000, 100 * each);
        small.settle(Zxid::new(1, 2000));
        assert_eq!(small.base(), Zxid::new(1, 1600), "500 stay only within four times the bytes");
        let mut smaller = filled(2000, 250 * each);
        smaller.settle(Zxid::new(1, 2000));
        assert_eq!(smaller.base(), Zxid::new(1, 1500));
    }

    #[test]
    fn a_cut_and_a_fresh_start() {
        let mut history = filled(10, 1 << 20);
        history.truncate(Zxid::new(1, 4));
        assert_eq!(history.last(), Zxid::new(1, 4));
        assert_eq!(history.range(Zxid::new(1, 2), Zxid::new(9, 9)).count(), 2);
        assert!(history.get(Zxid::new(1, 4)).is_some() && history.get(Zxid::new(1, 5)).is_none());
        history.reset(Zxid::new(3, 7));
        assert_eq!((history.base(), history.last(), history.bytes()), (Zxid::new(3, 7), Zxid::new(3, 7), 0));
    }
}
