//! The request throttle (`RequestThrottler`): a server may hold how many requests are in process at a time. Those beyond
//! wait where they are, undecoded; one that has waited too long is refused in its place, and one that has outlived its
//! session ends the connection.

use super::{Cx, Machine};
use crate::metrics::{AdvancedSummary, Counter};
use crate::proto::OpCode;
use std::collections::VecDeque;

/// Moments of arrival that a connection remembers; bytes that come after so many of them count as come together.
const ARRIVALS_MAX: usize = 64;

/// How requests that wait are dealt with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RequestThrottle {
    /// Milliseconds of waiting above which a request is answered THROTTLEDOP (`zookeeper.throttled_op_wait_time`); `None`
    /// is off.
    pub wait_max_ms: Option<i64>,
    /// A request that has waited for longer than its session's timeout is stale (`request_stale_latency_check`).
    pub notices_stale: bool,
    /// A stale request ends its connection (`request_throttle_drop_stale`).
    pub drops_stale: bool,
}

/// What a connection knows about its requests under a throttle.
#[derive(Debug, Default)]
pub(super) struct Throttled {
    /// Bytes received and bytes decoded since the connection's beginning.
    received: u64,
    decoded: u64,
    /// When bytes that are not decoded came: up to which one, and the time in milliseconds.
    arrivals: VecDeque<(u64, i64)>,
    /// The frame in front waits, and has been counted as waiting.
    waits: bool,
    /// From when to when frames of this connection last waited for the throttle. What frames wait for besides, such as
    /// writes of their own session, does not count.
    blocked_since_ms: i64,
    blocked_until_ms: i64,
    /// The frame in front has been let in.
    passed: Option<Passed>,
    /// Requests of this connection that count as in process.
    counted: usize,
}

/// How a request was let in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Passed {
    /// To be dispatched.
    InTime,
    /// To be refused.
    Late,
}

/// What the throttle makes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Pass(Passed),
    Wait,
    /// It is stale, and nothing behind it may be executed either.
    Drop,
}

impl Throttled {
    /// `bytes` bytes have come.
    pub fn arrive(&mut self, bytes: usize, now_ms: i64) {
        self.received += bytes as u64;
        let is_full = self.arrivals.len() >= ARRIVALS_MAX;
        match self.arrivals.back_mut() {
            Some(last) if last.1 == now_ms || is_full => *last = (self.received, now_ms),
            _ => self.arrivals.push_back((self.received, now_ms)),
        }
    }

    /// The frame in front, of so many bytes with its length, has been decoded.
    pub fn decode(&mut self, bytes: usize) {
        self.decoded += bytes as u64;
        while self.arrivals.pop_front_if(|(end, _)| *end <= self.decoded).is_some() {}
        self.waits = false;
        self.passed = None;
    }

    /// How long the frame in front, of so many bytes, has waited for the throttle: since its last byte came, at most.
    fn waited_ms(&self, bytes: usize, now_ms: i64) -> i64 {
        let end = self.decoded + bytes as u64;
        let arrived_ms = self.arrivals.iter().find(|(until, _)| *until >= end).map_or(now_ms, |(_, ms)| *ms);
        let until_ms = if self.waits { now_ms } else { self.blocked_until_ms };
        until_ms.saturating_sub(arrived_ms.max(self.blocked_since_ms)).max(0)
    }
}

impl Machine {
    /// Judges the frame in front, of so many bytes with its length.
    pub(super) fn throttle(&mut self, cx: &mut impl Cx, op: OpCode, bytes: usize, timeout_ms: i32) -> Verdict {
        let (Some(throttled), Some(rules)) = (&mut self.throttled, self.limits.throttle) else {
            return Verdict::Pass(Passed::InTime);
        };
        if let Some(passed) = throttled.passed {
            return Verdict::Pass(passed);
        }
        let now_ms = cx.now_ms();
        let waited_ms = throttled.waited_ms(bytes, now_ms);
        // The end of a session must outlive it.
        let is_stale = rules.notices_stale && op != OpCode::CloseSession && waited_ms > i64::from(timeout_ms);
        if is_stale && rules.drops_stale {
            cx.metrics().count(Counter::StaleRequestsDropped, 1);
            return Verdict::Drop;
        }
        if !cx.begin_request() {
            if !std::mem::replace(&mut throttled.waits, true) {
                // Right behind one that has waited it has waited as long.
                if throttled.blocked_until_ms != now_ms {
                    throttled.blocked_since_ms = now_ms;
                }
                cx.metrics().count(Counter::RequestThrottleWaits, 1);
            }
            return Verdict::Wait;
        }
        throttled.counted += 1;
        if throttled.waits {
            throttled.blocked_until_ms = now_ms;
        }
        cx.metrics().count(Counter::StaleRequests, u64::from(is_stale));
        cx.metrics().add_advanced(AdvancedSummary::ThrottleQueueTime, waited_ms as u64);
        let may_be_refused = !matches!(op, OpCode::Ping | OpCode::CloseSession);
        let is_late = may_be_refused && rules.wait_max_ms.is_some_and(|most| waited_ms > most);
        cx.metrics().count(Counter::ThrottledOps, u64::from(is_late));
        let passed = if is_late { Passed::Late } else { Passed::InTime };
        throttled.passed = Some(passed);
        Verdict::Pass(passed)
    }

    /// Gives back what is no longer in process.
    pub(super) fn release_requests(&mut self, cx: &mut impl Cx) {
        let Some(throttled) = &mut self.throttled else { return };
        let held = self.queue.len() + usize::from(throttled.passed.is_some());
        if throttled.counted > held {
            cx.end_requests(throttled.counted - held);
            throttled.counted = held;
        }
    }

    /// Requests that count as in process, for the host to give back; they no longer do.
    pub(super) fn take_requests_counted(&mut self) -> usize {
        self.throttled.as_mut().map_or(0, |throttled| std::mem::take(&mut throttled.counted))
    }
}
