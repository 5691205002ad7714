//! Everything that one shard holds: its digest, and its nodes as the body of a snapshot.

use engine::ids::ShardId;
use engine::partition::{Damage, NodeEntry};
use engine::shard::{PinId, Shard};
use replication::peer::files::digest::TreeDigest;
use replication::peer::snapshot::record::StatPersisted;
use replication::peer::snapshot::stream::SnapshotStream;
use replication::peer::snapshot::walk::{DepthWalk, WalkStep};

/// Nodes that are looked at in one go.
const SCAN_NODES: usize = 1024;

/// The digest of the shard's nodes as of now.
///
/// # Errors
/// A log does not hold what was written.
pub fn digest(shard: &mut Shard) -> Result<TreeDigest, Damage> {
    let Some(pin) = shard.pin(shard.applied()) else { return Ok(TreeDigest::default()) };
    let digest = digest_at(shard, &pin);
    shard.unpin(pin);
    digest
}

fn digest_at(shard: &Shard, pin: &PinId) -> Result<TreeDigest, Damage> {
    let mut digest = TreeDigest::default();
    let mut entries: Vec<NodeEntry> = Vec::with_capacity(SCAN_NODES);
    for partition in shard.partition_ids() {
        let mut from = None;
        loop {
            entries.clear();
            from = shard.scan(pin, partition, from, SCAN_NODES, &mut |entry| entries.push(*entry));
            for entry in &entries {
                let Some(node) = shard.node(partition, entry) else { continue };
                let node = node?;
                digest.add(node.path, node.data, &StatPersisted::of(entry, &node));
            }
            if from.is_none() {
                break;
            }
        }
    }
    Ok(digest)
}

/// Takes a stream of one shard to its end, giving each chunk to `write`.
///
/// # Errors
/// A log does not hold what was written, or `write` fails.
pub fn stream<E: From<Damage>>(
    shard: &mut Shard,
    mut stream: SnapshotStream,
    write: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<u64, E> {
    let Some(pin) = shard.pin(shard.applied()) else { return Ok(0) };
    let mut walk = DepthWalk::new();
    let mut asks = Vec::new();
    while !stream.is_done() {
        stream.poll(&mut asks);
        for ask in asks.drain(..) {
            walk.ask(ask.depth);
        }
        // What is not in memory is waited for: nobody else uses the shard.
        if let WalkStep::Chunk(chunk) = walk.step(shard, &pin)? {
            stream.chunk(ShardId(0), chunk);
        }
        while let Some(chunk) = stream.next_chunk() {
            write(&chunk)?;
        }
    }
    shard.unpin(pin);
    Ok(stream.nodes())
}
