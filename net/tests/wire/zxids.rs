//! Which zxid a reply carries, and what consumes one.

use crate::on_one_and_four_shards;
use crate::support::record::{self, OPEN, err, mode, op, record};
use crate::support::server::Server;
use crate::support::session::Session;

on_one_and_four_shards!(
    a_new_session_consumes_one,
    failed_writes_consume_one,
    read_errors_consume_none,
    reads_carry_the_last_applied_one,
    every_reply_of_a_pipeline_shows_at_least_its_own_session,
    control_requests_consume_none,
);

fn a_new_session_consumes_one(shards: usize) {
    let server = Server::start(shards);
    let mut first = Session::open(server.address());
    assert_eq!(first.zxid(), 1);
    let mut second = Session::open(server.address());
    assert_eq!(second.zxid(), 2);
    assert_eq!(second.close(), 3);
    assert_eq!(first.zxid(), 3);
}

fn failed_writes_consume_one(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    session.create("/a/b", b"");
    let ephemeral = session.create_as("/e", mode::EPHEMERAL);
    let mut last = session.zxid();
    let failures = [
        (op::CREATE, record::plain("/a", b""), err::NODE_EXISTS),
        (op::CREATE, record::plain("/no/a", b""), err::NO_NODE),
        (op::CREATE, record::plain("bad", b""), err::BAD_ARGUMENTS),
        (op::CREATE, record::create("/x", None, OPEN, 7), err::BAD_ARGUMENTS),
        (op::CREATE2, record::create("/x", None, &[], 0), err::INVALID_ACL),
        (op::CREATE, record::plain(&format!("{ephemeral}/x"), b""), err::NO_CHILDREN_FOR_EPHEMERALS),
        (op::CREATE_TTL, record::create_ttl("/t", mode::TTL, 0), err::BAD_ARGUMENTS),
        (op::DELETE, record::path_int("/no", -1), err::NO_NODE),
        (op::DELETE, record::path_int("/a", -1), err::NOT_EMPTY),
        (op::DELETE, record::path_int("/a/b", 5), err::BAD_VERSION),
        (op::DELETE, record::path_int("/zookeeper", -1), err::BAD_ARGUMENTS),
        (op::SET_DATA, record::set_data("/no", b"", -1), err::NO_NODE),
        (op::SET_DATA, record::set_data("/a", b"", 5), err::BAD_VERSION),
        (op::SET_ACL, record::set_acl("/a", OPEN, 5), err::BAD_VERSION),
        (op::SET_ACL, record::set_acl("/a", &[], -1), err::INVALID_ACL),
    ];
    for (code, body, expected) in failures {
        let reply = session.call(code, &body);
        assert_eq!((reply.err, reply.zxid, reply.body.len()), (expected, last + 1, 0), "opcode {code}");
        last += 1;
    }
    // A failed multi too, though its header says that all is well.
    let reply = session.call(op::MULTI, &record::multi(&[(op::DELETE, record::path_int("/no", -1))]));
    assert_eq!((reply.err, reply.zxid), (0, last + 1));
    assert_eq!(session.zxid(), last + 1);
    // Nothing of it shows in the tree.
    assert_eq!(session.stat("/a").unwrap().version, 0);
}

fn read_errors_consume_none(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let before = session.create("/a", b"").zxid;
    for (code, body, expected) in [
        (op::EXISTS, record::read("/no", true), err::NO_NODE),
        (op::GET_DATA, record::read("/no", false), err::NO_NODE),
        (op::GET_CHILDREN, record::read("/no", false), err::NO_NODE),
        (op::GET_CHILDREN2, record::read("/no", false), err::NO_NODE),
        (op::GET_ACL, record::path("/no"), err::NO_NODE),
        (op::GET_ALL_CHILDREN_NUMBER, record::path("/no"), err::NO_NODE),
        (op::CHECK_WATCHES, record::path_int("/a", 1), err::NO_WATCHER),
        (op::REMOVE_WATCHES, record::path_int("/a", 2), err::NO_WATCHER),
        (op::ADD_WATCH, record::path_int("/a", 9), err::MARSHALLING),
    ] {
        let reply = session.call(code, &body);
        assert_eq!((reply.err, reply.zxid, reply.body.len()), (expected, before, 0), "opcode {code}");
    }
    assert_eq!(session.zxid(), before);
}

fn reads_carry_the_last_applied_one(shards: usize) {
    let server = Server::start(shards);
    let mut reader = Session::open(server.address());
    let mut writer = Session::open(server.address());
    reader.create("/a", b"");
    for n in 0..20 {
        let written = writer.set("/a", b"x").zxid;
        // A reader may lag, but sync catches up.
        let reply = reader.call(op::SYNC, &record::path("/a"));
        assert!(reply.zxid >= written, "sync shows what was acknowledged before it");
        let reply = reader.call(op::GET_DATA, &record::read("/a", false));
        assert!(reply.zxid >= written);
        assert_eq!(reply.data().1.version, n + 1);
        assert_eq!(reader.zxid(), written);
    }
}

fn every_reply_of_a_pipeline_shows_at_least_its_own_session(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for n in 0..200 {
        session.send(op::CREATE, &record::plain(&format!("/n{n}"), b""));
        session.send(op::EXISTS, &record::read(&format!("/n{n}"), false));
        session.send(op::GET_CHILDREN2, &record::read("/", false));
    }
    let mut last = 0;
    for _ in 0..200 {
        let write = session.reply();
        assert!(write.zxid > last, "each write its own");
        last = write.zxid;
        let exists = session.reply();
        assert_eq!(exists.stat().czxid, write.zxid);
        assert!(exists.zxid >= last && session.reply().zxid >= last);
    }
}

fn control_requests_consume_none(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let before = session.create("/a", b"").zxid;
    assert_eq!(session.auth("digest", b"u:p").zxid, 0);
    for (code, body) in [
        (op::SYNC, record::path("/a")),
        (op::ADD_WATCH, record::path_int("/a", 0)),
        (op::SET_WATCHES, record::set_watches(before, &[&["/a"], &[], &[]])),
        (op::SET_WATCHES2, record::set_watches(before, &[&[], &[], &[], &["/a"], &["/a"]])),
        (op::GET_EPHEMERALS, record::path("/")),
        (op::WHO_AM_I, Vec::new()),
        (op::MULTI_READ, record::multi(&[(op::GET_DATA, record::read("/a", true))])),
        (op::GET_ALL_CHILDREN_NUMBER, record::path("/")),
    ] {
        let reply = session.call(code, &body);
        assert_eq!((reply.err, reply.zxid), (0, before), "opcode {code}");
    }
    // A server without SASL answers with a null token and goes on.
    let reply = session.call(op::SASL, &record(|out| out.buffer(Some(b""))));
    assert_eq!((reply.err, reply.zxid, reply.ok().buffer()), (0, 0, Ok(None)));
    assert_eq!(session.zxid(), before);
}
