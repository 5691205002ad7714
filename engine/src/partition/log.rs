//! The append-only log of one partition.
//!
//! Records go to the *open chunk* in memory. A full chunk is sealed and, as soon as its segment has a file, handed to
//! the host to be written; it leaves memory when it can be read in the file. Where records go is decided here and at
//! once, so an append never waits: if the host is late with a file, memory grows, and [`Log::unwritten_bytes`] shows
//! it.
//!
//! Segments double in size, and the next one is asked for when the current one is half full. A record that fits in none
//! gets a segment of its own size.
//!
//! A segment belongs to a *generation*. Compaction begins a new one, moves into it what lives in those before, and then
//! retires them. A retired segment stays readable until the views that may refer to it are gone, and stays a file until
//! a durable manifest does without it as well ([`Log::release`], [`Log::superseded`]).

use super::record::{HEADER, Record, SEGMENT_HEADER, SegmentIdentity, length, padded};
use super::segment::{Segment, SegmentBytes};
use super::types::{LogAddress, Place};
use crate::ids::PartitionId;
use crate::partition::manifest::SegmentCut;
use crate::zxid::Zxid;
use bytes::Bytes;
use std::sync::Arc;

/// Size of a generation's first segment, in bytes.
pub const SEGMENT_MIN: u64 = 64 << 10;
/// Size at which segments stop doubling, in bytes.
pub const SEGMENT_MAX: u64 = 64 << 20;
/// Bytes that are gathered before they are written, unless a record is larger.
pub const CHUNK: usize = 32 << 10;
/// What a checkpoint relies on ends at a multiple of this, and is never written again.
pub const BLOCK: u64 = 4096;

const _: () = assert!(SEGMENT_MAX <= LogAddress::OFFSET_LIMIT && SEGMENT_MIN.is_power_of_two());
const _: () = assert!(SEGMENT_MAX.is_power_of_two() && SEGMENT_MIN.is_multiple_of(BLOCK));

/// What the host is to do for a log, in this order for each segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogAction {
    /// Make a segment file of this size, and answer with [`super::Partition::segment_ready`]. Asked for ahead of need.
    NeedSegment {
        /// The partition.
        partition: PartitionId,
        /// The generation.
        generation: u32,
        /// Number of the segment, unique in its partition.
        segment: u32,
        /// Size of the file: a multiple of [`BLOCK`].
        bytes: u64,
    },
    /// Write bytes to a segment that is ready, and answer with [`super::Partition::written`]. The bytes need no flush
    /// before the next checkpoint.
    Write {
        /// The partition.
        partition: PartitionId,
        /// The generation.
        generation: u32,
        /// Number of the segment.
        segment: u32,
        /// Offset in the file.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Remove a segment's file: nothing refers to it any more, the last durable manifest included.
    RemoveSegment {
        /// The partition.
        partition: PartitionId,
        /// The generation.
        generation: u32,
        /// Number of the segment.
        segment: u32,
    },
}

/// The log.
pub(super) struct Log {
    partition: PartitionId,
    generation: u32,
    /// By slot: segments in use, spare and retired ones included.
    segments: Vec<Option<Segment>>,
    /// Slots of the segments that make up the log, in the order in which they were written.
    order: Vec<u16>,
    /// Slot of the segment that was asked for ahead of need.
    spare: Option<u16>,
    /// The end of the last segment, not yet sealed.
    open: Vec<u8>,
    /// Whether records go to the last segment of `order`.
    active: bool,
    next_number: u32,
    next_bytes: u64,
    retired: Vec<Retired>,
    /// Sum of the ends of the segments in `order`.
    total: u64,
    unwritten: u64,
    /// Slots that have chunks to be handed out.
    unissued: Vec<u16>,
    actions: Vec<LogAction>,
}

/// Segments of generations that compaction has emptied.
struct Retired {
    slots: Vec<u16>,
    /// Newest generation among them.
    generation: u32,
    /// Views up to this one may still hold addresses in them.
    mark: Zxid,
    released: bool,
    superseded: bool,
}

impl Log {
    pub(super) fn new(partition: PartitionId, generation: u32) -> Log {
        Log {
            partition,
            generation,
            segments: Vec::new(),
            order: Vec::new(),
            spare: None,
            open: Vec::new(),
            active: false,
            next_number: 0,
            next_bytes: SEGMENT_MIN,
            retired: Vec::new(),
            total: 0,
            unwritten: 0,
            unissued: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// A log found in files. Records go on behind the last segment's end.
    pub(super) fn recovered(
        partition: PartitionId,
        generation: u32,
        found: Vec<(SegmentCut, Arc<dyn SegmentBytes>)>,
    ) -> Log {
        let mut log = Log::new(partition, generation);
        for (cut, file) in found {
            let identity = log.identity(cut.generation, cut.segment, cut.bytes);
            log.next_number = log.next_number.max(cut.segment.saturating_add(1));
            log.next_bytes = cut.bytes.saturating_mul(2).clamp(SEGMENT_MIN, SEGMENT_MAX);
            log.total += cut.end;
            log.active = cut.generation == generation;
            let slot = log.occupy(Segment::recovered(identity, cut.end, file));
            log.order.push(slot);
        }
        log
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Bytes of all records and headers in the log.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total
    }

    pub(super) fn unwritten_bytes(&self) -> u64 {
        self.unwritten
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let chunks: u64 = self.segments.iter().flatten().map(Segment::memory_bytes).sum();
        chunks + (self.open.capacity() + self.segments.capacity() * size_of::<Option<Segment>>()) as u64
    }

    /// The segments and their ends, open chunk included.
    pub(super) fn cut(&self) -> Vec<SegmentCut> {
        let cut = |segment: &Segment| SegmentCut {
            generation: segment.identity.generation,
            segment: segment.identity.number,
            bytes: segment.identity.bytes,
            end: segment.end,
        };
        self.order.iter().map(|slot| cut(self.segment(*slot))).collect()
    }

    /// Whether everything that a cut names is in its files.
    pub(super) fn is_written(&self, cut: &[SegmentCut]) -> bool {
        cut.iter().all(|cut| {
            let mut segments = self.segments.iter().flatten();
            segments.find(|segment| segment.identity.number == cut.segment).is_none_or(|found| found.written >= cut.end)
        })
    }

    pub(super) fn append(&mut self, zxid: Zxid, record: &Record<'_>) -> LogAddress {
        let bytes = padded(record.bytes() as u64);
        let slot = self.room_for(bytes);
        if self.open.len() + bytes as usize > CHUNK {
            self.seal();
        }
        let spare = self.spare;
        let (segment, open) = (segment_mut(&mut self.segments, slot), &mut self.open);
        let before = segment.end;
        if before == 0 {
            open.extend_from_slice(&segment.identity.encode());
            segment.end = SEGMENT_HEADER as u64;
        }
        let offset = segment.end;
        record.encode(zxid, segment.seed(offset), open);
        segment.end += bytes;
        let (grown, end, size) = (segment.end - before, segment.end, segment.identity.bytes);
        self.total += grown;
        self.unwritten += grown;
        if self.open.len() >= CHUNK {
            self.seal();
        }
        if spare.is_none() && end > size / 2 {
            self.spare = Some(self.ask(self.next_bytes));
        }
        LogAddress::new(slot, offset)
    }

    /// Everything so far is to be written now, and filled up to a block's end, so that later writes begin behind it.
    pub(super) fn flush(&mut self) {
        if let (true, Some(slot)) = (self.active, self.order.last()) {
            let segment = self.segment(*slot);
            let gap = segment.end.next_multiple_of(BLOCK) - segment.end;
            let pad = if gap > 0 && gap < HEADER as u64 { gap + BLOCK } else { gap };
            // At the very end there may be no room for a pad, and then none for a record either.
            if pad > 0 && segment.end + pad <= segment.identity.bytes {
                self.append(Zxid::ZERO, &Record::Pad { bytes: pad as usize });
            }
        }
        self.seal();
    }

    pub(super) fn segment_ready(&mut self, number: u32, file: Arc<dyn SegmentBytes>) {
        if let Some(slot) = self.slot_of(number) {
            segment_mut(&mut self.segments, slot).ready(file);
            self.unissued.push(slot);
        }
    }

    pub(super) fn written(&mut self, number: u32, upto: u64) {
        if let Some(slot) = self.slot_of(number) {
            let segment = segment_mut(&mut self.segments, slot);
            let before = segment.written;
            segment.written(upto);
            self.unwritten -= segment.written - before;
        }
    }

    pub(super) fn actions(&mut self, out: &mut Vec<LogAction>) {
        out.append(&mut self.actions);
        for slot in std::mem::take(&mut self.unissued) {
            let Some(segment) = self.segments[usize::from(slot)].as_mut() else { continue };
            while let Some((offset, bytes)) = segment.next_write() {
                let SegmentIdentity { partition, generation, number, .. } = segment.identity;
                out.push(LogAction::Write { partition, generation, segment: number, offset, bytes });
            }
        }
        self.remove_retired(out);
    }

    /// The bytes of a record, and whether they come from a file and so may have rotted.
    pub(super) fn bytes(&self, address: LogAddress, bytes: u32) -> Option<(&[u8], bool)> {
        let segment = self.segments.get(address.slot())?.as_ref()?;
        let range = address.offset()..address.offset() + u64::from(bytes);
        match self.open_offset(address) {
            Some(from) => self.open.get(from..from + bytes as usize).map(|bytes| (bytes, false)),
            None => segment.bytes(range),
        }
    }

    /// Length of the record at an address, read from its header.
    pub(super) fn record_bytes(&self, address: LogAddress) -> Option<u32> {
        let (header, _) = self.bytes(address, HEADER as u32)?;
        let bytes = length(header)?;
        let segment = self.segments.get(address.slot())?.as_ref()?;
        (address.offset() + u64::from(bytes) <= segment.end).then_some(bytes)
    }

    /// What the checksum of the record at `address` begins with.
    pub(super) fn seed(&self, address: LogAddress) -> Option<u32> {
        Some(self.segments.get(address.slot())?.as_ref()?.seed(address.offset()))
    }

    /// Whether `bytes` from an address on, as far as the segment reaches, can be read without waiting.
    pub(super) fn is_resident(&self, address: LogAddress, bytes: u32) -> bool {
        let Some(segment) = self.segments.get(address.slot()).and_then(Option::as_ref) else { return false };
        let range = address.offset()..address.offset() + u64::from(bytes);
        self.open_offset(address).is_some() || segment.is_resident(range)
    }

    /// `bytes` from an address on, as far as the segment reaches, as a place in a file.
    pub(super) fn place(&self, address: LogAddress, bytes: u32) -> Place {
        match self.segments.get(address.slot()).and_then(Option::as_ref) {
            Some(segment) => {
                let end = (address.offset() + u64::from(bytes)).min(segment.file_end());
                segment.place(address.offset()..end.max(address.offset()))
            }
            None => Place { generation: 0, segment: u32::MAX, range: 0..0 },
        }
    }

    /// Begins a generation, and returns the slots of the segments before it.
    pub(super) fn begin_generation(&mut self, first_bytes: u64) -> Vec<u16> {
        self.seal();
        self.active = false;
        self.generation += 1;
        self.next_bytes = first_bytes.next_power_of_two().clamp(SEGMENT_MIN, SEGMENT_MAX);
        self.order.clone()
    }

    /// Where the records of a segment end.
    pub(super) fn end_of(&self, slot: u16) -> u64 {
        self.segment(slot).end
    }

    /// Takes the segments before the current generation out of the log. `mark` is the last view at which their
    /// addresses were handed out.
    pub(super) fn retire(&mut self, mark: Zxid) {
        let generation = self.generation;
        let is_old = |log: &Log, slot: u16| log.segment(slot).identity.generation < generation;
        let mut slots: Vec<u16> = self.order.iter().copied().filter(|slot| is_old(self, *slot)).collect();
        self.order.retain(|slot| !slots.contains(slot));
        self.total -= slots.iter().map(|slot| self.segment(*slot).end).sum::<u64>();
        if let Some(spare) = self.spare.filter(|spare| is_old(self, *spare)) {
            self.spare = None;
            slots.push(spare);
        }
        if !slots.is_empty() {
            let generation = generation - 1;
            self.retired.push(Retired { slots, generation, mark, released: false, superseded: false });
        }
    }

    /// Whether there are retired segments.
    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }

    /// No address from a view before `oldest_view` is held any more.
    pub(super) fn release(&mut self, oldest_view: Zxid) {
        for retired in &mut self.retired {
            retired.released |= retired.mark < oldest_view;
        }
    }

    /// A manifest with this cut is durable.
    pub(super) fn superseded(&mut self, cut: &[SegmentCut]) {
        for retired in &mut self.retired {
            retired.superseded |= cut.iter().all(|segment| segment.generation > retired.generation);
        }
    }

    fn remove_retired(&mut self, out: &mut Vec<LogAction>) {
        let segments = &mut self.segments;
        self.retired.retain_mut(|retired| {
            if !retired.released || !retired.superseded {
                return true;
            }
            retired.slots.retain(|slot| {
                let place = &mut segments[usize::from(*slot)];
                let Some(segment) = place.as_ref().filter(|segment| segment.is_settled()) else { return true };
                let SegmentIdentity { partition, generation, number, .. } = segment.identity;
                out.push(LogAction::RemoveSegment { partition, generation, segment: number });
                *place = None;
                false
            });
            !retired.slots.is_empty()
        });
    }

    /// The slot of a segment with room for a record, which becomes the last one.
    fn room_for(&mut self, bytes: u64) -> u16 {
        if let (true, Some(slot)) = (self.active, self.order.last())
            && self.segment(*slot).has_room(bytes, LogAddress::OFFSET_LIMIT)
        {
            return *slot;
        }
        self.seal();
        let needed = bytes + SEGMENT_HEADER as u64;
        let is_usable = |log: &Log, slot: u16| {
            let identity = &log.segment(slot).identity;
            identity.bytes >= needed && identity.generation == log.generation
        };
        let slot = match self.spare.filter(|spare| is_usable(self, *spare)) {
            Some(spare) => {
                self.spare = None;
                spare
            }
            None => {
                let regular = self.next_bytes;
                self.ask(if needed <= regular { regular } else { needed.next_multiple_of(BLOCK) })
            }
        };
        self.active = true;
        self.order.push(slot);
        slot
    }

    /// Asks for a segment.
    fn ask(&mut self, bytes: u64) -> u16 {
        let identity = self.identity(self.generation, self.next_number, bytes);
        self.next_number += 1;
        if bytes == self.next_bytes {
            self.next_bytes = (bytes * 2).min(SEGMENT_MAX);
        }
        let SegmentIdentity { partition, generation, number, .. } = identity;
        self.actions.push(LogAction::NeedSegment { partition, generation, segment: number, bytes });
        self.occupy(Segment::new(identity))
    }

    fn identity(&self, generation: u32, number: u32, bytes: u64) -> SegmentIdentity {
        SegmentIdentity { partition: self.partition, generation, number, bytes }
    }

    fn occupy(&mut self, segment: Segment) -> u16 {
        let slot = match self.segments.iter().position(Option::is_none) {
            Some(vacant) => vacant,
            None => {
                self.segments.push(None);
                self.segments.len() - 1
            }
        };
        self.segments[slot] = Some(segment);
        assert!(slot < LogAddress::SLOTS, "a partition has room for 65,536 segments, which are 4 TiB");
        slot as u16
    }

    /// Seals the open chunk.
    fn seal(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if let Some(slot) = self.order.last() {
            // Where a chunk has filled up, another one soon will.
            let room = if self.open.len() >= CHUNK / 2 { CHUNK } else { 0 };
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(room));
            segment_mut(&mut self.segments, *slot).seal(full);
            self.unissued.push(*slot);
        }
    }

    /// The place in the open chunk, if the address lies there.
    fn open_offset(&self, address: LogAddress) -> Option<usize> {
        let last = *self.order.last()?;
        if usize::from(last) != address.slot() {
            return None;
        }
        let start = self.segment(last).end - self.open.len() as u64;
        address.offset().checked_sub(start).map(|offset| offset as usize)
    }

    fn segment(&self, slot: u16) -> &Segment {
        self.segments[usize::from(slot)].as_ref().expect("slots of the log are occupied")
    }

    fn slot_of(&self, number: u32) -> Option<u16> {
        let is_it = |segment: &Option<Segment>| segment.as_ref().is_some_and(|found| found.identity.number == number);
        self.segments.iter().position(is_it).map(|slot| slot as u16)
    }
}

fn segment_mut(segments: &mut [Option<Segment>], slot: u16) -> &mut Segment {
    segments[usize::from(slot)].as_mut().expect("slots of the log are occupied")
}
