//! A core's view, and what the core says about it to the shards.
//!
//! A shard keeps old versions for the oldest view that may still be asked for. A core announces the oldest view among
//! those it reads at: that of its oldest read under way at another core's shard, or its own. While it has nothing under
//! way and sleeps it announces none at all, or an idle core would make busy shards keep everything.

use super::marks::Marks;
use engine::ids::CoreId;
use engine::zxid::Zxid;
use std::collections::VecDeque;
use std::sync::Arc;

/// The view of one core.
#[derive(Debug)]
pub struct View {
    core: CoreId,
    marks: Arc<Marks>,
    now: Zxid,
    under_way: VecDeque<(Zxid, u32)>,
    resting: bool,
}

impl View {
    /// A view that stands where the marks do.
    pub fn new(core: CoreId, marks: Arc<Marks>) -> View {
        let now = marks.passed_by_all();
        marks.set_view(core, now);
        View { core, marks, now, under_way: VecDeque::new(), resting: false }
    }

    /// The zxid as of which reads are answered.
    pub fn now(&self) -> Zxid {
        self.now
    }

    /// The commit point: the last transaction that this server has processed.
    pub fn committed(&self) -> Zxid {
        self.marks.commit().max(self.now)
    }

    /// Where the view could step to, once the mailboxes have been drained.
    pub fn ahead(&self) -> Zxid {
        self.marks.passed_by_all()
    }

    /// Moves the view forward, once the mailboxes have been drained of all that belongs to `to`.
    pub fn step(&mut self, to: Zxid) {
        self.now = self.now.max(to);
        self.announce();
    }

    /// A read at the current view has been sent to another core.
    pub fn sent(&mut self) {
        match self.under_way.back_mut() {
            Some((view, count)) if *view == self.now => *count += 1,
            _ => self.under_way.push_back((self.now, 1)),
        }
    }

    /// Such a read has been taken in by its shard.
    pub fn taken(&mut self, view: Zxid) {
        if let Some((_, count)) = self.under_way.iter_mut().find(|(at, _)| *at == view) {
            *count -= 1;
        }
        while self.under_way.pop_front_if(|(_, count)| *count == 0).is_some() {}
        self.announce();
    }

    /// The core is about to sleep. Returns whether it announces no view, so that [`Self::wake`] must follow.
    pub fn rest(&mut self) {
        if self.under_way.is_empty() {
            self.resting = true;
            self.marks.set_view(self.core, Zxid(u64::MAX));
        }
    }

    /// The core is awake again. Its view may have been passed by meanwhile: this returns where it has to step to before
    /// it reads anything, if so.
    pub fn wake(&mut self) -> Option<Zxid> {
        if !self.resting {
            return None;
        }
        self.resting = false;
        // Announce first, look second: a shard that missed the announcement had looked at the marks before, and has
        // forgotten nothing that is newer than what is read here.
        self.marks.set_view(self.core, self.now);
        let passed = self.marks.passed_by_all();
        (passed > self.now).then_some(passed)
    }

    fn announce(&self) {
        let oldest = self.under_way.front().map_or(self.now, |(view, _)| *view);
        self.marks.set_view(self.core, oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_read_under_way_is_announced() {
        let marks = Arc::new(Marks::new(1, 1, Zxid(5)));
        let mut view = View::new(CoreId(0), Arc::clone(&marks));
        view.sent();
        marks.publish(Zxid(8));
        view.step(Zxid(8));
        view.sent();
        assert_eq!((view.now(), marks.oldest_view()), (Zxid(8), Zxid(5)));
        view.taken(Zxid(8));
        assert_eq!(marks.oldest_view(), Zxid(5));
        view.taken(Zxid(5));
        assert_eq!(marks.oldest_view(), Zxid(8));
    }

    #[test]
    fn a_resting_core_holds_nothing_and_catches_up_first() {
        let marks = Arc::new(Marks::new(1, 1, Zxid(5)));
        let mut view = View::new(CoreId(0), Arc::clone(&marks));
        view.rest();
        assert_eq!(marks.oldest_view(), Zxid(5), "never beyond what all shards have passed");
        marks.publish(Zxid(9));
        assert_eq!(marks.oldest_view(), Zxid(9));
        assert_eq!(view.wake(), Some(Zxid(9)));
        assert_eq!(marks.oldest_view(), Zxid(5));
    }
}
