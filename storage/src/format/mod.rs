//! The byte formats of storage: one format, one file. Each file owns its layout table, its codec and its tests.
//!
//! Pure functions over byte slices: nothing here opens a file, awaits, reads a clock or allocates from a length that
//! has not been compared with the bytes at hand. Bytes from disk are never asserted on, indexed or unwrapped; bytes
//! that we are about to write are asserted on. Lives on no core: any thread may call it.

use ouzel_protocol::crc;

pub mod check;
pub mod checkpoint;
pub mod clean;
pub mod commit;
pub mod index;
pub mod metadata;
pub mod producers;

/// Every structure that must be atomic or addressable on disk starts at a multiple of this many bytes.
pub const BLOCK: usize = 4096;

/// Bytes that do not hold what their format demands. The blame is the disk's, or of whoever touched the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected:#x}, got {got:#x}")]
pub struct FormatError {
    /// The rule that does not hold.
    pub what: &'static str,
    /// What the rule demands; a bound where the rule is a bound.
    pub expected: u64,
    /// What the bytes say.
    pub got: u64,
}

impl FormatError {
    /// A rule that does not hold.
    pub fn new(what: &'static str, expected: impl Into<u64>, got: impl Into<u64>) -> Self {
        Self { what, expected: expected.into(), got: got.into() }
    }

    /// Fails unless both values are equal.
    pub(crate) fn equal(what: &'static str, expected: impl Into<u64>, got: impl Into<u64>) -> Result<(), Self> {
        let error = Self::new(what, expected, got);
        if error.expected == error.got { Ok(()) } else { Err(error) }
    }

    /// Fails if the value exceeds the bound.
    pub(crate) fn at_most(what: &'static str, bound: impl Into<u64>, got: impl Into<u64>) -> Result<(), Self> {
        let error = Self::new(what, bound, got);
        if error.got <= error.expected { Ok(()) } else { Err(error) }
    }

    /// Fails if the value lies below the bound.
    pub(crate) fn at_least(what: &'static str, bound: impl Into<u64>, got: impl Into<u64>) -> Result<(), Self> {
        let error = Self::new(what, bound, got);
        if error.got >= error.expected { Ok(()) } else { Err(error) }
    }
}

/// `bytes` rounded up to whole blocks.
pub const fn padded_to_block(bytes: usize) -> usize {
    bytes.next_multiple_of(BLOCK)
}

/// CRC-32C over `bytes` with the four bytes from `hole` taken as zero: a checksum over a structure that holds it.
/// `None` if the hole does not lie inside the bytes.
pub(crate) fn checksum_with_hole(bytes: &[u8], hole: usize) -> Option<u32> {
    let before = bytes.get(..hole)?;
    let after = bytes.get(hole.checked_add(4)?..)?;
    Some(crc::crc32c_append(crc::crc32c_append(crc::crc32c(before), &[0; 4]), after))
}

/// True if every byte is zero: space that was never written.
pub(crate) fn is_blank(bytes: &[u8]) -> bool {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    bytes.chunks(BLOCK).all(|chunk| ZEROS.get(..chunk.len()) == Some(chunk))
}

#[cfg(test)]
pub(crate) mod testing {
    //! What the format tests share.

    /// Calls `check` with a copy of `bytes` for every single flipped bit.
    pub(crate) fn for_every_flipped_bit(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
        let mut copy = bytes.to_vec();
        for position in 0..copy.len() {
            for bit in 0..8 {
                copy[position] ^= 1 << bit;
                check(position, &copy);
                copy[position] ^= 1 << bit;
            }
        }
        assert_eq!(copy, bytes);
    }
}
