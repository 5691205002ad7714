//! The list of a parent's children: for each, part of its hash and the place of the record that holds its name.
//!
//! Most parents have few children, some have millions. A list is one entry in place, then a sorted vector, then a
//! [`StepTable`]; each gives its children in the order of their hashes.

use super::types::LogAddress;
use crate::path::PathHash;
use crate::table::{StepTable, TableCursor, TableEntry};

/// The part of a child's hash that identifies it among its siblings: the 88 highest bits. Two of 11.75 million siblings
/// agree in them with a probability of 2^-42.
pub(super) const KEY_MASK: u128 = !0 << 40;
/// Children that a vector holds; more go to a table.
const FEW_MAX: usize = 64;
/// Children below which a table becomes a vector again.
const MANY_MIN: usize = 32;

/// A child: 88 bits of its hash, and 40 of its link's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct ChildEntry {
    high: u64,
    low: u64,
}

const _: () = assert!(size_of::<ChildEntry>() == 16 && size_of::<ChildSet>() == 24);

impl ChildEntry {
    pub(super) fn new(child: PathHash, link: LogAddress) -> ChildEntry {
        let packed = child.0 & KEY_MASK | u128::from(link.0);
        ChildEntry { high: (packed >> 64) as u64, low: packed as u64 }
    }

    fn packed(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    pub(super) fn link(self) -> LogAddress {
        LogAddress((self.packed() & !KEY_MASK) as u64)
    }

    /// Whether both stand for the same child, wherever their links lie.
    pub(super) fn is_same_child(self, other: ChildEntry) -> bool {
        self.key() == other.key()
    }
}

impl TableEntry for ChildEntry {
    fn key(&self) -> PathHash {
        PathHash(self.packed() & KEY_MASK)
    }
}

/// The children of one parent.
#[derive(Default)]
pub(super) enum ChildSet {
    #[default]
    None,
    One(ChildEntry),
    Few(Vec<ChildEntry>),
    Many(Box<StepTable<ChildEntry>>),
}

impl ChildSet {
    /// The set of these children, which come in the order of their keys, each once.
    pub(super) fn from_sorted(children: &[ChildEntry]) -> ChildSet {
        match children {
            [] => ChildSet::None,
            [one] => ChildSet::One(*one),
            few if few.len() <= FEW_MAX => ChildSet::Few(few.to_vec()),
            many => ChildSet::Many(Box::new(StepTable::from_sorted(many))),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            ChildSet::None => 0,
            ChildSet::One(_) => 1,
            ChildSet::Few(few) => few.len(),
            ChildSet::Many(many) => many.len(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            ChildSet::None | ChildSet::One(_) => 0,
            ChildSet::Few(few) => few.capacity() * size_of::<ChildEntry>(),
            ChildSet::Many(many) => many.memory_bytes(),
        }
    }

    pub(super) fn get(&self, child: PathHash) -> Option<LogAddress> {
        let key = PathHash(child.0 & KEY_MASK);
        match self {
            ChildSet::None => None,
            ChildSet::One(one) => (one.key() == key).then(|| one.link()),
            ChildSet::Few(few) => few.binary_search_by_key(&key, ChildEntry::key).ok().map(|at| few[at].link()),
            ChildSet::Many(many) => many.get(key).map(|entry| entry.link()),
        }
    }

    /// Puts a child in, or moves its link. Returns the link that it had.
    pub(super) fn insert(&mut self, child: PathHash, link: LogAddress) -> Option<LogAddress> {
        let entry = ChildEntry::new(child, link);
        match self {
            ChildSet::None => *self = ChildSet::One(entry),
            ChildSet::One(one) if one.key() == entry.key() => return Some(std::mem::replace(one, entry).link()),
            ChildSet::One(one) => {
                let mut few = Vec::with_capacity(2);
                few.extend([*one, entry]);
                few.sort_unstable();
                *self = ChildSet::Few(few);
            }
            ChildSet::Few(few) => match few.binary_search_by_key(&entry.key(), ChildEntry::key) {
                Ok(at) => return Some(std::mem::replace(&mut few[at], entry).link()),
                Err(_) if few.len() >= FEW_MAX => {
                    let mut many = Box::new(StepTable::new());
                    for entry in few.iter().chain([&entry]) {
                        many.insert(*entry);
                    }
                    *self = ChildSet::Many(many);
                }
                Err(at) => {
                    if few.len() == few.capacity() {
                        few.reserve_exact(2.max(few.len() / 4));
                    }
                    few.insert(at, entry);
                }
            },
            ChildSet::Many(many) => return many.insert(entry).map(ChildEntry::link),
        }
        None
    }

    /// Takes a child out. Returns its link.
    pub(super) fn remove(&mut self, child: PathHash) -> Option<LogAddress> {
        let key = PathHash(child.0 & KEY_MASK);
        match self {
            ChildSet::None => None,
            ChildSet::One(one) => {
                let link = (one.key() == key).then(|| one.link())?;
                *self = ChildSet::None;
                Some(link)
            }
            ChildSet::Few(few) => {
                let at = few.binary_search_by_key(&key, ChildEntry::key).ok()?;
                let link = few.remove(at).link();
                if let [one] = few[..] {
                    *self = ChildSet::One(one);
                } else if few.len() <= few.capacity() / 2 {
                    few.shrink_to(few.len() + 2);
                }
                Some(link)
            }
            ChildSet::Many(many) => {
                let link = many.remove(key)?.link();
                if many.len() < MANY_MIN {
                    let mut few = Vec::with_capacity(many.len());
                    many.walk(TableCursor::START, usize::MAX, &mut |entry| few.push(*entry));
                    *self = ChildSet::Few(few);
                }
                Some(link)
            }
        }
    }

    /// Shows up to `max` children from a position on, as [`StepTable::walk`] does.
    pub(super) fn walk(&self, from: TableCursor, max: usize, each: &mut dyn FnMut(LogAddress)) -> Option<TableCursor> {
        let few = match self {
            ChildSet::None => &[][..],
            ChildSet::One(one) => std::slice::from_ref(one),
            ChildSet::Few(few) => few,
            ChildSet::Many(many) => return many.walk(from, max, &mut |entry| each(entry.link())),
        };
        let rest = &few[few.partition_point(|entry| !from.is_before(entry.key()))..];
        let shown = &rest[..max.min(rest.len())];
        shown.iter().for_each(|entry| each(entry.link()));
        match shown.last() {
            _ if shown.len() == rest.len() => None,
            Some(last) => TableCursor::after(last.key()),
            None => Some(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_like_a_map_at_every_size(
            ops in proptest::collection::vec((0..300u64, any::<bool>(), 0..1u64 << 40), 0..600),
            step in 1..100usize,
            first in proptest::collection::btree_set(0..300u64, 0..300),
        ) {
            let child = |n: u64| PathHash(xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes()));
            let mut model: BTreeMap<u128, LogAddress> =
                first.iter().map(|n| (child(*n).0 & KEY_MASK, LogAddress(*n))).collect();
            let first: Vec<_> = model.iter().map(|(key, link)| ChildEntry::new(PathHash(*key), *link)).collect();
            let mut set = ChildSet::from_sorted(&first);
            for (n, insert, address) in ops {
                let key = child(n).0 & KEY_MASK;
                if insert {
                    prop_assert_eq!(set.insert(child(n), LogAddress(address)), model.insert(key, LogAddress(address)));
                } else {
                    prop_assert_eq!(set.remove(child(n)), model.remove(&key));
                }
                prop_assert_eq!(set.len(), model.len());
                prop_assert_eq!(set.get(child(n)), model.get(&key).copied());
            }
            let mut shown = Vec::new();
            let mut cursor = Some(TableCursor::START);
            while let Some(from) = cursor {
                let before = shown.len();
                cursor = set.walk(from, step, &mut |link| shown.push(link));
                prop_assert!(shown.len() - before <= step);
            }
            prop_assert_eq!(shown, model.into_values().collect::<Vec<_>>());
        }
    }
}
