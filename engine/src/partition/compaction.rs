//! Compaction: what lives of a log that is mostly dead moves into a new generation of segments, in small steps, while
//! pieces go on being applied.
//!
//! 1. *Begin.* The tail is sealed; from now on every record goes to segments of the next generation.
//! 2. *Move.* The older segments are read once, from front to back. A record that the index refers to is written again
//!    at the end of the log, a node with its present ACL, cversion and pzxid, and the index is pointed there. Applying
//!    goes on meanwhile and always writes to the new generation, so the copy cannot fall behind. A checkpoint in
//!    between simply names the segments of both: the log is the old segments followed by the new ones.
//! 3. *Retire.* At the end nothing refers to the older segments, and the next cut leaves them out. Replaying the new
//!    generation alone yields the same state, because whatever an older record says of a node that still is was said
//!    again when the node moved, and what removed older records finds nothing to remove. A child may be linked there
//!    before its parent's record; recovery allows for that.
//! 4. *Release.* Entries and links handed out before step 3 point to the older segments. So these stay readable until
//!    the shard says that no view up to that moment is in use, and their files stay until a manifest without them is
//!    durable. Then the files are removed.

use super::Partition;
use super::record::{Link, Record, decode, is_intact, padded};
use super::types::{Damage, Fault, LogAddress, NodeImage, Place};
use crate::zxid::Zxid;

/// A log smaller than about this is not worth the trouble, in bytes: every generation costs a few files, made, flushed and
/// removed.
pub const COMPACT_FROM_BYTES: u64 = 4 << 20;
/// Bytes whose presence in memory is checked at once.
const WINDOW: u64 = 256 << 10;

/// How a step of compaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CompactionStep {
    /// No compaction is going on.
    Idle,
    /// There is more to do.
    More,
    /// These bytes must become resident first.
    Waiting(Place),
    /// The new generation is complete, the older ones are retired.
    Done,
}

/// Where compaction is.
pub(super) struct Compaction {
    /// Segments to empty.
    slots: Vec<u16>,
    /// How many of them are done.
    done: usize,
    /// Where to go on in the next one; 0 stands for its first record.
    offset: u64,
    /// Up to where that segment is known to be resident.
    resident: u64,
    /// The record under way.
    scratch: Vec<u8>,
}

impl Partition {
    /// Whether about half of the log is dead, and compaction is neither under way nor waiting for an earlier one's segments
    /// to be released.
    pub fn wants_compaction(&self) -> bool {
        let is_worth_it = self.log.total_bytes() > self.own_share(COMPACT_FROM_BYTES)
            && self.dead_bytes() > self.own_share(self.live);
        is_worth_it && self.compaction.is_none() && !self.log.has_retired()
    }

    /// Between 3/4 and 5/4 of `bytes`, spread evenly over the partitions. Logs that grow alike would otherwise be compacted
    /// all at the same moment, again and again.
    fn own_share(&self, bytes: u64) -> u64 {
        let spread = u64::from(self.id.0.reverse_bits()) / 2;
        bytes / 4 * 3 + ((bytes * spread) >> u16::BITS)
    }

    /// Begins a new generation, unless compaction is under way.
    pub fn start_compaction(&mut self) {
        if self.compaction.is_none() {
            // A log that has grown so far will again: few large segments rather than many that double, and the last of
            // them begun, not only asked for, when it has.
            let slots = self.log.begin_generation((self.live / 8).max(self.log.total_bytes() / 8));
            self.compaction = Some(Compaction { slots, done: 0, offset: 0, resident: 0, scratch: Vec::new() });
        }
    }

    /// Whether compaction is under way.
    pub fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Goes on with compaction until some `max_bytes` of the old segments have been looked at. `mark` is the newest
    /// view at which this partition's entries may have been handed out so far.
    ///
    /// Damage leaves everything as it is: the old segments stay in use.
    pub fn compact(&mut self, max_bytes: u64, mark: Zxid) -> Result<CompactionStep, Damage> {
        let Some(mut state) = self.compaction.take() else { return Ok(CompactionStep::Idle) };
        let result = self.compact_from(&mut state, max_bytes);
        if result == Ok(CompactionStep::Done) {
            self.log.retire(mark.max(self.zxid));
        } else {
            self.compaction = Some(state);
        }
        result
    }

    /// No [`super::NodeEntry`] and no [`super::LinkRef`] that was handed out for a view before `oldest_view` is held
    /// any longer: not by history, not by a pin, not by a reply under way. Segments retired before that view are
    /// released; those retired at it are not, since a read at that view may have begun before. So the next transaction
    /// frees them.
    pub fn release_retired(&mut self, oldest_view: Zxid) {
        self.log.release(oldest_view);
    }

    /// Whether segments wait for [`Self::release_retired`] or for [`Self::manifest_durable`].
    pub fn has_retired(&self) -> bool {
        self.log.has_retired()
    }

    fn compact_from(&mut self, state: &mut Compaction, max_bytes: u64) -> Result<CompactionStep, Damage> {
        let mut left = max_bytes;
        loop {
            let Some(slot) = state.slots.get(state.done).copied() else { return Ok(CompactionStep::Done) };
            let end = self.log.end_of(slot);
            state.offset = state.offset.max(super::record::SEGMENT_HEADER as u64);
            if state.offset >= end {
                (state.done, state.offset, state.resident) = (state.done + 1, 0, 0);
                continue;
            }
            if left == 0 {
                return Ok(CompactionStep::More);
            }
            let address = LogAddress::new(slot, state.offset);
            if state.offset >= state.resident {
                let window = WINDOW.min(end - state.offset);
                if !self.log.is_resident(address, window as u32) {
                    return Ok(CompactionStep::Waiting(self.log.place(address, window as u32)));
                }
                state.resident = state.offset + window;
            }
            let bytes = self.log.record_bytes(address).ok_or(self.damage_at(address, Fault::Record))?;
            self.move_record(address, bytes, &mut state.scratch)?;
            state.offset += padded(bytes.into());
            left = left.saturating_sub(padded(bytes.into()));
        }
    }

    /// Writes a record again if the index refers to it.
    fn move_record(&mut self, address: LogAddress, bytes: u32, scratch: &mut Vec<u8>) -> Result<(), Damage> {
        let record = self.log.bytes(address, bytes).ok_or(self.damage_at(address, Fault::Missing))?.0;
        if !self.log.seed(address).is_some_and(|seed| is_intact(record, seed)) {
            return Err(self.damage_at(address, Fault::Checksum));
        }
        scratch.clear();
        scratch.extend_from_slice(record);
        let (zxid, record) = decode(scratch).ok_or(self.damage_at(address, Fault::Record))?;
        match record {
            Record::Node(node) => {
                let Some(entry) = self.get(node.hash).filter(|entry| entry.address == address) else { return Ok(()) };
                let (acl, aversion) = (entry.acl, entry.aversion);
                let (pzxid, cversion) = (entry.pzxid, entry.cversion);
                let moved = self.log.append(zxid, &Record::Node(NodeImage { acl, aversion, pzxid, cversion, ..node }));
                self.index.relocate(node.hash, moved);
            }
            Record::Link(link) => {
                let children = self.index.children(link.parent);
                if children.and_then(|children| children.get(link.child)) == Some(address) {
                    let kept = Link { cversion: None, moves_pzxid: false, ..link };
                    let moved = self.log.append(zxid, &Record::Link(kept));
                    self.index.link(link.parent, link.child, moved, None, None);
                }
            }
            Record::Unlink { .. } | Record::Remove { .. } | Record::Acl { .. } | Record::Pad { .. } => {}
        }
        if scratch.capacity() > WINDOW as usize {
            *scratch = Vec::new();
        }
        Ok(())
    }
}
