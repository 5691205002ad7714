//! The answer for a deployment: what it can carry, what limits it, what it takes.

use super::bounds;
use super::calibration::Calibration;
use super::costs::Costs;
use super::deployment::Deployment;
use super::distribution::Quantiles;
use super::predict::{Prediction, Setting, ceiling, kinds, predict};
use super::simulate::LOG_WRITE_BYTES;
use super::space::{Space, disk_bytes_per_request, network_bytes_per_request, space};
use serde::{Deserialize, Serialize};
use tuning::{CorePlan, Pinning};

const MIB: f64 = 1024.0 * 1024.0;
/// A resource used beyond this share is what limits.
const FULL: f64 = 0.9;
/// Share of the ceiling beyond which a wanted load leaves no room for a bad minute.
const TIGHT: f64 = 0.7;

/// One resource of the busiest server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Share in use at the ceiling, 0 to 1.
    pub at_ceiling: f64,
    /// Share in use at the wanted load.
    pub at_wanted: Option<f64>,
}

/// Everything that is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The highest rate, requests per second.
    pub ceiling_rate: f64,
    /// The closed loop that it comes from; its own rate is higher where disk or network limit.
    pub at_ceiling: Prediction,
    /// The rate that was asked for.
    pub wanted_rate: Option<f64>,
    /// At that rate; absent where it cannot be carried.
    pub at_wanted: Option<Prediction>,
    /// What saturates first.
    pub first: String,
    /// What would carry more.
    pub remedy: String,
    /// How far each resource is used.
    pub resources: Vec<Resource>,
    /// The processors of the threads that hold connections would allow so many requests per second over all servers, if
    /// turns and messages cost nothing.
    pub processor_bound: f64,
    /// The log alone would allow so many; absent without writes.
    pub log_bound: Option<f64>,
    /// Memory and disk of one server.
    pub space: Space,
    /// What one server writes to its disk at the wanted load, or at the ceiling without one, MiB per second.
    pub disk_mib_per_second: f64,
    /// What a reader has to know.
    pub warnings: Vec<String>,
}

/// Where the servers of a deployment run their threads.
pub fn setting(deployment: &Deployment) -> Setting {
    let usable: Vec<usize> = (0..deployment.machine.cores).collect();
    let plan = CorePlan::new(&usable, None, 64, Pinning::Auto);
    Setting {
        generator_threads: None,
        client_trip_us: deployment.client_round_trip.0.as_secs_f64() * 1e6,
        members: deployment.ensemble.size,
        peer_trip_us: deployment.ensemble.round_trip.0.as_secs_f64() * 1e6,
        cores: u32::from(plan.shards()),
        role_apart: plan.threads().len() > usize::from(plan.shards()),
    }
}

/// The calibrated costs on the deployment's machines.
pub fn costs(calibration: &Calibration, deployment: &Deployment) -> Costs {
    let machine = &deployment.machine;
    let us = |span: crate::workload::Span| span.0.as_secs_f64() * 1e6;
    let mut costs = calibration.costs.at_speed(machine.speed);
    if let Some(flush) = machine.flush {
        let p50 = us(flush);
        // Where only the median is known its spread is taken to be that of the calibrated disk.
        let known = calibration.costs.flush.at(0.99) / calibration.costs.flush.at(0.5).max(1.0);
        costs.flush = Quantiles::from_two(p50, machine.flush_p99.map_or(p50 * known, us));
    }
    costs
}

/// Answers.
pub fn answer(calibration: &Calibration, deployment: &Deployment) -> Answer {
    let (costs, setting, workload) = (costs(calibration, deployment), setting(deployment), &deployment.workload);
    let at_ceiling = ceiling(&costs, workload, setting);
    let machine = &deployment.machine;
    let disk_bytes = disk_bytes_per_request(&calibration.disk, workload);
    let network_bytes = network_bytes_per_request(workload, setting.members);
    let disk_limit = machine.disk_mib_per_second.map_or(f64::INFINITY, |mib| mib * MIB / disk_bytes);
    let network_limit = machine.network_mbit.map_or(f64::INFINITY, |mbit| mbit * 1e6 / 8.0 / network_bytes);
    let ceiling_rate = at_ceiling.rate.min(disk_limit).min(network_limit);
    let wanted_rate = workload.asked_rate();
    let at_wanted = wanted_rate.filter(|rate| *rate < ceiling_rate).map(|_| predict(&costs, workload, setting));
    let mut resources = vec![Resource {
        name: "busiest server thread".into(),
        at_ceiling: at_ceiling.busiest_server * (ceiling_rate / at_ceiling.rate),
        at_wanted: at_wanted.map(|at| at.busiest_server),
    }];
    let kinds = kinds(&costs, workload);
    let log_bound = bounds::log(&costs, &kinds);
    // Not the share of the time with a log write in flight: that is high under any load, as writes do not wait to be more.
    for (name, limit) in
        [("log, of full writes", log_bound), ("disk bandwidth", disk_limit), ("network", network_limit)]
    {
        if limit.is_finite() {
            let at_wanted = at_wanted.and(wanted_rate).map(|rate| rate / limit);
            resources.push(Resource { name: name.into(), at_ceiling: ceiling_rate / limit, at_wanted });
        }
    }
    let (first, remedy) = first(&at_ceiling, disk_limit, network_limit, setting);
    let space = space(calibration, deployment);
    let mut answer = Answer {
        ceiling_rate,
        at_ceiling,
        wanted_rate,
        at_wanted,
        first: first.to_owned(),
        remedy: remedy.to_owned(),
        resources,
        processor_bound: bounds::processor(&kinds) * f64::from(setting.cores * setting.members),
        log_bound: log_bound.is_finite().then_some(log_bound),
        space,
        disk_mib_per_second: disk_bytes * wanted_rate.unwrap_or(ceiling_rate).min(ceiling_rate) / MIB,
        warnings: Vec::new(),
    };
    answer.warnings = warnings(&answer, calibration, deployment, setting);
    answer
}

/// What saturates first, and what would carry more.
fn first(at: &Prediction, disk_limit: f64, network_limit: f64, setting: Setting) -> (&'static str, &'static str) {
    let writes = at.log_writes > 0.0;
    if disk_limit < at.rate.min(network_limit) {
        ("the disk's bandwidth", "a faster disk, or smaller values")
    } else if network_limit < at.rate {
        ("the network", "a faster network, smaller values, or fewer voting servers")
    } else if at.busiest_server > FULL && writes && setting.members > 1 {
        (
            "the leader's processor",
            "faster cores; reads on observers; more requests unanswered on each connection, which share turns and messages",
        )
    } else if at.busiest_server > FULL {
        (
            "the server's processor",
            "more or faster cores; more requests unanswered on each connection, which share turns and messages",
        )
    } else if at.log_busy > FULL && at.log_write_bytes > FULL * LOG_WRITE_BYTES {
        ("the log's bandwidth", "a faster disk, or smaller values: log writes are as large as they get")
    } else if at.log_busy > FULL {
        (
            "the log's latency",
            "a disk that flushes faster; or more connections or unanswered requests, as a log write takes all that wait",
        )
    } else {
        (
            "the clients' own waiting",
            "more connections, or more requests unanswered on each: the servers have time left",
        )
    }
}

fn warnings(answer: &Answer, calibration: &Calibration, deployment: &Deployment, setting: Setting) -> Vec<String> {
    let (machine, space, mut warnings) = (&deployment.machine, &answer.space, Vec::new());
    if let Some(wanted) = answer.wanted_rate {
        if answer.at_wanted.is_none() {
            warnings.push(format!(
                "the wanted {wanted:.0}/s cannot be carried: {} is full before; {}",
                answer.first, answer.remedy
            ));
        } else if wanted > TIGHT * answer.ceiling_rate {
            warnings.push(format!(
                "the wanted load is {:.0} % of the ceiling: little is left for a bad minute",
                100.0 * wanted / answer.ceiling_rate
            ));
        }
    }
    if space.memory_mib > machine.memory_mib {
        warnings.push(format!(
            "the server's own memory ({:.0} MiB) is more than the machine has ({:.0} MiB)",
            space.memory_mib, machine.memory_mib
        ));
    } else if space.memory_mib + space.mapped_mib > machine.memory_mib {
        warnings.push(
            "memory and mapped values together are more than the machine has: some reads will wait for the disk".into(),
        );
    }
    if space.disk_mib > machine.disk_mib {
        warnings.push(format!(
            "the data directory may grow to {:.0} MiB, more than the disk's {:.0} MiB",
            space.disk_mib, machine.disk_mib
        ));
    }
    if answer.at_wanted.is_some() {
        warnings.push("when verified, medians were off by more than a third at worst and 99th percentiles by up to a factor of two: see \"How accurate it was\" in benches/MODEL.md".into());
    }
    if setting.members > 1 {
        warnings.push("what servers cost each other is derived from the costs of one server, not measured".into());
    }
    if setting.cores > 1 {
        warnings.push(format!("measured was one shard core; that {} of them share the load evenly, and that hops between them cost nothing, is assumed", setting.cores));
    }
    if deployment.workload.watches.per_session > 0 || deployment.workload.churn_per_second > 0.0 {
        warnings
            .push("watches that fire and sessions that are opened anew during the load are not in the model".into());
    }
    if !calibration.conditions.optimised {
        warnings.push("the calibration was made by a program built without optimisation".into());
    }
    warnings
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::plan::calibration::{DiskCosts, MemoryCosts, SCHEMA};
    use crate::report::Conditions;
    use crate::workload::Servers;

    pub(in crate::plan) fn calibration() -> Calibration {
        Calibration {
            schema: SCHEMA,
            costs: crate::plan::predict::tests::costs(),
            memory: MemoryCosts {
                empty: 2e7,
                znode: 100.0,
                value_byte: 0.0,
                mapped_znode: 100.0,
                mapped_value_byte: 1.0,
                session: 5_000.0,
                watch: 200.0,
            },
            disk: DiskCosts { write: 300.0, value_byte: 2.0, znode: 150.0, empty: 3e7 },
            points: Vec::new(),
            conditions: Conditions::gather(&Servers::one("127.0.0.1:9".parse().unwrap()), 1),
        }
    }

    fn deployment(change: impl Fn(String) -> String) -> Deployment {
        let text = include_str!("../../deployments/production.toml");
        Deployment::parse(&change(text.to_owned())).unwrap()
    }

    #[test]
    fn a_calibration_survives_its_file_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calibration.toml");
        let written = calibration();
        written.write(&path).unwrap();
        let read = Calibration::read(&path).unwrap();
        assert_eq!((read.costs, read.memory), (written.costs, written.memory));
        let text = std::fs::read_to_string(&path).unwrap();
        for (from, to) in [
            ("schema = 4", "schema = 99"),
            ("turn_us = 1.0", "turn_us = -1.0"),
            ("turn_us", "tern_us"),
            ("[costs.server]", "["),
        ] {
            std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = format!("{:#}", Calibration::read(&path).unwrap_err());
            assert!(error.contains("calibration.toml") && error.contains("--calibrate"), "{error}");
        }
        assert!(Calibration::read(&folder.path().join("none.toml")).is_err());
    }

    #[test]
    fn a_deployment_is_answered() {
        let answer = answer(&calibration(), &deployment(|text| text));
        assert!(answer.ceiling_rate > 40_000.0, "{answer:?}");
        let wanted = answer.at_wanted.unwrap();
        assert!(wanted.p50_us > 200.0 && wanted.p99_us > wanted.p50_us, "{wanted:?}");
        assert!(answer.space.memory_mib > 400.0 && answer.space.watches_fit > 200_000);
        assert!(answer.disk_mib_per_second > 5.0);
        assert_eq!(answer.resources.len(), 4);
    }

    #[test]
    fn what_limits_is_named() {
        let calibration = calibration();
        let first = |change: fn(String) -> String| answer(&calibration, &deployment(change));
        let disk = first(|text| text.replace("disk_mib_per_second = 800", "disk_mib_per_second = 5"));
        assert!(
            disk.first.contains("disk") && disk.at_wanted.is_none() && disk.warnings[0].contains("cannot be carried"),
            "{disk:?}"
        );
        let network = first(|text| text.replace("network_mbit = 10000", "network_mbit = 10"));
        assert!(network.first.contains("network"), "{network:?}");
        let few = first(|text| {
            text.replace("connections = 2000", "connections = 3")
                .replace("round_trip = \"200us\"", "round_trip = \"50ms\"")
        });
        assert!(few.first.contains("clients"), "{few:?}");
        let memory = first(|text| text.replace("memory_mib = 32000", "memory_mib = 100"));
        assert!(memory.warnings.iter().any(|warning| warning.contains("memory")), "{memory:?}");
    }

    #[test]
    fn more_of_what_limits_carries_more() {
        let calibration = calibration();
        let unlimited = |text: String| {
            text.replace("disk_mib_per_second = 800", "").replace("network_mbit = 10000", "").replace("mixed", "get")
        };
        let reads = answer(&calibration, &deployment(unlimited));
        assert!(reads.first.contains("processor"), "{reads:?}");
        let faster = answer(&calibration, &deployment(|text| unlimited(text).replace("speed = 1.2", "speed = 2.4")));
        assert!(faster.ceiling_rate > 1.5 * reads.ceiling_rate, "{} after {}", faster.ceiling_rate, reads.ceiling_rate);
        // Where the disk is full first, only a faster disk helps.
        let disk = |to: &str| answer(&calibration, &deployment(|text| text.replace("disk_mib_per_second = 800", to)));
        let slow = disk("disk_mib_per_second = 100");
        let cores = answer(
            &calibration,
            &deployment(|text| {
                text.replace("disk_mib_per_second = 800", "disk_mib_per_second = 100")
                    .replace("speed = 1.2", "speed = 2.4")
            }),
        );
        assert!(slow.first.contains("disk") && (cores.ceiling_rate / slow.ceiling_rate - 1.0).abs() < 0.01, "{slow:?}");
        assert!(disk("disk_mib_per_second = 200").ceiling_rate > 1.9 * slow.ceiling_rate);
    }
}
