//! Measuring the model's parameters.

use super::target::Target;
use super::{PlanArgs, conditions, deliver, report};
use crate::driver::crowd::Crowd;
use crate::driver::{Bulk, Outcome, Stage, latencies, run};
use crate::plan::calibration::{Calibration, DiskCosts, MemoryCosts, Point, SCHEMA};
use crate::plan::distribution::Quantiles;
use crate::plan::fitting::{Observation, Purpose, fit, median};
use crate::plan::{Setting, predict};
use crate::process::{Resident, resident};
use crate::say;
use crate::stop::Stop;
use crate::verbs::progress::Line;
use crate::wire::request;
use crate::wire::session::asks;
use crate::workload::{Load, Schedule, Span, ValueSizes, WatchKind, Workload};
use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use std::process::ExitCode;
use std::time::Duration;

/// Connections and unanswered requests of the runs that tell how costs fall with batches.
const BATCHES: [(&str, u32, u32); 12] = [
    ("get", 1, 1),
    ("get", 1, 16),
    ("get", 4, 1),
    ("get", 16, 1),
    ("get", 50, 1),
    ("get", 200, 1),
    ("get", 50, 16),
    ("set", 1, 1),
    ("set", 8, 1),
    ("set", 50, 1),
    ("set", 200, 1),
    ("set", 50, 16),
];
/// The other operations. A delete needs something to delete.
const OPERATIONS: [&str; 8] =
    ["exists", "children", "sync", "create", "create=1,delete=1", "create_ephemeral", "create_sequential", "multi"];
const OPERATION_AT: (u32, u32) = (50, 4);
/// Values of the runs that tell what size costs, their keys, mixes, and connections.
const LONG: u32 = 16_384;
const LONG_KEYS: u64 = 200;
const SIZED: [&str; 3] = ["get", "create", "set"];
const SIZED_AT: (u32, u32) = (16, 2);
/// Rate of an open loop between whose requests everything sleeps.
const SLEEPY_RATE: f64 = 500.0;
/// Closed loops that tell what reads and writes cost each other.
const MIXED: [(&str, u32, u32); 5] =
    [(FEW_WRITES, 50, 1), (SOME_WRITES, 50, 1), (SOME_WRITES, 25, 1), (SOME_WRITES, 25, 4), (SHORT_LIVED, 40, 1)];
const FEW_WRITES: &str = "get=14,set=1";
const SOME_WRITES: &str = "get=3,set=1";
const SHORT_LIVED: &str = "get=3,create=1,delete=1";
/// Open loops that tell how latency grows with the load: at these shares of what a closed loop with the same mix, so many
/// connections and one unanswered request on each reached.
const LOADED: [(Purpose, &str, u32, f64); 10] = [
    (Purpose::Loaded, "get", 50, 0.15),
    (Purpose::Loaded, "get", 50, 0.4),
    (Purpose::Loaded, "get", 50, 0.7),
    (Purpose::Loaded, "set", 50, 0.3),
    (Purpose::Loaded, "set", 50, 0.6),
    (Purpose::Mixed, FEW_WRITES, 50, 0.5),
    (Purpose::Mixed, SOME_WRITES, 50, 0.3),
    (Purpose::Mixed, SOME_WRITES, 50, 0.6),
    (Purpose::Mixed, SHORT_LIVED, 40, 0.5),
    (Purpose::Mixed, SOME_WRITES, 25, 0.5),
];
/// Open loops are measured so many times as long: their tail counts.
const OPEN_TIMES: u32 = 4;

/// Runs of each workload; the median of each figure counts. Other work of the machine and its host shows in single runs.
const REPEATS: usize = 3;

/// A write lies in the write-ahead log and in a partition's.
const COPIES: f64 = 2.0;

/// What memory grows by where the kernel hands out huge pages.
const HUGE_PAGE_KIB: u64 = 2_048;
/// The first sessions also make room for tables and buffers that later ones share; those after them are counted.
const FIRST_SESSIONS: u32 = 500;
const SESSIONS: u32 = 3_000;
const NODES: u64 = 100_000;
const VALUE: u32 = 100;
const WIDE_NODES: u64 = 20_000;
const WIDE_VALUE: u32 = 2_000;
const WATCHES: u64 = 100_000;

pub(super) fn main(args: &PlanArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let target = Target::of(args)?;
    let conditions = conditions(&target, args.seed);
    let line = Line::new("calibrate");
    let memory = memory(&target, stop, &line)?;
    let mut runs = Runs { target: &target, stop, line: &line, done: 0, steps: Vec::new() };
    let disk = runs.all()?;
    line.say("fitting");
    let seen = runs.seen()?;
    let costs = fit(&seen)?;
    let points = seen.iter().map(|seen| {
        let predicted = predict(&costs, &seen.workload, Setting::here());
        Point {
            what: describe(&seen.workload),
            rate: (seen.rate, predicted.rate),
            server_us: (seen.server_us, predicted.server_us),
            generator_us: (seen.generator_us, predicted.generator_us),
            p50_us: (seen.latency.at(0.5), predicted.p50_us),
            p99_us: (seen.latency.at(0.99), predicted.p99_us),
        }
    });
    let calibration = Calibration { schema: SCHEMA, points: points.collect(), costs, memory, disk, conditions };
    drop(line);
    calibration.write(&args.calibration)?;
    say::note(&format!("calibration: {}", args.calibration.display()));
    deliver(&report::calibration(&calibration)?, &args.output, stop)
}

pub(super) fn describe(workload: &Workload) -> String {
    let values = workload.values.mean();
    let size = if values == 100.0 { String::new() } else { format!(", {values:.0} bytes") };
    match workload.asked_rate() {
        Some(rate) => format!("{}, {rate:.0}/s{size}", workload.mix),
        None => format!("{}, {} x {}{size}", workload.mix, workload.connections, workload.outstanding),
    }
}

/// One workload of the calibration, and what its runs showed.
struct Step {
    purpose: Purpose,
    workload: Workload,
    seen: Vec<Observation>,
    /// Latencies of all runs together: rare stalls fall into few of them, and the median of tails would drop those.
    together: Histogram<u64>,
    /// Bytes that each operation put on the disk.
    bytes: Vec<f64>,
}

impl Step {
    fn new(purpose: Purpose, workload: Workload) -> Step {
        Step { purpose, workload, seen: Vec::new(), together: latencies(), bytes: Vec::new() }
    }

    fn median_rate(&self) -> f64 {
        median(self.seen.iter().map(|seen| seen.rate).collect())
    }
}

/// All runs but those of long values in rounds, so that the repeats of each are minutes apart: what keeps the machine busy for
/// a while spoils one of them, not all.
struct Runs<'a> {
    target: &'a Target,
    stop: &'a Stop,
    line: &'a Line,
    done: usize,
    steps: Vec<Step>,
}

impl Runs<'_> {
    fn all(&mut self) -> anyhow::Result<DiskCosts> {
        let target = self.target;
        let short = target.workload("get", 1, 1)?;
        let long =
            |workload: Workload, bytes: u32| Workload { values: ValueSizes::Fixed(bytes), keys: LONG_KEYS, ..workload };
        let closed = |purpose, mix: &str, (connections, outstanding)| -> anyhow::Result<Step> {
            Ok(Step::new(purpose, target.workload(mix, connections, outstanding)?))
        };
        for (purpose, runs) in [(Purpose::Batches, &BATCHES[..]), (Purpose::Mixed, &MIXED[..])] {
            for (mix, connections, outstanding) in runs {
                self.steps.push(closed(purpose, mix, (*connections, *outstanding))?);
            }
        }
        for mix in OPERATIONS {
            self.steps.push(closed(Purpose::Operation, mix, OPERATION_AT)?);
        }
        for mix in SIZED {
            let Step { purpose, workload, .. } = closed(Purpose::Size, mix, SIZED_AT)?;
            self.steps.push(Step::new(purpose, long(workload, LONG)));
        }
        let mut stages = vec![Stage::prepare(&short, self.stop)?];
        let result = (0..REPEATS).try_for_each(|round| self.round(round, &stages[0])).and_then(|()| {
            stages.push(Stage::prepare(&long(short, LONG), self.stop)?);
            self.sizes(&stages[1])
        });
        self.line.say("cleaning up");
        let cleaned = stages.into_iter().map(Stage::clean).collect::<anyhow::Result<Vec<_>>>();
        result?;
        cleaned?;
        let bytes = |purpose: Purpose| {
            let last = self.steps.iter().rfind(|step| step.purpose == purpose);
            last.map_or(0.0, |step| median(step.bytes.clone()))
        };
        let (disk_short, disk_long) = (bytes(Purpose::Batches), bytes(Purpose::Size));
        let value_byte = ((disk_long - disk_short) / f64::from(LONG - VALUE)).max(1.0);
        let write = (disk_short - f64::from(VALUE) * value_byte).max(0.0);
        Ok(DiskCosts { write, value_byte, znode: write / COPIES, empty: 32.0 * 1024.0 * 1024.0 })
    }

    fn round(&mut self, round: usize, stage: &Stage) -> anyhow::Result<()> {
        for at in 0..self.steps.len() {
            if self.steps[at].purpose != Purpose::Size {
                self.run(round, at, stage)?;
            }
        }
        if round == 0 {
            let closed = self.steps.len();
            self.add_open_loops()?;
            (closed..self.steps.len()).try_for_each(|at| self.run(round, at, stage))?;
        }
        Ok(())
    }

    /// Long values come last: what they leave to be written in the background keeps the disk busy for a while, and stalls of it
    /// would be taken for the machine's usual ones.
    fn sizes(&mut self, stage: &Stage) -> anyhow::Result<()> {
        for round in 0..REPEATS {
            for at in 0..self.steps.len() {
                if self.steps[at].purpose == Purpose::Size {
                    self.run(round, at, stage)?;
                }
            }
        }
        Ok(())
    }

    /// Open loops, whose rates follow from what the closed loops of the first round reached.
    fn add_open_loops(&mut self) -> anyhow::Result<()> {
        let reached = |mix: &str, connections: u32| -> anyhow::Result<f64> {
            let wanted = self.target.workload(mix, connections, 1)?;
            let same = |step: &&Step| {
                let known = &step.workload;
                (&known.mix, known.connections, known.outstanding) == (&wanted.mix, connections, 1)
            };
            let step = self.steps.iter().find(same);
            Ok(step.with_context(|| format!("no closed loop of {mix} was run"))?.median_rate())
        };
        let mut rates = vec![(Purpose::DeepSleep, "get", 50, SLEEPY_RATE, false)];
        for (purpose, mix, connections, share) in LOADED {
            rates.push((purpose, mix, connections, share * reached(mix, connections)?, true));
        }
        for (purpose, mix, connections, rate, poisson) in rates {
            let plain = self.target.workload(mix, connections, 1000)?;
            let load = Load::Open { schedule: Schedule::fixed(rate.floor().max(1.0))?, poisson };
            let measure = Span(plain.measure.0 * OPEN_TIMES);
            self.steps.push(Step::new(purpose, Workload { load, measure, ..plain }));
        }
        Ok(())
    }

    fn run(&mut self, round: usize, at: usize, stage: &Stage) -> anyhow::Result<()> {
        const ALL: usize = REPEATS * (BATCHES.len() + MIXED.len() + OPERATIONS.len() + SIZED.len() + LOADED.len() + 1);
        self.done += 1;
        let Step { purpose, workload, .. } = &self.steps[at];
        self.line.part(&format!("{} of {ALL}: {}", self.done, describe(workload)));
        self.stop.check()?;
        let before = written_bytes(self.target.process);
        let outcome = complete(run(stage, workload, &[self.target.process], self.stop, &mut |progress| {
            self.line.run(progress)
        })?)?;
        let after = written_bytes(self.target.process);
        let seen = observation(*purpose, workload, &outcome)?;
        let all = outcome.rate * (workload.warm_up.0 + workload.measure.0).as_secs_f64();
        let bytes = before.zip(after).map_or(0.0, |(before, after)| after.saturating_sub(before) as f64 / all.max(1.0));
        debug_assert_eq!(self.steps[at].seen.len(), round);
        self.steps[at].seen.push(seen);
        self.steps[at].together.add(&outcome.latency_ns).context("latencies of one kind add up")?;
        self.steps[at].bytes.push(bytes);
        Ok(())
    }

    fn seen(&self) -> anyhow::Result<Vec<Observation>> {
        let of = |step: &Step| {
            let seen = Observation::median(&step.seen).context("nothing was run")?;
            Ok(Observation { latency: seen.latency.with_tail(&Quantiles::of(&step.together)), ..seen })
        };
        self.steps.iter().map(of).collect()
    }
}

/// A run that measured what it was to measure.
pub(super) fn complete(outcome: Outcome) -> anyhow::Result<Outcome> {
    match &outcome.ended_early {
        Some(why) => bail!("{why}"),
        None if outcome.errors > 0 => bail!("{} requests failed: {:?}", outcome.errors, outcome.record.errors),
        None => Ok(outcome),
    }
}

fn observation(purpose: Purpose, workload: &Workload, outcome: &Outcome) -> anyhow::Result<Observation> {
    let server = outcome.server.context(
        "the server's processor time cannot be read: has its process ended, or does it belong to somebody else?",
    )?;
    Ok(Observation {
        purpose,
        workload: workload.clone(),
        rate: outcome.rate,
        // What other threads do, such as writing partition logs, delays no reply.
        server_us: server.busiest_thread * 1e6 / outcome.rate.max(1.0),
        generator_us: outcome.generator.cpu_us_per_op,
        busiest_server: server.busiest_thread,
        busiest_generator: outcome.generator.busiest_thread,
        latency: Quantiles::of(&outcome.latency_ns),
        late_us: outcome.record.lag_ns.value_at_quantile(0.5) as f64 / 1e3,
    })
}

/// Bytes that a process had written to disks so far.
fn written_bytes(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok())
}

fn memory(target: &Target, stop: &Stop, line: &Line) -> anyhow::Result<MemoryCosts> {
    let look = || resident(target.process).context("the server's memory cannot be read");
    let growth = |before: Resident, after: Resident, count: u64| {
        let per = |before: u64, after: u64| after.saturating_sub(before) as f64 * 1024.0 / count as f64;
        // Some of it may have found room in a huge page that was there: one more is on the safe side.
        (per(before.anon_kib, after.anon_kib + HUGE_PAGE_KIB), per(before.file_kib, after.file_kib))
    };
    let before = look()?;
    // Everything grows on top of what is there, so that no memory is used again; sessions, which take least, while there is
    // nothing yet that could be given back.
    line.part("memory of sessions");
    let all = asks(&target.servers, FIRST_SESSIONS + SESSIONS, Duration::from_secs(30), None)?;
    let (first, rest) = all.split_at(FIRST_SESSIONS as usize);
    let first = Crowd::open(first, stop, |_| {})?;
    let few = look()?;
    let crowd = Crowd::open(rest, stop, |open| line.count(open as u64, SESSIONS.into(), "sessions"))?;
    let held = look()?;
    line.part("memory of nodes");
    let plain = target.workload("get", 1, 1)?;
    let stage = Stage::prepare(&Workload { keys: NODES, values: ValueSizes::Fixed(VALUE), ..plain.clone() }, stop)?;
    let (filled, narrow) = (look()?, NODES);
    line.part("memory of watches");
    let watching = watch_all(target, &stage, stop)?;
    let watched = look()?;
    watching.close()?;
    crowd.close()?;
    first.close()?;
    line.part("memory of values");
    let middle = look()?;
    let wide = Stage::prepare(&Workload { keys: WIDE_NODES, values: ValueSizes::Fixed(WIDE_VALUE), ..plain }, stop);
    let wide_filled = look()?;
    line.say("cleaning up");
    stage.clean()?;
    wide?.clean()?;
    let (anon, mapped) = growth(held, filled, narrow);
    let (wide_anon, wide_mapped) = growth(middle, wide_filled, WIDE_NODES);
    let per_byte = |wide: f64, narrow: f64| ((wide - narrow) / f64::from(WIDE_VALUE - VALUE)).max(0.0);
    // What was not read yet is in the page cache, not mapped: a value takes its size in any case.
    let (value_byte, mapped_value_byte) = (per_byte(wide_anon, anon), per_byte(wide_mapped, mapped).max(1.0));
    Ok(MemoryCosts {
        empty: before.anon_kib as f64 * 1024.0,
        znode: (anon - f64::from(VALUE) * value_byte).max(0.0),
        value_byte,
        mapped_znode: (mapped - f64::from(VALUE) * mapped_value_byte).max(0.0),
        mapped_value_byte,
        session: growth(few, held, SESSIONS.into()).0,
        watch: growth(filled, watched, WATCHES).0,
    })
}

/// One watch on each of many nodes.
fn watch_all(target: &Target, stage: &Stage, stop: &Stop) -> anyhow::Result<Bulk> {
    let mut bulk = Bulk::usual(&target.servers, stop)?;
    let mut path = Vec::new();
    let encode = |number: u64, xid: i32, out: &mut Vec<u8>| {
        stage.tree().key(number, &mut path);
        request::watch(out, xid, WatchKind::Data, &path);
    };
    bulk.all(WATCHES, encode, |answer| match answer.error {
        0 => Ok(()),
        error => bail!("a watch cannot be left: {}", crate::wire::reply::error_name(error)),
    })?;
    Ok(bulk)
}
