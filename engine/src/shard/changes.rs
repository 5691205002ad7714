//! The changes between the oldest view in use and now, for watches that are registered as of a view (design rule V3).
//!
//! The window is as long as the slowest core is behind this shard, and empty where nothing lags.

use crate::acl::AclId;
use crate::event::EventKind;
use crate::ids::{ConnId, CoreId};
use crate::path::{self, PathHash};
use crate::watch::{WatchMode, WatchModes};
use crate::zxid::Zxid;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// A change that watches hear of.
pub(super) struct Change {
    pub(super) zxid: Zxid,
    pub(super) order: u32,
    pub(super) kind: EventKind,
    /// Hash of the path of the event: for NodeChildrenChanged, the parent's.
    pub(super) hash: PathHash,
    /// The path of the piece: for NodeChildrenChanged, the child's.
    pub(super) piece_path: Arc<str>,
    pub(super) acl: AclId,
    pub(super) heard: Heard,
}

impl Change {
    /// The path of the event.
    pub(super) fn path(&self) -> &str {
        match self.kind {
            EventKind::NodeChildrenChanged => path::parent(&self.piece_path).unwrap_or("/"),
            _ => &self.piece_path,
        }
    }
}

/// Who has been told of a change.
#[derive(Default)]
pub(super) struct Heard {
    /// Those that were told as it was applied: the lists that went out.
    lists: SmallVec<[(CoreId, Arc<[ConnId]>); 1]>,
    /// The long ones of these once more, made when somebody asks: any number of late watchers may ask.
    index: HashSet<(CoreId, ConnId)>,
    /// Those that registered too late to hear of it then.
    late: HashSet<(CoreId, ConnId)>,
}

impl Heard {
    /// Lists up to this length are searched as they are.
    const SEARCHED: usize = 32;

    pub(super) fn add_list(&mut self, core: CoreId, conns: Arc<[ConnId]>) {
        self.lists.push((core, conns));
    }

    /// Notes that a connection is told now; `false` if it had been told.
    fn add_late(&mut self, core: CoreId, conn: ConnId) -> bool {
        let lists = &self.lists;
        if self.index.is_empty() {
            let long = lists.iter().filter(|(_, conns)| conns.len() > Self::SEARCHED);
            self.index = long.flat_map(|(core, conns)| conns.iter().map(|conn| (*core, *conn))).collect();
        }
        let mut short = lists.iter().filter(|(_, conns)| conns.len() <= Self::SEARCHED);
        !self.index.contains(&(core, conn))
            && !short.any(|(of, conns)| *of == core && conns.contains(&conn))
            && self.late.insert((core, conn))
    }
}

/// A change in the window, linked to the one before it at the same path.
struct Linked {
    change: Change,
    /// Number of the earlier change with the same hash; it may have left the window.
    earlier: Option<u64>,
}

/// The window.
#[derive(Default)]
pub(super) struct Changes {
    window: VecDeque<Linked>,
    /// Number of the first change in the window; numbers count up by 1.
    first: u64,
    latest: HashMap<PathHash, u64>,
}

impl Changes {
    pub(super) fn push(&mut self, change: Change) {
        let number = self.first + self.window.len() as u64;
        let earlier = self.latest.insert(change.hash, number);
        self.window.push_back(Linked { change, earlier });
    }

    /// Forgets what lies at or below `oldest`.
    pub(super) fn prune(&mut self, oldest: Zxid) {
        while let Some(front) = self.window.front().filter(|front| front.change.zxid <= oldest) {
            if self.latest.get(&front.change.hash) == Some(&self.first) {
                self.latest.remove(&front.change.hash);
            }
            self.window.pop_front();
            self.first += 1;
        }
        if self.window.is_empty() && self.window.capacity() > 1 << 16 {
            self.window = VecDeque::new();
            self.latest = HashMap::new();
        }
    }

    /// A connection watches `path` as of `view`: passes those later changes to `tell` that the watch would have heard
    /// of and the connection was not told of, oldest first. Returns whether a standard watch has thereby been used up.
    pub(super) fn catch_up(
        &mut self,
        (core, conn): (CoreId, ConnId),
        view: Zxid,
        (hash, path): (PathHash, &str),
        mode: WatchMode,
        tell: &mut dyn FnMut(&Change),
    ) -> bool {
        let behind = self.window.partition_point(|linked| linked.change.zxid <= view);
        let matching: SmallVec<[usize; 8]> = match mode {
            WatchMode::Recursive => {
                (behind..self.window.len()).filter(|at| is_under(&self.window[*at].change, path)).collect()
            }
            _ => self.at_path(hash, behind, mode),
        };
        for at in matching {
            let change = &mut self.window[at].change;
            if change.heard.add_late(core, conn) {
                tell(change);
            }
            if matches!(mode, WatchMode::Data | WatchMode::Child) {
                return true;
            }
        }
        false
    }

    /// Changes at one path that a mode hears of, from `behind` on, oldest first.
    fn at_path(&self, hash: PathHash, behind: usize, mode: WatchMode) -> SmallVec<[usize; 8]> {
        let mut found = SmallVec::new();
        let mut next = self.latest.get(&hash).copied();
        while let Some(at) = next.and_then(|number| number.checked_sub(self.first)).map(|at| at as usize) {
            if at < behind {
                break;
            }
            if WatchModes::hearing(self.window[at].change.kind).meets(mode.into()) {
                found.push(at);
            }
            next = self.window[at].earlier;
        }
        found.reverse();
        found
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_empty() && self.latest.is_empty()
    }

    /// Bytes, roughly.
    pub(super) fn memory_bytes(&self) -> usize {
        self.window.capacity() * size_of::<Linked>() + self.latest.capacity() * (size_of::<(PathHash, u64)>() + 1)
    }
}

/// Whether a recursive watch on `base` hears of a change.
fn is_under(change: &Change, base: &str) -> bool {
    change.kind != EventKind::NodeChildrenChanged
        && path::self_and_ancestors(&change.piece_path).any(|ancestor| ancestor == base)
}
