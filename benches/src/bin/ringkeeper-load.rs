//! The load driver: see `ringkeeper-load --help`, and "Measuring" in the README.
#![forbid(unsafe_code)]

use benches::baseline::{self, AppendMethod};
use benches::stop::Stop;
use benches::verbs::{clean, compare, failover, fanout, fill, plan, rejoin, run, sessions, sweep};
use benches::{floor, say};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "ringkeeper-load", version, about = "Measures servers with ZooKeeper's protocol")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run one workload, closed or open loop.
    Run(Box<run::RunArgs>),
    /// Find the highest rate that holds an objective.
    Sweep(Box<sweep::SweepArgs>),
    /// Compare servers, started afresh in turn.
    Compare(Box<compare::CompareArgs>),
    /// Watches on many sessions, and changes.
    Fanout(fanout::FanoutArgs),
    /// Many sessions: open, hold, reconnect, expire.
    Sessions(Box<sessions::SessionsArgs>),
    /// Harm an ensemble's leader: how long until another one leads, and writes are acknowledged again.
    Failover(failover::FailoverArgs),
    /// Take a server away and bring it back: how long until it has caught up, and what writes feel of it.
    Rejoin(rejoin::RejoinArgs),
    /// Build a tree of many nodes.
    Fill(fill::FillArgs),
    /// Capacity planning: what a deployment can carry, by a calibrated model.
    Plan(Box<plan::PlanArgs>),
    /// Remove what aborted runs have left.
    Clean(clean::CleanArgs),
    /// A bare durable append and a bare loopback round trip.
    Baseline {
        /// Folder on the disk to measure.
        #[arg(long, default_value = ".")]
        folder: PathBuf,
        /// Seconds for each.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Pin the two loopback threads to these cores.
        #[arg(long, num_args = 2)]
        pin: Option<Vec<usize>>,
        /// Appends per second, timed from when each was due; as fast as they go unless given.
        #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        rate: Option<u32>,
        /// Also echoes and fan-outs on bare reactors, as the server has one: what no server on it can do better.
        #[arg(long)]
        floors: bool,
    },
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            say::note(&format!("ringkeeper-load: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> anyhow::Result<ExitCode> {
    hardware::limits::raise_open_files()?;
    let stop = Stop::on_signals()?;
    match verb {
        Verb::Run(args) => run::main(&args, &stop),
        Verb::Sweep(args) => sweep::main(&args, &stop),
        Verb::Compare(args) => compare::main(&args, &stop),
        Verb::Fanout(args) => fanout::main(&args, &stop),
        Verb::Sessions(args) => sessions::main(&args, &stop),
        Verb::Failover(args) => failover::main(&args, &stop),
        Verb::Rejoin(args) => rejoin::main(&args, &stop),
        Verb::Fill(args) => fill::main(&args, &stop),
        Verb::Plan(args) => plan::main(&args, &stop),
        Verb::Clean(args) => clean::main(&args, &stop),
        Verb::Baseline { folder, seconds, pin, rate, floors } => {
            let time = Duration::from_secs(seconds);
            let pin = pin.as_deref().and_then(|cores| Some((*cores.first()?, *cores.get(1)?)));
            let every = rate.map(|rate| Duration::from_secs(1) / rate);
            let append = |method| baseline::durable_append(method, &folder, time, every);
            let mut figures = serde_json::json!({
                "durable_append_4096": append(AppendMethod::Pwritev2Dsync)?,
                "durable_append_4096_io_uring": append(AppendMethod::IoUringDsync)?,
                "loopback_100": baseline::loopback(100, time, pin)?,
            });
            if floors {
                figures["reactor_echoes_100"] = serde_json::to_value(floor::echoes(50, 100, time)?)?;
                let fanouts = [1000, 9000].map(|connections| floor::fanouts(connections, 100, time));
                let fanouts = fanouts.into_iter().collect::<Result<Vec<_>, _>>()?;
                figures["reactor_fanouts_100"] = serde_json::to_value(fanouts)?;
            }
            say::line(&serde_json::to_string_pretty(&figures)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}
