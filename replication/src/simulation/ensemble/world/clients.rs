//! Between clients and servers.

use super::super::server::{Ask, Told};
use super::{Event, World};
use crate::node::{Era, Input};
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
            Some(input) => self.ask_role(sid, input),
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
                        self.ask_role(sid, role::Input::Touch(vec![session]))?;
                    }
                }
                let request = self.site(sid).server.as_mut().and_then(|server| server.next_request(conn));
                let goes_on = is_told || request.is_some();
                if let Some(request) = request {
                    self.ask_role(sid, request)?;
                }
                if !goes_on {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The connections of a server have something for its role.
    fn ask_role(&mut self, sid: i64, input: role::Input) -> Result<(), String> {
        let Some(server) = &self.sites[&sid].server else { return Ok(()) };
        let era = server.era;
        if era != server.node.era() && input.is_request() {
            self.met.count("late requests");
        }
        self.step(sid, Input::Client(era, input))
    }

    /// The connections of a server are to hear how it serves them from now on. Now and then they are busy with something
    /// else: then they go on for a while as before.
    pub(super) fn tell_connections(&mut self, sid: i64, serves: bool, era: Era) -> Result<(), String> {
        let (now, life) = (self.now, self.sites[&sid].life);
        let is_late = self.scenario.has_busy_cores && !serves && self.stalls.percent(50);
        let longest = if self.stalls.percent(50) { 10 } else { 600 };
        let ms = if is_late { 1 + self.stalls.below(longest) as i64 } else { 0 };
        let site = self.site(sid);
        site.words.push_back((serves, era));
        if site.words.len() == 1 && !site.hears && !is_late {
            return self.connections_hear(sid);
        }
        site.hears_at = site.hears_at.max(now + ms);
        let at = site.hears_at;
        self.at(at, Event::Heard(sid, life));
        Ok(())
    }

    /// The connections of a server hear the oldest of what they are to hear.
    pub(super) fn connections_hear(&mut self, sid: i64) -> Result<(), String> {
        let site = self.site(sid);
        let Some((serves, era)) = site.words.pop_front() else { return Ok(()) };
        if !serves {
            site.hears = true;
            let pumped = self.pump(sid);
            self.site(sid).hears = false;
            pumped?;
            self.drop_clients(sid);
        }
        if let Some(server) = &mut self.site(sid).server {
            (server.serves, server.era) = (serves, era);
        }
        Ok(())
    }

    /// Whoever comes to the state of a leader's snapshot has heard everything before.
    pub(super) fn connections_hear_all(&mut self, sid: i64) -> Result<(), String> {
        while !self.sites[&sid].hears && !self.sites[&sid].words.is_empty() {
            self.connections_hear(sid)?;
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
