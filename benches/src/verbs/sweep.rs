//! `sweep`: the highest rate that holds an objective, and latency against load.

mod search;

use super::deliver;
use super::flags::{OutputFlags, ServerFlags, WorkloadFlags};
use super::progress::Line;
use crate::driver::{Outcome, Stage, run};
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Plot, RunFigures, Scale, Series, Table};
use crate::stop::Stop;
use crate::workload::{Load, Schedule, Workload};
use anyhow::{Context, bail, ensure};
use clap::Args;
use search::Search;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// The closed loop that tells where to begin is measured no longer than this.
const CLOSED_MAX: Duration = Duration::from_secs(3);
/// The lowest rate that is tried is this part of what a closed loop reaches, or of the first rate.
const LEAST: f64 = 64.0;
/// Near the answer a try takes so many times as long.
const CLOSE_TIMES: u32 = 2;

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
    /// Stop when the answer is known to this share of itself, percent.
    #[arg(long, default_value_t = 3.0, value_name = "PERCENT")]
    precision: f64,
    /// A rate that failed, and any rate near the answer, is tried again up to so many times; most tries decide. Near the answer
    /// each try takes twice as long.
    #[arg(long, default_value_t = 2)]
    repeats: u32,
    #[command(flatten)]
    output: OutputFlags,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    text: String,
    bounds: Vec<Bound>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Bound {
    QuantileUs(f64, f64),
    MaxUs(f64),
    Errors(u64),
}

impl FromStr for Objective {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Objective> {
        let bound = |part: &str| -> anyhow::Result<Bound> {
            let form = || format!("{part:?} is not a bound such as p99<=5ms or errors=0");
            let (figure, limit) = part.split_once("<=").or_else(|| part.split_once('=')).with_context(form)?;
            let limit = limit.trim();
            let us = || -> anyhow::Result<f64> {
                let span: crate::workload::Span = limit.parse().with_context(form)?;
                ensure!(!span.0.is_zero(), form());
                Ok(span.0.as_secs_f64() * 1e6)
            };
            Ok(match figure.trim() {
                "p50" => Bound::QuantileUs(0.5, us()?),
                "p90" => Bound::QuantileUs(0.9, us()?),
                "p99" => Bound::QuantileUs(0.99, us()?),
                "p99.9" => Bound::QuantileUs(0.999, us()?),
                "max" => Bound::MaxUs(us()?),
                "errors" => Bound::Errors(limit.parse().with_context(form)?),
                other => bail!("{other:?} is no figure of an objective: p50, p90, p99, p99.9, max or errors"),
            })
        };
        let bounds = text.split(',').map(bound).collect::<anyhow::Result<_>>()?;
        Ok(Objective { text: text.to_owned(), bounds })
    }
}

impl Objective {
    /// What an outcome misses, if anything.
    fn missed(&self, outcome: &Outcome) -> Option<String> {
        if outcome.latency_ns.is_empty() {
            return Some("nothing was asked in the measured time".to_owned());
        }
        if outcome.fell_short() {
            return Some(format!("only {}/s were answered", number(outcome.rate)));
        }
        self.bounds.iter().find_map(|bound| match *bound {
            Bound::QuantileUs(quantile, limit) if outcome.quantile_us(quantile) > limit => {
                Some(format!("p{} was {}", quantile * 100.0, time(outcome.quantile_us(quantile))))
            }
            Bound::MaxUs(limit) if outcome.max_us() > limit => Some(format!("max was {}", time(outcome.max_us()))),
            Bound::Errors(limit) if outcome.errors > limit => Some(format!("{} errors", outcome.errors)),
            _ => None,
        })
    }
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
    let workload = WorkloadFlags { poisson: false, ..args.workload.clone() }.workload()?;
    if args.workload.rate.is_some() || matches!(workload.load, Load::Open { .. }) {
        bail!("a sweep chooses its rates itself: --from gives the first; rate and schedule are for `run`");
    }
    ensure!((0.1..=50.0).contains(&args.precision), "--precision is {} %, not between 0.1 and 50", args.precision);
    let processes = args.server.processes(&workload.servers)?;
    let conditions = Conditions::gather(&workload.servers, workload.seed);
    let line = Line::new("sweep");
    line.say("making keys");
    let stage = Stage::prepare(&workload, stop)?;
    let swept = try_rates(args, &workload, &stage, &processes, stop, &line);
    line.say("cleaning up");
    let cleaned = stage.clean();
    drop(line);
    let code = deliver(&document(args, &workload, &swept?, conditions)?, &args.output, stop)?;
    cleaned?;
    Ok(code)
}

fn try_rates(
    args: &SweepArgs,
    workload: &Workload,
    stage: &Stage,
    processes: &[u32],
    stop: &Stop,
    line: &Line,
) -> anyhow::Result<Swept> {
    line.say("a closed loop, to know where to begin");
    let measure = crate::workload::Span(workload.measure.0.min(CLOSED_MAX));
    let closed = Workload { measure, outstanding: 1, load: Load::Closed, ..workload.clone() };
    let saturated = run(stage, &closed, processes, stop, &mut |progress| line.run(progress))?.rate.max(1.0);
    let first = args.from.unwrap_or(saturated / 2.0);
    let mut search = Search::new(first, (saturated.min(first) / LEAST).max(Search::RATE_MIN));
    let mut steps: Vec<Step> = Vec::new();
    let swept = |steps, search: Search| {
        Ok(Swept { steps, held: search.held, failed: search.failed, floor: search.floor, saturated })
    };
    loop {
        if stop.is_set() && !steps.is_empty() {
            return swept(steps, search);
        }
        let rate = search.next;
        let open = Load::Open { schedule: Schedule::fixed(rate)?, poisson: args.workload.poisson };
        // A closed loop's number of unanswered requests would hold an open loop back.
        let outstanding = args.workload.outstanding.map_or(1000, std::num::NonZeroU32::get);
        let measure = workload.measure.0 * if search.close() { CLOSE_TIMES } else { 1 };
        let at_rate = Workload { load: open, outstanding, measure: crate::workload::Span(measure), ..workload.clone() };
        let (mut tries, mut failures) = (0, 0);
        let held = loop {
            let outcome = match run(stage, &at_rate, processes, stop, &mut |progress| line.run(progress)) {
                Err(_) if stop.is_set() && !steps.is_empty() => return swept(steps, search),
                outcome => outcome?,
            };
            let missed = args.objective.missed(&outcome);
            let (failed, ended) = (missed.is_some(), outcome.ended_early.is_some());
            steps.push(Step { asked_rate: rate, missed, run: RunFigures::of(&outcome, &at_rate) });
            if ended {
                return swept(steps, search);
            }
            tries += 1;
            failures += u32::from(failed);
            let most = args.repeats / 2 + 1;
            match () {
                () if failures >= most => break false,
                () if tries - failures >= most || (failures == 0 && !search.near()) => break true,
                () if tries > args.repeats => break false,
                () => {}
            }
        };
        if !search.book(held, args.precision / 100.0) {
            return swept(steps, search);
        }
    }
}

/// All rates that were tried, the highest that held, and the lowest above that which did not.
struct Swept {
    steps: Vec<Step>,
    held: Option<f64>,
    failed: Option<f64>,
    /// No rate below this was to be tried.
    floor: f64,
    /// What a closed loop reached.
    saturated: f64,
}

fn document(args: &SweepArgs, workload: &Workload, swept: &Swept, conditions: Conditions) -> anyhow::Result<Document> {
    let objective = &args.objective.text;
    let Swept { steps, held: knee, failed, floor, saturated } = swept;
    let at_knee = steps.iter().rfind(|step| Some(step.asked_rate) == *knee && step.missed.is_none());
    let above = steps.iter().rfind(|step| Some(step.asked_rate) == *failed && step.missed.is_some());
    let mut answer = match (knee, at_knee) {
        (Some(rate), Some(step)) => format!(
            "The server holds {objective} up to {} requests per second (there: p50 {}, p99 {}).",
            number(*rate),
            time(step.run.latency.p50_us),
            time(step.run.latency.p99_us)
        ),
        _ if failed.is_some_and(|failed| failed <= *floor) => format!(
            "No rate that was tried held {objective}, not even {}/s, a small part of the {}/s that a closed loop reached: it is not the \
             load that misses it.",
            number(*floor),
            number(*saturated)
        ),
        _ => format!("No rate that was tried held {objective}."),
    };
    if let Some(above) = above
        && let Some(missed) = &above.missed
    {
        answer += &format!(" At {}/s it does not: {missed}.", number(above.asked_rate));
    }
    let mut warnings = Vec::new();
    if steps.iter().any(|step| step.run.generator_saturated) {
        warnings.push("at some rates the generator was saturated before the server; use more --threads".to_owned());
    }
    if let Some(why) = steps.iter().find_map(|step| step.run.ended_early.as_ref()) {
        warnings.push(format!("the sweep ended early: {why}"));
    }
    Ok(Document {
        verb: "sweep",
        title: format!("Sweep for {objective}: {}; {} connections", workload.mix, workload.connections),
        answer,
        warnings,
        tables: vec![table(steps)],
        plots: plots(args, steps),
        conditions,
        figures: serde_json::json!({
            "workload": serde_json::to_value(workload)?,
            "sweep": { "objective": objective, "closed_loop_rate": saturated, "knee_rate": knee, "steps": serde_json::to_value(steps)? },
        }),
    })
}

fn in_order(steps: &[Step]) -> Vec<&Step> {
    let mut steps: Vec<&Step> = steps.iter().collect();
    steps.sort_by(|a, b| a.asked_rate.total_cmp(&b.asked_rate));
    steps
}

fn table(steps: &[Step]) -> Table {
    let columns = [
        "asked /s",
        "answered /s",
        "p50",
        "p99",
        "p99.9",
        "max",
        "errors",
        "server us/op",
        "generator us/op",
        "objective",
    ];
    let mut table = Table::new("Load and latency", &columns);
    for step in in_order(steps) {
        let cpu = |us: Option<f64>| us.map_or("-".to_owned(), number);
        table.row([
            number(step.asked_rate),
            number(step.run.rate),
            time(step.run.latency.p50_us),
            time(step.run.latency.p99_us),
            time(step.run.latency.p999_us),
            time(step.run.latency.max_us),
            number(step.run.errors as f64),
            cpu(step.run.server.as_ref().map(|server| server.cpu_us_per_op)),
            cpu(Some(step.run.generator.cpu_us_per_op)),
            step.missed.clone().unwrap_or_else(|| "held".to_owned()),
        ]);
    }
    table
}

/// One try for every rate: that with the median p99.
fn typical(steps: &[Step]) -> Vec<&Step> {
    let by_rate = in_order(steps);
    let tries = by_rate.chunk_by(|one, other| one.asked_rate == other.asked_rate);
    tries
        .map(|tries| {
            let mut tries = tries.to_vec();
            tries.sort_by(|one, other| one.run.latency.p99_us.total_cmp(&other.run.latency.p99_us));
            tries[tries.len() / 2]
        })
        .collect()
}

fn plots(args: &SweepArgs, steps: &[Step]) -> Vec<Plot> {
    let steps = typical(steps);
    let line = |name: &str, pick: fn(&RunFigures) -> f64| {
        Series::new(name, steps.iter().map(|step| (step.asked_rate, pick(&step.run) / 1e3)))
    };
    let ends = || [steps.first(), steps.last()].into_iter().flatten().map(|step| step.asked_rate);
    let goals = args.objective.bounds.iter().filter_map(|bound| match bound {
        Bound::QuantileUs(_, us) | Bound::MaxUs(us) => {
            Some(Series::new("objective", ends().map(|rate| (rate, us / 1e3)).collect::<Vec<_>>()).dashed())
        }
        Bound::Errors(_) => None,
    });
    let load = ("offered load, requests per second", Scale::Linear);
    let server = steps.iter().filter_map(|step| Some((step.asked_rate, step.run.server.as_ref()?.processors)));
    let generator = steps.iter().map(|step| (step.asked_rate, step.run.generator.processors));
    vec![
        Plot::new("latency-load", "Latency against offered load", load, ("latency, ms", Scale::Log)).with(
            [
                line("p50", |run| run.latency.p50_us),
                line("p99", |run| run.latency.p99_us),
                line("p99.9", |run| run.latency.p999_us),
            ]
            .into_iter()
            .chain(goals),
        ),
        Plot::new("processors-load", "Processors in use against offered load", load, ("processors", Scale::Linear))
            .with([Series::new("server", server), Series::new("generator", generator)]),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn objectives_are_read() {
        let objective: Objective = "p99<=5ms, errors=0,max<=1s".parse().unwrap();
        assert_eq!(objective.bounds, [Bound::QuantileUs(0.99, 5000.0), Bound::Errors(0), Bound::MaxUs(1e6)]);
        for text in ["", "p99", "p98<=1ms", "p99<=fast", "errors=few", "p99<=0"] {
            assert!(text.parse::<Objective>().is_err(), "{text}");
        }
    }
}
