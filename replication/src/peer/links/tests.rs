#![allow(clippy::unwrap_used)]

use super::*;
use crate::peer::ensemble::Ensemble;
use crate::peer::wire::initial::INITIAL_BYTES_MAX;
use std::sync::Arc;

/// Server 5 of the voters 3, 5 and 7, and what it asks for.
struct Stage {
    links: Links,
    now_ms: i64,
    out: Vec<LinkAction>,
}

const FIRST: &[u8] = b"first";
const SECOND: &[u8] = b"second";
const THIRD: &[u8] = b"third";

fn views() -> Views {
    let text = "server.3=h3:1:33\nserver.5=h5:1:35\nserver.7=h7:1:37\nversion=1";
    Views::settled(Arc::new(Ensemble::parse(text).unwrap()))
}

fn at(host: &str, port: u16) -> HostPort {
    HostPort::new(host, port)
}

fn hello(sid: i64, address: &str) -> Bytes {
    Initial::encode(ServerId(sid), &[HostPort::parse(address).unwrap()], false)
}

impl Stage {
    fn new() -> Stage {
        let config = LinksConfig {
            own: ServerId(5),
            own_addresses: vec![at("h5", 35)],
            multi_address: false,
            hello_timeout_ms: 10_000,
        };
        Stage { links: Links::new(config, views()), now_ms: 1_000, out: Vec::new() }
    }

    fn step(&mut self, input: LinkInput<'_>) -> Vec<LinkAction> {
        self.links.step(self.now_ms, input, &mut self.out);
        std::mem::take(&mut self.out)
    }

    fn send(&mut self, sid: i64, payload: &'static [u8]) -> Vec<LinkAction> {
        self.step(LinkInput::Send { sid: ServerId(sid), payload: Bytes::from_static(payload) })
    }

    fn accept(&mut self, link: u64, bytes: &[u8]) -> Vec<LinkAction> {
        assert_eq!(self.step(LinkInput::Accepted { link: LinkId(link) }), []);
        self.bytes(link, bytes)
    }

    fn bytes(&mut self, link: u64, bytes: &[u8]) -> Vec<LinkAction> {
        self.step(LinkInput::Bytes { link: LinkId(link), bytes })
    }

    fn connected(&mut self, link: u64, sid: i64) -> Vec<LinkAction> {
        self.step(LinkInput::Connected { link: LinkId(link), sid: ServerId(sid) })
    }

    fn written(&mut self, link: u64) -> Vec<LinkAction> {
        self.step(LinkInput::Written { link: LinkId(link) })
    }

    fn closed(&mut self, link: u64) -> Vec<LinkAction> {
        self.step(LinkInput::Closed { link: LinkId(link) })
    }

    fn failed(&mut self, sid: i64) -> Vec<LinkAction> {
        self.step(LinkInput::ConnectFailed { sid: ServerId(sid) })
    }

    /// Lets time pass up to the next deadline, which must exist.
    fn tick(&mut self) -> (i64, Vec<LinkAction>) {
        let deadline = self.links.next_deadline().unwrap();
        let waited = deadline - self.now_ms;
        self.now_ms = self.now_ms.max(deadline);
        (waited, self.step(LinkInput::Tick))
    }
}

fn connect(sid: i64, addresses: &[HostPort]) -> LinkAction {
    LinkAction::Connect { sid: ServerId(sid), addresses: addresses.to_vec() }
}

fn write(link: u64, payload: &[u8]) -> LinkAction {
    LinkAction::Write { link: LinkId(link), bytes: frames::frame(payload) }
}

fn close(link: u64) -> LinkAction {
    LinkAction::Close { link: LinkId(link) }
}

fn received(sid: i64, payload: &'static [u8]) -> LinkAction {
    LinkAction::Received { from: ServerId(sid), payload: Bytes::from_static(payload) }
}

fn own_hello(link: u64) -> LinkAction {
    LinkAction::Write { link: LinkId(link), bytes: hello(5, "h5:35") }
}

#[test]
fn the_larger_dials_and_keeps() {
    let mut stage = Stage::new();
    assert_eq!(stage.send(3, FIRST), [connect(3, &[at("h3", 33)])]);
    assert_eq!(stage.connected(1, 3), [own_hello(1)], "the whole message in one write");
    assert_eq!(stage.written(1), [write(1, FIRST)]);
    assert_eq!(stage.bytes(1, &frames::frame(SECOND)), [received(3, SECOND)]);
    assert_eq!(stage.links.connected_servers().collect::<Vec<_>>(), [ServerId(3)]);
}

/// Trap: the smaller one closes and waits to be called.
#[test]
fn the_smaller_says_who_it_is_and_is_called() {
    let mut stage = Stage::new();
    assert_eq!(stage.send(7, FIRST), [connect(7, &[at("h7", 37)])]);
    assert_eq!(stage.connected(1, 7), [own_hello(1)]);
    assert_eq!(stage.bytes(1, b"whatever"), [], "nothing is expected on this connection");
    assert_eq!(stage.written(1), [close(1)], "not before the message has left");
    assert_eq!(stage.accept(2, &hello(7, "h7:37")), [write(2, FIRST)]);
    assert_eq!(stage.links.next_deadline(), None, "no further dial");
    // Nobody calls: the dial is repeated, ever more slowly.
    let mut stage = Stage::new();
    stage.send(7, FIRST);
    let mut waits = Vec::new();
    for link in 1..8 {
        stage.connected(link, 7);
        stage.written(link);
        let (waited, actions) = stage.tick();
        assert_eq!(actions, [connect(7, &[at("h7", 37)])]);
        waits.push(waited);
    }
    assert_eq!(waits, [500, 500, 500, 800, 1_000, 1_000, 1_000]);
}

#[test]
fn a_call_that_overtakes_the_own_dial_is_kept() {
    let mut stage = Stage::new();
    stage.send(7, FIRST);
    assert_eq!(stage.accept(1, &hello(7, "h7:37")), [write(1, FIRST)]);
    assert_eq!(stage.connected(2, 7), [close(2)], "asking to be called would end the call");
    stage.written(1);
    assert_eq!(stage.send(7, SECOND), [write(1, SECOND)]);
}

#[test]
fn a_smaller_caller_is_called_back_where_it_said() {
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &hello(3, "other:99")), [close(1), connect(3, &[at("other", 99)])]);
    assert_eq!(stage.failed(3), [connect(3, &[at("h3", 33)])], "then where it is configured");
    assert_eq!(stage.connected(2, 3), [own_hello(2)]);
    // It calls although it is connected: it has lost the connection.
    assert_eq!(stage.accept(3, &hello(3, "h3:33"))[..2], [close(3), close(2)]);
}

/// Trap: a wildcard address cannot be called.
#[test]
fn wildcard_and_missing_addresses_mean_the_configured_one() {
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &hello(3, "0.0.0.0:99")), [close(1), connect(3, &[at("h3", 33)])]);
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &3_i64.to_be_bytes()), [close(1), connect(3, &[at("h3", 33)])], "the ancient form");
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &4_i64.to_be_bytes()), [close(1)], "a stranger without an address");
    assert!(stage.links.peers.is_empty());
}

#[test]
fn a_new_connection_replaces_the_old_one() {
    let mut stage = Stage::new();
    stage.accept(1, &hello(7, "h7:37"));
    assert_eq!(stage.send(7, FIRST), [write(1, FIRST)]);
    assert_eq!(stage.accept(2, &hello(7, "h7:37")), [close(1), write(2, FIRST)], "and the last message goes again");
    assert_eq!(stage.closed(1), [], "the end of the old one ends nothing");
    assert_eq!(stage.bytes(1, &frames::frame(SECOND)), []);
    stage.written(2);
    assert_eq!(stage.send(7, SECOND), [write(2, SECOND)]);
}

/// Trap: a mailbox of one.
#[test]
fn the_newest_message_wins() {
    let mut stage = Stage::new();
    stage.accept(1, &hello(7, "h7:37"));
    assert!(stage.links.have_delivered());
    assert_eq!(stage.send(7, FIRST), [write(1, FIRST)]);
    assert_eq!(stage.send(7, SECOND), [], "one write at a time");
    assert!(!stage.links.have_delivered());
    assert_eq!(stage.send(7, THIRD), []);
    assert_eq!(stage.written(1), [write(1, THIRD)]);
    assert!(stage.links.have_delivered());
    assert_eq!(stage.written(1), []);
}

#[test]
fn the_last_message_goes_again_when_a_connection_comes_up() {
    let mut stage = Stage::new();
    stage.accept(1, &hello(7, "h7:37"));
    stage.send(7, FIRST);
    stage.written(1);
    assert_eq!(stage.closed(1), []);
    assert_eq!(stage.accept(2, &hello(7, "h7:37")), [write(2, FIRST)]);
    stage.closed(2);
    stage.send(7, SECOND);
    assert_eq!(stage.accept(3, &hello(7, "h7:37")), [write(3, SECOND)], "unless a newer one waits");
}

#[test]
fn dials_back_off_while_a_message_waits() {
    let mut stage = Stage::new();
    assert_eq!(stage.send(3, FIRST), [connect(3, &[at("h3", 33)])]);
    assert_eq!(stage.send(3, SECOND), [], "one dial at a time");
    let mut waits = Vec::new();
    for _ in 0..7 {
        assert_eq!(stage.failed(3), []);
        assert_eq!(stage.send(3, SECOND), [], "not before its time");
        let (waited, actions) = stage.tick();
        assert_eq!(actions, [connect(3, &[at("h3", 33)])]);
        waits.push(waited);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000, 1_000]);
    // The server shows that it lives.
    stage.failed(3);
    assert_eq!(stage.accept(1, &hello(3, "h3:33")), [close(1)]);
    assert_eq!(stage.tick(), (50, vec![connect(3, &[at("h3", 33)])]), "long before the second is over");
}

/// A dial that was begun before it came up may fail after it has called.
#[test]
fn who_calls_during_a_dial_is_dialled_again() {
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &hello(3, "h3:33")), [close(1), connect(3, &[at("h3", 33)])]);
    assert_eq!(stage.accept(2, &hello(3, "h3:33")), [close(2)], "one dial at a time");
    assert_eq!(stage.failed(3), []);
    assert_eq!(stage.tick(), (100, vec![connect(3, &[at("h3", 33)])]));
    assert_eq!(stage.failed(3), []);
    assert_eq!(stage.links.next_deadline(), None, "it has not called since");
}

/// Trap: an unreachable server must not keep others waiting.
#[test]
fn a_dial_under_way_delays_nobody_else() {
    let mut stage = Stage::new();
    assert_eq!(stage.send(7, FIRST), [connect(7, &[at("h7", 37)])]);
    assert_eq!(stage.send(3, FIRST), [connect(3, &[at("h3", 33)])]);
    assert_eq!(stage.connected(1, 3), [own_hello(1)]);
}

#[test]
fn connect_all_dials_those_that_were_written_to() {
    let mut stage = Stage::new();
    assert_eq!(stage.step(LinkInput::ConnectAll), []);
    assert!(!stage.links.have_delivered(), "nothing was ever sent");
    stage.send(3, FIRST);
    stage.connected(1, 3);
    stage.written(1);
    stage.written(1);
    stage.closed(1);
    assert_eq!(stage.links.next_deadline(), None, "nothing waits for it");
    stage.now_ms += 100;
    assert_eq!(stage.step(LinkInput::ConnectAll), [connect(3, &[at("h3", 33)])]);
    assert_eq!(stage.step(LinkInput::ConnectAll), []);
}

#[test]
fn an_address_of_the_configuration_under_way_is_tried_second() {
    let mut stage = Stage::new();
    let mut both = views();
    both.see(Arc::new(Ensemble::parse("server.3=new:1:33\nserver.4=h4:1:34\nserver.5=h5:1:35\nversion=2").unwrap()));
    stage.links.set_views(both);
    assert_eq!(stage.send(3, FIRST), [connect(3, &[at("h3", 33)])]);
    assert_eq!(stage.failed(3), [connect(3, &[at("new", 33)])]);
    assert_eq!(stage.failed(3), []);
    assert_eq!(stage.send(4, FIRST), [connect(4, &[at("h4", 34)])]);
}

#[test]
fn several_addresses_are_dialled_together_and_all_told() {
    let mut stage = Stage::new();
    stage.links.config.multi_address = true;
    stage.links.config.own_addresses = vec![at("h5", 35), at("h5b", 36)];
    let text = "server.3=h3:1:33|h3b:1:34\nserver.5=h5:1:35|h5b:1:36";
    stage.links.set_views(Views::settled(Arc::new(Ensemble::parse(text).unwrap())));
    assert_eq!(stage.send(3, FIRST), [connect(3, &[at("h3", 33), at("h3b", 34)])]);
    let LinkAction::Write { bytes, .. } = &stage.connected(1, 3)[0] else { panic!() };
    assert_eq!(Initial::decode(bytes).unwrap().unwrap().0.addresses, [at("h5", 35), at("h5b", 36)]);
}

#[test]
fn the_first_message_may_come_in_pieces_and_with_what_follows() {
    let mut stage = Stage::new();
    let all = [hello(7, "h7:37"), frames::frame(FIRST), frames::frame(SECOND)].concat();
    for cut in 0..all.len() {
        let mut stage = Stage::new();
        stage.step(LinkInput::Accepted { link: LinkId(1) });
        let mut actions = stage.bytes(1, &all[..cut]);
        actions.extend(stage.bytes(1, &all[cut..]));
        assert_eq!(actions, [received(7, FIRST), received(7, SECOND)], "{cut}");
    }
    assert_eq!(stage.accept(1, &all), [received(7, FIRST), received(7, SECOND)]);
}

/// Trap: own number on the port.
#[test]
fn the_own_number_and_nonsense_are_refused() {
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &hello(5, "h5:35")), [close(1)]);
    assert_eq!(stage.accept(2, b"\xFFGET / HTTP/1.1\r\n\r\n"), [close(2)]);
    assert_eq!(stage.send(5, FIRST), []);
    assert_eq!(stage.send(99, FIRST), [], "a number that nobody knows");
    stage.accept(3, &hello(7, "h7:37"));
    assert_eq!(stage.bytes(3, &[0, 0, 0, 0, 1]), [close(3)]);
    assert_eq!(stage.links.connected_servers().count(), 0);
    assert_eq!(stage.accept(4, &hello(7, "h7:37")), []);
    assert_eq!(stage.bytes(4, &[0xFF, 0xFF, 0xFF, 0xFF]), [close(4)]);
    assert_eq!(stage.connected(5, 3), [close(5)], "nobody dialled");
    assert!(stage.links.links.is_empty());
}

#[test]
fn strangers_are_heard_answered_and_called_back() {
    let mut stage = Stage::new();
    assert_eq!(stage.accept(1, &hello(99, "x:1")), []);
    assert_eq!(stage.bytes(1, &frames::frame(FIRST)), [received(99, FIRST)]);
    assert_eq!(stage.send(99, SECOND), [write(1, SECOND)]);
    assert_eq!(stage.accept(2, &hello(1, "y:2")), [close(2), connect(1, &[at("y", 2)])]);
    assert_eq!(stage.send(1, SECOND), [], "until it is connected");
    assert_eq!(stage.connected(3, 1), [own_hello(3)]);
    assert_eq!(stage.written(3), [write(3, SECOND)]);
    stage.closed(3);
    stage.closed(1);
    assert!(stage.links.peers.is_empty(), "nothing is kept of strangers");
    assert_eq!(stage.accept(4, &hello(1, "y:2")), [close(4), connect(1, &[at("y", 2)])]);
    assert_eq!(stage.failed(1), []);
    assert!(stage.links.peers.is_empty() && stage.links.next_deadline().is_none(), "and they are called once");
}

#[test]
fn anonymous_observers_get_private_numbers() {
    let mut stage = Stage::new();
    stage.accept(1, &hello(i64::MAX, "x:1"));
    stage.accept(2, &hello(i64::MAX, "x:1"));
    assert_eq!(stage.bytes(1, &frames::frame(FIRST)), [received(-1, FIRST)]);
    assert_eq!(stage.bytes(2, &frames::frame(SECOND)), [received(-2, SECOND)]);
    assert_eq!(stage.send(-1, THIRD), [write(1, THIRD)]);
}

/// Bounded memory: connections that say nothing, strangers, and bytes that never become a message.
#[test]
fn strangers_are_bounded() {
    let mut stage = Stage::new();
    for link in 0..HELLOS_MAX as u64 {
        assert_eq!(stage.accept(link, &[0xFF; 7]), []);
        stage.now_ms += 1;
    }
    assert_eq!(stage.step(LinkInput::Accepted { link: LinkId(1_000) }), [close(0)], "the oldest makes room");
    let (_, actions) = stage.tick();
    assert_eq!(actions, [close(1)], "and silence is not waited for");
    let mut stage = Stage::new();
    for stranger in 0..STRANGERS_MAX as u64 {
        assert_eq!(stage.accept(stranger, &hello(100 + stranger as i64, "x:1")), []);
    }
    assert_eq!(stage.accept(500, &hello(500, "x:1")), [close(500)]);
    assert_eq!(stage.accept(501, &hello(7, "h7:37")), [], "members are always welcome");
    stage.closed(0);
    assert_eq!(stage.accept(502, &hello(500, "x:1")), []);
    let mut stage = Stage::new();
    stage.step(LinkInput::Accepted { link: LinkId(1) });
    let endless = [&(-65536_i64).to_be_bytes()[..], &7_i64.to_be_bytes(), &2048_i32.to_be_bytes()].concat();
    stage.bytes(1, &endless);
    let closed = (0..INITIAL_BYTES_MAX).any(|_| stage.bytes(1, b"x") == [close(1)]);
    assert!(closed && stage.links.links.is_empty(), "a message of the largest length without a port");
}

#[test]
fn a_restart_closes_everything() {
    let mut stage = Stage::new();
    stage.accept(1, &hello(7, "h7:37"));
    stage.step(LinkInput::Accepted { link: LinkId(2) });
    stage.send(3, FIRST);
    stage.links.restart(vec![at("moved", 1)], views(), &mut stage.out);
    assert_eq!(std::mem::take(&mut stage.out), [close(1), close(2)]);
    assert_eq!(stage.connected(3, 3), [close(3)], "a dial of before");
    stage.send(3, SECOND);
    assert_eq!(stage.connected(4, 3), [LinkAction::Write { link: LinkId(4), bytes: hello(5, "moved:1") }]);
}
