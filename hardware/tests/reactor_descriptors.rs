//! Running out of file descriptors while accepting. In a process of its own, as the limit holds for all of it.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::net::{TcpListener, TcpStream};

use hardware::reactor::{Event, Reactor, ReactorConfig};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_connection_without_a_descriptor_waits_and_is_accepted_later() {
    let hard = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: hard }).unwrap();
    let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let id = reactor.listen(listener).unwrap();
    let stream = TcpStream::connect(addr).unwrap();
    let mut fillers = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        fillers.push(file);
    }
    let mut events = Vec::new();
    let mut turns = 0;
    while events.len() < 3 {
        reactor.turn(&mut events, None, || true).unwrap();
        turns += 1;
    }
    for event in &events {
        let Event::AcceptFailed { listener, error } = event else { panic!("{event:?}") };
        assert_eq!((*listener, error.raw_os_error()), (id, Some(24)));
    }
    // It slept between the attempts.
    assert!(turns < 30, "{turns} turns for three attempts");
    fillers.clear();
    events.clear();
    let peer = loop {
        reactor.turn(&mut events, None, || true).unwrap();
        if let Some(Event::Accepted { peer, .. }) = events.pop() {
            break peer;
        }
    };
    assert_eq!(peer, stream.local_addr().unwrap());
}
