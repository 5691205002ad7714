//! Each verb does its work and writes a report.

use super::support::{Fixture, program, report, ringkeeper, text};
use benches::report::document::SCHEMA;

#[test]
fn run_reports_figures_conditions_and_plots() {
    let fixture = Fixture::new();
    let words = ["run", "--mix", "mixed", "--keys", "50", "--warm-up", "100ms", "--measure", "1s", "--rate", "200"];
    let (output, json) = fixture.report(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("latency p99"));
    assert_eq!(json["schema"], SCHEMA);
    assert!((json["run"]["asked_rate"].as_f64().unwrap() - 200.0).abs() < 1e-6);
    assert_eq!(json["run"]["errors"], 0);
    assert!(json["conditions"]["command"].as_str().unwrap().contains("--rate 200"));
    assert_eq!(json["conditions"]["servers"][0]["process"], fixture.server.pid());
    assert!(json["conditions"]["servers"][0]["version"].is_string());
    assert_eq!(json["workload"]["seed"], 1);
    for file in ["report.html", "percentiles.svg", "percentiles.png", "rate.svg", "latency.png"] {
        assert!(fixture.out().join(file).metadata().unwrap().len() > 500, "{file}");
    }
    // Quiet when piped.
    assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    assert!(!fixture.holds_something());
}

#[test]
fn fanout_loses_and_doubles_nothing() {
    let fixture = Fixture::new();
    let words = ["fanout", "-c", "30", "--watches", "4", "--rounds", "3", "--threads", "2", "--settle", "10ms"];
    let (output, json) = fixture.report(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let kinds = json["fanout"]["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), 5);
    for kind in kinds {
        assert_eq!((&kind["events"], &kind["lost"], &kind["doubled"]), (&360.into(), &0.into(), &0.into()), "{kind}");
    }
    assert!(!fixture.holds_something());
}

#[test]
fn fill_tells_what_a_node_costs_and_removes_it_again() {
    let fixture = Fixture::new();
    let (output, json) = fixture.report(&["fill", "-n", "2000", "--values", "10..200"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(json["fill"]["nodes"], 2000);
    assert!(json["fill"]["server_cpu_us"].is_number());
    assert!(!fixture.holds_something());
}

#[test]
fn a_sweep_that_nothing_can_satisfy_says_so() {
    let fixture = Fixture::new();
    let words =
        ["sweep", "--objective", "p50<=1us", "--from", "40", "--keys", "10", "--warm-up", "0s", "--measure", "200ms"];
    let (output, json) = fixture.report(&[&words[..], &["--poisson"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(json["answer"].as_str().unwrap().contains("No rate"), "{json}");
    assert!(json["sweep"]["knee_rate"].is_null() && json["sweep"]["steps"].as_array().unwrap().len() >= 5);
    assert!(!fixture.holds_something());
}

#[test]
fn sessions_come_back_after_the_servers_restart() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ringkeeper = ringkeeper().display().to_string();
    let words = ["sessions", "-n", "150", "--hold", "100ms", "--start", "ringkeeper", "--ringkeeper", &ringkeeper];
    let output = program(&words).args(["--expire", "5"]).arg("--out").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let figures = &report(&out)["sessions"];
    assert_eq!((&figures["opened"], &figures["lost"]), (&150.into(), &0.into()), "{figures}");
    assert_eq!(figures["storms"][0]["attached"], 150, "{figures}");
    assert_eq!((&figures["expiry"]["expired"], &figures["expiry"]["early"]), (&5.into(), &0.into()), "{figures}");
}

#[test]
fn compare_alternates_and_reports_ratios() {
    let (folder, fixture) = (tempfile::tempdir().unwrap(), Fixture::new());
    let out = folder.path().join("out");
    let there = format!("there={}", fixture.server.address());
    let ringkeeper = ringkeeper().display().to_string();
    let words = ["compare", "--of", &format!("ringkeeper,{there}"), "--rounds", "2", "--ringkeeper", &ringkeeper];
    let workload = ["--keys", "20", "--warm-up", "0s", "--measure", "300ms", "-c", "4"];
    let output = program(&words).args(workload).arg("--out").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("ringkeeper / there"), "{}", text(&output.stdout));
    let sides = &report(&out)["compare"];
    for (at, name) in ["ringkeeper", "there"].into_iter().enumerate() {
        assert_eq!(sides[at]["server"], name);
        assert_eq!(sides[at]["runs"].as_array().unwrap().len(), 2);
    }
    assert!(!fixture.holds_something());
}

#[test]
fn compare_starts_ensembles_and_counts_all_their_servers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let ringkeeper = ringkeeper().display().to_string();
    let words = ["compare", "--of", "ringkeeper", "--ensemble", "3", "--rounds", "1", "--ringkeeper", &ringkeeper];
    let workload = ["--mix", "set", "--keys", "20", "--warm-up", "0s", "--measure", "500ms", "-c", "6"];
    let output = program(&words).args(workload).arg("--out").arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report = report(&out);
    assert_eq!(report["conditions"]["servers"].as_array().unwrap().len(), 3, "{report}");
    let run = &report["compare"][0]["runs"][0];
    assert_eq!(run["errors"], 0, "{run}");
    assert!(run["answered"].as_u64().unwrap() > 0, "{run}");
    let (all, busiest) = (&run["server"]["processors"], &run["server"]["busiest_thread"]);
    assert!(all.as_f64().unwrap() >= busiest.as_f64().unwrap(), "{run}");
}
