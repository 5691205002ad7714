//! Snapshots: to learners, and from the leader.

use super::super::super::checkpoint::{self, Loaded};
use super::super::super::shards::host_shards;
use super::{Cutting, Effect, PARTITIONS, Server, Storage};
use crate::node::Input;
use crate::peer::snapshot::reader::SnapshotReader;
use crate::peer::snapshot::stage::Stage;
use crate::peer::snapshot::stream::SnapshotStream;
use crate::peer::snapshot::walk::{DepthWalk, WalkStep};
use crate::peer::snapshot::writer::HeadWriter;
use crate::role::Now;
use crate::session::LearnerId;
use bytes::Bytes;
use engine::ids::ShardId;
use engine::partition::{LogAction, Manifest};
use engine::path::HashKey;
use engine::shard::PinId;
use engine::zxid::Zxid;
use std::collections::VecDeque;

/// Apart from those in use, as hosts have it: so far beyond them are a snapshot's files.
const GENERATIONS_APART: u32 = 1024;

/// A snapshot for a learner.
pub(super) struct Outgoing {
    learner: LearnerId,
    stream: SnapshotStream,
    /// By shard.
    walks: Vec<(DepthWalk, PinId)>,
}

/// The leader's snapshot.
pub(super) struct Incoming {
    zxid: Zxid,
    /// Until it is to become the state.
    stage: Option<Stage>,
    reader: Option<SnapshotReader>,
    /// Bytes that nobody has looked at.
    pub(super) waiting: VecDeque<Bytes>,
    /// It is to become the state, and this is what the log holds behind it.
    pub(super) behind: Option<Vec<(Zxid, Bytes)>>,
}

impl Server {
    pub(super) fn begin_outgoing(&mut self, learner: LearnerId) -> Result<Zxid, String> {
        let system = self.node.role().system_state();
        let zxid = system.zxid;
        let stream = SnapshotStream::new(HeadWriter::new(system.sessions, system.acls), self.shards.len() as u16, true);
        let mut walks = Vec::new();
        for shard in &mut self.shards {
            let Some(pin) = shard.pin(zxid) else { return Err(format!("{zxid} cannot be pinned")) };
            walks.push((DepthWalk::new(), pin));
        }
        self.outgoing.push(Outgoing { learner, stream, walks });
        Ok(zxid)
    }

    pub(super) fn end_outgoing(&mut self, whose: Option<LearnerId>) {
        for outgoing in self.outgoing.extract_if(.., |outgoing| whose.is_none_or(|whose| whose == outgoing.learner)) {
            for (shard, (_, pin)) in self.shards.iter_mut().zip(outgoing.walks) {
                shard.unpin(pin);
            }
        }
    }

    pub(super) fn begin_incoming(&mut self, zxid: Zxid, storage: &Storage) {
        let generation = storage.files.newest_generation() + GENERATIONS_APART;
        self.incoming = Some(Incoming {
            zxid,
            stage: Some(Stage::new(HashKey::clone(&self.key), PARTITIONS, generation, zxid)),
            reader: Some(SnapshotReader::new(1 << 20)),
            waiting: VecDeque::new(),
            behind: None,
        });
    }

    /// Whether [`Self::work_on_snapshots`] has something to do.
    pub fn has_snapshots(&self) -> bool {
        let incoming = self.incoming.as_ref().is_some_and(|incoming| {
            (incoming.reader.is_some() && !incoming.waiting.is_empty())
                || (incoming.behind.is_some() && self.taking.is_none() && self.cutting.is_none())
        });
        incoming || !self.outgoing.is_empty()
    }

    /// Some steps for every snapshot.
    pub fn work_on_snapshots(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let mut inputs = Vec::new();
        for Outgoing { learner, stream, walks } in &mut self.outgoing {
            let mut asks = Vec::new();
            stream.poll(&mut asks);
            for ask in asks {
                walks[usize::from(ask.shard.0)].0.ask(ask.depth);
            }
            for (at, (walk, pin)) in walks.iter_mut().enumerate().filter(|(_, (walk, _))| walk.is_asked()) {
                match walk.step(&self.shards[at], pin).map_err(|damage| damage.to_string())? {
                    WalkStep::Working => {}
                    WalkStep::Chunk(chunk) => stream.chunk(ShardId(at as u16), chunk),
                    WalkStep::Fetch(..) => return Err("everything is in memory".to_owned()),
                }
            }
            if self.node.has_room_for(*learner) {
                match stream.next_chunk() {
                    Some(bytes) => inputs.push(Input::SnapshotBytes(*learner, bytes.into())),
                    None if stream.is_done() => inputs.push(Input::SnapshotEnd(*learner)),
                    None => {}
                }
            }
        }
        for input in inputs {
            if let Input::SnapshotEnd(learner) = input {
                self.end_outgoing(Some(learner));
            }
            self.step(now, input, storage)?;
        }
        self.read_incoming(now, storage)?;
        let is_due = self.incoming.as_ref().is_some_and(|incoming| incoming.behind.is_some());
        if is_due && self.taking.is_none() && self.cutting.is_none() { self.begin_to_install(storage) } else { Ok(()) }
    }

    /// Takes the next bytes of the leader's snapshot apart.
    fn read_incoming(&mut self, now: Now, storage: &mut Storage) -> Result<(), String> {
        let Some(incoming) = &mut self.incoming else { return Ok(()) };
        let (Some(mut reader), Some(stage), Some(bytes)) =
            (incoming.reader.take(), &mut incoming.stage, incoming.waiting.pop_front())
        else {
            return Ok(());
        };
        reader.feed(&bytes);
        while let Some(event) = reader.next_event().map_err(|problem| problem.to_string())? {
            stage.take(event).map_err(|problem| problem.to_string())?;
        }
        if !reader.is_done() {
            incoming.reader = Some(reader);
            return Ok(());
        }
        let mut rest = reader.into_rest();
        for bytes in incoming.waiting.drain(..) {
            rest.extend_from_slice(&bytes);
        }
        self.step(now, Input::SnapshotParsed(rest.into()), storage)
    }

    /// The snapshot lies ready with its manifest, and the log is begun anew: with that it is the state.
    fn begin_to_install(&mut self, storage: &mut Storage) -> Result<(), String> {
        if self.fault.take().is_some() {
            storage.failures += 1;
            self.stopped = Some("a snapshot cannot be written");
            return Ok(());
        }
        let Some(Incoming { zxid, stage, behind, .. }) = &mut self.incoming else { return Ok(()) };
        let Some(mut stage) = stage.take() else { return Ok(()) };
        let (zxid, behind) = (*zxid, behind.clone().unwrap_or_default());
        write_stage(&mut stage, storage);
        stage.seal();
        write_stage(&mut stage, storage);
        let Some(cuts) = stage.cuts() else { return Err("the snapshot's partitions are not written out".to_owned()) };
        storage.files.flush_all();
        let manifest = Manifest {
            server: 1,
            hash_key: Manifest::fingerprint(&self.key),
            is_installed: true,
            zxid,
            partitions: cuts.to_vec(),
            system: stage.system().encode(),
        };
        let state = Box::new(checkpoint::staged(&manifest, stage, &self.config)?);
        let records = behind.iter().map(|(zxid, record)| (*zxid, &record[..]));
        storage.next_manifest = Some(manifest);
        self.wal.reset(zxid, records).map_err(|problem| problem.to_string())?;
        self.cutting = Some(Cutting::Installs { state, behind });
        Ok(())
    }

    /// The log has begun anew.
    pub(super) fn install(
        &mut self,
        now: Now,
        state: Loaded,
        behind: Vec<(Zxid, Bytes)>,
        storage: &mut Storage,
    ) -> Result<(), String> {
        let Some(manifest) = storage.next_manifest.take() else { return Ok(()) };
        let zxid = manifest.zxid;
        storage.manifest = Some(manifest.encode());
        self.incoming = None;
        storage.snapshots += 1;
        self.has_new_state = true;
        self.since_checkpoint = 0;
        self.measures.clear();
        self.log = behind.iter().cloned().collect();
        self.log_base = zxid;
        self.effects.push_back(Effect::Drops(zxid));
        self.holds(zxid, self.wal.durable().get());
        let Loaded { partitions, ledger, system } = state;
        self.shards = host_shards(&self.key, self.shards.len() as u16, partitions);
        self.log_work.iter_mut().for_each(VecDeque::clear);
        self.effects.push_back(Effect::Restored(zxid));
        let mut actions = Vec::new();
        let role = self.node.role_mut();
        role.restart_from_snapshot(ledger, zxid, &system.sessions, &behind, &mut actions)
            .map_err(|fault| fault.to_string())?;
        actions.into_iter().try_for_each(|action| self.carry_out_for_role(action))?;
        self.step_view();
        self.step(now, Input::SnapshotInstalled(self.wal.durable()), storage)
    }
}

/// Writes out what a stage holds.
fn write_stage(stage: &mut Stage, storage: &mut Storage) {
    loop {
        let mut actions = Vec::new();
        stage.actions(&mut actions);
        if actions.is_empty() {
            return;
        }
        for action in actions {
            match action {
                LogAction::NeedSegment { partition, generation, segment, bytes } => {
                    let file = storage.files.create((partition, generation, segment), bytes);
                    stage.segment_ready(partition, segment, file);
                }
                LogAction::Write { partition, generation, segment, offset, bytes } => {
                    storage.files.get((partition, generation, segment)).write(offset, &bytes);
                    stage.written(partition, segment, offset + bytes.len() as u64);
                }
                LogAction::RemoveSegment { .. } => {}
            }
        }
    }
}
