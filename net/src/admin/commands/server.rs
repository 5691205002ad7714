//! The server itself: configuration, figures, directories.

use crate::admin::Facts;
use crate::connection::Serving;
use crate::four_letter::SizeRange;
use crate::metrics::{FigureValue, monitor as figures};
use serde_json::{Map, Value, json};

/// `ZooKeeperServerConf.toMap`.
pub(super) fn configuration(facts: &Facts) -> Value {
    let conf = &facts.snapshot.conf;
    json!({
        "client_port": conf.client_port,
        "data_dir": conf.data_dir,
        "data_log_dir": conf.data_log_dir,
        "tick_time": conf.tick_time_ms,
        "max_client_cnxns": conf.max_client_cnxns,
        "min_session_timeout": conf.session_timeout_min_ms,
        "max_session_timeout": conf.session_timeout_max_ms,
        "server_id": conf.server_id,
        "client_port_listen_backlog": conf.listen_backlog,
    })
}

pub(super) fn dirs(facts: &Facts) -> Value {
    let sizes = facts.snapshot.directory_sizes;
    json!({"datadir_size": sizes.data, "logdir_size": sizes.log})
}

/// Names and values as they are.
pub(super) fn pairs(pairs: &[(String, String)]) -> Value {
    Value::Object(pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect())
}

/// Digests of the tree, by Java's `ZxidDigest`; version 2 is what ZooKeeper counts from 3.6 on.
pub(super) fn hash(facts: &Facts) -> Value {
    let digest = |(zxid, digest): &(engine::zxid::Zxid, u64)| json!({"zxid": zxid.to_wire(), "digest": *digest as i64, "digest_version": 2});
    json!({"digests": facts.snapshot.digests.iter().map(digest).collect::<Vec<_>>()})
}

pub(super) fn is_read_only(facts: &Facts) -> bool {
    facts.snapshot.serving == Serving::ReadOnly
}

/// The last checkpoint, which is what stands in the place of a snapshot; -1 before the first.
pub(super) fn last_snapshot(facts: &Facts) -> Value {
    let (zxid, timestamp) = facts.last_checkpoint.map_or((-1, -1), |(zxid, at)| (zxid.to_wire(), at));
    json!({"zxid": format!("{zxid:x}"), "timestamp": timestamp})
}

/// What `mntr` shows, numbers as numbers.
pub(super) fn monitor(facts: &Facts) -> Value {
    let value = |value| match value {
        FigureValue::Text(text) => Value::from(text),
        FigureValue::Integer(number) => number.into(),
        FigureValue::Number(number) => number.into(),
    };
    Value::Object(figures(&facts.snapshot).into_iter().map(|figure| (figure.name, value(figure.value))).collect())
}

/// `ServerStats`, by the getters of that class.
pub(super) fn stats(facts: &Facts) -> Value {
    let snapshot = &facts.snapshot;
    let metrics = &snapshot.metrics;
    let responses = buffers(SizeRange {
        last: metrics.response_bytes_last,
        min: metrics.response_bytes_min,
        max: metrics.response_bytes_max,
    });
    let mut data = Map::new();
    data.insert("version".to_owned(), snapshot.version.as_str().into());
    data.insert("read_only".to_owned(), is_read_only(facts).into());
    let server = json!({
        "packets_sent": metrics.packets_sent,
        "packets_received": metrics.packets_received,
        "fsync_threshold_exceed_count": metrics.slow_flushes,
        "client_response_stats": responses.clone(),
        "data_dir_size": snapshot.directory_sizes.data,
        "log_dir_size": snapshot.directory_sizes.log,
        "provider_null": false,
        "last_processed_zxid": snapshot.last_zxid.to_wire(),
        "outstanding_requests": snapshot.outstanding,
        "server_state": snapshot.state.name(),
        "avg_latency": metrics.latency.mean(),
        "max_latency": metrics.latency.max(),
        "min_latency": metrics.latency.min(),
        "num_alive_client_connections": snapshot.connection_count,
        "auth_failed_count": metrics.auth_failed,
        // Only Java's Netty transport counts these two.
        "non_mtlsremote_conn_count": 0,
        "non_mtlslocal_conn_count": 0,
        "uptime": snapshot.uptime_ms,
    });
    data.insert("server_stats".to_owned(), server);
    data.insert("client_response".to_owned(), responses);
    if let Some(leader) = snapshot.ensemble.as_ref().and_then(|ensemble| ensemble.leader.as_ref()) {
        data.insert("proposal_stats".to_owned(), buffers(leader.proposals));
    }
    data.insert("node_count".to_owned(), snapshot.node_count.into());
    Value::Object(data)
}

/// `BufferStats`.
fn buffers(sizes: SizeRange) -> Value {
    json!({"last_buffer_size": sizes.last, "min_buffer_size": sizes.min, "max_buffer_size": sizes.max})
}
