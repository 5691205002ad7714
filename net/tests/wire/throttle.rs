//! Throttles: requests that wait for their turn and are refused in order, handshakes that cost tokens, large requests that
//! share a sum.

use crate::on_one_and_four_shards;
use crate::support::raw::{Raw, frame};
use crate::support::record::{self, err, op};
use crate::support::server::{ServerConfig, four_letter};
use crate::support::session::{Hello, Session, request};
use crate::support::wait_for;
use std::io::Write;
use std::time::Duration;

on_one_and_four_shards!(
    requests_wait_for_their_turn_and_lose_nothing,
    requests_that_waited_too_long_are_refused_in_order,
    who_leaves_makes_room,
    handshakes_cost_tokens,
    large_requests_share_a_sum,
);

/// Writes, reads and pings: each write costs a flush, one at a time.
const PIPELINE: i32 = 600;

/// Sends a pipeline from a thread of its own, since the server reads no more than it may.
fn pipeline(session: &Session) -> std::thread::JoinHandle<()> {
    let mut stream = session.raw.stream();
    std::thread::spawn(move || {
        for xid in 1..=PIPELINE {
            let asked = match xid % 3 {
                0 => request(-2, op::PING, b""),
                1 => request(xid, op::SET_DATA, &record::set_data("/n", b"x", -1)),
                _ => request(xid, op::GET_DATA, &record::read("/n", false)),
            };
            stream.write_all(&frame(&asked)).unwrap();
        }
    })
}

/// The replies to a pipeline: how many sets were done, and how many requests were refused.
fn replies(session: &mut Session) -> (i32, i32) {
    let (mut done, mut refused) = (0, 0);
    for xid in 1..=PIPELINE {
        let reply = session.reply();
        assert_eq!(reply.xid, if xid % 3 == 0 { -2 } else { xid }, "the order stays");
        match reply.err {
            err::THROTTLED => {
                assert!(xid % 3 != 0, "a ping is never refused");
                refused += 1;
            }
            code => {
                assert_eq!(code, err::OK);
                done += i32::from(xid % 3 == 1);
            }
        }
    }
    (done, refused)
}

fn throttled(shards: usize) -> ServerConfig {
    ServerConfig::new(shards).set("request_throttle_max_requests", "1").set("request_throttle_stall_time", "5")
}

fn requests_wait_for_their_turn_and_lose_nothing(shards: usize) {
    let server = throttled(shards).start();
    let mut sessions: Vec<Session> = (0..3).map(|_| Session::open(server.address())).collect();
    sessions[0].create("/n", b"");
    let writers: Vec<_> = sessions.iter().map(pipeline).collect();
    for session in &mut sessions {
        assert_eq!(replies(session), (PIPELINE / 3, 0));
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut last = Session::open(server.address());
    assert_eq!(last.stat("/n").unwrap().version, PIPELINE);
}

fn requests_that_waited_too_long_are_refused_in_order(shards: usize) {
    let server = throttled(shards).set("throttled_op_wait_time", "1").start();
    let mut session = Session::open(server.address());
    wait_for("the node", Duration::from_secs(60), || {
        let created = session.err(op::CREATE, &record::plain("/n", b""));
        (created != err::THROTTLED).then_some(())
    });
    let (mut done, mut refused) = (0, 0);
    wait_for("a refusal", Duration::from_secs(60), || {
        let writer = pipeline(&session);
        let (more, late) = replies(&mut session);
        writer.join().unwrap();
        (done, refused) = (done + more, refused + late);
        (refused > 0 && done > 0).then_some(())
    });
    let version = wait_for("the node's Stat", Duration::from_secs(60), || {
        let reply = session.call(op::EXISTS, &record::read("/n", false));
        (reply.err != err::THROTTLED).then(|| reply.stat().version)
    });
    assert_eq!(version, done, "what is refused is not executed");
    let figures = four_letter(server.address(), b"mntr").unwrap();
    let throttled = figures.lines().find_map(|line| line.strip_prefix("zk_throttled_ops\t")).unwrap();
    assert!(throttled.parse::<f64>().unwrap() >= f64::from(refused), "{throttled} of {refused}");
}

fn who_leaves_makes_room(shards: usize) {
    let server = throttled(shards).start();
    let mut session = Session::open(server.address());
    session.create("/n", b"");
    for _ in 0..20 {
        let mut leaving = Session::open(server.address());
        for _ in 0..200 {
            leaving.send(op::SET_DATA, &record::set_data("/n", b"", -1));
        }
        drop(leaving);
        session.set("/n", b"still served");
    }
    assert!(Session::open(server.address()).stat("/n").is_some());
}

fn handshakes_cost_tokens(shards: usize) {
    let server = ServerConfig::new(shards)
        .set("connection_throttle_tokens", "3")
        .set("connection_throttle_fill_time", "3600000")
        .start();
    let mut sessions: Vec<Session> = (0..3).map(|_| Session::open(server.address())).collect();
    for hello in [Hello::default(), sessions[0].hello()] {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&hello.bytes());
        raw.expect_close();
    }
    // Who is there goes on, and four-letter words cost nothing.
    for session in &mut sessions {
        assert!(session.stat("/").is_some());
    }
    assert_eq!(four_letter(server.address(), b"ruok").unwrap(), "imok");
}

fn large_requests_share_a_sum(shards: usize) {
    let server =
        ServerConfig::new(shards).set("largeRequestThreshold", "1000").set("largeRequestMaxBytes", "5000").start();
    let mut session = Session::open(server.address());
    session.create("/small", &[b'x'; 900]);
    for n in 0..10 {
        session.create(&format!("/large-{n}"), &[b'x'; 4_000]);
    }
    let mut greedy = Session::open(server.address());
    greedy.send(op::CREATE, &record::plain("/too-large", &[b'x'; 5_000]));
    greedy.expect_close();
    assert_eq!(session.stat("/too-large"), None);
    session.create("/large-again", &[b'x'; 4_000]);
}
