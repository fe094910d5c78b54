//! Every limit of the metadata state machine, and the relations between them.
//!
//! Owns constants only; both the proposer and the decoders read them, so that what can be proposed can be decoded.

use ouzel_protocol::limits::{BATCH_BYTES_DEFAULT, BATCH_BYTES_MAX};

/// Topics of a cluster.
pub const TOPIC_COUNT_MAX: usize = 65_536;
/// Partitions of one topic.
pub const TOPIC_PARTITION_COUNT_MAX: u32 = 10_000;
/// Partitions of a cluster.
pub const PARTITION_COUNT_MAX: usize = 262_144;
/// Partitions of a topic that asks for none in particular.
pub const TOPIC_PARTITION_COUNT_DEFAULT: u32 = 1;
/// Replicas of a partition that asks for none in particular.
pub const REPLICATION_FACTOR_DEFAULT: u16 = 1;
/// Nodes of a cluster.
pub const NODE_COUNT_MAX: usize = 1_024;
/// Highest leader epoch: what Kafka's signed field can carry.
pub const LEADER_EPOCH_MAX: u32 = i32::MAX as u32;
/// Highest partition id; one below the last so that "the next one" always exists.
pub const PARTITION_ID_MAX: u64 = u64::MAX - 1;
/// Highest producer id that is given: what Kafka's signed field can carry, less one so that "the next one" exists.
pub const PRODUCER_ID_MAX: u64 = i64::MAX as u64;
/// Shards of one node.
pub const SHARD_COUNT_MAX: u16 = 256;
/// Config entries that one command may carry.
pub const CONFIG_ENTRY_COUNT_MAX: usize = 64;
/// Longest config key or value, in bytes.
pub const CONFIG_TEXT_BYTES_MAX: usize = 1_024;
pub use ouzel_protocol::limits::TOPIC_NAME_BYTES_MAX;

/// Default and bounds of `ouzel.flush.interval.ms`.
pub const FLUSH_INTERVAL_MS_DEFAULT: u32 = 10;
/// Upper bound of `ouzel.flush.interval.ms`.
pub const FLUSH_INTERVAL_MS_MAX: u32 = 10_000;
/// Default of `segment.bytes`.
pub const SEGMENT_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// Lower bound of `segment.bytes`.
pub const SEGMENT_BYTES_MIN: u64 = 1024 * 1024;
/// Upper bound of `segment.bytes`.
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Default of `max.message.bytes`, as Kafka has it: 1 MiB and the 12 bytes of a log entry's prefix.
pub const MESSAGE_BYTES_MAX_DEFAULT: u32 = BATCH_BYTES_DEFAULT as u32;
/// Lower bound of `max.message.bytes`: a batch header and a little.
pub const MESSAGE_BYTES_MAX_MIN: u32 = 128;
/// Upper bound of `max.message.bytes`.
pub const MESSAGE_BYTES_MAX_MAX: u32 = BATCH_BYTES_MAX as u32;

const _: () = assert!(MESSAGE_BYTES_MAX_DEFAULT <= MESSAGE_BYTES_MAX_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX_MIN > ouzel_protocol::BATCH_HEADER_BYTES as u32);
const _: () = assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT && SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
const _: () = assert!(TOPIC_PARTITION_COUNT_MAX as usize <= PARTITION_COUNT_MAX);
const _: () = assert!(PARTITION_COUNT_MAX <= ouzel_protocol::native::limits::PARTITIONS_MAX);
const _: () = assert!(TOPIC_PARTITION_COUNT_DEFAULT >= 1 && REPLICATION_FACTOR_DEFAULT >= 1);
