//! When things go wrong: a clear word, what was measured is written, nothing is left.

use super::support::{Fixture, Signal, program, report, signal, text, wait_for_end};
use std::net::TcpListener;

#[test]
fn a_server_that_is_not_there_is_named_with_the_remedy() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("127.0.0.1:{port}");
    for verb in ["run", "sweep", "fanout", "fill", "clean"] {
        let output = wait_for_end(program(&[verb, "--servers", &server]).spawn().unwrap());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{verb}: {said}");
        assert!(said.contains(&server) && said.contains("is a server running there?"), "{verb}: {said}");
    }
}

#[test]
fn a_listener_with_another_protocol_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let closing =
        std::thread::spawn(move || while listener.accept().is_ok_and(|(stream, _)| stream.peer_addr().is_ok()) {});
    let output = wait_for_end(program(&["run", "--no-files", "--servers", &address.to_string()]).spawn().unwrap());
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("does it speak ZooKeeper's protocol"), "{said}");
    drop(closing);
}

#[test]
fn wrong_files_and_impossible_workloads_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w.toml");
    std::fs::write(&file, "connections = 5\n[keys]\ncuont = 7\n").unwrap();
    let path = file.display().to_string();
    for (words, parts) in [
        (vec!["run", "-w", &path], vec!["w.toml", "line 3", "cuont"]),
        (vec!["run", "-w", "/does/not/exist.toml"], vec!["/does/not/exist.toml"]),
        (vec!["run", "--threads", "9", "-c", "3"], vec!["threads (9)", "connections (3)"]),
        (vec!["run", "--mix", "fetch"], vec!["fetch", "get"]),
        (vec!["run", "--server-pid", "4294967295"], vec!["no process"]),
    ] {
        let output = wait_for_end(program(&words).spawn().unwrap());
        let said = text(&output.stderr);
        assert!(!output.status.success(), "{words:?}");
        assert!(parts.iter().all(|part| said.contains(part)), "{words:?}: {said}");
    }
}

#[test]
fn an_interrupt_writes_what_was_measured_and_cleans_up() {
    let fixture = Fixture::new();
    let words = ["run", "--mix", "mixed", "--keys", "100", "--warm-up", "0s", "--measure", "10m", "--rate", "300"];
    let child = fixture.command(&words).arg("--out").arg(fixture.out()).spawn().unwrap();
    fixture.wait_for_creates();
    signal(child.id(), Signal::INT);
    let output = wait_for_end(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    let json = report(&fixture.out());
    assert_eq!(json["run"]["ended_early"], "interrupted");
    assert!(json["run"]["answered"].as_u64().unwrap() > 0, "{json}");
    assert!(!fixture.holds_something());
}

#[test]
fn what_a_killed_run_left_is_removed_by_clean() {
    let fixture = Fixture::new();
    let words = ["run", "--mix", "mixed", "--keys", "100", "--warm-up", "0s", "--measure", "10m", "--rate", "300"];
    let mut child = fixture.command(&words).arg("--no-files").spawn().unwrap();
    fixture.wait_for_creates();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(fixture.holds_something());
    let output = fixture.command(&["clean"]).output().unwrap();
    assert!(output.status.success() && text(&output.stdout).contains("nodes removed"), "{output:?}");
    assert!(!fixture.holds_something());
    let again = fixture.command(&["clean"]).output().unwrap();
    assert!(text(&again.stdout).contains("nothing was left"), "{again:?}");
}

#[test]
fn a_server_that_dies_in_the_middle_ends_the_run_with_what_was_measured() {
    let fixture = Fixture::new();
    let words = ["run", "--mix", "mixed", "--keys", "100", "--warm-up", "0s", "--measure", "10m", "--rate", "300"];
    let child = fixture.command(&words).arg("--out").arg(fixture.out()).spawn().unwrap();
    fixture.wait_for_creates();
    signal(fixture.server.pid(), Signal::KILL);
    let output = wait_for_end(child);
    let json = report(&fixture.out());
    let why = json["run"]["ended_early"].as_str().unwrap();
    assert!(why.contains("no server of"), "{why}");
    assert!(json["run"]["answered"].as_u64().unwrap() > 0);
    assert!(text(&output.stderr).contains("was left on the server"), "{}", text(&output.stderr));
}

#[test]
fn a_reader_that_goes_away_does_no_harm() {
    let fixture = Fixture::new();
    let words = ["run", "--keys", "10", "--warm-up", "0s", "--measure", "300ms", "--no-files", "--json"];
    let mut child = fixture.command(&words).spawn().unwrap();
    drop(child.stdout.take());
    let output = wait_for_end(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("panicked"));
}

#[test]
fn a_folder_that_cannot_be_written_is_named_and_the_figures_are_printed() {
    let fixture = Fixture::new();
    let file = fixture.folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let words = ["run", "--keys", "10", "--warm-up", "0s", "--measure", "300ms"];
    let output = fixture.command(&words).arg("--out").arg(file.join("out")).output().unwrap();
    assert!(!output.status.success());
    assert!(text(&output.stdout).contains("Key figures"), "{output:?}");
    assert!(text(&output.stderr).contains("cannot be made"), "{output:?}");
    assert!(!fixture.holds_something());
}
