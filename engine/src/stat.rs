//! `Stat`: the 68 bytes that describe a znode on the wire.

use crate::jute::Writer;

/// The record `Stat` of `zookeeper.jute`, in field order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// zxid that created the node.
    pub czxid: i64,
    /// zxid of the last setData.
    pub mzxid: i64,
    /// Creation, milliseconds since the epoch by the leader's clock.
    pub ctime: i64,
    /// Last setData, likewise.
    pub mtime: i64,
    /// setData count, wrapping.
    pub version: i32,
    /// Creations plus deletions of direct children, wrapping (see [`wire_cversion`]).
    pub cversion: i32,
    /// setACL count, wrapping.
    pub aversion: i32,
    /// Owning session of an ephemeral, else 0 (containers and TTL nodes too).
    pub ephemeral_owner: i64,
    /// Bytes of data; 0 for null.
    pub data_length: i32,
    /// Direct children.
    pub num_children: i32,
    /// zxid of the last creation or deletion of a direct child.
    pub pzxid: i64,
}

impl Stat {
    /// Length on the wire.
    pub const WIRE_BYTES: usize = 68;

    /// Appends the record.
    pub fn encode(&self, out: &mut Writer<'_>) {
        out.long(self.czxid);
        out.long(self.mzxid);
        out.long(self.ctime);
        out.long(self.mtime);
        out.int(self.version);
        out.int(self.cversion);
        out.int(self.aversion);
        out.long(self.ephemeral_owner);
        out.int(self.data_length);
        out.int(self.num_children);
        out.long(self.pzxid);
    }
}

/// The cversion that clients see, from the stored one, which counts creations only (`DataNode.copyStat`).
pub const fn wire_cversion(stored: i32, num_children: i32) -> i32 {
    stored.wrapping_mul(2).wrapping_sub(num_children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_68_bytes_on_the_wire() {
        let mut bytes = Vec::new();
        Stat::default().encode(&mut Writer::new(&mut bytes));
        assert_eq!(bytes.len(), Stat::WIRE_BYTES);
    }

    #[test]
    fn wire_cversion_of_a_fresh_root_is_minus_one() {
        assert_eq!(wire_cversion(0, 1), -1);
        assert_eq!(wire_cversion(i32::MAX, 3), i32::MAX.wrapping_mul(2).wrapping_sub(3));
    }
}
