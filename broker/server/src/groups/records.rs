//! From a group's records to batches of `__consumer_offsets` and back. Owns the step between what `broker/core` means and
//! the fields that `protocol` writes; decides nothing. Any core.

mod consumer;

use std::sync::Arc;

use ouzel_broker_core::group::{
    ClassicGroupState, ClassicMemberState, CommittedOffset, Generation, GroupId, GroupRecord, InstanceId, MemberId,
    TopicName, WallMs,
};
use ouzel_protocol::kafka::{
    EncodeError, GroupMetadataKey, GroupMetadataMember, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
    StoredGroupRecord,
};
use ouzel_protocol::records::{BatchBuilder, Dialect};
use ouzel_protocol::{BatchError, Codec, LeaderEpoch, Offset, PartitionIndex, TopicId};

use crate::limits;

pub(crate) use consumer::numbers;

/// A group's records cannot be written as they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    /// A record is more than a batch holds.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A field of one is more than its length can say.
    #[error(transparent)]
    Field(#[from] EncodeError),
}

/// Records as batches, in the order in which they came: one, unless they are too many or too large for one.
///
/// # Errors
/// A record is more than a batch holds, or a field of it more than its length can say.
pub(super) fn batches<'a>(
    records: impl Iterator<Item = &'a GroupRecord>,
    now: WallMs,
) -> Result<Vec<Vec<u8>>, RecordError> {
    let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
    let (mut key, mut value, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        if builder.len() >= limits::GROUP_BATCH_RECORD_COUNT_MAX
            || builder.bytes_estimate() >= limits::GROUP_BATCH_BYTES_MAX
        {
            let mut batch = Vec::new();
            builder.build_into(&mut batch)?;
            batches.push(batch);
        }
        key.clear();
        value.clear();
        let stored = stored(record);
        stored.encode_key(&mut key)?;
        let has_value = stored.encode_value(&mut value)?;
        builder.push(now.0, Some(&key), has_value.then_some(&value), &[]);
    }
    if !builder.is_empty() {
        batches.push(builder.build()?);
    }
    Ok(batches)
}

/// What a stored record means; `None` for one that means nothing here.
pub(super) fn meaning(stored: StoredGroupRecord<'_>) -> Option<GroupRecord> {
    Some(match stored {
        StoredGroupRecord::OffsetCommit(key, value) => {
            let (group_id, topic) = (GroupId::from(key.group), TopicName::from(key.topic));
            let partition = PartitionIndex(u32::try_from(key.partition).ok()?);
            match value {
                None => GroupRecord::OffsetTombstone { group_id, topic, partition },
                Some(value) => GroupRecord::OffsetCommit { group_id, topic, partition, commit: committed(&value)? },
            }
        }
        StoredGroupRecord::GroupMetadata(key, value) => {
            let group_id = GroupId::from(key.group);
            match value {
                None => GroupRecord::ClassicGroupTombstone { group_id },
                Some(value) => GroupRecord::ClassicGroup { group_id, state: Arc::new(classic_state(&value)) },
            }
        }
        stored => return consumer::meaning(stored),
    })
}

fn stored(record: &GroupRecord) -> StoredGroupRecord<'_> {
    match record {
        GroupRecord::OffsetCommit { group_id, topic, partition, commit } => {
            StoredGroupRecord::OffsetCommit(offset_key(group_id, topic, *partition), Some(offset_value(commit)))
        }
        GroupRecord::OffsetTombstone { group_id, topic, partition } => {
            StoredGroupRecord::OffsetCommit(offset_key(group_id, topic, *partition), None)
        }
        GroupRecord::ClassicGroup { group_id, state } => {
            StoredGroupRecord::GroupMetadata(GroupMetadataKey { group: group_id.as_str() }, Some(classic_value(state)))
        }
        GroupRecord::ClassicGroupTombstone { group_id } => {
            StoredGroupRecord::GroupMetadata(GroupMetadataKey { group: group_id.as_str() }, None)
        }
        GroupRecord::Consumer { group_id, record } => consumer::stored(group_id, record),
    }
}

fn offset_key<'a>(group_id: &'a GroupId, topic: &'a TopicName, partition: PartitionIndex) -> OffsetCommitKey<'a> {
    let partition = i32::try_from(partition.0).unwrap_or(i32::MAX);
    OffsetCommitKey { group: group_id.as_str(), topic: topic.as_str(), partition }
}

fn offset_value(commit: &CommittedOffset) -> OffsetCommitValue<'_> {
    OffsetCommitValue {
        offset: i64::try_from(commit.offset.0).unwrap_or(i64::MAX),
        leader_epoch: commit.leader_epoch.and_then(|epoch| i32::try_from(epoch.0).ok()).unwrap_or(-1),
        metadata: &commit.metadata,
        commit_timestamp: commit.committed_at.0,
        expire_timestamp: commit.expires_at.map_or(-1, |at| at.0),
        topic_id: commit.topic_id.unwrap_or(TopicId(0)),
    }
}

fn committed(value: &OffsetCommitValue<'_>) -> Option<CommittedOffset> {
    Some(CommittedOffset {
        offset: Offset(u64::try_from(value.offset).ok()?),
        leader_epoch: u32::try_from(value.leader_epoch).ok().map(LeaderEpoch),
        metadata: value.metadata.into(),
        committed_at: WallMs(value.commit_timestamp),
        expires_at: (value.expire_timestamp >= 0).then_some(WallMs(value.expire_timestamp)),
        topic_id: Some(value.topic_id).filter(|id| *id != TopicId(0)),
    })
}

fn classic_value(state: &ClassicGroupState) -> GroupMetadataValue<'_> {
    let ms = |ms: u32| i32::try_from(ms).unwrap_or(i32::MAX);
    GroupMetadataValue {
        protocol_type: &state.protocol_type,
        generation: state.generation.0,
        protocol: state.protocol.as_deref(),
        leader: state.leader.as_ref().map(MemberId::as_str),
        current_state_timestamp: state.since.map_or(-1, |since| since.0),
        members: state
            .members
            .iter()
            .map(|member| GroupMetadataMember {
                member_id: member.member_id.as_str(),
                group_instance_id: member.instance_id.as_ref().map(InstanceId::as_str),
                client_id: &member.client_id,
                client_host: &member.client_host,
                rebalance_timeout: ms(member.rebalance_timeout_ms),
                session_timeout: ms(member.session_timeout_ms),
                subscription: &member.subscription,
                assignment: &member.assignment,
            })
            .collect(),
    }
}

fn classic_state(value: &GroupMetadataValue<'_>) -> ClassicGroupState {
    let ms = |ms: i32| u32::try_from(ms).unwrap_or(0);
    ClassicGroupState {
        protocol_type: value.protocol_type.into(),
        generation: Generation(value.generation),
        protocol: value.protocol.map(Arc::from),
        leader: value.leader.map(MemberId::from),
        since: (value.current_state_timestamp >= 0).then_some(WallMs(value.current_state_timestamp)),
        members: value
            .members
            .iter()
            .map(|member| ClassicMemberState {
                member_id: member.member_id.into(),
                instance_id: member.group_instance_id.map(InstanceId::from),
                client_id: member.client_id.into(),
                client_host: member.client_host.into(),
                rebalance_timeout_ms: ms(member.rebalance_timeout),
                session_timeout_ms: ms(member.session_timeout),
                subscription: member.subscription.into(),
                assignment: member.assignment.into(),
            })
            .collect(),
    }
}
