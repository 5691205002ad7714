//! The bytes between servers, to and from types. Decoding never panics, never allocates by a length that it was sent,
//! and is as lenient as the Java classes are, where their leniency is part of the protocol.

pub mod bodies;
pub mod initial;
pub mod notification;
pub mod packet;
