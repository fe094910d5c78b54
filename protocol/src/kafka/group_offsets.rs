//! OffsetCommit (8), OffsetFetch (9) and OffsetDelete (47): how far groups have read. Owns their layouts. Any core.
//!
//! What changed. OffsetCommit since 2: 3 throttling; 5 no retention time; 6 leader epochs; 7 static members; 8 flexible; 9 members of
//! the new protocol (KIP-848). OffsetFetch since 1: 2 all topics, an error for the whole; 3 throttling; 5 leader epochs; 6 flexible; 7
//! only what no open transaction can change (KIP-447); 8 several groups; 9 members of the new protocol.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

structures! {
    /// How far a group has read.
    OffsetCommitRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The member's generation or epoch; -1 for a client that is no member.
        generation_id_or_member_epoch: i32 => 1.., default -1, ignorable true;
        /// The member.
        member_id: &'a str => 1.., ignorable true;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 7.., default None;
        /// How long to keep the offsets, in ms; -1 for as long as the broker does.
        retention_time_ms: i64 => 2..=4, default -1, ignorable true;
        /// One row a topic.
        topics: Array<'a, OffsetCommitTopic<'a>> => 0..;
    }

    /// How far in one topic.
    OffsetCommitTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, OffsetCommitPartition<'a>> => 0..;
    }

    /// How far in one partition.
    OffsetCommitPartition<'a> {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// The next offset to read.
        committed_offset: i64 => 0..;
        /// Epoch of the last record that was read, -1 for none.
        committed_leader_epoch: i32 => 6.., default -1, ignorable true;
        /// A note of the client's own.
        committed_metadata: Option<&'a str> => 0.., default Some("");
    }

    /// What became of it.
    OffsetCommitReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 3.., ignorable true;
        /// One row for each topic of the request.
        topics: Array<'a, OffsetCommitTopicReply<'a>> => 0..;
    }

    /// What became of it in one topic.
    OffsetCommitTopicReply<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row for each partition of the request.
        partitions: Array<'a, OffsetCommitPartitionReply> => 0..;
    }

    /// What became of it in one partition.
    OffsetCommitPartitionReply {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// Whether it is kept.
        error_code: KafkaError => 0..;
    }
}

structures! {
    /// Whose offsets are wanted.
    OffsetFetchRequest<'a> {
        /// The group.
        group_id: &'a str => 0..=7;
        /// The topics, null for all.
        topics: Option<Array<'a, OffsetFetchTopic<'a>>> => 0..=7, null 2.., default Some(Array::EMPTY);
        /// The groups.
        groups: Array<'a, OffsetFetchGroup<'a>> => 8..;
        /// Whether to be told to try again rather than what an open transaction may change.
        require_stable: bool => 7..;
    }

    /// One group.
    OffsetFetchGroup<'a> {
        /// The group.
        group_id: &'a str => 8..;
        /// The member; null for a client that is none.
        member_id: Option<&'a str> => 9.., default None, ignorable true;
        /// Its epoch, -1 for a client that is none.
        member_epoch: i32 => 9.., default -1, ignorable true;
        /// The topics, null for all.
        topics: Option<Array<'a, OffsetFetchTopic<'a>>> => 8.., default Some(Array::EMPTY);
    }

    /// Partitions of one topic.
    OffsetFetchTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Numbers of its partitions.
        partition_indexes: Array<'a, i32> => 0..;
    }
}

structures! {
    /// The offsets.
    OffsetFetchReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 3.., ignorable true;
        /// One row a topic.
        topics: Array<'a, OffsetFetchTopicReply<'a>> => 0..=7;
        /// Whether the request is refused as a whole.
        error_code: KafkaError => 2..=7, ignorable true;
        /// One row a group.
        groups: Array<'a, OffsetFetchGroupReply<'a>> => 8..;
    }

    /// Offsets of one group.
    OffsetFetchGroupReply<'a> {
        /// The group.
        group_id: &'a str => 8..;
        /// One row a topic.
        topics: Array<'a, OffsetFetchTopicReply<'a>> => 8..;
        /// Whether the group is refused as a whole.
        error_code: KafkaError => 8..;
    }

    /// Offsets in one topic.
    OffsetFetchTopicReply<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, OffsetFetchPartitionReply<'a>> => 0..;
    }

    /// The offset in one partition.
    OffsetFetchPartitionReply<'a> {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// The next offset to read; -1 for none.
        committed_offset: i64 => 0..;
        /// Epoch of the last record that was read, -1 for none.
        committed_leader_epoch: i32 => 5.., default -1, ignorable true;
        /// The client's own note.
        metadata: Option<&'a str> => 0.., default Some("");
        /// Whether it can be told.
        error_code: KafkaError => 0..;
    }
}

structures! {
    /// Offsets to forget.
    OffsetDeleteRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// One row a topic.
        topics: Array<'a, OffsetDeleteTopic<'a>> => 0..;
    }

    /// Offsets in one topic.
    OffsetDeleteTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row a partition.
        partitions: Array<'a, OffsetDeletePartition> => 0..;
    }

    /// The offset in one partition.
    OffsetDeletePartition {
        /// The partition's number.
        partition_index: i32 => 0..;
    }

    /// What became of them.
    OffsetDeleteReply<'a> {
        /// Whether the request is refused as a whole.
        error_code: KafkaError => 0..;
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each topic of the request.
        topics: Array<'a, OffsetDeleteTopicReply<'a>> => 0..;
    }

    /// What became of them in one topic.
    OffsetDeleteTopicReply<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// One row for each partition of the request.
        partitions: Array<'a, OffsetDeletePartitionReply> => 0..;
    }

    /// What became of one.
    OffsetDeletePartitionReply {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// Whether it is forgotten.
        error_code: KafkaError => 0..;
    }
}
