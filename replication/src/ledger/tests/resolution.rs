//! Pieces, their order, and transactions that arrive over newer state.

use super::*;
use engine::acl::Acl;
use engine::ids::{PartitionId, SessionId};
use engine::node_owner::NodeOwner;
use engine::path::RESERVED;

fn names(pieces: &[Piece]) -> Vec<String> {
    let name = |piece: &Piece| match piece {
        Piece::Put { node, .. } => format!("put {}", node.path),
        Piece::SetData { node, version, .. } => format!("set {} {version}", node.path),
        Piece::SetAcl { node, aversion, .. } => format!("acl {} {aversion}", node.path),
        Piece::Link { child, cversion, moves_pzxid, .. } => format!("link {} {cversion} {moves_pzxid}", child.path),
        Piece::Unlink { child, .. } => format!("unlink {}", child.path),
        Piece::Remove { node } => format!("remove {}", node.path),
        Piece::QuotaUsage { node, .. } => format!("usage {}", node.path),
        Piece::Rewrite { node, .. } => format!("rewrite {}", node.path),
    };
    pieces.iter().map(name).collect()
}

#[test]
fn the_node_comes_before_its_parent_and_ops_in_their_order() {
    let mut world = World::new();
    world.run(create("/e", 1));
    world.propose(WriteOp::Multi(vec![
        MultiOp::Create(plain("/a", 0)),
        MultiOp::Create(plain("/a/b", 0)),
        MultiOp::SetData(set("/a", "x", -1)),
        MultiOp::Delete(DeleteOp { path: "/a/b".into(), version: -1 }),
    ]));
    world.propose(WriteOp::CloseSession);
    assert_eq!(
        names(&world.commit()),
        ["put /a", "link /a 2 true", "put /a/b", "link /a/b 1 true", "set /a 1", "remove /a/b", "unlink /a/b"]
    );
    assert_eq!(names(&world.commit()), ["remove /e", "unlink /e"]);
}

/// Commits a transaction as it comes from a log or another leader.
fn replay(ledger: &mut Ledger, zxid: u64, txn: Txn) -> Vec<String> {
    let header = TxnHeader { client: S, cxid: 0, zxid: Zxid(zxid), time_ms: 0 };
    let mut resolved = Resolved::default();
    ledger.commit(&header, &txn, None, Vec::new(), &mut resolved);
    names(&resolved.pieces.into_iter().map(|piece| piece.piece).collect::<Vec<_>>())
}

fn create_txn(path: &str, parent_cversion: i32, create2: bool) -> Txn {
    let acl = [engine::acl::Acl::world(1)].into();
    Txn::Create { path: path.into(), data: None, acl, ephemeral: false, parent_cversion, create2 }
}

#[test]
fn transactions_over_newer_state_do_what_the_reference_server_does() {
    let mut ledger = Ledger::fresh(config());
    assert_eq!(replay(&mut ledger, 1, create_txn("/no/x", 1, false)), [""; 0], "no parent: nothing");
    assert_eq!(replay(&mut ledger, 2, create_txn("/a", 5, false)), ["put /a", "link /a 5 true"]);
    assert_eq!(replay(&mut ledger, 3, create_txn("/a", 5, false)), ["acl /a 0"], "there already: its ACL is replaced");
    assert_eq!(replay(&mut ledger, 4, create_txn("/a", 7, true)), ["acl /a 0"]);
    assert_eq!(replay(&mut ledger, 5, create_txn("/a", 7, false)), ["acl /a 0", "link /a 7 true"]);
    let root = ledger.committed_node("/").unwrap();
    assert_eq!((root.cversion, root.children), (7, 2), "the parent is mended, the child not counted twice");
    assert_eq!(replay(&mut ledger, 6, create_txn("/b", 6, false)), ["put /b", "link /b 7 false"], "it never goes back");
    assert_eq!(replay(&mut ledger, 7, create_txn("/c", -1, false)), ["put /c", "link /c 8 true"], "of an old log");
    let delete = |path: &str| Txn::Delete { path: path.into(), reaped: false };
    assert_eq!(replay(&mut ledger, 8, delete("/none")), ["unlink /none"], "the parent's pzxid moves all the same");
    assert_eq!(replay(&mut ledger, 9, delete("/none/x")), [""; 0]);
    assert_eq!(ledger.committed_node("/").unwrap().children, 4);
    let set = Txn::SetData { path: "/none".into(), data: None, version: 3, reconfig: false };
    assert_eq!(replay(&mut ledger, 10, set), [""; 0]);
    let closing = Txn::CloseSession { paths: Some(vec!["/a".into(), "/none".into()]) };
    assert_eq!(replay(&mut ledger, 11, closing), ["remove /a", "unlink /a", "unlink /none"]);
    let failed = Txn::Multi { entries: vec![create_txn("/m", 9, false), Txn::Error { code: -101 }] };
    assert_eq!(replay(&mut ledger, 12, failed), [""; 0]);
}

#[test]
fn a_close_without_a_list_finds_the_ephemerals_itself() {
    let mut world = World::new();
    world.run(create("/e", 1));
    let mut resolved = Resolved::default();
    let header = TxnHeader { client: S, zxid: Zxid(9), ..TxnHeader::default() };
    world.ledger.commit(&header, &Txn::CloseSession { paths: None }, None, Vec::new(), &mut resolved);
    assert_eq!(resolved.pieces.len(), 2);
    assert_eq!(world.ledger.ephemeral_count(), 0);
}

#[test]
fn the_loader_refuses_what_cannot_be() {
    let fact = |path: &'static str, acl| NodeFact {
        path,
        hash: config().hash_key.hash(path),
        cversion: 0,
        version: 0,
        aversion: 0,
        children: 0,
        acl,
        owner: engine::node_owner::NodeOwner::PERSISTENT,
        data_length: 0,
        mtime_ms: 0,
        text: None,
    };
    let loader = || LedgerLoader::new(config(), Acls::default(), vec![Zxid::ZERO; 8].into());
    let unknown = LoadError::UnknownAcl { path: "/a".into(), acl: AclId(7) };
    assert_eq!(loader().node(fact("/a", AclId(7))), Err(unknown));
    let owner = engine::node_owner::NodeOwner(0xFF00_0100_0000_0005_u64 as i64);
    let strange = loader().node(NodeFact { owner, ..fact("/a", AclId::OPEN) });
    assert!(matches!(strange, Err(LoadError::UnknownOwner { .. })));
    let mut plain = LedgerLoader::new(
        LedgerConfig { extended_types: false, ..config() },
        Acls::default(),
        vec![Zxid::ZERO; 8].into(),
    );
    assert_eq!(plain.node(NodeFact { owner, ..fact("/a", AclId::OPEN) }), Ok(()), "there it is a session");
    let mut twice = loader();
    twice.node(fact("/a", AclId::OPEN)).unwrap();
    assert_eq!(twice.node(fact("/a", AclId::OPEN)), Err(LoadError::Twice("/a".into())));
    assert_eq!(twice.finish().err(), Some(LoadError::MissingNode("/")));
    let (whole, a) = (loader(), fact("/a", AclId::OPEN));
    let own = a.hash.partition(config().partitions);
    assert_eq!(whole.part(own, 1).node(a), Ok(()));
    let misplaced = Err(LoadError::Misplaced("/a".into()));
    assert_eq!(whole.part(PartitionId(own.0 ^ 1), 1).node(a), misplaced);
}

#[test]
fn partitions_loaded_apart_make_the_same_ledger() {
    let lists = || {
        let mut acls = Acls::default();
        acls.restore(AclId::FIRST_FREE, [Acl::new(1, "digest", "a:b")].into());
        acls
    };
    let loader = || LedgerLoader::new(config(), lists(), vec![Zxid::ZERO; config().partitions as usize].into());
    let mut paths: Vec<String> = RESERVED.iter().map(|path| path.to_string()).collect();
    paths.extend((0..200).map(|n| format!("/n{n}")));
    paths.extend(["/zookeeper/quota/n1/zookeeper_limits".into(), "/zookeeper/quota/n1/zookeeper_stats".into()]);
    let fact = |at: usize| NodeFact {
        path: &paths[at],
        hash: config().hash_key.hash(&paths[at]),
        cversion: at as i32,
        version: 3,
        aversion: 1,
        children: 2,
        acl: if at.is_multiple_of(3) { AclId::FIRST_FREE } else { AclId::OPEN },
        owner: NodeOwner(if at.is_multiple_of(5) { 77 } else { 0 }),
        data_length: 5,
        mtime_ms: 9,
        text: NodeFact::wants_text(&paths[at]).then_some(b"count=7,bytes=5"),
    };
    let (mut one, mut apart) = (loader(), loader());
    for at in 0..paths.len() {
        one.node(fact(at)).unwrap();
    }
    for partition in (0..config().partitions as u16).map(PartitionId) {
        let mut part = apart.part(partition, 0);
        for at in (0..paths.len()).filter(|at| fact(*at).hash.partition(config().partitions) == partition) {
            part.node(fact(at)).unwrap();
        }
        let part = part.finish();
        apart.add(partition, part);
    }
    let (mut one, mut apart) = (one.finish().unwrap(), apart.finish().unwrap());
    assert_eq!(apart.node_count(), paths.len());
    for path in &paths {
        assert_eq!(apart.committed_node(path), one.committed_node(path));
    }
    assert_eq!((apart.data_bytes(), apart.ephemeral_count()), (one.data_bytes(), one.ephemeral_count()));
    let owned = |ledger: &Ledger| ledger.ephemerals(SessionId(77)).map(|node| node.path).collect::<Vec<_>>();
    assert_eq!((owned(&apart), owned(&apart).len()), (owned(&one), one.ephemeral_count()));
    let quotas = |ledger: &Ledger| ledger.quotas().map(|(path, quota)| format!("{path} {quota:?}")).collect::<Vec<_>>();
    assert_eq!((quotas(&apart), quotas(&apart).len()), (quotas(&one), 1));
    for ledger in [&mut one, &mut apart] {
        ledger.drop_unused_acls(Zxid(9));
        assert_eq!(ledger.acls().count(), 1, "its nodes keep it");
    }
}

#[test]
fn outstanding_changes_go_when_leadership_does() {
    let mut world = World::new();
    world.propose(create("/a", 0));
    assert!(world.ledger.pending_at(world.ledger.hash("/a")).is_some());
    world.ledger.drop_outstanding();
    assert_eq!(world.ledger.outstanding_paths(), 0);
    assert_eq!(world.ledger.pending_at(world.ledger.hash("/a")), None);
}
