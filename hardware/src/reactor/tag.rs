//! The 64 bits that travel with an operation: what it was, and for which slot.

/// What an operation was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The poll of the waker's eventfd.
    Wake = 1,
    /// Multishot accept of a listener.
    Accept = 2,
    /// Multishot receive of a socket.
    Receive = 3,
    /// A send of a socket.
    Send = 4,
    /// The cancellation of a socket's receive or send.
    CancelSocket = 5,
    /// The cancellation of a listener's accept.
    CancelAccept = 6,
    /// An operation on a file.
    File = 7,
    /// The cancellation of everything, at the end.
    CancelAll = 8,
}

/// Packs kind (upper 32 bits) and slot (lower 32 bits).
pub(super) fn pack(kind: Kind, slot: u32) -> u64 {
    (kind as u64) << 32 | u64::from(slot)
}

/// The reverse of [`pack`]; `None` for what was never packed.
pub(super) fn unpack(user_data: u64) -> Option<(Kind, u32)> {
    let kind = match user_data >> 32 {
        1 => Kind::Wake,
        2 => Kind::Accept,
        3 => Kind::Receive,
        4 => Kind::Send,
        5 => Kind::CancelSocket,
        6 => Kind::CancelAccept,
        7 => Kind::File,
        8 => Kind::CancelAll,
        _ => return None,
    };
    Some((kind, user_data as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        for kind in [
            Kind::Wake,
            Kind::Accept,
            Kind::Receive,
            Kind::Send,
            Kind::CancelSocket,
            Kind::CancelAccept,
            Kind::File,
            Kind::CancelAll,
        ] {
            for slot in [0, 1, u32::MAX] {
                assert_eq!(unpack(pack(kind, slot)), Some((kind, slot)));
            }
        }
        assert_eq!(unpack(0), None);
        assert_eq!(unpack(u64::MAX), None);
    }
}
