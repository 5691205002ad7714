//! One bucket: an array with open addressing whose entries lie in the order of their keys.
//!
//! An entry's *home* is its key, scaled to the number of slots; scaling keeps order. Robin Hood insertion (an entry
//! gives way to one that is further from home) with ties broken by the key then leaves the entries sorted, with gaps.
//! Runs at the end of the array go on at its beginning: those *wrapped* entries are the largest. Removal shifts the
//! rest of a run back, so there are no tombstones.

use super::TableEntry;
use crate::path::PathHash;

/// Bytes of the smallest array.
const BYTES_MIN: usize = 256;

/// Entries with a common prefix of `depth` bits.
pub(super) struct Bucket<E> {
    slots: Box<[E]>,
    len: u32,
    depth: u8,
}

impl<E: TableEntry> Bucket<E> {
    pub(super) fn new(depth: u8) -> Bucket<E> {
        Bucket { slots: Box::default(), len: 0, depth }
    }

    /// An empty bucket with room for about so many entries.
    pub(super) fn with_room(depth: u8, len: usize) -> Bucket<E> {
        Bucket { slots: vec![E::default(); capacity_for::<E>(len)].into_boxed_slice(), len: 0, depth }
    }

    /// A bucket of entries that come in order.
    pub(super) fn from_sorted(depth: u8, entries: &[E]) -> Bucket<E> {
        Bucket::build(depth, capacity_for::<E>(entries.len()), entries.iter())
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn depth(&self) -> usize {
        usize::from(self.depth)
    }

    pub(super) fn slot_bytes(&self) -> usize {
        size_of_val(&*self.slots)
    }

    pub(super) fn get(&self, key: PathHash) -> Option<&E> {
        self.locate(key).ok().map(|at| &self.slots[at])
    }

    pub(super) fn get_mut(&mut self, key: PathHash) -> Option<&mut E> {
        self.locate(key).ok().map(|at| &mut self.slots[at])
    }

    pub(super) fn replace_with(&mut self, at: usize, make: impl FnOnce(Option<&E>) -> E) -> E {
        let entry = make(Some(&self.slots[at]));
        std::mem::replace(&mut self.slots[at], entry)
    }

    /// The slot that holds `key`, or the one that an entry with this key would take.
    pub(super) fn locate(&self, key: PathHash) -> Result<usize, usize> {
        if self.slots.is_empty() {
            return Err(0);
        }
        let mut at = self.home(key);
        let mut distance = 0;
        // Ends at the latest at a vacant slot, of which there is always one.
        loop {
            let other = self.slots[at].key();
            if other == key {
                return Ok(at);
            }
            if other.0 == 0 {
                return Err(at);
            }
            let other_distance = self.distance(at, other);
            if other_distance < distance || (other_distance == distance && other > key) {
                return Err(at);
            }
            at = self.next(at);
            distance += 1;
        }
    }

    /// Inserts at a slot that [`Self::locate`] named.
    pub(super) fn insert_at(&mut self, at: usize, entry: E) {
        let mut at = at;
        if self.len() + 1 > self.slots.len() * 9 / 10 {
            let wider = capacity_above::<E>(self.slots.len());
            self.rebuild(wider);
            at = match self.locate(entry.key()) {
                Ok(at) | Err(at) => at,
            };
        }
        self.open(at);
        self.slots[at] = entry;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, key: PathHash) -> Option<E> {
        let at = self.locate(key).ok()?;
        let removed = self.slots[at];
        self.close(at);
        self.len -= 1;
        if self.len() < self.slots.len() * 5 / 8 {
            let narrower = capacity_for::<E>(self.len());
            if narrower < self.slots.len() {
                self.rebuild(narrower);
            }
        }
        Some(removed)
    }

    /// Takes the upper half of the key range out, into a bucket of its own.
    pub(super) fn split(&mut self) -> Bucket<E> {
        let depth = self.depth + 1;
        let bit = 1 << (128 - u32::from(depth));
        let upper = self.in_order(0, true).filter(|entry| entry.key().0 & bit != 0).count();
        let lower = self.len() - upper;
        let low = Bucket::build(depth, capacity_for::<E>(lower), self.in_order(0, true).take(lower));
        let high = Bucket::build(depth, capacity_for::<E>(upper), self.in_order(0, true).skip(lower));
        *self = low;
        high
    }

    /// Takes in the sibling bucket with the larger keys.
    pub(super) fn join(&mut self, upper: &Bucket<E>) {
        let capacity = capacity_for::<E>(self.len() + upper.len());
        *self = Bucket::build(self.depth - 1, capacity, self.in_order(0, true).chain(upper.in_order(0, true)));
    }

    /// Shows the entries from `from` on in order, until `show` returns false; returns whether it never did.
    pub(super) fn walk(&self, from: PathHash, show: &mut dyn FnMut(&E) -> bool) -> bool {
        if self.slots.is_empty() {
            return true;
        }
        // A key below this bucket's range would have a home like any other.
        let prefix = |key: PathHash| key.0 >> 1 >> (127 - u32::from(self.depth));
        let starts_inside =
            self.slots.iter().find(|entry| entry.key().0 != 0).is_some_and(|any| prefix(any.key()) == prefix(from));
        if !starts_inside {
            return self.in_order(0, true).all(show);
        }
        let at = match self.locate(from) {
            Ok(at) | Err(at) => at,
        };
        let among_wrapped = self.home(from) > at;
        self.in_order(at, !among_wrapped).filter(|entry| entry.key() >= from).all(show)
    }

    /// Entries in order: from slot `at` on to the end and then the wrapped ones, or only the wrapped ones from `at` on.
    fn in_order(&self, at: usize, all: bool) -> impl Iterator<Item = &E> {
        let wrapped = self.slots.iter().enumerate();
        let wrapped = wrapped.take_while(|(at, entry)| entry.key().0 != 0 && self.home(entry.key()) > *at).count();
        let (first, second) = if all { (at.max(wrapped)..self.slots.len(), 0..wrapped) } else { (0..0, at..wrapped) };
        self.slots[first]
            .iter()
            .chain(&self.slots[second.start.min(second.end)..second.end])
            .filter(|entry| entry.key().0 != 0)
    }

    fn rebuild(&mut self, capacity: usize) {
        *self = Bucket::build(self.depth, capacity, self.in_order(0, true));
    }

    /// A bucket of entries that come in order and are fewer than `capacity`.
    fn build<'a>(depth: u8, capacity: usize, entries: impl Iterator<Item = &'a E>) -> Bucket<E>
    where
        E: 'a,
    {
        let mut bucket = Bucket { slots: vec![E::default(); capacity].into_boxed_slice(), len: 0, depth };
        let mut vacant = 0;
        for entry in entries {
            let at = vacant.max(bucket.home(entry.key()));
            if at < capacity {
                bucket.slots[at] = *entry;
                vacant = at + 1;
            } else {
                // The run wraps: these are the largest, and come before what begins at the first slot.
                let at = bucket.locate(entry.key()).unwrap_or_else(|at| at);
                bucket.open(at);
                bucket.slots[at] = *entry;
            }
            bucket.len += 1;
        }
        bucket
    }

    /// Shifts the run that begins at `at` by one, so that the slot can be written.
    fn open(&mut self, at: usize) {
        let end = self.slots.len();
        let is_vacant = |at: &usize| self.slots[*at].key().0 == 0;
        if let Some(vacant) = (at..end).find(is_vacant) {
            self.slots.copy_within(at..vacant, at + 1);
        } else if let Some(vacant) = (0..at).find(is_vacant) {
            self.slots.copy_within(0..vacant, 1);
            self.slots[0] = self.slots[end - 1];
            self.slots.copy_within(at..end - 1, at + 1);
        }
    }

    /// Empties the slot `at` by shifting the rest of its run back.
    fn close(&mut self, at: usize) {
        let mut last = at;
        loop {
            let next = self.next(last);
            let key = self.slots[next].key();
            if key.0 == 0 || self.distance(next, key) == 0 {
                break;
            }
            last = next;
        }
        if last >= at {
            self.slots.copy_within(at + 1..last + 1, at);
        } else {
            let end = self.slots.len();
            self.slots.copy_within(at + 1..end, at);
            self.slots[end - 1] = self.slots[0];
            self.slots.copy_within(1..last + 1, 0);
        }
        self.slots[last] = E::default();
    }

    fn home(&self, key: PathHash) -> usize {
        let below_prefix = ((key.0 >> 64) as u64) << self.depth >> 32;
        ((below_prefix * self.slots.len() as u64) >> 32) as usize
    }

    /// How far behind its home `key` lies at slot `at`.
    fn distance(&self, at: usize, key: PathHash) -> usize {
        let home = self.home(key);
        if at >= home { at - home } else { at + self.slots.len() - home }
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }
}

/// Entries that fit an array of the given rung: 256, 320, 384, 448, 512, 640, ... bytes.
fn rung<E>(rung: usize) -> usize {
    let bytes = (BYTES_MIN / 4 * (4 + rung % 4)) << (rung / 4);
    bytes / size_of::<E>()
}

/// The next larger capacity that has room for more than `capacity` entries.
fn capacity_above<E>(capacity: usize) -> usize {
    (0..).map(rung::<E>).find(|wider| *wider > capacity && *wider * 9 / 10 > capacity * 9 / 10).unwrap_or(capacity)
}

/// The smallest capacity at which `len` entries leave room to grow.
fn capacity_for<E>(len: usize) -> usize {
    if len == 0 {
        return 0;
    }
    (0..).map(rung::<E>).find(|capacity| len <= *capacity * 17 / 20).unwrap_or(len + 1)
}
