//! The replication role and its log on the core that hosts them: inputs become actions, actions become writes, mail and
//! marks.
//!
//! Nothing leaves here before it is durable: the role answers and routes only what the log has reported as written, and
//! the log reports only what a completed write covered.

use super::clock::Clock;
use super::mail::{ClientMail, Mail, Measured, ShardCut, ShardMail};
use super::marks::Marks;
use super::post::Post;
use super::snapshots::Snapshots;
use super::topology::Topology;
use super::wal_host::WalHost;
use engine::zxid::Zxid;
use hardware::reactor::Reactor;
use replication::ledger::SubtreeUsage;
use replication::role::{Action, Input, Now, Role};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The role, hosted.
pub struct RoleHost {
    role: Role,
    /// Its log.
    pub wal: WalHost,
    /// Snapshots under way.
    pub snapshots: Snapshots,
    topology: Arc<Topology>,
    marks: Arc<Marks>,
    actions: Vec<Action>,
    /// Measurements under way: what the shards have said so far, and how many still owe their part.
    measuring: BTreeMap<Arc<str>, (SubtreeUsage, u16)>,
    checkpoint: Option<Checkpoint>,
    snap_count: u64,
    since_checkpoint: u64,
    drained: bool,
}

/// A checkpoint that is being taken.
struct Checkpoint {
    zxid: Zxid,
    system: Vec<u8>,
    cuts: Vec<ShardCut>,
}

/// A checkpoint whose parts are all written: what the manifest is made of.
pub struct CutAll {
    /// Its zxid.
    pub zxid: Zxid,
    /// The system state.
    pub system: Vec<u8>,
    /// Whether the log is still to be begun anew behind this state.
    pub is_installed: bool,
    /// Every shard's part.
    pub cuts: Vec<ShardCut>,
}

impl RoleHost {
    /// Hosts a role that has replayed its log. `snap_count` transactions lie between two checkpoints.
    pub fn new(role: Role, wal: WalHost, topology: Arc<Topology>, marks: Arc<Marks>, snap_count: u64) -> RoleHost {
        RoleHost {
            role,
            wal,
            snapshots: Snapshots::new(Arc::clone(&topology)),
            topology,
            marks,
            actions: Vec::new(),
            measuring: BTreeMap::new(),
            checkpoint: None,
            snap_count,
            since_checkpoint: 0,
            drained: false,
        }
    }

    /// The role itself, for figures.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Whether a shutdown has nothing left to wait for.
    pub fn is_drained(&self) -> bool {
        self.drained && self.checkpoint.is_none()
    }

    /// When the role wants a tick, on the monotonic clock.
    pub fn next_deadline(&self) -> Option<i64> {
        self.role.next_deadline()
    }

    /// Starts taking requests.
    pub fn serve(&mut self, now: Now, post: &mut Post) {
        let mut actions = std::mem::take(&mut self.actions);
        self.role.serve(now, &mut actions);
        self.carry_out(&mut actions, post);
        self.actions = actions;
    }

    /// Gives the role one input and carries out what it asks for.
    pub fn step(&mut self, now: Now, input: Input, post: &mut Post) {
        let mut actions = std::mem::take(&mut self.actions);
        self.role.step(now, input, &mut actions);
        self.carry_out(&mut actions, post);
        self.actions = actions;
    }

    /// Hands the log what has gathered, and takes a checkpoint when one is due. Call at the end of a turn.
    pub fn end_of_turn(&mut self, clock: &Clock, reactor: &mut Reactor, post: &mut Post) {
        if self.since_checkpoint >= self.snap_count && self.checkpoint.is_none() {
            self.step(clock.now(), Input::CheckpointDue, post);
        }
        self.wal.submit(self.role.committed(), reactor, post);
    }

    /// A shard's part of a measurement.
    pub fn measured(&mut self, now: Now, part: Measured, post: &mut Post) {
        let Some((sum, left)) = self.measuring.get_mut(&part.path) else { return };
        sum.count += part.usage.count;
        sum.bytes += part.usage.bytes;
        *left -= 1;
        if *left == 0 {
            let usage = *sum;
            self.measuring.remove(&part.path);
            self.step(now, Input::Measured { path: part.path, usage }, post);
        }
    }

    /// A shard's part of a checkpoint; the whole, once it is complete.
    pub fn cut(&mut self, cut: ShardCut) -> Option<CutAll> {
        let checkpoint = self.checkpoint.as_mut().filter(|checkpoint| checkpoint.zxid == cut.zxid)?;
        checkpoint.cuts.push(cut);
        if checkpoint.cuts.len() < usize::from(self.topology.shards()) {
            return None;
        }
        let cuts = std::mem::take(&mut checkpoint.cuts);
        let (zxid, system) = (checkpoint.zxid, std::mem::take(&mut checkpoint.system));
        Some(CutAll { zxid, system, is_installed: self.wal.is_resetting(), cuts })
    }

    /// The manifest with this zxid is durable: the log below it is no longer needed.
    pub fn checkpoint_done(&mut self, zxid: Zxid, post: &mut Post) {
        self.checkpoint = None;
        self.wal.retire(zxid, post);
        for shard in 0..self.topology.shards() {
            let shard = engine::ids::ShardId(shard);
            post.send(self.topology.home(shard), Mail::Shard(ShardMail::CheckpointDone));
        }
    }

    fn carry_out(&mut self, actions: &mut Vec<Action>, post: &mut Post) {
        for action in actions.drain(..) {
            match action {
                Action::Append { zxid, bytes } => {
                    self.since_checkpoint += 1;
                    self.wal.append(zxid, &bytes);
                }
                Action::DefineAcl { id, list } => {
                    for core in 0..self.topology.cores() {
                        post.send(engine::ids::CoreId(core), Mail::DefineAcl(id, Arc::clone(&list)));
                    }
                }
                Action::Route { shard, txn } => {
                    let zxid = txn.zxid;
                    post.send(self.topology.home(shard), Mail::Shard(ShardMail::Apply(txn)));
                    self.marks.route(shard, zxid);
                }
                Action::Publish { commit } => self.marks.publish(commit),
                Action::Answer(answer) => {
                    post.send(answer.origin.core, Mail::Client(ClientMail::Answer(answer)));
                }
                Action::SyncDone { origin, at } => {
                    post.send(origin.core, Mail::Client(ClientMail::SyncDone { origin, at }));
                }
                Action::Connected { core, conn, session, timeout_ms, password, at } => {
                    let connected = ClientMail::Connected { conn, session, timeout_ms, password, at };
                    post.send(core, Mail::Client(connected));
                }
                Action::Refused { core, conn } => post.send(core, Mail::Client(ClientMail::Refused { conn })),
                Action::CloseConnection { core, conn, at, .. } => {
                    post.send(core, Mail::Client(ClientMail::Close { conn, at }));
                }
                Action::Ephemerals { origin, at, paths } => {
                    post.send(origin.core, Mail::Client(ClientMail::Ephemerals { origin, at, paths }));
                }
                Action::Measure { path, at: _ } => {
                    let owed = (SubtreeUsage::default(), self.topology.shards());
                    self.measuring.insert(Arc::clone(&path), owed);
                    for shard in 0..self.topology.shards() {
                        let shard = engine::ids::ShardId(shard);
                        let mail = ShardMail::Measure { path: Arc::clone(&path) };
                        post.send(self.topology.home(shard), Mail::Shard(mail));
                    }
                }
                Action::Checkpoint { zxid, system } => {
                    self.since_checkpoint = 0;
                    self.checkpoint = Some(Checkpoint { zxid, system, cuts: Vec::new() });
                    for shard in 0..self.topology.shards() {
                        let shard = engine::ids::ShardId(shard);
                        let mail = ShardMail::Checkpoint { zxid };
                        post.send(self.topology.home(shard), Mail::Shard(mail));
                    }
                }
                Action::Drained { .. } => self.drained = true,
            }
        }
    }
}
