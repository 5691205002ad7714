//! `ringkeeper probe`: reads and measures a host, and prints a table or JSON.

use super::{BAD_INVOCATION, INTERRUPTED, probe_text};
use hardware::probe::{Options, Report, SCHEMA_TEXT};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Times that can be asked for, seconds.
const SECONDS_MIN: f64 = 0.1;
const SECONDS_MAX: f64 = 3600.0;

/// `ringkeeper probe`: what this host can do.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct ProbeArgs {
    /// What to probe, and for how long
    #[command(flatten)]
    pub target: Target,

    /// Prints JSON instead of a table; --schema describes it
    #[arg(long)]
    pub json: bool,

    /// Prints the description of the JSON, and probes nothing
    #[arg(long)]
    pub schema: bool,
}

/// A directory, or two, and a time.
#[derive(clap::Args, Clone, Debug)]
pub struct Target {
    /// Directory of the data, existing or the one in which it will be made
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,

    /// Directory of the transaction log, if it has its own; appends are then measured there
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// How long to measure; a slow disk may add a third
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub seconds: f64,
}

const AFTER_HELP: &str = "Writes up to 256 MiB below DIR, never more than a quarter of what is free there, and removes it \
again, also on Ctrl-C. Sizes and times are what one writer sees on an otherwise quiet host: run it when nothing else does.";

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds".to_owned())?;
    let allowed = SECONDS_MIN..=SECONDS_MAX;
    if allowed.contains(&seconds) { Ok(seconds) } else { Err(format!("must be {SECONDS_MIN} to {SECONDS_MAX}")) }
}

/// Runs the verb. Exit codes: 0, 1 when it failed, 130 when it was interrupted (what was measured is printed).
pub fn probe(args: &ProbeArgs) -> ExitCode {
    if args.schema {
        return finish(&format!("{}\n", SCHEMA_TEXT.trim()), 0);
    }
    let report = match measure(&args.target) {
        Ok(report) => report,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::FAILURE;
        }
    };
    let text = if args.json { json(&report) } else { Ok(probe_text::table(&report)) };
    let code = if report.interrupted { INTERRUPTED } else { 0 };
    match text {
        Ok(text) => finish(&text, code),
        Err(error) => {
            eprintln!("cannot write the report as JSON: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Probes until it is done or a signal comes; a second one ends the program at once, and the next probe clears up.
pub(super) fn measure(target: &Target) -> Result<Report, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| format!("cannot catch signals: {error}"))?;
    }
    if io::stderr().is_terminal() {
        eprintln!("measuring for about {} s; Ctrl-C stops", target.seconds);
    }
    let options = Options {
        data_dir: target.dir.clone(),
        log_dir: target.log_dir.clone(),
        time: Duration::from_secs_f64(target.seconds),
    };
    hardware::probe::probe(&options, &stop).map_err(|error| error.to_string())
}

/// A report that was kept in a file.
pub(super) fn read_report(path: &std::path::Path) -> Result<Report, String> {
    let of = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {of}: {error}"))?;
    let report = |value| serde_json::from_value::<Report>(value);
    let value: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| format!("{of} is not JSON ({error}); make it with ringkeeper probe --json"))?;
    let schema = value.get("schema").and_then(|schema| schema.as_str()).unwrap_or("none");
    if schema != hardware::probe::SCHEMA {
        let wanted = hardware::probe::SCHEMA;
        return Err(format!(
            "{of} has the schema {schema}, not {wanted}; make it with this version's ringkeeper probe --json"
        ));
    }
    report(value).map_err(|error| format!("{of} is not a whole report: {error}; make it with ringkeeper probe --json"))
}

pub(super) fn json<T: serde::Serialize>(value: &T) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(value).map(|text| text + "\n")
}

/// Prints; a reader that has gone away is no error.
pub(super) fn finish(text: &str, code: u8) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Ok(()) => ExitCode::from(code),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(code),
        Err(error) => {
            eprintln!("cannot print: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with an invocation.
pub(super) fn refuse(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::from(BAD_INVOCATION)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_bounded() {
        assert_eq!(seconds("2.5"), Ok(2.5));
        for text in ["0", "-1", "4000", "NaN", "inf", "soon"] {
            seconds(text).unwrap_err();
        }
    }

    #[test]
    fn files_that_hold_something_else_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        assert!(read_report(&path).unwrap_err().contains("cannot read"));
        for (text, words) in [
            ("{", "is not JSON"),
            ("{}", "has the schema none"),
            (r#"{"schema":"ringkeeper-probe/0"}"#, "has the schema ringkeeper-probe/0"),
            (r#"{"schema":"ringkeeper-probe/1"}"#, "is not a whole report"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = read_report(&path).unwrap_err();
            assert!(message.contains(words) && message.contains("report.json"), "{message}");
        }
    }
}
