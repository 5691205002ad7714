//! Which shard gets which piece.

use super::Action;
use engine::ids::{PartitionId, ShardId};
use engine::path::{PathHash, shard_of};
use engine::piece::{RoutedPiece, ShardTxn};
use engine::zxid::Zxid;

/// The owner of every partition, worked out once.
#[derive(Debug)]
pub struct Routes {
    owners: Box<[ShardId]>,
    single: bool,
}

impl Routes {
    pub fn new(partitions: u32, shards: u16) -> Routes {
        let owners = (0..partitions).map(|partition| shard_of(PartitionId(partition as u16), shards)).collect();
        Routes { owners, single: shards <= 1 }
    }

    pub fn shard(&self, hash: PathHash) -> ShardId {
        self.owners[usize::from(hash.partition(self.owners.len() as u32).0)]
    }

    /// Sends the pieces to their shards, each shard's in order. Takes them out of `pieces`.
    pub fn route(&self, zxid: Zxid, time_ms: i64, pieces: &mut Vec<RoutedPiece>, out: &mut Vec<Action>) {
        if pieces.is_empty() {
            return;
        }
        if self.single {
            let pieces = std::mem::take(pieces);
            out.push(Action::Route { shard: ShardId(0), txn: ShardTxn { zxid, time_ms, pieces } });
            return;
        }
        let first = out.len();
        for piece in pieces.drain(..) {
            let to = self.shard(piece.piece.routed_by());
            let known = out[first..].iter_mut().find_map(|action| match action {
                Action::Route { shard, txn } if *shard == to => Some(txn),
                _ => None,
            });
            match known {
                Some(txn) => txn.pieces.push(piece),
                None => {
                    out.push(Action::Route { shard: to, txn: ShardTxn { zxid, time_ms, pieces: vec![piece] } });
                }
            }
        }
    }
}
