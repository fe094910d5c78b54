//! The 61-byte header of every batch, and the checks a batch passes before it is stored or read.
//!
//! Owns the header's layout and the rules on it. Never opens records (that is `records`) but for the
//! bytecheck of a native archive that a client sent. Pure functions over bytes; none but the error paths
//! allocates. Any core.

use crate::codec::{Codec, CodecError};
use crate::crc;
use crate::ids::{LeaderEpoch, Offset};
use crate::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX};
use crate::records::{DecodeLimits, native};

/// Bytes of the header.
pub const BATCH_HEADER_BYTES: usize = 61;

/// Bytes before the part the length field counts: base offset and the length itself.
const LENGTH_COUNTS_FROM: usize = 12;

/// The first byte the CRC covers: the attributes.
const CRC_COVERS_FROM: usize = 21;

/// The smallest value of the length field: a header and no records.
const BATCH_LENGTH_MIN: usize = BATCH_HEADER_BYTES - LENGTH_COUNTS_FROM;

/// Bits of [`BatchHeader::attributes`].
pub mod attributes {
    /// Which codec compressed the records (magic 2) or the blob (magic 79).
    pub const CODEC_MASK: u16 = 0x0007;
    /// The broker set every timestamp to `max_timestamp` (Kafka's LogAppendTime).
    pub const LOG_APPEND_TIME: u16 = 0x0008;
    /// Part of a transaction.
    pub const TRANSACTIONAL: u16 = 0x0010;
    /// Written by a broker about a transaction; always magic 2.
    pub const CONTROL: u16 = 0x0020;
    /// Set by a cleaner that keeps tombstones for a while (KIP-534).
    pub const DELETE_HORIZON: u16 = 0x0040;
    /// Layout version of the archive; magic 79 only.
    pub const LAYOUT_MASK: u16 = 0x0f00;
    /// How far [`LAYOUT_MASK`] is shifted.
    pub const LAYOUT_SHIFT: u32 = 8;
}

/// Which dialect the bytes after the header speak.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Magic {
    /// Kafka's records, version 2.
    Kafka2 = 2,
    /// The native columnar archive (`'O'`).
    Native = 79,
}

impl Magic {
    /// The magic a byte names.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Magic> {
        match byte {
            2 => Some(Magic::Kafka2),
            79 => Some(Magic::Native),
            _ => None,
        }
    }
}

/// Why bytes are not the batch they should be. Whoever sent or kept the bytes is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than the header, or than its length field says.
    #[error("a batch needs {needed} bytes, got {got}")]
    Truncated {
        /// Bytes it takes to go on.
        needed: usize,
        /// Bytes there are.
        got: usize,
    },
    /// The length field counts less than a header.
    #[error("the length field of a batch is at least {BATCH_LENGTH_MIN}, got {got}")]
    LengthTooSmall {
        /// The field as it stands.
        got: i32,
    },
    /// More bytes than any batch may have.
    #[error("a batch has at most {max} bytes, got {got}")]
    TooLarge {
        /// The limit.
        max: usize,
        /// Bytes the length field claims, header included.
        got: usize,
    },
    /// Bytes follow the batch where there should be one batch only.
    #[error("a batch of {expected} bytes was expected to fill its {got} bytes")]
    TrailingBytes {
        /// Bytes of the batch.
        expected: usize,
        /// Bytes there are.
        got: usize,
    },
    /// Neither 2 nor 79. Kafka clients older than 0.11 send 0 or 1.
    #[error("the magic byte of a batch is 2 or 79, got {got}")]
    UnknownMagic {
        /// The byte.
        got: u8,
    },
    /// The CRC-32C does not match the bytes.
    #[error("the batch's checksum is {expected:#010x}, its bytes have {got:#010x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// What the bytes give.
        got: u32,
    },
    /// A field of the header has a value no batch may have.
    #[error("the batch header's {field} cannot be {got}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        got: i64,
    },
    /// Record count and last offset delta disagree, in a batch fresh from a client.
    #[error("a batch of {count} records must end at offset delta count - 1, got {last_offset_delta}")]
    SparseOffsets {
        /// Records the header claims.
        count: u32,
        /// The header's last offset delta.
        last_offset_delta: u32,
    },
    /// A control batch from a client, or one that is not magic 2.
    #[error("clients do not write control batches, and no native batch is one")]
    Control,
    /// An archive of a layout this version does not read.
    #[error("this version reads native layout {expected}, got {got}")]
    UnknownLayout {
        /// The layout known here.
        expected: u8,
        /// The layout of the batch.
        got: u8,
    },
    /// The archive failed its check.
    #[error("the native archive is malformed: {what}")]
    Archive {
        /// Which rule it breaks.
        what: &'static str,
    },
    /// A record failed its check.
    #[error("record {index} of the batch is malformed: {what}")]
    Record {
        /// The record's place in the batch, from 0.
        index: u32,
        /// Which rule it breaks.
        what: &'static str,
    },
    /// Bytes follow the last record.
    #[error("{got} bytes follow the last record of the batch")]
    TrailingRecords {
        /// How many.
        got: usize,
    },
    /// The records cannot be compressed or decompressed.
    #[error("the records cannot be (de)compressed")]
    Codec(#[from] CodecError),
}

/// A batch's header, decoded.
///
/// Kafka's RecordBatch v2 header, big-endian throughout, the same for both dialects:
///
/// | Bytes | Field | Type | CRC | Notes |
/// |---|---|---|---|---|
/// | 0..8 | base offset | i64 | no | never negative here; 0 from a client, set on append |
/// | 8..12 | batch length | i32 | no | bytes after this field: total - 12 |
/// | 12..16 | leader epoch | i32 | no | -1 from a client, set on append |
/// | 16 | magic | u8 | no | 2 or 79 |
/// | 17..21 | CRC-32C (Castagnoli) | u32 | no | over bytes 21 to the end |
/// | 21..23 | attributes | u16 | yes | see [`attributes`] |
/// | 23..27 | last offset delta | i32 | yes | last offset - base offset |
/// | 27..35 | base timestamp | i64 | yes | ms; timestamp deltas count from here |
/// | 35..43 | max timestamp | i64 | yes | ms |
/// | 43..51 | producer id | i64 | yes | -1 = none |
/// | 51..53 | producer epoch | i16 | yes | -1 = none |
/// | 53..57 | base sequence | i32 | yes | -1 = none |
/// | 57..61 | record count | i32 | yes | |
///
/// What the broker changes on append (base offset, leader epoch) stands before the CRC, so that a batch
/// keeps its sender's checksum for ever. Bytes 0..21 are therefore not vouched for by the batch itself:
/// a wrong length, magic or CRC shows as a mismatch, a wrong base offset or epoch does not. The store's
/// side files cover those.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after the length field, as on the wire.
    pub batch_length: u32,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// The dialect.
    pub magic: Magic,
    /// CRC-32C over bytes 21 to the end.
    pub crc: u32,
    /// Bits, see [`attributes`].
    pub attributes: u16,
    /// Last offset minus base offset.
    pub last_offset_delta: u32,
    /// What timestamp deltas count from, in ms.
    pub base_timestamp: i64,
    /// The newest record's timestamp, in ms.
    pub max_timestamp: i64,
    /// The idempotent producer, -1 for none.
    pub producer_id: i64,
    /// Its epoch, -1 for none.
    pub producer_epoch: i16,
    /// The first record's number in the producer's sequence, -1 for none.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: u32,
}

impl BatchHeader {
    /// Bytes of the whole batch, header included.
    #[must_use]
    pub const fn total_bytes(&self) -> usize {
        self.batch_length as usize + LENGTH_COUNTS_FROM
    }

    /// Offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0 + self.last_offset_delta as u64)
    }

    /// The offset after the last record.
    #[must_use]
    pub const fn end_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// The codec of the records (magic 2) or the blob (magic 79).
    ///
    /// # Errors
    /// The attributes name no codec; the sender is at fault.
    pub const fn codec(&self) -> Result<Codec, CodecError> {
        let number = (self.attributes & attributes::CODEC_MASK) as u8;
        match Codec::from_wire(number) {
            Some(codec) => Ok(codec),
            None => Err(CodecError::Unknown { number }),
        }
    }

    /// Whether a broker wrote it about a transaction.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        self.attributes & attributes::CONTROL != 0
    }

    /// Whether it is part of a transaction.
    #[must_use]
    pub const fn is_transactional(&self) -> bool {
        self.attributes & attributes::TRANSACTIONAL != 0
    }

    /// Whether every record's timestamp is the batch's `max_timestamp`.
    #[must_use]
    pub const fn is_log_append_time(&self) -> bool {
        self.attributes & attributes::LOG_APPEND_TIME != 0
    }

    /// The layout version of a native archive; means nothing for magic 2.
    #[must_use]
    pub const fn layout_version(&self) -> u8 {
        ((self.attributes & attributes::LAYOUT_MASK) >> attributes::LAYOUT_SHIFT) as u8
    }

    /// Encodes the header as it stands, its CRC included.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[0..16].copy_from_slice(&patched_prefix(self, self.base_offset, self.leader_epoch));
        bytes[16] = self.magic as u8;
        bytes[17..21].copy_from_slice(&self.crc.to_be_bytes());
        bytes[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        bytes[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        bytes[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        bytes[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        bytes
    }
}

/// The CRC-32C a whole batch ought to carry; 0 for bytes too few to be one.
#[must_use]
pub fn batch_crc(batch: &[u8]) -> u32 {
    crc::crc32c(batch.get(CRC_COVERS_FROM..).unwrap_or_default())
}

/// Decodes a header and checks its bounds, nothing behind it: enough bytes for the header, a length from 49
/// to [`BATCH_BYTES_MAX`] in total, a known magic, no negative offset, delta or count, and offsets that fit
/// Kafka's `i64`. The layout version of a native batch is not looked at, so that the log can carry what only
/// newer readers open.
///
/// # Errors
/// What is wrong with the header; its sender, or the place it was kept, is at fault.
pub fn parse_header(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let Some(fixed) = bytes.first_chunk::<BATCH_HEADER_BYTES>() else {
        return Err(BatchError::Truncated { needed: BATCH_HEADER_BYTES, got: bytes.len() });
    };
    let batch_length = i32::from_be_bytes(take(fixed, 8));
    let length = usize::try_from(batch_length).unwrap_or(0);
    if length < BATCH_LENGTH_MIN {
        return Err(BatchError::LengthTooSmall { got: batch_length });
    }
    let total = length + LENGTH_COUNTS_FROM;
    if total > BATCH_BYTES_MAX {
        return Err(BatchError::TooLarge { max: BATCH_BYTES_MAX, got: total });
    }
    let Some(magic) = Magic::from_byte(fixed[16]) else {
        return Err(BatchError::UnknownMagic { got: fixed[16] });
    };
    let base_offset = i64::from_be_bytes(take(fixed, 0));
    let last_offset_delta = i32::from_be_bytes(take(fixed, 23));
    let record_count = i32::from_be_bytes(take(fixed, 57));
    // One below the highest, so that the end offset is an offset too.
    let last_offset = base_offset.checked_add(i64::from(last_offset_delta));
    if base_offset < 0 || last_offset.is_none_or(|last| last == i64::MAX) {
        return Err(BatchError::Field { field: "base offset", got: base_offset });
    }
    if last_offset_delta < 0 {
        return Err(BatchError::Field { field: "last offset delta", got: i64::from(last_offset_delta) });
    }
    if record_count < 0 {
        return Err(BatchError::Field { field: "record count", got: i64::from(record_count) });
    }
    Ok(BatchHeader {
        base_offset: Offset(base_offset.unsigned_abs()),
        batch_length: batch_length.unsigned_abs(),
        leader_epoch: LeaderEpoch(u32::from_be_bytes(take(fixed, 12))),
        magic,
        crc: u32::from_be_bytes(take(fixed, 17)),
        attributes: u16::from_be_bytes(take(fixed, 21)),
        last_offset_delta: last_offset_delta.unsigned_abs(),
        base_timestamp: i64::from_be_bytes(take(fixed, 27)),
        max_timestamp: i64::from_be_bytes(take(fixed, 35)),
        producer_id: i64::from_be_bytes(take(fixed, 43)),
        producer_epoch: i16::from_be_bytes(take(fixed, 51)),
        base_sequence: i32::from_be_bytes(take(fixed, 53)),
        record_count: record_count.unsigned_abs(),
    })
}

/// The `N` bytes at `at` of a header: both known when this is compiled, never input.
fn take<const N: usize>(header: &[u8; BATCH_HEADER_BYTES], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&header[at..at + N]);
    bytes
}

/// Checks that `bytes` are exactly one whole batch: [`parse_header`], the length, the CRC-32C.
///
/// # Errors
/// What is wrong; the sender, or the place the bytes were kept, is at fault.
pub fn check_batch(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = parse_header(bytes)?;
    let expected = header.total_bytes();
    if bytes.len() < expected {
        return Err(BatchError::Truncated { needed: expected, got: bytes.len() });
    }
    if bytes.len() > expected {
        return Err(BatchError::TrailingBytes { expected, got: bytes.len() });
    }
    let crc = batch_crc(bytes);
    if crc != header.crc {
        return Err(BatchError::Checksum { expected: header.crc, got: crc });
    }
    Ok(header)
}

/// Checks a batch a client wants appended: [`check_batch`], and what a broker demands of a client: base
/// offset 0, at least one record, a last offset delta of count - 1 (KAFKA-6554), a known codec, an epoch
/// and a sequence when there is a producer, none of the attributes only brokers set. The archive of a native batch is
/// checked whole (bytecheck, monotone ends within the blob, size and ratio caps), since it is served to
/// others as it is; Kafka's records are not opened.
///
/// Allocates nothing unless it fails.
///
/// # Errors
/// Which rule the client broke.
pub fn check_produced(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
    let header = check_batch(bytes)?;
    if header.base_offset != Offset::ZERO {
        let got = header.base_offset.0.cast_signed();
        return Err(BatchError::Field { field: "base offset", got });
    }
    if header.record_count == 0 || header.record_count > BATCH_RECORDS_MAX {
        let got = i64::from(header.record_count);
        return Err(BatchError::Field { field: "record count", got });
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(BatchError::SparseOffsets {
            count: header.record_count,
            last_offset_delta: header.last_offset_delta,
        });
    }
    if header.is_control() {
        return Err(BatchError::Control);
    }
    if header.attributes & (attributes::LOG_APPEND_TIME | attributes::DELETE_HORIZON) != 0 {
        let got = i64::from(header.attributes);
        return Err(BatchError::Field { field: "attributes", got });
    }
    header.codec()?;
    if header.producer_id >= 0 && header.base_sequence < 0 {
        let got = i64::from(header.base_sequence);
        return Err(BatchError::Field { field: "base sequence", got });
    }
    if header.producer_id >= 0 && header.producer_epoch < 0 {
        let got = i64::from(header.producer_epoch);
        return Err(BatchError::Field { field: "producer epoch", got });
    }
    if header.magic == Magic::Native {
        native::check_archive(&header, bytes, &DecodeLimits::default())?;
    }
    Ok(header)
}

/// Bytes 0..16 of a batch with another base offset and leader epoch: the only bytes an append changes, none
/// of them under the CRC.
#[must_use]
pub fn patched_prefix(header: &BatchHeader, base: Offset, epoch: LeaderEpoch) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[0..8].copy_from_slice(&base.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&header.batch_length.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.0.to_be_bytes());
    bytes
}

/// The batch with the broker's time for that of its records (Kafka's LogAppendTime): the attribute is set, the highest timestamp is
/// `now_ms` (milliseconds since 1970), and the CRC is taken again. One copy.
#[must_use]
pub fn with_append_time(header: &BatchHeader, batch: &[u8], now_ms: i64) -> (BatchHeader, Vec<u8>) {
    let mut header = *header;
    header.attributes |= attributes::LOG_APPEND_TIME;
    header.max_timestamp = now_ms;
    let mut bytes = batch.to_vec();
    bytes[21..23].copy_from_slice(&header.attributes.to_be_bytes());
    bytes[35..43].copy_from_slice(&now_ms.to_be_bytes());
    header.crc = batch_crc(&bytes);
    bytes[17..21].copy_from_slice(&header.crc.to_be_bytes());
    (header, bytes)
}

/// Walks batches that lie one behind the other, by their headers alone (no CRC). A batch that is not whole at
/// the end ends the walk quietly, as a fetch may cut one; a header that cannot be one gives one error and
/// ends it.
#[must_use]
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

/// The iterator of [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The bytes not yet walked: after the last item, the partial batch if there is one.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < BATCH_HEADER_BYTES {
            return None;
        }
        match parse_header(self.rest) {
            Ok(header) => {
                let (batch, rest) = self.rest.split_at_checked(header.total_bytes())?;
                self.rest = rest;
                Some(Ok((header, batch)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
