//! One batch: gathered record by record in the form in which it is written, and taken apart again.

use engine::zxid::Zxid;
use hardware::aligned::AlignedBuf;

use super::format::{
    BATCH_HEADER_BYTES, BLOCK_BYTES, BLOCK_HEADER_BYTES, BatchHeader, Link, LinkKind, Place, RECORD_HEADER_BYTES,
    SECTOR_BODY_BYTES, SECTOR_BYTES, Seal, batch_blocks, get_u32, get_u64, payload, seal_blocks,
};

/// Payload starts behind the headers of the first block.
const PAYLOAD_AT: usize = BLOCK_HEADER_BYTES + BATCH_HEADER_BYTES;

/// A batch that still takes records. Where it goes in the log is settled only when it is sealed.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    buf: AlignedBuf,
    /// Where in `buf` the next payload byte goes.
    at: usize,
    records: u32,
    record_bytes: u64,
    first: Zxid,
    last: Zxid,
}

impl BatchBuilder {
    /// An empty batch in `buf`, whose content is dropped.
    pub(super) fn new(mut buf: AlignedBuf) -> BatchBuilder {
        buf.clear();
        buf.resize(BLOCK_BYTES);
        BatchBuilder { buf, at: PAYLOAD_AT, records: 0, record_bytes: 0, first: Zxid::ZERO, last: Zxid::ZERO }
    }

    pub(super) fn records(&self) -> u32 {
        self.records
    }

    pub(super) fn record_bytes(&self) -> u64 {
        self.record_bytes
    }

    pub(super) fn first(&self) -> Zxid {
        self.first
    }

    pub(super) fn last(&self) -> Zxid {
        self.last
    }

    /// Blocks that it takes as it is.
    pub(super) fn blocks(&self) -> u64 {
        batch_blocks(self.record_bytes)
    }

    /// Blocks that it would take with one more record of `len` bytes.
    pub(super) fn blocks_with(&self, len: usize) -> u64 {
        batch_blocks(self.record_bytes + (RECORD_HEADER_BYTES + len) as u64)
    }

    /// Adds a record. The caller keeps zxids ascending and lengths within 32 bits.
    pub(super) fn push(&mut self, zxid: Zxid, bytes: &[u8]) {
        let mut header = [0; RECORD_HEADER_BYTES];
        header[..8].copy_from_slice(&zxid.0.to_le_bytes());
        header[8..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.put(&header);
        self.put(bytes);
        if self.records == 0 {
            self.first = zxid;
        }
        self.last = zxid;
        self.records += 1;
        self.record_bytes += (RECORD_HEADER_BYTES + bytes.len()) as u64;
    }

    /// Drops the records behind `after`.
    pub(super) fn truncate(&mut self, after: Zxid) {
        let mut flat = Vec::new();
        flatten(self.buf.as_slice(), &mut flat);
        let mut kept = BatchBuilder::new(AlignedBuf::with_capacity(self.buf.capacity()));
        let kept_records = Records::new(&flat[..self.record_bytes as usize]).take_while(|&(zxid, _)| zxid <= after);
        for (zxid, bytes) in kept_records {
            kept.push(zxid, bytes);
        }
        *self = kept;
    }

    /// Completes the batch for its place in the log; yields the bytes to write and the batch's checksum.
    pub(super) fn seal(
        mut self,
        seal: &Seal,
        place: Place,
        previous: u32,
        commit: Zxid,
        base: Zxid,
        link: Option<Link>,
    ) -> (AlignedBuf, u32) {
        debug_assert_eq!(link.map_or(LinkKind::None, |link| link.kind), place.link);
        let (first, last) = if self.records == 0 { (base, base) } else { (self.first, self.last) };
        let header =
            BatchHeader { previous, records: self.records, commit, first, last, record_bytes: self.record_bytes, link };
        header.write(self.buf.as_mut_slice());
        let chain = seal_blocks(seal, place, self.buf.as_mut_slice());
        (self.buf, chain)
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = self.at % SECTOR_BYTES;
            if within == SECTOR_BODY_BYTES {
                self.at += SECTOR_BYTES - SECTOR_BODY_BYTES;
                if self.at == self.buf.len() {
                    self.buf.resize(self.at + BLOCK_BYTES);
                    self.at += BLOCK_HEADER_BYTES;
                }
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(SECTOR_BODY_BYTES - within));
            self.buf.as_mut_slice()[self.at..self.at + now.len()].copy_from_slice(now);
            self.at += now.len();
            bytes = later;
        }
    }
}

/// Joins the payload of a batch's blocks into `into`, which it clears.
pub(super) fn flatten(blocks: &[u8], into: &mut Vec<u8>) {
    into.clear();
    for (index, block) in blocks.chunks_exact(BLOCK_BYTES).enumerate() {
        for piece in payload(block, index == 0) {
            into.extend_from_slice(piece);
        }
    }
}

/// The records of a batch's payload. Ends early, with [`Records::is_spent`] false, where they do not parse.
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) fn new(record_bytes: &'a [u8]) -> Records<'a> {
        Records { rest: record_bytes }
    }

    /// Whether every byte belonged to a record.
    pub(super) fn is_spent(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = (Zxid, &'a [u8]);

    fn next(&mut self) -> Option<(Zxid, &'a [u8])> {
        let (header, behind) = self.rest.split_at_checked(RECORD_HEADER_BYTES)?;
        let (bytes, rest) = behind.split_at_checked(get_u32(header, 8) as usize)?;
        self.rest = rest;
        Some((Zxid(get_u64(header, 0)), bytes))
    }
}

/// Whether the payload holds exactly the records that its header announces, in ascending order behind `floor`.
pub(super) fn records_match(header: &BatchHeader, flat: &[u8], floor: Zxid) -> bool {
    let Some(record_bytes) = usize::try_from(header.record_bytes).ok().and_then(|len| flat.get(..len)) else {
        return false;
    };
    let mut records = Records::new(record_bytes);
    let mut last = floor;
    let mut count = 0;
    for (zxid, _) in records.by_ref() {
        if zxid <= last || (count == 0 && zxid != header.first) {
            return false;
        }
        last = zxid;
        count += 1;
    }
    let ends_right = if count == 0 { header.first == floor && header.last == floor } else { header.last == last };
    records.is_spent() && count == header.records && ends_right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::format::{DirectoryId, SegmentIdentity, SegmentSeq};
    use proptest::prelude::*;

    fn place() -> Place {
        Place { sequence: SegmentSeq(1), identity: SegmentIdentity(9), start: 1, link: LinkKind::None }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            records in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..6000), 0..12),
            keep in 0u64..14,
        ) {
            let mut batch = BatchBuilder::new(AlignedBuf::with_capacity(0));
            for (index, bytes) in records.iter().enumerate() {
                let blocks = batch.blocks_with(bytes.len());
                batch.push(Zxid(index as u64 + 1), bytes);
                prop_assert_eq!(blocks, batch.blocks());
            }
            batch.truncate(Zxid(keep));
            let kept = &records[..records.len().min(keep as usize)];
            let blocks = batch.blocks();
            let seal = Seal::new(DirectoryId(5));
            let (buf, _) = batch.seal(&seal, place(), 7, Zxid(3), Zxid::ZERO, None);
            prop_assert_eq!(buf.len() as u64, blocks * BLOCK_BYTES as u64);
            let header = BatchHeader::read(buf.as_slice(), LinkKind::None);
            prop_assert_eq!((header.previous, header.commit, header.records), (7, Zxid(3), kept.len() as u32));
            let mut flat = Vec::new();
            flatten(buf.as_slice(), &mut flat);
            prop_assert!(records_match(&header, &flat, Zxid::ZERO));
            let read: Vec<_> = Records::new(&flat[..header.record_bytes as usize]).map(|(_, b)| b.to_vec()).collect();
            prop_assert_eq!(read.as_slice(), kept);
        }
    }
}
