//! Watches: what fires, when, how often, in which place.

use crate::on_one_and_four_shards;
use crate::support::record::{self, OPEN, err, mode, op, record};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::{CHANGED, CHILD, CREATED, DELETED, Event, Message, Session};
use crate::support::{is_before_3_9, only_ringkeeper};

on_one_and_four_shards!(
    an_event_precedes_the_reply_that_caused_it,
    an_event_precedes_newer_data,
    events_carry_the_zxid_of_their_transaction,
    a_watch_fires_once,
    missing_nodes_take_watches_of_exists_alone,
    deletion_is_told_once_for_both_tables,
    persistent_watches_stay,
    recursive_watches_match_whole_components,
    overlapping_watches_fire_once,
    multi_fires_op_by_op_and_only_on_success,
    closing_a_session_fires_for_each_ephemeral,
    events_are_filtered_by_read,
    set_watches_compares_with_the_zxid,
    set_watches_registers_persistent_ones_silently,
    set_watches_of_null_is_malformed,
    check_and_remove_watches,
    watches_end_with_their_connection,
    bad_modes_are_malformed,
    thousands_of_events_in_order,
    hundreds_of_watchers_hear_of_a_change_once,
);

fn watch(session: &mut Session, code: i32, path: &str) {
    let reply = session.call(code, &record::read(path, true));
    assert!(reply.err == err::OK || (code == op::EXISTS && reply.err == err::NO_NODE));
}

fn add_watch(session: &mut Session, path: &str, kind: i32) {
    let reply = session.call(op::ADD_WATCH, &record::path_int(path, kind));
    assert_eq!((reply.int(), reply.body.len()), (0, 4), "the reply is an ErrorResponse of 0");
}

fn named(events: &[(i32, &str)]) -> Vec<(i32, String)> {
    events.iter().map(|(kind, path)| (*kind, (*path).to_owned())).collect()
}

/// The next frames are these events (true) and replies (false).
fn expect_frames(session: &mut Session, pattern: &[bool]) {
    let seen: Vec<bool> = pattern.iter().map(|_| matches!(session.receive(), Message::Event(_))).collect();
    assert_eq!(seen, pattern);
}

fn an_event_precedes_the_reply_that_caused_it(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    for round in 0..50 {
        watch(&mut session, op::GET_DATA, "/a");
        watch(&mut session, op::GET_CHILDREN, "/a");
        watch(&mut session, op::EXISTS, "/a/x");
        session.send(op::SET_DATA, &record::set_data("/a", b"", round));
        session.send(op::CREATE, &record::plain("/a/x", b""));
        session.send(op::DELETE, &record::path_int("/a/x", -1));
        expect_frames(&mut session, &[true, false, true, true, false, false]);
    }
}

fn an_event_precedes_newer_data(shards: usize) {
    let server = Server::start(shards);
    let mut writer = Session::open(server.address());
    let mut reader = Session::open(server.address());
    writer.create("/a", b"");
    reader.call(op::SYNC, &record::path("/")).ok();
    let mut version = reader.get("/a").1.version;
    for _ in 0..300 {
        let before = reader.call(op::GET_DATA, &record::read("/a", true)).data().1.version;
        assert!(before >= version);
        version = before;
        writer.send(op::SET_DATA, &record::set_data("/a", b"", -1));
        // Without an event the data is still what it was.
        loop {
            reader.send(op::GET_DATA, &record::read("/a", false));
            match reader.receive() {
                Message::Event(_) => {
                    let Message::Reply(reply) = reader.receive() else { panic!("two events for one watch") };
                    assert!(reply.data().1.version > version);
                    break;
                }
                Message::Reply(reply) => assert_eq!(reply.data().1.version, version, "newer data without its event"),
            }
        }
        assert_eq!(writer.reply().err, 0);
    }
}

fn events_carry_the_zxid_of_their_transaction(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    watch(&mut session, op::EXISTS, "/a");
    watch(&mut session, op::GET_CHILDREN, "/");
    let zxid = session.create("/a", b"").zxid;
    // Before 3.9 it was always -1.
    let zxid = if is_before_3_9() { -1 } else { zxid };
    assert_eq!(session.event(), Event { zxid, kind: CREATED, path: "/a".to_owned() });
    assert_eq!(session.event(), Event { zxid, kind: CHILD, path: "/".to_owned() });
}

fn a_watch_fires_once(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    for _ in 0..5 {
        watch(&mut session, op::GET_DATA, "/a");
        watch(&mut session, op::EXISTS, "/a");
        watch(&mut session, op::GET_CHILDREN, "/a");
        watch(&mut session, op::GET_CHILDREN2, "/a");
    }
    session.set("/a", b"");
    session.set("/a", b"");
    session.create("/a/b", b"");
    session.create("/a/c", b"");
    assert_eq!(session.take_events(), named(&[(CHANGED, "/a"), (CHILD, "/a")]));
    // setACL, failures and reads fire nothing.
    watch(&mut session, op::GET_DATA, "/a");
    session.call(op::SET_ACL, &record::set_acl("/a", OPEN, -1)).stat();
    assert_eq!(session.err(op::SET_DATA, &record::set_data("/a", b"", 77)), err::BAD_VERSION);
    assert_eq!(session.err(op::DELETE, &record::path_int("/a", -1)), err::NOT_EMPTY);
    assert_eq!(session.take_events(), []);
}

fn missing_nodes_take_watches_of_exists_alone(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for code in [op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2] {
        assert_eq!(session.err(code, &record::read("/a", true)), err::NO_NODE);
    }
    session.create("/a", b"");
    session.delete("/a");
    assert_eq!(session.take_events(), []);
    watch(&mut session, op::EXISTS, "/a");
    session.create("/a", b"");
    watch(&mut session, op::EXISTS, "/a");
    session.delete("/a");
    assert_eq!(session.take_events(), named(&[(CREATED, "/a"), (DELETED, "/a")]));
}

fn deletion_is_told_once_for_both_tables(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    watch(&mut session, op::GET_DATA, "/a");
    watch(&mut session, op::GET_CHILDREN, "/a");
    watch(&mut session, op::GET_CHILDREN, "/");
    session.delete("/a");
    assert_eq!(session.take_events(), named(&[(DELETED, "/a"), (CHILD, "/")]));
    // A child watch alone is told of the deletion of its node, and is gone with it.
    session.create("/a", b"");
    watch(&mut session, op::GET_CHILDREN, "/a");
    session.delete("/a");
    session.create("/a", b"");
    session.create("/a/b", b"");
    assert_eq!(session.take_events(), named(&[(DELETED, "/a")]));
}

fn persistent_watches_stay(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    add_watch(&mut session, "/a", 0);
    for _ in 0..3 {
        session.create("/a", b"");
        session.set("/a", b"");
        session.create("/a/b", b"");
        session.set("/a/b", b"");
        session.delete("/a/b");
        session.delete("/a");
        assert_eq!(
            session.take_events(),
            named(&[(CREATED, "/a"), (CHANGED, "/a"), (CHILD, "/a"), (CHILD, "/a"), (DELETED, "/a")])
        );
    }
}

fn recursive_watches_match_whole_components(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    add_watch(&mut session, "/pr", 1);
    for path in ["/prx", "/pr", "/pr/a", "/pr/a/b"] {
        session.create(path, b"");
    }
    session.set("/pr/a/b", b"");
    session.set("/prx", b"");
    for path in ["/pr/a/b", "/pr/a", "/pr", "/prx"] {
        session.delete(path);
    }
    assert_eq!(
        session.take_events(),
        named(&[
            (CREATED, "/pr"),
            (CREATED, "/pr/a"),
            (CREATED, "/pr/a/b"),
            (CHANGED, "/pr/a/b"),
            (DELETED, "/pr/a/b"),
            (DELETED, "/pr/a"),
            (DELETED, "/pr"),
        ])
    );
    add_watch(&mut session, "/", 1);
    session.create("/q", b"");
    session.set("/", b"");
    session.set("/zookeeper", b"");
    assert_eq!(session.take_events(), named(&[(CREATED, "/q"), (CHANGED, "/"), (CHANGED, "/zookeeper")]));
}

fn overlapping_watches_fire_once(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    session.create("/a/b", b"");
    add_watch(&mut session, "/a/b", 0);
    add_watch(&mut session, "/a/b", 1);
    add_watch(&mut session, "/a", 1);
    watch(&mut session, op::GET_DATA, "/a/b");
    session.set("/a/b", b"");
    session.set("/a/b", b"");
    assert_eq!(session.take_events(), named(&[(CHANGED, "/a/b"), (CHANGED, "/a/b")]));
    // The standard watch is gone, though others were told as well.
    assert_eq!(session.err(op::CHECK_WATCHES, &record::path_int("/a/b", 2)), err::NO_WATCHER);
    watch(&mut session, op::GET_CHILDREN, "/a");
    session.create("/a/c", b"");
    assert_eq!(session.take_events(), named(&[(CREATED, "/a/c"), (CHILD, "/a")]));
}

fn multi_fires_op_by_op_and_only_on_success(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    add_watch(&mut session, "/", 1);
    add_watch(&mut session, "/a", 0);
    let ops = vec![
        (op::CREATE, record::plain("/a/1", b"")),
        (op::SET_DATA, record::set_data("/a", b"", -1)),
        (op::CREATE, record::plain("/a/2", b"")),
        (op::DELETE, record::path_int("/a/1", -1)),
        (op::SET_DATA, record::set_data("/a/2", b"", -1)),
    ];
    let mut failing = ops.clone();
    failing.push((op::CHECK, record::path_int("/none", 0)));
    session.call(op::MULTI, &record::multi(&failing)).results();
    assert_eq!(session.take_events(), []);
    session.send(op::MULTI, &record::multi(&ops));
    for (kind, path) in [
        (CREATED, "/a/1"),
        (CHILD, "/a"),
        (CHANGED, "/a"),
        (CREATED, "/a/2"),
        (CHILD, "/a"),
        (DELETED, "/a/1"),
        (CHILD, "/a"),
        (CHANGED, "/a/2"),
    ] {
        let event = session.event();
        assert_eq!((event.kind, event.path.as_str()), (kind, path));
    }
    assert_eq!(session.reply().results().len(), 5);
}

fn closing_a_session_fires_for_each_ephemeral(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let mut owner = Session::open(server.address());
    owner.create("/p", b"");
    session.call(op::SYNC, &record::path("/")).ok();
    add_watch(&mut session, "/p", 0);
    add_watch(&mut session, "/", 1);
    let paths = ["/p/a", "/p/b", "/p/c"];
    for path in paths {
        owner.create_as(path, mode::EPHEMERAL);
    }
    session.call(op::SYNC, &record::path("/")).ok();
    session.take_events();
    let zxid = owner.close();
    let zxid = if is_before_3_9() { -1 } else { zxid };
    let mut deleted = Vec::new();
    for _ in paths {
        let event = session.event();
        assert_eq!((event.zxid, event.kind), (zxid, DELETED));
        deleted.push(event.path);
        assert_eq!(session.event(), Event { zxid, kind: CHILD, path: "/p".to_owned() });
    }
    deleted.sort();
    assert_eq!(deleted, paths);
    // One's own ephemerals: the events come before the reply to the close.
    let mut own = Session::open(server.address());
    own.create_as("/p/own", mode::EPHEMERAL);
    watch(&mut own, op::EXISTS, "/p/own");
    own.send(op::CLOSE_SESSION, b"");
    expect_frames(&mut own, &[true, false]);
    own.expect_close();
}

fn events_are_filtered_by_read(shards: usize) {
    if only_ringkeeper("3.8 does not filter all events") {
        return;
    }
    let server = Server::start(shards);
    let mut owner = Session::open(server.address());
    owner.auth("digest", b"bob:pw");
    let mut session = Session::open(server.address());
    let sealed: &[record::Entry<'_>] = &[(31, "auth", "")];
    owner.create("/open", b"");
    owner.call(op::CREATE, &record::create("/sealed", None, sealed, 0)).ok();
    session.call(op::SYNC, &record::path("/")).ok();
    for path in ["/open", "/open/sealed", "/sealed", "/sealed/open"] {
        add_watch(&mut session, path, 0);
    }
    owner.call(op::CREATE, &record::create("/open/sealed", None, sealed, 0)).ok();
    owner.set("/open/sealed", b"");
    owner.set("/sealed", b"");
    owner.create("/sealed/open", b"");
    owner.set("/sealed/open", b"");
    owner.delete("/open/sealed");
    session.call(op::SYNC, &record::path("/")).ok();
    // ChildrenChanged asks the parent, everything else the node itself.
    assert_eq!(
        session.take_events(),
        named(&[(CHILD, "/open"), (CREATED, "/sealed/open"), (CHANGED, "/sealed/open"), (CHILD, "/open")])
    );
    // A standard watch is used up all the same; credentials count as of the change.
    watch(&mut session, op::EXISTS, "/later");
    owner.call(op::CREATE, &record::create("/later", None, sealed, 0)).ok();
    session.call(op::SYNC, &record::path("/")).ok();
    session.auth("digest", b"bob:pw");
    owner.set("/later", b"");
    owner.set("/sealed", b"");
    session.call(op::SYNC, &record::path("/")).ok();
    assert_eq!(session.take_events(), named(&[(CHANGED, "/sealed")]));
}

fn set_watches_compares_with_the_zxid(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for path in ["/old", "/new", "/quiet", "/busy"] {
        session.create(path, b"");
    }
    let at = session.zxid();
    session.set("/new", b"");
    session.create("/busy/child", b"");
    session.send_as(
        -8,
        op::SET_WATCHES,
        &record::set_watches(at, &[&["/new", "/old", "/gone"], &["/none", "/old"], &["/busy", "/quiet", "/gone-too"]]),
    );
    let mut events: Vec<(i32, String)> = Vec::new();
    let reply = loop {
        match session.receive() {
            Message::Event(event) => {
                assert_eq!(event.zxid, -1, "made up, not fired");
                events.push((event.kind, event.path));
            }
            Message::Reply(reply) => break reply,
        }
    };
    assert_eq!((reply.xid, reply.err, reply.zxid, reply.body.len()), (-8, 0, at + 2, 0));
    assert_eq!(
        events,
        named(&[(CHANGED, "/new"), (DELETED, "/gone"), (CREATED, "/old"), (CHILD, "/busy"), (DELETED, "/gone-too"),])
    );
    // What was told is not registered, the rest is.
    session.set("/new", b"");
    session.create("/busy/other", b"");
    session.set("/old", b"");
    session.create("/none", b"");
    session.create("/quiet/child", b"");
    assert_eq!(session.take_events(), named(&[(CHANGED, "/old"), (CREATED, "/none"), (CHILD, "/quiet")]));
    // Strictly greater; and a zxid that nobody has seen yet is legal.
    let at = session.set("/old", b"").zxid;
    for zxid in [at, i64::MAX] {
        session.send_as(-8, op::SET_WATCHES, &record::set_watches(zxid, &[&["/old"], &[], &[]]));
        assert_eq!(session.reply().xid, -8);
        assert_eq!(session.events.len(), 0);
    }
}

fn set_watches_registers_persistent_ones_silently(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/p", b"");
    session.create("/r", b"");
    session.create("/new", b"");
    // Several frames under the same xid: each has its reply.
    session.send_as(-8, op::SET_WATCHES2, &record::set_watches(0, &[&["/new"], &[], &[], &["/p"], &[]]));
    session.send_as(-8, op::SET_WATCHES2, &record::set_watches(0, &[&[], &[], &[], &[], &["/r", "/not-yet"]]));
    expect_frames(&mut session, &[true, false, false]);
    session.set("/p", b"");
    session.create("/p/c", b"");
    session.create("/r/c", b"");
    session.set("/r/c", b"");
    session.create("/not-yet", b"");
    assert_eq!(
        session.take_events(),
        named(&[(CHANGED, "/p"), (CHILD, "/p"), (CREATED, "/r/c"), (CHANGED, "/r/c"), (CREATED, "/not-yet")])
    );
}

fn set_watches_of_null_is_malformed(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for (code, lists) in [(op::SET_WATCHES, 3), (op::SET_WATCHES2, 5)] {
        for null in 0..lists {
            let body = record(|out| {
                out.long(0);
                for n in 0..lists {
                    out.count(if n == null { None } else { Some(0) });
                }
            });
            assert_eq!(session.err(code, &body), err::MARSHALLING, "opcode {code}, list {null}");
        }
    }
}

fn check_and_remove_watches(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let ask = |session: &mut Session, code: i32, kind: i32| session.err(code, &record::path_int("/a", kind));
    session.create("/a", b"");
    // 4 and 5 (persistent, recursive) came with 3.9; there 1 and 2 mean the standard watches alone.
    let kinds: &[i32] = if is_before_3_9() { &[1, 2, 3] } else { &[1, 2, 3, 4, 5] };
    for kind in kinds {
        assert_eq!(ask(&mut session, op::CHECK_WATCHES, *kind), err::NO_WATCHER);
        assert_eq!(ask(&mut session, op::REMOVE_WATCHES, *kind), err::NO_WATCHER);
    }
    watch(&mut session, op::GET_DATA, "/a");
    assert_eq!(ask(&mut session, op::CHECK_WATCHES, 2), err::OK);
    assert_eq!(ask(&mut session, op::CHECK_WATCHES, 1), err::NO_WATCHER);
    assert_eq!(ask(&mut session, op::CHECK_WATCHES, 3), err::OK);
    watch(&mut session, op::GET_CHILDREN, "/a");
    assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 1), err::OK);
    assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 1), err::NO_WATCHER);
    assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 2), err::OK);
    assert_eq!(ask(&mut session, op::CHECK_WATCHES, 3), err::NO_WATCHER);
    if !is_before_3_9() {
        add_watch(&mut session, "/a", 0);
        add_watch(&mut session, "/a", 1);
        watch(&mut session, op::GET_DATA, "/a");
        assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 2), err::OK);
        session.set("/a", b"");
        assert_eq!(session.take_events(), named(&[(CHANGED, "/a")]));
        assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 4), err::OK);
        assert_eq!(ask(&mut session, op::CHECK_WATCHES, 5), err::OK);
        assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 5), err::OK);
    } else {
        add_watch(&mut session, "/a", 0);
        assert_eq!(ask(&mut session, op::REMOVE_WATCHES, 3), err::OK);
    }
    session.set("/a", b"");
    session.create("/a/b", b"");
    assert_eq!(session.take_events(), []);
    // Any type removes every mode at once; the node need not be there.
    add_watch(&mut session, "/later", 0);
    add_watch(&mut session, "/later", 1);
    assert_eq!(session.err(op::REMOVE_WATCHES, &record::path_int("/later", 3)), err::OK);
    session.create("/later", b"");
    assert_eq!(session.take_events(), []);
}

fn watches_end_with_their_connection(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    watch(&mut session, op::GET_DATA, "/a");
    add_watch(&mut session, "/a", 0);
    let mut again = Session::connect(server.address(), &session.hello()).unwrap();
    again.set("/a", b"1");
    assert_eq!(again.take_events(), []);
    // Registered anew on the new connection, each event comes once.
    let at = again.zxid();
    again.send_as(-8, op::SET_WATCHES2, &record::set_watches(at, &[&["/a"], &[], &[], &["/a"], &[]]));
    assert_eq!(again.reply().err, 0);
    again.set("/a", b"2");
    assert_eq!(again.take_events(), named(&[(CHANGED, "/a")]));
}

fn bad_modes_are_malformed(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for kind in [-1, 2, 3, 100] {
        assert_eq!(session.err(op::ADD_WATCH, &record::path_int("/a", kind)), err::MARSHALLING);
    }
    for kind in [-1, 0, 6, 100] {
        assert_eq!(session.err(op::CHECK_WATCHES, &record::path_int("/a", kind)), err::MARSHALLING);
        assert_eq!(session.err(op::REMOVE_WATCHES, &record::path_int("/a", kind)), err::MARSHALLING);
    }
    add_watch(&mut session, "", 0);
    add_watch(&mut session, "no slash", 1);
}

fn thousands_of_events_in_order(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let mut writer = Session::open(server.address());
    writer.create("/p", b"");
    session.call(op::SYNC, &record::path("/")).ok();
    // Not both on one path: there 3.8 keeps one of them.
    add_watch(&mut session, "/", 1);
    add_watch(&mut session, "/p", 0);
    let count = 3_000;
    for n in 0..count {
        writer.send(op::CREATE, &record::plain(&format!("/p/n{n}"), b""));
    }
    for n in 0..count {
        let zxid = writer.reply().zxid;
        let zxid = if is_before_3_9() { -1 } else { zxid };
        assert_eq!(session.event(), Event { zxid, kind: CREATED, path: format!("/p/n{n}") });
        assert_eq!(session.event(), Event { zxid, kind: CHILD, path: "/p".to_owned() });
    }
}

fn hundreds_of_watchers_hear_of_a_change_once(shards: usize) {
    let timeout = 600_000;
    let server = ServerConfig::new(shards).set("maxSessionTimeout", &timeout.to_string()).start();
    let mut writer = Session::open_for(server.address(), timeout);
    writer.create("/a", b"0");
    writer.create("/b", b"0");
    let mut watchers: Vec<_> = (0..300).map(|_| Session::open_for(server.address(), timeout)).collect();
    for round in 1..=3 {
        let data = round.to_string();
        for watcher in &mut watchers {
            watcher.call(op::SYNC, &record::path("/a")).ok();
            watch(watcher, op::GET_DATA, "/a");
            watch(watcher, op::GET_DATA, "/b");
        }
        writer.set("/a", data.as_bytes());
        // Some leave while the others are told.
        watchers.truncate(watchers.len() - 20);
        // Two events in one turn, or in two; either way in order and before the reply to a read that shows them.
        writer.send(op::SET_DATA, &record::set_data("/a", b"", -1));
        writer.send(op::SET_DATA, &record::set_data("/b", data.as_bytes(), -1));
        assert_eq!((writer.reply().err, writer.reply().err), (0, 0));
        for watcher in &mut watchers {
            for path in ["/a", "/b"] {
                let event = watcher.event();
                assert_eq!((event.kind, event.path.as_str()), (CHANGED, path));
            }
            watcher.send(op::GET_DATA, &record::read("/b", false));
            let Message::Reply(reply) = watcher.receive() else { panic!("a watch fired twice") };
            assert_eq!(reply.data().0.as_deref(), Some(data.as_bytes()));
        }
    }
}
