//! Files of partition logs, as the page cache and the disk have them.

use crate::wal::disk::Chance;
use engine::ids::PartitionId;
use engine::partition::SegmentBytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// What a page of the cache is: written out as a whole, or not at all.
const PAGE_BYTES: usize = 4096;
/// Writes that one file sees between two crashes at the most.
const WRITES_MAX: usize = 8192;

/// Partition, generation, segment.
pub(super) type FileName = (PartitionId, u32, u32);

type Write = (u64, Vec<u8>);

/// One file: what was written, write by write, and how many of the writes are flushed. What is lent out stays as it is.
pub(super) struct File {
    size: u64,
    writes: Box<[OnceLock<Write>]>,
    count: AtomicUsize,
    flushed: AtomicUsize,
}

impl File {
    pub(super) fn new(size: u64) -> Arc<File> {
        let writes = (0..WRITES_MAX).map(|_| OnceLock::new()).collect();
        Arc::new(File { size, writes, count: AtomicUsize::new(0), flushed: AtomicUsize::new(0) })
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.size, "a write stays in its file");
        let at = self.count.fetch_add(1, Ordering::Relaxed);
        assert!(self.writes[at].set((offset, bytes.to_vec())).is_ok());
    }

    /// The file with some bits of a byte turned over.
    fn flipped(&self, at: u64, bits: u8) -> Option<Arc<File>> {
        let mut content = self.bytes(0..self.size)?.to_vec();
        content[at as usize] ^= bits;
        let file = File::new(self.size);
        file.write(0, &content);
        file.flush();
        Some(file)
    }

    pub(super) fn flush(&self) {
        self.flushed.store(self.count.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The file as it is found after a crash: of what was not flushed any pages may be there.
    fn after_crash(&self, chance: &mut Chance, lost_pages: &mut u32) -> Arc<File> {
        let mut content = vec![0; self.size as usize];
        let flushed = self.flushed.load(Ordering::Relaxed);
        for (at, (offset, bytes)) in self.writes.iter().filter_map(OnceLock::get).enumerate() {
            for (page, part) in bytes.chunks(PAGE_BYTES).enumerate() {
                if at < flushed || chance.percent(60) {
                    let start = *offset as usize + page * PAGE_BYTES;
                    content[start..start + part.len()].copy_from_slice(part);
                } else {
                    *lost_pages += 1;
                }
            }
        }
        let file = File::new(self.size);
        file.write(0, &content);
        file.flush();
        file
    }
}

impl SegmentBytes for File {
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        if range.end > self.size {
            return None;
        }
        let count = self.count.load(Ordering::Relaxed);
        // The newest write that holds all of it: a tail is written again when it has grown.
        self.writes[..count].iter().rev().filter_map(OnceLock::get).find_map(|(offset, bytes)| {
            let start = range.start.checked_sub(*offset)? as usize;
            bytes.get(start..start + (range.end - range.start) as usize)
        })
    }

    fn is_resident(&self, _: Range<u64>) -> bool {
        true
    }
}

/// All files of partition logs.
#[derive(Default)]
pub(super) struct Files {
    files: BTreeMap<FileName, Arc<File>>,
}

impl Files {
    pub(super) fn create(&mut self, name: FileName, bytes: u64) -> Arc<File> {
        let file = File::new(bytes);
        assert!(self.files.insert(name, Arc::clone(&file)).is_none(), "{name:?} is made once");
        file
    }

    pub(super) fn get(&self, name: FileName) -> &Arc<File> {
        &self.files[&name]
    }

    pub(super) fn remove(&mut self, name: FileName) {
        assert!(self.files.remove(&name).is_some(), "{name:?} is removed once");
    }

    /// Some bits of a byte turn over, in a file as it is found after a crash.
    pub(super) fn flip(&mut self, name: FileName, at: u64, bits: u8) {
        if let Some(file) = self.files.get_mut(&name)
            && let Some(flipped) = file.flipped(at, bits)
        {
            *file = flipped;
        }
    }

    pub(super) fn flush_all(&self) {
        for file in self.files.values() {
            file.flush();
        }
    }

    pub(super) fn crash(&mut self, chance: &mut Chance, lost_pages: &mut u32) {
        for file in self.files.values_mut() {
            *file = file.after_crash(chance, lost_pages);
        }
    }

    /// The highest generation of any file.
    pub(super) fn newest_generation(&self) -> u32 {
        self.files.keys().map(|(_, generation, _)| *generation).max().unwrap_or(0)
    }

    /// Removes what the manifest does not name, as a start does.
    pub(super) fn keep_only(&mut self, named: &dyn Fn(FileName) -> bool) {
        self.files.retain(|name, _| named(*name));
    }
}
