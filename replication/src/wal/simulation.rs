//! Writer and recovery over many lives of one directory, on a disk that stops at any moment, persists any sectors of the
//! write in flight, fails writes, and, where a test says so, changes what was durable.
//!
//! The model is a list of records and the zxid up to which they have been acknowledged.

#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;

use engine::zxid::Zxid;
use proptest::prelude::*;

use super::disk::{Chance, DIRECTORY, Disk};
use super::error::{AppendError, TruncateError};
use super::format::{BLOCK_BYTES, SECTOR_BYTES, SegmentIdentity, SegmentSeq};
use super::inspect::{Finding, inspect};
use super::read::replay;
use super::recovery::{Checkpoint, Verdict, recover, recover_deciding};
use super::writer::{Prepare, Truncation, WalConfig, WalWrite, WalWriter};

type Record = (Zxid, Vec<u8>);

/// A log that may be found after a crash.
#[derive(Clone, Default)]
struct History {
    /// Everything appended, without what was truncated.
    records: Vec<Record>,
    /// Everything up to here has been acknowledged.
    required: Zxid,
    /// The last zxid when there are no records up to it any more (a snapshot).
    base: Zxid,
}

impl History {
    fn last(&self) -> Zxid {
        self.records.last().map_or(self.base, |record| record.0)
    }

    /// Whether recovery may have found exactly these records behind the checkpoint, ending at `last`.
    fn allows(&self, checkpoint: Zxid, found: &[Record], last: Zxid) -> bool {
        let live: Vec<&Record> = self.records.iter().filter(|record| record.0 > checkpoint).collect();
        let is_prefix = found.len() <= live.len() && found.iter().zip(&live).all(|(found, live)| found == *live);
        let found_last = found.last().map_or(checkpoint.max(self.base), |record| record.0);
        // A truncation to a zxid between two records ends the log there.
        let ends = last == found_last || (found.len() == live.len() && last >= found_last && last <= self.required);
        is_prefix && ends && last >= self.required
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let zxids: Vec<_> = self.records.iter().map(|record| record.0).collect();
        write!(f, "{zxids:?}, acknowledged {}, base {}", self.required, self.base)
    }
}

struct World {
    chance: Chance,
    disk: Disk,
    config: WalConfig,
    checkpoint: Checkpoint,
    now: History,
    /// What the log was before cuts that are not durable yet.
    before_cut: Vec<History>,
    commit: Zxid,
    /// The commit point in the last durable batch.
    commit_on_disk: Zxid,
    prepares: VecDeque<Prepare>,
    in_flight: Option<(WalWrite, Zxid)>,
    /// A write of a dead process, whose missing sectors may still arrive.
    late: Option<(WalWrite, SegmentIdentity)>,
    counts: Counts,
}

/// What a run has met, so that a test can demand that it met it.
#[derive(Default, Debug, Clone, Copy)]
struct Counts {
    crashes: u32,
    torn: u32,
    failed: u32,
    truncations: u32,
    resets: u32,
    recycled: u32,
    records: u32,
    oversized: u32,
    late: u32,
}

impl World {
    fn new(seed: u64) -> World {
        let mut chance = Chance::new(seed);
        let config = WalConfig {
            segment_bytes: (4 + chance.below(20)) * BLOCK_BYTES as u64,
            batch_bytes_max: (1 + chance.below(6) as usize) * BLOCK_BYTES,
            backlog_bytes_max: 60_000,
            keep_records: chance.below(40),
            keep_bytes: chance.below(60) * BLOCK_BYTES as u64,
            ..WalConfig::new(DIRECTORY)
        };
        World {
            chance,
            disk: Disk::default(),
            config,
            checkpoint: Checkpoint::Local(Zxid::ZERO),
            now: History::default(),
            before_cut: Vec::new(),
            commit: Zxid::ZERO,
            commit_on_disk: Zxid::ZERO,
            prepares: VecDeque::new(),
            in_flight: None,
            late: None,
            counts: Counts::default(),
        }
    }

    /// Reads the log, holds it against the model, and goes on from what was found.
    fn start(&mut self) -> WalWriter {
        let checkpoint = self.checkpoint.zxid();
        let (mut found, mut decided) = (Vec::new(), Zxid::ZERO);
        let verdict =
            recover_deciding(&mut self.disk.sources(), DIRECTORY, self.checkpoint, &mut |zxid, bytes, commit| {
                found.push((zxid, bytes.to_vec()));
                decided = decided.max(commit.min(zxid));
            });
        let log = match &verdict {
            Verdict::Clean(log) => log,
            Verdict::TornTail(log, _) => {
                self.counts.torn += 1;
                log
            }
            Verdict::Damage(damage) => panic!("damage: {damage} {damage:?}"),
        };
        let histories: Vec<&History> = self.before_cut.iter().chain([&self.now]).collect();
        let matching = histories.iter().rev().find(|history| history.allows(checkpoint, &found, log.last()));
        let Some(matching) = matching else {
            let zxids: Vec<_> = found.iter().map(|record| record.0).collect();
            panic!("found {zxids:?} to {:?}, checkpoint {checkpoint:?}, allowed {histories:?}", log.last())
        };
        assert!(log.committed() <= log.last());
        assert!(decided <= log.committed(), "{decided} was said to be committed, of {}", log.committed());
        if self.before_cut.is_empty() {
            assert!(log.committed() <= self.commit.max(checkpoint));
            assert!(log.committed() >= self.commit_on_disk.min(log.last()));
        }
        let mut replayed = Vec::new();
        let (layout, last) = (log.layout(), log.last());
        replay(&mut self.disk.sources(), layout, DIRECTORY, checkpoint, last, &mut |zxid, bytes| {
            replayed.push((zxid, bytes.to_vec()));
        })
        .unwrap();
        assert_eq!(replayed, found);

        let mut records: Vec<Record> =
            matching.records.iter().filter(|record| record.0 <= checkpoint).cloned().collect();
        records.extend(found);
        self.now = History { records, required: log.last(), base: matching.base.max(checkpoint).min(log.last()) };
        if log.last() > self.now.last() {
            self.now.base = log.last();
        }
        self.before_cut.clear();
        self.commit = log.committed();
        self.commit_on_disk = Zxid::ZERO;
        let (Verdict::Clean(log) | Verdict::TornTail(log, _)) = verdict else { unreachable!("matched above") };
        WalWriter::resume(self.config, log)
    }

    /// One life of the server, until it stops.
    fn live(&mut self, steps: u64) {
        let mut writer = self.start();
        for _ in 0..steps {
            match self.chance.below(100) {
                0..40 => self.append(&mut writer),
                40..55 => self.prepare(&mut writer),
                55..70 => self.issue(&mut writer),
                70..90 => self.complete(&mut writer),
                90..93 => self.truncate(&mut writer),
                93..94 => self.reset(&mut writer),
                94..98 => self.retire(&mut writer),
                98 if self.chance.percent(20) => {
                    self.fail(&mut writer);
                    break;
                }
                _ => {}
            }
            assert_eq!(writer.durable().get(), self.now.required);
        }
        self.crash();
    }

    fn append(&mut self, writer: &mut WalWriter) {
        for _ in 0..=self.chance.below(4) {
            let len = match self.chance.below(20) {
                0 => {
                    self.counts.oversized += 1;
                    self.config.segment_bytes as usize + self.chance.below(20_000) as usize
                }
                1..4 => self.chance.below(9_000) as usize,
                _ => self.chance.below(300) as usize,
            };
            let bytes = self.chance.bytes(len);
            let last = writer.last_appended();
            assert!(matches!(writer.append(last, &bytes), Err(AppendError::OutOfOrder { .. })));
            let zxid = if self.chance.percent(5) { Zxid::new(last.epoch() + 1, 1) } else { Zxid(last.0 + 1) };
            let has_room = writer.has_room(len);
            match writer.append(zxid, &bytes) {
                Ok(()) => {
                    assert!(has_room);
                    self.now.records.push((zxid, bytes));
                    self.counts.records += 1;
                }
                Err(AppendError::BacklogFull { waiting }) => {
                    assert!(!has_room && waiting == writer.backlog_bytes() && waiting > 0);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn prepare(&mut self, writer: &mut WalWriter) {
        self.prepares.extend(writer.poll_prepare());
        if self.chance.percent(70)
            && let Some(prepare) = self.prepares.pop_front()
        {
            if self.chance.percent(10) {
                writer.prepare_failed();
                return;
            }
            writer.prepared(self.disk.prepare(prepare)).unwrap();
        }
    }

    fn issue(&mut self, writer: &mut WalWriter) {
        if self.chance.percent(50) && writer.durable().get() > self.commit {
            self.commit = writer.durable().get();
        }
        let Some(write) = writer.poll_write(self.commit) else { return };
        assert!(self.in_flight.is_none(), "one write in flight");
        assert_eq!(write.offset % BLOCK_BYTES as u64, 0);
        assert_eq!(write.buf.len() % BLOCK_BYTES, 0);
        self.in_flight = Some((write, self.commit));
    }

    fn complete(&mut self, writer: &mut WalWriter) {
        let Some((write, commit)) = self.in_flight.take() else { return };
        self.disk.write(&write, |_| true);
        let len = write.buf.len();
        let durable = writer.written(write.token, Ok(len)).unwrap().get();
        self.commit_on_disk = self.commit_on_disk.max(commit);
        assert!(durable <= write.last);
        self.now.required = durable;
        if !writer.is_cutting() {
            self.before_cut.clear();
        }
        writer.recycle(write.buf);
        // The new end is durable: what a dead process still had under way must not matter any more.
        if let Some((late, identity)) = self.late.take()
            && self.disk.identity(late.segment) == Some(identity)
        {
            self.counts.late += 1;
            let mut chance = self.chance.clone();
            self.disk.write(&late, |_| chance.percent(80));
        }
    }

    fn truncate(&mut self, writer: &mut WalWriter) {
        let floor = self.checkpoint.zxid().max(self.now.base);
        let last = self.now.last();
        let after = match self.now.records.iter().filter(|record| record.0 >= floor).count() {
            0 => floor,
            count => {
                let kept = self.now.records.len() - 1 - self.chance.below(count.min(12) as u64) as usize;
                self.now.records[kept].0
            }
        };
        let before = self.now.clone();
        match writer.truncate(after) {
            Ok(truncation) => {
                assert_eq!(truncation == Truncation::Pending, writer.is_cutting());
                if after < last {
                    self.counts.truncations += 1;
                    self.now.records.retain(|record| record.0 <= after);
                    self.now.required = self.now.required.min(after);
                    self.commit = self.commit.min(after);
                    self.commit_on_disk = self.commit_on_disk.min(after);
                    if let Some((_, commit)) = &mut self.in_flight {
                        *commit = after.min(*commit);
                    }
                    if truncation == Truncation::Pending {
                        self.before_cut.push(before);
                    }
                }
            }
            Err(TruncateError::BelowLog { base, .. }) => assert!(after < base && base <= self.now.required.max(floor)),
            Err(error) => panic!("{error}"),
        }
    }

    /// A leader's snapshot, ahead of this log or beside it.
    fn reset(&mut self, writer: &mut WalWriter) {
        if self.in_flight.is_some() {
            return;
        }
        let base = Zxid(self.now.last().0 + 1 + self.chance.below(3));
        self.counts.resets += 1;
        self.before_cut.clear();
        // The log before ends below the new checkpoint, so that recovery takes it for void.
        let empty = History { records: Vec::new(), required: base, base };
        self.before_cut.push(empty.clone());
        self.checkpoint = Checkpoint::Installed(base);
        writer.reset(base, []).unwrap();
        self.now = History { required: writer.durable().get(), ..empty };
    }

    fn retire(&mut self, writer: &mut WalWriter) {
        if writer.is_cutting() {
            assert!(writer.retire(Zxid(u64::MAX)).is_empty());
            return;
        }
        let durable = writer.durable().get();
        let from = self.checkpoint.zxid();
        if durable > from && self.chance.percent(60) {
            let zxids: Vec<Zxid> =
                self.now.records.iter().map(|record| record.0).filter(|&zxid| zxid > from && zxid <= durable).collect();
            if let Some(&zxid) = zxids.get(self.chance.below(zxids.len() as u64) as usize) {
                self.checkpoint = Checkpoint::Local(zxid);
            }
        }
        let count = self.disk.files.len();
        for retired in writer.retire(self.checkpoint.zxid()) {
            self.disk.retire(retired);
            self.counts.recycled += 1;
        }
        assert!(writer.layout().base() <= self.checkpoint.zxid());
        assert!(self.disk.files.len() <= count);
    }

    /// A write fails after part of it reached the disk: nothing works from then on.
    fn fail(&mut self, writer: &mut WalWriter) {
        let Some((write, _)) = self.in_flight.take() else { return };
        let mut chance = self.chance.clone();
        self.disk.write(&write, |_| chance.percent(50));
        let result = if self.chance.percent(50) {
            Err(std::io::Error::from_raw_os_error(5))
        } else {
            Ok(write.buf.len() - SECTOR_BYTES)
        };
        let failure = writer.written(write.token, result).unwrap_err();
        assert_eq!(writer.failure(), Some(failure));
        assert_eq!(writer.written(write.token, Ok(write.buf.len())), Err(failure));
        assert_eq!(writer.append(Zxid(u64::MAX), &[]), Err(AppendError::Failed(failure)));
        assert_eq!(writer.truncate(Zxid::ZERO), Err(TruncateError::Failed(failure)));
        assert_eq!(writer.reset(Zxid::ZERO, []), Err(AppendError::Failed(failure)));
        assert!(writer.poll_write(Zxid::ZERO).is_none() && writer.poll_prepare().is_none());
        self.counts.failed += 1;
    }

    /// The machine stops: of the write in flight any sectors are there.
    fn crash(&mut self) {
        self.counts.crashes += 1;
        self.prepares.clear();
        if let Some((write, _)) = self.in_flight.take() {
            let persisted = [0, 10, 50, 90, 100][self.chance.below(5) as usize];
            let mut chance = self.chance.clone();
            let whole_blocks = self.chance.percent(30);
            let mut block_is_there = false;
            self.disk.write(&write, |sector| {
                if !whole_blocks || sector % 8 == 0 {
                    block_is_there = chance.percent(persisted);
                }
                block_is_there
            });
            self.chance.next();
            let identity = self.disk.identity(write.segment).unwrap();
            self.late = Some((write, identity));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_after_every_crash(seed in any::<u64>(), lives in 1u64..12, steps in 1u64..250) {
        let mut world = World::new(seed);
        for _ in 0..lives {
            world.live(steps);
        }
        world.start();
    }

    #[test]
    fn what_changed_on_disk_is_never_taken_for_torn(seed in any::<u64>(), lives in 1u64..4, steps in 10u64..200) {
        let mut world = World::new(seed);
        for _ in 0..lives {
            world.live(steps);
        }
        damage_and_judge(&mut world);
    }
}

#[test]
fn the_runs_meet_what_they_are_made_for() {
    let mut sum = Counts::default();
    for seed in 0..60 {
        let mut world = World::new(seed);
        for _ in 0..8 {
            world.live(200);
        }
        let counts = world.counts;
        sum.torn += counts.torn;
        sum.failed += counts.failed;
        sum.truncations += counts.truncations;
        sum.resets += counts.resets;
        sum.recycled += counts.recycled;
        sum.records += counts.records;
        sum.oversized += counts.oversized;
        sum.late += counts.late;
    }
    let least = [sum.torn, sum.failed, sum.truncations, sum.resets, sum.recycled, sum.oversized, sum.late];
    assert!(least.iter().all(|&count| count > 15) && sum.records > 10_000, "{sum:?}");
}

/// Changes something that a torn write cannot change, and demands that it is noticed or does not matter.
fn damage_and_judge(world: &mut World) {
    let checkpoint = world.checkpoint;
    let mut before = Vec::new();
    let verdict = recover(&mut world.disk.sources(), DIRECTORY, checkpoint, &mut |zxid, bytes| {
        before.push((zxid, bytes.to_vec()));
    });
    let (Verdict::Clean(log) | Verdict::TornTail(log, _)) = verdict else { panic!("{verdict:?}") };
    let end = log.layout().end();
    for _ in 0..12 {
        let mut disk = world.disk.clone();
        let files: Vec<SegmentSeq> = disk.files.keys().copied().collect();
        let Some(&segment) = files.get(world.chance.below(files.len() as u64) as usize) else { return };
        let blocks = (disk.files[&segment].len() / BLOCK_BYTES) as u64;
        let block = world.chance.below(blocks) as u32;
        let batch = log.layout().segments().find(|layout| layout.sequence == segment).and_then(|layout| {
            let index = layout.batches.partition_point(|batch| batch.end <= block);
            layout.batches.get(index).filter(|_| block > 0)
        });
        let is_last = batch.is_some_and(|batch| Some((segment, batch.end)) == end.map(|end| (end.sequence, end.block)));
        let what = match world.chance.below(4) {
            0 if batch.is_some() && !is_last => {
                // Durable, and gone: sectors read as if they had never been written.
                if world.chance.percent(50) {
                    let sector = world.chance.below(8) as usize * SECTOR_BYTES;
                    disk.block(segment, block)[sector..sector + SECTOR_BYTES].fill(0);
                } else {
                    let blocks = log.layout().segments().find(|layout| layout.sequence == segment).unwrap();
                    let batch_before = blocks.batches.iter().rev().find(|batch| batch.end <= block);
                    let start = batch_before.map_or(1, |batch| batch.end);
                    let end = batch.map_or(start, |batch| batch.end);
                    (start..end).for_each(|block| disk.block(segment, block).fill(0));
                }
                "lost"
            }
            1 => {
                // A write of something that is live, to the wrong place. (What an earlier use of a file left behind is
                // written nowhere any more.)
                let other = files[world.chance.below(files.len() as u64) as usize];
                let live = log.layout().segments().find(|layout| layout.sequence == other);
                let live_end = live.and_then(|layout| layout.batches.last()).map_or(1, |batch| batch.end);
                let from = world.chance.below(u64::from(live_end)) as u32;
                if (other, from) == (segment, block) {
                    continue;
                }
                let misplaced = disk.block(other, from).to_vec();
                disk.block(segment, block).copy_from_slice(&misplaced);
                "misplaced"
            }
            2 if files.len() > 2 && Some(segment) != files.last().copied() => {
                disk.files.remove(&segment);
                "removed"
            }
            _ => {
                let bit = world.chance.below(8 * BLOCK_BYTES as u64) as usize;
                disk.block(segment, block)[bit / 8] ^= 1 << (bit % 8);
                "flipped"
            }
        };
        let mut after = Vec::new();
        let verdict = recover(&mut disk.sources(), DIRECTORY, checkpoint, &mut |zxid, bytes| {
            after.push((zxid, bytes.to_vec()));
        });
        match &verdict {
            Verdict::Damage(damage) => {
                assert!(damage.sound_until <= log.last().max(checkpoint.zxid()));
                assert!(after.iter().zip(&before).all(|(after, before)| after == before));
                if let Some(salvage) = &damage.salvage {
                    assert!(salvage.last() <= log.last());
                }
            }
            Verdict::Clean(found) | Verdict::TornTail(found, _) => {
                // Only what nothing rests on may change unnoticed.
                assert!(batch.is_none() || what == "removed", "{what} in segment {segment}, block {block}");
                assert_eq!(found.last(), log.last(), "{what} in {segment}, block {block}");
                assert!(after == before, "{what} in {segment}, block {block}");
            }
        }
        let mut findings = 0;
        let seen = inspect(&mut disk.sources(), DIRECTORY, checkpoint, &mut |finding: &Finding| {
            assert!(!finding.to_string().is_empty());
            findings += 1;
        });
        assert_eq!(seen.to_string(), verdict.to_string());
        assert!(findings >= disk.files.len());
    }
}
