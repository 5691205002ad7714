//! What the server's reactor costs with nothing on top: echoes and fan-outs that only receive and send. No server built on
//! it does better on the same machine, so a figure that misses its goal is held against these.

use hardware::cpu::thread_cpu_time;
use hardware::listen::set_nodelay;
use hardware::reactor::{Event, Reactor, ReactorConfig, SocketId};
use serde::Serialize;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How long either side waits for the other at the most.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a side that waits looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);
/// Sends between two submissions in a fan-out, as many as the server has.
const SENDS: usize = 128;

/// Echoes, each connection with one under way.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Echoes {
    /// Connections.
    pub connections: usize,
    /// Echoes in a second.
    pub per_second: f64,
    /// Processor time of the answering thread for one, in microseconds.
    pub cpu_us: f64,
    /// Processor time of the asking thread for one, in microseconds.
    pub asking_cpu_us: f64,
}

/// Messages to all of many connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Fanouts {
    /// Connections.
    pub connections: usize,
    /// From the first send to the last arrival: median over the rounds, in microseconds.
    pub last_p50_us: f64,
    /// Processor time of the sending thread for one message, in microseconds.
    pub cpu_us: f64,
}

/// Echoes of `bytes` bytes on `connections` connections between two reactors, for `time`.
///
/// # Errors
/// No sockets, no ring, or a side that waits for the other in vain.
pub fn echoes(connections: usize, bytes: usize, time: Duration) -> io::Result<Echoes> {
    let (near, far) = pairs(connections)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let answering = scope.spawn(|| {
            let _ends = SetOnDrop(&over);
            let (mut reactor, _) = reactor_with(near)?;
            let mut events = Vec::new();
            while !over.load(Ordering::Relaxed) {
                reactor.turn(&mut events, Some(Instant::now() + LOOK), || true)?;
                for event in events.drain(..) {
                    if let Event::Received { socket, data } = event {
                        reactor.send(socket, data.to_vec());
                    }
                }
            }
            Ok::<_, io::Error>(thread_cpu_time())
        });
        let ends = SetOnDrop(&over);
        let (mut reactor, sockets) = reactor_with(far)?;
        let mut missing = vec![bytes; connections];
        sockets.iter().for_each(|socket| reactor.send(*socket, vec![1; bytes]));
        let (begun, cpu, mut done, mut events) = (Instant::now(), thread_cpu_time(), 0u64, Vec::new());
        while begun.elapsed() < time {
            reactor.turn(&mut events, Some(Instant::now() + LOOK), || true)?;
            for event in events.drain(..) {
                let Event::Received { socket, data } = event else { continue };
                let missing = &mut missing[socket.slot()];
                *missing -= data.len();
                if *missing == 0 {
                    *missing = bytes;
                    done += 1;
                    reactor.send(socket, vec![1; bytes]);
                }
            }
        }
        let (took, asking) = (begun.elapsed(), thread_cpu_time() - cpu);
        drop(ends);
        let answering = answering.join().map_err(|_| io::Error::other("the answering thread panicked"))??;
        let each = |time: Duration| time.as_secs_f64() * 1e6 / done.max(1) as f64;
        let per_second = done as f64 / took.as_secs_f64();
        Ok(Echoes { connections, per_second, cpu_us: each(answering), asking_cpu_us: each(asking) })
    })
}

/// Messages of `bytes` bytes to each of `connections` connections, from one reactor to another, round by round for `time`.
///
/// # Errors
/// No sockets, no ring, or messages that do not arrive.
pub fn fanouts(connections: usize, bytes: usize, time: Duration) -> io::Result<Fanouts> {
    let (near, far) = pairs(connections)?;
    let over = AtomicBool::new(false);
    let (arrived, arrivals) = mpsc::channel();
    thread::scope(|scope| {
        let over = &over;
        let receiving = scope.spawn(move || {
            let (mut reactor, _) = reactor_with(far)?;
            let (mut events, mut received) = (Vec::new(), 0);
            while !over.load(Ordering::Relaxed) {
                reactor.turn(&mut events, Some(Instant::now() + LOOK), || true)?;
                for event in events.drain(..) {
                    if let Event::Received { data, .. } = event {
                        received += data.len();
                    }
                }
                if received >= connections * bytes {
                    received -= connections * bytes;
                    let _ = arrived.send(Instant::now());
                }
            }
            Ok::<_, io::Error>(())
        });
        let ends = SetOnDrop(over);
        let (mut reactor, sockets) = reactor_with(near)?;
        let (begun, mut lasts, mut cpu, mut events) = (Instant::now(), Vec::new(), Duration::ZERO, Vec::new());
        while lasts.is_empty() || begun.elapsed() < time {
            let (started, before, mut sent) = (Instant::now(), thread_cpu_time(), 0);
            for some in sockets.chunks(SENDS) {
                some.iter().for_each(|socket| reactor.send(*socket, vec![1; bytes]));
                reactor.send_now();
            }
            while sent < connections {
                reactor.turn(&mut events, Some(Instant::now() + LOOK), || true)?;
                sent += events.drain(..).filter(|event| matches!(event, Event::Sent { .. })).count();
            }
            cpu += thread_cpu_time() - before;
            let last = arrivals.recv_timeout(PATIENCE).map_err(io::Error::other)?;
            lasts.push(last.saturating_duration_since(started));
        }
        drop(ends);
        receiving.join().map_err(|_| io::Error::other("the receiving thread panicked"))??;
        lasts.sort_unstable();
        let last_p50_us = lasts[lasts.len() / 2].as_secs_f64() * 1e6;
        let cpu_us = cpu.as_secs_f64() * 1e6 / (lasts.len() * connections) as f64;
        Ok(Fanouts { connections, last_p50_us, cpu_us })
    })
}

/// Tells the other side that it need not go on, also when this one fails.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The two ends of so many connections.
fn pairs(connections: usize) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let mut ends = (Vec::new(), Vec::new());
    for _ in 0..connections {
        let far = OwnedFd::from(TcpStream::connect(address)?);
        let near = OwnedFd::from(listener.accept()?.0);
        set_nodelay(&far)?;
        set_nodelay(&near)?;
        ends.0.push(near);
        ends.1.push(far);
    }
    Ok(ends)
}

fn reactor_with(ends: Vec<OwnedFd>) -> io::Result<(Reactor, Vec<SocketId>)> {
    let mut reactor = Reactor::new(ReactorConfig::default()).map_err(io::Error::other)?;
    let sockets = ends.into_iter().map(|end| reactor.adopt(end)).collect();
    Ok((reactor, sockets))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn echoes_and_fanouts_are_counted() {
        let echoes = echoes(3, 64, Duration::from_millis(50)).unwrap();
        assert!(echoes.per_second > 0.0 && echoes.cpu_us > 0.0 && echoes.asking_cpu_us > 0.0);
        let fanouts = fanouts(200, 64, Duration::from_millis(50)).unwrap();
        assert!(fanouts.last_p50_us > 0.0 && fanouts.cpu_us > 0.0);
    }
}
