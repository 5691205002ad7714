//! A change to one znode that many connections watch: collecting who hears of it.

#![allow(clippy::unwrap_used)]

mod support;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use engine::event::EventKind;
use engine::ids::{ConnId, CoreId};
use engine::watch::{Audience, WatchMode, WatchTable};
use std::sync::Arc;
use support::{key, znode};

const CORES: u32 = 4;

fn firing(c: &mut Criterion) {
    let key = Arc::new(key());
    let node = znode(&key, 1);
    let table = |watchers: u32, mode: WatchMode| {
        let mut table = WatchTable::new(Arc::clone(&key));
        for number in 0..watchers {
            let conn = ConnId { slot: number / CORES, generation: 0 };
            table.add(CoreId((number % CORES) as u16), conn, &node.path, mode, false);
        }
        table
    };
    let fire = |table: &mut WatchTable, audience: &mut Audience| {
        table.fire(EventKind::NodeDataChanged, node.hash, &node.path, audience);
    };
    let heard = |audience: &Audience| audience.cores().map(|(_, conns)| conns.len()).sum::<usize>();
    for watchers in [1, 1_000, 100_000] {
        let mut group = c.benchmark_group("fire");
        group.throughput(Throughput::Elements(watchers.into()));
        if watchers == 100_000 {
            group.sample_size(10);
        }
        let mut audience = Audience::default();
        // Watches of this kind are used up: each firing gets a table of its own.
        let batch = if watchers < 100_000 { BatchSize::SmallInput } else { BatchSize::PerIteration };
        group.bench_function(format!("{watchers} standard watchers"), |b| {
            let fresh = || table(watchers, WatchMode::Data);
            b.iter_batched_ref(fresh, |table| fire(table, &mut audience), batch);
            assert_eq!(heard(&audience), watchers as usize);
        });
        let mut table = table(watchers, WatchMode::Persistent);
        group.bench_function(format!("{watchers} persistent watchers"), |b| {
            b.iter(|| fire(&mut table, &mut audience));
            assert_eq!(heard(&audience), watchers as usize);
        });
        group.finish();
    }
}

criterion_group!(benches, firing);
criterion_main!(benches);
