//! The metadata as groups look at it. Owns one image of it; decides nothing. Any core.

use std::sync::Arc;

use ouzel_broker_core::MetadataImage;
use ouzel_broker_core::group::{TopicView, Topics};
use ouzel_protocol::{MetadataVersion, TopicId};

use super::OFFSETS_TOPIC;

/// The topics of one image.
#[derive(Debug)]
pub(super) struct ImageTopics(pub(super) Arc<MetadataImage>);

impl Topics for ImageTopics {
    fn version(&self) -> MetadataVersion {
        self.0.version()
    }

    fn find(&self, name: &str) -> Option<TopicView> {
        let topic = self.0.topic_named(name)?;
        let partition_count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        Some(TopicView { topic_id: topic.topic_id, partition_count })
    }

    fn name(&self, topic_id: TopicId) -> Option<&str> {
        self.0.topic(topic_id).map(|topic| topic.name.as_str())
    }

    fn each(&self, each: &mut dyn FnMut(&str)) {
        self.0.topics().filter(|topic| topic.name != OFFSETS_TOPIC).for_each(|topic| each(&topic.name));
    }
}
