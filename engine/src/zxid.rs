//! The transaction id: one 64-bit number, high half the epoch of the leader that issued it, low half its counter.

use std::fmt;

/// Place of a transaction in the one total order. Bit-compatible with ZooKeeper's `long zxid`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zxid(pub u64);

impl Zxid {
    /// Before every transaction.
    pub const ZERO: Zxid = Zxid(0);
    /// The last counter that a leader may propose in one epoch; the next one belongs to the next epoch
    /// (ZOOKEEPER-1277).
    pub const LAST_COUNTER: u32 = 0xFFFF_FFFE;

    /// Puts a zxid together.
    pub const fn new(epoch: u32, counter: u32) -> Zxid {
        Zxid((epoch as u64) << 32 | counter as u64)
    }

    /// Epoch of the leader that issued it.
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Position within its epoch, from 1.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid of the same epoch, or `None` when the counter has run out.
    pub const fn next(self) -> Option<Zxid> {
        if self.counter() >= Self::LAST_COUNTER { None } else { Some(Zxid(self.0 + 1)) }
    }

    /// The signed form that travels in jute.
    pub const fn to_wire(self) -> i64 {
        self.0 as i64
    }

    /// From the signed form that travels in jute.
    pub const fn from_wire(raw: i64) -> Zxid {
        Zxid(raw as u64)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_joins() {
        let zxid = Zxid::new(3, 7);
        assert_eq!((zxid.epoch(), zxid.counter()), (3, 7));
        assert_eq!(zxid.next(), Some(Zxid::new(3, 8)));
        assert_eq!(Zxid::from_wire(zxid.to_wire()), zxid);
    }

    #[test]
    fn the_counter_ends_before_it_wraps() {
        assert_eq!(Zxid::new(1, Zxid::LAST_COUNTER).next(), None);
        assert_eq!(Zxid::new(1, Zxid::LAST_COUNTER - 1).next(), Some(Zxid::new(1, Zxid::LAST_COUNTER)));
    }
}
