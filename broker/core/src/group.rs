//! The groups of one partition of `__consumer_offsets`: who is a member, what each is to do, how far each has read.
//!
//! Owns the rules of classic groups and of committed offsets. An event goes in with the time and comes out as
//! [`Effects`]: records that the shard appends, and replies that it sends once those are durable. The state moves on at
//! once; where an append fails, the shard drops the groups of that partition and loads them again from the log. Never
//! does I/O, reads a clock or draws a random number, and never knows the bytes of a record (`protocol` does). Lives on
//! the shard that owns the partition.

mod assignor;
mod classic;
mod config;
mod consumer;
mod coordinator;
mod effects;
mod error;
mod heartbeat_pace;
mod ids;
pub mod limits;
mod now;
mod offsets;
mod partition_set;
mod pattern_pace;
mod record;
mod request;
mod subscription_pattern;
mod topics;

pub use assignor::{Assignor, MemberIndex, Question, TopicIndex};
pub use classic::{ClassicGroup, ClassicPhase};
pub use config::GroupConfig;
pub use consumer::{
    ClassicSubscription, ConsumerGroup, ConsumerGroupConfig, ConsumerGroupDescription, ConsumerGroupPhase,
    ConsumerMemberDescription, ConsumerRecord, CurrentAssignment, HeartbeatCaller, HeartbeatOutcome, LEFT_EPOCH,
    MemberState, Migration, ResolvedPattern, StoredConsumerGroup, Subscription,
};
pub use coordinator::{
    Group, GroupCoordinator, GroupDescription, GroupKind, GroupListing, SnapshotCursor, partition_for,
};
pub use effects::{
    Effects, JoinOutcome, JoinRefusal, JoinedMember, LeftMember, PartitionOutcome, Reply, SyncOutcome, TopicOutcomes,
    Waiter,
};
pub use error::{GroupError, StoredGroupError};
pub use heartbeat_pace::HeartbeatPace;
pub use ids::{Generation, GroupId, InstanceId, MemberId, TopicName};
pub use now::{MonotonicMs, Now, WallMs};
pub use offsets::{GroupOffsets, RetentionStart};
pub use partition_set::{PartitionSet, TopicPartition};
pub use record::{ClassicGroupState, ClassicMemberState, CommittedOffset, GroupRecord};
pub use request::{
    Caller, ClassicProtocol, CommitPartition, CommitTopic, DeleteTopicOffsets, JoinRequest, Leaving,
    OffsetCommitRequest, SyncRequest,
};
pub use subscription_pattern::SubscriptionPattern;
pub use topics::{TopicView, Topics};
