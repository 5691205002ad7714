//! What a role cannot go on with.

use engine::jute::DecodeError;
use engine::zxid::Zxid;

/// Why the server must stop: what the log, the leader or the host says contradicts what has been done already. The role
/// does nothing more.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RoleFault {
    /// A proposal that nobody here can read, so that it cannot be applied.
    #[error(
        "the leader's transaction {zxid} cannot be read ({source}): it is of a newer version, or damaged; run the \
         leader's version here"
    )]
    Undecodable {
        /// The proposal.
        zxid: Zxid,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// A proposal whose header names another place than the leader did.
    #[error("the leader sent transaction {inside} as {zxid}: its log or the connection is damaged")]
    Misnamed {
        /// Where it was to go.
        zxid: Zxid,
        /// What its header says.
        inside: Zxid,
    },
    /// Proposals are missing.
    #[error(
        "the leader's transaction {zxid} does not follow {last}, the end of the log here: transactions are missing in \
         between; start the server again, and it will be brought up to date"
    )]
    Gap {
        /// The proposal.
        zxid: Zxid,
        /// The end of the log.
        last: Zxid,
    },
    /// A commit of something that was never proposed here.
    #[error(
        "the leader committed {zxid}, and the log here ends with {last}: transactions are missing; start the server \
         again, and it will be brought up to date"
    )]
    CommitAhead {
        /// What was committed.
        zxid: Zxid,
        /// The end of the log.
        last: Zxid,
    },
    /// A truncation of what a quorum had decided.
    #[error(
        "the leader wants everything behind {to} dropped, but {decided} was committed already: the ensemble has lost \
         data, or this data directory belongs to another one; compare the members before going on"
    )]
    TruncatesCommitted {
        /// Where to cut.
        to: Zxid,
        /// What has been committed.
        decided: Zxid,
    },
    /// A snapshot older than what was committed.
    #[error(
        "the leader's snapshot ends with {zxid}, but {decided} was committed already: the ensemble has lost data, or \
         this data directory belongs to another one; compare the members before going on"
    )]
    SnapshotBehind {
        /// The snapshot.
        zxid: Zxid,
        /// What has been committed.
        decided: Zxid,
    },
    /// An epoch that the log has already.
    #[error(
        "epoch {epoch} is not beyond {last}, the end of the log: the files of the epochs are damaged or were replaced"
    )]
    EpochUsed {
        /// The epoch to lead.
        epoch: u32,
        /// The end of the log.
        last: Zxid,
    },
}
