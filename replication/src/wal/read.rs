//! Records of the live log, for followers that lag and shards that replay: where the next ones lie, and taking the blocks
//! read there apart. Batch by batch, so that the caller decides when and how to read.

use engine::zxid::Zxid;

use super::batch::{Records, flatten};
use super::format::{BLOCK_BYTES, BatchHeader, DirectoryId, LinkKind, Seal, SegmentIdentity, SegmentSeq, chain_over};
use super::layout::LogLayout;
use super::recovery::{BlockJudge, BlockState, DamageReason, SegmentSource};

/// One batch of the live log on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchPlace {
    /// Its segment.
    pub segment: SegmentSeq,
    /// That segment's identity.
    pub identity: SegmentIdentity,
    /// Its first block; it begins at this times [`BLOCK_BYTES`].
    pub block: u32,
    /// Blocks of it.
    pub blocks: u32,
    /// Its checksum.
    pub chain: u32,
    /// Zxid of its last live record.
    pub last: Zxid,
}

/// Why records could not be read back from the live log: the log is damaged, and to be treated as after a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write-ahead log segment {segment}, block {block}: {reason}; take this server out and check the disk")]
pub struct ReadDamage {
    /// The segment.
    pub segment: SegmentSeq,
    /// The block.
    pub block: u32,
    /// What is wrong there.
    pub reason: DamageReason,
}

impl LogLayout {
    /// The first batch with a live record behind `after`. `None` at the end of the log. Whether the log reaches back far
    /// enough is for the caller to see: records up to [`base`](LogLayout::base) are not in it.
    pub fn next_batch(&self, after: Zxid) -> Option<BatchPlace> {
        let segments = self.segments().filter(|segment| !segment.is_void());
        for segment in segments {
            let index = segment.batches.partition_point(|batch| batch.last <= after);
            let Some(batch) = segment.batches.get(index) else { continue };
            let block = index.checked_sub(1).map_or(1, |before| segment.batches[before].end);
            return Some(BatchPlace {
                segment: segment.sequence,
                identity: segment.identity,
                block,
                blocks: batch.end - block,
                chain: batch.chain,
                last: batch.last,
            });
        }
        None
    }
}

impl BatchPlace {
    /// Bytes of the batch on disk.
    pub fn bytes(&self) -> usize {
        self.blocks as usize * BLOCK_BYTES
    }

    /// Checks the blocks read from this place and hands over their live records behind `after`, in order.
    ///
    /// # Errors
    /// When they are not what was written there; nothing has been handed over then.
    pub fn records(
        &self,
        directory: DirectoryId,
        blocks: &[u8],
        after: Zxid,
        on_record: &mut dyn FnMut(Zxid, &[u8]),
    ) -> Result<(), ReadDamage> {
        let damage = |block, reason| ReadDamage { segment: self.segment, block, reason };
        if blocks.len() != self.bytes() {
            return Err(damage(self.block, DamageReason::Hole));
        }
        let seal = Seal::new(directory);
        let judge = BlockJudge { seal, sequence: self.segment, identity: self.identity, present: &[] };
        let mut chain = 0;
        let mut link = LinkKind::None;
        for (index, bytes) in (self.block..).zip(blocks.chunks_exact(BLOCK_BYTES)) {
            match judge.judge(index, bytes) {
                BlockState::Whole { mark } if mark.start == self.block => link = mark.link,
                BlockState::Bad(reason) => return Err(damage(index, reason)),
                _ => return Err(damage(index, DamageReason::Hole)),
            }
            chain = chain_over(chain, bytes);
        }
        if chain != self.chain {
            return Err(damage(self.block, DamageReason::ChainBroken));
        }
        let header = BatchHeader::read(blocks, link);
        let mut flat = Vec::new();
        flatten(blocks, &mut flat);
        let record_bytes = usize::try_from(header.record_bytes).ok().and_then(|len| flat.get(..len));
        let Some(record_bytes) = record_bytes else { return Err(damage(self.block, DamageReason::Malformed)) };
        for (zxid, bytes) in Records::new(record_bytes) {
            if zxid > after && zxid <= self.last {
                on_record(zxid, bytes);
            }
        }
        Ok(())
    }
}

/// Reads the live records in `(after, upto]` from segment files, in order.
///
/// # Errors
/// At the first batch that cannot be read or is not what was written.
pub fn replay<S: SegmentSource>(
    segments: &mut [S],
    layout: &LogLayout,
    directory: DirectoryId,
    after: Zxid,
    upto: Zxid,
    on_record: &mut dyn FnMut(Zxid, &[u8]),
) -> Result<(), ReadDamage> {
    let mut buf = hardware::aligned::AlignedBuf::with_capacity(BLOCK_BYTES);
    let mut done = after;
    while let Some(place) = layout.next_batch(done).filter(|_| done < upto) {
        let damage = |reason| ReadDamage { segment: place.segment, block: place.block, reason };
        let source = segments.iter_mut().find(|source| source.sequence() == place.segment);
        let source = source.ok_or(damage(DamageReason::Missing))?;
        buf.resize(place.bytes());
        source.read(place.block, buf.as_mut_slice()).map_err(|error| damage(DamageReason::Unreadable(error.kind())))?;
        place.records(directory, buf.as_slice(), done, &mut |zxid, bytes| {
            if zxid <= upto {
                on_record(zxid, bytes);
            }
        })?;
        done = place.last;
    }
    Ok(())
}
