//! Starting from what the disk holds.

use super::super::super::checkpoint::{self, Loaded};
use super::super::super::shards::host_shards;
use super::front::Fronts;
use super::{Effect, PARTITIONS, Server, Storage, TICK_MS, usage};
use crate::ledger::test_config;
use crate::node::{Epochs, Node, NodeConfig, NodeStart};
use crate::peer::ensemble::{Ensemble, ServerId, Views};
use crate::peer::mistake::Mistake;
use crate::role::{self, Now, ReaperConfig, Role, RoleConfig};
use crate::wal::disk::DIRECTORY;
use crate::wal::{BLOCK_BYTES, Checkpoint as LogFloor, Verdict, WalConfig, WalWriter, origin, read, recover};
use bytes::Bytes;
use engine::acl::AclTable;
use engine::ids::PartitionId;
use engine::partition::Partition;
use engine::txn;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a server is started as.
pub struct Setting<'a> {
    pub sid: i64,
    pub shards: u16,
    /// Whether its cores see what has taken effect a little later.
    pub lags: bool,
    /// Bytes of recent transactions kept for learners.
    pub history_bytes_max: usize,
    pub ensemble: &'a Arc<Ensemble>,
    pub mistake: Option<Mistake>,
}

fn role_config(sid: i64, shards: u16) -> RoleConfig {
    RoleConfig {
        server: sid as u8,
        tick_ms: TICK_MS,
        shards,
        outstanding_max: 1000,
        outstanding_bytes_max: 1 << 30,
        skip_acl: false,
        reaper: ReaperConfig::default(),
        ledger: crate::ledger::LedgerConfig { enforce_quota: false, partitions: PARTITIONS, ..test_config() },
    }
}

fn node_config(setting: &Setting<'_>) -> NodeConfig {
    NodeConfig {
        sid: ServerId(setting.sid),
        tick_ms: TICK_MS,
        init_limit: 10,
        sync_limit: 5,
        connect_limit: 0,
        reconfig_enabled: false,
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

impl Server {
    /// Starts from what the disk holds.
    pub fn start(now: Now, setting: &Setting<'_>, storage: &mut Storage) -> Result<Server, String> {
        let Setting { sid, shards, .. } = *setting;
        let config = role_config(sid, shards);
        let key = Arc::new(config.ledger.hash_key.clone());
        let mut actions = Vec::new();
        if let Some(next) = storage.next_manifest.take()
            && origin(&mut storage.wal.sources(), DIRECTORY).is_some_and(|(zxid, _)| zxid == next.zxid)
        {
            storage.manifest = Some(next);
        }
        let (mut role, partitions, floor) = match &storage.manifest {
            None => {
                storage.files.keep_only(&|_| false);
                let partitions = (0..PARTITIONS as u16).map(|id| Partition::new(PartitionId(id), 0)).collect();
                (Role::fresh(config.clone(), &mut actions), partitions, LogFloor::Local(Zxid::ZERO))
            }
            Some(manifest) => {
                storage.files.keep_only(&|name| checkpoint::names(manifest, name));
                let Loaded { partitions, ledger, system } = checkpoint::load(manifest, &storage.files, &config)?;
                let floor = match manifest.is_installed {
                    true => LogFloor::Installed(manifest.zxid),
                    false => LogFloor::Local(manifest.zxid),
                };
                (Role::recovered(config.clone(), ledger, system, &mut actions), partitions, floor)
            }
        };
        let base = floor.zxid();
        let verdict = recover(&mut storage.wal.sources(), DIRECTORY, floor, &mut |_, _| {});
        let recovered = match verdict {
            Verdict::Clean(recovered) | Verdict::TornTail(recovered, _) => recovered,
            Verdict::Damage(damage) => return Err(format!("server {sid} finds damage: {damage}")),
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
        let start = NodeStart {
            role,
            last: wal.durable(),
            recent: log.iter().map(|(zxid, bytes)| (*zxid, bytes.clone())).collect(),
            recent_after: base,
            epochs,
            views: Views::settled(Arc::clone(setting.ensemble)),
        };
        let mut actions = Vec::new();
        let node = Node::new(now, node_config(setting), start, &mut actions);
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
