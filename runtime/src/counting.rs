//! Counts what a steady path must not do: allocations, and copies of payload. Behind the feature `counting`, for tests;
//! without it [`copied`] is empty and nothing here costs anything. Owns two process-wide counters; any core.

#[cfg(feature = "counting")]
pub use on::{CountingAllocator, Counts, counts, exempt_this_thread};

/// Notes that `bytes` of payload were copied in user space. Whoever moves payload from one memory to another says so here.
#[cfg(not(feature = "counting"))]
#[inline]
pub fn copied(_bytes: usize) {}

/// Notes that `bytes` of payload were copied in user space. Whoever moves payload from one memory to another says so here.
#[cfg(feature = "counting")]
pub fn copied(bytes: usize) {
    on::note_copy(bytes);
}

#[cfg(feature = "counting")]
mod on {
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
    static COPIED_BYTES: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static IS_EXEMPT: Cell<bool> = const { Cell::new(false) };
    }

    /// What every thread that is not exempt has done since the process began.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Counts {
        /// Calls that asked the allocator for memory, those that grow a block included.
        pub allocations: u64,
        /// Bytes of payload that were copied.
        pub copied_bytes: u64,
    }

    /// The counts so far.
    #[must_use]
    pub fn counts() -> Counts {
        Counts { allocations: ALLOCATIONS.load(Ordering::Relaxed), copied_bytes: COPIED_BYTES.load(Ordering::Relaxed) }
    }

    /// What this thread does is not counted from here on: the client of a test, say.
    pub fn exempt_this_thread() {
        IS_EXEMPT.set(true);
    }

    fn is_counted() -> bool {
        // While a thread ends its flag may be gone already; what it still does is not the steady path.
        IS_EXEMPT.try_with(|exempt| !exempt.get()).unwrap_or(false)
    }

    pub(super) fn note_copy(bytes: usize) {
        if is_counted() {
            COPIED_BYTES.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn note_allocation() {
        if is_counted() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An allocator that counts the calls to the one inside.
    #[derive(Debug, Default)]
    pub struct CountingAllocator<A>(pub A);

    // SAFETY: every call goes unchanged to the allocator inside, which upholds the contract. The counting neither
    // allocates nor unwinds: atomics, and a thread-local without a destructor.
    unsafe impl<A: GlobalAlloc> GlobalAlloc for CountingAllocator<A> {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            note_allocation();
            // SAFETY: as the caller promised us.
            unsafe { self.0.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            note_allocation();
            // SAFETY: as the caller promised us.
            unsafe { self.0.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
            note_allocation();
            // SAFETY: as the caller promised us.
            unsafe { self.0.realloc(block, layout, bytes) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: as the caller promised us.
            unsafe { self.0.dealloc(block, layout) }
        }
    }
}
