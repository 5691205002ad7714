//! The committed facts about every znode, 44 bytes each, keyed by the hash of its path.
//!
//! There is a table per partition, so that at start each can be filled beside the others, by whoever rebuilds the
//! partition. A table is a few megabytes then where one of all znodes is hundreds, and what fills it stays in a
//! processor's cache.

use super::owners::{OwnerId, Owners};
use engine::acl::AclId;
use engine::node_owner::NodeOwner;
use engine::path::PathHash;
use engine::table::{SortedTable, StepTable, TableEntry};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

/// What validation and routing need to know of one znode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeState {
    /// Stored cversion: creations of direct children.
    pub cversion: i32,
    /// setData count.
    pub version: i32,
    /// setACL count.
    pub aversion: i32,
    /// Direct children.
    pub children: u32,
    /// Interned ACL.
    pub acl: AclId,
    /// Stored owner.
    pub owner: NodeOwner,
    /// Bytes of data; 0 for null.
    pub data_length: u32,
}

/// [`NodeState`] as it is kept: the owner interned, because nearly all nodes have none. Packed to 4 bytes, since the
/// key alone would round it up to 48.
#[derive(Clone, Copy, Default)]
#[repr(C, packed(4))]
struct Entry {
    key: PathHash,
    cversion: i32,
    version: i32,
    aversion: i32,
    children: u32,
    acl: AclId,
    owner: OwnerId,
    data_length: u32,
}

const _: () = assert!(size_of::<Entry>() == 44, "the budget is 64 bytes per znode with slack");

impl Entry {
    fn new(key: PathHash, state: &NodeState, owners: &mut Owners) -> Entry {
        Entry {
            key,
            cversion: state.cversion,
            version: state.version,
            aversion: state.aversion,
            children: state.children,
            acl: state.acl,
            owner: owners.acquire(state.owner),
            data_length: state.data_length,
        }
    }
}

impl TableEntry for Entry {
    fn key(&self) -> PathHash {
        self.key
    }
}

/// All znodes.
pub struct Nodes {
    /// By partition: a power of two of them.
    parts: Box<[NodesPart]>,
}

impl Nodes {
    /// None yet, of so many partitions (a power of two, at most 2^16).
    pub fn new(partitions: u32) -> Nodes {
        (0..partitions).map(|_| NodesPart::default()).collect()
    }

    /// The node with this path.
    pub fn get(&self, hash: PathHash) -> Option<NodeState> {
        self.parts[self.part_of(hash)].get(hash)
    }

    /// Adds a node; returns the one that it replaces.
    pub fn insert(&mut self, hash: PathHash, state: NodeState) -> Option<NodeState> {
        self.parts[self.part_of(hash)].insert(hash, state)
    }

    /// Removes a node.
    pub fn remove(&mut self, hash: PathHash) -> Option<NodeState> {
        self.parts[self.part_of(hash)].remove(hash)
    }

    /// Changes a node in place, but for its owner, which never changes. Returns the node as it was, if there is one.
    pub fn update(&mut self, hash: PathHash, change: impl FnOnce(&mut NodeState)) -> Option<NodeState> {
        self.parts[self.part_of(hash)].update(hash, change)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.table.len()).sum()
    }

    /// Bytes that the tables occupy, slack included.
    pub fn memory_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.table.memory_bytes()).sum()
    }

    fn part_of(&self, hash: PathHash) -> usize {
        hash.partition(self.parts.len() as u32).0.into()
    }
}

/// From the tables of all partitions, in their order.
impl FromIterator<NodesPart> for Nodes {
    fn from_iter<T: IntoIterator<Item = NodesPart>>(parts: T) -> Nodes {
        Nodes { parts: parts.into_iter().collect() }
    }
}

/// The znodes of one partition.
#[derive(Default)]
pub struct NodesPart {
    table: StepTable<Entry>,
    owners: Owners,
}

impl NodesPart {
    /// No node yet, and room for so many.
    pub fn with_room(nodes: usize) -> NodesPart {
        NodesPart { table: StepTable::with_room(nodes), owners: Owners::default() }
    }

    /// The node with this path.
    pub fn get(&self, hash: PathHash) -> Option<NodeState> {
        self.table.get(hash).map(|entry| self.state(entry))
    }

    /// Adds a node; returns the one that it replaces.
    pub fn insert(&mut self, hash: PathHash, state: NodeState) -> Option<NodeState> {
        let replaced = self.table.insert(Entry::new(hash, &state, &mut self.owners))?;
        Some(self.release(replaced))
    }

    /// Removes a node.
    pub fn remove(&mut self, hash: PathHash) -> Option<NodeState> {
        let removed = self.table.remove(hash)?;
        Some(self.release(removed))
    }

    /// Changes a node in place, but for its owner, which never changes. Returns the node as it was, if there is one.
    pub fn update(&mut self, hash: PathHash, change: impl FnOnce(&mut NodeState)) -> Option<NodeState> {
        let entry = self.table.get_mut(hash)?;
        let before = expand(entry, self.owners.get(entry.owner));
        let mut state = before;
        change(&mut state);
        entry.cversion = state.cversion;
        entry.version = state.version;
        entry.aversion = state.aversion;
        entry.children = state.children;
        entry.acl = state.acl;
        entry.data_length = state.data_length;
        Some(before)
    }

    fn state(&self, entry: &Entry) -> NodeState {
        expand(entry, self.owners.get(entry.owner))
    }

    fn release(&mut self, entry: Entry) -> NodeState {
        let state = self.state(&entry);
        self.owners.release(entry.owner);
        state
    }
}

/// Takes the znodes of a partition in the order of their hashes, each once.
pub struct OrderedNodes {
    table: SortedTable<Entry>,
    owners: Owners,
}

impl OrderedNodes {
    /// None yet, of so many.
    pub fn new(nodes: usize) -> OrderedNodes {
        OrderedNodes { table: SortedTable::new(nodes), owners: Owners::default() }
    }

    /// The next one.
    pub fn push(&mut self, hash: PathHash, state: &NodeState) {
        self.table.push(Entry::new(hash, state, &mut self.owners));
    }

    /// The table.
    pub fn finish(self) -> NodesPart {
        NodesPart { table: self.table.finish(), owners: self.owners }
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} znodes", self.len())
    }
}

impl fmt::Debug for NodesPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} znodes", self.table.len())
    }
}

fn expand(entry: &Entry, owner: NodeOwner) -> NodeState {
    NodeState {
        cversion: entry.cversion,
        version: entry.version,
        aversion: entry.aversion,
        children: entry.children,
        acl: entry.acl,
        owner,
        data_length: entry.data_length,
    }
}

/// Hashes path hashes by taking them as they are: they are keyed and uniform already.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathHasher(u64);

/// Builds [`PathHasher`]s.
pub type BuildPathHasher = BuildHasherDefault<PathHasher>;

impl Hasher for PathHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value >> 64) as u64 ^ value as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_come_change_and_go() {
        let mut nodes = Nodes::new(2);
        let state = NodeState { cversion: -3, owner: NodeOwner(77), data_length: 9, ..NodeState::default() };
        for key in [0, 1, u128::MAX] {
            assert_eq!(nodes.insert(PathHash(key), state), None);
            assert_eq!(nodes.update(PathHash(key), |node| node.children += 2), Some(state));
            assert_eq!(nodes.get(PathHash(key)), Some(NodeState { children: 2, ..state }));
        }
        let other = NodeState { owner: NodeOwner::CONTAINER, ..state };
        assert_eq!(nodes.insert(PathHash(1), other), Some(NodeState { children: 2, ..state }));
        assert_eq!(nodes.remove(PathHash(1)), Some(other));
        assert_eq!(nodes.remove(PathHash(1)), None);
        assert_eq!(nodes.update(PathHash(1), |_| ()), None);
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn a_znode_costs_at_most_64_bytes() {
        let mut nodes = Nodes::new(4);
        for n in 0_u64..200_000 {
            let hash = PathHash(xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes()));
            nodes.insert(hash, NodeState::default());
            if n > 8000 {
                assert!(nodes.memory_bytes() <= 64 * nodes.len(), "{} bytes at {n}", nodes.memory_bytes());
            }
        }
    }
}
