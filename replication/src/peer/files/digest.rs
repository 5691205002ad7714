//! The digest of a tree (`DigestCalculator`, `AdHash`): the sum of the CRC-32 of its nodes.

use crate::peer::snapshot::record::StatPersisted;
use engine::jute::{Reader, Writer};
use engine::zxid::Zxid;

/// The version of the digest that is computed here.
pub const DIGEST_VERSION: i32 = 2;

/// Sum over all nodes but those below /zookeeper. Neither ACLs nor lists of children are in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TreeDigest(pub u64);

impl TreeDigest {
    /// Adds a node.
    pub fn add(&mut self, path: &str, data: Option<&[u8]>, stat: &StatPersisted) {
        if !path.starts_with("/zookeeper/") {
            self.0 = self.0.wrapping_add(node_digest(path, data, stat));
        }
    }
}

/// CRC-32 of path, data and Stat. The root's path is empty here.
fn node_digest(path: &str, data: Option<&[u8]>, stat: &StatPersisted) -> u64 {
    let mut fields = Vec::with_capacity(StatPersisted::WIRE_BYTES);
    let mut w = Writer::new(&mut fields);
    w.long(stat.czxid.to_wire());
    w.long(stat.mzxid.to_wire());
    w.long(stat.pzxid.to_wire());
    w.long(stat.ctime);
    w.long(stat.mtime);
    w.int(stat.version);
    w.int(stat.cversion);
    w.int(stat.aversion);
    w.long(stat.owner.0);
    let mut crc = crc32fast::Hasher::new();
    crc.update(if path == "/" { b"" } else { path.as_bytes() });
    crc.update(data.unwrap_or_default());
    crc.update(&fields);
    crc.finalize().into()
}

/// `TxnDigest`: what a leader says of the tree right after a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TxnDigest {
    /// Version of the calculation.
    pub version: i32,
    /// The digest.
    pub digest: u64,
}

impl TxnDigest {
    /// Reads what stands behind a transaction's record; `None` if that is too short to be a digest.
    pub fn decode(rest: &[u8]) -> Option<TxnDigest> {
        let mut r = Reader::new(rest);
        Some(TxnDigest { version: r.int().ok()?, digest: r.long().ok()? as u64 })
    }

    /// Whether it contradicts a tree: digests of another version say nothing.
    pub fn contradicts(&self, tree: TreeDigest) -> bool {
        self.version == DIGEST_VERSION && self.digest != tree.0
    }
}

/// `ZxidDigest`: what a snapshot file says of the tree when the dump had ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZxidDigest {
    /// The last transaction in it; 0 stands for no digest.
    pub zxid: Zxid,
    /// The digest.
    pub digest: TxnDigest,
}
