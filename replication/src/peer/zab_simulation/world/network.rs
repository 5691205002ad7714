//! Connections: ordered, in pieces, slow, lost, half open.

use super::*;

impl World {
    pub(super) fn reaches(&self, one: u64, other: u64) -> bool {
        self.sides[&one] == self.sides[&other]
    }

    pub(super) fn connect(&mut self, sid: u64) {
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
    pub(super) fn send(&mut self, conn: u64, up: bool, mut bytes: Bytes) {
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

    pub(super) fn deliver(&mut self, conn: u64, up: bool, bytes: Bytes) {
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
    pub(super) fn hang_up(&mut self, conn: u64, up: bool) {
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

    pub(super) fn close_end(&mut self, conn: u64, up: bool) {
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

    pub(super) fn hang_up_all(&mut self, sid: u64) {
        let held: Vec<(u64, bool)> = self
            .conns
            .iter()
            .flat_map(|(conn, link)| [(*conn, link.learner == sid, true), (*conn, link.leader == sid, false)])
            .filter_map(|(conn, held, up)| held.then_some((conn, up)))
            .collect();
        held.into_iter().for_each(|(conn, up)| self.hang_up(conn, up));
    }
}
