//! `ringkeeper import` and `ringkeeper export`: data directories of Apache ZooKeeper, there and back.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod damage;
mod there_and_back;
mod tree;
mod verbs;
