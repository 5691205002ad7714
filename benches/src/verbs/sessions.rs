//! `sessions`: many sessions opened and held, storms of reconnects, expiry.

use super::compare::StartFlags;
use super::deliver;
use super::flags::{OutputFlags, ServerFlags};
use super::progress::Line;
use crate::driver::crowd::Crowd;
use crate::driver::expiry::{Expiry, expire};
use crate::driver::latencies;
use crate::driver::tidy::clean;
use crate::process::{Resident, resident, resident_of_all};
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Latency, Plot, Scale, Series, Table};
use crate::server::Server;
use crate::stop::Stop;
use crate::wire::session::{Ask, asks};
use crate::workload::{Servers, Span};
use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Many sessions: opening, holding, reconnecting, expiring.
#[derive(Args, Clone, Debug)]
pub struct SessionsArgs {
    /// Servers, as in host:port,host:port/chroot.
    #[arg(long, short, default_value = "127.0.0.1:2181", value_name = "HOSTS")]
    servers: Servers,
    /// Sessions.
    #[arg(long, short = 'n', default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
    /// Timeout that they ask for.
    #[arg(long, default_value = "30s")]
    session_timeout: Span,
    /// How long they are held.
    #[arg(long, default_value = "10s")]
    hold: Span,
    /// Sessions from each loopback address, if the server is on one.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    per_source: u32,
    /// Storms: all connections are cut and come back at once.
    #[arg(long, default_value_t = 1)]
    storms: u32,
    /// Start a server (ringkeeper or zookeeper) and kill and restart it for each storm.
    #[arg(long, value_name = "SERVER", conflicts_with_all = ["servers", "restart_command"])]
    start: Option<String>,
    /// Shell command that restarts the server before each storm.
    #[arg(long, value_name = "COMMAND")]
    restart_command: Option<String>,
    /// Sessions left to expire.
    #[arg(long, default_value_t = 100)]
    expire: u32,
    /// Their timeout.
    #[arg(long, default_value = "4s")]
    expire_timeout: Span,
    #[command(flatten)]
    starting: StartFlags,
    #[command(flatten)]
    server: ServerFlags,
    #[command(flatten)]
    output: OutputFlags,
}

/// What the verb measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionFigures {
    /// Sessions opened.
    pub opened: u64,
    /// Seconds that opening took.
    pub open_seconds: f64,
    /// The server's memory before and after; absent if its process is not known.
    pub memory: Option<(Resident, Resident)>,
    /// This program's memory before and after; absent if the system does not tell.
    pub own_memory: Option<(Resident, Resident)>,
    /// Seconds held, with pings.
    pub held_seconds: f64,
    /// Connections that the server ended meanwhile.
    pub lost: u64,
    /// Storms.
    pub storms: Vec<StormFigures>,
    /// Expiry.
    pub expiry: Option<ExpiryFigures>,
    /// Why it ended before its time; absent if it did not.
    pub ended_early: Option<String>,
}

/// One storm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StormFigures {
    /// Sessions attached again.
    pub attached: u64,
    /// Sessions that the server did not know any more.
    pub expired: u64,
    /// Sessions that could not be attached in time.
    pub failed: u64,
    /// From the cut (or the server's restart) to each session's attachment.
    pub after: Latency,
    /// Share of the sessions that were back after so many seconds.
    pub back: Vec<(f64, f64)>,
}

/// Expiry of sessions whose connections were cut.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpiryFigures {
    /// Sessions whose ephemeral node disappeared.
    pub expired: u64,
    /// Sessions that were still there at the end of the wait.
    pub missing: u64,
    /// Sessions that expired before their timeout: must be 0.
    pub early: u64,
    /// From the timeout to the disappearance of the node.
    pub late: Latency,
}

/// Carries it out.
///
/// # Errors
/// Nothing could be measured, or the report cannot be written.
pub fn main(args: &SessionsArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let home = args.starting.home()?;
    let mut started = match &args.start {
        Some(name) => Some(Server::start(&args.starting.kind(name)?, home.path(), args.starting.pin_server)?),
        None => None,
    };
    let servers = started.as_ref().map_or(args.servers.clone(), |server| Servers::one(server.address()));
    let conditions = Conditions::gather(&servers, 0);
    let line = Line::new("sessions");
    let mut figures = SessionFigures::default();
    if let Err(error) = measure(args, &servers, &mut started, stop, &line, &mut figures) {
        figures.ended_early = Some(format!("{error:#}"));
    }
    line.say("cleaning up");
    let cleaned = if args.expire > 0 { clean(&servers, &Stop::default()) } else { Ok(0) };
    drop(line);
    if let (0, Some(why)) = (figures.opened, &figures.ended_early) {
        bail!("nothing was measured: {why}");
    }
    let code = deliver(&document(&figures, conditions)?, &args.output, stop)?;
    if figures.ended_early.is_none() {
        cleaned?;
    }
    Ok(code)
}

fn measure(
    args: &SessionsArgs,
    servers: &Servers,
    started: &mut Option<Server>,
    stop: &Stop,
    line: &Line,
    figures: &mut SessionFigures,
) -> anyhow::Result<()> {
    let all = asks(servers, args.count, args.session_timeout.0, Some(args.per_source))?;
    let processes = match started {
        Some(server) => vec![server.pid()],
        None => args.server.processes(servers)?,
    };
    let own = || resident(std::process::id()).ok();
    let (before, own_before) = (resident_of_all(&processes), own());
    let begun = Instant::now();
    let mut crowd = Crowd::open(&all, stop, |open| line.count(open as u64, args.count.into(), "sessions"))?;
    (figures.opened, figures.open_seconds) = (crowd.len() as u64, begun.elapsed().as_secs_f64());
    figures.memory = before.zip(resident_of_all(&processes));
    figures.own_memory = own_before.zip(own());
    line.say("holding");
    let begun = Instant::now();
    crowd.hold(args.hold.0, stop)?;
    (figures.held_seconds, figures.lost) = (begun.elapsed().as_secs_f64(), crowd.lost);
    for storm in 1..=args.storms {
        stop.check()?;
        line.say(&format!("storm {storm} of {}", args.storms));
        let (asks, begun) = break_off(args, crowd, started)?;
        let (back, storm) = Crowd::storm(&asks, begun, args.session_timeout.0 * 2, stop)?;
        figures.storms.push(storm_figures(&storm.attached, storm.expired, storm.failed));
        crowd = back;
        if let (true, Some(why)) = (storm.failed > 0, storm.last_error) {
            bail!("{} sessions could not be attached again: {why}", storm.failed);
        }
    }
    crowd.close()?;
    if args.expire > 0 {
        stop.check()?;
        line.say("waiting for expiry");
        figures.expiry = Some(expiry_figures(&expire(servers, args.expire, args.expire_timeout.0, stop)?));
    }
    Ok(())
}

/// Cuts all connections, by the server's restart where that can be had.
fn break_off(args: &SessionsArgs, crowd: Crowd, started: &mut Option<Server>) -> anyhow::Result<(Vec<Ask>, Instant)> {
    let begun = Instant::now();
    if let Some(server) = started {
        server.restart()?;
    } else if let Some(command) = &args.restart_command {
        let status = std::process::Command::new("sh").args(["-c", command]).status();
        let status = status.with_context(|| format!("{command:?} cannot be run"))?;
        ensure!(status.success(), "{command:?} ended with {status}");
    }
    Ok((crowd.cut()?, begun))
}

fn storm_figures(attached: &[Duration], expired: u64, failed: u64) -> StormFigures {
    let mut after = latencies();
    attached.iter().for_each(|after_cut| after.saturating_record(after_cut.as_nanos() as u64));
    let step = (attached.len() / 200).max(1);
    let all = (attached.len() as u64 + expired + failed).max(1) as f64;
    let back =
        attached.iter().enumerate().step_by(step).map(|(at, after)| (after.as_secs_f64(), (at + 1) as f64 / all));
    let last = attached.last().map(|last| (last.as_secs_f64(), attached.len() as f64 / all));
    StormFigures {
        attached: attached.len() as u64,
        expired,
        failed,
        after: Latency::of(&after),
        back: back.chain(last).collect(),
    }
}

fn expiry_figures(expiry: &Expiry) -> ExpiryFigures {
    let mut late = latencies();
    expiry.late.iter().for_each(|late_by| late.saturating_record(late_by.as_nanos() as u64));
    let expired = expiry.late.len() as u64 + expiry.early;
    ExpiryFigures { expired, missing: expiry.missing, early: expiry.early, late: Latency::of(&late) }
}

fn document(figures: &SessionFigures, conditions: Conditions) -> anyhow::Result<Document> {
    let mut key = Table::new("Key figures", &["figure", "value"]);
    let mut row = |name: &str, value: String| key.row([name.to_owned(), value]);
    row("sessions opened", number(figures.opened as f64));
    row("opened per second", number(figures.opened as f64 / figures.open_seconds.max(1e-9)));
    let mut memory = String::new();
    let per = |before: u64, after: u64| (after as f64 - before as f64) * 1024.0 / figures.opened.max(1) as f64;
    if let Some((before, after)) = figures.memory {
        let bytes = per(before.anon_kib, after.anon_kib);
        row("server memory per session, anonymous", format!("{} bytes", number(bytes)));
        row("server memory per session, all resident", format!("{} bytes", number(per(before.all_kib, after.all_kib))));
        memory = format!(", {} bytes of the server's memory each", number(bytes));
    }
    if let Some((before, after)) = figures.own_memory {
        row("generator memory per session", format!("{} bytes", number(per(before.all_kib, after.all_kib))));
    }
    row("held", time(figures.held_seconds * 1e6));
    row("lost while held", number(figures.lost as f64));
    if let Some(expiry) = &figures.expiry {
        row("expired", number(expiry.expired as f64));
        row("expired too early", number(expiry.early as f64));
        row("not expired in time", number(expiry.missing as f64));
        row("expired after the timeout, p50", time(expiry.late.p50_us));
        row("expired after the timeout, max", time(expiry.late.max_us));
    }
    let mut storms = Table::new(
        "Storms: from the cut to a session's attachment",
        &["storm", "attached", "expired", "failed", "p50", "p99", "last"],
    );
    for (at, storm) in (1..).zip(&figures.storms) {
        storms.row([
            at.to_string(),
            number(storm.attached as f64),
            number(storm.expired as f64),
            number(storm.failed as f64),
            time(storm.after.p50_us),
            time(storm.after.p99_us),
            time(storm.after.max_us),
        ]);
    }
    let back = (1..).zip(&figures.storms).map(|(at, storm): (u32, _)| {
        Series::new(format!("storm {at}"), storm.back.iter().map(|(after, share)| (*after, share * 100.0)))
    });
    let plot = Plot::new(
        "storms",
        "Sessions that are back",
        ("seconds since the cut", Scale::Linear),
        ("sessions attached, percent", Scale::Linear),
    );
    let answer = match figures.storms.last() {
        Some(storm) => format!(
            "{} sessions{memory}; after a storm all were back within {}.",
            number(figures.opened as f64),
            time(storm.after.max_us)
        ),
        None => format!("{} sessions{memory}.", number(figures.opened as f64)),
    };
    Ok(Document {
        verb: "sessions",
        title: format!("Sessions: {}", number(figures.opened as f64)),
        answer,
        warnings: figures.ended_early.iter().map(|why| format!("it ended early: {why}")).collect(),
        tables: vec![key, storms],
        plots: if figures.storms.is_empty() { Vec::new() } else { vec![plot.with(back)] },
        conditions,
        figures: serde_json::json!({ "sessions": serde_json::to_value(figures)? }),
    })
}
