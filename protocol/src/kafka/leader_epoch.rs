//! OffsetForLeaderEpoch (key 23): where an epoch ends (KIP-320). Owns its layout. Any core. What changed since 2: 3 the replica id;
//! 4 flexible.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

structures! {
    /// Epochs of interest.
    OffsetForLeaderEpochRequest<'a> {
        /// The follower that asks, -1 for a consumer, -2 for nobody in particular.
        replica_id: i32 => 3.., default -2, ignorable true;
        /// One row a topic.
        topics: Array<'a, LeaderEpochTopic<'a>> => 0..;
    }

    /// Partitions of one topic.
    LeaderEpochTopic<'a> {
        /// Its name.
        topic: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, LeaderEpochPartition> => 0..;
    }

    /// An epoch of one partition.
    LeaderEpochPartition {
        /// The partition's number.
        partition: i32 => 0..;
        /// The leader epoch that the client knows, -1 for none.
        current_leader_epoch: i32 => 2.., default -1, ignorable true;
        /// The epoch whose end is wanted.
        leader_epoch: i32 => 0..;
    }
}

structures! {
    /// Where they end.
    OffsetForLeaderEpochReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 2.., ignorable true;
        /// One row for each topic of the request.
        topics: Array<'a, LeaderEpochTopicReply<'a>> => 0..;
    }

    /// Ends in one topic.
    LeaderEpochTopicReply<'a> {
        /// Its name.
        topic: &'a str => 0..;
        /// One row for each partition of the request.
        partitions: Array<'a, LeaderEpochPartitionReply> => 0..;
    }

    /// The end in one partition.
    LeaderEpochPartitionReply {
        /// Whether it is known.
        error_code: KafkaError => 0..;
        /// The partition's number.
        partition: i32 => 0..;
        /// The largest epoch up to the one asked for that has records; -1 for none.
        leader_epoch: i32 => 1.., default -1, ignorable true;
        /// The offset after its last record; -1 for none.
        end_offset: i64 => 0.., default -1;
    }
}
