//! Leaving a classic group. Owns what a leave does to each member it names. Lives on the shard that owns the group.

use super::{ClassicGroup, Context};
use crate::group::effects::{Effects, LeftMember, Reply, Waiter};
use crate::group::error::GroupError;
use crate::group::ids::{InstanceId, MemberId};
use crate::group::request::Leaving;

impl ClassicGroup {
    /// Lets members go, each for itself: one that is not there does not keep the others.
    pub(in crate::group) fn leave(
        &mut self,
        ctx: Context<'_>,
        waiter: Waiter,
        leaving: &[Leaving<'_>],
        effects: &mut Effects,
    ) {
        let member_count = self.members.len();
        let mut rows = Vec::with_capacity(leaving.len());
        for one in leaving {
            let outcome = self.leave_one(*one, effects);
            let (member_id, instance_id) = (MemberId::from(one.member_id), one.instance_id.map(InstanceId::from));
            rows.push(LeftMember { member_id, instance_id, outcome });
        }
        effects.reply(waiter, Reply::Leave(Ok(rows)));
        if self.members.len() < member_count {
            self.rebalance_or_complete(ctx, effects);
        } else {
            // An id that was given and is not joined with any more keeps nobody waiting.
            self.complete_join_if_all_are_in(ctx, effects);
        }
    }

    fn leave_one(&mut self, leaving: Leaving<'_>, effects: &mut Effects) -> Result<(), GroupError> {
        if leaving.member_id.is_empty() {
            // An operator removes a static member by the name that it gave itself.
            let member_id = leaving.instance_id.and_then(|instance_id| self.instances.get(instance_id)).cloned();
            let member_id = member_id.ok_or(GroupError::UnknownMember)?;
            self.remove(member_id.as_str(), effects);
            return Ok(());
        }
        if !self.pending.contains_key(leaving.member_id) {
            self.check_member(leaving.member_id, leaving.instance_id)?;
        }
        self.remove(leaving.member_id, effects);
        Ok(())
    }
}
