//! What several benches need: znodes, request frames, and partition logs in memory.

#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use engine::acl::AclId;
use engine::ids::PartitionId;
use engine::jute::Writer;
use engine::node_owner::NodeOwner;
use engine::partition::{LogAction, Partition, PartitionCut, SegmentBytes, recover};
use engine::path::HashKey;
use engine::piece::{HashedPath, Piece};
use engine::zxid::Zxid;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Znodes of a bench that wants many; few where optimisation is off and only the run itself is of interest.
pub const NODES: usize = if cfg!(debug_assertions) { 2_000 } else { 100_000 };

/// Goes through all places below `NODES` (it has no divisor in common with it) in no order that a cache would foresee.
pub fn next(place: usize) -> usize {
    (place + 61_729) % NODES
}

pub fn key() -> HashKey {
    HashKey::new(std::array::from_fn(|at| (at * 7 + 3) as u8))
}

pub fn hashed(key: &HashKey, path: &str) -> HashedPath {
    HashedPath { path: path.into(), hash: key.hash(path) }
}

pub fn znode(key: &HashKey, number: usize) -> HashedPath {
    hashed(key, &format!("/bench/{number:08}"))
}

pub fn data(bytes: usize) -> Bytes {
    vec![b'x'; bytes].into()
}

/// A request frame: length, `RequestHeader`, record.
pub fn request(xid: i32, op: i32, record: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut frame = vec![0; 4];
    let mut w = Writer::new(&mut frame);
    w.int(xid);
    w.int(op);
    record(&mut w);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// A partition as a checkpoint leaves it: files in memory, and what the manifest says of them.
pub struct Stored {
    cut: PartitionCut,
    files: Vec<Arc<dyn SegmentBytes>>,
}

impl Stored {
    /// Nodes of 100 bytes, created by the transactions from 1 on.
    pub fn new<'a>(id: PartitionId, nodes: impl Iterator<Item = &'a HashedPath>) -> Stored {
        let (mut partition, data) = (Partition::new(id, 1), data(100));
        for (node, zxid) in nodes.zip(1..) {
            let (node, data, owner) = (node.clone(), Some(data.clone()), NodeOwner::PERSISTENT);
            partition.apply(Zxid(zxid), 1_700_000_000_000, &Piece::Put { node, data, acl: AclId::OPEN, owner });
        }
        partition.flush_tail();
        let mut files = BTreeMap::new();
        let mut actions = Vec::new();
        loop {
            partition.actions(&mut actions);
            if actions.is_empty() {
                break;
            }
            for action in actions.drain(..) {
                match action {
                    LogAction::NeedSegment { segment, bytes, .. } => {
                        files.insert(segment, vec![0; bytes as usize]);
                        partition.segment_ready(segment, Arc::new(Discarding));
                    }
                    LogAction::Write { segment, offset, bytes, .. } => {
                        files.get_mut(&segment).unwrap()[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
                    }
                    LogAction::RemoveSegment { segment, .. } => drop(files.remove(&segment)),
                }
            }
        }
        let cut = partition.cut();
        let file = |segment: u32| Arc::new(Kept(files.remove(&segment).unwrap())) as Arc<dyn SegmentBytes>;
        let files = cut.segments.iter().map(|cut| cut.segment).map(file).collect();
        Stored { cut, files }
    }

    /// The partition as a start brings it back: all of it lies in files, so that whatever is read is held against its
    /// checksum.
    pub fn recover(&self) -> Partition {
        recover(&self.cut, &self.files, &mut |_| {}).unwrap()
    }
}

/// Carries out the writing for a partition (`ready` and `written` are its methods, or its shard's), and keeps nothing of
/// it: memory stays within bounds however much is written. What was written so must not be read again.
pub fn discard<T>(
    host: &mut T,
    action: LogAction,
    ready: impl FnOnce(&mut T, PartitionId, u32, Arc<dyn SegmentBytes>),
    written: impl FnOnce(&mut T, PartitionId, u32, u64),
) {
    match action {
        LogAction::NeedSegment { partition, segment, .. } => ready(host, partition, segment, Arc::new(Discarding)),
        LogAction::Write { partition, segment, offset, bytes, .. } => {
            written(host, partition, segment, offset + bytes.len() as u64);
        }
        LogAction::RemoveSegment { .. } => {}
    }
}

/// A file in memory.
struct Kept(Vec<u8>);

impl SegmentBytes for Kept {
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        self.0.get(range.start as usize..range.end as usize)
    }

    fn is_resident(&self, _: Range<u64>) -> bool {
        true
    }
}

/// A file that keeps nothing.
struct Discarding;

impl SegmentBytes for Discarding {
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        static NOTHING: [u8; 1 << 20] = [0; 1 << 20];
        NOTHING.get(..(range.end - range.start) as usize)
    }

    fn is_resident(&self, _: Range<u64>) -> bool {
        true
    }
}
