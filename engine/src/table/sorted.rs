//! A table made of entries that come in the order of their keys.

use super::bucket::Bucket;
use super::{BUCKET_MAX, DEPTH_MAX, StepTable, TableEntry, slot_at};

/// Takes the entries and makes the table, bucket by bucket: nothing is shifted, split or rebuilt.
pub struct SortedTable<E> {
    /// The buckets that are complete.
    table: StepTable<E>,
    /// Entries of the next one.
    pending: Vec<E>,
}

impl<E: TableEntry> SortedTable<E> {
    /// None yet, of about so many entries.
    pub fn new(len: usize) -> SortedTable<E> {
        SortedTable { table: StepTable::without_buckets(depth_for(len)), pending: Vec::new() }
    }

    /// The next entry, whose key must be above all that came.
    pub fn push(&mut self, entry: E) {
        self.table.len += 1;
        let key = entry.key();
        if key.0 == 0 {
            self.table.zero = Some(entry);
            return;
        }
        debug_assert!(self.pending.last().is_none_or(|last| last.key() < key), "in order, each once");
        let slot = slot_at(key, self.table.depth);
        while self.table.directory.len() < slot {
            self.complete();
        }
        self.pending.push(entry);
    }

    /// The table.
    pub fn finish(mut self) -> StepTable<E> {
        while self.table.directory.len() < 1 << self.table.depth {
            self.complete();
        }
        self.table
    }

    fn complete(&mut self) {
        self.table.add_bucket(Bucket::from_sorted(self.table.depth as u8, &self.pending));
        self.pending.clear();
    }
}

/// Bits that tell the buckets of a table of so many entries apart.
pub(super) fn depth_for(len: usize) -> usize {
    (0..DEPTH_MAX).find(|depth| len >> depth <= BUCKET_MAX * 3 / 4).unwrap_or(DEPTH_MAX)
}
