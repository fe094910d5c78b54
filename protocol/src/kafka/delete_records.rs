//! DeleteRecords (key 21): moving the first offset of partitions. Owns its layout. Any core. What changed: 2 flexible.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

structures! {
    /// Up to where records are to go.
    DeleteRecordsRequest<'a> {
        /// One row a topic.
        topics: Array<'a, DeleteRecordsTopic<'a>> => 0..;
        /// How long the broker may take, in ms.
        timeout_ms: i32 => 0..;
    }

    /// Partitions of one topic.
    DeleteRecordsTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, DeleteRecordsPartition> => 0..;
    }

    /// Up to where records of one partition are to go.
    DeleteRecordsPartition {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// The first offset to keep; -1 for the high watermark.
        offset: i64 => 0..;
    }
}

structures! {
    /// What became of them.
    DeleteRecordsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each topic of the request.
        topics: Array<'a, DeleteRecordsTopicReply<'a>> => 0..;
    }

    /// What became of the partitions of one topic.
    DeleteRecordsTopicReply<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row for each partition of the request.
        partitions: Array<'a, DeleteRecordsPartitionReply> => 0..;
    }

    /// What became of one partition.
    DeleteRecordsPartitionReply {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// The first offset that it has now; -1 after an error.
        low_watermark: i64 => 0..;
        /// Whether they are gone.
        error_code: KafkaError => 0..;
    }
}
