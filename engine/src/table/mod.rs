//! A hash table with little slack and no pauses, for tables that hold an entry per znode.
//!
//! *Extendible hashing.* The highest bits of a key choose, through a directory, a bucket; a bucket is an array with
//! open addressing that grows in steps of about 1.2 and, at [`BUCKET_MAX`] entries, splits in two. So no operation
//! costs more than the rebuilding of one bucket (some 1024 entries) or, rarely, a copy of the directory (4 bytes for
//! some 700 entries), whatever the size of the table. Removal shrinks and merges buckets the same way, and leaves no
//! tombstones.
//!
//! *In order.* Within a bucket, entries lie sorted by key, with gaps (see `bucket.rs`). A walk therefore goes in the
//! order of the keys, and a cursor is a key: it stays good whatever changes between two steps of the walk.
//!
//! *Size.* A bucket is between 5/8 and 9/10 full, and a growing table between 3/4 and 9/10; bucket sizes are those that
//! size-class allocators have, so that nothing is lost between the two.

mod bucket;
mod slab;
mod sorted;

pub use slab::Slab;
pub use sorted::SortedTable;

use crate::path::PathHash;
use bucket::Bucket;
use sorted::depth_for;

/// Entries at which a bucket splits. Keys whose high bits are not random make larger buckets, since the directory grows
/// with the number of buckets only: such a table is slow, but never large.
pub const BUCKET_MAX: usize = 1024;
/// Two sibling buckets that hold fewer than this together become one.
const MERGE_BELOW: usize = 512;
/// Entries of the directory per bucket, at most.
const DIRECTORY_SPREAD: usize = 8;
/// Longest prefix that the directory tells apart.
const DEPTH_MAX: usize = 28;

/// An entry that carries its key.
///
/// The default value must have the key 0: it marks a vacant slot. (A real key of 0 is welcome all the same.)
pub trait TableEntry: Copy + Default {
    /// The key: a hash whose bits are all as good as random.
    fn key(&self) -> PathHash;
}

/// Position in a walk in hash order: everything below it has been seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct TableCursor(u128);

impl TableCursor {
    /// Before the first entry.
    pub const START: TableCursor = TableCursor(0);

    /// Whether an entry with this key is still to come.
    pub fn is_before(self, key: PathHash) -> bool {
        self.0 <= key.0
    }

    /// Behind `key` and everything smaller; `None` if nothing can follow.
    pub fn after(key: PathHash) -> Option<TableCursor> {
        key.0.checked_add(1).map(TableCursor)
    }
}

/// The table. See the module's documentation.
pub struct StepTable<E> {
    /// The entry with the key 0, which no bucket can hold.
    zero: Option<E>,
    /// By the highest `depth` bits of a key, the bucket's place in `buckets`.
    directory: Vec<u32>,
    depth: usize,
    buckets: Slab<Bucket<E>>,
    /// How many buckets tell that many bits apart.
    by_depth: [u32; DEPTH_MAX + 1],
    len: usize,
    slot_bytes: usize,
}

impl<E: TableEntry> Default for StepTable<E> {
    fn default() -> Self {
        StepTable::new()
    }
}

impl<E: TableEntry> StepTable<E> {
    /// An empty table, which allocates a few dozen bytes.
    pub fn new() -> StepTable<E> {
        let mut buckets = Slab::new();
        let first = buckets.insert(Bucket::new(0));
        let mut by_depth = [0; DEPTH_MAX + 1];
        by_depth[0] = 1;
        StepTable { zero: None, directory: vec![first], depth: 0, buckets, by_depth, len: 0, slot_bytes: 0 }
    }

    /// An empty table with room for so many entries, which then go in without rebuilding.
    pub fn with_room(len: usize) -> StepTable<E> {
        let depth = depth_for(len);
        let mut table = StepTable::without_buckets(depth);
        (0..1 << depth).for_each(|_| table.add_bucket(Bucket::with_room(depth as u8, len >> depth)));
        table
    }

    /// A table that becomes one when 2^`depth` buckets have been added.
    fn without_buckets(depth: usize) -> StepTable<E> {
        let mut by_depth = [0; DEPTH_MAX + 1];
        by_depth[depth] = 1 << depth;
        let directory = Vec::with_capacity(1 << depth);
        StepTable { zero: None, directory, depth, buckets: Slab::new(), by_depth, len: 0, slot_bytes: 0 }
    }

    fn add_bucket(&mut self, bucket: Bucket<E>) {
        self.slot_bytes += bucket.slot_bytes();
        self.directory.push(self.buckets.insert(bucket));
    }

    /// A table of these entries, which come in the order of their keys, each key once.
    pub fn from_sorted(entries: &[E]) -> StepTable<E> {
        let mut table = SortedTable::new(entries.len());
        entries.iter().for_each(|entry| table.push(*entry));
        table.finish()
    }

    /// Entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the table occupies, slack included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.slot_bytes + self.directory.capacity() * size_of::<u32>() + self.buckets.memory_bytes()
    }

    /// The entry with this key.
    pub fn get(&self, key: PathHash) -> Option<&E> {
        if key.0 == 0 {
            return self.zero.as_ref();
        }
        self.buckets.get(self.bucket_of(key)).get(key)
    }

    /// The entry with this key, to be changed; its key must stay what it is.
    pub fn get_mut(&mut self, key: PathHash) -> Option<&mut E> {
        if key.0 == 0 {
            return self.zero.as_mut();
        }
        let id = self.bucket_of(key);
        self.buckets.get_mut(id).get_mut(key)
    }

    /// Puts an entry in, and returns the one with the same key that it replaces.
    pub fn insert(&mut self, entry: E) -> Option<E> {
        self.insert_with(entry.key(), |_| entry)
    }

    /// Puts in the entry that `make` makes of the one with this key, if there is one, and returns that. The key must be
    /// the new entry's.
    pub fn insert_with(&mut self, key: PathHash, make: impl FnOnce(Option<&E>) -> E) -> Option<E> {
        if key.0 == 0 {
            let entry = make(self.zero.as_ref());
            let replaced = self.zero.replace(entry);
            self.len += usize::from(replaced.is_none());
            return replaced;
        }
        loop {
            let id = self.bucket_of(key);
            let bucket = self.buckets.get_mut(id);
            match bucket.locate(key) {
                Ok(at) => return Some(bucket.replace_with(at, make)),
                Err(_) if bucket.len() >= BUCKET_MAX && self.split(id, key) => {}
                Err(at) => {
                    let bucket = self.buckets.get_mut(id);
                    let before = bucket.slot_bytes();
                    bucket.insert_at(at, make(None));
                    self.slot_bytes = self.slot_bytes + bucket.slot_bytes() - before;
                    self.len += 1;
                    return None;
                }
            }
        }
    }

    /// Takes the entry with this key out.
    pub fn remove(&mut self, key: PathHash) -> Option<E> {
        if key.0 == 0 {
            let removed = self.zero.take();
            self.len -= usize::from(removed.is_some());
            return removed;
        }
        let id = self.bucket_of(key);
        let bucket = self.buckets.get_mut(id);
        let before = bucket.slot_bytes();
        let removed = bucket.remove(key)?;
        self.len -= 1;
        self.slot_bytes = self.slot_bytes + bucket.slot_bytes() - before;
        if bucket.depth() > 0 && bucket.len() < MERGE_BELOW {
            self.merge(id, key);
        }
        Some(removed)
    }

    /// Shows up to `max` entries from a position on, in the order of their keys. Returns where to go on, or `None` if
    /// there are no more. The table may change in between: an entry that stays is shown exactly once.
    pub fn walk(&self, from: TableCursor, max: usize, each: &mut dyn FnMut(&E)) -> Option<TableCursor> {
        let mut left = max;
        let mut last = None;
        let mut show = |entry: &E| {
            if left == 0 {
                return false;
            }
            left -= 1;
            last = Some(entry.key());
            each(entry);
            true
        };
        let mut complete = true;
        if let Some(zero) = self.zero.as_ref().filter(|_| from == TableCursor::START) {
            complete = show(zero);
        }
        let mut slot = self.slot_of(PathHash(from.0));
        while complete && slot < self.directory.len() {
            let bucket = self.buckets.get(self.directory[slot]);
            complete = bucket.walk(PathHash(from.0), &mut show);
            let spread = 1 << (self.depth - bucket.depth());
            slot = slot / spread * spread + spread;
        }
        match (complete, last) {
            (true, _) => None,
            (false, Some(last)) => TableCursor::after(last),
            (false, None) => Some(from),
        }
    }

    fn slot_of(&self, key: PathHash) -> usize {
        slot_at(key, self.depth)
    }

    fn bucket_of(&self, key: PathHash) -> u32 {
        self.directory[self.slot_of(key)]
    }

    /// Splits the bucket that `key` belongs to; `false` if the directory may not grow for it.
    fn split(&mut self, id: u32, key: PathHash) -> bool {
        let depth = self.buckets.get(id).depth();
        if depth == self.depth {
            let bound = (self.buckets.len() * DIRECTORY_SPREAD).min(1 << DEPTH_MAX);
            if self.directory.len() * 2 > bound {
                return false;
            }
            let mut doubled = Vec::with_capacity(self.directory.len() * 2);
            doubled.extend(self.directory.iter().flat_map(|id| [*id, *id]));
            self.directory = doubled;
            self.depth += 1;
        }
        let bucket = self.buckets.get_mut(id);
        let before = bucket.slot_bytes();
        let upper = bucket.split();
        self.slot_bytes = self.slot_bytes + bucket.slot_bytes() + upper.slot_bytes() - before;
        self.by_depth[depth] -= 1;
        self.by_depth[depth + 1] += 2;
        let upper = self.buckets.insert(upper);
        let spread = 1 << (self.depth - depth);
        let first = self.slot_of(key) / spread * spread;
        self.directory[first + spread / 2..first + spread].fill(upper);
        true
    }

    /// Joins the bucket that `key` belongs to with its sibling if both have become small.
    fn merge(&mut self, id: u32, key: PathHash) {
        let depth = self.buckets.get(id).depth();
        let spread = 1 << (self.depth - depth);
        let first = self.slot_of(key) / spread * spread;
        let sibling_id = self.directory[first ^ spread];
        let sibling = self.buckets.get(sibling_id);
        if sibling.depth() != depth || sibling.len() + self.buckets.get(id).len() >= MERGE_BELOW {
            return;
        }
        let (low, high) = if first & spread == 0 { (id, sibling_id) } else { (sibling_id, id) };
        let high = self.buckets.remove(high);
        let bucket = self.buckets.get_mut(low);
        let before = bucket.slot_bytes() + high.slot_bytes();
        bucket.join(&high);
        self.slot_bytes = self.slot_bytes + bucket.slot_bytes() - before;
        self.by_depth[depth] -= 2;
        self.by_depth[depth - 1] += 1;
        let first = first & !spread;
        self.directory[first..first + 2 * spread].fill(low);
        while self.depth > 0 && self.by_depth[self.depth] == 0 {
            self.directory = self.directory.iter().copied().step_by(2).collect();
            self.depth -= 1;
        }
    }
}

/// The highest `depth` bits of a key.
fn slot_at(key: PathHash, depth: usize) -> usize {
    // Two shifts, since shifting by all 64 bits is not defined.
    ((key.0 >> 64) as u64 >> 1 >> (63 - depth)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
    #[repr(C, packed)]
    struct Entry {
        key: u128,
        value: u32,
        padding: ([u8; 32], [u8; 9]),
    }

    impl TableEntry for Entry {
        fn key(&self) -> PathHash {
            PathHash(self.key)
        }
    }

    fn entry(key: u128, value: u32) -> Entry {
        Entry { key, value, padding: ([7; 32], [7; 9]) }
    }

    fn random(n: u64) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes())
    }

    fn all(table: &StepTable<Entry>) -> Vec<(u128, u32)> {
        let mut found = Vec::new();
        assert_eq!(table.walk(TableCursor::START, usize::MAX, &mut |e| found.push((e.key, e.value))), None);
        found
    }

    #[test]
    fn grows_to_many_buckets_in_order_and_shrinks_to_nothing() {
        let mut table = StepTable::new();
        let mut model = BTreeMap::new();
        for n in 0..50_000 {
            assert_eq!(table.insert(entry(random(n), n as u32)), None);
            model.insert(random(n), n as u32);
        }
        assert!(table.buckets.len() > 40);
        assert_eq!(all(&table), model.clone().into_iter().collect::<Vec<_>>());
        for n in 0..50_000 {
            assert_eq!(table.get(PathHash(random(n))), Some(&entry(random(n), n as u32)));
            assert_eq!(table.get(PathHash(random(n + 50_000))), None);
        }
        for n in (0..50_000).rev() {
            assert_eq!(table.remove(PathHash(random(n))), Some(entry(random(n), n as u32)));
            assert_eq!(table.remove(PathHash(random(n))), None);
        }
        assert_eq!((table.len(), table.buckets.len(), table.directory.len()), (0, 1, 1));
        assert!(table.slot_bytes <= 512);
    }

    #[test]
    fn a_table_with_room_takes_its_entries_without_growing_much() {
        for count in [0, 1, 500, 2000, 40_000] {
            let mut table = StepTable::with_room(count);
            let before = table.memory_bytes();
            for n in 0..count as u64 {
                table.insert(entry(random(n), n as u32));
            }
            assert!(table.memory_bytes() < before + before / 10);
            assert!(count < 1000 || table.memory_bytes() < count * 61 * 14 / 10);
            assert_eq!(all(&table).len(), count);
            for n in 0..count as u64 {
                assert_eq!(table.remove(PathHash(random(n))).map(|e| e.value), Some(n as u32));
            }
            assert_eq!((table.len(), table.buckets.len()), (0, 1));
        }
    }

    #[test]
    fn slack_stays_below_a_third_at_every_size_and_a_quarter_on_average() {
        let mut table = StepTable::new();
        let (mut sum, mut samples) = (0.0, 0);
        for n in 0..100_000 {
            table.insert(entry(random(n), 0));
            if n > 2000 {
                let slack = table.memory_bytes() as f64 / (table.len() * size_of::<Entry>()) as f64;
                assert!(slack < 1.37, "{slack} at {n}");
                sum += slack;
                samples += 1;
            }
        }
        assert!(sum / f64::from(samples) < 1.25, "{}", sum / f64::from(samples));
    }

    #[test]
    fn the_account_of_memory_is_what_the_buckets_hold() {
        let mut table = StepTable::new();
        for n in 0..20_000 {
            table.insert(entry(random(n), 0));
            if n % 3 == 0 {
                table.remove(PathHash(random(n / 2)));
            }
        }
        let mut bytes = 0;
        let mut ids = table.directory.clone();
        ids.dedup();
        assert_eq!(ids.len(), table.buckets.len());
        for id in ids {
            bytes += table.buckets.get(id).slot_bytes();
        }
        assert_eq!(table.slot_bytes, bytes);
    }

    #[test]
    fn keys_that_are_not_random_make_it_slow_but_never_large() {
        for base in [0, u128::MAX - 5000, 1 << 127] {
            let mut table = StepTable::new();
            for n in 0..5000 {
                table.insert(entry(base + n, n as u32));
            }
            assert!(table.memory_bytes() < 5000 * 61 * 2);
            assert_eq!(all(&table), (0..5000).map(|n| (base + n, n as u32)).collect::<Vec<_>>());
            for n in 0..5000 {
                assert_eq!(table.remove(PathHash(base + n)).map(|e| e.value), Some(n as u32));
            }
            assert!(table.is_empty());
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64, u32),
        Remove(u64),
        Change(u64, u32),
        Step(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..3000u64, any::<u32>()).prop_map(|(n, v)| Op::Insert(n, v)),
            2 => (0..3000u64).prop_map(Op::Remove),
            1 => (0..3000u64, any::<u32>()).prop_map(|(n, v)| Op::Change(n, v)),
            1 => (0..400usize).prop_map(Op::Step),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// `spread` squeezes keys into few high bits, so that runs get long and wrap around the ends of buckets.
        #[test]
        fn behaves_like_a_map_also_under_a_walk(
            ops in proptest::collection::vec(op(), 0..4000),
            squeeze in prop_oneof![Just(0u32), 60..70u32, 118..128u32],
            high in any::<bool>(),
            first in proptest::collection::btree_set(0..3000u64, 0..2500),
        ) {
            let key = |n: u64| {
                let key = random(n) >> squeeze;
                if high { !key } else { key }
            };
            // What a table is made of at once goes on like what came one by one.
            let mut model: BTreeMap<u128, u32> = first.iter().map(|n| (key(*n), *n as u32)).collect();
            let first: Vec<Entry> = model.iter().map(|(key, value)| entry(*key, *value)).collect();
            let mut table = StepTable::from_sorted(&first);
            let mut cursor = Some(TableCursor::START);
            // Of the walk: what it showed, and what has been there all along.
            let mut seen: Vec<u128> = Vec::new();
            let mut steady = model.clone();
            for op in ops {
                match op {
                    Op::Insert(n, value) => {
                        let replaced = table.insert(entry(key(n), value)).map(|e| e.value);
                        prop_assert_eq!(replaced, model.insert(key(n), value));
                    }
                    Op::Remove(n) => {
                        let removed = table.remove(PathHash(key(n))).map(|e| e.value);
                        prop_assert_eq!(removed, model.remove(&key(n)));
                        steady.remove(&key(n));
                    }
                    Op::Change(n, value) => {
                        let found = table.get_mut(PathHash(key(n)));
                        prop_assert_eq!(found.is_some(), model.contains_key(&key(n)));
                        if let Some(found) = found {
                            found.value = value;
                            model.insert(key(n), value);
                        }
                    }
                    Op::Step(max) => {
                        let Some(from) = cursor else {
                            prop_assert!(seen.is_sorted_by(|a, b| a < b));
                            prop_assert!(steady.keys().all(|key| seen.binary_search(key).is_ok()));
                            seen.clear();
                            steady = model.clone();
                            cursor = Some(TableCursor::START);
                            continue;
                        };
                        let mut shown = Vec::new();
                        cursor = table.walk(from, max, &mut |e| shown.push((e.key, e.value)));
                        let expected: Vec<_> = model.range(from.0..).take(max).map(|(k, v)| (*k, *v)).collect();
                        prop_assert_eq!(&shown, &expected);
                        prop_assert!(cursor.is_some() || shown.len() == model.range(from.0..).count());
                        seen.extend(shown.iter().map(|(key, _)| *key));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
            }
            prop_assert_eq!(all(&table), model.into_iter().collect::<Vec<_>>());
        }
    }
}
