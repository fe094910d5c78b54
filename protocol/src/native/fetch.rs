//! Fetch: from where to read, and the batches read. Owns the layouts; never opens a batch and never copies one. Runs on
//! the core of the connection.

use bytes::Bytes;

use super::frame::{Api, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, append_reply};
use super::limits::{FETCH_RESULT_BYTES, PARTITIONS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;
use crate::ids::{CorrelationId, Offset, PartitionIndex, TopicId};

/// Asks for batches of partitions, each from an offset on.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 4 | `max_wait_ms` |
/// | 4 | 4 | `min_bytes` |
/// | 8 | 4 | `max_bytes` |
/// | 12 | 4 | row count |
/// | 16 | 32 each | `topic_id` 16, `partition` 4, `offset` 8, `max_bytes` 4 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// How long the broker may hold the request until `min_bytes` are there.
    pub max_wait_ms: u32,
    /// Bytes of records that are worth an answer before `max_wait_ms` has passed.
    pub min_bytes: u32,
    /// Bytes of records the whole answer should not exceed; the first batch goes out whatever its size.
    pub max_bytes: u32,
    /// From where to read.
    pub partitions: Vec<FetchPartition>,
}

/// From where to read one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// First offset wanted; the batch that holds it comes whole, from its own first record on.
    pub offset: Offset,
    /// Bytes of records that this partition should not exceed.
    pub max_bytes: u32,
}

const FETCH_PARTITION_BYTES: usize = 16 + 4 + 8 + 4;

impl FetchRequest {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.u32(self.max_wait_ms);
        writer.u32(self.min_bytes);
        writer.u32(self.max_bytes);
        writer.list(&self.partitions, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            writer.offset(row.offset);
            writer.u32(row.max_bytes);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<FetchRequest, DecodeError> {
        let view = FetchView::parse(bytes)?;
        Ok(FetchRequest {
            max_wait_ms: view.max_wait_ms,
            min_bytes: view.min_bytes,
            max_bytes: view.max_bytes,
            partitions: view.rows().collect(),
        })
    }
}

/// A [`FetchRequest`] read in place: nothing is allocated, whatever it holds.
#[derive(Debug, Clone, Copy)]
pub struct FetchView<'a> {
    /// As [`FetchRequest::max_wait_ms`].
    pub max_wait_ms: u32,
    /// As [`FetchRequest::min_bytes`].
    pub min_bytes: u32,
    /// As [`FetchRequest::max_bytes`].
    pub max_bytes: u32,
    table: &'a [u8],
}

impl<'a> FetchView<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn parse(body: &'a [u8]) -> Result<FetchView<'a>, DecodeError> {
        let mut reader = Reader::new("fetch request", body);
        let (max_wait_ms, min_bytes) = (reader.u32("max_wait_ms")?, reader.u32("min_bytes")?);
        let max_bytes = reader.u32("max_bytes")?;
        let table_at = reader.position() + 4;
        let table = reader.table("partitions", PARTITIONS_MAX, FETCH_PARTITION_BYTES)?;
        for index in 0..table.len() / FETCH_PARTITION_BYTES {
            FetchPartition::decode(&mut Reader::at("fetch request", body, table_at + index * FETCH_PARTITION_BYTES))?;
        }
        reader.finish()?;
        Ok(FetchView { max_wait_ms, min_bytes, max_bytes, table })
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = FetchPartition> + use<'a> {
        let rows = self.table.chunks_exact(FETCH_PARTITION_BYTES);
        rows.map_while(|row| FetchPartition::decode(&mut Reader::new("fetch request", row)).ok())
    }
}

impl FetchPartition {
    fn decode(reader: &mut Reader<'_>) -> Result<FetchPartition, DecodeError> {
        Ok(FetchPartition {
            topic_id: reader.topic_id("topic_id")?,
            partition: reader.partition("partition")?,
            offset: reader.offset("offset")?,
            max_bytes: reader.u32("max_bytes")?,
        })
    }
}

/// Batches read. A table of fixed rows comes first and all records behind it, so that the broker sends one part of its
/// own and then log memory as it is, and the client reads the table in one go.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 4 | row count |
/// | 4 | 42 each | `topic_id` 16, `partition` 4, `error` 2, `high_watermark` 8, `log_start` 8, `records_bytes` 4 |
/// | | | the records, in the order of the rows: whole batches one after the other |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchReply {
    /// One row for each of the request, in its order.
    pub partitions: Vec<FetchResult>,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResult {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// None, or why nothing was read.
    pub error: ErrorCode,
    /// Readers see what lies below it.
    pub high_watermark: Offset,
    /// First offset that the partition still has.
    pub log_start: Offset,
    /// Whole batches in pieces; on the wire they are one. A decoded result has one piece, a slice of the frame, or none.
    pub records: Vec<Bytes>,
}

impl FetchResult {
    fn row(&self) -> FetchRow {
        FetchRow {
            topic_id: self.topic_id,
            partition: self.partition,
            error: self.error,
            high_watermark: self.high_watermark,
            log_start: self.log_start,
            records_bytes: self.records.iter().map(Bytes::len).sum(),
        }
    }
}

/// One row of the table of a reply: a [`FetchResult`] whose records go out by another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchRow {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// None, or why nothing was read.
    pub error: ErrorCode,
    /// Readers see what lies below it.
    pub high_watermark: Offset,
    /// First offset that the partition still has.
    pub log_start: Offset,
    /// Bytes of its records.
    pub records_bytes: usize,
}

/// Appends a whole reply but for the records to `out`: they follow it on the wire, row by row, from wherever they are.
/// Panics as [`FetchReply::encode_parts`] does.
pub fn append_fetch_reply(
    out: &mut Vec<u8>,
    correlation: CorrelationId,
    rows: impl ExactSizeIterator<Item = FetchRow> + Clone,
) {
    let records_bytes = rows.clone().map(|row| row.records_bytes).sum();
    append_reply(out, Api::Fetch, correlation, |out| {
        put_table(out, rows);
        records_bytes
    });
}

fn put_table(out: &mut Vec<u8>, rows: impl ExactSizeIterator<Item = FetchRow>) {
    Writer::new(out).rows(rows, PARTITIONS_MAX, |writer, row| {
        writer.topic_id(row.topic_id);
        writer.partition(row.partition);
        writer.error_code(row.error);
        writer.offset(row.high_watermark);
        writer.offset(row.log_start);
        writer.length(row.records_bytes);
    });
}

impl FetchReply {
    /// Appends the body to `out`, records copied. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_table(out);
        for piece in self.partitions.iter().flat_map(|row| &row.records) {
            out.extend_from_slice(piece);
        }
    }

    /// The whole frame as parts to be sent one after the other: header and table, then every piece of records, uncopied
    /// and in order. Panics when the frame exceeds its maximum; the broker bounds what it puts in by
    /// [`FETCH_BYTES_MAX`](super::limits::FETCH_BYTES_MAX).
    #[must_use]
    pub fn encode_parts(&self, correlation: CorrelationId) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(FRAME_HEADER_BYTES + 4 + self.partitions.len() * FETCH_RESULT_BYTES);
        append_fetch_reply(&mut out, correlation, self.partitions.iter().map(FetchResult::row));
        let pieces = self.partitions.iter().flat_map(|row| &row.records).filter(|piece| !piece.is_empty());
        std::iter::once(Bytes::from(out)).chain(pieces.cloned()).collect()
    }

    fn encode_table(&self, out: &mut Vec<u8>) {
        put_table(out, self.partitions.iter().map(FetchResult::row));
    }

    /// Reads a body; the records of the result are slices of it. They are not looked into.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(body: Bytes) -> Result<FetchReply, DecodeError> {
        let mut reader = Reader::new("fetch reply", &body);
        let rows = reader.list("partitions", PARTITIONS_MAX, FETCH_RESULT_BYTES, |reader| {
            let result = FetchResult {
                topic_id: reader.topic_id("topic_id")?,
                partition: reader.partition("partition")?,
                error: reader.error_code("error")?,
                high_watermark: reader.offset("high_watermark")?,
                log_start: reader.offset("log_start")?,
                records: Vec::new(),
            };
            Ok((result, reader.length("records_bytes", FRAME_BYTES_MAX)?))
        })?;
        let mut partitions = Vec::with_capacity(rows.len());
        for (mut result, records_bytes) in rows {
            let start = reader.position();
            reader.take("records", records_bytes)?;
            if records_bytes > 0 {
                result.records.push(body.slice(start..start + records_bytes));
            }
            partitions.push(result);
        }
        reader.finish()?;
        Ok(FetchReply { partitions })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    fn decode_copied(bytes: &[u8]) -> Result<FetchReply, DecodeError> {
        FetchReply::decode(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn the_request_has_its_golden_bytes() {
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 0x0010_0000,
            partitions: vec![FetchPartition {
                topic_id: TopicId(1),
                partition: PartitionIndex(2),
                offset: Offset(3),
                max_bytes: 4,
            }],
        };
        let golden = "f4010000 01000000 00001000 01000000
            01000000000000000000000000000000 02000000 0300000000000000 04000000";
        check_golden(&request, golden, FetchRequest::encode, FetchRequest::decode);
    }

    fn reply(first: Vec<Bytes>) -> FetchReply {
        let row = |partition, error, records| FetchResult {
            topic_id: TopicId(1),
            partition: PartitionIndex(partition),
            error,
            high_watermark: Offset(9),
            log_start: Offset(2),
            records,
        };
        FetchReply {
            partitions: vec![
                row(0, ErrorCode::None, first),
                row(1, ErrorCode::OffsetOutOfRange, vec![]),
                row(2, ErrorCode::None, vec![Bytes::from_static(b"\xdd")]),
            ],
        }
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let golden = "03000000
            01000000000000000000000000000000 00000000 0000 0900000000000000 0200000000000000 03000000
            01000000000000000000000000000000 01000000 0100 0900000000000000 0200000000000000 00000000
            01000000000000000000000000000000 02000000 0000 0900000000000000 0200000000000000 01000000
            aabbcc dd";
        let sample = reply(vec![Bytes::from_static(b"\xaa\xbb\xcc")]);
        check_golden(&sample, golden, FetchReply::encode, decode_copied);
    }

    #[test]
    fn parts_sent_in_order_are_the_frame_and_records_are_not_copied() {
        let pieces = vec![Bytes::from_static(b"\xaa\xbb"), Bytes::new(), Bytes::from_static(b"\xcc")];
        let sample = reply(pieces.clone());
        let parts = sample.encode_parts(CorrelationId(3));
        let frame = crate::native::reply_frame(Api::Fetch, CorrelationId(3), |out| sample.encode(out));
        assert_eq!(parts.concat(), frame);
        assert_eq!(parts.len(), 4, "empty pieces are not sent");
        assert_eq!(parts[1].as_ptr(), pieces[0].as_ptr());
        let decoded = decode_copied(&frame[FRAME_HEADER_BYTES..]).unwrap();
        assert_eq!(decoded.partitions[0].records, [Bytes::from_static(b"\xaa\xbb\xcc")]);
    }

    #[test]
    fn decoded_records_are_slices_of_the_frame() {
        let mut body = Vec::new();
        reply(vec![Bytes::from_static(b"\xaa")]).encode(&mut body);
        let body = Bytes::from(body);
        let decoded = FetchReply::decode(body.clone()).unwrap();
        assert_eq!(decoded.partitions[0].records[0].as_ptr(), body[body.len() - 2..].as_ptr());
    }

    #[test]
    fn an_offset_above_i64_is_refused() {
        let mut body = Vec::new();
        reply(vec![]).encode(&mut body);
        body[33] = 0x80;
        assert_eq!(decode_copied(&body).unwrap_err().what, "high_watermark");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            numbers: (u32, u32, u32),
            rows in vec((any::<u128>(), any::<u32>(), 0..=Offset::MAX.0, vec(any::<u8>(), 1..50)), 0..5),
        ) {
            let (max_wait_ms, min_bytes, max_bytes) = numbers;
            let partitions = rows
                .iter()
                .map(|row| FetchPartition {
                    topic_id: TopicId(row.0),
                    partition: PartitionIndex(row.1),
                    offset: Offset(row.2),
                    max_bytes,
                })
                .collect();
            let request = FetchRequest { max_wait_ms, min_bytes, max_bytes, partitions };
            check_round_trip(&request, FetchRequest::encode, FetchRequest::decode);
            let partitions = rows
                .into_iter()
                .map(|(topic_id, partition, offset, records)| FetchResult {
                    topic_id: TopicId(topic_id),
                    partition: PartitionIndex(partition),
                    error: ErrorCode::None,
                    high_watermark: Offset(offset),
                    log_start: Offset::ZERO,
                    records: vec![records.into()],
                })
                .collect();
            check_round_trip(&FetchReply { partitions }, FetchReply::encode, decode_copied);
        }
    }
}
