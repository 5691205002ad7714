//! `fill`: a tree of many nodes, and what it costs the server.

use super::deliver;
use super::flags::{OutputFlags, ServerFlags};
use super::progress::Line;
use crate::driver::stage::make_folders;
use crate::driver::tidy::{ROOT, clean};
use crate::driver::{Bulk, latencies};
use crate::process::{Usage, resident_of_all};
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Latency, Plot, Scale, Series, Table};
use crate::stop::Stop;
use crate::wire::reply::error_name;
use crate::wire::request;
use crate::workload::{Dice, Servers, Shape, Tree, ValueSizes};
use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::Instant;

/// Nodes made between two looks at the clock and at memory.
const LOOKS: u64 = 50;

/// Builds a tree of many nodes; reports the rate and the server's memory per node.
#[derive(Args, Clone, Debug)]
pub struct FillArgs {
    /// Servers, as in host:port,host:port/chroot.
    #[arg(long, short, default_value = "127.0.0.1:2181", value_name = "HOSTS")]
    servers: Servers,
    /// Nodes.
    #[arg(long, short = 'n', default_value_t = 100_000)]
    nodes: u64,
    /// Sessions that create.
    #[arg(long, short, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Unanswered requests on each.
    #[arg(long, short, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    outstanding: u32,
    /// Bytes of a value: 100, 100..1000, or bytes and shares as in 100:70,1024:30.
    #[arg(long, default_value = "100", value_name = "SIZES")]
    values: ValueSizes,
    /// Levels of folders.
    #[arg(long, default_value_t = 2)]
    depth: u32,
    /// Folders in each folder.
    #[arg(long, default_value_t = 16)]
    fanout: u32,
    /// Seed of all choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the tree on the server (`ringkeeper-load clean` removes it).
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    output: OutputFlags,
}

/// What filling measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FillFigures {
    /// Nodes made.
    pub nodes: u64,
    /// Seconds that it took.
    pub seconds: f64,
    /// Nodes per second.
    pub rate: f64,
    /// Each create.
    pub latency: Latency,
    /// Nodes made, seconds passed, and the server's anonymous and file-backed memory in KiB at some points on the way.
    pub growth: Vec<(u64, f64, u64, u64)>,
    /// Anonymous memory per node, bytes; absent if the server's process is not known.
    pub anon_bytes_per_node: Option<f64>,
    /// File-backed resident memory per node, bytes.
    pub file_bytes_per_node: Option<f64>,
    /// Processor time of the server per node, microseconds.
    pub server_cpu_us: Option<f64>,
    /// Processor time of this program per node, microseconds.
    pub generator_cpu_us: f64,
    /// Why it ended before its time; absent if it did not.
    pub ended_early: Option<String>,
}

/// Carries it out.
///
/// # Errors
/// Nothing could be measured, or the report cannot be written.
pub fn main(args: &FillArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let shape = Shape { depth: args.depth, fanout: args.fanout };
    shape.check()?;
    anyhow::ensure!(args.nodes > 0, "--nodes starts at 1");
    let conditions = Conditions::gather(&args.servers, args.seed);
    let processes = args.server.processes(&args.servers)?;
    let line = Line::new("fill");
    let filled = fill(args, shape, &processes, stop, &line);
    line.say("cleaning up");
    let cleaned = if args.keep { Ok(0) } else { clean(&args.servers, &Stop::default()) };
    drop(line);
    let figures = filled?;
    let code = deliver(&document(args, &figures, conditions)?, &args.output, stop)?;
    cleaned.context("the tree was left on the server; `ringkeeper-load clean` removes it")?;
    Ok(code)
}

fn fill(args: &FillArgs, shape: Shape, processes: &[u32], stop: &Stop, line: &Line) -> anyhow::Result<FillFigures> {
    let root = format!("{}{ROOT}/fill-{:x}", args.servers.chroot(), std::process::id());
    let tree = Tree::new(root, shape, args.nodes);
    let mut bulk = Bulk::open(&args.servers, args.connections, args.outstanding, stop)?;
    make_folders(&mut bulk, &args.servers, &tree)?;
    let (before, own_before) = (Usage::of_all(processes), hardware::cpu::process_cpu_time());
    let (mut dice, mut path) = (Dice::new(args.seed, 0), Vec::new());
    let value = vec![b'v'; args.values.longest() as usize];
    let (mut made, mut latency_ns, mut growth) = (0, latencies(), Vec::new());
    let every = (args.nodes / LOOKS).max(1);
    let begun = Instant::now();
    let worked = bulk.all(
        args.nodes,
        |node, xid, out| {
            tree.key(node, &mut path);
            request::create(out, xid, &path, &value[..args.values.draw(&mut dice)], request::PERSISTENT);
        },
        |answer| {
            if answer.error != 0 {
                bail!("a node cannot be made: {}", error_name(answer.error));
            }
            latency_ns.saturating_record(answer.took.as_nanos() as u64);
            made += 1;
            if made % every == 0 {
                line.count(made, args.nodes, "nodes");
                let memory = resident_of_all(processes).unwrap_or_default();
                growth.push((made, begun.elapsed().as_secs_f64(), memory.anon_kib, memory.file_kib));
            }
            Ok(())
        },
    );
    let (seconds, own) = (begun.elapsed().as_secs_f64(), hardware::cpu::process_cpu_time().saturating_sub(own_before));
    let after = Usage::of_all(processes);
    let ended_early = worked.err().map(|error| format!("{error:#}"));
    if let (0, Some(why)) = (made, &ended_early) {
        bail!("no node was made: {why}");
    }
    if ended_early.is_none() {
        bulk.close()?;
    }
    let both = before.zip(after);
    let per_node = |kib: fn(&Usage) -> u64| {
        both.as_ref().map(|(before, after)| (kib(after) as f64 - kib(before) as f64) * 1024.0 / made as f64)
    };
    Ok(FillFigures {
        nodes: made,
        seconds,
        rate: made as f64 / seconds,
        latency: Latency::of(&latency_ns),
        growth,
        anon_bytes_per_node: per_node(|usage| usage.memory.anon_kib),
        file_bytes_per_node: per_node(|usage| usage.memory.file_kib),
        server_cpu_us: both.as_ref().map(|(before, after)| after.cpu_since(before).as_secs_f64() * 1e6 / made as f64),
        generator_cpu_us: own.as_secs_f64() * 1e6 / made as f64,
        ended_early,
    })
}

fn document(args: &FillArgs, figures: &FillFigures, conditions: Conditions) -> anyhow::Result<Document> {
    let memory = figures
        .anon_bytes_per_node
        .map_or(String::new(), |bytes| format!("; each took {} bytes of the server's own memory", number(bytes)));
    let mut key = Table::new("Key figures", &["figure", "value"]);
    let mut row = |name: &str, value: String| key.row([name.to_owned(), value]);
    row("nodes", number(figures.nodes as f64));
    row("nodes per second", number(figures.rate));
    row("create p50", time(figures.latency.p50_us));
    row("create p99", time(figures.latency.p99_us));
    let bytes = |bytes: f64| format!("{} bytes", number(bytes));
    if let (Some(anon), Some(file)) = (figures.anon_bytes_per_node, figures.file_bytes_per_node) {
        row("server memory per node, anonymous", bytes(anon));
        row("server memory per node, mapped files", bytes(file));
    }
    if let Some(us) = figures.server_cpu_us {
        row("server CPU per node", format!("{} us", number(us)));
    }
    row("generator CPU per node", format!("{} us", number(figures.generator_cpu_us)));
    let mib = |kib: u64| kib as f64 / 1024.0;
    let growth = || figures.growth.iter();
    let nodes = ("nodes", Scale::Linear);
    let memory_plot =
        Plot::new("memory", "Memory of the server", nodes, ("resident memory, MiB", Scale::Linear)).with([
            Series::new("anonymous", growth().map(|(nodes, _, anon, _)| (*nodes as f64, mib(*anon)))),
            Series::new("mapped files", growth().map(|(nodes, _, _, file)| (*nodes as f64, mib(*file)))),
        ]);
    let rates = figures.growth.windows(2).map(|pair| {
        let (from, to) = (&pair[0], &pair[1]);
        (to.0 as f64, (to.0 - from.0) as f64 / (to.1 - from.1).max(1e-6))
    });
    let rate_plot = Plot::new("rate", "Rate of creation", nodes, ("nodes per second", Scale::Linear))
        .with([Series::new("created", rates)]);
    let known = figures.anon_bytes_per_node.is_some();
    Ok(Document {
        verb: "fill",
        title: format!("Fill: {} nodes of {} bytes on average", number(args.nodes as f64), number(args.values.mean())),
        answer: format!("{} nodes per second{memory}.", number(figures.rate)),
        warnings: figures.ended_early.iter().map(|why| format!("it ended early: {why}")).collect(),
        tables: vec![key],
        plots: if known { vec![rate_plot, memory_plot] } else { vec![rate_plot] },
        conditions,
        figures: serde_json::json!({ "fill": serde_json::to_value(figures)? }),
    })
}
