//! Building a batch of either dialect, record by record.
//!
//! Owns the records pushed so far, already laid out. Never keeps a caller's slice, never reads a clock.
//! Memory is kept from batch to batch when it is used again. Any core.

use super::native::{self, Columns};
use super::{DecodeLimits, Dialect, Header, Record, kafka2};
use crate::batch::{BATCH_HEADER_BYTES, BatchError, BatchHeader, Magic, attributes, batch_crc};
use crate::codec::Codec;
use crate::ids::{LeaderEpoch, Offset};
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};

/// Bytes a batch has before its first record.
const KAFKA2_BYTES_FIXED: usize = BATCH_HEADER_BYTES;
const NATIVE_BYTES_FIXED: usize = native::ARCHIVE_START + native::ROOT_BYTES;

/// Collects records and lays them out as one batch: base offset 0, offsets 0 to n-1, no leader epoch, as a
/// broker wants it from a client.
///
/// The base timestamp is the first record's. Records that compression does not shrink, or shrinks so well
/// that a reader would take them for a bomb, are kept as they are, and the attributes say so.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    level: Option<i32>,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// A record was refused because the batch would have become too large; the batch cannot be built.
    refused_bytes: Option<usize>,
    body: Body,
    /// What compression writes into.
    compressed: Vec<u8>,
}

#[derive(Debug)]
enum Body {
    Kafka2(Vec<u8>),
    Native(Box<NativeBody>),
}

#[derive(Debug, Default)]
struct NativeBody {
    columns: Columns,
    /// Header keys and values, appended to the blob when the batch is built.
    header_bytes: Vec<u8>,
}

impl BatchBuilder {
    /// A builder with no record. `level` is the codec's own scale, see [`Codec::compress_into`].
    #[must_use]
    pub fn new(dialect: Dialect, codec: Codec, level: Option<i32>) -> Self {
        Self {
            codec,
            level,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            count: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            refused_bytes: None,
            body: match dialect {
                Dialect::Kafka2 => Body::Kafka2(Vec::new()),
                Dialect::Native => Body::Native(Box::default()),
            },
            compressed: Vec::new(),
        }
    }

    /// Appends a record. `timestamp` is in ms.
    ///
    /// Past the limits of a batch ([`BATCH_BYTES_MAX`], [`BATCH_RECORDS_MAX`]) the record is not kept, and
    /// building gives an error: look at [`bytes_estimate`](Self::bytes_estimate) before.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let headers = headers.iter().map(|&(key, value)| Header { key: key.as_bytes(), value });
        self.push_with(timestamp, key, value, headers);
    }

    /// Appends a copy of a record read from another batch; its offset is not kept.
    pub fn push_record(&mut self, record: &Record<'_>) {
        self.push_with(record.timestamp, record.key, record.value, record.headers.clone());
    }

    fn push_with<'h>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = Header<'h>> + Clone,
    ) {
        let field = |field: Option<&[u8]>| field.map_or(0, <[u8]>::len);
        let payload: usize =
            field(key) + field(value) + headers.clone().map(|h| h.key.len() + field(h.value)).sum::<usize>();
        let bytes = self.bytes_estimate().saturating_add(payload);
        if bytes > BATCH_BYTES_MAX || self.count >= BATCH_RECORDS_MAX {
            self.refused_bytes = Some(bytes);
            return;
        }
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let delta = timestamp.wrapping_sub(self.base_timestamp);
        match &mut self.body {
            Body::Kafka2(records) => {
                kafka2::put_record(records, delta, self.count, key, value, headers);
            }
            Body::Native(body) => body.push(self.count as usize, delta, key, value, headers),
        }
        self.count += 1;
    }

    /// Records pushed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether no record was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the batch would have now if it were not compressed, header included.
    #[must_use]
    pub fn bytes_estimate(&self) -> usize {
        match &self.body {
            Body::Kafka2(records) => KAFKA2_BYTES_FIXED + records.len(),
            Body::Native(body) => NATIVE_BYTES_FIXED + body.bytes(),
        }
    }

    /// Names the idempotent producer and the sequence number of the first record; holds for one batch.
    pub fn set_producer(&mut self, id: i64, epoch: i16, sequence: i32) {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = sequence;
    }

    /// Builds the batch.
    ///
    /// # Errors
    /// No record, too many bytes, or the codec refused; the caller's fault.
    pub fn build(mut self) -> Result<Vec<u8>, BatchError> {
        let mut out = Vec::new();
        self.build_into(&mut out)?;
        Ok(out)
    }

    /// Builds the batch into `out`, which is cleared first, and empties the builder for the next one; both
    /// keep their memory.
    ///
    /// # Errors
    /// As [`build`](Self::build); the builder is emptied then too.
    pub fn build_into(&mut self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        let built = self.write(out);
        self.clear();
        built
    }

    /// Forgets every record and the producer.
    pub fn clear(&mut self) {
        self.count = 0;
        self.refused_bytes = None;
        self.set_producer(-1, -1, -1);
        match &mut self.body {
            Body::Kafka2(records) => records.clear(),
            Body::Native(body) => {
                body.columns.clear();
                body.header_bytes.clear();
            }
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        out.clear();
        if let Some(got) = self.refused_bytes {
            return Err(BatchError::TooLarge { max: BATCH_BYTES_MAX, got });
        }
        if self.count == 0 {
            return Err(BatchError::Field { field: "record count", got: 0 });
        }
        out.extend_from_slice(&[0; BATCH_HEADER_BYTES]);
        let (magic, codec) = match &mut self.body {
            Body::Kafka2(records) => {
                let codec = shrink(self.codec, self.level, records, &mut self.compressed)?;
                out.extend_from_slice(match codec {
                    Codec::None => records,
                    _ => &self.compressed,
                });
                (Magic::Kafka2, codec)
            }
            Body::Native(body) => {
                out.resize(native::ARCHIVE_START, 0);
                let codec = body.write(self.codec, self.level, &mut self.compressed, out)?;
                (Magic::Native, codec)
            }
        };
        if out.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLarge { max: BATCH_BYTES_MAX, got: out.len() });
        }
        let layout = match magic {
            Magic::Kafka2 => 0,
            Magic::Native => u16::from(native::LAYOUT_VERSION) << attributes::LAYOUT_SHIFT,
        };
        let mut header = BatchHeader {
            base_offset: Offset::ZERO,
            batch_length: (out.len() - 12) as u32,
            leader_epoch: LeaderEpoch::NONE,
            magic,
            crc: 0,
            attributes: u16::from(codec.to_wire()) | layout,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: self.base_sequence,
            record_count: self.count,
        };
        out[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        header.crc = batch_crc(out);
        out[..BATCH_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        Ok(())
    }
}

/// Compresses `raw` into `compressed`, or says that it is better left as it is.
fn shrink(codec: Codec, level: Option<i32>, raw: &[u8], compressed: &mut Vec<u8>) -> Result<Codec, BatchError> {
    if codec == Codec::None {
        return Ok(Codec::None);
    }
    compressed.clear();
    codec.compress_into(raw, level, compressed)?;
    let smaller = compressed.len() < raw.len();
    let honest = raw.len() <= DecodeLimits::default().cap(compressed.len());
    Ok(if smaller && honest { codec } else { Codec::None })
}

impl NativeBody {
    fn push<'h>(
        &mut self,
        index: usize,
        delta: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = Header<'h>>,
    ) {
        let columns = &mut self.columns;
        if key.is_none() {
            set_bit(&mut columns.key_nulls, index);
        }
        columns.blob.extend_from_slice(key.unwrap_or_default());
        columns.key_ends.push(end(&columns.blob));
        if value.is_none() {
            set_bit(&mut columns.value_nulls, index);
        }
        columns.blob.extend_from_slice(value.unwrap_or_default());
        columns.value_ends.push(end(&columns.blob));
        match i32::try_from(delta) {
            Ok(delta) if columns.timestamps_wide.is_empty() => {
                columns.timestamps.push(delta);
            }
            _ => {
                let widened = columns.timestamps.drain(..).map(i64::from);
                columns.timestamps_wide.extend(widened);
                columns.timestamps_wide.push(delta);
            }
        }
        self.push_headers(index, headers);
    }

    fn push_headers<'h>(&mut self, index: usize, headers: impl ExactSizeIterator<Item = Header<'h>>) {
        let columns = &mut self.columns;
        if headers.len() == 0 && columns.header_ends.is_empty() {
            return;
        }
        // The records before the first one with headers have none.
        columns.header_ends.resize(index, 0);
        for header in headers {
            if header.value.is_none() {
                set_bit(&mut columns.header_nulls, columns.header_key_ends.len());
            }
            self.header_bytes.extend_from_slice(header.key);
            columns.header_key_ends.push(end(&self.header_bytes));
            self.header_bytes.extend_from_slice(header.value.unwrap_or_default());
            columns.header_value_ends.push(end(&self.header_bytes));
        }
        let total = columns.header_key_ends.len() as u32;
        columns.header_ends.push(total);
    }

    /// Bytes of the columns and the blob now.
    fn bytes(&self) -> usize {
        let columns = &self.columns;
        let records = columns.key_ends.len();
        let bitmap = |bits: &[u8]| {
            if bits.is_empty() { 0 } else { records.div_ceil(8) }
        };
        8 * records
            + 4 * columns.timestamps.len()
            + 8 * columns.timestamps_wide.len()
            + bitmap(&columns.key_nulls)
            + bitmap(&columns.value_nulls)
            + 4 * columns.header_ends.len()
            + 8 * columns.header_key_ends.len()
            + columns.header_nulls.len()
            + columns.blob.len()
            + self.header_bytes.len()
    }

    fn write(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        compressed: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Codec, BatchError> {
        let columns = &mut self.columns;
        let headers_start = columns.blob.len() as u32;
        let ends = columns.header_key_ends.iter_mut().chain(&mut columns.header_value_ends);
        for end in ends {
            *end += headers_start;
        }
        columns.blob.extend_from_slice(&self.header_bytes);
        columns.blob_bytes = end(&columns.blob);
        let records = columns.key_ends.len();
        for bits in [&mut columns.key_nulls, &mut columns.value_nulls] {
            if !bits.is_empty() {
                bits.resize(records.div_ceil(8), 0);
            }
        }
        if !columns.header_nulls.is_empty() {
            columns.header_nulls.resize(columns.header_key_ends.len().div_ceil(8), 0);
        }
        columns.mark_present();
        let codec = shrink(codec, level, &columns.blob, compressed)?;
        if codec != Codec::None {
            std::mem::swap(&mut columns.blob, compressed);
        }
        columns.archive_into(out)?;
        Ok(codec)
    }
}

/// The end of what was appended last; the limit on a batch's bytes keeps it within 32 bits.
fn end(bytes: &[u8]) -> u32 {
    bytes.len() as u32
}

fn set_bit(bits: &mut Vec<u8>, index: usize) {
    if bits.len() <= index / 8 {
        bits.resize(index / 8 + 1, 0);
    }
    bits[index / 8] |= 1 << (index % 8);
}
