//! Committing: what a quorum has on disk is resolved, routed, published and answered, in zxid order.

use super::outstanding::{Proposal, Waiter};
use super::{Action, Mode, Now, Role};
use crate::ledger::{SubtreeUsage, answer};
use crate::request::WriteAnswer;
use crate::session::{Connection, Owner, password};
use engine::ids::{Origin, SessionId};
use engine::txn::{Txn, TxnHeader};
use engine::zxid::Zxid;
use std::sync::Arc;

/// Usages that the next transaction waits for.
#[derive(Debug)]
pub struct Measuring {
    /// The transaction; `None` if they are those of all quotas, counted afresh at the start.
    wanted_by: Option<Zxid>,
    waiting: Vec<Arc<str>>,
    known: Vec<(Arc<str>, SubtreeUsage)>,
}

impl Role {
    /// Whether more could be committed than one step was to: the host answers with [`Input::GoOn`](super::Input::GoOn) as
    /// soon as it has carried out what the last step said.
    pub fn has_ready(&self) -> bool {
        let commits = !self.has_failed && !matches!(self.mode, Mode::Replaying | Mode::Looking);
        let measures = self.measuring.as_ref().is_some_and(|measuring| !measuring.waiting.is_empty());
        commits && !measures && self.outstanding.front().is_some_and(|front| front.header.zxid <= self.point.ready())
    }

    /// Commits all that may be, as far as one step goes. Routes go out one by one, one publication follows them, and then everything that holds
    /// from there on.
    pub(super) fn commit_ready(&mut self, out: &mut Vec<Action>) {
        if matches!(self.mode, Mode::Replaying | Mode::Looking) {
            return;
        }
        let before = self.committed;
        let mut held = std::mem::take(&mut self.held);
        let mut measures: Vec<Action> = Vec::new();
        let mut left = self.config.commit_step.max(1);
        while left > 0
            && let Some(known) = self.next_ready(&mut measures)
        {
            left -= 1;
            let Some(proposal) = self.outstanding.pop() else { break };
            self.commit_one(proposal, known, out, &mut held);
        }
        if self.committed > before {
            out.push(Action::Publish { commit: self.committed });
        }
        out.append(&mut held);
        self.held = held;
        self.answer_syncs(out);
        out.append(&mut measures);
        self.finish_draining(out);
    }

    /// If the oldest outstanding transaction may be committed now: the usages that had to be known for it.
    fn next_ready(&mut self, measures: &mut Vec<Action>) -> Option<Vec<(Arc<str>, SubtreeUsage)>> {
        let front = self.outstanding.front().filter(|front| front.header.zxid <= self.point.ready())?;
        if self.measuring.as_ref().is_some_and(|measuring| !measuring.waiting.is_empty()) {
            return None;
        }
        // A transaction that asked and was cut off the log afterwards leaves its answers to nobody.
        if let Some(measuring) = self.measuring.take()
            && measuring.wanted_by == Some(front.header.zxid)
        {
            return Some(measuring.known);
        }
        let waiting = self.ledger.unmeasured(&front.txn);
        if waiting.is_empty() {
            return Some(Vec::new());
        }
        let wanted_by = Some(front.header.zxid);
        self.measure(wanted_by, waiting, measures);
        None
    }

    /// Every quota is counted once after a start. Nothing commits before that is over.
    pub(super) fn count_quotas(&mut self, out: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.quotas_are_counted, true) {
            let waiting = self.ledger.quotas_to_count();
            if !waiting.is_empty() {
                self.measure(None, waiting, out);
            }
        }
    }

    fn measure(&mut self, wanted_by: Option<Zxid>, waiting: Vec<Arc<str>>, out: &mut Vec<Action>) {
        let at = self.committed;
        out.extend(waiting.iter().map(|path| Action::Measure { path: path.clone(), at }));
        self.measuring = Some(Measuring { wanted_by, waiting, known: Vec::new() });
    }

    pub(super) fn measured(&mut self, now: Now, path: Arc<str>, usage: SubtreeUsage, out: &mut Vec<Action>) {
        let Some(measuring) = &mut self.measuring else { return };
        let Some(at) = measuring.waiting.iter().position(|waiting| *waiting == path) else { return };
        measuring.waiting.swap_remove(at);
        measuring.known.push((path, usage));
        if measuring.wanted_by.is_some() || !measuring.waiting.is_empty() {
            return;
        }
        let known = self.measuring.take().map(|measuring| measuring.known).unwrap_or_default();
        let mut differs = false;
        for (path, usage) in known {
            differs |= self.ledger.count_quota(&path, usage);
        }
        // Where another server proposes, its next transaction brings the right text here.
        if differs && matches!(self.mode, Mode::Standalone | Mode::Leading { .. }) {
            self.propose_nothing(now, out);
        }
    }

    pub(super) fn sync(&mut self, now: Now, origin: Origin, session: SessionId, out: &mut Vec<Action>) {
        self.sessions.touch(session, now.mono_ms);
        if self.outstanding.is_empty() {
            out.push(Action::SyncDone { origin, at: self.committed });
        } else {
            self.syncs.push_back((self.proposed, origin));
        }
    }

    /// Answers the syncs whose transactions have taken effect.
    pub(super) fn answer_syncs(&mut self, out: &mut Vec<Action>) {
        while let Some((at, origin)) = self.syncs.pop_front_if(|(at, _)| *at <= self.committed) {
            out.push(Action::SyncDone { origin, at });
        }
    }

    pub(super) fn commit_one(
        &mut self,
        proposal: Proposal,
        known: Vec<(Arc<str>, SubtreeUsage)>,
        out: &mut Vec<Action>,
        held: &mut Vec<Action>,
    ) {
        let Proposal { header, txn, waiter, .. } = proposal;
        let origin = match waiter {
            Waiter::Write(origin) => Some(origin),
            Waiter::Nobody | Waiter::Handshake(_) => None,
        };
        let mut resolved = std::mem::take(&mut self.resolved);
        self.ledger.commit(&header, &txn, origin, known, &mut resolved);
        out.extend(resolved.defines.drain(..).map(|(id, list)| Action::DefineAcl { id, list }));
        self.routes.route(header.zxid, header.time_ms, &mut resolved.pieces, out);
        self.resolved = resolved;
        self.committed = self.committed.max(header.zxid);
        self.counters.commits += 1;

        if let Some(origin) = origin {
            held.push(Action::Answer(WriteAnswer { origin, zxid: header.zxid, result: answer(&txn) }));
        }
        // The session table of a checkpoint may be further on than the log's start.
        if header.zxid <= self.restored {
            return;
        }
        self.commit_session(&header, &txn, waiter, held);
    }

    /// What a transaction means for the session table.
    fn commit_session(&mut self, header: &TxnHeader, txn: &Txn, waiter: Waiter, held: &mut Vec<Action>) {
        let (session, at) = (header.client, header.zxid);
        match *txn {
            Txn::CreateSession { timeout_ms } => {
                self.ids.seen(session);
                self.sessions.commit(session, timeout_ms);
                if let Waiter::Handshake(connection) = waiter {
                    if self.mode == Mode::Following {
                        self.sessions.adopt(session, timeout_ms, connection);
                    }
                    let Connection { core, conn } = connection;
                    let password = password(session);
                    held.push(Action::Connected { core, conn, session, timeout_ms, password, at });
                }
                if self.mode == Mode::Following {
                    self.sessions.hear(session);
                }
            }
            Txn::CloseSession { .. } => {
                if let Some(Owner::Local(Connection { core, conn })) = self.sessions.remove(session) {
                    held.push(Action::CloseConnection { core, conn, session, at });
                }
            }
            Txn::Error { .. } => {
                if let Waiter::Handshake(Connection { core, conn }) = waiter {
                    held.push(Action::Refused { core, conn });
                }
            }
            _ => {}
        }
    }
}
