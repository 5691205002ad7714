//! Ringkeeper's data model: what a znode is, how it is encoded, stored, read and watched.
//!
//! The crate promises three things and refuses the rest.
//!
//! * **No I/O and no clock.** A [`shard::Shard`] takes an event and yields actions; files are touched by whoever hosts
//!   it. The simulator therefore runs the code that ships.
//! * **Nothing here decides.** Validation, order and durability belong to `replication`; a shard applies the
//!   unconditional [`piece::Piece`]s of transactions that are committed and durable, and answers reads as of a view.
//! * **No length from outside sizes an allocation** ([`jute`]).
//!
//! The way in: [`zxid`], [`path`], [`stat`], [`acl`] are the vocabulary; [`jute`] and [`txn`] the encodings shared with
//! Apache ZooKeeper; [`piece`] what a transaction means for one shard.
#![forbid(unsafe_code)]

pub mod acl;
pub mod error_code;
pub mod event;
pub mod ids;
pub mod jute;
pub mod node_owner;
pub mod partition;
pub mod path;
pub mod piece;
pub mod read;
pub mod shard;
pub mod stat;
pub mod table;
pub mod txn;
pub mod watch;
pub mod zxid;
