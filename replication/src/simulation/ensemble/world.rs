//! Time, faults, and who is told what.

use super::checker::Checker;
use super::clients::{Client, Connection};
use super::network::{Name, Network, Parcel};
use super::server::{Effect, Server, Storage, TICK_MS};
use crate::node::{Action, Input, Standing};
use crate::peer::ensemble::Ensemble;
use crate::peer::links::LinkId;
use crate::peer::mistake::Mistake;
use crate::role::{self, Mode, Now};
use crate::session::LearnerId;
use crate::wal::disk::Chance;
use bytes::Bytes;
use engine::zxid::Zxid;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

/// Virtual milliseconds with faults.
const TROUBLE_MS: i64 = 8_000;
/// Virtual milliseconds after which a healed ensemble must have gone on, and in which it must have come to rest.
const PEACE_MS: i64 = 4_000;
/// Transactions that a healed ensemble must have committed by then.
const PROGRESS: usize = 10;
const CLIENTS: usize = 4;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub voters: i64,
    pub observers: i64,
    pub mistake: Option<Mistake>,
}

/// What a run has met.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Met {
    pub transactions: u64,
    pub answers: u64,
    pub reads: u64,
    pub syncs: u64,
    pub reigns: u64,
    pub crashes: u64,
    pub partitions: u64,
    pub moves: u64,
    pub compared: u64,
    pub lost_pages: u64,
    pub checkpoints: u64,
    pub snapshots: u64,
    pub log_reads: u64,
    pub cuts: u64,
}

impl Met {
    pub(super) fn add(&mut self, other: &Met) {
        self.transactions += other.transactions;
        self.answers += other.answers;
        self.reads += other.reads;
        self.syncs += other.syncs;
        self.reigns += other.reigns;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        self.moves += other.moves;
        self.compared += other.compared;
        self.lost_pages += other.lost_pages;
        self.checkpoints += other.checkpoints;
        self.snapshots += other.snapshots;
        self.log_reads += other.log_reads;
        self.cuts += other.cuts;
    }
}

/// A place for a server.
pub(super) struct Site {
    storage: Storage,
    pub server: Option<Server>,
    /// Which life of the server this is.
    life: u64,
    tick_at: i64,
    paused_until: i64,
    /// Its clocks: where they began, and how much they are fast, in thousandths.
    mono_ms: i64,
    wall_ms: i64,
    drift: i64,
    disk_ms: u64,
    listens: bool,
    dial: u64,
    has_log_step: bool,
    has_snapshots: bool,
    has_manifest: bool,
}

#[derive(Clone, Debug)]
enum Event {
    Tick(i64),
    Prepared(i64, u64),
    Written(i64, u64),
    LogStep(i64, u64),
    Measure(i64, u64),
    Snapshots(i64, u64),
    Manifest(i64, u64),
    Flow(u64, usize),
    Sent(i64, u64, Name, usize),
    Dialled(i64, u64, i64, Callee),
    Client(usize),
    Fault,
    Crash(i64, u64),
    Restart(i64, u64),
}

#[derive(Clone, Copy, Debug)]
enum Callee {
    Voter,
    Leader(u64),
}

pub(super) struct World {
    scenario: Scenario,
    pub chance: Chance,
    pub now: i64,
    order: u64,
    events: BinaryHeap<Reverse<(i64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    ensemble: Arc<Ensemble>,
    pub sites: BTreeMap<i64, Site>,
    network: Network,
    pub clients: Vec<Client>,
    pub connections: BTreeMap<u32, Connection>,
    pub connection_count: u32,
    pub checker: Checker,
    pub met: Met,
    pub at_peace: bool,
    trace: Option<Vec<String>>,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, traced: bool) -> Result<World, String> {
        let sids = 1..=scenario.voters + scenario.observers;
        let line = |sid: i64| {
            let kind = if sid > scenario.voters { "observer" } else { "participant" };
            format!("server.{sid}=s{sid}:2888:3888:{kind}")
        };
        let text: Vec<String> = sids.clone().map(line).collect();
        let ensemble = Ensemble::parse(&text.join("\n")).map_err(|problem| format!("{problem:?}"))?;
        let mut world = World {
            scenario,
            chance: Chance::new(seed),
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            ensemble: Arc::new(ensemble),
            sites: BTreeMap::new(),
            network: Network::default(),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            connections: BTreeMap::new(),
            connection_count: 0,
            checker: Checker::default(),
            met: Met::default(),
            at_peace: false,
            trace: traced.then(Vec::new),
        };
        for sid in sids {
            let site = Site {
                storage: Storage::default(),
                server: None,
                life: 0,
                tick_at: 0,
                paused_until: 0,
                mono_ms: world.chance.below(100_000) as i64,
                wall_ms: 1_700_000_000_000 + world.chance.below(5_000) as i64,
                drift: world.chance.below(41) as i64 - 20,
                disk_ms: 1 + world.chance.below(4),
                listens: false,
                dial: 0,
                has_log_step: false,
                has_snapshots: false,
                has_manifest: false,
            };
            world.sites.insert(sid, site);
            world.after(1 + sid, Event::Restart(sid, 0));
        }
        for client in 0..CLIENTS {
            world.after(300, Event::Client(client));
        }
        world.after(1_200, Event::Fault);
        Ok(world)
    }

    /// The whole run: trouble, and then peace, in which everything has to come to a good end.
    pub(super) fn run(&mut self) -> Result<Met, String> {
        self.run_until(TROUBLE_MS)?;
        self.heal();
        let before = self.checker.len();
        self.run_until(TROUBLE_MS + PEACE_MS)?;
        if self.checker.len() < before + PROGRESS {
            let standings: Vec<_> =
                self.sites.values().map(|site| site.server.as_ref().map(|server| server.node.standing())).collect();
            return Err(format!("a healed ensemble does not go on: {standings:?}"));
        }
        self.at_peace = true;
        let until = self.now + PEACE_MS;
        while !self.is_at_rest() {
            if self.now >= until {
                let ends: Vec<_> =
                    self.sites.values().filter_map(|site| Some(site.server.as_ref()?.published)).collect();
                return Err(format!("a healed ensemble does not come to rest: {ends:?}, all: {}", self.checker.last()));
            }
            self.run_until(self.now + 20)?;
        }
        for sid in self.sids() {
            self.compare(sid)?;
        }
        self.met.transactions = self.checker.len() as u64;
        self.met.reigns = self.checker.reigns() as u64;
        for Site { storage, .. } in self.sites.values() {
            self.met.lost_pages += u64::from(storage.lost_pages);
            self.met.checkpoints += storage.checkpoints;
            self.met.snapshots += storage.snapshots;
            self.met.log_reads += u64::from(storage.log_reads);
            self.met.cuts += storage.cuts;
        }
        Ok(self.met)
    }

    /// What happened last.
    pub(super) fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }

    pub(super) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>6} {}", self.now, what()));
        }
    }

    pub(super) fn sids(&self) -> Vec<i64> {
        self.sites.keys().copied().collect()
    }

    fn is_at_rest(&self) -> bool {
        let last = self.checker.last();
        self.sites.values().all(|site| {
            let server = site.server.as_ref();
            server.is_some_and(|server| server.published == last && server.node.standing().serves())
        })
    }

    fn run_until(&mut self, until: i64) -> Result<(), String> {
        while let Some(Reverse((at, order))) = self.events.peek().copied() {
            if at > until {
                break;
            }
            self.events.pop();
            self.now = self.now.max(at);
            if let Some(event) = self.bodies.remove(&order) {
                self.happen(event)?;
            }
        }
        self.now = until;
        Ok(())
    }

    fn after(&mut self, ms: i64, event: Event) {
        self.at(self.now + ms, event);
    }

    fn at(&mut self, at: i64, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at.max(self.now), self.order)));
        self.bodies.insert(self.order, event);
    }

    pub(super) fn client_acts_after(&mut self, ms: i64, client: usize) {
        self.after(ms, Event::Client(client));
    }

    // ---- what happens ----

    fn happen(&mut self, event: Event) -> Result<(), String> {
        if let Some(sid) = self.whose(&event) {
            let until = self.sites[&sid].paused_until;
            if until > self.now {
                self.at(until, event);
                return Ok(());
            }
        }
        match event {
            Event::Tick(sid) => {
                if self.sites[&sid].tick_at <= self.now {
                    self.site(sid).tick_at = i64::MAX;
                    self.step(sid, Input::Tick)?;
                }
            }
            Event::Prepared(sid, life) => self.at_disk(sid, life, |server, _, storage| server.prepared(storage))?,
            Event::Written(sid, life) => self.at_disk(sid, life, Server::written)?,
            Event::LogStep(sid, life) => {
                if self.sites[&sid].life == life {
                    self.site(sid).has_log_step = false;
                }
                self.at_disk(sid, life, |server, _, storage| server.log_step(storage))?;
            }
            Event::Measure(sid, life) => self.at_disk(sid, life, Server::measure)?,
            Event::Snapshots(sid, life) => {
                if self.sites[&sid].life == life {
                    self.site(sid).has_snapshots = false;
                }
                self.at_disk(sid, life, Server::work_on_snapshots)?;
            }
            Event::Manifest(sid, life) => {
                if self.sites[&sid].life == life {
                    self.site(sid).has_manifest = false;
                }
                self.at_disk(sid, life, Server::finish_checkpoint)?;
            }
            Event::Flow(conn, end) => self.flow(conn, end)?,
            Event::Sent(sid, life, name, bytes) => {
                if self.sites[&sid].life == life && self.network.is_open(sid, name) {
                    let input = match name {
                        Name::Link(link) => Input::LinkWritten(link),
                        Name::Learner(learner) => Input::LearnerWritten(learner, bytes),
                        Name::Leader => Input::LeaderWritten(bytes),
                    };
                    self.step(sid, input)?;
                }
            }
            Event::Dialled(sid, life, to, callee) => self.dialled(sid, life, to, callee)?,
            Event::Client(client) => self.client_acts(client)?,
            Event::Fault => self.fault()?,
            Event::Crash(sid, life) => {
                if self.sites[&sid].life == life {
                    self.crash(sid);
                }
            }
            Event::Restart(sid, life) => {
                if self.sites[&sid].life == life && self.sites[&sid].server.is_none() {
                    self.restart(sid)?;
                }
            }
        }
        Ok(())
    }

    /// Whose pause holds an event up.
    fn whose(&self, event: &Event) -> Option<i64> {
        match event {
            Event::Tick(sid)
            | Event::Prepared(sid, _)
            | Event::Written(sid, _)
            | Event::LogStep(sid, _)
            | Event::Measure(sid, _)
            | Event::Snapshots(sid, _)
            | Event::Manifest(sid, _)
            | Event::Sent(sid, ..)
            | Event::Dialled(sid, ..) => Some(*sid),
            Event::Flow(conn, end) => self.network.conns.get(conn).map(|conn| conn.ends[1 - end].0),
            Event::Client(client) => self.clients[*client].server(),
            Event::Fault | Event::Crash(..) | Event::Restart(..) => None,
        }
    }

    fn site(&mut self, sid: i64) -> &mut Site {
        self.sites.get_mut(&sid).unwrap()
    }

    fn clock(&self, sid: i64) -> Now {
        let site = &self.sites[&sid];
        let elapsed = self.now + self.now * site.drift / 1000;
        Now { mono_ms: site.mono_ms + elapsed, wall_ms: site.wall_ms + elapsed }
    }

    fn at_disk(
        &mut self,
        sid: i64,
        life: u64,
        act: impl FnOnce(&mut Server, Now, &mut Storage) -> Result<(), String>,
    ) -> Result<(), String> {
        let now = self.clock(sid);
        let site = self.site(sid);
        if site.life != life {
            return Ok(());
        }
        if let Some(server) = &mut site.server {
            act(server, now, &mut site.storage).map_err(|problem| format!("server {sid}: {problem}"))?;
        }
        self.settle(sid)
    }

    /// One input for a server.
    pub(super) fn step(&mut self, sid: i64, input: Input<'_>) -> Result<(), String> {
        let now = self.clock(sid);
        let site = self.site(sid);
        if let Some(server) = &mut site.server {
            server.step(now, input, &mut site.storage).map_err(|problem| format!("server {sid}: {problem}"))?;
        }
        self.settle(sid)
    }

    /// What a step has led to: effects, writes, the next tick.
    fn settle(&mut self, sid: i64) -> Result<(), String> {
        while let Some(effect) = self.site(sid).server.as_mut().and_then(|server| server.effects.pop_front()) {
            match effect {
                Effect::Restored(base) => {
                    if base > Zxid::ZERO {
                        self.note(|| format!("server {sid} has the state as of {base}"));
                    }
                    self.checker.restored(sid, base)?;
                }
                Effect::Applied(zxid, bytes) => self.checker.applied(sid, zxid, &bytes)?,
                Effect::Published(zxid) => {
                    if self.checker.knows(zxid) || zxid.0 % 5 == 0 {
                        self.compare(sid)?;
                    }
                }
                Effect::Client(action) => self.tell_client(sid, action)?,
                Effect::Peer(action) => self.carry_out(sid, action)?,
            }
        }
        let site = self.site(sid);
        let (life, disk_ms) = (site.life, site.disk_ms);
        let Some(server) = &mut site.server else { return Ok(()) };
        if server.is_out() {
            self.crash(sid);
            return Ok(());
        }
        if server.wants_checkpoint() {
            return self.step(sid, Input::Role(role::Input::CheckpointDue));
        }
        let (asks, writes) = server.poll_log();
        let snapshots = server.has_snapshots() && !std::mem::replace(&mut site.has_snapshots, true);
        let manifest = server.has_checkpoint() && !std::mem::replace(&mut site.has_manifest, true);
        let measures = !server.measures.is_empty();
        let log_step = server.has_log_work() && !std::mem::replace(&mut site.has_log_step, true);
        let deadline = server.node.next_deadline();
        if asks {
            let ms = 1 + self.chance.below(5 * disk_ms) as i64;
            self.after(ms, Event::Prepared(sid, life));
        }
        if writes {
            let ms = 1 + self.chance.below(3 * disk_ms) as i64;
            self.after(ms, Event::Written(sid, life));
        }
        if measures {
            self.after(1, Event::Measure(sid, life));
        }
        if snapshots {
            let ms = 1 + self.chance.below(4) as i64;
            self.after(ms, Event::Snapshots(sid, life));
        }
        if manifest {
            let ms = 1 + self.chance.below(10 * disk_ms) as i64;
            self.after(ms, Event::Manifest(sid, life));
        }
        if log_step {
            let ms = 1 + self.chance.below(3 * disk_ms) as i64;
            self.after(ms, Event::LogStep(sid, life));
        }
        if let Some(deadline) = deadline {
            let ms = (deadline - self.clock(sid).mono_ms).max(1);
            // A fast clock wakes up too early, which does no harm.
            let (now, at) = (self.now, self.now + (ms - ms / 40).max(1));
            let site = self.site(sid);
            if at < site.tick_at || site.tick_at <= now {
                site.tick_at = at;
                self.at(at, Event::Tick(sid));
            }
        }
        Ok(())
    }

    fn compare(&mut self, sid: i64) -> Result<(), String> {
        let site = self.sites.get_mut(&sid).unwrap();
        let Some(server) = &mut site.server else { return Ok(()) };
        if server.node.role().committed() != server.published {
            // It stopped between two actions of one step: its role is ahead of its shards.
            return Ok(());
        }
        let (zxid, state) = (server.published, server.state()?);
        self.met.compared += 1;
        self.checker.shows(sid, zxid, state)
    }

    // ---- between servers ----

    fn carry_out(&mut self, sid: i64, action: Action) -> Result<(), String> {
        let life = self.sites[&sid].life;
        match action {
            Action::DialLink { sid: to, .. } => {
                let ms = 1 + self.chance.below(6) as i64;
                self.after(ms, Event::Dialled(sid, life, to.0, Callee::Voter));
            }
            Action::DialLeader { addresses, .. } => {
                let to = addresses.first().and_then(|address| address.host[1..].parse().ok()).unwrap_or_default();
                let number = self.network.number();
                self.site(sid).dial = number;
                let ms = 1 + self.chance.below(6) as i64;
                self.after(ms, Event::Dialled(sid, life, to, Callee::Leader(number)));
            }
            Action::WriteLink(link, bytes) => self.write(sid, Name::Link(link), bytes),
            Action::WriteLearner(learner, bytes) => self.write(sid, Name::Learner(learner), bytes),
            Action::WriteLeader(bytes) => self.write(sid, Name::Leader, bytes),
            Action::CloseLink(link) => self.close(sid, Name::Link(link)),
            Action::CloseLearner(learner) => self.close(sid, Name::Learner(learner)),
            Action::CloseLeader => {
                self.site(sid).dial = 0;
                self.close(sid, Name::Leader);
            }
            Action::Listen(on) => {
                self.site(sid).listens = on;
                let names = self.network.names(sid).into_iter();
                for name in names.filter(|name| !on && matches!(name, Name::Learner(_))) {
                    self.close(sid, name);
                }
            }
            Action::Standing(standing) => {
                self.note(|| format!("server {sid} is {standing:?}"));
                if !standing.serves() {
                    self.drop_clients(sid);
                }
                if standing == Standing::Leading {
                    let server = self.sites[&sid].server.as_ref().unwrap();
                    let Mode::Leading { epoch } = server.node.role().mode() else {
                        return Err(format!("server {sid} leads and its role does not"));
                    };
                    self.checker.leads(sid, epoch, server.log_base(), server.log())?;
                }
            }
            other => return Err(format!("nobody carries out {other:?}")),
        }
        Ok(())
    }

    fn write(&mut self, sid: i64, name: Name, bytes: Bytes) {
        let (life, count) = (self.sites[&sid].life, bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let cut =
                if self.chance.percent(15) { 1 + self.chance.below(rest.len() as u64) as usize } else { rest.len() };
            let piece = rest.split_to(cut);
            let slowest = if self.chance.percent(3) { 60 } else { 3 };
            let ms = 1 + self.chance.below(slowest) as i64;
            self.send(sid, name, ms, Parcel::Bytes(piece));
        }
        let ms = self.chance.below(2) as i64;
        self.after(ms, Event::Sent(sid, life, name, count));
    }

    fn send(&mut self, sid: i64, name: Name, ms: i64, parcel: Parcel) {
        if let Some((conn, end, at)) = self.network.send(sid, name, self.now + ms, parcel) {
            self.at(at, Event::Flow(conn, end));
        }
    }

    /// The server closes its end; the other one hears of it behind what was sent.
    fn close(&mut self, sid: i64, name: Name) {
        self.send(sid, name, 1, Parcel::End);
        if let Some((conn, end)) = self.network.find(sid, name) {
            self.network.close(conn, end);
        }
    }

    /// What has arrived from one end of a connection.
    fn flow(&mut self, number: u64, end: usize) -> Result<(), String> {
        loop {
            let Some(conn) = self.network.conns.get_mut(&number) else { return Ok(()) };
            let ((from, _), (to, name)) = (conn.ends[end], conn.ends[1 - end]);
            let blocked = self.network.blocked.contains(&(from, to));
            let full = name == Name::Leader
                && self.sites[&to].server.as_ref().is_some_and(|server| !server.node.reads_from_leader());
            let Some((at, _)) = conn.queues[end].front() else {
                conn.due[end] = false;
                return Ok(());
            };
            if blocked || full || *at > self.now {
                let at = if blocked { self.now + 20 } else { (*at).max(self.now + 1) };
                self.at(at, Event::Flow(number, end));
                return Ok(());
            }
            let Some((_, parcel)) = conn.queues[end].pop_front() else { return Ok(()) };
            if !conn.open[1 - end] {
                continue;
            }
            let input = match (&parcel, name) {
                (Parcel::Bytes(bytes), Name::Link(link)) => Input::LinkBytes(link, bytes),
                (Parcel::Bytes(bytes), Name::Learner(learner)) => Input::LearnerBytes(learner, bytes.clone()),
                (Parcel::Bytes(bytes), Name::Leader) => Input::LeaderBytes(bytes.clone()),
                (Parcel::End, Name::Link(link)) => Input::LinkClosed(link),
                (Parcel::End, Name::Learner(learner)) => Input::LearnerClosed(learner),
                (Parcel::End, Name::Leader) => Input::LeaderClosed,
            };
            if matches!(parcel, Parcel::End) {
                self.network.close(number, 1 - end);
            }
            self.step(to, input)?;
        }
    }

    fn dialled(&mut self, sid: i64, life: u64, to: i64, callee: Callee) -> Result<(), String> {
        if self.sites[&sid].life != life || self.sites[&sid].server.is_none() {
            return Ok(());
        }
        if let Callee::Leader(number) = callee
            && self.sites[&sid].dial != number
        {
            return Ok(());
        }
        let there = self.sites.get(&to).is_some_and(|site| {
            site.server.is_some()
                && match callee {
                    Callee::Voter => true,
                    Callee::Leader(_) => site.listens,
                }
        });
        let carries = self.network.carries(sid, to) && self.network.carries(to, sid);
        if !there || !carries || self.chance.percent(self.network.refused) {
            return match callee {
                Callee::Voter => self.step(sid, Input::LinkFailed(crate::peer::ensemble::ServerId(to))),
                Callee::Leader(_) => self.step(sid, Input::LeaderUnreachable),
            };
        }
        match callee {
            Callee::Voter => {
                let (own, other) = (LinkId(self.network.number()), LinkId(self.network.number()));
                self.network.connect([(sid, Name::Link(own)), (to, Name::Link(other))]);
                self.step(to, Input::LinkAccepted(other))?;
                self.step(sid, Input::LinkConnected(own, crate::peer::ensemble::ServerId(to)))
            }
            Callee::Leader(_) => {
                let learner = LearnerId(self.network.number());
                self.network.connect([(sid, Name::Leader), (to, Name::Learner(learner))]);
                self.step(to, Input::LearnerAccepted(learner))?;
                self.step(sid, Input::LeaderConnected)
            }
        }
    }

    // ---- faults ----

    fn fault(&mut self) -> Result<(), String> {
        if self.now >= TROUBLE_MS {
            return Ok(());
        }
        let sids = self.sids();
        let sid = sids[self.chance.below(sids.len() as u64) as usize];
        let other = sids[self.chance.below(sids.len() as u64) as usize];
        match self.chance.below(14) {
            12 => {
                self.note(|| "the power fails".to_owned());
                for sid in sids {
                    self.crash(sid);
                }
            }
            0..=3 => {
                let fuse = 1 + self.chance.below(12) as u32;
                let life = self.sites[&sid].life;
                if let Some(server) = &mut self.site(sid).server {
                    server.fuse = Some(fuse);
                }
                self.after(200, Event::Crash(sid, life));
            }
            4 => {
                let ms = 50 + self.chance.below(1_200) as i64;
                self.note(|| format!("server {sid} pauses for {ms} ms"));
                self.site(sid).paused_until = self.now + ms;
            }
            5 | 6 => {
                self.met.partitions += 1;
                let sides: BTreeMap<i64, bool> = sids.iter().map(|sid| (*sid, self.chance.percent(50))).collect();
                let ways = sids.iter().flat_map(|a| sids.iter().map(move |b| (*a, *b)));
                self.network.blocked = ways.filter(|(a, b)| sides[a] != sides[b]).collect();
                self.note(|| format!("partition {sides:?}"));
            }
            7 => {
                self.met.partitions += 1;
                self.network.blocked.insert((sid, other));
                self.note(|| format!("nothing gets from server {sid} to {other}"));
            }
            8 => {
                let conns: Vec<u64> = self.network.conns.keys().copied().collect();
                if !conns.is_empty() {
                    let conn = conns[self.chance.below(conns.len() as u64) as usize];
                    self.sever(conn)?;
                }
            }
            9 => self.network.refused = [0, 30, 80][self.chance.below(3) as usize],
            10 | 11 => {
                let ms = 1 + self.chance.below(60);
                let site = self.site(sid);
                site.disk_ms = ms;
                site.wall_ms += 40 * ms as i64 - 400;
            }
            _ => {
                self.note(|| "the network heals".to_owned());
                self.network.blocked.clear();
            }
        }
        if self.chance.percent(35) {
            self.network.blocked.clear();
        }
        let ms = 50 + self.chance.below(500) as i64;
        self.after(ms, Event::Fault);
        Ok(())
    }

    /// A connection breaks; what is under way on it is lost.
    fn sever(&mut self, number: u64) -> Result<(), String> {
        let Some(conn) = self.network.conns.get_mut(&number) else { return Ok(()) };
        let (ends, open) = (conn.ends, conn.open);
        self.note(|| format!("the connection {ends:?} breaks"));
        for end in 0..2 {
            self.network.close(number, end);
        }
        for ((sid, name), _) in ends.into_iter().zip(open).filter(|(_, open)| *open) {
            let input = match name {
                Name::Link(link) => Input::LinkClosed(link),
                Name::Learner(learner) => Input::LearnerClosed(learner),
                Name::Leader => Input::LeaderClosed,
            };
            self.step(sid, input)?;
        }
        Ok(())
    }

    fn crash(&mut self, sid: i64) {
        let Some(server) = self.site(sid).server.take() else { return };
        self.note(|| format!("server {sid} crashes"));
        self.met.crashes += 1;
        let site = self.sites.get_mut(&sid).unwrap();
        site.storage.crash(server, &mut self.chance);
        site.life += 1;
        (site.listens, site.dial, site.paused_until) = (false, 0, 0);
        (site.has_log_step, site.has_snapshots, site.has_manifest) = (false, false, false);
        let life = site.life;
        for name in self.network.names(sid) {
            let ms = 1 + self.chance.below(150) as i64;
            self.send(sid, name, ms, Parcel::End);
            if let Some((conn, end)) = self.network.find(sid, name) {
                self.network.close(conn, end);
            }
        }
        self.drop_clients(sid);
        let ms = 50 + self.chance.below(1_500) as i64;
        self.after(ms, Event::Restart(sid, life));
    }

    fn restart(&mut self, sid: i64) -> Result<(), String> {
        let shards = 1 + self.chance.below(3) as u16;
        let now = self.clock(sid);
        let (ensemble, mistake) = (Arc::clone(&self.ensemble), self.scenario.mistake);
        let site = self.site(sid);
        let server = Server::start(sid, shards, now, &ensemble, mistake, &mut site.storage)?;
        site.server = Some(server);
        site.tick_at = i64::MAX;
        let epochs = site.storage.epochs();
        self.note(|| format!("server {sid} starts with {shards} shards and {epochs:?}"));
        self.settle(sid)
    }

    /// Everything works from here on.
    fn heal(&mut self) {
        self.note(|| "everything heals".to_owned());
        self.network.blocked.clear();
        self.network.refused = 0;
        for sid in self.sids() {
            let site = self.site(sid);
            site.disk_ms = 2;
            site.paused_until = 0;
            if let Some(server) = &mut site.server {
                server.fuse = None;
            }
        }
    }

    // ---- clients ----

    fn tell_client(&mut self, sid: i64, action: role::Action) -> Result<(), String> {
        self.client_hears(sid, action)
    }
}

const _: () = assert!(TICK_MS * 10 < PEACE_MS);
