//! What a wish takes in memory, descriptors and disk.
//!
//! | what | takes |
//! |---|---|
//! | a znode | [`ZNODE_ANONYMOUS_BYTES`] of anonymous memory (ledger, index, child link); its data and record in a file |
//! | a session and its connection | [`SESSION_BYTES`], assumed: buffers of the process and of the kernel while little is under way |
//! | a watch | [`WATCH_BYTES`], assumed |
//! | buffers and mailboxes | [`crate::Limits::resident_bytes`] |
//! | a partition's log | twice its live records before compaction begins, and the live ones once more while it runs |

use super::{Recommendation, Wishes};
use serde::Serialize;

/// Anonymous memory of a znode with a path of about 40 bytes: the project's goal and bound for 100-byte values.
pub const ZNODE_ANONYMOUS_BYTES: u64 = 200;
/// What a record has beside the znode's data: path, Stat, links, checksum.
pub const RECORD_OVERHEAD_BYTES: u64 = 160;
/// Memory of a session with its connection.
pub const SESSION_BYTES: u64 = 8 << 10;
/// Memory of a watch.
pub const WATCH_BYTES: u64 = 160;
/// Descriptors beside those of connections: segments, logs, rings.
pub const OTHER_FILES: u64 = 1024;
/// Program, stacks, allocator.
const BASE_BYTES: u64 = 64 << 20;

/// What the wishes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Demand {
    /// Memory that cannot be given back: tree, sessions, watches, buffers. Bytes.
    pub anonymous_bytes: u64,
    /// Records of all znodes, bytes: what the page cache should hold, so that reads need no disk.
    pub cached_bytes: u64,
    /// Disk space at its highest, bytes.
    pub disk_bytes: u64,
    /// Descriptors.
    pub open_files: u64,
}

impl Demand {
    /// Adds up what `wishes` take with a recommended configuration.
    pub fn of(wishes: &Wishes, recommendation: &Recommendation) -> Demand {
        let tree = wishes.znodes.saturating_mul(ZNODE_ANONYMOUS_BYTES);
        let sessions = wishes.sessions.saturating_mul(SESSION_BYTES);
        let watches = wishes.watches.saturating_mul(WATCH_BYTES);
        let records = wishes.znodes.saturating_mul(wishes.value_bytes.saturating_add(RECORD_OVERHEAD_BYTES));
        let anonymous = [tree, sessions, watches, recommendation.buffer_bytes, BASE_BYTES];
        Demand {
            anonymous_bytes: anonymous.into_iter().fold(0, u64::saturating_add),
            cached_bytes: records,
            disk_bytes: records.saturating_mul(3).saturating_add(recommendation.log_bytes),
            open_files: wishes.sessions.saturating_add(OTHER_FILES),
        }
    }
}
