//! ZooKeeper requests as bytes. Each function appends one frame.

use crate::workload::WatchKind;
use engine::jute::Writer;
use net::proto::OpCode;

/// `CreateMode.PERSISTENT`.
pub const PERSISTENT: i32 = 0;
/// `CreateMode.EPHEMERAL`.
pub const EPHEMERAL: i32 = 1;
/// `CreateMode.PERSISTENT_SEQUENTIAL`.
pub const PERSISTENT_SEQUENTIAL: i32 = 2;

/// A `ConnectRequest`; session 0 asks for a new one.
pub fn connect(out: &mut Vec<u8>, timeout_ms: i32, session: i64, password: &[u8; 16]) {
    frame(out, |w| {
        w.int(0);
        w.long(0);
        w.int(timeout_ms);
        w.long(session);
        w.buffer(Some(password));
        w.boolean(false);
    });
}

/// A request of a path and a watch flag: getData, exists or getChildren.
pub fn read(out: &mut Vec<u8>, xid: i32, op: OpCode, path: &[u8], watch: bool) {
    request(out, xid, op, |w| {
        w.buffer(Some(path));
        w.boolean(watch);
    });
}

/// A setData of any version.
pub fn set(out: &mut Vec<u8>, xid: i32, path: &[u8], value: &[u8]) {
    request(out, xid, OpCode::SetData, |w| set_fields(w, path, value));
}

/// A create that everybody may do everything with.
pub fn create(out: &mut Vec<u8>, xid: i32, path: &[u8], value: &[u8], mode: i32) {
    request(out, xid, OpCode::Create, |w| create_fields(w, path, value, mode));
}

/// A delete of any version.
pub fn delete(out: &mut Vec<u8>, xid: i32, path: &[u8]) {
    request(out, xid, OpCode::Delete, |w| {
        w.buffer(Some(path));
        w.int(-1);
    });
}

/// A sync.
pub fn sync(out: &mut Vec<u8>, xid: i32, path: &[u8]) {
    request(out, xid, OpCode::Sync, |w| w.buffer(Some(path)));
}

/// A ping.
pub fn ping(out: &mut Vec<u8>) {
    request(out, super::reply::PING, OpCode::Ping, |_| {});
}

/// A closeSession.
pub fn close(out: &mut Vec<u8>, xid: i32) {
    request(out, xid, OpCode::CloseSession, |_| {});
}

/// The request that leaves a watch of this kind.
pub fn watch(out: &mut Vec<u8>, xid: i32, kind: WatchKind, path: &[u8]) {
    match kind {
        WatchKind::Data => read(out, xid, OpCode::GetData, path, true),
        WatchKind::Exists => read(out, xid, OpCode::Exists, path, true),
        WatchKind::Child => read(out, xid, OpCode::GetChildren, path, true),
        WatchKind::Persistent => add_watch(out, xid, path, 0),
        WatchKind::PersistentRecursive => add_watch(out, xid, path, 1),
    }
}

/// A multi of one create and any number of setData, which `sets` writes one after the other.
pub fn multi(out: &mut Vec<u8>, xid: i32, created: &[u8], value: &[u8], sets: impl FnOnce(&mut Sets<'_, '_>)) {
    request(out, xid, OpCode::Multi, |w| {
        multi_header(w, OpCode::Create as i32, false);
        create_fields(w, created, value, PERSISTENT);
        sets(&mut Sets(w));
        multi_header(w, -1, true);
    });
}

/// The setData of a [`multi`].
pub struct Sets<'a, 'b>(&'a mut Writer<'b>);

impl Sets<'_, '_> {
    /// Adds one.
    pub fn set(&mut self, path: &[u8], value: &[u8]) {
        multi_header(self.0, OpCode::SetData as i32, false);
        set_fields(self.0, path, value);
    }
}

fn add_watch(out: &mut Vec<u8>, xid: i32, path: &[u8], mode: i32) {
    request(out, xid, OpCode::AddWatch, |w| {
        w.buffer(Some(path));
        w.int(mode);
    });
}

fn set_fields(w: &mut Writer<'_>, path: &[u8], value: &[u8]) {
    w.buffer(Some(path));
    w.buffer(Some(value));
    w.int(-1);
}

fn create_fields(w: &mut Writer<'_>, path: &[u8], value: &[u8], mode: i32) {
    w.buffer(Some(path));
    w.buffer(Some(value));
    w.count(Some(1));
    w.int(31);
    w.string("world");
    w.string("anyone");
    w.int(mode);
}

fn multi_header(w: &mut Writer<'_>, kind: i32, done: bool) {
    w.int(kind);
    w.boolean(done);
    w.int(-1);
}

fn request(out: &mut Vec<u8>, xid: i32, op: OpCode, body: impl FnOnce(&mut Writer<'_>)) {
    frame(out, |w| {
        w.int(xid);
        w.int(op as i32);
        body(w);
    });
}

fn frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(&mut Writer::new(out));
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
