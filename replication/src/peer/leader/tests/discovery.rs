//! From being elected to a quorum of histories.

use super::*;

/// The first flow of the captures, and the order of promises.
#[test]
fn a_new_ensemble() {
    let (mut bench, done) = Setup::of(&[1, 2, 3]).start();
    assert!(done.rest.is_empty() && done.sent.is_empty());
    let done = bench.present(2, 2, 0);
    assert!(done.has("PersistAcceptedEpoch(1)") && done.sent.is_empty(), "written before it is spoken");
    let done = bench.present(3, 3, 5);
    assert!(done.sent.is_empty());
    let done = bench.step(Input::EpochPersisted(1));
    assert_eq!(done.packets(2), [bodies::leader_info(1)]);
    assert_eq!(done.packets(3), [bodies::leader_info(1)], "who has promised more leaves by itself");
    let done = bench.send(2, &bodies::ack_epoch(Zxid::ZERO, Some(0)));
    assert!(done.has("PersistCurrentEpoch(1)"));
    assert_eq!(done.to(2), [(Diff, Zxid::ZERO), (NewLeader, zxid(1, 0))]);
    assert_eq!(done.packets(2)[1].data.as_deref(), Some(&b"voters=[1, 2, 3]\nversion=0"[..]));
    let done = bench.ack(2, zxid(1, 0));
    assert!(!bench.leader.is_established() && done.sent.is_empty(), "its own current epoch is not on disk");
    let done = bench.step(Input::EpochPersisted(1));
    assert!(bench.leader.is_established());
    assert!(done.has("Commit") && done.has("Established { epoch: 1 }"));
    assert_eq!(done.to(2), [(UpToDate, NO_ZXID)]);
    assert_eq!(bench.ack(2, zxid(1, 0)).rest.len(), 0);
    assert_eq!(bench.leader.served_learners(), (vec![2], vec![]));
}

#[test]
fn alone_it_leads_at_once() {
    let (mut bench, done) = Setup::of(&[1]).epoch(4, 4).start();
    assert!(done.has("PersistAcceptedEpoch(5)"));
    assert!(bench.step(Input::EpochPersisted(5)).has("PersistCurrentEpoch(5)"));
    assert!(bench.step(Input::EpochPersisted(5)).has("Commit"));
    bench.propose(zxid(5, 1));
    assert_eq!(bench.durable(zxid(5, 1)).committed(), Some(zxid(5, 1)));
}

/// `Zab1_0Test.testLastAcceptedEpoch`; ZOOKEEPER-2959: observers raise the number and do not count.
#[test]
fn the_epoch_is_above_all_promises_of_a_quorum() {
    let (mut bench, _) = Setup::of(&[1, 2, 3]).epoch(3, 3).start();
    assert!(bench.present_as(9, 9, 7, ObserverInfo).rest.is_empty(), "an observer does not count");
    assert!(bench.present(8, 8, 1).rest.is_empty(), "nor does a stranger");
    assert!(bench.present(2, 2, 5).has("PersistAcceptedEpoch(8)"));
    let done = bench.step(Input::EpochPersisted(8));
    for learner in [2, 8, 9] {
        assert_eq!(done.to(learner), [(LeaderInfo, zxid(8, 0))]);
    }
}

/// A voter that has promised a later epoch would stay outside for as long as this one lasts.
#[test]
fn a_leader_makes_way_for_a_promise_that_a_voter_gave() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    assert!(bench.present(8, 8, 3).resigned().is_none(), "a stranger's promise is its own affair");
    let done = bench.present(3, 3, 3);
    assert!(done.has("PersistAcceptedEpoch(3)"), "the next epoch is above it");
    assert_eq!(done.resigned(), Some(&ResignReason::Outbid { sid: 3, accepted: 3, epoch: 1 }));
}

#[test]
fn epochs_end_somewhere() {
    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    let done = bench.present(2, 2, i32::MAX as u32);
    assert_eq!(done.disconnected(2), &DisconnectReason::LastEpoch(i32::MAX as u32));
    let (_, done) = Setup::of(&[1]).epoch(i32::MAX as u32, 1).start();
    assert!(matches!(done.resigned(), Some(ResignReason::LastEpoch(_))));
}

/// `Zab1_0Test.testLeaderBehind`, and 9.2 rows 2, 3 and 5.
#[test]
fn only_promises_of_those_behind_count() {
    let gathering = || {
        let (mut bench, _) = Setup::of(&[1, 2, 3]).epoch(2, 2).log(&[zxid(1, 1), zxid(1, 2)]).start();
        bench.present(2, 2, 2);
        bench.step(Input::EpochPersisted(3));
        bench
    };
    for (epoch, last) in [(2, zxid(1, 3)), (3, Zxid::ZERO)] {
        let done = gathering().send(2, &bodies::ack_epoch(last, Some(epoch)));
        assert_eq!(done.disconnected(2), &DisconnectReason::Ahead { epoch, last });
    }
    let done = gathering().send(2, &bodies::ack_epoch(zxid(1, 1), None));
    assert!(!done.has("PersistCurrentEpoch") && done.sent.is_empty(), "-1 does not count, nor is it refused");
    let done = gathering().send(2, &bodies::ack_epoch(NO_ZXID, Some(1)));
    assert!(!done.has("PersistCurrentEpoch") && done.sent.is_empty(), "without data there is nothing to vouch for");
    let mut bench = gathering();
    for (learner, kind) in [(8, FollowerInfo), (9, ObserverInfo)] {
        bench.present_as(learner, learner, 2, kind);
        assert!(bench.send(learner, &bodies::ack_epoch(zxid(1, 1), Some(2))).rest.is_empty());
    }
    assert!(bench.send(2, &bodies::ack_epoch(zxid(1, 2), Some(2))).has("PersistCurrentEpoch(3)"));
    let done = bench.join(3, 3, FollowerInfo, zxid(1, 3));
    assert_eq!(
        done.to(3),
        [(Trunc, zxid(1, 2)), (NewLeader, zxid(3, 0))],
        "with a quorum the rest was never committed"
    );
}

#[test]
fn each_wait_for_a_quorum_ends() {
    let limit_ms = 20_000;
    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    assert!(bench.tick_at(limit_ms - 1).resigned().is_none());
    let reason = |done: &Done| done.resigned().cloned();
    let expired = |step| Some(ResignReason::NoQuorum { step, limit_ms });
    assert_eq!(reason(&bench.tick_at(limit_ms)), expired("presented itself"));

    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    bench.present(2, 2, 0);
    bench.now = 5000;
    bench.step(Input::EpochPersisted(1));
    assert!(bench.tick_at(24_999).resigned().is_none());
    assert_eq!(reason(&bench.tick_at(25_000)), expired("promised to follow"));

    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    bench.present(2, 2, 0);
    bench.step(Input::EpochPersisted(1));
    bench.now = 6000;
    bench.send(2, &bodies::ack_epoch(Zxid::ZERO, Some(0)));
    bench.step(Input::EpochPersisted(1));
    assert_eq!(reason(&bench.tick_at(26_000)), expired("took this server's history"));
    assert!(bench.leader.next_deadline().is_none() && bench.propose(zxid(1, 1)).rest.is_empty(), "it has resigned");
}

#[test]
fn who_may_not_come_in_is_told_so() {
    let setup = || {
        let mut setup = Setup::of(&[1, 2, 3]);
        setup.config.accept_strangers = false;
        setup.config.learners_max = 1;
        setup.start().0
    };
    let present = |kind, info: Vec<u8>| {
        let mut bench = setup();
        bench.accept(5);
        let done = bench.send(5, &QuorumPacket::with_data(kind, Zxid::ZERO, info));
        done.disconnected(5).clone()
    };
    let info =
        |sid, config_version| LearnerInfo { sid: Some(sid), protocol: PROTOCOL_VERSION, config_version }.encode();
    assert!(matches!(present(Ack, info(2, 0)), DisconnectReason::Protocol(_)));
    assert_eq!(present(FollowerInfo, info(9, 0)), DisconnectReason::Stranger(9));
    assert_eq!(present(FollowerInfo, info(1, 0)), DisconnectReason::OwnSid(1));
    assert_eq!(present(FollowerInfo, info(2, 1)), DisconnectReason::NewerConfiguration { learner: 1, leader: 0 });
    assert_eq!(present(FollowerInfo, info(2, 0)[..8].to_vec()), DisconnectReason::OldProtocol(1));
    assert!(matches!(present(FollowerInfo, vec![0; 2000]), DisconnectReason::Packet(_)), "bounded before it is known");

    let mut bench = setup();
    bench.accept(1);
    let done = bench.step(Input::Accepted { learner: LearnerId(2) });
    assert_eq!(done.disconnected(2), &DisconnectReason::TooMany(1));
}

#[test]
fn a_server_that_connects_again_replaces_itself() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let done = bench.present(7, 2, 1);
    assert_eq!(done.disconnected(2), &DisconnectReason::Superseded(2));
    assert_eq!(done.to(7), [(LeaderInfo, zxid(1, 0))]);
}
