//! What must be true: the whole tree after each transaction, and what each connection should hear.

use crate::acl::AclId;
use crate::event::EventKind;
use crate::jute::Writer;
use crate::node_owner::NodeOwner;
use crate::path::{self, HashKey};
use crate::piece::{HashedPath, Piece};
use crate::read::WatchSelector;
use crate::stat::{Stat, wire_cversion};
use crate::watch::{WatchMode, WatchModes};
use crate::zxid::Zxid;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Node {
    pub data: Option<Vec<u8>>,
    pub acl: AclId,
    pub stored_cversion: i32,
    pub stat: Stat,
}

#[derive(Clone, Debug)]
pub enum Change {
    Create(&'static str, Option<Vec<u8>>, AclId),
    SetData(&'static str, Option<Vec<u8>>),
    SetAcl(&'static str, AclId),
    Usage(&'static str, Vec<u8>),
    Delete(&'static str),
}

/// An event as the model has it: order within its transaction, kind, path, ACL.
pub type Event = (u32, EventKind, String, AclId);

#[derive(Clone, Default, Debug)]
pub struct Tree {
    pub nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// The node with its Stat as clients see it.
    pub fn stat(&self, path: &str) -> Option<Stat> {
        let node = self.nodes.get(path)?;
        let num_children = self.children(path).len() as i32;
        let data_length = node.data.as_ref().map_or(0, |data| data.len() as i32);
        let cversion = wire_cversion(node.stored_cversion, num_children);
        Some(Stat { cversion, num_children, data_length, ..node.stat })
    }

    pub fn children(&self, path: &str) -> Vec<&str> {
        self.nodes.keys().filter(|child| path::parent(child) == Some(path)).map(|child| path::name(child)).collect()
    }

    pub fn descendants(&self, path: &str) -> usize {
        self.nodes.keys().filter(|node| path::self_and_ancestors(node).skip(1).any(|above| above == path)).count()
    }

    /// Applies a change if it can be applied: its pieces, and the events that belong to them.
    pub fn apply(
        &mut self,
        zxid: Zxid,
        change: &Change,
        order: &mut u32,
        key: &HashKey,
    ) -> Vec<(u32, Piece, Option<Event>)> {
        let hashed = |path: &str| HashedPath { path: path.into(), hash: key.hash(path) };
        let z = zxid.to_wire();
        let mut out = Vec::new();
        let mut push = |piece, event: Option<(EventKind, &str, AclId)>| {
            out.push((*order, piece, event.map(|(kind, path, acl)| (*order, kind, path.to_owned(), acl))));
            *order += 1;
        };
        match change {
            Change::Create(path, data, acl) => {
                let parent = path::parent(path);
                let is_possible = parent.is_none_or(|parent| self.nodes.contains_key(parent));
                if self.nodes.contains_key(*path) || !is_possible {
                    return out;
                }
                let stat = Stat { czxid: z, mzxid: z, pzxid: z, ctime: z * 10, mtime: z * 10, ..Stat::default() };
                let node = Node { data: data.clone(), acl: *acl, stored_cversion: 0, stat };
                self.nodes.insert(path.to_string(), node);
                let data = data.clone().map(Into::into);
                let put = Piece::Put { node: hashed(path), data, acl: *acl, owner: NodeOwner::PERSISTENT };
                push(put, Some((EventKind::NodeCreated, path, *acl)));
                if let Some((parent, node)) = parent.and_then(|parent| Some((parent, self.nodes.get_mut(parent)?))) {
                    node.stored_cversion += 1;
                    node.stat.pzxid = z;
                    let (cversion, child) = (node.stored_cversion, hashed(path));
                    let link = Piece::Link { parent: key.hash(parent), child, cversion, moves_pzxid: true };
                    push(link, Some((EventKind::NodeChildrenChanged, parent, node.acl)));
                }
            }
            Change::SetData(path, data) => {
                let Some(node) = self.nodes.get_mut(*path) else { return out };
                node.data.clone_from(data);
                node.stat = Stat { mzxid: z, mtime: z * 10, version: node.stat.version + 1, ..node.stat };
                let (data, version) = (data.clone().map(Into::into), node.stat.version);
                let set = Piece::SetData { node: hashed(path), data, version };
                push(set, Some((EventKind::NodeDataChanged, path, node.acl)));
            }
            Change::SetAcl(path, acl) => {
                let Some(node) = self.nodes.get_mut(*path) else { return out };
                node.acl = *acl;
                node.stat.aversion += 1;
                push(Piece::SetAcl { node: hashed(path), acl: *acl, aversion: node.stat.aversion }, None);
            }
            Change::Usage(path, data) => {
                let Some(node) = self.nodes.get_mut(*path) else { return out };
                node.data = Some(data.clone());
                push(Piece::QuotaUsage { node: hashed(path), data: data.clone().into() }, None);
            }
            Change::Delete(path) => {
                let Some(parent) = path::parent(path).filter(|_| self.children(path).is_empty()) else { return out };
                let Some(node) = self.nodes.remove(*path) else { return out };
                push(Piece::Remove { node: hashed(path) }, Some((EventKind::NodeDeleted, path, node.acl)));
                if let Some(above) = self.nodes.get_mut(parent) {
                    above.stat.pzxid = z;
                    let unlink = Piece::Unlink { parent: key.hash(parent), child: hashed(path), moves_pzxid: true };
                    push(unlink, Some((EventKind::NodeChildrenChanged, parent, above.acl)));
                }
            }
        }
        out
    }
}

/// What a connection did to its watches, as of which view.
#[derive(Clone, Debug)]
pub enum Watching {
    Add(String, WatchMode),
    Remove(String, WatchSelector),
}

/// What a connection should hear, given what happened and what it watched since when. Watches are a connection's own, so
/// this can be told for each of them alone.
pub fn should_hear(events: &[Vec<Event>], watching: &[(Zxid, Watching)]) -> Vec<(Zxid, u32, EventKind, String)> {
    let mut modes: BTreeMap<&str, u8> = BTreeMap::new();
    let mut heard = Vec::new();
    let mut steps = watching.iter().peekable();
    for (zxid, events) in events.iter().enumerate() {
        let zxid = Zxid(zxid as u64);
        for (order, kind, path, _) in events {
            let here = modes.get(path.as_str()).copied().unwrap_or(0);
            let above = path::self_and_ancestors(path).filter_map(|above| modes.get(above)).any(|modes| modes & 8 != 0);
            let (hearing, consumed) = match kind {
                EventKind::NodeCreated | EventKind::NodeDataChanged => (1 | 4, 1),
                EventKind::NodeChildrenChanged => (2 | 4, 2),
                EventKind::NodeDeleted => (1 | 2 | 4, 1 | 2),
            };
            if here & hearing != 0 || (above && *kind != EventKind::NodeChildrenChanged) {
                heard.push((zxid, *order, *kind, path.clone()));
            }
            if let Some(here) = modes.get_mut(path.as_str()) {
                *here &= !consumed;
            }
        }
        while let Some((_, step)) = steps.next_if(|(view, _)| *view == zxid) {
            match step {
                Watching::Add(path, mode) => *modes.entry(path).or_default() |= *mode as u8,
                Watching::Remove(path, selector) => {
                    let gone = [1, 2, 4, 8].into_iter().filter(|bit| {
                        let mode = match bit {
                            1 => WatchMode::Data,
                            2 => WatchMode::Child,
                            4 => WatchMode::Persistent,
                            _ => WatchMode::Recursive,
                        };
                        WatchModes::from(mode).meets((*selector).into())
                    });
                    *modes.entry(path).or_default() &= !gone.sum::<u8>();
                }
            }
        }
    }
    heard
}

/// `GetDataResponse`.
pub fn data_and_stat(data: Option<&[u8]>, stat: &Stat) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    out.buffer(data);
    stat.encode(&mut out);
    bytes
}
