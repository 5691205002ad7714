//! Quotas: accounting, enforcement, and text that makes no sense.

use crate::on_one_and_four_shards;
use crate::support::record::{self, err, op};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::{Session, Stat};
use crate::support::{is_reference, only_ringkeeper};

on_one_and_four_shards!(
    usage_is_counted_without_a_trace,
    hard_limits_are_enforced,
    soft_limits_are_not,
    super_users_are_not_exempt,
    the_deepest_limit_counts,
    limits_alone_do_nothing_without_enforcement,
    malformed_limits_are_no_limits,
    malformed_usage_is_harmless,
    a_quota_on_the_root_is_refused_or_ignored,
    usage_survives_a_restart,
);

/// Creates a quota as the command line does: the path below /zookeeper/quota, limits, usage.
fn set_quota(session: &mut Session, path: &str, limits: &str) {
    let mut parent = "/zookeeper/quota".to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        parent = format!("{parent}/{name}");
        let created = session.err(op::CREATE, &record::plain(&parent, b""));
        assert!(created == err::OK || created == err::NODE_EXISTS);
    }
    session.create(&format!("{parent}/zookeeper_limits"), limits.as_bytes());
    session.create(&format!("{parent}/zookeeper_stats"), b"count=0,bytes=0");
}

fn usage(session: &mut Session, path: &str) -> (String, Stat) {
    let (data, stat) = session.get(&format!("/zookeeper/quota{path}/zookeeper_stats"));
    (String::from_utf8(data.unwrap()).unwrap(), stat)
}

fn enforcing(shards: usize) -> Server {
    ServerConfig::new(shards).set("enforceQuota", "true").start()
}

fn usage_is_counted_without_a_trace(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"12");
    session.create("/q/a", b"345");
    session.create("/qx", b"not below it");
    set_quota(&mut session, "/q", "count=100,bytes=-1");
    // The usage is computed, whatever the client wrote.
    let (text, stat) = usage(&mut session, "/q");
    assert_eq!(text, "count=2,bytes=5");
    session.call(op::EXISTS, &record::read("/zookeeper/quota/q/zookeeper_stats", true)).stat();
    session.create("/q/a/b", b"6789");
    assert_eq!(usage(&mut session, "/q").0, "count=3,bytes=9");
    session.set("/q/a/b", b"6");
    assert_eq!(usage(&mut session, "/q").0, "count=3,bytes=6");
    session.delete("/q/a/b");
    session.set("/qx", b"other");
    let (text, after) = usage(&mut session, "/q");
    assert_eq!(text, "count=2,bytes=5");
    // No version, no mzxid, no event: the Stat moves in dataLength at most.
    assert_eq!(Stat { data_length: stat.data_length, ..after }, stat);
    assert_eq!(session.take_events(), []);
    // Multis and ephemerals count too.
    let ops = [(op::CREATE, record::plain("/q/m", b"1")), (op::SET_DATA, record::set_data("/q/m", b"12345", -1))];
    session.call(op::MULTI, &record::multi(&ops)).results();
    assert_eq!(usage(&mut session, "/q").0, "count=3,bytes=10");
    let mut owner = Session::open(server.address());
    owner.call(op::CREATE, &record::create("/q/e", Some(b"123"), record::OPEN, 1)).ok();
    session.call(op::SYNC, &record::path("/")).ok();
    assert_eq!(usage(&mut session, "/q").0, "count=4,bytes=13");
    owner.close();
    assert_eq!(usage(&mut session, "/q").0, "count=3,bytes=10");
}

fn hard_limits_are_enforced(shards: usize) {
    let server = enforcing(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    set_quota(&mut session, "/q", "count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3");
    session.create("/q/a", b"12345");
    session.create("/q/b", b"12345");
    let fresh = session.stat("/q").unwrap();
    assert_eq!(session.err(op::CREATE, &record::plain("/q/c", b"")), err::QUOTA_EXCEEDED);
    session.delete("/q/b");
    assert_eq!(session.err(op::CREATE, &record::plain("/q/c", b"123456")), err::QUOTA_EXCEEDED);
    assert_eq!(session.err(op::SET_DATA, &record::set_data("/q/a", b"12345678901", -1)), err::QUOTA_EXCEEDED);
    session.set("/q/a", b"1234567890");
    // The quota is looked at before the version, and after the ACL.
    assert_eq!(session.err(op::SET_DATA, &record::set_data("/q/a", b"12345678901", 99)), err::QUOTA_EXCEEDED);
    assert_eq!(session.err(op::SET_DATA, &record::set_data("/q/a", b"1", 99)), err::BAD_VERSION);
    let ops = [(op::CREATE, record::plain("/free", b"")), (op::CREATE, record::plain("/q/c", b"1"))];
    let results = session.call(op::MULTI, &record::multi(&ops)).results();
    assert_eq!((results[0].err, results[1].err), (0, err::QUOTA_EXCEEDED));
    assert_eq!(session.stat("/free"), None);
    assert_eq!(session.stat("/q").unwrap().cversion, fresh.cversion + 1);
    // Without its limits node the quota is over.
    session.delete("/zookeeper/quota/q/zookeeper_limits");
    session.create("/q/c", b"12345678901234567890");
}

fn soft_limits_are_not(shards: usize) {
    let server = enforcing(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    set_quota(&mut session, "/q", "count=1,bytes=1");
    session.create("/q/a", b"12345");
    session.set("/q/a", b"1234567");
    assert_eq!(usage(&mut session, "/q").0, "count=2,bytes=7");
}

fn super_users_are_not_exempt(shards: usize) {
    let server = ServerConfig::new(shards)
        .set("enforceQuota", "true")
        .set("DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
        .start();
    let mut root = Session::open(server.address());
    root.auth("digest", b"super:test");
    root.create("/q", b"");
    set_quota(&mut root, "/q", "count=-1,bytes=-1=;byteHardLimit=5;countHardLimit=2");
    root.create("/q/a", b"12345");
    assert_eq!(root.err(op::CREATE, &record::plain("/q/b", b"")), err::QUOTA_EXCEEDED);
    assert_eq!(root.err(op::SET_DATA, &record::set_data("/q/a", b"123456", -1)), err::QUOTA_EXCEEDED);
}

fn the_deepest_limit_counts(shards: usize) {
    let server = enforcing(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    session.create("/q/in", b"");
    set_quota(&mut session, "/q", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3");
    set_quota(&mut session, "/q/in", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=5");
    for n in 0..4 {
        session.create(&format!("/q/in/{n}"), b"");
    }
    assert_eq!(session.err(op::CREATE, &record::plain("/q/in/x", b"")), err::QUOTA_EXCEEDED);
    assert_eq!(usage(&mut session, "/q/in").0, "count=5,bytes=0");
}

fn limits_alone_do_nothing_without_enforcement(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    set_quota(&mut session, "/q", "count=0,bytes=0=;byteHardLimit=0;countHardLimit=0");
    session.create("/q/a", b"12345");
    assert_eq!(usage(&mut session, "/q").0, "count=2,bytes=5");
}

fn malformed_limits_are_no_limits(shards: usize) {
    if only_ringkeeper("malformed limits fail writes below") {
        return;
    }
    for enforce in ["true", "false"] {
        let server = ServerConfig::new(shards).set("enforceQuota", enforce).start();
        let mut session = Session::open(server.address());
        let texts =
            ["", "nonsense", "count=x,bytes=y", "count", "=", ",,;;==", "count=99999999999999999999", "\u{fffd}"];
        for (n, text) in texts.into_iter().enumerate() {
            let path = format!("/q{n}");
            session.create(&path, b"");
            set_quota(&mut session, &path, text);
            session.create(&format!("{path}/a"), b"12345");
            session.set(&format!("{path}/a"), b"123");
            session.delete(&format!("{path}/a"));
            assert_eq!(usage(&mut session, &path).0, "count=1,bytes=0", "limits {text:?}");
        }
    }
}

fn malformed_usage_is_harmless(shards: usize) {
    if only_ringkeeper("malformed usage stops it") {
        return;
    }
    for enforce in ["true", "false"] {
        let mut server = ServerConfig::new(shards).set("enforceQuota", enforce).start();
        let mut session = Session::open(server.address());
        session.create("/q", b"");
        set_quota(&mut session, "/q", "count=-1,bytes=-1=;byteHardLimit=1000;countHardLimit=1000");
        for text in ["nonsense", "", "count=,bytes=", "count=1"] {
            session.set("/zookeeper/quota/q/zookeeper_stats", text.as_bytes());
            session.create("/q/a", b"12345");
            session.set("/q/a", b"123");
            session.delete("/q/a");
        }
        session.set("/zookeeper/quota/q/zookeeper_stats", b"nonsense");
        server.kill();
        server.restart();
        let mut session = Session::open(server.address());
        session.create("/q/a", b"12345");
        // At load the usage is computed anew.
        assert_eq!(usage(&mut session, "/q").0, "count=2,bytes=5");
    }
}

fn a_quota_on_the_root_is_refused_or_ignored(shards: usize) {
    if only_ringkeeper("it stops for good") {
        return;
    }
    for enforce in ["true", "false"] {
        let mut server = ServerConfig::new(shards).set("enforceQuota", enforce).start();
        let mut session = Session::open(server.address());
        for name in ["zookeeper_limits", "zookeeper_stats"] {
            let body = record::plain(&format!("/zookeeper/quota/{name}"), b"count=1,bytes=1=;countHardLimit=1");
            session.call(op::CREATE, &body);
        }
        session.create("/a", b"12345");
        session.set("/a", b"1");
        server.kill();
        server.restart();
        let mut session = Session::open(server.address());
        assert!(session.stat("/a").is_some());
        session.create("/b", b"");
    }
}

fn usage_survives_a_restart(shards: usize) {
    let mut server = enforcing(shards);
    let mut session = Session::open(server.address());
    session.create("/q", b"");
    set_quota(&mut session, "/q", "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3");
    session.create("/q/a", b"12345");
    for graceful in [false, true] {
        if graceful && !is_reference() {
            server.stop();
        }
        server.kill();
        server.restart();
        let mut session = Session::open(server.address());
        assert_eq!(usage(&mut session, "/q").0, "count=2,bytes=5");
        session.create("/q/b", b"");
        assert_eq!(session.err(op::CREATE, &record::plain("/q/c", b"")), err::QUOTA_EXCEEDED);
        session.delete("/q/b");
    }
}
