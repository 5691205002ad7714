//! One server: what its disk holds, and, while it runs, the state machines with what a host does around them, in the
//! host's order.

mod damage;
mod disk;
mod front;
mod looking;
mod snapshots;
mod start;

pub use disk::{DiskFault, ENOSPC, Storage};
pub use front::{Ask, Told};
pub use looking::State;
pub use start::Setting;

use super::super::checkpoint::Loaded;
use super::super::shards::PARTITIONS;
use crate::ledger::SubtreeUsage;
use crate::node::{Action, Era, Input, Node};
use crate::peer::ensemble::Ensemble;
use crate::peer::mistake::Mistake;
use crate::role::{self, Now, RoleConfig};
use crate::wal::disk::DIRECTORY;
use crate::wal::{Prepare, Truncation, WalWrite, WalWriter, read};
use bytes::Bytes;
use engine::acl::AclTable;
use engine::partition::{LogAction, PartitionCut};
use engine::path::HashKey;
use engine::shard::{Shard, ShardAction};
use engine::zxid::Zxid;
use front::Fronts;
use snapshots::{Incoming, Outgoing};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// `tickTime` of the ensemble.
pub const TICK_MS: i64 = 100;

/// What a step leads to outside of the server.
#[derive(Debug)]
pub enum Effect {
    /// Something for the network, or a standing.
    Peer(Action),
    /// A checkpoint or a snapshot as of here is the state.
    Restored(Zxid),
    /// This has taken effect.
    Applied(Zxid, Bytes),
    /// Everything up to here has been routed to the shards.
    Published(Zxid),
    /// The log holds this durably.
    Holds(Zxid, Bytes),
    /// The log holds nothing behind this any more.
    Drops(Zxid),
    /// These members are in force.
    InForce(Arc<Ensemble>),
}

/// A running server.
pub struct Server {
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
    /// What the member knows of where the log on disk begins.
    told_base: Option<Zxid>,
    taking: Option<Taking>,
    since_checkpoint: u32,
    outgoing: Vec<Outgoing>,
    incoming: Option<Incoming>,
    pub published: Zxid,
    /// What clients are shown: [`Self::published`], or a little less.
    pub view: Zxid,
    lags: bool,
    fronts: Fronts,
    /// What its connections have heard of last.
    pub serves: bool,
    /// A snapshot has become the state, and they may not know.
    pub has_new_state: bool,
    pub era: Era,
    mistake: Option<Mistake>,
    pub effects: VecDeque<Effect>,
    /// The server crashes when so many more actions have been carried out.
    pub fuse: Option<u32>,
    /// What comes of the next thing that is asked of the disk.
    pub fault: Option<DiskFault>,
    /// Why the server has stopped by itself.
    pub stopped: Option<&'static str>,
}

/// What comes when the log has its new end.
enum Cutting {
    /// The member hears of it.
    Truncated,
    /// The manifest that lies ready, this state.
    Installs { state: Box<Loaded>, behind: Vec<(Zxid, Bytes)> },
}

/// A checkpoint under way.
struct Taking {
    zxid: Zxid,
    system: Vec<u8>,
    cuts: Vec<Vec<PartitionCut>>,
}

impl Server {
    /// One input for the member, and everything that it asks for but what needs the network.
    pub fn step(&mut self, now: Now, input: Input<'_>, storage: &mut Storage) -> Result<(), String> {
        let mut actions = Vec::new();
        self.node.step(now, input, &mut actions);
        self.carry_out(now, actions, storage)
    }

    /// Whether the fuse has burnt down, or the server has stopped by itself.
    pub fn is_out(&self) -> bool {
        self.fuse == Some(0) || self.stopped.is_some()
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
                    if epochs.current > epochs.accepted {
                        return Err(format!("the history of an epoch is taken that was not promised: {epochs:?}"));
                    }
                    if self.fault.take().is_some() {
                        self.stopped = Some("its promises cannot be written down");
                        return Ok(());
                    }
                    storage.epochs = Some(epochs);
                    self.node.step(now, Input::EpochsPersisted, &mut more);
                }
                Action::TruncateLog(to) => {
                    storage.cuts += 1;
                    self.log.retain(|zxid, _| *zxid <= to);
                    self.effects.push_back(Effect::Drops(to));
                    match self.wal.truncate(to).map_err(|problem| problem.to_string())? {
                        Truncation::Done => {
                            self.node.step(now, Input::LogTruncated(self.wal.durable()), &mut more);
                        }
                        Truncation::Pending => self.cutting = Some(Cutting::Truncated),
                    }
                }
                Action::Fail(why) => return Err(format!("a server has to stop: {why}")),
                Action::KeepLastSeen(_) | Action::Activate(_) if self.fault.take().is_some() => {
                    storage.failures += 1;
                    self.stopped = Some("the members cannot be written down");
                    return Ok(());
                }
                Action::Repaired => {
                    storage.is_repairing = false;
                    storage.repairs += 1;
                }
                Action::KeepLastSeen(ensemble) => storage.last_seen = ensemble,
                Action::Activate(ensemble) => {
                    self.effects.push_back(Effect::InForce(Arc::clone(&ensemble)));
                    if ensemble.version() >= storage.last_seen.version() {
                        storage.last_seen = Arc::clone(&ensemble);
                    }
                    storage.members = ensemble;
                }
                Action::SnapshotWanted(learner) => {
                    storage.streams += 1;
                    let zxid = self.begin_outgoing(learner)?;
                    self.node.step(now, Input::SnapshotAt(learner, zxid), &mut more);
                }
                Action::ReadLog { learner, after, upto, bytes_max } => {
                    let (places, done) = self.wal.layout().plan_read(after, upto, bytes_max);
                    let mut entries = Vec::new();
                    let mut keep = |zxid, bytes: &[u8]| entries.push((zxid, Bytes::copy_from_slice(bytes)));
                    read::read_places(&mut storage.wal.sources(), &places, DIRECTORY, after, upto, &mut keep)
                        .map_err(|damage| damage.to_string())?;
                    storage.log_reads += u64::from(!entries.is_empty());
                    self.node.step(now, Input::LogRead { learner, entries, done }, &mut more);
                }
                Action::SnapshotBegin(zxid) => self.begin_incoming(zxid, storage),
                Action::SnapshotBytes(bytes) => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.waiting.push_back(bytes);
                    }
                }
                Action::SnapshotEnd { entries, .. } => {
                    if let Some(incoming) = &mut self.incoming {
                        incoming.behind = Some(entries);
                    }
                }
                Action::SnapshotDrop => self.incoming = None,
                Action::CloseLearner(learner) => {
                    self.end_outgoing(Some(learner));
                    self.effects.push_back(Effect::Peer(Action::CloseLearner(learner)));
                }
                Action::Listen(false) => {
                    self.end_outgoing(None);
                    self.effects.push_back(Effect::Peer(Action::Listen(false)));
                }
                Action::CloseLeader => {
                    self.incoming = self.incoming.take().filter(|incoming| incoming.behind.is_some());
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
                if !self.lags {
                    self.step_view();
                }
                self.effects.push_back(Effect::Published(commit));
            }
            role::Action::Measure { path, .. } => self.measures.push_back(path),
            role::Action::Fail(fault) => return Err(format!("a role has to stop: {fault}")),
            other => self.tell_front(other),
        }
        Ok(())
    }

    /// Clients are shown everything that has been routed.
    pub fn step_view(&mut self) {
        self.view = self.published;
        for shard in &mut self.shards {
            shard.set_oldest_view(self.view);
        }
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
                    ShardAction::Stat(captured) => self.fronts.captured(&captured),
                    ShardAction::Events(batch) => self.fronts.events(&self.acls, &batch)?,
                    ShardAction::Damaged(damage) => return Err(damage.to_string()),
                    ShardAction::Answer(_) | ShardAction::Fetch { .. } => {
                        return Err("everything is in memory".to_owned());
                    }
                }
            }
        }
        Ok(())
    }
}

fn usage(shards: &[Shard], path: &str) -> SubtreeUsage {
    shards.iter().fold(SubtreeUsage::default(), |sum, shard| {
        let (count, bytes) = shard.usage(path);
        SubtreeUsage { count: sum.count + count, bytes: sum.bytes + bytes }
    })
}
