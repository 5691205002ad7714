//! Receive buffers that the kernel picks from: one ring of them, shared by all sockets of a core.
//!
//! A buffer is either the kernel's (listed in the ring) or lent out as a [`RecvBuf`]; dropping that lists it again.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use io_uring::types::BufRingEntry;
use memmap2::{MmapMut, MmapRaw};

use super::ring::Ring;
use super::{ReactorConfig, ReactorError};

/// The group under which the buffers are registered.
pub(super) const BUFFER_GROUP: u16 = 0;

/// Bytes received from a socket. The memory belongs to the reactor's receive buffers and goes back to them on drop, so
/// hold it no longer than decoding takes.
pub struct RecvBuf {
    pool: Rc<BufferPool>,
    id: u16,
    start: u32,
    len: u32,
    arrived: Option<Instant>,
}

impl RecvBuf {
    /// When the kernel had the last of these bytes, on a socket that was taken over with
    /// [`adopt_stamped`](super::Reactor::adopt_stamped). `None` on others, and where the kernel does not tell: on other sockets
    /// than those of a network, for its first packets, and when the clock of the day was set meanwhile.
    pub fn arrived(&self) -> Option<Instant> {
        self.arrived
    }

    /// The same without the first `start` bytes, which were no part of the stream.
    pub(super) fn stamped(mut self, start: usize, arrived: Option<Instant>) -> RecvBuf {
        let start = (start as u32).min(self.len);
        self.start += start;
        self.len -= start;
        self.arrived = arrived;
        self
    }
}

impl Deref for RecvBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `take` checked that the bytes lie within the buffer, and `stamped` only takes from their front.
        let start = unsafe { self.pool.buffer_address(self.id).add(self.start as usize) };
        // SAFETY: `take` checked that the length fits the buffer, whose mapping `pool` keeps alive. The kernel has given
        // the buffer up and gets it back only when `self` is dropped, so nobody writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(start, self.len as usize) }
    }
}

impl AsRef<[u8]> for RecvBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for RecvBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvBuf").field("len", &self.len).finish()
    }
}

impl Drop for RecvBuf {
    fn drop(&mut self) {
        self.pool.give_back(self.id);
    }
}

/// The buffers and the ring that lists those the kernel may use.
pub(super) struct BufferPool {
    entries: MmapRaw,
    data: MmapRaw,
    count: u16,
    buffer_bytes: u32,
    tail: Cell<u16>,
    lent: Cell<u16>,
}

impl BufferPool {
    /// Allocates the buffers (address space; pages are taken when first used) and registers them with `ring`.
    pub(super) fn register(ring: &Ring, config: &ReactorConfig) -> Result<Rc<BufferPool>, ReactorError> {
        let count = config.recv_buffers;
        if !count.is_power_of_two() || count > 1 << 15 || config.recv_buffer_bytes == 0 {
            return Err(ReactorError::Config {
                reason: format!(
                    "{count} receive buffers of {} bytes: the number has to be a power of two up to 32768, the size above 0",
                    config.recv_buffer_bytes
                ),
            });
        }
        let entries = anonymous(usize::from(count) * size_of::<BufRingEntry>())?;
        let data = anonymous(usize::from(count) * config.recv_buffer_bytes as usize)?;
        let pool = BufferPool {
            entries,
            data,
            count,
            buffer_bytes: config.recv_buffer_bytes,
            tail: Cell::new(0),
            lent: Cell::new(count),
        };
        for id in 0..count {
            pool.give_back(id);
        }
        // SAFETY: the mapping is page-aligned, has room for `count` entries, and outlives the ring: the reactor holds the
        // pool and drops its ring first.
        unsafe { ring.register_buffers(pool.entries.as_ptr() as u64, count, BUFFER_GROUP) }
            .map_err(|source| ReactorError::BufferRing { source })?;
        Ok(Rc::new(pool))
    }

    /// The buffer that a completion named, filled with `len` bytes. `None` if the kernel broke its word.
    pub(super) fn take(self: &Rc<Self>, id: u16, len: u32) -> Option<RecvBuf> {
        if id >= self.count || len > self.buffer_bytes {
            return None;
        }
        self.lent.set(self.lent.get() + 1);
        Some(RecvBuf { pool: Rc::clone(self), id, start: 0, len, arrived: None })
    }

    pub(super) fn count(&self) -> u32 {
        self.count.into()
    }

    pub(super) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// Buffers that the kernel may use, if every completion has been looked at.
    pub(super) fn available(&self) -> usize {
        usize::from(self.count - self.lent.get())
    }

    fn give_back(&self, id: u16) {
        let tail = self.tail.get();
        let index = usize::from(tail & (self.count - 1));
        let base = self.entries.as_mut_ptr().cast::<BufRingEntry>();
        // SAFETY: `index < count` lies in the mapping. The kernel reads an entry only between its head and the published
        // tail; as at most `count` buffers exist and this one is not listed, the entry at `tail` is outside of that.
        // Only fields other than the tail are set (entry 0 shares its last field with the tail).
        unsafe {
            let entry = &mut *base.add(index);
            entry.set_addr(self.buffer_address(id) as u64);
            entry.set_len(self.buffer_bytes);
            entry.set_bid(id);
        }
        self.tail.set(tail.wrapping_add(1));
        // SAFETY: the tail field lies in the first entry, is 2-byte aligned, and is only accessed atomically, by the kernel
        // and here.
        let shared_tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        // Release: the entry is complete before the kernel can see it.
        shared_tail.store(self.tail.get(), Ordering::Release);
        self.lent.set(self.lent.get() - 1);
    }

    fn buffer_address(&self, id: u16) -> *mut u8 {
        debug_assert!(id < self.count);
        // SAFETY: callers pass ids below `count`, so the offset lies within the mapping.
        unsafe { self.data.as_mut_ptr().add(usize::from(id) * self.buffer_bytes as usize) }
    }
}

fn anonymous(bytes: usize) -> Result<MmapRaw, ReactorError> {
    MmapMut::map_anon(bytes).map(MmapRaw::from).map_err(|source| ReactorError::Memory { bytes, source })
}

/// The error that a receive ends with when the kernel found no buffer.
pub(super) fn out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}
