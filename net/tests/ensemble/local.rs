//! Sessions of one server's own, and writes that a server refuses before the ensemble hears of them.

use crate::cluster::{ANSWER_PATIENCE, Cluster, Kind, PATIENCE, lasting, open};
use crate::support::record::{self, OPEN, err, mode, op};
use crate::support::server::four_letter_within;
use crate::support::session::{DELETED, Hello, Knock, Session};
use crate::support::tools::has_java;
use crate::support::{pause, wait_for};
use std::time::Duration;

/// Three servers with this setting, all serving; the leader and a follower first.
fn three_servers(settings: &[(&str, &str)]) -> (Cluster, [usize; 2]) {
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 3], 0);
    for sid in cluster.all() {
        settings.iter().for_each(|(key, value)| cluster.set(sid, key, value));
    }
    cluster.start_all();
    let leader = cluster.await_leader(&cluster.all());
    let follower = cluster.others(&[leader])[0];
    (cluster, [leader, follower])
}

/// Whether the server says that the session is none.
fn is_expired(cluster: &Cluster, sid: usize, hello: &Hello) -> bool {
    wait_for("an answer about the session", PATIENCE, || {
        match Session::knock(cluster.address(sid), hello, ANSWER_PATIENCE) {
            Knock::Closed => None,
            answer => Some(matches!(answer, Knock::Expired)),
        }
    })
}

/// The last zxid that the session's server has, when it has caught up with the leader.
fn zxid(session: &mut Session) -> i64 {
    assert_eq!(session.call(op::SYNC, &record::path("/")).err, err::OK);
    session.zxid()
}

fn ephemeral_in_multi(path: &str) -> Vec<u8> {
    record::multi(&[
        (op::CREATE, record::plain(&format!("{path}-plain"), b"")),
        (op::CREATE, record::create(path, Some(b""), OPEN, mode::EPHEMERAL)),
    ])
}

const UPGRADING: [(&str, &str); 2] = [("localSessionsEnabled", "true"), ("localSessionsUpgradingEnabled", "true")];

#[test]
fn a_local_session_costs_no_transaction_and_becomes_global_with_its_first_ephemeral() {
    let (mut cluster, [leader, follower]) = three_servers(&UPGRADING);
    live_and_upgrade(&cluster, leader, follower, false);
    live_and_upgrade(&cluster, follower, leader, true);
    cluster.check_health();
}

#[test]
fn their_leader_takes_what_our_local_sessions_ask_and_ours_what_theirs_do() {
    if !has_java() {
        return;
    }
    for (kinds, leader, followers) in [
        ([Kind::Java, Kind::Ringkeeper, Kind::Java], 3, [2, 1]),
        ([Kind::Java, Kind::Ringkeeper, Kind::Ringkeeper], 3, [1, 2]),
    ] {
        let mut cluster = Cluster::of(&kinds, 0);
        for sid in cluster.all() {
            UPGRADING.iter().for_each(|(key, value)| cluster.set(sid, key, value));
        }
        // The last one leads, since nobody else is there when it is elected but one with a lower number.
        let (first, last) = (followers[1], followers[0]);
        cluster.start(first);
        cluster.start(leader);
        cluster.await_mode(leader, "leader");
        cluster.start(last);
        cluster.await_serving(&cluster.all());
        live_and_upgrade(&cluster, followers[0], followers[1], false);
        live_and_upgrade(&cluster, followers[1], leader, true);
        cluster.check_health();
    }
}

/// A local session of server `sid` from its beginning until it is one of the ensemble, with its first ephemeral inside a
/// multi or not.
fn live_and_upgrade(cluster: &Cluster, sid: usize, elsewhere: usize, in_multi: bool) {
    let mut session = cluster.session(sid);
    let before = zxid(&mut session);
    let closing = cluster.session(sid);
    let closed = closing.hello();
    assert_eq!(closing.close(), before, "neither the beginning nor the end of a session is a transaction");
    for (server, hello) in [(sid, closed), (elsewhere, session.hello())] {
        assert!(is_expired(cluster, server, &hello), "it has ended, or is not known there");
    }
    let is_ours = cluster.member(sid).kind == Kind::Ringkeeper;
    if is_ours {
        assert_eq!(cluster.figure(sid, "zk_local_sessions"), Some(1));
        let dump = four_letter_within(cluster.address(sid), b"dump", PATIENCE).unwrap();
        assert!(dump.contains("Local Session Sets (1)/(1):\n"), "{dump}");
    }

    // It writes as any other does, and moves between connections of its server.
    session.create(&format!("/of-{sid}"), b"");
    let mut session = open(&[cluster.address(sid)], &session.hello());
    let path = format!("/of-{sid}/e");
    if in_multi {
        let results = session.call(op::MULTI, &ephemeral_in_multi(&path)).results();
        assert!(results.iter().all(|result| result.err == err::OK), "{results:?}");
    } else {
        session.create_as(&path, mode::EPHEMERAL);
    }
    assert_eq!(session.stat(&path).unwrap().owner, session.id, "under the id that it had");
    if is_ours {
        assert_eq!(cluster.figure(sid, "zk_local_sessions"), Some(0));
    }
    let mut moved = open(&[cluster.address(elsewhere)], &session.hello());
    zxid(&mut moved);
    assert_eq!(moved.stat(&path).unwrap().owner, moved.id, "it is one of the ensemble");
    let mut watching = cluster.session(sid);
    zxid(&mut watching);
    assert_eq!(watching.call(op::EXISTS, &record::read(&path, true)).err, err::OK);
    moved.close();
    assert_eq!(watching.event().kind, DELETED);
    watching.close();
}

#[test]
fn without_upgrading_a_local_session_owns_nothing() {
    let (mut cluster, servers) = three_servers(&[("localSessionsEnabled", "true")]);
    for sid in servers {
        let mut session = cluster.session(sid);
        let path = format!("/e-{sid}");
        for code in [op::CREATE, op::CREATE2] {
            let ephemeral = record::create(&path, Some(b""), OPEN, mode::EPHEMERAL);
            assert_eq!(session.err(code, &ephemeral), err::EPHEMERAL_ON_LOCAL_SESSION, "opcode {code}");
        }
        let results = session.call(op::MULTI, &ephemeral_in_multi(&path)).results();
        let codes: Vec<i32> = results.iter().map(|result| result.err).collect();
        assert_eq!(codes, [err::OK, err::SESSION_EXPIRED]);
        session.create(&format!("/plain-{sid}"), b"");
        assert_eq!(session.call(op::SYNC, &record::path("/")).err, err::OK);
        assert_eq!(session.stat(&path), None);
    }
    // A session that nobody is heard of any more ends without a transaction.
    let mut watching = cluster.session(servers[1]);
    let before = zxid(&mut watching);
    let silent = open(&[cluster.address(servers[1])], &Hello { timeout: 1_000, ..lasting() });
    let hello = silent.hello();
    drop(silent);
    wait_for("the end of a silent session", PATIENCE, || {
        // Asking renews it, so that there has to be a pause.
        pause(Duration::from_millis(2_500));
        is_expired(&cluster, servers[1], &hello).then_some(())
    });
    assert_eq!(zxid(&mut watching), before);
    cluster.check_health();
}

#[test]
fn writes_that_the_acls_forbid_end_where_they_were_asked() {
    let (mut cluster, servers) = three_servers(&[("enableEagerACLCheck", "true")]);
    for sid in servers {
        let mut owner = cluster.session(sid);
        owner.auth("digest", b"bob:pw");
        let sealed = format!("/sealed-{sid}");
        owner.call(op::CREATE, &record::create(&sealed, None, &[(31, "auth", "")], 0)).ok();
        owner.create(&format!("{sealed}/child"), b"");
        let mut stranger = cluster.session(sid);
        let before = zxid(&mut stranger);
        for (code, body, expected) in [
            (op::CREATE, record::plain(&format!("{sealed}/x"), b""), err::NO_AUTH),
            (op::CREATE2, record::plain(&format!("{sealed}/x"), b""), err::NO_AUTH),
            (op::DELETE, record::path_int(&format!("{sealed}/child"), -1), err::NO_AUTH),
            (op::SET_DATA, record::set_data(&sealed, b"", -1), err::NO_AUTH),
            (op::SET_ACL, record::set_acl(&sealed, OPEN, -1), err::NO_AUTH),
            (op::CREATE, record::create("/bad", None, &[(31, "nope", "x")], 0), err::INVALID_ACL),
        ] {
            let reply = stranger.call(code, &body);
            assert_eq!((reply.err, reply.zxid, reply.body.len()), (expected, 0, 0), "opcode {code}");
        }
        assert_eq!(stranger.zxid(), before, "none of it has a place in the order");
        // What is looked at in its place alone takes one as ever, and what is allowed goes on.
        let reply = stranger.call(op::SET_DATA, &record::set_data("/nowhere", b"", -1));
        assert_eq!((reply.err, reply.zxid), (err::NO_NODE, before + 1));
        let multi = record::multi(&[(op::SET_DATA, record::set_data(&sealed, b"", -1))]);
        assert_eq!(stranger.call(op::MULTI, &multi).zxid, before + 2);
        owner.set(&sealed, b"mine");
    }
    cluster.check_health();
}
