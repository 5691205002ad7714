//! Proposing: a request gets its zxid, and its transaction goes to the log.

use super::{Action, Now, Role};
use crate::ledger::Asker;
use crate::request::{WriteAnswer, WriteOp, WriteRequest};
use crate::session::Connection;
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::ids::{Origin, SessionId};
use engine::txn::{self, Txn, TxnHeader};
use engine::zxid::Zxid;
use std::sync::Arc;

/// A transaction on its way from proposal to commit.
#[derive(Debug)]
pub struct Proposal {
    pub header: TxnHeader,
    pub txn: Txn,
    pub waiter: Waiter,
    /// Length of the record, while it counts towards the bound.
    pub bytes: usize,
}

/// Who gets the answer.
#[derive(Clone, Copy, Debug)]
pub enum Waiter {
    /// Nobody: requests of the server's own, and transactions of the log.
    Nobody,
    /// A write.
    Write(Origin),
    /// A handshake that made a session.
    Handshake(Connection),
}

impl Proposal {
    /// A transaction of the log.
    pub fn of_log(header: TxnHeader, txn: Txn) -> Proposal {
        Proposal { header, txn, waiter: Waiter::Nobody, bytes: 0 }
    }
}

impl Role {
    pub(super) fn write(&mut self, now: Now, request: WriteRequest, out: &mut Vec<Action>) {
        if let Some(origin) = request.origin
            && let Some(owner) = self.sessions.owner(request.session)
            && owner != (Connection { core: origin.core, conn: origin.conn })
        {
            // The connection is being closed; once the renewal has been answered nothing of it may take effect.
            let result = Err(ErrorCode::SessionMoved);
            out.push(Action::Answer(WriteAnswer { origin, zxid: self.committed, result }));
            return;
        }
        let alive = self.sessions.touch(request.session, now.mono_ms);
        let header = self.next_header(now, request.session, request.cxid);
        let closes = request.op == WriteOp::CloseSession;
        let asker = Asker { header: &header, identity: &request.identity, alive };
        let txn = self.ledger.propose(asker, request.op);
        if closes {
            self.sessions.close(request.session);
        }
        let waiter = request.origin.map_or(Waiter::Nobody, Waiter::Write);
        self.propose(header, txn, waiter, out);
    }

    /// closeSession, of the server's own.
    pub(super) fn propose_close(&mut self, now: Now, session: SessionId, out: &mut Vec<Action>) {
        let header = self.next_header(now, session, 0);
        let asker = Asker { header: &header, identity: &Identity::exempt(), alive: false };
        let txn = self.ledger.propose(asker, WriteOp::CloseSession);
        self.sessions.close(session);
        self.propose(header, txn, Waiter::Nobody, out);
    }

    /// deleteContainer, of the server's own.
    pub(super) fn propose_reap(&mut self, now: Now, path: &Arc<str>, out: &mut Vec<Action>) {
        let header = self.next_header(now, SessionId::NONE, 0);
        let txn = self.ledger.propose_reap(&header, path);
        self.propose(header, txn, Waiter::Nobody, out);
    }

    /// A transaction that changes nothing and carries along what waits for the next one.
    pub(super) fn propose_nothing(&mut self, now: Now, out: &mut Vec<Action>) {
        let header = self.next_header(now, SessionId::NONE, 0);
        let txn = Txn::Error { code: ErrorCode::RuntimeInconsistency.code() };
        self.propose(header, txn, Waiter::Nobody, out);
    }

    /// createSession.
    pub(super) fn propose_session(
        &mut self,
        now: Now,
        session: SessionId,
        timeout_ms: i32,
        connection: Connection,
        out: &mut Vec<Action>,
    ) {
        let header = self.next_header(now, session, 0);
        let txn = Txn::CreateSession { timeout_ms };
        self.propose(header, txn, Waiter::Handshake(connection), out);
    }

    fn next_header(&self, now: Now, client: SessionId, cxid: i32) -> TxnHeader {
        TxnHeader { client, cxid, zxid: after(self.proposed), time_ms: now.wall_ms }
    }

    fn propose(&mut self, header: TxnHeader, txn: Txn, waiter: Waiter, out: &mut Vec<Action>) {
        let zxid = header.zxid;
        let mut bytes = Vec::with_capacity(TYPICAL_TXN_BYTES);
        txn::encode(&header, &txn, &mut bytes);
        self.proposed = zxid;
        self.counters.proposals += 1;
        self.counters.errors += u64::from(matches!(txn, Txn::Error { .. }));
        self.counters.last_proposal_bytes = bytes.len();
        self.counters.max_proposal_bytes = self.counters.max_proposal_bytes.max(bytes.len());
        let smallest = &mut self.counters.min_proposal_bytes;
        *smallest = if *smallest == 0 { bytes.len() } else { bytes.len().min(*smallest) };
        self.outstanding_bytes += bytes.len();
        self.outstanding.push_back(Proposal { header, txn, waiter, bytes: bytes.len() });
        out.push(Action::Append { zxid, bytes });
    }
}

/// Header, a path and a small value fit in one allocation.
const TYPICAL_TXN_BYTES: usize = 256;

/// The zxid behind this one. An ensemble of one goes on in the next epoch when the counter has run out; nobody else has
/// to agree.
fn after(zxid: Zxid) -> Zxid {
    zxid.next().unwrap_or(Zxid::new(zxid.epoch().wrapping_add(1), 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_rolls_over_into_the_next_epoch() {
        assert_eq!(after(Zxid::ZERO), Zxid(1));
        assert_eq!(after(Zxid::new(0, Zxid::LAST_COUNTER)), Zxid::new(1, 1));
    }
}
