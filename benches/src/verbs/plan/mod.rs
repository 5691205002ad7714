//! `plan`: what a deployment can carry, by a model whose parameters are measured.

mod calibrate;
mod report;
mod target;
mod verify;

use super::compare::StartFlags;
use super::flags::OutputFlags;
use super::{INTERRUPTED, deliver};
use crate::plan::answer::answer;
use crate::plan::{Calibration, Deployment};
use crate::report::Conditions;
use crate::say;
use crate::stop::Stop;
use crate::workload::{Servers, Span};
use anyhow::{bail, ensure};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Measured time of runs, unless another is asked for: calibrating has many, of which medians count.
const CALIBRATED: Duration = Duration::from_millis(1500);
const VERIFIED: Duration = Duration::from_secs(4);

/// Capacity planning: predicts what a deployment can carry. `--calibrate` measures this machine first.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// TOML file that describes the deployment; examples are in benches/deployments.
    #[arg(required_unless_present_any = ["calibrate", "verify"])]
    deployment: Option<PathBuf>,
    /// Measure the model's parameters on this machine, and write them to the calibration file. Takes about five minutes.
    #[arg(long, conflicts_with_all = ["deployment", "verify"])]
    calibrate: bool,
    /// Predict workloads that the calibration has not seen, run them, and print both. Takes about five minutes.
    #[arg(long, conflicts_with = "deployment")]
    verify: bool,
    /// File with the parameters.
    #[arg(long, default_value = "ringkeeper-calibration.toml", value_name = "FILE")]
    calibration: PathBuf,
    /// Measure this server on this machine instead of a Ringkeeper that is started for it.
    #[arg(long, short, value_name = "HOSTS")]
    servers: Option<Servers>,
    /// Its process; looked for by its port unless given.
    #[arg(long, value_name = "PID", requires = "servers")]
    server_pid: Option<u32>,
    #[command(flatten)]
    start: StartFlags,
    /// Measured time of each run [default: 1.5s to calibrate, of open loops four times as long; 4s to verify].
    #[arg(long, short, value_name = "TIME")]
    measure: Option<Span>,
    /// Verify these workloads alone, by their numbers in the table.
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS", requires = "verify")]
    only: Vec<usize>,
    /// Runs of each workload that is verified.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    repeats: u32,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: OutputFlags,
}

impl PlanArgs {
    /// Measured time of each run.
    fn span(&self) -> Span {
        self.measure.unwrap_or(Span(if self.verify { VERIFIED } else { CALIBRATED }))
    }
}

/// Carries it out.
///
/// # Errors
/// Wrong files; or, where something is measured, a server cannot be started or reached, or dies.
pub fn main(args: &PlanArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let span = args.span();
    let possible = (Duration::from_millis(100)..=Duration::from_secs(20)).contains(&span.0);
    ensure!(possible, "--measure is {span}, not between 100 ms and 20 s");
    let done = match &args.deployment {
        Some(file) => {
            let deployment = Deployment::read(file)?;
            let calibration = Calibration::read(&args.calibration)?;
            let answer = answer(&calibration, &deployment);
            let document = report::answer(&answer, &deployment, &calibration)?;
            return deliver(&document, &args.output, stop);
        }
        None if args.calibrate => calibrate::main(args, stop),
        None if args.verify => verify::main(args, stop),
        None => bail!("a deployment's file, --calibrate or --verify is wanted"),
    };
    match done {
        Err(error) if stop.is_set() => {
            say::note(&format!("ringkeeper-load: {error:#}"));
            Ok(ExitCode::from(INTERRUPTED))
        }
        done => done,
    }
}

/// Of the server that is measured.
fn conditions(target: &target::Target, seed: u64) -> Conditions {
    Conditions::gather(&target.servers, seed)
}
