//! The bytes of a segment. Everything is little-endian; `|` separates fields, numbers are bytes.
//!
//! ```text
//! segment   = block 0 (its header) | blocks 1.. (batches, back to back, whole blocks each) | never written so far
//!
//! block     = 8 sectors of 512 bytes
//! sector    = body 496 | identity 8 | mark 4 | crc32c 4
//!             identity: of the segment, for this use of the file; never 0
//!             mark:     bits 0..28 the first block of the batch, bits 28..30 the batch's link kind, rest 0
//!             crc32c:   over the 508 bytes before it, started from crc32c(directory) xor the sector's number in the
//!                       segment, so that a sector is valid at its own place in its own directory only
//! body of sector 0 of every block
//!           = directory 8 | sequence 8 | block index 4 | blocks of the batch 4 | ... 472
//!
//! block 0   = block header 24 | magic 8 "RKWALSEG" | version 4 | block size 4 | server 8 | segment bytes 8 | zeroes
//!
//! batch     = n whole blocks; the bodies, less the block headers, joined:
//!             batch header 80 | records | zeroes
//! batch header
//!           = checksum of the batch before 4 | records 4 | commit zxid 8 | first zxid 8 | last zxid 8 | record bytes 8
//!             | link: sequence before 8 | identity before 8 | end block before 4 | 0 4 | base zxid 8 | origin zxid 8
//!             (zeroes: no link)
//! record    = zxid 8 | length 4 | bytes
//!
//! checksum of a batch = crc32c over the crc32c fields of its sectors in order
//! ```
//!
//! A **sector**, not a block, is what a device writes whole, so the sector is what carries identity and checksum. That
//! makes a torn write recognisable: a sector of a block in flight is afterwards either the new one (valid, this identity)
//! or exactly what it was (zeroes, or valid under an older identity). Anything else has not been torn but changed.
//!
//! The **first batch of a segment** has a link: where the log that it continues ends (segment, block, and in the chain
//! field that batch's checksum), and the zxid after which it goes on. Records of the old segment beyond that zxid or that
//! block are void, whatever their bytes say.

use engine::zxid::Zxid;
use hardware::aligned::AlignedBuf;
use std::fmt;

/// Bytes per block: the unit in which the log is written and read.
pub const BLOCK_BYTES: usize = hardware::aligned::BLOCK_BYTES;
/// Bytes per sector: the least that any device writes whole.
pub const SECTOR_BYTES: usize = 512;
/// Sectors per block.
pub const SECTORS_PER_BLOCK: usize = BLOCK_BYTES / SECTOR_BYTES;
/// Bytes of a sector ahead of its trailer.
pub const SECTOR_BODY_BYTES: usize = SECTOR_BYTES - TRAILER_BYTES;
/// Bytes of a block's header, at its start.
pub const BLOCK_HEADER_BYTES: usize = 24;
/// Bytes of a batch's header, behind the header of its first block.
pub const BATCH_HEADER_BYTES: usize = 80;
/// Bytes of a record's header: zxid and length.
pub const RECORD_HEADER_BYTES: usize = 12;
/// The format's version, in every segment header.
pub const FORMAT_VERSION: u32 = 1;
/// Blocks that a segment can have: what a mark can number.
pub const SEGMENT_BLOCKS_MAX: u32 = 1 << 28;
/// Payload bytes (block and batch headers taken off) of one block.
pub(super) const BLOCK_PAYLOAD_BYTES: usize = SECTORS_PER_BLOCK * SECTOR_BODY_BYTES - BLOCK_HEADER_BYTES;

const TRAILER_BYTES: usize = 16;
const IDENTITY_AT: usize = SECTOR_BODY_BYTES;
const MARK_AT: usize = IDENTITY_AT + 8;
const CRC_AT: usize = MARK_AT + 4;
const MAGIC: [u8; 8] = *b"RKWALSEG";
const START_BITS: u32 = 28;

const _: () = {
    assert!(BLOCK_BYTES == 4096 && SECTORS_PER_BLOCK == 8);
    assert!(SECTOR_BODY_BYTES == 496 && CRC_AT + 4 == SECTOR_BYTES);
    assert!(BLOCK_HEADER_BYTES == 8 + 8 + 4 + 4);
    assert!(BATCH_HEADER_BYTES == 4 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 4 + 8 + 8);
    // Both headers, and the segment's, lie within the first sector, so that one valid sector tells the whole of them.
    assert!(BLOCK_HEADER_BYTES + BATCH_HEADER_BYTES <= SECTOR_BODY_BYTES);
    assert!(BLOCK_HEADER_BYTES + 8 + 4 + 4 + 8 + 8 <= SECTOR_BODY_BYTES);
    assert!(SEGMENT_BLOCKS_MAX == 1 << START_BITS);
    // A sector's number within its segment fits the 32 bits that start its checksum.
    assert!((SEGMENT_BLOCKS_MAX as u64) * (SECTORS_PER_BLOCK as u64) <= 1 << 32);
};

/// Number of a segment, from 1, without gaps over the segments of a directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentSeq(pub u64);

impl SegmentSeq {
    /// The one after it.
    pub const fn next(self) -> SegmentSeq {
        SegmentSeq(self.0.saturating_add(1))
    }
}

impl fmt::Debug for SegmentSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for SegmentSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One use of one segment file: random, never 0, drawn anew each time a file is prepared, also when it is recycled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SegmentIdentity(pub u64);

impl fmt::Debug for SegmentIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identity of a data directory: random, drawn when it is made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct DirectoryId(pub u64);

impl fmt::Debug for DirectoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What the header of a segment says. Written and flushed, and only then given its name, before the segment is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// The data directory that it belongs to.
    pub directory: DirectoryId,
    /// The server that prepared it; for people, as a directory may be given another server id.
    pub server: u64,
    /// Its number.
    pub sequence: SegmentSeq,
    /// This use of the file.
    pub identity: SegmentIdentity,
    /// Size of the whole file in bytes, a multiple of [`BLOCK_BYTES`].
    pub bytes: u64,
}

impl SegmentHeader {
    /// Block 0, ready to be written at offset 0.
    pub fn encode(&self) -> AlignedBuf {
        let mut buf = AlignedBuf::zeroed(BLOCK_BYTES);
        let block = buf.as_mut_slice();
        let fields = &mut block[BLOCK_HEADER_BYTES..];
        fields[0..8].copy_from_slice(&MAGIC);
        put_u32(fields, 8, FORMAT_VERSION);
        put_u32(fields, 12, BLOCK_BYTES as u32);
        put_u64(fields, 16, self.server);
        put_u64(fields, 24, self.bytes);
        let place = Place { sequence: self.sequence, identity: self.identity, start: 0, link: LinkKind::None };
        seal_blocks(&Seal::new(self.directory), place, block);
        buf
    }

    /// Reads block 0 of a segment.
    ///
    /// # Errors
    /// Why it cannot be the header of a segment of `directory`.
    pub fn decode(block: &[u8], directory: DirectoryId) -> Result<SegmentHeader, HeaderFault> {
        if is_zero(block) {
            return Err(HeaderFault::Empty);
        }
        let claimed = BlockHeader::read(block);
        // A sound header of another directory is told apart from a damaged one: the remedy differs.
        let seal = Seal::new(claimed.directory);
        let mut first = None;
        for (index, sector) in block.chunks_exact(SECTOR_BYTES).enumerate() {
            match (seal.open(sector, index as u32), first) {
                (Sector::Sealed { identity, mark: Mark { start: 0, link: LinkKind::None }, .. }, None) => {
                    first = Some(identity);
                }
                (Sector::Sealed { identity, .. }, Some(before)) if identity == before => {}
                _ => return Err(HeaderFault::Checksum),
            }
        }
        let fields = &block[BLOCK_HEADER_BYTES..];
        if fields[0..8] != MAGIC {
            return Err(HeaderFault::NotASegment);
        }
        if claimed.directory != directory {
            return Err(HeaderFault::ForeignDirectory(claimed.directory));
        }
        let version = get_u32(fields, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version(version));
        }
        let bytes = get_u64(fields, 24);
        if claimed.index != 0 || get_u32(fields, 12) != BLOCK_BYTES as u32 || !valid_segment_bytes(bytes) {
            return Err(HeaderFault::NotASegment);
        }
        Ok(SegmentHeader {
            directory,
            server: get_u64(fields, 16),
            sequence: claimed.sequence,
            identity: first.unwrap_or_default(),
            bytes,
        })
    }
}

/// Why block 0 is not the header of one of our segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeaderFault {
    /// All zeroes.
    #[error("the segment header is empty")]
    Empty,
    /// Changed since it was written.
    #[error("the segment header fails its checksum")]
    Checksum,
    /// Whole, but something else.
    #[error("the block is not a segment header")]
    NotASegment,
    /// Of another data directory.
    #[error("the segment belongs to another data directory ({0:?})")]
    ForeignDirectory(DirectoryId),
    /// Written by another version.
    #[error("the segment has format version {0}, this program reads {FORMAT_VERSION}")]
    Version(u32),
}

/// Whether a segment can have this size: whole blocks, room for a batch, and no more than marks can number.
pub const fn valid_segment_bytes(bytes: u64) -> bool {
    let block = BLOCK_BYTES as u64;
    bytes.is_multiple_of(block) && bytes >= 2 * block && bytes / block <= SEGMENT_BLOCKS_MAX as u64
}

/// How the first batch of a segment relates to what was written before. Every other batch has [`LinkKind::None`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LinkKind {
    /// The batch continues its own segment.
    #[default]
    None,
    /// The segment before was full: the writer that filled it goes on here, and had completed every batch there.
    Rollover,
    /// The log ends earlier than its bytes do (a restart, a TRUNC): a batch at the old end may be torn or void.
    Cut,
    /// The log begins anew at the base zxid (a first start, a snapshot taken from elsewhere): all before is void.
    Reset,
}

impl LinkKind {
    const fn bits(self) -> u32 {
        match self {
            LinkKind::None => 0,
            LinkKind::Rollover => 1,
            LinkKind::Cut => 2,
            LinkKind::Reset => 3,
        }
    }

    const fn from_bits(bits: u32) -> LinkKind {
        match bits & 3 {
            0 => LinkKind::None,
            1 => LinkKind::Rollover,
            2 => LinkKind::Cut,
            _ => LinkKind::Reset,
        }
    }
}

/// Where a chain of batches ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogEnd {
    /// The segment with the last batch.
    pub sequence: SegmentSeq,
    /// That segment's identity.
    pub identity: SegmentIdentity,
    /// The first block behind the last batch.
    pub block: u32,
    /// Checksum of the last batch.
    pub chain: u32,
}

/// What the first batch of a segment continues.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Kind; never [`LinkKind::None`].
    pub kind: LinkKind,
    /// The end that it continues; `None` exactly for [`LinkKind::Reset`].
    pub previous: Option<LogEnd>,
    /// The last zxid of the log before this batch; larger ones in the old chain are void.
    pub base: Zxid,
    /// The base of the [`LinkKind::Reset`] with which this log began: which history it belongs to.
    pub origin: Zxid,
}

/// The header of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Checksum of the batch before; 0 behind a [`LinkKind::Reset`].
    pub previous: u32,
    /// Records in the batch.
    pub records: u32,
    /// The commit point known when the batch was written.
    pub commit: Zxid,
    /// Zxid of the first record; the base of the log when there is none.
    pub first: Zxid,
    /// Zxid of the last record; the base of the log when there is none.
    pub last: Zxid,
    /// Bytes of the records with their headers.
    pub record_bytes: u64,
    /// For the first batch of a segment.
    pub link: Option<Link>,
}

impl BatchHeader {
    pub(super) fn write(&self, first_block: &mut [u8]) {
        let fields = &mut first_block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + BATCH_HEADER_BYTES];
        put_u32(fields, 0, self.previous);
        put_u32(fields, 4, self.records);
        put_u64(fields, 8, self.commit.0);
        put_u64(fields, 16, self.first.0);
        put_u64(fields, 24, self.last.0);
        put_u64(fields, 32, self.record_bytes);
        let (end, base, origin) = match self.link {
            Some(link) => (link.previous, link.base, link.origin),
            None => (None, Zxid::ZERO, Zxid::ZERO),
        };
        put_u64(fields, 40, end.map_or(0, |end| end.sequence.0));
        put_u64(fields, 48, end.map_or(0, |end| end.identity.0));
        put_u32(fields, 56, end.map_or(0, |end| end.block));
        put_u32(fields, 60, 0);
        put_u64(fields, 64, base.0);
        put_u64(fields, 72, origin.0);
    }

    /// Reads the header of a batch whose first sector is valid and has this link kind in its mark.
    pub(super) fn read(first_block: &[u8], kind: LinkKind) -> BatchHeader {
        let fields = &first_block[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + BATCH_HEADER_BYTES];
        let previous = get_u32(fields, 0);
        let end = LogEnd {
            sequence: SegmentSeq(get_u64(fields, 40)),
            identity: SegmentIdentity(get_u64(fields, 48)),
            block: get_u32(fields, 56),
            chain: previous,
        };
        let base = Zxid(get_u64(fields, 64));
        let origin = Zxid(get_u64(fields, 72));
        let link = match kind {
            LinkKind::None => None,
            LinkKind::Reset => Some(Link { kind, previous: None, base, origin }),
            LinkKind::Rollover | LinkKind::Cut => Some(Link { kind, previous: Some(end), base, origin }),
        };
        BatchHeader {
            previous,
            records: get_u32(fields, 4),
            commit: Zxid(get_u64(fields, 8)),
            first: Zxid(get_u64(fields, 16)),
            last: Zxid(get_u64(fields, 24)),
            record_bytes: get_u64(fields, 32),
            link,
        }
    }
}

/// The header of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BlockHeader {
    pub(super) directory: DirectoryId,
    pub(super) sequence: SegmentSeq,
    pub(super) index: u32,
    pub(super) batch_blocks: u32,
}

impl BlockHeader {
    pub(super) fn read(block: &[u8]) -> BlockHeader {
        BlockHeader {
            directory: DirectoryId(get_u64(block, 0)),
            sequence: SegmentSeq(get_u64(block, 8)),
            index: get_u32(block, 16),
            batch_blocks: get_u32(block, 20),
        }
    }

    fn write(&self, block: &mut [u8]) {
        put_u64(block, 0, self.directory.0);
        put_u64(block, 8, self.sequence.0);
        put_u32(block, 16, self.index);
        put_u32(block, 20, self.batch_blocks);
    }
}

/// What every sector says about the batch that it belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// The first block of the batch.
    pub(super) start: u32,
    /// The batch's link kind.
    pub(super) link: LinkKind,
}

impl Mark {
    const fn bits(self) -> u32 {
        self.start | self.link.bits() << START_BITS
    }

    const fn from_bits(bits: u32) -> Mark {
        Mark { start: bits & (SEGMENT_BLOCKS_MAX - 1), link: LinkKind::from_bits(bits >> START_BITS) }
    }
}

/// A sector as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sector {
    /// All zeroes: never written.
    Blank,
    /// Valid at this place of this directory, in the use of the file that `identity` names.
    Sealed { identity: SegmentIdentity, mark: Mark, crc: u32 },
    /// Neither: changed since it was written, or written elsewhere. The identity is what its field says.
    Broken { identity: SegmentIdentity },
}

/// Where a batch goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) sequence: SegmentSeq,
    pub(super) identity: SegmentIdentity,
    pub(super) start: u32,
    pub(super) link: LinkKind,
}

/// Seals and opens the sectors of one data directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    directory: DirectoryId,
    seed: u32,
}

impl Seal {
    pub(super) fn new(directory: DirectoryId) -> Seal {
        Seal { directory, seed: crc32c::crc32c(&directory.0.to_le_bytes()) }
    }

    pub(super) fn directory(&self) -> DirectoryId {
        self.directory
    }

    /// Judges a sector by itself; `index` is its number within the segment.
    pub(super) fn open(&self, sector: &[u8], index: u32) -> Sector {
        let identity = SegmentIdentity(get_u64(sector, IDENTITY_AT));
        let crc = get_u32(sector, CRC_AT);
        if identity.0 != 0 && crc == self.crc(sector, index) {
            Sector::Sealed { identity, mark: Mark::from_bits(get_u32(sector, MARK_AT)), crc }
        } else if identity.0 == 0 && is_zero(sector) {
            Sector::Blank
        } else {
            Sector::Broken { identity }
        }
    }

    fn crc(&self, sector: &[u8], index: u32) -> u32 {
        crc32c::crc32c_append(self.seed ^ index, &sector[..CRC_AT])
    }
}

/// Fills in the block headers and trailers of a batch and returns its checksum.
pub(super) fn seal_blocks(seal: &Seal, place: Place, blocks: &mut [u8]) -> u32 {
    let batch_blocks = (blocks.len() / BLOCK_BYTES) as u32;
    let mark = Mark { start: place.start, link: place.link }.bits();
    let mut chain = 0;
    for (offset, block) in blocks.chunks_exact_mut(BLOCK_BYTES).enumerate() {
        let index = place.start + offset as u32;
        BlockHeader { directory: seal.directory, sequence: place.sequence, index, batch_blocks }.write(block);
        let mut crcs = [0; SECTORS_PER_BLOCK * 4];
        for (number, sector) in block.chunks_exact_mut(SECTOR_BYTES).enumerate() {
            put_u64(sector, IDENTITY_AT, place.identity.0);
            put_u32(sector, MARK_AT, mark);
            let crc = seal.crc(sector, index * SECTORS_PER_BLOCK as u32 + number as u32);
            put_u32(sector, CRC_AT, crc);
            put_u32(&mut crcs, number * 4, crc);
        }
        chain = crc32c::crc32c_append(chain, &crcs);
    }
    chain
}

/// Continues the checksum of a batch over one more of its blocks.
pub(super) fn chain_over(chain: u32, block: &[u8]) -> u32 {
    let mut crcs = [0; SECTORS_PER_BLOCK * 4];
    for (number, sector) in block.chunks_exact(SECTOR_BYTES).enumerate() {
        put_u32(&mut crcs, number * 4, get_u32(sector, CRC_AT));
    }
    crc32c::crc32c_append(chain, &crcs)
}

/// The payload pieces of block `offset` of a batch, in order: bodies without the headers.
pub(super) fn payload(block: &[u8], first_of_batch: bool) -> impl Iterator<Item = &[u8]> {
    let headers = BLOCK_HEADER_BYTES + if first_of_batch { BATCH_HEADER_BYTES } else { 0 };
    block.chunks_exact(SECTOR_BYTES).enumerate().map(move |(number, sector)| {
        let from = if number == 0 { headers } else { 0 };
        &sector[from..SECTOR_BODY_BYTES]
    })
}

/// Blocks that a batch with so many record bytes (headers included) takes.
pub(super) const fn batch_blocks(record_bytes: u64) -> u64 {
    (record_bytes + BATCH_HEADER_BYTES as u64).div_ceil(BLOCK_PAYLOAD_BYTES as u64)
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // In strides that the processor takes at once.
    bytes.chunks(64).all(|stride| stride.iter().fold(0, |any, byte| any | byte) == 0)
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(raw)
}

pub(super) fn get_u64(bytes: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(raw)
}
