//! A partition filled from a snapshot is what recovery makes of its files.

use super::host::{Host, ID, hash};
use crate::acl::AclId;
use crate::node_owner::NodeOwner;
use crate::partition::*;
use crate::path::parent;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const ZXID: Zxid = Zxid(99);

fn image<'a>(path: &'a str, odd: bool, data: Option<&'static [u8]>) -> NodeImage<'a> {
    NodeImage {
        hash: hash(path),
        path,
        data,
        acl: AclId(path.len() as u32),
        owner: if odd { NodeOwner(7) } else { NodeOwner::PERSISTENT },
        czxid: Zxid(3),
        ctime: 4,
        mzxid: Zxid(5),
        mtime: 6,
        pzxid: if odd { Zxid(8) } else { Zxid(3) },
        version: 9,
        cversion: if odd { 10 } else { 0 },
        aversion: if odd { -1 } else { 0 },
    }
}

fn link_to(fill: &mut PartitionFill, path: &str) {
    if let Some(parent) = parent(path) {
        fill.link(ZXID, hash(parent), hash(path), name(path));
    }
}

/// Names of a node's children, by their hashes.
fn children(partition: &Partition, path: &str) -> Vec<(PathHash, String)> {
    let mut found = Vec::new();
    let next = partition.children(hash(path), ChildCursor::START, usize::MAX, &mut |child, name| {
        found.push((child, name.to_owned()));
    });
    assert_eq!(next, Ok(None));
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn what_is_filled_is_what_recovery_makes_of_its_files(
        // Parents by number; many share the first few.
        nodes in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_usize, any::<bool>(), any::<bool>()), 0..400),
    ) {
        let mut paths = vec!["/".to_owned()];
        let mut fill = PartitionFill::new(ID, 5);
        fill.node(ZXID, &image("/", false, None));
        let mut expected: BTreeMap<PathHash, (String, bool)> = [(hash("/"), ("/".to_owned(), false))].into();
        for (number, (at, few, odd, has_data)) in nodes.into_iter().enumerate() {
            let above = if few > 0 { few.min(paths.len()) - 1 } else { at.index(paths.len()) };
            let path = format!("{}/n{number}", paths[above].trim_end_matches('/'));
            fill.node(ZXID, &image(&path, odd, has_data.then_some(b"some data")));
            link_to(&mut fill, &path);
            expected.insert(hash(&path), (path.clone(), odd));
            paths.push(path);
        }
        let mut seen = Vec::new();
        fill.make_index(&mut |node| seen.push(*node)).unwrap();
        let mut filled = fill.into_partition();
        prop_assert_eq!(seen.iter().map(|node| node.entry.hash).collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
        filled.flush_tail();
        let mut host = Host::default();
        host.work(&mut filled, usize::MAX);
        let cut = filled.cut();
        let mut facts = BTreeMap::new();
        let recovered = recover(&cut, &host.files(&cut), &mut |shown| {
            let data_length = shown.image.data.map_or(0, |data| data.len() as u32);
            facts.insert(shown.image.hash, (shown.image.version, data_length, shown.num_children));
        }).unwrap();
        prop_assert_eq!(filled.node_count(), expected.len() as u64);
        prop_assert_eq!(filled.data_bytes(), recovered.data_bytes());
        prop_assert_eq!(filled.zxid(), ZXID);
        for node in seen {
            let hash = node.entry.hash;
            let (path, odd) = &expected[&hash];
            prop_assert_eq!(facts[&hash], (node.version, node.data_length, node.entry.num_children));
            prop_assert_eq!(recovered.get(hash), Some(node.entry));
            prop_assert_eq!(filled.get(hash), Some(node.entry));
            let data = filled.node(&node.entry).unwrap().data;
            let wanted = image(path, *odd, data.map(|_| &b"some data"[..]));
            let NodeEntry { owner, pzxid, cversion, aversion, acl, czxid, ctime, .. } = node.entry;
            prop_assert_eq!((owner, pzxid, cversion, aversion), (wanted.owner, wanted.pzxid, wanted.cversion, wanted.aversion));
            prop_assert_eq!((acl, czxid, ctime), (wanted.acl, wanted.czxid, wanted.ctime));
            let below = paths.iter().filter(|below| parent(below) == Some(path.as_str())).map(|below| name(below).to_owned());
            let below: BTreeSet<String> = below.collect();
            let shown = children(&filled, path);
            prop_assert_eq!(&shown, &children(&recovered, path));
            prop_assert_eq!(shown.into_iter().map(|(_, name)| name).collect::<BTreeSet<_>>(), below);
        }
    }
}

#[test]
fn what_is_no_tree_is_refused_by_name() {
    let fill = |paths: &[&str], links: &[&str]| {
        let mut fill = PartitionFill::new(ID, 0);
        paths.iter().for_each(|path| fill.node(ZXID, &image(path, false, None)));
        links.iter().for_each(|path| link_to(&mut fill, path));
        let refused = fill.make_index(&mut |_| ()).err();
        let path = match refused {
            Some(NoTree::Twice(hash) | NoTree::Orphan(hash)) => fill.path(hash).map(str::to_owned),
            None => None,
        };
        (refused, path)
    };
    let some = |path: &str| Some(path.to_owned());
    assert_eq!(fill(&["/", "/a"], &["/a"]), (None, None));
    assert_eq!(fill(&["/", "/a", "/b", "/a"], &["/a"]), (Some(NoTree::Twice(hash("/a"))), some("/a")));
    assert_eq!(fill(&["/", "/a/b"], &["/a/b"]), (Some(NoTree::Orphan(hash("/a/b"))), some("/a/b")));
    // Its node is in another partition.
    assert_eq!(fill(&[], &["/c/d"]), (Some(NoTree::Orphan(hash("/c/d"))), None));
}

#[test]
fn a_child_that_comes_twice_counts_once_as_recovery_counts_it() {
    let mut fill = PartitionFill::new(ID, 0);
    fill.node(ZXID, &image("/", false, None));
    fill.link(ZXID, hash("/"), hash("/a"), "a");
    fill.link(ZXID, hash("/"), hash("/a"), "a-longer-name");
    fill.make_index(&mut |_| ()).unwrap();
    let mut filled = fill.into_partition();
    filled.flush_tail();
    let mut host = Host::default();
    host.work(&mut filled, usize::MAX);
    let cut = filled.cut();
    let recovered = recover(&cut, &host.files(&cut), &mut |_| ()).unwrap();
    assert_eq!(children(&filled, "/"), children(&recovered, "/"));
    assert_eq!(children(&filled, "/").len(), 1);
}
