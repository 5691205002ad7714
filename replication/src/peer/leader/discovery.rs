//! From being elected to a quorum of histories (`getEpochToPropose`, `waitForEpochAck`, `waitForNewLeaderAck`).

use super::{Action, DisconnectReason, Leader, LearnerId, LinkPhase, Phase, ResignReason};
use crate::peer::quorum_set::Configurations;
use crate::peer::wire::bodies::{self, LearnerInfo, PROTOCOL_VERSION};
use crate::peer::wire::packet::{PacketKind, QuorumPacket};
use engine::zxid::Zxid;
use std::sync::Arc;

/// The highest epoch: Java keeps it in a signed int.
const LAST_EPOCH: u32 = i32::MAX as u32;

impl Leader {
    /// FOLLOWERINFO or OBSERVERINFO.
    pub(super) fn presented(
        &mut self,
        now_ms: i64,
        learner: LearnerId,
        packet: &QuorumPacket,
        out: &mut Vec<Action>,
    ) -> Result<(), DisconnectReason> {
        let observer = match packet.kind {
            PacketKind::FollowerInfo => false,
            PacketKind::ObserverInfo => true,
            _ => return Err(DisconnectReason::Protocol("FOLLOWERINFO or OBSERVERINFO was expected first")),
        };
        let info = LearnerInfo::decode(packet.data.as_deref());
        let Some(sid) = info.sid.filter(|_| info.protocol >= PROTOCOL_VERSION) else {
            return Err(DisconnectReason::OldProtocol(info.protocol));
        };
        if sid == self.config.sid {
            return Err(DisconnectReason::OwnSid(sid));
        }
        if !self.config.accept_strangers && !self.configurations.is_member(sid) {
            return Err(DisconnectReason::Stranger(sid));
        }
        let version = self.configurations.committed.version;
        if info.config_version > version {
            return Err(DisconnectReason::NewerConfiguration { learner: info.config_version, leader: version });
        }
        let accepted = packet.zxid.epoch();
        if accepted >= LAST_EPOCH {
            return Err(DisconnectReason::LastEpoch(accepted));
        }
        // A half-open connection of a server that has restarted must not linger beside the new one.
        let former = self
            .links
            .iter()
            .filter(|(id, link)| **id != learner && link.sid == sid && link.phase != LinkPhase::Presenting);
        self.doomed.extend(former.map(|(id, _)| (*id, DisconnectReason::Superseded(sid))));
        let Some(link) = self.links.get_mut(&learner) else { return Ok(()) };
        (link.sid, link.observer, link.phase) = (sid, observer, LinkPhase::AwaitingEpoch);
        link.decoder.set_data_bytes_max(self.config.data_bytes_max);
        if self.phase == Phase::Discovering {
            self.accepted_epoch = self.accepted_epoch.max(accepted);
            if !observer {
                self.presented.insert(sid);
            }
            self.decide_epoch(out);
        } else if self.phase != Phase::Promising {
            if self.is_established() && accepted > self.epoch && self.configurations.committed.members.is_voter(sid) {
                self.make_way(sid, accepted, out);
                return Ok(());
            }
            self.propose_epoch(now_ms, learner, out);
        }
        Ok(())
    }

    /// A voter has promised a later epoch to a leader that came to nothing. It could not follow this one however long it
    /// lasts (Java's leaves it outside), so the next epoch begins, above that promise. Only a candidate to whom a quorum
    /// presented itself proposes an epoch, so this cannot go on for ever.
    fn make_way(&mut self, sid: u64, accepted: u32, out: &mut Vec<Action>) {
        out.push(Action::PersistAcceptedEpoch(accepted));
        self.resign(ResignReason::Outbid { sid, accepted, epoch: self.epoch }, out);
    }

    /// The epoch is one above all that a quorum has promised, this server included.
    pub(super) fn decide_epoch(&mut self, out: &mut Vec<Action>) {
        if !self.configurations.committed.members.has_quorum(&self.presented) {
            return;
        }
        if self.accepted_epoch >= LAST_EPOCH {
            return self.resign(ResignReason::LastEpoch(self.accepted_epoch), out);
        }
        self.epoch = self.accepted_epoch + 1;
        self.phase = Phase::Promising;
        out.push(Action::PersistAcceptedEpoch(self.epoch));
    }

    pub(super) fn epoch_persisted(&mut self, now_ms: i64, epoch: u32, out: &mut Vec<Action>) {
        if epoch != self.epoch {
            return;
        }
        match self.phase {
            Phase::Promising => {
                self.phase = Phase::Gathering;
                self.phase_deadline = now_ms + self.init_limit_ms();
                self.proposed = self.epoch_zero();
                self.promote_configuration();
                let waiting = self.links.iter().filter(|(_, link)| link.phase == LinkPhase::AwaitingEpoch);
                for learner in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
                    self.propose_epoch(now_ms, learner, out);
                }
                self.decide_history(now_ms, out);
            }
            Phase::Adopting => {
                self.phase = Phase::Synchronising;
                self.phase_deadline = now_ms + self.init_limit_ms();
                self.adopted.insert(self.config.sid);
                self.establish(now_ms, out);
            }
            _ => {}
        }
    }

    /// The first leader of a configuration that was never established gives it a version (ZOOKEEPER-1783).
    fn promote_configuration(&mut self) {
        let Configurations { committed, proposed } = &*self.configurations;
        if self.config.reconfig_enabled && committed.version == 0 && proposed.is_none() {
            let promoted = committed.with_version(self.epoch_zero().to_wire());
            self.configurations = Arc::new(Configurations { committed: committed.clone(), proposed: Some(promoted) });
        }
    }

    fn propose_epoch(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let epoch = self.epoch;
        let Some(link) = self.links.get_mut(&learner) else { return };
        link.phase = LinkPhase::Promising;
        link.heard_at = now_ms;
        link.send(learner, bodies::leader_info(epoch).encode(), out);
    }

    /// ACKEPOCH. Who is ahead is refused while the quorum is open: following it could lose what it has. Afterwards a
    /// quorum is known not to be ahead, so that whatever else somebody has was never committed.
    pub(super) fn ack_epoch(
        &mut self,
        now_ms: i64,
        learner: LearnerId,
        packet: &QuorumPacket,
        out: &mut Vec<Action>,
    ) -> Result<(), DisconnectReason> {
        if packet.kind != PacketKind::AckEpoch {
            return Err(DisconnectReason::Protocol("ACKEPOCH was expected behind LEADERINFO"));
        }
        let current = bodies::decode_ack_epoch(packet.data.as_deref())?;
        let last = packet.zxid;
        let no_data = last == Zxid::from_wire(-1);
        if self.phase == Phase::Gathering
            && let Some(epoch) = current
            && (epoch, last.to_wire()) > (self.former_epoch, self.initial_end.to_wire())
        {
            let sid = self.links.get(&learner).map_or(0, |link| link.sid);
            if self.config.named && self.configurations.committed.members.is_voter(sid) {
                self.resign(ResignReason::Overtaken { sid, last }, out);
                return Ok(());
            }
            return Err(DisconnectReason::Ahead { epoch, last });
        }
        let alive_until = now_ms + self.init_limit_ms() + self.sync_limit_ms();
        let Some(link) = self.links.get_mut(&learner) else { return Ok(()) };
        (link.last, link.phase, link.alive_until) = (last, LinkPhase::Promised, alive_until);
        // It may be about to be cut back, and is sent all that is outstanding again: until it has that on disk once more
        // its former ACKs prove nothing.
        let sid = link.sid;
        #[cfg(test)]
        let keep = self.config.mistake == Some(crate::peer::mistake::Mistake::KeepFormerAcks);
        #[cfg(not(test))]
        let keep = false;
        for proposal in self.outstanding.iter_mut().filter(|_| !keep) {
            proposal.acks.remove(&sid);
        }
        if self.phase == Phase::Gathering {
            if current.is_some() && !no_data && self.links.get(&learner).is_some_and(|link| !link.observer) {
                self.promised.insert(sid);
            }
            self.decide_history(now_ms, out);
        } else {
            self.begin_sync(now_ms, learner, out);
        }
        Ok(())
    }

    /// With a quorum of promises this server's history is settled upon.
    fn decide_history(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if !self.configurations.committed.members.has_quorum(&self.promised) {
            return;
        }
        self.phase = Phase::Adopting;
        self.phase_deadline = now_ms + self.init_limit_ms();
        out.push(Action::PersistCurrentEpoch(self.epoch));
        let waiting = self.links.iter().filter(|(_, link)| link.phase == LinkPhase::Promised);
        for learner in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.begin_sync(now_ms, learner, out);
        }
    }

    /// ACK of NEWLEADER, known by its zxid: some Java releases send ACKs of proposals before it (ZOOKEEPER-4685).
    pub(super) fn ack_new_leader(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner).filter(|link| link.phase == LinkPhase::Synchronised) else {
            return;
        };
        link.phase = LinkPhase::Acknowledged;
        // An observer that the configuration proposed last makes a voter counts for that one; a voter that comes as an
        // observer has lost something and says that it is not to be counted.
        if !link.observer || !self.configurations.committed.members.is_voter(link.sid) {
            self.adopted.insert(link.sid);
        }
        if self.is_established() { self.up_to_date(now_ms, learner, out) } else { self.establish(now_ms, out) }
    }

    /// With a quorum of histories taken, of each configuration, this server leads.
    fn establish(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let own = self.adopted.contains(&self.config.sid);
        if self.phase != Phase::Synchronising || !own || !self.configurations.have_quorum(&self.adopted) {
            return;
        }
        self.phase = Phase::Active;
        // Before anybody is served.
        self.complete_reconfig(out);
        out.push(Action::Established { epoch: self.epoch });
        // Behind it: only who leads takes a commit.
        out.push(Action::Commit { upto: self.initial_end });
        let waiting = self.links.iter().filter(|(_, link)| link.phase == LinkPhase::Acknowledged);
        for learner in waiting.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.up_to_date(now_ms, learner, out);
        }
    }

    fn up_to_date(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let alive_until = now_ms + self.sync_limit_ms();
        let Some(link) = self.links.get_mut(&learner) else { return };
        link.send(learner, QuorumPacket::bare(PacketKind::UpToDate, crate::peer::wire::packet::NO_ZXID).encode(), out);
        link.phase = LinkPhase::Serving;
        link.release(learner, out);
        (link.heard_at, link.alive_until) = (now_ms, alive_until);
        link.restart_watch(now_ms);
    }
}
