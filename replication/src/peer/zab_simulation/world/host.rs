//! What a host does for the machines, and what the checker hears of it.

use super::*;

impl World {
    pub(super) fn disk_job(&mut self, sid: u64, job: DiskJob) {
        let delay = 1 + if self.chance.percent(10) { self.below(60) } else { self.below(6) };
        let tenure = self.nodes[&sid].tenure;
        self.after(delay, Event::Disk { sid, tenure, job });
    }

    pub(super) fn leader_acts(&mut self, sid: u64, out: Vec<leader::Action>) -> Result<(), String> {
        for action in out {
            match action {
                leader::Action::Send { learner, bytes } => self.send(learner.0, false, bytes),
                leader::Action::Disconnect { learner, .. } => self.hang_up(learner.0, false),
                leader::Action::PersistAcceptedEpoch(epoch) => self.disk_job(sid, DiskJob::Accepted(epoch)),
                leader::Action::PersistCurrentEpoch(epoch) => self.disk_job(sid, DiskJob::Current(epoch)),
                leader::Action::ReadLog { learner, after, upto, bytes_max } => {
                    self.totals.log_reads += 1;
                    self.disk_job(sid, DiskJob::Read { learner: learner.0, after, upto, bytes_max });
                }
                leader::Action::SnapshotWanted { learner } => {
                    self.totals.snapshots += 1;
                    self.disk_job(sid, DiskJob::Pin { learner: learner.0 });
                }
                leader::Action::Commit { upto } => {
                    let voters = self.nodes.values().filter(|node| !node.observer).map(|node| &node.disk);
                    self.checker.leader_commits(&self.nodes[&sid].disk.log, upto, voters)?;
                    self.committed(sid, upto)?;
                }
                leader::Action::Established { epoch } => {
                    self.totals.reigns += 1;
                    self.checker.established(sid, epoch, &self.nodes[&sid].disk.log)?;
                    if let Some(node) = self.nodes.get_mut(&sid) {
                        node.proposed = Zxid::new(epoch, 0);
                    }
                }
                leader::Action::Resign(_) => self.leave(sid)?,
                leader::Action::Activate { .. }
                | leader::Action::Request { .. }
                | leader::Action::Sync { .. }
                | leader::Action::Touched { .. }
                | leader::Action::Revalidate { .. } => {}
            }
        }
        Ok(())
    }

    pub(super) fn learner_acts(&mut self, sid: u64, out: Vec<learner::Action>) -> Result<(), String> {
        for action in out {
            match action {
                learner::Action::Connect { .. } => {
                    let delay = 1 + self.below(10);
                    let tenure = self.nodes[&sid].tenure;
                    self.after(delay, Event::Connect { sid, tenure });
                }
                learner::Action::Send(bytes) => {
                    self.check_said(sid, &bytes)?;
                    if let Some(conn) = self.nodes[&sid].conn {
                        self.send(conn, true, bytes);
                    }
                }
                learner::Action::PersistAcceptedEpoch(epoch) => self.disk_job(sid, DiskJob::Accepted(epoch)),
                learner::Action::PersistCurrentEpoch(epoch) => self.disk_job(sid, DiskJob::Current(epoch)),
                learner::Action::Truncate { to } => {
                    self.totals.cuts += 1;
                    if to < self.nodes[&sid].applied {
                        return Err(format!("server {sid} would be cut to {to}, below what it has applied"));
                    }
                    self.disk_job(sid, DiskJob::Truncate(to));
                }
                learner::Action::SnapshotBegin { zxid } => {
                    if let Some(node) = self.nodes.get_mut(&sid) {
                        node.staged.clear();
                        node.stage_zxid = zxid;
                    }
                }
                learner::Action::SnapshotBytes(bytes) => self.stage(sid, &bytes),
                learner::Action::SnapshotEnd { zxid, entries } => {
                    let staged = decode_snapshot(&self.nodes[&sid].staged);
                    let (state, _) = staged.ok_or("a snapshot ended that was never complete")?;
                    let behind: Vec<Entry> = entries.iter().map(|(_, txn)| decode_txn(txn)).collect();
                    behind.iter().try_for_each(|entry| self.checker.logged(*entry))?;
                    self.disk_job(sid, DiskJob::Install(zxid, state, behind));
                }
                learner::Action::Log { zxid, txn } => {
                    let entry = decode_txn(&txn);
                    self.checker.logged(entry)?;
                    if let Some(node) = self.nodes.get_mut(&sid) {
                        if node.disk.last() >= zxid {
                            return Err(format!("server {sid} logs {zxid} behind {}", node.disk.last()));
                        }
                        node.disk.log.push(entry);
                    }
                    self.disk_job(sid, DiskJob::Flush(zxid));
                }
                learner::Action::Commit { upto } => self.committed(sid, upto)?,
                learner::Action::Leave(reason) => {
                    let honest = matches!(self.config.mistake, None | Some(Mistake::KeepFormerAcks));
                    if honest && matches!(reason, LeaveReason::CannotTruncate { .. } | LeaveReason::WrongCommit { .. })
                    {
                        return Err(format!("server {sid}: {reason}"));
                    }
                    self.leave(sid)?;
                }
                learner::Action::TouchesWanted => self.learn(sid, learner::Input::Touches(Vec::new())),
                learner::Action::SnapshotDrop
                | learner::Action::LastSeen { .. }
                | learner::Action::Activate { .. }
                | learner::Action::Established { .. }
                | learner::Action::Revalidated { .. }
                | learner::Action::SyncDone { .. } => {}
            }
        }
        Ok(())
    }

    /// A server learns what is committed, and applies as much of it as its own disk has.
    pub(super) fn committed(&mut self, sid: u64, upto: Zxid) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        self.checker.told_committed(sid, &node.disk.log, upto)?;
        node.committed = node.committed.max(upto);
        node.apply();
        Ok(())
    }

    /// Nothing may be said that the disk does not have.
    pub(super) fn check_said(&mut self, sid: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        node.said.push(bytes);
        while let Some(QuorumPacket { kind, zxid, data, .. }) = node.said.next().map_err(|error| error.to_string())? {
            match kind {
                PacketKind::Ack if zxid.counter() == 0 => self.checker.adopted(sid, zxid.epoch(), &node.disk)?,
                PacketKind::Ack => self.checker.acknowledged(sid, zxid, &node.disk)?,
                PacketKind::AckEpoch if data.as_deref() != Some(&[0xFF; 4]) => {
                    let leader = self.conns.get(&node.conn.unwrap_or(0)).map(|conn| conn.leader);
                    let promised = leader.and_then(|leader| match &self.nodes[&leader].role {
                        Role::Leading(leader) => leader.epoch(),
                        _ => None,
                    });
                    let disk = &self.nodes[&sid].disk;
                    promised.map_or(Ok(()), |epoch| self.checker.promised(sid, epoch, disk))?;
                    return Ok(());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_disks(&self) -> Result<(), String> {
        self.checker.held(self.nodes.values().filter(|node| !node.observer).map(|node| &node.disk))
    }

    pub(super) fn stage(&mut self, sid: u64, bytes: &[u8]) {
        let Some(node) = self.nodes.get_mut(&sid) else { return };
        node.staged.extend_from_slice(bytes);
        if let Some((_, end)) = decode_snapshot(&node.staged) {
            let rest = Bytes::from(node.staged.split_off(end));
            self.learn(sid, learner::Input::SnapshotParsed { rest });
        }
    }

    pub(super) fn disk_done(&mut self, sid: u64, job: DiskJob) -> Result<(), String> {
        let leading = matches!(self.nodes[&sid].role, Role::Leading(_));
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        match job {
            DiskJob::Accepted(epoch) | DiskJob::Current(epoch) => {
                node.write_epoch(&job)?;
                match leading {
                    true => self.lead(sid, leader::Input::EpochPersisted(epoch)),
                    false => self.learn(sid, learner::Input::EpochPersisted(epoch)),
                }
            }
            DiskJob::Flush(zxid) => {
                node.disk.flushed = node.disk.flushed.max(node.disk.upto(zxid));
                node.apply();
                let last = node.disk.flushed().last().map_or(Zxid::ZERO, |(zxid, _)| *zxid);
                let durable = Durable::assume(last);
                match leading {
                    true => self.lead(sid, leader::Input::Durable(durable)),
                    false => self.learn(sid, learner::Input::Durable(durable)),
                }
            }
            DiskJob::Truncate(to) => {
                node.disk.truncate(to);
                node.disk.flushed = node.disk.log.len();
                let last = node.disk.last();
                self.learn(sid, learner::Input::Truncated { last });
                self.check_disks()?;
            }
            DiskJob::Install(zxid, state, behind) if self.config.mistake == Some(Mistake::SnapshotFirst) => {
                node.install(zxid, state, &[]);
                self.disk_job(sid, DiskJob::InstallRest(behind));
                self.check_disks()?;
            }
            DiskJob::Install(zxid, state, behind) => {
                node.install(zxid, state, &behind);
                self.learn(sid, learner::Input::SnapshotInstalled);
                self.check_disks()?;
            }
            DiskJob::InstallRest(behind) => {
                node.disk.log.extend(behind);
                node.disk.flushed = node.disk.log.len();
                self.learn(sid, learner::Input::SnapshotInstalled);
            }
            DiskJob::Read { learner, after, upto, bytes_max } => {
                let wanted = &node.disk.log[node.disk.upto(after)..node.disk.upto(upto)];
                let count = (bytes_max / 60).max(1).min(wanted.len());
                let entries = wanted[..count].iter().map(|(zxid, value)| (*zxid, encode_txn(*zxid, *value))).collect();
                let done = count == wanted.len();
                self.lead(sid, leader::Input::LogRead { learner: LearnerId(learner), entries, done });
            }
            DiskJob::Pin { learner } => {
                let zxid = node.applied;
                let rest = encode_snapshot(&node.disk.log[..node.disk.upto(zxid)]);
                self.lead(sid, leader::Input::SnapshotAt { learner: LearnerId(learner), zxid });
                self.disk_job(sid, DiskJob::Stream { learner, zxid, rest });
            }
            DiskJob::Stream { learner, zxid, mut rest } => {
                let room = match &node.role {
                    Role::Leading(leader) => leader.has_room(LearnerId(learner)),
                    _ => false,
                };
                if room {
                    let bytes = rest.split_to(rest.len().min(200));
                    self.lead(sid, leader::Input::SnapshotBytes { learner: LearnerId(learner), bytes });
                }
                match rest.is_empty() {
                    true => self.lead(sid, leader::Input::SnapshotEnd { learner: LearnerId(learner) }),
                    false if self.conns.contains_key(&learner) => {
                        self.disk_job(sid, DiskJob::Stream { learner, zxid, rest });
                    }
                    false => {}
                }
            }
        }
        Ok(())
    }

    /// A role ends: the log is drained and what is under way with the disk is finished or dropped, whole.
    pub(super) fn leave(&mut self, sid: u64) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&sid) else { return Ok(()) };
        let tenure = node.tenure;
        node.tenure += 1;
        node.role = Role::Looking;
        node.disk.flushed = node.disk.log.len();
        let mine =
            |event: &Event| matches!(event, Event::Disk { sid: of, tenure: t, .. } if *of == sid && *t == tenure);
        let jobs: Vec<Event> = self.bodies.values().filter(|event| mine(event)).cloned().collect();
        for event in jobs {
            let finished = self.chance.percent(50);
            let Some(node) = self.nodes.get_mut(&sid) else { continue };
            let Event::Disk { job, .. } = event else { continue };
            match job {
                DiskJob::Accepted(_) | DiskJob::Current(_) => node.write_epoch(&job)?,
                DiskJob::Truncate(to) if finished => node.disk.truncate(to),
                DiskJob::Install(zxid, state, behind) if finished => node.install(zxid, state, &behind),
                _ => {}
            }
        }
        self.hang_up_all(sid);
        self.check_disks()
    }
}
