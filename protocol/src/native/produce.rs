//! Produce: batches to append, and what became of each. Owns the layouts; never opens a batch, never copies one while
//! decoding. Runs on the core of the connection.

use bytes::Bytes;

use super::frame::{Api, FRAME_HEADER_BYTES, FrameHeader, PROTOCOL_VERSION};
use super::limits::PARTITIONS_MAX;
use super::reader::{DecodeError, DecodeProblem, Reader};
use super::writer::Writer;
use crate::durability::Durability;
use crate::error_code::ErrorCode;
use crate::ids::{CorrelationId, LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::limits::BATCH_BYTES_MAX;

/// Batches to append, one a partition. A table of fixed rows comes first and all batches behind it, so that the table
/// is read in one go and both sides hand batches on as slices.
///
/// | At | Bytes | Field |
/// |---|---|---|
/// | 0 | 1 | `acks`: 0, 1, or -1 = all |
/// | 1 | 4 | `timeout_ms` |
/// | 5 | 1 | `timings`: 1 asks for [`StageTimings`] |
/// | 6 | 4 | row count |
/// | 10 | 24 each | `topic_id` 16, `partition` 4, `batch_bytes` 4 |
/// | | | the batches, in the order of the rows |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceRequest {
    /// When to answer: 0 never, 1 when the leader's level holds, -1 when all in-sync replicas have it as well.
    pub acks: i8,
    /// How long the broker may wait for acknowledgements.
    pub timeout_ms: u32,
    /// Whether the reply should carry [`StageTimings`].
    pub timings: bool,
    /// What to append, at most one row a partition.
    pub partitions: Vec<ProducePartition>,
}

/// One batch for one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// Exactly one batch; a decoded one is a slice of the frame and keeps it alive.
    pub batch: Bytes,
}

const PRODUCE_PARTITION_BYTES: usize = 16 + 4 + 4;
const PRODUCE_FIXED_BYTES: usize = 1 + 4 + 1 + 4;

impl ProduceRequest {
    /// Appends the body to `out`, batches copied. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_table(out);
        for row in &self.partitions {
            out.extend_from_slice(&row.batch);
        }
    }

    /// The whole frame as parts to be sent one after the other: header and table, then each batch, uncopied. Panics when
    /// the frame exceeds its maximum.
    #[must_use]
    pub fn encode_parts(&self, correlation: CorrelationId) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(
            FRAME_HEADER_BYTES + PRODUCE_FIXED_BYTES + self.partitions.len() * PRODUCE_PARTITION_BYTES,
        );
        out.resize(FRAME_HEADER_BYTES, 0);
        self.encode_table(&mut out);
        let batch_bytes: usize = self.partitions.iter().map(|row| row.batch.len()).sum();
        let body_bytes = out.len() - FRAME_HEADER_BYTES + batch_bytes;
        let header = FrameHeader::for_body(Api::Produce, PROTOCOL_VERSION, 0, ErrorCode::None, correlation, body_bytes);
        out[..FRAME_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        let mut parts = Vec::with_capacity(1 + self.partitions.len());
        parts.push(Bytes::from(out));
        parts.extend(self.partitions.iter().map(|row| row.batch.clone()).filter(|batch| !batch.is_empty()));
        parts
    }

    fn encode_table(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.i8(self.acks);
        writer.u32(self.timeout_ms);
        writer.bool(self.timings);
        writer.list(&self.partitions, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            writer.length(row.batch.len());
        });
    }

    /// Reads a body; the batches of the result are slices of it. They are not looked into.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(body: Bytes) -> Result<ProduceRequest, DecodeError> {
        let view = ProduceView::parse(&body)?;
        let partitions = view.rows().map(|row| ProducePartition {
            topic_id: row.topic_id,
            partition: row.partition,
            batch: body.slice_ref(row.batch),
        });
        let (acks, timeout_ms, timings) = (view.acks, view.timeout_ms, view.timings);
        Ok(ProduceRequest { acks, timeout_ms, timings, partitions: partitions.collect() })
    }
}

/// A [`ProduceRequest`] read in place: nothing is allocated, whatever it holds.
#[derive(Debug, Clone, Copy)]
pub struct ProduceView<'a> {
    /// As [`ProduceRequest::acks`].
    pub acks: i8,
    /// As [`ProduceRequest::timeout_ms`].
    pub timeout_ms: u32,
    /// As [`ProduceRequest::timings`].
    pub timings: bool,
    table: &'a [u8],
    /// As long as the table says.
    batches: &'a [u8],
}

/// One row of a [`ProduceView`].
#[derive(Debug, Clone, Copy)]
pub struct ProduceRow<'a> {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// Exactly one batch.
    pub batch: &'a [u8],
}

impl<'a> ProduceView<'a> {
    /// Reads a body. The batches are not looked into.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn parse(body: &'a [u8]) -> Result<ProduceView<'a>, DecodeError> {
        let mut reader = Reader::new("produce request", body);
        let acks = reader.i8("acks")?;
        if !(-1..=1).contains(&acks) {
            let got = u64::from(acks.cast_unsigned());
            return Err(reader.error("acks", 0, DecodeProblem::Unknown { expected: "0, 1 or -1 (255)", got }));
        }
        let timeout_ms = reader.u32("timeout_ms")?;
        let timings = reader.bool("timings")?;
        let table_at = reader.position() + 4;
        let table = reader.table("partitions", PARTITIONS_MAX, PRODUCE_PARTITION_BYTES)?;
        let batches_at = reader.position();
        for index in 0..table.len() / PRODUCE_PARTITION_BYTES {
            let mut row = Reader::at("produce request", body, table_at + index * PRODUCE_PARTITION_BYTES);
            let (_, _, batch_bytes) = table_row(&mut row)?;
            reader.take("batch", batch_bytes)?;
        }
        let batches = body.get(batches_at..reader.position()).unwrap_or_default();
        reader.finish()?;
        Ok(ProduceView { acks, timeout_ms, timings, table, batches })
    }

    /// Rows.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.table.len() / PRODUCE_PARTITION_BYTES
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = ProduceRow<'a>> + use<'a> {
        let mut batches = self.batches;
        self.table.chunks_exact(PRODUCE_PARTITION_BYTES).map_while(move |row| {
            let (topic_id, partition, batch_bytes) = table_row(&mut Reader::new("produce request", row)).ok()?;
            let (batch, rest) = batches.split_at_checked(batch_bytes)?;
            batches = rest;
            Some(ProduceRow { topic_id, partition, batch })
        })
    }
}

fn table_row(reader: &mut Reader<'_>) -> Result<(TopicId, PartitionIndex, usize), DecodeError> {
    Ok((reader.topic_id("topic_id")?, reader.partition("partition")?, reader.length("batch_bytes", BATCH_BYTES_MAX)?))
}

/// What became of each batch.
///
/// | Field | Bytes |
/// |---|---|
/// | timings | 1, then 16 when it is 1: `received_us` 4, `queued_us` 4, `appended_us` 4, `committed_us` 4 |
/// | partitions | 4, then rows of 43: `topic_id` 16, `partition` 4, `error` 2, `base_offset` 8, `leader_epoch` 4, `durability` 1, `log_start` 8 |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceReply {
    /// One row for each of the request, in its order.
    pub partitions: Vec<ProduceResult>,
    /// Where the time went, when the request asked for it.
    pub timings: Option<StageTimings>,
}

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProduceResult {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// None when the batch is in the log at `durability`.
    pub error: ErrorCode,
    /// Offset of the batch's first record; without meaning after an error.
    pub base_offset: Offset,
    /// Epoch under which it was appended.
    pub leader_epoch: LeaderEpoch,
    /// What holds for it now.
    pub durability: Durability,
    /// First offset that the partition still has.
    pub log_start: Offset,
}

/// Microseconds a produce request spent in each stage on the broker, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageTimings {
    /// From the frame's header to its last byte.
    pub received_us: u32,
    /// From there until the owning shard took it up.
    pub queued_us: u32,
    /// From there until its place in the log was fixed.
    pub appended_us: u32,
    /// From there until its durability level held.
    pub committed_us: u32,
}

const PRODUCE_RESULT_BYTES: usize = 16 + 4 + 2 + 8 + 4 + 1 + 8;

impl ProduceReply {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Self::encode_rows(out, self.timings, self.partitions.iter().copied());
    }

    /// Appends the body of a reply that is nowhere as a value. Panics when there are too many rows.
    pub fn encode_rows(
        out: &mut Vec<u8>,
        timings: Option<StageTimings>,
        rows: impl ExactSizeIterator<Item = ProduceResult>,
    ) {
        let mut writer = Writer::new(out);
        writer.option(timings, |writer, timings| {
            writer.u32(timings.received_us);
            writer.u32(timings.queued_us);
            writer.u32(timings.appended_us);
            writer.u32(timings.committed_us);
        });
        writer.rows(rows, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            writer.error_code(row.error);
            writer.offset(row.base_offset);
            writer.leader_epoch(row.leader_epoch);
            writer.u8(row.durability.to_wire());
            writer.offset(row.log_start);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ProduceReply, DecodeError> {
        let mut reader = Reader::new("produce reply", bytes);
        let timings = reader.option("timings", |reader| {
            Ok(StageTimings {
                received_us: reader.u32("received_us")?,
                queued_us: reader.u32("queued_us")?,
                appended_us: reader.u32("appended_us")?,
                committed_us: reader.u32("committed_us")?,
            })
        })?;
        let partitions = reader.list("partitions", PARTITIONS_MAX, PRODUCE_RESULT_BYTES, ProduceResult::decode)?;
        reader.finish()?;
        Ok(ProduceReply { partitions, timings })
    }
}

impl ProduceResult {
    fn decode(reader: &mut Reader<'_>) -> Result<ProduceResult, DecodeError> {
        Ok(ProduceResult {
            topic_id: reader.topic_id("topic_id")?,
            partition: reader.partition("partition")?,
            error: reader.error_code("error")?,
            base_offset: reader.offset("base_offset")?,
            leader_epoch: reader.leader_epoch("leader_epoch")?,
            durability: reader.durability("durability")?,
            log_start: reader.offset("log_start")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    fn decode_copied(bytes: &[u8]) -> Result<ProduceRequest, DecodeError> {
        ProduceRequest::decode(Bytes::copy_from_slice(bytes))
    }

    fn request() -> ProduceRequest {
        let row = |partition, batch| ProducePartition {
            topic_id: TopicId(1),
            partition: PartitionIndex(partition),
            batch: Bytes::from_static(batch),
        };
        ProduceRequest {
            acks: -1,
            timeout_ms: 30_000,
            timings: true,
            partitions: vec![row(0, b"\xaa\xab\xac"), row(7, b"\xbb\xbc")],
        }
    }

    #[test]
    fn the_request_has_its_golden_bytes() {
        let golden = "ff 30750000 01 02000000
            01000000000000000000000000000000 00000000 03000000
            01000000000000000000000000000000 07000000 02000000
            aaabac bbbc";
        check_golden(&request(), golden, ProduceRequest::encode, decode_copied);
    }

    #[test]
    fn decoded_batches_are_slices_of_the_frame() {
        let mut body = Vec::new();
        request().encode(&mut body);
        let body = Bytes::from(body);
        let decoded = ProduceRequest::decode(body.clone()).unwrap();
        assert_eq!(decoded.partitions[0].batch.as_ptr(), body[body.len() - 5..].as_ptr());
    }

    #[test]
    fn parts_sent_in_order_are_the_frame() {
        let parts = request().encode_parts(CorrelationId(5));
        let frame = crate::native::request_frame(Api::Produce, CorrelationId(5), |out| request().encode(out));
        assert_eq!(parts.concat(), frame);
        assert_eq!(parts[1].as_ptr(), request().partitions[0].batch.as_ptr());
    }

    #[test]
    fn acks_that_mean_nothing_are_refused() {
        let mut body = Vec::new();
        request().encode(&mut body);
        body[0] = 2;
        assert_eq!(decode_copied(&body).unwrap_err().what, "acks");
    }

    #[test]
    fn a_batch_above_the_largest_is_refused_before_it_is_looked_for() {
        let mut body = Vec::new();
        request().encode(&mut body);
        body[30..34].copy_from_slice(&u32::try_from(BATCH_BYTES_MAX + 1).unwrap().to_le_bytes());
        let error = decode_copied(&body).unwrap_err();
        assert_eq!(error.problem, DecodeProblem::TooMany { max: BATCH_BYTES_MAX, got: BATCH_BYTES_MAX + 1 });
    }

    fn result(partition: u32) -> ProduceResult {
        ProduceResult {
            topic_id: TopicId(2),
            partition: PartitionIndex(partition),
            error: ErrorCode::DiskFull,
            base_offset: Offset(100),
            leader_epoch: LeaderEpoch(3),
            durability: Durability::Written,
            log_start: Offset(10),
        }
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let timings = StageTimings { received_us: 1, queued_us: 2, appended_us: 3, committed_us: 4 };
        let reply = ProduceReply { partitions: vec![result(6)], timings: Some(timings) };
        let golden = "01 01000000 02000000 03000000 04000000  01000000
            02000000000000000000000000000000 06000000 e903 6400000000000000 03000000 01 0a00000000000000";
        check_golden(&reply, golden, ProduceReply::encode, ProduceReply::decode);
        let reply = ProduceReply { partitions: vec![], timings: None };
        check_golden(&reply, "00 00000000", ProduceReply::encode, ProduceReply::decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            acks in -1_i8..=1,
            timeout_ms: u32,
            timings: bool,
            rows in vec((any::<u128>(), any::<u32>(), vec(any::<u8>(), 0..50)), 0..5),
        ) {
            let reply = ProduceReply {
                partitions: rows.iter().map(|row| result(row.1)).collect(),
                timings: timings.then(StageTimings::default),
            };
            check_round_trip(&reply, ProduceReply::encode, ProduceReply::decode);
            let partitions = rows
                .into_iter()
                .map(|(topic_id, partition, batch)| ProducePartition {
                    topic_id: TopicId(topic_id),
                    partition: PartitionIndex(partition),
                    batch: batch.into(),
                })
                .collect();
            let request = ProduceRequest { acks, timeout_ms, timings, partitions };
            check_round_trip(&request, ProduceRequest::encode, decode_copied);
        }
    }
}
