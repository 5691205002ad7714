//! New configurations.

use super::*;

/// ZOOKEEPER-1783.
#[test]
fn a_configuration_that_was_never_established_gets_a_version() {
    let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1);
    setup.config.reconfig_enabled = true;
    let (mut bench, _) = setup.start();
    bench.present(2, 2, 1);
    bench.step(Input::EpochPersisted(2));
    let done = bench.send(2, &bodies::ack_epoch(Zxid::ZERO, Some(1)));
    assert_eq!(done.packets(2)[1].data.as_deref(), Some(&b"voters=[1, 2, 3]\nversion=200000000"[..]));
    bench.step(Input::EpochPersisted(2));
    let done = bench.ack(2, zxid(2, 0));
    assert!(done.has("Activate { zxid: 0x200000000, designated: 1"));
    assert_eq!(bench.leader.configurations.committed.version, 0x2_0000_0000);
}

fn reconfigure(bench: &mut Bench, zxid: Zxid, voters: &[u64]) -> Done {
    let reconfig = Some(configuration(zxid.to_wire(), voters));
    bench.step(Input::Proposed { zxid, txn: error_txn(zxid), reconfig })
}

/// 4.4, and 9.3 row 1.
#[test]
fn a_reconfiguration_needs_both_quorums_and_holds_up_what_follows() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    for sid in [4, 5] {
        bench.join(sid, sid, FollowerInfo, Zxid::ZERO);
        bench.ack(sid, zxid(1, 0));
    }
    bench.join(8, 8, ObserverInfo, Zxid::ZERO);
    bench.ack(8, zxid(1, 0));
    assert_eq!(bench.leader.served_learners(), (vec![2, 4, 5], vec![8]));
    let (one, two) = (zxid(1, 1), zxid(1, 2));
    reconfigure(&mut bench, one, &[1, 4, 5]);
    bench.propose(two);
    bench.durable(two);
    assert_eq!(bench.ack(2, one).committed(), None, "the old quorum alone");
    assert_eq!(bench.ack(4, two).committed(), None, "the new one alone, and not the first");
    bench.ack(2, two);
    let done = bench.ack(4, one);
    assert_eq!(done.committed(), Some(two), "the second had gathered its own meanwhile");
    assert_eq!(done.packets(5)[0], bodies::commit_and_activate(one, 1));
    assert_eq!(done.to(5), [(CommitAndActivate, one), (Commit, two)]);
    assert_eq!(done.packets(8)[0], bodies::inform_and_activate(one, 1, &error_txn(one)));
    assert!(done.has("Activate { zxid: 0x100000001, designated: 1"));
    bench.propose(zxid(1, 3));
    bench.durable(zxid(1, 3));
    assert_eq!(bench.ack(2, zxid(1, 3)).committed(), None, "server 2 votes no more");
    assert_eq!(bench.ack(5, zxid(1, 3)).committed(), Some(zxid(1, 3)));
}

/// 4.5.
#[test]
fn a_leader_that_is_removed_hands_over_to_the_best() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    bench.ack(3, zxid(1, 0));
    let (one, two) = (zxid(1, 1), zxid(1, 2));
    reconfigure(&mut bench, one, &[2, 3]);
    bench.propose(two);
    bench.ack(3, two);
    bench.ack(2, one);
    let done = bench.ack(3, one);
    assert_eq!(done.packets(2)[0], bodies::commit_and_activate(one, 3), "3 has more of what followed");
    assert!(done.has("Activate { zxid: 0x100000001, designated: 3"));
    assert_eq!(done.committed(), Some(one));
    assert_eq!(bench.ack(2, two).committed(), None, "nothing is committed any more");
    let done = bench.step(Input::Disconnected { learner: LearnerId(2) });
    assert!(matches!(done.resigned(), Some(ResignReason::HandedOver(3))), "one of two is no quorum");
}

/// What was proposed before the new members were in force waits for the old ones as well. If those are gone for good,
/// only another leader helps.
#[test]
fn a_leader_whose_proposals_need_members_that_are_gone_resigns() {
    for (acknowledged, resigns) in [(false, true), (true, false)] {
        let mut bench = Setup::of(&[1, 2, 3]).established();
        for sid in [4, 5] {
            bench.join(sid, sid, FollowerInfo, Zxid::ZERO);
            bench.ack(sid, zxid(1, 0));
        }
        let (one, two) = (zxid(1, 1), zxid(1, 2));
        reconfigure(&mut bench, one, &[1, 4, 5]);
        bench.propose(two);
        bench.durable(two);
        bench.ack(2, one);
        assert_eq!(bench.ack(4, one).committed(), Some(one));
        assert_eq!(bench.ack(4, two).committed(), None, "the old quorum has not logged it");
        if acknowledged {
            assert_eq!(bench.ack(2, two).committed(), Some(two));
        }
        bench.tick_at(TICK_MS);
        assert!(bench.tick_at(2 * TICK_MS).resigned().is_none(), "server 2 may yet do so");
        bench.step(Input::Disconnected { learner: LearnerId(2) });
        let done = [3, 4].map(|ticks| bench.tick_at(ticks * TICK_MS));
        let reasons: Vec<_> = done.iter().filter_map(Done::resigned).collect();
        match resigns {
            true => assert!(matches!(reasons[..], [ResignReason::FormerQuorumLost { zxid, .. }] if *zxid == two)),
            false => assert!(reasons.is_empty(), "nothing is outstanding: {reasons:?}"),
        }
    }
}

/// Who was named without an election does not keep a better one waiting.
#[test]
fn a_named_leader_gives_way_to_a_voter_that_is_ahead() {
    for (named, sid, resigns) in [(true, 2, true), (true, 9, false), (false, 2, false)] {
        let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1);
        setup.config.named = named;
        let (mut bench, _) = setup.start();
        bench.present(3, 3, 1);
        bench.step(Input::EpochPersisted(2));
        bench.present(sid, sid, 1);
        let done = bench.send(sid, &bodies::ack_epoch(zxid(1, 5), Some(1)));
        assert_eq!(matches!(done.resigned(), Some(ResignReason::Overtaken { .. })), resigns, "{named} {sid}");
    }
}

/// ZOOKEEPER-1324: `ReconfigRecoveryTest`.
#[test]
fn a_new_leader_completes_what_the_last_one_left() {
    let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1);
    setup.configurations.proposed = Some(configuration(0x1_0000_0001, &[1, 4, 5]));
    let (mut bench, _) = setup.start();
    bench.present(2, 2, 1);
    bench.present(4, 4, 1);
    bench.step(Input::EpochPersisted(2));
    let done = bench.send(2, &bodies::ack_epoch(Zxid::ZERO, Some(1)));
    assert_eq!(done.packets(2)[1].data.as_deref(), Some(&b"voters=[1, 4, 5]\nversion=100000001"[..]), "the last seen");
    bench.send(4, &bodies::ack_epoch(Zxid::ZERO, Some(1)));
    bench.step(Input::EpochPersisted(2));
    bench.ack(2, zxid(2, 0));
    assert!(!bench.leader.is_established(), "a quorum of the old configuration only");
    let done = bench.ack(4, zxid(2, 0));
    assert!(bench.leader.is_established() && done.has("Activate { zxid: 0x200000000, designated: 1"));
}

/// `Leader.waitForNewLeaderAck` asks whether the server votes in a configuration, not what it is at the moment.
#[test]
fn an_observer_counts_for_the_configuration_that_makes_it_a_voter() {
    for (observer, is_counted) in [(4, true), (3, false)] {
        let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1);
        setup.configurations.proposed = Some(configuration(0x1_0000_0001, &[1, observer, 5]));
        let (mut bench, _) = setup.start();
        bench.present(2, 2, 1);
        bench.step(Input::EpochPersisted(2));
        bench.send(2, &bodies::ack_epoch(Zxid::ZERO, Some(1)));
        bench.step(Input::EpochPersisted(2));
        bench.ack(2, zxid(2, 0));
        bench.join(8, observer, ObserverInfo, Zxid::ZERO);
        bench.ack(8, zxid(2, 0));
        assert_eq!(bench.leader.is_established(), is_counted, "{observer}");
    }
}
