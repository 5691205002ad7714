//! Znode paths: syntax, parents, and the keyed hash that stands for a path everywhere below the protocol.

use crate::ids::{PartitionId, ShardId};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_secret};

/// Paths that exist on every server and cannot be deleted.
pub const RESERVED: [&str; 4] = ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];
/// The node that holds the ensemble's configuration.
pub const CONFIG_NODE: &str = "/zookeeper/config";
/// Root of the quota tree.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// Name of a quota's limits below `QUOTA_ROOT` + path.
pub const LIMITS_NAME: &str = "zookeeper_limits";
/// Name of a quota's usage below `QUOTA_ROOT` + path.
pub const STATS_NAME: &str = "zookeeper_stats";

/// Whether a path may name a znode to create or write (`PathUtils.validatePath`): absolute, no trailing slash, no empty,
/// `.` or `..` component, and none of the characters that ZooKeeper forbids. Java looks at UTF-16 code units, hence no
/// character outside the BMP passes.
pub fn is_valid(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    if rest.is_empty() {
        return true;
    }
    // Nearly all paths are like this, and told by looking at each byte once.
    let bytes = path.as_bytes();
    let is_printable = bytes.iter().fold(true, |all, byte| all & (0x20..0x7F).contains(byte));
    let may_be_odd = |pair: &[u8]| pair[0] == b'/' && (pair[1] == b'/' || pair[1] == b'.');
    if is_printable && bytes[bytes.len() - 1] != b'/' && !bytes.windows(2).any(may_be_odd) {
        return true;
    }
    rest.split('/').all(|component| !matches!(component, "" | "." | ".."))
        && (path.bytes().all(|byte| (0x20..0x7F).contains(&byte)) || path.chars().all(is_allowed))
}

fn is_allowed(c: char) -> bool {
    !matches!(c, '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}' | '\u{E000}'..='\u{F8FF}' | '\u{FFF0}'..='\u{FFFF}')
        && c <= '\u{FFFF}'
}

/// Parent of an absolute path; `None` for the root and for text without a slash. The parent of `/a` is `/`.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        at => Some(&path[..at]),
    }
}

/// What follows the last slash.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// The path and all its ancestors, nearest first, ending with `/`.
pub fn self_and_ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| parent(path))
}

/// Keyed 128-bit xxh3 of a full path. Collisions are as unlikely as a broken memory bit goes unnoticed, and an attacker
/// who does not know the key cannot make one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PathHash(pub u128);

impl PathHash {
    /// The partition that a path with this hash belongs to; `partitions` is a power of two up to 65,536. It takes the
    /// lowest bits, so that tables inside a partition can use the highest.
    pub const fn partition(self, partitions: u32) -> PartitionId {
        PartitionId((self.0 as u64 & (partitions as u64 - 1)) as u16)
    }
}

/// The secret of [`PathHash`], made with the data directory and kept in it.
#[derive(Clone, PartialEq, Eq)]
pub struct HashKey([u8; HashKey::BYTES]);

impl HashKey {
    /// Length of the secret: what xxh3 reads at the most.
    pub const BYTES: usize = 192;

    /// A key from random bytes.
    pub fn new(secret: [u8; HashKey::BYTES]) -> HashKey {
        HashKey(secret)
    }

    /// The bytes, to be stored.
    pub fn as_bytes(&self) -> &[u8; HashKey::BYTES] {
        &self.0
    }

    /// Hash of a path. The root is known as "/" and, to reads, as "" ([`canonical`]).
    pub fn hash(&self, path: &str) -> PathHash {
        PathHash(xxh3_128_with_secret(path.as_bytes(), &self.0))
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(..)")
    }
}

/// The path under which a read finds its node: ZooKeeper stores the root under both "" and "/".
pub fn canonical(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// The shard that owns a partition: rendezvous hashing, so that another number of shards moves as few partitions as can
/// be. `shards` is at least 1.
pub fn shard_of(partition: PartitionId, shards: u16) -> ShardId {
    let weight = |shard: u16| xxh3_64_with_seed(&partition.0.to_le_bytes(), 0x5348_4152_4400 + u64::from(shard));
    ShardId((0..shards.max(1)).max_by_key(|shard| weight(*shard)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syntax_follows_path_utils() {
        for good in ["/", "/a", "/a/b", "/...", "/a/...b", "/\u{FFEF}", "/a b", "/\u{E9}"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a\0",
            "/\u{1}",
            "/\u{1F}",
            "/\u{7F}",
            "/\u{9F}",
            "/\u{E000}",
            "/\u{F8FF}",
            "/\u{FFF0}",
            "/\u{FFFD}",
            "/\u{1F600}",
        ] {
            assert!(!is_valid(bad), "{bad:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/"), None);
        assert_eq!(parent("a"), None);
        assert_eq!(name("/a/b"), "b");
        assert_eq!(self_and_ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(self_and_ancestors("/").collect::<Vec<_>>(), ["/"]);
    }

    #[test]
    fn another_number_of_shards_moves_few_partitions() {
        let owners = |shards| (0..64).map(|p| shard_of(PartitionId(p), shards)).collect::<Vec<_>>();
        let (four, five) = (owners(4), owners(5));
        for (before, after) in four.iter().zip(&five) {
            assert!(before == after || *after == ShardId(4), "a partition only ever moves to the new shard");
        }
        for shard in 0..4 {
            let owned = four.iter().filter(|owner| owner.0 == shard).count();
            assert!((8..=24).contains(&owned), "shard {shard} owns {owned} of 64");
        }
    }

    #[test]
    fn the_hash_depends_on_the_key() {
        let key = |salt: usize| HashKey::new(std::array::from_fn(|at| (at * at * salt + at * 31) as u8));
        let (one, other) = (key(3), key(90));
        assert_ne!(one.hash("/a"), other.hash("/a"));
        assert_eq!(one.hash("/a"), one.hash("/a"));
        assert_eq!(PathHash(0x1_0000_0000_0000_0043).partition(64), PartitionId(3));
    }
}
