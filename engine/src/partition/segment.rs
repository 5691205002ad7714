//! One segment of a log: what of it is in memory, on its way, and in its file.

use super::record::{SEGMENT_HEADER, SegmentIdentity, seed_at};
use super::types::Place;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// What was written of a segment's file, readable in place. The host implements it for mapped files.
pub trait SegmentBytes: Send + Sync {
    /// The bytes of a range, or `None` where the file does not reach. What was readable once must stay so. Asked for
    /// what has been written only, and that is never written again.
    fn bytes(&self, range: Range<u64>) -> Option<&[u8]>;
    /// Whether the range can be read without waiting for a disk.
    fn is_resident(&self, range: Range<u64>) -> bool;
}

/// A segment.
pub(super) struct Segment {
    pub(super) identity: SegmentIdentity,
    seed: u32,
    /// Where the records end, those included that are still in the log's open chunk.
    pub(super) end: u64,
    /// Everything below is in the file, as far as the host has said.
    pub(super) written: u64,
    /// Everything below has been handed to the host.
    issued: u64,
    file: Option<Arc<dyn SegmentBytes>>,
    /// Sealed chunks that are not known to be readable in the file, in order. A record lies in one chunk.
    chunks: VecDeque<Chunk>,
}

struct Chunk {
    start: u64,
    bytes: Bytes,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Segment {
    /// A segment whose file does not exist yet.
    pub(super) fn new(identity: SegmentIdentity) -> Segment {
        let seed = identity.seed();
        Segment { identity, seed, end: 0, written: 0, issued: 0, file: None, chunks: VecDeque::new() }
    }

    /// A segment that was found written up to `end`.
    pub(super) fn recovered(identity: SegmentIdentity, end: u64, file: Arc<dyn SegmentBytes>) -> Segment {
        let file = Some(file);
        let seed = identity.seed();
        Segment { identity, seed, end, written: end, issued: end, file, chunks: VecDeque::new() }
    }

    /// Whether a record of `bytes` fits behind the last one.
    pub(super) fn has_room(&self, bytes: u64, offset_limit: u64) -> bool {
        let start = self.end.max(SEGMENT_HEADER as u64);
        start < offset_limit && start + bytes <= self.identity.bytes
    }

    /// What the checksum of a record at `offset` begins with.
    pub(super) fn seed(&self, offset: u64) -> u32 {
        seed_at(self.seed, offset)
    }

    pub(super) fn place(&self, range: Range<u64>) -> Place {
        Place { generation: self.identity.generation, segment: self.identity.number, range }
    }

    /// Takes the next bytes, which end at `self.end`.
    pub(super) fn seal(&mut self, bytes: Vec<u8>) {
        let start = self.end - bytes.len() as u64;
        self.chunks.push_back(Chunk { start, bytes: Bytes::from(bytes) });
    }

    pub(super) fn ready(&mut self, file: Arc<dyn SegmentBytes>) {
        self.file = Some(file);
    }

    pub(super) fn written(&mut self, upto: u64) {
        self.written = upto.clamp(self.written, self.issued);
        self.release_chunks();
    }

    /// The next chunk to be written, if the file is there.
    pub(super) fn next_write(&mut self) -> Option<(u64, Bytes)> {
        self.file.as_ref()?;
        let next = self.chunks.partition_point(|chunk| chunk.start < self.issued);
        let chunk = self.chunks.get(next)?;
        self.issued = chunk.end();
        Some((chunk.start, chunk.bytes.clone()))
    }

    /// Whether nothing is under way to the file any more.
    pub(super) fn is_settled(&self) -> bool {
        self.file.is_some() && self.written == self.end
    }

    /// Bytes held in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    /// The bytes of a range, and whether they come from the file. The open chunk is the log's.
    pub(super) fn bytes(&self, range: Range<u64>) -> Option<(&[u8], bool)> {
        match self.chunk(range.start) {
            Some(chunk) => {
                let (from, to) = ((range.start - chunk.start) as usize, (range.end - chunk.start) as usize);
                chunk.bytes.get(from..to).map(|bytes| (bytes, false))
            }
            None if range.end > self.file_end() => None,
            None => self.file.as_ref()?.bytes(range).map(|bytes| (bytes, true)),
        }
    }

    /// Whether the range, as far as it lies in the file, can be read without waiting.
    pub(super) fn is_resident(&self, range: Range<u64>) -> bool {
        let in_file = range.start..range.end.min(self.file_end());
        self.chunk(range.start).is_some() || self.file.as_ref().is_some_and(|file| file.is_resident(in_file))
    }

    /// Where the part ends that is read from the file. What is behind may be under way: it is never looked at there.
    pub(super) fn file_end(&self) -> u64 {
        self.chunks.front().map_or(self.written, |chunk| chunk.start)
    }

    fn chunk(&self, offset: u64) -> Option<&Chunk> {
        let next = self.chunks.partition_point(|chunk| chunk.start <= offset);
        self.chunks.get(next.checked_sub(1)?)
    }

    /// Chunks leave memory once they are in the file and can be read there.
    fn release_chunks(&mut self) {
        while let (Some(chunk), Some(file)) = (self.chunks.front(), &self.file)
            && chunk.end() <= self.written
            && file.bytes(chunk.start..chunk.end()).is_some()
        {
            self.chunks.pop_front();
        }
    }
}
