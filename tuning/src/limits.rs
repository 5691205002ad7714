//! Every bound of a queue, buffer or pool, derived from a few inputs, on one page.
//!
//! | bound | from | memory |
//! |---|---|---|
//! | receive buffers per core | connections | [`RECEIVE_BUFFER_BYTES`] each, allocated at start |
//! | frame under assembly per connection | `jute.maxbuffer` | only while a frame is longer than a receive buffer |
//! | requests in process | `globalOutstandingLimit`, connections | a queue entry each; bodies count against large requests |
//! | mailbox between two cores | requests in process | [`MAILBOX_SLOT_BYTES`] a slot, two per pair of cores |
//! | events waiting for one connection | - | [`EVENT_BACKLOG_BYTES_MAX`], beyond which it is disconnected |
//! | one batch of the log | a frame | two buffers (one in flight, one filling) |

use crate::config::Config;

/// One buffer of a core's provided-buffer ring. Most requests fit into one with room for their successors.
pub const RECEIVE_BUFFER_BYTES: usize = 4096;
/// Buffers per core at least, so that a few busy connections do not starve each other.
pub const RECEIVE_BUFFERS_MIN: usize = 64;
/// Buffers per core at most (io_uring allows 32,768): 16 MiB.
pub const RECEIVE_BUFFERS_MAX: usize = 4096;
/// What one slot of a mailbox costs: a message is a few words and handles to shared bytes.
pub const MAILBOX_SLOT_BYTES: usize = 128;
/// Slots of a mailbox at least.
pub const MAILBOX_SLOTS_MIN: usize = 1024;
/// Slots of a mailbox at most.
pub const MAILBOX_SLOTS_MAX: usize = 65_536;
/// Unsent watch events of one connection. A reply under way does not count; beyond it the connection is closed.
pub const EVENT_BACKLOG_BYTES_MAX: usize = 16 << 20;
/// A connection whose unsent replies exceed this is read from no further until they drain.
pub const REPLY_BACKLOG_PAUSE_BYTES: usize = 1 << 20;
/// Bytes that a batch of the log gathers at most before the next begins, unless one transaction is longer.
pub const WAL_BATCH_BYTES_MIN: usize = 1 << 20;
/// What a transaction adds around the request that it came from (header, path repeated, padding to a block).
pub const WAL_RECORD_OVERHEAD_BYTES: usize = 8192;
/// Connections that are assumed where no limit is configured.
pub const CONNECTIONS_ASSUMED: usize = 20_000;

const _: () = assert!(RECEIVE_BUFFERS_MIN.is_power_of_two() && RECEIVE_BUFFERS_MAX.is_power_of_two());
const _: () = assert!(RECEIVE_BUFFERS_MAX <= 32_768, "io_uring holds at most 32,768 buffers in a ring");
const _: () = assert!(MAILBOX_SLOTS_MIN.is_power_of_two() && MAILBOX_SLOTS_MAX.is_power_of_two());
const _: () = assert!(RECEIVE_BUFFER_BYTES.is_multiple_of(4096), "buffers are laid out on pages");
const _: () = assert!(REPLY_BACKLOG_PAUSE_BYTES < EVENT_BACKLOG_BYTES_MAX, "pausing comes before closing");
const _: () = assert!(WAL_BATCH_BYTES_MIN.is_multiple_of(4096), "batches are written in blocks");

/// What the bounds are derived from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitInputs {
    /// Connections in all; 0 means no configured limit.
    pub connections_max: usize,
    /// `globalOutstandingLimit`.
    pub outstanding_max: usize,
    /// `jute.maxbuffer`, bytes.
    pub frame_bytes_max: usize,
    /// Cores that host shards.
    pub shard_cores: usize,
}

/// The bounds of one server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Buffers in the provided-buffer ring of each core; a power of two.
    pub receive_buffers_per_core: usize,
    /// Longest request frame, bytes without its length prefix.
    pub frame_bytes_max: usize,
    /// Requests in process on the whole server: each connection may always have one, the others share the limit.
    pub requests_in_process_max: usize,
    /// Slots of each mailbox between two cores; a power of two.
    pub mailbox_slots: usize,
    /// Unsent events of one connection, bytes.
    pub event_backlog_bytes_max: usize,
    /// Unsent replies of one connection from which on it is not read, bytes.
    pub reply_backlog_pause_bytes: usize,
    /// One batch of the log, bytes, a multiple of 4096; the longest transaction fits.
    pub wal_batch_bytes_max: usize,
    /// Entries of each core's submission queue; a power of two.
    pub ring_entries: u32,
}

impl Limits {
    /// The bounds for `inputs`.
    pub fn derive(inputs: LimitInputs) -> Limits {
        let connections = if inputs.connections_max == 0 { CONNECTIONS_ASSUMED } else { inputs.connections_max };
        let shard_cores = inputs.shard_cores.max(1);
        let per_core = connections.div_ceil(shard_cores);
        // A ring is refilled every turn, so a fraction of the connections can have bytes waiting at once.
        let receive_buffers = power_of_two_within(per_core / 4, RECEIVE_BUFFERS_MIN, RECEIVE_BUFFERS_MAX);
        let requests = inputs.outstanding_max.saturating_add(connections);
        let batch = inputs.frame_bytes_max.saturating_add(WAL_RECORD_OVERHEAD_BYTES).max(WAL_BATCH_BYTES_MIN);
        Limits {
            receive_buffers_per_core: receive_buffers,
            frame_bytes_max: inputs.frame_bytes_max,
            requests_in_process_max: requests,
            mailbox_slots: power_of_two_within(requests, MAILBOX_SLOTS_MIN, MAILBOX_SLOTS_MAX),
            event_backlog_bytes_max: EVENT_BACKLOG_BYTES_MAX,
            reply_backlog_pause_bytes: REPLY_BACKLOG_PAUSE_BYTES,
            wal_batch_bytes_max: batch.next_multiple_of(4096),
            ring_entries: 1024,
        }
    }

    /// The bounds that follow from a configuration, with `shard_cores` as the core plan has them.
    pub fn of(config: &Config, shard_cores: usize) -> Limits {
        Limits::derive(LimitInputs {
            connections_max: config.local.client.max_cnxns as usize,
            outstanding_max: config.local.throttle.global_outstanding_limit as usize,
            frame_bytes_max: config.local.frame.jute_max_buffer as usize,
            shard_cores,
        })
    }

    /// Memory that is allocated before the first client connects, bytes: receive buffers, mailboxes (both directions of
    /// every pair of `threads`), two batches of the log.
    pub fn resident_bytes(&self, shard_cores: usize, threads: usize) -> usize {
        let receive = self.receive_buffers_per_core * RECEIVE_BUFFER_BYTES * shard_cores;
        let mailboxes = threads * threads.saturating_sub(1) * self.mailbox_slots * MAILBOX_SLOT_BYTES;
        receive + mailboxes + 2 * self.wal_batch_bytes_max
    }
}

fn power_of_two_within(wanted: usize, least: usize, most: usize) -> usize {
    wanted.clamp(least, most).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_defaults_fit_on_a_small_machine() {
        let limits = Limits::derive(LimitInputs {
            connections_max: 0,
            outstanding_max: 1000,
            frame_bytes_max: 0xF_FFFF,
            shard_cores: 2,
        });
        assert_eq!(limits.receive_buffers_per_core, 4096);
        assert_eq!(limits.requests_in_process_max, 21_000);
        assert_eq!(limits.mailbox_slots, 32_768);
        assert!(limits.resident_bytes(2, 2) < 64 << 20);
    }

    proptest! {
        #[test]
        fn bounds_keep_their_relations(
            connections_max in 0usize..10_000_000, outstanding_max in 1usize..2_147_483_648,
            frame_bytes_max in 1024usize..2_147_483_648, shard_cores in 0usize..300,
        ) {
            let limits = Limits::derive(LimitInputs { connections_max, outstanding_max, frame_bytes_max, shard_cores });
            prop_assert!(limits.receive_buffers_per_core.is_power_of_two());
            prop_assert!((RECEIVE_BUFFERS_MIN..=RECEIVE_BUFFERS_MAX).contains(&limits.receive_buffers_per_core));
            prop_assert!(limits.mailbox_slots.is_power_of_two());
            prop_assert!((MAILBOX_SLOTS_MIN..=MAILBOX_SLOTS_MAX).contains(&limits.mailbox_slots));
            prop_assert!(limits.wal_batch_bytes_max > frame_bytes_max);
            prop_assert_eq!(limits.wal_batch_bytes_max % 4096, 0);
            prop_assert!(limits.requests_in_process_max > outstanding_max);
        }
    }
}
