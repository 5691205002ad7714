//! The server that is measured: one that is there, or one started for it, in a folder that goes with it.

use super::PlanArgs;
use crate::process::{existing, listener};
use crate::server::Server;
use crate::workload::{Arrivals, Servers, Span, Workload};
use anyhow::Context;
use std::time::Duration;
use tempfile::TempDir;

/// Before measuring, in each run.
const WARM_UP: Duration = Duration::from_millis(300);
/// Keys of every run.
const KEYS: u64 = 1_000;

/// A server on this machine.
pub(super) struct Target {
    /// Ends before its folder goes.
    _server: Option<Server>,
    _home: Option<TempDir>,
    pub(super) servers: Servers,
    pub(super) process: u32,
    measure: Span,
    seed: u64,
}

impl Target {
    pub(super) fn of(args: &PlanArgs) -> anyhow::Result<Target> {
        let (measure, seed) = (args.span(), args.seed);
        if let Some(servers) = &args.servers {
            let address = servers.addresses()[0];
            // Also tells one that cannot be reached.
            crate::wire::session::connect(address, None)?;
            let process = match args.server_pid {
                Some(pid) => existing(pid)?,
                None => listener(address).with_context(|| {
                    format!("the process behind {address} is not to be found on this machine: processor time is measured, so give --server-pid, or let a server be started")
                })?,
            };
            return Ok(Target { _server: None, _home: None, servers: servers.clone(), process, measure, seed });
        }
        let home = args.start.home()?;
        let server = Server::start(&args.start.kind("ringkeeper")?, home.path(), args.start.pin_server)?;
        let (servers, process) = (Servers::one(server.address()), server.pid());
        Ok(Target { _server: Some(server), _home: Some(home), servers, process, measure, seed })
    }

    /// A closed loop on it. The generator is kept on the last processor, so that runs are alike.
    pub(super) fn workload(&self, mix: &str, connections: u32, outstanding: u32) -> anyhow::Result<Workload> {
        let processors = hardware::cpu::core_count();
        Ok(Workload {
            servers: self.servers.clone(),
            connections,
            outstanding,
            pin: if processors > 1 { vec![processors - 1] } else { Vec::new() },
            warm_up: Span(WARM_UP),
            measure: self.measure,
            seed: self.seed,
            mix: mix.parse()?,
            keys: KEYS,
            // In open loops too the model's generator wakes up for each request and each reply.
            grain: Span(Duration::ZERO),
            arrivals: Arrivals::Program,
            ..Workload::default()
        })
    }
}
