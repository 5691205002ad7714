//! multi and multiRead: framing, results, all or nothing.

use crate::on_one_and_four_shards;
use crate::support::is_before_3_9;
use crate::support::record::{self, OPEN, err, mode, op, record};
use crate::support::server::Server;
use crate::support::session::{OpResult, Session};

on_one_and_four_shards!(
    results_by_type,
    a_failed_multi_has_no_error_in_its_header,
    a_failed_multi_rolls_sequences_back,
    ops_see_earlier_ops_and_share_a_zxid,
    an_empty_multi_succeeds,
    malformed_multis_fail_as_a_whole,
    flags_inside_a_multi,
    errors_of_each_op,
    multi_read_answers_each_op,
    a_large_multi,
    a_multi_shows_whole_or_not_at_all,
);

fn results_by_type(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/old", b"");
    let reply = session.call(
        op::MULTI,
        &record::multi(&[
            (op::CREATE, record::plain("/a", b"1")),
            (op::CREATE2, record::plain("/b", b"22")),
            (op::CREATE_CONTAINER, record::create("/c", Some(b""), OPEN, mode::CONTAINER)),
            (op::CREATE_TTL, record::create_ttl("/t", mode::TTL, 1_000_000)),
            (op::SET_DATA, record::set_data("/a", b"333", 0)),
            (op::SET_DATA, record::set_data("/a", b"4444", 1)),
            (op::CHECK, record::path_int("/a", 2)),
            (op::DELETE, record::path_int("/old", -1)),
            (op::CREATE, record::create("/s-", Some(b""), OPEN, mode::EPHEMERAL_SEQUENTIAL)),
        ]),
    );
    let results = reply.results();
    let kinds: Vec<(i32, i32)> = results.iter().map(|result| (result.kind, result.err)).collect();
    // 3.8 answers create2 as create.
    let create2 = if is_before_3_9() { op::CREATE } else { op::CREATE2 };
    assert_eq!(kinds, [(1, 0), (create2, 0), (15, 0), (15, 0), (5, 0), (5, 0), (13, 0), (2, 0), (1, 0)]);
    assert_eq!(results[0].path.as_deref(), Some("/a"));
    let stat = session.stat("/b").unwrap();
    assert_eq!((stat.data_length, stat.version, stat.czxid), (2, 0, reply.zxid));
    assert!(results[1].stat == Some(stat) || is_before_3_9());
    assert_eq!(results[2].stat.unwrap().owner, 0);
    assert_eq!(results[3].stat.unwrap().owner, 0);
    // The Stat as of that op, not of the end.
    assert_eq!(results[4].stat.map(|stat| (stat.version, stat.data_length)), Some((1, 3)));
    assert_eq!(results[5].stat.map(|stat| (stat.version, stat.data_length)), Some((2, 4)));
    assert_eq!(results[8].path.as_deref(), Some("/s-0000000005"));
    assert_eq!(session.stat("/s-0000000005").unwrap().owner, session.id);
    assert_eq!(session.stat("/old"), None);
}

fn error(code: i32) -> OpResult {
    OpResult { kind: -1, err: code, ..OpResult::default() }
}

fn a_failed_multi_has_no_error_in_its_header(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/x", b"");
    let before = session.children("/");
    let reply = session.call(
        op::MULTI,
        &record::multi(&[
            (op::CREATE, record::plain("/a", b"")),
            (op::SET_DATA, record::set_data("/x", b"1", -1)),
            (op::DELETE, record::path_int("/missing", -1)),
            (op::CREATE2, record::plain("/b", b"")),
            (op::CHECK, record::path_int("/x", 0)),
        ]),
    );
    assert_eq!(reply.err, 0);
    let after = err::RUNTIME_INCONSISTENCY;
    assert_eq!(reply.results(), [error(0), error(0), error(err::NO_NODE), error(after), error(after)]);
    assert_eq!(session.children("/"), before);
    assert_eq!(session.stat("/x").unwrap().version, 0);
    assert_eq!(session.zxid(), reply.zxid);
}

fn a_failed_multi_rolls_sequences_back(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    let sequential = |path: &str| (op::CREATE, record::create(path, Some(b""), OPEN, mode::SEQUENTIAL));
    for _ in 0..3 {
        let ops = [sequential("/q/"), sequential("/q/"), (op::DELETE, record::path_int("/q/none", -1))];
        assert_eq!(session.call(op::MULTI, &record::multi(&ops)).results()[2], error(err::NO_NODE));
    }
    assert_eq!(session.create_as("/q/", mode::SEQUENTIAL), "/q/0000000000");
    let results = session.call(op::MULTI, &record::multi(&[sequential("/q/"), sequential("/q/x")])).results();
    assert_eq!(results[0].path.as_deref(), Some("/q/0000000001"));
    assert_eq!(results[1].path.as_deref(), Some("/q/x0000000002"));
    // Behind other writes on their way, a failed multi leaves their numbers alone.
    for n in 0..40 {
        if n % 2 == 0 {
            session.send(op::CREATE, &sequential("/q/").1);
        } else {
            session.send(op::MULTI, &record::multi(&[sequential("/q/"), (op::CHECK, record::path_int("/q/no", 0))]));
        }
    }
    for n in 0..40 {
        let reply = session.reply();
        if n % 2 == 0 {
            assert_eq!(reply.path(), format!("/q/{:010}", 3 + n / 2));
        } else {
            assert_eq!(reply.results()[1].err, err::NO_NODE);
        }
    }
}

fn ops_see_earlier_ops_and_share_a_zxid(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/x", b"old");
    session.set("/x", b"older");
    let reply = session.call(
        op::MULTI,
        &record::multi(&[
            (op::DELETE, record::path_int("/x", 1)),
            (op::CREATE, record::plain("/x", b"new")),
            (op::SET_DATA, record::set_data("/x", b"newer", 0)),
            (op::CREATE, record::plain("/x/y", b"")),
            (op::CREATE, record::plain("/x/y/z", b"")),
            (op::DELETE, record::path_int("/x/y/z", -1)),
        ]),
    );
    assert!(reply.results().iter().all(|result| result.err == 0));
    let (data, stat) = session.get("/x");
    assert_eq!(data.as_deref(), Some(&b"newer"[..]));
    let child = session.stat("/x/y").unwrap();
    assert_eq!((stat.version, stat.czxid, stat.mzxid, stat.pzxid), (1, reply.zxid, reply.zxid, reply.zxid));
    assert_eq!((stat.cversion, stat.children), (1, 1));
    assert_eq!((child.czxid, child.pzxid, child.cversion, child.children), (reply.zxid, reply.zxid, 2, 0));
    assert_eq!((child.ctime, stat.mtime), (stat.ctime, stat.ctime), "one time for all");
}

fn an_empty_multi_succeeds(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let before = session.zxid();
    let reply = session.call(op::MULTI, &record::multi(&[]));
    assert_eq!((reply.err, reply.zxid, reply.results().len()), (0, before + 1, 0));
}

fn malformed_multis_fail_as_a_whole(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let create = (op::CREATE, record::plain("/m", b""));
    let whole = record::multi(std::slice::from_ref(&create));
    let cases = [
        ("an op outside the list", record::multi(&[create.clone(), (op::SYNC, record::path("/"))])),
        ("a setACL", record::multi(&[(op::SET_ACL, record::set_acl("/", OPEN, -1))])),
        ("no terminator", whole[..whole.len() - 9].to_vec()),
        ("a cut op", whole[..20].to_vec()),
        ("nothing", Vec::new()),
        ("a read among writes", record::multi(&[create.clone(), (op::GET_DATA, record::read("/", false))])),
        ("bad flags", record::multi(&[(op::CREATE, record::create("/m", None, OPEN, 99))])),
        ("TTL flags", record::multi(&[(op::CREATE2, record::create("/m", None, OPEN, mode::TTL))])),
    ];
    for (what, body) in cases {
        // 3.8 did not look at flags while decoding.
        if !(is_before_3_9() && what.ends_with("flags")) {
            assert_eq!(session.err(op::MULTI, &body), err::MARSHALLING, "{what}");
        }
    }
    let null_acl = record(|out| {
        out.string("/m");
        out.buffer(None);
        out.count(None);
        out.int(0);
    });
    if !is_before_3_9() {
        assert_eq!(session.err(op::MULTI, &record::multi(&[(op::CREATE, null_acl)])), err::MARSHALLING);
    }
    assert_eq!(session.stat("/m"), None);
    session.call(op::MULTI, &whole).results();
}

fn flags_inside_a_multi(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    // A createTTL without TTL flags is a plain create, and a create with the container flag a createContainer.
    let results = session
        .call(
            op::MULTI,
            &record::multi(&[
                (op::CREATE_TTL, record::create_ttl("/plain", mode::PERSISTENT, -1)),
                (op::CREATE, record::create("/container", Some(b""), OPEN, mode::CONTAINER)),
            ]),
        )
        .results();
    assert!(results.iter().all(|result| result.err == 0), "{results:?}");
    assert_eq!(results[1].kind, op::CREATE2);
    let bad_ttl = record::multi(&[(op::CREATE_TTL, record::create_ttl("/bad", mode::TTL, 0))]);
    assert_eq!(session.call(op::MULTI, &bad_ttl).results(), [error(err::BAD_ARGUMENTS)]);
}

fn errors_of_each_op(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/x", b"");
    session.create("/x/c", b"");
    session.create_as("/e", mode::EPHEMERAL);
    session.call(op::CREATE, &record::create("/sealed", None, &[(16, "world", "anyone")], 0)).ok();
    for (code, body, expected) in [
        (op::CREATE, record::plain("/x", b""), err::NODE_EXISTS),
        (op::CREATE, record::plain("/no/x", b""), err::NO_NODE),
        (op::CREATE, record::plain("/x/.", b""), err::BAD_ARGUMENTS),
        (op::CREATE, record::plain("/e/x", b""), err::NO_CHILDREN_FOR_EPHEMERALS),
        (op::CREATE2, record::create("/y", None, &[], 0), err::INVALID_ACL),
        (op::CREATE2, record::plain("/sealed/x", b""), err::NO_AUTH),
        (op::DELETE, record::path_int("/x", -1), err::NOT_EMPTY),
        (op::DELETE, record::path_int("/x/c", 1), err::BAD_VERSION),
        (op::SET_DATA, record::set_data("/sealed", b"", -1), err::NO_AUTH),
        (op::SET_DATA, record::set_data("/x", b"", 1), err::BAD_VERSION),
        (op::CHECK, record::path_int("/sealed", 0), err::NO_AUTH),
        (op::CHECK, record::path_int("/x", 1), err::BAD_VERSION),
        (op::CHECK, record::path_int("/no", 0), err::NO_NODE),
        (op::CHECK, record::path_int("x", 0), err::BAD_ARGUMENTS),
    ] {
        let ops = [(op::CREATE, record::plain("/first", b"")), (code, body)];
        let results = session.call(op::MULTI, &record::multi(&ops)).results();
        assert_eq!(results, [error(0), error(expected)], "opcode {code}");
    }
    assert_eq!(session.stat("/first"), None);
}

fn multi_read_answers_each_op(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"1");
    session.create("/a/b", b"2");
    session.call(op::CREATE, &record::create("/sealed", None, &[(16, "world", "anyone")], 0)).ok();
    let reply = session.call(
        op::MULTI_READ,
        &record::multi(&[
            (op::GET_DATA, record::read("/a", true)),
            (op::GET_DATA, record::read("/no", true)),
            (op::GET_CHILDREN, record::read("/a", true)),
            (op::GET_CHILDREN, record::read("/sealed", false)),
            (op::GET_DATA, record::read("/a/b", false)),
        ]),
    );
    let results = reply.results();
    assert_eq!((results[0].kind, results[0].data.as_deref()), (4, Some(&b"1"[..])));
    assert_eq!(results[0].stat, session.stat("/a"));
    assert_eq!(results[1], error(err::NO_NODE));
    assert_eq!((results[2].kind, results[2].names.clone()), (8, Some(vec!["b".to_owned()])));
    assert_eq!(results[3], error(err::NO_AUTH));
    assert_eq!(results[4].data.as_deref(), Some(&b"2"[..]));
    // The watch flags are ignored.
    session.set("/a", b"");
    session.create("/a/c", b"");
    assert_eq!(session.take_events(), []);
    assert_eq!(session.call(op::MULTI_READ, &record::multi(&[])).results(), []);
}

fn a_large_multi(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/big", b"");
    let ops: Vec<(i32, Vec<u8>)> =
        (0..5_000).map(|n| (op::CREATE, record::plain(&format!("/big/{n}"), b"value"))).collect();
    let reply = session.call(op::MULTI, &record::multi(&ops));
    assert_eq!(reply.results().len(), 5_000);
    assert_eq!(session.stat("/big").unwrap().children, 5_000);
    let mut failing: Vec<(i32, Vec<u8>)> =
        (0..5_000).map(|n| (op::DELETE, record::path_int(&format!("/big/{n}"), -1))).collect();
    failing.push((op::CHECK, record::path_int("/none", 0)));
    assert_eq!(session.call(op::MULTI, &record::multi(&failing)).results()[5_000], error(err::NO_NODE));
    assert_eq!(session.stat("/big").unwrap().children, 5_000);
    failing.pop();
    session.call(op::MULTI, &record::multi(&failing)).results();
    assert_eq!(session.children("/big"), [""; 0]);
}

fn a_multi_shows_whole_or_not_at_all(shards: usize) {
    let server = Server::start(shards);
    let mut writer = Session::open(server.address());
    let mut reader = Session::open(server.address());
    let paths: Vec<String> = (0..8).map(|n| format!("/n{n}")).collect();
    for path in &paths {
        writer.create(path, b"0");
    }
    reader.call(op::SYNC, &record::path("/")).ok();
    let reads: Vec<(i32, Vec<u8>)> = paths.iter().map(|path| (op::GET_DATA, record::read(path, false))).collect();
    let reads = record::multi(&reads);
    for round in 1..=200 {
        let value = round.to_string();
        let sets: Vec<(i32, Vec<u8>)> =
            paths.iter().map(|path| (op::SET_DATA, record::set_data(path, value.as_bytes(), round - 1))).collect();
        writer.send(op::MULTI, &record::multi(&sets));
        let results = reader.call(op::MULTI_READ, &reads).results();
        let zxids: Vec<(i64, i32)> = results
            .iter()
            .map(|result| {
                result.stat.map(|stat| (if stat.version == 0 { 0 } else { stat.mzxid }, stat.version)).unwrap()
            })
            .collect();
        assert!(zxids.iter().all(|seen| *seen == zxids[0]), "one moment: {zxids:?}");
        assert!(writer.reply().results().iter().all(|result| result.err == 0));
    }
}
