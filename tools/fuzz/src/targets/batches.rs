//! Targets of batches: the header, the records of both dialects under each codec, and the codecs alone.
//!
//! A batch is tried as it is and once more with length, magic and CRC made to fit, so that what stands behind them is
//! reached. Records that were read are built into a new batch and read again.

use ouzel_protocol::codec::decompressed_bytes_max;
use ouzel_protocol::limits::{DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX};
use ouzel_protocol::{
    BATCH_HEADER_BYTES, BatchBuilder, BatchError, Codec, DecodeLimits, DecodedBatch, Dialect, Magic, batches,
    check_produced,
};

use crate::oracle::{Heap, bounded};
use crate::reseal;

/// What a refusal may take: the sentence of a decoder.
const REFUSAL: Heap = Heap { fixed: 512, times: 0 };

/// A walk over batches by their headers covers all bytes once, and headers come back as they were.
pub(super) fn header(bytes: &[u8]) -> bool {
    let mut walked = 0;
    let mut walk = batches(bytes);
    while let Some(batch) = bounded(Heap::NONE, bytes.len(), || walk.next()) {
        let Ok((header, batch)) = batch else { return walked > 0 };
        assert_eq!(batch.get(..BATCH_HEADER_BYTES), Some(&header.to_bytes()[..]), "{header:?}");
        assert_eq!(batch.len(), header.total_bytes());
        assert!(header.end_offset() > header.base_offset, "{header:?}");
        walked += batch.len();
    }
    assert_eq!(walked + walk.rest().len(), bytes.len());
    walked > 0
}

pub(super) fn kafka2(bytes: &[u8]) -> bool {
    let raw = batch(bytes);
    batch(&reseal::batch(bytes, Magic::Kafka2 as u8)) || raw
}

pub(super) fn native(bytes: &[u8]) -> bool {
    let raw = batch(bytes);
    batch(&reseal::batch(bytes, Magic::Native as u8)) || raw
}

/// One batch: what a broker checks of it, then its records. Returns whether all of them were read.
fn batch(bytes: &[u8]) -> bool {
    let produced = bounded(REFUSAL, bytes.len(), || check_produced(bytes));
    let limits = DecodeLimits::default();
    let decoded = bounded(inflated(bytes.len()), bytes.len(), || DecodedBatch::decode(bytes, &limits));
    let Ok(decoded) = decoded else { return false };
    if let Ok(header) = &produced {
        assert_eq!(header, decoded.header());
    }
    let records: Result<Vec<_>, BatchError> = decoded.records().collect();
    let walked =
        bounded(Heap::NONE, bytes.len(), || decoded.records().take(1 << 20).map(|r| usize::from(r.is_ok())).sum());
    let Ok(records) = records else { return false };
    assert_eq!(records.len(), walked);
    assert_eq!(records.len(), decoded.header().record_count as usize);
    for pair in records.windows(2) {
        assert!(pair[0].offset < pair[1].offset, "offsets rise: {pair:?}");
    }
    for record in &records {
        assert!((decoded.header().base_offset..=decoded.header().last_offset()).contains(&record.offset));
        assert_eq!(record.headers.len(), record.headers.clone().count(), "{record:?}");
    }
    for dialect in [Dialect::Kafka2, Dialect::Native] {
        rebuild(&decoded, dialect);
    }
    true
}

/// Builds a new batch of the records in either dialect: they are the same there but for their offsets.
fn rebuild(decoded: &DecodedBatch<'_>, dialect: Dialect) {
    let records = || decoded.records().map(|record| record.expect("they were all read before"));
    let mut builder = BatchBuilder::new(dialect, Codec::None, None);
    records().for_each(|record| builder.push_record(&record));
    if builder.is_empty() {
        return;
    }
    let built = builder.build().expect("a batch of records that were read builds");
    let header = check_produced(&built).expect("what is built may be produced");
    let again = DecodedBatch::decode(&built, &DecodeLimits::default()).expect("what is built is read");
    assert_eq!(Some(header.max_timestamp), records().map(|record| record.timestamp).max());
    assert_eq!(again.records().count(), records().count());
    for (was, is) in records().zip(again.records()) {
        let is = is.expect("what is built is read");
        assert_eq!((was.timestamp, was.key, was.value), (is.timestamp, is.key, is.value));
        assert!(was.headers.clone().eq(is.headers), "{:?}", was.headers);
    }
}

/// A decoder's output within its caps, in a buffer that grew by doubling, and what the decoder itself takes: two blocks
/// of 4 MiB, the largest of LZ4.
fn inflated(compressed_bytes: usize) -> Heap {
    let cap = decompressed_bytes_max(compressed_bytes, DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX);
    Heap { fixed: 3 * cap + 9 * 1024 * 1024, times: 0 }
}

pub(super) fn gzip(bytes: &[u8]) -> bool {
    codec(Codec::Gzip, bytes)
}

pub(super) fn snappy(bytes: &[u8]) -> bool {
    codec(Codec::Snappy, bytes)
}

pub(super) fn lz4(bytes: &[u8]) -> bool {
    codec(Codec::Lz4, bytes)
}

pub(super) fn zstd(bytes: &[u8]) -> bool {
    codec(Codec::Zstd, bytes)
}

/// What decompresses stays within its cap, and compressed anew decompresses to the same.
fn codec(codec: Codec, bytes: &[u8]) -> bool {
    let cap = decompressed_bytes_max(bytes.len(), DECOMPRESSED_BYTES_MAX, DECOMPRESSED_RATIO_MAX);
    let Ok(plain) = bounded(inflated(bytes.len()), bytes.len(), || codec.decompress(bytes, cap)) else { return false };
    assert!(plain.len() <= cap, "{} bytes passed the cap of {cap}", plain.len());
    if let Some(less) = plain.len().checked_sub(1) {
        assert!(codec.decompress(bytes, less).is_err(), "{} bytes passed the cap of {less}", plain.len());
    }
    let mut compressed = Vec::new();
    codec.compress_into(&plain, None, &mut compressed).expect("whatever was read can be compressed");
    assert!(codec.decompress(&compressed, plain.len()).as_ref() == Ok(&plain), "other bytes came back");
    true
}
