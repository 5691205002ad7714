//! Looking through a segment's file again, long after it was written: whether the disk still gives what it was given.

use super::manifest::SegmentCut;
use super::record::{HEADER, SEGMENT_HEADER, SegmentIdentity, padded, seed_at};
use super::types::{Damage, Fault, LogAddress};
use crate::ids::PartitionId;

/// Bytes of a record that say its checksum and its length.
const PREFIX: usize = 8;

/// Checks the records of a segment up to the end that a durable cut names, as recovery does, from bytes that come in order
/// and in pieces of any size. Holds no more than a header of them.
pub struct SegmentCheck {
    partition: PartitionId,
    cut: SegmentCut,
    header: [u8; SEGMENT_HEADER],
    seed: u32,
    /// Where the next byte lies.
    offset: u64,
    expects: Expects,
}

enum Expects {
    /// The segment's header.
    Header,
    /// The first bytes of the record at `start`.
    Prefix { start: u64, bytes: [u8; PREFIX] },
    /// Its other bytes, up to `end`.
    Body { start: u64, end: u64, crc: u32, wanted: u32 },
    /// The zeroes up to the next record.
    Padding { start: u64, end: u64 },
}

impl SegmentCheck {
    /// Begins with the first byte of the file of a partition's segment.
    pub fn new(partition: PartitionId, cut: SegmentCut) -> SegmentCheck {
        let identity = SegmentIdentity { partition, generation: cut.generation, number: cut.segment, bytes: cut.bytes };
        SegmentCheck {
            partition,
            cut,
            header: identity.encode(),
            seed: identity.seed(),
            offset: 0,
            expects: Expects::Header,
        }
    }

    /// How many bytes of the file are to be given in all.
    pub fn end(&self) -> u64 {
        self.cut.end
    }

    /// Takes the next bytes; what is behind the end is ignored.
    ///
    /// # Errors
    /// What is wrong, at the record where it shows. Nothing behind it can be judged.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Damage> {
        while !bytes.is_empty() && self.offset < self.cut.end {
            let (limit, start) = match &self.expects {
                Expects::Header => (SEGMENT_HEADER as u64, 0),
                Expects::Prefix { start, .. } => (start + PREFIX as u64, *start),
                Expects::Body { start, end, .. } | Expects::Padding { start, end } => (*end, *start),
            };
            if limit > self.cut.end {
                return Err(self.damage(start, Fault::Record));
            }
            let wanted = usize::try_from(limit - self.offset).unwrap_or(usize::MAX);
            let (piece, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.take(piece, limit)?;
            bytes = rest;
        }
        Ok(())
    }

    /// All bytes there were have been given.
    ///
    /// # Errors
    /// The file was shorter than the cut.
    pub fn finish(&self) -> Result<(), Damage> {
        if self.offset < self.cut.end { Err(self.damage(self.offset, Fault::Missing)) } else { Ok(()) }
    }

    /// Takes bytes of what is expected, which ends at `limit`.
    fn take(&mut self, piece: &[u8], limit: u64) -> Result<(), Damage> {
        let from = self.offset;
        self.offset += piece.len() as u64;
        let is_last = self.offset == limit;
        match &mut self.expects {
            Expects::Header => {
                if self.header[from as usize..][..piece.len()] != *piece {
                    return Err(self.damage(0, Fault::Header));
                }
            }
            Expects::Prefix { start, bytes } => {
                let start = *start;
                bytes[(from - start) as usize..][..piece.len()].copy_from_slice(piece);
                if is_last {
                    let [a, b, c, d, length @ ..] = *bytes;
                    let bytes = u32::from_le_bytes(length);
                    if (bytes as usize) < HEADER || start >= LogAddress::OFFSET_LIMIT {
                        return Err(self.damage(start, Fault::Record));
                    }
                    let crc = crc32c::crc32c_append(seed_at(self.seed, start), &length);
                    let (end, wanted) = (start + u64::from(bytes), u32::from_le_bytes([a, b, c, d]));
                    self.expects = Expects::Body { start, end, crc, wanted };
                }
                return Ok(());
            }
            Expects::Body { start, end, crc, wanted } => {
                *crc = crc32c::crc32c_append(*crc, piece);
                if is_last {
                    let (start, end, intact) = (*start, *end, crc == wanted);
                    if !intact {
                        return Err(self.damage(start, Fault::Checksum));
                    }
                    let padding = Expects::Padding { start, end: start + padded(end - start) };
                    self.expects = if padded(end - start) > end - start { padding } else { Self::record_at(end) };
                }
                return Ok(());
            }
            Expects::Padding { start, .. } => {
                if piece.iter().any(|byte| *byte != 0) {
                    let start = *start;
                    return Err(self.damage(start, Fault::Record));
                }
            }
        }
        if is_last {
            self.expects = Self::record_at(limit);
        }
        Ok(())
    }

    fn record_at(start: u64) -> Expects {
        Expects::Prefix { start, bytes: [0; PREFIX] }
    }

    fn damage(&self, offset: u64, fault: Fault) -> Damage {
        Damage { partition: self.partition, segment: self.cut.segment, offset, fault }
    }
}
