//! `failover`: the leader of an ensemble is killed, stopped or cut off while clients write.

use super::deliver;
use super::ensemble::{LOOK, WriterFlags, process_of, shell};
use super::flags::OutputFlags;
use super::progress::Line;
use crate::driver::writers::{Acked, Writers, first_after, longest_gap};
use crate::plan::median;
use crate::process::signal_and_see;
use crate::report::document::{number, time};
use crate::report::{Conditions, Document, Plot, Scale, Series, Table};
use crate::stop::Stop;
use crate::wire::session::role;
use anyhow::{Context, ensure};
use clap::Args;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Writing that is watched before the leader is harmed, and after everybody writes again.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_millis(500);
/// Width of a step of the plot, seconds.
const STEP: f64 = 0.05;

/// What is done to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Harm {
    /// Its process is killed (SIGKILL).
    Kill,
    /// Its process is stopped (SIGSTOP), and goes on (SIGCONT) after the measurement.
    Stop,
}

/// Harms an ensemble's leader while clients write.
#[derive(Args, Clone, Debug)]
pub struct FailoverArgs {
    #[command(flatten)]
    writers: WriterFlags,
    /// What is done to the leader, whose process is found by its port on this machine.
    #[arg(long, default_value = "kill")]
    harm: Harm,
    /// Shell command that harms the leader instead; its address is in $SERVER.
    #[arg(long, value_name = "COMMAND", conflicts_with = "harm")]
    harm_command: Option<String>,
    /// Shell command that brings the harmed server back after each round, such as one that starts it in the background;
    /// its address is in $SERVER. Not needed for `--harm stop`.
    #[arg(long, value_name = "COMMAND")]
    heal_command: Option<String>,
    /// Rounds. More than one need a server that comes back.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    output: OutputFlags,
}

/// What one round showed. Seconds, from the moment at which the harm had taken effect; absent for what did not happen within
/// `--limit`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailoverRound {
    /// The leader that was harmed, and the next one.
    pub leader: String,
    /// The server that led next.
    pub next_leader: Option<String>,
    /// Until another server said that it leads.
    pub leader_seen_s: Option<f64>,
    /// Until the first write was acknowledged that was sent after the harm.
    pub first_write_s: Option<f64>,
    /// Until every writer had such a write.
    pub all_write_s: Option<f64>,
    /// The longest time in which no write of any writer was acknowledged.
    pub longest_gap_s: f64,
    /// Sessions that expired meanwhile.
    pub lost_sessions: u64,
    /// Writes that a server answered with an error.
    pub refused: u64,
    /// Acknowledged writes per second against seconds from the harm.
    pub over_time: Vec<(f64, f64)>,
}

/// Carries it out.
///
/// # Errors
/// There is no ensemble with a leader, the leader cannot be harmed, or the report cannot be written.
pub fn main(args: &FailoverArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let heals = args.heal_command.is_some() || (args.harm_command.is_none() && args.harm == Harm::Stop);
    ensure!(heals || args.rounds == 1, "more than one round needs --heal-command, which brings the harmed server back");
    let line = Line::new("failover");
    line.say("looking for the leader");
    args.writers.leader(stop)?;
    let conditions = Conditions::gather(&args.writers.servers, 0);
    let mut stage = args.writers.stage(stop)?;
    let (mut rounds, mut ended) = (Vec::new(), None);
    let writers = args.writers.start(&stage)?;
    for number in 1..=args.rounds {
        line.say(&format!("round {number} of {}", args.rounds));
        match round(args, &writers, stop, &mut rounds) {
            Err(error) if !rounds.is_empty() => {
                ended = Some(format!("{error:#}"));
                break;
            }
            done => done?,
        }
    }
    line.say("cleaning up");
    drop(writers);
    if heals && let Err(error) = args.writers.leader(stop) {
        ended.get_or_insert(format!("{error:#}"));
    }
    stage.keep_to(|server| role(server).is_ok());
    let cleaned = stage.clean();
    drop(line);
    let code = deliver(&document(args, &rounds, ended.as_ref(), conditions)?, &args.output, stop)?;
    if ended.is_none() {
        cleaned?;
    }
    Ok(code)
}

fn round(args: &FailoverArgs, writers: &Writers, stop: &Stop, rounds: &mut Vec<FailoverRound>) -> anyhow::Result<()> {
    args.writers.leader(stop)?;
    writers.forget();
    std::thread::sleep(BEFORE);
    // Asked late: after a server came back another one may lead.
    let leader = args.writers.leader(stop)?;
    let until = Instant::now() + args.writers.limit();
    while writers.acked().is_empty() {
        stop.check()?;
        ensure!(Instant::now() < until, "no write is acknowledged although every server serves");
        std::thread::sleep(LOOK);
    }
    stop.check()?;
    let before = writers.failures();
    let healed = harm(args, leader)?;
    let harmed = Instant::now();
    let others: Vec<SocketAddr> =
        args.writers.servers.addresses().iter().copied().filter(|server| *server != leader).collect();
    let next = watch(&others, harmed, args, writers, stop);
    if next.is_some() {
        std::thread::sleep(AFTER);
    }
    let (acked, after, end) = (writers.acked(), writers.failures(), Instant::now());
    rounds.push(FailoverRound {
        leader: leader.to_string(),
        next_leader: next.map(|(server, _)| server.to_string()),
        leader_seen_s: next.map(|(_, after)| after),
        first_write_s: first_after(&acked, harmed, None),
        all_write_s: all_write(&acked, harmed, args.writers.count()),
        longest_gap_s: longest_gap(&acked, harmed - AFTER, end),
        lost_sessions: after.0 - before.0,
        refused: after.1 - before.1,
        over_time: over_time(&acked, harmed, end),
    });
    drop(healed);
    if let Some(command) = &args.heal_command {
        shell(command, leader)?;
    }
    Ok(())
}

/// A stopped process goes on when this is dropped, whatever happens meanwhile.
struct Stopped(u32);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = signal_and_see(self.0, Signal::CONT) {
            crate::say::warn(&format!("{error:#}: it may still be stopped"));
        }
    }
}

fn harm(args: &FailoverArgs, leader: SocketAddr) -> anyhow::Result<Option<Stopped>> {
    if let Some(command) = &args.harm_command {
        return shell(command, leader).map(|()| None);
    }
    let process = process_of(leader).context("--harm-command")?;
    match args.harm {
        Harm::Kill => signal_and_see(process, Signal::KILL).map(|()| None),
        Harm::Stop => {
            let stopped = Stopped(process);
            signal_and_see(process, Signal::STOP)?;
            Ok(Some(stopped))
        }
    }
}

fn all_write(acked: &[Acked], from: Instant, writers: u32) -> Option<f64> {
    (0..writers)
        .map(|writer| first_after(acked, from, Some(writer)))
        .try_fold(0.0, |last, at| Some(f64::max(last, at?)))
}

/// Waits for another leader, and until every writer has written again. Each server is asked by a thread of its own, so that one
/// which hangs keeps nobody waiting.
fn watch(
    others: &[SocketAddr],
    harmed: Instant,
    args: &FailoverArgs,
    writers: &Writers,
    stop: &Stop,
) -> Option<(SocketAddr, f64)> {
    let (until, over) = (harmed + args.writers.limit(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ask = |server: SocketAddr| {
            while !over.load(Ordering::Relaxed) && !stop.is_set() && Instant::now() < until {
                if role(server).is_ok_and(|role| role == "leader") {
                    over.store(true, Ordering::Relaxed);
                    return Some((server, harmed.elapsed().as_secs_f64()));
                }
                std::thread::sleep(LOOK);
            }
            None
        };
        let asking: Vec<_> = others.iter().map(|server| scope.spawn(move || ask(*server))).collect();
        while Instant::now() < until && !stop.is_set() {
            let written = all_write(&writers.acked(), harmed, args.writers.count()).is_some();
            if written && over.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(10 * LOOK);
        }
        asking.into_iter().filter_map(|thread| thread.join().ok().flatten()).min_by(|a, b| a.1.total_cmp(&b.1))
    })
}

fn over_time(acked: &[Acked], harmed: Instant, end: Instant) -> Vec<(f64, f64)> {
    let steps = (end.saturating_duration_since(harmed).as_secs_f64() / STEP) as usize;
    let mut counts = vec![0.0; steps.min(4000)];
    let begin = (AFTER.as_secs_f64() / STEP) as usize;
    let mut early = vec![0.0; begin];
    for write in acked {
        let bucket = match write.acked.checked_duration_since(harmed) {
            Some(after) => counts.get_mut((after.as_secs_f64() / STEP) as usize),
            None => begin
                .checked_sub(1 + ((harmed - write.acked).as_secs_f64() / STEP) as usize)
                .and_then(|at| early.get_mut(at)),
        };
        if let Some(count) = bucket {
            *count += 1.0 / STEP;
        }
    }
    let at = |step: usize| (step as f64 + 0.5 - begin as f64) * STEP;
    early.into_iter().chain(counts).enumerate().map(|(step, rate)| (at(step), rate)).collect()
}

fn document(
    args: &FailoverArgs,
    rounds: &[FailoverRound],
    ended: Option<&String>,
    conditions: Conditions,
) -> anyhow::Result<Document> {
    let seconds = |s: Option<f64>| s.map_or("not within the limit".to_owned(), |s| time(s * 1e6));
    let columns = [
        "round",
        "leader",
        "next leader",
        "leads after",
        "first write",
        "all writers",
        "longest gap",
        "lost",
        "errors",
    ];
    let mut table =
        Table::new("From the harm, round by round; sessions that were lost, and writes that failed", &columns);
    for (at, round) in (1..).zip(rounds) {
        table.row([
            format!("{at}"),
            round.leader.clone(),
            round.next_leader.clone().unwrap_or_else(|| "-".to_owned()),
            seconds(round.leader_seen_s),
            seconds(round.first_write_s),
            seconds(round.all_write_s),
            seconds(Some(round.longest_gap_s)),
            number(round.lost_sessions as f64),
            number(round.refused as f64),
        ]);
    }
    // What did not happen counts as longer than anything.
    let middle = |of: fn(&FailoverRound) -> Option<f64>| {
        let middle = median(rounds.iter().map(|round| of(round).unwrap_or(f64::INFINITY)).collect());
        seconds(Some(middle).filter(|s| s.is_finite()))
    };
    let lost: u64 = rounds.iter().map(|round| round.lost_sessions).sum();
    let what = match (&args.harm_command, args.harm) {
        (Some(command), _) => format!("{command:?}"),
        (None, Harm::Kill) => "SIGKILL".to_owned(),
        (None, Harm::Stop) => "SIGSTOP".to_owned(),
    };
    let series =
        (1..).zip(rounds).map(|(at, round): (u32, _)| Series::new(format!("round {at}"), round.over_time.clone()));
    let plot = Plot::new(
        "writes",
        "Acknowledged writes around the harm",
        ("seconds since the harm", Scale::Linear),
        ("acknowledged writes per second", Scale::Linear),
    );
    Ok(Document {
        verb: "failover",
        title: format!("Failover after {what} of the leader: {} servers", args.writers.servers.addresses().len()),
        answer: format!(
            "Median of {} rounds: a new leader after {}, the first write acknowledged after {}, every writer after {}; the longest gap {}; {} sessions lost.",
            rounds.len(),
            middle(|round| round.leader_seen_s),
            middle(|round| round.first_write_s),
            middle(|round| round.all_write_s),
            middle(|round| Some(round.longest_gap_s)),
            number(lost as f64)
        ),
        warnings: ended.iter().map(|why| format!("it ended early: {why}")).collect(),
        tables: vec![table],
        plots: vec![plot.with(series)],
        conditions,
        figures: serde_json::json!({ "failover": { "harm": what, "rounds": serde_json::to_value(rounds)? } }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_counted_around_the_harm() {
        let begin = Instant::now();
        let harmed = begin + AFTER;
        let at = |ms: u64| Acked { writer: 0, meant: begin, sent: begin, acked: begin + Duration::from_millis(ms) };
        let all = [at(495), at(499), at(1_010), at(1_020), at(1_030)];
        let steps = over_time(&all, harmed, harmed + Duration::from_secs(1));
        let rate_at = |s: f64| steps.iter().find(|(at, _)| (at - s).abs() < 1e-6).map_or(f64::NAN, |(_, rate)| *rate);
        assert!((rate_at(-0.025) - 40.0).abs() < 1e-6 && rate_at(0.225).abs() < 1e-6, "{steps:?}");
        assert!((rate_at(0.525) - 60.0).abs() < 1e-6, "{steps:?}");
    }
}
