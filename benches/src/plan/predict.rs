//! From a workload and a setting to a prediction.

use super::correction::Correction;
use super::costs::Costs;
use super::simulate::{Arrivals, Clients, Kind, Simulated, System, simulate};
use crate::workload::{Load, Mix, Op, Workload};
use serde::{Deserialize, Serialize};

/// Who serves, and where clients are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// Threads of the generator on the same machine; `None`: clients on machines of their own.
    pub generator_threads: Option<u32>,
    /// Round trip to such clients, microseconds.
    pub client_trip_us: f64,
    /// Servers that vote.
    pub members: u32,
    /// Round trip between two of them, microseconds.
    pub peer_trip_us: f64,
    /// Threads of a server that hold connections.
    pub cores: u32,
    /// Whether the order of writes has a thread of its own.
    pub role_apart: bool,
}

impl Setting {
    /// One server with one shard core, and the generator beside it: what calibration and verification run.
    pub const fn here() -> Setting {
        Setting {
            generator_threads: Some(1),
            client_trip_us: 0.0,
            members: 1,
            peer_trip_us: 0.0,
            cores: 1,
            role_apart: false,
        }
    }
}

/// What is expected of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Requests answered per second.
    pub rate: f64,
    /// Median latency, microseconds.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// Processor time of all servers' threads for each request, microseconds, without what works in the background.
    pub server_us: f64,
    /// Of the generator; 0 for clients elsewhere.
    pub generator_us: f64,
    /// Share of its time that the busiest thread of a server works.
    pub busiest_server: f64,
    /// The same of the generator; 0 for clients elsewhere.
    pub busiest_generator: f64,
    /// Share of the time that the busiest log has a write in flight.
    pub log_busy: f64,
    /// Log writes per second and server.
    pub log_writes: f64,
    /// Bytes of records in each, on average.
    pub log_write_bytes: f64,
}

/// How much is simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) warm_up: u64,
    pub(super) measured: u64,
    /// Seconds of an open loop, and the most requests for that.
    pub(super) seconds: f64,
    pub(super) most: u64,
}

impl Effort {
    pub(super) const USUAL: Effort = Effort { warm_up: 6_000, measured: 60_000, seconds: 12.0, most: 600_000 };
    /// Enough for means and medians.
    pub(super) const SMALL: Effort = Effort { warm_up: 2_000, measured: 15_000, seconds: 0.0, most: 0 };
}

/// Predicts a run with the workload's own load, closed or open.
pub fn predict(costs: &Costs, workload: &Workload, setting: Setting) -> Prediction {
    let (simulated, server_us) = carry_out(costs, workload, setting, Effort::USUAL);
    let here = f64::from(u8::from(setting.generator_threads.is_some()));
    let (p50_us, p99_us) = match workload.load {
        Load::Closed => (simulated.quantile_us(0.5), simulated.quantile_us(0.99)),
        Load::Open { .. } => {
            // Ways between machines are what they are.
            let way_us = if setting.generator_threads.is_none() { setting.client_trip_us } else { 0.0 };
            let corrected = |quantile: f64, by: Correction| {
                let own_us = (simulated.quantile_us(quantile) - way_us).max(0.0);
                way_us + own_us * by.factor(simulated.log_busy)
            };
            let p50_us = corrected(0.5, costs.p50_correction);
            (p50_us, corrected(0.99, costs.p99_correction).max(p50_us))
        }
    };
    Prediction {
        rate: simulated.rate,
        p50_us,
        p99_us,
        server_us,
        generator_us: here * generator_us(costs, workload, &simulated),
        busiest_server: simulated.busiest_server,
        busiest_generator: simulated.busiest_generator,
        log_busy: simulated.log_busy,
        log_writes: simulated.flushes_per_op * simulated.rate / f64::from(setting.members),
        log_write_bytes: simulated.bytes_per_flush,
    }
}

/// The highest rate: what a closed loop with the workload's connections and unanswered requests reaches. An open loop's
/// bound on unanswered requests is no wish to have so many; it counts as [`OPEN_DEPTH`] at most.
pub fn ceiling(costs: &Costs, workload: &Workload, setting: Setting) -> Prediction {
    let outstanding = match workload.load {
        Load::Closed => workload.outstanding,
        Load::Open { .. } => workload.outstanding.min(OPEN_DEPTH),
    };
    predict(costs, &Workload { load: Load::Closed, outstanding, ..workload.clone() }, setting)
}

/// Unanswered requests on each connection at the ceiling of an open loop.
pub const OPEN_DEPTH: u32 = 16;

/// The simulation of a workload, and the servers' processor time per request in microseconds.
pub(super) fn carry_out(costs: &Costs, workload: &Workload, setting: Setting, effort: Effort) -> (Simulated, f64) {
    let kinds = kinds(costs, workload);
    let arrivals = match (&workload.load, workload.asked_rate()) {
        (Load::Open { poisson, .. }, Some(rate)) => Arrivals::Open(rate.max(0.1), *poisson),
        _ => Arrivals::Closed(workload.outstanding),
    };
    let clients = match setting.generator_threads {
        Some(threads) => Clients::Generator(threads.min(workload.connections)),
        None => Clients::Remote((setting.client_trip_us * 1e3) as u64),
    };
    // In a closed loop of many connections each has to have its turn before anything settles.
    let population = match arrivals {
        Arrivals::Closed(outstanding) => u64::from(workload.connections) * u64::from(outstanding),
        Arrivals::Open(..) => u64::from(workload.connections.min(1_000)),
    };
    // Tails come from what happens a few times a second.
    let lasting = match arrivals {
        Arrivals::Open(rate, _) => ((effort.seconds * rate) as u64).min(effort.most),
        Arrivals::Closed(_) => 0,
    };
    let system = System {
        costs,
        kinds: &kinds,
        connections: workload.connections,
        arrivals,
        clients,
        members: setting.members,
        cores: setting.cores,
        role_apart: setting.role_apart,
        peer_trip_ns: (setting.peer_trip_us * 1e3) as u64,
        warm_up: effort.warm_up.max(2 * population),
        measured: effort.measured.max(4 * population).max(lasting),
        seed: workload.seed,
    };
    let simulated = simulate(&system);
    let own: f64 = kinds.iter().map(|kind| kind.share * kind.server_ns / 1e3).sum();
    let server = &costs.server;
    let counts = &simulated.server;
    let server_us = own
        + counts.polled_us
        + counts.turns * server.turn_us
        + counts.woken * server.sleep_us
        + counts.messages * server.message_us
        + counts.effects * costs.effect_us
        + simulated.flushes_per_op * costs.flush_cpu_us;
    (simulated, server_us)
}

/// The generator's processor time per request, microseconds.
pub(super) fn generator_us(costs: &Costs, workload: &Workload, simulated: &Simulated) -> f64 {
    let (thread, counts) = (&costs.generator, &simulated.generator);
    let own: f64 = kinds(costs, workload).iter().map(|kind| kind.share * kind.generator_ns / 1e3).sum();
    own + counts.turns * thread.turn_us + counts.woken * thread.sleep_us + counts.messages * thread.message_us
}

/// The operations of a workload with what they cost.
pub(super) fn kinds(costs: &Costs, workload: &Workload) -> Vec<Kind> {
    let kib = workload.values.mean() / 1024.0;
    let kind = |(op, share): (Op, f64)| {
        let of_op = costs.operations.get(&op).copied().unwrap_or_default();
        Kind {
            share,
            server_ns: 1e3 * (of_op.server_us + kib * of_op.server_kib_us),
            generator_ns: 1e3 * (of_op.generator_us + kib * of_op.generator_kib_us),
            log_bytes: if op.writes() { of_op.log_bytes + of_op.log_values * workload.values.mean() } else { 0.0 },
        }
    };
    real_shares(&workload.mix).into_iter().map(kind).collect()
}

/// Shares of what is really sent: a delete that finds nothing of its connection to delete becomes a create.
pub(super) fn real_shares(mix: &Mix) -> Vec<(Op, f64)> {
    let made: f64 = mix.ops().filter(|op| op.creates()).map(|op| mix.share(op)).sum();
    let deletes = mix.share(Op::Delete);
    let too_many = ((deletes - made) / 2.0).max(0.0);
    let mut shares: Vec<(Op, f64)> = mix.ops().map(|op| (op, mix.share(op))).collect();
    if too_many > 0.0 && !mix.ops().any(|op| op == Op::Create) {
        shares.push((Op::Create, 0.0));
    }
    for (op, share) in &mut shares {
        match op {
            Op::Delete => *share -= too_many,
            Op::Create => *share += too_many,
            _ => {}
        }
    }
    shares
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::correction::Correction;
    use crate::plan::costs::{OpCosts, PeerCosts, Stalls, ThreadCosts};
    use crate::plan::distribution::Quantiles;
    use crate::workload::{Schedule, ValueSizes};

    /// Round figures.
    pub(in crate::plan) fn costs() -> Costs {
        let thread = ThreadCosts { turn_us: 1.0, sleep_us: 10.0, message_us: 4.0, availability: 1.0 };
        let op = |op: Op| {
            let writes = f64::from(u8::from(op.writes()));
            let costs = OpCosts {
                server_us: 0.5 + 2.0 * writes,
                server_kib_us: 0.5,
                generator_us: 0.3,
                generator_kib_us: 0.1,
                log_bytes: 100.0 * writes,
                log_values: writes,
            };
            (op, costs)
        };
        Costs {
            server: thread,
            generator: thread,
            flush_cpu_us: 5.0,
            effect_us: 1.0,
            operations: Op::ALL.into_iter().map(op).collect(),
            wake: Quantiles::constant(5.0),
            deep_wake: Quantiles::constant(20.0),
            short_idle_us: 50.0,
            long_idle_us: 2_000.0,
            polls_us: 0.0,
            timer_us: 20.0,
            deep_timer_us: 50.0,
            flush: Quantiles::from_two(200.0, 600.0),
            flush_per_kib_us: 2.0,
            flush_busy_us: 0.0,
            flush_kernel_us: 0.0,
            stalls: Stalls::default(),
            log_stalls: Stalls::default(),
            p50_correction: Correction::NONE,
            p99_correction: Correction::NONE,
            peers: PeerCosts { message_us: 2.0, propose_us: 0.3, follow_us: 1.0, forward_us: 0.2 },
        }
    }

    pub(in crate::plan) fn closed(mix: &str, connections: u32, outstanding: u32) -> Workload {
        Workload { mix: mix.parse().unwrap(), connections, outstanding, ..Workload::default() }
    }

    fn open(mix: &str, rate: f64) -> Workload {
        let load = Load::Open { schedule: Schedule::fixed(rate).unwrap(), poisson: true };
        Workload { load, outstanding: 1000, ..closed(mix, 50, 1) }
    }

    #[test]
    fn a_lone_request_takes_the_sum_of_its_ways() {
        let costs = costs();
        let here = Setting::here();
        let read = predict(&costs, &closed("get", 1, 1), here);
        // On each side a turn, a message, the operation's cost, and a wake.
        let expected = 2.0 * (1.0 + 4.0 + 5.0) + 0.3 + 0.5 + 0.06;
        assert!((read.p50_us - expected).abs() < 1.0, "{} is not {expected}", read.p50_us);
        assert!((read.rate * read.p50_us / 1e6 - 1.0).abs() < 0.02, "Little's law: {read:?}");
        let write = predict(&costs, &closed("set", 1, 1), here);
        assert!(write.p50_us > read.p50_us + 200.0 && write.p50_us < read.p50_us + 260.0, "{write:?}");
    }

    #[test]
    fn littles_law_holds_in_every_closed_loop() {
        let costs = costs();
        for (mix, connections, outstanding) in [("get", 50, 1), ("half", 20, 8), ("set", 100, 1), ("mixed", 8, 16)] {
            let workload = closed(mix, connections, outstanding);
            let (simulated, _) = carry_out(&costs, &workload, Setting::here(), Effort::SMALL);
            let inside = simulated.rate * simulated.latency_ns.mean() / 1e9;
            let all = f64::from(connections * outstanding);
            assert!((inside / all - 1.0).abs() < 0.1, "{mix}: {inside} of {all}");
        }
    }

    #[test]
    fn a_ceiling_rises_with_connections_up_to_the_processors_bound() {
        let costs = costs();
        let mut last = 0.0;
        for connections in [1, 4, 16, 64] {
            let found = ceiling(&costs, &closed("get", connections, 16), Setting::here()).rate;
            assert!(found > 0.95 * last, "{connections}: {found} after {last}");
            last = found;
        }
        let bound = super::super::bounds::processor(&kinds(&costs, &closed("get", 1, 1)));
        assert!(last < bound && last > 0.3 * bound, "{last} of {bound}");
    }

    #[test]
    fn latency_rises_with_the_load_and_the_ceiling_is_where_it_cannot_be_carried() {
        let costs = costs();
        let here = Setting::here();
        let top = ceiling(&costs, &open("half", 1.0), here).rate;
        let at = |rate: f64| {
            let (run, _) = carry_out(&costs, &open("half", rate), here, Effort::SMALL);
            (run.rate, run.latency_ns.value_at_quantile(0.5), run.latency_ns.value_at_quantile(0.99))
        };
        let mut last = 0;
        for share in [0.3, 0.6] {
            let (rate, p50, p99) = at(top * share);
            assert!((rate / (top * share) - 1.0).abs() < 0.05, "{share}: {rate} of {top}");
            assert!(p99 > p50 && p50 * 100 > last * 85, "{share}: {p50}, {p99} after {last}");
            last = p50;
        }
        let (rate, p50, _) = at(top * 2.0);
        assert!(rate < top * 1.3 && p50 > last, "{rate}, {p50} beyond {top}");
    }

    #[test]
    fn slower_disks_and_longer_ways_cost_latency() {
        let costs = costs();
        let slow = Costs { flush: Quantiles::from_two(2_000.0, 6_000.0), ..costs.clone() };
        let here = Setting::here();
        let (one, other) = (predict(&costs, &closed("set", 20, 1), here), predict(&slow, &closed("set", 20, 1), here));
        assert!(other.rate < one.rate / 3.0 && other.p50_us > 3.0 * one.p50_us);
        let far = Setting { generator_threads: None, client_trip_us: 10_000.0, ..here };
        let read = predict(&costs, &closed("get", 20, 1), far);
        assert!(read.p50_us > 10_000.0 && read.p50_us < 10_500.0, "{read:?}");
    }

    #[test]
    fn an_ensemble_waits_for_a_quorum_and_reads_on_all_servers() {
        let costs = costs();
        let alone = Setting { generator_threads: None, client_trip_us: 100.0, ..Setting::here() };
        let three = Setting { members: 3, peer_trip_us: 5_000.0, ..alone };
        let (one, all) = (predict(&costs, &closed("set", 30, 1), alone), predict(&costs, &closed("set", 30, 1), three));
        assert!(all.p50_us > one.p50_us + 5_000.0 && all.p50_us < one.p50_us + 16_000.0, "{one:?} {all:?}");
        let reads = closed("get", 300, 16);
        let (one, all) = (ceiling(&costs, &reads, alone).rate, ceiling(&costs, &reads, three).rate);
        assert!(all > 2.3 * one, "{all} of three, {one} of one");
    }

    #[test]
    fn larger_values_cost_processor_and_log() {
        let costs = costs();
        let small = closed("set", 50, 16);
        let large = Workload { values: ValueSizes::Fixed(16_384), ..small.clone() };
        let (small, large) = (ceiling(&costs, &small, Setting::here()), ceiling(&costs, &large, Setting::here()));
        assert!(large.rate < small.rate / 2.0 && large.server_us > small.server_us + 7.0);
        let bound = super::super::bounds::log(
            &costs,
            &kinds(&costs, &Workload { values: ValueSizes::Fixed(16_384), ..closed("set", 50, 16) }),
        );
        assert!(large.rate <= bound * 1.05, "{} beyond {bound}", large.rate);
    }

    #[test]
    fn the_same_seed_predicts_the_same() {
        let costs = costs();
        let workload = closed("mixed", 10, 4);
        assert_eq!(predict(&costs, &workload, Setting::here()), predict(&costs, &workload, Setting::here()));
    }

    #[test]
    fn deletes_without_nodes_are_creates() {
        let shares = real_shares(&"get=50,delete=50".parse().unwrap());
        assert_eq!(shares, [(Op::Get, 0.5), (Op::Delete, 0.25), (Op::Create, 0.25)]);
        let plain = real_shares(&"create=50,delete=50".parse().unwrap());
        assert_eq!(plain, [(Op::Create, 0.5), (Op::Delete, 0.5)]);
    }
}
