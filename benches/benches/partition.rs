//! One partition: looking a znode up, reading its record, writing it anew, and coming back after a restart.

#![allow(clippy::unwrap_used)]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::ids::PartitionId;
use engine::partition::Partition;
use engine::piece::{HashedPath, Piece};
use engine::zxid::Zxid;
use std::hint::black_box;
use support::{NODES, Stored, data, discard, key, next, znode};

fn partition(c: &mut Criterion) {
    let key = key();
    let nodes: Vec<HashedPath> = (0..NODES).map(|number| znode(&key, number)).collect();
    let stored = Stored::new(PartitionId(0), nodes.iter());
    let mut partition = stored.recover();
    assert_eq!(partition.node_count(), NODES as u64);
    let mut group = c.benchmark_group(format!("partition of {NODES} nodes"));

    let mut at = 0;
    group.bench_function("get", |b| {
        b.iter(|| {
            at = next(at);
            partition.get(nodes[at].hash).unwrap()
        });
    });
    group.bench_function("get and read the record", |b| {
        b.iter(|| {
            at = next(at);
            let entry = partition.get(nodes[at].hash).unwrap();
            black_box(partition.node(&entry).unwrap());
        });
    });

    // Pieces are made beforehand; the version in them is of no consequence here.
    let data = Some(data(100));
    let piece = |node: &HashedPath| Piece::SetData { node: node.clone(), data: data.clone(), version: 1 };
    let pieces: Vec<Piece> = nodes.iter().map(piece).collect();
    let (mut zxid, mut actions) = (partition.zxid().0, Vec::new());
    group.bench_function("apply setData of 100 bytes", |b| {
        b.iter(|| {
            at = next(at);
            zxid += 1;
            let applied = partition.apply(Zxid(zxid), 1_700_000_000_000, &pieces[at]);
            partition.actions(&mut actions);
            for action in actions.drain(..) {
                let ready = |partition: &mut Partition, _, segment, file| partition.segment_ready(segment, file);
                discard(&mut partition, action, ready, |partition, _, segment, upto| partition.written(segment, upto));
            }
            applied
        });
    });

    group.sample_size(10);
    group.throughput(Throughput::Elements(NODES as u64));
    group.bench_function("recover", |b| b.iter(|| stored.recover()));
    group.finish();
}

criterion_group!(benches, partition);
criterion_main!(benches);
