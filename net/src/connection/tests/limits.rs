//! Bounds: what a client can make the server hold.

use super::*;
use crate::proto::multi;
use proptest::prelude::*;

#[test]
fn a_client_that_pipelines_more_than_it_may_is_read_no_further() {
    let mut host = Host::at(4);
    let limits = ConnectionLimits { outstanding_max: 2, input_pause_bytes: 100, ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits);
    let stream: Vec<u8> = (1..=10).flat_map(set).collect();
    c.receive(&mut host, &stream);
    assert_eq!(host.writes.len(), 2);
    assert!(c.is_stalled() && !c.wants_input());
    for zxid in 5..15 {
        answer(&mut host, &mut c, zxid);
        step(&mut host, &mut c, zxid, &[]);
    }
    assert!(host.writes.is_empty() && c.wants_input() && !c.is_stalled());
    let xids: Vec<i32> = frames(&drain(&mut host, &mut c)).iter().map(|sent| sent.xid).collect();
    assert_eq!(xids, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let mut host = Host::at(4);
    let limits = ConnectionLimits { unsent_bytes_max: 1000, ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits);
    host.script(Script::Record(vec![0; 5000]));
    c.receive(&mut host, &[get(1), get(2)].concat());
    assert_eq!(host.reads.len(), 1, "a reply may be as large as it is, and no further one is made");
    let output = c.take_output(Vec::new());
    c.output_sent(&mut host, 1000);
    assert_eq!(host.reads.len(), 1);
    c.output_sent(&mut host, output.len() - 1000);
    assert_eq!(host.reads.len(), 2);
    assert_eq!(frames(&output).len(), 1);
    assert_eq!(order_of(&drain(&mut host, &mut c)), [(2, 4)]);
}

#[test]
fn requests_count_with_their_bytes() {
    let mut host = Host::at(4);
    let limits = ConnectionLimits { outstanding_bytes_max: 30, ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits);
    c.receive(&mut host, &[set(1), set(2), set(3)].concat());
    assert_eq!(host.writes.len(), 2);
}

#[test]
fn the_role_may_be_full() {
    let mut host = Host { room: 0, ..Host::at(4) };
    let mut c = established(&mut host);
    c.receive(&mut host, &[get(1), set(2), get(3)].concat());
    assert_eq!((host.reads.len(), host.writes.len()), (1, 0));
    assert!(c.is_stalled());
    host.room = 1;
    c.resume(&mut host);
    assert_eq!(host.writes.len(), 1);
}

#[test]
fn a_backlog_of_events_ends_the_connection_and_a_large_reply_does_not() {
    let mut host = Host::at(4);
    let limits = ConnectionLimits { event_backlog_bytes: 200, ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits.clone());
    host.script(Script::Record(vec![0; 100_000]));
    c.receive(&mut host, &get(1));
    let reply = c.take_output(Vec::new());
    let bytes = event(5, "/a").frame.len();
    for zxid in 5..(5 + 200 / bytes as u64) {
        step(&mut host, &mut c, zxid, &[event(zxid, "/a")]);
        assert_eq!(c.fate(), Fate::Open);
    }
    c.output_sent(&mut host, reply.len());
    let events = drain(&mut host, &mut c);
    assert!(!events.is_empty());
    for zxid in 50..(50 + 200 / bytes as u64) {
        step(&mut host, &mut c, zxid, &[event(zxid, "/a")]);
        assert_eq!(c.fate(), Fate::Open);
    }
    step(&mut host, &mut c, 99, &[event(99, "/a")]);
    assert_eq!(c.fate(), Fate::CloseNow);

    let mut c = established_with(&mut host, limits);
    host.script(Script::Later);
    c.receive(&mut host, &get(1));
    let many: Vec<ViewEvent> = (100..110).map(|zxid| event(zxid, "/a")).collect();
    step(&mut host, &mut c, 110, &many);
    assert_eq!(c.fate(), Fate::CloseNow, "events behind an unanswered read count too");
}

#[test]
fn frames_above_the_ceiling_close() {
    let mut host = Host::at(4);
    let mut c = established(&mut host);
    let largest = request(1, 4, |w| {
        w.string("/a");
        w.boolean(false);
        w.raw(&vec![0; 0xF_FFFF - 15]);
    });
    assert_eq!(largest.len(), 4 + 0xF_FFFF);
    for chunk in largest.chunks(4096) {
        assert!(c.wants_input());
        c.receive(&mut host, chunk);
    }
    assert_eq!(host.reads.len(), 1);
    c.receive(&mut host, &hex("00100000"));
    assert_eq!(c.fate(), Fate::CloseNow);
}

#[test]
fn large_requests_share_one_allowance() {
    let mut host = Host { large_room: 60, ..Host::at(4) };
    let limits = ConnectionLimits { large_request_threshold: Some(20), ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits);
    c.receive(&mut host, &[set(1), set(2), get(3)].concat());
    assert_eq!(host.writes.len(), 2);
    let each = set(1).len() - 4;
    assert_eq!(host.large_room, 60 - 2 * each);
    assert_eq!(c.large_bytes_held(), 2 * each);
    answer(&mut host, &mut c, 5);
    step(&mut host, &mut c, 5, &[]);
    assert_eq!(host.large_room, 60 - each);
    c.receive(&mut host, &[]);
    host.large_room = 0;
    answer(&mut host, &mut c, 6);
    step(&mut host, &mut c, 6, &[]);
    host.large_room = 0;
    c.receive(&mut host, &set(4));
    assert_eq!(c.fate(), Fate::CloseNow);
}

#[test]
fn a_host_that_goes_on_delivering_is_stopped() {
    let mut host = Host::at(4);
    let limits = ConnectionLimits { outstanding_max: 1, input_bytes_max: 1000, ..ConnectionLimits::default() };
    let mut c = established_with(&mut host, limits);
    for xid in 0..100 {
        c.receive(&mut host, &set(xid));
    }
    assert_eq!(c.fate(), Fate::CloseNow);
    assert!(c.held_bytes() < 64 << 10);
}

/// Frames with valid headers and arbitrary records, and bytes that are no frames at all.
fn arbitrary_stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let frame = (prop_oneof![-12..30_i32, 98..110_i32], proptest::collection::vec(any::<u8>(), 0..60))
        .prop_map(|(op, record)| request(1, op, |w| w.raw(&record)));
    let noise = proptest::collection::vec(any::<u8>(), 0..30);
    proptest::collection::vec(prop_oneof![8 => frame, 1 => noise], 0..30)
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_are_bounded(
        stream in arbitrary_stream(),
        established_first: bool,
        cut in 1_usize..50,
    ) {
        let mut host = Host { shards: 2, ..Host::at(4) };
        let limits = ConnectionLimits {
            frame_bytes_max: 200,
            outstanding_max: 3,
            input_pause_bytes: 100,
            unsent_bytes_max: 500,
            ..ConnectionLimits::default()
        };
        let mut c = if established_first { established_with(&mut host, limits) } else { fresh(limits) };
        let bytes: Vec<u8> = stream.concat();
        let mut zxid = 4;
        for chunk in bytes.chunks(cut) {
            if !c.wants_input() {
                while !host.writes.is_empty() {
                    zxid += 1;
                    answer(&mut host, &mut c, zxid);
                }
                for origin in std::mem::take(&mut host.syncs) {
                    c.sync_done(&mut host, origin, Zxid(zxid));
                }
                for (origin, _) in std::mem::take(&mut host.listings) {
                    c.ephemerals(&mut host, origin, Zxid(zxid), vec![]);
                }
                step(&mut host, &mut c, zxid, &[]);
                drain(&mut host, &mut c);
            }
            if c.wants_input() {
                c.receive(&mut host, chunk);
            }
            prop_assert!(c.held_bytes() < 4096, "{}", c.held_bytes());
        }
    }
}

proptest! {
    /// Answers of every kind to every request, asked for or not, in parts that were never sent.
    #[test]
    fn answers_that_fit_nothing_never_panic(
        ops in proptest::collection::vec(proptest::sample::select(vec![1, 4, 5, 9, 11, 22, 103, 104, 106]), 1..12),
        answers in proptest::collection::vec((0_u8..8, 0_u64..14, 0_u32..4, 0_u64..12), 0..40),
    ) {
        let mut host = Host { shards: 2, ..Host::at(4) };
        let mut c = established(&mut host);
        for (xid, op) in ops.iter().enumerate() {
            host.scripts.extend([Script::Later, Script::Later]);
            let frame = request(xid as i32, *op, |w| {
                if *op == 22 {
                    multi::encode_header(w, 4, false, -1);
                }
                w.string("/a");
                w.raw(&[0; 13]);
                multi::encode_terminator(w);
            });
            c.receive(&mut host, &frame);
        }
        for (kind, seq, part, zxid) in answers {
            let origin = Origin { core: CoreId(2), conn: ConnId { slot: 3, generation: 1 }, seq };
            let zxid = Zxid(zxid);
            match kind {
                0 => c.read_reply(&mut host, ReadReply { origin, part, result: Ok(ReadBody::Count(part)) }),
                1 => c.read_reply(&mut host, ReadReply { origin, part, result: Ok(ReadBody::Record(vec![1; 9])) }),
                2 => c.read_reply(&mut host, ReadReply { origin, part, result: Err(ErrorCode::NoNode) }),
                3 => bring_answer(&mut c, &mut host, WriteAnswer { origin, zxid, result: Ok(WriteResult::Stat) }),
                4 => bring_stat(&mut c, &mut host, CapturedStat { origin, op: part, stat: Stat::default() }),
                5 => c.sync_done(&mut host, origin, zxid),
                6 => c.ephemerals(&mut host, origin, zxid, vec!["/e".into()]),
                _ => step(&mut host, &mut c, 4 + zxid.0, &[event(zxid.0, "/a")]),
            }
        }
        frames(&drain(&mut host, &mut c));
        c.end();
        prop_assert_eq!(c.fate(), Fate::CloseNow);
    }
}
