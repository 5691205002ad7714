//! What servers say to each other: elections, synchronisation and broadcast, as Apache ZooKeeper 3.8 and 3.9 speak them.
//!
//! Every part is a state machine without I/O: it takes an input (and a reading of the monotonic clock, in milliseconds,
//! where time matters to it) and appends actions. The host owns sockets, timers and files, and does the actions in
//! their order.
//!
//! ```text
//!   election port                                   quorum port
//!   links (who connects to whom, frames)            packets
//!       |  notifications                                |
//!   election (votes, rounds)  -- the leader is L -->  leading or following
//!       \______________________ ensemble (members, quorums) ______/
//! ```
//!
//! [`election::port`] joins elections and links: it is what a host drives for the election port.
//!
//! Whom an election has chosen becomes a [`leader`], the others become [`learner`]s of it. Both speak the packets of
//! [`wire`], hand each other the [`history`] that one of them lacks, and end their role with a reason. [`snapshot`] is the
//! state as a stream, [`files`] are Apache ZooKeeper's own. [`crate::node`] puts everything together.

pub mod election;
pub mod ensemble;
pub mod files;
pub mod history;
pub mod leader;
pub mod learner;
pub mod links;
pub mod quorum_set;
pub mod snapshot;
pub mod wire;

#[cfg(test)]
pub(crate) mod mistake;
#[cfg(test)]
mod zab_simulation;
