//! ConsumerGroupHeartbeat and ConsumerGroupDescribe: groups whose broker assigns (KIP-848). Owns the step between the messages and
//! the events of such a group.

use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::MetadataImage;
use ouzel_broker_core::group::{
    ConsumerGroupDescription, ConsumerMemberDescription, Effects, GroupError, HeartbeatCaller, HeartbeatOutcome,
    InstanceId, PartitionSet, Reply, TopicName,
};
use ouzel_protocol::kafka::{
    AUTHORIZED_OPERATIONS_NONE, ConsumerGroup, ConsumerGroupDescribeReply, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatReply, ConsumerGroupHeartbeatRequest, ConsumerGroupMember, KafkaError, MemberAssignment,
    MemberTopic, NamedAssignment, NamedMemberTopic,
};

use super::admin::GROUP_OPERATIONS;
use super::{Answer, Frame, at_group};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::{CoordinatorRef, Unavailable, at_coordinator, heartbeat_interval_ms, numbers, offsets_topic};
use crate::kafka::request::{KafkaRequest, Ticket};

/// From here on members make their own ids (KIP-1082).
const MAKES_ITS_ID_FROM: i16 = 1;
/// A member of this protocol, as descriptions name it; 0 is one of the classic.
const MEMBER_OF_CONSUMER: i8 = 1;

pub(super) async fn heartbeat(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
) -> Result<(), Fault> {
    let asked: ConsumerGroupHeartbeatRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| heartbeat_here(&coordinator, &frame).await;
    at_group(connection, request, ticket, asked.group_id, work, |frame, error| refused(frame, error, None)).await
}

async fn heartbeat_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: ConsumerGroupHeartbeatRequest<'_> = frame.message()?;
    let caller = HeartbeatCaller {
        client_id: &frame.client_id,
        client_host: &frame.client_host,
        drawn: rand::random(),
        makes_its_id: frame.version >= MAKES_ITS_ID_FROM,
    };
    let reply = coordinator.ask(|groups, now, waiter| {
        let mut effects = Effects::new();
        groups.consumer_heartbeat(now, waiter, &asked, caller, &mut effects);
        effects
    });
    match reply.await {
        Ok(Reply::ConsumerHeartbeat(Ok(outcome))) => {
            heard(frame, &outcome, heartbeat_interval_ms(&coordinator.state, &outcome))
        }
        Ok(Reply::ConsumerHeartbeat(Err(error))) => refused(frame, error_map::of_consumer_group(&error), Some(&error)),
        Ok(other) => unreachable!("a heartbeat was answered with {other:?}"),
        Err(error) => refused(frame, error_map::of_unavailable(error), None),
    }
}

fn heard(frame: &Frame, outcome: &HeartbeatOutcome, interval_ms: u32) -> Answer {
    let assignment = outcome.assignment.as_ref().map(|set| MemberAssignment {
        topic_partitions: set
            .topics()
            .map(|(topic_id, rows)| MemberTopic { topic_id, partitions: numbers(rows) })
            .collect(),
    });
    frame.reply(&ConsumerGroupHeartbeatReply {
        error_code: KafkaError::NONE,
        member_id: Some(outcome.member_id.as_str()),
        member_epoch: outcome.epoch.0,
        heartbeat_interval_ms: i32::try_from(interval_ms).unwrap_or(i32::MAX),
        assignment,
        ..ConsumerGroupHeartbeatReply::default()
    })
}

fn refused(frame: &Frame, error_code: KafkaError, error: Option<&GroupError>) -> Answer {
    let message = error.map(GroupError::to_string);
    frame.reply(&ConsumerGroupHeartbeatReply {
        error_code,
        error_message: message.as_deref(),
        ..ConsumerGroupHeartbeatReply::default()
    })
}

pub(super) async fn describe(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: ConsumerGroupDescribeRequest<'_> = request.message()?;
    let state = &connection.state;
    let mut found: Vec<Result<Option<ConsumerGroupDescription>, Unavailable>> =
        Vec::with_capacity(asked.group_ids.len());
    for group_id in &asked.group_ids {
        let id = group_id.to_owned();
        let answered = at_coordinator(state, group_id, async move |coordinator| {
            coordinator.read(|groups| groups.describe_consumer(&id)).await
        });
        found.push(match answered.await.flatten() {
            // No group was ever kept: there is none of this name either.
            Err(Unavailable::NotHere) if offsets_topic(state).is_none() => Ok(None),
            answered => answered,
        });
    }
    let operations = if asked.include_authorized_operations { GROUP_OPERATIONS } else { AUTHORIZED_OPERATIONS_NONE };
    let messages: Vec<String> = asked
        .group_ids
        .iter()
        .map(|group_id| format!("Group {group_id} is not one whose broker assigns, or does not exist."))
        .collect();
    let image = state.topics.image();
    let groups = asked.group_ids.iter().zip(&found).zip(&messages).map(|((group_id, found), message)| {
        let blank = ConsumerGroup { group_id, authorized_operations: operations, ..ConsumerGroup::default() };
        match found {
            Ok(Some(group)) => described(&image, group, blank),
            Ok(None) => {
                ConsumerGroup { error_code: KafkaError::GROUP_ID_NOT_FOUND, error_message: Some(message), ..blank }
            }
            Err(error) => ConsumerGroup { error_code: error_map::of_unavailable(*error), ..blank },
        }
    });
    let reply = ConsumerGroupDescribeReply { groups: groups.collect(), ..ConsumerGroupDescribeReply::default() };
    ticket.answer(connection, &reply)
}

fn described<'a>(
    image: &'a MetadataImage,
    group: &'a ConsumerGroupDescription,
    blank: ConsumerGroup<'a>,
) -> ConsumerGroup<'a> {
    ConsumerGroup {
        error_code: KafkaError::NONE,
        group_state: group.phase.name(),
        group_epoch: group.epoch.0,
        assignment_epoch: group.assignment_epoch.0,
        assignor_name: group.assignor.name(),
        members: group.members.iter().map(|member| member_row(image, member)).collect(),
        ..blank
    }
}

fn member_row<'a>(image: &'a MetadataImage, member: &'a ConsumerMemberDescription) -> ConsumerGroupMember<'a> {
    let asks = &*member.subscription;
    ConsumerGroupMember {
        member_id: member.member_id.as_str(),
        instance_id: asks.instance_id.as_ref().map(InstanceId::as_str),
        rack_id: asks.rack_id.as_deref(),
        member_epoch: member.current.epoch.0,
        client_id: &asks.client_id,
        client_host: &asks.client_host,
        subscribed_topic_names: asks.topics.iter().map(TopicName::as_str).collect(),
        subscribed_topic_regex: asks.pattern.as_deref(),
        assignment: named(image, &member.current.assigned),
        target_assignment: named(image, &member.target),
        member_type: if asks.classic.is_some() { 0 } else { MEMBER_OF_CONSUMER },
    }
}

/// Partitions with the names of their topics; those of topics that are gone are left out.
fn named<'a>(image: &'a MetadataImage, set: &PartitionSet) -> NamedAssignment<'a> {
    let rows = set.topics().filter_map(|(topic_id, rows)| {
        let topic = image.topic(topic_id)?;
        Some(NamedMemberTopic { topic_id, topic_name: &topic.name, partitions: numbers(rows) })
    });
    NamedAssignment { topic_partitions: rows.collect() }
}
