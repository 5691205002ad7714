//! Tests of a whole partition.
#![allow(clippy::unwrap_used)]

mod fill;
mod format;
mod host;
mod model;
mod scenarios;
