//! InitProducerId (key 22): a number for an idempotent or transactional producer. Owns its layout. Any core.
//!
//! What changed: 2 flexible; 3 a producer that raises its own epoch (KIP-360); 4 PRODUCER_FENCED instead of
//! INVALID_PRODUCER_EPOCH; 5 transactions of KIP-890.

use super::error::KafkaError;
use super::table::structures;

structures! {
    /// Who wants a number.
    InitProducerIdRequest<'a> {
        /// The transactional id; null for a producer that is idempotent only.
        transactional_id: Option<&'a str> => 0.., default Some("");
        /// After how long a transaction that stands still is aborted, in ms.
        transaction_timeout_ms: i32 => 0..;
        /// The number that the producer has, to raise its epoch; -1 for a new one.
        producer_id: i64 => 3.., default -1;
        /// The epoch that goes with it.
        producer_epoch: i16 => 3.., default -1;
    }

    /// The number.
    InitProducerIdReply {
        /// How long the client is to wait because of a quota, in ms.
        throttle_time_ms: i32 => 0.., ignorable true;
        /// Whether there is a number.
        error_code: KafkaError => 0..;
        /// The number; -1 after an error.
        producer_id: i64 => 0.., default -1;
        /// Its epoch.
        producer_epoch: i16 => 0..;
    }
}
