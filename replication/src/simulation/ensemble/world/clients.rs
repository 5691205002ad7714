//! Between clients and servers.

use super::super::server::{Ask, Told};
use super::{Event, World};
use crate::node::Input;
use crate::role;
use engine::ids::SessionId;
use std::collections::VecDeque;

/// A connection that a client has made. What the client sends arrives in order.
pub struct Wire {
    client: usize,
    pub server: i64,
    life: u64,
    inbox: VecDeque<Ask>,
}

impl World {
    /// A client makes a connection.
    pub fn wire(&mut self, client: usize, server: i64) -> u32 {
        self.wire_count += 1;
        let life = self.sites[&server].life;
        self.wires.insert(self.wire_count, Wire { client, server, life, inbox: VecDeque::new() });
        self.wire_count
    }

    /// A client sends something.
    pub fn ask(&mut self, conn: u32, ask: Ask) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        wire.inbox.push_back(ask);
        let ms = self.chance.below(4) as i64;
        self.after(ms, Event::Ask(conn));
    }

    /// The oldest thing that a client has sent arrives.
    pub(super) fn asked(&mut self, conn: u32) -> Result<(), String> {
        let Some(wire) = self.wires.get_mut(&conn) else { return Ok(()) };
        let (sid, life) = (wire.server, wire.life);
        let Some(ask) = wire.inbox.pop_front() else { return Ok(()) };
        let hangs_up = matches!(ask, Ask::HangUp);
        let site = self.sites.get_mut(&sid).unwrap();
        let server = site.server.as_mut().filter(|_| site.life == life);
        let (goes_on, input) = server.map_or((false, None), |server| server.hears(conn, ask));
        if !goes_on {
            self.unplug(conn, hangs_up);
        }
        match input {
            Some(input) => self.step(sid, Input::Role(input)),
            None => self.pump(sid),
        }
    }

    /// A connection is no more.
    fn unplug(&mut self, conn: u32, client_knows: bool) {
        if let Some(wire) = self.wires.remove(&conn)
            && !client_knows
        {
            self.client_is_cut_off(wire.client, conn);
        }
    }

    /// Tells the clients of a server what they may be told, and passes their requests on.
    pub(super) fn pump(&mut self, sid: i64) -> Result<(), String> {
        let conns = self.sites[&sid].server.as_ref().map(|server| server.fronts()).unwrap_or_default();
        for conn in conns {
            loop {
                let Some(server) = &mut self.site(sid).server else { return Ok(()) };
                let told = server.deliver(conn)?;
                let is_told = !told.is_empty();
                let reads = told.iter().any(|told| matches!(told, Told::Read { .. } | Told::Restored { .. }));
                if let Some(wire) = self.wires.get(&conn) {
                    let client = wire.client;
                    for told in told {
                        self.client_hears(client, conn, told)?;
                    }
                    let session = self.clients[client].session();
                    if reads && session != SessionId::NONE {
                        self.step(sid, Input::Role(role::Input::Touch(vec![session])))?;
                    }
                }
                let request = self.site(sid).server.as_mut().and_then(|server| server.next_request(conn));
                let goes_on = is_told || request.is_some();
                if let Some(request) = request {
                    self.step(sid, Input::Role(request))?;
                }
                if !goes_on {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A server lets go of its clients.
    pub(super) fn drop_clients(&mut self, sid: i64) {
        if let Some(server) = &mut self.site(sid).server {
            server.drop_fronts();
        }
        let conns: Vec<u32> = self.wires.iter().filter(|(_, wire)| wire.server == sid).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.unplug(conn, false);
        }
    }

    /// Nobody is left: connections end, half of them unheard.
    pub(super) fn clients_vanish(&mut self) -> Result<(), String> {
        let conns: Vec<u32> = self.wires.keys().copied().collect();
        for conn in conns {
            if self.chance.percent(50) {
                self.ask(conn, Ask::HangUp);
            }
        }
        Ok(())
    }
}
