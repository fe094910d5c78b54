//! JoinGroup (11), Heartbeat (12), LeaveGroup (13) and SyncGroup (14): members of classic groups. Owns their layouts; what members
//! tell each other is bytes here. Any core.
//!
//! What changed. JoinGroup: 1 a timeout of its own for rebalances; 2 throttling; 4 ids are given before joining (KIP-394); 5 static
//! members (KIP-345); 6 flexible; 7 protocol type in the reply; 8 reasons; 9 a leader that need not assign. Heartbeat: 1 throttling; 3
//! static members; 4 flexible. LeaveGroup: 1 throttling; 3 several members; 4 flexible; 5 reasons. SyncGroup: 1 throttling; 3 static
//! members; 4 flexible; 5 protocol type and name.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

structures! {
    /// Who wants to be a member.
    JoinGroupRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// Without a heartbeat for so long the member is taken for dead, in ms.
        session_timeout_ms: i32 => 0..;
        /// How long members have to join again in a rebalance, in ms; -1 in version 0, where it is the session's.
        rebalance_timeout_ms: i32 => 1.., default -1, ignorable true;
        /// The member's id; empty at first.
        member_id: &'a str => 0..;
        /// What a static member calls itself; null for others.
        group_instance_id: Option<&'a str> => 5.., default None;
        /// What kind of group it is: `consumer`, `connect` and so on.
        protocol_type: &'a str => 0..;
        /// The ways to assign that the member has, the dearest first.
        protocols: Array<'a, JoinProtocol<'a>> => 0..;
        /// Why it joins.
        reason: Option<&'a str> => 8.., default None, ignorable true;
    }

    /// A way to assign.
    JoinProtocol<'a> {
        /// Its name.
        name: &'a str => 0..;
        /// What the member tells the leader, as bytes.
        metadata: &'a [u8] => 0..;
    }
}

structures! {
    /// The generation that was joined.
    JoinGroupReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 2.., ignorable true;
        /// Whether it was joined.
        error_code: KafkaError => 0..;
        /// Its number; -1 after an error.
        generation_id: i32 => 0.., default -1;
        /// What kind of group it is.
        protocol_type: Option<&'a str> => 7.., default None, ignorable true;
        /// The way to assign.
        protocol_name: Option<&'a str> => 0.., null 7.., default Some(""), ignorable true;
        /// The member that assigns.
        leader: &'a str => 0..;
        /// Whether the leader is not to assign.
        skip_assignment: bool => 9..;
        /// This member.
        member_id: &'a str => 0..;
        /// Every member, for the leader; none for others.
        members: Array<'a, JoinedMember<'a>> => 0..;
    }

    /// One member.
    JoinedMember<'a> {
        /// Its id.
        member_id: &'a str => 0..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 5.., default None, ignorable true;
        /// What it tells the leader, as bytes.
        metadata: &'a [u8] => 0..;
    }
}

structures! {
    /// Who lives.
    HeartbeatRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The generation that the member is in.
        generation_id: i32 => 0..;
        /// The member.
        member_id: &'a str => 0..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 3.., default None;
    }

    /// Whether all is well.
    HeartbeatReply {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// REBALANCE_IN_PROGRESS where the member has to join again.
        error_code: KafkaError => 0..;
    }
}

structures! {
    /// Who leaves.
    LeaveGroupRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The member.
        member_id: &'a str => 0..=2;
        /// The members.
        members: Array<'a, LeavingMember<'a>> => 3..;
    }

    /// One that leaves.
    LeavingMember<'a> {
        /// Its id; empty for a static member that is known by the other.
        member_id: &'a str => 3..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 3.., default None;
        /// Why.
        reason: Option<&'a str> => 5.., default None, ignorable true;
    }

    /// What became of them.
    LeaveGroupReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Whether the request was good.
        error_code: KafkaError => 0..;
        /// One row a member.
        members: Array<'a, LeftMember<'a>> => 3..;
    }

    /// What became of one.
    LeftMember<'a> {
        /// Its id.
        member_id: &'a str => 3..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 3.., default Some("");
        /// Whether it left.
        error_code: KafkaError => 3..;
    }
}

structures! {
    /// Who waits for its assignment; from the leader, everybody's.
    SyncGroupRequest<'a> {
        /// The group.
        group_id: &'a str => 0..;
        /// The generation that the member is in.
        generation_id: i32 => 0..;
        /// The member.
        member_id: &'a str => 0..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 3.., default None;
        /// What kind of group it believes in.
        protocol_type: Option<&'a str> => 5.., default None, ignorable true;
        /// The way to assign that it believes in.
        protocol_name: Option<&'a str> => 5.., default None, ignorable true;
        /// One row a member, from the leader; none from others.
        assignments: Array<'a, SyncAssignment<'a>> => 0..;
    }

    /// What one member is to do.
    SyncAssignment<'a> {
        /// The member.
        member_id: &'a str => 0..;
        /// Its part, as bytes.
        assignment: &'a [u8] => 0..;
    }

    /// What the member is to do.
    SyncGroupReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Whether there is an assignment.
        error_code: KafkaError => 0..;
        /// What kind of group it is.
        protocol_type: Option<&'a str> => 5.., default None, ignorable true;
        /// The way to assign.
        protocol_name: Option<&'a str> => 5.., default None, ignorable true;
        /// The member's part, as bytes.
        assignment: &'a [u8] => 0..;
    }
}
