//! The data directory: its layout, its identity, and the lock that keeps a second server out.
//!
//! ```text
//! dataDir/
//!   LOCK                 held while a server runs
//!   identity             format version, number of partitions, directory id, key of the path hash; never changes
//!   manifest             the last checkpoint
//!   manifest.next        a leader's snapshot that is about to become the state; see `next_manifest`
//!   acceptedEpoch        the highest epoch promised, in decimal; absent until there was one
//!   currentEpoch         the epoch whose history is held, likewise
//!   repairing            there while a member has lost something that it may have acknowledged; see `repair`
//!   *.damaged            files that a repair has set aside; for the operator to keep or remove
//!   importing            there while an import is under way or has failed: nothing else counts then
//!   partitions/          logs: p<partition>-g<generation>-s<segment>.log
//! dataLogDir/            dataDir unless set
//!   wal/                 write-ahead log: <sequence>.wal
//! ```
//!
//! The `identity` file, big-endian:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | `RINGKEEP` |
//! | 4 | format version, 1 |
//! | 4 | partitions, a power of two |
//! | 8 | directory id, random |
//! | 192 | key of the path hash |
//! | 4 | crc32c of all before |

use engine::path::HashKey;
use hardware::data_dir::{DataDirLock, replace_file};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Marks a directory that an import is filling.
pub const IMPORTING: &str = "importing";
/// Marks the directory of a member that has lost something that it may have acknowledged.
pub const REPAIRING: &str = "repairing";
/// The manifest of a leader's snapshot that is about to become the state.
pub const NEXT_MANIFEST: &str = "manifest.next";
const IDENTITY: &str = "identity";
const MAGIC: &[u8; 8] = b"RINGKEEP";
const FORMAT_VERSION: u32 = 1;
const IDENTITY_BYTES: usize = 8 + 4 + 4 + 8 + HashKey::BYTES + 4;

/// Why a data directory cannot be used. The messages name the path and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// A system call on it failed.
    #[error("{path}: {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not there, and may not be made.
    #[error("{0} is missing, and datadir.autocreate is false; make the folder, or let the server do so")]
    Missing(PathBuf),
    /// Another server holds it, or the lock could not be taken.
    #[error("{0}")]
    Locked(String),
    /// The identity file is not one.
    #[error("{path}: {reason}; restore the file from a backup of this directory, or use another --data-dir")]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An import did not come to its end.
    #[error("an import into {0} did not come to its end; run it again, or empty the directory")]
    Unfinished(PathBuf),
    /// It holds somebody else's data.
    #[error(
        "{0} holds the data of an Apache ZooKeeper server (version-2); Ringkeeper keeps its own format. Name a new \
         directory by --data-dir and fill it with `ringkeeper import --from {0} --data-dir NEW`; a member of a running \
         ensemble may also join with an empty directory that has nothing but its myid"
    )]
    ForeignData(PathBuf),
    /// It holds somebody else's data beside its own.
    #[error(
        "{0} holds the data of an Apache ZooKeeper server (version-2) beside Ringkeeper's, and nothing tells which is the \
         newer. Move what is out of date elsewhere: version-2, or all the rest but myid"
    )]
    MixedData(PathBuf),
}

/// What never changes about a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Number of partitions, a power of two.
    pub partitions: u32,
    /// Random number that marks every segment of this directory's logs.
    pub directory_id: u64,
    /// Key of the path hash.
    pub key: HashKey,
}

impl Identity {
    fn fresh(partitions: u32) -> io::Result<Identity> {
        let mut secret = [0; HashKey::BYTES];
        let mut id = [0; 8];
        getrandom::fill(&mut secret).and_then(|()| getrandom::fill(&mut id)).map_err(io::Error::other)?;
        Ok(Identity { partitions, directory_id: u64::from_be_bytes(id), key: HashKey::new(secret) })
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(IDENTITY_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_be_bytes());
        bytes.extend_from_slice(&self.partitions.to_be_bytes());
        bytes.extend_from_slice(&self.directory_id.to_be_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Identity, String> {
        let bytes: &[u8; IDENTITY_BYTES] =
            bytes.try_into().map_err(|_| format!("has {} bytes instead of {IDENTITY_BYTES}", bytes.len()))?;
        let (body, crc) = bytes.split_at(IDENTITY_BYTES - 4);
        let word = |at: usize| u32::from_be_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        if &body[..8] != MAGIC {
            return Err("is not an identity file of Ringkeeper".into());
        }
        if word(8) != FORMAT_VERSION {
            return Err(format!("has format version {}, this program reads {FORMAT_VERSION}", word(8)));
        }
        if crc32c::crc32c(body).to_be_bytes() != crc {
            return Err("is damaged (checksum)".into());
        }
        let partitions = word(12);
        if !partitions.is_power_of_two() || partitions > 1 << 16 {
            return Err(format!("names {partitions} partitions, which is no power of two up to 65536"));
        }
        let mut id = [0; 8];
        id.copy_from_slice(&body[16..24]);
        let mut secret = [0; HashKey::BYTES];
        secret.copy_from_slice(&body[24..24 + HashKey::BYTES]);
        Ok(Identity { partitions, directory_id: u64::from_be_bytes(id), key: HashKey::new(secret) })
    }
}

/// An opened, locked data directory.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    wal: PathBuf,
    identity: Identity,
    _lock: DataDirLock,
}

impl DataDir {
    /// Makes the folders where they are missing (the outer ones only with `create`, `datadir.autocreate`), takes the lock, and reads the identity or writes a new one.
    /// `partitions` counts for a new directory only.
    ///
    /// # Errors
    /// [`DataDirError`], each naming the path and what to do.
    pub fn open(root: &Path, log_root: Option<&Path>, partitions: u32, create: bool) -> Result<DataDir, DataDirError> {
        for folder in [Some(root), log_root].into_iter().flatten() {
            if !create && !folder.is_dir() {
                return Err(DataDirError::Missing(folder.to_path_buf()));
            }
        }
        // Before anything is written there.
        refuse_foreign_data(root)?;
        let wal = log_root.unwrap_or(root).join("wal");
        for folder in [root, &root.join("partitions"), &wal] {
            fs::create_dir_all(folder).map_err(|source| failed(folder, "create the folder", source))?;
        }
        let lock = DataDirLock::acquire(root).map_err(|error| DataDirError::Locked(error.to_string()))?;
        if root.join(IMPORTING).exists() {
            return Err(DataDirError::Unfinished(root.to_path_buf()));
        }
        let path = root.join(IDENTITY);
        let identity = match fs::read(&path) {
            Ok(bytes) => {
                Identity::decode(&bytes).map_err(|reason| DataDirError::Identity { path: path.clone(), reason })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Identity::fresh(partitions).map_err(|source| failed(&path, "draw a key", source))?;
                replace_file(&path, &identity.encode()).map_err(|source| failed(&path, "write", source))?;
                identity
            }
            Err(source) => return Err(failed(&path, "read", source)),
        };
        Ok(DataDir { root: root.to_path_buf(), wal, identity, _lock: lock })
    }

    /// What never changes.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Folder of the write-ahead log.
    pub fn wal(&self) -> &Path {
        &self.wal
    }

    /// The checkpoint manifest.
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest")
    }

    /// Folder of the partition logs.
    pub fn partitions(&self) -> PathBuf {
        self.root.join("partitions")
    }
}

/// File of one segment of a partition's log, below [`DataDir::partitions`].
pub fn partition_file(folder: &Path, partition: u16, generation: u32, segment: u32) -> PathBuf {
    folder.join(format!("p{partition:05}-g{generation:06}-s{segment:05}.log"))
}

fn refuse_foreign_data(root: &Path) -> Result<(), DataDirError> {
    let version_2 = root.join("version-2");
    if fs::read_dir(&version_2).map_or(true, |mut entries| entries.next().is_none()) {
        return Ok(());
    }
    let refusal = if root.join(IDENTITY).exists() { DataDirError::MixedData } else { DataDirError::ForeignData };
    Err(refusal(root.to_path_buf()))
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> DataDirError {
    DataDirError::Io { path: path.to_path_buf(), action, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_identity(bytes in proptest::collection::vec(any::<u8>(), 0..2 * IDENTITY_BYTES)) {
            prop_assert!(Identity::decode(&bytes).is_err());
        }

        /// Whatever is changed or cut is noticed.
        #[test]
        fn an_identity_is_read_as_it_was_written_or_not_at_all(
            power in 0_u32..=16,
            directory_id: u64,
            secret: [u8; HashKey::BYTES],
            at in 0..IDENTITY_BYTES,
            flip in 1_u8..,
            length in 0..IDENTITY_BYTES,
        ) {
            let identity = Identity { partitions: 1 << power, directory_id, key: HashKey::new(secret) };
            let mut bytes = identity.encode();
            prop_assert_eq!(Identity::decode(&bytes), Ok(identity));
            prop_assert!(Identity::decode(&bytes[..length]).is_err());
            bytes[at] ^= flip;
            prop_assert!(Identity::decode(&bytes).is_err());
        }
    }

    #[test]
    fn the_identity_is_made_once_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::open(root.path(), None, 8, true).unwrap();
        let identity = first.identity().clone();
        assert!(matches!(DataDir::open(root.path(), None, 8, true), Err(DataDirError::Locked(_))));
        drop(first);
        let second = DataDir::open(root.path(), None, 64, true).unwrap();
        assert_eq!(second.identity(), &identity);
        assert_eq!(identity.partitions, 8);
    }

    #[test]
    fn a_missing_folder_is_made_only_where_that_is_allowed() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("data");
        assert!(matches!(DataDir::open(&missing, None, 8, false), Err(DataDirError::Missing(path)) if path == missing));
        assert!(DataDir::open(&missing, None, 8, true).is_ok());
        assert!(DataDir::open(&missing, None, 8, false).is_ok());
    }

    #[test]
    fn every_damaged_byte_of_the_identity_is_noticed() {
        let good = Identity { partitions: 64, directory_id: 7, key: HashKey::new([5; HashKey::BYTES]) }.encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Identity::decode(&bad).is_err(), "byte {at}");
        }
        assert!(Identity::decode(&good[..good.len() - 1]).is_err());
    }

    #[test]
    fn a_zookeeper_directory_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("version-2")).unwrap();
        fs::write(root.path().join("version-2/log.1"), b"x").unwrap();
        let refused = DataDir::open(root.path(), None, 64, true).unwrap_err();
        assert!(matches!(refused, DataDirError::ForeignData(_)));
        assert!(refused.to_string().contains("ringkeeper import --from"), "{refused}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "nothing was written there");
    }

    #[test]
    fn data_of_both_kinds_is_refused() {
        let root = tempfile::tempdir().unwrap();
        drop(DataDir::open(root.path(), None, 64, true).unwrap());
        fs::create_dir(root.path().join("version-2")).unwrap();
        drop(DataDir::open(root.path(), None, 64, true).unwrap());
        fs::write(root.path().join("version-2/log.1"), b"x").unwrap();
        assert!(matches!(DataDir::open(root.path(), None, 64, true), Err(DataDirError::MixedData(_))));
    }
}
