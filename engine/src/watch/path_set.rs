//! The paths that one connection watches, so that it can be found on a path's list, and leave all lists, quickly.
//!
//! A set of (path, place in that path's list), 8 bytes each, with open addressing. It may hold *stale* members: firing
//! empties whole lists without visiting the sets of their watchers. A member is live if and only if the list really
//! holds the connection at that place, which the owner of the lists decides; stale ones go when the set would grow.

/// A member of a [`PathSet`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member {
    /// The path's id.
    pub(super) path: u32,
    /// Place in the path's list of watchers.
    pub(super) place: u32,
}

impl Member {
    /// An empty slot. No path has this id.
    const VACANT: Member = Member { path: u32::MAX, place: 0 };
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct PathSet {
    slots: Box<[Member]>,
    used: u32,
}

impl PathSet {
    /// Smallest number of slots.
    const SLOTS_MIN: usize = 4;

    /// The place noted for a path, which may be stale.
    pub(super) fn place(&self, path: u32) -> Option<u32> {
        self.locate(path).map(|at| self.slots[at].place)
    }

    /// Notes the place of a path, whether or not one is noted already. `is_live` tells the members to be kept when the
    /// set would grow.
    pub(super) fn note(&mut self, member: Member, is_live: impl Fn(Member) -> bool) {
        if let Some(at) = self.locate(member.path) {
            self.slots[at] = member;
            return;
        }
        if (self.used as usize + 1) * 5 > self.slots.len() * 4 {
            self.rebuild(is_live);
        }
        self.put(member);
    }

    /// Corrects the place of a path that is noted.
    pub(super) fn moved(&mut self, path: u32, place: u32) {
        if let Some(at) = self.locate(path) {
            self.slots[at].place = place;
        }
    }

    /// Forgets a path.
    pub(super) fn forget(&mut self, path: u32) {
        let Some(mut hole) = self.locate(path) else { return };
        self.used -= 1;
        // The members behind the hole move up, as far as their homes allow, so that no search ends early.
        let mut at = hole;
        loop {
            at = self.next(at);
            let member = self.slots[at];
            if member == Member::VACANT {
                break;
            }
            let home = self.home(member.path);
            let reaches = if hole <= at { home <= hole || home > at } else { home <= hole && home > at };
            if reaches {
                self.slots[hole] = member;
                hole = at;
            }
        }
        self.slots[hole] = Member::VACANT;
    }

    /// All members, stale ones included.
    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        self.slots.iter().copied().filter(|member| *member != Member::VACANT)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    fn rebuild(&mut self, is_live: impl Fn(Member) -> bool) {
        let live: Vec<Member> = self.members().filter(|member| is_live(*member)).collect();
        // Between 8/15 and 4/5 full, or emptier where much was stale a moment ago and may be watched again.
        let capacity = ((live.len() + 1) * 3 / 2 + 1).max(Self::SLOTS_MIN);
        self.slots = vec![Member::VACANT; capacity].into_boxed_slice();
        self.used = 0;
        for member in live {
            self.put(member);
        }
    }

    /// Puts a member in that is not there; a slot is vacant.
    fn put(&mut self, member: Member) {
        let mut at = self.home(member.path);
        while self.slots[at] != Member::VACANT {
            at = self.next(at);
        }
        self.slots[at] = member;
        self.used += 1;
    }

    fn locate(&self, path: u32) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(path);
        // At least a fifth of the slots is vacant.
        while self.slots[at] != Member::VACANT {
            if self.slots[at].path == path {
                return Some(at);
            }
            at = self.next(at);
        }
        None
    }

    fn home(&self, path: u32) -> usize {
        let mixed = (u64::from(path) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((mixed * self.slots.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((0..60u32, 0..4u32, any::<u32>()), 0..400)) {
            let mut set = PathSet::default();
            let mut model = HashMap::new();
            for (path, op, place) in ops {
                match op {
                    0 => {
                        set.forget(path);
                        model.remove(&path);
                    }
                    1 => {
                        set.moved(path, place);
                        model.entry(path).and_modify(|known| *known = place);
                    }
                    _ => {
                        set.note(Member { path, place }, |_| true);
                        model.insert(path, place);
                    }
                }
                for path in 0..60 {
                    prop_assert_eq!(set.place(path), model.get(&path).copied());
                }
                prop_assert_eq!(set.members().count(), model.len());
            }
        }
    }

    #[test]
    fn stale_members_go_when_it_would_grow() {
        let mut set = PathSet::default();
        for path in 0..100_000 {
            set.note(Member { path, place: 0 }, |member| member.path + 10 > path);
        }
        assert!(set.heap_bytes() <= 32 * size_of::<Member>(), "{}", set.heap_bytes());
    }
}
