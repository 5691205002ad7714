//! What the verbs that harm an ensemble share: writers, roles, commands.

use crate::driver::Stage;
use crate::driver::writers::{Pace, Writers};
use crate::process::listener;
use crate::stop::Stop;
use crate::wire::session::{role, standing};
use crate::workload::{Servers, Span, ValueSizes, Workload};
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Between two looks at a server.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// Writers and their ensemble.
#[derive(Args, Clone, Debug)]
pub struct WriterFlags {
    /// All servers of the ensemble, as in host:port,host:port,host:port/chroot.
    #[arg(long, short, value_name = "HOSTS")]
    pub(super) servers: Servers,
    /// Writing sessions, spread over the servers. Each goes on at the next server when its own is gone or silent.
    #[arg(long, short = 'c', default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    writers: u32,
    /// Writes per second of all together; a gap in them is seen to within one such interval.
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,
    /// Bytes of each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(..=500_000))]
    value: u32,
    /// Timeout that sessions ask for.
    #[arg(long, default_value = "30s", value_name = "TIME")]
    session_timeout: Span,
    /// How long a writer waits for an answer before it tries the next server.
    #[arg(long, default_value = "1s", value_name = "TIME")]
    patience: Span,
    /// How long anything may take before it is reported as not having happened.
    #[arg(long, default_value = "60s", value_name = "TIME")]
    limit: Span,
}

impl WriterFlags {
    pub(super) fn limit(&self) -> Duration {
        self.limit.0
    }

    /// The writers' nodes, on the ensemble.
    pub(super) fn stage(&self, stop: &Stop) -> anyhow::Result<Stage> {
        let workload = Workload {
            servers: self.servers.clone(),
            keys: self.writers.into(),
            values: ValueSizes::Fixed(self.value),
            ..Workload::default()
        };
        Stage::prepare(&workload, stop)
    }

    /// The writers, at work.
    pub(super) fn start(&self, stage: &Stage) -> anyhow::Result<Writers> {
        let lowest = f64::from(self.writers);
        ensure!(
            (lowest..=20_000.0).contains(&self.rate),
            "--rate is {}, not between one write per second and writer ({lowest}) and 20,000",
            self.rate
        );
        ensure!(!self.patience.0.is_zero(), "--patience is nothing");
        let pace = Pace {
            writers: self.writers,
            rate: self.rate,
            bytes: self.value as usize,
            timeout: self.session_timeout.0,
            patience: self.patience.0,
        };
        Writers::start(&pace, &self.servers, stage.tree())
    }

    pub(super) fn count(&self) -> u32 {
        self.writers
    }

    /// Waits until every server of the ensemble serves and one of them leads; returns that.
    pub(super) fn leader(&self, stop: &Stop) -> anyhow::Result<SocketAddr> {
        let until = Instant::now() + self.limit.0;
        loop {
            stop.check()?;
            let roles: Vec<(SocketAddr, anyhow::Result<String>)> =
                self.servers.addresses().iter().map(|server| (*server, role(*server))).collect();
            let with = |wanted: &str| -> Vec<SocketAddr> {
                let fits = roles.iter().filter(|(_, role)| role.as_ref().is_ok_and(|role| role == wanted));
                fits.map(|(server, _)| *server).collect()
            };
            // One that was stopped may say for a moment that it still leads, beside the one that does.
            if let ([leader], true) = (&with("leader")[..], roles.iter().all(|(_, role)| role.is_ok())) {
                return Ok(*leader);
            }
            if let Some(server) = with("standalone").first() {
                bail!("{server} stands alone: --servers names all servers of an ensemble");
            }
            if Instant::now() > until {
                let missing = roles.into_iter().find_map(|(_, role)| role.err());
                return Err(missing.unwrap_or_else(|| anyhow::anyhow!("none of {} leads", self.servers)))
                    .context("the ensemble is not whole");
            }
            std::thread::sleep(10 * LOOK);
        }
    }
}

/// The process of a server of this machine.
pub(super) fn process_of(server: SocketAddr) -> anyhow::Result<u32> {
    listener(server).with_context(|| {
        format!("the process behind {server} is not to be found on this machine: a command has to do it instead")
    })
}

/// Runs a shell command to its end, with the server's address in `SERVER`. What it starts in the background goes on.
pub(super) fn shell(command: &str, server: SocketAddr) -> anyhow::Result<()> {
    let mut child = Command::new("sh");
    // What it leaves running must not hold this program's output open.
    child.args(["-c", command]).env("SERVER", server.to_string());
    child.stdin(Stdio::null()).stdout(Stdio::null());
    let status = child.status().with_context(|| format!("{command:?} cannot be run"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Waits until a server serves and has applied at least this; the time from `begun` until it first served, and until then.
/// `None` for what did not happen before `until`.
pub(super) fn wait_for_zxid(
    server: SocketAddr,
    zxid: u64,
    begun: Instant,
    until: Instant,
    stop: &Stop,
) -> (Option<f64>, Option<f64>) {
    let mut serving = None;
    while Instant::now() < until && !stop.is_set() {
        if let Ok((_, applied)) = standing(server) {
            let after = begun.elapsed().as_secs_f64();
            serving = serving.or(Some(after));
            if applied >= zxid {
                return (serving, Some(after));
            }
        }
        std::thread::sleep(LOOK);
    }
    (serving, None)
}
