//! Looking through a segment again, long after it was written: whether the disk still gives what it was given.

use super::format::{
    BLOCK_BYTES, DirectoryId, HeaderFault, SEGMENT_BLOCKS_MAX, Seal, SegmentHeader, SegmentIdentity, SegmentSeq,
};
use super::recovery::{BlockJudge, BlockState, DamageReason};

/// Checks the blocks of a segment that is written no more, judging them as recovery does, from bytes that come in order
/// and in pieces of any size.
///
/// Without the segments around it, it cannot say where the live part ends: a block that has become zeroes is found only
/// where a later batch is behind it.
pub struct SegmentCheck {
    seal: Seal,
    sequence: SegmentSeq,
    identity: Option<SegmentIdentity>,
    /// The block that `partial` belongs to.
    index: u32,
    partial: Vec<u8>,
    /// The first block that is not whole.
    gap: Option<u32>,
}

/// What is wrong with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SegmentFault {
    /// Its header.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// A block behind it.
    #[error(transparent)]
    Block(#[from] DamageReason),
}

impl SegmentCheck {
    /// Begins with block 0.
    pub fn new(directory: DirectoryId, sequence: SegmentSeq) -> SegmentCheck {
        SegmentCheck { seal: Seal::new(directory), sequence, identity: None, index: 0, partial: Vec::new(), gap: None }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The offset in the file and what is wrong there.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), (u64, SegmentFault)> {
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.partial.len()));
            bytes = rest;
            if piece.len() == BLOCK_BYTES {
                self.block(piece)?;
                continue;
            }
            self.partial.extend_from_slice(piece);
            if self.partial.len() == BLOCK_BYTES {
                let block = std::mem::take(&mut self.partial);
                self.block(&block)?;
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &[u8]) -> Result<(), (u64, SegmentFault)> {
        let index = self.index;
        if index >= SEGMENT_BLOCKS_MAX {
            // No part of a segment: marks cannot number it.
            return Ok(());
        }
        self.index += 1;
        let at = |index: u32| u64::from(index) * BLOCK_BYTES as u64;
        let Some(identity) = self.identity else {
            let header = SegmentHeader::decode(block, self.seal.directory()).map_err(|fault| (0, fault.into()))?;
            self.identity = Some(header.identity);
            return Ok(());
        };
        let judge = BlockJudge { seal: self.seal, sequence: self.sequence, identity, present: &[] };
        let mark = match judge.judge(index, block) {
            BlockState::Bad(reason) => return Err((at(index), reason.into())),
            BlockState::Whole { mark } => mark,
            BlockState::Part { mark, .. } => {
                self.gap.get_or_insert(index);
                mark
            }
            BlockState::Empty => {
                self.gap.get_or_insert(index);
                return Ok(());
            }
        };
        // Only the batch that was under way when writing ended may lack blocks.
        match self.gap {
            Some(gap) if mark.start > gap => Err((at(gap), DamageReason::Hole.into())),
            _ => Ok(()),
        }
    }
}
