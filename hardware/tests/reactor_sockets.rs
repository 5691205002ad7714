//! Sockets over a real ring: echoing, back pressure, exhaustion of buffers, every way of closing.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use hardware::reactor::{CloseHow, Event, Reactor, ReactorConfig, RecvBuf, SocketId};
use support::{Core, echo, pattern};

fn small_buffers() -> ReactorConfig {
    ReactorConfig { recv_buffers: 8, recv_buffer_bytes: 512, ..ReactorConfig::default() }
}

fn round_trip(stream: &mut TcpStream, bytes: &[u8]) {
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    writing.join().unwrap();
    assert!(back == bytes, "{} bytes came back changed", bytes.len());
}

#[test]
fn echoes_from_one_byte_to_four_mebibytes() {
    for config in [ReactorConfig::default(), small_buffers()] {
        let core = Core::start(config, || echo);
        let mut stream = core.connect();
        for (seed, len) in [1, 2, 511, 512, 513, 4096, 65_537, 4 << 20].into_iter().enumerate() {
            round_trip(&mut stream, &pattern(len, seed as u64));
        }
    }
}

#[test]
fn echoes_on_many_connections_at_once() {
    let core = Core::start(ReactorConfig { recv_buffers: 64, ..ReactorConfig::default() }, || echo);
    let mut streams: Vec<_> = (0..300).map(|_| core.connect()).collect();
    for round in 0..3 {
        for (index, stream) in streams.iter_mut().enumerate() {
            stream.write_all(&pattern(1 + index * 37, round * 1000 + index as u64)).unwrap();
        }
        for (index, stream) in streams.iter_mut().enumerate() {
            let mut back = vec![0; 1 + index * 37];
            stream.read_exact(&mut back).unwrap();
            assert!(back == pattern(1 + index * 37, round * 1000 + index as u64));
        }
    }
    for stream in &mut streams {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
}

#[test]
fn pipelined_requests_come_back_in_order_to_a_slow_reader() {
    let core = Core::start(ReactorConfig::default(), || echo);
    let mut stream = core.connect();
    let mut writer = stream.try_clone().unwrap();
    let bytes = pattern(3 << 20, 1);
    let expected = bytes.clone();
    let writing = std::thread::spawn(move || {
        for chunk in bytes.chunks(100) {
            writer.write_all(chunk).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    // Reads nothing until everything is written, then in odd steps.
    writing.join().unwrap();
    let mut back = Vec::new();
    let mut step = [0; 333];
    loop {
        match stream.read(&mut step).unwrap() {
            0 => break,
            count => back.extend_from_slice(&step[..count]),
        }
    }
    assert!(back == expected);
}

#[test]
fn nothing_is_lost_when_receive_buffers_run_out_and_come_back_late() {
    let (out, events) = mpsc::channel();
    let (hold_out, held) = mpsc::channel::<()>();
    let core = Core::start(small_buffers(), move || {
        let mut kept: Vec<RecvBuf> = Vec::new();
        move |reactor: &mut Reactor, event: Event| match event {
            Event::Accepted { fd, .. } => {
                reactor.adopt(fd);
            }
            Event::Received { socket, data } => {
                out.send((socket, data.to_vec())).unwrap();
                kept.push(data);
                if kept.len() == 8 {
                    // All buffers are lent out here; the peers go on sending meanwhile.
                    held.recv().unwrap();
                    kept.clear();
                }
            }
            Event::Closed { socket, .. } => reactor.close(socket, CloseHow::Now),
            _ => {}
        }
    });
    let streams: Vec<_> = (0..4).map(|_| core.connect()).collect();
    let per_stream = 512 * 64;
    let writers: Vec<_> = streams
        .iter()
        .enumerate()
        .map(|(index, stream)| {
            let mut stream = stream.try_clone().unwrap();
            std::thread::spawn(move || stream.write_all(&pattern(per_stream, index as u64)).unwrap())
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let mut received: HashMap<SocketId, Vec<u8>> = HashMap::new();
    while received.values().map(Vec::len).sum::<usize>() < 4 * per_stream {
        // Late, but they come back: one permission more than the core can ask for does no harm.
        let _ = hold_out.send(());
        let (socket, bytes) = events.recv().unwrap();
        received.entry(socket).or_default().extend(bytes);
    }
    let mut all: Vec<_> = received.into_values().collect();
    let mut expected: Vec<_> = (0..4).map(|index| pattern(per_stream, index)).collect();
    all.sort();
    expected.sort();
    assert!(all == expected);
    // The core may be waiting for a permission.
    for _ in 0..64 {
        let _ = hold_out.send(());
    }
    drop(streams);
}

#[test]
fn what_is_hurried_leaves_without_a_turn_and_in_order() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let socket = reactor.adopt(listener.accept().unwrap().0.into());
    reactor.send(socket, b"at once".to_vec());
    reactor.send_now();
    let mut seen = [0; 7];
    peer.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"at once");
    // The first one's buffer has not come back, so these have to wait for it.
    reactor.send(socket, b"one ".to_vec());
    reactor.send_now();
    reactor.send(socket, b"two".to_vec());
    reactor.send_now();
    let (mut events, mut sent) = (Vec::new(), 0);
    while sent < 3 {
        reactor.turn(&mut events, None, || true).unwrap();
        sent += events.drain(..).filter(|event| matches!(event, Event::Sent { .. })).count();
    }
    peer.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"one two");
}
