//! `fanout`: many sessions that watch, and changes: how long until everybody knows.

mod herds;
mod report;

pub use report::{FanoutFigures, KindFigures};

use super::deliver;
use super::flags::{OutputFlags, ServerFlags};
use super::progress::Line;
use crate::driver::herd::{Counts, Order, Round, Word};
use crate::driver::tidy::{ROOT, clean};
use crate::driver::{Bulk, stage};
use crate::process::Usage;
use crate::report::figures::percentiles;
use crate::report::{Conditions, Latency};
use crate::stop::Stop;
use crate::wire::request;
use crate::workload::{Servers, Span, WatchKind};
use anyhow::{Context, bail, ensure};
use clap::Args;
use herds::Herds;
use report::document;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// Sessions with watches, and rounds of changes: latency of every event, lost and doubled ones.
#[derive(Args, Clone, Debug)]
pub struct FanoutArgs {
    /// Servers, as in host:port,host:port/chroot.
    #[arg(long, short, default_value = "127.0.0.1:2181", value_name = "HOSTS")]
    servers: Servers,
    /// Watching sessions.
    #[arg(long, short, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Watches on each, each on a node of its own, all of which change in a round.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    watches: u32,
    /// Kinds of watch.
    #[arg(long, value_delimiter = ',', default_value = "data,exists,child,persistent,persistent-recursive")]
    kinds: Vec<WatchKind>,
    /// Rounds for each kind.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long the events of a round may take before they count as lost.
    #[arg(long, default_value = "20s")]
    limit: Span,
    /// How long doubled events are waited for after each round.
    #[arg(long, default_value = "50ms")]
    settle: Span,
    /// Threads that hold the sessions.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    output: OutputFlags,
}

/// Carries it out.
///
/// # Errors
/// Nothing could be measured, or the report cannot be written.
pub fn main(args: &FanoutArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let processes = args.server.processes(&args.servers)?;
    let conditions = Conditions::gather(&args.servers, 0);
    let line = Line::new("fanout");
    let mut figures =
        FanoutFigures { connections: args.connections, watches: args.watches, kinds: Vec::new(), ended_early: None };
    if let Err(error) = measure(args, &processes, stop, &line, &mut figures) {
        figures.ended_early = Some(format!("{error:#}"));
    }
    line.say("cleaning up");
    let cleaned = clean(&args.servers, &Stop::default());
    drop(line);
    if let (true, Some(why)) = (figures.kinds.is_empty(), &figures.ended_early) {
        bail!("nothing was measured: {why}");
    }
    let code = deliver(&document(&figures, conditions)?, &args.output, stop)?;
    if figures.ended_early.is_none() {
        cleaned?;
    }
    let wrong = figures.kinds.iter().any(|kind| kind.lost + kind.doubled > 0);
    Ok(if wrong { ExitCode::FAILURE } else { code })
}

fn measure(
    args: &FanoutArgs,
    processes: &[u32],
    stop: &Stop,
    line: &Line,
    figures: &mut FanoutFigures,
) -> anyhow::Result<()> {
    let herds = Herds::gather(args, stop, line)?;
    let mut writer = Bulk::open(&args.servers, 1, 1_000_000, stop)?;
    let above = format!("{}{ROOT}", args.servers.chroot());
    let root = format!("{above}/fanout-{:x}", std::process::id());
    make(&mut writer, &[above, root.clone()])?;
    let measured = args.kinds.iter().try_for_each(|kind| {
        figures.kinds.push(one_kind(args, *kind, &root, &herds, &mut writer, processes, stop, line)?);
        Ok(())
    });
    herds.end();
    measured
}

fn make(writer: &mut Bulk, paths: &[String]) -> anyhow::Result<()> {
    for path in paths {
        let encode = |_, xid, out: &mut Vec<u8>| request::create(out, xid, path.as_bytes(), b"", request::PERSISTENT);
        writer.all(1, encode, |answer| stage::expect_made(answer.error)).with_context(|| format!("making {path}"))?;
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)]
fn one_kind(
    args: &FanoutArgs,
    kind: WatchKind,
    root: &str,
    herds: &Herds,
    writer: &mut Bulk,
    processes: &[u32],
    stop: &Stop,
    line: &Line,
) -> anyhow::Result<KindFigures> {
    let folder = format!("{root}/{}", kind.name());
    make(writer, std::slice::from_ref(&folder))?;
    let paths: Arc<Vec<String>> = Arc::new((0..args.watches).map(|node| format!("{folder}/n{node:08}")).collect());
    if kind != WatchKind::Exists {
        let encode = |node: u64, xid, out: &mut Vec<u8>| {
            request::create(out, xid, paths[node as usize].as_bytes(), b"", request::PERSISTENT);
        };
        writer.all(u64::from(args.watches), encode, |answer| stage::expect_made(answer.error))?;
    }
    let mut all = Counts::none();
    let (mut lasts, mut server_cpu, mut own_cpu) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    for round in 0..args.rounds {
        stop.check()?;
        line.count(u64::from(round), args.rounds.into(), &format!("rounds of {} watches", kind.name()));
        if round == 0 || kind.fires_once() {
            herds.tell(|| Order::Arm(kind, Arc::clone(&paths)))?;
        } else {
            herds.tell(|| Order::Ping)?;
        }
        herds.all_ready(writer)?;
        let server_before = Usage::of_all(processes);
        let own_before = hardware::cpu::process_cpu_time();
        let shared = Arc::new(Round {
            origin: Instant::now(),
            sent_ns: (0..args.watches).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
        });
        herds.tell(|| Order::Count(Arc::clone(&shared)))?;
        change(writer, kind, &paths, round, &shared)?;
        let counts = await_events(args, herds, &shared, processes, stop)?;
        if let (Some(before), Some(after)) = (&server_before, &counts.server) {
            server_cpu += after.cpu_since(before);
        }
        own_cpu += counts.own_cpu.saturating_sub(own_before);
        let first_sent = shared.sent_ns.iter().map(|sent| sent.load(Ordering::Relaxed)).min().unwrap_or(0);
        lasts.push(counts.counts.last_ns.saturating_sub(first_sent));
        all.add(&counts.counts);
    }
    let events = all.latency_ns.len();
    let per_event = |cpu: Duration| cpu.as_secs_f64() * 1e6 / events.max(1) as f64;
    let in_rounds = lasts.iter().sum::<u64>() as f64 / 1e9;
    lasts.sort_unstable();
    Ok(KindFigures {
        kind,
        rounds: args.rounds,
        events,
        lost: all.lost,
        doubled: all.doubled,
        latency: Latency::of(&all.latency_ns),
        percentiles: percentiles(&all.latency_ns),
        last_p50_us: lasts[lasts.len() / 2] as f64 / 1e3,
        last_max_us: lasts[lasts.len() - 1] as f64 / 1e3,
        events_per_second: events as f64 / in_rounds.max(1e-9),
        server_cpu_us: (!processes.is_empty()).then(|| per_event(server_cpu)),
        generator_cpu_us: per_event(own_cpu),
    })
}

/// Changes every node so that each of its watches fires once.
fn change(writer: &mut Bulk, kind: WatchKind, paths: &[String], round: u32, shared: &Round) -> anyhow::Result<()> {
    let encode = |node: u64, xid: i32, out: &mut Vec<u8>| {
        let path = &paths[node as usize];
        let child = format!("{path}/c");
        let below = match kind {
            WatchKind::Data | WatchKind::Persistent => None,
            WatchKind::Exists => Some(path.as_bytes()),
            WatchKind::Child | WatchKind::PersistentRecursive => Some(child.as_bytes()),
        };
        match below {
            None => request::set(out, xid, path.as_bytes(), b"changed"),
            Some(path) if round.is_multiple_of(2) => request::create(out, xid, path, b"", request::PERSISTENT),
            Some(path) => request::delete(out, xid, path),
        }
        shared.sent_ns[node as usize].store(shared.now_ns(), Ordering::Release);
    };
    writer.all(paths.len() as u64, encode, |answer| {
        ensure!(answer.error == 0, "a change failed: {}", crate::wire::reply::error_name(answer.error));
        Ok(())
    })
}

/// A round's events, and the processor time used when they were all there.
struct Finished {
    counts: Counts,
    server: Option<Usage>,
    own_cpu: Duration,
}

fn await_events(
    args: &FanoutArgs,
    herds: &Herds,
    shared: &Round,
    processes: &[u32],
    stop: &Stop,
) -> anyhow::Result<Finished> {
    let until = Instant::now() + args.limit.0;
    let mut here = 0;
    while here < herds.orders.len() && Instant::now() < until && !stop.is_set() {
        match herds.words.recv_timeout(Duration::from_millis(100)) {
            Ok(Word::AllHere) => here += 1,
            Ok(Word::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Disconnected) => bail!("the sessions' threads have ended"),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
    // Looking at the server costs the generator something that no event has cost.
    let own_cpu = hardware::cpu::process_cpu_time();
    let server = Usage::of_all(processes);
    std::thread::sleep(args.settle.0);
    shared.over.store(true, Ordering::Relaxed);
    herds.wakers.iter().for_each(|waker| waker.wake());
    let (mut counts, mut counted) = (Counts::none(), 0);
    while counted < herds.orders.len() {
        if let Word::Counted(of_herd) = herds.hear(Duration::from_secs(10))? {
            counts.add(&of_herd);
            counted += 1;
        }
    }
    stop.check()?;
    Ok(Finished { counts, server, own_cpu })
}
