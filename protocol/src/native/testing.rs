//! What the tests of every message check: golden bytes, round trip, every cut, every flipped bit, lying counts. Owns the
//! checks; the samples stand beside the messages. Tests only.

use std::fmt::Debug;

use super::reader::DecodeError;

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks one sample of a message against its golden bytes (hexadecimal, spaces ignored), and the decoder against every
/// way in which those bytes can be damaged that this file knows.
pub(crate) fn check_golden<T: PartialEq + Debug>(
    sample: &T,
    golden: &str,
    encode: impl Fn(&T, &mut Vec<u8>),
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    let mut bytes = Vec::new();
    encode(sample, &mut bytes);
    assert_eq!(hex(&bytes), golden.replace([' ', '\n'], ""), "golden bytes of {sample:?}");
    assert_eq!(decode(&bytes).as_ref(), Ok(sample));
    check_damage(&bytes, decode);
}

/// Checks that a message encodes, decodes and encodes to the same.
pub(crate) fn check_round_trip<T: PartialEq + Debug>(
    sample: &T,
    encode: impl Fn(&T, &mut Vec<u8>),
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    let mut bytes = Vec::new();
    encode(sample, &mut bytes);
    assert_eq!(decode(&bytes).as_ref(), Ok(sample));
}

fn check_damage<T: Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, DecodeError>) {
    for cut in 0..bytes.len() {
        let error = decode(&bytes[..cut]).expect_err("a cut message is an error");
        assert!(error.at <= cut, "{error} speaks of a byte past {cut}");
    }
    let longer = [bytes, &[0]].concat();
    decode(&longer).expect_err("a byte too many is an error");
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Many flips yield another legal message; none may panic.
        let _ = decode(&flipped);
    }
    for start in 0..bytes.len().saturating_sub(3) {
        for lie in [u32::MAX, 0x7fff_ffff, 262_144, 1024] {
            let mut lying = bytes.to_vec();
            lying[start..start + 4].copy_from_slice(&lie.to_le_bytes());
            let _ = decode(&lying);
        }
    }
}
