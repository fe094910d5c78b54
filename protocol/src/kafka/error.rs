//! The error numbers of Kafka's replies. Owns numbers, names, sentences and whether a client tries again by itself. Never maps
//! one of our errors to a number: the server does that in one place. Any core.
//!
//! [`ErrorCode`](crate::ErrorCode) has the same numbers where it has the meaning, and others of our own; Kafka's clients know
//! these only, and many more of them than the native protocol needs.

use std::fmt;

/// An error number as it stands on Kafka's wire. A number without a name here is kept as it came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct KafkaError(pub i16);

macro_rules! numbers {
    ($($name:ident = $number:literal, $retriable:literal, $sentence:literal;)*) => {
        impl KafkaError {
            $(
                #[doc = concat!("Number ", stringify!($number), ": ", $sentence, ".")]
                pub const $name: KafkaError = KafkaError($number);
            )*

            /// Every number with a name, in ascending order but for the last.
            pub const ALL: &'static [KafkaError] = &[$(KafkaError::$name),*];

            /// Kafka's name for it.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// Whether Kafka's clients try again by themselves (a `RetriableException` in the Java client).
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self.0 {
                    $($number => $retriable,)*
                    _ => false,
                }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self.0 {
                    $($number => $sentence,)*
                    _ => "an error this side does not know",
                }
            }
        }
    };
}

numbers! {
    NONE = 0, false, "no error";
    OFFSET_OUT_OF_RANGE = 1, false, "the offset lies outside the partition's log";
    CORRUPT_MESSAGE = 2, true, "the batch does not match its checksum or its own layout";
    UNKNOWN_TOPIC_OR_PARTITION = 3, true, "the broker does not know the topic or the partition";
    INVALID_FETCH_SIZE = 4, false, "the fetch asks for a size that cannot be";
    LEADER_NOT_AVAILABLE = 5, true, "the partition has no leader now";
    NOT_LEADER_OR_FOLLOWER = 6, true, "this broker does not hold the partition";
    REQUEST_TIMED_OUT = 7, true, "the request was not done within its time";
    BROKER_NOT_AVAILABLE = 8, false, "the broker is not there";
    REPLICA_NOT_AVAILABLE = 9, true, "the replica is not there";
    MESSAGE_TOO_LARGE = 10, false, "the batch is larger than the topic takes";
    OFFSET_METADATA_TOO_LARGE = 12, false, "the note of a committed offset is too long";
    NETWORK_EXCEPTION = 13, true, "the connection ended before the reply";
    COORDINATOR_LOAD_IN_PROGRESS = 14, true, "the coordinator is still reading its state";
    COORDINATOR_NOT_AVAILABLE = 15, true, "there is no coordinator now";
    NOT_COORDINATOR = 16, true, "another broker coordinates this";
    INVALID_TOPIC_EXCEPTION = 17, false, "the topic cannot be named or used like this";
    RECORD_LIST_TOO_LARGE = 18, false, "the batch is larger than a segment";
    NOT_ENOUGH_REPLICAS = 19, true, "too few replicas are in sync to take the batch";
    NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20, true, "the batch was written to too few replicas";
    INVALID_REQUIRED_ACKS = 21, false, "acks is 0, 1 or -1";
    ILLEGAL_GENERATION = 22, false, "the generation is not the group's";
    INCONSISTENT_GROUP_PROTOCOL = 23, false, "the member has no protocol in common with the group";
    INVALID_GROUP_ID = 24, false, "the group id cannot be one";
    UNKNOWN_MEMBER_ID = 25, false, "the group has no such member";
    INVALID_SESSION_TIMEOUT = 26, false, "the session timeout is outside the broker's range";
    REBALANCE_IN_PROGRESS = 27, false, "the group is rebalancing, the member has to join again";
    INVALID_COMMIT_OFFSET_SIZE = 28, false, "the committed offset is too large to keep";
    TOPIC_AUTHORIZATION_FAILED = 29, false, "not allowed on this topic";
    GROUP_AUTHORIZATION_FAILED = 30, false, "not allowed on this group";
    CLUSTER_AUTHORIZATION_FAILED = 31, false, "not allowed on this cluster";
    INVALID_TIMESTAMP = 32, false, "a record's timestamp is outside what the topic takes";
    UNSUPPORTED_SASL_MECHANISM = 33, false, "the broker does not have this SASL mechanism";
    ILLEGAL_SASL_STATE = 34, false, "the request does not fit the state of the authentication";
    UNSUPPORTED_VERSION = 35, false, "the broker does not speak this version of the request";
    TOPIC_ALREADY_EXISTS = 36, false, "a topic of this name exists";
    INVALID_PARTITIONS = 37, false, "the partition count is not legal";
    INVALID_REPLICATION_FACTOR = 38, false, "the replication factor is not legal here";
    INVALID_REPLICA_ASSIGNMENT = 39, false, "the replicas are not assigned in a legal way";
    INVALID_CONFIG = 40, false, "a configuration is not known or its value not legal";
    NOT_CONTROLLER = 41, true, "another broker is the controller";
    INVALID_REQUEST = 42, false, "the request contradicts itself or the protocol";
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43, false, "the message format does not have this";
    POLICY_VIOLATION = 44, false, "the request is against a limit of this cluster";
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45, false, "the batch does not follow the last one of its producer";
    DUPLICATE_SEQUENCE_NUMBER = 46, false, "the batch is in the log already, too far back to say at which offset";
    INVALID_PRODUCER_EPOCH = 47, false, "the producer was replaced by one with a higher epoch";
    INVALID_TXN_STATE = 48, false, "the transaction is not in a state for this";
    INVALID_PRODUCER_ID_MAPPING = 49, false, "the producer id does not belong to the transactional id";
    INVALID_TRANSACTION_TIMEOUT = 50, false, "the transaction timeout is above the broker's";
    CONCURRENT_TRANSACTIONS = 51, true, "the producer's last transaction is not yet ended";
    TRANSACTION_COORDINATOR_FENCED = 52, false, "the transaction has a newer coordinator";
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53, false, "not allowed with this transactional id";
    SECURITY_DISABLED = 54, false, "the broker has no security switched on";
    OPERATION_NOT_ATTEMPTED = 55, false, "nothing was done, since another part of the request failed";
    KAFKA_STORAGE_ERROR = 56, true, "the broker cannot write to or read from its disk";
    LOG_DIR_NOT_FOUND = 57, false, "the broker has no such log directory";
    SASL_AUTHENTICATION_FAILED = 58, false, "the authentication failed";
    UNKNOWN_PRODUCER_ID = 59, false, "the broker knows nothing of the producer";
    REASSIGNMENT_IN_PROGRESS = 60, false, "the partition is being moved";
    NON_EMPTY_GROUP = 68, false, "the group has members";
    GROUP_ID_NOT_FOUND = 69, false, "there is no such group";
    FETCH_SESSION_ID_NOT_FOUND = 70, true, "the broker has no such fetch session";
    INVALID_FETCH_SESSION_EPOCH = 71, true, "the fetch session is at another epoch";
    LISTENER_NOT_FOUND = 72, true, "the leader has no listener of this name";
    TOPIC_DELETION_DISABLED = 73, false, "topics cannot be deleted here";
    FENCED_LEADER_EPOCH = 74, true, "the leader epoch is older than the partition's";
    UNKNOWN_LEADER_EPOCH = 75, true, "the leader epoch is newer than the broker knows";
    UNSUPPORTED_COMPRESSION_TYPE = 76, false, "this version of the request cannot carry the compression";
    STALE_BROKER_EPOCH = 77, false, "the broker has started again since";
    OFFSET_NOT_AVAILABLE = 78, true, "a new leader does not yet know how far the log is committed";
    MEMBER_ID_REQUIRED = 79, false, "the member joins again with the id it was given";
    PREFERRED_LEADER_NOT_AVAILABLE = 80, true, "the preferred leader is not there";
    GROUP_MAX_SIZE_REACHED = 81, false, "the group has as many members as it may";
    FENCED_INSTANCE_ID = 82, false, "another member has taken over the instance id";
    ELIGIBLE_LEADERS_NOT_AVAILABLE = 83, true, "no replica may become leader";
    ELECTION_NOT_NEEDED = 84, true, "the leader is the right one already";
    NO_REASSIGNMENT_IN_PROGRESS = 85, false, "the partition is not being moved";
    GROUP_SUBSCRIBED_TO_TOPIC = 86, false, "the group still reads the topic";
    INVALID_RECORD = 87, false, "the batch breaks a rule a broker demands of a client";
    UNSTABLE_OFFSET_COMMIT = 88, true, "a transaction that commits offsets is not yet ended";
    THROTTLING_QUOTA_EXCEEDED = 89, true, "the client asks for more than its quota";
    PRODUCER_FENCED = 90, false, "the producer was shut out by a newer one";
    RESOURCE_NOT_FOUND = 91, false, "there is no such thing";
    DUPLICATE_RESOURCE = 92, false, "the request names one thing twice";
    UNACCEPTABLE_CREDENTIAL = 93, false, "the credential does not meet the rules";
    FEATURE_UPDATE_FAILED = 96, false, "the features cannot be changed like this";
    SNAPSHOT_NOT_FOUND = 98, false, "there is no such snapshot";
    POSITION_OUT_OF_RANGE = 99, false, "the position lies outside the snapshot";
    UNKNOWN_TOPIC_ID = 100, true, "the broker does not know the topic id";
    BROKER_ID_NOT_REGISTERED = 102, false, "there is no such broker";
    INCONSISTENT_TOPIC_ID = 103, true, "the topic was deleted and created again";
    INCONSISTENT_CLUSTER_ID = 104, false, "this is another cluster";
    TRANSACTIONAL_ID_NOT_FOUND = 105, false, "there is no such transactional id";
    FETCH_SESSION_TOPIC_ID_ERROR = 106, true, "the fetch session mixes topic ids and names";
    INELIGIBLE_REPLICA = 107, false, "a replica cannot be in sync";
    NEW_LEADER_ELECTED = 108, false, "the partition has a new leader by this";
    OFFSET_MOVED_TO_TIERED_STORAGE = 109, false, "the offset is in remote storage";
    FENCED_MEMBER_EPOCH = 110, false, "the member was shut out and has to join again";
    UNRELEASED_INSTANCE_ID = 111, false, "another member still has the instance id";
    UNSUPPORTED_ASSIGNOR = 112, false, "the group does not have this assignor";
    STALE_MEMBER_EPOCH = 113, false, "the member's epoch is old";
    MISMATCHED_ENDPOINT_TYPE = 114, false, "the request came to an endpoint of another kind";
    UNSUPPORTED_ENDPOINT_TYPE = 115, false, "there is no endpoint of this kind";
    UNKNOWN_CONTROLLER_ID = 116, false, "there is no such controller";
    TRANSACTION_ABORTABLE = 120, false, "the transaction has to be aborted, then the producer can go on";
    INVALID_RECORD_STATE = 121, false, "the record cannot be acknowledged in its state";
    SHARE_SESSION_NOT_FOUND = 122, true, "the broker has no such share session";
    INVALID_SHARE_SESSION_EPOCH = 123, true, "the share session is at another epoch";
    FENCED_STATE_EPOCH = 124, false, "the share group's state is at another epoch";
    INVALID_REGULAR_EXPRESSION = 128, false, "the regular expression cannot be read";
    REBOOTSTRAP_REQUIRED = 129, false, "the client starts again from its bootstrap servers";
    SHARE_SESSION_LIMIT_REACHED = 133, true, "the broker has as many share sessions as it may";
    UNKNOWN_SERVER_ERROR = -1, false, "the broker failed in a way it did not expect";
}

impl KafkaError {
    /// Whether nothing went wrong.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for KafkaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error_code::ErrorCode;

    #[test]
    fn every_number_of_the_native_codes_below_ours_is_one_of_kafkas_with_the_same_meaning() {
        for code in ErrorCode::ALL.iter().filter(|code| code.to_wire() < 1000) {
            let kafka = KafkaError(code.to_wire().cast_signed());
            assert!(kafka.name().is_some(), "{code:?}");
            assert_eq!(kafka.is_retriable(), code.is_retriable(), "{code:?}");
        }
        assert_eq!(KafkaError(ErrorCode::Unknown.to_wire().cast_signed()), KafkaError::UNKNOWN_SERVER_ERROR);
    }

    #[test]
    fn numbers_and_retries_are_those_of_another_implementation() {
        for &error in KafkaError::ALL.iter().filter(|error| !error.is_none()) {
            let theirs = kafka_protocol::ResponseError::try_from_code(error.0).expect("it is an error");
            let name: String = format!("{theirs:?}").to_ascii_lowercase();
            assert_eq!(name, error.name().unwrap().replace('_', "").to_ascii_lowercase());
            // Retriable in Kafka since 3.0; the other implementation keeps what was before.
            if error != KafkaError::CONCURRENT_TRANSACTIONS {
                assert_eq!(theirs.is_retriable(), error.is_retriable(), "{name}");
            }
        }
    }

    #[test]
    fn a_number_without_a_name_is_an_error() {
        let error = KafkaError(9999);
        assert!(error.name().is_none() && !error.is_none() && !error.is_retriable());
        assert_eq!(error.to_string(), "an error this side does not know");
    }
}
