//! The files of partition logs, written by plain system calls: there is nobody yet whom that would keep waiting.

use super::super::data_dir::partition_file;
use super::super::residency::{MappedLog, ResidencyClock};
use super::super::segments::{OpenSegment, SegmentKey};
use super::{TransferError, failed};
use engine::ids::PartitionId;
use engine::partition::{LogAction, PartitionCut, SegmentBytes};
use engine::shard::{Shard, ShardAction};
use hardware::block_file::{BlockFile, PreferDirect, WriteSync};
use hardware::data_dir::dir_sync;
use hardware::mapping::MappedSegment;
use replication::peer::snapshot::stage::Stage;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

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
    open: HashMap<SegmentKey, Segment>,
    clock: Arc<ResidencyClock>,
    todo: Vec<LogAction>,
    write_out: Option<WriteOut>,
}

/// A segment that is being written, from its beginning to its end.
struct Segment {
    file: Arc<BlockFile>,
    map: Arc<MappedSegment>,
    /// What lies before has been handed to the disk.
    handed_on: u64,
    /// Whether nothing was written since its last flush was begun.
    is_flushed: bool,
}

/// Bytes of a segment that are handed to the disk at a time: enough that they cost little, and few enough that others
/// hardly wait for them.
const WRITE_OUT_BYTES: u64 = 256 << 10;
/// Portions that may wait to be handed on; whoever writes more waits for the disk.
const WRITE_OUT_MAX: usize = 64;

/// Hands the disk what has been written, as it comes: one portion after the other, so that those whom it serves besides
/// never wait for more than one, where a flush at the end would have it take everything at once.
struct WriteOut {
    orders: SyncSender<Order>,
    thread: JoinHandle<io::Result<()>>,
}

enum Order {
    /// A portion: file, offset, bytes.
    WriteOut(Arc<BlockFile>, u64, u64),
    /// These files, with everything that has been written so far.
    Flush(Vec<Arc<BlockFile>>),
}

impl Order {
    fn carry_out(self) -> io::Result<()> {
        match self {
            Order::WriteOut(file, offset, bytes) => file.write_out(offset, bytes),
            Order::Flush(files) => files.iter().try_for_each(|file| file.sync_data()),
        }
    }
}

impl WriteOut {
    /// # Errors
    /// The system has no thread left.
    fn start() -> io::Result<WriteOut> {
        let (orders, given) = sync_channel::<Order>(WRITE_OUT_MAX);
        let work = move || given.into_iter().try_for_each(Order::carry_out);
        let thread = std::thread::Builder::new().name("write-out".into()).spawn(work)?;
        Ok(WriteOut { orders, thread })
    }

    /// Waits until everything has been handed on.
    fn end(self) -> io::Result<()> {
        drop(self.orders);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl LogFolder {
    /// The folder, in which there are no logs yet.
    pub fn new(folder: PathBuf) -> LogFolder {
        LogFolder { folder, open: HashMap::new(), clock: Arc::default(), todo: Vec::new(), write_out: None }
    }

    /// The folder of a server, in which there are none of these logs yet. What is written goes on to the disk little by
    /// little, for the sake of others that use it; the logs may be handed over to shards.
    pub fn beside_others(folder: PathBuf, clock: Arc<ResidencyClock>) -> LogFolder {
        // Without it everything is left to the flush.
        let write_out = WriteOut::start().ok();
        LogFolder { clock, write_out, ..LogFolder::new(folder) }
    }

    /// The segments, to be gone on with. Flushed, if nothing was written since [`Self::flush`].
    pub fn segments(&self) -> HashMap<SegmentKey, OpenSegment> {
        let open = |segment: &Segment| OpenSegment::new(Arc::clone(&segment.file), Arc::clone(&segment.map));
        self.open.iter().map(|(key, segment)| (*key, open(segment))).collect()
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

    /// Begins to flush all files, beside whatever comes until [`Self::flush`], if there is a thread for it.
    pub fn begin_flush(&mut self) {
        if let Some(write_out) = &self.write_out {
            self.open.values_mut().for_each(|segment| segment.is_flushed = true);
            let files = self.open.values().map(|segment| Arc::clone(&segment.file)).collect();
            // After a failure it takes no more, and says so at the flush.
            let _ = write_out.orders.send(Order::Flush(files));
        }
    }

    /// Flushes all files, and the folder.
    ///
    /// # Errors
    /// The file system's.
    pub fn flush(&mut self) -> Result<(), TransferError> {
        if let Some(write_out) = self.write_out.take() {
            write_out.end().map_err(failed(&self.folder, "write out"))?;
        }
        for Segment { file, .. } in self.open.values().filter(|segment| !segment.is_flushed) {
            file.sync_data().map_err(failed(file.path(), "flush"))?;
        }
        dir_sync(&self.folder).map_err(failed(&self.folder, "flush"))
    }

    /// Removes all files: what was written is of no use.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&mut self) -> Result<(), TransferError> {
        self.write_out = None;
        for (_, Segment { file, .. }) in self.open.drain() {
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
                self.open.insert(key, Segment { file, map: Arc::clone(&map), handed_on: 0, is_flushed: false });
                logs.segment_ready(partition, segment, Arc::new(MappedLog::new(map, Arc::clone(&self.clock))));
            }
            LogAction::Write { partition, generation, segment, offset, bytes } => {
                let key = SegmentKey { partition, generation, segment };
                let Some(Segment { file, map, handed_on, is_flushed }) = self.open.get_mut(&key) else {
                    return Err(failed(&self.path(key), "write")(std::io::ErrorKind::NotFound.into()));
                };
                *is_flushed = false;
                file.write_at(offset, &bytes, WriteSync::None).map_err(failed(file.path(), "write"))?;
                let end = offset + bytes.len() as u64;
                if let Some(write_out) = &self.write_out
                    && end - *handed_on >= WRITE_OUT_BYTES
                {
                    // After a failure it takes no more, and says so at the flush.
                    let _ = write_out.orders.send(Order::WriteOut(Arc::clone(file), *handed_on, end - *handed_on));
                    *handed_on = end;
                }
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
