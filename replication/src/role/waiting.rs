//! A follower's clients that wait for what their leader makes of their requests.

use super::outstanding::Waiter;
use crate::session::Connection;
use engine::error_code::ErrorCode;
use engine::ids::{Origin, SessionId};
use engine::txn::{Txn, TxnHeader};
use std::collections::{HashMap, VecDeque};

/// Who waits, and for what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// A forwarded write.
    Write(Origin),
    /// A forwarded closeSession.
    Close(Origin),
    /// A forwarded createSession.
    Handshake(Connection),
    /// A request that no leader can decode: answered here, behind what the session asked before.
    Refused(Origin, ErrorCode),
}

#[derive(Debug)]
struct Entry {
    cxid: i32,
    bytes: usize,
    wait: Wait,
}

/// Requests of clients here that have gone to the leader and have not come back as proposals, per session in their
/// order (`CommitProcessor`'s pending queues).
#[derive(Debug, Default)]
pub struct Waiting {
    by_session: HashMap<SessionId, VecDeque<Entry>>,
    len: usize,
    bytes: usize,
}

impl Waiting {
    pub fn push(&mut self, session: SessionId, cxid: i32, bytes: usize, wait: Wait) {
        self.len += 1;
        self.bytes += bytes;
        self.by_session.entry(session).or_default().push_back(Entry { cxid, bytes, wait });
    }

    /// The oldest request of the session, if this transaction is what became of it.
    ///
    /// A request is registered before it is sent, and compared with proposals that come after that only. So a request
    /// that the session had sent by another server, and whose transaction is outstanding here, is not mistaken for it
    /// although clients may use an xid again.
    pub fn take(&mut self, header: &TxnHeader, txn: &Txn) -> Waiter {
        let Some(queue) = self.by_session.get_mut(&header.client) else { return Waiter::Nobody };
        let fits = |entry: &mut Entry| {
            let kind_fits = match (txn, entry.wait) {
                (Txn::CreateSession { .. }, wait) => matches!(wait, Wait::Handshake(_)),
                (Txn::CloseSession { .. }, wait) => matches!(wait, Wait::Close(_)),
                (Txn::Error { .. }, wait) => !matches!(wait, Wait::Refused(..)),
                (_, wait) => matches!(wait, Wait::Write(_)),
            };
            entry.cxid == header.cxid && kind_fits
        };
        let Some(entry) = queue.pop_front_if(fits) else { return Waiter::Nobody };
        self.gone(header.client, &entry);
        match entry.wait {
            Wait::Write(origin) | Wait::Close(origin) => Waiter::Write(origin),
            Wait::Handshake(connection) => Waiter::Handshake(connection),
            Wait::Refused(..) => Waiter::Nobody,
        }
    }

    /// The refusal that is the session's turn to get.
    pub fn take_refused(&mut self, session: SessionId) -> Option<(Origin, ErrorCode)> {
        let queue = self.by_session.get_mut(&session)?;
        let entry = queue.pop_front_if(|entry| matches!(entry.wait, Wait::Refused(..)))?;
        self.gone(session, &entry);
        match entry.wait {
            Wait::Refused(origin, code) => Some((origin, code)),
            _ => None,
        }
    }

    fn gone(&mut self, session: SessionId, entry: &Entry) {
        self.len -= 1;
        self.bytes -= entry.bytes;
        if self.by_session.get(&session).is_some_and(VecDeque::is_empty) {
            self.by_session.remove(&session);
        }
    }

    /// Bytes of the bodies that were sent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.len
    }
}
