//! What the commands know.

use super::Command;
use crate::four_letter::{Effect, ServerSnapshot};
use engine::zxid::Zxid;
use replication::peer::ensemble::{Ensemble, ServerId};
use std::future::Future;
use std::sync::Arc;

/// Everything that an answer may be made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the four-letter words know as well, as far as [`Command::needs`] asks for it.
    pub snapshot: ServerSnapshot,
    /// The server as a member of an ensemble; `None` for a lone one.
    pub member: Option<MemberFacts>,
    /// Zxid of the last checkpoint, and when it was made, in seconds since the epoch; gathered for
    /// [`Command::LastSnapshot`] alone.
    pub last_checkpoint: Option<(Zxid, i64)>,
    /// The configuration file as it was read at start, without secrets; `None` for a server without one.
    pub initial_configuration: Option<Arc<str>>,
    /// Names and values of the settings that ZooKeeper would hold as system properties, without secrets.
    pub properties: Arc<[(String, String)]>,
}

/// A member and its ensemble.
#[derive(Clone, Debug)]
pub struct MemberFacts {
    /// `myid`.
    pub sid: ServerId,
    /// Who leads, as far as is known here.
    pub leader: Option<ServerId>,
    /// Whether this member leads, with a quorum.
    pub is_leader: bool,
    /// How far it is.
    pub phase: ZabPhase,
    /// The configuration in force.
    pub ensemble: Arc<Ensemble>,
    /// Numbers of the observers that this member serves.
    pub observers: Vec<u64>,
}

/// A phase of ZAB (`QuorumPeer.ZabState`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ZabPhase {
    Election,
    Discovery,
    Synchronization,
    Broadcast,
}

impl ZabPhase {
    /// As `zabstate` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            ZabPhase::Election => "election",
            ZabPhase::Discovery => "discovery",
            ZabPhase::Synchronization => "synchronization",
            ZabPhase::Broadcast => "broadcast",
        }
    }
}

/// Why there are no facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// The server is stopping.
    Stopping,
    /// A core is busy, or stuck.
    Late,
}

/// Whoever hosts the admin server.
pub trait Source: Send + Sync + 'static {
    /// Gathers what a command needs, within a bounded time.
    fn facts(&self, command: Command) -> impl Future<Output = Result<Facts, Unanswered>> + Send;

    /// Carries out what a command changes; complete when every core has been told.
    fn carry_out(&self, effect: Effect) -> impl Future<Output = ()> + Send;
}
