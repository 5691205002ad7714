//! What is held against every step of every server.

use super::server::State;
use bytes::Bytes;
use engine::ids::SessionId;
use engine::txn::{self, Txn};
use engine::zxid::Zxid;
use std::collections::BTreeMap;

/// The account of everything that has taken effect anywhere.
#[derive(Default)]
pub(super) struct Checker {
    /// All that has taken effect, in order.
    chain: Vec<(Zxid, Bytes)>,
    /// How much of the chain has taken effect at each server.
    applied: BTreeMap<i64, usize>,
    leaders: BTreeMap<u32, i64>,
    states: BTreeMap<Zxid, State>,
    /// The largest zxid that a client was told.
    acknowledged: Zxid,
}

impl Checker {
    /// A server's state is a checkpoint or a snapshot as of `base`.
    pub(super) fn restored(&mut self, sid: i64, base: Zxid) -> Result<(), String> {
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
    pub(super) fn applied(&mut self, sid: i64, zxid: Zxid, bytes: &Bytes) -> Result<(), String> {
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
            }
        }
        *at += 1;
        Ok(())
    }

    /// How many transactions have taken effect.
    pub(super) fn len(&self) -> usize {
        self.chain.len()
    }

    pub(super) fn last(&self) -> Zxid {
        self.chain.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// A server is established as leader, with this log behind a base.
    pub(super) fn leads(
        &mut self,
        sid: i64,
        epoch: u32,
        base: Zxid,
        log: &BTreeMap<Zxid, Bytes>,
    ) -> Result<(), String> {
        if let Some(other) = self.leaders.insert(epoch, sid) {
            return Err(format!("epoch {epoch} belongs to servers {other} and {sid}"));
        }
        match self.chain.iter().filter(|(zxid, _)| *zxid > base).find(|(zxid, bytes)| log.get(zxid) != Some(bytes)) {
            Some((zxid, _)) => {
                Err(format!("the leader of epoch {epoch}, server {sid}, lacks {zxid}, which took effect"))
            }
            None => Ok(()),
        }
    }

    /// How many leaders were established.
    pub(super) fn reigns(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn acknowledged(&self) -> Zxid {
        self.acknowledged
    }

    /// A client is told that its request has become this transaction. `before` is what had been acknowledged to anybody
    /// when it asked.
    pub(super) fn answered(&mut self, session: SessionId, cxid: i32, zxid: Zxid, before: Zxid) -> Result<(), String> {
        let Ok(at) = self.chain.binary_search_by_key(&zxid, |(zxid, _)| *zxid) else {
            return Err(format!("{zxid} was acknowledged to {session:?}, and nobody has it"));
        };
        let (header, txn) = txn::decode(&self.chain[at].1).map_err(|problem| problem.to_string())?;
        if (header.client, header.cxid) != (session, cxid) {
            return Err(format!("{zxid} was acknowledged to {session:?} for request {cxid}, and is of {header:?}"));
        }
        if zxid <= before {
            return Err(format!("{zxid} was asked for when {before} had been acknowledged"));
        }
        debug_assert!(!matches!(txn, Txn::CreateSession { .. }));
        self.acknowledged = self.acknowledged.max(zxid);
        Ok(())
    }

    /// Whether the state as of a zxid has been seen already.
    pub(super) fn knows(&self, zxid: Zxid) -> bool {
        self.states.contains_key(&zxid)
    }

    /// What a server shows as of a zxid is what every other one shows.
    pub(super) fn shows(&mut self, sid: i64, zxid: Zxid, state: State) -> Result<(), String> {
        let Some(known) = self.states.get(&zxid) else {
            self.states.insert(zxid, state);
            return Ok(());
        };
        if *known == state {
            return Ok(());
        }
        let paths = known.nodes.keys().chain(state.nodes.keys());
        let differs = paths.into_iter().find(|path| known.nodes.get(*path) != state.nodes.get(*path));
        Err(match differs {
            Some(path) => {
                let (one, other) = (state.nodes.get(path), known.nodes.get(path));
                format!("as of {zxid} server {sid} has {path} as {one:?}, another has it as {other:?}")
            }
            None => format!("as of {zxid} server {sid} knows {:?}, another {:?}", state.sessions, known.sessions),
        })
    }
}
