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

/// Bytes that are read in one go, where batches lie one behind the other.
const RUN_BYTES: usize = 1 << 20;

impl LogLayout {
    /// The batches with a live record behind `after`, in order. Whether the log reaches back far enough is for the caller
    /// to see: records up to [`base`](LogLayout::base) are not in it.
    pub fn batches(&self, after: Zxid) -> impl Iterator<Item = BatchPlace> {
        self.segments().filter(|segment| !segment.is_void()).flat_map(move |segment| {
            let first = segment.batches.partition_point(|batch| batch.last <= after);
            (first..).zip(&segment.batches[first..]).map(|(index, batch)| {
                let block = index.checked_sub(1).map_or(1, |before| segment.batches[before].end);
                BatchPlace {
                    segment: segment.sequence,
                    identity: segment.identity,
                    block,
                    blocks: batch.end - block,
                    chain: batch.chain,
                    last: batch.last,
                }
            })
        })
    }

    /// The first batch with a live record behind `after`; `None` at the end of the log.
    pub fn next_batch(&self, after: Zxid) -> Option<BatchPlace> {
        self.batches(after).next()
    }

    /// Bytes on disk of the batches with a live record behind `after`.
    pub fn bytes_behind(&self, after: Zxid) -> u64 {
        let live = self.segments().filter(|segment| !segment.is_void());
        live.map(|segment| {
            let first = segment.batches.partition_point(|batch| batch.last <= after);
            let begin = first.checked_sub(1).map_or(1, |before| segment.batches[before].end);
            let blocks = segment.batches[first..].last().map_or(0, |batch| batch.end - begin);
            u64::from(blocks) * BLOCK_BYTES as u64
        })
        .sum()
    }

    /// The batches to read for the records in `(after, upto]`, as many as make about `bytes_max`, at least one; and
    /// whether no more of them are needed.
    pub fn plan_read(&self, after: Zxid, upto: Zxid, bytes_max: usize) -> (Vec<BatchPlace>, bool) {
        let (mut places, mut bytes, mut reached) = (Vec::new(), 0, after);
        let mut batches = self.batches(after);
        while reached < upto && bytes < bytes_max {
            let Some(place) = batches.next() else { return (places, true) };
            bytes += place.bytes();
            reached = place.last;
            places.push(place);
        }
        (places, reached >= upto)
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
    let (places, _) = layout.plan_read(after, upto, usize::MAX);
    read_places(segments, &places, directory, after, upto, on_record)
}

/// Reads the live records in `(after, upto]` that lie in these places, in order.
///
/// # Errors
/// At the first batch that cannot be read or is not what was written there: also when its segment has been put to another
/// use meanwhile, which its identity shows.
pub fn read_places<S: SegmentSource>(
    segments: &mut [S],
    places: &[BatchPlace],
    directory: DirectoryId,
    after: Zxid,
    upto: Zxid,
    on_record: &mut dyn FnMut(Zxid, &[u8]),
) -> Result<(), ReadDamage> {
    let mut buf = hardware::aligned::AlignedBuf::with_capacity(BLOCK_BYTES);
    let mut rest = places;
    while let Some(first) = rest.first() {
        let (run, later) = rest.split_at(run_length(rest));
        rest = later;
        let damage = |reason| ReadDamage { segment: first.segment, block: first.block, reason };
        let source = segments.iter_mut().find(|source| source.sequence() == first.segment);
        let source = source.ok_or(damage(DamageReason::Missing))?;
        buf.resize(run.iter().map(BatchPlace::bytes).sum());
        source.read(first.block, buf.as_mut_slice()).map_err(|error| damage(DamageReason::Unreadable(error.kind())))?;
        let mut blocks = buf.as_slice();
        for place in run {
            let (batch, behind) = blocks.split_at(place.bytes());
            blocks = behind;
            place.records(directory, batch, after, &mut |zxid, bytes| {
                if zxid <= upto {
                    on_record(zxid, bytes);
                }
            })?;
        }
    }
    Ok(())
}

/// How many of the places, from the first on, lie one behind the other and are read in one go.
fn run_length(places: &[BatchPlace]) -> usize {
    let (mut count, mut bytes) = (0, 0);
    for place in places {
        let follows = count == 0 || {
            let before = &places[count - 1];
            before.segment == place.segment && before.block + before.blocks == place.block
        };
        if !follows || (count > 0 && bytes + place.bytes() > RUN_BYTES) {
            break;
        }
        bytes += place.bytes();
        count += 1;
    }
    count
}
