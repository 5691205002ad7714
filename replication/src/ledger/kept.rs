//! The small lists: ephemerals by session, containers, TTL nodes. Nothing else knows paths, and nothing scans the tree.

use engine::ids::SessionId;
use engine::node_owner::{NodeKind, NodeOwner};
use engine::path::PathHash;
use engine::piece::HashedPath;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A container or TTL node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reapable {
    /// Full path.
    pub path: Arc<str>,
    /// Time of creation or of the last setData, milliseconds since the epoch.
    pub mtime_ms: i64,
    /// Milliseconds to live; `None` for a container.
    pub ttl_ms: Option<i64>,
}

/// Znodes that something other than a client's delete may end. Ordered by hash, so that equal histories give equal
/// bytes.
#[derive(Debug, Default)]
pub struct Kept {
    ephemerals: BTreeMap<(SessionId, PathHash), Arc<str>>,
    reapables: BTreeMap<PathHash, Reapable>,
}

impl Kept {
    /// A node came to be.
    pub fn created(&mut self, node: &HashedPath, owner: NodeOwner, extended_types: bool, mtime_ms: i64) {
        let ttl_ms = match owner.kind(extended_types) {
            NodeKind::Persistent => return,
            NodeKind::Ephemeral(session) => {
                self.ephemerals.insert((session, node.hash), node.path.clone());
                return;
            }
            NodeKind::Container => None,
            NodeKind::Ttl(ttl_ms) => Some(ttl_ms),
        };
        self.reapables.insert(node.hash, Reapable { path: node.path.clone(), mtime_ms, ttl_ms });
    }

    /// A node went.
    pub fn deleted(&mut self, hash: PathHash, owner: NodeOwner, extended_types: bool) {
        match owner.kind(extended_types) {
            NodeKind::Persistent => {}
            NodeKind::Ephemeral(session) => {
                self.ephemerals.remove(&(session, hash));
            }
            NodeKind::Container | NodeKind::Ttl(_) => {
                self.reapables.remove(&hash);
            }
        }
    }

    /// A node's data was set: the time to live starts again.
    pub fn written(&mut self, hash: PathHash, owner: NodeOwner, mtime_ms: i64) {
        if owner != NodeOwner::PERSISTENT
            && let Some(node) = self.reapables.get_mut(&hash)
        {
            node.mtime_ms = mtime_ms;
        }
    }

    /// Ephemerals of a session.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = HashedPath> {
        self.ephemerals
            .range((session, PathHash(0))..=(session, PathHash(u128::MAX)))
            .map(|((_, hash), path)| HashedPath { path: path.clone(), hash: *hash })
    }

    /// Sessions that own ephemerals, each with its number of them.
    pub fn owners(&self) -> impl Iterator<Item = (SessionId, usize)> {
        let mut sessions = self.ephemerals.keys().map(|(session, _)| *session).peekable();
        std::iter::from_fn(move || {
            let session = sessions.next()?;
            let mut count = 1;
            while sessions.next_if_eq(&session).is_some() {
                count += 1;
            }
            Some((session, count))
        })
    }

    /// How many ephemerals there are.
    pub fn ephemeral_count(&self) -> usize {
        self.ephemerals.len()
    }

    /// Containers and TTL nodes behind `after`, in the order of a sweep.
    pub fn reapables(&self, after: Option<PathHash>) -> impl Iterator<Item = (PathHash, &Reapable)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.reapables.range((start, Bound::Unbounded)).map(|(hash, node)| (*hash, node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(path: &str, hash: u128) -> HashedPath {
        HashedPath { path: path.into(), hash: PathHash(hash) }
    }

    #[test]
    fn ephemerals_are_found_by_session() {
        let mut kept = Kept::default();
        for (path, hash, session) in [("/a", 1, 5), ("/b", 2, 5), ("/c", 3, 6)] {
            kept.created(&node(path, hash), NodeOwner(session), true, 0);
        }
        kept.created(&node("/p", 9), NodeOwner::PERSISTENT, true, 0);
        assert_eq!(kept.ephemerals(SessionId(5)).map(|node| node.path).collect::<Vec<_>>(), ["/a".into(), "/b".into()]);
        assert_eq!(kept.owners().collect::<Vec<_>>(), [(SessionId(5), 2), (SessionId(6), 1)]);
        kept.deleted(PathHash(1), NodeOwner(5), true);
        assert_eq!(kept.ephemeral_count(), 2);
    }

    #[test]
    fn a_ttl_pattern_is_a_session_where_extended_types_are_off() {
        let mut kept = Kept::default();
        let owner = NodeOwner::ttl(10);
        kept.created(&node("/t", 1), owner, false, 4);
        assert_eq!(kept.ephemerals(SessionId(owner.0)).count(), 1);
        kept.created(&node("/t", 1), owner, true, 4);
        kept.written(PathHash(1), owner, 8);
        let reapable = Reapable { path: "/t".into(), mtime_ms: 8, ttl_ms: Some(10) };
        assert_eq!(kept.reapables(None).collect::<Vec<_>>(), [(PathHash(1), &reapable)]);
        assert_eq!(kept.reapables(Some(PathHash(1))).count(), 0);
    }
}
