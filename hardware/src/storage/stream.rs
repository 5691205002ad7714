//! Reading and writing files front to back: direct transfers where they work, plain calls from where they do not.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::calls::abandon;
use super::direct::{Access, Direct, DirectFile, Loss, refuses_direct};
use super::inbox::Inbox;
use super::{StorageOutcome, StorageResult, cancelled, with_path};
use crate::aligned::BLOCK_BYTES;
use crate::data_dir::{dir_sync, parent, remove_file};

/// Bytes per transfer.
pub(super) const STEP_BYTES: usize = 512 << 10;
/// Direct transfers in flight per stream.
const DEPTH: usize = 4;

pub(super) fn read_stream(
    path: &Path,
    range: (u64, u64),
    chunk: usize,
    each: &mut dyn FnMut(u64, &[u8]) -> bool,
    direct: Option<&Direct>,
    inbox: &Inbox,
) -> StorageResult {
    read(path, range, chunk, each, direct, inbox).map(StorageOutcome::Streamed).map_err(|error| with_path(path, error))
}

fn read(
    path: &Path,
    (from, to): (u64, u64),
    chunk: usize,
    each: &mut dyn FnMut(u64, &[u8]) -> bool,
    direct: Option<&Direct>,
    inbox: &Inbox,
) -> io::Result<u64> {
    let file = Arc::new(File::open(path)?);
    let end = to.min(file.metadata()?.len());
    let opened = direct.filter(|_| from < end).and_then(|direct| direct.open(&file, Access::Read, inbox));
    let ahead = opened.map(|file| ReadAhead::new(file, from));
    let mut reader = Reader { file, next: from, end, ahead, bytes: Vec::new() };
    while reader.next < end {
        if inbox.is_cancelling() {
            return Err(cancelled());
        }
        let start = reader.next;
        let bytes = reader.step(inbox)?;
        if bytes.is_empty() {
            break;
        }
        let mut offset = start;
        for piece in bytes.chunks(chunk.max(1)) {
            let at = offset;
            offset += piece.len() as u64;
            if !each(at, piece) {
                return Ok(offset - from);
            }
        }
        reader.next = offset;
    }
    Ok(reader.next - from)
}

/// Gives a file's bytes step by step.
struct Reader {
    file: Arc<File>,
    /// The next byte to give.
    next: u64,
    end: u64,
    ahead: Option<ReadAhead>,
    bytes: Vec<u8>,
}

impl Reader {
    /// The bytes from `next` on, some of them; none where the file ends.
    fn step(&mut self, inbox: &Inbox) -> io::Result<&[u8]> {
        if let Some(ahead) = &mut self.ahead {
            match ahead.step(self.end, inbox) {
                Ok((offset, bytes)) => {
                    self.bytes = bytes;
                    // The first step may begin before the first byte asked for, the last may end after the last.
                    let skip = (self.next.saturating_sub(offset) as usize).min(self.bytes.len());
                    let keep = (self.end.saturating_sub(offset)).min(self.bytes.len() as u64) as usize;
                    return Ok(&self.bytes[skip..keep.max(skip)]);
                }
                Err(Loss::Failed(error)) => return Err(error),
                Err(Loss::GoPlain) => self.ahead = None,
            }
        }
        let wanted = (self.end - self.next).min(STEP_BYTES as u64) as usize;
        self.bytes.resize(wanted, 0);
        let count = loop {
            match self.file.read_at(&mut self.bytes, self.next) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        Ok(&self.bytes[..count])
    }
}

/// Direct reads, some steps ahead.
struct ReadAhead {
    file: DirectFile,
    /// Where the next step to give begins.
    head: u64,
    /// Where the next step to ask for begins.
    asked: u64,
    /// Steps that ended out of turn.
    early: BTreeMap<u64, io::Result<Vec<u8>>>,
}

impl ReadAhead {
    fn new(file: DirectFile, from: u64) -> ReadAhead {
        let head = from - from % BLOCK_BYTES as u64;
        ReadAhead { file, head, asked: head, early: BTreeMap::new() }
    }

    /// The next step of a file that is read up to `end`.
    fn step(&mut self, end: u64, inbox: &Inbox) -> Result<(u64, Vec<u8>), Loss> {
        let wanted = |offset: u64| (end - offset).min(STEP_BYTES as u64) as usize;
        while self.asked < end && self.asked < self.head + (DEPTH * STEP_BYTES) as u64 {
            self.file.read(self.asked, wanted(self.asked).next_multiple_of(BLOCK_BYTES))?;
            self.asked += STEP_BYTES as u64;
        }
        let result = loop {
            if let Some(result) = self.early.remove(&self.head) {
                break result;
            }
            let answer = self.file.answer(inbox)?;
            self.early.insert(answer.offset, answer.result);
        };
        match result {
            Ok(bytes) if bytes.len() >= wanted(self.head) => {
                let offset = self.head;
                self.head += STEP_BYTES as u64;
                Ok((offset, bytes))
            }
            // The file has become shorter: plain calls find out how it ends.
            Ok(_) => Err(Loss::GoPlain),
            Err(error) if refuses_direct(&error) => Err(Loss::GoPlain),
            Err(error) => Err(Loss::Failed(error)),
        }
    }
}

pub(super) fn write_stream(
    path: &Path,
    source: &mut dyn FnMut(&mut Vec<u8>) -> bool,
    direct: Option<&Direct>,
    inbox: &Inbox,
) -> StorageResult {
    // A new file and never an old one cut to nothing: a write that an earlier stream gave up on may still come to that.
    let create = || OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let file = remove_file(path).and_then(|()| create()).map_err(|error| with_path(path, error))?;
    let file = Arc::new(file);
    if direct.is_some() {
        // glommio tries out on the first block of the first file of a device how it can be read, and takes no bytes for
        // success.
        file.write_all_at(&[0; BLOCK_BYTES], 0).map_err(|error| abandon(path, error))?;
    }
    let direct = direct.and_then(|direct| direct.open(&file, Access::Write, inbox));
    let mut writer = Writer { file, direct, unanswered: BTreeMap::new(), pending: Vec::new(), offset: 0 };
    writer
        .write(source, inbox)
        .and_then(|total| dir_sync(parent(path)).map(|()| StorageOutcome::Streamed(total)))
        .map_err(|error| abandon(path, error))
}

/// Takes bytes and writes them in steps.
struct Writer {
    file: Arc<File>,
    direct: Option<DirectFile>,
    /// Steps asked for and not known to be written, so that plain calls can take over: these and nothing else may be
    /// written twice, with the same bytes.
    unanswered: BTreeMap<u64, Arc<Vec<u8>>>,
    /// Less than a step, to be written at `offset`.
    pending: Vec<u8>,
    offset: u64,
}

impl Writer {
    fn write(&mut self, source: &mut dyn FnMut(&mut Vec<u8>) -> bool, inbox: &Inbox) -> io::Result<u64> {
        let mut fresh = Vec::new();
        let mut more = true;
        while more {
            if inbox.is_cancelling() {
                return Err(cancelled());
            }
            fresh.clear();
            more = source(&mut fresh);
            let mut rest = &fresh[..];
            while !rest.is_empty() {
                let (taken, left) = rest.split_at(rest.len().min(STEP_BYTES - self.pending.len()));
                self.pending.extend_from_slice(taken);
                rest = left;
                if self.pending.len() == STEP_BYTES {
                    let step = std::mem::replace(&mut self.pending, Vec::with_capacity(STEP_BYTES));
                    self.put(step, inbox)?;
                }
            }
        }
        self.settle(0, inbox)?;
        // What is left is no whole step, maybe not even whole blocks, so it goes through the cache.
        self.file.write_all_at(&self.pending, self.offset)?;
        let total = self.offset + self.pending.len() as u64;
        self.file.set_len(total)?;
        self.file.sync_all()?;
        Ok(total)
    }

    fn put(&mut self, step: Vec<u8>, inbox: &Inbox) -> io::Result<()> {
        self.settle(DEPTH - 1, inbox)?;
        let step = Arc::new(step);
        let offset = self.offset;
        self.offset += step.len() as u64;
        match self.direct.as_ref().map(|direct| direct.write(offset, Arc::clone(&step))) {
            Some(Ok(())) => drop(self.unanswered.insert(offset, step)),
            Some(Err(loss)) => {
                self.unanswered.insert(offset, step);
                self.take_over(loss)?;
            }
            None => self.file.write_all_at(&step, offset)?,
        }
        Ok(())
    }

    /// Waits until at most `left` direct writes are unanswered.
    fn settle(&mut self, left: usize, inbox: &Inbox) -> io::Result<()> {
        while self.unanswered.len() > left
            && let Some(direct) = &self.direct
        {
            let loss = match direct.answer(inbox) {
                Ok(answer) => match answer.result {
                    Ok(_) => {
                        self.unanswered.remove(&answer.offset);
                        continue;
                    }
                    Err(error) if refuses_direct(&error) => Loss::GoPlain,
                    Err(error) => Loss::Failed(error),
                },
                Err(loss) => loss,
            };
            self.take_over(loss)?;
        }
        Ok(())
    }

    /// Goes on with plain calls, if that is what the loss asks for.
    fn take_over(&mut self, loss: Loss) -> io::Result<()> {
        if let Loss::Failed(error) = loss {
            return Err(error);
        }
        self.direct = None;
        for (offset, step) in std::mem::take(&mut self.unanswered) {
            self.file.write_all_at(&step, offset)?;
        }
        Ok(())
    }
}
