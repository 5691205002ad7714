//! The stored owner of a znode, which also says what kind it is.
//!
//! ZooKeeper keeps one long per node (`EphemeralType`): 0 for a persistent node, a session id for an ephemeral,
//! 0x8000000000000000 for a container, 0xFF00000000000000 | ttl for a TTL node. Only sessions are shown on the wire.

use crate::ids::SessionId;

/// What a znode's stored owner field says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NodeOwner(pub i64);

/// The kinds of znode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// Lives until it is deleted.
    Persistent,
    /// Dies with its session, and has no children.
    Ephemeral(SessionId),
    /// Reaped when it has had children and has none left.
    Container,
    /// Reaped when childless and not written for this many milliseconds (1 to 2^40 - 1).
    Ttl(i64),
}

impl NodeOwner {
    /// A persistent node.
    pub const PERSISTENT: NodeOwner = NodeOwner(0);
    /// A container (`EphemeralType.CONTAINER_EPHEMERAL_OWNER`).
    pub const CONTAINER: NodeOwner = NodeOwner(i64::MIN);
    /// Mask of a TTL node (`EphemeralType.TTL`): extended bit pattern 0xFF, feature 0.
    const TTL_MASK: u64 = 0xFF00_0000_0000_0000;
    /// Longest time to live, in milliseconds: 2^40 - 1.
    pub const TTL_MAX_MS: i64 = (1 << 40) - 1;

    /// Owner of an ephemeral.
    pub const fn session(session: SessionId) -> NodeOwner {
        NodeOwner(session.0)
    }

    /// Owner value of a TTL node; `ttl_ms` must lie in 1..=[`Self::TTL_MAX_MS`].
    pub const fn ttl(ttl_ms: i64) -> NodeOwner {
        NodeOwner((Self::TTL_MASK | (ttl_ms as u64 & Self::TTL_MAX_MS as u64)) as i64)
    }

    /// What kind of node this owner makes. `extended_types` is `zookeeper.extendedTypesEnabled`: without it 0xFF… is
    /// an ordinary session id.
    pub const fn kind(self, extended_types: bool) -> NodeKind {
        let raw = self.0 as u64;
        if raw == 0 {
            NodeKind::Persistent
        } else if self.0 == Self::CONTAINER.0 {
            NodeKind::Container
        } else if extended_types && raw >> 40 == Self::TTL_MASK >> 40 {
            NodeKind::Ttl((raw & Self::TTL_MAX_MS as u64) as i64)
        } else {
            NodeKind::Ephemeral(SessionId(self.0))
        }
    }

    /// The `ephemeralOwner` that clients see: a session, or 0.
    pub const fn wire(self, extended_types: bool) -> i64 {
        match self.kind(extended_types) {
            NodeKind::Ephemeral(session) => session.0,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_stored_value() {
        assert_eq!(NodeOwner(0).kind(true), NodeKind::Persistent);
        assert_eq!(NodeOwner::CONTAINER.kind(false), NodeKind::Container);
        assert_eq!(NodeOwner::ttl(5000).kind(true), NodeKind::Ttl(5000));
        assert_eq!(NodeOwner::ttl(5000).wire(true), 0);
        let session = NodeOwner(0x0100_0000_0000_0001);
        assert_eq!(session.kind(true), NodeKind::Ephemeral(SessionId(session.0)));
        assert_eq!(session.wire(true), session.0);
    }

    #[test]
    fn without_extended_types_a_ttl_pattern_is_a_session() {
        let owner = NodeOwner::ttl(1);
        assert_eq!(owner.kind(false), NodeKind::Ephemeral(SessionId(owner.0)));
    }
}
