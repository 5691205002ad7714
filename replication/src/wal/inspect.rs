//! The log of a data directory as its operator sees it: headers, batches, what they continue, and the verdict. Reads with
//! recovery's own code and never writes.

use std::fmt;

use engine::zxid::Zxid;

use super::format::{
    BLOCK_BYTES, BatchHeader, BlockHeader, DirectoryId, HeaderFault, LinkKind, SEGMENT_BLOCKS_MAX, Seal, SegmentHeader,
    SegmentIdentity, SegmentSeq,
};
use super::recovery::{BlockJudge, BlockState, Checkpoint, DamageReason, SegmentSource, Verdict, Window, recover};

/// One line of an inspection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// A segment with a sound header begins.
    Segment(SegmentHeader),
    /// A segment without one.
    BadSegment(SegmentSeq, HeaderFault),
    /// A block that cannot be read.
    Unreadable(SegmentSeq, u32, DamageReason),
    /// A batch whose first block is whole.
    Batch {
        /// Its segment.
        segment: SegmentSeq,
        /// Its first block.
        block: u32,
        /// Blocks that it takes.
        blocks: u32,
        /// Blocks of it that are whole.
        whole: u32,
        /// Its header.
        header: BatchHeader,
    },
    /// Blocks in a row that belong to a batch whose first block is not whole.
    Loose {
        /// The segment.
        segment: SegmentSeq,
        /// The first of them.
        block: u32,
        /// How many.
        blocks: u32,
    },
    /// A block that is neither written nor as it was before.
    Bad(SegmentSeq, u32, DamageReason),
    /// A segment ends; so many of its blocks hold nothing of it.
    Unused(SegmentSeq, u32),
}

/// Shows what every segment holds, oldest first, live or not, and then the verdict that a start would reach.
pub fn inspect<S: SegmentSource>(
    segments: &mut [S],
    directory: DirectoryId,
    checkpoint: Checkpoint,
    on_finding: &mut dyn FnMut(&Finding),
) -> Verdict {
    segments.sort_by_key(|segment| segment.sequence());
    let mut window = Window::new();
    let mut headers = Vec::new();
    for source in segments.iter_mut() {
        window.clear();
        let header = if source.blocks() == 0 {
            Ok(Err(HeaderFault::Empty))
        } else {
            window.block(source, 0).map(|block| SegmentHeader::decode(block, directory))
        };
        headers.push(header);
    }
    let present: Vec<(SegmentSeq, SegmentIdentity)> =
        headers.iter().flatten().flatten().map(|header| (header.sequence, header.identity)).collect();
    for (source, header) in segments.iter_mut().zip(headers) {
        let sequence = source.sequence();
        match header {
            Err(reason) => on_finding(&Finding::Unreadable(sequence, 0, reason)),
            Ok(Err(fault)) => on_finding(&Finding::BadSegment(sequence, fault)),
            Ok(Ok(header)) => {
                on_finding(&Finding::Segment(header));
                window.clear();
                let seal = Seal::new(directory);
                let judge =
                    BlockJudge { seal, sequence: header.sequence, identity: header.identity, present: &present };
                inspect_blocks(source, &mut window, judge, on_finding);
            }
        }
    }
    recover(segments, directory, checkpoint, &mut |_, _| {})
}

fn inspect_blocks<S: SegmentSource>(
    source: &mut S,
    window: &mut Window,
    judge: BlockJudge<'_>,
    on_finding: &mut dyn FnMut(&Finding),
) {
    let segment = judge.sequence;
    let mut unused = 0;
    let mut open: Option<Finding> = None;
    for index in 1..source.blocks().min(SEGMENT_BLOCKS_MAX) {
        let bytes = match window.block(source, index) {
            Ok(bytes) => bytes,
            Err(reason) => {
                on_finding(&Finding::Unreadable(segment, index, reason));
                continue;
            }
        };
        let (start, is_whole) = match judge.judge(index, bytes) {
            BlockState::Empty => {
                unused += 1;
                continue;
            }
            BlockState::Bad(reason) => {
                flush(&mut open, on_finding);
                on_finding(&Finding::Bad(segment, index, reason));
                continue;
            }
            BlockState::Part { mark, .. } => (mark.start, false),
            BlockState::Whole { mark } if mark.start == index => {
                flush(&mut open, on_finding);
                let header = BatchHeader::read(bytes, mark.link);
                let blocks = BlockHeader::read(bytes).batch_blocks;
                open = Some(Finding::Batch { segment, block: index, blocks, whole: 1, header });
                continue;
            }
            BlockState::Whole { mark } => (mark.start, true),
        };
        match &mut open {
            Some(Finding::Batch { block, whole, .. }) if *block == start => *whole += u32::from(is_whole),
            Some(Finding::Loose { block, blocks, .. }) if *block + *blocks == index => *blocks += 1,
            _ => {
                flush(&mut open, on_finding);
                open = Some(Finding::Loose { segment, block: index, blocks: 1 });
            }
        }
    }
    flush(&mut open, on_finding);
    on_finding(&Finding::Unused(segment, unused));
}

fn flush(open: &mut Option<Finding>, on_finding: &mut dyn FnMut(&Finding)) {
    if let Some(finding) = open.take() {
        on_finding(&finding);
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |block: &u32| u64::from(*block) * BLOCK_BYTES as u64;
        match self {
            Finding::Segment(header) => write!(
                f,
                "segment {}: identity {:?}, {} bytes, made by server {}",
                header.sequence, header.identity, header.bytes, header.server
            ),
            Finding::BadSegment(sequence, fault) => write!(f, "segment {sequence}: {fault}"),
            Finding::Unreadable(_, block, reason) | Finding::Bad(_, block, reason) => {
                write!(f, "  offset {}: {reason}", at(block))
            }
            Finding::Batch { block, blocks, whole, header, .. } => {
                write!(f, "  offset {}: {} records", at(block), header.records)?;
                if header.records > 0 {
                    write!(f, " {} to {}", header.first, header.last)?;
                }
                write!(f, ", {blocks} blocks, commit {}", header.commit)?;
                if let Some(link) = header.link {
                    let kind = match link.kind {
                        LinkKind::Rollover => "continues",
                        LinkKind::Cut => "cuts off at",
                        LinkKind::Reset | LinkKind::None => "begins anew behind",
                    };
                    write!(f, ", {kind} {}", link.base)?;
                    if let Some(end) = link.previous {
                        write!(f, " (segment {}, offset {})", end.sequence, at(&end.block))?;
                    }
                }
                if whole < blocks { write!(f, ", torn: {whole} blocks whole") } else { Ok(()) }
            }
            Finding::Loose { block, blocks, .. } => {
                write!(f, "  offset {}: {blocks} blocks of a torn batch", at(block))
            }
            Finding::Unused(_, blocks) => write!(f, "  {blocks} blocks unused"),
        }
    }
}

/// The verdict in words.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = |committed: Zxid, last: Zxid| format!("up to {last}, known committed up to {committed}");
        match self {
            Verdict::Clean(log) => write!(f, "clean: {}", known(log.committed(), log.last())),
            Verdict::TornTail(log, tail) => write!(
                f,
                "torn tail, never acknowledged: segment {}, offset {}; {}",
                tail.segment,
                u64::from(tail.block) * BLOCK_BYTES as u64,
                known(log.committed(), log.last())
            ),
            Verdict::Damage(damage) => write!(f, "damage: {damage}; sound up to {}", damage.sound_until),
        }
    }
}
