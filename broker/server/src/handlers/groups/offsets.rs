//! OffsetCommit, OffsetFetch and DeleteOffsets: how far a group has read. Owns the step between rows by topic id and a group's
//! offsets, which go by name; whether a topic is there is known by the metadata.

use std::rc::Rc;

use ouzel_broker_core::group::{
    Caller, CommitPartition, CommitTopic, CommittedOffset, DeleteTopicOffsets, Generation, GroupCoordinator,
    GroupError, OffsetCommitRequest as CommitRequest, Reply, TopicOutcomes,
};
use ouzel_broker_core::{MetadataImage, Topic};
use ouzel_protocol::native::limits::TOPICS_MAX;
use ouzel_protocol::native::{
    CommitRow, CommittedRow, DeleteOffsetsReply, DeleteOffsetsRequest, GroupPartition, GroupPartitionResult,
    OffsetCommitReply, OffsetCommitRequest, OffsetFetchReply, OffsetFetchRequest, TopicOffsets,
};
use ouzel_protocol::{ErrorCode, LeaderEpoch, PartitionIndex, TopicId};

use super::{Refusal, ensure_kept, look_up};
use crate::error_map;
use crate::groups::{CoordinatorRef, at_coordinator, is_any_group_kept};
use crate::shard::ShardState;

pub(super) async fn commit(state: &Rc<ShardState>, asked: OffsetCommitRequest) -> Result<OffsetCommitReply, Refusal> {
    ensure_kept(state).await?;
    look_up(state, asked.partitions.iter().map(|row| row.topic_id)).await;
    let group_id = asked.group_id.clone();
    at_coordinator(state, &group_id, async move |coordinator| commit_here(&coordinator, &asked).await).await?
}

async fn commit_here(coordinator: &CoordinatorRef, asked: &OffsetCommitRequest) -> Result<OffsetCommitReply, Refusal> {
    let image = coordinator.state.topics.image();
    let fault = |row: &CommitRow| fault(image.topic(row.topic_id).map(|topic| &**topic), row.partition);
    let of_topics = asked.partitions.chunk_by(|a, b| a.topic_id == b.topic_id);
    let topics = of_topics.filter_map(|rows| {
        let topic = image.topic(rows.first()?.topic_id)?;
        let partitions = rows.iter().filter(|row| fault(row).is_none()).map(commit_row).collect();
        Some(CommitTopic { topic: &topic.name, topic_id: Some(topic.topic_id), partitions })
    });
    let member = asked.member.as_ref();
    let wish = CommitRequest {
        caller: Caller {
            member_id: member.map_or("", |member| &member.member_id),
            instance_id: member.and_then(|member| member.instance_id.as_deref()),
            generation: member.map_or(Generation::NONE, |member| Generation(member.epoch.0)),
        },
        retention_ms: None,
        topics: topics.collect(),
    };
    let reply = coordinator.ask(|groups, now, waiter| groups.commit_offsets(now, waiter, &asked.group_id, wish)).await;
    let outcomes = match reply? {
        Reply::OffsetCommit(Ok(outcomes)) => outcomes,
        Reply::OffsetCommit(Err(error)) => return Err(Refusal::by_commit(&error)),
        other => unreachable!("a commit was answered with {other:?}"),
    };
    let rows = asked.partitions.iter().map(|row| (row.topic_id, row.partition, fault(row)));
    Ok(OffsetCommitReply { partitions: results(rows, &outcomes, error_map::native_of_commit) })
}

/// What is wrong with a row before the group is asked.
fn fault(topic: Option<&Topic>, partition: PartitionIndex) -> Option<ErrorCode> {
    let Some(topic) = topic else { return Some(ErrorCode::UnknownTopicId) };
    topic.partition(partition).is_none().then_some(ErrorCode::UnknownTopicOrPartition)
}

fn commit_row(row: &CommitRow) -> CommitPartition<'_> {
    // Kafka's field is one of 31 bits, and what is stored is Kafka's.
    let is_known = |epoch: &LeaderEpoch| i32::try_from(epoch.0).is_ok();
    CommitPartition {
        partition: row.partition,
        offset: row.offset,
        leader_epoch: row.leader_epoch.filter(is_known),
        metadata: &row.metadata,
    }
}

/// One result for each row: its own fault, or what the group says of the rows that have none.
fn results(
    rows: impl Iterator<Item = (TopicId, PartitionIndex, Option<ErrorCode>)>,
    outcomes: &[TopicOutcomes],
    code: impl Fn(&GroupError) -> ErrorCode,
) -> Vec<GroupPartitionResult> {
    let mut outcomes = outcomes.iter().flat_map(|topic| &topic.partitions);
    let mut outcome = || match outcomes.next().map(|row| &row.outcome) {
        Some(Ok(())) => ErrorCode::None,
        Some(Err(error)) => code(error),
        None => ErrorCode::Unknown,
    };
    rows.map(|(topic_id, partition, fault)| {
        let error = fault.unwrap_or_else(&mut outcome);
        GroupPartitionResult { topic_id, partition, error }
    })
    .collect()
}

pub(super) async fn fetch(state: &Rc<ShardState>, asked: OffsetFetchRequest) -> Result<OffsetFetchReply, Refusal> {
    if !is_any_group_kept(state).await {
        return Ok(OffsetFetchReply { topics: Vec::new() });
    }
    look_up(state, asked.partitions.iter().flatten().map(|row| row.topic_id)).await;
    let group_id = asked.group_id.clone();
    let answered = at_coordinator(state, &group_id, async move |coordinator| {
        let image = coordinator.state.topics.image();
        coordinator.read(|groups| fetched(groups, &image, &asked)).await
    });
    let topics = answered.await.flatten()?;
    if topics.len() > TOPICS_MAX {
        let message = format!("the group has offsets of {} topics, an answer of at most {TOPICS_MAX}", topics.len());
        return Err(Refusal { error: ErrorCode::PolicyViolation, message });
    }
    Ok(OffsetFetchReply { topics })
}

fn fetched(groups: &GroupCoordinator, image: &MetadataImage, asked: &OffsetFetchRequest) -> Vec<TopicOffsets> {
    let Some(group) = groups.group(&asked.group_id) else { return Vec::new() };
    let offsets = group.offsets();
    let mut topics = Vec::new();
    match &asked.partitions {
        Some(rows) => {
            for rows in rows.chunk_by(|a, b| a.topic_id == b.topic_id) {
                let Some(topic) = rows.first().and_then(|row| image.topic(row.topic_id)) else { continue };
                let one = |partition| offsets.fetch(&topic.name, Some(topic.topic_id), partition);
                let found = rows.iter().filter_map(|row| Some(committed(row.partition, one(row.partition)?)));
                topics.push(TopicOffsets {
                    topic_id: topic.topic_id,
                    name: topic.name.clone(),
                    partitions: found.collect(),
                });
            }
        }
        None => {
            for name in offsets.topics() {
                let topic_id = image.topic_named(name.as_str()).map(|topic| topic.topic_id);
                let rows = offsets.of_topic(name.as_str()).filter_map(|(partition, _)| {
                    Some(committed(partition, offsets.fetch(name.as_str(), topic_id, partition)?))
                });
                topics.push(TopicOffsets {
                    topic_id: topic_id.unwrap_or(TopicId(0)),
                    name: name.to_string(),
                    partitions: rows.collect(),
                });
            }
        }
    }
    topics.retain(|topic| !topic.partitions.is_empty());
    topics
}

fn committed(partition: PartitionIndex, commit: CommittedOffset) -> CommittedRow {
    let CommittedOffset { offset, leader_epoch, metadata, .. } = commit;
    CommittedRow { partition, offset, leader_epoch, metadata: metadata.into_string() }
}

pub(super) async fn delete(state: &Rc<ShardState>, asked: DeleteOffsetsRequest) -> Result<DeleteOffsetsReply, Refusal> {
    if !is_any_group_kept(state).await {
        return Err(Refusal::no_group());
    }
    look_up(state, asked.partitions.iter().map(|row| row.topic_id)).await;
    let group_id = asked.group_id.clone();
    at_coordinator(state, &group_id, async move |coordinator| delete_here(&coordinator, &asked).await).await?
}

async fn delete_here(
    coordinator: &CoordinatorRef,
    asked: &DeleteOffsetsRequest,
) -> Result<DeleteOffsetsReply, Refusal> {
    let image = coordinator.state.topics.image();
    let of_topics = asked.partitions.chunk_by(|a, b| a.topic_id == b.topic_id);
    let topics = of_topics.filter_map(|rows| {
        let topic = image.topic(rows.first()?.topic_id)?;
        Some(DeleteTopicOffsets { topic: &topic.name, partitions: rows.iter().map(|row| row.partition).collect() })
    });
    let topics: Vec<DeleteTopicOffsets<'_>> = topics.collect();
    let reply = coordinator.ask(|groups, _, waiter| groups.delete_offsets(waiter, &asked.group_id, &topics)).await;
    let outcomes = match reply? {
        Reply::OffsetDelete(Ok(outcomes)) => outcomes,
        Reply::OffsetDelete(Err(error)) => return Err(Refusal::by_group(&error)),
        other => unreachable!("a deletion was answered with {other:?}"),
    };
    let rows = asked.partitions.iter().map(|GroupPartition { topic_id, partition }| {
        let fault = image.topic(*topic_id).is_none().then_some(ErrorCode::UnknownTopicId);
        (*topic_id, *partition, fault)
    });
    Ok(DeleteOffsetsReply { partitions: results(rows, &outcomes, error_map::native_of_group) })
}
