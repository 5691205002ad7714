//! The write-ahead log of the replication role, without I/O: bytes and decisions; whoever hosts it reads and writes.
//!
//! # A record's way to durability
//!
//! 1. [`append`](WalWriter::append) encodes the record into the batch that is gathering, in the very form in which it is
//!    written. No timer: a batch goes out as soon as no write is in flight.
//! 2. [`poll_write`](WalWriter::poll_write) seals that batch: it settles its place, puts in the checksum of the batch
//!    before it and the commit zxid known by now, and gives every sector the segment's identity and a checksum. The host
//!    writes it durably (O_DIRECT with RWF_DSYNC). **One write is in flight at a time**; what arrives meanwhile gathers.
//! 3. [`written`](WalWriter::written) turns the completion into [`Durable`], the only thing that acknowledgements and
//!    commits accept. After a failure it never does so again.
//! 4. A batch that does not fit what is left of the segment opens the next one, which has been
//!    [made ready](WalWriter::poll_prepare) while this one filled. If it is late, records wait in memory, within a bound;
//!    no file is ever extended on the way. A batch larger than a segment gets a segment of its own size.
//! 5. Segments whose records a checkpoint covers [retire](WalWriter::retire), oldest first, save what followers may still
//!    ask for. Their files are prepared again as they are, under a new identity.
//!
//! # What is never done
//!
//! * A block that has been written is not written again in the life of its segment's identity: batches are padded to whole
//!   blocks.
//! * A segment is not gone on with after a restart or a cut. The first batch of the next segment names the end that it
//!   continues, in the same write as its first records, so that from then on nothing behind that end can count: not a torn
//!   batch, not a record that a TRUNC dropped, not a write of a dead process that arrives late. Until then the old log
//!   is what it was, and recovery reaches the same verdict again.
//! * A restart is not finished by reading alone: what was read may sit in a volatile cache, so the segment with the end of
//!   the log is flushed before anything rests on it ([`Recovered::unflushed`]).
//!
//! # Reading it back
//!
//! 1. [`recover`] reads the header and the first batch of every segment. The newest segment with a whole first batch is
//!    where the log ends; its links lead back to the oldest live one. All else is void, or not yet used.
//! 2. From the oldest on, batches are checked (sectors, place, chain, zxids) and their records handed over, in each
//!    segment up to the end that the next one's link names.
//! 3. In the newest segment and the unused ones behind it every block is looked at: there may be one torn batch directly
//!    behind the end, and nothing else. [`recovery`] has the table, and why it is safe in both directions.
//! 4. The verdict: clean, torn tail, or damage. Reading never repairs.
//!
//! [`format`](mod@format) draws the bytes. [`read`] serves records of the live log to followers and shards; [`inspect`]
//! shows a directory to its operator; [`check`] looks for decay in segments that are not written any more.

pub mod check;
pub mod format;
pub mod inspect;
pub mod read;
pub mod recovery;

mod batch;
mod durable;
mod error;
mod layout;
mod writer;

#[cfg(test)]
pub(crate) mod disk;
#[cfg(test)]
mod header_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use disk::Chance;
pub use durable::Durable;
pub use error::{AppendError, PrepareError, TruncateError, WalFailure, WriteFault};
pub use format::{BLOCK_BYTES, DirectoryId, LogEnd, SegmentHeader, SegmentIdentity, SegmentSeq};
pub use layout::{BatchMark, LogLayout, SegmentHandle, SegmentLayout};
pub use recovery::{
    Checkpoint, Damage, DamageReason, Recovered, SegmentSource, TornTail, Verdict, origin, recover, recover_deciding,
};
pub use writer::{Prepare, RECORD_BYTES_MAX, RetiredSegment, Truncation, WalConfig, WalWrite, WalWriter, WriteToken};
