//! Following: writes go to the leader and come back as its proposals.

use super::outstanding::{Proposal, Waiter};
use super::waiting::Wait;
use super::{Action, ConnectRequest, Role, RoleFault};
use crate::request::codec::{self, opcode};
use crate::request::{WriteAnswer, WriteOp, WriteRequest};
use crate::session::{Connection, Owner, password};
use bytes::Bytes;
use engine::error_code::ErrorCode;
use engine::ids::{Origin, SessionId};
use engine::txn;
use engine::zxid::Zxid;

impl Role {
    /// A write of a client of this server goes to the leader. It is registered first, so that nothing can overtake it.
    pub(super) fn forward_write(&mut self, request: WriteRequest, out: &mut Vec<Action>) {
        let WriteRequest { origin, session, cxid, identity, op } = request;
        let Some(origin) = origin else { return };
        self.sessions.hear(session);
        if let Some(Owner::Local(owner)) = self.sessions.owner(session)
            && owner != (Connection { core: origin.core, conn: origin.conn })
        {
            let result = Err(ErrorCode::SessionMoved);
            out.push(Action::Answer(WriteAnswer { origin, zxid: self.committed, result }));
            return;
        }
        let Some((opcode, body)) = codec::encode(&op) else {
            // A body that cannot be decoded would stop a Java leader's ensemble for good.
            let code = if let WriteOp::Refused(code) = op { code } else { ErrorCode::MarshallingError };
            self.waiting.push(session, cxid, 0, Wait::Refused(origin, code));
            return self.answer_refused(session, out);
        };
        let wait = if op == WriteOp::CloseSession { Wait::Close(origin) } else { Wait::Write(origin) };
        self.waiting.push(session, cxid, body.len(), wait);
        out.push(Action::Forward { session, cxid, opcode, body, ids: Some(identity) });
    }

    /// Answers refused requests whose turn has come. What was asked before has its proposal by then; the answer holds
    /// from there on, so that zxids do not go back within a session.
    fn answer_refused(&mut self, session: SessionId, out: &mut Vec<Action>) {
        while let Some((origin, code)) = self.waiting.take_refused(session) {
            out.push(Action::Answer(WriteAnswer { origin, zxid: self.proposed, result: Err(code) }));
        }
    }

    pub(super) fn forward_connect(&mut self, request: ConnectRequest, out: &mut Vec<Action>) {
        let ConnectRequest { core, conn, session, timeout_ms, .. } = request;
        if session == SessionId::NONE {
            let session = self.ids.allot(|id| self.sessions.contains(id));
            let body = codec::encode_create_session(timeout_ms);
            self.waiting.push(session, 0, body.len(), Wait::Handshake(Connection { core, conn }));
            out.push(Action::Forward { session, cxid: 0, opcode: opcode::CREATE_SESSION, body, ids: None });
        } else if request.password == Some(password(session)) {
            self.revalidating.push_back(request);
            out.push(Action::Revalidate { session, timeout_ms });
        } else {
            out.push(Action::Refused { core, conn });
        }
    }

    pub(super) fn revalidated(&mut self, session: SessionId, valid: bool, out: &mut Vec<Action>) {
        let Some(at) = self.revalidating.iter().position(|request| request.session == session) else { return };
        let Some(ConnectRequest { core, conn, timeout_ms, .. }) = self.revalidating.remove(at) else { return };
        if !valid {
            out.push(Action::Refused { core, conn });
            return;
        }
        let connection = Connection { core, conn };
        let before = self.sessions.adopt(session, timeout_ms, connection);
        self.sessions.hear(session);
        if let Some(Owner::Local(Connection { core, conn })) = before {
            out.push(Action::CloseConnection { core, conn, session, at: self.committed });
        }
        // The leader's word came behind its proposals up to here: the session's creation is among them, and whatever
        // the session asked for elsewhere.
        let password = password(session);
        out.push(Action::Connected { core, conn, session, timeout_ms, password, at: self.proposed });
    }

    pub(super) fn forward_sync(&mut self, origin: Origin, session: SessionId, out: &mut Vec<Action>) {
        self.sessions.hear(session);
        self.forwarded_syncs.push_back(origin);
        out.push(Action::ForwardSync { session });
    }

    /// Everything that the leader had committed is known to be committed here, and may still have to take effect.
    pub(super) fn sync_returned(&mut self, out: &mut Vec<Action>) {
        if let Some(origin) = self.forwarded_syncs.pop_front() {
            self.syncs.push_back((self.known_committed(), origin));
            self.answer_syncs(out);
        }
    }

    /// The leader's next transaction.
    pub(super) fn proposal(&mut self, zxid: Zxid, record: Bytes, out: &mut Vec<Action>) {
        if zxid <= self.proposed {
            // A Java leader repeats a zxid for a request that it cannot decode, and sends again what a snapshot holds.
            tracing::debug!(%zxid, last = %self.proposed, "a proposal that is in the log already is passed over");
            return;
        }
        let (header, txn) = match txn::decode_shared(&record) {
            Ok(decoded) => decoded,
            Err(source) => return self.fail(RoleFault::Undecodable { zxid, source }, out),
        };
        if header.zxid != zxid {
            return self.fail(RoleFault::Misnamed { zxid, inside: header.zxid }, out);
        }
        let follows = match zxid.epoch() == self.proposed.epoch() {
            true => self.proposed.next() == Some(zxid),
            false => zxid.counter() == 1,
        };
        if !follows {
            return self.fail(RoleFault::Gap { zxid, last: self.proposed }, out);
        }
        self.proposed = zxid;
        let waiter = self.waiting.take(&header, &txn);
        self.log(Proposal { header, txn, waiter, bytes: record.len(), record }, out);
        if waiter != Waiter::Nobody {
            self.answer_refused(header.client, out);
        }
    }

    /// The sessions that this server has heard from since the last call, and those newly committed, with their timeouts
    /// in milliseconds: for the reply to the leader's PING.
    pub fn take_touches(&mut self) -> Vec<(SessionId, i32)> {
        self.sessions.take_heard()
    }
}
