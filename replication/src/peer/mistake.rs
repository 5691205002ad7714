//! Mistakes to make on purpose, for tests of the checker that is to notice them.

/// One departure from the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// A learner acknowledges before its log is flushed.
    AckBeforeFlush,
    /// The leader commits what only its own log has.
    CommitWithoutQuorum,
    /// A learner promises an epoch without writing it down.
    ForgetAcceptedEpoch,
    /// A learner passes over TRUNC.
    SkipTrunc,
    /// A leader's snapshot becomes the state, and the log is begun anew, before what came behind it is on disk.
    SnapshotFirst,
    /// The leader gives a zxid out twice.
    ReuseZxid,
    /// The leader goes on counting what a learner acknowledged on a former connection, as Java's does. Our learners
    /// guard themselves against it.
    KeepFormerAcks,
    /// The leader takes new members into force with a quorum of the old ones alone.
    OldQuorumSuffices,
    /// A member whose disk has lost something takes part as if it had not.
    LossesForgotten,
    /// A member takes what clients have asked that it has let go meanwhile.
    ErasForgotten,
    /// A server takes clients that have been shown more than it has itself, and lets them read. Hosts guard against it.
    ReadsGoBack,
    /// A server answers a write ahead of the watch events that come before it. Hosts guard against it.
    EventsTrail,
}
