//! Maps of files: read-only ones of logs, and writable ones of scratch files.
//!
//! # Why handing out slices is sound
//! A slice of mapped memory must not change while it is borrowed. These files live in a data directory that one process
//! holds under a lock; they are append-only, and the owner publishes a length only when the write up to there has
//! completed. [`MappedSegment::bytes`] hands out nothing beyond the published length, and nobody writes below it again.
//!
//! What remains is a third party that ignores the lock: if it overwrites the file, reads see its bytes (records carry
//! checksums); if it truncates the file, touching the cut part kills the process with SIGBUS. A data directory must not
//! be edited while the server runs.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, Mmap, MmapMut, MmapOptions};

use crate::block_file::BlockFile;

/// Pages asked about with one system call.
const RESIDENCY_STEP_PAGES: usize = 256;

/// A range of a file mapped for reading.
#[derive(Debug)]
pub struct MappedSegment {
    map: Mmap,
    /// Bytes from the start that may be read; only grows.
    published: AtomicUsize,
    page_bytes: usize,
}

impl MappedSegment {
    /// Maps `len` bytes of `file` from `offset`, the first `published` of which are complete and will not change. The map
    /// stays valid when the file is closed, renamed or removed.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file is shorter (touching a map beyond it would kill the process),
    /// [`io::ErrorKind::InvalidInput`] when `len` is 0 or smaller than `published`, otherwise the system's.
    pub fn map(file: &BlockFile, offset: u64, len: usize, published: usize) -> io::Result<MappedSegment> {
        if len == 0 || published > len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a map of {len} bytes with {published} published, of {}", file.path().display()),
            ));
        }
        let file_bytes = file.len()?;
        if offset.checked_add(len as u64).is_none_or(|end| end > file_bytes) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} has {file_bytes} bytes, too few to map {len} from {offset}", file.path().display()),
            ));
        }
        // SAFETY: the range lies within the file, and the module's rules (private, append-only, read below the published
        // length only) keep the bytes behind every slice unchanged.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file.as_fd().as_raw_fd())? };
        Ok(MappedSegment { map, published: AtomicUsize::new(published), page_bytes: rustix::param::page_size() })
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Never: a map has at least one byte.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Bytes that may be read.
    pub fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// Makes the bytes below `len` readable. Call it when the write of them has completed (durable or not), and never write
    /// there again. A smaller length than before, or one beyond the map, changes nothing.
    pub fn publish(&self, len: usize) {
        if len <= self.map.len() {
            self.published.fetch_max(len, Ordering::AcqRel);
        }
    }

    /// The bytes of `range`, relative to the start of the map; `None` unless all of it is published. Touching a page that
    /// is not resident waits for the disk: see [`is_resident`](Self::is_resident).
    pub fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.end > self.published() {
            return None;
        }
        self.map.get(range)
    }

    /// Whether all pages of `range` are in memory at this moment. An empty range is; one beyond the map is not.
    pub fn is_resident(&self, range: Range<usize>) -> bool {
        if range.is_empty() {
            return range.start <= self.map.len();
        }
        if range.end > self.map.len() {
            return false;
        }
        // The map may start inside a page, so pages are counted in addresses.
        let base = self.map.as_ptr() as usize;
        let mut start = (base + range.start) / self.page_bytes * self.page_bytes;
        let end = base + range.end;
        let mut residency = [0u8; RESIDENCY_STEP_PAGES];
        while start < end {
            let pages = (end - start).div_ceil(self.page_bytes).min(RESIDENCY_STEP_PAGES);
            // SAFETY: the pages from `start` on belong to this map, which rounds out to whole pages; the result has room
            // for one byte per page asked about.
            let result =
                unsafe { libc::mincore(start as *mut libc::c_void, pages * self.page_bytes, residency.as_mut_ptr()) };
            if result != 0 || residency[..pages].iter().any(|page| page & 1 == 0) {
                return false;
            }
            start += pages * self.page_bytes;
        }
        true
    }

    /// Says that reads will come in no order, so that one fault does not read ahead.
    ///
    /// # Errors
    /// The system's; the map works all the same.
    pub fn advise_random(&self) -> io::Result<()> {
        self.map.advise(Advice::Random)
    }

    /// Says that reads will come front to back.
    ///
    /// # Errors
    /// The system's; the map works all the same.
    pub fn advise_sequential(&self) -> io::Result<()> {
        self.map.advise(Advice::Sequential)
    }

    /// Starts reading `range` into memory without waiting.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when the range is not within the map; otherwise the system's.
    pub fn advise_will_need(&self, range: Range<usize>) -> io::Result<()> {
        if range.start > range.end || range.end > self.map.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.map.advise_range(Advice::WillNeed, range.start, range.len())
    }
}

/// A range of a file mapped for reading and writing, which stores and flushes and hands out no slice.
#[derive(Debug)]
pub(crate) struct WritableMap {
    map: MmapMut,
}

impl WritableMap {
    /// Maps the first `len` bytes of `file`, which must be that long and stay so.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file is shorter, otherwise the system's.
    pub(crate) fn map(file: &BlockFile, len: usize) -> io::Result<WritableMap> {
        if file.len()? < len as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: no reference into the map is handed out; one lives within `store` alone, for the length of a copy, and the
        // file is a scratch file that only its owner, who is busy with that call, writes.
        let map = unsafe { MmapOptions::new().len(len).map_mut(file.as_fd().as_raw_fd())? };
        Ok(WritableMap { map })
    }

    /// Stores `bytes` at `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] beyond the map.
    pub(crate) fn store(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let end = offset.checked_add(bytes.len());
        let place = end.and_then(|end| self.map.get_mut(offset..end)).ok_or(io::ErrorKind::InvalidInput)?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    /// Waits until a range is on stable storage (msync with MS_SYNC).
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn flush(&self, offset: usize, len: usize) -> io::Result<()> {
        self.map.flush_range(offset, len)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::block_file::{PreferDirect, WriteSync};

    fn file(place: &tempfile::TempDir, bytes: &[u8]) -> std::sync::Arc<BlockFile> {
        let file = BlockFile::create(&place.path().join("f"), bytes.len() as u64, PreferDirect::No).unwrap();
        file.write_at(0, bytes, WriteSync::None).unwrap();
        file
    }

    #[test]
    fn only_what_is_published_can_be_read() {
        let place = tempfile::tempdir().unwrap();
        let file = file(&place, &[3; 10_000]);
        let map = MappedSegment::map(&file, 0, 10_000, 100).unwrap();
        assert_eq!(map.bytes(0..100).unwrap(), [3; 100]);
        assert_eq!(map.bytes(50..101), None);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 90..20;
        assert_eq!(map.bytes(reversed), None);
        file.write_at(100, &[4; 50], WriteSync::None).unwrap();
        map.publish(150);
        map.publish(20);
        map.publish(10_001);
        assert_eq!(map.published(), 150);
        assert_eq!(map.bytes(100..150).unwrap(), [4; 50]);
        drop(file);
        std::fs::remove_file(place.path().join("f")).unwrap();
        assert_eq!(map.bytes(99..101).unwrap(), [3, 4]);
    }

    #[test]
    fn a_map_may_start_inside_a_page_and_never_ends_beyond_the_file() {
        let place = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..10_000).map(|index| index as u8).collect();
        let file = file(&place, &bytes);
        let map = MappedSegment::map(&file, 4100, 5900, 5900).unwrap();
        assert_eq!(map.bytes(0..5900).unwrap(), &bytes[4100..]);
        assert!(map.is_resident(0..5900));
        for (offset, len) in [(0, 10_001), (9_999, 2), (u64::MAX, 1)] {
            let error = MappedSegment::map(&file, offset, len, 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert_eq!(MappedSegment::map(&file, 0, 0, 0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(MappedSegment::map(&file, 0, 5, 6).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn residency_follows_the_page_cache() {
        let place = tempfile::tempdir().unwrap();
        let file = file(&place, &vec![1; 4 << 20]);
        file.sync_data().unwrap();
        let map = MappedSegment::map(&file, 0, 4 << 20, 4 << 20).unwrap();
        assert!(map.is_resident(0..4 << 20));
        rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        assert!(!map.is_resident(0..4 << 20));
        map.advise_random().unwrap();
        let touched = map.bytes(1 << 20..(1 << 20) + 1).unwrap()[0];
        assert_eq!(touched, 1);
        assert!(map.is_resident(1 << 20..(1 << 20) + 1));
        assert!(map.is_resident(7..7));
        assert!(!map.is_resident(0..(4 << 20) + 1));
        map.advise_sequential().unwrap();
        map.advise_will_need(0..1 << 20).unwrap();
        assert!(map.advise_will_need(0..(4 << 20) + 1).is_err());
    }
}
