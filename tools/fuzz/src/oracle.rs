//! What must hold for any bytes: the memory a parser may take, and that what was read can be written again.
//!
//! Owns the promises that several formats share; a promise of one format stands with its target. Every function panics
//! where the promise is broken: that is how a target reports. Counts the allocations of its own thread only.

use std::fmt::Debug;

/// What a parser may hold on the heap at one time: `fixed + times * input`, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Heap {
    /// Bytes whatever the input: the text of an error, a decoder's window.
    pub fixed: usize,
    /// Bytes for each byte of input.
    pub times: usize,
}

impl Heap {
    /// Nothing at all, not even for the refusal.
    pub const NONE: Heap = Heap { fixed: 0, times: 0 };

    /// A message: rows of strings are the worst, 48 bytes of two headers for 3 bytes on the wire.
    pub const MESSAGE: Heap = Heap { fixed: 0, times: 18 };

    /// What the store keeps of a file: rows of about the size they have on disk, in a list that doubles as it grows.
    pub const ROWS: Heap = Heap { fixed: 256, times: 4 };
}

/// Runs `parse` and checks what it held at most, for an input of `input_bytes`. Panics above `heap`.
pub fn bounded<T>(heap: Heap, input_bytes: usize, parse: impl FnOnce() -> T) -> T {
    let mut parsed = None;
    let taken = allocation_counter::measure(|| parsed = Some(parse())).bytes_max;
    let allowed = heap.fixed + heap.times * input_bytes;
    assert!(taken <= allowed as u64, "{taken} bytes of memory for {input_bytes} bytes of input, allowed are {allowed}");
    parsed.expect("the counter runs what it measures")
}

/// A format in which no two inputs mean the same: what is read is written back byte for byte. Returns whether the bytes
/// were accepted.
pub fn exact<T, E>(
    heap: Heap,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> bool {
    let Ok(value) = bounded(heap, bytes.len(), || decode(bytes)) else { return false };
    let mut written = Vec::new();
    encode(&value, &mut written);
    assert!(written == bytes, "{bytes:02x?} was read and came back as {written:02x?}");
    true
}

/// A format that forgets something on purpose (an error code this side does not know, a sentence that is too long): what
/// is written back is read as itself, and from then on nothing changes. Returns whether the bytes were accepted.
pub fn settles<T: Debug + PartialEq, E: Debug>(
    heap: Heap,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> bool {
    let Ok(value) = bounded(heap, bytes.len(), || decode(bytes)) else { return false };
    let mut written = Vec::new();
    encode(&value, &mut written);
    let again = decode(&written).unwrap_or_else(|error| panic!("{value:?} was written as {written:02x?}: {error:?}"));
    let mut twice = Vec::new();
    encode(&again, &mut twice);
    assert!(twice == written, "{value:?} became {again:?} on the second reading");
    assert!(written.len() < bytes.len() || again == value, "{value:?} became {again:?} though nothing was cut");
    true
}
