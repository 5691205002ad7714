//! Files over a real ring, on the default file system and on tmpfs.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use hardware::aligned::AlignedBuf;
use hardware::block_file::{BlockFile, PreferDirect, WriteSync};
use hardware::reactor::{Event, Reactor, ReactorConfig};

fn places() -> Vec<tempfile::TempDir> {
    vec![tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()]
}

fn next(reactor: &mut Reactor) -> Event {
    let mut events = Vec::new();
    while events.is_empty() {
        reactor.turn(&mut events, None, || true).unwrap();
    }
    assert_eq!(events.len(), 1);
    events.remove(0)
}

#[test]
fn writes_syncs_and_reads_back() {
    for place in places() {
        for prefer in [PreferDirect::Yes, PreferDirect::No] {
            let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
            let file = BlockFile::create(&place.path().join(format!("{prefer:?}")), 1 << 16, prefer).unwrap();
            file.fill_with_zeroes().unwrap();
            for sync in [WriteSync::Data, WriteSync::None] {
                let mut buf = AlignedBuf::with_capacity(8192);
                buf.extend_from_slice(&[5; 6000]);
                buf.pad_to_block();
                reactor.write(11, &file, 4096, buf, sync);
                let Event::Written { token: 11, result, buf } = next(&mut reactor) else { panic!() };
                assert_eq!(result.unwrap(), 8192);
                assert_eq!(buf.len(), 8192);
            }
            reactor.sync(12, &file);
            let Event::Synced { token: 12, result: Ok(()) } = next(&mut reactor) else { panic!() };
            for (offset, len, fives) in [(4096, 8192, 6000), (5000, 100, 100), (10_095, 3, 1), (0, 65_536, 6000)] {
                reactor.read(13, &file, offset, vec![9; len]);
                let Event::Read { token: 13, result, buf } = next(&mut reactor) else { panic!() };
                assert_eq!(result.unwrap(), len);
                assert_eq!(buf.iter().filter(|byte| **byte == 5).count(), fives);
                assert_eq!(buf.iter().filter(|byte| **byte == 0).count(), len - fives);
            }
            reactor.read(14, &file, 65_000, vec![9; 1000]);
            let Event::Read { token: 14, result, buf } = next(&mut reactor) else { panic!() };
            assert_eq!(result.unwrap(), 536);
            assert_eq!(buf.len(), 1000);
        }
    }
}

#[test]
fn buffered_bytes_of_any_shape() {
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = BlockFile::create(&place.path().join("f"), 0, PreferDirect::No).unwrap();
    reactor.write_bytes(1, &file, 3, b"tail".to_vec());
    let Event::WrittenBytes { token: 1, result, buf } = next(&mut reactor) else { panic!() };
    assert_eq!((result.unwrap(), &buf[..]), (4, &b"tail"[..]));
    reactor.read(2, &file, 0, vec![1; 7]);
    let Event::Read { token: 2, result, buf } = next(&mut reactor) else { panic!() };
    assert_eq!((result.unwrap(), &buf[..]), (7, &b"\0\0\0tail"[..]));
    reactor.write_bytes(3, &file, 0, Vec::new());
    let Event::WrittenBytes { token: 3, result: Ok(0), .. } = next(&mut reactor) else { panic!() };
}

#[test]
fn errors_name_what_is_wrong_and_return_the_buffer() {
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("f");
    let direct = BlockFile::create(&path, 4096, PreferDirect::Yes).unwrap();
    if direct.is_direct() {
        let mut buf = AlignedBuf::with_capacity(1);
        buf.extend_from_slice(b"odd");
        reactor.write(1, &direct, 0, buf, WriteSync::Data);
        let Event::Written { token: 1, result, buf } = next(&mut reactor) else { panic!() };
        assert!(result.unwrap_err().to_string().contains("whole blocks"));
        assert_eq!(buf.as_slice(), b"odd");
    }
    let read_only = BlockFile::open_read_only(&path).unwrap();
    reactor.write_bytes(2, &read_only, 0, vec![1]);
    let Event::WrittenBytes { token: 2, result, buf } = next(&mut reactor) else { panic!() };
    assert_eq!(result.unwrap_err().raw_os_error(), Some(9));
    assert_eq!(buf, [1]);
}

#[test]
fn many_operations_in_flight_each_come_back_once() {
    let place = tempfile::tempdir().unwrap();
    let file = BlockFile::create(&place.path().join("f"), 4096 * 512, PreferDirect::Yes).unwrap();
    // A submission queue far smaller than the number of operations.
    let mut reactor = Reactor::new(ReactorConfig { sq_entries: 4, ..ReactorConfig::default() }).unwrap();
    for index in 0..512u64 {
        let mut buf = AlignedBuf::with_capacity(4096);
        buf.extend_from_slice(&[index as u8; 4096]);
        reactor.write(index, &file, index * 4096, buf, WriteSync::None);
    }
    let mut seen = [false; 512];
    let mut events = Vec::new();
    while seen.contains(&false) {
        reactor.turn(&mut events, None, || true).unwrap();
        for event in events.drain(..) {
            let Event::Written { token, result: Ok(4096), buf } = event else { panic!("{event:?}") };
            assert_eq!(buf[0], token as u8);
            assert!(!std::mem::replace(&mut seen[token as usize], true));
        }
    }
    let mut bytes = vec![0; 4096 * 512];
    file.read_at(0, &mut bytes).unwrap();
    assert!(bytes.chunks(4096).enumerate().all(|(index, block)| block.iter().all(|byte| *byte == index as u8)));
}

#[test]
fn dropping_the_reactor_with_operations_in_flight_is_safe_and_lets_go_of_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = BlockFile::create(&place.path().join("f"), 1 << 22, PreferDirect::Yes).unwrap();
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    for index in 0..64u64 {
        reactor.write(index, &file, index << 16, AlignedBuf::zeroed(1 << 16), WriteSync::Data);
        reactor.sync(100 + index, &file);
    }
    reactor.turn(&mut Vec::new(), Some(std::time::Instant::now()), || true).unwrap();
    assert!(Arc::strong_count(&file) > 1);
    drop(reactor);
    assert_eq!(Arc::strong_count(&file), 1);
}
