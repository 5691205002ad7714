//! From a data directory to shards, ledger and log, as they were.
//!
//! 1. A leader's snapshot that was about to become the state has become it, or not ([`next_manifest`]).
//! 2. The manifest names, per partition, the segments of its log and where they end. The partitions are rebuilt from
//!    them on all processors at once, each together with what the ledger is to know of its nodes.
//! 3. The write-ahead log is judged. What is whole behind the manifest's zxid is replayed through the role, as it was
//!    committed: an ensemble of one has committed what its log holds. Of a member's log only what is known to be committed
//!    takes effect; the rest waits for an established leader's word.
//! 4. Damage, in either, ends the start with what it would take. Nothing is cut but a torn batch, which nobody was ever
//!    told of.

use super::checkpoint::server_id;
use super::context::Context;
use super::data_dir::partition_file;
use super::next_manifest;
use super::peers::{ConfigFileError, ConfigFiles, EpochError, EpochFiles, MemberHost, MemberParts, Places};
use super::read_ahead::judge;
use super::repair;
use super::residency::MappedLog;
use super::role_host::Seat;
use super::segments::{OpenSegment, SegmentKey, Segments};
use super::shard_host::ShardHost;
use super::wal_host::{WalHost, WalPlace, segment_file, segment_sequence};
use bytes::Bytes;
use engine::acl::AclTable;
use engine::ids::{PartitionId, ShardId};
use engine::partition::{Damage, Manifest, ManifestError, Partition, PartitionCut, SegmentBytes, recover};
use engine::shard::{Shard, ShardConfig};
use engine::txn::{Txn, TxnHeader};
use engine::zxid::Zxid;
use hardware::block_file::{BlockFile, PreferDirect, WriteSync};
use hardware::mapping::MappedSegment;
use replication::ledger::{
    LedgerConfig, LedgerLoader, LoadError, LoadedPart, NodeFact, PartLoader, Schemes, SubtreeUsage,
};
use replication::node::{NodeConfig, NodeStart};
use replication::peer::ensemble::{Ensemble, EnsembleError, ServerId, Views};
use replication::peer::snapshot::stage::Stage;
use replication::role::{
    Action, ClientPolicy, Input, Now, ReaperConfig, Role, RoleConfig, SystemState, SystemStateError,
};
use replication::wal::read::replay as read_again;
use replication::wal::{Checkpoint, DirectoryId, SegmentSeq, SegmentSource, Verdict, WalConfig, WalWriter};
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Why a data directory cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file cannot be read or opened.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The manifest is not one.
    #[error("{path}: {source}; restore the data directory from a backup")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ManifestError,
    },
    /// The manifest belongs to other files.
    #[error("{0}: the manifest belongs to another data directory (its hash key differs); restore it from a backup")]
    ForeignManifest(PathBuf),
    /// Its system state cannot be read.
    #[error("the system state in the manifest: {0}; restore the data directory from a backup")]
    System(#[from] SystemStateError),
    /// A partition's log does not hold what was written.
    #[error(transparent)]
    Partition(#[from] Damage),
    /// What the partitions hold makes no tree.
    #[error(transparent)]
    Tree(#[from] LoadError),
    /// The write-ahead log holds what cannot be read.
    #[error("{0}")]
    Wal(String),
    /// The write-ahead log is damaged, where no checkpoint covers it.
    #[error("{0}")]
    WalDamage(String),
    /// A member that has lost something is to go on alone.
    #[error(
        "{0} says that this member of an ensemble has lost transactions which it may have acknowledged: start it with its \
         ensemble, which repairs it; or remove the file, and accept that they are lost"
    )]
    Unrepaired(PathBuf),
    /// The promises of a member cannot be relied on.
    #[error(transparent)]
    Epochs(#[from] EpochError),
    /// The files of a member that may change cannot be written.
    #[error(transparent)]
    ConfigFiles(#[from] ConfigFileError),
    /// The lines of the ensemble make no ensemble.
    #[error("the ensemble's configuration: {0}")]
    Ensemble(#[from] EnsembleError),
}

/// What was restored.
pub struct Restored {
    /// The last committed transaction.
    pub zxid: Zxid,
    /// The shards, by number.
    pub shards: Vec<ShardHost>,
    /// The replication role, having replayed its log, alone or as a member.
    pub seat: Seat,
    /// The log.
    pub wal: WalHost,
    /// The interned ACLs.
    pub acls: AclTable,
}

impl RestoreError {
    /// Whether a member can do without what is damaged: its peers have it.
    fn can_be_repaired(&self) -> bool {
        match self {
            RestoreError::Manifest { source, .. } => matches!(source, ManifestError::Damaged(_) | ManifestError::Magic),
            RestoreError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
            }
            RestoreError::System(_)
            | RestoreError::Partition(_)
            | RestoreError::Tree(_)
            | RestoreError::WalDamage(_) => true,
            RestoreError::ForeignManifest(_)
            | RestoreError::Wal(_)
            | RestoreError::Unrepaired(_)
            | RestoreError::Epochs(_)
            | RestoreError::ConfigFiles(_)
            | RestoreError::Ensemble(_) => false,
        }
    }
}

/// Restores what a server is to go on with. What is damaged on a member is set aside (see [`repair`]), and it starts on
/// the rest.
///
/// # Errors
/// [`RestoreError`]. A server that is alone refuses what is damaged, and has changed nothing then.
pub fn restore_or_repair(context: &Context) -> Result<Restored, RestoreError> {
    let is_member = context.config.ensemble.is_distributed();
    if let Some(mark) = repair::mark_of(context).filter(|_| !is_member) {
        return Err(RestoreError::Unrepaired(mark));
    }
    match restore(context) {
        Err(problem) if is_member && problem.can_be_repaired() => {
            repair::set_aside(context, &problem)?;
            restore(context)
        }
        done => done,
    }
}

/// Restores what the data directory holds, or starts a fresh tree in an empty one.
///
/// # Errors
/// [`RestoreError`]: nothing has been changed then.
pub fn restore(context: &Context) -> Result<Restored, RestoreError> {
    let is_member = context.config.ensemble.is_distributed();
    let Replayed { role, shards, acls, log } = replay_directory(context, is_member)?;
    let zxid = role.committed();
    let ReplayedLog { wal, recent } = log;
    let seat = if is_member {
        Seat::Member(Box::new(member(context, role, &wal, recent)?))
    } else {
        Seat::Alone(Box::new(role))
    };
    Ok(Restored { zxid, shards, seat, wal, acls })
}

/// Restores, for nobody to serve, what a data directory holds and knows to be committed: what is in its log behind that may
/// yet be cut off, if it is a member's.
///
/// # Errors
/// [`RestoreError`]: nothing has been changed then.
pub fn restore_committed(context: &Context) -> Result<(Role, Vec<ShardHost>), RestoreError> {
    replay_directory(context, true).map(|replayed| (replayed.role, replayed.shards))
}

/// What a data directory holds, nobody being told yet.
struct Replayed {
    role: Role,
    shards: Vec<ShardHost>,
    acls: AclTable,
    log: ReplayedLog,
}

fn replay_directory(context: &Context, is_member: bool) -> Result<Replayed, RestoreError> {
    let begun = Instant::now();
    let role_config = role_config(context);
    let mut actions = Vec::new();
    next_manifest::settle(context)?;
    let manifest = read_manifest(context)?;
    let base = base_of(manifest.as_ref());
    let (mut shards, mut role) = match manifest {
        None => (fresh_shards(context), Role::fresh(role_config, &mut actions)),
        Some(manifest) => {
            let system = SystemState::decode(&manifest.system)?;
            let (shards, ledger) = load_partitions(context, &role_config, &manifest, &system)?;
            (shards, Role::recovered(role_config, ledger, system, &mut actions))
        }
    };
    remove_strays(context, &shards)?;
    let checkpoint = role.committed();
    debug_assert_eq!(checkpoint, base.zxid());
    let loaded = begun.elapsed();
    let mut acls = AclTable::default();
    carry_out(&mut actions, &mut role, &mut shards, &mut acls);
    let log = replay_log(context, is_member, base, &mut role, &mut shards, &mut acls)?;
    info!(
        znodes = role.ledger().node_count(),
        checkpoint = %checkpoint,
        last = %role.proposed(),
        partitions_ms = loaded.as_millis() as u64,
        log_ms = (begun.elapsed() - loaded).as_millis() as u64,
        "restored"
    );
    Ok(Replayed { role, shards, acls, log })
}

/// Bytes of recent transactions that a member keeps in memory for those that lag; older ones come from the log. Few enough
/// to stay in a processor's cache: a list of 32 MiB has every new transaction written to memory that has gone cold.
const HISTORY_BYTES: usize = 4 << 20;
/// Bytes of log segments that a member keeps on disk for them: 100,000 transactions even if each had a block of its own.
const KEEP_BYTES: u64 = 512 << 20;

fn member(context: &Context, role: Role, wal: &WalHost, recent: Recent) -> Result<MemberHost, RestoreError> {
    let (local, ensemble) = (&context.config.local, &context.config.ensemble);
    let pairs = ensemble.lines.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let members = Arc::new(Ensemble::from_pairs(pairs)?.with_version(ensemble.version));
    let sid = ServerId(local.server_id.unwrap_or_default());
    let own = members.member(sid);
    let mut views = Views::settled(Arc::clone(&members));
    let files = match &ensemble.config_file {
        Some(file) if ensemble.reconfig_enabled => {
            let files = ConfigFiles::new(file, sid, members.version());
            if ensemble.has_dynamic_file {
                if let Some(last_seen) = files.last_seen() {
                    views.see(Arc::new(last_seen));
                }
            } else {
                files.back_up()?;
            }
            Some(files)
        }
        _ => None,
    };
    let epochs = EpochFiles::new(context.manifest.parent().unwrap_or(&context.manifest));
    let promised = epochs.load(wal.durable().get().epoch())?;
    epochs.store(promised)?;
    Ok(MemberHost::new(MemberParts {
        config: NodeConfig {
            sid,
            tick_ms: i64::from(ensemble.tick_time_ms),
            init_limit: i64::from(ensemble.init_limit_ticks),
            sync_limit: i64::from(ensemble.sync_limit_ticks),
            connect_limit: i64::from(ensemble.connect_to_learner_master_limit_ticks),
            reconfig_enabled: ensemble.reconfig_enabled,
            standalone_enabled: ensemble.standalone_enabled,
            election_interval_ms: (
                ensemble.notification_interval_ms.0.into(),
                ensemble.notification_interval_ms.1.into(),
            ),
            force_snapshot: ensemble.force_snapshot_sync,
            history_bytes_max: HISTORY_BYTES,
        },
        start: NodeStart {
            role,
            last: wal.durable(),
            recent: recent.entries.into(),
            recent_after: recent.after,
            epochs: promised,
            views,
        },
        epochs,
        has_lost: repair::mark_of(context).is_some(),
        files,
        places: Places {
            election: own.map(|own| own.election_addresses()).unwrap_or_default(),
            quorum: own.map(|own| own.quorum_addresses()).unwrap_or_default(),
            everywhere: ensemble.listen_on_all_addresses,
            keep_alive: ensemble.tcp_keep_alive,
            connect_timeout: Duration::from_millis(ensemble.connect_timeout_ms.into()),
            bind_tries: ensemble.election_port_bind_tries,
        },
    }))
}

/// Transactions that are committed in one go: what they come to fits a processor's cache.
const COMMIT_STEP: usize = 1024;

/// What the role is configured with.
pub fn role_config(context: &Context) -> RoleConfig {
    let (local, ensemble) = (&context.config.local, &context.config.ensemble);
    RoleConfig {
        server: local.server_id.and_then(|id| u8::try_from(id).ok()).unwrap_or(1),
        tick_ms: i64::from(ensemble.tick_time_ms),
        shards: context.topology.shards(),
        outstanding_max: local.throttle.global_outstanding_limit as usize * 32,
        outstanding_bytes_max: 32 << 20,
        commit_step: COMMIT_STEP,
        skip_acl: context.connection_limits.auth.skip_acl,
        clients: ClientPolicy {
            local_sessions: local.session.local_enabled,
            upgrades: local.session.local_upgrading_enabled,
            eager_acl: local.auth.eager_acl_check,
        },
        reaper: ReaperConfig {
            check_interval_ms: i64::from(local.nodes.container_check_interval_ms),
            max_per_minute: i64::from(local.nodes.container_max_per_minute),
            max_never_used_ms: i64::try_from(local.nodes.container_max_never_used_interval_ms).unwrap_or(i64::MAX),
        },
        ledger: LedgerConfig {
            hash_key: context.topology.key().as_ref().clone(),
            partitions: context.topology.partitions(),
            schemes: Schemes { digest: local.auth.digest_enabled },
            extended_types: local.nodes.extended_types_enabled,
            enforce_quota: local.nodes.enforce_quota,
            reconfig_enabled: ensemble.reconfig_enabled,
        },
    }
}

/// The manifest, if there is one.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read_manifest(context: &Context) -> Result<Option<Manifest>, RestoreError> {
    let path = &context.manifest;
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RestoreError::Io { path: path.clone(), source }),
    };
    decode_manifest(context, path, &bytes).map(Some)
}

/// What `path` holds, if it is a manifest of this directory.
///
/// # Errors
/// When it is not.
pub fn decode_manifest(context: &Context, path: &Path, bytes: &[u8]) -> Result<Manifest, RestoreError> {
    let failed = |source| RestoreError::Manifest { path: path.to_path_buf(), source };
    let manifest = Manifest::decode(bytes).map_err(failed)?;
    if manifest.hash_key != Manifest::fingerprint(context.topology.key()) {
        return Err(RestoreError::ForeignManifest(path.to_path_buf()));
    }
    Ok(manifest)
}

/// What the partitions hold without the log.
fn base_of(manifest: Option<&Manifest>) -> Checkpoint {
    match manifest {
        None => Checkpoint::Local(Zxid::ZERO),
        Some(manifest) if manifest.is_installed => Checkpoint::Installed(manifest.zxid),
        Some(manifest) => Checkpoint::Local(manifest.zxid),
    }
}

// ---- partitions ----

fn host(context: &Context, shard: ShardId, partitions: Vec<Partition>, open: OpenSegments) -> ShardHost {
    let config = ShardConfig {
        id: shard,
        shards: context.topology.shards(),
        partitions: context.topology.partitions(),
        key: Arc::clone(context.topology.key()),
        extended_types: context.config.local.nodes.extended_types_enabled,
    };
    let space = context.log_space.of(shard);
    let segments = Segments::new(context.partitions.clone(), open, context.storage.clone(), space);
    ShardHost::new(
        shard,
        Shard::new(config, partitions),
        segments,
        Arc::clone(&context.topology),
        Arc::clone(&context.residency),
    )
}

fn fresh_shards(context: &Context) -> Vec<ShardHost> {
    let shards = (0..context.topology.shards()).map(ShardId);
    shards
        .map(|shard| {
            let partitions = context.topology.partitions_of(shard).map(|id| Partition::new(id, 0)).collect();
            host(context, shard, partitions, OpenSegments::new())
        })
        .collect()
}

type OpenSegments = HashMap<SegmentKey, OpenSegment>;
type BuiltPartitions = HashMap<PartitionId, (Partition, OpenSegments)>;

/// A partition as rebuilt from its files, and what the ledger is to know of its znodes.
struct Rebuilt {
    partition: Partition,
    open: OpenSegments,
    znodes: LoadedPart,
}

/// A state that a manifest names, rebuilt from its files.
pub struct LoadedState {
    /// As of which transaction.
    pub zxid: Zxid,
    /// The shards, by number.
    pub shards: Vec<ShardHost>,
    /// What the role must know of the tree.
    pub ledger: replication::ledger::Ledger,
    /// Sessions and lists.
    pub system: SystemState,
}

/// What a manifest says of a stage, whose partitions are written to these segments, beside whatever is in use: the state
/// that [`restore`] would rebuild from them.
///
/// # Errors
/// [`RestoreError`].
pub fn staged_state(
    context: &Context,
    manifest: &Manifest,
    mut stage: Stage,
    segments: OpenSegments,
) -> Result<LoadedState, RestoreError> {
    let system = SystemState::decode(&manifest.system)?;
    let mut loader = Role::loader(&role_config(context), &system, marks(context, manifest));
    stage.load(&mut loader)?;
    let ledger = loader.finish()?;
    let mut built: BuiltPartitions = HashMap::new();
    for partition in stage.into_partitions() {
        built.insert(partition.id(), (partition, OpenSegments::new()));
    }
    for (key, segment) in segments {
        if let Some((_, open)) = built.get_mut(&key.partition) {
            open.insert(key, segment);
        }
    }
    Ok(LoadedState { zxid: manifest.zxid, shards: hosts(context, built), ledger, system })
}

fn load_partitions(
    context: &Context,
    role_config: &RoleConfig,
    manifest: &Manifest,
    system: &SystemState,
) -> Result<(Vec<ShardHost>, replication::ledger::Ledger), RestoreError> {
    let mut loader = Role::loader(role_config, system, marks(context, manifest));
    let mut built: BuiltPartitions = HashMap::new();
    for rebuilt in rebuild_all(context, &manifest.partitions, &loader)? {
        let id = rebuilt.partition.id();
        loader.add(id, rebuilt.znodes);
        built.insert(id, (rebuilt.partition, rebuilt.open));
    }
    let ledger = loader.finish()?;
    Ok((hosts(context, built), ledger))
}

/// Up to which transaction each partition goes.
fn marks(context: &Context, manifest: &Manifest) -> Box<[Zxid]> {
    let mut marks = vec![manifest.zxid; context.topology.partitions() as usize];
    for cut in &manifest.partitions {
        marks[usize::from(cut.partition.0)] = cut.zxid;
    }
    marks.into()
}

/// All shards, with their partitions.
fn hosts(context: &Context, mut built: BuiltPartitions) -> Vec<ShardHost> {
    let shards = (0..context.topology.shards()).map(ShardId);
    let hosts = shards.map(|shard| {
        let (mut partitions, mut open) = (Vec::new(), OpenSegments::new());
        for id in context.topology.partitions_of(shard) {
            let (partition, segments) = built.remove(&id).unwrap_or_else(|| (Partition::new(id, 0), HashMap::new()));
            partitions.push(partition);
            open.extend(segments);
        }
        host(context, shard, partitions, open)
    });
    hosts.collect()
}

/// Rebuilds partitions on all processors, the longest first, so that all end at about the same time.
fn rebuild_all(context: &Context, cuts: &[PartitionCut], loader: &LedgerLoader) -> Result<Vec<Rebuilt>, RestoreError> {
    let mut order: Vec<&PartitionCut> = cuts.iter().collect();
    order.sort_by_key(|cut| Reverse(cut.segments.iter().map(|segment| segment.end).sum::<u64>()));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut rebuilt = Vec::new();
        while let Some(cut) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = rebuild(context, cut, loader.part(cut.partition, cut.room()));
            // After a failure there is nothing more for anybody to do.
            rebuilt.push(result.inspect_err(|_| next.store(order.len(), Ordering::Relaxed))?);
        }
        Ok(rebuilt)
    };
    let others = hardware::cpu::core_count().min(cuts.len()).saturating_sub(1);
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut rebuilt = work();
        for other in others {
            let theirs = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            rebuilt = rebuilt.and_then(|mut own| {
                own.append(&mut theirs?);
                Ok(own)
            });
        }
        rebuilt
    })
}

fn rebuild(context: &Context, cut: &PartitionCut, mut znodes: PartLoader<'_>) -> Result<Rebuilt, RestoreError> {
    let (mut open, mut files) = (OpenSegments::new(), Vec::<Arc<dyn SegmentBytes>>::new());
    for segment in &cut.segments {
        let path = partition_file(&context.partitions, cut.partition.0, segment.generation, segment.segment);
        let failed = |source| RestoreError::Io { path: path.clone(), source };
        let file = BlockFile::open(&path, PreferDirect::No).map_err(failed)?;
        let map = MappedSegment::map(&file, 0, segment.bytes as usize, segment.end as usize).map_err(failed)?;
        let map = Arc::new(map);
        let key = SegmentKey { partition: cut.partition, generation: segment.generation, segment: segment.segment };
        files.push(Arc::new(MappedLog::new(Arc::clone(&map), Arc::clone(&context.residency))));
        open.insert(key, OpenSegment::new(file, map));
    }
    let mut loaded = Ok(());
    let partition = recover(cut, &files, &mut |node| {
        if loaded.is_ok() {
            loaded = znodes.node(NodeFact::from(node));
        }
    })?;
    loaded?;
    Ok(Rebuilt { partition, open, znodes: znodes.finish() })
}

/// Removes segment files that the manifest does not name: their numbers will be used again.
fn remove_strays(context: &Context, shards: &[ShardHost]) -> Result<(), RestoreError> {
    let known: HashSet<PathBuf> = shards.iter().flat_map(ShardHost::segment_files).collect();
    let folder = &context.partitions;
    let failed = |path: &Path, source| RestoreError::Io { path: path.to_path_buf(), source };
    for entry in std::fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        if !known.contains(&path) {
            std::fs::remove_file(&path).map_err(|source| failed(&path, source))?;
        }
    }
    Ok(())
}

// ---- the write-ahead log ----

/// The log, and what a member remembers of its end.
struct ReplayedLog {
    wal: WalHost,
    recent: Recent,
}

/// The end of a member's log, as much of it as [`HISTORY_BYTES`] hold.
struct Recent {
    /// The transaction before the first of them.
    after: Zxid,
    entries: VecDeque<(Zxid, Bytes)>,
    bytes: usize,
}

impl Recent {
    fn new(after: Zxid) -> Recent {
        Recent { after, entries: VecDeque::new(), bytes: 0 }
    }

    fn push(&mut self, zxid: Zxid, bytes: Bytes) {
        self.bytes += bytes.len();
        self.entries.push_back((zxid, bytes));
        while self.bytes > HISTORY_BYTES
            && let Some((zxid, dropped)) = self.entries.pop_front()
        {
            self.after = zxid;
            self.bytes -= dropped.len();
        }
    }

    /// Those in `(after, upto]`.
    fn range(&self, after: Zxid, upto: Zxid) -> impl Iterator<Item = (Zxid, &[u8])> {
        let from = self.entries.partition_point(|(zxid, _)| *zxid <= after);
        let until = self.entries.partition_point(|(zxid, _)| *zxid <= upto).max(from);
        self.entries.range(from..until).map(|(zxid, bytes)| (*zxid, &bytes[..]))
    }
}

fn replay_log(
    context: &Context,
    is_member: bool,
    base: Checkpoint,
    role: &mut Role,
    shards: &mut [ShardHost],
    acls: &mut AclTable,
) -> Result<ReplayedLog, RestoreError> {
    let checkpoint = base.zxid();
    let mut segments = wal_segments(&context.wal)?;
    let directory = DirectoryId(context.directory_id);
    let mut replay = Replay { role, shards, acls, actions: Vec::new(), failure: None };
    let mut recent = Recent::new(checkpoint);
    // Up to here a member has replayed: what is known to be committed, as it is read.
    let mut replayed = checkpoint;
    let verdict = judge(&segments, directory, base, &mut |zxid, bytes, committed| {
        if !is_member {
            return replay.committed(zxid, &bytes);
        }
        recent.push(zxid, bytes);
        // What has left the list meanwhile is read again below.
        if replayed >= recent.after && committed > replayed {
            recent.range(replayed, committed).for_each(|(zxid, bytes)| replay.committed(zxid, bytes));
            replayed = committed.min(zxid);
        }
    });
    let verdict = match verdict {
        // With nothing replayed: what was handed over ahead of the damage counts for nothing.
        Verdict::Damage(damage) if is_member && replayed == checkpoint => {
            let verdict = repair::without_covered(context, &mut segments, base, &damage)?;
            if let Some(recovered) = verdict.as_ref().and_then(Verdict::recovered) {
                // Reading had stopped at the damage.
                recent = Recent::new(checkpoint);
                let (layout, last) = (recovered.layout(), recovered.last());
                read_again(&mut segments, layout, directory, checkpoint, last, &mut |zxid, bytes| {
                    recent.push(zxid, Bytes::copy_from_slice(bytes));
                })
                .map_err(|damage| RestoreError::WalDamage(damage.to_string()))?;
            }
            verdict.unwrap_or(Verdict::Damage(damage))
        }
        verdict => verdict,
    };
    let recovered = match verdict {
        Verdict::Clean(recovered) => recovered,
        Verdict::TornTail(recovered, torn) => {
            warn!(
                segment = torn.segment.0,
                "the last write to the transaction log was cut short by a crash; nobody had been told of it, and it is \
                 left out"
            );
            recovered
        }
        Verdict::Damage(damage) => {
            return Err(RestoreError::WalDamage(format!("{damage}. {}", damage.remedy(!is_member))));
        }
    };
    if is_member {
        // Of a member's log only what is known to be committed takes effect; the rest waits for a leader's word.
        let committed = recovered.committed().max(checkpoint);
        let layout = recovered.layout();
        let mut show = |zxid: Zxid, bytes: &[u8]| {
            if zxid <= committed {
                replay.committed(zxid, bytes);
            } else {
                replay.uncommitted(zxid, bytes);
            }
        };
        if recent.after > replayed {
            read_again(&mut segments, layout, directory, replayed, recent.after, &mut show)
                .map_err(|damage| RestoreError::WalDamage(damage.to_string()))?;
            replayed = recent.after;
        }
        recent.range(replayed, recovered.last()).for_each(|(zxid, bytes)| show(zxid, bytes));
    }
    if let Some(failure) = replay.failure {
        return Err(RestoreError::Wal(failure));
    }
    let mut files = HashMap::new();
    for segment in segments {
        files.insert(segment.sequence, segment.file);
    }
    if let Some(file) = recovered.unflushed().and_then(|sequence| files.get(&sequence)) {
        file.sync_data().map_err(|source| RestoreError::Io { path: file.path().to_path_buf(), source })?;
    }
    let storage = &context.config.local.storage;
    // As many transactions as the snapshots that ZooKeeper retains would be behind; a lone server has nobody to serve.
    let keep_records = u64::from(storage.autopurge_snap_retain_count) * u64::from(storage.snap_count);
    let config = WalConfig {
        segment_bytes: storage.wal_segment_bytes,
        keep_records: if is_member { keep_records } else { 0 },
        keep_bytes: KEEP_BYTES,
        backlog_bytes_max: 256 << 20,
        ..WalConfig::new(directory)
    };
    let place = WalPlace {
        folder: context.wal.clone(),
        directory,
        server: server_id(context),
        sync: if storage.force_sync { WriteSync::Data } else { WriteSync::None },
        slow_flush: Duration::from_millis(storage.fsync_warning_threshold_ms),
        keep_bytes: KEEP_BYTES,
    };
    let wal = WalHost::new(WalWriter::resume(config, recovered), place, files, context.storage.clone());
    Ok(ReplayedLog { wal, recent })
}

/// The log's records on their way to the role and the shards.
struct Replay<'a> {
    role: &'a mut Role,
    shards: &'a mut [ShardHost],
    acls: &'a mut AclTable,
    actions: Vec<Action>,
    failure: Option<String>,
}

impl Replay<'_> {
    fn committed(&mut self, zxid: Zxid, bytes: &[u8]) {
        if let Some((header, txn)) = self.decode(zxid, bytes) {
            self.role.replay(header, txn, &mut self.actions);
            carry_out(&mut self.actions, self.role, self.shards, self.acls);
        }
    }

    fn uncommitted(&mut self, zxid: Zxid, bytes: &[u8]) {
        if let Some((header, txn)) = self.decode(zxid, bytes) {
            self.role.replay_uncommitted(header, txn, Bytes::copy_from_slice(bytes));
        }
    }

    /// After a failure nothing more is replayed.
    fn decode(&mut self, zxid: Zxid, bytes: &[u8]) -> Option<(TxnHeader, Txn)> {
        if self.failure.is_some() {
            return None;
        }
        match engine::txn::decode(bytes) {
            Ok(decoded) => Some(decoded),
            Err(problem) => {
                self.failure = Some(format!(
                    "transaction {zxid} of the log is whole but cannot be read ({problem}): it was written by a newer \
                     version; start that version"
                ));
                None
            }
        }
    }
}

/// Shows the transactions that the log still holds, in order: zxid, and header with record.
///
/// # Errors
/// [`RestoreError`], also if the log is damaged.
pub fn each_logged(context: &Context, each: &mut dyn FnMut(Zxid, &[u8])) -> Result<(), RestoreError> {
    let base = base_of(read_manifest(context)?.as_ref());
    let segments = wal_segments(&context.wal)?;
    match judge(&segments, DirectoryId(context.directory_id), base, &mut |zxid, bytes, _| each(zxid, &bytes)) {
        Verdict::Clean(_) | Verdict::TornTail(..) => Ok(()),
        Verdict::Damage(damage) => Err(RestoreError::WalDamage(format!("{damage}. {}", damage.remedy(true)))),
    }
}

/// Carries out, without threads, what replaying makes the role ask for.
fn carry_out(actions: &mut Vec<Action>, role: &mut Role, shards: &mut [ShardHost], acls: &mut AclTable) {
    while !actions.is_empty() {
        let mut measured = None;
        for action in actions.drain(..) {
            match action {
                Action::DefineAcl { id, list } => acls.define(id, list),
                Action::Route { shard, txn } => shards[usize::from(shard.0)].replay(&txn),
                Action::Measure { path, .. } => {
                    let mut usage = SubtreeUsage::default();
                    for shard in shards.iter() {
                        let part = shard.usage(&path);
                        usage.count += part.count;
                        usage.bytes += part.bytes;
                    }
                    measured = Some(Input::Measured { path, usage });
                }
                // Nobody waits for answers yet, and what is replayed is in the log already.
                _ => {}
            }
        }
        if let Some(input) = measured {
            role.step(Now::default(), input, actions);
        }
    }
}

/// A segment file, to be read.
pub struct WalSegment {
    /// Its number.
    pub sequence: SegmentSeq,
    /// Open.
    pub file: Arc<BlockFile>,
    /// Its length.
    pub blocks: u32,
}

impl SegmentSource for WalSegment {
    fn sequence(&self) -> SegmentSeq {
        self.sequence
    }

    fn blocks(&self) -> u32 {
        self.blocks
    }

    fn read(&mut self, first: u32, into: &mut [u8]) -> io::Result<()> {
        WalSegment::read_blocks(&self.file, first, into)
    }
}

impl WalSegment {
    /// Fills `into` with a segment's blocks from `first` on.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::UnexpectedEof`].
    pub fn read_blocks(file: &BlockFile, first: u32, into: &mut [u8]) -> io::Result<()> {
        let read = file.read_at(u64::from(first) * replication::wal::BLOCK_BYTES as u64, into)?;
        if read < into.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// The segments in the log's folder; files that a crash left half prepared are removed.
///
/// # Errors
/// The file system's.
pub fn wal_segments(folder: &Path) -> Result<Vec<WalSegment>, RestoreError> {
    let failed = |path: &Path, source| RestoreError::Io { path: path.to_path_buf(), source };
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|source| failed(folder, source))? {
        let path = entry.map_err(|source| failed(folder, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("prepare-") || name.starts_with("spare-") {
            std::fs::remove_file(&path).map_err(|source| failed(&path, source))?;
            continue;
        }
        let Some(sequence) = segment_sequence(&path) else { continue };
        let file = BlockFile::open(&segment_file(folder, sequence), PreferDirect::Yes)
            .map_err(|source| failed(&path, source))?;
        let bytes = file.len().map_err(|source| failed(&path, source))?;
        let blocks = u32::try_from(bytes / replication::wal::BLOCK_BYTES as u64).unwrap_or(u32::MAX);
        segments.push(WalSegment { sequence, file, blocks });
    }
    Ok(segments)
}
