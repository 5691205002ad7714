//! One thread of a run: a reactor, its share of the connections, and the loop that keeps them busy.

mod ending;
mod sessions;

use super::conn::{Asked, Conn, Sent};
use super::making::{Made, Plant};
use super::opener::{Opened, Wanted};
use super::pacer::{Pacer, Window};
use super::recorder::{Intervals, Record, Recorder};
use crate::stop::Stop;
use crate::wire::reply::{EVENT, Event as WatchEvent, PING, string};
use crate::wire::resp;
use crate::workload::{Arrivals, Dice, Load, Op, Protocol, Schedule};
use anyhow::{Context, bail};
use hardware::reactor::{Event, Reactor, ReactorConfig, SocketId};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// How often a thread looks whether it is asked to stop.
const LOOK: Duration = Duration::from_millis(100);
/// Where the next send of an open loop is no further away, replies wait in the kernel until then.
const GATHER_NS: u64 = 1_000_000;
/// Where the kernel did not tell when a reply came, or one of this size came, no reply waits in the kernel for so long.
const NO_GATHERING_NS: u64 = 100_000_000;
/// Replies this large could fill the connection's window while they wait.
const LARGE_BYTES: usize = 4000;
/// Send buffers kept for reuse.
const SPARE_MAX: usize = 4096;

/// What a worker is given.
pub(super) struct Assignment {
    pub(super) plant: Arc<Plant>,
    /// Its number and that of all.
    pub(super) thread: u32,
    pub(super) threads: u32,
    /// Connected sessions and their numbers.
    pub(super) streams: Vec<(u32, TcpStream)>,
    pub(super) window: Window,
    /// The begin of the run.
    pub(super) origin: Instant,
    pub(super) intervals: Intervals,
    pub(super) opener: Sender<Wanted>,
    pub(super) stop: Stop,
}

/// What a worker comes back with.
pub(super) struct Done {
    pub(super) record: Record,
    /// When measuring ended, nanoseconds from the begin; earlier than planned if something went wrong.
    pub(super) ended_ns: u64,
    /// What went wrong.
    pub(super) failure: Option<anyhow::Error>,
}

pub(super) struct Worker {
    plant: Arc<Plant>,
    reactor: Reactor,
    conns: Vec<Conn>,
    /// From the slot of a socket to the connection that it had last.
    by_slot: Vec<usize>,
    pacer: Option<Pacer>,
    churn: Option<Pacer>,
    churn_next: usize,
    /// When sessions on which nothing is under way are pinged next.
    ping_ns: u64,
    /// Whether an open loop waits for room on its connections, or catches up after that.
    held_back: bool,
    /// Replies may wait in the kernel from here on; `None`: never.
    gather_from_ns: Option<u64>,
    /// The connection that the next request of an open loop goes to.
    cursor: usize,
    recorder: Recorder,
    window: Window,
    origin: Instant,
    stop: Stop,
    opener: Sender<Wanted>,
    opened_to: Sender<Opened>,
    opened: Receiver<Opened>,
    dirty: Vec<usize>,
    spare: Vec<Vec<u8>>,
    path: Vec<u8>,
    dice: Dice,
}

impl Worker {
    pub(super) fn new(given: Assignment) -> anyhow::Result<Worker> {
        let workload = &given.plant.workload;
        // Polling would count as the generator's own cost, and take a processor that the server may need.
        let config = ReactorConfig { spin: Duration::ZERO, ..ReactorConfig::default() };
        let open = match &workload.load {
            Load::Closed => None,
            Load::Open { schedule, poisson } => {
                let grain = workload.grain.0;
                Some(Pacer::new(schedule.clone(), grain, *poisson, workload.seed, given.thread, given.threads))
            }
        };
        let gather_from_ns = (open.is_some() && workload.arrivals == Arrivals::Kernel).then_some(0);
        let churn = match workload.churn_per_second {
            rate if rate > 0.0 => {
                Some(Pacer::new(Schedule::fixed(rate)?, Duration::ZERO, false, 0, given.thread, given.threads))
            }
            _ => None,
        };
        let (opened_to, opened) = channel();
        let mut worker = Worker {
            reactor: Reactor::new(config)?,
            conns: Vec::with_capacity(given.streams.len()),
            by_slot: Vec::new(),
            recorder: Recorder::new(given.window, open.is_some(), given.intervals),
            pacer: open,
            churn,
            churn_next: 0,
            ping_ns: 0,
            held_back: false,
            gather_from_ns,
            cursor: 0,
            window: given.window,
            origin: given.origin,
            stop: given.stop,
            opener: given.opener,
            opened_to,
            opened,
            dirty: Vec::new(),
            spare: Vec::new(),
            path: Vec::new(),
            dice: Dice::new(workload.seed, u64::from(given.thread)),
            plant: Arc::clone(&given.plant),
        };
        for (number, stream) in given.streams {
            let index = worker.conns.len();
            worker.conns.push(Conn::new(number, Made::new(&given.plant.nursery, number)));
            worker.attach(index, stream)?;
        }
        Ok(worker)
    }

    /// Works until the end of the window, a failure, or the wish to stop; then waits for what is on its way, and closes.
    pub(super) fn run(mut self) -> Done {
        let mut failure = self.drive().err();
        let ended_ns = self.now_ns().min(self.window.end_ns);
        self.window.end_ns = ended_ns;
        self.recorder.end_at(ended_ns);
        if failure.is_some() {
            self.stop.set();
        }
        if let Err(error) = self.drain() {
            failure.get_or_insert(error);
        }
        self.settle(ended_ns);
        if let Err(error) = self.close() {
            failure.get_or_insert(error);
        }
        Done { record: self.recorder.finish(), ended_ns, failure }
    }

    fn drive(&mut self) -> anyhow::Result<()> {
        std::thread::sleep(self.origin.saturating_duration_since(Instant::now()));
        if self.pacer.is_none() {
            for index in 0..self.conns.len() {
                self.refill(index, self.now_ns());
            }
        }
        let mut events = Vec::new();
        loop {
            let now_ns = self.now_ns();
            if now_ns >= self.window.end_ns || self.stop.is_set() {
                return Ok(());
            }
            self.churn(now_ns);
            self.ping(now_ns);
            let next_ns = self.send_due(now_ns);
            self.flush();
            let wake_ns = next_ns.min(self.window.end_ns).min(now_ns + LOOK.as_nanos() as u64);
            let gather = next_ns <= now_ns + GATHER_NS && self.gather_from_ns.is_some_and(|from| from <= now_ns);
            self.turn(&mut events, wake_ns, gather)?;
        }
    }

    /// Sleeps until something comes or until `wake_ns`; if replies are to `gather`, they alone do not end the sleep.
    fn turn(&mut self, events: &mut Vec<Event>, wake_ns: u64, gather: bool) -> anyhow::Result<()> {
        let until = self.origin + Duration::from_nanos(wake_ns);
        let turned = match gather {
            true => self.reactor.turn_at(events, until, || true),
            false => self.reactor.turn(events, Some(until), || true),
        };
        turned.context("the generator's own ring failed")?;
        let now_ns = self.now_ns();
        for event in events.drain(..) {
            match event {
                Event::Received { socket, data } => {
                    let arrived = data.arrived().map(|at| at.saturating_duration_since(self.origin).as_nanos() as u64);
                    if let Some(from_ns) = &mut self.gather_from_ns
                        && (arrived.is_none() || data.len() > LARGE_BYTES)
                    {
                        *from_ns = now_ns + NO_GATHERING_NS;
                    }
                    self.received(socket, &data, arrived.unwrap_or(now_ns))?;
                }
                Event::Sent { buf, .. } if self.spare.len() < SPARE_MAX => self.spare.push(buf),
                Event::Closed { socket, .. } => self.closed(socket, now_ns),
                _ => {}
            }
        }
        self.recorder.turn_to(now_ns);
        while let Ok(Opened { conn, stream, took }) = self.opened.try_recv() {
            self.attach(conn, stream?)?;
            self.recorder.churned(now_ns, took.as_nanos() as u64);
            if self.pacer.is_none() {
                self.refill(conn, now_ns);
            }
        }
        self.flush();
        Ok(())
    }

    /// Sends what an open loop owes, and returns when the next is due; where no connection has room, a reply comes first.
    fn send_due(&mut self, now_ns: u64) -> u64 {
        let Some(mut pacer) = self.pacer.take() else { return u64::MAX };
        let mut next_ns = pacer.next_ns();
        while next_ns <= now_ns {
            let Some(index) = self.next_with_room() else {
                (next_ns, self.held_back) = (u64::MAX, true);
                break;
            };
            let meant_ns = pacer.take();
            // What waited for replies is not late by the generator's fault.
            if !self.held_back {
                self.recorder.sent(meant_ns, now_ns);
            }
            self.request(index, meant_ns);
            next_ns = pacer.next_ns();
        }
        self.held_back &= next_ns <= now_ns || next_ns == u64::MAX;
        self.pacer = Some(pacer);
        next_ns
    }

    fn next_with_room(&mut self) -> Option<usize> {
        let (count, outstanding) = (self.conns.len(), self.plant.workload.outstanding);
        for _ in 0..count {
            let index = self.cursor;
            self.cursor = if index + 1 == count { 0 } else { index + 1 };
            if self.conns[index].has_room(outstanding) {
                return Some(index);
            }
        }
        None
    }

    /// Brings a connection of a closed loop back to its number of unanswered requests.
    fn refill(&mut self, index: usize, now_ns: u64) {
        while self.conns[index].has_room(self.plant.workload.outstanding) {
            self.request(index, now_ns);
        }
    }

    fn request(&mut self, index: usize, meant_ns: u64) {
        let conn = &mut self.conns[index];
        let xid = conn.xid();
        let op = match self.plant.workload.protocol {
            Protocol::Zookeeper => {
                self.plant.request(&mut conn.out, xid, &mut conn.made, &mut self.dice, &mut self.path)
            }
            Protocol::Redis => {
                let op = self.plant.workload.mix.choose(&mut self.dice);
                let key = self.dice.below(self.plant.workload.keys) as u32;
                match op {
                    Op::Get => resp::get(&mut conn.out, key),
                    _ => resp::set(&mut conn.out, key, self.plant.value(&mut self.dice)),
                }
                op
            }
        };
        conn.sent.push_back(Sent { meant_ns, xid, asked: Asked::Op(op) });
        self.dirty.push(index);
    }

    fn flush(&mut self) {
        while let Some(index) = self.dirty.pop() {
            let conn = &mut self.conns[index];
            if conn.out.is_empty() {
                continue;
            }
            let bytes = std::mem::replace(&mut conn.out, self.spare.pop().unwrap_or_default());
            if let Some(socket) = conn.socket {
                self.reactor.send(socket, bytes);
            }
        }
    }

    fn received(&mut self, socket: SocketId, bytes: &[u8], now_ns: u64) -> anyhow::Result<()> {
        let Some(index) = self.index_of(socket) else { return Ok(()) };
        let protocol = self.plant.workload.protocol;
        let remembers = self.plant.remembers_names;
        let Worker { conns, recorder, .. } = self;
        let Conn { frames, sent, made, .. } = &mut conns[index];
        let (mut over, mut disorder, mut fired) = (false, None, Vec::new());
        let mut take = |xid: Option<i32>, error: i32, body: &[u8]| match sent.pop_front() {
            Some(front) if xid.is_none_or(|xid| xid == front.xid) => match front.asked {
                Asked::Op(op) => {
                    recorder.answered(op, front.meant_ns, now_ns, error);
                    if remembers && op == Op::CreateSequential && error == 0 {
                        made.named(string(body).unwrap_or_default());
                    }
                }
                Asked::Watch => {}
                Asked::Close => over = true,
            },
            front => disorder = Some((front.map(|front| front.xid), xid)),
        };
        let mut events = 0;
        match protocol {
            Protocol::Redis => frames.feed(bytes, |rest| {
                let (length, failed) = resp::reply(rest)?;
                take(None, i32::from(failed), &[]);
                Some(length)
            }),
            Protocol::Zookeeper => frames.replies(bytes, |reply| {
                if reply.xid == EVENT {
                    events += 1;
                    fired.extend(WatchEvent::read(reply.body).map(|event| event.path.to_vec()));
                } else if reply.xid != PING {
                    take(Some(reply.xid), reply.error, reply.body);
                }
            }),
        }
        if let Some((expected, got)) = disorder {
            bail!("a reply came out of order: xid {expected:?} was expected, {got:?} came");
        }
        if self.window.holds(now_ns) {
            self.recorder.record.events += events;
        }
        if over {
            self.replace(index, socket);
            return Ok(());
        }
        if self.plant.workload.watches.kind.fires_once() {
            fired.into_iter().for_each(|path| self.watch(index, &path));
        }
        if self.pacer.is_none() && now_ns < self.window.end_ns && !self.stop.is_set() {
            self.refill(index, now_ns);
        }
        Ok(())
    }

    fn index_of(&self, socket: SocketId) -> Option<usize> {
        let index = *self.by_slot.get(socket.slot())?;
        (self.conns.get(index)?.socket == Some(socket)).then_some(index)
    }

    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}
