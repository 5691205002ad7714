//! When to measure, and when an open loop sends.

use crate::workload::{Dice, Schedule};
use std::time::Duration;

/// The measured time, in nanoseconds from the begin of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// End of the warm-up.
    pub begin_ns: u64,
    /// End of the run.
    pub end_ns: u64,
    interval_ns: u64,
}

impl Window {
    /// Measuring for `measure` after `warm_up`, told in intervals of 100 ms, or longer ones where that would make many.
    pub fn new(warm_up: Duration, measure: Duration) -> Window {
        const INTERVALS: u64 = 60;
        let (begin_ns, length_ns) = (warm_up.as_nanos() as u64, measure.as_nanos() as u64);
        let interval_ns = (length_ns / INTERVALS).clamp(100_000_000, 60_000_000_000);
        Window { begin_ns, end_ns: begin_ns + length_ns, interval_ns }
    }

    /// Whether a time lies in it.
    pub fn holds(&self, at_ns: u64) -> bool {
        (self.begin_ns..self.end_ns).contains(&at_ns)
    }

    /// The number of the interval in which a time lies.
    pub fn interval_of(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.begin_ns) / self.interval_ns
    }

    /// Length of an interval.
    pub fn interval(&self) -> Duration {
        Duration::from_nanos(self.interval_ns)
    }
}

/// The share of one thread in an open loop: which request is due next. The backlog is not kept, only where it begins.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    /// Requests meant within so many nanoseconds are meant at their begin.
    grain_ns: u64,
    step: f64,
    poisson: Option<Dice>,
    /// Position of the next request among those of all threads.
    next: f64,
    next_ns: u64,
}

impl Pacer {
    /// Thread `thread` of `threads`, each of which sends every `threads`-th request. All that fall into the same `grain` are
    /// meant at its begin, so that one sleep serves them.
    pub(super) fn new(
        schedule: Schedule,
        grain: Duration,
        poisson: bool,
        seed: u64,
        thread: u32,
        threads: u32,
    ) -> Pacer {
        let mut dice = Dice::new(seed, 1_000_000 + u64::from(thread));
        let step = f64::from(threads);
        let next = if poisson { step * dice.exponential() } else { f64::from(thread) };
        let grain_ns = (grain.as_nanos() as u64).max(1);
        let mut pacer = Pacer { schedule, grain_ns, step, poisson: poisson.then_some(dice), next, next_ns: 0 };
        pacer.next_ns = pacer.meant_ns();
        pacer
    }

    /// When the next request is meant to be sent.
    pub(super) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Takes the next request, and returns when it was meant to be sent.
    pub(super) fn take(&mut self) -> u64 {
        let due = self.next_ns;
        self.next += self.step * self.poisson.as_mut().map_or(1.0, Dice::exponential);
        self.next_ns = self.meant_ns();
        due
    }

    fn meant_ns(&self) -> u64 {
        let due_ns = self.schedule.due_ns(self.next);
        due_ns - due_ns % self.grain_ns
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn threads_share_a_schedule_without_gap_or_double() {
        let schedule: Schedule = "ramp:100..300@2s".parse().unwrap();
        let mut alone = Pacer::new(schedule.clone(), Duration::ZERO, false, 1, 0, 1);
        let expected: Vec<u64> = (0..300).map(|_| alone.take()).collect();
        let mut shared: Vec<u64> = (0..3)
            .flat_map(|thread| {
                let mut pacer = Pacer::new(schedule.clone(), Duration::ZERO, false, 1, thread, 3);
                (0..100).map(move |_| pacer.take()).collect::<Vec<_>>()
            })
            .collect();
        shared.sort_unstable();
        assert_eq!(shared, expected);
    }

    #[test]
    fn requests_of_one_grain_are_meant_together_and_none_is_lost() {
        let schedule = Schedule::fixed(30_000.0).unwrap();
        let mut each = Pacer::new(schedule.clone(), Duration::ZERO, false, 1, 0, 1);
        let mut grouped = Pacer::new(schedule, Duration::from_micros(100), false, 1, 0, 1);
        let mut groups = std::collections::BTreeMap::new();
        for _ in 0..30_000 {
            let (one, other) = (each.take(), grouped.take());
            assert_eq!(other, one - one % 100_000);
            *groups.entry(other).or_insert(0) += 1;
        }
        assert_eq!(groups.len(), 10_000);
        assert!(groups.values().all(|count| (2..=4).contains(count)));
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_vary_like_a_poisson_process() {
        let mut pacer = Pacer::new(Schedule::fixed(1000.0).unwrap(), Duration::ZERO, true, 4, 0, 1);
        let mut per_second = [0_u32; 200];
        while pacer.next_ns() < 200_000_000_000 {
            per_second[(pacer.take() / 1_000_000_000) as usize] += 1;
        }
        let mean = f64::from(per_second.iter().sum::<u32>()) / 200.0;
        let variance = per_second.iter().map(|count| (f64::from(*count) - mean).powi(2)).sum::<f64>() / 200.0;
        assert!((mean - 1000.0).abs() < 10.0, "{mean}");
        assert!((0.6..1.6).contains(&(variance / mean)), "variance {variance} of mean {mean}");
    }

    #[test]
    fn intervals_are_few_and_not_too_short() {
        let window = Window::new(Duration::from_secs(1), Duration::from_secs(2));
        assert_eq!(window.interval(), Duration::from_millis(100));
        assert_eq!(window.interval_of(window.end_ns - 1), 19);
        assert_eq!(Window::new(Duration::ZERO, Duration::from_secs(600)).interval(), Duration::from_secs(10));
        assert!(!window.holds(999_999_999) && window.holds(1_000_000_000) && !window.holds(3_000_000_000));
    }
}
