//! What a tree must look like after a sequence of writes.

use crate::support::Dice;
use crate::support::record::{self, OPEN, err, mode, op};
use std::collections::BTreeMap;

/// One write. Paths are absolute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    Create { path: String, data: Vec<u8>, ephemeral: bool },
    Sequential { parent: String, data: Vec<u8> },
    Set { path: String, data: Vec<u8>, version: i32 },
    Delete { path: String, version: i32 },
    Check { path: String, version: i32 },
    Multi(Vec<Write>),
}

impl Write {
    /// Opcode and record.
    pub fn request(&self) -> (i32, Vec<u8>) {
        match self {
            Write::Create { path, data, ephemeral } => {
                let flags = if *ephemeral { mode::EPHEMERAL } else { mode::PERSISTENT };
                (op::CREATE, record::create(path, Some(data), OPEN, flags))
            }
            Write::Sequential { parent, data } => {
                (op::CREATE, record::create(&format!("{parent}/s-"), Some(data), OPEN, mode::SEQUENTIAL))
            }
            Write::Set { path, data, version } => (op::SET_DATA, record::set_data(path, data, *version)),
            Write::Delete { path, version } => (op::DELETE, record::path_int(path, *version)),
            Write::Check { path, version } => (op::CHECK, record::path_int(path, *version)),
            Write::Multi(ops) => {
                let ops: Vec<(i32, Vec<u8>)> = ops.iter().map(Write::request).collect();
                (op::MULTI, record::multi(&ops))
            }
        }
    }
}

/// A node as far as its writes determine it. `None` is a zxid that was never told.
#[derive(Clone, Debug)]
pub struct Node {
    pub data: Vec<u8>,
    pub version: i32,
    pub ephemeral: bool,
    pub creations: i32,
    pub children: i32,
    pub czxid: Option<i64>,
    pub mzxid: Option<i64>,
    pub pzxid: Option<i64>,
}

impl Node {
    /// cversion as it is on the wire.
    pub fn cversion(&self) -> i32 {
        2 * self.creations - self.children
    }
}

/// What a write answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Path(String),
    Version(i32),
    Nothing,
    Each(Vec<Answer>),
}

/// One client's subtree.
#[derive(Clone, Debug)]
pub struct Tree {
    pub root: String,
    pub nodes: BTreeMap<String, Node>,
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

impl Tree {
    /// A tree of its root alone.
    pub fn new(root: &str, zxid: i64) -> Tree {
        let mut tree = Tree { root: root.to_owned(), nodes: BTreeMap::new() };
        tree.nodes.insert(root.to_owned(), fresh(&[], false, Some(zxid)));
        tree
    }

    /// Applies a write: its answer, or its error and nothing changed. A failed multi yields the position and the error.
    pub fn apply(&mut self, write: &Write, zxid: Option<i64>) -> Result<Answer, (usize, i32)> {
        match write {
            Write::Multi(ops) => {
                let mut copy = self.clone();
                let mut answers = Vec::new();
                for (n, write) in ops.iter().enumerate() {
                    answers.push(copy.apply_one(write, zxid).map_err(|code| (n, code))?);
                }
                *self = copy;
                Ok(Answer::Each(answers))
            }
            one => self.apply_one(one, zxid).map_err(|code| (0, code)),
        }
    }

    fn apply_one(&mut self, write: &Write, zxid: Option<i64>) -> Result<Answer, i32> {
        match write {
            Write::Create { path, data, ephemeral } => self.create(path.clone(), data, *ephemeral, zxid),
            Write::Sequential { parent, data } => {
                let number = self.nodes.get(parent).ok_or(err::NO_NODE)?.creations;
                self.create(format!("{parent}/s-{number:010}"), data, false, zxid)
            }
            Write::Set { path, data, version } => {
                let node = self.at(path, *version)?;
                node.data.clone_from(data);
                node.version += 1;
                node.mzxid = zxid;
                Ok(Answer::Version(node.version))
            }
            Write::Delete { path, version } => {
                if self.at(path, *version)?.children > 0 {
                    return Err(err::NOT_EMPTY);
                }
                self.remove(path, zxid);
                Ok(Answer::Nothing)
            }
            Write::Check { path, version } => self.at(path, *version).map(|_| Answer::Nothing),
            Write::Multi(_) => unreachable!("a multi in a multi"),
        }
    }

    fn at(&mut self, path: &str, version: i32) -> Result<&mut Node, i32> {
        let node = self.nodes.get_mut(path).ok_or(err::NO_NODE)?;
        if version == -1 || version == node.version { Ok(node) } else { Err(err::BAD_VERSION) }
    }

    fn create(&mut self, path: String, data: &[u8], ephemeral: bool, zxid: Option<i64>) -> Result<Answer, i32> {
        let exists = self.nodes.contains_key(&path);
        let parent = self.nodes.get_mut(parent_of(&path)).ok_or(err::NO_NODE)?;
        if exists {
            return Err(err::NODE_EXISTS);
        }
        if parent.ephemeral {
            return Err(err::NO_CHILDREN_FOR_EPHEMERALS);
        }
        parent.creations += 1;
        parent.children += 1;
        parent.pzxid = zxid;
        self.nodes.insert(path.clone(), fresh(data, ephemeral, zxid));
        Ok(Answer::Path(path))
    }

    fn remove(&mut self, path: &str, zxid: Option<i64>) {
        self.nodes.remove(path);
        let parent = self.nodes.get_mut(parent_of(path)).unwrap();
        parent.children -= 1;
        parent.pzxid = zxid;
    }

    /// The end of the client's session.
    pub fn end_session(&mut self, zxid: Option<i64>) {
        let ephemerals: Vec<String> =
            self.nodes.iter().filter(|(_, node)| node.ephemeral).map(|(path, _)| path.clone()).collect();
        for path in ephemerals {
            self.remove(&path, zxid);
        }
    }

    /// A write that mostly works on this tree.
    pub fn invent(&self, dice: &mut Dice, serial: u64) -> Write {
        match dice.below(100) {
            0..25 => {
                let count = 2 + dice.below(5);
                let mut ops: Vec<Write> = (0..count).map(|n| self.invent_one(dice, serial * 10 + n)).collect();
                if dice.below(4) == 0 {
                    ops.push(Write::Check { path: self.pick(dice), version: dice.below(3) as i32 });
                }
                Write::Multi(ops)
            }
            _ => self.invent_one(dice, serial * 10),
        }
    }

    fn invent_one(&self, dice: &mut Dice, serial: u64) -> Write {
        let length = if dice.below(20) == 0 { dice.below(20_000) } else { dice.below(120) };
        let mut data = serial.to_string().into_bytes();
        data.resize(data.len() + length as usize, b'.');
        let crowded = self.nodes.len() > 120;
        match dice.below(10) {
            0..3 if !crowded => {
                let parent = self.pick(dice);
                Write::Create { path: format!("{parent}/n{serial}"), data, ephemeral: dice.below(4) == 0 }
            }
            3..5 if !crowded => Write::Sequential { parent: self.pick(dice), data },
            5..8 => Write::Set { path: self.pick(dice), data, version: self.version(dice) },
            _ => Write::Delete { path: self.pick_leaf(dice), version: self.version(dice) },
        }
    }

    fn version(&self, dice: &mut Dice) -> i32 {
        if dice.below(6) == 0 { dice.below(3) as i32 } else { -1 }
    }

    fn pick(&self, dice: &mut Dice) -> String {
        self.nodes.keys().nth(dice.below(self.nodes.len() as u64) as usize).unwrap().clone()
    }

    fn pick_leaf(&self, dice: &mut Dice) -> String {
        let leaves: Vec<&String> = self
            .nodes
            .iter()
            .filter(|(path, node)| node.children == 0 && **path != self.root)
            .map(|(p, _)| p)
            .collect();
        if leaves.is_empty() {
            return format!("{}/none", self.root);
        }
        leaves[dice.below(leaves.len() as u64) as usize].clone()
    }
}

fn fresh(data: &[u8], ephemeral: bool, zxid: Option<i64>) -> Node {
    Node {
        data: data.to_vec(),
        version: 0,
        ephemeral,
        creations: 0,
        children: 0,
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
    }
}
