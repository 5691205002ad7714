//! A scripted core, and what several test files need of it.
#![allow(clippy::unwrap_used)]

mod golden;
mod handshake;
mod limits;
mod order;
mod property;
mod requests;
mod throttle;

use super::*;
use crate::metrics::CoreMetrics;
use engine::acl::AclId;
use engine::error_code::ErrorCode;
use engine::ids::ShardId;
use engine::jute::{Reader, Writer};
use engine::read::{ReadBody, ReadOp};
use engine::stat::Stat;
use replication::request::{WriteRequest, WriteResult};
use replication::role::ConnectRequest;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

pub const SESSION: SessionId = SessionId(0x0100_0027_3b0d_0000);

/// A read that reached the core.
#[derive(Clone, PartialEq, Debug)]
pub struct SeenRead {
    pub origin: Origin,
    pub part: u32,
    pub target: ReadTarget,
    pub view: Zxid,
    pub op: ReadOp<'static>,
}

/// What the core does with a read.
#[derive(Clone, Debug)]
pub enum Script {
    Record(Vec<u8>),
    Fail(ErrorCode),
    Body(ReadBody),
    Later,
}

/// A core that does what it is told and remembers what it was asked.
pub struct Host {
    pub view: Zxid,
    pub last_processed: Zxid,
    pub serving: Serving,
    pub now_ms: i64,
    pub shards: u16,
    /// What to do with the next reads; without a script a record of 8 bytes, the view, is answered at once.
    pub scripts: VecDeque<Script>,
    pub reads: Vec<SeenRead>,
    /// Whether another core owns what exists asks for.
    pub exists_is_elsewhere: bool,
    pub writes: VecDeque<WriteRequest>,
    pub syncs: VecDeque<Origin>,
    pub listings: VecDeque<(Origin, Option<Box<str>>)>,
    pub handshakes: Vec<ConnectRequest>,
    pub touches: usize,
    pub room: usize,
    pub admits: bool,
    pub large_room: usize,
    pub forbidden: Option<AclId>,
    pub in_process: usize,
    pub in_process_max: usize,
    pub metrics: CoreMetrics,
}

impl Host {
    pub fn new() -> Host {
        Host {
            view: Zxid(1),
            last_processed: Zxid(1),
            serving: Serving::ReadWrite,
            now_ms: 1000,
            shards: 1,
            scripts: VecDeque::new(),
            reads: Vec::new(),
            exists_is_elsewhere: false,
            writes: VecDeque::new(),
            syncs: VecDeque::new(),
            listings: VecDeque::new(),
            handshakes: Vec::new(),
            touches: 0,
            room: usize::MAX,
            admits: true,
            large_room: usize::MAX,
            forbidden: None,
            in_process: 0,
            in_process_max: usize::MAX,
            metrics: CoreMetrics::new(),
        }
    }

    pub fn at(view: u64) -> Host {
        Host { view: Zxid(view), last_processed: Zxid(view), ..Host::new() }
    }

    pub fn script(&mut self, script: Script) {
        self.scripts.push_back(script);
    }
}

impl Cx for Host {
    fn view(&self) -> Zxid {
        self.view
    }

    fn last_processed(&self) -> Zxid {
        self.last_processed
    }

    fn serving(&self) -> Serving {
        self.serving
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn shards(&self) -> u16 {
        self.shards
    }

    fn shard_of(&self, path: &str) -> ShardId {
        ShardId(path.bytes().map(u16::from).sum::<u16>() % self.shards)
    }

    fn read(&mut self, call: ReadCall<'_>, out: &mut Vec<u8>) -> ReadDispatch {
        self.reads.push(SeenRead {
            origin: call.origin,
            part: call.part,
            target: call.target,
            view: self.view,
            op: owned(call.op),
        });
        if self.exists_is_elsewhere && matches!(call.op, ReadOp::Exists { .. }) {
            return ReadDispatch::Later;
        }
        match self.scripts.pop_front() {
            None => {
                out.extend_from_slice(&self.view.to_wire().to_be_bytes());
                ReadDispatch::Answered
            }
            Some(Script::Record(record)) => {
                out.extend_from_slice(&record);
                ReadDispatch::Answered
            }
            Some(Script::Fail(code)) => ReadDispatch::Failed(code),
            Some(Script::Body(body)) => ReadDispatch::Body(body),
            Some(Script::Later) => ReadDispatch::Later,
        }
    }

    fn has_room(&self, outstanding: usize) -> bool {
        outstanding < self.room
    }

    fn write(&mut self, request: WriteRequest) {
        self.writes.push_back(request);
    }

    fn sync(&mut self, origin: Origin, _session: SessionId) {
        self.syncs.push_back(origin);
    }

    fn ephemerals(&mut self, origin: Origin, _session: SessionId, prefix: Option<Box<str>>) {
        self.listings.push_back((origin, prefix));
    }

    fn connect(&mut self, request: ConnectRequest) {
        self.handshakes.push(request);
    }

    fn touch(&mut self, _session: SessionId) {
        self.touches += 1;
    }

    fn acl_permits(&self, acl: AclId, _perm: i32, _identity: &Identity) -> bool {
        self.forbidden != Some(acl)
    }

    fn admit_handshake(&mut self, _kind: HandshakeKind) -> bool {
        self.admits
    }

    fn reserve_large(&mut self, bytes: usize) -> bool {
        let fits = self.large_room >= bytes;
        if fits {
            self.large_room -= bytes;
        }
        fits
    }

    fn release_large(&mut self, bytes: usize) {
        self.large_room += bytes;
    }

    fn begin_request(&mut self) -> bool {
        let fits = self.in_process < self.in_process_max;
        self.in_process += usize::from(fits);
        fits
    }

    fn end_requests(&mut self, count: usize) {
        self.in_process -= count;
    }

    fn metrics(&mut self) -> &mut CoreMetrics {
        &mut self.metrics
    }
}

fn owned(op: &ReadOp<'_>) -> ReadOp<'static> {
    let path = |path: &engine::read::PathArg<'_>| std::borrow::Cow::Owned(path.to_string());
    match op {
        ReadOp::Exists { path: p, watch } => ReadOp::Exists { path: path(p), watch: *watch },
        ReadOp::GetData { path: p, watch } => ReadOp::GetData { path: path(p), watch: *watch },
        ReadOp::GetChildren { path: p, watch, stat } => {
            ReadOp::GetChildren { path: path(p), watch: *watch, stat: *stat }
        }
        ReadOp::GetAcl { path: p } => ReadOp::GetAcl { path: path(p) },
        ReadOp::CountDescendants { path: p } => ReadOp::CountDescendants { path: path(p) },
        ReadOp::AddWatch { path: p, recursive } => ReadOp::AddWatch { path: path(p), recursive: *recursive },
        ReadOp::FindWatch { path: p, kind, remove } => {
            ReadOp::FindWatch { path: path(p), kind: *kind, remove: *remove }
        }
        ReadOp::SetWatches { relative_zxid, items } => {
            ReadOp::SetWatches { relative_zxid: *relative_zxid, items: items.clone() }
        }
    }
}

pub const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);

pub fn fresh(limits: ConnectionLimits) -> Connection {
    Connection::new(ConnId { slot: 3, generation: 1 }, CoreId(2), LOCAL, Arc::new(limits), 900)
}

/// A connection with a session, and nothing in its output.
pub fn established_with(host: &mut Host, limits: ConnectionLimits) -> Connection {
    let mut connection = fresh(limits);
    connection.receive(host, &hex("0000002d 00000000 0000000000000000 00007530 0000000000000000 00000010 00*16 00"));
    connection.connected(host, SESSION, 30_000, [7; 16], host.view);
    assert_eq!(connection.session(), Some(SESSION));
    drain(host, &mut connection);
    connection
}

pub fn established(host: &mut Host) -> Connection {
    established_with(host, ConnectionLimits::default())
}

/// Takes the output and reports it as sent.
pub fn drain(host: &mut Host, connection: &mut Connection) -> Vec<u8> {
    let output = connection.take_output(Vec::new());
    connection.output_sent(host, output.len());
    output
}

/// Bytes from hexadecimal text; spaces mean nothing, `00*16` repeats a byte.
pub fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) =
            word.split_once('*').map_or((word, 1), |(digits, times)| (digits, times.parse().unwrap()));
        for _ in 0..times {
            bytes.extend((0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()));
        }
    }
    bytes
}

/// A request frame.
pub fn request(xid: i32, op: i32, record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut frame = vec![0; 4];
    let mut w = Writer::new(&mut frame);
    w.int(xid);
    w.int(op);
    record(&mut w);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

pub fn get(xid: i32) -> Vec<u8> {
    request(xid, OpCode::GetData as i32, |w| {
        w.string("/a");
        w.boolean(true);
    })
}

pub fn set(xid: i32) -> Vec<u8> {
    request(xid, OpCode::SetData as i32, |w| {
        w.string("/a");
        w.buffer(Some(b"x"));
        w.int(-1);
    })
}

pub fn ping() -> Vec<u8> {
    request(-2, OpCode::Ping as i32, |_| {})
}

pub fn sync(xid: i32) -> Vec<u8> {
    request(xid, OpCode::Sync as i32, |w| w.string("/a"))
}

pub fn close(xid: i32) -> Vec<u8> {
    request(xid, OpCode::CloseSession as i32, |_| {})
}

/// One frame that the server sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    pub xid: i32,
    pub zxid: i64,
    pub err: i32,
    pub body: Vec<u8>,
}

pub fn frames(mut bytes: &[u8]) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !bytes.is_empty() {
        let mut r = Reader::new(bytes);
        let frame = r.buffer().unwrap().unwrap();
        bytes = r.rest();
        let mut r = Reader::new(frame);
        let (xid, zxid, err) = (r.int().unwrap(), r.long().unwrap(), r.int().unwrap());
        sent.push(Sent { xid, zxid, err, body: r.rest().to_vec() });
    }
    sent
}

/// Xids and header zxids of what was sent.
pub fn order_of(bytes: &[u8]) -> Vec<(i32, i64)> {
    frames(bytes).iter().map(|sent| (sent.xid, sent.zxid)).collect()
}

/// Xids and errors of what was sent.
pub fn errors_of(bytes: &[u8]) -> Vec<(i32, i32)> {
    frames(bytes).iter().map(|sent| (sent.xid, sent.err)).collect()
}

pub fn event(zxid: u64, path: &str) -> ViewEvent {
    let frame = engine::event::event_frame(zxid as i64, engine::event::EventKind::NodeDataChanged, path);
    ViewEvent { zxid: Zxid(zxid), acl: AclId::OPEN, frame }
}

/// Notes an answer and steps the connection, as a core does when the view stands.
pub fn bring_answer(connection: &mut Connection, cx: &mut impl Cx, answer: WriteAnswer) {
    connection.note_answer(answer);
    connection.step_view(cx, &[]);
}

/// Likewise a Stat.
pub fn bring_stat(connection: &mut Connection, cx: &mut impl Cx, captured: CapturedStat) {
    connection.note_stat(captured);
    connection.step_view(cx, &[]);
}

/// Answers the oldest write: a setData of version 1.
pub fn answer(host: &mut Host, connection: &mut Connection, zxid: u64) -> Origin {
    let origin = host.writes.pop_front().unwrap().origin.unwrap();
    bring_stat(connection, host, CapturedStat { origin, op: 0, stat: Stat::default() });
    bring_answer(connection, host, WriteAnswer { origin, zxid: Zxid(zxid), result: Ok(WriteResult::Stat) });
    origin
}

/// Moves the view and steps the connection, as a core does.
pub fn step(host: &mut Host, connection: &mut Connection, view: u64, events: &[ViewEvent]) {
    host.view = Zxid(view);
    host.last_processed = host.last_processed.max(host.view);
    if !events.is_empty() || connection.next_view().is_some_and(|at| at <= host.view) {
        connection.step_view(host, events);
    }
}
