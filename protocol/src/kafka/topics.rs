//! CreateTopics (19), DeleteTopics (20) and CreatePartitions (37). Owns their layouts. Any core.
//!
//! What changed. CreateTopics: 1 a trial run and messages; 2 throttling; 4 -1 for the broker's own counts (KIP-464); 5 flexible, the
//! topic as it was created (KIP-525); 7 topic ids. DeleteTopics: 1 throttling; 4 flexible; 5 messages; 6 by id. CreatePartitions: 2
//! flexible.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;
use crate::ids::TopicId;

structures! {
    /// Topics to create.
    CreateTopicsRequest<'a> {
        /// One row a topic.
        topics: Array<'a, CreatableTopic<'a>> => 0..;
        /// How long the broker may take, in ms.
        timeout_ms: i32 => 0.., default 60_000;
        /// Whether to check only.
        validate_only: bool => 1..;
    }

    /// A topic to create.
    CreatableTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Partitions; -1 for the broker's own count, or where `assignments` says.
        num_partitions: i32 => 0..;
        /// Replicas of each partition; -1 likewise.
        replication_factor: i16 => 0..;
        /// Which nodes have which partition; none for the broker to choose.
        assignments: Array<'a, CreatableAssignment<'a>> => 0..;
        /// What is configured.
        configs: Array<'a, CreatableConfig<'a>> => 0..;
    }

    /// Where one partition is to be.
    CreatableAssignment<'a> {
        /// The partition's number.
        partition_index: i32 => 0..;
        /// The nodes.
        broker_ids: Array<'a, i32> => 0..;
    }

    /// A configuration of a new topic.
    CreatableConfig<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Its value.
        value: Option<&'a str> => 0.., default Some("");
    }
}

structures! {
    /// What became of them.
    CreateTopicsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 2.., ignorable true;
        /// One row for each topic of the request.
        topics: Array<'a, CreatedTopic<'a>> => 0..;
    }

    /// What became of one topic.
    CreatedTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// The id it was given.
        topic_id: TopicId => 7.., ignorable true;
        /// Whether it was created.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 1.., default Some(""), ignorable true;
        /// Why `configs` is null, where it is.
        topic_config_error_code: KafkaError => 5.., tag 0, ignorable true;
        /// Its partitions.
        num_partitions: i32 => 5.., default -1, ignorable true;
        /// Replicas of each.
        replication_factor: i16 => 5.., default -1, ignorable true;
        /// Its configuration, null where the client may not see it.
        configs: Option<Array<'a, CreatedConfig<'a>>> => 5.., default Some(Array::EMPTY), ignorable true;
    }

    /// A configuration of a topic that was created.
    CreatedConfig<'a> {
        /// Its name.
        name: &'a str => 5..;
        /// Its value.
        value: Option<&'a str> => 5.., default Some(""), ignorable true;
        /// Whether nobody can change it.
        read_only: bool => 5..;
        /// Where the value comes from, see [`config_source`](super::config_source).
        config_source: i8 => 5.., default -1, ignorable true;
        /// Whether the value is secret, and therefore null.
        is_sensitive: bool => 5..;
    }
}

structures! {
    /// Topics to delete.
    DeleteTopicsRequest<'a> {
        /// By name or id.
        topics: Array<'a, DeletableTopic<'a>> => 6..;
        /// By name.
        topic_names: Array<'a, &'a str> => 0..=5, ignorable true;
        /// How long the broker may take, in ms.
        timeout_ms: i32 => 0..;
    }

    /// A topic to delete.
    DeletableTopic<'a> {
        /// Its name; null when `topic_id` says.
        name: Option<&'a str> => 6.., default None;
        /// Its id; zero when `name` says.
        topic_id: TopicId => 6..;
    }

    /// What became of them.
    DeleteTopicsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// One row for each topic of the request.
        responses: Array<'a, DeletedTopic<'a>> => 0..;
    }

    /// What became of one topic.
    DeletedTopic<'a> {
        /// Its name; null where it was asked for by an id that is not known.
        name: Option<&'a str> => 0.., null 6.., default Some("");
        /// Its id.
        topic_id: TopicId => 6.., ignorable true;
        /// Whether it was deleted.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 5.., default None, ignorable true;
    }
}

structures! {
    /// Topics that are to have more partitions.
    CreatePartitionsRequest<'a> {
        /// One row a topic.
        topics: Array<'a, CreatePartitionsTopic<'a>> => 0..;
        /// How long the broker may take, in ms.
        timeout_ms: i32 => 0..;
        /// Whether to check only.
        validate_only: bool => 0..;
    }

    /// A topic that is to have more.
    CreatePartitionsTopic<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// How many it is to have in all.
        count: i32 => 0..;
        /// Where the new ones are to be; null for the broker to choose.
        assignments: Option<Array<'a, CreatePartitionsAssignment<'a>>> => 0.., default Some(Array::EMPTY);
    }

    /// Where one new partition is to be.
    CreatePartitionsAssignment<'a> {
        /// The nodes.
        broker_ids: Array<'a, i32> => 0..;
    }

    /// What became of them.
    CreatePartitionsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each topic of the request.
        results: Array<'a, CreatePartitionsResult<'a>> => 0..;
    }

    /// What became of one topic.
    CreatePartitionsResult<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// Whether it has them.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default None;
    }
}
