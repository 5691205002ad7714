//! Watch events, and the frame that carries one.

use crate::jute::Writer;
use bytes::Bytes;

/// Types of event that a server sends (`Watcher.Event.EventType`); the removal types are made by clients.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum EventKind {
    /// The node was created.
    NodeCreated = 1,
    /// The node was deleted.
    NodeDeleted = 2,
    /// The node's data was set.
    NodeDataChanged = 3,
    /// A direct child was created or deleted.
    NodeChildrenChanged = 4,
}

/// `KeeperState.SyncConnected`: the only state that a server ever sends.
const STATE_SYNC_CONNECTED: i32 = 3;
/// xid of a notification.
const NOTIFICATION_XID: i32 = -1;

/// The header zxid of events that setWatches makes up.
pub const SYNTHETIC_EVENT_ZXID: i64 = -1;

/// A whole notification frame, length included: `ReplyHeader(-1, zxid, 0)` and `WatcherEvent(type, 3, path)`.
pub fn event_frame(zxid: i64, kind: EventKind, path: &str) -> Bytes {
    let body = 16 + 4 + 4 + 4 + path.len();
    let mut bytes = Vec::with_capacity(4 + body);
    let mut out = Writer::new(&mut bytes);
    out.int(body as i32);
    out.int(NOTIFICATION_XID);
    out.long(zxid);
    out.int(0);
    out.int(kind as i32);
    out.int(STATE_SYNC_CONNECTED);
    out.string(path);
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Captured from Apache ZooKeeper 3.9.4.
    #[test]
    fn frame_matches_the_reference_server() {
        let frame = event_frame(4, EventKind::NodeDataChanged, "/g");
        let expected: Vec<u8> = [
            &0x1e_u32.to_be_bytes()[..],
            &(-1_i32).to_be_bytes(),
            &4_i64.to_be_bytes(),
            &0_i32.to_be_bytes(),
            &3_i32.to_be_bytes(),
            &3_i32.to_be_bytes(),
            &2_i32.to_be_bytes(),
            b"/g",
        ]
        .concat();
        assert_eq!(&frame[..], &expected[..]);
    }
}
