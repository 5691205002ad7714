//! Files of logs: allocated before they are needed, written directly where the file system can.
//!
//! A [`BlockFile`] is shared by reference count, so that an operation in flight keeps its descriptor open. Whether
//! direct I/O works is tried out on the file itself, never guessed from the name of the file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use crate::aligned::{AlignedBuf, BLOCK_BYTES};

/// Bytes per write when a file is filled with zeroes.
const ZERO_STEP_BYTES: usize = 1 << 20;

/// Whether to try direct I/O (O_DIRECT) when opening a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreferDirect {
    /// Past the page cache where the file system has it, through the cache where not.
    Yes,
    /// Through the page cache.
    No,
}

/// How durable a write is when it completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteSync {
    /// Not at all: a later flush makes it so.
    None,
    /// The data and what is needed to read it back are on stable storage (RWF_DSYNC, or fdatasync after the write where
    /// that flag is not supported).
    Data,
}

/// An open file with positional reads and writes.
#[derive(Debug)]
pub struct BlockFile {
    file: File,
    path: PathBuf,
    direct: bool,
    /// Cleared for good when the file system refuses RWF_DSYNC.
    dsync: AtomicBool,
}

impl BlockFile {
    /// Creates a new file and allocates `bytes` for it (a file of that length that reads as zeroes). The caller flushes
    /// the directory.
    ///
    /// Allocation alone leaves extents marked unwritten, and the first write of each then has to change metadata too;
    /// [`fill_with_zeroes`](Self::fill_with_zeroes) takes that cost ahead.
    ///
    /// # Errors
    /// When the file exists, the disk is full, or the file system refuses. Leaves no new file behind.
    pub fn create(path: &Path, bytes: u64, prefer: PreferDirect) -> io::Result<Arc<BlockFile>> {
        let (file, direct) = open_preferring(path, prefer, true)?;
        if bytes > 0
            && let Err(error) = allocate(&file, bytes)
        {
            // A second attempt must not find the remains of the first.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(BlockFile::from_parts(file, path, direct))
    }

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// When it does not exist or may not be read and written.
    pub fn open(path: &Path, prefer: PreferDirect) -> io::Result<Arc<BlockFile>> {
        let (file, direct) = open_preferring(path, prefer, false)?;
        Ok(BlockFile::from_parts(file, path, direct))
    }

    /// Opens an existing file for reading through the page cache.
    ///
    /// # Errors
    /// When it does not exist or may not be read.
    pub fn open_read_only(path: &Path) -> io::Result<Arc<BlockFile>> {
        Ok(BlockFile::from_parts(File::open(path)?, path, false))
    }

    /// Whether reads and writes go past the page cache and so need whole blocks.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Where the file was opened; it may have been renamed since.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// When the file system fails.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets the length in bytes: cuts the file, or extends it by a hole.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    /// Allocates space up to `bytes`, extending the file if it is shorter.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn allocate(&self, bytes: u64) -> io::Result<()> {
        allocate(&self.file, bytes)
    }

    /// Writes zeroes over the whole file, and flushes it.
    ///
    /// # Errors
    /// The first failure of the file system.
    pub fn fill_with_zeroes(&self) -> io::Result<()> {
        let len = self.len()?;
        let zeroes = AlignedBuf::zeroed(ZERO_STEP_BYTES);
        let mut offset = 0;
        while offset < len {
            let rest = len - offset;
            // A direct write needs whole blocks, so a ragged end is written through it and cut off again below.
            let step = if self.direct { rest.next_multiple_of(BLOCK_BYTES as u64) } else { rest };
            let step = step.min(ZERO_STEP_BYTES as u64);
            self.write_at(offset, &zeroes[..step as usize], WriteSync::None)?;
            offset += step;
        }
        if offset > len {
            self.set_len(len)?;
        }
        self.sync_data()
    }

    /// Reads from `offset` until `buf` is full or the file ends, blocking, and returns the bytes read. Any alignment.
    ///
    /// # Errors
    /// The file system's.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if !self.direct || is_block_shaped(offset, buf) {
            return read_full(&self.file, offset, buf);
        }
        let skip = (offset % BLOCK_BYTES as u64) as usize;
        let mut bounce = AlignedBuf::zeroed((skip + buf.len()).next_multiple_of(BLOCK_BYTES));
        let got = read_full(&self.file, offset - skip as u64, bounce.as_mut_slice())?;
        let got = got.saturating_sub(skip).min(buf.len());
        buf[..got].copy_from_slice(&bounce[skip..skip + got]);
        Ok(got)
    }

    /// Writes all of `bytes` at `offset`, blocking. On a direct file offset, length and memory must be whole blocks.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when they are not; otherwise the file system's.
    pub fn write_at(&self, offset: u64, bytes: &[u8], sync: WriteSync) -> io::Result<()> {
        self.check_shape(offset, bytes)?;
        let mut done = 0;
        let mut dsync = sync == WriteSync::Data && self.dsync();
        while done < bytes.len() {
            let flags = if dsync { libc::RWF_DSYNC } else { 0 };
            match pwritev2(self.file.as_fd(), &bytes[done..], offset + done as u64, flags) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if dsync && refuses_flag(&error) => {
                    self.forget_dsync();
                    dsync = false;
                    done = 0;
                }
                Err(error) => return Err(error),
            }
        }
        if sync == WriteSync::Data && !dsync { self.sync_data() } else { Ok(()) }
    }

    /// Flushes data and the metadata needed to read it back (fdatasync), blocking.
    ///
    /// # Errors
    /// The file system's. After one the state of what was written is unknown; it must not be retried to success.
    pub fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Hands the device what is dirty in the page cache of `bytes` from `offset`, and waits until it has taken it. Nothing is
    /// durable by that; but [`sync_data`](Self::sync_data) then has that much less to do in one go.
    ///
    /// # Errors
    /// The file system's, after which the state of what was written is unknown, as for a flush. Where the kernel cannot do
    /// this, or does not let us, nothing is done.
    pub fn write_out(&self, offset: u64, bytes: u64) -> io::Result<()> {
        match sync_file_range(self.file.as_fd(), offset, bytes) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP)
                ) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    pub(crate) fn dsync(&self) -> bool {
        self.dsync.load(Ordering::Relaxed)
    }

    pub(crate) fn forget_dsync(&self) {
        self.dsync.store(false, Ordering::Relaxed);
    }

    /// Refuses what the kernel would refuse with a bare EINVAL, by name.
    pub(crate) fn check_shape(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.direct && !is_block_shaped(offset, bytes) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "direct write of {} bytes at {offset} to {}: pad it to whole blocks of {BLOCK_BYTES} bytes",
                    bytes.len(),
                    self.path.display()
                ),
            ));
        }
        Ok(())
    }

    fn from_parts(file: File, path: &Path, direct: bool) -> Arc<BlockFile> {
        Arc::new(BlockFile { file, path: path.to_path_buf(), direct, dsync: AtomicBool::new(true) })
    }
}

impl AsFd for BlockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether `error` means that a flag of a write is unknown to the file system, not that the write failed.
pub(crate) fn refuses_flag(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EOPNOTSUPP)
}

/// Whether offset, length and memory suit direct I/O.
pub(crate) fn is_block_shaped(offset: u64, bytes: &[u8]) -> bool {
    let block = BLOCK_BYTES;
    offset.is_multiple_of(block as u64)
        && bytes.len().is_multiple_of(block)
        && (bytes.as_ptr() as usize).is_multiple_of(block)
}

fn open_preferring(path: &Path, prefer: PreferDirect, new: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(new);
    if prefer == PreferDirect::Yes {
        match options.clone().custom_flags(libc::O_DIRECT).open(path) {
            Ok(file) if direct_read_works(&file) => return Ok((file, true)),
            // Either refusal comes after the file was created, so the second attempt must not ask for a new one.
            Ok(_) => return Ok((options.create_new(false).open(path)?, false)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                return Ok((options.create_new(false).create(new).open(path)?, false));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((options.open(path)?, false))
}

/// Some file systems accept O_DIRECT at open and refuse at the first transfer, or want larger blocks.
fn direct_read_works(file: &File) -> bool {
    let mut block = AlignedBuf::zeroed(BLOCK_BYTES);
    read_full(file, 0, block.as_mut_slice()).is_ok()
}

fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        // Without allocation a full disk shows only at the write; the length is set all the same.
        Err(rustix::io::Errno::OPNOTSUPP) => {
            if file.metadata()?.len() < bytes {
                file.set_len(bytes)?;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn read_full(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read_at(&mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => {
                done += count;
                // A short direct read ends at the end of the file; asking again from there would be unaligned.
                if !count.is_multiple_of(BLOCK_BYTES)
                    && done < buf.len()
                    && done as u64 + offset >= file.metadata()?.len()
                {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn pwritev2(fd: BorrowedFd<'_>, bytes: &[u8], offset: u64, flags: libc::c_int) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the one vector describes `bytes`, which outlives this blocking call; the kernel only reads from it.
    let result = unsafe { libc::pwritev2(fd.as_raw_fd(), &vector, 1, offset, flags) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn sync_file_range(fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> io::Result<()> {
    let range = |value: u64| libc::off64_t::try_from(value).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the call takes no memory of ours, and the borrowed descriptor is open while it runs.
    match unsafe { libc::sync_file_range(fd.as_raw_fd(), range(offset)?, range(bytes)?, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A temporary directory on the default file system and one on tmpfs.
    fn places() -> Vec<tempfile::TempDir> {
        vec![tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()]
    }

    #[test]
    fn writes_and_reads_back_directly_and_buffered_on_disk_and_tmpfs() {
        for place in places() {
            for prefer in [PreferDirect::Yes, PreferDirect::No] {
                let path = place.path().join(format!("{prefer:?}"));
                let file = BlockFile::create(&path, 3 * 4096, prefer).unwrap();
                assert_eq!(file.len().unwrap(), 3 * 4096);
                file.fill_with_zeroes().unwrap();
                let mut block = AlignedBuf::with_capacity(4096);
                block.extend_from_slice(&[7; 4096]);
                file.write_at(4096, &block, WriteSync::Data).unwrap();
                file.write_at(8192, &block, WriteSync::None).unwrap();
                file.sync_data().unwrap();
                let mut bytes = vec![0; 5000];
                assert_eq!(file.read_at(4000, &mut bytes).unwrap(), 5000);
                assert_eq!(bytes[..96], [0; 96]);
                assert!(bytes[96..].iter().all(|byte| *byte == 7));
                assert_eq!(file.read_at(12000, &mut bytes).unwrap(), 288);
                assert_eq!(file.read_at(1 << 20, &mut bytes).unwrap(), 0);
                let again = BlockFile::open(&path, prefer).unwrap();
                assert_eq!(again.is_direct(), file.is_direct());
                assert_eq!(again.read_at(8192, &mut bytes[..1]).unwrap(), 1);
            }
        }
    }

    #[test]
    fn a_ragged_length_is_zeroed_and_kept() {
        for place in places() {
            let file = BlockFile::create(&place.path().join("f"), 5000, PreferDirect::Yes).unwrap();
            file.fill_with_zeroes().unwrap();
            assert_eq!(file.len().unwrap(), 5000);
            let mut bytes = vec![1; 6000];
            assert_eq!(file.read_at(0, &mut bytes).unwrap(), 5000);
            assert!(bytes[..5000].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_direct_write_out_of_shape_is_refused_by_name() {
        let place = tempfile::tempdir().unwrap();
        let file = BlockFile::create(&place.path().join("f"), 4096, PreferDirect::Yes).unwrap();
        let block = AlignedBuf::zeroed(4096);
        for (offset, bytes) in [(1, &block[..]), (0, &block[..100])] {
            let result = file.write_at(offset, bytes, WriteSync::Data);
            if file.is_direct() {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                assert!(error.to_string().contains("whole blocks"), "{error}");
            } else {
                result.unwrap();
            }
        }
    }

    #[test]
    fn a_refused_dsync_falls_back_to_a_flush() {
        let place = tempfile::tempdir().unwrap();
        let file = BlockFile::create(&place.path().join("f"), 0, PreferDirect::No).unwrap();
        file.forget_dsync();
        file.write_at(0, b"kept", WriteSync::Data).unwrap();
        let mut bytes = [0; 4];
        file.read_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"kept");
        assert!(refuses_flag(&io::Error::from_raw_os_error(libc::EOPNOTSUPP)));
        assert!(!refuses_flag(&io::Error::from_raw_os_error(libc::EIO)));
    }

    #[test]
    fn what_is_written_out_stays_as_it_is() {
        for place in places() {
            let file = BlockFile::create(&place.path().join("f"), 3 * 4096, PreferDirect::No).unwrap();
            file.write_at(4096, b"record", WriteSync::None).unwrap();
            // Also of a clean part, and beyond the end.
            for (offset, bytes) in [(0, 4096), (4096, 4096), (4096, 1 << 20), (1 << 30, 4096)] {
                file.write_out(offset, bytes).unwrap();
            }
            let mut read = [0; 6];
            assert_eq!(file.read_at(4096, &mut read).unwrap(), 6);
            assert_eq!(&read, b"record");
            assert_eq!(file.len().unwrap(), 3 * 4096);
            file.write_out(u64::MAX, 1).unwrap_err();
        }
    }

    #[test]
    fn a_failed_allocation_leaves_no_file() {
        for place in places() {
            let path = place.path().join("f");
            BlockFile::create(&path, 1 << 60, PreferDirect::Yes).unwrap_err();
            assert!(!path.exists());
        }
    }

    #[test]
    fn create_refuses_an_existing_file_and_open_a_missing_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("f");
        assert_eq!(BlockFile::open(&path, PreferDirect::Yes).unwrap_err().kind(), io::ErrorKind::NotFound);
        BlockFile::create(&path, 0, PreferDirect::No).unwrap();
        for prefer in [PreferDirect::Yes, PreferDirect::No] {
            let error = BlockFile::create(&path, 0, prefer).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
    }
}
