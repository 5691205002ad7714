//! The shards of a simulated server.

use engine::ids::ShardId;
use engine::partition::Partition;
use engine::path::{HashKey, shard_of};
use engine::shard::{Shard, ShardConfig};
use std::sync::Arc;

/// Partitions of every simulated server.
pub(super) const PARTITIONS: u32 = 8;

/// So many shards, each with the partitions that are its own.
pub(super) fn host_shards(key: &Arc<HashKey>, shards: u16, partitions: Vec<Partition>) -> Vec<Shard> {
    let mut by_shard: Vec<Vec<Partition>> = (0..shards).map(|_| Vec::new()).collect();
    for partition in partitions {
        by_shard[usize::from(shard_of(partition.id(), shards).0)].push(partition);
    }
    let host = |(id, partitions): (usize, Vec<Partition>)| {
        let config = ShardConfig {
            id: ShardId(id as u16),
            shards,
            partitions: PARTITIONS,
            key: Arc::clone(key),
            extended_types: true,
        };
        Shard::new(config, partitions)
    };
    by_shard.into_iter().enumerate().map(host).collect()
}
