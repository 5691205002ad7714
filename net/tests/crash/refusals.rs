//! Starts that must fail, each with its exit code and a message that names the thing.

use crate::support::only_ringkeeper;
use crate::support::server::{Process, Server, ServerConfig, free_port, temporary_directory};
use crate::support::session::Session;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

fn fails(mut process: Process, code: i32, names: &[&str]) {
    let status = process.wait_for_exit(LIMIT);
    let log = process.log();
    assert_eq!(status.code(), Some(code), "{log}");
    for name in names {
        assert!(log.contains(name), "the message does not name {name}:\n{log}");
    }
}

#[test]
fn two_servers_never_share_a_data_directory() {
    if only_ringkeeper("it has no lock") {
        return;
    }
    let mut server = Server::start(1);
    let mut session = Session::open(server.address());
    session.create("/a", b"1");
    for shards in [1, 4] {
        let second = ServerConfig::new(shards).spawn(server.data(), free_port());
        fails(second, 3, &[&server.data().display().to_string()]);
    }
    session.set("/a", b"2");
    // The lock dies with its holder.
    server.kill();
    server.restart();
    assert_eq!(Session::open(server.address()).get("/a").0.as_deref(), Some(&b"2"[..]));
}

/// What a member has lost its ensemble has; a server that is alone would go on without.
#[test]
fn a_member_that_has_lost_something_does_not_go_on_alone() {
    if only_ringkeeper("repairs") {
        return;
    }
    let mut server = Server::start(1);
    server.stop();
    let mark = server.data().join("repairing");
    std::fs::write(&mark, "").unwrap();
    fails(ServerConfig::new(1).spawn(server.data(), free_port()), 1, &[&mark.display().to_string(), "its ensemble"]);
    std::fs::remove_file(&mark).unwrap();
    server.restart();
    Session::open(server.address()).create("/a", b"1");
}

#[test]
fn a_data_directory_that_cannot_be_made() {
    if only_ringkeeper("exit codes") {
        return;
    }
    let directory = temporary_directory();
    let file = directory.path().join("a-file");
    std::fs::write(&file, "not a directory").unwrap();
    fails(ServerConfig::new(1).spawn(&file, free_port()), 3, &[&file.display().to_string()]);
    let below = file.join("data");
    let config = ServerConfig::new(1);
    // Its log cannot be beside it, so it is started by a path from elsewhere.
    let process = config.spawn_at(&below, directory.path(), free_port());
    fails(process, 3, &[&below.display().to_string()]);
}

#[test]
fn wrong_settings() {
    if only_ringkeeper("exit codes") {
        return;
    }
    let directory = temporary_directory();
    let data = directory.path().join("data");
    for (key, value) in [
        ("tickTime", "soon"),
        ("tickTime", "0"),
        ("maxClientCnxns", "-x"),
        ("enforceQuota", "perhaps"),
        ("electionAlg", "1"),
    ] {
        let process = ServerConfig::new(1).set(key, value).spawn(&data, free_port());
        fails(process, 2, &[key, value]);
        assert!(!data.exists(), "nothing is made for settings that are wrong");
    }
    let process = ServerConfig::new(1).set("minSessionTimeout", "9000").set("maxSessionTimeout", "8000");
    fails(process.spawn(&data, free_port()), 2, &["minSessionTimeout", "9000", "8000"]);
}

#[test]
fn unknown_settings_are_warned_of() {
    if only_ringkeeper("it passes them on") {
        return;
    }
    let mut server = ServerConfig::new(1).set("noSuchSetting", "1").start();
    assert!(server.process().log().contains("noSuchSetting"));
    assert!(Session::open(server.address()).stat("/").is_some());
}

#[test]
fn a_port_in_use() {
    if only_ringkeeper("exit codes") {
        return;
    }
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let directory = temporary_directory();
    let mut process = ServerConfig::new(2).spawn(&directory.path().join("data"), port);
    let status = process.wait_for_exit(LIMIT);
    assert!(status.code().is_some_and(|code| code != 0), "{status}");
    assert!(process.log().contains(&port.to_string()), "{}", process.log());
}

#[test]
fn a_config_file() {
    if only_ringkeeper("every other test of the reference starts it so") {
        return;
    }
    let directory = temporary_directory();
    let file = directory.path().join("zoo.cfg");
    let port = free_port();
    let data = directory.path().join("data");
    let text = format!(
        "# a comment\ntickTime=500\ndataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n4lw.commands.whitelist=*\n",
        data.display()
    );
    std::fs::write(&file, &text).unwrap();
    let mut process = start_with(directory.path(), &file, port);
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let answer = crate::support::wait_for("the server of the file", LIMIT, || {
        assert!(process.exited().is_none(), "{}", process.log());
        crate::support::server::four_letter(address, b"conf").ok().filter(|text| text.contains("clientPort"))
    });
    assert!(answer.contains("tickTime=500\n") && answer.contains(&format!("clientPort={port}\n")), "{answer}");
    process.terminate();
    assert_eq!(process.wait_for_exit(LIMIT).code(), Some(0));
    // A wrong value is named with its key and line.
    std::fs::write(&file, text.replace("tickTime=500", "tickTime=half")).unwrap();
    fails(start_with(directory.path(), &file, port), 2, &["tickTime", "half", "line 2"]);
    fails(start_with(directory.path(), &directory.path().join("none.cfg"), port), 2, &["none.cfg"]);
}

fn start_with(scratch: &Path, file: &Path, port: u16) -> Process {
    let binary = crate::support::server::ringkeeper_binary().display().to_string();
    Process::spawn(&[binary, "serve".to_owned(), file.display().to_string()], scratch, port)
}
