//! Topics by their names, as Kafka's older messages ask for them. Owns the lookup and the creation of a topic that is asked for
//! and is not there. Lives on the connection's shard.

use std::sync::Arc;

use ouzel_broker_core::limits::MESSAGE_BYTES_MAX_MAX;
use ouzel_broker_core::{Command, Topic};
use ouzel_protocol::kafka::KafkaError;
use ouzel_protocol::{ErrorCode, PartitionIndex, TopicId, check_topic_name};

use super::refusal::Refusal;
use crate::groups::{OFFSETS_PARTITION_COUNT, OFFSETS_TOPIC};
use crate::handlers::{propose, refresh};
use crate::lanes::PartitionRef;
use crate::shard::ShardState;

/// Makes sure that what is committed now is known here, if any of these legal names is not (rule Q1: asked once).
pub(crate) async fn look_up<'a>(state: &ShardState, names: impl Iterator<Item = &'a str>) {
    let image = state.topics.image();
    let mut names = names;
    if names.any(|name| image.topic_named(name).is_none() && check_topic_name(name).is_ok()) {
        drop(image);
        refresh(state).await;
    }
}

/// The topic of this name, as this shard knows it.
pub(crate) fn topic(state: &ShardState, name: &str) -> Option<Arc<Topic>> {
    state.topics.image().topic_named(name).cloned()
}

/// The topic of this name, or what is wrong with the name.
pub(super) fn known(state: &ShardState, name: &str) -> Result<Arc<Topic>, Refusal> {
    if let Some(topic) = topic(state, name) {
        return Ok(topic);
    }
    Err(match check_topic_name(name) {
        Err(error) => {
            Refusal::new(KafkaError::INVALID_TOPIC_EXCEPTION, format!("The topic name {name:?} is illegal: {error}"))
        }
        Ok(_) => Refusal::new(KafkaError::UNKNOWN_TOPIC_OR_PARTITION, format!("The topic '{name}' does not exist.")),
    })
}

/// The id of the topic of this name; one that no topic has where there is none.
pub(crate) fn topic_id(state: &ShardState, name: &str) -> TopicId {
    state.topics.image().topic_named(name).map_or(TopicId(0), |topic| topic.topic_id)
}

/// A partition by the number that a message names; a negative one is no partition's.
pub(super) fn partition_ref(topic_id: TopicId, number: i32) -> PartitionRef {
    PartitionRef { topic_id, partition: PartitionIndex(u32::try_from(number).unwrap_or(u32::MAX)) }
}

/// Creates a topic with the defaults. Whoever comes second finds it there.
pub(crate) async fn create(state: &ShardState, name: &str) -> Result<Arc<Topic>, ErrorCode> {
    let is_of_groups = name == OFFSETS_TOPIC;
    let command = Command::CreateTopic {
        name: name.to_owned(),
        topic_id: TopicId(rand::random::<u128>().max(1)),
        partitions: if is_of_groups { OFFSETS_PARTITION_COUNT } else { state.topic_defaults.partitions },
        replication_factor: 0,
        // A group's record holds what all its members say.
        configs: is_of_groups
            .then(|| ("max.message.bytes".to_owned(), MESSAGE_BYTES_MAX_MAX.to_string()))
            .into_iter()
            .collect(),
    };
    match propose(state, command).await {
        Ok(_) | Err((ErrorCode::TopicAlreadyExists, _)) => {}
        Err((error, _)) => return Err(error),
    }
    refresh(state).await;
    topic(state, name).ok_or(ErrorCode::LeaderNotAvailable)
}
