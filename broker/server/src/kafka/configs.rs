//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs: the settings of topics, and those of this node that Kafka has a
//! name for. A topic's settings are changed by one command each; the node's are what it was started with.

use std::rc::Rc;

use ouzel_broker_core::{Command, ConfigEntry, TopicConfig};
use ouzel_protocol::kafka::{
    AlterConfigsReply, AlterConfigsRequest, AlterConfigsResource, AlteredResource, ConfigSynonym, DescribeConfigsReply,
    DescribeConfigsRequest, DescribeConfigsResource, DescribedConfig, DescribedResource, IncrementalAlterConfigsReply,
    IncrementalAlterConfigsRequest, IncrementalResource, KafkaError, config_operation, config_source, config_type,
    resource_type,
};

use super::request::{KafkaRequest, Ticket};
use super::topics::{Refusal, change};
use super::{metadata, names};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::shard::ShardState;

/// The setting whose value is a list.
const LIST_KEY: &str = "cleanup.policy";

/// Where the value of a topic's setting comes from, in Kafka's numbers.
pub(super) fn source(entry: &ConfigEntry) -> i8 {
    if entry.is_default { config_source::DEFAULT } else { config_source::TOPIC }
}

pub(crate) async fn describe(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeConfigsRequest<'_> = request.message()?;
    let state = &connection.state;
    let topics = asked.resources.iter().filter(|resource| resource.resource_type == resource_type::TOPIC);
    names::look_up(state, topics.map(|resource| resource.resource_name)).await;
    let found: Vec<_> = asked.resources.iter().map(|resource| settings(state, &resource)).collect();
    let results = asked.resources.iter().zip(&found).map(|(resource, found)| DescribedResource {
        error_code: found.as_ref().err().map_or(KafkaError::NONE, |(error, _)| *error),
        error_message: found.as_ref().err().map(|(_, message)| message.as_str()),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: found
            .iter()
            .flatten()
            .map(|entry| described(entry, resource.resource_type, asked.include_synonyms))
            .collect(),
    });
    let reply = DescribeConfigsReply { results: results.collect(), ..DescribeConfigsReply::default() };
    ticket.answer(connection, &reply)
}

/// The settings of a resource that were asked for.
fn settings(state: &ShardState, resource: &DescribeConfigsResource<'_>) -> Result<Vec<ConfigEntry>, Refusal> {
    let name = resource.resource_name;
    let mut entries = match resource.resource_type {
        resource_type::TOPIC => names::topic(state, name)
            .map(|topic| topic.config.describe())
            .ok_or_else(|| (KafkaError::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}")))?,
        resource_type::BROKER if name == metadata::node(state.node).to_string() => of_node(state),
        resource_type::BROKER => {
            return Err((KafkaError::INVALID_REQUEST, format!("this is node {}, not {name}", state.node.0)));
        }
        other => return Err((KafkaError::INVALID_REQUEST, format!("resources of type {other} have no settings here"))),
    };
    if let Some(keys) = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        entries.retain(|entry| keys.iter().any(|key| key == entry.key));
    }
    Ok(entries)
}

/// What this node was started with, as far as Kafka has a name for it.
fn of_node(state: &ShardState) -> Vec<ConfigEntry> {
    let defaults = crate::config::TopicDefaults::default();
    let of_topics = TopicConfig::default();
    let ours = state.topic_defaults;
    let entry = |key, value: String, is_default| ConfigEntry { key, value, is_default };
    vec![
        entry("auto.create.topics.enable", ours.auto_create.to_string(), ours.auto_create == defaults.auto_create),
        entry("default.replication.factor", "1".to_owned(), true),
        entry("message.max.bytes", of_topics.message_bytes_max().to_string(), true),
        entry("num.partitions", ours.partitions.to_string(), ours.partitions == defaults.partitions),
    ]
}

fn described(entry: &ConfigEntry, resource_type: i8, with_synonyms: bool) -> DescribedConfig<'_> {
    let is_of_topic = resource_type == resource_type::TOPIC;
    let source = match (is_of_topic, entry.is_default) {
        (true, _) => source(entry),
        (false, true) => config_source::DEFAULT,
        (false, false) => config_source::STATIC_BROKER,
    };
    let synonym = ConfigSynonym { name: entry.key, value: Some(&entry.value), source };
    DescribedConfig {
        name: entry.key,
        value: Some(&entry.value),
        read_only: !is_of_topic,
        config_source: source,
        synonyms: with_synonyms.then_some(synonym).into_iter().collect(),
        config_type: kind(entry.key),
        documentation: None,
        ..DescribedConfig::default()
    }
}

/// The kind of a setting's value, in Kafka's numbers.
fn kind(key: &str) -> i8 {
    match key {
        LIST_KEY => config_type::LIST,
        "auto.create.topics.enable" => config_type::BOOLEAN,
        "retention.ms" | "retention.bytes" => config_type::LONG,
        "compression.type" | "message.timestamp.type" | "ouzel.durability" => config_type::STRING,
        _ => config_type::INT,
    }
}

pub(crate) async fn alter(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: AlterConfigsRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.resources.iter().map(|resource| resource.resource_name)).await;
    let mut results = Vec::with_capacity(asked.resources.len());
    for resource in &asked.resources {
        let result = match replaced(state, &resource) {
            Ok(configs) => set(state, resource.resource_name, configs, asked.validate_only).await,
            Err(refusal) => Err(refusal),
        };
        results.push(result);
    }
    let named = asked.resources.iter().map(|resource| (resource.resource_type, resource.resource_name));
    let reply = AlterConfigsReply { responses: altered(named, &results).collect(), ..AlterConfigsReply::default() };
    ticket.answer(connection, &reply)
}

/// What is set, and everything else back to its default.
fn replaced(state: &ShardState, resource: &AlterConfigsResource<'_>) -> Result<Vec<(String, Option<String>)>, Refusal> {
    check_topic(resource.resource_type, state, resource.resource_name)?;
    let given = |key: &str| resource.configs.iter().any(|config| config.name == key);
    let reset = TopicConfig::KEYS.iter().filter(|key| !given(key)).map(|key| ((*key).to_owned(), None));
    let set = resource.configs.iter().map(|config| (config.name.to_owned(), config.value.map(str::to_owned)));
    Ok(reset.chain(set).collect())
}

pub(crate) async fn alter_incrementally(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
) -> Result<(), Fault> {
    let asked: IncrementalAlterConfigsRequest<'_> = request.message()?;
    let state = &connection.state;
    names::look_up(state, asked.resources.iter().map(|resource| resource.resource_name)).await;
    let mut results = Vec::with_capacity(asked.resources.len());
    for resource in &asked.resources {
        let result = match changed(state, &resource) {
            Ok(configs) => set(state, resource.resource_name, configs, asked.validate_only).await,
            Err(refusal) => Err(refusal),
        };
        results.push(result);
    }
    let named = asked.resources.iter().map(|resource| (resource.resource_type, resource.resource_name));
    let responses = altered(named, &results).collect();
    let reply = IncrementalAlterConfigsReply { responses, ..IncrementalAlterConfigsReply::default() };
    ticket.answer(connection, &reply)
}

/// What the operations make of the settings they name.
fn changed(state: &ShardState, resource: &IncrementalResource<'_>) -> Result<Vec<(String, Option<String>)>, Refusal> {
    check_topic(resource.resource_type, state, resource.resource_name)?;
    let mut changes: Vec<(String, Option<String>)> = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let key = config.name;
        if changes.iter().any(|(known, _)| known == key) {
            return Err((KafkaError::INVALID_REQUEST, format!("{key} is there more than once")));
        }
        let value = || {
            config.value.ok_or_else(|| (KafkaError::INVALID_REQUEST, format!("{key} is to be set and has no value")))
        };
        let new = match config.config_operation {
            config_operation::SET => Some(value()?.to_owned()),
            config_operation::DELETE => None,
            operation @ (config_operation::APPEND | config_operation::SUBTRACT) if key == LIST_KEY => {
                Some(edited(state, resource.resource_name, value()?, operation == config_operation::APPEND))
            }
            config_operation::APPEND | config_operation::SUBTRACT => {
                return Err((
                    KafkaError::INVALID_CONFIG,
                    format!("{key} is no list: nothing can be added or taken out"),
                ));
            }
            other => return Err((KafkaError::INVALID_REQUEST, format!("there is no operation {other}"))),
        };
        changes.push((key.to_owned(), new));
    }
    Ok(changes)
}

/// The list of a topic with words added or taken out.
fn edited(state: &ShardState, topic: &str, words: &str, is_added: bool) -> String {
    let entries = names::topic(state, topic).map(|topic| topic.config.describe()).unwrap_or_default();
    let current = entries.into_iter().find(|entry| entry.key == LIST_KEY).map(|entry| entry.value).unwrap_or_default();
    let mut list: Vec<&str> = current.split(',').filter(|word| !word.is_empty()).collect();
    for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        list.retain(|known| *known != word);
        if is_added {
            list.push(word);
        }
    }
    list.join(",")
}

fn check_topic(kind: i8, state: &ShardState, name: &str) -> Result<(), Refusal> {
    match kind {
        resource_type::TOPIC if names::topic(state, name).is_some() => Ok(()),
        resource_type::TOPIC => Err((KafkaError::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic {name}"))),
        resource_type::BROKER => {
            let message = "settings of a node are those it was started with: change its file and start it again";
            Err((KafkaError::INVALID_REQUEST, message.to_owned()))
        }
        other => Err((KafkaError::INVALID_REQUEST, format!("resources of type {other} have no settings here"))),
    }
}

async fn set(
    state: &ShardState,
    topic: &str,
    configs: Vec<(String, Option<String>)>,
    judge_only: bool,
) -> Result<(), Refusal> {
    let command = Command::AlterTopic { name: topic.to_owned(), partitions: None, configs };
    change(state, command, judge_only).await
}

fn altered<'a>(
    named: impl Iterator<Item = (i8, &'a str)>,
    results: &'a [Result<(), Refusal>],
) -> impl Iterator<Item = AlteredResource<'a>> {
    named.zip(results).map(|((resource_type, resource_name), result)| AlteredResource {
        error_code: result.as_ref().err().map_or(KafkaError::NONE, |(error, _)| *error),
        error_message: result.as_ref().err().map(|(_, message)| message.as_str()),
        resource_type,
        resource_name,
    })
}
