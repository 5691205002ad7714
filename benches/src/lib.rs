//! Load drivers that speak public protocols only, so that they measure any server: Ringkeeper, Apache ZooKeeper, and
//! Redis as a yardstick for the bare cost of a request.
//!
//! A [`workload::Workload`] says what to do. [`driver::measure`] prepares the servers, carries it out on the reactor that
//! the server uses too, cleans up, and returns a [`driver::Outcome`]: rate, latencies, errors, and the CPU per operation of
//! both sides.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod driver;
pub mod floor;
pub mod plan;
pub mod process;
pub mod report;
pub mod say;
pub mod server;
pub mod stop;
pub mod verbs;
pub mod wire;
pub mod workload;
