//! Topics made and deleted over HTTP: the same commands as over the native protocol, proposed on shard 0. Owns their JSON and the
//! status of a refusal; whether a command is possible is decided where all commands are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use ouzel_broker_core::Command;
use ouzel_protocol::{ErrorCode, ShardIndex, TopicId};
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::answer::{Answer, Named, Refusal, json_of, with_status};
use super::lane::AdminQuestion;
use crate::limits;

/// A topic to make. What is left out has its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTopic {
    topic: String,
    #[serde(default)]
    partitions: u32,
    #[serde(default)]
    configs: BTreeMap<String, String>,
}

pub(super) async fn create(State(admin): State<Arc<Admin>>, body: Bytes) -> Answer {
    let NewTopic { topic, partitions, configs } = serde_json::from_slice(&body).map_err(|error| {
        let what = "the topic to create is not understood";
        Refusal::of(StatusCode::BAD_REQUEST, what, format!("{error}; topic, partitions and configs are possible"))
    })?;
    let topic_id = TopicId(rand::random::<u128>().max(1));
    let command = Command::CreateTopic {
        name: topic.clone(),
        topic_id,
        partitions,
        replication_factor: 0,
        configs: configs.into_iter().collect(),
    };
    let shortfall = propose(&admin, command, || format!("topic {topic} was not created")).await?;
    let created = json!({ "topic": topic, "topic_id": topic_id.to_string(), "created": true, "shortfall": shortfall });
    Ok(with_status(StatusCode::CREATED, &created))
}

pub(super) async fn delete(State(admin): State<Arc<Admin>>, Named(topic): Named<String>) -> Answer {
    let command = Command::DeleteTopic { name: topic.clone() };
    let shortfall = propose(&admin, command, || format!("topic {topic} was not deleted")).await?;
    Ok(json_of(&json!({ "topic": topic, "deleted": true, "shortfall": shortfall })))
}

/// Gives what could not be done although it is committed, in words, usually nothing. A change that is not answered in time may
/// be made all the same.
async fn propose(admin: &Admin, command: Command, what: impl Fn() -> String) -> Result<String, Refusal> {
    let within = Duration::from_millis(limits::ADMIN_TASK_MS_MAX);
    let question = |reply| AdminQuestion::Change { command, reply };
    let answer = admin.shards.ask_within(within, ShardIndex(0), question).await;
    let outcome = answer.map_err(|why| {
        Refusal::unavailable(format!("it is not known whether {}", what()), format!("{why}; look before you try again"))
    })?;
    outcome.map_err(|(error, why)| Refusal::of(status(error), what(), why))
}

fn status(error: ErrorCode) -> StatusCode {
    match error {
        ErrorCode::TopicAlreadyExists => StatusCode::CONFLICT,
        ErrorCode::UnknownTopicOrPartition => StatusCode::NOT_FOUND,
        error if error.is_retriable() => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::Unknown | ErrorCode::StorageError => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}
