//! What came of a run.

use super::pacer::Window;
use super::recorder::{Interval, Record};
use crate::process::Resident;
use crate::workload::{Op, Workload};
use hdrhistogram::Histogram;
use std::time::Duration;

/// A share of a processor beyond which a thread counts as busy all the time.
const SATURATED: f64 = 0.9;

/// Sending later than meant by so much is worth a word.
const LAG_US: f64 = 1_000.0;

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Seconds measured: as many as wanted, or fewer if it ended early.
    pub seconds: f64,
    /// Requests per second that an open loop was to send.
    pub asked_rate: Option<f64>,
    /// Requests answered per second, within the measured time.
    pub rate: f64,
    /// Requests answered within the measured time.
    pub answered: u64,
    /// Requests answered with an error, or lost with their connection.
    pub errors: u64,
    /// Latencies in nanoseconds of all operations.
    pub latency_ns: Histogram<u64>,
    /// By operation, and everything else that threads counted.
    pub record: Record,
    /// How it went over time.
    pub intervals: Vec<Interval>,
    /// Length of each of them.
    pub interval: Duration,
    /// What this process used.
    pub generator: Used,
    /// What the server used, if its process is known.
    pub server: Option<Used>,
    /// Why the run ended before its time.
    pub ended_early: Option<String>,
}

/// Processor time and memory of one side.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Processor time per answered request, microseconds, over all threads of the process.
    pub cpu_us_per_op: f64,
    /// Processors in use, on average.
    pub processors: f64,
    /// The share of its time that the busiest thread was on a processor.
    pub busiest_thread: f64,
    /// Memory at the begin and at the end of measuring.
    pub memory: (Resident, Resident),
}

impl Outcome {
    /// A quantile of all latencies, microseconds.
    pub fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The longest latency, microseconds.
    pub fn max_us(&self) -> f64 {
        self.latency_ns.max() as f64 / 1e3
    }

    /// Operations that occurred, with their counts of answers and errors and their latencies.
    pub fn by_op(&self) -> impl Iterator<Item = (Op, u64, u64, &Histogram<u64>)> {
        Op::ALL.into_iter().filter_map(|op| {
            let latency_ns = self.record.latency_ns[op as usize].as_deref()?;
            Some((op, self.record.answered[op as usize], self.record.failed[op as usize], latency_ns))
        })
    }

    /// Whether an open loop's requests were answered more slowly than they were meant to be sent: by more than one in a
    /// hundred, besides those that are on their way at the end in any case.
    pub fn fell_short(&self) -> bool {
        let on_the_way = (self.quantile_us(0.99) / 1e6).min(0.1 * self.seconds);
        self.asked_rate.is_some_and(|asked| self.rate * self.seconds < asked * (0.99 * self.seconds - on_the_way))
    }

    /// Whether the generator, not the server, set the limit.
    pub fn generator_saturated(&self) -> bool {
        let busier = self.server.is_none_or(|server| server.busiest_thread < self.generator.busiest_thread);
        self.generator.busiest_thread > SATURATED && busier
    }

    /// What a reader of the figures should know.
    pub fn warnings(&self, workload: &Workload) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(why) = &self.ended_early {
            warnings.push(format!("the run ended after {:.1} s of {}: {why}", self.seconds, workload.measure));
        }
        if self.generator_saturated() {
            warnings.push(format!(
                "the generator was saturated (its busiest thread was on a processor {:.0} % of the time): the figures \
                 tell of the generator, not of the server; use more --threads, or another machine",
                100.0 * self.generator.busiest_thread
            ));
        }
        if let Some(asked) = self.asked_rate
            && self.fell_short()
            && self.ended_early.is_none()
        {
            warnings.push(format!(
                "{:.0}/s of the asked {asked:.0}/s were answered: the load is beyond what {} can carry",
                self.rate,
                if self.generator_saturated() { "the generator" } else { "the server" }
            ));
        }
        let lag_us = self.record.lag_ns.value_at_quantile(0.99) as f64 / 1e3;
        if self.asked_rate.is_some() && lag_us > LAG_US && lag_us > 0.2 * self.quantile_us(0.99) {
            warnings.push(format!(
                "the generator itself sent late (p99 {:.1} ms), which is part of the latencies: it had to wait for a \
                 processor; give it one of its own (--pin)",
                lag_us / 1e3
            ));
        }
        if let Some(server) = self.server
            && server.cpu_us_per_op < self.generator.cpu_us_per_op
        {
            warnings.push(format!(
                "the generator took more CPU per operation ({:.2} us) than the server ({:.2} us)",
                self.generator.cpu_us_per_op, server.cpu_us_per_op
            ));
        }
        if self.record.lost_connections > 0 {
            warnings.push(format!("{} connections were lost and opened anew", self.record.lost_connections));
        }
        warnings
    }

    /// The begin of an interval, seconds from the begin of measuring.
    pub fn begin_of(&self, interval: &Interval) -> f64 {
        interval.number as f64 * self.interval.as_secs_f64()
    }
}

/// Seconds of a window that were measured.
pub(super) fn seconds(window: Window, ended_ns: u64) -> f64 {
    ended_ns.saturating_sub(window.begin_ns) as f64 / 1e9
}
