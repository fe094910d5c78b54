//! Members leave, or are taken for dead. Owns what a group does without them: their partitions are free at once, and the next
//! heartbeat of any other member makes the new assignment. Lives on the shard that owns the group.

use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest;

use super::ConsumerGroup;
use super::heartbeat::HeartbeatOutcome;
use super::reconcile::{CurrentAssignment, LEFT_EPOCH};
use super::record::ConsumerRecord;
use crate::group::effects::Effects;
use crate::group::error::GroupError;
use crate::group::ids::{Generation, MemberId};
use crate::group::now::{MonotonicMs, Now};
use crate::group::partition_set::PartitionSet;

impl ConsumerGroup {
    /// A member leaves: for good with epoch -1, or, a static one, for no longer than its session with -2: what it has stays its own.
    pub(super) fn leave(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        effects: &mut Effects,
    ) -> Result<HeartbeatOutcome, GroupError> {
        if let Some(instance_id) = request.instance_id {
            let known = self.instances.get(instance_id).ok_or(GroupError::UnknownMember)?;
            if known.as_str() != request.member_id {
                return Err(GroupError::FencedInstance);
            }
        }
        let (member_id, _) = self.members.get_key_value(request.member_id).ok_or(GroupError::UnknownMember)?;
        let member_id = member_id.clone();
        if request.member_epoch == LEFT_EPOCH.0 {
            self.go_away(&member_id, effects);
        } else {
            self.fence(now, vec![member_id.clone()], effects);
        }
        let epoch = Generation(request.member_epoch);
        Ok(HeartbeatOutcome { member_id, epoch, interval_ms: 0, is_waiting: false, assignment: None })
    }

    /// A static member is away: it has given back what it was to, and keeps the rest.
    fn go_away(&mut self, member_id: &MemberId, effects: &mut Effects) {
        let current = CurrentAssignment {
            epoch: LEFT_EPOCH,
            revoking: PartitionSet::default(),
            state: super::MemberState::Stable,
            ..self.members[member_id.as_str()].current.clone()
        };
        self.record(ConsumerRecord::Current(member_id.clone(), Some(current.clone())), effects);
        self.set_current(member_id, current);
        self.members.get_mut(member_id.as_str()).expect("it is a member").revocation_ends = MonotonicMs::NEVER;
    }

    /// Takes members out and begins a new epoch.
    pub(super) fn fence(&mut self, now: Now, members: Vec<MemberId>, effects: &mut Effects) {
        for member_id in &members {
            self.remove(member_id, effects);
        }
        self.vacant_since = now.wall;
        self.forget_patterns(effects);
        self.bump(effects);
    }
}
