//! A host in memory, and a few words for tests.

use super::super::*;
use crate::piece::HashedPath;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const ID: PartitionId = PartitionId(5);

/// An offset, and what was written there.
type Written = (u64, Vec<u8>);

/// A file in memory. It lends what was written, write by write: a record lies in one, and nobody may look further.
pub(super) struct MemoryFile {
    size: u64,
    writes: Box<[OnceLock<Written>]>,
    /// What it held in an earlier life, and still does where nothing was written. Nobody may ask for that.
    old: Vec<u8>,
    pub(super) absent: AtomicBool,
    /// A range that reads otherwise than it was written.
    rotten: OnceLock<Written>,
}

impl MemoryFile {
    /// A file to which nothing has been written in this life.
    fn used(old: Vec<u8>) -> Arc<MemoryFile> {
        let (size, writes) = (old.len() as u64, (0..512).map(|_| OnceLock::new()).collect());
        Arc::new(MemoryFile { size, writes, old, absent: AtomicBool::new(false), rotten: OnceLock::new() })
    }

    /// A file that was found with this content.
    pub(super) fn with(content: Vec<u8>) -> Arc<MemoryFile> {
        let end = content.len() as u64;
        MemoryFile::found(content, end)
    }

    /// A file that was found with this content, of which what is behind `end` counts for nothing.
    pub(super) fn found(content: Vec<u8>, end: u64) -> Arc<MemoryFile> {
        let written = content[..end as usize].to_vec();
        let file = MemoryFile::used(content);
        file.write(0, &written);
        file
    }

    pub(super) fn write(&self, offset: u64, bytes: &[u8]) {
        assert!(offset + bytes.len() as u64 <= self.size);
        let free = self.writes.iter().find(|write| write.get().is_none()).expect("a test writes less often");
        free.set((offset, bytes.to_vec())).unwrap();
    }

    /// Flips a bit of the last byte of a range.
    pub(super) fn rot(&self, range: Range<u64>) {
        let mut bytes = self.bytes(range.clone()).unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        self.rotten.set((range.start, bytes)).unwrap();
    }

    /// The whole file.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = self.old.clone();
        for (offset, bytes) in self.writes.iter().filter_map(OnceLock::get) {
            content[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        content
    }
}

impl SegmentBytes for MemoryFile {
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        if range.end > self.size {
            return None;
        }
        let writes = self.rotten.get().into_iter().chain(self.writes.iter().filter_map(OnceLock::get));
        let mut found = writes.filter_map(|(offset, bytes)| {
            bytes.get(range.start.checked_sub(*offset)? as usize..(range.end - offset) as usize)
        });
        Some(found.next().unwrap_or_else(|| panic!("{range:?} was never written")))
    }

    fn is_resident(&self, _: Range<u64>) -> bool {
        !self.absent.load(Ordering::Relaxed)
    }
}

/// The host: makes files, writes, and keeps what is still to be done until it is told to do it.
#[derive(Default)]
pub(super) struct Host {
    pub(super) todo: Vec<LogAction>,
    pub(super) files: BTreeMap<u32, Arc<MemoryFile>>,
    pub(super) generations: BTreeMap<u32, u32>,
    /// What the last manifest relies on.
    pub(super) relied_on: Vec<SegmentCut>,
    /// Removed files, to be used again as they are.
    pub(super) spares: Vec<Vec<u8>>,
    /// How often that happened.
    pub(super) reused: usize,
}

impl Host {
    /// Does the next `count` things.
    pub(super) fn work(&mut self, partition: &mut Partition, count: usize) {
        for _ in 0..count {
            partition.actions(&mut self.todo);
            if self.todo.is_empty() {
                return;
            }
            match self.todo.remove(0) {
                LogAction::NeedSegment { segment, bytes, generation, .. } => {
                    assert_eq!(bytes % BLOCK, 0);
                    let spare = self.spares.iter().position(|spare| spare.len() as u64 == bytes);
                    self.reused += usize::from(spare.is_some());
                    // Otherwise noise, which is no record either.
                    let old = spare.map_or(vec![0xEE; bytes as usize], |spare| self.spares.swap_remove(spare));
                    let file = MemoryFile::used(old);
                    assert!(self.files.insert(segment, Arc::clone(&file)).is_none(), "a number is used once");
                    self.generations.insert(segment, generation);
                    partition.segment_ready(segment, file);
                }
                LogAction::Write { segment, offset, bytes, generation, .. } => {
                    assert_eq!(self.generations[&segment], generation);
                    let block = offset / BLOCK * BLOCK;
                    let mut relied_on = self.relied_on.iter().filter(|cut| cut.segment == segment);
                    assert!(relied_on.all(|cut| cut.end <= block), "a block that a checkpoint relies on is written");
                    self.files[&segment].write(offset, &bytes);
                    partition.written(segment, offset + bytes.len() as u64);
                }
                LogAction::RemoveSegment { segment, generation, .. } => {
                    assert_eq!(self.generations[&segment], generation);
                    assert!(self.relied_on.iter().all(|cut| cut.segment != segment));
                    self.spares.push(self.files.remove(&segment).unwrap().content());
                }
            }
        }
    }

    /// The files that a cut names, as they are now.
    pub(super) fn files(&self, cut: &PartitionCut) -> Vec<Arc<dyn SegmentBytes>> {
        let copy = |segment: &SegmentCut| MemoryFile::with(self.files[&segment.segment].content());
        cut.segments.iter().map(|segment| copy(segment) as Arc<dyn SegmentBytes>).collect()
    }
}

pub(super) fn hash(path: &str) -> PathHash {
    PathHash(xxhash_rust::xxh3::xxh3_128(path.as_bytes()))
}

pub(super) fn hashed(path: &str) -> HashedPath {
    HashedPath { path: path.into(), hash: hash(path) }
}
