//! Fetch (key 1): reading batches. Owns its layout; never looks into a batch. Any core.
//!
//! What changed since 4 (the oldest with magic 2): 5 log start; 7 fetch sessions (KIP-227); 9 the leader epoch a client knows
//! (KIP-320); 11 racks and preferred replicas (KIP-392); 12 flexible, diverging epochs; 13 topic ids instead of names; 15 the
//! replica id becomes a tagged field; 16 endpoints of new leaders (KIP-951); 17 a follower's directory.

use super::array::Array;
use super::error::KafkaError;
use super::field::Records;
use super::leader::{CurrentLeader, NodeEndpoint};
use super::table::structures;
use crate::ids::TopicId;

structures! {
    /// What to read, and when to answer.
    FetchRequest<'a> {
        /// The cluster that the sender believes to speak to.
        cluster_id: Option<&'a str> => 12.., default None, tag 0, ignorable true;
        /// The follower that asks, -1 for a consumer.
        replica_id: i32 => ..=14, default -1;
        /// The same, and the follower's epoch.
        replica_state: ReplicaState => 15.., tag 1;
        /// How long to wait for `min_bytes`, in ms.
        max_wait_ms: i32 => 0..;
        /// Bytes of records worth an answer.
        min_bytes: i32 => 0..;
        /// The most bytes of records; a first batch that is larger comes nevertheless (KIP-74).
        max_bytes: i32 => 3.., default i32::MAX, ignorable true;
        /// 0 to see everything, 1 to see nothing of transactions that are not committed.
        isolation_level: i8 => 4..;
        /// The session, 0 for none.
        session_id: i32 => 7..;
        /// The request's number in its session; -1 for none, 0 for a new one.
        session_epoch: i32 => 7.., default -1;
        /// What to read; in a session, what changed.
        topics: Array<'a, FetchTopic<'a>> => 0..;
        /// What to take out of the session.
        forgotten_topics_data: Array<'a, ForgottenTopic<'a>> => 7..;
        /// The consumer's rack.
        rack_id: &'a str => 11.., ignorable true;
    }

    /// A follower.
    ReplicaState {
        /// Its node, -1 for a consumer.
        replica_id: i32 => 15.., default -1;
        /// Its epoch.
        replica_epoch: i64 => 15.., default -1;
    }

    /// What to read of one topic.
    FetchTopic<'a> {
        /// Its name.
        topic: &'a str => ..=12, ignorable true;
        /// Its id.
        topic_id: TopicId => 13.., ignorable true;
        /// One row a partition.
        partitions: Array<'a, FetchPartition> => 0..;
    }

    /// What to read of one partition.
    FetchPartition {
        /// The partition's number.
        partition: i32 => 0..;
        /// The leader epoch that the client knows, -1 for none.
        current_leader_epoch: i32 => 9.., default -1, ignorable true;
        /// The first offset wanted.
        fetch_offset: i64 => 0..;
        /// Epoch of the last record that the follower has, -1 for none.
        last_fetched_epoch: i32 => 12.., default -1;
        /// First offset that the follower has, -1 for a consumer.
        log_start_offset: i64 => 5.., default -1, ignorable true;
        /// The most bytes of this partition.
        partition_max_bytes: i32 => 0..;
        /// The directory in which the follower keeps it.
        replica_directory_id: TopicId => 17.., tag 0, ignorable true;
    }

    /// What to take out of the session.
    ForgottenTopic<'a> {
        /// The topic's name.
        topic: &'a str => 7..=12, ignorable true;
        /// Its id.
        topic_id: TopicId => 13.., ignorable true;
        /// Numbers of its partitions.
        partitions: Array<'a, i32> => 7..;
    }
}

structures! {
    /// What was read.
    FetchReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Whether the session is refused.
        error_code: KafkaError => 7.., ignorable true;
        /// The session, 0 for none.
        session_id: i32 => 7..;
        /// One row a topic.
        responses: Array<'a, FetchTopicReply<'a>> => 0..;
        /// Where the leaders named in rows are.
        node_endpoints: Array<'a, NodeEndpoint<'a>> => 16.., tag 0, ignorable true;
    }

    /// What was read of one topic.
    FetchTopicReply<'a> {
        /// Its name.
        topic: &'a str => ..=12, ignorable true;
        /// Its id.
        topic_id: TopicId => 13.., ignorable true;
        /// One row a partition.
        partitions: Array<'a, FetchPartitionReply<'a>> => 0..;
    }

    /// What was read of one partition.
    FetchPartitionReply<'a> {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// Whether it could be read.
        error_code: KafkaError => 0..;
        /// Below it everything is committed.
        high_watermark: i64 => 0..;
        /// Below it no transaction is open; -1 when not known.
        last_stable_offset: i64 => 4.., default -1, ignorable true;
        /// First offset that the partition has; -1 when not known.
        log_start_offset: i64 => 5.., default -1, ignorable true;
        /// Where the follower's log leaves the leader's.
        diverging_epoch: EpochEndOffset => 12.., tag 0;
        /// Who leads the partition, where it is not this broker.
        current_leader: CurrentLeader => 12.., tag 1;
        /// The snapshot to fetch instead.
        snapshot_id: SnapshotId => 12.., tag 2;
        /// Transactions in these batches that were aborted; null where nothing asked for it.
        aborted_transactions: Option<Array<'a, AbortedTransaction>> => 4.., default Some(Array::EMPTY), ignorable true;
        /// The replica to read from next time, -1 for the leader.
        preferred_read_replica: i32 => 11.., default -1;
        /// Batches one behind the other; the first may begin before the offset asked for, the last may be cut.
        records: Records<'a> => 0..;
    }

    /// Where an epoch ends.
    EpochEndOffset {
        /// The epoch.
        epoch: i32 => 12.., default -1;
        /// The offset after its last record.
        end_offset: i64 => 12.., default -1;
    }

    /// A snapshot of the metadata log.
    SnapshotId {
        /// Where it ends.
        end_offset: i64 => 0.., default -1;
        /// Epoch of its last record.
        epoch: i32 => 0.., default -1;
    }

    /// A transaction that was aborted.
    AbortedTransaction {
        /// Its producer.
        producer_id: i64 => 4..;
        /// Its first offset.
        first_offset: i64 => 4..;
    }
}
