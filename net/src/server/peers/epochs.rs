//! The promises of a member on disk: `acceptedEpoch` and `currentEpoch`, as Apache ZooKeeper writes them.

use hardware::data_dir::replace_file;
use replication::node::Epochs;
use std::io;
use std::path::{Path, PathBuf};

/// The two files.
#[derive(Clone, Debug)]
pub struct EpochFiles {
    folder: PathBuf,
}

/// Why the promises cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file does not hold a number.
    #[error(
        "{0} does not hold an epoch: restore it from a backup, or empty the data directory and let the server take its state from the ensemble"
    )]
    Text(PathBuf),
    /// The two contradict each other.
    #[error(
        "acceptedEpoch {accepted} is below currentEpoch {current} in {folder}: a promise has been lost; empty the data \
         directory and let the server take its state from the ensemble"
    )]
    Crossed {
        /// As read.
        accepted: u32,
        /// As read.
        current: u32,
        /// Where.
        folder: PathBuf,
    },
}

impl EpochFiles {
    /// In this folder.
    pub fn new(folder: &Path) -> EpochFiles {
        EpochFiles { folder: folder.to_path_buf() }
    }

    /// Reads both. A missing one stands for the epoch of the log's end (`QuorumPeer.loadDataBase`).
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn load(&self, epoch_of_log: u32) -> Result<Epochs, EpochError> {
        let current = self.read("currentEpoch")?.unwrap_or(epoch_of_log);
        let accepted = self.read("acceptedEpoch")?.unwrap_or(epoch_of_log.max(current));
        if accepted < current {
            return Err(EpochError::Crossed { accepted, current, folder: self.folder.clone() });
        }
        Ok(Epochs { accepted, current })
    }

    /// Writes both, durably, the promise first.
    ///
    /// # Errors
    /// [`EpochError::Io`].
    pub fn store(&self, epochs: Epochs) -> Result<(), EpochError> {
        for (name, epoch) in [("acceptedEpoch", epochs.accepted), ("currentEpoch", epochs.current)] {
            if self.read(name)? == Some(epoch) {
                continue;
            }
            let path = self.folder.join(name);
            replace_file(&path, epoch.to_string().as_bytes()).map_err(|source| EpochError::Io { path, source })?;
        }
        Ok(())
    }

    fn read(&self, name: &str) -> Result<Option<u32>, EpochError> {
        let path = self.folder.join(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let line = text.lines().next().unwrap_or_default().trim();
                line.parse().map(Some).map_err(|_| EpochError::Text(path))
            }
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(EpochError::Io { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn epochs_come_back_and_contradictions_are_named() {
        let place = tempfile::tempdir().unwrap();
        let files = EpochFiles::new(place.path());
        assert_eq!(files.load(3).unwrap(), Epochs { accepted: 3, current: 3 });
        let epochs = Epochs { accepted: 5, current: 4 };
        files.store(epochs).unwrap();
        assert_eq!(files.load(9).unwrap(), epochs, "the log's end may be of an epoch that was never completed");
        assert_eq!(std::fs::read(place.path().join("acceptedEpoch")).unwrap(), b"5");
        std::fs::write(place.path().join("acceptedEpoch"), "2\n").unwrap();
        assert!(files.load(0).unwrap_err().to_string().contains("acceptedEpoch 2"));
        std::fs::write(place.path().join("currentEpoch"), "two").unwrap();
        assert!(files.load(0).unwrap_err().to_string().contains("currentEpoch"));
    }
}
