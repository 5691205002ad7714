//! Where the probe writes: a directory of its own, which is gone when the probe ends, also by an error or a signal that
//! its host catches. What a killed one left behind the next one removes.
//!
//! The files keep their names while they are measured. Some file systems do not bother to log files without a name, and a
//! flush that does nothing is soon done.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::ProbeError;
use crate::aligned::AlignedBuf;
use crate::block_file::{BlockFile, PreferDirect, WriteSync};
use crate::data_dir::{self, DataDirLock, LockError};

/// Name of the probe's directory within the probed one.
pub const SCRATCH_DIR: &str = ".ringkeeper-probe";

/// Every name that a probe uses; nothing else is ever removed.
const FILES: [&str; 3] = ["direct.tmp", "buffered.tmp", "stream.tmp"];
const FILL_STEP_BYTES: usize = 1 << 20;
/// Prepared however slow the disk is: the largest append fits several times.
const FILL_BYTES_MIN: u64 = 2 << 20;

/// The probe's directory, locked; removed with all files when dropped.
pub(super) struct Scratch {
    dir: PathBuf,
    _lock: DataDirLock,
}

impl Scratch {
    /// Makes the directory within `parent`.
    pub(super) fn create(parent: &Path) -> Result<Scratch, ProbeError> {
        let dir = parent.join(SCRATCH_DIR);
        let failed = |source: io::Error| ProbeError::Scratch { path: dir.clone(), source };
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = std::fs::symlink_metadata(&dir).map_err(failed)?;
                if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
                    return Err(failed(io::Error::other("it is there and not a directory of this user's")));
                }
            }
            Err(error) => return Err(failed(error)),
        }
        let lock = DataDirLock::acquire(&dir).map_err(|error| match error {
            LockError::Held { holder, .. } => ProbeError::Busy { dir: parent.to_path_buf(), holder },
            LockError::Io { source, .. } => failed(source),
        })?;
        let scratch = Scratch { dir, _lock: lock };
        scratch.clear();
        Ok(scratch)
    }

    /// A file of at most `bytes`, written once, so that measured writes change no metadata. Shorter when `until` passes or
    /// `stop` is set meanwhile.
    pub(super) fn file(
        &self,
        name: Name,
        bytes: u64,
        until: Instant,
        stop: &AtomicBool,
    ) -> io::Result<(Arc<BlockFile>, u64)> {
        let path = self.path(name);
        let prefer = if name == Name::Buffered { PreferDirect::No } else { PreferDirect::Yes };
        let file = BlockFile::create(&path, bytes, prefer)?;
        let zeroes = AlignedBuf::zeroed(FILL_STEP_BYTES);
        let mut filled = 0;
        while filled < bytes {
            if filled >= FILL_BYTES_MIN && (Instant::now() >= until || stop.load(Ordering::Relaxed)) {
                break;
            }
            let step = (bytes - filled).min(FILL_STEP_BYTES as u64);
            file.write_at(filled, &zeroes[..step as usize], WriteSync::None)?;
            filled += step;
        }
        file.set_len(filled)?;
        file.sync_data()?;
        data_dir::dir_sync(&self.dir)?;
        Ok((file, filled))
    }

    /// Removes a file before the next one needs its space.
    pub(super) fn remove(&self, name: Name) {
        // What stays here is tried again when the directory goes.
        let _ = data_dir::remove_file(&self.path(name));
    }

    pub(super) fn path(&self, name: Name) -> PathBuf {
        self.dir.join(FILES[name as usize])
    }

    fn clear(&self) {
        for name in FILES {
            let _ = data_dir::remove_file(&self.dir.join(name));
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.clear();
        let removed = data_dir::remove_file(&self.dir.join(data_dir::LOCK_FILE));
        let removed = removed.and_then(|()| std::fs::remove_dir(&self.dir));
        if let Err(error) = removed {
            tracing::warn!(dir = %self.dir.display(), %error, "the probe's directory is left behind");
        }
    }
}

/// The files of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// Written past the page cache, where the file system can.
    Direct = 0,
    /// Written through the page cache.
    Buffered = 1,
    /// A larger one, read and written in sequence.
    Stream = 2,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn nothing_is_left_also_of_a_probe_that_was_killed() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join(SCRATCH_DIR);
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("stream.tmp"), b"of a killed one").unwrap();
        let scratch = Scratch::create(place.path()).unwrap();
        assert!(!dir.join("stream.tmp").exists());
        let (file, bytes) = scratch.file(Name::Direct, 3 << 20, soon(), &AtomicBool::new(false)).unwrap();
        assert_eq!((bytes, file.len().unwrap()), (3 << 20, 3 << 20));
        drop(scratch);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_second_probe_of_one_directory_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let first = Scratch::create(place.path()).unwrap();
        assert!(matches!(Scratch::create(place.path()), Err(ProbeError::Busy { .. })));
        drop(first);
        Scratch::create(place.path()).unwrap();
    }

    #[test]
    fn files_of_somebody_else_stay() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join(SCRATCH_DIR);
        let other = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(other.path(), &dir).unwrap();
        assert!(matches!(Scratch::create(place.path()), Err(ProbeError::Scratch { .. })));
        std::fs::remove_file(&dir).unwrap();
        let scratch = Scratch::create(place.path()).unwrap();
        std::fs::write(dir.join("notes"), b"mine").unwrap();
        drop(scratch);
        assert_eq!(std::fs::read(dir.join("notes")).unwrap(), b"mine");
    }

    #[test]
    fn filling_ends_early_when_time_is_up_or_it_is_told_to() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(place.path()).unwrap();
        let (file, bytes) = scratch.file(Name::Buffered, 64 << 20, Instant::now(), &AtomicBool::new(false)).unwrap();
        assert_eq!((bytes, file.len().unwrap()), (FILL_BYTES_MIN, FILL_BYTES_MIN));
        scratch.remove(Name::Buffered);
        let (_, bytes) = scratch.file(Name::Buffered, 64 << 20, soon(), &AtomicBool::new(true)).unwrap();
        assert_eq!(bytes, FILL_BYTES_MIN);
    }
}
