#![allow(clippy::unwrap_used)]

use super::reader::{Event, SnapshotError, SnapshotReader};
use super::record::{SnapshotAcl, SnapshotNode, StatPersisted};
use super::stage::Stage;
use super::stream::SnapshotStream;
use super::walk::{DepthWalk, WalkStep};
use super::writer::{HeadWriter, write_end_of_nodes, write_signature};
use crate::ledger::{Ledger, test_config};
use crate::role::SystemState;
use engine::acl::{Acl, AclId, AclList};
use engine::ids::{SessionId, ShardId};
use engine::node_owner::NodeOwner;
use engine::partition::Partition;
use engine::path::{HashKey, parent, shard_of};
use engine::piece::{HashedPath, Piece, RoutedPiece, ShardTxn};
use engine::shard::{Shard, ShardConfig};
use engine::zxid::Zxid;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const LENGTH_MAX: usize = 4096;
const PARTITIONS: u32 = 8;

/// Everything about a node but its path.
type Facts = (Option<Vec<u8>>, SnapshotAcl, StatPersisted);

/// A snapshot in the open.
#[derive(Clone, PartialEq, Debug, Default)]
struct Content {
    sessions: Vec<(SessionId, i32)>,
    acls: BTreeMap<SnapshotAcl, AclList>,
    nodes: BTreeMap<String, Facts>,
}

impl Content {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Session(session, timeout_ms) => self.sessions.push((session, timeout_ms)),
            Event::Acl(id, list) => assert!(self.acls.insert(id, list).is_none()),
            Event::Node(node) => {
                let facts = (node.data.map(<[u8]>::to_vec), node.acl, node.stat);
                assert!(self.nodes.insert(node.path.into_owned(), facts).is_none());
            }
            Event::End => {}
        }
    }

    /// As a parent-first stream, ordered by path.
    fn encode(&self) -> Vec<u8> {
        let acls = self.acls.iter().map(|(id, list)| (AclId(id.0 as u32 - 1), list.clone()));
        let mut bytes = Vec::new();
        while HeadWriter::new(self.sessions.clone(), acls.clone()).write(usize::MAX, &mut bytes) {}
        for (path, (data, acl, stat)) in &self.nodes {
            SnapshotNode { path: path.into(), data: data.as_deref(), acl: *acl, stat: *stat }.encode(&mut bytes);
        }
        write_end_of_nodes(&mut bytes);
        write_signature(&mut bytes);
        bytes
    }
}

fn key() -> HashKey {
    HashKey::new(std::array::from_fn(|at| at as u8))
}

/// Reads a stream in portions of these sizes, over and over.
fn read(bytes: &[u8], portions: &[usize]) -> Result<(Content, Vec<u8>), SnapshotError> {
    let mut reader = SnapshotReader::new(LENGTH_MAX);
    let mut content = Content::default();
    let mut rest = bytes;
    let mut sizes = portions.iter().cycle();
    while !reader.is_done() && !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        reader.feed(now);
        rest = later;
        while let Some(event) = reader.next_event()? {
            content.take(event);
        }
    }
    assert!(reader.is_done(), "the stream has an end");
    Ok((content, [&reader.into_rest()[..], rest].concat()))
}

fn stage_of(bytes: &[u8], zxid: Zxid) -> Result<Stage, SnapshotError> {
    let mut reader = SnapshotReader::new(LENGTH_MAX);
    let mut stage = Stage::new(key(), PARTITIONS, 3, zxid);
    reader.feed(bytes);
    while let Some(event) = reader.next_event()? {
        stage.take(event)?;
    }
    Ok(stage)
}

fn shards(partitions: Vec<Partition>, count: u16) -> Vec<Shard> {
    let mut parts: Vec<Vec<Partition>> = (0..count).map(|_| Vec::new()).collect();
    for partition in partitions {
        parts[usize::from(shard_of(partition.id(), count).0)].push(partition);
    }
    let shard = |(id, partitions)| {
        let config = ShardConfig {
            id: ShardId(id as u16),
            shards: count,
            partitions: PARTITIONS,
            key: Arc::new(key()),
            extended_types: true,
        };
        Shard::new(config, partitions)
    };
    parts.into_iter().enumerate().map(shard).collect()
}

/// Streams what the shards hold at `view`; `disturb` runs between the steps.
fn export(shards: &mut [Shard], view: Zxid, system: &SystemState, mut disturb: impl FnMut(&mut [Shard])) -> Vec<u8> {
    let pins: Vec<_> = shards.iter_mut().map(|shard| shard.pin(view).unwrap()).collect();
    let mut walks: Vec<DepthWalk> = shards.iter().map(|_| DepthWalk::new()).collect();
    let head = HeadWriter::new(system.sessions.clone(), system.acls.clone());
    let mut stream = SnapshotStream::new(head, shards.len() as u16, true);
    let (mut bytes, mut asks) = (Vec::new(), Vec::new());
    while !stream.is_done() {
        stream.poll(&mut asks);
        for ask in asks.drain(..) {
            walks[usize::from(ask.shard.0)].ask(ask.depth);
        }
        for (at, walk) in walks.iter_mut().enumerate().filter(|(_, walk)| walk.is_asked()) {
            match walk.step(&shards[at], &pins[at]).unwrap() {
                WalkStep::Working => {}
                WalkStep::Chunk(chunk) => stream.chunk(ShardId(at as u16), chunk),
                WalkStep::Fetch(..) => panic!("everything is in memory"),
            }
        }
        disturb(shards);
        while let Some(chunk) = stream.next_chunk() {
            bytes.extend(chunk);
        }
    }
    for (shard, pin) in shards.iter_mut().zip(pins) {
        shard.unpin(pin);
    }
    bytes
}

fn stat() -> impl Strategy<Value = StatPersisted> {
    (any::<[u64; 3]>(), any::<[i64; 2]>(), any::<[i32; 3]>(), any::<i64>()).prop_map(
        |([czxid, mzxid, pzxid], [ctime, mtime], [version, cversion, aversion], owner)| StatPersisted {
            czxid: Zxid(czxid),
            mzxid: Zxid(mzxid),
            ctime,
            mtime,
            version,
            cversion,
            aversion,
            owner: NodeOwner(owner),
            pzxid: Zxid(pzxid),
        },
    )
}

/// A tree: each node below one that was made before.
fn content() -> impl Strategy<Value = Content> {
    let node = (
        any::<prop::sample::Index>(),
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        0..4_i64,
        stat(),
    );
    let sessions = proptest::collection::vec((any::<i64>().prop_map(SessionId), any::<i32>()), 0..5);
    (sessions, proptest::collection::vec(node, 0..60), stat()).prop_map(|(sessions, nodes, root)| {
        let mut content = Content { sessions, ..Content::default() };
        content.acls.insert(SnapshotAcl(1), [].into());
        content.acls.insert(SnapshotAcl(3), [Acl::world(1)].into());
        for id in 4..6 {
            content.acls.insert(SnapshotAcl(id), [Acl::new(7, "digest", &format!("u{id}:x"))].into());
        }
        let mut paths = vec!["/".to_owned()];
        content.nodes.insert("/".into(), (Some(vec![]), SnapshotAcl::OPEN, root));
        for path in ["/zookeeper", "/zookeeper/config", "/zookeeper/quota"] {
            content.nodes.insert(path.into(), (None, SnapshotAcl(3), root));
            paths.push(path.into());
        }
        for (number, (parent, data, acl, stat)) in nodes.into_iter().enumerate() {
            let parent = &paths[parent.index(paths.len())];
            let path = format!("{}/n{number}", if parent == "/" { "" } else { parent });
            let acl = [SnapshotAcl::OPEN, SnapshotAcl(3), SnapshotAcl(4), SnapshotAcl(5)][acl as usize];
            content.nodes.insert(path.clone(), (data, acl, stat));
            paths.push(path);
        }
        content
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_reads_back_in_any_portions(content in content(), portions in proptest::collection::vec(1_usize..70, 1..8), behind in proptest::collection::vec(any::<u8>(), 0..9)) {
        let bytes = [&content.encode()[..], &behind].concat();
        let (read, rest) = read(&bytes, &portions).unwrap();
        prop_assert_eq!(read, content);
        prop_assert_eq!(rest, behind);
    }

    #[test]
    fn a_snapshot_goes_through_shards_unchanged_while_they_change(content in content(), count in 1_u16..5) {
        let zxid = Zxid::new(7, 1);
        let mut stage = stage_of(&content.encode(), zxid).unwrap();
        stage.seal();
        let system = stage.system();
        let mut shards = shards(stage.into_partitions(), count);
        // Every step overwrites, adds, or removes something behind the pin.
        let mut later = zxid;
        let mut victims = content.nodes.keys().cycle();
        let bytes = export(&mut shards, zxid, &system, |shards| {
            later = later.next().unwrap();
            let path = victims.next().unwrap();
            let node = |path: &str| HashedPath { path: path.into(), hash: key().hash(path) };
            let new = format!("{}/late{later}", if path == "/" { "" } else { path });
            let pieces = [
                Piece::SetData { node: node(path), data: None, version: 9 },
                Piece::Put { node: node(&new), data: None, acl: AclId::OPEN, owner: NodeOwner::PERSISTENT },
                Piece::Link { parent: node(path).hash, child: node(&new), cversion: 99, moves_pzxid: true },
                Piece::Remove { node: node(content.nodes.keys().next_back().unwrap()) },
            ];
            for piece in pieces {
                let shard = shard_of(piece.routed_by().partition(PARTITIONS), count);
                let piece = RoutedPiece { order: 0, piece, stat_for: None };
                let txn = ShardTxn { zxid: later, time_ms: 5, pieces: vec![piece] };
                shards[usize::from(shard.0)].apply(&txn);
            }
        });
        let again = read(&bytes, &[1000]).unwrap().0;
        // Numbers of lists are the sender's own.
        let resolved = |content: &Content| -> Vec<_> {
            let nodes = content.nodes.iter();
            nodes.map(|(path, (data, acl, stat))| (path.clone(), data.clone(), content.acls.get(acl).cloned(), *stat)).collect()
        };
        prop_assert_eq!(resolved(&again), resolved(&content));
        prop_assert_eq!(&again.sessions, &content.sessions);
        // And parents came first.
        let mut reader = SnapshotReader::new(LENGTH_MAX);
        let mut seen = BTreeSet::new();
        reader.feed(&bytes);
        while let Some(event) = reader.next_event().unwrap() {
            if let Event::Node(node) = event {
                prop_assert!(parent(&node.path).is_none_or(|parent| seen.contains(parent)), "{} before its parent", node.path);
                seen.insert(node.path.into_owned());
            }
        }
        prop_assert!(stage_of(&bytes, zxid).is_ok());
    }

    #[test]
    fn reading_is_total(content in content(), portion in 1_usize..90, flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = content.encode();
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        for bytes in [bytes, noise] {
            let mut reader = SnapshotReader::new(LENGTH_MAX);
            let mut stage = Stage::new(key(), PARTITIONS, 0, Zxid(1));
            'portions: for portion in bytes.chunks(portion) {
                reader.feed(portion);
                loop {
                    match reader.next_event() {
                        Ok(Some(event)) => if stage.take(event).is_err() { break 'portions },
                        Ok(None) => break,
                        Err(_) => break 'portions,
                    }
                }
            }
        }
    }
}

fn small() -> Content {
    let facts = || (None, SnapshotAcl::OPEN, StatPersisted::default());
    let mut content = Content::default();
    for path in ["/", "/a", "/a/b"] {
        content.nodes.insert(path.into(), facts());
    }
    content
}

#[test]
fn the_nodes_that_are_always_there_are_made_if_they_are_missing() {
    let mut loader_marks = vec![Zxid(5); PARTITIONS as usize];
    loader_marks.fill(Zxid(5));
    let mut stage = stage_of(&small().encode(), Zxid(5)).unwrap();
    assert_eq!(stage.nodes(), 6);
    let config = crate::ledger::LedgerConfig { hash_key: key(), partitions: PARTITIONS, ..test_config() };
    let mut loader = crate::ledger::LedgerLoader::new(config, crate::ledger::Acls::default(), loader_marks.into());
    stage.load(&mut loader).unwrap();
    let ledger: Ledger = loader.finish().unwrap();
    assert_eq!(ledger.node_count(), 6);
    assert_eq!(ledger.committed_node("/").unwrap().children, 2);
    assert_eq!(ledger.committed_node("/a").unwrap().children, 1);
}

#[test]
fn a_list_that_the_table_lacks_keeps_everybody_out() {
    let mut content = small();
    content.nodes.get_mut("/a").unwrap().1 = SnapshotAcl(77);
    let stage = stage_of(&content.encode(), Zxid(5)).unwrap();
    assert_eq!(stage.closed_nodes(), 1);
    let system = stage.system();
    let (_, list) = system.acls.iter().find(|(id, _)| *id >= AclId::FIRST_FREE).unwrap();
    let mut anybody = engine::acl::Identity::anonymous();
    anybody.add("digest", "a:b");
    for bit in 0..5 {
        assert!(!engine::acl::permits(list, 1 << bit, &anybody));
    }
}

#[test]
fn what_makes_no_tree_is_refused() {
    let mut orphan = small();
    orphan.nodes.remove("/a");
    assert_eq!(stage_of(&orphan.encode(), Zxid(5)).err(), Some(SnapshotError::Orphan("/a/b".into())));
    for path in ["a", "/a/", "//", "/a/../b", "/\u{1}"] {
        let mut odd = small();
        odd.nodes.insert(path.into(), (None, SnapshotAcl::OPEN, StatPersisted::default()));
        assert_eq!(stage_of(&odd.encode(), Zxid(5)).err(), Some(SnapshotError::Path(path.into())));
    }
    let mut twice = small().encode();
    let end = twice.len() - 5 - 14;
    let mut node = Vec::new();
    let (data, acl, stat) = small().nodes["/a"].clone();
    SnapshotNode { path: "/a".into(), data: data.as_deref(), acl, stat }.encode(&mut node);
    twice.splice(end..end, node);
    assert_eq!(stage_of(&twice, Zxid(5)).err(), Some(SnapshotError::Twice("/a".into())));
}

#[test]
fn the_signature_must_be_right_and_lengths_are_bounded() {
    let good = small().encode();
    assert!(good.ends_with(b"\0\0\0\x01/\0\0\0\x0aBenWasHere"));
    let mut bad = good.clone();
    *bad.last_mut().unwrap() = b'E';
    assert_eq!(stage_of(&bad, Zxid(5)).err(), Some(SnapshotError::Signature));
    let mut long = good.clone();
    let at = good.len() - 11;
    long[at] = 200;
    assert_eq!(stage_of(&long, Zxid(5)).err(), Some(SnapshotError::Signature));
    let mut content = small();
    content.nodes.get_mut("/a").unwrap().0 = Some(vec![0; LENGTH_MAX + 1]);
    assert!(matches!(stage_of(&content.encode(), Zxid(5)), Err(SnapshotError::Malformed(..))));
    let mut acls = small();
    acls.acls.insert(SnapshotAcl(4), (0..LENGTH_MAX as i32).map(Acl::world).collect());
    assert_eq!(stage_of(&acls.encode(), Zxid(5)).err(), Some(SnapshotError::AclTooLong(LENGTH_MAX)));
}

#[test]
fn a_deep_tree_takes_few_scans_and_a_wide_one_little_memory() {
    let mut content = small();
    content.acls = [(SnapshotAcl(1), AclList::from([])), (SnapshotAcl(3), [Acl::world(1)].into())].into();
    let mut deep = "/a".to_owned();
    for _ in 0..200 {
        deep.push_str("/d");
        content.nodes.insert(deep.clone(), (None, SnapshotAcl::OPEN, StatPersisted::default()));
    }
    for wide in 0..500 {
        content.nodes.insert(format!("/a/w{wide}"), (None, SnapshotAcl::OPEN, StatPersisted::default()));
    }
    let zxid = Zxid(9);
    let stage = stage_of(&content.encode(), zxid).unwrap();
    let system = stage.system();
    let mut shards = shards(stage.into_partitions(), 2);
    let mut steps = 0;
    let bytes = export(&mut shards, zxid, &system, |_| steps += 1);
    assert_eq!(read(&bytes, &[4096]).unwrap().0.nodes.len(), content.nodes.len() + 3);
    // 700 nodes in steps of 4: one scan takes some 90 steps with both shards going at once. Two hundred levels with a
    // memory of 16 hashes each make some 200 / 16 scans, and not two hundred.
    assert!(steps < 90 * 40, "{steps} steps");
}
