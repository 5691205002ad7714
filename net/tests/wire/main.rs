//! The wire as raw sockets see it: golden frames, limits, bad input, and the traps that reimplementations fall into.
//!
//! Each test names the behaviour; those that hold for Ringkeeper alone (where the reference is older, or does what must
//! not be copied) say so.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod admin;
mod caches;
mod flood;
mod frames;
mod golden;
mod multi;
mod nodes;
mod order;
mod quota;
mod sessions;
mod throttle;
mod watches;
mod words;
mod zxids;
