//! ZooKeeper requests as bytes.

use super::mix::{Dice, Op};
use engine::jute::Writer;

/// Parent of everything that a run makes.
pub(super) const ROOT: &str = "/ringkeeper-load";
/// Keys are spread over this many folders, so that a listing is of a bounded size.
pub(super) const FOLDERS: u32 = 64;

/// The `ConnectRequest` frame of a new session.
pub(super) fn connect_frame(timeout_ms: i32) -> Vec<u8> {
    frame(|w| {
        w.int(0);
        w.long(0);
        w.int(timeout_ms);
        w.long(0);
        w.buffer(Some(&[0; 16]));
        w.boolean(false);
    })
}

/// A closeSession frame.
pub(super) fn close_frame(xid: i32) -> Vec<u8> {
    frame(|w| {
        w.int(xid);
        w.int(-11);
    })
}

/// Path of an existing key.
pub(super) fn key_path(key: u32) -> String {
    format!("{ROOT}/f{:02}/k{key:08}", key % FOLDERS)
}

/// Path of a folder.
pub(super) fn folder_path(folder: u32) -> String {
    format!("{ROOT}/f{folder:02}")
}

/// Nodes that a connection creates during the run, so that it knows what it may delete.
#[derive(Debug, Default)]
pub(super) struct Created {
    prefix: String,
    next: u64,
    deletable: Vec<u64>,
}

impl Created {
    pub(super) fn new(connection: u32, run: u64) -> Created {
        Created {
            prefix: format!("{}/c{run:x}-{connection}-", folder_path(connection % FOLDERS)),
            ..Created::default()
        }
    }

    fn path(&self, number: u64) -> String {
        format!("{}{number}", self.prefix)
    }

    fn fresh(&mut self) -> String {
        self.next += 1;
        self.path(self.next)
    }
}

/// Appends one request. Returns the operation that was really sent: a delete with nothing to delete becomes a create.
pub(super) fn request(
    out: &mut Vec<u8>,
    xid: i32,
    op: Op,
    keys: u32,
    value: &[u8],
    created: &mut Created,
    dice: &mut Dice,
) -> Op {
    let op = if op == Op::Delete && created.deletable.is_empty() { Op::Create } else { op };
    append_frame(out, |w| {
        w.int(xid);
        match op {
            Op::Get => {
                w.int(4);
                w.string(&key_path(dice.roll() as u32 % keys));
                w.boolean(false);
            }
            Op::Set => {
                w.int(5);
                set_data(w, &key_path(dice.roll() as u32 % keys), value);
            }
            Op::Create => {
                w.int(1);
                let path = created.fresh();
                create(w, &path, value);
                created.deletable.push(created.next);
            }
            Op::Delete => {
                w.int(2);
                let number = created.deletable.pop().unwrap_or_default();
                w.string(&created.path(number));
                w.int(-1);
            }
            Op::Children => {
                w.int(8);
                w.string(&folder_path(dice.roll() as u32 % FOLDERS));
                w.boolean(false);
            }
            Op::Multi => {
                w.int(14);
                for part in 0..3 + dice.roll() % 3 {
                    multi_header(w, if part == 0 { 1 } else { 5 }, false);
                    if part == 0 {
                        let path = created.fresh();
                        create(w, &path, value);
                        created.deletable.push(created.next);
                    } else {
                        set_data(w, &key_path(dice.roll() as u32 % keys), value);
                    }
                }
                multi_header(w, -1, true);
            }
        }
    });
    op
}

/// A create of a persistent, open node.
pub(super) fn create_frame(xid: i32, path: &str, value: &[u8]) -> Vec<u8> {
    frame(|w| {
        w.int(xid);
        w.int(1);
        create(w, path, value);
    })
}

/// A getData that leaves a watch.
pub(crate) fn watch_frame(xid: i32, path: &str) -> Vec<u8> {
    frame(|w| {
        w.int(xid);
        w.int(4);
        w.string(path);
        w.boolean(true);
    })
}

/// A setData, any version.
pub(crate) fn set_frame(xid: i32, path: &str, value: &[u8]) -> Vec<u8> {
    frame(|w| {
        w.int(xid);
        w.int(5);
        set_data(w, path, value);
    })
}

fn set_data(w: &mut Writer<'_>, path: &str, value: &[u8]) {
    w.string(path);
    w.buffer(Some(value));
    w.int(-1);
}

fn create(w: &mut Writer<'_>, path: &str, value: &[u8]) {
    w.string(path);
    w.buffer(Some(value));
    w.count(Some(1));
    w.int(31);
    w.string("world");
    w.string("anyone");
    w.int(0);
}

fn multi_header(w: &mut Writer<'_>, kind: i32, done: bool) {
    w.int(kind);
    w.boolean(done);
    w.int(-1);
}

fn frame(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    append_frame(&mut out, body);
    out
}

fn append_frame(out: &mut Vec<u8>, body: impl FnOnce(&mut Writer<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(&mut Writer::new(out));
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
