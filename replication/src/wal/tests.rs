//! The log's promises one by one, and the sample file that every later version has to open.

#![allow(clippy::unwrap_used)]

use engine::zxid::Zxid;
use proptest::prelude::*;

use super::check::{SegmentCheck, SegmentFault};
use super::disk::{Chance, DIRECTORY, Disk};
use super::format::{BLOCK_BYTES, SegmentIdentity, SegmentSeq};
use super::inspect::inspect;
use super::layout::SegmentHandle;
use super::read::{read_places, replay};
use super::writer::{Truncation, WalConfig, WalWrite, WalWriter};
use super::{AppendError, Checkpoint, DamageReason, PrepareError, Recovered, TruncateError, Verdict, origin, recover};

const NONE: Checkpoint = Checkpoint::Local(Zxid::ZERO);

/// A segment with two batches and the beginning of a third, exactly as the first version wrote it.
const SAMPLE: &[u8] = include_bytes!("sample-v1.wal");

fn small() -> WalConfig {
    WalConfig { segment_bytes: 4 * BLOCK_BYTES as u64, keep_records: 0, ..WalConfig::new(DIRECTORY) }
}

fn fresh(config: WalConfig) -> WalWriter {
    WalWriter::resume(config, recovered(&Disk::default(), NONE))
}

fn recovered(disk: &Disk, checkpoint: Checkpoint) -> Recovered {
    recover(&mut disk.sources(), DIRECTORY, checkpoint, &mut |_, _| {}).recovered().unwrap().clone()
}

fn prepare(writer: &mut WalWriter, disk: &mut Disk) {
    while let Some(prepare) = writer.poll_prepare() {
        writer.prepared(disk.prepare(prepare)).unwrap();
    }
}

fn issue(writer: &mut WalWriter, disk: &mut Disk, commit: u64) -> WalWrite {
    prepare(writer, disk);
    let write = writer.poll_write(Zxid(commit)).unwrap();
    prepare(writer, disk);
    write
}

fn finish(writer: &mut WalWriter, disk: &mut Disk, write: WalWrite) -> Zxid {
    disk.write(&write, |_| true);
    let len = write.buf.len();
    let durable = writer.written(write.token, Ok(len)).unwrap();
    writer.recycle(write.buf);
    durable.get()
}

fn write(writer: &mut WalWriter, disk: &mut Disk, zxid: u64, len: usize) {
    writer.append(Zxid(zxid), &vec![zxid as u8; len]).unwrap();
    let write = issue(writer, disk, 0);
    assert_eq!(finish(writer, disk, write), Zxid(zxid));
}

fn zxids(disk: &Disk, checkpoint: Checkpoint) -> Vec<u64> {
    let mut found = Vec::new();
    let verdict = recover(&mut disk.sources(), DIRECTORY, checkpoint, &mut |zxid, _| found.push(zxid.0));
    assert!(verdict.recovered().is_some(), "{verdict}");
    found
}

#[test]
fn while_one_write_is_in_flight_the_next_batch_gathers() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    writer.append(Zxid(1), b"alone").unwrap();
    let first = issue(&mut writer, &mut disk, 0);
    assert_eq!(first.last, Zxid(1), "a lone record does not wait");
    for zxid in 2..=5 {
        writer.append(Zxid(zxid), b"together").unwrap();
        assert!(writer.poll_write(Zxid::ZERO).is_none());
    }
    assert_eq!(writer.durable().get(), Zxid::ZERO);
    assert_eq!(finish(&mut writer, &mut disk, first), Zxid(1));
    let second = issue(&mut writer, &mut disk, 1);
    assert_eq!((second.last, second.buf.len()), (Zxid(5), BLOCK_BYTES));
    let memory = second.buf.as_slice().as_ptr();
    finish(&mut writer, &mut disk, second);
    writer.append(Zxid(6), b"in a buffer used before").unwrap();
    assert_eq!(issue(&mut writer, &mut disk, 5).buf.as_slice().as_ptr(), memory);
    assert_eq!(zxids(&disk, NONE), [1, 2, 3, 4, 5]);
    assert_eq!(recovered(&disk, NONE).committed(), Zxid(1));
}

#[test]
fn records_wait_within_a_bound_while_a_segment_is_late() {
    let mut disk = Disk::default();
    let mut writer = fresh(WalConfig { backlog_bytes_max: 1000, ..small() });
    let ask = writer.poll_prepare().unwrap();
    assert_eq!((ask.sequence, ask.bytes), (SegmentSeq(1), small().segment_bytes));
    assert!(writer.poll_prepare().is_none(), "asked once");
    writer.append(Zxid(1), &[1; 900]).unwrap();
    assert!(writer.poll_write(Zxid::ZERO).is_none());
    assert!(!writer.has_room(200));
    assert_eq!(writer.append(Zxid(2), &[2; 200]), Err(AppendError::BacklogFull { waiting: 912 }));
    writer.prepare_failed();
    assert_eq!(writer.poll_prepare(), Some(ask), "asked again");
    writer.prepared(disk.prepare(ask)).unwrap();
    let first = issue(&mut writer, &mut disk, 0);
    assert_eq!(writer.backlog_bytes(), 0);
    writer.append(Zxid(2), &[2; 5000]).unwrap();
    finish(&mut writer, &mut disk, first);
    let second = issue(&mut writer, &mut disk, 0);
    finish(&mut writer, &mut disk, second);
    assert_eq!(zxids(&disk, NONE), [1, 2]);
}

#[test]
fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    write(&mut writer, &mut disk, 1, 10);
    assert_eq!(disk.files[&SegmentSeq(2)].len(), 4 * BLOCK_BYTES, "the next one is ready in the ordinary size");
    write(&mut writer, &mut disk, 2, 100_000);
    assert!(disk.files[&SegmentSeq(2)].len() > 100_000, "and has been replaced");
    write(&mut writer, &mut disk, 3, 10);
    assert_eq!(disk.files[&SegmentSeq(3)].len(), 4 * BLOCK_BYTES);
    assert_eq!(zxids(&disk, NONE), [1, 2, 3]);
    let retired: Vec<_> = writer.retire(Zxid(2)).iter().map(|segment| segment.sequence.0).collect();
    assert_eq!(retired, [1, 2]);
}

#[test]
fn only_the_segment_that_was_asked_for_is_accepted() {
    let mut writer = fresh(small());
    let (sequence, identity, bytes) = (SegmentSeq(1), SegmentIdentity(9), small().segment_bytes);
    let good = SegmentHandle { sequence, identity, bytes };
    assert_eq!(writer.prepared(good), Err(PrepareError::NotAsked(sequence)));
    writer.poll_prepare().unwrap();
    let other = SegmentHandle { sequence: SegmentSeq(2), ..good };
    assert_eq!(writer.prepared(other), Err(PrepareError::NotAsked(SegmentSeq(2))));
    let short = SegmentHandle { bytes: bytes - 4096, ..good };
    assert!(matches!(writer.prepared(short), Err(PrepareError::Size { .. })));
    let odd = SegmentHandle { bytes: bytes + 1, ..good };
    assert!(matches!(writer.prepared(odd), Err(PrepareError::Size { .. })));
    let nameless = SegmentHandle { identity: SegmentIdentity(0), ..good };
    assert_eq!(writer.prepared(nameless), Err(PrepareError::Identity(sequence)));
    assert_eq!(writer.prepared(good), Ok(()));
}

#[test]
fn a_truncation_is_done_when_the_new_end_is_durable() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    write(&mut writer, &mut disk, 1, 10);
    for zxid in 2..=6 {
        writer.append(Zxid(zxid), b"one batch").unwrap();
    }
    let in_flight = issue(&mut writer, &mut disk, 0);
    writer.append(Zxid(7), b"gathered").unwrap();
    assert_eq!(writer.truncate(Zxid(6)), Ok(Truncation::Done), "nothing of it was on its way");
    assert_eq!(writer.backlog_bytes(), 0);
    assert_eq!(writer.truncate(Zxid(4)), Ok(Truncation::Pending));
    assert_eq!(finish(&mut writer, &mut disk, in_flight), Zxid(4), "what the cut drops does not count");
    assert_eq!(zxids(&disk, NONE), [1, 2, 3, 4, 5, 6], "not yet");
    let cut = issue(&mut writer, &mut disk, 0);
    assert_eq!((cut.segment, cut.last), (SegmentSeq(2), Zxid(4)));
    assert!(writer.is_cutting());
    finish(&mut writer, &mut disk, cut);
    assert!(!writer.is_cutting());
    assert_eq!(zxids(&disk, NONE), [1, 2, 3, 4]);
    // Other records with the same numbers take the place of the dropped ones.
    writer.append(Zxid(5), b"another").unwrap();
    let other = issue(&mut writer, &mut disk, 0);
    finish(&mut writer, &mut disk, other);
    let mut bodies = Vec::new();
    recover(&mut disk.sources(), DIRECTORY, NONE, &mut |_, bytes| bodies.push(bytes.to_vec()));
    assert_eq!(bodies[4], b"another");
    // Back to the very beginning, and no further than the log reaches.
    assert_eq!(writer.truncate(Zxid::ZERO), Ok(Truncation::Pending));
    let empty = issue(&mut writer, &mut disk, 0);
    finish(&mut writer, &mut disk, empty);
    assert_eq!(zxids(&disk, NONE), [0; 0]);
    write(&mut writer, &mut disk, 1, 10);
    writer.reset(Zxid(50), []).unwrap();
    assert_eq!(writer.truncate(Zxid(49)), Err(TruncateError::BelowLog { after: Zxid(49), base: Zxid(50) }));
    write(&mut writer, &mut disk, 51, 10);
    assert_eq!(zxids(&disk, Checkpoint::Installed(Zxid(50))), [51]);
}

#[test]
fn what_a_truncation_drops_does_not_count_as_committed_when_it_comes_again() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    // A follower may know of commits beyond what it has logged.
    for zxid in 1..=5 {
        writer.append(Zxid(zxid), b"x").unwrap();
        let write = issue(&mut writer, &mut disk, 9);
        finish(&mut writer, &mut disk, write);
    }
    assert_eq!(recovered(&disk, NONE).committed(), Zxid(5));
    writer.truncate(Zxid(3)).unwrap();
    for zxid in 4..=6 {
        write(&mut writer, &mut disk, zxid, 20);
    }
    assert_eq!((recovered(&disk, NONE).last(), recovered(&disk, NONE).committed()), (Zxid(6), Zxid(3)));
}

#[test]
fn a_checkpoint_from_elsewhere_voids_a_log_that_did_not_begin_with_it() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    write(&mut writer, &mut disk, 5, 10);
    write(&mut writer, &mut disk, 9, 10);
    // Also what lies behind its zxid: those records continue another history.
    let installed = Checkpoint::Installed(Zxid(7));
    assert_eq!(zxids(&disk, installed), [0; 0]);
    let mut writer = WalWriter::resume(small(), recovered(&disk, installed));
    assert!(writer.is_cutting(), "the new log begins at once");
    assert!(writer.retire(Zxid(7)).is_empty(), "and until it has, the old one stays");
    let begin = issue(&mut writer, &mut disk, 0);
    finish(&mut writer, &mut disk, begin);
    write(&mut writer, &mut disk, 8, 10);
    assert_eq!(zxids(&disk, installed), [8]);
    assert_eq!(writer.retire(Zxid(7)).len(), 1);
}

/// The records of the old log, and of the new one: the same zxids stand for other bytes.
fn body(is_new: bool, zxid: u64, len: usize) -> Vec<u8> {
    vec![zxid as u8 ^ if is_new { 0xA5 } else { 0 }; len]
}

/// Reads what a server would start with that has the checkpoint `old`, and `next` beside it.
fn whole_log(disk: &Disk, old: Checkpoint, next: Checkpoint) -> (Checkpoint, Vec<(u64, Vec<u8>)>, Recovered) {
    let begun = origin(&mut disk.sources(), DIRECTORY).is_some_and(|(zxid, _)| zxid == next.zxid());
    let checkpoint = if begun { next } else { old };
    let mut found = Vec::new();
    let verdict = recover(&mut disk.sources(), DIRECTORY, checkpoint, &mut |zxid, bytes| {
        found.push((zxid.0, bytes.to_vec()));
    });
    let recovered = verdict.recovered().unwrap_or_else(|| panic!("{verdict:?}")).clone();
    (checkpoint, found, recovered)
}

proptest! {
    /// A leader's snapshot: whatever part of the one write that begins the log anew a crash leaves, there is the old log,
    /// every record of it, or the new one, every record of it; also if it is tried again afterwards.
    #[test]
    fn a_log_is_begun_anew_whole_or_not_at_all(
        old in proptest::collection::vec(0_usize..6000, 0..12),
        new in proptest::collection::vec(0_usize..9000, 0..12),
        applied in 0_u64..12,
        ahead in 0_u64..4,
        sectors in proptest::collection::vec(0_u64..101, 1..3),
        seed: u64,
    ) {
        let mut disk = Disk::default();
        let mut writer = fresh(small());
        let mut chance = Chance::new(seed);
        let old: Vec<_> = (1..).zip(old).map(|(zxid, len)| (zxid, body(false, zxid, len))).collect();
        for (zxid, bytes) in &old {
            writer.append(Zxid(*zxid), bytes).unwrap();
            if chance.percent(60) {
                let write = issue(&mut writer, &mut disk, 0);
                finish(&mut writer, &mut disk, write);
            }
        }
        prepare(&mut writer, &mut disk);
        while let Some(write) = writer.poll_write(Zxid::ZERO) {
            finish(&mut writer, &mut disk, write);
            prepare(&mut writer, &mut disk);
        }
        let applied = applied.min(old.len() as u64);
        // What is behind it here may be in the new log too, or not.
        let base = applied + ahead;
        let new: Vec<_> = (base + 1..).zip(new).map(|(zxid, len)| (zxid, body(true, zxid, len))).collect();
        let (local, installed) = (Checkpoint::Local(Zxid(applied)), Checkpoint::Installed(Zxid(base)));
        let old: Vec<_> = old.into_iter().filter(|(zxid, _)| *zxid > applied).collect();
        for percent in sectors.into_iter().chain([100]) {
            writer.reset(Zxid(base), new.iter().map(|(zxid, bytes)| (Zxid(*zxid), &bytes[..]))).unwrap();
            prop_assert!(writer.is_cutting() && writer.durable().get() <= Zxid(base));
            let write = issue(&mut writer, &mut disk, applied);
            prop_assert_eq!(write.last.0, new.last().map_or(base, |(zxid, _)| *zxid), "one write has it all");
            disk.write(&write, |_| chance.percent(percent));
            let (checkpoint, found, recovered) = whole_log(&disk, local, installed);
            if checkpoint == installed && base > 0 {
                prop_assert_eq!(&found, &new);
                prop_assert_eq!(recovered.last().0, new.last().map_or(base, |(zxid, _)| *zxid));
                prop_assert!(recovered.committed().0 <= base);
            } else if base > 0 {
                let found: Vec<_> = found.into_iter().filter(|(zxid, _)| *zxid > applied).collect();
                prop_assert_eq!(&found, &old);
            }
            prop_assert!(percent < 100 || checkpoint == installed);
            if checkpoint == installed {
                break;
            }
            writer = WalWriter::resume(small(), recovered);
        }
    }
}

#[test]
fn retirement_keeps_what_followers_may_ask_for_within_its_bytes() {
    for (keep_records, keep_bytes, left) in [(0, 0, 9), (4, 1 << 30, 6), (1000, 5 * 4 * BLOCK_BYTES as u64, 5)] {
        let mut disk = Disk::default();
        let mut writer = fresh(WalConfig { keep_records, keep_bytes, ..small() });
        for zxid in 1..=9 {
            write(&mut writer, &mut disk, zxid, 2 * BLOCK_BYTES);
        }
        assert!(writer.retire(Zxid::ZERO).is_empty(), "nothing that a checkpoint lacks");
        for retired in writer.retire(Zxid(9)) {
            disk.retire(retired);
        }
        assert_eq!(writer.layout().next_batch(Zxid::ZERO).map(|place| place.last.0), Some(left));
        assert_eq!(zxids(&disk, Checkpoint::Local(Zxid(left - 1))), (left..=9).collect::<Vec<_>>());
    }
}

#[test]
fn readers_get_a_range_or_an_error_but_never_other_bytes() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    for zxid in 1..=8 {
        write(&mut writer, &mut disk, zxid, 600 * zxid as usize);
    }
    for (after, upto) in [(0, 8), (3, 6), (6, 6), (7, 100), (8, 100)] {
        let mut found = Vec::new();
        replay(&mut disk.sources(), writer.layout(), DIRECTORY, Zxid(after), Zxid(upto), &mut |zxid, bytes| {
            assert_eq!(bytes, vec![zxid.0 as u8; 600 * zxid.0 as usize]);
            found.push(zxid.0);
        })
        .unwrap();
        assert_eq!(found, (after + 1..=upto.min(8)).collect::<Vec<_>>());
    }
    let place = writer.layout().next_batch(Zxid(4)).unwrap();
    disk.block(place.segment, place.block)[300] ^= 1;
    let damage = replay(&mut disk.sources(), writer.layout(), DIRECTORY, Zxid(2), Zxid(8), &mut |zxid, _| {
        assert!(zxid <= Zxid(4));
    })
    .unwrap_err();
    assert_eq!((damage.segment, damage.block, damage.reason), (place.segment, place.block, DamageReason::Checksum));
}

#[test]
fn a_plan_to_read_covers_the_range_within_its_bytes() {
    let mut disk = Disk::default();
    let mut writer = fresh(WalConfig { segment_bytes: 10 * BLOCK_BYTES as u64, ..small() });
    for zxid in 1..=20 {
        write(&mut writer, &mut disk, zxid, 600 * zxid as usize);
    }
    let layout = writer.layout();
    let whole: u64 = layout.batches(Zxid::ZERO).map(|place| place.bytes() as u64).sum();
    assert_eq!(layout.bytes_behind(Zxid::ZERO), whole);
    assert_eq!(layout.bytes_behind(Zxid(20)), 0);
    for bytes_max in [1, 3 * BLOCK_BYTES, 1 << 30] {
        for (after, upto) in [(0, 20), (4, 9), (19, 20), (20, 20), (20, 40), (7, 40)] {
            let (mut reached, mut found) = (Zxid(after), Vec::new());
            loop {
                let (places, done) = layout.plan_read(reached, Zxid(upto), bytes_max);
                let bytes: usize = places.iter().map(|place| place.bytes()).sum();
                assert!(places.len() <= 1 || bytes - places[places.len() - 1].bytes() < bytes_max);
                let on_record = &mut |zxid: Zxid, bytes: &[u8]| {
                    assert_eq!(bytes, vec![zxid.0 as u8; 600 * zxid.0 as usize]);
                    found.push(zxid.0);
                };
                read_places(&mut disk.sources(), &places, DIRECTORY, reached, Zxid(upto), on_record).unwrap();
                reached = places.last().map_or(reached, |place| place.last);
                if done {
                    break;
                }
                assert!(!places.is_empty());
            }
            assert_eq!(found, (after + 1..=upto.min(20)).collect::<Vec<_>>());
        }
        assert_eq!(layout.bytes_behind(Zxid(4)), layout.batches(Zxid(4)).map(|place| place.bytes() as u64).sum());
    }
}

/// A reader that has been slow holds a file which is another segment by now.
#[test]
fn a_segment_in_its_next_use_yields_nothing() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    for zxid in 1..=3 {
        write(&mut writer, &mut disk, zxid, 2 * BLOCK_BYTES);
    }
    let (places, _) = writer.layout().plan_read(Zxid::ZERO, Zxid(1), usize::MAX);
    let [first] = writer.retire(Zxid(1))[..] else { panic!("one segment has been covered") };
    disk.retire(first);
    for zxid in 4..=6 {
        write(&mut writer, &mut disk, zxid, 2 * BLOCK_BYTES);
    }
    for reused in disk.files.keys().copied().collect::<Vec<_>>() {
        let content = disk.files[&reused].clone();
        disk.files.insert(first.sequence, content);
        let read = read_places(&mut disk.sources(), &places, DIRECTORY, Zxid::ZERO, Zxid(1), &mut |zxid, _| {
            panic!("{zxid} of another segment");
        });
        assert_eq!(read.unwrap_err().segment, first.sequence);
    }
}

/// Writes what the sample holds.
fn sample() -> Disk {
    let mut disk = Disk::default();
    let config = WalConfig { segment_bytes: 6 * BLOCK_BYTES as u64, ..small() };
    let mut writer = fresh(config);
    writer.append(Zxid::new(1, 1), b"first").unwrap();
    let first = issue(&mut writer, &mut disk, 0);
    writer.append(Zxid::new(1, 2), &[0xab; 700]).unwrap();
    writer.append(Zxid::new(2, 1), b"").unwrap();
    finish(&mut writer, &mut disk, first);
    let second = issue(&mut writer, &mut disk, Zxid::new(1, 1).0);
    finish(&mut writer, &mut disk, second);
    writer.append(Zxid::new(2, 2), &[0xcd; 5000]).unwrap();
    let third = issue(&mut writer, &mut disk, Zxid::new(2, 1).0);
    disk.write(&third, |sector| sector < 11);
    disk
}

#[test]
fn the_sample_file_opens_and_is_what_is_written_today() {
    let mut written = sample();
    written.files.remove(&SegmentSeq(2));
    assert!(written.files[&SegmentSeq(1)] == SAMPLE, "the format has changed: give it a new version");

    let mut disk = Disk::default();
    disk.files.insert(SegmentSeq(1), SAMPLE.to_vec());
    let mut records = Vec::new();
    let verdict = recover(&mut disk.sources(), DIRECTORY, NONE, &mut |zxid, bytes| records.push((zxid, bytes.len())));
    assert_eq!(records, [(Zxid::new(1, 1), 5), (Zxid::new(1, 2), 700), (Zxid::new(2, 1), 0)]);
    let Verdict::TornTail(_, tail) = verdict else { panic!("{verdict}") };
    assert_eq!((tail.block, tail.zxids), (3, Some((Zxid::new(2, 2), Zxid::new(2, 2)))));
}

#[test]
fn an_inspection_reads_like_this() {
    let mut disk = Disk::default();
    disk.files.insert(SegmentSeq(1), SAMPLE.to_vec());
    let mut lines = Vec::new();
    let verdict = inspect(&mut disk.sources(), DIRECTORY, NONE, &mut |finding| lines.push(finding.to_string()));
    lines.push(verdict.to_string());
    let wanted = "\
segment 1: identity 000000010000f00d, 24576 bytes, made by server 7
  offset 4096: 1 records 0x100000001 to 0x100000001, 1 blocks, commit 0x0, begins anew behind 0x0
  offset 8192: 2 records 0x100000002 to 0x200000001, 1 blocks, commit 0x100000001
  offset 12288: 1 records 0x200000002 to 0x200000002, 2 blocks, commit 0x200000001, torn: 1 blocks whole
  1 blocks unused
torn tail, never acknowledged: segment 1, offset 12288; up to 0x200000001, known committed up to 0x100000001";
    assert_eq!(lines.join("\n"), wanted);
}

/// Gives a segment to a check in pieces of `piece`.
fn check(disk: &Disk, sequence: u64, piece: usize) -> Result<(), (u64, SegmentFault)> {
    let mut check = SegmentCheck::new(DIRECTORY, SegmentSeq(sequence));
    disk.files[&SegmentSeq(sequence)].chunks(piece).try_for_each(|piece| check.feed(piece))
}

#[test]
fn a_check_passes_segments_new_reused_and_with_a_torn_end() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    for zxid in 1..=12 {
        write(&mut writer, &mut disk, zxid, 100);
        if zxid == 6 {
            for retired in writer.retire(Zxid(5)) {
                disk.retire(retired);
            }
        }
    }
    // The last write reaches the disk in part.
    writer.append(Zxid(13), &[13; 3000]).unwrap();
    let torn = issue(&mut writer, &mut disk, 0);
    disk.write(&torn, |sector| sector % 2 == 1);
    let sequences: Vec<u64> = disk.files.keys().map(|sequence| sequence.0).collect();
    assert!(sequences.len() > 2, "{sequences:?}");
    for sequence in sequences {
        for piece in [1000, BLOCK_BYTES, 3 * BLOCK_BYTES + 5] {
            assert_eq!(check(&disk, sequence, piece), Ok(()), "{sequence} {piece}");
        }
    }
}

#[test]
fn a_check_finds_every_flipped_byte_and_a_lost_block() {
    let mut disk = Disk::default();
    let mut writer = fresh(small());
    for zxid in 1..=3 {
        write(&mut writer, &mut disk, zxid, 100);
    }
    assert_eq!(check(&disk, 1, BLOCK_BYTES), Ok(()));
    for at in (0..4 * BLOCK_BYTES).step_by(97) {
        let mut bad = disk.clone();
        let block = bad.block(SegmentSeq(1), (at / BLOCK_BYTES) as u32);
        block[at % BLOCK_BYTES] ^= 4;
        let (offset, _) = check(&bad, 1, 999).unwrap_err();
        assert_eq!(offset, (at / BLOCK_BYTES * BLOCK_BYTES) as u64, "{at}");
    }
    disk.block(SegmentSeq(1), 1).fill(0);
    let hole = (BLOCK_BYTES as u64, SegmentFault::Block(DamageReason::Hole));
    assert_eq!(check(&disk, 1, BLOCK_BYTES), Err(hole));
}
