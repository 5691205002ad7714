//! Single situations, each told from beginning to end.

use super::host::{Host, ID, MemoryFile, hash, hashed};
use crate::acl::AclId;
use crate::node_owner::NodeOwner;
use crate::partition::*;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

fn put(path: &str, data: Vec<u8>) -> Piece {
    let data = Some(Bytes::from(data));
    Piece::Put { node: hashed(path), data, acl: AclId::OPEN, owner: NodeOwner::PERSISTENT }
}

fn link(parent: &str, child: &str, cversion: i32) -> Piece {
    Piece::Link { parent: hash(parent), child: hashed(child), cversion, moves_pzxid: true }
}

fn unlink(parent: &str, child: &str) -> Piece {
    Piece::Unlink { parent: hash(parent), child: hashed(child), moves_pzxid: true }
}

/// A root with some children, each with data of `bytes` bytes.
fn family(children: u64, bytes: usize) -> Partition {
    let mut partition = Partition::new(ID, 0);
    partition.apply(Zxid(1), 1, &put("/", vec![]));
    for n in 0..children {
        let path = format!("/child-{n}");
        partition.apply(Zxid(n + 2), 1, &put(&path, vec![n as u8; bytes]));
        partition.apply(Zxid(n + 2), 1, &link("/", &path, n as i32 + 1));
    }
    partition
}

fn settled(partition: &mut Partition) -> (Host, PartitionCut) {
    let mut host = Host::default();
    partition.flush_tail();
    host.work(partition, usize::MAX);
    (host, partition.cut())
}

fn compact(partition: &mut Partition, mark: Zxid) {
    partition.start_compaction();
    while partition.compact(4096, mark).unwrap() != CompactionStep::Done {}
}

#[test]
fn a_host_that_is_late_costs_memory_and_nothing_else() {
    let mut partition = family(3000, 1000);
    let mut waiting = Vec::new();
    partition.actions(&mut waiting);
    assert!(waiting.iter().all(|action| matches!(action, LogAction::NeedSegment { .. })));
    assert!(partition.unwritten_bytes() > 3_000_000);
    let entry = partition.get(hash("/child-17")).unwrap();
    assert!(partition.is_resident(&entry));
    assert_eq!(partition.node(&entry).unwrap().data, Some(&[17; 1000][..]));
    let backlog = partition.memory_bytes();

    let mut host = Host { todo: waiting, ..Host::default() };
    partition.flush_tail();
    host.work(&mut partition, usize::MAX);
    assert_eq!(partition.unwritten_bytes(), 0);
    assert!(partition.memory_bytes() < backlog - 3_000_000);
    assert_eq!(partition.node(&entry).unwrap().data, Some(&[17; 1000][..]));
    let place = partition.location(&entry);
    let bytes = host.files[&place.segment].content();
    let record = &bytes[place.range.start as usize..place.range.end as usize];
    assert!(record.ends_with(&[17; 1000]));
    host.files.values().for_each(|file| file.absent.store(true, Ordering::Relaxed));
    assert!(!partition.is_resident(&entry));
}

#[test]
fn segments_are_asked_for_ahead_and_double() {
    let mut partition = family(1, 10);
    let mut actions = Vec::new();
    let sizes = |actions: &mut Vec<LogAction>| -> Vec<u64> {
        let size = |action: LogAction| match action {
            LogAction::NeedSegment { bytes, .. } => Some(bytes),
            _ => None,
        };
        actions.drain(..).filter_map(size).collect()
    };
    partition.actions(&mut actions);
    assert_eq!(sizes(&mut actions), [SEGMENT_MIN]);
    for n in 0..50 {
        partition.apply(Zxid(n + 9), 1, &put("/child-0", vec![1; 1000]));
    }
    partition.actions(&mut actions);
    assert_eq!(sizes(&mut actions), [SEGMENT_MIN * 2], "asked for before the first is full");
    for n in 0..1000 {
        partition.apply(Zxid(n + 99), 1, &put("/child-0", vec![1; 1000]));
    }
    partition.actions(&mut actions);
    assert_eq!(sizes(&mut actions), [4, 8, 16].map(|times| SEGMENT_MIN * times));
}

#[test]
fn a_record_of_any_size_finds_a_segment() {
    let mut partition = family(5, 100);
    for (n, bytes) in [(1, 70_000), (2, 3_000_000), (3, 1_000_000), (4, 10)] {
        partition.apply(Zxid(n + 100), 7, &put(&format!("/large-{n}"), vec![n as u8; bytes]));
    }
    let (host, cut) = settled(&mut partition);
    let recovered = recover(&cut, &host.files(&cut), &mut |_| {}).unwrap();
    for partition in [&partition, &recovered] {
        let large = partition.get(hash("/large-2")).unwrap();
        assert_eq!(partition.node(&large).unwrap().data, Some(&vec![2; 3_000_000][..]));
        let after = partition.get(hash("/large-4")).unwrap();
        assert_eq!(partition.node(&after).unwrap().data, Some(&[4; 10][..]));
    }
}

/// Every flipped byte below the cut's end is found, and so is a missing, short or foreign file.
#[test]
fn damage_is_reported_where_it_is() {
    let mut partition = family(12, 30);
    partition.apply(Zxid(90), 1, &Piece::SetAcl { node: hashed("/child-1"), acl: AclId(3), aversion: 1 });
    partition.apply(Zxid(91), 1, &unlink("/", "/child-2"));
    partition.apply(Zxid(91), 1, &Piece::Remove { node: hashed("/child-2") });
    let (host, cut) = settled(&mut partition);
    let segment = cut.segments[0];
    let content = host.files[&segment.segment].content();
    let open = |bytes: Vec<u8>| recover(&cut, &[MemoryFile::with(bytes) as Arc<dyn SegmentBytes>], &mut |_| {});
    assert!(open(content.clone()).is_ok());
    let mut silent = Vec::new();
    for at in 0..segment.end as usize {
        let mut bytes = content.clone();
        bytes[at] ^= 0x10;
        match open(bytes) {
            Ok(_) => silent.push(at),
            Err(damage) => {
                assert_eq!((damage.partition, damage.segment), (ID, segment.segment));
                assert!(damage.offset <= at as u64, "{damage} for byte {at}");
            }
        }
    }
    assert_eq!(silent, [], "not noticed");
    let mut behind = content.clone();
    behind[segment.end as usize] ^= 1;
    assert!(open(behind).is_ok(), "what is behind the end is ignored");
    assert_eq!(open(content[..segment.end as usize - 1].to_vec()).err().map(|d| d.fault), Some(Fault::Missing));
    assert_eq!(recover(&cut, &[], &mut |_| {}).err().map(|d| d.fault), Some(Fault::Missing));
    let foreign = PartitionCut { partition: PartitionId(6), ..cut.clone() };
    let result = recover(&foreign, &host.files(&cut), &mut |_| {});
    assert_eq!(result.err().map(|d| d.fault), Some(Fault::Header));
    let other = PartitionCut { nodes: cut.nodes + 1, ..cut.clone() };
    assert_eq!(recover(&other, &host.files(&cut), &mut |_| {}).err().map(|d| d.fault), Some(Fault::Counts));
}

#[test]
fn rotten_bytes_are_not_served() {
    let mut partition = family(4, 100);
    let (host, _) = settled(&mut partition);
    let entry = partition.get(hash("/child-3")).unwrap();
    let place = partition.location(&entry);
    host.files[&place.segment].rot(place.range.clone());
    let damage = partition.node(&entry).unwrap_err();
    assert_eq!((damage.segment, damage.offset), (place.segment, place.range.start));
    assert_eq!(damage.fault, Fault::Checksum);
    partition.start_compaction();
    assert_eq!(partition.compact(u64::MAX, Zxid(99)), Err(damage));
    assert!(partition.node(&partition.get(hash("/child-2")).unwrap()).is_ok());
}

#[test]
fn compaction_waits_for_bytes_that_are_not_in_memory() {
    let mut partition = family(100, 1000);
    let (host, _) = settled(&mut partition);
    host.files.values().for_each(|file| file.absent.store(true, Ordering::Relaxed));
    partition.start_compaction();
    let CompactionStep::Waiting(place) = partition.compact(1000, Zxid(200)).unwrap() else { panic!("reads at once") };
    host.files[&place.segment].absent.store(false, Ordering::Relaxed);
    assert_eq!(partition.compact(1000, Zxid(200)), Ok(CompactionStep::More));
}

#[test]
fn compaction_frees_what_is_dead_once_nobody_needs_it() {
    let mut partition = family(50, 1000);
    for round in 0..100u64 {
        for n in 0..50 {
            partition.apply(Zxid(100 + round), 1, &put(&format!("/child-{n}"), vec![round as u8; 1000]));
        }
    }
    let (mut host, before) = settled(&mut partition);
    partition.manifest_durable(&before);
    assert!(partition.wants_compaction());
    let view = partition.zxid();
    let held = partition.get(hash("/child-7")).unwrap();
    compact(&mut partition, view);
    assert!(!partition.wants_compaction());
    assert!(partition.dead_bytes() < 10_000, "{}", partition.dead_bytes());

    // A read at this very view may have taken its entry before the records moved.
    partition.flush_tail();
    let cut = partition.cut();
    host.work(&mut partition, usize::MAX);
    partition.manifest_durable(&cut);
    partition.release_retired(view);
    host.work(&mut partition, usize::MAX);
    assert!(partition.has_retired());
    assert_eq!(partition.node(&held).unwrap().data, Some(&[99; 1000][..]));

    partition.release_retired(Zxid(view.0 + 1));
    host.work(&mut partition, usize::MAX);
    assert!(!partition.has_retired());
    let named: BTreeSet<u32> = partition.cut().segments.iter().map(|segment| segment.segment).collect();
    let is_old = |segment: &&u32| before.segments.iter().any(|old| old.segment == **segment);
    assert_eq!(host.files.keys().filter(is_old).count(), 0);
    assert!(named.iter().all(|segment| host.files.contains_key(segment)));
    let recovered = recover(&cut, &host.files(&cut), &mut |_| {}).unwrap();
    assert_eq!(recovered.node_count(), 51);
}

/// Slots of removed segments are used again, so that a partition can be compacted for ever, and so are their files, in
/// which older states lie behind every end.
#[test]
fn many_compactions_use_few_slots_and_files() {
    let mut partition = family(20, 500);
    let (mut host, _) = settled(&mut partition);
    for round in 0..200 {
        let data = vec![round as u8; 400];
        partition.apply(Zxid(1000 + round), 1, &put("/child-3", data.clone()));
        let mark = partition.zxid();
        compact(&mut partition, mark);
        partition.flush_tail();
        host.work(&mut partition, usize::MAX);
        let cut = partition.cut();
        partition.manifest_durable(&cut);
        partition.release_retired(Zxid(mark.0 + 1));
        host.work(&mut partition, usize::MAX);
        let recovered = recover(&cut, &host.files(&cut), &mut |_| {}).unwrap();
        let entry = recovered.get(hash("/child-3")).unwrap();
        assert_eq!(recovered.node(&entry).unwrap().data, Some(&data[..]));
    }
    assert!(host.reused > 150, "{}", host.reused);
    let address = partition.get(hash("/child-3")).unwrap().address;
    assert!(address.slot() < 4 && host.files.len() < 4);
}

#[test]
fn a_list_of_many_children_can_be_walked_while_it_changes() {
    let mut partition = family(0, 0);
    let count = 20_000u64;
    for n in 0..count {
        partition.apply(Zxid(n + 5), 1, &link("/", &format!("/n{n}"), n as i32));
    }
    assert_eq!(partition.get(hash("/")).unwrap().num_children, count as u32);
    let mut names = BTreeSet::new();
    let mut cursor = Some(ChildCursor::START);
    let mut step = 0;
    while let Some(from) = cursor {
        cursor = partition
            .children(hash("/"), from, 500, &mut |child, name| {
                assert_eq!(hash(&format!("/{name}")), child);
                assert!(names.insert(name.to_owned()), "{name} twice");
            })
            .unwrap();
        // Every third child goes, and others come.
        for n in (step * 700..(step + 1) * 700).filter(|n| n % 3 == 0) {
            partition.apply(Zxid(count + 9), 1, &unlink("/", &format!("/n{n}")));
            partition.apply(Zxid(count + 9), 1, &link("/", &format!("/later{n}"), 0));
        }
        step += 1;
    }
    assert!((0..count).filter(|n| n % 3 != 0).all(|n| names.contains(&format!("n{n}"))));
}

#[test]
fn what_is_asked_for_a_name_reaches_its_end() {
    let mut partition = Partition::new(ID, 0);
    partition.apply(Zxid(1), 1, &put("/", vec![]));
    let long = format!("/{}", "x".repeat(5000));
    partition.apply(Zxid(2), 1, &link("/", &long, 1));
    let (host, _) = settled(&mut partition);
    let link = partition.child(hash("/"), hash(&long)).unwrap();
    assert_eq!(partition.link_missing(link), None);
    host.files.values().for_each(|file| file.absent.store(true, Ordering::Relaxed));
    let place = partition.link_missing(link).unwrap();
    assert_eq!(place.range.end - place.range.start, 512);
    assert_eq!(partition.child_name(link).unwrap(), &long[1..]);
}

/// The budget: 95 bytes for a node, its place in the list of children included, at any number of nodes.
#[test]
fn memory_stays_in_budget() {
    let mut partition = Partition::new(ID, 0);
    partition.apply(Zxid(1), 1, &put("/", vec![]));
    let mut paths = vec!["/".to_owned()];
    let mut worst = 0;
    for n in 1..40_000usize {
        // Directories of a hundred nodes each.
        let parent = paths[if n < 400 { 0 } else { n / 100 }].clone();
        let path = if parent == "/" { format!("/{n}") } else { format!("{parent}/{n}") };
        partition.apply(Zxid(n as u64), 1, &put(&path, vec![]));
        partition.apply(Zxid(n as u64), 1, &link(&parent, &path, 1));
        paths.push(path);
        if n > 2000 {
            worst = worst.max(partition.index_bytes() / n as u64);
        }
    }
    assert!(worst <= 95, "{worst} bytes for a node");
}

/// A stats node keeps its Stat, but for the length, also after a restart.
#[test]
fn usage_changes_content_alone() {
    let stats = "/zookeeper/quota/a/zookeeper_stats";
    let mut partition = family(1, 1);
    partition.apply(Zxid(50), 50, &put(stats, b"count=1".to_vec()));
    partition.apply(Zxid(51), 51, &Piece::SetData { node: hashed(stats), data: Some(Bytes::new()), version: 4 });
    let (host, cut) = settled(&mut partition);
    let mut recovered = recover(&cut, &host.files(&cut), &mut |_| {}).unwrap();
    for partition in [&mut partition, &mut recovered] {
        let usage = Piece::QuotaUsage { node: hashed(stats), data: Bytes::from_static(b"count=12") };
        partition.apply(Zxid(60), 60, &usage);
        let stat = partition.stat(&partition.get(hash(stats)).unwrap(), true).unwrap();
        assert_eq!((stat.mzxid, stat.mtime, stat.version, stat.data_length), (51, 51, 4, 8));
    }
}

/// A tree as a snapshot brings it: every field given, versions of -1 and cversions of nobody's making.
#[test]
fn installed_nodes_keep_every_field() {
    let mut fill = PartitionFill::new(ID, 0);
    let root = NodeImage {
        hash: hash("/"),
        path: "/",
        data: None,
        acl: AclId::OPEN,
        owner: NodeOwner::PERSISTENT,
        czxid: Zxid(0),
        ctime: 0,
        mzxid: Zxid(0),
        mtime: 0,
        pzxid: Zxid(77),
        version: -1,
        cversion: 1234,
        aversion: -1,
    };
    fill.node(Zxid(80), &root);
    fill.link(Zxid(80), hash("/"), hash("/zookeeper"), "zookeeper");
    fill.make_index(&mut |_| ()).unwrap();
    let mut partition = fill.into_partition();
    let (host, cut) = settled(&mut partition);
    let mut facts = Vec::new();
    let recovered = recover(&cut, &host.files(&cut), &mut |shown| {
        facts.push((shown.image.version, shown.image.cversion, shown.image.pzxid, shown.num_children));
    });
    assert_eq!(facts, [(-1, 1234, Zxid(77), 1)]);
    let entry = recovered.unwrap().get(hash("/")).unwrap();
    assert_eq!((entry.aversion, entry.cversion, entry.num_children), (-1, 1234, 1));
}
