//! Clients, and what goes wrong.

use super::*;

impl World {
    /// A client of every leader there is.
    pub(super) fn propose(&mut self) -> Result<(), String> {
        if self.next_value == u64::MAX {
            return Ok(());
        }
        let established = |node: &&Node| matches!(&node.role, Role::Leading(leader) if leader.is_established());
        let leaders: Vec<u64> = self.nodes.values().filter(established).map(|node| node.sid).collect();
        for sid in leaders {
            self.next_value += 1;
            let value = self.next_value;
            let again = self.config.mistake == Some(Mistake::ReuseZxid) && self.chance.percent(5);
            let Some(node) = self.nodes.get_mut(&sid) else { continue };
            let zxid = match node.proposed.next() {
                Some(_) if again && node.proposed.counter() > 0 && node.proposed > node.committed => node.proposed,
                Some(next) => next,
                None => continue,
            };
            node.disk.truncate(Zxid(zxid.0 - 1));
            node.proposed = zxid;
            node.disk.log.push((zxid, value));
            self.checker.logged((zxid, value))?;
            self.disk_job(sid, DiskJob::Flush(zxid));
            self.lead(sid, leader::Input::Proposed { zxid, txn: encode_txn(zxid, value), reconfig: None });
        }
        Ok(())
    }

    pub(super) fn any(&mut self) -> u64 {
        1 + self.chance.below(self.nodes.len() as u64)
    }

    pub(super) fn fault(&mut self) {
        let sid = self.any();
        match self.chance.below(6) {
            0 | 1 => self.crash(sid),
            2 => {
                let conns: Vec<u64> = self.conns.keys().copied().collect();
                if !conns.is_empty() {
                    let conn = conns[self.chance.below(conns.len() as u64) as usize];
                    self.hang_up(conn, true);
                    self.hang_up(conn, false);
                }
            }
            3 => {
                for sid in self.nodes.keys().copied().collect::<Vec<_>>() {
                    let side = u64::from(self.chance.percent(35));
                    self.sides.insert(sid, side);
                }
            }
            4 => self.sides.values_mut().for_each(|side| *side = 0),
            _ => {
                // A checkpoint: the log is let go up to what is applied.
                if let Some(node) = self.nodes.get_mut(&sid) {
                    node.disk.base = node.disk.base.max(node.applied);
                    let base = Some(node.disk.base);
                    if matches!(node.role, Role::Leading(_)) {
                        self.lead(sid, leader::Input::LogBase(base));
                    }
                }
            }
        }
    }

    /// Any part of what was not flushed is lost.
    pub(super) fn crash(&mut self, sid: u64) {
        if matches!(self.nodes[&sid].role, Role::Down) {
            return;
        }
        self.totals.crashes += 1;
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        let unflushed = node.disk.log.len() - node.disk.flushed;
        let kept = node.disk.flushed + self.chance.below(unflushed as u64 + 1) as usize;
        node.disk.log.truncate(kept);
        node.disk.flushed = kept;
        node.tenure += 1;
        node.role = Role::Down;
        self.hang_up_all(sid);
        let delay = 10 + self.below(600);
        self.after(delay, Event::Restart(sid));
    }

    pub(super) fn restart(&mut self, sid: u64) {
        if let Some(node) = self.nodes.get_mut(&sid).filter(|node| matches!(node.role, Role::Down)) {
            node.role = Role::Looking;
            // What is committed has to be learnt again.
            (node.applied, node.committed) = (node.disk.base, node.disk.base);
        }
    }
}
