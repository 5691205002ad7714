//! `sweep`: the highest rate that holds an objective, and latency against load.

mod fit;
mod machine;
mod objective;
mod report;
mod search;

use super::deliver;
use super::flags::{OutputFlags, ServerFlags, WorkloadFlags};
use super::progress::Line;
use crate::driver::{Outcome, Stage, run};
use crate::report::{Conditions, RunFigures};
use crate::stop::Stop;
use crate::workload::{Load, Schedule, Settings, Span, Workload};
use anyhow::{bail, ensure};
use clap::Args;
use machine::Machine;
use objective::Objective;
use search::Search;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::Duration;

/// The closed loop that tells where to begin, and how steady the machine is, is measured no longer than this.
const CLOSED_MAX: Duration = Duration::from_secs(3);
/// Times of a try, unless given. They are many.
const WARM_UP: Span = Span::seconds(1);
const MEASURE: Span = Span::seconds(3);
/// Parts of the answer that are tried in the end where no rate nearby was, for the plot.
const LOWER: [f64; 3] = [0.25, 0.5, 0.75];
const NEARBY: f64 = 0.1;
/// A rate that failed on the way up is tried so often at the most; the majority decides.
const MAJORITY_OF: u32 = 3;
/// The lowest rate that is tried is this part of what a closed loop reaches, or of the first rate.
const LEAST: f64 = 64.0;

/// Finds the highest rate that holds an objective, with the open loop.
#[derive(Args, Clone, Debug)]
pub struct SweepArgs {
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    server: ServerFlags,
    /// What must hold, as in "p99<=5ms,errors=0"; p50, p90, p99, p99.9, max (times) and errors (a count).
    #[arg(long, default_value = "p99<=5ms,errors=0")]
    objective: Objective,
    /// The first rate [default: half of what a short closed loop with one unanswered request on each connection reaches].
    #[arg(long, value_name = "RATE")]
    from: Option<f64>,
    /// Near the answer the next rate is so much higher after a try that held, and lower after one that failed, percent.
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    precision: f64,
    /// So many tries near the answer, which is the rate at which half of all tries hold, as a curve through them tells.
    #[arg(long, default_value_t = 26, value_parser = clap::value_parser!(u32).range(1..=1000))]
    tries: u32,
    #[command(flatten)]
    output: OutputFlags,
}

/// One rate that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Requests per second.
    pub asked_rate: f64,
    /// What the objective missed; absent if it held.
    pub missed: Option<String>,
    /// Everything measured.
    pub run: RunFigures,
}

/// Carries it out.
///
/// # Errors
/// Nothing could be measured, or the report cannot be written.
pub fn main(args: &SweepArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    // Arrivals are of the rates that are tried: alone they mean nothing.
    let below = Settings { warm_up: Some(WARM_UP), measure: Some(MEASURE), ..Settings::default() };
    let workload = WorkloadFlags { poisson: false, ..args.workload.clone() }.workload_over(below)?;
    if args.workload.rate.is_some() || matches!(workload.load, Load::Open { .. }) {
        bail!("a sweep chooses its rates itself: --from gives the first; rate and schedule are for `run`");
    }
    ensure!((0.1..=50.0).contains(&args.precision), "--precision is {} %, not between 0.1 and 50", args.precision);
    let processes = args.server.processes(&workload.servers)?;
    let conditions = Conditions::gather(&workload.servers, workload.seed);
    let line = Line::new("sweep");
    line.say("making keys");
    let stage = Stage::prepare(&workload, stop)?;
    let swept = Sweep { args, workload: &workload, stage: &stage, processes: &processes, stop, line: &line }.all();
    line.say("cleaning up");
    let cleaned = stage.clean();
    drop(line);
    let swept = swept?;
    let code = deliver(&report::document(args, &workload, &swept, conditions)?, &args.output, stop)?;
    match swept.ended {
        Some(why) if !stop.is_set() => bail!("the sweep ended early: {why}"),
        _ => cleaned.map(|_| code),
    }
}

/// All rates that were tried, and what the search makes of them.
struct Swept {
    steps: Vec<Step>,
    search: Search,
    machine: Machine,
    /// Why it ended before its time; absent if it did not.
    ended: Option<String>,
}

/// What every measurement of a sweep needs.
struct Sweep<'a> {
    args: &'a SweepArgs,
    workload: &'a Workload,
    stage: &'a Stage,
    processes: &'a [u32],
    stop: &'a Stop,
    line: &'a Line,
}

impl Sweep<'_> {
    fn all(&self) -> anyhow::Result<Swept> {
        self.line.say("a closed loop, to know where to begin");
        let mut machine = Machine::default();
        machine.add(&self.closed_loop()?);
        let saturated = machine.rates[0].max(1.0);
        let first = self.args.from.unwrap_or(saturated / 2.0);
        let floor = (saturated.min(first) / LEAST).max(Search::RATE_MIN);
        let search = Search::new(first, floor, self.args.precision / 100.0);
        let mut swept = Swept { steps: Vec::new(), search, machine, ended: None };
        match self.search(&mut swept).and_then(|()| self.lower(&mut swept)) {
            Err(error) if swept.steps.is_empty() => return Err(error),
            // What was measured until something went wrong is told.
            Err(error) => _ = swept.ended.get_or_insert(format!("{error:#}")),
            Ok(()) => {}
        }
        Ok(swept)
    }

    fn search(&self, swept: &mut Swept) -> anyhow::Result<()> {
        loop {
            let Some(held) = self.most(swept)? else { return Ok(()) };
            let tries = self.args.tries as usize;
            let goes_on = swept.search.book(held, tries);
            // The same once more in the middle and at the end: how far these are apart is the machine's doing.
            let halfway = swept.search.close() && swept.search.close_tries() == (tries / 2).max(1);
            if halfway || !goes_on {
                self.line.say("a closed loop, to know how steady the machine is");
                swept.machine.add(&self.closed_loop()?);
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Latency where there is less load: not for the answer, but for who looks at the plot.
    fn lower(&self, swept: &mut Swept) -> anyhow::Result<()> {
        let Some((_, knee, _)) = swept.search.answer() else { return Ok(()) };
        for rate in LOWER.map(|part| (part * knee).round()) {
            let nearby = |step: &Step| (step.asked_rate / rate - 1.0).abs() < NEARBY;
            if swept.ended.is_none() && rate >= Search::RATE_MIN && !swept.steps.iter().any(nearby) {
                self.step(swept, rate)?;
            }
        }
        Ok(())
    }

    fn closed_loop(&self) -> anyhow::Result<Outcome> {
        let measure = Span(self.workload.measure.0.min(CLOSED_MAX));
        let closed = Workload { measure, outstanding: 1, load: Load::Closed, ..self.workload.clone() };
        self.run(&closed)
    }

    /// Whether the next rate holds: near the answer, or if it does at once, by one try, otherwise by most of three. `None` if
    /// there is no more to be had.
    fn most(&self, swept: &mut Swept) -> anyhow::Result<Option<bool>> {
        let rate = swept.search.next;
        let (mut tries, mut failures) = (0, 0);
        loop {
            let held = self.step(swept, rate)?;
            if swept.ended.is_some() {
                return Ok(None);
            }
            swept.search.note(held);
            let failed = !held;
            (tries, failures) = (tries + 1, failures + u32::from(failed));
            match () {
                () if swept.search.close() || failures == 0 => return Ok(Some(!failed)),
                () if 2 * failures > MAJORITY_OF => return Ok(Some(false)),
                () if 2 * (tries - failures) > MAJORITY_OF => return Ok(Some(true)),
                () => {}
            }
        }
    }

    /// One try: whether it held.
    fn step(&self, swept: &mut Swept, rate: f64) -> anyhow::Result<bool> {
        let load = Load::Open { schedule: Schedule::fixed(rate)?, poisson: self.args.workload.poisson };
        // A closed loop's number of unanswered requests would hold an open loop back.
        let outstanding = self.args.workload.outstanding.map_or(1000, std::num::NonZeroU32::get);
        let at_rate = Workload { load, outstanding, ..self.workload.clone() };
        let outcome = self.run(&at_rate)?;
        let missed = self.args.objective.missed(&outcome);
        let held = missed.is_none();
        swept.steps.push(Step { asked_rate: rate, missed, run: RunFigures::of(&outcome, &at_rate) });
        swept.ended = outcome.ended_early;
        Ok(held)
    }

    fn run(&self, workload: &Workload) -> anyhow::Result<Outcome> {
        run(self.stage, workload, self.processes, self.stop, &mut |progress| self.line.run(progress))
    }
}
