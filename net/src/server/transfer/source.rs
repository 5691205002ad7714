//! What a data directory of Apache ZooKeeper holds.

use super::{TransferError, failed};
use engine::zxid::Zxid;
use replication::peer::files::directory::{
    ACCEPTED_EPOCH, CURRENT_EPOCH, Epochs, LogName, MYID, SnapshotName, VERSION_FOLDER, logs_behind, parse_epoch,
};
use replication::peer::files::log::{LogEnd, LogReader};
use replication::peer::files::snapshot_file::{SnapshotFacts, read_snapshot};
use replication::peer::files::{FileError, log};
use replication::peer::snapshot::reader::{Event, SnapshotError};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Snapshots that are tried, newest first (`FileSnap.deserialize`).
const CANDIDATES_MAX: usize = 100;

/// Takes an entry of a log, with the log's path.
pub type EachEntry<'a> = dyn FnMut(&Path, &[u8]) -> Result<(), TransferError> + 'a;

/// The files of a server.
pub struct Source {
    root: PathBuf,
    snapshots_in: PathBuf,
    logs_in: PathBuf,
    snapshots: Vec<SnapshotName>,
    logs: Vec<LogName>,
}

impl Source {
    /// Lists the files.
    ///
    /// # Errors
    /// There are none, or they lie in the wrong one of two directories.
    pub fn open(data: &Path, data_log: Option<&Path>) -> Result<Source, TransferError> {
        let snapshots_in = data.join(VERSION_FOLDER);
        let logs_in = data_log.unwrap_or(data).join(VERSION_FOLDER);
        let (mut snapshots, logs) = list(&snapshots_in)?;
        let logs = if logs_in == snapshots_in {
            logs
        } else {
            let (misplaced, separate) = list(&logs_in)?;
            let wrong = |path: PathBuf, wanted, from: &Path| TransferError::Misplaced {
                path,
                wanted,
                from: from.to_path_buf(),
            };
            if let Some(log) = logs.first() {
                return Err(wrong(snapshots_in.join(log.to_string()), "transaction logs", &logs_in));
            }
            if let Some(snapshot) = misplaced.first() {
                return Err(wrong(logs_in.join(snapshot.to_string()), "snapshots", &snapshots_in));
            }
            separate
        };
        if snapshots.is_empty() && logs.is_empty() {
            return Err(TransferError::NothingThere(data.to_path_buf()));
        }
        snapshots.sort_unstable_by(|a, b| b.cmp(a));
        snapshots.truncate(CANDIDATES_MAX);
        Ok(Source { root: data.to_path_buf(), snapshots_in, logs_in, snapshots, logs })
    }

    /// The snapshots, newest first.
    pub fn snapshots(&self) -> &[SnapshotName] {
        &self.snapshots
    }

    /// The folder of the snapshots.
    pub fn folder(&self) -> &Path {
        &self.snapshots_in
    }

    /// Path of a snapshot.
    pub fn snapshot_path(&self, name: SnapshotName) -> PathBuf {
        self.snapshots_in.join(name.to_string())
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn read_snapshot(
        &self,
        name: SnapshotName,
        length_max: usize,
        each: &mut dyn FnMut(Event<'_>) -> Result<(), SnapshotError>,
    ) -> Result<SnapshotFacts, FileError> {
        let file = BufReader::with_capacity(1 << 20, File::open(self.snapshot_path(name))?);
        read_snapshot(&mut *name.compression.reader(file), length_max, each)
    }

    /// Reads the entries of all logs that may go beyond `zxid`, in order, each with the log that it is in.
    ///
    /// # Errors
    /// A log is damaged, or `each` refuses an entry.
    pub fn read_logs(
        &self,
        zxid: Zxid,
        length_max: usize,
        each: &mut EachEntry<'_>,
    ) -> Result<Vec<ReadLog>, TransferError> {
        let mut read = Vec::new();
        for name in logs_behind(self.logs.clone(), zxid) {
            let path = self.logs_in.join(name.to_string());
            let of_file = |source| TransferError::File { path: path.clone(), source };
            let file = File::open(&path).map_err(failed(&path, "open"))?;
            let file = BufReader::with_capacity(1 << 20, file);
            let mut reader: log::LogReader<_> = LogReader::new(file, length_max).map_err(of_file)?;
            while let Some(entry) = reader.next_entry().map_err(of_file)? {
                each(&path, &entry)?;
            }
            read.push(ReadLog { torn: matches!(reader.end(), Some(LogEnd::Torn { .. })), path });
        }
        Ok(read)
    }

    /// The epochs of the server, whose last transaction is `last`.
    ///
    /// # Errors
    /// The files cannot be read, or contradict each other or the last transaction.
    pub fn epochs(&self, last: Zxid) -> Result<Epochs, TransferError> {
        let accepted = epoch_in(&self.snapshots_in, ACCEPTED_EPOCH)?;
        let current = epoch_in(&self.snapshots_in, CURRENT_EPOCH)?;
        let new = epoch_in(&self.snapshots_in, &format!("{CURRENT_EPOCH}.tmp")).unwrap_or(None);
        let failed = |source| TransferError::Epoch { path: self.snapshots_in.clone(), source };
        Epochs::resolve(accepted, current, new, last).map_err(failed)
    }

    /// The server's id as its file has it.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn myid(&self) -> Result<Option<Vec<u8>>, TransferError> {
        read_if_there(&self.root.join(MYID))
    }
}

/// A log that was read.
pub struct ReadLog {
    /// Its path.
    pub path: PathBuf,
    /// Whether its last entry was being written when the server stopped.
    pub torn: bool,
}

/// The number in an epoch file.
///
/// # Errors
/// It is there but cannot be read, or holds no number.
pub fn epoch_in(folder: &Path, name: &str) -> Result<Option<u32>, TransferError> {
    let path = folder.join(name);
    match read_if_there(&path)? {
        None => Ok(None),
        Some(bytes) => parse_epoch(&bytes).map(Some).ok_or(TransferError::EpochText(path)),
    }
}

/// The content of a file.
///
/// # Errors
/// It is there but cannot be read.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, TransferError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "read")(error)),
    }
}

fn list(folder: &Path) -> Result<(Vec<SnapshotName>, Vec<LogName>), TransferError> {
    let (mut snapshots, mut logs) = (Vec::new(), Vec::new());
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((snapshots, logs)),
        Err(error) => return Err(failed(folder, "list")(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed(folder, "list"))?.file_name();
        let name = name.to_string_lossy();
        snapshots.extend(SnapshotName::parse(&name));
        logs.extend(LogName::parse(&name));
    }
    Ok((snapshots, logs))
}
