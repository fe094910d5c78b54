//! CRC-32C (Castagnoli), the checksum of everything that is stored or sent. Owns the choice between two libraries; keeps no
//! state. Any core.
//!
//! Measured here: over 16 KiB `crc-fast` (carry-less multiplication, AVX-512 where it is) takes 0.012 s a gigabyte and `crc32c`
//! (the CRC instruction) 0.055; over a few dozen bytes they are even, and `crc32c` has less to set up.

use crc_fast::{CrcAlgorithm, Digest};

/// From here on setting up pays.
const LONG_BYTES_MIN: usize = 256;

/// The checksum of `bytes`.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    if bytes.len() < LONG_BYTES_MIN {
        return crc32c::crc32c(bytes);
    }
    low(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

/// The checksum of what `crc` is the checksum of, followed by `bytes`.
#[must_use]
pub fn crc32c_append(crc: u32, bytes: &[u8]) -> u32 {
    if bytes.len() < LONG_BYTES_MIN {
        return crc32c::crc32c_append(crc, bytes);
    }
    // The register holds the complement of the checksum.
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    low(digest.finalize())
}

/// The checksum of two runs of bytes one after the other, from theirs: `second` is that of `second_bytes` bytes. Costs
/// less than a microsecond, whatever the length.
#[must_use]
pub fn crc32c_combine(first: u32, second: u32, second_bytes: usize) -> u32 {
    multiply(shift_by(second_bytes), first) ^ second
}

/// Castagnoli's polynomial, reflected: the highest power is bit 0.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// x to the power of 2^i, modulo the polynomial.
const POWERS: [u32; usize::BITS as usize + 3] = {
    let mut powers = [0; usize::BITS as usize + 3];
    // x itself.
    powers[0] = 1 << 30;
    let mut i = 1;
    while i < powers.len() {
        powers[i] = multiply(powers[i - 1], powers[i - 1]);
        i += 1;
    }
    powers
};

/// The product of two polynomials modulo the third.
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut product, mut a, mut b) = (0, a, b);
    let mut bit = 0;
    // Without branches: the bits are as good as random.
    while bit < u32::BITS {
        product ^= b & 0_u32.wrapping_sub(a >> 31);
        a <<= 1;
        b = (b >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(b & 1));
        bit += 1;
    }
    product
}

/// x to the power of the bits in `bytes` bytes: what a checksum is multiplied with when so many bytes follow.
fn shift_by(bytes: usize) -> u32 {
    let mut shift = ONE;
    let mut rest = bytes;
    while rest != 0 {
        // Eight bits a byte: the powers begin three further on.
        let power = POWERS.get(rest.trailing_zeros() as usize + 3).copied().unwrap_or(ONE);
        shift = if shift == ONE { power } else { multiply(power, shift) };
        rest &= rest - 1;
    }
    shift
}

/// The library's result is as wide as the widest CRC it knows.
fn low(checksum: u64) -> u32 {
    u32::try_from(checksum).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 1024]), crc32c::crc32c(&[0; 1024]));
        for bytes in [1, 4096, 1 << 30] {
            assert_eq!(crc32c_combine(7, 9, bytes), crc32c::crc32c_combine(7, 9, bytes), "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn both_libraries_agree_however_the_bytes_are_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..3000),
            at in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = bytes.split_at(at.index(bytes.len() + 1));
            let expected = crc32c::crc32c(&bytes);
            prop_assert_eq!(crc32c(&bytes), expected);
            prop_assert_eq!(crc32c_append(crc32c(head), tail), expected);
            prop_assert_eq!(crc32c_combine(crc32c(head), crc32c(tail), tail.len()), expected);
        }
    }
}
