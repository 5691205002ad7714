//! Who hears of one change.

use crate::ids::{ConnId, CoreId};

/// The connections that hear of one change, by core. To be used again and again.
#[derive(Debug, Default)]
pub struct Audience {
    by_core: Vec<Vec<ConnId>>,
}

impl Audience {
    /// Per core that has any, its connections, each of them once.
    pub fn cores(&self) -> impl Iterator<Item = (CoreId, &[ConnId])> {
        let cores = self.by_core.iter().enumerate().filter(|(_, conns)| !conns.is_empty());
        cores.map(|(core, conns)| (CoreId(core as u16), conns.as_slice()))
    }

    /// Longest list that stays allocated for the next change, in connections.
    const KEEP: usize = 4096;

    pub(super) fn clear(&mut self) {
        for conns in &mut self.by_core {
            conns.clear();
            conns.shrink_to(Self::KEEP);
        }
    }

    pub(super) fn add(&mut self, core: CoreId, conn: ConnId) {
        let core = usize::from(core.0);
        if self.by_core.len() <= core {
            self.by_core.resize_with(core + 1, Vec::new);
        }
        self.by_core[core].push(conn);
    }
}
