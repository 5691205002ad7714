//! `ringkeeper tune`: advice for a host, from a probe that was kept or from one taken now.

use super::probe::{Target, finish, json, measure, read_report, refuse};
use super::{INTERRUPTED, tune_text};
use std::path::PathBuf;
use std::process::ExitCode;
use tuning::advice::{Wishes, advise, script};
use tuning::dist::Shipped;

/// `ringkeeper tune`: what should change on this host, and a configuration for it.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct TuneArgs {
    /// Where and how long to probe, unless --probe is given
    #[command(flatten)]
    pub target: Target,

    /// A report of `ringkeeper probe --json`, also from another host, instead of probing now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dir", "log_dir", "seconds"])]
    pub probe: Option<PathBuf>,

    /// Znodes that the server shall hold
    #[arg(long, value_name = "N", default_value_t = Wishes::default().znodes)]
    pub znodes: u64,

    /// Bytes of data of a znode, on average
    #[arg(long, value_name = "B", default_value_t = Wishes::default().value_bytes)]
    pub value_bytes: u64,

    /// Sessions at once
    #[arg(long, value_name = "S", default_value_t = Wishes::default().sessions)]
    pub sessions: u64,

    /// Watches at once
    #[arg(long, value_name = "W", default_value_t = Wishes::default().watches)]
    pub watches: u64,

    /// Prints the commands of all findings as a shell script, to read and run
    #[arg(long, conflicts_with_all = ["config", "json", "print"])]
    pub script: bool,

    /// Prints the recommended zoo.cfg alone
    #[arg(long, conflicts_with_all = ["json", "print"])]
    pub config: bool,

    /// Prints findings and recommendation as JSON
    #[arg(long, conflicts_with = "print")]
    pub json: bool,

    /// Prints a file that is shipped, and probes nothing
    #[arg(long, value_name = "FILE", value_enum)]
    pub print: Option<Print>,
}

/// Shipped files by their names on the command line.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Print {
    /// A hardened systemd unit
    Systemd,
    /// A seccomp profile for containers that allows io_uring
    Seccomp,
    /// Kernel parameters for /etc/sysctl.d
    Sysctl,
    /// Limits for /etc/security/limits.d
    Limits,
}

impl From<Print> for Shipped {
    fn from(print: Print) -> Shipped {
        match print {
            Print::Systemd => Shipped::Systemd,
            Print::Seccomp => Shipped::Seccomp,
            Print::Sysctl => Shipped::Sysctl,
            Print::Limits => Shipped::Limits,
        }
    }
}

const AFTER_HELP: &str = "Changes nothing: what should change is printed, and --script prints the commands.";

/// Runs the verb. Exit codes: 0, 1 when it failed, 2 for a report that cannot be used, 130 when it was interrupted.
pub fn tune(args: &TuneArgs) -> ExitCode {
    if let Some(file) = args.print {
        return finish(Shipped::from(file).text(), 0);
    }
    let report = match &args.probe {
        Some(path) => match read_report(path) {
            Ok(report) => report,
            Err(message) => return refuse(&message),
        },
        None => match measure(&args.target) {
            Ok(report) if report.interrupted => {
                eprintln!("interrupted: too little was measured for advice");
                return ExitCode::from(INTERRUPTED);
            }
            Ok(report) => report,
            Err(message) => {
                eprintln!("{message}");
                return ExitCode::FAILURE;
            }
        },
    };
    let wishes =
        Wishes { znodes: args.znodes, value_bytes: args.value_bytes, sessions: args.sessions, watches: args.watches };
    let advice = advise(&report, &wishes);
    let text = if args.script {
        script(&advice.findings)
    } else if args.config {
        advice.recommendation.zoo_cfg()
    } else if args.json {
        match json(&advice) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("cannot write the advice as JSON: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        tune_text::text(&advice)
    };
    finish(&text, 0)
}
