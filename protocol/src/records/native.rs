//! The records of magic 79: an rkyv archive of columns and one blob, read where it lies.
//!
//! Owns the archive's layout, its writing and its reading; `check` owns the checks. Never decompresses the blob: `records` does, and hands it
//! in. Reading allocates nothing. Any core.

mod check;

use std::mem::{offset_of, size_of};

use rend::unaligned::{i32_ule, i64_ule, u32_ule};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::ser::allocator::SubAllocator;
use rkyv::vec::ArchivedVec;
use rkyv::{Archive, Portable, Serialize};

use super::{Header, Record, Source};
use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader};
use crate::ids::Offset;

pub(crate) use check::check_archive;

/// The layout below; attribute bits 8 to 11 of the header.
pub(crate) const LAYOUT_VERSION: u8 = 1;

/// Where the archive starts: the header and three zero bytes.
pub(crate) const ARCHIVE_START: usize = 64;

/// Bits of [`ArchivedColumns::present`]: which columns that a batch may leave out are there.
mod present {
    pub(super) const KEY_NULLS: u32 = 1;
    pub(super) const VALUE_NULLS: u32 = 1 << 1;
    pub(super) const WIDE_TIMESTAMPS: u32 = 1 << 2;
    pub(super) const OFFSETS: u32 = 1 << 3;
    pub(super) const HEADERS: u32 = 1 << 4;
    pub(super) const HEADER_NULLS: u32 = 1 << 5;
    pub(super) const ALL: u32 = (1 << 6) - 1;
}

/// The archive of a native batch, layout 1. Little-endian, no alignment, no padding.
///
/// From byte 64 of the batch to its end: the columns in the order of the fields below, each directly behind
/// the one before it, then the root, which is the last [`ROOT_BYTES`] bytes. A column that is absent has no
/// bytes. `n` is the header's record count, `h` the number of headers of all records.
///
/// | Column | Elements | Type | Present | Meaning |
/// |---|---|---|---|---|
/// | key_ends | n | u32 | always | where record i's key ends in the blob |
/// | value_ends | n | u32 | always | where its value ends |
/// | timestamps | n | i32 | bit 2 clear | timestamp - base timestamp, ms |
/// | timestamps_wide | n | i64 | bit 2 set | the same, when one delta needs more than 32 bits; wraps |
/// | offsets | n | u32 | bit 3 | offset - base offset, rising; absent = 0, 1, ... n-1 |
/// | key_nulls | ⌈n/8⌉ | u8 | bit 0 | bit i%8 of byte i/8: key i is null (and empty in the blob) |
/// | value_nulls | ⌈n/8⌉ | u8 | bit 1 | the same for values |
/// | header_ends | n | u32 | bit 4 | how many headers records 0..=i have together |
/// | header_key_ends | h | u32 | bit 4 | where header j's key ends in the blob |
/// | header_value_ends | h | u32 | bit 4 | where its value ends |
/// | header_nulls | ⌈h/8⌉ | u8 | bit 5 | header value j is null; only with bit 4 |
/// | blob | | u8 | always | compressed by the codec in the attributes; the columns never are |
///
/// The root:
///
/// | Bytes | Field | Type |
/// |---|---|---|
/// | 0..4 | present | u32, the bits above, others 0 |
/// | 4..8 | blob_bytes | u32, bytes of the blob when it is not compressed |
/// | 8..104 | the 12 columns in order, 8 bytes each | i32: start of the column, counted from this field; u32: number of elements |
///
/// An empty column's start is where it would have stood. The blob, decompressed: key 0, value 0, key 1,
/// value 1, ... value n-1, then header key 0, header value 0, header key 1, ...; every byte belongs to one of
/// them. So a key starts where the value before it ends (the first at 0), and the first header key where the
/// last value ends.
///
/// Columns stand first because the writer knows where they are only once they are written, and the root last
/// because that is where rkyv looks for it.
#[derive(Portable, CheckBytes, Debug)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
pub(crate) struct ArchivedColumns {
    present: u32_ule,
    blob_bytes: u32_ule,
    key_ends: ArchivedVec<u32_ule>,
    value_ends: ArchivedVec<u32_ule>,
    timestamps: ArchivedVec<i32_ule>,
    timestamps_wide: ArchivedVec<i64_ule>,
    offsets: ArchivedVec<u32_ule>,
    key_nulls: ArchivedVec<u8>,
    value_nulls: ArchivedVec<u8>,
    header_ends: ArchivedVec<u32_ule>,
    header_key_ends: ArchivedVec<u32_ule>,
    header_value_ends: ArchivedVec<u32_ule>,
    header_nulls: ArchivedVec<u8>,
    blob: ArchivedVec<u8>,
}

/// The columns while a batch is built. rkyv writes them as [`ArchivedColumns`], field for field.
#[derive(Archive, Serialize, Default, Debug)]
#[rkyv(as = ArchivedColumns)]
pub(super) struct Columns {
    pub(super) present: u32,
    pub(super) blob_bytes: u32,
    pub(super) key_ends: Vec<u32>,
    pub(super) value_ends: Vec<u32>,
    pub(super) timestamps: Vec<i32>,
    pub(super) timestamps_wide: Vec<i64>,
    pub(super) offsets: Vec<u32>,
    pub(super) key_nulls: Vec<u8>,
    pub(super) value_nulls: Vec<u8>,
    pub(super) header_ends: Vec<u32>,
    pub(super) header_key_ends: Vec<u32>,
    pub(super) header_value_ends: Vec<u32>,
    pub(super) header_nulls: Vec<u8>,
    pub(super) blob: Vec<u8>,
}

/// Bytes of the archive's root.
pub(crate) const ROOT_BYTES: usize = 104;

// rkyv's byte order, alignment and pointer width are features, and Cargo unifies features over the whole
// workspace of whoever builds this crate. Another choice there must fail this build, not change the bytes.
const _: () = {
    assert!(size_of::<ArchivedColumns>() == ROOT_BYTES);
    assert!(align_of::<ArchivedColumns>() == 1);
    assert!(size_of::<ArchivedVec<u8>>() == 8 && align_of::<ArchivedVec<i64_ule>>() == 1);
    assert!(size_of::<u32_ule>() == 4 && align_of::<u32_ule>() == 1);
    assert!(size_of::<i32_ule>() == 4 && align_of::<i32_ule>() == 1);
    assert!(size_of::<i64_ule>() == 8 && align_of::<i64_ule>() == 1);
    assert!(offset_of!(ArchivedColumns, present) == 0);
    assert!(offset_of!(ArchivedColumns, blob_bytes) == 4);
    assert!(offset_of!(ArchivedColumns, key_ends) == 8);
    assert!(offset_of!(ArchivedColumns, value_ends) == 16);
    assert!(offset_of!(ArchivedColumns, timestamps) == 24);
    assert!(offset_of!(ArchivedColumns, timestamps_wide) == 32);
    assert!(offset_of!(ArchivedColumns, offsets) == 40);
    assert!(offset_of!(ArchivedColumns, key_nulls) == 48);
    assert!(offset_of!(ArchivedColumns, value_nulls) == 56);
    assert!(offset_of!(ArchivedColumns, header_ends) == 64);
    assert!(offset_of!(ArchivedColumns, header_key_ends) == 72);
    assert!(offset_of!(ArchivedColumns, header_value_ends) == 80);
    assert!(offset_of!(ArchivedColumns, header_nulls) == 88);
    assert!(offset_of!(ArchivedColumns, blob) == 96);
    assert!(ARCHIVE_START == BATCH_HEADER_BYTES.next_multiple_of(64));
};
// The two integers inside an `ArchivedVec` are private; these hold only if they are these very types.
const _: fn(rkyv::primitive::ArchivedIsize) -> i32_ule = std::convert::identity;
const _: fn(rkyv::primitive::ArchivedUsize) -> u32_ule = std::convert::identity;

impl Columns {
    /// Empties every column, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.present = 0;
        self.blob_bytes = 0;
        self.key_ends.clear();
        self.value_ends.clear();
        self.timestamps.clear();
        self.timestamps_wide.clear();
        self.offsets.clear();
        self.key_nulls.clear();
        self.value_nulls.clear();
        self.header_ends.clear();
        self.header_key_ends.clear();
        self.header_value_ends.clear();
        self.header_nulls.clear();
        self.blob.clear();
    }

    /// Fills in `present` from the columns that are not empty.
    pub(super) fn mark_present(&mut self) {
        let bit = |absent: bool, bit: u32| if absent { 0 } else { bit };
        self.present = bit(self.key_nulls.is_empty(), present::KEY_NULLS)
            | bit(self.value_nulls.is_empty(), present::VALUE_NULLS)
            | bit(self.timestamps_wide.is_empty(), present::WIDE_TIMESTAMPS)
            | bit(self.offsets.is_empty(), present::OFFSETS)
            | bit(self.header_ends.is_empty(), present::HEADERS)
            | bit(self.header_nulls.is_empty(), present::HEADER_NULLS);
    }

    /// Appends the archive to `out`.
    pub(super) fn archive_into(&self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let mut scratch = [];
        let written = rkyv::api::low::to_bytes_in_with_alloc::<_, _, Failure>(
            self,
            std::mem::take(out),
            SubAllocator::new(&mut scratch),
        );
        *out = written.map_err(|_| archive("it does not serialize"))?;
        Ok(())
    }
}

fn archive(what: &'static str) -> BatchError {
    BatchError::Archive { what }
}

/// The end at `index`; 0, which no checked archive reaches, beyond the column.
#[inline]
fn end_of(ends: &[u32_ule], index: usize) -> usize {
    ends.get(index).map_or(0, |end| end.to_native() as usize)
}

/// Where the first of a pair starts: where the second before it ends.
#[inline]
fn start_of(second: &[u32_ule], index: usize, first_start: usize) -> usize {
    index.checked_sub(1).map_or(first_start, |before| end_of(second, before))
}

#[inline]
fn is_null(bits: &[u8], index: usize) -> bool {
    bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 != 0)
}

/// Walks the records of a checked archive.
#[derive(Clone)]
pub(crate) struct Records<'a> {
    columns: &'a ArchivedColumns,
    blob: &'a [u8],
    key_ends: &'a [u32_ule],
    value_ends: &'a [u32_ule],
    timestamps: &'a [i32_ule],
    timestamps_wide: &'a [i64_ule],
    offsets: &'a [u32_ule],
    key_nulls: &'a [u8],
    value_nulls: &'a [u8],
    header_ends: &'a [u32_ule],
    base_offset: u64,
    base_timestamp: i64,
    timestamp: Option<i64>,
    index: usize,
    start: usize,
    headers_start: u32,
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("index", &self.index)
            .field("count", &self.key_ends.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Records<'a> {
    pub(crate) fn new(header: &BatchHeader, columns: &'a ArchivedColumns, blob: &'a [u8]) -> Self {
        Self {
            columns,
            blob,
            key_ends: &columns.key_ends,
            value_ends: &columns.value_ends,
            timestamps: &columns.timestamps,
            timestamps_wide: &columns.timestamps_wide,
            offsets: &columns.offsets,
            key_nulls: &columns.key_nulls,
            value_nulls: &columns.value_nulls,
            header_ends: &columns.header_ends,
            base_offset: header.base_offset.0,
            base_timestamp: header.base_timestamp,
            timestamp: header.is_log_append_time().then_some(header.max_timestamp),
            index: 0,
            start: 0,
            headers_start: 0,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BatchError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        let key_end = self.key_ends.get(index)?.to_native() as usize;
        let value_end = end_of(self.value_ends, index);
        let (Some(key), Some(value)) = (self.blob.get(self.start..key_end), self.blob.get(key_end..value_end)) else {
            // The checks leave no way here; the columns end the walk rather than the process.
            self.index = self.key_ends.len();
            return Some(Err(archive("an end lies outside the blob")));
        };
        let delta = match self.timestamps.get(index) {
            Some(delta) => i64::from(delta.to_native()),
            None => self.timestamps_wide.get(index).map_or(0, |delta| delta.to_native()),
        };
        let offset_delta = match self.offsets.get(index) {
            Some(delta) => u64::from(delta.to_native()),
            None => index as u64,
        };
        let headers_end = self.header_ends.get(index).map_or(0, |end| end.to_native());
        let headers = Headers { columns: self.columns, blob: self.blob, next: self.headers_start, end: headers_end };
        self.index = index + 1;
        self.start = value_end;
        self.headers_start = headers_end;
        Some(Ok(Record {
            offset: Offset(self.base_offset.saturating_add(offset_delta)),
            timestamp: self.timestamp.unwrap_or_else(|| self.base_timestamp.wrapping_add(delta)),
            key: (!is_null(self.key_nulls, index)).then_some(key),
            value: (!is_null(self.value_nulls, index)).then_some(value),
            headers: super::Headers(Source::Native(headers)),
        }))
    }
}

/// The headers of one record.
#[derive(Clone)]
pub(crate) struct Headers<'a> {
    columns: &'a ArchivedColumns,
    blob: &'a [u8],
    next: u32,
    end: u32,
}

impl<'a> Headers<'a> {
    pub(super) fn next(&mut self) -> Option<Header<'a>> {
        if self.next >= self.end {
            return None;
        }
        let index = self.next as usize;
        let columns = self.columns;
        let values_end = columns.value_ends.last().map_or(0, |end| end.to_native() as usize);
        let start = start_of(&columns.header_value_ends, index, values_end);
        let key_end = end_of(&columns.header_key_ends, index);
        let key = self.blob.get(start..key_end)?;
        let value = self.blob.get(key_end..end_of(&columns.header_value_ends, index))?;
        self.next += 1;
        let value = (!is_null(&columns.header_nulls, index)).then_some(value);
        Some(Header { key, value })
    }

    pub(super) fn remaining(&self) -> usize {
        self.end.saturating_sub(self.next) as usize
    }
}
