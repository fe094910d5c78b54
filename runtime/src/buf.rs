//! Memory for direct I/O: [`AlignedBuf`] (owned by one holder), [`AlignedPool`] (a fixed number of them) and what may be
//! written to a file ([`AlignedRead`]). Never shares memory; shared append-only memory is in `tail.rs`. An `AlignedBuf` may
//! move between cores; a pool and what came out of it stay on theirs.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

use bytes::Bytes;

use crate::sync::{Permit, Semaphore};
use crate::tail::SharedSlice;

/// Alignment, in bytes, of every direct transfer: memory, file offset and length.
pub const ALIGN: usize = 4096;

/// A block of memory whose address and length are multiples of [`ALIGN`], fit for direct I/O.
pub struct AlignedBuf {
    ptr: NonNull<u8>,
    bytes: usize,
    capacity: usize,
}

// SAFETY: an `AlignedBuf` owns its memory alone, like a `Box<[u8]>`; nothing in it is tied to a thread.
unsafe impl Send for AlignedBuf {}
// SAFETY: through a shared reference it only hands out `&[u8]`, as a `Box<[u8]>` does.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// Zeroed memory of `bytes` bytes, rounded up to a multiple of [`ALIGN`] (at least one).
    #[must_use]
    pub fn zeroed(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        let layout = Self::layout(bytes);
        // SAFETY: the layout's size is at least `ALIGN`, so it is not zero.
        let ptr = unsafe { alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout) };
        Self { ptr, bytes, capacity: bytes }
    }

    /// As [`zeroed`](Self::zeroed), but nobody has written to the memory yet: for a read that fills it.
    ///
    /// # Safety
    /// The caller lets nobody see the bytes (this type dereferences to them) before each of them was written, by the kernel or
    /// by [`zero_from`](Self::zero_from).
    pub(crate) unsafe fn unwritten(bytes: usize) -> Self {
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        let layout = Self::layout(bytes);
        // SAFETY: the layout's size is at least `ALIGN`, so it is not zero.
        let ptr = unsafe { alloc(layout) };
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout) };
        Self { ptr, bytes, capacity: bytes }
    }

    /// Writes zeros from `start` to the end, without looking at what is there.
    pub(crate) fn zero_from(&mut self, start: usize) {
        let start = start.min(self.capacity);
        // SAFETY: `start` lies within the allocation of `capacity` bytes, and `&mut self` makes this the only reference.
        unsafe { self.ptr.as_ptr().add(start).write_bytes(0, self.capacity - start) }
    }

    /// Length in bytes, a multiple of [`ALIGN`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Shows only the first `bytes` bytes, a multiple of [`ALIGN`] between one block and [`AlignedBuf::capacity`]: one
    /// buffer serves writes of many sizes. Bytes beyond keep their content.
    ///
    /// # Panics
    /// When `bytes` is anything else.
    pub fn set_len(&mut self, bytes: usize) {
        assert!(bytes >= ALIGN && bytes <= self.capacity && bytes.is_multiple_of(ALIGN), "{bytes} of {self:?}");
        self.bytes = bytes;
    }

    /// Bytes allocated.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Never true: a buffer holds at least one block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Gives up writing for ever, so that slices may be shared without a copy.
    #[must_use]
    pub fn into_shared(self) -> SharedSlice {
        SharedSlice::from(self)
    }

    pub(crate) fn as_raw(&self) -> *mut u8 {
        self.ptr.as_ptr()
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGN).expect("a buffer is smaller than half the address space")
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        // SAFETY: `ptr` came from the allocator with this very layout, and only this owner frees it.
        unsafe { dealloc(self.ptr.as_ptr(), Self::layout(self.capacity)) }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` covers `bytes` initialised bytes (zeroed at the start, or as `unwritten` asks of its caller) that live
        // as long as `self`; whoever else may write to them (the kernel) owns the `AlignedBuf` while it does.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.bytes) }
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.bytes) }
    }
}

impl fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedBuf")
            .field("bytes", &self.bytes)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// A buffer on its way into a write, whatever its kind.
#[derive(Debug)]
pub enum WriteBuf {
    /// Owned memory.
    Aligned(AlignedBuf),
    /// Owned memory of a pool.
    Pooled(PooledAligned),
    /// Shared, immutable memory.
    Shared(SharedSlice),
}

impl Deref for WriteBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Aligned(buf) => buf,
            Self::Pooled(buf) => buf,
            Self::Shared(buf) => buf,
        }
    }
}

mod sealed {
    /// Only this crate's buffers keep their address while they move.
    pub trait Sealed {}
}

/// A buffer that a file may be written from: it owns its bytes, and they do not move when it does.
pub trait AlignedRead: Deref<Target = [u8]> + sealed::Sealed + Sized + 'static {
    /// Into the form an operation keeps.
    #[doc(hidden)]
    fn into_write_buf(self) -> WriteBuf;
    /// Back from the form an operation keeps. The same buffer comes back, so the kind is known.
    #[doc(hidden)]
    fn from_write_buf(buf: WriteBuf) -> Self;
}

macro_rules! aligned_read {
    ($kind:ty, $variant:ident) => {
        impl sealed::Sealed for $kind {}
        impl AlignedRead for $kind {
            fn into_write_buf(self) -> WriteBuf {
                WriteBuf::$variant(self)
            }
            fn from_write_buf(buf: WriteBuf) -> Self {
                match buf {
                    WriteBuf::$variant(buf) => buf,
                    other => unreachable!("a write gave back another kind of buffer: {other:?}"),
                }
            }
        }
    };
}

aligned_read!(AlignedBuf, Aligned);
aligned_read!(PooledAligned, Pooled);
aligned_read!(SharedSlice, Shared);

/// A fixed number of aligned buffers of one size, for one core. Waiting for one is the back-pressure.
#[derive(Clone)]
pub struct AlignedPool {
    inner: Rc<PoolInner>,
}

struct PoolInner {
    bytes: usize,
    permits: Semaphore,
    free: RefCell<Vec<AlignedBuf>>,
}

impl AlignedPool {
    /// A pool of at most `count` buffers of `bytes` bytes (rounded up to [`ALIGN`]), allocated when first needed.
    #[must_use]
    pub fn new(count: usize, bytes: usize) -> Self {
        let free = RefCell::new(Vec::with_capacity(count));
        Self { inner: Rc::new(PoolInner { bytes, permits: Semaphore::new(count), free }) }
    }

    /// A buffer, if one is free and nobody waits for it. Its contents are what the last user left.
    #[must_use]
    pub fn try_get(&self) -> Option<PooledAligned> {
        let permit = self.inner.permits.try_acquire(1)?;
        Some(self.take(permit))
    }

    /// Waits for a buffer, in order of asking. Its contents are what the last user left. Cancel-safe.
    pub async fn get(&self) -> PooledAligned {
        let permit = self.inner.permits.acquire(1).await;
        self.take(permit)
    }

    /// Buffers that could be had now.
    #[must_use]
    pub fn available(&self) -> usize {
        self.inner.permits.available()
    }

    fn take(&self, permit: Permit) -> PooledAligned {
        let buf = self.inner.free.borrow_mut().pop();
        let buf = buf.unwrap_or_else(|| AlignedBuf::zeroed(self.inner.bytes));
        PooledAligned { buf: Some(buf), pool: Rc::clone(&self.inner), _permit: permit }
    }
}

impl fmt::Debug for AlignedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlignedPool")
            .field("bytes", &self.inner.bytes)
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

/// A buffer of an [`AlignedPool`]; dropping it gives it back.
pub struct PooledAligned {
    buf: Option<AlignedBuf>,
    pool: Rc<PoolInner>,
    // Declared last: the buffer is back in the pool (by `drop`) before the permit lets the next one in.
    _permit: Permit,
}

impl Drop for PooledAligned {
    fn drop(&mut self) {
        if let Some(buf) = self.buf.take() {
            self.pool.free.borrow_mut().push(buf);
        }
    }
}

impl Deref for PooledAligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.buf.as_ref().expect("only drop takes the buffer")
    }
}

impl DerefMut for PooledAligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.buf.as_mut().expect("only drop takes the buffer")
    }
}

impl fmt::Debug for PooledAligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledAligned").field("buf", &self.buf).finish_non_exhaustive()
    }
}

impl From<AlignedBuf> for Bytes {
    fn from(buf: AlignedBuf) -> Self {
        Bytes::from(SharedSlice::from(buf))
    }
}
