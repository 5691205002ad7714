//! A partition filled from a snapshot: records go to the log as they come, and the index is made of them at the end.
//!
//! An index that grows node by node costs several cache misses for each, and shifts, splits and copies besides. Nobody
//! reads a partition before the snapshot is whole; so what the index is to know is gathered in the order in which it
//! comes, 64 bytes for a node and 32 for a link, and sorted once: tables and lists of children are then written from
//! front to back, and none is ever rebuilt.

use super::children::{ChildEntry, ChildSet};
use super::index::OrderedIndex;
use super::log::Log;
use super::record::{Link, Record, padded};
use super::types::{LinkRef, LogAddress, NodeEntry, NodeImage};
use super::{Partition, UsageBase, is_in_quota_tree};
use crate::acl::AclId;
use crate::ids::PartitionId;
use crate::node_owner::NodeOwner;
use crate::path::PathHash;
use crate::zxid::Zxid;

/// A partition that takes in a snapshot. Nodes and links come in any order.
pub struct PartitionFill {
    /// Its index is empty until the end.
    partition: Partition,
    nodes: Vec<Gathered>,
    odd: Vec<Odd>,
    links: Vec<GatheredLink>,
}

/// What the index, and whoever keeps something beside it, is to know of a node.
#[derive(Clone, Copy)]
struct Gathered {
    /// Both halves of the hash: as one number it would be aligned to 16 bytes.
    hash: [u64; 2],
    czxid: Zxid,
    ctime: i64,
    address: LogAddress,
    record_bytes: u32,
    acl: AclId,
    version: i32,
    data_length: u32,
    /// Place in the list of what few nodes have; `u32::MAX` for none.
    odd: u32,
}

const _: () = assert!(size_of::<Gathered>() == 64 && size_of::<GatheredLink>() == 32);
/// "Nothing that few nodes have".
const EVEN: u32 = u32::MAX;

impl Gathered {
    fn hash(&self) -> PathHash {
        let [high, low] = self.hash;
        PathHash(u128::from(high) << 64 | u128::from(low))
    }
}

/// What few nodes have.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Odd {
    pzxid: Zxid,
    cversion: i32,
    aversion: i32,
    owner: NodeOwner,
}

impl Odd {
    fn of(node: &NodeImage<'_>) -> Odd {
        Odd { pzxid: node.pzxid, cversion: node.cversion, aversion: node.aversion, owner: node.owner }
    }

    fn none(czxid: Zxid) -> Odd {
        Odd { pzxid: czxid, cversion: 0, aversion: 0, owner: NodeOwner::PERSISTENT }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct GatheredLink {
    parent: PathHash,
    child: ChildEntry,
}

/// A node of a partition that has been filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FilledNode {
    /// Its entry.
    pub entry: NodeEntry,
    /// setData count.
    pub version: i32,
    /// Bytes of data; 0 for null.
    pub data_length: u32,
}

/// Why what was brought is no tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoTree {
    /// The same node came twice.
    Twice(PathHash),
    /// This node came, and its parent did not.
    Orphan(PathHash),
}

impl PartitionFill {
    /// A partition in which nothing is yet, and whose first segment will belong to `generation`.
    pub fn new(id: PartitionId, generation: u32) -> PartitionFill {
        let partition = Partition::with_log(id, Log::new(id, generation));
        PartitionFill { partition, nodes: Vec::new(), odd: Vec::new(), links: Vec::new() }
    }

    /// Its files: what is to be done to them, and that it was done. It has no node to show before [`Self::make_index`].
    pub fn partition_mut(&mut self) -> &mut Partition {
        &mut self.partition
    }

    /// As [`Self::partition_mut`].
    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The partition, whose index has been made.
    pub fn into_partition(self) -> Partition {
        self.partition
    }

    /// Takes a node with every field given. `zxid` is what the partition then stands for.
    pub fn node(&mut self, zxid: Zxid, node: &NodeImage<'_>) {
        let partition = &mut self.partition;
        partition.zxid = partition.zxid.max(zxid);
        let record = Record::Node(*node);
        let record_bytes = record.bytes() as u32;
        let address = partition.log.append(zxid, &record);
        partition.live += padded(record_bytes.into());
        if is_in_quota_tree(node.path) {
            let base = UsageBase { mzxid: node.mzxid, mtime: node.mtime, version: node.version };
            partition.usage.insert(node.hash, base);
        }
        let mut odd = EVEN;
        if Odd::of(node) != Odd::none(node.czxid) {
            odd = self.odd.len() as u32;
            self.odd.push(Odd::of(node));
        }
        self.nodes.push(Gathered {
            hash: [(node.hash.0 >> 64) as u64, node.hash.0 as u64],
            czxid: node.czxid,
            ctime: node.ctime,
            address,
            record_bytes,
            acl: node.acl,
            version: node.version,
            data_length: node.data.map_or(0, |data| data.len() as u32),
            odd,
        });
    }

    /// Takes a node's place among the children of its parent, which is this partition's.
    pub fn link(&mut self, zxid: Zxid, parent: PathHash, child: PathHash, name: &str) {
        let partition = &mut self.partition;
        partition.zxid = partition.zxid.max(zxid);
        let record = Record::Link(Link { parent, child, cversion: None, moves_pzxid: false, name });
        let address = partition.log.append(zxid, &record);
        partition.live += padded(record.bytes() as u64);
        self.links.push(GatheredLink { parent, child: ChildEntry::new(child, address) });
    }

    /// Nodes so far.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The path of a node, if it came: it is searched for, and read.
    pub fn path(&self, hash: PathHash) -> Option<&str> {
        let gathered = || self.nodes.iter().find(|node| node.hash() == hash);
        let (address, bytes) = match self.partition.get(hash) {
            Some(entry) => (entry.address, entry.record_bytes),
            None => gathered().map(|node| (node.address, node.record_bytes))?,
        };
        match self.partition.record(address, bytes) {
            Ok(Record::Node(node)) => Some(node.path),
            _ => None,
        }
    }

    /// Makes the index, once, when everything has come, and shows all nodes on the way, in the order of their hashes.
    ///
    /// # Errors
    /// [`NoTree`]: the snapshot is of no use.
    pub fn make_index(&mut self, visit: &mut dyn FnMut(&FilledNode)) -> Result<(), NoTree> {
        let PartitionFill { partition, nodes, odd, links } = self;
        let mut order: Vec<(u64, u32)> = nodes.iter().zip(0..).map(|(node, at)| (node.hash[0], at)).collect();
        order.sort_unstable_by(|(a, at), (b, other)| {
            let low = |at: &u32| nodes.get(*at as usize).map(|node| node.hash[1]);
            a.cmp(b).then_with(|| low(at).cmp(&low(other)))
        });
        links.sort_unstable();
        let mut index = OrderedIndex::new(nodes.len());
        let mut last = None;
        let mut links = &links[..];
        let mut siblings = Vec::new();
        for node in order.iter().filter_map(|(_, at)| nodes.get(*at as usize)) {
            let hash = node.hash();
            if last.replace(hash) == Some(hash) {
                return Err(NoTree::Twice(hash));
            }
            siblings.clear();
            while let Some((link, rest)) = links.split_first().filter(|(link, _)| link.parent <= hash) {
                if link.parent != hash {
                    return Err(partition.orphan(link));
                }
                partition.add_sibling(&mut siblings, link.child);
                links = rest;
            }
            let odd = odd.get(node.odd as usize).copied().unwrap_or(Odd::none(node.czxid));
            let entry = NodeEntry {
                hash,
                address: node.address,
                record_bytes: node.record_bytes,
                acl: node.acl,
                aversion: odd.aversion,
                owner: odd.owner,
                czxid: node.czxid,
                ctime: node.ctime,
                pzxid: odd.pzxid,
                cversion: odd.cversion,
                num_children: siblings.len() as u32,
            };
            index.push(&entry, ChildSet::from_sorted(&siblings));
            visit(&FilledNode { entry, version: node.version, data_length: node.data_length });
        }
        if let Some(link) = links.first() {
            return Err(partition.orphan(link));
        }
        partition.index = index.finish();
        (self.nodes, self.odd, self.links) = Default::default();
        Ok(())
    }
}

impl Partition {
    fn orphan(&self, link: &GatheredLink) -> NoTree {
        NoTree::Orphan(self.link(LinkRef(link.child.link())).map_or(PathHash::default(), |link| link.child))
    }

    /// Puts a child behind its siblings. Should its key be that of the one before, it takes that one's place, as
    /// [`ChildSet::insert`] has it: what is live is the record that came first.
    fn add_sibling(&mut self, siblings: &mut Vec<ChildEntry>, child: ChildEntry) {
        match siblings.last_mut().filter(|last| last.is_same_child(child)) {
            Some(last) => {
                *last = child;
                self.live -= self.log.record_bytes(child.link()).map_or(0, |bytes| padded(bytes.into()));
            }
            None => siblings.push(child),
        }
    }
}
