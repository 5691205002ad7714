//! The load driver: `run` against a server that is there, `compare` servers that it starts in turn, `fanout` of watches,
//! and the machine's own `baseline`.
#![forbid(unsafe_code)]

use benches::compare::{Pins, run_all, table};
use benches::load::{Mix, Plan, Protocol, run_counted};
use benches::server::{Kind, Server};
use benches::{baseline, fanout};
use clap::{Args, Parser, Subcommand};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "ringkeeper-load", version, about = "Load driver for servers with ZooKeeper's protocol")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// One run against a server.
    Run {
        /// Its address.
        #[arg(long, default_value = "127.0.0.1:2181")]
        server: SocketAddr,
        /// It is a Redis server.
        #[arg(long)]
        redis: bool,
        /// Its process id, for CPU per operation.
        #[arg(long)]
        server_pid: Option<u32>,
        #[command(flatten)]
        load: Load,
    },
    /// Starts servers in turn and compares them.
    Compare {
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        servers: Servers,
        /// Rounds; medians are reported.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// Watches of one znode on many connections.
    Fanout {
        /// Connections.
        #[arg(long, default_value_t = 1000)]
        connections: u32,
        /// Changes.
        #[arg(long, default_value_t = 20)]
        changes: u32,
        /// Times that each server is started.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        #[command(flatten)]
        servers: Servers,
    },
    /// A bare durable append and a bare loopback round trip.
    Baseline {
        /// Folder on the disk to measure.
        #[arg(long, default_value = ".")]
        folder: PathBuf,
        /// Seconds for each.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Pin the two loopback threads to these cores.
        #[arg(long, num_args = 2)]
        pin: Option<Vec<usize>>,
    },
}

#[derive(Args, Clone)]
struct Load {
    /// get, set, create or mixed.
    #[arg(long, default_value = "get")]
    mix: String,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// Requests outstanding on each.
    #[arg(long, default_value_t = 1)]
    outstanding: u32,
    /// Bytes of a value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Existing keys.
    #[arg(long, default_value_t = 1000)]
    keys: u32,
    /// Seconds before measuring.
    #[arg(long, default_value_t = 3)]
    warm_up: u64,
    /// Seconds measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Seed of the choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Core to pin the driver to.
    #[arg(long)]
    pin_driver: Option<usize>,
}

#[derive(Args, Clone)]
struct Servers {
    /// Which to compare: ringkeeper, zookeeper, redis.
    #[arg(long, value_delimiter = ',', default_value = "ringkeeper,zookeeper")]
    servers: Vec<String>,
    /// Ringkeeper's program; beside this one unless given.
    #[arg(long)]
    ringkeeper: Option<PathBuf>,
    /// Ringkeeper's shard cores.
    #[arg(long, default_value_t = 1)]
    shard_cores: u32,
    /// Core to pin every server to.
    #[arg(long)]
    pin_server: Option<usize>,
    /// Folder for the servers' directories.
    #[arg(long, default_value = "target")]
    folder: PathBuf,
}

impl Servers {
    fn kinds(&self) -> anyhow::Result<Vec<Kind>> {
        let beside = std::env::current_exe()?.with_file_name("ringkeeper");
        let program = self.ringkeeper.clone().unwrap_or(beside);
        let kind = |name: &String| match name.as_str() {
            "ringkeeper" => Ok(Kind::Ringkeeper { program: program.clone(), shard_cores: self.shard_cores }),
            "zookeeper" => Ok(Kind::Zookeeper { heap: None }),
            "redis" => Ok(Kind::Redis),
            other => Err(anyhow::anyhow!("no server is called {other}: ringkeeper, zookeeper or redis")),
        };
        self.servers.iter().map(kind).collect()
    }
}

fn plan(load: &Load, server: SocketAddr, protocol: Protocol) -> anyhow::Result<Plan> {
    let mix = Mix::by_name(&load.mix)
        .ok_or_else(|| anyhow::anyhow!("no mix is called {}: get, set, create or mixed", load.mix))?;
    anyhow::ensure!(
        load.connections > 0 && load.outstanding > 0 && load.keys > 0,
        "connections, outstanding and keys start at 1"
    );
    Ok(Plan {
        server,
        protocol,
        mix,
        connections: load.connections,
        outstanding: load.outstanding,
        value_bytes: load.value_bytes,
        keys: load.keys,
        warm_up: Duration::from_secs(load.warm_up),
        measure: Duration::from_secs(load.seconds),
        seed: load.seed,
        pin: load.pin_driver,
    })
}

fn main() -> anyhow::Result<()> {
    hardware::limits::raise_open_files()?;
    match Cli::parse().verb {
        Verb::Run { server, redis, server_pid, load } => {
            let protocol = if redis { Protocol::Redis } else { Protocol::Zookeeper };
            let (report, kinds) = run_counted(&plan(&load, server, protocol)?, server_pid)?;
            println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "report": report, "sent": kinds }))?);
        }
        Verb::Compare { load, servers, rounds } => {
            let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let plan = plan(&load, anywhere, Protocol::Zookeeper)?;
            let pins = Pins { server: servers.pin_server, driver: load.pin_driver };
            let all = run_all(&servers.kinds()?, &plan, rounds, &servers.folder, pins)?;
            println!("{} connections x {} outstanding, mix {}", load.connections, load.outstanding, load.mix);
            print!("{}", table(&all));
        }
        Verb::Fanout { connections, changes, rounds, servers } => {
            for round in 0..rounds {
                for kind in servers.kinds()? {
                    let home = tempfile::tempdir_in(&servers.folder)?;
                    let server = Server::start(&kind, home.path(), servers.pin_server)?;
                    let result = fanout::run(server.address(), connections, changes, Some(server.pid()))?;
                    println!("round {round} {}: {}", kind.name(), serde_json::to_string(&result)?);
                }
            }
        }
        Verb::Baseline { folder, seconds, pin } => {
            let time = Duration::from_secs(seconds);
            let pin = pin.as_deref().and_then(|cores| Some((*cores.first()?, *cores.get(1)?)));
            let append = baseline::durable_append(&folder, time, None)?;
            let loopback = baseline::loopback(100, time, pin)?;
            println!(
                "{}",
                serde_json::to_string_pretty(
                    &serde_json::json!({ "durable_append_4096": append, "loopback_100": loopback })
                )?
            );
        }
    }
    Ok(())
}
