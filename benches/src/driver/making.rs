//! From a workload's choices to requests.

use crate::wire::request;
use crate::workload::keys::Ranks;
use crate::workload::tree::append_number;
use crate::workload::{Dice, Distribution, Op, Tree, Workload};
use net::proto::OpCode;
use std::collections::VecDeque;
use std::ops::Range;

/// Folders that created nodes are spread over.
pub(super) const NURSERIES: u32 = 64;
/// Names of sequential nodes that a connection remembers in order to delete them.
const NAMED_MAX: usize = 100_000;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Plant {
    pub(super) workload: Workload,
    pub(super) tree: Tree,
    /// Below which connections create nodes.
    pub(super) nursery: String,
    ranks: Ranks,
    /// As long as the longest value.
    value: Vec<u8>,
    /// Whether deletes will want to know what sequential nodes are called.
    pub(super) remembers_names: bool,
}

impl Plant {
    pub(super) fn new(workload: &Workload, tree: Tree, nursery: String) -> Plant {
        let mut dice = Dice::new(workload.seed, u64::MAX);
        Plant {
            ranks: Ranks::new(workload.distribution, workload.keys, workload.exponent),
            value: (0..workload.values.longest()).map(|_| dice.roll() as u8).collect(),
            remembers_names: workload.mix.share(Op::Delete) > 0.0 && workload.mix.share(Op::CreateSequential) > 0.0,
            workload: workload.clone(),
            tree,
            nursery,
        }
    }

    pub(super) fn value(&self, dice: &mut Dice) -> &[u8] {
        &self.value[..self.workload.values.draw(dice)]
    }

    /// Writes the path of a chosen node into `path`.
    fn choose(&self, made: &Made, dice: &mut Dice, path: &mut Vec<u8>) {
        let rank = self.ranks.draw(dice);
        if self.workload.distribution != Distribution::Latest {
            return self.tree.key(rank, path);
        }
        let young = made.persistent.end - made.persistent.start;
        if rank < young {
            made.path(b'p', made.persistent.end - 1 - rank, path);
        } else {
            self.tree.key(self.tree.keys() - 1 - (rank - young).min(self.tree.keys() - 1), path);
        }
    }

    /// Appends one request. Returns the operation that was really sent: a delete with nothing to delete becomes a create.
    pub(super) fn request(
        &self,
        out: &mut Vec<u8>,
        xid: i32,
        made: &mut Made,
        dice: &mut Dice,
        path: &mut Vec<u8>,
    ) -> Op {
        let mut op = self.workload.mix.choose(dice);
        if op == Op::Delete && !made.oldest(path) {
            op = Op::Create;
        }
        match op {
            Op::Get => {
                self.choose(made, dice, path);
                request::read(out, xid, OpCode::GetData, path, false);
            }
            Op::Exists => {
                self.choose(made, dice, path);
                request::read(out, xid, OpCode::Exists, path, false);
            }
            Op::Set => {
                self.choose(made, dice, path);
                request::set(out, xid, path, self.value(dice));
            }
            Op::Create => {
                made.fresh(path);
                request::create(out, xid, path, self.value(dice), request::PERSISTENT);
            }
            Op::CreateEphemeral => {
                made.path(b'e', made.ephemeral.end, path);
                made.ephemeral.end += 1;
                request::create(out, xid, path, self.value(dice), request::EPHEMERAL);
            }
            Op::CreateSequential => {
                path.clear();
                path.extend_from_slice(&made.prefix);
                path.extend_from_slice(b"s-");
                request::create(out, xid, path, self.value(dice), request::PERSISTENT_SEQUENTIAL);
            }
            Op::Delete => request::delete(out, xid, path),
            Op::Children => {
                let leaf = self.tree.leaf(dice.below(self.tree.leaves()));
                request::read(out, xid, OpCode::GetChildren, leaf.as_bytes(), false);
            }
            Op::Sync => request::sync(out, xid, self.tree.root().as_bytes()),
            Op::Multi => {
                made.fresh(path);
                let (first, count) = (self.value(dice).len(), 2 + dice.below(3));
                let mut key = Vec::with_capacity(path.len());
                request::multi(out, xid, path, &self.value[..first], |sets| {
                    for _ in 0..count {
                        // A key, not a node that this multi is about to create.
                        self.tree.key(self.ranks.draw(dice), &mut key);
                        sets.set(&key, self.value(dice));
                    }
                });
            }
        }
        op
    }
}

/// One of the folders of a nursery.
pub(super) fn folder(nursery: &str, number: u32) -> String {
    format!("{nursery}/n{number:02}")
}

/// Nodes that a connection created during the run, oldest first.
#[derive(Debug)]
pub(super) struct Made {
    prefix: Vec<u8>,
    persistent: Range<u64>,
    ephemeral: Range<u64>,
    named: VecDeque<Box<[u8]>>,
}

impl Made {
    /// Of one connection, whose nodes go below `nursery`.
    pub(super) fn new(nursery: &str, connection: u32) -> Made {
        let prefix = format!("{}/c{connection}-", folder(nursery, connection % NURSERIES)).into_bytes();
        Made { prefix, persistent: 0..0, ephemeral: 0..0, named: VecDeque::new() }
    }

    /// Its session ended, and with it the ephemeral nodes. Their names are not used again: the new session may come before
    /// the old one has expired.
    pub(super) fn session_ended(&mut self) {
        self.ephemeral.start = self.ephemeral.end;
    }

    /// A sequential node was created under this name.
    pub(super) fn named(&mut self, name: &[u8]) {
        if self.named.len() < NAMED_MAX {
            self.named.push_back(name.into());
        }
    }

    fn path(&self, kind: u8, number: u64, path: &mut Vec<u8>) {
        path.clear();
        path.extend_from_slice(&self.prefix);
        path.push(kind);
        append_number(path, number);
    }

    fn fresh(&mut self, path: &mut Vec<u8>) {
        self.path(b'p', self.persistent.end, path);
        self.persistent.end += 1;
    }

    /// Takes the oldest node of the kind of which there are most, and writes its path; `false` if there is none.
    fn oldest(&mut self, path: &mut Vec<u8>) -> bool {
        let persistent = self.persistent.end - self.persistent.start;
        let ephemeral = self.ephemeral.end - self.ephemeral.start;
        let named = self.named.len() as u64;
        if named > 0 && named >= persistent.max(ephemeral) {
            let name = self.named.pop_front().unwrap_or_default();
            path.clear();
            path.extend_from_slice(&name);
        } else if ephemeral > persistent {
            self.path(b'e', self.ephemeral.start, path);
            self.ephemeral.start += 1;
        } else if persistent > 0 {
            self.path(b'p', self.persistent.start, path);
            self.persistent.start += 1;
        } else {
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::workload::{Mix, Shape};
    use net::frame::{FrameDecoder, Peek};
    use std::collections::HashSet;

    /// The requests of a workload as a server's state: creates and deletes must fit each other.
    #[test]
    fn requests_never_miss() {
        let mix: Mix = "get=3,set=2,create=3,create_ephemeral=2,delete=4,exists=1,multi=2".parse().unwrap();
        let workload = Workload { mix, distribution: Distribution::Latest, keys: 20, ..Workload::default() };
        let tree = Tree::new("/r".into(), Shape::default(), workload.keys);
        let mut nodes: HashSet<Vec<u8>> = HashSet::new();
        let mut key = Vec::new();
        for number in 0..workload.keys {
            tree.key(number, &mut key);
            nodes.insert(key.clone());
        }
        let plant = Plant::new(&workload, tree, "/r/new".into());
        let (mut made, mut dice, mut path) = (Made::new("/r/new", 3), Dice::new(1, 1), Vec::new());
        for xid in 1..5_000 {
            let mut out = Vec::new();
            let op = plant.request(&mut out, xid, &mut made, &mut dice, &mut path);
            match op {
                Op::Create | Op::CreateEphemeral | Op::Multi => assert!(nodes.insert(path.clone()), "{op:?} twice"),
                Op::Delete => assert!(nodes.remove(&path), "{op:?} of what is not there"),
                _ => assert!(nodes.contains(&path), "{op:?} of what is not there"),
            }
        }
    }

    /// What is written is what the server's own decoder reads.
    #[test]
    fn every_operation_is_one_frame() {
        for op in Op::ALL {
            let workload = Workload { mix: Mix::only(op), ..Workload::default() };
            let plant = Plant::new(&workload, Tree::new("/r".into(), Shape::default(), workload.keys), "/r/new".into());
            let (mut made, mut dice, mut path) = (Made::new("/r/new", 0), Dice::new(1, 1), Vec::new());
            let mut out = Vec::new();
            plant.request(&mut out, 7, &mut made, &mut dice, &mut path);
            let mut decoder = FrameDecoder::new(1 << 20);
            let frame = match decoder.peek(&mut &out[..]) {
                Peek::Frame(frame) => frame.len(),
                _ => 0,
            };
            assert_eq!(frame + 4, out.len(), "{op:?}");
        }
    }
}
