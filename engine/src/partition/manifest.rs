//! The checkpoint manifest: one small file that says which bytes of which files are the database.
//!
//! It is written to a temporary file, flushed, and renamed. All numbers are little-endian:
//!
//! ```text
//!  0  magic "RKMF"                8  server id u64              24  zxid of the checkpoint u64
//!  4  format version u32         16  fingerprint of the hash key u64
//! 32  number of partitions u32, its highest bit set if the state was taken from elsewhere, and for each partition:
//!       partition u16, zero u16, generation u32, zxid u64, nodes u64, live bytes u64, dead bytes u64,
//!       number of segments u32, and for each: generation u32, number u32, size of the file u64, end u64
//!     length of the system state u64, its crc32c u32, and the system state
//!     crc32c u32 of everything before
//! ```
//!
//! Whatever comes between, every format ends with that checksum: so damage is told apart from another format.
//!
//! The system state (sessions, ACL table, configuration) is the replication role's; here it is bytes.

use super::record::NODE_FIXED;
use crate::ids::PartitionId;
use crate::path::HashKey;
use crate::zxid::Zxid;
use xxhash_rust::xxh3::xxh3_64;

const MAGIC: [u8; 4] = *b"RKMF";
const FORMAT: u32 = 1;
/// Set in the number of partitions when [`Manifest::is_installed`].
const INSTALLED: u32 = 1 << 31;
const PARTITION_BYTES: usize = 2 + 2 + 4 + 4 * 8 + 4;
const SEGMENT_BYTES: usize = 4 + 4 + 8 + 8;

/// A checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// The server that the data directory belongs to.
    pub server: u64,
    /// [`Manifest::fingerprint`] of the key under which paths are hashed; the key is in a file of its own.
    pub hash_key: u64,
    /// The checkpoint's transaction.
    pub zxid: Zxid,
    /// The state was taken from elsewhere (a leader's snapshot, another server's files), and the write-ahead log is not
    /// known to have been begun anew behind it: what the log holds counts only if it was.
    pub is_installed: bool,
    /// The partitions.
    pub partitions: Vec<PartitionCut>,
    /// State beside the tree, opaque here.
    pub system: Vec<u8>,
}

/// What a manifest says of one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartitionCut {
    /// The partition.
    pub partition: PartitionId,
    /// The generation that new records go to.
    pub generation: u32,
    /// Everything up to this transaction is in the log; replay begins behind it.
    pub zxid: Zxid,
    /// Nodes.
    pub nodes: u64,
    /// Bytes of records that say what is.
    pub live_bytes: u64,
    /// Bytes of records that have been superseded.
    pub dead_bytes: u64,
    /// The segments that hold the log, in the order in which they were written.
    pub segments: Vec<SegmentCut>,
}

/// What a manifest says of one segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentCut {
    /// The generation.
    pub generation: u32,
    /// Number of the segment, unique in its partition.
    pub segment: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Where its records end. What is behind is to be ignored, and overwritten.
    pub end: u64,
}

/// Why bytes are not a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// Something else altogether.
    #[error("the checkpoint manifest does not begin like one; restore it from a backup")]
    Magic,
    /// Written by another version.
    #[error(
        "the checkpoint manifest has format {0}, and this server reads format {FORMAT}; use the server that wrote it"
    )]
    Format(u32),
    /// Too short, a failed checksum, or values that contradict each other.
    #[error("the checkpoint manifest is damaged ({0}); restore the data directory from a backup")]
    Damaged(&'static str),
}

impl PartitionCut {
    /// Nodes for which to make room: as many as there are, unless a log of this length cannot hold them, so that no
    /// number in a file makes anybody allocate much more than the files are long.
    pub fn room(&self) -> usize {
        let log_bytes = self.segments.iter().fold(0_u64, |sum, segment| sum.saturating_add(segment.end));
        self.nodes.min(log_bytes / NODE_FIXED as u64) as usize
    }
}

impl Manifest {
    /// A number that tells hash keys apart and gives nothing of them away.
    pub fn fingerprint(key: &HashKey) -> u64 {
        xxh3_64(key.as_bytes())
    }

    /// The file's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.partitions.len() * 256 + self.system.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        for number in [self.server, self.hash_key, self.zxid.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let flags = if self.is_installed { INSTALLED } else { 0 };
        out.extend_from_slice(&(self.partitions.len() as u32 | flags).to_le_bytes());
        for cut in &self.partitions {
            out.extend_from_slice(&cut.partition.0.to_le_bytes());
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&cut.generation.to_le_bytes());
            for number in [cut.zxid.0, cut.nodes, cut.live_bytes, cut.dead_bytes] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            out.extend_from_slice(&(cut.segments.len() as u32).to_le_bytes());
            for segment in &cut.segments {
                out.extend_from_slice(&segment.generation.to_le_bytes());
                out.extend_from_slice(&segment.segment.to_le_bytes());
                out.extend_from_slice(&segment.bytes.to_le_bytes());
                out.extend_from_slice(&segment.end.to_le_bytes());
            }
        }
        out.extend_from_slice(&(self.system.len() as u64).to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&self.system).to_le_bytes());
        out.extend_from_slice(&self.system);
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the file's content.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(ManifestError::Magic);
        }
        let mut rest = Fields(&bytes[MAGIC.len()..]);
        let format = rest.u32()?;
        let (body, crc) = bytes.split_last_chunk().ok_or(SHORT)?;
        if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
            return Err(ManifestError::Damaged("its checksum fails"));
        }
        if format != FORMAT {
            return Err(ManifestError::Format(format));
        }
        let (server, hash_key, zxid) = (rest.u64()?, rest.u64()?, Zxid(rest.u64()?));
        let count = rest.u32()?;
        let is_installed = count & INSTALLED != 0;
        let count = rest.fitting(count & !INSTALLED, PARTITION_BYTES)?;
        let partitions = (0..count).map(|_| decode_partition(&mut rest)).collect::<Result<_, _>>()?;
        let (system_bytes, system_crc) = (rest.u64()?, rest.u32()?);
        let system = usize::try_from(system_bytes).ok().and_then(|bytes| rest.take(bytes)).ok_or(SHORT)?;
        if system_crc != crc32c::crc32c(system) {
            return Err(ManifestError::Damaged("the checksum of its system state fails"));
        }
        if rest.0.len() != crc.len() {
            return Err(ManifestError::Damaged("it is too long"));
        }
        Ok(Manifest { server, hash_key, zxid, is_installed, partitions, system: system.to_vec() })
    }
}

const SHORT: ManifestError = ManifestError::Damaged("it is too short");

fn decode_partition(rest: &mut Fields<'_>) -> Result<PartitionCut, ManifestError> {
    let partition = PartitionId(rest.u32()? as u16);
    let generation = rest.u32()?;
    let (zxid, nodes, live_bytes, dead_bytes) = (Zxid(rest.u64()?), rest.u64()?, rest.u64()?, rest.u64()?);
    let count = rest.count(SEGMENT_BYTES)?;
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        let segment =
            SegmentCut { generation: rest.u32()?, segment: rest.u32()?, bytes: rest.u64()?, end: rest.u64()? };
        if segment.end > segment.bytes {
            return Err(ManifestError::Damaged("a segment ends behind its end"));
        }
        if segment.generation > generation {
            return Err(ManifestError::Damaged("a segment is newer than its partition"));
        }
        segments.push(segment);
    }
    Ok(PartitionCut { partition, generation, zxid, nodes, live_bytes, dead_bytes, segments })
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ManifestError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, ManifestError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ManifestError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things of at least `each` bytes, which must be there.
    fn count(&mut self, each: usize) -> Result<usize, ManifestError> {
        let count = self.u32()?;
        self.fitting(count, each)
    }

    /// The same number, if as many things may be there.
    fn fitting(&self, count: u32, each: usize) -> Result<usize, ManifestError> {
        let count = count as usize;
        if count > self.0.len() / each { Err(SHORT) } else { Ok(count) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Manifest {
        let segment = |segment| SegmentCut { generation: segment % 2, segment, bytes: 65536, end: 4096 };
        let cut = |partition| PartitionCut {
            partition: PartitionId(partition),
            generation: 1,
            zxid: Zxid::new(3, u32::from(partition)),
            nodes: 12,
            live_bytes: 3000,
            dead_bytes: 1096,
            segments: (0..u32::from(partition)).map(segment).collect(),
        };
        Manifest {
            server: 7,
            hash_key: Manifest::fingerprint(&HashKey::new([9; HashKey::BYTES])),
            zxid: Zxid::new(3, 9),
            is_installed: false,
            partitions: (0..4).map(cut).collect(),
            system: b"sessions and lists".to_vec(),
        }
    }

    #[test]
    fn reads_back() {
        assert_eq!(Manifest::decode(&sample().encode()), Ok(sample()));
        let installed = Manifest { is_installed: true, ..sample() };
        assert_eq!(Manifest::decode(&installed.encode()), Ok(installed));
        let empty = Manifest { partitions: vec![], system: vec![], ..sample() };
        assert_eq!(Manifest::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn no_byte_can_change_and_none_can_be_missing() {
        let mut bytes = sample().encode();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                let found = Manifest::decode(&bytes);
                assert!(matches!(found, Err(ManifestError::Damaged(_) | ManifestError::Magic)), "byte {at}: {found:?}");
                bytes[at] ^= 1 << bit;
            }
            assert!(Manifest::decode(&bytes[..at]).is_err());
        }
        bytes.push(0);
        assert!(Manifest::decode(&bytes).is_err());
    }

    #[test]
    fn errors_name_the_remedy() {
        let mut bytes = sample().encode();
        bytes[4] = 2;
        let end = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..end]);
        bytes[end..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Format(2)));
        assert!(ManifestError::Format(2).to_string().contains("use the server that wrote it"));
    }

    proptest! {
        /// Also with a checksum that holds.
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut all = sample().encode()[..32].to_vec();
            all.extend_from_slice(&bytes);
            let crc = crc32c::crc32c(&all);
            all.extend_from_slice(&crc.to_le_bytes());
            let _ = Manifest::decode(&all);
        }
    }
}
