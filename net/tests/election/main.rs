//! Leader elections together with Apache ZooKeeper's own servers (`FastLeaderElection` of Debian's `zookeeper`).
//!
//! Ringkeeper's part is the election port alone; nothing answers on its quorum port. What it elects, and what the others
//! make of its votes, is what these tests are about.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod driver;

use driver::Driver;
use replication::peer::ensemble::Ensemble;
use replication::peer::wire::notification::PeerState;
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::server::{Process, class_path, free_port, server_jars, temporary_directory};
use support::tools::has_java;
use support::wait_for;

/// Servers 1 to 3 on free ports of this machine.
fn ensemble(third: &str) -> Ensemble {
    let line = |sid: i64, role: &str| format!("server.{sid}=127.0.0.1:{}:{}:{role}\n", free_port(), free_port());
    let text = [line(1, "participant"), line(2, "participant"), line(3, third), "version=0".to_owned()].concat();
    Ensemble::parse(&text).unwrap()
}

/// Starts Apache ZooKeeper as member `sid`.
fn java(sid: i64, ensemble: &Ensemble, directory: &Path) -> Process {
    let (data, port) = (directory.join(format!("data-{sid}")), free_port());
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("myid"), sid.to_string()).unwrap();
    let file = directory.join(format!("zoo-{sid}.cfg"));
    let servers: String = ensemble.members().iter().map(|(sid, member)| format!("server.{sid}={member}\n")).collect();
    let own = format!("dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\n", data.display());
    // Short limits: a leader whose quorum port is silent is given up soon.
    let common = "tickTime=500\ninitLimit=10\nsyncLimit=4\nadmin.enableServer=false\n4lw.commands.whitelist=*\n";
    fs::write(&file, format!("{own}{common}{servers}")).unwrap();
    let options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
    let mut words = vec!["java".to_owned()];
    words.extend(options.map(str::to_owned));
    words.push("-Dorg.slf4j.simpleLogger.defaultLogLevel=info".to_owned());
    words.extend(["-cp".to_owned(), class_path(server_jars())]);
    words.push("org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned());
    words.push(file.display().to_string());
    Process::spawn(&words, &directory.join(format!("scratch-{sid}")), port)
}

fn wait_for_log(server: &Process, text: &str) {
    wait_for(text, Duration::from_secs(90), || server.log().contains(text).then_some(()));
}

/// The smallest of three, started with two Java servers, and started again beside the established ensemble; then the
/// leader dies.
#[test]
fn follows_whom_java_servers_elect() {
    if !has_java() {
        return;
    }
    let (ensemble, directory) = (ensemble("participant"), temporary_directory());
    let driver = Driver::start(1, &ensemble);
    driver.look(0, 0);
    let three = java(3, &ensemble, directory.path());
    let elected = driver.elected("with server 3 alone");
    assert_eq!((elected.leader, elected.state), (3, PeerState::Following));
    let two = java(2, &ensemble, directory.path());
    wait_for_log(&three, "LEADING - LEADER ELECTION TOOK");
    wait_for_log(&two, "FOLLOWING - LEADER ELECTION TOOK");
    // From here on their votes name the new epoch.
    wait_for_log(&three, "leading - broadcast");
    wait_for_log(&two, "following - broadcast");
    drop(driver);

    let driver = Driver::start(1, &ensemble);
    driver.look(0, 0);
    let elected = driver.elected("beside an established ensemble");
    assert_eq!((elected.leader, elected.state), (3, PeerState::Following));
    let epoch = elected.vote.peer_epoch;
    assert!(epoch >= 1, "the epoch that the others are in");

    drop(three);
    // Words that server 3 has left behind may be believed once more.
    let elected = (0..5).find_map(|_| {
        driver.look(0, 0);
        Some(driver.elected("after the leader's death")).filter(|elected| elected.leader != 3)
    });
    assert_eq!(elected.map(|elected| (elected.leader, elected.state)), Some((2, PeerState::Following)));
    // With more than server 2 has, this server is elected, by its vote and that of server 2.
    let zxid = (epoch << 32) + 0x10;
    driver.look(zxid, epoch);
    let elected = driver.elected("with the longer history");
    assert_eq!((elected.leader, elected.state), (1, PeerState::Leading));
    assert_eq!((elected.vote.zxid, elected.vote.peer_epoch), (zxid, epoch));
}

/// A Java server gives its vote to the larger number, and believes that it leads.
#[test]
fn a_java_server_elects_this_one() {
    if !has_java() {
        return;
    }
    let (ensemble, directory) = (ensemble("participant"), temporary_directory());
    let driver = Driver::start(3, &ensemble);
    driver.look(0, 0);
    let one = java(1, &ensemble, directory.path());
    let elected = driver.elected("with server 1");
    assert_eq!((elected.leader, elected.state), (3, PeerState::Leading));
    wait_for_log(&one, "FOLLOWING - LEADER ELECTION TOOK");
}

#[test]
fn an_observer_learns_of_a_java_leader() {
    if !has_java() {
        return;
    }
    let (ensemble, directory) = (ensemble("observer"), temporary_directory());
    let driver = Driver::start(3, &ensemble);
    driver.look(0, 0);
    let _one = java(1, &ensemble, directory.path());
    let two = java(2, &ensemble, directory.path());
    let elected = driver.elected("while the two elect");
    assert_eq!((elected.leader, elected.state), (2, PeerState::Observing));
    wait_for_log(&two, "LEADING - LEADER ELECTION TOOK");
    drop(driver);
    let driver = Driver::start(3, &ensemble);
    driver.look(0, 0);
    let elected = driver.elected("beside an established ensemble");
    assert_eq!((elected.leader, elected.state), (2, PeerState::Observing));
}
