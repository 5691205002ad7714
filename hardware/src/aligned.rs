//! Owned memory on a block boundary, as direct I/O demands it.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

/// Bytes per block: the alignment of every buffer and the unit of direct I/O.
pub const BLOCK_BYTES: usize = 4096;

/// An owned buffer aligned to [`BLOCK_BYTES`] whose capacity is a multiple of it and whose unused part is zero.
pub struct AlignedBuf {
    memory: NonNull<u8>,
    capacity: usize,
    len: usize,
}

// SAFETY: the buffer owns its memory alone, like a Vec<u8>; nothing in it belongs to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: shared references only read.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// An empty buffer with room for at least `bytes`, rounded up to whole blocks (one block at least).
    pub fn with_capacity(bytes: usize) -> AlignedBuf {
        let capacity = round_up(bytes.max(1));
        AlignedBuf { memory: allocate(capacity), capacity, len: 0 }
    }

    /// A buffer of `bytes` zeroes.
    pub fn zeroed(bytes: usize) -> AlignedBuf {
        let mut buf = AlignedBuf::with_capacity(bytes);
        buf.len = bytes;
        buf
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no bytes are in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without a new allocation; a multiple of [`BLOCK_BYTES`].
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes in use.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len <= capacity` bytes from `memory` are allocated and initialised (allocated zeroed).
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }

    /// The bytes in use, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }

    /// Appends `bytes`, growing to at least twice the capacity when they do not fit.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let start = self.len;
        self.reserve(bytes.len());
        self.len += bytes.len();
        self.as_mut_slice()[start..].copy_from_slice(bytes);
    }

    /// Makes room for `additional` bytes more.
    pub fn reserve(&mut self, additional: usize) {
        let needed = self.len.checked_add(additional).expect("a buffer within the address space");
        if needed <= self.capacity {
            return;
        }
        let mut grown = AlignedBuf::with_capacity(needed.max(self.capacity.saturating_mul(2)));
        grown.len = self.len;
        grown.as_mut_slice().copy_from_slice(self.as_slice());
        *self = grown;
    }

    /// Sets the length, filling with zeroes when it grows.
    pub fn resize(&mut self, len: usize) {
        if len > self.len {
            self.reserve(len - self.len);
            self.len = len;
        } else {
            self.truncate(len);
        }
    }

    /// Extends with zeroes to the next block boundary, so that the whole can be written directly.
    pub fn pad_to_block(&mut self) {
        self.resize(round_up(self.len));
    }

    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    /// Shortens to `len` bytes; does nothing when it is shorter already.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            // The unused part stays zero, so that padding never carries bytes of an earlier use to the disk.
            self.as_mut_slice()[len..].fill(0);
            self.len = len;
        }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: `memory` came from `alloc_zeroed` with this very layout and is freed once, here.
        unsafe { dealloc(self.memory.as_ptr(), layout(self.capacity)) }
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> AlignedBuf {
        let mut copy = AlignedBuf::with_capacity(self.capacity);
        copy.extend_from_slice(self.as_slice());
        copy
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf").field("len", &self.len).field("capacity", &self.capacity).finish()
    }
}

/// `bytes` rounded up to whole blocks.
pub(crate) fn round_up(bytes: usize) -> usize {
    bytes.checked_next_multiple_of(BLOCK_BYTES).expect("a buffer within the address space")
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, BLOCK_BYTES).expect("a buffer within the address space")
}

fn allocate(capacity: usize) -> NonNull<u8> {
    let layout = layout(capacity);
    // SAFETY: the layout has a size of at least one block, never zero.
    let memory = unsafe { alloc_zeroed(layout) };
    NonNull::new(memory).unwrap_or_else(|| handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_lies_on_a_block_boundary_and_capacity_is_whole_blocks() {
        for bytes in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let buf = AlignedBuf::with_capacity(bytes);
            assert_eq!(buf.memory.as_ptr() as usize % BLOCK_BYTES, 0);
            assert_eq!(buf.capacity() % BLOCK_BYTES, 0);
            assert!(buf.capacity() >= bytes.max(1));
            assert!(buf.is_empty());
        }
        assert_eq!(AlignedBuf::zeroed(5000).as_slice(), vec![0; 5000]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Extend(Vec<u8>),
        Pad,
        Truncate(usize),
        Resize(usize),
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..9000).prop_map(Step::Extend),
            Just(Step::Pad),
            (0usize..20000).prop_map(Step::Truncate),
            (0usize..20000).prop_map(Step::Resize),
            Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_vector(steps in proptest::collection::vec(step(), 1..20)) {
            let mut buf = AlignedBuf::with_capacity(0);
            let mut model = Vec::new();
            for step in steps {
                match step {
                    Step::Extend(bytes) => {
                        buf.extend_from_slice(&bytes);
                        model.extend_from_slice(&bytes);
                    }
                    Step::Pad => {
                        buf.pad_to_block();
                        model.resize(model.len().next_multiple_of(BLOCK_BYTES), 0);
                    }
                    Step::Truncate(len) => {
                        buf.truncate(len);
                        model.truncate(len);
                    }
                    Step::Resize(len) => {
                        buf.resize(len);
                        model.resize(len, 0);
                    }
                    Step::Clear => {
                        buf.clear();
                        model.clear();
                    }
                }
                prop_assert_eq!(buf.as_slice(), model.as_slice());
                let copy = buf.clone();
                prop_assert_eq!(copy.as_slice(), model.as_slice());
            }
        }
    }
}
