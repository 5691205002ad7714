//! A disk for tests: segment files in memory, written by sectors, with the faults of real ones.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::format::{BLOCK_BYTES, DirectoryId, SECTOR_BYTES, SegmentHeader, SegmentIdentity, SegmentSeq};
use super::layout::SegmentHandle;
use super::recovery::SegmentSource;
use super::writer::{Prepare, RetiredSegment, WalWrite};

pub(super) const DIRECTORY: DirectoryId = DirectoryId(0x5eed_0000_d15c);

/// Segment files by number, and retired ones that wait to be used again, content and all.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<SegmentSeq, Vec<u8>>,
    spares: Vec<Vec<u8>>,
    identities: u64,
}

impl Disk {
    /// Prepares a segment as a host does, from a retired file of the size where there is one.
    pub(super) fn prepare(&mut self, prepare: Prepare) -> SegmentHandle {
        let Prepare { sequence, bytes } = prepare;
        let spare = self.spares.iter().position(|spare| spare.len() as u64 == bytes);
        let mut file = match spare {
            Some(index) => self.spares.remove(index),
            None => vec![0; bytes as usize],
        };
        self.identities += 1;
        let identity = SegmentIdentity(self.identities << 32 | 0xf00d);
        let header = SegmentHeader { directory: DIRECTORY, server: 7, sequence, identity, bytes };
        file[..BLOCK_BYTES].copy_from_slice(header.encode().as_slice());
        if let Some(replaced) = self.files.insert(sequence, file) {
            self.spares.push(replaced);
        }
        SegmentHandle { sequence, identity, bytes }
    }

    /// Persists those sectors of a write that `which` picks.
    pub(super) fn write(&mut self, write: &WalWrite, mut which: impl FnMut(usize) -> bool) {
        let file = self.files.get_mut(&write.segment).unwrap();
        for (number, sector) in write.buf.as_slice().chunks_exact(SECTOR_BYTES).enumerate() {
            if which(number) {
                let at = write.offset as usize + number * SECTOR_BYTES;
                file[at..at + SECTOR_BYTES].copy_from_slice(sector);
            }
        }
    }

    /// Takes a retired segment aside.
    pub(super) fn retire(&mut self, retired: RetiredSegment) {
        let file = self.files.remove(&retired.sequence).unwrap();
        assert_eq!(file.len() as u64, retired.bytes);
        self.spares.push(file);
    }

    /// Identity in a file's header.
    pub(super) fn identity(&self, sequence: SegmentSeq) -> Option<SegmentIdentity> {
        let header = SegmentHeader::decode(&self.files.get(&sequence)?[..BLOCK_BYTES], DIRECTORY);
        header.ok().map(|header| header.identity)
    }

    pub(super) fn block(&mut self, sequence: SegmentSeq, block: u32) -> &mut [u8] {
        let at = block as usize * BLOCK_BYTES;
        &mut self.files.get_mut(&sequence).unwrap()[at..at + BLOCK_BYTES]
    }

    /// What recovery reads, in no particular order.
    pub(super) fn sources(&self) -> Vec<FileSource<'_>> {
        let sources = self.files.iter().rev();
        sources.map(|(&sequence, bytes)| FileSource { sequence, bytes, unreadable: None }).collect()
    }
}

/// One file of the disk.
pub(super) struct FileSource<'a> {
    sequence: SegmentSeq,
    bytes: &'a [u8],
    /// A block at which reading fails.
    pub(super) unreadable: Option<u32>,
}

impl SegmentSource for FileSource<'_> {
    fn sequence(&self) -> SegmentSeq {
        self.sequence
    }

    fn blocks(&self) -> u32 {
        (self.bytes.len() / BLOCK_BYTES) as u32
    }

    fn read(&mut self, first: u32, into: &mut [u8]) -> std::io::Result<()> {
        let blocks = (into.len() / BLOCK_BYTES) as u32;
        if self.unreadable.is_some_and(|block| block >= first && block < first + blocks) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        let at = first as usize * BLOCK_BYTES;
        into.copy_from_slice(&self.bytes[at..at + into.len()]);
        Ok(())
    }
}

/// A small generator, so that a run is its seed.
#[derive(Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// The next number (splitmix64).
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Bytes of the length, compressible or not.
    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let (fill, noise) = (self.next() as u8, self.percent(50));
        (0..len).map(|_| if noise { self.next() as u8 } else { fill }).collect()
    }
}
