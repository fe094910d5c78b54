//! Produce (key 0): appending batches to partitions. Owns its layout; never looks into a batch. Any core.
//!
//! What changed: 1 and 2 throttling and append time in the reply; 3 transactions and magic 2, which is where Kafka 4 begins to
//! answer; 5 log start; 7 zstd; 8 errors of single records; 9 flexible; 10 the new leader in the reply (KIP-951); 12 implicit
//! partitions of transactions (KIP-890); 13 topic ids instead of names.

use super::array::Array;
use super::error::KafkaError;
use super::field::Records;
use super::leader::{CurrentLeader, NodeEndpoint};
use super::table::structures;
use crate::ids::TopicId;

structures! {
    /// What to append.
    ProduceRequest<'a> {
        /// The producer's transactional id; null for none.
        transactional_id: Option<&'a str> => 3.., default None;
        /// When to answer: 0 never, 1 when the leader has it, -1 when all in-sync replicas have.
        acks: i16 => 0..;
        /// How long to wait for replicas, in ms.
        timeout_ms: i32 => 0..;
        /// One row a topic.
        topic_data: Array<'a, ProduceTopic<'a>> => 0..;
    }

    /// The batches for one topic.
    ProduceTopic<'a> {
        /// Its name.
        name: &'a str => 0..=12, ignorable true;
        /// Its id.
        topic_id: TopicId => 13.., ignorable true;
        /// One row a partition.
        partition_data: Array<'a, ProducePartition<'a>> => 0..;
    }

    /// The batch for one partition.
    ProducePartition<'a> {
        /// The partition's number.
        index: i32 => 0..;
        /// One batch, to be [checked](super::check_records).
        records: Records<'a> => 0..;
    }
}

structures! {
    /// What became of each batch.
    ProduceReply<'a> {
        /// One row for each topic of the request, in its order.
        responses: Array<'a, ProduceTopicReply<'a>> => 0..;
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Where the leaders named in rows with NOT_LEADER_OR_FOLLOWER are.
        node_endpoints: Array<'a, NodeEndpoint<'a>> => 10.., tag 0, ignorable true;
    }

    /// What became of the batches of one topic.
    ProduceTopicReply<'a> {
        /// The topic's name.
        name: &'a str => 0..=12, ignorable true;
        /// Its id.
        topic_id: TopicId => 13.., ignorable true;
        /// One row for each partition of the request, in its order.
        partition_responses: Array<'a, ProducePartitionReply<'a>> => 0..;
    }

    /// What became of one batch.
    ProducePartitionReply<'a> {
        /// The partition's number.
        index: i32 => 0..;
        /// Whether it is in the log.
        error_code: KafkaError => 0..;
        /// Offset of its first record; -1 after an error.
        base_offset: i64 => 0..;
        /// The broker's clock in ms where the topic takes that for its records' time, else -1.
        log_append_time_ms: i64 => 2.., default -1, ignorable true;
        /// First offset that the partition still has.
        log_start_offset: i64 => 5.., default -1, ignorable true;
        /// The records for which the batch was refused.
        record_errors: Array<'a, RecordError<'a>> => 8.., ignorable true;
        /// What is wrong, in words.
        error_message: Option<&'a str> => 8.., default None, ignorable true;
        /// Who leads the partition, beside NOT_LEADER_OR_FOLLOWER.
        current_leader: CurrentLeader => 10.., tag 0, ignorable true;
    }

    /// Why one record made its batch be refused.
    RecordError<'a> {
        /// The record's place in the batch, from 0.
        batch_index: i32 => 8..;
        /// What is wrong with it, in words.
        batch_index_error_message: Option<&'a str> => 8.., default None;
    }
}
