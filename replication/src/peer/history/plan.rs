//! How a learner is brought to the leader's history (`LearnerHandler.syncFollower`), as a table over a few facts.
//!
//! ```text
//! P: end of the learner's log   D: end of what the leader serves as history   list: its recent entries, up to D
//!
//! | when (first that fits)                                     | then                                              |
//! |------------------------------------------------------------|---------------------------------------------------|
//! | snapshots are forced, or P is -1 (no data)                 | SNAP                                              |
//! | P is D                                                     | DIFF, nothing else                                |
//! | P is of an epoch whose history may not be the leader's     | SNAP                                              |
//! | P is behind the list, and a transaction's                  | TRUNC to the end of the list                      |
//! | P is in the list, or just before its first entry           | DIFF                                              |
//! | P is within the list, not in it, but an epoch's zero       | DIFF                                              |
//! | P is within the list, not in it, the next of the same epoch| TRUNC to the one before, if that is of it too     |
//! | P is before the list, and the log on disk reaches there    | read the log; DIFF if P proves to be in it        |
//! | anything else                                              | SNAP                                              |
//! ```
//!
//! The third row is stricter than Java, which cuts such a learner back to a transaction that it may never have had. It
//! rests on this: a server whose current epoch was at least that of P has taken the initial history of P's epoch in
//! full, so whatever it has of lower epochs is what the learner has.

use super::{History, follows};
use engine::zxid::Zxid;

/// What the choice depends on, besides the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SyncFacts {
    /// End of the learner's log, as it says in ACKEPOCH.
    pub learner_last: Zxid,
    /// End of the history to bring it to: committed, or of the leader's initial history.
    pub served: Zxid,
    /// The epoch being led.
    pub epoch: u32,
    /// Whether that epoch is established: its zero then means the same as `served` while nothing was proposed.
    pub established: bool,
    /// The leader's current epoch before it began to lead.
    pub former_epoch: u32,
    /// The log on disk holds everything behind this zxid; `None` if it shall not be read.
    pub log_base: Option<Zxid>,
    /// Always SNAP (`zookeeper.forceSnapshotSync`).
    pub force_snapshot: bool,
}

/// What is sent first, and where the entries behind it begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPlan {
    /// DIFF, then the list's entries behind `after`.
    Diff {
        /// The learner's last.
        after: Zxid,
    },
    /// TRUNC to `to`, then the list's entries behind it.
    Trunc {
        /// The last one that the learner keeps.
        to: Zxid,
    },
    /// To be read from the log, from the first entry behind `after`. If [`log_continues`] with that entry: DIFF, and the
    /// entries behind the learner's last. Otherwise SNAP.
    Log {
        /// Where to begin reading.
        after: Zxid,
    },
    /// A snapshot.
    Snap,
}

/// Chooses by the table in the module's text.
pub fn choose(facts: &SyncFacts, list: &History) -> SyncPlan {
    let last = facts.learner_last;
    if facts.force_snapshot || last.to_wire() < 0 {
        return SyncPlan::Snap;
    }
    let established_zero = facts.established && facts.served.epoch() < facts.epoch;
    if last == facts.served || (established_zero && last == Zxid::new(facts.epoch, 0)) {
        return SyncPlan::Diff { after: last };
    }
    if last.epoch() > facts.former_epoch && last.epoch() != facts.epoch {
        return SyncPlan::Snap;
    }
    let epoch_zero = last.counter() == 0;
    if last > facts.served && !epoch_zero {
        return if facts.served.counter() == 0 { SyncPlan::Snap } else { SyncPlan::Trunc { to: facts.served } };
    }
    if list.reaches_back_to(last) && last < facts.served {
        if last == list.base() || list.get(last).is_some() || epoch_zero {
            return SyncPlan::Diff { after: last };
        }
        return match list.around(last, facts.served) {
            (Some(below), Some(above)) if above.epoch() == last.epoch() && below.epoch() == last.epoch() => {
                SyncPlan::Trunc { to: below }
            }
            _ => SyncPlan::Snap,
        };
    }
    match facts.log_base {
        Some(base) if last < list.base() && base <= last => {
            let inclusive = last > base && !epoch_zero;
            SyncPlan::Log { after: if inclusive { Zxid(last.0 - 1) } else { last } }
        }
        _ => SyncPlan::Snap,
    }
}

/// Whether the first entry that [`SyncPlan::Log`] read proves that the log goes on where the learner's ends: it is the
/// learner's last, or, where reading began behind that one, its successor.
pub fn log_continues(learner_last: Zxid, read_after: Zxid, first: Zxid) -> bool {
    first == learner_last || (read_after == learner_last && follows(learner_last, first))
}

/// A log of so many bytes is sent without looking at the snapshot: either takes a moment only, and the log leaves what the
/// learner has as it is. ZooKeeper's log files have this size.
const LOG_BYTES_ALWAYS: u64 = 64 << 20;

/// Whether a learner is better served by so much of the log on disk than by a snapshot of about `snapshot_bytes`: if the
/// log is at most `share` of it (`zookeeper.snapshotSizeFactor`), always with a share of 0, never with one below.
pub fn log_is_worthwhile(log_bytes: u64, snapshot_bytes: u64, share: f64) -> bool {
    if share <= 0.0 {
        return share == 0.0;
    }
    log_bytes <= LOG_BYTES_ALWAYS || log_bytes as f64 <= snapshot_bytes as f64 * share
}

#[cfg(test)]
mod tests {
    use super::super::tests::frame;
    use super::*;

    /// A small world of epochs: each begins with some history of an earlier one, and its leader proposes up to
    /// [`PROPOSED`] transactions. Every log that a server can have is some epoch's beginning and a part of its proposals.
    /// An epoch that proposed anything was established, and then every later one goes through it; so if the third does
    /// not begin with the second, the second proposed nothing, though a server may have taken its beginning.
    const PROPOSED: u32 = 2;

    /// Per epoch from 1: the epoch and the count of its proposals with which it begins.
    type World = [(u32, u32); 3];

    fn worlds() -> Vec<World> {
        let counts = || 0..=PROPOSED;
        let mut all = Vec::new();
        for second in counts().map(|count| (1, count)) {
            let thirds = [1, 2].into_iter().flat_map(|from| counts().map(move |count| (from, count)));
            all.extend(thirds.map(|third| [(0, 0), second, third]));
        }
        all
    }

    fn proposed(world: &World, epoch: u32) -> bool {
        epoch != 2 || world[2].0 == 2
    }

    fn log(world: &World, epoch: u32, count: u32) -> Vec<Zxid> {
        let Some(index) = epoch.checked_sub(1) else { return Vec::new() };
        let (from, part) = world[index as usize];
        let mut log = log(world, from, part);
        log.extend((1..=count).map(|counter| Zxid::new(epoch, counter)));
        log
    }

    fn prefix(log: &[Zxid], upto: Zxid) -> Vec<Zxid> {
        log.iter().copied().filter(|zxid| *zxid <= upto).collect()
    }

    /// What the learner has after the plan; `None` for a snapshot.
    fn carry_out(
        plan: SyncPlan,
        facts: &SyncFacts,
        list: &History,
        leader: &[Zxid],
        learner: &[Zxid],
    ) -> Option<Vec<Zxid>> {
        let mut result = learner.to_vec();
        let after = match plan {
            SyncPlan::Snap => return None,
            SyncPlan::Diff { after } => after,
            SyncPlan::Trunc { to } => {
                assert!(learner.contains(&to), "cut to {to}, which the learner lacks: {facts:?}");
                assert!(leader.contains(&to));
                result.retain(|zxid| *zxid <= to);
                to
            }
            SyncPlan::Log { after } => {
                let on_disk: Vec<Zxid> =
                    leader.iter().copied().filter(|zxid| *zxid > after && *zxid <= facts.served).collect();
                assert!(facts.log_base.is_some_and(|base| base <= after));
                let first = *on_disk.first()?;
                if !log_continues(facts.learner_last, after, first) {
                    return None;
                }
                result.extend(on_disk.into_iter().filter(|zxid| *zxid > facts.learner_last));
                return Some(result);
            }
        };
        assert!(list.reaches_back_to(after) || after == facts.served, "{plan:?} cannot be served: {facts:?}");
        result.extend(list.range(after, facts.served).map(|(zxid, _)| zxid));
        Some(result)
    }

    #[test]
    fn whatever_is_chosen_ends_in_the_leaders_history() {
        let (mut diffs, mut cuts, mut logs, mut snaps) = (0, 0, 0, 0);
        for world in worlds() {
            for (former, part, own, established) in leaders(&world) {
                let mut leader = log(&world, former, part);
                let initial_end = leader.last().copied().unwrap_or_default();
                leader.extend((1..=own).map(|counter| Zxid::new(4, counter)));
                let ends = leader.iter().copied().chain([Zxid::ZERO]).filter(|end| *end >= initial_end);
                for served in ends.filter(|end| established || *end == initial_end) {
                    let bases: Vec<Zxid> =
                        leader.iter().copied().chain([Zxid::ZERO]).filter(|base| *base <= served).collect();
                    for &base in &bases {
                        let mut list = History::new(base, 1 << 20);
                        leader.iter().filter(|zxid| **zxid > base).for_each(|zxid| list.append(*zxid, frame(*zxid)));
                        let log_bases = bases.iter().copied().filter(|log_base| *log_base <= base).map(Some);
                        for log_base in log_bases.chain([None]) {
                            for (epoch, count) in learners(&world, own) {
                                let learner = if epoch == 4 {
                                    let initial = leader.iter().copied().filter(|zxid| *zxid <= initial_end);
                                    initial.chain((1..=count).map(|counter| Zxid::new(4, counter))).collect()
                                } else {
                                    log(&world, epoch, count)
                                };
                                let learner_last = learner.last().copied().unwrap_or_default();
                                let facts = SyncFacts {
                                    learner_last,
                                    served,
                                    epoch: 4,
                                    established,
                                    former_epoch: former,
                                    log_base,
                                    force_snapshot: false,
                                };
                                let plan = choose(&facts, &list);
                                match plan {
                                    SyncPlan::Diff { .. } => diffs += 1,
                                    SyncPlan::Trunc { .. } => cuts += 1,
                                    SyncPlan::Log { .. } => logs += 1,
                                    SyncPlan::Snap => snaps += 1,
                                }
                                let wanted = prefix(&leader, served);
                                match carry_out(plan, &facts, &list, &leader, &learner) {
                                    Some(result) => assert_eq!(result, wanted, "{plan:?} {facts:?} {learner:?}"),
                                    None => {
                                        let known = learner_last == served || list.reaches_back_to(learner_last);
                                        assert!(
                                            !(known && wanted.starts_with(&learner)),
                                            "a snapshot where the list would do: {facts:?} {learner:?}"
                                        );
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(diffs > 1000 && cuts > 1000 && logs > 1000 && snaps > 1000, "{diffs} {cuts} {logs} {snaps}");
    }

    /// Former epoch, part of its proposals, own proposals, whether established.
    fn leaders(world: &World) -> impl Iterator<Item = (u32, u32, u32, bool)> {
        let before = (0..=3_u32).flat_map(|former| (0..=PROPOSED).map(move |part| (former, part)));
        let before = before.filter(|(former, part)| *part == 0 || (*former > 0 && proposed(world, *former)));
        before.flat_map(|(former, part)| {
            std::iter::once((former, part, 0, false)).chain((0..=2).map(move |own| (former, part, own, true)))
        })
    }

    fn learners(world: &World, own: u32) -> impl Iterator<Item = (u32, u32)> {
        let former = (1..=3).filter(|epoch| proposed(world, *epoch));
        let former = former.flat_map(|epoch| (1..=PROPOSED).map(move |count| (epoch, count)));
        std::iter::once((0, 0)).chain(former).chain((1..=own).map(|count| (4, count)))
    }

    fn facts(learner_last: Zxid, served: Zxid) -> SyncFacts {
        SyncFacts {
            learner_last,
            served,
            epoch: 4,
            established: true,
            former_epoch: 3,
            log_base: None,
            force_snapshot: false,
        }
    }

    fn list(base: Zxid, entries: &[Zxid]) -> History {
        let mut list = History::new(base, 1 << 20);
        entries.iter().for_each(|zxid| list.append(*zxid, frame(*zxid)));
        list
    }

    /// `LearnerHandlerTest.testNewEpochZxid` and its kin: what a Java server names that has led and proposed nothing.
    #[test]
    fn the_zero_of_an_epoch_is_no_transaction() {
        let entries = [Zxid::new(2, 1), Zxid::new(2, 2), Zxid::new(4, 1)];
        let list = list(Zxid::new(1, 9), &entries);
        let served = Zxid::new(4, 1);
        let zero = Zxid::new(4, 0);
        assert_eq!(choose(&facts(zero, served), &list), SyncPlan::Diff { after: zero });
        let zero = Zxid::new(3, 0);
        assert_eq!(choose(&facts(zero, served), &list), SyncPlan::Diff { after: zero });
        assert_eq!(choose(&facts(Zxid::new(5, 0), served), &list), SyncPlan::Snap, "never TRUNC for it");

        let before = Zxid::new(2, 2);
        let zero = Zxid::new(4, 0);
        assert_eq!(choose(&facts(zero, before), &list), SyncPlan::Diff { after: zero }, "nothing proposed yet");
        let unestablished = SyncFacts { established: false, ..facts(Zxid::new(3, 0), before) };
        assert_eq!(choose(&unestablished, &list), SyncPlan::Snap);
    }

    /// `LearnerHandlerTest.testCrossEpochTrunc`, `testEmptyCommittedLog`.
    #[test]
    fn nobody_is_cut_across_an_epoch_or_to_nothing() {
        let entries = [Zxid::new(1, 1), Zxid::new(1, 2), Zxid::new(3, 1)];
        let across = list(Zxid::ZERO, &entries);
        assert_eq!(choose(&facts(Zxid::new(1, 3), Zxid::new(3, 1)), &across), SyncPlan::Snap);
        assert_eq!(choose(&facts(Zxid::new(2, 1), Zxid::new(3, 1)), &across), SyncPlan::Snap);
        let empty = list(Zxid::new(2, 5), &[]);
        assert_eq!(choose(&facts(Zxid::new(1, 3), Zxid::new(2, 5)), &empty), SyncPlan::Snap);
        assert_eq!(choose(&facts(Zxid::new(2, 7), Zxid::new(2, 5)), &empty), SyncPlan::Trunc { to: Zxid::new(2, 5) });
        let fresh = list(Zxid::ZERO, &[]);
        assert_eq!(choose(&facts(Zxid::new(2, 7), Zxid::ZERO), &fresh), SyncPlan::Snap);
        assert_eq!(choose(&facts(Zxid::ZERO, Zxid::ZERO), &fresh), SyncPlan::Diff { after: Zxid::ZERO });
    }

    /// `LearnerHandlerTest.testTxnLogGap`: a list of a Java server may have holes; then the one before is kept.
    #[test]
    fn a_hole_within_an_epoch_is_cut_around() {
        let entries = [Zxid::new(1, 3), Zxid::new(1, 6)];
        let holed = list(Zxid::new(1, 2), &entries);
        let cut = choose(&facts(Zxid::new(1, 4), Zxid::new(1, 6)), &holed);
        assert_eq!(cut, SyncPlan::Trunc { to: Zxid::new(1, 3) });
    }

    #[test]
    fn a_log_is_sent_up_to_a_share_of_the_snapshot() {
        let mib = |count: u64| count << 20;
        for (log, snapshot, share, wanted) in [
            (mib(64), 0, 0.33, true),
            (mib(65), mib(100), 0.33, false),
            (mib(65), mib(200), 0.33, true),
            (mib(100), mib(200), 0.33, false),
            (mib(100), mib(200), 0.5, true),
            (mib(5000), 0, 0.0, true),
            (1, mib(200), -1.0, false),
        ] {
            assert_eq!(log_is_worthwhile(log, snapshot, share), wanted, "{log} of {snapshot}, {share}");
        }
    }

    #[test]
    fn no_data_and_force_mean_a_snapshot() {
        let list = list(Zxid::ZERO, &[Zxid::new(1, 1)]);
        let last = Zxid::new(1, 1);
        assert_eq!(choose(&facts(Zxid::from_wire(-1), last), &list), SyncPlan::Snap);
        assert_eq!(choose(&SyncFacts { force_snapshot: true, ..facts(last, last) }, &list), SyncPlan::Snap);
    }
}
