//! Jobs that are a few system calls.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StorageOutcome, StorageResult, with_path};
use crate::block_file::{BlockFile, PreferDirect};
use crate::data_dir::{self, dir_sync, parent, remove_file};
use crate::mapping::MappedSegment;

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
