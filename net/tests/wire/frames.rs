//! Frames: lengths, handshake shapes, decode failures, unknown opcodes, xids.

use crate::on_one_and_four_shards;
use crate::support::raw::{Raw, frame};
use crate::support::record::{self, err, mode, op, record};
use crate::support::server::Server;
use crate::support::session::{Hello, Message, Reply, Session, request};
use crate::support::{is_before_3_9, is_reference, only_ringkeeper};
use engine::jute::Reader;

on_one_and_four_shards!(
    a_connect_request_without_the_read_only_byte_gets_36_bytes,
    odd_connect_requests_are_accepted,
    short_frames_before_the_session_close,
    short_frames_after_the_session_close,
    garbage_first_bytes_close,
    the_longest_frame_is_1048575_bytes,
    lengths_beyond_the_limit_close,
    unknown_opcodes_answer_and_close,
    internal_opcodes_from_clients_answer_and_close,
    malformed_records_answer_and_stay,
    absurd_vector_lengths_answer_and_stay,
    bytes_behind_a_record_are_ignored,
    any_byte_but_zero_is_true,
    xids_are_echoed_whatever_they_are,
    ping_replies_use_their_own_xid,
    requests_behind_the_connect_request_wait_for_the_session,
    a_frame_may_come_byte_by_byte,
    half_a_frame_and_a_close_disturb_nobody,
    malformed_utf8_is_a_bad_path,
    surrogate_pairs_of_java_are_understood,
);

fn a_connect_request_without_the_read_only_byte_gets_36_bytes(shards: usize) {
    let server = Server::start(shards);
    let mut raw = Raw::connect(server.address());
    let bytes = Hello::default().bytes();
    raw.send_frame(&bytes[..44]);
    assert_eq!(raw.frame().len(), 36);
    let mut raw = Raw::connect(server.address());
    raw.send_frame(&bytes);
    assert_eq!(raw.frame().len(), 37);
    // Renewal as such a client, and the refusal that it may get.
    let session = Session::open(server.address());
    let mut raw = Raw::connect(server.address());
    raw.send_frame(&session.hello().bytes()[..44]);
    assert_eq!(raw.frame().len(), 36);
    let mut raw = Raw::connect(server.address());
    let wrong = Hello { password: vec![7; 16], ..session.hello() };
    raw.send_frame(&wrong.bytes()[..44]);
    assert_eq!(raw.frame(), [vec![0; 16], vec![0, 0, 0, 16], vec![0; 16]].concat());
    raw.expect_close();
}

fn odd_connect_requests_are_accepted(shards: usize) {
    let server = Server::start(shards);
    let hello = |version: i32, password: Option<&[u8]>, tail: &[u8]| {
        record(|out| {
            out.int(version);
            out.long(0);
            out.int(10_000);
            out.long(0);
            out.buffer(password);
            out.boolean(true);
            out.raw(tail);
        })
    };
    for (version, password, tail) in
        [(99, Some(&[0; 16][..]), &b""[..]), (0, None, b""), (0, Some(b"xyz"), b""), (-1, Some(&[1; 40]), b"tail")]
    {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&hello(version, password, tail));
        let frame = raw.frame();
        assert_eq!((frame.len(), &frame[..4]), (37, &[0; 4][..]), "37 bytes, version 0");
        assert_eq!(frame[36], 0, "not a read-only server");
    }
}

fn short_frames_before_the_session_close(shards: usize) {
    let server = Server::start(shards);
    let whole = Hello::default().bytes();
    for length in [0, 1, 4, 8, 23, 27, 28, 43] {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&whole[..length]);
        raw.expect_close();
    }
    Session::open(server.address()).close();
}

fn short_frames_after_the_session_close(shards: usize) {
    let server = Server::start(shards);
    for length in 0..8 {
        let mut session = Session::open(server.address());
        session.raw.send_frame(&vec![0; length]);
        session.expect_close();
    }
    Session::open(server.address()).close();
}

fn garbage_first_bytes_close(shards: usize) {
    let server = Server::start(shards);
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x00\x00\x00",
        b"\x7f\xff\xff\xff",
        b"none",
        b"RUOK",
    ] {
        let mut raw = Raw::connect(server.address());
        raw.send_bytes(bytes);
        raw.expect_close();
    }
    // After a session a word is a bad length.
    let mut session = Session::open(server.address());
    session.raw.send_bytes(b"ruok");
    session.expect_close();
}

fn the_longest_frame_is_1048575_bytes(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let overhead = request(1, op::CREATE, &record::plain("/big", b"")).len();
    let data: Vec<u8> = (0..1_048_575 - overhead).map(|n| n as u8).collect();
    session.create("/big", &data);
    assert_eq!(session.get("/big").0.as_deref(), Some(&data[..]));
    let mut longer = data;
    longer.push(0);
    session.send(op::CREATE, &record::plain("/bih", &longer));
    session.expect_close();
    assert_eq!(Session::open(server.address()).stat("/bih"), None);
}

fn lengths_beyond_the_limit_close(shards: usize) {
    let server = Server::start(shards);
    for length in [-1, i32::MIN, 1_048_576, i32::MAX] {
        let mut session = Session::open(server.address());
        session.raw.send_bytes(&length.to_be_bytes());
        session.expect_close();
    }
}

fn unknown_opcodes_answer_and_close(shards: usize) {
    let server = Server::start(shards);
    for code in [0, -1, op::CHECK, 10, 23, 99, 108, 1000, i32::MIN, i32::MAX] {
        if is_before_3_9() && code == op::CHECK {
            continue; // 3.8 takes it at the top level
        }
        let mut session = Session::open(server.address());
        let reply = session.call(code, &record::path_int("/x", 0));
        assert_eq!((reply.zxid, reply.err, reply.body.len()), (-1, err::UNIMPLEMENTED, 0), "opcode {code}");
        session.expect_close();
    }
}

fn internal_opcodes_from_clients_answer_and_close(shards: usize) {
    if only_ringkeeper("it takes createSession and deleteContainer from clients") {
        return;
    }
    let server = Server::start(shards);
    let mut watcher = Session::open(server.address());
    watcher.create("/victim", b"");
    for (code, body) in [
        (op::CREATE_SESSION, record(|out| out.int(10_000))),
        (op::DELETE_CONTAINER, record::path("/victim")),
        (op::CREATE_SESSION, Vec::new()),
    ] {
        let mut session = Session::open(server.address());
        let reply = session.call(code, &body);
        assert_eq!((reply.zxid, reply.err, reply.body.len()), (-1, err::UNIMPLEMENTED, 0), "opcode {code}");
        session.expect_close();
    }
    assert!(watcher.stat("/victim").is_some());
}

/// Records that end too early or hold lengths that cannot be, by opcode.
fn malformed() -> Vec<(i32, Vec<u8>)> {
    let long_length = |length: i32| record(|out| out.int(length));
    let mut cases: Vec<(i32, Vec<u8>)> = [
        op::CREATE,
        op::DELETE,
        op::EXISTS,
        op::GET_DATA,
        op::SET_DATA,
        op::GET_ACL,
        op::SET_ACL,
        op::GET_CHILDREN,
        op::SYNC,
        op::GET_CHILDREN2,
        op::CREATE2,
        op::CREATE_CONTAINER,
        op::CREATE_TTL,
        op::GET_EPHEMERALS,
        op::GET_ALL_CHILDREN_NUMBER,
        op::SET_WATCHES,
        op::SET_WATCHES2,
        op::ADD_WATCH,
        op::CHECK_WATCHES,
        op::REMOVE_WATCHES,
    ]
    .into_iter()
    .map(|code| (code, Vec::new()))
    .collect();
    let create = record::plain("/m", b"data");
    cases.extend((1..create.len()).step_by(3).map(|length| (op::CREATE, create[..length].to_vec())));
    for length in [-2, i32::MIN, 5, 4_000_000, i32::MAX] {
        cases.push((op::GET_DATA, long_length(length)));
        cases.push((op::CREATE2, long_length(length)));
        cases.push((op::SYNC, long_length(length)));
    }
    cases.push((op::SET_DATA, record::path("/m")));
    cases.push((op::EXISTS, record::path("/m")));
    cases.push((op::SET_DATA, [record::path("/m"), (-2_i32).to_be_bytes().to_vec()].concat()));
    cases
}

fn malformed_records_answer_and_stay(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let before = session.zxid();
    for (code, body) in malformed() {
        let reply = session.call(code, &body);
        assert_eq!((reply.err, reply.body.len()), (err::MARSHALLING, 0), "opcode {code}, body {body:02x?}");
        // Before 3.9 a write that does not decode consumed one.
        assert!(reply.zxid == before || is_before_3_9(), "no zxid is consumed: opcode {code}, body {body:02x?}");
    }
    session.create("/after", b"");
    assert_eq!(session.stat("/m"), None);
}

fn absurd_vector_lengths_answer_and_stay(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for count in [1_000, 100_000_000, i32::MAX] {
        let acl = record(|out| {
            out.string("/v");
            out.buffer(Some(b""));
            out.int(count);
        });
        for code in [op::CREATE, op::CREATE2, op::CREATE_CONTAINER, op::CREATE_TTL] {
            assert_eq!(session.err(code, &acl), err::MARSHALLING, "count {count}");
        }
        let watches = record(|out| {
            out.long(0);
            out.int(count);
        });
        assert_eq!(session.err(op::SET_WATCHES, &watches), err::MARSHALLING);
        assert_eq!(session.err(op::SET_WATCHES2, &watches), err::MARSHALLING);
    }
    // Other negative counts than -1 are an empty list, and an empty ACL is none.
    let negative = record(|out| {
        out.string("/v");
        out.buffer(Some(b""));
        out.int(-7);
        out.int(0);
    });
    assert_eq!(session.err(op::CREATE, &negative), err::INVALID_ACL);
    session.create("/after", b"");
}

fn bytes_behind_a_record_are_ignored(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let create = [record::plain("/t", b"1"), b"trailing".to_vec()].concat();
    assert_eq!(session.call(op::CREATE, &create).path(), "/t");
    let read = [record::read("/t", false), vec![9; 100]].concat();
    assert_eq!(session.call(op::GET_DATA, &read).data().0.as_deref(), Some(&b"1"[..]));
    session.send_as(-2, op::PING, b"a ping has no body");
    assert_eq!(session.reply().xid, -2);
}

fn any_byte_but_zero_is_true(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/t", b"");
    let watch = record(|out| {
        out.string("/t");
        out.byte(0x40);
    });
    session.call(op::GET_DATA, &watch).ok();
    session.set("/t", b"1");
    assert_eq!(session.event().path, "/t");
}

fn xids_are_echoed_whatever_they_are(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for xid in [5, 5, 1, i32::MAX, 0, -3, 7, 6, -100] {
        session.send_as(xid, op::EXISTS, &record::read("/", false));
        assert_eq!(session.reply().xid, xid);
        session.send_as(xid, op::CREATE, &record::create("/x-", Some(b""), record::OPEN, mode::SEQUENTIAL));
        let reply = session.reply();
        assert_eq!((reply.xid, reply.err), (xid, 0));
    }
}

fn ping_replies_use_their_own_xid(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for xid in [-2, 1, 77, 0] {
        session.send_as(xid, op::PING, b"");
        let reply = session.reply();
        assert_eq!((reply.xid, reply.err, reply.body.len()), (-2, 0, 0));
    }
    // In the order of requests, behind a write.
    for n in 0..50 {
        session.send_as(n + 1, op::CREATE, &record::plain(&format!("/n{n}"), b""));
        session.send_as(-2, op::PING, b"");
    }
    for n in 0..50 {
        let write = session.reply();
        let ping = session.reply();
        assert_eq!((write.xid, ping.xid), (n + 1, -2));
        assert!(ping.zxid >= write.zxid, "the ping shows the write");
    }
}

fn requests_behind_the_connect_request_wait_for_the_session(shards: usize) {
    let server = Server::start(shards);
    let mut raw = Raw::connect(server.address());
    let mut bytes = frame(&Hello::default().bytes());
    for xid in 1..=20 {
        bytes.extend(frame(&request(
            xid,
            op::CREATE,
            &record::create("/s-", Some(b""), record::OPEN, mode::EPHEMERAL_SEQUENTIAL),
        )));
    }
    raw.send_bytes(&bytes);
    let mut session = Session::accept(raw).unwrap();
    for n in 0..20 {
        let reply = session.reply();
        assert_eq!((reply.xid, reply.path()), (n + 1, format!("/s-{n:010}")));
    }
    assert_eq!(session.stat("/s-0000000019").unwrap().owner, session.id);
}

fn a_frame_may_come_byte_by_byte(shards: usize) {
    let server = Server::start(shards);
    let mut raw = Raw::connect(server.address());
    for byte in frame(&Hello::default().bytes()) {
        raw.send_bytes(&[byte]);
    }
    let mut session = Session::accept(raw).unwrap();
    for byte in frame(&request(1, op::CREATE, &record::plain("/slow", b"drip"))) {
        session.raw.send_bytes(&[byte]);
    }
    assert_eq!(session.reply().path(), "/slow");
    // Frames cut at every place, one packet spanning two of them.
    let two =
        [frame(&request(2, op::EXISTS, &record::read("/slow", false))), frame(&request(-2, op::PING, b""))].concat();
    for cut in 0..two.len() {
        session.raw.send_bytes(&two[..cut]);
        session.raw.send_bytes(&two[cut..]);
        assert_eq!((session.reply().xid, session.reply().xid), (2, -2));
    }
}

fn half_a_frame_and_a_close_disturb_nobody(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    let hello = frame(&Hello::default().bytes());
    let create = frame(&request(1, op::CREATE, &record::plain("/half", b"x")));
    for round in 0..60 {
        let mut raw = Raw::connect(server.address());
        if round % 2 == 0 {
            raw.send_bytes(&hello[..round % hello.len()]);
        } else {
            raw.send_bytes(&hello);
            raw.send_bytes(&create[..round % (create.len() - 1)]);
        }
        drop(raw);
        assert!(other.stat("/").is_some());
    }
    assert_eq!(other.stat("/half"), None);
    // A client that ends its side only still gets what it asked for, or the end of the connection.
    let mut session = Session::open(server.address());
    session.send(op::CREATE, &record::plain("/half-closed", b""));
    session.raw.finish_sending();
    while let Some(message) = session.try_receive() {
        assert!(matches!(message, Message::Reply(Reply { xid: 1, err: 0, .. })));
    }
}

fn malformed_utf8_is_a_bad_path(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for name in [&b"/\xff"[..], b"/\xc3\x28", b"/\xed\xa0\x80", b"/a\x80b", b"/\xf0\x9f\x98"] {
        let create = record(|out| {
            out.buffer(Some(name));
            out.buffer(Some(b""));
            out.count(Some(1));
            out.int(31);
            out.string("world");
            out.string("anyone");
            out.int(0);
        });
        assert_eq!(session.err(op::CREATE, &create), err::BAD_ARGUMENTS, "{name:02x?}");
        let read = record(|out| {
            out.buffer(Some(name));
            out.boolean(false);
        });
        assert_eq!(session.err(op::GET_DATA, &read), err::NO_NODE, "{name:02x?}");
    }
    assert_eq!(session.children("/"), ["zookeeper"]);
}

fn surrogate_pairs_of_java_are_understood(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    // An ACL id outside the basic plane, as Java's writer sends it (two surrogates of three bytes each).
    let create = record(|out| {
        out.string("/id");
        out.buffer(Some(b""));
        out.count(Some(2));
        out.int(31);
        out.string("world");
        out.string("anyone");
        out.int(1);
        out.string("digest");
        out.buffer(Some(b"\xed\xa0\xbd\xed\xb8\x80:hash"));
        out.int(0);
    });
    assert_eq!(session.call(op::CREATE, &create).path(), "/id");
    let reply = session.call(op::GET_ACL, &record::path("/id"));
    let ids = reply.ok().vector(|r: &mut Reader<'_>| Ok((r.int()?, r.buffer()?, r.buffer()?))).unwrap().unwrap();
    let id = ids[1].2.unwrap();
    if is_reference() {
        // Java decodes the six bytes to as many replacement characters.
        assert!(String::from_utf8_lossy(id).ends_with(":hash"));
    } else {
        assert_eq!(std::str::from_utf8(id), Ok("\u{1F600}:hash"));
    }
}
