//! What a group whose broker assigns writes, and is rebuilt from. Owns the meaning of its records; the layouts are Kafka's and stand in
//! `protocol`. Lives on the shard that owns the partition.

use std::sync::Arc;

use ouzel_protocol::MetadataVersion;

use super::reconcile::CurrentAssignment;
use crate::group::ids::{Generation, InstanceId, MemberId, TopicName};
use crate::group::now::WallMs;
use crate::group::partition_set::PartitionSet;

/// One record of a group. The last one of a key counts; nothing in it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConsumerRecord {
    /// The group itself.
    Group(Option<StoredConsumerGroup>),
    /// What a member asks for.
    Member(MemberId, Option<Arc<Subscription>>),
    /// For which epoch of the group the assignment was made.
    TargetEpoch(Option<Generation>),
    /// What a member is to have.
    Target(MemberId, Option<PartitionSet>),
    /// What a member has.
    Current(MemberId, Option<CurrentAssignment>),
    /// The topics that a pattern means.
    Pattern(Arc<str>, Option<ResolvedPattern>),
}

/// The group itself (Kafka's `ConsumerGroupMetadataValue`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredConsumerGroup {
    /// Counts the changes of its members and of what they read.
    pub epoch: Generation,
    /// What the group knew of the topics of its members, as a hash; 0 for nothing.
    pub metadata_hash: i64,
    /// When the group came to be, where it is known.
    pub created_at: Option<WallMs>,
}

/// What a member asks for (Kafka's `ConsumerGroupMemberMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// What it calls itself, if it is a static one.
    pub instance_id: Option<InstanceId>,
    /// Its rack.
    pub rack_id: Option<Arc<str>>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// Where its client is.
    pub client_host: Arc<str>,
    /// Names of the topics it reads, ascending, none twice.
    pub topics: Arc<[TopicName]>,
    /// A pattern of names of topics that it reads as well.
    pub pattern: Option<Arc<str>>,
    /// How long it may take to give partitions back, in ms.
    pub rebalance_timeout_ms: u32,
    /// The way to assign that it wants, by name: one that is stored may be unknown to this broker.
    pub server_assignor: Option<Arc<str>>,
    /// What a member of the classic protocol told; none for one of this.
    pub classic: Option<ClassicSubscription>,
}

/// What a member of the classic protocol told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSubscription {
    /// Without a heartbeat for so long it is taken for dead, in ms.
    pub session_timeout_ms: u32,
    /// The ways to assign that it has and what it says with each, the dearest first.
    pub protocols: Vec<(Arc<str>, Arc<[u8]>)>,
}

/// The topics that a pattern means (Kafka's `ConsumerGroupRegularExpressionValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedPattern {
    /// Their names, ascending.
    pub topics: Arc<[TopicName]>,
    /// The version of the metadata they were taken from.
    pub version: MetadataVersion,
    /// When.
    pub resolved_at: WallMs,
}

impl ConsumerRecord {
    /// Whether it says that something is gone.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            ConsumerRecord::Group(stored) => stored.is_none(),
            ConsumerRecord::Member(_, subscription) => subscription.is_none(),
            ConsumerRecord::TargetEpoch(epoch) => epoch.is_none(),
            ConsumerRecord::Target(_, target) => target.is_none(),
            ConsumerRecord::Current(_, current) => current.is_none(),
            ConsumerRecord::Pattern(_, resolved) => resolved.is_none(),
        }
    }
}
