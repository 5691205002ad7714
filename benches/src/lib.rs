//! Load drivers that speak public protocols only, so that they measure any server: Ringkeeper, Apache ZooKeeper, and
//! Redis as a yardstick for the bare cost of a request.
//!
//! A run is described by [`load::Plan`], carried out by [`load::run`] on the same reactor that the server uses, and
//! summed up in [`load::Report`]. [`compare`] starts servers in turn and reports medians and ratios; [`baseline`]
//! measures what the disk and the loopback cost by themselves, in the same run.
#![forbid(unsafe_code)]

pub mod baseline;
pub mod compare;
pub mod fanout;
pub mod load;
pub mod process;
pub mod server;
