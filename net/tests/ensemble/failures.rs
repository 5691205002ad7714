//! Servers killed and paused under load: nothing acknowledged is lost, and all are equal in the end.

use crate::cluster::{Cluster, Kind, PATIENCE};
use crate::history::{self, Load};
use crate::support::disk::SmallDisk;
use crate::support::record::{self, err, op};
use crate::support::skip;
use crate::tree::assert_equal;

/// Writes between two faults.
const PROGRESS: u64 = 300;

#[test]
fn the_leader_and_a_follower_are_killed_under_load() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    load.await_progress(PROGRESS);
    let first = cluster.await_leader(&all);
    cluster.kill(first);
    load.await_progress(PROGRESS);
    let second = cluster.await_leader(&cluster.others(&[first]));
    cluster.start(first);
    cluster.await_mode(first, "follower");
    load.await_progress(PROGRESS);

    let follower = cluster.others(&[second])[0];
    cluster.kill(follower);
    load.await_progress(PROGRESS);
    cluster.start(follower);
    cluster.await_mode(follower, "follower");
    load.await_progress(PROGRESS);

    history::conclude(&mut cluster, &all, load);
}

#[test]
fn all_are_killed_at_once_under_load() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    for _ in 0..2 {
        load.await_progress(PROGRESS);
        for sid in &all {
            cluster.kill(*sid);
        }
        cluster.start_all();
    }
    load.await_progress(PROGRESS);
    let written = load.finish();
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);

    // An orderly stop of all keeps it as well.
    for sid in &all {
        cluster.stop(*sid);
    }
    cluster.start_all();
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}

/// Every server that comes back takes a snapshot, from a leader that has just restarted itself and has applied less than
/// its log holds; and some are killed while they take it.
#[test]
fn all_are_killed_while_snapshots_are_taken() {
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 3], 0);
    for sid in cluster.all() {
        cluster.set(sid, "forceSnapshotSync", "true");
    }
    cluster.start_all();
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    for round in 0..3 {
        load.await_progress(PROGRESS);
        for sid in &all {
            cluster.kill(*sid);
        }
        for sid in &all {
            cluster.start(*sid);
        }
        let again = all[round % all.len()];
        cluster.await_log(again, "an election has ended");
        cluster.kill(again);
        cluster.start(again);
        cluster.await_serving(&all);
    }
    load.await_progress(PROGRESS);
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn a_paused_leader_is_replaced_and_joins_again() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let load = Load::start(&cluster, 3);
    load.await_progress(PROGRESS);
    let paused = cluster.await_leader(&all);
    cluster.pause(paused);
    let next = cluster.await_leader(&cluster.others(&[paused]));
    load.await_progress(PROGRESS);
    cluster.resume(paused);
    cluster.await_mode(paused, "follower");
    assert_eq!(cluster.mode(next).as_deref(), Some("leader"));
    load.await_progress(PROGRESS);
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn a_paused_follower_does_not_hold_up_the_others() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let paused = cluster.others(&[leader])[0];
    let load = Load::start(&cluster, 3);
    load.await_progress(PROGRESS);
    cluster.pause(paused);
    load.await_progress(PROGRESS);
    cluster.await_log(leader, "a learner is disconnected");
    load.await_progress(PROGRESS);
    cluster.resume(paused);
    cluster.await_mode(paused, "follower");
    load.await_progress(PROGRESS);
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn all_are_restarted_one_after_the_other() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let load = Load::start(&cluster, 3);
    let mut order = cluster.others(&[leader]);
    order.push(leader);
    for sid in order {
        load.await_progress(PROGRESS);
        cluster.stop(sid);
        load.await_progress(PROGRESS);
        cluster.start(sid);
        cluster.await_mode(sid, "follower");
    }
    load.await_progress(PROGRESS);
    history::conclude(&mut cluster, &all, load);
}

#[test]
fn a_full_disk_ends_one_server_alone() {
    let Some(disk) = SmallDisk::new(160) else { return skip("mounting a tmpfs is not permitted here") };
    let mut cluster = Cluster::of(&[Kind::Ringkeeper; 3], 0);
    // Not the highest number, which is elected.
    let full = 1;
    cluster.store(full, disk.path(), disk.inside());
    cluster.start_all();
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    assert_ne!(leader, full);
    let load = Load::start(&cluster, 3);
    load.await_progress(PROGRESS);
    let mut session = cluster.session(leader);
    let mut count = 0;
    while cluster.process(full).exited().is_none() {
        assert!(count < 2_000, "800 MB cannot fit");
        session.create(&format!("/large-{count}"), &vec![7; 400_000]);
        count += 1;
    }
    let status = cluster.process(full).wait_for_exit(PATIENCE);
    let log = cluster.process(full).log();
    assert!(status.code().is_some_and(|code| code != 0), "{status}\n{log}");
    assert!(log.to_lowercase().contains("space"), "the message does not say what is missing:\n{log}");

    load.await_progress(PROGRESS);
    cluster.await_mode(leader, "leader");
    // The trees are compared in the end: a few large nodes are enough for that.
    for number in 3..count {
        assert_eq!(session.err(op::DELETE, &record::path_int(&format!("/large-{number}"), -1)), err::OK);
    }
    disk.remount("size=2000m");
    cluster.start(full);
    cluster.await_mode(full, "follower");
    load.await_progress(PROGRESS);
    history::conclude(&mut cluster, &all, load);
}
