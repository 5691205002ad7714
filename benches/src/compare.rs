//! Two or more servers, the same plan, in turn: A B C, A B C, ... Each round starts every server afresh in an empty
//! directory, and the report shows medians and the ratio to the first server.

use crate::load::{Plan, Protocol, Report, run};
use crate::server::{Kind, Server};
use serde::Serialize;
use std::io;
use std::path::Path;

/// All rounds of one server.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// Its name.
    pub server: &'static str,
    /// One report a round.
    pub rounds: Vec<Report>,
}

impl Series {
    /// Median of a figure over the rounds.
    pub fn median(&self, figure: impl Fn(&Report) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(figure).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Largest over smallest of a figure: how far the rounds are apart.
    pub fn spread(&self, figure: impl Fn(&Report) -> f64) -> f64 {
        let values = self.rounds.iter().map(figure);
        let (low, high) = values.fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        high / low
    }
}

/// Where the sides run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Pins {
    /// Core of every server.
    pub server: Option<usize>,
    /// Core of the driver.
    pub driver: Option<usize>,
}

/// Runs `plan` (its server, protocol and pin are set here) against every server, `rounds` times in turn, in folders below
/// `folder`.
///
/// # Errors
/// A server cannot be started, or a run fails; the message says which.
pub fn run_all(kinds: &[Kind], plan: &Plan, rounds: u32, folder: &Path, pins: Pins) -> io::Result<Vec<Series>> {
    let mut all: Vec<Series> = kinds.iter().map(|kind| Series { server: kind.name(), rounds: Vec::new() }).collect();
    for round in 0..rounds {
        for (kind, series) in kinds.iter().zip(&mut all) {
            let home = tempfile::Builder::new().prefix(&format!("{}-{round}-", kind.name())).tempdir_in(folder)?;
            let server = Server::start(kind, home.path(), pins.server)?;
            let protocol = if *kind == Kind::Redis { Protocol::Redis } else { Protocol::Zookeeper };
            let plan = Plan { server: server.address(), protocol, pin: pins.driver, ..plan.clone() };
            let report = run(&plan, Some(server.pid()))
                .map_err(|error| io::Error::other(format!("{} in round {round}: {error}", kind.name())))?;
            series.rounds.push(report);
        }
    }
    Ok(all)
}

/// A table of medians, with the ratio of each figure to the last server's.
pub fn table(all: &[Series]) -> String {
    let mut text = String::from(
        "server         rate/s  (spread)    p50 us    p99 us  p99.9 us  server CPU us/op  (spread)  driver CPU us/op  errors\n",
    );
    let cpu = |report: &Report| report.server_cpu_us.unwrap_or(f64::NAN);
    for series in all {
        text += &format!(
            "{:<12} {:>8.0}  ({:>5.2} x) {:>9.1} {:>9.1} {:>9.1} {:>17.2}  ({:>5.2} x) {:>16.2} {:>7}\n",
            series.server,
            series.median(|report| report.rate),
            series.spread(|report| report.rate),
            series.median(|report| report.p50_us),
            series.median(|report| report.p99_us),
            series.median(|report| report.p999_us),
            series.median(cpu),
            series.spread(cpu),
            series.median(|report| report.driver_cpu_us),
            series.rounds.iter().map(|report| report.errors).sum::<u64>(),
        );
    }
    if let Some((first, others)) = all.split_first() {
        for other in others {
            text += &format!(
                "{} / {}: rate {:.2}, p50 {:.2}, p99 {:.2}, CPU per operation {:.3}\n",
                first.server,
                other.server,
                first.median(|report| report.rate) / other.median(|report| report.rate),
                first.median(|report| report.p50_us) / other.median(|report| report.p50_us),
                first.median(|report| report.p99_us) / other.median(|report| report.p99_us),
                first.median(cpu) / other.median(cpu),
            );
        }
    }
    text
}
