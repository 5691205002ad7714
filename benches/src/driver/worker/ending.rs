//! The end of a worker: waiting for what is on its way, booking what has no answer, closing sessions.

use super::super::conn::{Asked, Conn};
use super::{LOOK, Worker};
use crate::workload::Protocol;
use std::time::{Duration, Instant};

/// How long replies are waited for after the end, and how long when somebody is waiting for the end.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
const DRAIN_LIMIT_STOPPED: Duration = Duration::from_secs(2);
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

impl Worker {
    /// Waits for replies to what was sent.
    pub(super) fn drain(&mut self) -> anyhow::Result<()> {
        let limit = if self.stop.is_set() { DRAIN_LIMIT_STOPPED } else { DRAIN_LIMIT };
        self.wait_until(limit, |conn| conn.sent.is_empty())
    }

    /// Books what has no answer: sent in vain, or never sent.
    pub(super) fn settle(&mut self, ended_ns: u64) {
        let now_ns = self.now_ns();
        for sent in self.conns.iter().flat_map(|conn| &conn.sent) {
            if let Asked::Op(op) = sent.asked {
                self.recorder.unfinished(op, sent.meant_ns, now_ns);
            }
        }
        let Some(pacer) = &mut self.pacer else { return };
        while pacer.next_ns() < ended_ns {
            let op = self.plant.workload.mix.choose(&mut self.dice);
            self.recorder.unfinished(op, pacer.take(), now_ns);
        }
    }

    /// Ends all sessions, so that their ephemeral nodes go with them.
    pub(super) fn close(&mut self) -> anyhow::Result<()> {
        if self.plant.workload.protocol == Protocol::Zookeeper {
            for index in 0..self.conns.len() {
                self.end_session(index);
            }
            self.wait_until(CLOSE_LIMIT, |conn| conn.socket.is_none())?;
        }
        Ok(())
    }

    pub(super) fn wait_until(&mut self, limit: Duration, done: impl Fn(&Conn) -> bool) -> anyhow::Result<()> {
        let until = Instant::now() + limit;
        let mut events = Vec::new();
        while Instant::now() < until && !self.conns.iter().all(|conn| conn.socket.is_none() || done(conn)) {
            self.flush();
            let wake_ns = self.now_ns() + LOOK.as_nanos() as u64;
            self.turn(&mut events, wake_ns, false)?;
        }
        Ok(())
    }
}
