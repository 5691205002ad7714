//! What the machine costs by itself: a durable append with nothing around it, and a loopback round trip between two
//! threads. Latency goals are stated as multiples of these, measured in the same run.

use hardware::aligned::AlignedBuf;
use hardware::block_file::{BlockFile, PreferDirect, WriteSync};
use hardware::cpu::pin_current_thread;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const APPEND_FILE_BLOCKS: u64 = 4096;

/// Percentiles of something timed, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Timing {
    /// Times measured.
    pub count: u64,
    /// Median.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl Timing {
    /// Sums a histogram of nanoseconds up.
    pub fn of(histogram: &Histogram<u64>) -> Timing {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Timing {
            count: histogram.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

/// Durable appends of 4 KiB to a prepared file in `folder`, one after the other for `time`, optionally not faster than
/// one per `every`.
///
/// # Errors
/// The file cannot be made or written.
pub fn durable_append(folder: &Path, time: Duration, every: Option<Duration>) -> io::Result<Timing> {
    let path = folder.join("baseline-append.tmp");
    let result = append_to(&path, time, every);
    let removed = std::fs::remove_file(&path);
    let timing = result?;
    removed?;
    Ok(timing)
}

fn append_to(path: &Path, time: Duration, every: Option<Duration>) -> io::Result<Timing> {
    let file = BlockFile::create(path, APPEND_FILE_BLOCKS * BLOCK as u64, PreferDirect::Yes)?;
    file.fill_with_zeroes()?;
    file.sync_data()?;
    let mut block = AlignedBuf::with_capacity(BLOCK);
    block.extend_from_slice(&[7; BLOCK]);
    let mut histogram = histogram()?;
    let begun = Instant::now();
    let mut due = begun;
    for number in 0.. {
        if begun.elapsed() >= time {
            break;
        }
        if let Some(every) = every {
            due += every;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let started = if every.is_some() { due.max(begun) } else { Instant::now() };
        file.write_at(number % APPEND_FILE_BLOCKS * BLOCK as u64, block.as_slice(), WriteSync::Data)?;
        histogram.saturating_record(started.elapsed().as_nanos() as u64);
    }
    Ok(Timing::of(&histogram))
}

/// Round trips of `bytes` bytes between two threads over loopback, for `time`. `pin` names the cores of the asking and
/// the answering side.
///
/// # Errors
/// A socket call failed.
pub fn loopback(bytes: usize, time: Duration, pin: Option<(usize, usize)>) -> io::Result<Timing> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        if let Some((_, core)) = pin {
            pin_current_thread(core)?;
        }
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; bytes];
        while stream.read_exact(&mut buffer).is_ok() {
            stream.write_all(&buffer)?;
        }
        Ok(())
    });
    let asked = ask(address, bytes, time, pin);
    let answered = echo.join().map_err(|_| io::Error::other("the echo thread failed"))?;
    let histogram = asked?;
    answered?;
    Ok(Timing::of(&histogram))
}

fn ask(
    address: std::net::SocketAddr,
    bytes: usize,
    time: Duration,
    pin: Option<(usize, usize)>,
) -> io::Result<Histogram<u64>> {
    // A thread of its own, so that pinning it leaves the caller where it was.
    let asking = std::thread::spawn(move || -> io::Result<Histogram<u64>> {
        if let Some((core, _)) = pin {
            pin_current_thread(core)?;
        }
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![1; bytes];
        let mut histogram = histogram()?;
        let begun = Instant::now();
        while begun.elapsed() < time {
            let started = Instant::now();
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
            histogram.saturating_record(started.elapsed().as_nanos() as u64);
        }
        Ok(histogram)
    });
    asking.join().map_err(|_| io::Error::other("the asking thread failed"))?
}

fn histogram() -> io::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn appends_and_round_trips_are_counted_and_leave_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let append = durable_append(folder.path(), Duration::from_millis(50), None).unwrap();
        assert!(append.count > 0 && append.p50_us > 0.0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let trip = loopback(64, Duration::from_millis(50), None).unwrap();
        assert!(trip.count > 0 && trip.max_us >= trip.p50_us);
    }
}
