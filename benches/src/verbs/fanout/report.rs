//! What fan-out measured, and its report.

use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Latency, Plot, Scale, Series, Table};
use crate::workload::WatchKind;
use serde::{Deserialize, Serialize};

/// What fan-out measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FanoutFigures {
    /// Sessions.
    pub connections: u32,
    /// Watches on each.
    pub watches: u32,
    /// By kind.
    pub kinds: Vec<KindFigures>,
    /// Why it ended before its time; absent if it did not.
    pub ended_early: Option<String>,
}

/// One kind of watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindFigures {
    /// Which.
    pub kind: WatchKind,
    /// Rounds of changes.
    pub rounds: u32,
    /// Events that came, each counted once.
    pub events: u64,
    /// Watches without an event.
    pub lost: u64,
    /// Events beyond the first of a watch.
    pub doubled: u64,
    /// From the sending of a change to each of its events.
    pub latency: Latency,
    /// Pairs of a share of the events and the time, in microseconds, within which they came.
    pub percentiles: Vec<(f64, f64)>,
    /// From the first change of a round to its last event, microseconds: median and worst over the rounds.
    pub last_p50_us: f64,
    /// The worst round.
    pub last_max_us: f64,
    /// Events per second within rounds.
    pub events_per_second: f64,
    /// Processor time of the server per event, microseconds, from the change until all are there.
    pub server_cpu_us: Option<f64>,
    /// Processor time of this program per event, microseconds.
    pub generator_cpu_us: f64,
}

pub(super) fn document(figures: &FanoutFigures, conditions: Conditions) -> anyhow::Result<Document> {
    let columns = [
        "watches",
        "events",
        "lost",
        "doubled",
        "p50",
        "p99",
        "max",
        "last p50",
        "last max",
        "events /s",
        "server us/event",
        "generator us/event",
    ];
    let mut table = Table::new("From the sending of a change to its events", &columns);
    for kind in &figures.kinds {
        table.row([
            kind.kind.name().to_owned(),
            number(kind.events as f64),
            number(kind.lost as f64),
            number(kind.doubled as f64),
            time(kind.latency.p50_us),
            time(kind.latency.p99_us),
            time(kind.latency.max_us),
            time(kind.last_p50_us),
            time(kind.last_max_us),
            number(kind.events_per_second),
            kind.server_cpu_us.map_or("-".to_owned(), number),
            number(kind.generator_cpu_us),
        ]);
    }
    let (lost, doubled) =
        figures.kinds.iter().fold((0, 0), |(lost, doubled), kind| (lost + kind.lost, doubled + kind.doubled));
    let per_round = u64::from(figures.connections) * u64::from(figures.watches);
    let worst = figures.kinds.iter().map(|kind| kind.last_max_us).fold(0.0, f64::max);
    let mut warnings: Vec<String> = figures.ended_early.iter().map(|why| format!("it ended early: {why}")).collect();
    for kind in &figures.kinds {
        if kind.server_cpu_us.is_some_and(|server| server < kind.generator_cpu_us) {
            let name = kind.kind.name();
            warnings.push(format!("with {name} watches the generator took more CPU per event than the server"));
        }
        if kind.lost + kind.doubled > 0 {
            warnings.push(format!("{} watches: {} events lost, {} doubled", kind.kind.name(), kind.lost, kind.doubled));
        }
    }
    let by_kind = figures
        .kinds
        .iter()
        .map(|kind| Series::new(kind.kind.name(), kind.percentiles.iter().map(|(share, us)| (*share, us / 1e3))));
    Ok(Document {
        verb: "fanout",
        title: format!(
            "Fan-out: {} sessions with {} watches, {} events a round",
            number(figures.connections.into()),
            number(figures.watches.into()),
            number(per_round as f64)
        ),
        answer: format!(
            "The last of {} events was there at most {} after the first change; {} lost, {} doubled.",
            number(per_round as f64),
            time(worst),
            number(lost as f64),
            number(doubled as f64)
        ),
        warnings,
        tables: vec![table],
        plots: vec![
            Plot::new(
                "fanout",
                "Delivery by kind of watch",
                ("share of events that had come", Scale::Quantile),
                ("time since the change, ms", Scale::Log),
            )
            .with(by_kind),
        ],
        conditions,
        figures: serde_json::json!({ "fanout": serde_json::to_value(figures)? }),
    })
}
