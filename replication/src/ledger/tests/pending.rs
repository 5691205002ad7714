//! The end of a log, given to a new leader, stands over the committed state as it had stood where it was proposed.

use super::*;
use crate::role::tests::random::write;
use proptest::prelude::*;

const PATHS: [&str; 9] = ["/", "/a", "/b", "/a/x", "/a/y", "/b/x", "/a/x/k", "/a/x/l", "/zookeeper/quota"];

/// The ledger with the first `committed` transactions, and those behind.
fn ledger_at(log: &[(TxnHeader, Txn)], committed: usize) -> Ledger {
    let mut ledger = Ledger::fresh(config());
    for (header, txn) in &log[..committed] {
        ledger.commit(header, txn, None, Vec::new(), &mut Resolved::default());
    }
    ledger
}

proptest! {
    #[test]
    fn what_is_expected_is_what_was_proposed(
        ops in proptest::collection::vec((write(), any::<bool>()), 1..40), committed: prop::sample::Index
    ) {
        let mut world = World::new();
        for path in ["/a", "/b"] {
            world.propose(WriteOp::Create(CreateOp {
                kind: CreateKind::Create, path: path.into(), data: None, acl: AclSpec::Open, flags: 0,
            }));
        }
        for (op, other) in ops {
            world.session = if other { OTHER } else { S };
            world.propose(op);
        }
        let log: Vec<_> = std::mem::take(&mut world.outstanding).into();
        let committed = committed.index(log.len() + 1);
        // Where it was proposed, as much has been committed since.
        for (header, txn) in &log[..committed] {
            world.ledger.commit(header, txn, None, Vec::new(), &mut Resolved::default());
        }
        let mut successor = ledger_at(&log, committed);
        for (header, txn) in &log[committed..] {
            successor.expect(header, txn);
        }
        let names: Vec<String> = (0..60).map(|at| format!("/a/s{at:010}")).chain(PATHS.map(String::from)).collect();
        for path in &names {
            let hash = successor.hash(path);
            // Numbers of lists are each server's own.
            let state = |ledger: &Ledger| {
                let node = ledger.pending_at(hash)?;
                Some((ledger.acls.list(node.acl).cloned(), NodeState { acl: AclId::NONE, ..node }))
            };
            prop_assert_eq!(state(&successor), state(&world.ledger), "{}", path);
        }
        for session in [S, OTHER] {
            let paths = |ledger: &Ledger| {
                let mut paths: Vec<_> = ledger.pending_ephemerals(session).into_iter().map(|node| node.path).collect();
                paths.sort();
                paths
            };
            prop_assert_eq!(paths(&successor), paths(&world.ledger));
        }
        for (header, txn) in &log[committed..] {
            successor.commit(header, txn, None, Vec::new(), &mut Resolved::default());
        }
        prop_assert_eq!(successor.outstanding_paths(), 0, "and it goes as it commits");
    }
}

#[test]
fn a_session_with_more_ephemerals_than_a_record_can_name_loses_them_all() {
    let mut world = World::new();
    let long = "x".repeat(60_000);
    for at in 0..40 {
        assert_eq!(world.run(create(&format!("/{at}{long}"), 1)), 0);
    }
    let txn = world.propose(WriteOp::CloseSession);
    let Txn::CloseSession { paths: Some(paths) } = &txn else { panic!("{txn:?}") };
    assert!((10..40).contains(&paths.len()), "{}", paths.len());
    world.commit_all();
    assert_eq!((world.ledger.ephemeral_count(), world.ledger.outstanding_paths()), (0, 0));
    assert_eq!(world.node("/").children, 1);
}
