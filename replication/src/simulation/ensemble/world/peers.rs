//! Between servers: dialling, sending, breaking.

use super::network::{Callee, Name, Parcel};
use super::{Event, World};
use crate::node::{Action, Input, Standing};
use crate::peer::ensemble::ServerId;
use crate::peer::links::LinkId;
use crate::role::Mode;
use crate::session::LearnerId;
use bytes::Bytes;

impl World {
    pub fn carry_out(&mut self, sid: i64, action: Action) -> Result<(), String> {
        let life = self.sites[&sid].life;
        match action {
            Action::DialLink { sid: to, .. } => {
                let ms = 1 + self.chance.below(6) as i64;
                self.after(ms, Event::Dialled(sid, life, to.0, Callee::Voter));
            }
            Action::DialLeader { addresses, .. } => {
                let to = addresses.first().and_then(|address| address.host[1..].parse().ok()).unwrap_or_default();
                let number = self.network.number();
                self.site(sid).dial = number;
                let ms = 1 + self.chance.below(6) as i64;
                self.after(ms, Event::Dialled(sid, life, to, Callee::Leader(number)));
            }
            Action::WriteLink(link, bytes) => self.write(sid, Name::Link(link), bytes),
            Action::WriteLearner(learner, bytes) => self.write(sid, Name::Learner(learner), bytes),
            Action::WriteLeader(bytes) => self.write(sid, Name::Leader, bytes),
            Action::CloseLink(link) => self.close(sid, Name::Link(link)),
            Action::CloseLearner(learner) => self.close(sid, Name::Learner(learner)),
            Action::CloseLeader => {
                self.site(sid).dial = 0;
                self.close(sid, Name::Leader);
            }
            Action::Listen(on) => {
                self.site(sid).listens = on;
                let names = self.network.names(sid).into_iter();
                for name in names.filter(|name| !on && matches!(name, Name::Learner(_))) {
                    self.close(sid, name);
                }
            }
            Action::Standing(standing, era) => {
                self.note(|| format!("server {sid} is {standing:?}"));
                self.tell_connections(sid, standing.serves(), era)?;
                let site = self.site(sid);
                let taken = site.storage.cuts + site.storage.snapshots;
                match standing {
                    Standing::Joining => site.joins = Some(taken),
                    Standing::Following | Standing::Observing if site.joins.take() == Some(taken) => {
                        self.met.count("DIFF");
                    }
                    _ => {}
                }
                if standing == Standing::Leading {
                    let server = self.sites[&sid].server.as_ref().unwrap();
                    let Mode::Leading { epoch } = server.node.role().mode() else {
                        return Err(format!("server {sid} leads and its role does not"));
                    };
                    let adopted = self.in_epoch(epoch);
                    self.checker.leads(sid, epoch, &adopted, server.log_base(), server.log())?;
                }
            }
            other => return Err(format!("nobody carries out {other:?}")),
        }
        Ok(())
    }

    fn write(&mut self, sid: i64, name: Name, bytes: Bytes) {
        let (life, count) = (self.sites[&sid].life, bytes.len());
        let mut rest = bytes;
        while !rest.is_empty() {
            let cut =
                if self.chance.percent(15) { 1 + self.chance.below(rest.len() as u64) as usize } else { rest.len() };
            let piece = rest.split_to(cut);
            let slowest = if self.chance.percent(3) { 60 } else { 3 };
            let ms = 1 + self.chance.below(slowest) as i64;
            self.send(sid, name, ms, Parcel::Bytes(piece));
        }
        let ms = self.chance.below(2) as i64;
        self.after(ms, Event::Sent(sid, life, name, count));
    }

    pub fn send(&mut self, sid: i64, name: Name, ms: i64, parcel: Parcel) {
        if let Some((conn, end, at)) = self.network.send(sid, name, self.now + ms, parcel) {
            self.at(at, Event::Flow(conn, end));
        }
    }

    /// The server closes its end; the other one hears of it behind what was sent.
    fn close(&mut self, sid: i64, name: Name) {
        self.send(sid, name, 1, Parcel::End);
        if let Some((conn, end)) = self.network.find(sid, name) {
            self.network.close(conn, end);
        }
    }

    /// What has arrived from one end of a connection.
    pub fn flow(&mut self, number: u64, end: usize) -> Result<(), String> {
        loop {
            let Some(ends) = self.network.conns.get(&number).map(|conn| conn.ends) else { return Ok(()) };
            let ((from, _), (to, name)) = (ends[end], ends[1 - end]);
            let blocked = !self.network.carries(from, to, self.now);
            let full = name == Name::Leader
                && self.sites[&to].server.as_ref().is_some_and(|server| !server.node.reads_from_leader());
            let Some(conn) = self.network.conns.get_mut(&number) else { return Ok(()) };
            let Some((at, _)) = conn.queues[end].front() else {
                conn.due[end] = false;
                return Ok(());
            };
            if blocked || full || *at > self.now {
                let at = if blocked { self.now + 20 } else { (*at).max(self.now + 1) };
                self.at(at, Event::Flow(number, end));
                return Ok(());
            }
            let Some((_, parcel)) = conn.queues[end].pop_front() else { return Ok(()) };
            if !conn.open[1 - end] {
                continue;
            }
            if matches!(parcel, Parcel::Bytes(_)) && self.network.is_overtaken(number, from, to) {
                self.met.count("overtaken messages");
            }
            let input = match (&parcel, name) {
                (Parcel::Bytes(bytes), Name::Link(link)) => Input::LinkBytes(link, bytes),
                (Parcel::Bytes(bytes), Name::Learner(learner)) => Input::LearnerBytes(learner, bytes.clone()),
                (Parcel::Bytes(bytes), Name::Leader) => Input::LeaderBytes(bytes.clone()),
                (Parcel::End, Name::Link(link)) => Input::LinkClosed(link),
                (Parcel::End, Name::Learner(learner)) => Input::LearnerClosed(learner),
                (Parcel::End, Name::Leader) => Input::LeaderClosed,
            };
            if matches!(parcel, Parcel::End) {
                self.network.close(number, 1 - end);
            }
            self.step(to, input)?;
        }
    }

    pub fn dialled(&mut self, sid: i64, life: u64, to: i64, callee: Callee) -> Result<(), String> {
        if self.sites[&sid].life != life || self.sites[&sid].server.is_none() {
            return Ok(());
        }
        if let Callee::Leader(number) = callee
            && self.sites[&sid].dial != number
        {
            return Ok(());
        }
        let there = self.sites.get(&to).is_some_and(|site| {
            site.server.is_some()
                && match callee {
                    Callee::Voter => true,
                    Callee::Leader(_) => site.listens,
                }
        });
        let carries = self.network.carries(sid, to, self.now) && self.network.carries(to, sid, self.now);
        if !there || !carries || self.chance.percent(self.network.refused) {
            return match callee {
                Callee::Voter => self.step(sid, Input::LinkFailed(ServerId(to))),
                Callee::Leader(_) => self.step(sid, Input::LeaderUnreachable),
            };
        }
        match callee {
            Callee::Voter => {
                let (own, other) = (LinkId(self.network.number()), LinkId(self.network.number()));
                self.network.connect([(sid, Name::Link(own)), (to, Name::Link(other))]);
                self.step(to, Input::LinkAccepted(other))?;
                self.step(sid, Input::LinkConnected(own, ServerId(to)))
            }
            Callee::Leader(_) => {
                let learner = LearnerId(self.network.number());
                self.network.connect([(sid, Name::Leader), (to, Name::Learner(learner))]);
                self.step(to, Input::LearnerAccepted(learner))?;
                self.step(sid, Input::LeaderConnected)
            }
        }
    }

    /// A connection breaks; what is under way on it is lost.
    pub fn sever(&mut self, number: u64) -> Result<(), String> {
        let Some(conn) = self.network.conns.get_mut(&number) else { return Ok(()) };
        let (ends, open) = (conn.ends, conn.open);
        self.note(|| format!("the connection {ends:?} breaks"));
        for end in 0..2 {
            self.network.close(number, end);
        }
        for ((sid, name), _) in ends.into_iter().zip(open).filter(|(_, open)| *open) {
            let input = match name {
                Name::Link(link) => Input::LinkClosed(link),
                Name::Learner(learner) => Input::LearnerClosed(learner),
                Name::Leader => Input::LeaderClosed,
            };
            self.step(sid, input)?;
        }
        Ok(())
    }
}
