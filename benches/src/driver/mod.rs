//! Carrying out workloads.
//!
//! | file | idea |
//! |---|---|
//! | `stage` | keys made before, everything removed after |
//! | `worker` | one thread: a reactor and its connections |
//! | `making` | from choices to requests |
//! | `pacer` | when to measure, when to send |
//! | `recorder` | latencies, errors, how it went over time |
//! | `opener` | sessions opened beside a run |
//! | `bulk`, `tidy` | many requests that are only to be done; removing trees |
//! | `herd` | watching sessions |
//! | `crowd`, `expiry` | sessions that only live, and die |
//! | `writers` | writers that reconnect at once, through an ensemble's accidents |
//! | `outcome` | what came of a run |

pub mod bulk;
mod conn;
pub(crate) mod crowd;
pub(crate) mod expiry;
pub(crate) mod herd;
mod making;
mod opener;
pub mod outcome;
mod pacer;
mod recorder;
pub mod stage;
pub mod tidy;
mod worker;
pub(crate) mod writers;

pub use bulk::Bulk;
pub use outcome::{Outcome, Used};
pub use pacer::Window;
pub use recorder::{Interval, Intervals, Record, latencies};
pub use stage::Stage;

use crate::process::{Usage, listeners};
use crate::stop::Stop;
use crate::workload::Workload;
use anyhow::{Context, ensure};
use making::Plant;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use worker::{Assignment, Done, Worker};

/// Time for threads to be ready before the run begins.
const LEAD: Duration = Duration::from_millis(20);
/// How often a run is looked at from outside.
const LOOK: Duration = Duration::from_millis(50);

/// How far a run is, for whoever shows it.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The measured time and the warm-up before it.
    pub window: Window,
    /// Since the begin of the warm-up.
    pub elapsed: Duration,
    /// What is finished.
    pub intervals: &'a Intervals,
}

/// Prepares the servers, carries the workload out, and removes what it made. `processes` are the servers' to watch; where
/// none is given those that listen on the servers' ports are looked for on this machine.
///
/// # Errors
/// No server can be reached, or nothing could be measured. A run that ended early with something measured is no error: its
/// outcome says so.
pub fn measure(workload: &Workload, processes: &[u32], stop: &Stop) -> anyhow::Result<Outcome> {
    let stage = Stage::prepare(workload, stop)?;
    let outcome = run(&stage, workload, processes, stop, &mut |_| {});
    let cleaned = stage.clean();
    let outcome = outcome?;
    cleaned?;
    Ok(outcome)
}

/// One run on a stage that was prepared for a workload with the same keys.
///
/// # Errors
/// As [`measure`].
pub fn run(
    stage: &Stage,
    workload: &Workload,
    processes: &[u32],
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> anyhow::Result<Outcome> {
    let processes = if processes.is_empty() { listeners(workload.servers.addresses()) } else { processes.to_vec() };
    let workload = Workload { servers: stage.servers().clone(), ..workload.clone() };
    let nursery = stage.nursery(&workload, stop)?;
    let outcome = run_threads(stage, &workload, &nursery, processes, stop, progress);
    let removed = if workload.mix.ops().any(crate::workload::Op::creates) { stage.remove(&nursery) } else { Ok(0) };
    let outcome = outcome?;
    match removed {
        // A server that died in the middle is told by the outcome, and cannot be cleaned.
        Err(error) if outcome.ended_early.is_none() => Err(error),
        _ => Ok(outcome),
    }
}

fn run_threads(
    stage: &Stage,
    workload: &Workload,
    nursery: &str,
    processes: Vec<u32>,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> anyhow::Result<Outcome> {
    let threads = workload.threads;
    let mut shares: Vec<Vec<_>> = (0..threads).map(|_| Vec::new()).collect();
    for (number, stream) in (0..).zip(opener::open_all(workload, stop)?) {
        shares[(number % threads) as usize].push((number, stream));
    }
    let plant = Arc::new(Plant::new(workload, stage.tree().clone(), nursery.to_owned()));
    let window = Window::new(workload.warm_up.0, workload.measure.0);
    let (intervals, halt) = (Intervals::default(), Stop::default());
    let origin = Instant::now() + LEAD;
    let (wanted_to, wanted) = channel();
    let (opener_workload, opener_halt) = (workload.clone(), halt.clone());
    let opener = std::thread::Builder::new()
        .name("opener".into())
        .spawn(move || opener::serve(&opener_workload, &wanted, &opener_halt))?;
    let mut workers = Vec::new();
    for (thread, streams) in (0..threads).zip(shares) {
        let given = Assignment {
            plant: Arc::clone(&plant),
            thread,
            threads,
            streams,
            window,
            origin,
            intervals: intervals.clone(),
            opener: wanted_to.clone(),
            stop: halt.clone(),
        };
        let pin = (!workload.pin.is_empty()).then(|| workload.pin[thread as usize % workload.pin.len()]);
        let work = move || -> anyhow::Result<Done> {
            if let Some(core) = pin {
                hardware::cpu::pin_current_thread(core).with_context(|| format!("pinning to processor {core}"))?;
            }
            Ok(Worker::new(given)?.run())
        };
        workers.push(std::thread::Builder::new().name(format!("load-{thread}")).spawn(work)?);
    }
    drop(wanted_to);
    let mut watched = Watched::new(processes);
    while !workers.iter().all(std::thread::JoinHandle::is_finished) {
        if stop.is_set() {
            halt.set();
        }
        let elapsed = Instant::now().saturating_duration_since(origin);
        watched.look(window, elapsed);
        progress(&Progress { window, elapsed, intervals: &intervals });
        std::thread::sleep(watched.until_next(window, elapsed).min(LOOK));
    }
    let (mut all, mut ended_ns, mut failure): (Option<Record>, u64, Option<anyhow::Error>) = (None, u64::MAX, None);
    for worker in workers {
        let done = worker.join().map_err(|_| anyhow::anyhow!("a thread of the generator panicked"))??;
        match &mut all {
            Some(all) => all.add(&done.record),
            None => all = Some(done.record),
        }
        ended_ns = ended_ns.min(done.ended_ns);
        failure = failure.or(done.failure);
    }
    // It ends when the last worker has.
    let _ = opener.join();
    let record = all.context("a run has at least one thread")?;
    let seconds = outcome::seconds(window, ended_ns);
    let ended_early = failure.map(|error| format!("{error:#}")).or(stop.is_set().then(|| "interrupted".to_owned()));
    ensure!(
        seconds > 0.0,
        "nothing was measured: {}",
        ended_early.unwrap_or_else(|| "the run ended within its warm-up".into())
    );
    let answered = record.answered.iter().sum();
    let (generator, server) = watched.used(answered, seconds);
    Ok(Outcome {
        seconds,
        asked_rate: workload.asked_rate(),
        rate: answered as f64 / seconds,
        answered,
        errors: record.errors.values().sum(),
        latency_ns: record.all_latencies(),
        record,
        intervals: intervals.all(),
        interval: window.interval(),
        generator,
        server,
        ended_early,
    })
}

/// This process, its processor time, and the servers together.
type Look = (Usage, Duration, Option<Usage>);

/// This process and those of the servers at the begin and at the end of measuring.
struct Watched {
    servers: Vec<u32>,
    begin: Option<Look>,
    end: Option<Look>,
}

impl Watched {
    fn new(servers: Vec<u32>) -> Watched {
        Watched { servers, begin: None, end: None }
    }

    fn now(&self) -> Option<Look> {
        // This process's own time is exact, also of threads that have ended.
        Some((Usage::of(std::process::id()).ok()?, hardware::cpu::process_cpu_time(), Usage::of_all(&self.servers)))
    }

    fn look(&mut self, window: Window, elapsed: Duration) {
        let at_ns = elapsed.as_nanos() as u64;
        if self.begin.is_none() && at_ns >= window.begin_ns {
            self.begin = self.now();
        }
        if self.end.is_none() && at_ns >= window.end_ns {
            self.end = self.now();
        }
    }

    fn until_next(&self, window: Window, elapsed: Duration) -> Duration {
        let at_ns = elapsed.as_nanos() as u64;
        let next = [window.begin_ns, window.end_ns].into_iter().find(|edge| *edge > at_ns);
        next.map_or(LOOK, |edge| Duration::from_nanos(edge - at_ns))
    }

    /// What this process and the servers used for so many operations.
    fn used(mut self, operations: u64, seconds: f64) -> (Used, Option<Used>) {
        let end = self.end.take().or_else(|| self.now()).unwrap_or_default();
        let begin = self.begin.take().unwrap_or_default();
        let used = |begin: &Usage, end: &Usage, cpu: Duration| {
            let cpu = cpu.as_secs_f64();
            Used {
                cpu_us_per_op: cpu * 1e6 / operations.max(1) as f64,
                processors: cpu / seconds,
                busiest_thread: end.busiest_since(begin).as_secs_f64() / seconds,
                memory: (begin.memory, end.memory),
            }
        };
        let server = begin.2.as_ref().zip(end.2.as_ref()).map(|(begin, end)| used(begin, end, end.cpu_since(begin)));
        (used(&begin.0, &end.0, end.1.saturating_sub(begin.1)), server)
    }
}
