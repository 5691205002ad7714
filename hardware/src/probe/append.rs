//! Durable appends: how long until written bytes are on stable storage, by method and size.
//!
//! Each write follows the one before it in a file that has been written once, and starts over at its end, as a log does
//! whose segments are prepared.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::timing::{Stopwatch, Timing};
use crate::aligned::AlignedBuf;
use crate::block_file::{BlockFile, WriteSync};
use crate::mapping::WritableMap;
use crate::reactor::{Event, Reactor, ReactorConfig};

/// How an append is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AppendMethod {
    /// One call, pwritev2 with RWF_DSYNC, past the page cache (O_DIRECT) where the file system can.
    Pwritev2Dsync,
    /// A write through the page cache, then fdatasync.
    WriteFdatasync,
    /// As the first, through io_uring; this is how the server writes its log.
    IoUringDsync,
    /// As the second, through io_uring.
    IoUringFdatasync,
    /// Bytes stored to a shared map, then msync.
    MmapMsync,
    /// A direct write without any flush, to hold the others against: it is not durable.
    Unsynced,
}

impl AppendMethod {
    /// All of them.
    pub const ALL: [AppendMethod; 6] = [
        AppendMethod::Pwritev2Dsync,
        AppendMethod::WriteFdatasync,
        AppendMethod::IoUringDsync,
        AppendMethod::IoUringFdatasync,
        AppendMethod::MmapMsync,
        AppendMethod::Unsynced,
    ];

    /// Whether a completed append has been flushed.
    pub fn is_durable(self) -> bool {
        self != AppendMethod::Unsynced
    }

    /// Whether it writes past the page cache where the file system can.
    pub fn is_direct(self) -> bool {
        matches!(self, AppendMethod::Pwritev2Dsync | AppendMethod::IoUringDsync | AppendMethod::Unsynced)
    }
}

/// Appends of one method and size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Append {
    /// How.
    pub method: AppendMethod,
    /// Bytes of each.
    pub bytes: u64,
    /// Whether they really went past the page cache.
    pub direct: bool,
    /// Whether the file system refused the flag RWF_DSYNC, so that a flush after the write took its place.
    pub fell_back: bool,
    /// From the start of the write until it is durable.
    pub timing: Timing,
    /// Appends in a second, one after the other.
    pub per_second: f64,
    /// Why there are no times, if it could not be done here.
    pub error: Option<String>,
}

impl Append {
    /// Measures for `time`. A failure is part of the result: other methods may do.
    pub fn measure(
        method: AppendMethod,
        file: &Arc<BlockFile>,
        file_bytes: u64,
        bytes: usize,
        time: Duration,
        stop: &AtomicBool,
    ) -> Append {
        let measured = appends(method, file, file_bytes, bytes, Pace { time, every: None }, stop);
        let (timing, error) = match measured {
            Ok(timing) => (timing, None),
            Err(error) => (Timing::default(), Some(error.to_string())),
        };
        let asked = matches!(method, AppendMethod::Pwritev2Dsync | AppendMethod::IoUringDsync);
        Append {
            method,
            bytes: bytes as u64,
            direct: file.is_direct(),
            fell_back: asked && !file.dsync(),
            timing,
            per_second: timing.per_second(),
            error,
        }
    }
}

/// How long to go on, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// In all.
    pub time: Duration,
    /// One append per this time, counted from when it was due; `None`: one after the other.
    pub every: Option<Duration>,
}

/// Appends of `bytes` bytes (whole blocks on a direct file) to the first `file_bytes` of `file`, over and over.
///
/// # Errors
/// The first failure; the method may not be there (io_uring forbidden).
pub fn appends(
    method: AppendMethod,
    file: &Arc<BlockFile>,
    file_bytes: u64,
    bytes: usize,
    pace: Pace,
    stop: &AtomicBool,
) -> io::Result<Timing> {
    let slots = file_bytes / bytes as u64;
    if slots == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the file is shorter than one append"));
    }
    let mut writer = Writer::new(method, file, file_bytes, bytes)?;
    let mut watch = Stopwatch::start(pace.time)?;
    let mut due = watch.begun();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if let Some(every) = pace.every {
            due += every;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let started = if pace.every.is_some() { due } else { Instant::now() };
        writer.append(number % slots * bytes as u64)?;
        watch.record(started.elapsed());
        // Asked last: however slow the disk and busy the host, there is one.
        if watch.is_over() {
            break;
        }
    }
    Ok(watch.timing())
}

/// Carries one method out.
enum Writer {
    Call { file: Arc<BlockFile>, block: AlignedBuf, sync: WriteSync, flush: bool },
    Ring { reactor: Box<Reactor>, file: Arc<BlockFile>, block: AlignedBuf, sync: WriteSync, events: Vec<Event> },
    Map { map: WritableMap, block: AlignedBuf },
}

impl Writer {
    fn new(method: AppendMethod, file: &Arc<BlockFile>, file_bytes: u64, bytes: usize) -> io::Result<Writer> {
        let mut block = AlignedBuf::with_capacity(bytes);
        block.extend_from_slice(&vec![7; bytes]);
        let file = Arc::clone(file);
        let call = |file, block, sync, flush| Writer::Call { file, block, sync, flush };
        Ok(match method {
            AppendMethod::Pwritev2Dsync => call(file, block, WriteSync::Data, false),
            AppendMethod::WriteFdatasync => call(file, block, WriteSync::None, true),
            AppendMethod::Unsynced => call(file, block, WriteSync::None, false),
            AppendMethod::IoUringDsync | AppendMethod::IoUringFdatasync => {
                let config =
                    ReactorConfig { sq_entries: 8, recv_buffers: 2, recv_buffer_bytes: 64, ..Default::default() };
                let reactor = Box::new(Reactor::new(config).map_err(io::Error::other)?);
                let sync = if method == AppendMethod::IoUringDsync { WriteSync::Data } else { WriteSync::None };
                Writer::Ring { reactor, file, block, sync, events: Vec::new() }
            }
            AppendMethod::MmapMsync => {
                let len = usize::try_from(file_bytes).map_err(io::Error::other)?;
                Writer::Map { map: WritableMap::map(&file, len)?, block }
            }
        })
    }

    fn append(&mut self, offset: u64) -> io::Result<()> {
        match self {
            Writer::Call { file, block, sync, flush } => {
                file.write_at(offset, block, *sync)?;
                if *flush { file.sync_data() } else { Ok(()) }
            }
            Writer::Ring { reactor, file, block, sync, events } => {
                let bytes = std::mem::replace(block, AlignedBuf::with_capacity(0));
                reactor.write(0, file, offset, bytes, *sync);
                match next(reactor, events)? {
                    Event::Written { result, buf, .. } => {
                        *block = buf;
                        result?;
                    }
                    other => return Err(io::Error::other(format!("a write ended as {other:?}"))),
                }
                if *sync == WriteSync::Data {
                    return Ok(());
                }
                reactor.sync(1, file);
                match next(reactor, events)? {
                    Event::Synced { result, .. } => result,
                    other => Err(io::Error::other(format!("a flush ended as {other:?}"))),
                }
            }
            Writer::Map { map, block } => {
                let offset = usize::try_from(offset).map_err(io::Error::other)?;
                map.store(offset, block)?;
                map.flush(offset, block.len())
            }
        }
    }
}

fn next(reactor: &mut Reactor, events: &mut Vec<Event>) -> io::Result<Event> {
    loop {
        if let Some(event) = events.pop() {
            return Ok(event);
        }
        reactor.turn(events, None, || true)?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::block_file::PreferDirect;

    const BYTES: usize = 8192;

    fn file(dir: &tempfile::TempDir, method: AppendMethod) -> Arc<BlockFile> {
        let prefer = if method.is_direct() { PreferDirect::Yes } else { PreferDirect::No };
        let file = BlockFile::create(&dir.path().join(format!("{method:?}")), 4 * BYTES as u64, prefer).unwrap();
        file.fill_with_zeroes().unwrap();
        file
    }

    #[test]
    fn every_method_writes_what_it_times() {
        for place in [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
            for method in AppendMethod::ALL {
                let file = file(&place, method);
                let time = Duration::from_millis(2);
                let append = Append::measure(method, &file, 4 * BYTES as u64, BYTES, time, &AtomicBool::new(false));
                assert_eq!(append.error, None, "{method:?}");
                assert!(append.timing.count > 0 && append.per_second > 0.0, "{method:?}");
                let mut found = vec![0; BYTES];
                file.read_at(0, &mut found).unwrap();
                assert!(found.iter().all(|byte| *byte == 7), "{method:?}");
            }
        }
    }

    #[test]
    fn it_ends_when_it_is_told_to_and_starts_over_at_the_end() {
        let place = tempfile::tempdir().unwrap();
        let method = AppendMethod::WriteFdatasync;
        let file = file(&place, method);
        let pace = Pace { time: Duration::from_secs(60), every: None };
        let stopped = appends(method, &file, 4 * BYTES as u64, BYTES, pace, &AtomicBool::new(true)).unwrap();
        assert_eq!(stopped.count, 0);
        let mut writer = Writer::new(method, &file, 4 * BYTES as u64, BYTES).unwrap();
        for number in 0..9 {
            writer.append(number % 4 * BYTES as u64).unwrap();
        }
        assert_eq!(file.len().unwrap(), 4 * BYTES as u64);
    }

    #[test]
    fn what_cannot_be_done_is_told_in_the_result() {
        let place = tempfile::tempdir().unwrap();
        let file = file(&place, AppendMethod::WriteFdatasync);
        let time = Duration::from_millis(1);
        let method = AppendMethod::WriteFdatasync;
        let append = Append::measure(method, &file, 10, BYTES, time, &AtomicBool::new(false));
        assert!(append.error.unwrap().contains("shorter than one append"));
        assert_eq!(append.timing.count, 0);
    }
}
