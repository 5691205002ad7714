//! TCP over the loopback interface: round trips and a stream, on one processor and between two.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::timing::{Stopwatch, Timing};
use crate::cpu::pin_current_thread;

/// How long either side waits for the other, so that nothing waits for ever.
const PATIENCE: Duration = Duration::from_secs(60);
const STREAM_STEP_BYTES: usize = 64 << 10;

/// Which processors the two sides run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoopbackCores {
    /// Both on the same one.
    Same,
    /// One each.
    Across,
}

/// TCP between two threads that block in their calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loopback {
    /// Where the two sides run.
    pub cores: LoopbackCores,
    /// The processors of the asking and the answering side.
    pub processors: (usize, usize),
    /// Bytes of a question, and of its answer.
    pub bytes: u64,
    /// From a question to its answer, one after the other.
    pub timing: Timing,
    /// Round trips in a second, one after the other.
    pub per_second: f64,
    /// Bytes in a second, one way, in steps of 64 KiB.
    pub stream_bytes_per_second: f64,
}

/// Two thirds of `time` for round trips, one for the stream.
pub(super) fn measure(
    cores: LoopbackCores,
    processors: (usize, usize),
    bytes: usize,
    time: Duration,
    stop: &AtomicBool,
) -> io::Result<Loopback> {
    let timing = round_trips(bytes, time * 2 / 3, Some(processors), stop)?;
    let stream_bytes_per_second = stream(time / 3, Some(processors), stop)?;
    let per_second = timing.per_second();
    Ok(Loopback { cores, processors, bytes: bytes as u64, timing, per_second, stream_bytes_per_second })
}

/// Round trips of `bytes` bytes between two threads over loopback, for `time`. `pin` names the processors of the asking
/// and the answering side.
///
/// # Errors
/// A socket call failed.
pub fn round_trips(bytes: usize, time: Duration, pin: Option<(usize, usize)>, stop: &AtomicBool) -> io::Result<Timing> {
    let answer = |mut stream: TcpStream| {
        let mut buffer = vec![0; bytes];
        while fill(&mut stream, &mut buffer)? {
            stream.write_all(&buffer)?;
        }
        Ok(())
    };
    let ask = |mut stream: TcpStream| {
        let mut buffer = vec![1; bytes];
        let mut watch = Stopwatch::start(time)?;
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            stream.write_all(&buffer)?;
            stream.read_exact(&mut buffer)?;
            watch.record(started.elapsed());
            if watch.is_over() {
                break;
            }
        }
        Ok(watch.timing())
    };
    between(pin, ask, answer).map(|(timing, ())| timing)
}

/// Bytes that arrive in a second.
fn stream(time: Duration, pin: Option<(usize, usize)>, stop: &AtomicBool) -> io::Result<f64> {
    let send = |mut stream: TcpStream| {
        let buffer = vec![1; STREAM_STEP_BYTES];
        let begun = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            stream.write_all(&buffer)?;
            if begun.elapsed() >= time {
                break;
            }
        }
        Ok(())
    };
    let receive = |mut stream: TcpStream| {
        let mut buffer = vec![0; STREAM_STEP_BYTES];
        let (begun, mut received) = (Instant::now(), 0);
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok((received as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)).round()),
                count => received += count,
            }
        }
    };
    between(pin, send, receive).map(|((), rate)| rate)
}

/// Runs the two sides of a connection on threads of their own, so that pinning leaves the caller where it was.
fn between<A: Send, B: Send>(
    pin: Option<(usize, usize)>,
    near: impl FnOnce(TcpStream) -> io::Result<A> + Send,
    far: impl FnOnce(TcpStream) -> io::Result<B> + Send,
) -> io::Result<(A, B)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address: SocketAddr = listener.local_addr()?;
    // Connected before there are threads: a failure then leaves nobody waiting. The backlog takes it.
    let client = TcpStream::connect(address)?;
    let (server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
    }
    let pin_to = |cpu: Option<usize>| cpu.map_or(Ok(()), pin_current_thread);
    thread::scope(|scope| {
        let far = scope.spawn(move || pin_to(pin.map(|pin| pin.1)).and_then(|()| far(server)));
        let near = scope.spawn(move || pin_to(pin.map(|pin| pin.0)).and_then(|()| near(client)));
        let failed = |_| io::Error::other("a thread of the loopback measurement failed");
        let (near, far) = (near.join().map_err(failed)?, far.join().map_err(failed)?);
        Ok((near?, far?))
    })
}

/// Reads until `buffer` is full; false when the other side has ended its stream before the first byte.
fn fill(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<bool> {
    let first = stream.read(buffer)?;
    if first == 0 {
        return Ok(buffer.is_empty());
    }
    stream.read_exact(&mut buffer[first..]).map(|()| true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cpu::available_cpus;

    #[test]
    fn round_trips_and_a_stream_on_one_processor_and_on_two() {
        let cpus = available_cpus().unwrap();
        let (first, last) = (cpus[0], *cpus.last().unwrap());
        for (cores, processors) in [(LoopbackCores::Same, (first, first)), (LoopbackCores::Across, (first, last))] {
            let time = Duration::from_millis(30);
            let result = measure(cores, processors, 100, time, &AtomicBool::new(false)).unwrap();
            assert!(result.timing.count > 0 && result.per_second > 0.0);
            assert!(result.timing.max_us >= result.timing.p50_us && result.timing.p50_us > 0.0);
            assert!(result.stream_bytes_per_second > 0.0);
        }
        assert_eq!(available_cpus().unwrap(), cpus, "the caller stays where it was");
    }

    #[test]
    fn it_ends_when_it_is_told_to() {
        let stop = AtomicBool::new(true);
        assert_eq!(round_trips(10, Duration::from_secs(60), None, &stop).unwrap().count, 0);
        assert_eq!(stream(Duration::from_secs(60), None, &stop).unwrap(), 0.0);
    }

    #[test]
    fn a_processor_that_is_not_there_is_an_error() {
        let pin = Some((usize::MAX, usize::MAX));
        round_trips(10, Duration::from_millis(1), pin, &AtomicBool::new(false)).unwrap_err();
    }
}
