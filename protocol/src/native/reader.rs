//! The one bounded reader of native messages. Owns every check between a peer's bytes and our types: bounds, caps, UTF-8,
//! enumerations, nothing left over. Never asserts, never indexes, never allocates on a peer's word alone. Runs on
//! whichever core holds the bytes.

use super::limits::STRING_BYTES_MAX;
use crate::durability::Durability;
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, MemberEpoch, NodeId, Offset, PartitionIndex, ShardIndex, TopicId};

/// A message that is not what its layout says. The peer that sent it is at fault; the connection that carried it should
/// be closed or the request refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {message}: {what} at byte {at}: {problem}")]
pub struct DecodeError {
    /// The message that was being read, such as `produce request`.
    pub message: &'static str,
    /// The field that was being read.
    pub what: &'static str,
    /// Position in the body (after the frame header) at which the field starts.
    pub at: usize,
    /// What is wrong with it.
    pub problem: DecodeProblem,
}

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeProblem {
    /// The body ends inside the field.
    #[error("expected {expected} bytes, got {got}")]
    Truncated {
        /// Bytes that the field needs.
        expected: usize,
        /// Bytes that are left.
        got: usize,
    },
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
    /// A number that stands for nothing.
    #[error("expected {expected}, got {got}")]
    Unknown {
        /// The values that are allowed, in words.
        expected: &'static str,
        /// The value received.
        got: u64,
    },
    /// Bytes after the last known field.
    #[error("expected the end, got {got} more bytes")]
    Trailing {
        /// Bytes that are left over.
        got: usize,
    },
}

/// A cursor over the body of one message.
pub(crate) struct Reader<'a> {
    message: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader { message, bytes, at: 0 }
    }

    /// As [`Reader::new`], but at byte `at` of the body.
    pub(crate) fn at(message: &'static str, bytes: &'a [u8], at: usize) -> Reader<'a> {
        Reader { message, bytes, at }
    }

    /// Bytes not yet read.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    /// Position of the next byte in the body.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn error(&self, what: &'static str, at: usize, problem: DecodeProblem) -> DecodeError {
        DecodeError { message: self.message, what, at, problem }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.saturating_add(count);
        match self.bytes.get(self.at..end) {
            Some(taken) => {
                self.at = end;
                Ok(taken)
            }
            None => Err(self.error(what, self.at, DecodeProblem::Truncated { expected: count, got: self.remaining() })),
        }
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(what, N)?);
        Ok(value)
    }

    /// Four bytes as they are.
    pub(crate) fn magic(&mut self, what: &'static str) -> Result<[u8; 4], DecodeError> {
        self.array(what)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i8(&mut self, what: &'static str) -> Result<i8, DecodeError> {
        Ok(i8::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn u128(&mut self, what: &'static str) -> Result<u128, DecodeError> {
        Ok(u128::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    /// One byte that is 0 or 1.
    pub(crate) fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        let at = self.at;
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            got => Err(self.error(what, at, DecodeProblem::Unknown { expected: "0 or 1", got: u64::from(got) })),
        }
    }

    /// A `u16` error code; a number that this side does not know becomes [`ErrorCode::Unknown`], since a newer broker may
    /// have more of them.
    pub(crate) fn error_code(&mut self, what: &'static str) -> Result<ErrorCode, DecodeError> {
        Ok(ErrorCode::from_wire(self.u16(what)?))
    }

    /// An offset; above `i64::MAX` it could not be one.
    pub(crate) fn offset(&mut self, what: &'static str) -> Result<Offset, DecodeError> {
        let at = self.at;
        let got = self.u64(what)?;
        if got > Offset::MAX.0 {
            return Err(self.error(what, at, DecodeProblem::Unknown { expected: "at most i64::MAX", got }));
        }
        Ok(Offset(got))
    }

    pub(crate) fn durability(&mut self, what: &'static str) -> Result<Durability, DecodeError> {
        let at = self.at;
        let got = self.u8(what)?;
        Durability::from_wire(got).ok_or_else(|| {
            self.error(what, at, DecodeProblem::Unknown { expected: "0 (disk) or 1 (written)", got: u64::from(got) })
        })
    }

    pub(crate) fn topic_id(&mut self, what: &'static str) -> Result<TopicId, DecodeError> {
        Ok(TopicId(self.u128(what)?))
    }

    pub(crate) fn partition(&mut self, what: &'static str) -> Result<PartitionIndex, DecodeError> {
        Ok(PartitionIndex(self.u32(what)?))
    }

    pub(crate) fn leader_epoch(&mut self, what: &'static str) -> Result<LeaderEpoch, DecodeError> {
        Ok(LeaderEpoch(self.u32(what)?))
    }

    pub(crate) fn member_epoch(&mut self, what: &'static str) -> Result<MemberEpoch, DecodeError> {
        Ok(MemberEpoch(self.i32(what)?))
    }

    pub(crate) fn shard(&mut self, what: &'static str) -> Result<ShardIndex, DecodeError> {
        Ok(ShardIndex(self.u16(what)?))
    }

    pub(crate) fn node(&mut self, what: &'static str) -> Result<NodeId, DecodeError> {
        Ok(NodeId(self.u32(what)?))
    }

    /// A `u16` length and that many bytes of UTF-8. The length bounds the allocation to 64 KiB.
    pub(crate) fn string(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let at = self.at;
        let length = usize::from(self.u16(what)?);
        const _: () = assert!(u16::MAX as usize <= STRING_BYTES_MAX);
        let bytes = self.take(what, length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.error(what, at, DecodeProblem::NotUtf8)),
        }
    }

    /// A `u32` length of at most `max`, as a number; the bytes it speaks of may stand elsewhere.
    pub(crate) fn length(&mut self, what: &'static str, max: usize) -> Result<usize, DecodeError> {
        let at = self.at;
        let got = usize::try_from(self.u32(what)?).unwrap_or(usize::MAX);
        if got > max {
            return Err(self.error(what, at, DecodeProblem::TooMany { max, got }));
        }
        Ok(got)
    }

    /// A byte that says whether a value follows, and the value.
    pub(crate) fn option<T>(
        &mut self,
        what: &'static str,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.bool(what)? { Ok(Some(value(self)?)) } else { Ok(None) }
    }

    /// A list of names.
    pub(crate) fn names(&mut self, what: &'static str, max: usize) -> Result<Vec<String>, DecodeError> {
        self.list(what, max, 2, |reader| reader.string(what))
    }

    /// A `u32` count and its rows. `row_bytes_min` is the least a row takes on the wire: a count whose rows cannot fit in
    /// what is left is refused before the list is allocated.
    pub(crate) fn list<T>(
        &mut self,
        what: &'static str,
        max: usize,
        row_bytes_min: usize,
        mut row: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let at = self.at;
        let count = self.length(what, max)?;
        let expected = count.saturating_mul(row_bytes_min);
        if expected > self.remaining() {
            return Err(self.error(what, at, DecodeProblem::Truncated { expected, got: self.remaining() }));
        }
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push(row(self)?);
        }
        Ok(rows)
    }

    /// A `u32` count and the bytes of its rows, each of exactly `row_bytes`: read in place by whoever walks them.
    pub(crate) fn table(&mut self, what: &'static str, max: usize, row_bytes: usize) -> Result<&'a [u8], DecodeError> {
        let at = self.at;
        let count = self.length(what, max)?;
        let expected = count.saturating_mul(row_bytes);
        if expected > self.remaining() {
            return Err(self.error(what, at, DecodeProblem::Truncated { expected, got: self.remaining() }));
        }
        self.take(what, expected)
    }

    /// Ends the message: whatever is left over is an error.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            got => Err(self.error("end of message", self.at, DecodeProblem::Trailing { got })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_cannot_fit_is_refused_before_the_list_is_allocated() {
        let mut bytes = 1000_u32.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 64]);
        let mut reader = Reader::new("test", &bytes);
        let error = reader.list("rows", 10_000, 8, |reader| reader.u64("row")).unwrap_err();
        assert_eq!(error.problem, DecodeProblem::Truncated { expected: 8000, got: 64 });
        assert_eq!(error.to_string(), "malformed test: rows at byte 0: expected 8000 bytes, got 64");
    }

    #[test]
    fn a_count_above_its_cap_is_refused() {
        let bytes = u32::MAX.to_le_bytes();
        let mut reader = Reader::new("test", &bytes);
        let error = reader.list("rows", 10, 0, |_| Ok(())).unwrap_err();
        assert_eq!(error.problem, DecodeProblem::TooMany { max: 10, got: u32::MAX as usize });
    }

    #[test]
    fn bytes_left_over_are_an_error_that_says_how_many() {
        let mut reader = Reader::new("test", &[1, 2, 3]);
        reader.u8("first").unwrap();
        assert_eq!(reader.finish().unwrap_err().problem, DecodeProblem::Trailing { got: 2 });
    }

    #[test]
    fn a_string_that_is_not_utf8_names_its_place() {
        let mut reader = Reader::new("test", &[9, 2, 0, 0xff, 0xfe]);
        reader.u8("first").unwrap();
        let error = reader.string("name").unwrap_err();
        assert_eq!((error.at, error.problem), (1, DecodeProblem::NotUtf8));
    }
}
