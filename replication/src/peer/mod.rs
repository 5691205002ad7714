//! Servers among themselves: ZooKeeper's protocols between peers, and the formats in which they hand over state.

pub mod files;
pub mod snapshot;
