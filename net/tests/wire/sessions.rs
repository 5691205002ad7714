//! Sessions: negotiation, password, renewal, expiry, restart.

use crate::on_one_and_four_shards;
use crate::support::raw::{Raw, hex};
use crate::support::record::{self, err, mode, op};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::{DELETED, Hello, Session, request};
use crate::support::{pause, wait_for};
use std::time::{Duration, Instant};

on_one_and_four_shards!(
    timeouts_are_clamped,
    the_password_is_derived_from_the_id,
    session_ids,
    a_wrong_password_is_refused_and_harms_nobody,
    an_unknown_session_is_refused,
    renewal_cuts_the_older_connection,
    a_client_ahead_of_the_server_is_closed,
    close_answers_and_closes,
    a_lost_connection_keeps_the_session,
    an_expired_session_loses_all,
    pings_keep_a_session_alive,
    sessions_survive_a_restart,
    the_later_twin_can_close_the_session,
    ephemerals_of_many_sessions,
);

fn timeouts_are_clamped(shards: usize) {
    let server = Server::start(shards);
    // Ticks of one second: from 2 to 20.
    for (asked, given) in [
        (0, 2_000),
        (-1, 2_000),
        (1_999, 2_000),
        (2_001, 2_001),
        (19_999, 19_999),
        (20_001, 20_000),
        (i32::MAX, 20_000),
    ] {
        assert_eq!(Session::open_for(server.address(), asked).timeout, given);
    }
    assert_eq!(Session::open_for(server.address(), i32::MIN).timeout, 2_000);
    // Renewal negotiates anew.
    let session = Session::open_for(server.address(), 5_000);
    let again = Session::connect(server.address(), &Hello { timeout: 9_000, ..session.hello() }).unwrap();
    assert_eq!((again.id, again.timeout), (session.id, 9_000));
    let server = ServerConfig::new(shards).set("minSessionTimeout", "700").set("maxSessionTimeout", "800").start();
    assert_eq!(Session::open_for(server.address(), 1).timeout, 700);
    assert_eq!(Session::open_for(server.address(), 1_000).timeout, 800);
}

/// `java.util.Random` seeded with the id, four ints, each with its lowest byte first.
fn password_of(id: i64) -> Vec<u8> {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = ((id as u64) ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut password = Vec::new();
    for _ in 0..4 {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        password.extend(((state >> 16) as u32).to_le_bytes());
    }
    password
}

fn the_password_is_derived_from_the_id(shards: usize) {
    assert_eq!(password_of(0x0100_0027_3b0d_0000), hex("69ac6aca42f0b2d1ef63e46d5b8ffdf3"));
    let server = Server::start(shards);
    for _ in 0..5 {
        let session = Session::open(server.address());
        assert_eq!(session.password, password_of(session.id));
    }
}

fn session_ids(shards: usize) {
    let mut server = Server::start(shards);
    let mut ids: Vec<i64> = (0..10).map(|_| Session::open(server.address()).id).collect();
    server.kill();
    server.restart();
    ids.extend((0..10).map(|_| Session::open(server.address()).id));
    for id in &ids {
        assert_eq!(id >> 56, 1, "the standalone server's id is 1");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 20, "never the same, also across a restart");
}

fn a_wrong_password_is_refused_and_harms_nobody(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create_as("/e", mode::EPHEMERAL);
    for password in [vec![0; 16], vec![], session.password[..15].to_vec()] {
        assert!(Session::connect(server.address(), &Hello { password, ..session.hello() }).is_none());
    }
    // The attempt may have cut the connection (the reference does), but the session is as it was.
    let mut again = Session::connect(server.address(), &session.hello()).unwrap();
    assert_eq!(again.stat("/e").unwrap().owner, session.id);
}

fn an_unknown_session_is_refused(shards: usize) {
    let server = Server::start(shards);
    for id in [1, -1, 0x0100_0000_0000_0000, i64::MIN, i64::MAX] {
        let hello = Hello { id, password: password_of(id), ..Hello::default() };
        assert!(Session::connect(server.address(), &hello).is_none(), "{id:x}");
    }
    // A closed one is unknown too.
    let session = Session::open(server.address());
    let hello = session.hello();
    session.close();
    assert!(Session::connect(server.address(), &hello).is_none());
}

fn renewal_cuts_the_older_connection(shards: usize) {
    let server = Server::start(shards);
    let mut first = Session::open(server.address());
    first.create_as("/e", mode::EPHEMERAL);
    for _ in 0..10 {
        let mut second = Session::connect(server.address(), &first.hello()).unwrap();
        assert_eq!((second.id, &second.password), (first.id, &first.password));
        first.expect_close();
        assert_eq!(second.stat("/e").unwrap().owner, second.id);
        first = second;
    }
    // Requests on their way on the older connection take effect or not, but none after the renewal was answered.
    for n in 0..50 {
        first.send(op::CREATE, &record::plain(&format!("/n{n}"), b""));
    }
    let mut second = Session::connect(server.address(), &first.hello()).unwrap();
    let then = second.children("/");
    let mut other = Session::open(server.address());
    assert_eq!(other.children("/"), then);
}

fn a_client_ahead_of_the_server_is_closed(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let now = session.zxid();
    for last_zxid in [now + 1, now + 1_000, i64::MAX] {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&Hello { last_zxid, ..Hello::default() }.bytes());
        raw.expect_close();
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&Hello { last_zxid, ..session.hello() }.bytes());
        raw.expect_close();
    }
    for last_zxid in [now, 0, -1] {
        assert!(Session::connect(server.address(), &Hello { last_zxid, ..session.hello() }).is_some());
    }
}

fn close_answers_and_closes(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    let mut session = Session::open(server.address());
    session.create_as("/e", mode::EPHEMERAL);
    let before = session.zxid();
    let zxid = session.close();
    assert_eq!(zxid, before + 1);
    assert_eq!(other.call(op::EXISTS, &record::read("/e", false)).err, err::NO_NODE);
    assert_eq!(other.stat("/").unwrap().pzxid, zxid);
}

fn a_lost_connection_keeps_the_session(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    let mut session = Session::open(server.address());
    session.create_as("/e", mode::EPHEMERAL);
    let hello = session.hello();
    drop(session);
    assert!(other.stat("/e").is_some());
    let mut again = Session::connect(server.address(), &hello).unwrap();
    again.delete("/e");
}

/// A server with short ticks.
fn quick(shards: usize) -> Server {
    ServerConfig::new(shards).set("tickTime", "250").start()
}

fn an_expired_session_loses_all(shards: usize) {
    let server = quick(shards);
    let mut other = Session::open_for(server.address(), 5_000);
    let mut silent = Session::open_for(server.address(), 1_000);
    assert_eq!(silent.timeout, 1_000);
    silent.create("/p", b"");
    silent.create_as("/p/e", mode::EPHEMERAL);
    let hello = silent.hello();
    let since = Instant::now();
    other.call(op::SYNC, &record::path("/")).ok();
    other.call(op::EXISTS, &record::read("/p/e", true)).stat();
    let before = other.zxid();
    let event = wait_for("the expiry", Duration::from_secs(30), || {
        pause(Duration::from_millis(50));
        other.zxid();
        other.events.pop_front()
    });
    assert_eq!((event.kind, event.path.as_str()), (DELETED, "/p/e"));
    assert!(since.elapsed() >= Duration::from_millis(1_000), "not before its time");
    assert_eq!(other.zxid(), before + 1, "one transaction for the session and its ephemerals");
    assert_eq!(other.stat("/p").unwrap().pzxid, before + 1);
    // The socket is closed without a frame, and the session is unknown.
    silent.expect_close();
    assert!(Session::connect(server.address(), &hello).is_none());
}

fn pings_keep_a_session_alive(shards: usize) {
    let server = quick(shards);
    let mut session = Session::open_for(server.address(), 2_000);
    session.create_as("/e", mode::EPHEMERAL);
    let since = Instant::now();
    wait_for("five seconds of pings", Duration::from_secs(30), || {
        pause(Duration::from_millis(200));
        session.zxid();
        (since.elapsed() > Duration::from_secs(5)).then_some(())
    });
    assert_eq!(session.stat("/e").unwrap().owner, session.id);
}

fn sessions_survive_a_restart(shards: usize) {
    let mut server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create_as("/e", mode::EPHEMERAL);
    let closed = Session::open(server.address());
    let gone = closed.hello();
    closed.close();
    let last = session.zxid();
    for graceful in [true, false] {
        if graceful {
            server.stop();
        }
        server.kill();
        server.restart();
        let hello = Hello { last_zxid: last, ..session.hello() };
        let mut again = Session::connect(server.address(), &hello).unwrap();
        assert_eq!((again.id, again.stat("/e").unwrap().owner), (session.id, session.id));
        assert!(again.zxid() >= last);
        assert!(Session::connect(server.address(), &gone).is_none());
    }
    let again = Session::connect(server.address(), &session.hello()).unwrap();
    again.close();
    assert_eq!(Session::open(server.address()).stat("/e"), None);
}

fn the_later_twin_can_close_the_session(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create_as("/e", mode::EPHEMERAL);
    Session::connect(server.address(), &session.hello()).unwrap().close();
    session.expect_close();
    assert!(Session::connect(server.address(), &session.hello()).is_none());
    assert_eq!(Session::open(server.address()).stat("/e"), None);
}

fn ephemerals_of_many_sessions(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    other.create("/p", b"");
    let mut sessions: Vec<Session> = (0..40).map(|_| Session::open(server.address())).collect();
    for session in &mut sessions {
        for _ in 0..25 {
            session.raw.send_frame(&request(
                1,
                op::CREATE,
                &record::create("/p/", Some(b""), record::OPEN, mode::EPHEMERAL_SEQUENTIAL),
            ));
        }
    }
    let mut names: Vec<String> = Vec::new();
    for session in &mut sessions {
        names.extend((0..25).map(|_| session.reply().path()));
    }
    names.sort();
    assert_eq!(names, (0..1_000).map(|n| format!("/p/{n:010}")).collect::<Vec<_>>());
    assert_eq!(other.children("/p").len(), 1_000);
    for session in sessions.drain(..20) {
        session.close();
    }
    assert_eq!(other.children("/p").len(), 500);
    assert_eq!(other.stat("/p").unwrap().cversion, 1_500);
}
