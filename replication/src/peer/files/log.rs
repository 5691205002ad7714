//! Transaction log files (`FileTxnLog`): `log.<zxid of the first entry>`.
//!
//! ```text
//! int "ZKLG", int 2, long dbid
//! { long Adler-32 of the entry, int length, entry (TxnHeader, record, TxnDigest), byte 'B' }
//! zeros, as far as the file was allocated ahead
//! ```

use super::{FileError, fill};
use std::io::{Read, Write};

/// First bytes of a log file.
const MAGIC: [u8; 4] = *b"ZKLG";
const VERSION: i32 = 2;
/// Behind every entry.
const END_OF_ENTRY: u8 = b'B';

/// How a log file ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogEnd {
    /// Behind a whole entry.
    Whole,
    /// In an entry that was being written when the server stopped. No server had acknowledged it.
    Torn {
        /// Where the entry begins, in bytes from the file's beginning.
        offset: u64,
    },
}

/// Reads the entries of one file.
#[derive(Debug)]
pub struct LogReader<R> {
    input: R,
    offset: u64,
    length_max: usize,
    end: Option<LogEnd>,
}

impl<R: Read> LogReader<R> {
    /// A reader that takes no entry longer than `length_max` bytes. An empty file is a log without entries.
    ///
    /// # Errors
    /// [`FileError`]: it is no log file.
    pub fn new(mut input: R, length_max: usize) -> Result<LogReader<R>, FileError> {
        let mut header = [0; 16];
        let found = fill(&mut input, &mut header)?;
        let begun = found.min(MAGIC.len());
        let begins_well = header[..begun] == MAGIC[..begun];
        if !begins_well && header.iter().any(|byte| *byte != 0) {
            return Err(FileError::Magic("transaction log"));
        }
        // A server that stopped while it began the file leaves zeros, or a part of the header.
        let end = (found < header.len() || !begins_well).then_some(LogEnd::Torn { offset: 0 });
        let [_, _, _, _, a, b, c, d, ..] = header;
        let version = i32::from_be_bytes([a, b, c, d]);
        if end.is_none() && version != VERSION {
            return Err(FileError::Version("transaction log", version));
        }
        Ok(LogReader { input, offset: header.len() as u64, length_max, end })
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// [`FileError`]: the file is damaged, which a torn tail is not.
    pub fn next_entry(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let offset = self.offset;
        let entry = match self.read()? {
            Found::Entry(bytes) => return Ok(Some(bytes)),
            Found::End(end) => end,
            Found::Torn => {
                // Entries behind this one were written later: whole ones show that this one was whole too, once.
                if let Found::Entry(_) = self.read().unwrap_or(Found::Torn) {
                    return Err(FileError::EntryEnd { offset });
                }
                LogEnd::Torn { offset }
            }
        };
        self.end = Some(entry);
        Ok(None)
    }

    /// How the file ended; `None` as long as it has not.
    pub fn end(&self) -> Option<LogEnd> {
        self.end
    }

    fn read(&mut self) -> Result<Found, FileError> {
        let offset = self.offset;
        let mut head = [0; 12];
        let found = fill(&mut self.input, &mut head)?;
        let [checksum @ .., l0, l1, l2, l3] = head;
        let length = i32::from_be_bytes([l0, l1, l2, l3]);
        if head.iter().all(|byte| *byte == 0) {
            return Ok(Found::End(LogEnd::Whole));
        }
        if found < head.len() || length == 0 {
            return Ok(Found::Torn);
        }
        let bytes = usize::try_from(length).ok().filter(|bytes| *bytes <= self.length_max);
        let Some(bytes) = bytes else { return Err(FileError::EntryLength { offset, length }) };
        let mut entry = vec![0; bytes + 1];
        let found = fill(&mut self.input, &mut entry)?;
        self.offset += (head.len() + found) as u64;
        if found <= bytes || entry.pop() != Some(END_OF_ENTRY) {
            return Ok(Found::Torn);
        }
        if u64::from_be_bytes(checksum) != u64::from(adler2::adler32_slice(&entry)) {
            return Err(FileError::EntryChecksum { offset });
        }
        Ok(Found::Entry(entry))
    }
}

enum Found {
    Entry(Vec<u8>),
    End(LogEnd),
    Torn,
}

/// Writes a log file.
#[derive(Debug)]
pub struct LogWriter<W> {
    out: W,
}

impl<W: Write> LogWriter<W> {
    /// A writer, which writes the header.
    ///
    /// # Errors
    /// The stream's.
    pub fn new(mut out: W) -> std::io::Result<LogWriter<W>> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_be_bytes())?;
        out.write_all(&[0; 8])?;
        Ok(LogWriter { out })
    }

    /// Appends an entry: header and record of a transaction.
    ///
    /// # Errors
    /// The stream's.
    pub fn append(&mut self, entry: &[u8]) -> std::io::Result<()> {
        self.out.write_all(&u64::from(adler2::adler32_slice(entry)).to_be_bytes())?;
        self.out.write_all(&(entry.len() as i32).to_be_bytes())?;
        self.out.write_all(entry)?;
        self.out.write_all(&[END_OF_ENTRY])
    }

    /// Gives the stream back, to be flushed.
    pub fn finish(self) -> W {
        self.out
    }
}
