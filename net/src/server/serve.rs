//! `ringkeeper serve`: from arguments to a running server, and back to an exit code.

use super::assemble::{self, StartError};
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;
use tuning::config::{LogFormat, LogLevel};
use tuning::{Config, RawConfig, ServeArgs};

/// ZooKeeper's exit codes (`ExitCode.java`), as far as they have a meaning here.
mod exit {
    pub(super) const UNEXPECTED_ERROR: u8 = 1;
    pub(super) const BAD_CONFIGURATION: u8 = 2;
    pub(super) const CANNOT_ACCESS_DATA_DIR: u8 = 3;
}

/// Runs a server until it is told to stop.
pub fn serve(args: &ServeArgs) -> ExitCode {
    let raw = match gather(args) {
        Ok(raw) => raw,
        Err(problem) => {
            let (level, format) = tuning::flags::early_logging(args);
            start_logging(level, format);
            error!("{problem}");
            return ExitCode::from(exit::BAD_CONFIGURATION);
        }
    };
    match tuning::load(&raw) {
        Ok((config, warnings)) => {
            start_logging(config.local.host.log_level, config.local.host.log_format);
            for warning in warnings {
                warn!("{warning}");
            }
            run(config)
        }
        Err(errors) => {
            let (level, format) = tuning::flags::early_logging(args);
            start_logging(level, format);
            for problem in errors {
                error!("{problem}");
            }
            ExitCode::from(exit::BAD_CONFIGURATION)
        }
    }
}

fn run(config: Config) -> ExitCode {
    match assemble::run(config) {
        Ok(()) => {
            info!("stopped");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            error!("{problem}");
            let code = match problem {
                StartError::DataDir(_) => exit::CANNOT_ACCESS_DATA_DIR,
                _ => exit::UNEXPECTED_ERROR,
            };
            ExitCode::from(code)
        }
    }
}

/// Reads what the arguments name: the file, what the file names in turn, and the environment.
pub(super) fn gather(args: &ServeArgs) -> Result<RawConfig, String> {
    let mut raw = RawConfig::new();
    raw.add_environment(
        std::env::vars_os().filter_map(|(key, value)| key.into_string().ok().zip(value.into_string().ok())),
    );
    if let Some(file) = args.config_file() {
        raw.add_file(&file.display().to_string(), &read(file)?);
    }
    args.apply(&mut raw).map_err(|problem| problem.to_string())?;
    let companions = raw.companions();
    if let Some(file) = companions.dynamic_config_file {
        raw.add_dynamic_file(&file.display().to_string(), &read(&file)?);
    }
    if let Some(file) = companions.myid_file
        && let Ok(bytes) = std::fs::read(&file)
    {
        raw.add_myid_file(&file.display().to_string(), &bytes);
    }
    Ok(raw)
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|problem| format!("configuration file {}: {problem}", file.display()))
}

pub(super) fn start_logging(level: LogLevel, format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.as_str()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start of logging in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
}
