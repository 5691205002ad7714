//! One of the servers that are compared: its connections, and its own names for zxids, sessions and times.

use crate::answer;
use crate::step::{Request, Step};
use crate::support::raw::Raw;
use crate::support::record::{op, record};
use crate::support::server::{Server, ServerConfig};
use crate::support::session::request;
use engine::jute::Reader;
use std::collections::HashMap;

/// Connections at a time that random steps use.
pub const SLOTS: usize = 3;

/// The connection of a super user who looks at everything and tidies up.
pub const AUDITOR: usize = SLOTS;

/// The xid of the sync that ends every step on every connection.
const SYNC_XID: i32 = 0x7fff_0000;

/// What came on a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// The answer to a ConnectRequest.
    Greeting(Vec<u8>),
    /// A watch event.
    Event(Vec<u8>),
    /// A reply, to the request of this index.
    Reply(usize, Vec<u8>),
    /// The end of the connection.
    Closed,
}

/// A server and a client's view of it.
pub struct Side {
    pub name: &'static str,
    pub server: Server,
    /// Ids and passwords, in the order in which sessions came to be.
    pub sessions: Vec<(i64, Vec<u8>)>,
    slots: [Option<Raw>; SLOTS + 1],
    /// Zxids that this server spent on what spends none by the contract, ascending.
    spent: Vec<i64>,
    newest: i64,
    /// A zxid that was spent but shows in no header before the next one, and the one that shows.
    hidden: Option<(i64, i64)>,
    times: HashMap<i64, i64>,
}

impl Side {
    /// A fresh server.
    pub fn start(name: &'static str, config: ServerConfig) -> Side {
        Side {
            name,
            server: config.start(),
            sessions: Vec::new(),
            slots: [const { None }; SLOTS + 1],
            spent: Vec::new(),
            newest: 0,
            hidden: None,
            times: HashMap::new(),
        }
    }

    /// Whether the slot has a connection.
    pub fn is_open(&self, slot: usize) -> bool {
        self.slots[slot].is_some()
    }

    /// Ends the slot's connection.
    pub fn drop_slot(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    /// The zxid that comes so many before the newest one, in this server's counting.
    pub fn zxid_behind(&self, behind: i64) -> i64 {
        let target = self.newest() - behind;
        let mut zxid = target;
        while self.canonical(zxid) < target {
            zxid += 1;
        }
        zxid
    }

    /// The newest zxid seen, in common counting.
    pub fn newest(&self) -> i64 {
        self.canonical(self.newest)
    }

    /// A zxid in the counting that is common to all servers.
    pub fn canonical(&self, zxid: i64) -> i64 {
        zxid - self.spent.iter().filter(|spent| **spent <= zxid).count() as i64
    }

    /// Takes note that this zxid was spent by this server alone.
    pub fn spend(&mut self, zxid: i64) {
        self.spent.push(zxid);
        self.newest = self.newest.max(zxid);
    }

    /// Takes note that the next zxid is spent, though headers go on to show this one.
    pub fn hide(&mut self, shown: i64) {
        let next = self.hidden.filter(|(_, old)| *old == shown).map_or(shown, |(hidden, _)| hidden) + 1;
        self.hidden = Some((next, shown));
    }

    /// Whether there is one that the next write will show.
    pub fn is_hiding(&self) -> bool {
        self.hidden.is_some()
    }

    /// The zxid of a reply's header in common counting; the server is as far as this.
    pub fn header(&mut self, zxid: i64) -> i64 {
        let zxid = self.hidden.filter(|(_, shown)| *shown == zxid).map_or(zxid, |(hidden, _)| hidden);
        self.newest = self.newest.max(zxid);
        if self.hidden.is_some_and(|(hidden, _)| zxid > hidden) {
            self.hidden = None;
        }
        self.canonical(zxid)
    }

    /// The session with this id.
    pub fn session_name(&self, id: i64) -> String {
        match self.sessions.iter().position(|(known, _)| *known == id) {
            _ if id == 0 => "none".to_owned(),
            Some(index) => format!("session {index}"),
            None => format!("a session that nobody knows ({id:#x})"),
        }
    }

    /// Says whether the time is that of the transaction.
    pub fn time_name(&mut self, zxid: i64, time: i64) -> String {
        let known = *self.times.entry(zxid).or_insert(time);
        if known == time { "its time".to_owned() } else { format!("{} ms off", time - known) }
    }

    /// Does what the step says, but for reading.
    pub fn send(&mut self, step: &Step) {
        match step {
            Step::Open { slot, greeting } => {
                let mut raw = Raw::connect(self.server.address());
                raw.send_frame(&greeting.bytes(self));
                self.slots[*slot] = Some(raw);
            }
            Step::Requests { slot, requests } => {
                let mut bytes = Vec::new();
                for one in requests {
                    let payload = request(one.xid, one.code, &one.body.bytes(self));
                    bytes.extend((payload.len() as i32).to_be_bytes());
                    bytes.extend(payload);
                }
                self.slots[*slot].as_mut().expect("a connection").send_bytes(&bytes);
                if !step.may_end() {
                    self.send_sync(*slot);
                }
            }
            Step::Garbage { slot, bytes } => self.slots[*slot].as_mut().expect("a connection").send_bytes(bytes),
            Step::Drop { slot } => self.slots[*slot] = None,
        }
    }

    /// Reads what the step brings to its own connection.
    pub fn receive(&mut self, step: &Step) -> Vec<Item> {
        match step {
            Step::Open { slot, greeting } => {
                let mut raw = self.slots[*slot].take().expect("a connection");
                let Some(frame) = raw.read_frame() else { return vec![Item::Closed] };
                let mut reader = Reader::new(&frame);
                let (_, timeout) = (reader.int().unwrap(), reader.int().unwrap());
                let id = reader.long().unwrap();
                let password = reader.buffer().unwrap().unwrap().to_vec();
                if timeout == 0 {
                    let end = raw.read_frame().map_or(Item::Closed, Item::Event);
                    return vec![Item::Greeting(frame), end];
                }
                if greeting.session.is_none() {
                    self.sessions.push((id, password));
                }
                self.slots[*slot] = Some(raw);
                let mut items = vec![Item::Greeting(frame)];
                self.send_sync(*slot);
                items.extend(self.read_to_sync(*slot, &[]));
                items
            }
            Step::Requests { slot, requests } => {
                let mut items = self.read_to_sync(*slot, requests);
                if step.may_end() && self.is_open(*slot) {
                    // Only now: what comes behind a last request may be answered or not.
                    let goes_on =
                        matches!(items.last(), Some(Item::Reply(_, frame)) if step.goes_on(answer::err(frame)));
                    if goes_on {
                        self.send_sync(*slot);
                    }
                    items.extend(self.read_to_sync(*slot, &[]));
                }
                items
            }
            Step::Garbage { slot, .. } => self.read_to_sync(*slot, &[]),
            Step::Drop { .. } => Vec::new(),
        }
    }

    /// Sends a sync on a connection.
    pub fn send_sync(&mut self, slot: usize) {
        if let Some(raw) = &mut self.slots[slot] {
            raw.send_frame(&request(SYNC_XID, op::SYNC, &record(|out| out.string("/"))));
        }
    }

    /// Everything up to the answer of the sync, or the end.
    pub fn read_to_sync(&mut self, slot: usize, requests: &[Request]) -> Vec<Item> {
        let mut items = Vec::new();
        let Some(raw) = &mut self.slots[slot] else { return items };
        let mut next = 0;
        loop {
            let Some(frame) = raw.read_frame() else {
                items.push(Item::Closed);
                self.slots[slot] = None;
                return items;
            };
            let xid = answer::xid(&frame);
            if xid == -1 {
                items.push(Item::Event(frame));
            } else {
                // A reply to the sync is of no request.
                items.push(Item::Reply(if xid == SYNC_XID { usize::MAX } else { next }, frame));
                next += 1;
                if xid == SYNC_XID || next > requests.len() || next == requests.len() && is_last(requests) {
                    return items;
                }
            }
        }
    }
}

fn is_last(requests: &[Request]) -> bool {
    requests.last().is_some_and(Request::may_end)
}
