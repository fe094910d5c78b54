//! OffsetCommit, OffsetFetch and OffsetDelete: how far groups have read. Owns the step between the messages and a group's
//! offsets; whether a topic is there is known by the metadata.

use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::group::{
    Caller, CommitPartition, CommitTopic, CommittedOffset, DeleteTopicOffsets, Generation, GroupCoordinator,
    GroupError, OffsetCommitRequest as CommitRequest, Reply, TopicOutcomes,
};
use ouzel_broker_core::{MetadataImage, Topic};
use ouzel_protocol::kafka::{
    Array, KafkaError, OffsetCommitPartition, OffsetCommitPartitionReply, OffsetCommitReply, OffsetCommitRequest,
    OffsetCommitTopicReply, OffsetDeletePartitionReply, OffsetDeleteReply, OffsetDeleteRequest, OffsetDeleteTopicReply,
    OffsetFetchGroupReply, OffsetFetchPartitionReply, OffsetFetchReply, OffsetFetchRequest, OffsetFetchTopic,
    OffsetFetchTopicReply,
};
use ouzel_protocol::{LeaderEpoch, Offset, PartitionIndex};

use super::{Answer, Frame, at_group};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::{CoordinatorRef, Unavailable, at_coordinator};
use crate::kafka::request::{KafkaRequest, Ticket};

/// From here on several groups are asked for at once.
const SEVERAL_FROM: i16 = 8;
/// From here on a commit can be told that its epoch is stale, or that there is no such group.
const EPOCHS_FROM: i16 = 9;
/// From here on a reply has room for one error for the whole.
const WHOLE_ERROR_FROM: i16 = 2;

pub(super) async fn commit(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: OffsetCommitRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| commit_here(&coordinator, &frame).await;
    let refused = |frame: &Frame, error| commit_reply(frame, |_, _| Some(error), &[]);
    at_group(connection, request, ticket, asked.group_id, work, refused).await
}

async fn commit_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: OffsetCommitRequest<'_> = frame.message()?;
    let image = coordinator.state.topics.image();
    let topics = asked.topics.iter().map(|topic| {
        let known = image.topic_named(topic.name).map(|topic| &**topic);
        let rows = topic.partitions.iter().filter(|row| commit_fault(known, row).is_none());
        CommitTopic {
            topic: topic.name,
            topic_id: known.map(|topic| topic.topic_id),
            partitions: rows.filter_map(|row| commit_row(&row)).collect(),
        }
    });
    let wish = CommitRequest {
        caller: Caller {
            member_id: asked.member_id,
            instance_id: asked.group_instance_id,
            generation: Generation(asked.generation_id_or_member_epoch),
        },
        retention_ms: u64::try_from(asked.retention_time_ms).ok(),
        topics: topics.collect(),
    };
    let reply = coordinator.ask(|groups, now, waiter| groups.commit_offsets(now, waiter, asked.group_id, wish)).await;
    let error = match reply {
        Ok(Reply::OffsetCommit(Ok(outcomes))) => {
            return commit_reply(
                frame,
                |name, row| commit_fault(image.topic_named(name).map(|topic| &**topic), row),
                &outcomes,
            );
        }
        // Before that version there is no such error: whoever speaks it cannot be a member of such a group, as Kafka says it.
        Ok(Reply::OffsetCommit(Err(GroupError::StaleMemberEpoch { .. }))) if frame.version < EPOCHS_FROM => {
            KafkaError::UNSUPPORTED_VERSION
        }
        Ok(Reply::OffsetCommit(Err(GroupError::UnknownGroup))) if frame.version >= EPOCHS_FROM => {
            KafkaError::GROUP_ID_NOT_FOUND
        }
        Ok(Reply::OffsetCommit(Err(error))) => error_map::of_commit(&error),
        Ok(other) => unreachable!("a commit was answered with {other:?}"),
        Err(error) => error_map::of_unavailable(error),
    };
    commit_reply(frame, |_, _| Some(error), &[])
}

/// What is wrong with a row before the group is asked.
fn commit_fault(topic: Option<&Topic>, row: &OffsetCommitPartition<'_>) -> Option<KafkaError> {
    let is_there = u32::try_from(row.partition_index)
        .is_ok_and(|index| topic.is_some_and(|topic| topic.partition(PartitionIndex(index)).is_some()));
    if !is_there {
        return Some(KafkaError::UNKNOWN_TOPIC_OR_PARTITION);
    }
    (row.committed_offset < 0).then_some(KafkaError::INVALID_REQUEST)
}

fn commit_row<'a>(row: &OffsetCommitPartition<'a>) -> Option<CommitPartition<'a>> {
    Some(CommitPartition {
        partition: PartitionIndex(u32::try_from(row.partition_index).ok()?),
        offset: Offset(u64::try_from(row.committed_offset).ok()?),
        leader_epoch: u32::try_from(row.committed_leader_epoch).ok().map(LeaderEpoch),
        metadata: row.committed_metadata.unwrap_or_default(),
    })
}

/// One row for each of the request: its own fault, or what the group says of the rows that have none.
fn commit_reply(
    frame: &Frame,
    fault: impl Fn(&str, &OffsetCommitPartition<'_>) -> Option<KafkaError>,
    outcomes: &[TopicOutcomes],
) -> Answer {
    let asked: OffsetCommitRequest<'_> = frame.message()?;
    let mut outcomes = outcomes.iter();
    let topics = asked.topics.iter().map(|topic| {
        let mut rows = outcomes.next().map(|topic| topic.partitions.iter()).unwrap_or_default();
        let partitions = topic.partitions.iter().map(|row| OffsetCommitPartitionReply {
            partition_index: row.partition_index,
            error_code: fault(topic.name, &row).unwrap_or_else(|| {
                rows.next().map_or(KafkaError::UNKNOWN_SERVER_ERROR, |row| code(row.outcome.as_ref().err()))
            }),
        });
        OffsetCommitTopicReply { name: topic.name, partitions: partitions.collect() }
    });
    frame.reply(&OffsetCommitReply { topics: topics.collect(), ..OffsetCommitReply::default() })
}

fn code(error: Option<&GroupError>) -> KafkaError {
    error.map_or(KafkaError::NONE, error_map::of_commit)
}

/// One topic's rows of an answer to OffsetFetch.
struct FetchedTopic {
    name: String,
    rows: Vec<(i32, Option<CommittedOffset>)>,
}

/// What is asked of one group: topics with partitions, or all.
type Wanted = Option<Vec<(String, Vec<i32>)>>;

/// Who asks, where the group's broker assigns: a member, in its epoch. Others say nothing of themselves.
type Asker = (Option<String>, Generation);

pub(super) async fn fetch(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: OffsetFetchRequest<'_> = request.message()?;
    if request.version < SEVERAL_FROM {
        let wanted = wanted(asked.topics.as_ref());
        let nobody = (None, Generation::NONE);
        let found = fetch_group(connection, asked.group_id, nobody, wanted.clone()).await;
        let (topics, error) = outcome(found, &wanted);
        // Old clients look for the error in each row.
        let row_error = if request.version < WHOLE_ERROR_FROM { error } else { KafkaError::NONE };
        let reply = OffsetFetchReply {
            topics: topic_rows(&topics, row_error),
            error_code: error,
            ..OffsetFetchReply::default()
        };
        return ticket.answer(connection, &reply);
    }
    let mut found = Vec::with_capacity(asked.groups.len());
    for group in &asked.groups {
        let wanted = wanted(group.topics.as_ref());
        let asker = (group.member_id.map(str::to_owned), Generation(group.member_epoch));
        found.push(outcome(fetch_group(connection, group.group_id, asker, wanted.clone()).await, &wanted));
    }
    let groups = asked.groups.iter().zip(&found).map(|(group, (topics, error))| OffsetFetchGroupReply {
        group_id: group.group_id,
        topics: topic_rows(topics, KafkaError::NONE),
        error_code: *error,
    });
    ticket.answer(connection, &OffsetFetchReply { groups: groups.collect(), ..OffsetFetchReply::default() })
}

fn wanted(topics: Option<&Array<'_, OffsetFetchTopic<'_>>>) -> Wanted {
    let topic = |topic: OffsetFetchTopic<'_>| (topic.name.to_owned(), topic.partition_indexes.iter().collect());
    topics.map(|topics| topics.iter().map(topic).collect())
}

async fn fetch_group(
    connection: &Rc<Connection>,
    group_id: &str,
    (member_id, epoch): Asker,
    wanted: Wanted,
) -> Result<Vec<FetchedTopic>, KafkaError> {
    let id = group_id.to_owned();
    let answered = at_coordinator(&connection.state, group_id, async move |coordinator| {
        let image = coordinator.state.topics.image();
        let answer = |groups: &GroupCoordinator| {
            groups.check_fetch(&id, member_id.as_deref(), epoch)?;
            Ok(fetched(groups, &image, &id, wanted))
        };
        coordinator.read(answer).await
    });
    let answered: Result<Result<_, GroupError>, Unavailable> = answered.await.flatten();
    answered.map_err(error_map::of_unavailable)?.map_err(|error| error_map::of_group(&error))
}

fn fetched(groups: &GroupCoordinator, image: &MetadataImage, group_id: &str, wanted: Wanted) -> Vec<FetchedTopic> {
    let offsets = groups.group(group_id).map(|group| group.offsets());
    let present_id = |name: &str| image.topic_named(name).map(|topic| topic.topic_id);
    let one = |name: &str, index: i32| {
        let partition = PartitionIndex(u32::try_from(index).ok()?);
        offsets?.fetch(name, present_id(name), partition)
    };
    if let Some(wanted) = wanted {
        let topic = |(name, indexes): (String, Vec<i32>)| {
            let rows = indexes.into_iter().map(|index| (index, one(&name, index))).collect();
            FetchedTopic { name, rows }
        };
        return wanted.into_iter().map(topic).collect();
    }
    let Some(offsets) = offsets else { return Vec::new() };
    let all = offsets.topics().map(|name| {
        let rows = offsets.of_topic(name.as_str()).filter_map(|(partition, _)| {
            let index = i32::try_from(partition.0).ok()?;
            Some((index, Some(one(name.as_str(), index)?)))
        });
        FetchedTopic { name: name.as_str().to_owned(), rows: rows.collect() }
    });
    all.filter(|topic| !topic.rows.is_empty()).collect()
}

/// Rows and the error for all of them; without a coordinator, rows without an offset.
fn outcome(found: Result<Vec<FetchedTopic>, KafkaError>, wanted: &Wanted) -> (Vec<FetchedTopic>, KafkaError) {
    match found {
        Ok(topics) => (topics, KafkaError::NONE),
        Err(error) => {
            let blank = wanted.iter().flatten().map(|(name, indexes)| FetchedTopic {
                name: name.clone(),
                rows: indexes.iter().map(|index| (*index, None)).collect(),
            });
            (blank.collect(), error)
        }
    }
}

fn topic_rows(topics: &[FetchedTopic], error_code: KafkaError) -> Array<'_, OffsetFetchTopicReply<'_>> {
    topics.iter().map(|topic| topic_row(topic, error_code)).collect()
}

fn topic_row(topic: &FetchedTopic, error_code: KafkaError) -> OffsetFetchTopicReply<'_> {
    let rows = topic.rows.iter();
    OffsetFetchTopicReply {
        name: &topic.name,
        partitions: rows.map(|(index, commit)| fetch_row(*index, commit.as_ref(), error_code)).collect(),
    }
}

fn fetch_row(index: i32, commit: Option<&CommittedOffset>, error_code: KafkaError) -> OffsetFetchPartitionReply<'_> {
    let epoch = commit.and_then(|commit| commit.leader_epoch).and_then(|epoch| i32::try_from(epoch.0).ok());
    OffsetFetchPartitionReply {
        partition_index: index,
        committed_offset: commit.map_or(-1, |commit| i64::try_from(commit.offset.0).unwrap_or(i64::MAX)),
        committed_leader_epoch: epoch.unwrap_or(-1),
        metadata: Some(commit.map_or("", |commit| &commit.metadata)),
        error_code,
    }
}

pub(super) async fn delete(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: OffsetDeleteRequest<'_> = request.message()?;
    let work = async |coordinator: CoordinatorRef, frame: Arc<Frame>| delete_here(&coordinator, &frame).await;
    at_group(connection, request, ticket, asked.group_id, work, delete_refused).await
}

async fn delete_here(coordinator: &CoordinatorRef, frame: &Frame) -> Answer {
    let asked: OffsetDeleteRequest<'_> = frame.message()?;
    // A number below 0 is no partition's; the last one there could be stands for it, and has no offset.
    let number = |index: i32| PartitionIndex(u32::try_from(index).unwrap_or(u32::MAX));
    let topics: Vec<DeleteTopicOffsets<'_>> = asked
        .topics
        .iter()
        .map(|topic| DeleteTopicOffsets {
            topic: topic.name,
            partitions: topic.partitions.iter().map(|row| number(row.partition_index)).collect(),
        })
        .collect();
    let reply = coordinator.ask(|groups, _, waiter| groups.delete_offsets(waiter, asked.group_id, &topics)).await;
    let outcomes = match reply {
        Ok(Reply::OffsetDelete(Ok(outcomes))) => outcomes,
        Ok(Reply::OffsetDelete(Err(error))) => return delete_refused(frame, error_map::of_group(&error)),
        Ok(other) => unreachable!("a deletion was answered with {other:?}"),
        Err(error) => return delete_refused(frame, error_map::of_unavailable(error)),
    };
    let image = coordinator.state.topics.image();
    let topics = asked.topics.iter().zip(&outcomes).map(|(topic, outcomes)| {
        let is_known = image.topic_named(topic.name).is_some();
        let rows = topic.partitions.iter().zip(&outcomes.partitions);
        OffsetDeleteTopicReply {
            name: topic.name,
            partitions: rows
                .map(|(row, outcome)| OffsetDeletePartitionReply {
                    partition_index: row.partition_index,
                    error_code: match &outcome.outcome {
                        Ok(()) if !is_known => KafkaError::UNKNOWN_TOPIC_OR_PARTITION,
                        outcome => outcome.as_ref().err().map_or(KafkaError::NONE, error_map::of_group),
                    },
                })
                .collect(),
        }
    });
    frame.reply(&OffsetDeleteReply { topics: topics.collect(), ..OffsetDeleteReply::default() })
}

fn delete_refused(frame: &Frame, error_code: KafkaError) -> Answer {
    frame.reply(&OffsetDeleteReply { error_code, ..OffsetDeleteReply::default() })
}
