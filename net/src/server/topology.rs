//! Who lives where: which core hosts which shard and the replication role, and which shard owns a path.

use engine::ids::{CoreId, PartitionId, ShardId};
use engine::path::{HashKey, PathHash, canonical, shard_of};
use std::sync::Arc;

/// The map of one server, fixed from start to stop.
#[derive(Debug)]
pub struct Topology {
    key: Arc<HashKey>,
    partitions: u32,
    owners: Box<[ShardId]>,
    homes: Box<[CoreId]>,
    role: CoreId,
    cores: u16,
}

impl Topology {
    /// Shard `n` lives on core `n`; the replication role on `role`, which may be one of them or a core of its own.
    pub fn new(key: Arc<HashKey>, partitions: u32, shards: u16, role: CoreId) -> Topology {
        let owners = (0..partitions).map(|partition| shard_of(PartitionId(partition as u16), shards)).collect();
        let cores = shards.max(role.0 + 1);
        Topology { key, partitions, owners, homes: (0..shards).map(CoreId).collect(), role, cores }
    }

    /// Key of the path hash.
    pub fn key(&self) -> &Arc<HashKey> {
        &self.key
    }

    /// Number of partitions.
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// Number of shards.
    pub fn shards(&self) -> u16 {
        self.homes.len() as u16
    }

    /// Number of cores, the replication role's own included.
    pub fn cores(&self) -> u16 {
        self.cores
    }

    /// Core of the replication role.
    pub fn role(&self) -> CoreId {
        self.role
    }

    /// Core that hosts a shard.
    pub fn home(&self, shard: ShardId) -> CoreId {
        self.homes[usize::from(shard.0)]
    }

    /// Shard of a path as a read names it ("" is the root).
    pub fn shard_of_path(&self, path: &str) -> ShardId {
        if self.homes.len() == 1 { ShardId(0) } else { self.shard_of_hash(self.key.hash(canonical(path))) }
    }

    /// Shard of a hashed path.
    pub fn shard_of_hash(&self, hash: PathHash) -> ShardId {
        self.owners[usize::from(hash.partition(self.partitions).0)]
    }

    /// The partitions of a shard.
    pub fn partitions_of(&self, shard: ShardId) -> impl Iterator<Item = PartitionId> + '_ {
        let owned = move |(at, owner): (usize, &ShardId)| (*owner == shard).then_some(PartitionId(at as u16));
        self.owners.iter().enumerate().filter_map(owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_partition_has_one_home() {
        let key = Arc::new(HashKey::new(std::array::from_fn(|at| at as u8)));
        let topology = Topology::new(key, 64, 4, CoreId(4));
        let owned: usize = (0..4).map(|shard| topology.partitions_of(ShardId(shard)).count()).sum();
        assert_eq!((owned, topology.cores(), topology.shards()), (64, 5, 4));
        assert_eq!(topology.shard_of_path(""), topology.shard_of_path("/"));
    }
}
