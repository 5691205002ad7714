//! Scripts: what learners send, and what a leader does about it.

mod broadcast;
mod discovery;
mod liveness;
mod reconfig;
mod sync;

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
