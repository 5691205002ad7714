//! The generator against real servers: what it measures, what it leaves behind, what it says when things go wrong.

#![allow(clippy::unwrap_used)]

mod accidents;
mod ensembles;
mod measuring;
mod planning;
mod support;
mod verbs;
