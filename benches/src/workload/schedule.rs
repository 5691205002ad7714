//! When an open loop means to send: a rate over time, and its inverse.
//!
//! A schedule is a row of segments, in each of which the rate goes in a straight line from one value to another. `N(t)` is
//! the number of requests meant before time `t`; request `i` is meant at the first `t` with `N(t) > i`. The sending thread
//! asks for times by number, so a backlog of any length costs no memory.

use super::time::Span;
use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A stretch of time with its rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// How long.
    #[serde(rename = "for")]
    pub lasts: Span,
    /// Requests per second at its begin.
    pub from: f64,
    /// Requests per second at its end.
    pub to: f64,
}

/// A rate over time, for a whole run (warm-up included). After the last segment it begins anew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    segments: Vec<Segment>,
    /// Requests meant before each segment, and at last in one pass.
    #[serde(skip)]
    before: Vec<f64>,
    /// Seconds before each segment, and at last of one pass.
    #[serde(skip)]
    begins: Vec<f64>,
}

impl Schedule {
    /// So many requests per second, always.
    ///
    /// # Errors
    /// The rate is not above 0.
    pub fn fixed(rate: f64) -> anyhow::Result<Schedule> {
        Schedule::new(vec![Segment { lasts: Span::seconds(1), from: rate, to: rate }])
    }

    /// These segments, one after the other, and again.
    ///
    /// # Errors
    /// A segment has no length, a rate is negative or beyond 100 million per second, or nothing would ever be sent.
    pub fn new(segments: Vec<Segment>) -> anyhow::Result<Schedule> {
        ensure!(!segments.is_empty(), "a schedule needs at least one segment");
        let (mut before, mut begins) = (vec![0.0], vec![0.0]);
        for Segment { lasts, from, to } in &segments {
            ensure!(!lasts.0.is_zero(), "a segment of a schedule needs a length (for) above 0");
            for rate in [from, to] {
                ensure!((0.0..=1e8).contains(rate), "a rate of {rate}/s is not between 0 and 100,000,000");
            }
            before.push(before[before.len() - 1] + (from + to) / 2.0 * lasts.0.as_secs_f64());
            begins.push(begins[begins.len() - 1] + lasts.0.as_secs_f64());
        }
        ensure!(before[segments.len()] > 0.0, "a rate of 0/s sends nothing");
        Ok(Schedule { segments, before, begins })
    }

    /// Requests meant in the first `time`.
    pub fn count_until(&self, time: Duration) -> f64 {
        let time = time.as_secs_f64();
        let passes = (time / self.seconds()).floor();
        let rest = time - passes * self.seconds();
        let at = self.begins.partition_point(|begin| *begin <= rest).clamp(1, self.segments.len()) - 1;
        let Segment { lasts, from, to } = self.segments[at];
        let (inside, lasts) = (rest - self.begins[at], lasts.0.as_secs_f64());
        let inside = inside.min(lasts);
        passes * self.per_pass() + self.before[at] + from * inside + (to - from) * inside * inside / (2.0 * lasts)
    }

    /// Nanoseconds from the begin to the request with this number (the first has 0; with arrivals at random the number is
    /// any position on the way).
    pub fn due_ns(&self, number: f64) -> u64 {
        let passes = (number / self.per_pass()).floor();
        let rest = number - passes * self.per_pass();
        // A segment without requests begins where it ends, and is passed over.
        let at = self.before.partition_point(|before| *before <= rest).clamp(1, self.segments.len()) - 1;
        let Segment { lasts, from, to } = self.segments[at];
        let (wanted, lasts) = (rest - self.before[at], lasts.0.as_secs_f64());
        let slope = (to - from) / lasts;
        // wanted = from t + slope/2 t^2, solved in the form that does not cancel.
        let root = (from * from + 2.0 * slope * wanted).max(0.0).sqrt();
        let inside = if from + root > 0.0 { 2.0 * wanted / (from + root) } else { 0.0 };
        ((passes * self.seconds() + self.begins[at] + inside.min(lasts)) * 1e9).round() as u64
    }

    fn per_pass(&self) -> f64 {
        self.before[self.segments.len()]
    }

    fn seconds(&self) -> f64 {
        self.begins[self.segments.len()]
    }
}

/// How a file writes segments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SegmentText {
    #[serde(rename = "for")]
    lasts: Span,
    rate: Option<f64>,
    from: Option<f64>,
    to: Option<f64>,
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Schedule, D::Error> {
        let wrong = |error: anyhow::Error| serde::de::Error::custom(format!("{error:#}"));
        let segment = |text: SegmentText| match text {
            SegmentText { lasts, rate: Some(rate), from: None, to: None } => {
                Ok(Segment { lasts, from: rate, to: rate })
            }
            SegmentText { lasts, rate: None, from: Some(from), to: Some(to) } => Ok(Segment { lasts, from, to }),
            _ => Err(anyhow::anyhow!("a segment takes for and rate, or for, from and to")),
        };
        let texts = Vec::<SegmentText>::deserialize(deserializer)?;
        let segments = texts.into_iter().map(segment).collect::<anyhow::Result<_>>().map_err(wrong)?;
        Schedule::new(segments).map_err(wrong)
    }
}

/// `steps:1000,2000@10s`, `ramp:0..5000@60s`, `burst:1000,8000@9s,1s`: steps of equal length, a straight line, a base rate
/// that is left for bursts.
impl std::str::FromStr for Schedule {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Schedule> {
        let form = || {
            anyhow::anyhow!(
                "{text:?} is not a schedule such as steps:1000,2000@10s (10 s each), ramp:0..5000@60s or \
                 burst:1000,8000@9s,1s (9 s of the first rate, 1 s of the second)"
            )
        };
        let (kind, rest) = text.split_once(':').ok_or_else(form)?;
        let (rates, times) = rest.split_once('@').ok_or_else(form)?;
        let rate = |text: &str| text.trim().parse::<f64>().map_err(|_| form());
        let flat = |rate, lasts| Segment { lasts, from: rate, to: rate };
        let segments = match kind {
            "steps" => {
                let lasts: Span = times.parse()?;
                rates.split(',').map(|text| Ok(flat(rate(text)?, lasts))).collect::<anyhow::Result<Vec<_>>>()?
            }
            "ramp" => {
                let (from, to) = rates.split_once("..").ok_or_else(form)?;
                vec![Segment { lasts: times.parse()?, from: rate(from)?, to: rate(to)? }]
            }
            "burst" => {
                let (base, burst) = rates.split_once(',').ok_or_else(form)?;
                let (between, lasts) = times.split_once(',').ok_or_else(form)?;
                vec![flat(rate(base)?, between.parse()?), flat(rate(burst)?, lasts.parse()?)]
            }
            _ => return Err(form()),
        };
        Schedule::new(segments)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fixed_rate_is_evenly_spaced() {
        let schedule = Schedule::fixed(1000.0).unwrap();
        for number in [0, 1, 999, 1000, 1001, 123_456] {
            assert!(schedule.due_ns(f64::from(number)).abs_diff(u64::from(number as u32) * 1_000_000) <= 1, "{number}");
        }
        assert!((schedule.count_until(Duration::from_millis(2500)) - 2500.0).abs() < 1e-6);
    }

    #[test]
    fn steps_ramps_and_bursts_mean_what_they_say() {
        let steps: Schedule = "steps:100,200@10s".parse().unwrap();
        assert_eq!(steps.due_ns(1000.0), 10_000_000_000);
        assert_eq!(steps.due_ns(1200.0), 11_000_000_000);
        assert_eq!(steps.due_ns(3000.0), 20_000_000_000);
        let ramp: Schedule = "ramp:0..1000@10s".parse().unwrap();
        assert!((ramp.count_until(Duration::from_secs(5)) - 1250.0).abs() < 1e-6);
        assert!(ramp.due_ns(1250.0).abs_diff(5_000_000_000) < 10);
        let burst: Schedule = "burst:0,500@9s,1s".parse().unwrap();
        assert_eq!(burst.due_ns(0.0), 9_000_000_000);
        assert_eq!(burst.due_ns(500.0), 19_000_000_000);
        assert!((burst.count_until(Duration::from_secs(20)) - 1000.0).abs() < 1e-6);
    }

    #[test]
    fn impossible_schedules_are_refused() {
        for text in ["", "steps", "steps:x@1s", "ramp:5@1s", "burst:1@1s", "steps:0@1s", "steps:-1@1s", "steps:5@0s"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        assert!(Schedule::fixed(f64::NAN).is_err());
    }

    proptest! {
        #[test]
        fn times_rise_and_counting_undoes_them(
            rates in proptest::collection::vec((0_u32..2000, 0_u32..2000, 1_u32..5), 1..6),
        ) {
            let segment = |(from, to, seconds): (u32, u32, u32)| {
                Segment { lasts: Span::seconds(u64::from(seconds)), from: from.into(), to: to.into() }
            };
            let Ok(schedule) = Schedule::new(rates.into_iter().map(segment).collect()) else { return Ok(()) };
            let mut last = 0;
            for number in 0..3000 {
                let due = schedule.due_ns(f64::from(number));
                prop_assert!(due >= last);
                last = due;
                let counted = schedule.count_until(Duration::from_nanos(due));
                prop_assert!((counted - f64::from(number)).abs() < 0.01, "{number}: counted {counted}");
            }
        }
    }
}
