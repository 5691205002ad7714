//! Flags that several verbs share.

use crate::workload::keys::Distribution;
use crate::workload::settings::{KeySettings, LoadSettings, SessionSettings, WatchSettings};
use crate::workload::{
    Arrivals, Mix, Protocol, Schedule, Servers, Settings, Shape, Span, Target, ValueSizes, WatchKind, Workload,
};
use clap::Args;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// A workload, from a file and flags.
#[derive(Args, Clone, Debug, Default)]
pub struct WorkloadFlags {
    /// TOML file with the workload; flags go before it. Examples are in benches/workloads.
    #[arg(long, short = 'w', value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// Servers, as in host:port,host:port/chroot [default: 127.0.0.1:2181].
    #[arg(long, short, value_name = "HOSTS")]
    pub servers: Option<Servers>,
    /// Which of the servers to open sessions on.
    #[arg(long)]
    pub target: Option<Target>,
    /// The server speaks Redis's protocol (get and set only).
    #[arg(long)]
    pub redis: bool,
    /// Sessions [default: 50].
    #[arg(long, short, value_name = "N")]
    pub connections: Option<NonZeroU32>,
    /// Unanswered requests on each; in an open loop the most that a connection is given [default: 1; open loop: 1000].
    #[arg(long, short, value_name = "N")]
    pub outstanding: Option<NonZeroU32>,
    /// Threads of the generator [default: 1].
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroU32>,
    /// Processors to pin the threads to, in turn.
    #[arg(long, value_delimiter = ',', value_name = "CPU")]
    pub pin: Option<Vec<usize>>,
    /// Time before measuring [default: 2s].
    #[arg(long, value_name = "TIME")]
    pub warm_up: Option<Span>,
    /// Measured time [default: 10s].
    #[arg(long, short, value_name = "TIME")]
    pub measure: Option<Span>,
    /// Seed of all choices [default: 1].
    #[arg(long)]
    pub seed: Option<u64>,
    /// A preset (mixed, read-mostly, half, registry, queue), an operation, or shares as in get=9,set=1 [default: get].
    #[arg(long)]
    pub mix: Option<Mix>,
    /// Keys that are there before the run [default: 1000].
    #[arg(long, value_name = "N")]
    pub keys: Option<NonZeroU32>,
    /// How keys are chosen: uniform, zipf or latest [default: uniform].
    #[arg(long)]
    pub distribution: Option<Distribution>,
    /// Exponent of zipf and latest [default: 0.99].
    #[arg(long)]
    pub exponent: Option<f64>,
    /// Bytes of a value: 100, 100..1000, or bytes and shares as in 100:70,1024:30 [default: 100].
    #[arg(long, value_name = "SIZES")]
    pub values: Option<ValueSizes>,
    /// Levels of folders above the keys [default: 1].
    #[arg(long, value_name = "N")]
    pub depth: Option<u32>,
    /// Folders in each folder [default: 64].
    #[arg(long, value_name = "N")]
    pub fanout: Option<u32>,
    /// Watches that each session holds [default: 0].
    #[arg(long, value_name = "N")]
    pub watches: Option<u32>,
    /// Their kind [default: data].
    #[arg(long)]
    pub watch_kind: Option<WatchKind>,
    /// Timeout that sessions ask for [default: 30s].
    #[arg(long, value_name = "TIME")]
    pub session_timeout: Option<Span>,
    /// Sessions closed and opened anew, per second [default: 0].
    #[arg(long, value_name = "RATE")]
    pub churn: Option<f64>,
    /// Open loop: requests per second, whatever the server does.
    #[arg(long, value_name = "RATE", conflicts_with = "schedule")]
    pub rate: Option<f64>,
    /// Open loop: steps:1000,2000@10s, ramp:0..5000@60s or burst:1000,8000@9s,1s.
    #[arg(long)]
    pub schedule: Option<Schedule>,
    /// Open loop: arrivals at random with that rate.
    #[arg(long)]
    pub poisson: bool,
    /// Open loop: requests due within this time are meant and sent together, at its begin [default: 100us].
    #[arg(long, value_name = "TIME")]
    pub grain: Option<Span>,
    /// Open loop: when a reply has come [default: kernel].
    #[arg(long)]
    pub arrivals: Option<Arrivals>,
}

impl WorkloadFlags {
    /// The workload.
    ///
    /// # Errors
    /// The file is wrong, or settings contradict each other.
    pub fn workload(&self) -> anyhow::Result<Workload> {
        self.workload_over(Settings::default())
    }

    /// The workload, with a verb's own defaults below flags and file.
    ///
    /// # Errors
    /// As [`workload`](Self::workload).
    pub fn workload_over(&self, defaults: Settings) -> anyhow::Result<Workload> {
        let file = self.workload.as_deref().map(Settings::read).transpose()?.unwrap_or_default();
        let mut tree = file.tree;
        if self.depth.is_some() || self.fanout.is_some() {
            let below = tree.unwrap_or_default();
            let (depth, fanout) = (self.depth.unwrap_or(below.depth), self.fanout.unwrap_or(below.fanout));
            tree = Some(Shape { depth, fanout });
        }
        let flags = Settings {
            servers: self.servers.clone(),
            target: self.target,
            connections: self.connections,
            outstanding: self.outstanding,
            threads: self.threads,
            pin: self.pin.clone(),
            warm_up: self.warm_up,
            measure: self.measure,
            seed: self.seed,
            mix: self.mix.clone(),
            keys: KeySettings { count: self.keys, distribution: self.distribution, exponent: self.exponent },
            values: self.values.clone(),
            tree,
            watches: WatchSettings { per_session: self.watches, kind: self.watch_kind },
            sessions: SessionSettings { timeout: self.session_timeout, churn_per_second: self.churn },
            load: LoadSettings {
                rate: self.rate,
                schedule: self.schedule.clone(),
                poisson: self.poisson.then_some(true),
                grain: self.grain,
                arrivals: self.arrivals,
            },
        };
        let workload = flags.over(file).over(defaults).workload()?;
        let protocol = if self.redis { Protocol::Redis } else { Protocol::Zookeeper };
        let workload = Workload { protocol, ..workload };
        workload.check()?;
        Ok(workload)
    }
}

/// The process of the server.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct ServerFlags {
    /// The server's process, for its CPU and memory; looked for by its port where it runs on this machine, for all servers
    /// that are named: theirs count together.
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
}

impl ServerFlags {
    /// The process that was given, or those of all servers that can be found.
    ///
    /// # Errors
    /// There is no such process.
    pub fn processes(self, servers: &Servers) -> anyhow::Result<Vec<u32>> {
        match self.server_pid {
            Some(pid) => crate::process::existing(pid).map(|pid| vec![pid]),
            None => Ok(crate::process::listeners(servers.addresses())),
        }
    }
}

/// Where results go.
#[derive(Args, Clone, Debug, Default)]
pub struct OutputFlags {
    /// Folder for report.html, report.json and the plots [default: load-reports/<verb>-<time>].
    #[arg(long, value_name = "DIR", conflicts_with = "no_files")]
    pub out: Option<PathBuf>,
    /// Write no files.
    #[arg(long)]
    pub no_files: bool,
    /// Print the JSON instead of tables.
    #[arg(long)]
    pub json: bool,
}
