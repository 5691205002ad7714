//! What the program can be asked to do; one file each.

pub mod clean;
pub mod compare;
mod ensemble;
pub mod failover;
pub mod fanout;
pub mod fill;
pub mod flags;
pub mod plan;
pub mod progress;
pub mod rejoin;
pub mod run;
pub mod sessions;
pub mod sweep;

use crate::report::Document;
use crate::say;
use crate::stop::Stop;
use anyhow::Context;
use flags::OutputFlags;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code of a run that was interrupted, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// Prints a report and writes its files.
///
/// # Errors
/// A file cannot be written; what was to be printed has been by then.
pub fn deliver(document: &Document, output: &OutputFlags, stop: &Stop) -> anyhow::Result<ExitCode> {
    say::line(&if output.json { document.json()? } else { document.text() });
    if !output.no_files {
        let folder = output.out.clone().unwrap_or_else(|| {
            let name = document.conditions.began.trim_end_matches(" UTC").replace(' ', "T").replace(':', "");
            PathBuf::from("load-reports").join(format!("{}-{name}", document.verb))
        });
        let page = document.write(&folder).context("the report could not be kept")?;
        say::note(&format!("report: {}", page.display()));
    }
    Ok(if stop.is_set() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
}
