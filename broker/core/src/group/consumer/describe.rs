//! What a group whose broker assigns says of itself. Owns the shape of that; decides nothing. Lives on the shard that owns the group.

use std::sync::Arc;

use super::record::Subscription;
use super::{ConsumerGroup, CurrentAssignment};
use crate::group::assignor::Assignor;
use crate::group::ids::{Generation, MemberId};
use crate::group::partition_set::PartitionSet;

/// Where such a group is. There is no `Dead`: a group that is gone is not in the coordinator any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ConsumerGroupPhase {
    /// It has no member; it may have offsets.
    Empty,
    /// Something changed, and the assignment is yet to be made.
    Assigning,
    /// Members are on their way to their assignment.
    Reconciling,
    /// Members have what they were assigned.
    Stable,
}

impl ConsumerGroupPhase {
    /// Kafka's name of it, as tools show and filter by.
    pub fn name(self) -> &'static str {
        match self {
            ConsumerGroupPhase::Empty => "Empty",
            ConsumerGroupPhase::Assigning => "Assigning",
            ConsumerGroupPhase::Reconciling => "Reconciling",
            ConsumerGroupPhase::Stable => "Stable",
        }
    }
}

/// The whole group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupDescription {
    /// Where it is.
    pub phase: ConsumerGroupPhase,
    /// Its epoch.
    pub epoch: Generation,
    /// The epoch for which its assignment was made.
    pub assignment_epoch: Generation,
    /// How it assigns.
    pub assignor: Assignor,
    /// Its members, by their ids.
    pub members: Vec<ConsumerMemberDescription>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    /// Its id.
    pub member_id: MemberId,
    /// What it asks for.
    pub subscription: Arc<Subscription>,
    /// What it has.
    pub current: CurrentAssignment,
    /// What it is to have.
    pub target: PartitionSet,
}

impl ConsumerGroup {
    /// Where it is.
    pub fn phase(&self) -> ConsumerGroupPhase {
        let is_reconciled = |current: &CurrentAssignment| current.is_reconciled_to(self.assignment_epoch);
        if self.members.is_empty() {
            ConsumerGroupPhase::Empty
        } else if self.epoch > self.assignment_epoch {
            ConsumerGroupPhase::Assigning
        } else if self.members.values().all(|member| is_reconciled(&member.current)) {
            ConsumerGroupPhase::Stable
        } else {
            ConsumerGroupPhase::Reconciling
        }
    }

    /// Everything. What is read here may not be durable yet: see [`Effects`](crate::group::Effects).
    pub fn describe(&self) -> ConsumerGroupDescription {
        let members = self.members.iter().map(|(member_id, member)| ConsumerMemberDescription {
            member_id: member_id.clone(),
            subscription: Arc::clone(&member.subscription),
            current: member.current.clone(),
            target: self.targets.get(member_id.as_str()).cloned().unwrap_or_default(),
        });
        ConsumerGroupDescription {
            phase: self.phase(),
            epoch: self.epoch,
            assignment_epoch: self.assignment_epoch,
            assignor: self.assignor(),
            members: members.collect(),
        }
    }
}
