//! Sockets whose bytes carry the time of their arrival, and turns that end by the clock alone.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use hardware::mailbox::mailbox;
use hardware::reactor::{Event, Reactor, ReactorConfig};
use support::pattern;

/// How long something that must happen may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn small_buffers() -> ReactorConfig {
    ReactorConfig { recv_buffers: 8, recv_buffer_bytes: 512, ..ReactorConfig::default() }
}

/// What comes until the peer's stream ends.
fn read_to_end(reactor: &mut Reactor) -> Vec<u8> {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        reactor.turn_at(&mut events, Instant::now() + Duration::from_millis(1), || true).unwrap();
        for event in events.drain(..) {
            match event {
                Event::Received { data, .. } => {
                    assert!(data.arrived().is_none_or(|at| at <= Instant::now()));
                    bytes.extend_from_slice(&data);
                }
                Event::Closed { error, .. } => {
                    assert!(error.is_none(), "{error:?}");
                    return bytes;
                }
                _ => {}
            }
        }
    }
    panic!("the stream did not end");
}

#[test]
fn bytes_come_whole_and_in_order_and_so_does_the_end() {
    for config in [ReactorConfig::default(), small_buffers()] {
        for len in [1, 463, 464, 465, 4096, 1 << 20] {
            for (near, mut far) in [tcp_ends(), unix_ends()] {
                let mut reactor = Reactor::new(config.clone()).unwrap();
                reactor.adopt_stamped(near);
                let sent = pattern(len, len as u64);
                let writing = std::thread::spawn(move || {
                    far.write_all(&sent).unwrap();
                    drop(far);
                });
                assert!(read_to_end(&mut reactor) == pattern(len, len as u64), "{len} bytes came changed");
                writing.join().unwrap();
            }
        }
    }
}

fn tcp_ends() -> (OwnedFd, Box<dyn Write + Send>) {
    let (near, far) = tcp_pair();
    (near.into(), Box::new(far))
}

fn unix_ends() -> (OwnedFd, Box<dyn Write + Send>) {
    let (near, far) = UnixStream::pair().unwrap();
    (near.into(), Box::new(far))
}

/// Bytes that wait in the kernel until the turn ends carry the time of their arrival, not of the reading. The kernel may not
/// stamp the first packets, and a machine that stands still may delay any, so one try of many has to show it.
#[test]
fn an_arrival_is_told_by_the_kernel_and_not_by_the_reading() {
    const WAIT: Duration = Duration::from_millis(200);
    let (near, mut far) = tcp_pair();
    far.set_nodelay(true).unwrap();
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    reactor.adopt_stamped(near.into());
    let (mut events, begin) = (Vec::new(), Instant::now());
    let mut told = false;
    while !told {
        assert!(begin.elapsed() < PATIENCE, "no arrival was told in time");
        let before = Instant::now();
        far.write_all(&[7]).unwrap();
        let until = Instant::now() + WAIT;
        reactor.turn_at(&mut events, until, || true).unwrap();
        let read = Instant::now();
        for event in events.drain(..) {
            let Event::Received { data, .. } = event else { panic!("{event:?}") };
            assert!(data.iter().all(|byte| *byte == 7));
            let Some(arrived) = data.arrived() else { continue };
            // The two clocks may drift apart by a little.
            assert!(arrived + Duration::from_millis(5) >= before && arrived <= read);
            told |= arrived + WAIT / 2 < read;
        }
    }
}

#[test]
fn what_comes_does_not_end_a_turn_that_lasts_until_its_time() {
    let (near, mut far) = tcp_pair();
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    reactor.adopt_stamped(near.into());
    let peer = far.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        // Ends with an error when the other side is gone.
        while far.write_all(&[1]).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let (mut events, mut lasted) = (Vec::new(), 0);
    let give_up = Instant::now() + PATIENCE;
    // A signal may end a turn, so it need not be every one.
    while lasted < 5 {
        assert!(Instant::now() < give_up, "only {lasted} turns with bytes lasted until their time");
        let until = Instant::now() + Duration::from_millis(100);
        reactor.turn_at(&mut events, until, || true).unwrap();
        let in_time = Instant::now() >= until;
        let received = events.drain(..).filter(|event| matches!(event, Event::Received { .. })).count();
        lasted += u32::from(in_time && received > 0);
    }
    drop(reactor);
    // It may have been reset already.
    let _ = peer.shutdown(Shutdown::Both);
    writing.join().unwrap();
}

/// A wake-up waits for the end of the turn, and is not lost.
#[test]
fn a_message_is_there_when_the_turn_has_ended() {
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let (sender, receiver) = mailbox::<u64>(4, reactor.waker());
    let sending = std::thread::spawn(move || {
        (0..200).for_each(|number| {
            while sender.try_send(number).is_err() {
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    });
    let (mut events, mut next) = (Vec::new(), 0);
    let give_up = Instant::now() + PATIENCE;
    while next < 200 {
        assert!(Instant::now() < give_up, "{next} messages came");
        reactor.turn_at(&mut events, Instant::now() + Duration::from_millis(2), || receiver.is_empty()).unwrap();
        while let Some(number) = receiver.try_recv() {
            assert_eq!(number, next);
            next += 1;
        }
    }
    sending.join().unwrap();
}
