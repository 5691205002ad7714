//! Predictions for workloads that the calibration has not seen, held against runs.

use super::calibrate::complete;
use super::target::Target;
use super::{PlanArgs, conditions, deliver, report};
use crate::driver::{Stage, run};
use crate::plan::{Calibration, Setting, ceiling, predict};
use crate::stop::Stop;
use crate::verbs::progress::Line;
use crate::workload::{Load, Schedule, Span, Workload};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Mix, connections, unanswered requests on each, and values. None is in the calibration.
const WORKLOADS: [(&str, u32, u32, &str); 10] = [
    ("half", 50, 1, "100"),
    ("read-mostly", 50, 4, "100"),
    ("mixed", 50, 1, "100"),
    ("registry", 20, 4, "100"),
    ("queue", 30, 2, "100"),
    ("get=7,exists=3", 100, 1, "100"),
    ("set", 25, 1, "1000"),
    ("mixed", 20, 8, "50..2000"),
    ("get", 10, 1, "4000"),
    ("create=1,set=1", 80, 2, "100"),
];
/// Share of the predicted ceiling at which latency is compared.
const LOADED: f64 = 0.5;
/// What a prediction may be wrong by.
pub(super) const CEILING_GOAL: f64 = 0.15;
pub(super) const P50_GOAL: f64 = 0.15;
pub(super) const P99_GOAL: f64 = 0.30;

/// One figure, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    pub(super) predicted: f64,
    /// The median of the repeats.
    pub(super) measured: f64,
    /// Predicted over measured, less 1.
    pub(super) error: f64,
    /// Largest less smallest of the repeats, over their median.
    pub(super) spread: f64,
    /// The goal, or twice the spread where that is larger.
    pub(super) tolerance: f64,
    pub(super) within: bool,
}

impl Compared {
    fn new(predicted: f64, mut measured: Vec<f64>, goal: f64) -> Compared {
        measured.sort_unstable_by(f64::total_cmp);
        let median = measured.get(measured.len() / 2).copied().unwrap_or(f64::NAN);
        let spread = measured.last().zip(measured.first()).map_or(f64::NAN, |(high, low)| (high - low) / median);
        let (error, tolerance) = (predicted / median - 1.0, goal.max(2.0 * spread));
        Compared { predicted, measured: median, error, spread, tolerance, within: error.abs() <= tolerance }
    }
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) workload: String,
    /// Rate of the closed loop.
    pub(super) ceiling: Compared,
    /// Rate of the open loop whose latencies follow.
    pub(super) asked_rate: f64,
    pub(super) p50_us: Compared,
    pub(super) p99_us: Compared,
}

pub(super) fn main(args: &PlanArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let calibration = Calibration::read(&args.calibration)?;
    let target = Target::of(args)?;
    let conditions = conditions(&target, args.seed);
    let line = Line::new("verify");
    let (mut rows, mut ended) = (Vec::new(), None);
    for (number, (mix, connections, outstanding, values)) in WORKLOADS.into_iter().enumerate() {
        let workload = Workload { values: values.parse()?, ..target.workload(mix, connections, outstanding)? };
        let name = format!("{mix}, {connections} x {outstanding}, {values} bytes");
        line.part(&format!("{} of {}: {name}", number + 1, WORKLOADS.len()));
        match row(args, &calibration, &target, name, &workload, stop, &line) {
            Ok(row) => rows.push(row),
            Err(error) if !rows.is_empty() => {
                ended = Some(format!("{error:#}"));
                break;
            }
            Err(error) => return Err(error),
        }
    }
    drop(line);
    deliver(&report::verification(&rows, ended, &calibration, conditions)?, &args.output, stop)
}

fn row(
    args: &PlanArgs,
    calibration: &Calibration,
    target: &Target,
    name: String,
    workload: &Workload,
    stop: &Stop,
    line: &Line,
) -> anyhow::Result<Row> {
    // Predicted before anything of it is measured.
    let top = ceiling(&calibration.costs, workload, Setting::here());
    let asked_rate = (LOADED * top.rate).floor().max(1.0);
    let load = Load::Open { schedule: Schedule::fixed(asked_rate)?, poisson: true };
    let measure = Span(2 * workload.measure.0);
    let open = Workload { load, outstanding: 1000, measure, ..workload.clone() };
    let expected = predict(&calibration.costs, &open, Setting::here());
    let (mut rates, mut p50, mut p99) = (Vec::new(), Vec::new(), Vec::new());
    let stage = Stage::prepare(workload, stop)?;
    let measured = (0..args.repeats).try_for_each(|_| -> anyhow::Result<()> {
        let one = |workload: &Workload| {
            stop.check()?;
            complete(run(&stage, workload, Some(target.process), stop, &mut |progress| line.run(progress))?)
        };
        rates.push(one(workload)?.rate);
        let outcome = one(&open)?;
        p50.push(outcome.quantile_us(0.5));
        p99.push(outcome.quantile_us(0.99));
        Ok(())
    });
    let cleaned = stage.clean();
    measured?;
    cleaned?;
    Ok(Row {
        workload: name,
        ceiling: Compared::new(top.rate, rates, CEILING_GOAL),
        asked_rate,
        p50_us: Compared::new(expected.p50_us, p50, P50_GOAL),
        p99_us: Compared::new(expected.p99_us, p99, P99_GOAL),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_beyond_the_goal_widens_the_tolerance() {
        let tight = Compared::new(110.0, vec![99.0, 101.0, 100.0], 0.15);
        assert!(tight.within && (tight.tolerance - 0.15).abs() < 1e-9 && (tight.error - 0.1).abs() < 1e-9);
        assert!(!Compared::new(120.0, vec![99.0, 101.0, 100.0], 0.15).within);
        let wide = Compared::new(120.0, vec![90.0, 105.0, 100.0], 0.15);
        assert!(wide.within && (wide.tolerance - 0.3).abs() < 1e-9);
    }
}
