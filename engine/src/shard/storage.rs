//! The storage of a shard's partitions: what passes through, checkpoints, compaction, figures.

use super::{Shard, ShardAction};
use crate::ids::PartitionId;
use crate::partition::{CompactionStep, PartitionCut, SegmentBytes};
use crate::watch::WatchCounts;
use crate::zxid::Zxid;
use std::sync::Arc;

/// A checkpoint that has been begun.
pub(super) struct Checkpoint {
    /// In the order of the partitions' places.
    cuts: Vec<PartitionCut>,
    /// Places of partitions whose cut is not written yet.
    unwritten: Vec<usize>,
}

/// The partitions that may have actions to hand out.
#[derive(Default)]
pub(super) struct Touched {
    places: Vec<usize>,
    is_listed: Vec<bool>,
}

impl Touched {
    pub(super) fn mark(&mut self, place: usize) {
        if self.is_listed.len() <= place {
            self.is_listed.resize(place + 1, false);
        }
        if !std::mem::replace(&mut self.is_listed[place], true) {
            self.places.push(place);
        }
    }
}

/// Figures of one shard, for the monitoring commands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardCounters {
    /// Nodes.
    pub nodes: u64,
    /// Bytes of paths and data (`approximateDataSize`).
    pub data_bytes: u64,
    /// Watches.
    pub watches: WatchCounts,
    /// Bytes of the logs that say what is.
    pub live_bytes: u64,
    /// Bytes of the logs that compaction would free.
    pub dead_bytes: u64,
    /// Bytes of the logs that are not known to be written.
    pub unwritten_bytes: u64,
    /// Bytes of memory: indexes, unwritten logs, watches, history, listings.
    pub memory_bytes: u64,
    /// Reads under way.
    pub jobs: u64,
}

impl Shard {
    /// A file that [`crate::partition::LogAction::NeedSegment`] asked for is there.
    pub fn segment_ready(&mut self, partition: PartitionId, segment: u32, bytes: Arc<dyn SegmentBytes>) {
        if let Some(place) = self.place(partition) {
            self.partitions[place].segment_ready(segment, bytes);
            self.touched.mark(place);
        }
    }

    /// Everything below `upto` that was handed out for this segment has been written.
    pub fn written(&mut self, partition: PartitionId, segment: u32, upto: u64) {
        let Some(place) = self.place(partition) else { return };
        self.partitions[place].written(segment, upto);
        self.touched.mark(place);
        self.finish_checkpoint();
    }

    /// Begins a checkpoint of all that has been applied: the tails are to be written out, and when they are,
    /// [`ShardAction::Cut`] says what the manifest must name. Every transaction of the checkpoint's zxid or below that
    /// concerns this shard must have been applied, and none above. A checkpoint that was under way is given up.
    pub fn begin_checkpoint(&mut self, zxid: Zxid) {
        debug_assert!(self.applied <= zxid, "{} is applied already", self.applied);
        let mut cuts = Vec::with_capacity(self.partitions.len());
        for (place, partition) in self.partitions.iter_mut().enumerate() {
            partition.flush_tail();
            let mut cut = partition.cut();
            cut.zxid = cut.zxid.max(zxid);
            cuts.push(cut);
            self.touched.mark(place);
        }
        let unwritten = (0..cuts.len()).collect();
        self.checkpoint = Some(Checkpoint { cuts, unwritten });
        self.finish_checkpoint();
    }

    /// The manifest with these cuts is durable: files that it does not name may go.
    pub fn manifest_durable(&mut self, cuts: &[PartitionCut]) {
        for cut in cuts {
            if let Some(place) = self.place(cut.partition) {
                self.partitions[place].manifest_durable(cut);
                self.touched.mark(place);
            }
        }
    }

    /// Takes a step of compaction in some partition that needs it, looking at some `max_bytes` of its log. The places
    /// that [`CompactionStep::Waiting`] names are to be made resident by the host before it calls again.
    pub fn compact(&mut self, max_bytes: u64) -> Option<(PartitionId, CompactionStep)> {
        if !self.may_compact {
            return None;
        }
        let under_way = self.partitions.iter().position(|partition| partition.is_compacting());
        let place = under_way.or_else(|| self.partitions.iter().position(|partition| partition.wants_compaction()));
        self.may_compact = place.is_some();
        let place = place?;
        let mark = self.applied.max(self.newest_view);
        let partition = &mut self.partitions[place];
        partition.start_compaction();
        let id = partition.id();
        self.touched.mark(place);
        match partition.compact(max_bytes, mark) {
            Ok(step) => {
                self.has_retired |= step == CompactionStep::Done;
                self.release_retired();
                Some((id, step))
            }
            Err(damage) => {
                self.damaged(damage);
                None
            }
        }
    }

    /// Figures.
    pub fn counters(&self) -> ShardCounters {
        let mut counters = ShardCounters {
            watches: self.watches.counts(),
            memory_bytes: (self.watches.memory_bytes() + self.history.memory_bytes() + self.listings.memory_bytes())
                as u64,
            jobs: self.jobs.len() as u64,
            ..ShardCounters::default()
        };
        for partition in &self.partitions {
            counters.nodes += partition.node_count();
            counters.data_bytes += partition.data_bytes();
            counters.live_bytes += partition.live_bytes();
            counters.dead_bytes += partition.dead_bytes();
            counters.unwritten_bytes += partition.unwritten_bytes();
            counters.memory_bytes += partition.memory_bytes();
        }
        counters
    }

    /// Nodes of this shard as of a view.
    pub(super) fn nodes_in_all(&self, view: Zxid) -> u64 {
        let now: u64 = self.partitions.iter().map(|partition| partition.node_count()).sum();
        let mut nodes = now;
        for ((partition, hash), before) in self.history.nodes.range(view, ..) {
            let is_there = self.place(partition).is_some_and(|place| self.partitions[place].get(hash).is_some());
            nodes = nodes + u64::from(before.is_some()) - u64::from(is_there);
        }
        nodes
    }

    pub(super) fn take_log_actions(&mut self, out: &mut Vec<ShardAction>) {
        for place in self.touched.places.drain(..) {
            self.touched.is_listed[place] = false;
            self.partitions[place].actions(&mut self.log_actions);
            self.may_compact |= self.partitions[place].wants_compaction();
        }
        out.extend(self.log_actions.drain(..).map(ShardAction::Log));
    }

    /// Tells the partitions from which view on what they handed out may still be held.
    pub(super) fn release_retired(&mut self) {
        if !self.has_retired {
            return;
        }
        let needed_from = self.history.needed_from();
        self.has_retired = false;
        for (place, partition) in self.partitions.iter_mut().enumerate() {
            if partition.has_retired() {
                partition.release_retired(needed_from);
                self.touched.mark(place);
                self.has_retired = true;
            }
        }
    }

    fn finish_checkpoint(&mut self) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        let (partitions, cuts) = (&self.partitions, &checkpoint.cuts);
        checkpoint.unwritten.retain(|place| !partitions[*place].is_written(&cuts[*place]));
        if checkpoint.unwritten.is_empty()
            && let Some(checkpoint) = self.checkpoint.take()
        {
            self.actions.push(ShardAction::Cut(checkpoint.cuts));
        }
    }

    /// The place of a partition, if it is here.
    pub(super) fn place(&self, partition: PartitionId) -> Option<usize> {
        let place = *self.places.get(usize::from(partition.0))?;
        (place != super::ELSEWHERE).then_some(place as usize)
    }
}
