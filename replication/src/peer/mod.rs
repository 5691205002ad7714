//! What makes a server a member of an ensemble: ZAB 1.0 as ZooKeeper speaks it, in state machines without I/O.
//!
//! Whom an election has chosen becomes a [`leader`], the others become [`learner`]s of it. Both speak the packets of
//! [`wire`], hand each other the [`history`] that one of them lacks, and end their role with a reason. What a quorum is
//! says [`quorum_set`]. Machines take the bytes of a connection and a reading of the clock, and push actions; a host owns
//! sockets, disks and the log.

pub mod history;
pub mod leader;
pub mod learner;
pub mod quorum_set;
pub mod wire;

#[cfg(test)]
mod mistake;
#[cfg(test)]
mod zab_simulation;
