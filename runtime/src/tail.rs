//! Append-only memory that readers share while it grows: [`TailChunk`] has one writer, [`SharedSlice`]s see a prefix that
//! never changes again. The only shared mutable memory of the workspace. A slice may go to any core.

use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

use crate::buf::{ALIGN, AlignedBuf};

/// Aligned memory with one writer; bytes below its length are frozen and may be shared.
pub struct TailChunk {
    memory: Arc<ChunkMemory>,
    filled: usize,
}

/// The memory of a chunk. Its `AlignedBuf` is only an owner here: nobody makes a reference to the whole of it, every
/// access goes through its raw pointer, bounded by a `filled` that only grows.
struct ChunkMemory(ManuallyDrop<AlignedBuf>);

/// Chunks of these sizes, powers of two, are kept for reuse: they come and go at the rate of the log, and fresh memory
/// costs the kernel a cleared page each 4 KiB (measured: half of a shard's CPU at 1,024 busy partitions).
const REUSED_CLASSES: usize = 7;
const REUSED_BYTES_LARGEST: usize = ALIGN << (REUSED_CLASSES - 1);
/// At most this much idle memory a thread. Chunks lived inside their owner's budget before, so keeping them raises no peak.
const REUSED_BYTES_MAX: usize = 128 * 1024 * 1024;

#[derive(Default)]
struct Reused {
    classes: [Vec<AlignedBuf>; REUSED_CLASSES],
    bytes: usize,
}

impl Reused {
    fn class_of(bytes: usize) -> Option<usize> {
        let fits = bytes.is_power_of_two() && (ALIGN..=REUSED_BYTES_LARGEST).contains(&bytes);
        fits.then(|| (bytes / ALIGN).trailing_zeros() as usize)
    }

    fn take(&mut self, bytes: usize) -> Option<AlignedBuf> {
        let buf = self.classes[Self::class_of(bytes)?].pop()?;
        self.bytes -= bytes;
        Some(buf)
    }

    fn keep(&mut self, buf: AlignedBuf) {
        let bytes = buf.len();
        if let Some(class) = Self::class_of(bytes)
            && bytes == buf.capacity()
            && self.bytes + bytes <= REUSED_BYTES_MAX
        {
            self.bytes += bytes;
            self.classes[class].push(buf);
        }
    }
}

thread_local! {
    static REUSED: RefCell<Reused> = RefCell::default();
}

impl ChunkMemory {
    fn new(bytes: usize) -> Self {
        let reused = REUSED.with_borrow_mut(|reused| reused.take(bytes));
        Self(ManuallyDrop::new(reused.unwrap_or_else(|| AlignedBuf::zeroed(bytes))))
    }
}

impl Drop for ChunkMemory {
    fn drop(&mut self) {
        // SAFETY: the buffer is taken once, here, and the memory is not used again: the last `Arc` to it is going.
        let buf = unsafe { ManuallyDrop::take(&mut self.0) };
        // A thread that is ending keeps nothing any more; the buffer is freed with the closure then.
        let _ = REUSED.try_with(move |reused| reused.borrow_mut().keep(buf));
    }
}

impl TailChunk {
    /// Memory for `bytes` bytes, rounded up to a multiple of [`ALIGN`](crate::ALIGN).
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { memory: Arc::new(ChunkMemory::new(bytes)), filled: 0 }
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
        self.memory.0.len()
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
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.0.as_raw().add(self.filled), bytes.len());
        }
        self.filled += bytes.len();
    }

    /// Appends `bytes` zeros (padding to a block).
    ///
    /// # Panics
    /// When `bytes` exceed [`remaining`](Self::remaining).
    pub fn append_zeros(&mut self, bytes: usize) {
        assert!(bytes <= self.remaining(), "append of {bytes} zeros to a chunk with {} left", self.remaining());
        // SAFETY: as in `append`; the memory may have served before, so the zeros are written.
        unsafe { std::ptr::write_bytes(self.memory.0.as_raw().add(self.filled), 0, bytes) }
        self.filled += bytes;
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
        self.memory.0.capacity()
    }
}

impl Deref for SharedSlice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `start .. start + bytes` lay below the chunk's `filled` when the slice was made (asserted in `slice`), so it
        // is inside the memory, initialised, and never written again. The `Arc` keeps the memory alive as long as `self`.
        // A slice reaches another thread only through a synchronising channel, which orders the writes before this read.
        unsafe { std::slice::from_raw_parts(self.memory.0.as_raw().add(self.start), self.bytes) }
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
        Self { memory: Arc::new(ChunkMemory(ManuallyDrop::new(buf))), start: 0, bytes }
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
