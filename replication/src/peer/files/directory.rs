//! Which files make up the state of a server, by their names, and what its epoch files mean.

use super::compression::Compression;
use engine::zxid::Zxid;

/// Folder of the files below `dataDir` and `dataLogDir`.
pub const VERSION_FOLDER: &str = "version-2";
/// File of the highest epoch that the server has promised to follow.
pub const ACCEPTED_EPOCH: &str = "acceptedEpoch";
/// File of the epoch whose history the server holds.
pub const CURRENT_EPOCH: &str = "currentEpoch";
/// File of the server's id, in `dataDir` itself.
pub const MYID: &str = "myid";

/// Name of a snapshot file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SnapshotName {
    /// The last transaction when the dump began.
    pub zxid: Zxid,
    /// How it is compressed.
    pub compression: Compression,
}

impl SnapshotName {
    /// Reads a file's name; `None` if it is none of a snapshot.
    pub fn parse(name: &str) -> Option<SnapshotName> {
        let rest = name.strip_prefix("snapshot.")?;
        let (hex, compression) = [Compression::Gzip, Compression::Snappy]
            .into_iter()
            .find_map(|compression| Some((rest.strip_suffix(compression.suffix())?, compression)))
            .unwrap_or((rest, Compression::None));
        Some(SnapshotName { zxid: parse_hex(hex)?, compression })
    }
}

impl std::fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "snapshot.{:x}{}", self.zxid.0, self.compression.suffix())
    }
}

/// Name of a log file: the zxid of its first entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogName(pub Zxid);

impl LogName {
    /// Reads a file's name; `None` if it is none of a log.
    pub fn parse(name: &str) -> Option<LogName> {
        parse_hex(name.strip_prefix("log.")?).map(LogName)
    }
}

impl std::fmt::Display for LogName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log.{:x}", self.0.0)
    }
}

fn parse_hex(text: &str) -> Option<Zxid> {
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten().map(Zxid)
}

/// The logs that may hold transactions behind `zxid`: the last one that begins at or below it, and all later ones, in
/// order.
pub fn logs_behind(mut logs: Vec<LogName>, zxid: Zxid) -> Vec<LogName> {
    logs.sort_unstable();
    let first = logs.partition_point(|log| log.0 <= Zxid(zxid.0.saturating_add(1))).saturating_sub(1);
    logs.split_off(first)
}

/// The promises of a server (files [`ACCEPTED_EPOCH`] and [`CURRENT_EPOCH`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Epochs {
    /// The highest epoch that a leader was promised.
    pub accepted: u32,
    /// The epoch of the leader whose history was last taken in full.
    pub current: u32,
}

/// Why epoch files cannot be relied on (`QuorumPeer.loadDataBase` refuses to start for the same reasons).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EpochError {
    /// The history goes beyond the epoch that was taken over in full.
    #[error(
        "the last transaction is of epoch {last}, but {CURRENT_EPOCH} is {current}: the server stopped while it joined a \
         leader; start it once in its ensemble so that it joins again, or take another member's directory"
    )]
    Behind {
        /// Epoch of the last transaction.
        last: u32,
        /// What the file says.
        current: u32,
    },
    /// A promise below what was taken over.
    #[error(
        "{ACCEPTED_EPOCH} is {accepted}, below {CURRENT_EPOCH}, which is {current}: one of the files is not this server's"
    )]
    Promise {
        /// What one file says.
        accepted: u32,
        /// What the other says.
        current: u32,
    },
}

impl Epochs {
    /// The epochs of a server whose last transaction is `last`. A file that is missing stands for that transaction's
    /// epoch; `current_new` is what `currentEpoch.tmp` says, which a crash may have left (ZOOKEEPER-1653).
    ///
    /// # Errors
    /// [`EpochError`]
    pub fn resolve(
        accepted: Option<u32>,
        current: Option<u32>,
        current_new: Option<u32>,
        last: Zxid,
    ) -> Result<Epochs, EpochError> {
        let of_last = last.epoch();
        let mut current = current.unwrap_or(of_last);
        if of_last > current {
            current =
                current_new.filter(|epoch| *epoch >= of_last).ok_or(EpochError::Behind { last: of_last, current })?;
        }
        let accepted = accepted.unwrap_or(current.max(of_last));
        if accepted < current {
            return Err(EpochError::Promise { accepted, current });
        }
        Ok(Epochs { accepted, current })
    }
}

/// Reads an epoch file: a number in decimal, on the first line. `None` if it is none.
pub fn parse_epoch(bytes: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().next()?.trim().parse().ok()
}
