//! The files of partition logs, written by plain system calls: there is nobody yet whom that would keep waiting.

use super::super::data_dir::partition_file;
use super::super::residency::{MappedLog, ResidencyClock};
use super::super::segments::SegmentKey;
use super::{TransferError, failed};
use engine::ids::PartitionId;
use engine::partition::{LogAction, PartitionCut, SegmentBytes};
use engine::shard::{Shard, ShardAction};
use hardware::block_file::{BlockFile, PreferDirect, WriteSync};
use hardware::data_dir::dir_sync;
use hardware::mapping::MappedSegment;
use replication::peer::snapshot::stage::Stage;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whoever has partition logs to write.
pub trait Logs {
    /// Hands out what is to be done; cuts of a checkpoint, if one is complete.
    fn log_actions(&mut self, out: &mut Vec<LogAction>) -> Result<Option<Vec<PartitionCut>>, TransferError>;
    /// A segment is there.
    fn segment_ready(&mut self, partition: PartitionId, segment: u32, bytes: Arc<dyn SegmentBytes>);
    /// A segment is written up to here.
    fn written(&mut self, partition: PartitionId, segment: u32, upto: u64);
}

impl Logs for Stage {
    fn log_actions(&mut self, out: &mut Vec<LogAction>) -> Result<Option<Vec<PartitionCut>>, TransferError> {
        self.actions(out);
        Ok(None)
    }

    fn segment_ready(&mut self, partition: PartitionId, segment: u32, bytes: Arc<dyn SegmentBytes>) {
        Stage::segment_ready(self, partition, segment, bytes);
    }

    fn written(&mut self, partition: PartitionId, segment: u32, upto: u64) {
        Stage::written(self, partition, segment, upto);
    }
}

impl Logs for Shard {
    fn log_actions(&mut self, out: &mut Vec<LogAction>) -> Result<Option<Vec<PartitionCut>>, TransferError> {
        let (mut actions, mut cuts) = (Vec::new(), None);
        self.take_actions(&mut actions);
        for action in actions {
            match action {
                ShardAction::Log(action) => out.push(action),
                ShardAction::Cut(complete) => cuts = Some(complete),
                ShardAction::Damaged(damage) => return Err(damage.into()),
                // Nobody watches or waits.
                _ => {}
            }
        }
        Ok(cuts)
    }

    fn segment_ready(&mut self, partition: PartitionId, segment: u32, bytes: Arc<dyn SegmentBytes>) {
        Shard::segment_ready(self, partition, segment, bytes);
    }

    fn written(&mut self, partition: PartitionId, segment: u32, upto: u64) {
        Shard::written(self, partition, segment, upto);
    }
}

/// A folder of partition logs.
pub struct LogFolder {
    folder: PathBuf,
    open: HashMap<SegmentKey, (Arc<BlockFile>, Arc<MappedSegment>)>,
    clock: Arc<ResidencyClock>,
    todo: Vec<LogAction>,
}

impl LogFolder {
    /// The folder, in which there are no logs yet.
    pub fn new(folder: PathBuf) -> LogFolder {
        LogFolder { folder, open: HashMap::new(), clock: Arc::default(), todo: Vec::new() }
    }

    /// Does all that is to be done. Returns the cuts of a checkpoint that is complete.
    ///
    /// # Errors
    /// A file cannot be made or written, or a log is damaged.
    pub fn work(&mut self, logs: &mut dyn Logs) -> Result<Option<Vec<PartitionCut>>, TransferError> {
        let mut cuts = None;
        loop {
            let mut todo = std::mem::take(&mut self.todo);
            cuts = logs.log_actions(&mut todo)?.or(cuts);
            if todo.is_empty() {
                return Ok(cuts);
            }
            for action in todo.drain(..) {
                self.carry_out(action, logs)?;
            }
            self.todo = todo;
        }
    }

    /// Flushes all files, and the folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn flush(&self) -> Result<(), TransferError> {
        for (file, _) in self.open.values() {
            file.sync_data().map_err(failed(file.path(), "flush"))?;
        }
        dir_sync(&self.folder).map_err(failed(&self.folder, "flush"))
    }

    /// Removes all files: what was written is of no use.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&mut self) -> Result<(), TransferError> {
        for (_, (file, _)) in self.open.drain() {
            hardware::data_dir::remove_file(file.path()).map_err(failed(file.path(), "remove"))?;
        }
        Ok(())
    }

    fn path(&self, key: SegmentKey) -> PathBuf {
        partition_file(&self.folder, key.partition.0, key.generation, key.segment)
    }

    fn carry_out(&mut self, action: LogAction, logs: &mut dyn Logs) -> Result<(), TransferError> {
        match action {
            LogAction::NeedSegment { partition, generation, segment, bytes } => {
                let key = SegmentKey { partition, generation, segment };
                let path = self.path(key);
                let (file, map) = make(&path, bytes)?;
                self.open.insert(key, (file, Arc::clone(&map)));
                logs.segment_ready(partition, segment, Arc::new(MappedLog::new(map, Arc::clone(&self.clock))));
            }
            LogAction::Write { partition, generation, segment, offset, bytes } => {
                let key = SegmentKey { partition, generation, segment };
                let Some((file, map)) = self.open.get(&key) else {
                    return Err(failed(&self.path(key), "write")(std::io::ErrorKind::NotFound.into()));
                };
                file.write_at(offset, &bytes, WriteSync::None).map_err(failed(file.path(), "write"))?;
                let end = offset + bytes.len() as u64;
                map.publish(usize::try_from(end).unwrap_or(usize::MAX));
                logs.written(partition, segment, end);
            }
            LogAction::RemoveSegment { partition, generation, segment } => {
                let key = SegmentKey { partition, generation, segment };
                self.open.remove(&key);
                let path = self.path(key);
                hardware::data_dir::remove_file(&path).map_err(failed(&path, "remove"))?;
            }
        }
        Ok(())
    }
}

fn make(path: &Path, bytes: u64) -> Result<(Arc<BlockFile>, Arc<MappedSegment>), TransferError> {
    let file = BlockFile::create(path, bytes, PreferDirect::No).map_err(failed(path, "make"))?;
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let map = MappedSegment::map(&file, 0, length, 0).map_err(failed(path, "map"))?;
    Ok((file, Arc::new(map)))
}
