//! Flags of a create (`CreateMode`): an enumeration, not a mask.

/// The node goes with its session.
const EPHEMERAL: i32 = 1;
/// The node goes with its session and has a sequence number.
const SEQUENTIAL_EPHEMERAL: i32 = 3;
/// The node has a time to live.
const TTL: i32 = 5;
/// The node has a time to live and a sequence number.
const SEQUENTIAL_TTL: i32 = 6;

/// Whether it is one of the seven modes.
pub const fn is_valid(flags: i32) -> bool {
    flags >= 0 && flags <= SEQUENTIAL_TTL
}

/// Whether the node goes with its session.
pub const fn is_ephemeral(flags: i32) -> bool {
    flags == EPHEMERAL || flags == SEQUENTIAL_EPHEMERAL
}

/// Whether the node has a time to live.
pub const fn has_ttl(flags: i32) -> bool {
    flags == TTL || flags == SEQUENTIAL_TTL
}
