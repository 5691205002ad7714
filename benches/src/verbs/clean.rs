//! `clean`: removes what aborted runs have left.

use crate::driver::tidy::{self, ROOT};
use crate::report::document::number;
use crate::say;
use crate::stop::Stop;
use crate::workload::Servers;
use clap::Args;
use std::process::ExitCode;

/// Removes everything that runs have left on a server, also runs that were killed.
#[derive(Args, Clone, Debug)]
pub struct CleanArgs {
    /// Servers, as in host:port,host:port/chroot.
    #[arg(long, short, default_value = "127.0.0.1:2181", value_name = "HOSTS")]
    servers: Servers,
}

/// Carries it out.
///
/// # Errors
/// The servers cannot be reached, or a node cannot be removed.
pub fn main(args: &CleanArgs, stop: &Stop) -> anyhow::Result<ExitCode> {
    let removed = tidy::clean(&args.servers, stop)?;
    let place = format!("{}{ROOT}", args.servers.chroot());
    say::line(&match removed {
        0 => format!("nothing was left below {place}"),
        removed => format!("{} nodes removed below {place}", number(removed as f64)),
    });
    Ok(ExitCode::SUCCESS)
}
