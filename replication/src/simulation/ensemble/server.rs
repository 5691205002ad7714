//! One server: what its disk holds, and, while it runs, the state machines with what a host does around them, in the
//! host's order.

use super::super::checkpoint::{self, Loaded};
use super::super::disk::Files;
use crate::ledger::{SubtreeUsage, test_config};
use crate::node::{Action, Epochs, Input, Node, NodeConfig, NodeStart};
use crate::peer::ensemble::{Ensemble, ServerId, Views};
use crate::peer::mistake::Mistake;
use crate::peer::snapshot::reader::SnapshotReader;
use crate::peer::snapshot::stage::Stage;
use crate::peer::snapshot::stream::SnapshotStream;
use crate::peer::snapshot::walk::{DepthWalk, WalkStep};
use crate::peer::snapshot::writer::HeadWriter;
use crate::role::{self, Now, ReaperConfig, Role, RoleConfig};
use crate::session::LearnerId;
use crate::wal::disk::{Chance, DIRECTORY, Disk};
use crate::wal::{
    BLOCK_BYTES, Checkpoint as LogFloor, Prepare, Truncation, Verdict, WalConfig, WalWrite, WalWriter, read, recover,
};
use bytes::Bytes;
use engine::acl::{AclList, AclTable, Identity};
use engine::error_code::ErrorCode;
use engine::ids::{ConnId, CoreId, Origin, PartitionId, SessionId, ShardId};
use engine::partition::{LogAction, Manifest, Partition, PartitionCut};
use engine::path::{HashKey, shard_of};
use engine::read::ReadOp;
use engine::shard::{PinId, ReadOutcome, Shard, ShardAction, ShardConfig};
use engine::stat::Stat;
use engine::txn;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Transactions between two checkpoints.
const SNAP_COUNT: u32 = 60;
/// As hosts have it: a snapshot's files lie so far beyond those in use.
const GENERATIONS_APART: u32 = 1024;
pub(super) const PARTITIONS: u32 = 8;
/// `tickTime` of the ensemble.
pub(super) const TICK_MS: i64 = 100;

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
    manifest: Option<Manifest>,
    epochs: Option<Epochs>,
    /// Pages that crashes have lost, checkpoints, snapshots that became the state, and cuts of the log.
    pub lost_pages: u32,
    pub checkpoints: u64,
    pub snapshots: u64,
    pub cuts: u64,
}

/// What a step leads to outside of the server.
#[derive(Debug)]
pub(super) enum Effect {
    /// Something for the network, or a standing.
    Peer(Action),
    /// Something for clients.
    Client(role::Action),
    /// A checkpoint or a snapshot as of here is the state.
    Restored(Zxid),
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
    cutting: Option<Cutting>,
    config: RoleConfig,
    key: Arc<HashKey>,
    shards: Vec<Shard>,
    log_work: Vec<VecDeque<LogAction>>,
    acls: AclTable,
    pub measures: VecDeque<Arc<str>>,
    /// The log's records.
    log: BTreeMap<Zxid, Bytes>,
    /// What is up to here is not among them.
    log_base: Zxid,
    taking: Option<Taking>,
    since_checkpoint: u32,
    outgoing: Vec<Outgoing>,
    incoming: Option<Incoming>,
    pub published: Zxid,
    pub effects: VecDeque<Effect>,
    /// The server crashes when so many more actions have been carried out.
    pub fuse: Option<u32>,
}

/// What the member hears when the log has its new end.
#[derive(Clone, Copy)]
enum Cutting {
    Truncated,
    Installed,
}

/// A checkpoint under way.
struct Taking {
    zxid: Zxid,
    system: Vec<u8>,
    cuts: Vec<Vec<PartitionCut>>,
}

/// A snapshot for a learner.
struct Outgoing {
    learner: LearnerId,
    stream: SnapshotStream,
    /// By shard.
    walks: Vec<(DepthWalk, PinId)>,
}

/// The leader's snapshot.
struct Incoming {
    zxid: Zxid,
    stage: Stage,
    reader: Option<SnapshotReader>,
    /// Bytes that nobody has looked at.
    waiting: VecDeque<Bytes>,
    seal_is_due: bool,
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
        standalone_enabled: true,
        election_interval_ms: (50, 800),
        force_snapshot: false,
        history_bytes_max: 64 << 20,
        mistake,
    }
}

fn wal_config() -> WalConfig {
    WalConfig { segment_bytes: 16 * BLOCK_BYTES as u64, keep_records: 0, keep_bytes: 0, ..WalConfig::new(DIRECTORY) }
}

fn host_shards(key: &Arc<HashKey>, shards: u16, partitions: Vec<Partition>) -> Vec<Shard> {
    let mut by_shard: Vec<Vec<Partition>> = (0..shards).map(|_| Vec::new()).collect();
    for partition in partitions {
        by_shard[usize::from(shard_of(partition.id(), shards).0)].push(partition);
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
        self.files.crash(chance, &mut self.lost_pages);
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
            cutting: None,
            config,
            key,
            log_work: shards.iter().map(|_| VecDeque::new()).collect(),
            shards,
            acls,
            measures,
            log,
            log_base: base,
            taking: None,
            since_checkpoint: 0,
            outgoing: Vec::new(),
            incoming: None,
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
                    storage.cuts += 1;
                    self.log.retain(|zxid, _| *zxid <= to);
                    match self.wal.truncate(to).map_err(|problem| problem.to_string())? {
                        Truncation::Done => {
                            self.node.step(now, Input::LogTruncated(self.wal.durable()), &mut more);
                        }
                        Truncation::Pending => self.cutting = Some(Cutting::Truncated),
                    }
                }
                Action::Fail(why) => return Err(format!("a server has to stop: {why}")),
                Action::KeepLastSeen(_) | Action::Activate(_) => {
                    return Err("nobody has changed the configuration".to_owned());
                }
                Action::SnapshotWanted(learner) => {
                    let zxid = self.begin_outgoing(learner)?;
                    self.node.step(now, Input::SnapshotAt(learner, zxid), &mut more);
                }
                Action::SnapshotBegin(zxid) => self.begin_incoming(zxid, storage),
                Action::SnapshotBytes(bytes) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.waiting.push_back(bytes);
                    }
                }
                Action::SnapshotEnd { .. } => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.seal_is_due = true;
                    }
                }
                Action::CloseLearner(learner) => {
                    self.end_outgoing(Some(learner));
                    self.effects.push_back(Effect::Peer(Action::CloseLearner(learner)));
                }
                Action::Listen(false) => {
                    self.end_outgoing(None);
                    self.effects.push_back(Effect::Peer(Action::Listen(false)));
                }
                Action::CloseLeader => {
                    self.incoming = self.incoming.take().filter(|incoming| incoming.seal_is_due);
                    self.effects.push_back(Effect::Peer(Action::CloseLeader));
                }
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
                self.since_checkpoint += 1;
            }
            role::Action::Checkpoint { zxid, system } => {
                self.since_checkpoint = 0;
                self.taking = Some(Taking { zxid, system, cuts: vec![Vec::new(); self.shards.len()] });
                for shard in &mut self.shards {
                    shard.begin_checkpoint(zxid);
                }
                self.take_shard_actions()?;
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
        for (at, (shard, work)) in self.shards.iter_mut().zip(&mut self.log_work).enumerate() {
            let mut actions = Vec::new();
            shard.take_actions(&mut actions);
            for action in actions {
                match action {
                    ShardAction::Log(action) => work.push_back(action),
                    ShardAction::Cut(cuts) => {
                        if let Some(taking) = &mut self.taking {
                            taking.cuts[at] = cuts;
                        }
                    }
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
        let Some(cutting) = self.cutting else { return self.step(now, Input::Durable(durable), storage) };
        if self.wal.is_cutting() {
            return Ok(());
        }
        self.cutting = None;
        match cutting {
            Cutting::Truncated => self.step(now, Input::LogTruncated(durable), storage),
            Cutting::Installed => {
                self.node.begin_log_at(durable);
                self.step(now, Input::SnapshotInstalled, storage)
            }
        }
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

    // ---- checkpoints ----

    /// Whether one ought to be begun. Says so once.
    pub(super) fn wants_checkpoint(&mut self) -> bool {
        let wants = self.since_checkpoint >= SNAP_COUNT && self.taking.is_none() && self.incoming.is_none();
        if wants {
            self.since_checkpoint = 0;
        }
        wants
    }

    /// Whether the parts of one are all written.
    pub(super) fn has_checkpoint(&self) -> bool {
        self.taking.as_ref().is_some_and(|taking| !taking.cuts.iter().any(Vec::is_empty))
    }

    pub(super) fn finish_checkpoint(&mut self, storage: &mut Storage) -> Result<(), String> {
        if !self.has_checkpoint() {
            return Ok(());
        }
        let Some(Taking { zxid, system, cuts }) = self.taking.take() else { return Ok(()) };
        storage.files.flush_all();
        storage.checkpoints += 1;
        storage.manifest = Some(Manifest {
            server: 1,
            hash_key: Manifest::fingerprint(&self.key),
            is_installed: self.wal.is_resetting(),
            zxid,
            partitions: cuts.iter().flatten().cloned().collect(),
            system,
        });
        for (shard, cuts) in self.shards.iter_mut().zip(&cuts) {
            shard.manifest_durable(cuts);
        }
        for retired in self.wal.retire(zxid) {
            storage.wal.retire(retired);
        }
        self.take_shard_actions()
    }

    // ---- snapshots ----

    fn begin_outgoing(&mut self, learner: LearnerId) -> Result<Zxid, String> {
        let system = self.node.role().system_state();
        let zxid = system.zxid;
        let stream = SnapshotStream::new(HeadWriter::new(system.sessions, system.acls), self.shards.len() as u16, true);
        let mut walks = Vec::new();
        for shard in &mut self.shards {
            let Some(pin) = shard.pin(zxid) else { return Err(format!("{zxid} cannot be pinned")) };
            walks.push((DepthWalk::new(), pin));
        }
        self.outgoing.push(Outgoing { learner, stream, walks });
        Ok(zxid)
    }

    fn end_outgoing(&mut self, whose: Option<LearnerId>) {
        for outgoing in self.outgoing.extract_if(.., |outgoing| whose.is_none_or(|whose| whose == outgoing.learner)) {
            for (shard, (_, pin)) in self.shards.iter_mut().zip(outgoing.walks) {
                shard.unpin(pin);
            }
        }
    }

    fn begin_incoming(&mut self, zxid: Zxid, storage: &Storage) {
        let generation = storage.files.newest_generation() + GENERATIONS_APART;
        self.incoming = Some(Incoming {
            zxid,
            stage: Stage::new(HashKey::clone(&self.key), PARTITIONS, generation, zxid),
            reader: Some(SnapshotReader::new(1 << 20)),
            waiting: VecDeque::new(),
            seal_is_due: false,
        });
    }

    /// Whether [`Self::work_on_snapshots`] has something to do.
    pub(super) fn has_snapshots(&self) -> bool {
        let incoming = self.incoming.as_ref().is_some_and(|incoming| {
            (incoming.reader.is_some() && !incoming.waiting.is_empty())
                || (incoming.seal_is_due && self.taking.is_none())
        });
        incoming || !self.outgoing.is_empty()
    }

    /// Some steps for every snapshot.
    pub(super) fn work_on_snapshots(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let mut inputs = Vec::new();
        for Outgoing { learner, stream, walks } in &mut self.outgoing {
            let mut asks = Vec::new();
            stream.poll(&mut asks);
            for ask in asks {
                walks[usize::from(ask.shard.0)].0.ask(ask.depth);
            }
            for (at, (walk, pin)) in walks.iter_mut().enumerate().filter(|(_, (walk, _))| walk.is_asked()) {
                match walk.step(&self.shards[at], pin).map_err(|damage| damage.to_string())? {
                    WalkStep::Working => {}
                    WalkStep::Chunk(chunk) => stream.chunk(ShardId(at as u16), chunk),
                    WalkStep::Fetch(..) => return Err("everything is in memory".to_owned()),
                }
            }
            if self.node.has_room_for(*learner) {
                match stream.next_chunk() {
                    Some(bytes) => inputs.push(Input::SnapshotBytes(*learner, bytes.into())),
                    None if stream.is_done() => inputs.push(Input::SnapshotEnd(*learner)),
                    None => {}
                }
            }
        }
        for input in inputs {
            if let Input::SnapshotEnd(learner) = input {
                self.end_outgoing(Some(learner));
            }
            self.step(now, input, storage)?;
        }
        self.read_incoming(now, storage)?;
        let is_due = self.incoming.as_ref().is_some_and(|incoming| incoming.seal_is_due) && self.taking.is_none();
        if is_due { self.install(storage) } else { Ok(()) }
    }

    /// Takes the next bytes of the leader's snapshot apart.
    fn read_incoming(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        let (Some(mut reader), Some(bytes)) = (incoming.reader.take(), incoming.waiting.pop_front()) else {
            return Ok(());
        };
        reader.feed(&bytes);
        while let Some(event) = reader.next_event().map_err(|problem| problem.to_string())? {
            incoming.stage.take(event).map_err(|problem| problem.to_string())?;
        }
        if !reader.is_done() {
            incoming.reader = Some(reader);
            return Ok(());
        }
        let mut rest = reader.into_rest();
        for bytes in incoming.waiting.drain(..) {
            rest.extend_from_slice(&bytes);
        }
        self.step(now, Input::SnapshotParsed(rest.into()), storage)
    }

    /// The snapshot becomes the state.
    fn install(&mut self, storage: &mut Storage) -> Result<(), String> {
        let Some(Incoming { zxid, mut stage, .. }) = self.incoming.take() else { return Ok(()) };
        write_stage(&mut stage, storage);
        stage.seal();
        write_stage(&mut stage, storage);
        let Some(cuts) = stage.cuts() else { return Err("the snapshot's partitions are not written out".to_owned()) };
        storage.files.flush_all();
        let manifest = Manifest {
            server: 1,
            hash_key: Manifest::fingerprint(&self.key),
            is_installed: true,
            zxid,
            partitions: cuts.to_vec(),
            system: stage.system().encode(),
        };
        let Loaded { partitions, ledger, system } = checkpoint::load(&manifest, &storage.files, &self.config)?;
        storage.manifest = Some(manifest);
        storage.snapshots += 1;
        self.wal.reset(zxid).map_err(|failure| failure.to_string())?;
        self.cutting = Some(Cutting::Installed);
        self.since_checkpoint = 0;
        self.measures.clear();
        self.log.clear();
        self.log_base = zxid;
        self.shards = host_shards(&self.key, self.shards.len() as u16, partitions);
        self.log_work.iter_mut().for_each(VecDeque::clear);
        self.effects.push_back(Effect::Restored(zxid));
        let mut actions = Vec::new();
        let role = self.node.role_mut();
        role.restart_from_snapshot(ledger, zxid, &system.sessions, &mut actions).map_err(|fault| fault.to_string())?;
        actions.into_iter().try_for_each(|action| self.carry_out_for_role(action))
    }

    // ---- looking ----

    /// The end of what the log does not reach back to.
    pub(super) fn log_base(&self) -> Zxid {
        self.log_base
    }

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
                        // Each server writes it for itself, when it is in step, and with its own time.
                        if view.path == engine::path::CONFIG_NODE {
                            continue;
                        }
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

/// Writes out what a stage holds.
fn write_stage(stage: &mut Stage, storage: &mut Storage) {
    loop {
        let mut actions = Vec::new();
        stage.actions(&mut actions);
        if actions.is_empty() {
            return;
        }
        for action in actions {
            match action {
                LogAction::NeedSegment { partition, generation, segment, bytes } => {
                    let file = storage.files.create((partition, generation, segment), bytes);
                    stage.segment_ready(partition, segment, file);
                }
                LogAction::Write { partition, generation, segment, offset, bytes } => {
                    storage.files.get((partition, generation, segment)).write(offset, &bytes);
                    stage.written(partition, segment, offset + bytes.len() as u64);
                }
                LogAction::RemoveSegment { .. } => {}
            }
        }
    }
}

fn usage(shards: &[Shard], path: &str) -> SubtreeUsage {
    shards.iter().fold(SubtreeUsage::default(), |sum, shard| {
        let (count, bytes) = shard.usage(path);
        SubtreeUsage { count: sum.count + count, bytes: sum.bytes + bytes }
    })
}
