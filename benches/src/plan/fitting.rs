//! Costs from a series of measured runs.
//!
//! Processor time per operation is `turn * turns + sleep * sleeps + message * messages + flush * log writes + operation`,
//! where the counts per operation come from simulating the same run with the costs known so far; a few rounds settle. What
//! a lone request takes beyond processor time is waiting: of a read for sleeping threads, of a write for the log.

use super::costs::{Costs, OpCosts, PeerCosts, Stalls, ThreadCosts};
use super::distribution::Quantiles;
use super::fit::non_negative;
use super::predict::{Effort, Setting, carry_out, real_shares};
use crate::workload::{Op, Workload};
use anyhow::Context;

/// Rounds of simulating and fitting.
const ROUNDS: usize = 5;
/// Beyond so many times the median, a request of a nearly idle server was kept by something else.
const STALLED: f64 = 8.0;
/// Rounds of bringing simulated medians to measured ones.
const CORRECTIONS: usize = 2;
/// A wake takes at most so many times the median.
const TAIL: f64 = 4.0;
/// A thread with this share of a processor always had work.
const ALWAYS_BUSY: f64 = 0.85;

/// What a run is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Turns, messages and the cost of a get or a set with a short value, by its batches.
    Batches,
    /// The cost of another operation.
    Operation,
    /// The cost of a longer value.
    Size,
    /// What a log write takes with a long record.
    LongRecord,
    /// What a thread that slept long takes to wake.
    DeepSleep,
    /// How often something takes the processor away.
    Stalls,
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

impl Observation {
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
    costs.stalls = stalls(seen);
    for round in 0..ROUNDS {
        let before = costs.clone();
        batches(&mut costs, seen);
        if round > 0 {
            settle(&mut costs, &before);
        }
        operations(&mut costs, seen);
        sizes(&mut costs, seen);
        waits(&mut costs, seen)?;
    }
    costs.peers = peers(&costs);
    Ok(costs)
}

fn first_guess(seen: &[Observation]) -> Costs {
    let availability = |busiest: fn(&Observation) -> f64| {
        let busy: Vec<f64> = seen.iter().map(busiest).filter(|share| *share > ALWAYS_BUSY).collect();
        if busy.is_empty() { 1.0 } else { (busy.iter().sum::<f64>() / busy.len() as f64).min(1.0) }
    };
    // The generator and the server have the same kind of processor; the busier of them tells.
    let share = availability(|seen| seen.busiest_server).max(availability(|seen| seen.busiest_generator).min(1.0));
    let thread = ThreadCosts { turn_us: 1.0, sleep_us: 15.0, message_us: 4.0, availability: share };
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
        wake: Quantiles::constant(5.0),
        deep_wake: Quantiles::constant(20.0),
        timer: Quantiles::constant(0.0),
        flush: Quantiles::constant(200.0),
        flush_per_kib_us: 0.0,
        stalls: Stalls::default(),
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
        server.push(([s.turns, s.woken, s.messages, run.flushes_per_op, s.effects, get, set], seen.server_us));
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
    (seen.server_us - server, seen.generator_us - of(&costs.generator, run.generator))
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
        timer: Quantiles::constant(0.0),
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
    costs.wake = wake(&read.latency, median(&still, read));
    let deep = find(Op::Get, Purpose::DeepSleep)?;
    for _ in 0..CORRECTIONS {
        let over = median(&Costs { stalls: Stalls::default(), ..costs.clone() }, read) - read.latency.at(0.5);
        costs.wake = costs.wake.map(|us| us - over / 2.0);
    }
    costs.timer = Quantiles::constant(deep.late_us);
    let slow = wake(&deep.latency, median(&still, deep) + deep.late_us);
    // What is longer is a stall, which has a place of its own.
    let longest = TAIL * slow.at(0.5);
    costs.deep_wake = slow.map(|us| us.min(longest));
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
        least = least.max((typical - base + varies(us, quantile)).max(1.0));
        (quantile, least)
    });
    costs.flush = Quantiles::try_from(flush.collect::<Vec<_>>())?;
    // Sums of lopsided distributions have other medians than the sum of theirs: what is left over goes to the log.
    for _ in 0..CORRECTIONS {
        let over = median(costs, write) - typical;
        costs.flush = costs.flush.map(|us| us - over);
    }
    let long = find(Op::Set, Purpose::LongRecord)?;
    costs.flush_per_kib_us = 0.0;
    let without = simulated(&Costs { stalls: Stalls::default(), ..costs.clone() }, &long.workload);
    let kib = (long.workload.values.mean() - write.workload.values.mean()) / 1024.0;
    costs.flush_per_kib_us =
        ((long.latency.at(0.5) - without.latency_ns.value_at_quantile(0.5) as f64 / 1e3) / kib).max(0.0);
    Ok(())
}

/// Stalls of exponential length `d`, `n` a second, keep a share `n * d` of the requests waiting, on average for `d`. Those that
/// are not told from what is usual are not counted.
fn stalls(seen: &[Observation]) -> Stalls {
    let Some(seen) = seen.iter().find(|seen| seen.purpose == Purpose::Stalls) else { return Stalls::default() };
    const STEPS: u32 = 2_000;
    let limit = STALLED * seen.latency.at(0.5);
    let beyond: Vec<f64> = (0..STEPS)
        .map(|step| seen.latency.at((f64::from(step) + 0.5) / f64::from(STEPS)) - limit)
        .filter(|excess| *excess > 0.0)
        .collect();
    if beyond.is_empty() {
        return Stalls::default();
    }
    let mean_us = beyond.iter().sum::<f64>() / beyond.len() as f64;
    let share = beyond.len() as f64 / f64::from(STEPS);
    // Either of two threads keeps a request, and only one that rests is taken away.
    let rests = (1.0 - f64::midpoint(seen.busiest_server, seen.busiest_generator)).max(0.1);
    Stalls { per_second: (share / (mean_us / 1e6) / 2.0 / rests).min(1_000.0), mean_us }
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
