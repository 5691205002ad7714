//! What the leader knows of one learner (`LearnerHandler`).

use super::{Action, LearnerId};
use crate::peer::wire::packet::PacketDecoder;
use bytes::Bytes;
use engine::zxid::Zxid;

/// How far a learner has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LinkPhase {
    /// FOLLOWERINFO or OBSERVERINFO is expected.
    Presenting,
    /// The epoch is not decided.
    AwaitingEpoch,
    /// LEADERINFO was sent, ACKEPOCH is expected.
    Promising,
    /// ACKEPOCH came; a quorum of them is awaited.
    Promised,
    /// The log is read to see whether the learner's end is in it; behind which zxid.
    Judging { after: Zxid },
    /// History is being copied from the log.
    Copying { reading: bool },
    /// The state is being pinned.
    Pinning,
    /// A snapshot is being sent.
    Streaming { zxid: Zxid },
    /// NEWLEADER was sent, its ACK is expected. From here on live traffic is kept for the learner.
    Synchronised,
    /// The ACK came; UPTODATE waits for the leader to be established.
    Acknowledged,
    /// UPTODATE was sent.
    Serving,
}

/// One learner's connection.
#[derive(Debug)]
pub(super) struct Link {
    pub phase: LinkPhase,
    pub decoder: PacketDecoder,
    pub sid: u64,
    pub observer: bool,
    /// The end of its log, from ACKEPOCH.
    pub last: Zxid,
    /// History has been sent up to here.
    pub cursor: Zxid,
    /// The last PROPOSAL or INFORM that is on its way to the learner.
    pub sent: Zxid,
    /// Syncs that it has asked for and that are not answered.
    pub syncs: usize,
    /// Bytes handed out and not yet written, and bytes held back.
    pub queued: usize,
    /// What is held back between NEWLEADER and UPTODATE. Some Java releases cannot take a COMMIT there.
    held: Vec<Bytes>,
    /// Monotonic milliseconds of the last sign of life.
    pub heard_at: i64,
    /// Until when it counts as alive.
    pub alive_until: i64,
    /// The oldest proposal whose ACK is watched for, and when it went out; and the newest, which is next.
    watched: Option<(Zxid, i64)>,
    newest: Option<(Zxid, i64)>,
}

impl Link {
    pub fn new(now_ms: i64, decoder: PacketDecoder) -> Link {
        Link {
            phase: LinkPhase::Presenting,
            decoder,
            sid: 0,
            observer: false,
            last: Zxid::ZERO,
            cursor: Zxid::ZERO,
            sent: Zxid::ZERO,
            syncs: 0,
            queued: 0,
            held: Vec::new(),
            heard_at: now_ms,
            alive_until: i64::MIN,
            watched: None,
            newest: None,
        }
    }

    /// Whether proposals and commits go to it as they happen.
    pub fn is_live(&self) -> bool {
        matches!(self.phase, LinkPhase::Synchronised | LinkPhase::Acknowledged | LinkPhase::Serving)
    }

    /// Whether it has got a sync operation and not yet NEWLEADER.
    pub fn is_synchronising(&self) -> bool {
        matches!(
            self.phase,
            LinkPhase::Judging { .. } | LinkPhase::Copying { .. } | LinkPhase::Pinning | LinkPhase::Streaming { .. }
        )
    }

    /// Whether it counts for the quorum that keeps a leader in office.
    pub fn is_alive(&self, now_ms: i64) -> bool {
        match self.phase {
            LinkPhase::Presenting | LinkPhase::AwaitingEpoch | LinkPhase::Promising => false,
            // It is this server that lets it wait.
            LinkPhase::Promised | LinkPhase::Acknowledged | LinkPhase::Pinning | LinkPhase::Judging { .. } => true,
            _ => now_ms < self.alive_until,
        }
    }

    /// Sends at once.
    pub fn send(&mut self, learner: LearnerId, bytes: Bytes, out: &mut Vec<Action>) {
        self.queued += bytes.len();
        out.push(Action::Send { learner, bytes });
    }

    /// Sends in the one order of live traffic.
    pub fn pass(&mut self, learner: LearnerId, bytes: Bytes, out: &mut Vec<Action>) {
        if self.phase == LinkPhase::Serving {
            self.send(learner, bytes, out);
        } else {
            self.queued += bytes.len();
            self.held.push(bytes);
        }
    }

    /// What was held back goes out.
    pub fn release(&mut self, learner: LearnerId, out: &mut Vec<Action>) {
        out.extend(std::mem::take(&mut self.held).into_iter().map(|bytes| Action::Send { learner, bytes }));
    }

    /// A PROPOSAL goes out, whose ACK is due some time.
    pub fn watch(&mut self, zxid: Zxid, now_ms: i64) {
        self.sent = zxid;
        if self.watched.is_none() {
            self.watched = Some((zxid, now_ms));
        } else {
            self.newest = Some((zxid, now_ms));
        }
    }

    /// An ACK came. ACKs come in order, so once the oldest is there only what went out later can be missing. Watching
    /// two at a time bounds the memory; the newest may be younger than the oldest missing one, never older.
    pub fn acknowledged(&mut self, zxid: Zxid) {
        if self.watched.is_some_and(|(watched, _)| zxid >= watched) {
            self.watched = self.newest.take().filter(|(newest, _)| zxid < *newest);
        }
    }

    /// The learner may begin to acknowledge: time runs from now.
    pub fn restart_watch(&mut self, now_ms: i64) {
        for (_, since) in self.watched.iter_mut().chain(&mut self.newest) {
            *since = now_ms;
        }
    }

    /// The proposal watched for, and since when.
    pub fn watched(&self) -> Option<(Zxid, i64)> {
        self.watched
    }
}
