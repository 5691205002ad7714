//! The client protocol's records: requests from bytes to what is asked, replies from results to bytes.
//!
//! One file per family of requests. A record that cannot be decoded is a [`engine::jute::DecodeError`] and answered
//! with MARSHALLINGERROR; where Apache ZooKeeper gives such a request a zxid all the same, decoding yields
//! [`replication::request::WriteOp::Refused`] instead.

pub mod auth;
pub mod handshake;
pub mod multi;
pub mod opcode;
pub mod read;
pub mod reply;
pub mod watch;
pub mod write;

pub use opcode::OpCode;
