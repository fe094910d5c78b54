//! AlterConfigs and IncrementalAlterConfigs: the configurations of topics, as a whole or key by key. A resource is changed whole or
//! not at all, in one change of the metadata. This broker's own keys are read once, at its start.

use std::collections::BTreeSet;
use std::rc::Rc;

use ouzel_broker_core::{Command, ConfigKind, Topic, TopicConfig};
use ouzel_protocol::kafka::{
    AlterConfigsReply, AlterConfigsRequest, AlterConfigsResource, AlteredResource, Array, IncrementalAlterConfigsReply,
    IncrementalAlterConfigsRequest, IncrementalConfig, KafkaError, config_operation, resource_type,
};

use super::names;
use super::refusal::{Refusal, change, error_code, error_message, repeated};
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::refresh;
use crate::shard::ShardState;

/// Keys with their new values; `None` returns a key to what holds when nobody sets it.
type Changes = Vec<(String, Option<String>)>;

/// A resource by kind and name.
type Resource<'a> = (i8, &'a str);

/// A resource and what became of it.
type Altered<'a> = (Resource<'a>, Result<(), Refusal>);

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: AlterConfigsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    let repeated = repeated(asked.resources.iter().map(|row| (row.resource_type, row.resource_name)));
    let mut outcomes = Vec::with_capacity(asked.resources.len());
    for row in &asked.resources {
        let named = (row.resource_type, row.resource_name);
        let outcome = alter(state, named, &repeated, asked.validate_only, |_| whole(&row)).await;
        outcomes.push((named, outcome));
    }
    ticket.answer(connection, &AlterConfigsReply { responses: rows(&outcomes), ..AlterConfigsReply::default() })
}

pub(crate) async fn answer_incremental(
    connection: &Rc<Connection>,
    request: &KafkaRequest,
    ticket: Ticket,
) -> Result<(), Fault> {
    let asked: IncrementalAlterConfigsRequest<'_> = request.message()?;
    let state = &connection.state;
    refresh(state).await;
    let repeated = repeated(asked.resources.iter().map(|row| (row.resource_type, row.resource_name)));
    let mut outcomes = Vec::with_capacity(asked.resources.len());
    for row in &asked.resources {
        let named = (row.resource_type, row.resource_name);
        let outcome =
            alter(state, named, &repeated, asked.validate_only, |topic| incremental(topic, &row.configs)).await;
        outcomes.push((named, outcome));
    }
    let reply = IncrementalAlterConfigsReply { responses: rows(&outcomes), ..IncrementalAlterConfigsReply::default() };
    ticket.answer(connection, &reply)
}

fn rows<'a>(outcomes: &'a [Altered<'a>]) -> Array<'a, AlteredResource<'a>> {
    let rows = outcomes.iter().map(|((resource_type, resource_name), outcome)| AlteredResource {
        error_code: error_code(outcome),
        error_message: error_message(outcome),
        resource_type: *resource_type,
        resource_name,
    });
    rows.collect()
}

async fn alter(
    state: &ShardState,
    (kind, name): Resource<'_>,
    repeated: &BTreeSet<Resource<'_>>,
    validate_only: bool,
    changes: impl FnOnce(&Topic) -> Result<Changes, Refusal>,
) -> Result<(), Refusal> {
    let invalid = |message: String| Err(Refusal::new(KafkaError::INVALID_REQUEST, message));
    if repeated.contains(&(kind, name)) {
        return invalid("Each resource must appear at most once.".to_owned());
    }
    match kind {
        resource_type::TOPIC => {
            let topic = names::known(state, name)?;
            let configs = changes(&topic)?;
            change(state, Command::AlterTopic { name: name.to_owned(), partitions: None, configs }, validate_only).await
        }
        resource_type::BROKER | resource_type::BROKER_LOGGER => invalid(
            "The configuration of this broker is read at its start and cannot be updated dynamically.".to_owned(),
        ),
        other => invalid(format!("Unsupported resource type: {other}")),
    }
}

/// Every key: what is not given is not set any more.
fn whole(asked: &AlterConfigsResource<'_>) -> Result<Changes, Refusal> {
    let mut changes: Changes = TopicConfig::KEYS.iter().map(|key| (key.name.to_owned(), None)).collect();
    for config in &asked.configs {
        let Some(value) = config.value else { return Err(null_value(config.name)) };
        changes.push((config.name.to_owned(), Some(value.to_owned())));
    }
    Ok(changes)
}

fn null_value(key: &str) -> Refusal {
    Refusal::new(KafkaError::INVALID_REQUEST, format!("Null value not supported for : {key}"))
}

fn incremental(topic: &Topic, asked: &Array<'_, IncrementalConfig<'_>>) -> Result<Changes, Refusal> {
    if !repeated(asked.iter().map(|config| config.name)).is_empty() {
        return Err(Refusal::new(KafkaError::INVALID_REQUEST, "Error due to duplicate config keys"));
    }
    asked.iter().map(|config| Ok((config.name.to_owned(), operation(topic, &config)?))).collect()
}

/// The new value of one key.
fn operation(topic: &Topic, asked: &IncrementalConfig<'_>) -> Result<Option<String>, Refusal> {
    let value = match asked.config_operation {
        config_operation::DELETE => return Ok(None),
        config_operation::SET | config_operation::APPEND | config_operation::SUBTRACT => {
            asked.value.ok_or_else(|| null_value(asked.name))?
        }
        other => {
            return Err(Refusal::new(KafkaError::INVALID_REQUEST, format!("Unsupported operation type: {other}")));
        }
    };
    if asked.config_operation == config_operation::SET {
        return Ok(Some(value.to_owned()));
    }
    let appends = asked.config_operation == config_operation::APPEND;
    let Some(key) = TopicConfig::key(asked.name) else {
        // The metadata refuses it and says which keys there are.
        return Ok(Some(value.to_owned()));
    };
    if key.kind != ConfigKind::List {
        let operation = if appends { "APPEND" } else { "SUBTRACT" };
        let message = format!("Can't {operation} to key {} because its type is not LIST.", key.name);
        return Err(Refusal::new(KafkaError::INVALID_CONFIG, message));
    }
    let current = topic.config.describe().into_iter().find(|entry| entry.key == key.name).map(|entry| entry.value);
    Ok(Some(changed_list(current.as_deref().unwrap_or_default(), value, appends)))
}

/// A list with elements added that are not in it, or taken out.
fn changed_list(list: &str, elements: &str, appends: bool) -> String {
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned).collect()
    };
    let mut list = split(list);
    for element in split(elements) {
        if !appends {
            list.retain(|present| *present != element);
        } else if !list.contains(&element) {
            list.push(element);
        }
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_added_once_and_taken_out_wherever_they_are() {
        for (list, elements, appends, expected) in [
            ("delete", "compact", true, "delete,compact"),
            ("delete", "delete", true, "delete"),
            ("", "a,b", true, "a,b"),
            ("a,b,c", "c, a", false, "b"),
            ("a", "a", false, ""),
            ("a", "b", false, "a"),
        ] {
            assert_eq!(changed_list(list, elements, appends), expected, "{list} {elements} {appends}");
        }
    }
}
