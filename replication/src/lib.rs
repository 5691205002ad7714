//! The total order of writes: ledger, write-ahead log, sessions and atomic broadcast, all without I/O.
//!
//! The crate promises three things and refuses the rest.
//!
//! * **Every write gets its place here, once.** [`role::Role`] validates a request against the [`ledger`], gives it the
//!   next zxid (failures take one too), and hands out the bytes to be logged. Whatever it says about the write to
//!   anybody comes after the log has it.
//! * **No clock, no file, no chance.** A step takes an input and a reading of the clocks ([`role::Now`]) and appends
//!   [`role::Action`]s. Equal inputs give equal actions, byte for byte, so that a simulator runs the code that ships.
//! * **Shards are told, never asked.** What a committed transaction means is resolved here into unconditional
//!   [`engine::piece::Piece`]s. The one exception, the usage of a subtree that gets a quota, is an action and an input
//!   of its own.
//!
//! The way in: [`request`] is what connections ask; [`role`] the state machine that a core hosts; [`ledger`] what it
//! knows of the tree; [`session`] who is alive.
#![forbid(unsafe_code)]

pub mod ledger;
pub mod peer;
pub mod request;
pub mod role;
pub mod session;
pub mod wal;
