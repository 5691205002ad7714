//! Quotas: limits and usage of subtrees, kept in znodes below /zookeeper/quota.

use super::SubtreeUsage;
use super::nodes::BuildPathHasher;
use engine::path::{LIMITS_NAME, PathHash, QUOTA_ROOT, STATS_NAME, self_and_ancestors};
use engine::piece::HashedPath;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

/// The text of a limits or stats node (`StatsTrack`): named numbers, -1 where absent. What does not parse counts as
/// absent; ZooKeeper would stop serving over it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatsTrack {
    /// Znodes: a soft limit, or the usage.
    pub count: i64,
    /// Bytes of data: a soft limit, or the usage.
    pub bytes: i64,
    /// Everything else, `countHardLimit` and `byteHardLimit` among it.
    others: BTreeMap<Box<str>, i64>,
}

impl Default for StatsTrack {
    fn default() -> Self {
        StatsTrack { count: -1, bytes: -1, others: BTreeMap::new() }
    }
}

impl StatsTrack {
    /// Reads the text of a node; null data reads like an empty text.
    pub fn parse(data: Option<&[u8]>) -> StatsTrack {
        let mut track = StatsTrack::default();
        let text = String::from_utf8_lossy(data.unwrap_or_default());
        for pair in text.split([',', ';']) {
            let Some((key, value)) = pair.split_once('=') else { continue };
            let value = value.split('=').next().unwrap_or_default().parse().unwrap_or(-1);
            match key {
                "count" => track.count = value,
                "bytes" => track.bytes = value,
                _ => {
                    track.others.insert(key.into(), value);
                }
            }
        }
        track
    }

    /// The text: count and bytes first, then a stray `=` that keeps parsers older than 3.7 happy, then the rest sorted.
    pub fn text(&self) -> String {
        let mut text = format!("count={},bytes={}", self.count, self.bytes);
        if !self.others.is_empty() {
            text.push('=');
        }
        for (key, value) in &self.others {
            let _ = write!(text, ";{key}={value}");
        }
        text
    }

    /// Hard limit of znodes; -1 for none.
    pub fn count_hard_limit(&self) -> i64 {
        self.others.get("countHardLimit").copied().unwrap_or(-1)
    }

    /// Hard limit of bytes; -1 for none.
    pub fn byte_hard_limit(&self) -> i64 {
        self.others.get("byteHardLimit").copied().unwrap_or(-1)
    }
}

/// Which node of a quota a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuotaNode<'a> {
    /// `zookeeper_limits` of this path.
    Limits(&'a str),
    /// `zookeeper_stats` of this path.
    Stats(&'a str),
}

impl<'a> QuotaNode<'a> {
    /// The quota node that `path` is, if it is one. The path that a quota in the root of the quota tree speaks of is
    /// "", for which there are no quotas (`is_root_quota`).
    pub fn of(path: &'a str) -> Option<QuotaNode<'a>> {
        let (of, name) = path.strip_prefix(QUOTA_ROOT)?.rsplit_once('/')?;
        if of.is_empty() || !of.starts_with('/') {
            return None;
        }
        match name {
            LIMITS_NAME => Some(QuotaNode::Limits(of)),
            STATS_NAME => Some(QuotaNode::Stats(of)),
            _ => None,
        }
    }
}

/// Whether a path is one of the two nodes of a quota on "/". ZooKeeper crashes over it and cannot start again; here its
/// creation is refused.
pub fn is_root_quota(path: &str) -> bool {
    path.strip_prefix(QUOTA_ROOT)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|name| name == LIMITS_NAME || name == STATS_NAME)
}

/// One quota.
#[derive(Clone, Debug, Default)]
pub struct Quota {
    /// The limits; the quota is active while its limits node exists.
    pub limits: Option<StatsTrack>,
    /// The usage, while there is a stats node.
    pub usage: Option<Usage>,
}

/// The content of a stats node.
#[derive(Clone, Debug)]
pub struct Usage {
    /// The stats node.
    pub node: HashedPath,
    /// Its text.
    pub track: StatsTrack,
    /// Changed by the transaction at hand.
    dirty: bool,
    /// Made while the log was replayed, and not counted yet.
    uncounted: bool,
}

/// All quotas, by the path that they are about.
#[derive(Debug, Default)]
pub struct Quotas {
    by_path: BTreeMap<Box<str>, Quota>,
    active: usize,
    /// Quotas whose usage the transaction at hand has changed.
    dirty: Vec<Box<str>>,
    /// Stats nodes, so that writes to them are told by their hash.
    nodes: HashMap<PathHash, Box<str>, BuildPathHasher>,
}

impl Quotas {
    /// A limits or stats node came to be.
    pub fn created(&mut self, quota: QuotaNode<'_>, node: &HashedPath, data: Option<&[u8]>) {
        self.nodes.insert(node.hash, node.path.as_ref().into());
        self.written(quota, node, data);
    }

    /// A limits or stats node has this content now.
    pub fn written(&mut self, quota: QuotaNode<'_>, node: &HashedPath, data: Option<&[u8]>) {
        let track = StatsTrack::parse(data);
        match quota {
            QuotaNode::Limits(path) => {
                let entry = self.by_path.entry(path.into()).or_default();
                self.active += usize::from(entry.limits.is_none());
                entry.limits = Some(track);
            }
            QuotaNode::Stats(path) => {
                let entry = self.by_path.entry(path.into()).or_default();
                entry.usage = Some(Usage { node: node.clone(), track, dirty: false, uncounted: false });
            }
        }
    }

    /// A limits or stats node went.
    pub fn deleted(&mut self, quota: QuotaNode<'_>, hash: PathHash) {
        self.nodes.remove(&hash);
        let path = match quota {
            QuotaNode::Limits(path) | QuotaNode::Stats(path) => path,
        };
        let Some(entry) = self.by_path.get_mut(path) else { return };
        match quota {
            QuotaNode::Limits(_) => self.active -= usize::from(entry.limits.take().is_some()),
            QuotaNode::Stats(_) => entry.usage = None,
        }
        if entry.limits.is_none() && entry.usage.is_none() {
            self.by_path.remove(path);
        }
    }

    /// The usage of `path` is this, whatever its new stats node said; `None` if it is yet to be counted.
    pub fn set_usage(&mut self, path: &str, usage: Option<SubtreeUsage>) {
        let Some(entry) = self.by_path.get_mut(path).and_then(|quota| quota.usage.as_mut()) else { return };
        entry.uncounted = usage.is_none();
        let SubtreeUsage { count, bytes } = usage.unwrap_or_default();
        entry.track = StatsTrack { count, bytes, others: BTreeMap::new() };
        mark(&mut self.dirty, entry, path);
    }

    /// Quotas whose usage is to be counted at start: the active ones, as ZooKeeper does, and those of stats nodes that
    /// were made while the log was replayed.
    pub fn to_count(&self) -> impl Iterator<Item = &str> {
        let counted =
            |quota: &Quota| quota.usage.as_ref().is_some_and(|usage| quota.limits.is_some() || usage.uncounted);
        self.by_path.iter().filter(move |(_, quota)| counted(quota)).map(|(path, _)| &**path)
    }

    /// The usage as counted at start. Returns whether the stats node said something else.
    pub fn count(&mut self, path: &str, counted: SubtreeUsage) -> bool {
        let Some(usage) = self.by_path.get_mut(path).and_then(|quota| quota.usage.as_mut()) else { return false };
        usage.uncounted = false;
        let track = StatsTrack { count: counted.count, bytes: counted.bytes, others: BTreeMap::new() };
        let differs = usage.track != track;
        if differs {
            usage.track = track;
            mark(&mut self.dirty, usage, path);
        }
        differs
    }

    /// Charges a change of `path` to the deepest active quota above it. Returns the stats node and the new length of
    /// its text.
    pub fn charge(&mut self, path: &str, count: i64, bytes: i64) -> Option<(PathHash, u32)> {
        let of: Box<str> = self.deepest(path)?.0.into();
        let usage = self.by_path.get_mut(&of)?.usage.as_mut()?;
        usage.track.count = usage.track.count.wrapping_add(count);
        usage.track.bytes = usage.track.bytes.wrapping_add(bytes);
        let charged = (usage.node.hash, usage.track.text().len() as u32);
        mark(&mut self.dirty, usage, &of);
        Some(charged)
    }

    /// The stats nodes that the transaction at hand has changed, with their new texts, in the order in which it first
    /// changed them.
    pub fn take_dirty(&mut self) -> Vec<(HashedPath, String)> {
        let mut changed = Vec::new();
        for path in std::mem::take(&mut self.dirty) {
            let usage = self.by_path.get_mut(&path).and_then(|quota| quota.usage.as_mut());
            if let Some(usage) = usage.filter(|usage| usage.dirty) {
                usage.dirty = false;
                changed.push((usage.node.clone(), usage.track.text()));
            }
        }
        changed
    }

    /// Whether anything waits for [`Self::take_dirty`].
    pub fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Whether this is a limits or stats node that exists.
    pub fn is_quota_node(&self, hash: PathHash) -> bool {
        !self.nodes.is_empty() && self.nodes.contains_key(&hash)
    }

    /// Whether a hard limit forbids `path` to grow by so much. Soft limits never forbid.
    pub fn forbids(&self, path: &str, count: i64, bytes: i64) -> bool {
        let Some((_, quota)) = self.deepest(path) else { return false };
        let (Some(limits), Some(usage)) = (&quota.limits, &quota.usage) else { return false };
        let over =
            |limit: i64, used: i64, change: i64| change != 0 && limit > -1 && used.saturating_add(change) > limit;
        over(limits.count_hard_limit(), usage.track.count, count)
            || over(limits.byte_hard_limit(), usage.track.bytes, bytes)
    }

    /// The deepest active quota on `path` or above it.
    fn deepest(&self, path: &str) -> Option<(&str, &Quota)> {
        if self.active == 0 {
            return None;
        }
        self_and_ancestors(path)
            .find_map(|path| self.by_path.get_key_value(path).filter(|(_, quota)| quota.limits.is_some()))
            .map(|(path, quota)| (&**path, quota))
    }

    /// All quotas, by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quota)> {
        self.by_path.iter().map(|(path, quota)| (&**path, quota))
    }
}

fn mark(dirty: &mut Vec<Box<str>>, usage: &mut Usage, path: &str) {
    if !usage.dirty {
        usage.dirty = true;
        dirty.push(path.into());
    }
}

/// Whether `path` is `root` or below it.
pub fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any client may write any bytes there.
        #[test]
        fn arbitrary_bytes_read_and_what_was_read_writes_back(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let track = StatsTrack::parse(Some(&data));
            prop_assert_eq!(StatsTrack::parse(Some(track.text().as_bytes())), track);
        }

        #[test]
        fn texts_of_pairs_read_and_write_back(
            pairs in proptest::collection::vec(("[a-zA-Z]{0,14}|count|bytes|countHardLimit", "[-0-9a-z]{0,21}"), 0..8),
            separators in proptest::collection::vec(proptest::sample::select(vec![",", ";", "=;", "=", ",,"]), 8),
        ) {
            let mut text = String::new();
            for ((key, value), separator) in pairs.iter().zip(separators) {
                text.push_str(&format!("{key}={value}{separator}"));
            }
            let track = StatsTrack::parse(Some(text.as_bytes()));
            prop_assert_eq!(StatsTrack::parse(Some(track.text().as_bytes())), track);
        }
    }

    #[test]
    fn texts_of_the_reference_server_read_and_write_back() {
        let limits = StatsTrack::parse(Some(b"count=100,bytes=-1=;byteHardLimit=-1;countHardLimit=200"));
        assert_eq!((limits.count, limits.bytes), (100, -1));
        assert_eq!((limits.count_hard_limit(), limits.byte_hard_limit()), (200, -1));
        assert_eq!(limits.text(), "count=100,bytes=-1=;byteHardLimit=-1;countHardLimit=200");
        assert_eq!(StatsTrack::parse(Some(b"count=4,bytes=7")).text(), "count=4,bytes=7");
        assert_eq!(StatsTrack::parse(Some(b"bytes==5")).bytes, -1);
    }

    #[test]
    fn what_does_not_parse_is_no_limit() {
        for text in ["", "nonsense", "count", "count=", "count=x", ",,;;", "=", "count=99999999999999999999"] {
            let track = StatsTrack::parse(Some(text.as_bytes()));
            assert_eq!((track.count, track.count_hard_limit()), (-1, -1), "{text}");
        }
        assert_eq!(StatsTrack::parse(None), StatsTrack::default());
        assert_eq!(StatsTrack::parse(Some(&[0xFF, b'=', b'1'])).count, -1);
    }

    #[test]
    fn quota_nodes_are_told_by_their_paths() {
        assert_eq!(QuotaNode::of("/zookeeper/quota/a/b/zookeeper_limits"), Some(QuotaNode::Limits("/a/b")));
        assert_eq!(QuotaNode::of("/zookeeper/quota/a/zookeeper_stats"), Some(QuotaNode::Stats("/a")));
        for other in [
            "/zookeeper/quota/zookeeper_limits",
            "/zookeeper/quota",
            "/zookeeper/quotas/a/zookeeper_limits",
            "/zookeeper/quota/a",
            "/a/zookeeper_limits",
        ] {
            assert_eq!(QuotaNode::of(other), None, "{other}");
        }
        assert!(is_root_quota("/zookeeper/quota/zookeeper_limits"));
        assert!(!is_root_quota("/zookeeper/quota/a/zookeeper_limits"));
        assert!(is_within("/a/b", "/a") && is_within("/a", "/a") && !is_within("/ab", "/a"));
    }

    fn book(quotas: &[(&str, &str, &str)]) -> Quotas {
        let mut book = Quotas::default();
        for (at, (path, limits, stats)) in quotas.iter().enumerate() {
            let hashes = [PathHash(at as u128 * 2), PathHash(at as u128 * 2 + 1)];
            let node = HashedPath { path: format!("{QUOTA_ROOT}{path}/{LIMITS_NAME}").into(), hash: hashes[0] };
            book.created(QuotaNode::Limits(path), &node, Some(limits.as_bytes()));
            let node = HashedPath { path: format!("{QUOTA_ROOT}{path}/{STATS_NAME}").into(), hash: hashes[1] };
            book.created(QuotaNode::Stats(path), &node, Some(stats.as_bytes()));
        }
        book
    }

    #[test]
    fn the_deepest_active_quota_is_charged() {
        let mut book = book(&[("/a", "count=10", "count=3,bytes=0"), ("/a/b", "count=10", "count=1,bytes=0")]);
        book.charge("/a/b/c", 1, 5);
        book.charge("/a/bc", 1, 7);
        book.charge("/z", 1, 7);
        let dirty: Vec<_> = book.take_dirty().into_iter().map(|(_, text)| text).collect();
        assert_eq!(dirty, ["count=2,bytes=5", "count=4,bytes=7"]);
        assert!(book.take_dirty().is_empty());
        book.deleted(QuotaNode::Limits("/a/b"), PathHash(2));
        book.charge("/a/b/c", -1, -5);
        assert_eq!(book.take_dirty()[0].1, "count=3,bytes=2");
    }

    #[test]
    fn only_hard_limits_forbid_and_only_what_changes_is_looked_at() {
        let book = book(&[
            ("/soft", "count=1,bytes=1", "count=5,bytes=5"),
            ("/hard", "count=1,bytes=1=;byteHardLimit=5;countHardLimit=3", "count=3,bytes=5"),
        ]);
        assert!(!book.forbids("/soft/x", 1, 100));
        assert!(book.forbids("/hard/x", 1, 0));
        assert!(!book.forbids("/hard/x", 0, 0));
        assert!(book.forbids("/hard", 0, 1));
        assert!(!book.forbids("/hard", 0, -1));
        assert!(!book.forbids("/other", 1, 1));
    }
}
