//! Load that means harm: floods of connections, clients that do not read, memory that must stay bounded.

use crate::on_one_and_four_shards;
use crate::support::raw::{Raw, frame};
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig, four_letter};
use crate::support::session::{Hello, Session, request};
use crate::support::{is_reference, wait_for};
use std::io::Write;
use std::time::Duration;

on_one_and_four_shards!(
    connections_of_one_address_are_limited,
    connections_without_a_session_are_ended,
    a_client_that_does_not_read_disturbs_nobody,
    a_client_that_does_not_read_gets_all_in_the_end,
    a_slow_writer_disturbs_nobody,
    claimed_lengths_cost_no_memory,
    connections_come_and_go,
    a_reply_may_be_longer_than_any_request,
);

fn connections_of_one_address_are_limited(shards: usize) {
    let server = ServerConfig::new(shards).set("maxClientCnxns", "5").start();
    let mut sessions: Vec<Session> = Vec::new();
    // The connection that asked whether the server is ready may still be on its way out.
    wait_for("five sessions", Duration::from_secs(30), || {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&Hello::default().bytes());
        if let Some(answer) = raw.read_frame() {
            sessions.push(Session::answered(raw, &answer).unwrap());
        }
        (sessions.len() == 5).then_some(())
    });
    for _ in 0..20 {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&Hello::default().bytes());
        raw.expect_close();
        // Four-letter words count as well.
        let answer = four_letter(server.address(), b"ruok");
        assert!(answer.is_err() || answer.is_ok_and(|text| text.is_empty()));
    }
    for session in &mut sessions {
        assert!(session.stat("/").is_some());
    }
    sessions.pop().unwrap().close();
    wait_for("a place", Duration::from_secs(30), || {
        let mut raw = Raw::connect(server.address());
        raw.send_frame(&Hello::default().bytes());
        raw.read_frame()
    });
}

fn connections_without_a_session_are_ended(shards: usize) {
    let server = ServerConfig::new(shards).set("nio.sessionlessCnxnTimeout", "500").start();
    let mut idle: Vec<Raw> = (0..20).map(|_| Raw::connect(server.address())).collect();
    for (n, raw) in idle.iter_mut().enumerate() {
        raw.send_bytes(&frame(&Hello::default().bytes())[..n]);
    }
    let mut session = Session::open(server.address());
    for raw in &mut idle {
        raw.expect_close();
    }
    assert!(session.stat("/").is_some(), "a session is not bound by it");
}

fn a_client_that_does_not_read_disturbs_nobody(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    let big = vec![b'x'; 500_000];
    other.create("/big", &big);
    // Asks for gigabytes and reads nothing: the server stops reading from it sooner or later.
    let mut stuck: Vec<std::thread::JoinHandle<()>> = Vec::new();
    let mut greedy: Vec<Session> = Vec::new();
    for _ in 0..3 {
        let mut session = Session::open(server.address());
        session.call(op::SYNC, &record::path("/")).ok();
        let mut stream = session.raw.stream();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let asked = frame(&request(1, op::GET_DATA, &record::read("/big", false)));
        stuck.push(std::thread::spawn(move || {
            for _ in 0..4_000 {
                if stream.write_all(&asked).is_err() {
                    break;
                }
            }
        }));
        greedy.push(session);
    }
    for n in 0..200 {
        other.create(&format!("/n{n}"), b"");
        other.set(&format!("/n{n}"), b"1");
        assert_eq!(other.get(&format!("/n{n}")).1.version, 1);
    }
    for thread in stuck {
        thread.join().unwrap();
    }
    assert!(other.stat("/big").is_some());
    drop(greedy);
    other.delete("/big");
}

fn a_client_that_does_not_read_gets_all_in_the_end(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    let data = vec![b'y'; 100_000];
    session.create("/data", &data);
    let count = 1_000;
    let mut stream = session.raw.stream();
    let writer = std::thread::spawn(move || {
        for xid in 0..count {
            stream.write_all(&frame(&request(xid + 1, op::GET_DATA, &record::read("/data", false)))).unwrap();
        }
    });
    // Nothing is read until much is under way.
    let mut other = Session::open(server.address());
    for _ in 0..100 {
        assert!(other.stat("/data").is_some());
    }
    for xid in 0..count {
        let reply = session.reply();
        assert_eq!((reply.xid, reply.body.len()), (xid + 1, 4 + data.len() + 68));
    }
    writer.join().unwrap();
}

fn a_slow_writer_disturbs_nobody(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    let mut slow: Vec<(Session, Vec<u8>)> = (0..10)
        .map(|n| {
            let create = frame(&request(1, op::CREATE, &record::plain(&format!("/slow{n}"), &[b'z'; 300])));
            (Session::open(server.address()), create)
        })
        .collect();
    let length = slow[0].1.len();
    for at in 0..length {
        for (session, create) in &mut slow {
            session.raw.send_bytes(&create[at..=at]);
        }
        if at % 10 == 0 {
            assert!(other.stat("/").is_some());
        }
    }
    for (n, (session, _)) in slow.iter_mut().enumerate() {
        assert_eq!(session.reply().path(), format!("/slow{n}"));
    }
}

/// Anonymous memory of the server, KiB.
fn resident(server: &mut Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn claimed_lengths_cost_no_memory(shards: usize) {
    let mut server = Server::start(shards);
    let before = resident(&mut server);
    // 200 connections claim the longest frame, before and after the handshake, and send a few bytes of it.
    let mut sessions = Vec::new();
    let mut raws = Vec::new();
    for n in 0..200 {
        if n % 2 == 0 {
            let mut raw = Raw::connect(server.address());
            raw.send_bytes(&[0, 0x0f, 0xff, 0xff, 1, 2, 3]);
            raws.push(raw);
        } else {
            let mut session = Session::open(server.address());
            session.raw.send_bytes(&[0, 0x0f, 0xff, 0xff, 1, 2, 3]);
            sessions.push(session);
        }
    }
    let mut other = Session::open(server.address());
    assert!(other.stat("/").is_some());
    // Inside frames: strings, buffers and lists that claim gigabytes.
    for count in [1_000_000, i32::MAX] {
        for _ in 0..100 {
            let claim = record::record(|out| {
                out.string("/v");
                out.buffer(Some(b""));
                out.int(count);
            });
            other.send(op::CREATE, &claim);
            other.send(op::GET_DATA, &count.to_be_bytes());
            other.send(op::MULTI, &[&1_i32.to_be_bytes()[..], &[0], &(-1_i32).to_be_bytes(), &claim].concat());
        }
        for _ in 0..300 {
            assert_eq!(other.reply().err, record::err::MARSHALLING);
        }
    }
    if !is_reference() {
        let grown = resident(&mut server).saturating_sub(before);
        assert!(grown < 100 * 1024, "200 claims of 1 MiB each cost {grown} KiB");
    }
}

fn connections_come_and_go(shards: usize) {
    let mut server = Server::start(shards);
    let mut other = Session::open(server.address());
    let descriptors =
        |server: &mut Server| std::fs::read_dir(format!("/proc/{}/fd", server.process().id())).unwrap().count();
    let before = descriptors(&mut server);
    for round in 0..10 {
        let raws: Vec<Raw> = (0..100).map(|_| Raw::connect(server.address())).collect();
        if round % 2 == 0 {
            let sessions: Vec<Session> = (0..20).map(|_| Session::open(server.address())).collect();
            for session in sessions {
                session.close();
            }
        }
        drop(raws);
        assert!(other.stat("/").is_some());
    }
    wait_for("all descriptors are given back", Duration::from_secs(30), || {
        other.zxid();
        (descriptors(&mut server) <= before + 8).then_some(())
    });
}

fn a_reply_may_be_longer_than_any_request(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/wide", b"");
    let filler = "f".repeat(500);
    let count = 4_000;
    for n in 0..count {
        session.send(op::CREATE, &record::plain(&format!("/wide/{filler}{n:05}"), b""));
    }
    for _ in 0..count {
        assert_eq!(session.reply().err, 0);
    }
    let names = session.children("/wide");
    assert_eq!((names.len(), names[0].len()), (count, 505));
    assert_eq!(names[count - 1], format!("{filler}{:05}", count - 1));
}
