//! The manifest of a leader's snapshot that lies ready beside the last checkpoint's. It counts when the log has been begun
//! anew behind its zxid, and not before: with that one write the snapshot, and whatever was logged with it, are this
//! server's state and log; without it the old ones are. See [`replication::peer::learner`].

use super::context::Context;
use super::data_dir::NEXT_MANIFEST;
use super::restore::{RestoreError, decode_manifest, wal_segments};
use engine::partition::Manifest;
use hardware::data_dir::{dir_sync, remove_file, replace_file};
use replication::wal::{DirectoryId, origin};
use std::io;
use std::path::{Path, PathBuf};
use tracing::info;

/// Its file.
pub struct NextManifest<'a> {
    path: PathBuf,
    manifest: &'a Path,
}

impl<'a> NextManifest<'a> {
    /// Beside the manifest of `context`.
    pub fn of(context: &'a Context) -> NextManifest<'a> {
        NextManifest { path: context.manifest.with_file_name(NEXT_MANIFEST), manifest: &context.manifest }
    }

    /// Where it is, if it is there.
    pub fn path(&self) -> Option<&Path> {
        self.path.exists().then_some(self.path.as_path())
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// The file system's; the file may be there then or not.
    pub fn put(&self, manifest: &Manifest) -> io::Result<()> {
        replace_file(&self.path, &manifest.encode())
    }

    /// The log has begun anew behind it: from here on it is the manifest.
    ///
    /// # Errors
    /// The file system's; the next start does it then.
    pub fn take_over(&self) -> io::Result<()> {
        std::fs::rename(&self.path, self.manifest)?;
        self.flush()
    }

    /// Nothing comes of it.
    ///
    /// # Errors
    /// The file system's.
    pub fn discard(&self) -> io::Result<()> {
        remove_file(&self.path)?;
        self.flush()
    }

    fn flush(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), dir_sync)
    }
}

/// At the start: decides by the log what becomes of a manifest that a stop has left beside the other. An end of the log
/// that was read may be in a cache only; it is flushed first.
///
/// # Errors
/// When the file is not a manifest, or cannot be read or renamed; nothing has changed then.
pub fn settle(context: &Context) -> Result<(), RestoreError> {
    let next = NextManifest::of(context);
    let Some(path) = next.path() else { return Ok(()) };
    let failed = |path: &Path, source| RestoreError::Io { path: path.to_path_buf(), source };
    let bytes = std::fs::read(path).map_err(|source| failed(path, source))?;
    let zxid = decode_manifest(context, path, &bytes)?.zxid;
    let mut segments = wal_segments(&context.wal)?;
    let begun = origin(&mut segments, DirectoryId(context.directory_id)).filter(|(origin, _)| *origin == zxid);
    let Some((_, sequence)) = begun else {
        info!(%zxid, "a leader's snapshot did not become the state before this server stopped; it is dropped");
        return next.discard().map_err(|source| failed(path, source));
    };
    if let Some(segment) = segments.iter().find(|segment| segment.sequence == sequence) {
        segment.file.sync_data().map_err(|source| failed(segment.file.path(), source))?;
    }
    info!(%zxid, "a leader's snapshot became the state when this server stopped");
    next.take_over().map_err(|source| failed(path, source))
}
