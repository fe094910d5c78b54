//! What is due in a group whose broker assigns: members that were not heard in time, or did not give back in time, are taken out. Owns
//! when the group wakes. Lives on the shard that owns the group.

use super::loading::session_ms;
use super::member::Member;
use super::{ConsumerGroup, ConsumerGroupConfig, MemberState};
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

    /// Members could not be heard until now: each has its session, and the time to give back what it is to, from now on.
    pub(crate) fn begin_sessions(&mut self, now: MonotonicMs, config: &ConsumerGroupConfig) {
        for member in self.members.values_mut() {
            let rebalance_ends = now.after(member.subscription.rebalance_timeout_ms);
            member.session_ends = now.after(session_ms(member, config));
            if member.current.state == MemberState::Unrevoked {
                member.revocation_ends = rebalance_ends;
            }
            if member.classic_ends != MonotonicMs::NEVER {
                member.classic_ends = rebalance_ends;
            }
        }
        self.rearm();
    }

    /// Finds the first deadline there is.
    pub(super) fn rearm(&mut self) {
        self.wake_at = self.members.values().map(Member::deadline).min().unwrap_or(MonotonicMs::NEVER);
    }
}
