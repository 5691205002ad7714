//! Quotas: accounting and enforcement.

use super::*;

const QUOTA: i32 = -125;

fn usage(pieces: &[Piece]) -> Vec<(&str, &str)> {
    let mut usages = Vec::new();
    for piece in pieces {
        if let Piece::QuotaUsage { node, data } = piece {
            usages.push((&*node.path, std::str::from_utf8(data).unwrap()));
        }
    }
    usages
}

/// A quota on an empty `/q`, limits and stats made as zkCli does.
fn world(limits: &'static str) -> World {
    let mut world = World::new();
    world.run(create("/q", 0));
    world.run(create("/zookeeper/quota/q", 0));
    world.run(create_data("/zookeeper/quota/q/zookeeper_limits", limits));
    world.run(create_data("/zookeeper/quota/q/zookeeper_stats", "whatever the client says"));
    world
}

const STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

#[test]
fn the_creation_of_stats_computes_the_usage() {
    let mut world = World::new();
    world.run(create_data("/q", "abc"));
    world.run(create("/zookeeper/quota/q", 0));
    world.run(create_data("/zookeeper/quota/q/zookeeper_limits", "count=5"));
    world.propose(create_data(STATS, "overwritten"));
    let pieces = world.commit();
    assert!(matches!(&pieces[0], Piece::Put { data: Some(data), .. } if data == "overwritten"));
    assert_eq!(usage(&pieces), [(STATS, "count=1,bytes=3")]);
    assert_eq!(world.node(STATS).data_length, 15);
    assert_eq!((world.node(STATS).version, world.node(STATS).cversion), (0, 0), "no Stat moves but the length");
}

#[test]
fn a_subtree_with_children_is_measured_and_earlier_ops_count() {
    let mut world = World::new();
    world.run(create("/q", 0));
    world.run(create_data("/q/a", "12345"));
    world.run(create("/zookeeper/quota/q", 0));
    let make = |path: &str| CreateOp { data: Some(Bytes::from_static(b"count=9")), ..plain(path, 0) };
    let txn = world.propose(WriteOp::Multi(vec![
        MultiOp::Create(make("/q/b")),
        MultiOp::SetData(set("/q/a", "1", -1)),
        MultiOp::Create(make("/zookeeper/quota/q/zookeeper_limits")),
        MultiOp::Create(make(STATS)),
        MultiOp::Create(make("/q/c")),
    ]));
    assert_eq!(world.ledger.unmeasured(&txn), ["/q".into()]);
    let (header, txn) = world.outstanding.pop_front().unwrap();
    let mut resolved = Resolved::default();
    let before = vec![("/q".into(), SubtreeUsage { count: 2, bytes: 5 })];
    world.ledger.commit(&header, &txn, None, before, &mut resolved);
    let pieces: Vec<_> = resolved.pieces.into_iter().map(|piece| piece.piece).collect();
    assert_eq!(usage(&pieces), [(STATS, "count=4,bytes=15")], "b, the shorter a, and c after the count");
}

#[test]
fn usage_follows_creations_changes_and_deletions() {
    let mut world = world("count=5");
    for (op, text) in [
        (create_data("/q/a", "12345"), "count=2,bytes=5"),
        (set_data("/q/a", "1", -1), "count=2,bytes=1"),
        (set_data("/q", "xx", -1), "count=2,bytes=3"),
        (delete("/q/a", -1), "count=1,bytes=2"),
        (create("/q/e", 1), "count=2,bytes=2"),
        (WriteOp::CloseSession, "count=1,bytes=2"),
    ] {
        world.propose(op);
        assert_eq!(usage(&world.commit()), [(STATS, text)]);
    }
    world.propose(create("/qq", 0));
    assert_eq!(usage(&world.commit()), [], "another path with the same start");
    world.propose(set_acl("/q", AclSpec::Open, -1));
    assert_eq!(usage(&world.commit()), []);
}

#[test]
fn a_quota_without_limits_or_stats_is_asleep() {
    let mut world = world("countHardLimit=1");
    assert_eq!(world.run(create("/q/a", 0)), QUOTA);
    world.run(delete("/zookeeper/quota/q/zookeeper_limits", -1));
    assert_eq!(world.run(create("/q/a", 0)), 0);
    assert_eq!(world.ledger.quotas().next().unwrap().1.usage.as_ref().unwrap().track.count, 1, "not charged");
    world.run(create_data("/zookeeper/quota/q/zookeeper_limits", "countHardLimit=1"));
    assert_eq!(world.run(create("/q/b", 0)), QUOTA);
    world.run(delete(STATS, -1));
    assert_eq!(world.run(create("/q/b", 0)), 0, "no usage to compare with");
    world.run(delete("/zookeeper/quota/q/zookeeper_limits", -1));
    assert_eq!(world.ledger.quotas().count(), 0);
}

#[test]
fn hard_limits_forbid_by_committed_usage_and_spare_nobody() {
    let mut world = world("count=1,bytes=1=;byteHardLimit=4;countHardLimit=3");
    world.identity = Identity::exempt();
    assert_eq!(code(&world.propose(create("/q/a", 0))), 0);
    assert_eq!(code(&world.propose(create("/q/b", 0))), 0);
    assert_eq!(code(&world.propose(create("/q/c", 0))), 0, "what is in flight does not count");
    world.commit_all();
    assert_eq!(world.run(create("/q/d", 0)), QUOTA, "4 of 3 are there");
    assert_eq!(world.run(set_data("/q", "12345", -1)), QUOTA);
    assert_eq!(world.run(set_data("/q", "1234", -1)), 0);
    let multi = world.propose(WriteOp::Multi(vec![MultiOp::SetData(set("/q", "123456", -1))]));
    assert!(matches!(&multi, Txn::Multi { entries } if code(&entries[0]) == QUOTA), "in a multi it is the op's error");
    assert_eq!(world.ledger.quota_refusals().collect::<Vec<_>>(), [("q", 3)]);
    world.ledger.config.enforce_quota = false;
    assert_eq!(world.run(create("/q/d", 0)), 0, "limits are not looked at unless enforced");
}

#[test]
fn limits_and_usage_can_be_rewritten_and_nonsense_is_no_limit() {
    let mut world = world("countHardLimit=1");
    assert_eq!(world.run(set_data("/zookeeper/quota/q/zookeeper_limits", "countHardLimit=2", -1)), 0);
    assert_eq!(world.run(create("/q/a", 0)), 0);
    assert_eq!(world.run(create("/q/b", 0)), QUOTA);
    assert_eq!(world.run(set_data("/zookeeper/quota/q/zookeeper_limits", "nonsense", -1)), 0);
    assert_eq!(world.run(create("/q/b", 0)), 0);
    assert_eq!(world.run(set_data(STATS, "nonsense", -1)), 0);
    world.propose(create("/q/c", 0));
    assert_eq!(usage(&world.commit()), [(STATS, "count=0,bytes=-1")], "absent numbers count from -1");
}

#[test]
fn nested_quotas_charge_the_deepest() {
    let mut world = world("count=5");
    world.run(create("/q/in", 0));
    world.run(create("/zookeeper/quota/q/in", 0));
    world.run(create_data("/zookeeper/quota/q/in/zookeeper_limits", "count=5"));
    world.run(create("/zookeeper/quota/q/in/zookeeper_stats", 0));
    world.propose(create("/q/in/x", 0));
    assert_eq!(usage(&world.commit()), [("/zookeeper/quota/q/in/zookeeper_stats", "count=2,bytes=0")]);
}

#[test]
fn a_quota_over_its_own_stats_counts_them_with_the_data_given() {
    let mut world = World::new();
    world.run(create("/zookeeper/quota/zookeeper", 0));
    let limits = "/zookeeper/quota/zookeeper/zookeeper_limits";
    let stats = "/zookeeper/quota/zookeeper/zookeeper_stats";
    world.run(create(limits, 0));
    let txn = world.propose(create_data(stats, "12"));
    assert_eq!(world.ledger.unmeasured(&txn), ["/zookeeper".into()]);
    let (header, txn) = world.outstanding.pop_front().unwrap();
    let mut resolved = Resolved::default();
    let before = vec![("/zookeeper".into(), SubtreeUsage { count: 5, bytes: 0 })];
    world.ledger.commit(&header, &txn, None, before, &mut resolved);
    let pieces: Vec<_> = resolved.pieces.into_iter().map(|piece| piece.piece).collect();
    assert_eq!(usage(&pieces), [(stats, "count=7,bytes=4")], "in the count, and charged behind it");
}
