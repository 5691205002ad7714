//! Leaders and learners of small ensembles in virtual time: an oracle elects, disks lose what was not flushed, links break
//! and partitions come and go. A run is its seed. [`checker`] keeps its own account of what was promised, and each of the
//! deliberate mistakes has to be noticed by it.

mod checker;
mod node;
mod world;

use super::mistake::Mistake;
use world::{World, WorldConfig};

fn run(seed: u64, voters: u64, observers: u64, mistake: Option<Mistake>) -> Result<world::Totals, String> {
    let config = WorldConfig { voters, observers, mistake };
    World::new(seed, config).run().map_err(|violation| format!("seed {seed}, {voters} voters: {violation}"))
}

fn holds(seeds: std::ops::Range<u64>, voters: u64, observers: u64, mistake: Option<Mistake>) {
    let mut totals = world::Totals::default();
    for seed in seeds {
        match run(seed, voters, observers, mistake) {
            Ok(of_run) => totals.add(&of_run),
            Err(violation) => panic!("{violation}"),
        }
    }
    // The runs are worth something only if all of it happened.
    let world::Totals { commits, reigns, crashes, follows, cuts, snapshots, log_reads } = totals;
    assert!(
        [commits, reigns, crashes, follows, cuts, snapshots, log_reads].iter().all(|count| *count > 0),
        "{totals:?}"
    );
}

#[test]
fn three_servers_agree_whatever_breaks() {
    holds(0..20, 3, 0, None);
}

#[test]
fn three_servers_and_an_observer_agree_whatever_breaks() {
    holds(1000..1015, 3, 1, None);
}

#[test]
fn five_servers_agree_whatever_breaks() {
    holds(2000..2015, 5, 0, None);
}

/// A Java leader trusts ACKs of a connection that is gone, and has the learner cut off what it acknowledged there.
#[test]
fn learners_hold_on_to_what_they_acknowledged() {
    holds(3010..3022, 5, 0, Some(Mistake::KeepFormerAcks));
}

/// The same for as many seeds as `RINGKEEPER_ZAB_SEEDS` says: a few, or a campaign.
#[test]
fn other_seeds_agree_as_well() {
    let seeds = std::env::var("RINGKEEPER_ZAB_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(30);
    holds(10_000..10_000 + seeds, 3, 1, None);
    holds(10_000..10_000 + seeds, 5, 0, None);
    holds(10_000..10_000 + seeds, 5, 0, Some(Mistake::KeepFormerAcks));
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 0..3 {
        assert_eq!(run(seed, 3, 1, None), run(seed, 3, 1, None));
    }
}

fn is_noticed(mistake: Mistake, complaints: &[&str]) {
    let noticed = (0..200).find_map(|seed| run(seed, 3, 0, Some(mistake)).err());
    let complaint = noticed.unwrap_or_else(|| panic!("{mistake:?} went unnoticed"));
    assert!(complaints.iter().any(|known| complaint.contains(known)), "{complaint}");
}

#[test]
fn acknowledging_before_the_flush_is_noticed() {
    is_noticed(Mistake::AckBeforeFlush, &["acknowledged", "committed without a quorum"]);
}

#[test]
fn committing_without_a_quorum_is_noticed() {
    is_noticed(Mistake::CommitWithoutQuorum, &["committed without a quorum"]);
}

#[test]
fn forgetting_a_promise_is_noticed() {
    is_noticed(Mistake::ForgetAcceptedEpoch, &["promised epoch"]);
}

#[test]
fn passing_over_trunc_is_noticed() {
    is_noticed(Mistake::SkipTrunc, &["differs from what was committed", "committed without a quorum"]);
}

#[test]
fn letting_go_of_the_log_before_its_successor_is_there_is_noticed() {
    is_noticed(Mistake::SnapshotFirst, &["which is no quorum"]);
}

#[test]
fn giving_a_zxid_out_twice_is_noticed() {
    is_noticed(Mistake::ReuseZxid, &["stands for two transactions"]);
}
