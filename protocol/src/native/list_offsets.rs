//! ListOffsets: where a partition begins, ends, or stood at a time. Owns the layouts. Any core.

use super::limits::PARTITIONS_MAX;
use super::reader::{DecodeError, DecodeProblem, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};

/// Which offset of a partition is wanted. One byte on the wire: 0 earliest, 1 latest, 2 timestamp, and then 8 bytes of
/// milliseconds, 3 highest timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first that the partition still has.
    Earliest,
    /// The next that readers will see: the high watermark.
    Latest,
    /// The first record whose timestamp is not before this one, in milliseconds since 1970.
    Timestamp(i64),
    /// The first of the records with the highest timestamp.
    MaxTimestamp,
}

impl OffsetSpec {
    fn encode(self, writer: &mut Writer<'_>) {
        match self {
            OffsetSpec::Earliest => writer.u8(0),
            OffsetSpec::Latest => writer.u8(1),
            OffsetSpec::Timestamp(timestamp_ms) => {
                writer.u8(2);
                writer.i64(timestamp_ms);
            }
            OffsetSpec::MaxTimestamp => writer.u8(3),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<OffsetSpec, DecodeError> {
        let at = reader.position();
        match reader.u8("offset kind")? {
            0 => Ok(OffsetSpec::Earliest),
            1 => Ok(OffsetSpec::Latest),
            2 => Ok(OffsetSpec::Timestamp(reader.i64("timestamp")?)),
            3 => Ok(OffsetSpec::MaxTimestamp),
            got => {
                let problem = DecodeProblem::Unknown { expected: "0, 1 or 2", got: u64::from(got) };
                Err(reader.error("offset kind", at, problem))
            }
        }
    }
}

/// A `u32` count, then rows: `topic_id` 16, `partition` 4, `at` 1 or 9.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOffsetsRequest {
    /// What is wanted of which partition.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// What is wanted of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOffsetsPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// Which offset.
    pub at: OffsetSpec,
}

/// A `u32` count, then rows of 42: `topic_id` 16, `partition` 4, `error` 2, `offset` 8, `timestamp` 8, `leader_epoch` 4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOffsetsReply {
    /// One row for each of the request, in its order.
    pub partitions: Vec<ListOffsetsResult>,
}

/// The offset of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOffsetsResult {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// None, or why there is no offset.
    pub error: ErrorCode,
    /// The offset; for a time after the last record, the high watermark.
    pub offset: Offset,
    /// Timestamp of the record there in milliseconds since 1970, -1 when there is none.
    pub timestamp: i64,
    /// Epoch of the leader that answers.
    pub leader_epoch: LeaderEpoch,
}

const LIST_OFFSETS_PARTITION_BYTES_MIN: usize = 16 + 4 + 1;
const LIST_OFFSETS_RESULT_BYTES: usize = 16 + 4 + 2 + 8 + 8 + 4;

impl ListOffsetsRequest {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).list(&self.partitions, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            row.at.encode(writer);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ListOffsetsRequest, DecodeError> {
        let mut reader = Reader::new("list offsets request", bytes);
        let partitions = reader.list("partitions", PARTITIONS_MAX, LIST_OFFSETS_PARTITION_BYTES_MIN, |reader| {
            Ok(ListOffsetsPartition {
                topic_id: reader.topic_id("topic_id")?,
                partition: reader.partition("partition")?,
                at: OffsetSpec::decode(reader)?,
            })
        })?;
        reader.finish()?;
        Ok(ListOffsetsRequest { partitions })
    }
}

impl ListOffsetsReply {
    /// Appends the body to `out`. Panics when a list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).list(&self.partitions, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            writer.error_code(row.error);
            writer.offset(row.offset);
            writer.i64(row.timestamp);
            writer.leader_epoch(row.leader_epoch);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<ListOffsetsReply, DecodeError> {
        let mut reader = Reader::new("list offsets reply", bytes);
        let partitions = reader.list("partitions", PARTITIONS_MAX, LIST_OFFSETS_RESULT_BYTES, |reader| {
            Ok(ListOffsetsResult {
                topic_id: reader.topic_id("topic_id")?,
                partition: reader.partition("partition")?,
                error: reader.error_code("error")?,
                offset: reader.offset("offset")?,
                timestamp: reader.i64("timestamp")?,
                leader_epoch: reader.leader_epoch("leader_epoch")?,
            })
        })?;
        reader.finish()?;
        Ok(ListOffsetsReply { partitions })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    fn row(topic_id: u128, partition: u32, at: OffsetSpec) -> ListOffsetsPartition {
        ListOffsetsPartition { topic_id: TopicId(topic_id), partition: PartitionIndex(partition), at }
    }

    #[test]
    fn the_request_has_its_golden_bytes() {
        let request = ListOffsetsRequest {
            partitions: vec![
                row(1, 0, OffsetSpec::Earliest),
                row(1, 1, OffsetSpec::Latest),
                row(1, 2, OffsetSpec::Timestamp(-2)),
            ],
        };
        let golden = "03000000
            01000000000000000000000000000000 00000000 00
            01000000000000000000000000000000 01000000 01
            01000000000000000000000000000000 02000000 02 feffffffffffffff";
        check_golden(&request, golden, ListOffsetsRequest::encode, ListOffsetsRequest::decode);
    }

    #[test]
    fn the_reply_has_its_golden_bytes() {
        let reply = ListOffsetsReply {
            partitions: vec![ListOffsetsResult {
                topic_id: TopicId(1),
                partition: PartitionIndex(2),
                error: ErrorCode::NotLeader,
                offset: Offset(7),
                timestamp: -1,
                leader_epoch: LeaderEpoch(5),
            }],
        };
        let golden = "01000000
            01000000000000000000000000000000 02000000 0600 0700000000000000 ffffffffffffffff 05000000";
        check_golden(&reply, golden, ListOffsetsReply::encode, ListOffsetsReply::decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(rows in vec((any::<u128>(), any::<u32>(), 0_u8..3, any::<i64>()), 0..6)) {
            let partitions = rows
                .iter()
                .map(|(topic_id, partition, kind, timestamp_ms)| match kind {
                    0 => row(*topic_id, *partition, OffsetSpec::Earliest),
                    1 => row(*topic_id, *partition, OffsetSpec::Latest),
                    _ => row(*topic_id, *partition, OffsetSpec::Timestamp(*timestamp_ms)),
                })
                .collect();
            check_round_trip(&ListOffsetsRequest { partitions }, ListOffsetsRequest::encode, ListOffsetsRequest::decode);
            let partitions = rows
                .iter()
                .map(|(topic_id, partition, kind, timestamp)| ListOffsetsResult {
                    topic_id: TopicId(*topic_id),
                    partition: PartitionIndex(*partition),
                    error: ErrorCode::None,
                    offset: Offset(u64::from(*kind)),
                    timestamp: *timestamp,
                    leader_epoch: LeaderEpoch(*partition),
                })
                .collect();
            check_round_trip(&ListOffsetsReply { partitions }, ListOffsetsReply::encode, ListOffsetsReply::decode);
        }
    }
}
