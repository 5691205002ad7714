//! Small identities that travel between cores: sessions, connections, cores, and the origin of a request.

use std::fmt;

/// A client session, as ZooKeeper numbers them (top byte: the server that made it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub i64);

impl SessionId {
    /// "No session": the id in a handshake that asks for a new one, and of internal requests.
    pub const NONE: SessionId = SessionId(0);
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A core's loop in this process, from 0. Connections and shards belong to one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct CoreId(pub u16);

/// A client connection on its core: a slot and the generation of its use, so that a late message about a closed
/// connection never reaches the one that took its slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ConnId {
    /// Slot in the core's connection table.
    pub slot: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

/// Where the answer to a request goes: the connection, and the request's place in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Origin {
    /// Core that owns the connection.
    pub core: CoreId,
    /// The connection.
    pub conn: ConnId,
    /// Number of the request on that connection, counted by the connection itself (never the client's xid, which may
    /// repeat).
    pub seq: u64,
}

/// Index of a shard of this server, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ShardId(pub u16);

/// Index of a partition of the namespace, from 0; fixed for a data directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PartitionId(pub u16);
