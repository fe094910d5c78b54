//! The records of magic 2: row by row, zigzag varints, as Kafka's `DefaultRecord` lays them out.
//!
//! Owns reading and writing one record. Never decompresses. Any core.

use super::varint::{self, Cursor};
use super::{Header, Record, Source};
use crate::batch::{BatchError, BatchHeader};
use crate::ids::Offset;

/// Walks the records of a batch; fused after an error.
///
/// After the 61-byte header, compressed as a whole by the codec in the attributes, `count` times:
///
/// | Field | Type | Notes |
/// |---|---|---|
/// | length | varint | bytes of the record after this field |
/// | attributes | i8 | 0; no bit is used |
/// | timestamp delta | varlong | from the batch's base timestamp |
/// | offset delta | varint | from the batch's base offset |
/// | key length | varint | -1 = null |
/// | key | bytes | |
/// | value length | varint | -1 = null |
/// | value | bytes | |
/// | header count | varint | |
/// | headers | | each: key length varint, key, value length varint (-1 = null), value |
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    cursor: Cursor<'a>,
    base_offset: u64,
    base_timestamp: i64,
    /// With log-append time: what every record's timestamp is.
    timestamp: Option<i64>,
    last_offset_delta: u32,
    index: u32,
    count: u32,
    /// The lowest offset delta the next record may have.
    offset_delta_min: i64,
}

impl<'a> Records<'a> {
    pub(crate) fn new(header: &BatchHeader, bytes: &'a [u8]) -> Self {
        Self {
            cursor: Cursor::new(bytes),
            base_offset: header.base_offset.0,
            base_timestamp: header.base_timestamp,
            timestamp: header.is_log_append_time().then_some(header.max_timestamp),
            last_offset_delta: header.last_offset_delta,
            index: 0,
            count: header.record_count,
            offset_delta_min: 0,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, &'static str> {
        let length = self.cursor.varint().ok_or("its length is cut")?;
        let body = usize::try_from(length).ok().and_then(|length| self.cursor.bytes(length));
        let mut body = Cursor::new(body.ok_or("it is longer than its batch")?);
        const CUT: &str = "it is cut";
        body.byte().ok_or(CUT)?;
        let timestamp_delta = body.varlong().ok_or(CUT)?;
        let offset_delta = i64::from(body.varint().ok_or(CUT)?);
        if offset_delta < self.offset_delta_min || offset_delta > i64::from(self.last_offset_delta) {
            return Err("its offset is out of order");
        }
        let key = body.nullable_bytes().ok_or(CUT)?;
        let value = body.nullable_bytes().ok_or(CUT)?;
        let header_count = body.varint().ok_or(CUT)?;
        let header_count = u32::try_from(header_count).map_err(|_| "its header count is negative")?;
        let headers = Headers { cursor: body.clone(), remaining: header_count };
        for _ in 0..header_count {
            read_header(&mut body).ok_or("a header is cut or has no key")?;
        }
        if !body.rest.is_empty() {
            return Err("bytes follow its headers");
        }
        self.offset_delta_min = offset_delta + 1;
        Ok(Record {
            offset: Offset(self.base_offset.saturating_add(offset_delta.unsigned_abs())),
            timestamp: self.timestamp.unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers: super::Headers(Source::Kafka2(headers)),
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index == self.count {
            let got = std::mem::take(&mut self.cursor.rest).len();
            return (got > 0).then_some(Err(BatchError::TrailingRecords { got }));
        }
        let index = self.index;
        match self.read() {
            Ok(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            Err(what) => {
                self.index = self.count;
                self.cursor.rest = &[];
                Some(Err(BatchError::Record { index, what }))
            }
        }
    }
}

/// The headers of one record, walked once already.
#[derive(Clone, Default)]
pub(crate) struct Headers<'a> {
    cursor: Cursor<'a>,
    remaining: u32,
}

impl<'a> Headers<'a> {
    pub(super) fn next(&mut self) -> Option<Header<'a>> {
        self.remaining = self.remaining.checked_sub(1)?;
        read_header(&mut self.cursor)
    }

    pub(super) fn remaining(&self) -> usize {
        self.remaining as usize
    }
}

fn read_header<'a>(cursor: &mut Cursor<'a>) -> Option<Header<'a>> {
    let key_length = usize::try_from(cursor.varint()?).ok()?;
    let key = cursor.bytes(key_length)?;
    let value = cursor.nullable_bytes()?;
    Some(Header { key, value })
}

/// Appends one record.
pub(super) fn put_record<'h>(
    out: &mut Vec<u8>,
    timestamp_delta: i64,
    offset_delta: u32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl ExactSizeIterator<Item = Header<'h>> + Clone,
) {
    let offset_delta = i64::from(offset_delta);
    let header_count = headers.len() as i64;
    let headers_len: usize = headers.clone().map(|header| field_len(Some(header.key)) + field_len(header.value)).sum();
    let length = 1
        + varint::len(timestamp_delta)
        + varint::len(offset_delta)
        + field_len(key)
        + field_len(value)
        + varint::len(header_count)
        + headers_len;
    // The one place that may grow the buffer for this record.
    out.reserve(length + 5);
    varint::put(out, length as i64);
    out.push(0);
    varint::put(out, timestamp_delta);
    varint::put(out, offset_delta);
    put_field(out, key);
    put_field(out, value);
    varint::put(out, header_count);
    for header in headers {
        put_field(out, Some(header.key));
        put_field(out, header.value);
    }
}

#[inline]
fn field_len(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::len(bytes.len() as i64) + bytes.len())
}

#[inline]
fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
        None => varint::put(out, -1),
    }
}
