//! How a member comes from what it has to what it is to have. Owns the one rule on which the group's safety rests: a partition is
//! given to a member only when no other has it, and a member that is to give partitions back stays in its epoch until it has. Pure;
//! lives on the shard that owns the group.
//!
//! ```text
//! Stable --new target--> it has to give back? --yes--> Unrevoked --its heartbeat no longer names them--+
//!                                             \                                                         |
//!                                              +--no--> the target's epoch, and of the target what is free <-+
//!                                                       Stable, or Unreleased while others have part of it
//! ```
//! KIP-848, "Reconciliation"; Kafka's `CurrentAssignmentBuilder`.

use crate::group::ids::Generation;
use crate::group::partition_set::{PartitionSet, TopicPartition};

/// Where a member is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemberState {
    /// It has what it was to have in its epoch.
    #[default]
    Stable,
    /// It is to give partitions back, and has not shown that it did.
    Unrevoked,
    /// It waits for partitions that others have.
    Unreleased,
}

impl MemberState {
    /// Kafka's number of it, as records carry it.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
        }
    }

    /// The state of this number, if it is one.
    #[must_use]
    pub const fn from_code(code: i8) -> Option<MemberState> {
        match code {
            0 => Some(MemberState::Stable),
            1 => Some(MemberState::Unrevoked),
            2 => Some(MemberState::Unreleased),
            _ => None,
        }
    }
}

/// What a member has (Kafka's `ConsumerGroupCurrentMemberAssignmentValue`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Its epoch; [`LEFT_EPOCH`] for a static member that is away.
    pub epoch: Generation,
    /// The one before, with which it comes again when the reply was lost.
    pub previous_epoch: Generation,
    /// Where it is on its way.
    pub state: MemberState,
    /// The partitions that are its own.
    pub assigned: PartitionSet,
    /// Those that it is to give back. They are nobody else's until it has.
    pub revoking: PartitionSet,
}

/// The epoch of a static member that has left and may come back.
pub const LEFT_EPOCH: Generation = Generation(-2);

impl CurrentAssignment {
    /// Of a member that has just come: nothing.
    #[must_use]
    pub fn new() -> CurrentAssignment {
        CurrentAssignment {
            epoch: Generation(0),
            previous_epoch: Generation(0),
            state: MemberState::Stable,
            assigned: PartitionSet::default(),
            revoking: PartitionSet::default(),
        }
    }

    /// Whether it has all of the target of this epoch.
    #[must_use]
    pub fn is_reconciled_to(&self, target_epoch: Generation) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// All partitions that are not free for others because of it.
    pub fn held(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.assigned.iter().chain(self.revoking.iter())
    }

    /// The next step towards `target`; `None` where there is none to be taken now. `owned` tells whether the member says that it
    /// has a partition (of everything, where it does not say), `is_held` whether somebody has it.
    #[must_use]
    pub fn next(
        &self,
        target_epoch: Generation,
        target: &PartitionSet,
        owned: impl Fn(TopicPartition) -> bool,
        is_held: impl Fn(TopicPartition) -> bool,
    ) -> Option<CurrentAssignment> {
        let waits = match self.state {
            MemberState::Stable => self.epoch == target_epoch,
            MemberState::Unrevoked => self.revoking.iter().any(&owned),
            MemberState::Unreleased => false,
        };
        if waits {
            return None;
        }
        let kept = self.assigned.and(target);
        let revoking = self.assigned.minus(&kept);
        if revoking.iter().any(&owned) {
            return self.changed(self.epoch, MemberState::Unrevoked, kept, revoking);
        }
        let wanted = target.minus(&kept);
        // What it was to give back, and has, may be its own again at once.
        let free = wanted.filter(|partition| !is_held(partition) || self.revoking.contains(partition));
        let state = if free.len() < wanted.len() { MemberState::Unreleased } else { MemberState::Stable };
        self.changed(target_epoch, state, kept.or(&free), PartitionSet::default())
    }

    fn changed(
        &self,
        epoch: Generation,
        state: MemberState,
        assigned: PartitionSet,
        revoking: PartitionSet,
    ) -> Option<CurrentAssignment> {
        let same = epoch == self.epoch && state == self.state && assigned == self.assigned && revoking == self.revoking;
        (!same).then_some(CurrentAssignment { epoch, previous_epoch: self.epoch, state, assigned, revoking })
    }
}

impl Default for CurrentAssignment {
    fn default() -> Self {
        CurrentAssignment::new()
    }
}

#[cfg(test)]
mod tests {
    use ouzel_protocol::{PartitionIndex, TopicId};

    use super::*;

    fn set(partitions: impl IntoIterator<Item = u32>) -> PartitionSet {
        partitions.into_iter().map(|p| TopicPartition { topic_id: TopicId(1), partition: PartitionIndex(p) }).collect()
    }

    fn current(epoch: i32, state: MemberState, assigned: &PartitionSet, revoking: &PartitionSet) -> CurrentAssignment {
        let (assigned, revoking) = (assigned.clone(), revoking.clone());
        CurrentAssignment { epoch: Generation(epoch), previous_epoch: Generation(epoch), state, assigned, revoking }
    }

    const NOBODY: fn(TopicPartition) -> bool = |_| false;
    const EVERYTHING: fn(TopicPartition) -> bool = |_| true;

    #[test]
    fn a_member_that_has_its_target_waits() {
        let member = current(3, MemberState::Stable, &set([0, 1]), &set([]));
        assert_eq!(member.next(Generation(3), &set([5]), EVERYTHING, NOBODY), None);
    }

    #[test]
    fn what_is_free_is_given_at_once_and_the_rest_when_it_is_released() {
        let member = CurrentAssignment::new();
        let held = set([1]);
        let next = member.next(Generation(2), &set([0, 1]), NOBODY, |p| held.contains(p)).unwrap();
        assert_eq!((next.epoch, next.state), (Generation(2), MemberState::Unreleased));
        assert_eq!((&next.assigned, next.previous_epoch), (&set([0]), Generation(0)));
        assert_eq!(next.next(Generation(2), &set([0, 1]), EVERYTHING, |p| held.contains(p)), None, "still held");
        let next = next.next(Generation(2), &set([0, 1]), EVERYTHING, NOBODY).unwrap();
        assert_eq!((next.state, &next.assigned), (MemberState::Stable, &set([0, 1])));
    }

    #[test]
    fn a_member_stays_in_its_epoch_until_it_has_given_back() {
        let member = current(3, MemberState::Stable, &set([0, 1, 2]), &set([]));
        let next = member.next(Generation(4), &set([0, 7]), EVERYTHING, NOBODY).unwrap();
        assert_eq!((next.epoch, next.state), (Generation(3), MemberState::Unrevoked));
        assert_eq!((&next.assigned, &next.revoking), (&set([0]), &set([1, 2])), "nothing new before");
        let still = set([0, 2]);
        assert_eq!(next.next(Generation(4), &set([0, 7]), |p| still.contains(p), NOBODY), None);
        let done = set([0]);
        let next = next.next(Generation(4), &set([0, 7]), |p| done.contains(p), NOBODY).unwrap();
        assert_eq!((next.epoch, next.state), (Generation(4), MemberState::Stable));
        assert_eq!((&next.assigned, &next.revoking), (&set([0, 7]), &set([])));
    }

    #[test]
    fn a_partition_that_comes_back_to_who_gave_it_up_needs_no_release() {
        let member = current(3, MemberState::Unrevoked, &set([0]), &set([1]));
        let held = set([0, 1]);
        let done = set([0]);
        let next = member.next(Generation(5), &set([0, 1]), |p| done.contains(p), |p| held.contains(p)).unwrap();
        assert_eq!((next.state, &next.assigned), (MemberState::Stable, &set([0, 1])));
    }

    #[test]
    fn codes_are_kafkas() {
        for (code, state) in [MemberState::Stable, MemberState::Unrevoked, MemberState::Unreleased].iter().enumerate() {
            assert_eq!(MemberState::from_code(code as i8), Some(*state));
            assert_eq!(state.code(), code as i8);
        }
        assert_eq!(MemberState::from_code(3), None);
    }
}
