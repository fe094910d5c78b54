//! From the log to a group whose broker assigns. Owns what each record does to the state, and what is made of records that do not go
//! together. Decides nothing else. Lives on the shard that owns the group.
//!
//! A compacted log keeps the last record of each key, in the order of those: a member's parts come in any order, and what two
//! members have may overlap on the way. Who has what is therefore found out at the end.

use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::member::Member;
use super::reconcile::{CurrentAssignment, MemberState};
use super::record::{ConsumerRecord, Subscription};
use super::{ConsumerGroup, ConsumerGroupConfig};
use crate::group::effects::Effects;
use crate::group::ids::{Generation, MemberId};
use crate::group::now::Now;

/// What a group's epoch can have counted to: others are no coordinator's, and would come round to 0 while members are ahead.
const EPOCHS: RangeInclusive<i32> = 0..=i32::MAX / 2;

impl ConsumerGroup {
    /// A group of which a record tells that is not its own.
    pub(crate) fn loaded(group_id: crate::group::ids::GroupId) -> ConsumerGroup {
        ConsumerGroup { created_at: None, is_stored: true, ..ConsumerGroup::new(group_id, Now::default()) }
    }

    /// Takes in a record of the log, in the log's order, before [`ConsumerGroup::start`].
    pub(crate) fn apply(&mut self, record: ConsumerRecord) {
        match record {
            ConsumerRecord::Group(Some(stored)) => {
                self.epoch = stored.epoch;
                self.metadata_hash = stored.metadata_hash;
                self.created_at = stored.created_at;
                self.is_stored = true;
            }
            ConsumerRecord::Group(None) => self.is_stored = false,
            ConsumerRecord::TargetEpoch(epoch) => self.assignment_epoch = epoch.unwrap_or_default(),
            ConsumerRecord::Member(member_id, Some(subscription)) => {
                self.placeholder(&member_id).subscription = subscription;
            }
            ConsumerRecord::Member(member_id, None) => {
                self.members.remove(member_id.as_str());
                self.targets.remove(member_id.as_str());
            }
            ConsumerRecord::Target(member_id, Some(target)) => {
                self.targets.insert(member_id, target);
            }
            ConsumerRecord::Target(member_id, None) => {
                self.targets.remove(member_id.as_str());
            }
            ConsumerRecord::Current(member_id, Some(current)) => self.placeholder(&member_id).current = current,
            ConsumerRecord::Current(member_id, None) => {
                if let Some(member) = self.members.get_mut(member_id.as_str()) {
                    member.current = CurrentAssignment::new();
                }
            }
            ConsumerRecord::Pattern(pattern, Some(resolved)) => {
                self.patterns.insert(pattern, resolved);
            }
            ConsumerRecord::Pattern(pattern, None) => {
                self.patterns.remove(&pattern);
            }
        }
    }

    /// The member, which may be told of by what it has before it is by what it asks for.
    fn placeholder(&mut self, member_id: &MemberId) -> &mut Member {
        let nothing = || Member::new(Arc::new(unknown()), CurrentAssignment::new());
        self.members.entry(member_id.clone()).or_insert_with(nothing)
    }

    /// The log is read: members that were in it have a session's time to show that they live. What does not go together, which no
    /// coordinator writes, is put right by taking members out: they join again.
    pub(crate) fn start(&mut self, now: Now, config: &ConsumerGroupConfig, effects: &mut Effects) {
        self.seen = None;
        self.hashed = None;
        // The log does not say since when: nothing is forgotten too early.
        self.vacant_since = now.wall;
        if !EPOCHS.contains(&self.epoch.0) {
            self.epoch = Generation(0);
        }
        self.assignment_epoch = self.assignment_epoch.clamp(Generation(0), self.epoch);
        self.targets.retain(|member_id, _| self.members.contains_key(member_id));
        let mut wrong = self.find_holders();
        self.instances.clear();
        let mut doubled = self.find_doubled_targets();
        for (member_id, member) in &self.members {
            let Some(instance_id) = &member.subscription.instance_id else { continue };
            if wrong.binary_search(member_id).is_ok() {
                continue;
            }
            match self.instances.entry(instance_id.clone()) {
                Entry::Vacant(free) => drop(free.insert(member_id.clone())),
                Entry::Occupied(_) => doubled.push(member_id.clone()),
            }
        }
        wrong.extend(doubled);
        wrong.sort_unstable();
        wrong.dedup();
        if !wrong.is_empty() {
            self.fence(now, wrong, effects);
        }
        self.forget_patterns(effects);
        self.begin_sessions(now.monotonic, config);
    }

    /// Finds who has what. Returns the members that cannot be, ascending: of which only a part is known, which are ahead of the group,
    /// which have what another has, or give back what they keep.
    fn find_holders(&mut self) -> Vec<MemberId> {
        self.holders.clear();
        let mut wrong = Vec::new();
        for (member_id, member) in &mut self.members {
            let is_free = |partition| !self.holders.contains_key(&partition);
            let is_whole = !member.subscription.client_host.is_empty() || !member.subscription.client_id.is_empty();
            let epoch = member.current.epoch;
            let current = &member.current;
            let is_one = current.assigned.and(&current.revoking).is_empty()
                && (current.revoking.is_empty() || current.state == MemberState::Unrevoked);
            if is_whole && is_one && epoch <= self.assignment_epoch && current.held().all(is_free) {
                self.holders.extend(member.current.held().map(|partition| (partition, member_id.clone())));
            } else {
                member.current = CurrentAssignment { epoch: Generation(0), ..CurrentAssignment::new() };
                wrong.push(member_id.clone());
            }
        }
        wrong
    }

    /// The members that are to have what another is to have.
    fn find_doubled_targets(&self) -> Vec<MemberId> {
        let mut taken = BTreeSet::new();
        let mut doubled = Vec::new();
        for (member_id, target) in &self.targets {
            if !target.iter().all(|partition| taken.insert(partition)) {
                doubled.push(member_id.clone());
            }
        }
        doubled
    }
}

/// How long a member may be silent, in ms.
pub(super) fn session_ms(member: &Member, config: &ConsumerGroupConfig) -> u32 {
    member.subscription.classic.as_ref().map_or(config.session_timeout_ms, |classic| classic.session_timeout_ms)
}

/// What is known of a member of which nothing is.
fn unknown() -> Subscription {
    Subscription {
        instance_id: None,
        rack_id: None,
        client_id: Arc::from(""),
        client_host: Arc::from(""),
        topics: Arc::from([]),
        pattern: None,
        rebalance_timeout_ms: 0,
        server_assignor: None,
        classic: None,
    }
}
