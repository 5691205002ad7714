//! Answers of a server that looks. A stranger is answered, who may be a voter by a configuration not known here, and so is
//! whoever is behind, in its round or its vote; and those with a role answer who looks. Where one of two servers is a
//! stranger to the other, each may find the other in need of an answer for as long as one of them looks: an answer would be
//! answered, as fast as the network carries, and the silence that decides a round would not come (Java's servers do that).
//! So what has just been said is not said again.

use super::ServerId;
use super::looking::QUIET_MS;
use crate::peer::links::STRANGERS_MAX;
use crate::peer::wire::notification::{PeerState, Vote};
use std::collections::BTreeMap;

/// Answers that are remembered; of more the smallest server's is forgotten.
const ANSWERS_MAX: usize = 4 * STRANGERS_MAX;

/// What a server says of its state, and whom it supports.
pub(super) type Word = (PeerState, Vote);

/// What was answered in the last [`QUIET_MS`]: the word, the answer, and when.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<ServerId, (Word, Vote, i64)>);

impl Answers {
    /// Whether `word` is to be answered so. The same word, answered in the same way, waits: a server that has not heard the
    /// answer repeats its word after a silence, and a connection that is made anew repeats the last answer.
    pub(super) fn is_due(&mut self, now_ms: i64, from: ServerId, word: Word, answer: Vote) -> bool {
        self.0.retain(|_, (_, _, at_ms)| now_ms.saturating_sub(*at_ms) < QUIET_MS);
        if self.0.get(&from).is_some_and(|last| (last.0, last.1) == (word, answer)) {
            return false;
        }
        self.0.insert(from, (word, answer, now_ms));
        if self.0.len() > ANSWERS_MAX {
            self.0.pop_first();
        }
        true
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
