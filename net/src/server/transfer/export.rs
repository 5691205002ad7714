//! `ringkeeper export`: a snapshot of everything, what the log still holds, epochs and id, as ZooKeeper keeps them.

use super::source::{epoch_in, read_if_there};
use super::{ExportArgs, TransferError, configure, failed, require_empty, tree};
use crate::server::context::Context;
use crate::server::data_dir::DataDir;
use crate::server::restore::{each_logged, restore_committed};
use crate::server::topology::Topology;
use engine::ids::CoreId;
use engine::zxid::Zxid;
use hardware::data_dir::{dir_sync, replace_file};
use hardware::storage::{Shutdown, StorageBackend, StorageConfig, StorageExecutor};
use replication::peer::files::compression::Compression;
use replication::peer::files::directory::{
    ACCEPTED_EPOCH, CURRENT_EPOCH, Epochs, LogName, MYID, SnapshotName, VERSION_FOLDER,
};
use replication::peer::files::log::LogWriter;
use replication::peer::files::snapshot_file::SnapshotFileWriter;
use replication::peer::snapshot::stream::SnapshotStream;
use replication::peer::snapshot::writer::HeadWriter;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tuning::ServeArgs;

/// Runs the verb.
pub fn run(args: &ExportArgs) -> Result<(), TransferError> {
    let root = &args.data_dir;
    if !root.join("identity").exists() {
        return Err(TransferError::NoData(root.clone()));
    }
    require_empty(&args.to)?;
    let config = configure(&ServeArgs {
        data_dir: Some(root.display().to_string()),
        data_log_dir: args.data_log_dir.as_ref().map(|path| path.display().to_string()),
        settings: args.settings.clone(),
        system_properties: args.system_properties.clone(),
        ..ServeArgs::default()
    })?;
    let data = DataDir::open(root, args.data_log_dir.as_deref(), config.local.host.partitions, false)?;
    let storage =
        StorageExecutor::start(StorageConfig { backend: Some(StorageBackend::Threads), ..Default::default() })
            .map_err(failed(root, "start the storage executor"))?;
    let key = Arc::new(data.identity().key.clone());
    let topology = Arc::new(Topology::new(key, data.identity().partitions, 1, CoreId(0)));
    let context = Context::new(&config, &data, &topology, storage.handle());
    let result = write(&context, root, &args.to);
    storage.shutdown(Shutdown::Drain);
    result
}

fn write(context: &Context, root: &Path, to: &Path) -> Result<(), TransferError> {
    let (role, mut shards) = restore_committed(context)?;
    let zxid = role.committed();
    let myid = read_if_there(&root.join(MYID))?;
    let folder = to.join(VERSION_FOLDER);
    fs::create_dir_all(&folder).map_err(failed(&folder, "make"))?;

    let system = role.system_state();
    let sessions = system.sessions.len();
    let head = HeadWriter::new(system.sessions, system.acls);
    let [host] = &mut shards[..] else { return Err(TransferError::NoData(root.to_path_buf())) };
    let shard = host.shard_mut();
    let digest = tree::digest(shard)?;
    let path = folder.join(SnapshotName { zxid, compression: Compression::None }.to_string());
    let temporary = folder.join("snapshot.tmp");
    let io = |source| TransferError::Io { path: temporary.clone(), action: "write", source };
    let mut file = SnapshotFileWriter::new(create(&temporary)?).map_err(io)?;
    let stream = SnapshotStream::new(head, 1, false);
    let nodes = tree::stream(shard, stream, &mut |bytes| file.write(bytes).map_err(io))?;
    flush(file.finish(zxid, digest).map_err(io)?).map_err(io)?;
    fs::rename(&temporary, &path).map_err(failed(&path, "name"))?;

    let logged = write_log(context, &folder)?;
    let last = logged.as_ref().map_or(zxid, |(_, last)| zxid.max(*last));
    let epochs = Epochs::resolve(epoch_in(root, ACCEPTED_EPOCH)?, epoch_in(root, CURRENT_EPOCH)?, None, last)
        .map_err(|source| TransferError::Epoch { path: root.to_path_buf(), source })?;
    for (name, epoch) in [(ACCEPTED_EPOCH, epochs.accepted), (CURRENT_EPOCH, epochs.current)] {
        let path = folder.join(name);
        replace_file(&path, epoch.to_string().as_bytes()).map_err(failed(&path, "write"))?;
    }
    if let Some(id) = myid {
        let path = to.join(MYID);
        replace_file(&path, &id).map_err(failed(&path, "write"))?;
    }
    for folder in [&folder, to] {
        dir_sync(folder).map_err(failed(folder, "flush"))?;
    }
    println!("wrote {}", path.display());
    if let Some((log, _)) = logged {
        println!("wrote {}", log.display());
    }
    println!(
        "exported {nodes} znodes and {sessions} sessions as of {zxid} into {}: last zxid {last}, accepted epoch {}, current \
         epoch {}",
        to.display(),
        epochs.accepted,
        epochs.current
    );
    Ok(())
}

/// Writes the transactions that the log still holds, so that a leader can serve followers that lag a little. Those that
/// are not known to be committed are in the log alone, from which ZooKeeper can cut them. Returns the file, and the last.
fn write_log(context: &Context, folder: &Path) -> Result<Option<(PathBuf, Zxid)>, TransferError> {
    let mut log: Option<(PathBuf, LogWriter<BufWriter<File>>)> = None;
    let (mut failure, mut last) = (None, Zxid::ZERO);
    each_logged(context, &mut |zxid, bytes| {
        if failure.is_some() {
            return;
        }
        let mut append = || -> Result<(), TransferError> {
            let (path, writer) = match &mut log {
                Some(open) => open,
                None => {
                    let path = folder.join(LogName(zxid).to_string());
                    let writer = LogWriter::new(create(&path)?).map_err(failed(&path, "write"))?;
                    log.insert((path, writer))
                }
            };
            writer.append(bytes).map_err(failed(path, "write"))
        };
        failure = append().err();
        last = zxid;
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    let Some((path, writer)) = log else { return Ok(None) };
    flush(writer.finish()).map_err(failed(&path, "flush"))?;
    Ok(Some((path, last)))
}

fn create(path: &Path) -> Result<BufWriter<File>, TransferError> {
    File::create(path).map(|file| BufWriter::with_capacity(1 << 20, file)).map_err(failed(path, "make"))
}

fn flush(mut writer: BufWriter<File>) -> io::Result<()> {
    writer.flush()?;
    writer.get_ref().sync_all()
}
