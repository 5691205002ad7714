//! The writing end of the log: gathers records, decides what is written where, and says what is durable.
//!
//! Kinds of method: `append`, [`truncate`](WalWriter::truncate), [`reset`](WalWriter::reset) and
//! [`retire`](WalWriter::retire) are the role's commands; [`poll_prepare`](WalWriter::poll_prepare) and
//! [`poll_write`](WalWriter::poll_write) say what to do next, to be polled in this order after every other call;
//! [`prepared`](WalWriter::prepared), [`prepare_failed`](WalWriter::prepare_failed) and
//! [`written`](WalWriter::written) bring in what came of it.

use std::collections::VecDeque;

use engine::zxid::Zxid;
use hardware::aligned::AlignedBuf;

use super::batch::BatchBuilder;
use super::durable::Durable;
use super::error::{AppendError, PrepareError, TruncateError, WalFailure, WriteFault};
use super::format::{
    BLOCK_BYTES, DirectoryId, Link, LinkKind, Place, SEGMENT_BLOCKS_MAX, Seal, SegmentSeq, batch_blocks,
    valid_segment_bytes,
};
use super::layout::{BatchMark, CutPoint, LogLayout, SegmentHandle};
use super::recovery::{Damage, Recovered};

/// Bytes that one record can have. Far above any request that the client plane lets through.
pub const RECORD_BYTES_MAX: usize = 1 << 29;
/// Buffers kept for the next batches.
const SPARES_MAX: usize = 4;

const _: () = assert!(batch_blocks(RECORD_BYTES_MAX as u64) < SEGMENT_BLOCKS_MAX as u64);

/// Sizes of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalConfig {
    /// The data directory.
    pub directory: DirectoryId,
    /// Bytes of an ordinary segment. Two exist from the start: one in use, one ahead.
    pub segment_bytes: u64,
    /// Bytes that one write carries at most, unless a single record is larger. What has gathered beyond it follows in
    /// the next write: larger saves little, and makes the first record of a batch wait for the last.
    pub batch_bytes_max: usize,
    /// Record bytes that may wait in memory (for a flush, or for a segment that is late).
    pub backlog_bytes_max: u64,
    /// Records that retirement leaves behind the checkpoint, for followers that lag.
    pub keep_records: u64,
    /// Bytes of segments beyond which retirement keeps nothing for followers.
    pub keep_bytes: u64,
}

impl WalConfig {
    /// The defaults: segments of 16 MiB, writes of up to 256 KiB, a backlog of 64 MiB, 100,000 records within 256 MiB
    /// kept for followers.
    pub fn new(directory: DirectoryId) -> WalConfig {
        WalConfig {
            directory,
            segment_bytes: 16 << 20,
            batch_bytes_max: 256 << 10,
            backlog_bytes_max: 64 << 20,
            keep_records: 100_000,
            keep_bytes: 256 << 20,
        }
    }
}

/// A segment to be made ready, off the request path: a file of `bytes` (filled with zeroes, or a retired one of that
/// size as it is), with a [`SegmentHeader`](super::SegmentHeader) of a fresh random identity in block 0, all flushed
/// under a temporary name, then renamed to the name of `sequence` (replacing a file that has it), then the directory
/// flushed. Only then it is [`prepared`](WalWriter::prepared).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prepare {
    /// Number of the segment.
    pub sequence: SegmentSeq,
    /// Size of the file.
    pub bytes: u64,
}

/// One write in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WriteToken(u64);

/// A write to be made now, durable when it completes (O_DIRECT and RWF_DSYNC, or write and fdatasync).
#[derive(Debug)]
pub struct WalWrite {
    /// The segment.
    pub segment: SegmentSeq,
    /// Byte offset within it, a multiple of [`BLOCK_BYTES`].
    pub offset: u64,
    /// The bytes, whole blocks. To be handed to [`WalWriter::recycle`] afterwards.
    pub buf: AlignedBuf,
    /// To be named to [`WalWriter::written`].
    pub token: WriteToken,
    /// The log's last zxid once the write is durable.
    pub last: Zxid,
}

/// What a truncation still has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Truncation {
    /// The disk holds nothing beyond the zxid: done.
    Done,
    /// The new end has to be written: done when [`WalWriter::is_cutting`] is false again.
    Pending,
}

/// A segment that is no longer needed: to be removed, or kept aside (under a name that is not a segment's) for the next
/// [`Prepare`] of its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetiredSegment {
    /// Number of the segment.
    pub sequence: SegmentSeq,
    /// Size of the file.
    pub bytes: u64,
}

/// The writing end of the log. See the module's documentation for the order in which to call it.
#[derive(Debug)]
pub struct WalWriter {
    config: WalConfig,
    seal: Seal,
    /// What is durable.
    layout: LogLayout,
    position: Position,
    in_flight: Option<InFlight>,
    /// A cut that waits for the write in flight before it can be placed.
    cut: Option<Cut>,
    /// Whether the link of `position` has to be written even when no record follows it.
    link_is_due: bool,
    /// Batches in order; the last one still takes records.
    gathering: VecDeque<BatchBuilder>,
    backlog_bytes: u64,
    next: NextSegment,
    next_sequence: SegmentSeq,
    last_appended: Zxid,
    durable: Zxid,
    commit: Zxid,
    tokens: u64,
    spares: Vec<AlignedBuf>,
    failure: Option<WalFailure>,
}

/// Where the next batch goes.
#[derive(Clone, Copy, Debug)]
enum Position {
    /// Into this segment at this block, if it fits.
    Open(SegmentHandle, u32),
    /// To the beginning of a new segment.
    Break(Link),
}

#[derive(Clone, Copy, Debug)]
enum NextSegment {
    Missing,
    Asked(u64),
    Ready(SegmentHandle),
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    After(Zxid),
    Reset(Zxid),
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    token: WriteToken,
    handle: SegmentHandle,
    start: u32,
    bytes: usize,
    link: Option<Link>,
    mark: BatchMark,
}

impl WalWriter {
    /// Goes on where recovery found the end of the log. Nothing is written until there is a record; its batch then opens
    /// a new segment, whose link fixes the end that was found. Only a log that an installed checkpoint supersedes is begun
    /// anew at once.
    ///
    /// The caller has flushed (fdatasync) the segment that [`Recovered::unflushed`] names: what a read returned may
    /// still be in a volatile cache only, written by a process that did not live to see it durable.
    pub fn resume(config: WalConfig, recovered: Recovered) -> WalWriter {
        let base = recovered.last();
        let link = match recovered.layout().end() {
            Some(end) => Link { kind: LinkKind::Cut, previous: Some(end), base, origin: recovered.layout().origin() },
            None => reset_link(base),
        };
        let next_sequence = recovered.next_sequence();
        let commit = recovered.committed();
        let layout = recovered.into_layout();
        // Behind an installed checkpoint the old log stays in the way of a local one until a new log has begun.
        let link_is_due = link.kind == LinkKind::Reset && (base > Zxid::ZERO || layout.segments().len() > 0);
        WalWriter { link_is_due, ..WalWriter::start(config, layout, link, next_sequence, commit) }
    }

    /// Gives up a damaged log for a state taken from elsewhere (a leader's snapshot) as of `base`, durable by now. The new
    /// log is to be written at once; the damaged segments retire when it is durable.
    pub fn replace_damaged(config: WalConfig, damage: &Damage, base: Zxid) -> WalWriter {
        let link = reset_link(base);
        let writer = WalWriter::start(config, damage.void_layout(), link, damage.next_sequence, Zxid::ZERO);
        WalWriter { link_is_due: true, durable: Zxid::ZERO, ..writer }
    }

    fn start(config: WalConfig, layout: LogLayout, link: Link, next_sequence: SegmentSeq, commit: Zxid) -> WalWriter {
        let segment_bytes = config.segment_bytes.next_multiple_of(BLOCK_BYTES as u64).max(2 * BLOCK_BYTES as u64);
        WalWriter {
            config: WalConfig { segment_bytes, ..config },
            seal: Seal::new(config.directory),
            layout,
            position: Position::Break(link),
            in_flight: None,
            cut: None,
            link_is_due: false,
            gathering: VecDeque::new(),
            backlog_bytes: 0,
            next: NextSegment::Missing,
            next_sequence,
            last_appended: link.base,
            durable: link.base,
            commit,
            tokens: 0,
            spares: Vec::new(),
            failure: None,
        }
    }

    /// Gathers a record into the next batch.
    ///
    /// # Errors
    /// When the writer has failed, the zxid is not beyond the last one, or there is no room. Nothing is gathered then.
    pub fn append(&mut self, zxid: Zxid, bytes: &[u8]) -> Result<(), AppendError> {
        if let Some(failure) = self.failure {
            return Err(AppendError::Failed(failure));
        }
        if zxid <= self.last_appended {
            return Err(AppendError::OutOfOrder { zxid, last: self.last_appended });
        }
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge { zxid, bytes: bytes.len() });
        }
        if !self.has_room(bytes.len()) {
            return Err(AppendError::BacklogFull { waiting: self.backlog_bytes });
        }
        let batch_blocks_max = self.batch_blocks_max();
        if self.gathering.back().is_none_or(|batch| batch.blocks_with(bytes.len()) > batch_blocks_max) {
            let buf = self.spares.pop().unwrap_or_else(|| AlignedBuf::with_capacity(BLOCK_BYTES));
            self.gathering.push_back(BatchBuilder::new(buf));
        }
        if let Some(batch) = self.gathering.back_mut() {
            let before = batch.record_bytes();
            batch.push(zxid, bytes);
            self.backlog_bytes += batch.record_bytes() - before;
        }
        self.last_appended = zxid;
        Ok(())
    }

    /// Whether a record of `len` bytes may be appended now. An empty backlog takes any.
    pub fn has_room(&self, len: usize) -> bool {
        self.backlog_bytes == 0 || self.backlog_bytes.saturating_add(len as u64) <= self.config.backlog_bytes_max
    }

    /// Record bytes that wait for their write to be issued.
    pub fn backlog_bytes(&self) -> u64 {
        self.backlog_bytes
    }

    /// Drops everything behind `after`, gathered or on disk. Records appended from now on follow `after`.
    ///
    /// # Errors
    /// [`TruncateError::BelowLog`] when the log no longer reaches back to `after`; nothing has changed then.
    pub fn truncate(&mut self, after: Zxid) -> Result<Truncation, TruncateError> {
        if let Some(failure) = self.failure {
            return Err(TruncateError::Failed(failure));
        }
        if after >= self.last_appended {
            return Ok(if self.is_cutting() { Truncation::Pending } else { Truncation::Done });
        }
        let base = self.base();
        if after < base {
            return Err(TruncateError::BelowLog { after, base });
        }
        let issued = self.last_issued();
        self.drop_gathered(after);
        self.last_appended = after;
        self.durable = self.durable.min(after);
        self.commit = self.commit.min(after);
        if after < issued {
            self.cut = Some(Cut::After(after));
        }
        Ok(if self.is_cutting() { Truncation::Pending } else { Truncation::Done })
    }

    /// Begins the log anew behind `base`, with `records`: the state as of `base` has been taken from elsewhere, and is
    /// durable. All of it is one batch, however large, so that a crash leaves the old log or the new one with every
    /// record, and [`origin`](super::origin) tells which. Done when [`is_cutting`](Self::is_cutting) is false again; only
    /// then may an epoch be promised that rests on the new state.
    ///
    /// # Errors
    /// When the writer has failed, a zxid is not beyond the one before, or the records have more than
    /// [`RECORD_BYTES_MAX`] together. Nothing has changed then.
    pub fn reset<'a>(
        &mut self,
        base: Zxid,
        records: impl IntoIterator<Item = (Zxid, &'a [u8])>,
    ) -> Result<(), AppendError> {
        if let Some(failure) = self.failure {
            return Err(AppendError::Failed(failure));
        }
        let mut batch = BatchBuilder::new(AlignedBuf::with_capacity(BLOCK_BYTES));
        let mut last = base;
        for (zxid, bytes) in records {
            if zxid <= last {
                return Err(AppendError::OutOfOrder { zxid, last });
            }
            if bytes.len() > RECORD_BYTES_MAX || batch_blocks(RECORD_BYTES_MAX as u64) < batch.blocks_with(bytes.len())
            {
                return Err(AppendError::TooLarge { zxid, bytes: bytes.len() });
            }
            batch.push(zxid, bytes);
            last = zxid;
        }
        self.spares.clear();
        self.gathering.clear();
        self.backlog_bytes = batch.record_bytes();
        if batch.records() > 0 {
            self.gathering.push_back(batch);
        }
        self.last_appended = last;
        self.durable = self.durable.min(base);
        self.commit = self.commit.min(base);
        self.cut = Some(Cut::Reset(base));
        Ok(())
    }

    /// Whether a new end of the log (by [`truncate`](Self::truncate) or [`reset`](Self::reset)) is not durable yet.
    pub fn is_cutting(&self) -> bool {
        let in_flight = self.in_flight.and_then(|write| write.link);
        self.cut.is_some() || self.link_is_due || in_flight.is_some_and(|link| link.kind != LinkKind::Rollover)
    }

    /// Whether the log is still to be begun anew ([`reset`](Self::reset), or by [`resume`](Self::resume) behind an
    /// installed checkpoint): as long as it is, a checkpoint has to stay an installed one.
    pub fn is_resetting(&self) -> bool {
        let in_flight = self.in_flight.and_then(|write| write.link);
        matches!(self.cut, Some(Cut::Reset(_)))
            || self.link_is_due
            || in_flight.is_some_and(|link| link.kind == LinkKind::Reset)
    }

    /// Takes out of the log the segments that a checkpoint at `upto` makes dispensable, keeping what the configuration
    /// keeps for followers. To be removed in the order given, so that no gap can ever be seen.
    pub fn retire(&mut self, upto: Zxid) -> Vec<RetiredSegment> {
        if self.failure.is_some() || self.is_cutting() {
            return Vec::new();
        }
        let retired = self.layout.retire(upto, self.config.keep_records, self.config.keep_bytes);
        retired.iter().map(|segment| RetiredSegment { sequence: segment.sequence, bytes: segment.bytes }).collect()
    }

    /// The next segment to make ready, if one has to be asked for.
    pub fn poll_prepare(&mut self) -> Option<Prepare> {
        let bytes = self.bytes_wanted();
        let ask = match self.next {
            NextSegment::Missing => true,
            NextSegment::Asked(_) => false,
            NextSegment::Ready(handle) => handle.bytes < bytes,
        };
        if self.failure.is_some() || !ask {
            return None;
        }
        self.next = NextSegment::Asked(bytes);
        Some(Prepare { sequence: self.next_sequence, bytes })
    }

    /// The segment asked for is ready.
    ///
    /// # Errors
    /// When it is not what was asked for; it is still awaited then.
    pub fn prepared(&mut self, handle: SegmentHandle) -> Result<(), PrepareError> {
        let NextSegment::Asked(bytes) = self.next else { return Err(PrepareError::NotAsked(handle.sequence)) };
        if handle.sequence != self.next_sequence {
            return Err(PrepareError::NotAsked(handle.sequence));
        }
        if handle.bytes < bytes || !valid_segment_bytes(handle.bytes) {
            return Err(PrepareError::Size { sequence: handle.sequence, bytes: handle.bytes, wanted: bytes });
        }
        let known = self.layout.segments().any(|segment| segment.identity == handle.identity);
        if handle.identity.0 == 0 || known {
            return Err(PrepareError::Identity(handle.sequence));
        }
        self.next = NextSegment::Ready(handle);
        Ok(())
    }

    /// The segment asked for cannot be had for now (a full disk). [`poll_prepare`](Self::poll_prepare) asks again: call
    /// this when it is worth another attempt. Until then appends wait in the backlog once the current segment is full.
    pub fn prepare_failed(&mut self) {
        if matches!(self.next, NextSegment::Asked(_)) {
            self.next = NextSegment::Missing;
        }
    }

    /// The write to make now, if there is one: never more than one is in flight, so that what is behind a hole is known
    /// to have never been acknowledged. `commit` is the commit point as far as it is known.
    pub fn poll_write(&mut self, commit: Zxid) -> Option<WalWrite> {
        self.commit = self.commit.max(commit);
        if self.failure.is_some() || self.in_flight.is_some() {
            return None;
        }
        self.place_cut();
        if self.gathering.is_empty() && !self.link_is_due {
            return None;
        }
        let (handle, start, link) = self.place_batch()?;
        let batch = match self.gathering.pop_front() {
            Some(batch) => batch,
            None => BatchBuilder::new(AlignedBuf::with_capacity(BLOCK_BYTES)),
        };
        self.backlog_bytes -= batch.record_bytes();
        Some(self.issue(batch, handle, start, link))
    }

    /// A write has completed with so many bytes, or failed. Everything up to the returned zxid is durable in the log as it
    /// now is (what a truncation under way drops does not count).
    ///
    /// # Errors
    /// A failed or short write. The first failure is the last: the writer refuses everything from then on, as the kernel
    /// may have dropped the data and a retry could look like success.
    pub fn written(
        &mut self,
        token: WriteToken,
        result: Result<usize, std::io::Error>,
    ) -> Result<Durable<Zxid>, WalFailure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let Some(write) = self.in_flight.filter(|write| write.token == token) else {
            return Err(self.fail(SegmentSeq(0), 0, WriteFault::UnknownToken));
        };
        let fault = match result {
            Ok(written) if written == write.bytes => None,
            Ok(written) => Some(WriteFault::Short { written, wanted: write.bytes }),
            Err(error) => Some(WriteFault::Io { kind: error.kind(), errno: error.raw_os_error() }),
        };
        if let Some(fault) = fault {
            return Err(self.fail(write.handle.sequence, u64::from(write.start) * BLOCK_BYTES as u64, fault));
        }
        self.in_flight = None;
        self.layout.extend(&write.handle, write.link, write.mark);
        self.durable = match self.cut {
            Some(Cut::After(zxid) | Cut::Reset(zxid)) => write.mark.last.min(zxid),
            None => write.mark.last,
        };
        Ok(Durable::new(self.durable))
    }

    /// Takes back a buffer for a later batch.
    pub fn recycle(&mut self, buf: AlignedBuf) {
        // One oversized record must not hold its memory for good.
        if self.spares.len() < SPARES_MAX && buf.capacity() <= 2 * self.config.batch_bytes_max.max(BLOCK_BYTES) {
            self.spares.push(buf);
        }
    }

    /// Up to where the log is durable.
    pub fn durable(&self) -> Durable<Zxid> {
        Durable::new(self.durable)
    }

    /// The last zxid appended, durable or not.
    pub fn last_appended(&self) -> Zxid {
        self.last_appended
    }

    /// The failure that ended this writer, if one has.
    pub fn failure(&self) -> Option<WalFailure> {
        self.failure
    }

    /// What is durable, and where it lies: for readers of the log.
    pub fn layout(&self) -> &LogLayout {
        &self.layout
    }

    fn fail(&mut self, segment: SegmentSeq, offset: u64, fault: WriteFault) -> WalFailure {
        let failure = WalFailure { segment, offset, fault };
        self.failure = Some(failure);
        failure
    }

    /// The zxid behind which the log begins, once what is under way is done.
    fn base(&self) -> Zxid {
        let pending = match (self.cut, self.in_flight, self.position) {
            (Some(Cut::Reset(base)), _, _) => return base,
            (_, Some(InFlight { link: Some(link), .. }), _) | (_, None, Position::Break(link)) => Some(link),
            _ => None,
        };
        match pending {
            Some(Link { kind: LinkKind::Reset, base, .. }) => base,
            _ => self.layout.base(),
        }
    }

    /// The last zxid of what has been written or is being written, once a pending cut is done.
    fn last_issued(&self) -> Zxid {
        match (self.cut, self.in_flight, self.position) {
            (Some(Cut::After(zxid) | Cut::Reset(zxid)), _, _) => zxid,
            (None, Some(write), _) => write.mark.last,
            (None, None, Position::Break(link)) => link.base,
            (None, None, Position::Open(..)) => self.layout.last(),
        }
    }

    fn drop_gathered(&mut self, after: Zxid) {
        while self.gathering.back().is_some_and(|batch| batch.first() > after) {
            self.gathering.pop_back();
        }
        if let Some(batch) = self.gathering.back_mut()
            && batch.last() > after
        {
            batch.truncate(after);
        }
        self.backlog_bytes = self.gathering.iter().map(BatchBuilder::record_bytes).sum();
    }

    /// Turns a pending cut into the link that the next batch carries. Nothing is in flight.
    fn place_cut(&mut self) {
        let link = match self.cut.take() {
            None => return,
            Some(Cut::Reset(base)) => reset_link(base),
            Some(Cut::After(base)) => match self.layout.cut_point(base) {
                Some(CutPoint::Behind(end)) => {
                    Link { kind: LinkKind::Cut, previous: Some(end), base, origin: self.layout.origin() }
                }
                Some(CutPoint::Everything) | None => reset_link(base),
            },
        };
        self.position = Position::Break(link);
        self.link_is_due = true;
    }

    /// Finds room for the next batch; `None` while the segment that it needs is not ready.
    fn place_batch(&mut self) -> Option<(SegmentHandle, u32, Option<Link>)> {
        let blocks = self.front_blocks();
        if let Position::Open(handle, start) = self.position {
            if u64::from(start) + blocks <= handle.blocks() {
                return Some((handle, start, None));
            }
            self.position = Position::Break(Link {
                kind: LinkKind::Rollover,
                previous: self.layout.end(),
                base: self.layout.last(),
                origin: self.layout.origin(),
            });
        }
        let (Position::Break(link), NextSegment::Ready(handle)) = (self.position, self.next) else { return None };
        if 1 + blocks > handle.blocks() {
            return None;
        }
        self.next = NextSegment::Missing;
        self.next_sequence = self.next_sequence.next();
        Some((handle, 1, Some(link)))
    }

    fn issue(&mut self, batch: BatchBuilder, handle: SegmentHandle, start: u32, link: Option<Link>) -> WalWrite {
        let base = link.map_or_else(|| self.layout.last(), |link| link.base);
        let previous = match link {
            Some(link) => link.previous.map_or(0, |end| end.chain),
            None => self.layout.end().map_or(0, |end| end.chain),
        };
        let last = if batch.records() == 0 { base } else { batch.last() };
        let (records, blocks) = (batch.records(), batch.blocks() as u32);
        let place = Place {
            sequence: handle.sequence,
            identity: handle.identity,
            start,
            link: link.map_or(LinkKind::None, |link| link.kind),
        };
        let (buf, chain) = batch.seal(&self.seal, place, previous, self.commit, base, link);
        self.tokens += 1;
        let token = WriteToken(self.tokens);
        let mark = BatchMark { last, end: start + blocks, chain, records };
        self.in_flight = Some(InFlight { token, handle, start, bytes: buf.len(), link, mark });
        self.position = Position::Open(handle, mark.end);
        self.link_is_due = false;
        WalWrite { segment: handle.sequence, offset: u64::from(start) * BLOCK_BYTES as u64, buf, token, last }
    }

    fn front_blocks(&self) -> u64 {
        self.gathering.front().map_or(1, BatchBuilder::blocks)
    }

    /// Size that the next segment needs: the ordinary one, or what the batch takes that will open it.
    fn bytes_wanted(&self) -> u64 {
        let blocks = self.front_blocks();
        let stays = match self.position {
            Position::Open(handle, start) if self.cut.is_none() => u64::from(start) + blocks <= handle.blocks(),
            Position::Open(..) | Position::Break(_) => false,
        };
        if stays { self.config.segment_bytes } else { self.config.segment_bytes.max((1 + blocks) * BLOCK_BYTES as u64) }
    }

    fn batch_blocks_max(&self) -> u64 {
        let segment = self.config.segment_bytes / BLOCK_BYTES as u64 - 1;
        ((self.config.batch_bytes_max / BLOCK_BYTES) as u64).clamp(1, segment)
    }
}

fn reset_link(base: Zxid) -> Link {
    Link { kind: LinkKind::Reset, previous: None, base, origin: base }
}
