//! Jobs that are a few system calls.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Pace, StorageOutcome, StorageResult, with_path};
use crate::block_file::{BlockFile, PreferDirect};
use crate::data_dir::{self, dir_sync, parent, remove_file};
use crate::mapping::MappedSegment;

/// A paced flush goes by pieces of so many bytes: what another write may find in front of it.
const WRITE_OUT_BYTES: u64 = 128 << 10;
/// A piece that took less has written nothing.
const WORTH_A_PAUSE: Duration = Duration::from_micros(20);
/// The longest that one pause is, so that shutting down does not wait long for it.
const PAUSE_MAX: Duration = Duration::from_millis(100);

pub(super) fn prepare_file(path: &Path, bytes: u64, zero: bool, direct: PreferDirect) -> StorageResult {
    let file = BlockFile::create(path, bytes, direct).map_err(|error| with_path(path, error))?;
    let prepared = if zero { file.fill_with_zeroes() } else { file.sync_data() }.and_then(|()| dir_sync(parent(path)));
    match prepared {
        Ok(()) => Ok(StorageOutcome::File(file)),
        Err(error) => Err(abandon(path, error)),
    }
}

pub(super) fn prepare_mapped(path: &Path, bytes: u64) -> StorageResult {
    let len = usize::try_from(bytes)
        .map_err(|_| with_path(path, io::Error::new(io::ErrorKind::InvalidInput, format!("a map of {bytes} bytes"))))?;
    let file = BlockFile::create(path, bytes, PreferDirect::No).map_err(|error| with_path(path, error))?;
    let mapped = dir_sync(parent(path)).and_then(|()| MappedSegment::map(&file, 0, len, 0));
    match mapped {
        Ok(map) => Ok(StorageOutcome::Mapped(file, Arc::new(map))),
        Err(error) => Err(abandon(path, error)),
    }
}

/// Flushes `files`, with the pauses of `pace` until `hurry` says to do without.
pub(super) fn sync_files(files: &[Arc<BlockFile>], pace: Pace, hurry: &dyn Fn() -> bool) -> StorageResult {
    let mut pauses = Pauses { pace, taken: Duration::ZERO, hurry };
    for file in files {
        sync_file(file, &mut pauses).map_err(|error| with_path(file.path(), error))?;
    }
    Ok(StorageOutcome::Synced { paused: pauses.taken })
}

fn sync_file(file: &BlockFile, pauses: &mut Pauses) -> io::Result<()> {
    let len = file.len()?;
    let mut offset = 0;
    while offset < len && pauses.are_left() {
        pauses.after(|| file.write_out(offset, WRITE_OUT_BYTES))?;
        offset += WRITE_OUT_BYTES;
    }
    pauses.after(|| file.sync_data())
}

/// The pauses of one job.
struct Pauses<'a> {
    pace: Pace,
    taken: Duration,
    hurry: &'a dyn Fn() -> bool,
}

impl Pauses<'_> {
    fn are_left(&self) -> bool {
        self.taken < self.pace.all_at_most && !(self.hurry)()
    }

    /// Runs `piece`, and pauses in proportion to what it took.
    fn after(&mut self, piece: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = Instant::now();
        piece()?;
        let took = begun.elapsed();
        // What was clean, or not there, took no time of the disk's.
        if took >= WORTH_A_PAUSE && self.are_left() {
            let left = self.pace.all_at_most.saturating_sub(self.taken);
            let pause = took.saturating_mul(self.pace.times).min(left).min(PAUSE_MAX);
            std::thread::sleep(pause);
            self.taken += pause;
        }
        Ok(())
    }
}

pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> StorageResult {
    data_dir::replace_file(path, bytes).map_err(|error| with_path(path, error))?;
    Ok(StorageOutcome::Done)
}

pub(super) fn remove(paths: &[PathBuf]) -> StorageResult {
    for path in paths {
        remove_file(path).map_err(|error| with_path(path, error))?;
    }
    let directories: BTreeSet<&Path> = paths.iter().map(|path| parent(path)).collect();
    for directory in directories {
        dir_sync(directory).map_err(|error| with_path(directory, error))?;
    }
    Ok(StorageOutcome::Done)
}

/// Removes what a failed job created, and passes its error on.
pub(super) fn abandon(path: &Path, error: io::Error) -> io::Error {
    // The first error is the one to tell; what cannot be removed now is found by the next start.
    let _ = remove_file(path);
    with_path(path, error)
}
