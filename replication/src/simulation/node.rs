//! The server: what a host does around the state machines, with a seeded scheduler in place of rings and threads.

use super::checkpoint;
use super::disk::Files;
use super::shards::{PARTITIONS, host_shards};
use crate::ledger::{SubtreeUsage, test_config};
use crate::request::{WriteAnswer, WriteOp, WriteRequest, WriteResult};
use crate::role::tests::model::{Ask, Model};
use crate::role::{Action, ClientPolicy, ConnectRequest, Input, Now, ReaperConfig, Role, RoleConfig};
use crate::session::Owner;
use crate::wal::disk::{Chance, DIRECTORY, Disk};
use crate::wal::{BLOCK_BYTES, Checkpoint as LogFloor, Prepare, Verdict, WalConfig, WalWrite, WalWriter, recover};
use engine::acl::{AclTable, Identity};
use engine::error_code::ErrorCode;
use engine::ids::{ConnId, CoreId, Origin, PartitionId, SessionId};
use engine::partition::{CompactionStep, LogAction, Manifest, Partition, PartitionCut};
use engine::path::{HashKey, shard_of};
use engine::read::ReadOp;
use engine::shard::{ReadOutcome, Shard, ShardAction};
use engine::stat::{Stat, wire_cversion};
use engine::txn;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const COMPACT_BYTES: u64 = 64 * 1024;

/// What a run has met.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Met {
    pub(super) crashes: u32,
    pub(super) torn: u32,
    pub(super) manifests: u32,
    pub(super) compactions: u32,
    pub(super) replayed: u32,
    pub(super) lost_pages: u32,
}

impl Met {
    pub(super) fn add(&mut self, other: &Met) {
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.manifests += other.manifests;
        self.compactions += other.compactions;
        self.replayed += other.replayed;
        self.lost_pages += other.lost_pages;
    }
}

type Expected = (Origin, Zxid, Result<WriteResult, ErrorCode>);

/// A checkpoint under way.
struct Taking {
    zxid: Zxid,
    system: Vec<u8>,
    cuts: Vec<Vec<PartitionCut>>,
}

/// See the module's text.
pub(super) struct SimNode {
    chance: Chance,
    config: RoleConfig,
    key: Arc<HashKey>,
    role: Role,
    now: Now,
    // The disk.
    wal_disk: Disk,
    files: Files,
    manifest: Option<Vec<u8>>,
    // The host.
    wal: WalWriter,
    prepares: VecDeque<Prepare>,
    in_flight: Option<WalWrite>,
    shards: Vec<Shard>,
    log_work: Vec<VecDeque<LogAction>>,
    acls: AclTable,
    measures: VecDeque<Arc<str>>,
    taking: Option<Taking>,
    published: Zxid,
    // The clients.
    model: Model,
    past: BTreeMap<Zxid, Model>,
    sessions: Vec<SessionId>,
    expected: Vec<Expected>,
    answers: Vec<WriteAnswer>,
    connected: Option<SessionId>,
    seq: u64,
    pub(super) met: Met,
}

fn role_config(shards: u16) -> RoleConfig {
    RoleConfig {
        server: 1,
        tick_ms: 2000,
        shards,
        outstanding_max: 1 << 16,
        outstanding_bytes_max: 1 << 30,
        commit_step: usize::MAX,
        skip_acl: false,
        clients: ClientPolicy::default(),
        reaper: ReaperConfig::default(),
        ledger: crate::ledger::LedgerConfig { enforce_quota: false, partitions: PARTITIONS, ..test_config() },
    }
}

fn wal_config() -> WalConfig {
    WalConfig { segment_bytes: 16 * BLOCK_BYTES as u64, keep_records: 0, keep_bytes: 0, ..WalConfig::new(DIRECTORY) }
}

impl SimNode {
    pub(super) fn new(seed: u64, shards: u16) -> SimNode {
        let config = role_config(shards);
        let key = Arc::new(config.ledger.hash_key.clone());
        let mut actions = Vec::new();
        let role = Role::fresh(config.clone(), &mut actions);
        let mut wal_disk = Disk::default();
        let verdict = recover(&mut wal_disk.sources(), DIRECTORY, LogFloor::Local(Zxid::ZERO), &mut |_, _| {});
        let Verdict::Clean(recovered) = verdict else { panic!("an empty log is clean") };
        let mut node = SimNode {
            chance: Chance::new(seed),
            key,
            role,
            now: Now { mono_ms: 10_000, wall_ms: 1_700_000_000_000 },
            wal: WalWriter::resume(wal_config(), recovered),
            wal_disk: std::mem::take(&mut wal_disk),
            files: Files::default(),
            manifest: None,
            prepares: VecDeque::new(),
            in_flight: None,
            shards: Vec::new(),
            log_work: Vec::new(),
            acls: AclTable::default(),
            measures: VecDeque::new(),
            taking: None,
            published: Zxid::ZERO,
            model: Model::new(),
            past: BTreeMap::new(),
            sessions: Vec::new(),
            expected: Vec::new(),
            answers: Vec::new(),
            connected: None,
            seq: 0,
            met: Met::default(),
            config,
        };
        let partitions = (0..PARTITIONS as u16).map(|id| Partition::new(PartitionId(id), 0)).collect();
        node.host_shards(shards, partitions);
        node.execute(actions);
        node.serve();
        for _ in 0..3 {
            node.connect();
        }
        node.note();
        node
    }

    fn host_shards(&mut self, shards: u16, partitions: Vec<Partition>) {
        self.shards = host_shards(&self.key, shards, partitions);
        self.log_work = (0..shards).map(|_| VecDeque::new()).collect();
    }

    fn serve(&mut self) {
        let mut actions = Vec::new();
        self.role.serve(self.now, &mut actions);
        self.execute(actions);
        self.settle();
    }

    // ---- the clients ----

    pub(super) fn connect(&mut self) {
        self.settle();
        let (core, conn) = (CoreId(0), ConnId { slot: self.seq as u32, generation: 0 });
        let session = SessionId::NONE;
        let request = ConnectRequest { core, conn, session, timeout_ms: 1_000_000, password: None };
        self.step(Input::Connect(request));
        self.settle();
        let Some(session) = self.connected.take() else { panic!("nobody answered the handshake") };
        self.sessions.insert(0, session);
        self.sessions.truncate(3);
        self.model.sessions.insert(session);
        self.note();
    }

    pub(super) fn write(&mut self, session: usize, as_user: bool, op: WriteOp) {
        let mut identity = Identity::anonymous();
        if as_user {
            identity.add("digest", "user:hash");
        }
        self.now.wall_ms += 1;
        self.seq += 1;
        let session = self.sessions[session % self.sessions.len()];
        let owner = self.role.sessions().owner(session).and_then(Owner::connection).unwrap_or_default();
        let origin = Origin { core: owner.core, conn: owner.conn, seq: self.seq };
        let request = WriteRequest {
            origin: Some(origin),
            session,
            cxid: self.seq as i32,
            identity: Arc::new(identity.clone()),
            op: op.clone(),
        };
        self.step(Input::Write(request));
        let zxid = self.role.proposed();
        let ask = Ask { zxid: zxid.to_wire(), time_ms: self.now.wall_ms, session, identity: &identity };
        let result = self.model.run(&ask, &op);
        self.expected.push((origin, zxid, result));
        self.note();
    }

    fn note(&mut self) {
        self.past.insert(self.role.proposed(), self.model.clone());
    }

    // ---- the host ----

    fn step(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.role.step(self.now, input, &mut actions);
        self.execute(actions);
    }

    fn execute(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Append { zxid, bytes } => self.wal.append(zxid, &bytes).unwrap(),
                Action::DefineAcl { id, list } => self.acls.define(id, list),
                Action::Route { shard, txn } => {
                    let durable = self.wal.durable().get();
                    assert!(txn.zxid <= durable || txn.zxid == Zxid::ZERO, "only what is durable is applied");
                    self.shards[usize::from(shard.0)].apply(&txn);
                }
                Action::Publish { commit } => self.published = commit,
                Action::Answer(answer) => {
                    assert!(answer.zxid <= self.published, "an answer follows the publication");
                    self.answers.push(answer);
                }
                Action::Connected { session, .. } => self.connected = Some(session),
                Action::Measure { path, .. } => self.measures.push_back(path),
                Action::Checkpoint { zxid, system } => {
                    self.taking = Some(Taking { zxid, system, cuts: vec![Vec::new(); self.shards.len()] });
                    for shard in &mut self.shards {
                        shard.begin_checkpoint(zxid);
                    }
                }
                Action::SyncDone { .. }
                | Action::Refused { .. }
                | Action::CloseConnection { .. }
                | Action::Ephemerals { .. }
                | Action::Drained { .. } => {}
                other => panic!("an ensemble of one has no use for {other:?}"),
            }
        }
        self.take_shard_actions();
    }

    fn take_shard_actions(&mut self) {
        for (at, shard) in self.shards.iter_mut().enumerate() {
            let mut actions = Vec::new();
            shard.take_actions(&mut actions);
            for action in actions {
                match action {
                    ShardAction::Log(action) => self.log_work[at].push_back(action),
                    ShardAction::Cut(cuts) => {
                        if let Some(taking) = &mut self.taking {
                            taking.cuts[at] = cuts;
                        }
                    }
                    ShardAction::Damaged(damage) => panic!("{damage}"),
                    ShardAction::Stat(_)
                    | ShardAction::Events(_)
                    | ShardAction::Answer(_)
                    | ShardAction::Fetch { .. } => {}
                }
            }
        }
    }

    /// Lets so many things happen.
    pub(super) fn run(&mut self, count: u32) {
        for _ in 0..count {
            match self.chance.below(10) {
                0 => self.prepare(),
                1 | 2 => self.issue(),
                3 | 4 => self.complete(),
                5 | 6 => {
                    let shard = self.chance.below(self.shards.len() as u64) as usize;
                    self.log_step(shard);
                }
                7 => self.measure(),
                8 => self.finish_checkpoint(),
                _ => self.compact(),
            }
        }
    }

    pub(super) fn checkpoint(&mut self) {
        if self.taking.is_none() {
            self.step(Input::CheckpointDue);
        }
    }

    /// Until nothing is left to happen.
    pub(super) fn settle(&mut self) {
        loop {
            self.prepare();
            self.issue();
            self.complete();
            for shard in 0..self.shards.len() {
                while self.log_step(shard) {}
            }
            self.measure();
            self.finish_checkpoint();
            let idle = self.role.outstanding_requests() == 0
                && self.measures.is_empty()
                && self.taking.is_none()
                && self.wal.backlog_bytes() == 0
                && self.in_flight.is_none();
            if idle {
                return;
            }
        }
    }

    fn prepare(&mut self) {
        self.prepares.extend(self.wal.poll_prepare());
        if let Some(prepare) = self.prepares.pop_front() {
            self.wal.prepared(self.wal_disk.prepare(prepare)).unwrap();
        }
    }

    fn issue(&mut self) {
        if let Some(write) = self.wal.poll_write(self.role.committed()) {
            assert!(self.in_flight.replace(write).is_none(), "one write is in flight");
        }
    }

    fn complete(&mut self) {
        let Some(write) = self.in_flight.take() else { return };
        self.wal_disk.write(&write, |_| true);
        let len = write.buf.len();
        let durable = self.wal.written(write.token, Ok(len)).unwrap();
        self.wal.recycle(write.buf);
        self.step(Input::Durable(durable));
    }

    fn log_step(&mut self, shard: usize) -> bool {
        let Some(action) = self.log_work[shard].pop_front() else { return false };
        match action {
            LogAction::NeedSegment { partition, generation, segment, bytes } => {
                let file = self.files.create((partition, generation, segment), bytes);
                self.shards[shard].segment_ready(partition, segment, file);
            }
            LogAction::Write { partition, generation, segment, offset, bytes } => {
                self.files.get((partition, generation, segment)).write(offset, &bytes);
                self.shards[shard].written(partition, segment, offset + bytes.len() as u64);
            }
            LogAction::RemoveSegment { partition, generation, segment } => {
                self.files.remove((partition, generation, segment));
            }
        }
        self.take_shard_actions();
        true
    }

    fn measure(&mut self) {
        let Some(path) = self.measures.pop_front() else { return };
        let mut usage = SubtreeUsage::default();
        for shard in &self.shards {
            let (count, bytes) = shard.usage(&path);
            usage.count += count;
            usage.bytes += bytes;
        }
        self.step(Input::Measured { path, usage });
    }

    fn finish_checkpoint(&mut self) {
        if self.taking.as_ref().is_none_or(|taking| taking.cuts.iter().any(Vec::is_empty)) {
            return;
        }
        let Some(Taking { zxid, system, cuts }) = self.taking.take() else { return };
        self.files.flush_all();
        let manifest = Manifest {
            server: 1,
            hash_key: Manifest::fingerprint(&self.key),
            is_installed: false,
            zxid,
            partitions: cuts.iter().flatten().cloned().collect(),
            system,
        };
        self.manifest = Some(manifest.encode());
        self.met.manifests += 1;
        for (shard, cuts) in self.shards.iter_mut().zip(&cuts) {
            shard.manifest_durable(cuts);
        }
        for retired in self.wal.retire(zxid) {
            self.wal_disk.retire(retired);
        }
        self.take_shard_actions();
    }

    fn compact(&mut self) {
        let oldest = self.published;
        for shard in &mut self.shards {
            // Nobody reads here, so nobody holds an older view.
            shard.set_oldest_view(oldest);
            if let Some((_, step)) = shard.compact(COMPACT_BYTES) {
                self.met.compactions += u32::from(step == CompactionStep::Done);
            }
        }
        self.take_shard_actions();
    }

    // ---- the crash ----

    /// The server stops where it is, and comes back with so many shards.
    pub(super) fn crash(&mut self, shards: u16) {
        self.met.crashes += 1;
        let promised = self.wal.durable().get();
        if let Some(write) = self.in_flight.take() {
            let percent = self.chance.below(101);
            let chance = &mut self.chance;
            self.wal_disk.write(&write, |_| chance.percent(percent));
        }
        self.files.crash(&mut self.chance, &mut self.met.lost_pages);
        self.prepares.clear();
        self.measures.clear();
        self.taking = None;
        self.connected = None;
        self.acls = AclTable::default();
        self.config = role_config(shards);

        let mut actions = Vec::new();
        let mut partitions = Vec::new();
        match self.manifest.clone() {
            None => {
                self.files.keep_only(&|_| false);
                self.role = Role::fresh(self.config.clone(), &mut actions);
                partitions.extend((0..PARTITIONS as u16).map(|id| Partition::new(PartitionId(id), 0)));
            }
            Some(bytes) => {
                let manifest = Manifest::decode(&bytes).unwrap();
                self.files.keep_only(&|name| checkpoint::names(&manifest, name));
                let loaded = checkpoint::load(&manifest, &self.files, &self.config).unwrap();
                partitions = loaded.partitions;
                let (ledger, system) = (loaded.ledger, loaded.system);
                self.role = Role::recovered(self.config.clone(), ledger, system, &mut actions);
            }
        }
        self.published = self.role.committed();
        self.host_shards(shards, partitions);
        self.replay(actions, promised);
        self.expect_after_crash(promised);
        self.serve();
        self.compare();
    }

    fn replay(&mut self, mut actions: Vec<Action>, promised: Zxid) {
        let floor = self.role.committed();
        let mut found = Vec::new();
        let verdict = recover(&mut self.wal_disk.sources(), DIRECTORY, LogFloor::Local(floor), &mut |zxid, bytes| {
            if zxid > floor {
                found.push(bytes.to_vec());
            }
        });
        let recovered = match verdict {
            Verdict::Clean(recovered) => recovered,
            Verdict::TornTail(recovered, _) => {
                self.met.torn += 1;
                recovered
            }
            Verdict::Damage(damage) => panic!("{damage}"),
        };
        assert!(recovered.last() >= promised, "what was durable at {promised} is there: {}", recovered.last());
        self.wal = WalWriter::resume(wal_config(), recovered);
        self.met.replayed += found.len() as u32;
        for bytes in found {
            let (header, txn) = txn::decode(&bytes).unwrap();
            self.role.replay(header, txn, &mut actions);
        }
        while !actions.is_empty() {
            self.execute(std::mem::take(&mut actions));
            while let Some(path) = self.measures.pop_front() {
                let usage = self.shards.iter().fold(SubtreeUsage::default(), |sum, shard| {
                    let (count, bytes) = shard.usage(&path);
                    SubtreeUsage { count: sum.count + count, bytes: sum.bytes + bytes }
                });
                self.role.step(Now::default(), Input::Measured { path, usage }, &mut actions);
            }
        }
    }

    /// The model goes back to where the log ended.
    fn expect_after_crash(&mut self, promised: Zxid) {
        let last = self.role.proposed();
        self.model = self.past[&last].clone();
        self.past.retain(|zxid, _| *zxid <= last);
        let answered: BTreeSet<u64> = self.answers.iter().map(|answer| answer.origin.seq).collect();
        self.expected.retain(|(origin, zxid, _)| {
            let was_answered = answered.contains(&origin.seq);
            assert!(*zxid <= promised || !was_answered, "answered before it was durable");
            was_answered
        });
        let alive = &self.model.sessions;
        self.sessions.retain(|session| alive.contains(session));
        if self.sessions.is_empty() {
            // Requests go on under a session that nobody knows.
            self.sessions.push(SessionId(77));
        }
    }

    // ---- the comparison ----

    pub(super) fn compare(&mut self) {
        assert_eq!(self.answers.len(), self.expected.len());
        for (answer, (origin, zxid, result)) in self.answers.iter().zip(&self.expected) {
            assert_eq!((answer.origin, answer.zxid, &answer.result), (*origin, *zxid, result));
        }
        let mut found: BTreeMap<String, (Option<Vec<u8>>, Stat)> = BTreeMap::new();
        for at in 0..self.shards.len() {
            let pin = self.shards[at].pin(self.published).expect("the present can be pinned");
            let shard = &self.shards[at];
            for id in 0..PARTITIONS as u16 {
                let (partition, mut from) = (PartitionId(id), None);
                loop {
                    let mut entries = Vec::new();
                    from = shard.scan(&pin, partition, from, 3, &mut |entry| entries.push(*entry));
                    for entry in entries {
                        let Some(view) = shard.node(partition, &entry) else { continue };
                        let view = view.unwrap();
                        let stat = view.stat(&entry, true);
                        let list = self.acls.get(entry.acl).expect("every list is known");
                        let expected = &self.model.nodes[view.path];
                        assert_eq!(list, &expected.acl, "{}", view.path);
                        assert_eq!(entry.owner.0, expected.owner, "{}", view.path);
                        let before = found.insert(view.path.to_owned(), (view.data.map(<[u8]>::to_vec), stat));
                        assert!(before.is_none(), "{} is there once", view.path);
                    }
                    if from.is_none() {
                        break;
                    }
                }
            }
            self.shards[at].unpin(pin);
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), self.model.nodes.keys().collect::<Vec<_>>());
        for (path, (data, stat)) in &found {
            let expected = &self.model.nodes[path];
            assert_eq!(data.as_deref(), expected.data.as_deref(), "{path}");
            let children = self.model.children(path) as i32;
            let plain = Stat {
                cversion: wire_cversion(expected.stat.cversion, children),
                ephemeral_owner: stat.ephemeral_owner,
                data_length: expected.data.as_ref().map_or(0, |data| data.len() as i32),
                num_children: children,
                ..expected.stat
            };
            assert_eq!(*stat, plain, "{path}");
            assert_eq!(self.listing(path), self.model_listing(path), "{path}");
        }
        assert_eq!(self.role.ledger().node_count(), found.len());
        let sessions: Vec<_> = self.role.sessions().committed().into_iter().map(|(id, _)| id).collect();
        assert_eq!(sessions, self.model.sessions.iter().copied().collect::<Vec<_>>());
    }

    fn model_listing(&self, path: &str) -> BTreeSet<String> {
        let start = if path == "/" { "/".to_owned() } else { format!("{path}/") };
        let names = self.model.nodes.keys().filter_map(|other| other.strip_prefix(start.as_str()));
        names.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect()
    }

    /// getChildren, by the shard that owns the path.
    fn listing(&mut self, path: &str) -> BTreeSet<String> {
        let canonical = engine::path::canonical(path);
        let owner = shard_of(self.key.hash(canonical).partition(PARTITIONS), self.shards.len() as u16);
        let (view, mut out) = (self.published, Vec::new());
        let op = ReadOp::GetChildren { path: path.into(), watch: false, stat: false };
        let origin = Origin { core: CoreId(0), conn: ConnId { slot: 0, generation: 0 }, seq: 0 };
        let identity = Arc::new(Identity::exempt());
        let shard = &mut self.shards[usize::from(owner.0)];
        let outcome = shard.read(&self.acls, view, origin, 0, &identity, &op, &mut out);
        assert_eq!(outcome, ReadOutcome::Record, "everything is in memory");
        let mut reader = engine::jute::Reader::new(&out);
        let count = reader.int().unwrap();
        (0..count).map(|_| reader.string().unwrap().unwrap().into_owned()).collect()
    }
}
