//! A workload as files and flags give it: every setting may be missing, and a flag goes before a file.

use super::keys::Distribution;
use super::mix::Mix;
use super::schedule::Schedule;
use super::servers::{Servers, Target};
use super::time::Span;
use super::tree::Shape;
use super::values::ValueSizes;
use super::{Arrivals, Load, WatchKind, Watches, Workload};
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::Path;

/// What a file holds. An unknown key is an error, which names it and its line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Settings {
    pub servers: Option<Servers>,
    pub target: Option<Target>,
    pub connections: Option<NonZeroU32>,
    pub outstanding: Option<NonZeroU32>,
    pub threads: Option<NonZeroU32>,
    pub pin: Option<Vec<usize>>,
    pub warm_up: Option<Span>,
    pub measure: Option<Span>,
    pub seed: Option<u64>,
    pub mix: Option<Mix>,
    pub keys: KeySettings,
    pub values: Option<ValueSizes>,
    pub tree: Option<Shape>,
    pub watches: WatchSettings,
    pub sessions: SessionSettings,
    pub load: LoadSettings,
}

/// `[keys]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct KeySettings {
    pub count: Option<NonZeroU32>,
    pub distribution: Option<Distribution>,
    pub exponent: Option<f64>,
}

/// `[watches]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct WatchSettings {
    pub per_session: Option<u32>,
    pub kind: Option<WatchKind>,
}

/// `[sessions]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct SessionSettings {
    pub timeout: Option<Span>,
    pub churn_per_second: Option<f64>,
}

/// `[load]`: nothing for a closed loop, `rate` or `schedule` for an open one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct LoadSettings {
    pub rate: Option<f64>,
    pub schedule: Option<Schedule>,
    pub poisson: Option<bool>,
    pub grain: Option<Span>,
    pub arrivals: Option<Arrivals>,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is not what a workload should be: the message shows the line and what is wrong with it.
    pub fn read(path: &Path) -> anyhow::Result<Settings> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    /// These settings where they are given, and `below` where not.
    #[must_use]
    pub fn over(self, below: Settings) -> Settings {
        Settings {
            servers: self.servers.or(below.servers),
            target: self.target.or(below.target),
            connections: self.connections.or(below.connections),
            outstanding: self.outstanding.or(below.outstanding),
            threads: self.threads.or(below.threads),
            pin: self.pin.or(below.pin),
            warm_up: self.warm_up.or(below.warm_up),
            measure: self.measure.or(below.measure),
            seed: self.seed.or(below.seed),
            mix: self.mix.or(below.mix),
            keys: KeySettings {
                count: self.keys.count.or(below.keys.count),
                distribution: self.keys.distribution.or(below.keys.distribution),
                exponent: self.keys.exponent.or(below.keys.exponent),
            },
            values: self.values.or(below.values),
            tree: self.tree.or(below.tree),
            watches: WatchSettings {
                per_session: self.watches.per_session.or(below.watches.per_session),
                kind: self.watches.kind.or(below.watches.kind),
            },
            sessions: SessionSettings {
                timeout: self.sessions.timeout.or(below.sessions.timeout),
                churn_per_second: self.sessions.churn_per_second.or(below.sessions.churn_per_second),
            },
            load: LoadSettings {
                poisson: self.load.poisson.or(below.load.poisson),
                grain: self.load.grain.or(below.load.grain),
                arrivals: self.load.arrivals.or(below.load.arrivals),
                ..if self.load.rate.is_some() || self.load.schedule.is_some() { self.load } else { below.load }
            },
        }
    }

    /// The workload, with defaults for what is missing.
    ///
    /// # Errors
    /// Settings contradict each other; the message names them.
    pub fn workload(self) -> anyhow::Result<Workload> {
        let plain = Workload::default();
        let poisson = self.load.poisson.unwrap_or(false);
        let load = match (self.load.rate, self.load.schedule) {
            (None, None) if poisson => {
                bail!("[load] poisson needs a rate or a schedule: a closed loop has no arrivals")
            }
            (None, None) => Load::Closed,
            (Some(rate), None) => Load::Open { schedule: Schedule::fixed(rate).context("[load] rate")?, poisson },
            (None, Some(schedule)) => Load::Open { schedule, poisson },
            (Some(_), Some(_)) => bail!("[load] takes rate or schedule, not both"),
        };
        let exponent = self.keys.exponent.unwrap_or(plain.exponent);
        ensure!((0.01..=10.0).contains(&exponent), "[keys] exponent is {exponent}, not between 0.01 and 10");
        let churn_per_second = self.sessions.churn_per_second.unwrap_or(0.0);
        ensure!(
            (0.0..=100_000.0).contains(&churn_per_second),
            "[sessions] churn_per_second is {churn_per_second}, not between 0 and 100,000"
        );
        let outstanding = match (self.outstanding, &load) {
            (Some(given), _) => given.get(),
            (None, Load::Closed) => plain.outstanding,
            (None, Load::Open { .. }) => OPEN_OUTSTANDING,
        };
        let workload = Workload {
            servers: self.servers.unwrap_or(plain.servers),
            target: self.target.unwrap_or(plain.target),
            connections: self.connections.map_or(plain.connections, NonZeroU32::get),
            outstanding,
            threads: self.threads.map_or(plain.threads, NonZeroU32::get),
            pin: self.pin.unwrap_or(plain.pin),
            warm_up: self.warm_up.unwrap_or(plain.warm_up),
            measure: self.measure.unwrap_or(plain.measure),
            seed: self.seed.unwrap_or(plain.seed),
            mix: self.mix.unwrap_or(plain.mix),
            keys: self.keys.count.map_or(plain.keys, |count| count.get().into()),
            distribution: self.keys.distribution.unwrap_or(plain.distribution),
            exponent,
            values: self.values.unwrap_or(plain.values),
            tree: self.tree.unwrap_or(plain.tree),
            watches: Watches {
                per_session: self.watches.per_session.unwrap_or(0),
                kind: self.watches.kind.unwrap_or_default(),
            },
            session_timeout: self.sessions.timeout.unwrap_or(plain.session_timeout),
            churn_per_second,
            load,
            grain: self.load.grain.unwrap_or(plain.grain),
            arrivals: self.load.arrivals.unwrap_or(plain.arrivals),
            protocol: plain.protocol,
        };
        workload.check()?;
        Ok(workload)
    }
}

/// An open loop holds requests back only where a connection has this many unanswered.
const OPEN_OUTSTANDING: u32 = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::workload::mix::Op;
    use std::time::Duration;

    fn read(text: &str) -> anyhow::Result<Workload> {
        toml::from_str::<Settings>(text).map_err(anyhow::Error::from)?.workload()
    }

    #[test]
    fn a_file_says_everything() {
        let workload = read(
            "servers = \"127.0.0.1:2181,127.0.0.1:2182/x\"\ntarget = \"followers\"\nconnections = 10\noutstanding = 4\n\
             threads = 2\npin = [0, 1]\nwarm_up = \"500ms\"\nmeasure = 30\nseed = 9\n[mix]\nget = 9\nset = 1\n\
             [keys]\ncount = 5000\ndistribution = \"zipf\"\nexponent = 1.1\n[values]\nhistogram = [[100, 3], [4096, 1]]\n\
             [tree]\ndepth = 2\nfanout = 8\n[watches]\nper_session = 3\nkind = \"child\"\n\
             [sessions]\ntimeout = \"10s\"\nchurn_per_second = 2.5\n\
             [load]\nschedule = [{ for = \"5s\", rate = 100 }, { for = \"5s\", from = 100, to = 200 }]\npoisson = true\n",
        )
        .unwrap();
        assert_eq!((workload.connections, workload.outstanding, workload.threads, workload.seed), (10, 4, 2, 9));
        assert_eq!(workload.mix, Mix::new([(Op::Get, 9), (Op::Set, 1)]).unwrap());
        assert_eq!(workload.servers.addresses().len(), 2);
        assert_eq!(workload.values.longest(), 4096);
        assert_eq!(workload.watches, Watches { per_session: 3, kind: WatchKind::Child });
        let Load::Open { schedule, poisson: true } = workload.load else { panic!("{:?}", workload.load) };
        assert!((schedule.count_until(Duration::from_secs(10)) - 1250.0).abs() < 1e-6);
    }

    #[test]
    fn errors_name_the_key_and_the_line() {
        for (text, parts) in [
            ("seed = 1\nconections = 5\n", ["line 2", "conections"]),
            ("seed = 1\nconnections = 0\n", ["line 2", "connections = 0"]),
            ("[keys]\ncount = 10\ndistribution = \"zpf\"\n", ["line 3", "zpf"]),
            ("\n[mix]\nget = 1\nfetch = 2\n", ["line 2", "fetch"]),
            ("warm_up = \"soon\"\n", ["line 1", "soon"]),
            ("[values]\nmin = 9\nmax = 3\n", ["line 1", "larger than max"]),
            ("[load]\nschedule = [{ for = \"1s\", rate = -3 }]\n", ["line 2", "-3/s"]),
            ("[load]\nrate = 5\nschedule = [{ for = \"1s\", rate = 3 }]\n", ["[load]", "not both"]),
            ("[load]\nrate = 0\n", ["[load] rate", "sends nothing"]),
            ("[tree]\ndepth = 9\nfanout = 64\n", ["[tree]", "depth 9"]),
            ("connections = 1\nthreads = 2\n", ["threads", "connections"]),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            for part in parts {
                assert!(error.contains(part), "{text:?} says {error:?}, without {part:?}");
            }
        }
    }

    #[test]
    fn flags_go_before_files() {
        let file: Settings = toml::from_str("connections = 7\nseed = 3\n[load]\nrate = 10\n").unwrap();
        let flags = Settings { connections: NonZeroU32::new(9), ..Settings::default() };
        let workload = flags.over(file).workload().unwrap();
        assert_eq!((workload.connections, workload.seed), (9, 3));
        assert!(matches!(workload.load, Load::Open { .. }));
    }

    #[test]
    fn the_examples_are_workloads() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                Settings::read(&path).unwrap().workload().unwrap();
                seen += 1;
            }
        }
        assert!(seen >= 5, "{seen} examples");
    }
}
