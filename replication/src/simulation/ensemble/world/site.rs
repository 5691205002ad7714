//! A place for a server: its disk, its clocks, and what is wrong with it.

use super::super::server::{Server, Storage};
use crate::node::Era;
use crate::peer::ensemble::Ensemble;
use crate::role::Now;
use crate::wal::disk::Chance;
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Site {
    pub storage: Storage,
    pub server: Option<Server>,
    /// Which life of the server this is.
    pub life: u64,
    pub tick_at: i64,
    pub paused_until: i64,
    /// It is not started before everything heals.
    pub stays_down: bool,
    /// Something on its disk decays before it is started again.
    pub decays: bool,
    /// Its disk is full.
    pub full_until: i64,
    /// Its clocks: where they began, and how much they are fast, in thousandths.
    mono_ms: i64,
    pub wall_ms: i64,
    drift: i64,
    pub disk_ms: u64,
    pub listens: bool,
    /// While it comes to be in step with its leader: the cuts and snapshots before.
    pub joins: Option<u64>,
    pub dial: u64,
    pub has_log_step: bool,
    pub has_snapshots: bool,
    pub has_manifest: bool,
    pub has_view_step: bool,
    pub goes_on: bool,
    /// What its connections are still to hear: whether they serve, in which era; and when they hear the last of it.
    pub words: VecDeque<(bool, Era)>,
    pub hears_at: i64,
    /// They are hearing something at the moment.
    pub hears: bool,
}

impl Site {
    pub fn new(chance: &mut Chance, members: Arc<Ensemble>) -> Site {
        Site {
            storage: Storage::new(members),
            server: None,
            life: 0,
            tick_at: 0,
            paused_until: 0,
            stays_down: false,
            decays: false,
            full_until: 0,
            mono_ms: chance.below(100_000) as i64,
            wall_ms: 1_700_000_000_000 + chance.below(5_000) as i64,
            drift: chance.below(41) as i64 - 20,
            disk_ms: 1 + chance.below(4),
            listens: false,
            joins: None,
            dial: 0,
            has_log_step: false,
            has_snapshots: false,
            has_manifest: false,
            has_view_step: false,
            goes_on: false,
            words: VecDeque::new(),
            hears_at: 0,
            hears: false,
        }
    }

    /// Whether its clocks are fast or slow.
    pub fn drifts(&self) -> bool {
        self.drift != 0
    }

    /// What its clocks say at a moment of the simulation.
    pub fn clock(&self, now: i64) -> Now {
        let elapsed = now + now * self.drift / 1000;
        Now { mono_ms: self.mono_ms + elapsed, wall_ms: self.wall_ms + elapsed }
    }

    /// A new life begins: nothing is left of the one before but the disk.
    pub fn forget(&mut self) {
        self.life += 1;
        self.words.clear();
        self.goes_on = false;
        (self.listens, self.dial, self.paused_until) = (false, 0, 0);
        (self.has_log_step, self.has_snapshots, self.has_manifest, self.has_view_step) = (false, false, false, false);
    }
}
