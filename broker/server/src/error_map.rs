//! All mapping from our errors to the codes of the wire stands here. Owns no error and no code. Any core.

use ouzel_broker_core::MetadataError;
use ouzel_broker_core::group::GroupError;
use ouzel_protocol::kafka::{KafkaError, RecordsError};
use ouzel_protocol::{BatchError, CodecError, ErrorCode};
use ouzel_storage::StorageError;
use ouzel_storage::metadata_log::MetadataLogError;

use crate::groups::Unavailable;

/// What a client is told when storage refused or failed.
pub(crate) fn of_storage(error: &StorageError) -> ErrorCode {
    match error {
        StorageError::Poisoned { .. } | StorageError::Io { .. } | StorageError::Corrupt { .. } => {
            ErrorCode::StorageError
        }
        StorageError::DiskFull { .. } => ErrorCode::DiskFull,
        StorageError::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
        StorageError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        StorageError::BatchTooLarge { .. } => ErrorCode::MessageTooLarge,
        StorageError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequence,
        StorageError::DuplicateSequence { .. } => ErrorCode::DuplicateSequence,
        StorageError::ProducerFenced { .. } => ErrorCode::InvalidProducerEpoch,
        StorageError::Closing => ErrorCode::ShuttingDown,
    }
}

/// What a client is told when its batch is not one.
pub(crate) fn of_batch(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::Truncated { .. }
        | BatchError::LengthTooSmall { .. }
        | BatchError::TrailingBytes { .. }
        | BatchError::UnknownMagic { .. }
        | BatchError::Checksum { .. } => ErrorCode::CorruptMessage,
        BatchError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        BatchError::Codec(CodecError::Unknown { .. }) => ErrorCode::UnsupportedCompression,
        _ => ErrorCode::InvalidRecord,
    }
}

/// What a client of Kafka's protocol is told when its records are not what a broker takes.
pub(crate) fn of_records(error: &RecordsError) -> ErrorCode {
    match error {
        RecordsError::Missing | RecordsError::Several { .. } | RecordsError::Magic { .. } => ErrorCode::InvalidRecord,
        RecordsError::Version { .. } => ErrorCode::UnsupportedVersion,
        RecordsError::Zstd { .. } => ErrorCode::UnsupportedCompression,
        RecordsError::Batch(error) => of_batch(error),
    }
}

/// The number that a client of Kafka's protocol knows for a code of ours.
pub(crate) fn kafka(code: ErrorCode) -> KafkaError {
    match code {
        // Its clients ask for topics by name.
        ErrorCode::UnknownTopicId => KafkaError::UNKNOWN_TOPIC_OR_PARTITION,
        // Retriable, as these are, and said of one partition.
        ErrorCode::Overloaded | ErrorCode::DiskFull => KafkaError::NOT_ENOUGH_REPLICAS,
        ErrorCode::ShardUnavailable | ErrorCode::ShuttingDown => KafkaError::LEADER_NOT_AVAILABLE,
        ErrorCode::Unknown => KafkaError::UNKNOWN_SERVER_ERROR,
        code => KafkaError(i16::try_from(code.to_wire()).unwrap_or(KafkaError::UNKNOWN_SERVER_ERROR.0)),
    }
}

/// As [`kafka`], of a partition in the reply of a fetch: Kafka's own consumer ends with an exception at any code that it does not
/// expect there, retriable ones among them (`FetchCollector.handleInitializeErrors`).
pub(crate) fn of_fetch(code: ErrorCode) -> KafkaError {
    match code {
        ErrorCode::None
        | ErrorCode::OffsetOutOfRange
        | ErrorCode::CorruptMessage
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::NotLeader
        | ErrorCode::StorageError => kafka(code),
        // Whatever passes: it looks for the leader again and comes back.
        code if code.is_retriable() => KafkaError::NOT_LEADER_OR_FOLLOWER,
        _ => KafkaError::UNKNOWN_SERVER_ERROR,
    }
}

/// What a client of Kafka's protocol is told when a group's coordinator cannot be asked.
pub(crate) fn of_unavailable(error: Unavailable) -> KafkaError {
    match error {
        Unavailable::NotHere => KafkaError::NOT_COORDINATOR,
        Unavailable::Loading => KafkaError::COORDINATOR_LOAD_IN_PROGRESS,
        Unavailable::Failed => KafkaError::COORDINATOR_NOT_AVAILABLE,
    }
}

/// What a client of Kafka's protocol is told when its group refuses.
pub(crate) fn of_group(error: &GroupError) -> KafkaError {
    match error {
        GroupError::InvalidGroupId { .. } => KafkaError::INVALID_GROUP_ID,
        GroupError::UnknownGroup => KafkaError::GROUP_ID_NOT_FOUND,
        GroupError::UnknownMember => KafkaError::UNKNOWN_MEMBER_ID,
        GroupError::IllegalGeneration { .. } => KafkaError::ILLEGAL_GENERATION,
        GroupError::RebalanceInProgress => KafkaError::REBALANCE_IN_PROGRESS,
        GroupError::FencedInstance => KafkaError::FENCED_INSTANCE_ID,
        GroupError::MemberIdRequired => KafkaError::MEMBER_ID_REQUIRED,
        GroupError::GroupFull { .. } => KafkaError::GROUP_MAX_SIZE_REACHED,
        GroupError::InconsistentProtocol => KafkaError::INCONSISTENT_GROUP_PROTOCOL,
        GroupError::InvalidSessionTimeout { .. } => KafkaError::INVALID_SESSION_TIMEOUT,
        GroupError::TooLarge { .. } | GroupError::InvalidRequest { .. } => KafkaError::INVALID_REQUEST,
        GroupError::FencedMemberEpoch { .. } => KafkaError::FENCED_MEMBER_EPOCH,
        GroupError::StaleMemberEpoch { .. } => KafkaError::STALE_MEMBER_EPOCH,
        GroupError::UnreleasedInstance { .. } => KafkaError::UNRELEASED_INSTANCE_ID,
        GroupError::UnsupportedAssignor => KafkaError::UNSUPPORTED_ASSIGNOR,
        GroupError::InvalidPattern { .. } => KafkaError::INVALID_REGULAR_EXPRESSION,
        // Clients know that one as a state that passes, and ask the same coordinator again.
        GroupError::PatternsBusy => KafkaError::COORDINATOR_LOAD_IN_PROGRESS,
        GroupError::OffsetMetadataTooLarge { .. } => KafkaError::OFFSET_METADATA_TOO_LARGE,
        GroupError::NonEmptyGroup => KafkaError::NON_EMPTY_GROUP,
        GroupError::SubscribedToTopic => KafkaError::GROUP_SUBSCRIBED_TO_TOPIC,
        GroupError::LimitReached { .. } => KafkaError::GROUP_MAX_SIZE_REACHED,
    }
}

/// What a native client is told when a group's coordinator cannot be asked.
pub(crate) fn native_of_unavailable(error: Unavailable) -> ErrorCode {
    native(of_unavailable(error))
}

/// What a native client is told when its group refuses.
pub(crate) fn native_of_group(error: &GroupError) -> ErrorCode {
    native(of_group(error))
}

/// As [`native_of_group`], of a commit.
pub(crate) fn native_of_commit(error: &GroupError) -> ErrorCode {
    native(of_commit(error))
}

/// Ours for a code of Kafka's: the numbers are the same.
fn native(error: KafkaError) -> ErrorCode {
    ErrorCode::from_wire(u16::try_from(error.0).unwrap_or(ErrorCode::Unknown.to_wire()))
}

/// As [`of_group`], of a commit: a group is never full there, and who claims to be in a generation of none is told that it is another's.
pub(crate) fn of_commit(error: &GroupError) -> KafkaError {
    match error {
        GroupError::UnknownGroup => KafkaError::ILLEGAL_GENERATION,
        GroupError::LimitReached { .. } => KafkaError::POLICY_VIOLATION,
        error => of_group(error),
    }
}

/// As [`of_group`], of a heartbeat in a group whose broker assigns: one of another kind is not one.
pub(crate) fn of_consumer_group(error: &GroupError) -> KafkaError {
    match error {
        GroupError::InconsistentProtocol => KafkaError::GROUP_ID_NOT_FOUND,
        error => of_group(error),
    }
}

/// What a client is told when its command was refused.
pub(crate) fn of_metadata(error: &MetadataError) -> ErrorCode {
    match error {
        MetadataError::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
        MetadataError::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        MetadataError::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
        MetadataError::IllegalTopicName { .. } | MetadataError::InternalTopic { .. } => ErrorCode::InvalidTopic,
        MetadataError::InvalidPartitions { .. } => ErrorCode::InvalidPartitions,
        MetadataError::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        MetadataError::UnknownConfig { .. } | MetadataError::InvalidConfig { .. } => ErrorCode::InvalidConfig,
        MetadataError::LimitReached { .. } => ErrorCode::PolicyViolation,
        MetadataError::NoNode => ErrorCode::LeaderNotAvailable,
        MetadataError::TopicIdTaken { .. } => ErrorCode::Overloaded,
        MetadataError::StaleIncarnation { .. }
        | MetadataError::InvalidShards { .. }
        | MetadataError::ClusterNamed { .. }
        | MetadataError::Malformed { .. }
        | MetadataError::DoesNotFit { .. } => ErrorCode::Unknown,
    }
}

/// What a client is told when the metadata log failed.
pub(crate) fn of_metadata_log(error: &MetadataLogError) -> ErrorCode {
    match error {
        MetadataLogError::TooLarge { .. } => ErrorCode::PolicyViolation,
        MetadataLogError::DiskFull { .. } => ErrorCode::DiskFull,
        MetadataLogError::Io { .. }
        | MetadataLogError::Poisoned { .. }
        | MetadataLogError::Corrupt { .. }
        | MetadataLogError::Full { .. } => ErrorCode::StorageError,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_passes_by_itself_is_retriable_and_what_does_not_is_not() {
        let source = Arc::new(std::io::Error::other("x"));
        let poisoned = StorageError::Poisoned { stage: "write", path: PathBuf::new(), source };
        let cases = [
            (of_storage(&poisoned), ErrorCode::StorageError, true),
            (of_storage(&StorageError::DiskFull { path: PathBuf::new() }), ErrorCode::DiskFull, true),
            (of_storage(&StorageError::Closing), ErrorCode::ShuttingDown, true),
            (of_storage(&StorageError::BatchTooLarge { bytes: 2, limit: 1 }), ErrorCode::MessageTooLarge, false),
            (of_batch(&BatchError::Checksum { expected: 1, got: 2 }), ErrorCode::CorruptMessage, true),
            (of_batch(&BatchError::Control), ErrorCode::InvalidRecord, false),
            (of_metadata(&MetadataError::TopicExists { name: String::new() }), ErrorCode::TopicAlreadyExists, false),
        ];
        for (got, expected, retriable) in cases {
            assert_eq!((got, got.is_retriable()), (expected, retriable));
        }
    }

    #[test]
    fn a_fetch_is_refused_with_codes_that_consumers_expect_of_one() {
        let cases = [
            (ErrorCode::None, KafkaError::NONE),
            (ErrorCode::OffsetOutOfRange, KafkaError::OFFSET_OUT_OF_RANGE),
            (ErrorCode::UnknownTopicId, KafkaError::UNKNOWN_TOPIC_OR_PARTITION),
            (ErrorCode::ShuttingDown, KafkaError::NOT_LEADER_OR_FOLLOWER),
            (ErrorCode::ShardUnavailable, KafkaError::NOT_LEADER_OR_FOLLOWER),
            (ErrorCode::LeaderNotAvailable, KafkaError::NOT_LEADER_OR_FOLLOWER),
            (ErrorCode::Overloaded, KafkaError::NOT_LEADER_OR_FOLLOWER),
            (ErrorCode::InvalidRequest, KafkaError::UNKNOWN_SERVER_ERROR),
        ];
        for (code, expected) in cases {
            assert_eq!(of_fetch(code), expected, "{code:?}");
        }
        for &code in ErrorCode::ALL {
            // KAFKA_STORAGE_ERROR is 56; the rest of ours beyond 3 is either a matter of the leader or unknown.
            let KafkaError(number) = of_fetch(code);
            assert!(matches!(number, -1 | 0 | 1 | 2 | 3 | 6 | 56), "{code:?} is told as {number}");
        }
    }
}
