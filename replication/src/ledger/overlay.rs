//! Outstanding changes: what the leader has proposed and nobody has committed yet.
//!
//! Per path the newest outstanding state stands over the committed one. When the transaction that made it commits and
//! nothing newer came, it goes. A multi that fails takes back what it had put here, sequence counters included.

use super::nodes::{BuildPathHasher, NodeState};
use engine::ids::SessionId;
use engine::path::PathHash;
use engine::piece::HashedPath;
use engine::zxid::Zxid;
use std::collections::{HashMap, VecDeque};

/// The changes, bounded by the number of outstanding proposals and their size.
#[derive(Debug, Default)]
pub struct Overlay {
    nodes: HashMap<PathHash, Pending, BuildPathHasher>,
    /// Ephemerals that outstanding transactions create, in zxid order.
    ephemerals: VecDeque<(Zxid, SessionId, HashedPath)>,
    undo: Option<Undo>,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    zxid: Zxid,
    /// `None`: deleted.
    node: Option<NodeState>,
}

#[derive(Debug)]
struct Undo {
    nodes: Vec<(PathHash, Option<Pending>)>,
    ephemerals: usize,
}

impl Overlay {
    /// What stands over the committed state: `None` nothing, `Some(None)` a deletion.
    pub fn get(&self, hash: PathHash) -> Option<Option<NodeState>> {
        if self.nodes.is_empty() {
            return None;
        }
        self.nodes.get(&hash).map(|pending| pending.node)
    }

    /// `zxid` leaves the node like this; `None` deletes it.
    pub fn set(&mut self, hash: PathHash, zxid: Zxid, node: Option<NodeState>) {
        let before = self.nodes.insert(hash, Pending { zxid, node });
        if let Some(undo) = &mut self.undo {
            undo.nodes.push((hash, before));
        }
    }

    /// `zxid` creates an ephemeral of this session.
    pub fn creates_ephemeral(&mut self, zxid: Zxid, session: SessionId, node: HashedPath) {
        self.ephemerals.push_back((zxid, session, node));
    }

    /// Ephemerals of the session that outstanding transactions created, whether or not a later one deletes them.
    pub fn created_ephemerals(&self, session: SessionId) -> impl Iterator<Item = &HashedPath> {
        self.ephemerals.iter().filter(move |(_, owner, _)| *owner == session).map(|(_, _, node)| node)
    }

    /// Remembers every change from here on, to be taken back or kept.
    pub fn begin(&mut self) {
        self.undo = Some(Undo { nodes: Vec::new(), ephemerals: self.ephemerals.len() });
    }

    /// Keeps the changes since [`Self::begin`].
    pub fn keep(&mut self) {
        self.undo = None;
    }

    /// Takes back the changes since [`Self::begin`].
    pub fn roll_back(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        for (hash, before) in undo.nodes.into_iter().rev() {
            match before {
                Some(pending) => self.nodes.insert(hash, pending),
                None => self.nodes.remove(&hash),
            };
        }
        self.ephemerals.truncate(undo.ephemerals);
    }

    /// `zxid` has committed and changed this node: nothing of it is outstanding any more.
    pub fn settle(&mut self, hash: PathHash, zxid: Zxid) {
        if !self.nodes.is_empty() && self.nodes.get(&hash).is_some_and(|pending| pending.zxid <= zxid) {
            self.nodes.remove(&hash);
        }
    }

    /// Everything up to `zxid` has committed.
    pub fn settle_ephemerals(&mut self, zxid: Zxid) {
        while self.ephemerals.front().is_some_and(|(created, ..)| *created <= zxid) {
            self.ephemerals.pop_front();
        }
    }

    /// Drops everything: leadership is lost.
    pub fn clear(&mut self) {
        *self = Overlay::default();
    }

    /// Paths with an outstanding change.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(version: i32) -> Option<NodeState> {
        Some(NodeState { version, ..NodeState::default() })
    }

    #[test]
    fn the_newest_change_stands_until_it_commits() {
        let mut overlay = Overlay::default();
        let hash = PathHash(1);
        overlay.set(hash, Zxid(1), state(1));
        overlay.set(hash, Zxid(2), state(2));
        overlay.settle(hash, Zxid(1));
        assert_eq!(overlay.get(hash), Some(state(2)));
        overlay.settle(hash, Zxid(2));
        assert_eq!(overlay.get(hash), None);
    }

    #[test]
    fn rolling_back_restores_what_stood_before() {
        let mut overlay = Overlay::default();
        overlay.set(PathHash(1), Zxid(1), state(1));
        overlay.begin();
        overlay.set(PathHash(1), Zxid(2), state(2));
        overlay.set(PathHash(1), Zxid(2), None);
        overlay.set(PathHash(2), Zxid(2), state(0));
        overlay.creates_ephemeral(Zxid(2), SessionId(7), HashedPath { path: "/e".into(), hash: PathHash(2) });
        overlay.roll_back();
        assert_eq!(overlay.get(PathHash(1)), Some(state(1)));
        assert_eq!(overlay.get(PathHash(2)), None);
        assert_eq!(overlay.created_ephemerals(SessionId(7)).count(), 0);
        assert_eq!(overlay.len(), 1);
    }
}
