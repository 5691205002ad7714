//! The description of a deployment: machines, ensemble, clients, tree, workload.

use crate::workload::{Settings, Span, Workload};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A deployment to be planned.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Each server's machine.
    pub machine: Machine,
    /// The servers.
    pub ensemble: Ensemble,
    /// What is kept.
    pub content: Content,
    /// Round trip between a client and its server.
    pub client_round_trip: Span,
    /// What clients do; its load is the wanted one if it is open.
    pub workload: Workload,
}

/// One server's machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Processors that the server may use.
    pub cores: usize,
    /// Speed of one of them; the calibrated machine's is 1.
    #[serde(default = "one")]
    pub speed: f64,
    /// Memory for the server, MiB.
    pub memory_mib: f64,
    /// Space for its data directory, MiB.
    pub disk_mib: f64,
    /// What the disk writes in a second, MiB; unbounded unless given.
    pub disk_mib_per_second: Option<f64>,
    /// Median of a durable append of 4 KiB (`ringkeeper probe`); the calibrated one unless given.
    pub flush: Option<Span>,
    /// 99 of 100 of them are as fast.
    pub flush_p99: Option<Span>,
    /// What the network carries in a second in each direction, Mbit.
    pub network_mbit: Option<f64>,
}

/// The servers together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ensemble {
    /// Servers that vote.
    pub size: u32,
    /// Round trip between two of them.
    #[serde(default)]
    pub round_trip: Span,
}

/// What the servers keep.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Content {
    /// Nodes.
    pub znodes: u64,
    /// Bytes of their values, on average; the workload's unless given.
    pub value_bytes: Option<f64>,
    /// Sessions over all servers; as many as the workload's connections unless given.
    pub sessions: Option<u64>,
    /// Watches over all sessions.
    pub watches: u64,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClientsText {
    round_trip: Span,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentText {
    machine: Machine,
    #[serde(default = "alone")]
    ensemble: Ensemble,
    #[serde(default)]
    clients: ClientsText,
    #[serde(default)]
    content: Content,
    workload: Settings,
}

fn one() -> f64 {
    1.0
}

fn alone() -> Ensemble {
    Ensemble { size: 1, round_trip: Span::default() }
}

impl Deployment {
    /// Reads a file; examples are in `benches/deployments`.
    ///
    /// # Errors
    /// It cannot be read, or describes what cannot be; names the key.
    pub fn read(path: &Path) -> anyhow::Result<Deployment> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        Deployment::parse(&text).with_context(|| path.display().to_string())
    }

    /// Reads a description.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str) -> anyhow::Result<Deployment> {
        let text: DeploymentText = toml::from_str(text)?;
        let workload = text.workload.workload().context("[workload]")?;
        workload.check().context("[workload]")?;
        let deployment = Deployment {
            machine: text.machine,
            ensemble: text.ensemble,
            content: text.content,
            client_round_trip: text.clients.round_trip,
            workload,
        };
        deployment.check()?;
        Ok(deployment)
    }

    fn check(&self) -> anyhow::Result<()> {
        let machine = &self.machine;
        ensure!((1..=1024).contains(&machine.cores), "[machine] cores is {}, not between 1 and 1,024", machine.cores);
        ensure!(
            (0.05..=20.0).contains(&machine.speed),
            "[machine] speed is {}, not between 0.05 and 20",
            machine.speed
        );
        let above = |name: &str, value: Option<f64>| {
            ensure!(value.is_none_or(|value| value > 0.0 && value.is_finite()), "[machine] {name} has to be above 0");
            Ok(())
        };
        above("memory_mib", Some(machine.memory_mib))?;
        above("disk_mib", Some(machine.disk_mib))?;
        above("disk_mib_per_second", machine.disk_mib_per_second)?;
        above("network_mbit", machine.network_mbit)?;
        above("flush", machine.flush.map(f64::from))?;
        match (machine.flush, machine.flush_p99) {
            (Some(flush), Some(p99)) => ensure!(p99 >= flush, "[machine] flush_p99 ({p99}) is below flush ({flush})"),
            (None, Some(_)) => anyhow::bail!("[machine] flush_p99 needs flush beside it"),
            _ => {}
        }
        let size = self.ensemble.size;
        ensure!((1..=15).contains(&size), "[ensemble] size is {size}, not between 1 and 15");
        ensure!(self.content.value_bytes.is_none_or(|bytes| bytes >= 0.0), "[content] value_bytes is below 0");
        ensure!(
            self.workload.connections <= 200_000,
            "[workload] connections is above 200,000: the model is not made for that"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const PLAIN: &str = "[machine]\ncores = 4\nmemory_mib = 8000\ndisk_mib = 50000\n[workload]\nmix = \"half\"\n";

    #[test]
    fn what_cannot_be_is_refused_with_its_name() {
        assert_eq!(Deployment::parse(PLAIN).unwrap().ensemble.size, 1);
        for (from, to, part) in [
            ("cores = 4", "cores = 0", "cores"),
            ("cores = 4", "coers = 4", "coers"),
            ("memory_mib = 8000", "memory_mib = -1", "memory_mib"),
            ("cores = 4", "cores = 4\nspeed = 0", "speed"),
            ("cores = 4", "cores = 4\nflush_p99 = \"1ms\"", "flush_p99"),
            ("cores = 4", "cores = 4\nflush = \"2ms\"\nflush_p99 = \"1ms\"", "below flush"),
            ("[workload]", "[ensemble]\nsize = 0\n[workload]", "size"),
            ("mix = \"half\"", "mix = \"hlf\"", "hlf"),
        ] {
            let text = PLAIN.replace(from, to);
            let error = format!("{:#}", Deployment::parse(&text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn the_examples_are_deployments() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deployments");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 3);
        files.iter().for_each(|file| drop(Deployment::read(file).unwrap()));
    }
}
