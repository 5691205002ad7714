//! One step: which input means what in which mode, what time brings, and the end of a shutdown.

use super::learners::Forwarded;
use super::{Action, Input, Mode, Now, Role, RoleFault, Stopping};
use engine::zxid::Zxid;

impl Role {
    /// Takes one input and appends what is to be done. What does not belong to the mode is passed over: it was under way
    /// when the mode changed.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        if self.has_failed {
            return;
        }
        match input {
            Input::Durable(zxid) => {
                self.point.durable_here(zxid);
                self.commit_ready(out);
                self.run_timers(now, out);
            }
            Input::Committed(zxid) => self.decided(zxid, out),
            Input::Measured { path, usage } => {
                self.measured(now, path, usage, out);
                self.commit_ready(out);
            }
            Input::GoOn => self.commit_ready(out),
            Input::Disconnected { session, core, conn } => self.disconnected(session, core, conn),
            Input::ServeReadOnly => self.serve_read_only(),
            Input::CheckpointDue => self.checkpoint(out),
            Input::Shutdown => {
                self.stopping = Stopping::Draining;
                self.finish_draining(out);
            }
            Input::Proposal { .. } | Input::SyncReturned | Input::Revalidated { .. } => {
                if self.mode == Mode::Following {
                    self.step_following(input, out);
                    self.finish_draining(out);
                }
            }
            // What comes before serving or after draining gets no answer: its connection is closed.
            _ if self.stopping != Stopping::No => {}
            Input::Forwarded { .. }
            | Input::ForwardedSync { .. }
            | Input::LearnerTouched { .. }
            | Input::LearnerRevalidate { .. }
            | Input::LearnerGone { .. } => {
                if matches!(self.mode, Mode::Leading { .. }) {
                    self.step_leading(now, input, out);
                }
            }
            _ => match self.mode {
                Mode::Replaying => {}
                Mode::Looking => self.step_read_only(now, input, out),
                Mode::Following => self.step_client_of_follower(now, input, out),
                Mode::Standalone | Mode::Leading { .. } => self.step_client(now, input, out),
            },
        }
    }

    fn step_client(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Write(request) => {
                if let Some(request) = self.screened(now, request, out) {
                    self.write(now, request, out);
                }
            }
            Input::Sync { origin, session } => self.sync(now, origin, session, out),
            Input::Connect(request) => {
                if let Some(request) = self.connect_local(now, request, out) {
                    self.connect(now, request, out);
                }
            }
            Input::Touch(mut sessions) => {
                self.touch_local(now, &mut sessions);
                for session in sessions {
                    self.sessions.touch(session, now.mono_ms);
                }
            }
            Input::Ephemerals { origin, session, prefix } => {
                out.push(self.ephemerals(origin, session, prefix.as_deref()));
            }
            Input::Tick => {
                self.expire_local(now, out);
                self.run_timers(now, out);
            }
            _ => {}
        }
    }

    fn step_client_of_follower(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Write(request) => {
                if let Some(request) = self.screened(now, request, out) {
                    self.forward_write(request, out);
                }
            }
            Input::Sync { origin, session } => self.forward_sync(origin, session, out),
            Input::Connect(request) => {
                if let Some(request) = self.connect_local(now, request, out) {
                    self.forward_connect(request, out);
                }
            }
            Input::Tick => self.expire_local(now, out),
            Input::Touch(mut sessions) => {
                self.touch_local(now, &mut sessions);
                for session in sessions {
                    self.sessions.hear(session);
                }
            }
            Input::Ephemerals { origin, session, prefix } => {
                out.push(self.ephemerals(origin, session, prefix.as_deref()));
            }
            _ => {}
        }
    }

    fn step_following(&mut self, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Proposal { zxid, bytes } => self.proposal(zxid, bytes, out),
            Input::SyncReturned => self.sync_returned(out),
            Input::Revalidated { session, valid } => self.revalidated(session, valid, out),
            _ => {}
        }
    }

    fn step_leading(&mut self, now: Now, input: Input, out: &mut Vec<Action>) {
        match input {
            Input::Forwarded { learner, session, cxid, opcode, body, ids } => {
                self.forwarded(now, Forwarded { learner, session, cxid, opcode, body, ids }, out);
            }
            Input::ForwardedSync { learner } => self.learner_sync(learner, out),
            Input::LearnerTouched { sessions } => self.learner_touched(now, sessions),
            Input::LearnerRevalidate { learner, session, timeout_ms } => {
                self.learner_revalidate(now, learner, session, timeout_ms, out);
            }
            Input::LearnerGone { learner } => self.learner_gone(learner),
            _ => {}
        }
    }

    /// The quorum's word.
    fn decided(&mut self, zxid: Zxid, out: &mut Vec<Action>) {
        if !matches!(self.mode, Mode::Leading { .. } | Mode::Following) {
            return;
        }
        if zxid > self.proposed && zxid.counter() != 0 {
            return self.fail(RoleFault::CommitAhead { zxid, last: self.proposed }, out);
        }
        self.point.decide(zxid.min(self.proposed));
        self.answer_learner_syncs(out);
        self.commit_ready(out);
    }

    pub(super) fn fail(&mut self, fault: RoleFault, out: &mut Vec<Action>) {
        self.has_failed = true;
        out.push(Action::Fail(fault));
    }

    /// Only who decides on the order lets time pass for sessions and containers.
    pub(super) fn has_timers(&self) -> bool {
        let leads = matches!(self.mode, Mode::Standalone | Mode::Leading { .. });
        leads && self.stopping == Stopping::No && !self.resigning && !self.has_failed
    }

    /// Expiry and reaping, as far as there is room for what they propose.
    fn run_timers(&mut self, now: Now, out: &mut Vec<Action>) {
        while self.has_timers()
            && self.has_room()
            && let Some(session) = self.sessions.next_expired(now.mono_ms)
        {
            self.counters.sessions_expired += 1;
            self.propose_close(now, session, out);
        }
        while self.has_timers()
            && self.has_room()
            && let Some(path) = self.reaper.next(now, &self.ledger)
        {
            self.counters.reaped += 1;
            self.propose_reap(now, &path, out);
        }
    }

    pub(super) fn finish_draining(&mut self, out: &mut Vec<Action>) {
        if self.stopping == Stopping::Draining && !self.owes_answers() {
            self.stopping = Stopping::Drained;
            out.push(Action::Drained { zxid: self.committed });
        }
    }

    /// Whether anything is outstanding that somebody waits for. What the leader sends goes on for ever, and what nobody
    /// leads stays in the log.
    fn owes_answers(&self) -> bool {
        match self.mode {
            Mode::Looking => false,
            Mode::Following => {
                let waited_for = self.outstanding.has_waiter();
                let with_leader = self.waiting.len() + self.revalidating.len() + self.forwarded_syncs.len();
                waited_for || with_leader > 0 || !self.syncs.is_empty()
            }
            Mode::Replaying | Mode::Standalone | Mode::Leading { .. } => !self.outstanding.is_empty(),
        }
    }
}
