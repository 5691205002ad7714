//! Servers that do not hear each other, or that one hears and the other does not.

use crate::cluster::{ANSWER_PATIENCE, Cluster, Kind, PATIENCE};
use crate::history::{self, Load};
use crate::network::{Network, in_own_network};
use crate::support::record::{self, op};
use crate::support::server::four_letter_within;
use crate::support::wait_for;
use crate::tree::{assert_equal, await_gone};

/// Writes between two events.
const PROGRESS: u64 = 200;

/// Three servers in a network, all serving.
fn three_servers() -> (Network, Cluster) {
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 3], 0);
    let network = Network::of(&mut cluster);
    cluster.start_all();
    (network, cluster)
}

/// The server says that it serves nobody.
fn await_silence(cluster: &Cluster, sid: usize) {
    wait_for(&format!("server {sid} to serve no more"), PATIENCE, || {
        let answer = four_letter_within(cluster.address(sid), b"srvr", ANSWER_PATIENCE).ok()?;
        answer.contains("not currently serving").then_some(())
    });
}

fn conclude(cluster: &mut Cluster, load: Load) {
    let all = cluster.all();
    load.await_progress(PROGRESS);
    let written = load.finish();
    history::check(cluster, &all, &written);
    assert_equal(cluster, &all);
    cluster.check_health();
}

#[test]
fn a_leader_without_its_followers_acknowledges_nothing() {
    in_own_network("partitions::a_leader_without_its_followers_acknowledges_nothing", || {
        let (network, mut cluster) = three_servers();
        let all = cluster.all();
        let leader = cluster.await_leader(&all);
        let followers = cluster.others(&[leader]);
        let mut stranded = cluster.session(leader);
        let load = Load::start(&cluster, 3);
        load.await_progress(PROGRESS);

        network.part(leader, &followers);
        assert_eq!(stranded.try_call(op::CREATE, &record::plain("/stranded", b"")), None, "nobody else has it");
        cluster.await_leader(&followers);
        load.await_progress(PROGRESS);
        await_silence(&cluster, leader);

        network.join(leader, &followers);
        cluster.await_mode(leader, "follower");
        // It had it in its log, and nobody else had.
        for sid in &all {
            await_gone(&mut cluster.session(*sid), "/stranded");
        }
        conclude(&mut cluster, load);
    });
}

#[test]
fn a_follower_that_is_cut_off_serves_nobody_and_comes_back() {
    in_own_network("partitions::a_follower_that_is_cut_off_serves_nobody_and_comes_back", || {
        let (network, mut cluster) = three_servers();
        let leader = cluster.await_leader(&cluster.all());
        let follower = cluster.others(&[leader])[0];
        let load = Load::start(&cluster, 3);
        load.await_progress(PROGRESS);

        network.part(follower, &cluster.others(&[follower]));
        await_silence(&cluster, follower);
        load.await_progress(PROGRESS);

        network.join(follower, &cluster.others(&[follower]));
        cluster.await_mode(follower, "follower");
        // It has not unseated the leader.
        cluster.await_mode(leader, "leader");
        conclude(&mut cluster, load);
    });
}

/// One of the two hears the other, and is not heard.
fn one_way(from_leader: bool) {
    let (network, mut cluster) = three_servers();
    let leader = cluster.await_leader(&cluster.all());
    let follower = cluster.others(&[leader])[0];
    let load = Load::start(&cluster, 3);
    load.await_progress(PROGRESS);

    let (from, to) = if from_leader { (leader, follower) } else { (follower, leader) };
    network.lose(from, to);
    await_silence(&cluster, follower);
    load.await_progress(PROGRESS);
    // The leader has a quorum all the time.
    cluster.await_mode(leader, "leader");

    network.heal(from, to);
    cluster.await_mode(follower, "follower");
    conclude(&mut cluster, load);
}

#[test]
fn a_follower_that_does_not_hear_the_leader() {
    in_own_network("partitions::a_follower_that_does_not_hear_the_leader", || one_way(true));
}

#[test]
fn a_follower_that_the_leader_does_not_hear() {
    in_own_network("partitions::a_follower_that_the_leader_does_not_hear", || one_way(false));
}
