//! The name of a cluster. Owns how it is drawn and how it is written. Never keeps one: that is the metadata's. A plain value,
//! any core.

use std::fmt;

/// The letters of RFC 4648's base64 for names and URLs, by value.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const LETTER_BITS: usize = 6;
/// 128 bits, and four zeros behind them.
const LETTER_COUNT: usize = u128::BITS.div_ceil(LETTER_BITS as u32) as usize;
const PADDING_BITS: usize = LETTER_COUNT * LETTER_BITS - u128::BITS as usize;

/// A random UUID, made when a cluster begins and the same ever after. Shown as Kafka shows the ids of its clusters: 22 letters of
/// base64, the highest bits first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

impl ClusterId {
    /// The id that these random bits make: a UUID of version 4 (RFC 9562). It never begins with `-`, which tools would take
    /// for an option; Kafka draws again until its own do not.
    #[must_use]
    pub fn from_random(bits: u128) -> ClusterId {
        let versioned = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
        let id = ClusterId(versioned);
        if id.letter(0) == '-' { ClusterId(versioned & !(1 << 127)) } else { id }
    }

    fn letter(self, index: usize) -> char {
        let below = (LETTER_COUNT - 1 - index) * LETTER_BITS;
        // The last letter's lowest bits are those behind the id.
        let value = if below >= PADDING_BITS { self.0 >> (below - PADDING_BITS) } else { self.0 << PADDING_BITS };
        char::from(LETTERS.get((value & 0x3f) as usize).copied().unwrap_or_default())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..LETTER_COUNT).try_for_each(|index| fmt::Write::write_char(f, self.letter(index)))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_written_in_22_letters_of_base64() {
        // As `base64.urlsafe_b64encode(value.to_bytes(16, "big"))` of Python has it, without the padding.
        for (value, expected) in [
            (0, "AAAAAAAAAAAAAAAAAAAAAA"),
            (1, "AAAAAAAAAAAAAAAAAAAAAQ"),
            (u128::MAX, "_____________________w"),
            (0x0123_4567_89ab_cdef_0011_2233_4455_6677, "ASNFZ4mrze8AESIzRFVmdw"),
            (0xfb00_0000_0000_0000_0000_0000_0000_003e, "-wAAAAAAAAAAAAAAAAAAPg"),
        ] {
            assert_eq!(ClusterId(value).to_string(), expected);
        }
    }

    #[test]
    fn whatever_is_drawn_is_a_uuid_of_version_4_that_does_not_begin_with_a_dash() {
        for bits in (0..128).map(|bit| 1 << bit).chain([0, u128::MAX, 0xfb << 120, 0xf8 << 120]) {
            let id = ClusterId::from_random(bits);
            assert_eq!((id.0 >> 76 & 0xf, id.0 >> 62 & 0x3), (4, 2), "{bits:x}");
            assert!(!id.to_string().starts_with('-'), "{id}");
        }
        assert_ne!(ClusterId::from_random(1), ClusterId::from_random(2));
    }
}
