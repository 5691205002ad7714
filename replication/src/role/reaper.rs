//! Reaping of containers and TTL nodes (`ContainerManager`).

use super::Now;
use crate::ledger::{Ledger, Reapable};
use engine::path::PathHash;
use std::sync::Arc;

/// The three properties of `ContainerManager`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReaperConfig {
    /// `znode.container.checkIntervalMs`: from sweep to sweep.
    pub check_interval_ms: i64,
    /// `znode.container.maxPerMinute`, at least 1: nodes reaped.
    pub max_per_minute: i64,
    /// `znode.container.maxNeverUsedIntervalMs`: age at which a container that never had a child goes; 0 for never.
    pub max_never_used_ms: i64,
}

impl Default for ReaperConfig {
    fn default() -> Self {
        ReaperConfig { check_interval_ms: 60_000, max_per_minute: 10_000, max_never_used_ms: 0 }
    }
}

/// Nodes looked at in one step, so that a long list stalls nobody.
const LOOKS_PER_STEP: usize = 256;

/// Walks the short list of reapable nodes every now and then, at a pace.
#[derive(Debug)]
pub struct Reaper {
    config: ReaperConfig,
    next_sweep_ms: i64,
    next_reap_ms: i64,
    /// In a sweep: the last node looked at.
    sweep: Option<Option<PathHash>>,
}

impl Reaper {
    pub fn new(config: ReaperConfig) -> Reaper {
        Reaper { config, next_sweep_ms: i64::MAX, next_reap_ms: 0, sweep: None }
    }

    /// Leadership begins: the first sweep is one interval away.
    pub fn start(&mut self, mono_ms: i64) {
        self.sweep = None;
        self.next_sweep_ms = mono_ms.saturating_add(self.config.check_interval_ms.max(1));
    }

    /// When [`Self::next`] is to be asked again.
    pub fn next_deadline(&self) -> i64 {
        if self.sweep.is_some() { self.next_reap_ms } else { self.next_sweep_ms }
    }

    /// The next node to reap, if one is due and the pace allows it.
    pub fn next(&mut self, now: Now, ledger: &Ledger) -> Option<Arc<str>> {
        if self.sweep.is_none() {
            if now.mono_ms < self.next_sweep_ms {
                return None;
            }
            self.next_sweep_ms = now.mono_ms.saturating_add(self.config.check_interval_ms.max(1));
            self.sweep = Some(None);
        }
        if now.mono_ms < self.next_reap_ms {
            return None;
        }
        let after = self.sweep.flatten();
        let mut looks = 0;
        for (hash, node) in ledger.reapables(after) {
            looks += 1;
            self.sweep = Some(Some(hash));
            if self.is_due(now, ledger, hash, node) {
                self.next_reap_ms = now.mono_ms + 60_000 / self.config.max_per_minute.max(1);
                return Some(node.path.clone());
            }
            if looks == LOOKS_PER_STEP {
                return None;
            }
        }
        self.sweep = None;
        None
    }

    /// Judged by the committed state, as the reference server does; a node with outstanding changes that forbid it is
    /// left alone without using up a zxid.
    fn is_due(&self, now: Now, ledger: &Ledger, hash: PathHash, node: &Reapable) -> bool {
        let childless = ledger.committed_at(hash).filter(|state| state.children == 0);
        let Some(state) = childless else { return false };
        if ledger.pending_at(hash).is_none_or(|pending| pending.children > 0) {
            return false;
        }
        let age_ms = now.wall_ms.saturating_sub(node.mtime_ms);
        match node.ttl_ms {
            Some(ttl_ms) => age_ms > ttl_ms,
            None if state.cversion > 0 => true,
            None => self.config.max_never_used_ms != 0 && age_ms > self.config.max_never_used_ms,
        }
    }
}
