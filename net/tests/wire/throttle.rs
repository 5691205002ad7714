//! The request throttle: order, refusals, and what is not executed.

use crate::on_one_and_four_shards;
use crate::support::raw::frame;
use crate::support::record::{self, err, op};
use crate::support::server::ServerConfig;
use crate::support::session::{Session, request};
use crate::support::wait_for;
use std::io::Write;
use std::time::Duration;

on_one_and_four_shards!(
    requests_wait_for_their_turn_and_lose_nothing,
    requests_that_waited_too_long_are_refused_in_order,
    who_leaves_makes_room,
);

/// Writes, reads and pings, more than are read at once.
const PIPELINE: i32 = 3_000;

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
