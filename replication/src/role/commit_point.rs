//! Up to where transactions may take effect here.

use crate::wal::Durable;
use engine::zxid::Zxid;

/// What is decided (by a quorum, as its leader says) and what is on this server's own disk. Nothing takes effect before
/// it is both: otherwise memory could be ahead of a disk that fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitPoint {
    durable: Zxid,
    decided: Zxid,
    /// An ensemble of one: what is durable is decided.
    alone: bool,
}

impl CommitPoint {
    /// Everything up to `zxid` has taken effect.
    pub fn at(zxid: Zxid) -> CommitPoint {
        CommitPoint { durable: Zxid::ZERO, decided: zxid, alone: false }
    }

    /// This server decides alone from now on.
    pub fn decide_alone(&mut self) {
        self.alone = true;
    }

    /// The own log holds everything up to `zxid`.
    pub fn durable_here(&mut self, zxid: Durable<Zxid>) {
        self.durable = zxid.get().max(self.durable);
        if self.alone {
            self.decided = self.durable.max(self.decided);
        }
    }

    /// A quorum has decided everything up to `zxid`. What has been decided stays so, whoever leads.
    pub fn decide(&mut self, zxid: Zxid) {
        self.decided = zxid.max(self.decided);
    }

    /// The log holds nothing behind `zxid` any more.
    pub fn truncate(&mut self, zxid: Zxid) {
        self.durable = zxid.min(self.durable);
    }

    /// The last decided transaction.
    pub fn decided(&self) -> Zxid {
        self.decided
    }

    /// The last transaction that may take effect.
    pub fn ready(&self) -> Zxid {
        self.decided.min(self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable(zxid: u64) -> Durable<Zxid> {
        Durable::assume(Zxid(zxid))
    }

    #[test]
    fn one_server_decides_by_its_own_disk() {
        let mut point = CommitPoint::at(Zxid(3));
        point.decide_alone();
        assert_eq!(point.ready(), Zxid::ZERO);
        point.durable_here(durable(7));
        point.durable_here(durable(5));
        assert_eq!((point.ready(), point.decided()), (Zxid(7), Zxid(7)));
    }

    #[test]
    fn both_the_quorum_and_the_own_disk_hold_back() {
        let mut point = CommitPoint::at(Zxid::ZERO);
        point.decide(Zxid(5));
        assert_eq!(point.ready(), Zxid::ZERO);
        point.durable_here(durable(4));
        assert_eq!(point.ready(), Zxid(4));
        point.durable_here(durable(9));
        assert_eq!(point.ready(), Zxid(5));
        point.truncate(Zxid(6));
        point.decide(Zxid(8));
        assert_eq!(point.ready(), Zxid(6), "what is cut off is durable no more");
    }
}
