//! `compare`: servers that are started afresh in turn (or that are there), the same workload: A B, A B, ...

use super::deliver;
use super::flags::{OutputFlags, WorkloadFlags};
use super::progress::Line;
use crate::driver::{Stage, run};
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Plot, RunFigures, Scale, Series, Table};
use crate::server::{Ensemble, Kind};
use crate::stop::Stop;
use crate::workload::{Protocol, Servers, Workload};
use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::process::ExitCode;

/// How servers are started, for every verb that does so.
#[derive(Args, Clone, Debug)]
pub struct StartFlags {
    /// Ringkeeper's program; beside this one unless given.
    #[arg(long, value_name = "PROGRAM")]
    pub ringkeeper: Option<PathBuf>,
    /// Ringkeeper's shard cores.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub shard_cores: u32,
    /// Processor to pin every server to.
    #[arg(long, value_name = "CPU")]
    pub pin_server: Option<usize>,
    /// Folder for the servers' data, which is removed afterwards.
    #[arg(long, value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

impl StartFlags {
    /// The server of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn kind(&self, name: &str) -> anyhow::Result<Kind> {
        match name {
            "ringkeeper" => {
                let beside = std::env::current_exe()?.with_file_name("ringkeeper");
                let program = self.ringkeeper.clone().unwrap_or(beside);
                Ok(Kind::Ringkeeper { program, shard_cores: self.shard_cores })
            }
            "zookeeper" => Ok(Kind::Zookeeper { heap: None }),
            "redis" => Ok(Kind::Redis),
            other => bail!("no server is called {other:?}: ringkeeper, zookeeper or redis"),
        }
    }

    /// An empty folder for one start.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn home(&self) -> anyhow::Result<tempfile::TempDir> {
        let parent = self.folder.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        let folder = tempfile::Builder::new().prefix("ringkeeper-load-").tempdir_in(&parent);
        folder.with_context(|| format!("no folder can be made in {}", parent.display()))
    }
}

/// Two or more servers and the same workload: medians, ratios, spread.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// Which: ringkeeper, zookeeper, redis (each started afresh for every round), or name=host:port of one that is there.
    #[arg(long, value_delimiter = ',', default_value = "ringkeeper,zookeeper")]
    of: Vec<String>,
    /// Rounds; medians are reported.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Start ensembles of so many servers on this machine. CPU per operation is then that of all of them together.
    #[arg(long, default_value_t = 1, value_name = "SERVERS", value_parser = clap::value_parser!(u32).range(1..=9))]
    ensemble: u32,
    #[command(flatten)]
    start: StartFlags,
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    output: OutputFlags,
}

/// One side of a comparison.
enum Side {
    Started(Kind),
    There(String, Servers),
}

impl Side {
    fn parse(text: &str, start: &StartFlags) -> anyhow::Result<Side> {
        match text.split_once('=') {
            Some((name, servers)) => Ok(Side::There(name.to_owned(), servers.parse()?)),
            None => start.kind(text).map(Side::Started),
        }
    }

    fn name(&self) -> &str {
        match self {
            Side::Started(kind) => kind.name(),
            Side::There(name, _) => name,
        }
    }
}

/// All rounds of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounds {
    /// Its name.
    pub server: String,
    /// One run a round.
    pub runs: Vec<RunFigures>,
}

impl Rounds {
    /// Median of a figure over the rounds.
    pub fn median(&self, figure: impl Fn(&RunFigures) -> f64) -> f64 {
        let mut values: Vec<f64> = self.runs.iter().map(figure).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Largest over smallest of a figure: how far the rounds are apart.
    pub fn spread(&self, figure: impl Fn(&RunFigures) -> f64) -> f64 {
        let values = self.runs.iter().map(figure);
        let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        high / low
    }
}

/// Carries it out.
///
/// # Errors
/// A server cannot be started, a run fails, or the report cannot be written.
pub fn main(args: &CompareArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let workload = args.workload.workload()?;
    let sides = args.of.iter().map(|text| Side::parse(text, &args.start)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut all: Vec<Rounds> =
        sides.iter().map(|side| Rounds { server: side.name().to_owned(), runs: Vec::new() }).collect();
    let (mut conditions, mut ended) = (None::<Conditions>, None);
    'rounds: for round in 1..=args.rounds {
        for (side, rounds) in sides.iter().zip(&mut all) {
            let line = Line::new(&format!("{} {round}/{}", side.name(), args.rounds));
            match one(args, side, &workload, stop, &line) {
                Ok((figures, seen)) => {
                    rounds.runs.push(figures);
                    match &mut conditions {
                        None => conditions = Some(seen),
                        Some(known) if round == 1 => known.servers.extend(seen.servers),
                        Some(_) => {}
                    }
                }
                Err(error) => {
                    ended = Some(format!("{} in round {round}: {error:#}", side.name()));
                    break 'rounds;
                }
            }
        }
    }
    let conditions = match (conditions, &ended) {
        (Some(conditions), _) => conditions,
        (None, why) => bail!("nothing was measured: {}", why.as_deref().unwrap_or("no server was named")),
    };
    let title = match args.ensemble {
        1 => format!("Comparison: {}", workload.describe()),
        size => format!("Comparison of ensembles of {size}: {}", workload.describe()),
    };
    let code = deliver(&document(title, &workload, &all, conditions, ended.clone())?, &args.output, stop)?;
    match ended {
        Some(why) if !stop.is_set() => bail!("the comparison ended early: {why}"),
        _ => Ok(code),
    }
}

fn one(
    args: &CompareArgs,
    side: &Side,
    workload: &Workload,
    stop: &Stop,
    line: &Line,
) -> anyhow::Result<(RunFigures, Conditions)> {
    stop.check()?;
    line.say("starting");
    let home = args.start.home()?;
    let (started, servers, protocol) = match side {
        Side::Started(kind) => {
            let ensemble = Ensemble::start(kind, args.ensemble, home.path(), args.start.pin_server)?;
            let protocol = if *kind == Kind::Redis { Protocol::Redis } else { Protocol::Zookeeper };
            let servers = Servers::of(ensemble.addresses())?;
            (Some(ensemble), servers, protocol)
        }
        Side::There(_, servers) => (None, servers.clone(), workload.protocol),
    };
    let processes = started.as_ref().map(Ensemble::processes).unwrap_or_default();
    let workload = Workload { servers, protocol, ..workload.clone() };
    workload.check()?;
    let conditions = Conditions::gather(&workload.servers, workload.seed);
    let stage = Stage::prepare(&workload, stop)?;
    let outcome = run(&stage, &workload, &processes, stop, &mut |progress| line.run(progress));
    let cleaned = stage.clean();
    let outcome = outcome?;
    cleaned?;
    Ok((RunFigures::of(&outcome, &workload), conditions))
}

fn cpu(run: &RunFigures) -> f64 {
    run.server.as_ref().map_or(f64::NAN, |server| server.cpu_us_per_op)
}

fn document(
    title: String,
    workload: &Workload,
    all: &[Rounds],
    conditions: Conditions,
    ended: Option<String>,
) -> anyhow::Result<Document> {
    let measured: Vec<&Rounds> = all.iter().filter(|rounds| !rounds.runs.is_empty()).collect();
    let columns =
        ["server", "rate /s", "spread", "p50", "p99", "p99.9", "server CPU/op", "spread", "generator CPU/op", "errors"];
    let mut medians = Table::new("Medians over the rounds (spread: largest over smallest)", &columns);
    for rounds in &measured {
        let us = |value: f64| format!("{} us", number(value));
        // A round without an answer is infinitely far from the others.
        let apart = |spread: f64| if spread.is_finite() { format!("{spread:.2} x") } else { "-".to_owned() };
        medians.row([
            rounds.server.clone(),
            number(rounds.median(|run| run.rate)),
            apart(rounds.spread(|run| run.rate)),
            time(rounds.median(|run| run.latency.p50_us)),
            time(rounds.median(|run| run.latency.p99_us)),
            time(rounds.median(|run| run.latency.p999_us)),
            us(rounds.median(cpu)),
            apart(rounds.spread(cpu)),
            us(rounds.median(|run| run.generator.cpu_us_per_op)),
            number(rounds.runs.iter().map(|run| run.errors).sum::<u64>() as f64),
        ]);
    }
    let mut ratios = Table::new("Ratios of medians", &["first / other", "rate", "p50", "p99", "server CPU/op"]);
    let mut answer = String::from("One server was measured.");
    if let Some((first, others)) = measured.split_first() {
        for (at, other) in others.iter().enumerate() {
            let ratio = |figure: fn(&RunFigures) -> f64| first.median(figure) / other.median(figure);
            let (rate, cpu) = (ratio(|run| run.rate), ratio(cpu));
            let (p50, p99) = (ratio(|run| run.latency.p50_us), ratio(|run| run.latency.p99_us));
            let name = format!("{} / {}", first.server, other.server);
            if other.median(|run| run.rate) == 0.0 {
                ratios.row([name, "-".into(), "-".into(), "-".into(), "-".into()]);
                if at == 0 {
                    answer = format!("{} answered nothing in most rounds.", other.server);
                }
                continue;
            }
            ratios.row([name, format!("{rate:.2}"), format!("{p50:.2}"), format!("{p99:.2}"), format!("{cpu:.3}")]);
            if at == 0 {
                answer = format!(
                    "{} answers {rate:.2} times the requests of {}, with {p99:.2} times its p99 and {cpu:.2} times its CPU per operation.",
                    first.server, other.server
                );
            }
        }
    }
    let percentiles = measured.iter().filter_map(|rounds| {
        let points = &rounds.runs.last()?.percentiles;
        Some(Series::new(rounds.server.clone(), points.iter().map(|(quantile, us)| (*quantile, us / 1e3))))
    });
    let over_rounds = measured.iter().map(|rounds| {
        Series::new(rounds.server.clone(), (1..).zip(&rounds.runs).map(|(round, run)| (f64::from(round), run.rate)))
    });
    let mut warnings: Vec<String> = ended.into_iter().map(|why| format!("it ended early: {why}")).collect();
    for rounds in &measured {
        for (round, _) in (1..).zip(&rounds.runs).filter(|(_, run)| run.rate == 0.0) {
            warnings.push(format!("{} answered nothing in round {round}: its medians mean little", rounds.server));
        }
        if rounds.runs.iter().any(|run| run.generator_saturated) {
            warnings.push(format!("the generator was saturated before {}; use more --threads", rounds.server));
        }
    }
    Ok(Document {
        verb: "compare",
        title,
        answer,
        warnings,
        plots: vec![
            Plot::new(
                "percentiles",
                "Latency by percentile (last round)",
                ("share of requests that were at least as fast", Scale::Quantile),
                ("latency, ms", Scale::Log),
            )
            .with(percentiles),
            Plot::new("rates", "Throughput by round", ("round", Scale::Linear), ("requests per second", Scale::Linear))
                .with(over_rounds),
        ],
        tables: vec![medians, ratios],
        conditions,
        figures: serde_json::json!({
            "workload": serde_json::to_value(workload)?,
            "compare": serde_json::to_value(all)?,
        }),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::figures::made_up;

    fn compared(rates: [[f64; 3]; 2]) -> Document {
        let rounds = |(server, rates): (&str, [f64; 3])| {
            let runs = rates.map(|rate| made_up(rate, if rate > 0.0 { 1_000.0 } else { 0.0 }));
            Rounds { server: server.to_owned(), runs: runs.to_vec() }
        };
        let all: Vec<Rounds> = ["one", "other"].into_iter().zip(rates).map(rounds).collect();
        let nobody = Servers::one(([127, 0, 0, 1], 1).into());
        let conditions = Conditions::gather(&nobody, 1);
        document("title".to_owned(), &Workload::default(), &all, conditions, None).unwrap()
    }

    #[test]
    fn a_server_that_answered_nothing_has_no_ratio_and_is_told() {
        let silent = compared([[100.0, 110.0, 90.0], [0.0, 0.0, 50.0]]);
        assert_eq!(silent.answer, "other answered nothing in most rounds.");
        assert!(["round 1", "round 2"].iter().zip(&silent.warnings).all(|(round, warning)| warning.contains(round)));
        assert_eq!(silent.warnings.len(), 2, "{:?}", silent.warnings);
        let text = format!("{:?}", silent.tables);
        assert!(!text.contains("inf") && !text.contains("NaN"), "{text}");
    }

    #[test]
    fn one_silent_round_is_told_and_the_others_count() {
        let mostly = compared([[100.0, 100.0, 100.0], [50.0, 0.0, 50.0]]);
        assert!(mostly.answer.starts_with("one answers 2.00 times the requests of other"), "{}", mostly.answer);
        assert!(mostly.warnings.len() == 1 && mostly.warnings[0].contains("other answered nothing in round 2"));
        assert!(compared([[1.0; 3]; 2]).warnings.is_empty());
    }
}
