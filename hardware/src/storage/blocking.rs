//! Each job as plain system calls: for the plain threads, and for file systems without direct I/O.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::inbox::Inbox;
use super::{StorageJob, StorageOutcome, StorageResult, cancelled, with_path};
use crate::block_file::{BlockFile, PreferDirect};
use crate::data_dir::{dir_sync, parent, remove_file, replace_file};
use crate::mapping::MappedSegment;

pub(super) fn perform(job: StorageJob, inbox: &Inbox) -> StorageResult {
    match job {
        StorageJob::PrepareFile { path, bytes, zero, direct } => prepare_file(&path, bytes, zero, direct),
        StorageJob::PrepareMapped { path, bytes } => prepare_mapped(&path, bytes),
        StorageJob::SyncFiles { files } => sync_files(&files),
        StorageJob::ReplaceFile { path, bytes } => {
            replace_file(&path, &bytes).map_err(|error| with_path(&path, error))?;
            Ok(StorageOutcome::Done)
        }
        StorageJob::Remove { paths } => remove(&paths),
        StorageJob::ReadStream { path, from, to, chunk, mut each } => {
            read_stream(&path, from, to, chunk, &mut each, inbox)
        }
        StorageJob::WriteStream { path, mut source } => write_stream(&path, &mut source, inbox),
        StorageJob::Compute { mut step } => {
            while !inbox.is_cancelling() {
                if !step() {
                    return Ok(StorageOutcome::Done);
                }
            }
            Err(cancelled())
        }
    }
}

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

pub(super) fn sync_files(files: &[Arc<BlockFile>]) -> StorageResult {
    for file in files {
        file.sync_data().map_err(|error| with_path(file.path(), error))?;
    }
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

pub(super) fn read_stream(
    path: &Path,
    from: u64,
    to: u64,
    chunk: usize,
    each: &mut dyn FnMut(u64, &[u8]) -> bool,
    inbox: &Inbox,
) -> StorageResult {
    let file = File::open(path).map_err(|error| with_path(path, error))?;
    let mut buffer = vec![0; chunk.max(1)];
    let mut offset = from;
    while offset < to {
        if inbox.is_cancelling() {
            return Err(cancelled());
        }
        let wanted = buffer.len().min(usize::try_from(to - offset).unwrap_or(usize::MAX));
        let count = match file.read_at(&mut buffer[..wanted], offset) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(with_path(path, error)),
        };
        let start = offset;
        offset += count as u64;
        if !each(start, &buffer[..count]) {
            break;
        }
    }
    Ok(StorageOutcome::Streamed(offset.saturating_sub(from)))
}

pub(super) fn write_stream(path: &Path, source: &mut dyn FnMut(&mut Vec<u8>) -> bool, inbox: &Inbox) -> StorageResult {
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let mut bytes = Vec::new();
        let mut total = 0;
        loop {
            if inbox.is_cancelling() {
                return Err(cancelled());
            }
            bytes.clear();
            let more = source(&mut bytes);
            file.write_all(&bytes)?;
            total += bytes.len() as u64;
            if !more {
                break;
            }
        }
        file.sync_all()?;
        dir_sync(parent(path))?;
        Ok(total)
    })();
    written.map(StorageOutcome::Streamed).map_err(|error| abandon(path, error))
}
