//! One server of the simulation: a disk, a role, and what the host of the machines would do.

use crate::peer::history::History;
use crate::peer::leader::Leader;
use crate::peer::learner::Learner;
use crate::peer::wire::packet::{PacketDecoder, ProposalFrame};
use bytes::Bytes;
use engine::ids::SessionId;
use engine::jute::{Reader, Writer};
use engine::txn::{self, Txn, TxnHeader};
use engine::zxid::Zxid;

/// A transaction: its place, and a number that nobody else has.
pub(super) type Entry = (Zxid, u64);

/// Bytes that a list of recent transactions may hold: few, so that logs are read and snapshots taken.
const HISTORY_BYTES: usize = 10 * 120;

/// What survives a crash.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub accepted: u32,
    pub current: u32,
    /// All transactions, those in the base state too.
    pub log: Vec<Entry>,
    /// How many of them survive.
    pub flushed: usize,
    /// The state holds everything up to here, and the log begins behind it.
    pub base: Zxid,
}

impl Disk {
    pub(super) fn last(&self) -> Zxid {
        self.log.last().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    pub(super) fn flushed(&self) -> &[Entry] {
        &self.log[..self.flushed]
    }

    pub(super) fn upto(&self, zxid: Zxid) -> usize {
        self.log.partition_point(|(entry, _)| *entry <= zxid)
    }

    pub(super) fn truncate(&mut self, after: Zxid) {
        self.log.truncate(self.upto(after));
        self.flushed = self.flushed.min(self.log.len());
    }

    /// The recent end of the log, as a host would read it back.
    pub(super) fn history(&self, length: usize) -> History {
        let from = self.log.len().saturating_sub(length).max(self.upto(self.base));
        let before = from.checked_sub(1).map_or(self.base, |at| self.log[at].0);
        let mut history = History::new(before, HISTORY_BYTES);
        for (zxid, value) in &self.log[from..] {
            history.append(*zxid, ProposalFrame::new(*zxid, &encode_txn(*zxid, *value)));
        }
        history
    }
}

/// What a server is doing.
#[derive(Debug)]
pub(super) enum Role {
    Down,
    Looking,
    Leading(Box<Leader>),
    Learning(Box<Learner>),
}

/// What the host has promised a machine to do.
#[derive(Clone, Debug)]
pub(super) enum DiskJob {
    Accepted(u32),
    Current(u32),
    Flush(Zxid),
    Truncate(Zxid),
    /// A state, and what the log holds behind it.
    Install(Zxid, Vec<Entry>, Vec<Entry>),
    /// The latter, after the former, for who does not take both at once.
    InstallRest(Vec<Entry>),
    Read {
        learner: u64,
        after: Zxid,
        upto: Zxid,
        bytes_max: usize,
    },
    Pin {
        learner: u64,
    },
    Stream {
        learner: u64,
        zxid: Zxid,
        rest: Bytes,
    },
}

pub(super) struct Node {
    pub sid: u64,
    pub observer: bool,
    pub disk: Disk,
    pub role: Role,
    /// Counts roles: what was begun for an earlier one does not reach a later one.
    pub tenure: u64,
    pub applied: Zxid,
    /// Committed as the machine says.
    pub committed: Zxid,
    /// The last zxid given out, while leading.
    pub proposed: Zxid,
    /// The connection that a learner has, and the leader that it looks for.
    pub conn: Option<u64>,
    pub leader: u64,
    /// A snapshot's stream as far as it has come.
    pub staged: Vec<u8>,
    pub stage_zxid: Zxid,
    /// Reads along what a learner says, for the checker.
    pub said: PacketDecoder,
}

impl Node {
    pub(super) fn new(sid: u64, observer: bool) -> Node {
        Node {
            sid,
            observer,
            disk: Disk::default(),
            role: Role::Looking,
            tenure: 0,
            applied: Zxid::ZERO,
            committed: Zxid::ZERO,
            proposed: Zxid::ZERO,
            conn: None,
            leader: 0,
            staged: Vec::new(),
            stage_zxid: Zxid::ZERO,
            said: PacketDecoder::new(1 << 20),
        }
    }

    pub(super) fn begin(&mut self, role: Role) {
        self.role = role;
        self.tenure += 1;
        self.said = PacketDecoder::new(1 << 20);
    }

    pub(super) fn apply(&mut self) {
        let durable = self.disk.flushed().last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
        self.applied = self.applied.max(self.committed.min(durable));
    }

    pub(super) fn write_epoch(&mut self, job: &DiskJob) -> Result<(), String> {
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

    pub(super) fn install(&mut self, zxid: Zxid, state: Vec<Entry>, behind: &[Entry]) {
        self.disk.log = state;
        self.disk.log.extend(behind);
        self.disk.flushed = self.disk.log.len();
        self.disk.base = zxid;
        (self.applied, self.committed) = (self.applied.max(zxid), self.committed.max(zxid));
    }
}

pub(super) fn encode_txn(zxid: Zxid, value: u64) -> Bytes {
    let header = TxnHeader { client: SessionId(value as i64), cxid: 0, zxid, time_ms: 0 };
    let mut bytes = Vec::new();
    txn::encode(&header, &Txn::Error { code: -1 }, &mut bytes);
    bytes.into()
}

pub(super) fn decode_txn(bytes: &[u8]) -> Entry {
    let (header, _) = txn::decode(bytes).expect("a transaction of the simulation");
    (header.zxid, header.client.0 as u64)
}

/// A snapshot's stream: the count, and the transactions that make the state.
pub(super) fn encode_snapshot(entries: &[Entry]) -> Bytes {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.int(entries.len() as i32);
    for (zxid, value) in entries {
        w.long(zxid.to_wire());
        w.long(*value as i64);
    }
    out.into()
}

/// The state, and where the stream ended; `None` while it is incomplete.
pub(super) fn decode_snapshot(bytes: &[u8]) -> Option<(Vec<Entry>, usize)> {
    let mut r = Reader::new(bytes);
    let entries = r.vector(|r| Ok((Zxid::from_wire(r.long()?), r.long()? as u64))).ok()??;
    Some((entries, bytes.len() - r.rest().len()))
}
