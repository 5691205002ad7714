//! A snapshot taken in: fresh partitions in a generation of their own, beside those in use.
//!
//! Nothing of it is in effect before the host has made a manifest of [`Stage::cuts`] and [`Stage::system`] durable.
//! Until then the old partitions and the old manifest are as they were: to give up, drop the stage and remove the files
//! of its generation (the next start removes them too).
//!
//! Until the end nobody reads what has come. So what index and ledger are to know is only gathered on the way, and their
//! tables are made in one go behind the last node ([`engine::partition::PartitionFill`]); that is also when it shows
//! whether everything is one tree.

use super::reader::{Event, SnapshotError};
use super::record::{SnapshotAcl, SnapshotNode};
use crate::ledger::{Acls, FRESH, LedgerLoader, LoadError, LoadedPart, NodeFact, NodeState, OrderedNodes};
use crate::role::SystemState;
use engine::acl::{Acl, AclId, AclList};
use engine::ids::{PartitionId, SessionId};
use engine::node_owner::NodeOwner;
use engine::partition::{
    FilledNode, LogAction, NoTree, NodeEntry, NodeFacts, NodeImage, Partition, PartitionCut, PartitionFill,
    SegmentBytes,
};
use engine::path::{self, HashKey, PathHash};
use engine::zxid::Zxid;
use std::collections::HashMap;
use std::sync::Arc;

/// Partitions being filled from a snapshot.
pub struct Stage {
    key: HashKey,
    zxid: Zxid,
    /// By partition.
    parts: Vec<StagePart>,
    acls: Acls,
    numbers: HashMap<SnapshotAcl, AclId>,
    sessions: Vec<(SessionId, i32)>,
    nodes: u64,
    closed: u64,
    cuts: Vec<PartitionCut>,
}

impl Stage {
    /// A stage for the snapshot as of `zxid`: `partitions` (a power of two) empty partitions whose paths are hashed by
    /// `key` and whose files belong to `generation`, which must be newer than every one in use.
    pub fn new(key: HashKey, partitions: u32, generation: u32, zxid: Zxid) -> Stage {
        Stage {
            key,
            zxid,
            parts: (0..partitions).map(|id| StagePart::new(PartitionId(id as u16), generation)).collect(),
            acls: Acls::default(),
            numbers: HashMap::new(),
            sessions: Vec::new(),
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
            Event::Node(node) => self.node(&node),
            Event::End => {
                self.end();
                return self.complete();
            }
        }
        Ok(())
    }

    /// [`Event::End`], for a host that goes on itself: everything has been handed out for the files when this returns,
    /// and the parts are still to be [made](StagePart::make), by several threads if it likes. Then [`Self::complete`].
    pub fn end(&mut self) {
        self.add_fresh();
        self.parts.iter_mut().for_each(|part| part.fill.partition_mut().flush_tail());
    }

    /// The parts.
    pub fn parts(&mut self) -> &mut [StagePart] {
        &mut self.parts
    }

    /// Makes the parts that have not been made.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn complete(&mut self) -> Result<(), SnapshotError> {
        self.parts.iter_mut().for_each(StagePart::make);
        match self.parts.iter().find_map(|part| part.problem) {
            Some(problem) => Err(self.refused(problem)),
            None => Ok(()),
        }
    }

    fn node(&mut self, node: &SnapshotNode<'_>) {
        let parent = path::parent(&node.path).map(|parent| self.key.hash(parent));
        let hash = self.key.hash(&node.path);
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
    }

    fn install(&mut self, image: &NodeImage<'_>, parent: Option<PathHash>) {
        let zxid = self.zxid;
        let place = self.place(image.hash);
        let part = &mut self.parts[place];
        part.loaded.collect(&NodeFact::from(&NodeFacts { image: *image, num_children: 0 }));
        part.fill.node(zxid, image);
        if let Some(parent) = parent {
            let place = self.place(parent);
            self.parts[place].fill.link(zxid, parent, image.hash, path::name(image.path));
        }
        self.nodes += 1;
    }

    /// The number of a list. One that the table lacks belongs to a node that a later transaction removes or changes;
    /// until then nobody but a superuser has a right to it.
    fn number(&mut self, acl: SnapshotAcl) -> AclId {
        if acl == SnapshotAcl::OPEN {
            return AclId::OPEN;
        }
        if let Some(id) = self.numbers.get(&acl) {
            return *id;
        }
        self.closed += 1;
        let nobody: AclList = [Acl::world(0)].into();
        self.acls.intern(&nobody, self.zxid)
    }

    /// Adds the nodes that are always there, where an old server did not have them.
    fn add_fresh(&mut self) {
        for (path, _, acl, aversion) in FRESH {
            let hash = self.key.hash(path);
            if self.parts[self.place(hash)].fill.path(hash).is_some() {
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

    /// Names what makes the snapshot no tree.
    fn refused(&self, problem: NoTree) -> SnapshotError {
        let (NoTree::Twice(hash) | NoTree::Orphan(hash)) = problem;
        let path = self.parts[self.place(hash)].fill.path(hash).unwrap_or("(unreadable)").into();
        match problem {
            NoTree::Twice(_) => SnapshotError::Twice(path),
            NoTree::Orphan(_) => SnapshotError::Orphan(path),
        }
    }

    fn partitions(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.parts.iter_mut().map(|part| part.fill.partition_mut())
    }

    fn partition_mut(&mut self, id: PartitionId) -> Option<&mut Partition> {
        self.parts.get_mut(usize::from(id.0)).map(|part| part.fill.partition_mut())
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

    /// Gives the ledger, once, what it must know of every node.
    ///
    /// # Errors
    /// [`LoadError`]: there can be no such node.
    pub fn load(&mut self, loader: &mut LedgerLoader) -> Result<(), LoadError> {
        for part in &mut self.parts {
            loader.add_collected(part.fill.partition().id(), std::mem::take(&mut part.loaded))?;
        }
        Ok(())
    }

    /// The partitions, for the shards to be. Also those that have nothing of it stand for the snapshot.
    pub fn into_partitions(mut self) -> Vec<Partition> {
        let zxid = self.zxid;
        self.partitions().for_each(|partition| partition.stands_for(zxid));
        self.parts.into_iter().map(|part| part.fill.into_partition()).collect()
    }

    fn place(&self, hash: PathHash) -> usize {
        hash.partition(self.parts.len() as u32).0.into()
    }
}

/// Files.
impl Stage {
    /// What is to be done to the files now.
    pub fn actions(&mut self, out: &mut Vec<LogAction>) {
        self.partitions().for_each(|partition| partition.actions(out));
    }

    /// As [`Partition::segment_ready`].
    pub fn segment_ready(&mut self, partition: PartitionId, segment: u32, bytes: Arc<dyn SegmentBytes>) {
        if let Some(partition) = self.partition_mut(partition) {
            partition.segment_ready(segment, bytes);
        }
    }

    /// As [`Partition::written`].
    pub fn written(&mut self, partition: PartitionId, segment: u32, upto: u64) {
        if let Some(partition) = self.partition_mut(partition) {
            partition.written(segment, upto);
        }
    }

    /// After the end: everything is to be written out.
    pub fn seal(&mut self) {
        let zxid = self.zxid;
        let cut = |partition: &mut Partition| {
            partition.flush_tail();
            let cut = partition.cut();
            PartitionCut { zxid: cut.zxid.max(zxid), ..cut }
        };
        self.cuts = self.partitions().map(cut).collect();
    }

    /// What a manifest says of the partitions, once everything up to [`Self::seal`] has been written. The files are to
    /// be flushed before the manifest is.
    pub fn cuts(&self) -> Option<&[PartitionCut]> {
        let mut pairs = self.parts.iter().zip(&self.cuts);
        let is_written = |(part, cut): (&StagePart, _)| part.fill.partition().is_written(cut);
        (!self.cuts.is_empty() && pairs.all(is_written)).then_some(&self.cuts)
    }
}

/// One partition of a stage, and what the ledger is to know of its znodes.
pub struct StagePart {
    fill: PartitionFill,
    loaded: LoadedPart,
    is_made: bool,
    problem: Option<NoTree>,
}

impl StagePart {
    fn new(id: PartitionId, generation: u32) -> StagePart {
        let (fill, loaded) = (PartitionFill::new(id, generation), LoadedPart::default());
        StagePart { fill, loaded, is_made: false, problem: None }
    }

    /// Makes its tables, behind [`Stage::end`]; does nothing when that has been done.
    pub fn make(&mut self) {
        if std::mem::replace(&mut self.is_made, true) {
            return;
        }
        let mut nodes = OrderedNodes::new(self.fill.nodes());
        let made = self.fill.make_index(&mut |FilledNode { entry, version, data_length }| {
            let NodeEntry { hash, cversion, aversion, num_children, acl, owner, .. } = *entry;
            let (version, children, data_length) = (*version, num_children, *data_length);
            nodes.push(hash, &NodeState { cversion, version, aversion, children, acl, owner, data_length });
        });
        self.problem = made.err();
        self.loaded.set_nodes(nodes);
    }
}
