//! DeleteTopics: by name, and since version 6 by id as well. A topic that was asked for by its id is deleted by it, so that one
//! that has taken its name meanwhile is spared.

use std::rc::Rc;

use ouzel_broker_core::Command;
use ouzel_protocol::TopicId;
use ouzel_protocol::kafka::{DeletableTopic, DeleteTopicsReply, DeleteTopicsRequest, DeletedTopic, KafkaError};

use super::refusal::{Refusal, change, error_code, error_message, repeated};
use super::request::{KafkaRequest, Ticket};
use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::refresh;
use crate::shard::ShardState;

/// The first version that asks for topics in rows.
const IN_ROWS: i16 = 6;

/// What became of one topic, and what is known of it.
struct Deleted {
    name: Option<String>,
    topic_id: TopicId,
    outcome: Result<(), Refusal>,
}

pub(crate) async fn answer(connection: &Rc<Connection>, request: &KafkaRequest, ticket: Ticket) -> Result<(), Fault> {
    let asked: DeleteTopicsRequest<'_> = request.message()?;
    let state = &connection.state;
    let topics: Vec<DeletableTopic<'_>> = if request.version >= IN_ROWS {
        asked.topics.iter().collect()
    } else {
        let by_name = |name| DeletableTopic { name: Some(name), topic_id: TopicId(0) };
        asked.topic_names.iter().map(by_name).collect()
    };
    refresh(state).await;
    let named: Vec<_> = topics.iter().map(|topic| named(state, topic)).collect();
    let repeated = repeated(named.iter().flatten().map(|(_, topic_id)| *topic_id));
    let mut rows = Vec::with_capacity(topics.len());
    for (topic, named) in topics.iter().zip(named) {
        rows.push(match named {
            Ok((_, topic_id)) if repeated.contains(&topic_id) => refused(topic, duplicate(topic)),
            Ok((name, topic_id)) => {
                let is_by_id = topic.name.is_none();
                let outcome = delete(state, name.clone(), topic_id, is_by_id).await;
                Deleted { name: Some(name), topic_id, outcome }
            }
            Err(refusal) => refused(topic, refusal),
        });
    }
    let responses = rows.iter().map(|Deleted { name, topic_id, outcome }| DeletedTopic {
        name: name.as_deref(),
        topic_id: *topic_id,
        error_code: error_code(outcome),
        error_message: error_message(outcome),
    });
    ticket.answer(connection, &DeleteTopicsReply { responses: responses.collect(), ..DeleteTopicsReply::default() })
}

/// The topic that is meant, by both.
fn named(state: &ShardState, asked: &DeletableTopic<'_>) -> Result<(String, TopicId), Refusal> {
    let refused = |error, message: &str| Err(Refusal::new(error, message));
    let image = state.topics.image();
    let topic = match (asked.name, asked.topic_id) {
        (Some(_), TopicId(1..)) => {
            return refused(KafkaError::INVALID_REQUEST, "You may not specify both topic name and topic id.");
        }
        (None, TopicId(0)) => {
            return refused(KafkaError::INVALID_REQUEST, "Neither topic name nor id were specified.");
        }
        (Some(name), _) => image.topic_named(name).ok_or(KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
        (None, topic_id) => image.topic(topic_id).ok_or(KafkaError::UNKNOWN_TOPIC_ID),
    };
    match topic {
        Ok(topic) => Ok((topic.name.clone(), topic.topic_id)),
        Err(error) => refused(error, "This server does not host this topic."),
    }
}

fn duplicate(asked: &DeletableTopic<'_>) -> Refusal {
    let what = if asked.name.is_some() { "name" } else { "id" };
    Refusal::new(KafkaError::INVALID_REQUEST, format!("Duplicate topic {what}."))
}

fn refused(asked: &DeletableTopic<'_>, refusal: Refusal) -> Deleted {
    Deleted { name: asked.name.map(str::to_owned), topic_id: asked.topic_id, outcome: Err(refusal) }
}

async fn delete(state: &ShardState, name: String, topic_id: TopicId, is_by_id: bool) -> Result<(), Refusal> {
    if !is_by_id {
        return change(state, Command::DeleteTopic { name }, false).await;
    }
    let deleted = change(state, Command::DeleteTopicById { topic_id }, false).await;
    deleted.map_err(|refusal| match refusal.error {
        // It was there when the request came.
        KafkaError::UNKNOWN_TOPIC_OR_PARTITION => Refusal { error: KafkaError::UNKNOWN_TOPIC_ID, ..refusal },
        _ => refusal,
    })
}
