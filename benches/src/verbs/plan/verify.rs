//! Predictions for workloads that the calibration has not seen, held against runs.

use super::calibrate::{complete, describe};
use super::target::Target;
use super::{PlanArgs, conditions, deliver, report};
use crate::driver::{Stage, latencies, run};
use crate::plan::{Calibration, Setting, ceiling, median, predict};
use crate::report::figures::spread;
use crate::stop::Stop;
use crate::verbs::progress::Line;
use crate::workload::{Load, Schedule, Workload};
use anyhow::{Context, bail};
use hdrhistogram::Histogram;
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
/// Latency is compared in an open loop at this share of what a closed loop with one unanswered request on each connection was
/// measured to reach.
pub(super) const LOADED: f64 = 0.5;
/// Closed loops of the calibration that are run again.
const REFERENCES: [(&str, u32, u32); 2] = [("get", 50, 1), ("set", 50, 1)];
/// What a prediction may be wrong by.
pub(super) const CEILING_GOAL: f64 = 0.15;
pub(super) const P50_GOAL: f64 = 0.15;
pub(super) const P99_GOAL: f64 = 0.30;

/// One figure, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    pub(super) predicted: f64,
    /// The median of the repeats; of a tail, that of all repeats together.
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
        let apart = spread(&measured).unwrap_or(if median.is_nan() { f64::NAN } else { 0.0 });
        Compared::with(predicted, median, apart, goal)
    }

    fn with(predicted: f64, measured: f64, spread: f64, goal: f64) -> Compared {
        let (error, tolerance) = (predicted / measured - 1.0, goal.max(2.0 * spread));
        Compared { predicted, measured, error, spread, tolerance, within: error.abs() <= tolerance }
    }

    /// A tail, which rare stalls make: it is that of all requests together, as the median of the repeats would drop those
    /// that fall into one of them.
    fn tail(predicted: f64, together: f64, measured: Vec<f64>, goal: f64) -> Compared {
        Compared::with(predicted, together, Compared::new(predicted, measured, goal).spread, goal)
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

/// A workload under verification.
struct Case {
    name: String,
    workload: Workload,
    stage: Stage,
    /// Rate of the open loop, which follows from what the first round measured.
    asked_rate: f64,
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Latencies of all open loops together.
    together: Histogram<u64>,
}

impl Case {
    fn open_loop(&self) -> anyhow::Result<Workload> {
        let load = Load::Open { schedule: Schedule::fixed(self.asked_rate)?, poisson: true };
        Ok(Workload { load, outstanding: 1000, ..self.workload.clone() })
    }

    /// The predictions know nothing of the measurements but the rate of the open loop.
    fn row(&self, calibration: &Calibration) -> anyhow::Result<Row> {
        let top = ceiling(&calibration.costs, &self.workload, Setting::here());
        let expected = predict(&calibration.costs, &self.open_loop()?, Setting::here());
        let together_us = self.together.value_at_quantile(0.99) as f64 / 1e3;
        Ok(Row {
            workload: self.name.clone(),
            ceiling: Compared::new(top.rate, self.rates.clone(), CEILING_GOAL),
            asked_rate: self.asked_rate,
            p50_us: Compared::new(expected.p50_us, self.p50.clone(), P50_GOAL),
            p99_us: Compared::tail(expected.p99_us, together_us, self.p99.clone(), P99_GOAL),
        })
    }
}

pub(super) fn main(args: &PlanArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let calibration = Calibration::read(&args.calibration)?;
    if let Some(wrong) = args.only.iter().find(|number| !(1..=WORKLOADS.len()).contains(number)) {
        bail!("--only {wrong}: workloads are numbered from 1 to {}", WORKLOADS.len());
    }
    let target = Target::of(args)?;
    let conditions = conditions(&target, args.seed);
    let line = Line::new("verify");
    let (mut cases, mut references) = (Vec::new(), Vec::new());
    let ended = match measure(args, &target, stop, &line, &mut cases, &mut references) {
        Err(error) if cases.iter().any(|case| !case.p99.is_empty()) => Some(format!("{error:#}")),
        measured => measured.map(|()| None)?,
    };
    line.say("predicting");
    let rows: Vec<Row> = cases
        .iter()
        .filter(|case| !case.p99.is_empty())
        .map(|case| case.row(&calibration))
        .collect::<anyhow::Result<_>>()?;
    let cleaned = cases.into_iter().map(|case| case.stage.clean()).collect::<anyhow::Result<Vec<_>>>();
    drop(line);
    let drifts = references.iter().filter_map(|(what, rates)| drift(&calibration, what, rates)).collect::<Vec<_>>();
    let code =
        deliver(&report::verification(&rows, &drifts, ended.clone(), &calibration, conditions)?, &args.output, stop)?;
    if ended.is_none() {
        cleaned?;
    }
    Ok(code)
}

/// A workload of the calibration, run once more: how fast the machine is now, against then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Drift {
    pub(super) workload: String,
    pub(super) calibrated_rate: f64,
    pub(super) rate: f64,
}

fn drift(calibration: &Calibration, what: &str, rates: &[f64]) -> Option<Drift> {
    let point = calibration.points.iter().find(|point| point.what == what)?;
    (!rates.is_empty()).then(|| Drift {
        workload: what.to_owned(),
        calibrated_rate: point.rate.0,
        rate: median(rates.to_vec()),
    })
}

/// All runs, in rounds: the repeats of a workload are minutes apart, so that their spread is the machine's.
fn measure(
    args: &PlanArgs,
    target: &Target,
    stop: &Stop,
    line: &Line,
    cases: &mut Vec<Case>,
    references: &mut Vec<(String, Vec<f64>)>,
) -> anyhow::Result<()> {
    line.say("making keys");
    for (number, (mix, connections, outstanding, values)) in (1..).zip(WORKLOADS) {
        if !args.only.is_empty() && !args.only.contains(&number) {
            continue;
        }
        let workload = Workload { values: values.parse()?, ..target.workload(mix, connections, outstanding)? };
        cases.push(Case {
            name: format!("{number}: {mix}, {connections} x {outstanding}, {values} bytes"),
            stage: Stage::prepare(&workload, stop)?,
            workload,
            asked_rate: 0.0,
            rates: Vec::new(),
            p50: Vec::new(),
            p99: Vec::new(),
            together: latencies(),
        });
    }
    let plain = Stage::prepare(&target.workload("get", 1, 1)?, stop)?;
    let one = |stage: &Stage, workload: &Workload| {
        stop.check()?;
        complete(run(stage, workload, &[target.process], stop, &mut |progress| line.run(progress))?)
    };
    let measured = (1..=args.repeats).try_for_each(|round| -> anyhow::Result<()> {
        for case in cases.iter_mut() {
            line.part(&format!("round {round} of {}: {}", args.repeats, case.name));
            let rate = one(&case.stage, &case.workload)?.rate;
            if round == 1 {
                // An open loop sends every request in a message of its own: a rate that messages of several carry with
                // ease may be more than it can.
                let single = match case.workload.outstanding {
                    1 => rate,
                    _ => one(&case.stage, &Workload { outstanding: 1, ..case.workload.clone() })?.rate,
                };
                case.asked_rate = (LOADED * single.min(rate)).floor().max(1.0);
            }
            let outcome = one(&case.stage, &case.open_loop()?)?;
            case.rates.push(rate);
            case.p50.push(outcome.quantile_us(0.5));
            case.p99.push(outcome.quantile_us(0.99));
            case.together.add(&outcome.latency_ns).context("latencies of one kind add up")?;
        }
        for (place, (mix, connections, outstanding)) in REFERENCES.into_iter().enumerate() {
            let workload = target.workload(mix, connections, outstanding)?;
            let what = describe(&workload);
            line.part(&format!("round {round} of {}: {what}, as calibrated", args.repeats));
            let rate = one(&plain, &workload)?.rate;
            if references.len() <= place {
                references.push((what, Vec::new()));
            }
            references[place].1.push(rate);
        }
        Ok(())
    });
    plain.clean()?;
    measured
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
        let tail = Compared::tail(120.0, 200.0, vec![90.0, 105.0, 100.0], 0.15);
        assert!(!tail.within && (tail.error + 0.4).abs() < 1e-9 && (tail.tolerance - 0.3).abs() < 1e-9);
    }
}
