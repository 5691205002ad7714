//! How far everybody is: the only state that cores share, a few atomics each on a cache line of its own.
//!
//! The replication role publishes, per shard, the last zxid that it routed there, and then the commit point. A shard
//! publishes the last zxid that it has applied, after everything that it had to say about it is in the mailboxes. A
//! core reads the marks, drains its mailboxes, and only then steps its view to the smallest mark (design: views V1 to
//! V4), so that whatever belongs to a zxid up to the view has arrived.

use engine::ids::{CoreId, ShardId};
use engine::zxid::Zxid;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A value alone on its cache line.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Alone<T>(T);

#[derive(Debug, Default)]
struct ShardMark {
    routed: Alone<AtomicU64>,
    applied: Alone<AtomicU64>,
}

#[derive(Debug, Default)]
struct CoreMark {
    view: Alone<AtomicU64>,
    waiting: Alone<AtomicBool>,
}

/// The marks of one server.
#[derive(Debug)]
pub struct Marks {
    commit: Alone<AtomicU64>,
    /// The highest zxid that every shard was ever found to have passed.
    passed: Alone<AtomicU64>,
    shards: Box<[ShardMark]>,
    cores: Box<[CoreMark]>,
}

impl Marks {
    /// Marks that all stand at `start`.
    pub fn new(shards: u16, cores: u16, start: Zxid) -> Marks {
        let marks = Marks {
            commit: Alone(AtomicU64::new(start.0)),
            passed: Alone(AtomicU64::new(start.0)),
            shards: (0..shards).map(|_| ShardMark::default()).collect(),
            cores: (0..cores).map(|_| CoreMark::default()).collect(),
        };
        for shard in &marks.shards {
            shard.routed.0.store(start.0, Ordering::Relaxed);
            shard.applied.0.store(start.0, Ordering::Relaxed);
        }
        for core in &marks.cores {
            core.view.0.store(start.0, Ordering::Relaxed);
        }
        marks
    }

    /// A transaction has been put into the shard's mailbox; it becomes visible with the next [`Self::publish`].
    pub fn route(&self, shard: ShardId, zxid: Zxid) {
        self.shards[usize::from(shard.0)].routed.0.store(zxid.0, Ordering::SeqCst);
    }

    /// Everything up to `commit` has been routed.
    pub fn publish(&self, commit: Zxid) {
        self.commit.0.store(commit.0, Ordering::SeqCst);
    }

    /// The shard has applied `zxid`, and all that it had to send about it is sent. A shard that has just been restored
    /// may name an older one than the mark, which stands where all shards were restored to.
    pub fn applied(&self, shard: ShardId, zxid: Zxid) {
        self.shards[usize::from(shard.0)].applied.0.fetch_max(zxid.0, Ordering::SeqCst);
    }

    /// The commit point.
    pub fn commit(&self) -> Zxid {
        Zxid(self.commit.0.load(Ordering::Acquire))
    }

    /// The zxid that every shard has passed. A shard that has applied all that was routed to it counts as having passed
    /// the commit point, so that untouched shards need not be woken. Never goes back, for whoever asks: a shard to which
    /// something has just been routed is behind again by these marks, and yet has passed what it had passed.
    pub fn passed_by_all(&self) -> Zxid {
        let commit = self.commit.0.load(Ordering::SeqCst);
        let passed = self.shards.iter().map(|shard| {
            let routed = shard.routed.0.load(Ordering::SeqCst);
            let applied = shard.applied.0.load(Ordering::SeqCst);
            if applied >= routed { commit } else { applied }
        });
        let now = passed.min().unwrap_or(commit).min(commit);
        let before = self.passed.0.load(Ordering::SeqCst);
        if now > before {
            self.passed.0.fetch_max(now, Ordering::SeqCst);
        }
        Zxid(now.max(before))
    }

    /// A core announces its view.
    pub fn set_view(&self, core: CoreId, view: Zxid) {
        self.cores[usize::from(core.0)].view.0.store(view.0, Ordering::SeqCst);
    }

    /// The oldest view that any core may still read at: what shards keep history for. A resting core announces none; it
    /// will come back with a view that all shards have passed, so the oldest is never beyond that either. The order of
    /// the two looks matters (see [`super::view::View::wake`]).
    pub fn oldest_view(&self) -> Zxid {
        let passed = self.passed_by_all();
        let views = self.cores.iter().map(|core| Zxid(core.view.0.load(Ordering::SeqCst)));
        views.min().unwrap_or(passed).min(passed)
    }

    /// Says whether this core waits for its view to move; shards that publish a mark wake those that do. Set it before
    /// the last look at the marks, or a step may be missed.
    pub fn set_waiting(&self, core: CoreId, waiting: bool) {
        self.cores[usize::from(core.0)].waiting.0.store(waiting, Ordering::SeqCst);
    }

    /// The cores that wait for a view to move.
    pub fn waiting(&self) -> impl Iterator<Item = CoreId> + '_ {
        let waits = |(at, core): (usize, &CoreMark)| core.waiting.0.load(Ordering::SeqCst).then_some(CoreId(at as u16));
        self.cores.iter().enumerate().filter_map(waits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untouched_shard_has_passed_the_commit_point() {
        let marks = Marks::new(2, 1, Zxid(5));
        marks.route(ShardId(0), Zxid(6));
        marks.publish(Zxid(6));
        assert_eq!(marks.passed_by_all(), Zxid(5), "shard 0 has still to apply 6");
        marks.applied(ShardId(0), Zxid(6));
        assert_eq!(marks.passed_by_all(), Zxid(6));
    }

    #[test]
    fn what_was_passed_stays_passed() {
        let marks = Marks::new(1, 1, Zxid(5));
        marks.publish(Zxid(9));
        assert_eq!(marks.passed_by_all(), Zxid(9), "untouched");
        marks.route(ShardId(0), Zxid(10));
        assert_eq!(marks.passed_by_all(), Zxid(9), "behind by its own mark, and yet past 9");
    }

    #[test]
    fn what_is_routed_but_not_committed_is_not_passed() {
        let marks = Marks::new(1, 1, Zxid(5));
        marks.route(ShardId(0), Zxid(6));
        marks.applied(ShardId(0), Zxid(6));
        assert_eq!(marks.passed_by_all(), Zxid(5));
    }

    #[test]
    fn the_slowest_shard_and_the_oldest_core_count() {
        let marks = Marks::new(2, 2, Zxid(1));
        for zxid in [2, 3] {
            marks.route(ShardId(0), Zxid(zxid));
            marks.route(ShardId(1), Zxid(zxid));
            marks.publish(Zxid(zxid));
        }
        marks.applied(ShardId(0), Zxid(3));
        marks.applied(ShardId(1), Zxid(2));
        assert_eq!(marks.passed_by_all(), Zxid(2));
        marks.set_view(CoreId(0), Zxid(2));
        assert_eq!(marks.oldest_view(), Zxid(1));
        marks.set_waiting(CoreId(1), true);
        assert_eq!(marks.waiting().collect::<Vec<_>>(), [CoreId(1)]);
    }
}
