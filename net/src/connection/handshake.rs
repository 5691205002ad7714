//! From the first bytes to a session.

use super::{Cx, Ending, HandshakeKind, Machine, Serving};
use crate::four_letter::Word;
use crate::metrics::Counter;
use crate::proto::handshake::{self, ConnectResponse};
use engine::ids::SessionId;
use engine::jute::Reader;
use engine::zxid::Zxid;
use replication::role::ConnectRequest;

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Nothing has been received.
    Fresh,
    /// A four-letter word waits for its answer; `argument` is that of `stmk`.
    Word { word: Word, argument: i64 },
    /// The replication role has been asked.
    Connecting { read_only: Option<bool>, last_zxid_seen: Zxid },
    /// The role has answered; the view must reach `at`.
    Settling { response: ConnectResponse, at: Zxid, last_zxid_seen: Zxid },
    /// There is a session.
    Established {
        session: SessionId,
        timeout_ms: i32,
        /// No read is dispatched before the view is here: what the client has seen elsewhere.
        seen: Zxid,
    },
}

impl Phase {
    /// The view that the phase waits for.
    pub fn waits_for(&self) -> Option<Zxid> {
        match self {
            Phase::Settling { at, .. } => Some(*at),
            Phase::Established { seen, .. } if *seen > Zxid::ZERO => Some(*seen),
            _ => None,
        }
    }

    /// Moves on to the session if the view is there, and says what to answer. Also forgets what the client had seen
    /// once the view has passed it.
    pub fn settle(&mut self, view: Zxid) -> Option<ConnectResponse> {
        match *self {
            Phase::Settling { response, at, last_zxid_seen } if at <= view => {
                let seen = if last_zxid_seen > view { last_zxid_seen } else { Zxid::ZERO };
                *self = Phase::Established { session: response.session, timeout_ms: response.timeout_ms, seen };
                Some(response)
            }
            Phase::Established { session, timeout_ms, seen } if seen > Zxid::ZERO && seen <= view => {
                *self = Phase::Established { session, timeout_ms, seen: Zxid::ZERO };
                None
            }
            _ => None,
        }
    }
}

impl Machine {
    /// The first frame.
    pub(super) fn handshake(&mut self, cx: &mut impl Cx, frame: &[u8]) {
        let mut reader = Reader::with_length_max(frame, self.limits.field_bytes_max);
        let Ok(request) = handshake::ConnectRequest::decode(&mut reader) else { return self.end(Ending::Now) };
        let is_new = request.session == SessionId::NONE;
        cx.metrics().count(Counter::ConnectionRequests, 1);
        if !is_new {
            cx.metrics().count(Counter::ConnectionRevalidations, 1);
        }
        let is_read_only = cx.serving() == Serving::ReadOnly;
        let kind = if is_new { HandshakeKind::New } else { HandshakeKind::Renewal };
        if !cx.admit_handshake(kind) {
            cx.metrics().count(Counter::ConnectionsRejected, 1);
            return self.end(Ending::Now);
        }
        if is_read_only && request.read_only != Some(true) || request.last_zxid_seen > cx.last_processed() {
            return self.end(Ending::Now);
        }
        self.phase = Phase::Connecting {
            read_only: request.read_only.map(|_| is_read_only),
            last_zxid_seen: request.last_zxid_seen,
        };
        // The bounds are the server's own; a configuration that crosses them does not panic here.
        let timeout_ms =
            request.timeout_ms.max(self.limits.session_timeout_min_ms).min(self.limits.session_timeout_max_ms);
        cx.connect(ConnectRequest {
            core: self.core,
            conn: self.id,
            session: request.session,
            timeout_ms,
            password: request.password,
        });
    }

    pub(super) fn connected(&mut self, session: SessionId, timeout_ms: i32, password: [u8; 16], at: Zxid) {
        if let Phase::Connecting { read_only, last_zxid_seen } = self.phase {
            let response = ConnectResponse { timeout_ms, session, password, read_only };
            self.phase = Phase::Settling { response, at, last_zxid_seen };
        }
    }

    pub(super) fn refused(&mut self, cx: &mut impl Cx) {
        if let Phase::Connecting { read_only, .. } = self.phase {
            self.queue.write_here(|out| ConnectResponse::refusal(read_only).encode_frame(out));
            self.counters.sent();
            cx.metrics().packets_sent += 1;
            self.end(Ending::WhenSent);
        }
    }
}
