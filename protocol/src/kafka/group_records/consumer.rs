//! Records of groups whose broker assigns (KIP-848), kinds 3 to 8 and 16. Owns their layouts. Any core.
//!
//! What was added since, all of it as tagged fields: the hash of the topics (KIP-1101), the time of the group's creation
//! (KIP-1282), the time of an assignment (KIP-1263), the epochs at which partitions were assigned (KIP-1251), what members of the
//! classic protocol told (the online migration of KIP-848).

use super::{Value, Versions};
use crate::ids::TopicId;
use crate::kafka::array::Array;
use crate::kafka::table::structures;

structures! {
    /// Which group.
    ConsumerGroupKey<'a> {
        /// The group.
        group_id: &'a str => 0..;
    }

    /// Which member of which group.
    ConsumerGroupMemberKey<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The member.
        member_id: &'a str => 0..;
    }

    /// Which pattern of which group.
    RegularExpressionKey<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The pattern.
        regular_expression: &'a str => 0..;
    }
}

structures! {
    /// The group.
    ConsumerGroupMetadataValue {
        /// Counts the changes of its members and of what they read.
        epoch: i32 => 0..;
        /// A hash of what is known of the topics that they read; 0 for none.
        metadata_hash: i64 => 0.., tag 0;
        /// When the group came to be, in ms of the wall clock; -1 for not known.
        creation_time_ms: i64 => 0.., default -1, tag 1;
    }

    /// What a group knew of its topics.
    ConsumerGroupPartitionMetadataValue<'a> {
        /// One row a topic.
        topics: Array<'a, SubscribedTopic<'a>> => 0..;
    }

    /// One topic.
    SubscribedTopic<'a> {
        /// Its id.
        topic_id: TopicId => 0..;
        /// Its name.
        topic_name: &'a str => 0..;
        /// How many partitions it has.
        num_partitions: i32 => 0..;
        /// Where they are.
        partition_metadata: Array<'a, RackedPartition<'a>> => 0..;
    }

    /// Where one partition is.
    RackedPartition<'a> {
        /// The partition's number.
        partition: i32 => 0..;
        /// The racks of its replicas.
        racks: Array<'a, &'a str> => 0..;
    }

    /// What a member asks for.
    MemberMetadataValue<'a> {
        /// What it calls itself, if it is a static one.
        instance_id: Option<&'a str> => 0..;
        /// Its rack.
        rack_id: Option<&'a str> => 0..;
        /// What its client calls itself.
        client_id: &'a str => 0..;
        /// Where it is.
        client_host: &'a str => 0..;
        /// Names of the topics it reads.
        subscribed_topic_names: Array<'a, &'a str> => 0..;
        /// A pattern of names.
        subscribed_topic_regex: Option<&'a str> => 0..;
        /// How long it may take to give partitions back, in ms.
        rebalance_timeout_ms: i32 => 0.., default -1;
        /// The broker's way to assign that it wants.
        server_assignor: Option<&'a str> => 0..;
        /// What it told as a member of the classic protocol; null for one of this.
        classic_member_metadata: Option<ClassicMemberMetadata<'a>> => 0.., default None, tag 0;
    }

    /// What a member of the classic protocol told.
    ClassicMemberMetadata<'a> {
        /// How long it may be silent, in ms.
        session_timeout_ms: i32 => 0..;
        /// The protocols that it supports, the one it likes best first.
        supported_protocols: Array<'a, ClassicMemberProtocol<'a>> => 0..;
    }

    /// One protocol of a member of the classic protocol.
    ClassicMemberProtocol<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// What the member told with it.
        metadata: &'a [u8] => 0..;
    }

    /// For which epoch the assignment was made.
    TargetAssignmentMetadataValue {
        /// The group's epoch then.
        assignment_epoch: i32 => 0..;
        /// When it was made, in ms of the wall clock; 0 for not known.
        assignment_timestamp: i64 => 0.., tag 0;
    }

    /// What a member is to read.
    TargetAssignmentMemberValue<'a> {
        /// One row a topic.
        topic_partitions: Array<'a, TargetTopicPartitions<'a>> => 0..;
    }

    /// Partitions of one topic.
    TargetTopicPartitions<'a> {
        /// The topic.
        topic_id: TopicId => 0..;
        /// Their numbers.
        partitions: Array<'a, i32> => 0..;
    }

    /// What a member reads.
    CurrentMemberAssignmentValue<'a> {
        /// Its epoch.
        member_epoch: i32 => 0..;
        /// The one before, with which it comes again when the reply was lost.
        previous_member_epoch: i32 => 0..;
        /// 0 stable, 1 it has partitions to give back, 2 it waits for partitions of others.
        state: i8 => 0..;
        /// The partitions it has.
        assigned_partitions: Array<'a, CurrentTopicPartitions<'a>> => 0..;
        /// Those it is to give back.
        partitions_pending_revocation: Array<'a, CurrentTopicPartitions<'a>> => 0..;
    }

    /// Partitions of one topic.
    CurrentTopicPartitions<'a> {
        /// The topic.
        topic_id: TopicId => 0..;
        /// Their numbers.
        partitions: Array<'a, i32> => 0..;
        /// The epoch at which each of them was assigned; null for not known.
        assignment_epochs: Option<Array<'a, i32>> => 0.., default None, tag 0;
    }

    /// The topics whose names fit a pattern.
    RegularExpressionValue<'a> {
        /// Their names.
        topics: Array<'a, &'a str> => 0..;
        /// The version of the metadata they were taken from.
        version: i64 => 0..;
        /// When, in ms of the wall clock.
        timestamp: i64 => 0..;
    }
}

/// Values that have one version, flexible from the first.
macro_rules! only_version {
    ($($value:ty),* $(,)?) => {$(
        impl<'a> Value<'a> for $value {
            const VERSIONS: Versions = Versions { last: 0, flexible_from: 0 };

            fn version(&self) -> i16 {
                0
            }
        }
    )*};
}

only_version! {
    ConsumerGroupMetadataValue,
    ConsumerGroupPartitionMetadataValue<'a>,
    MemberMetadataValue<'a>,
    TargetAssignmentMetadataValue,
    TargetAssignmentMemberValue<'a>,
    CurrentMemberAssignmentValue<'a>,
    RegularExpressionValue<'a>,
}
