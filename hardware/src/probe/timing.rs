//! Times of one operation, summed up.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;

/// Percentiles of something timed, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// Times measured.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
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

impl Timing {
    /// Sums a histogram of nanoseconds up.
    pub fn of(histogram: &Histogram<u64>) -> Timing {
        let at = |quantile: f64| micros(histogram.value_at_quantile(quantile) as f64);
        Timing {
            count: histogram.len(),
            mean_us: micros(histogram.mean()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(histogram.max() as f64),
        }
    }

    /// How often in a second, one after the other.
    pub fn per_second(&self) -> f64 {
        if self.mean_us > 0.0 { tenths(1e6 / self.mean_us) } else { 0.0 }
    }
}

/// Microseconds of so many nanoseconds, to the nanosecond: more digits would only pretend.
fn micros(nanos: f64) -> f64 {
    nanos.round() / 1e3
}

/// A rate, to a tenth.
pub(super) fn tenths(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

/// Gathers times until its time is up.
pub(super) struct Stopwatch {
    histogram: Histogram<u64>,
    begun: Instant,
    time: Duration,
}

impl Stopwatch {
    pub(super) fn start(time: Duration) -> io::Result<Stopwatch> {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).map_err(io::Error::other)?;
        Ok(Stopwatch { histogram, begun: Instant::now(), time })
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.time
    }

    pub(super) fn record(&mut self, time: Duration) {
        self.histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(LONGEST_NS));
    }

    pub(super) fn timing(&self) -> Timing {
        Timing::of(&self.histogram)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn percentiles_of_known_times() {
        let mut watch = Stopwatch::start(Duration::ZERO).unwrap();
        assert!(watch.is_over());
        for micros in 1..=1000 {
            watch.record(Duration::from_micros(micros));
        }
        let timing = watch.timing();
        let near = |found: f64, expected: f64| (found - expected).abs() <= expected / 500.0;
        assert_eq!(timing.count, 1000);
        for (found, expected) in [
            (timing.p50_us, 500.0),
            (timing.p90_us, 900.0),
            (timing.p99_us, 990.0),
            (timing.p999_us, 999.0),
            (timing.max_us, 1000.0),
            (timing.mean_us, 500.5),
            (timing.per_second(), 1998.0),
        ] {
            assert!(near(found, expected), "{found} is not {expected}");
        }
        watch.record(Duration::from_secs(100_000));
        assert_eq!(watch.timing().count, 1001);
        assert_eq!(Timing::default().per_second(), 0.0);
    }
}
