//! The real program, killed, stopped, starved of disk, and started twice, its logs compacted and its disk decaying: nothing
//! acknowledged is ever lost.
//!
//! `RINGKEEPER_CRASH_ROUNDS` (15 unless set) says how often each campaign kills the server, `RINGKEEPER_CRASH_SEED`
//! replays the choices of a run.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod compaction;
mod disk;
mod kill;
mod model;
mod refusals;
mod scrub;
mod stop;
mod writer;
