//! Four-letter words: the commands that operators and probes send as the first four bytes of a connection.
//!
//! A connection that begins with a word waits for its answer ([`crate::connection::Connection::word`]). The host looks
//! the word up in its whitelist by name (`4lw.commands.whitelist`), gathers what the word [needs](Word::needs) into a
//! [`ServerSnapshot`] and sends what [`answer`] makes of it; to a word that is not allowed it sends [`refusal`].

mod answer;
pub(crate) mod connections;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod text;
mod watches;
mod word;

pub use answer::{Answer, Effect, NOT_SERVING, answer, refusal};
pub use snapshot::{
    ConfFacts, DirectorySizes, EnsembleConf, EnsembleGauges, EnvironmentFacts, LeaderGauges, QuotaFigures,
    ServerSnapshot, ServerState, SessionDeadline, SizeRange, WatchedPath, version_text,
};
pub use word::{Needs, Word};
