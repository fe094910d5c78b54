//! What may be asked of the metadata. Owns the shape of a command; its rules stand in `propose.rs`.

use ouzel_protocol::{ClusterId, Incarnation, NodeId, TopicId};

/// A wish to change the metadata. Whatever is random or host-specific was put in by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Create a topic.
    CreateTopic {
        /// Its name.
        name: String,
        /// A freshly drawn id.
        topic_id: TopicId,
        /// Partitions; 0 asks for the default.
        partitions: u32,
        /// Replicas; 0 asks for the default.
        replication_factor: u16,
        /// Settings that differ from the defaults.
        configs: Vec<(String, String)>,
    },
    /// Delete a topic and its partitions.
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// Delete the topic of this id, whatever it is called.
    DeleteTopicById {
        /// Its id.
        topic_id: TopicId,
    },
    /// Add partitions to a topic or change its settings.
    AlterTopic {
        /// Its name.
        name: String,
        /// Partitions it shall have in all; more than now.
        partitions: Option<u32>,
        /// Settings to set, or with `None` to return to their defaults.
        configs: Vec<(String, Option<String>)>,
    },
    /// A node has recovered its storage and is about to serve.
    NodeStarted {
        /// Which node.
        node: NodeId,
        /// Its new incarnation, above every earlier one.
        incarnation: Incarnation,
        /// Shards it runs now.
        shards: u16,
    },
    /// A cluster that has no id yet gets one, for ever.
    NameCluster {
        /// A freshly drawn id.
        cluster_id: ClusterId,
    },
    /// Somebody hands out numbers to idempotent producers and has none left.
    AllocateProducerIds {
        /// How many it takes.
        count: u32,
    },
}
