//! SIGTERM: a graceful end.

use crate::on_one_and_four_shards;
use crate::support::is_reference;
use crate::support::raw::Raw;
use crate::support::record::{self, mode, op};
use crate::support::server::Server;
use crate::support::session::{Hello, Message, Session};
use crate::writer::read_subtree;

on_one_and_four_shards!(a_graceful_stop_keeps_everything, idle_clients_do_not_delay_the_stop);

fn a_graceful_stop_keeps_everything(shards: usize) {
    let mut server = Server::start(shards);
    let mut session = Session::open(server.address());
    session.create("/p", b"");
    session.create_as("/p/e", mode::EPHEMERAL);
    for n in 0..2_000 {
        session.send(op::CREATE, &record::plain(&format!("/p/n{n}"), n.to_string().as_bytes()));
    }
    // It is told to stop in the midst of them.
    let mut answered = 0;
    while answered < 500 {
        assert_eq!(session.reply().err, 0);
        answered += 1;
    }
    server.process().terminate();
    session.raw.expect_to_break();
    while let Some(Message::Reply(reply)) = session.try_receive() {
        assert_eq!(reply.err, 0);
        answered += 1;
    }
    let status = server.stop();
    assert!(status.code() == Some(0) || is_reference(), "{status}");
    server.restart();
    let mut again = Session::connect(server.address(), &session.hello()).expect("the session outlives the server");
    let seen = read_subtree(&mut again, "/p");
    assert_eq!(seen["/p/e"].1.owner, session.id);
    // Answered ones are there, and of the others a prefix.
    let there = seen.len() - 2;
    assert!(there >= answered, "{there} of {answered}");
    for n in 0..there {
        assert_eq!(seen[&format!("/p/n{n}")].0, n.to_string().into_bytes());
    }
}

fn idle_clients_do_not_delay_the_stop(shards: usize) {
    let mut server = Server::start(shards);
    let sessions: Vec<Session> = (0..20).map(|_| Session::open(server.address())).collect();
    let mut half: Vec<Raw> = (0..20).map(|_| Raw::connect(server.address())).collect();
    for raw in &mut half {
        raw.send_bytes(&Hello::default().bytes()[..10]);
    }
    let status = server.stop();
    assert!(status.code() == Some(0) || is_reference(), "{status}");
    for mut session in sessions {
        session.expect_close();
    }
    for mut raw in half {
        raw.expect_close();
    }
}
