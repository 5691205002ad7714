//! Who may speak for a session at the moment.

use engine::ids::{ConnId, CoreId};
use std::fmt;

/// A connection, on its core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Connection {
    /// The core.
    pub core: CoreId,
    /// The connection.
    pub conn: ConnId,
}

/// The connection of a learner to its leader, as the host numbers them; a number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LearnerId(pub u64);

impl fmt::Display for LearnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "learner connection {}", self.0)
    }
}

/// Whose requests count for a session (`SessionTracker.setOwner`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A client connection of this server.
    Local(Connection),
    /// A learner, to which the client is connected.
    Learner(LearnerId),
}

impl Owner {
    /// The connection, if it is one of this server.
    pub fn connection(self) -> Option<Connection> {
        match self {
            Owner::Local(connection) => Some(connection),
            Owner::Learner(_) => None,
        }
    }
}

/// What a leader makes of a request by its session (`SessionTrackerImpl.checkSession`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The session lives and the request comes from its owner, or there was none.
    Good,
    /// The session is none of the ensemble's: only the server knows it that the client is connected to.
    Local,
    /// There is no such session, or it is closing: SESSIONEXPIRED.
    Gone,
    /// Somebody else owns it: SESSIONMOVED.
    Moved,
}
