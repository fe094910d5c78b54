//! What members ask of a group. Owns the shapes of requests, borrowed from the wire where that is enough; never decides
//! on one. Lives on the shard that owns the group.

use std::sync::Arc;

use ouzel_protocol::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::ids::Generation;

/// Who speaks: a member, or a consumer that is none and only stores offsets.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The member's id; empty for one that has none.
    pub member_id: &'a str,
    /// What it calls itself, if it is a static one.
    pub instance_id: Option<&'a str>,
    /// The generation that it is in; -1 for one that is in none.
    pub generation: Generation,
}

/// A way to assign that a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicProtocol {
    /// Its name.
    pub name: Arc<str>,
    /// What the member tells the leader, as bytes.
    pub metadata: Arc<[u8]>,
}

/// A wish to be in the next generation of a classic group.
#[derive(Clone, Debug)]
pub struct JoinRequest<'a> {
    /// The member's id; empty at first.
    pub member_id: &'a str,
    /// What it calls itself, if it is a static one.
    pub instance_id: Option<&'a str>,
    /// What its client calls itself.
    pub client_id: &'a str,
    /// Where its client is.
    pub client_host: &'a str,
    /// Without a heartbeat for so long it is taken for dead, in ms.
    pub session_timeout_ms: i32,
    /// How long it has to join again in a rebalance, in ms; below 0 (version 0) it is the session's.
    pub rebalance_timeout_ms: i32,
    /// What kind of group it believes in.
    pub protocol_type: &'a str,
    /// The ways to assign that it has, the dearest first.
    pub protocols: Vec<ClassicProtocol>,
    /// Freshly drawn bits: its id, should it need one.
    pub drawn: u128,
    /// Whether it can be given an id before it joins (version 4, KIP-394).
    pub takes_id_first: bool,
    /// Whether it understands that a leader need not assign (version 9, KIP-814).
    pub skips_assignment: bool,
}

/// A wish for an assignment, and from the leader everybody's.
#[derive(Clone, Debug)]
pub struct SyncRequest<'a> {
    /// Who asks.
    pub caller: Caller<'a>,
    /// What kind of group it believes in, if it says so.
    pub protocol_type: Option<&'a str>,
    /// The way to assign that it believes in, if it says so.
    pub protocol: Option<&'a str>,
    /// Members and their parts, from the leader.
    pub assignments: Vec<(&'a str, Arc<[u8]>)>,
}

/// One member that is to leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// Its id; empty for a static member that is known by the other.
    pub member_id: &'a str,
    /// What it calls itself, if it is a static one.
    pub instance_id: Option<&'a str>,
}

/// Offsets to be committed.
#[derive(Clone, Debug)]
pub struct OffsetCommitRequest<'a> {
    /// Who asks.
    pub caller: Caller<'a>,
    /// How long they are to be kept, in ms, where an old client says so (versions 2 to 4).
    pub retention_ms: Option<u64>,
    /// The topics.
    pub topics: Vec<CommitTopic<'a>>,
}

/// Offsets of one topic.
#[derive(Clone, Debug)]
pub struct CommitTopic<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Its present id, where it is known.
    pub topic_id: Option<TopicId>,
    /// Its partitions.
    pub partitions: Vec<CommitPartition<'a>>,
}

/// The offset of one partition.
#[derive(Clone, Copy, Debug)]
pub struct CommitPartition<'a> {
    /// Which.
    pub partition: PartitionIndex,
    /// The next record to read.
    pub offset: Offset,
    /// The epoch of the leader that the last one was read from, where the client knows it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// A note to be found again.
    pub metadata: &'a str,
}

/// Partitions of one topic whose offsets are to be forgotten.
#[derive(Clone, Debug)]
pub struct DeleteTopicOffsets<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Its partitions.
    pub partitions: Vec<PartitionIndex>,
}
