//! What makes a server a member of an ensemble: state machines without I/O.

pub mod history;
pub mod leader;
pub mod learner;
#[cfg(test)]
mod mistake;
pub mod quorum_set;
pub mod wire;

#[cfg(test)]
mod zab_simulation;
