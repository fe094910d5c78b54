//! CreateTopics, DeleteTopics and CreatePartitions: commands to the metadata plane, one a topic, each answered when every shard
//! has acted on it. Where a request only asks whether it would work, the command is judged by this shard's image.

use std::collections::BTreeMap;
use std::rc::Rc;

use ouzel_broker_core::{Command, Topic};
use ouzel_protocol::TopicId;
use ouzel_protocol::kafka::{
    CreatableTopic, CreatePartitionsReply, CreatePartitionsRequest, CreatePartitionsResult, CreatePartitionsTopic,
    CreateTopicsReply, CreateTopicsRequest, CreatedConfig, CreatedTopic, DeletableTopic, DeleteTopicsReply,
    DeleteTopicsRequest, DeletedTopic, KafkaError,
};

use super::request::{KafkaRequest, Ticket};
use super::{configs, metadata, names};
use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::{propose, refresh};
use crate::shard::ShardState;

/// Why something was not done: the number, and a sentence for a person.
pub(super) type Refusal = (KafkaError, String);

/// What stands for "as the broker likes" in counts of partitions and replicas (KIP-464).
const DEFAULT_COUNT: i32 = -1;

/// From here on topics are deleted by id as well as by name.
const BY_ID_FROM: i16 = 6;

fn refusal(error: KafkaError, message: impl Into<String>) -> Refusal {
    (error, message.into())
}

/// Makes a change, or judges it only.
pub(super) async fn change(state: &ShardState, command: Command, judge_only: bool) -> Result<(), Refusal> {
    let of_code = |(code, message)| (error_map::kafka(code), message);
    if judge_only {
        let judged = state.topics.image().propose(command);
        return judged.map(drop).map_err(|error| of_code((error_map::of_metadata(&error), error.to_string())));
    }
    propose(state, command).await.map(drop).map_err(of_code)
}

/// Names that a request has more than once: none of those is touched, since nobody knows which row was meant.
fn doubled<'a>(names: impl Iterator<Item = &'a str>) -> impl Fn(&str) -> bool {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name.to_owned()).or_insert(0) += 1);
    move |name| counts.get(name).is_some_and(|count| *count > 1)
}

pub(crate) async fn create(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: CreateTopicsRequest<'_> = request.message()?;
    let state = &connection.state;
    let is_doubled = doubled(asked.topics.iter().map(|topic| topic.name));
    let mut created = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let result = if is_doubled(topic.name) {
            Err(refusal(KafkaError::INVALID_REQUEST, format!("topic {} is there more than once", topic.name)))
        } else {
            create_one(state, &topic, asked.validate_only).await
        };
        created.push(result);
    }
    refresh(state).await;
    // Owned until the reply is written: a row borrows the words of its settings.
    let known: Vec<_> = asked.topics.iter().map(|topic| names::topic(state, topic.name)).collect();
    let settings: Vec<_> =
        known.iter().map(|topic| topic.as_ref().map(|topic| topic.config.describe()).unwrap_or_default()).collect();
    let rows = asked.topics.iter().zip(&created).zip(known.iter().zip(&settings));
    let topics = rows.map(|((asked, result), (topic, settings))| match result {
        Err((error_code, message)) => CreatedTopic {
            name: asked.name,
            error_code: *error_code,
            error_message: Some(message),
            ..CreatedTopic::default()
        },
        Ok(counts) => CreatedTopic {
            name: asked.name,
            topic_id: topic.as_ref().map_or(TopicId(0), |topic| topic.topic_id),
            error_code: KafkaError::NONE,
            error_message: None,
            num_partitions: *counts,
            replication_factor: 1,
            configs: Some(
                settings
                    .iter()
                    .map(|entry| CreatedConfig {
                        name: entry.key,
                        value: Some(&entry.value),
                        config_source: configs::source(entry),
                        ..CreatedConfig::default()
                    })
                    .collect(),
            ),
            ..CreatedTopic::default()
        },
    });
    let reply = CreateTopicsReply { topics: topics.collect(), ..CreateTopicsReply::default() };
    ticket.answer(connection, &reply)
}

/// Creates a topic, or finds out whether that would work; returns the number of its partitions.
async fn create_one(state: &ShardState, topic: &CreatableTopic<'_>, judge_only: bool) -> Result<i32, Refusal> {
    let count = partition_count(state, topic)?;
    let replication_factor = match topic.replication_factor {
        -1 => 0,
        0 => return Err(refusal(KafkaError::INVALID_REPLICATION_FACTOR, "a topic has at least one replica")),
        asked => u16::try_from(asked)
            .map_err(|_| refusal(KafkaError::INVALID_REPLICATION_FACTOR, format!("{asked} replicas cannot be")))?,
    };
    let configs = topic.configs.iter().map(|config| match config.value {
        Some(value) => Ok((config.name.to_owned(), value.to_owned())),
        None => Err(refusal(KafkaError::INVALID_CONFIG, format!("{} has no value", config.name))),
    });
    let command = Command::CreateTopic {
        name: topic.name.to_owned(),
        topic_id: TopicId(rand::random::<u128>().max(1)),
        partitions: u32::try_from(count).unwrap_or(0),
        replication_factor,
        configs: configs.collect::<Result<_, _>>()?,
    };
    change(state, command, judge_only).await?;
    Ok(count)
}

/// The number of partitions that a row asks for, in one of its three ways.
fn partition_count(state: &ShardState, topic: &CreatableTopic<'_>) -> Result<i32, Refusal> {
    if topic.assignments.is_empty() {
        return match topic.num_partitions {
            DEFAULT_COUNT => Ok(i32::try_from(state.topic_defaults.partitions).unwrap_or(i32::MAX)),
            count @ 1.. => Ok(count),
            got => Err(refusal(KafkaError::INVALID_PARTITIONS, format!("a topic of {got} partitions cannot be"))),
        };
    }
    if topic.num_partitions != DEFAULT_COUNT || topic.replication_factor != -1 {
        let message = "where partitions are placed by hand, their number and that of replicas must be -1";
        return Err(refusal(KafkaError::INVALID_REQUEST, message));
    }
    let mut numbers: Vec<i32> = topic.assignments.iter().map(|row| row.partition_index).collect();
    numbers.sort_unstable();
    let count = i32::try_from(numbers.len()).unwrap_or(i32::MAX);
    if !numbers.into_iter().eq(0..count) {
        let message = "the partitions that are placed must be numbered from 0 without a gap";
        return Err(refusal(KafkaError::INVALID_REPLICA_ASSIGNMENT, message));
    }
    for row in &topic.assignments {
        check_nodes(state, row.broker_ids.iter())?;
    }
    Ok(count)
}

/// Replicas on other nodes come with replication; until then a partition lives on this one alone.
fn check_nodes(state: &ShardState, nodes: impl Iterator<Item = i32>) -> Result<(), Refusal> {
    let this = metadata::node(state.node);
    if nodes.eq([this]) {
        return Ok(());
    }
    Err(refusal(KafkaError::INVALID_REPLICA_ASSIGNMENT, format!("partitions can be placed on node {this} alone")))
}

pub(crate) async fn delete(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DeleteTopicsRequest<'_> = request.message()?;
    let state = &connection.state;
    let rows: Vec<DeletableTopic<'_>> = if request.version >= BY_ID_FROM {
        asked.topics.iter().collect()
    } else {
        let by_name = |name| DeletableTopic { name: Some(name), topic_id: TopicId(0) };
        asked.topic_names.iter().map(by_name).collect()
    };
    refresh(state).await;
    let mut deleted = Vec::with_capacity(rows.len());
    for row in &rows {
        deleted.push(delete_one(state, row).await);
    }
    let responses = rows.iter().zip(&deleted).map(|(row, result)| match result {
        Ok(topic) => DeletedTopic {
            name: Some(&topic.name),
            topic_id: topic.topic_id,
            error_code: KafkaError::NONE,
            error_message: None,
        },
        Err((error_code, message)) => DeletedTopic {
            name: row.name,
            topic_id: row.topic_id,
            error_code: *error_code,
            error_message: Some(message),
        },
    });
    let reply = DeleteTopicsReply { responses: responses.collect(), ..DeleteTopicsReply::default() };
    ticket.answer(connection, &reply)
}

async fn delete_one(state: &ShardState, row: &DeletableTopic<'_>) -> Result<std::sync::Arc<Topic>, Refusal> {
    let found = match row.name {
        Some(name) => names::topic(state, name)
            .ok_or_else(|| refusal(KafkaError::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}"))),
        None => state
            .topics
            .image()
            .topic(row.topic_id)
            .cloned()
            .ok_or_else(|| refusal(KafkaError::UNKNOWN_TOPIC_ID, format!("no topic has the id {}", row.topic_id))),
    };
    let topic = found?;
    change(state, Command::DeleteTopic { name: topic.name.clone() }, false).await?;
    Ok(topic)
}

pub(crate) async fn create_partitions(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
) -> Result<(), Fault> {
    let asked: CreatePartitionsRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.topics.iter().map(|topic| topic.name)).await;
    let is_doubled = doubled(asked.topics.iter().map(|topic| topic.name));
    let mut results = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let result = if is_doubled(topic.name) {
            Err(refusal(KafkaError::INVALID_REQUEST, format!("topic {} is there more than once", topic.name)))
        } else {
            grow_one(state, &topic, asked.validate_only).await
        };
        results.push(result);
    }
    let rows = asked.topics.iter().zip(&results).map(|(topic, result)| CreatePartitionsResult {
        name: topic.name,
        error_code: result.as_ref().err().map_or(KafkaError::NONE, |(error, _)| *error),
        error_message: result.as_ref().err().map(|(_, message)| message.as_str()),
    });
    let reply = CreatePartitionsReply { results: rows.collect(), ..CreatePartitionsReply::default() };
    ticket.answer(connection, &reply)
}

async fn grow_one(state: &ShardState, topic: &CreatePartitionsTopic<'_>, judge_only: bool) -> Result<(), Refusal> {
    let count = u32::try_from(topic.count)
        .map_err(|_| refusal(KafkaError::INVALID_PARTITIONS, format!("{} partitions cannot be", topic.count)))?;
    if let Some(assignments) = &topic.assignments {
        for row in assignments {
            check_nodes(state, row.broker_ids.iter())?;
        }
        let has = names::topic(state, topic.name).map_or(0, |topic| topic.partitions.len());
        if !assignments.is_empty() && has + assignments.len() != count as usize {
            let message = format!(
                "{} partitions are placed, {} are new",
                assignments.len(),
                (count as usize).saturating_sub(has)
            );
            return Err(refusal(KafkaError::INVALID_REPLICA_ASSIGNMENT, message));
        }
    }
    let command = Command::AlterTopic { name: topic.name.to_owned(), partitions: Some(count), configs: Vec::new() };
    change(state, command, judge_only).await
}
