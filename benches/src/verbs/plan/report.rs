//! Reports of planning, calibrating and verifying.

use super::verify::{CEILING_GOAL, Compared, Drift, LOADED, P50_GOAL, P99_GOAL, Row};
use crate::plan::answer::Answer;
use crate::plan::{Calibration, Deployment};
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Table};

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Of a deployment.
pub(super) fn answer(answer: &Answer, deployment: &Deployment, calibration: &Calibration) -> anyhow::Result<Document> {
    let mut key = Table::new("Expected", &["figure", "value"]);
    let mut row = |name: &str, value: String| key.row([name.to_owned(), value]);
    row("throughput ceiling, /s", number(answer.ceiling_rate));
    row("p50 there", time(answer.at_ceiling.p50_us));
    row("p99 there", time(answer.at_ceiling.p99_us));
    if let Some(wanted) = answer.wanted_rate {
        row("wanted, /s", number(wanted));
        let latency = |us: Option<f64>| us.map_or("beyond the ceiling".to_owned(), time);
        row("p50 at the wanted load", latency(answer.at_wanted.map(|at| at.p50_us)));
        row("p99 at the wanted load", latency(answer.at_wanted.map(|at| at.p99_us)));
    }
    row("saturates first", answer.first.clone());
    row("to carry more", answer.remedy.clone());
    row("bound of the processors, /s", number(answer.processor_bound));
    row("bound of the log, /s", answer.log_bound.map_or("-".to_owned(), number));
    let mut resources =
        Table::new("Resources of the busiest server", &["resource", "at the ceiling", "at the wanted load"]);
    for resource in &answer.resources {
        let wanted = resource.at_wanted.map_or("-".to_owned(), percent);
        resources.row([resource.name.clone(), percent(resource.at_ceiling), wanted]);
    }
    let (machine, space) = (&deployment.machine, &answer.space);
    let mib = |mib: f64| format!("{} MiB", number(mib.round()));
    let mut room = Table::new("Memory and disk of each server", &["figure", "needed or fitting", "there"]);
    let mut row = |name: &str, value: String, there: String| room.row([name.to_owned(), value, there]);
    row("own memory", mib(space.memory_mib), mib(machine.memory_mib));
    row("mapped values besides", mib(space.mapped_mib), "-".into());
    row("data directory, at most", mib(space.disk_mib), mib(machine.disk_mib));
    let bandwidth = machine.disk_mib_per_second.map_or("-".to_owned(), |there| format!("{} MiB/s", number(there)));
    row("disk writes", format!("{} MiB/s", number(answer.disk_mib_per_second)), bandwidth);
    let content = &deployment.content;
    let sessions = content.sessions.unwrap_or(u64::from(deployment.workload.connections));
    row("nodes that own memory holds", number(space.znodes_fit as f64), number(content.znodes as f64));
    row("sessions that own memory holds, all servers", number(space.sessions_fit as f64), number(sessions as f64));
    row("watches that own memory holds, all servers", number(space.watches_fit as f64), number(content.watches as f64));
    let latency = match (answer.wanted_rate, answer.at_wanted) {
        (Some(wanted), Some(at)) => {
            format!(
                " At the wanted {} half are answered within {} and 99 of 100 within {}.",
                number(wanted),
                time(at.p50_us),
                time(at.p99_us)
            )
        }
        _ => String::new(),
    };
    let workload = &deployment.workload;
    Ok(Document {
        verb: "plan",
        title: format!(
            "Plan: {} servers, {} cores each; {}",
            deployment.ensemble.size,
            machine.cores,
            workload.describe()
        ),
        answer: format!(
            "Up to {} requests per second; what saturates first is {}.{latency}",
            number(answer.ceiling_rate),
            answer.first
        ),
        warnings: answer.warnings.clone(),
        tables: vec![key, resources, room],
        plots: Vec::new(),
        conditions: Conditions::gather(&workload.servers, workload.seed),
        figures: serde_json::json!({
            "workload": serde_json::to_value(workload)?,
            "plan": {
                "machine": serde_json::to_value(machine)?,
                "ensemble": serde_json::to_value(deployment.ensemble)?,
                "content": serde_json::to_value(content)?,
                "answer": serde_json::to_value(answer)?,
                "calibration": serde_json::to_value(&calibration.conditions)?,
            },
        }),
    })
}

/// Of a calibration.
pub(super) fn calibration(calibration: &Calibration) -> anyhow::Result<Document> {
    let costs = &calibration.costs;
    let us = |us: f64| format!("{} us", number(us));
    let mut threads = Table::new("Threads", &["cost", "server", "generator"]);
    let (server, generator) = (costs.server, costs.generator);
    let mut row = |name: &str, server: String, generator: String| threads.row([name.to_owned(), server, generator]);
    row("a turn", us(server.turn_us), us(generator.turn_us));
    row("a sleep before it, in addition", us(server.sleep_us), us(generator.sleep_us));
    row("a message and its answer", us(server.message_us), us(generator.message_us));
    row("a log write", us(costs.flush_cpu_us), "-".into());
    row("a message that writes give rise to, in addition", us(costs.effect_us), "-".into());
    row("share of a processor that is to be had", percent(server.availability), percent(generator.availability));
    let mut operations = Table::new("Operations", &["operation", "server", "each KiB", "generator", "each KiB of it"]);
    for (op, of_op) in &costs.operations {
        operations.row([
            op.name().to_owned(),
            us(of_op.server_us),
            us(of_op.server_kib_us),
            us(of_op.generator_us),
            us(of_op.generator_kib_us),
        ]);
    }
    let mut waits = Table::new("Waits", &["wait", "p50", "p99"]);
    for (name, quantiles) in
        [("log write", &costs.flush), ("wake", &costs.wake), ("wake from a long sleep", &costs.deep_wake)]
    {
        waits.row([name.to_owned(), time(quantiles.at(0.5)), time(quantiles.at(0.99))]);
    }
    waits.row(["polling before a sleep".to_owned(), time(costs.polls_us), "-".into()]);
    waits.row(["timer".to_owned(), time(costs.timer_us), "-".into()]);
    waits.row(["timer of a long sleep".to_owned(), time(costs.deep_timer_us), "-".into()]);
    waits.row(["each KiB of a log write".to_owned(), time(costs.flush_per_kib_us), "-".into()]);
    waits.row(["a log write beside a busy generator, in addition".into(), time(costs.flush_busy_us), "-".into()]);
    waits.row([
        "the kernel's part of a log write, of the generator's processor".into(),
        time(costs.flush_kernel_us),
        "-".into(),
    ]);
    for (of, stalls) in [("a thread", costs.stalls), ("a busy log", costs.log_stalls)] {
        let name = format!("stalls, {} for {of} and second, mean", number(stalls.per_second));
        waits.row([name, time(stalls.mean_us), "-".into()]);
    }
    let (memory, disk) = (&calibration.memory, &calibration.disk);
    let mut space = Table::new("Space", &["of", "bytes"]);
    for (name, bytes) in [
        ("a node, memory", memory.znode),
        ("a byte of a value, memory", memory.value_byte),
        ("a node, mapped", memory.mapped_znode),
        ("a byte of a value, mapped", memory.mapped_value_byte),
        ("a session, memory", memory.session),
        ("a watch, memory", memory.watch),
        ("a write, disk", disk.write),
        ("a byte of its value, disk", disk.value_byte),
    ] {
        space.row([name.to_owned(), number(bytes)]);
    }
    let columns = ["run", "rate /s", "model", "server thread us/op", "model", "p50", "model", "p99", "model"];
    let mut points = Table::new("What was measured, and what the model makes of it", &columns);
    for point in &calibration.points {
        points.row([
            point.what.clone(),
            number(point.rate.0.round()),
            number(point.rate.1.round()),
            number(point.server_us.0),
            number(point.server_us.1),
            time(point.p50_us.0),
            time(point.p50_us.1),
            time(point.p99_us.0),
            time(point.p99_us.1),
        ]);
    }
    let set = costs.operations.get(&crate::workload::Op::Set).map_or(f64::NAN, |set| set.server_us);
    Ok(Document {
        verb: "calibrate",
        title: "Calibration of the capacity model".into(),
        answer: format!(
            "A message costs the server {}, a set {} beside it; a log write takes {}; a node takes {} bytes of memory.",
            us(server.message_us),
            us(set),
            time(costs.flush.at(0.5)),
            number(memory.znode)
        ),
        warnings: Vec::new(),
        tables: vec![threads, operations, waits, space, points],
        plots: Vec::new(),
        conditions: calibration.conditions.clone(),
        figures: serde_json::json!({ "calibration": serde_json::to_value(calibration)? }),
    })
}

/// Of a verification.
pub(super) fn verification(
    rows: &[Row],
    drifts: &[Drift],
    ended: Option<String>,
    calibration: &Calibration,
    conditions: Conditions,
) -> anyhow::Result<Document> {
    let columns = ["workload", "predicted", "measured", "error", "spread", "within", "with spread"];
    let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
    let table = |title: &str, pick: fn(&Row) -> &Compared, goal: f64, write: fn(f64) -> String| {
        let mut table = Table::new(title, &columns);
        for row in rows {
            let compared = pick(row);
            table.row([
                row.workload.clone(),
                write(compared.predicted),
                write(compared.measured),
                format!("{:+.0} %", 100.0 * compared.error),
                percent(compared.spread),
                yes(compared.error.abs() <= goal),
                yes(compared.within),
            ]);
        }
        table
    };
    // A wide spread widens the tolerance: both are told, as it says little to be within a wide one.
    let plain = |row: &Row| {
        [(&row.ceiling, CEILING_GOAL), (&row.p50_us, P50_GOAL), (&row.p99_us, P99_GOAL)]
            .map(|(compared, goal)| compared.error.abs() <= goal)
    };
    let spread = |row: &Row| [&row.ceiling, &row.p50_us, &row.p99_us].map(|compared| compared.within);
    let counts = |of: &dyn Fn(&Row) -> [bool; 3]| {
        let count = |at: usize| rows.iter().filter(|row| of(row)[at]).count();
        let all = rows.iter().filter(|row| of(row) == [true; 3]).count();
        format!("ceiling {}, p50 {}, p99 {}, all three {all}", count(0), count(1), count(2))
    };
    let goals = format!("{} (ceiling, p50) and {} (p99)", percent(CEILING_GOAL.max(P50_GOAL)), percent(P99_GOAL));
    let answer = format!(
        "Of {} workloads within {goals}: {}. Where twice the spread of the repeats counts if that is more: {}.",
        rows.len(),
        counts(&plain),
        counts(&spread)
    );
    let mut then_and_now = Table::new(
        "The machine now, against the calibration",
        &["workload of the calibration", "then, /s", "now, /s", "change"],
    );
    for drift in drifts {
        then_and_now.row([
            drift.workload.clone(),
            number(drift.calibrated_rate.round()),
            number(drift.rate.round()),
            format!("{:+.0} %", 100.0 * (drift.rate / drift.calibrated_rate - 1.0)),
        ]);
    }
    let (here, there) = (&conditions.processor, &calibration.conditions.processor);
    let mut warnings: Vec<String> = ended.into_iter().map(|why| format!("it ended early: {why}")).collect();
    if here != there {
        warnings.push(format!("calibrated on {there}, verified on {here}"));
    }
    let latency = |figure: &str| {
        format!(
            "{figure} of an open loop, at {} of the measured rate with one request on each connection",
            percent(LOADED)
        )
    };
    Ok(Document {
        verb: "verify",
        title: "Predictions of the capacity model, held against runs that the calibration has not seen".into(),
        answer,
        warnings,
        tables: vec![
            table("Ceiling: a closed loop, /s", |row| &row.ceiling, CEILING_GOAL, |rate| number(rate.round())),
            table(&latency("p50"), |row| &row.p50_us, P50_GOAL, time),
            table(&format!("{}, of all repeats together", latency("p99")), |row| &row.p99_us, P99_GOAL, time),
            then_and_now,
        ],
        plots: Vec::new(),
        figures: serde_json::json!({ "verify": {
            "rows": serde_json::to_value(rows)?,
            "drift": serde_json::to_value(drifts)?,
            "calibration": serde_json::to_value(&calibration.conditions)?,
        } }),
        conditions,
    })
}
