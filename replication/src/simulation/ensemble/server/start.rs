//! Starting from what the disk holds.

use super::super::super::checkpoint::{self, Loaded};
use super::super::super::shards::host_shards;
use super::damage::Unreadable;
use super::front::Fronts;
use super::{Effect, PARTITIONS, Server, Storage, TICK_MS, usage};
use crate::ledger::test_config;
use crate::node::{Epochs, Era, Node, NodeConfig, NodeStart};
use crate::peer::ensemble::ServerId;
use crate::peer::mistake::Mistake;
use crate::role::{self, ClientPolicy, Now, ReaperConfig, Role, RoleConfig};
use crate::wal::disk::DIRECTORY;
use crate::wal::{BLOCK_BYTES, Recovered, WalConfig, WalWriter, read};
use bytes::Bytes;
use engine::acl::AclTable;
use engine::ids::PartitionId;
use engine::partition::{Manifest, Partition};
use engine::txn;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a server is started as.
pub struct Setting {
    pub sid: i64,
    pub shards: u16,
    /// Whether its cores see what has taken effect a little later.
    pub lags: bool,
    /// Bytes of recent transactions kept for learners.
    pub history_bytes_max: usize,
    /// Whether the ensemble may be changed.
    pub reconfigures: bool,
    /// Transactions that one step commits.
    pub commit_step: usize,
    pub mistake: Option<Mistake>,
}

fn role_config(setting: &Setting) -> RoleConfig {
    let Setting { sid, shards, reconfigures, .. } = *setting;
    RoleConfig {
        server: sid as u8,
        tick_ms: TICK_MS,
        shards,
        outstanding_max: 1000,
        outstanding_bytes_max: 1 << 30,
        commit_step: setting.commit_step,
        skip_acl: false,
        clients: ClientPolicy::default(),
        reaper: ReaperConfig::default(),
        ledger: crate::ledger::LedgerConfig {
            enforce_quota: false,
            partitions: PARTITIONS,
            reconfig_enabled: reconfigures,
            ..test_config()
        },
    }
}

fn node_config(setting: &Setting) -> NodeConfig {
    NodeConfig {
        sid: ServerId(setting.sid),
        tick_ms: TICK_MS,
        init_limit: 10,
        sync_limit: 5,
        connect_limit: 0,
        reconfig_enabled: setting.reconfigures,
        standalone_enabled: true,
        election_interval_ms: (50, 800),
        force_snapshot: false,
        history_bytes_max: setting.history_bytes_max,
        mistake: setting.mistake,
    }
}

fn wal_config() -> WalConfig {
    let (segment_bytes, keep_bytes) = (16 * BLOCK_BYTES as u64, 80 * BLOCK_BYTES as u64);
    WalConfig { segment_bytes, keep_records: 200, keep_bytes, ..WalConfig::new(DIRECTORY) }
}

/// What a start goes on with.
struct Found {
    loaded: Option<Loaded>,
    base: Zxid,
    log: Recovered,
}

fn found(config: &RoleConfig, storage: &mut Storage) -> Result<Found, Unreadable> {
    let manifest = storage.read_manifest()?;
    storage.keep_named(manifest.as_ref());
    let load = |manifest: &Manifest| checkpoint::load(manifest, &storage.files, config).map_err(Unreadable::State);
    let loaded = manifest.as_ref().map(load).transpose()?;
    let floor = Storage::floor(manifest.as_ref());
    Ok(Found { loaded, base: floor.zxid(), log: storage.read_log(floor)? })
}

impl Server {
    /// Starts from what the disk holds.
    pub fn start(now: Now, setting: &Setting, storage: &mut Storage) -> Result<Server, String> {
        let Setting { sid, shards, .. } = *setting;
        let config = role_config(setting);
        let key = Arc::new(config.ledger.hash_key.clone());
        let mut actions = Vec::new();
        storage.settle_next_manifest();
        let found = match found(&config, storage) {
            Err(problem) => {
                storage.set_aside(&problem).map_err(|problem| format!("server {sid}: {problem}"))?;
                found(&config, storage).map_err(|problem| format!("server {sid}: {problem}"))?
            }
            Ok(found) => found,
        };
        storage.has_decayed = false;
        let Found { loaded, base, log: recovered } = found;
        let (mut role, partitions) = match loaded {
            None => {
                let partitions = (0..PARTITIONS as u16).map(|id| Partition::new(PartitionId(id), 0)).collect();
                (Role::fresh(config.clone(), &mut actions), partitions)
            }
            Some(Loaded { partitions, ledger, system }) => {
                (Role::recovered(config.clone(), ledger, system, &mut actions), partitions)
            }
        };
        let (last, committed) = (recovered.last(), recovered.committed().max(base));
        let mut log = BTreeMap::new();
        read::replay(&mut storage.wal.sources(), recovered.layout(), DIRECTORY, base, last, &mut |zxid, bytes| {
            log.insert(zxid, Bytes::copy_from_slice(bytes));
        })
        .map_err(|damage| format!("server {sid} cannot read its log: {damage:?}"))?;
        let mut shards = host_shards(&key, shards, partitions);
        let mut acls = AclTable::default();
        let mut effects = VecDeque::from([Effect::Restored(base)]);
        effects.extend(log.iter().map(|(zxid, bytes)| Effect::Holds(*zxid, bytes.clone())));
        let mut measures = VecDeque::new();
        for (zxid, bytes) in &log {
            let (header, txn) = txn::decode(bytes).map_err(|problem| format!("{zxid} in the log: {problem}"))?;
            if *zxid <= committed {
                role.replay(header, txn, &mut actions);
                effects.push_back(Effect::Applied(*zxid, bytes.clone()));
            } else {
                role.replay_uncommitted(header, txn, bytes.clone());
            }
        }
        while !actions.is_empty() {
            for action in std::mem::take(&mut actions) {
                match action {
                    role::Action::DefineAcl { id, list } => acls.define(id, list),
                    role::Action::Route { shard, txn } => shards[usize::from(shard.0)].apply(&txn),
                    role::Action::Measure { path, .. } => measures.push_back(path),
                    _ => {}
                }
            }
            while let Some(path) = measures.pop_front() {
                let usage = usage(&shards, &path);
                role.step(Now::default(), role::Input::Measured { path, usage }, &mut actions);
            }
        }
        let published = role.committed();
        effects.push_back(Effect::Published(published));
        let wal = WalWriter::resume(wal_config(), recovered);
        let epochs = *storage.epochs.get_or_insert(Epochs { accepted: last.epoch(), current: last.epoch() });
        if last.epoch() > epochs.accepted {
            return Err(format!("server {sid} has {last} in its log and has promised {epochs:?}"));
        }
        let start = NodeStart {
            role,
            last: wal.durable(),
            recent: log.iter().map(|(zxid, bytes)| (*zxid, bytes.clone())).collect(),
            recent_after: base,
            epochs,
            views: storage.views(),
        };
        let mut actions = Vec::new();
        let begin = if storage.is_repairing { Node::repairing } else { Node::new };
        let node = begin(now, node_config(setting), start, &mut actions);
        let mut server = Server {
            node,
            wal,
            prepare: None,
            in_flight: None,
            cutting: None,
            config,
            key,
            log_work: shards.iter().map(|_| VecDeque::new()).collect(),
            shards,
            acls,
            measures,
            log,
            log_base: base,
            told_base: None,
            taking: None,
            since_checkpoint: 0,
            outgoing: Vec::new(),
            incoming: None,
            published,
            view: published,
            lags: setting.lags && setting.shards > 1,
            fronts: Fronts::default(),
            serves: false,
            has_new_state: false,
            era: Era::default(),
            mistake: setting.mistake,
            effects,
            fuse: None,
            fault: None,
            stopped: None,
        };
        server.carry_out(now, actions, storage)?;
        server.tell_log_base(now, storage)?;
        Ok(server)
    }
}
