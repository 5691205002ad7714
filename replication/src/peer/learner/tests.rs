//! Scripts: what a leader sends, and what a learner does about it.

use super::*;
use crate::peer::history::History;
use crate::peer::wire::bodies::ForwardedRequest;
use crate::peer::wire::packet::{NO_ZXID, ProposalFrame};
use crate::wal::Durable;
use engine::txn::{self, Txn, TxnHeader};

/// Packets of the reference flows, as captured.
const LEADERINFO_1: &str = "00000011 0000000100000000 00000004 00010000 ffffffff";
const DIFF_0: &str = "0000000d 0000000000000000 ffffffff ffffffff";
const TRUNC_100000018: &str = "0000000e 0000000100000018 ffffffff ffffffff";
const SNAP_10000000E: &str = "0000000f 000000010000000e ffffffff ffffffff";
const UPTODATE: &str = "0000000c ffffffffffffffff ffffffff ffffffff";
const ACK_NEWLEADER_1: &str = "00000003 0000000100000000 ffffffff ffffffff";

pub(super) fn hex(text: &str) -> Bytes {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16).expect("hex")).collect()
}

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn txn_bytes(zxid: Zxid, txn: &Txn) -> Bytes {
    let header = TxnHeader { client: SessionId(1), cxid: 1, zxid, time_ms: 1 };
    let mut bytes = Vec::new();
    txn::encode(&header, txn, &mut bytes);
    bytes.into()
}

fn error_txn(zxid: Zxid) -> Bytes {
    txn_bytes(zxid, &Txn::Error { code: -101 })
}

fn packet(kind: PacketKind, zxid: Zxid) -> Bytes {
    QuorumPacket::bare(kind, zxid).encode()
}

fn proposal(zxid: Zxid) -> Bytes {
    QuorumPacket::with_data(PacketKind::Proposal, zxid, error_txn(zxid)).encode()
}

fn inform(zxid: Zxid) -> Bytes {
    QuorumPacket::with_data(PacketKind::Inform, zxid, error_txn(zxid)).encode()
}

fn commit(zxid: Zxid) -> Bytes {
    packet(PacketKind::Commit, zxid)
}

fn ack(zxid: Zxid) -> Action {
    Action::Send(packet(PacketKind::Ack, zxid))
}

fn log(zxid: Zxid) -> Action {
    Action::Log { zxid, txn: error_txn(zxid) }
}

fn new_leader(epoch: u32) -> Bytes {
    QuorumPacket::with_data(PacketKind::NewLeader, epoch_zxid(epoch), &b"version=0"[..]).encode()
}

fn last_seen() -> Action {
    Action::LastSeen { text: Bytes::from_static(b"version=0") }
}

struct Bench {
    learner: Learner,
    now: i64,
}

impl Bench {
    /// A learner whose connection is there; returns with FOLLOWERINFO sent.
    fn connected(kind: LearnerKind, accepted: u32, current: u32, last: Zxid) -> Bench {
        let mut bench = Bench::starting(kind, accepted, current, last).0;
        let sent = bench.step(Input::Connected);
        let presented = if kind == LearnerKind::Observer { PacketKind::ObserverInfo } else { PacketKind::FollowerInfo };
        let info = LearnerInfo { sid: Some(1), protocol: PROTOCOL_VERSION, config_version: 0 };
        let wanted = QuorumPacket::with_data(presented, epoch_zxid(accepted), info.encode()).encode();
        assert_eq!(sent, [Action::Send(wanted)]);
        bench
    }

    fn starting(kind: LearnerKind, accepted: u32, current: u32, last: Zxid) -> (Bench, Vec<Action>) {
        let start = LearnerStart {
            accepted_epoch: accepted,
            current_epoch: current,
            last: Durable::assume(last),
            applied: Zxid::ZERO,
            history: History::new(last, 1 << 20),
            outstanding: Vec::new(),
        };
        let mut out = Vec::new();
        let config = LearnerConfig { staged_bytes_max: 400, pending_max: 8, ..LearnerConfig::new(1, kind) };
        let learner = Learner::new(0, config, start, &mut out);
        (Bench { learner, now: 0 }, out)
    }

    /// A follower of epoch 1, served, with an empty log.
    fn following(kind: LearnerKind) -> Bench {
        let mut bench = Bench::connected(kind, 0, 0, Zxid::ZERO);
        bench.feed(&[hex(LEADERINFO_1)]);
        bench.step(Input::EpochPersisted(1));
        bench.feed(&[hex(DIFF_0), new_leader(1)]);
        bench.step(Input::EpochPersisted(1));
        let out = bench.feed(&[hex(UPTODATE)]);
        assert!(out.contains(&Action::Established { epoch: 1 }));
        bench
    }

    fn step(&mut self, input: Input) -> Vec<Action> {
        let mut out = Vec::new();
        self.learner.step(self.now, input, &mut out);
        out
    }

    fn feed(&mut self, packets: &[Bytes]) -> Vec<Action> {
        self.step(Input::Received(packets.concat().into()))
    }

    fn durable(&mut self, zxid: Zxid) -> Vec<Action> {
        self.step(Input::Durable(Durable::assume(zxid)))
    }
}

/// A learner follows at once whom a reconfiguration names, and the leader before may still be heard.
#[test]
fn the_connection_to_the_leader_before_says_nothing() {
    let (mut bench, _) = Bench::starting(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    assert_eq!(bench.feed(&[proposal(zxid(1, 1)), commit(zxid(1, 1))]), []);
    assert_eq!(bench.step(Input::Disconnected), []);
    bench.step(Input::Connected);
    assert_eq!(bench.feed(&[hex(LEADERINFO_1)]), [Action::PersistAcceptedEpoch(1)]);
}

fn left(out: &[Action]) -> &LeaveReason {
    match out.last() {
        Some(Action::Leave(reason)) => reason,
        other => panic!("the learner should have left: {other:?}"),
    }
}

/// The first flow of the captures, step by step.
#[test]
fn a_new_ensemble() {
    let (mut bench, out) = Bench::starting(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    assert_eq!(out, [Action::Connect { timeout_ms: 20_000 }]);
    let presented = "0000000b 0000000000000000 00000014 0000000000000001 00010000 0000000000000000 ffffffff";
    assert_eq!(bench.step(Input::Connected), [Action::Send(hex(presented))]);
    assert_eq!(
        bench.feed(&[hex(LEADERINFO_1)]),
        [Action::PersistAcceptedEpoch(1)],
        "nothing is said before the disk has it"
    );
    let acked = "00000012 0000000000000000 00000004 00000000 ffffffff";
    assert_eq!(bench.step(Input::EpochPersisted(1)), [Action::Send(hex(acked))]);
    assert_eq!(bench.feed(&[hex(DIFF_0)]), []);
    assert_eq!(bench.feed(&[new_leader(1)]), [last_seen(), Action::PersistCurrentEpoch(1)]);
    assert_eq!(bench.step(Input::EpochPersisted(1)), [Action::Send(hex(ACK_NEWLEADER_1))]);
    assert!(!bench.learner.is_following());
    let served =
        [Action::Send(hex(ACK_NEWLEADER_1)), Action::Established { epoch: 1 }, Action::Commit { upto: Zxid::ZERO }];
    assert_eq!(bench.feed(&[hex(UPTODATE)]), served);
    assert!(bench.learner.is_following());
}

/// The second flow: five transactions behind, the epoch promised before. No ACK for the five, and the epoch is current
/// only when they are durable.
#[test]
fn a_restarted_follower_is_brought_up_by_diff() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, zxid(1, 0xe));
    let acked = "00000012 000000010000000e 00000004 ffffffff ffffffff";
    assert_eq!(bench.feed(&[hex(LEADERINFO_1)]), [Action::Send(hex(acked))], "-1: the promise does not count again");
    let lacked: Vec<Zxid> = (0xf..=0x13).map(|counter| zxid(1, counter)).collect();
    let mut sent = vec![packet(PacketKind::Diff, zxid(1, 0x13))];
    sent.extend(lacked.iter().flat_map(|zxid| [proposal(*zxid), commit(*zxid)]));
    sent.push(new_leader(1));
    let mut wanted: Vec<Action> = lacked.iter().map(|zxid| log(*zxid)).collect();
    wanted.push(last_seen());
    assert_eq!(bench.feed(&sent), wanted);
    assert_eq!(bench.durable(zxid(1, 0x12)), []);
    assert_eq!(bench.durable(zxid(1, 0x13)), [ack(zxid(1, 0))], "the epoch was current already");
    let out = bench.feed(&[hex(UPTODATE)]);
    let established = Action::Established { epoch: 1 };
    assert_eq!(out, [ack(zxid(1, 0)), established, Action::Commit { upto: zxid(1, 0x13) }]);
    assert_eq!(bench.learner.into_history().last(), zxid(1, 0x13));
}

/// The third flow: one transaction too many.
#[test]
fn a_tail_that_nobody_has_is_cut() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, zxid(1, 0x19));
    bench.feed(&[packet(PacketKind::LeaderInfo, zxid(2, 0))]);
    bench.step(Input::EpochPersisted(2));
    let out = bench.feed(&[hex(TRUNC_100000018), new_leader(2)]);
    assert_eq!(out, [Action::Truncate { to: zxid(1, 0x18) }], "NEWLEADER waits for the cut");
    assert_eq!(bench.durable(zxid(1, 0x19)), [], "what was durable before does not count");
    let out = bench.step(Input::Truncated { last: zxid(1, 0x18) });
    assert_eq!(out, [last_seen(), Action::PersistCurrentEpoch(2)]);
    assert_eq!(bench.step(Input::EpochPersisted(2)), [ack(zxid(2, 0))]);
    let out = bench.feed(&[hex(UPTODATE)]);
    assert_eq!(out[2], Action::Commit { upto: zxid(1, 0x18) });
    assert_eq!(bench.feed(&[proposal(zxid(2, 1))]), [log(zxid(2, 1))]);
}

/// What was acknowledged to the leader of this very epoch stays on disk when that leader has it cut off and sends it
/// again; and goes when it does not.
#[test]
fn what_was_acknowledged_in_this_epoch_is_kept() {
    let deciding = || {
        let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, zxid(1, 3));
        bench.learner.history = History::new(zxid(1, 1), 1 << 20);
        for kept in [zxid(1, 2), zxid(1, 3)] {
            bench.learner.history.append(kept, ProposalFrame::new(kept, &error_txn(kept)));
        }
        bench.feed(&[hex(LEADERINFO_1)]);
        bench
    };
    let cut = || packet(PacketKind::Trunc, zxid(1, 1));
    let again = [cut(), proposal(zxid(1, 2)), commit(zxid(1, 2)), proposal(zxid(1, 3)), proposal(zxid(1, 4))];
    let mut bench = deciding();
    assert_eq!(bench.feed(&again), [log(zxid(1, 4))]);
    assert_eq!(bench.feed(&[new_leader(1)]), [last_seen()]);
    assert_eq!(bench.durable(zxid(1, 4)), [ack(zxid(1, 0))]);
    let acks = Bytes::from([packet(PacketKind::Ack, zxid(1, 3)), packet(PacketKind::Ack, zxid(1, 4))].concat());
    assert_eq!(bench.feed(&[hex(UPTODATE)])[3], Action::Send(acks));

    let mut bench = deciding();
    let out = bench.feed(&[cut(), proposal(zxid(1, 2)), new_leader(1)]);
    assert_eq!(out, [last_seen(), Action::Truncate { to: zxid(1, 2) }]);
    assert_eq!(bench.step(Input::Truncated { last: zxid(1, 2) }), [ack(zxid(1, 0))]);
    bench.feed(&[hex(UPTODATE)]);
    assert_eq!(bench.feed(&[proposal(zxid(1, 3))]), [log(zxid(1, 3))]);

    let other = txn_bytes(zxid(1, 2), &Txn::Error { code: -5 });
    let other = QuorumPacket::with_data(PacketKind::Proposal, zxid(1, 2), other).encode();
    assert!(matches!(left(&deciding().feed(&[cut(), other])), LeaveReason::Protocol(_)));
}

#[test]
fn a_cut_that_cannot_be_made_is_refused() {
    let deciding = || {
        let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, zxid(1, 5));
        bench.learner.applied = zxid(1, 3);
        bench.feed(&[hex(LEADERINFO_1)]);
        bench
    };
    for to in [zxid(1, 2), zxid(1, 6)] {
        let out = deciding().feed(&[packet(PacketKind::Trunc, to)]);
        assert_eq!(out, [Action::Leave(LeaveReason::CannotTruncate { to })], "below the state, or not in the log");
    }
    let mut bench = deciding();
    bench.feed(&[packet(PacketKind::Trunc, zxid(1, 4))]);
    let out = bench.step(Input::Truncated { last: zxid(1, 3) });
    assert_eq!(out, [Action::Leave(LeaveReason::CannotTruncate { to: zxid(1, 4) })], "the log has a hole there");
}

#[test]
fn a_snapshot_takes_effect_at_newleader_together_with_what_follows_it() {
    let mut bench = Bench::connected(LearnerKind::Follower, 0, 0, zxid(0, 0));
    bench.feed(&[hex(LEADERINFO_1)]);
    bench.step(Input::EpochPersisted(1));
    let snapshot_zxid = zxid(1, 0xe);
    let out = bench.feed(&[hex(SNAP_10000000E), Bytes::from_static(b"begin")]);
    assert_eq!(
        out,
        [Action::SnapshotBegin { zxid: snapshot_zxid }, Action::SnapshotBytes(Bytes::from_static(b"begin"))]
    );
    let tail = [Bytes::from_static(b"end"), proposal(zxid(1, 0xf)), commit(zxid(1, 0xf))];
    assert_eq!(bench.feed(&tail), [Action::SnapshotBytes(tail.concat().into())], "only the parser knows where it ends");
    let rest = Bytes::from(tail[1..].concat());
    assert_eq!(bench.step(Input::SnapshotParsed { rest }), [], "staged");
    assert_eq!(bench.feed(&[proposal(zxid(1, 0x10))]), [], "uncommitted ones too");
    let out = bench.feed(&[new_leader(1)]);
    let entries = [0xf, 0x10].map(|counter| (zxid(1, counter), error_txn(zxid(1, counter)))).to_vec();
    assert_eq!(out, [last_seen(), Action::SnapshotEnd { zxid: snapshot_zxid, entries }], "all of it at once");
    assert_eq!(bench.durable(zxid(1, 0x10)), [], "of what is going");
    assert_eq!(bench.step(Input::SnapshotInstalled), [Action::PersistCurrentEpoch(1)]);
    assert_eq!(bench.step(Input::EpochPersisted(1)), [ack(zxid(1, 0))]);
    let served =
        [ack(zxid(1, 0)), Action::Established { epoch: 1 }, Action::Commit { upto: zxid(1, 0xf) }, ack(zxid(1, 0x10))];
    assert_eq!(bench.feed(&[hex(UPTODATE)]), served, "the uncommitted one is acknowledged now");
    let history = bench.learner.into_history();
    assert_eq!((history.base(), history.last()), (snapshot_zxid, zxid(1, 0x10)));
}

#[test]
fn what_a_snapshot_holds_may_come_again_behind_it() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, Zxid::ZERO);
    bench.feed(&[hex(LEADERINFO_1)]);
    bench.feed(&[packet(PacketKind::Snap, zxid(1, 9))]);
    bench.step(Input::SnapshotParsed { rest: Bytes::new() });
    let (nine, ten) = (zxid(1, 9), zxid(1, 10));
    let again = [proposal(zxid(1, 8)), proposal(nine), commit(zxid(1, 8)), proposal(ten), commit(nine), commit(ten)];
    assert_eq!(bench.feed(&again), []);
    let out = bench.feed(&[new_leader(1)]);
    assert_eq!(out[1], Action::SnapshotEnd { zxid: nine, entries: vec![(ten, error_txn(ten))] });
    assert_eq!(bench.learner.committed(), ten);
}

#[test]
fn a_snapshot_that_is_not_finished_leaves_no_trace() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, zxid(1, 5));
    bench.feed(&[hex(LEADERINFO_1)]);
    bench.feed(&[packet(PacketKind::Snap, zxid(1, 9))]);
    bench.step(Input::SnapshotParsed { rest: proposal(zxid(1, 10)) });
    assert_eq!(bench.step(Input::Disconnected), [Action::Leave(LeaveReason::Disconnected)]);
    assert_eq!(bench.step(Input::SnapshotInstalled), []);
    assert_eq!(bench.learner.into_history().last(), zxid(1, 5));
}

/// A leader that has restarted, and is not established, has applied less than it has in its log; and it may be told to
/// send nothing but snapshots.
#[test]
fn a_snapshot_that_would_go_back_is_taken_like_a_diff() {
    let offered = |own: &[Zxid], sent: &[Zxid]| {
        let last = own.last().copied().unwrap_or(zxid(1, 10));
        let mut bench = Bench::connected(LearnerKind::Follower, 2, 1, last);
        (bench.learner.applied, bench.learner.outstanding) = (zxid(1, 10), own.to_vec());
        bench.feed(&[packet(PacketKind::LeaderInfo, zxid(2, 0))]);
        bench.feed(&[packet(PacketKind::Snap, zxid(1, 8))]);
        bench.step(Input::SnapshotParsed { rest: Bytes::new() });
        let entries: Vec<Bytes> = [zxid(1, 9)].iter().chain(sent).map(|zxid| proposal(*zxid)).collect();
        assert_eq!(bench.feed(&entries), []);
        let out = bench.feed(&[new_leader(2)]);
        assert_eq!(out[0], last_seen());
        (bench, out[1..].to_vec())
    };
    let (ten, eleven, twelve) = (zxid(1, 10), zxid(1, 11), zxid(1, 12));
    let drop = Action::SnapshotDrop;

    let (mut bench, out) = offered(&[eleven, twelve], &[ten, eleven, zxid(2, 1)]);
    assert_eq!(out, [drop.clone(), Action::Truncate { to: eleven }], "what both have is kept");
    assert_eq!(bench.step(Input::Truncated { last: eleven }), [log(zxid(2, 1))]);
    assert_eq!(bench.durable(zxid(2, 1)), [Action::PersistCurrentEpoch(2)]);
    assert_eq!(bench.step(Input::EpochPersisted(2)), [ack(zxid(2, 0))]);

    let (mut bench, out) = offered(&[eleven, twelve], &[ten]);
    assert_eq!(out, [drop.clone(), Action::Truncate { to: ten }], "nothing behind what has taken effect");
    assert_eq!(bench.step(Input::Truncated { last: ten }), [Action::PersistCurrentEpoch(2)]);

    let (_, out) = offered(&[], &[ten]);
    assert_eq!(out, [drop.clone(), Action::PersistCurrentEpoch(2)], "both have the same");
    let (_, out) = offered(&[eleven], &[ten, eleven, twelve]);
    assert_eq!(out, [drop, log(twelve)], "it goes on where the log ends");

    for without in [vec![], vec![zxid(2, 1)]] {
        let (_, lost) = offered(&[], &without);
        assert!(matches!(lost[..], [Action::SnapshotEnd { .. }]), "the role has to stop");
    }
}

#[test]
fn what_follows_a_snapshot_is_bounded() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, Zxid::ZERO);
    bench.feed(&[hex(LEADERINFO_1)]);
    bench.feed(&[packet(PacketKind::Snap, zxid(1, 9))]);
    bench.step(Input::SnapshotParsed { rest: Bytes::new() });
    let packets: Vec<Bytes> = (10..18).map(|counter| proposal(zxid(1, counter))).collect();
    assert_eq!(left(&bench.feed(&packets)), &LeaveReason::StageFull(400));
}

/// 2.3: the first packet behind ACKEPOCH.
#[test]
fn only_a_sync_operation_may_follow_ackepoch() {
    for kind in [PacketKind::Ping, PacketKind::Proposal, PacketKind::NewLeader, PacketKind::UpToDate] {
        let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, Zxid::ZERO);
        bench.feed(&[hex(LEADERINFO_1)]);
        assert!(matches!(left(&bench.feed(&[packet(kind, zxid(1, 0))])), LeaveReason::Protocol(_)));
    }
}

/// A repair goes on with the leader that began it, and promises nothing to another.
#[test]
fn who_has_come_back_for_an_epoch_takes_no_other() {
    for (epoch, takes) in [(3, false), (4, true), (5, false)] {
        let mut bench = Bench::connected(LearnerKind::Follower, 3, 3, Zxid::ZERO);
        bench.learner.config.only_epoch = Some(4);
        let out = bench.feed(&[packet(PacketKind::LeaderInfo, zxid(epoch, 0))]);
        let wanted = match takes {
            true => Action::PersistAcceptedEpoch(4),
            false => Action::Leave(LeaveReason::OtherEpoch { epoch, only: 4 }),
        };
        assert_eq!(out, [wanted]);
    }
}

#[test]
fn a_leader_of_a_lower_epoch_is_left() {
    let mut bench = Bench::connected(LearnerKind::Follower, 3, 2, Zxid::ZERO);
    let out = bench.feed(&[packet(PacketKind::LeaderInfo, zxid(2, 0))]);
    assert_eq!(out, [Action::Leave(LeaveReason::StaleLeader { epoch: 2, accepted: 3 })]);
    let mut bench = Bench::connected(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    assert!(matches!(left(&bench.feed(&[new_leader(1)])), LeaveReason::Protocol(_)), "older than ZAB 1.0");
}

#[test]
fn newleader_must_name_the_epoch() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, Zxid::ZERO);
    bench.feed(&[hex(LEADERINFO_1), hex(DIFF_0)]);
    assert!(matches!(left(&bench.feed(&[new_leader(2)])), LeaveReason::Protocol(_)));
}

/// ZOOKEEPER-4394: COMMIT between NEWLEADER and UPTODATE for a proposal before NEWLEADER; and nothing is committed before
/// the leader is established.
#[test]
fn proposals_are_kept_across_newleader() {
    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, Zxid::ZERO);
    bench.feed(&[hex(LEADERINFO_1)]);
    let sync = [hex(DIFF_0), proposal(zxid(1, 1)), commit(zxid(1, 1)), proposal(zxid(1, 2)), new_leader(1)];
    assert_eq!(bench.feed(&sync), [log(zxid(1, 1)), log(zxid(1, 2)), last_seen()]);
    assert_eq!(bench.durable(zxid(1, 2)), [ack(zxid(1, 0))], "NEWLEADER's first, and alone");
    let ping = packet(PacketKind::Ping, zxid(1, 2));
    assert_eq!(bench.feed(&[commit(zxid(1, 2)), proposal(zxid(1, 3)), ping]), [log(zxid(1, 3))]);
    assert_eq!(bench.durable(zxid(1, 3)), []);
    let out = bench.feed(&[hex(UPTODATE)]);
    let acks = Bytes::from([packet(PacketKind::Ack, zxid(1, 2)), packet(PacketKind::Ack, zxid(1, 3))].concat());
    let established = Action::Established { epoch: 1 };
    assert_eq!(out, [ack(zxid(1, 0)), established, Action::Commit { upto: zxid(1, 2) }, Action::Send(acks)]);
}

#[test]
fn one_ack_per_durable_proposal_in_order() {
    let mut bench = Bench::following(LearnerKind::Follower);
    let out = bench.feed(&[proposal(zxid(1, 1)), proposal(zxid(1, 2)), proposal(zxid(1, 3))]);
    assert_eq!(out, [log(zxid(1, 1)), log(zxid(1, 2)), log(zxid(1, 3))], "no ACK before the log has it");
    assert_eq!(bench.durable(zxid(1, 1)), [ack(zxid(1, 1))]);
    let both = Bytes::from([packet(PacketKind::Ack, zxid(1, 2)), packet(PacketKind::Ack, zxid(1, 3))].concat());
    assert_eq!(bench.durable(zxid(1, 3)), [Action::Send(both)]);
    assert_eq!(bench.durable(zxid(1, 3)), []);
    assert_eq!(bench.feed(&[commit(zxid(1, 1))]), [Action::Commit { upto: zxid(1, 1) }]);
}

#[test]
fn commits_must_match_the_oldest_proposal() {
    let mut bench = Bench::following(LearnerKind::Follower);
    bench.feed(&[proposal(zxid(1, 1)), proposal(zxid(1, 2))]);
    let reason = LeaveReason::WrongCommit { zxid: zxid(1, 2), expected: Some(zxid(1, 1)) };
    assert_eq!(bench.feed(&[commit(zxid(1, 2))]), [Action::Leave(reason)]);
}

/// 3.3: a Java leader repeats a zxid for a request that it cannot decode.
#[test]
fn repeated_zxids_are_dropped_and_holes_refused() {
    let mut bench = Bench::following(LearnerKind::Follower);
    bench.feed(&[proposal(zxid(1, 1))]);
    assert_eq!(bench.feed(&[proposal(zxid(1, 1))]), []);
    assert_eq!(bench.feed(&[proposal(zxid(1, 2))]), [log(zxid(1, 2))]);
    let out = bench.feed(&[proposal(zxid(1, 4))]);
    assert_eq!(out, [Action::Leave(LeaveReason::Gap { zxid: zxid(1, 4), last: zxid(1, 2) })]);
    assert_eq!(bench.feed(&[proposal(zxid(1, 3))]), [], "it has left");
}

/// ZOOKEEPER-4925.
#[test]
fn a_hole_in_the_synchronisation_ends_it() {
    for next in [zxid(1, 7), zxid(2, 2)] {
        let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, zxid(1, 5));
        bench.feed(&[hex(LEADERINFO_1)]);
        let out = bench.feed(&[packet(PacketKind::Diff, zxid(1, 9)), proposal(next)]);
        assert_eq!(left(&out), &LeaveReason::Gap { zxid: next, last: zxid(1, 5) });
    }
}

#[test]
fn a_proposal_must_be_what_it_says() {
    let mut bench = Bench::following(LearnerKind::Follower);
    let other = QuorumPacket::with_data(PacketKind::Proposal, zxid(1, 1), error_txn(zxid(1, 2))).encode();
    assert!(matches!(left(&bench.feed(&[other])), LeaveReason::Protocol(_)));
    let mut bench = Bench::following(LearnerKind::Follower);
    let short = QuorumPacket::with_data(PacketKind::Proposal, zxid(1, 1), &b"short"[..]).encode();
    assert!(matches!(left(&bench.feed(&[short])), LeaveReason::Body(_)));
    let mut bench = Bench::following(LearnerKind::Follower);
    assert!(matches!(left(&bench.feed(&[inform(zxid(1, 1))])), LeaveReason::Protocol(_)));
}

#[test]
fn an_observer_logs_what_it_is_told_and_acknowledges_none_of_it() {
    let mut bench = Bench::following(LearnerKind::Observer);
    let out = bench.feed(&[inform(zxid(1, 1)), inform(zxid(1, 2))]);
    let commit = |counter| Action::Commit { upto: zxid(1, counter) };
    assert_eq!(out, [log(zxid(1, 1)), commit(1), log(zxid(1, 2)), commit(2)]);
    assert_eq!(bench.durable(zxid(1, 2)), []);
    assert_eq!(bench.feed(&[inform(zxid(1, 2))]), [], "a repetition");
}

#[test]
fn an_observer_takes_both_forms_while_synchronising() {
    let mut bench = Bench::connected(LearnerKind::Observer, 1, 1, Zxid::ZERO);
    bench.feed(&[hex(LEADERINFO_1)]);
    let sync = [hex(DIFF_0), proposal(zxid(1, 1)), commit(zxid(1, 1)), inform(zxid(1, 2)), new_leader(1)];
    assert_eq!(bench.feed(&sync), [log(zxid(1, 1)), log(zxid(1, 2)), last_seen()]);
    assert_eq!(bench.durable(zxid(1, 2)), [ack(zxid(1, 0))]);
    let out = bench.feed(&[hex(UPTODATE)]);
    assert_eq!(out[2], Action::Commit { upto: zxid(1, 2) });
}

fn reconfig(zxid: Zxid) -> Bytes {
    let text = Some(Bytes::from_static(b"text"));
    txn_bytes(zxid, &Txn::SetData { path: "/zookeeper/config".into(), data: text, version: -1, reconfig: true })
}

/// ZOOKEEPER-2172: in every phase; and the text is kept before the proposal can be acknowledged.
#[test]
fn configurations_are_kept_and_activated() {
    let one = zxid(1, 1);
    let proposed = QuorumPacket::with_data(PacketKind::Proposal, one, reconfig(one)).encode();
    let kept = [Action::LastSeen { text: Bytes::from_static(b"text") }, Action::Log { zxid: one, txn: reconfig(one) }];
    let activated = Action::Activate { zxid: one, designated: 3 };
    let activate = bodies::commit_and_activate(one, 3).encode();

    let mut bench = Bench::following(LearnerKind::Follower);
    assert_eq!(bench.feed(std::slice::from_ref(&proposed)), kept);
    assert_eq!(bench.feed(std::slice::from_ref(&activate)), [activated.clone(), Action::Commit { upto: one }]);

    let mut bench = Bench::connected(LearnerKind::Follower, 1, 1, Zxid::ZERO);
    bench.feed(&[hex(LEADERINFO_1)]);
    let out = bench.feed(&[hex(DIFF_0), proposed, activate]);
    assert_eq!(out, [&kept[..], std::slice::from_ref(&activated)].concat());

    let mut bench = Bench::following(LearnerKind::Observer);
    let out = bench.feed(&[bodies::inform_and_activate(one, 3, &reconfig(one)).encode()]);
    assert_eq!(out, [&kept[..], &[activated, Action::Commit { upto: one }]].concat());
}

#[test]
fn pings_carry_the_touches_back() {
    let mut bench = Bench::following(LearnerKind::Follower);
    assert_eq!(bench.feed(&[packet(PacketKind::Ping, zxid(1, 0))]), [Action::TouchesWanted]);
    let reply = "00000005 0000000100000000 0000000c 01000024aa160000 00001f40 ffffffff";
    let touches = Input::Touches(vec![(SessionId(0x01000024aa160000), 8000)]);
    assert_eq!(bench.step(touches.clone()), [Action::Send(hex(reply))]);
    assert_eq!(bench.step(touches), [], "nobody asked");
}

#[test]
fn requests_go_up_and_syncs_come_back_in_order() {
    let mut bench = Bench::following(LearnerKind::Follower);
    let request = |opcode, cxid| ForwardedRequest {
        session: SessionId(7),
        cxid,
        opcode,
        body: Bytes::from_static(b"body"),
        ids: Some(vec![]),
    };
    for (opcode, cxid) in [(9, 1), (1, 2), (9, 3)] {
        let sent = request(opcode, cxid).into_packet().encode();
        assert_eq!(bench.step(Input::Forward(request(opcode, cxid))), [Action::Send(sent)]);
    }
    let sync = packet(PacketKind::Sync, Zxid::ZERO);
    let done = |cxid| Action::SyncDone { session: SessionId(7), cxid };
    assert_eq!(bench.feed(&[sync.clone(), sync.clone(), sync]), [done(1), done(3)]);

    let asked = bodies::revalidate(SessionId(7), 9000).encode();
    let question = Input::Revalidate { session: SessionId(7), timeout_ms: 9000 };
    assert_eq!(bench.step(question.clone()), [Action::Send(asked)]);
    let answered = bench.feed(&[bodies::revalidated(SessionId(7), true).encode()]);
    assert_eq!(answered, [Action::Revalidated { session: SessionId(7), valid: true }]);

    let mut early = Bench::connected(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    assert_eq!(early.step(Input::Forward(request(1, 1))), [], "not served yet");
    assert_eq!(early.step(question), []);
}

#[test]
fn connecting_is_tried_for_a_while_within_the_limit() {
    let (mut bench, _) = Bench::starting(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    for pause_ms in CONNECT_PAUSES_MS {
        assert_eq!(bench.step(Input::ConnectFailed), []);
        bench.now += pause_ms - 1;
        assert_eq!(bench.step(Input::Tick), []);
        bench.now += 1;
        assert_eq!(bench.learner.next_deadline(), Some(bench.now));
        assert_eq!(bench.step(Input::Tick), [Action::Connect { timeout_ms: 20_000 - bench.now }], "what is left of it");
    }
    assert_eq!(left(&bench.step(Input::ConnectFailed)), &LeaveReason::Unreachable { limit_ms: 20_000 });

    let (mut bench, _) = Bench::starting(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    bench.now = bench.learner.next_deadline().expect("a deadline");
    assert_eq!(left(&bench.step(Input::Tick)), &LeaveReason::Unreachable { limit_ms: 20_000 });
}

/// ZOOKEEPER-1521: initLimit until NEWLEADER is acknowledged, syncLimit from then on, and no limit on the own disk.
#[test]
fn silence_is_borne_for_a_while() {
    let mut bench = Bench::connected(LearnerKind::Follower, 0, 0, Zxid::ZERO);
    assert_eq!(bench.learner.next_deadline(), Some(20_000));
    bench.now = 19_999;
    assert_eq!(bench.step(Input::Tick), []);
    bench.feed(&[hex(LEADERINFO_1)]);
    assert_eq!(bench.learner.next_deadline(), None, "this server's own disk is at work");
    bench.now = 60_000;
    assert_eq!(bench.step(Input::Tick), []);
    bench.step(Input::EpochPersisted(1));
    assert_eq!(bench.learner.next_deadline(), Some(80_000));
    bench.feed(&[hex(DIFF_0), new_leader(1)]);
    bench.step(Input::EpochPersisted(1));
    assert_eq!(bench.learner.next_deadline(), Some(70_000));
    bench.feed(&[hex(UPTODATE)]);
    bench.now = 69_000;
    bench.feed(&[packet(PacketKind::Ping, zxid(1, 0))]);
    bench.now = 78_999;
    assert_eq!(bench.step(Input::Tick), []);
    bench.now = 79_000;
    assert_eq!(left(&bench.step(Input::Tick)), &LeaveReason::Silence { limit_ms: 10_000 });
    assert_eq!(bench.learner.next_deadline(), None);
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::following(LearnerKind::Follower);
    let many: Vec<Bytes> = (1..=9).map(|counter| proposal(zxid(1, counter))).collect();
    assert_eq!(left(&bench.feed(&many)), &LeaveReason::PendingFull(8));

    let mut bench = Bench::following(LearnerKind::Follower);
    bench.learner.config.queue_bytes_max = bench.learner.queued_bytes() + 100;
    let request = |bytes: usize| {
        let body = Bytes::from(vec![0; bytes]);
        Input::Forward(ForwardedRequest { session: SessionId(1), cxid: 1, opcode: 1, body, ids: None })
    };
    assert_eq!(bench.step(request(50)).len(), 1);
    bench.step(Input::Written(86));
    assert_eq!(bench.step(request(60)).len(), 1, "what was written makes room");
    assert!(matches!(left(&bench.step(request(60))), LeaveReason::QueueFull(_)));
}

#[test]
fn packets_without_meaning_are_passed_over_and_garbage_ends_it() {
    let mut bench = Bench::following(LearnerKind::Follower);
    assert_eq!(bench.feed(&[packet(PacketKind::Unknown(77), NO_ZXID), hex(UPTODATE)]), []);
    assert!(matches!(left(&bench.feed(&[Bytes::from_static(&[0xEE; 40])])), LeaveReason::Packet(_)));
    let mut bench = Bench::following(LearnerKind::Follower);
    assert!(matches!(left(&bench.feed(&[hex(DIFF_0)])), LeaveReason::Protocol(_)));
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_a_leader_sends_panics(
            codes in proptest::collection::vec((0_i32..21, 0_u32..3, 0_u32..4, 0_usize..40), 0..30), snap: bool
        ) {
            let mut bench = Bench::connected(LearnerKind::Follower, 0, 0, Zxid::ZERO);
            bench.feed(&[hex(LEADERINFO_1)]);
            bench.step(Input::EpochPersisted(1));
            bench.feed(&[if snap { packet(PacketKind::Snap, zxid(1, 1)) } else { hex(DIFF_0) }]);
            bench.step(Input::SnapshotParsed { rest: Bytes::new() });
            for (code, epoch, counter, bytes) in codes {
                let zxid = zxid(epoch, counter);
                let data = if bytes < 20 { error_txn(zxid) } else { Bytes::from(vec![0; bytes]) };
                bench.feed(&[QuorumPacket::with_data(PacketKind::from_code(code), zxid, data).encode()]);
                bench.durable(zxid);
                bench.step(Input::EpochPersisted(1));
                bench.step(Input::SnapshotInstalled);
            }
        }
    }
}
