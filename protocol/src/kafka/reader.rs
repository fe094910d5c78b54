//! The one bounded reader of Kafka's messages. Owns every check between a peer's bytes and our types: bounds, caps, signs of
//! lengths, UTF-8, nothing left over. Never asserts, never indexes, never allocates. Runs on whichever core holds the bytes.
//!
//! Big-endian integers; varints of seven bits a byte, low bits first; in *flexible* versions lengths are unsigned varints of
//! length + 1 and every structure ends in tagged fields (Kafka's protocol guide, KIP-482).

use super::limits::STRING_BYTES_MAX;

/// A message that is not what its layout says. The peer that sent it is at fault; the connection that carried it is closed,
/// as Kafka does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {message}: {what} at byte {at}: {problem}")]
pub struct DecodeError {
    /// The message that was being read, such as `ProduceRequest`.
    pub message: &'static str,
    /// The field that was being read.
    pub what: &'static str,
    /// Position in the body (after the header) at which the check failed.
    pub at: usize,
    /// What is wrong there.
    pub problem: DecodeProblem,
}

/// What is wrong with one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeProblem {
    /// The body ends inside the field, or could not hold as many elements as it claims.
    #[error("expected {expected} bytes, got {got}")]
    Truncated {
        /// Bytes that the field needs, at the least.
        expected: usize,
        /// Bytes that are left.
        got: usize,
    },
    /// A length or count below -1.
    #[error("a length cannot be {got}")]
    Negative {
        /// The length.
        got: i32,
    },
    /// Null where this version has none.
    #[error("cannot be null")]
    Null,
    /// A count or length above its cap.
    #[error("expected at most {max}, got {got}")]
    TooMany {
        /// The cap.
        max: usize,
        /// What the peer claims.
        got: usize,
    },
    /// A string that is not UTF-8.
    #[error("expected UTF-8")]
    NotUtf8,
    /// A varint of more than 32 bits.
    #[error("a varint has at most 32 bits")]
    Varint,
    /// Bytes after the last known field, of the message or of one tagged field.
    #[error("expected the end, got {got} more bytes")]
    Trailing {
        /// Bytes that are left over.
        got: usize,
    },
    /// A version that the codec does not have. The caller asked for it.
    #[error("version {got} is not known")]
    Version {
        /// The version.
        got: i16,
    },
}

/// What a version of a message looks like on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The version.
    pub version: i16,
    /// Whether lengths are varints and structures end in tagged fields.
    pub flexible: bool,
}

/// A cursor over the body of one message.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    message: &'static str,
    rest: &'a [u8],
    /// Position in the body of the end of `rest`.
    ends_at: usize,
    shape: Shape,
    count_max: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`, of whose arrays none may have more than `count_max` elements.
    pub(super) fn new(message: &'static str, bytes: &'a [u8], shape: Shape, count_max: usize) -> Reader<'a> {
        Reader { message, rest: bytes, ends_at: bytes.len(), shape, count_max }
    }

    /// The version that is read.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Reads what follows in another version: the one that was read in front of it.
    pub(super) fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Bytes not yet read.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error at the next byte.
    pub(super) fn error(&self, what: &'static str, problem: DecodeProblem) -> DecodeError {
        DecodeError { message: self.message, what, at: self.ends_at.saturating_sub(self.rest.len()), problem }
    }

    /// The next `count` bytes.
    #[inline]
    pub(super) fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.error(what, DecodeProblem::Truncated { expected: count, got: self.rest.len() })),
        }
    }

    /// The next `N` bytes, for an integer.
    #[inline]
    pub(super) fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.error(what, DecodeProblem::Truncated { expected: N, got: self.rest.len() })),
        }
    }

    /// An unsigned varint of at most 32 bits.
    #[inline]
    pub(super) fn uvarint(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u32;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array(what)?;
            // The fifth byte has room for four bits.
            if shift == 28 && byte > 0x0f {
                return Err(self.error(what, DecodeProblem::Varint));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(what, DecodeProblem::Varint))
    }

    /// A length or count of four bytes, or a varint in flexible versions; `None` for null. Not above `max`.
    #[inline]
    pub(super) fn length(&mut self, what: &'static str, max: usize) -> Result<Option<usize>, DecodeError> {
        let length = if self.shape.flexible {
            self.uvarint(what)?.checked_sub(1)
        } else {
            self.fixed_length(what, |reader| Ok(i32::from_be_bytes(reader.array(what)?)))?
        };
        self.capped(what, length, max)
    }

    /// As [`length`](Self::length), of two bytes where it is not a varint.
    #[inline]
    pub(super) fn short_length(&mut self, what: &'static str, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let length = if flexible {
            self.uvarint(what)?.checked_sub(1)
        } else {
            self.fixed_length(what, |reader| Ok(i32::from(i16::from_be_bytes(reader.array(what)?))))?
        };
        self.capped(what, length, STRING_BYTES_MAX)
    }

    #[inline]
    fn fixed_length(
        &mut self,
        what: &'static str,
        read: impl FnOnce(&mut Self) -> Result<i32, DecodeError>,
    ) -> Result<Option<u32>, DecodeError> {
        match read(self)? {
            -1 => Ok(None),
            got => u32::try_from(got).map(Some).map_err(|_| self.error(what, DecodeProblem::Negative { got })),
        }
    }

    #[inline]
    fn capped(&self, what: &'static str, length: Option<u32>, max: usize) -> Result<Option<usize>, DecodeError> {
        let Some(length) = length else { return Ok(None) };
        let got = usize::try_from(length).unwrap_or(usize::MAX);
        if got > max {
            return Err(self.error(what, DecodeProblem::TooMany { max, got }));
        }
        Ok(Some(got))
    }

    /// The count of an array, `None` for null: within the cap, and its elements, each of at least `element_bytes_min`, fit in
    /// what is left.
    #[inline]
    pub(super) fn count(&mut self, what: &'static str, element_bytes_min: usize) -> Result<Option<usize>, DecodeError> {
        let count = self.length(what, self.count_max)?;
        let expected = count.unwrap_or(0).saturating_mul(element_bytes_min);
        if expected > self.rest.len() {
            return Err(self.error(what, DecodeProblem::Truncated { expected, got: self.rest.len() }));
        }
        Ok(count)
    }

    /// A string, `None` for null. The one in a request header keeps its two bytes of length in every version.
    #[inline]
    pub(super) fn string(&mut self, what: &'static str, flexible: bool) -> Result<Option<&'a str>, DecodeError> {
        let Some(length) = self.short_length(what, flexible)? else { return Ok(None) };
        let bytes = self.take(what, length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(self.error(what, DecodeProblem::NotUtf8)),
        }
    }

    /// The tagged fields that end a structure in flexible versions. `known` reads the value of a tag that it knows and says
    /// whether it did; others are skipped.
    pub(super) fn tags(
        &mut self,
        mut known: impl FnMut(u32, &mut Reader<'a>) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        const WHAT: &str = "tagged fields";
        let count = self.uvarint(WHAT)?;
        for _ in 0..count {
            let tag = self.uvarint(WHAT)?;
            let length = usize::try_from(self.uvarint(WHAT)?).unwrap_or(usize::MAX);
            let bytes = self.take(WHAT, length)?;
            let ends_at = self.ends_at.saturating_sub(self.rest.len());
            let mut value = Reader { rest: bytes, ends_at, ..self.clone() };
            if known(tag, &mut value)? {
                value.finish(WHAT)?;
            }
        }
        Ok(())
    }

    /// Ends what is read: whatever is left over is an error.
    pub(super) fn finish(&self, what: &'static str) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            got => Err(self.error(what, DecodeProblem::Trailing { got })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Shape = Shape { version: 0, flexible: false };
    const FLEXIBLE: Shape = Shape { version: 0, flexible: true };

    fn reader(bytes: &[u8], shape: Shape) -> Reader<'_> {
        Reader::new("test", bytes, shape, 10)
    }

    #[test]
    fn varints_are_those_of_the_protocol_guide() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0x7f], 127),
            (&[0x80, 1], 128),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX),
            // Longer than it must be, as Kafka takes it.
            (&[0x81, 0], 1),
        ] {
            assert_eq!(reader(bytes, FLEXIBLE).uvarint("n"), Ok(value));
            for cut in 0..bytes.len() {
                let error = reader(&bytes[..cut], FLEXIBLE).uvarint("n").unwrap_err();
                assert_eq!(error.problem, DecodeProblem::Truncated { expected: 1, got: 0 });
            }
        }
        for bytes in [[0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x80]] {
            assert_eq!(reader(&bytes, FLEXIBLE).uvarint("n").unwrap_err().problem, DecodeProblem::Varint);
        }
    }

    #[test]
    fn a_count_is_bounded_by_its_cap_and_by_what_is_left() {
        let problem = |bytes: &[u8], shape| reader(bytes, shape).count("rows", 8).unwrap_err().problem;
        assert_eq!(problem(&[0, 0, 0, 11], FIXED), DecodeProblem::TooMany { max: 10, got: 11 });
        assert_eq!(problem(&[12], FLEXIBLE), DecodeProblem::TooMany { max: 10, got: 11 });
        assert_eq!(problem(&[0, 0, 0, 2, 9], FIXED), DecodeProblem::Truncated { expected: 16, got: 1 });
        assert_eq!(problem(&[0xff, 0xff, 0xff, 0xfe], FIXED), DecodeProblem::Negative { got: -2 });
        assert_eq!(reader(&[0xff; 4], FIXED).count("rows", 8), Ok(None));
        assert_eq!(reader(&[0], FLEXIBLE).count("rows", 8), Ok(None));
    }

    #[test]
    fn a_string_that_is_not_utf8_names_its_field() {
        let error = reader(&[0, 2, 0xff, 0xfe], FIXED).string("name", false).unwrap_err();
        assert_eq!(error.to_string(), "malformed test: name at byte 4: expected UTF-8");
    }

    #[test]
    fn a_tagged_field_ends_where_it_says() {
        let read = |bytes| {
            let mut seen = Vec::new();
            let result = reader(bytes, FLEXIBLE).tags(|tag, value| {
                seen.push(tag);
                Ok(tag == 1 && value.array::<1>("one").is_ok())
            });
            (result.map_err(|error| (error.at, error.problem)), seen)
        };
        assert_eq!(read(&[2, 1, 1, 7, 9, 3, 0, 0, 0]), (Ok(()), vec![1, 9]));
        assert_eq!(read(&[1, 1, 2, 7, 7]), (Err((4, DecodeProblem::Trailing { got: 1 })), vec![1]));
        let (result, _) = read(&[1, 1, 9]);
        assert_eq!(result, Err((3, DecodeProblem::Truncated { expected: 9, got: 0 })));
    }
}
