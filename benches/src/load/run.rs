//! Carrying a [`Plan`] out: one thread, one reactor, every connection kept at its number of outstanding requests.

use super::connection::{Conn, NODE_EXISTS, open_session, zookeeper_reply};
use super::mix::Dice;
use super::zookeeper::{self, Created, FOLDERS, ROOT};
use super::{Op, Plan, Protocol, Report, resp};
use crate::process::cpu_time;
use hardware::cpu::pin_current_thread;
use hardware::reactor::{Event, Reactor, ReactorConfig, SocketId};
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SESSION_TIMEOUT_MS: i32 = 30_000;

/// Prepares the server's keys, runs the plan, and reports. `server_pid` adds the server's CPU per operation.
///
/// # Errors
/// The server cannot be reached, closes a connection, answers out of order, or the machine refuses something.
pub fn run(plan: &Plan, server_pid: Option<u32>) -> io::Result<Report> {
    run_counted(plan, server_pid).map(|(report, _)| report)
}

/// As [`run`], and the operations by kind.
///
/// # Errors
/// As [`run`].
pub fn run_counted(plan: &Plan, server_pid: Option<u32>) -> io::Result<(Report, HashMap<&'static str, u64>)> {
    if let Some(core) = plan.pin {
        pin_current_thread(core)?;
    }
    preload(plan)?;
    let mut driver = Driver::new(plan)?;
    driver.start_all();
    driver.drive(Instant::now() + plan.warm_up)?;
    driver.reset();
    let (cpu_before, own_before) = (server_pid.map(cpu_time).transpose()?, cpu_time(std::process::id())?);
    let begun = Instant::now();
    driver.drive(begun + plan.measure)?;
    let seconds = begun.elapsed().as_secs_f64();
    let own = cpu_time(std::process::id())?.saturating_sub(own_before);
    let server = match (server_pid, cpu_before) {
        (Some(pid), Some(before)) => Some(cpu_time(pid)?.saturating_sub(before)),
        _ => None,
    };
    let operations = driver.latency_ns.len();
    let per_operation = |time: Duration| time.as_secs_f64() * 1e6 / operations.max(1) as f64;
    let at = |quantile: f64| driver.latency_ns.value_at_quantile(quantile) as f64 / 1e3;
    let report = Report {
        operations,
        errors: driver.errors,
        seconds,
        rate: operations as f64 / seconds,
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        max_us: driver.latency_ns.max() as f64 / 1e3,
        driver_cpu_us: per_operation(own),
        server_cpu_us: server.map(per_operation),
    };
    Ok((report, driver.by_kind.clone()))
}

struct Driver<'a> {
    plan: &'a Plan,
    reactor: Reactor,
    conns: HashMap<SocketId, Conn>,
    spare: Vec<Vec<u8>>,
    dice: Dice,
    value: Vec<u8>,
    latency_ns: Histogram<u64>,
    errors: u64,
    by_kind: HashMap<&'static str, u64>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan) -> io::Result<Driver<'a>> {
        let mut reactor = Reactor::new(ReactorConfig::default()).map_err(io::Error::other)?;
        let mut conns = HashMap::new();
        let run = plan.seed ^ u64::from(std::process::id()) << 32 ^ epoch_nanos();
        for number in 0..plan.connections {
            let stream = match plan.protocol {
                Protocol::Zookeeper => open_session(plan.server, SESSION_TIMEOUT_MS)?,
                Protocol::Redis => TcpStream::connect(plan.server)?,
            };
            stream.set_nodelay(true)?;
            let socket = reactor.adopt(stream.into());
            conns.insert(socket, Conn::new(plan.protocol, Created::new(number, run)));
        }
        Ok(Driver {
            plan,
            reactor,
            conns,
            spare: Vec::new(),
            dice: Dice(plan.seed),
            value: vec![b'v'; plan.value_bytes],
            latency_ns: Histogram::new_with_bounds(1, 120_000_000_000, 3).map_err(io::Error::other)?,
            errors: 0,
            by_kind: HashMap::new(),
        })
    }

    fn reset(&mut self) {
        self.latency_ns.reset();
        self.errors = 0;
        self.by_kind.clear();
    }

    fn start_all(&mut self) {
        let sockets: Vec<SocketId> = self.conns.keys().copied().collect();
        for socket in sockets {
            self.refill(socket, self.plan.outstanding);
        }
    }

    /// Sends `count` requests on one connection.
    fn refill(&mut self, socket: SocketId, count: u32) {
        let mut out = self.spare.pop().unwrap_or_default();
        let Some(conn) = self.conns.get_mut(&socket) else { return };
        let now = Instant::now();
        for _ in 0..count {
            let op = self.plan.mix.choose(self.dice.roll());
            let xid = conn.next_xid;
            conn.next_xid = if xid == i32::MAX { 1 } else { xid + 1 };
            match self.plan.protocol {
                Protocol::Zookeeper => {
                    let sent = zookeeper::request(
                        &mut out,
                        xid,
                        op,
                        self.plan.keys,
                        &self.value,
                        &mut conn.created,
                        &mut self.dice,
                    );
                    *self.by_kind.entry(name(sent)).or_default() += 1;
                }
                Protocol::Redis => {
                    let key = self.dice.roll() as u32 % self.plan.keys;
                    match op {
                        Op::Get => resp::get(&mut out, key),
                        _ => resp::set(&mut out, key, &self.value),
                    }
                }
            }
            conn.sent.push_back((now, xid));
        }
        self.reactor.send(socket, out);
    }

    fn drive(&mut self, until: Instant) -> io::Result<()> {
        let mut events = Vec::new();
        while Instant::now() < until {
            self.reactor.turn(&mut events, Some(until), || true)?;
            for event in events.drain(..) {
                match event {
                    Event::Received { socket, data } => self.received(socket, &data)?,
                    Event::Sent { mut buf, .. } if self.spare.len() < 1024 => {
                        buf.clear();
                        self.spare.push(buf);
                    }
                    Event::Closed { error, .. } => {
                        let why = error.map_or("closed by the server".into(), |error| error.to_string());
                        return Err(io::Error::other(format!("a connection ended: {why}")));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn received(&mut self, socket: SocketId, bytes: &[u8]) -> io::Result<()> {
        let now = Instant::now();
        let Some(conn) = self.conns.get_mut(&socket) else { return Ok(()) };
        let (mut answered, mut disorder) = (0, None);
        conn.receive(bytes, |conn, reply| match conn.sent.pop_front() {
            Some((sent, xid)) if xid == reply.xid => {
                let nanos = u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX);
                self.latency_ns.saturating_record(nanos.max(1));
                self.errors += u64::from(reply.error != 0);
                answered += 1;
            }
            expected => disorder = Some((expected.map(|(_, xid)| xid), reply.xid)),
        });
        if let Some((expected, got)) = disorder {
            return Err(io::Error::other(format!("reply out of order: expected xid {expected:?}, got {got}")));
        }
        if answered > 0 {
            self.refill(socket, answered);
        }
        Ok(())
    }
}

/// Makes the keys that reads and sets choose from; those that are there already stay.
fn preload(plan: &Plan) -> io::Result<()> {
    let value = vec![b'v'; plan.value_bytes];
    match plan.protocol {
        Protocol::Zookeeper => {
            let mut stream = open_session(plan.server, SESSION_TIMEOUT_MS)?;
            let folders = (0..FOLDERS).map(zookeeper::folder_path);
            let keys = (0..plan.keys).map(zookeeper::key_path);
            let paths: Vec<String> = std::iter::once(ROOT.to_owned()).chain(folders).chain(keys).collect();
            let mut xid = 0;
            for batch in paths.chunks(256) {
                let mut out = Vec::new();
                for path in batch {
                    xid += 1;
                    out.extend_from_slice(&zookeeper::create_frame(xid, path, &value));
                }
                stream.write_all(&out)?;
                expect_replies(&mut stream, batch.len())?;
            }
            stream.write_all(&zookeeper::close_frame(xid + 1))?;
            expect_replies(&mut stream, 1)
        }
        Protocol::Redis => {
            let mut stream = TcpStream::connect(plan.server)?;
            for key in 0..plan.keys {
                let mut out = Vec::new();
                resp::set(&mut out, key, &value);
                stream.write_all(&out)?;
                stream.read_exact(&mut [0; 5])?;
            }
            Ok(())
        }
    }
}

fn expect_replies(stream: &mut TcpStream, count: usize) -> io::Result<()> {
    let (mut bytes, mut chunk, mut seen) = (Vec::new(), [0; 65536], 0);
    while seen < count {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection while keys were made"));
        }
        bytes.extend_from_slice(&chunk[..read]);
        let mut used = 0;
        while let Some((length, reply)) = zookeeper_reply(&bytes[used..]) {
            used += length;
            seen += 1;
            if reply.error != 0 && reply.error != NODE_EXISTS {
                return Err(io::Error::other(format!("making keys failed with error {}", reply.error)));
            }
        }
        bytes.drain(..used);
    }
    Ok(())
}

fn name(op: Op) -> &'static str {
    match op {
        Op::Get => "get",
        Op::Set => "set",
        Op::Create => "create",
        Op::Delete => "delete",
        Op::Children => "children",
        Op::Multi => "multi",
    }
}

fn epoch_nanos() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64)
}
