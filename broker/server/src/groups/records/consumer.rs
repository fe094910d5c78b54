//! Records of groups whose broker assigns: the step between what `broker/core` means and the fields that `protocol` writes. Decides
//! nothing. Any core.

use std::sync::Arc;

use ouzel_broker_core::group::{
    ClassicSubscription, ConsumerRecord, CurrentAssignment, Generation, GroupId, GroupRecord, InstanceId, MemberId,
    MemberState, PartitionSet, ResolvedPattern, StoredConsumerGroup, Subscription, TopicName, TopicPartition, WallMs,
};
use ouzel_protocol::kafka::{
    Array, ClassicMemberMetadata, ClassicMemberProtocol, ConsumerGroupKey, ConsumerGroupMemberKey,
    ConsumerGroupMetadataValue, CurrentMemberAssignmentValue, CurrentTopicPartitions, MemberMetadataValue,
    RegularExpressionKey, RegularExpressionValue, StoredGroupRecord, TargetAssignmentMemberValue,
    TargetAssignmentMetadataValue, TargetTopicPartitions,
};
use ouzel_protocol::{MetadataVersion, PartitionIndex, TopicId};

/// The bytes' side of a record.
pub(super) fn stored<'a>(group_id: &'a GroupId, record: &'a ConsumerRecord) -> StoredGroupRecord<'a> {
    let key = ConsumerGroupKey { group_id: group_id.as_str() };
    let of =
        |member_id: &'a MemberId| ConsumerGroupMemberKey { group_id: group_id.as_str(), member_id: member_id.as_str() };
    match record {
        ConsumerRecord::Group(group) => StoredGroupRecord::ConsumerGroupMetadata(key, group.map(group_value)),
        ConsumerRecord::Member(member_id, subscription) => {
            StoredGroupRecord::MemberMetadata(of(member_id), subscription.as_deref().map(member_value))
        }
        ConsumerRecord::TargetEpoch(epoch) => {
            let value = |epoch: Generation| TargetAssignmentMetadataValue {
                assignment_epoch: epoch.0,
                assignment_timestamp: 0,
            };
            StoredGroupRecord::TargetAssignmentMetadata(key, epoch.map(value))
        }
        ConsumerRecord::Target(member_id, target) => {
            let value = |target: &PartitionSet| TargetAssignmentMemberValue { topic_partitions: target_rows(target) };
            StoredGroupRecord::TargetAssignmentMember(of(member_id), target.as_ref().map(value))
        }
        ConsumerRecord::Current(member_id, current) => {
            StoredGroupRecord::CurrentMemberAssignment(of(member_id), current.as_ref().map(current_value))
        }
        ConsumerRecord::Pattern(pattern, resolved) => {
            let key = RegularExpressionKey { group_id: group_id.as_str(), regular_expression: pattern };
            StoredGroupRecord::RegularExpression(key, resolved.as_ref().map(pattern_value))
        }
    }
}

/// The meaning of a stored record; `None` for one of another kind, or with a number in it that means nothing.
pub(super) fn meaning(stored: StoredGroupRecord<'_>) -> Option<GroupRecord> {
    let (group_id, record) = match stored {
        StoredGroupRecord::ConsumerGroupMetadata(key, value) => {
            (key.group_id, ConsumerRecord::Group(value.as_ref().map(group)))
        }
        StoredGroupRecord::MemberMetadata(key, value) => {
            (key.group_id, ConsumerRecord::Member(key.member_id.into(), value.as_ref().map(subscription).map(Arc::new)))
        }
        StoredGroupRecord::TargetAssignmentMetadata(key, value) => {
            (key.group_id, ConsumerRecord::TargetEpoch(value.map(|value| Generation(value.assignment_epoch))))
        }
        StoredGroupRecord::TargetAssignmentMember(key, value) => {
            let target = value.map(|value| {
                value.topic_partitions.iter().flat_map(|row| partitions(row.topic_id, &row.partitions)).collect()
            });
            (key.group_id, ConsumerRecord::Target(key.member_id.into(), target))
        }
        StoredGroupRecord::CurrentMemberAssignment(key, value) => {
            let current = match value {
                None => None,
                Some(value) => Some(current(&value)?),
            };
            (key.group_id, ConsumerRecord::Current(key.member_id.into(), current))
        }
        StoredGroupRecord::RegularExpression(key, value) => {
            (key.group_id, ConsumerRecord::Pattern(key.regular_expression.into(), value.as_ref().map(resolved)))
        }
        _ => return None,
    };
    Some(GroupRecord::Consumer { group_id: group_id.into(), record })
}

fn group_value(group: StoredConsumerGroup) -> ConsumerGroupMetadataValue {
    ConsumerGroupMetadataValue {
        epoch: group.epoch.0,
        metadata_hash: group.metadata_hash,
        creation_time_ms: group.created_at.map_or(-1, |at| at.0),
    }
}

fn group(value: &ConsumerGroupMetadataValue) -> StoredConsumerGroup {
    StoredConsumerGroup {
        epoch: Generation(value.epoch),
        metadata_hash: value.metadata_hash,
        created_at: (value.creation_time_ms >= 0).then_some(WallMs(value.creation_time_ms)),
    }
}

fn member_value(subscription: &Subscription) -> MemberMetadataValue<'_> {
    MemberMetadataValue {
        instance_id: subscription.instance_id.as_ref().map(InstanceId::as_str),
        rack_id: subscription.rack_id.as_deref(),
        client_id: &subscription.client_id,
        client_host: &subscription.client_host,
        subscribed_topic_names: subscription.topics.iter().map(TopicName::as_str).collect(),
        subscribed_topic_regex: subscription.pattern.as_deref(),
        rebalance_timeout_ms: i32::try_from(subscription.rebalance_timeout_ms).unwrap_or(i32::MAX),
        server_assignor: subscription.server_assignor.as_deref(),
        classic_member_metadata: subscription.classic.as_ref().map(|classic| ClassicMemberMetadata {
            session_timeout_ms: i32::try_from(classic.session_timeout_ms).unwrap_or(i32::MAX),
            supported_protocols: protocol_rows(classic),
        }),
    }
}

fn protocol_rows(classic: &ClassicSubscription) -> Array<'_, ClassicMemberProtocol<'_>> {
    classic.protocols.iter().map(|(name, metadata)| ClassicMemberProtocol { name, metadata }).collect()
}

fn subscription(value: &MemberMetadataValue<'_>) -> Subscription {
    let ms = |ms: i32| u32::try_from(ms).unwrap_or(0);
    Subscription {
        instance_id: value.instance_id.map(InstanceId::from),
        rack_id: value.rack_id.map(Arc::from),
        client_id: value.client_id.into(),
        client_host: value.client_host.into(),
        topics: value.subscribed_topic_names.iter().map(TopicName::from).collect(),
        pattern: value.subscribed_topic_regex.filter(|pattern| !pattern.is_empty()).map(Arc::from),
        rebalance_timeout_ms: ms(value.rebalance_timeout_ms),
        server_assignor: value.server_assignor.map(Arc::from),
        classic: value.classic_member_metadata.as_ref().map(|classic| ClassicSubscription {
            session_timeout_ms: ms(classic.session_timeout_ms),
            protocols: classic.supported_protocols.iter().map(|row| (row.name.into(), row.metadata.into())).collect(),
        }),
    }
}

fn current_value(current: &CurrentAssignment) -> CurrentMemberAssignmentValue<'static> {
    CurrentMemberAssignmentValue {
        member_epoch: current.epoch.0,
        previous_member_epoch: current.previous_epoch.0,
        state: current.state.code(),
        assigned_partitions: current_rows(&current.assigned),
        partitions_pending_revocation: current_rows(&current.revoking),
    }
}

fn current(value: &CurrentMemberAssignmentValue<'_>) -> Option<CurrentAssignment> {
    let set = |rows: &Array<'_, CurrentTopicPartitions<'_>>| {
        rows.iter().flat_map(|row| partitions(row.topic_id, &row.partitions)).collect()
    };
    Some(CurrentAssignment {
        epoch: Generation(value.member_epoch),
        previous_epoch: Generation(value.previous_member_epoch),
        state: MemberState::from_code(value.state)?,
        assigned: set(&value.assigned_partitions),
        revoking: set(&value.partitions_pending_revocation),
    })
}

fn pattern_value(resolved: &ResolvedPattern) -> RegularExpressionValue<'_> {
    RegularExpressionValue {
        topics: resolved.topics.iter().map(TopicName::as_str).collect(),
        version: i64::try_from(resolved.version.0).unwrap_or(i64::MAX),
        timestamp: resolved.resolved_at.0,
    }
}

fn resolved(value: &RegularExpressionValue<'_>) -> ResolvedPattern {
    ResolvedPattern {
        topics: value.topics.iter().map(TopicName::from).collect(),
        version: MetadataVersion(u64::try_from(value.version).unwrap_or(0)),
        resolved_at: WallMs(value.timestamp),
    }
}

fn target_rows(set: &PartitionSet) -> Array<'static, TargetTopicPartitions<'static>> {
    set.topics().map(|(topic_id, rows)| TargetTopicPartitions { topic_id, partitions: numbers(rows) }).collect()
}

fn current_rows(set: &PartitionSet) -> Array<'static, CurrentTopicPartitions<'static>> {
    let row = |(topic_id, rows): (TopicId, &[TopicPartition])| CurrentTopicPartitions {
        topic_id,
        partitions: numbers(rows),
        assignment_epochs: None,
    };
    set.topics().map(row).collect()
}

/// Numbers of partitions as Kafka's messages have them.
pub(crate) fn numbers(rows: &[TopicPartition]) -> Array<'static, i32> {
    rows.iter().map(|row| i32::try_from(row.partition.0).unwrap_or(i32::MAX)).collect()
}

fn partitions(topic_id: TopicId, numbers: &Array<'_, i32>) -> Vec<TopicPartition> {
    let partition =
        |number: i32| Some(TopicPartition { topic_id, partition: PartitionIndex(u32::try_from(number).ok()?) });
    numbers.iter().filter_map(partition).collect()
}
