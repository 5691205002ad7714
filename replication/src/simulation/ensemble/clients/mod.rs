//! Clients: sessions that write, read, watch and sync at one server and then at another.

mod hearing;
mod requests;

use super::checker::Watcher;
use super::server::Ask;
use super::world::World;
use engine::acl::Identity;
use engine::ids::SessionId;
use engine::read::{ReadOp, RestoredKind, RestoredWatch};
use engine::zxid::Zxid;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

const TIMEOUT_MS: i32 = 1_500;
/// Requests that a client has under way.
const OUTSTANDING_MAX: usize = 5;
/// How long a client waits for anything.
const PATIENCE_MS: i64 = 700;

/// A request that is not answered.
struct Asked {
    xid: i32,
    kind: Kind,
    /// What had been acknowledged to anybody when it was sent.
    acknowledged: Zxid,
}

enum Kind {
    Write,
    Sync,
    Read(ReadOp<'static>),
    MultiRead(Vec<ReadOp<'static>>),
    Ephemerals(&'static str),
    Restore(Zxid, Vec<RestoredWatch>),
}

/// What a client has proved about itself: nothing, to be one user, to be two, to be the superuser.
fn identity(at: usize) -> Identity {
    let mut identity = Identity::anonymous();
    match at % 4 {
        0 => {}
        1 => identity.add("digest", requests::ANN),
        2 => {
            identity.add("digest", requests::ANN);
            identity.add("digest", requests::BOB);
        }
        _ => identity.add("super", "admin"),
    }
    identity
}

/// One client.
#[derive(Default)]
pub struct Client {
    identity: Arc<Identity>,
    session: SessionId,
    conn: Option<u32>,
    /// It makes no connection before.
    away_until: i64,
    waits_since: i64,
    is_up: bool,
    /// The largest zxid in the header of a reply.
    seen: Zxid,
    xid: i32,
    /// In order.
    asked: VecDeque<Asked>,
    /// What it must hear of on its connection.
    watcher: Watcher,
    /// The watches that have not been heard of, as a client's library keeps them for its next connection.
    watches: BTreeSet<(u8, String)>,
}

fn restored_kind(kind: u8) -> RestoredKind {
    match kind {
        0 => RestoredKind::Data,
        1 => RestoredKind::Exist,
        2 => RestoredKind::Child,
        3 => RestoredKind::Persistent,
        _ => RestoredKind::PersistentRecursive,
    }
}

impl Client {
    /// By the clients' numbers.
    pub fn new(at: usize) -> Client {
        let identity = Arc::new(identity(at));
        Client { watcher: Watcher::new(Arc::clone(&identity)), identity, ..Client::default() }
    }

    pub fn session(&self) -> SessionId {
        self.session
    }

    /// What is left when the session is gone.
    fn begin_anew(&mut self) {
        let identity = Arc::clone(&self.identity);
        let watcher = Watcher::new(Arc::clone(&identity));
        *self = Client { xid: self.xid, identity, watcher, ..Client::default() };
    }

    fn lose_connection(&mut self) {
        self.conn = None;
        self.is_up = false;
        self.asked.clear();
        self.watcher = Watcher::new(Arc::clone(&self.identity));
    }

    /// The watches for setWatches.
    fn to_restore(&self) -> Vec<RestoredWatch> {
        let item = |(index, (kind, path)): (usize, &(u8, String))| RestoredWatch {
            index: index as u32,
            kind: restored_kind(*kind),
            path: path.as_str().into(),
        };
        self.watches.iter().enumerate().map(item).collect()
    }
}

impl World {
    /// A client does something.
    pub fn client_acts(&mut self, at: usize) -> Result<(), String> {
        let ms = 3 + self.chance.below(40) as i64;
        self.client_acts_after(ms, at);
        if self.at_peace {
            return Ok(());
        }
        let client = &self.clients[at];
        let Some(conn) = client.conn else {
            if self.now >= client.away_until && (client.session != SessionId::NONE || !self.is_quiet()) {
                self.connect(at);
            }
            return Ok(());
        };
        let waits = !client.is_up || !client.asked.is_empty();
        if (waits && self.now - client.waits_since > PATIENCE_MS) || self.chance.percent(1) {
            self.leave(at, conn);
            return Ok(());
        }
        let client = &self.clients[at];
        if !client.is_up || client.asked.len() >= OUTSTANDING_MAX {
            return Ok(());
        }
        match self.chance.below(20) {
            0..=10 if !self.is_quiet() => self.client_writes(at, conn),
            11 => self.request(at, conn, Kind::Sync),
            12 if self.chance.percent(50) => {
                let ops = self.some_multi_read();
                self.request(at, conn, Kind::MultiRead(ops));
            }
            12 => {
                let prefix = ["/", "/n", "/q-"][self.chance.below(3) as usize];
                self.request(at, conn, Kind::Ephemerals(prefix));
            }
            _ => {
                let op = self.some_read();
                self.request(at, conn, Kind::Read(op));
            }
        }
        Ok(())
    }

    fn connect(&mut self, at: usize) {
        let sids = self.sids();
        let server = sids[self.chance.below(sids.len() as u64) as usize];
        let conn = self.wire(at, server);
        let client = &mut self.clients[at];
        (client.conn, client.waits_since) = (Some(conn), self.now);
        let (session, seen, identity) = (client.session, client.seen, Arc::clone(&client.identity));
        if session != SessionId::NONE {
            self.checker.timeline.connects(session);
        }
        self.ask(conn, Ask::Connect(session, TIMEOUT_MS, seen, identity));
    }

    /// The client goes away from its server, which hears of it, or finds out by itself.
    fn leave(&mut self, at: usize, conn: u32) {
        self.clients[at].lose_connection();
        if self.chance.percent(5) {
            // Longer than its session may live.
            self.clients[at].away_until = self.now + i64::from(TIMEOUT_MS) + self.chance.below(2_000) as i64;
        }
        self.met.count("moves");
        if self.chance.percent(60) {
            self.ask(conn, Ask::HangUp);
        }
    }

    /// The server is gone, or lets the client go.
    pub fn client_is_cut_off(&mut self, at: usize, conn: u32) {
        let client = &mut self.clients[at];
        if client.conn == Some(conn) {
            client.lose_connection();
        }
    }

    fn client_writes(&mut self, at: usize, conn: u32) {
        let identity = Arc::clone(&self.clients[at].identity);
        let op = self.some_write(&identity);
        let client = &mut self.clients[at];
        client.xid += 1;
        let (session, xid) = (client.session, client.xid);
        self.checker.timeline.asks(session, xid, conn, identity, op.clone());
        self.client_sends(at, conn, Kind::Write, Ask::Write(xid, op));
    }

    fn request(&mut self, at: usize, conn: u32, kind: Kind) {
        let client = &mut self.clients[at];
        client.xid += 1;
        let xid = client.xid;
        let ask = match &kind {
            Kind::Write => return,
            Kind::Sync => Ask::Sync(xid),
            Kind::Read(op) => Ask::Read(xid, op.clone()),
            Kind::MultiRead(ops) => Ask::MultiRead(xid, ops.clone()),
            Kind::Ephemerals(prefix) => Ask::Ephemerals(xid, prefix),
            Kind::Restore(relative, items) => Ask::Restore(xid, *relative, items.clone()),
        };
        self.client_sends(at, conn, kind, ask);
    }

    fn client_sends(&mut self, at: usize, conn: u32, kind: Kind, ask: Ask) {
        let acknowledged = self.checker.acknowledged();
        let client = &mut self.clients[at];
        if client.asked.is_empty() {
            client.waits_since = self.now;
        }
        client.asked.push_back(Asked { xid: client.xid, kind, acknowledged });
        self.ask(conn, ask);
    }
}
