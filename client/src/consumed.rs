//! A record as it was read. Owns the step from a batch to records whose bytes are slices: of the fetched frame, or of one
//! buffer per batch when it was compressed. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use ouzel_protocol::{BatchError, DecodeLimits, DecodedBatch, LeaderEpoch, Offset, PartitionIndex, Record};

/// A record and where it stood. Its bytes are slices that keep what was fetched with them alive: copy them to hold a few
/// records for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Name of the topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its place in the partition.
    pub offset: Offset,
    /// Epoch of the leader that took it, when the batch says.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The key, if any.
    pub key: Option<Bytes>,
    /// The value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Names and values, in order.
    pub headers: Vec<ConsumedHeader>,
}

/// A header of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedHeader {
    /// Its name; meant to be UTF-8, but not every producer keeps to it.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

impl ConsumedHeader {
    /// The name as text, when it is UTF-8.
    #[must_use]
    pub fn key_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.key).ok()
    }
}

/// Appends the records of one whole batch, from offset `from` on, to `out`. Control batches hold none.
///
/// # Errors
/// The batch is damaged. Nothing of it is in `out` then.
pub(crate) fn read_batch(
    batch: &Bytes,
    from: Offset,
    topic: &Arc<str>,
    partition: PartitionIndex,
    out: &mut VecDeque<ConsumedRecord>,
) -> Result<(), BatchError> {
    let decoded = DecodedBatch::decode(batch, &DecodeLimits::default())?;
    let header = decoded.header();
    if header.is_control() {
        return Ok(());
    }
    let leader_epoch = Some(header.leader_epoch).filter(|epoch| *epoch != LeaderEpoch::NONE);
    // The whole batch is walked before the first record leaves: half a damaged batch would be read again after the cure.
    let mut arena_bytes = 0;
    let mut count = 0;
    for record in decoded.records() {
        let record = record?;
        if record.offset >= from {
            count += 1;
            each_field(&record, |field| {
                if position(batch, field).is_none() {
                    arena_bytes += field.len();
                }
            });
        }
    }
    let mut arena = Vec::with_capacity(arena_bytes);
    if arena_bytes > 0 {
        for record in decoded.records() {
            let record = record?;
            if record.offset >= from {
                each_field(&record, |field| {
                    if position(batch, field).is_none() {
                        arena.extend_from_slice(field);
                    }
                });
            }
        }
    }
    let mut arena = Bytes::from(arena);
    out.reserve(count);
    for record in decoded.records() {
        let record = record?;
        if record.offset < from {
            continue;
        }
        // In the order of `each_field`.
        let mut own = |field: &[u8]| match position(batch, field) {
            Some(start) => batch.slice(start..start + field.len()),
            None => arena.split_to(field.len()),
        };
        out.push_back(ConsumedRecord {
            topic: Arc::clone(topic),
            partition,
            offset: record.offset,
            leader_epoch,
            timestamp: record.timestamp,
            key: record.key.map(&mut own),
            value: record.value.map(&mut own),
            headers: record
                .headers
                .map(|header| ConsumedHeader { key: own(header.key), value: header.value.map(&mut own) })
                .collect(),
        });
    }
    Ok(())
}

fn each_field(record: &Record<'_>, mut field: impl FnMut(&[u8])) {
    record.key.into_iter().for_each(&mut field);
    record.value.into_iter().for_each(&mut field);
    for header in record.headers.clone() {
        field(header.key);
        header.value.into_iter().for_each(&mut field);
    }
}

/// Where `field` lies in `batch`; none when it lies elsewhere, in what was decompressed.
fn position(batch: &Bytes, field: &[u8]) -> Option<usize> {
    let start = field.as_ptr().addr().checked_sub(batch.as_ptr().addr())?;
    (start.checked_add(field.len())? <= batch.len()).then_some(start)
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{BatchBuilder, Codec, Dialect};

    use super::*;

    fn batch(dialect: Dialect, codec: Codec) -> Bytes {
        let mut builder = BatchBuilder::new(dialect, codec, None);
        for number in 0..100_i64 {
            let value = vec![b'v'; 100];
            let key = number.to_string();
            let headers: &[(&str, Option<&[u8]>)] =
                if number % 3 == 0 { &[("h", Some(b"x")), ("n", None)] } else { &[] };
            let key = (number % 2 == 0).then_some(key.as_bytes());
            builder.push(number, key, (number != 50).then_some(&value), headers);
        }
        builder.build().unwrap().into()
    }

    fn read(batch: &Bytes, from: u64) -> VecDeque<ConsumedRecord> {
        let mut out = VecDeque::new();
        let topic: Arc<str> = "t".into();
        read_batch(batch, Offset(from), &topic, PartitionIndex(1), &mut out).unwrap();
        out
    }

    #[test]
    fn both_dialects_and_all_codecs_read_the_same() {
        let expected = read(&batch(Dialect::Kafka2, Codec::None), 0);
        assert_eq!(expected.len(), 100);
        assert_eq!(expected[6].key.as_deref(), Some(&b"6"[..]));
        assert_eq!(expected[7].key, None);
        assert_eq!(expected[50].value, None);
        assert_eq!(expected[3].headers[0].key_str(), Some("h"));
        assert_eq!(expected[3].headers[1].value, None);
        for dialect in [Dialect::Kafka2, Dialect::Native] {
            for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
                assert_eq!(read(&batch(dialect, codec), 0), expected, "{dialect:?} {codec:?}");
            }
        }
    }

    #[test]
    fn uncompressed_bytes_are_not_copied() {
        for dialect in [Dialect::Kafka2, Dialect::Native] {
            let batch = batch(dialect, Codec::None);
            let record = &read(&batch, 0)[0];
            assert!(position(&batch, record.value.as_ref().unwrap()).is_some(), "{dialect:?}");
        }
    }

    #[test]
    fn records_below_the_position_are_skipped() {
        let records = read(&batch(Dialect::Native, Codec::Zstd), 98);
        assert_eq!(records.iter().map(|record| record.offset.0).collect::<Vec<_>>(), [98, 99]);
        assert_eq!(records[0].key.as_deref(), Some(&b"98"[..]));
    }

    #[test]
    fn a_damaged_batch_gives_an_error_and_no_record() {
        let mut damaged = batch(Dialect::Kafka2, Codec::None).to_vec();
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        let mut out = VecDeque::new();
        let topic: Arc<str> = "t".into();
        let read = read_batch(&damaged.into(), Offset(0), &topic, PartitionIndex(0), &mut out);
        assert!(read.is_err() && out.is_empty());
    }
}
