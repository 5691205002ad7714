//! Apache ZooKeeper 3.8 and Ringkeeper, with one shard and with four, answer the same random requests alike.
//!
//! Every step is done to all three: requests sensible and not on a few connections that meet each other, sessions
//! renewed, lost and closed, bytes that are no requests. Then every connection asks for a sync, so that what comes is
//! determined. Replies, errors, zxids, Stats, events and their places, ends of connections, at the end of a run the whole
//! tree and what the four-letter words count, are compared. What each server calls by a number of its own (sessions,
//! times, zxids that it alone spends) is given a common name before. `known` names where they differ on purpose, and
//! `script` what is left out because it would stop the reference.
//!
//! `RINGKEEPER_DIFFERENTIAL_SEEDS=1000` runs so many seeds, `RINGKEEPER_DIFFERENTIAL_SEED=4711` one alone, of which every
//! step is printed if it fails (both: so many from there on); `RINGKEEPER_DIFFERENTIAL_STEPS` is the length of a run.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod answer;
mod known;
mod script;
mod side;
mod step;
mod twins;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::is_reference;
use support::server::ServerConfig;
use support::tools::has_java;
use twins::Twins;

/// Runs of one test.
const SEEDS: u64 = 25;
/// Random steps of a run.
const STEPS: u64 = 60;
/// A slow machine runs fewer.
const TIME: Duration = Duration::from_secs(45);
/// Differences after which a test has seen enough.
const ENOUGH: usize = 5;

#[test]
fn random_requests() {
    if is_reference() {
        return println!("the reference alone has nothing to be compared with");
    }
    if !has_java() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("RINGKEEPER_DIFFERENTIAL_SEED");
    let count = number("RINGKEEPER_DIFFERENTIAL_SEEDS").unwrap_or(if seed.is_some() { 1 } else { SEEDS });
    let steps = number("RINGKEEPER_DIFFERENTIAL_STEPS").unwrap_or(STEPS);
    let first = seed.unwrap_or(1);
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    let mut differences = Vec::new();
    let mut twins = start();
    let is_campaign = seed.is_some() || count != SEEDS;
    let started = Instant::now();
    for seed in (first..first + count).take_while(|_| is_campaign || started.elapsed() < TIME) {
        let Err(difference) = twins.run(seed, steps) else { continue };
        if count == 1 {
            println!("{}", twins.trace());
        }
        differences.push(format!("RINGKEEPER_DIFFERENTIAL_SEED={seed}: {difference}"));
        if differences.len() == ENOUGH {
            break;
        }
        // Where they differed once they go on to.
        twins.met.iter().for_each(|(name, times)| *met.entry(name).or_default() += times);
        twins = start();
    }
    twins.met.iter().for_each(|(name, times)| *met.entry(name).or_default() += times);
    println!("differences on purpose that were met: {met:#?}");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn start() -> Twins {
    let config = ServerConfig::new(1)
        // Nothing is killed here.
        .set("forceSync", "no")
        .set("enforceQuota", "true")
        // Nothing ends by itself.
        .set("minSessionTimeout", "120000")
        .set("maxSessionTimeout", "600000")
        .set("znode.container.checkIntervalMs", "100000000")
        .set("DigestAuthenticationProvider.superDigest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
    Twins::start(&config)
}
