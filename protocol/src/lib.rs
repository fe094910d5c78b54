//! The nouns and bytes of ouzel: ids, batches, records, codecs and the native protocol's frames.
//!
//! Owns every layout that leaves the process and is not a file of the store. Never does I/O, never reads a
//! clock, never knows a connection or a shard. Plain functions and values: runs on whichever core calls it.
//! Bytes that come from outside are never indexed, asserted or unwrapped; every length is bounded before
//! anything is allocated.
#![forbid(unsafe_code)]

pub mod batch;
pub mod cluster_id;
pub mod codec;
pub mod crc;
pub mod durability;
pub mod error_code;
pub mod ids;
pub mod kafka;
pub mod limits;
pub mod native;
pub mod partitioning;
pub mod producer;
pub mod records;
pub mod topic_name;

pub use batch::{
    BATCH_HEADER_BYTES, BatchError, BatchHeader, Batches, Magic, batches, check_batch, check_produced, parse_header,
    patched_prefix,
};
pub use cluster_id::ClusterId;
pub use codec::{Codec, CodecError};
pub use durability::Durability;
pub use error_code::ErrorCode;
pub use ids::{
    CorrelationId, Incarnation, LeaderEpoch, MemberEpoch, MetadataVersion, NodeId, Offset, PartitionId, PartitionIndex,
    ShardIndex, TopicId,
};
pub use producer::{ProducerEpoch, ProducerId, ProducerStamp, Sequence};
pub use records::{BatchBuilder, DecodeLimits, DecodedBatch, Dialect, Header, Headers, Record};
pub use topic_name::{TopicNameError, check_topic_name};
