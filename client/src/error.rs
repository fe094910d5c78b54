//! The one error of the client. Owns its sentences and whether trying again can help; never decides to try again.

use std::time::Duration;

use ouzel_protocol::native::{Api, DecodeError, FrameError};
use ouzel_protocol::{BatchError, ErrorCode, Offset, PartitionIndex, TopicNameError};

use crate::address::Address;

/// What went wrong, where, and whose fault it is. Cloned to every record of a batch that shares its fate.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made. The broker does not run there, or the network is in the way.
    #[error("cannot connect to {address}: {reason}; check that the broker runs and that the address is right")]
    Connect {
        /// Where.
        address: Address,
        /// The system's reason.
        reason: String,
    },
    /// A connection ended with requests in flight. Whether they were carried out is not known.
    #[error("connection to {address} lost: {reason}")]
    ConnectionLost {
        /// The peer.
        address: Address,
        /// Why it ended.
        reason: String,
    },
    /// A broker did not answer in time. Whether it carried the request out is not known.
    #[error("{what} at {address} timed out after {after:?}")]
    Timeout {
        /// What was asked.
        what: &'static str,
        /// The peer.
        address: Address,
        /// How long was waited.
        after: Duration,
    },
    /// What speaks at the other end sent a frame that is none.
    #[error("{address} does not speak the native protocol: {source}; check that the port is the native one")]
    Frame {
        /// The peer.
        address: Address,
        /// What is wrong with the frame.
        #[source]
        source: FrameError,
    },
    /// A reply whose body is not what its layout says; the broker is at fault.
    #[error("bad reply from {address}: {source}")]
    Decode {
        /// The peer.
        address: Address,
        /// What is wrong with the body.
        #[source]
        source: DecodeError,
    },
    /// A reply that does not fit its request; the broker is at fault.
    #[error("bad reply from {address}: {problem}")]
    Protocol {
        /// The peer.
        address: Address,
        /// What does not fit.
        problem: String,
    },
    /// The broker refused a request as a whole.
    #[error("{api:?} refused by {address}: {}", refusal(*code, message))]
    Refused {
        /// What was asked.
        api: Api,
        /// The broker.
        address: Address,
        /// Its reason, for programs.
        code: ErrorCode,
        /// Its reason, for people; may be empty.
        message: String,
    },
    /// The broker refused to carry out a request about one topic.
    #[error("topic {topic}: {}", refusal(*code, message))]
    Topic {
        /// The topic.
        topic: String,
        /// The broker's reason, for programs.
        code: ErrorCode,
        /// Its reason, for people; may be empty.
        message: String,
    },
    /// The broker refused to carry out a request about one group.
    #[error("group {group}: {}", refusal(*code, message))]
    Group {
        /// The group.
        group: String,
        /// The broker's reason, for programs.
        code: ErrorCode,
        /// Its reason, for people; may be empty.
        message: String,
    },
    /// The broker refused one partition of a request.
    #[error("topic {topic} partition {partition}: {code}")]
    Partition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The broker's reason.
        code: ErrorCode,
    },
    /// No broker knows the topic.
    #[error("topic {topic} does not exist; create it with `ouzel topic create {topic}`")]
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// The topic has fewer partitions than that.
    #[error("topic {topic} has {count} partitions and no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: PartitionIndex,
        /// How many there are.
        count: u32,
    },
    /// A topic name that cannot exist.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// A record that cannot be sent in any batch. The caller's fault.
    #[error("record of {bytes} bytes exceeds the limit of {bytes_max}")]
    RecordTooLarge {
        /// Bytes of the record with its overhead.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Records that do not make a batch.
    #[error("cannot build a batch for topic {topic} partition {partition}: {source}")]
    Batch {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// Why not.
        #[source]
        source: BatchError,
    },
    /// A batch that was read is damaged. Seek past it to go on.
    #[error("topic {topic} partition {partition} offset {offset}: damaged batch: {source}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// Where reading stopped.
        offset: Offset,
        /// What is wrong with the batch.
        #[source]
        source: BatchError,
    },
    /// The position lies outside the log: what stood there was deleted, or never was. Seek to go on, or choose a policy in
    /// the consumer's configuration.
    #[error("topic {topic} partition {partition}: offset {offset} is out of range; seek, or set a policy for it")]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The position.
        offset: Offset,
    },
    /// A record could not be delivered in the time given for it. Whether it is in the log is not known.
    #[error("topic {topic} partition {partition}: not delivered within {after:?}; last: {last}")]
    DeliveryTimeout {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
        /// The time given.
        after: Duration,
        /// What the last attempt said.
        last: String,
    },
    /// A group has no offset of a partition, and its members are not told where to begin. Commit one, or choose a policy in the
    /// consumer's configuration.
    #[error("group {group} has no offset of topic {topic} partition {partition}; commit one, or set a policy for it")]
    NoCommittedOffset {
        /// The group.
        group: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
    },
    /// A setting or argument that cannot work. The caller's fault.
    #[error("invalid {field}: {problem}")]
    InvalidConfig {
        /// Which.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A consumer was asked for records before anything was assigned to it.
    #[error("nothing is assigned to this consumer; call assign first")]
    NothingAssigned,
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
}

fn refusal(code: ErrorCode, message: &str) -> String {
    if message.is_empty() { code.to_string() } else { message.to_owned() }
}

impl ClientError {
    /// Whether the same request may succeed later without a person's help.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::ConnectionLost { .. } | ClientError::Timeout { .. } => true,
            ClientError::Refused { code, .. }
            | ClientError::Topic { code, .. }
            | ClientError::Group { code, .. }
            | ClientError::Partition { code, .. } => code.is_retriable(),
            _ => false,
        }
    }

    /// Whether newer metadata may cure it: the partition moved, the topic changed, or the node went away.
    #[must_use]
    pub(crate) fn wants_metadata(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::ConnectionLost { .. } | ClientError::Timeout { .. } => true,
            ClientError::Refused { code, .. } | ClientError::Partition { code, .. } => matches!(
                code,
                ErrorCode::NotLeader
                    | ErrorCode::LeaderNotAvailable
                    | ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::UnknownTopicId
                    | ErrorCode::ShardUnavailable
                    | ErrorCode::ShuttingDown
            ),
            _ => false,
        }
    }

    /// The broker's code, when a broker said it.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            ClientError::Refused { code, .. }
            | ClientError::Topic { code, .. }
            | ClientError::Group { code, .. }
            | ClientError::Partition { code, .. } => Some(*code),
            ClientError::UnknownTopic { .. } | ClientError::UnknownPartition { .. } => {
                Some(ErrorCode::UnknownTopicOrPartition)
            }
            ClientError::OffsetOutOfRange { .. } => Some(ErrorCode::OffsetOutOfRange),
            _ => None,
        }
    }
}
