//! Watches of the data table, as `wchs`, `wchc` and `wchp` show them.

use super::snapshot::WatchedPath;
use engine::ids::{ConnId, CoreId, SessionId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

/// `wchs`.
pub(super) fn write_watch_summary(out: &mut String, watches: &[WatchedPath]) -> fmt::Result {
    let connections: BTreeSet<(CoreId, ConnId)> = watches.iter().map(|watch| (watch.core, watch.conn)).collect();
    let paths: BTreeSet<&str> = watches.iter().map(|watch| &*watch.path).collect();
    writeln!(out, "{} connections watching {} paths", connections.len(), paths.len())?;
    writeln!(out, "Total watches:{}", watches.len())
}

/// `wchc`: the paths of each connection, and a blank line.
pub(super) fn write_watches_by_connection(out: &mut String, watches: &[WatchedPath]) -> fmt::Result {
    let mut by_connection: BTreeMap<(CoreId, ConnId, SessionId), BTreeSet<&str>> = BTreeMap::new();
    for watch in watches {
        by_connection.entry((watch.core, watch.conn, watch.session)).or_default().insert(&watch.path);
    }
    for ((_, _, session), paths) in by_connection {
        writeln!(out, "{session}")?;
        paths.iter().try_for_each(|path| writeln!(out, "\t{path}"))?;
    }
    writeln!(out)
}

/// `wchp`: the sessions that watch each path, and a blank line.
pub(super) fn write_watches_by_path(out: &mut String, watches: &[WatchedPath]) -> fmt::Result {
    let mut by_path: BTreeMap<&str, BTreeSet<(CoreId, ConnId, SessionId)>> = BTreeMap::new();
    for watch in watches {
        by_path.entry(&watch.path).or_default().insert((watch.core, watch.conn, watch.session));
    }
    for (path, connections) in by_path {
        writeln!(out, "{path}")?;
        connections.iter().try_for_each(|(_, _, session)| writeln!(out, "\t{session}"))?;
    }
    writeln!(out)
}
