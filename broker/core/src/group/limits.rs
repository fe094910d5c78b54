//! Every limit of groups, and the relations between them. Owns constants only.

use ouzel_protocol::limits::BATCH_BYTES_MAX;

use crate::limits::TOPIC_COUNT_MAX;

/// Longest group id, in bytes: what a string of Kafka's wire can hold is no name any more.
pub const GROUP_ID_BYTES_MAX: usize = 1_024;
/// Longest member id, instance id, client id, protocol type or protocol name, in bytes.
pub const NAME_BYTES_MAX: usize = 4_096;
/// Members of one group that an operator may allow.
pub const MEMBER_COUNT_MAX: usize = 10_000;
/// Members of one group where the operator says nothing. Kafka has no bound there.
pub const MEMBER_COUNT_DEFAULT: usize = 1_000;
/// Ids that were given and not yet joined with, of one group.
pub const PENDING_COUNT_MAX: usize = 10_000;
/// Ways to assign that one member may offer.
pub const PROTOCOL_COUNT_MAX: usize = 32;
/// What one member says under all its protocols, in bytes.
pub const MEMBER_METADATA_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What all members of one group say under all their protocols, in bytes.
pub const GROUP_METADATA_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What a leader assigns to all members of one group, in bytes.
pub const GROUP_ASSIGNMENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest note to a committed offset, in bytes: Kafka's `offset.metadata.max.bytes`.
pub const OFFSET_METADATA_BYTES_MAX: usize = 4_096;
/// Groups of one partition of `__consumer_offsets`.
pub const GROUP_COUNT_MAX: usize = 262_144;
/// Committed offsets of one partition of `__consumer_offsets`: about 400 MiB of them.
pub const OFFSET_COUNT_MAX: usize = 8_388_608;
/// Committed offsets that are looked at before other work has its turn.
pub const SWEEP_OFFSETS_MAX: usize = 32_768;
/// Committed offsets that are forgotten in one batch.
pub const SWEEP_TOMBSTONES_MAX: usize = 8_192;
/// Deleted topics whose offsets are still to be forgotten.
pub const SWEEP_COUNT_MAX: usize = 65_536;
/// Shortest session timeout, in ms: Kafka's `group.min.session.timeout.ms`.
pub const SESSION_TIMEOUT_MS_MIN: u32 = 6_000;
/// Longest session timeout, in ms: Kafka's `group.max.session.timeout.ms`.
pub const SESSION_TIMEOUT_MS_MAX: u32 = 1_800_000;
/// How long a new member may wait in its first join, in ms: longer waits are those of clients that are gone (Kafka's
/// `NewMemberJoinTimeoutMs`).
pub const NEW_MEMBER_JOIN_TIMEOUT_MS: u32 = 300_000;
/// How long the first members of a group wait for others by default, in ms: Kafka's `group.initial.rebalance.delay.ms`.
pub const INITIAL_REBALANCE_DELAY_MS_DEFAULT: u32 = 3_000;
/// How long offsets outlive their use by default, in ms: Kafka's `offsets.retention.minutes` of 7 days.
pub const OFFSETS_RETENTION_MS_DEFAULT: u64 = 7 * 24 * 60 * 60 * 1000;
/// How often offsets are looked through for expired ones by default, in ms: Kafka's
/// `offsets.retention.check.interval.ms`.
pub const OFFSETS_RETENTION_CHECK_INTERVAL_MS_DEFAULT: u32 = 600_000;
/// How long members of groups whose broker assigns may be silent by default, in ms: Kafka's
/// `group.consumer.session.timeout.ms`.
pub const CONSUMER_SESSION_TIMEOUT_MS_DEFAULT: u32 = 45_000;
/// After how long they are to give the next sign at most by default, in ms: Kafka's `group.consumer.heartbeat.interval.ms`.
pub const CONSUMER_HEARTBEAT_INTERVAL_MS_DEFAULT: u32 = 5_000;
/// After how long they are to give the next sign while there are few of them, in ms.
pub const HEARTBEAT_INTERVAL_MS_MIN: u32 = 1_000;
/// Signs a second of one shard, beyond which members are asked for fewer.
pub const HEARTBEATS_PER_S: u32 = 1_000;
/// Different patterns of topic names that the members of one group may have.
pub const PATTERN_COUNT_MAX: usize = 64;
/// How often patterns are held against new metadata at most, in ms: Kafka's interval of 10 s is one that people wait for.
pub const PATTERN_REFRESH_INTERVAL_MS: u32 = 1_000;
/// Names a second that the patterns of a coordinator's groups are held against: twice all topics that there may be.
pub const PATTERN_NAMES_PER_S: u64 = 2 * TOPIC_COUNT_MAX as u64;
/// Names that they are held against at once, when nothing was asked for in the time before.
pub const PATTERN_NAMES_BURST: usize = 2 * TOPIC_COUNT_MAX;
/// To read a pattern counts as much as to hold it against so many names.
pub const PATTERN_NAME_COST: usize = 1_024;
/// Longest pattern of topic names, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4_096;
/// What one compiled pattern may take, in bytes, and again as much for its cache while it is matched.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// How deep the parts of a pattern may be nested.
pub const PATTERN_DEPTH_MAX: u32 = 64;

// A group's record holds what its members say under one protocol and what they are assigned: it must fit one batch.
const _: () = assert!(GROUP_METADATA_BYTES_MAX + GROUP_ASSIGNMENT_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(MEMBER_METADATA_BYTES_MAX <= GROUP_METADATA_BYTES_MAX);
const _: () = assert!(MEMBER_COUNT_DEFAULT <= MEMBER_COUNT_MAX);
// All patterns of a group of usual size may come at once.
const _: () = assert!(PATTERN_COUNT_MAX * PATTERN_NAME_COST <= PATTERN_NAMES_BURST);
const _: () = assert!(SESSION_TIMEOUT_MS_MIN < SESSION_TIMEOUT_MS_MAX);
const _: () = assert!(CONSUMER_HEARTBEAT_INTERVAL_MS_DEFAULT < CONSUMER_SESSION_TIMEOUT_MS_DEFAULT);
