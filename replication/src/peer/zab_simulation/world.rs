//! Time, network, election and faults.

use super::checker::Checker;
use super::node::{DiskJob, Node, Role, decode_snapshot, decode_txn, encode_snapshot, encode_txn};
use crate::peer::leader::{self, Leader, LeaderConfig, LeaderStart, LearnerId};
use crate::peer::learner::{self, Learner, LearnerConfig, LearnerKind, LearnerStart, LeaveReason};
use crate::peer::mistake::Mistake;
use crate::peer::quorum_set::{Configuration, Configurations, Majority};
use crate::peer::wire::packet::{PacketKind, QuorumPacket};
use crate::wal::{Chance, Durable};
use bytes::Bytes;
use engine::zxid::Zxid;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;

/// Virtual milliseconds with faults, and then without.
const TROUBLE_MS: i64 = 5000;
const PEACE_MS: i64 = 3000;
const TICK_MS: i64 = 40;
/// Transactions that the healed ensemble has to commit.
const PROGRESS: usize = 5;

#[derive(Clone, Copy, Debug)]
pub(super) struct WorldConfig {
    pub voters: u64,
    pub observers: u64,
    pub mistake: Option<Mistake>,
}

/// What happened, to see that runs are worth something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Totals {
    pub commits: u64,
    pub reigns: u64,
    pub crashes: u64,
    pub follows: u64,
    pub cuts: u64,
    pub snapshots: u64,
    pub log_reads: u64,
}

impl Totals {
    pub(super) fn add(&mut self, other: &Totals) {
        self.commits += other.commits;
        self.reigns += other.reigns;
        self.crashes += other.crashes;
        self.follows += other.follows;
        self.cuts += other.cuts;
        self.snapshots += other.snapshots;
        self.log_reads += other.log_reads;
    }
}

#[derive(Clone, Debug)]
enum Event {
    Tick(u64),
    Disk { sid: u64, tenure: u64, job: DiskJob },
    Connect { sid: u64, tenure: u64 },
    Deliver { conn: u64, up: bool, bytes: Bytes },
    Closed { conn: u64, up: bool },
    Propose,
    Elect,
    Fault,
    Restart(u64),
}

struct Conn {
    learner: u64,
    leader: u64,
    /// When the last bytes up and down arrive: the stream keeps its order.
    arrives: [i64; 2],
    /// Which ends still hold it.
    open: [bool; 2],
    lost: [bool; 2],
}

enum Machine {
    Leading(leader::Input),
    Learning(learner::Input),
}

pub(super) struct World {
    config: WorldConfig,
    chance: Chance,
    now: i64,
    order: u64,
    events: BinaryHeap<Reverse<(i64, u64, usize)>>,
    bodies: BTreeMap<usize, Event>,
    nodes: BTreeMap<u64, Node>,
    conns: BTreeMap<u64, Conn>,
    next_conn: u64,
    next_value: u64,
    /// Which side of the present partition a server is on.
    sides: BTreeMap<u64, u64>,
    todo: VecDeque<(u64, Machine)>,
    checker: Checker,
    totals: Totals,
}

impl World {
    pub(super) fn new(seed: u64, config: WorldConfig) -> World {
        let sids = 1..=config.voters + config.observers;
        let mut world = World {
            config,
            chance: Chance::new(seed),
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            nodes: sids.clone().map(|sid| (sid, Node::new(sid, sid > config.voters))).collect(),
            conns: BTreeMap::new(),
            next_conn: 0,
            next_value: 0,
            sides: sids.clone().map(|sid| (sid, 0)).collect(),
            todo: VecDeque::new(),
            checker: Checker::new(config.voters),
            totals: Totals::default(),
        };
        sids.for_each(|sid| world.after(1, Event::Tick(sid)));
        world.after(1, Event::Elect);
        world.after(1, Event::Propose);
        world.after(300, Event::Fault);
        world
    }

    pub(super) fn run(mut self) -> Result<Totals, String> {
        self.run_until(TROUBLE_MS)?;
        self.heal();
        self.run_until(TROUBLE_MS + PEACE_MS / 2)?;
        let before = self.checker.committed();
        self.run_until(TROUBLE_MS + PEACE_MS)?;
        if self.checker.committed() < before + PROGRESS {
            let roles: Vec<String> = self.nodes.values().map(|node| format!("{:?}", node.role)).collect();
            return Err(format!("no progress although the ensemble was healed: {roles:#?}"));
        }
        self.quiesce()?;
        self.checker.equal(self.nodes.iter().map(|(sid, node)| (*sid, &node.disk)))?;
        self.totals.commits = self.checker.committed() as u64;
        Ok(self.totals)
    }

    fn run_until(&mut self, end: i64) -> Result<(), String> {
        while let Some(Reverse((at, _, key))) = self.events.peek().copied().filter(|Reverse((at, ..))| *at <= end) {
            self.events.pop();
            self.now = at;
            if let Some(event) = self.bodies.remove(&key) {
                self.happen(event).map_err(|violation| format!("at {at} ms: {violation}"))?;
            }
        }
        self.now = end;
        Ok(())
    }

    /// Everybody lives and reaches everybody.
    fn heal(&mut self) {
        self.sides.values_mut().for_each(|side| *side = 0);
        let down: Vec<u64> =
            self.nodes.values().filter(|node| matches!(node.role, Role::Down)).map(|n| n.sid).collect();
        down.into_iter().for_each(|sid| self.restart(sid));
    }

    /// No new requests; what is under way ends.
    fn quiesce(&mut self) -> Result<(), String> {
        self.next_value = u64::MAX;
        self.run_until(self.now + 1000)
    }

    fn after(&mut self, delay: i64, event: Event) {
        self.at(self.now + delay.max(0), event);
    }

    fn at(&mut self, at: i64, event: Event) {
        self.order += 1;
        let key = self.order as usize;
        self.bodies.insert(key, event);
        self.events.push(Reverse((at, self.order, key)));
    }

    fn below(&mut self, bound: i64) -> i64 {
        self.chance.below(bound as u64) as i64
    }

    fn troubled(&self) -> bool {
        self.now < TROUBLE_MS
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Tick(sid) => {
                match self.nodes[&sid].role {
                    Role::Leading(_) => self.lead(sid, leader::Input::Tick),
                    Role::Learning(_) => self.learn(sid, learner::Input::Tick),
                    Role::Looking | Role::Down => {}
                }
                self.after(TICK_MS / 4, Event::Tick(sid));
            }
            Event::Disk { sid, tenure, job } if self.nodes[&sid].tenure == tenure => self.disk_done(sid, job)?,
            Event::Disk { .. } => {}
            Event::Connect { sid, tenure } if self.nodes[&sid].tenure == tenure => self.connect(sid),
            Event::Connect { .. } => {}
            Event::Deliver { conn, up, bytes } => self.deliver(conn, up, bytes),
            Event::Closed { conn, up } => self.close_end(conn, up),
            Event::Propose => {
                let pause = if self.chance.percent(70) { 5 } else { 40 };
                let delay = 1 + self.below(pause);
                self.after(delay, Event::Propose);
                self.propose()?;
            }
            Event::Elect => {
                self.after(25, Event::Elect);
                self.elect()?;
            }
            Event::Fault => {
                let delay = 20 + self.below(400);
                self.after(delay, Event::Fault);
                if self.troubled() {
                    self.fault();
                }
            }
            Event::Restart(sid) => self.restart(sid),
        }
        self.drain()
    }

    fn lead(&mut self, sid: u64, input: leader::Input) {
        self.todo.push_back((sid, Machine::Leading(input)));
    }

    fn learn(&mut self, sid: u64, input: learner::Input) {
        self.todo.push_back((sid, Machine::Learning(input)));
    }

    /// Steps machines until all is quiet.
    fn drain(&mut self) -> Result<(), String> {
        while let Some((sid, input)) = self.todo.pop_front() {
            let now = self.now;
            let Some(node) = self.nodes.get_mut(&sid) else { continue };
            match (&mut node.role, input) {
                (Role::Leading(leader), Machine::Leading(input)) => {
                    let mut out = Vec::new();
                    leader.step(now, input, &mut out);
                    self.leader_acts(sid, out)?;
                }
                (Role::Learning(learner), Machine::Learning(input)) => {
                    let mut out = Vec::new();
                    learner.step(now, input, &mut out);
                    self.learner_acts(sid, out)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn disk_job(&mut self, sid: u64, job: DiskJob) {
        let delay = 1 + if self.chance.percent(10) { self.below(60) } else { self.below(6) };
        let tenure = self.nodes[&sid].tenure;
        self.after(delay, Event::Disk { sid, tenure, job });
    }

    fn leader_acts(&mut self, sid: u64, out: Vec<leader::Action>) -> Result<(), String> {
        for action in out {
            match action {
                leader::Action::Send { learner, bytes } => self.send(learner.0, false, bytes),
                leader::Action::Disconnect { learner, .. } => self.hang_up(learner.0, false),
                leader::Action::PersistAcceptedEpoch(epoch) => self.disk_job(sid, DiskJob::Accepted(epoch)),
                leader::Action::PersistCurrentEpoch(epoch) => self.disk_job(sid, DiskJob::Current(epoch)),
                leader::Action::ReadLog { learner, after, upto, bytes_max } => {
                    self.totals.log_reads += 1;
                    self.disk_job(sid, DiskJob::Read { learner: learner.0, after, upto, bytes_max });
                }
                leader::Action::SnapshotWanted { learner } => {
                    self.totals.snapshots += 1;
                    self.disk_job(sid, DiskJob::Pin { learner: learner.0 });
                }
                leader::Action::Commit { upto } => {
                    let voters = self.nodes.values().filter(|node| !node.observer).map(|node| &node.disk);
                    self.checker.leader_commits(&self.nodes[&sid].disk.log, upto, voters)?;
                    self.committed(sid, upto)?;
                }
                leader::Action::Established { epoch } => {
                    self.totals.reigns += 1;
                    self.checker.established(sid, epoch, &self.nodes[&sid].disk.log)?;
                    if let Some(node) = self.nodes.get_mut(&sid) {
                        node.proposed = Zxid::new(epoch, 0);
                    }
                }
                leader::Action::Resign(_) => self.leave(sid)?,
                leader::Action::Activate { .. }
                | leader::Action::Request { .. }
                | leader::Action::Sync { .. }
                | leader::Action::Touched { .. }
                | leader::Action::Revalidate { .. } => {}
            }
        }
        Ok(())
    }

    fn learner_acts(&mut self, sid: u64, out: Vec<learner::Action>) -> Result<(), String> {
        for action in out {
            match action {
                learner::Action::Connect { .. } => {
                    let delay = 1 + self.below(10);
                    let tenure = self.nodes[&sid].tenure;
                    self.after(delay, Event::Connect { sid, tenure });
                }
                learner::Action::Send(bytes) => {
                    self.check_said(sid, &bytes)?;
                    if let Some(conn) = self.nodes[&sid].conn {
                        self.send(conn, true, bytes);
                    }
                }
                learner::Action::PersistAcceptedEpoch(epoch) => self.disk_job(sid, DiskJob::Accepted(epoch)),
                learner::Action::PersistCurrentEpoch(epoch) => self.disk_job(sid, DiskJob::Current(epoch)),
                learner::Action::Truncate { to } => {
                    self.totals.cuts += 1;
                    if to < self.nodes[&sid].applied {
                        return Err(format!("server {sid} would be cut to {to}, below what it has applied"));
                    }
                    self.disk_job(sid, DiskJob::Truncate(to));
                }
                learner::Action::SnapshotBegin { zxid } => {
                    if let Some(node) = self.nodes.get_mut(&sid) {
                        node.staged.clear();
                        node.stage_zxid = zxid;
                    }
                }
                learner::Action::SnapshotBytes(bytes) => self.stage(sid, &bytes),
                learner::Action::SnapshotEnd { zxid, .. } => {
                    let staged = decode_snapshot(&self.nodes[&sid].staged);
                    let (entries, _) = staged.ok_or("a snapshot ended that was never complete")?;
                    self.disk_job(sid, DiskJob::Install(zxid, entries));
                }
                learner::Action::Log { zxid, txn } => {
                    let entry = decode_txn(&txn);
                    self.checker.logged(entry)?;
                    if let Some(node) = self.nodes.get_mut(&sid) {
                        if node.disk.last() >= zxid {
                            return Err(format!("server {sid} logs {zxid} behind {}", node.disk.last()));
                        }
                        node.disk.log.push(entry);
                    }
                    self.disk_job(sid, DiskJob::Flush(zxid));
                }
                learner::Action::Commit { upto } => self.committed(sid, upto)?,
                learner::Action::Leave(reason) => {
                    let honest = matches!(self.config.mistake, None | Some(Mistake::KeepFormerAcks));
                    if honest && matches!(reason, LeaveReason::CannotTruncate { .. } | LeaveReason::WrongCommit { .. })
                    {
                        return Err(format!("server {sid}: {reason}"));
                    }
                    self.leave(sid)?;
                }
                learner::Action::TouchesWanted => self.learn(sid, learner::Input::Touches(Vec::new())),
                learner::Action::LastSeen { .. }
                | learner::Action::Activate { .. }
                | learner::Action::Established { .. }
                | learner::Action::Revalidated { .. }
                | learner::Action::SyncDone { .. } => {}
            }
        }
        Ok(())
    }

    /// A server learns what is committed, and applies as much of it as its own disk has.
    fn committed(&mut self, sid: u64, upto: Zxid) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        self.checker.told_committed(sid, &node.disk.log, upto)?;
        node.committed = node.committed.max(upto);
        node.apply();
        Ok(())
    }

    /// Nothing may be said that the disk does not have.
    fn check_said(&mut self, sid: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        node.said.push(bytes);
        while let Some(QuorumPacket { kind, zxid, data, .. }) = node.said.next().map_err(|error| error.to_string())? {
            match kind {
                PacketKind::Ack if zxid.counter() == 0 => self.checker.adopted(sid, zxid.epoch(), &node.disk)?,
                PacketKind::Ack => self.checker.acknowledged(sid, zxid, &node.disk)?,
                PacketKind::AckEpoch if data.as_deref() != Some(&[0xFF; 4]) => {
                    let leader = self.conns.get(&node.conn.unwrap_or(0)).map(|conn| conn.leader);
                    let promised = leader.and_then(|leader| match &self.nodes[&leader].role {
                        Role::Leading(leader) => leader.epoch(),
                        _ => None,
                    });
                    let disk = &self.nodes[&sid].disk;
                    promised.map_or(Ok(()), |epoch| self.checker.promised(sid, epoch, disk))?;
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn stage(&mut self, sid: u64, bytes: &[u8]) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        node.staged.extend_from_slice(bytes);
        if let Some((_, end)) = decode_snapshot(&node.staged) {
            let rest = Bytes::from(node.staged.split_off(end));
            self.learn(sid, learner::Input::SnapshotParsed { rest });
        }
    }

    fn disk_done(&mut self, sid: u64, job: DiskJob) -> Result<(), String> {
        let leading = matches!(self.nodes[&sid].role, Role::Leading(_));
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        match job {
            DiskJob::Accepted(epoch) | DiskJob::Current(epoch) => {
                node.write_epoch(&job)?;
                match leading {
                    true => self.lead(sid, leader::Input::EpochPersisted(epoch)),
                    false => self.learn(sid, learner::Input::EpochPersisted(epoch)),
                }
            }
            DiskJob::Flush(zxid) => {
                node.disk.flushed = node.disk.flushed.max(node.disk.upto(zxid));
                node.apply();
                let last = node.disk.flushed().last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                let durable = Durable::claimed(last);
                match leading {
                    true => self.lead(sid, leader::Input::Durable(durable)),
                    false => self.learn(sid, learner::Input::Durable(durable)),
                }
            }
            DiskJob::Truncate(to) => {
                node.disk.truncate(to);
                node.disk.flushed = node.disk.log.len();
                let last = node.disk.last();
                self.learn(sid, learner::Input::Truncated { last });
            }
            DiskJob::Install(zxid, entries) => {
                node.install(zxid, entries);
                self.learn(sid, learner::Input::SnapshotInstalled);
            }
            DiskJob::Read { learner, after, upto, bytes_max } => {
                let wanted = &node.disk.log[node.disk.upto(after)..node.disk.upto(upto)];
                let count = (bytes_max / 60).max(1).min(wanted.len());
                let entries = wanted[..count].iter().map(|(zxid, value)| (*zxid, encode_txn(*zxid, *value))).collect();
                let done = count == wanted.len();
                self.lead(sid, leader::Input::LogRead { learner: LearnerId(learner), entries, done });
            }
            DiskJob::Pin { learner } => {
                let zxid = node.applied;
                let rest = encode_snapshot(&node.disk.log[..node.disk.upto(zxid)]);
                self.lead(sid, leader::Input::SnapshotAt { learner: LearnerId(learner), zxid });
                self.disk_job(sid, DiskJob::Stream { learner, zxid, rest });
            }
            DiskJob::Stream { learner, zxid, mut rest } => {
                let room = match &node.role {
                    Role::Leading(leader) => leader.has_room(LearnerId(learner)),
                    _ => false,
                };
                if room {
                    let bytes = rest.split_to(rest.len().min(200));
                    self.lead(sid, leader::Input::SnapshotBytes { learner: LearnerId(learner), bytes });
                }
                match rest.is_empty() {
                    true => self.lead(sid, leader::Input::SnapshotEnd { learner: LearnerId(learner) }),
                    false if self.conns.contains_key(&learner) => {
                        self.disk_job(sid, DiskJob::Stream { learner, zxid, rest });
                    }
                    false => {}
                }
            }
        }
        Ok(())
    }

    fn reaches(&self, one: u64, other: u64) -> bool {
        self.sides[&one] == self.sides[&other]
    }

    fn connect(&mut self, sid: u64) {
        let leader = self.nodes[&sid].leader;
        let answers = matches!(self.nodes[&leader].role, Role::Leading(_)) && self.reaches(sid, leader);
        if !answers || (self.troubled() && self.chance.percent(10)) {
            return self.learn(sid, learner::Input::ConnectFailed);
        }
        self.next_conn += 1;
        let conn = self.next_conn;
        self.conns
            .insert(conn, Conn { learner: sid, leader, arrives: [self.now; 2], open: [true; 2], lost: [false; 2] });
        if let Some(node) = self.nodes.get_mut(&sid) {
            node.conn = Some(conn);
        }
        self.lead(leader, leader::Input::Accepted { learner: LearnerId(conn) });
        self.learn(sid, learner::Input::Connected);
    }

    /// Bytes travel in order, in pieces of any size, unless the sides are apart.
    fn send(&mut self, conn: u64, up: bool, mut bytes: Bytes) {
        let Some(link) = self.conns.get(&conn) else { return };
        let apart = !self.reaches(link.learner, link.leader);
        let Some(link) = self.conns.get_mut(&conn) else { return };
        // Once something was lost nothing more arrives, whoever waits for it.
        link.lost[usize::from(up)] |= apart;
        if !link.open[usize::from(up)] || link.lost[usize::from(up)] {
            return;
        }
        while !bytes.is_empty() {
            let length = if self.chance.percent(20) { 1 + self.below(30) as usize } else { bytes.len() };
            let piece = bytes.split_to(length.min(bytes.len()));
            let delay = if self.chance.percent(3) { self.below(80) } else { self.below(4) };
            let Some(link) = self.conns.get_mut(&conn) else { return };
            let at = (self.now + delay).max(link.arrives[usize::from(up)]);
            link.arrives[usize::from(up)] = at;
            self.at(at, Event::Deliver { conn, up, bytes: piece });
        }
    }

    fn deliver(&mut self, conn: u64, up: bool, bytes: Bytes) {
        let Some(link) = self.conns.get(&conn) else { return };
        let (learner, leader, open) = (link.learner, link.leader, link.open);
        let lost = !self.reaches(learner, leader) || !open[usize::from(!up)];
        let Some(link) = self.conns.get_mut(&conn) else { return };
        // TCP delivers all or, once a piece is lost, nothing more.
        if link.lost[usize::from(up)] {
            return;
        }
        link.lost[usize::from(up)] = lost;
        if lost {
            return self.hang_up(conn, up);
        }
        let written = bytes.len();
        if up {
            self.lead(leader, leader::Input::Received { learner: LearnerId(conn), bytes });
            self.learn(learner, learner::Input::Written(written));
        } else {
            self.learn(learner, learner::Input::Received(bytes));
            self.lead(leader, leader::Input::Written { learner: LearnerId(conn), bytes: written });
        }
    }

    /// One end closes; the other hears of it later, or never.
    fn hang_up(&mut self, conn: u64, up: bool) {
        let half_open = self.troubled() && self.chance.percent(20);
        let delay = 1 + self.below(20);
        self.close_end(conn, up);
        if let Some(link) = self.conns.get_mut(&conn) {
            let at = (self.now + delay).max(link.arrives[usize::from(up)]);
            if !half_open {
                self.at(at, Event::Closed { conn, up: !up });
            }
        }
    }

    fn close_end(&mut self, conn: u64, up: bool) {
        let Some(link) = self.conns.get_mut(&conn) else { return };
        if !std::mem::replace(&mut link.open[usize::from(up)], false) {
            return;
        }
        let (learner, leader) = (link.learner, link.leader);
        if link.open == [false; 2] {
            self.conns.remove(&conn);
        }
        if !up {
            self.lead(leader, leader::Input::Disconnected { learner: LearnerId(conn) });
        } else if self.nodes[&learner].conn == Some(conn) {
            if let Some(node) = self.nodes.get_mut(&learner) {
                node.conn = None;
            }
            self.learn(learner, learner::Input::Disconnected);
        }
    }

    fn hang_up_all(&mut self, sid: u64) {
        let held: Vec<(u64, bool)> = self
            .conns
            .iter()
            .flat_map(|(conn, link)| [(*conn, link.learner == sid, true), (*conn, link.leader == sid, false)])
            .filter_map(|(conn, held, up)| held.then_some((conn, up)))
            .collect();
        held.into_iter().for_each(|(conn, up)| self.hang_up(conn, up));
    }

    /// A role ends: the log is drained and what is under way with the disk is finished or dropped, whole.
    fn leave(&mut self, sid: u64) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        let tenure = node.tenure;
        node.tenure += 1;
        node.role = Role::Looking;
        node.disk.flushed = node.disk.log.len();
        let mine =
            |event: &Event| matches!(event, Event::Disk { sid: of, tenure: t, .. } if *of == sid && *t == tenure);
        let jobs: Vec<Event> = self.bodies.values().filter(|event| mine(event)).cloned().collect();
        for event in jobs {
            let finished = self.chance.percent(50);
            let Some(node) = self.nodes.get_mut(&sid) else { continue };
            let Event::Disk { job, .. } = event else { continue };
            match job {
                DiskJob::Accepted(_) | DiskJob::Current(_) => node.write_epoch(&job)?,
                DiskJob::Truncate(to) if finished => node.disk.truncate(to),
                DiskJob::Install(zxid, entries) if finished => node.install(zxid, entries),
                _ => {}
            }
        }
        self.hang_up_all(sid);
        Ok(())
    }

    /// The highest (current epoch, zxid, sid) among those that reach each other leads; now and then anybody.
    fn elect(&mut self) -> Result<(), String> {
        let looking: Vec<u64> =
            self.nodes.values().filter(|node| matches!(node.role, Role::Looking)).map(|node| node.sid).collect();
        for sid in looking {
            if !matches!(self.nodes[&sid].role, Role::Looking) {
                continue;
            }
            let near: Vec<u64> = self.nodes.keys().copied().filter(|other| self.reaches(sid, *other)).collect();
            let leading = near.iter().copied().find(|other| matches!(self.nodes[other].role, Role::Leading(_)));
            let candidates: Vec<u64> = near
                .into_iter()
                .filter(|other| matches!(self.nodes[other].role, Role::Looking) && !self.nodes[other].observer)
                .collect();
            let rank = |sid: &u64| (self.nodes[sid].disk.current, self.nodes[sid].disk.last(), *sid);
            let mut best = candidates.iter().copied().max_by_key(rank);
            if self.troubled() && self.chance.percent(15) && !candidates.is_empty() {
                best = Some(candidates[self.chance.below(candidates.len() as u64) as usize]);
            }
            match (leading, best) {
                (Some(leader), _) if !self.troubled() || self.chance.percent(80) => self.follow(sid, leader)?,
                (_, Some(best)) if candidates.len() as u64 > self.config.voters / 2 || self.chance.percent(5) => {
                    self.begin_to_lead(best)?;
                    if sid != best {
                        self.follow(sid, best)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn configurations(&self) -> Configurations {
        let members = Arc::new(Majority::new(1..=self.config.voters));
        let text = Bytes::from_static(b"version=0");
        Configurations { committed: Configuration { version: 0, text, members }, proposed: None }
    }

    fn begin_to_lead(&mut self, sid: u64) -> Result<(), String> {
        let configurations = self.configurations();
        let (length, reads) = (self.chance.below(30) as usize, self.chance.percent(60));
        let mut config = LeaderConfig::new(sid);
        config.tick_ms = TICK_MS;
        config.log_read_bytes = 400;
        config.mistake = self.config.mistake;
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        let start = LeaderStart {
            accepted_epoch: node.disk.accepted,
            current_epoch: node.disk.current,
            last: Durable::claimed(node.disk.last()),
            history: node.disk.history(length),
            configurations,
            log_base: reads.then_some(node.disk.base),
        };
        let mut out = Vec::new();
        let leader = Leader::new(self.now, config, start, &mut out);
        node.begin(Role::Leading(Box::new(leader)));
        self.leader_acts(sid, out)
    }

    fn follow(&mut self, sid: u64, leader: u64) -> Result<(), String> {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        let kind = if node.observer { LearnerKind::Observer } else { LearnerKind::Follower };
        let mut config = LearnerConfig::new(sid, kind);
        config.tick_ms = TICK_MS;
        config.mistake = self.config.mistake;
        let start = LearnerStart {
            accepted_epoch: node.disk.accepted,
            current_epoch: node.disk.current,
            last: Durable::claimed(node.disk.last()),
            applied: node.applied,
            history: node.disk.history(20),
        };
        let mut out = Vec::new();
        let learner = Learner::new(now, config, start, &mut out);
        node.begin(Role::Learning(Box::new(learner)));
        (node.leader, node.conn) = (leader, None);
        self.totals.follows += 1;
        self.learner_acts(sid, out)
    }

    /// A client of every leader there is.
    fn propose(&mut self) -> Result<(), String> {
        if self.next_value == u64::MAX {
            return Ok(());
        }
        let established = |node: &&Node| matches!(&node.role, Role::Leading(leader) if leader.is_established());
        let leaders: Vec<u64> = self.nodes.values().filter(established).map(|node| node.sid).collect();
        for sid in leaders {
            self.next_value += 1;
            let value = self.next_value;
            let again = self.config.mistake == Some(Mistake::ReuseZxid) && self.chance.percent(5);
            let Some(node) = self.nodes.get_mut(&sid) else { continue };
            let zxid = match node.proposed.next() {
                Some(_) if again && node.proposed.counter() > 0 && node.proposed > node.committed => node.proposed,
                Some(next) => next,
                None => continue,
            };
            node.disk.truncate(Zxid(zxid.0 - 1));
            node.proposed = zxid;
            node.disk.log.push((zxid, value));
            self.checker.logged((zxid, value))?;
            self.disk_job(sid, DiskJob::Flush(zxid));
            self.lead(sid, leader::Input::Proposed { zxid, txn: encode_txn(zxid, value), reconfig: None });
        }
        Ok(())
    }

    fn any(&mut self) -> u64 {
        1 + self.chance.below(self.nodes.len() as u64)
    }

    fn fault(&mut self) {
        let sid = self.any();
        match self.chance.below(6) {
            0 | 1 => self.crash(sid),
            2 => {
                let conns: Vec<u64> = self.conns.keys().copied().collect();
                if !conns.is_empty() {
                    let conn = conns[self.chance.below(conns.len() as u64) as usize];
                    self.hang_up(conn, true);
                    self.hang_up(conn, false);
                }
            }
            3 => {
                for sid in self.nodes.keys().copied().collect::<Vec<_>>() {
                    let side = u64::from(self.chance.percent(35));
                    self.sides.insert(sid, side);
                }
            }
            4 => self.sides.values_mut().for_each(|side| *side = 0),
            _ => {
                // A checkpoint: the log is let go up to what is applied.
                if let Some(node) = self.nodes.get_mut(&sid) {
                    node.disk.base = node.disk.base.max(node.applied);
                    let base = Some(node.disk.base);
                    if matches!(node.role, Role::Leading(_)) {
                        self.lead(sid, leader::Input::LogBase(base));
                    }
                }
            }
        }
    }

    /// Any part of what was not flushed is lost.
    fn crash(&mut self, sid: u64) {
        if matches!(self.nodes[&sid].role, Role::Down) {
            return;
        }
        self.totals.crashes += 1;
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let unflushed = node.disk.log.len() - node.disk.flushed;
        let kept = node.disk.flushed + self.chance.below(unflushed as u64 + 1) as usize;
        node.disk.log.truncate(kept);
        node.disk.flushed = kept;
        node.tenure += 1;
        node.role = Role::Down;
        self.hang_up_all(sid);
        let delay = 10 + self.below(600);
        self.after(delay, Event::Restart(sid));
    }

    fn restart(&mut self, sid: u64) {
        if let Some(node) = self.nodes.get_mut(&sid).filter(|node| matches!(node.role, Role::Down)) {
            node.role = Role::Looking;
            // What is committed has to be learnt again.
            (node.applied, node.committed) = (node.disk.base, node.disk.base);
        }
    }
}

impl Node {
    fn begin(&mut self, role: Role) {
        self.role = role;
        self.tenure += 1;
        self.said = crate::peer::wire::packet::PacketDecoder::new(1 << 20);
    }

    fn apply(&mut self) {
        let durable = self.disk.flushed().last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        self.applied = self.applied.max(self.committed.min(durable));
    }

    fn write_epoch(&mut self, job: &DiskJob) -> Result<(), String> {
        let (epoch, promised) = match job {
            DiskJob::Accepted(epoch) => (*epoch, &mut self.disk.accepted),
            DiskJob::Current(epoch) => (*epoch, &mut self.disk.current),
            _ => return Ok(()),
        };
        if epoch < *promised {
            return Err(format!("server {} goes back from epoch {promised} to {epoch}", self.sid));
        }
        *promised = epoch;
        Ok(())
    }

    fn install(&mut self, zxid: Zxid, entries: Vec<super::node::Entry>) {
        self.disk.log = entries;
        self.disk.flushed = self.disk.log.len();
        self.disk.base = zxid;
        (self.applied, self.committed) = (self.applied.max(zxid), self.committed.max(zxid));
    }
}
