//! The oracle that elects, and what a server brings along.

use super::*;

impl World {
    /// The highest (current epoch, zxid, sid) among those that reach each other leads; now and then anybody.
    pub(super) fn elect(&mut self) -> Result<(), String> {
        let looking: Vec<u64> =
            self.nodes.values().filter(|node| matches!(node.role, Role::Looking)).map(|node| node.sid).collect();
        for sid in looking {
            if !matches!(self.nodes[&sid].role, Role::Looking) {
                continue;
            }
            let near: Vec<u64> = self.nodes.keys().copied().filter(|other| self.reaches(sid, *other)).collect();
            let leading = near.iter().copied().find(|other| matches!(self.nodes[other].role, Role::Leading(_)));
            let candidates: Vec<u64> = near
                .into_iter()
                .filter(|other| matches!(self.nodes[other].role, Role::Looking) && !self.nodes[other].observer)
                .collect();
            let rank = |sid: &u64| (self.nodes[sid].disk.current, self.nodes[sid].disk.last(), *sid);
            let mut best = candidates.iter().copied().max_by_key(rank);
            if self.troubled() && self.chance.percent(15) && !candidates.is_empty() {
                best = Some(candidates[self.chance.below(candidates.len() as u64) as usize]);
            }
            match (leading, best) {
                (Some(leader), _) if !self.troubled() || self.chance.percent(80) => self.follow(sid, leader)?,
                (_, Some(best)) if candidates.len() as u64 > self.config.voters / 2 || self.chance.percent(5) => {
                    self.begin_to_lead(best)?;
                    if sid != best {
                        self.follow(sid, best)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn configurations(&self) -> Configurations {
        let members = Arc::new(Majority::new(1..=self.config.voters));
        let text = Bytes::from_static(b"version=0");
        Configurations { committed: Configuration { version: 0, text, members }, proposed: None }
    }

    pub(super) fn begin_to_lead(&mut self, sid: u64) -> Result<(), String> {
        let configurations = self.configurations();
        let (length, reads) = (self.chance.below(30) as usize, self.chance.percent(60));
        let mut config = LeaderConfig::new(sid);
        config.tick_ms = TICK_MS;
        config.log_read_bytes = 400;
        // Where they are what is tested, more often.
        let forced = if self.config.mistake == Some(Mistake::SnapshotFirst) { 20 } else { 3 };
        config.force_snapshot = length < forced;
        config.mistake = self.config.mistake;
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        let start = LeaderStart {
            accepted_epoch: node.disk.accepted,
            current_epoch: node.disk.current,
            last: Durable::assume(node.disk.last()),
            history: node.disk.history(length),
            configurations,
            log_base: reads.then_some(node.disk.base),
        };
        let mut out = Vec::new();
        let leader = Leader::new(self.now, config, start, &mut out);
        node.begin(Role::Leading(Box::new(leader)));
        self.leader_acts(sid, out)
    }

    pub(super) fn follow(&mut self, sid: u64, leader: u64) -> Result<(), String> {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        let kind = if node.observer { LearnerKind::Observer } else { LearnerKind::Follower };
        let mut config = LearnerConfig::new(sid, kind);
        config.tick_ms = TICK_MS;
        config.mistake = self.config.mistake;
        let start = LearnerStart {
            accepted_epoch: node.disk.accepted,
            current_epoch: node.disk.current,
            last: Durable::assume(node.disk.last()),
            applied: node.applied,
            history: node.disk.history(20),
            outstanding: node.disk.log[node.disk.upto(node.applied)..].iter().map(|(zxid, _)| *zxid).collect(),
        };
        let mut out = Vec::new();
        let learner = Learner::new(now, config, start, &mut out);
        node.begin(Role::Learning(Box::new(learner)));
        (node.leader, node.conn) = (leader, None);
        self.totals.follows += 1;
        self.learner_acts(sid, out)
    }
}
