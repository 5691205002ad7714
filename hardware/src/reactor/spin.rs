//! Whether to poll briefly before sleeping: only while polling pays.
//!
//! Falling asleep and being woken costs more than a short round trip, so a core that expects an answer soon does better
//! to poll for it. Where the peer shares the processor, or answers slowly, polling only burns time that others need.
//! Success and failure of past attempts decide; after a run of failures attempts become rare.

use std::time::Duration;

const SCORE_MAX: u32 = 16;
const SCORE_START: u32 = 4;
const COLD_SLEEPS_MAX: u32 = 1024;

/// Decides before each sleep whether to poll first. Public for models of a core.
#[derive(Debug)]
pub struct SpinPolicy {
    limit: Duration,
    /// Attempts that may still fail before polling stops.
    score: u32,
    /// Sleeps to let pass before the next attempt.
    skip: u32,
    /// Sleeps that were let pass before the last attempt.
    cold_sleeps: u32,
}

impl SpinPolicy {
    /// Polls for at most `limit` before a sleep; never, if that is zero.
    pub fn new(limit: Duration) -> SpinPolicy {
        SpinPolicy { limit, score: SCORE_START, skip: 0, cold_sleeps: 1 }
    }

    /// Whether [`next_attempt`](Self::next_attempt) would say yes.
    pub(super) fn is_due(&self) -> bool {
        self.skip == 0 && !self.limit.is_zero()
    }

    /// How long to poll before this sleep; `None` not at all.
    pub fn next_attempt(&mut self) -> Option<Duration> {
        if self.limit.is_zero() {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(self.limit)
    }

    /// The outcome of an attempt.
    pub fn record(&mut self, found_work: bool) {
        if found_work {
            self.score = (self.score + 2).min(SCORE_MAX);
            self.cold_sleeps = 1;
        } else if self.score > 1 {
            self.score -= 1;
        } else {
            self.score = 1;
            self.cold_sleeps = (self.cold_sleeps * 2).min(COLD_SLEEPS_MAX);
            self.skip = self.cold_sleeps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(policy: &mut SpinPolicy, sleeps: u32, mut outcome: impl FnMut(u32) -> bool) -> u32 {
        let mut made = 0;
        for _ in 0..sleeps {
            if policy.next_attempt().is_some() {
                policy.record(outcome(made));
                made += 1;
            }
        }
        made
    }

    #[test]
    fn zero_means_never() {
        assert_eq!(attempts(&mut SpinPolicy::new(Duration::ZERO), 100, |_| true), 0);
    }

    #[test]
    fn success_keeps_it_polling_and_alternation_too() {
        assert_eq!(attempts(&mut SpinPolicy::new(Duration::from_micros(20)), 1000, |_| true), 1000);
        assert_eq!(attempts(&mut SpinPolicy::new(Duration::from_micros(20)), 1000, |made| made % 2 == 0), 1000);
    }

    #[test]
    fn steady_failure_makes_attempts_rare_and_one_success_brings_them_back() {
        let mut policy = SpinPolicy::new(Duration::from_micros(20));
        attempts(&mut policy, 10_000, |_| false);
        assert!(attempts(&mut policy, 10_240, |_| false) <= 11);
        while policy.next_attempt().is_none() {}
        policy.record(true);
        assert!(policy.next_attempt().is_some());
        policy.record(false);
        assert!(policy.next_attempt().is_some());
    }
}
