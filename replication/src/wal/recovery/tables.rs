//! Every state of a block, at every place, with everything that can follow: one verdict each.

#![allow(clippy::unwrap_used)]

use engine::zxid::Zxid;

use crate::wal::disk::{DIRECTORY, Disk};
use crate::wal::format::{
    BLOCK_BYTES, DirectoryId, LinkKind, Place, SECTOR_BYTES, Seal, SegmentIdentity, SegmentSeq, seal_blocks,
};
use crate::wal::writer::{WalConfig, WalWrite, WalWriter};
use crate::wal::{Checkpoint, DamageReason, Recovered, Verdict, recover};

/// Blocks of every batch here.
const BATCH: u32 = 3;
/// The segment under test holds its header and two batches, so that a third rolls over.
const SEGMENT_BYTES: u64 = (1 + 2 * BATCH as u64) * BLOCK_BYTES as u64;
const FIRST: SegmentSeq = SegmentSeq(1);

/// The state into which a block of the batch under test is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Good,
    Zero,
    OlderIdentity,
    /// Some sectors arrived, the others are zeroes.
    TornOverZeroes,
    /// Some sectors arrived, the others are of an earlier use of the file.
    TornOverOlder,
    /// As `TornOverOlder`, and the sector with the headers is among the missing.
    TornWithoutHeader,
    BitFlip,
    /// A bit of a sector's identity.
    IdentityFlip,
    /// A bit among the zeroes of a block that never arrived.
    FlipInZeroes,
    /// A torn block, one of whose older sectors has changed besides.
    FlipInOlder,
    ForeignDirectory,
    /// Another block of the same segment.
    WrongIndex,
    /// A block of another segment that is present, at this very index.
    OtherSegment,
    Unreadable,
}

const STATES: [State; 14] = [
    State::Good,
    State::Zero,
    State::OlderIdentity,
    State::TornOverZeroes,
    State::TornOverOlder,
    State::TornWithoutHeader,
    State::BitFlip,
    State::IdentityFlip,
    State::FlipInZeroes,
    State::FlipInOlder,
    State::ForeignDirectory,
    State::WrongIndex,
    State::OtherSegment,
    State::Unreadable,
];

/// What was written behind the batch under test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Behind {
    Nothing,
    /// A middle block of the next batch: it was being written.
    PartOfNextBatch,
    /// The next batch.
    NextBatch,
    /// The next segment, by rollover.
    Rollover,
    /// The next segment, by rollover, a middle block only.
    TornRollover,
    /// The next segment after a restart.
    Restart,
    /// The next segment after a restart, a middle block only.
    TornRestart,
    /// The next segment after a truncation that drops the batch under test.
    Truncation,
    /// A new beginning, as after a snapshot from the leader.
    Reset,
}

const BEHIND: [Behind; 9] = [
    Behind::Nothing,
    Behind::PartOfNextBatch,
    Behind::NextBatch,
    Behind::Rollover,
    Behind::TornRollover,
    Behind::Restart,
    Behind::TornRestart,
    Behind::Truncation,
    Behind::Reset,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    Clean,
    Torn,
    Damage,
}

/// The table.
fn expected(state: State, behind: Behind) -> Expected {
    use Behind as B;
    use State as S;
    match (state, behind) {
        // What a cut or a new beginning has made void may be anything.
        (_, B::Truncation | B::Reset) => Expected::Clean,
        (S::Good, B::Nothing | B::NextBatch | B::Rollover | B::Restart) => Expected::Clean,
        (S::Good, B::PartOfNextBatch | B::TornRollover | B::TornRestart) => Expected::Torn,
        // What no write, finished or not, leaves behind.
        (
            S::BitFlip
            | S::IdentityFlip
            | S::FlipInZeroes
            | S::FlipInOlder
            | S::ForeignDirectory
            | S::WrongIndex
            | S::OtherSegment
            | S::Unreadable,
            _,
        ) => Expected::Damage,
        // Not all there: torn if nothing can have been written behind it.
        (
            S::Zero | S::OlderIdentity | S::TornOverZeroes | S::TornOverOlder | S::TornWithoutHeader,
            B::Nothing | B::TornRestart,
        ) => Expected::Torn,
        (S::Zero | S::OlderIdentity | S::TornOverZeroes | S::TornOverOlder | S::TornWithoutHeader, _) => {
            Expected::Damage
        }
    }
}

#[test]
fn every_combination_has_its_verdict() {
    let mut seen = [0; 3];
    for tested in [0, 1] {
        for state in STATES {
            for position in 0..BATCH {
                for behind in BEHIND {
                    if tested == 0 && behind != Behind::NextBatch && behind != Behind::Nothing {
                        continue;
                    }
                    let what = format!("batch {tested}, {state:?} in block {position}, then {behind:?}");
                    seen[check(tested, state, position, behind, &what) as usize] += 1;
                }
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 30), "{seen:?}");
}

/// Builds one combination, recovers, and compares.
fn check(tested: u32, state: State, position: u32, behind: Behind, what: &str) -> Expected {
    let mut disk = Disk::default();
    // Beyond the batch under test the first segment has room for one more only where that is what follows.
    let room = u64::from(behind == Behind::NextBatch || behind == Behind::PartOfNextBatch);
    let config = WalConfig {
        segment_bytes: SEGMENT_BYTES + room * u64::from(BATCH) * BLOCK_BYTES as u64,
        keep_records: 1000,
        ..WalConfig::new(DIRECTORY)
    };
    let mut writer = WalWriter::resume(config, recovered(&disk, Checkpoint::Local(Zxid::ZERO)));
    let mut before = 0;
    while before <= tested {
        before += 1;
        write_batch(&mut writer, &mut disk, before, Sectors::All);
    }
    let mut checkpoint = Checkpoint::Local(Zxid::ZERO);
    let middle = Sectors::Block(1);
    match behind {
        Behind::Nothing => {}
        Behind::PartOfNextBatch => write_batch(&mut writer, &mut disk, before + 1, middle),
        Behind::NextBatch | Behind::Rollover => write_batch(&mut writer, &mut disk, before + 1, Sectors::All),
        Behind::TornRollover => write_batch(&mut writer, &mut disk, before + 1, middle),
        Behind::Restart | Behind::TornRestart => {
            let mut writer = WalWriter::resume(config, recovered(&disk, checkpoint));
            let sectors = if behind == Behind::Restart { Sectors::All } else { middle };
            write_batch(&mut writer, &mut disk, before + 1, sectors);
        }
        Behind::Truncation => {
            writer.truncate(zxid(before - 1)).unwrap();
            write_batch(&mut writer, &mut disk, before + 1, Sectors::All);
        }
        Behind::Reset => {
            checkpoint = Checkpoint::Installed(zxid(before));
            writer.reset(zxid(before), []).unwrap();
            write_batch(&mut writer, &mut disk, before + 1, Sectors::All);
        }
    }
    let block = 1 + tested * BATCH + position;
    let unreadable = damage_block(&mut disk, state, block);

    let mut sources = disk.sources();
    if let Some(block) = unreadable {
        sources.iter_mut().find(|source| super::SegmentSource::sequence(*source) == FIRST).unwrap().unreadable =
            Some(block);
    }
    let mut records = Vec::new();
    let verdict = recover(&mut sources, DIRECTORY, checkpoint, &mut |zxid, bytes| {
        assert_eq!(bytes, body(zxid), "{what}");
        records.push(zxid);
    });

    let expected = expected(state, behind);
    let whole_next =
        matches!(behind, Behind::NextBatch | Behind::Rollover | Behind::Restart | Behind::Truncation | Behind::Reset);
    let mut wanted: Vec<Zxid> = (1..=before + u32::from(whole_next)).map(zxid).collect();
    if behind == Behind::Truncation {
        wanted.retain(|&wanted| wanted != zxid(before));
    }
    wanted.retain(|&wanted| wanted > checkpoint.zxid());
    match (&verdict, expected) {
        (Verdict::Clean(log), Expected::Clean) => {
            assert_eq!(records, wanted, "{what}");
            assert_eq!(log.last(), *wanted.last().unwrap(), "{what}");
        }
        (Verdict::TornTail(log, _), Expected::Torn) => {
            // The torn batch is the one behind, or the one under test.
            let until = if state == State::Good { before } else { before - 1 };
            assert_eq!(records, (1..=until).map(zxid).collect::<Vec<_>>(), "{what}");
            assert_eq!(log.last(), zxid(until), "{what}");
        }
        (Verdict::Damage(damage), Expected::Damage) => {
            assert!(damage.sound_until < zxid(tested + 1), "{what}: {damage:?}");
            assert!(!damage.remedy(true).is_empty() && damage.next_sequence > FIRST);
            check_reason(state, damage.reason, what);
        }
        _ => panic!("{what}: expected {expected:?}, found {verdict:?}"),
    }
    expected
}

/// For what can be told at a glance the reason names it.
fn check_reason(state: State, reason: DamageReason, what: &str) {
    let right = match state {
        State::BitFlip | State::IdentityFlip | State::FlipInZeroes | State::FlipInOlder => {
            reason == DamageReason::Checksum
        }
        State::ForeignDirectory => matches!(reason, DamageReason::ForeignDirectory(_)),
        State::WrongIndex | State::OtherSegment => matches!(reason, DamageReason::Misplaced { .. }),
        State::Unreadable => matches!(reason, DamageReason::Unreadable(_)),
        _ => true,
    };
    assert!(right, "{what}: {reason:?}");
}

#[derive(Clone, Copy)]
enum Sectors {
    All,
    /// Only those of one block of the batch.
    Block(usize),
}

fn zxid(batch: u32) -> Zxid {
    if batch == 0 { Zxid::ZERO } else { Zxid::new(1, batch) }
}

/// One record that fills a batch of three blocks.
fn body(zxid: Zxid) -> Vec<u8> {
    vec![zxid.counter() as u8 | 0x40; 2 * BLOCK_BYTES + 500]
}

fn write_batch(writer: &mut WalWriter, disk: &mut Disk, batch: u32, sectors: Sectors) {
    writer.append(zxid(batch), &body(zxid(batch))).unwrap();
    prepare(writer, disk);
    let write: WalWrite = writer.poll_write(Zxid::ZERO).unwrap();
    prepare(writer, disk);
    assert_eq!(write.buf.len(), BATCH as usize * BLOCK_BYTES);
    match sectors {
        Sectors::All => {
            disk.write(&write, |_| true);
            let len = write.buf.len();
            assert_eq!(writer.written(write.token, Ok(len)).unwrap().get(), zxid(batch));
        }
        Sectors::Block(block) => disk.write(&write, |sector| sector / 8 == block),
    }
}

fn prepare(writer: &mut WalWriter, disk: &mut Disk) {
    while let Some(prepare) = writer.poll_prepare() {
        writer.prepared(disk.prepare(prepare)).unwrap();
    }
}

fn recovered(disk: &Disk, checkpoint: Checkpoint) -> Recovered {
    match recover(&mut disk.sources(), DIRECTORY, checkpoint, &mut |_, _| {}) {
        Verdict::Clean(recovered) => recovered,
        verdict => panic!("{verdict:?}"),
    }
}

/// Puts a block of the first segment into a state; yields it where it is to be unreadable.
fn damage_block(disk: &mut Disk, state: State, block: u32) -> Option<u32> {
    let sequence = FIRST;
    let older = sealed(disk, block, DIRECTORY, SegmentIdentity(0xdead), block);
    match state {
        State::Good => {}
        State::Unreadable => return Some(block),
        State::Zero => disk.block(sequence, block).fill(0),
        State::OlderIdentity => disk.block(sequence, block).copy_from_slice(&older),
        State::TornOverZeroes => disk.block(sequence, block)[3 * SECTOR_BYTES..5 * SECTOR_BYTES].fill(0),
        State::TornOverOlder => {
            let range = 5 * SECTOR_BYTES..;
            disk.block(sequence, block)[range.clone()].copy_from_slice(&older[range]);
        }
        State::TornWithoutHeader => disk.block(sequence, block)[..SECTOR_BYTES].copy_from_slice(&older[..SECTOR_BYTES]),
        State::BitFlip => disk.block(sequence, block)[2 * SECTOR_BYTES + 77] ^= 4,
        State::IdentityFlip => disk.block(sequence, block)[6 * SECTOR_BYTES - 16] ^= 1,
        State::FlipInZeroes => {
            disk.block(sequence, block).fill(0);
            disk.block(sequence, block)[900] = 1;
        }
        State::FlipInOlder => {
            let range = 4 * SECTOR_BYTES..;
            disk.block(sequence, block)[range.clone()].copy_from_slice(&older[range]);
            disk.block(sequence, block)[7 * SECTOR_BYTES + 9] ^= 0x80;
        }
        State::ForeignDirectory => {
            let identity = disk.identity(sequence).unwrap();
            let foreign = sealed(disk, block, DirectoryId(1), identity, block);
            disk.block(sequence, block).copy_from_slice(&foreign);
        }
        State::WrongIndex => {
            let other = if block == 1 { 2 } else { block - 1 };
            let misplaced = disk.block(sequence, other).to_vec();
            disk.block(sequence, block).copy_from_slice(&misplaced);
        }
        State::OtherSegment => {
            // A segment is always prepared ahead, so that there is another one.
            let identity = disk.identity(sequence.next()).unwrap();
            let misplaced = sealed(disk, block, DIRECTORY, identity, block);
            disk.block(sequence, block).copy_from_slice(&misplaced);
        }
    }
    None
}

/// The block, sealed as another one.
fn sealed(disk: &mut Disk, block: u32, directory: DirectoryId, identity: SegmentIdentity, start: u32) -> Vec<u8> {
    let mut copy = disk.block(FIRST, block).to_vec();
    let place = Place { sequence: FIRST, identity, start, link: LinkKind::None };
    seal_blocks(&Seal::new(directory), place, &mut copy);
    copy
}

#[test]
fn faults_of_whole_segments_are_damage_where_the_segment_matters() {
    let config = WalConfig { segment_bytes: SEGMENT_BYTES, ..WalConfig::new(DIRECTORY) };
    let mut disk = Disk::default();
    let none = Checkpoint::Local(Zxid::ZERO);
    let mut writer = WalWriter::resume(config, recovered(&disk, none));
    for batch in 1..=7 {
        write_batch(&mut writer, &mut disk, batch, Sectors::All);
    }
    assert_eq!(disk.files.len(), 5, "four in use, one ahead");
    let reason = |disk: &Disk, checkpoint| match recover(&mut disk.sources(), DIRECTORY, checkpoint, &mut |_, _| {}) {
        Verdict::Damage(damage) => Some(damage.reason),
        _ => None,
    };
    assert_eq!(reason(&disk, none), None);

    for missing in 1..=4 {
        let mut disk = disk.clone();
        disk.files.remove(&SegmentSeq(missing));
        let wanted = match missing {
            1 => DamageReason::BeginsLate { base: zxid(2), checkpoint: Zxid::ZERO },
            _ => DamageReason::Missing,
        };
        assert_eq!(reason(&disk, none), Some(wanted), "segment {missing}");
    }
    for segment in 1..=5 {
        let mut flipped = disk.clone();
        flipped.block(SegmentSeq(segment), 0)[40] ^= 1;
        assert!(matches!(reason(&flipped, none), Some(DamageReason::Header(_))), "segment {segment}");
        let mut zeroed = disk.clone();
        zeroed.block(SegmentSeq(segment), 0).fill(0);
        assert!(matches!(reason(&zeroed, none), Some(DamageReason::Header(_))), "segment {segment}");
        let mut shortened = disk.clone();
        shortened.files.get_mut(&SegmentSeq(segment)).unwrap().truncate(5 * BLOCK_BYTES);
        assert!(matches!(reason(&shortened, none), Some(DamageReason::FileSize { .. })), "segment {segment}");
        let mut swapped = disk.clone();
        let other = if segment == 1 { 2 } else { 1 };
        let copy = disk.files[&SegmentSeq(other)].clone();
        swapped.files.insert(SegmentSeq(segment), copy);
        assert_eq!(reason(&swapped, none), Some(DamageReason::Misnamed(SegmentSeq(other))), "segment {segment}");
    }

    // What the checkpoint has is not needed, but what it was made of has to be there.
    let mut retired = disk.clone();
    retired.files.remove(&SegmentSeq(1));
    assert_eq!(reason(&retired, Checkpoint::Local(zxid(2))), None);
    let ahead = Checkpoint::Local(zxid(8));
    assert_eq!(reason(&disk, ahead), Some(DamageReason::BehindCheckpoint { last: zxid(7), checkpoint: zxid(8) }));
    assert_eq!(reason(&disk, Checkpoint::Installed(zxid(8))), None);
    assert_eq!(recovered(&disk, Checkpoint::Installed(zxid(8))).last(), zxid(8));
    assert!(reason(&Disk::default(), ahead).is_some());
}

#[test]
fn damage_can_be_given_up_for_a_snapshot_or_salvaged() {
    let config = WalConfig { segment_bytes: SEGMENT_BYTES, keep_records: 0, ..WalConfig::new(DIRECTORY) };
    let mut disk = Disk::default();
    let none = Checkpoint::Local(Zxid::ZERO);
    let mut writer = WalWriter::resume(config, recovered(&disk, none));
    for batch in 1..=7 {
        write_batch(&mut writer, &mut disk, batch, Sectors::All);
    }
    disk.block(SegmentSeq(2), 5)[100] ^= 1;
    let Verdict::Damage(damage) = recover(&mut disk.sources(), DIRECTORY, none, &mut |_, _| {}) else {
        panic!("not noticed")
    };
    assert_eq!((damage.sound_until, damage.seen_until), (zxid(3), Some(zxid(7))));
    assert!(damage.remedy(true).contains(&zxid(7).to_string()));

    // The operator accepts the loss: the log goes on behind its third record.
    let mut salvaged = disk.clone();
    let mut writer = WalWriter::resume(config, damage.salvage.clone().unwrap());
    assert_eq!(writer.durable().get(), zxid(3));
    assert!(writer.retire(zxid(3)).is_empty(), "before the new end is durable nothing may go");
    write_batch(&mut writer, &mut salvaged, 9, Sectors::All);
    let mut found = Vec::new();
    let verdict = recover(&mut salvaged.sources(), DIRECTORY, none, &mut |zxid, _| found.push(zxid));
    assert!(matches!(verdict, Verdict::Clean(_)), "{verdict:?}");
    assert_eq!(found, [1, 2, 3, 9].map(zxid));

    // A leader sends a snapshot instead; also with a header gone and a segment missing the damage is then history.
    disk.block(SegmentSeq(3), 0).fill(0);
    disk.files.remove(&SegmentSeq(1));
    let mut writer = WalWriter::replace_damaged(config, &damage, zxid(20));
    assert!(writer.is_cutting());
    write_batch(&mut writer, &mut disk, 21, Sectors::All);
    assert!(!writer.is_cutting());
    assert_eq!(recovered(&disk, Checkpoint::Installed(zxid(20))).last(), zxid(21));
    let retired: Vec<_> = writer.retire(Zxid::ZERO).iter().map(|segment| segment.sequence.0).collect();
    assert_eq!(retired, [1, 2, 3, 4, 5]);
}

#[test]
fn a_whole_batch_lost_is_damage_where_a_later_one_is_seen() {
    let config = WalConfig { segment_bytes: SEGMENT_BYTES + 8 * BLOCK_BYTES as u64, ..WalConfig::new(DIRECTORY) };
    let none = Checkpoint::Local(Zxid::ZERO);
    for lost in 1..=3 {
        for (last, sectors) in [(3, Sectors::All), (4, Sectors::Block(0)), (4, Sectors::Block(1)), (4, Sectors::All)] {
            let mut disk = Disk::default();
            let mut writer = WalWriter::resume(config, recovered(&disk, none));
            for batch in 1..last {
                write_batch(&mut writer, &mut disk, batch, Sectors::All);
            }
            write_batch(&mut writer, &mut disk, last, sectors);
            for block in 0..BATCH {
                disk.block(FIRST, 1 + (lost - 1) * BATCH + block).fill(0);
            }
            let verdict = recover(&mut disk.sources(), DIRECTORY, none, &mut |_, _| {});
            // Of the very last one there is no trace left.
            let found = matches!(verdict, Verdict::Damage(damage) if damage.reason == DamageReason::Hole);
            assert_eq!(found, lost != last, "batch {lost} of {last}");
        }
    }
}

/// Seals the second batch again, as another write at this place would have done.
fn reseal_second(disk: &mut Disk, link: LinkKind, flip: u8) {
    let identity = disk.identity(FIRST).unwrap();
    let mut blocks: Vec<u8> = (0..BATCH).flat_map(|block| disk.block(FIRST, 1 + BATCH + block).to_vec()).collect();
    blocks[700] ^= flip;
    let place = Place { sequence: FIRST, identity, start: 1 + BATCH, link };
    seal_blocks(&Seal::new(DIRECTORY), place, &mut blocks);
    for (block, bytes) in blocks.chunks_exact(BLOCK_BYTES).enumerate() {
        disk.block(FIRST, 1 + BATCH + block as u32).copy_from_slice(bytes);
    }
}

#[test]
fn sound_batches_that_do_not_fit_together_are_damage() {
    let none = Checkpoint::Local(Zxid::ZERO);
    let third = (FIRST, 1 + 2 * BATCH, DamageReason::ChainBroken);
    let second = |reason| (FIRST, 1 + BATCH, reason);
    for (room, batches, sectors, link, flip, wanted) in [
        (3, 3, Sectors::All, LinkKind::None, 1, third),
        (3, 3, Sectors::Block(0), LinkKind::None, 1, third),
        // The next segment's link has the checksum.
        (0, 3, Sectors::All, LinkKind::None, 1, second(DamageReason::ChainBroken)),
        (0, 3, Sectors::Block(0), LinkKind::None, 1, (FIRST.next(), 1, DamageReason::ChainBroken)),
        // Only first batches have links.
        (3, 2, Sectors::All, LinkKind::Cut, 0, second(DamageReason::Malformed)),
    ] {
        let segment_bytes = SEGMENT_BYTES + room * BLOCK_BYTES as u64;
        let config = WalConfig { segment_bytes, ..WalConfig::new(DIRECTORY) };
        let mut disk = Disk::default();
        let mut writer = WalWriter::resume(config, recovered(&disk, none));
        for batch in 1..batches {
            write_batch(&mut writer, &mut disk, batch, Sectors::All);
        }
        write_batch(&mut writer, &mut disk, batches, sectors);
        assert!(recover(&mut disk.sources(), DIRECTORY, none, &mut |_, _| {}).recovered().is_some());
        reseal_second(&mut disk, link, flip);
        let verdict = recover(&mut disk.sources(), DIRECTORY, none, &mut |_, _| {});
        let Verdict::Damage(damage) = verdict else { panic!("{verdict:?}, not {wanted:?}") };
        assert_eq!((damage.segment, damage.block, damage.reason), wanted);
    }
}

#[test]
fn only_the_segment_behind_the_newest_may_have_been_begun() {
    let config = WalConfig { segment_bytes: SEGMENT_BYTES, ..WalConfig::new(DIRECTORY) };
    let none = Checkpoint::Local(Zxid::ZERO);
    let mut disk = Disk::default();
    let mut writer = WalWriter::resume(config, recovered(&disk, none));
    write_batch(&mut writer, &mut disk, 1, Sectors::All);
    let third = disk.prepare(crate::wal::Prepare { sequence: SegmentSeq(3), bytes: SEGMENT_BYTES });
    assert_eq!(recovered(&disk, none).last(), zxid(1), "two unused segments");
    let place = Place { sequence: third.sequence, identity: third.identity, start: 1, link: LinkKind::Cut };
    let mut block = vec![0; BLOCK_BYTES];
    seal_blocks(&Seal::new(DIRECTORY), place, &mut block);
    disk.block(third.sequence, 1)[..SECTOR_BYTES].copy_from_slice(&block[..SECTOR_BYTES]);
    let verdict = recover(&mut disk.sources(), DIRECTORY, none, &mut |_, _| {});
    let Verdict::Damage(damage) = verdict else { panic!("{verdict:?}") };
    assert_eq!((damage.segment, damage.reason), (SegmentSeq(3), DamageReason::Hole));
}
