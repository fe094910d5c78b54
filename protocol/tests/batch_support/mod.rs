//! What the batch tests share: owned records, golden files, and re-sealing of batches that a test damaged.

#![allow(dead_code, reason = "every test uses its part")]

use std::path::PathBuf;

use ouzel_protocol::batch::batch_crc;
use ouzel_protocol::{BatchBuilder, BatchError, Codec, DecodeLimits, DecodedBatch, Dialect, Record};

/// The first timestamp of the golden batches, in ms.
pub(crate) const TIMESTAMP: i64 = 1_700_000_000_000;

pub(crate) const DIALECTS: [Dialect; 2] = [Dialect::Kafka2, Dialect::Native];

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) offset: u64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl From<&Record<'_>> for Owned {
    fn from(record: &Record<'_>) -> Self {
        let headers = record.headers.clone();
        assert_eq!(headers.len(), headers.clone().count());
        Owned {
            offset: record.offset.0,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|header| {
                    let key = header.key_str().expect("test headers are UTF-8");
                    (key.to_owned(), header.value.map(<[u8]>::to_vec))
                })
                .collect(),
        }
    }
}

pub(crate) fn owned(
    offset: u64,
    timestamp: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&str, Option<&[u8]>)],
) -> Owned {
    let bytes = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
    Owned {
        offset,
        timestamp,
        key: bytes(key),
        value: bytes(value),
        headers: headers.iter().map(|&(key, value)| (key.to_owned(), bytes(value))).collect(),
    }
}

/// The four records at the head of the golden batches: every kind of null and empty, a repeated header, a
/// timestamp that falls, and one 32 bits cannot hold the delta of.
pub(crate) fn odd_records() -> Vec<Owned> {
    let headers = [("h1", Some(&b"v1"[..])), ("h1", Some(b"v2")), ("n", None)];
    vec![
        owned(0, TIMESTAMP, Some(b"k1"), Some(b"hello"), &headers),
        owned(1, TIMESTAMP + 5, None, Some(b""), &[]),
        owned(2, TIMESTAMP - 7, Some(b""), None, &[]),
        owned(3, TIMESTAMP + 10_000_000_000, Some(&[b'x'; 300]), Some(b"end"), &[("", Some(b""))]),
    ]
}

/// [`odd_records`] and forty that compress well.
pub(crate) fn many_records() -> Vec<Owned> {
    let mut records = odd_records();
    let value = "a line that compresses well, again and again; ".repeat(40);
    for i in 0..40 {
        let key = format!("key-{i}");
        let timestamp = TIMESTAMP + i;
        let offset = records.len() as u64;
        records.push(owned(offset, timestamp, Some(key.as_bytes()), Some(value.as_bytes()), &[]));
    }
    records
}

pub(crate) fn push(builder: &mut BatchBuilder, record: &Owned) {
    let headers: Vec<(&str, Option<&[u8]>)> =
        record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
}

pub(crate) fn build(dialect: Dialect, codec: Codec, records: &[Owned]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(dialect, codec, None);
    for record in records {
        push(&mut builder, record);
    }
    builder.build().expect("a batch of sound records builds")
}

pub(crate) fn read(batch: &[u8]) -> Result<Vec<Owned>, BatchError> {
    let batch = DecodedBatch::decode(batch, &DecodeLimits::default())?;
    batch.records().map(|record| record.map(|record| Owned::from(&record))).collect()
}

/// The bytes of `tests/golden/<name>.bin`. They are kept for ever.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Makes length and checksum fit the bytes again, so that a test reaches what stands behind them.
pub(crate) fn reseal(batch: &mut [u8]) {
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = batch_crc(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}
