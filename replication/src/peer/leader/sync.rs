//! Bringing one learner to this server's history (`LearnerHandler.syncFollower`, `startForwarding`).

use super::{Action, DisconnectReason, Leader, LearnerId, LinkPhase};
use crate::peer::history::{Gap, SyncFacts, SyncPlan, choose, follows, log_continues};
use crate::peer::wire::packet::{PacketKind, ProposalFrame, QuorumPacket};
use bytes::Bytes;
use engine::zxid::Zxid;

impl Leader {
    /// Chooses, and sends the sync operation where nothing has to be looked up first.
    pub(super) fn begin_sync(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let Some(link) = self.links.get(&learner) else { return };
        let (sid, last) = (link.sid, link.last);
        let facts = SyncFacts {
            learner_last: last,
            served: self.served,
            epoch: self.epoch,
            established: self.is_established(),
            former_epoch: self.former_epoch,
            log_base: self.log_base,
            force_snapshot: self.config.force_snapshot || self.snapshot_next.contains(&sid),
        };
        let plan = choose(&facts, &self.history);
        if self.is_too_busy(learner, plan) {
            self.doomed.push((learner, DisconnectReason::Busy));
            return;
        }
        match plan {
            SyncPlan::Diff { after } => self.send_operation(now_ms, learner, PacketKind::Diff, after, out),
            SyncPlan::Trunc { to } => self.send_operation(now_ms, learner, PacketKind::Trunc, to, out),
            SyncPlan::Log { after } => {
                self.set_phase(now_ms, learner, LinkPhase::Judging { after });
                self.read_log(learner, after, out);
            }
            SyncPlan::Snap => self.want_snapshot(now_ms, learner, out),
        }
    }

    /// Observers wait for better times when many synchronise; followers are needed (`LearnerSyncThrottler`).
    fn is_too_busy(&self, learner: LearnerId, plan: SyncPlan) -> bool {
        let streams = |phase| matches!(phase, LinkPhase::Pinning | LinkPhase::Streaming { .. });
        let under_way = self.links.values().filter(|link| link.is_synchronising());
        let (snapshots, others): (Vec<_>, Vec<_>) = under_way.partition(|link| streams(link.phase));
        let busy = match plan {
            SyncPlan::Snap => snapshots.len() >= self.config.snapshot_syncs_max,
            _ => others.len() >= self.config.diff_syncs_max,
        };
        busy && self.links.get(&learner).is_some_and(|link| link.observer)
    }

    fn set_phase(&mut self, now_ms: i64, learner: LearnerId, phase: LinkPhase) {
        if let Some(link) = self.links.get_mut(&learner) {
            (link.phase, link.heard_at) = (phase, now_ms);
        }
    }

    /// DIFF or TRUNC, then the entries behind `after`.
    fn send_operation(
        &mut self,
        now_ms: i64,
        learner: LearnerId,
        kind: PacketKind,
        after: Zxid,
        out: &mut Vec<Action>,
    ) {
        let zxid = if kind == PacketKind::Trunc { after } else { self.served };
        let Some(link) = self.links.get_mut(&learner) else { return };
        tracing::info!(sid = link.sid, last = %link.last, upto = %self.served, "a learner is synchronised by {kind:?}");
        link.send(learner, QuorumPacket::bare(kind, zxid).encode(), out);
        link.cursor = after;
        self.catch_up(now_ms, learner, out);
    }

    fn want_snapshot(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        self.set_phase(now_ms, learner, LinkPhase::Pinning);
        out.push(Action::SnapshotWanted { learner });
    }

    pub(super) fn snapshot_at(&mut self, now_ms: i64, learner: LearnerId, zxid: Zxid, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner).filter(|link| link.phase == LinkPhase::Pinning) else { return };
        tracing::info!(sid = link.sid, last = %link.last, upto = %zxid, "a learner is synchronised by Snap");
        link.send(learner, QuorumPacket::bare(PacketKind::Snap, zxid).encode(), out);
        self.set_phase(now_ms, learner, LinkPhase::Streaming { zxid });
    }

    pub(super) fn snapshot_bytes(&mut self, now_ms: i64, learner: LearnerId, bytes: Bytes, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner) else { return };
        if matches!(link.phase, LinkPhase::Streaming { .. }) {
            link.heard_at = if link.queued == 0 { now_ms } else { link.heard_at };
            link.send(learner, bytes, out);
            self.check_queue(learner);
        }
    }

    pub(super) fn snapshot_end(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner) else { return };
        if let LinkPhase::Streaming { zxid } = link.phase {
            link.cursor = zxid;
            let sid = link.sid;
            self.snapshot_next.remove(&sid);
            self.catch_up(now_ms, learner, out);
        }
    }

    fn read_log(&mut self, learner: LearnerId, after: Zxid, out: &mut Vec<Action>) {
        // What is behind it is in the list, and perhaps not on this server's disk yet.
        let (upto, bytes_max) = (self.history.base(), self.config.log_read_bytes);
        out.push(Action::ReadLog { learner, after, upto, bytes_max });
    }

    pub(super) fn log_read(
        &mut self,
        now_ms: i64,
        learner: LearnerId,
        entries: Vec<(Zxid, Bytes)>,
        done: bool,
        out: &mut Vec<Action>,
    ) {
        let served = self.served;
        let Some(link) = self.links.get_mut(&learner) else { return };
        let first = entries.first().map(|(zxid, _)| *zxid);
        match link.phase {
            LinkPhase::Judging { after } => {
                if !first.is_some_and(|first| log_continues(link.last, after, first)) {
                    return self.want_snapshot(now_ms, learner, out);
                }
                tracing::info!(sid = link.sid, last = %link.last, upto = %served,
                    "a learner is synchronised by Diff from the log on disk");
                link.send(learner, QuorumPacket::bare(PacketKind::Diff, served).encode(), out);
                link.cursor = link.last;
            }
            LinkPhase::Copying { reading: true } => {}
            _ => return,
        }
        let before = link.cursor;
        let lacking = entries.iter().filter(|(zxid, _)| *zxid > before).map(|(zxid, txn)| (*zxid, &txn[..]));
        let piece = history_piece(before, lacking);
        if !self.send_history(learner, piece, out) {
            return;
        }
        // What was asked for is not there: the log has been cut short behind the list's back.
        let advanced = self.links.get(&learner).is_some_and(|link| link.cursor > before);
        if done && !advanced && first != Some(before) {
            return self.gap(learner, before, first);
        }
        self.set_phase(now_ms, learner, LinkPhase::Copying { reading: false });
        self.check_queue(learner);
        self.catch_up(now_ms, learner, out);
    }

    /// Goes on copying: from the list, if it reaches the cursor; then this is the step that ends the synchronisation.
    pub(super) fn catch_up(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner) else { return };
        let cursor = link.cursor;
        if cursor < self.served && !self.history.reaches_back_to(cursor) {
            let reading = link.queued < self.config.log_read_bytes;
            self.set_phase(now_ms, learner, LinkPhase::Copying { reading });
            if self.log_base.is_none_or(|base| base > cursor) {
                self.gap(learner, cursor, Some(self.history.base()));
            } else if reading {
                self.read_log(learner, cursor, out);
            }
            return;
        }
        let mut left = self.config.step_bytes;
        let next = self.history.range(cursor, self.served).take_while(|(_, frame)| {
            let more = left > 0;
            left = left.saturating_sub(frame.bytes());
            more
        });
        let piece = history_piece(cursor, next.map(|(zxid, frame)| (zxid, frame.txn_bytes())));
        if !self.send_history(learner, piece, out) {
            return;
        }
        if self.links.get(&learner).is_some_and(|link| link.cursor < self.served) {
            // It goes on when the learner has read some of it.
            self.set_phase(now_ms, learner, LinkPhase::Copying { reading: false });
            return self.check_queue(learner);
        }
        self.register(now_ms, learner, out);
    }

    /// What is outstanding, and NEWLEADER. From here on the learner gets live traffic.
    fn register(&mut self, now_ms: i64, learner: LearnerId, out: &mut Vec<Action>) {
        let Some(link) = self.links.get_mut(&learner) else { return };
        if !link.observer {
            for (zxid, frame) in self.history.range(self.served, self.proposed) {
                link.send(learner, frame.proposal(), out);
                link.watch(zxid, now_ms);
            }
        }
        let text = self.configurations.last_seen().text.clone();
        let zero = Zxid::new(self.epoch, 0);
        link.send(learner, QuorumPacket::with_data(PacketKind::NewLeader, zero, text).encode(), out);
        self.set_phase(now_ms, learner, LinkPhase::Synchronised);
        self.check_queue(learner);
    }

    /// Sends a part of the history. False if it does not follow what the learner has.
    fn send_history(&mut self, learner: LearnerId, piece: Result<Piece, Gap>, out: &mut Vec<Action>) -> bool {
        match piece {
            Ok(Piece { bytes, last }) => {
                let Some(link) = self.links.get_mut(&learner) else { return false };
                if !bytes.is_empty() {
                    link.send(learner, bytes.into(), out);
                    (link.cursor, link.sent) = (last, last);
                }
                true
            }
            Err(Gap { zxid, last }) => {
                self.gap(learner, last, Some(zxid));
                false
            }
        }
    }

    /// No way on without a hole: the learner is to come back for a snapshot.
    fn gap(&mut self, learner: LearnerId, last: Zxid, next: Option<Zxid>) {
        if let Some(link) = self.links.get(&learner) {
            self.snapshot_next.insert(link.sid);
        }
        self.doomed.push((learner, DisconnectReason::Gap { last, next }));
    }

    pub(super) fn written(&mut self, now_ms: i64, learner: LearnerId, bytes: usize, out: &mut Vec<Action>) {
        let alive_until = now_ms + self.sync_limit_ms();
        let Some(link) = self.links.get_mut(&learner) else { return };
        link.queued = link.queued.saturating_sub(bytes);
        if link.is_synchronising() || link.phase == LinkPhase::Synchronised {
            // It reads, which is all that it can do meanwhile.
            link.heard_at = now_ms;
            link.alive_until = link.alive_until.max(alive_until);
        }
        if link.phase == (LinkPhase::Copying { reading: false }) && link.queued < self.config.log_read_bytes {
            self.catch_up(now_ms, learner, out);
        }
    }

    /// A learner that does not keep up is disconnected, before it costs the others anything.
    pub(super) fn check_queue(&mut self, learner: LearnerId) {
        let queue_bytes_max = self.config.queue_bytes_max;
        if self.links.get(&learner).is_some_and(|link| link.queued > queue_bytes_max) {
            self.doomed.push((learner, DisconnectReason::QueueFull(queue_bytes_max)));
        }
    }
}

/// Consecutive transactions of the history as they go to a learner.
struct Piece {
    bytes: Vec<u8>,
    /// The last of them; with none, what they were to follow.
    last: Zxid,
}

/// The transactions behind `last`, of each PROPOSAL and COMMIT, to observers too: in one piece, since a learner that lags
/// is sent hundreds of thousands.
fn history_piece<'a>(last: Zxid, entries: impl Iterator<Item = (Zxid, &'a [u8])>) -> Result<Piece, Gap> {
    let mut piece = Piece { bytes: Vec::new(), last };
    for (zxid, txn) in entries {
        if !follows(piece.last, zxid) {
            return Err(Gap { zxid, last: piece.last });
        }
        ProposalFrame::write(zxid, txn, &mut piece.bytes);
        QuorumPacket::bare(PacketKind::Commit, zxid).write(&mut piece.bytes);
        piece.last = zxid;
    }
    Ok(piece)
}
