//! The data directory as a whole: its lock, atomic replacement of small files, and flushes of directories.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

/// Name of the lock's file within the directory.
pub const LOCK_FILE: &str = "LOCK";

/// Flushes a directory, which makes creations, renames and removals in it durable.
///
/// # Errors
/// The file system's.
pub fn dir_sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces the content of `path` so that after a crash either the old or the new one is there, whole: temporary file,
/// flush, rename, flush of the directory.
///
/// # Errors
/// The file system's; the old content then is still there, unless only the last flush failed.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path)?;
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        // Left over it would only be truncated by the next attempt.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    dir_sync(parent(path))
}

/// Removes a file; success also if it is not there. The caller flushes the directory.
///
/// # Errors
/// The file system's.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Bytes that an unprivileged process may still write to the file system of `dir`.
///
/// # Errors
/// The file system's.
pub fn free_space(dir: &Path) -> io::Result<u64> {
    let facts = rustix::fs::statvfs(dir)?;
    Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
}

/// The lock on a data directory, held until dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
    path: PathBuf,
}

/// Why a data directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("data directory {dir} is in use by {holder}; stop that server or give this one another data directory")]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The holder, from the lock's file.
        holder: String,
    },
    /// The lock's file cannot be used.
    #[error("cannot lock data directory: {path}: {source}; the directory has to exist and be writable by this user")]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl DataDirLock {
    /// Locks `dir`, without waiting, and writes the process id into the lock's file for whoever comes second.
    ///
    /// # Errors
    /// [`LockError::Held`] names the holder.
    pub fn acquire(dir: &Path) -> Result<DataDirLock, LockError> {
        let path = dir.join(LOCK_FILE);
        let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(LockError::Held { dir: dir.to_path_buf(), holder: holder(&mut file) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(DataDirLock { _file: file, path })
    }

    /// The lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // The holder may be between taking the lock and writing its id.
    match file.take(32).read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => format!("process {}", text.trim()),
        _ => "another process".to_string(),
    }
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} does not name a file", path.display()))
    })?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

/// The directory of `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_lock_names_the_holder_and_a_dropped_one_frees() {
        let place = tempfile::tempdir().unwrap();
        let first = DataDirLock::acquire(place.path()).unwrap();
        let error = DataDirLock::acquire(place.path()).unwrap_err();
        assert!(matches!(&error, LockError::Held { .. }), "{error}");
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(first.path(), place.path().join(LOCK_FILE));
        drop(first);
        DataDirLock::acquire(place.path()).unwrap();
    }

    #[test]
    fn a_lock_without_a_directory_names_the_file() {
        let place = tempfile::tempdir().unwrap();
        let error = DataDirLock::acquire(&place.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("missing/LOCK"), "{error}");
    }

    #[test]
    fn replacing_leaves_the_new_content_and_no_temporary_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("manifest");
        for content in ["first", "a longer second", "3"] {
            replace_file(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }

    #[test]
    fn readers_meanwhile_see_one_whole_content() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("manifest");
        replace_file(&path, &[0; 20_000]).unwrap();
        let writing = {
            let path = path.clone();
            std::thread::spawn(move || (1..50u8).for_each(|round| replace_file(&path, &[round; 20_000]).unwrap()))
        };
        while !writing.is_finished() {
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!(bytes.len(), 20_000);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
        }
        writing.join().unwrap();
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_content() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("manifest");
        // A directory in the way of the temporary file: nothing can be written.
        replace_file(&path, b"old").unwrap();
        std::fs::create_dir(place.path().join(".manifest.tmp")).unwrap();
        replace_file(&path, b"new").unwrap_err();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        replace_file(Path::new("/"), b"").unwrap_err();
    }

    #[test]
    fn removing_twice_is_fine_and_free_space_is_something() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("f");
        std::fs::write(&path, "x").unwrap();
        remove_file(&path).unwrap();
        remove_file(&path).unwrap();
        dir_sync(place.path()).unwrap();
        assert!(free_space(place.path()).unwrap() > 0);
        assert_eq!(parent(Path::new("name")), Path::new("."));
    }
}
