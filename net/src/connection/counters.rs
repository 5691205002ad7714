//! What is known of a connection for those who look after the server.

use super::Machine;
use super::handshake::Phase;
use crate::metrics::Basic;
use crate::proto::OpCode;
use engine::ids::SessionId;
use engine::zxid::Zxid;
use std::net::SocketAddr;

/// Counts of one connection (`ServerCnxn`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionCounters {
    /// When it was accepted, in milliseconds of the core's monotonic clock.
    pub established_ms: i64,
    /// Packets received.
    pub received: u64,
    /// Packets sent, events included.
    pub sent: u64,
    /// Short name of the last operation answered.
    pub last_operation: &'static str,
    /// Its xid; below 0 if there was none with an xid of its own.
    pub last_cxid: i64,
    /// The zxid in the last reply's header.
    pub last_zxid: i64,
    /// When the last reply was made, in milliseconds of the core's monotonic clock; 0 before the first.
    pub last_response_ms: i64,
    /// Milliseconds that the last reply took.
    pub last_latency_ms: u64,
    /// Milliseconds that replies took.
    pub latency: Basic,
}

impl ConnectionCounters {
    pub(super) fn new(established_ms: i64) -> ConnectionCounters {
        ConnectionCounters {
            established_ms,
            received: 0,
            sent: 0,
            last_operation: "NA",
            last_cxid: -1,
            last_zxid: -1,
            last_response_ms: 0,
            last_latency_ms: 0,
            latency: Basic::default(),
        }
    }

    pub(super) fn received(&mut self) {
        self.received += 1;
    }

    pub(super) fn sent(&mut self) {
        self.sent += 1;
    }

    /// The answer to a handshake, which counts as a request with xid 0.
    pub(super) fn session(&mut self, zxid: Zxid, now_ms: i64) {
        self.sent += 1;
        self.last_operation = "SESS";
        self.last_cxid = 0;
        self.last_zxid = zxid.to_wire();
        self.last_response_ms = now_ms;
    }

    pub(super) fn replied(&mut self, op: OpCode, xid: i32, zxid: i64, now_ms: i64, latency_ms: u64) {
        self.sent += 1;
        self.last_operation = op.short_name();
        if xid >= 0 {
            self.last_cxid = i64::from(xid);
        }
        self.last_zxid = zxid;
        self.last_response_ms = now_ms;
        self.last_latency_ms = latency_ms;
        self.latency.add(latency_ms);
    }

    pub(super) fn reset(&mut self) {
        *self = ConnectionCounters::new(self.established_ms);
    }
}

/// A connection as `cons`, `stat` and `dump` show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectionInfo {
    /// The client's address.
    pub peer: SocketAddr,
    /// The session; `None` before the handshake is done.
    pub session: Option<SessionId>,
    /// Its negotiated timeout in milliseconds; 0 without a session.
    pub timeout_ms: i32,
    /// When the client was last heard of, in milliseconds of the core's monotonic clock.
    pub last_heard_ms: i64,
    /// Requests that are not answered.
    pub outstanding: usize,
    /// Whether further requests are read.
    pub is_reading: bool,
    /// Whether output waits to be sent.
    pub is_writing: bool,
    /// Counts.
    pub counters: ConnectionCounters,
}

impl Machine {
    pub(super) fn info(&self, is_reading: bool) -> ConnectionInfo {
        let (session, timeout_ms) = match self.phase {
            Phase::Established { session, timeout_ms, .. } => (Some(session), timeout_ms),
            _ => (None, 0),
        };
        ConnectionInfo {
            peer: self.peer,
            session,
            timeout_ms,
            last_heard_ms: self.touched_ms.max(self.counters.established_ms),
            outstanding: self.queue.len(),
            is_reading,
            is_writing: self.queue.flight_bytes() > 0 || !self.queue.output().is_empty(),
            counters: self.counters,
        }
    }
}
