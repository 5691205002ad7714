//! What the JSON of a run says. Times are microseconds unless a name says otherwise; rates are per second.

use crate::driver::{Outcome, Used};
use crate::process::Resident;
use crate::wire::reply::error_name;
use crate::workload::{Op, Workload};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Latencies in microseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Requests counted.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Half of them took at most this.
    pub p50_us: f64,
    /// 90 of 100.
    pub p90_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Latency {
    /// Sums a histogram of nanoseconds up.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Latency {
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// What one run measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFigures {
    /// Seconds measured.
    pub seconds: f64,
    /// Requests per second that an open loop was to send; absent for a closed one.
    pub asked_rate: Option<f64>,
    /// Requests answered per second.
    pub rate: f64,
    /// Requests answered within the measured time.
    pub answered: u64,
    /// Of them with an error, or lost with their connection.
    pub errors: u64,
    /// Errors by their name in `KeeperException.Code`.
    pub errors_by_name: BTreeMap<String, u64>,
    /// Requests of an open loop without an answer at its end; their wait so far is among the latencies.
    pub unfinished: u64,
    /// Connections that ended by themselves.
    pub lost_connections: u64,
    /// Events of watches.
    pub watch_events: u64,
    /// Opening a session in place of one that was closed or lost; absent where none was.
    pub reopening: Option<Latency>,
    /// All operations.
    pub latency: Latency,
    /// Pairs of a quantile and its latency in microseconds, from 0 to the slowest.
    pub percentiles: Vec<(f64, f64)>,
    /// By operation.
    pub operations: Vec<OpFigures>,
    /// How it went.
    pub over_time: Vec<Moment>,
    /// This program.
    pub generator: Side,
    /// The server, if its process is known.
    pub server: Option<Side>,
    /// 99 of 100 requests of an open loop were sent at most so much later than meant; absent for a closed one.
    pub send_lag_p99_us: Option<f64>,
    /// Whether the generator set the limit, so that the figures do not tell of the server.
    pub generator_saturated: bool,
    /// Why the run ended before its time; absent if it did not.
    pub ended_early: Option<String>,
    /// What a reader should know.
    pub warnings: Vec<String>,
}

/// One operation of a mix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpFigures {
    /// Which.
    pub op: Op,
    /// Answered within the measured time.
    pub answered: u64,
    /// Of them with an error.
    pub errors: u64,
    /// Its latencies.
    pub latency: Latency,
}

/// A stretch of the measured time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Its begin, seconds from the begin of measuring.
    pub at_s: f64,
    /// Requests answered per second.
    pub rate: f64,
    /// Errors in it.
    pub errors: u64,
    /// Latencies of what was answered in it.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// The slowest.
    pub max_us: f64,
}

/// What one process used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Processor time per answered request.
    pub cpu_us_per_op: f64,
    /// Processors in use, on average.
    pub processors: f64,
    /// The share of its time that the busiest thread was on a processor, 0 to 1.
    pub busiest_thread: f64,
    /// Resident memory when measuring began.
    pub memory_before: Resident,
    /// And when it ended.
    pub memory_after: Resident,
}

impl From<Used> for Side {
    fn from(used: Used) -> Side {
        Side {
            cpu_us_per_op: used.cpu_us_per_op,
            processors: used.processors,
            busiest_thread: used.busiest_thread,
            memory_before: used.memory.0,
            memory_after: used.memory.1,
        }
    }
}

impl RunFigures {
    /// The figures of an outcome.
    pub fn of(outcome: &Outcome, workload: &Workload) -> RunFigures {
        let record = &outcome.record;
        let operation = |(op, answered, errors, latency_ns)| {
            let latency: &Histogram<u64> = latency_ns;
            OpFigures { op, answered, errors, latency: Latency::of(latency) }
        };
        let moment = |interval: &crate::driver::Interval| {
            let at = |quantile: f64| interval.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
            let begin = outcome.begin_of(interval);
            let length = outcome.interval.as_secs_f64().min(outcome.seconds - begin).max(1e-3);
            Moment {
                at_s: begin,
                rate: interval.answered as f64 / length,
                errors: interval.errors,
                p50_us: at(0.5),
                p99_us: at(0.99),
                max_us: interval.latency_ns.max() as f64 / 1e3,
            }
        };
        RunFigures {
            seconds: outcome.seconds,
            asked_rate: outcome.asked_rate,
            rate: outcome.rate,
            answered: outcome.answered,
            errors: outcome.errors,
            errors_by_name: record.errors.iter().map(|(code, count)| (error_name(*code), *count)).collect(),
            unfinished: record.unfinished,
            lost_connections: record.lost_connections,
            watch_events: record.events,
            reopening: (!record.churned_ns.is_empty()).then(|| Latency::of(&record.churned_ns)),
            latency: Latency::of(&outcome.latency_ns),
            percentiles: percentiles(&outcome.latency_ns),
            operations: outcome.by_op().map(operation).collect(),
            over_time: outcome.intervals.iter().map(moment).collect(),
            generator: outcome.generator.into(),
            server: outcome.server.map(Side::from),
            send_lag_p99_us: outcome.asked_rate.map(|_| record.lag_ns.value_at_quantile(0.99) as f64 / 1e3),
            generator_saturated: outcome.generator_saturated(),
            ended_early: outcome.ended_early.clone(),
            warnings: outcome.warnings(workload),
        }
    }
}

/// Quantiles ever closer to 1, until no more than one request lies beyond.
pub(crate) fn percentiles(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    if histogram.is_empty() {
        return points;
    }
    let (mut beyond, last) = (1.0_f64, 0.5 / histogram.len() as f64);
    while beyond > last {
        let quantile = 1.0 - beyond;
        points.push((quantile, histogram.value_at_quantile(quantile) as f64 / 1e3));
        // Eight points for each halving of what lies beyond.
        beyond *= 0.5_f64.powf(0.125);
    }
    points.push((1.0, histogram.max() as f64 / 1e3));
    points
}

/// How far repeats are apart: largest less smallest, over the median. `None` of fewer than two.
pub(crate) fn spread(repeats: &[f64]) -> Option<f64> {
    let mut sorted = repeats.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.as_slice() {
        [low, .., high] => Some((high - low) / sorted[sorted.len() / 2]),
        _ => None,
    }
}

/// A run that was not measured, for tests of what reports make of runs.
#[cfg(test)]
pub(crate) fn made_up(rate: f64, p99_us: f64) -> RunFigures {
    let us = [p99_us / 4.0, p99_us / 2.0, p99_us, 2.0 * p99_us];
    let latency = Latency {
        count: rate as u64,
        mean_us: us[0],
        p50_us: us[0],
        p90_us: us[1],
        p99_us,
        p999_us: us[3],
        max_us: us[3],
    };
    let resident = Resident::default();
    let generator = Side {
        cpu_us_per_op: 2.0,
        processors: 0.1,
        busiest_thread: 0.1,
        memory_before: resident,
        memory_after: resident,
    };
    RunFigures {
        seconds: 1.0,
        asked_rate: None,
        rate,
        answered: rate as u64,
        errors: 0,
        errors_by_name: BTreeMap::new(),
        unfinished: 0,
        lost_connections: 0,
        watch_events: 0,
        reopening: None,
        latency,
        percentiles: Vec::new(),
        operations: Vec::new(),
        over_time: Vec::new(),
        server: Some(generator.clone()),
        generator,
        send_lag_p99_us: None,
        generator_saturated: false,
        ended_early: None,
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::driver::latencies;

    #[test]
    fn repeats_are_apart_by_a_share_of_their_median() {
        assert_eq!((spread(&[]), spread(&[3.0])), (None, None));
        assert_eq!((spread(&[5.0, 3.0, 4.0]), spread(&[2.0, 2.0])), (Some(0.5), Some(0.0)));
    }

    #[test]
    fn percentiles_rise_to_the_slowest() {
        let mut histogram = latencies();
        assert!(percentiles(&histogram).is_empty());
        for us in 1..=10_000_u64 {
            histogram.record(us * 1000).unwrap();
        }
        let points = percentiles(&histogram);
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1));
        assert_eq!(points.last().unwrap().0, 1.0);
        let latency = Latency::of(&histogram);
        assert!((latency.p50_us - 5_000.0).abs() < 10.0 && (latency.max_us - 10_000.0).abs() < 10.0);
    }
}
