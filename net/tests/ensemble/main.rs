//! Ensembles of real processes on loopback: servers killed, paused, emptied and mixed with Apache ZooKeeper's, under load,
//! with a checker over what clients were told.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod basics;
mod cluster;
mod failures;
mod history;
mod joining;
mod local;
mod migration;
mod mixed;
mod network;
mod partitions;
mod read_only;
mod reconfig;
mod repair;
mod sizes;
mod strangers;
mod tree;
