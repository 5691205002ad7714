//! The account of what was promised, apart from the machines that promised it.

use super::node::{Disk, Entry};
use engine::zxid::Zxid;
use std::collections::BTreeMap;

/// Everything that holds for all servers together.
#[derive(Default)]
pub(super) struct Checker {
    voters: u64,
    /// What each zxid stands for.
    meaning: BTreeMap<Zxid, u64>,
    /// Committed by anybody, in order.
    committed: Vec<Entry>,
    /// Who was established in an epoch.
    leaders: BTreeMap<u32, u64>,
}

impl Checker {
    pub(super) fn new(voters: u64) -> Checker {
        Checker { voters, ..Checker::default() }
    }

    pub(super) fn committed(&self) -> usize {
        self.committed.len()
    }

    /// Integrity: one zxid, one transaction.
    pub(super) fn logged(&mut self, entry: Entry) -> Result<(), String> {
        match self.meaning.insert(entry.0, entry.1) {
            Some(other) if other != entry.1 => Err(format!("{} stands for two transactions", entry.0)),
            _ => Ok(()),
        }
    }

    /// Agreement and total order: what a server takes for committed is a prefix of what others do, or the other way.
    pub(super) fn told_committed(&mut self, sid: u64, log: &[Entry], upto: Zxid) -> Result<(), String> {
        let told = &log[..log.partition_point(|(zxid, _)| *zxid <= upto)];
        let last = told.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        if upto.counter() > 0 && last != upto {
            return Err(format!("server {sid} was told that {upto} is committed, and does not have it"));
        }
        let both = told.len().min(self.committed.len());
        if let Some(at) = (0..both).find(|at| told[*at] != self.committed[*at]) {
            let (here, there) = (told[at], self.committed[at]);
            return Err(format!("server {sid} differs from what was committed: {here:?} instead of {there:?}"));
        }
        self.committed.extend_from_slice(&told[both..]);
        Ok(())
    }

    /// A commit rests on a quorum of disks, each of which has all of it up to there.
    pub(super) fn leader_commits<'a>(
        &self,
        log: &[Entry],
        upto: Zxid,
        voters: impl Iterator<Item = &'a Disk>,
    ) -> Result<(), String> {
        let prefix = &log[..log.partition_point(|(zxid, _)| *zxid <= upto)];
        let holders = voters.filter(|disk| disk.flushed().starts_with(prefix)).count() as u64;
        if holders > self.voters / 2 {
            Ok(())
        } else {
            Err(format!("{upto} was committed without a quorum: {holders}"))
        }
    }

    /// Durability: what is committed is at any time on a quorum of disks, so that it outlives all servers but any quorum
    /// of them.
    pub(super) fn held<'a>(&self, voters: impl Iterator<Item = &'a Disk>) -> Result<(), String> {
        let holders = voters.filter(|disk| disk.flushed().starts_with(&self.committed)).count() as u64;
        match holders > self.voters / 2 {
            true => Ok(()),
            false => Err(format!("what was committed is left on {holders} disks, which is no quorum")),
        }
    }

    /// Leader completeness, and one leader per epoch.
    pub(super) fn established(&mut self, sid: u64, epoch: u32, log: &[Entry]) -> Result<(), String> {
        if let Some(other) = self.leaders.insert(epoch, sid) {
            return Err(format!("servers {other} and {sid} both led epoch {epoch}"));
        }
        match log.starts_with(&self.committed) {
            true => Ok(()),
            false => Err(format!("server {sid} leads epoch {epoch} without all that was committed")),
        }
    }

    /// Durable before spoken: ACK of a proposal.
    pub(super) fn acknowledged(&self, sid: u64, zxid: Zxid, disk: &Disk) -> Result<(), String> {
        match disk.flushed().iter().any(|(flushed, _)| *flushed == zxid) {
            true => Ok(()),
            false => Err(format!("server {sid} acknowledged {zxid}, which its disk may lose")),
        }
    }

    /// Durable before spoken: ACK of NEWLEADER.
    pub(super) fn adopted(&self, sid: u64, epoch: u32, disk: &Disk) -> Result<(), String> {
        match disk.current == epoch {
            true => Ok(()),
            false => Err(format!("server {sid} acknowledged NEWLEADER of epoch {epoch} without having it on disk")),
        }
    }

    /// Durable before spoken: ACKEPOCH and LEADERINFO.
    pub(super) fn promised(&self, sid: u64, epoch: u32, disk: &Disk) -> Result<(), String> {
        match disk.accepted >= epoch {
            true => Ok(()),
            false => Err(format!("server {sid} promised epoch {epoch} without having it on disk")),
        }
    }

    /// At the end, healed: everybody has everything.
    pub(super) fn equal<'a>(&self, disks: impl Iterator<Item = (u64, &'a Disk)>) -> Result<(), String> {
        let all = self.committed.last();
        for (sid, disk) in disks {
            if disk.flushed() != self.committed {
                let last = disk.flushed().last();
                return Err(format!("server {sid} ends with {last:?} instead of {all:?} although all was healed"));
            }
        }
        Ok(())
    }
}
