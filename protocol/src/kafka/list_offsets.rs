//! ListOffsets (key 2): which offset a point in time has. Owns its layout. Any core.
//!
//! What changed since 1: 2 isolation and throttling; 4 leader epochs; 6 flexible; 7 the record with the highest timestamp
//! (-3); 8 the first offset that is local (-4); 9 the last that is remote (-5); 10 a timeout.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

structures! {
    /// Which points of time, in which partitions.
    ListOffsetsRequest<'a> {
        /// The follower that asks, -1 for a consumer.
        replica_id: i32 => 0..;
        /// 0 for the log's end, 1 for the last stable offset.
        isolation_level: i8 => 2..;
        /// One row a topic.
        topics: Array<'a, ListOffsetsTopic<'a>> => 0..;
        /// How long to wait for remote storage, in ms.
        timeout_ms: i32 => 10.., ignorable true;
    }

    /// Partitions of one topic.
    ListOffsetsTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, ListOffsetsPartition> => 0..;
    }

    /// A point of time in one partition.
    ListOffsetsPartition {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// The leader epoch that the client knows, -1 for none.
        current_leader_epoch: i32 => 4.., default -1, ignorable true;
        /// Milliseconds since 1970; -1 latest, -2 earliest, -3 the record with the highest timestamp.
        timestamp: i64 => 0..;
    }
}

structures! {
    /// The offsets.
    ListOffsetsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 2.., ignorable true;
        /// One row for each topic of the request.
        topics: Array<'a, ListOffsetsTopicReply<'a>> => 0..;
    }

    /// Offsets in one topic.
    ListOffsetsTopicReply<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row for each partition of the request.
        partitions: Array<'a, ListOffsetsPartitionReply> => 0..;
    }

    /// The offset in one partition.
    ListOffsetsPartitionReply {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// Whether it could be found.
        error_code: KafkaError => 0..;
        /// The record's timestamp; -1 for none.
        timestamp: i64 => 1.., default -1, ignorable true;
        /// The offset; -1 for none.
        offset: i64 => 1.., default -1, ignorable true;
        /// Epoch under which it was appended; -1 when not known.
        leader_epoch: i32 => 4.., default -1;
    }
}
