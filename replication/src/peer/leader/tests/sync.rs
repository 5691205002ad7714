//! Bringing learners to the history.

use super::*;

/// Restarted follower five behind, from the captures; observers get the same pairs.
#[test]
fn history_is_sent_as_proposals_and_commits() {
    let log: Vec<Zxid> = (1..=0x13).map(|counter| zxid(1, counter)).collect();
    for kind in [FollowerInfo, ObserverInfo] {
        let mut bench = Setup::of(&[1, 2, 3]).epoch(1, 1).log(&log).established();
        let done = bench.join(3, 3, kind, zxid(1, 0xe));
        let mut wanted = vec![(Diff, zxid(1, 0x13))];
        wanted.extend(log[0xe..].iter().flat_map(|zxid| [(Proposal, *zxid), (Commit, *zxid)]));
        wanted.push((NewLeader, zxid(2, 0)));
        assert_eq!(done.to(3), wanted);
        assert_eq!(done.packets(3)[1].data.as_ref(), Some(&error_txn(zxid(1, 0xf))));
    }
}

/// 9.2 rows 20 and 21: what is outstanding goes to followers before NEWLEADER, once, and to observers when it commits.
#[test]
fn who_joins_amid_traffic_misses_nothing_and_gets_nothing_twice() {
    let mut bench = Setup::of(&[1, 2, 3]).established();
    bench.propose(zxid(1, 1));
    bench.durable(zxid(1, 1));
    bench.ack(2, zxid(1, 1));
    bench.propose(zxid(1, 2));
    let done = bench.join(3, 3, FollowerInfo, Zxid::ZERO);
    let (one, two, three) = (zxid(1, 1), zxid(1, 2), zxid(1, 3));
    assert_eq!(done.to(3), [(Diff, one), (Proposal, one), (Commit, one), (Proposal, two), (NewLeader, zxid(1, 0))]);
    let done = bench.join(4, 4, ObserverInfo, Zxid::ZERO);
    assert_eq!(done.to(4), [(Diff, one), (Proposal, one), (Commit, one), (NewLeader, zxid(1, 0))]);

    let done = bench.propose(three);
    assert_eq!(done.to(2), [(Proposal, three)]);
    assert_eq!((done.to(3), done.to(4)), (vec![], vec![]));
    bench.durable(three);
    let done = bench.ack(2, two);
    assert_eq!(done.to(2), [(Commit, two)]);
    assert_eq!(done.to(3), [], "some releases cannot take a COMMIT before UPTODATE");
    let done = bench.ack(3, zxid(1, 0));
    assert_eq!(done.to(3), [(UpToDate, NO_ZXID), (Proposal, three), (Commit, two)]);
    let done = bench.ack(4, zxid(1, 0));
    assert_eq!(done.to(4), [(UpToDate, NO_ZXID), (Inform, two)]);
    let done = bench.ack(3, three);
    assert_eq!(done.committed(), Some(three));
    assert_eq!(
        (done.to(2), done.to(3), done.to(4)),
        (vec![(Commit, three)], vec![(Commit, three)], vec![(Inform, three)])
    );
    assert_eq!(done.packets(4)[0].data.as_ref(), Some(&error_txn(three)));
}

#[test]
fn a_snapshot_is_streamed_and_the_rest_follows_from_the_list() {
    let log = [zxid(1, 1), zxid(1, 2), zxid(1, 3)];
    let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1).log(&log);
    setup.config.force_snapshot = true;
    setup.base = Zxid::ZERO;
    let (mut bench, _) = setup.start();
    bench.present(2, 2, 1);
    bench.step(Input::EpochPersisted(2));
    let done = bench.send(2, &bodies::ack_epoch(zxid(1, 3), Some(1)));
    assert!(done.has("SnapshotWanted") && done.sent.is_empty());
    assert!(bench.tick_at(TICK_MS).sent.is_empty(), "no PING before the sync operation");
    let learner = LearnerId(2);
    assert_eq!(bench.step(Input::SnapshotAt { learner, zxid: zxid(1, 2) }).to(2), [(Snap, zxid(1, 2))]);
    assert!(bench.tick_at(2 * TICK_MS).sent.is_empty(), "nor within the stream");
    let bytes = Bytes::from_static(b"stream");
    let done = bench.step(Input::SnapshotBytes { learner, bytes });
    assert_eq!(done.sent[&learner], b"stream");
    let done = bench.step(Input::SnapshotEnd { learner });
    assert_eq!(done.to(2), [(Proposal, zxid(1, 3)), (Commit, zxid(1, 3)), (NewLeader, zxid(2, 0))], "ZOOKEEPER-3104");
}

/// Log entries as the host reads them.
fn entries(range: impl IntoIterator<Item = u32>) -> Vec<(Zxid, Bytes)> {
    range.into_iter().map(|counter| (zxid(1, counter), error_txn(zxid(1, counter)))).collect()
}

/// The list begins behind 1:10, the log behind 1:2.
fn long_log() -> Bench {
    let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1);
    setup.base = zxid(1, 10);
    setup.log = vec![zxid(1, 11), zxid(1, 12)];
    setup.log_base = Some(zxid(1, 2));
    setup.config.log_read_bytes = 500;
    setup.established()
}

#[test]
fn a_learner_far_behind_is_served_from_the_log() {
    let mut bench = long_log();
    let done = bench.join(3, 3, FollowerInfo, zxid(1, 5));
    let learner = LearnerId(3);
    let read = "ReadLog { learner: LearnerId(3), after: 0x100000004, upto: 0x10000000a, bytes_max: 500 }";
    assert!(done.has(read) && done.sent.is_empty(), "{:?}", done.rest);
    assert!(bench.tick_at(TICK_MS).to(3).is_empty(), "no PING before the sync operation");
    let done = bench.step(Input::LogRead { learner, entries: entries(5..=8), done: false });
    let pairs = |range: std::ops::RangeInclusive<u32>| {
        range.flat_map(|counter| [(Proposal, zxid(1, counter)), (Commit, zxid(1, counter))]).collect::<Vec<_>>()
    };
    assert_eq!(done.to(3), [vec![(Diff, zxid(1, 12))], pairs(6..=8)].concat());
    let written = |bytes| Input::Written { learner, bytes };
    assert!(done.has("ReadLog { learner: LearnerId(3), after: 0x100000008"));
    bench.propose(zxid(2, 1));
    bench.durable(zxid(2, 1));
    bench.ack(2, zxid(2, 1));
    bench.propose(zxid(2, 2));
    let done = bench.step(Input::LogRead { learner, entries: entries(9..=10), done: true });
    let mut wanted = pairs(9..=12);
    wanted.extend([(Proposal, zxid(2, 1)), (Commit, zxid(2, 1)), (Proposal, zxid(2, 2)), (NewLeader, zxid(2, 0))]);
    assert_eq!(done.to(3), wanted, "the list, what was committed and proposed meanwhile, and NEWLEADER, in one step");
    assert!(bench.step(written(10)).sent.is_empty());
}

/// Who joins gets the list in pieces, so that nobody else waits for the whole; the last one ends the synchronisation.
#[test]
fn a_long_list_goes_out_in_pieces() {
    let log: Vec<Zxid> = (1..=40).map(|counter| zxid(1, counter)).collect();
    let mut setup = Setup::of(&[1, 2, 3]).epoch(1, 1).log(&log);
    setup.config.step_bytes = 200;
    let mut bench = setup.established();
    let learner = LearnerId(3);
    let mut done = bench.join(3, 3, FollowerInfo, zxid(1, 5));
    let (mut sent, mut pieces) = (Vec::new(), 0);
    loop {
        let packets = done.to(3);
        pieces += 1;
        if pieces == 2 {
            let done = bench.propose(zxid(2, 1));
            assert_eq!((done.to(2), done.to(3)), (vec![(Proposal, zxid(2, 1))], vec![]), "only the others' is live");
            bench.durable(zxid(2, 1));
            bench.ack(2, zxid(2, 1));
        }
        let ends = packets.last() == Some(&(NewLeader, zxid(2, 0)));
        assert!(packets.len() < 14, "{packets:?}");
        sent.extend(packets);
        if ends {
            break;
        }
        let bytes = done.sent[&learner].len();
        done = bench.step(Input::Written { learner, bytes });
    }
    let mut wanted = vec![(Diff, zxid(1, 40))];
    let history = log[5..].iter().copied().chain([zxid(2, 1)]);
    wanted.extend(history.flat_map(|zxid| [(Proposal, zxid), (Commit, zxid)]));
    wanted.push((NewLeader, zxid(2, 0)));
    assert_eq!(sent, wanted);
    assert!(pieces > 5, "{pieces}");
}

#[test]
fn copying_waits_for_the_learner_to_read() {
    let mut bench = long_log();
    bench.leader.config.log_read_bytes = 300;
    bench.join(3, 3, FollowerInfo, zxid(1, 3));
    let learner = LearnerId(3);
    let done = bench.step(Input::LogRead { learner, entries: entries(3..=9), done: false });
    assert!(!done.has("ReadLog"), "more than 300 bytes wait");
    let queued = done.sent[&learner].len();
    assert!(!bench.step(Input::Written { learner, bytes: queued - 300 }).has("ReadLog"));
    assert!(bench.step(Input::Written { learner, bytes: 200 }).has("ReadLog"));
}

#[test]
fn a_log_that_does_not_continue_what_the_learner_has_means_a_snapshot() {
    for (last, found) in [(zxid(1, 5), 6..=9), (zxid(1, 5), 9..=9), (zxid(1, 2), 4..=9)] {
        let mut bench = long_log();
        bench.join(3, 3, FollowerInfo, last);
        let done = bench.step(Input::LogRead { learner: LearnerId(3), entries: entries(found), done: false });
        assert!(done.has("SnapshotWanted") && done.sent.is_empty());
    }
    let mut bench = long_log();
    bench.join(3, 3, FollowerInfo, zxid(1, 2));
    let done = bench.step(Input::LogRead { learner: LearnerId(3), entries: entries(3..=9), done: false });
    assert_eq!(done.to(3)[0], (Diff, zxid(1, 12)), "the base itself is as good as an entry");
}

/// `LearnerHandlerTest.testTxnLogGap`: never over a hole; and the learner gets a snapshot the next time.
#[test]
fn a_hole_in_what_was_read_ends_it() {
    for (entries, done) in [(entries([5, 6, 8]), false), (entries([5]), true)] {
        let empty = entries.len() == 1;
        let mut bench = long_log();
        bench.join(3, 3, FollowerInfo, zxid(1, 5));
        let learner = LearnerId(3);
        let mut step = bench.step(Input::LogRead { learner, entries, done });
        if empty {
            step = bench.step(Input::LogRead { learner, entries: Vec::new(), done: true });
        }
        assert!(matches!(step.disconnected(3), DisconnectReason::Gap { .. }));
        assert!(step.to(3).iter().all(|(kind, _)| *kind != NewLeader));
        assert!(bench.join(4, 3, FollowerInfo, zxid(1, 6)).has("SnapshotWanted"));
    }
}

/// `LearnerSyncThrottlerTest`.
#[test]
fn only_observers_wait_for_others_snapshots() {
    let mut bench = long_log();
    bench.leader.config.snapshot_syncs_max = 1;
    assert!(bench.join(3, 3, FollowerInfo, zxid(1, 1)).has("SnapshotWanted"));
    let done = bench.join(8, 8, ObserverInfo, zxid(1, 1));
    assert_eq!(done.disconnected(8), &DisconnectReason::Busy);
    assert!(bench.join(4, 4, FollowerInfo, zxid(1, 1)).has("SnapshotWanted"));
}
