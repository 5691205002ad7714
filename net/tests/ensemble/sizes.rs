//! Observers, and five servers.

use crate::cluster::{Cluster, Kind};
use crate::history::{self, Load};

#[test]
fn an_observer_serves_and_has_no_vote() {
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 4], 1);
    cluster.start_all();
    let all = cluster.all();
    cluster.await_mode(4, "observer");
    let load = Load::start(&cluster, 4);
    load.await_progress(300);
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader, 4])[0];
    // With one voter and the observer there is no quorum.
    cluster.kill(follower);
    load.await_progress(300);
    cluster.kill(leader);
    let last = cluster.others(&[leader, follower, 4])[0];
    for sid in [4, last] {
        crate::support::wait_for("the end of the quorum", crate::cluster::PATIENCE, || {
            cluster.mode(sid).is_none().then_some(())
        });
    }
    cluster.start(follower);
    cluster.await_mode(4, "observer");
    load.await_progress(300);
    cluster.start(leader);
    cluster.await_serving(&all);
    cluster.kill(4);
    load.await_progress(300);
    cluster.start(4);
    cluster.await_mode(4, "observer");
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn five_servers_go_on_without_two() {
    let mut cluster = Cluster::serving(5);
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    load.await_progress(200);
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader])[0];
    cluster.kill(follower);
    cluster.kill(leader);
    load.await_progress(200);
    cluster.start(leader);
    cluster.start(follower);
    cluster.await_serving(&all);
    load.await_progress(200);
    history::conclude(&mut cluster, &all, load);
}
