//! The role in a host that executes its actions in sequence, and checks their order while it does.
#![allow(clippy::unwrap_used)]

mod cluster;
mod lifecycle;
mod local;
pub(crate) mod model;
pub(crate) mod random;
mod read_only;
mod replica;
mod sessions;

use super::*;
use crate::request::{AclSpec, CreateKind, CreateOp, DeleteOp, WriteAnswer, WriteOp, WriteRequest};
use crate::session::{Connection, Owner};
use crate::wal::Durable;
use bytes::Bytes;
use engine::acl::Identity;
use engine::ids::{ConnId, CoreId, SessionId};
use engine::path::HashKey;
use engine::txn;
use replica::Replica;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The role moves to its core's thread, and inputs and actions travel between cores.
const _: () = {
    const fn travels<T: Send + 'static>() {}
    travels::<Role>();
    travels::<Input>();
    travels::<Action>();
};

fn config(shards: u16) -> RoleConfig {
    RoleConfig {
        server: 1,
        tick_ms: 2000,
        shards,
        outstanding_max: 64,
        outstanding_bytes_max: 1 << 20,
        commit_step: usize::MAX,
        skip_acl: false,
        clients: ClientPolicy::default(),
        reaper: ReaperConfig::default(),
        ledger: LedgerConfig { enforce_quota: false, ..crate::ledger::test_config() },
    }
}

fn key() -> HashKey {
    crate::ledger::test_config().hash_key
}

/// A server around a role: a log that loses what is not durable, shards, and everything that was said.
struct Host {
    config: RoleConfig,
    role: Role,
    now: Now,
    replica: Replica,
    log: Vec<(Zxid, Bytes)>,
    /// How many entries of the log are durable.
    durable: usize,
    published: Zxid,
    answers: Vec<WriteAnswer>,
    measures: Vec<Arc<str>>,
    checkpoint: Option<(Zxid, Vec<u8>, Replica)>,
    /// The replica at every commit point since the last checkpoint.
    history: BTreeMap<Zxid, Replica>,
    /// Connected, Refused, CloseConnection, SyncDone, Ephemerals, Drained, Resign, Fail.
    said: Vec<Action>,
    seq: u64,
}

impl Host {
    fn new(config: RoleConfig) -> Host {
        let mut host = Host::fresh(config);
        host.change(|role, now, out| role.serve(now, out));
        host.step(Input::CheckpointDue);
        host
    }

    /// A member of an ensemble, without a leader yet.
    fn member(config: RoleConfig) -> Host {
        let mut host = Host::fresh(config);
        host.change(|role, now, out| role.look(now, out));
        host.step(Input::CheckpointDue);
        host
    }

    fn fresh(config: RoleConfig) -> Host {
        let mut out = Vec::new();
        let role = Role::fresh(config.clone(), &mut out);
        let mut host = Host {
            config,
            role,
            now: Now { mono_ms: 10_000, wall_ms: 1_700_000_000_000 },
            replica: Replica::default(),
            log: Vec::new(),
            durable: 0,
            published: Zxid::ZERO,
            answers: Vec::new(),
            measures: Vec::new(),
            checkpoint: None,
            history: BTreeMap::new(),
            said: Vec::new(),
            seq: 0,
        };
        host.execute(out);
        host
    }

    /// The role changes its mode.
    fn change(&mut self, change: impl FnOnce(&mut Role, Now, &mut Vec<Action>)) -> Vec<Action> {
        let mut out = Vec::new();
        change(&mut self.role, self.now, &mut out);
        self.execute(out.clone());
        out
    }

    /// The log is cut.
    fn truncate(&mut self, to: Zxid) {
        self.role.truncate(to).unwrap();
        self.log.retain(|(zxid, _)| *zxid <= to);
        self.durable = self.durable.min(self.log.len());
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.role.step(self.now, input, &mut out);
        self.execute(out.clone());
        out
    }

    fn execute(&mut self, actions: Vec<Action>) {
        let mut routed = self.published;
        for action in actions {
            match action {
                Action::Append { zxid, bytes } => {
                    assert!(self.log.last().is_none_or(|(last, _)| zxid > *last));
                    self.log.push((zxid, bytes));
                }
                Action::DefineAcl { id, list } => self.replica.acls.define(id, list),
                Action::Route { shard, txn } => {
                    assert!(txn.zxid >= routed, "routes come in order");
                    assert!(txn.zxid == Zxid::ZERO || txn.zxid <= self.last_durable(), "and only what is durable");
                    routed = txn.zxid;
                    for piece in &txn.pieces {
                        assert_eq!(self.role.shard_of(piece.piece.routed_by()), shard);
                    }
                    self.replica.apply(&txn);
                }
                Action::Publish { commit } => {
                    assert!(commit >= routed, "publication follows the routes");
                    self.published = commit;
                    self.history.insert(commit, self.replica.clone());
                }
                Action::Answer(answer) => {
                    let refused = answer.result == Err(engine::error_code::ErrorCode::MarshallingError);
                    assert!(answer.zxid <= self.published || refused, "an answer follows the publication");
                    self.answers.push(answer);
                }
                Action::Measure { path, at } => {
                    assert_eq!(at, self.published);
                    self.measures.push(path);
                }
                Action::Checkpoint { zxid, system } => {
                    assert_eq!(zxid, self.published);
                    self.history = [(zxid, self.replica.clone())].into();
                    self.checkpoint = Some((zxid, system, self.replica.clone()));
                }
                // What goes to peers is in the hands of who called the step.
                Action::Forward { .. }
                | Action::ForwardSync { .. }
                | Action::Revalidate { .. }
                | Action::Revalidated { .. }
                | Action::SyncFor { .. } => {}
                said => self.said.push(said),
            }
        }
    }

    fn last_durable(&self) -> Zxid {
        self.durable.checked_sub(1).map_or(Zxid::ZERO, |last| self.log[last].0)
    }

    /// One more flush of the log, which covers so many entries at the most.
    fn flush(&mut self, entries: usize) -> Vec<Action> {
        self.durable = (self.durable + entries).min(self.log.len());
        if self.durable == 0 {
            return Vec::new();
        }
        self.step(Input::Durable(Durable::assume(self.last_durable())))
    }

    /// Answers what is to be measured.
    fn measure(&mut self) {
        for path in std::mem::take(&mut self.measures) {
            let usage = self.replica.usage(&path);
            self.step(Input::Measured { path, usage });
        }
    }

    /// Everything outstanding commits.
    fn settle(&mut self) {
        while self.durable < self.log.len() || !self.measures.is_empty() || self.role.outstanding_requests() > 0 {
            self.flush(usize::MAX >> 1);
            self.measure();
        }
    }

    fn connect(&mut self, slot: u32, timeout_ms: i32) -> SessionId {
        let (core, conn) = (CoreId(0), ConnId { slot, generation: 0 });
        let session = SessionId::NONE;
        self.step(Input::Connect(ConnectRequest { core, conn, session, timeout_ms, password: None }));
        self.settle();
        match self.said.pop() {
            Some(Action::Connected { session, .. }) => session,
            other => panic!("{other:?}"),
        }
    }

    /// The next request of a session, on the connection that has it.
    fn origin(&mut self, session: SessionId) -> Origin {
        self.seq += 1;
        let owner = self.role.sessions().owner(session).and_then(Owner::connection);
        let Connection { core, conn } = owner.unwrap_or_default();
        Origin { core, conn, seq: self.seq }
    }

    fn write(&mut self, session: SessionId, identity: &Arc<Identity>, op: WriteOp) -> (Origin, Vec<Action>) {
        let origin = self.origin(session);
        let request =
            WriteRequest { origin: Some(origin), session, cxid: origin.seq as i32, identity: identity.clone(), op };
        (origin, self.step(Input::Write(request)))
    }

    fn ask(&mut self, session: SessionId, op: WriteOp) -> Origin {
        self.write(session, &Arc::new(Identity::anonymous()), op).0
    }

    /// The process dies and starts again: what was not durable is gone. With `marks`, partitions are at different
    /// places, and the system state is as new as the newest.
    fn restart(&mut self, marks: Option<&dyn Fn(u32) -> usize>) {
        self.log.truncate(self.durable);
        let (checkpoint_zxid, system, replica) = self.checkpoint.clone().unwrap();
        let partitions = self.config.ledger.partitions;
        let (system, replica, marks) = match marks {
            None => {
                let system = SystemState::decode(&system).unwrap();
                (system, replica, vec![checkpoint_zxid; partitions as usize])
            }
            Some(choose) => {
                let system = SystemState::decode(&self.role.system_state().encode()).unwrap();
                let points: Vec<_> = self.history.keys().copied().collect();
                let mut mixed = Replica { acls: self.replica.acls.clone(), ..Replica::default() };
                let mut marks = Vec::new();
                for partition in 0..partitions {
                    let mark = points[choose(partition) % points.len()];
                    let belongs = |hash: engine::path::PathHash| u32::from(hash.partition(partitions).0) == partition;
                    mixed.take_partition(&self.history[&mark], belongs, &key());
                    marks.push(mark);
                }
                (system, mixed, marks)
            }
        };
        let first = marks.iter().min().copied().unwrap();
        self.recover(&system, replica, marks);
        for (zxid, bytes) in self.log.clone() {
            if zxid > first {
                self.replay(&bytes);
            }
        }
        self.published = self.role.committed();
        self.change(|role, now, out| role.serve(now, out));
        self.settle();
        self.step(Input::CheckpointDue);
    }

    /// A member dies and starts again. Its log knows that so many of the transactions behind the checkpoint were
    /// committed, at the most those that had been applied.
    fn restart_as_member(&mut self, known: usize) {
        // Ids of sessions go by the clock, and no restart takes no time.
        self.now.wall_ms += 1;
        self.log.truncate(self.durable);
        let applied = self.role.committed();
        let (checkpoint_zxid, system, replica) = self.checkpoint.clone().unwrap();
        let system = SystemState::decode(&system).unwrap();
        let marks = vec![checkpoint_zxid; self.config.ledger.partitions as usize];
        self.recover(&system, replica, marks);
        let tail = self.log.clone().into_iter().filter(|(zxid, _)| *zxid > checkpoint_zxid);
        for (at, (zxid, bytes)) in tail.enumerate() {
            if at < known && zxid <= applied {
                self.replay(&bytes);
            } else {
                let (header, txn) = txn::decode(&bytes).unwrap();
                self.role.replay_uncommitted(header, txn, bytes);
            }
        }
        self.published = self.role.committed();
        self.change(|role, now, out| role.look(now, out));
        self.flush(0);
    }

    fn recover(&mut self, system: &SystemState, replica: Replica, marks: Vec<Zxid>) {
        self.published = marks.iter().min().copied().unwrap();
        let mut loader = Role::loader(&self.config, system, marks.into());
        replica.load(&key(), &mut loader);
        self.replica = Replica { acls: Default::default(), ..replica };
        self.measures.clear();
        self.history.clear();
        let mut out = Vec::new();
        self.role = Role::recovered(self.config.clone(), loader.finish().unwrap(), system.clone(), &mut out);
        self.execute(out);
    }

    fn replay(&mut self, bytes: &[u8]) {
        let (header, txn) = txn::decode(bytes).unwrap();
        self.change(|role, _, out| role.replay(header, txn, out));
    }
}

fn create(path: &str, flags: i32) -> WriteOp {
    let kind = CreateKind::Create;
    WriteOp::Create(CreateOp { kind, path: path.into(), data: None, acl: AclSpec::Open, flags })
}

fn delete(path: &str) -> WriteOp {
    WriteOp::Delete(DeleteOp { path: path.into(), version: -1 })
}
