//! Whole ensembles in virtual time: members with their roles, logs and shards, the code that ships, on disks that lose
//! what was not flushed and fail, with clocks that jump, joined by a network that delays, cuts and breaks, used by clients
//! that move about. A run is its seed. After every step [`checker`] and [`clients`] hold the servers to what they have
//! promised: what takes effect, every reply and every watch event is compared with a model that is given the same requests.
//! In the end a quorum heals, and must go on; then everybody, and must become one again.
//!
//! `RINGKEEPER_ENSEMBLE_SEEDS=10000 cargo test --release -p replication simulation::ensemble` runs a campaign, from
//! `RINGKEEPER_ENSEMBLE_FIRST` on, for `RINGKEEPER_ENSEMBLE_SECONDS` at the most, and until `RINGKEEPER_ENSEMBLE_FAILURES`
//! seeds (1, if not given) have failed. A failure shows what happened and names its seed; `RINGKEEPER_ENSEMBLE_SEED=N` runs
//! that one alone.

#![allow(clippy::unwrap_used)]

mod checker;
mod clients;
mod met;
mod server;
mod world;

use crate::peer::mistake::Mistake;
use met::Met;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use world::{Scenario, World};

/// What must have happened in any share of seeds that is worth running.
const WANTED: &[&str] = &[
    "transactions",
    "answers",
    "failed writes",
    "multis",
    "reads",
    "syncs",
    "watch events",
    "restored watches",
    "owed events",
    "moves",
    "refused sessions",
    "expiries",
    "elections",
    "DIFF",
    "TRUNC",
    "log reads",
    "SNAP",
    "installed snapshots",
    "checkpoints",
    "crashes",
    "lost pages",
    "disk errors",
    "loud stops",
    "partitions",
    "one-way losses",
    "isolated leaders",
    "pauses",
    "clock jumps",
    "compared states",
    "reconfigurations",
    "drifting clocks",
    "overtaken messages",
    "torn batches",
    "full disks",
    "decayed disks",
    "covered damage",
    "things set aside",
    "repaired members",
    "read configurations",
    "read ACLs",
    "refused reads",
    "counts of descendants",
    "multireads",
    "listed ephemerals",
    "late requests",
    "later commits",
    "decayed disks of changing members",
];

/// Seeds in any run of all tests.
const SHARE: u64 = 64;

fn scenario(seed: u64, mistake: Option<Mistake>) -> Scenario {
    let (voters, observers, spares) = [(3, 0, 0), (3, 1, 0), (5, 0, 0), (3, 0, 2)][(seed % 4) as usize];
    let decays = matches!(seed % 4, 0 | 2);
    let reconfigures = seed % 4 == 3 || matches!(seed % 16, 2 | 5 | 8 | 10 | 13);
    let has_busy_cores = seed % 5 == 1;
    let commit_step = match seed % 7 {
        1 => 1,
        5 => 3,
        _ => usize::MAX,
    };
    let history_bytes_max = [64 << 20, 64 << 20, 8 << 10][(seed % 3) as usize];
    Scenario {
        voters,
        observers,
        spares,
        reconfigures,
        decays,
        has_busy_cores,
        commit_step,
        history_bytes_max,
        mistake,
    }
}

/// The end of a run, and the world that it leaves.
fn simulate(seed: u64, mistake: Option<Mistake>, traced: bool) -> (Result<Met, String>, World) {
    let mut world = World::new(seed, scenario(seed, mistake), traced).unwrap();
    let end = catch_unwind(AssertUnwindSafe(|| world.run()));
    (end.unwrap_or_else(|_| Err("it panics".to_owned())), world)
}

/// The run of a seed, and its fingerprint.
fn run(seed: u64, mistake: Option<Mistake>) -> (Result<Met, String>, u64) {
    let (end, world) = simulate(seed, mistake, false);
    (end, world.fingerprint())
}

/// What happened up to the end of a run.
fn trace(seed: u64, mistake: Option<Mistake>) -> String {
    let (end, world) = simulate(seed, mistake, true);
    let end = end.map(|met| met.to_string());
    format!("{}\nseed {seed}: {end:?}", world.into_trace().join("\n"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn ensembles_keep_their_promises_whatever_breaks() {
    if let Some(seed) = number("RINGKEEPER_ENSEMBLE_SEED") {
        println!("{}", trace(seed, None));
        run(seed, None).0.unwrap();
        return;
    }
    let (begun, first) = (Instant::now(), number("RINGKEEPER_ENSEMBLE_FIRST").unwrap_or(0));
    let seconds = number("RINGKEEPER_ENSEMBLE_SECONDS").unwrap_or(u64::MAX);
    let failures = number("RINGKEEPER_ENSEMBLE_FAILURES").unwrap_or(1) as usize;
    let (mut met, mut failed, mut count) = (Met::default(), Vec::new(), 0);
    for seed in first..first + number("RINGKEEPER_ENSEMBLE_SEEDS").unwrap_or(SHARE) {
        match run(seed, None).0 {
            Ok(of_run) => met.add(&of_run),
            Err(violation) => {
                println!("{}\nseed {seed}: {violation}", trace(seed, None));
                failed.push(seed);
            }
        }
        count += 1;
        let elapsed = begun.elapsed().as_secs();
        if count % 500 == 0 {
            println!("{count} seeds in {elapsed} s, failed: {failed:?}");
        }
        if failed.len() >= failures || elapsed >= seconds {
            break;
        }
    }
    println!("{count} seeds from {first} on in {} s: {met}", begun.elapsed().as_secs());
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
    let lacks = met.lacks(WANTED);
    assert!(lacks.is_empty(), "nothing of {lacks:?} has happened: {met}");
}

/// Runs that have ended badly once: members that came to nothing kept a server outside for ever (10013, 12989, 14357); a
/// former configuration took the place of the one in force (10135); members were in force ahead of their transaction
/// (15197); the longest log was that of a server that could not be elected, and whose vote was needed (10247); proposals
/// waited for former members that were gone (10863); the members did not follow a server whose vote they needed to its round
/// (21079); a sync of a client that had been let go took the answer of another's (46277); an operator's word made a server
/// forget that it was out (35203, 62843); who watched the configuration was told of it twice (62381), also where it had been
/// the same from the start (208241, 211766); a server that had gone on to a later round counted in the one before (300206).
#[test]
fn what_has_failed_once_is_mended() {
    for seed in
        [10013, 12989, 14357, 10135, 15197, 10247, 10863, 21079, 46277, 35203, 62843, 62381, 208241, 211766, 300206]
    {
        assert!(run(seed, None).0.is_ok(), "{}", trace(seed, None));
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [1, 2, 3] {
        assert_eq!(run(seed, None), run(seed, None));
        assert_eq!(trace(seed, None), trace(seed, None));
    }
    assert_ne!(run(1, None).1, run(5, None).1);
}

/// Within so many seeds.
const SEEDS_PER_MISTAKE: u64 = 200;

fn is_noticed(mistake: Mistake, complaints: &[&str]) {
    let mut runs = (0..SEEDS_PER_MISTAKE).filter_map(|seed| Some((seed, run(seed, Some(mistake)).0.err()?)));
    let (seed, violation) = runs.next().unwrap_or_else(|| panic!("{mistake:?} went unnoticed"));
    println!("{mistake:?} is noticed by seed {seed}: {violation}");
    assert!(complaints.iter().any(|complaint| violation.contains(complaint)), "{mistake:?}, seed {seed}: {violation}");
}

#[test]
fn new_members_that_the_old_ones_alone_have_agreed_to_are_noticed() {
    is_noticed(Mistake::OldQuorumSuffices, &["takes effect without a quorum"]);
}

#[test]
fn a_member_that_forgets_its_losses_is_noticed() {
    is_noticed(Mistake::LossesForgotten, &["which took effect", "takes effect", "the ensemble has lost data"]);
}

#[test]
fn acknowledging_before_the_flush_is_noticed() {
    is_noticed(Mistake::AckBeforeFlush, &["which took effect", "takes effect"]);
}

#[test]
fn committing_without_a_quorum_is_noticed() {
    is_noticed(Mistake::CommitWithoutQuorum, &["which took effect", "takes effect"]);
}

#[test]
fn forgetting_a_promise_is_noticed() {
    is_noticed(Mistake::ForgetAcceptedEpoch, &["epoch", "promises go back"]);
}

#[test]
fn passing_over_trunc_is_noticed() {
    is_noticed(Mistake::SkipTrunc, &["takes effect", "which took effect", " gives "]);
}

#[test]
fn giving_a_zxid_out_twice_is_noticed() {
    is_noticed(Mistake::ReuseZxid, &["stands for two transactions", "which took effect"]);
}

#[test]
fn requests_of_clients_that_were_let_go_are_noticed() {
    is_noticed(Mistake::ErasForgotten, &["was to come first", "comes after something as new"]);
}

#[test]
fn reads_that_go_back_are_noticed() {
    is_noticed(Mistake::ReadsGoBack, &["and is shown", "synced to", "comes after something as new", "back after"]);
}

#[test]
fn events_that_trail_are_noticed() {
    is_noticed(Mistake::EventsTrail, &["without having been told of"]);
}
