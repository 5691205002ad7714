//! The figures that one core keeps.

use super::summary::{Advanced, Basic};

/// Declares an enumeration of figures with the names that they are shown under.
macro_rules! figures {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $name { $($(#[$each])* $variant,)* }

        impl $name {
            /// All of them, in the order in which they are shown.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The name that dashboards know, without `zk_`.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }
        }
    };
}

figures! {
    /// Numbers that only grow, until `srst`.
    Counter {
        /// Bytes received from clients.
        BytesReceived => "bytes_received_count",
        /// Bytes of replies.
        ResponseBytes => "response_bytes",
        /// Bytes of watch events sent.
        WatchBytes => "watch_bytes",
        /// Handshakes.
        ConnectionRequests => "connection_request_count",
        /// Renewals among them.
        ConnectionRevalidations => "connection_revalidate_count",
        /// Renewals that the leader decided on behalf of a follower.
        Revalidations => "revalidate_count",
        /// Connections that ended without the client having closed its session.
        ConnectionDrops => "connection_drop_count",
        /// Connections refused by a limit.
        ConnectionsRejected => "connection_rejected",
        /// Connections closed because the server did not serve.
        ClosedWithoutServer => "cnxn_closed_without_zk_server_running",
        /// Connections without a session that were idle too long.
        SessionlessExpired => "sessionless_connections_expired",
        /// Sessions that expired.
        SessionsExpired => "stale_sessions_expired",
        /// Requests refused by the large-request limit.
        LargeRequestsRejected => "large_requests_rejected",
        /// Requests refused for having waited too long.
        ThrottledOps => "throttled_ops",
        /// Times that a connection was read from no further for its unanswered requests.
        RequestThrottleWaits => "request_throttle_wait_count",
        /// Requests whose connection was gone before they were served.
        StaleRequests => "stale_requests",
        /// Such requests that were not served at all.
        StaleRequestsDropped => "stale_requests_dropped",
        /// Replies whose connection was gone.
        StaleReplies => "stale_replies",
        /// Transactions proposed.
        Proposals => "proposal_count",
        /// Transactions committed.
        Commits => "commit_count",
        /// Times that this server looked for a leader.
        Looking => "looking_count",
        /// Learners brought up to date by DIFF.
        Diffs => "diff_count",
        /// Learners brought up to date by SNAP.
        Snaps => "snap_count",
        /// Proposals received as a learner.
        LearnerProposals => "learner_proposal_received_count",
        /// Commits received as a learner.
        LearnerCommits => "learner_commit_received_count",
        /// Requests that the role took in for ordering.
        RequestsQueued => "prep_processor_request_queued",
        /// Transactions handed to the log.
        LogRequestsQueued => "sync_processor_request_queued",
        /// Committed transactions handed to the shards.
        CommitsQueued => "request_commit_queued",
        /// Changes in the overlay of outstanding ones.
        OutstandingChangesQueued => "outstanding_changes_queued",
        /// Changes taken out of it.
        OutstandingChangesRemoved => "outstanding_changes_removed",
        /// Errors that the server cannot live with.
        UnrecoverableErrors => "unrecoverable_error_count",
        /// Digests that differ from the leader's.
        DigestMismatches => "digest_mismatches_count",
        /// TLS handshakes refused by a limit.
        TlsHandshakesExceeded => "tls_handshake_exceeded",
        /// Handshakes with other servers that failed.
        UnsuccessfulHandshakes => "unsuccessful_handshake",
        /// Authentication between servers that succeeded.
        EnsembleAuthSuccess => "ensemble_auth_success",
        /// Authentication between servers that failed.
        EnsembleAuthFail => "ensemble_auth_fail",
        /// Authentication between servers that was not asked for.
        EnsembleAuthSkip => "ensemble_auth_skip",
        /// Times that all files were read again in search of damage; this one and the next two are Ringkeeper's own.
        ScrubPasses => "scrub_passes",
        /// Bytes read so.
        ScrubBytes => "scrub_bytes",
        /// Files found damaged so, once per pass.
        ScrubDamage => "scrub_damage",
    }
}

figures! {
    /// Summaries without quantiles; times are milliseconds.
    BasicSummary {
        /// Flushes of the log.
        FsyncTime => "fsynctime",
        /// Writing a checkpoint.
        SnapshotTime => "snapshottime",
        /// Reading the database at start.
        DbInitTime => "dbinittime",
        /// Checkpoint part of it.
        StartupSnapLoadTime => "startup_snap_load_time",
        /// Log part of it.
        StartupTxnsLoadTime => "startup_txns_load_time",
        /// Transactions read from the log at start.
        StartupTxnsLoaded => "startup_txns_loaded",
        /// Transactions per flush.
        LogBatchSize => "sync_processor_batch_size",
        /// Transactions waiting for the log.
        LogQueueSize => "sync_processor_queue_size",
        /// Requests waiting for validation.
        PrepQueueSize => "prep_processor_queue_size",
        /// Validation of a request.
        PrepTime => "prep_process_time",
        /// Applying a committed batch.
        CommitTime => "commit_process_time",
        /// Watches fired per node created.
        NodeCreatedWatches => "node_created_watch_count",
        /// Watches fired per node deleted.
        NodeDeletedWatches => "node_deleted_watch_count",
        /// Watches fired per node changed.
        NodeChangedWatches => "node_changed_watch_count",
        /// Watches fired per change among children.
        NodeChildrenWatches => "node_children_watch_count",
        /// Requests of one session in process when another came.
        RequestsInSessionQueue => "requests_in_session_queue",
        /// Leader elections.
        ElectionTime => "election_time",
        /// Time without a quorum.
        UnavailableTime => "unavailable_time",
        /// Time without a leader.
        LeaderUnavailableTime => "leader_unavailable_time",
        /// Tokens missing in the connection throttle.
        ConnectionTokenDeficit => "connection_token_deficit",
        /// Restoring from a snapshot by command.
        RestoreTime => "restore_time",
    }
}

figures! {
    /// Summaries with quantiles; times are milliseconds.
    AdvancedSummary {
        /// From a read's arrival to its reply.
        ReadLatency => "readlatency",
        /// From a write's arrival to its reply.
        UpdateLatency => "updatelatency",
        /// From a proposal to its quorum.
        ProposalLatency => "proposal_latency",
        /// From a proposal's creation to the quorum's acknowledgements.
        QuorumAckLatency => "quorum_ack_latency",
        /// From a proposal's creation to its receipt by a learner.
        PropagationLatency => "propagation_latency",
        /// From a commit's creation to its receipt by a learner.
        CommitPropagationLatency => "commit_propagation_latency",
        /// From a write's arrival at this server to its commit.
        LocalWriteCommitted => "local_write_committed_time_ms",
        /// From a write's arrival at any server to its commit.
        ServerWriteCommitted => "server_write_committed_time_ms",
        /// Waiting for the log.
        LogQueueTime => "sync_processor_queue_time_ms",
        /// Waiting for the flush.
        LogFlushTime => "sync_processor_queue_flush_time_ms",
        /// Both.
        LogQueueAndFlushTime => "sync_processor_queue_and_flush_time_ms",
        /// Waiting for validation.
        PrepQueueTime => "prep_processor_queue_time_ms",
        /// Collecting a closing session's ephemerals.
        CloseSessionPrepTime => "close_session_prep_time",
        /// Waiting in the request throttle.
        ThrottleQueueTime => "request_throttle_queue_time_ms",
    }
}

/// One core's figures. Plain numbers: the core alone writes them.
#[derive(Clone, Debug)]
pub struct CoreMetrics {
    /// Packets received from clients.
    pub packets_received: u64,
    /// Packets sent to clients, events included.
    pub packets_sent: u64,
    /// Milliseconds from a request's arrival to its reply, over all operations (`ServerStats`).
    pub latency: Basic,
    /// Authentication attempts that failed.
    pub auth_failed: u64,
    /// Flushes of the log that took longer than `fsync.warningthresholdms`.
    pub slow_flushes: u64,
    /// Length of the last reply in bytes; -1 before the first.
    pub response_bytes_last: i64,
    /// Length of the shortest reply in bytes; -1 before the first.
    pub response_bytes_min: i64,
    /// Length of the longest reply in bytes; -1 before the first.
    pub response_bytes_max: i64,
    counters: [u64; Counter::ALL.len()],
    basic: [Basic; BasicSummary::ALL.len()],
    advanced: [Advanced; AdvancedSummary::ALL.len()],
}

impl Default for CoreMetrics {
    fn default() -> Self {
        CoreMetrics::new()
    }
}

impl CoreMetrics {
    /// Figures of a core that has done nothing yet.
    pub fn new() -> CoreMetrics {
        CoreMetrics {
            packets_received: 0,
            packets_sent: 0,
            latency: Basic::default(),
            auth_failed: 0,
            slow_flushes: 0,
            response_bytes_last: -1,
            response_bytes_min: -1,
            response_bytes_max: -1,
            counters: [0; Counter::ALL.len()],
            basic: [Basic::default(); BasicSummary::ALL.len()],
            advanced: [const { Advanced::new() }; AdvancedSummary::ALL.len()],
        }
    }

    /// Adds to a counter.
    pub fn count(&mut self, counter: Counter, by: u64) {
        self.counters[counter as usize] += by;
    }

    /// Takes a value into a summary.
    pub fn add(&mut self, summary: BasicSummary, value: u64) {
        self.basic[summary as usize].add(value);
    }

    /// Takes a value into a summary with quantiles.
    pub fn add_advanced(&mut self, summary: AdvancedSummary, value: u64) {
        self.advanced[summary as usize].add(value);
    }

    /// Takes in a reply's length in bytes, frame length included.
    pub fn add_response(&mut self, bytes: usize) {
        let bytes = bytes as i64;
        self.response_bytes_last = bytes;
        self.response_bytes_max = self.response_bytes_max.max(bytes);
        if self.response_bytes_min < 0 || bytes < self.response_bytes_min {
            self.response_bytes_min = bytes;
        }
        self.count(Counter::ResponseBytes, bytes as u64);
    }

    /// A counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// A summary.
    pub fn basic(&self, summary: BasicSummary) -> &Basic {
        &self.basic[summary as usize]
    }

    /// A summary with quantiles.
    pub fn advanced(&self, summary: AdvancedSummary) -> &Advanced {
        &self.advanced[summary as usize]
    }

    /// Takes in another core's figures. The last reply's length becomes the other's, if it sent one.
    pub fn merge(&mut self, other: &CoreMetrics) {
        self.packets_received += other.packets_received;
        self.packets_sent += other.packets_sent;
        self.latency.merge(&other.latency);
        self.auth_failed += other.auth_failed;
        self.slow_flushes += other.slow_flushes;
        if other.response_bytes_last >= 0 {
            self.response_bytes_last = other.response_bytes_last;
            self.response_bytes_max = self.response_bytes_max.max(other.response_bytes_max);
            self.response_bytes_min = match self.response_bytes_min {
                -1 => other.response_bytes_min,
                own => own.min(other.response_bytes_min),
            };
        }
        self.counters.iter_mut().zip(other.counters).for_each(|(own, other)| *own += other);
        self.basic.iter_mut().zip(&other.basic).for_each(|(own, other)| own.merge(other));
        self.advanced.iter_mut().zip(&other.advanced).for_each(|(own, other)| own.merge(other));
    }

    /// Back to nothing (`srst`).
    pub fn reset(&mut self) {
        *self = CoreMetrics::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_name_appears_twice() {
        let names: Vec<&str> = Counter::ALL
            .iter()
            .map(|counter| counter.name())
            .chain(BasicSummary::ALL.iter().map(|summary| summary.name()))
            .chain(AdvancedSummary::ALL.iter().map(|summary| summary.name()))
            .collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn cores_add_up() {
        let (mut a, mut b) = (CoreMetrics::new(), CoreMetrics::new());
        a.count(Counter::Proposals, 2);
        b.count(Counter::Proposals, 3);
        b.add_response(100);
        b.add_response(20);
        b.add_advanced(AdvancedSummary::ReadLatency, 7);
        b.latency.add(7);
        a.merge(&b);
        assert_eq!(a.counter(Counter::Proposals), 5);
        assert_eq!((a.response_bytes_last, a.response_bytes_min, a.response_bytes_max), (20, 20, 100));
        assert_eq!(a.counter(Counter::ResponseBytes), 120);
        assert_eq!(a.advanced(AdvancedSummary::ReadLatency).quantile(0.5), 7);
        a.reset();
        assert_eq!(a.counter(Counter::Proposals), 0);
        assert_eq!(a.latency, Basic::default());
    }
}
