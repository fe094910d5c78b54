//! Hints to the core's cache, for loops over things that lie far apart in memory: asked for together, their misses overlap
//! instead of following one another. A hint changes nothing but time. Safe: nothing is read or written.

/// Bytes of a cache line on every machine that this runs on.
const LINE_BYTES: usize = 64;

/// Asks for the memory of `value` itself (not what it points to), which is about to be changed.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    lines(std::ptr::from_ref(value).cast(), size_of_val(value));
}

/// Asks for the lines of `bytes` bytes from `first` on. Addresses that are no memory are allowed.
#[inline]
pub(crate) fn lines(first: *const u8, bytes: usize) {
    let mut offset = 0;
    while offset < bytes {
        line(first.wrapping_add(offset));
        offset += LINE_BYTES;
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a prefetch never faults, whatever the address, and has no effect that a program can see.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn line(_address: *const u8) {}
