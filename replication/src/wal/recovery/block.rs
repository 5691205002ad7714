//! One block: read, and judged by its sectors.

use hardware::aligned::AlignedBuf;

use super::{DamageReason, SegmentSource};
use crate::wal::format::{
    BLOCK_BYTES, BlockHeader, Mark, SECTOR_BYTES, SECTORS_PER_BLOCK, SEGMENT_BLOCKS_MAX, Seal, Sector, SegmentIdentity,
    SegmentSeq,
};

/// Blocks read at once.
const WINDOW_BLOCKS: u32 = 128;

/// A block as recovery sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::wal) enum BlockState {
    /// No sector of this use of the segment.
    Empty,
    /// Some sectors of one batch; `first` tells whether the first one, with the headers, is among them.
    Part { mark: Mark, first: bool },
    /// All sectors.
    Whole { mark: Mark },
    /// Not what any write of ours, finished or not, leaves behind.
    Bad(DamageReason),
}

/// Judges the blocks of one segment.
#[derive(Clone, Copy)]
pub(in crate::wal) struct BlockJudge<'a> {
    pub(in crate::wal) seal: Seal,
    pub(in crate::wal) sequence: SegmentSeq,
    pub(in crate::wal) identity: SegmentIdentity,
    /// Identities of all segments present: a sector of one of them in another was written to the wrong place.
    pub(in crate::wal) present: &'a [(SegmentSeq, SegmentIdentity)],
}

impl BlockJudge<'_> {
    pub(in crate::wal) fn judge(&self, index: u32, block: &[u8]) -> BlockState {
        let mut found: Option<Mark> = None;
        let mut ours = 0;
        let mut first = false;
        for (number, sector) in block.chunks_exact(SECTOR_BYTES).enumerate() {
            match self.seal.open(sector, index * SECTORS_PER_BLOCK as u32 + number as u32) {
                Sector::Blank => {}
                Sector::Sealed { identity, mark, .. } if identity == self.identity => {
                    if found.is_some_and(|before| before != mark) {
                        return BlockState::Bad(DamageReason::Malformed);
                    }
                    found = Some(mark);
                    ours += 1;
                    first |= number == 0;
                }
                Sector::Sealed { identity, .. } => {
                    if let Some(sequence) = self.owner(identity) {
                        return BlockState::Bad(DamageReason::Misplaced { sequence, block: index });
                    }
                }
                Sector::Broken { .. } => return BlockState::Bad(self.diagnose(index, block)),
            }
        }
        let Some(mark) = found else { return BlockState::Empty };
        if first {
            let header = BlockHeader::read(block);
            let fits = header.directory == self.seal.directory()
                && header.sequence == self.sequence
                && header.index == index
                && mark.start <= index
                && index - mark.start < header.batch_blocks;
            if !fits {
                return BlockState::Bad(DamageReason::Malformed);
            }
        }
        if ours == SECTORS_PER_BLOCK { BlockState::Whole { mark } } else { BlockState::Part { mark, first } }
    }

    /// Says what a bad block most likely is. Only the words depend on it: it is damage in any case.
    fn diagnose(&self, index: u32, block: &[u8]) -> DamageReason {
        let header = BlockHeader::read(block);
        let whole_at = |seal: Seal, index: u32| {
            block.chunks_exact(SECTOR_BYTES).enumerate().all(|(number, sector)| {
                matches!(seal.open(sector, index * SECTORS_PER_BLOCK as u32 + number as u32), Sector::Sealed { .. })
            })
        };
        if header.directory != self.seal.directory() && whole_at(Seal::new(header.directory), index) {
            return DamageReason::ForeignDirectory(header.directory);
        }
        if header.index < SEGMENT_BLOCKS_MAX && header.index != index && whole_at(self.seal, header.index) {
            return DamageReason::Misplaced { sequence: header.sequence, block: header.index };
        }
        DamageReason::Checksum
    }

    fn owner(&self, identity: SegmentIdentity) -> Option<SegmentSeq> {
        self.present.iter().find(|(_, other)| *other == identity).map(|&(sequence, _)| sequence)
    }
}

/// Reads a segment's blocks through a window, so that neighbours cost one read.
pub(in crate::wal) struct Window {
    buf: AlignedBuf,
    first: u32,
    blocks: u32,
}

impl Window {
    pub(in crate::wal) fn new() -> Window {
        Window { buf: AlignedBuf::zeroed(WINDOW_BLOCKS as usize * BLOCK_BYTES), first: 0, blocks: 0 }
    }

    /// Forgets what it holds: before another segment is read.
    pub(in crate::wal) fn clear(&mut self) {
        self.blocks = 0;
    }

    /// One block of `source`.
    pub(in crate::wal) fn block<S: SegmentSource>(
        &mut self,
        source: &mut S,
        index: u32,
    ) -> Result<&[u8], DamageReason> {
        if index < self.first || index >= self.first + self.blocks {
            self.fill(source, index)?;
        }
        let at = (index - self.first) as usize * BLOCK_BYTES;
        Ok(&self.buf.as_slice()[at..at + BLOCK_BYTES])
    }

    /// Has these blocks read in one go, if there is room for all of them, so that going over them again costs nothing.
    pub(in crate::wal) fn cover<S: SegmentSource>(&mut self, source: &mut S, first: u32, blocks: u32) {
        let is_here = self.first <= first && first + blocks <= self.first + self.blocks;
        if !is_here && blocks <= WINDOW_BLOCKS {
            // What cannot be read is found out when it is asked for.
            let _ = self.fill(source, first);
        }
    }

    fn fill<S: SegmentSource>(&mut self, source: &mut S, index: u32) -> Result<(), DamageReason> {
        self.first = index;
        let many = WINDOW_BLOCKS.min(source.blocks().saturating_sub(index));
        // One bad sector must not take its neighbours with it.
        for blocks in [many, 1] {
            self.blocks = 0;
            match source.read(index, &mut self.buf.as_mut_slice()[..blocks as usize * BLOCK_BYTES]) {
                Ok(()) => {
                    self.blocks = blocks;
                    return Ok(());
                }
                Err(error) if blocks == 1 => return Err(DamageReason::Unreadable(error.kind())),
                Err(_) => {}
            }
        }
        Ok(())
    }
}
