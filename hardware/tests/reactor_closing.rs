//! Every way in which a connection ends, and back pressure.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use hardware::reactor::{CloseHow, Event, Reactor, ReactorConfig, SocketId};
use support::{Core, pattern};

/// What the core saw, in plain data.
#[derive(Debug, PartialEq)]
enum Seen {
    Accepted(SocketId),
    Received(Vec<u8>),
    Closed(Option<ErrorKind>),
    Sent(usize),
    Released(SocketId),
}

/// A core that adopts connections, does nothing else by itself, and reports all it sees.
fn reporting() -> (Core, mpsc::Receiver<Seen>) {
    let (out, seen) = mpsc::channel();
    let core = Core::start(ReactorConfig::default(), move || {
        move |reactor: &mut Reactor, event: Event| {
            let seen = match event {
                Event::Accepted { fd, .. } => Seen::Accepted(reactor.adopt(fd)),
                Event::Received { data, .. } => Seen::Received(data.to_vec()),
                Event::Closed { error, .. } => Seen::Closed(error.map(|error| error.kind())),
                Event::Sent { queued, .. } => Seen::Sent(queued),
                Event::Released { socket } => Seen::Released(socket),
                other => panic!("unexpected {other:?}"),
            };
            let _ = out.send(seen);
        }
    });
    (core, seen)
}

fn accepted(seen: &mpsc::Receiver<Seen>) -> SocketId {
    let Seen::Accepted(socket) = seen.recv().unwrap() else { panic!() };
    socket
}

fn set_linger_zero(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

#[test]
fn after_sends_delivers_every_byte_even_when_input_is_left_unread() {
    let (core, seen) = reporting();
    let mut stream = core.connect();
    let socket = accepted(&seen);
    core.run(move |reactor| reactor.pause_receive(socket));
    // Input that nobody reads: closing over it would reset the connection and destroy the output.
    stream.write_all(&[1; 100_000]).unwrap();
    let bytes = pattern(4 << 20, 5);
    let expected = bytes.clone();
    core.run(move |reactor| {
        for chunk in bytes.chunks(10_000) {
            reactor.send(socket, chunk.to_vec());
        }
        assert_eq!(reactor.queued_bytes(socket), 4 << 20);
        reactor.close(socket, CloseHow::AfterSends);
        reactor.send(socket, b"too late".to_vec());
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == expected);
    drop(stream);
    let last = seen.iter().find(|seen| matches!(seen, Seen::Released(_) | Seen::Closed(_))).unwrap();
    assert_eq!(last, Seen::Released(socket));
    assert_eq!(core.run(|reactor| reactor.sockets()), 0);
}

#[test]
fn a_peer_that_writes_all_before_it_reads_gets_the_rest_after_close() {
    let (core, seen) = reporting();
    let mut stream = core.connect();
    let socket = accepted(&seen);
    core.run(move |reactor| {
        reactor.send(socket, pattern(8 << 20, 1));
        reactor.close(socket, CloseHow::AfterSends);
    });
    stream.write_all(&pattern(8 << 20, 2)).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert!(back == pattern(8 << 20, 1));
}

#[test]
fn a_peer_that_never_ends_its_side_is_let_go_all_the_same() {
    let (core, seen) = reporting();
    let mut stream = core.connect();
    let socket = accepted(&seen);
    core.run(move |reactor| reactor.close(socket, CloseHow::AfterSends));
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(seen.recv().unwrap(), Seen::Released(socket));
}

#[test]
fn now_drops_what_is_queued_and_cuts_short_a_stuck_flush() {
    let (core, seen) = reporting();
    for first in [None, Some(CloseHow::AfterSends)] {
        let stream = core.connect();
        let socket = accepted(&seen);
        core.run(move |reactor| {
            // Far more than the kernel buffers of a peer that does not read.
            for _ in 0..64 {
                reactor.send(socket, vec![0; 1 << 20]);
            }
            if let Some(how) = first {
                reactor.close(socket, how);
            }
        });
        core.run(move |reactor| {
            assert!(reactor.queued_bytes(socket) > 0);
            reactor.close(socket, CloseHow::Now);
            reactor.close(socket, CloseHow::Now);
        });
        let released = seen.iter().find(|seen| !matches!(seen, Seen::Sent(_))).unwrap();
        assert_eq!(released, Seen::Released(socket));
        core.run(move |reactor| {
            assert_eq!(reactor.queued_bytes(socket), 0);
            reactor.send(socket, vec![1]);
            reactor.close(socket, CloseHow::Now);
            reactor.pause_receive(socket);
            reactor.resume_receive(socket);
        });
        drop(stream);
    }
}

#[test]
fn reset_reaches_the_peer_as_a_reset() {
    let (core, seen) = reporting();
    let mut stream = core.connect();
    let socket = accepted(&seen);
    core.run(move |reactor| reactor.close(socket, CloseHow::Reset));
    assert_eq!(seen.recv().unwrap(), Seen::Released(socket));
    assert_eq!(stream.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn an_orderly_end_is_reported_once_and_output_still_goes_out() {
    let (core, seen) = reporting();
    let mut stream = core.connect();
    let socket = accepted(&seen);
    stream.write_all(b"last words").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut words = Vec::new();
    loop {
        match seen.recv().unwrap() {
            Seen::Received(bytes) => words.extend(bytes),
            Seen::Closed(None) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(words, b"last words");
    core.run(move |reactor| {
        reactor.send(socket, b"answer".to_vec());
        reactor.close(socket, CloseHow::AfterSends);
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"answer");
    assert_eq!(seen.recv().unwrap(), Seen::Sent(0));
    assert_eq!(seen.recv().unwrap(), Seen::Released(socket));
}

#[test]
fn a_reset_by_the_peer_is_reported_once_with_its_error() {
    let (core, seen) = reporting();
    let stream = core.connect();
    let socket = accepted(&seen);
    core.run(move |reactor| {
        for _ in 0..64 {
            reactor.send(socket, vec![0; 1 << 20]);
        }
    });
    set_linger_zero(&stream);
    drop(stream);
    let end = seen.iter().find(|seen| !matches!(seen, Seen::Sent(_))).unwrap();
    assert!(matches!(end, Seen::Closed(Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))), "{end:?}");
    // Nothing more comes until the host closes, also when it goes on sending.
    core.run(move |reactor| reactor.send(socket, vec![0; 10]));
    core.run(move |reactor| reactor.close(socket, CloseHow::AfterSends));
    assert_eq!(seen.recv().unwrap(), Seen::Released(socket));
}

#[test]
fn paused_sockets_receive_nothing_and_lose_nothing() {
    let (core, seen) = reporting();
    let stream = core.connect();
    let socket = accepted(&seen);
    let bytes = pattern(8 << 20, 9);
    let expected = bytes.clone();
    core.run(move |reactor| reactor.pause_receive(socket));
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut got = Vec::new();
    let mut round = 0;
    while got.len() < expected.len() {
        core.run(move |reactor| reactor.resume_receive(socket));
        let Seen::Received(chunk) = seen.recv().unwrap() else { panic!() };
        got.extend(chunk);
        // Twice in a row at times, and back at once: cancellations and arming cross each other.
        core.run(move |reactor| {
            reactor.pause_receive(socket);
            if round % 3 == 0 {
                reactor.resume_receive(socket);
                reactor.pause_receive(socket);
            }
        });
        // Two turns of the core: the cancellation has been answered after them.
        core.run(|_| ());
        core.run(|_| ());
        while let Ok(Seen::Received(chunk)) = seen.try_recv() {
            got.extend(chunk);
        }
        core.run(|_| ());
        assert!(seen.try_recv().is_err(), "bytes for a paused socket");
        round += 1;
    }
    writing.join().unwrap();
    assert!(got == expected);
}

#[test]
fn buffers_come_back_in_order_with_what_is_queued_behind_them() {
    let (core, seen) = reporting();
    let mut stream = core.connect();
    let socket = accepted(&seen);
    core.run(move |reactor| {
        // More than one gathering send takes, with an empty one among them.
        for index in 0..200 {
            reactor.send(socket, vec![index as u8; index]);
        }
    });
    let total: usize = (0..200).sum();
    let mut back = vec![0; total];
    stream.read_exact(&mut back).unwrap();
    let expected: Vec<u8> = (0..200usize).flat_map(|index| vec![index as u8; index]).collect();
    assert!(back == expected);
    let mut queued = Vec::new();
    while queued.len() < 200 {
        let Seen::Sent(behind) = seen.recv().unwrap() else { panic!() };
        queued.push(behind);
    }
    // The empty one came back at once; the others in order, the last with nothing behind it.
    assert!(queued[1..].is_sorted_by(|earlier, later| earlier > later));
    assert_eq!(queued.last(), Some(&0));
}

#[test]
fn dropping_the_reactor_ends_its_connections() {
    let (core, seen) = reporting();
    let mut reading = core.connect();
    let stuck = core.connect();
    let (first, second) = (accepted(&seen), accepted(&seen));
    core.run(move |reactor| {
        for socket in [first, second] {
            reactor.send(socket, vec![7; 100]);
        }
        for _ in 0..32 {
            reactor.send(second, vec![0; 1 << 20]);
        }
    });
    let mut bytes = [0; 100];
    reading.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [7; 100]);
    drop(core);
    assert_eq!(reading.read(&mut bytes).unwrap_or(0), 0);
    drop(stuck);
}
