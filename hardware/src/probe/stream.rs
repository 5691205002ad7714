//! Sequential writing and reading of a larger file.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::scratch::{Name, Scratch};
use crate::aligned::AlignedBuf;
use crate::data_dir;

/// Bytes of each read.
const STEP_BYTES: usize = 1 << 20;

/// Rates of sequential work, in steps of 1 MiB, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Whether the reads went past the page cache. If not, they tell the speed of memory.
    pub direct: bool,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes written in a second, flush at the end included. The space was allocated before.
    pub write_bytes_per_second: f64,
    /// Bytes read in a second. Right after writing: a cache in the device or below it may answer.
    pub read_bytes_per_second: f64,
}

/// Writes a file of at most `bytes`, for half of `time` at most, and reads it for the other half.
pub(super) fn measure(scratch: &Scratch, bytes: u64, time: Duration, stop: &AtomicBool) -> io::Result<Stream> {
    let started = Instant::now();
    let (file, file_bytes) = scratch.file(Name::Stream, bytes, started + time / 2, stop)?;
    let wrote = started.elapsed();
    let mut buf = AlignedBuf::zeroed(STEP_BYTES);
    let (mut offset, mut read) = (0, 0);
    let started = Instant::now();
    while (read == 0 || started.elapsed() < time / 2) && !stop.load(Ordering::Relaxed) {
        let got = file.read_at(offset, &mut buf)?;
        read += got as u64;
        offset = if got < STEP_BYTES || offset + got as u64 >= file_bytes { 0 } else { offset + got as u64 };
    }
    let took = started.elapsed();
    scratch.remove(Name::Stream);
    let rate = |bytes: u64, time: Duration| (bytes as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)).round();
    Ok(Stream {
        direct: file.is_direct(),
        file_bytes,
        write_bytes_per_second: rate(file_bytes, wrote),
        read_bytes_per_second: if read == 0 { 0.0 } else { rate(read, took) },
    })
}

/// Bytes of the file to stream in `dir`: at most `wanted`, and never more than a quarter of what is free.
pub(super) fn affordable(dir: &std::path::Path, wanted: u64) -> io::Result<u64> {
    let free = data_dir::free_space(dir)?;
    Ok((free / 4).min(wanted) / STEP_BYTES as u64 * STEP_BYTES as u64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rates_are_told_and_the_file_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(place.path()).unwrap();
        let stream = measure(&scratch, 4 << 20, Duration::from_millis(20), &AtomicBool::new(false)).unwrap();
        assert!((2 << 20..=4 << 20).contains(&stream.file_bytes));
        assert!(stream.write_bytes_per_second > 0.0 && stream.read_bytes_per_second > 0.0);
        assert!(!scratch.path(Name::Stream).exists());
        let stopped = measure(&scratch, 4 << 20, Duration::from_secs(60), &AtomicBool::new(true)).unwrap();
        assert_eq!(stopped.read_bytes_per_second, 0.0);
    }

    #[test]
    fn no_more_than_a_quarter_of_what_is_free() {
        let place = tempfile::tempdir().unwrap();
        let most = affordable(place.path(), u64::MAX).unwrap();
        assert!(most <= data_dir::free_space(place.path()).unwrap() / 2);
        assert!(affordable(place.path(), 10 << 20).unwrap() <= 10 << 20);
    }
}
