//! Connections of a worker: taken up with their watches, lost, given up, replaced.

use super::super::conn::{Asked, Sent};
use super::super::opener::Wanted;
use super::Worker;
use crate::wire::request;
use crate::wire::session::ping_every;
use crate::workload::{Protocol, WatchKind};
use hardware::reactor::{CloseHow, SocketId};
use std::net::TcpStream;

impl Worker {
    pub(super) fn watch(&mut self, index: usize, path: &[u8]) {
        let conn = &mut self.conns[index];
        if conn.closing {
            return;
        }
        let xid = conn.xid();
        request::watch(&mut conn.out, xid, self.plant.workload.watches.kind, path);
        conn.sent.push_back(Sent { meant_ns: 0, xid, asked: Asked::Watch });
        self.dirty.push(index);
    }

    pub(super) fn attach(&mut self, index: usize, stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let socket = match self.gather_from_ns {
            Some(_) => self.reactor.adopt_stamped(stream.into()),
            None => self.reactor.adopt(stream.into()),
        };
        let slot = socket.slot();
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, usize::MAX);
        }
        self.by_slot[slot] = index;
        self.conns[index].attach(socket);
        let first = self.dice.below(self.plant.workload.keys);
        for watch in 0..u64::from(self.plant.workload.watches.per_session) {
            let mut path = std::mem::take(&mut self.path);
            match self.plant.workload.watches.kind {
                WatchKind::Child => {
                    path.clear();
                    path.extend_from_slice(self.plant.tree.leaf(first + watch).as_bytes());
                }
                _ => self.plant.tree.key((first + watch) % self.plant.workload.keys, &mut path),
            }
            self.watch(index, &path);
            self.path = path;
        }
        Ok(())
    }

    /// A connection ended by itself: what was on its way is lost, and another session takes its place.
    pub(super) fn closed(&mut self, socket: SocketId, now_ns: u64) {
        let Some(index) = self.index_of(socket) else {
            self.reactor.close(socket, CloseHow::Now);
            return;
        };
        let expected = self.conns[index].closing;
        for sent in self.conns[index].sent.iter() {
            if let Asked::Op(op) = sent.asked {
                self.recorder.lost(op, sent.meant_ns, now_ns);
            }
        }
        if !expected && self.window.holds(now_ns) {
            self.recorder.record.lost_connections += 1;
        }
        self.replace(index, socket);
    }

    /// Gives a connection up and asks for another, unless the run is over.
    pub(super) fn replace(&mut self, index: usize, socket: SocketId) {
        self.reactor.close(socket, CloseHow::Now);
        self.conns[index].detach();
        if self.now_ns() < self.window.end_ns && !self.stop.is_set() {
            let (to, waker) = (self.opened_to.clone(), self.reactor.waker());
            let first = self.conns[index].number as usize;
            // The opener outlives all workers.
            let _ = self.opener.send(Wanted { conn: index, first, to, waker });
        }
    }

    /// Keeps sessions alive on which a slow open loop has nothing to do.
    pub(super) fn ping(&mut self, now_ns: u64) {
        if now_ns < self.ping_ns || self.plant.workload.protocol != Protocol::Zookeeper {
            return;
        }
        // A server may grant less than was asked for, ZooKeeper's default no more than 40 s.
        let timeout_ms = self.plant.workload.session_timeout.0.as_millis().min(40_000) as i32;
        self.ping_ns = now_ns + ping_every(timeout_ms).as_nanos() as u64;
        for (index, conn) in self.conns.iter_mut().enumerate() {
            if conn.has_room(1) {
                request::ping(&mut conn.out);
                self.dirty.push(index);
            }
        }
    }

    /// Closes the sessions whose time has come.
    pub(super) fn churn(&mut self, now_ns: u64) {
        let Some(mut churn) = self.churn.take() else { return };
        while churn.next_ns() <= now_ns {
            churn.take();
            let index = self.churn_next % self.conns.len();
            self.churn_next = index + 1;
            self.end_session(index);
        }
        self.churn = Some(churn);
    }

    pub(super) fn end_session(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        if conn.socket.is_some() && !conn.closing {
            let xid = conn.xid();
            request::close(&mut conn.out, xid);
            conn.sent.push_back(Sent { meant_ns: 0, xid, asked: Asked::Close });
            conn.closing = true;
            self.dirty.push(index);
        }
    }
}
