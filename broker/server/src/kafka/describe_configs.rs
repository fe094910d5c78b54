//! DescribeConfigs: what is configured for topics and for this broker, where it comes from and what it is for.

use std::collections::BTreeSet;
use std::rc::Rc;

use ouzel_protocol::kafka::{
    ConfigSynonym, DescribeConfigsReply, DescribeConfigsRequest, DescribeConfigsResource, DescribedConfig,
    DescribedResource, KafkaError, resource_type,
};

use super::config_keys::{Row, broker_rows, topic_rows};
use super::refusal::{Refusal, error_code, error_message, repeated};
use super::request::{KafkaRequest, Ticket};
use super::{metadata, names};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::refresh;
use crate::shard::ShardState;

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DescribeConfigsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    // Each once: an answer is many times as long as its question.
    let repeated = repeated(asked.resources.iter().map(|resource| (resource.resource_type, resource.resource_name)));
    let described: Vec<_> = asked.resources.iter().map(|resource| describe(state, &resource, &repeated)).collect();
    let results = asked.resources.iter().zip(&described).map(|(resource, outcome)| DescribedResource {
        error_code: error_code(outcome),
        error_message: error_message(outcome),
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: outcome.iter().flatten().map(|row| config(&asked, row)).collect(),
    });
    let reply = DescribeConfigsReply { results: results.collect(), ..DescribeConfigsReply::default() };
    ticket.answer(connection, &reply)
}

fn describe(
    state: &ShardState,
    asked: &DescribeConfigsResource<'_>,
    repeated: &BTreeSet<(i8, &str)>,
) -> Result<Vec<Row>, Refusal> {
    let refused = |error, message: String| Err(Refusal::new(error, message));
    let name = asked.resource_name;
    if repeated.contains(&(asked.resource_type, name)) {
        return refused(KafkaError::INVALID_REQUEST, "Each resource must appear at most once.".to_owned());
    }
    let mut rows = match asked.resource_type {
        resource_type::TOPIC => topic_rows(&*names::known(state, name)?),
        // What is set for all brokers while they run, which nothing is.
        resource_type::BROKER if name.is_empty() => Vec::new(),
        resource_type::BROKER => {
            let this_node = metadata::node(state.node);
            if name.parse() != Ok(this_node) {
                let message =
                    format!("Unexpected broker id, expected {this_node} or empty string, but received {name}");
                return refused(KafkaError::INVALID_REQUEST, message);
            }
            broker_rows(state)
        }
        other => return refused(KafkaError::INVALID_REQUEST, format!("Unsupported resource type: {other}")),
    };
    if let Some(keys) = asked.configuration_keys.as_ref().filter(|keys| !keys.is_empty()) {
        let wanted: BTreeSet<&str> = keys.iter().collect();
        rows.retain(|row| wanted.contains(row.name));
    }
    Ok(rows)
}

fn config<'a>(asked: &DescribeConfigsRequest<'_>, row: &'a Row) -> DescribedConfig<'a> {
    let synonyms = row.synonyms.iter().filter(|_| asked.include_synonyms);
    DescribedConfig {
        name: row.name,
        value: Some(&row.value),
        read_only: row.read_only,
        config_source: row.source,
        is_sensitive: false,
        synonyms: synonyms
            .map(|(name, value, source)| ConfigSynonym { name, value: Some(value), source: *source })
            .collect(),
        config_type: row.kind,
        documentation: asked.include_documentation.then_some(row.about),
    }
}
