//! `plan`: what it answers, and what it says when something is wrong.

use super::support::{Fixture, Signal, program, report, ringkeeper, signal, text, wait_for, wait_for_end};
use std::path::{Path, PathBuf};

fn shipped(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file).display().to_string()
}

/// Figures that nobody measured.
fn example() -> String {
    shipped("tests/load/made-up-calibration.toml")
}

#[test]
fn a_deployment_is_answered_from_a_calibration() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["plan", &shipped("deployments/small.toml"), "--calibration", &example()];
    let output = wait_for_end(program(&words).arg("--out").arg(folder.path()).spawn().unwrap());
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.contains("throughput ceiling") && said.contains("saturates first"), "{said}");
    let plan = &report(folder.path())["plan"]["answer"];
    let at = &plan["at_wanted"];
    assert!(plan["ceiling_rate"].as_f64().unwrap() > 2000.0, "{plan}");
    assert!(at["p99_us"].as_f64().unwrap() >= at["p50_us"].as_f64().unwrap(), "{plan}");
    assert!(plan["space"]["sessions_fit"].as_u64().unwrap() > 100, "{plan}");
}

#[test]
fn wrong_files_and_servers_are_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &str| -> String {
        let path: PathBuf = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let small = std::fs::read_to_string(shipped("deployments/small.toml")).unwrap();
    let impossible = put("impossible.toml", &small.replace("cores = 2", "cores = 0"));
    let unknown = put("unknown.toml", &small.replace("cores = 2", "coers = 2"));
    let damaged =
        put("damaged.toml", &std::fs::read_to_string(example()).unwrap().replacen("schema = ", "schema = 7", 1));
    let (example, good) = (example(), shipped("deployments/small.toml"));
    // A port that was free a moment ago.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (words, parts) in [
        (vec!["plan", &impossible, "--calibration", &example], vec!["impossible.toml", "cores is 0"]),
        (vec!["plan", &unknown, "--calibration", &example], vec!["unknown.toml", "coers"]),
        (vec!["plan", "/does/not/exist.toml"], vec!["/does/not/exist.toml"]),
        (vec!["plan", &good, "--calibration", &damaged], vec!["damaged.toml", "schema", "--calibrate"]),
        (
            vec!["plan", "--verify", "--calibration", "/does/not/exist.toml"],
            vec!["/does/not/exist.toml", "--calibrate"],
        ),
        (vec!["plan", "--calibrate", "--servers", &nobody], vec![&nobody, "is a server running there?"]),
        (vec!["plan", "--calibrate", "--ringkeeper", "/does/not/exist"], vec!["ringkeeper cannot be started"]),
        (vec!["plan"], vec!["DEPLOYMENT"]),
    ] {
        let output = wait_for_end(program(&words).spawn().unwrap());
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{words:?}");
        assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    }
}

#[test]
fn an_interrupted_calibration_leaves_nothing_on_the_server_and_no_file() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("calibration.toml");
    let words = ["plan", "--calibrate", "--no-files", "--calibration"];
    let child = fixture.command(&words[..3]).arg(words[3]).arg(&file).spawn().unwrap();
    wait_for("keys of the calibration", || fixture.holds_something().then_some(()));
    signal(child.id(), Signal::INT);
    let output = wait_for_end(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("interrupted"), "{}", text(&output.stderr));
    assert!(!file.exists() && !fixture.holds_something());
}

#[test]
fn a_server_that_was_started_goes_with_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("servers");
    let words =
        ["plan", "--calibrate", "--no-files", "--ringkeeper", &ringkeeper().display().to_string()].map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = program(&words);
    command.arg("--folder").arg(&home).arg("--calibration").arg(folder.path().join("calibration.toml"));
    let child = command.spawn().unwrap();
    drop(wait_for("a server's folder", || std::fs::read_dir(&home).ok()?.next()));
    signal(child.id(), Signal::TERM);
    let output = wait_for_end(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
}
