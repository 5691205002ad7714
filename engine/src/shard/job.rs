//! Work that goes on in steps: long listings, counts over the tree, and whatever waits for a disk.
//!
//! A job holds a pin on its view, so all of its steps see one moment. Jobs take turns, one step each. How many there are
//! is bounded by whoever bounds the requests outstanding per connection.

use super::action::{JobId, ShardAction};
use super::history::PinId;
use super::walk::{FETCHES_MAX, Missing, Onward};
use super::{ReadOutcome, Shard};
use crate::event::EventKind;
use crate::ids::{ConnId, CoreId, Origin};
use crate::partition::{Damage, NodeEntry};
use crate::piece::CapturedStat;
use crate::read::{OwedEvent, ReadBody, ReadReply, RestoredKind, RestoredWatch};
use crate::watch::WatchMode;
use crate::zxid::Zxid;
use std::collections::{HashMap, VecDeque};

/// Children, nodes or watches that one step looks at.
const STEP_ENTRIES: usize = if cfg!(test) { 4 } else { 512 };

/// What is to be done.
pub(super) enum Task {
    /// A record's data or Stat.
    Record { place: usize, entry: NodeEntry, part: RecordPart },
    /// The Stat that the reply to a write waits for.
    Capture { place: usize, entry: NodeEntry, stat: CapturedStat },
    /// getChildren: the names, then the Stat. `entry` is as of the view.
    List { place: usize, entry: NodeEntry, with_stat: bool, onward: Onward, count: u32 },
    /// Nodes below `base`, partition by partition.
    Count { base: Box<str>, place: usize, onward: Onward, count: u32 },
    /// setWatches, from item `next` on.
    Restore { relative_zxid: i64, items: Box<[RestoredWatch]>, next: usize, owed: Vec<OwedEvent> },
}

/// What a reply wants of a node's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RecordPart {
    Stat,
    DataAndStat,
}

/// How a step ended.
pub(super) enum Step {
    Done,
    More,
    /// Bytes of the partition at this place must become resident first.
    Missing(usize, Missing),
}

impl Task {
    /// The result of a task that is done, if it is not in the buffer.
    pub(super) fn into_body(self) -> Option<ReadBody> {
        match self {
            Task::Record { .. } | Task::Capture { .. } | Task::List { .. } => None,
            Task::Count { count, .. } => Some(ReadBody::Count(count)),
            Task::Restore { owed, .. } => Some(ReadBody::Restored(owed)),
        }
    }
}

struct Job {
    id: JobId,
    origin: Origin,
    part: u32,
    pin: PinId,
    task: Task,
    out: Vec<u8>,
    /// What the last step missed has been fetched: the next one goes on even if it is missing again.
    granted: bool,
}

/// The jobs of a shard.
#[derive(Default)]
pub(super) struct Jobs {
    runnable: VecDeque<Job>,
    /// With the number of fetches that each still waits for.
    waiting: HashMap<JobId, (Job, usize)>,
    last_id: u64,
}

impl Jobs {
    pub(super) fn len(&self) -> usize {
        self.runnable.len() + self.waiting.len()
    }
}

impl Shard {
    /// Goes on with deferred work: up to `steps` steps, each of which looks at some 500 entries. Returns whether more
    /// can be done at once.
    pub fn work(&mut self, steps: u32) -> bool {
        for _ in 0..steps {
            let Some(mut job) = self.jobs.runnable.pop_front() else { break };
            let (origin, view, granted) = (job.origin, job.pin.view(), std::mem::take(&mut job.granted));
            match self.step(&mut job.task, origin, view, &mut job.out, 0, granted) {
                Ok(Step::Done) => self.complete(job),
                Ok(step) => self.enqueue(job, step),
                Err(damage) => {
                    self.damaged(damage);
                    self.close(job);
                }
            }
        }
        let is_sweeping = self.history.sweep(STEP_ENTRIES);
        is_sweeping || !self.jobs.runnable.is_empty()
    }

    /// The bytes that one [`ShardAction::Fetch`] of this job asked for are there.
    pub fn fetched(&mut self, job: JobId) {
        let Some((_, fetches)) = self.jobs.waiting.get_mut(&job) else { return };
        *fetches -= 1;
        if *fetches == 0
            && let Some((mut job, _)) = self.jobs.waiting.remove(&job)
        {
            job.granted = true;
            self.jobs.runnable.push_back(job);
        }
    }

    /// Makes a job of a task that has come as far as `step` says.
    pub(super) fn defer(
        &mut self,
        origin: Origin,
        part: u32,
        view: Zxid,
        task: Task,
        out: Vec<u8>,
        step: Step,
    ) -> ReadOutcome {
        let pin = self.history.pin_or_oldest(view);
        if let Task::Restore { .. } = task {
            self.history.begin_registering(pin.view());
        }
        self.jobs.last_id += 1;
        let id = JobId(self.jobs.last_id);
        self.enqueue(Job { id, origin, part, pin, task, out, granted: false }, step);
        ReadOutcome::Deferred
    }

    /// Sends the Stat that a write's reply waits for, as soon as the node's record can be read.
    pub(super) fn capture(&mut self, place: usize, entry: NodeEntry, stat: CapturedStat) {
        let mut task = Task::Capture { place, entry, stat };
        match self.step(&mut task, stat.origin, self.applied, &mut Vec::new(), 0, false) {
            Ok(Step::Done) => {}
            Ok(step) => {
                self.defer(stat.origin, 0, self.applied, task, Vec::new(), step);
            }
            Err(damage) => self.damaged(damage),
        }
    }

    /// Ends the jobs of a connection that is gone.
    pub(super) fn drop_jobs(&mut self, core: CoreId, conn: ConnId) {
        for job in self.take_jobs(|job| (job.origin.core, job.origin.conn) == (core, conn)) {
            self.close(job);
        }
    }

    /// Takes some jobs out, in the order in which they began.
    fn take_jobs(&mut self, is_taken: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        for job in std::mem::take(&mut self.jobs.runnable) {
            if is_taken(&job) { taken.push(job) } else { self.jobs.runnable.push_back(job) }
        }
        let waiting = self.jobs.waiting.extract_if(|_, (job, _)| is_taken(job));
        taken.extend(waiting.map(|(_, (job, _))| job));
        taken.sort_unstable_by_key(|job| job.id);
        taken
    }

    /// Ends the setWatches of a connection that are under way, without waiting for anything: its next request concerns
    /// the watches that they register.
    pub(super) fn finish_restoring(&mut self, core: CoreId, conn: ConnId) {
        for mut job in self.take_jobs(|job| {
            (job.origin.core, job.origin.conn) == (core, conn) && matches!(job.task, Task::Restore { .. })
        }) {
            let (origin, view) = (job.origin, job.pin.view());
            loop {
                match self.step(&mut job.task, origin, view, &mut job.out, 0, true) {
                    Ok(Step::Done) => break self.complete(job),
                    Ok(Step::More | Step::Missing(..)) => {}
                    Err(damage) => {
                        self.damaged(damage);
                        self.close(job);
                        break;
                    }
                }
            }
        }
    }

    /// Takes one step of a task, appending to `out`, in which the reply begins at `start`.
    pub(super) fn step(
        &mut self,
        task: &mut Task,
        origin: Origin,
        view: Zxid,
        out: &mut Vec<u8>,
        start: usize,
        granted: bool,
    ) -> Result<Step, Damage> {
        match task {
            Task::Record { place, entry, part } => {
                if let Some(step) = self.entry_missing(*place, entry, granted) {
                    return Ok(step);
                }
                self.encode_record(*place, entry, *part, out)?;
                Ok(Step::Done)
            }
            Task::Capture { place, entry, stat } => {
                if let Some(step) = self.entry_missing(*place, entry, granted) {
                    return Ok(step);
                }
                stat.stat = self.partitions[*place].stat(entry, self.config.extended_types)?;
                self.actions.push(ShardAction::Stat(*stat));
                Ok(Step::Done)
            }
            Task::List { place, entry, with_stat, onward, count } => {
                let mut granted = granted;
                if *onward == Onward::From(None)
                    && let Some((names, known)) = self.listings.get(entry.hash, view)
                {
                    out.extend_from_slice(names);
                    (*count, *onward) = (known, Onward::End);
                }
                if let Onward::From(from) = *onward {
                    if !granted {
                        let missing = self.names_missing(view, *place, entry.hash, from, STEP_ENTRIES);
                        if !missing.is_empty() {
                            return Ok(Step::Missing(*place, missing));
                        }
                    }
                    granted = false;
                    *onward = self.children_at(view, *place, entry.hash, from, STEP_ENTRIES, &mut |name| {
                        crate::jute::Writer::new(out).string(name);
                        *count += 1;
                    })?;
                    if *onward != Onward::End {
                        return Ok(Step::More);
                    }
                    self.keep_names(view, *place, entry.hash, &out[start + 4..], *count);
                }
                if *with_stat {
                    if let Some(step) = self.entry_missing(*place, entry, granted) {
                        return Ok(step);
                    }
                    self.encode_record(*place, entry, RecordPart::Stat, out)?;
                }
                out[start..start + 4].copy_from_slice(&count.to_be_bytes());
                Ok(Step::Done)
            }
            Task::Count { base, place, onward, count } => self.count_step(view, base, place, onward, count, granted),
            Task::Restore { relative_zxid, items, next, owed } => {
                let end = items.len().min(*next + STEP_ENTRIES);
                let mut granted = granted;
                while *next < end {
                    let restored = self.restore(origin, view, *relative_zxid, &items[*next], granted)?;
                    match restored {
                        Restored::Registered => {}
                        Restored::Owed(event) => owed.push(event),
                        Restored::Missing(step) => return Ok(step),
                    }
                    granted = false;
                    *next += 1;
                }
                Ok(if *next < items.len() { Step::More } else { Step::Done })
            }
        }
    }

    fn count_step(
        &self,
        view: Zxid,
        base: &str,
        place: &mut usize,
        onward: &mut Onward,
        count: &mut u32,
        granted: bool,
    ) -> Result<Step, Damage> {
        let mut granted = granted;
        let mut left = STEP_ENTRIES;
        let mut entries = Vec::new();
        while *place < self.partitions.len() {
            let Onward::From(from) = *onward else {
                *place += 1;
                *onward = Onward::From(None);
                continue;
            };
            if left == 0 {
                return Ok(Step::More);
            }
            entries.clear();
            let next = self.nodes_at(view, *place, from, left, &mut |entry| entries.push(*entry));
            let partition = &self.partitions[*place];
            if !granted {
                let absent = entries.iter().filter(|entry| !partition.is_resident(entry));
                let missing: Missing = absent.take(FETCHES_MAX).map(|entry| partition.location(entry)).collect();
                if !missing.is_empty() {
                    return Ok(Step::Missing(*place, missing));
                }
            }
            granted = false;
            for entry in &entries {
                let below = partition.node(entry)?.path.strip_prefix(base);
                *count += u32::from(below.is_some_and(|rest| rest.starts_with('/')));
            }
            // A partition without entries costs something too.
            left = left.saturating_sub(entries.len() + 1);
            *onward = next;
        }
        Ok(Step::Done)
    }

    /// Works one path of a setWatches (`DataTree.setWatches`).
    fn restore(
        &mut self,
        origin: Origin,
        view: Zxid,
        relative_zxid: i64,
        item: &RestoredWatch,
        granted: bool,
    ) -> Result<Restored, Damage> {
        let owed = |kind| Ok(Restored::Owed(OwedEvent { index: item.index, kind, path: item.path.clone() }));
        let missed = |zxid: Zxid| zxid.to_wire() > relative_zxid;
        let node = self.find(view, &item.path);
        let mode = match (item.kind, node) {
            (RestoredKind::Data | RestoredKind::Child, None) => return owed(EventKind::NodeDeleted),
            (RestoredKind::Data, Some((place, entry))) => {
                // mzxid is in the record, and never below czxid.
                let mut changed = missed(entry.czxid);
                if !changed {
                    if let Some(step) = self.entry_missing(place, &entry, granted) {
                        return Ok(Restored::Missing(step));
                    }
                    changed = missed(self.partitions[place].node(&entry)?.mzxid);
                }
                if changed {
                    return owed(EventKind::NodeDataChanged);
                }
                WatchMode::Data
            }
            (RestoredKind::Exist, Some(_)) => return owed(EventKind::NodeCreated),
            (RestoredKind::Exist, None) => WatchMode::Data,
            (RestoredKind::Child, Some((_, entry))) if missed(entry.pzxid) => {
                return owed(EventKind::NodeChildrenChanged);
            }
            (RestoredKind::Child, Some(_)) => WatchMode::Child,
            (RestoredKind::Persistent, _) => WatchMode::Persistent,
            (RestoredKind::PersistentRecursive, _) => WatchMode::Recursive,
        };
        self.watch(origin, view, &item.path, mode);
        Ok(Restored::Registered)
    }

    fn entry_missing(&self, place: usize, entry: &NodeEntry, granted: bool) -> Option<Step> {
        let partition = &self.partitions[place];
        if granted || partition.is_resident(entry) {
            return None;
        }
        Some(Step::Missing(place, [partition.location(entry)].into_iter().collect()))
    }

    fn enqueue(&mut self, job: Job, step: Step) {
        let Step::Missing(place, places) = step else {
            self.jobs.runnable.push_back(job);
            return;
        };
        let partition = self.partitions[place].id();
        let fetches = places.len();
        for place in places {
            self.actions.push(ShardAction::Fetch { job: job.id, partition, place });
        }
        self.jobs.waiting.insert(job.id, (job, fetches));
    }

    fn complete(&mut self, mut job: Job) {
        let is_reply = !matches!(job.task, Task::Capture { .. });
        let out = std::mem::take(&mut job.out);
        let (origin, part) = (job.origin, job.part);
        let task = self.close(job);
        if is_reply {
            let body = task.into_body().unwrap_or(ReadBody::Record(out));
            self.actions.push(ShardAction::Answer(ReadReply { origin, part, result: Ok(body) }));
        }
    }

    /// Gives back what a job holds.
    fn close(&mut self, job: Job) -> Task {
        if let Task::Restore { .. } = job.task {
            self.history.end_registering(job.pin.view());
        }
        self.unpin(job.pin);
        job.task
    }
}

enum Restored {
    Registered,
    Owed(OwedEvent),
    Missing(Step),
}
