//! What a subtree holds, as of what has been applied: asked for when a quota begins, never on a request's path.

use super::Shard;
use crate::table::TableCursor;

impl Shard {
    /// This shard's nodes at or below `path` (component-wise), and the sum of their data lengths in bytes.
    pub fn usage(&self, path: &str) -> (i64, i64) {
        let (mut count, mut bytes) = (0, 0);
        for partition in &self.partitions {
            partition.scan_nodes(TableCursor::START, usize::MAX, &mut |entry| {
                let Ok(node) = partition.node(entry) else { return };
                let below = path == "/" || node.path == path || {
                    node.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
                };
                if below {
                    count += 1;
                    bytes += node.data.map_or(0, |data| data.len() as i64);
                }
            });
        }
        (count, bytes)
    }
}
