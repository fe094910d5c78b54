//! The error codes of replies: Kafka's numbers where Kafka has the meaning, 1000 and up for ours.
//!
//! Owns the numbers, their names, their sentences and whether trying again can help. Never maps another
//! error to a code: the server does that in one place. Any core.

use std::fmt;

macro_rules! codes {
    ($($(#[$attribute:meta])* $name:ident = $number:literal, $retriable:literal, $sentence:literal;)*) => {
        /// What became of a request or of one partition in it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        #[repr(u16)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("Number ", stringify!($number), ": ", $sentence, ".")]
                $(#[$attribute])*
                $name = $number,
            )*
        }

        impl ErrorCode {
            /// Every code there is.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code a wire number names; [`ErrorCode::Unknown`] for a number of none.
            #[must_use]
            pub const fn from_wire(number: u16) -> ErrorCode {
                match number {
                    $($number => ErrorCode::$name,)*
                    _ => ErrorCode::Unknown,
                }
            }

            /// The code's name, as it is written in this enum.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => stringify!($name),)*
                }
            }

            /// Whether the same request may succeed later without a person's help.
            #[must_use]
            pub const fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$name => $retriable,)*
                }
            }

            /// One sentence for a person.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $sentence,)*
                }
            }
        }
    };
}

codes! {
    #[default]
    None = 0, false, "no error";
    OffsetOutOfRange = 1, false, "the offset lies outside the partition's log";
    CorruptMessage = 2, true, "the batch does not match its checksum or its own layout";
    UnknownTopicOrPartition = 3, true, "the broker does not know the topic or the partition";
    LeaderNotAvailable = 5, true, "the partition has no leader now";
    NotLeader = 6, true, "this broker or shard does not lead the partition";
    RequestTimedOut = 7, true, "the request was not done within its time";
    MessageTooLarge = 10, false, "the batch is larger than the topic takes";
    OffsetMetadataTooLarge = 12, false, "the note to a committed offset is too long";
    CoordinatorLoadInProgress = 14, true, "the group's coordinator still reads its log";
    CoordinatorNotAvailable = 15, true, "the group's coordinator cannot serve now";
    NotCoordinator = 16, true, "the group's coordinator is not here";
    InvalidTopic = 17, false, "the topic name is not legal";
    InvalidRequiredAcks = 21, false, "acks is 0, 1 or -1";
    IllegalGeneration = 22, false, "the member is of another generation than its group";
    InconsistentGroupProtocol = 23, false, "the group is of another kind, or its members assign in other ways";
    InvalidGroupId = 24, false, "the group id is not legal";
    UnknownMemberId = 25, false, "the group has no such member";
    InvalidSessionTimeout = 26, false, "the session timeout is not possible";
    RebalanceInProgress = 27, false, "the group rebalances";
    InvalidTimestamp = 32, false, "a record's timestamp is too far ahead of the broker's clock";
    UnsupportedVersion = 35, false, "the broker does not speak this version of the request";
    TopicAlreadyExists = 36, false, "a topic of this name exists";
    InvalidPartitions = 37, false, "the partition count is not legal";
    InvalidReplicationFactor = 38, false, "the replication factor is not legal here";
    InvalidConfig = 40, false, "a topic configuration is not known or its value not legal";
    InvalidRequest = 42, false, "the request is malformed";
    PolicyViolation = 44, false, "the request is against a limit of this cluster";
    OutOfOrderSequence = 45, false, "the batch does not follow the last one of its producer";
    DuplicateSequence = 46, false, "the batch is in the log already, too far back to say at which offset";
    InvalidProducerEpoch = 47, false, "the producer was replaced by one with a higher epoch";
    InvalidTransactionState = 48, false, "this broker does no transactions";
    StorageError = 56, true, "the broker cannot write to or read from its disk";
    UnknownProducerId = 59, false, "the broker knows nothing of the producer";
    NonEmptyGroup = 68, false, "the group has members";
    GroupIdNotFound = 69, false, "there is no such group";
    UnsupportedCompression = 76, false, "the batch's compression is not supported";
    MemberIdRequired = 79, false, "the member has to join with the id that it is given";
    GroupMaxSizeReached = 81, false, "the group takes no more members";
    FencedInstanceId = 82, false, "another member has taken over the instance id";
    GroupSubscribedToTopic = 86, false, "a member of the group reads the topic";
    InvalidRecord = 87, false, "the batch breaks a rule a broker demands of a client";
    ProducerFenced = 90, false, "the producer was shut out by a newer one";
    UnknownTopicId = 100, true, "the broker does not know the topic id";
    FencedMemberEpoch = 110, false, "the member's epoch is not its own any more: it has to join again";
    UnreleasedInstanceId = 111, false, "another member has the instance id and has not left";
    UnsupportedAssignor = 112, false, "the broker has no such way to assign";
    StaleMemberEpoch = 113, false, "the member has to learn of its assignment first";
    InvalidRegularExpression = 128, false, "the pattern of topic names is not one";
    Overloaded = 1000, true, "the broker has no room for the request now";
    DiskFull = 1001, true, "the broker's disk has no room";
    ShardUnavailable = 1002, true, "the shard that owns the partition does not run";
    ShuttingDown = 1003, true, "the broker is shutting down";
    Unknown = 65535, false, "an error this side does not know";
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self as u16
    }

    /// Whether nothing went wrong.
    #[must_use]
    pub const fn is_none(self) -> bool {
        matches!(self, ErrorCode::None)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.sentence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_wire(code.to_wire()), code);
            assert!(!code.sentence().is_empty() && !code.name().is_empty());
        }
        assert_eq!(ErrorCode::from_wire(4), ErrorCode::Unknown);
    }

    #[test]
    fn only_success_is_no_error() {
        assert!(ErrorCode::None.is_none());
        assert_eq!(ErrorCode::ALL.iter().filter(|code| code.is_none()).count(), 1);
    }
}
