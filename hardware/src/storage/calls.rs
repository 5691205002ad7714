//! Jobs that are a few system calls.

use std::fs::OpenOptions;
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
/// A file that goes is cut down by so many bytes at a time. A file system that tells its device what it has freed (the mount
/// option `discard`) does so after the call, and all at once.
const REMOVE_STEP_BYTES: u64 = 2 << 20;
/// What the device gets to do something else between two steps. Its own part is not in the time that a step took.
const REMOVE_PAUSE: Duration = Duration::from_millis(10);

pub(super) fn prepare_file(path: &Path, bytes: u64, zero: bool, direct: PreferDirect) -> StorageResult {
    let file = BlockFile::create(path, bytes, direct).map_err(|error| with_path(path, error))?;
    let prepared = if zero { file.fill_with_zeroes() } else { file.sync_data() }.and_then(|()| dir_sync(parent(path)));
    match prepared {
        Ok(()) => Ok(StorageOutcome::File(file)),
        Err(error) => Err(abandon(path, error)),
    }
}

pub(super) fn prepare_mapped(path: &Path, bytes: u64, instead_of: Option<&Path>) -> StorageResult {
    let len = usize::try_from(bytes)
        .map_err(|_| with_path(path, io::Error::new(io::ErrorKind::InvalidInput, format!("a map of {bytes} bytes"))))?;
    let file = match instead_of.and_then(|old| take_over(old, path, bytes)) {
        Some(file) => file,
        None => BlockFile::create(path, bytes, PreferDirect::No).map_err(|error| with_path(path, error))?,
    };
    let mapped = dir_sync(parent(path)).and_then(|()| MappedSegment::map(&file, 0, len, 0));
    match mapped {
        Ok(map) => Ok(StorageOutcome::Mapped(file, Arc::new(map))),
        Err(error) => Err(abandon(path, error)),
    }
}

/// Renames a file for another use, if it is there and as large as it should be; otherwise there is neither.
fn take_over(old: &Path, path: &Path, bytes: u64) -> Option<Arc<BlockFile>> {
    let taken = std::fs::rename(old, path).and_then(|()| BlockFile::open(path, PreferDirect::No));
    let fitting = taken.and_then(|file| Ok((file.len()? == bytes).then_some(file)));
    if !matches!(fitting, Ok(Some(_))) {
        tracing::debug!(?fitting, old = %old.display(), "a file cannot be used again");
        // A new one is made, and tells what is wrong with the folder.
        let _ = remove_file(old).and_then(|()| remove_file(path));
    }
    fitting.ok().flatten()
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

/// Removes `paths` one by one, with pauses until `hurry` says to do without. What is `unread` is cut down first.
pub(super) fn remove(paths: &[PathBuf], unread: bool, hurry: &dyn Fn() -> bool) -> StorageResult {
    for path in paths {
        let cut = if unread { cut_down(path, hurry) } else { Ok(()) };
        let removed = cut.and_then(|()| remove_file(path)).and_then(|()| dir_sync(parent(path)));
        removed.map_err(|error| with_path(path, error))?;
        pause_between_steps(hurry);
    }
    Ok(StorageOutcome::Done)
}

/// Removes a large file step by step, under another name, so that nobody finds a part of it under its own.
fn cut_down(path: &Path, hurry: &dyn Fn() -> bool) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut left = file.metadata()?.len();
    if left <= REMOVE_STEP_BYTES || hurry() {
        return Ok(());
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(".removing");
    std::fs::rename(path, &aside)?;
    dir_sync(parent(path))?;
    while left > REMOVE_STEP_BYTES && !hurry() {
        left -= REMOVE_STEP_BYTES;
        file.set_len(left)?;
        file.sync_all()?;
        pause_between_steps(hurry);
    }
    remove_file(Path::new(&aside))
}

fn pause_between_steps(hurry: &dyn Fn() -> bool) {
    if !hurry() {
        std::thread::sleep(REMOVE_PAUSE);
    }
}

/// Removes what a failed job created, and passes its error on.
pub(super) fn abandon(path: &Path, error: io::Error) -> io::Error {
    // The first error is the one to tell; what cannot be removed now is found by the next start.
    let _ = remove_file(path);
    with_path(path, error)
}
