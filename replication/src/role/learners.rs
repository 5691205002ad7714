//! Leading: what learners ask for their clients. It enters where proposals are made, and never waits behind this server's
//! own clients.

use super::outstanding::Waiter;
use super::propose::Asked;
use super::{Action, Now, Role};
use crate::request::WriteOp;
use crate::request::codec::{self, opcode};
use crate::session::{Connection, LearnerId, Owner};
use bytes::Bytes;
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::ids::SessionId;
use engine::jute::Reader;
use std::sync::Arc;

/// A request as a learner forwards it.
pub struct Forwarded {
    pub learner: LearnerId,
    pub session: SessionId,
    pub cxid: i32,
    pub opcode: i32,
    pub body: Bytes,
    pub ids: Option<Arc<Identity>>,
}

impl Role {
    /// Whatever takes a place in the order takes a fresh one, also where a Java leader would repeat the last (a body
    /// that cannot be decoded). A type that is no request is dropped without a word.
    pub(super) fn forwarded(&mut self, now: Now, request: Forwarded, out: &mut Vec<Action>) {
        let Forwarded { learner, session, cxid, opcode: type_code, body, ids } = request;
        let owner = Owner::Learner(learner);
        let op = match type_code {
            opcode::CREATE_SESSION => match codec::decode_create_session(&body) {
                Ok(timeout_ms) => return self.create_for_learner(now, session, timeout_ms, owner, out),
                Err(_) => WriteOp::Refused(ErrorCode::MarshallingError),
            },
            // No client may reap, and a check alone is no transaction that a Java server could read.
            opcode::DELETE_CONTAINER | opcode::CHECK => WriteOp::Refused(ErrorCode::Unimplemented),
            _ => match codec::decode(type_code, &mut Reader::new(&body)) {
                Some(decoded) => decoded.unwrap_or(WriteOp::Refused(ErrorCode::MarshallingError)),
                None => {
                    tracing::warn!(%learner, type_code, "a forwarded request of an unknown type is dropped");
                    return;
                }
            },
        };
        let standing = match op {
            // Whoever closes need not own.
            WriteOp::CloseSession => self.judge(now, session, None),
            _ => self.judge(now, session, Some(owner)),
        };
        let identity = match ids {
            _ if self.config.skip_acl => Arc::new(Identity::exempt()),
            Some(identity) => identity,
            None => Arc::new(Identity::anonymous()),
        };
        self.propose_write(now, Asked { session, cxid, standing }, &identity, op, Waiter::Nobody, out);
    }

    fn create_for_learner(
        &mut self,
        now: Now,
        session: SessionId,
        timeout_ms: i32,
        owner: Owner,
        out: &mut Vec<Action>,
    ) {
        if self.sessions.renew(session, timeout_ms, owner, now.mono_ms).is_err() && !self.sessions.contains(session) {
            self.sessions.track(session, timeout_ms, Some(owner), now.mono_ms);
        }
        self.propose_session(now, session, timeout_ms, Waiter::Nobody, out);
    }

    pub(super) fn learner_touched(&mut self, now: Now, sessions: Vec<(SessionId, i32)>) {
        for (session, timeout_ms) in sessions {
            self.sessions.touch_for(session, timeout_ms, now.mono_ms);
        }
    }

    pub(super) fn learner_revalidate(
        &mut self,
        now: Now,
        learner: LearnerId,
        session: SessionId,
        timeout_ms: i32,
        out: &mut Vec<Action>,
    ) {
        let renewed = self.sessions.renew(session, timeout_ms, Owner::Learner(learner), now.mono_ms);
        if let Ok(Some(Owner::Local(Connection { core, conn }))) = renewed {
            // Its reads would be refused as well.
            out.push(Action::CloseConnection { core, conn, session, at: self.committed });
        }
        out.push(Action::Revalidated { learner, session, valid: renewed.is_ok() });
    }

    pub(super) fn learner_gone(&mut self, learner: LearnerId) {
        self.sessions.release(learner);
        self.learner_syncs.retain(|(_, asker)| *asker != learner);
    }

    pub(super) fn learner_sync(&mut self, learner: LearnerId, out: &mut Vec<Action>) {
        self.learner_syncs.push_back((self.proposed, learner));
        self.answer_learner_syncs(out);
    }

    /// A learner's sync waits for the quorum, not for this server's own disk: it is answered behind the COMMITs.
    pub(super) fn answer_learner_syncs(&mut self, out: &mut Vec<Action>) {
        let decided = self.point.decided();
        while let Some((_, learner)) = self.learner_syncs.pop_front_if(|(at, _)| *at <= decided) {
            out.push(Action::SyncFor { learner });
        }
    }
}
