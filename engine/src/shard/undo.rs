//! Earlier values, so that a shard can answer as of a view that it has left behind.
//!
//! An *undo* says what a key's value was right before a transaction. As of a view, a key has the value that its first
//! undo behind the view tells, or, where there is none, the one it has now. Two kinds of view want undos:
//!
//! * the *window*: any view not below the oldest one in use. Its undos number as many as changes were applied since
//!   that view, so the distance between the slowest core and this shard bounds them;
//! * *pins*, which hold one view each. Of what has left the window only that is kept which a pin sees: per pin at most
//!   one undo for each key that changed since.

use crate::zxid::Zxid;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, RangeBounds};

/// The pinned views, and how often each is pinned.
pub(super) type Pins = BTreeMap<Zxid, u32>;

/// The undos of one kind of key. See the module's documentation.
pub(super) struct Undo<K, T> {
    /// By key, from oldest to newest; no two of the same transaction.
    versions: BTreeMap<K, SmallVec<[Version<T>; 1]>>,
    /// Those in the window, in order.
    window: VecDeque<(Zxid, K)>,
    /// How many were kept for pins as they left the window.
    held: usize,
}

#[derive(Clone, Copy)]
struct Version<T> {
    /// The transaction that ended it.
    until: Zxid,
    value: T,
}

impl<K: Ord + Copy, T: Copy> Undo<K, T> {
    pub(super) fn new() -> Undo<K, T> {
        Undo { versions: BTreeMap::new(), window: VecDeque::new(), held: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Notes the value that `key` had right before `zxid`. Within a transaction the first one counts.
    pub(super) fn note(&mut self, zxid: Zxid, key: K, value: T) {
        let versions = self.versions.entry(key).or_default();
        if versions.last().is_none_or(|last| last.until < zxid) {
            versions.push(Version { until: zxid, value });
            self.window.push_back((zxid, key));
        }
    }

    /// The value of `key` as of `view`; `None` if it is what it is now.
    pub(super) fn as_of(&self, view: Zxid, key: &K) -> Option<T> {
        if self.versions.is_empty() {
            return None;
        }
        self.versions.get(key).and_then(|versions| first_behind(view, versions))
    }

    /// The keys in a range whose value as of `view` may differ from that of now, with that value.
    pub(super) fn range(&self, view: Zxid, keys: impl RangeBounds<K>) -> impl Iterator<Item = (K, T)> {
        let versions = self.versions.range(keys);
        versions.filter_map(move |(key, versions)| Some((*key, first_behind(view, versions)?)))
    }

    /// Forgets what neither views from `oldest` on nor pins can see.
    pub(super) fn prune(&mut self, oldest: Zxid, pins: &Pins) {
        while let Some((zxid, key)) = self.window.front().copied().filter(|(zxid, _)| *zxid <= oldest) {
            self.window.pop_front();
            let Some(versions) = self.versions.get_mut(&key) else { continue };
            let Ok(at) = versions.binary_search_by_key(&zxid, |version| version.until) else { continue };
            let since = if at == 0 { Zxid::ZERO } else { versions[at - 1].until };
            if is_pinned(pins, since, zxid) {
                self.held += 1;
                continue;
            }
            versions.remove(at);
            if versions.is_empty() {
                self.versions.remove(&key);
            }
        }
    }

    /// After a pin has gone: looks at up to `max` keys from `from` on and forgets what is no longer seen. Returns where
    /// to go on, or `None` at the end.
    pub(super) fn sweep(&mut self, from: Bound<K>, max: usize, oldest: Zxid, pins: &Pins) -> Option<Bound<K>> {
        if self.held == 0 {
            return None;
        }
        let mut emptied = SmallVec::<[K; 32]>::new();
        let mut last = None;
        for (key, versions) in self.versions.range_mut((from, Bound::Unbounded)).take(max) {
            let mut since = Zxid::ZERO;
            let before = versions.len();
            versions.retain(|version| {
                let keep = version.until > oldest || is_pinned(pins, since, version.until);
                if keep {
                    since = version.until;
                }
                keep
            });
            self.held -= before - versions.len();
            if versions.is_empty() {
                emptied.push(*key);
            }
            last = Some(*key);
        }
        for key in emptied {
            self.versions.remove(&key);
        }
        last.map(Bound::Excluded)
    }

    /// Bytes, roughly: a B-tree is some two thirds full.
    pub(super) fn memory_bytes(&self) -> usize {
        let entry = size_of::<K>() + size_of::<SmallVec<[Version<T>; 1]>>();
        self.versions.len() * entry * 3 / 2 + self.window.capacity() * size_of::<(Zxid, K)>()
    }
}

fn first_behind<T: Copy>(view: Zxid, versions: &[Version<T>]) -> Option<T> {
    versions.iter().find(|version| version.until > view).map(|version| version.value)
}

/// Whether a pin sees what lasted from `since` until right before `until`.
fn is_pinned(pins: &Pins, since: Zxid, until: Zxid) -> bool {
    since < until && pins.range(since..until).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Step {
        Change(Vec<u8>),
        Advance(u64),
        Pin(u64),
        Unpin(usize),
        Sweep(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => proptest::collection::vec(0..6u8, 0..4).prop_map(Step::Change),
            3 => (0..6u64).prop_map(Step::Advance),
            1 => (0..6u64).prop_map(Step::Pin),
            1 => (0..4usize).prop_map(Step::Unpin),
            1 => (1..4usize).prop_map(Step::Sweep),
        ]
    }

    proptest! {
        /// Every key has, at every view in the window and at every pin, the value that it had there.
        #[test]
        fn answers_as_of_every_view_that_is_held(steps in proptest::collection::vec(step(), 0..120)) {
            let mut undo: Undo<u8, u64> = Undo::new();
            let mut states = vec![[0u64; 6]];
            let mut pins = Pins::new();
            let mut oldest = 0u64;
            let mut from = Bound::Unbounded;
            for step in steps {
                let now = states.len() as u64 - 1;
                match step {
                    Step::Change(keys) => {
                        let mut state = states[now as usize];
                        for (nth, key) in keys.into_iter().enumerate() {
                            undo.note(Zxid(now + 1), key, state[key as usize]);
                            state[key as usize] = (now + 1) * 10 + nth as u64;
                        }
                        states.push(state);
                    }
                    Step::Advance(by) => oldest = (oldest + by).min(now),
                    Step::Pin(ahead) => {
                        *pins.entry(Zxid((oldest + ahead).min(now))).or_insert(0) += 1;
                    }
                    Step::Unpin(nth) => {
                        let pinned = pins.keys().nth(nth).copied();
                        if let Some(count) = pinned.and_then(|pinned| pins.get_mut(&pinned)) {
                            *count -= 1;
                        }
                        pins.retain(|_, count| *count > 0);
                    }
                    Step::Sweep(max) => from = undo.sweep(from, max, Zxid(oldest), &pins).unwrap_or(Bound::Unbounded),
                }
                undo.prune(Zxid(oldest), &pins);
                let now = states[states.len() - 1];
                for view in (oldest..states.len() as u64).map(Zxid).chain(pins.keys().copied()) {
                    for key in 0..6 {
                        let value = undo.as_of(view, &key).unwrap_or(now[key as usize]);
                        prop_assert_eq!(value, states[view.0 as usize][key as usize], "{} at {}", key, view);
                    }
                }
            }
            // Without pins and behind the last change nothing is left.
            pins.clear();
            let now = Zxid(states.len() as u64 - 1);
            undo.prune(now, &pins);
            let mut from = Some(Bound::Unbounded);
            while let Some(at) = from {
                from = undo.sweep(at, 2, now, &pins);
            }
            prop_assert!(undo.is_empty() && undo.held == 0);
        }
    }
}
