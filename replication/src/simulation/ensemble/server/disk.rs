//! The server's disk: what survives a crash, and the writing of the log, of partitions and of checkpoints.

use super::super::super::disk::Files;
use super::{Cutting, Effect, Server, Taking, usage};
use crate::node::{Epochs, Input};
use crate::peer::ensemble::{Ensemble, Views};
use crate::role::{self, Now};
use crate::wal::disk::{Chance, Disk};
use engine::partition::{LogAction, Manifest};
use engine::zxid::Zxid;
use std::ops::Bound;
use std::sync::Arc;

/// Transactions between two checkpoints.
const SNAP_COUNT: u32 = 60;

/// What survives a crash.
pub struct Storage {
    pub(super) wal: Disk,
    pub(super) files: Files,
    /// As a file holds it.
    pub(super) manifest: Option<Vec<u8>>,
    /// In force when the log has begun anew behind it.
    pub(super) next_manifest: Option<Manifest>,
    pub(super) epochs: Option<Epochs>,
    /// The members in force, and those that were proposed last.
    pub(super) members: Arc<Ensemble>,
    pub last_seen: Arc<Ensemble>,
    /// Something on it is not what it was, and nobody has found out.
    pub(super) has_decayed: bool,
    /// The mark of a member that has lost something.
    pub is_repairing: bool,
    /// Batches that were found torn.
    pub torn_tails: u64,
    /// Damage that the checkpoint covered, damage for which things were set aside, and members made whole.
    pub covered: u64,
    pub set_asides: u64,
    pub repairs: u64,
    /// Pages that crashes have lost, checkpoints, snapshots that became the state, and cuts of the log.
    pub lost_pages: u32,
    pub checkpoints: u64,
    pub snapshots: u64,
    pub cuts: u64,
    /// Snapshots that were begun for learners.
    pub streams: u64,
    /// Pieces of the log that learners were given.
    pub log_reads: u64,
    /// Writes that have failed.
    pub failures: u64,
}

/// What a disk does to the next thing that is asked of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// It fails with this error, having done any part of it.
    Error(i32),
    /// It ends early.
    Short,
}

const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

impl DiskFault {
    pub fn any(chance: &mut Chance) -> DiskFault {
        match chance.below(3) {
            0 => DiskFault::Error(EIO),
            1 => DiskFault::Error(ENOSPC),
            _ => DiskFault::Short,
        }
    }
}

impl Storage {
    /// An empty disk, of a server that is told of these members.
    pub fn new(members: Arc<Ensemble>) -> Storage {
        Storage {
            wal: Disk::default(),
            files: Files::default(),
            manifest: None,
            next_manifest: None,
            epochs: None,
            last_seen: Arc::clone(&members),
            members,
            has_decayed: false,
            is_repairing: false,
            torn_tails: 0,
            covered: 0,
            set_asides: 0,
            repairs: 0,
            lost_pages: 0,
            checkpoints: 0,
            snapshots: 0,
            cuts: 0,
            streams: 0,
            log_reads: 0,
            failures: 0,
        }
    }

    /// An operator names the members.
    pub fn told(&mut self, members: Arc<Ensemble>) {
        (self.members, self.last_seen) = (Arc::clone(&members), members);
    }

    /// The configurations, as they are on disk.
    pub fn views(&self) -> Views {
        let mut views = Views::settled(Arc::clone(&self.members));
        views.see(Arc::clone(&self.last_seen));
        views
    }

    /// The promises, as they are on disk.
    pub fn epochs(&self) -> Epochs {
        self.epochs.unwrap_or_default()
    }

    /// The server is gone: any sectors of the write under way, and any pages that were not flushed, are there.
    pub fn crash(&mut self, server: Server, chance: &mut Chance) {
        if let Some(write) = server.in_flight {
            let percent = chance.below(101);
            self.wal.write(&write, |_| chance.percent(percent));
        }
        self.files.crash(chance, &mut self.lost_pages);
    }
}

impl Server {
    /// Asks the log what it wants next. Whether there is a segment to prepare, and a write to make, that were not there
    /// before.
    pub fn poll_log(&mut self) -> (bool, bool) {
        let asks = self.prepare.is_none()
            && self.wal.poll_prepare().is_some_and(|prepare| self.prepare.replace(prepare).is_none());
        let committed = self.node.role().committed();
        let writes = self.in_flight.is_none()
            && self.wal.poll_write(committed).is_some_and(|write| self.in_flight.replace(write).is_none());
        (asks, writes)
    }

    /// The segment asked for is there, or cannot be had: then it is asked for again, and writes wait.
    pub fn prepared(&mut self, storage: &mut Storage) -> Result<(), String> {
        let Some(prepare) = self.prepare.take() else { return Ok(()) };
        if let Some(DiskFault::Error(ENOSPC)) = self.fault {
            self.fault = None;
            storage.failures += 1;
            self.wal.prepare_failed();
            return Ok(());
        }
        self.wal.prepared(storage.wal.prepare(prepare)).map_err(|problem| problem.to_string())
    }

    /// The write fails. Any sectors of it may be there, and nothing that was in it may be acknowledged from here on.
    pub fn write_fails(&mut self, fault: DiskFault, storage: &mut Storage, chance: &mut Chance) -> Result<(), String> {
        let Some(write) = self.in_flight.take() else { return Ok(()) };
        let percent = chance.below(101);
        storage.wal.write(&write, |_| chance.percent(percent));
        storage.failures += 1;
        let before = self.wal.durable().get();
        let result = match fault {
            DiskFault::Error(errno) => Err(std::io::Error::from_raw_os_error(errno)),
            DiskFault::Short => Ok(chance.below(write.buf.len() as u64) as usize),
        };
        let is_told = self.wal.written(write.token, result).is_ok();
        let goes_on = self.wal.poll_write(self.node.role().committed()).is_some();
        if is_told || goes_on || self.wal.durable().get() != before {
            return Err(format!("a write that failed ({fault:?}) was taken for a good one"));
        }
        self.stopped = Some("its log cannot be written");
        Ok(())
    }

    /// Records of the log that are durable from here on.
    pub(super) fn holds(&mut self, behind: Zxid, upto: Zxid) {
        let new = self.log.range((Bound::Excluded(behind), Bound::Included(upto.max(behind))));
        self.effects.extend(new.map(|(zxid, bytes)| Effect::Holds(*zxid, bytes.clone())));
    }

    pub fn written(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let Some(write) = self.in_flight.take() else { return Ok(()) };
        storage.wal.write(&write, |_| true);
        let (len, before) = (write.buf.len(), self.wal.durable().get());
        let durable = self.wal.written(write.token, Ok(len)).map_err(|problem| problem.to_string())?;
        // A log that is begun anew holds nothing of what waited for this write.
        if !matches!(self.cutting, Some(Cutting::Installs { .. })) {
            self.holds(before, durable.get());
        }
        self.wal.recycle(write.buf);
        self.tell_log_base(now, storage)?;
        if self.cutting.is_none() {
            return self.step(now, Input::Durable(durable), storage);
        }
        if self.wal.is_cutting() {
            return Ok(());
        }
        match self.cutting.take() {
            Some(Cutting::Installs { state, behind }) => self.install(now, *state, behind, storage),
            _ => self.step(now, Input::LogTruncated(durable), storage),
        }
    }

    /// Whether a shard has something for its files.
    pub fn has_log_work(&self) -> bool {
        self.log_work.iter().any(|work| !work.is_empty())
    }

    /// The next thing that the shards want of their files.
    pub fn log_step(&mut self, storage: &mut Storage) -> Result<(), String> {
        let next =
            self.log_work.iter_mut().zip(&mut self.shards).find_map(|(work, shard)| Some((work.pop_front()?, shard)));
        let Some((action, shard)) = next else { return Ok(()) };
        if self.fault.take().is_some() {
            storage.failures += 1;
            self.stopped = Some("a partition's log cannot be written");
            return Ok(());
        }
        match action {
            LogAction::NeedSegment { partition, generation, segment, bytes } => {
                let file = storage.files.create((partition, generation, segment), bytes);
                shard.segment_ready(partition, segment, file);
            }
            LogAction::Write { partition, generation, segment, offset, bytes } => {
                storage.files.get((partition, generation, segment)).write(offset, &bytes);
                shard.written(partition, segment, offset + bytes.len() as u64);
            }
            LogAction::RemoveSegment { partition, generation, segment } => {
                storage.files.remove((partition, generation, segment));
            }
        }
        self.take_shard_actions()
    }

    pub fn measure(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let Some(path) = self.measures.pop_front() else { return Ok(()) };
        let usage = usage(&self.shards, &path);
        self.step(now, Input::Role(role::Input::Measured { path, usage }), storage)
    }

    // ---- checkpoints ----

    /// Whether one ought to be begun. Says so once.
    pub fn wants_checkpoint(&mut self) -> bool {
        let wants = self.since_checkpoint >= SNAP_COUNT && self.taking.is_none() && self.incoming.is_none();
        if wants {
            self.since_checkpoint = 0;
        }
        wants
    }

    /// Whether the parts of one are all written.
    pub fn has_checkpoint(&self) -> bool {
        self.taking.as_ref().is_some_and(|taking| !taking.cuts.iter().any(Vec::is_empty))
    }

    pub fn finish_checkpoint(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        if !self.has_checkpoint() {
            return Ok(());
        }
        let Some(Taking { zxid, system, cuts }) = self.taking.take() else { return Ok(()) };
        if self.fault.take().is_some() {
            storage.failures += 1;
            self.stopped = Some("a checkpoint cannot be flushed");
            return Ok(());
        }
        storage.files.flush_all();
        storage.checkpoints += 1;
        let manifest = Manifest {
            server: 1,
            hash_key: Manifest::fingerprint(&self.key),
            is_installed: self.wal.is_resetting(),
            zxid,
            partitions: cuts.iter().flatten().cloned().collect(),
            system,
        };
        storage.manifest = Some(manifest.encode());
        for (shard, cuts) in self.shards.iter_mut().zip(&cuts) {
            shard.manifest_durable(cuts);
        }
        for retired in self.wal.retire(zxid) {
            storage.wal.retire(retired);
        }
        self.take_shard_actions()?;
        self.tell_log_base(now, storage)
    }

    /// Says from where on learners can be served from the log on disk.
    pub(super) fn tell_log_base(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let base = Some(self.wal.layout().base());
        if self.wal.is_cutting() || self.told_base == base {
            return Ok(());
        }
        self.told_base = base;
        self.step(now, Input::LogBase(base), storage)
    }
}
