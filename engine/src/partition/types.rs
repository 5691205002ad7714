//! What a partition says about its nodes, its children and its log.

use crate::acl::AclId;
use crate::ids::PartitionId;
use crate::node_owner::NodeOwner;
use crate::path::PathHash;
use crate::stat::{Stat, wire_cversion};
use crate::table::TableCursor;
use crate::zxid::Zxid;
use std::ops::Range;

/// Where a record begins in the log of its partition, in 40 bits: 16 name the segment's slot in memory, 24 the place in
/// the segment in units of 4 bytes. Good for as long as the partition lives and the record's generation has not been
/// released ([`super::Partition::release_retired`]); never written to a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogAddress(pub(super) u64);

impl LogAddress {
    /// Records begin at multiples of this.
    pub(super) const UNIT: u64 = 4;
    /// Bits of the place in the segment.
    const UNIT_BITS: u32 = 24;
    /// A record begins below this offset of its segment: 64 MiB.
    pub(super) const OFFSET_LIMIT: u64 = Self::UNIT << Self::UNIT_BITS;
    /// Slots for segments.
    pub(super) const SLOTS: usize = 1 << 16;

    pub(super) const fn new(slot: u16, offset: u64) -> LogAddress {
        LogAddress(((slot as u64) << Self::UNIT_BITS) | (offset / Self::UNIT))
    }

    pub(super) const fn slot(self) -> usize {
        (self.0 >> Self::UNIT_BITS) as usize
    }

    pub(super) const fn offset(self) -> u64 {
        (self.0 & ((1 << Self::UNIT_BITS) - 1)) * Self::UNIT
    }

    pub(super) const fn packed(self) -> [u8; 5] {
        let [a, b, c, d, e, ..] = self.0.to_le_bytes();
        [a, b, c, d, e]
    }

    pub(super) const fn unpacked(bytes: [u8; 5]) -> LogAddress {
        let [a, b, c, d, e] = bytes;
        LogAddress(u64::from_le_bytes([a, b, c, d, e, 0, 0, 0]))
    }
}

/// Everything of a znode that changes without its record being rewritten, and where the record lies. A value like this
/// is also the previous version of a node, which history keeps: the record that it names stays in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeEntry {
    /// Hash of the path.
    pub hash: PathHash,
    /// Where the record begins.
    pub address: LogAddress,
    /// Bytes of the record.
    pub record_bytes: u32,
    /// The interned ACL.
    pub acl: AclId,
    /// setACL count.
    pub aversion: i32,
    /// The stored owner.
    pub owner: NodeOwner,
    /// zxid of the creation.
    pub czxid: Zxid,
    /// Time of the creation, milliseconds since the epoch.
    pub ctime: i64,
    /// zxid of the last creation or deletion of a child.
    pub pzxid: Zxid,
    /// Stored cversion: creations of children.
    pub cversion: i32,
    /// Direct children.
    pub num_children: u32,
}

impl NodeEntry {
    /// Bytes of path and data together, what `approximateDataSize` counts for the node.
    pub const fn data_bytes(&self) -> u64 {
        self.record_bytes as u64 - super::record::NODE_FIXED as u64
    }
}

/// A znode's record, read in place, together with what its entry says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeView<'a> {
    /// The full path.
    pub path: &'a str,
    /// The data; `None` is null.
    pub data: Option<&'a [u8]>,
    /// The interned ACL.
    pub acl: AclId,
    /// The stored owner.
    pub owner: NodeOwner,
    /// zxid of the creation.
    pub czxid: Zxid,
    /// Time of the creation, milliseconds since the epoch.
    pub ctime: i64,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the last setData, milliseconds since the epoch.
    pub mtime: i64,
    /// setData count.
    pub version: i32,
}

impl NodeView<'_> {
    /// The Stat of the node whose entry this view was made of. `extended_types` as in [`NodeOwner::kind`].
    pub fn stat(&self, entry: &NodeEntry, extended_types: bool) -> Stat {
        let num_children = entry.num_children as i32;
        Stat {
            czxid: self.czxid.to_wire(),
            mzxid: self.mzxid.to_wire(),
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: wire_cversion(entry.cversion, num_children),
            aversion: entry.aversion,
            ephemeral_owner: self.owner.wire(extended_types),
            data_length: self.data.map_or(0, |data| data.len() as i32),
            num_children,
            pzxid: entry.pzxid.to_wire(),
        }
    }
}

/// A node as a snapshot or an initial tree brings it, with every field given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeImage<'a> {
    /// Hash of the path.
    pub hash: PathHash,
    /// The full path.
    pub path: &'a str,
    /// The data; `None` is null.
    pub data: Option<&'a [u8]>,
    /// The interned ACL.
    pub acl: AclId,
    /// The stored owner.
    pub owner: NodeOwner,
    /// zxid of the creation.
    pub czxid: Zxid,
    /// Time of the creation, milliseconds since the epoch.
    pub ctime: i64,
    /// zxid of the last setData.
    pub mzxid: Zxid,
    /// Time of the last setData, milliseconds since the epoch.
    pub mtime: i64,
    /// zxid of the last creation or deletion of a child.
    pub pzxid: Zxid,
    /// setData count.
    pub version: i32,
    /// Stored cversion: creations of children.
    pub cversion: i32,
    /// setACL count.
    pub aversion: i32,
}

/// The final state of one node, as recovery shows it to whoever keeps something beside the partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeFacts<'a> {
    /// The node.
    pub image: NodeImage<'a>,
    /// Direct children.
    pub num_children: u32,
}

/// A child's entry in its parent's list: where the record with its name lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LinkRef(pub(super) LogAddress);

/// Position in a list of children, which is in the order of the children's hashes. It stays good while the list
/// changes: what is behind it has been seen, what is before it has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChildCursor(pub(super) TableCursor);

impl ChildCursor {
    /// Before the first child.
    pub const START: ChildCursor = ChildCursor(TableCursor::START);

    /// Behind this child and all whose hash is smaller.
    pub fn after(child: PathHash) -> Option<ChildCursor> {
        TableCursor::after(PathHash(child.0 & super::children::KEY_MASK)).map(ChildCursor)
    }
}

/// Position in a walk over all nodes in the order of their hashes, likewise good while the partition changes.
pub type ScanCursor = TableCursor;

/// What a piece did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The entry before the piece: of the node or, for Link and Unlink, of the parent. `None` where there was none.
    pub previous: Option<NodeEntry>,
    /// The child that came or went; `None` if the piece changed no list of children.
    pub child: Option<ChildChange>,
    /// The entry after the piece. `None` where there is none.
    pub current: Option<NodeEntry>,
}

/// A child that came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChildChange {
    /// Hash of the child's path.
    pub child: PathHash,
    /// Where its name lies, also of one that went.
    pub link: LinkRef,
    /// Came rather than went.
    pub added: bool,
}

/// A range of bytes in a segment file of the partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Generation of the segment.
    pub generation: u32,
    /// Number of the segment, unique in its partition.
    pub segment: u32,
    /// Bytes from the segment's beginning.
    pub range: Range<u64>,
}

/// A log does not say what was written to it. Nothing of it may be served; the remedy is to take the node's data from
/// another member or from a backup.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "partition {} is damaged: segment {segment}, offset {offset}: {fault}; restore the data directory from a backup, \
     or empty it and let the server take its state from the ensemble", partition.0
)]
pub struct Damage {
    /// The partition.
    pub partition: PartitionId,
    /// The segment.
    pub segment: u32,
    /// Offset in the segment.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with a place in a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The file is missing, too short or not mapped there.
    #[error("bytes are missing")]
    Missing,
    /// The segment's first bytes are not those of this segment.
    #[error("the segment header is wrong")]
    Header,
    /// The checksum of a record does not hold.
    #[error("a record fails its checksum")]
    Checksum,
    /// The checksum holds, and yet the record makes no sense.
    #[error("a record cannot be read")]
    Record,
    /// A child is linked to a parent that is not there.
    #[error("a child's parent is missing")]
    Orphan,
    /// The counts of the manifest differ from what the log holds.
    #[error("the log holds other counts than the manifest says")]
    Counts,
}
