//! Proposals, acknowledgements, commits, requests.

use super::*;

/// ZOOKEEPER-4685: releases that acknowledge proposals before NEWLEADER.
#[test]
fn acks_are_told_apart_by_their_zxid() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.propose(zxid(1, 1));
    bench.durable(zxid(1, 1));
    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    let done = bench.ack(3, zxid(1, 1));
    assert_eq!(done.committed(), Some(zxid(1, 1)), "counted although NEWLEADER's comes later");
    let done = bench.ack(3, zxid(1, 0));
    assert_eq!(done.to(3), [(UpToDate, NO_ZXID), (Commit, zxid(1, 1))]);
}

#[test]
fn a_quorum_commits_and_a_minority_does_not() {
    let mut bench = Setup::of(&[1, 2, 3, 4, 5]);
    bench.config.sid = SELF;
    let (mut bench, _) = bench.start();
    for sid in [2, 3] {
        bench.present(sid, sid, 0);
    }
    bench.step(Input::EpochPersisted(1));
    for sid in [2, 3] {
        bench.send(sid, &bodies::ack_epoch(Zxid::ZERO, Some(0)));
    }
    bench.step(Input::EpochPersisted(1));
    assert!(bench.ack(2, zxid(1, 0)).sent.is_empty() && !bench.leader.is_established());
    bench.ack(3, zxid(1, 0));
    assert!(bench.leader.is_established());
    bench.join(9, 9, FollowerInfo, Zxid::ZERO);
    bench.ack(9, zxid(1, 0));

    bench.propose(zxid(1, 1));
    bench.propose(zxid(1, 2));
    assert_eq!(bench.ack(2, zxid(1, 1)).committed(), None);
    assert_eq!(bench.ack(9, zxid(1, 1)).committed(), None, "it is no voter");
    assert_eq!(bench.ack(2, zxid(1, 1)).committed(), None, "once is all it counts");
    assert_eq!(bench.ack(2, zxid(1, 2)).committed(), None);
    assert_eq!(bench.ack(3, zxid(1, 2)).committed(), None, "an ACK says nothing about the one before");
    let done = bench.durable(zxid(1, 2));
    assert_eq!(done.committed(), None, "the second has its quorum, and waits for the first");
    let done = bench.ack(3, zxid(1, 1));
    assert_eq!(done.committed(), Some(zxid(1, 2)));
    assert_eq!(done.to(9), [(Commit, zxid(1, 1)), (Commit, zxid(1, 2))], "non-voting followers hear of it");
}

/// A follower that comes back is cut back to what is committed; between that and its next ACK its disk has less than it
/// once acknowledged.
#[test]
fn the_acks_of_a_former_connection_are_void() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let (one, two) = (zxid(1, 1), zxid(1, 2));
    bench.propose(one);
    bench.durable(one);
    bench.ack(2, one);
    bench.propose(two);
    assert_eq!(bench.ack(2, two).committed(), None);
    let done = bench.join(7, 2, FollowerInfo, two);
    assert_eq!(done.to(7), [(Trunc, one), (Proposal, two), (NewLeader, zxid(1, 0))]);
    assert_eq!(bench.durable(two).committed(), None);
    bench.ack(7, zxid(1, 0));
    assert_eq!(bench.ack(7, two).committed(), Some(two));
}

/// 3.6: the quorum may be formed without the leader's own disk. And odd ACKs do nothing.
#[test]
fn followers_alone_can_be_the_quorum() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    bench.ack(3, zxid(1, 0));
    bench.propose(zxid(1, 1));
    for odd in [zxid(1, 2), zxid(2, 0), NO_ZXID, Zxid::ZERO] {
        assert!(bench.ack(2, odd).rest.is_empty());
    }
    bench.ack(2, zxid(1, 1));
    assert_eq!(bench.ack(3, zxid(1, 1)).committed(), Some(zxid(1, 1)));
    assert!(bench.durable(zxid(1, 1)).rest.is_empty());
    assert!(bench.ack(2, zxid(1, 1)).rest.is_empty());
}

#[test]
fn a_slow_learner_is_disconnected_at_its_bound_and_nobody_else() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    bench.step(Input::Written { learner: LearnerId(2), bytes: usize::MAX });
    bench.leader.config.queue_bytes_max = 1000;
    for counter in 1..100 {
        let done = bench.propose(zxid(1, counter));
        bench.step(Input::Written { learner: LearnerId(2), bytes: 56 });
        if !done.rest.is_empty() {
            assert_eq!(done.disconnected(3), &DisconnectReason::QueueFull(1000), "held back counts too");
            assert!(counter > 10);
            assert_eq!(bench.leader.served_learners(), (vec![2], vec![]));
            return;
        }
    }
    panic!("it was never disconnected");
}

#[test]
fn what_learners_ask_is_passed_on_and_answered_in_order() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let learner = LearnerId(2);
    let request = |opcode| ForwardedRequest {
        session: SessionId(5),
        cxid: 1,
        opcode,
        body: Bytes::from_static(b"body"),
        ids: None,
    };
    assert!(bench.send(2, &request(1).into_packet()).has("Request { learner: LearnerId(2)"));
    assert!(bench.send(2, &request(9).into_packet()).has("Sync { learner: LearnerId(2), session: 0x5 }"));
    let asked = bench.send(2, &bodies::revalidate(SessionId(5), 9000));
    assert!(asked.has("Revalidate { learner: LearnerId(2), session: 0x5, timeout_ms: 9000 }"));
    let touched = bench.send(2, &bodies::ping_reply(zxid(1, 0), &[(SessionId(5), 9000)]));
    assert!(touched.has("Touched { learner: LearnerId(2), sessions: [(0x5, 9000)] }"));
    assert!(bench.send(2, &bodies::ping_reply(zxid(1, 0), &[])).rest.is_empty());
    assert_eq!(bench.step(Input::SyncFor { learner }).to(2), [(Sync, Zxid::ZERO)]);
    let answer = bench.step(Input::Revalidated { learner, session: SessionId(5), valid: true });
    assert_eq!(answer.packets(2), [bodies::revalidated(SessionId(5), true)]);

    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    let done = bench.send(3, &request(1).into_packet());
    assert!(matches!(done.disconnected(3), DisconnectReason::Protocol(_)), "not served yet");
}

#[test]
fn a_sync_is_answered_before_later_commits() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let learner = LearnerId(2);
    let (one, two) = (zxid(1, 1), zxid(1, 2));
    bench.propose(one);
    let sync = ForwardedRequest { session: SessionId(5), cxid: 1, opcode: 9, body: Bytes::new(), ids: None };
    bench.send(2, &sync.into_packet());
    bench.propose(two);
    bench.durable(two);
    bench.ack(2, two);
    // Both are committed at once. Whoever answers at the first report has the SYNC between the two COMMITs.
    let mut out = Vec::new();
    bench.leader.step(
        bench.now,
        Input::Received { learner, bytes: QuorumPacket::bare(PacketKind::Ack, one).encode() },
        &mut out,
    );
    let reports: Vec<Option<Zxid>> = out
        .iter()
        .map(|action| match action {
            Action::Commit { upto } => Some(*upto),
            Action::Send { .. } => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reports, [None, Some(one), None, Some(two)]);
    bench.step(Input::SyncFor { learner });

    let (three, four) = (zxid(1, 3), zxid(1, 4));
    bench.propose(three);
    bench.propose(four);
    bench.durable(four);
    bench.ack(2, four);
    let commits = bench.ack(2, three).rest.iter().filter(|action| matches!(action, Action::Commit { .. })).count();
    assert_eq!(commits, 1, "nobody waits: one report for both");
}

#[test]
fn packets_out_of_turn_and_garbage_end_the_connection() {
    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    bench.present(2, 2, 0);
    assert!(matches!(bench.ack(2, zxid(1, 0)).disconnected(2), DisconnectReason::Protocol(_)));
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let garbage = Input::Received { learner: LearnerId(2), bytes: Bytes::from_static(&[0xEE; 64]) };
    assert!(matches!(bench.step(garbage).disconnected(2), DisconnectReason::Packet(_)));
    assert!(bench.ack(2, zxid(1, 1)).rest.is_empty(), "it is forgotten");
}

/// ZOOKEEPER-1277.
#[test]
fn the_last_zxid_of_an_epoch_is_the_last_thing_it_does() {
    let mut bench = Setup::of(&[1]);
    bench.accepted = 0;
    let (mut bench, _) = bench.start();
    bench.step(Input::EpochPersisted(1));
    bench.step(Input::EpochPersisted(1));
    let last = zxid(1, Zxid::LAST_COUNTER);
    bench.leader.proposed = zxid(1, Zxid::LAST_COUNTER - 1);
    assert!(bench.propose(last).rest.is_empty());
    let done = bench.durable(last);
    assert_eq!((done.committed(), done.resigned()), (Some(last), Some(&ResignReason::ZxidRollover)));
}

#[test]
fn proposals_come_in_order_and_after_establishment() {
    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    assert!(matches!(bench.propose(zxid(1, 1)).resigned(), Some(ResignReason::OutOfOrder { .. })));
    for wrong in [zxid(1, 0), zxid(1, 2), zxid(2, 1)] {
        let mut bench = Setup::of(&[1, 2, 3]).established();
        assert_eq!(bench.propose(wrong).resigned(), Some(&ResignReason::OutOfOrder { zxid: wrong, last: zxid(1, 0) }));
    }
    let mut bench = Setup::of(&[1, 2, 3]).established();
    assert_eq!(bench.step(Input::Resign).resigned(), Some(&ResignReason::Asked));
}
