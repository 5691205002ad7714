//! Which core hosts which role: a pure function of the cores at hand and of what was asked for.

/// What one thread hosts, and where it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CoreThread {
    /// The processor that the thread is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// The shard hosted here, if any.
    pub shard: Option<u16>,
    /// Whether the replication role is hosted here; exactly one thread does.
    pub replication: bool,
}

/// Whether threads are bound to processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pinning {
    /// Where they fill the machine: then every one has a processor of its own to keep its caches on. With processors to
    /// spare the scheduler may move a thread away from interrupts, and from other servers, which would all have been
    /// bound to the same first processors.
    #[default]
    Auto,
    /// In every case.
    Always,
    /// In none.
    Never,
}

/// All threads of the hot path. Thread `i` hosts shard `i`; a replication thread of its own comes last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorePlan {
    threads: Vec<CoreThread>,
    shards: u16,
}

/// With this many cores the replication role has one of its own.
const CORES_FOR_OWN_REPLICATION: usize = 4;

impl CorePlan {
    /// Plans for the processors `usable` (as the system numbers them), with `shard_cores` shards or, if `None`, one per
    /// core, less the replication role's own where it has one, and never more than `partitions`. Shards may exceed
    /// cores: then threads share them.
    pub fn new(usable: &[usize], shard_cores: Option<u16>, partitions: u32, pinning: Pinning) -> CorePlan {
        let own_replication = usable.len() >= CORES_FOR_OWN_REPLICATION;
        let shard_cpus = if own_replication { &usable[..usable.len() - 1] } else { usable };
        let limit = u16::try_from(partitions).unwrap_or(u16::MAX).max(1);
        let shards = shard_cores.unwrap_or_else(|| u16::try_from(shard_cpus.len()).unwrap_or(u16::MAX)).clamp(1, limit);
        let pin = match pinning {
            Pinning::Auto => usize::from(shards) + usize::from(own_replication) >= usable.len(),
            Pinning::Always => true,
            Pinning::Never => false,
        };
        let at = |index: usize| shard_cpus.get(index % shard_cpus.len().max(1)).copied().filter(|_| pin);
        let mut threads: Vec<CoreThread> = (0..shards)
            .map(|shard| CoreThread {
                cpu: at(usize::from(shard)),
                shard: Some(shard),
                replication: !own_replication && shard == 0,
            })
            .collect();
        if own_replication {
            threads.push(CoreThread { cpu: usable.last().copied().filter(|_| pin), shard: None, replication: true });
        }
        CorePlan { threads, shards }
    }

    /// The threads, by index.
    pub fn threads(&self) -> &[CoreThread] {
        &self.threads
    }

    /// How many shards there are, at least 1.
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// Index of the thread that hosts the replication role.
    pub fn replication_thread(&self) -> usize {
        if self.threads.len() > usize::from(self.shards) { self.threads.len() - 1 } else { 0 }
    }

    /// Whether some processor hosts more than one thread, so that spinning would only steal from a neighbour.
    pub fn shares_cores(&self, usable: usize) -> bool {
        self.threads.len() > usable.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan(cores: usize, shards: Option<u16>) -> CorePlan {
        let usable: Vec<usize> = (0..cores).collect();
        CorePlan::new(&usable, shards, 64, Pinning::Always)
    }

    fn shape(plan: &CorePlan) -> Vec<(Option<usize>, Option<u16>, bool)> {
        plan.threads().iter().map(|thread| (thread.cpu, thread.shard, thread.replication)).collect()
    }

    #[test]
    fn small_machines_share_a_core_with_replication() {
        assert_eq!(shape(&plan(1, None)), [(Some(0), Some(0), true)]);
        assert_eq!(shape(&plan(2, None)), [(Some(0), Some(0), true), (Some(1), Some(1), false)]);
        assert_eq!(plan(3, None).shards(), 3);
        assert_eq!(plan(3, None).threads().len(), 3);
        assert!(!plan(3, None).shares_cores(3));
    }

    #[test]
    fn from_four_cores_replication_has_its_own() {
        let four = plan(4, None);
        assert_eq!(four.shards(), 3);
        assert_eq!(shape(&four)[3], (Some(3), None, true));
        assert_eq!(four.replication_thread(), 3);
        let eight = plan(8, Some(2));
        assert_eq!(shape(&eight), [(Some(0), Some(0), false), (Some(1), Some(1), false), (Some(7), None, true)]);
        assert_eq!(plan(64, None).shards(), 63);
    }

    #[test]
    fn more_shards_than_cores_share_them() {
        let cpus: Vec<_> = plan(2, Some(4)).threads().iter().map(|thread| thread.cpu).collect();
        assert_eq!(cpus, [Some(0), Some(1), Some(0), Some(1)]);
        assert!(plan(2, Some(4)).shares_cores(2));
        assert_eq!(plan(1, Some(3)).threads().len(), 3);
    }

    #[test]
    fn odd_inputs_still_give_a_plan() {
        assert_eq!(shape(&CorePlan::new(&[], None, 64, Pinning::Always)), [(None, Some(0), true)]);
        assert_eq!(shape(&CorePlan::new(&[5], Some(0), 64, Pinning::Always)), [(Some(5), Some(0), true)]);
        assert_eq!(CorePlan::new(&(0..128).collect::<Vec<_>>(), None, 64, Pinning::Always).shards(), 64);
        assert_eq!(CorePlan::new(&[3, 9], None, 64, Pinning::Never).threads()[1].cpu, None);
    }

    #[test]
    fn threads_are_bound_by_themselves_only_where_they_fill_the_machine() {
        let bound = |cores: usize, shards| {
            let usable: Vec<usize> = (0..cores).collect();
            CorePlan::new(&usable, shards, 64, Pinning::Auto).threads().iter().all(|thread| thread.cpu.is_some())
        };
        assert!(bound(1, None) && bound(2, None) && bound(8, None) && bound(2, Some(4)) && bound(8, Some(7)));
        assert!(!bound(2, Some(1)) && !bound(8, Some(6)) && !bound(0, None) && !bound(100, None));
    }

    proptest! {
        #[test]
        fn every_shard_and_one_replication_role_have_a_place(
            cores in 0usize..130, shards in proptest::option::of(0u16..300), log in 0u32..10
        ) {
            let usable: Vec<usize> = (0..cores).map(|core| core * 2).collect();
            let plan = CorePlan::new(&usable, shards, 1 << log, Pinning::Always);
            prop_assert_eq!(plan.threads().iter().filter(|thread| thread.replication).count(), 1);
            prop_assert!(plan.threads()[plan.replication_thread()].replication);
            for shard in 0..plan.shards() {
                prop_assert_eq!(plan.threads()[usize::from(shard)].shard, Some(shard));
            }
            prop_assert!(plan.threads().iter().all(|thread| thread.cpu.is_none_or(|cpu| usable.contains(&cpu))));
            prop_assert!(u32::from(plan.shards()) <= 1 << log);
        }
    }
}
