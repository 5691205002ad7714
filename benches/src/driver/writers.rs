//! Writers that go on through an ensemble's accidents.
//!
//! Each has a session and a node of its own, writes on schedule, and when a server is gone or silent tries the next one at
//! once, attaching to the same session. Every acknowledged write is kept with its times.

use crate::stop::Stop;
use crate::wire::reply::reply;
use crate::wire::session::{Ask, Expired, open_session_within};
use crate::wire::{Session, request};
use crate::workload::{Servers, Tree};
use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two attempts to find a server.
const RETRY: Duration = Duration::from_millis(5);
/// How long a writer sleeps at most before it looks whether it is asked to end.
const LOOK: Duration = Duration::from_millis(50);
/// No reply to a setData is longer.
const REPLY_MAX: usize = 4096;

/// How to write.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Writers, each with a session.
    pub(crate) writers: u32,
    /// Writes per second of all together.
    pub(crate) rate: f64,
    /// Bytes of each.
    pub(crate) bytes: usize,
    /// The timeout that sessions ask for.
    pub(crate) timeout: Duration,
    /// How long a server may be silent before the next one is tried.
    pub(crate) patience: Duration,
}

/// An acknowledged write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) writer: u32,
    /// When it was due, and when it went out at last.
    pub(crate) meant: Instant,
    pub(crate) sent: Instant,
    pub(crate) acked: Instant,
}

#[derive(Debug, Default)]
struct Shared {
    acked: Mutex<Vec<Acked>>,
    lost_sessions: AtomicU64,
    refused: AtomicU64,
}

/// Writers at work.
pub(crate) struct Writers {
    shared: Arc<Shared>,
    halt: Stop,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// Starts them on keys `0..writers` of the tree, spread over the servers.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(pace: &Pace, servers: &Servers, tree: &Tree) -> anyhow::Result<Writers> {
        let (shared, halt, begin) = (Arc::new(Shared::default()), Stop::default(), Instant::now());
        let mut all = Writers { shared, halt, threads: Vec::new() };
        for number in 0..pace.writers {
            let period = Duration::from_secs_f64(f64::from(pace.writers) / pace.rate);
            let mut path = Vec::new();
            tree.key(number.into(), &mut path);
            let writer = Writer {
                number,
                path,
                period,
                // In turn, so that all together write evenly.
                next: begin + period.mul_f64(f64::from(number) / f64::from(pace.writers)),
                at: number as usize,
                pace: pace.clone(),
                servers: servers.clone(),
                again: None,
                xid: 0,
                shared: Arc::clone(&all.shared),
                halt: all.halt.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("writer-{number}"));
            all.threads.push(thread.spawn(move || writer.run()).context("no thread for a writer")?);
        }
        Ok(all)
    }

    /// What was acknowledged so far, in the order of the acknowledgements.
    pub(crate) fn acked(&self) -> Vec<Acked> {
        self.shared.acked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By how much the latest `count` acknowledgements came after their writes were due, at the most; `None` if there are
    /// not so many.
    pub(crate) fn lag(&self, count: usize) -> Option<Duration> {
        let acked = self.shared.acked.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = &acked[acked.len().checked_sub(count)?..];
        latest.iter().map(|write| write.acked.saturating_duration_since(write.meant)).max()
    }

    /// Forgets what was acknowledged so far.
    pub(crate) fn forget(&self) {
        self.shared.acked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sessions that expired, and writes that a server answered with an error.
    pub(crate) fn failures(&self) -> (u64, u64) {
        (self.shared.lost_sessions.load(Ordering::Relaxed), self.shared.refused.load(Ordering::Relaxed))
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.halt.set();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

struct Writer {
    number: u32,
    path: Vec<u8>,
    period: Duration,
    next: Instant,
    /// Place of the server that it is on, or tries next.
    at: usize,
    pace: Pace,
    servers: Servers,
    again: Option<(i64, [u8; 16])>,
    xid: i32,
    shared: Arc<Shared>,
    halt: Stop,
}

impl Writer {
    fn run(mut self) {
        let (mut session, value) = (None, vec![b'w'; self.pace.bytes]);
        while !self.halt.is_set() {
            let early = self.next.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                std::thread::sleep(early.min(LOOK));
                continue;
            }
            let Some(open) = &mut session else {
                session = self.attach();
                continue;
            };
            let sent = Instant::now();
            self.xid = self.xid.checked_add(1).unwrap_or(1);
            let mut out = Vec::with_capacity(value.len() + 128);
            request::set(&mut out, self.xid, &self.path, &value);
            match exchange(open, &out, self.xid) {
                Ok(0) => {
                    let acked = Acked { writer: self.number, meant: self.next, sent, acked: Instant::now() };
                    self.shared.acked.lock().unwrap_or_else(PoisonError::into_inner).push(acked);
                    self.next += self.period;
                }
                Ok(_) => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                    self.next += self.period;
                }
                // Whether it was done nobody knows: it is written again.
                Err(_) => {
                    session = None;
                    self.at += 1;
                }
            }
        }
        if let Some(mut open) = session {
            let mut out = Vec::new();
            request::close(&mut out, self.xid + 1);
            let _ = exchange(&mut open, &out, self.xid + 1);
        }
    }

    fn attach(&mut self) -> Option<Session> {
        let addresses = self.servers.addresses();
        let ask = Ask { again: self.again, ..Ask::new(addresses[self.at % addresses.len()], self.pace.timeout) };
        let opened = open_session_within(&ask, self.pace.patience).and_then(|session| {
            session.stream.set_read_timeout(Some(self.pace.patience))?;
            session.stream.set_write_timeout(Some(self.pace.patience))?;
            Ok(session)
        });
        match opened {
            Ok(session) => {
                self.again = Some((session.id, session.password));
                Some(session)
            }
            Err(error) => {
                if error.downcast_ref::<Expired>().is_some() {
                    self.shared.lost_sessions.fetch_add(1, Ordering::Relaxed);
                    self.again = None;
                } else {
                    self.at += 1;
                    std::thread::sleep(RETRY);
                }
                None
            }
        }
    }
}

/// Sends a request and waits for its reply's error code.
fn exchange(session: &mut Session, request: &[u8], xid: i32) -> anyhow::Result<i32> {
    session.stream.write_all(request)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 512];
    loop {
        while let Some((length, reply)) = reply(&bytes) {
            if reply.xid == xid {
                return Ok(reply.error);
            }
            bytes.drain(..length);
        }
        match session.stream.read(&mut chunk)? {
            0 => bail!("the server closed the connection"),
            _ if bytes.len() > REPLY_MAX => bail!("a reply of more than {REPLY_MAX} bytes"),
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
}

/// The longest time without an acknowledgement between two moments, seconds; the whole time where there was none.
pub(crate) fn longest_gap(acked: &[Acked], from: Instant, to: Instant) -> f64 {
    let inside = acked.iter().map(|write| write.acked).filter(|at| (from..to).contains(at));
    let mut last = from;
    let mut longest = Duration::ZERO;
    for at in inside.chain(std::iter::once(to)) {
        longest = longest.max(at.saturating_duration_since(last));
        last = at;
    }
    longest.as_secs_f64()
}

/// When the first write was acknowledged that was sent after `from`, seconds from then; of one writer, or of any.
pub(crate) fn first_after(acked: &[Acked], from: Instant, writer: Option<u32>) -> Option<f64> {
    let fits = |write: &&Acked| write.sent >= from && writer.is_none_or(|writer| write.writer == writer);
    acked.iter().find(fits).map(|write| (write.acked - from).as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(begin: Instant, times: &[(u64, u64, u32)]) -> Vec<Acked> {
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let write = |(sent, acked, writer): &(u64, u64, u32)| Acked {
            writer: *writer,
            meant: at(*sent),
            sent: at(*sent),
            acked: at(*acked),
        };
        times.iter().map(write).collect()
    }

    #[test]
    fn the_longest_gap_is_between_acknowledgements_and_the_ends() {
        let begin = Instant::now();
        let end = begin + Duration::from_millis(100);
        let gap = |times: &[(u64, u64, u32)]| (longest_gap(&acked(begin, times), begin, end) * 1e3).round() as u64;
        assert_eq!(gap(&[]), 100);
        assert_eq!(gap(&[(0, 10, 0), (10, 20, 0), (20, 75, 1), (80, 90, 0)]), 55);
        assert_eq!(gap(&[(0, 10, 0), (0, 20, 0)]), 80);
        assert_eq!(gap(&[(0, 60, 0), (60, 70, 0), (200, 300, 0)]), 60);
    }

    #[test]
    fn a_write_on_its_way_before_the_accident_is_not_the_first_after_it() {
        let begin = Instant::now();
        let all = acked(begin, &[(0, 30, 0), (20, 50, 1), (25, 60, 0)]);
        let first =
            |writer| first_after(&all, begin + Duration::from_millis(10), writer).map(|s| (s * 1e3).round() as u64);
        assert_eq!((first(None), first(Some(0)), first(Some(1)), first(Some(2))), (Some(40), Some(50), Some(40), None));
    }
}
