//! kill -9 at random moments under load, many times on the same data directory.

use crate::on_one_and_four_shards;
use crate::support::record::{self, op};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::Session;
use crate::support::{Dice, is_reference, pause, seed_from, try_wait_for};
use crate::writer::{COUNTER, SHARED, Writer, read_subtree};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

on_one_and_four_shards!(what_was_acknowledged_survives_kill_9);

const WRITERS: usize = 5;

fn rounds() -> u64 {
    std::env::var("RINGKEEPER_CRASH_ROUNDS").map_or(15, |text| text.parse().expect("RINGKEEPER_CRASH_ROUNDS"))
}

fn what_was_acknowledged_survives_kill_9(shards: usize) {
    campaign(shards, |_| shards);
}

#[test]
fn the_number_of_shards_may_change_between_crashes() {
    if !is_reference() {
        campaign(2, |dice| 1 + dice.below(5) as usize);
    }
}

fn campaign(shards: usize, next_shards: impl Fn(&mut Dice) -> usize) {
    let seed = seed_from("RINGKEEPER_CRASH_SEED");
    println!("RINGKEEPER_CRASH_SEED={seed}");
    let mut dice = Dice::new(seed);
    // Snapshots and checkpoints fall due often.
    let mut server = ServerConfig::new(shards).set("snapCount", "1000").start();
    let mut setup = Session::open(server.address());
    setup.create(SHARED, b"");
    setup.create(COUNTER, b"");
    setup.close();
    let mut writers: Vec<Writer> = (0..WRITERS).map(|name| Writer::new(name, server.address())).collect();
    let mut zxids: BTreeSet<i64> = BTreeSet::new();
    let (mut total, mut settled) = (0, 0);
    for round in 0..rounds() {
        let answers = one_life(&mut server, &mut writers, &mut dice, round);
        total += answers;
        for writer in &mut writers {
            for zxid in writer.zxids.drain(..) {
                assert!(zxids.insert(zxid), "zxid {zxid:x} was given to two writes");
            }
        }
        if dice.below(3) == 0 {
            let waits: Vec<Duration> = (0..1 + dice.below(3)).map(|_| Duration::from_millis(dice.below(60))).collect();
            server.start_and_kill(&waits);
        }
        let shards = next_shards(&mut dice);
        server.restart_with_shards(shards);
        println!("round {round}: {answers} writes answered; verifying with {shards} shards");
        verify(&server, &mut writers, &mut dice, *zxids.last().unwrap(), &mut settled);
    }
    assert!(total > rounds() * 20, "the load must reach the server: {total} answers");
}

/// Load until the end: mostly SIGKILL after a random number of answers or a random time, at times SIGTERM.
fn one_life(server: &mut Server, writers: &mut [Writer], dice: &mut Dice, round: u64) -> u64 {
    let answers = AtomicU64::new(0);
    let wanted = dice.below(6_000);
    let limit = Duration::from_millis(20 + dice.below(700));
    let graceful = dice.below(8) == 0;
    let seed = dice.roll();
    std::thread::scope(|scope| {
        let answers = &answers;
        for (n, writer) in writers.iter_mut().enumerate() {
            let mut dice = Dice::new(seed ^ (round << 32) ^ n as u64);
            scope.spawn(move || writer.write_until_the_end(&mut dice, answers));
        }
        try_wait_for(limit, || (answers.load(Ordering::Relaxed) >= wanted).then_some(()));
        // At least something shall have been answered in most lives.
        try_wait_for(Duration::from_secs(2), || (answers.load(Ordering::Relaxed) > 0).then_some(()));
        pause(Duration::from_micros(dice.below(3_000)));
        if graceful {
            let status = server.stop();
            assert!(status.code() == Some(0) || is_reference(), "SIGTERM under load: {status}");
        } else {
            server.kill();
        }
    });
    answers.into_inner()
}

/// `settled` counts versions of the counter whose writes were never answered, up to the last verification.
fn verify(server: &Server, writers: &mut [Writer], dice: &mut Dice, highest: i64, settled: &mut usize) {
    let mut reader = Session::open(server.address());
    assert!(reader.zxid() > highest, "the zxid goes back behind what was answered");
    let shared = verify_shared(&mut reader);
    let (data, counter) = reader.get(COUNTER);
    assert!(data.is_some());
    let mut versions: Vec<i32> = writers.iter().flat_map(|writer| writer.counter.iter().copied()).collect();
    let answered = versions.len();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), answered, "two writes were answered the same version");
    assert!(versions.last().is_none_or(|last| *last <= counter.version), "the counter went back");
    // Every version was made by a write, answered now or earlier, or not answered.
    let unanswered: usize = writers.iter().map(Writer::unanswered_counters).sum();
    let unknown = counter.version as usize - answered;
    assert!(unknown >= *settled && unknown - *settled <= unanswered, "versions appear from nowhere");
    *settled = unknown;
    for writer in writers.iter_mut() {
        writer.come_back(server.address());
        writer.verify(&shared);
        if dice.below(3) == 0 {
            writer.change_session(server.address());
            writer.verify(&shared);
        }
    }
}

/// Sequential nodes of all writers: numbers without gap or repetition. Returns their names by data.
fn verify_shared(reader: &mut Session) -> BTreeMap<Vec<u8>, String> {
    let seen = read_subtree(reader, SHARED);
    let stat = seen[SHARED].1;
    let count = seen.len() - 1;
    assert_eq!((stat.children as usize, stat.cversion as usize), (count, count));
    let mut by_data = BTreeMap::new();
    let names: Vec<&String> = seen.keys().filter(|path| *path != SHARED).collect();
    for (number, name) in names.iter().enumerate() {
        assert_eq!(**name, format!("{SHARED}/s-{number:010}"), "sequence numbers without gap");
        let (data, stat) = &seen[*name];
        assert_eq!(stat.version, 0);
        assert!(by_data.insert(data.clone(), (*name).clone()).is_none(), "one write took effect twice");
    }
    assert_eq!(reader.call(op::GET_ALL_CHILDREN_NUMBER, &record::path(SHARED)).int() as usize, count);
    by_data
}
