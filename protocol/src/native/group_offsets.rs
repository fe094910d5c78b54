//! OffsetCommit, OffsetFetch and DeleteOffsets: how far a group has read. Owns the layouts; never decides who may commit.
//! Any core.

use super::limits::{PARTITIONS_MAX, TOPICS_MAX};
use super::reader::{DecodeError, Reader};
use super::writer::Writer;
use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, MemberEpoch, Offset, PartitionIndex, TopicId};

/// Who speaks for a group: `member_id` string, `epoch` i32, `instance_id` optional string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its epoch; the generation, in a classic group.
    pub epoch: MemberEpoch,
    /// What it calls itself, if it is a static member.
    pub instance_id: Option<String>,
}

impl GroupMember {
    fn encode(&self, writer: &mut Writer<'_>) {
        writer.string(&self.member_id);
        writer.member_epoch(self.epoch);
        writer.option(self.instance_id.as_deref(), Writer::string);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<GroupMember, DecodeError> {
        Ok(GroupMember {
            member_id: reader.string("member_id")?,
            epoch: reader.member_epoch("member epoch")?,
            instance_id: reader.option("instance_id", |reader| reader.string("instance_id"))?,
        })
    }
}

/// `group_id` string, `member` optional [`GroupMember`], rows as a list of [`CommitRow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// The group; it comes to be with its first commit.
    pub group_id: String,
    /// The member that commits; none for whoever stores offsets of a group without members.
    pub member: Option<GroupMember>,
    /// One row a partition.
    pub partitions: Vec<CommitRow>,
}

/// One partition: `topic_id` 16, `partition` 4, `offset` 8, `leader_epoch` optional u32, `metadata` string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRow {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Offset,
    /// Epoch of the leader that the last one was read from, where it is known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// A note to be found again; usually empty.
    pub metadata: String,
}

const COMMIT_ROW_BYTES_MIN: usize = 16 + 4 + 8 + 1 + 2;

impl OffsetCommitRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.group_id);
        writer.option(self.member.as_ref(), |writer, member| member.encode(writer));
        writer.list(&self.partitions, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            writer.offset(row.offset);
            writer.option(row.leader_epoch, Writer::leader_epoch);
            writer.string(&row.metadata);
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<OffsetCommitRequest, DecodeError> {
        let mut reader = Reader::new("offset commit request", bytes);
        let request = OffsetCommitRequest {
            group_id: reader.string("group_id")?,
            member: reader.option("member", GroupMember::decode)?,
            partitions: reader.list("partitions", PARTITIONS_MAX, COMMIT_ROW_BYTES_MIN, |reader| {
                Ok(CommitRow {
                    topic_id: reader.topic_id("topic_id")?,
                    partition: reader.partition("partition")?,
                    offset: reader.offset("offset")?,
                    leader_epoch: reader.option("leader_epoch", |reader| reader.leader_epoch("leader_epoch"))?,
                    metadata: reader.string("metadata")?,
                })
            })?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// What became of one partition: `topic_id` 16, `partition` 4, `error` 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPartitionResult {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
    /// None when it was done.
    pub error: ErrorCode,
}

const RESULT_BYTES: usize = 16 + 4 + 2;

impl GroupPartitionResult {
    fn encode_all(writer: &mut Writer<'_>, rows: &[GroupPartitionResult]) {
        writer.list(rows, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
            writer.error_code(row.error);
        });
    }

    fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<GroupPartitionResult>, DecodeError> {
        reader.list("partitions", PARTITIONS_MAX, RESULT_BYTES, |reader| {
            Ok(GroupPartitionResult {
                topic_id: reader.topic_id("topic_id")?,
                partition: reader.partition("partition")?,
                error: reader.error_code("error")?,
            })
        })
    }
}

/// A `u32` count, then rows of [`GroupPartitionResult`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCommitReply {
    /// One row for each of the request, in its order. What was done is durable.
    pub partitions: Vec<GroupPartitionResult>,
}

impl OffsetCommitReply {
    /// Appends the body to `out`. Panics when the list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        GroupPartitionResult::encode_all(&mut Writer::new(out), &self.partitions);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<OffsetCommitReply, DecodeError> {
        let mut reader = Reader::new("offset commit reply", bytes);
        let partitions = GroupPartitionResult::decode_all(&mut reader)?;
        reader.finish()?;
        Ok(OffsetCommitReply { partitions })
    }
}

/// A partition of a group's interest: `topic_id` 16, `partition` 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition of it.
    pub partition: PartitionIndex,
}

const GROUP_PARTITION_BYTES: usize = 16 + 4;

impl GroupPartition {
    fn encode_all(writer: &mut Writer<'_>, rows: &[GroupPartition]) {
        writer.list(rows, PARTITIONS_MAX, |writer, row| {
            writer.topic_id(row.topic_id);
            writer.partition(row.partition);
        });
    }

    fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<GroupPartition>, DecodeError> {
        reader.list("partitions", PARTITIONS_MAX, GROUP_PARTITION_BYTES, |reader| {
            Ok(GroupPartition { topic_id: reader.topic_id("topic_id")?, partition: reader.partition("partition")? })
        })
    }
}

/// `group_id` string, `partitions` optional list of [`GroupPartition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The group; one that does not exist has read nothing.
    pub group_id: String,
    /// Which partitions; none asks for all that the group has offsets of.
    pub partitions: Option<Vec<GroupPartition>>,
}

impl OffsetFetchRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.group_id);
        writer.option(self.partitions.as_deref(), GroupPartition::encode_all);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<OffsetFetchRequest, DecodeError> {
        let mut reader = Reader::new("offset fetch request", bytes);
        let request = OffsetFetchRequest {
            group_id: reader.string("group_id")?,
            partitions: reader.option("partitions", GroupPartition::decode_all)?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// A list of [`TopicOffsets`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetFetchReply {
    /// Topics with the offsets that there are: a partition without one has no row.
    pub topics: Vec<TopicOffsets>,
}

/// One topic: `topic_id` 16, `name` string, rows as a list of [`CommittedRow`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicOffsets {
    /// The topic; zero for one that is gone.
    pub topic_id: TopicId,
    /// Its name.
    pub name: String,
    /// Partitions with an offset, by their numbers.
    pub partitions: Vec<CommittedRow>,
}

/// One partition: `partition` 4, `offset` 8, `leader_epoch` optional u32, `metadata` string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedRow {
    /// The partition.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Offset,
    /// Epoch of the leader that the last one was read from, where it was known.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What was noted with it.
    pub metadata: String,
}

const TOPIC_OFFSETS_BYTES_MIN: usize = 16 + 2 + 4;
const COMMITTED_ROW_BYTES_MIN: usize = 4 + 8 + 1 + 2;

impl OffsetFetchReply {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        Writer::new(out).list(&self.topics, TOPICS_MAX, |writer, topic| {
            writer.topic_id(topic.topic_id);
            writer.string(&topic.name);
            writer.list(&topic.partitions, PARTITIONS_MAX, |writer, row| {
                writer.partition(row.partition);
                writer.offset(row.offset);
                writer.option(row.leader_epoch, Writer::leader_epoch);
                writer.string(&row.metadata);
            });
        });
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<OffsetFetchReply, DecodeError> {
        let mut reader = Reader::new("offset fetch reply", bytes);
        let topics = reader.list("topics", TOPICS_MAX, TOPIC_OFFSETS_BYTES_MIN, |reader| {
            Ok(TopicOffsets {
                topic_id: reader.topic_id("topic_id")?,
                name: reader.string("name")?,
                partitions: reader.list("partitions", PARTITIONS_MAX, COMMITTED_ROW_BYTES_MIN, |reader| {
                    Ok(CommittedRow {
                        partition: reader.partition("partition")?,
                        offset: reader.offset("offset")?,
                        leader_epoch: reader.option("leader_epoch", |reader| reader.leader_epoch("leader_epoch"))?,
                        metadata: reader.string("metadata")?,
                    })
                })?,
            })
        })?;
        reader.finish()?;
        Ok(OffsetFetchReply { topics })
    }
}

/// `group_id` string, rows as a list of [`GroupPartition`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsRequest {
    /// The group.
    pub group_id: String,
    /// The partitions whose offsets are to be forgotten.
    pub partitions: Vec<GroupPartition>,
}

impl DeleteOffsetsRequest {
    /// Appends the body to `out`. Panics when a string or list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(out);
        writer.string(&self.group_id);
        GroupPartition::encode_all(&mut writer, &self.partitions);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The client sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DeleteOffsetsRequest, DecodeError> {
        let mut reader = Reader::new("delete offsets request", bytes);
        let request = DeleteOffsetsRequest {
            group_id: reader.string("group_id")?,
            partitions: GroupPartition::decode_all(&mut reader)?,
        };
        reader.finish()?;
        Ok(request)
    }
}

/// A `u32` count, then rows of [`GroupPartitionResult`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteOffsetsReply {
    /// One row for each of the request, in its order. An offset that was not there is forgotten already.
    pub partitions: Vec<GroupPartitionResult>,
}

impl DeleteOffsetsReply {
    /// Appends the body to `out`. Panics when the list exceeds its cap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        GroupPartitionResult::encode_all(&mut Writer::new(out), &self.partitions);
    }

    /// Reads a body.
    ///
    /// # Errors
    /// The broker sent something else.
    pub fn decode(bytes: &[u8]) -> Result<DeleteOffsetsReply, DecodeError> {
        let mut reader = Reader::new("delete offsets reply", bytes);
        let partitions = GroupPartitionResult::decode_all(&mut reader)?;
        reader.finish()?;
        Ok(DeleteOffsetsReply { partitions })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::native::testing::{check_golden, check_round_trip};

    const ROW: GroupPartition = GroupPartition { topic_id: TopicId(2), partition: PartitionIndex(5) };

    #[test]
    fn a_commit_has_its_golden_bytes() {
        let request = OffsetCommitRequest { group_id: "g".into(), member: None, partitions: Vec::new() };
        check_golden(&request, "0100 67 00 00000000", OffsetCommitRequest::encode, OffsetCommitRequest::decode);
        let member = GroupMember { member_id: "m".into(), epoch: MemberEpoch(4), instance_id: Some("i".into()) };
        let row = CommitRow {
            topic_id: TopicId(2),
            partition: PartitionIndex(5),
            offset: Offset(9),
            leader_epoch: Some(LeaderEpoch(1)),
            metadata: "n".into(),
        };
        let request = OffsetCommitRequest { member: Some(member), partitions: vec![row], ..request };
        let golden = "0100 67 01 0100 6d 04000000 01 0100 69
            01000000 02000000000000000000000000000000 05000000 0900000000000000 01 01000000 0100 6e";
        check_golden(&request, golden, OffsetCommitRequest::encode, OffsetCommitRequest::decode);
    }

    #[test]
    fn results_have_their_golden_bytes() {
        let partitions = vec![GroupPartitionResult {
            topic_id: TopicId(2),
            partition: PartitionIndex(5),
            error: ErrorCode::GroupSubscribedToTopic,
        }];
        let golden = "01000000 02000000000000000000000000000000 05000000 5600";
        let reply = OffsetCommitReply { partitions: partitions.clone() };
        check_golden(&reply, golden, OffsetCommitReply::encode, OffsetCommitReply::decode);
        let reply = DeleteOffsetsReply { partitions };
        check_golden(&reply, golden, DeleteOffsetsReply::encode, DeleteOffsetsReply::decode);
    }

    #[test]
    fn what_is_asked_for_has_its_golden_bytes() {
        let request = OffsetFetchRequest { group_id: "g".into(), partitions: None };
        check_golden(&request, "0100 67 00", OffsetFetchRequest::encode, OffsetFetchRequest::decode);
        let request = OffsetFetchRequest { partitions: Some(vec![ROW]), ..request };
        let golden = "0100 67 01 01000000 02000000000000000000000000000000 05000000";
        check_golden(&request, golden, OffsetFetchRequest::encode, OffsetFetchRequest::decode);
        let request = DeleteOffsetsRequest { group_id: "g".into(), partitions: vec![ROW] };
        let golden = "0100 67 01000000 02000000000000000000000000000000 05000000";
        check_golden(&request, golden, DeleteOffsetsRequest::encode, DeleteOffsetsRequest::decode);
    }

    #[test]
    fn offsets_have_their_golden_bytes() {
        let row =
            CommittedRow { partition: PartitionIndex(5), offset: Offset(9), leader_epoch: None, metadata: "n".into() };
        let topic = TopicOffsets { topic_id: TopicId(2), name: "a".into(), partitions: vec![row] };
        let golden = "01000000 02000000000000000000000000000000 0100 61
            01000000 05000000 0900000000000000 00 0100 6e";
        let reply = OffsetFetchReply { topics: vec![topic] };
        check_golden(&reply, golden, OffsetFetchReply::encode, OffsetFetchReply::decode);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(
            rows in vec((any::<u128>(), any::<u32>(), 0..=i64::MAX as u64, option::of(any::<u32>()), ".{0,9}"), 0..6),
            instance_id in option::of(".{0,9}"),
            epoch: i32,
        ) {
            let member = Some(GroupMember { member_id: "m".into(), epoch: MemberEpoch(epoch), instance_id });
            let partitions = rows.iter().map(|(topic_id, partition, offset, leader_epoch, note)| CommitRow {
                topic_id: TopicId(*topic_id),
                partition: PartitionIndex(*partition),
                offset: Offset(*offset),
                leader_epoch: leader_epoch.map(LeaderEpoch),
                metadata: note.clone(),
            });
            let request = OffsetCommitRequest { group_id: "g".into(), member, partitions: partitions.collect() };
            check_round_trip(&request, OffsetCommitRequest::encode, OffsetCommitRequest::decode);
            let committed = request.partitions.iter().map(|row| CommittedRow {
                partition: row.partition, offset: row.offset, leader_epoch: row.leader_epoch, metadata: row.metadata.clone(),
            });
            let topic = TopicOffsets { topic_id: TopicId(1), name: "t".into(), partitions: committed.collect() };
            let reply = OffsetFetchReply { topics: vec![topic.clone(), topic] };
            check_round_trip(&reply, OffsetFetchReply::encode, OffsetFetchReply::decode);
        }
    }
}
