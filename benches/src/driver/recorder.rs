//! What became of requests: latencies by operation, errors, and how it went over time.

use super::pacer::Window;
use crate::workload::Op;
use crate::workload::mix::OPS;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The longest latency that is told apart, nanoseconds.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// A histogram of nanoseconds with three significant digits.
pub fn latencies() -> Histogram<u64> {
    histogram(3)
}

fn histogram(digits: u8) -> Histogram<u64> {
    // The bounds are constants that the library takes; a histogram that grows by itself stands in otherwise.
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, digits).unwrap_or_else(|_| {
        let mut growing = Histogram::<u64>::new(digits).unwrap_or_else(|_| unreachable!("digits are 2 or 3"));
        growing.auto(true);
        growing
    })
}

/// A stretch of the measured time.
#[derive(Clone, Debug)]
pub struct Interval {
    /// Its number, from the begin of measuring.
    pub number: u64,
    /// Requests answered in it.
    pub answered: u64,
    /// Of them with an error.
    pub errors: u64,
    /// Latencies of what was answered in it.
    pub latency_ns: Histogram<u64>,
}

impl Interval {
    fn new(number: u64) -> Interval {
        Interval { number, answered: 0, errors: 0, latency_ns: histogram(2) }
    }

    fn add(&mut self, other: &Interval) {
        self.answered += other.answered;
        self.errors += other.errors;
        // Both have the same bounds.
        let _ = self.latency_ns.add(&other.latency_ns);
    }
}

/// Finished intervals of all threads, for whoever shows progress while a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Intervals(Arc<Mutex<BTreeMap<u64, Interval>>>);

impl Intervals {
    fn add(&self, interval: Interval) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&interval.number) {
            Some(known) => known.add(&interval),
            None => {
                all.insert(interval.number, interval);
            }
        }
    }

    /// All of them so far, in order of time.
    pub fn all(&self) -> Vec<Interval> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The latest so far.
    pub fn latest(&self) -> Option<Interval> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last_key_value().map(|(_, last)| last.clone())
    }
}

/// What one thread measured, or several together.
#[derive(Clone, Debug)]
pub struct Record {
    /// Latency by operation; an operation that did not occur has none.
    pub latency_ns: [Option<Box<Histogram<u64>>>; OPS],
    /// Replies that came within the measured time, by operation.
    pub answered: [u64; OPS],
    /// Of them with an error, by operation.
    pub failed: [u64; OPS],
    /// Errors by code.
    pub errors: BTreeMap<i32, u64>,
    /// Requests of an open loop that were meant for the measured time and had no answer at its end.
    pub unfinished: u64,
    /// Connections that ended by themselves.
    pub lost_connections: u64,
    /// Events of watches.
    pub events: u64,
    /// Sessions closed and opened anew, and how long opening took.
    pub churned_ns: Histogram<u64>,
    /// How much later than meant an open loop sent, where no reply was waited for.
    pub lag_ns: Histogram<u64>,
}

impl Record {
    fn new() -> Record {
        Record {
            latency_ns: Default::default(),
            answered: [0; OPS],
            failed: [0; OPS],
            errors: BTreeMap::new(),
            unfinished: 0,
            lost_connections: 0,
            events: 0,
            churned_ns: histogram(2),
            lag_ns: histogram(2),
        }
    }

    /// Adds what another thread measured.
    pub(super) fn add(&mut self, other: &Record) {
        for at in 0..OPS {
            if let Some(theirs) = &other.latency_ns[at] {
                let ours = self.latency_ns[at].get_or_insert_with(|| Box::new(latencies()));
                // Both have the same bounds.
                let _ = ours.add(&**theirs);
            }
            self.answered[at] += other.answered[at];
            self.failed[at] += other.failed[at];
        }
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        self.unfinished += other.unfinished;
        self.lost_connections += other.lost_connections;
        self.events += other.events;
        let _ = self.churned_ns.add(&other.churned_ns);
        let _ = self.lag_ns.add(&other.lag_ns);
    }

    /// Latencies of all operations.
    pub fn all_latencies(&self) -> Histogram<u64> {
        let mut all = latencies();
        for of_op in self.latency_ns.iter().flatten() {
            let _ = all.add(&**of_op);
        }
        all
    }
}

/// The book of one thread.
pub(super) struct Recorder {
    window: Window,
    open: bool,
    interval: Interval,
    intervals: Intervals,
    pub(super) record: Record,
}

impl Recorder {
    /// Counts what falls into `window`; in an open loop latencies belong to the time at which a request was meant to be
    /// sent, in a closed one to the time of its reply.
    pub(super) fn new(window: Window, open: bool, intervals: Intervals) -> Recorder {
        Recorder { window, open, interval: Interval::new(0), intervals, record: Record::new() }
    }

    /// A reply at `now_ns` to what was meant to be sent at `meant_ns`.
    pub(super) fn answered(&mut self, op: Op, meant_ns: u64, now_ns: u64, error: i32) {
        let in_time = self.window.holds(now_ns);
        let latency_ns = now_ns.saturating_sub(meant_ns).max(1);
        if in_time {
            self.record.answered[op as usize] += 1;
            self.turn_to(now_ns);
            self.interval.answered += 1;
            self.interval.latency_ns.saturating_record(latency_ns);
        }
        let counts = if self.open { self.window.holds(meant_ns) } else { in_time };
        if counts {
            let histogram = &mut self.record.latency_ns[op as usize];
            histogram.get_or_insert_with(|| Box::new(latencies())).saturating_record(latency_ns);
        }
        if error != 0 && (in_time || counts) {
            self.record.failed[op as usize] += 1;
            *self.record.errors.entry(error).or_default() += 1;
            self.interval.errors += u64::from(in_time);
        }
    }

    /// A request that was meant for the measured time and has no answer: its latency is at least what has passed.
    pub(super) fn unfinished(&mut self, op: Op, meant_ns: u64, now_ns: u64) {
        if self.open && self.window.holds(meant_ns) {
            self.record.unfinished += 1;
            let histogram = &mut self.record.latency_ns[op as usize];
            let latency_ns = now_ns.saturating_sub(meant_ns).max(1);
            histogram.get_or_insert_with(|| Box::new(latencies())).saturating_record(latency_ns);
        }
    }

    /// A request that the connection's end took along.
    pub(super) fn lost(&mut self, op: Op, meant_ns: u64, now_ns: u64) {
        self.answered(op, meant_ns, now_ns, crate::wire::reply::LOST);
    }

    /// How late a request of an open loop was sent.
    pub(super) fn sent(&mut self, meant_ns: u64, now_ns: u64) {
        if self.window.holds(meant_ns) {
            self.record.lag_ns.saturating_record(now_ns.saturating_sub(meant_ns).max(1));
        }
    }

    /// A session was opened in place of one that was closed.
    pub(super) fn churned(&mut self, now_ns: u64, took_ns: u64) {
        if self.window.holds(now_ns) {
            self.record.churned_ns.saturating_record(took_ns.max(1));
        }
    }

    /// Measuring ends here, not as late as planned.
    pub(super) fn end_at(&mut self, end_ns: u64) {
        self.window.end_ns = self.window.end_ns.min(end_ns);
    }

    /// Passes on intervals that are over.
    pub(super) fn turn_to(&mut self, now_ns: u64) {
        let number = self.window.interval_of(now_ns);
        if number > self.interval.number {
            let over = std::mem::replace(&mut self.interval, Interval::new(number));
            self.intervals.add(over);
        }
    }

    /// The end of the run.
    pub(super) fn finish(mut self) -> Record {
        if self.interval.answered > 0 {
            let last = std::mem::replace(&mut self.interval, Interval::new(0));
            self.intervals.add(last);
        }
        self.record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn recorder(open: bool) -> Recorder {
        // Warm-up to 1 s, measured to 3 s, intervals of 100 ms.
        let window = Window::new(Duration::from_secs(1), Duration::from_secs(2));
        Recorder::new(window, open, Intervals::default())
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_closed_loop_counts_by_replies() {
        let mut recorder = recorder(false);
        recorder.answered(Op::Get, 0, SECOND - 1, 0);
        recorder.answered(Op::Get, SECOND - 1, SECOND, 0);
        recorder.answered(Op::Set, SECOND, 2 * SECOND, -101);
        recorder.answered(Op::Get, 2 * SECOND, 3 * SECOND, 0);
        let intervals = recorder.intervals.clone();
        let record = recorder.finish();
        assert_eq!((record.answered[Op::Get as usize], record.answered[Op::Set as usize]), (1, 1));
        assert_eq!(record.errors, BTreeMap::from([(-101, 1)]));
        assert_eq!(record.all_latencies().len(), 2);
        let (all, errors): (Vec<u64>, u64) =
            (intervals.all().iter().map(|i| i.number).collect(), intervals.all().iter().map(|i| i.errors).sum());
        assert_eq!((all, errors), (vec![0, 10], 1));
    }

    #[test]
    fn an_open_loop_counts_latency_by_intention() {
        let mut recorder = recorder(true);
        recorder.answered(Op::Get, SECOND - 1, SECOND + 5, 0);
        recorder.answered(Op::Get, 2 * SECOND, 4 * SECOND, 0);
        recorder.unfinished(Op::Get, 2 * SECOND + 1, 5 * SECOND);
        recorder.unfinished(Op::Get, 3 * SECOND, 5 * SECOND);
        let record = recorder.finish();
        assert_eq!(record.answered[Op::Get as usize], 1, "one reply came within the time");
        let latencies = record.all_latencies();
        assert_eq!((latencies.len(), record.unfinished), (2, 1));
        assert!(latencies.max() >= 2_990_000_000 && latencies.min() >= 1_990_000_000);
    }
}
