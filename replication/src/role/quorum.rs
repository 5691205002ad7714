//! Which proposals are on enough disks.

use engine::zxid::Zxid;

/// Per voter the zxid up to which its log holds every proposal. The own log is a voter like the others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quorum {
    own: usize,
    marks: Vec<Zxid>,
}

impl Quorum {
    /// An ensemble of one, whose log ends at `durable`.
    pub fn alone(durable: Zxid) -> Quorum {
        Quorum { own: 0, marks: vec![durable] }
    }

    /// The own log holds everything up to `zxid`.
    pub fn durable_here(&mut self, zxid: Zxid) {
        let own = &mut self.marks[self.own];
        *own = zxid.max(*own);
    }

    /// The last zxid that a majority holds and that is durable here: nothing is applied or answered that this server
    /// itself could lose.
    pub fn committed(&self) -> Zxid {
        let own = self.marks[self.own];
        let enough = |zxid: &Zxid| self.marks.iter().filter(|mark| *mark >= zxid).count() > self.marks.len() / 2;
        self.marks.iter().copied().filter(enough).max().map_or(Zxid::ZERO, |quorum| quorum.min(own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(own: usize, marks: &[u64]) -> u64 {
        Quorum { own, marks: marks.iter().map(|mark| Zxid(*mark)).collect() }.committed().0
    }

    #[test]
    fn one_server_is_its_own_majority() {
        let mut quorum = Quorum::alone(Zxid(3));
        assert_eq!(quorum.committed(), Zxid(3));
        quorum.durable_here(Zxid(7));
        quorum.durable_here(Zxid(5));
        assert_eq!(quorum.committed(), Zxid(7));
    }

    #[test]
    fn a_majority_decides_and_the_own_disk_holds_back() {
        assert_eq!(committed(0, &[9, 5, 1]), 5);
        assert_eq!(committed(2, &[9, 5, 1]), 1);
        assert_eq!(committed(0, &[9, 5]), 5, "two of two");
        assert_eq!(committed(0, &[9, 8, 7, 6, 5]), 7);
        assert_eq!(committed(0, &[4, 4, 0]), 4);
    }
}
