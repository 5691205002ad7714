//! Reading the log back after a stop of any kind: from blocks to a verdict, without writing anything.
//!
//! [`recover`] is a pure function of what the blocks hold and what the checkpoint says. What follows from the verdict is
//! done by others: the writer cuts ([`WalWriter::resume`](super::WalWriter::resume)), an operator or a leader decides
//! about damage.
//!
//! # The table
//!
//! Blocks are judged by their sectors. A sector is *blank* (zeroes), *ours* (valid under the segment's identity), *older*
//! (valid under an identity that no present segment has) or *bad* (anything else). A block is *empty* without a sector of
//! ours, *part* with some, *whole* with eight.
//!
//! | behind the last complete batch of the newest segment, at block s | verdict |
//! |---|---|
//! | everything empty to the end of the segment | clean |
//! | empty, part and whole blocks, all whose sectors of ours are marked as of the batch at s, not all of its blocks whole | torn tail |
//! | a bad sector anywhere | damage |
//! | a sector of ours marked as of another batch | damage |
//! | whole, but not the continuation of the chain | damage |
//!
//! | ahead of the end that a later segment's link names | verdict |
//! |---|---|
//! | whole blocks that continue the chain up to exactly that end and checksum | goes on |
//! | anything else | damage |
//!
//! # Why it is safe
//!
//! * Devices write sectors whole, and a block is written once in the life of an identity. So a write in flight when the
//!   machine stops leaves each of its sectors either as it was (blank or older) or as written (ours, valid). A bad sector
//!   is never the trace of a torn write, and always damage: it may have been acknowledged.
//! * One write is in flight at a time, and acknowledged only when all of it is durable. So a batch with a blank or older
//!   sector was not acknowledged, and nothing can have been written behind it. If something was, the sector was lost after
//!   it had been durable: damage.
//! * What is lost whole and silently at the very end (a device that lies about a flush) leaves no trace in the log
//!   itself. The checkpoint's zxid convicts it when it is ahead of the log.

mod block;
mod scan;
#[cfg(test)]
mod tables;

use engine::zxid::Zxid;

use super::format::{BLOCK_BYTES, DirectoryId, HeaderFault, LinkKind, SegmentIdentity, SegmentSeq};
use super::layout::{LogLayout, SegmentLayout};

pub(super) use block::{BlockJudge, BlockState, Window};
pub use scan::{origin, recover, recover_deciding};

/// A segment file as recovery sees it.
pub trait SegmentSource {
    /// The number in its name.
    fn sequence(&self) -> SegmentSeq;

    /// Whole blocks in the file.
    fn blocks(&self) -> u32;

    /// Fills `into` (whole blocks, memory on a block boundary) from block `first` on.
    ///
    /// # Errors
    /// The system's, when the blocks cannot be read; recovery then tries them one by one.
    fn read(&mut self, first: u32, into: &mut [u8]) -> std::io::Result<()>;
}

/// What the partitions hold without the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checkpoint {
    /// Made here, of transactions that this log had made durable: the log reaches at least as far.
    Local(Zxid),
    /// Taken from elsewhere (a leader's snapshot, a backup), with a history that need not be this log's. The log counts
    /// only if it has been [`reset`](super::WalWriter::reset) to this very zxid (every link says to which); otherwise all
    /// of it is void, also what lies behind the zxid. The next checkpoint made here, after that reset is durable, is a local one.
    Installed(Zxid),
}

impl Checkpoint {
    /// The last zxid in it.
    pub fn zxid(self) -> Zxid {
        match self {
            Checkpoint::Local(zxid) | Checkpoint::Installed(zxid) => zxid,
        }
    }
}

/// What became of the log.
#[derive(Debug)]
pub enum Verdict {
    /// It ends with a whole batch.
    Clean(Recovered),
    /// The last batch was being written: never acknowledged, to be cut without asking anyone.
    TornTail(Recovered, TornTail),
    /// Something that was durable is not there any more, or cannot be told from that.
    Damage(Box<Damage>),
}

impl Verdict {
    /// The usable log, unless it is damaged.
    pub fn recovered(&self) -> Option<&Recovered> {
        match self {
            Verdict::Clean(recovered) | Verdict::TornTail(recovered, _) => Some(recovered),
            Verdict::Damage(_) => None,
        }
    }
}

/// A log that can be gone on with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    pub(super) layout: LogLayout,
    pub(super) last: Zxid,
    pub(super) committed: Zxid,
    pub(super) next_sequence: SegmentSeq,
}

impl Recovered {
    /// The last zxid of the log, or the checkpoint's when that has superseded it. Counts in elections.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Up to where the log itself knows that its records were committed; never beyond [`last`](Self::last). What is behind
    /// stays unapplied until an established leader says what becomes of it.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// The segment to flush (fdatasync) before anything rests on this log: its last batch may have reached no more than a
    /// cache when the process that wrote it ended.
    pub fn unflushed(&self) -> Option<SegmentSeq> {
        self.layout.end().map(|end| end.sequence)
    }

    /// What lies where.
    pub fn layout(&self) -> &LogLayout {
        &self.layout
    }

    /// The number of the segment to be written next. Segments from it on are unused or hold a torn batch; they are
    /// replaced as they are prepared.
    pub fn next_sequence(&self) -> SegmentSeq {
        self.next_sequence
    }

    pub(super) fn into_layout(self) -> LogLayout {
        self.layout
    }
}

/// The batch that was being written when the server stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// Its segment.
    pub segment: SegmentSeq,
    /// Its first block.
    pub block: u32,
    /// Blocks of it that are there, at least in part.
    pub blocks_found: u32,
    /// Zxids that it was to hold, when its header is there.
    pub zxids: Option<(Zxid, Zxid)>,
}

/// Where the log is damaged and what is known about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentSeq,
    /// The block; 0 is the segment's header.
    pub block: u32,
    /// What is wrong there.
    pub reason: DamageReason,
    /// Everything up to here is sound, in the checkpoint or the log.
    pub sound_until: Zxid,
    /// The largest zxid seen in readable batches behind the damage: at least up to here something may have been
    /// acknowledged.
    pub seen_until: Option<Zxid>,
    /// The number with which a new log would begin.
    pub next_sequence: SegmentSeq,
    /// The log up to the damage, for an operator who accepts the loss of what follows; `None` when only the checkpoint is
    /// left to start from.
    pub salvage: Option<Recovered>,
    pub(super) present: Vec<(SegmentSeq, SegmentIdentity, u64)>,
}

impl Damage {
    /// What it would take to go on, for the operator.
    pub fn remedy(&self, lone_server: bool) -> String {
        let lost = match self.seen_until {
            Some(seen) if seen > self.sound_until => {
                format!("transactions after {} (at least up to {seen})", self.sound_until)
            }
            _ => format!("any transactions after {}", self.sound_until),
        };
        if lone_server {
            format!(
                "restore this server from a backup, or accept that {lost} are lost, although clients may have been told \
                 that they succeeded"
            )
        } else {
            format!("this server does not vote; it takes {lost} from a leader that the other servers establish")
        }
    }

    /// All segments present, none of them live.
    pub(super) fn void_layout(&self) -> LogLayout {
        let mut layout = LogLayout::default();
        for &(sequence, identity, bytes) in &self.present {
            layout.push(SegmentLayout { sequence, identity, bytes, link: None, batches: Vec::new() });
        }
        layout
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offset = u64::from(self.block) * BLOCK_BYTES as u64;
        write!(f, "write-ahead log segment {}, offset {offset}: {}", self.segment, self.reason)
    }
}

/// What is wrong with a block or a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DamageReason {
    /// The segment's header.
    #[error(transparent)]
    Header(HeaderFault),
    /// The number in the header is not the one in the file's name.
    #[error("the file holds segment {0}")]
    Misnamed(SegmentSeq),
    /// Two files with the same number or identity.
    #[error("another segment has the same number or identity")]
    Duplicate,
    /// The file is not as long as its header says.
    #[error("the file has {found} bytes, its header says {wanted}")]
    FileSize {
        /// Bytes found.
        found: u64,
        /// Bytes that the header says.
        wanted: u64,
    },
    /// A segment is not there though newer ones are.
    #[error("the segment is missing")]
    Missing,
    /// The system cannot read the block.
    #[error("the block cannot be read ({0})")]
    Unreadable(std::io::ErrorKind),
    /// Contents changed since they were written.
    #[error("the block fails its checksum")]
    Checksum,
    /// A block of another place.
    #[error("the block holds what belongs to segment {sequence}, block {block}")]
    Misplaced {
        /// The segment where it belongs.
        sequence: SegmentSeq,
        /// The block where it belongs.
        block: u32,
    },
    /// A block of another directory.
    #[error("the block belongs to another data directory ({0:?})")]
    ForeignDirectory(DirectoryId),
    /// Sound blocks whose contents contradict each other or the format.
    #[error("the block contradicts its neighbours")]
    Malformed,
    /// The batch does not continue the one before it.
    #[error("the batch does not continue the one before it")]
    ChainBroken,
    /// A batch that was durable is not there.
    #[error("a batch is missing, though later ones were written")]
    Hole,
    /// The rollover to the next segment was under way, but this segment's last batch is not whole.
    #[error("the last batch of a full segment is not whole")]
    TornBeforeRollover,
    /// Records between the checkpoint and the log are missing.
    #[error("the log begins behind {base}, but the checkpoint reaches only to {checkpoint}")]
    BeginsLate {
        /// Where the log begins.
        base: Zxid,
        /// The checkpoint.
        checkpoint: Zxid,
    },
    /// The checkpoint holds more than the log, of which it was made.
    #[error("the log ends at {last}, but the checkpoint made of it reaches to {checkpoint}")]
    BehindCheckpoint {
        /// Where the log ends.
        last: Zxid,
        /// The checkpoint.
        checkpoint: Zxid,
    },
}

/// Which link kinds the first batch of a segment may have; others have none.
pub(super) fn link_fits(start: u32, kind: LinkKind) -> bool {
    (start == 1) == (kind != LinkKind::None)
}
