//! Connections and sessions.

use super::server;
use crate::admin::Facts;
use crate::connection::ConnectionInfo;
use crate::four_letter::connections::{average_ms, interest, socket_address};
use crate::four_letter::{ServerSnapshot, ServerState, SessionDeadline};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `cons`. There is no TLS port, so nothing is connected to it.
pub(super) fn connections(facts: &Facts) -> Value {
    json!({"connections": all(&facts.snapshot, false), "secure_connections": []})
}

/// `stat`: what `srvr` knows, and the connections in brief.
pub(super) fn stats(facts: &Facts) -> Value {
    let mut data = server::stats(facts);
    data["connections"] = all(&facts.snapshot, true);
    data["secure_connections"] = json!([]);
    data
}

/// Sessions by when they expire, in milliseconds since the epoch, and ephemerals by session. A learner leaves the expiry
/// of the ensemble's sessions to the leader, and lists those that it keeps itself.
pub(super) fn dump(facts: &Facts) -> Value {
    let snapshot = &facts.snapshot;
    let is_learner = matches!(snapshot.state, ServerState::Follower | ServerState::Observer);
    let mut by_deadline: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for SessionDeadline { session, expires_mono_ms, is_local, .. } in &snapshot.sessions {
        if !is_learner || *is_local {
            by_deadline.entry(snapshot.wall_ms(*expires_mono_ms)).or_default().push(session.0);
        }
    }
    let expiry: BTreeMap<String, Vec<i64>> =
        by_deadline.into_iter().map(|(at, sessions)| (at.to_string(), sessions)).collect();
    let ephemerals: BTreeMap<String, Vec<&str>> = snapshot
        .ephemerals
        .iter()
        .map(|(session, paths)| (session.0.to_string(), paths.iter().map(|path| &**path).collect()))
        .collect();
    json!({"expiry_time_to_session_ids": expiry, "session_id_to_ephemeral_paths": ephemerals})
}

fn all(snapshot: &ServerSnapshot, brief: bool) -> Value {
    snapshot.connections.iter().map(|info| connection(snapshot, info, brief)).collect()
}

/// `ServerCnxn.getConnectionInfo`.
fn connection(snapshot: &ServerSnapshot, info: &ConnectionInfo, brief: bool) -> Value {
    let counters = &info.counters;
    let mut data = json!({
        "remote_socket_address": socket_address(info.peer),
        "interest_ops": interest(info),
        "outstanding_requests": info.outstanding,
        "packets_received": counters.received,
        "packets_sent": counters.sent,
    });
    if brief {
        return data;
    }
    let more = json!({
        "session_id": info.session.unwrap_or_default().0,
        "last_operation": counters.last_operation,
        "established": snapshot.wall_ms(counters.established_ms),
        "session_timeout": info.timeout_ms,
        "last_cxid": counters.last_cxid,
        "last_zxid": counters.last_zxid,
        "last_response_time": counters.last_response_ms,
        "last_latency": counters.last_latency_ms,
        "min_latency": counters.latency.min(),
        "avg_latency": average_ms(&counters.latency),
        "max_latency": counters.latency.max(),
    });
    if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}
