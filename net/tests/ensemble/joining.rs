//! Servers that come late: by DIFF, by SNAP, and again on what they took.

use crate::cluster::{Cluster, call_all};
use crate::history::{self, Load};
use crate::support::record::{self, err, mode, op};
use crate::support::session::Session;
use crate::tree::{READER, assert_equal, await_gone};
use std::fs;

/// The ACLs that only [`READER`] may read behind.
fn closed() -> Vec<record::Entry<'static>> {
    vec![(31, "auth", "")]
}

/// A tree with one of everything. The ephemeral is the session's.
pub fn plant(session: &mut Session) {
    session.auth("digest", READER);
    session.create("/app", b"root of all");
    for number in 0..300 {
        session.create(&format!("/app/n{number:03}"), &vec![number as u8; number * 7 % 900]);
    }
    for number in (0..300).step_by(7) {
        session.delete(&format!("/app/n{number:03}"));
    }
    for number in (1..300).step_by(7) {
        session.set(&format!("/app/n{number:03}"), b"changed");
    }
    let secret = record::create("/app/secret", Some(b"hidden"), &closed(), mode::PERSISTENT);
    assert_eq!(session.call(op::CREATE, &secret).path(), "/app/secret");
    let read_only = record::set_acl("/app/n001", &[(1, "world", "anyone"), (31, "auth", "")], -1);
    assert_eq!(session.call(op::SET_ACL, &read_only).err, err::OK);
    session.create_as("/app/ephemeral", mode::EPHEMERAL);
    session.create_as("/app/sequence-", mode::SEQUENTIAL);
    let container = record::create("/app/container", Some(b""), record::OPEN, mode::CONTAINER);
    assert_eq!(session.call(op::CREATE_CONTAINER, &container).path(), "/app/container");
    session.create("/app/container/child", b"");
    let ttl = record::create_ttl("/app/ttl", mode::TTL, 3_600_000);
    assert_eq!(session.call(op::CREATE_TTL, &ttl).path(), "/app/ttl");
    session.create("/app/limited", b"");
    for path in ["/zookeeper/quota/app", "/zookeeper/quota/app/limited"] {
        session.create(path, b"");
    }
    session.create("/zookeeper/quota/app/limited/zookeeper_limits", b"count=20,bytes=5000");
    session.create("/zookeeper/quota/app/limited/zookeeper_stats", b"count=1,bytes=0");
    for number in 0..5 {
        session.create(&format!("/app/limited/l{number}"), b"twelve bytes");
    }
}

/// What [`plant`] leaves is alive on a server and not only shown: the ACL keeps strangers out, the sequence goes on.
pub fn check_alive(cluster: &Cluster, sid: usize, next: usize) {
    let mut stranger = cluster.session(sid);
    assert_eq!(stranger.call(op::SYNC, &record::path("/")).err, err::OK);
    assert_eq!(stranger.err(op::GET_DATA, &record::read("/app/secret", false)), err::NO_AUTH);
    assert_eq!(stranger.err(op::SET_DATA, &record::set_data("/app/n001", b"", -1)), err::NO_AUTH);
    let name = stranger.create_as("/app/limited/s-", mode::EPHEMERAL_SEQUENTIAL);
    assert_eq!(name, format!("/app/limited/s-{next:010}"), "on server {sid}");
    stranger.close();
}

#[test]
fn a_follower_that_was_down_comes_back_by_diff() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader])[0];
    let load = Load::start(&cluster, 4);
    load.await_progress(200);
    cluster.kill(follower);
    load.await_progress(3_000);
    cluster.start(follower);
    cluster.await_mode(follower, "follower");
    load.await_progress(200);
    let written = load.finish();
    assert_eq!(cluster.await_leader(&all), leader, "the leader has changed without a fault");
    assert!(cluster.process(leader).log().contains(&format!("synchronised by Diff sid={follower}")));
    assert!(!cluster.process(leader).log().contains("synchronised by Snap"));
    assert!(history::total(&written) >= 3_400);
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}

/// Overwrites a few nodes with so many values of this size.
fn overwrite(session: &mut Session, count: usize, size: usize) {
    let nodes = 10;
    for node in 0..nodes {
        session.create(&format!("/over{node}-{count}"), b"");
    }
    let set = |number: usize| {
        let path = format!("/over{}-{count}", number % nodes);
        (op::SET_DATA, record::set_data(&path, &vec![number as u8; size], -1))
    };
    let requests: Vec<(i32, Vec<u8>)> = (0..count).map(set).collect();
    for window in requests.chunks(20) {
        assert!(call_all(session, window).iter().all(|reply| reply.err == err::OK));
    }
}

/// More than 32 MiB, and more than 500 transactions: that much is kept in memory.
#[test]
fn a_follower_that_lacks_more_than_memory_holds_comes_back_by_diff() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader])[0];
    let load = Load::start(&cluster, 2);
    load.await_progress(50);
    cluster.kill(follower);
    overwrite(&mut cluster.session(leader), 1_100, 40_000);
    cluster.start(follower);
    cluster.await_mode(follower, "follower");
    load.await_progress(50);
    let written = load.finish();
    assert_eq!(cluster.await_leader(&all), leader, "the leader has changed without a fault");
    let log = cluster.process(leader).log();
    assert!(log.contains(&format!("synchronised by Diff from the log on disk sid={follower}")), "{log}");
    assert!(!log.contains("synchronised by Snap"), "{log}");
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}

/// A leader that was started again remembers nothing of before, and its log all the same; unless it is forbidden to read it.
#[test]
fn a_leader_that_was_started_again_serves_from_its_log() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let follower = cluster.others(&[cluster.await_leader(&all)])[0];
    let others = cluster.others(&[follower]);
    for (round, how) in [(1, "Diff from the log on disk"), (2, "Snap")] {
        cluster.kill(follower);
        overwrite(&mut cluster.session(others[0]), 500 + round, 100);
        for sid in &others {
            // Each ends with a checkpoint, and begins with nothing behind it.
            cluster.stop(*sid);
            if round == 2 {
                cluster.set(*sid, "snapshotSizeFactor", "-1");
            }
        }
        others.iter().for_each(|sid| cluster.start(*sid));
        cluster.await_serving(&others);
        let leader = cluster.await_leader(&others);
        cluster.start(follower);
        cluster.await_mode(follower, "follower");
        let log = cluster.process(leader).log();
        assert!(log.contains(&format!("synchronised by {how} sid={follower}")), "round {round}: {log}");
        assert_equal(&cluster, &all);
    }
    cluster.check_health();
}

#[test]
fn a_follower_without_data_joins_by_snapshot() {
    let mut cluster = Cluster::of(&[crate::cluster::Kind::Ringkeeper; 3], 0);
    for sid in cluster.all() {
        cluster.set(sid, "forceSnapshotSync", "true");
    }
    cluster.start_all();
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader])[0];
    let mut owner = cluster.session(leader);
    plant(&mut owner);
    assert_equal(&cluster, &all);
    cluster.kill(follower);
    fs::remove_dir_all(cluster.data(follower)).unwrap();
    let load = Load::start(&cluster, 2);
    load.await_progress(100);
    cluster.start(follower);
    cluster.await_mode(follower, "follower");
    load.await_progress(100);
    let mut written = load.finish();
    assert!(cluster.process(leader).log().contains(&format!("synchronised by Snap sid={follower}")));
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    check_alive(&cluster, follower, 5);

    // What it took survives its own end, also ahead of the renaming of its manifest: the log goes with it. A manifest that
    // the log does not go with is dropped.
    cluster.kill(follower);
    let data = cluster.data(follower);
    let (manifest, next) = (data.join("manifest"), data.join("manifest.next"));
    fs::rename(&manifest, &next).unwrap();
    let former = fs::read(&next).unwrap();
    for outcome in ["became the state when this server stopped", "did not become the state"] {
        cluster.start(follower);
        cluster.await_mode(follower, "follower");
        let log = cluster.process(follower).log();
        assert!(log.contains(outcome), "{log}");
        assert!(!next.exists());
        history::check(&cluster, &all, &written);
        assert_equal(&cluster, &all);
        cluster.kill(follower);
        fs::write(&next, &former).unwrap();
    }
    cluster.start(follower);
    cluster.await_mode(follower, "follower");
    // The end of all.
    for sid in &all {
        cluster.kill(*sid);
    }
    cluster.start_all();
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    check_alive(&cluster, follower, 6);

    // The session lives through all of it, and its end is seen by all.
    let owner = crate::cluster::open(&[cluster.address(follower)], &owner.hello());
    owner.close();
    for sid in &all {
        await_gone(&mut cluster.session(*sid), "/app/ephemeral");
    }
    let load = Load::start(&cluster, 2);
    load.await_progress(100);
    written.extend(load.finish());
    assert_equal(&cluster, &all);
    cluster.check_health();
}
