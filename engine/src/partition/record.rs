//! Records of a partition's log, and the header of a segment.
//!
//! All numbers are little-endian. A segment begins with its header:
//!
//! ```text
//!  0  magic "RKPL"        8  generation u32       16  size of the file u64     28  crc32c of bytes 0..28
//!  4  format version u16  12 number u32           24  zero u32
//!  6  partition u16
//! ```
//!
//! Records follow, each beginning at a multiple of 4 (zero bytes between). None crosses the end of a segment. A record:
//!
//! ```text
//!  0  crc32c u32 of bytes 4..length, begun with the segment's seed and the record's offset, so that bytes that belong
//!     elsewhere fail it
//!  4  length u32, header included, padding not
//!  8  kind u8             9  flags u8             10  zero u16                 12  zxid u64
//! 20  what the kind says
//! ```
//!
//! What the kinds say:
//!
//! ```text
//! 1 node    20 hash 16                 48 version i32     60 owner i64     84 mzxid u64     108 path, data
//!           36 path length u32         52 aversion i32    68 czxid u64     92 mtime i64
//!           40 data length i32 (or -1) 56 cversion i32    76 ctime i64    100 pzxid u64
//!           44 acl u32
//! 2 link    20 parent's hash 16   36 child's hash 16   52 parent's cversion i32   56 child's name
//! 3 unlink  20 parent's hash 16   36 child's hash 16   52 length of the link's record u32
//! 4 remove  20 hash 16
//! 5 acl     20 hash 16   36 acl u32   40 aversion i32
//! 6 pad     20 zeroes up to the end of a block, since one that a checkpoint relies on is never written again
//! ```
//!
//! A node record holds the whole node as it was when written; the later records of its children and its ACL amend it.
//! Flags of a link: 1, the parent's pzxid becomes the record's zxid; 2, the cversion counts. Of an unlink: 1 likewise.
//! A link that compaction moved has neither, for the parent's own record says both.

use crate::acl::AclId;
use crate::ids::PartitionId;
use crate::node_owner::NodeOwner;
use crate::partition::types::NodeImage;
use crate::path::PathHash;
use crate::zxid::Zxid;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 32;
/// Version of the format, in every segment's header.
pub(super) const FORMAT: u16 = 1;
const MAGIC: [u8; 4] = *b"RKPL";

/// Bytes of a record before what its kind says.
pub(super) const HEADER: usize = 20;
/// Bytes of a node record without path and data.
pub(super) const NODE_FIXED: usize = HEADER + 16 + 6 * 4 + 6 * 8;
/// Bytes of a link record without the name.
pub(super) const LINK_FIXED: usize = HEADER + 2 * 16 + 4;
const UNLINK_BYTES: usize = HEADER + 2 * 16 + 4;
const REMOVE_BYTES: usize = HEADER + 16;
const ACL_BYTES: usize = HEADER + 16 + 2 * 4;

const KIND_NODE: u8 = 1;
const KIND_LINK: u8 = 2;
const KIND_UNLINK: u8 = 3;
const KIND_REMOVE: u8 = 4;
const KIND_ACL: u8 = 5;
const KIND_PAD: u8 = 6;

const MOVES_PZXID: u8 = 1;
const SETS_CVERSION: u8 = 2;

const _: () = assert!(NODE_FIXED == 108 && LINK_FIXED == 56 && UNLINK_BYTES == 56 && REMOVE_BYTES == 36);
const _: () = assert!(ACL_BYTES == 44 && SEGMENT_HEADER.is_multiple_of(4));

/// A record, apart from its zxid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Record<'a> {
    /// The whole node.
    Node(NodeImage<'a>),
    /// A child comes, or is where it was.
    Link(Link<'a>),
    /// A child goes.
    Unlink {
        parent: PathHash,
        child: PathHash,
        moves_pzxid: bool,
        /// Bytes of the link record that this ends.
        link_bytes: u32,
    },
    /// The node goes.
    Remove { hash: PathHash },
    /// The node has another ACL.
    Acl { hash: PathHash, acl: AclId, aversion: i32 },
    /// Nothing, of this length in all.
    Pad { bytes: usize },
}

/// What a link record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Link<'a> {
    pub(super) parent: PathHash,
    pub(super) child: PathHash,
    /// The parent's cversion, where it changes.
    pub(super) cversion: Option<i32>,
    pub(super) moves_pzxid: bool,
    pub(super) name: &'a str,
}

impl Record<'_> {
    /// Length without padding; a record is below 4 GiB since jute's lengths are signed 32-bit numbers.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Record::Node(node) => NODE_FIXED + node.path.len() + node.data.map_or(0, <[u8]>::len),
            Record::Link(link) => LINK_FIXED + link.name.len(),
            Record::Unlink { .. } => UNLINK_BYTES,
            Record::Remove { .. } => REMOVE_BYTES,
            Record::Acl { .. } => ACL_BYTES,
            Record::Pad { bytes } => *bytes,
        }
    }

    /// Appends the record and its padding to `out`. `seed` is that of its place ([`seed_at`]).
    pub(super) fn encode(&self, zxid: Zxid, seed: u32, out: &mut Vec<u8>) {
        let start = out.len();
        let (kind, flags) = match self {
            Record::Node(_) => (KIND_NODE, 0),
            Record::Link(link) => {
                (KIND_LINK, flag(link.moves_pzxid, MOVES_PZXID) | flag(link.cversion.is_some(), SETS_CVERSION))
            }
            Record::Unlink { moves_pzxid, .. } => (KIND_UNLINK, flag(*moves_pzxid, MOVES_PZXID)),
            Record::Remove { .. } => (KIND_REMOVE, 0),
            Record::Acl { .. } => (KIND_ACL, 0),
            Record::Pad { .. } => (KIND_PAD, 0),
        };
        let length = self.bytes();
        let mut header = [0; HEADER];
        header[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        header[8..10].copy_from_slice(&[kind, flags]);
        header[12..20].copy_from_slice(&zxid.0.to_le_bytes());
        out.extend_from_slice(&header);
        match self {
            Record::Node(node) => encode_node(node, out),
            Record::Link(link) => {
                out.extend_from_slice(&link.parent.0.to_le_bytes());
                out.extend_from_slice(&link.child.0.to_le_bytes());
                out.extend_from_slice(&link.cversion.unwrap_or(0).to_le_bytes());
                out.extend_from_slice(link.name.as_bytes());
            }
            Record::Unlink { parent, child, link_bytes, .. } => {
                out.extend_from_slice(&parent.0.to_le_bytes());
                out.extend_from_slice(&child.0.to_le_bytes());
                out.extend_from_slice(&link_bytes.to_le_bytes());
            }
            Record::Remove { hash } => out.extend_from_slice(&hash.0.to_le_bytes()),
            Record::Acl { hash, acl, aversion } => {
                out.extend_from_slice(&hash.0.to_le_bytes());
                out.extend_from_slice(&acl.0.to_le_bytes());
                out.extend_from_slice(&aversion.to_le_bytes());
            }
            Record::Pad { bytes } => out.resize(start + bytes, 0),
        }
        let crc = crc32c::crc32c_append(seed, &out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        out.resize(start + padded(length as u64) as usize, 0);
    }
}

/// A length with its padding.
pub(super) const fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(4)
}

/// Length of a record whose first bytes these are; `None` if there are too few, or they cannot begin a record.
pub(super) fn length(bytes: &[u8]) -> Option<u32> {
    let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    (length as usize >= HEADER).then_some(length)
}

/// Whether a record that begins like this holds a node.
pub(super) fn is_node(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&KIND_NODE)
}

/// Whether the checksum of a whole record (without padding) holds.
pub(super) fn is_intact(record: &[u8], seed: u32) -> bool {
    match record.split_first_chunk() {
        Some((crc, rest)) => u32::from_le_bytes(*crc) == crc32c::crc32c_append(seed, rest),
        None => false,
    }
}

/// Reads a whole record (without padding), whose checksum is the caller's business. `None` if it makes no sense.
pub(super) fn decode(record: &[u8]) -> Option<(Zxid, Record<'_>)> {
    let (header, body) = record.split_first_chunk::<HEADER>()?;
    let flags = header[9];
    let mut body = Fields(body);
    let zxid = Zxid(Fields(&header[12..]).u64()?);
    let record = match header[8] {
        KIND_NODE => Record::Node(decode_node(&mut body)?),
        KIND_LINK => {
            let (parent, child, cversion) = (body.hash()?, body.hash()?, body.i32()?);
            Record::Link(Link {
                parent,
                child,
                cversion: (flags & SETS_CVERSION != 0).then_some(cversion),
                moves_pzxid: flags & MOVES_PZXID != 0,
                name: std::str::from_utf8(body.rest()).ok()?,
            })
        }
        KIND_UNLINK => Record::Unlink {
            parent: body.hash()?,
            child: body.hash()?,
            moves_pzxid: flags & MOVES_PZXID != 0,
            link_bytes: body.u32()?,
        },
        KIND_REMOVE => Record::Remove { hash: body.hash()? },
        KIND_ACL => Record::Acl { hash: body.hash()?, acl: AclId(body.u32()?), aversion: body.i32()? },
        KIND_PAD => {
            body.rest();
            Record::Pad { bytes: record.len() }
        }
        _ => return None,
    };
    body.0.is_empty().then_some((zxid, record))
}

/// The identity of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SegmentIdentity {
    pub(super) partition: PartitionId,
    pub(super) generation: u32,
    pub(super) number: u32,
    pub(super) bytes: u64,
}

impl SegmentIdentity {
    /// The header.
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut header = [0; SEGMENT_HEADER];
        header[0..4].copy_from_slice(&MAGIC);
        header[4..6].copy_from_slice(&FORMAT.to_le_bytes());
        header[6..8].copy_from_slice(&self.partition.0.to_le_bytes());
        header[8..12].copy_from_slice(&self.generation.to_le_bytes());
        header[12..16].copy_from_slice(&self.number.to_le_bytes());
        header[16..24].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&header[..28]);
        header[28..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// What checksums of this segment's records begin with.
    pub(super) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.encode()[..16])
    }
}

/// What the checksum of the record at `offset` begins with.
pub(super) const fn seed_at(segment_seed: u32, offset: u64) -> u32 {
    segment_seed ^ offset as u32
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn encode_node(node: &NodeImage<'_>, out: &mut Vec<u8>) {
    let mut fixed = [0; NODE_FIXED - HEADER];
    fixed[0..16].copy_from_slice(&node.hash.0.to_le_bytes());
    fixed[16..20].copy_from_slice(&(node.path.len() as u32).to_le_bytes());
    fixed[20..24].copy_from_slice(&node.data.map_or(-1, |data| data.len() as i32).to_le_bytes());
    fixed[24..28].copy_from_slice(&node.acl.0.to_le_bytes());
    fixed[28..32].copy_from_slice(&node.version.to_le_bytes());
    fixed[32..36].copy_from_slice(&node.aversion.to_le_bytes());
    fixed[36..40].copy_from_slice(&node.cversion.to_le_bytes());
    fixed[40..48].copy_from_slice(&node.owner.0.to_le_bytes());
    fixed[48..56].copy_from_slice(&node.czxid.0.to_le_bytes());
    fixed[56..64].copy_from_slice(&node.ctime.to_le_bytes());
    fixed[64..72].copy_from_slice(&node.mzxid.0.to_le_bytes());
    fixed[72..80].copy_from_slice(&node.mtime.to_le_bytes());
    fixed[80..88].copy_from_slice(&node.pzxid.0.to_le_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(node.path.as_bytes());
    out.extend_from_slice(node.data.unwrap_or_default());
}

fn decode_node<'a>(body: &mut Fields<'a>) -> Option<NodeImage<'a>> {
    let hash = body.hash()?;
    let path_bytes = body.u32()? as usize;
    let data_bytes = body.i32()?;
    let acl = AclId(body.u32()?);
    let (version, aversion, cversion) = (body.i32()?, body.i32()?, body.i32()?);
    let owner = NodeOwner(body.i64()?);
    let (czxid, ctime) = (Zxid(body.u64()?), body.i64()?);
    let (mzxid, mtime) = (Zxid(body.u64()?), body.i64()?);
    let pzxid = Zxid(body.u64()?);
    let path = std::str::from_utf8(body.take(path_bytes)?).ok()?;
    let data = match data_bytes {
        -1 => None,
        bytes => Some(body.take(usize::try_from(bytes).ok()?)?),
    };
    Some(NodeImage { hash, path, data, acl, owner, czxid, ctime, mzxid, mtime, pzxid, version, cversion, aversion })
}

/// Reads fields from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn hash(&mut self) -> Option<PathHash> {
        self.array().map(u128::from_le_bytes).map(PathHash)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn samples() -> Vec<Record<'static>> {
        let (hash, child) = (PathHash(7 << 100), PathHash(9));
        let node = NodeImage {
            hash,
            path: "/a/\u{e9}",
            data: Some(b"value"),
            acl: AclId(3),
            owner: NodeOwner(-5),
            czxid: Zxid(1),
            ctime: -2,
            mzxid: Zxid(3),
            mtime: i64::MAX,
            pzxid: Zxid(u64::MAX),
            version: -1,
            cversion: i32::MIN,
            aversion: 4,
        };
        vec![
            Record::Node(node),
            Record::Node(NodeImage { data: None, ..node }),
            Record::Node(NodeImage { data: Some(b""), path: "", ..node }),
            Record::Link(Link { parent: hash, child, cversion: Some(-3), moves_pzxid: false, name: "n" }),
            Record::Link(Link { parent: hash, child, cversion: None, moves_pzxid: true, name: "" }),
            Record::Unlink { parent: hash, child, moves_pzxid: true, link_bytes: 60 },
            Record::Remove { hash },
            Record::Acl { hash, acl: AclId(9), aversion: -1 },
            Record::Pad { bytes: 20 },
            Record::Pad { bytes: 333 },
        ]
    }

    #[test]
    fn every_kind_reads_back() {
        for (n, record) in samples().into_iter().enumerate() {
            let mut bytes = vec![0; 4 * n];
            record.encode(Zxid(n as u64), 77, &mut bytes);
            let bytes = &bytes[4 * n..];
            assert_eq!(bytes.len() % 4, 0);
            let length = length(bytes).unwrap() as usize;
            assert_eq!(length, record.bytes());
            assert!(is_intact(&bytes[..length], 77));
            assert!(!is_intact(&bytes[..length], 78));
            assert_eq!(decode(&bytes[..length]), Some((Zxid(n as u64), record)));
        }
    }

    #[test]
    fn any_flipped_bit_fails_the_checksum() {
        for record in samples() {
            let mut bytes = Vec::new();
            record.encode(Zxid(5), 1, &mut bytes);
            bytes.truncate(record.bytes());
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(!is_intact(&bytes, 1));
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn the_seed_tells_segments_and_offsets_apart() {
        let one = SegmentIdentity { partition: PartitionId(1), generation: 2, number: 3, bytes: 65536 };
        for other in [
            SegmentIdentity { partition: PartitionId(2), ..one },
            SegmentIdentity { generation: 3, ..one },
            SegmentIdentity { number: 4, ..one },
        ] {
            assert_ne!(one.seed(), other.seed());
        }
        assert_ne!(seed_at(one.seed(), 32), seed_at(one.seed(), 64));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(kind in 0..9u8, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Some(at) = bytes.get_mut(8) {
                *at = kind;
            }
            let _ = decode(&bytes);
            let _ = length(&bytes);
        }
    }
}
