//! Metadata that has one topic.

use ouzel_broker_core::group::{TopicView, Topics};
use ouzel_protocol::{MetadataVersion, TopicId};

/// The id of the topic.
pub const ORDERS: TopicId = TopicId(7);

/// The topic `orders`, of so many partitions.
#[derive(Debug)]
pub struct Orders(pub u32);

impl Topics for Orders {
    fn version(&self) -> MetadataVersion {
        MetadataVersion(1)
    }

    fn find(&self, name: &str) -> Option<TopicView> {
        (name == "orders").then_some(TopicView { topic_id: ORDERS, partition_count: self.0 })
    }

    fn name(&self, topic_id: TopicId) -> Option<&str> {
        (topic_id == ORDERS).then_some("orders")
    }

    fn each(&self, each: &mut dyn FnMut(&str)) {
        each("orders");
    }
}
