//! The admin server: what ZooKeeper's `AdminServer` answers over HTTP, below `/commands`.
//!
//! | file | idea |
//! |---|---|
//! | `command` | the table: names, methods, what each needs |
//! | `commands` | from facts to a response; pure |
//! | `access` | who may ask for a command that is guarded |
//! | `response`, `json` | a response, and its text as Java's JSON library lays it out |
//! | `http` | methods, paths and bounds of HTTP |
//! | `idle` | a connection that ends when it is silent for too long |
//!
//! The facts are those of the four-letter words ([`crate::four_letter::ServerSnapshot`]), and a few more ([`Facts`]);
//! whoever hosts the server gathers them ([`Source`]).

mod access;
mod command;
mod commands;
mod facts;
pub mod http;
mod idle;
mod json;
mod response;

pub use command::{Command, Method};
pub use facts::{Facts, MemberFacts, Source, Unanswered, ZabPhase};
pub use response::Response;
