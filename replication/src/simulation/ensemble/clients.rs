//! Clients: sessions that write, read and sync at one server and then at another, and what they hold servers to.

use super::world::World;
use crate::node::Input;
use crate::request::{AclSpec, CreateKind, CreateOp, DeleteOp, MultiOp, SetDataOp, WriteOp, WriteRequest};
use crate::role::{self, Action, ConnectRequest};
use bytes::Bytes;
use engine::acl::Identity;
use engine::ids::{ConnId, CoreId, Origin, SessionId};
use engine::zxid::Zxid;
use std::collections::BTreeMap;
use std::sync::Arc;

const TIMEOUT_MS: i32 = 1_500;
/// Nodes that are set, read, and never deleted.
const REGISTERS: u64 = 4;

/// One client.
#[derive(Default)]
pub(super) struct Client {
    session: SessionId,
    conn: Option<u32>,
    server: i64,
    /// Since when it waits for the handshake or an answer.
    waits_since: i64,
    is_up: bool,
    /// The largest zxid that it was shown.
    seen: Zxid,
    /// What its view must have reached before the next read.
    view: Zxid,
    /// The newest version that it has seen of each register.
    registers: BTreeMap<u64, i64>,
    xid: i32,
    /// Outstanding writes: what had been acknowledged to anybody when they were sent.
    outstanding: BTreeMap<i32, Zxid>,
    /// The last write that was acknowledged.
    acknowledged: Zxid,
    /// A sync under way: what had been acknowledged to anybody then.
    sync: Option<(i32, Zxid)>,
}

impl Client {
    /// Whose pause stops this client.
    pub(super) fn server(&self) -> Option<i64> {
        self.conn.map(|_| self.server)
    }
}

/// A connection that a client has made.
pub(super) struct Connection {
    client: usize,
    session: SessionId,
}

fn origin(conn: u32, xid: i32) -> Origin {
    Origin { core: CoreId(0), conn: ConnId { slot: conn, generation: 0 }, seq: xid as u64 }
}

impl World {
    /// A client does something.
    pub(super) fn client_acts(&mut self, at: usize) -> Result<(), String> {
        let ms = 3 + self.chance.below(40) as i64;
        self.client_acts_after(ms, at);
        if self.at_peace {
            return Ok(());
        }
        let Some(conn) = self.clients[at].conn else { return self.connect(at) };
        let client = &self.clients[at];
        let (sid, waits) = (client.server, !client.is_up || !client.outstanding.is_empty() || client.sync.is_some());
        if (waits && self.now - client.waits_since > 700) || self.chance.percent(1) {
            return self.disconnect(at, true);
        }
        let client = &self.clients[at];
        if !client.is_up {
            return Ok(());
        }
        match self.chance.below(10) {
            0..=5 => self.client_writes(at, conn, sid),
            6 if client.sync.is_none() => {
                let client = &mut self.clients[at];
                client.xid += 1;
                client.sync = Some((client.xid, self.checker.acknowledged()));
                client.waits_since = self.now;
                let (origin, session) = (origin(conn, client.xid), client.session);
                self.step(sid, Input::Role(role::Input::Sync { origin, session }))
            }
            _ => self.client_reads(at, sid),
        }
    }

    fn connect(&mut self, at: usize) -> Result<(), String> {
        let sids = self.sids();
        let sid = sids[self.chance.below(sids.len() as u64) as usize];
        let seen = self.clients[at].seen;
        let takes = self.sites[&sid]
            .server
            .as_ref()
            .is_some_and(|server| server.node.standing().serves() && server.published >= seen);
        if !takes {
            return Ok(());
        }
        self.connection_count += 1;
        let slot = self.connection_count;
        let client = &mut self.clients[at];
        client.conn = Some(slot);
        (client.server, client.waits_since, client.is_up) = (sid, self.now, false);
        let session = client.session;
        self.connections.insert(slot, Connection { client: at, session });
        let request = ConnectRequest {
            core: CoreId(0),
            conn: ConnId { slot, generation: 0 },
            session,
            timeout_ms: TIMEOUT_MS,
            password: Some(crate::session::password(session)),
        };
        self.step(sid, Input::Role(role::Input::Connect(request)))
    }

    /// The client goes away from its server, which hears of it or not.
    fn disconnect(&mut self, at: usize, heard: bool) -> Result<(), String> {
        let client = &mut self.clients[at];
        let Some(slot) = client.conn.take() else { return Ok(()) };
        client.outstanding.clear();
        (client.is_up, client.sync) = (false, None);
        let (session, sid) = (client.session, client.server);
        self.met.moves += 1;
        if heard && session != SessionId::NONE {
            let conn = ConnId { slot, generation: 0 };
            return self.step(sid, Input::Role(role::Input::Disconnected { session, core: CoreId(0), conn }));
        }
        Ok(())
    }

    /// A server lets go of its clients.
    pub(super) fn drop_clients(&mut self, sid: i64) {
        for at in 0..self.clients.len() {
            if self.clients[at].conn.is_some() && self.clients[at].server == sid {
                let client = &mut self.clients[at];
                client.conn = None;
                client.outstanding.clear();
                (client.is_up, client.sync) = (false, None);
            }
        }
    }

    fn client_writes(&mut self, at: usize, conn: u32, sid: i64) -> Result<(), String> {
        if self.clients[at].outstanding.len() >= 4 {
            return Ok(());
        }
        let op = self.some_write();
        let acknowledged = self.checker.acknowledged();
        let client = &mut self.clients[at];
        client.xid += 1;
        client.waits_since = self.now;
        client.outstanding.insert(client.xid, acknowledged);
        let request = WriteRequest {
            origin: Some(origin(conn, client.xid)),
            session: client.session,
            cxid: client.xid,
            identity: Arc::new(Identity::anonymous()),
            op,
        };
        self.step(sid, Input::Role(role::Input::Write(request)))
    }

    fn some_write(&mut self) -> WriteOp {
        let register = self.chance.below(REGISTERS);
        let data = Some(Bytes::from(format!("{}", self.chance.below(1 << 30))));
        let create = |path: String, data: Option<Bytes>, flags: i32| CreateOp {
            kind: CreateKind::Create2,
            path: path.into(),
            data,
            acl: AclSpec::Open,
            flags,
        };
        let set = |data| SetDataOp { path: format!("/r{register}").into(), data, version: -1 };
        let name = self.chance.below(6);
        match self.chance.below(16) {
            0 | 1 => WriteOp::Create(create(format!("/r{register}"), data, 0)),
            2 => WriteOp::Create(create(format!("/n{name}"), data, 0)),
            3 => WriteOp::Create(create(format!("/n{name}/s-"), data, 2)),
            4 => WriteOp::Create(create(format!("/n{name}/e{register}"), data, 1)),
            5 => WriteOp::Create(create("/q-".to_owned(), data, 3)),
            6 => WriteOp::Delete(DeleteOp { path: format!("/n{name}").into(), version: -1 }),
            7 => WriteOp::Delete(DeleteOp { path: format!("/n{name}/e{register}").into(), version: -1 }),
            8 => WriteOp::Multi(vec![
                MultiOp::SetData(set(data.clone())),
                MultiOp::Create(create(format!("/n{name}/m"), data, 0)),
            ]),
            9 => WriteOp::Multi(vec![
                MultiOp::Delete(DeleteOp { path: format!("/n{name}/m").into(), version: -1 }),
                MultiOp::SetData(set(data)),
            ]),
            10 if self.chance.percent(20) => WriteOp::CloseSession,
            _ => WriteOp::SetData(set(data)),
        }
    }

    fn client_reads(&mut self, at: usize, sid: i64) -> Result<(), String> {
        let register = self.chance.below(REGISTERS);
        let client = &self.clients[at];
        let Some(server) = self.sites.get_mut(&sid).and_then(|site| site.server.as_mut()) else { return Ok(()) };
        if server.published < client.view {
            return Ok(());
        }
        if server.published < client.seen {
            return Err(format!("client {at} has seen {}, server {sid} shows {}", client.seen, server.published));
        }
        let modified = server.modified(&format!("/r{register}"))?;
        let view = server.published;
        let client = &mut self.clients[at];
        client.seen = client.seen.max(view);
        self.met.reads += 1;
        let Some(modified) = modified else {
            return match client.registers.get(&register) {
                Some(before) => Err(format!("client {at} has seen /r{register} of {before:#x}, and it is gone")),
                None => Ok(()),
            };
        };
        match client.registers.insert(register, modified) {
            Some(before) if before > modified => {
                Err(format!("client {at} reads /r{register} of {modified:#x} after {before:#x}"))
            }
            _ => Ok(()),
        }
    }

    /// A server tells a client something.
    pub(super) fn client_hears(&mut self, sid: i64, action: Action) -> Result<(), String> {
        match action {
            Action::Connected { conn, session, at, .. } => {
                let Some(connection) = self.connections.get_mut(&conn.slot) else { return Ok(()) };
                connection.session = session;
                let client = &mut self.clients[connection.client];
                if client.conn != Some(conn.slot) {
                    return Ok(());
                }
                if client.session != session {
                    (client.session, client.acknowledged) = (session, Zxid::ZERO);
                }
                client.is_up = true;
                client.view = client.view.max(at);
            }
            Action::Refused { conn, .. } => {
                let Some(at) = self.client_of(conn) else { return Ok(()) };
                self.clients[at] = Client { xid: self.clients[at].xid, ..Client::default() };
            }
            Action::CloseConnection { conn, session, .. } => {
                let Some(at) = self.client_of(conn) else { return Ok(()) };
                if self.clients[at].session == session {
                    self.clients[at] = Client { xid: self.clients[at].xid, ..Client::default() };
                }
            }
            Action::Answer(answer) => {
                let Some(connection) = self.connections.get(&answer.origin.conn.slot) else { return Ok(()) };
                let (at, session, xid) = (connection.client, connection.session, answer.origin.seq as i32);
                let is_own = self.clients[at].conn == Some(answer.origin.conn.slot);
                let before = self.clients[at].outstanding.get(&xid).copied().filter(|_| is_own);
                if answer.result.is_ok() {
                    self.checker.answered(session, xid, answer.zxid, before.unwrap_or_default())?;
                }
                if before.is_none() {
                    return Ok(());
                }
                self.met.answers += 1;
                let published = self.sites[&sid].server.as_ref().map_or(Zxid::ZERO, |server| server.published);
                let client = &mut self.clients[at];
                let first = client.outstanding.pop_first();
                if first.is_none_or(|(first, _)| first != xid) {
                    return Err(format!("request {xid} of client {at} is answered before {first:?}"));
                }
                if answer.result.is_ok() {
                    if answer.zxid > published || answer.zxid <= client.acknowledged {
                        let before = client.acknowledged;
                        return Err(format!("client {at} is told of {} after {before}, at {published}", answer.zxid));
                    }
                    client.acknowledged = answer.zxid;
                }
                client.view = client.view.max(answer.zxid);
                if published >= answer.zxid {
                    client.seen = client.seen.max(answer.zxid);
                }
            }
            Action::SyncDone { origin, at: view } => {
                let Some(at) = self.client_of(origin.conn) else { return Ok(()) };
                let client = &mut self.clients[at];
                let Some((_, acknowledged)) = client.sync.take_if(|(xid, _)| *xid as u64 == origin.seq) else {
                    return Ok(());
                };
                // A leader that has been deposed, and does not know it, knows nothing of later epochs.
                if view < acknowledged && view.epoch() >= acknowledged.epoch() {
                    return Err(format!("client {at} synced to {view} when {acknowledged} was acknowledged"));
                }
                client.view = client.view.max(view);
                self.met.syncs += 1;
            }
            _ => {}
        }
        Ok(())
    }

    fn client_of(&self, conn: ConnId) -> Option<usize> {
        let at = self.connections.get(&conn.slot)?.client;
        (self.clients[at].conn == Some(conn.slot)).then_some(at)
    }
}
