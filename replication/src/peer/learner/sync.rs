//! From LEADERINFO to the acknowledgement of NEWLEADER (`Learner.registerWithLeader`, `syncWithLeader`).

use super::{Action, Learner, LearnerKind, LeaveReason, Phase, Stage};
use crate::peer::history::follows;
use crate::peer::wire::bodies::{self, epoch_zxid};
use crate::peer::wire::packet::{PacketKind, ProposalFrame, QuorumPacket};
use bytes::Bytes;
use engine::jute::Reader;
use engine::txn::{self, Txn};
use engine::zxid::Zxid;

impl Learner {
    pub(super) fn leader_info(&mut self, packet: &QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if packet.kind != PacketKind::LeaderInfo {
            return Err(LeaveReason::Protocol("LEADERINFO was expected first"));
        }
        self.epoch = packet.zxid.epoch();
        let accepted = self.accepted_epoch;
        if self.epoch < accepted {
            return Err(LeaveReason::StaleLeader { epoch: self.epoch, accepted });
        }
        if let Some(only) = self.config.only_epoch.filter(|only| *only != self.epoch) {
            return Err(LeaveReason::OtherEpoch { epoch: self.epoch, only });
        }
        if self.epoch == accepted {
            return self.ack_epoch(None, out);
        }
        self.phase = Phase::Promising;
        #[cfg(test)]
        if self.errs(crate::peer::mistake::Mistake::ForgetAcceptedEpoch) {
            return self.epoch_persisted(self.epoch, out);
        }
        out.push(Action::PersistAcceptedEpoch(self.epoch));
        Ok(())
    }

    pub(super) fn epoch_persisted(&mut self, epoch: u32, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match self.phase {
            Phase::Promising if epoch == self.epoch => {
                self.accepted_epoch = epoch;
                self.ack_epoch(Some(self.current_epoch), out)?;
            }
            Phase::Adopting if epoch == self.epoch => {
                self.current_epoch = epoch;
                self.ack_new_leader(out)?;
            }
            _ => return Ok(()),
        }
        self.decode(out)
    }

    /// A promise that was given before must not count again: its epoch goes as -1, its zxid still tells where to begin.
    fn ack_epoch(&mut self, current: Option<u32>, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        self.phase = Phase::Deciding;
        self.send(bodies::ack_epoch(self.seen, current).encode(), out)
    }

    pub(super) fn sync_operation(&mut self, packet: &QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match packet.kind {
            // The packet's zxid is the leader's; this server's moves with transactions only (ZOOKEEPER-2355).
            PacketKind::Diff => {
                self.committed = self.seen;
                self.phase = Phase::Collecting;
            }
            PacketKind::Trunc => {
                let to = packet.zxid;
                #[cfg(test)]
                if self.errs(crate::peer::mistake::Mistake::SkipTrunc) {
                    self.committed = to;
                    self.phase = Phase::Collecting;
                    return Ok(());
                }
                if to < self.applied || to > self.seen {
                    return Err(LeaveReason::CannotTruncate { to });
                }
                if !self.put_off_cut(to) {
                    self.cut(to, out);
                }
            }
            PacketKind::Snap => {
                let zxid = packet.zxid;
                self.stage = Some(Stage { zxid, entries: Vec::new(), bytes: 0 });
                self.phase = Phase::Loading;
                out.push(Action::SnapshotBegin { zxid });
            }
            _ => return Err(LeaveReason::Protocol("DIFF, TRUNC or SNAP was expected behind ACKEPOCH")),
        }
        Ok(())
    }

    fn cut(&mut self, to: Zxid, out: &mut Vec<Action>) {
        self.phase = Phase::Truncating { to };
        out.push(Action::Truncate { to });
    }

    /// A follower that comes back to the leader of an epoch that it has taken part in may have acknowledged proposals of
    /// it that are not committed. A Java leader has it cut them off, sends them again, and counts the former ACKs all the
    /// while: a crash in between could lose a transaction that is committed on their strength. So they stay, and are
    /// taken for logged when they come again. False if it cannot be done.
    fn put_off_cut(&mut self, to: Zxid) -> bool {
        let own = self.current_epoch == self.epoch && self.history.reaches_back_to(to);
        if !own || !self.history.range(to, self.seen).all(|(zxid, _)| zxid.epoch() == self.epoch) {
            return false;
        }
        self.kept = self.seen;
        (self.seen, self.committed) = (to, to);
        self.phase = Phase::Collecting;
        true
    }

    pub(super) fn truncated(&mut self, last: Zxid, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        let Phase::Truncating { to } = self.phase else { return Ok(()) };
        self.history.truncate(last);
        if last != to {
            return Err(LeaveReason::CannotTruncate { to });
        }
        if let Some(stage) = self.stage.take() {
            self.durable = to;
            return self.log_behind(to, stage, out);
        }
        if self.kept > to {
            // NEWLEADER has come, and not all that was kept.
            (self.kept, self.durable) = (Zxid::ZERO, to);
            return self.flush(out);
        }
        (self.seen, self.durable, self.committed) = (to, to, to);
        self.phase = Phase::Collecting;
        self.decode(out)
    }

    pub(super) fn snapshot_parsed(&mut self, rest: &Bytes, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        let (Phase::Loading, Some(stage)) = (self.phase, &self.stage) else { return Ok(()) };
        (self.seen, self.committed) = (stage.zxid, stage.zxid);
        self.phase = Phase::Collecting;
        self.decoder.push(rest);
        self.decode(out)
    }

    /// Between the sync operation and NEWLEADER.
    pub(super) fn collect(&mut self, packet: QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match packet.kind {
            PacketKind::NewLeader => self.new_leader(&packet, out),
            _ => self.take_history(packet, out),
        }
    }

    /// Transactions and commits of the synchronisation. What has no meaning here is passed over, as Java does.
    pub(super) fn take_history(&mut self, packet: QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        let zxid = packet.zxid;
        match packet.kind {
            PacketKind::Proposal => self.propose(zxid, packet.data.unwrap_or_default(), out).map(drop),
            PacketKind::Commit => self.commit(zxid),
            PacketKind::Inform => self.inform(zxid, packet.data.unwrap_or_default(), out),
            PacketKind::CommitAndActivate => {
                let (designated, _) = bodies::decode_activate(packet.data.as_ref())?;
                self.commit(zxid)?;
                out.push(Action::Activate { zxid, designated });
                Ok(())
            }
            PacketKind::InformAndActivate => {
                let (designated, txn) = bodies::decode_activate(packet.data.as_ref())?;
                self.inform(zxid, txn, out)?;
                out.push(Action::Activate { zxid, designated });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A proposal. False if it is a repetition, which is dropped: a Java leader reuses the zxid of the transaction
    /// before for a request that it cannot decode, and never commits it.
    pub(super) fn propose(&mut self, zxid: Zxid, txn: Bytes, out: &mut Vec<Action>) -> Result<bool, LeaveReason> {
        self.propose_framed(zxid, ProposalFrame::new(zxid, &txn), out)
    }

    pub(super) fn propose_framed(
        &mut self,
        zxid: Zxid,
        frame: ProposalFrame,
        out: &mut Vec<Action>,
    ) -> Result<bool, LeaveReason> {
        if zxid <= self.seen {
            tracing::warn!(%zxid, last = %self.seen, "the leader repeated a zxid; the proposal is dropped");
            return Ok(false);
        }
        if !follows(self.seen, zxid) {
            return Err(LeaveReason::Gap { zxid, last: self.seen });
        }
        if self.pending.len() >= self.config.pending_max {
            return Err(LeaveReason::PendingFull(self.config.pending_max));
        }
        let type_code = check_header(zxid, frame.txn_bytes())?;
        if type_code == RECONFIG
            && let (_, Txn::SetData { data: Some(text), .. }) = txn::decode(frame.txn_bytes())?
        {
            out.push(Action::LastSeen { text });
        }
        self.seen = zxid;
        self.pending.push_back(zxid);
        match &mut self.stage {
            Some(stage) => {
                stage.bytes += frame.bytes();
                stage.entries.push((zxid, frame));
                if stage.bytes > self.config.staged_bytes_max {
                    return Err(LeaveReason::StageFull(self.config.staged_bytes_max));
                }
            }
            None if zxid <= self.kept => {
                if self.history.get(zxid) != Some(&frame) {
                    return Err(LeaveReason::Protocol("a zxid stands for another transaction than before"));
                }
            }
            None => self.log(zxid, frame, out),
        }
        Ok(true)
    }

    fn log(&mut self, zxid: Zxid, frame: ProposalFrame, out: &mut Vec<Action>) {
        out.push(Action::Log { zxid, txn: frame.txn() });
        self.remember(zxid, frame);
    }

    fn remember(&mut self, zxid: Zxid, frame: ProposalFrame) {
        self.history.append(zxid, frame);
        // A follower serves nobody: what it will need as leader and has let go is in its log.
        self.history.settle(zxid);
    }

    /// COMMIT of the oldest proposal. A Java leader looks up its zxid for SNAP when it has begun to queue what comes
    /// behind: so it may send again, COMMIT included, what the snapshot holds.
    pub(super) fn commit(&mut self, zxid: Zxid) -> Result<(), LeaveReason> {
        if zxid <= self.committed && self.pending.front().is_none_or(|oldest| *oldest > zxid) {
            return Ok(());
        }
        if self.pending.front() != Some(&zxid) {
            return Err(LeaveReason::WrongCommit { zxid, expected: self.pending.front().copied() });
        }
        self.pending.pop_front();
        self.committed = zxid;
        Ok(())
    }

    /// Proposal and commit in one.
    pub(super) fn inform(&mut self, zxid: Zxid, txn: Bytes, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if self.config.kind != LearnerKind::Observer {
            return Err(LeaveReason::Protocol("INFORM is for observers"));
        }
        if self.propose(zxid, txn, out)? { self.commit(zxid) } else { Ok(()) }
    }

    fn new_leader(&mut self, packet: &QuorumPacket, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if packet.zxid != epoch_zxid(self.epoch) {
            return Err(LeaveReason::Protocol("NEWLEADER names another epoch than LEADERINFO"));
        }
        if let Some(text) = packet.data.as_ref().filter(|text| !text.is_empty()) {
            out.push(Action::LastSeen { text: text.clone() });
        }
        match self.stage.take() {
            // If the leader's log does not hold it either, it is lost: the role says so, and stops.
            Some(stage) if stage.zxid < self.applied && stage.has(self.applied) => {
                self.take_without_snapshot(stage, out)
            }
            Some(stage) => {
                let entries = stage.entries.iter().map(|(zxid, frame)| (*zxid, frame.txn())).collect();
                out.push(Action::SnapshotEnd { zxid: stage.zxid, entries });
                self.stage = Some(stage);
                self.phase = Phase::Installing;
                Ok(())
            }
            None if self.kept > self.seen => {
                self.cut(self.seen, out);
                Ok(())
            }
            None => self.flush(out),
        }
    }

    /// The leader has restarted, and has applied less than has taken effect here: its snapshot would go back. Its log
    /// does not, so a snapshot is not needed: what is behind the last transaction that both have is cut off, as by TRUNC,
    /// and the rest logged, as with DIFF.
    ///
    /// What a quorum may have committed is in the leader's log, all of which has come by NEWLEADER: its epoch began with a
    /// quorum's promises, and this server is not among those that lack the promise. What both have is not cut, not for a
    /// moment: this server may be one of a bare quorum that holds it.
    fn take_without_snapshot(&mut self, stage: Stage, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        let applied = self.applied;
        out.push(Action::SnapshotDrop);
        // Logs with a transaction in common are the same up to there.
        let end = self.outstanding.iter().copied().rev().find(|zxid| stage.has(*zxid)).unwrap_or(applied);
        let own = self.outstanding.last().copied().unwrap_or(applied);
        if end == own {
            return self.log_behind(own, stage, out);
        }
        self.stage = Some(stage);
        self.cut(end, out);
        Ok(())
    }

    /// Logs what came behind a snapshot that is not needed, as far as it is not in the log.
    fn log_behind(&mut self, last: Zxid, stage: Stage, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        for (zxid, frame) in stage.entries.into_iter().filter(|(zxid, _)| *zxid > last) {
            self.log(zxid, frame, out);
        }
        self.flush(out)
    }

    pub(super) fn snapshot_installed(&mut self, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if self.phase != Phase::Installing {
            return Ok(());
        }
        let Some(stage) = self.stage.take() else { return Ok(()) };
        self.history.reset(stage.zxid);
        for (zxid, frame) in stage.entries {
            self.remember(zxid, frame);
        }
        (self.durable, self.applied) = (self.seen, stage.zxid);
        self.flush(out)
    }

    /// The log first, then the current epoch, then the acknowledgement (ZOOKEEPER-3911, 4643, 4646).
    fn flush(&mut self, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        self.phase = Phase::Flushing;
        #[cfg(test)]
        if self.errs(crate::peer::mistake::Mistake::AckBeforeFlush) {
            return self.adopt(out);
        }
        if self.durable >= self.seen { self.adopt(out) } else { Ok(()) }
    }

    pub(super) fn log_is_durable(&mut self, durable: Zxid, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match self.phase {
            // The log is being replaced: what it held does not count.
            Phase::Truncating { .. } | Phase::Installing => return Ok(()),
            _ => self.durable = self.durable.max(durable.min(self.seen)),
        }
        match self.phase {
            Phase::Flushing if self.durable >= self.seen => self.adopt(out),
            Phase::Following => self.acknowledge(out),
            _ => Ok(()),
        }
    }

    fn adopt(&mut self, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        self.phase = Phase::Adopting;
        if self.current_epoch < self.epoch {
            out.push(Action::PersistCurrentEpoch(self.epoch));
            return Ok(());
        }
        self.ack_new_leader(out)?;
        self.decode(out)
    }

    fn ack_new_leader(&mut self, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        self.phase = Phase::Waiting;
        if self.config.kind == LearnerKind::Follower {
            self.unacknowledged.extend(&self.pending);
        }
        self.send(QuorumPacket::bare(PacketKind::Ack, epoch_zxid(self.epoch)).encode(), out)
    }
}

/// Type of a reconfiguration in a transaction's header.
const RECONFIG: i32 = 16;

/// The transaction's own header must name the same place. Gives its type.
fn check_header(zxid: Zxid, txn: &[u8]) -> Result<i32, LeaveReason> {
    let mut r = Reader::new(txn);
    r.long()?;
    r.int()?;
    let named = Zxid::from_wire(r.long()?);
    r.long()?;
    let type_code = r.int()?;
    if named != zxid {
        return Err(LeaveReason::Protocol("a proposal's zxid is not its transaction's"));
    }
    Ok(type_code)
}
