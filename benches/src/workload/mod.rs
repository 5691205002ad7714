//! What to do to a server: connections, operations, keys, values, the tree, and the load over time.

pub mod keys;
pub mod mix;
pub mod schedule;
pub mod servers;
pub mod settings;
pub mod time;
pub mod tree;
pub mod values;

mod dice;

pub use dice::Dice;
pub use keys::Distribution;
pub use mix::{Mix, Op};
pub use schedule::Schedule;
pub use servers::{Servers, Target};
pub use settings::Settings;
pub use time::Span;
pub use tree::{Shape, Tree};
pub use values::ValueSizes;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Requests of an open loop are meant in groups of this time, unless told otherwise: setting a timer for each would be most of
/// what an operation costs the generator.
const GRAIN: Duration = Duration::from_micros(100);
/// The longest such time.
const GRAIN_MAX: Duration = Duration::from_millis(10);

/// A workload, complete and possible.
#[derive(Clone, Debug, Serialize)]
pub struct Workload {
    /// Where the servers listen, and the chroot.
    pub servers: Servers,
    /// Which of them sessions are opened on.
    pub target: Target,
    /// What they speak.
    pub protocol: Protocol,
    /// Sessions, at least 1.
    pub connections: u32,
    /// Unanswered requests on each, at least 1. A closed loop keeps this many; an open loop holds back beyond it.
    pub outstanding: u32,
    /// Threads that share the connections.
    pub threads: u32,
    /// Processors for the threads, in turn; empty: not pinned.
    pub pin: Vec<usize>,
    /// Before measuring.
    pub warm_up: Span,
    /// Measured time.
    pub measure: Span,
    /// Seed of the choices.
    pub seed: u64,
    /// The operations.
    pub mix: Mix,
    /// Keys that are there before the run.
    pub keys: u64,
    /// How they are chosen.
    pub distribution: Distribution,
    /// Exponent of zipf and latest.
    pub exponent: f64,
    /// Sizes of values.
    pub values: ValueSizes,
    /// The folders above the keys.
    pub tree: Shape,
    /// Watches that each session holds.
    pub watches: Watches,
    /// Timeout that sessions ask for.
    pub session_timeout: Span,
    /// Sessions closed and opened anew, per second over all.
    pub churn_per_second: f64,
    /// Closed or open loop.
    pub load: Load,
    /// Requests of an open loop that are due within this time are meant, and sent, at its begin.
    pub grain: Span,
    /// When a reply has come, in an open loop.
    pub arrivals: Arrivals,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload {
            servers: Servers::default(),
            target: Target::All,
            protocol: Protocol::Zookeeper,
            connections: 50,
            outstanding: 1,
            threads: 1,
            pin: Vec::new(),
            warm_up: Span::seconds(2),
            measure: Span::seconds(10),
            seed: 1,
            mix: Mix::only(Op::Get),
            keys: 1000,
            distribution: Distribution::Uniform,
            exponent: 0.99,
            values: ValueSizes::Fixed(100),
            tree: Shape::default(),
            watches: Watches::default(),
            session_timeout: Span::seconds(30),
            churn_per_second: 0.0,
            load: Load::Closed,
            grain: Span(GRAIN),
            arrivals: Arrivals::default(),
        }
    }
}

impl Workload {
    /// Checks what one setting alone cannot tell.
    ///
    /// # Errors
    /// Names the settings that do not go together.
    pub fn check(&self) -> anyhow::Result<()> {
        self.tree.check()?;
        ensure!(!self.measure.0.is_zero(), "measure is 0 s: nothing would be measured");
        ensure!(self.grain.0 <= GRAIN_MAX, "[load] grain is {}, not between 0 and 10 ms", self.grain);
        ensure!(
            self.threads <= self.connections,
            "threads ({}) are more than connections ({})",
            self.threads,
            self.connections
        );
        ensure!(
            (4_000..=3_600_000).contains(&self.session_timeout.0.as_millis()),
            "[sessions] timeout is {}, not between 4 s and an hour",
            self.session_timeout
        );
        ensure!(
            u64::from(self.watches.per_session) <= self.keys,
            "[watches] per_session ({}) is more than [keys] count ({})",
            self.watches.per_session,
            self.keys
        );
        if self.protocol == Protocol::Redis {
            let possible = |op| matches!(op, Op::Get | Op::Set);
            ensure!(self.mix.ops().all(possible), "a Redis server is measured with get and set only, not {}", self.mix);
            ensure!(
                self.watches.per_session == 0 && self.churn_per_second == 0.0 && self.target == Target::All,
                "watches, churn_per_second and target have no meaning for a Redis server"
            );
        }
        Ok(())
    }

    /// The asked rate, if the loop is open.
    pub fn asked_rate(&self) -> Option<f64> {
        match &self.load {
            Load::Closed => None,
            Load::Open { schedule, .. } => {
                let (begin, end) = (self.warm_up.0, self.warm_up.0 + self.measure.0);
                Some((schedule.count_until(end) - schedule.count_until(begin)) / self.measure.0.as_secs_f64())
            }
        }
    }

    /// One line that tells workloads apart.
    pub fn describe(&self) -> String {
        let load = match (&self.load, self.asked_rate()) {
            (Load::Open { poisson, .. }, Some(rate)) => {
                format!("open loop, {rate:.0}/s{}", if *poisson { ", Poisson arrivals" } else { "" })
            }
            _ => format!("closed loop, {} outstanding each", self.outstanding),
        };
        format!("{}; {} connections, {load}", self.mix, self.connections)
    }
}

/// Which protocol the server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// ZooKeeper's client protocol.
    Zookeeper,
    /// Redis's RESP, GET and SET only: a yardstick for the bare cost of a request.
    Redis,
}

/// When requests are sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "loop")]
pub enum Load {
    /// Each reply is followed by the next request.
    Closed,
    /// On schedule, whatever the server does; latency counts from the time at which a request was meant to be sent.
    Open {
        /// The rate over time.
        schedule: Schedule,
        /// Arrivals at random with that rate instead of evenly spaced ones.
        poisson: bool,
    },
}

/// When a reply has come, in an open loop. In a closed loop it is the program's reading of it, which triggers the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// When the kernel stamps it; the program is not woken up for it.
    #[default]
    Kernel,
    /// When the program has been woken up and reads it.
    Program,
}

/// Watches that each session holds during a run. Those that fire are set anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Watches {
    /// How many a session, each on another key.
    pub per_session: u32,
    /// Of what kind.
    pub kind: WatchKind,
}

/// Kinds of watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum WatchKind {
    /// Left by getData; fires once.
    #[default]
    Data,
    /// Left by exists; fires once.
    Exists,
    /// Left by getChildren; fires once.
    Child,
    /// addWatch, mode PERSISTENT.
    Persistent,
    /// addWatch, mode PERSISTENT_RECURSIVE.
    PersistentRecursive,
}

impl WatchKind {
    /// All of them.
    pub const ALL: [WatchKind; 5] =
        [WatchKind::Data, WatchKind::Exists, WatchKind::Child, WatchKind::Persistent, WatchKind::PersistentRecursive];

    /// How reports name it.
    pub fn name(self) -> &'static str {
        match self {
            WatchKind::Data => "data",
            WatchKind::Exists => "exists",
            WatchKind::Child => "child",
            WatchKind::Persistent => "persistent",
            WatchKind::PersistentRecursive => "persistent_recursive",
        }
    }

    /// Whether it is gone once it has fired.
    pub fn fires_once(self) -> bool {
        !matches!(self, WatchKind::Persistent | WatchKind::PersistentRecursive)
    }
}
