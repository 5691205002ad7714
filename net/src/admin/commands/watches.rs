//! Watches of the data table (`WatchesReport`, `WatchesPathReport`, `WatchesSummary`).

use crate::admin::Facts;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn summary(facts: &Facts) -> Value {
    let watches = &facts.snapshot.watches;
    let connections: BTreeSet<_> = watches.iter().map(|watch| (watch.core, watch.conn)).collect();
    let paths: BTreeSet<&str> = watches.iter().map(|watch| &*watch.path).collect();
    json!({"num_connections": connections.len(), "num_paths": paths.len(), "num_total_watches": watches.len()})
}

pub(super) fn by_session(facts: &Facts) -> Value {
    let mut paths: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for watch in &facts.snapshot.watches {
        paths.entry(watch.session.0.to_string()).or_default().insert(&watch.path);
    }
    json!({"session_id_to_watched_paths": paths})
}

pub(super) fn by_path(facts: &Facts) -> Value {
    let mut sessions: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for watch in &facts.snapshot.watches {
        sessions.entry(&watch.path).or_default().insert(watch.session.0);
    }
    json!({"path_to_session_ids": sessions})
}
