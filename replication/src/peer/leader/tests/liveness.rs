//! What happens by the clock.

use super::*;

/// 2.4 step 9: pings from NEWLEADER on.
#[test]
fn pings_go_out_every_half_tick() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    bench.propose(zxid(1, 1));
    assert!(bench.tick_at(TICK_MS / 2 - 1).sent.is_empty());
    let done = bench.tick_at(TICK_MS / 2);
    assert_eq!((done.to(2), done.to(3)), (vec![(Ping, zxid(1, 1))], vec![(Ping, zxid(1, 1))]));
    assert_eq!(bench.leader.next_deadline(), Some(TICK_MS));
}

#[test]
fn a_leader_without_its_quorum_resigns_in_time() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let limit_ms = 5 * TICK_MS;
    let mut now = 0;
    for _ in 0..20 {
        now += TICK_MS / 2;
        assert!(bench.tick_at(now).resigned().is_none());
        bench.send(2, &bodies::ping_reply(zxid(1, 0), &[]));
    }
    let heard = now;
    let resigned = loop {
        now = bench.leader.next_deadline().expect("a deadline");
        if let Some(reason) = bench.tick_at(now).resigned() {
            break reason.clone();
        }
        assert!(now < heard + limit_ms + 2 * TICK_MS);
    };
    assert_eq!(resigned, ResignReason::QuorumLost { limit_ms });
    assert!(now >= heard + limit_ms && now <= heard + limit_ms + TICK_MS);
}

/// 9.2 row 27: a connection that is gone does not keep a leader in office.
#[test]
fn a_lost_connection_counts_no_more() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.step(Input::Disconnected { learner: LearnerId(2) });
    bench.tick_at(TICK_MS / 2);
    assert!(bench.tick_at(TICK_MS).resigned().is_some());
}

#[test]
fn a_proposal_that_is_never_acknowledged_costs_the_connection() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    bench.ack(3, zxid(1, 0));
    bench.now = 1000;
    bench.propose(zxid(1, 1));
    bench.ack(2, zxid(1, 1));
    let mut now = 1000;
    let late = loop {
        now += TICK_MS / 2;
        for learner in [2, 3] {
            bench.send(learner, &bodies::ping_reply(zxid(1, 0), &[]));
        }
        let done = bench.tick_at(now);
        if !done.rest.is_empty() {
            break done;
        }
        assert!(now < 20_000);
    };
    assert_eq!(late.disconnected(3), &DisconnectReason::LateAck { zxid: zxid(1, 1), limit_ms: 5 * TICK_MS });
    assert_eq!(late.to(2), [(Ping, zxid(1, 1))]);
}

#[test]
fn silent_learners_are_disconnected() {
    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    bench.accept(5);
    bench.now = 1;
    bench.present(2, 2, 0);
    bench.step(Input::EpochPersisted(1));
    bench.send(2, &bodies::ack_epoch(Zxid::ZERO, Some(0)));
    bench.step(Input::EpochPersisted(1));
    bench.ack(2, zxid(1, 0));
    let done = bench.tick_at(10_001);
    assert_eq!(done.disconnected(2), &DisconnectReason::Silence { limit_ms: 10_000 }, "syncLimit once served");
    let done = bench.tick_at(20_000);
    assert!(
        done.resigned().is_some() || matches!(done.disconnected(5), DisconnectReason::Silence { limit_ms: 20_000 })
    );
}

/// ZOOKEEPER-3240, 4074: while it is sent a snapshot a learner shows that it lives by reading.
#[test]
fn a_learner_that_does_not_read_what_it_is_sent_is_disconnected() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.leader.config.force_snapshot = true;
    assert!(bench.join(3, 3, FollowerInfo, Zxid::ZERO).has("SnapshotWanted"));
    let learner = LearnerId(3);
    bench.step(Input::Written { learner, bytes: usize::MAX });
    let second = |now: i64, bench: &mut Bench| {
        bench.send(2, &bodies::ping_reply(zxid(1, 0), &[]));
        bench.tick_at(now)
    };
    for now in (1000..=30_000).step_by(1000) {
        assert!(second(now, &mut bench).rest.is_empty(), "it is this server that has nothing to send yet");
    }
    bench.step(Input::SnapshotAt { learner, zxid: Zxid::ZERO });
    for now in (31_000..=45_000).step_by(1000) {
        assert!(second(now, &mut bench).rest.is_empty());
    }
    bench.step(Input::Written { learner, bytes: 1 });
    for now in (46_000..=64_000).step_by(1000) {
        assert!(second(now, &mut bench).rest.is_empty(), "it has read something");
    }
    let done = second(65_000, &mut bench);
    assert_eq!(done.disconnected(3), &DisconnectReason::Silence { limit_ms: 20_000 });
    assert_eq!(bench.leader.served_learners(), (vec![2], vec![]));
}
