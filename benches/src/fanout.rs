//! Many connections that watch one znode: the time from the change to the last delivery, and whether any event was lost
//! or doubled.

use crate::load::{open_watcher, set_frame, watch_frame};
use crate::process::cpu_time;
use hardware::reactor::{Event, Reactor, ReactorConfig, SocketId};
use serde::Serialize;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const NODE: &str = "/ringkeeper-fanout";
/// How long a round may take before its missing events count as lost.
const ROUND_LIMIT: Duration = Duration::from_secs(20);
/// After a round, how long doubles are waited for.
const SETTLE: Duration = Duration::from_millis(100);

/// What came of a fan-out.
#[derive(Clone, Debug, Serialize)]
pub struct Fanout {
    /// Connections, each with one watch.
    pub connections: u32,
    /// Changes.
    pub rounds: u32,
    /// Change to first delivery, median over the rounds, milliseconds.
    pub first_ms: f64,
    /// Change to last delivery, median, milliseconds.
    pub last_ms: f64,
    /// The slowest round's last delivery, milliseconds.
    pub worst_ms: f64,
    /// Watches that saw no event.
    pub lost: u64,
    /// Events beyond the first of a watch.
    pub doubled: u64,
    /// Server CPU per event from the change until all is delivered, microseconds, if its process is known.
    pub server_cpu_us: Option<f64>,
}

/// Watches one node from `connections` connections and changes it `rounds` times.
///
/// # Errors
/// The server cannot be reached, or a connection breaks.
pub fn run(server: SocketAddr, connections: u32, rounds: u32, server_pid: Option<u32>) -> io::Result<Fanout> {
    let mut writer = open_watcher(server)?;
    let mut xid = 1;
    ask(&mut writer, &crate::load::create_node_frame(xid, NODE))?;
    let mut reactor = Reactor::new(ReactorConfig::default()).map_err(io::Error::other)?;
    let mut watchers: HashMap<SocketId, Watcher> = HashMap::new();
    for _ in 0..connections {
        watchers.insert(reactor.adopt(open_watcher(server)?.into()), Watcher::default());
    }
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let (mut lost, mut doubled, mut cpu) = (0, 0, Duration::ZERO);
    for round in 0..rounds {
        let sockets: Vec<SocketId> = watchers.keys().copied().collect();
        for socket in sockets {
            reactor.send(socket, watch_frame(round as i32 + 1, NODE));
        }
        collect(&mut reactor, &mut watchers, ROUND_LIMIT, |all| all.values().all(|w| w.replies > round))?;
        watchers.values_mut().for_each(|watcher| watcher.events = 0);
        let cpu_before = server_pid.map(cpu_time).transpose()?;
        let changed = Instant::now();
        xid += 1;
        writer.write_all(&set_frame(xid, NODE, b"changed"))?;
        let mut times = Vec::with_capacity(connections as usize);
        let limit = Instant::now() + ROUND_LIMIT;
        while times.len() < connections as usize && Instant::now() < limit {
            times.extend(deliver(&mut reactor, &mut watchers, changed, limit)?);
        }
        if let (Some(pid), Some(before)) = (server_pid, cpu_before) {
            cpu += cpu_time(pid)?.saturating_sub(before);
        }
        deliver(&mut reactor, &mut watchers, changed, Instant::now() + SETTLE)?;
        read_reply(&mut writer)?;
        lost += watchers.values().filter(|watcher| watcher.events == 0).count() as u64;
        doubled += watchers.values().map(|watcher| watcher.events.saturating_sub(1)).sum::<u64>();
        first.push(times.first().copied().unwrap_or(ROUND_LIMIT));
        last.push(times.last().copied().unwrap_or(ROUND_LIMIT));
    }
    let worst = last.iter().max().copied().unwrap_or_default();
    let events = f64::from(connections) * f64::from(rounds);
    Ok(Fanout {
        connections,
        rounds,
        first_ms: median_ms(first),
        last_ms: median_ms(last),
        worst_ms: worst.as_secs_f64() * 1e3,
        lost,
        doubled,
        server_cpu_us: server_pid.map(|_| cpu.as_secs_f64() * 1e6 / events),
    })
}

#[derive(Default)]
struct Watcher {
    partial: Vec<u8>,
    replies: u32,
    events: u64,
}

impl Watcher {
    fn receive(&mut self, bytes: &[u8]) -> u32 {
        self.partial.extend_from_slice(bytes);
        let (mut used, mut fresh) = (0, 0);
        while let Some((length, notification)) = crate::load::frame_kind(&self.partial[used..]) {
            used += length;
            if notification {
                self.events += 1;
                fresh += u32::from(self.events == 1);
            } else {
                self.replies += 1;
            }
        }
        self.partial.drain(..used);
        fresh
    }
}

/// One turn's deliveries: the time of each first event of a watcher.
fn deliver(
    reactor: &mut Reactor,
    watchers: &mut HashMap<SocketId, Watcher>,
    changed: Instant,
    until: Instant,
) -> io::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut events = Vec::new();
    reactor.turn(&mut events, Some(until), || true)?;
    let now = changed.elapsed();
    for event in events {
        match event {
            Event::Received { socket, data } => {
                if let Some(watcher) = watchers.get_mut(&socket) {
                    for _ in 0..watcher.receive(&data) {
                        times.push(now);
                    }
                }
            }
            Event::Closed { .. } => return Err(io::Error::other("the server closed a watching connection")),
            _ => {}
        }
    }
    Ok(times)
}

fn collect(
    reactor: &mut Reactor,
    watchers: &mut HashMap<SocketId, Watcher>,
    limit: Duration,
    done: impl Fn(&HashMap<SocketId, Watcher>) -> bool,
) -> io::Result<()> {
    let until = Instant::now() + limit;
    while !done(watchers) {
        if Instant::now() >= until {
            return Err(io::Error::other("the server did not answer in time"));
        }
        deliver(reactor, watchers, Instant::now(), until)?;
    }
    Ok(())
}

fn ask(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame)?;
    read_reply(stream)
}

fn read_reply(stream: &mut TcpStream) -> io::Result<()> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; (u32::from_be_bytes(length) as usize).min(1 << 20)];
    stream.read_exact(&mut body)
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}
