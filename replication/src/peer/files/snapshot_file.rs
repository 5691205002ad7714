//! Snapshot files (`FileSnap`): `snapshot.<last zxid when the dump began>`.
//!
//! ```text
//! int "ZKSN", int 2, long -1
//! sessions, ACL table, nodes, ustring "/"                    as in a SNAP stream
//! seal: long Adler-32 of everything before it, ustring "/"
//! long zxid, int digest version, long digest; seal           since 3.6
//! long last zxid; seal                                       since 3.9
//! ```
//! The checksum runs over the stream before compression, former seals included. Which optional sections there are is
//! told by the end of the file alone.

use super::digest::{DIGEST_VERSION, TreeDigest, TxnDigest, ZxidDigest};
use super::{FileError, fill};
use crate::peer::snapshot::reader::{Decoder, Event, SnapshotError};
use crate::peer::snapshot::writer::END_OF_NODES;
use adler2::Adler32;
use engine::jute::Writer;
use engine::zxid::Zxid;
use std::io::{self, Read, Write};

const MAGIC: [u8; 4] = *b"ZKSN";
const VERSION: i32 = 2;
const DBID: i64 = -1;
/// Bytes that are read at a time.
const READ_BYTES: usize = 64 << 10;

/// What a snapshot file says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SnapshotFacts {
    /// Digest of the tree when the dump had ended; `None` if the file has none.
    pub digest: Option<ZxidDigest>,
    /// The last transaction in it; `None` in files of servers before 3.9.
    pub last_zxid: Option<Zxid>,
}

/// Reads a whole file (uncompressed) and shows what it tells to `each`. What was shown counts only if the end is
/// reached: the checksum stands there.
///
/// # Errors
/// [`FileError`]: the file is damaged, cut short or no snapshot, or `each` refuses it.
pub fn read_snapshot(
    input: &mut dyn Read,
    length_max: usize,
    each: &mut dyn FnMut(Event<'_>) -> Result<(), SnapshotError>,
) -> Result<SnapshotFacts, FileError> {
    let mut source = Source { input, bytes: Vec::new(), at: 0, adler: Adler32::new() };
    let header = source.exactly::<16>()?;
    if header[..4] != MAGIC {
        return Err(FileError::Magic("snapshot"));
    }
    let [_, _, _, _, a, b, c, d, ..] = header;
    let version = i32::from_be_bytes([a, b, c, d]);
    if version != VERSION {
        return Err(FileError::Version("snapshot", version));
    }
    let mut decoder = Decoder::new(length_max, false);
    while !decoder.is_done() {
        let step = decoder.step(&source.bytes[source.at..])?;
        let is_short = step.event.is_none();
        if let Some(event) = step.event {
            each(event)?;
        }
        source.consume(step.consumed);
        if is_short && !decoder.is_done() && !source.read_more(READ_BYTES)? {
            return Err(FileError::CutShort("snapshot"));
        }
    }
    source.seal()?;
    let mut facts = SnapshotFacts::default();
    if source.is_at_end()? {
        return Ok(facts);
    }
    let zxid = i64::from_be_bytes(source.exactly()?);
    let version = i32::from_be_bytes(source.exactly()?);
    let digest = if version < DIGEST_VERSION { source.hex()? } else { u64::from_be_bytes(source.exactly()?) };
    source.seal()?;
    if zxid != 0 {
        facts.digest = Some(ZxidDigest { zxid: Zxid::from_wire(zxid), digest: TxnDigest { version, digest } });
    }
    if source.is_at_end()? {
        return Ok(facts);
    }
    facts.last_zxid = Some(Zxid(u64::from_be_bytes(source.exactly()?)));
    source.seal()?;
    Ok(facts)
}

/// The file, with what has been read ahead of it.
struct Source<'a> {
    input: &'a mut dyn Read,
    bytes: Vec<u8>,
    at: usize,
    adler: Adler32,
}

impl Source<'_> {
    /// Marks bytes as read.
    fn consume(&mut self, bytes: usize) {
        self.adler.write_slice(&self.bytes[self.at..self.at + bytes]);
        self.at += bytes;
    }

    /// Reads on; false at the end of the file.
    fn read_more(&mut self, bytes: usize) -> io::Result<bool> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + bytes, 0);
        let found = fill(self.input, &mut self.bytes[before..])?;
        self.bytes.truncate(before + found);
        Ok(found > 0)
    }

    fn is_at_end(&mut self) -> io::Result<bool> {
        Ok(self.at == self.bytes.len() && !self.read_more(READ_BYTES)?)
    }

    fn take(&mut self, bytes: usize) -> Result<&[u8], FileError> {
        while self.bytes.len() - self.at < bytes {
            if !self.read_more(READ_BYTES)? {
                return Err(FileError::CutShort("snapshot"));
            }
        }
        self.consume(bytes);
        Ok(&self.bytes[self.at - bytes..self.at])
    }

    fn exactly<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        let mut taken = [0; N];
        taken.copy_from_slice(self.take(N)?);
        Ok(taken)
    }

    /// A checksum and the mark behind it.
    fn seal(&mut self) -> Result<(), FileError> {
        let computed = u64::from(self.adler.checksum());
        let stored = u64::from_be_bytes(self.exactly()?);
        let mark: [u8; 5] = self.exactly()?;
        if stored != computed || mark != [0, 0, 0, 1, END_OF_NODES.as_bytes()[0]] {
            return Err(FileError::SnapshotChecksum);
        }
        Ok(())
    }

    /// The digest of an old version: text in base 16, or null.
    fn hex(&mut self) -> Result<u64, FileError> {
        let length = i32::from_be_bytes(self.exactly()?);
        let length = usize::try_from(length).unwrap_or(0);
        if length > 64 {
            return Err(FileError::SnapshotChecksum);
        }
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        Ok(u64::from_str_radix(&text, 16).unwrap_or_default())
    }
}

/// Writes a snapshot file.
pub struct SnapshotFileWriter<W> {
    out: W,
    adler: Adler32,
}

impl<W: Write> SnapshotFileWriter<W> {
    /// A writer, which writes the header.
    ///
    /// # Errors
    /// The stream's.
    pub fn new(out: W) -> io::Result<SnapshotFileWriter<W>> {
        let mut writer = SnapshotFileWriter { out, adler: Adler32::new() };
        let mut header = MAGIC.to_vec();
        let mut w = Writer::new(&mut header);
        w.int(VERSION);
        w.long(DBID);
        writer.write(&header)?;
        Ok(writer)
    }

    /// Appends a part of the body ([`crate::peer::snapshot::stream::SnapshotStream`] without signature).
    ///
    /// # Errors
    /// The stream's.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.adler.write_slice(bytes);
        self.out.write_all(bytes)
    }

    /// Appends all three seals, with the digest of the tree at `zxid`, and gives the stream back to be flushed.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(mut self, zxid: Zxid, tree: TreeDigest) -> io::Result<W> {
        self.seal()?;
        let mut section = Vec::new();
        let mut w = Writer::new(&mut section);
        w.long(zxid.to_wire());
        w.int(DIGEST_VERSION);
        w.long(if zxid == Zxid::ZERO { 0 } else { tree.0 as i64 });
        self.write(&section)?;
        self.seal()?;
        self.write(&zxid.to_wire().to_be_bytes())?;
        self.seal()?;
        Ok(self.out)
    }

    fn seal(&mut self) -> io::Result<()> {
        let mut seal = Vec::new();
        let mut w = Writer::new(&mut seal);
        w.long(i64::from(self.adler.checksum()));
        w.string(END_OF_NODES);
        self.write(&seal)
    }
}
