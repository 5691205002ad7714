//! What the machine costs by itself: a durable append with nothing around it, and a loopback round trip between two
//! threads. Latency goals are stated as multiples of these, measured in the same run.

use hardware::block_file::{BlockFile, PreferDirect};
pub use hardware::probe::append::AppendMethod;
use hardware::probe::append::{Pace, appends};
use hardware::probe::loopback::round_trips;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

pub use hardware::probe::Timing;

const BLOCK: usize = 4096;
const APPEND_FILE_BYTES: u64 = 16 << 20;

/// Durable appends of 4 KiB to a prepared file in `folder`, one after the other for `time`, optionally not faster than
/// one per `every`. [`AppendMethod::Pwritev2Dsync`] is the bare one, [`AppendMethod::IoUringDsync`] what the server does.
///
/// # Errors
/// The file cannot be made or written.
pub fn durable_append(
    method: AppendMethod,
    folder: &Path,
    time: Duration,
    every: Option<Duration>,
) -> io::Result<Timing> {
    let path = folder.join("baseline-append.tmp");
    let result = append_to(method, &path, Pace { time, every });
    let removed = std::fs::remove_file(&path);
    let timing = result?;
    removed?;
    Ok(timing)
}

fn append_to(method: AppendMethod, path: &Path, pace: Pace) -> io::Result<Timing> {
    let file = BlockFile::create(path, APPEND_FILE_BYTES, PreferDirect::Yes)?;
    file.fill_with_zeroes()?;
    appends(method, &file, APPEND_FILE_BYTES, BLOCK, pace, &AtomicBool::new(false))
}

/// Round trips of `bytes` bytes between two threads over loopback, for `time`. `pin` names the cores of the asking and
/// the answering side.
///
/// # Errors
/// A socket call failed.
pub fn loopback(bytes: usize, time: Duration, pin: Option<(usize, usize)>) -> io::Result<Timing> {
    round_trips(bytes, time, pin, &AtomicBool::new(false))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn appends_and_round_trips_are_counted_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for method in [AppendMethod::Pwritev2Dsync, AppendMethod::IoUringDsync] {
            let append = durable_append(method, folder.path(), Duration::from_millis(50), None).unwrap();
            assert!(append.count > 0 && append.p50_us > 0.0);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let trip = loopback(64, Duration::from_millis(50), None).unwrap();
        assert!(trip.count > 0 && trip.max_us >= trip.p50_us);
    }
}
