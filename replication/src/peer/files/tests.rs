#![allow(clippy::unwrap_used)]

use super::compression::{Compression, SnappyReader};
use super::digest::{TreeDigest, TxnDigest};
use super::directory::{EpochError, Epochs, LogName, SnapshotName, logs_behind, parse_epoch};
use super::log::{LogEnd, LogReader, LogWriter};
use super::snapshot_file::{SnapshotFileWriter, read_snapshot};
use super::*;
use crate::peer::snapshot::reader::Event;
use crate::peer::snapshot::record::StatPersisted;
use crate::peer::snapshot::writer::{HeadWriter, write_end_of_nodes};
use engine::zxid::Zxid;
use proptest::prelude::*;
use std::io::Write;

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A file of an empty tree without nodes, which only a reader of the format takes.
fn snapshot(zxid: Zxid, tree: TreeDigest) -> Vec<u8> {
    let mut writer = SnapshotFileWriter::new(Vec::new()).unwrap();
    let mut body = Vec::new();
    while HeadWriter::new(vec![], []).write(usize::MAX, &mut body) {}
    write_end_of_nodes(&mut body);
    writer.write(&body).unwrap();
    writer.finish(zxid, tree).unwrap()
}

fn read(bytes: &[u8]) -> Result<(usize, snapshot_file::SnapshotFacts), FileError> {
    let mut events = 0;
    let facts = read_snapshot(&mut { bytes }, 4096, &mut |event| {
        events += usize::from(event != Event::End);
        Ok(())
    })?;
    Ok((events, facts))
}

fn log(entries: &[&[u8]]) -> Vec<u8> {
    let mut writer = LogWriter::new(Vec::new()).unwrap();
    for entry in entries {
        writer.append(entry).unwrap();
    }
    writer.finish()
}

fn read_log(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, LogEnd), FileError> {
    let mut reader = LogReader::new(bytes, 4096)?;
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        entries.push(entry);
    }
    Ok((entries, reader.end().unwrap()))
}

#[test]
fn the_digest_is_that_of_the_reference_server() {
    let mut fresh = TreeDigest::default();
    let zeros = StatPersisted::default();
    fresh.add("/", None, &zeros);
    assert_eq!(fresh.0, 0x0412_8908);
    fresh.add("/zookeeper", None, &zeros);
    assert_eq!(fresh.0, 0x51C6_D660);
    fresh.add("/zookeeper/quota", Some(b"x"), &zeros);
    assert_eq!(fresh.0, 0x51C6_D660, "what is below /zookeeper does not count");
    // After create "/p" with "v0", transaction 0x100000002.
    let (zxid, time) = (Zxid(0x1_0000_0002), 0x01a1_fb60_0d45);
    let mut tree = TreeDigest::default();
    tree.add("/", None, &StatPersisted { cversion: 1, pzxid: zxid, ..zeros });
    tree.add("/zookeeper", None, &zeros);
    let stat = StatPersisted { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: time, mtime: time, ..zeros };
    tree.add("/p", Some(b"v0"), &stat);
    assert_eq!(tree.0, 0x2_118c_c9c3);
    let digest = TxnDigest::decode(&bytes_of("00000002 00000002118cc9c3")).unwrap();
    assert!(!digest.contradicts(tree) && digest.contradicts(fresh));
    assert!(!TxnDigest { version: 3, ..digest }.contradicts(fresh));
    assert_eq!(TxnDigest::decode(&[0; 11]), None);
}

#[test]
fn the_checksums_of_a_snapshot_run_over_the_seals() {
    // The tail of a file of the reference server, from its first seal on.
    let mut adler = adler2::Adler32::from_checksum(0xc2a8_75e2);
    adler.write_slice(&bytes_of("00000000c2a875e2 00000001 2f 0000000000000000 00000002 0000000000000000"));
    assert_eq!(adler.checksum(), 0x4562_78d5);
    adler.write_slice(&bytes_of("00000000456278d5 00000001 2f 0000000000000000"));
    assert_eq!(adler.checksum(), 0x4e85_7af9);
    let file = snapshot(Zxid::ZERO, TreeDigest::default());
    assert!(file.starts_with(&bytes_of("5a4b534e 00000002 ffffffffffffffff 00000000")));
    let tail = file.len() - 13 - 8 - 13 - 20 - 13;
    let mut adler = adler2::Adler32::new();
    adler.write_slice(&file[..tail]);
    let seal = |sum: u32| [&u64::from(sum).to_be_bytes()[..], &bytes_of("00000001 2f")].concat();
    assert_eq!(file[tail..tail + 13], seal(adler.checksum()));
    assert!(file[tail + 13..].starts_with(&bytes_of("0000000000000000 00000002 0000000000000000")));
}

#[test]
fn optional_sections_are_told_by_the_end() {
    let file = snapshot(Zxid(9), TreeDigest(77));
    let (events, facts) = read(&file).unwrap();
    assert_eq!(events, 2, "the lists that every server knows");
    let digest = facts.digest.unwrap();
    assert_eq!((digest.zxid, digest.digest.digest, facts.last_zxid), (Zxid(9), 77, Some(Zxid(9))));
    let without_last = &file[..file.len() - 21];
    assert_eq!(read(without_last).unwrap().1, snapshot_file::SnapshotFacts { last_zxid: None, ..facts });
    let without_digest = &without_last[..without_last.len() - 33];
    assert_eq!(read(without_digest).unwrap().1, snapshot_file::SnapshotFacts::default());
}

#[test]
fn a_snapshot_cut_or_changed_anywhere_is_refused() {
    let file = snapshot(Zxid(9), TreeDigest(77));
    let ends = [file.len() - 21, file.len() - 54];
    for end in 0..file.len() {
        assert_eq!(read(&file[..end]).is_ok(), ends.contains(&end), "cut at {end}");
    }
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        // The database id counts in the checksum, and the version of the digest tells how long it is.
        assert!(read(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn compressed_snapshots_are_read() {
    let file = snapshot(Zxid(9), TreeDigest(77));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&file).unwrap();
    let mut snappy = bytes_of("82534e4150505900 00000001 00000001");
    for block in file.chunks(40) {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        snappy.extend_from_slice(&(block.len() as u32).to_be_bytes());
        snappy.extend_from_slice(&block);
    }
    for (compression, bytes) in
        [(Compression::None, file), (Compression::Gzip, gzip.finish().unwrap()), (Compression::Snappy, snappy)]
    {
        let mut reader = compression.reader(&bytes[..]);
        let facts = read_snapshot(&mut *reader, 4096, &mut |_| Ok(())).unwrap();
        assert_eq!(facts.last_zxid, Some(Zxid(9)), "{compression:?}");
        let mut cut = compression.reader(&bytes[..bytes.len() - 3]);
        assert!(read_snapshot(&mut *cut, 4096, &mut |_| Ok(())).is_err(), "{compression:?}");
    }
}

#[test]
fn a_log_ends_with_padding_or_a_torn_entry() {
    let entries: [&[u8]; 2] = [b"first entry", b"second"];
    let file = log(&entries);
    assert!(file.starts_with(&bytes_of("5a4b4c47 00000002 0000000000000000")));
    assert_eq!(
        file[16..28],
        [&u64::from(adler2::adler32_slice(b"first entry")).to_be_bytes()[..], &[0, 0, 0, 11]].concat()
    );
    assert_eq!(file[28 + 11], b'B');
    let whole = entries.map(<[u8]>::to_vec).to_vec();
    assert_eq!(read_log(&file).unwrap(), (whole.clone(), LogEnd::Whole));
    assert_eq!(read_log(&[&file[..], &[0; 500]].concat()).unwrap(), (whole.clone(), LogEnd::Whole));
    let second = 16 + 12 + 11 + 1;
    for cut in second + 1..file.len() {
        // As long as nothing but zeros of the entry was written, nothing of it can be told from the padding.
        let nothing_written = file[second..cut].iter().all(|byte| *byte == 0);
        let end = if nothing_written { LogEnd::Whole } else { LogEnd::Torn { offset: second as u64 } };
        for padding in [0, 5, 300] {
            let file = [&file[..cut], &vec![0; padding]].concat();
            assert_eq!(read_log(&file).unwrap(), (whole[..1].to_vec(), end), "cut at {cut}");
        }
    }
    for cut in 0..16 {
        let end = read_log(&file[..cut]).unwrap().1;
        assert_eq!(end, LogEnd::Torn { offset: 0 });
    }
}

#[test]
fn damage_in_a_log_is_not_taken_for_a_torn_tail() {
    let file = log(&[b"first entry", b"second"]);
    let change = |at: usize| {
        let mut bytes = file.clone();
        bytes[at] ^= 1;
        read_log(&bytes)
    };
    assert!(matches!(change(30), Err(FileError::EntryChecksum { offset: 16 })));
    assert!(matches!(change(20), Err(FileError::EntryChecksum { offset: 16 })));
    assert!(matches!(change(28 + 11), Err(FileError::EntryEnd { offset: 16 })));
    assert!(matches!(change(24), Err(FileError::EntryLength { offset: 16, .. })));
    assert!(matches!(change(0), Err(FileError::Magic(_))));
    assert!(matches!(change(7), Err(FileError::Version(_, 3))));
}

#[test]
fn names_tell_what_a_file_is() {
    for (name, zxid, compression) in [
        ("snapshot.0", Zxid(0), Compression::None),
        ("snapshot.10000000f.gz", Zxid(0x1_0000_000F), Compression::Gzip),
        ("snapshot.a.snappy", Zxid(10), Compression::Snappy),
    ] {
        let parsed = SnapshotName::parse(name).unwrap();
        assert_eq!(parsed, SnapshotName { zxid, compression });
        assert_eq!(parsed.to_string(), name);
    }
    for name in ["snapshot.", "snapshot.g", "snapshot.1.tmp", "snapshot.+1", "snapshot.11111111111111111", "log.1"] {
        assert_eq!(SnapshotName::parse(name), None, "{name}");
    }
    assert_eq!(LogName::parse("log.1f"), Some(LogName(Zxid(0x1F))));
    assert_eq!(LogName::parse("log.1f.1"), None);
    let logs = [9, 1, 5].map(|zxid| LogName(Zxid(zxid)));
    let behind = |zxid| logs_behind(logs.to_vec(), Zxid(zxid)).into_iter().map(|log| log.0.0).collect::<Vec<_>>();
    assert_eq!(behind(0), [1, 5, 9]);
    assert_eq!(behind(3), [1, 5, 9]);
    assert_eq!(behind(4), [5, 9]);
    assert_eq!(behind(8), [9]);
    assert_eq!(behind(100), [9]);
}

#[test]
fn epochs_follow_the_files_and_the_last_transaction() {
    let last = Zxid::new(3, 5);
    let epochs = |accepted, current| Ok(Epochs { accepted, current });
    assert_eq!(Epochs::resolve(None, None, None, last), epochs(3, 3));
    assert_eq!(Epochs::resolve(Some(5), Some(4), None, last), epochs(5, 4));
    assert_eq!(Epochs::resolve(Some(3), Some(2), Some(3), last), epochs(3, 3));
    assert_eq!(Epochs::resolve(Some(3), Some(2), None, last), Err(EpochError::Behind { last: 3, current: 2 }));
    assert_eq!(Epochs::resolve(Some(3), Some(4), None, last), Err(EpochError::Promise { accepted: 3, current: 4 }));
    assert_eq!(parse_epoch(b"12"), Some(12));
    assert_eq!(parse_epoch(b"12\n"), Some(12));
    assert_eq!(parse_epoch(b"-1"), None);
    assert_eq!(parse_epoch(b""), None);
}

proptest! {
    #[test]
    fn reading_files_is_total(noise in proptest::collection::vec(any::<u8>(), 0..200), flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let xerial = bytes_of("82534e4150505900 00000001 00000001");
        let mut samples = vec![
            noise.clone(),
            [&log(&[])[..], &noise].concat(),
            [&snapshot(Zxid(1), TreeDigest(1))[..16], &noise].concat(),
            [&xerial[..], &noise].concat(),
            log(&[&noise]),
            snapshot(Zxid(1), TreeDigest(5)),
        ];
        for sample in &mut samples {
            for (at, with) in &flips {
                if !sample.is_empty() {
                    let at = at.index(sample.len());
                    sample[at] ^= with;
                }
            }
            let _ = read(sample);
            let _ = read_log(sample);
            let mut plain = Vec::new();
            let _ = std::io::Read::read_to_end(&mut SnappyReader::new(&sample[..]), &mut plain);
        }
    }
}

proptest! {
    /// Names and small files of a directory that anybody may have written into.
    #[test]
    fn arbitrary_names_epochs_and_digests_never_panic(
        name in "(snapshot|log)?\\.?[0-9a-fx]{0,20}(\\.gz|\\.snappy|.{0,6})",
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        epochs: [Option<u32>; 3],
        last: u64,
    ) {
        if let Some(parsed) = SnapshotName::parse(&name) {
            prop_assert_eq!(SnapshotName::parse(&parsed.to_string()), Some(parsed));
        }
        if let Some(parsed) = LogName::parse(&name) {
            prop_assert_eq!(LogName::parse(&parsed.to_string()), Some(parsed));
        }
        if let Some(epoch) = parse_epoch(&bytes) {
            prop_assert_eq!(parse_epoch(epoch.to_string().as_bytes()), Some(epoch));
        }
        prop_assert_eq!(TxnDigest::decode(&bytes).is_some(), bytes.len() >= 12);
        let [accepted, current, current_new] = epochs;
        if let Ok(epochs) = Epochs::resolve(accepted, current, current_new, Zxid(last)) {
            prop_assert!(epochs.accepted >= epochs.current && epochs.current >= Zxid(last).epoch());
        }
    }
}
