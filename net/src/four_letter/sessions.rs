//! Sessions and their ephemerals, as `dump` lists them.

use super::snapshot::{ServerSnapshot, ServerState, SessionDeadline};
use super::text::java_date;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

/// The session tracker's part: by deadline where the server tracks expiry itself, a plain list on learners, which leave
/// it to the leader (`SessionTrackerImpl`, `LearnerSessionTracker`, `LeaderSessionTracker`).
pub(super) fn write_sessions(out: &mut String, snapshot: &ServerSnapshot) -> fmt::Result {
    let (local, global): (Vec<_>, Vec<_>) = snapshot.sessions.iter().partition(|session| session.is_local);
    match snapshot.state {
        ServerState::Standalone | ServerState::ReadOnly => {
            write!(out, "Session ")?;
            write_by_deadline(out, snapshot, &snapshot.sessions.iter().collect::<Vec<_>>())
        }
        ServerState::Leader if local.is_empty() => {
            write!(out, "Global Session ")?;
            write_by_deadline(out, snapshot, &global)
        }
        ServerState::Leader => {
            write!(out, "Local Session ")?;
            write_by_deadline(out, snapshot, &local)?;
            write!(out, "Global Session ")?;
            write_by_deadline(out, snapshot, &global)
        }
        ServerState::Follower | ServerState::Observer => {
            if !local.is_empty() {
                write!(out, "Local Session ")?;
                write_by_deadline(out, snapshot, &local)?;
            }
            writeln!(out, "Global Sessions({}):", global.len())?;
            let mut global = global;
            global.sort_by_key(|session| session.session);
            global.iter().try_for_each(|session| writeln!(out, "{}\t{}ms", session.session, session.timeout_ms))
        }
    }
}

/// The ephemerals' part (`DataTree.dumpEphemerals`).
pub(super) fn write_ephemerals(out: &mut String, snapshot: &ServerSnapshot) -> fmt::Result {
    writeln!(out, "Sessions with Ephemerals ({}):", snapshot.ephemerals.len())?;
    for (session, paths) in &snapshot.ephemerals {
        writeln!(out, "{session}:")?;
        paths.iter().try_for_each(|path| writeln!(out, "\t{path}"))?;
    }
    Ok(())
}

/// `ExpiryQueue.dump`: `Sets (buckets)/(elements)`.
fn write_by_deadline(out: &mut String, snapshot: &ServerSnapshot, sessions: &[&SessionDeadline]) -> fmt::Result {
    let mut by_deadline: BTreeMap<i64, Vec<&SessionDeadline>> = BTreeMap::new();
    for session in sessions {
        by_deadline.entry(session.expires_mono_ms).or_default().push(session);
    }
    writeln!(out, "Sets ({})/({}):", by_deadline.len(), sessions.len())?;
    for (deadline_ms, sessions) in by_deadline {
        writeln!(out, "{} expire at {}:", sessions.len(), java_date(snapshot.wall_ms(deadline_ms)))?;
        sessions.iter().try_for_each(|session| writeln!(out, "\t{}", session.session))?;
    }
    Ok(())
}
