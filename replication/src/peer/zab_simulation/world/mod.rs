//! Time, network, election and faults.

mod election;
mod faults;
mod host;
mod network;

use super::checker::Checker;
use super::node::{DiskJob, Entry, Node, Role, decode_snapshot, decode_txn, encode_snapshot, encode_txn};
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
}
