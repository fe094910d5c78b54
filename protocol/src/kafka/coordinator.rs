//! FindCoordinator (key 10): which broker looks after a group or a transactional id. Owns its layout. Any core.
//!
//! What changed: 1 transactional ids, throttling, messages; 3 flexible; 4 several keys at once (KIP-699); 6 share groups.

use super::array::Array;
use super::error::KafkaError;
use super::table::structures;

/// What a coordinator looks after (`FindCoordinatorRequest.CoordinatorType`).
pub mod coordinator_type {
    /// A group, by id.
    pub const GROUP: i8 = 0;
    /// A transactional id.
    pub const TRANSACTION: i8 = 1;
    /// A partition of a share group.
    pub const SHARE: i8 = 2;
}

structures! {
    /// Whose coordinator is wanted.
    FindCoordinatorRequest<'a> {
        /// The group or transactional id.
        key: &'a str => 0..=3;
        /// Which of them, see [`coordinator_type`].
        key_type: i8 => 1..;
        /// The groups or transactional ids.
        coordinator_keys: Array<'a, &'a str> => 4..;
    }

    /// Where the coordinators are.
    FindCoordinatorReply<'a> {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 1.., ignorable true;
        /// Whether there is one.
        error_code: KafkaError => 0..=3;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 1..=3, default Some(""), ignorable true;
        /// Its node.
        node_id: i32 => 0..=3;
        /// Its host.
        host: &'a str => 0..=3;
        /// Its port.
        port: i32 => 0..=3;
        /// One row a key.
        coordinators: Array<'a, Coordinator<'a>> => 4..;
    }

    /// Where one coordinator is.
    Coordinator<'a> {
        /// The group or transactional id.
        key: &'a str => 4..;
        /// The coordinator's node, -1 after an error.
        node_id: i32 => 4..;
        /// Its host.
        host: &'a str => 4..;
        /// Its port.
        port: i32 => 4..;
        /// Whether there is one.
        error_code: KafkaError => 4..;
        /// What is wrong, in words; null for nothing.
        error_message: Option<&'a str> => 4.., default Some(""), ignorable true;
    }
}
