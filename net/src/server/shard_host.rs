//! A shard on the core that hosts it: mail in, actions out to the ring, the post and the marks.

use super::mail::{ClientMail, Mail, Measured, ShardCut, ShardMail, SnapshotPart};
use super::marks::Marks;
use super::post::Post;
use super::residency::{MappedLog, ResidencyClock};
use super::segments::{SegmentKey, Segments, first_token};
use super::topology::Topology;
use crate::connection::{ReadCall, ReadDispatch};
use engine::acl::AclTable;
use engine::ids::ShardId;
use engine::partition::{CompactionStep, PartitionCut, Place};
use engine::piece::ShardTxn;
use engine::read::{ReadReply, ReadRequest};
use engine::shard::{JobId, PinId, ReadOutcome, Shard, ShardAction};
use engine::zxid::Zxid;
use hardware::reactor::Reactor;
use replication::ledger::SubtreeUsage;
use replication::peer::snapshot::walk::{DepthWalk, WalkStep};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

/// Steps of deferred work in one turn of the core's loop.
const WORK_STEPS: u32 = 4;
/// Bytes of a log that one step of compaction looks at.
const COMPACT_BYTES: u64 = 64 * 1024;

/// Steps of snapshots in one turn, each over some 250 nodes: less than a millisecond in all.
const SNAPSHOT_STEPS: usize = 4;

/// A shard, hosted.
pub struct ShardHost {
    id: ShardId,
    shard: Shard,
    segments: Segments,
    topology: Arc<Topology>,
    residency: Arc<ResidencyClock>,
    actions: Vec<ShardAction>,
    /// Bytes on their way into memory, by the token of their read, and who waits for them.
    fetching: HashMap<u64, Fetching>,
    next_fetch: u64,
    /// Compaction waits for bytes to become resident.
    compaction_waits: bool,
    has_work: bool,
    has_applied: bool,
    checkpoint: Option<Zxid>,
    /// What the last manifest that is being written says of this shard.
    cuts: Vec<PartitionCut>,
    /// Snapshots that are being taken, by their numbers.
    snapshots: BTreeMap<u64, Snapshot>,
}

/// This shard's part of a snapshot.
struct Snapshot {
    pin: PinId,
    walk: DepthWalk,
    /// Fetches that it waits for.
    fetches: usize,
}

/// Who waits for bytes.
enum Fetching {
    Job(JobId),
    Compaction,
    Snapshot(u64),
}

impl ShardHost {
    /// Hosts a shard.
    pub fn new(
        id: ShardId,
        shard: Shard,
        segments: Segments,
        topology: Arc<Topology>,
        residency: Arc<ResidencyClock>,
    ) -> ShardHost {
        segments.set_live(shard.counters().live_bytes);
        ShardHost {
            id,
            shard,
            segments,
            topology,
            residency,
            actions: Vec::new(),
            fetching: HashMap::new(),
            next_fetch: first_token(),
            compaction_waits: false,
            has_work: false,
            has_applied: false,
            checkpoint: None,
            cuts: Vec::new(),
            snapshots: BTreeMap::new(),
        }
    }

    /// Which shard.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The shard itself, for figures.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// The shard itself, while nobody is served.
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.shard
    }

    /// The files of its logs.
    pub fn segment_files(&self) -> impl Iterator<Item = std::path::PathBuf> + '_ {
        self.segments.files()
    }

    /// Whether there is work that could go on at once.
    pub fn has_work(&self) -> bool {
        self.has_work
    }

    /// Applies a transaction while the server starts.
    pub fn replay(&mut self, txn: &ShardTxn) {
        self.shard.apply(txn);
        // Nobody watches or waits yet.
        self.actions.clear();
    }

    /// This shard's part of what a subtree holds, its root included.
    pub fn usage(&self, path: &str) -> SubtreeUsage {
        let (count, bytes) = self.shard.usage(path);
        SubtreeUsage { count, bytes }
    }

    /// Answers a read of a connection of this core.
    pub fn read(&mut self, acls: &AclTable, view: Zxid, call: ReadCall<'_>, out: &mut Vec<u8>) -> ReadDispatch {
        match self.shard.read(acls, view, call.origin, call.part, call.identity, call.op, out) {
            ReadOutcome::Record => ReadDispatch::Answered,
            ReadOutcome::Failed(code) => ReadDispatch::Failed(code),
            ReadOutcome::Body(body) => ReadDispatch::Body(body),
            ReadOutcome::Deferred => {
                self.has_work = true;
                ReadDispatch::Later
            }
        }
    }

    /// Takes one message. [`Self::carry_out`] is to follow, once for any number of them.
    ///
    /// # Errors
    /// A segment could not be made: the server must stop.
    pub fn deliver(&mut self, mail: ShardMail, acls: &AclTable, post: &mut Post) -> io::Result<()> {
        match mail {
            ShardMail::Apply(txn) => {
                self.shard.apply(&txn);
                self.has_applied = true;
            }
            ShardMail::Read(request) => self.answer(&request, acls, post),
            ShardMail::Forget { core, conn } => self.shard.drop_connection(core, conn),
            ShardMail::Measure { path } => {
                let usage = self.usage(&path);
                post.send(self.topology.role(), Mail::Measured(Measured { path, usage }));
            }
            ShardMail::Checkpoint { zxid } => {
                self.checkpoint = Some(zxid);
                self.shard.begin_checkpoint(zxid);
            }
            ShardMail::SnapshotBegin { stream, zxid } => match self.shard.pin(zxid) {
                Some(pin) => {
                    let snapshot = Snapshot { pin, walk: DepthWalk::new(), fetches: 0 };
                    self.snapshots.insert(stream, snapshot);
                }
                None => {
                    let part = SnapshotPart { stream, shard: self.id, chunk: None };
                    post.send(self.topology.role(), Mail::Snapshot(part));
                }
            },
            ShardMail::SnapshotAsk { stream, depth } => {
                if let Some(snapshot) = self.snapshots.get_mut(&stream) {
                    snapshot.walk.ask(depth);
                    self.has_work = true;
                }
            }
            ShardMail::SnapshotEnd { stream } => {
                if let Some(snapshot) = self.snapshots.remove(&stream) {
                    self.shard.unpin(snapshot.pin);
                    self.has_work = true;
                }
            }
            ShardMail::CheckpointDone => {
                let cuts = std::mem::take(&mut self.cuts);
                self.shard.manifest_durable(&cuts);
            }
            ShardMail::Segment { partition, generation, segment, result } => {
                let (file, map) = result?;
                let key = SegmentKey { partition, generation, segment };
                if self.segments.opened(key, file, Arc::clone(&map)) {
                    let log = MappedLog::new(map, Arc::clone(&self.residency));
                    self.shard.segment_ready(partition, segment, Arc::new(log));
                }
            }
        }
        Ok(())
    }

    /// A write to a log has ended.
    ///
    /// # Errors
    /// It failed: the first failed write is the last.
    pub fn log_written(&mut self, token: u64, result: io::Result<usize>) -> io::Result<()> {
        if let Some((key, upto)) = self.segments.written(token, result)? {
            self.shard.written(key.partition, key.segment, upto);
        }
        Ok(())
    }

    /// Bytes have been read into memory.
    ///
    /// # Errors
    /// They could not be read.
    pub fn fetched(&mut self, token: u64, result: io::Result<usize>) -> io::Result<()> {
        let waiting = self.fetching.remove(&token);
        result?;
        match waiting {
            Some(Fetching::Job(job)) => self.shard.fetched(job),
            Some(Fetching::Compaction) => self.compaction_waits = false,
            Some(Fetching::Snapshot(stream)) => {
                if let Some(snapshot) = self.snapshots.get_mut(&stream) {
                    snapshot.fetches -= 1;
                }
            }
            None => {}
        }
        self.has_work = true;
        Ok(())
    }

    /// The cores' views have moved: what only older ones would see may be forgotten.
    pub fn views_have_moved(&mut self, marks: &Marks) {
        if self.topology.shards() > 1 {
            self.shard.set_oldest_view(marks.oldest_view());
        }
    }

    /// Goes on with background work, carries out what has gathered, and moves the mark.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn end_of_turn(&mut self, marks: &Marks, reactor: &mut Reactor, post: &mut Post) -> io::Result<()> {
        self.has_work = self.shard.work(WORK_STEPS);
        if !self.compaction_waits {
            match self.shard.compact(COMPACT_BYTES) {
                Some((_, CompactionStep::More)) => self.has_work = true,
                Some((partition, CompactionStep::Waiting(place))) => {
                    self.compaction_waits = true;
                    self.fetch(Fetching::Compaction, partition, &place, reactor)?;
                }
                Some((_, CompactionStep::Idle | CompactionStep::Done)) | None => {}
            }
        }
        self.work_on_snapshots(reactor, post)?;
        self.carry_out(reactor, post)?;
        self.publish(marks, post);
        Ok(())
    }

    /// Takes some steps of the snapshots that owe nodes.
    fn work_on_snapshots(&mut self, reactor: &mut Reactor, post: &mut Post) -> io::Result<()> {
        let mut steps = SNAPSHOT_STEPS;
        let mut missing = Vec::new();
        for (stream, snapshot) in &mut self.snapshots {
            while steps > 0 && snapshot.fetches == 0 && snapshot.walk.is_asked() {
                steps -= 1;
                let step = snapshot.walk.step(&self.shard, &snapshot.pin);
                match step.map_err(|damage| io::Error::new(io::ErrorKind::InvalidData, damage))? {
                    WalkStep::Working => {}
                    WalkStep::Fetch(partition, places) => {
                        snapshot.fetches = places.len();
                        missing.extend(places.into_iter().map(|place| (*stream, partition, place)));
                    }
                    WalkStep::Chunk(chunk) => {
                        let part = SnapshotPart { stream: *stream, shard: self.id, chunk: Some(chunk) };
                        post.send(self.topology.role(), Mail::Snapshot(part));
                    }
                }
            }
            self.has_work |= snapshot.fetches == 0 && snapshot.walk.is_asked();
        }
        for (stream, partition, place) in missing {
            self.fetch(Fetching::Snapshot(stream), partition, &place, reactor)?;
        }
        Ok(())
    }

    /// Moves the shard's mark to what it has applied; everything about it has been sent. Wakes cores that wait.
    pub fn publish(&mut self, marks: &Marks, post: &mut Post) {
        if !std::mem::take(&mut self.has_applied) {
            return;
        }
        marks.applied(self.id, self.shard.applied());
        if self.topology.shards() > 1 {
            self.shard.set_oldest_view(marks.oldest_view());
        }
        for core in marks.waiting() {
            if core != self.topology.home(self.id) {
                post.send(core, Mail::Look);
            }
        }
    }

    fn answer(&mut self, request: &ReadRequest, acls: &AclTable, post: &mut Post) {
        let ReadRequest { origin, part, view, identity, op } = request;
        let mut record = Vec::new();
        let result = match self.shard.read(acls, *view, *origin, *part, identity, op, &mut record) {
            ReadOutcome::Record => Some(Ok(engine::read::ReadBody::Record(record))),
            ReadOutcome::Failed(code) => Some(Err(code)),
            ReadOutcome::Body(body) => Some(Ok(body)),
            ReadOutcome::Deferred => {
                self.has_work = true;
                None
            }
        };
        if let Some(result) = result {
            let reply = ReadReply { origin: *origin, part: *part, result };
            post.send(origin.core, Mail::Client(ClientMail::Read(reply)));
        }
        // Behind the answer: until the core hears of it, its view of the read is not forgotten.
        post.send(origin.core, Mail::Client(ClientMail::Taken { view: *view }));
    }

    /// Sends what the shard has to say and writes what it has to write. Must have happened before the mark moves
    /// ([`Self::publish`]).
    ///
    /// # Errors
    /// A log cannot be written, or is damaged: the server must stop.
    pub fn carry_out(&mut self, reactor: &mut Reactor, post: &mut Post) -> io::Result<()> {
        let mut actions = std::mem::take(&mut self.actions);
        self.shard.take_actions(&mut actions);
        for action in actions.drain(..) {
            match action {
                ShardAction::Stat(captured) => {
                    post.send(captured.origin.core, Mail::Client(ClientMail::Stat(captured)));
                }
                ShardAction::Events(batch) => {
                    post.send(batch.core, Mail::Client(ClientMail::Events(self.id, batch)));
                }
                ShardAction::Answer(reply) => {
                    post.send(reply.origin.core, Mail::Client(ClientMail::Read(reply)));
                }
                ShardAction::Fetch { job, partition, place } => {
                    self.fetch(Fetching::Job(job), partition, &place, reactor)?;
                }
                ShardAction::Log(action) => self.segments.carry_out(action, reactor, post)?,
                ShardAction::Cut(cuts) => {
                    if let Some(zxid) = self.checkpoint.take() {
                        self.cuts.clone_from(&cuts);
                        self.segments.set_live(cuts.iter().map(|cut| cut.live_bytes).sum());
                        let files = self.segments.take_unflushed(&cuts);
                        post.send(self.topology.role(), Mail::Cut(ShardCut { zxid, partitions: cuts, files }));
                    }
                }
                ShardAction::Damaged(damage) => return Err(io::Error::new(io::ErrorKind::InvalidData, damage)),
            }
        }
        self.actions = actions;
        Ok(())
    }

    /// Reads bytes of a log through the ring, so that they are in the page cache when the map is touched.
    fn fetch(
        &mut self,
        who: Fetching,
        partition: engine::ids::PartitionId,
        place: &Place,
        reactor: &mut Reactor,
    ) -> io::Result<()> {
        let key = SegmentKey { partition, generation: place.generation, segment: place.segment };
        let file = self.segments.file(key)?;
        self.next_fetch += 1;
        self.fetching.insert(self.next_fetch, who);
        let bytes = usize::try_from(place.range.end.saturating_sub(place.range.start)).unwrap_or(0);
        reactor.read(self.next_fetch, &file, place.range.start, vec![0; bytes]);
        Ok(())
    }
}
