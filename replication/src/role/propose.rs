//! Proposing: a request gets its zxid, and its transaction goes to the log.

use super::outstanding::{Proposal, Waiter};
use super::{Action, Mode, Now, Role};
use crate::ledger::Asker;
use crate::request::{WriteAnswer, WriteOp, WriteRequest};
use crate::session::{Connection, Owner, Standing};
use bytes::Bytes;
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::ids::SessionId;
use engine::txn::{self, Txn, TxnHeader};
use engine::zxid::Zxid;
use std::sync::Arc;

impl Role {
    /// A write of a client of this server.
    pub(super) fn write(&mut self, now: Now, request: WriteRequest, out: &mut Vec<Action>) {
        let WriteRequest { origin, session, cxid, identity, op } = request;
        let from = origin.map(|origin| Owner::Local(Connection { core: origin.core, conn: origin.conn }));
        let standing = self.judge(now, session, from);
        if standing == Standing::Moved
            && self.mode == Mode::Standalone
            && let Some(origin) = origin
        {
            // The connection is being closed; once the renewal has been answered nothing of it may take effect.
            let result = Err(ErrorCode::SessionMoved);
            out.push(Action::Answer(WriteAnswer { origin, zxid: self.committed, result }));
            return;
        }
        let waiter = origin.map_or(Waiter::Nobody, Waiter::Write);
        self.propose_write(now, Asked { session, cxid, standing }, &identity, op, waiter, out);
    }

    /// A write, of whoever has been judged.
    pub(super) fn propose_write(
        &mut self,
        now: Now,
        asked: Asked,
        identity: &Identity,
        op: WriteOp,
        waiter: Waiter,
        out: &mut Vec<Action>,
    ) {
        let Some(header) = self.next_header(now, asked.session, asked.cxid, out) else { return };
        let closes = op == WriteOp::CloseSession;
        let op = match asked.standing {
            Standing::Moved if !closes => WriteOp::Refused(ErrorCode::SessionMoved),
            _ => op,
        };
        let is_local = asked.standing == Standing::Local;
        let alive = is_local || asked.standing == Standing::Good;
        let asker = Asker { header: &header, identity, alive, is_local };
        let txn = match (op, self.ensemble.take()) {
            (WriteOp::Reconfig(op), Some(ensemble)) => {
                self.ledger.propose_reconfig(asker, || ensemble.judge(&op, header.zxid))
            }
            (op, _) => self.ledger.propose(asker, op),
        };
        if closes {
            self.sessions.close(asked.session);
        }
        self.propose(header, txn, waiter, out);
    }

    /// closeSession, of the server's own.
    pub(super) fn propose_close(&mut self, now: Now, session: SessionId, out: &mut Vec<Action>) {
        let Some(header) = self.next_header(now, session, 0, out) else { return };
        let asker = Asker { header: &header, identity: &Identity::exempt(), alive: false, is_local: false };
        let txn = self.ledger.propose(asker, WriteOp::CloseSession);
        self.sessions.close(session);
        self.propose(header, txn, Waiter::Nobody, out);
    }

    /// deleteContainer, of the server's own.
    pub(super) fn propose_reap(&mut self, now: Now, path: &Arc<str>, out: &mut Vec<Action>) {
        let Some(header) = self.next_header(now, SessionId::NONE, 0, out) else { return };
        let txn = self.ledger.propose_reap(&header, path);
        self.propose(header, txn, Waiter::Nobody, out);
    }

    /// A transaction that changes nothing and carries along what waits for the next one.
    pub(super) fn propose_nothing(&mut self, now: Now, out: &mut Vec<Action>) {
        let Some(header) = self.next_header(now, SessionId::NONE, 0, out) else { return };
        let txn = Txn::Error { code: ErrorCode::RuntimeInconsistency.code() };
        self.propose(header, txn, Waiter::Nobody, out);
    }

    /// createSession.
    pub(super) fn propose_session(
        &mut self,
        now: Now,
        session: SessionId,
        timeout_ms: i32,
        waiter: Waiter,
        out: &mut Vec<Action>,
    ) {
        let Some(header) = self.next_header(now, session, 0, out) else { return };
        let txn = Txn::CreateSession { timeout_ms };
        self.propose(header, txn, waiter, out);
    }

    /// The header of the next transaction; `None` if the epoch has no zxid left.
    fn next_header(&mut self, now: Now, client: SessionId, cxid: i32, out: &mut Vec<Action>) -> Option<TxnHeader> {
        let zxid = match self.mode {
            Mode::Leading { epoch } => self.next_of_epoch(epoch, out)?,
            // An ensemble of one goes on in the next epoch when the counter has run out; nobody else has to agree.
            _ => self.proposed.next().unwrap_or(Zxid::new(self.proposed.epoch().wrapping_add(1), 1)),
        };
        Some(TxnHeader { client, cxid, zxid, time_ms: now.wall_ms })
    }

    fn next_of_epoch(&mut self, epoch: u32, out: &mut Vec<Action>) -> Option<Zxid> {
        if self.proposed.epoch() < epoch {
            return Some(Zxid::new(epoch, 1));
        }
        let next = self.proposed.next();
        if next.is_none() && !std::mem::replace(&mut self.resigning, true) {
            out.push(Action::Resign);
        }
        next
    }

    fn propose(&mut self, header: TxnHeader, txn: Txn, waiter: Waiter, out: &mut Vec<Action>) {
        let zxid = header.zxid;
        let mut bytes = Vec::with_capacity(TYPICAL_TXN_BYTES);
        txn::encode(&header, &txn, &mut bytes);
        let record = Bytes::from(bytes);
        self.proposed = zxid;
        self.counters.proposed(record.len(), matches!(txn, Txn::Error { .. }));
        self.log(Proposal { header, txn, waiter, bytes: record.len(), record }, out);
    }

    /// A proposal, of this server or of its leader, goes to the log.
    pub(super) fn log(&mut self, mut proposal: Proposal, out: &mut Vec<Action>) {
        let zxid = proposal.header.zxid;
        let bytes = match self.mode {
            Mode::Standalone => std::mem::take(&mut proposal.record),
            _ => proposal.record.clone(),
        };
        self.outstanding.push(proposal);
        out.push(Action::Append { zxid, bytes });
    }
}

/// A request whose session has been judged.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub session: SessionId,
    pub cxid: i32,
    pub standing: Standing,
}

/// Header, a path and a small value fit in one allocation.
const TYPICAL_TXN_BYTES: usize = 256;
