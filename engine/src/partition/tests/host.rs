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
    pub(super) absent: AtomicBool,
    /// A range that reads otherwise than it was written.
    rotten: OnceLock<Written>,
}

impl MemoryFile {
    /// A file of this size, to which nothing has been written.
    fn empty(size: u64) -> Arc<MemoryFile> {
        let writes = (0..512).map(|_| OnceLock::new()).collect();
        Arc::new(MemoryFile { size, writes, absent: AtomicBool::new(false), rotten: OnceLock::new() })
    }

    /// A file that was found with this content.
    pub(super) fn with(content: Vec<u8>) -> Arc<MemoryFile> {
        MemoryFile::found(content.len() as u64, &content)
    }

    /// A file of which only the beginning has been written.
    pub(super) fn found(size: u64, written: &[u8]) -> Arc<MemoryFile> {
        let file = MemoryFile::empty(size);
        file.write(0, written);
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

    /// The whole file, with noise where nothing was written.
    pub(super) fn content(&self) -> Vec<u8> {
        let mut content = vec![0xEE; self.size as usize];
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
                    let file = MemoryFile::empty(bytes);
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
                    self.files.remove(&segment).unwrap();
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
