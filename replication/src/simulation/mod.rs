//! A whole server in memory: role, write-ahead log and shards, the code that ships, on a disk that may stop at any moment
//! and then holds any part of what was not flushed.
//!
//! A run is a seed and a list of requests. Between requests the scheduler lets files be made, writes end, checkpoints and
//! compaction go on, in any order; a crash brings the server back with any number of shards. After every crash, and at the
//! end, the tree is compared with a model: everything that was answered is there, nothing is half there.
//!
//! `RINGKEEPER_SIMULATION_CASES=10000 cargo test --release -p replication simulation` runs a campaign; a failure prints
//! the smallest run that fails.

#![allow(clippy::unwrap_used)]

mod checkpoint;
mod disk;
mod ensemble;
mod node;
mod shards;

use crate::role::tests::random::write;
use node::SimNode;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Write {
        session: usize,
        as_user: bool,
        op: crate::request::WriteOp,
    },
    Connect,
    /// So many things happen, picked by the seed.
    Run(u32),
    Checkpoint,
    Crash {
        shards: u16,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        24 => (0_usize..3, any::<bool>(), write())
            .prop_map(|(session, as_user, op)| Step::Write { session, as_user, op }),
        1 => Just(Step::Connect),
        12 => (1_u32..30).prop_map(Step::Run),
        2 => Just(Step::Checkpoint),
        2 => (1_u16..5).prop_map(|shards| Step::Crash { shards }),
    ];
    proptest::collection::vec(step, 1..150)
}

fn cases() -> u32 {
    std::env::var("RINGKEEPER_SIMULATION_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_server_keeps_what_it_has_answered_and_nothing_by_halves(
        seed: u64,
        steps in steps(),
        shards in 1_u16..5,
    ) {
        let mut node = SimNode::new(seed, shards);
        for step in steps {
            match step {
                Step::Write { session, as_user, op } => node.write(session, as_user, op),
                Step::Connect => node.connect(),
                Step::Run(count) => node.run(count),
                Step::Checkpoint => node.checkpoint(),
                Step::Crash { shards } => node.crash(shards),
            }
        }
        node.settle();
        node.compare();
        node.crash(shards);
    }
}

/// The property above must meet what it is about.
#[test]
fn runs_meet_torn_writes_checkpoints_and_compaction() {
    use crate::request::{AclSpec, CreateKind, CreateOp, SetDataOp, WriteOp};
    let mut met = node::Met::default();
    for seed in 0..4 {
        let mut node = SimNode::new(seed, 1 + seed as u16 % 4);
        node.write(
            0,
            false,
            WriteOp::Create(CreateOp {
                kind: CreateKind::Create,
                path: "/big".into(),
                data: None,
                acl: AclSpec::Open,
                flags: 0,
            }),
        );
        for round in 0..60 {
            for _ in 0..12 {
                let data = Some(bytes::Bytes::from(vec![round; 20_000]));
                node.write(0, false, WriteOp::SetData(SetDataOp { path: "/big".into(), data, version: -1 }));
            }
            node.run(120);
            if round % 9 == 8 {
                node.checkpoint();
                node.run(200);
            }
            if round % 20 == 19 {
                node.crash(1 + u16::from(round) % 3);
            }
        }
        node.settle();
        node.compare();
        met.add(&node.met);
    }
    assert!(met.crashes > 0 && met.torn > 0 && met.manifests > 0 && met.compactions > 0, "{met:?}");
    assert!(met.replayed > 0 && met.lost_pages > 0, "{met:?}");
}
