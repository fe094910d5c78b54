//! GroupMetadata (kind 2): a group of the classic protocol. Owns its layout. Any core.
//!
//! What changed in the value: 1 rebalance timeouts; 2 since when the group is as it is; 3 static members; 4 flexible.

use super::{Value, Versions};
use crate::kafka::array::Array;
use crate::kafka::table::structures;

structures! {
    /// Which group.
    GroupMetadataKey<'a> {
        /// The group.
        group: &'a str => 0..;
    }

    /// The group.
    GroupMetadataValue<'a> {
        /// What its members speak, `consumer` for consumers; empty for a group that only keeps offsets.
        protocol_type: &'a str => 0..;
        /// Counts its rebalances.
        generation: i32 => 0..;
        /// The way to assign that its members agreed on.
        protocol: Option<&'a str> => 0..;
        /// The member that assigns.
        leader: Option<&'a str> => 0..;
        /// Since when it is in its state, in ms of the wall clock; -1 for not known.
        current_state_timestamp: i64 => 2.., default -1, ignorable true;
        /// One row a member.
        members: Array<'a, GroupMetadataMember<'a>> => 0..;
    }

    /// One member.
    GroupMetadataMember<'a> {
        /// Its id.
        member_id: &'a str => 0..;
        /// What it calls itself, if it is a static one.
        group_instance_id: Option<&'a str> => 3.., default None, ignorable true;
        /// What its client calls itself.
        client_id: &'a str => 0..;
        /// Where it is.
        client_host: &'a str => 0..;
        /// How long it may take to rejoin, in ms.
        rebalance_timeout: i32 => 1.., ignorable true;
        /// How long it may be silent, in ms.
        session_timeout: i32 => 0..;
        /// What it told with the protocol that was agreed on.
        subscription: &'a [u8] => 0..;
        /// What the leader gave it.
        assignment: &'a [u8] => 0..;
    }
}

impl<'a> Value<'a> for GroupMetadataValue<'a> {
    const VERSIONS: Versions = Versions { last: 4, flexible_from: 4 };

    /// The newest that every Kafka reads which knows static members: 4 only says the same in other lengths.
    fn version(&self) -> i16 {
        3
    }
}
