//! The mark of a clean stop: one small file that names the start which ended in good order. It only tells people what a
//! recovery followed; recovery itself reads and proves the same bytes with or without it.
//!
//! Little-endian:
//!
//! | Bytes | Field |
//! |---|---|
//! | 0..8 | magic `OUZCLEAN` |
//! | 8..12 | version, 1 |
//! | 12..20 | incarnation of the start that ended |
//! | 20..24 | CRC-32C of bytes 0..20 |
//!
//! Pure functions over bytes, as in all of `format/`. A mark that names another start than the last committed one says
//! nothing, so a stale mark needs no removal.

use ouzel_protocol::Incarnation;
use ouzel_protocol::crc;

use super::FormatError;

/// First bytes of the file.
const MAGIC: [u8; 8] = *b"OUZCLEAN";
const VERSION: u32 = 1;
/// Bytes of a mark.
pub const CLEAN_MARK_BYTES: usize = 24;
const CRC_AT: usize = 20;

/// The file's bytes for the start that ends.
pub fn encode(incarnation: Incarnation) -> [u8; CLEAN_MARK_BYTES] {
    let mut bytes = [0; CLEAN_MARK_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..CRC_AT].copy_from_slice(&incarnation.0.to_le_bytes());
    let crc = crc::crc32c(&bytes[..CRC_AT]);
    bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The start that a mark names.
///
/// # Errors
/// Which rule does not hold; the blame is the disk's, or of whoever touched the file.
pub fn decode(bytes: &[u8]) -> Result<Incarnation, FormatError> {
    let Ok(mark) = <&[u8; CLEAN_MARK_BYTES]>::try_from(bytes) else {
        return Err(FormatError::new("length of a clean mark", CLEAN_MARK_BYTES as u64, bytes.len() as u64));
    };
    let (covered, crc) = mark.split_at(CRC_AT);
    let number = |from: usize, to: usize| mark.get(from..to).into_iter().flatten().rev();
    let value = |from, to| number(from, to).fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    FormatError::equal("magic of a clean mark", u64::from_le_bytes(MAGIC), value(0, 8))?;
    FormatError::equal("version of a clean mark", VERSION, value(8, 12))?;
    let got = crc.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    FormatError::equal("CRC of a clean mark", crc::crc32c(covered), got)?;
    Ok(Incarnation(value(12, CRC_AT)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::for_every_flipped_bit;
    use super::*;

    #[test]
    fn a_mark_comes_back_and_its_bytes_stay_what_they_are() {
        let bytes = encode(Incarnation(0x0102_0304));
        assert_eq!(decode(&bytes), Ok(Incarnation(0x0102_0304)));
        assert_eq!(&bytes[..CRC_AT], b"OUZCLEAN\x01\0\0\0\x04\x03\x02\x01\0\0\0\0");
    }

    #[test]
    fn no_flipped_bit_and_no_other_length_is_a_mark() {
        let bytes = encode(Incarnation(7));
        for_every_flipped_bit(&bytes, |_, damaged| assert!(decode(damaged).is_err()));
        assert!(decode(&bytes[..23]).is_err() && decode(&[]).is_err());
    }
}
