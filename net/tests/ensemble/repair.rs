//! Members whose files are damaged: they take what they lack from the others, and count for nothing until they have it.

use crate::cluster::{Cluster, PATIENCE};
use crate::history::{self, Load};
use crate::joining::{check_alive, plant};
use crate::support::{pause, wait_for};
use crate::tree::assert_equal;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a damaged member says of itself.
const ABSTAINS: &str = "this server abstains from elections";
const REPAIRED: &str = "this server is repaired";
const MARK: &str = "repairing";

/// The files in a folder, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn are_aside(folder: &Path) -> bool {
    files(folder).iter().any(|file| file.to_str().unwrap().contains(".damaged"))
}

/// Flips a bit in the first file of a folder that has this text in it, there.
fn damage(folder: &Path, text: &[u8]) -> PathBuf {
    let found = files(folder).into_iter().filter(|file| file.is_file()).find_map(|file| {
        let content = fs::read(&file).unwrap();
        let at = content.windows(text.len()).position(|bytes| bytes == text)?;
        Some((file, at as u64, content[at]))
    });
    let (path, at, byte) = found.expect("the text is in some file");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[byte ^ 1], at).unwrap();
    file.sync_all().unwrap();
    path
}

/// Starts a damaged member beside the others and waits until it is whole.
fn repair(cluster: &mut Cluster, sid: usize) {
    cluster.start(sid);
    cluster.await_mode(sid, "follower");
    let log = cluster.process(sid).log();
    assert!(log.contains(ABSTAINS) && log.contains(REPAIRED) && log.contains("Set aside"), "{log}");
    assert!(!cluster.data(sid).join(MARK).exists());
}

#[test]
fn a_damaged_log_is_replaced_by_what_the_leader_has() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader])[0];
    let mut owner = cluster.session(leader);
    plant(&mut owner);
    let load = Load::start(&cluster, 3);
    load.await_progress(300);
    cluster.kill(follower);
    let wal = cluster.data(follower).join("wal");
    damage(&wal, b"/app/n150");
    load.await_progress(100);
    repair(&mut cluster, follower);
    assert!(are_aside(&wal), "{:?}", files(&wal));
    load.await_progress(100);
    let written = load.finish();
    assert_eq!(cluster.await_leader(&all), leader, "the leader has changed without a fault");
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    check_alive(&cluster, follower, 5);

    // It counts again: with it the others are a quorum, without the former leader.
    cluster.kill(leader);
    let others = cluster.others(&[leader]);
    let load = Load::start(&cluster, 2);
    load.await_progress(50);
    let written = load.finish();
    cluster.start(leader);
    cluster.await_serving(&[leader]);
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.await_leader(&others);

    // And starts again like any other.
    cluster.kill(follower);
    cluster.start(follower);
    cluster.await_serving(&[follower]);
    let log = cluster.process(follower).log();
    assert!(!log.contains(ABSTAINS), "{log}");
    assert_equal(&cluster, &all);
    cluster.check_health();
}

#[test]
fn a_damaged_partition_is_replaced_by_what_the_leader_has() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let follower = cluster.others(&[leader])[0];
    let mut owner = cluster.session(leader);
    plant(&mut owner);
    let load = Load::start(&cluster, 2);
    load.await_progress(100);
    // The stop makes a checkpoint of what is there.
    cluster.stop(follower);
    let data = cluster.data(follower);
    damage(&data.join("partitions"), b"changed");
    load.await_progress(100);
    repair(&mut cluster, follower);
    assert!(data.join("partitions.damaged").is_dir() && data.join("manifest.damaged").is_file());
    load.await_progress(50);
    let written = load.finish();
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    check_alive(&cluster, follower, 5);
    // A manifest can be damaged as well, and a member twice.
    cluster.stop(follower);
    fs::write(data.join("manifest"), b"no manifest").unwrap();
    repair(&mut cluster, follower);
    assert!(data.join("partitions.damaged.2").is_dir() && data.join("manifest.damaged.2").is_file());
    assert_equal(&cluster, &all);
    cluster.check_health();
}

/// Damage in a part of the log that a checkpoint has made dispensable keeps nobody from voting.
#[test]
fn damage_that_a_checkpoint_covers_is_left_out() {
    let mut cluster = Cluster::of(&[crate::cluster::Kind::Ringkeeper; 3], 0);
    for sid in cluster.all() {
        cluster.set(sid, "walSegmentBytes", "1048576");
    }
    cluster.start_all();
    let all = cluster.all();
    let follower = cluster.others(&[cluster.await_leader(&all)])[0];
    let mut owner = cluster.session(follower);
    plant(&mut owner);
    for number in 0..60 {
        owner.create(&format!("/large{number}"), &vec![number as u8; 60_000]);
    }
    cluster.stop(follower);
    let wal = cluster.data(follower).join("wal");
    damage(&wal, b"/app/n150");
    cluster.start(follower);
    cluster.await_mode(follower, "follower");
    let log = cluster.process(follower).log();
    assert!(log.contains("The checkpoint has all that was there") && !log.contains(ABSTAINS), "{log}");
    assert!(are_aside(&wal), "{:?}", files(&wal));
    assert_equal(&cluster, &all);
    cluster.check_health();
}

/// Of three servers two have lost something: the third alone is no quorum, and nothing that was acknowledged is forgotten.
#[test]
fn servers_that_have_lost_something_are_no_quorum() {
    let mut cluster = Cluster::serving(3);
    let all = cluster.all();
    let leader = cluster.await_leader(&all);
    let load = Load::start(&cluster, 3);
    load.await_progress(300);
    // What comes now is acknowledged by the two that will be damaged, and the third has none of it.
    let lagging = cluster.others(&[leader])[0];
    let damaged = cluster.others(&[lagging]);
    cluster.kill(lagging);
    load.await_progress(300);
    let written = load.finish();
    for sid in &damaged {
        cluster.kill(*sid);
    }
    let before: Vec<(PathBuf, Vec<u8>)> = damaged
        .iter()
        .flat_map(|sid| files(&cluster.data(*sid).join("wal")))
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect();
    for sid in &damaged {
        damage(&cluster.data(*sid).join("wal"), b"n00000020");
    }
    all.iter().for_each(|sid| cluster.start(*sid));
    for sid in &damaged {
        cluster.await_log(*sid, ABSTAINS);
        let log = cluster.process(*sid).log();
        assert!(log.contains("votes for nobody") && log.contains("restore a member from a backup"), "{log}");
    }
    // Time in which they could do wrong.
    pause(Duration::from_secs(3));
    for sid in &all {
        let log = cluster.process(*sid).log();
        assert!(!log.contains("this server leads"), "server {sid}: {log}");
        assert_eq!(cluster.mode(*sid), None, "server {sid} serves");
    }
    all.iter().for_each(|sid| cluster.kill(*sid));

    // With one log from a backup there is a quorum again, and it repairs the other.
    let (restored, other) = (damaged[0], damaged[1]);
    let wal = cluster.data(restored).join("wal");
    files(&wal).iter().for_each(|file| fs::remove_file(file).unwrap());
    before.iter().filter(|(file, _)| file.starts_with(&wal)).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
    fs::remove_file(cluster.data(restored).join(MARK)).unwrap();
    all.iter().for_each(|sid| cluster.start(*sid));
    cluster.await_serving(&all);
    wait_for("the other to be repaired", PATIENCE, || cluster.process(other).log().contains(REPAIRED).then_some(()));
    history::check(&cluster, &all, &written);
    assert_equal(&cluster, &all);
    cluster.check_health();
}
