//! Reads, writes and flushes of files. Short transfers are continued here; the host sees the whole or the first error.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use io_uring::{opcode, squeue, types};

use super::ring::Completion;
use super::tag::{Kind, pack};
use super::{Event, Reactor};
use crate::aligned::{AlignedBuf, BLOCK_BYTES, round_up};
use crate::block_file::{BlockFile, WriteSync, is_block_shaped, refuses_flag};

/// Bytes per operation; keeps results within 31 bits and is whole blocks.
const TRANSFER_BYTES_MAX: usize = 1 << 30;

pub(super) struct FileOp {
    token: u64,
    file: Arc<BlockFile>,
    offset: u64,
    /// Bytes transferred so far.
    done: usize,
    work: Work,
    /// What the submission in flight does.
    step: Step,
}

enum Work {
    Write {
        buf: AlignedBuf,
        sync: WriteSync,
    },
    WriteBytes {
        buf: Vec<u8>,
    },
    /// A read of a direct file whose shape does not suit it goes through `bounce`, from the block boundary before.
    Read {
        buf: Vec<u8>,
        bounce: Option<AlignedBuf>,
    },
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Transfer { dsync: bool },
    Flush,
}

impl Reactor {
    /// Writes all of `buf` at `offset`; ends with [`Event::Written`]. On a direct file offset and length must be whole
    /// blocks ([`AlignedBuf::pad_to_block`]).
    ///
    /// With [`WriteSync::Data`] success means that the bytes are on stable storage. After an error nothing is known about
    /// the state of the range, and writing it again proves nothing about earlier writes.
    pub fn write(&mut self, token: u64, file: &Arc<BlockFile>, offset: u64, buf: AlignedBuf, sync: WriteSync) {
        match file.check_shape(offset, &buf) {
            Ok(()) => self.start_file(token, file, offset, Work::Write { buf, sync }),
            Err(error) => self.ready.push_back(Event::Written { token, result: Err(error), buf }),
        }
    }

    /// Writes all of `buf` at `offset` of a file that is not direct; ends with [`Event::WrittenBytes`]. Nothing is flushed.
    pub fn write_bytes(&mut self, token: u64, file: &Arc<BlockFile>, offset: u64, buf: Vec<u8>) {
        match file.check_shape(offset, &buf) {
            Ok(()) => self.start_file(token, file, offset, Work::WriteBytes { buf }),
            Err(error) => self.ready.push_back(Event::WrittenBytes { token, result: Err(error), buf }),
        }
    }

    /// Reads at `offset` until `buf` is full or the file ends; ends with [`Event::Read`]. Any offset and length, also on a
    /// direct file.
    pub fn read(&mut self, token: u64, file: &Arc<BlockFile>, offset: u64, buf: Vec<u8>) {
        let bounce = if file.is_direct() && !is_block_shaped(offset, &buf) {
            Some(AlignedBuf::zeroed(round_up(skipped(offset) + buf.len())))
        } else {
            None
        };
        self.start_file(token, file, offset, Work::Read { buf, bounce });
    }

    /// Flushes what earlier completed writes left in the cache (fdatasync); ends with [`Event::Synced`].
    pub fn sync(&mut self, token: u64, file: &Arc<BlockFile>) {
        self.start_file(token, file, 0, Work::Sync);
    }

    pub(super) fn on_file(&mut self, slot: u32, completion: Completion) {
        let Some((_, op)) = self.files.at_mut(slot) else { return };
        if let Some(result) = op.advance(completion.outcome().map(|count| count as usize)) {
            if let Some(op) = self.files.remove(slot) {
                self.ready.push_back(op.into_event(result));
            }
        } else {
            self.submit_file(slot);
        }
    }

    fn start_file(&mut self, token: u64, file: &Arc<BlockFile>, offset: u64, work: Work) {
        let step = match &work {
            Work::Sync => Step::Flush,
            Work::Write { sync: WriteSync::Data, .. } => Step::Transfer { dsync: file.dsync() },
            _ => Step::Transfer { dsync: false },
        };
        let op = FileOp { token, file: Arc::clone(file), offset, done: 0, work, step };
        if op.wanted() == 0 && step != Step::Flush {
            self.ready.push_back(op.into_event(Ok(0)));
            return;
        }
        let (slot, _) = self.files.insert(op);
        self.submit_file(slot);
    }

    fn submit_file(&mut self, slot: u32) {
        let Some((_, op)) = self.files.at_mut(slot) else { return };
        let entry = op.entry().user_data(pack(Kind::File, slot));
        // SAFETY: the operation stays in its slot until the completion, with its buffer, which nobody else can reach
        // meanwhile, and its reference to the open file.
        unsafe { self.ring.push(entry) };
        self.files_queued = true;
    }
}

impl FileOp {
    /// Bytes that the transfer is to move, counted as the kernel counts them.
    fn wanted(&self) -> usize {
        match &self.work {
            Work::Write { buf, .. } => buf.len(),
            Work::WriteBytes { buf } => buf.len(),
            Work::Read { buf, bounce } => bounce.as_ref().map_or(buf.len(), |bounce| bounce.len()),
            Work::Sync => 0,
        }
    }

    fn entry(&mut self) -> squeue::Entry {
        let fd = types::Fd(self.file.as_fd().as_raw_fd());
        let Step::Transfer { dsync } = self.step else {
            return opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
        };
        let flags = if dsync { libc::RWF_DSYNC } else { 0 };
        let (done, offset) = (self.done, self.offset + self.done as u64);
        match &mut self.work {
            Work::Write { buf, .. } => write_entry(fd, &buf[done..], offset, flags),
            Work::WriteBytes { buf } => write_entry(fd, &buf[done..], offset, flags),
            Work::Read { buf, bounce: None } => read_entry(fd, &mut buf[done..], offset),
            Work::Read { bounce: Some(bounce), .. } => {
                read_entry(fd, &mut bounce[done..], offset - skipped(self.offset) as u64)
            }
            Work::Sync => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        }
    }

    /// Takes in the outcome of the step; `Some` when the operation is over, `None` when the next step is to be submitted.
    fn advance(&mut self, outcome: io::Result<usize>) -> Option<io::Result<usize>> {
        let wanted = self.wanted();
        match (self.step, outcome) {
            (_, Err(error)) if error.kind() == io::ErrorKind::Interrupted => None,
            (Step::Transfer { dsync: true }, Err(error)) if refuses_flag(&error) => {
                self.file.forget_dsync();
                self.step = Step::Transfer { dsync: false };
                self.done = 0;
                None
            }
            (_, Err(error)) => Some(Err(error)),
            (Step::Flush, Ok(_)) => Some(Ok(wanted)),
            (Step::Transfer { dsync }, Ok(count)) => {
                self.done += count;
                let complete = self.done >= wanted;
                match &self.work {
                    Work::Read { bounce, .. } => {
                        // A direct read that ends inside a block has met the end of the file.
                        let at_end = count == 0 || (bounce.is_some() && !count.is_multiple_of(BLOCK_BYTES));
                        if complete || at_end { Some(Ok(self.finish_read())) } else { None }
                    }
                    _ if !complete && count == 0 => Some(Err(io::ErrorKind::WriteZero.into())),
                    _ if !complete => None,
                    Work::Write { sync: WriteSync::Data, .. } if !dsync => {
                        self.step = Step::Flush;
                        None
                    }
                    _ => Some(Ok(wanted)),
                }
            }
        }
    }

    /// Moves what the bounce buffer holds to where it was asked for, and counts it.
    fn finish_read(&mut self) -> usize {
        match &mut self.work {
            Work::Read { buf, bounce: Some(bounce) } => {
                let skip = skipped(self.offset);
                let got = self.done.saturating_sub(skip).min(buf.len());
                buf[..got].copy_from_slice(&bounce[skip..skip + got]);
                got
            }
            _ => self.done,
        }
    }

    fn into_event(self, result: io::Result<usize>) -> Event {
        let token = self.token;
        match self.work {
            Work::Write { buf, .. } => Event::Written { token, result, buf },
            Work::WriteBytes { buf } => Event::WrittenBytes { token, result, buf },
            Work::Read { buf, .. } => Event::Read { token, result, buf },
            Work::Sync => Event::Synced { token, result: result.map(drop) },
        }
    }
}

/// Bytes between the block boundary before `offset` and `offset`.
fn skipped(offset: u64) -> usize {
    (offset % BLOCK_BYTES as u64) as usize
}

fn write_entry(fd: types::Fd, bytes: &[u8], offset: u64, flags: i32) -> squeue::Entry {
    opcode::Write::new(fd, bytes.as_ptr(), bytes.len().min(TRANSFER_BYTES_MAX) as u32)
        .offset(offset)
        .rw_flags(flags)
        .build()
}

fn read_entry(fd: types::Fd, bytes: &mut [u8], offset: u64) -> squeue::Entry {
    opcode::Read::new(fd, bytes.as_mut_ptr(), bytes.len().min(TRANSFER_BYTES_MAX) as u32).offset(offset).build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::block_file::PreferDirect;

    fn write_op(sync: WriteSync, dsync: bool) -> (tempfile::TempDir, FileOp) {
        let place = tempfile::tempdir().unwrap();
        let file = BlockFile::create(&place.path().join("f"), 0, PreferDirect::No).unwrap();
        let work = Work::Write { buf: AlignedBuf::zeroed(8192), sync };
        (place, FileOp { token: 1, file, offset: 0, done: 0, work, step: Step::Transfer { dsync } })
    }

    #[test]
    fn a_short_write_goes_on_where_it_stopped() {
        let (_place, mut op) = write_op(WriteSync::Data, true);
        assert!(op.advance(Ok(4096)).is_none());
        assert_eq!(op.done, 4096);
        assert!(op.advance(Err(io::ErrorKind::Interrupted.into())).is_none());
        assert_eq!(op.advance(Ok(4096)).unwrap().unwrap(), 8192);
    }

    #[test]
    fn a_write_that_makes_no_progress_is_an_error() {
        let (_place, mut op) = write_op(WriteSync::None, false);
        assert_eq!(op.advance(Ok(0)).unwrap().unwrap_err().kind(), io::ErrorKind::WriteZero);
    }

    #[test]
    fn where_dsync_is_refused_the_write_starts_over_and_a_flush_follows() {
        let (_place, mut op) = write_op(WriteSync::Data, true);
        assert!(op.advance(Ok(4096)).is_none());
        assert!(op.advance(Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP))).is_none());
        assert_eq!((op.step, op.done), (Step::Transfer { dsync: false }, 0));
        assert!(!op.file.dsync());
        assert!(op.advance(Ok(8192)).is_none());
        assert_eq!(op.step, Step::Flush);
        assert_eq!(op.advance(Ok(0)).unwrap().unwrap(), 8192);
    }

    #[test]
    fn a_failed_flush_fails_the_write() {
        let (_place, mut op) = write_op(WriteSync::Data, false);
        assert!(op.advance(Ok(8192)).is_none());
        let error = op.advance(Err(io::Error::from_raw_os_error(libc::EIO))).unwrap().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }
}
