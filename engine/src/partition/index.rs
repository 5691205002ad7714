//! The index: by the hash of a path, where its record lies and what of the node changes without it.
//!
//! Most nodes are persistent, have no children and keep the ACL that they were made with: such a node costs its entry
//! alone. What differs, that is, what has or had children, an owner or another ACL, has a *family* besides. Together with
//! slack this is some 60 bytes for a node, 20 for its place in its parent's list, and 50 for a family.

use super::children::ChildSet;
use super::types::{LogAddress, NodeEntry, NodeImage};
use crate::acl::AclId;
use crate::node_owner::NodeOwner;
use crate::path::PathHash;
use crate::table::{Slab, SortedTable, StepTable, TableCursor, TableEntry};
use crate::zxid::Zxid;

/// "No family". Not 0, for 0 is a family's id.
const PLAIN: u32 = u32::MAX;

#[derive(Clone, Copy, Default)]
#[repr(C, packed)]
struct Slot {
    hash: u128,
    czxid: u64,
    ctime: i64,
    acl: u32,
    record_bytes: u32,
    family: u32,
    address: [u8; 5],
}

const _: () = assert!(size_of::<Slot>() == 49);

impl TableEntry for Slot {
    fn key(&self) -> PathHash {
        PathHash(self.hash)
    }
}

/// What most nodes do without.
struct Family {
    pzxid: Zxid,
    cversion: i32,
    aversion: i32,
    owner: NodeOwner,
    children: ChildSet,
}

const _: () = assert!(size_of::<Family>() == 48);

impl Family {
    /// That of a node which has done without one so far.
    fn plain(pzxid: Zxid) -> Family {
        let (owner, children) = (NodeOwner::PERSISTENT, ChildSet::default());
        Family { pzxid, cversion: 0, aversion: 0, owner, children }
    }

    /// Whether a node needs one, children aside.
    fn is_needed(node: &NodeImage<'_>) -> bool {
        let is_plain = (node.cversion, node.aversion, node.owner) == (0, 0, NodeOwner::PERSISTENT);
        !is_plain || node.pzxid != node.czxid
    }
}

/// What a link did to the index.
pub(super) struct Linked {
    /// The parent before.
    pub(super) previous: NodeEntry,
    /// The parent after.
    pub(super) current: NodeEntry,
    /// The link that the child had; for an unlink, the one that it lost.
    pub(super) link: Option<LogAddress>,
}

/// The index of one partition.
#[derive(Default)]
pub(super) struct Index {
    table: StepTable<Slot>,
    families: Slab<Family>,
    /// Heap bytes of all lists of children.
    children_bytes: usize,
    data_bytes: u64,
}

impl Index {
    /// An empty index with room for so many nodes.
    pub(super) fn with_room(nodes: usize) -> Index {
        Index { table: StepTable::with_room(nodes), ..Index::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes of all paths and data.
    pub(super) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.families.memory_bytes() + self.children_bytes
    }

    pub(super) fn get(&self, hash: PathHash) -> Option<NodeEntry> {
        self.table.get(hash).map(|slot| entry(slot, &self.families))
    }

    /// Puts a node in, whose record is at `address`. The children of one that was there stay. Returns that one.
    pub(super) fn put(&mut self, node: &NodeImage<'_>, address: LogAddress, record_bytes: u32) -> Option<NodeEntry> {
        let families = &mut self.families;
        let mut previous = None;
        self.table.insert_with(node.hash, |found| {
            previous = found.map(|slot| entry(slot, families));
            let mut family = found.map_or(PLAIN, |slot| slot.family);
            if family == PLAIN && Family::is_needed(node) {
                family = families.insert(Family::plain(node.pzxid));
            }
            if family != PLAIN {
                let family = families.get_mut(family);
                (family.pzxid, family.cversion) = (node.pzxid, node.cversion);
                (family.owner, family.aversion) = (node.owner, node.aversion);
            }
            Slot {
                hash: node.hash.0,
                czxid: node.czxid.0,
                ctime: node.ctime,
                acl: node.acl.0,
                record_bytes,
                family,
                address: address.packed(),
            }
        });
        self.data_bytes += (node.path.len() + node.data.map_or(0, <[u8]>::len)) as u64;
        self.data_bytes -= previous.as_ref().map_or(0, NodeEntry::data_bytes);
        previous
    }

    /// The node's record has moved.
    pub(super) fn relocate(&mut self, hash: PathHash, address: LogAddress) {
        if let Some(slot) = self.table.get_mut(hash) {
            slot.address = address.packed();
        }
    }

    pub(super) fn set_acl(&mut self, hash: PathHash, acl: AclId, aversion: i32) {
        if let Some(slot) = self.table.get_mut(hash) {
            slot.acl = acl.0;
            if slot.family == PLAIN {
                slot.family = self.families.insert(Family::plain(Zxid(slot.czxid)));
            }
            self.families.get_mut(slot.family).aversion = aversion;
        }
    }

    /// Takes a node out, and its list of children.
    pub(super) fn remove(&mut self, hash: PathHash) -> Option<(NodeEntry, ChildSet)> {
        let entry = self.get(hash)?;
        let slot = self.table.remove(hash)?;
        self.data_bytes -= entry.data_bytes();
        if slot.family == PLAIN {
            return Some((entry, ChildSet::None));
        }
        let family = self.families.remove(slot.family);
        self.children_bytes -= family.children.heap_bytes();
        Some((entry, family.children))
    }

    /// Puts a child in its parent's list, or moves its link. `None` if there is no such parent.
    pub(super) fn link(
        &mut self,
        parent: PathHash,
        child: PathHash,
        link: LogAddress,
        cversion: Option<i32>,
        pzxid: Option<Zxid>,
    ) -> Option<Linked> {
        let slot = self.table.get_mut(parent)?;
        let previous = entry(slot, &self.families);
        if slot.family == PLAIN {
            slot.family = self.families.insert(Family::plain(previous.pzxid));
        }
        let family = self.families.get_mut(slot.family);
        family.cversion = cversion.unwrap_or(family.cversion);
        family.pzxid = pzxid.unwrap_or(family.pzxid);
        let before = family.children.heap_bytes();
        let link = family.children.insert(child, link);
        self.children_bytes = self.children_bytes + family.children.heap_bytes() - before;
        Some(Linked { previous, current: entry(slot, &self.families), link })
    }

    /// Takes a child out of its parent's list. `None` if there is no such parent.
    pub(super) fn unlink(&mut self, parent: PathHash, child: PathHash, pzxid: Option<Zxid>) -> Option<Linked> {
        let slot = self.table.get_mut(parent)?;
        let previous = entry(slot, &self.families);
        if slot.family == PLAIN {
            let Some(pzxid) = pzxid.filter(|pzxid| *pzxid != previous.pzxid) else {
                return Some(Linked { previous, current: previous, link: None });
            };
            slot.family = self.families.insert(Family::plain(pzxid));
        }
        let family = self.families.get_mut(slot.family);
        family.pzxid = pzxid.unwrap_or(family.pzxid);
        let before = family.children.heap_bytes();
        let link = family.children.remove(child);
        self.children_bytes = self.children_bytes + family.children.heap_bytes() - before;
        Some(Linked { previous, current: entry(slot, &self.families), link })
    }

    /// Gives a node that has none yet these children. `false` if there is no such node.
    pub(super) fn adopt(&mut self, parent: PathHash, children: ChildSet) -> bool {
        let Some(slot) = self.table.get_mut(parent) else { return false };
        if slot.family == PLAIN {
            slot.family = self.families.insert(Family::plain(Zxid(slot.czxid)));
        }
        let family = self.families.get_mut(slot.family);
        self.children_bytes = self.children_bytes + children.heap_bytes() - family.children.heap_bytes();
        family.children = children;
        true
    }

    /// The children of a node.
    pub(super) fn children(&self, parent: PathHash) -> Option<&ChildSet> {
        let slot = self.table.get(parent)?;
        if slot.family == PLAIN { None } else { Some(&self.families.get(slot.family).children) }
    }

    pub(super) fn walk(&self, from: TableCursor, max: usize, each: &mut dyn FnMut(&NodeEntry)) -> Option<TableCursor> {
        self.table.walk(from, max, &mut |slot| each(&entry(slot, &self.families)))
    }
}

/// An index made of nodes that come in the order of their hashes, each once.
pub(super) struct OrderedIndex {
    table: SortedTable<Slot>,
    /// All but the table.
    index: Index,
}

impl OrderedIndex {
    /// None yet, of so many.
    pub(super) fn new(nodes: usize) -> OrderedIndex {
        OrderedIndex { table: SortedTable::new(nodes), index: Index::default() }
    }

    /// The next node, with its children.
    pub(super) fn push(&mut self, node: &NodeEntry, children: ChildSet) {
        let index = &mut self.index;
        let is_plain = (node.cversion, node.aversion, node.owner) == (0, 0, NodeOwner::PERSISTENT);
        let mut family = PLAIN;
        if !is_plain || node.pzxid != node.czxid || children.len() > 0 {
            index.children_bytes += children.heap_bytes();
            let NodeEntry { pzxid, cversion, aversion, owner, .. } = *node;
            family = index.families.insert(Family { pzxid, cversion, aversion, owner, children });
        }
        index.data_bytes += node.data_bytes();
        self.table.push(Slot {
            hash: node.hash.0,
            czxid: node.czxid.0,
            ctime: node.ctime,
            acl: node.acl.0,
            record_bytes: node.record_bytes,
            family,
            address: node.address.packed(),
        });
    }

    pub(super) fn finish(self) -> Index {
        Index { table: self.table.finish(), ..self.index }
    }
}

fn entry(slot: &Slot, families: &Slab<Family>) -> NodeEntry {
    let czxid = Zxid(slot.czxid);
    let mut entry = NodeEntry {
        hash: PathHash(slot.hash),
        address: LogAddress::unpacked(slot.address),
        record_bytes: slot.record_bytes,
        acl: AclId(slot.acl),
        aversion: 0,
        owner: NodeOwner::PERSISTENT,
        czxid,
        ctime: slot.ctime,
        pzxid: czxid,
        cversion: 0,
        num_children: 0,
    };
    if slot.family != PLAIN {
        let family = families.get(slot.family);
        (entry.pzxid, entry.cversion) = (family.pzxid, family.cversion);
        (entry.aversion, entry.owner) = (family.aversion, family.owner);
        entry.num_children = family.children.len() as u32;
    }
    entry
}
