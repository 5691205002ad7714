//! The program `ringkeeper`: a coordination server with ZooKeeper's protocol, and the operator's tools for it.
#![forbid(unsafe_code)]

use clap::{Parser, Subcommand};
use mimalloc::MiMalloc;
use std::process::ExitCode;
use tuning::ServeArgs;

/// Frees what it can and keeps its word on many cores; glibc's allocator keeps memory that grown tables leave behind.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
#[command(
    name = "ringkeeper",
    version,
    about = "A coordination server that speaks ZooKeeper's protocol. Without a command it serves on port 2181 with its data in ./ringkeeper-data"
)]
struct Program {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs a server
    Serve(Box<ServeArgs>),
    /// A command line client, as zkCli.sh
    Cli(net::cli::CliArgs),
    /// Starts several servers on this machine as one ensemble, for trying things out
    Ensemble(net::ensemble::EnsembleArgs),
    /// Reads and measures this host: processors, memory, the disk under a directory, loopback
    Probe(net::host_tools::ProbeArgs),
    /// Says what should change on this host, and recommends a configuration; changes nothing
    Tune(net::host_tools::TuneArgs),
    /// Fills an empty data directory from that of an Apache ZooKeeper server
    Import(Box<net::server::ImportArgs>),
    /// Writes a data directory for an Apache ZooKeeper server
    Export(Box<net::server::ExportArgs>),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let program = match tuning::flags::from_java_arguments(arguments.get(1..).unwrap_or_default()) {
        Some(serve) => Program::parse_from(std::iter::once("ringkeeper".to_owned()).chain(serve)),
        None => Program::parse(),
    };
    match program.verb {
        None => net::server::serve(&ServeArgs::default()),
        Some(Verb::Serve(args)) => net::server::serve(&args),
        Some(Verb::Cli(args)) => net::cli::main(args),
        Some(Verb::Ensemble(args)) => net::ensemble::main(&args),
        Some(Verb::Probe(args)) => net::host_tools::probe(&args),
        Some(Verb::Tune(args)) => net::host_tools::tune(&args),
        Some(Verb::Import(args)) => net::server::import(&args),
        Some(Verb::Export(args)) => net::server::export(&args),
    }
}
