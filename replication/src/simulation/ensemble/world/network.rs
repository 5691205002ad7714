//! Connections between servers: bytes in order, in pieces of any size, late, and cut off at any moment.

use crate::peer::links::LinkId;
use crate::session::LearnerId;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// What a server calls its end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Name {
    Link(LinkId),
    Learner(LearnerId),
    Leader,
}

/// Whom a server dials: a voter, or its leader, with the number of the attempt.
#[derive(Clone, Copy, Debug)]
pub enum Callee {
    Voter,
    Leader(u64),
}

/// What arrives.
#[derive(Clone, Debug)]
pub enum Parcel {
    Bytes(Bytes),
    /// Nothing more will come.
    End,
}

/// One connection: end 0 has called end 1.
pub struct Conn {
    pub ends: [(i64, Name); 2],
    pub open: [bool; 2],
    /// By the end that sends, with the times of arrival.
    pub queues: [VecDeque<(i64, Parcel)>; 2],
    pub due: [bool; 2],
}

/// All connections, and what is wrong with the ways between servers.
#[derive(Default)]
pub struct Network {
    pub conns: BTreeMap<u64, Conn>,
    names: BTreeMap<(i64, Name), u64>,
    count: u64,
    /// Ways that carry nothing, from and to, and until when.
    pub blocked: BTreeMap<(i64, i64), i64>,
    /// Dials that fail, in percent.
    pub refused: u64,
}

impl Network {
    /// A number that nothing else has.
    pub fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub fn carries(&self, from: i64, to: i64, now: i64) -> bool {
        self.blocked.get(&(from, to)).is_none_or(|until| *until <= now)
    }

    pub fn connect(&mut self, ends: [(i64, Name); 2]) {
        let number = self.number();
        for end in ends {
            self.names.insert(end, number);
        }
        self.conns.insert(
            number,
            Conn { ends, open: [true; 2], queues: [VecDeque::new(), VecDeque::new()], due: [false; 2] },
        );
    }

    pub fn is_open(&self, sid: i64, name: Name) -> bool {
        self.names.contains_key(&(sid, name))
    }

    /// Puts a parcel on its way. The connection, and the end that sends, if the other end is to be woken up at `at`.
    pub fn send(&mut self, sid: i64, name: Name, at: i64, parcel: Parcel) -> Option<(u64, usize, i64)> {
        let number = *self.names.get(&(sid, name))?;
        let conn = self.conns.get_mut(&number)?;
        let end = usize::from(conn.ends[0] != (sid, name));
        let at = conn.queues[end].back().map_or(at, |(last, _)| at.max(*last));
        conn.queues[end].push_back((at, parcel));
        (!std::mem::replace(&mut conn.due[end], true)).then_some((number, end, at))
    }

    /// An end is closed: it hears nothing any more.
    pub fn close(&mut self, number: u64, end: usize) {
        if let Some(conn) = self.conns.get_mut(&number)
            && std::mem::replace(&mut conn.open[end], false)
        {
            self.names.remove(&conn.ends[end]);
        }
        self.conns.retain(|_, conn| conn.open[0] || conn.open[1]);
    }

    /// The connection of a name, and which of its ends has it.
    pub fn find(&self, sid: i64, name: Name) -> Option<(u64, usize)> {
        let number = *self.names.get(&(sid, name))?;
        let conn = self.conns.get(&number)?;
        Some((number, usize::from(conn.ends[0] != (sid, name))))
    }

    /// Whether two servers have made another connection since this one.
    pub fn is_overtaken(&self, number: u64, from: i64, to: i64) -> bool {
        let ends = |conn: &Conn| [conn.ends[0].0, conn.ends[1].0];
        let newer = self.conns.range(number + 1..).map(|(_, conn)| ends(conn));
        newer.into_iter().any(|[a, b]| (a, b) == (from, to) || (b, a) == (from, to))
    }

    /// The names that a server has given.
    pub fn names(&self, sid: i64) -> Vec<Name> {
        self.names.keys().filter(|(of, _)| *of == sid).map(|(_, name)| *name).collect()
    }
}
