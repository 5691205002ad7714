//! Where things lie in the log: per segment what it continues and where its batches end. Recovery builds it, the writer
//! carries it on, and truncation, retirement and readers look things up in it. About 24 bytes per batch.

use std::collections::VecDeque;

use engine::zxid::Zxid;

use super::format::{BLOCK_BYTES, Link, LinkKind, LogEnd, SegmentIdentity, SegmentSeq};

/// The end of one batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchMark {
    /// Zxid of its last live record, or the base of the log when it has none.
    pub last: Zxid,
    /// The first block behind it.
    pub end: u32,
    /// Its checksum.
    pub chain: u32,
    /// Its records, void ones included.
    pub records: u32,
}

/// One segment that a batch was written to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentLayout {
    /// Its number.
    pub sequence: SegmentSeq,
    /// This use of its file.
    pub identity: SegmentIdentity,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What its first batch continues; `None` for a segment that is void as a whole.
    pub link: Option<Link>,
    /// Its live batches in order; none in a void segment.
    pub batches: Vec<BatchMark>,
}

impl SegmentLayout {
    /// Whether no record in it counts any more.
    pub fn is_void(&self) -> bool {
        self.link.is_none()
    }

    fn void(&mut self) {
        self.link = None;
        self.batches = Vec::new();
    }

    fn records(&self) -> u64 {
        self.batches.iter().map(|batch| u64::from(batch.records)).sum()
    }
}

/// The segments of the log, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogLayout {
    segments: VecDeque<SegmentLayout>,
}

/// Where to cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CutPoint {
    /// Behind a batch (records of it beyond the zxid are void).
    Behind(LogEnd),
    /// At the very start of the log: nothing of it is left.
    Everything,
}

impl LogLayout {
    /// The segments, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = &SegmentLayout> + ExactSizeIterator {
        self.segments.iter()
    }

    /// The zxid behind which the log begins: records up to it are not in it (any more).
    pub fn base(&self) -> Zxid {
        self.segments.iter().find_map(|segment| segment.link).map_or(Zxid::ZERO, |link| link.base)
    }

    /// The zxid at which the log began anew the last time: which history it belongs to.
    pub fn origin(&self) -> Zxid {
        self.segments.iter().rev().find_map(|segment| segment.link).map_or(Zxid::ZERO, |link| link.origin)
    }

    /// Zxid of the last record, or the base.
    pub fn last(&self) -> Zxid {
        self.newest_batch().map_or_else(|| self.base(), |(_, batch)| batch.last)
    }

    /// Where the chain ends; `None` while nothing has been written.
    pub fn end(&self) -> Option<LogEnd> {
        self.newest_batch().map(|(segment, batch)| log_end(segment, batch))
    }

    /// Bytes of all segment files in it.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    pub(super) fn push(&mut self, segment: SegmentLayout) {
        self.segments.push_back(segment);
    }

    /// Adds a batch that is durable: to the newest segment, or as the first of a new one.
    pub(super) fn extend(&mut self, handle: &SegmentHandle, link: Option<Link>, batch: BatchMark) {
        if let Some(link) = link {
            self.void_behind(link);
            self.segments.push_back(SegmentLayout {
                sequence: handle.sequence,
                identity: handle.identity,
                bytes: handle.bytes,
                link: Some(link),
                batches: Vec::new(),
            });
        }
        if let Some(newest) = self.segments.back_mut() {
            newest.batches.push(batch);
        }
    }

    /// Adds a batch to a segment that is in the layout already.
    pub(super) fn add_batch(&mut self, sequence: SegmentSeq, batch: BatchMark) {
        if let Some(segment) = self.segments.iter_mut().rev().find(|segment| segment.sequence == sequence) {
            segment.batches.push(batch);
        }
    }

    /// Marks void the segments in which no batch was found.
    pub(super) fn void_unwalked(&mut self) {
        self.segments.iter_mut().filter(|segment| segment.batches.is_empty()).for_each(SegmentLayout::void);
    }

    /// Number of the newest segment.
    pub(super) fn newest(&self) -> Option<SegmentSeq> {
        self.segments.back().map(|segment| segment.sequence)
    }

    /// Finds where the log has to end for `after` to be its last possible zxid; `None` when it is older than the base.
    pub(super) fn cut_point(&self, after: Zxid) -> Option<CutPoint> {
        for segment in self.segments.iter().rev() {
            let Some(link) = segment.link else { continue };
            if after > link.base {
                let index = segment.batches.partition_point(|batch| batch.last < after);
                let batch = segment.batches.get(index).or(segment.batches.last())?;
                return Some(CutPoint::Behind(log_end(segment, batch)));
            }
            if after == link.base {
                // The end that the segment itself continues; in the oldest one that lies in a retired file.
                let retired = |end: &LogEnd| self.segments.iter().all(|other| other.sequence != end.sequence);
                return Some(match link.previous.filter(|end| !retired(end)) {
                    Some(end) => CutPoint::Behind(end),
                    None => CutPoint::Everything,
                });
            }
        }
        if self.end().is_none() && after == Zxid::ZERO { Some(CutPoint::Everything) } else { None }
    }

    /// Takes out the oldest segments that nobody needs: void ones, and those with no record beyond `upto`, as long as
    /// `keep_records` stay behind them or the whole is larger than `keep_bytes`. The newest always stays.
    pub(super) fn retire(&mut self, upto: Zxid, keep_records: u64, keep_bytes: u64) -> Vec<SegmentLayout> {
        let mut behind: u64 = self.segments.iter().map(SegmentLayout::records).sum();
        let mut bytes = self.bytes();
        let mut retired = Vec::new();
        if self.segments.back().is_none_or(SegmentLayout::is_void) {
            // What is void now is needed until a newer segment says so.
            return retired;
        }
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front() else { break };
            behind -= oldest.records();
            let last = oldest.batches.last().map_or(Zxid::ZERO, |batch| batch.last);
            let needed = last > upto || (behind < keep_records && bytes <= keep_bytes);
            if !oldest.is_void() && needed {
                break;
            }
            bytes -= oldest.bytes;
            retired.extend(self.segments.pop_front());
        }
        retired
    }

    /// Marks void what a durable link leaves behind.
    fn void_behind(&mut self, link: Link) {
        for segment in &mut self.segments {
            let Some(end) = link.previous else {
                segment.void();
                continue;
            };
            if segment.sequence > end.sequence {
                segment.void();
            } else if segment.sequence == end.sequence {
                segment.batches.retain(|batch| batch.end <= end.block);
                if let Some(batch) = segment.batches.last_mut() {
                    batch.last = batch.last.min(link.base);
                }
            }
        }
        debug_assert!(link.kind == LinkKind::Reset || link.previous.is_some());
    }

    fn newest_batch(&self) -> Option<(&SegmentLayout, &BatchMark)> {
        self.segments.iter().rev().find_map(|segment| segment.batches.last().map(|batch| (segment, batch)))
    }
}

/// A segment that is ready to be written: allocated, its header durable, and known to the directory by its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHandle {
    /// The number that was asked for.
    pub sequence: SegmentSeq,
    /// The identity in its header.
    pub identity: SegmentIdentity,
    /// Size of the file in bytes, at least what was asked for.
    pub bytes: u64,
}

impl SegmentHandle {
    /// Blocks of the file, the header's included.
    pub(super) fn blocks(&self) -> u64 {
        self.bytes / BLOCK_BYTES as u64
    }
}

fn log_end(segment: &SegmentLayout, batch: &BatchMark) -> LogEnd {
    LogEnd { sequence: segment.sequence, identity: segment.identity, block: batch.end, chain: batch.chain }
}
