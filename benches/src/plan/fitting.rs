//! Costs from a series of measured runs.
//!
//! Processor time per operation is `turn * turns + sleep * sleeps + message * messages + flush * log writes + operation`,
//! where the counts per operation come from simulating the same run with the costs known so far; a few rounds settle. What
//! a lone request takes beyond processor time is waiting: of a read for sleeping threads, of a write for the log.

use super::correction::Correction;
use super::costs::{Costs, OpCosts, PeerCosts, Stalls, ThreadCosts};
use super::distribution::Quantiles;
use super::fit::non_negative;
use super::predict::{Effort, Setting, carry_out, real_shares};
use crate::workload::{Op, Workload};
use anyhow::Context;
use hardware::reactor::ReactorConfig;

/// Rounds of simulating and fitting.
const ROUNDS: usize = 5;
/// Beyond so many times the median, a request of a nearly idle server was kept by something else.
const STALLED: f64 = 8.0;
/// Rounds of bringing simulated medians to measured ones.
const CORRECTIONS: usize = 2;
/// Where tails are compared, the bound of stalls per second, and halvings of what is unknown between nothing and that.
const TAIL_QUANTILES: [f64; 3] = [0.975, 0.99, 0.997];
const STALLS_MAX: f64 = 60.0;
const TAIL_BISECTIONS: usize = 9;
/// Microseconds that a log write takes longer beside a busy generator, at most.
const FLUSH_BUSY_MAX: f64 = 500.0;
/// Microseconds of a processor that the kernel takes for a log write beside the server, at most.
const FLUSH_KERNEL_MAX: f64 = 150.0;
/// A wake takes at most so many times the median.
const TAIL: f64 = 4.0;
/// Connections whose threads sleep between requests.
const FEW: u32 = 16;
/// Idle times, microseconds, between which sleeps may grow from short to long. How processors fall asleep differs: at once, or
/// after some time of polling by the guest's or the host's kernel.
const IDLE: [(f64, f64); 13] = [
    (50.0, 2_000.0),
    (50.0, 500.0),
    (50.0, 100.0),
    (20.0, 2_000.0),
    (20.0, 200.0),
    (20.0, 50.0),
    (10.0, 500.0),
    (10.0, 100.0),
    (10.0, 20.0),
    (5.0, 2_000.0),
    (5.0, 200.0),
    (5.0, 50.0),
    (5.0, 10.0),
];
/// Microseconds; of a disk that writes 20 MiB a second.
const FLUSH_PER_KIB_MAX: f64 = 50.0;
/// Halvings of what is unknown between nothing and that.
const BISECTIONS: usize = 14;
/// Where a coarser answer will do.
const BISECTIONS_ROUGH: usize = 8;
/// Share of a lone get's latency that each of its two wakes is at first taken for.
const WAKES: f64 = 0.4;
/// A thread with this share of a processor always had work.
const ALWAYS_BUSY: f64 = 0.85;

/// What a run is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Purpose {
    /// Turns, messages and the cost of a get or a set with a short value, by its batches.
    Batches,
    /// The cost of another operation.
    Operation,
    /// The cost of a longer value.
    Size,
    /// What a thread that slept long takes to wake.
    DeepSleep,
    /// How latency grows with an open loop's load.
    Loaded,
    /// What reads and writes cost each other.
    Mixed,
}

/// A run and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) purpose: Purpose,
    pub(crate) workload: Workload,
    pub(crate) rate: f64,
    /// Processor time per operation: of the server's busiest thread, and of the generator.
    pub(crate) server_us: f64,
    pub(crate) generator_us: f64,
    /// Busy share of the busiest thread.
    pub(crate) busiest_server: f64,
    pub(crate) busiest_generator: f64,
    pub(crate) latency: Quantiles,
    /// How late an open loop sent, median.
    pub(crate) late_us: f64,
}

/// The middle one, or the lower of two; 0 of none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

impl Observation {
    /// Of several observations of one run the median of each figure; `None` of none.
    pub(crate) fn median(seen: &[Observation]) -> Option<Observation> {
        let of = |figure: fn(&Observation) -> f64| median(seen.iter().map(figure).collect());
        let first = seen.first()?;
        Some(Observation {
            purpose: first.purpose,
            workload: first.workload.clone(),
            rate: of(|seen| seen.rate),
            server_us: of(|seen| seen.server_us),
            generator_us: of(|seen| seen.generator_us),
            busiest_server: of(|seen| seen.busiest_server),
            busiest_generator: of(|seen| seen.busiest_generator),
            // Medians of rising rows rise.
            latency: first.latency.over(|quantile| median(seen.iter().map(|seen| seen.latency.at(quantile)).collect())),
            late_us: of(|seen| seen.late_us),
        })
    }

    fn is(&self, op: Op) -> bool {
        self.workload.mix.share(op) == 1.0
    }

    fn alone(&self) -> bool {
        self.workload.connections == 1 && self.workload.outstanding == 1
    }
}

/// Finds the costs.
pub(crate) fn fit(seen: &[Observation]) -> anyhow::Result<Costs> {
    let mut costs = first_guess(seen);
    let share = costs.server.availability;
    for round in 0..ROUNDS {
        let before = costs.clone();
        batches(&mut costs, seen);
        if round > 0 {
            settle(&mut costs, &before);
        }
        operations(&mut costs, seen);
        sizes(&mut costs, seen);
        waits(&mut costs, seen)?;
        // Tails change little from round to round, and take long.
        if round > 0 && round % 2 == 0 {
            tails(&mut costs, share, seen);
        }
    }
    (costs.p50_correction, costs.p99_correction) = corrections(&costs, seen);
    costs.peers = peers(&costs);
    Ok(costs)
}

fn first_guess(seen: &[Observation]) -> Costs {
    // The generator and the server have the same kind of processor; the busier of them tells. The busier half of the runs
    // with a busy thread counts: others may have waited for something.
    let mut busy: Vec<f64> = seen.iter().map(|seen| seen.busiest_server.max(seen.busiest_generator)).collect();
    busy.retain(|share| *share > ALWAYS_BUSY);
    busy.sort_unstable_by(|a, b| b.total_cmp(a));
    let share = if busy.is_empty() { 1.0 } else { busy[busy.len() / 4].min(1.0) };
    let thread = ThreadCosts { turn_us: 1.0, sleep_us: 15.0, message_us: 4.0, availability: share };
    // Of a lone get nearly all is two wakes. A guess so short that nothing sleeps would never be corrected: what sleeps
    // cost would be found in the turns, and turns so long let everything sleep under any load.
    let lone = seen.iter().find(|seen| seen.alone() && seen.is(Op::Get)).map_or(0.0, |seen| seen.latency.at(0.5));
    let operation = |op: Op| {
        let (log_bytes, log_values) = record(op);
        let server_us = if op.writes() { 2.0 } else { 0.5 };
        (op, OpCosts { server_us, generator_us: 0.4, log_bytes, log_values, ..OpCosts::default() })
    };
    Costs {
        server: thread,
        generator: thread,
        flush_cpu_us: 10.0,
        effect_us: 1.0,
        operations: Op::ALL.into_iter().map(operation).collect(),
        wake: Quantiles::constant(WAKES * lone),
        deep_wake: Quantiles::constant(2.0 * WAKES * lone),
        short_idle_us: IDLE[0].0,
        long_idle_us: IDLE[0].1,
        polls_us: 0.0,
        timer_us: 0.0,
        deep_timer_us: 0.0,
        flush: Quantiles::constant(200.0),
        flush_per_kib_us: 0.0,
        flush_busy_us: 0.0,
        flush_kernel_us: 0.0,
        stalls: Stalls::default(),
        log_stalls: Stalls::default(),
        p50_correction: Correction::NONE,
        p99_correction: Correction::NONE,
        peers: PeerCosts::default(),
    }
}

/// Bytes of an operation's record beside the values, with paths of some 50 bytes, and the number of values: headers of
/// record and transaction, and by operation path, ACL and Stat fields (`replication::request`, `replication::wal`).
fn record(op: Op) -> (f64, f64) {
    match op {
        Op::Set => (110.0, 1.0),
        Op::Create | Op::CreateEphemeral | Op::CreateSequential => (140.0, 1.0),
        Op::Delete => (100.0, 0.0),
        // A create and three sets on average.
        Op::Multi => (380.0, 4.0),
        Op::Get | Op::Exists | Op::Children | Op::Sync => (0.0, 0.0),
    }
}

fn simulated(costs: &Costs, workload: &Workload) -> super::simulate::Simulated {
    carry_out(costs, workload, Setting::here(), Effort::SMALL).0
}

fn batches(costs: &mut Costs, seen: &[Observation]) {
    let (mut server, mut generator) = (Vec::new(), Vec::new());
    for seen in seen.iter().filter(|seen| seen.purpose == Purpose::Batches) {
        let run = simulated(costs, &seen.workload);
        let (get, set) = (seen.workload.mix.share(Op::Get), seen.workload.mix.share(Op::Set));
        let (s, g) = (run.server, run.generator);
        server.push((
            [s.turns, s.woken, s.messages, run.flushes_per_op, s.effects, get, set],
            left(seen.server_us, s.polled_us),
        ));
        generator.push(([g.turns, g.woken, g.messages, get, set], seen.generator_us));
    }
    let [turn_us, sleep_us, message_us, flush_cpu_us, effect_us, get, set] = non_negative(&server);
    costs.effect_us = effect_us;
    costs.server = ThreadCosts { turn_us, sleep_us, message_us, ..costs.server };
    costs.flush_cpu_us = flush_cpu_us;
    let [turn_us, sleep_us, message_us, get_generator, set_generator] = non_negative(&generator);
    costs.generator = ThreadCosts { turn_us, sleep_us, message_us, ..costs.generator };
    for (op, server_us, generator_us) in [(Op::Get, get, get_generator), (Op::Set, set, set_generator)] {
        if let Some(costs) = costs.operations.get_mut(&op) {
            (costs.server_us, costs.generator_us) = (server_us, generator_us);
        }
    }
}

/// A measured processor time without what went into polling, of which at least a tenth is left.
fn left(measured_us: f64, polled_us: f64) -> f64 {
    (measured_us - polled_us).max(0.1 * measured_us)
}

/// Half way from the round before, so that rounds do not swing.
fn settle(costs: &mut Costs, before: &Costs) {
    let half = f64::midpoint;
    for (now, then) in [(&mut costs.server, before.server), (&mut costs.generator, before.generator)] {
        now.turn_us = half(now.turn_us, then.turn_us);
        now.sleep_us = half(now.sleep_us, then.sleep_us);
        now.message_us = half(now.message_us, then.message_us);
    }
    costs.flush_cpu_us = half(costs.flush_cpu_us, before.flush_cpu_us);
    costs.effect_us = half(costs.effect_us, before.effect_us);
}

/// What is left of the measured processor time when turns, messages and log writes have had theirs: of server and generator.
fn remainder(costs: &Costs, seen: &Observation) -> (f64, f64) {
    let run = simulated(costs, &seen.workload);
    let of = |costs: &ThreadCosts, counts: super::simulate::Counts| {
        counts.turns * costs.turn_us + counts.woken * costs.sleep_us + counts.messages * costs.message_us
    };
    let server =
        of(&costs.server, run.server) + run.flushes_per_op * costs.flush_cpu_us + run.server.effects * costs.effect_us;
    (left(seen.server_us, run.server.polled_us) - server, seen.generator_us - of(&costs.generator, run.generator))
}

fn operations(costs: &mut Costs, seen: &[Observation]) {
    for seen in seen.iter().filter(|seen| seen.purpose == Purpose::Operation) {
        let (mut server_us, mut generator_us) = remainder(costs, seen);
        // Beside the new operation a run may hold a known one, as a delete needs a create.
        let shares = real_shares(&seen.workload.mix);
        let Some((op, share)) = shares.last().copied() else { continue };
        for (known, share) in &shares[..shares.len() - 1] {
            if let Some(known) = costs.operations.get(known) {
                server_us -= share * known.server_us;
                generator_us -= share * known.generator_us;
            }
        }
        if let Some(costs) = costs.operations.get_mut(&op) {
            costs.server_us = (server_us / share).max(0.05);
            costs.generator_us = (generator_us / share).max(0.05);
        }
    }
}

/// The value's part of the cost: from an empty one to the long one, through what the short one took.
fn sizes(costs: &mut Costs, seen: &[Observation]) {
    for seen in seen.iter().filter(|seen| seen.purpose == Purpose::Size) {
        let (server_us, generator_us) = remainder(costs, seen);
        let Some(op) = seen.workload.mix.ops().next() else { continue };
        let kib = seen.workload.values.mean() / 1024.0;
        let Some(known) = costs.operations.get(&op).copied() else { continue };
        let per_kib = |all: f64, short: f64| ((all - short) / kib).max(0.0);
        let (server, generator) = (per_kib(server_us, known.server_us), per_kib(generator_us, known.generator_us));
        // Operations that carry values the same way.
        let alike = Op::ALL.into_iter().filter(|other| match op {
            Op::Set => matches!(other, Op::Set | Op::Multi),
            Op::Create => matches!(other, Op::Create | Op::CreateEphemeral | Op::CreateSequential),
            _ => *other == op,
        });
        for other in alike {
            let Some(costs) = costs.operations.get_mut(&other) else { continue };
            let values = if costs.log_values > 0.0 { costs.log_values } else { 1.0 };
            (costs.server_kib_us, costs.generator_kib_us) = (server * values, generator * values);
        }
    }
}

fn waits(costs: &mut Costs, seen: &[Observation]) -> anyhow::Result<()> {
    let find = |op: Op, purpose: Purpose| {
        let fits = |seen: &&Observation| {
            seen.purpose == purpose && seen.is(op) && (seen.alone() || purpose != Purpose::Batches)
        };
        seen.iter().find(fits).with_context(|| format!("no run of {} alone was measured", op.name()))
    };
    // All that varies is measured, so that nothing of it may be simulated.
    let still = Costs {
        wake: Quantiles::constant(0.0),
        deep_wake: Quantiles::constant(0.0),
        timer_us: 0.0,
        deep_timer_us: 0.0,
        stalls: Stalls::default(),
        ..costs.clone()
    };
    let median = |costs: &Costs, seen: &Observation| {
        simulated(costs, &seen.workload).latency_ns.value_at_quantile(0.5) as f64 / 1e3
    };
    // Two wakes: the server's with all that varies, the generator's at the median.
    let wake = |latency: &Quantiles, base: f64| {
        let at_median = (latency.at(0.5) - base).max(0.0);
        latency.map(|us| us - base - at_median / 2.0)
    };
    let read = find(Op::Get, Purpose::Batches)?;
    // What is longer is a stall, which has a place of its own; so below.
    let longest = TAIL * read.latency.at(0.5);
    costs.wake = wake(&read.latency, median(&still, read)).map(|us| us.min(longest));
    let deep = find(Op::Get, Purpose::DeepSleep)?;
    for _ in 0..CORRECTIONS {
        let over = median(&Costs { stalls: Stalls::default(), ..costs.clone() }, read) - read.latency.at(0.5);
        costs.wake = costs.wake.map(|us| us - over / 2.0);
    }
    costs.deep_timer_us = deep.late_us;
    costs.timer_us = timer(costs, seen);
    let slow = wake(&deep.latency, median(&still, deep) + deep.late_us);
    let longest = TAIL * slow.at(0.5);
    costs.deep_wake = slow.map(|us| us.min(longest));
    for _ in 0..CORRECTIONS {
        let over = median(&Costs { stalls: Stalls::default(), ..costs.clone() }, deep) - deep.latency.at(0.5);
        costs.deep_wake = costs.deep_wake.map(|us| us - over);
    }
    (costs.polls_us, (costs.short_idle_us, costs.long_idle_us)) = idle(costs, seen);
    let write = find(Op::Set, Purpose::Batches)?;
    let woken = Costs { flush: Quantiles::constant(0.0), stalls: Stalls::default(), ..costs.clone() };
    let base = median(&woken, write);
    let (typical, reads) = (write.latency.at(0.5), read.latency.clone());
    // Variances add: what a read varies by is not the log's.
    let varies = |us: f64, quantile: f64| {
        let (all, other) = (us - typical, (reads.at(quantile) - reads.at(0.5)).min(us - typical));
        if all > 0.0 { (all * all - other * other).max(0.0).sqrt() } else { all }
    };
    let pairs: Vec<(f64, f64)> = write.latency.clone().into();
    let mut least = 0.0_f64;
    let flush = pairs.into_iter().map(|(quantile, us)| {
        least = least.max((typical - base + varies(us.min(STALLED * typical), quantile)).max(1.0));
        (quantile, least)
    });
    costs.flush = Quantiles::try_from(flush.collect::<Vec<_>>())?;
    // Sums of lopsided distributions have other medians than the sum of theirs: what is left over goes to the log.
    for _ in 0..CORRECTIONS {
        let over = median(costs, write) - typical;
        costs.flush = costs.flush.map(|us| us - over);
    }
    costs.flush_per_kib_us = flush_per_kib(costs, find(Op::Set, Purpose::Size)?);
    costs.flush_busy_us = flush_busy(costs, seen);
    costs.flush_kernel_us = flush_kernel(costs, seen);
    Ok(())
}

/// How late timers of short sleeps are, so that reads are sent as late as they were under load.
fn timer(costs: &Costs, seen: &[Observation]) -> f64 {
    let loaded: Vec<&Observation> =
        seen.iter().filter(|seen| seen.purpose == Purpose::Loaded && seen.is(Op::Get)).collect();
    let later = |timer_us: f64| -> f64 {
        let costs = Costs { timer_us, stalls: Stalls::default(), ..costs.clone() };
        let by = |seen: &&Observation| {
            simulated(&costs, &seen.workload).late_ns.value_at_quantile(0.5) as f64 / 1e3 - seen.late_us
        };
        loaded.iter().map(by).sum()
    };
    bisect(costs.deep_timer_us, BISECTIONS_ROUGH, |us| later(us) > 0.0)
}

/// Between nothing and `most`, where `too_much` begins.
fn bisect(most: f64, halvings: usize, too_much: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, most);
    for _ in 0..halvings {
        let middle = f64::midpoint(low, high);
        *(if too_much(middle) { &mut high } else { &mut low }) = middle;
    }
    low
}

/// Whether the server polls, and the idle times, with which reads come closest to their measured medians in open loops, and rates
/// in closed ones.
fn idle(costs: &Costs, seen: &[Observation]) -> (f64, (f64, f64)) {
    let read = |seen: &&Observation| {
        let single = seen.purpose == Purpose::Batches && seen.workload.outstanding == 1;
        seen.is(Op::Get) && (seen.purpose == Purpose::Loaded || (single && seen.workload.connections <= FEW))
    };
    let wrong = |polls_us: f64, (short_idle_us, long_idle_us): (f64, f64)| -> f64 {
        let costs = Costs { polls_us, short_idle_us, long_idle_us, stalls: Stalls::default(), ..costs.clone() };
        let by = |seen: &Observation| over(&costs, seen).powi(2);
        seen.iter().filter(read).map(by).sum()
    };
    let own = ReactorConfig::default().spin.as_secs_f64() * 1e6;
    let all = [0.0, own].into_iter().flat_map(|polls_us| IDLE.into_iter().map(move |idle| (polls_us, idle)));
    let tried = all.map(|(polls_us, idle)| (wrong(polls_us, idle), polls_us, idle));
    tried.min_by(|one, other| one.0.total_cmp(&other.0)).map_or((0.0, IDLE[0]), |(_, polls_us, idle)| (polls_us, idle))
}

/// By what factor (its logarithm) a simulated run is slower than the measured one: a closed loop by its rate, an open one by its
/// median.
fn over(costs: &Costs, seen: &Observation) -> f64 {
    let run = simulated(costs, &seen.workload);
    let p50 = run.latency_ns.value_at_quantile(0.5) as f64 / 1e3;
    let slower = match seen.workload.asked_rate() {
        Some(_) => p50 / seen.latency.at(0.5).max(1.0),
        None => seen.rate / run.rate,
    };
    slower.max(1e-6).ln()
}

/// What a busy generator adds to a log write, so that sets of several connections are as slow as they were measured.
fn flush_busy(costs: &Costs, seen: &[Observation]) -> f64 {
    let several = |seen: &&Observation| {
        let batches = seen.purpose == Purpose::Batches && !seen.alone() && seen.workload.outstanding == 1;
        seen.is(Op::Set) && (batches || seen.purpose == Purpose::Loaded)
    };
    bisect(FLUSH_BUSY_MAX, BISECTIONS, |flush_busy_us| {
        let costs = Costs { flush_busy_us, ..costs.clone() };
        seen.iter().filter(several).map(|seen| over(&costs, seen)).sum::<f64>() > 0.0
    })
}

/// What a log write takes of the generator's processor, so that mixes of reads and writes are as slow as they were measured.
fn flush_kernel(costs: &Costs, seen: &[Observation]) -> f64 {
    let mixed: Vec<&Observation> = seen.iter().filter(|seen| seen.purpose == Purpose::Mixed).collect();
    if mixed.is_empty() {
        return 0.0;
    }
    bisect(FLUSH_KERNEL_MAX, BISECTIONS_ROUGH, |flush_kernel_us| {
        let costs = Costs { flush_kernel_us, ..costs.clone() };
        mixed.iter().map(|seen| over(&costs, seen)).sum::<f64>() > 0.0
    })
}

/// What a KiB adds to a log write, so that long sets come as fast as they were measured.
fn flush_per_kib(costs: &Costs, long: &Observation) -> f64 {
    bisect(FLUSH_PER_KIB_MAX, BISECTIONS, |flush_per_kib_us| {
        simulated(&Costs { flush_per_kib_us, ..costs.clone() }, &long.workload).rate <= long.rate
    })
}

/// Stalls of the threads from reads under load, then those of the log from writes, so that tails come out as long as they were
/// measured. How long they last is what slow requests took beyond the usual; how many there are follows from simulating.
/// `share` is that of a processor which threads got that always had work.
fn tails(costs: &mut Costs, share: f64, seen: &[Observation]) {
    let loaded = |op: Op| -> Vec<&Observation> {
        seen.iter().filter(|seen| seen.purpose == Purpose::Loaded && seen.is(op)).collect()
    };
    let (reads, writes) = (loaded(Op::Get), loaded(Op::Set));
    let threads = |costs: &Costs, per_second: f64| {
        let stalls = Stalls { per_second, mean_us: excess_us(&reads) };
        // What stalls take is in the measured share of a processor already.
        let left = (1.0 - per_second * stalls.mean_us / 1e6).max(0.5);
        let of = |thread: ThreadCosts| ThreadCosts { availability: (share / left).min(1.0), ..thread };
        Costs { stalls, server: of(costs.server), generator: of(costs.generator), ..costs.clone() }
    };
    let per_second = until_as_long(|per_second| threads(costs, per_second), &reads);
    *costs = threads(costs, per_second);
    let mean_us = excess_us(&writes);
    let log = |per_second: f64| Costs { log_stalls: Stalls { per_second, mean_us }, ..costs.clone() };
    let per_second = until_as_long(log, &writes);
    costs.log_stalls = Stalls { per_second, mean_us };
}

/// What requests that took long took beyond the limit of that, on average: the median of the runs that have some.
fn excess_us(seen: &[&Observation]) -> f64 {
    const STEPS: u32 = 2_000;
    let mean = |seen: &Observation| {
        let limit = STALLED * seen.latency.at(0.5);
        let beyond: Vec<f64> = (0..STEPS)
            .map(|step| seen.latency.at((f64::from(step) + 0.5) / f64::from(STEPS)) - limit)
            .filter(|excess| *excess > 0.0)
            .collect();
        (!beyond.is_empty()).then(|| beyond.iter().sum::<f64>() / beyond.len() as f64)
    };
    median(seen.iter().filter_map(|seen| mean(seen)).collect())
}

/// The number of stalls per second with which tails are as long as measured.
fn until_as_long(costs: impl Fn(f64) -> Costs, seen: &[&Observation]) -> f64 {
    bisect(STALLS_MAX, TAIL_BISECTIONS, |per_second| {
        let costs = costs(per_second);
        seen.iter().map(|seen| longer_tail(&costs, seen)).sum::<f64>() >= 0.0
    })
}

/// By what factor (its logarithm) the simulated tail is longer than the measured one.
fn longer_tail(costs: &Costs, seen: &Observation) -> f64 {
    let run = carry_out(costs, &seen.workload, Setting::here(), Effort::USUAL).0;
    let ratio = |quantile: f64| {
        (run.latency_ns.value_at_quantile(quantile) as f64 / 1e3 / seen.latency.at(quantile).max(1.0)).max(1e-6).ln()
    };
    TAIL_QUANTILES.into_iter().map(ratio).sum()
}

/// What is left over of open loops, in which threads work and sleep in turn.
fn corrections(costs: &Costs, seen: &[Observation]) -> (Correction, Correction) {
    let (mut medians, mut tails) = (Vec::new(), Vec::new());
    for seen in seen.iter().filter(|seen| seen.workload.asked_rate().is_some() && seen.purpose != Purpose::DeepSleep) {
        let (run, _) = carry_out(costs, &seen.workload, Setting::here(), Effort::USUAL);
        medians.push((run.log_busy, seen.latency.at(0.5) / run.quantile_us(0.5).max(1.0)));
        tails.push((run.log_busy, seen.latency.at(0.99) / run.quantile_us(0.99).max(1.0)));
    }
    (Correction::of(&medians), Correction::of(&tails))
}

/// Between servers, from what is known of one: a message between servers is half of a client's, which is received and
/// answered; the leader copies a proposal as it copies a short value; a follower appends and applies, which is most of a
/// write.
fn peers(costs: &Costs) -> PeerCosts {
    let set_us = costs.operations.get(&Op::Set).map_or(0.0, |set| set.server_us);
    PeerCosts {
        message_us: costs.server.message_us / 2.0,
        propose_us: 0.1 * set_us,
        follow_us: 0.6 * set_us,
        forward_us: 0.2 * set_us,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::predict::{generator_us, predict};
    use crate::workload::{Load, Schedule, ValueSizes};

    const EFFORT: Effort = Effort { warm_up: 2_000, measured: 20_000, seconds: 0.0, most: 0 };

    /// What would be measured if things cost so much.
    fn observe(costs: &Costs, purpose: Purpose, workload: Workload) -> Observation {
        let (run, server_us) = carry_out(costs, &workload, Setting::here(), EFFORT);
        Observation {
            purpose,
            rate: run.rate,
            server_us,
            generator_us: generator_us(costs, &workload, &run),
            busiest_server: run.busiest_server,
            busiest_generator: run.busiest_generator,
            latency: Quantiles::of(&run.latency_ns),
            late_us: run.late_ns.value_at_quantile(0.5) as f64 / 1e3,
            workload,
        }
    }

    fn closed(mix: &str, connections: u32, outstanding: u32) -> Workload {
        Workload { mix: mix.parse().unwrap(), connections, outstanding, ..Workload::default() }
    }

    fn open(rate: f64) -> Workload {
        let load = Load::Open { schedule: Schedule::fixed(rate).unwrap(), poisson: false };
        Workload { load, ..closed("get", 50, 1_000) }
    }

    /// As a calibration does, of a system that keeps to the model.
    fn observed(costs: &Costs) -> Vec<Observation> {
        let long = |bytes: u32, workload: Workload| Workload { values: ValueSizes::Fixed(bytes), ..workload };
        let mut runs: Vec<(Purpose, Workload)> = [("get", 1, 1), ("get", 4, 1), ("get", 16, 1), ("get", 50, 1)]
            .into_iter()
            .chain([("get", 1, 16), ("get", 50, 16), ("set", 1, 1), ("set", 8, 1), ("set", 50, 1), ("set", 50, 16)])
            .map(|(mix, connections, outstanding)| (Purpose::Batches, closed(mix, connections, outstanding)))
            .collect();
        runs.push((Purpose::Operation, closed("exists", 50, 4)));
        runs.push((Purpose::Operation, closed("create", 50, 4)));
        runs.push((Purpose::DeepSleep, open(500.0)));
        runs.push((Purpose::Size, long(16_384, closed("set", 16, 2))));
        runs.into_iter().map(|(purpose, workload)| observe(costs, purpose, workload)).collect()
    }

    #[test]
    fn costs_of_a_system_that_keeps_to_the_model_are_found() {
        // Sleeps that cost several messages, and wakes that take longer than all work: virtual machines are so.
        let thread = ThreadCosts { turn_us: 1.5, sleep_us: 30.0, message_us: 4.0, availability: 1.0 };
        let truth = Costs {
            server: thread,
            generator: thread,
            wake: Quantiles::from_two(35.0, 90.0),
            deep_wake: Quantiles::from_two(60.0, 150.0),
            flush_cpu_us: 20.0,
            ..crate::plan::predict::tests::costs()
        };
        let found = fit(&observed(&truth)).unwrap();
        for (mix, connections, outstanding) in
            [("get", 4, 1), ("get", 30, 2), ("half", 50, 1), ("set", 25, 1), ("get=1,create=1", 20, 8)]
        {
            let workload = closed(mix, connections, outstanding);
            let (expected, got) =
                (predict(&truth, &workload, Setting::here()), predict(&found, &workload, Setting::here()));
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.15;
            assert!(
                near(got.rate, expected.rate) && near(got.p50_us, expected.p50_us),
                "{mix}, {connections} x {outstanding}: {got:?} is not {expected:?}; {found:?}"
            );
        }
    }
}
