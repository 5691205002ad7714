//! What requests turn into.

use super::*;
use engine::acl::{Acl, AclList};
use engine::node_owner::{NodeKind, NodeOwner};

#[test]
fn a_fresh_tree_has_the_stats_of_the_reference_server() {
    let ledger = Ledger::fresh(config());
    let wire = |path: &str| {
        let node = ledger.committed_node(path).unwrap();
        let cversion = engine::stat::wire_cversion(node.cversion, node.children as i32);
        (node.version, cversion, node.aversion, node.children, node.acl)
    };
    assert_eq!(wire("/"), (0, -1, 0, 1, AclId::OPEN));
    assert_eq!(wire("/zookeeper"), (0, -2, 0, 2, AclId::OPEN));
    assert_eq!(wire("/zookeeper/quota"), (0, 0, 0, 0, AclId::OPEN));
    assert_eq!(wire("/zookeeper/config"), (0, 0, -1, 0, AclId::WORLD_READ));
    assert_eq!(ledger.node_count(), 4);
    assert_eq!(ledger.data_bytes(), 1 + 10 + 16 + 17);
}

#[test]
fn failures_take_a_zxid_and_change_nothing() {
    let mut world = World::new();
    let txn = world.propose(create("/no/x", 0));
    assert_eq!(txn, Txn::Error { code: -101 });
    assert_eq!(world.commit(), []);
    assert_eq!(world.zxid, 1);
    assert_eq!(world.ledger.outstanding_paths(), 0);
}

#[test]
fn suffixes_count_creations_of_any_kind_and_prefix() {
    let mut world = World::new();
    world.run(create("/q", 0));
    assert_eq!(created(&world.propose(create("/q/a-", 2))), "/q/a-0000000000");
    world.propose(create("/q/plain", 0));
    assert_eq!(code(&world.propose(create("/q/plain", 0))), -110);
    assert_eq!(created(&world.propose(create("/q/b-", 3))), "/q/b-0000000002");
    world.propose(delete("/q/plain", -1));
    assert_eq!(created(&world.propose(create("/q/", 2))), "/q/0000000003", "the name may be empty before the suffix");
    world.commit_all();
    assert_eq!(created(&world.propose(create("/q/c", 2))), "/q/c0000000004");
    assert_eq!((world.node("/q").cversion, world.node("/q").children), (4, 3));
}

#[test]
fn a_counter_that_has_run_out_stays_and_collides() {
    let mut world = World::new();
    world.run(create("/q", 0));
    let hash = world.ledger.hash("/q");
    world.ledger.nodes.update(hash, |node| node.cversion = i32::MAX - 1);
    assert_eq!(created(&world.propose(create("/q/a", 2))), "/q/a2147483646");
    assert_eq!(created(&world.propose(create("/q/a", 2))), "/q/a2147483647");
    assert_eq!(code(&world.propose(create("/q/a", 2))), -110);
    let pieces = world.commit_all();
    let links: Vec<_> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Link { cversion, moves_pzxid, .. } => Some((*cversion, *moves_pzxid)),
            _ => None,
        })
        .collect();
    assert_eq!(links, [(i32::MAX, true), (i32::MAX, false)], "a counter that stays does not move the pzxid either");
    assert_eq!((world.node("/q").cversion, world.node("/q").children), (i32::MAX, 2));
    assert_eq!(code(&world.propose(create("/q/a", 2))), -110);
}

#[test]
fn sequential_names_may_end_in_a_slash_before_the_suffix() {
    let mut world = World::new();
    world.run(create("/a", 0));
    assert_eq!(code(&world.propose(create("/a/", 0))), -8);
    assert_eq!(created(&world.propose(create("/a/", 2))), "/a/0000000000");
    assert_eq!(created(&world.propose(create("/...", 0))), "/...");
    assert_eq!(code(&world.propose(create("/\u{FFFD}", 0))), -8);
}

#[test]
fn kinds_of_node_by_opcode_and_flags() {
    let mut world = World::new();
    let mut kind = |op| {
        let txn = world.propose(op);
        world.commit_all();
        world.node(created(&txn)).owner.kind(true)
    };
    assert_eq!(kind(create("/p", 0)), NodeKind::Persistent);
    assert_eq!(kind(create("/e", 1)), NodeKind::Ephemeral(S));
    assert_eq!(kind(create("/f", 4)), NodeKind::Persistent, "create with container flags makes a plain node");
    assert_eq!(kind(of_kind(CreateKind::Create2, "/g", 3)), NodeKind::Ephemeral(S));
    assert_eq!(kind(of_kind(CreateKind::Container, "/c", 4)), NodeKind::Container);
    assert_eq!(kind(of_kind(CreateKind::Container, "/c", 3)), NodeKind::Container, "sequential yes, ephemeral no");
    assert_eq!(kind(of_kind(CreateKind::Ttl { ttl_ms: 9 }, "/t", 5)), NodeKind::Ttl(9));
    assert_eq!(kind(of_kind(CreateKind::Ttl { ttl_ms: 9 }, "/t", 6)), NodeKind::Ttl(9));
    assert!(world.ledger.committed_node("/c0000000005").is_some());
    assert!(world.ledger.committed_node("/t0000000007").is_some());
    assert_eq!(world.ledger.ephemeral_count(), 2);
    assert_eq!(world.ledger.reapables(None).count(), 4);
    assert_eq!(NodeOwner::CONTAINER.wire(true), 0);
}

#[test]
fn permissions_are_the_parents_for_create_and_delete() {
    let mut world = World::new();
    world.run(create_acl("/locked", &[(31, "digest", "a:b")]));
    world.run(create_acl("/open", &[(31, "world", "anyone")]));
    world.run(create_acl("/open/locked", &[(31, "digest", "a:b")]));
    assert_eq!(world.run(create("/locked/x", 0)), -102);
    assert_eq!(world.run(set_data("/open/locked", "", -1)), -102);
    assert_eq!(world.run(delete("/open/locked", -1)), 0, "the node's own list does not matter");
    assert_eq!(world.run(delete("/locked", -1)), 0);
    world.run(create_acl("/locked", &[(31, "digest", "a:b")]));
    world.identity.add("digest", "a:b");
    assert_eq!(world.run(create("/locked/x", 0)), 0);
    world.identity = Identity::exempt();
    assert_eq!(world.run(delete("/locked/x", -1)), 0);
}

#[test]
fn versions_wrap_like_32_bit_integers() {
    let mut world = World::new();
    world.run(create("/a", 0));
    let hash = world.ledger.hash("/a");
    world.ledger.nodes.update(hash, |node| node.version = i32::MAX);
    assert_eq!(world.run(set_data("/a", "x", i32::MAX)), 0);
    assert_eq!(world.node("/a").version, i32::MIN);
    world.ledger.nodes.update(hash, |node| node.version = -2);
    assert_eq!(world.run(set_data("/a", "x", -2)), 0);
    assert_eq!(world.node("/a").version, -1);
}

#[test]
fn a_multi_sees_its_earlier_ops() {
    let mut world = World::new();
    let txn = world.propose(WriteOp::Multi(vec![
        MultiOp::Create(plain("/m", 0)),
        MultiOp::SetData(set("/m", "x", 0)),
        MultiOp::Create(plain("/m/s", 2)),
        check("/m", 1),
        MultiOp::Delete(DeleteOp { path: "/m/s0000000000".into(), version: 0 }),
        MultiOp::Delete(DeleteOp { path: "/m".into(), version: 1 }),
        MultiOp::Create(plain("/m", 0)),
        check("/m", 0),
    ]));
    let Txn::Multi { entries } = &txn else { panic!("{txn:?}") };
    assert!(entries.iter().all(|entry| code(entry) == 0), "{entries:?}");
    world.commit_all();
    assert_eq!((world.node("/m").version, world.node("/m").cversion), (0, 0));
    assert_eq!(world.ledger.outstanding_paths(), 0);
}

#[test]
fn a_multi_that_fails_takes_everything_back() {
    let mut world = World::new();
    world.run(create("/q", 0));
    assert_eq!(created(&world.propose(create("/q/a", 2))), "/q/a0000000000");
    let txn = world.propose(WriteOp::Multi(vec![
        MultiOp::Create(plain("/q/b", 2)),
        MultiOp::Create(CreateOp { flags: 1, ..plain("/q/e", 0) }),
        MultiOp::SetData(set("/q", "x", -1)),
        check("/none", -1),
        MultiOp::Create(plain("/q/c", 2)),
    ]));
    let Txn::Multi { entries } = &txn else { panic!("{txn:?}") };
    assert_eq!(entries.iter().map(code).collect::<Vec<_>>(), [0, 0, 0, -101, -2]);
    assert_eq!(
        answer(&txn),
        Ok(WriteResult::Multi([0, 0, 0, -101, -2].map(MultiResult::Failed).to_vec())),
        "header error 0, and nothing but error results"
    );
    assert_eq!(created(&world.propose(create("/q/d", 2))), "/q/d0000000001", "the counter is as before");
    let closing = world.propose(WriteOp::CloseSession);
    assert_eq!(closing, Txn::CloseSession { paths: Some(vec![]) }, "the ephemeral never was");
    world.commit_all();
    assert_eq!((world.node("/q").version, world.node("/q").children), (0, 2));
}

#[test]
fn an_empty_multi_succeeds() {
    let mut world = World::new();
    let txn = world.propose(WriteOp::Multi(vec![]));
    assert_eq!(answer(&txn), Ok(WriteResult::Multi(vec![])));
    assert_eq!(world.commit(), []);
}

#[test]
fn creations_in_a_multi_are_converted_before_they_are_validated() {
    let mut world = World::new();
    let mut entry = |kind, path: &str, flags| match world
        .propose(WriteOp::Multi(vec![MultiOp::Create(CreateOp { kind, ..plain(path, flags) })]))
    {
        Txn::Multi { mut entries } => entries.remove(0),
        other => other,
    };
    use CreateKind::{Container, Create, Create2, Ttl};
    assert!(matches!(entry(Create, "/a", 4), Txn::CreateContainer { .. }));
    assert!(matches!(entry(Create2, "/b", 4), Txn::CreateContainer { .. }));
    assert!(matches!(entry(Container, "/c", 0), Txn::CreateContainer { .. }));
    assert!(matches!(entry(Create2, "/d", 0), Txn::Create { create2: true, .. }));
    assert!(matches!(entry(Ttl { ttl_ms: 5 }, "/e", 5), Txn::CreateTtl { ttl_ms: 5, .. }));
    assert!(matches!(entry(Ttl { ttl_ms: -1 }, "/f", 0), Txn::Create { create2: false, ephemeral: false, .. }));
    assert!(matches!(entry(Ttl { ttl_ms: 3 }, "/g", 1), Txn::Create { ephemeral: true, .. }));
    assert!(matches!(entry(Ttl { ttl_ms: 3 }, "/h", 4), Txn::CreateContainer { .. }));
    assert_eq!(code(&entry(Ttl { ttl_ms: 3 }, "/i", 7)), -8, "bad flags there are the op's error");
    assert_eq!(code(&entry(Ttl { ttl_ms: 0 }, "/i", 5)), -8);
    for (kind, flags) in [(Create, 7), (Create2, 5), (Container, 6), (Create, -1)] {
        assert_eq!(code(&entry(kind, "/i", flags)), -5, "{kind:?} with {flags}: the whole multi is undecodable");
    }
    let null = CreateOp { acl: AclSpec::List(None), ..plain("/i", 0) };
    assert_eq!(world.propose(WriteOp::Multi(vec![MultiOp::Create(null)])), Txn::Error { code: -5 });
    world.commit_all();
    assert_eq!(world.ledger.committed_node("/f").unwrap().owner, NodeOwner::PERSISTENT);
}

#[test]
fn results_of_a_multi_carry_stats_where_the_protocol_has_them() {
    let mut world = World::new();
    let create = |kind, path: &str, flags| MultiOp::Create(CreateOp { kind, ..plain(path, flags) });
    let txn = world.propose(WriteOp::Multi(vec![
        create(CreateKind::Create, "/a", 0),
        create(CreateKind::Create2, "/b", 0),
        create(CreateKind::Container, "/c", 4),
        create(CreateKind::Ttl { ttl_ms: 5 }, "/d", 5),
        MultiOp::SetData(set("/a", "x", -1)),
        check("/a", 1),
        MultiOp::Delete(DeleteOp { path: "/a".into(), version: -1 }),
    ]));
    use MultiResult::{Checked, Created, CreatedWithStat, Deleted, SetData};
    let expected = vec![
        Created("/a".into()),
        CreatedWithStat("/b".into()),
        CreatedWithStat("/c".into()),
        CreatedWithStat("/d".into()),
        SetData,
        Checked,
        Deleted,
    ];
    assert_eq!(answer(&txn), Ok(WriteResult::Multi(expected)));
    let origin = engine::ids::Origin { seq: 9, ..Default::default() };
    let (header, txn) = world.outstanding.pop_front().unwrap();
    let mut resolved = Resolved::default();
    world.ledger.commit(&header, &txn, Some(origin), Vec::new(), &mut resolved);
    let waited: Vec<_> = resolved.pieces.iter().filter_map(|piece| piece.stat_for).collect();
    assert_eq!(waited, [1, 2, 3, 4].map(|op| (origin, op)));
}

#[test]
fn closing_a_session_takes_committed_and_outstanding_ephemerals_but_no_deleted_ones() {
    let mut world = World::new();
    for path in ["/committed", "/deleted", "/again"] {
        world.run(create(path, 1));
    }
    world.propose(delete("/deleted", -1));
    world.propose(delete("/again", -1));
    world.propose(create("/again", 1));
    world.propose(create("/flying", 1));
    world.propose(create("/flown", 1));
    world.propose(delete("/flown", -1));
    world.session = OTHER;
    world.propose(create("/other", 1));
    world.propose(create("/flown", 1));
    world.session = S;
    let Txn::CloseSession { paths: Some(mut paths) } = world.propose(WriteOp::CloseSession) else { panic!() };
    paths.sort();
    assert_eq!(paths, ["/again", "/committed", "/flying"].map(Arc::from));
    assert_eq!(code(&world.propose(create("/flying", 0))), 0, "its end is seen at once");
    world.commit_all();
    assert_eq!(world.ledger.ephemeral_owners().collect::<Vec<_>>(), [(OTHER, 2)]);
    assert_eq!(world.node("/").children, 1 + 3);
    assert_eq!(world.ledger.outstanding_paths(), 0);
}

#[test]
fn auth_expands_on_create_and_is_kept() {
    let mut world = World::new();
    world.identity.add("ip", "127.0.0.1");
    assert_eq!(world.run(create_acl("/a", &[(31, "auth", "")])), -114);
    world.identity.add("digest", "a:b");
    let txn = world.propose(create_acl("/a", &[(31, "auth", "ignored"), (1, "world", "anyone")]));
    let expected: AclList = [Acl::new(31, "digest", "a:b"), Acl::world(1)].into();
    assert!(matches!(&txn, Txn::Create { acl, .. } if *acl == expected));
    let (header, txn) = world.outstanding.pop_front().unwrap();
    let mut resolved = Resolved::default();
    world.ledger.commit(&header, &txn, None, Vec::new(), &mut resolved);
    assert_eq!(resolved.defines, [(AclId::FIRST_FREE, expected)], "the cores learn it with its first use");
    world.run(create_acl("/b", &[(31, "auth", ""), (1, "world", "anyone")]));
    assert_eq!(world.node("/b").acl, AclId::FIRST_FREE);
}
