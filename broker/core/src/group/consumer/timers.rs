//! What is due in a group whose broker assigns: members that were not heard in time, or did not give back in time, are taken out. Owns
//! when the group wakes. Lives on the shard that owns the group.

use super::ConsumerGroup;
use super::member::Member;
use crate::group::effects::Effects;
use crate::group::ids::MemberId;
use crate::group::now::{MonotonicMs, Now};

impl ConsumerGroup {
    /// Does what is due by now.
    pub(crate) fn tick(&mut self, now: Now, effects: &mut Effects) {
        if self.wake_at > now.monotonic {
            return;
        }
        let is_due = |member: &Member| member.deadline() <= now.monotonic;
        let members = self.members.iter().filter(|(_, member)| is_due(member));
        let due: Vec<MemberId> = members.map(|(member_id, _)| member_id.clone()).collect();
        if !due.is_empty() {
            self.fence(now, due, effects);
        }
        self.rearm();
    }

    /// Finds the first deadline there is.
    pub(super) fn rearm(&mut self) {
        self.wake_at = self.members.values().map(Member::deadline).min().unwrap_or(MonotonicMs::NEVER);
    }
}
