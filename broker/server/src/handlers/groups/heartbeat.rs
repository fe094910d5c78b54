//! GroupHeartbeat: a member of a group whose broker assigns. Owns the step to the event that Kafka's message is, too: members
//! of both protocols are in one group.

use std::rc::Rc;

use ouzel_broker_core::MetadataImage;
use ouzel_broker_core::group::{Effects, GroupError, HeartbeatCaller, PartitionSet, Reply, TopicPartition};
use ouzel_protocol::kafka::{ConsumerGroupHeartbeatRequest, MemberTopic};
use ouzel_protocol::native::{AssignedTopic, GroupHeartbeatReply, GroupHeartbeatRequest, OwnedTopic};
use ouzel_protocol::{ErrorCode, MemberEpoch};

use super::{Refusal, ensure_kept};
use crate::connection::Connection;
use crate::error_map;
use crate::groups::{CoordinatorRef, at_coordinator, heartbeat_interval_ms};

/// Who sent a heartbeat, as far as the message does not say.
struct Sender {
    client_id: String,
    /// As Kafka shows it: `/127.0.0.1`.
    client_host: String,
}

pub(super) async fn answer(
    connection: &Rc<Connection>,
    asked: GroupHeartbeatRequest,
) -> Result<GroupHeartbeatReply, Refusal> {
    let state = &connection.state;
    if asked.member_epoch == MemberEpoch::JOIN {
        ensure_kept(state).await?;
    }
    let sender = Sender {
        client_id: connection.client.get().cloned().unwrap_or_default(),
        client_host: format!("/{}", connection.peer.ip().to_canonical()),
    };
    let group_id = asked.group_id.clone();
    at_coordinator(state, &group_id, async move |coordinator| heard_here(&coordinator, &asked, &sender).await).await?
}

async fn heard_here(
    coordinator: &CoordinatorRef,
    asked: &GroupHeartbeatRequest,
    sender: &Sender,
) -> Result<GroupHeartbeatReply, Refusal> {
    let event = ConsumerGroupHeartbeatRequest {
        group_id: &asked.group_id,
        member_id: &asked.member_id,
        member_epoch: asked.member_epoch.0,
        instance_id: asked.instance_id.as_deref(),
        rack_id: None,
        rebalance_timeout_ms: asked.rebalance_timeout_ms.map_or(-1, |ms| i32::try_from(ms).unwrap_or(i32::MAX)),
        subscribed_topic_names: asked.topics.as_ref().map(|topics| topics.iter().map(String::as_str).collect()),
        subscribed_topic_regex: asked.pattern.as_deref(),
        server_assignor: asked.assignor.as_deref(),
        topic_partitions: asked.owned.as_ref().map(|topics| topics.iter().map(owned_topic).collect()),
    };
    let caller = HeartbeatCaller {
        client_id: &sender.client_id,
        client_host: &sender.client_host,
        drawn: rand::random(),
        makes_its_id: true,
    };
    let reply = coordinator.ask(|groups, now, waiter| {
        let mut effects = Effects::new();
        groups.consumer_heartbeat(now, waiter, &event, caller, &mut effects);
        effects
    });
    match reply.await? {
        Reply::ConsumerHeartbeat(Ok(outcome)) => Ok(GroupHeartbeatReply {
            member_epoch: MemberEpoch(outcome.epoch.0),
            heartbeat_interval_ms: heartbeat_interval_ms(&coordinator.state, &outcome),
            assignment: outcome.assignment.map(|set| named(&coordinator.state.topics.image(), &set)),
        }),
        Reply::ConsumerHeartbeat(Err(error)) => Err(refused(&error)),
        other => unreachable!("a heartbeat was answered with {other:?}"),
    }
}

fn refused(error: &GroupError) -> Refusal {
    match error {
        // Whoever was in a group that is gone joins again.
        GroupError::UnknownGroup => {
            Refusal { error: ErrorCode::UnknownMemberId, message: GroupError::UnknownMember.to_string() }
        }
        error => Refusal { error: error_map::native_of_group(error), message: error.to_string() },
    }
}

fn owned_topic(topic: &OwnedTopic) -> MemberTopic<'static> {
    // A number that Kafka's field cannot hold is no partition's.
    let numbers = topic.partitions.iter().filter_map(|partition| i32::try_from(partition.0).ok());
    MemberTopic { topic_id: topic.topic_id, partitions: numbers.collect() }
}

/// Partitions with the names of their topics; those of topics that are gone are left out.
pub(super) fn named(image: &MetadataImage, set: &PartitionSet) -> Vec<AssignedTopic> {
    let number = |row: &TopicPartition| row.partition;
    let topics = set.topics().filter_map(|(topic_id, rows)| {
        let name = image.topic(topic_id)?.name.clone();
        Some(AssignedTopic { topic_id, name, partitions: rows.iter().map(number).collect() })
    });
    topics.collect()
}
