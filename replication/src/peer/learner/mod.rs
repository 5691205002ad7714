//! A learner: from the address of an elected leader to leaving it (`Learner`, `Follower`, `Observer`).
//!
//! ```text
//! Connecting -> Presenting -> Promising -> Deciding -+-> Truncating --+-> Collecting -> Installing -> Flushing
//!               (FOLLOWERINFO) (disk)      (ACKEPOCH) +-> Loading -----+   (PROPOSAL,    (SNAP only)  (log)
//!                                                    +----------------+    COMMIT ...)                  |
//!                              Following <- Waiting <- Adopting <--- NEWLEADER ------------------------ +
//!                              (UPTODATE)   (ACK)      (disk)
//! ```
//!
//! * **Nothing is said before it is durable**: the accepted epoch before ACKEPOCH; the log, then the current epoch before
//!   NEWLEADER is acknowledged; each proposal before its own ACK. Where the disk has to answer first, packets that have
//!   arrived wait undecoded.
//! * **Nothing is committed before UPTODATE.** What a leader sends as committed while synchronising is its own history,
//!   which counts only once a quorum has taken it.
//! * With DIFF and TRUNC transactions go to the log as they come: a prefix of the leader's history under the old current
//!   epoch overstates nothing.
//!
//! # A snapshot takes the place of everything, or of nothing
//!
//! The log that goes with SNAP may hold transactions behind the snapshot's zxid that this server has acknowledged, and
//! that are committed on its word: a leader that is not established has applied less than its log holds, and one whose own
//! disk is late less than others have committed. They come again behind the snapshot, before NEWLEADER. If the old log
//! went first, a crash in between would lose this server's copy. So nothing of what was there goes before all of
//! that has come ([`LearnerConfig::staged_bytes_max`] bounds it in memory), and then it all changes by one write: the
//! host has the snapshot's files and a manifest for them flushed *beside* those in use, and the log is begun anew by a
//! single batch with every transaction up to NEWLEADER ([`WalWriter::reset`]). If that batch is whole the manifest
//! beside is in force, also for a server that restarts; if not, the old one is, with the old log. With the new
//! ones under the former current epoch this server has the leader's initial history in full, and overstates nothing.
//! Until it is settled which of them counts, this server takes part in nothing else.
//!
//! A snapshot that would lead back behind what has taken effect here is not needed: the leader's log has that too, and all
//! that it holds behind the snapshot has come by NEWLEADER. So it is taken like TRUNC and DIFF.
//!
//! [`WalWriter::reset`]: crate::wal::WalWriter::reset

mod broadcast;
mod io;
mod reason;
mod sync;

#[cfg(test)]
mod tests;

pub use io::{Action, Input, LearnerConfig, LearnerKind, LearnerStart};
pub use reason::LeaveReason;

use crate::peer::history::History;
use crate::peer::wire::bodies::{self, LearnerInfo, PROTOCOL_VERSION, epoch_zxid};
use crate::peer::wire::packet::{PacketDecoder, PacketKind, ProposalFrame, QuorumPacket};
use bytes::Bytes;
use engine::ids::SessionId;
use engine::zxid::Zxid;
use std::collections::VecDeque;

/// The pauses between tries to connect, in milliseconds: as long in all as Java's four (`Learner.connectToLeader`), and
/// short ones first, since a server that has just been elected opens its port at about the same time.
const CONNECT_PAUSES_MS: [i64; 7] = [10, 20, 40, 80, 100, 100, 100];
/// Undecoded bytes beyond which [`Learner::has_room`] says no, on top of one packet.
const INBOX_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Connecting { tries: usize, retry_at: Option<i64>, give_up_at: i64 },
    Presenting,
    Promising,
    Deciding,
    Truncating { to: Zxid },
    Loading,
    Collecting,
    Installing,
    Flushing,
    Adopting,
    Waiting,
    Following,
    Left,
}

/// A snapshot on its way, and what came behind it.
#[derive(Debug)]
struct Stage {
    zxid: Zxid,
    entries: Vec<(Zxid, ProposalFrame)>,
    bytes: usize,
}

impl Stage {
    /// Whether this transaction came behind the snapshot.
    fn has(&self, zxid: Zxid) -> bool {
        self.entries.binary_search_by_key(&zxid, |(theirs, _)| *theirs).is_ok()
    }
}

/// The state machine. See the module's text.
#[derive(Debug)]
pub struct Learner {
    config: LearnerConfig,
    phase: Phase,
    decoder: PacketDecoder,
    heard_at: i64,
    accepted_epoch: u32,
    current_epoch: u32,
    /// The leader's.
    epoch: u32,
    history: History,
    applied: Zxid,
    /// What the log held behind `applied` when this began.
    outstanding: Vec<Zxid>,
    stage: Option<Stage>,
    /// The last transaction proposed on this connection, or the end of the log before.
    seen: Zxid,
    /// The end of what is in the log beyond `seen`, where a cut was put off: see [`Learner::put_off_cut`].
    kept: Zxid,
    durable: Zxid,
    /// Committed as far as the leader says.
    committed: Zxid,
    /// Proposed and not committed.
    pending: VecDeque<Zxid>,
    /// Proposed, and to be acknowledged once durable.
    unacknowledged: VecDeque<Zxid>,
    /// The zxid of a PING that waits for its touches.
    ping: Option<Zxid>,
    syncs: VecDeque<(SessionId, i32)>,
    /// Bytes handed out and not yet written.
    queued: usize,
}

impl Learner {
    /// Begins to follow or observe; the first action is to connect.
    pub fn new(now_ms: i64, config: LearnerConfig, start: LearnerStart, out: &mut Vec<Action>) -> Learner {
        let ticks = if config.connect_limit > 0 { config.connect_limit } else { config.init_limit };
        let timeout_ms = ticks * config.tick_ms;
        out.push(Action::Connect { timeout_ms });
        let last = start.last.get();
        let mut history = start.history;
        if history.last() != last {
            history.reset(last);
        }
        Learner {
            phase: Phase::Connecting { tries: 0, retry_at: None, give_up_at: now_ms + timeout_ms },
            decoder: PacketDecoder::new(config.data_bytes_max),
            heard_at: now_ms,
            accepted_epoch: start.accepted_epoch,
            current_epoch: start.current_epoch,
            epoch: 0,
            history,
            applied: start.applied,
            outstanding: start.outstanding,
            stage: None,
            seen: last,
            kept: Zxid::ZERO,
            durable: last,
            committed: Zxid::ZERO,
            pending: VecDeque::new(),
            unacknowledged: VecDeque::new(),
            ping: None,
            syncs: VecDeque::new(),
            queued: 0,
            config,
        }
    }

    /// Takes one input and appends what is to be done. `now_ms` is a monotonic clock.
    pub fn step(&mut self, now_ms: i64, input: Input, out: &mut Vec<Action>) {
        if self.phase == Phase::Left {
            return;
        }
        if let Err(reason) = self.take(now_ms, input, out) {
            self.phase = Phase::Left;
            out.push(Action::Leave(reason));
        }
    }

    /// When [`Input::Tick`] is due; `None` while only the host's own work is waited for.
    pub fn next_deadline(&self) -> Option<i64> {
        match self.phase {
            Phase::Connecting { retry_at, give_up_at, .. } => Some(retry_at.unwrap_or(give_up_at).min(give_up_at)),
            _ => self.silence_limit().map(|limit_ms| self.heard_at + limit_ms),
        }
    }

    /// Whether more bytes may be read from the leader.
    pub fn has_room(&self) -> bool {
        self.decoder.waiting() < INBOX_BYTES + self.config.data_bytes_max
    }

    /// Bytes handed out and not yet written.
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Committed as far as the leader has said.
    pub fn committed(&self) -> Zxid {
        self.committed
    }

    /// Whether UPTODATE has come.
    pub fn is_following(&self) -> bool {
        self.phase == Phase::Following
    }

    /// The recent end of the log, for the next role.
    pub fn into_history(self) -> History {
        self.history
    }

    fn take(&mut self, now_ms: i64, input: Input, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        match input {
            // The connection to the leader before, which is being closed.
            Input::Received(_) | Input::Disconnected if matches!(self.phase, Phase::Connecting { .. }) => Ok(()),
            Input::Connected => self.present(now_ms, out),
            Input::ConnectFailed => self.connect_failed(now_ms),
            Input::Received(bytes) => {
                self.heard_at = now_ms;
                if self.phase == Phase::Loading {
                    out.push(Action::SnapshotBytes(bytes));
                    return Ok(());
                }
                self.decoder.push(&bytes);
                self.decode(out)
            }
            Input::Written(bytes) => {
                self.queued = self.queued.saturating_sub(bytes);
                Ok(())
            }
            Input::Disconnected => Err(LeaveReason::Disconnected),
            Input::EpochPersisted(epoch) => {
                self.heard_at = now_ms;
                self.epoch_persisted(epoch, out)
            }
            Input::Truncated { last } => {
                self.heard_at = now_ms;
                self.truncated(last, out)
            }
            Input::SnapshotParsed { rest } => {
                self.heard_at = now_ms;
                self.snapshot_parsed(&rest, out)
            }
            Input::SnapshotInstalled => {
                self.heard_at = now_ms;
                self.snapshot_installed(out)
            }
            Input::Durable(durable) => {
                if self.phase == Phase::Flushing {
                    self.heard_at = now_ms;
                }
                self.log_is_durable(durable.get(), out)
            }
            Input::Touches(sessions) => match self.ping.take() {
                Some(zxid) => self.send(bodies::ping_reply(zxid, &sessions).encode(), out),
                None => Ok(()),
            },
            Input::Forward(request) => self.forward(request, out),
            Input::Revalidate { session, timeout_ms } if self.phase == Phase::Following => {
                self.send(bodies::revalidate(session, timeout_ms).encode(), out)
            }
            Input::Revalidate { .. } => Ok(()),
            Input::Tick => self.tick(now_ms, out),
        }
    }

    fn present(&mut self, now_ms: i64, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if !matches!(self.phase, Phase::Connecting { .. }) {
            return Ok(());
        }
        let kind = match self.config.kind {
            LearnerKind::Follower => PacketKind::FollowerInfo,
            LearnerKind::Observer => PacketKind::ObserverInfo,
        };
        let info = LearnerInfo {
            sid: Some(self.config.sid),
            protocol: PROTOCOL_VERSION,
            config_version: self.config.config_version,
        };
        self.phase = Phase::Presenting;
        self.heard_at = now_ms;
        self.send(QuorumPacket::with_data(kind, epoch_zxid(self.accepted_epoch), info.encode()).encode(), out)
    }

    fn connect_failed(&mut self, now_ms: i64) -> Result<(), LeaveReason> {
        let Phase::Connecting { tries, ref mut retry_at, give_up_at } = self.phase else { return Ok(()) };
        match CONNECT_PAUSES_MS.get(tries) {
            Some(pause_ms) if now_ms + pause_ms < give_up_at => {
                *retry_at = Some(now_ms + pause_ms);
                Ok(())
            }
            _ => Err(self.unreachable()),
        }
    }

    fn unreachable(&self) -> LeaveReason {
        let ticks = if self.config.connect_limit > 0 { self.config.connect_limit } else { self.config.init_limit };
        LeaveReason::Unreachable { limit_ms: ticks * self.config.tick_ms }
    }

    fn tick(&mut self, now_ms: i64, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        if let Phase::Connecting { tries, retry_at, give_up_at } = self.phase {
            if now_ms >= give_up_at {
                return Err(self.unreachable());
            }
            if retry_at.is_some_and(|at| now_ms >= at) {
                self.phase = Phase::Connecting { tries: tries + 1, retry_at: None, give_up_at };
                out.push(Action::Connect { timeout_ms: give_up_at - now_ms });
            }
            return Ok(());
        }
        match self.silence_limit() {
            Some(limit_ms) if now_ms >= self.heard_at + limit_ms => Err(LeaveReason::Silence { limit_ms }),
            _ => Ok(()),
        }
    }

    /// How long the leader may be silent, in milliseconds; `None` while it cannot be heard because this server's own
    /// disk is at work.
    fn silence_limit(&self) -> Option<i64> {
        match self.phase {
            Phase::Presenting | Phase::Deciding | Phase::Loading | Phase::Collecting => {
                Some(self.config.init_limit * self.config.tick_ms)
            }
            Phase::Waiting | Phase::Following => Some(self.config.sync_limit * self.config.tick_ms),
            Phase::Promising | Phase::Truncating { .. } | Phase::Installing | Phase::Flushing | Phase::Adopting => None,
            Phase::Connecting { .. } | Phase::Left => None,
        }
    }

    /// Decodes and handles packets until they run out or have to wait for the disk.
    fn decode(&mut self, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        loop {
            if self.phase == Phase::Collecting
                && let Some((zxid, frame)) = self.decoder.next_proposal()?
            {
                self.propose_framed(zxid, frame, out)?;
                continue;
            }
            let packet = match self.phase {
                Phase::Presenting | Phase::Deciding | Phase::Collecting | Phase::Waiting | Phase::Following => {
                    self.decoder.next()?
                }
                Phase::Loading => {
                    let rest = self.decoder.take_rest();
                    if !rest.is_empty() {
                        out.push(Action::SnapshotBytes(rest));
                    }
                    None
                }
                _ => None,
            };
            let Some(packet) = packet else { return Ok(()) };
            match self.phase {
                Phase::Presenting => self.leader_info(&packet, out)?,
                Phase::Deciding => self.sync_operation(&packet, out)?,
                Phase::Collecting => self.collect(packet, out)?,
                Phase::Waiting => self.wait_for_uptodate(packet, out)?,
                _ => self.follow(packet, out)?,
            }
        }
    }

    fn send(&mut self, bytes: Bytes, out: &mut Vec<Action>) -> Result<(), LeaveReason> {
        self.queued += bytes.len();
        if self.queued > self.config.queue_bytes_max {
            return Err(LeaveReason::QueueFull(self.config.queue_bytes_max));
        }
        out.push(Action::Send(bytes));
        Ok(())
    }

    #[cfg(test)]
    fn errs(&self, mistake: crate::peer::mistake::Mistake) -> bool {
        self.config.mistake == Some(mistake)
    }
}
