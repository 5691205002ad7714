//! Files of partition logs that compaction has emptied, kept for new segments of the same size: under a steady load nothing
//! is allocated or freed, which a file system's journal and a device that is told what is free would make the write-ahead
//! log wait for.
//!
//! A spare keeps its name and its bytes until it is used. The next start removes it, for no manifest names it. In its new
//! life nobody reads what is not written anew: a server reads up to what it has written, recovery up to where a manifest
//! says that it was flushed, and records are checksummed with their segment's identity and their offset.

use std::collections::VecDeque;
use std::path::PathBuf;

/// Emptied files of one shard.
#[derive(Debug, Default)]
pub struct Spares {
    /// With their sizes, in the order in which they came.
    files: VecDeque<(u64, PathBuf)>,
    bytes: u64,
}

impl Spares {
    /// Keeps a file of `bytes`. Returns those, the oldest first, without which all have at most `bytes_max`.
    pub fn put(&mut self, path: PathBuf, bytes: u64, bytes_max: u64) -> Vec<PathBuf> {
        if bytes > bytes_max {
            return vec![path];
        }
        self.bytes += bytes;
        self.files.push_back((bytes, path));
        let mut left = Vec::new();
        while self.bytes > bytes_max
            && let Some((bytes, path)) = self.files.pop_front()
        {
            self.bytes -= bytes;
            left.push(path);
        }
        left
    }

    /// A file of exactly `bytes`: the one that came last, most of whose pages are in memory.
    pub fn take(&mut self, bytes: u64) -> Option<PathBuf> {
        let at = self.files.iter().rposition(|(size, _)| *size == bytes)?;
        let (_, path) = self.files.remove(at)?;
        self.bytes -= bytes;
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_size_is_used_and_the_first_of_all_goes() {
        let name = |at: u64| PathBuf::from(at.to_string());
        let mut spares = Spares::default();
        assert_eq!(spares.put(name(1), 11, 10), [name(1)], "it alone is too large");
        for (at, bytes) in [(2, 4), (3, 2), (4, 4)] {
            assert!(spares.put(name(at), bytes, 10).is_empty());
        }
        assert_eq!(spares.put(name(5), 1, 10), [name(2)]);
        assert_eq!(spares.put(name(6), 4, 10), [name(3)]);
        assert_eq!((spares.take(4), spares.take(4), spares.take(4)), (Some(name(6)), Some(name(4)), None));
        assert_eq!((spares.take(2), spares.take(1)), (None, Some(name(5))));
        assert!(spares.put(name(7), 10, 10).is_empty(), "what was used takes no room");
    }
}
