//! `rejoin`: a server leaves an ensemble, misses writes, and comes back.

use super::deliver;
use super::ensemble::{WriterFlags, process_of, shell, wait_for_zxid};
use super::flags::OutputFlags;
use super::progress::Line;
use crate::driver::writers::Acked;
use crate::driver::{Bulk, Stage, latencies};
use crate::process::signal_and_see;
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Latency, Table};
use crate::stop::Stop;
use crate::wire::request;
use crate::wire::session::{role, standing};
use crate::workload::Span;
use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Between an accident and what is measured after it.
const SETTLE: Duration = Duration::from_millis(500);
/// Writers whose latest writes took less have no backlog.
const ON_TIME: Duration = Duration::from_millis(100);

/// Takes a server away, lets it miss writes, and brings it back.
#[derive(Args, Clone, Debug)]
pub struct RejoinArgs {
    #[command(flatten)]
    writers: WriterFlags,
    /// The server that leaves, as host:port; a follower unless given.
    #[arg(long, value_name = "HOST")]
    leaver: Option<SocketAddr>,
    /// Shell command that ends it, with its address in $SERVER; killed (SIGKILL) unless given, if it is on this machine.
    #[arg(long, value_name = "COMMAND")]
    leave_command: Option<String>,
    /// Shell command that starts it again in the background, with its address in $SERVER. One that empties its data
    /// directory first measures a fresh server.
    #[arg(long, value_name = "COMMAND")]
    start_command: String,
    /// Writes that it misses, as fast as the others take them.
    #[arg(long, default_value_t = 100_000)]
    behind: u64,
    /// How long the writers are watched before, and once more after it is back.
    #[arg(long, default_value = "5s", value_name = "TIME")]
    watch: Span,
    /// Writes that took longer are counted apart.
    #[arg(long, default_value = "20ms", value_name = "TIME")]
    stall: Span,
    #[command(flatten)]
    output: OutputFlags,
}

/// What the verb measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejoinFigures {
    /// The server that left.
    pub leaver: String,
    /// What it was.
    pub role: String,
    /// Writes that it missed: the leader's zxid less its own at the end.
    pub behind: u64,
    /// From its start until it served clients, seconds; absent if it did not within `--limit`.
    pub serving_s: Option<f64>,
    /// Until it had also applied everything that the leader had at its start.
    pub caught_up_s: Option<f64>,
    /// Writes with all servers there.
    pub before: Latency,
    /// Writes while it was away.
    pub away: Latency,
    /// Writes from its start until it had caught up.
    pub meanwhile: Latency,
    /// Writes after that.
    pub after: Latency,
    /// How many of them took longer than `--stall`.
    pub stalls: Stalls,
}

/// Writes that took long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalls {
    /// With all servers there.
    pub before: u64,
    /// While one was away.
    pub away: u64,
    /// From its start until it had caught up.
    pub meanwhile: u64,
    /// After that.
    pub after: u64,
}

/// Carries it out.
///
/// # Errors
/// There is no ensemble, the server cannot be ended or started, or the report cannot be written.
pub fn main(args: &RejoinArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let line = Line::new("rejoin");
    line.say("looking for the leader");
    let leader = args.writers.leader(stop)?;
    let conditions = Conditions::gather(&args.writers.servers, 0);
    let addresses = args.writers.servers.addresses();
    let leaver = match args.leaver {
        Some(leaver) => leaver,
        None => {
            let follows = |server: &&SocketAddr| role(**server).is_ok_and(|role| role == "follower");
            *addresses.iter().find(follows).context("no server follows")?
        }
    };
    ensure!(addresses.contains(&leaver), "{leaver} is none of {}", args.writers.servers);
    ensure!(leaver != leader, "{leaver} leads: `failover` measures that; --leaver names another server");
    let mut stage = args.writers.stage(stop)?;
    let figures = measure(args, &stage, leader, leaver, stop, &line);
    line.say("cleaning up");
    stage.keep_to(|server| role(server).is_ok());
    let cleaned = stage.clean();
    drop(line);
    let code = deliver(&document(args, &figures?, conditions)?, &args.output, stop)?;
    cleaned?;
    Ok(code)
}

fn measure(
    args: &RejoinArgs,
    stage: &Stage,
    leader: SocketAddr,
    leaver: SocketAddr,
    stop: &Stop,
    line: &Line,
) -> anyhow::Result<RejoinFigures> {
    let (role, begin_zxid) = standing(leaver)?;
    let process =
        if args.leave_command.is_none() { Some(process_of(leaver).context("--leave-command")?) } else { None };
    let writers = args.writers.start(stage)?;
    let pause = |time: Duration| {
        let until = Instant::now() + time;
        while Instant::now() < until && !stop.is_set() {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.check()
    };
    // What a writer could not send in time stays due: such a backlog is none of what is measured next.
    let settle = || -> anyhow::Result<()> {
        pause(SETTLE)?;
        let until = Instant::now() + args.writers.limit();
        while writers.lag(4 * args.writers.count() as usize).is_none_or(|lag| lag > ON_TIME) && Instant::now() < until {
            pause(ON_TIME)?;
        }
        Ok(())
    };
    line.say("writing, with all servers");
    settle()?;
    let begin = Instant::now();
    pause(args.watch.0)?;
    let gone = Instant::now();
    match (&args.leave_command, process) {
        (Some(command), _) => shell(command, leaver)?,
        (None, Some(process)) => signal_and_see(process, Signal::KILL)?,
        (None, None) => bail!("nothing ends {leaver}"),
    }
    line.say("writing what it misses");
    let missing = || -> anyhow::Result<(Instant, u64)> {
        miss(args, stage, leader, leaver, stop)?;
        settle()?;
        let away = Instant::now();
        pause(args.watch.0)?;
        Ok((away, standing(leader)?.1))
    };
    let (away, end_zxid) = missing().inspect_err(|_| {
        // The ensemble is left whole.
        if let Err(error) = shell(&args.start_command, leaver) {
            crate::say::warn(&format!("{leaver} was ended and not started again: {error:#}"));
        }
    })?;
    line.say("coming back");
    let started = Instant::now();
    shell(&args.start_command, leaver)?;
    let (serving_s, caught_up_s) = wait_for_zxid(leaver, end_zxid, started, started + args.writers.limit(), stop);
    let back = Instant::now();
    stop.check()?;
    pause(args.watch.0)?;
    let (acked, end) = (writers.acked(), Instant::now());
    drop(writers);
    let between = |from: Instant, to: Instant| latency(&acked, from, to);
    let stalls = |from: Instant, to: Instant| {
        within(&acked, from, to)
            .filter(|write| write.acked.saturating_duration_since(write.meant) > args.stall.0)
            .count() as u64
    };
    Ok(RejoinFigures {
        leaver: leaver.to_string(),
        role,
        behind: end_zxid.saturating_sub(begin_zxid),
        serving_s,
        caught_up_s,
        before: between(begin, gone),
        away: between(away, started),
        meanwhile: between(started, back),
        after: between(back, end),
        stalls: Stalls {
            before: stalls(begin, gone),
            away: stalls(away, started),
            meanwhile: stalls(started, back),
            after: stalls(back, end),
        },
    })
}

/// Writes to the servers that are left, as fast as they take it.
fn miss(args: &RejoinArgs, stage: &Stage, leader: SocketAddr, leaver: SocketAddr, stop: &Stop) -> anyhow::Result<()> {
    let behind_before = standing(leader)?.1;
    ensure!(standing(leaver).is_err(), "{leaver} still serves after it was ended");
    let servers = args.writers.servers.with_addresses(vec![leader]);
    let mut bulk = Bulk::usual(&servers, stop)?;
    let (mut path, writers) = (Vec::new(), u64::from(args.writers.count()));
    let encode = |number: u64, xid: i32, out: &mut Vec<u8>| {
        stage.tree().key(number % writers, &mut path);
        request::set(out, xid, &path, &[b'm'; 100]);
    };
    let mut refused = 0_u64;
    bulk.all(args.behind, encode, |answer| {
        refused += u64::from(answer.error != 0);
        Ok(())
    })?;
    bulk.close()?;
    ensure!(refused == 0, "{refused} writes were refused");
    let missed = standing(leader)?.1.saturating_sub(behind_before);
    ensure!(missed >= args.behind, "the leader counts {missed} writes of {}", args.behind);
    Ok(())
}

/// Writes that were due in this time.
fn within(acked: &[Acked], from: Instant, to: Instant) -> impl Iterator<Item = &Acked> {
    acked.iter().filter(move |write| (from..to).contains(&write.meant))
}

/// Of writes that were due in this time, from when they were due.
fn latency(acked: &[Acked], from: Instant, to: Instant) -> Latency {
    let mut all = latencies();
    for write in within(acked, from, to) {
        all.saturating_record(write.acked.saturating_duration_since(write.meant).as_nanos() as u64);
    }
    Latency::of(&all)
}

fn document(args: &RejoinArgs, figures: &RejoinFigures, conditions: Conditions) -> anyhow::Result<Document> {
    let seconds = |s: Option<f64>| s.map_or("not within the limit".to_owned(), |s| time(s * 1e6));
    let mut key = Table::new("The server that came back", &["figure", "value"]);
    for (name, value) in [
        ("server", format!("{} ({})", figures.leaver, figures.role)),
        ("writes that it missed", number(figures.behind as f64)),
        ("from its start until it served", seconds(figures.serving_s)),
        ("until it had what the leader had then", seconds(figures.caught_up_s)),
    ] {
        key.row([name.to_owned(), value]);
    }
    let long = format!("over {}", args.stall);
    let mut writes = Table::new("Writes, from when they were due", &["when", "count", "p50", "p99", "max", &long]);
    let stalls = &figures.stalls;
    for (when, latency, stalls) in [
        ("before", &figures.before, stalls.before),
        ("while it was away", &figures.away, stalls.away),
        ("from its start until it had caught up", &figures.meanwhile, stalls.meanwhile),
        ("after that", &figures.after, stalls.after),
    ] {
        let cells = [number(latency.count as f64), time(latency.p50_us), time(latency.p99_us), time(latency.max_us)];
        let cells = cells.into_iter().chain([number(stalls as f64)]);
        writes.row(std::iter::once(when.to_owned()).chain(cells));
    }
    Ok(Document {
        verb: "rejoin",
        title: format!("{} comes back after {} writes", figures.leaver, number(args.behind as f64)),
        answer: format!(
            "It served after {} and had caught up after {}; p99 of writes was {} before and {} meanwhile.",
            seconds(figures.serving_s),
            seconds(figures.caught_up_s),
            time(figures.before.p99_us),
            time(figures.meanwhile.p99_us)
        ),
        warnings: Vec::new(),
        tables: vec![key, writes],
        plots: Vec::new(),
        conditions,
        figures: serde_json::json!({ "rejoin": serde_json::to_value(figures)? }),
    })
}
