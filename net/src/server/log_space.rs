//! How many bytes the partition logs take beside what lives in them: what compaction has emptied stays until a checkpoint
//! without it is durable, so checkpoints that leave the disk to others must not do so at any price.

use engine::ids::ShardId;
use engine::partition::COMPACT_FROM_BYTES;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the log of a partition in which little lives may take: until it is compacted, and while what that has emptied waits
/// for a checkpoint. Not all of them are there at the same time.
const PARTITION_BYTES: u64 = COMPACT_FROM_BYTES * 3 / 2;
/// How many times what lives the logs may take besides: a log and its successor, both up to half dead.
const LIVE_TIMES: u64 = 4;

#[derive(Debug, Default)]
struct Taken {
    written: AtomicU64,
    live: AtomicU64,
}

/// The space of a server's partition logs. Shards write down their own ([`ShardSpace`]), the replication role's core and the
/// storage executor ask.
#[derive(Debug)]
pub struct LogSpace {
    shards: Box<[Taken]>,
    free: u64,
}

impl LogSpace {
    /// The space of `shards` shards with `partitions` partitions together.
    pub fn new(shards: u16, partitions: u32) -> LogSpace {
        let free = u64::from(partitions) * PARTITION_BYTES;
        LogSpace { shards: (0..shards).map(|_| Taken::default()).collect(), free }
    }

    /// A shard's part of it.
    pub fn of(self: &Arc<LogSpace>, shard: ShardId) -> ShardSpace {
        ShardSpace { space: Arc::clone(self), shard }
    }

    /// Whether the logs take far more than what lives in them.
    pub fn is_crowded(&self) -> bool {
        let sum = |of: fn(&Taken) -> &AtomicU64| -> u64 {
            self.shards.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum()
        };
        sum(|shard| &shard.written) > self.free.saturating_add(sum(|shard| &shard.live).saturating_mul(LIVE_TIMES))
    }
}

/// One shard's part of the space.
#[derive(Clone, Debug)]
pub struct ShardSpace {
    space: Arc<LogSpace>,
    shard: ShardId,
}

impl ShardSpace {
    /// So many bytes have been written to the files of this shard's logs that are still needed.
    pub fn set_written(&self, bytes: u64) {
        self.taken().written.store(bytes, Ordering::Relaxed);
    }

    /// So many of them say what is.
    pub fn set_live(&self, bytes: u64) {
        self.taken().live.store(bytes, Ordering::Relaxed);
    }

    /// This shard's share of what a server may take.
    pub fn share_of(&self, bytes: u64) -> u64 {
        bytes / self.space.shards.len() as u64
    }

    fn taken(&self) -> &Taken {
        &self.space.shards[usize::from(self.shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_and_what_awaits_compaction_has_room() {
        let space = Arc::new(LogSpace::new(2, 4));
        let (one, other) = (space.of(ShardId(0)), space.of(ShardId(1)));
        let allowed = 4 * PARTITION_BYTES;
        one.set_written(allowed);
        assert!(!space.is_crowded());
        other.set_written(1);
        assert!(space.is_crowded());
        one.set_live(10);
        assert!(!space.is_crowded());
        other.set_written(10 * LIVE_TIMES + 1);
        assert!(space.is_crowded());
    }
}
