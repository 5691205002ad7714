//! `ringkeeper probe` and `ringkeeper tune` as an operator runs them: what they print, how they end, and that they leave
//! nothing behind.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Long enough for one of each; what it measures is of no consequence.
const SHORT: [&str; 2] = ["--seconds", "0.3"];

fn ringkeeper(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringkeeper"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(words: &[&str]) -> Output {
    ringkeeper(words).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

/// A short probe of `dir` as JSON.
fn probed(dir: &Path) -> Value {
    let output = run(&["probe", "--json", "--dir", text(dir), SHORT[0], SHORT[1]]);
    assert!(output.status.success(), "{}", err(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_probe_reports_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let report = probed(dir.path());
    assert_eq!(report["schema"], "ringkeeper-probe/1");
    assert_eq!(report["interrupted"], false);
    assert_eq!(report["failures"].as_array().unwrap().len(), 0, "{report}");
    let appends = report["appends"].as_array().unwrap();
    for method in ["pwritev2_dsync", "write_fdatasync", "io_uring_dsync", "io_uring_fdatasync", "mmap_msync"] {
        let of: Vec<&Value> = appends.iter().filter(|append| append["method"] == method).collect();
        assert!(of.len() >= 3, "{method} in several sizes");
        assert!(of.iter().all(|append| append["timing"]["p50_us"].as_f64().unwrap() > 0.0), "{method}");
    }
    assert!(report["host"]["kernel"]["io_uring"].as_bool().unwrap());
    assert!(is_empty(dir.path()));
}

#[test]
fn a_memory_file_system_is_called_not_durable() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let output = run(&["probe", "--dir", text(dir.path()), SHORT[0], SHORT[1]]);
    let table = out(&output);
    assert!(output.status.success(), "{}", err(&output));
    assert!(table.contains("NOT DURABLE") && table.contains("tmpfs"), "{table}");
    assert!(is_empty(dir.path()));
    let advice = out(&run(&["tune", "--dir", text(dir.path()), SHORT[0], SHORT[1]]));
    assert!(advice.contains("CRITICAL  not-durable:"), "{advice}");
}

#[test]
fn interrupted_it_prints_what_there_is_and_clears_up() {
    for signal in [Signal::INT, Signal::TERM] {
        let dir = tempfile::tempdir().unwrap();
        let probe = ringkeeper(&["probe", "--json", "--dir", text(dir.path()), "--seconds", "600"]).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_empty(dir.path()) {
            assert!(Instant::now() < deadline, "the probe does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&probe), signal).unwrap();
        let output = probe.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", err(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["interrupted"], true);
        assert!(is_empty(dir.path()));
    }
}

#[test]
fn a_directory_that_cannot_be_probed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let output = run(&["probe", "--dir", text(&missing)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("missing") && output.stdout.is_empty(), "{}", err(&output));
    assert_eq!(run(&["probe", "--seconds", "0"]).status.code(), Some(2));
}

#[test]
fn advice_comes_from_a_report_that_was_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.json");
    let mut report = probed(dir.path());
    report["host"]["memory"]["huge_pages"] = "always".into();
    std::fs::write(&path, report.to_string()).unwrap();
    let tune = |words: &[&str]| {
        let output = run(&[&["tune", "--probe", text(&path)], words].concat());
        assert!(output.status.success(), "{}", err(&output));
        out(&output)
    };
    let advice = tune(&["--znodes", "2000000", "--sessions", "10"]);
    assert!(advice.contains("MEDIUM    huge-pages:") && advice.contains("For 2000000 znodes"), "{advice}");
    let script = tune(&["--script"]);
    assert!(script.starts_with("#!/bin/sh\n") && script.contains("transparent_hugepage"), "{script}");
    let json: Value = serde_json::from_str(&tune(&["--json"])).unwrap();
    assert_eq!(json["schema"], "ringkeeper-advice/1");
    let mut raw = tuning::RawConfig::new();
    raw.add_file("zoo.cfg", tune(&["--config"]).as_bytes());
    let (config, warnings) = tuning::load(&raw).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    assert_eq!(config.local.storage.data_dir, dir.path().canonicalize().unwrap());
}

#[test]
fn a_file_that_is_no_report_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.json");
    std::fs::write(&path, "{}").unwrap();
    let output = run(&["tune", "--probe", text(&path)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("other.json"), "{}", err(&output));
}

#[test]
fn shipped_files_and_the_description_are_printed() {
    let profile: Value = serde_json::from_slice(&run(&["tune", "--print", "seccomp"]).stdout).unwrap();
    assert!(profile.to_string().contains("io_uring_enter"));
    for (file, words) in [("systemd", "[Service]"), ("sysctl", "net.core.somaxconn"), ("limits", "nofile")] {
        assert!(out(&run(&["tune", "--print", file])).contains(words), "{file}");
    }
    assert!(out(&run(&["probe", "--schema"])).contains("ringkeeper-probe/1"));
}
