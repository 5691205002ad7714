//! What goes wrong, and how it is made good again.

use super::super::server::{DiskFault, ENOSPC, Server, Setting};
use super::network::Parcel;
use super::site::Site;
use super::{Event, TROUBLE_MS, World, brief, first_members};
use crate::node::Standing;
use crate::peer::ensemble::{MemberRole, ServerId, Views};
use std::collections::BTreeMap;
use std::sync::Arc;

impl World {
    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.now >= TROUBLE_MS {
            return Ok(());
        }
        let sids = self.sids();
        let sid = sids[self.chance.below(sids.len() as u64) as usize];
        let other = sids[self.chance.below(sids.len() as u64) as usize];
        match self.chance.below(22) {
            0..=3 => self.light_fuse(sid),
            4 => {
                self.note(|| "the power fails".to_owned());
                for sid in sids {
                    self.crash(sid);
                }
            }
            5 => {
                let ms = 50 + self.chance.below(1_200) as i64;
                self.note(|| format!("server {sid} pauses for {ms} ms"));
                self.met.count("pauses");
                self.site(sid).paused_until = self.now + ms;
            }
            6 | 7 => {
                let sides: BTreeMap<i64, bool> = sids.iter().map(|sid| (*sid, self.chance.percent(50))).collect();
                let ways = sids.iter().flat_map(|a| sids.iter().map(move |b| (*a, *b)));
                self.block(ways.filter(|(a, b)| sides[a] != sides[b]).collect());
            }
            8 | 9 => {
                self.met.count("one-way losses");
                self.block(vec![(sid, other)]);
            }
            10..=12 => self.isolate_leader(),
            13 => {
                let conns: Vec<u64> = self.network.conns.keys().copied().collect();
                if !conns.is_empty() {
                    let conn = conns[self.chance.below(conns.len() as u64) as usize];
                    self.sever(conn)?;
                }
            }
            14 => self.network.refused = [0, 30, 80][self.chance.below(3) as usize],
            15 => {
                let ms = 1 + self.chance.below(60);
                self.note(|| format!("the disk of server {sid} takes {ms} ms"));
                self.site(sid).disk_ms = ms;
            }
            16 => {
                let ms = self.chance.below(40_000) as i64 - 20_000;
                self.note(|| format!("the clock of server {sid} jumps by {ms} ms"));
                self.met.count("clock jumps");
                self.site(sid).wall_ms += ms;
            }
            17 | 18 => {
                let fault = DiskFault::any(&mut self.chance);
                self.note(|| format!("the disk of server {sid} is about to fail: {fault:?}"));
                if let Some(server) = &mut self.site(sid).server {
                    server.fault = Some(fault);
                }
            }
            19 => {
                let ms = 100 + self.chance.below(1_500) as i64;
                self.note(|| format!("the disk of server {sid} is full for {ms} ms"));
                self.met.count("full disks");
                self.site(sid).full_until = self.now + ms;
            }
            20 => {
                self.site(sid).decays = self.scenario.decays;
                self.light_fuse(sid);
            }
            _ => {
                self.note(|| "the network heals".to_owned());
                self.network.blocked.clear();
            }
        }
        let ms = 50 + self.chance.below(500) as i64;
        self.after(ms, Event::Fault);
        Ok(())
    }

    /// Where the disk is full, the next thing asked of it fails.
    pub(super) fn fill_disk(&mut self, sid: i64) {
        let now = self.now;
        let site = self.site(sid);
        if let Some(server) = site.server.as_mut().filter(|_| site.full_until > now) {
            server.fault.get_or_insert(DiskFault::Error(ENOSPC));
        }
    }

    /// Whether a quorum stays whole if this server loses something too: of the newest members in force anywhere, and of
    /// whatever members have been proposed since.
    fn may_decay(&self, sid: i64) -> bool {
        let views: Vec<Views> = self.sites.values().map(|site| site.storage.views()).collect();
        let newest = views.iter().map(|views| views.committed().version()).max();
        let all = views.iter().flat_map(|views| [views.committed(), views.last_seen()]);
        let mut later = all.filter(|ensemble| Some(ensemble.version()) >= newest);
        let is_whole = |(other, site): &(&i64, &Site)| **other != sid && !site.storage.is_repairing;
        let whole: Vec<ServerId> = self.sites.iter().filter(is_whole).map(|(other, _)| ServerId(*other)).collect();
        later.all(|ensemble| ensemble.has_quorum(&whole))
    }

    /// The server crashes amid what it does a little later.
    fn light_fuse(&mut self, sid: i64) {
        let fuse = 1 + self.chance.below(12) as u32;
        let life = self.sites[&sid].life;
        if let Some(server) = &mut self.site(sid).server {
            server.fuse = Some(fuse);
        }
        self.after(200, Event::Crash(sid, life));
    }

    /// Nothing gets through on these ways for a while.
    fn block(&mut self, ways: Vec<(i64, i64)>) {
        let ms = 20 + self.chance.below(1_500) as i64;
        self.note(|| format!("nothing gets through on {ways:?} for {ms} ms"));
        self.met.count("partitions");
        let until = self.now + ms;
        self.network.blocked.extend(ways.into_iter().map(|way| (way, until)));
    }

    /// The leader goes on taking writes that nobody else will hear of, until it gives up, or crashes: the others elect
    /// another one meanwhile. If nobody writes there, the former leader finds a log that ends before its own (TRUNC).
    fn isolate_leader(&mut self) {
        let leads = |sid: &i64| {
            let server = self.sites[sid].server.as_ref();
            server.is_some_and(|server| server.node.standing() == Standing::Leading)
        };
        let sids = self.sids();
        let Some(leader) = sids.iter().copied().find(leads) else { return };
        let hears = self.chance.percent(40);
        let ways = sids.iter().flat_map(|sid| [(leader, *sid), (*sid, leader)]);
        let until = self.now + 700 + self.chance.below(1_300) as i64;
        let ways: Vec<_> = ways.filter(|(from, _)| *from == leader || !hears).collect();
        self.note(|| format!("server {leader}, the leader, is cut off until {until}"));
        self.met.count("isolated leaders");
        self.network.blocked.extend(ways.into_iter().map(|way| (way, until)));
        if self.chance.percent(60) {
            self.quiet = self.now + 150..until + 1_500;
        }
        if self.chance.percent(30) {
            let life = self.sites[&leader].life;
            let ms = 20 + self.chance.below(400) as i64;
            self.after(ms, Event::Crash(leader, life));
        }
    }

    pub(super) fn crash(&mut self, sid: i64) {
        let site = self.sites.get_mut(&sid).unwrap();
        let Some(server) = site.server.take() else { return };
        site.storage.crash(server, &mut self.chance);
        site.forget();
        let life = site.life;
        self.note(|| format!("server {sid} crashes"));
        self.met.count("crashes");
        for name in self.network.names(sid) {
            let ms = 1 + self.chance.below(150) as i64;
            self.send(sid, name, ms, Parcel::End);
            if let Some((conn, end)) = self.network.find(sid, name) {
                self.network.close(conn, end);
            }
        }
        self.drop_clients(sid);
        let ms = 50 + self.chance.below(1_500) as i64;
        self.after(ms, Event::Restart(sid, life));
    }

    pub(super) fn restart(&mut self, sid: i64) -> Result<(), String> {
        let shards = 1 + self.chance.below(3) as u16;
        let lags = self.chance.percent(60);
        let now = self.clock(sid);
        let setting = Setting {
            sid,
            shards,
            lags,
            history_bytes_max: self.scenario.history_bytes_max,
            reconfigures: self.scenario.reconfigures,
            commit_step: self.scenario.commit_step,
            mistake: self.scenario.mistake,
        };
        if std::mem::take(&mut self.site(sid).decays) && self.may_decay(sid) {
            let site = self.sites.get_mut(&sid).unwrap();
            if let Some(what) = site.storage.decay(&mut self.chance) {
                self.met.count("decayed disks");
                if self.scenario.reconfigures {
                    self.met.count("decayed disks of changing members");
                }
                self.note(|| format!("the disk of server {sid} has decayed: {what}"));
            }
        }
        self.name_members(sid)?;
        let site = self.site(sid);
        let server = Server::start(now, &setting, &mut site.storage)?;
        site.server = Some(server);
        site.tick_at = i64::MAX;
        let (epochs, repairs) = (site.storage.epochs(), site.storage.is_repairing);
        let views = site.storage.views();
        let lacks = if repairs { ", and lacks something" } else { "" };
        self.note(|| {
            format!(
                "server {sid} starts with {shards} shards and {epochs:?}{lacks}, {} and {}",
                brief(views.committed()),
                brief(views.last_seen())
            )
        });
        self.fill_disk(sid);
        self.settle(sid)
    }

    /// A server that has been taken out, and has to start anew, does not know where to find anybody who knows where it is:
    /// its operator names it the members in force, and itself, as an observer. The list is newer than all before those: an
    /// older one would make it forget that it is out, and it could lead others, with a history that says otherwise.
    fn name_members(&mut self, sid: i64) -> Result<(), String> {
        let (own, views) = (ServerId(sid), self.sites[&sid].storage.views());
        if views.committed().member(own).is_some() || views.last_seen().member(own).is_some() {
            return Ok(());
        }
        let current = Arc::clone(self.checker.timeline.members.current());
        let members = match current.member(own) {
            Some(_) => current.with_version(current.version() - 1),
            None => first_members(&current, sid, false)?.with_version(current.version() - 1),
        };
        self.note(|| format!("server {sid} is told the members {}", brief(&members)));
        self.site(sid).storage.told(Arc::new(members));
        Ok(())
    }

    /// Everything works from here on, but for some servers that stay away. The others can go on by what they know: they are
    /// a quorum of the newest members that any of them has in force, and of those that any has been proposed since.
    pub(super) fn heal_quorum(&mut self) {
        let (mut away, mut sids) = (Vec::new(), self.sids());
        while !sids.is_empty() {
            let sid = sids.swap_remove(self.chance.below(sids.len() as u64) as usize);
            let is_spared = self.chance.percent(50);
            away.push(sid);
            if !is_spared || !self.can_go_on(&away) {
                away.pop();
            }
        }
        self.note(|| format!("everything heals, but {away:?} stay away"));
        self.repair();
        for sid in away {
            self.site(sid).stays_down = true;
            self.crash(sid);
        }
    }

    /// Starts servers that stay away for as long as the others cannot go on by what they know now. Whether there was any.
    pub(super) fn bring_back(&mut self) -> bool {
        let mut away: Vec<i64> = self.sids().into_iter().filter(|sid| self.sites[sid].stays_down).collect();
        let before = away.len();
        while !away.is_empty() && !self.can_go_on(&away) {
            let sid = away.swap_remove(self.chance.below(away.len() as u64) as usize);
            self.note(|| {
                format!("server {sid} comes back: without it there is no quorum of the members proposed since")
            });
            self.return_of(sid);
        }
        away.len() < before
    }

    fn return_of(&mut self, sid: i64) {
        let site = self.site(sid);
        let life = site.life;
        if std::mem::replace(&mut site.stays_down, false) {
            self.after(1, Event::Restart(sid, life));
        }
    }

    /// Whoever comes to lead has the latest epoch of all who may: what the others have been proposed is settled by then. Who
    /// observes acknowledges nothing, though the members proposed may want its vote.
    fn can_go_on(&self, away: &[i64]) -> bool {
        let there: Vec<(ServerId, u32, Views)> = self
            .sites
            .iter()
            .filter(|(sid, site)| !away.contains(sid) && !site.storage.is_repairing)
            .map(|(sid, site)| (ServerId(*sid), site.storage.epochs().current, site.storage.views()))
            .collect();
        let newest = there.iter().map(|(_, _, views)| views.committed()).max_by_key(|ensemble| ensemble.version());
        let Some(newest) = newest else { return false };
        let voters = || there.iter().filter(|(sid, ..)| newest.is_voter(*sid));
        let latest = voters().map(|(_, epoch, _)| epoch).max();
        let leaders = voters().filter(|(_, epoch, _)| Some(epoch) == latest);
        let proposed = leaders.map(|(_, _, views)| views.last_seen());
        let proposed = proposed.filter(|ensemble| ensemble.version() > newest.version());
        let acknowledges = |(sid, _, views): &&(ServerId, u32, Views)| {
            let own = views.committed();
            let in_force = if own.version() < newest.version() { newest } else { own };
            in_force.role_of(*sid) == MemberRole::Participant
        };
        let sids: Vec<ServerId> = there.iter().filter(acknowledges).map(|(sid, ..)| *sid).collect();
        proposed.chain([newest]).all(|ensemble| ensemble.has_quorum(&sids))
    }

    /// Everything works from here on.
    pub(super) fn heal(&mut self) {
        self.note(|| "everything heals".to_owned());
        self.repair();
        self.sids().into_iter().for_each(|sid| self.return_of(sid));
    }

    fn repair(&mut self) {
        self.network.blocked.clear();
        self.network.refused = 0;
        self.quiet = 0..0;
        for sid in self.sids() {
            let site = self.site(sid);
            site.disk_ms = 2;
            site.paused_until = 0;
            site.full_until = 0;
            site.decays = false;
            if let Some(server) = &mut site.server {
                (server.fuse, server.fault) = (None, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::ensemble::scenario;
    use crate::simulation::ensemble::world::{line, parsed};

    #[test]
    fn who_stays_away_comes_back_when_members_proposed_since_need_it() {
        let mut world = World::new(1, scenario(3, None), false).unwrap();
        world.site(2).stays_down = true;
        assert!(!world.bring_back(), "two of three are there");
        let members = format!("{}{}version=100000005", line(1, true), line(2, true));
        world.site(1).storage.told(Arc::new(parsed(&members).unwrap()));
        assert!(world.bring_back(), "both of two are needed");
        world.run_until(100).unwrap();
        assert!(world.sites[&2].server.is_some());
        assert!(!world.bring_back(), "nobody stays away any more");
    }

    #[test]
    fn who_observes_is_of_no_use_to_members_that_are_only_proposed() {
        let mut world = World::new(1, scenario(3, None), false).unwrap();
        let voters = |sids: &[i64]| sids.iter().map(|sid| line(*sid, true)).collect::<String>();
        let ensemble = |lines: &str, version| Arc::new(parsed(&format!("{lines}version={version:x}")).unwrap());
        let proposed = ensemble(&voters(&[1, 2, 3, 4]), 6);
        let [without, observing] = [String::new(), line(3, false)].map(|own| ensemble(&(voters(&[1, 2, 4]) + &own), 5));
        for (in_force, suffices) in [(without, true), (observing, false)] {
            for sid in 1..=5 {
                world.site(sid).storage.told(Arc::clone(&in_force));
                world.site(sid).storage.last_seen = Arc::clone(&proposed);
            }
            assert_eq!(world.can_go_on(&[4]), suffices, "server 3 makes up for server 4 if it may acknowledge");
        }
    }
}
