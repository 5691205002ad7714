//! Replies in request order, reads that see their session's writes, closing behind what was asked.

use crate::on_one_and_four_shards;
use crate::support::Dice;
use crate::support::record::{self, OPEN, err, mode, op};
use crate::support::server::Server;
use crate::support::session::{Message, Session};
use std::collections::BTreeMap;

on_one_and_four_shards!(
    two_thousand_mixed_requests_in_a_pipeline,
    nothing_behind_close_takes_effect,
    reads_of_one_session_never_go_back,
    auth_is_answered_in_its_place,
    what_is_read_often_is_never_out_of_date,
);

/// What a request of the pipeline must be answered.
enum Expected {
    Version(i32),
    Created(String),
    Err(i32),
    Data(Vec<u8>, i32),
    Children(Vec<String>),
    Ping,
}

fn two_thousand_mixed_requests_in_a_pipeline(shards: usize) {
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/p", b"");
    let mut dice = Dice::new(2_000);
    let mut model: BTreeMap<String, (Vec<u8>, i32)> = BTreeMap::new();
    let (mut expected, mut created) = (Vec::new(), 0);
    for n in 0..2_000_u32 {
        let name = format!("n{}", dice.below(40));
        let path = format!("/p/{name}");
        let value = n.to_string().into_bytes();
        let xid = n as i32 + 10;
        let answer = match dice.below(8) {
            0 | 1 => {
                session.send_as(xid, op::CREATE, &record::plain(&path, &value));
                match model.contains_key(&name) {
                    true => Expected::Err(err::NODE_EXISTS),
                    false => {
                        created += 1;
                        model.insert(name, (value, 0));
                        Expected::Created(path)
                    }
                }
            }
            2 => {
                session.send_as(xid, op::SET_DATA, &record::set_data(&path, &value, -1));
                match model.get_mut(&name) {
                    Some((data, version)) => {
                        (*data, *version) = (value, *version + 1);
                        Expected::Version(*version)
                    }
                    None => Expected::Err(err::NO_NODE),
                }
            }
            3 => {
                session.send_as(xid, op::DELETE, &record::path_int(&path, -1));
                Expected::Err(if model.remove(&name).is_some() { err::OK } else { err::NO_NODE })
            }
            4 => {
                session.send_as(xid, op::GET_DATA, &record::read(&path, false));
                match model.get(&name) {
                    Some((data, version)) => Expected::Data(data.clone(), *version),
                    None => Expected::Err(err::NO_NODE),
                }
            }
            5 => {
                session.send_as(xid, op::GET_CHILDREN, &record::read("/p", false));
                Expected::Children(model.keys().cloned().collect())
            }
            6 => {
                session.send_as(xid, op::CREATE, &record::create("/p/s", Some(b""), OPEN, mode::SEQUENTIAL));
                let name = format!("s{created:010}");
                created += 1;
                model.insert(name.clone(), (Vec::new(), 0));
                Expected::Created(format!("/p/{name}"))
            }
            _ => {
                session.send_as(-2, op::PING, b"");
                Expected::Ping
            }
        };
        expected.push((xid, answer));
    }
    for (xid, answer) in expected {
        let reply = session.reply();
        match answer {
            Expected::Ping => {
                assert_eq!(reply.xid, -2);
                continue;
            }
            Expected::Version(version) => assert_eq!(reply.stat().version, version),
            Expected::Created(path) => assert_eq!(reply.path(), path),
            Expected::Err(code) => assert_eq!(reply.err, code),
            Expected::Data(data, version) => {
                let (seen, stat) = reply.data();
                assert_eq!((seen, stat.version), (Some(data), version));
            }
            Expected::Children(names) => assert_eq!(reply.names(), names),
        }
        assert_eq!(reply.xid, xid);
    }
}

fn nothing_behind_close_takes_effect(shards: usize) {
    let server = Server::start(shards);
    let mut other = Session::open(server.address());
    for round in 0..20 {
        let mut session = Session::open(server.address());
        let before = format!("/before-{round}");
        session.send(op::CREATE, &record::plain(&before, b""));
        session.send(op::CREATE, &record::create(&format!("{before}/e"), None, OPEN, mode::EPHEMERAL));
        session.send(op::CLOSE_SESSION, b"");
        for n in 0..20 {
            session.send(op::CREATE, &record::plain(&format!("/behind-{round}-{n}"), b""));
            session.send(op::SET_DATA, &record::set_data(&before, b"changed", -1));
        }
        assert_eq!((session.reply().err, session.reply().err, session.reply().err), (0, 0, 0));
        while let Some(message) = session.try_receive() {
            let Message::Reply(reply) = message else { panic!("an event behind the close") };
            assert_eq!(reply.err, err::SESSION_EXPIRED);
        }
        assert_eq!(other.get(&before).1.version, 0);
        assert_eq!(other.children(&before), [""; 0]);
    }
    assert_eq!(other.children("/").len(), 21);
}

fn reads_of_one_session_never_go_back(shards: usize) {
    let server = Server::start(shards);
    let mut writer = Session::open(server.address());
    let mut reader = Session::open(server.address());
    let paths: Vec<String> = (0..6).map(|n| format!("/n{n}")).collect();
    for path in &paths {
        writer.create(path, b"");
    }
    reader.call(op::SYNC, &record::path("/")).ok();
    // The writer goes round the paths; whoever reads them in the order of writing, newest first, sees them fall.
    for round in 0..150 {
        for path in &paths {
            writer.send(op::SET_DATA, &record::set_data(path, b"", round));
        }
        for path in paths.iter().rev() {
            reader.send(op::GET_DATA, &record::read(path, false));
        }
        let mut last: Option<(i64, i32)> = None;
        for _ in &paths {
            let reply = reader.reply();
            let version = reply.data().1.version;
            if let Some((zxid, later)) = last {
                assert!(reply.zxid >= zxid, "the view does not go back");
                assert!(version >= later, "a node written earlier is at least as new");
            }
            last = Some((reply.zxid, version));
        }
        for _ in &paths {
            assert_eq!(writer.reply().err, 0);
        }
    }
}

fn auth_is_answered_in_its_place(shards: usize) {
    if crate::support::only_ringkeeper("its answers to auth packets overtake earlier ones") {
        return;
    }
    let server = Server::start(shards);
    let mut session = Session::open(server.address());
    for n in 0..50 {
        session.send_as(n + 1, op::CREATE, &record::plain(&format!("/n{n}"), b""));
        session.send_as(-4, op::AUTH, &record::auth("digest", format!("u{n}:p").as_bytes()));
        session.send_as(-2, op::PING, b"");
    }
    for n in 0..50 {
        let (create, auth, ping) = (session.reply(), session.reply(), session.reply());
        assert_eq!((create.xid, auth.xid, ping.xid), (n + 1, -4, -2));
        assert_eq!((auth.zxid, auth.err), (0, 0));
    }
}

/// Replies may be kept for those who ask again; whatever a Stat, an ACL or a quota changes must show all the same.
fn what_is_read_often_is_never_out_of_date(shards: usize) {
    let server = Server::start(shards);
    let mut owner = Session::open(server.address());
    owner.auth("digest", b"bob:pw");
    let mut reader = Session::open(server.address());
    let sealed: &[record::Entry<'_>] = &[(31, "auth", "")];
    owner.create("/zookeeper/quota/c", b"");
    owner.create("/zookeeper/quota/c/zookeeper_limits", b"count=100,bytes=-1");
    owner.create("/zookeeper/quota/c/zookeeper_stats", b"");
    owner.create("/c", b"data");
    reader.call(op::SYNC, &record::path("/")).ok();
    let mut aversion = 0;
    for round in 0..20 {
        let child = format!("/c/n{round}");
        let before = reader.stat("/c").unwrap();
        let names = |reader: &mut Session| reader.call(op::GET_CHILDREN2, &record::read("/c", false)).names_and_stat();
        for _ in 0..3 {
            assert_eq!((reader.get("/c").1, names(&mut reader)), (before, (Vec::new(), before)));
        }
        let created = owner.create(&child, b"12").zxid;
        reader.call(op::SYNC, &record::path("/")).ok();
        let with_child = reader.stat("/c").unwrap();
        assert_eq!((with_child.cversion, with_child.pzxid, with_child.children), (before.cversion + 1, created, 1));
        for _ in 0..3 {
            let expected = (with_child, (vec![format!("n{round}")], with_child));
            assert_eq!((reader.get("/c").1, names(&mut reader)), expected);
            assert_eq!(reader.children("/c"), [format!("n{round}")]);
            let usage = reader.get("/zookeeper/quota/c/zookeeper_stats").0.unwrap();
            assert_eq!(String::from_utf8(usage).unwrap(), format!("count=2,bytes={}", 4 + 2));
        }
        // Who may read is asked anew each time.
        for (entries, expected) in [(sealed, err::NO_AUTH), (OPEN, err::OK)] {
            aversion = owner.call(op::SET_ACL, &record::set_acl("/c", entries, aversion)).stat().aversion;
            reader.call(op::SYNC, &record::path("/")).ok();
            for code in [op::GET_DATA, op::GET_CHILDREN, op::GET_CHILDREN2] {
                assert_eq!(reader.err(code, &record::read("/c", false)), expected, "opcode {code}");
            }
        }
        assert_eq!((reader.get("/c").1.aversion, names(&mut reader).1.aversion), (aversion, aversion));
        owner.delete(&child);
        reader.call(op::SYNC, &record::path("/")).ok();
    }
}
