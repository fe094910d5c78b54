//! The records of `__consumer_offsets`, by meaning: what a group writes and is rebuilt from. Owns their fields, without
//! bytes: the layouts are Kafka's and stand in `protocol`. Lives on the shard that owns the partition.

use std::sync::Arc;

use ouzel_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::consumer::ConsumerRecord;
use super::ids::{Generation, GroupId, InstanceId, MemberId, TopicName};
use super::now::WallMs;

/// One record. The last one of a key counts; a tombstone says that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecord {
    /// How far a group has read one partition.
    OffsetCommit {
        /// The group.
        group_id: GroupId,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
        /// How far.
        commit: CommittedOffset,
    },
    /// A group's offset of one partition is forgotten.
    OffsetTombstone {
        /// The group.
        group_id: GroupId,
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: PartitionIndex,
    },
    /// A generation of a classic group.
    ClassicGroup {
        /// The group.
        group_id: GroupId,
        /// What it is now. The group keeps it as well: it is the last one written until the next.
        state: Arc<ClassicGroupState>,
    },
    /// A classic group is gone.
    ClassicGroupTombstone {
        /// The group.
        group_id: GroupId,
    },
    /// Something of a group whose broker assigns (KIP-848).
    Consumer {
        /// The group.
        group_id: GroupId,
        /// What of it.
        record: ConsumerRecord,
    },
}

impl GroupRecord {
    /// The group it is about.
    pub fn group_id(&self) -> &GroupId {
        match self {
            GroupRecord::OffsetCommit { group_id, .. }
            | GroupRecord::OffsetTombstone { group_id, .. }
            | GroupRecord::ClassicGroup { group_id, .. }
            | GroupRecord::ClassicGroupTombstone { group_id }
            | GroupRecord::Consumer { group_id, .. } => group_id,
        }
    }
}

/// How far a group has read one partition (Kafka's `OffsetCommitValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: Offset,
    /// The epoch of the leader that the last one was read from, where the client knew it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the client wants to find again; often empty.
    pub metadata: Box<str>,
    /// When it was committed.
    pub committed_at: WallMs,
    /// When it expires, where an old client asked for a retention of its own (v2 to v4).
    pub expires_at: Option<WallMs>,
    /// The topic's id at that time, where it was known: a topic that is created again under the name has another.
    pub topic_id: Option<TopicId>,
}

/// A classic group between two rebalances (Kafka's `GroupMetadataValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroupState {
    /// What kind of group it is; empty for one that only stores offsets.
    pub protocol_type: Arc<str>,
    /// Its generation.
    pub generation: Generation,
    /// The way to assign; none while it has no member.
    pub protocol: Option<Arc<str>>,
    /// The member that assigns; none while it has no member.
    pub leader: Option<MemberId>,
    /// Since when it has been as it is; not stored by the oldest versions.
    pub since: Option<WallMs>,
    /// Its members.
    pub members: Vec<ClassicMemberState>,
}

/// A member of a classic group (Kafka's `MemberMetadata`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMemberState {
    /// Its id.
    pub member_id: MemberId,
    /// What it calls itself, if it is a static one.
    pub instance_id: Option<InstanceId>,
    /// What its client calls itself.
    pub client_id: Arc<str>,
    /// Where its client is.
    pub client_host: Arc<str>,
    /// How long it has to join again in a rebalance.
    pub rebalance_timeout_ms: u32,
    /// Without a heartbeat for so long it is taken for dead.
    pub session_timeout_ms: u32,
    /// What it said to the leader, under the group's protocol.
    pub subscription: Arc<[u8]>,
    /// What it is to do.
    pub assignment: Arc<[u8]>,
}
