//! Topics by their names, as Kafka's older messages ask for them. Owns the lookup. Lives on the connection's shard.

use std::sync::Arc;

use ouzel_broker_core::Topic;
use ouzel_protocol::kafka::KafkaError;
use ouzel_protocol::{PartitionIndex, TopicId, check_topic_name};

use super::refusal::Refusal;
use crate::handlers::refresh;
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
