//! The scan: which segments are live, what they hold, and where the log ends.

use engine::zxid::Zxid;

use super::{
    BlockJudge, BlockState, Checkpoint, Damage, DamageReason, Recovered, SegmentSource, TornTail, Verdict, Window,
    link_fits,
};
use crate::wal::batch::{Records, flatten, records_match};
use crate::wal::format::{
    BLOCK_BYTES, BatchHeader, BlockHeader, DirectoryId, HeaderFault, Link, LinkKind, LogEnd, Mark, Seal, SegmentHeader,
    SegmentIdentity, SegmentSeq, chain_over,
};
use crate::wal::layout::{BatchMark, LogLayout, SegmentLayout};

/// Judges the log of `directory`, and hands the live records behind the checkpoint to `on_record`, in order. With a
/// verdict of damage those handed over are what was found ahead of it, and nothing may rest on them.
///
/// Memory: one batch, and about 24 bytes per batch of the log.
pub fn recover<S: SegmentSource>(
    segments: &mut [S],
    directory: DirectoryId,
    checkpoint: Checkpoint,
    on_record: &mut dyn FnMut(Zxid, &[u8]),
) -> Verdict {
    recover_deciding(segments, directory, checkpoint, &mut |zxid, bytes, _| on_record(zxid, bytes))
}

/// [`recover`], which says with each record up to where the log is known to be committed by then: what it hands over up
/// to there is, whatever comes later, unless the verdict is damage.
pub fn recover_deciding<S: SegmentSource>(
    segments: &mut [S],
    directory: DirectoryId,
    checkpoint: Checkpoint,
    on_record: &mut dyn FnMut(Zxid, &[u8], Zxid),
) -> Verdict {
    let mut scan = Scan::new(segments, directory, checkpoint, on_record);
    match scan.run() {
        Ok(verdict) => verdict,
        Err(fault) => Verdict::Damage(Box::new(scan.damage(fault))),
    }
}

/// The zxid of the state behind which the log of `directory` was last begun anew ([`WalWriter::reset`]), and the segment
/// that says so, which has to be flushed before anything rests on it; `None` for a log without a whole batch. Of a log
/// that is damaged at its end it says nothing either; [`recover`] says what is wrong.
///
/// [`WalWriter::reset`]: crate::wal::WalWriter::reset
pub fn origin<S: SegmentSource>(segments: &mut [S], directory: DirectoryId) -> Option<(Zxid, SegmentSeq)> {
    let mut ignore = |_: Zxid, _: &[u8], _: Zxid| {};
    let mut scan = Scan::new(segments, directory, Checkpoint::Local(Zxid::ZERO), &mut ignore);
    scan.find_beginnings().ok()?;
    let newest = scan.views.iter().rfind(|view| !matches!(view.begin, Begin::Not))?;
    match newest.begin {
        Begin::Begun(link, _) => Some((link.origin, newest.sequence)),
        Begin::Not | Begin::Bad(..) => None,
    }
}

/// Damage at a place, before what is around it has been gathered.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct Fault {
    pub(in crate::wal) segment: SegmentSeq,
    pub(in crate::wal) block: u32,
    pub(in crate::wal) reason: DamageReason,
}

struct Scan<'a, S> {
    seal: Seal,
    checkpoint: Checkpoint,
    segments: &'a mut [S],
    views: Vec<View>,
    identities: Vec<(SegmentSeq, SegmentIdentity)>,
    window: Window,
    /// Segment that the window shows.
    window_of: usize,
    flat: Vec<u8>,
    layout: LogLayout,
    last: Zxid,
    committed: Zxid,
    /// What the last cut that is still ahead let stand of it.
    commit_limit: Option<Zxid>,
    /// Whether the live segments are known and being gone through: only then a salvage makes sense.
    forward: bool,
    on_record: &'a mut dyn FnMut(Zxid, &[u8], Zxid),
}

/// A segment with a sound header.
#[derive(Clone, Copy, Debug)]
struct View {
    sequence: SegmentSeq,
    identity: SegmentIdentity,
    blocks: u32,
    begin: Begin,
}

/// The first batch of a segment.
#[derive(Clone, Copy, Debug)]
enum Begin {
    /// Nothing whole.
    Not,
    /// Whole; it has this link, and this commit point.
    Begun(Link, Zxid),
    /// Not what a write leaves behind.
    Bad(u32, DamageReason),
}

/// What lies at a place where a batch may begin.
enum Found {
    Nothing,
    Torn,
    Batch { header: BatchHeader, blocks: u32, chain: u32 },
}

impl<'a, S: SegmentSource> Scan<'a, S> {
    fn new(
        segments: &'a mut [S],
        directory: DirectoryId,
        checkpoint: Checkpoint,
        on_record: &'a mut dyn FnMut(Zxid, &[u8], Zxid),
    ) -> Scan<'a, S> {
        segments.sort_by_key(|segment| segment.sequence());
        Scan {
            seal: Seal::new(directory),
            checkpoint,
            segments,
            views: Vec::new(),
            identities: Vec::new(),
            window: Window::new(),
            window_of: usize::MAX,
            flat: Vec::new(),
            layout: LogLayout::default(),
            last: Zxid::ZERO,
            committed: Zxid::ZERO,
            commit_limit: None,
            forward: false,
            on_record,
        }
    }

    /// Reads the header and the first batch of every segment.
    fn find_beginnings(&mut self) -> Result<(), Fault> {
        self.read_headers()?;
        for index in 0..self.views.len() {
            if let Begin::Bad(..) = self.views[index].begin {
                continue;
            }
            self.views[index].begin = match self.find_batch(index, 1) {
                Ok(Found::Batch { header: BatchHeader { link: Some(link), commit, .. }, .. }) => {
                    Begin::Begun(link, commit)
                }
                Ok(Found::Batch { .. }) => Begin::Bad(1, DamageReason::Malformed),
                Ok(Found::Nothing | Found::Torn) => Begin::Not,
                Err(fault) => Begin::Bad(fault.block, fault.reason),
            };
        }
        Ok(())
    }

    fn run(&mut self) -> Result<Verdict, Fault> {
        self.find_beginnings()?;
        let newest = self.views.iter().rposition(|view| !matches!(view.begin, Begin::Not));
        let live = match newest {
            Some(newest) => self.live_segments(newest)?,
            None => Vec::new(),
        };
        if let (None, Some(lowest)) = (newest, self.views.first().map(|view| view.sequence))
            && lowest > SegmentSeq(1)
        {
            // The newest segment that was written to always stays.
            return Err(Fault { segment: SegmentSeq(lowest.0 - 1), block: 0, reason: DamageReason::Missing });
        }
        // Ahead of all else: if one of these turns out to have been in use, where the log ends is not known.
        let torn_opening = self.judge_unused(newest)?;
        if let Checkpoint::Installed(base) = self.checkpoint
            && live.last().is_none_or(|&(_, link)| link.origin != base)
        {
            // What is missing behind the newest may have been the beginning of the new log.
            self.check_gaps(newest.unwrap_or(0))?;
            return Ok(Verdict::Clean(self.superseded(newest, base)));
        }
        let checkpoint = self.checkpoint.zxid();
        if let Some(&(oldest, Link { base, .. })) = live.first()
            && base > checkpoint
        {
            let reason = DamageReason::BeginsLate { base, checkpoint };
            return Err(Fault { segment: self.views[oldest].sequence, block: 1, reason });
        }
        self.check_gaps(live.first().map_or(0, |&(oldest, _)| oldest))?;
        self.void_dead(newest, &live);
        self.forward = true;
        for (position, &(index, link)) in live.iter().enumerate() {
            self.commit_limit =
                live[position + 1..].iter().rev().find(|(_, link)| is_cut(link)).map(|&(cut, _)| {
                    if let Begin::Begun(_, commit) = self.views[cut].begin { commit } else { Zxid::ZERO }
                });
            let next = live.get(position + 1).map(|&(_, link)| link);
            self.walk(index, link, next)?;
        }
        let torn = self.judge_tail(newest, torn_opening)?;
        self.conclude(newest, torn)
    }

    /// Makes a view of every segment. A fault in one counts only if the segment turns out to matter.
    fn read_headers(&mut self) -> Result<(), Fault> {
        for index in 0..self.segments.len() {
            let sequence = self.segments[index].sequence();
            let blocks = self.segments[index].blocks();
            if self.views.last().is_some_and(|before| before.sequence == sequence) {
                return Err(Fault { segment: sequence, block: 0, reason: DamageReason::Duplicate });
            }
            let mut view = View { sequence, identity: SegmentIdentity(0), blocks, begin: Begin::Not };
            match self.read_header(index) {
                Ok(identity) => {
                    view.identity = identity;
                    self.identities.push((sequence, identity));
                }
                Err(fault) => view.begin = Begin::Bad(0, fault),
            }
            self.views.push(view);
        }
        Ok(())
    }

    fn read_header(&mut self, index: usize) -> Result<SegmentIdentity, DamageReason> {
        let (sequence, blocks) = (self.segments[index].sequence(), self.segments[index].blocks());
        if blocks == 0 {
            return Err(DamageReason::Header(HeaderFault::Empty));
        }
        let directory = self.seal.directory();
        let block = self.block(index, 0).map_err(|fault| fault.reason)?;
        let header = SegmentHeader::decode(block, directory).map_err(DamageReason::Header)?;
        let found = u64::from(blocks) * BLOCK_BYTES as u64;
        if header.sequence != sequence {
            Err(DamageReason::Misnamed(header.sequence))
        } else if found != header.bytes {
            Err(DamageReason::FileSize { found, wanted: header.bytes })
        } else if self.identities.iter().any(|&(_, identity)| identity == header.identity) {
            Err(DamageReason::Duplicate)
        } else {
            Ok(header.identity)
        }
    }

    /// Follows the links back from the newest segment; yields the live ones, oldest first.
    fn live_segments(&mut self, newest: usize) -> Result<Vec<(usize, Link)>, Fault> {
        let mut live: Vec<(usize, Link)> = Vec::new();
        let mut index = newest;
        loop {
            let view = self.views[index];
            let fault = |block, reason| Fault { segment: view.sequence, block, reason };
            let link = match view.begin {
                Begin::Begun(link, _) => link,
                Begin::Bad(block, reason) => return Err(fault(block, reason)),
                Begin::Not => return Err(fault(1, DamageReason::Hole)),
            };
            let is_reset = link.kind == LinkKind::Reset;
            if live.last().is_some_and(|(_, later)| later.origin != link.origin) || is_reset && link.origin != link.base
            {
                return Err(fault(1, DamageReason::ChainBroken));
            }
            live.push((index, link));
            let Some(end) = link.previous else { break };
            let adjacent = end.sequence.next() == view.sequence;
            if end.sequence >= view.sequence || (link.kind == LinkKind::Rollover && !adjacent) {
                return Err(fault(1, DamageReason::Malformed));
            }
            match self.views.iter().position(|other| other.sequence >= end.sequence) {
                Some(before) if self.views[before].sequence == end.sequence => {
                    // With a bad header the identity is not known, and the next turn reports it.
                    if self.views[before].identity != end.identity && self.views[before].identity.0 != 0 {
                        return Err(Fault { segment: end.sequence, block: 0, reason: DamageReason::ChainBroken });
                    }
                    index = before;
                }
                // Segments retire from the oldest on.
                Some(0) => break,
                _ => return Err(Fault { segment: end.sequence, block: 0, reason: DamageReason::Missing }),
            }
        }
        live.reverse();
        Ok(live)
    }

    /// Numbers run without gaps from the oldest live segment on: what is missing may have held anything.
    fn check_gaps(&self, oldest: usize) -> Result<(), Fault> {
        for pair in self.views[oldest.min(self.views.len())..].windows(2) {
            let expected = pair[0].sequence.next();
            if pair[1].sequence != expected {
                return Err(Fault { segment: expected, block: 0, reason: DamageReason::Missing });
            }
        }
        Ok(())
    }

    /// Puts the segments up to the newest into the layout: void until they are walked through.
    fn void_dead(&mut self, newest: Option<usize>, live: &[(usize, Link)]) {
        let Some(newest) = newest else { return };
        for (index, view) in self.views[..=newest].iter().enumerate() {
            let link = live.iter().find(|&&(other, _)| other == index).map(|&(_, link)| link);
            self.layout.push(SegmentLayout {
                sequence: view.sequence,
                identity: view.identity,
                bytes: u64::from(view.blocks) * BLOCK_BYTES as u64,
                link,
                batches: Vec::new(),
            });
        }
    }

    /// Goes through the batches of a live segment: up to the end that the next one names, or as far as they go.
    fn walk(&mut self, index: usize, link: Link, next: Option<Link>) -> Result<(), Fault> {
        let view = self.views[index];
        let until = next.and_then(|next| next.previous);
        let mut chain = link.previous.map_or(0, |end| end.chain);
        let mut start = 1;
        self.last = link.base;
        while until.is_none_or(|end| start < end.block) {
            let fault = |reason| Fault { segment: view.sequence, block: start, reason };
            let (header, blocks, batch_chain) = match self.find_batch(index, start)? {
                Found::Batch { header, blocks, chain } => (header, blocks, chain),
                Found::Nothing | Found::Torn if until.is_some() => return Err(fault(DamageReason::Hole)),
                Found::Nothing | Found::Torn => return Ok(()),
            };
            if header.previous != chain {
                return Err(fault(DamageReason::ChainBroken));
            }
            self.read_payload(index, start, blocks)?;
            if !records_match(&header, &self.flat, self.last) {
                return Err(fault(DamageReason::Malformed));
            }
            let end = start + blocks;
            let is_end = until.is_some_and(|until| until.block == end);
            let limit = match next {
                Some(next) if is_end => next.base,
                _ => header.last,
            };
            if let (Some(next), Some(until)) = (next, until)
                && !ends_rightly(next, until, end, batch_chain, header.last, self.last)
            {
                return Err(fault(DamageReason::ChainBroken));
            }
            // What a cut drops may have been taken for committed before: the writer that cut knew better.
            let cuts = header.link.as_ref().is_some_and(is_cut);
            self.committed = if cuts { header.commit } else { self.committed.max(header.commit) };
            self.deliver(&header, limit);
            self.last = header.last.min(limit);
            let mark = BatchMark { last: self.last, end, chain: batch_chain, records: header.records };
            self.layout.add_batch(view.sequence, mark);
            chain = batch_chain;
            start = end;
        }
        Ok(())
    }

    /// Looks at the segments behind the newest: the first of them may have a torn first batch, and nothing else.
    fn judge_unused(&mut self, newest: Option<usize>) -> Result<Option<(usize, TornTail, Mark)>, Fault> {
        let first_unused = newest.map_or(0, |newest| newest + 1);
        let mut torn = None;
        for index in first_unused..self.views.len() {
            let Some((tail, mark)) = self.torn_batch(index, 1, None)? else { continue };
            if index != first_unused {
                return Err(Fault { segment: tail.segment, block: tail.block, reason: DamageReason::Hole });
            }
            torn = Some((index, tail, mark));
        }
        Ok(torn)
    }

    /// Looks at everything behind the last whole batch of the newest segment: there may be one torn batch, and nothing
    /// else. `opening` is a torn batch in the segment behind.
    fn judge_tail(
        &mut self,
        newest: Option<usize>,
        opening: Option<(usize, TornTail, Mark)>,
    ) -> Result<Option<TornTail>, Fault> {
        let end = self.layout.end();
        let mut torn = None;
        if let (Some(newest), Some(end)) = (newest, end) {
            torn = self.torn_batch(newest, end.block, Some(end.chain))?.map(|(tail, _)| tail);
        }
        let Some((index, tail, mark)) = opening else { return Ok(torn) };
        if mark.link == LinkKind::Rollover {
            // The writer rolls over only when its last batch is durable.
            let fault = |tail: TornTail, reason| Fault { segment: tail.segment, block: tail.block, reason };
            match (torn, end) {
                (Some(before), _) => return Err(fault(before, DamageReason::TornBeforeRollover)),
                (None, None) => return Err(fault(tail, DamageReason::Hole)),
                (None, Some(end)) => self.check_rollover(index, end)?,
            }
        }
        Ok(Some(tail))
    }

    /// A torn batch that opens a segment has to continue the end that was found, if it still says what it continues.
    fn check_rollover(&mut self, index: usize, end: LogEnd) -> Result<(), Fault> {
        if let Some(header) = self.torn_header(index, 1)?
            && header.link.and_then(|link| link.previous) != Some(end)
        {
            let segment = self.views[index].sequence;
            return Err(Fault { segment, block: 1, reason: DamageReason::ChainBroken });
        }
        Ok(())
    }

    /// Goes through the rest of a segment from `start`, where no whole batch is.
    fn torn_batch(&mut self, index: usize, start: u32, chain: Option<u32>) -> Result<Option<(TornTail, Mark)>, Fault> {
        let view = self.views[index];
        let mut torn: Option<(TornTail, Mark)> = None;
        let mut limit = view.blocks;
        for block in start..view.blocks {
            let fault = |reason| Fault { segment: view.sequence, block, reason };
            let (mark, first) = match self.judge(index, block)? {
                BlockState::Empty => continue,
                BlockState::Bad(reason) => return Err(fault(reason)),
                BlockState::Part { mark, first } => (mark, first),
                BlockState::Whole { mark } => (mark, true),
            };
            if mark.start != start || block >= limit {
                return Err(fault(DamageReason::Hole));
            }
            if !link_fits(start, mark.link) {
                return Err(fault(DamageReason::Malformed));
            }
            if first {
                let header = BlockHeader::read(self.block(index, block)?);
                limit = limit.min(start.saturating_add(header.batch_blocks));
            }
            let mut zxids = None;
            if first && block == start {
                let header = BatchHeader::read(self.block(index, block)?, mark.link);
                if chain.is_some_and(|chain| chain != header.previous) {
                    return Err(fault(DamageReason::ChainBroken));
                }
                zxids = Some((header.first, header.last));
            }
            match &mut torn {
                Some((tail, before)) if *before == mark => tail.blocks_found += 1,
                Some(_) => return Err(fault(DamageReason::Malformed)),
                None => {
                    let tail = TornTail { segment: view.sequence, block: start, blocks_found: 1, zxids };
                    torn = Some((tail, mark));
                }
            }
        }
        Ok(torn)
    }

    /// The log of another history than the checkpoint's: it goes when a new one has begun behind it.
    fn superseded(&self, newest: Option<usize>, base: Zxid) -> Recovered {
        let mut layout = LogLayout::default();
        for view in newest.map_or(&[][..], |newest| &self.views[..=newest]) {
            let bytes = u64::from(view.blocks) * BLOCK_BYTES as u64;
            let (sequence, identity) = (view.sequence, view.identity);
            layout.push(SegmentLayout { sequence, identity, bytes, link: None, batches: Vec::new() });
        }
        Recovered { layout, last: base, committed: base, next_sequence: self.next_sequence(newest) }
    }

    /// The first unused number: a segment that has it is replaced.
    fn next_sequence(&self, newest: Option<usize>) -> SegmentSeq {
        match newest {
            Some(newest) => self.views[newest].sequence.next(),
            None => self.views.first().map_or(SegmentSeq(1), |view| view.sequence),
        }
    }

    fn conclude(&mut self, newest: Option<usize>, torn: Option<TornTail>) -> Result<Verdict, Fault> {
        let checkpoint = self.checkpoint.zxid();
        let next_sequence = self.next_sequence(newest);
        if self.last < checkpoint {
            let end = self.layout.end();
            let reason = DamageReason::BehindCheckpoint { last: self.last, checkpoint };
            let segment = end.map_or(next_sequence, |end| end.sequence);
            return Err(Fault { segment, block: end.map_or(0, |end| end.block), reason });
        }
        let recovered = Recovered {
            layout: std::mem::take(&mut self.layout),
            last: self.last,
            committed: self.committed.max(checkpoint).min(self.last),
            next_sequence,
        };
        Ok(match torn {
            Some(tail) => Verdict::TornTail(recovered, tail),
            None => Verdict::Clean(recovered),
        })
    }

    fn damage(&mut self, fault: Fault) -> Damage {
        let highest = self.segments.last().map_or(SegmentSeq(0), |segment| segment.sequence());
        let present: Vec<_> = self
            .segments
            .iter()
            .map(|segment| {
                let known = self.views.iter().find(|view| view.sequence == segment.sequence());
                let bytes = u64::from(segment.blocks()) * BLOCK_BYTES as u64;
                (segment.sequence(), known.map_or(SegmentIdentity(0), |view| view.identity), bytes)
            })
            .collect();
        let checkpoint = self.checkpoint.zxid();
        let salvage = (self.forward && self.last >= checkpoint).then(|| {
            let mut layout = std::mem::take(&mut self.layout);
            layout.void_unwalked();
            // What lies behind the damage is present still, and goes when the log has moved on.
            let newest = layout.newest();
            for &(sequence, identity, bytes) in &present {
                if newest.is_none_or(|newest| sequence > newest) {
                    layout.push(SegmentLayout { sequence, identity, bytes, link: None, batches: Vec::new() });
                }
            }
            Recovered {
                layout,
                last: self.last,
                committed: self.committed.max(checkpoint).min(self.last),
                next_sequence: highest.next(),
            }
        });
        Damage {
            segment: fault.segment,
            block: fault.block,
            reason: fault.reason,
            sound_until: salvage.as_ref().map_or(checkpoint, |log| log.last),
            seen_until: self.seen_until(fault),
            next_sequence: highest.next(),
            salvage,
            present,
        }
    }

    /// The largest zxid in sound batch headers behind the damage.
    fn seen_until(&mut self, fault: Fault) -> Option<Zxid> {
        let mut seen = None;
        for index in 0..self.views.len() {
            let view = self.views[index];
            if view.sequence < fault.segment {
                continue;
            }
            let from = if view.sequence == fault.segment { fault.block.max(1) } else { 1 };
            for block in from..view.blocks {
                if let Ok(BlockState::Whole { mark }) = self.judge(index, block)
                    && mark.start == block
                    && let Ok(bytes) = self.block(index, block)
                {
                    seen = seen.max(Some(BatchHeader::read(bytes, mark.link).last));
                }
            }
        }
        seen
    }

    /// Looks for a batch at `start`.
    fn find_batch(&mut self, index: usize, start: u32) -> Result<Found, Fault> {
        let view = self.views[index];
        let fault = |block, reason| Fault { segment: view.sequence, block, reason };
        if start >= view.blocks {
            return Ok(Found::Nothing);
        }
        let mark = match self.judge(index, start)? {
            BlockState::Empty => return Ok(Found::Nothing),
            BlockState::Bad(reason) => return Err(fault(start, reason)),
            BlockState::Part { mark, .. } if mark.start == start => return Ok(Found::Torn),
            BlockState::Whole { mark } if mark.start == start => mark,
            BlockState::Part { .. } | BlockState::Whole { .. } => return Err(fault(start, DamageReason::Malformed)),
        };
        let bytes = self.block(index, start)?;
        let header = BatchHeader::read(bytes, mark.link);
        let blocks = BlockHeader::read(bytes).batch_blocks;
        let mut chain = chain_over(0, bytes);
        if !link_fits(start, mark.link) || blocks > view.blocks - start {
            return Err(fault(start, DamageReason::Malformed));
        }
        self.window.cover(&mut self.segments[index], start, blocks);
        let mut torn = false;
        for block in start + 1..start + blocks {
            match self.judge(index, block)? {
                BlockState::Bad(reason) => return Err(fault(block, reason)),
                BlockState::Empty => torn = true,
                BlockState::Part { mark: other, .. } if other == mark => torn = true,
                BlockState::Whole { mark: other } if other == mark => {
                    let bytes = self.block(index, block)?;
                    if BlockHeader::read(bytes).batch_blocks != blocks {
                        return Err(fault(block, DamageReason::Malformed));
                    }
                    chain = chain_over(chain, bytes);
                }
                BlockState::Part { .. } | BlockState::Whole { .. } => {
                    return Err(fault(block, DamageReason::Hole));
                }
            }
        }
        Ok(if torn { Found::Torn } else { Found::Batch { header, blocks, chain } })
    }

    fn torn_header(&mut self, index: usize, start: u32) -> Result<Option<BatchHeader>, Fault> {
        Ok(match self.judge(index, start)? {
            BlockState::Part { mark, first: true } | BlockState::Whole { mark } => {
                Some(BatchHeader::read(self.block(index, start)?, mark.link))
            }
            _ => None,
        })
    }

    fn read_payload(&mut self, index: usize, start: u32, blocks: u32) -> Result<(), Fault> {
        let mut whole = Vec::with_capacity(blocks as usize * BLOCK_BYTES);
        for block in start..start + blocks {
            whole.extend_from_slice(self.block(index, block)?);
        }
        let mut flat = std::mem::take(&mut self.flat);
        flatten(&whole, &mut flat);
        self.flat = flat;
        Ok(())
    }

    fn deliver(&mut self, header: &BatchHeader, limit: Zxid) {
        let checkpoint = self.checkpoint.zxid();
        let committed = self.commit_limit.map_or(self.committed, |limit| self.committed.min(limit));
        for (zxid, bytes) in Records::new(&self.flat[..header.record_bytes as usize]) {
            if zxid > checkpoint && zxid <= limit {
                (self.on_record)(zxid, bytes, committed);
            }
        }
    }

    fn judge(&mut self, index: usize, block: u32) -> Result<BlockState, Fault> {
        let view = self.views[index];
        let seal = self.seal;
        let present = std::mem::take(&mut self.identities);
        let judge = BlockJudge { seal, sequence: view.sequence, identity: view.identity, present: &present };
        let state = self.block(index, block).map(|bytes| judge.judge(block, bytes));
        self.identities = present;
        state
    }

    fn block(&mut self, index: usize, block: u32) -> Result<&[u8], Fault> {
        if self.window_of != index {
            self.window.clear();
            self.window_of = index;
        }
        let source = &mut self.segments[index];
        let segment = source.sequence();
        self.window.block(source, block).map_err(|reason| Fault { segment, block, reason })
    }
}

/// Whether the log goes on elsewhere than at the end of what was written.
fn is_cut(link: &Link) -> bool {
    link.kind != LinkKind::Rollover
}

/// Whether a batch that reaches to block `end` agrees with what the next segment's link says about the end of this one.
fn ends_rightly(next: Link, until: LogEnd, end: u32, chain: u32, last: Zxid, before: Zxid) -> bool {
    if end < until.block {
        // Every record of a batch ahead of the last one counts.
        return last <= next.base;
    }
    let zxids = match next.kind {
        LinkKind::Rollover => next.base == last,
        _ => next.base <= last && next.base >= before,
    };
    end == until.block && chain == until.chain && zxids
}
