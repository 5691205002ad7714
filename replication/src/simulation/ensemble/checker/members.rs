//! Who the members are, as of every transaction, and what that asks of them.

use crate::peer::ensemble::{Change, Ensemble, ServerId};
use crate::request::{ReconfigOp, WriteResult};
use engine::acl::Identity;
use engine::error_code::ErrorCode;
use engine::zxid::Zxid;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The configurations in the order in which they took effect.
pub struct Members(Vec<(Zxid, Arc<Ensemble>)>);

impl Members {
    pub fn new(first: Arc<Ensemble>) -> Members {
        Members(vec![(Zxid::ZERO, first)])
    }

    /// The ones in force.
    pub fn current(&self) -> &Arc<Ensemble> {
        &self.0[self.0.len() - 1].1
    }

    /// How often they have changed.
    pub fn changes(&self) -> usize {
        self.0.len() - 1
    }

    /// The ones of the last change before an epoch.
    fn before_epoch(&self, epoch: u32) -> &Ensemble {
        let known = self.0.partition_point(|(zxid, _)| zxid.epoch() < epoch);
        &self.0[known.max(1) - 1].1
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
        let in_flight = self.0.last().is_some_and(|(last, _)| last.epoch() == zxid.epoch());
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
            self.0.push((zxid, Arc::new(next)));
        }
        Ok(())
    }

    /// A leader has completed what it knows from its file of the members proposed last: their transaction may have got lost
    /// with a log that was not flushed (`Leader.startZkServer` does so too).
    pub fn completed(&mut self, members: Arc<Ensemble>) {
        let zxid = Zxid::from_wire(members.version());
        if zxid.counter() > 0 && self.0.last().is_some_and(|(last, _)| zxid > *last) {
            self.0.push((zxid, members));
        }
    }

    /// What takes effect has to be in the logs of a quorum: of the members before it, and of those that it makes.
    pub fn committed(&self, zxid: Zxid, holders: &BTreeSet<ServerId>) -> Result<(), String> {
        let is_change = self.0.len() > 1 && self.0.last().is_some_and(|(last, _)| *last == zxid);
        let needed = self.0.iter().rev().take(1 + usize::from(is_change));
        match needed.map(|(_, ensemble)| ensemble).find(|ensemble| !ensemble.has_quorum(holders)) {
            Some(ensemble) => {
                let voters: Vec<ServerId> = ensemble.voters().collect();
                Err(format!("{zxid} takes effect without a quorum: of {voters:?} {holders:?} have it"))
            }
            None => Ok(()),
        }
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
        let due = self.0.partition_point(|(zxid, _)| *zxid <= view).max(1) - 1;
        let first = &self.0[0].1;
        let is_first = shown.same_membership(first) && shown.version() & 0xFFFF_FFFF == 0;
        let known = |(_, ensemble): &(Zxid, Arc<Ensemble>)| {
            shown.version() == ensemble.version() && shown.same_membership(ensemble)
        };
        (due == 0 && is_first) || self.0[due..].iter().any(known)
    }
}
