//! The bytes between servers.

pub mod bodies;
pub mod packet;
