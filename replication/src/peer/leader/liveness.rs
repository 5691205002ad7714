//! What happens by the clock: pings, time limits, and whether the quorum is still there.

use super::link::Link;
use super::{Action, DisconnectReason, Leader, LinkPhase, Phase, ResignReason};
use crate::peer::wire::packet::{PacketKind, QuorumPacket};
use engine::zxid::Zxid;
use std::collections::BTreeSet;

impl Leader {
    pub(super) fn tick(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        if let Some(step) = self.awaited_quorum()
            && now_ms >= self.phase_deadline
        {
            return self.resign(ResignReason::NoQuorum { step, limit_ms: self.init_limit_ms() }, out);
        }
        let silent = self.links.iter().filter(|(_, link)| self.silence_ends(link).is_some_and(|ends| now_ms >= ends));
        let silent: Vec<_> = silent
            .map(|(id, link)| (*id, DisconnectReason::Silence { limit_ms: self.silence_limit(link).unwrap_or(0) }))
            .collect();
        self.doomed.extend(silent);
        if now_ms < self.ping_at {
            return;
        }
        self.ping_at = now_ms + self.config.tick_ms / 2;
        self.pings += 1;
        self.ping(now_ms, out);
        if !self.pings.is_multiple_of(2) || !self.is_established() {
            return;
        }
        if !self.has_quorum(now_ms) {
            self.resign(ResignReason::QuorumLost { limit_ms: self.sync_limit_ms() }, out);
        } else if let Some(zxid) = self.never_commits(now_ms) {
            self.resign(ResignReason::FormerQuorumLost { zxid, limit_ms: self.sync_limit_ms() }, out);
        }
    }

    /// What was proposed while a configuration was under way needs the former one's quorum too, also once the new one is in
    /// force, and everything behind it waits for that. If those servers are gone (they may have left for good), the oldest
    /// of it never commits here, and nothing else shows: the new members are all alive. Under a leader that they elect it
    /// is history, which they take without the others. Java's leader waits for ever.
    fn never_commits(&self, now_ms: i64) -> Option<Zxid> {
        let oldest = self.outstanding.front().filter(|_| self.phase == Phase::Active)?;
        let hoped_for = &oldest.acks | &self.alive(now_ms);
        (!oldest.configurations.have_quorum(&hoped_for)).then_some(oldest.zxid)
    }

    /// What a quorum is being waited for.
    pub(super) fn awaited_quorum(&self) -> Option<&'static str> {
        match self.phase {
            Phase::Discovering | Phase::Promising => Some("presented itself"),
            Phase::Gathering => Some("promised to follow"),
            Phase::Adopting | Phase::Synchronising => Some("took this server's history"),
            Phase::Active | Phase::HandedOver { .. } | Phase::Resigned => None,
        }
    }

    /// PING goes to those that have got NEWLEADER. Before the sync operation it would end a Java learner's process.
    fn ping(&mut self, now_ms: i64, out: &mut Vec<Action>) {
        let limit_ms = self.sync_limit_ms();
        let ping = QuorumPacket::bare(PacketKind::Ping, self.proposed).encode();
        for (learner, link) in self.links.iter_mut().filter(|(_, link)| link.is_live()) {
            match link.watched() {
                Some((zxid, since)) if link.phase == LinkPhase::Serving && now_ms - since > limit_ms => {
                    self.doomed.push((*learner, DisconnectReason::LateAck { zxid, limit_ms }));
                }
                _ => link.send(*learner, ping.clone(), out),
            }
        }
    }

    pub(super) fn has_quorum(&self, now_ms: i64) -> bool {
        self.configurations.have_quorum(&self.alive(now_ms))
    }

    fn alive(&self, now_ms: i64) -> BTreeSet<u64> {
        let alive = self.links.values().filter(|link| !link.observer && link.is_alive(now_ms)).map(|link| link.sid);
        alive.chain([self.config.sid]).collect()
    }

    pub(super) fn silence_ends(&self, link: &Link) -> Option<i64> {
        self.silence_limit(link).map(|limit_ms| link.heard_at + limit_ms)
    }

    /// How long a learner may be silent, in milliseconds; `None` while it is waiting for this server.
    fn silence_limit(&self, link: &Link) -> Option<i64> {
        match link.phase {
            LinkPhase::Presenting | LinkPhase::Promising | LinkPhase::Synchronised => Some(self.init_limit_ms()),
            // It has nothing to say, and has only to read what is there.
            LinkPhase::Judging { .. }
            | LinkPhase::Copying { .. }
            | LinkPhase::Pinning
            | LinkPhase::Streaming { .. } => (link.queued > 0).then_some(self.init_limit_ms()),
            LinkPhase::AwaitingEpoch | LinkPhase::Promised | LinkPhase::Acknowledged => None,
            LinkPhase::Serving => Some(self.sync_limit_ms()),
        }
    }
}
