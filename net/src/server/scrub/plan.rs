//! Which bytes are read again, and when: a pass over everything that is written no more, at a bounded rate, once in a
//! while. Knows no file and no clock.

use engine::ids::PartitionId;
use engine::partition::SegmentCut;
use replication::wal::SegmentSeq;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes of one read.
pub const STEP_BYTES: u64 = 1 << 20;
/// How long it waits after something that had nothing to do with the files' bytes went wrong.
const AGAIN: Duration = Duration::from_secs(1);

/// A file to be read, from its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// A segment of a partition's log, up to where the last checkpoint relies on it.
    Log(PartitionId, SegmentCut),
    /// A segment of the write-ahead log of so many bytes.
    Wal(SegmentSeq, u64),
}

impl Target {
    /// Where reading ends.
    fn end(&self) -> u64 {
        match self {
            Target::Log(_, cut) => cut.end,
            Target::Wal(_, bytes) => *bytes,
        }
    }
}

/// What is to be done next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Nothing for so long.
    Wait(Duration),
    /// Say what there is to read: [`Plan::listed`].
    List,
    /// Read this range and answer with [`Plan::read`] or [`Plan::skip`].
    Read(Target, u64, u64),
    /// A pass has ended.
    Ended(Pass),
}

/// What a pass has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pass {
    /// Bytes read.
    pub bytes: u64,
    /// From its first step to its last.
    pub took: Duration,
}

/// The plan.
#[derive(Debug)]
pub struct Plan {
    rate: u64,
    interval: Duration,
    next_pass: Instant,
    next_step: Instant,
    /// When the pass under way began.
    began: Option<Instant>,
    todo: VecDeque<Target>,
    /// Where to go on in the first of them.
    offset: u64,
    bytes: u64,
}

impl Plan {
    /// A first pass after `interval`, at `rate` bytes per second (at least 1).
    pub fn new(now: Instant, rate: u64, interval: Duration) -> Plan {
        Plan {
            rate: rate.max(1),
            interval,
            next_pass: later(now, interval),
            next_step: now,
            began: None,
            todo: VecDeque::new(),
            offset: 0,
            bytes: 0,
        }
    }

    /// What is to be done at `now`.
    pub fn step(&mut self, now: Instant) -> Step {
        let due = if self.began.is_some() { self.next_step } else { self.next_pass.max(self.next_step) };
        if due > now {
            return Step::Wait(due - now);
        }
        let Some(began) = self.began else { return Step::List };
        match self.todo.front() {
            Some(target) => Step::Read(*target, self.offset, target.end().min(self.offset + STEP_BYTES)),
            None => {
                self.began = None;
                Step::Ended(Pass { bytes: self.bytes, took: now - began })
            }
        }
    }

    /// A pass over `targets` begins.
    pub fn listed(&mut self, now: Instant, targets: Vec<Target>) {
        self.todo = targets.into();
        self.todo.retain(|target| target.end() > 0);
        (self.offset, self.bytes, self.began) = (0, 0, Some(now));
        self.next_pass = later(now, self.interval);
    }

    /// So many bytes of the range were there. Says whether that was the last of its file.
    pub fn read(&mut self, now: Instant, bytes: u64) -> bool {
        self.bytes += bytes;
        self.offset += bytes;
        let took = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate);
        self.next_step = later(now, Duration::from_nanos(u64::try_from(took).unwrap_or(u64::MAX)));
        let is_last = bytes == 0 || self.todo.front().is_none_or(|target| self.offset >= target.end());
        if is_last {
            self.skip();
        }
        is_last
    }

    /// The rest of the file is not worth reading, or is gone.
    pub fn skip(&mut self) {
        self.todo.pop_front();
        self.offset = 0;
    }

    /// The step could not be taken for now.
    pub fn put_off(&mut self, now: Instant) {
        self.next_step = later(now, AGAIN);
    }
}

/// `now` and `wait`, or so late that it never comes.
fn later(now: Instant, wait: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now + wait.min(LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn log(segment: u32, end: u64) -> Target {
        Target::Log(PartitionId(3), SegmentCut { generation: 1, segment, bytes: 64 * MIB, end })
    }

    /// Runs the plan from `now` until it has done `count` things but wait, and returns them with their times in
    /// milliseconds since then.
    fn run(plan: &mut Plan, now: &mut Instant, targets: &[Target], count: usize) -> Vec<(u128, Step)> {
        let (start, mut done) = (*now, Vec::new());
        while done.len() < count {
            let step = plan.step(*now);
            match step {
                Step::Wait(wait) => {
                    assert!(!wait.is_zero());
                    *now += wait;
                    continue;
                }
                Step::List => plan.listed(*now, targets.to_vec()),
                Step::Read(_, from, to) => drop(plan.read(*now, to - from)),
                Step::Ended(_) => {}
            }
            done.push(((*now - start).as_millis(), step));
        }
        done
    }

    #[test]
    fn a_pass_reads_every_range_once_at_the_rate() {
        let mut now = Instant::now();
        let mut plan = Plan::new(now, 2 * MIB, Duration::from_secs(60));
        let (a, b, wal) = (log(7, 2 * MIB + MIB / 2), log(8, 0), Target::Wal(SegmentSeq(4), MIB));
        let pass = Pass { bytes: 3 * MIB + MIB / 2, took: Duration::from_millis(1750) };
        let expected = [
            (60_000, Step::List),
            (60_000, Step::Read(a, 0, MIB)),
            (60_500, Step::Read(a, MIB, 2 * MIB)),
            (61_000, Step::Read(a, 2 * MIB, 2 * MIB + MIB / 2)),
            (61_250, Step::Read(wal, 0, MIB)),
            (61_750, Step::Ended(pass)),
            (120_000, Step::List),
        ];
        assert_eq!(run(&mut plan, &mut now, &[a, b, wal], 7), expected);
    }

    #[test]
    fn a_pass_that_takes_longer_than_the_interval_is_followed_by_the_next() {
        let mut now = Instant::now();
        let mut plan = Plan::new(now, MIB / 10, Duration::from_secs(5));
        let steps = run(&mut plan, &mut now, &[log(1, MIB)], 5);
        let times: Vec<u128> = steps.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [5000, 5000, 15_000, 15_000, 15_000]);
        assert!(matches!(steps[2].1, Step::Ended(_)) && steps[3].1 == Step::List);
    }

    #[test]
    fn what_is_gone_or_short_is_left_behind() {
        let mut now = Instant::now();
        let mut plan = Plan::new(now, u64::MAX, Duration::ZERO);
        let (a, b, c) = (log(1, 3 * MIB), log(2, 3 * MIB), log(3, MIB));
        assert_eq!(plan.step(now), Step::List);
        plan.listed(now, vec![a, b, c]);
        assert!(!plan.read(now, MIB));
        plan.skip();
        assert_eq!(plan.step(now), Step::Read(b, 0, MIB));
        plan.put_off(now);
        assert_eq!(plan.step(now), Step::Wait(AGAIN));
        now += AGAIN;
        assert!(plan.read(now, 0), "the file ends early");
        assert_eq!(plan.step(now), Step::Read(c, 0, MIB));
        assert!(plan.read(now, MIB));
        let pass = Pass { bytes: 2 * MIB, took: AGAIN };
        assert_eq!(plan.step(now), Step::Ended(pass));
    }

    #[test]
    fn nothing_to_read_is_a_pass_too_and_the_slowest_rate_overflows_nothing() {
        let mut now = Instant::now();
        let mut plan = Plan::new(now, 0, Duration::from_millis(10));
        assert_eq!(run(&mut plan, &mut now, &[], 3).iter().map(|(at, _)| *at).collect::<Vec<_>>(), [10, 10, 20]);
        plan.listed(now, vec![log(1, u64::MAX)]);
        plan.read(now, u64::MAX / 2);
        assert!(matches!(plan.step(now), Step::Wait(_)));
    }
}
