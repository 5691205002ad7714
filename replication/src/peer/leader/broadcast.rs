//! Proposals, acknowledgements, commits, and what else learners send while they are served (`Leader.propose`,
//! `processAck`, `tryToCommit`).

use super::{Action, DisconnectReason, Leader, LearnerId, LinkPhase, Outstanding, Phase, ResignReason};
use crate::peer::quorum_set::{Configuration, Configurations};
use crate::peer::wire::bodies::{self, ForwardedRequest};
use crate::peer::wire::packet::{PacketKind, ProposalFrame, QuorumPacket};
use engine::ids::SessionId;
use engine::zxid::Zxid;
use std::collections::BTreeSet;
use std::sync::Arc;

/// sync (`ZooDefs.OpCode`).
const SYNC_OPCODE: i32 = 9;

impl Leader {
    pub(super) fn propose(
        &mut self,
        now_ms: i64,
        zxid: Zxid,
        txn: &[u8],
        reconfig: Option<Configuration>,
        out: &mut Vec<Action>,
    ) {
        let frame = ProposalFrame::new(zxid, txn);
        #[cfg(test)]
        if self.errs(crate::peer::mistake::Mistake::ReuseZxid) && zxid == self.proposed {
            return self.send_proposal(now_ms, zxid, &frame, out);
        }
        if !self.is_established() || self.proposed.next() != Some(zxid) {
            return self.resign(ResignReason::OutOfOrder { zxid, last: self.proposed }, out);
        }
        self.proposed = zxid;
        if reconfig.is_some() {
            let committed = self.configurations.committed.clone();
            self.configurations = Arc::new(Configurations { committed, proposed: reconfig.clone() });
        }
        let configurations = self.configurations.clone();
        self.outstanding.push_back(Outstanding { zxid, acks: BTreeSet::new(), configurations, reconfig });
        self.history.append(zxid, frame.clone());
        self.send_proposal(now_ms, zxid, &frame, out);
    }

    fn send_proposal(&mut self, now_ms: i64, zxid: Zxid, frame: &ProposalFrame, out: &mut Vec<Action>) {
        for (learner, link) in self.links.iter_mut().filter(|(_, link)| link.is_live() && !link.observer) {
            link.pass(*learner, frame.proposal(), out);
            link.watch(zxid, now_ms);
            if link.queued > self.config.queue_bytes_max {
                self.doomed.push((*learner, DisconnectReason::QueueFull(self.config.queue_bytes_max)));
            }
        }
    }

    /// This server's own ACKs.
    pub(super) fn log_is_durable(&mut self, durable: Zxid, out: &mut Vec<Action>) {
        let from = self.outstanding.partition_point(|proposal| proposal.zxid <= self.durable);
        for proposal in self.outstanding.range_mut(from..).take_while(|proposal| proposal.zxid <= durable) {
            proposal.acks.insert(self.config.sid);
        }
        self.durable = self.durable.max(durable.min(self.proposed));
        self.commit_ready(out);
        self.settle();
    }

    /// What leaves the list has to be in the log on disk, from where learners get it then.
    fn settle(&mut self) {
        self.history.settle(self.served.min(self.durable));
    }

    pub(super) fn live_packet(
        &mut self,
        now_ms: i64,
        learner: LearnerId,
        packet: QuorumPacket,
        out: &mut Vec<Action>,
    ) -> Result<(), DisconnectReason> {
        let serving = self.links.get(&learner).is_some_and(|link| link.phase == LinkPhase::Serving);
        match packet.kind {
            PacketKind::Ack if packet.zxid == self.epoch_zero() => self.ack_new_leader(now_ms, learner, out),
            PacketKind::Ack => self.ack(learner, packet.zxid, out),
            PacketKind::Ping => {
                let sessions = bodies::decode_touches(packet.data.as_deref());
                if !sessions.is_empty() {
                    out.push(Action::Touched { learner, sessions });
                }
            }
            PacketKind::Request if serving => {
                let request = ForwardedRequest::from_packet(packet)?;
                if request.opcode != SYNC_OPCODE {
                    out.push(Action::Request { learner, request });
                    return Ok(());
                }
                if let Some(link) = self.links.get_mut(&learner) {
                    link.syncs += 1;
                }
                out.push(Action::Sync { learner, session: request.session });
            }
            PacketKind::Revalidate if serving => {
                let (session, timeout_ms) = bodies::decode_revalidate(packet.data.as_deref())?;
                out.push(Action::Revalidate { learner, session, timeout_ms });
            }
            PacketKind::Request | PacketKind::Revalidate => {
                return Err(DisconnectReason::Protocol("a request came before UPTODATE"));
            }
            _ => tracing::warn!(kind = ?packet.kind, "a learner sent a packet that means nothing to its leader"),
        }
        Ok(())
    }

    /// ACK of a proposal. It says nothing about the ones before.
    fn ack(&mut self, learner: LearnerId, zxid: Zxid, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner).filter(|link| !link.observer) else { return };
        if zxid.counter() == 0 || zxid > link.sent {
            return;
        }
        link.acknowledged(zxid);
        let sid = link.sid;
        if let Ok(at) = self.outstanding.binary_search_by_key(&zxid, |proposal| proposal.zxid) {
            self.outstanding[at].acks.insert(sid);
            self.commit_ready(out);
        }
    }

    /// Commits from the oldest on, as far as quorums go.
    ///
    /// While a learner waits for a SYNC each commit is reported by itself, so that the SYNC goes out right behind the COMMIT
    /// that it has waited for (`Leader.tryToCommit`). Behind later ones a Java learner would take the commit of a write
    /// that the same session sent after the sync for another server's, and never answer it.
    fn commit_ready(&mut self, out: &mut Vec<Action>) {
        let (before, mut reported) = (self.served, self.served);
        while self.phase == Phase::Active
            && let Some(proposal) = self.outstanding.pop_front_if(|proposal| {
                #[cfg(test)]
                if self.config.mistake == Some(crate::peer::mistake::Mistake::CommitWithoutQuorum) {
                    return proposal.acks.contains(&self.config.sid);
                }
                #[cfg(test)]
                if self.config.mistake == Some(crate::peer::mistake::Mistake::OldQuorumSuffices) {
                    return proposal.configurations.committed.members.has_quorum(&proposal.acks);
                }
                proposal.configurations.have_quorum(&proposal.acks)
            })
        {
            self.commit(proposal, out);
            if self.links.values().any(|link| link.syncs > 0) {
                reported = self.served;
                out.push(Action::Commit { upto: reported });
            }
        }
        if self.served > reported {
            out.push(Action::Commit { upto: self.served });
        }
        if self.served > before {
            self.settle();
        }
        if self.served.epoch() == self.epoch && self.served.counter() == Zxid::LAST_COUNTER {
            self.resign(ResignReason::ZxidRollover, out);
        }
    }

    fn commit(&mut self, proposal: Outstanding, out: &mut Vec<Action>) {
        let zxid = proposal.zxid;
        self.served = zxid;
        let designated = proposal.reconfig.as_ref().map(|new| self.designated_leader(new, &proposal.acks));
        let commit = match designated {
            Some(designated) => bodies::commit_and_activate(zxid, designated),
            None => QuorumPacket::bare(PacketKind::Commit, zxid),
        };
        let commit = commit.encode();
        let frame = self.history.get(zxid);
        for (learner, link) in self.links.iter_mut().filter(|(_, link)| link.is_live()) {
            match (link.observer, frame, designated) {
                (false, ..) => link.pass(*learner, commit.clone(), out),
                (true, Some(frame), Some(designated)) => {
                    link.pass(*learner, bodies::inform_and_activate(zxid, designated, &frame.txn()).encode(), out);
                }
                (true, Some(frame), None) => frame.inform().into_iter().for_each(|part| link.pass(*learner, part, out)),
                (true, None, _) => {}
            }
            if link.queued > self.config.queue_bytes_max {
                self.doomed.push((*learner, DisconnectReason::QueueFull(self.config.queue_bytes_max)));
            }
        }
        if let (Some(configuration), Some(designated)) = (proposal.reconfig, designated) {
            self.activate(zxid, configuration, designated, out);
        }
    }

    /// SYNC takes its place behind the commits before it.
    pub(super) fn sync_for(&mut self, learner: LearnerId, out: &mut Vec<Action>) {
        if let Some(link) = self.links.get_mut(&learner).filter(|link| link.phase == LinkPhase::Serving) {
            link.syncs = link.syncs.saturating_sub(1);
            link.pass(learner, QuorumPacket::bare(PacketKind::Sync, Zxid::ZERO).encode(), out);
            self.check_queue(learner);
        }
    }

    pub(super) fn revalidated(&mut self, learner: LearnerId, session: SessionId, valid: bool, out: &mut Vec<Action>) {
        if let Some(link) = self.links.get_mut(&learner).filter(|link| link.phase == LinkPhase::Serving) {
            link.pass(learner, bodies::revalidated(session, valid).encode(), out);
            self.check_queue(learner);
        }
    }
}
