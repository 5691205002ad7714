//! What the writing end refuses, and why.

use std::io;

use engine::zxid::Zxid;

use super::format::SegmentSeq;
use super::writer::RECORD_BYTES_MAX;

/// The log can no longer be written: the server stops acknowledging, says so, and exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "write-ahead log segment {segment}, offset {offset}: {fault}; nothing is acknowledged any more, check the disk and \
     start the server again"
)]
pub struct WalFailure {
    /// The segment; 0 when it is not known.
    pub segment: SegmentSeq,
    /// Byte offset of the write.
    pub offset: u64,
    /// What happened.
    pub fault: WriteFault,
}

/// How a write went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteFault {
    /// The system's error.
    Io {
        /// Its kind.
        kind: io::ErrorKind,
        /// Its number, when it has one.
        errno: Option<i32>,
    },
    /// Fewer bytes than were to be written.
    Short {
        /// Bytes written.
        written: usize,
        /// Bytes to be written.
        wanted: usize,
    },
    /// A completion that belongs to no write of this log.
    UnknownToken,
}

impl std::fmt::Display for WriteFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WriteFault::Io { errno: Some(errno), .. } => {
                write!(f, "write failed: {}", io::Error::from_raw_os_error(*errno))
            }
            WriteFault::Io { kind, errno: None } => write!(f, "write failed: {kind}"),
            WriteFault::Short { written, wanted } => write!(f, "{written} of {wanted} bytes written"),
            WriteFault::UnknownToken => f.write_str("completion of an unknown write"),
        }
    }
}

/// Why a record was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// The writer has failed before.
    #[error(transparent)]
    Failed(WalFailure),
    /// Zxids only ascend.
    #[error("record {zxid} does not follow {last}, the last of the log")]
    OutOfOrder {
        /// The record's.
        zxid: Zxid,
        /// The log's last.
        last: Zxid,
    },
    /// More bytes than a record can have.
    #[error("record {zxid} has {bytes} bytes, more than the {RECORD_BYTES_MAX} that the log can hold")]
    TooLarge {
        /// The record's zxid.
        zxid: Zxid,
        /// Its bytes.
        bytes: usize,
    },
    /// Too much waits already: take no more requests until it is written.
    #[error("{waiting} bytes wait to be written to the log")]
    BacklogFull {
        /// Record bytes waiting.
        waiting: u64,
    },
}

/// Why the log was not truncated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TruncateError {
    /// The writer has failed before.
    #[error(transparent)]
    Failed(WalFailure),
    /// The log begins later: the database has to be dropped, and a snapshot asked for.
    #[error("cannot truncate the log to {after}: it begins behind {base}; ask the leader for a snapshot")]
    BelowLog {
        /// Where it was to end.
        after: Zxid,
        /// Where it begins.
        base: Zxid,
    },
}

/// Why a segment was not accepted: a mistake of whoever prepared it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PrepareError {
    /// Nobody asked for it.
    #[error("log segment {0} was not asked for")]
    NotAsked(SegmentSeq),
    /// Too small, or not whole blocks.
    #[error("log segment {sequence} has {bytes} bytes, {wanted} were asked for")]
    Size {
        /// Its number.
        sequence: SegmentSeq,
        /// Its size.
        bytes: u64,
        /// The size asked for.
        wanted: u64,
    },
    /// Zero, or in use by another segment.
    #[error("log segment {0} has no identity of its own")]
    Identity(SegmentSeq),
}
