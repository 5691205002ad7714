//! Which vote is better, and which votes are the same.

use crate::peer::ensemble::{Ensemble, ServerId};
use crate::peer::wire::notification::{PeerState, Vote};

/// Epoch, zxid and number of a vote, in the order of their weight. The epoch is that of the file `currentEpoch`, not of
/// the zxid: a server may have promised more than it has logged.
type Rank = (i64, i64, ServerId);

fn rank(vote: &Vote) -> Rank {
    (vote.peer_epoch, vote.zxid, vote.leader)
}

/// Whether `new` is to be preferred (`totalOrderPredicate`). A server without weight is never elected.
///
/// A vote for nobody is the least. It is that of a server that the committed configuration does not let vote; the one under
/// way may, and needs its vote, and its log may be the longest (Java's weighs that, and waits for ever). What is
/// committed cannot get lost thereby: what such a server has acknowledged took a quorum of those that can be elected as well.
pub fn beats(committed: &Ensemble, new: &Vote, present: &Vote) -> bool {
    committed.weight(new.leader) != 0 && (present.leader == ServerId::NOBODY || rank(new) > rank(present))
}

/// A vote as it is kept and compared (`Vote`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ballot {
    pub vote: Vote,
    /// State of the voter.
    pub state: PeerState,
    /// Version of the form that it came in; 0 where that is not kept.
    pub version: i32,
}

impl Ballot {
    /// A vote of somebody who looks.
    pub fn looking(vote: Vote) -> Ballot {
        Ballot { vote, state: PeerState::Looking, version: 0 }
    }

    /// Whether two ballots support the same election (`Vote.equals`). Among servers that have a leader already, zxid and
    /// round are what they were when each of them joined, and say nothing (ZOOKEEPER-1805).
    pub fn agrees(&self, other: &Ballot) -> bool {
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            return self.vote == other.vote;
        }
        let same_leader = self.vote.leader == other.vote.leader;
        if (self.version > 0) != (other.version > 0) {
            same_leader
        } else {
            same_leader && self.vote.peer_epoch == other.vote.peer_epoch
        }
    }
}
