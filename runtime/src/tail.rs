//! Append-only memory that readers share while it grows: [`TailChunk`] has one writer, [`SharedSlice`]s see a prefix that
//! never changes again. The only shared mutable memory of the workspace. A slice may go to any core.

mod ledger;
mod reuse;

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::buf::{ALIGN, AlignedBuf};
use crate::{counting, prefetch};

pub use ledger::{ChunkLedger, chunk_ledger};

/// Aligned memory with one writer; bytes below its length are frozen and may be shared.
pub struct TailChunk {
    memory: Arc<ChunkMemory>,
    filled: usize,
}

/// The memory of a chunk. Its `AlignedBuf` is only an owner here: nobody makes a reference to the whole of it, every
/// access goes through its raw pointer, bounded by a `filled` that only grows.
struct ChunkMemory {
    buf: ManuallyDrop<AlignedBuf>,
    /// The ledger of the core that made the chunk; `None` for memory that was somebody's own buffer before.
    ledger: Option<Arc<ChunkLedger>>,
}

impl ChunkMemory {
    fn new(bytes: usize, ledger: Arc<ChunkLedger>) -> Self {
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        Self { buf: ManuallyDrop::new(reuse::take(bytes, &ledger)), ledger: Some(ledger) }
    }
}

impl Drop for ChunkMemory {
    fn drop(&mut self) {
        // SAFETY: the buffer is taken once, here, and the memory is not used again: the last `Arc` to it is going.
        let buf = unsafe { ManuallyDrop::take(&mut self.buf) };
        if let Some(ledger) = self.ledger.take() {
            reuse::give_back(buf, &ledger);
        }
    }
}

impl TailChunk {
    /// Memory for `bytes` bytes, rounded up to a multiple of [`ALIGN`](crate::ALIGN), counted in the thread's own ledger.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self::counted_in(bytes, &chunk_ledger())
    }

    /// Memory for `bytes` bytes, rounded up to a multiple of [`ALIGN`](crate::ALIGN), counted in `ledger` until its last
    /// slice is gone.
    #[must_use]
    pub fn counted_in(bytes: usize, ledger: &Arc<ChunkLedger>) -> Self {
        let chunk = Self { memory: Arc::new(ChunkMemory::new(bytes, Arc::clone(ledger))), filled: 0 };
        chunk.ledger().opened(chunk.capacity());
        chunk
    }

    fn appended(&mut self, bytes: usize) {
        self.filled += bytes;
        if self.remaining() == 0 && bytes > 0 {
            self.ledger().closed(self.capacity());
        }
    }

    /// The ledger that counts this chunk.
    fn ledger(&self) -> &ChunkLedger {
        self.memory.ledger.as_deref().expect("a chunk is counted from its making on")
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes that may ever be appended.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.memory.buf.len()
    }

    /// Bytes that may still be appended.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.capacity() - self.filled
    }

    /// Copies `bytes` to the end.
    ///
    /// # Panics
    /// When `bytes` exceed [`remaining`](Self::remaining): the caller's arithmetic is wrong.
    pub fn append(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.remaining(),
            "append of {} bytes to a chunk with {} left",
            bytes.len(),
            self.remaining()
        );
        // SAFETY: the range [filled, filled + len) lies inside the memory (asserted above). No slice covers it, since slices
        // cover bytes below the `filled` of their creation, and `filled` never falls. `&mut self` excludes a second writer.
        // The source cannot overlap it: a `&[u8]` into this chunk could only come from such a slice.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.buf.as_raw().add(self.filled), bytes.len());
        }
        counting::copied(bytes.len());
        self.appended(bytes.len());
    }

    /// Asks the core's cache for what an append of `bytes` will write.
    #[inline]
    pub fn prefetch_append(&self, bytes: usize) {
        let end = self.memory.buf.as_raw().wrapping_add(self.filled);
        prefetch::lines(end, bytes.min(self.remaining()));
    }

    /// Appends `bytes` zeros (padding to a block).
    ///
    /// # Panics
    /// When `bytes` exceed [`remaining`](Self::remaining).
    pub fn append_zeros(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "append of {bytes} zeros to a chunk with {} left", self.remaining());
        // SAFETY: as in `append`; the memory may have served before, so the zeros are written.
        unsafe { std::ptr::write_bytes(self.memory.buf.as_raw().add(self.filled), 0, bytes) }
        self.appended(bytes);
    }

    /// Shares the bytes of `range` without a copy. They never change; the chunk may go on growing.
    ///
    /// # Panics
    /// When `range` is reversed or ends beyond [`len`](Self::len).
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> SharedSlice {
        assert!(
            range.start <= range.end && range.end <= self.filled,
            "slice {range:?} of a chunk of {} bytes",
            self.filled
        );
        SharedSlice { memory: Arc::clone(&self.memory), start: range.start, bytes: range.end - range.start }
    }
}

impl Drop for TailChunk {
    fn drop(&mut self) {
        if self.remaining() > 0 {
            self.ledger().closed(self.capacity());
        }
    }
}

impl fmt::Debug for TailChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailChunk").field("filled", &self.filled).field("capacity", &self.capacity()).finish()
    }
}

/// Immutable bytes inside shared aligned memory. Cloning and slicing copy nothing.
#[derive(Clone)]
pub struct SharedSlice {
    memory: Arc<ChunkMemory>,
    start: usize,
    bytes: usize,
}

impl SharedSlice {
    /// A part of this slice.
    ///
    /// # Panics
    /// When `range` is reversed or ends beyond the slice.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.bytes, "slice {range:?} of {} bytes", self.bytes);
        Self { memory: Arc::clone(&self.memory), start: self.start + range.start, bytes: range.end - range.start }
    }

    /// Bytes of the whole memory that this slice keeps alive.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.memory.buf.capacity()
    }
}

impl Deref for SharedSlice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start .. start + bytes` lay below the chunk's `filled` when the slice was made (asserted in `slice`), so it
        // is inside the memory, initialised, and never written again. The `Arc` keeps the memory alive as long as `self`.
        // A slice reaches another thread only through a synchronising channel, which orders the writes before this read.
        unsafe { std::slice::from_raw_parts(self.memory.buf.as_raw().add(self.start), self.bytes) }
    }
}

impl AsRef<[u8]> for SharedSlice {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl From<SharedSlice> for Bytes {
    fn from(slice: SharedSlice) -> Self {
        Bytes::from_owner(slice)
    }
}

impl From<AlignedBuf> for SharedSlice {
    fn from(buf: AlignedBuf) -> Self {
        let bytes = buf.len();
        let memory = ChunkMemory { buf: ManuallyDrop::new(buf), ledger: None };
        Self { memory: Arc::new(memory), start: 0, bytes }
    }
}

impl fmt::Debug for SharedSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSlice").field("start", &self.start).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reused_memory_shows_only_what_was_appended_to_the_new_chunk() {
        let mut first = TailChunk::with_capacity(8192);
        first.append(&[7; 8192]);
        let kept = first.slice(0..8192);
        drop(first);
        let mut second = TailChunk::with_capacity(8192);
        second.append_zeros(100);
        second.append(b"new");
        assert!(kept.iter().all(|byte| *byte == 7), "a slice keeps its memory from being reused");
        drop(kept);
        let mut third = TailChunk::with_capacity(8192);
        third.append_zeros(8192);
        assert!(third.slice(0..8192).iter().all(|byte| *byte == 0), "padding is written, whatever was there");
        assert_eq!(&second.slice(0..103)[100..], b"new");
    }
}
