//! Who the members are, as of every transaction, and what that asks of them.

use crate::peer::ensemble::{Change, Ensemble, ServerId};
use crate::request::{ReconfigOp, WriteResult};
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::zxid::Zxid;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The configurations in the order in which they took effect.
pub struct Members {
    chain: Vec<(Zxid, Arc<Ensemble>)>,
    /// In force at some server, while their transactions have taken effect nowhere. A leader puts members into force before
    /// their transaction, and may stop in between; and what it completes it may know from its file alone, the transaction
    /// having got lost with a log that was not flushed (`Leader.startZkServer` does so too).
    ahead: BTreeMap<Zxid, Arc<Ensemble>>,
}

impl Members {
    pub fn new(first: Arc<Ensemble>) -> Members {
        Members { chain: vec![(Zxid::ZERO, first)], ahead: BTreeMap::new() }
    }

    /// The ones in force.
    pub fn current(&self) -> &Arc<Ensemble> {
        &self.chain[self.chain.len() - 1].1
    }

    /// How often they have changed.
    pub fn changes(&self) -> usize {
        self.chain.len() - 1
    }

    /// The ones of the last change before an epoch.
    fn before_epoch(&self, epoch: u32) -> &Ensemble {
        let known = self.chain.partition_point(|(zxid, _)| zxid.epoch() < epoch);
        let mut ahead = self.ahead.iter().filter(|(zxid, _)| zxid.epoch() < epoch);
        ahead.next_back().map_or(&self.chain[known.max(1) - 1].1, |(_, ensemble)| ensemble)
    }

    /// A server has put members into force, while these servers have its epoch for current, or a later one: a quorum of the
    /// members before, and of the new ones, has to be with it.
    pub fn in_force(&mut self, members: Arc<Ensemble>, with_it: &BTreeSet<ServerId>) -> Result<(), String> {
        let zxid = Zxid::from_wire(members.version());
        let (last, before) = self.ahead.last_key_value().unwrap_or_else(|| {
            let (zxid, ensemble) = &self.chain[self.chain.len() - 1];
            (zxid, ensemble)
        });
        if zxid.counter() == 0 || zxid <= *last {
            return Ok(());
        }
        is_quorum(zxid, [before, &members], with_it)?;
        self.ahead.insert(zxid, members);
        Ok(())
    }

    /// The next transaction takes effect: the one of members that came into force before it is lost.
    pub fn pass(&mut self, zxid: Zxid) {
        let later = self.ahead.split_off(&zxid);
        self.chain.extend(std::mem::replace(&mut self.ahead, later));
    }

    /// What a request for a change was told, `Ok` being the text of the new members, against what it asked for. What
    /// depends on who is connected, and on what is under way, is taken on trust as far as it can be.
    pub fn judge(
        &mut self,
        op: &ReconfigOp,
        zxid: Zxid,
        identity: &Identity,
        told: &Result<WriteResult, ErrorCode>,
    ) -> Result<(), String> {
        let current = self.current();
        let change = match op.members.as_deref() {
            Some(members) => Change::Members(members),
            None => Change::Steps { joining: op.joining.as_deref(), leaving: op.leaving.as_deref() },
        };
        let is_stale = op.config_version != -1 && op.config_version != current.version();
        let next = current.changed(change, zxid.to_wire(), true);
        let in_flight = self.chain.last().is_some_and(|(last, _)| last.epoch() == zxid.epoch());
        let is_right = match (told, &next) {
            (Err(ErrorCode::ReconfigInProgress), _) => in_flight,
            (Err(ErrorCode::BadVersion), _) => is_stale,
            (Err(ErrorCode::BadArguments), Err(_)) | (Err(ErrorCode::NewConfigNoQuorum), Ok(_)) => !is_stale,
            (Err(ErrorCode::NoAuth), Ok(_)) => !is_stale && !identity.bypasses(),
            (Ok(WriteResult::Config { data }), Ok(next)) => {
                !is_stale && identity.bypasses() && **data == *next.text().as_bytes()
            }
            _ => false,
        };
        if !is_right {
            return Err(format!("{zxid} makes {told:?} of {op:?}, which leads from {current:?} to {next:?}"));
        }
        if let (Ok(_), Ok(next)) = (told, next) {
            self.ahead.remove(&zxid);
            self.chain.push((zxid, Arc::new(next)));
        }
        Ok(())
    }

    /// What takes effect has to be in the logs of a quorum: of the members before it, and of those that it makes.
    pub fn committed(&self, zxid: Zxid, holders: &BTreeSet<ServerId>) -> Result<(), String> {
        let is_change = self.chain.len() > 1 && self.chain.last().is_some_and(|(last, _)| *last == zxid);
        let needed = self.chain.iter().rev().take(1 + usize::from(is_change));
        is_quorum(zxid, needed.map(|(_, ensemble)| ensemble), holders)
    }

    /// A leader has to have the promises of a quorum of those in force when its epoch began.
    pub fn established(&self, epoch: u32, adopted: &BTreeSet<ServerId>) -> Result<(), String> {
        let ensemble = self.before_epoch(epoch);
        match ensemble.has_quorum(adopted) {
            true => Ok(()),
            false => {
                let voters: Vec<ServerId> = ensemble.voters().collect();
                Err(format!("epoch {epoch} is established without a quorum: of {voters:?} {adopted:?} are in it"))
            }
        }
    }

    /// What /zookeeper/config may hold as of a view: the members in force there, or later ones, which a server is told of
    /// before it is in step.
    pub fn is_shown(&self, text: &[u8], view: Zxid) -> bool {
        let Ok(shown) = Ensemble::parse(&String::from_utf8_lossy(text)) else { return false };
        let due = self.chain.partition_point(|(zxid, _)| *zxid <= view).max(1) - 1;
        let first = &self.chain[0].1;
        let is_first = shown.same_membership(first) && shown.version() & 0xFFFF_FFFF == 0;
        let known = |ensemble: &Arc<Ensemble>| shown.version() == ensemble.version() && shown.same_membership(ensemble);
        let later = self.chain[due..].iter().map(|(_, ensemble)| ensemble);
        (due == 0 && is_first) || later.chain(self.ahead.values()).any(known)
    }
}

/// Whether these servers are a quorum of each of the configurations that a transaction needs.
fn is_quorum<'a>(
    zxid: Zxid,
    needed: impl IntoIterator<Item = &'a Arc<Ensemble>>,
    servers: &BTreeSet<ServerId>,
) -> Result<(), String> {
    match needed.into_iter().find(|ensemble| !ensemble.has_quorum(servers)) {
        Some(ensemble) => {
            let voters: Vec<ServerId> = ensemble.voters().collect();
            Err(format!("{zxid} takes effect without a quorum: of {voters:?} {servers:?} have it"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(voters: &[i64], version: Zxid) -> Arc<Ensemble> {
        let lines: String = voters.iter().map(|sid| format!("server.{sid}=s{sid}:1:2:participant\n")).collect();
        Arc::new(Ensemble::parse(&format!("{lines}version={:x}", version.to_wire())).unwrap())
    }

    fn sids(sids: &[i64]) -> BTreeSet<ServerId> {
        sids.iter().map(|sid| ServerId(*sid)).collect()
    }

    #[test]
    fn members_count_from_when_a_leader_has_put_them_into_force() {
        let next = members(&[1, 3], Zxid::new(2, 12));
        let mut all = Members::new(members(&[1, 2, 3, 4], Zxid::ZERO));
        assert!(all.established(4, &sids(&[1, 3])).is_err(), "two of four");
        assert!(all.in_force(Arc::clone(&next), &sids(&[1, 3])).is_err(), "the old ones have to agree");
        assert!(all.in_force(Arc::clone(&next), &sids(&[1, 2, 4])).is_err(), "so have the new ones");
        all.in_force(Arc::clone(&next), &sids(&[1, 2, 3])).unwrap();
        all.in_force(Arc::clone(&next), &sids(&[1])).unwrap();
        all.established(4, &sids(&[1, 3])).unwrap();
        assert!(all.established(2, &sids(&[1, 3])).is_err(), "in an epoch before it is proposed");
        assert!(all.is_shown(next.text().as_bytes(), Zxid::new(2, 3)));

        assert_eq!((all.changes(), all.current().voters().count()), (0, 4), "nothing of it has taken effect");
        all.pass(Zxid::new(2, 12));
        assert_eq!(all.changes(), 0, "its own transaction comes now");
        all.pass(Zxid::new(4, 1));
        assert_eq!((all.changes(), all.current()), (1, &next), "it is lost");
        assert!(!all.is_shown(members(&[1, 2, 3, 4], Zxid::ZERO).text().as_bytes(), Zxid::new(4, 1)));
    }
}
