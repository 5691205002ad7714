//! `ringkeeper import`: the newest usable snapshot, the transactions behind it, and one manifest at the end.

use super::logs::LogFolder;
use super::source::Source;
use super::{ImportArgs, TransferError, configure, failed, require_empty, tree};
use crate::server::checkpoint::server_id;
use crate::server::context::Context;
use crate::server::data_dir::{DataDir, IMPORTING};
use crate::server::restore::role_config;
use crate::server::topology::Topology;
use engine::ids::{CoreId, ShardId};
use engine::partition::{Manifest, PartitionCut};
use engine::shard::{Shard, ShardConfig};
use engine::txn::{Txn, TxnHeader, decode_with_rest};
use engine::zxid::Zxid;
use hardware::data_dir::{dir_sync, replace_file};
use hardware::storage::{Shutdown, StorageBackend, StorageConfig, StorageExecutor};
use replication::peer::files::digest::{TreeDigest, TxnDigest, ZxidDigest};
use replication::peer::files::directory::{ACCEPTED_EPOCH, CURRENT_EPOCH, Epochs, MYID, SnapshotName};
use replication::peer::snapshot::reader::Event;
use replication::peer::snapshot::record::StatPersisted;
use replication::peer::snapshot::stage::Stage;
use replication::role::{Action, Input, Now, Role};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tuning::ServeArgs;

/// Bytes of nodes or transactions that are held in memory between two visits to the files.
const HELD_BYTES: usize = 8 << 20;

/// Runs the verb.
pub fn run(args: &ImportArgs) -> Result<(), TransferError> {
    let source = Source::open(&args.from, args.from_log.as_deref())?;
    let config = configure(&serve_args(args, source.myid()?))?;
    let (root, log_root) = (&args.data_dir, args.data_log_dir.as_deref());
    clear_unfinished(root, log_root)?;
    require_empty(root)?;
    if let Some(log_root) = log_root {
        require_empty(&log_root.join("wal"))?;
    }
    let data = DataDir::open(root, log_root, config.local.host.partitions, true)?;
    let marker = root.join(IMPORTING);
    replace_file(&marker, b"").map_err(failed(&marker, "write"))?;
    let storage =
        StorageExecutor::start(StorageConfig { backend: Some(StorageBackend::Threads), ..Default::default() })
            .map_err(failed(root, "start the storage executor"))?;
    let key = Arc::new(data.identity().key.clone());
    let topology = Arc::new(Topology::new(key, data.identity().partitions, 1, CoreId(0)));
    let context = Context::new(&config, &data, &topology, storage.handle());
    let result = fill(&source, &context, args.force).and_then(|done| {
        let epochs = source.epochs(done.zxid)?;
        for (name, epoch) in [(ACCEPTED_EPOCH, epochs.accepted), (CURRENT_EPOCH, epochs.current)] {
            let path = root.join(name);
            replace_file(&path, epoch.to_string().as_bytes()).map_err(failed(&path, "write"))?;
        }
        if let Some(id) = source.myid()? {
            let path = root.join(MYID);
            replace_file(&path, &id).map_err(failed(&path, "write"))?;
        }
        write_manifest(&context, &done)?;
        fs::remove_file(&marker).map_err(failed(&marker, "remove"))?;
        dir_sync(root).map_err(failed(root, "flush"))?;
        report(&done, epochs, root);
        Ok(())
    });
    storage.shutdown(Shutdown::Drain);
    result
}

fn serve_args(args: &ImportArgs, myid: Option<Vec<u8>>) -> ServeArgs {
    let mut settings = args.settings.clone();
    // The directory will have this file only at the end, but its logs name the server from the beginning.
    if let Some(id) = myid {
        settings.push(format!("myid={}", String::from_utf8_lossy(&id).lines().next().unwrap_or_default().trim()));
    }
    ServeArgs {
        data_dir: Some(args.data_dir.display().to_string()),
        data_log_dir: args.data_log_dir.as_ref().map(|path| path.display().to_string()),
        partitions: args.partitions.clone(),
        settings,
        system_properties: args.system_properties.clone(),
        ..ServeArgs::default()
    }
}

/// Removes what an import that did not come to its end has left.
fn clear_unfinished(root: &Path, log_root: Option<&Path>) -> Result<(), TransferError> {
    let marker = root.join(IMPORTING);
    if !marker.exists() {
        return Ok(());
    }
    let _lock = hardware::data_dir::DataDirLock::acquire(root)
        .map_err(|error| crate::server::data_dir::DataDirError::Locked(error.to_string()))?;
    for folder in [root.join("partitions"), log_root.unwrap_or(root).join("wal")] {
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&folder, "remove")(error)),
            _ => {}
        }
    }
    for name in ["identity", "manifest", ACCEPTED_EPOCH, CURRENT_EPOCH, MYID, IMPORTING, hardware::data_dir::LOCK_FILE]
    {
        let path = root.join(name);
        hardware::data_dir::remove_file(&path).map_err(failed(&path, "remove"))?;
    }
    Ok(())
}

/// What was imported.
struct Done {
    zxid: Zxid,
    cuts: Vec<PartitionCut>,
    system: Vec<u8>,
    nodes: u64,
    sessions: usize,
    snapshot: Option<SnapshotName>,
    replayed: u64,
    verified: Option<Zxid>,
}

/// Fills the partitions and writes them out.
fn fill(source: &Source, context: &Context, force: bool) -> Result<Done, TransferError> {
    let length_max = context.config.local.frame.field_bytes_max();
    let (mut logs, base) = newest_snapshot(source, context, length_max, force)?;
    let mut replay = Replay::new(context, base)?;
    let mut held = 0;
    let read = source.read_logs(replay.last, entry_bytes_max(length_max), &mut |path, bytes| {
        let (header, txn, rest) = decode_with_rest(bytes).map_err(|problem| TransferError::Txn {
            path: path.to_path_buf(),
            after: replay.last,
            problem: problem.to_string(),
        })?;
        replay.take(path, header, txn, TxnDigest::decode(rest), force)?;
        held += bytes.len();
        if is_time_to_visit(&mut held) {
            logs.work(&mut replay.shard)?;
        }
        Ok(())
    })?;
    for log in read {
        let torn = if log.torn { ", whose last entry was cut short by a crash and is left out" } else { "" };
        println!("read {}{torn}", log.path.display());
    }
    logs.work(&mut replay.shard)?;
    let verified = replay.verify_end(force)?;
    let Replay { mut shard, mut role, last, count, snapshot, .. } = replay;
    let mut actions = Vec::new();
    role.step(Now::default(), Input::CheckpointDue, &mut actions);
    let system = actions.into_iter().find_map(|action| match action {
        Action::Checkpoint { system, .. } => Some(system),
        _ => None,
    });
    shard.begin_checkpoint(last);
    let cuts = logs.work(&mut shard)?;
    let (Some(system), Some(cuts)) = (system, cuts) else {
        return Err(TransferError::Wal("the partitions are not written out".into()));
    };
    logs.flush()?;
    Ok(Done {
        zxid: last,
        cuts,
        system,
        nodes: role.ledger().node_count() as u64,
        sessions: role.system_state().sessions.len(),
        snapshot,
        replayed: count,
        verified,
    })
}

/// Whether enough is held in memory; the count then begins anew.
fn is_time_to_visit(held: &mut usize) -> bool {
    let is_time = *held >= HELD_BYTES;
    if is_time {
        *held = 0;
    }
    is_time
}

/// Entries are longer than any field by their header and their other fields.
fn entry_bytes_max(length_max: usize) -> usize {
    length_max.saturating_mul(2).saturating_add(64 << 10)
}

/// Where the replay begins.
struct Base {
    stage: Stage,
    zxid: Zxid,
    snapshot: Option<SnapshotName>,
    digest: Option<ZxidDigest>,
}

/// Reads the newest snapshot that can be used. Every server writes one before its first transaction, so without any
/// something is missing.
fn newest_snapshot(
    source: &Source,
    context: &Context,
    length_max: usize,
    force: bool,
) -> Result<(LogFolder, Base), TransferError> {
    let stage = |generation, zxid| {
        Stage::new(context.topology.key().as_ref().clone(), context.topology.partitions(), generation, zxid)
    };
    for (attempt, name) in source.snapshots().iter().enumerate() {
        let mut logs = LogFolder::new(context.partitions.clone());
        let mut stage = stage(attempt as u32, name.zxid);
        let (mut failure, mut held) = (None, 0);
        let read = source.read_snapshot(*name, length_max, &mut |event| {
            if let Event::Node(node) = &event {
                held += node.path.len() + node.data.map_or(0, <[u8]>::len) + StatPersisted::WIRE_BYTES;
            }
            stage.take(event)?;
            if failure.is_none() && is_time_to_visit(&mut held) {
                failure = logs.work(&mut stage).err();
            }
            Ok(())
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let path = source.snapshot_path(*name);
        match read {
            Ok(facts) => {
                println!("read {}", path.display());
                if stage.closed_nodes() > 0 {
                    println!(
                        "{} znodes name an ACL that the snapshot lacks; unless the log sets another, only a superuser \
                         has a right to them",
                        stage.closed_nodes()
                    );
                }
                logs.work(&mut stage)?;
                let base = Base { stage, zxid: name.zxid, snapshot: Some(*name), digest: facts.digest };
                return Ok((logs, base));
            }
            Err(problem) => {
                println!("passed over {}: {problem}", path.display());
                logs.clear()?;
            }
        }
    }
    if !force {
        return Err(TransferError::NoSnapshot(source.folder().to_path_buf()));
    }
    let generation = source.snapshots().len() as u32;
    let mut stage = stage(generation, Zxid::ZERO);
    let _ = stage.take(Event::End);
    Ok((LogFolder::new(context.partitions.clone()), Base { stage, zxid: Zxid::ZERO, snapshot: None, digest: None }))
}

/// The tree, and the role that resolves transactions for it.
struct Replay {
    shard: Shard,
    role: Role,
    last: Zxid,
    count: u64,
    snapshot: Option<SnapshotName>,
    /// The snapshot's digest, until its transaction has been reached.
    due: Option<ZxidDigest>,
    /// The snapshot's digest is not that of the tree. ZooKeeper notes the two numbers of it one after the other while
    /// transactions go on, so a digest that comes with a later transaction is the better witness.
    doubt: Option<TransferError>,
    /// The last digest that a transaction brought.
    said: Option<(Zxid, TxnDigest)>,
    verified: Option<Zxid>,
    actions: Vec<Action>,
}

impl Replay {
    fn new(context: &Context, base: Base) -> Result<Replay, TransferError> {
        let Base { mut stage, zxid, snapshot, digest } = base;
        let config = role_config(context);
        let system = stage.system();
        let marks = vec![zxid; context.topology.partitions() as usize];
        let mut loader = Role::loader(&config, &system, marks.into());
        stage.load(&mut loader)?;
        let ledger = loader.finish()?;
        let mut actions = Vec::new();
        let role = Role::recovered(config, ledger, system, &mut actions);
        let shard_config = ShardConfig {
            id: ShardId(0),
            shards: 1,
            partitions: context.topology.partitions(),
            key: Arc::clone(context.topology.key()),
            extended_types: context.config.local.nodes.extended_types_enabled,
        };
        let shard = Shard::new(shard_config, stage.into_partitions());
        actions.clear();
        Ok(Replay {
            shard,
            role,
            last: zxid,
            count: 0,
            snapshot,
            due: digest,
            doubt: None,
            said: None,
            verified: None,
            actions,
        })
    }

    /// Takes a transaction of the log.
    fn take(
        &mut self,
        path: &Path,
        header: TxnHeader,
        txn: Txn,
        digest: Option<TxnDigest>,
        force: bool,
    ) -> Result<(), TransferError> {
        let zxid = header.zxid;
        // Java leaders give the zxid of the transaction before to a request that they cannot read.
        if zxid <= self.last {
            return Ok(());
        }
        let follows = zxid.0 == self.last.0 + 1 || (zxid.epoch() > self.last.epoch() && zxid.counter() == 1);
        if !follows && !force {
            return Err(TransferError::Gap { path: path.to_path_buf(), after: self.last, next: zxid });
        }
        // The digest of a snapshot is that of the tree when the dump had ended.
        if self.due.is_some_and(|due| due.zxid < zxid) {
            self.verify_due(force)?;
        }
        self.role.replay(header, txn, &mut self.actions);
        for action in self.actions.drain(..) {
            if let Action::Route { txn, .. } = action {
                self.shard.apply(&txn);
            }
        }
        self.said = digest.map(|digest| (zxid, digest)).or(self.said);
        self.last = zxid;
        self.count += 1;
        Ok(())
    }

    /// Holds the digest of the snapshot against the tree.
    fn verify_due(&mut self, force: bool) -> Result<(), TransferError> {
        let Some(due) = self.due.take() else { return Ok(()) };
        if due.zxid > self.last {
            return if force { Ok(()) } else { Err(TransferError::Fuzzy { digest: due.zxid, last: self.last }) };
        }
        self.doubt = self.verify(due.zxid, due.digest)?;
        Ok(())
    }

    /// Holds a digest against the tree. Returns what is wrong, if something is.
    fn verify(&mut self, zxid: Zxid, digest: TxnDigest) -> Result<Option<TransferError>, TransferError> {
        let tree: TreeDigest = tree::digest(&mut self.shard)?;
        if digest.contradicts(tree) {
            return Ok(Some(TransferError::Digest { zxid, computed: tree.0, stored: digest.digest }));
        }
        self.verified = Some(zxid);
        Ok(None)
    }

    /// Holds what was said last against the tree as it is now. Returns the transaction as of which the tree was found to
    /// be right, if that was told.
    fn verify_end(&mut self, force: bool) -> Result<Option<Zxid>, TransferError> {
        self.verify_due(force)?;
        let problem = match self.said.take() {
            Some((zxid, digest)) => self.verify(zxid, digest)?,
            None => self.doubt.take(),
        };
        match problem {
            Some(problem) if !force => return Err(problem),
            Some(problem) => println!("{problem}"),
            None => {}
        }
        Ok(self.verified)
    }
}

fn write_manifest(context: &Context, done: &Done) -> Result<(), TransferError> {
    let manifest = Manifest {
        server: server_id(context),
        hash_key: Manifest::fingerprint(context.topology.key()),
        zxid: done.zxid,
        // The server begins its log behind it.
        is_installed: true,
        partitions: done.cuts.clone(),
        system: done.system.clone(),
    };
    replace_file(&context.manifest, &manifest.encode()).map_err(failed(&context.manifest, "write"))
}

fn report(done: &Done, epochs: Epochs, root: &Path) {
    let from = match done.snapshot {
        Some(name) => format!("{name} and {} transactions behind it", done.replayed),
        None => format!("{} transactions, from the first one on", done.replayed),
    };
    println!(
        "imported {} znodes and {} sessions into {}, from {from}: last zxid {}, accepted epoch {}, current epoch {}",
        done.nodes,
        done.sessions,
        root.display(),
        done.zxid,
        epochs.accepted,
        epochs.current
    );
    match done.verified {
        Some(zxid) => println!("the digest of the tree as of {zxid} is the one that ZooKeeper wrote"),
        None => println!("the files have no digest to hold the tree against; every checksum was right"),
    }
}
