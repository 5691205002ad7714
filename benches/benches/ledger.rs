//! A write at the replication role: validated, proposed, durable, committed, resolved into pieces and answered.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::ids::{ConnId, CoreId, Origin, SessionId};
use replication::ledger::{LedgerConfig, Schemes};
use replication::request::{AclSpec, CreateKind, CreateOp, DeleteOp, SetDataOp, WriteOp, WriteRequest};
use replication::role::{Action, ClientPolicy, ConnectRequest, Input, Now, ReaperConfig, Role, RoleConfig};
use replication::wal::Durable;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{NODES, data, key, next};

const NOW: Now = Now { mono_ms: 10_000, wall_ms: 1_700_000_000_000 };

/// A serving role, whose log is durable at once.
struct Server {
    role: Role,
    session: SessionId,
    identity: Arc<Identity>,
    actions: Vec<Action>,
    seq: u64,
}

impl Server {
    fn new() -> Server {
        let ledger = LedgerConfig {
            hash_key: key(),
            partitions: 64,
            schemes: Schemes::default(),
            extended_types: false,
            enforce_quota: false,
            reconfig_enabled: false,
        };
        let config = RoleConfig {
            server: 1,
            tick_ms: 2_000,
            shards: 4,
            outstanding_max: 1_000,
            outstanding_bytes_max: 4 << 20,
            commit_step: usize::MAX,
            skip_acl: false,
            clients: ClientPolicy::default(),
            reaper: ReaperConfig::default(),
            ledger,
        };
        let mut actions = Vec::new();
        let mut role = Role::fresh(config, &mut actions);
        role.serve(NOW, &mut actions);
        let identity = Arc::new(Identity::anonymous());
        let mut server = Server { role, session: SessionId::NONE, identity, actions, seq: 0 };
        server.step(Input::Connect(ConnectRequest {
            core: CoreId(0),
            conn: ConnId::default(),
            session: SessionId::NONE,
            timeout_ms: 30_000,
            password: None,
        }));
        let connected = |action: &Action| match action {
            Action::Connected { session, .. } => Some(*session),
            _ => None,
        };
        server.session = server.actions.iter().find_map(connected).unwrap();
        server
    }

    /// The input, and that what it proposed is durable.
    fn step(&mut self, input: Input) {
        self.actions.clear();
        self.role.step(NOW, input, &mut self.actions);
        let durable = Input::Durable(Durable::assume(self.role.proposed()));
        self.role.step(NOW, durable, &mut self.actions);
    }

    fn write(&mut self, op: WriteOp) {
        self.seq += 1;
        let origin = Origin { seq: self.seq, ..Origin::default() };
        let (session, identity) = (self.session, Arc::clone(&self.identity));
        self.step(Input::Write(WriteRequest { origin: Some(origin), session, cxid: 1, identity, op }));
    }

    /// What became of the last write.
    fn error(&self) -> Option<ErrorCode> {
        let answer = |action: &Action| match action {
            Action::Answer(answer) => Some(answer.result.as_ref().err().copied()),
            _ => None,
        };
        self.actions.iter().find_map(answer).unwrap()
    }
}

fn path(number: usize) -> Box<str> {
    format!("/bench/{number:08}").into()
}

fn create(path: Box<str>, data: &Bytes) -> WriteOp {
    let (kind, data) = (CreateKind::Create, Some(data.clone()));
    WriteOp::Create(CreateOp { kind, path, data, acl: AclSpec::Open, flags: 0 })
}

fn delete(path: Box<str>, version: i32) -> WriteOp {
    WriteOp::Delete(DeleteOp { path, version })
}

/// Times ops of which `op` makes `times` with the numbers from `NODES` on, and undoes them untimed, a few at a time, so
/// that the tree stays as large as it is.
fn timed(server: &mut Server, times: u64, op: &dyn Fn(usize) -> WriteOp, undo: &dyn Fn(usize) -> WriteOp) -> Duration {
    const FEW: u64 = 512;
    let (mut left, mut total) = (times, Duration::ZERO);
    while left > 0 {
        let few = NODES..NODES + left.min(FEW) as usize;
        let ops: Vec<WriteOp> = few.clone().map(op).collect();
        let start = Instant::now();
        for op in ops {
            server.write(op);
        }
        total += start.elapsed();
        assert_eq!(server.error(), None);
        for number in few {
            server.write(undo(number));
        }
        left -= left.min(FEW);
    }
    total
}

fn role(c: &mut Criterion) {
    let data = data(100);
    let mut server = Server::new();
    server.write(create("/bench".into(), &data));
    for number in 0..NODES {
        server.write(create(path(number), &data));
    }
    assert!(server.role.ledger().node_count() > NODES);
    let mut group = c.benchmark_group(format!("role with {NODES} nodes"));

    group.bench_function("create", |b| {
        b.iter_custom(|times| timed(&mut server, times, &|at| create(path(at), &data), &|at| delete(path(at), -1)));
    });
    let mut at = 0;
    let mut place = || {
        at = next(at);
        path(at)
    };
    group.bench_function("setData", |b| {
        let op = || WriteOp::SetData(SetDataOp { path: place(), data: Some(data.clone()), version: -1 });
        b.iter_batched(op, |op| server.write(op), BatchSize::SmallInput);
        assert_eq!(server.error(), None);
    });
    group.bench_function("delete that fails", |b| {
        b.iter_batched(|| delete(place(), i32::MAX), |op| server.write(op), BatchSize::SmallInput);
        assert_eq!(server.error(), Some(ErrorCode::BadVersion));
    });
    group.finish();
}

criterion_group!(benches, role);
criterion_main!(benches);
