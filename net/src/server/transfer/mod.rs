//! `ringkeeper import` and `ringkeeper export`: data directories of Apache ZooKeeper, read and written offline.
//!
//! | file | idea |
//! |---|---|
//! | `source` | what a ZooKeeper data directory holds |
//! | `import`, `export` | the verbs |
//! | `logs` | the files of partition logs, written without a ring |
//! | `tree` | everything in a shard: its digest, its snapshot |

mod export;
mod import;
mod logs;
mod source;
mod tree;

pub use logs::LogFolder;

use super::data_dir::DataDirError;
use super::restore::RestoreError;
use super::serve;
use engine::partition::Damage;
use engine::zxid::Zxid;
use replication::ledger::LoadError;
use replication::peer::files::FileError;
use replication::peer::files::directory::EpochError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tuning::{Config, ServeArgs};

/// The arguments are wrong, or the target is not empty (`ExitCode.INVALID_INVOCATION`).
const INVALID_INVOCATION: u8 = 2;
/// A directory cannot be used (`ExitCode.UNABLE_TO_ACCESS_DATADIR`).
const CANNOT_ACCESS_DATA_DIR: u8 = 3;
/// What is in it is damaged, or contradicts itself.
const DAMAGED: u8 = 4;

/// `ringkeeper import`
#[derive(clap::Args, Clone, Default, Debug)]
pub struct ImportArgs {
    /// The dataDir of the ZooKeeper server, which must have been stopped
    #[arg(long, value_name = "DIR")]
    pub from: PathBuf,

    /// Its dataLogDir, if it has one of its own
    #[arg(long, value_name = "DIR")]
    pub from_log: Option<PathBuf>,

    /// The data directory to fill, which must be empty or new
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Directory of its transaction log, if that is to be elsewhere (dataLogDir)
    #[arg(long, value_name = "DIR")]
    pub data_log_dir: Option<PathBuf>,

    /// Partitions of the new data directory, a power of two (partitions)
    #[arg(long, value_name = "N")]
    pub partitions: Option<String>,

    /// Import although a digest differs or transactions are missing
    #[arg(long)]
    pub force: bool,

    /// Any setting, as zoo.cfg spells it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    /// A Java system property, such as -Dzookeeper.extendedTypesEnabled=true
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub system_properties: Vec<String>,
}

/// `ringkeeper export`
#[derive(clap::Args, Clone, Default, Debug)]
pub struct ExportArgs {
    /// The data directory, of a server that has been stopped
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Directory of its transaction log, if that is elsewhere (dataLogDir)
    #[arg(long, value_name = "DIR")]
    pub data_log_dir: Option<PathBuf>,

    /// The dataDir to write, which must be empty or new
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// Any setting, as zoo.cfg spells it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,

    /// A Java system property, such as -Dzookeeper.extendedTypesEnabled=true
    #[arg(short = 'D', value_name = "NAME=VALUE")]
    pub system_properties: Vec<String>,
}

/// Why a transfer failed. What it was writing is of no use then; what it was reading is as it was.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("{0}")]
    Configuration(String),
    #[error("{path}: {action}: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{0} is not empty; name a new directory")]
    NotEmpty(PathBuf),
    #[error("{0} holds no data of Ringkeeper")]
    NoData(PathBuf),
    #[error(
        "{0} holds neither snapshots nor transaction logs of ZooKeeper: name the dataDir, the folder above version-2"
    )]
    NothingThere(PathBuf),
    #[error(
        "{0} has transaction logs but no usable snapshot, so what came before them is missing; restore the snapshots from \
         a backup or take another member's directory"
    )]
    NoSnapshot(PathBuf),
    #[error(
        "{path} is not where it belongs: the {wanted} of this server are read from {from}; name both directories as in its zoo.cfg"
    )]
    Misplaced { path: PathBuf, wanted: &'static str, from: PathBuf },
    #[error("{path}: {source}")]
    File { path: PathBuf, source: FileError },
    #[error("{path}: transaction at {after} is whole but cannot be read ({problem})")]
    Txn { path: PathBuf, after: Zxid, problem: String },
    #[error(
        "{path}: transactions between {after} and {next} are missing; find the log that has them, or accept with --force that they are lost"
    )]
    Gap { path: PathBuf, after: Zxid, next: Zxid },
    #[error(
        "the tree as of {zxid} has digest {computed:x}, and ZooKeeper wrote {stored:x}: files are missing, or do not belong \
         together, or the server was wrong; take another member's directory, or import with --force"
    )]
    Digest { zxid: Zxid, computed: u64, stored: u64 },
    #[error(
        "the snapshot was taken until {digest}, but the logs end at {last}: transactions that it may hold in part are \
         missing; find the logs, or import with --force"
    )]
    Fuzzy { digest: Zxid, last: Zxid },
    #[error("{path}: {source}")]
    Epoch { path: PathBuf, source: EpochError },
    #[error("{0} holds no number")]
    EpochText(PathBuf),
    #[error(transparent)]
    Tree(#[from] LoadError),
    #[error(transparent)]
    Damage(#[from] Damage),
    #[error(transparent)]
    Restore(#[from] RestoreError),
    #[error("{0}")]
    Wal(String),
}

impl TransferError {
    fn exit_code(&self) -> u8 {
        match self {
            TransferError::Configuration(_)
            | TransferError::NotEmpty(_)
            | TransferError::NoData(_)
            | TransferError::NothingThere(_)
            | TransferError::Misplaced { .. } => INVALID_INVOCATION,
            TransferError::Io { .. } | TransferError::DataDir(_) => CANNOT_ACCESS_DATA_DIR,
            _ => DAMAGED,
        }
    }
}

/// Runs `ringkeeper import`: exit code 0, 2 for arguments that cannot be, 3 for directories that cannot be used, 4 for
/// files that are damaged or contradict each other.
pub fn import(args: &ImportArgs) -> ExitCode {
    conclude(import::run(args))
}

/// Runs `ringkeeper export`; exit codes as for [`import`].
pub fn export(args: &ExportArgs) -> ExitCode {
    conclude(export::run(args))
}

fn conclude(result: Result<(), TransferError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("ringkeeper: {problem}");
            ExitCode::from(problem.exit_code())
        }
    }
}

/// The configuration of the server that will own, or owns, the data directory.
fn configure(args: &ServeArgs) -> Result<Config, TransferError> {
    let raw = serve::gather(args).map_err(TransferError::Configuration)?;
    let (config, warnings) = tuning::load(&raw).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        TransferError::Configuration(lines.join("\n"))
    })?;
    serve::start_logging(config.local.host.log_level, config.local.host.log_format);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(config)
}

fn failed(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> TransferError {
    let path = path.to_path_buf();
    move |source| TransferError::Io { path, action, source }
}

/// Refuses a directory in which there is anything.
fn require_empty(folder: &Path) -> Result<(), TransferError> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(TransferError::NotEmpty(folder.to_path_buf())),
        Ok(false) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(folder, "list")(error)),
    }
}
