//! What an event led to. Owns the shape of records and replies on their way out; never sends or stores one. Lives on
//! the shard that owns the group.

use std::sync::Arc;

use ouzel_protocol::PartitionIndex;

use super::consumer::HeartbeatOutcome;
use super::error::GroupError;
use super::ids::{Generation, InstanceId, MemberId, TopicName};
use super::record::GroupRecord;

/// A request that is owed a reply: a token that the shard gives with it. Each gets exactly one, at once or later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Waiter(pub u64);

/// What an event led to.
///
/// The shard appends `records` as one batch to the group's partition of `__consumer_offsets` and sends `replies` when
/// that is durable. The effects of one partition complete in the order in which they came: replies without records of
/// their own, and what a caller read from the state, wait for the records before them. Else somebody would see what a
/// crash takes back.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "every waiter is owed its reply"]
pub struct Effects {
    /// To be appended, all or none.
    pub records: Vec<GroupRecord>,
    /// To be sent when they are durable.
    pub replies: Vec<(Waiter, Reply)>,
}

impl Effects {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.replies.is_empty()
    }

    /// One more record.
    pub fn record(&mut self, record: GroupRecord) {
        self.records.push(record);
    }

    /// One more reply.
    pub fn reply(&mut self, waiter: Waiter, reply: Reply) {
        self.replies.push((waiter, reply));
    }
}

/// The answer to one request. Each kind of request has its kind of reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a join.
    Join(Result<JoinOutcome, JoinRefusal>),
    /// To a sync.
    Sync(Result<SyncOutcome, GroupError>),
    /// To a leave: one row for each member that was named, in that order.
    Leave(Result<Vec<LeftMember>, GroupError>),
    /// To a commit of offsets: one row for each topic and partition that was named, in that order.
    OffsetCommit(Result<Vec<TopicOutcomes>, GroupError>),
    /// To a deletion of offsets: one row for each topic and partition that was named, in that order.
    OffsetDelete(Result<Vec<TopicOutcomes>, GroupError>),
    /// To a heartbeat in a group whose broker assigns.
    ConsumerHeartbeat(Result<HeartbeatOutcome, GroupError>),
    /// To a deletion of the group.
    DeleteGroup(Result<(), GroupError>),
}

/// The generation that a member has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinOutcome {
    /// Its number.
    pub generation: Generation,
    /// What kind of group it is.
    pub protocol_type: Arc<str>,
    /// The way to assign that won.
    pub protocol: Arc<str>,
    /// The member that assigns.
    pub leader: MemberId,
    /// Whether that leader need not assign: a static leader that came back to a generation which stands (v9).
    pub skip_assignment: bool,
    /// The member that is answered.
    pub member_id: MemberId,
    /// Everybody, for the leader; nobody for others.
    pub members: Vec<JoinedMember>,
}

/// One member, as its leader is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: MemberId,
    /// What it calls itself, if it is a static one.
    pub instance_id: Option<InstanceId>,
    /// What it says to the leader under the protocol that won.
    pub metadata: Arc<[u8]>,
}

/// Why a member has not joined, and the id that it is known by: the one to come back with where
/// [`GroupError::MemberIdRequired`] is the reason, `None` where it has to forget what it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefusal {
    /// The id for the reply.
    pub member_id: Option<MemberId>,
    /// The reason.
    pub error: GroupError,
}

/// What a member is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncOutcome {
    /// What kind of group it is.
    pub protocol_type: Arc<str>,
    /// The way to assign.
    pub protocol: Arc<str>,
    /// Its part, in the leader's own bytes.
    pub assignment: Arc<[u8]>,
}

/// What became of one member that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// The id that the request named, empty where it named none.
    pub member_id: MemberId,
    /// The instance that the request named.
    pub instance_id: Option<InstanceId>,
    /// Whether it is gone.
    pub outcome: Result<(), GroupError>,
}

/// What became of the partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicOutcomes {
    /// The topic.
    pub topic: TopicName,
    /// Its partitions.
    pub partitions: Vec<PartitionOutcome>,
}

/// What became of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// Which.
    pub partition: PartitionIndex,
    /// Whether it was done.
    pub outcome: Result<(), GroupError>,
}
