//! The compressions of snapshot files (`SnapStream`): none, gzip, and snappy in the blocks of the xerial library.

use flate2::read::GzDecoder;
use std::io::{self, Read};

/// How a file is compressed, as its name tells.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`
    Gzip,
    /// `.snappy`
    Snappy,
}

impl Compression {
    /// What the file's name ends with.
    pub const fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Snappy => ".snappy",
        }
    }

    /// The file's content.
    pub fn reader<'a>(self, file: impl Read + 'a) -> Box<dyn Read + 'a> {
        match self {
            Compression::None => Box::new(file),
            Compression::Gzip => Box::new(GzDecoder::new(file)),
            Compression::Snappy => Box::new(SnappyReader::new(file)),
        }
    }
}

/// First bytes of a xerial stream; its version and the least version that can read it follow, 4 bytes each.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER: usize = 16;
/// The library writes blocks of 32 KiB unless told otherwise; more than this is damage.
const BLOCK_MAX: usize = 32 << 20;

/// Reads a xerial stream: a header, then blocks of raw snappy, each behind its compressed length.
#[derive(Debug)]
pub struct SnappyReader<R> {
    input: R,
    has_header: bool,
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> SnappyReader<R> {
    /// A reader.
    pub fn new(input: R) -> SnappyReader<R> {
        SnappyReader { input, has_header: false, block: Vec::new(), at: 0 }
    }

    /// Reads the next block; false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("the snappy stream {what}"));
        if !self.has_header {
            let mut header = [0; XERIAL_HEADER];
            self.input.read_exact(&mut header)?;
            if header[..8] != XERIAL_MAGIC {
                return Err(damaged("does not begin as one of the xerial library"));
            }
            self.has_header = true;
        }
        let mut length = [0; 4];
        match super::fill(&mut self.input, &mut length)? {
            0 => return Ok(false),
            4 => {}
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > BLOCK_MAX {
            return Err(damaged("has a block that is too long"));
        }
        let mut compressed = vec![0; length];
        self.input.read_exact(&mut compressed)?;
        let plain = snap::raw::decompress_len(&compressed).map_err(io::Error::from)?;
        if plain > BLOCK_MAX {
            return Err(damaged("has a block that is too long"));
        }
        self.block = snap::raw::Decoder::new().decompress_vec(&compressed).map_err(io::Error::from)?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() && !buf.is_empty() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let bytes = buf.len().min(self.block.len() - self.at);
        buf[..bytes].copy_from_slice(&self.block[self.at..self.at + bytes]);
        self.at += bytes;
        Ok(bytes)
    }
}
