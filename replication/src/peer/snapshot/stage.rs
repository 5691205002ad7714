//! A snapshot taken in: fresh partitions in a generation of their own, beside those in use.
//!
//! Nothing of it is in effect before the host has made a manifest of [`Stage::cuts`] and [`Stage::system`] durable.
//! Until then the old partitions and the old manifest are as they were: to give up, drop the stage and remove the files
//! of its generation (the next start removes them too).

use super::reader::{Event, SnapshotError};
use super::record::{SnapshotAcl, SnapshotNode};
use crate::ledger::{Acls, FRESH, LedgerLoader, LoadError, NodeFact};
use crate::peer::files::digest::TreeDigest;
use crate::role::SystemState;
use engine::acl::{Acl, AclId, AclList};
use engine::ids::{PartitionId, SessionId};
use engine::node_owner::NodeOwner;
use engine::partition::{Damage, LogAction, NodeEntry, NodeImage, Partition, PartitionCut, ScanCursor, SegmentBytes};
use engine::path::{self, HashKey, PathHash};
use engine::zxid::Zxid;
use std::collections::HashMap;
use std::sync::Arc;

/// Nodes that are scanned at a time.
const SCAN_NODES: usize = 1024;

/// Partitions being filled from a snapshot.
pub struct Stage {
    key: HashKey,
    zxid: Zxid,
    partitions: Vec<Partition>,
    acls: Acls,
    numbers: HashMap<SnapshotAcl, AclId>,
    sessions: Vec<(SessionId, i32)>,
    digest: TreeDigest,
    nodes: u64,
    closed: u64,
    cuts: Vec<PartitionCut>,
}

/// Why facts of a stage cannot be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StageError {
    /// A log does not hold what was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The nodes make no tree.
    #[error(transparent)]
    Tree(#[from] LoadError),
}

impl Stage {
    /// A stage for the snapshot as of `zxid`: `partitions` (a power of two) empty partitions whose paths are hashed by
    /// `key` and whose files belong to `generation`, which must be newer than every one in use.
    pub fn new(key: HashKey, partitions: u32, generation: u32, zxid: Zxid) -> Stage {
        Stage {
            key,
            zxid,
            partitions: (0..partitions).map(|id| Partition::new(PartitionId(id as u16), generation)).collect(),
            acls: Acls::default(),
            numbers: HashMap::from([(SnapshotAcl::OPEN, AclId::OPEN)]),
            sessions: Vec::new(),
            digest: TreeDigest::default(),
            nodes: 0,
            closed: 0,
            cuts: Vec::new(),
        }
    }

    /// Takes what the reader has read.
    ///
    /// # Errors
    /// [`SnapshotError`]: what was sent is no tree. The stage is to be dropped.
    pub fn take(&mut self, event: Event<'_>) -> Result<(), SnapshotError> {
        match event {
            Event::Session(session, timeout_ms) => self.sessions.push((session, timeout_ms)),
            Event::Acl(number, list) => {
                let id = self.acls.intern(&list, self.zxid);
                self.numbers.insert(number, id);
            }
            Event::Node(node) => return self.node(&node),
            Event::End => self.complete(),
        }
        Ok(())
    }

    fn node(&mut self, node: &SnapshotNode<'_>) -> Result<(), SnapshotError> {
        let parent = path::parent(&node.path).map(|parent| self.key.hash(parent));
        if parent.is_some_and(|parent| self.entry(parent).is_none()) {
            return Err(SnapshotError::Orphan((&*node.path).into()));
        }
        let hash = self.key.hash(&node.path);
        if self.entry(hash).is_some() {
            return Err(SnapshotError::Twice((&*node.path).into()));
        }
        self.digest.add(&node.path, node.data, &node.stat);
        let acl = self.number(node.acl);
        let stat = &node.stat;
        let image = NodeImage {
            hash,
            path: &node.path,
            data: node.data,
            acl,
            owner: stat.owner,
            czxid: stat.czxid,
            ctime: stat.ctime,
            mzxid: stat.mzxid,
            mtime: stat.mtime,
            pzxid: stat.pzxid,
            version: stat.version,
            cversion: stat.cversion,
            aversion: stat.aversion,
        };
        self.install(&image, parent);
        Ok(())
    }

    fn install(&mut self, image: &NodeImage<'_>, parent: Option<PathHash>) {
        let zxid = self.zxid;
        self.partition(image.hash).install(zxid, image);
        if let Some(parent) = parent {
            self.partition(parent).install_link(zxid, parent, image.hash, path::name(image.path));
        }
        self.nodes += 1;
    }

    /// The number of a list. One that the table lacks belongs to a node that a later transaction removes or changes;
    /// until then nobody but a superuser has a right to it.
    fn number(&mut self, acl: SnapshotAcl) -> AclId {
        if let Some(id) = self.numbers.get(&acl) {
            return *id;
        }
        self.closed += 1;
        let nobody: AclList = [Acl::world(0)].into();
        self.acls.intern(&nobody, self.zxid)
    }

    /// Makes the nodes that are always there, where an old server did not have them.
    fn complete(&mut self) {
        for (path, _, acl, aversion) in FRESH {
            let hash = self.key.hash(path);
            if self.entry(hash).is_some() {
                continue;
            }
            let image = NodeImage {
                hash,
                path,
                data: Some(b""),
                acl,
                owner: NodeOwner::PERSISTENT,
                czxid: Zxid::ZERO,
                ctime: 0,
                mzxid: Zxid::ZERO,
                mtime: 0,
                pzxid: Zxid::ZERO,
                version: 0,
                cversion: 0,
                aversion,
            };
            let parent = path::parent(path).map(|parent| self.key.hash(parent));
            self.install(&image, parent);
        }
    }

    /// Digest of the nodes taken so far.
    pub fn digest(&self) -> TreeDigest {
        self.digest
    }

    /// Nodes so far.
    pub fn nodes(&self) -> u64 {
        self.nodes
    }

    /// Nodes that named an ACL which the snapshot did not tell.
    pub fn closed_nodes(&self) -> u64 {
        self.closed
    }

    /// Sessions, lists and counters as of the snapshot.
    pub fn system(&self) -> SystemState {
        SystemState {
            zxid: self.zxid,
            sessions: self.sessions.clone(),
            next_session: 0,
            acls: self.acls.iter().map(|(id, list)| (id, list.clone())).collect(),
            next_acl: self.acls.next(),
        }
    }

    /// Gives the ledger what it must know of every node. Reads the records that were just written.
    ///
    /// # Errors
    /// [`StageError`]
    pub fn load(&self, loader: &mut LedgerLoader) -> Result<(), StageError> {
        for partition in &self.partitions {
            for_each_node(partition, &mut |entry, node| {
                loader.node(NodeFact {
                    path: node.path,
                    hash: entry.hash,
                    cversion: entry.cversion,
                    version: node.version,
                    aversion: entry.aversion,
                    children: entry.num_children,
                    acl: node.acl,
                    owner: node.owner,
                    data_length: node.data.map_or(0, |data| data.len() as u32),
                    mtime_ms: node.mtime,
                    text: node.data.filter(|_| NodeFact::wants_text(node.path)),
                })
            })?;
        }
        Ok(())
    }

    /// The partitions, for the shards to be.
    pub fn into_partitions(self) -> Vec<Partition> {
        self.partitions
    }

    fn partition(&mut self, hash: PathHash) -> &mut Partition {
        let id = hash.partition(self.partitions.len() as u32);
        &mut self.partitions[usize::from(id.0)]
    }

    fn entry(&self, hash: PathHash) -> Option<NodeEntry> {
        let id = hash.partition(self.partitions.len() as u32);
        self.partitions[usize::from(id.0)].get(hash)
    }
}

/// Files.
impl Stage {
    /// What is to be done to the files now.
    pub fn actions(&mut self, out: &mut Vec<LogAction>) {
        for partition in &mut self.partitions {
            partition.actions(out);
        }
    }

    /// As [`Partition::segment_ready`].
    pub fn segment_ready(&mut self, partition: PartitionId, segment: u32, bytes: Arc<dyn SegmentBytes>) {
        if let Some(partition) = self.partitions.get_mut(usize::from(partition.0)) {
            partition.segment_ready(segment, bytes);
        }
    }

    /// As [`Partition::written`].
    pub fn written(&mut self, partition: PartitionId, segment: u32, upto: u64) {
        if let Some(partition) = self.partitions.get_mut(usize::from(partition.0)) {
            partition.written(segment, upto);
        }
    }

    /// Bytes that have not been written yet: feed no more while they are many.
    pub fn unwritten_bytes(&self) -> u64 {
        self.partitions.iter().map(Partition::unwritten_bytes).sum()
    }

    /// After the end: everything is to be written out.
    pub fn seal(&mut self) {
        self.cuts.clear();
        for partition in &mut self.partitions {
            partition.flush_tail();
            let mut cut = partition.cut();
            cut.zxid = cut.zxid.max(self.zxid);
            self.cuts.push(cut);
        }
    }

    /// What a manifest says of the partitions, once everything up to [`Self::seal`] has been written. The files are to
    /// be flushed before the manifest is.
    pub fn cuts(&self) -> Option<&[PartitionCut]> {
        let mut pairs = self.partitions.iter().zip(&self.cuts);
        (!self.cuts.is_empty() && pairs.all(|(partition, cut)| partition.is_written(cut))).then_some(&self.cuts)
    }
}

/// Shows every node of a partition.
fn for_each_node(
    partition: &Partition,
    each: &mut dyn FnMut(&NodeEntry, &engine::partition::NodeView<'_>) -> Result<(), LoadError>,
) -> Result<(), StageError> {
    let mut entries = Vec::with_capacity(SCAN_NODES);
    let mut from = Some(ScanCursor::START);
    while let Some(cursor) = from {
        entries.clear();
        from = partition.scan_nodes(cursor, SCAN_NODES, &mut |entry| entries.push(*entry));
        for entry in &entries {
            each(entry, &partition.node(entry)?)?;
        }
    }
    Ok(())
}
