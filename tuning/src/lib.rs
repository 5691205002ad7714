//! Configuration: text, flags and environment in, one validated [`Config`] out, no side effects.
//!
//! The way of a setting: [`zoo_cfg`] reads the file's syntax, [`flags`] and the environment are read beside it, and all
//! of them become [`RawConfig`], which knows what was written where. [`load`] then decides what it means. Nothing
//! further in reads a file, a flag or the environment. [`catalog`] lists every key that is known, [`limits`] derives
//! the bounds of queues and pools, [`core_plan`] says which core hosts what.
//!
//! The other way round, [`advice`] takes what the probe has found out about a host, says what should change there, and
//! writes a configuration; [`dist`] holds the files that a host needs besides.
//!
//! The crate opens no file and reads no environment variable: contents come in as arguments.
#![forbid(unsafe_code)]

pub mod advice;
pub mod catalog;
pub mod config;
pub mod core_plan;
pub mod dist;
pub mod flags;
pub mod limits;
pub mod problem;
pub mod raw;
pub mod zoo_cfg;

pub use config::{Config, EnsembleConfig, LocalConfig};
pub use core_plan::{CorePlan, Pinning};
pub use flags::ServeArgs;
pub use limits::Limits;
pub use problem::{ConfigError, Warning};
pub use raw::RawConfig;

/// Gives the settings their meaning. All errors are reported together; warnings come with a configuration that holds.
///
/// # Errors
/// Every setting that start-up must not get past, each naming key, value, origin and what is allowed.
pub fn load(raw: &RawConfig) -> Result<(Config, Vec<Warning>), Vec<ConfigError>> {
    config::resolve::resolve(raw)
}
