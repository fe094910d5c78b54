//! How Kafka's messages put their fields into a buffer. Owns the encoding of lengths, strings and tagged fields, and the list
//! of places where records are to go that are not copied. Never reads. Runs on whichever core builds the message.

use super::limits::STRING_BYTES_MAX;
use super::reader::Shape;

/// A value that a version cannot carry. Whoever built the message is at fault; nothing of it is in the buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} of version {version} cannot carry {what}: {problem}")]
pub struct EncodeError {
    /// The message that was being written.
    pub message: &'static str,
    /// Its version.
    pub version: i16,
    /// The field.
    pub what: &'static str,
    /// What is wrong with its value.
    pub problem: EncodeProblem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeProblem {
    /// The version has no such field, and the value is not the one a reader would assume.
    #[error("the version has no such field")]
    Absent,
    /// The version knows no null there.
    #[error("cannot be null")]
    Null,
    /// Longer than its length field can say.
    #[error("expected at most {max}, got {got}")]
    TooLong {
        /// The most there may be.
        max: usize,
        /// What there is.
        got: usize,
    },
    /// Records that stand elsewhere in a message that is to be written whole.
    #[error("the records are not here")]
    Elsewhere,
    /// The codec does not have the version.
    #[error("the version is not known")]
    Version,
}

/// Where in a buffer records go that were not written into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Position in the buffer in front of which the records stand on the wire.
    pub at: usize,
    /// Bytes of them.
    pub bytes: usize,
}

/// Appends the fields of one message to a buffer.
#[derive(Debug)]
pub struct Writer<'o> {
    message: &'static str,
    out: &'o mut Vec<u8>,
    shape: Shape,
    gaps: Option<&'o mut Vec<Gap>>,
}

impl<'o> Writer<'o> {
    pub(super) fn new(
        message: &'static str,
        out: &'o mut Vec<u8>,
        shape: Shape,
        gaps: Option<&'o mut Vec<Gap>>,
    ) -> Writer<'o> {
        Writer { message, out, shape, gaps }
    }

    /// The version that is written.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn error(&self, what: &'static str, problem: EncodeProblem) -> EncodeError {
        EncodeError { message: self.message, version: self.shape.version, what, problem }
    }

    /// The error for a field that the version does not have.
    pub(super) fn absent(&self, what: &'static str) -> EncodeError {
        self.error(what, EncodeProblem::Absent)
    }

    #[inline]
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// An unsigned varint.
    #[inline]
    pub(super) fn uvarint(&mut self, value: u32) {
        let (bytes, count) = uvarint_bytes(value);
        self.raw(bytes.get(..count).unwrap_or_default());
    }

    /// A length or count of four bytes, or a varint in flexible versions; `None` for null.
    #[inline]
    pub(super) fn length(&mut self, what: &'static str, length: Option<usize>) -> Result<(), EncodeError> {
        let length = self.fitting(what, length, i32::MAX as usize)?;
        if self.shape.flexible {
            self.uvarint(length.map_or(0, |length| length.cast_unsigned() + 1));
        } else {
            self.raw(&length.unwrap_or(-1).to_be_bytes());
        }
        Ok(())
    }

    /// A string, `None` for null.
    #[inline]
    pub(super) fn string(
        &mut self,
        what: &'static str,
        value: Option<&str>,
        flexible: bool,
    ) -> Result<(), EncodeError> {
        const _: () = assert!(STRING_BYTES_MAX == i16::MAX as usize);
        let length = self.fitting(what, value.map(str::len), STRING_BYTES_MAX)?;
        if flexible {
            self.uvarint(length.map_or(0, |length| length.cast_unsigned() + 1));
        } else {
            self.raw(&(length.unwrap_or(-1) as i16).to_be_bytes());
        }
        self.raw(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    fn fitting(&self, what: &'static str, length: Option<usize>, max: usize) -> Result<Option<i32>, EncodeError> {
        let Some(got) = length else { return Ok(None) };
        match i32::try_from(got) {
            Ok(length) if got <= max => Ok(Some(length)),
            _ => Err(self.error(what, EncodeProblem::TooLong { max, got })),
        }
    }

    /// A tag, the length of what `value` writes, and that.
    pub(super) fn tagged(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.uvarint(tag);
        let start = self.out.len();
        value(self)?;
        let length = self.fitting("tagged fields", Some(self.out.len() - start), i32::MAX as usize)?;
        // Its length stands in front of it and is known only now. Tagged fields are small and rare.
        let (bytes, count) = uvarint_bytes(length.unwrap_or(0).cast_unsigned());
        let bytes = bytes.get(..count).unwrap_or_default();
        self.out.splice(start..start, bytes.iter().copied());
        Ok(())
    }

    /// Leaves room on the wire, not in the buffer, for records that are sent from where they lie.
    pub(super) fn gap(&mut self, what: &'static str, bytes: usize) -> Result<(), EncodeError> {
        let at = self.out.len();
        match &mut self.gaps {
            Some(gaps) => {
                if bytes > 0 {
                    gaps.push(Gap { at, bytes });
                }
                Ok(())
            }
            None => Err(self.error(what, EncodeProblem::Elsewhere)),
        }
    }
}

fn uvarint_bytes(value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut count = 0;
    let mut rest = value;
    for byte in &mut bytes {
        count += 1;
        *byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::reader::Reader;

    const FLEXIBLE: Shape = Shape { version: 3, flexible: true };

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 28, u32::MAX] {
            let mut out = Vec::new();
            Writer::new("test", &mut out, FLEXIBLE, None).uvarint(value);
            let mut reader = Reader::new("test", &out, FLEXIBLE, 0);
            assert_eq!(reader.uvarint("n"), Ok(value));
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn a_string_longer_than_its_length_can_say_is_refused() {
        let long = "x".repeat(STRING_BYTES_MAX + 1);
        let mut out = Vec::new();
        let error = Writer::new("test", &mut out, FLEXIBLE, None).string("name", Some(&long), true).unwrap_err();
        assert_eq!(error.to_string(), "test of version 3 cannot carry name: expected at most 32767, got 32768");
    }

    #[test]
    fn a_long_tagged_field_has_a_long_length() {
        let mut out = Vec::new();
        Writer::new("test", &mut out, FLEXIBLE, None)
            .tagged(5, |writer| {
                writer.raw(&[9; 300]);
                Ok(())
            })
            .unwrap();
        assert_eq!(out[..3], [5, 0xac, 0x02]);
        assert_eq!(out.len(), 303);
    }
}
