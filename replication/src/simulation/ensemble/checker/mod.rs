//! What is held against every step of every server, and against everything that a client is told.

mod members;
mod timeline;
mod watcher;

pub use members::Members;
pub use timeline::{Outcome, Timeline};
pub use watcher::{Watcher, Watches};

use super::server::State;
use crate::peer::ensemble::{Ensemble, ServerId};
use bytes::Bytes;
use engine::ids::SessionId;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// The account of everything that has taken effect anywhere.
pub struct Checker {
    /// All that has taken effect, in order.
    chain: Vec<(Zxid, Bytes)>,
    /// How much of the chain has taken effect at each server.
    applied: BTreeMap<i64, usize>,
    /// Which servers have a record in their logs, durably.
    held: BTreeMap<Zxid, BTreeMap<ServerId, Bytes>>,
    leaders: BTreeMap<u32, i64>,
    /// Sessions with their timeouts, as some server has shown them.
    sessions: BTreeMap<Zxid, Vec<(SessionId, i32)>>,
    /// The largest zxid that a client was told to be that of its write.
    acknowledged: Zxid,
    pub timeline: Timeline,
}

impl Checker {
    /// Of an ensemble that begins with these members.
    pub fn new(members: Arc<Ensemble>) -> Checker {
        Checker {
            chain: Vec::new(),
            applied: BTreeMap::new(),
            held: BTreeMap::new(),
            leaders: BTreeMap::new(),
            sessions: BTreeMap::new(),
            acknowledged: Zxid::ZERO,
            timeline: Timeline::new(members),
        }
    }

    /// A server has this in its log, durably.
    pub fn holds(&mut self, sid: i64, zxid: Zxid, bytes: Bytes) {
        if zxid > self.last() {
            self.held.entry(zxid).or_default().insert(ServerId(sid), bytes);
        }
    }

    /// A server's log is cut.
    pub fn drops(&mut self, sid: i64, behind: Zxid) {
        let later = self.held.range_mut((Bound::Excluded(behind), Bound::Unbounded));
        later.for_each(|(_, holders)| {
            holders.remove(&ServerId(sid));
        });
    }

    /// A server's state is a checkpoint or a snapshot as of `base`.
    pub fn restored(&mut self, sid: i64, base: Zxid) -> Result<(), String> {
        let known = self.chain.binary_search_by_key(&base, |(zxid, _)| *zxid);
        let at = match known {
            Ok(at) => at + 1,
            Err(_) if base == Zxid::ZERO => 0,
            // The first zxid of an epoch is nobody's: all that went before.
            Err(at) if base.counter() == 0 => at,
            Err(_) => return Err(format!("server {sid} holds a state as of {base}, which never took effect")),
        };
        self.applied.insert(sid, at);
        Ok(())
    }

    /// A transaction takes effect at a server: the next one of the chain, byte for byte.
    pub fn applied(&mut self, sid: i64, zxid: Zxid, bytes: &Bytes) -> Result<(), String> {
        let at = self.applied.entry(sid).or_default();
        match self.chain.get(*at) {
            Some((known, record)) if *known == zxid && record == bytes => {}
            Some((known, _)) if *known == zxid => {
                return Err(format!("{zxid} stands for two transactions, says server {sid}"));
            }
            Some((known, _)) => {
                return Err(format!("at server {sid} {zxid} takes effect where {known} did before"));
            }
            None => {
                let last = self.chain.last().map_or(Zxid::ZERO, |(last, _)| *last);
                if zxid <= last {
                    return Err(format!("{zxid} takes effect behind {last}"));
                }
                self.chain.push((zxid, bytes.clone()));
                self.timeline.members.pass(zxid);
                self.timeline.append(zxid, bytes)?;
                let held = self.held.remove(&zxid).unwrap_or_default();
                let holders = held.into_iter().filter(|(_, record)| record == bytes).map(|(sid, _)| sid).collect();
                self.timeline.members.committed(zxid, &holders)?;
            }
        }
        *at += 1;
        Ok(())
    }

    /// How many transactions have taken effect.
    pub fn len(&self) -> usize {
        self.chain.len()
    }

    pub fn last(&self) -> Zxid {
        self.chain.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// A server is established as leader, with this log behind a base, while these servers have its epoch for current,
    /// or a later one.
    pub fn leads(
        &mut self,
        sid: i64,
        epoch: u32,
        adopted: &BTreeSet<ServerId>,
        base: Zxid,
        log: &BTreeMap<Zxid, Bytes>,
    ) -> Result<(), String> {
        self.timeline.members.established(epoch, adopted)?;
        if let Some(other) = self.leaders.insert(epoch, sid) {
            return Err(format!("epoch {epoch} belongs to servers {other} and {sid}"));
        }
        // A leader that was away while it got its last acknowledgement may come after those of later epochs.
        let mut earlier = self.chain.iter().filter(|(zxid, _)| *zxid > base && zxid.epoch() < epoch);
        match earlier.find(|(zxid, bytes)| log.get(zxid) != Some(bytes)) {
            Some((zxid, _)) => {
                Err(format!("the leader of epoch {epoch}, server {sid}, lacks {zxid}, which took effect"))
            }
            None => Ok(()),
        }
    }

    /// How many leaders were established.
    pub fn reigns(&self) -> usize {
        self.leaders.len()
    }

    pub fn acknowledged(&self) -> Zxid {
        self.acknowledged
    }

    /// A client is told what its request has become. `before` is what had been acknowledged to anybody when it asked.
    pub fn answered(
        &mut self,
        (session, xid): (SessionId, i32),
        zxid: Zxid,
        told: &Outcome,
        before: Zxid,
    ) -> Result<(), String> {
        match self.timeline.outcome(zxid) {
            None => return Err(format!("{zxid} was acknowledged to {session:?}, and nobody has it")),
            Some((of, cxid, _)) if (*of, *cxid) != (session, xid) => {
                return Err(format!("{zxid} of {of:?} and {cxid} was acknowledged to {session:?} for request {xid}"));
            }
            Some((_, _, outcome)) if outcome != told => {
                return Err(format!("request {xid} of {session:?} at {zxid} gave {outcome:?}, it is told {told:?}"));
            }
            Some(_) => {}
        }
        if zxid <= before {
            return Err(format!("{zxid} was asked for when {before} had been acknowledged"));
        }
        self.acknowledged = self.acknowledged.max(zxid);
        Ok(())
    }

    /// What a server shows as of a zxid is what the requests up to there must have led to.
    pub fn shows(&mut self, sid: i64, zxid: Zxid, state: &State) -> Result<(), String> {
        let tree = self.timeline.tree(zxid);
        for (path, (data, stat, acl)) in &state.nodes {
            let Some(seen) = tree.get(path.as_str()) else {
                return Err(format!("as of {zxid} server {sid} has {path}, which ought not to be there"));
            };
            if data.as_deref() != seen.data.as_deref() || *stat != seen.stat || *acl != seen.acl {
                let is = (data, stat, acl);
                return Err(format!("as of {zxid} server {sid} has {path} as {is:?}, it ought to be {seen:?}"));
            }
        }
        let shown = |path: &&&str| **path == engine::path::CONFIG_NODE || state.nodes.contains_key(**path);
        if let Some(path) = tree.keys().find(|path| !shown(path)) {
            return Err(format!("as of {zxid} server {sid} lacks {path}"));
        }
        let ids: Vec<SessionId> = state.sessions.iter().map(|(session, _)| *session).collect();
        let expected = self.timeline.sessions(zxid);
        if ids != expected {
            return Err(format!("as of {zxid} server {sid} knows {ids:?}, there ought to be {expected:?}"));
        }
        let known = self.sessions.entry(zxid).or_insert_with(|| state.sessions.clone());
        match *known == state.sessions {
            true => Ok(()),
            false => Err(format!("as of {zxid} server {sid} knows {:?}, another {known:?}", state.sessions)),
        }
    }
}
