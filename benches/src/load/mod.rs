//! One closed-loop run against one server: so many connections, so many requests outstanding on each, a mix of
//! operations, and what became of them.

mod connection;
mod mix;
mod resp;
mod run;
mod zookeeper;

pub use mix::{Mix, Op};
pub use run::{run, run_counted};
pub(crate) use zookeeper::{set_frame, watch_frame};

use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// Which protocol the server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// ZooKeeper's client protocol.
    Zookeeper,
    /// Redis's RESP, GET and SET only.
    Redis,
}

/// What to do to a server.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Where it listens.
    pub server: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
    /// The operations.
    pub mix: Mix,
    /// Connections, at least 1.
    pub connections: u32,
    /// Requests outstanding on each connection, at least 1.
    pub outstanding: u32,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// Existing keys that reads and sets choose from.
    pub keys: u32,
    /// Before measuring.
    pub warm_up: Duration,
    /// Measured time.
    pub measure: Duration,
    /// Seed of the choices.
    pub seed: u64,
    /// Core to pin the driver's thread to.
    pub pin: Option<usize>,
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Operations answered in the measured time.
    pub operations: u64,
    /// Of them, answered with an error.
    pub errors: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Operations per second.
    pub rate: f64,
    /// Latency percentiles in microseconds.
    pub p50_us: f64,
    /// 99 of 100 were at most this.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
    /// CPU of the driver per operation, microseconds.
    pub driver_cpu_us: f64,
    /// CPU of the server per operation, microseconds, if its process is known.
    pub server_cpu_us: Option<f64>,
}

/// A session opened with plain blocking calls, for drivers that keep their own books.
///
/// # Errors
/// The server cannot be reached or refuses the session.
pub(crate) fn open_watcher(server: SocketAddr) -> std::io::Result<std::net::TcpStream> {
    connection::open_session(server, 30_000)
}

/// Length of the first whole frame and whether it is a notification.
pub(crate) fn frame_kind(bytes: &[u8]) -> Option<(usize, bool)> {
    connection::zookeeper_reply(bytes).map(|(length, reply)| (length, reply.xid == -1))
}

/// A create of an empty node.
pub(crate) fn create_node_frame(xid: i32, path: &str) -> Vec<u8> {
    zookeeper::create_frame(xid, path, b"")
}
