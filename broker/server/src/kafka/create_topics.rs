//! CreateTopics: each topic is checked, proposed and answered on its own, in the order of the request.

use std::collections::BTreeSet;
use std::rc::Rc;

use ouzel_broker_core::{Command, ConfigEntry, TopicConfig, limits};
use ouzel_protocol::kafka::{
    CreatableTopic, CreateTopicsReply, CreateTopicsRequest, CreatedConfig, CreatedTopic, KafkaError,
};
use ouzel_protocol::{TopicId, check_topic_name};

use super::refusal::{Refusal, change, error_code, error_message, repeated};
use super::request::{KafkaRequest, Ticket};
use super::{config_keys, metadata, replicas};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::refresh;
use crate::shard::ShardState;

/// What asks for the broker's own count.
const BROKERS_CHOICE: i32 = -1;

/// A topic as it was created, or would have been.
struct Created {
    topic_id: TopicId,
    partitions: u32,
    replication_factor: u16,
    configs: Vec<ConfigEntry>,
}

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: CreateTopicsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    let repeated = repeated(asked.topics.iter().map(|topic| topic.name));
    let mut outcomes = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        outcomes.push(create(state, &topic, &repeated, asked.validate_only).await);
    }
    let topics = asked.topics.iter().zip(&outcomes).map(|(topic, outcome)| row(topic.name, outcome));
    ticket.answer(connection, &CreateTopicsReply { topics: topics.collect(), ..CreateTopicsReply::default() })
}

async fn create(
    state: &ShardState,
    asked: &CreatableTopic<'_>,
    repeated: &BTreeSet<&str>,
    validate_only: bool,
) -> Result<Created, Refusal> {
    let name = asked.name;
    if repeated.contains(name) {
        return Err(Refusal::new(KafkaError::INVALID_REQUEST, "Duplicate topic name."));
    }
    if let Err(error) = check_topic_name(name) {
        return Err(Refusal::new(KafkaError::INVALID_TOPIC_EXCEPTION, format!("Topic name is invalid: {error}")));
    }
    if state.topics.image().topic_named(name).is_some() {
        // Scripts look for these words.
        return Err(Refusal::new(KafkaError::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
    }
    let (partitions, replication_factor) = counts(state, asked)?;
    let configs = configs(asked)?;
    let topic_id = TopicId(rand::random::<u128>().max(1));
    let entries = configs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    // What is illegal is refused below, with its sentence.
    let effective = TopicConfig::from_entries(entries).unwrap_or_default().describe();
    let command = Command::CreateTopic { name: name.to_owned(), topic_id, partitions, replication_factor, configs };
    change(state, command, validate_only).await?;
    Ok(Created {
        topic_id: if validate_only { TopicId(0) } else { topic_id },
        partitions,
        replication_factor,
        configs: effective,
    })
}

/// How many partitions and replicas a topic is to have.
fn counts(state: &ShardState, asked: &CreatableTopic<'_>) -> Result<(u32, u16), Refusal> {
    if !asked.assignments.is_empty() {
        return Ok((assigned(metadata::node(state.node), asked)?, limits::REPLICATION_FACTOR_DEFAULT));
    }
    let partitions = match asked.num_partitions {
        BROKERS_CHOICE => state.topic_defaults.partitions,
        count => u32::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
            let message = "Number of partitions was set to an invalid non-positive value.";
            Refusal::new(KafkaError::INVALID_PARTITIONS, message)
        })?,
    };
    let replication_factor = match i32::from(asked.replication_factor) {
        BROKERS_CHOICE => limits::REPLICATION_FACTOR_DEFAULT,
        factor => u16::try_from(factor).ok().filter(|factor| *factor > 0).ok_or_else(|| {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            Refusal::new(KafkaError::INVALID_REPLICATION_FACTOR, message)
        })?,
    };
    Ok((partitions, replication_factor))
}

/// How many partitions a client placed by hand: every one from 0 on, each on this node.
fn assigned(this_node: i32, asked: &CreatableTopic<'_>) -> Result<u32, Refusal> {
    let refused = |error, message: String| Err(Refusal::new(error, message));
    for (is_given, what) in [
        (asked.num_partitions != BROKERS_CHOICE, "numPartitions"),
        (i32::from(asked.replication_factor) != BROKERS_CHOICE, "replication factor"),
    ] {
        if is_given {
            let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            return refused(KafkaError::INVALID_REQUEST, message);
        }
    }
    let mut indices = BTreeSet::new();
    for assignment in &asked.assignments {
        replicas::check(this_node, &assignment.broker_ids)?;
        if !indices.insert(assignment.partition_index) {
            let index = assignment.partition_index;
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return refused(KafkaError::INVALID_REPLICA_ASSIGNMENT, message);
        }
    }
    if !indices.iter().copied().eq((0..).take(indices.len())) {
        let message = "partitions should be a consecutive 0-based integer sequence".to_owned();
        return refused(KafkaError::INVALID_REPLICA_ASSIGNMENT, message);
    }
    Ok(u32::try_from(indices.len()).unwrap_or(u32::MAX))
}

fn configs(asked: &CreatableTopic<'_>) -> Result<Vec<(String, String)>, Refusal> {
    let mut configs = Vec::with_capacity(asked.configs.len());
    for config in &asked.configs {
        let Some(value) = config.value else {
            let message = format!("Null value not supported for topic configs: {}", config.name);
            return Err(Refusal::new(KafkaError::INVALID_CONFIG, message));
        };
        configs.push((config.name.to_owned(), value.to_owned()));
    }
    Ok(configs)
}

fn row<'a>(name: &'a str, outcome: &'a Result<Created, Refusal>) -> CreatedTopic<'a> {
    let row = CreatedTopic {
        name,
        error_code: error_code(outcome),
        error_message: error_message(outcome),
        ..CreatedTopic::default()
    };
    let Ok(created) = outcome else { return row };
    let configs = created.configs.iter().map(|entry| CreatedConfig {
        name: entry.key,
        value: Some(&entry.value),
        read_only: false,
        config_source: config_keys::source(entry),
        is_sensitive: false,
    });
    CreatedTopic {
        topic_id: created.topic_id,
        num_partitions: i32::try_from(created.partitions).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(created.replication_factor).unwrap_or(i16::MAX),
        configs: Some(configs.collect()),
        ..row
    }
}
