//! Scripts: what learners send, and what a leader does about it.

use super::*;
use crate::peer::quorum_set::Majority;
use crate::peer::wire::bodies::{self, ForwardedRequest, LearnerInfo, PROTOCOL_VERSION};
use crate::peer::wire::packet::{NO_ZXID, PacketKind, ProposalFrame};
use crate::wal::Durable;
use engine::ids::SessionId;
use engine::txn::{self, Txn, TxnHeader};

const SELF: u64 = 1;
const TICK_MS: i64 = 2000;

fn zxid(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

fn error_txn(zxid: Zxid) -> Bytes {
    let header = TxnHeader { client: SessionId(1), cxid: 1, zxid, time_ms: 1 };
    let mut bytes = Vec::new();
    txn::encode(&header, &Txn::Error { code: -101 }, &mut bytes);
    bytes.into()
}

fn configuration(version: i64, voters: &[u64]) -> Configuration {
    let text = format!("voters={voters:?}\nversion={version:x}");
    Configuration { version, text: text.into(), members: Arc::new(Majority::new(voters.iter().copied())) }
}

/// What a leader did, by its parts.
#[derive(Default)]
struct Done {
    /// Packets per learner.
    sent: BTreeMap<LearnerId, Vec<u8>>,
    rest: Vec<Action>,
}

impl Done {
    /// Packets to a learner: kind and zxid.
    fn to(&self, learner: u64) -> Vec<(PacketKind, Zxid)> {
        self.packets(learner).into_iter().map(|packet| (packet.kind, packet.zxid)).collect()
    }

    fn packets(&self, learner: u64) -> Vec<QuorumPacket> {
        let mut decoder = PacketDecoder::new(1 << 20);
        decoder.push(self.sent.get(&LearnerId(learner)).map_or(&[][..], |bytes| bytes));
        let mut packets = Vec::new();
        while let Some(packet) = decoder.next().expect("a packet") {
            packets.push(packet);
        }
        packets
    }

    fn disconnected(&self, learner: u64) -> &DisconnectReason {
        let found = self.rest.iter().find_map(|action| match action {
            Action::Disconnect { learner: id, reason } if id.0 == learner => Some(reason),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("{learner} should have been disconnected: {:?}", self.rest))
    }

    fn committed(&self) -> Option<Zxid> {
        self.rest.iter().rev().find_map(|action| match action {
            Action::Commit { upto } => Some(*upto),
            _ => None,
        })
    }

    fn resigned(&self) -> Option<&ResignReason> {
        self.rest.iter().find_map(|action| match action {
            Action::Resign(reason) => Some(reason),
            _ => None,
        })
    }

    fn has(&self, wanted: &str) -> bool {
        self.rest.iter().any(|action| format!("{action:?}").starts_with(wanted))
    }
}

struct Bench {
    leader: Leader,
    now: i64,
}

struct Setup {
    accepted: u32,
    current: u32,
    log: Vec<Zxid>,
    base: Zxid,
    log_base: Option<Zxid>,
    configurations: Configurations,
    config: LeaderConfig,
}

impl Setup {
    fn of(voters: &[u64]) -> Setup {
        Setup {
            accepted: 0,
            current: 0,
            log: Vec::new(),
            base: Zxid::ZERO,
            log_base: None,
            configurations: Configurations { committed: configuration(0, voters), proposed: None },
            config: LeaderConfig::new(SELF),
        }
    }

    fn epoch(self, accepted: u32, current: u32) -> Setup {
        Setup { accepted, current, ..self }
    }

    fn log(self, log: &[Zxid]) -> Setup {
        Setup { log: log.to_vec(), ..self }
    }

    fn start(self) -> (Bench, Done) {
        let mut history = History::new(self.base, 1 << 20);
        self.log.iter().for_each(|zxid| history.append(*zxid, ProposalFrame::new(*zxid, &error_txn(*zxid))));
        let start = LeaderStart {
            accepted_epoch: self.accepted,
            current_epoch: self.current,
            last: Durable::assume(history.last()),
            history,
            configurations: self.configurations,
            log_base: self.log_base,
        };
        let mut out = Vec::new();
        let leader = Leader::new(0, self.config, start, &mut out);
        (Bench { leader, now: 0 }, sort(out))
    }

    /// With one follower (connection 2, sid 2) served.
    fn established(self) -> Bench {
        let epoch = self.accepted + 1;
        let last = self.log.last().copied().unwrap_or(self.base);
        let (mut bench, _) = self.start();
        bench.present(2, 2, epoch - 1);
        bench.step(Input::EpochPersisted(epoch));
        bench.send(2, &bodies::ack_epoch(last, Some(epoch - 1)));
        bench.step(Input::EpochPersisted(epoch));
        let done = bench.ack(2, zxid(epoch, 0));
        assert!(bench.leader.is_established());
        assert_eq!(done.to(2), [(PacketKind::UpToDate, NO_ZXID)]);
        bench.ack(2, zxid(epoch, 0));
        bench
    }
}

fn sort(out: Vec<Action>) -> Done {
    let mut done = Done::default();
    for action in out {
        match action {
            Action::Send { learner, bytes } => done.sent.entry(learner).or_default().extend_from_slice(&bytes),
            other => done.rest.push(other),
        }
    }
    done
}

impl Bench {
    fn step(&mut self, input: Input) -> Done {
        let mut out = Vec::new();
        self.leader.step(self.now, input, &mut out);
        sort(out)
    }

    fn send(&mut self, learner: u64, packet: &QuorumPacket) -> Done {
        self.step(Input::Received { learner: LearnerId(learner), bytes: packet.encode() })
    }

    fn ack(&mut self, learner: u64, zxid: Zxid) -> Done {
        self.send(learner, &QuorumPacket::bare(PacketKind::Ack, zxid))
    }

    fn accept(&mut self, learner: u64) {
        self.step(Input::Accepted { learner: LearnerId(learner) });
    }

    fn present(&mut self, learner: u64, sid: u64, accepted: u32) -> Done {
        self.present_as(learner, sid, accepted, PacketKind::FollowerInfo)
    }

    fn present_as(&mut self, learner: u64, sid: u64, accepted: u32, kind: PacketKind) -> Done {
        self.accept(learner);
        let info = LearnerInfo { sid: Some(sid), protocol: PROTOCOL_VERSION, config_version: 0 };
        self.send(learner, &QuorumPacket::with_data(kind, zxid(accepted, 0), info.encode()))
    }

    /// A learner that comes late, up to its sync operation.
    fn join(&mut self, learner: u64, sid: u64, kind: PacketKind, last: Zxid) -> Done {
        let epoch = self.leader.epoch().expect("a decided epoch");
        let done = self.present_as(learner, sid, epoch, kind);
        assert_eq!(done.to(learner), [(PacketKind::LeaderInfo, zxid(epoch, 0))]);
        self.send(learner, &bodies::ack_epoch(last, None))
    }

    fn propose(&mut self, zxid: Zxid) -> Done {
        self.step(Input::Proposed { zxid, txn: error_txn(zxid), reconfig: None })
    }

    fn durable(&mut self, zxid: Zxid) -> Done {
        self.step(Input::Durable(Durable::assume(zxid)))
    }

    fn tick_at(&mut self, now: i64) -> Done {
        self.now = now;
        self.step(Input::Tick)
    }
}

use PacketKind::*;

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
fn packets_out_of_turn_and_garbage_end_the_connection() {
    let (mut bench, _) = Setup::of(&[1, 2, 3]).start();
    bench.present(2, 2, 0);
    assert!(matches!(bench.ack(2, zxid(1, 0)).disconnected(2), DisconnectReason::Protocol(_)));
    let mut bench = Setup::of(&[1, 2, 3]).established();
    let garbage = Input::Received { learner: LearnerId(2), bytes: Bytes::from_static(&[0xEE; 64]) };
    assert!(matches!(bench.step(garbage).disconnected(2), DisconnectReason::Packet(_)));
    assert!(bench.ack(2, zxid(1, 1)).rest.is_empty(), "it is forgotten");
}

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
    assert!(bench.leader.could_lead(&Majority::new([1, 4, 5])) && !bench.leader.could_lead(&Majority::new([1, 6, 7])));
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
    for learner in [2, 3] {
        bench.step(Input::Disconnected { learner: LearnerId(learner) });
    }
    bench.tick_at(TICK_MS / 2);
    assert!(matches!(bench.tick_at(TICK_MS).resigned(), Some(ResignReason::QuorumLost { .. })));
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

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_that_learners_send_panics(
            steps in proptest::collection::vec((0_i32..21, 2_u64..5, 0_u32..3, 0_u32..4, 0_usize..30), 0..60), served: bool
        ) {
            let mut bench = if served { Setup::of(&[1, 2, 3]).established() } else { Setup::of(&[1, 2, 3]).start().0 };
            let mut counter = 0;
            for (code, learner, epoch, count, bytes) in steps {
                let data = vec![epoch as u8; bytes];
                let packet = QuorumPacket::with_data(PacketKind::from_code(code), zxid(epoch, count), data);
                bench.present(learner, learner, epoch);
                bench.send(learner, &bodies::ack_epoch(zxid(epoch, count), Some(0)));
                bench.send(learner, &packet);
                bench.step(Input::EpochPersisted(epoch));
                bench.step(Input::SnapshotAt { learner: LearnerId(learner), zxid: zxid(epoch, count) });
                bench.step(Input::SnapshotEnd { learner: LearnerId(learner) });
                if served {
                    counter += 1;
                    bench.propose(zxid(1, counter));
                    bench.durable(zxid(epoch, count));
                }
                bench.tick_at(bench.now + 100);
            }
        }
    }
}
