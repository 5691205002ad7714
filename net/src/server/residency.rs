//! Log segments as shards read them, and what is known of which pages are in memory.
//!
//! A shard asks before it touches the map, so that a page fault never stops a core. Asking the kernel costs a system call
//! for every record; so the answer is remembered per page for about a second. A page that is evicted within it costs one
//! fault.

use engine::partition::SegmentBytes;
use hardware::mapping::MappedSegment;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Pages are remembered in this unit, which is the smallest that Linux has.
const PAGE_BYTES: u64 = 4096;
/// Pages that are asked about together: whoever reads on nearby asks once.
const TOGETHER: u64 = 32;
/// How long an answer holds, in milliseconds.
const EPOCH_MS: i64 = 1000;

/// The second that it is, as far as remembering goes.
#[derive(Debug, Default)]
pub struct ResidencyClock(AtomicU8);

impl ResidencyClock {
    /// Sets it from a core's monotonic clock.
    pub fn set(&self, mono_ms: i64) {
        // 0 is what pages hold that nobody has asked about.
        let epoch = (mono_ms / EPOCH_MS).rem_euclid(i64::from(u8::MAX)) as u8 + 1;
        if self.0.load(Ordering::Relaxed) != epoch {
            self.0.store(epoch, Ordering::Relaxed);
        }
    }
}

/// A mapped segment.
pub struct MappedLog {
    map: Arc<MappedSegment>,
    clock: Arc<ResidencyClock>,
    /// Per page the epoch in which it was last found in memory.
    seen: Box<[AtomicU8]>,
}

impl MappedLog {
    /// A segment whose pages nobody has asked about.
    pub fn new(map: Arc<MappedSegment>, clock: Arc<ResidencyClock>) -> MappedLog {
        let pages = (map.len() as u64).div_ceil(PAGE_BYTES);
        MappedLog { map, clock, seen: (0..pages).map(|_| AtomicU8::new(0)).collect() }
    }
}

impl SegmentBytes for MappedLog {
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]> {
        self.map.bytes(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        let epoch = self.clock.0.load(Ordering::Relaxed);
        let pages = range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES);
        let Some(seen) = self.seen.get(pages.start as usize..pages.end as usize) else { return false };
        if range.end > self.map.len() as u64 {
            return false;
        }
        if epoch != 0 && seen.iter().all(|page| page.load(Ordering::Relaxed) == epoch) {
            return true;
        }
        let around =
            pages.start / TOGETHER * TOGETHER..pages.end.next_multiple_of(TOGETHER).min(self.seen.len() as u64);
        for pages in [around, pages] {
            let bytes = pages.start * PAGE_BYTES..(pages.end * PAGE_BYTES).min(self.map.len() as u64);
            if self.map.is_resident(bytes.start as usize..bytes.end as usize) {
                let seen = &self.seen[pages.start as usize..pages.end as usize];
                seen.iter().for_each(|page| page.store(epoch, Ordering::Relaxed));
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use hardware::block_file::{BlockFile, PreferDirect};

    #[test]
    fn an_answer_is_remembered_for_its_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let file = BlockFile::create(&folder.path().join("log"), 40 * 4096, PreferDirect::No).unwrap();
        file.fill_with_zeroes().unwrap();
        let map = Arc::new(MappedSegment::map(&file, 0, 40 * 4096, 8 * 4096).unwrap());
        let clock = Arc::new(ResidencyClock::default());
        let log = MappedLog::new(map, Arc::clone(&clock));
        clock.set(5_000);
        assert!(log.is_resident(4000..5000), "just written, so in the page cache");
        let epoch = clock.0.load(Ordering::Relaxed);
        let seen = |page: u64| log.seen[page as usize].load(Ordering::Relaxed);
        assert!((0..TOGETHER).all(|page| seen(page) == epoch), "their neighbours were asked about, too");
        assert!((TOGETHER..40).all(|page| seen(page) == 0));
        clock.set(6_000);
        assert_ne!(clock.0.load(Ordering::Relaxed), epoch);
        assert!(!log.is_resident(0..41 * 4096), "beyond the segment");
    }
}
