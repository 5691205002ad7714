//! The files of an Apache ZooKeeper server: snapshots, transaction logs, epochs, and the digest that they carry.
//!
//! Readers and writers over any stream of bytes; which files a directory has is told by name ([`directory`]).

pub mod compression;
pub mod digest;
pub mod directory;
pub mod log;
pub mod snapshot_file;
#[cfg(test)]
mod tests;

use crate::peer::snapshot::reader::SnapshotError;
use std::io::{self, Read};

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It does not begin like such a file.
    #[error("it does not begin like a {0} of ZooKeeper")]
    Magic(&'static str),
    /// Its format is none that is known.
    #[error("it is a {0} of format {1}, and format 2 can be read")]
    Version(&'static str, i32),
    /// It ends too early.
    #[error("the {0} is cut short")]
    CutShort(&'static str),
    /// What it holds is no snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The checksum of the snapshot fails.
    #[error("the snapshot fails its checksum")]
    SnapshotChecksum,
    /// The checksum of an entry fails.
    #[error("the entry at offset {offset} fails its checksum: the log is damaged there")]
    EntryChecksum {
        /// Where the entry begins.
        offset: u64,
    },
    /// An entry with an impossible length.
    #[error("the entry at offset {offset} has length {length}: the log is damaged there, or jute.maxbuffer was larger")]
    EntryLength {
        /// Where the entry begins.
        offset: u64,
        /// What it says.
        length: i32,
    },
    /// An entry that is not whole, with whole ones behind it.
    #[error("the entry at offset {offset} is not whole, but one behind it is: the log is damaged there")]
    EntryEnd {
        /// Where the entry begins.
        offset: u64,
    },
}

/// Reads until the buffer is full or the end is reached; returns how much came.
fn fill(input: &mut (impl Read + ?Sized), buf: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < buf.len() {
        match input.read(&mut buf[found..]) {
            Ok(0) => break,
            Ok(bytes) => found += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
