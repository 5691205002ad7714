//! `run`: one workload.

use super::deliver;
use super::flags::{OutputFlags, ServerFlags, WorkloadFlags};
use super::progress::Line;
use crate::driver::{Stage, run};
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Plot, RunFigures, Scale, Series, Table};
use crate::stop::Stop;
use crate::workload::Workload;
use clap::Args;
use std::process::ExitCode;

/// One workload against servers that are there.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    workload: WorkloadFlags,
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    output: OutputFlags,
}

/// Carries it out.
///
/// # Errors
/// Nothing could be measured, or the report cannot be written.
pub fn main(args: &RunArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let workload = args.workload.workload()?;
    let processes = args.server.processes(&workload.servers)?;
    let conditions = Conditions::gather(&workload.servers, workload.seed);
    let line = Line::new("run");
    line.say("making keys");
    let stage = Stage::prepare(&workload, stop)?;
    let outcome = run(&stage, &workload, &processes, stop, &mut |progress| line.run(progress));
    line.say("cleaning up");
    let cleaned = stage.clean();
    drop(line);
    let figures = RunFigures::of(&outcome?, &workload);
    let code = deliver(&document(&workload, &figures, conditions)?, &args.output, stop)?;
    match cleaned {
        Err(error) if figures.ended_early.is_some() => crate::say::warn(&format!("{error:#}")),
        cleaned => drop(cleaned?),
    }
    Ok(code)
}

fn document(workload: &Workload, figures: &RunFigures, conditions: Conditions) -> anyhow::Result<Document> {
    Ok(Document {
        verb: "run",
        title: workload.describe(),
        answer: answer(figures),
        warnings: figures.warnings.clone(),
        tables: vec![key_figures(figures), operations(figures)],
        plots: plots(figures),
        conditions,
        figures: serde_json::json!({ "workload": serde_json::to_value(workload)?, "run": serde_json::to_value(figures)? }),
    })
}

fn answer(figures: &RunFigures) -> String {
    let rate = match figures.asked_rate {
        Some(asked) => format!("{} of {} requests per second", number(figures.rate), number(asked)),
        None => format!("{} requests per second", number(figures.rate)),
    };
    let errors = if figures.errors == 0 { "no errors".to_owned() } else { format!("{} errors", figures.errors) };
    let (p50, p99) = (time(figures.latency.p50_us), time(figures.latency.p99_us));
    format!("{rate}; half were answered within {p50} and 99 of 100 within {p99}; {errors}.")
}

fn key_figures(figures: &RunFigures) -> Table {
    let latency = &figures.latency;
    let mut table = Table::new("Key figures", &["figure", "value"]);
    let mut row = |name: &str, value: String| table.row([name.to_owned(), value]);
    if let Some(asked) = figures.asked_rate {
        row("asked, /s", number(asked));
    }
    row("answered, /s", number(figures.rate));
    row("latency p50", time(latency.p50_us));
    row("latency p90", time(latency.p90_us));
    row("latency p99", time(latency.p99_us));
    row("latency p99.9", time(latency.p999_us));
    row("latency max", time(latency.max_us));
    row("errors", number(figures.errors as f64));
    for (name, count) in &figures.errors_by_name {
        row(&format!("  {name}"), number(*count as f64));
    }
    if figures.unfinished > 0 {
        row("not answered in time", number(figures.unfinished as f64));
    }
    row("generator CPU per operation", format!("{} us", number(figures.generator.cpu_us_per_op)));
    let busy = |share: f64| format!("{:.0} %", share * 100.0);
    row("generator, busiest thread", busy(figures.generator.busiest_thread));
    if let Some(server) = &figures.server {
        row("server CPU per operation", format!("{} us", number(server.cpu_us_per_op)));
        row("server, busiest thread", busy(server.busiest_thread));
        let mib = |kib: u64| format!("{} MiB", number(kib as f64 / 1024.0));
        row("server memory (anonymous)", mib(server.memory_after.anon_kib));
    }
    if let Some(lag) = figures.send_lag_p99_us {
        row("sent later than meant, p99", time(lag));
    }
    if figures.watch_events > 0 {
        row("watch events, /s", number(figures.watch_events as f64 / figures.seconds));
    }
    if let Some(reopening) = &figures.reopening {
        row("sessions opened anew", number(reopening.count as f64));
        row("opening a session, p50", time(reopening.p50_us));
        row("opening a session, p99", time(reopening.p99_us));
    }
    table
}

fn operations(figures: &RunFigures) -> Table {
    let mut table =
        Table::new("Operations", &["operation", "answered", "per second", "errors", "p50", "p99", "p99.9", "max"]);
    if figures.operations.len() > 1 {
        for op in &figures.operations {
            table.row([
                op.op.name().to_owned(),
                number(op.answered as f64),
                number(op.answered as f64 / figures.seconds),
                number(op.errors as f64),
                time(op.latency.p50_us),
                time(op.latency.p99_us),
                time(op.latency.p999_us),
                time(op.latency.max_us),
            ]);
        }
    }
    table
}

/// Plots of one run.
fn plots(figures: &RunFigures) -> Vec<Plot> {
    let moments = || figures.over_time.iter();
    let ms = |us: f64| us / 1e3;
    let asked = figures.asked_rate.map(|asked| {
        let last = figures.over_time.last().map_or(0.0, |moment| moment.at_s);
        Series::new("asked", [(0.0, asked), (last, asked)]).dashed()
    });
    let answered = Series::new("answered", moments().map(|moment| (moment.at_s, moment.rate)));
    let over_time = |name: &str, pick: fn(&crate::report::figures::Moment) -> f64| {
        Series::new(name, moments().map(|moment| (moment.at_s, ms(pick(moment)))))
    };
    vec![
        Plot::new(
            "percentiles",
            "Latency by percentile",
            ("share of requests that were at least as fast", Scale::Quantile),
            ("latency, ms", Scale::Log),
        )
        .with([Series::new("all", figures.percentiles.iter().map(|(quantile, us)| (*quantile, ms(*us))))]),
        Plot::new("rate", "Throughput over time", ("seconds", Scale::Linear), ("requests per second", Scale::Linear))
            .with(std::iter::once(answered).chain(asked)),
        Plot::new("latency", "Latency over time", ("seconds", Scale::Linear), ("latency, ms", Scale::Log)).with([
            over_time("p50", |moment| moment.p50_us),
            over_time("p99", |moment| moment.p99_us),
            over_time("max", |moment| moment.max_us),
        ]),
    ]
}
