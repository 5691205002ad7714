//! One server: what its disk holds, and, while it runs, the state machines with what a host does around them, in the
//! host's order.

use super::super::disk::Files;
use crate::ledger::{SubtreeUsage, test_config};
use crate::node::{Action, Epochs, Input, Node, NodeConfig, NodeStart};
use crate::peer::ensemble::{Ensemble, ServerId, Views};
use crate::peer::mistake::Mistake;
use crate::role::{self, Now, ReaperConfig, Role, RoleConfig};
use crate::wal::disk::{Chance, DIRECTORY, Disk};
use crate::wal::{
    BLOCK_BYTES, Checkpoint as LogFloor, Prepare, Truncation, Verdict, WalConfig, WalWrite, WalWriter, read, recover,
};
use bytes::Bytes;
use engine::acl::{AclList, AclTable, Identity};
use engine::error_code::ErrorCode;
use engine::ids::{ConnId, CoreId, Origin, PartitionId, SessionId, ShardId};
use engine::partition::{LogAction, Partition};
use engine::path::{HashKey, shard_of};
use engine::read::ReadOp;
use engine::shard::{ReadOutcome, Shard, ShardAction, ShardConfig};
use engine::stat::Stat;
use engine::txn;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) const PARTITIONS: u32 = 8;
/// `tickTime` of the ensemble.
pub(super) const TICK_MS: i64 = 100;

/// Where a run ends early: snapshots are not simulated yet.
pub(super) const SNAPSHOT_WANTED: &str = "a snapshot is wanted";

/// A znode as every replica must have it.
pub(super) type Znode = (Option<Vec<u8>>, Stat, AclList, i64);

/// The whole state as of a zxid.
#[derive(PartialEq, Debug)]
pub(super) struct State {
    pub nodes: BTreeMap<String, Znode>,
    pub sessions: Vec<(SessionId, i32)>,
}

/// What survives a crash.
#[derive(Default)]
pub(super) struct Storage {
    wal: Disk,
    files: Files,
    epochs: Option<Epochs>,
}

/// What a step leads to outside of the server.
#[derive(Debug)]
pub(super) enum Effect {
    /// Something for the network, or a standing.
    Peer(Action),
    /// Something for clients.
    Client(role::Action),
    /// This has taken effect.
    Applied(Zxid, Bytes),
    /// Everything up to here may be seen.
    Published(Zxid),
}

/// A running server.
pub(super) struct Server {
    pub node: Node,
    wal: WalWriter,
    pub prepare: Option<Prepare>,
    pub in_flight: Option<WalWrite>,
    is_cutting: bool,
    key: Arc<HashKey>,
    shards: Vec<Shard>,
    log_work: Vec<VecDeque<LogAction>>,
    acls: AclTable,
    pub measures: VecDeque<Arc<str>>,
    /// The log's records.
    log: BTreeMap<Zxid, Bytes>,
    pub published: Zxid,
    pub effects: VecDeque<Effect>,
    /// The server crashes when so many more actions have been carried out.
    pub fuse: Option<u32>,
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

fn node_config(sid: i64, mistake: Option<Mistake>) -> NodeConfig {
    NodeConfig {
        sid: ServerId(sid),
        tick_ms: TICK_MS,
        init_limit: 10,
        sync_limit: 5,
        connect_limit: 0,
        reconfig_enabled: false,
        election_interval_ms: (50, 800),
        force_snapshot: false,
        history_bytes_max: 64 << 20,
        mistake,
    }
}

fn wal_config() -> WalConfig {
    WalConfig { segment_bytes: 64 * BLOCK_BYTES as u64, ..WalConfig::new(DIRECTORY) }
}

fn host_shards(key: &Arc<HashKey>, shards: u16) -> Vec<Shard> {
    let mut by_shard: Vec<Vec<Partition>> = (0..shards).map(|_| Vec::new()).collect();
    for id in 0..PARTITIONS as u16 {
        by_shard[usize::from(shard_of(PartitionId(id), shards).0)].push(Partition::new(PartitionId(id), 0));
    }
    let host = |(id, partitions): (usize, Vec<Partition>)| {
        let config = ShardConfig {
            id: ShardId(id as u16),
            shards,
            partitions: PARTITIONS,
            key: Arc::clone(key),
            extended_types: true,
        };
        Shard::new(config, partitions)
    };
    by_shard.into_iter().enumerate().map(host).collect()
}

impl Storage {
    /// The promises, as they are on disk.
    pub(super) fn epochs(&self) -> Epochs {
        self.epochs.unwrap_or_default()
    }

    /// The server is gone: any sectors of the write under way, and any pages that were not flushed, are there.
    pub(super) fn crash(&mut self, server: Server, chance: &mut Chance) {
        if let Some(write) = server.in_flight {
            let percent = chance.below(101);
            self.wal.write(&write, |_| chance.percent(percent));
        }
        // Without a manifest nothing names a file.
        self.files.crash(chance, &mut 0);
        self.files.keep_only(&|_| false);
    }
}

impl Server {
    /// Starts from what the disk holds.
    pub(super) fn start(
        sid: i64,
        shards: u16,
        now: Now,
        ensemble: &Arc<Ensemble>,
        mistake: Option<Mistake>,
        storage: &mut Storage,
    ) -> Result<Server, String> {
        let config = role_config(sid, shards);
        let key = Arc::new(config.ledger.hash_key.clone());
        let mut actions = Vec::new();
        let mut role = Role::fresh(config, &mut actions);
        let verdict = recover(&mut storage.wal.sources(), DIRECTORY, LogFloor::Local(Zxid::ZERO), &mut |_, _| {});
        let recovered = match verdict {
            Verdict::Clean(recovered) | Verdict::TornTail(recovered, _) => recovered,
            Verdict::Damage(damage) => return Err(format!("server {sid} finds damage: {damage}")),
        };
        let (last, committed) = (recovered.last(), recovered.committed());
        let mut log = BTreeMap::new();
        read::replay(
            &mut storage.wal.sources(),
            recovered.layout(),
            DIRECTORY,
            Zxid::ZERO,
            last,
            &mut |zxid, bytes| {
                log.insert(zxid, Bytes::copy_from_slice(bytes));
            },
        )
        .map_err(|damage| format!("server {sid} cannot read its log: {damage:?}"))?;
        let mut shards = host_shards(&key, shards);
        let mut acls = AclTable::default();
        let mut effects = VecDeque::new();
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
            epochs,
            views: Views::settled(Arc::clone(ensemble)),
        };
        let mut actions = Vec::new();
        let node = Node::new(now, node_config(sid, mistake), start, &mut actions);
        let mut server = Server {
            node,
            wal,
            prepare: None,
            in_flight: None,
            is_cutting: false,
            key,
            log_work: shards.iter().map(|_| VecDeque::new()).collect(),
            shards,
            acls,
            measures,
            log,
            published,
            effects,
            fuse: None,
        };
        server.carry_out(now, actions, storage)?;
        Ok(server)
    }

    /// One input for the member, and everything that it asks for but what needs the network.
    pub(super) fn step(&mut self, now: Now, input: Input<'_>, storage: &mut Storage) -> Result<(), String> {
        let mut actions = Vec::new();
        self.node.step(now, input, &mut actions);
        self.carry_out(now, actions, storage)
    }

    /// Whether the fuse has burnt down.
    pub(super) fn is_out(&self) -> bool {
        self.fuse == Some(0)
    }

    fn carry_out(&mut self, now: Now, actions: Vec<Action>, storage: &mut Storage) -> Result<(), String> {
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if let Some(fuse) = &mut self.fuse {
                *fuse = fuse.saturating_sub(1);
                if *fuse == 0 {
                    return Ok(());
                }
            }
            let mut more = Vec::new();
            match action {
                Action::Role(action) => self.carry_out_for_role(action)?,
                Action::PersistEpochs(epochs) => {
                    let before = storage.epochs();
                    if epochs.accepted < before.accepted || epochs.current < before.current {
                        return Err(format!("promises go back from {before:?} to {epochs:?}"));
                    }
                    storage.epochs = Some(epochs);
                    self.node.step(now, Input::EpochsPersisted, &mut more);
                }
                Action::TruncateLog(to) => {
                    self.log.retain(|zxid, _| *zxid <= to);
                    match self.wal.truncate(to).map_err(|problem| problem.to_string())? {
                        Truncation::Done => {
                            self.node.step(now, Input::LogTruncated(self.wal.durable()), &mut more);
                        }
                        Truncation::Pending => self.is_cutting = true,
                    }
                }
                Action::Fail(why) => return Err(format!("a server has to stop: {why}")),
                Action::KeepLastSeen(_) | Action::Activate(_) => {
                    return Err("nobody has changed the configuration".to_owned());
                }
                Action::SnapshotWanted(_)
                | Action::SnapshotBegin(_)
                | Action::SnapshotBytes(_)
                | Action::SnapshotEnd { .. } => return Err(SNAPSHOT_WANTED.to_owned()),
                network => self.effects.push_back(Effect::Peer(network)),
            }
            queue.extend(more);
        }
        Ok(())
    }

    fn carry_out_for_role(&mut self, action: role::Action) -> Result<(), String> {
        match action {
            role::Action::Append { zxid, bytes } => {
                self.wal.append(zxid, &bytes).map_err(|problem| problem.to_string())?;
                self.log.insert(zxid, bytes);
            }
            role::Action::DefineAcl { id, list } => self.acls.define(id, list),
            role::Action::Route { shard, txn } => {
                let durable = self.wal.durable().get();
                if txn.zxid > durable {
                    return Err(format!("{} takes effect, the log is durable up to {durable}", txn.zxid));
                }
                self.shards[usize::from(shard.0)].apply(&txn);
                self.take_shard_actions()?;
            }
            role::Action::Publish { commit } => {
                if commit < self.published {
                    return Err(format!("published {commit} after {}", self.published));
                }
                let new =
                    self.log.range(self.published.max(Zxid(0))..=commit).filter(|(zxid, _)| **zxid > self.published);
                for (zxid, bytes) in new {
                    self.effects.push_back(Effect::Applied(*zxid, bytes.clone()));
                }
                self.published = commit;
                for shard in &mut self.shards {
                    shard.set_oldest_view(commit);
                }
                self.effects.push_back(Effect::Published(commit));
            }
            role::Action::Measure { path, .. } => self.measures.push_back(path),
            role::Action::Fail(fault) => return Err(format!("a role has to stop: {fault}")),
            other => self.effects.push_back(Effect::Client(other)),
        }
        Ok(())
    }

    fn take_shard_actions(&mut self) -> Result<(), String> {
        for (shard, work) in self.shards.iter_mut().zip(&mut self.log_work) {
            let mut actions = Vec::new();
            shard.take_actions(&mut actions);
            for action in actions {
                match action {
                    ShardAction::Log(action) => work.push_back(action),
                    ShardAction::Damaged(damage) => return Err(damage.to_string()),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    // ---- the disk ----

    /// Asks the log what it wants next. Whether there is a segment to prepare, and a write to make, that were not there
    /// before.
    pub(super) fn poll_log(&mut self) -> (bool, bool) {
        let asks = self.prepare.is_none()
            && self.wal.poll_prepare().is_some_and(|prepare| self.prepare.replace(prepare).is_none());
        let committed = self.node.role().committed();
        let writes = self.in_flight.is_none()
            && self.wal.poll_write(committed).is_some_and(|write| self.in_flight.replace(write).is_none());
        (asks, writes)
    }

    pub(super) fn prepared(&mut self, storage: &mut Storage) -> Result<(), String> {
        let Some(prepare) = self.prepare.take() else { return Ok(()) };
        self.wal.prepared(storage.wal.prepare(prepare)).map_err(|problem| problem.to_string())
    }

    pub(super) fn written(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let Some(write) = self.in_flight.take() else { return Ok(()) };
        storage.wal.write(&write, |_| true);
        let len = write.buf.len();
        let durable = self.wal.written(write.token, Ok(len)).map_err(|problem| problem.to_string())?;
        self.wal.recycle(write.buf);
        if !self.is_cutting {
            return self.step(now, Input::Durable(durable), storage);
        }
        if self.wal.is_cutting() {
            return Ok(());
        }
        self.is_cutting = false;
        self.step(now, Input::LogTruncated(durable), storage)
    }

    /// Whether a shard has something for its files.
    pub(super) fn has_log_work(&self) -> bool {
        self.log_work.iter().any(|work| !work.is_empty())
    }

    /// The next thing that the shards want of their files.
    pub(super) fn log_step(&mut self, storage: &mut Storage) -> Result<(), String> {
        let next =
            self.log_work.iter_mut().zip(&mut self.shards).find_map(|(work, shard)| Some((work.pop_front()?, shard)));
        let Some((action, shard)) = next else { return Ok(()) };
        match action {
            LogAction::NeedSegment { partition, generation, segment, bytes } => {
                let file = storage.files.create((partition, generation, segment), bytes);
                shard.segment_ready(partition, segment, file);
            }
            LogAction::Write { partition, generation, segment, offset, bytes } => {
                storage.files.get((partition, generation, segment)).write(offset, &bytes);
                shard.written(partition, segment, offset + bytes.len() as u64);
            }
            LogAction::RemoveSegment { partition, generation, segment } => {
                storage.files.remove((partition, generation, segment));
            }
        }
        self.take_shard_actions()
    }

    pub(super) fn measure(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let Some(path) = self.measures.pop_front() else { return Ok(()) };
        let usage = usage(&self.shards, &path);
        self.step(now, Input::Role(role::Input::Measured { path, usage }), storage)
    }

    // ---- looking ----

    /// The records that the log has been given.
    pub(super) fn log(&self) -> &BTreeMap<Zxid, Bytes> {
        &self.log
    }

    /// When a znode's data was last changed (mzxid), if it is there.
    pub(super) fn modified(&mut self, path: &str) -> Result<Option<i64>, String> {
        let hash = engine::path::canonical(path);
        let owner = shard_of(self.key.hash(hash).partition(PARTITIONS), self.shards.len() as u16);
        let origin = Origin { core: CoreId(0), conn: ConnId { slot: 0, generation: 0 }, seq: 0 };
        let (op, mut out) = (ReadOp::Exists { path: path.into(), watch: false }, Vec::new());
        let identity = Arc::new(Identity::exempt());
        let shard = &mut self.shards[usize::from(owner.0)];
        match shard.read(&self.acls, self.published, origin, 0, &identity, &op, &mut out) {
            ReadOutcome::Record => {}
            ReadOutcome::Failed(ErrorCode::NoNode) => return Ok(None),
            other => return Err(format!("{path} cannot be read: {other:?}")),
        }
        let mut stat = engine::jute::Reader::new(&out);
        stat.long().and_then(|_| stat.long()).map(Some).map_err(|problem| problem.to_string())
    }

    /// Everything that can be read here now.
    pub(super) fn state(&mut self) -> Result<State, String> {
        let mut nodes = BTreeMap::new();
        for shard in &mut self.shards {
            let Some(pin) = shard.pin(self.published) else { return Err("the present cannot be pinned".to_owned()) };
            for id in 0..PARTITIONS as u16 {
                let (partition, mut from) = (PartitionId(id), None);
                loop {
                    let mut entries = Vec::new();
                    from = shard.scan(&pin, partition, from, 16, &mut |entry| entries.push(*entry));
                    for entry in entries {
                        let Some(view) = shard.node(partition, &entry) else { continue };
                        let view = view.map_err(|damage| damage.to_string())?;
                        let Some(list) = self.acls.get(entry.acl) else {
                            return Err(format!("nobody knows the ACL of {}", view.path));
                        };
                        let data = view.data.map(<[u8]>::to_vec);
                        let znode = (data, view.stat(&entry, true), list.clone(), entry.owner.0);
                        nodes.insert(view.path.to_owned(), znode);
                    }
                    if from.is_none() {
                        break;
                    }
                }
            }
            shard.unpin(pin);
        }
        Ok(State { nodes, sessions: self.node.role().sessions().committed() })
    }
}

fn usage(shards: &[Shard], path: &str) -> SubtreeUsage {
    shards.iter().fold(SubtreeUsage::default(), |sum, shard| {
        let (count, bytes) = shard.usage(path);
        SubtreeUsage { count: sum.count + count, bytes: sum.bytes + bytes }
    })
}
