//! Connections, as `stat`, `cons` and `dump` list them.

use super::snapshot::ServerSnapshot;
use super::text::java_date;
use crate::connection::ConnectionInfo;
use crate::metrics::Basic;
use crate::proto::auth::java_address;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

/// Interest in reading (`SelectionKey.OP_READ`).
const READ: u32 = 1;
/// Interest in writing (`SelectionKey.OP_WRITE`).
const WRITE: u32 = 4;

/// One line per connection (`ServerCnxn.dumpConnectionInfo`).
pub(super) fn write_connections(out: &mut String, snapshot: &ServerSnapshot, brief: bool) -> fmt::Result {
    for info in &snapshot.connections {
        let counters = &info.counters;
        write!(
            out,
            " {}[{:x}](queued={},recved={},sent={}",
            peer(info.peer),
            interest(info),
            info.outstanding,
            counters.received,
            counters.sent
        )?;
        if let (false, Some(session)) = (brief, info.session) {
            write!(out, ",sid={session},lop={}", counters.last_operation)?;
            write!(out, ",est={},to={}", snapshot.wall_ms(counters.established_ms), info.timeout_ms)?;
            if counters.last_cxid >= 0 {
                write!(out, ",lcxid=0x{:x}", counters.last_cxid)?;
            }
            write!(out, ",lzxid=0x{:x},lresp={}", counters.last_zxid, counters.last_response_ms)?;
            let latency = &counters.latency;
            write!(out, ",llat={},minlat={}", counters.last_latency_ms, latency.min())?;
            write!(out, ",avglat={},maxlat={}", average_ms(latency), latency.max())?;
        }
        writeln!(out, ")")?;
    }
    Ok(())
}

/// Connections by when they would be closed for silence.
pub(super) fn dump_connections(out: &mut String, snapshot: &ServerSnapshot) -> fmt::Result {
    let mut by_deadline: BTreeMap<i64, Vec<&ConnectionInfo>> = BTreeMap::new();
    for info in &snapshot.connections {
        by_deadline.entry(deadline(info, snapshot.conf.sessionless_timeout_ms)).or_default().push(info);
    }
    writeln!(out, "Connections Sets ({})/({}):", by_deadline.len(), snapshot.connections.len())?;
    for (deadline_ms, connections) in by_deadline {
        writeln!(out, "{} expire at {}:", connections.len(), java_date(snapshot.wall_ms(deadline_ms)))?;
        for info in connections {
            let session = info.session.unwrap_or_default();
            writeln!(out, "\tip: {} sessionId: {session}", peer(info.peer))?;
        }
    }
    Ok(())
}

/// When silence ends the connection, in milliseconds of the monotonic clock, rounded up to the interval in which
/// silent connections are looked for.
fn deadline(info: &ConnectionInfo, interval_ms: u32) -> i64 {
    let interval_ms = i64::from(interval_ms.max(1));
    let patience_ms = if info.session.is_some() { i64::from(info.timeout_ms) } else { interval_ms };
    ((info.last_heard_ms + patience_ms).div_euclid(interval_ms) + 1) * interval_ms
}

/// The interest of a connection as Java's selector knows it.
pub(crate) fn interest(info: &ConnectionInfo) -> u32 {
    u32::from(info.is_reading) * READ + u32::from(info.is_writing) * WRITE
}

/// A connection's mean latency in whole milliseconds, rounded down (`ServerCnxn.getAvgLatency`).
pub(crate) fn average_ms(latency: &Basic) -> u64 {
    latency.sum() / latency.count().max(1)
}

/// An address with its port, IPv6 in brackets.
pub(crate) fn socket_address(address: SocketAddr) -> String {
    let text = java_address(address.ip());
    match address.ip().to_canonical() {
        IpAddr::V4(_) => format!("{text}:{}", address.port()),
        IpAddr::V6(_) => format!("[{text}]:{}", address.port()),
    }
}

/// `InetSocketAddress.toString` of an address without a name.
fn peer(address: SocketAddr) -> String {
    format!("/{}", socket_address(address))
}
