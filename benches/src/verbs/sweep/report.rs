//! The report of a sweep.

use super::objective::Bound;
use super::{Step, SweepArgs, Swept};
use crate::report::document::{number, time};
use crate::report::figures::spread;
use crate::report::{Conditions, Document, Plot, RunFigures, Scale, Series, Table};
use crate::workload::Workload;

/// A rate below this part of the answer does not miss the objective for the load.
const FAR_BELOW: f64 = 0.7;

pub(super) fn document(
    args: &SweepArgs,
    workload: &Workload,
    swept: &Swept,
    conditions: Conditions,
) -> anyhow::Result<Document> {
    let objective = &args.objective.text;
    let Swept { steps, search, machine, ended } = swept;
    let (found, tolerance) = (search.answer(), machine.tolerance());
    let mut warnings = Vec::new();
    if steps.iter().any(|step| step.run.generator_saturated) {
        warnings.push("at some rates the generator was saturated before the server; use more --threads".to_owned());
    }
    warnings.extend(found.and_then(|(_, knee, _)| hiccups(steps, knee)));
    warnings.extend(ended.iter().map(|why| format!("the sweep ended early: {why}")));
    let figures = serde_json::json!({
        "workload": serde_json::to_value(workload)?,
        "sweep": {
            "objective": objective,
            "closed_loop_rate": machine.rates.first(),
            "knee_rate": found.map(|(_, knee, _)| knee),
            "knee_low": found.map(|(low, ..)| low),
            "knee_high": found.map(|(.., high)| high),
            "machine": {
                "closed_loop_rates": machine.rates,
                "rate_spread": spread(&machine.rates),
                "server_cpu_us_per_op": machine.server_us,
                "server_cpu_spread": spread(&machine.server_us),
                "generator_cpu_us_per_op": machine.generator_us,
                "generator_cpu_spread": spread(&machine.generator_us),
                "tolerance": tolerance,
            },
            "steps": serde_json::to_value(steps)?,
        },
    });
    Ok(Document {
        verb: "sweep",
        title: format!("Sweep for {objective}: {}; {} connections", workload.mix, workload.connections),
        answer: answer(args, swept),
        warnings,
        tables: vec![table(steps), machine_table(swept)],
        plots: plots(args, swept),
        conditions,
        figures,
    })
}

fn answer(args: &SweepArgs, swept: &Swept) -> String {
    let objective = &args.objective.text;
    let Swept { steps, search, machine, .. } = swept;
    let steps = in_order(steps);
    let Some((low, knee, high)) = search.answer() else {
        let mut answer = format!("No rate that was tried held {objective}");
        match steps.first() {
            Some(least) if least.asked_rate <= search.floor => {
                answer += &format!(
                    ", not even {}/s, a small part of the {}/s that a closed loop reached: it is not the load that misses it.",
                    number(least.asked_rate),
                    number(machine.rates.first().copied().unwrap_or(f64::NAN))
                );
            }
            _ => answer.push('.'),
        }
        return answer;
    };
    let mut answer = format!("The server holds {objective} up to {} requests per second", number(knee));
    if let Some(step) = steps.iter().rfind(|step| step.asked_rate <= knee && step.missed.is_none()) {
        let latency = &step.run.latency;
        let there =
            if step.asked_rate < knee { format!("at {}/s", number(step.asked_rate)) } else { "there".to_owned() };
        answer += &format!(" ({there}: p50 {}, p99 {})", time(latency.p50_us), time(latency.p99_us));
    }
    if high > low {
        answer += &format!(
            ", where half of the tries hold; as far as {} tries tell it lies between {} and {}/s",
            steps.len(),
            number(low),
            number(high)
        );
    }
    answer.push('.');
    let above = steps.iter().find(|step| step.asked_rate > knee && step.missed.is_some());
    if let Some((above, missed)) = above.and_then(|step| Some((step, step.missed.as_ref()?))) {
        answer += &format!(" At {}/s it does not: {missed}.", number(above.asked_rate));
    }
    if let (Some(apart), Some(tolerance)) = (spread(&machine.rates), machine.tolerance()) {
        answer += &format!(
            " The machine itself: {} closed loops of the same workload were {} apart; answers of several sweeps that are within \
             {} say the same.",
            machine.rates.len(),
            percent(apart),
            percent(tolerance)
        );
    }
    answer
}

/// What there is to say of rates far below the answer that missed the objective: not for the load.
fn hiccups(steps: &[Step], knee: f64) -> Option<String> {
    let far = in_order(steps).into_iter().filter(|step| step.asked_rate < FAR_BELOW * knee).collect::<Vec<_>>();
    let missed = far.iter().filter(|step| step.missed.is_some()).count();
    let by_rate = far.chunk_by(|one, other| one.asked_rate == other.asked_rate).filter_map(|tries| {
        let missed: Vec<&str> = tries.iter().filter_map(|step| step.missed.as_deref()).collect();
        let why = missed.first()?;
        Some(format!("{} of {} at {}/s ({why})", missed.len(), tries.len(), number(tries[0].asked_rate)))
    });
    (missed > 0).then(|| {
        format!(
            "{missed} of {} tries at less than {} of the answer missed the objective too: {}. That is not the load: the machine \
             or its disk stood still, and may have done so near the answer",
            far.len(),
            percent(FAR_BELOW),
            by_rate.collect::<Vec<_>>().join(", ")
        )
    })
}

fn percent(share: f64) -> String {
    format!("{} %", number(100.0 * share))
}

/// Repeats of the same closed loop, and how far they are apart.
fn machine_table(swept: &Swept) -> Table {
    let machine = &swept.machine;
    let title = "The machine's own spread: one closed loop, repeated during the sweep";
    let mut table = Table::new(title, &["", "rate /s", "server us/op", "generator us/op"]);
    for at in 0..machine.rates.len() {
        let figure = |of: &[f64]| of.get(at).map_or("-".to_owned(), |value| number(*value));
        let columns = [&machine.rates, &machine.server_us, &machine.generator_us].map(|of| figure(of));
        table.row(std::iter::once(format!("repeat {}", at + 1)).chain(columns));
    }
    let columns = [&machine.rates, &machine.server_us, &machine.generator_us];
    let apart = columns.map(|of| spread(of).map_or("-".to_owned(), percent));
    table.row(std::iter::once("largest less smallest, over the median".to_owned()).chain(apart));
    table
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

fn plots(args: &SweepArgs, swept: &Swept) -> Vec<Plot> {
    let steps = typical(&swept.steps);
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
    let knee = swept.search.answer().map(|(_, knee, _)| {
        let (least, most) = steps.iter().fold((f64::MAX, 0.0_f64), |(least, most), step| {
            (least.min(step.run.latency.p50_us), most.max(step.run.latency.p999_us))
        });
        Series::new("answer", [(knee, least / 1e3), (knee, most / 1e3)]).dashed()
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
            .chain(goals)
            .chain(knee),
        ),
        Plot::new("processors-load", "Processors in use against offered load", load, ("processors", Scale::Linear))
            .with([Series::new("server", server), Series::new("generator", generator)]),
    ]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::report::figures::made_up;

    fn steps(tries: &[(f64, bool)]) -> Vec<Step> {
        let step = |(asked_rate, held): &(f64, bool)| Step {
            asked_rate: *asked_rate,
            missed: (!held).then(|| "p99 was 9 ms".to_owned()),
            run: made_up(*asked_rate, 1_000.0),
        };
        tries.iter().map(step).collect()
    }

    #[test]
    fn what_missed_far_below_the_answer_is_told_with_its_rates() {
        let tries = [
            (300.0, true),
            (500.0, false),
            (900.0, false),
            (500.0, true),
            (1_000.0, true),
            (690.0, false),
            (500.0, false),
        ];
        let told = hiccups(&steps(&tries), 1_000.0).unwrap();
        assert!(told.starts_with("3 of 5 tries at less than 70 %"), "{told}");
        assert!(told.contains("2 of 3 at 500/s (p99 was 9 ms), 1 of 1 at 690/s"), "{told}");
        assert_eq!(hiccups(&steps(&[(300.0, true), (700.0, false), (1_000.0, true)]), 1_000.0), None);
    }
}
