//! DescribeCluster (60), DescribeLogDirs (35) and ListPartitionReassignments (46): what operators look at. Owns their layouts. Any
//! core.
//!
//! What changed. DescribeCluster: 1 brokers or controllers; 2 fenced brokers. DescribeLogDirs: 2 flexible; 3 an error for the whole;
//! 4 sizes of the volume.

use super::array::Array;
use super::error::KafkaError;
use super::metadata::AUTHORIZED_OPERATIONS_NONE;
use super::table::structures;

structures! {
    /// What is of interest of the cluster.
    DescribeClusterRequest {
        /// Whether to tell what the client may do with it.
        include_cluster_authorized_operations: bool => 0..;
        /// 1 for brokers, 2 for controllers.
        endpoint_type: i8 => 1.., default 1;
        /// Whether to name brokers that are shut out.
        include_fenced_brokers: bool => 2..;
    }

    /// The cluster.
    DescribeClusterReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// Whether it can be told.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default None;
        /// As in the request.
        endpoint_type: i8 => 1.., default 1;
        /// The cluster's id.
        cluster_id: &'a str => 0..;
        /// The node of the controller, -1 for none.
        controller_id: i32 => 0.., default -1;
        /// One row a broker.
        brokers: Array<'a, ClusterBroker<'a>> => 0..;
        /// What the client may do, as bits; [`AUTHORIZED_OPERATIONS_NONE`] when not asked for.
        cluster_authorized_operations: i32 => 0.., default AUTHORIZED_OPERATIONS_NONE;
    }

    /// Where a broker is.
    ClusterBroker<'a> {
        /// Its node.
        broker_id: i32 => 0..;
        /// Its host.
        host: &'a str => 0..;
        /// Its port.
        port: i32 => 0..;
        /// Its rack, null for none.
        rack: Option<&'a str> => 0.., default None;
        /// Whether it is shut out.
        is_fenced: bool => 2..;
    }
}

structures! {
    /// Whose disk space is of interest.
    DescribeLogDirsRequest<'a> {
        /// The topics, null for all.
        topics: Option<Array<'a, LogDirsTopic<'a>>> => 0.., default Some(Array::EMPTY);
    }

    /// Partitions of one topic.
    LogDirsTopic<'a> {
        /// Its name.
        topic: &'a str => 0..;
        /// Numbers of its partitions.
        partitions: Array<'a, i32> => 0..;
    }

    /// The directories.
    DescribeLogDirsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// Whether it can be told.
        error_code: KafkaError => 3.., ignorable true;
        /// One row a directory.
        results: Array<'a, LogDir<'a>> => 0..;
    }

    /// One directory.
    LogDir<'a> {
        /// Whether it can be used.
        error_code: KafkaError => 0..;
        /// Its path from the root.
        log_dir: &'a str => 0..;
        /// What lies in it.
        topics: Array<'a, LogDirTopic<'a>> => 0..;
        /// Bytes of its volume; -1 when not known.
        total_bytes: i64 => 4.., default -1, ignorable true;
        /// Bytes of its volume that can still be used; -1 when not known.
        usable_bytes: i64 => 4.., default -1, ignorable true;
    }

    /// What lies there of one topic.
    LogDirTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, LogDirPartition> => 0..;
    }

    /// What lies there of one partition.
    LogDirPartition {
        /// Its number.
        partition_index: i32 => 0..;
        /// Bytes of its segments.
        partition_size: i64 => 0..;
        /// How many records it is behind.
        offset_lag: i64 => 0..;
        /// Whether it is to take the place of another directory's.
        is_future_key: bool => 0..;
    }
}

structures! {
    /// Which moves are of interest.
    ListPartitionReassignmentsRequest<'a> {
        /// How long the broker may take, in ms.
        timeout_ms: i32 => 0.., default 60_000;
        /// The topics, null for all.
        topics: Option<Array<'a, ReassignmentsTopic<'a>>> => 0.., default None;
    }

    /// Partitions of one topic.
    ReassignmentsTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Numbers of its partitions.
        partition_indexes: Array<'a, i32> => 0..;
    }

    /// The moves.
    ListPartitionReassignmentsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// Whether it can be told.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default Some("");
        /// One row a topic of which something moves.
        topics: Array<'a, MovingTopic<'a>> => 0..;
    }

    /// What moves of one topic.
    MovingTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, MovingPartition<'a>> => 0..;
    }

    /// How one partition moves.
    MovingPartition<'a> {
        /// Its number.
        partition_index: i32 => 0..;
        /// The nodes that have it.
        replicas: Array<'a, i32> => 0..;
        /// Those that are to have it.
        adding_replicas: Array<'a, i32> => 0..;
        /// Those that are not to have it any more.
        removing_replicas: Array<'a, i32> => 0..;
    }
}
