//! The request throttle: who waits, who is refused, who is dropped, and that what was counted is given back.

use super::*;
use crate::connection::RequestThrottle;

fn throttled(throttle: RequestThrottle) -> ConnectionLimits {
    ConnectionLimits { throttle: Some(throttle), ..ConnectionLimits::default() }
}

fn ping() -> Vec<u8> {
    request(-2, 11, |_| {})
}

/// A connection with a write under way, which is all that the server may have in process.
fn busy(host: &mut Host) -> Connection {
    host.in_process_max = 1;
    let mut busy = established_with(host, throttled(RequestThrottle::default()));
    busy.receive(host, &set(1));
    assert_eq!((host.writes.len(), host.in_process), (1, 1));
    busy
}

fn finish(host: &mut Host, busy: &mut Connection, zxid: u64) {
    answer(host, busy, zxid);
    step(host, busy, zxid, &[]);
    assert_eq!(host.in_process, 0, "what is answered counts no longer");
}

#[test]
fn requests_beyond_the_most_wait_whoever_sends_them() {
    let mut host = Host::at(4);
    let mut first = busy(&mut host);
    let mut other = established_with(&mut host, throttled(RequestThrottle::default()));
    other.receive(&mut host, &[get(1), ping(), set(2), get(3)].concat());
    let before = host.touches;
    host.now_ms += 1;
    other.resume(&mut host);
    assert_eq!(host.touches, before + 1, "it is alive while it waits");
    assert_eq!((host.reads.len(), host.writes.len()), (0, 1));
    assert!(other.is_stalled());
    finish(&mut host, &mut first, 5);
    other.resume(&mut host);
    assert_eq!((host.reads.len(), host.writes.len(), host.in_process), (1, 1, 1), "the write is in process now");
    answer(&mut host, &mut other, 6);
    step(&mut host, &mut other, 6, &[]);
    let xids: Vec<i32> = frames(&drain(&mut host, &mut other)).iter().map(|sent| sent.xid).collect();
    assert_eq!(xids, [1, -2, 2, 3]);
    assert_eq!(host.in_process, 0);
}

#[test]
fn a_request_that_has_waited_too_long_is_refused_in_its_place() {
    let mut host = Host::at(4);
    let mut first = busy(&mut host);
    let rules = RequestThrottle { wait_max_ms: Some(10), ..RequestThrottle::default() };
    let mut other = established_with(&mut host, throttled(rules));
    other.receive(&mut host, &[set(1), ping(), get(2), get(3)[..9].to_vec()].concat());
    host.now_ms += 11;
    other.receive(&mut host, &[get(3)[9..].to_vec(), get(4)].concat());
    finish(&mut host, &mut first, 5);
    other.resume(&mut host);
    let told: Vec<(i32, i32)> = frames(&drain(&mut host, &mut other)).iter().map(|sent| (sent.xid, sent.err)).collect();
    let late = ErrorCode::ThrottledOp.code();
    assert_eq!(told, [(1, late), (-2, 0), (2, late), (3, 0), (4, 0)], "a frame has come when its last byte has");
    assert!(host.writes.is_empty(), "nothing of it was executed");
    assert_eq!(host.in_process, 0);
    assert_eq!(host.metrics.counter(Counter::ThrottledOps), 2);
}

#[test]
fn waiting_for_writes_of_the_own_session_does_not_count() {
    let mut host = Host::at(4);
    let rules = RequestThrottle { wait_max_ms: Some(10), notices_stale: true, drops_stale: true };
    let mut c = established_with(&mut host, throttled(rules));
    c.receive(&mut host, &[set(1), get(2), get(3)].concat());
    host.now_ms += 40_000;
    answer(&mut host, &mut c, 5);
    step(&mut host, &mut c, 5, &[]);
    let told: Vec<(i32, i32)> = frames(&drain(&mut host, &mut c)).iter().map(|sent| (sent.xid, sent.err)).collect();
    assert_eq!(told, [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a_request_that_outlives_its_session_ends_the_connection() {
    let mut host = Host::at(4);
    let mut first = busy(&mut host);
    for (drops_stale, expected) in [(false, Fate::Open), (true, Fate::CloseNow)] {
        let rules = RequestThrottle { notices_stale: true, drops_stale, ..RequestThrottle::default() };
        let mut other = established_with(&mut host, throttled(rules));
        other.receive(&mut host, &[get(1), get(2)].concat());
        host.now_ms += 30_001;
        other.resume(&mut host);
        assert_eq!(other.fate(), expected);
    }
    // closeSession is never stale.
    let rules = RequestThrottle { notices_stale: true, drops_stale: true, ..RequestThrottle::default() };
    let mut closing = established_with(&mut host, throttled(rules));
    closing.receive(&mut host, &request(1, -11, |_| {}));
    host.now_ms += 30_001;
    finish(&mut host, &mut first, 5);
    closing.resume(&mut host);
    assert_eq!(host.writes.len(), 1);
}

#[test]
fn what_a_lost_connection_had_in_process_is_given_back_once() {
    let mut host = Host::at(4);
    let mut first = busy(&mut host);
    first.end();
    assert_eq!((first.take_requests_counted(), first.take_requests_counted()), (1, 0));
    answer(&mut host, &mut first, 5);
    step(&mut host, &mut first, 5, &[]);
    assert_eq!(host.in_process, 1, "the host gives back what it took");
}

proptest::proptest! {
    /// Whatever comes in whatever pieces: no more in process than there may be, and nothing is lost.
    #[test]
    fn the_count_is_exact(
        ops in proptest::collection::vec(0_u8..4, 1..40),
        cut in 1_usize..60,
        most in 1_usize..4,
    ) {
        let mut host = Host { in_process_max: most, ..Host::at(4) };
        let mut c = established_with(&mut host, throttled(RequestThrottle::default()));
        let mut expected = Vec::new();
        let mut bytes = Vec::new();
        for (xid, op) in (1..).zip(&ops) {
            expected.push(if *op == 3 { -2 } else { xid });
            bytes.extend(match op { 0 => get(xid), 1 | 2 => set(xid), _ => ping() });
        }
        let (mut seen, mut zxid) = (Vec::new(), 4);
        for chunk in bytes.chunks(cut) {
            c.receive(&mut host, chunk);
            proptest::prop_assert!(host.in_process <= most && host.writes.len() <= most);
            if host.writes.len() == most {
                zxid += 1;
                answer(&mut host, &mut c, zxid);
                step(&mut host, &mut c, zxid, &[]);
            }
        }
        while !host.writes.is_empty() {
            zxid += 1;
            answer(&mut host, &mut c, zxid);
            step(&mut host, &mut c, zxid, &[]);
        }
        seen.extend(frames(&drain(&mut host, &mut c)).iter().map(|sent| sent.xid));
        proptest::prop_assert_eq!(seen, expected);
        proptest::prop_assert_eq!(host.in_process, 0);
    }
}
