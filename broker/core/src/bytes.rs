//! The one bounded reader and the one writer behind records and snapshots: little-endian, every length checked
//! against what is left and against a cap before anything is allocated. Owns no format.

use crate::error::MetadataError;

/// Reads the fields of a record or snapshot in order.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub(crate) fn malformed(&self, detail: impl Into<String>) -> MetadataError {
        MetadataError::Malformed { what: self.what, at: self.at, detail: detail.into() }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], MetadataError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(head) = rest.first_chunk::<N>() else {
            return Err(self.malformed(format!("expected {N} bytes, got {}", rest.len())));
        };
        self.at += N;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, MetadataError> {
        self.take::<1>().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, MetadataError> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, MetadataError> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, MetadataError> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, MetadataError> {
        self.take().map(u128::from_le_bytes)
    }

    /// A count of elements of at least `element_bytes` each: at most `max`, and no more than the rest can hold.
    pub(crate) fn count(&mut self, element_bytes: usize, max: usize) -> Result<usize, MetadataError> {
        let count = self.u32()? as usize;
        let left = self.bytes.len().saturating_sub(self.at);
        let possible = left / element_bytes.max(1);
        if count > max || count > possible {
            return Err(self.malformed(format!("count {count} exceeds {}", max.min(possible))));
        }
        Ok(count)
    }

    /// A UTF-8 string with a `u16` length of at most `max` bytes.
    pub(crate) fn text(&mut self, max: usize) -> Result<&'a str, MetadataError> {
        let length = usize::from(self.u16()?);
        let rest: &'a [u8] = self.bytes.get(self.at..).unwrap_or_default();
        if length > max || length > rest.len() {
            return Err(self.malformed(format!("text of {length} bytes exceeds {}", max.min(rest.len()))));
        }
        let text = rest.get(..length).unwrap_or_default();
        let text = std::str::from_utf8(text).map_err(|_| self.malformed("text is not UTF-8"))?;
        self.at += length;
        Ok(text)
    }

    /// Everything must have been read.
    pub(crate) fn finish(self) -> Result<(), MetadataError> {
        match self.bytes.len().saturating_sub(self.at) {
            0 => Ok(()),
            left => Err(self.malformed(format!("{left} bytes after the last field"))),
        }
    }
}

/// Appends the fields of a record or snapshot in order. What it is given is our own: lengths are asserted.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("counts are bounded by limits.rs"));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.u16(u16::try_from(text.len()).expect("texts are bounded by limits.rs"));
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
