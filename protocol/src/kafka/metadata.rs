//! Metadata (key 3): brokers, topics, partitions and their leaders. Owns its layout. Any core.
//!
//! What changed: 1 racks, controller, internal topics, null for all topics; 2 the cluster's id; 3 throttling; 4 creation only if
//! it is allowed; 5 offline replicas; 7 leader epochs; 8 to 10 operations that are authorized; 9 flexible; 10 topic ids; 12 topics
//! asked for by id; 13 an error for the whole.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;
use crate::ids::TopicId;

/// What stands for "nobody asked" in a set of operations that are authorized.
pub const AUTHORIZED_OPERATIONS_NONE: i32 = i32::MIN;

structures! {
    /// Which topics are of interest.
    MetadataRequest<'a> {
        /// The topics, null for all. In version 0 no topic stands for all, as null cannot be said.
        topics: Option<Array<'a, MetadataRequestTopic<'a>>> => 0.., null 1.., default Some(Array::EMPTY);
        /// Whether topics that are not there may be created.
        allow_auto_topic_creation: bool => 4.., default true;
        /// Whether to tell what the client may do with the cluster.
        include_cluster_authorized_operations: bool => 8..=10;
        /// Whether to tell what the client may do with each topic.
        include_topic_authorized_operations: bool => 8..;
    }

    /// One topic of interest.
    MetadataRequestTopic<'a> {
        /// Its id, zero when it is asked for by name.
        topic_id: TopicId => 10.., ignorable true;
        /// Its name, null when it is asked for by id.
        name: Option<&'a str> => 0.., null 10.., default Some("");
    }
}

structures! {
    /// The cluster as the broker knows it.
    MetadataReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 3.., ignorable true;
        /// Every broker that is alive. Never none: clients take these for their own.
        brokers: Array<'a, MetadataBroker<'a>> => 0..;
        /// The cluster's id.
        cluster_id: Option<&'a str> => 2.., default None, ignorable true;
        /// The node to send administrative requests to; one of `brokers`, else clients wait for it for ever.
        controller_id: i32 => 1.., default -1, ignorable true;
        /// One row a topic.
        topics: Array<'a, MetadataTopic<'a>> => 0..;
        /// What the client may do with the cluster, as bits; [`AUTHORIZED_OPERATIONS_NONE`] when not asked for.
        cluster_authorized_operations: i32 => 8..=10, default AUTHORIZED_OPERATIONS_NONE;
        /// Whether the request is refused as a whole.
        error_code: KafkaError => 13.., ignorable true;
    }

    /// Where a broker is.
    MetadataBroker<'a> {
        /// Its node.
        node_id: i32 => 0..;
        /// Its host, as the client should name it.
        host: &'a str => 0..;
        /// Its port.
        port: i32 => 0..;
        /// Its rack, null for none.
        rack: Option<&'a str> => 1.., default None, ignorable true;
    }

    /// One topic.
    MetadataTopic<'a> {
        /// Whether it is known.
        error_code: KafkaError => 0..;
        /// Its name; null when it was asked for by an id that is not known.
        name: Option<&'a str> => 0.., null 12.., default Some("");
        /// Its id; zero when it is not known.
        topic_id: TopicId => 10.., ignorable true;
        /// Whether it belongs to the broker's own business.
        is_internal: bool => 1.., ignorable true;
        /// One row a partition.
        partitions: Array<'a, MetadataPartition<'a>> => 0..;
        /// What the client may do with it, as bits; [`AUTHORIZED_OPERATIONS_NONE`] when not asked for.
        topic_authorized_operations: i32 => 8.., default AUTHORIZED_OPERATIONS_NONE;
    }

    /// One partition.
    MetadataPartition<'a> {
        /// Whether it has a leader.
        error_code: KafkaError => 0..;
        /// Its number.
        partition_index: i32 => 0..;
        /// The leader's node, -1 for none.
        leader_id: i32 => 0..;
        /// Its epoch; -1 when not known.
        leader_epoch: i32 => 7.., default -1, ignorable true;
        /// Every node that has a replica.
        replica_nodes: Array<'a, i32> => 0..;
        /// Those that are in sync.
        isr_nodes: Array<'a, i32> => 0..;
        /// Those that are not there.
        offline_replicas: Array<'a, i32> => 5.., ignorable true;
    }
}
