//! DescribeGroups (15), ListGroups (16) and DeleteGroups (42): groups as operators see them. Owns their layouts. Any core.
//!
//! What changed. DescribeGroups: 1 throttling; 3 operations that are authorized; 4 static members; 5 flexible; 6 messages. ListGroups: 1
//! throttling; 3 flexible; 4 states; 5 types. DeleteGroups: 2 flexible.

use super::array::Array;
use super::error::KafkaError;
use super::metadata::AUTHORIZED_OPERATIONS_NONE;
use super::table::structures;

structures! {
    /// Groups of interest.
    DescribeGroupsRequest<'a> {
        /// Their ids.
        groups: Array<'a, &'a str> => 0..;
        /// Whether to tell what the client may do with them.
        include_authorized_operations: bool => 3..;
    }

    /// The groups.
    DescribeGroupsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// One row for each of the request.
        groups: Array<'a, DescribedGroup<'a>> => 0..;
    }

    /// One group.
    DescribedGroup<'a> {
        /// Whether it can be told.
        error_code: KafkaError => 0..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 6.., default None;
        /// Its id.
        group_id: &'a str => 0..;
        /// `Stable`, `PreparingRebalance`, `CompletingRebalance`, `Empty` or `Dead`.
        group_state: &'a str => 0..;
        /// What kind of group it is.
        protocol_type: &'a str => 0..;
        /// The way to assign; empty when there is none.
        protocol_data: &'a str => 0..;
        /// One row a member.
        members: Array<'a, DescribedMember<'a>> => 0..;
        /// What the client may do, as bits; [`AUTHORIZED_OPERATIONS_NONE`] when not asked for.
        authorized_operations: i32 => 3.., default AUTHORIZED_OPERATIONS_NONE;
    }

    /// One member.
    DescribedMember<'a> {
        /// Its id.
        member_id: &'a str => 0..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 4.., default None, ignorable true;
        /// What its client calls itself.
        client_id: &'a str => 0..;
        /// Where it is.
        client_host: &'a str => 0..;
        /// What it told the leader, as bytes.
        member_metadata: &'a [u8] => 0..;
        /// Its part, as bytes.
        member_assignment: &'a [u8] => 0..;
    }
}

structures! {
    /// Which groups to list.
    ListGroupsRequest<'a> {
        /// States of interest; none for all.
        states_filter: Array<'a, &'a str> => 4..;
        /// Types of interest; none for all.
        types_filter: Array<'a, &'a str> => 5..;
    }

    /// The groups.
    ListGroupsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Whether they can be told.
        error_code: KafkaError => 0..;
        /// One row a group.
        groups: Array<'a, ListedGroup<'a>> => 0..;
    }

    /// One group.
    ListedGroup<'a> {
        /// Its id.
        group_id: &'a str => 0..;
        /// What kind of group it is.
        protocol_type: &'a str => 0..;
        /// Its state.
        group_state: &'a str => 4.., ignorable true;
        /// `Classic` or `Consumer`.
        group_type: &'a str => 5.., ignorable true;
    }
}

structures! {
    /// Groups to delete.
    DeleteGroupsRequest<'a> {
        /// Their ids.
        groups_names: Array<'a, &'a str> => 0..;
    }

    /// What became of them.
    DeleteGroupsReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// One row for each of the request.
        results: Array<'a, DeletedGroup<'a>> => 0..;
    }

    /// What became of one.
    DeletedGroup<'a> {
        /// Its id.
        group_id: &'a str => 0..;
        /// Whether it is gone.
        error_code: KafkaError => 0..;
    }
}
