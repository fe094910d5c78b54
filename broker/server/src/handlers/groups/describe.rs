//! DescribeGroup: the members of one group, of whatever kind, and what each has. What the leader of a classic group assigns is
//! bytes of its own; where the group is one of consumers they are read, since operators ask for partitions.

use std::rc::Rc;

use ouzel_broker_core::MetadataImage;
use ouzel_broker_core::group::{
    ClassicMemberState, ConsumerGroupDescription, ConsumerMemberDescription, GroupCoordinator, GroupDescription,
    InstanceId, TopicName,
};
use ouzel_protocol::kafka::consumer_protocol::{PROTOCOL_TYPE, assigned_partitions, subscribed_topics};
use ouzel_protocol::native::limits::{PARTITIONS_MAX, TOPICS_MAX};
use ouzel_protocol::native::{AssignedTopic, DescribeGroupReply, DescribeGroupRequest, DescribedMember};
use ouzel_protocol::{MemberEpoch, PartitionIndex, TopicId};

use super::Refusal;
use super::heartbeat::named;
use crate::groups::{at_coordinator, is_any_group_kept};
use crate::shard::ShardState;

pub(super) async fn describe(
    state: &Rc<ShardState>,
    asked: DescribeGroupRequest,
) -> Result<DescribeGroupReply, Refusal> {
    if !is_any_group_kept(state).await {
        return Err(Refusal::no_group());
    }
    let group_id = asked.group_id.clone();
    let answered = at_coordinator(state, &group_id, async move |coordinator| {
        let image = coordinator.state.topics.image();
        coordinator.read(|groups| described(&image, groups, &asked.group_id)).await
    });
    answered.await.flatten()?.ok_or_else(Refusal::no_group)
}

/// One group as it is described; `None` where there is none.
pub(crate) fn described(
    image: &MetadataImage,
    groups: &GroupCoordinator,
    group_id: &str,
) -> Option<DescribeGroupReply> {
    match groups.describe_consumer(group_id) {
        Some(group) => Some(of_consumer(image, &group)),
        None => groups.describe_classic(group_id).map(|group| of_classic(image, &group)),
    }
}

fn of_consumer(image: &MetadataImage, group: &ConsumerGroupDescription) -> DescribeGroupReply {
    DescribeGroupReply {
        kind: "Consumer".to_owned(),
        state: group.phase.name().to_owned(),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        assignor: group.assignor.name().to_owned(),
        epoch: MemberEpoch(group.epoch.0),
        assignment_epoch: MemberEpoch(group.assignment_epoch.0),
        members: group.members.iter().map(|member| consumer_member(image, member)).collect(),
    }
}

fn consumer_member(image: &MetadataImage, member: &ConsumerMemberDescription) -> DescribedMember {
    let asks = &*member.subscription;
    DescribedMember {
        member_id: member.member_id.to_string(),
        instance_id: asks.instance_id.as_ref().map(InstanceId::to_string),
        client_id: asks.client_id.to_string(),
        host: asks.client_host.to_string(),
        epoch: MemberEpoch(member.current.epoch.0),
        topics: asks.topics.iter().take(TOPICS_MAX).map(TopicName::to_string).collect(),
        pattern: asks.pattern.as_deref().map(str::to_owned),
        assignment: named(image, &member.current.assigned),
        target: named(image, &member.target),
    }
}

fn of_classic(image: &MetadataImage, group: &GroupDescription) -> DescribeGroupReply {
    let epoch = MemberEpoch(group.generation.0);
    let is_of_consumers = &*group.protocol_type == PROTOCOL_TYPE;
    DescribeGroupReply {
        kind: "Classic".to_owned(),
        state: group.state.to_owned(),
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol.to_string(),
        epoch,
        assignment_epoch: epoch,
        members: group.members.iter().map(|member| classic_member(image, member, epoch, is_of_consumers)).collect(),
    }
}

fn classic_member(
    image: &MetadataImage,
    member: &ClassicMemberState,
    epoch: MemberEpoch,
    is_of_consumers: bool,
) -> DescribedMember {
    let (mut topics, mut assignment) = (Vec::new(), Vec::new());
    // Bytes that are neither are those of a group that calls itself one of consumers and speaks another language.
    if is_of_consumers {
        let names = subscribed_topics(&member.subscription).unwrap_or_default();
        topics = names.into_iter().take(TOPICS_MAX).map(str::to_owned).collect();
        let rows = assigned_partitions(&member.assignment).unwrap_or_default();
        assignment = rows.into_iter().take(TOPICS_MAX).map(|(name, numbers)| assigned(image, name, &numbers)).collect();
    }
    DescribedMember {
        member_id: member.member_id.to_string(),
        instance_id: member.instance_id.as_ref().map(InstanceId::to_string),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        epoch,
        topics,
        pattern: None,
        target: assignment.clone(),
        assignment,
    }
}

fn assigned(image: &MetadataImage, name: &str, numbers: &[i32]) -> AssignedTopic {
    let mut partitions: Vec<PartitionIndex> =
        numbers.iter().filter_map(|number| u32::try_from(*number).ok()).map(PartitionIndex).collect();
    partitions.sort_unstable();
    partitions.dedup();
    partitions.truncate(PARTITIONS_MAX);
    let topic_id = image.topic_named(name).map_or(TopicId(0), |topic| topic.topic_id);
    AssignedTopic { topic_id, name: name.to_owned(), partitions }
}
