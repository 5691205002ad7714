//! Elections of whole ensembles in virtual time, over a network that delays, cuts, breaks and blocks. A run is a seed.

#![allow(clippy::unwrap_used)]

mod dice;
mod network;
mod world;

use super::*;
use world::World;

/// `voters` participants from 1, then `observers`; more lines behind.
fn ensemble(voters: i64, observers: i64, more: &str) -> Ensemble {
    let role = |sid: i64| if sid <= voters { "participant" } else { "observer" };
    let lines: String =
        (1..=voters + observers).map(|sid| format!("server.{sid}=h{sid}:2888:3888:{}\n", role(sid))).collect();
    Ensemble::parse(&format!("{lines}{more}")).unwrap()
}

const GROUPS: &str = "group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9\nweight.3=0\nweight.4=2";

/// Every ensemble that the runs use, and the servers beside it that no configuration lists.
fn shapes() -> Vec<(&'static str, Ensemble, &'static [i64])> {
    vec![
        ("three", ensemble(3, 0, ""), &[]),
        ("five", ensemble(5, 0, ""), &[]),
        ("seven", ensemble(7, 0, ""), &[]),
        ("three and two observers", ensemble(3, 2, ""), &[]),
        ("three and two that are not listed", ensemble(3, 0, ""), &[9, 11]),
        ("five, one of them weightless", ensemble(5, 0, "group.1=1:2:3:4:5\nweight.5=0"), &[]),
        ("nine in three groups", ensemble(9, 0, GROUPS), &[]),
    ]
}

/// Within this time of undisturbed network everybody has a role, in ms: who was alone for long speaks once a minute.
const SETTLED_MS: i64 = 130_000;

fn settle(world: &mut World, what: &str) -> i64 {
    let leader = try_settle(world);
    leader.unwrap_or_else(|| panic!("{what}: no agreement by {} ms: {}", world.net.now_ms, world.summary()))
}

fn try_settle(world: &mut World) -> Option<i64> {
    let until_ms = world.net.now_ms + SETTLED_MS;
    world.run(until_ms, |world| world.agreed_leader().is_some());
    world.agreed_leader()
}

/// The agreement holds as long as nothing happens.
fn rest(world: &mut World, what: &str) {
    let leader = world.agreed_leader();
    let until_ms = world.net.now_ms + 5_000;
    let changed = world.run(until_ms, |world| world.agreed_leader() != leader);
    assert!(!changed, "{what}: the leader {leader:?} was given up for no reason");
}

/// Something that may happen to an ensemble. Crashes only where `crashes`.
fn disturb(world: &mut World, crashes: bool) {
    let sids = world.sids();
    let mut pick = || world.net.dice.pick(&sids).unwrap();
    let (one, other) = (pick(), pick());
    match world.net.dice.below(8) {
        0 | 1 if crashes && world.is_up(one) => world.crash(one),
        2 | 3 if crashes => world.start(one),
        4 => world.net.block(one, other),
        5 => {
            for sid in sids.iter().filter(|sid| **sid != one) {
                world.net.block(one, *sid);
                world.net.block(*sid, one);
            }
        }
        6 => world.net.heal(),
        7 => world.net.delay_max_ms = 1 + world.net.dice.below(150),
        _ => world.net.break_any(),
    }
}

fn heal(world: &mut World) {
    world.net.heal();
    world.net.delay_max_ms = 5;
    for sid in world.sids() {
        world.start(sid);
    }
}

fn run(seed: u64, crashes: bool) {
    for (name, ensemble, unlisted) in shapes() {
        let what = format!("{name}, seed {seed}, crashes {crashes}");
        let mut world = World::new(seed, ensemble, unlisted);
        for _ in 0..3 {
            for _ in 0..12 {
                disturb(&mut world, crashes);
                let until_ms = world.net.now_ms + world.net.dice.below(1_500) as i64;
                world.run(until_ms, |_| false);
            }
            heal(&mut world);
            settle(&mut world, &what);
            rest(&mut world, &what);
        }
    }
}

/// How many seeds each test runs; `RINGKEEPER_ELECTION_SEEDS` sets it for a long campaign.
fn seeds() -> std::ops::Range<u64> {
    0..std::env::var("RINGKEEPER_ELECTION_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

#[test]
fn partitions_and_broken_connections() {
    seeds().for_each(|seed| run(seed, false));
}

#[test]
fn crashes_and_restarts() {
    seeds().for_each(|seed| run(seed, true));
}

#[test]
fn a_quiet_start_takes_little_more_than_the_quiet_time() {
    for seed in seeds() {
        for (name, ensemble, unlisted) in shapes() {
            let mut world = World::new(seed, ensemble, unlisted);
            settle(&mut world, name);
            assert!(world.net.now_ms < 1_500, "{name}, seed {seed}: {} ms", world.net.now_ms);
        }
    }
}

/// Whoever comes back finds the leader, and takes nothing from it.
#[test]
fn a_server_that_comes_back_finds_the_leader() {
    for seed in seeds() {
        for (name, ensemble, unlisted) in shapes() {
            let what = format!("{name}, seed {seed}");
            let mut world = World::new(seed, ensemble, unlisted);
            let leader = settle(&mut world, &what);
            let others: Vec<i64> = world.sids().into_iter().filter(|sid| *sid != leader).collect();
            let back = world.net.dice.pick(&others).unwrap();
            world.crash(back);
            let until_ms = world.net.now_ms + world.net.dice.below(3_000) as i64;
            world.run(until_ms, |_| false);
            let started_ms = world.net.now_ms;
            world.start(back);
            assert_eq!(settle(&mut world, &what), leader, "{what}");
            assert!(world.net.now_ms - started_ms < 1_500, "{what}: {} ms", world.net.now_ms - started_ms);
            rest(&mut world, &what);
        }
    }
}

#[test]
fn another_leads_when_the_leader_dies() {
    for seed in seeds() {
        for (name, ensemble, unlisted) in shapes() {
            let what = format!("{name}, seed {seed}");
            let mut world = World::new(seed, ensemble, unlisted);
            let leader = settle(&mut world, &what);
            rest(&mut world, &what);
            world.crash(leader);
            let (died_ms, next) = (world.net.now_ms, settle(&mut world, &what));
            assert!(next != leader && world.voters().contains(&next), "{what}");
            assert!(world.net.now_ms - died_ms < 3_000, "{what}: {} ms", world.net.now_ms - died_ms);
            world.start(leader);
            assert_eq!(settle(&mut world, &what), next, "{what}: the old leader follows");
        }
    }
}

/// The same seed is the same run.
#[test]
fn a_seed_replays() {
    let trace = |seed: u64| {
        let mut world = World::new(seed, ensemble(5, 1, ""), &[]);
        for _ in 0..20 {
            disturb(&mut world, true);
            let until_ms = world.net.now_ms + 700;
            world.run(until_ms, |_| false);
        }
        format!("{world:?}")
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
