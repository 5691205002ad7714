//! A running ensemble goes over from Apache ZooKeeper to Ringkeeper and back, one server at a time, as the README says.

use crate::cluster::{Cluster, Kind, PATIENCE, open};
use crate::history::{self, Load};
use crate::joining::{check_alive, plant};
use crate::support::server::{ServerConfig, free_port, ringkeeper_binary};
use crate::support::session::Session;
use crate::support::tools::has_java;
use crate::support::wait_for;
use crate::tree::{assert_equal, await_gone};
use std::fs;
use std::path::Path;
use std::process::Command;

/// How a server that goes back gets its data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the leader, into an empty directory.
    Snapshot,
    /// From the directory that the other program has left.
    Files,
}

/// The servers in the order in which they go over: the leader last, so that there is one election alone.
fn order(cluster: &Cluster) -> [usize; 3] {
    let leader = cluster.await_leader(&cluster.all());
    let followers = cluster.others(&[leader]);
    for sid in &followers {
        cluster.await_mode(*sid, "follower");
    }
    [followers[0], followers[1], leader]
}

/// `ringkeeper export`.
fn export(from: &Path, to: &Path) {
    let mut command = Command::new(ringkeeper_binary());
    command.args(["export", "--set", "extendedTypesEnabled=true", "--data-dir"]).arg(from).arg("--to").arg(to);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}", output.status);
}

/// With the other program's data directory Ringkeeper does not start; it says what to do instead.
fn check_refused(data: &Path) {
    let files = || {
        let mut names: Vec<_> = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = files();
    let mut refused = ServerConfig::new(1).spawn(data, free_port());
    let status = refused.wait_for_exit(PATIENCE);
    assert_eq!((status.code(), refused.log().contains("ringkeeper import")), (Some(3), true), "{}", refused.log());
    assert_eq!(files(), before, "a start that is refused leaves the directory as it was");
}

/// Clients that are connected throughout.
struct Clients {
    load: Load,
    /// Owns an ephemeral node.
    owner: Session,
}

impl Clients {
    /// The clients write on all through it; then all servers have all that was acknowledged, and are equal, and the
    /// owner's session goes on where it likes.
    fn go_through(&mut self, cluster: &mut Cluster, sid: usize) {
        let all = cluster.all();
        cluster.await_serving(&[sid]);
        cluster.await_leader(&all);
        for other in &all {
            wait_for("all to lead or to follow", PATIENCE, || {
                matches!(cluster.mode(*other).as_deref(), Some("leader" | "follower")).then_some(())
            });
        }
        self.load.await_progress(100);
        self.load.at_rest(|written| {
            history::check(cluster, &all, written);
            assert_equal(cluster, &all);
        });
        self.owner = open(&[cluster.address(sid)], &self.owner.hello());
        assert_eq!(self.owner.stat("/app/ephemeral").map(|stat| stat.owner), Some(self.owner.id));
        cluster.check_health();
    }
}

#[test]
fn a_running_ensemble_goes_over_and_back() {
    if !has_java() {
        return;
    }
    let mut cluster = Cluster::of(&[Kind::Java; 3], 0);
    cluster.start_all();
    let all = cluster.all();
    let mut owner = cluster.session(1);
    plant(&mut owner);
    let mut clients = Clients { load: Load::start(&cluster, 3), owner };
    clients.load.await_progress(100);

    for sid in order(&cluster) {
        cluster.stop(sid);
        let left = cluster.migrate(sid);
        check_refused(&left);
        cluster.start(sid);
        clients.go_through(&mut cluster, sid);
    }
    assert!(all.iter().all(|sid| cluster.member(*sid).kind == Kind::Ringkeeper));
    for (count, sid) in all.iter().enumerate() {
        check_alive(&cluster, *sid, 5 + count);
    }

    // And back: one by its files, the others by a snapshot.
    for (sid, way) in order(&cluster).into_iter().zip([Way::Files, Way::Snapshot, Way::Snapshot]) {
        cluster.stop(sid);
        let left = cluster.migrate_back(sid);
        if way == Way::Files {
            export(&left, &cluster.data(sid));
        }
        cluster.start(sid);
        clients.go_through(&mut cluster, sid);
    }
    assert!(all.iter().all(|sid| cluster.member(*sid).kind == Kind::Java));
    for (count, sid) in all.iter().enumerate() {
        check_alive(&cluster, *sid, 8 + count);
    }

    let Clients { load, owner } = clients;
    let written = load.finish();
    owner.close();
    for sid in &all {
        await_gone(&mut cluster.session(*sid), "/app/ephemeral");
    }
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}
