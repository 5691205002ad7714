//! Ensembles of Ringkeeper and Apache ZooKeeper servers.

use crate::cluster::{Cluster, Kind, open};
use crate::history::{self, Load};
use crate::joining::{check_alive, plant};
use crate::support::tools::has_java;
use crate::tree::{assert_equal, await_gone};
use Kind::{Java, Ringkeeper};
use std::fs;

/// An ensemble of two Java voters, a Ringkeeper voter and a Ringkeeper observer; a Java server leads. The Ringkeeper
/// servers are emptied and join again by snapshot.
#[test]
fn their_leader_with_our_follower_and_observer() {
    if !has_java() {
        return;
    }
    let mut cluster = Cluster::of(&[Java, Ringkeeper, Java, Ringkeeper], 1);
    cluster.start(1);
    cluster.start(3);
    cluster.await_mode(3, "leader");
    cluster.start(2);
    cluster.start(4);
    cluster.await_mode(2, "follower");
    cluster.await_mode(4, "observer");
    join_again(cluster, 3, &[2, 4]);
}

/// A Ringkeeper server leads a Java voter and a Java observer, which are emptied and join again by snapshot.
#[test]
fn our_leader_with_their_follower_and_observer() {
    if !has_java() {
        return;
    }
    let mut cluster = Cluster::of(&[Java, Ringkeeper, Ringkeeper, Java], 1);
    for sid in [2, 3] {
        cluster.set(sid, "forceSnapshotSync", "true");
    }
    cluster.start(2);
    cluster.start(3);
    cluster.await_mode(3, "leader");
    cluster.start(1);
    cluster.start(4);
    cluster.await_mode(1, "follower");
    cluster.await_mode(4, "observer");
    join_again(cluster, 3, &[1, 4]);
}

/// Load through all; the joiners lose their data and come back; all show the same.
fn join_again(mut cluster: Cluster, leader: usize, joiners: &[usize]) {
    let all = cluster.all();
    let mut owner = cluster.session(leader);
    plant(&mut owner);
    let load = Load::start(&cluster, 4);
    load.await_progress(300);
    for sid in joiners {
        cluster.kill(*sid);
        fs::remove_dir_all(cluster.data(*sid)).unwrap();
        load.await_progress(100);
        cluster.start(*sid);
        cluster.await_serving(&[*sid]);
    }
    load.await_progress(200);
    let mut written = load.finish();
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    for (count, sid) in all.iter().enumerate() {
        check_alive(&cluster, *sid, 5 + count);
    }

    // What they took survives their own end.
    for sid in joiners {
        cluster.stop(*sid);
        cluster.start(*sid);
    }
    cluster.await_serving(joiners);
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    assert_eq!(cluster.mode(leader).as_deref(), Some("leader"));

    let owner = open(&[cluster.address(joiners[0])], &owner.hello());
    owner.close();
    for sid in &all {
        await_gone(&mut cluster.session(*sid), "/app/ephemeral");
    }
    let load = Load::start(&cluster, 4);
    load.await_progress(200);
    written.extend(load.finish());
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}

/// The lead goes from one kind to the other and back, under load.
#[test]
fn leaders_of_both_kinds_follow_each_other() {
    if !has_java() {
        return;
    }
    let mut cluster = Cluster::of(&[Ringkeeper, Java, Ringkeeper], 0);
    cluster.start_all();
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    let mut kinds = Vec::new();
    // The highest of those with the longest log is elected: the one that was killed comes back and waits.
    for _ in 0..4 {
        load.await_progress(200);
        let leader = cluster.await_leader(&all);
        kinds.push(cluster.member(leader).kind);
        cluster.kill(leader);
        cluster.await_leader(&cluster.others(&[leader]));
        load.await_progress(100);
        cluster.start(leader);
        cluster.await_serving(&all);
    }
    let written = load.finish();
    assert!(kinds.contains(&Ringkeeper), "{kinds:?}");
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}
