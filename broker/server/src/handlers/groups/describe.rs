//! DescribeGroup: the members of one group, of whatever kind, and what each has. What the leader of a classic group assigns is
//! bytes of its own; where the group is one of consumers they are read, since operators ask for partitions. A leader may assign
//! partitions that nobody has, as many as its bytes hold: whoever asks says how many are described.

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
        let describe = coordinator.read(|groups| described(groups, &asked.group_id)).await?;
        Ok(describe.map(|describe| describe(&image, usize::MAX).0))
    });
    answered.await.flatten()?.ok_or_else(Refusal::no_group)
}

/// Looks at one group; `None` where there is none. What is given describes it on whatever thread has the time, with so many
/// topics that members ask for, partitions that they have, and partitions that they are to have, and says how many more of
/// all these there are.
pub(crate) fn described(
    groups: &GroupCoordinator,
    group_id: &str,
) -> Option<impl FnOnce(&MetadataImage, usize) -> (DescribeGroupReply, usize) + Send + use<>> {
    let consumer = groups.describe_consumer(group_id);
    let classic = if consumer.is_none() { Some(groups.describe_classic(group_id)?) } else { None };
    Some(move |image: &MetadataImage, row_count_max: usize| {
        let mut rows = Rows::at_most(row_count_max);
        let consumer = consumer.map(|group| of_consumer(image, &group, &mut rows));
        let reply = consumer.or_else(|| classic.map(|group| of_classic(image, &group, &mut rows)));
        (reply.expect("it is of one of the two kinds"), rows.left_out())
    })
}

/// Room for rows of one kind.
struct Room {
    left: usize,
    left_out: usize,
}

impl Room {
    /// How many of so many rows there is room for.
    fn take(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.left);
        self.left -= taken;
        self.left_out += wanted - taken;
        taken
    }

    /// Those of the names that there is room for.
    fn topics<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) -> Vec<String> {
        let taken = self.take(names.len().min(TOPICS_MAX));
        names.take(taken).map(str::to_owned).collect()
    }

    /// What there is room for of one topic, which takes some though it has no partition; `None` where there is none.
    fn assigned(&mut self, mut topic: AssignedTopic) -> Option<AssignedTopic> {
        let taken = self.take(topic.partitions.len().max(1));
        topic.partitions.truncate(taken);
        (taken > 0).then_some(topic)
    }
}

/// Room in the description of one group.
struct Rows {
    topics: Room,
    assigned: Room,
    target: Room,
}

impl Rows {
    fn at_most(count: usize) -> Self {
        let room = || Room { left: count, left_out: 0 };
        Self { topics: room(), assigned: room(), target: room() }
    }

    fn left_out(&self) -> usize {
        self.topics.left_out + self.assigned.left_out + self.target.left_out
    }
}

fn of_consumer(image: &MetadataImage, group: &ConsumerGroupDescription, rows: &mut Rows) -> DescribeGroupReply {
    DescribeGroupReply {
        kind: "Consumer".to_owned(),
        state: group.phase.name().to_owned(),
        protocol_type: PROTOCOL_TYPE.to_owned(),
        assignor: group.assignor.name().to_owned(),
        epoch: MemberEpoch(group.epoch.0),
        assignment_epoch: MemberEpoch(group.assignment_epoch.0),
        members: group.members.iter().map(|member| consumer_member(image, member, rows)).collect(),
    }
}

fn consumer_member(image: &MetadataImage, member: &ConsumerMemberDescription, rows: &mut Rows) -> DescribedMember {
    let asks = &*member.subscription;
    DescribedMember {
        member_id: member.member_id.to_string(),
        instance_id: asks.instance_id.as_ref().map(InstanceId::to_string),
        client_id: asks.client_id.to_string(),
        host: asks.client_host.to_string(),
        epoch: MemberEpoch(member.current.epoch.0),
        topics: rows.topics.topics(asks.topics.iter().map(TopicName::as_str)),
        pattern: asks.pattern.as_deref().map(str::to_owned),
        assignment: fitting(&mut rows.assigned, named(image, &member.current.assigned)),
        target: fitting(&mut rows.target, named(image, &member.target)),
    }
}

fn of_classic(image: &MetadataImage, group: &GroupDescription, rows: &mut Rows) -> DescribeGroupReply {
    let epoch = MemberEpoch(group.generation.0);
    let is_of_consumers = &*group.protocol_type == PROTOCOL_TYPE;
    DescribeGroupReply {
        kind: "Classic".to_owned(),
        state: group.state.to_owned(),
        protocol_type: group.protocol_type.to_string(),
        assignor: group.protocol.to_string(),
        epoch,
        assignment_epoch: epoch,
        members: group
            .members
            .iter()
            .map(|member| classic_member(image, member, epoch, is_of_consumers, rows))
            .collect(),
    }
}

fn classic_member(
    image: &MetadataImage,
    member: &ClassicMemberState,
    epoch: MemberEpoch,
    is_of_consumers: bool,
    rows: &mut Rows,
) -> DescribedMember {
    let (mut topics, mut assignment) = (Vec::new(), Vec::new());
    // Bytes that are neither are those of a group that calls itself one of consumers and speaks another language.
    if is_of_consumers {
        let names = subscribed_topics(&member.subscription).unwrap_or_default();
        topics = rows.topics.topics(names.into_iter());
        let topics = assigned_partitions(&member.assignment).unwrap_or_default();
        let topics = topics.into_iter().take(TOPICS_MAX).map(|(name, numbers)| assigned(image, name, &numbers));
        assignment = fitting(&mut rows.assigned, topics);
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

fn fitting(room: &mut Room, topics: impl IntoIterator<Item = AssignedTopic>) -> Vec<AssignedTopic> {
    topics.into_iter().filter_map(|topic| room.assigned(topic)).collect()
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
