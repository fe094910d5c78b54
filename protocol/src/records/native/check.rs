//! The checks a native archive passes before anything reads it.
//!
//! Owns the rules of the layout, each refused by name. Every pass runs over whole columns without a branch a
//! record, so that checking costs about what reading the columns does. Allocates nothing. Any core.

use rend::unaligned::u32_ule;
use rkyv::rancor::Failure;

use super::{ARCHIVE_START, ArchivedColumns, LAYOUT_VERSION, ROOT_BYTES, archive, end_of, present, start_of};
use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Magic};
use crate::codec::{Codec, CodecError};
use crate::records::DecodeLimits;

/// Reads a native batch's archive in place: rkyv's bytecheck, then every rule of [`ArchivedColumns`]. What cannot be
/// seen without decompressing the blob is left to [`ArchivedColumns::check_blob`].
///
/// `header` is what the header of `bytes` says, `bytes` the whole batch.
///
/// # Errors
/// The rule that is broken; the sender is at fault.
pub(crate) fn check_archive<'a>(
    header: &BatchHeader,
    bytes: &'a [u8],
    limits: &DecodeLimits,
) -> Result<&'a ArchivedColumns, BatchError> {
    if header.layout_version() != LAYOUT_VERSION {
        let got = header.layout_version();
        return Err(BatchError::UnknownLayout { expected: LAYOUT_VERSION, got });
    }
    if header.is_control() || header.magic != Magic::Native {
        return Err(BatchError::Control);
    }
    if bytes.get(BATCH_HEADER_BYTES..ARCHIVE_START) != Some(&[0; 3]) {
        return Err(archive("the padding after the header is not three zero bytes"));
    }
    let body = bytes.get(ARCHIVE_START..).unwrap_or_default();
    let columns = rkyv::api::low::access::<ArchivedColumns, Failure>(body)
        .map_err(|_| archive("a column lies outside it or over another"))?;
    columns.check_lengths(header, body.len())?;
    columns.check_ends()?;
    columns.check_offsets(header)?;
    columns.check_timestamps(header)?;
    let blob_bytes = columns.blob_bytes();
    let capped = match header.codec()? {
        Codec::None => blob_bytes == columns.blob.len(),
        _ => blob_bytes <= limits.cap(columns.blob.len()),
    };
    match capped {
        true => Ok(columns),
        false => Err(archive("its blob has another size or grows past the caps")),
    }
}

impl ArchivedColumns {
    /// The blob as it lies there, compressed or not.
    pub(crate) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Checks that the decompressed blob is as long as the columns take it to be.
    pub(crate) fn check_blob(&self, got: usize) -> Result<(), BatchError> {
        let expected = self.blob_bytes();
        match got == expected {
            true => Ok(()),
            false => Err(CodecError::Length { expected, got }.into()),
        }
    }

    fn blob_bytes(&self) -> usize {
        self.blob_bytes.to_native() as usize
    }

    fn has(&self, bit: u32) -> bool {
        self.present.to_native() & bit != 0
    }

    /// Every column has the length its `present` bit and the record count give it, and nothing else is in the
    /// archive.
    fn check_lengths(&self, header: &BatchHeader, archive_bytes: usize) -> Result<(), BatchError> {
        let n = header.record_count as usize;
        let h = self.header_key_ends.len();
        let wide = self.has(present::WIDE_TIMESTAMPS);
        let headers = self.has(present::HEADERS);
        let when = |present: bool, length: usize| if present { length } else { 0 };
        let sound = self.present.to_native() & !present::ALL == 0
            && self.key_ends.len() == n
            && self.value_ends.len() == n
            && self.timestamps.len() == when(!wide, n)
            && self.timestamps_wide.len() == when(wide, n)
            && self.offsets.len() == when(self.has(present::OFFSETS), n)
            && self.key_nulls.len() == when(self.has(present::KEY_NULLS), n.div_ceil(8))
            && self.value_nulls.len() == when(self.has(present::VALUE_NULLS), n.div_ceil(8))
            && self.header_ends.len() == when(headers, n)
            && (headers || h == 0)
            && self.header_value_ends.len() == h
            && self.header_nulls.len() == when(self.has(present::HEADER_NULLS), h.div_ceil(8));
        if !sound {
            return Err(archive("a column has not the length the record count gives it"));
        }
        let words = self.key_ends.len()
            + self.value_ends.len()
            + self.timestamps.len()
            + 2 * self.timestamps_wide.len()
            + self.offsets.len()
            + self.header_ends.len()
            + 2 * h;
        let bytes =
            self.key_nulls.len() + self.value_nulls.len() + self.header_nulls.len() + self.blob.len() + ROOT_BYTES;
        match 4 * words + bytes == archive_bytes {
            true => Ok(()),
            false => Err(archive("bytes of it belong to no column")),
        }
    }

    /// All ends rise and the last is the blob's; what a bitmap calls null is empty.
    fn check_ends(&self) -> Result<(), BatchError> {
        let values_end = check_chain(&self.key_ends, &self.value_ends, 0)?;
        let end = check_chain(&self.header_key_ends, &self.header_value_ends, values_end)?;
        if end != self.blob_bytes.to_native() {
            return Err(archive("its last end is not the end of the blob"));
        }
        check_nulls(&self.key_nulls, self.key_ends.len(), |record| {
            start_of(&self.value_ends, record, 0) == end_of(&self.key_ends, record)
        })?;
        check_nulls(&self.value_nulls, self.value_ends.len(), |record| {
            end_of(&self.key_ends, record) == end_of(&self.value_ends, record)
        })?;
        check_nulls(&self.header_nulls, self.header_key_ends.len(), |header| {
            end_of(&self.header_key_ends, header) == end_of(&self.header_value_ends, header)
        })?;
        let mut before = 0;
        let rising = self.header_ends.iter().fold(true, |rising, end| {
            let end = end.to_native();
            let still = rising & (before <= end);
            before = end;
            still
        });
        match rising && before as usize == self.header_key_ends.len() {
            true => Ok(()),
            false => Err(archive("its header counts do not rise to the number of headers")),
        }
    }

    fn check_offsets(&self, header: &BatchHeader) -> Result<(), BatchError> {
        if !self.has(present::OFFSETS) {
            return match header.last_offset_delta == header.record_count.saturating_sub(1) || header.record_count == 0 {
                true => Ok(()),
                false => Err(archive("its offsets have gaps and no column for them")),
            };
        }
        let mut lowest = 0;
        let rising = self.offsets.iter().fold(true, |rising, delta| {
            let delta = u64::from(delta.to_native());
            let still = rising & (lowest <= delta);
            lowest = delta + 1;
            still
        });
        match rising && lowest <= u64::from(header.last_offset_delta) + 1 {
            true => Ok(()),
            false => Err(archive("its offsets do not rise to the last offset delta")),
        }
    }

    /// The header's newest timestamp is the records': the time index and retention believe it.
    fn check_timestamps(&self, header: &BatchHeader) -> Result<(), BatchError> {
        if header.is_log_append_time() || header.record_count == 0 {
            return Ok(());
        }
        let base = header.base_timestamp;
        let newest = match self.has(present::WIDE_TIMESTAMPS) {
            true => self.timestamps_wide.iter().map(|d| base.wrapping_add(d.to_native())).max(),
            // A 32-bit delta does not wrap unless the sum of base and the extremes does.
            false => self.timestamps.iter().map(|d| base.wrapping_add(i64::from(d.to_native()))).max(),
        };
        match newest == Some(header.max_timestamp) {
            true => Ok(()),
            false => Err(archive("its newest timestamp is not the header's")),
        }
    }
}

/// Checks that `first` and `second` ends, taken in turn, never fall below what stands before them; gives the
/// last. Without a branch a record, so that the loop costs little more than reading the columns.
fn check_chain(first: &[u32_ule], second: &[u32_ule], start: u32) -> Result<u32, BatchError> {
    let mut before = start;
    let mut rising = true;
    for (a, b) in first.iter().zip(second) {
        let (a, b) = (a.to_native(), b.to_native());
        rising &= (before <= a) & (a <= b);
        before = b;
    }
    match rising {
        true => Ok(before),
        false => Err(archive("its ends do not rise")),
    }
}

/// Checks a bitmap of `count` bits: what it marks is empty, and no bit beyond stands.
fn check_nulls(bits: &[u8], count: usize, is_empty: impl Fn(usize) -> bool) -> Result<(), BatchError> {
    for (position, &byte) in bits.iter().enumerate() {
        let mut byte = byte;
        while byte != 0 {
            let index = position * 8 + byte.trailing_zeros() as usize;
            if index >= count || !is_empty(index) {
                return Err(archive("a null has bytes or no record"));
            }
            byte &= byte - 1;
        }
    }
    Ok(())
}
