//! The system in virtual time: clients, server threads, logs, and what passes between them.
//!
//! Every thread works in turns, as the reactor does: it takes all that has arrived, works it off, hands a write to the log
//! if none is in flight, and then sends, one message to each connection that is owed something. What arrives meanwhile
//! waits for the next turn; this is how batches grow with the load. A thread that has nothing sleeps, and starts a
//! [`Costs::wake`] after the message that ends its sleep. A session's replies keep the order of its requests. The log
//! writes everything that has gathered while the write before was in flight. No clock, no randomness but the seed's.

use super::costs::Costs;
use crate::driver::latencies;
use crate::workload::Dice;
use hardware::reactor::SpinPolicy;
use hdrhistogram::Histogram;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

/// One kind of request, as the simulation sees it. Times are nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    /// Share of all requests, 0 to 1.
    pub(super) share: f64,
    /// Of the server that the client is connected to.
    pub(super) server_ns: f64,
    /// Of the generator.
    pub(super) generator_ns: f64,
    /// Bytes in the log; 0 for a read.
    pub(super) log_bytes: f64,
}

impl Kind {
    fn writes(&self) -> bool {
        self.log_bytes > 0.0
    }
}

/// Where requests come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Clients {
    /// So many threads of the load generator, on the calibrated machine.
    Generator(u32),
    /// Processes on machines of their own, this far away (round trip, nanoseconds); their work delays nobody else.
    Remote(u64),
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Arrivals {
    /// So many unanswered on each connection, always.
    Closed(u32),
    /// So many a second, evenly spaced or at random.
    Open(f64, bool),
}

/// What is simulated.
#[derive(Clone, Debug)]
pub(super) struct System<'a> {
    pub(super) costs: &'a Costs,
    pub(super) kinds: &'a [Kind],
    pub(super) connections: u32,
    pub(super) arrivals: Arrivals,
    pub(super) clients: Clients,
    /// Servers that vote; 1 stands alone.
    pub(super) members: u32,
    /// Threads of each that hold connections.
    pub(super) cores: u32,
    /// Whether the order of writes has a thread of its own.
    pub(super) role_apart: bool,
    /// Round trip between two members, nanoseconds.
    pub(super) peer_trip_ns: u64,
    /// Requests answered before measuring begins, and measured ones.
    pub(super) warm_up: u64,
    pub(super) measured: u64,
    pub(super) seed: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(super) struct Simulated {
    /// Requests answered per second.
    pub(super) rate: f64,
    pub(super) latency_ns: Histogram<u64>,
    /// How late an open loop's generator sent.
    pub(super) late_ns: Histogram<u64>,
    /// Share of the time that the busiest thread of any server worked.
    pub(super) busiest_server: f64,
    /// The same of the generator.
    pub(super) busiest_generator: f64,
    /// Share of the time that the busiest log had a write in flight.
    pub(super) log_busy: f64,
    /// Of all servers.
    pub(super) server: Counts,
    pub(super) generator: Counts,
    /// Log writes of all servers for each answered request.
    pub(super) flushes_per_op: f64,
    /// Bytes of records in one log write, on average.
    pub(super) bytes_per_flush: f64,
}

impl Simulated {
    /// A quantile of latencies, microseconds.
    pub(super) fn quantile_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// How often threads do what costs them, for each answered request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counts {
    pub(super) turns: f64,
    /// Turns that a sleep came before.
    pub(super) woken: f64,
    /// Messages of the other side received; as many are sent.
    pub(super) messages: f64,
    /// Messages that writes which took effect gave rise to.
    pub(super) effects: f64,
    /// Microseconds of polling.
    pub(super) polled_us: f64,
}

/// Bytes of records beyond which one log write takes no more (the server's bound).
pub(super) const LOG_WRITE_BYTES: f64 = 262_144.0;
/// Virtual time after which a run ends in any case: an open loop beyond the ceiling never settles.
const TIME_MAX_NS: u64 = 60_000_000_000;

/// Share of a message's cost that receiving is; the rest is sending, which on one host delivers to the other side too.
const RECEIVING: f64 = 0.3;
/// Share of a write's cost that is paid before it is logged; the rest when it takes effect.
const PROPOSING: f64 = 0.5;

/// A thread that has had nothing to do for less than this is still falling asleep: no wake is needed.
const DOZE_NS: u64 = 5_000;

type Time = u64;

#[derive(Clone, Copy, Debug)]
struct Request {
    meant: Time,
    kind: u8,
}

#[derive(Clone, Debug)]
enum Item {
    /// Requests of one connection, in order.
    Requests(u32, Vec<Request>),
    /// When the requests that are answered were meant, and their kinds; to the generator.
    Replies(u32, Vec<(Time, u8)>),
    /// A log write has ended; everything up to this write is durable.
    Durable(u64),
    /// Writes of a member's clients for the leader, or of a core's for the role.
    Writes(Vec<Write>),
    /// The leader's log, up to here, for a member.
    Proposals(u64),
    /// A member's log is durable up to here.
    Acknowledged(u32, u64),
    /// A quorum has everything up to here.
    Committed(u64),
    /// Effects of writes for the cores that answer.
    Done(Vec<Write>),
}

#[derive(Clone, Copy, Debug)]
struct Write {
    conn: u32,
    slot: u64,
    kind: u8,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    request: Request,
    done: bool,
}

#[derive(Debug, Default)]
struct Conn {
    /// Requests that a server has and not answered, oldest first.
    slots: VecDeque<Slot>,
    /// Number of the first of them.
    first: u64,
    /// Replies of this turn.
    replies: Vec<(Time, u8)>,
    /// Requests of this turn of the generator.
    requests: Vec<Request>,
}

#[derive(Debug, Default)]
struct Thread {
    inbox: Vec<Item>,
    /// A turn is under way, or about to begin.
    active: bool,
    idle_since: Time,
    /// The next turn ends a sleep.
    woken: bool,
    /// What somebody else took of its time since its turn began.
    stalled: u64,
    /// When it polls before it sleeps: while no log write is in flight, and while one is.
    polling: [Option<SpinPolicy>; 2],
    polled: u64,
    worked: u64,
    turns: u64,
    woken_turns: u64,
    messages: u64,
    effects: u64,
}

#[derive(Debug, Default)]
struct Member {
    /// Writes that its log has or is about to have.
    appended: u64,
    issued: u64,
    durable: u64,
    committed: u64,
    applied: u64,
    in_flight: bool,
    flush_time: u64,
    flushes: u64,
    flushed_bytes: f64,
}

struct Simulation<'a> {
    system: &'a System<'a>,
    dice: Dice,
    events: BinaryHeap<Reverse<(Time, u64, u32)>>,
    payload: Vec<Option<Event>>,
    free: Vec<u32>,
    sequence: u64,
    threads: Vec<Thread>,
    generators: u32,
    conns: Vec<Conn>,
    members: Vec<Member>,
    /// All writes in their order.
    order: Vec<Write>,
    acknowledged: Vec<u64>,
    kinds_below: Vec<f64>,
    next_due: Vec<Time>,
    next_number: Vec<u64>,
    cursor: Vec<u32>,
    answered: u64,
    began: Time,
    latency_ns: Histogram<u64>,
    late_ns: Histogram<u64>,
    now: Time,
}

enum Event {
    Deliver(u32, Item),
    Turn(u32),
    /// An open loop's thread looks at its schedule.
    Due(u32),
    /// Requests of a remote client leave.
    Remote(u32, Vec<Request>),
    /// The next stall of some thread.
    Stall,
    /// The kernel's part of a log write, on the processor of a generator's thread.
    Kernel(u32),
}

/// Runs it.
pub(super) fn simulate(system: &System<'_>) -> Simulated {
    let mut simulation = Simulation::new(system);
    simulation.run();
    simulation.outcome()
}

impl<'a> Simulation<'a> {
    fn new(system: &'a System<'a>) -> Simulation<'a> {
        let generators = match system.clients {
            Clients::Generator(threads) => threads.max(1),
            Clients::Remote(_) => 1,
        };
        let per_member = system.cores + u32::from(system.role_apart);
        let threads = generators + system.members * per_member;
        let polls = Duration::from_nanos((system.costs.polls_us * 1e3) as u64);
        let policy = || (!polls.is_zero()).then(|| SpinPolicy::new(polls));
        let mut sum = 0.0;
        let kinds_below = system.kinds.iter().map(|kind| {
            sum += kind.share;
            sum
        });
        Simulation {
            system,
            dice: Dice::new(system.seed, 77),
            events: BinaryHeap::new(),
            payload: Vec::new(),
            free: Vec::new(),
            sequence: 0,
            threads: (0..threads).map(|_| Thread { polling: [policy(), policy()], ..Thread::default() }).collect(),
            generators,
            conns: (0..system.connections).map(|_| Conn::default()).collect(),
            members: (0..system.members).map(|_| Member::default()).collect(),
            order: Vec::new(),
            acknowledged: vec![0; system.members as usize],
            kinds_below: kinds_below.collect(),
            next_due: vec![0; generators as usize],
            next_number: vec![0; generators as usize],
            cursor: (0..generators).collect(),
            answered: 0,
            began: 0,
            latency_ns: latencies(),
            late_ns: latencies(),
            now: 0,
        }
    }

    // ---- who is where ----

    fn member_of(&self, conn: u32) -> u32 {
        conn % self.system.members
    }

    fn core_of(&self, conn: u32) -> u32 {
        let core = (conn / self.system.members) % self.system.cores;
        self.thread_of(self.member_of(conn), core)
    }

    fn thread_of(&self, member: u32, core: u32) -> u32 {
        self.generators + member * (self.system.cores + u32::from(self.system.role_apart)) + core
    }

    /// The thread that orders a member's writes, or hands them to the leader.
    fn role_of(&self, member: u32) -> u32 {
        self.thread_of(member, if self.system.role_apart { self.system.cores } else { 0 })
    }

    fn generator_of(&self, conn: u32) -> u32 {
        conn % self.generators
    }

    fn is_remote(&self) -> bool {
        matches!(self.system.clients, Clients::Remote(_))
    }

    // ---- time ----

    fn at(&mut self, time: Time, event: Event) {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                self.payload.push(None);
                (self.payload.len() - 1) as u32
            }
        };
        self.payload[place as usize] = Some(event);
        self.sequence += 1;
        self.events.push(Reverse((time, self.sequence, place)));
    }

    fn run(&mut self) {
        match self.system.arrivals {
            Arrivals::Closed(outstanding) => self.fill(outstanding),
            Arrivals::Open(..) => (0..self.generators).for_each(|thread| {
                self.next_due[thread as usize] = self.due(thread);
                self.at(self.next_due[thread as usize], Event::Due(thread));
            }),
        }
        self.next_stall();
        while let Some(Reverse((time, _, place))) = self.events.pop() {
            self.now = time;
            if self.answered >= self.system.warm_up + self.system.measured || time > TIME_MAX_NS {
                return;
            }
            self.free.push(place);
            match self.payload[place as usize].take() {
                Some(Event::Deliver(thread, item)) => self.deliver(thread, item),
                Some(Event::Turn(thread)) => self.turn(thread),
                Some(Event::Due(thread)) if self.is_remote() => self.remote_due(thread),
                Some(Event::Due(thread)) => self.timer(thread),
                Some(Event::Remote(conn, requests)) => self.deliver(self.core_of(conn), Item::Requests(conn, requests)),
                Some(Event::Stall) => {
                    let thread = self.dice.below(self.threads.len() as u64) as u32;
                    let lasts = (self.system.costs.stalls.mean_us * 1e3 * self.dice.exponential()) as u64;
                    self.stall(thread, lasts);
                    self.next_stall();
                }
                Some(Event::Kernel(thread)) => self.stall(thread, (self.system.costs.flush_kernel_us * 1e3) as u64),
                None => {}
            }
        }
    }

    /// Somebody else has the thread's processor for so long: one that works loses the time before its next turn.
    fn stall(&mut self, thread: u32, lasts: u64) {
        let state = &mut self.threads[thread as usize];
        if state.active {
            state.stalled += lasts;
        } else {
            state.active = true;
            self.at(self.now + lasts, Event::Turn(thread));
        }
    }

    fn next_stall(&mut self) {
        let per_ns = self.system.costs.stalls.per_second * self.threads.len() as f64 / 1e9;
        if per_ns > 0.0 {
            let at = self.now + (self.dice.exponential() / per_ns) as u64;
            self.at(at, Event::Stall);
        }
    }

    fn fill(&mut self, outstanding: u32) {
        for conn in 0..self.system.connections {
            let requests = (0..outstanding).map(|_| self.request(0)).collect();
            // Spread over a millisecond, so that nothing is in step.
            let at = self.dice.below(1_000_000);
            self.at(at, Event::Deliver(self.core_of(conn), Item::Requests(conn, requests)));
        }
    }

    fn request(&mut self, meant: Time) -> Request {
        let drawn = self.dice.unit() * self.kinds_below.last().copied().unwrap_or(1.0);
        let kind = self.kinds_below.iter().position(|below| drawn < *below).unwrap_or(0);
        Request { meant, kind: kind as u8 }
    }

    /// When an open loop's thread sends next.
    fn due(&mut self, thread: u32) -> Time {
        let Arrivals::Open(rate, poisson) = self.system.arrivals else { return Time::MAX };
        let gap = 1e9 / rate * f64::from(self.generators);
        let at = thread as usize;
        self.next_number[at] += 1;
        if poisson {
            self.next_due[at] + (gap * self.dice.exponential()) as Time
        } else {
            (gap * self.next_number[at] as f64 + 1e9 / rate * f64::from(thread)) as Time
        }
    }

    /// Every request of a remote client goes out at its time.
    fn remote_due(&mut self, thread: u32) {
        let Clients::Remote(trip) = self.system.clients else { return };
        let (meant, conn) = (self.next_due[thread as usize], self.next_conn(thread));
        let request = self.request(meant);
        self.at(meant + trip / 2, Event::Remote(conn, vec![request]));
        let due = self.due(thread);
        self.next_due[thread as usize] = due;
        self.at(due, Event::Due(thread));
    }

    fn next_conn(&mut self, thread: u32) -> u32 {
        let conn = self.cursor[thread as usize];
        let next = conn + self.generators;
        self.cursor[thread as usize] = if next >= self.system.connections { thread } else { next };
        conn.min(self.system.connections - 1)
    }

    fn deliver(&mut self, thread: u32, item: Item) {
        self.threads[thread as usize].inbox.push(item);
        self.wake(thread);
    }

    /// The timer of an open loop's thread has gone off; if it is awake it has looked at its schedule.
    fn timer(&mut self, thread: u32) {
        let (state, due) = (&mut self.threads[thread as usize], self.next_due[thread as usize]);
        if !state.active && due <= self.now {
            state.active = true;
            state.woken = self.now.saturating_sub(state.idle_since) >= DOZE_NS;
            self.at(self.now, Event::Turn(thread));
        }
    }

    fn wake(&mut self, thread: u32) {
        if self.threads[thread as usize].active {
            return;
        }
        self.threads[thread as usize].active = true;
        let idle = self.now.saturating_sub(self.threads[thread as usize].idle_since);
        let awake = self.polls(thread, idle) || idle < DOZE_NS;
        self.threads[thread as usize].woken = !awake;
        if awake || (thread < self.generators && self.is_remote()) {
            return self.at(self.now, Event::Turn(thread));
        }
        let after = self.system.costs.wake_ns(thread < self.generators, idle, self.dice.unit());
        self.at(self.now + after, Event::Turn(thread));
    }

    /// Whether a server's thread that had nothing to do for so long was still polling; books what that took.
    fn polls(&mut self, thread: u32, idle: Time) -> bool {
        if thread < self.generators {
            return false;
        }
        let writing = self.members[self.member_of_thread(thread) as usize].in_flight;
        let state = &mut self.threads[thread as usize];
        let Some(policy) = &mut state.polling[usize::from(writing)] else { return false };
        let Some(limit) = policy.next_attempt() else { return false };
        let limit = limit.as_nanos() as u64;
        policy.record(idle < limit);
        state.polled += idle.min(limit);
        state.worked += idle.min(limit);
        idle < limit
    }

    // ---- turns ----

    fn turn(&mut self, thread: u32) {
        let at = thread as usize;
        let stalled = std::mem::take(&mut self.threads[at].stalled);
        if stalled > 0 {
            return self.at(self.now + stalled, Event::Turn(thread));
        }
        let owes = thread < self.generators && !self.is_remote() && self.next_due[at] <= self.now && self.is_open();
        if self.threads[at].inbox.is_empty() && !owes {
            self.threads[at].active = false;
            self.threads[at].idle_since = self.now;
            return;
        }
        let inbox = std::mem::take(&mut self.threads[at].inbox);
        self.threads[at].turns += 1;
        let woken = std::mem::take(&mut self.threads[at].woken);
        self.threads[at].woken_turns += u64::from(woken);
        let system = self.system;
        let side = if thread < self.generators { &system.costs.generator } else { &system.costs.server };
        let mut sends = Vec::new();
        let mut work = side.turn_us * 1e3;
        work += if thread < self.generators {
            self.generate(thread, inbox, &mut sends)
        } else {
            self.serve(thread, inbox, &mut sends)
        };
        // Clients elsewhere have processors of their own.
        let free = thread < self.generators && self.is_remote();
        let work = if free { 0.0 } else { work / side.availability };
        let ready = self.now + work as u64;
        if thread >= self.generators {
            self.write_log(self.member_of_thread(thread), ready);
        }
        let each = if free { 0.0 } else { side.message_us * 1e3 * (1.0 - RECEIVING) / side.availability };
        let mut over = ready as f64;
        for (to, item, delay) in sends {
            over += if matches!(item, Item::Replies(..) | Item::Requests(..)) { each } else { 0.0 };
            self.at(over as u64 + delay, Event::Deliver(to, item));
        }
        // A sleep's cost is paid by who falls asleep, before anything is due; what it delays is the wake.
        let slept = if woken { side.sleep_us * 1e3 / side.availability } else { 0.0 };
        self.threads[at].worked += over as u64 - self.now + slept as u64;
        self.at(over as u64, Event::Turn(thread));
    }

    fn is_open(&self) -> bool {
        matches!(self.system.arrivals, Arrivals::Open(..))
    }

    fn member_of_thread(&self, thread: u32) -> u32 {
        (thread - self.generators) / (self.system.cores + u32::from(self.system.role_apart))
    }

    /// A turn of the generator; remote clients cost nothing and answer each reply after a trip.
    fn generate(&mut self, thread: u32, inbox: Vec<Item>, sends: &mut Vec<(u32, Item, u64)>) -> f64 {
        let (mut work, now) = (0.0, self.now);
        let receive = self.system.costs.generator.message_us * 1e3 * RECEIVING;
        let mut dirty: Vec<u32> = Vec::new();
        for item in inbox {
            let Item::Replies(conn, replies) = item else { continue };
            work += receive;
            self.threads[thread as usize].messages += 1;
            for (meant, kind) in replies {
                work += self.system.kinds[usize::from(kind)].generator_ns / 2.0;
                self.answer(meant, now);
                if !self.is_open() {
                    let request = self.request(now);
                    self.ask(conn, request, &mut dirty);
                }
            }
        }
        while self.is_open() && !self.is_remote() && self.next_due[thread as usize] <= now {
            let (meant, conn) = (self.next_due[thread as usize], self.next_conn(thread));
            self.late_ns.saturating_record((now - meant).max(1));
            let request = self.request(meant);
            self.ask(conn, request, &mut dirty);
            self.next_due[thread as usize] = self.due(thread);
        }
        if self.is_open() && !self.is_remote() {
            // A timer is late, but a reply may wake the thread before it.
            let due = self.next_due[thread as usize];
            let late = self.system.costs.timer_ns(due.saturating_sub(now));
            self.at(due + late, Event::Due(thread));
        }
        let trip = if let Clients::Remote(trip) = self.system.clients { trip } else { 0 };
        for conn in dirty {
            let requests = std::mem::take(&mut self.conns[conn as usize].requests);
            work +=
                requests.iter().map(|asked| self.system.kinds[usize::from(asked.kind)].generator_ns / 2.0).sum::<f64>();
            sends.push((self.core_of(conn), Item::Requests(conn, requests), trip / 2));
        }
        work
    }

    fn ask(&mut self, conn: u32, request: Request, dirty: &mut Vec<u32>) {
        let requests = &mut self.conns[conn as usize].requests;
        if requests.is_empty() {
            dirty.push(conn);
        }
        requests.push(request);
    }

    /// A reply has come.
    fn answer(&mut self, meant: Time, now: Time) {
        self.answered += 1;
        if self.answered == self.system.warm_up {
            self.began = now;
            for thread in &mut self.threads {
                (thread.worked, thread.turns, thread.woken_turns) = (0, 0, 0);
                (thread.messages, thread.effects, thread.polled) = (0, 0, 0);
            }
            for member in &mut self.members {
                (member.flush_time, member.flushes, member.flushed_bytes) = (0, 0, 0.0);
            }
        } else if self.answered > self.system.warm_up {
            self.latency_ns.saturating_record(now.saturating_sub(meant).max(1));
        }
    }

    /// A turn of a server's thread.
    fn serve(&mut self, thread: u32, inbox: Vec<Item>, sends: &mut Vec<(u32, Item, u64)>) -> f64 {
        let member = self.member_of_thread(thread);
        let costs = self.system.costs;
        let receive = costs.server.message_us * 1e3 * RECEIVING;
        let (mut work, mut dirty, mut handed, mut done) = (0.0, Vec::new(), Vec::new(), 0);
        for item in inbox {
            match item {
                Item::Requests(conn, requests) => {
                    work += receive;
                    self.threads[thread as usize].messages += 1;
                    for request in requests {
                        work += self.take(conn, request, &mut handed, &mut dirty);
                    }
                }
                Item::Durable(upto) => {
                    work += costs.flush_cpu_us * 1e3;
                    let state = &mut self.members[member as usize];
                    (state.durable, state.in_flight) = (upto, false);
                    if member == 0 {
                        self.acknowledged[0] = upto;
                    } else {
                        sends.push((self.role_of(0), Item::Acknowledged(member, upto), self.system.peer_trip_ns / 2));
                    }
                }
                Item::Writes(writes) if member == 0 => {
                    work += writes.len() as f64 * costs.peers.forward_us * 1e3;
                    self.order.extend(writes);
                }
                Item::Writes(writes) => {
                    sends.push((self.role_of(0), Item::Writes(writes), self.system.peer_trip_ns / 2));
                }
                Item::Proposals(upto) => {
                    let state = &mut self.members[member as usize];
                    work += (upto - state.appended) as f64 * costs.peers.follow_us * 1e3 + costs.peers.message_us * 1e3;
                    state.appended = upto;
                }
                Item::Acknowledged(from, upto) => {
                    work += costs.peers.message_us * 1e3;
                    self.acknowledged[from as usize] = upto;
                }
                Item::Committed(upto) => {
                    let state = &mut self.members[member as usize];
                    state.committed = state.committed.max(upto);
                }
                Item::Done(writes) => {
                    let before = dirty.len();
                    for write in writes {
                        work += self.system.kinds[usize::from(write.kind)].server_ns * (1.0 - PROPOSING);
                        self.complete(write, &mut dirty);
                    }
                    done += dirty.len() - before;
                }
                Item::Replies(..) => {}
            }
        }
        if !handed.is_empty() {
            match (thread == self.role_of(member), member) {
                (true, 0) => self.order.extend(handed),
                (true, _) => sends.push((self.role_of(0), Item::Writes(handed), self.system.peer_trip_ns / 2)),
                (false, _) => sends.push((self.role_of(member), Item::Writes(handed), 0)),
            }
        }
        let read = dirty.len();
        if thread == self.role_of(member) {
            work += self.order_writes(member, sends, &mut dirty);
        }
        let effects = dirty.len() - read + done;
        self.threads[thread as usize].effects += effects as u64;
        work += effects as f64 * costs.effect_us * 1e3;
        for conn in dirty {
            let replies = std::mem::take(&mut self.conns[conn as usize].replies);
            let delay = match self.system.clients {
                Clients::Remote(trip) => trip / 2,
                Clients::Generator(_) => 0,
            };
            sends.push((self.generator_of(conn), Item::Replies(conn, replies), delay));
        }
        work
    }

    /// A request comes to the core that holds its connection.
    fn take(&mut self, conn: u32, request: Request, handed: &mut Vec<Write>, dirty: &mut Vec<u32>) -> f64 {
        let kind = self.system.kinds[usize::from(request.kind)];
        let state = &mut self.conns[conn as usize];
        let slot = state.first + state.slots.len() as u64;
        state.slots.push_back(Slot { request, done: !kind.writes() });
        if kind.writes() {
            handed.push(Write { conn, slot, kind: request.kind });
            return kind.server_ns * PROPOSING;
        }
        self.release(conn, dirty);
        kind.server_ns
    }

    fn complete(&mut self, write: Write, dirty: &mut Vec<u32>) {
        let state = &mut self.conns[write.conn as usize];
        if let Some(slot) = state.slots.get_mut((write.slot - state.first) as usize) {
            slot.done = true;
        }
        self.release(write.conn, dirty);
    }

    /// Replies go out in the order of the requests.
    fn release(&mut self, conn: u32, dirty: &mut Vec<u32>) {
        let state = &mut self.conns[conn as usize];
        let clean = state.replies.is_empty();
        while state.slots.front().is_some_and(|slot| slot.done) {
            if let Some(slot) = state.slots.pop_front() {
                state.first += 1;
                state.replies.push((slot.request.meant, slot.request.kind));
            }
        }
        if clean && !state.replies.is_empty() {
            dirty.push(conn);
        }
    }

    /// What the thread that orders writes does at the end of a turn: proposals, commits, effects.
    fn order_writes(&mut self, member: u32, sends: &mut Vec<(u32, Item, u64)>, dirty: &mut Vec<u32>) -> f64 {
        let (system, mut work) = (self.system, 0.0);
        let half_trip = system.peer_trip_ns / 2;
        if member == 0 {
            let (end, before) = (self.order.len() as u64, self.members[0].appended);
            self.members[0].appended = end;
            let mut durable = self.acknowledged.clone();
            durable.sort_unstable();
            let quorum = durable[(durable.len() - 1) / 2];
            let committed = self.members[0].committed;
            self.members[0].committed = quorum.max(committed);
            for follower in 1..system.members {
                if end > before {
                    work += system.costs.peers.message_us * 1e3
                        + (end - before) as f64 * system.costs.peers.propose_us * 1e3;
                    sends.push((self.role_of(follower), Item::Proposals(end), half_trip));
                }
                if quorum > committed {
                    sends.push((self.role_of(follower), Item::Committed(quorum), half_trip));
                }
            }
        }
        let state = &mut self.members[member as usize];
        let (from, upto) = (state.applied, state.committed.min(state.durable).max(state.applied));
        state.applied = upto;
        let mut elsewhere: Vec<(u32, Vec<Write>)> = Vec::new();
        for number in from..upto {
            let write = self.order[number as usize];
            if self.member_of(write.conn) != member {
                continue;
            }
            let core = self.core_of(write.conn);
            if core == self.role_of(member) {
                work += system.kinds[usize::from(write.kind)].server_ns * (1.0 - PROPOSING);
                self.complete(write, dirty);
            } else {
                match elsewhere.iter_mut().find(|(known, _)| *known == core) {
                    Some((_, writes)) => writes.push(write),
                    None => elsewhere.push((core, vec![write])),
                }
            }
        }
        sends.extend(elsewhere.into_iter().map(|(core, writes)| (core, Item::Done(writes), 0)));
        work
    }

    /// Issues the next log write, if something has gathered and none is in flight.
    fn write_log(&mut self, member: u32, ready: Time) {
        let state = &self.members[member as usize];
        if state.in_flight || state.issued == state.appended {
            return;
        }
        let (mut bytes, mut upto) = (0.0, state.issued);
        while upto < state.appended {
            let more = self.system.kinds[usize::from(self.order[upto as usize].kind)].log_bytes;
            if bytes > 0.0 && bytes + more > LOG_WRITE_BYTES {
                break;
            }
            (bytes, upto) = (bytes + more, upto + 1);
        }
        let costs = self.system.costs;
        let mut took_us = costs.flush_us(bytes, self.dice.unit());
        // On one machine the kernel's part of a log write shares the processors with the generator.
        let here = !self.is_remote() && self.threads[..self.generators as usize].iter().any(|thread| thread.active);
        took_us += if here { costs.flush_busy_us } else { 0.0 };
        let log = costs.log_stalls;
        // As many in the time that logs are busy as would come in so much time.
        if log.per_second > 0.0 && self.dice.unit() < log.per_second * took_us / 1e6 {
            took_us += log.mean_us * self.dice.exponential();
        }
        let took = (took_us * 1e3) as u64;
        if !self.is_remote() && costs.flush_kernel_us > 0.0 {
            self.at(ready + took, Event::Kernel(0));
        }
        let state = &mut self.members[member as usize];
        (state.in_flight, state.issued) = (true, upto);
        state.flush_time += took;
        state.flushes += 1;
        state.flushed_bytes += bytes;
        self.at(ready + took, Event::Deliver(self.role_of(member), Item::Durable(upto)));
    }

    fn outcome(self) -> Simulated {
        let span = (self.now.saturating_sub(self.began)).max(1) as f64;
        let answered = self.answered.saturating_sub(self.system.warm_up).max(1) as f64;
        let (clients, servers) = self.threads.split_at(self.generators as usize);
        let busiest = |threads: &[Thread]| threads.iter().map(|thread| thread.worked).max().unwrap_or(0) as f64 / span;
        let counts = |threads: &[Thread]| {
            let sum = |count: fn(&Thread) -> u64| threads.iter().map(count).sum::<u64>() as f64 / answered;
            Counts {
                turns: sum(|it| it.turns),
                woken: sum(|it| it.woken_turns),
                messages: sum(|it| it.messages),
                effects: sum(|it| it.effects),
                polled_us: sum(|it| it.polled) / 1e3,
            }
        };
        let flushes: u64 = self.members.iter().map(|member| member.flushes).sum();
        let bytes: f64 = self.members.iter().map(|member| member.flushed_bytes).sum();
        Simulated {
            rate: answered * 1e9 / span,
            busiest_server: busiest(servers),
            busiest_generator: if self.is_remote() { 0.0 } else { busiest(clients) },
            log_busy: self.members.iter().map(|member| member.flush_time).max().unwrap_or(0) as f64 / span,
            server: counts(servers),
            generator: counts(clients),
            flushes_per_op: flushes as f64 / answered,
            bytes_per_flush: bytes / flushes.max(1) as f64,
            latency_ns: self.latency_ns,
            late_ns: self.late_ns,
        }
    }
}
