//! A partition against a model tree: random pieces, a host that is late with everything, checkpoints, compaction, and
//! recovery from each cut.

use super::host::{Host, ID, MemoryFile, hash, hashed};
use crate::acl::AclId;
use crate::node_owner::NodeOwner;
use crate::partition::*;
use crate::path::parent;
use crate::piece::HashedPath;
use crate::stat::wire_cversion;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A node as the model knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct ModelNode {
    data: Option<Vec<u8>>,
    acl: AclId,
    owner: NodeOwner,
    stat: Stat,
    children: BTreeSet<String>,
    stored_cversion: i32,
}

/// The pieces' meaning, as simple as can be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Model(BTreeMap<String, ModelNode>);

impl Model {
    fn apply(&mut self, zxid: Zxid, time: i64, piece: &Piece) {
        let raw = zxid.to_wire();
        match piece {
            Piece::Put { node, data, acl, owner } => {
                let children = self.0.get(&*node.path).map(|node| node.children.clone()).unwrap_or_default();
                let stat = Stat {
                    czxid: raw,
                    mzxid: raw,
                    pzxid: raw,
                    ctime: time,
                    mtime: time,
                    ephemeral_owner: owner.wire(true),
                    ..Stat::default()
                };
                let data = data.as_ref().map(|data| data.to_vec());
                let node_state = ModelNode { data, acl: *acl, owner: *owner, stat, children, stored_cversion: 0 };
                self.0.insert(node.path.to_string(), node_state);
            }
            Piece::SetData { node, data, version } => {
                if let Some(node) = self.0.get_mut(&*node.path) {
                    node.data = data.as_ref().map(|data| data.to_vec());
                    node.stat = Stat { mzxid: raw, mtime: time, version: *version, ..node.stat };
                }
            }
            Piece::SetAcl { node, acl, aversion } => {
                if let Some(node) = self.0.get_mut(&*node.path) {
                    node.acl = *acl;
                    node.stat.aversion = *aversion;
                }
            }
            Piece::Link { child, cversion, moves_pzxid, .. } => {
                if let Some(node) = self.0.get_mut(parent(&child.path).unwrap()) {
                    node.children.insert(name(&child.path).to_owned());
                    node.stored_cversion = *cversion;
                    node.stat.pzxid = if *moves_pzxid { raw } else { node.stat.pzxid };
                }
            }
            Piece::Unlink { child, moves_pzxid, .. } => {
                if let Some(node) = self.0.get_mut(parent(&child.path).unwrap()) {
                    node.children.remove(name(&child.path));
                    node.stat.pzxid = if *moves_pzxid { raw } else { node.stat.pzxid };
                }
            }
            Piece::Remove { node } => {
                self.0.remove(&*node.path);
            }
            Piece::QuotaUsage { node, data } => {
                if let Some(node) = self.0.get_mut(&*node.path) {
                    node.data = Some(data.to_vec());
                }
            }
            Piece::Rewrite { node, data, version, mzxid } => {
                if let Some(node) = self.0.get_mut(&*node.path) {
                    node.data = Some(data.to_vec());
                    (node.stat.mzxid, node.stat.mtime, node.stat.version) = (mzxid.to_wire(), time, *version);
                }
            }
        }
    }

    fn stat(node: &ModelNode) -> Stat {
        let num_children = node.children.len() as i32;
        Stat {
            data_length: node.data.as_ref().map_or(0, |data| data.len() as i32),
            num_children,
            cversion: wire_cversion(node.stored_cversion, num_children),
            ..node.stat
        }
    }
}

/// What can be seen of a partition, as a model.
fn seen(partition: &Partition) -> Model {
    let mut entries = Vec::new();
    let mut cursor = Some(ScanCursor::START);
    while let Some(from) = cursor {
        cursor = partition.scan_nodes(from, 7, &mut |entry| entries.push(*entry));
    }
    assert_eq!(entries.len() as u64, partition.node_count());
    let mut data_bytes = 0;
    let mut model = Model::default();
    for entry in entries {
        let view = partition.node(&entry).unwrap();
        assert_eq!(hash(view.path), entry.hash);
        assert_eq!(partition.get(entry.hash), Some(entry));
        data_bytes += view.path.len() + view.data.map_or(0, <[u8]>::len);
        let mut children = BTreeSet::new();
        let mut cursor = Some(ChildCursor::START);
        while let Some(from) = cursor {
            cursor = partition
                .children(entry.hash, from, 3, &mut |child, name| {
                    let path = if view.path == "/" { format!("/{name}") } else { format!("{}/{name}", view.path) };
                    assert_eq!(hash(&path), child);
                    assert!(children.insert(name.to_owned()));
                })
                .unwrap();
        }
        let node = ModelNode {
            data: view.data.map(<[u8]>::to_vec),
            acl: view.acl,
            owner: view.owner,
            stat: partition.stat(&entry, true).unwrap(),
            children,
            stored_cversion: entry.cversion,
        };
        model.0.insert(view.path.to_owned(), node);
    }
    assert_eq!(data_bytes as u64, partition.data_bytes());
    model
}

/// The model with whole Stats, to be held against [`seen`].
fn expected(model: &Model) -> Model {
    let node = |node: &ModelNode| ModelNode { stat: Model::stat(node), ..node.clone() };
    Model(model.0.iter().map(|(path, state)| (path.clone(), node(state))).collect())
}

/// What recovery shows to its visitor, as a model; names of children are not in it.
fn facts(cut: &PartitionCut, files: &[Arc<dyn SegmentBytes>]) -> (Partition, BTreeMap<String, (Stat, AclId, i64)>) {
    let mut shown = BTreeMap::new();
    let partition = recover(cut, files, &mut |facts| {
        let image = facts.image;
        let num_children = facts.num_children as i32;
        let stat = Stat {
            czxid: image.czxid.to_wire(),
            mzxid: image.mzxid.to_wire(),
            ctime: image.ctime,
            mtime: image.mtime,
            version: image.version,
            cversion: wire_cversion(image.cversion, num_children),
            aversion: image.aversion,
            ephemeral_owner: image.owner.wire(true),
            data_length: image.data.map_or(0, |data| data.len() as i32),
            num_children,
            pzxid: image.pzxid.to_wire(),
        };
        assert!(shown.insert(image.path.to_owned(), (stat, image.acl, image.owner.0)).is_none());
    });
    (partition.unwrap(), shown)
}

const PATHS: [&str; 14] = [
    "/",
    "/a",
    "/b",
    "/a/x",
    "/a/y",
    "/a/z",
    "/a/x/1",
    "/a/x/2",
    "/b/x",
    "/\u{e9}",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/zookeeper_limits",
    "/a/a-rather-long-name-so-that-links-differ-in-length",
];

fn path() -> impl Strategy<Value = HashedPath> {
    (0..PATHS.len()).prop_map(|at| hashed(PATHS[at]))
}

fn child() -> impl Strategy<Value = HashedPath> {
    (1..PATHS.len()).prop_map(|at| hashed(PATHS[at]))
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    prop_oneof![
        1 => Just(None),
        8 => (0..300usize, any::<u8>()).prop_map(|(bytes, fill)| Some(Bytes::from(vec![fill; bytes]))),
        1 => (20_000..200_000usize).prop_map(|bytes| Some(Bytes::from(vec![7; bytes]))),
    ]
}

fn owner() -> impl Strategy<Value = NodeOwner> {
    prop_oneof![
        4 => Just(NodeOwner::PERSISTENT),
        1 => Just(NodeOwner::CONTAINER),
        1 => Just(NodeOwner::ttl(500)),
        1 => (1..99i64).prop_map(NodeOwner),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let parent_of = |child: &HashedPath| hash(parent(&child.path).unwrap());
    prop_oneof![
        5 => (path(), data(), 0..5u32, owner())
            .prop_map(|(node, data, acl, owner)| Piece::Put { node, data, acl: AclId(acl), owner }),
        3 => (path(), data(), any::<i32>()).prop_map(|(node, data, version)| Piece::SetData { node, data, version }),
        1 => (path(), 0..5u32, any::<i32>())
            .prop_map(|(node, acl, aversion)| Piece::SetAcl { node, acl: AclId(acl), aversion }),
        5 => (child(), 0..50i32, proptest::bool::weighted(0.9)).prop_map(move |(child, cversion, moves_pzxid)| {
            Piece::Link { parent: parent_of(&child), child, cversion, moves_pzxid }
        }),
        3 => (child(), proptest::bool::weighted(0.9))
            .prop_map(move |(child, moves_pzxid)| Piece::Unlink { parent: parent_of(&child), child, moves_pzxid }),
        2 => path().prop_map(|node| Piece::Remove { node }),
        1 => (path(), 0..40usize)
            .prop_map(|(node, bytes)| Piece::QuotaUsage { node, data: Bytes::from(vec![b'c'; bytes]) }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Piece),
    /// The host does so many things.
    Work(usize),
    /// Flush, and recover from the cut.
    Checkpoint,
    StartCompaction,
    Compact(u64),
    /// The oldest view in use becomes this far behind.
    Release(u64),
    /// A read at the present view takes the entries of all nodes, and is not done with them yet.
    Park,
    /// Applies the last pieces again.
    Replay(usize),
    /// Goes on with a recovered partition instead of this one.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => piece().prop_map(Step::Apply),
        6 => (0..6usize).prop_map(Step::Work),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::StartCompaction),
        4 => prop_oneof![1..20_000u64, Just(1 << 30)].prop_map(Step::Compact),
        3 => prop_oneof![Just(0), 0..80u64].prop_map(Step::Release),
        1 => Just(Step::Park),
        1 => (1..20usize).prop_map(Step::Replay),
        1 => Just(Step::Restart),
    ]
}

struct World {
    partition: Partition,
    host: Host,
    model: Model,
    history: Vec<(Zxid, Piece)>,
    /// Entries that were replaced, with what was seen of them, and the zxid that replaced them.
    old: Vec<(Zxid, NodeEntry, Model)>,
    /// Entries that reads hold, with the view of the read.
    parked: Vec<(Zxid, NodeEntry, Model)>,
}

impl World {
    fn new() -> World {
        World {
            partition: Partition::new(ID, 1),
            host: Host::default(),
            model: Model::default(),
            history: Vec::new(),
            old: Vec::new(),
            parked: Vec::new(),
        }
    }

    fn now(&self) -> Zxid {
        Zxid(self.history.last().map_or(0, |(zxid, _)| zxid.0))
    }

    fn apply(&mut self, piece: Piece) {
        let zxid = Zxid(self.now().0 + 1);
        let before = self.model.clone();
        let applied = self.partition.apply(zxid, zxid.0 as i64 * 10, &piece);
        self.model.apply(zxid, zxid.0 as i64 * 10, &piece);
        self.check_applied(&piece, &before, &applied);
        if let Some(previous) = applied.previous {
            self.old.push((zxid, previous, before));
        }
        self.history.push((zxid, piece));
    }

    /// What `apply` says it did is what it did.
    fn check_applied(&self, piece: &Piece, before: &Model, applied: &Applied) {
        let subject = match piece {
            Piece::Link { child, .. } | Piece::Unlink { child, .. } => parent(&child.path).unwrap(),
            Piece::Put { node, .. }
            | Piece::SetData { node, .. }
            | Piece::SetAcl { node, .. }
            | Piece::Remove { node }
            | Piece::QuotaUsage { node, .. }
            | Piece::Rewrite { node, .. } => &node.path,
        };
        assert_eq!(applied.previous.is_some(), before.0.contains_key(subject));
        assert_eq!(applied.current, self.partition.get(hash(subject)));
        let children = |model: &Model| model.0.get(subject).map(|node| node.children.len()).unwrap_or_default();
        match applied.child {
            Some(change) => {
                assert!(matches!(piece, Piece::Link { .. } | Piece::Unlink { .. }));
                assert_eq!(children(&self.model) == children(before) + 1, change.added);
                let (Piece::Link { child, .. } | Piece::Unlink { child, .. }) = piece else { unreachable!() };
                assert_eq!(self.partition.child_name(change.link).unwrap(), name(&child.path));
                assert_eq!(change.child, child.hash);
            }
            None if matches!(piece, Piece::Link { .. } | Piece::Unlink { .. }) => {
                assert_eq!(children(&self.model), children(before));
            }
            None => {}
        }
    }

    fn check(&self) {
        assert_eq!(self.partition.damage(), None);
        assert_eq!(seen(&self.partition), expected(&self.model));
        for (_, entry, before) in self.old.iter().chain(&self.parked) {
            let view = self.partition.node(entry).unwrap();
            let node = &before.0[view.path];
            assert_eq!(view.data, node.data.as_deref());
            assert_eq!(self.partition.stat(entry, true).unwrap(), Model::stat(node));
        }
    }

    /// Takes a checkpoint while the host works, and recovers from it.
    fn checkpoint(&mut self) -> Partition {
        self.partition.flush_tail();
        let cut = self.partition.cut();
        assert!(cut.segments.iter().all(|segment| segment.end <= segment.bytes));
        while !self.partition.is_written(&cut) {
            self.host.work(&mut self.partition, 1);
        }
        let manifest = Manifest {
            server: 1,
            hash_key: 2,
            zxid: cut.zxid,
            is_installed: false,
            partitions: vec![cut.clone()],
            system: Vec::new(),
        };
        let cut = Manifest::decode(&manifest.encode()).unwrap().partitions.remove(0);
        self.partition.manifest_durable(&cut);
        self.host.relied_on = cut.segments.clone();
        let (recovered, shown) = facts(&cut, &self.host.files(&cut));
        assert_eq!(seen(&recovered), expected(&self.model));
        assert_eq!(recovered.live_bytes(), self.partition.live_bytes());
        assert_eq!(recovered.dead_bytes(), self.partition.dead_bytes());
        assert_eq!(recovered.zxid(), self.partition.zxid());
        let wanted = |node: &ModelNode| (Model::stat(node), node.acl, node.owner.0);
        let wanted: BTreeMap<_, _> = self.model.0.iter().map(|(path, node)| (path.clone(), wanted(node))).collect();
        assert_eq!(shown, wanted);
        recovered
    }

    fn restart(&mut self) {
        self.checkpoint();
        // Whatever is behind the cut, from this life of the file or an earlier one, must not matter.
        let cut = self.partition.cut();
        assert_eq!(cut.segments, self.host.relied_on);
        let mut files = BTreeMap::new();
        for segment in &cut.segments {
            let content = self.host.files[&segment.segment].content();
            assert_eq!(content.len() as u64, segment.bytes);
            files.insert(segment.segment, MemoryFile::found(content, segment.end));
        }
        let list: Vec<_> = files.values().cloned().map(|file| file as Arc<dyn SegmentBytes>).collect();
        let by_number: BTreeMap<_, _> = files.keys().copied().zip(list).collect();
        let list: Vec<_> = cut.segments.iter().map(|segment| Arc::clone(&by_number[&segment.segment])).collect();
        self.partition = recover(&cut, &list, &mut |_| {}).unwrap();
        self.host.files = files;
        self.host.todo.clear();
        self.host.generations.retain(|segment, _| self.host.files.contains_key(segment));
        self.old.clear();
        self.parked.clear();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Apply(piece) => self.apply(piece),
            Step::Work(count) => self.host.work(&mut self.partition, count),
            Step::Checkpoint => {
                self.checkpoint();
            }
            Step::StartCompaction => self.partition.start_compaction(),
            Step::Compact(bytes) => {
                let mark = self.now();
                let step = self.partition.compact(bytes, mark).unwrap();
                assert_eq!(
                    matches!(step, CompactionStep::Done | CompactionStep::Idle),
                    !self.partition.is_compacting()
                );
            }
            Step::Release(behind) => {
                let oldest = Zxid(self.now().0.saturating_sub(behind));
                // A view at `oldest` needs what was replaced behind it.
                self.old.retain(|(replaced, ..)| *replaced > oldest);
                self.parked.retain(|(view, ..)| *view >= oldest);
                self.partition.release_retired(oldest);
            }
            Step::Park => {
                let now = self.now();
                let model = &self.model;
                let park = &mut |entry: &NodeEntry| self.parked.push((now, *entry, model.clone()));
                self.partition.scan_nodes(ScanCursor::START, usize::MAX, park);
            }
            Step::Replay(count) => {
                let from = self.history.len().saturating_sub(count);
                for (zxid, piece) in &self.history[from..] {
                    self.partition.apply(*zxid, zxid.0 as i64 * 10, piece);
                    self.model.apply(*zxid, zxid.0 as i64 * 10, piece);
                }
            }
            Step::Restart => self.restart(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]
    #[test]
    fn behaves_like_a_tree(steps in proptest::collection::vec(step(), 1..250)) {
        let mut world = World::new();
        for step in steps {
            let check = !matches!(step, Step::Apply(_) | Step::Work(_));
            world.step(step);
            if check {
                world.check();
            }
        }
        world.check();
        world.restart();
        world.check();
    }
}
