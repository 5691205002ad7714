//! Committing: what a quorum has on disk is resolved, routed, published and answered, in zxid order.

use super::propose::{Proposal, Waiter};
use super::{Action, Now, Phase, Role};
use crate::ledger::{SubtreeUsage, answer};
use crate::request::WriteAnswer;
use crate::session::password;
use engine::ids::{Origin, SessionId};
use engine::txn::Txn;
use std::sync::Arc;

/// Usages that the next transaction waits for.
#[derive(Debug)]
pub struct Measuring {
    /// They are those of all quotas, counted afresh at the start.
    at_start: bool,
    waiting: Vec<Arc<str>>,
    known: Vec<(Arc<str>, SubtreeUsage)>,
}

impl Role {
    /// Commits all that may be. Routes go out one by one, one publication follows them, and then everything that holds
    /// from there on.
    pub(super) fn commit_ready(&mut self, out: &mut Vec<Action>) {
        let before = self.committed;
        let mut held = std::mem::take(&mut self.held);
        let mut measures: Vec<Action> = Vec::new();
        while self.outstanding.front().is_some_and(|front| front.header.zxid <= self.quorum.committed()) {
            if self.measuring.as_ref().is_some_and(|measuring| !measuring.waiting.is_empty()) {
                break;
            }
            let Some(proposal) = self.outstanding.pop_front() else { break };
            let known = match self.measuring.take() {
                Some(measuring) => measuring.known,
                None if self.phase == Phase::Replaying => Vec::new(),
                None => {
                    let waiting = self.ledger.unmeasured(&proposal.txn);
                    if !waiting.is_empty() {
                        let at = self.committed;
                        measures.extend(waiting.iter().map(|path| Action::Measure { path: path.clone(), at }));
                        self.measuring = Some(Measuring { at_start: false, waiting, known: Vec::new() });
                        self.outstanding.push_front(proposal);
                        break;
                    }
                    Vec::new()
                }
            };
            self.commit_one(proposal, known, out, &mut held);
        }
        if self.committed > before {
            out.push(Action::Publish { commit: self.committed });
        }
        out.append(&mut held);
        self.held = held;
        while let Some((at, origin)) = self.syncs.front().copied().filter(|(at, _)| *at <= self.committed) {
            self.syncs.pop_front();
            out.push(Action::SyncDone { origin, at });
        }
        out.append(&mut measures);
        self.finish_draining(out);
    }

    /// Every quota is counted once at the start. Nothing commits before that is over.
    pub(super) fn count_quotas(&mut self, out: &mut Vec<Action>) {
        let waiting = self.ledger.quotas_to_count();
        if waiting.is_empty() {
            return;
        }
        let at = self.committed;
        out.extend(waiting.iter().map(|path| Action::Measure { path: path.clone(), at }));
        self.measuring = Some(Measuring { at_start: true, waiting, known: Vec::new() });
    }

    pub(super) fn measured(&mut self, now: Now, path: Arc<str>, usage: SubtreeUsage, out: &mut Vec<Action>) {
        let Some(measuring) = &mut self.measuring else { return };
        let Some(at) = measuring.waiting.iter().position(|waiting| *waiting == path) else { return };
        measuring.waiting.swap_remove(at);
        measuring.known.push((path, usage));
        if !measuring.at_start || !measuring.waiting.is_empty() {
            return;
        }
        let known = self.measuring.take().map(|measuring| measuring.known).unwrap_or_default();
        let mut differs = false;
        for (path, usage) in known {
            differs |= self.ledger.count_quota(&path, usage);
        }
        if differs {
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

    fn commit_one(
        &mut self,
        proposal: Proposal,
        known: Vec<(Arc<str>, SubtreeUsage)>,
        out: &mut Vec<Action>,
        held: &mut Vec<Action>,
    ) {
        let Proposal { header, txn, waiter, bytes } = proposal;
        self.outstanding_bytes -= bytes;
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
        let session = header.client;
        match txn {
            Txn::CreateSession { timeout_ms } => {
                self.ids.seen(session);
                self.sessions.commit(session, timeout_ms);
                if let Waiter::Handshake(connection) = waiter {
                    held.push(Action::Connected {
                        core: connection.core,
                        conn: connection.conn,
                        session,
                        timeout_ms,
                        password: password(session),
                        at: header.zxid,
                    });
                }
            }
            Txn::CloseSession { .. } => {
                if let Some(owner) = self.sessions.remove(session) {
                    let at = header.zxid;
                    held.push(Action::CloseConnection { core: owner.core, conn: owner.conn, session, at });
                }
            }
            _ => {}
        }
    }
}
