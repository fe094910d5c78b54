//! ConsumerGroupHeartbeat (68) and ConsumerGroupDescribe (69): groups whose broker assigns (KIP-848). Owns their layouts. Any core.
//!
//! What changed. ConsumerGroupHeartbeat: 1 regular expressions, ids made by the client. ConsumerGroupDescribe: 1 kinds of members.

use super::array::Array;
use super::error::KafkaError;
use super::metadata::AUTHORIZED_OPERATIONS_NONE;
use super::table::structures;
use crate::ids::TopicId;

structures! {
    /// A member's sign of life, and what changed since the last.
    ConsumerGroupHeartbeatRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The member.
        member_id: &'a str => 0..;
        /// Its epoch; 0 to join, -1 to leave, -2 for a static member that comes back.
        member_epoch: i32 => 0..;
        /// What it calls itself, if it is a static one; null for no change, as in what follows.
        instance_id: Option<&'a str> => 0.., default None;
        /// Its rack.
        rack_id: Option<&'a str> => 0.., default None;
        /// How long it may take to give partitions back, in ms; -1 for no change.
        rebalance_timeout_ms: i32 => 0.., default -1;
        /// Names of the topics it reads.
        subscribed_topic_names: Option<Array<'a, &'a str>> => 0.., default None;
        /// A pattern of names.
        subscribed_topic_regex: Option<&'a str> => 1.., default None;
        /// The broker's way to assign that it wants.
        server_assignor: Option<&'a str> => 0.., default None;
        /// The partitions that it has.
        topic_partitions: Option<Array<'a, MemberTopic<'a>>> => 0.., default None;
    }

    /// Partitions of one topic.
    MemberTopic<'a> {
        /// The topic.
        topic_id: TopicId => 0..;
        /// Their numbers.
        partitions: Array<'a, i32> => 0..;
    }

    /// What the member is to do.
    ConsumerGroupHeartbeatReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// Whether it is a member.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default None;
        /// Its id, where the broker made it.
        member_id: Option<&'a str> => 0.., default None;
        /// Its epoch.
        member_epoch: i32 => 0..;
        /// After how long to give the next sign, in ms.
        heartbeat_interval_ms: i32 => 0..;
        /// What it is to read; null for no change.
        assignment: Option<MemberAssignment<'a>> => 0.., default None;
    }

    /// What a member is to read.
    MemberAssignment<'a> {
        /// One row a topic.
        topic_partitions: Array<'a, MemberTopic<'a>> => 0..;
    }
}

structures! {
    /// Groups of interest.
    ConsumerGroupDescribeRequest<'a> {
        /// Their ids.
        group_ids: Array<'a, &'a str> => 0..;
        /// Whether to tell what the client may do with them.
        include_authorized_operations: bool => 0..;
    }

    /// The groups.
    ConsumerGroupDescribeReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each of the request.
        groups: Array<'a, ConsumerGroup<'a>> => 0..;
    }

    /// One group.
    ConsumerGroup<'a> {
        /// Whether it can be told.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 0.., default None;
        /// Its id.
        group_id: &'a str => 0..;
        /// Its state.
        group_state: &'a str => 0..;
        /// Counts the changes of its members and of what they read.
        group_epoch: i32 => 0..;
        /// Counts the assignments.
        assignment_epoch: i32 => 0..;
        /// The way to assign.
        assignor_name: &'a str => 0..;
        /// One row a member.
        members: Array<'a, ConsumerGroupMember<'a>> => 0..;
        /// What the client may do, as bits; [`AUTHORIZED_OPERATIONS_NONE`] when not asked for.
        authorized_operations: i32 => 0.., default AUTHORIZED_OPERATIONS_NONE;
    }

    /// One member.
    ConsumerGroupMember<'a> {
        /// Its id.
        member_id: &'a str => 0..;
        /// What it calls itself, if it is a static one.
        instance_id: Option<&'a str> => 0.., default None;
        /// Its rack.
        rack_id: Option<&'a str> => 0.., default None;
        /// Its epoch.
        member_epoch: i32 => 0..;
        /// What its client calls itself.
        client_id: &'a str => 0..;
        /// Where it is.
        client_host: &'a str => 0..;
        /// Names of the topics it reads.
        subscribed_topic_names: Array<'a, &'a str> => 0..;
        /// A pattern of names.
        subscribed_topic_regex: Option<&'a str> => 0.., default None;
        /// What it reads.
        assignment: NamedAssignment<'a> => 0..;
        /// What it is to read.
        target_assignment: NamedAssignment<'a> => 0..;
        /// 0 for one of the classic protocol, 1 for one of this, -1 when not known.
        member_type: i8 => 1.., default -1, ignorable true;
    }

    /// What a member reads, by name as well.
    NamedAssignment<'a> {
        /// One row a topic.
        topic_partitions: Array<'a, NamedMemberTopic<'a>> => 0..;
    }

    /// Partitions of one topic.
    NamedMemberTopic<'a> {
        /// The topic.
        topic_id: TopicId => 0..;
        /// Its name.
        topic_name: &'a str => 0..;
        /// Their numbers.
        partitions: Array<'a, i32> => 0..;
    }
}
