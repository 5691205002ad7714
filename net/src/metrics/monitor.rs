//! The list of all figures: what `mntr` prints and other ways of monitoring show.

use super::{Advanced, AdvancedSummary, Basic, BasicSummary, Counter};
use crate::four_letter::ServerSnapshot;
use crate::four_letter::text::java_double;
use std::fmt;

/// One figure, under the name that dashboards know, without `zk_`.
#[derive(Clone, PartialEq, Debug)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: FigureValue,
}

/// A figure's value; displayed as ZooKeeper prints it.
#[derive(Clone, PartialEq, Debug)]
#[allow(missing_docs)]
pub enum FigureValue {
    Text(String),
    Integer(i64),
    Number(f64),
}

impl fmt::Display for FigureValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FigureValue::Text(text) => f.write_str(text),
            FigureValue::Integer(value) => write!(f, "{value}"),
            FigureValue::Number(value) => f.write_str(&java_double(*value)),
        }
    }
}

/// Every figure of a server: identity, gauges, gauge sets, counters, summaries.
pub fn monitor(snapshot: &ServerSnapshot) -> Vec<Figure> {
    let mut list = List(Vec::new());
    list.text("version", snapshot.version.clone());
    list.text("server_state", snapshot.state.name().to_owned());
    if let Some(state) = &snapshot.peer_state {
        list.text("peer_state", state.clone());
    }
    list.gauges(snapshot);
    list.ensemble_gauges(snapshot);
    list.quotas(snapshot);
    for counter in Counter::ALL {
        list.count(counter.name(), snapshot.metrics.counter(*counter));
    }
    for summary in BasicSummary::ALL {
        list.basic(summary.name(), snapshot.metrics.basic(*summary));
    }
    for summary in AdvancedSummary::ALL {
        list.advanced(summary.name(), snapshot.metrics.advanced(*summary));
    }
    list.0
}

struct List(Vec<Figure>);

impl List {
    fn push(&mut self, name: impl Into<String>, value: FigureValue) {
        self.0.push(Figure { name: name.into(), value });
    }

    fn text(&mut self, name: &str, text: String) {
        self.push(name, FigureValue::Text(text));
    }

    fn integer(&mut self, name: impl Into<String>, value: i64) {
        self.push(name, FigureValue::Integer(value));
    }

    fn count(&mut self, name: impl Into<String>, value: u64) {
        self.integer(name, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn gauges(&mut self, snapshot: &ServerSnapshot) {
        let metrics = &snapshot.metrics;
        self.push("avg_latency", FigureValue::Number(metrics.latency.mean()));
        self.count("max_latency", metrics.latency.max());
        self.count("min_latency", metrics.latency.min());
        self.count("packets_received", metrics.packets_received);
        self.count("packets_sent", metrics.packets_sent);
        self.count("num_alive_connections", snapshot.connection_count);
        self.count("outstanding_requests", snapshot.outstanding);
        self.count("uptime", snapshot.uptime_ms);
        self.count("znode_count", snapshot.node_count);
        self.count("watch_count", snapshot.watch_count);
        self.count("ephemerals_count", snapshot.ephemeral_count);
        self.count("approximate_data_size", snapshot.approximate_data_bytes);
        self.count("global_sessions", snapshot.global_sessions);
        self.count("local_sessions", snapshot.local_sessions);
        self.count("open_file_descriptor_count", snapshot.open_files);
        self.count("max_file_descriptor_count", snapshot.open_files_max);
        self.integer("last_client_response_size", metrics.response_bytes_last);
        self.integer("max_client_response_size", metrics.response_bytes_max);
        self.integer("min_client_response_size", metrics.response_bytes_min);
        self.count("auth_failed_count", metrics.auth_failed);
        // What this server does not have, under names that every release shows: random refusal of connections, TLS
        // handshakes, and the counts of plain connections that only the Netty transport keeps.
        self.push("connection_drop_probability", FigureValue::Number(0.0));
        for name in ["outstanding_tls_handshake", "non_mtls_remote_conn_count", "non_mtls_local_conn_count"] {
            self.integer(name, 0);
        }
    }

    fn ensemble_gauges(&mut self, snapshot: &ServerSnapshot) {
        let Some(ensemble) = &snapshot.ensemble else { return };
        self.count("quorum_size", ensemble.quorum_size);
        self.count("synced_observers", ensemble.synced_observers);
        let Some(leader) = &ensemble.leader else { return };
        self.count("learners", leader.learners);
        self.count("synced_followers", leader.synced_followers);
        self.count("synced_non_voting_followers", leader.synced_non_voting_followers);
        self.count("pending_syncs", leader.pending_syncs);
        self.count("leader_uptime", leader.uptime_ms);
        self.integer("last_proposal_size", leader.proposals.last);
        self.integer("max_proposal_size", leader.proposals.max);
        self.integer("min_proposal_size", leader.proposals.min);
    }

    fn quotas(&mut self, snapshot: &ServerSnapshot) {
        for quota in &snapshot.quotas {
            let key = &quota.namespace;
            self.integer(format!("{key}_quota_count_limit_per_namespace"), quota.count_limit);
            self.integer(format!("{key}_quota_bytes_limit_per_namespace"), quota.bytes_limit);
            self.integer(format!("{key}_quota_count_usage_per_namespace"), quota.count_usage);
            self.integer(format!("{key}_quota_bytes_usage_per_namespace"), quota.bytes_usage);
            self.count(format!("{key}_quota_exceeded_error_per_namespace"), quota.exceeded);
        }
    }

    fn basic(&mut self, name: &str, summary: &Basic) {
        self.push(format!("avg_{name}"), FigureValue::Number(summary.mean()));
        self.count(format!("min_{name}"), summary.min());
        self.count(format!("max_{name}"), summary.max());
        self.count(format!("cnt_{name}"), summary.count());
        self.count(format!("sum_{name}"), summary.sum());
    }

    fn advanced(&mut self, name: &str, summary: &Advanced) {
        self.basic(name, summary.basic());
        for (prefix, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            self.count(format!("{prefix}_{name}"), summary.quantile(quantile));
        }
    }
}
