//! Topics of the broker's own: which there are and how they are made. Groups find their partition by the number of those,
//! and acknowledge by the topic's level, so nobody but the broker gives them a shape, and nobody changes it.

use ouzel_protocol::TopicId;

use super::{Command, Topic};
use crate::error::MetadataError;
use crate::limits::MESSAGE_BYTES_MAX_MAX;

/// The topic that groups are kept in, as Kafka names it.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// Its partitions, as Kafka has them (`offsets.topic.num.partitions`). They never change: a group's partition follows from it.
pub const OFFSETS_PARTITION_COUNT: u32 = 50;

/// Names that are the broker's, here and in Kafka.
const INTERNAL: [&str; 3] = [OFFSETS_TOPIC, "__transaction_state", "__share_group_state"];

/// Whether a topic of this name is the broker's own.
pub fn is_internal(name: &str) -> bool {
    name.starts_with("__") && INTERNAL.contains(&name)
}

impl Topic {
    /// Whether it is the broker's own: clients read it, and neither write nor change it.
    pub fn is_internal(&self) -> bool {
        is_internal(&self.name)
    }
}

impl Command {
    /// Creates the topic that groups are kept in.
    pub fn create_offsets_topic(topic_id: TopicId) -> Self {
        Self::CreateTopic {
            name: OFFSETS_TOPIC.to_owned(),
            topic_id,
            partitions: OFFSETS_PARTITION_COUNT,
            replication_factor: 0,
            configs: offsets_configs(),
        }
    }
}

/// A group's record holds what all its members say.
fn offsets_configs() -> Vec<(String, String)> {
    vec![("max.message.bytes".to_owned(), MESSAGE_BYTES_MAX_MAX.to_string())]
}

/// Refuses to create a topic of the broker's own otherwise than the broker does.
pub(super) fn check_create(name: &str, partitions: u32, configs: &[(String, String)]) -> Result<(), MetadataError> {
    let is_as_made_here =
        name == OFFSETS_TOPIC && partitions == OFFSETS_PARTITION_COUNT && configs == offsets_configs().as_slice();
    if is_internal(name) && !is_as_made_here { Err(refusal(name)) } else { Ok(()) }
}

/// Refuses to change a topic of the broker's own.
pub(super) fn check_alter(topic: &Topic) -> Result<(), MetadataError> {
    if topic.is_internal() { Err(refusal(&topic.name)) } else { Ok(()) }
}

fn refusal(name: &str) -> MetadataError {
    MetadataError::InternalTopic { name: name.to_owned() }
}
