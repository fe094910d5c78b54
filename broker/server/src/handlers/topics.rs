//! Topics: create, delete, alter, describe, list. Changes go to the metadata plane and are answered when every shard has
//! acted on them; descriptions ask each partition's owner.

use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::{Command, MetadataError, Topic};
use ouzel_protocol::native::{
    AlterTopicRequest, Api, CreateTopicReply, CreateTopicRequest, DeleteTopicRequest, DescribeTopicReply,
    DescribeTopicRequest, DescribedPartition, ListTopicsReply, ListTopicsRequest, StatusReply, reply_frame,
};
use ouzel_protocol::{ErrorCode, TopicId};

use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::groups::OFFSETS_TOPIC;
use crate::handlers::{of_owners, refresh};
use crate::lanes::{PartitionRef, PartitionStatus, ShardRequest};
use crate::metadata_plane::{Changed, PlaneMessage, ProposeError};
use crate::owner;
use crate::request::Request;
use crate::shard::ShardState;

pub(crate) async fn create(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let CreateTopicRequest { name, partitions, replication_factor, configs } =
        CreateTopicRequest::decode(&request.body)?;
    let topic_id = TopicId(rand::random::<u128>().max(1));
    let command = Command::CreateTopic { name, topic_id, partitions, replication_factor, configs };
    let reply = match propose(&connection.state, command).await {
        Ok(message) => CreateTopicReply { error: ErrorCode::None, message, topic_id },
        Err((error, message)) => CreateTopicReply { error, message, topic_id: TopicId(0) },
    };
    connection.reply(reply_frame(Api::CreateTopic, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

pub(crate) async fn delete(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let DeleteTopicRequest { name } = DeleteTopicRequest::decode(&request.body)?;
    let reply = status(propose(&connection.state, Command::DeleteTopic { name }).await);
    connection.reply(reply_frame(Api::DeleteTopic, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

pub(crate) async fn alter(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let AlterTopicRequest { name, partitions, configs } = AlterTopicRequest::decode(&request.body)?;
    let reply = status(propose(&connection.state, Command::AlterTopic { name, partitions, configs }).await);
    connection.reply(reply_frame(Api::AlterTopic, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

pub(crate) async fn describe(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let DescribeTopicRequest { name } = DescribeTopicRequest::decode(&request.body)?;
    let state = &connection.state;
    if state.topics.image().topic_named(&name).is_none() {
        refresh(state).await;
    }
    let topic = state.topics.image().topic_named(&name).cloned();
    let reply = match topic {
        Some(topic) => described(state, &topic).await,
        None => {
            let refusal = MetadataError::UnknownTopic { name: name.clone() };
            DescribeTopicReply {
                error: error_map::of_metadata(&refusal),
                message: refusal.to_string(),
                name,
                topic_id: TopicId(0),
                configs: Vec::new(),
                partitions: Vec::new(),
            }
        }
    };
    connection
        .reply(reply_frame(Api::DescribeTopic, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

pub(crate) async fn list(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let ListTopicsRequest {} = ListTopicsRequest::decode(&request.body)?;
    refresh(&connection.state).await;
    let image = connection.state.topics.image();
    let count = |topic: &Topic| u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let topics = image.topics().map(|topic| (topic.name.clone(), topic.topic_id, count(topic)));
    let reply = ListTopicsReply { topics: topics.collect() };
    connection.reply(reply_frame(Api::ListTopics, request.header.correlation, |out| reply.encode(out)), request.held);
    Ok(())
}

/// Proposes a command; `Ok` holds what could not be done although it is committed, in words, usually nothing.
pub(crate) async fn propose(state: &ShardState, command: Command) -> Result<String, (ErrorCode, String)> {
    if state.stopping.is_set() {
        return Err((ErrorCode::ShuttingDown, ErrorCode::ShuttingDown.to_string()));
    }
    let outcome = state.metadata_peer().ask_plane(|reply| PlaneMessage::Propose { command, reply }).await;
    match outcome {
        Ok(Ok(Changed { shortfall })) => Ok(shortfall.unwrap_or_default()),
        Ok(Err(refusal)) => {
            let code = match &refusal {
                ProposeError::Refused(error) => error_map::of_metadata(error),
                ProposeError::Log(error) => error_map::of_metadata_log(error),
            };
            Err((code, refusal.to_string()))
        }
        Err(_) => Err((ErrorCode::ShardUnavailable, ErrorCode::ShardUnavailable.to_string())),
    }
}

/// Creates a topic with the defaults. Whoever comes second finds it there.
pub(crate) async fn create_with_defaults(state: &ShardState, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    let topic_id = TopicId(rand::random::<u128>().max(1));
    let command = if name == OFFSETS_TOPIC {
        Command::create_offsets_topic(topic_id)
    } else {
        Command::CreateTopic {
            name: name.to_owned(),
            topic_id,
            partitions: state.topic_defaults.partitions,
            replication_factor: 0,
            configs: Vec::new(),
        }
    };
    match propose(state, command).await {
        Ok(_) | Err((ErrorCode::TopicAlreadyExists, _)) => {}
        Err((error, _)) => return Err(error),
    }
    refresh(state).await;
    state.topics.image().topic_named(name).cloned().ok_or(ErrorCode::LeaderNotAvailable)
}

fn status(outcome: Result<String, (ErrorCode, String)>) -> StatusReply {
    match outcome {
        Ok(message) => StatusReply { error: ErrorCode::None, message },
        Err((error, message)) => StatusReply { error, message },
    }
}

/// Asks the owner of each partition what there is to know of it, in the order of the rows.
pub(crate) async fn statuses(state: &ShardState, rows: &[PartitionRef]) -> Vec<PartitionStatus> {
    let rows: Vec<(PartitionRef, ())> = rows.iter().map(|at| (*at, ())).collect();
    let places = |rows: &[(PartitionRef, ())]| rows.iter().map(|(at, ())| *at).collect::<Vec<_>>();
    of_owners(
        state,
        &rows,
        |_| PartitionStatus::OFFLINE,
        async |rows| owner::status(state, &places(rows)),
        |version, rows, reply| ShardRequest::Status { version, rows: places(&rows), reply },
    )
    .await
}

async fn described(state: &ShardState, topic: &Topic) -> DescribeTopicReply {
    let rows: Vec<PartitionRef> =
        topic.indexed().map(|(partition, _)| PartitionRef { topic_id: topic.topic_id, partition }).collect();
    let statuses = statuses(state, &rows).await;
    let partitions = topic.indexed().zip(statuses).map(|((index, partition), status)| DescribedPartition {
        index,
        shard: partition.shard,
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        log_start: status.log_start,
        end_offset: status.end_offset,
        bytes: status.bytes,
        state: status.state.to_owned(),
    });
    let configs =
        topic.config.describe().into_iter().map(|entry| (entry.key.to_owned(), entry.value, entry.is_default));
    DescribeTopicReply {
        error: ErrorCode::None,
        message: String::new(),
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        configs: configs.collect(),
        partitions: partitions.collect(),
    }
}
