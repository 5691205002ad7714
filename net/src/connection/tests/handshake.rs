//! From the first bytes to a session, or to none.

use super::*;
use crate::four_letter::Word;

fn connect(last_zxid_seen: i64, timeout_ms: i32, session: i64, read_only: Option<bool>) -> Vec<u8> {
    let mut frame = vec![0; 4];
    let mut w = Writer::new(&mut frame);
    w.int(0);
    w.long(last_zxid_seen);
    w.int(timeout_ms);
    w.long(session);
    w.buffer(Some(&[9; 16]));
    if let Some(read_only) = read_only {
        w.boolean(read_only);
    }
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

#[test]
fn timeouts_are_clamped() {
    for (asked, given) in [(0, 4_000), (-1, 4_000), (i32::MIN, 4_000), (10_000, 10_000), (i32::MAX, 40_000)] {
        let mut host = Host::new();
        fresh(ConnectionLimits::default()).receive(&mut host, &connect(0, asked, 0, Some(false)));
        assert_eq!(host.handshakes[0].timeout_ms, given);
    }
}

#[test]
fn old_clients_get_36_bytes() {
    for (read_only, bytes) in [(None, 36), (Some(false), 37), (Some(true), 37)] {
        let mut host = Host::new();
        let mut c = fresh(ConnectionLimits::default());
        c.receive(&mut host, &connect(0, 5000, 0, read_only));
        c.connected(&mut host, SESSION, 5000, [1; 16], Zxid(1));
        let sent = drain(&mut host, &mut c);
        assert_eq!(sent.len(), 4 + bytes);
        assert!(sent.len() == 40 || sent[40] == 0, "a server that writes is not read-only");
    }
}

#[test]
fn a_client_that_has_seen_more_is_sent_away() {
    let mut host = Host::at(5);
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, &connect(6, 5000, 0, Some(false)));
    assert_eq!((c.fate(), host.handshakes.len()), (Fate::CloseNow, 0));
    assert!(c.output().is_empty());
}

#[test]
fn reads_wait_until_the_view_is_where_the_client_has_been() {
    let mut host = Host::at(5);
    host.last_processed = Zxid(9);
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, &connect(9, 5000, SESSION.0, Some(false)));
    assert_eq!(host.handshakes[0].session, SESSION);
    c.connected(&mut host, SESSION, 5000, [1; 16], Zxid(5));
    assert_eq!(drain(&mut host, &mut c).len(), 41);
    c.receive(&mut host, &[ping(), get(1)].concat());
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(-2, 5)]);
    assert_eq!(c.next_view(), Some(Zxid(9)));
    step(&mut host, &mut c, 8, &[]);
    assert!(host.reads.is_empty());
    step(&mut host, &mut c, 9, &[]);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(1, 9)]);
    assert_eq!(c.next_view(), None);
}

#[test]
fn what_is_pipelined_behind_the_handshake_waits_for_it() {
    let mut host = Host::new();
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, &[connect(0, 5000, 0, Some(false)), get(1), set(2)].concat());
    assert!(host.reads.is_empty() && host.writes.is_empty());
    c.connected(&mut host, SESSION, 5000, [1; 16], Zxid(1));
    assert_eq!((host.reads.len(), host.writes.len()), (1, 1));
    assert_eq!(order_of(&drain(&mut host, &mut c)[41..]), [(1, 1)]);
}

#[test]
fn a_refused_renewal_is_all_zeros_and_the_end() {
    let mut host = Host::new();
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, &[connect(0, 5000, 77, None), get(1)].concat());
    c.refused(&mut host);
    assert_eq!(drain(&mut host, &mut c), hex("00000024 00000000 00000000 0000000000000000 00000010 00*16"));
    assert_eq!(c.fate(), Fate::CloseWhenSent);
    assert!(host.reads.is_empty());
}

#[test]
fn a_read_only_server_takes_only_those_who_asked_for_it() {
    for (asked, taken) in [(None, false), (Some(false), false), (Some(true), true)] {
        let mut host = Host { serving: Serving::ReadOnly, ..Host::new() };
        let mut c = fresh(ConnectionLimits::default());
        c.receive(&mut host, &connect(0, 5000, 0, asked));
        assert_eq!(host.handshakes.len() == 1, taken);
        if taken {
            c.connected(&mut host, SESSION, 5000, [1; 16], Zxid(1));
            assert_eq!(drain(&mut host, &mut c)[40], 1);
            c.receive(&mut host, &[set(1), sync(2), get(3), close(4)].concat());
            assert_eq!(errors_of(&drain(&mut host, &mut c)), [(1, -119), (2, -119), (3, 0)]);
            assert_eq!(host.writes.len(), 1, "a session may be closed");
        } else {
            assert_eq!(c.fate(), Fate::CloseNow);
        }
    }
}

#[test]
fn nonsense_before_the_session_closes() {
    for bytes in [
        hex("00000000"),
        hex("00000005 0000000000"),
        hex("ffffffff"),
        hex("7fffffff"),
        hex("fff4fffd"),
        hex("0000002b 00000000 0000000000000000 00007530 0000000000000000 00000010 00*15"),
    ] {
        let mut host = Host::new();
        let mut c = fresh(ConnectionLimits::default());
        c.receive(&mut host, &bytes);
        assert_eq!(c.fate(), Fate::CloseNow, "{bytes:x?}");
        assert!(c.output().is_empty());
    }
}

#[test]
fn refusals_by_throttle_and_by_state() {
    let mut host = Host { admits: false, ..Host::new() };
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, &connect(0, 5000, 0, None));
    assert_eq!(c.fate(), Fate::CloseNow);
    let mut host = Host { serving: Serving::No, ..Host::new() };
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, &connect(0, 5000, 0, None));
    assert_eq!(c.fate(), Fate::CloseNow);
}

#[test]
fn four_letter_words_wait_for_their_answer() {
    let mut host = Host { serving: Serving::No, ..Host::new() };
    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, b"ru");
    assert_eq!((c.word(), c.fate()), (None, Fate::Open));
    c.receive(&mut host, b"ok\r\n");
    assert_eq!(c.word(), Some((Word::Ruok, 0)));
    c.answer_word(b"imok");
    assert_eq!(c.word(), None);
    assert_eq!(drain(&mut host, &mut c), b"imok");
    assert_eq!(c.fate(), Fate::CloseWhenSent);

    let mut c = fresh(ConnectionLimits::default());
    c.receive(&mut host, b"stmk\0\0\0\0\0\0");
    assert_eq!(c.word(), None);
    c.receive(&mut host, &[1, 0x32]);
    assert_eq!(c.word(), Some((Word::Stmk, 306)));
}

#[test]
fn a_word_behind_a_session_is_a_bad_length() {
    let mut host = Host::new();
    let mut c = established(&mut host);
    c.receive(&mut host, b"ruok");
    assert_eq!(c.fate(), Fate::CloseNow);
}
