//! One partition of the namespace: its log, its index, and what a committed piece does to them.
//!
//! The log (`log.rs`, in the format of `record.rs`) holds all that a partition knows; the index says where the record
//! of a node lies and keeps what changes without the record. A piece is appended to the log and entered in the index at
//! once, without reading from a file. Reading a node or a child's name goes to the log; whether that would wait for a
//! disk is asked first ([`Partition::is_resident`], [`Partition::link_missing`]).
//!
//! All of it is sans-IO. The host takes [`LogAction`]s and answers with [`Partition::segment_ready`] and
//! [`Partition::written`].
//!
//! *Checkpoint.* In one step: [`Partition::flush_tail`], then [`Partition::cut`]. When [`Partition::is_written`] says
//! so for the cut, the files are flushed and the cut goes into a [`Manifest`]. When that is durable,
//! [`Partition::manifest_durable`]. At start, files that the manifest does not name are removed, and [`recover`]
//! rebuilds the partition from those that it names.
//!
//! *Old versions.* A [`NodeEntry`] or [`LinkRef`] stays readable when the node changes or goes, and also when
//! compaction moves it, until [`Partition::release_retired`] says that nobody holds one from before.

mod check;
mod children;
mod compaction;
mod fill;
mod index;
mod log;
mod manifest;
mod record;
mod recovery;
mod segment;
mod types;

#[cfg(test)]
mod tests;

pub use check::SegmentCheck;
pub use compaction::{COMPACT_FROM_BYTES, CompactionStep};
pub use fill::{FilledNode, NoTree, PartitionFill};
pub use log::{BLOCK, CHUNK, LogAction, SEGMENT_MAX, SEGMENT_MIN};
pub use manifest::{Manifest, ManifestError, PartitionCut, SegmentCut};
pub use recovery::recover;
pub use segment::SegmentBytes;
pub use types::*;

use crate::ids::PartitionId;
use crate::path::{PathHash, QUOTA_ROOT, name};
use crate::piece::Piece;
use crate::stat::Stat;
use crate::table::TableCursor;
use crate::zxid::Zxid;
use children::ChildSet;
use compaction::Compaction;
use index::Index;
use log::Log;
use record::{LINK_FIXED, Link, Record, padded};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes that are asked for of a link's record while its length is not known.
const LINK_GUESS: u32 = 512;

/// Partitions are recovered on one thread and served on another.
const _: fn() = || {
    fn is_send<T: Send>() {}
    is_send::<Partition>();
};

/// A partition. See the module's documentation.
pub struct Partition {
    id: PartitionId,
    /// The last transaction of which it has applied a piece.
    zxid: Zxid,
    log: Log,
    index: Index,
    /// Bytes of the records that the index refers to, padding included.
    live: u64,
    /// Of the nodes in the quota tree, what a change of usage leaves as it is.
    usage: HashMap<PathHash, UsageBase>,
    compaction: Option<Compaction>,
    damage: Option<Damage>,
}

/// The fields of a record that [`Piece::QuotaUsage`] keeps, and that the index does not have.
#[derive(Clone, Copy)]
struct UsageBase {
    mzxid: Zxid,
    mtime: i64,
    version: i32,
}

/// Applying.
impl Partition {
    /// An empty partition, whose first segment will belong to `generation`.
    pub fn new(id: PartitionId, generation: u32) -> Partition {
        Partition::with_log(id, Log::new(id, generation))
    }

    fn with_log(id: PartitionId, log: Log) -> Partition {
        let (index, usage) = (Index::default(), HashMap::new());
        Partition { id, zxid: Zxid::ZERO, log, index, live: 0, usage, compaction: None, damage: None }
    }

    /// Applies a piece of the transaction `zxid`, whose time is `time_ms` (milliseconds since the epoch).
    ///
    /// Pieces hold without condition: a Put replaces what is there, a Link of a child that is there counts once, and
    /// what concerns a node that is not there does nothing. So applying again what follows some earlier transaction,
    /// all of it and in order, leads to the same state.
    pub fn apply(&mut self, zxid: Zxid, time_ms: i64, piece: &Piece) -> Applied {
        self.zxid = self.zxid.max(zxid);
        match piece {
            Piece::Put { node, data, acl, owner } => self.write_node(
                zxid,
                &NodeImage {
                    hash: node.hash,
                    path: &node.path,
                    data: data.as_deref(),
                    acl: *acl,
                    owner: *owner,
                    czxid: zxid,
                    ctime: time_ms,
                    mzxid: zxid,
                    mtime: time_ms,
                    pzxid: zxid,
                    version: 0,
                    cversion: 0,
                    aversion: 0,
                },
            ),
            Piece::SetData { node, data, version } => match self.get(node.hash) {
                Some(entry) => {
                    let base = UsageBase { mzxid: zxid, mtime: time_ms, version: *version };
                    self.write_node(zxid, &rewritten(&entry, &node.path, data.as_deref(), base))
                }
                None => Applied::default(),
            },
            Piece::Rewrite { node, data, version, mzxid } => match self.get(node.hash) {
                Some(entry) => {
                    let base = UsageBase { mzxid: *mzxid, mtime: time_ms, version: *version };
                    self.write_node(zxid, &rewritten(&entry, &node.path, Some(data), base))
                }
                None => Applied::default(),
            },
            Piece::QuotaUsage { node, data } => match self.get(node.hash) {
                Some(entry) => match self.usage_base(&entry) {
                    Some(base) => self.write_node(zxid, &rewritten(&entry, &node.path, Some(data), base)),
                    None => Applied::default(),
                },
                None => Applied::default(),
            },
            Piece::SetAcl { node, acl, aversion } => match self.get(node.hash) {
                Some(previous) => {
                    self.log.append(zxid, &Record::Acl { hash: node.hash, acl: *acl, aversion: *aversion });
                    self.index.set_acl(node.hash, *acl, *aversion);
                    Applied { previous: Some(previous), child: None, current: self.get(node.hash) }
                }
                None => Applied::default(),
            },
            Piece::Link { parent, child, cversion, moves_pzxid } => {
                let name = name(&child.path);
                let link = Link {
                    parent: *parent,
                    child: child.hash,
                    cversion: Some(*cversion),
                    moves_pzxid: *moves_pzxid,
                    name,
                };
                self.write_link(zxid, &link)
            }
            Piece::Unlink { parent, child, moves_pzxid } => {
                let link_bytes = (LINK_FIXED + name(&child.path).len()) as u32;
                self.unlink(zxid, *parent, child.hash, *moves_pzxid, link_bytes)
            }
            Piece::Remove { node } => {
                if self.get(node.hash).is_none() {
                    return Applied::default();
                }
                self.log.append(zxid, &Record::Remove { hash: node.hash });
                Applied { previous: self.take_out(node.hash), child: None, current: None }
            }
        }
    }

    /// Nothing else of the transactions up to `zxid` concerns this partition.
    pub fn stands_for(&mut self, zxid: Zxid) {
        self.zxid = self.zxid.max(zxid);
    }

    /// Damage met while applying; from then on the partition is not what the pieces say, and the server must stop.
    /// Applying reads the log only in two cases that no healthy history has: usage of a node outside the quota tree,
    /// and the removal of a node that has children.
    pub fn damage(&self) -> Option<Damage> {
        self.damage
    }

    fn write_node(&mut self, zxid: Zxid, node: &NodeImage<'_>) -> Applied {
        let record = Record::Node(*node);
        let address = self.log.append(zxid, &record);
        let previous = self.enter_node(node, address);
        Applied { previous, child: None, current: self.get(node.hash) }
    }

    /// Enters a node whose record is at `address`. Returns the one that it replaces.
    fn enter_node(&mut self, node: &NodeImage<'_>, address: LogAddress) -> Option<NodeEntry> {
        let bytes = Record::Node(*node).bytes() as u64;
        let previous = self.index.put(node, address, bytes as u32);
        self.live += padded(bytes);
        self.live -= previous.map_or(0, |previous| padded(previous.record_bytes.into()));
        if is_in_quota_tree(node.path) {
            let base = UsageBase { mzxid: node.mzxid, mtime: node.mtime, version: node.version };
            self.usage.insert(node.hash, base);
        }
        previous
    }

    fn write_link(&mut self, zxid: Zxid, link: &Link<'_>) -> Applied {
        if self.get(link.parent).is_none() {
            return Applied::default();
        }
        let record = Record::Link(*link);
        let address = self.log.append(zxid, &record);
        let pzxid = link.moves_pzxid.then_some(zxid);
        let Some(linked) = self.index.link(link.parent, link.child, address, link.cversion, pzxid) else {
            return Applied::default();
        };
        let is_new = linked.link.is_none();
        if is_new {
            self.live += padded(record.bytes() as u64);
        }
        let change = ChildChange { child: link.child, link: LinkRef(address), added: true };
        let child = is_new.then_some(change);
        Applied { previous: Some(linked.previous), child, current: Some(linked.current) }
    }

    fn unlink(&mut self, zxid: Zxid, parent: PathHash, child: PathHash, moves_pzxid: bool, link_bytes: u32) -> Applied {
        let pzxid = moves_pzxid.then_some(zxid);
        let Some(linked) = self.index.unlink(parent, child, pzxid) else { return Applied::default() };
        if linked.link.is_some() || linked.previous != linked.current {
            self.log.append(zxid, &Record::Unlink { parent, child, moves_pzxid, link_bytes });
        }
        if linked.link.is_some() {
            self.live -= padded(link_bytes.into());
        }
        let gone = |link| ChildChange { child, link: LinkRef(link), added: false };
        Applied { previous: Some(linked.previous), child: linked.link.map(gone), current: Some(linked.current) }
    }

    /// Takes a node and its list of children out of the index.
    fn take_out(&mut self, hash: PathHash) -> Option<NodeEntry> {
        let (entry, children) = self.index.remove(hash)?;
        self.live -= padded(entry.record_bytes.into());
        self.forget_links(&children);
        self.usage.remove(&hash);
        Some(entry)
    }

    /// The links of these children are dead. In a healthy history there are none: a node with children is not removed,
    /// except by a replay over a newer state.
    fn forget_links(&mut self, children: &ChildSet) {
        let (mut dead, mut unreadable) = (0, None);
        children.walk(TableCursor::START, usize::MAX, &mut |link| match self.log.record_bytes(link) {
            Some(bytes) => dead += padded(bytes.into()),
            None => unreadable = Some(self.damage_at(link, Fault::Missing)),
        });
        self.live -= dead;
        self.damage = self.damage.or(unreadable);
    }

    fn usage_base(&mut self, entry: &NodeEntry) -> Option<UsageBase> {
        if let Some(base) = self.usage.get(&entry.hash) {
            return Some(*base);
        }
        match self.node(entry) {
            Ok(view) => Some(UsageBase { mzxid: view.mzxid, mtime: view.mtime, version: view.version }),
            Err(damage) => {
                self.damage = self.damage.or(Some(damage));
                None
            }
        }
    }
}

/// Reading.
impl Partition {
    /// The partition's number.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// The last transaction of which it has applied a piece.
    pub fn zxid(&self) -> Zxid {
        self.zxid
    }

    /// The node with this hash.
    pub fn get(&self, hash: PathHash) -> Option<NodeEntry> {
        self.index.get(hash)
    }

    /// Reads a node's record: of the current entry, or of an earlier one. What comes from a file is held against its
    /// checksum.
    pub fn node<'a>(&'a self, entry: &NodeEntry) -> Result<NodeView<'a>, Damage> {
        match self.record(entry.address, entry.record_bytes)? {
            Record::Node(node) if node.hash == entry.hash => Ok(NodeView {
                path: node.path,
                data: node.data,
                acl: entry.acl,
                owner: entry.owner,
                czxid: entry.czxid,
                ctime: entry.ctime,
                mzxid: node.mzxid,
                mtime: node.mtime,
                version: node.version,
            }),
            _ => Err(self.damage_at(entry.address, Fault::Record)),
        }
    }

    /// The Stat of a node, whose record is read for it.
    pub fn stat(&self, entry: &NodeEntry, extended_types: bool) -> Result<Stat, Damage> {
        Ok(self.node(entry)?.stat(entry, extended_types))
    }

    /// Whether the node's record can be read without waiting for a disk.
    pub fn is_resident(&self, entry: &NodeEntry) -> bool {
        self.log.is_resident(entry.address, entry.record_bytes)
    }

    /// Where a node's record lies in the files, to be fetched if it is not resident.
    pub fn location(&self, entry: &NodeEntry) -> Place {
        self.log.place(entry.address, entry.record_bytes)
    }

    /// Shows up to `max` children of a node from a position on, in the order of their hashes: hash and name. Returns
    /// where to go on, or `None` if there are no more.
    pub fn children(
        &self,
        parent: PathHash,
        from: ChildCursor,
        max: usize,
        each: &mut dyn FnMut(PathHash, &str),
    ) -> Result<Option<ChildCursor>, Damage> {
        let mut result = Ok(());
        let next = self.child_links(parent, from, max, &mut |link| {
            if result.is_ok() {
                result = self.link(link).map(|link| each(link.child, link.name));
            }
        });
        result.map(|()| next)
    }

    /// Like [`Self::children`] without reading the names: to learn first whether they are resident.
    pub fn child_links(
        &self,
        parent: PathHash,
        from: ChildCursor,
        max: usize,
        each: &mut dyn FnMut(LinkRef),
    ) -> Option<ChildCursor> {
        let children = self.index.children(parent)?;
        children.walk(from.0, max, &mut |link| each(LinkRef(link))).map(ChildCursor)
    }

    /// The link of a child.
    pub fn child(&self, parent: PathHash, child: PathHash) -> Option<LinkRef> {
        self.index.children(parent)?.get(child).map(LinkRef)
    }

    /// The name of a child, also of one that has gone.
    pub fn child_name(&self, link: LinkRef) -> Result<&str, Damage> {
        self.link(link).map(|link| link.name)
    }

    /// What must be fetched before a link's name can be read without waiting; `None` if nothing. A name longer than
    /// expected shows its length only when its beginning is there, so ask again after the fetch.
    pub fn link_missing(&self, link: LinkRef) -> Option<Place> {
        if !self.log.is_resident(link.0, LINK_FIXED as u32) {
            return Some(self.log.place(link.0, LINK_GUESS));
        }
        let bytes = self.log.record_bytes(link.0).unwrap_or(LINK_FIXED as u32);
        (!self.log.is_resident(link.0, bytes)).then(|| self.log.place(link.0, bytes))
    }

    /// Shows up to `max` nodes from a position on, in the order of their hashes. Returns where to go on, or `None` if
    /// there are no more. A node that is there all along is shown exactly once, whatever changes meanwhile.
    pub fn scan_nodes(&self, from: ScanCursor, max: usize, each: &mut dyn FnMut(&NodeEntry)) -> Option<ScanCursor> {
        self.index.walk(from, max, each)
    }

    fn link(&self, link: LinkRef) -> Result<Link<'_>, Damage> {
        let bytes = self.log.record_bytes(link.0).ok_or(self.damage_at(link.0, Fault::Missing))?;
        match self.record(link.0, bytes)? {
            Record::Link(link) => Ok(link),
            _ => Err(self.damage_at(link.0, Fault::Record)),
        }
    }

    fn record(&self, address: LogAddress, bytes: u32) -> Result<Record<'_>, Damage> {
        let (record, is_from_file) = self.log.bytes(address, bytes).ok_or(self.damage_at(address, Fault::Missing))?;
        if is_from_file && !self.log.seed(address).is_some_and(|seed| record::is_intact(record, seed)) {
            return Err(self.damage_at(address, Fault::Checksum));
        }
        let (_, record) = record::decode(record).ok_or(self.damage_at(address, Fault::Record))?;
        Ok(record)
    }

    fn damage_at(&self, address: LogAddress, fault: Fault) -> Damage {
        let place = self.log.place(address, 0);
        Damage { partition: self.id, segment: place.segment, offset: address.offset(), fault }
    }
}

/// Files and figures.
impl Partition {
    /// The file that [`LogAction::NeedSegment`] asked for is there, with its whole length.
    pub fn segment_ready(&mut self, segment: u32, bytes: Arc<dyn SegmentBytes>) {
        self.log.segment_ready(segment, bytes);
    }

    /// Everything below `upto` that was handed out for this segment has been written.
    pub fn written(&mut self, segment: u32, upto: u64) {
        self.log.written(segment, upto);
    }

    /// Hands out what is to be done now.
    pub fn actions(&mut self, out: &mut Vec<LogAction>) {
        self.log.actions(out);
    }

    /// Everything up to here is to be written now, for a checkpoint. Later records begin in another block of the file,
    /// so that what the checkpoint relies on is never written again.
    pub fn flush_tail(&mut self) {
        self.log.flush();
    }

    /// What a manifest says of the partition as it is now. A partition that has seen all transactions up to the
    /// checkpoint's may have its cut's zxid raised to that.
    pub fn cut(&self) -> PartitionCut {
        PartitionCut {
            partition: self.id,
            generation: self.log.generation(),
            zxid: self.zxid,
            nodes: self.node_count(),
            live_bytes: self.live,
            dead_bytes: self.dead_bytes(),
            segments: self.log.cut(),
        }
    }

    /// Whether everything that the cut names has been written (not flushed, which is the host's to do).
    pub fn is_written(&self, cut: &PartitionCut) -> bool {
        self.log.is_written(&cut.segments)
    }

    /// The manifest that holds this cut is durable.
    pub fn manifest_durable(&mut self, cut: &PartitionCut) {
        self.log.superseded(&cut.segments);
    }

    /// Bytes that are not known to be written: what back pressure looks at.
    pub fn unwritten_bytes(&self) -> u64 {
        self.log.unwritten_bytes()
    }

    /// Bytes of the log that say what is.
    pub fn live_bytes(&self) -> u64 {
        self.live
    }

    /// Bytes of the log that compaction would free.
    pub fn dead_bytes(&self) -> u64 {
        self.log.total_bytes().saturating_sub(self.live)
    }

    /// Nodes.
    pub fn node_count(&self) -> u64 {
        self.index.len() as u64
    }

    /// Bytes of all paths and data (`approximateDataSize`).
    pub fn data_bytes(&self) -> u64 {
        self.index.data_bytes()
    }

    /// Bytes of memory that the index takes, lists of children and slack included.
    pub fn index_bytes(&self) -> u64 {
        self.index.memory_bytes() as u64
    }

    /// Bytes of memory that index and unwritten log take.
    pub fn memory_bytes(&self) -> u64 {
        self.index_bytes() + self.log.memory_bytes()
    }
}

/// The image of a node whose record is written anew with other data.
fn rewritten<'a>(entry: &NodeEntry, path: &'a str, data: Option<&'a [u8]>, base: UsageBase) -> NodeImage<'a> {
    NodeImage {
        hash: entry.hash,
        path,
        data,
        acl: entry.acl,
        owner: entry.owner,
        czxid: entry.czxid,
        ctime: entry.ctime,
        mzxid: base.mzxid,
        mtime: base.mtime,
        pzxid: entry.pzxid,
        version: base.version,
        cversion: entry.cversion,
        aversion: entry.aversion,
    }
}

fn is_in_quota_tree(path: &str) -> bool {
    path.strip_prefix(QUOTA_ROOT).is_some_and(|rest| rest.starts_with('/'))
}
