//! A leader: from having been elected to resigning (`Leader`, `LearnerHandler`).
//!
//! ```text
//! Discovering -> Promising -> Gathering -> Adopting -> Synchronising -> Active [-> HandedOver] -> Resigned
//! (FOLLOWERINFO)  (disk)      (ACKEPOCH)    (disk)      (NEWLEADER's ACK)  (UPTODATE, broadcast)
//! ```
//!
//! * **A quorum for each step**: of promises to follow nobody older, of proofs that nobody is ahead, of histories taken.
//!   In each the leader itself must be part; before it counts itself its own disk has it.
//! * **A learner's synchronisation ends in one step.** History may be copied from the log or streamed as a snapshot for as
//!   long as it takes; a cursor remembers how far. When the recent list reaches the cursor, the rest of the list, what is
//!   outstanding, and NEWLEADER are queued and the learner is registered for live traffic, all at once, so that nothing is
//!   lost or doubled. No traffic piles up for it before that.
//! * **One order for each learner**: proposals, commits, answers to sync and to revalidations go through one queue, with a
//!   bound; a learner that exceeds it is disconnected, and nobody else notices. Between NEWLEADER and UPTODATE the queue
//!   is held back, because some Java releases cannot take a COMMIT there.
//! * **Commits in order**: a proposal commits when each configuration that was valid for it has a quorum of ACKs, and its
//!   predecessor has committed. The own log's durability is the leader's own ACK.

mod broadcast;
mod discovery;
mod io;
mod link;
mod liveness;
mod reason;
mod reconfig;
mod sync;

#[cfg(test)]
mod tests;

pub use crate::session::LearnerId;
pub use io::{Action, Input, LeaderConfig, LeaderStart};
pub use reason::{DisconnectReason, ResignReason};

use crate::peer::history::History;
use crate::peer::quorum_set::{Configuration, Configurations};
use crate::peer::wire::bodies::epoch_zxid;
use crate::peer::wire::packet::{PacketDecoder, QuorumPacket};
use bytes::Bytes;
use engine::zxid::Zxid;
use link::{Link, LinkPhase};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Bytes of data in the packets that present a learner.
const PRESENTATION_BYTES_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Discovering,
    Promising,
    Gathering,
    Adopting,
    Synchronising,
    Active,
    /// A reconfiguration has named another leader.
    HandedOver {
        to: u64,
    },
    Resigned,
}

/// A proposal that is not committed.
#[derive(Debug)]
struct Outstanding {
    zxid: Zxid,
    acks: BTreeSet<u64>,
    /// Those that must agree.
    configurations: Arc<Configurations>,
    reconfig: Option<Configuration>,
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Leader {
    config: LeaderConfig,
    phase: Phase,
    /// When the present wait for a quorum ends.
    phase_deadline: i64,
    ping_at: i64,
    /// Counts pings: liveness is looked at with every second one.
    pings: u64,
    accepted_epoch: u32,
    /// The current epoch before this one.
    former_epoch: u32,
    /// The epoch being led, from `Promising` on.
    epoch: u32,
    /// End of the log when elected: the initial history.
    initial_end: Zxid,
    configurations: Arc<Configurations>,
    /// Servers whose accepted epoch is known; whose ACKEPOCH counts; that acknowledged NEWLEADER.
    presented: BTreeSet<u64>,
    promised: BTreeSet<u64>,
    adopted: BTreeSet<u64>,
    links: BTreeMap<LearnerId, Link>,
    /// Links to be closed at the end of the step.
    doomed: Vec<(LearnerId, DisconnectReason)>,
    /// Servers that history could not be sent to without a hole.
    snapshot_next: BTreeSet<u64>,
    history: History,
    log_base: Option<Zxid>,
    /// What counts as history for learners: committed, or the initial history.
    served: Zxid,
    proposed: Zxid,
    durable: Zxid,
    outstanding: VecDeque<Outstanding>,
}

impl Leader {
    /// Begins to lead.
    pub fn new(now_ms: i64, config: LeaderConfig, start: LeaderStart, out: &mut Vec<Action>) -> Leader {
        let last = start.last.get();
        let mut history = start.history;
        if history.last() != last {
            history.reset(last);
        }
        let mut leader = Leader {
            phase: Phase::Discovering,
            phase_deadline: now_ms + config.init_limit * config.tick_ms,
            ping_at: now_ms + config.tick_ms / 2,
            pings: 0,
            accepted_epoch: start.accepted_epoch,
            former_epoch: start.current_epoch,
            epoch: 0,
            initial_end: last,
            configurations: Arc::new(start.configurations),
            presented: BTreeSet::from([config.sid]),
            promised: BTreeSet::from([config.sid]),
            adopted: BTreeSet::new(),
            links: BTreeMap::new(),
            doomed: Vec::new(),
            snapshot_next: BTreeSet::new(),
            history,
            log_base: start.log_base,
            served: last,
            proposed: last,
            durable: last,
            outstanding: VecDeque::new(),
            config,
        };
        leader.decide_epoch(out);
        leader
    }

    /// Takes one input and appends what is to be done. `now_ms` is a monotonic clock.
    pub fn step(&mut self, now_ms: i64, input: Input, out: &mut Vec<Action>) {
        if self.phase == Phase::Resigned {
            return;
        }
        self.take(now_ms, input, out);
        while let Some((learner, reason)) = self.doomed.pop() {
            if self.links.remove(&learner).is_some() {
                out.push(Action::Disconnect { learner, reason });
            }
        }
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<i64> {
        if self.phase == Phase::Resigned {
            return None;
        }
        let links = self.links.values().filter_map(|link| self.silence_ends(link));
        let quorum = self.awaited_quorum().map(|_| self.phase_deadline);
        links.chain(quorum).chain([self.ping_at]).min()
    }

    /// Whether a snapshot's next bytes may be handed over for this learner.
    pub fn has_room(&self, learner: LearnerId) -> bool {
        self.links.get(&learner).is_some_and(|link| link.queued < self.config.log_read_bytes)
    }

    /// The epoch, once it is decided.
    pub fn epoch(&self) -> Option<u32> {
        (self.phase != Phase::Discovering).then_some(self.epoch)
    }

    /// Whether this server's history is the ensemble's.
    pub fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::HandedOver { .. })
    }

    /// The sids of followers, then of observers, that are being served.
    pub fn served_learners(&self) -> (Vec<u64>, Vec<u64>) {
        let served = self.links.values().filter(|link| link.phase == LinkPhase::Serving);
        let (observers, followers): (Vec<&Link>, Vec<&Link>) = served.partition(|link| link.observer);
        let sids = |links: Vec<&Link>| links.into_iter().map(|link| link.sid).collect();
        (sids(followers), sids(observers))
    }

    /// The recent end of the log, for the next role.
    pub fn into_history(self) -> History {
        self.history
    }

    fn take(&mut self, now_ms: i64, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Accepted { learner } => {
                if self.links.len() >= self.config.learners_max {
                    let reason = DisconnectReason::TooMany(self.config.learners_max);
                    out.push(Action::Disconnect { learner, reason });
                } else {
                    self.links.insert(learner, Link::new(now_ms, PacketDecoder::new(PRESENTATION_BYTES_MAX)));
                }
            }
            Input::Received { learner, bytes } => self.received(now_ms, learner, &bytes, out),
            Input::Written { learner, bytes } => self.written(now_ms, learner, bytes, out),
            Input::Disconnected { learner } => {
                self.links.remove(&learner);
                self.hand_over(now_ms, out);
            }
            Input::EpochPersisted(epoch) => self.epoch_persisted(now_ms, epoch, out),
            Input::Proposed { zxid, txn, reconfig } => self.propose(now_ms, zxid, &txn, reconfig, out),
            Input::Durable(durable) => self.log_is_durable(durable.get(), out),
            Input::LogBase(base) => self.log_base = base,
            Input::LogRead { learner, entries, done } => self.log_read(now_ms, learner, entries, done, out),
            Input::SnapshotAt { learner, zxid } => self.snapshot_at(now_ms, learner, zxid, out),
            Input::SnapshotBytes { learner, bytes } => self.snapshot_bytes(now_ms, learner, bytes, out),
            Input::SnapshotEnd { learner } => self.snapshot_end(now_ms, learner, out),
            Input::SyncFor { learner } => self.sync_for(learner, out),
            Input::Revalidated { learner, session, valid } => self.revalidated(learner, session, valid, out),
            Input::Resign => self.resign(ResignReason::Asked, out),
            Input::Tick => self.tick(now_ms, out),
        }
    }

    fn received(&mut self, now_ms: i64, learner: LearnerId, bytes: &Bytes, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner) else { return };
        link.heard_at = now_ms;
        link.alive_until = link.alive_until.max(now_ms + self.config.sync_limit * self.config.tick_ms);
        link.decoder.push(bytes);
        let handled = loop {
            // The leader may have resigned over a packet, or the learner been found at fault.
            let Some(link) = self.links.get_mut(&learner).filter(|_| self.phase != Phase::Resigned) else {
                break Ok(());
            };
            match link.decoder.next() {
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
                Ok(Some(packet)) => {
                    if let Err(reason) = self.packet(now_ms, learner, packet, out) {
                        break Err(reason);
                    }
                }
            }
        };
        if let Err(reason) = handled {
            self.doomed.push((learner, reason));
        }
    }

    fn packet(
        &mut self,
        now_ms: i64,
        learner: LearnerId,
        packet: QuorumPacket,
        out: &mut Vec<Action>,
    ) -> Result<(), DisconnectReason> {
        let Some(link) = self.links.get(&learner) else { return Ok(()) };
        match link.phase {
            LinkPhase::Presenting => self.presented(now_ms, learner, &packet, out),
            LinkPhase::Promising => self.ack_epoch(now_ms, learner, &packet, out),
            _ if link.is_live() => self.live_packet(now_ms, learner, packet, out),
            _ => Err(DisconnectReason::Protocol("a packet came out of turn")),
        }
    }

    fn resign(&mut self, reason: ResignReason, out: &mut Vec<Action>) {
        self.phase = Phase::Resigned;
        out.push(Action::Resign(reason));
    }

    /// The epoch's zero, which stands for its NEWLEADER.
    fn epoch_zero(&self) -> Zxid {
        epoch_zxid(self.epoch)
    }

    fn init_limit_ms(&self) -> i64 {
        self.config.init_limit * self.config.tick_ms
    }

    fn sync_limit_ms(&self) -> i64 {
        self.config.sync_limit * self.config.tick_ms
    }

    #[cfg(test)]
    fn errs(&self, mistake: crate::peer::mistake::Mistake) -> bool {
        self.config.mistake == Some(mistake)
    }
}
