//! Time, and who is told what.

mod clients;
mod faults;
mod network;
mod peers;
mod site;

use super::checker::Checker;
use super::clients::Client;
use super::met::Met;
use super::server::{Effect, Server, Storage};
use crate::node::Input;
use crate::peer::ensemble::{Ensemble, ServerId};
use crate::peer::mistake::Mistake;
use crate::role::{self, Now};
use crate::wal::disk::Chance;
use clients::Wire;
use engine::zxid::Zxid;
use network::{Callee, Name, Network};
use site::Site;
use std::cmp::Reverse;
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// Virtual milliseconds with faults.
const TROUBLE_MS: i64 = 8_000;
/// Virtual milliseconds after which a healed quorum must have gone on, a healed ensemble must have come to rest, and the
/// sessions of clients that are gone must have ended.
const PEACE_MS: i64 = 4_000;
/// Transactions that a healed quorum must have committed by then.
const PROGRESS: usize = 10;
const CLIENTS: usize = 4;
/// Notes that are kept.
const NOTES_MAX: usize = 100_000;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub voters: i64,
    pub observers: i64,
    /// Servers that the members do not list at first.
    pub spares: i64,
    /// Whether clients ask for other members.
    pub reconfigures: bool,
    /// Whether disks give back something else than they were given.
    pub decays: bool,
    /// Whether connections hear late of what their server is.
    pub has_busy_cores: bool,
    /// Transactions that one step of a server commits.
    pub commit_step: usize,
    /// Bytes of recent transactions that servers keep for learners.
    pub history_bytes_max: usize,
    pub mistake: Option<Mistake>,
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
    View(i64, u64),
    Flow(u64, usize),
    Sent(i64, u64, Name, usize),
    Dialled(i64, u64, i64, Callee),
    Client(usize),
    /// Something from a client arrives.
    Ask(u32),
    /// The connections of a server hear how it serves them.
    Heard(i64, u64),
    /// What is left to be committed comes behind what a server has done so far.
    GoOn(i64, u64),
    Fault,
    Crash(i64, u64),
    Restart(i64, u64),
}

pub struct World {
    scenario: Scenario,
    pub chance: Chance,
    /// When connections hear late of what their server is.
    stalls: Chance,
    pub now: i64,
    order: u64,
    events: BinaryHeap<Reverse<(i64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    pub sites: BTreeMap<i64, Site>,
    network: Network,
    pub clients: Vec<Client>,
    wires: BTreeMap<u32, Wire>,
    wire_count: u32,
    pub checker: Checker,
    pub met: Met,
    pub at_peace: bool,
    /// Clients write nothing meanwhile.
    quiet: Range<i64>,
    trace: Option<Vec<String>>,
    /// Of everything that has happened.
    digest: DefaultHasher,
}

impl World {
    pub fn new(seed: u64, scenario: Scenario, traced: bool) -> Result<World, String> {
        let listed = scenario.voters + scenario.observers;
        let sids = 1..=listed + scenario.spares;
        let text: String = (1..=listed).map(|sid| line(sid, sid <= scenario.voters)).collect();
        let ensemble = Arc::new(parsed(&format!("{text}version=0"))?);
        let mut world = World {
            scenario,
            chance: Chance::new(seed),
            stalls: Chance::new(!seed),
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            sites: BTreeMap::new(),
            network: Network::default(),
            clients: (0..CLIENTS).map(Client::new).collect(),
            wires: BTreeMap::new(),
            wire_count: 0,
            checker: Checker::new(Arc::clone(&ensemble)),
            met: Met::default(),
            at_peace: false,
            quiet: 0..0,
            trace: traced.then(Vec::new),
            digest: DefaultHasher::new(),
        };
        for sid in sids {
            // Who is not a member names them all, and itself, as somebody who votes or not.
            let own = match sid > listed {
                true => Arc::new(first_members(&ensemble, sid, world.chance.percent(50))?),
                false => Arc::clone(&ensemble),
            };
            world.sites.insert(sid, Site::new(&mut world.chance, own));
            world.after(1 + sid, Event::Restart(sid, 0));
        }
        for client in 0..CLIENTS {
            world.after(300, Event::Client(client));
        }
        world.after(1_200, Event::Fault);
        Ok(world)
    }

    /// The whole run: trouble; then a healed quorum, which has to go on; then peace, in which everybody has to come to the
    /// same end; and at last nobody is left to use it, and sessions have to end with what they owned.
    pub fn run(&mut self) -> Result<Met, String> {
        self.run_until(TROUBLE_MS)?;
        self.heal_quorum();
        self.goes_on()?;
        self.heal();
        self.at_peace = true;
        self.until("a healed ensemble does not come to rest", World::is_at_rest)?;
        self.compare_all()?;
        self.clients_vanish()?;
        self.until("sessions outlive their clients", |world| world.checker.timeline.remains() == (0, 0))?;
        self.until("the last end of sessions is not known to all", World::is_at_rest)?;
        self.compare_all()?;
        self.sum_up();
        Ok(self.met.clone())
    }

    /// A healed quorum has to go on. Whom that takes changes when new members are proposed that clients have asked for amid
    /// the trouble, to a leader that does not know yet who stays away: then more come back, and have as long.
    fn goes_on(&mut self) -> Result<(), String> {
        let mut begun = (self.now, self.checker.len(), self.checker.acknowledged());
        while self.now < begun.0 + PEACE_MS {
            self.run_until(self.now + 20)?;
            if self.bring_back() {
                begun = (self.now, self.checker.len(), self.checker.acknowledged());
            }
        }
        let (_, before, acknowledged) = begun;
        if self.checker.len() < before + PROGRESS || self.checker.acknowledged() <= acknowledged {
            return Err(format!("a healed quorum does not go on: {}", self.plights()));
        }
        Ok(())
    }

    fn until(&mut self, otherwise: &str, holds: impl Fn(&World) -> bool) -> Result<(), String> {
        let until = self.now + PEACE_MS;
        while !holds(self) {
            if self.now >= until {
                let (all, remains) = (self.checker.last(), self.checker.timeline.remains());
                return Err(format!("{otherwise}, all {all}, remains {remains:?}: {}", self.plights()));
            }
            self.run_until(self.now + 20)?;
        }
        Ok(())
    }

    /// What everybody is at.
    fn plights(&self) -> String {
        let plight = |(sid, site): (&i64, &Site)| {
            let views = site.storage.views();
            let members = [views.committed(), views.last_seen()].map(|ensemble| brief(ensemble));
            let state = site.server.as_ref().map(|server| {
                format!("{:?}, {}, published {}", server.node.standing(), server.node.plight(), server.published)
            });
            format!("server {sid}: {}, members {members:?}", state.unwrap_or_else(|| "down".to_owned()))
        };
        let members = brief(self.checker.timeline.members.current());
        self.sites.iter().map(plight).chain([format!("members {members}")]).collect::<Vec<_>>().join("; ")
    }

    fn sum_up(&mut self) {
        self.met.add_to("transactions", self.checker.len() as u64);
        self.met.add_to("elections", self.checker.reigns() as u64);
        self.met.add_to("expiries", self.checker.timeline.expired);
        self.met.add_to("failed writes", self.checker.timeline.failed);
        self.met.add_to("multis", self.checker.timeline.multis);
        self.met.add_to("reconfigurations", self.checker.timeline.members.changes() as u64);
        let drifting = self.sites.values().filter(|site| site.drifts()).count();
        self.met.add_to("drifting clocks", drifting as u64);
        for Site { storage, .. } in self.sites.values() {
            self.met.add_to("torn batches", storage.torn_tails);
            self.met.add_to("covered damage", storage.covered);
            self.met.add_to("things set aside", storage.set_asides);
            self.met.add_to("repaired members", storage.repairs);
            self.met.add_to("lost pages", u64::from(storage.lost_pages));
            self.met.add_to("checkpoints", storage.checkpoints);
            self.met.add_to("installed snapshots", storage.snapshots);
            self.met.add_to("TRUNC", storage.cuts);
            self.met.add_to("log reads", storage.log_reads);
            self.met.add_to("SNAP", storage.streams);
            self.met.add_to("disk errors", storage.failures);
        }
    }

    /// What happened last.
    pub fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }

    /// Two runs with the same fingerprint were the same.
    pub fn fingerprint(&self) -> u64 {
        self.digest.finish()
    }

    /// What everything that happens goes into.
    pub fn digest(&mut self) -> &mut DefaultHasher {
        &mut self.digest
    }

    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            if trace.len() == NOTES_MAX {
                trace.clear();
            }
            trace.push(format!("{:>6} {}", self.now, what()));
        }
    }

    pub fn sids(&self) -> Vec<i64> {
        self.sites.keys().copied().collect()
    }

    /// Whether all members are in step. Who is a member no more, or not yet, need not be.
    fn is_at_rest(&self) -> bool {
        let (last, members) = (self.checker.last(), self.checker.timeline.members.current());
        let are_members = self.sites.iter().filter(|(sid, _)| members.member(ServerId(**sid)).is_some());
        are_members.map(|(_, site)| site).all(|site| {
            let server = site.server.as_ref();
            let is_whole = !site.storage.is_repairing;
            is_whole && server.is_some_and(|server| server.published == last && server.node.standing().serves())
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

    /// Whether clients write nothing at the moment.
    pub fn is_quiet(&self) -> bool {
        self.quiet.contains(&self.now)
    }

    /// Whether clients may ask for other members.
    pub fn may_reconfigure(&self) -> bool {
        self.scenario.reconfigures && self.now < TROUBLE_MS
    }

    pub fn client_acts_after(&mut self, ms: i64, client: usize) {
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
        (self.now, self.order, std::mem::discriminant(&event)).hash(&mut self.digest);
        if let Some(sid) = self.whose(&event) {
            self.fill_disk(sid);
        }
        match event {
            Event::Tick(sid) => {
                if self.sites[&sid].tick_at <= self.now {
                    self.site(sid).tick_at = i64::MAX;
                    self.step(sid, Input::Tick)?;
                }
            }
            Event::Prepared(sid, life) => self.at_disk(sid, life, |server, _, storage| server.prepared(storage))?,
            Event::Written(sid, life) => self.written(sid, life)?,
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
            Event::View(sid, life) => {
                if self.sites[&sid].life == life {
                    self.site(sid).has_view_step = false;
                }
                self.at_disk(sid, life, |server, _, _| {
                    server.step_view();
                    Ok(())
                })?;
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
            Event::Ask(conn) => self.asked(conn)?,
            Event::Heard(sid, life) => {
                if self.sites[&sid].life == life {
                    self.connections_hear(sid)?;
                }
            }
            Event::GoOn(sid, life) => {
                if self.sites[&sid].life == life {
                    self.site(sid).goes_on = false;
                    self.met.count("later commits");
                    self.step(sid, Input::Role(role::Input::GoOn))?;
                }
            }
            Event::Fault => self.fault()?,
            Event::Crash(sid, life) => {
                if self.sites[&sid].life == life && self.now < TROUBLE_MS {
                    self.crash(sid);
                }
            }
            Event::Restart(sid, life) => {
                let site = &self.sites[&sid];
                if site.life == life && site.server.is_none() && !site.stays_down {
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
            | Event::View(sid, _)
            | Event::Sent(sid, ..)
            | Event::Heard(sid, _)
            | Event::GoOn(sid, _)
            | Event::Dialled(sid, ..) => Some(*sid),
            Event::Flow(conn, end) => self.network.conns.get(conn).map(|conn| conn.ends[1 - end].0),
            Event::Ask(conn) => self.wires.get(conn).map(|wire| wire.server),
            Event::Client(_) | Event::Fault | Event::Crash(..) | Event::Restart(..) => None,
        }
    }

    fn site(&mut self, sid: i64) -> &mut Site {
        self.sites.get_mut(&sid).unwrap()
    }

    /// Who has this epoch for current, or a later one.
    fn in_epoch(&self, epoch: u32) -> BTreeSet<ServerId> {
        let sites = self.sites.iter().filter(|(_, site)| site.storage.epochs().current >= epoch);
        sites.map(|(sid, _)| ServerId(*sid)).collect()
    }

    fn clock(&self, sid: i64) -> Now {
        self.sites[&sid].clock(self.now)
    }

    /// A write of the log has ended, well or not.
    fn written(&mut self, sid: i64, life: u64) -> Result<(), String> {
        let site = self.sites.get_mut(&sid).unwrap();
        if let Some(server) = site.server.as_mut().filter(|_| site.life == life)
            && let Some(fault) = server.fault.take()
        {
            server.write_fails(fault, &mut site.storage, &mut self.chance)?;
            return self.settle(sid);
        }
        self.at_disk(sid, life, Server::written)
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
    pub fn step(&mut self, sid: i64, input: Input<'_>) -> Result<(), String> {
        let now = self.clock(sid);
        let site = self.site(sid);
        if let Some(server) = &mut site.server {
            server.step(now, input, &mut site.storage).map_err(|problem| format!("server {sid}: {problem}"))?;
        }
        self.settle(sid)
    }

    /// What a step has led to: effects, what clients are told, writes, the next tick.
    fn settle(&mut self, sid: i64) -> Result<(), String> {
        let mut is_due = false;
        if self.site(sid).server.as_mut().is_some_and(|server| std::mem::take(&mut server.has_new_state)) {
            self.connections_hear_all(sid)?;
        }
        let partings = self.site(sid).server.as_mut().map(|server| std::mem::take(&mut server.node.partings));
        for parting in partings.unwrap_or_default() {
            self.note(|| format!("server {sid} {parting}"));
        }
        while let Some(effect) = self.site(sid).server.as_mut().and_then(|server| server.effects.pop_front()) {
            match effect {
                Effect::Restored(base) => {
                    if base > Zxid::ZERO {
                        self.note(|| format!("server {sid} has the state as of {base}"));
                    }
                    self.checker.restored(sid, base)?;
                }
                Effect::Applied(zxid, bytes) => {
                    (sid, zxid.0).hash(&mut self.digest);
                    let changes = self.checker.timeline.members.changes();
                    self.checker.applied(sid, zxid, &bytes)?;
                    if self.checker.timeline.members.changes() > changes {
                        let members = brief(self.checker.timeline.members.current());
                        self.note(|| format!("server {sid} is the first to have the members {members}"));
                    }
                }
                Effect::Holds(zxid, bytes) => self.checker.holds(sid, zxid, bytes),
                Effect::Drops(behind) => self.checker.drops(sid, behind),
                Effect::InForce(members) => {
                    let with_it = self.in_epoch(self.sites[&sid].storage.epochs().current);
                    self.checker.timeline.members.in_force(members, &with_it)?;
                }
                Effect::Published(zxid) => is_due |= zxid.0 % 4 == 0,
                Effect::Peer(action) => self.carry_out(sid, action)?,
            }
        }
        if is_due {
            self.compare(sid)?;
        }
        self.pump(sid)?;
        let site = self.site(sid);
        let (life, disk_ms) = (site.life, site.disk_ms);
        let Some(server) = &mut site.server else { return Ok(()) };
        if server.is_out() {
            if let Some(why) = server.stopped {
                self.met.count("loud stops");
                self.note(|| format!("server {sid} stops: {why}"));
            }
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
        let view = server.view < server.published && !std::mem::replace(&mut site.has_view_step, true);
        let deadline = server.node.next_deadline();
        let goes_on = server.node.role().has_ready() && !std::mem::replace(&mut site.goes_on, true);
        if goes_on {
            let ms = self.stalls.below(3) as i64;
            self.after(ms, Event::GoOn(sid, life));
        }
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
        if view {
            let ms = self.chance.below(6) as i64;
            self.after(ms, Event::View(sid, life));
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

    fn compare_all(&mut self) -> Result<(), String> {
        self.sids().into_iter().try_for_each(|sid| self.compare(sid))
    }

    fn compare(&mut self, sid: i64) -> Result<(), String> {
        let Some(server) = &mut self.sites.get_mut(&sid).unwrap().server else { return Ok(()) };
        if server.node.role().committed() != server.published {
            // It stopped between two actions of one step: its role is ahead of its shards.
            return Ok(());
        }
        let (zxid, state) = (server.published, server.state()?);
        self.met.count("compared states");
        self.checker.shows(sid, zxid, &state)
    }
}

fn line(sid: i64, votes: bool) -> String {
    let kind = if votes { "participant" } else { "observer" };
    format!("server.{sid}=s{sid}:2888:3888:{kind};2181\n")
}

fn parsed(text: &str) -> Result<Ensemble, String> {
    Ensemble::parse(text).map_err(|problem| problem.to_string())
}

/// What a server that is to join is told: the members, and itself.
fn first_members(members: &Ensemble, sid: i64, votes: bool) -> Result<Ensemble, String> {
    let lines = members.text().lines().filter(|line| !line.starts_with("version"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    parsed(&format!("{text}{}version=0", line(sid, votes)))
}

/// Members on one line: the version, who votes, who observes.
fn brief(ensemble: &Ensemble) -> String {
    let sids = |sids: &mut dyn Iterator<Item = ServerId>| sids.map(|sid| sid.0).collect::<Vec<_>>();
    let (voters, observers) = (sids(&mut ensemble.voters()), sids(&mut ensemble.observers()));
    format!("{:x} {voters:?} {observers:?}", ensemble.version())
}

const _: () = assert!(super::server::TICK_MS * 10 < PEACE_MS);
