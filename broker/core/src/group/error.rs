//! Why a group refuses a request, in the group's words. Each variant is the caller's doing or a state that passes; the
//! wire's codes are mapped in the broker. Any core.

use super::ids::{Generation, GroupId, MemberId};

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The caller's group id is empty or too long.
    #[error("illegal group id: from 1 to {max} bytes are possible, got {got}")]
    InvalidGroupId {
        /// Its bytes.
        got: usize,
        /// Most possible.
        max: usize,
    },
    /// The caller named a group that does not exist, or not as one of this kind.
    #[error("no such group")]
    UnknownGroup,
    /// The caller is not a member (any more): it has to forget its id and join as a new one.
    #[error("the group has no such member")]
    UnknownMember,
    /// The caller is of another generation than the group: it has missed a rebalance.
    #[error("generation {got} is not the group's: that is {expected}")]
    IllegalGeneration {
        /// The group's.
        expected: Generation,
        /// The caller's.
        got: Generation,
    },
    /// The group is between two generations: the caller has to join again.
    #[error("the group rebalances")]
    RebalanceInProgress,
    /// Another member has taken over the caller's instance id: one of the two must end.
    #[error("the instance id is in use by another member")]
    FencedInstance,
    /// The caller has to come back with the id that it is given (KIP-394).
    #[error("a member id was given: join with it")]
    MemberIdRequired,
    /// The group takes no more members.
    #[error("the group has {max} members, as many as it may")]
    GroupFull {
        /// Most possible.
        max: usize,
    },
    /// The caller's protocol type or protocols do not go with those of the members, or the group is of another kind.
    #[error("the member's protocols do not go with the group's")]
    InconsistentProtocol,
    /// The caller's session timeout cannot be.
    #[error("a session timeout of {got} ms is not possible: from {min} to {max} ms are")]
    InvalidSessionTimeout {
        /// Asked for, in ms.
        got: i32,
        /// Shortest possible, in ms.
        min: u32,
        /// Longest possible, in ms.
        max: u32,
    },
    /// The caller brought more than the group stores.
    #[error("{what} of {got} bytes is too large: {max} are possible")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its bytes.
        got: usize,
        /// Most possible.
        max: usize,
    },
    /// The caller's note to a committed offset is too long.
    #[error("offset metadata of {got} bytes is too large: {max} are possible")]
    OffsetMetadataTooLarge {
        /// Its bytes.
        got: usize,
        /// Most possible.
        max: usize,
    },
    /// The group has members, and what the caller asks for needs one without.
    #[error("the group is not empty")]
    NonEmptyGroup,
    /// A member of the group subscribes to the topic whose offsets the caller wants to delete.
    #[error("the group subscribes to the topic")]
    SubscribedToTopic,
    /// The caller's pattern of topic names is none, or is too large.
    #[error("illegal pattern of topic names: {reason}")]
    InvalidPattern {
        /// What is wrong with it.
        reason: String,
    },
    /// The caller wants another pattern of topic names, and as many as may be at once were looked at: it has to come back.
    #[error("too many new patterns of topic names at once: come back in a second")]
    PatternsBusy,
    /// The caller's request contradicts itself.
    #[error("{reason}")]
    InvalidRequest {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller is of an epoch that is not its own: it has to give up all partitions and join again.
    #[error("epoch {got} is not the member's: that is {expected}")]
    FencedMemberEpoch {
        /// The member's.
        expected: Generation,
        /// The caller's.
        got: Generation,
    },
    /// The caller commits or fetches offsets with an epoch that is not its own: it has to learn of its assignment first.
    #[error("epoch {got} is stale: the member's is {expected}")]
    StaleMemberEpoch {
        /// The member's.
        expected: Generation,
        /// The caller's.
        got: Generation,
    },
    /// Another member has the caller's instance id and has not left.
    #[error("the instance id is in use by member {member_id}")]
    UnreleasedInstance {
        /// That member.
        member_id: MemberId,
    },
    /// The caller wants a way to assign that the broker does not have.
    #[error("no such way to assign")]
    UnsupportedAssignor,
    /// The coordinator has no room for what the caller wants to store.
    #[error("limit of {limit} {what} reached")]
    LimitReached {
        /// What there would be too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// A record of the log that cannot have been written by a coordinator: the disk's fault, or another program's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored state of group {group_id} contradicts itself: {detail}")]
pub struct StoredGroupError {
    /// The group.
    pub group_id: GroupId,
    /// What contradicts what.
    pub detail: &'static str,
}
