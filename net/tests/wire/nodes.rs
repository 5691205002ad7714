//! Nodes: the fresh tree, Stat fields, names, modes, and which error wins.

use crate::on_one_and_four_shards;
use crate::support::only_ringkeeper;
use crate::support::record::{self, OPEN, err, mode, op, record};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::{Session, Stat};
use std::time::Duration;

on_one_and_four_shards!(
    the_fresh_tree,
    reserved_nodes_can_be_written_but_not_deleted,
    which_error_of_create_wins,
    which_error_of_delete_and_set_wins,
    reads_check_no_path,
    paths_that_are_refused_and_paths_that_are_not,
    stat_fields_move_as_they_should,
    cversion_counts_creations_and_deletions,
    suffixes_count_creations_of_the_parent,
    null_data_is_not_empty_data,
    create_flags_are_a_list_not_bits,
    containers_and_ttl_nodes_answer_with_a_stat,
    create_ttl_with_plain_flags,
    ttl_nodes_need_extended_types,
    ttl_nodes_are_reaped_by_mtime,
    unused_containers_stay_and_used_ones_go,
    ephemerals_listed_by_prefix,
    all_children_number_counts_descendants,
    sync_echoes_any_path,
    reconfig_is_disabled,
    versions_are_compared_exactly,
);

fn the_fresh_tree(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let zero = Stat::default();
    for (path, expected) in [
        ("/", Stat { cversion: -1, children: 1, ..zero }),
        ("/zookeeper", Stat { cversion: -2, children: 2, ..zero }),
        ("/zookeeper/quota", zero),
        ("/zookeeper/config", Stat { aversion: -1, ..zero }),
    ] {
        assert_eq!(session.stat(path), Some(expected), "{path}");
        assert_eq!(session.get(path), (Some(Vec::new()), expected), "{path}");
    }
    assert_eq!(session.children("/"), ["zookeeper"]);
    assert_eq!(session.children("/zookeeper"), ["config", "quota"]);
    let acl = |session: &mut Session, path: &str| session.call(op::GET_ACL, &record::path(path)).acl();
    for path in ["/", "/zookeeper", "/zookeeper/quota"] {
        assert_eq!(acl(&mut session, path), [(31, "world".to_owned(), "anyone".to_owned())]);
    }
    assert_eq!(acl(&mut session, "/zookeeper/config"), [(1, "world".to_owned(), "anyone".to_owned())]);
    assert_eq!(session.call(op::GET_ALL_CHILDREN_NUMBER, &record::path("/")).int(), 3);
}

fn reserved_nodes_can_be_written_but_not_deleted(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for path in ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        assert_eq!(session.err(op::DELETE, &record::path_int(path, -1)), err::BAD_ARGUMENTS, "{path}");
        let delete = record::multi(&[(op::DELETE, record::path_int(path, -1))]);
        assert_eq!(session.call(op::MULTI, &delete).results()[0].err, err::BAD_ARGUMENTS, "{path}");
    }
    session.set("/", b"root");
    assert_eq!(session.get("/").0.as_deref(), Some(&b"root"[..]));
    session.create("/zookeeper/foo", b"");
    session.set("/zookeeper", b"x");
    session.delete("/zookeeper/foo");
    assert_eq!(session.err(op::SET_DATA, &record::set_data("/zookeeper/config", b"", -1)), err::NO_AUTH);
}

fn which_error_of_create_wins(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    let closed = record::create("/closed", Some(b""), &[(1, "world", "anyone")], mode::PERSISTENT);
    assert_eq!(session.err(op::CREATE, &closed), err::OK);
    session.create_as("/e", mode::EPHEMERAL);
    for (path, entries, flags, expected) in [
        ("/nope//x", OPEN, 0, err::NO_NODE),
        ("/nope/x", &[][..], 0, err::INVALID_ACL),
        ("/nope/x", OPEN, 9, err::BAD_ARGUMENTS),
        ("/", OPEN, 0, err::NODE_EXISTS),
        ("", OPEN, 0, err::BAD_ARGUMENTS),
        ("foo", OPEN, 0, err::BAD_ARGUMENTS),
        ("/a/", OPEN, 0, err::BAD_ARGUMENTS),
        ("/a//b", OPEN, 0, err::NO_NODE),
        ("/a/\0", OPEN, 0, err::BAD_ARGUMENTS),
        ("/nope/\0", OPEN, 0, err::BAD_ARGUMENTS),
        ("/closed/.", OPEN, 0, err::NO_AUTH),
        ("/e/x", OPEN, 0, err::NO_CHILDREN_FOR_EPHEMERALS),
        ("/e/..", OPEN, 0, err::BAD_ARGUMENTS),
        ("/a", &[(31, "nope", "x")][..], 0, err::INVALID_ACL),
    ] {
        for code in [op::CREATE, op::CREATE2] {
            assert_eq!(session.err(code, &record::create(path, Some(b""), entries, flags)), expected, "{path:?}");
        }
    }
    assert_eq!(session.create_as("/a/", mode::SEQUENTIAL), "/a/0000000000");
}

fn which_error_of_delete_and_set_wins(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"");
    session.create("/a/b", b"");
    for (path, version, expected) in [
        ("/a", 7, err::BAD_VERSION),
        ("/a", -1, err::NOT_EMPTY),
        ("/a/", -1, err::NO_NODE),
        ("/nope/x", -1, err::NO_NODE),
        ("/nope//", -1, err::NO_NODE),
        ("nope", -1, err::BAD_ARGUMENTS),
        ("", -1, err::BAD_ARGUMENTS),
        ("/a\0", -1, err::BAD_ARGUMENTS),
    ] {
        assert_eq!(session.err(op::DELETE, &record::path_int(path, version)), expected, "{path:?}");
    }
    for (path, expected) in [
        ("", err::BAD_ARGUMENTS),
        ("x", err::BAD_ARGUMENTS),
        ("/a/", err::BAD_ARGUMENTS),
        ("/a//b", err::BAD_ARGUMENTS),
        ("/nope", err::NO_NODE),
    ] {
        assert_eq!(session.err(op::SET_DATA, &record::set_data(path, b"", 3)), expected, "{path:?}");
        assert_eq!(session.err(op::SET_ACL, &record::set_acl(path, OPEN, 3)), expected, "{path:?}");
    }
    // An ACL is looked at before the node is.
    assert_eq!(session.err(op::SET_ACL, &record::set_acl("/nope", &[], -1)), err::INVALID_ACL);
}

fn reads_check_no_path(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/a", b"1");
    session.set("/", b"root");
    assert_eq!(session.get("").0.as_deref(), Some(&b"root"[..]));
    for path in ["a", "/a/", "//", "/a//", "/./a", "/a\u{1}"] {
        assert_eq!(session.err(op::GET_DATA, &record::read(path, false)), err::NO_NODE, "{path:?}");
        assert_eq!(session.err(op::EXISTS, &record::read(path, false)), err::NO_NODE, "{path:?}");
        assert_eq!(session.err(op::GET_CHILDREN, &record::read(path, false)), err::NO_NODE, "{path:?}");
    }
    assert_eq!(session.err(op::EXISTS, &record::read("/a\0", false)), err::BAD_ARGUMENTS);
}

fn paths_that_are_refused_and_paths_that_are_not(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for name in [
        ".",
        "..",
        "a/",
        "\u{1}",
        "a\u{1f}",
        "\u{7f}",
        "\u{9f}",
        "\u{e000}",
        "\u{f8ff}",
        "\u{fff0}",
        "\u{fffd}",
        "\u{ffff}",
        "\u{1f600}",
        "\u{10000}",
    ] {
        let path = format!("/{name}");
        let expected = if name == "a/" { err::NO_NODE } else { err::BAD_ARGUMENTS };
        assert_eq!(session.err(op::CREATE, &record::plain(&path, b"")), expected, "{name:?}");
    }
    for name in ["...", "a.b", ".a", " ", "\u{20}x", "\u{a0}", "\u{d7ff}", "\u{f900}", "\u{ffef}", "-", "é"] {
        session.create(&format!("/{name}"), name.as_bytes());
    }
    assert_eq!(session.children("/").len(), 12);
    let long = format!("/{}", "x".repeat(100_000));
    session.create(&long, b"no limit but the frame");
    assert!(session.stat(&long).is_some());
}

fn stat_fields_move_as_they_should(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let (_, fresh) = session.call(op::CREATE2, &record::plain("/p", b"abc")).path_and_stat();
    let expected = Stat {
        czxid: fresh.czxid,
        mzxid: fresh.czxid,
        pzxid: fresh.czxid,
        ctime: fresh.ctime,
        mtime: fresh.ctime,
        data_length: 3,
        ..Stat::default()
    };
    assert_eq!(fresh, expected);
    assert!(fresh.ctime > 1_600_000_000_000, "milliseconds since the epoch");
    // setData: version, mzxid, mtime, dataLength.
    let reply = session.set("/p", b"four");
    let set = reply.stat();
    assert!(set.mtime >= fresh.mtime);
    let expected = Stat { mzxid: reply.zxid, mtime: set.mtime, version: 1, data_length: 4, ..fresh };
    assert_eq!(set, expected);
    // setACL: aversion alone.
    let with_acl = session.call(op::SET_ACL, &record::set_acl("/p", OPEN, 0)).stat();
    assert_eq!(with_acl, Stat { aversion: 1, ..set });
    // A child: cversion, pzxid, numChildren.
    let child = session.create("/p/c", b"").zxid;
    let parent = Stat { cversion: 1, pzxid: child, children: 1, ..with_acl };
    assert_eq!(session.stat("/p"), Some(parent));
    // What happens to the child or below it leaves the parent alone.
    session.set("/p/c", b"x");
    session.call(op::SET_ACL, &record::set_acl("/p/c", OPEN, -1)).stat();
    session.create("/p/c/d", b"");
    assert_eq!(session.stat("/p"), Some(parent));
    session.delete("/p/c/d");
    let gone = session.delete("/p/c").zxid;
    assert_eq!(session.stat("/p"), Some(Stat { cversion: 2, pzxid: gone, children: 0, ..parent }));
    // A failure changes nothing.
    session.err(op::SET_DATA, &record::set_data("/p", b"", 0));
    session.err(op::DELETE, &record::path_int("/p/c", -1));
    assert_eq!(session.stat("/p"), Some(Stat { cversion: 2, pzxid: gone, children: 0, ..parent }));
}

fn cversion_counts_creations_and_deletions(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/p", b"");
    for round in 0..5 {
        session.create("/p/x", b"");
        assert_eq!(session.stat("/p").unwrap().cversion, 2 * round + 1);
        session.delete("/p/x");
        assert_eq!(session.stat("/p").unwrap().cversion, 2 * round + 2);
    }
    let (names, stat) = {
        session.create("/p/y", b"");
        let reply = session.call(op::GET_CHILDREN2, &record::read("/p", false));
        let mut reader = reply.ok();
        let names = reader.vector(|r| Ok(r.string()?.unwrap().into_owned())).unwrap().unwrap();
        assert_eq!(reader.rest().len(), 68);
        (names, session.stat("/p").unwrap())
    };
    assert_eq!((names, stat.cversion, stat.children), (vec!["y".to_owned()], 11, 1));
}

fn suffixes_count_creations_of_the_parent(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    assert_eq!(session.create_as("/q/a-", mode::SEQUENTIAL), "/q/a-0000000000");
    session.create("/q/plain", b"");
    assert_eq!(session.create_as("/q/b-", mode::EPHEMERAL_SEQUENTIAL), "/q/b-0000000002");
    session.delete("/q/b-0000000002");
    session.delete("/q/plain");
    assert_eq!(session.create_as("/q/a-", mode::SEQUENTIAL), "/q/a-0000000003");
    // Failed creations do not count.
    assert_eq!(session.err(op::CREATE, &record::plain("/q/a-0000000003", b"")), err::NODE_EXISTS);
    assert_eq!(session.create_as("/q/", mode::SEQUENTIAL), "/q/0000000004");
    // A name taken by hand collides once, and the failure consumes no number.
    session.create("/q/c-0000000006", b"");
    let collide = record::create("/q/c-", Some(b""), OPEN, mode::SEQUENTIAL);
    assert_eq!(session.err(op::CREATE, &collide), err::NODE_EXISTS);
    session.create("/q/other", b"");
    assert_eq!(session.create_as("/q/c-", mode::SEQUENTIAL), "/q/c-0000000007");
    // A new node under the old name begins anew.
    session.create("/r", b"");
    session.create_as("/r/", mode::SEQUENTIAL);
    session.delete("/r/0000000000");
    session.delete("/r");
    session.create("/r", b"");
    assert_eq!(session.create_as("/r/", mode::SEQUENTIAL), "/r/0000000000");
}

fn null_data_is_not_empty_data(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.call(op::CREATE, &record::create("/null", None, OPEN, 0)).ok();
    session.create("/empty", b"");
    let (data, stat) = session.get("/null");
    assert_eq!((data, stat.data_length), (None, 0));
    assert_eq!(session.get("/empty").0, Some(Vec::new()));
    let set_null = record(|out| {
        out.string("/empty");
        out.buffer(None);
        out.int(0);
    });
    assert_eq!(session.call(op::SET_DATA, &set_null).stat().version, 1);
    assert_eq!(session.get("/empty").0, None);
}

fn create_flags_are_a_list_not_bits(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for flags in [-1, 7, 8, 16, i32::MIN] {
        for code in [op::CREATE, op::CREATE2, op::CREATE_CONTAINER] {
            let seen = session.err(code, &record::create("/f", Some(b""), OPEN, flags));
            assert_eq!(seen, err::BAD_ARGUMENTS, "opcode {code}, flags {flags}");
        }
        let seen = session.err(op::CREATE_TTL, &record::create_ttl("/f", flags, 1000));
        assert_eq!(seen, err::BAD_ARGUMENTS, "flags {flags}");
    }
    // TTL flags need createTTL; the container flag in a plain create makes a persistent node.
    for flags in [mode::TTL, mode::TTL_SEQUENTIAL] {
        for code in [op::CREATE, op::CREATE2] {
            assert_eq!(session.err(code, &record::create("/f", Some(b""), OPEN, flags)), err::BAD_ARGUMENTS);
        }
    }
    assert_eq!(session.create_as("/f", mode::CONTAINER), "/f");
}

fn containers_and_ttl_nodes_answer_with_a_stat(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let container = record::create("/c", Some(b"x"), OPEN, mode::CONTAINER);
    let (path, stat) = session.call(op::CREATE_CONTAINER, &container).path_and_stat();
    assert_eq!((path.as_str(), stat.owner, stat.data_length), ("/c", 0, 1));
    assert_eq!(session.stat("/c"), Some(stat));
    let (path, stat) =
        session.call(op::CREATE_TTL, &record::create_ttl("/t", mode::TTL, (1 << 40) - 1)).path_and_stat();
    assert_eq!((path.as_str(), stat.owner), ("/t", 0));
    let sequential = record::create_ttl("/t-", mode::TTL_SEQUENTIAL, 1_000_000);
    assert_eq!(session.call(op::CREATE_TTL, &sequential).path_and_stat().0, "/t-0000000002");
    session.create("/t/child", b"");
    session.create("/c/child", b"");
    for ttl in [0, -1, 1 << 40, i64::MAX, i64::MIN] {
        let seen = session.err(op::CREATE_TTL, &record::create_ttl("/bad", mode::TTL, ttl));
        assert_eq!(seen, err::BAD_ARGUMENTS, "ttl {ttl}");
    }
}

fn create_ttl_with_plain_flags(shards: usize) {
    if only_ringkeeper("the packet stops it for good") {
        return;
    }
    let mut server = Server::start(shards);
    let mut session = Session::open(server.address());
    for flags in [mode::PERSISTENT, mode::EPHEMERAL, mode::SEQUENTIAL] {
        for ttl in [-1, i64::MIN, 0, 1000] {
            let seen = session.err(op::CREATE_TTL, &record::create_ttl("/t", flags, ttl));
            assert_eq!(seen, err::BAD_ARGUMENTS, "flags {flags}, ttl {ttl}");
        }
    }
    assert_eq!(session.stat("/t"), None);
    server.kill();
    server.restart();
    assert_eq!(Session::open(server.address()).children("/"), ["zookeeper"]);
}

fn ttl_nodes_need_extended_types(shards: usize) {
    let server = ServerConfig::new(shards).set("extendedTypesEnabled", "false").start();
    let mut session = Session::open(server.address());
    assert_eq!(session.err(op::CREATE_TTL, &record::create_ttl("/t", mode::TTL, 1000)), err::UNIMPLEMENTED);
    assert_eq!(session.err(op::CREATE, &record::create("/t", None, OPEN, mode::TTL)), err::UNIMPLEMENTED);
    // The connection stays, and containers need nothing.
    let container = record::create("/c", Some(b""), OPEN, mode::CONTAINER);
    session.call(op::CREATE_CONTAINER, &container).path_and_stat();
}

/// A server that looks for candidates five times a second.
fn reaping(shards: usize) -> Server {
    ServerConfig::new(shards).set("znode.container.checkIntervalMs", "200").start()
}

fn wait_until_gone(session: &mut Session, path: &str) {
    crate::support::wait_for(&format!("the end of {path}"), Duration::from_secs(30), || {
        session.stat(path).is_none().then_some(())
    });
}

fn ttl_nodes_are_reaped_by_mtime(shards: usize) {
    // Long enough for a few requests on a busy machine.
    const SHORT_MS: i64 = 4_000;
    const KEPT_MS: i64 = 5_000;
    let server = reaping(shards);
    let mut session = Session::open(server.address());
    session.call(op::CREATE_TTL, &record::create_ttl("/short", mode::TTL, SHORT_MS)).ok();
    session.call(op::CREATE_TTL, &record::create_ttl("/long", mode::TTL, 3_600_000)).ok();
    session.call(op::CREATE_TTL, &record::create_ttl("/parent", mode::TTL, SHORT_MS)).ok();
    session.create("/parent/child", b"");
    session.call(op::EXISTS, &record::read("/short", true)).ok();
    session.call(op::GET_CHILDREN, &record::read("/", true)).ok();
    wait_until_gone(&mut session, "/short");
    // Reaping is a deletion like any other.
    let events: Vec<(i32, String)> = session.events.drain(..).map(|event| (event.kind, event.path)).collect();
    assert_eq!(events, [(2, "/short".to_owned()), (4, "/".to_owned())]);
    assert!(session.stat("/long").is_some() && session.stat("/parent").is_some());
    // Its time is over long since: it goes with its last child.
    session.delete("/parent/child");
    wait_until_gone(&mut session, "/parent");
    // Writing begins the time anew.
    session.call(op::CREATE_TTL, &record::create_ttl("/kept", mode::TTL, KEPT_MS)).ok();
    let created = session.stat("/kept").unwrap().ctime;
    let now = crate::support::wait_for("writes that outlast the ttl", Duration::from_secs(60), || {
        crate::support::pause(Duration::from_millis(100));
        let stat = session.set("/kept", b"again").stat();
        (stat.mtime > created + KEPT_MS + 1_000).then_some(stat.mtime)
    });
    assert!(now > created + KEPT_MS + 1_000);
    wait_until_gone(&mut session, "/kept");
}

fn unused_containers_stay_and_used_ones_go(shards: usize) {
    let server = reaping(shards);
    let mut session = Session::open(server.address());
    for path in ["/unused", "/used"] {
        let container = record::create(path, Some(b""), OPEN, mode::CONTAINER);
        session.call(op::CREATE_CONTAINER, &container).ok();
    }
    session.create("/used/x", b"");
    session.create_as("/plain", mode::CONTAINER);
    session.create("/plain/x", b"");
    session.delete("/plain/x");
    session.delete("/used/x");
    wait_until_gone(&mut session, "/used");
    assert!(session.stat("/unused").is_some(), "a container that never had a child stays");
    assert!(session.stat("/plain").is_some(), "create with the container flag makes a persistent node");
}

fn ephemerals_listed_by_prefix(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/p", b"");
    for path in ["/a", "/ab", "/p/a", "/b"] {
        session.create_as(path, mode::EPHEMERAL);
    }
    let list = |session: &mut Session, prefix: &str| session.call(op::GET_EPHEMERALS, &record::path(prefix)).names();
    for all in ["", "/", " "] {
        assert_eq!(list(&mut session, all), ["/a", "/ab", "/b", "/p/a"]);
    }
    let null = record(|out| out.buffer(None));
    assert_eq!(session.call(op::GET_EPHEMERALS, &null).names().len(), 4);
    assert_eq!(list(&mut session, "/a"), ["/a", "/ab"]);
    assert_eq!(list(&mut session, "/p"), ["/p/a"]);
    assert_eq!(list(&mut session, "nonsense"), [""; 0]);
    assert_eq!(list(&mut Session::open(server.address()), "/"), [""; 0]);
    session.delete("/ab");
    assert_eq!(list(&mut session, "/a"), ["/a"]);
}

fn all_children_number_counts_descendants(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for path in ["/a", "/a/b", "/a/b/c", "/ab", "/a/d"] {
        session.create(path, b"");
    }
    for (path, expected) in [("/", 8), ("/a", 3), ("/a/b", 1), ("/ab", 0)] {
        assert_eq!(session.call(op::GET_ALL_CHILDREN_NUMBER, &record::path(path)).int(), expected, "{path}");
    }
}

fn sync_echoes_any_path(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for path in ["/", "/missing", "", "no slash", "//"] {
        assert_eq!(session.call(op::SYNC, &record::path(path)).path(), path);
    }
}

fn reconfig_is_disabled(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let nothing = record(|out| {
        out.buffer(None);
        out.buffer(Some(b"2"));
        out.buffer(None);
        out.long(-1);
    });
    assert_eq!(session.err(op::RECONFIG, &nothing), err::RECONFIG_DISABLED);
    drop(server);
    let server = ServerConfig::new(shards).set("reconfigEnabled", "true").start();
    let mut session = Session::open(server.address());
    assert_eq!(session.err(op::RECONFIG, &nothing), err::UNIMPLEMENTED);
    session.create("/still-here", b"");
}

fn versions_are_compared_exactly(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/v", b"");
    session.set("/v", b"");
    for version in [0, 2, -2, i32::MAX, i32::MIN] {
        assert_eq!(session.err(op::SET_DATA, &record::set_data("/v", b"", version)), err::BAD_VERSION);
        assert_eq!(session.err(op::DELETE, &record::path_int("/v", version)), err::BAD_VERSION);
        assert_eq!(session.err(op::SET_ACL, &record::set_acl("/v", OPEN, version.max(1))), err::BAD_VERSION);
        let check = record::multi(&[(op::CHECK, record::path_int("/v", version))]);
        assert_eq!(session.call(op::MULTI, &check).results()[0].err, err::BAD_VERSION);
    }
    assert_eq!(session.call(op::SET_DATA, &record::set_data("/v", b"", 1)).stat().version, 2);
    assert_eq!(session.err(op::DELETE, &record::path_int("/v", 2)), err::OK);
}
