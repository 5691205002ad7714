//! Running the verbs.

use crate::support::server::ringkeeper_binary;
use std::path::Path;
use std::process::{Command, Output};

/// What a run of the program gave.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub text: String,
}

impl Run {
    /// The output of a run that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.text);
        println!("{}", self.text);
        self.text
    }
}

pub fn import(from: &Path, to: &Path, more: &[&str]) -> Run {
    run("import", &[("--from", from), ("--data-dir", to)], more)
}

pub fn export(from: &Path, to: &Path) -> Run {
    run("export", &[("--data-dir", from), ("--to", to)], &[])
}

fn run(verb: &str, paths: &[(&str, &Path)], more: &[&str]) -> Run {
    let mut command = Command::new(ringkeeper_binary());
    command.arg(verb);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    command.args(["--set", "extendedTypesEnabled=true"]).args(more);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    Run { code: status.code().unwrap_or(-1), text }
}
