//! What views add to a read, by the number of shards of the server.
//!
//! All reads are getData of 100 bytes, of znodes of one shard that holds the same number of them however many other
//! shards there are. Compare, for a number of shards:
//!
//! * `read/bare shard`: [`Shard::read`] alone, nothing behind the view. With one shard no history is kept at all, so the
//!   difference to that is what views cost the shard.
//! * `read/connection`: the bytes of a request in, those of its reply out, through the [`Connection`] that dispatches the
//!   read and releases the reply, as a core does.
//! * `read/connection, view behind`: likewise while the shard is [`BEHIND`] transactions ahead of the view, which have
//!   changed half of the znodes that are read: every second read finds an undo.
//! * `read/connection, other shard`: the shard is another core's, so that request and reply are sent and the connection
//!   holds the place of the reply. Without the ways between the cores, which are `hop`.
//! * `write/apply and forget`: a setData applied, and the view stepped past it: the other end of the history.
//! * `hop`: a message to the reactor of another thread, and its answer. What it costs depends on the two running on
//!   processors of their own, and on nobody else running there. Beside it, a mailbox without the sleep and the wake-up.

#![allow(clippy::unwrap_used)]

mod support;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use engine::acl::{AclId, AclTable, Identity};
use engine::ids::{ConnId, CoreId, Origin, PartitionId, SessionId, ShardId};
use engine::path::{HashKey, shard_of};
use engine::piece::{HashedPath, Piece, RoutedPiece, ShardTxn};
use engine::read::{ReadBody, ReadOp, ReadReply, ReadRequest};
use engine::shard::{ReadOutcome, Shard, ShardAction, ShardConfig};
use engine::zxid::Zxid;
use hardware::mailbox::{MailReceiver, MailSender, mailbox};
use hardware::reactor::{Reactor, ReactorConfig};
use net::connection::{Connection, ConnectionLimits, Cx, HandshakeKind, ReadCall, ReadDispatch, ReadTarget, Serving};
use net::metrics::CoreMetrics;
use net::proto::OpCode;
use replication::request::WriteRequest;
use replication::role::ConnectRequest;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{Stored, data, discard, key, request, znode};

const PARTITIONS: u32 = 64;
/// The shard that all reads concern.
const SHARD: ShardId = ShardId(0);
/// Znodes of the shard.
const ZNODES: usize = 16_384;
/// Those that are read, in turn.
const READ: usize = 1024;
/// Transactions between the view and what the shard has applied.
const BEHIND: usize = READ / 2;

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("read");
    for shards in [1, 2, 4] {
        let id = |name| BenchmarkId::new(name, shards);

        let Bench { mut core, nodes, .. } = Bench::new(shards);
        let ops: Vec<ReadOp<'_>> =
            nodes[..READ].iter().map(|node| ReadOp::GetData { path: (*node.path).into(), watch: false }).collect();
        let (identity, mut out, mut at) = (Arc::new(Identity::anonymous()), Vec::new(), 0);
        group.bench_function(id("bare shard"), |b| {
            b.iter(|| {
                out.clear();
                at = (at + 1) % READ;
                let Core { shard, acls, view, .. } = &mut core;
                let outcome = shard.read(acls, *view, Origin::default(), 0, &identity, &ops[at], &mut out);
                assert_eq!(outcome, ReadOutcome::Record);
            });
        });

        let mut bench = Bench::new(shards);
        group.bench_function(id("connection"), |b| b.iter(|| bench.read()));
        if shards == 1 {
            // A single shard is never ahead of the view, and never another core's.
            continue;
        }

        let mut bench = Bench::new(shards);
        for at in 0..BEHIND {
            let zxid = Zxid(bench.core.shard.applied().0 + 1);
            bench.core.apply(&set_data(zxid, &bench.nodes[2 * at]));
        }
        assert_eq!(bench.core.shard.applied().0 - bench.core.view.0, BEHIND as u64);
        group.bench_function(id("connection, view behind"), |b| b.iter(|| bench.read()));

        let mut bench = Bench::new(shards);
        bench.core.is_elsewhere = true;
        group.bench_function(id("connection, other shard"), |b| b.iter(|| bench.read_elsewhere()));
    }
    group.finish();
}

fn writes(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    for shards in [1, 2, 4] {
        let Bench { mut core, nodes, .. } = Bench::new(shards);
        let (mut at, mut zxid) = (0, core.shard.applied());
        group.bench_function(BenchmarkId::new("apply and forget", shards), |b| {
            let next = || {
                at = (at + 1) % READ;
                zxid = Zxid(zxid.0 + 1);
                set_data(zxid, &nodes[at])
            };
            let step = |txn: ShardTxn| {
                core.apply(&txn);
                core.view = txn.zxid;
                if shards > 1 {
                    core.shard.set_oldest_view(core.view);
                }
            };
            b.iter_batched(next, step, BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn hops(c: &mut Criterion) {
    let mut group = c.benchmark_group("hop");
    for (name, spin) in [("there and back", ReactorConfig::default().spin), ("there and back, asleep", Duration::ZERO)]
    {
        group.bench_function(name, |b| b.iter_custom(|times| hop(times, spin)));
    }
    let reactor = Reactor::new(ReactorConfig { recv_buffers: 4, ..ReactorConfig::default() }).unwrap();
    let (sender, receiver) = mailbox(1024, reactor.waker());
    for messages in [1, 64] {
        group.throughput(Throughput::Elements(messages));
        group.bench_function(BenchmarkId::new("messages through a mailbox, one thread", messages), |b| {
            b.iter(|| {
                for number in 0..messages {
                    sender.try_send(number).unwrap();
                }
                (0..messages).map(|_| receiver.try_recv().unwrap()).sum::<u64>()
            });
        });
    }
    group.finish();
}

/// One core with its shard, and a connection with a session.
struct Bench {
    core: Core,
    connection: Connection,
    nodes: Vec<HashedPath>,
    frames: Vec<Vec<u8>>,
    /// The next read.
    at: usize,
    /// What the reactor would hand back when it has sent it.
    output: Vec<u8>,
}

impl Bench {
    fn new(shards: u16) -> Bench {
        let key = Arc::new(key());
        let owners: Vec<ShardId> = (0..PARTITIONS as u16).map(|at| shard_of(PartitionId(at), shards)).collect();
        let is_here = |node: &HashedPath| owners[usize::from(node.hash.partition(PARTITIONS).0)] == SHARD;
        let nodes: Vec<HashedPath> = (0..).map(|number| znode(&key, number)).filter(is_here).take(ZNODES).collect();
        let here = (0..PARTITIONS as u16).map(PartitionId).filter(|id| owners[usize::from(id.0)] == SHARD);
        let partitions = here
            .map(|id| Stored::new(id, nodes.iter().filter(|node| node.hash.partition(PARTITIONS) == id)).recover())
            .collect();
        let config =
            ShardConfig { id: SHARD, shards, partitions: PARTITIONS, key: Arc::clone(&key), extended_types: false };
        let shard = Shard::new(config, partitions);
        let view = shard.applied();
        let mut core = Core {
            shard,
            acls: AclTable::default(),
            view,
            shards,
            key,
            owners,
            metrics: CoreMetrics::new(),
            is_elsewhere: false,
            sent: None,
            actions: Vec::new(),
        };
        let connection = established(&mut core);
        let frame = |node: &HashedPath| {
            request(1, OpCode::GetData as i32, |w| {
                w.string(&node.path);
                w.boolean(false);
            })
        };
        let frames = nodes[..READ].iter().map(frame).collect();
        Bench { core, connection, nodes, frames, at: 0, output: Vec::new() }
    }

    /// A request in, its reply out.
    fn read(&mut self) {
        self.at = (self.at + 1) % READ;
        self.connection.receive(&mut self.core, black_box(&self.frames[self.at]));
        self.send();
    }

    /// Likewise with a shard of another core, whose part is done here.
    fn read_elsewhere(&mut self) {
        self.at = (self.at + 1) % READ;
        self.connection.receive(&mut self.core, black_box(&self.frames[self.at]));
        let ReadRequest { origin, part, view, identity, op } = self.core.sent.take().unwrap();
        let mut record = Vec::new();
        let Core { shard, acls, .. } = &mut self.core;
        let outcome = shard.read(acls, view, origin, part, &identity, &op, &mut record);
        assert_eq!(outcome, ReadOutcome::Record);
        let result = Ok(ReadBody::Record(record));
        self.connection.read_reply(&mut self.core, ReadReply { origin, part, result });
        self.send();
    }

    fn send(&mut self) {
        /// Length, `ReplyHeader`, data, Stat.
        const REPLY_BYTES: usize = 4 + 16 + 4 + 100 + 68;
        self.output = self.connection.take_output(std::mem::take(&mut self.output));
        assert_eq!(self.output.len(), REPLY_BYTES);
        self.connection.output_sent(&mut self.core, REPLY_BYTES);
        self.output.clear();
    }
}

fn set_data(zxid: Zxid, node: &HashedPath) -> ShardTxn {
    let piece = Piece::SetData { node: node.clone(), data: Some(data(100)), version: 1 };
    let pieces = vec![RoutedPiece { order: 0, piece, stat_for: None }];
    ShardTxn { zxid, time_ms: 1_700_000_000_000, pieces }
}

fn established(core: &mut Core) -> Connection {
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 4711));
    let mut connection = Connection::new(ConnId::default(), CoreId(0), peer, Arc::new(ConnectionLimits::default()), 0);
    // ConnectRequest: protocol, last zxid, timeout, session, password, read-only.
    let mut hello = 45_u32.to_be_bytes().to_vec();
    let mut w = engine::jute::Writer::new(&mut hello);
    w.int(0);
    w.long(0);
    w.int(30_000);
    w.long(0);
    w.buffer(Some(&[0; 16]));
    w.boolean(false);
    connection.receive(core, &hello);
    connection.connected(core, SessionId(1), 30_000, [0; 16], core.view);
    let sent = connection.take_output(Vec::new()).len();
    connection.output_sent(core, sent);
    assert_eq!(connection.session(), Some(SessionId(1)));
    connection
}

/// A core as its connection sees it.
struct Core {
    shard: Shard,
    acls: AclTable,
    view: Zxid,
    shards: u16,
    key: Arc<HashKey>,
    /// By partition.
    owners: Vec<ShardId>,
    metrics: CoreMetrics,
    /// Whether the shard is another core's, to which requests are sent.
    is_elsewhere: bool,
    sent: Option<ReadRequest>,
    actions: Vec<ShardAction>,
}

impl Core {
    /// Applies a transaction, and has the log written. The view stays.
    fn apply(&mut self, txn: &ShardTxn) {
        self.shard.apply(txn);
        self.shard.take_actions(&mut self.actions);
        for action in self.actions.drain(..) {
            let ShardAction::Log(action) = action else { panic!("nobody watches or waits: {action:?}") };
            discard(&mut self.shard, action, Shard::segment_ready, Shard::written);
        }
    }
}

impl Cx for Core {
    fn view(&self) -> Zxid {
        self.view
    }

    fn last_processed(&self) -> Zxid {
        self.shard.applied()
    }

    fn serving(&self) -> Serving {
        Serving::ReadWrite
    }

    fn now_ms(&self) -> i64 {
        1_000
    }

    fn shards(&self) -> u16 {
        self.shards
    }

    fn shard_of(&self, path: &str) -> ShardId {
        match self.shards {
            1 => SHARD,
            _ => self.owners[usize::from(self.key.hash(path).partition(PARTITIONS).0)],
        }
    }

    fn read(&mut self, call: ReadCall<'_>, out: &mut Vec<u8>) -> ReadDispatch {
        let ReadCall { target, origin, part, identity, op } = call;
        assert_eq!(target, ReadTarget::Owner);
        assert_eq!(self.shard_of(op.path().unwrap()), SHARD);
        if self.is_elsewhere {
            let (identity, op) = (Arc::clone(identity), op.to_owned_op());
            self.sent = Some(ReadRequest { origin, part, view: self.view, identity, op });
            return ReadDispatch::Later;
        }
        match self.shard.read(&self.acls, self.view, origin, part, identity, op, out) {
            ReadOutcome::Record => ReadDispatch::Answered,
            other => panic!("a node that is there and resident: {other:?}"),
        }
    }

    fn has_room(&self, _: usize) -> bool {
        true
    }

    fn write(&mut self, request: WriteRequest) {
        panic!("only reads are asked for: {request:?}");
    }

    fn sync(&mut self, _: Origin, _: SessionId) {
        panic!("only reads are asked for");
    }

    fn ephemerals(&mut self, _: Origin, _: SessionId, _: Option<Box<str>>) {
        panic!("only reads are asked for");
    }

    fn connect(&mut self, request: ConnectRequest) {
        assert_eq!(request.session, SessionId::NONE);
    }

    fn touch(&mut self, session: SessionId) {
        black_box(session);
    }

    fn acl_permits(&self, acl: AclId, perm: i32, identity: &Identity) -> bool {
        self.acls.permits(acl, perm, identity)
    }

    fn admit_handshake(&mut self, _: HandshakeKind) -> bool {
        true
    }

    fn reserve_large(&mut self, _: usize) -> bool {
        true
    }

    fn release_large(&mut self, _: usize) {}

    fn metrics(&mut self) -> &mut CoreMetrics {
        &mut self.metrics
    }
}

/// Sends a number to another thread and waits for the answer, so often.
fn hop(times: u64, spin: Duration) -> Duration {
    let config = ReactorConfig { recv_buffers: 4, spin, ..ReactorConfig::default() };
    let (hand_over, handed) = mpsc::channel::<MailSender<u64>>();
    let (hand_back, back) = mpsc::channel::<MailSender<u64>>();
    let of_other = config.clone();
    let other = std::thread::spawn(move || {
        let mut reactor = Reactor::new(of_other).unwrap();
        let (sender, receiver) = mailbox(4, reactor.waker());
        hand_over.send(sender).unwrap();
        let answer = back.recv().unwrap();
        for _ in 0..times {
            let number = receive(&mut reactor, &receiver);
            answer.try_send(number + 1).unwrap();
        }
    });
    let mut reactor = Reactor::new(config).unwrap();
    let (sender, receiver) = mailbox(4, reactor.waker());
    hand_back.send(sender).unwrap();
    let ask = handed.recv().unwrap();
    let start = Instant::now();
    for number in 0..times {
        ask.try_send(number).unwrap();
        assert_eq!(receive(&mut reactor, &receiver), number + 1);
    }
    let total = start.elapsed();
    other.join().unwrap();
    total
}

/// Takes the next message, asleep until it comes.
fn receive(reactor: &mut Reactor, receiver: &MailReceiver<u64>) -> u64 {
    let mut events = Vec::new();
    loop {
        if let Some(number) = receiver.try_recv() {
            return number;
        }
        reactor.turn(&mut events, None, || receiver.is_empty()).unwrap();
    }
}

criterion_group!(benches, reads, writes, hops);
criterion_main!(benches);
