//! Files of partition logs, in memory, on a disk that may be cold.

use crate::ids::PartitionId;
use crate::partition::{LogAction, SegmentBytes};
use crate::shard::Shard;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// One file: what was written, write by write.
struct File {
    writes: Box<[OnceLock<Write>]>,
    is_cold: Arc<AtomicBool>,
    is_broken: Arc<AtomicBool>,
}

/// Offset and bytes.
type Write = (u64, Vec<u8>);

impl SegmentBytes for File {
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        let mut writes =
            self.writes.iter().map_while(OnceLock::get).filter(|_| !self.is_broken.load(Ordering::Relaxed));
        writes.find_map(|(start, bytes)| {
            let from = range.start.checked_sub(*start)? as usize;
            bytes.get(from..from + (range.end - range.start) as usize)
        })
    }

    fn is_resident(&self, _: Range<u64>) -> bool {
        !self.is_cold.load(Ordering::Relaxed)
    }
}

/// The disk of one shard.
#[derive(Default)]
pub struct Disk {
    /// Reads of it would wait.
    pub is_cold: Arc<AtomicBool>,
    /// Reads of it fail.
    pub is_broken: Arc<AtomicBool>,
    files: HashMap<(PartitionId, u32), (Arc<File>, usize)>,
    pub removed: usize,
}

impl Disk {
    pub fn perform(&mut self, shard: &mut Shard, action: LogAction) {
        match action {
            LogAction::NeedSegment { partition, segment, .. } => {
                let writes = (0..4096).map(|_| OnceLock::new()).collect();
                let (is_cold, is_broken) = (Arc::clone(&self.is_cold), Arc::clone(&self.is_broken));
                let file = Arc::new(File { writes, is_cold, is_broken });
                self.files.insert((partition, segment), (Arc::clone(&file), 0));
                shard.segment_ready(partition, segment, file);
            }
            LogAction::Write { partition, segment, offset, bytes, .. } => {
                let (file, writes) = self.files.get_mut(&(partition, segment)).unwrap();
                let upto = offset + bytes.len() as u64;
                file.writes[*writes].set((offset, bytes.to_vec())).unwrap();
                *writes += 1;
                shard.written(partition, segment, upto);
            }
            LogAction::RemoveSegment { partition, segment, .. } => {
                self.files.remove(&(partition, segment)).unwrap();
                self.removed += 1;
            }
        }
    }
}
