//! From the acknowledgement of NEWLEADER on (`Follower.processPacket`, `Observer.processPacket`).

use super::{Action, Learner, LearnerKind, LeaveReason, Phase};
use crate::peer::wire::bodies::{self, ForwardedRequest, epoch_zxid};
use crate::peer::wire::packet::{PacketKind, QuorumPacket};
use bytes::Bytes;

/// sync (`ZooDefs.OpCode`).
const SYNC_OPCODE: i32 = 9;

impl Learner {
    /// The leader is not established yet, or waits for its turn to say so. PING is not answered: Java's leader may still
    /// be waiting for the acknowledgement.
    pub(super) fn wait_for_uptodate(&mut self, packet: QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match packet.kind {
            PacketKind::UpToDate => {
                self.send(QuorumPacket::bare(PacketKind::Ack, epoch_zxid(self.epoch)).encode(), out)?;
                self.phase = Phase::Following;
                out.push(Action::Established { epoch: self.epoch });
                out.push(Action::Commit { upto: self.committed });
                self.acknowledge(out)
            }
            PacketKind::Proposal => self.propose_acknowledged(packet, out),
            _ => self.take_history(packet, out),
        }
    }

    pub(super) fn follow(&mut self, packet: QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match packet.kind {
            PacketKind::Proposal => self.propose_acknowledged(packet, out),
            PacketKind::Commit | PacketKind::Inform => {
                let before = self.committed;
                self.take_history(packet, out)?;
                if self.committed > before {
                    out.push(Action::Commit { upto: self.committed });
                }
                Ok(())
            }
            // The configuration is activated first, and only then its transaction applied.
            PacketKind::CommitAndActivate | PacketKind::InformAndActivate => {
                self.take_history(packet, out)?;
                out.push(Action::Commit { upto: self.committed });
                Ok(())
            }
            PacketKind::Ping => {
                self.ping = Some(packet.zxid);
                out.push(Action::TouchesWanted);
                Ok(())
            }
            PacketKind::Sync => {
                if let Some((session, cxid)) = self.syncs.pop_front() {
                    out.push(Action::SyncDone { session, cxid });
                }
                Ok(())
            }
            PacketKind::Revalidate => {
                let (session, valid) = bodies::decode_revalidated(packet.data.as_deref())?;
                out.push(Action::Revalidated { session, valid });
                Ok(())
            }
            PacketKind::Diff | PacketKind::Trunc | PacketKind::Snap | PacketKind::NewLeader => {
                Err(LeaveReason::Protocol("synchronisation begins anew on an established connection"))
            }
            _ => Ok(()),
        }
    }

    fn propose_acknowledged(&mut self, packet: QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        let zxid = packet.zxid;
        if self.propose(zxid, packet.data.unwrap_or_default(), out)? && self.config.kind == LearnerKind::Follower {
            self.unacknowledged.push_back(zxid);
            #[cfg(test)]
            if self.phase == Phase::Following && self.errs(crate::peer::mistake::Mistake::AckBeforeFlush) {
                let durable = std::mem::replace(&mut self.durable, self.seen);
                self.acknowledge(out)?;
                self.durable = durable;
            }
        }
        Ok(())
    }

    /// One ACK per durable proposal, in order.
    pub(super) fn acknowledge(&mut self, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        let mut acks = Vec::new();
        while let Some(zxid) = self.unacknowledged.pop_front_if(|zxid| *zxid <= self.durable) {
            acks.extend_from_slice(&QuorumPacket::bare(PacketKind::Ack, zxid).encode());
        }
        if acks.is_empty() { Ok(()) } else { self.send(Bytes::from(acks), out) }
    }

    pub(super) fn forward(&mut self, request: ForwardedRequest, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if self.phase != Phase::Following {
            return Ok(());
        }
        if request.opcode == SYNC_OPCODE {
            self.syncs.push_back((request.session, request.cxid));
        }
        self.send(request.into_packet().encode(), out)
    }
}
