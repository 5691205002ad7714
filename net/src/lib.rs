//! The client plane of Ringkeeper: protocol, connections, operator surface, command line, and the server that hosts
//! them.
//!
//! [`connection::Connection`] is pure: bytes and answers in, requests and bytes out. [`server`] does all I/O.
//! [`host_tools`] stands beside: the verbs that look at a host and advise.
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod connection;
pub mod ensemble;
pub mod four_letter;
pub mod frame;
pub mod host_tools;
pub mod metrics;
pub mod proto;
pub mod server;
