//! The one error type of the state machines. Each variant says who erred: the caller of a command, or the bytes of a
//! record or snapshot. Mapping to wire error codes stands in the broker, not here.

use ouzel_protocol::{ClusterId, Incarnation, NodeId, TopicId};

/// Why a command was refused or bytes were not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The caller named a topic that exists.
    #[error("topic {name} exists already")]
    TopicExists {
        /// Its name.
        name: String,
    },
    /// The caller named a topic that does not exist.
    #[error("topic {name} does not exist")]
    UnknownTopic {
        /// The name asked for.
        name: String,
    },
    /// The caller named a topic by an id that none has.
    #[error("no topic has the id {topic_id}")]
    UnknownTopicId {
        /// The id asked for.
        topic_id: TopicId,
    },
    /// The caller's name is no legal topic name.
    #[error("illegal topic name {name:?}: {detail}")]
    IllegalTopicName {
        /// The name asked for.
        name: String,
        /// Which rule it breaks.
        detail: String,
    },
    /// The caller would give a topic of the broker's own another shape.
    #[error(
        "topic {name} is the broker's own: it is made when it is first needed, and its partitions and settings never change"
    )]
    InternalTopic {
        /// Which.
        name: String,
    },
    /// The caller asked for a number of partitions that cannot be.
    #[error("{got} partitions are not possible for this topic: from {min} to {max} are")]
    InvalidPartitions {
        /// Asked for.
        got: u32,
        /// Smallest possible.
        min: u32,
        /// Largest possible.
        max: u32,
    },
    /// The caller asked for more replicas than there are nodes.
    #[error("replication factor {got} is not possible: the cluster has {nodes} node(s)")]
    InvalidReplicationFactor {
        /// Asked for.
        got: u16,
        /// Nodes known.
        nodes: usize,
    },
    /// The caller's config key is unknown.
    #[error("unknown topic config {key:?}: known are {known}")]
    UnknownConfig {
        /// The key asked for.
        key: String,
        /// All keys there are.
        known: String,
    },
    /// The caller's config value is illegal.
    #[error("illegal value {value:?} of topic config {key}: expected {expected}")]
    InvalidConfig {
        /// Which key.
        key: &'static str,
        /// The value asked for.
        value: String,
        /// What is legal.
        expected: String,
    },
    /// The cluster has no room for what the caller asked for.
    #[error("limit of {limit} {what} reached")]
    LimitReached {
        /// What there would be too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// No node has started yet, so nothing can be placed.
    #[error("no node has started: partitions cannot be placed")]
    NoNode,
    /// A node reported a start that lies in the past.
    #[error("node {node} started as incarnation {got}, but {known} is already recorded")]
    StaleIncarnation {
        /// Which node.
        node: NodeId,
        /// What it reported.
        got: Incarnation,
        /// What is recorded.
        known: Incarnation,
    },
    /// A node reported a number of shards that cannot be.
    #[error("{got} shards are not possible: from 1 to {max} are")]
    InvalidShards {
        /// What it reported.
        got: u16,
        /// Largest possible.
        max: u16,
    },
    /// The id drawn for a new topic is taken; drawing another cures it.
    #[error("topic id {topic_id} is taken")]
    TopicIdTaken {
        /// The id.
        topic_id: TopicId,
    },
    /// The cluster has an id, which never changes.
    #[error("the cluster is named {cluster_id} already")]
    ClusterNamed {
        /// What it is.
        cluster_id: ClusterId,
    },
    /// Bytes of a record or snapshot are not what this version writes (the disk's or a newer version's fault).
    #[error("malformed {what} at byte {at}: {detail}")]
    Malformed {
        /// Record or snapshot.
        what: &'static str,
        /// Byte position where reading stopped.
        at: usize,
        /// Expected and got.
        detail: String,
    },
    /// A record is well formed but cannot follow the state it is applied to.
    #[error("record does not fit the metadata at version {version}: {detail}")]
    DoesNotFit {
        /// Version of the state.
        version: u64,
        /// What contradicts it.
        detail: String,
    },
}
