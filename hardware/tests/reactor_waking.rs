//! Sleep and wake-up: none is lost, whoever comes first.

#![allow(clippy::unwrap_used)]

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hardware::mailbox::{MailError, MailReceiver, MailSender, mailbox};
use hardware::reactor::{Event, Reactor, ReactorConfig};

const ROUNDS: u64 = 20_000;

fn config(spin: Duration) -> ReactorConfig {
    ReactorConfig { recv_buffers: 4, spin, ..ReactorConfig::default() }
}

/// Takes the next message, asleep until it comes.
fn receive(reactor: &mut Reactor, receiver: &MailReceiver<u64>) -> u64 {
    let mut events = Vec::new();
    loop {
        if let Some(message) = receiver.try_recv() {
            return message;
        }
        reactor.turn(&mut events, None, || receiver.is_empty()).unwrap();
    }
}

#[test]
fn two_cores_that_wake_each_other_never_miss() {
    for spin in [Duration::ZERO, Duration::from_micros(20)] {
        let (hand_over, handed) = mpsc::channel::<MailSender<u64>>();
        let (hand_back, back) = mpsc::channel::<MailSender<u64>>();
        let other = std::thread::spawn(move || {
            let mut reactor = Reactor::new(config(spin)).unwrap();
            let (sender, receiver) = mailbox(4, reactor.waker());
            hand_over.send(sender).unwrap();
            let answer = back.recv().unwrap();
            for round in 0..ROUNDS {
                assert_eq!(receive(&mut reactor, &receiver), round);
                answer.try_send(round + 1).unwrap();
            }
        });
        let mut reactor = Reactor::new(config(spin)).unwrap();
        let (sender, receiver) = mailbox(4, reactor.waker());
        hand_back.send(sender).unwrap();
        let ask = handed.recv().unwrap();
        for round in 0..ROUNDS {
            ask.try_send(round).unwrap();
            assert_eq!(receive(&mut reactor, &receiver), round + 1);
        }
        other.join().unwrap();
    }
}

#[test]
fn many_senders_into_one_sleeping_core() {
    let mut reactor = Reactor::new(config(Duration::ZERO)).unwrap();
    let (sender, receiver) = mailbox(8, reactor.waker());
    let senders: Vec<_> = (0..3)
        .map(|_| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for number in 0..ROUNDS {
                    let mut message = number;
                    while let Err(MailError::Full(back)) = sender.try_send(message) {
                        message = back;
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut sum = 0;
    for _ in 0..3 * ROUNDS {
        sum += receive(&mut reactor, &receiver);
    }
    assert_eq!(sum, 3 * (0..ROUNDS).sum::<u64>());
    for sender in senders {
        sender.join().unwrap();
    }
}

#[test]
fn a_turn_ends_when_its_time_is_up() {
    let mut reactor = Reactor::new(config(Duration::from_micros(20))).unwrap();
    let mut events = Vec::new();
    for wait in [Duration::ZERO, Duration::from_millis(3)] {
        let until = Instant::now() + wait;
        while Instant::now() < until {
            reactor.turn(&mut events, Some(until), || true).unwrap();
        }
        reactor.turn(&mut events, Some(until), || true).unwrap();
    }
    assert!(events.is_empty());
}

#[test]
fn a_core_with_mail_does_not_sleep() {
    let mut reactor = Reactor::new(config(Duration::ZERO)).unwrap();
    let mut asked = 0;
    reactor
        .turn(&mut Vec::new(), None, || {
            asked += 1;
            false
        })
        .unwrap();
    assert_eq!(asked, 1);
}

#[test]
fn a_stopped_listener_accepts_nothing_and_frees_its_port() {
    let mut reactor = Reactor::new(config(Duration::ZERO)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let id = reactor.listen(listener).unwrap();
    assert_eq!(reactor.local_addr(id).unwrap(), addr);
    let stream = TcpStream::connect(addr).unwrap();
    let mut events = Vec::new();
    while events.is_empty() {
        reactor.turn(&mut events, None, || true).unwrap();
    }
    let Event::Accepted { listener, peer, .. } = &events[0] else { panic!() };
    assert_eq!((*listener, *peer), (id, stream.local_addr().unwrap()));
    reactor.stop_listening(id);
    reactor.stop_listening(id);
    while reactor.local_addr(id).is_ok() {
        reactor.turn(&mut events, None, || true).unwrap();
    }
    assert_eq!(events.len(), 1);
    assert!(TcpStream::connect(addr).is_err());
}
