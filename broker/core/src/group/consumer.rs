//! A group whose broker assigns (KIP-848): members say what they read and what they have, the broker says what they are to have, and
//! partitions change hands one by one while the rest is read on.
//!
//! Owns the state and the questions that can be asked of it. Events stand beside: `heartbeat` (join included), `leave`, `timers`,
//! and `loading` from the log; `target` makes assignments, `reconcile` leads a member to its own. Lives on the shard that owns
//! the group's partition.
//!
//! Three epochs: the group's counts the changes of members and of what they read; the assignment's is the one for which the target
//! was made; a member's is that of the target it has. No partition is in two members' hands ([`CurrentAssignment::held`]).

mod classic_members;
mod config;
mod describe;
mod heartbeat;
mod leave;
mod loading;
mod member;
mod migration;
mod reconcile;
mod record;
mod snapshot;
mod target;
#[cfg(test)]
mod tests;
mod timers;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use ouzel_protocol::MetadataVersion;

pub use config::{ConsumerGroupConfig, Migration};
pub use describe::{ConsumerGroupDescription, ConsumerGroupPhase, ConsumerMemberDescription};
pub use heartbeat::HeartbeatOutcome;
pub use member::HeartbeatCaller;
use member::Member;
pub use reconcile::{CurrentAssignment, LEFT_EPOCH, MemberState};
pub use record::{ClassicSubscription, ConsumerRecord, ResolvedPattern, StoredConsumerGroup, Subscription};

use super::effects::Effects;
use super::error::GroupError;
use super::ids::{Generation, GroupId, InstanceId, MemberId};
use super::now::{MonotonicMs, Now, WallMs};
use super::offsets::RetentionStart;
use super::partition_set::{PartitionSet, TopicPartition};
use super::pattern_pace::PatternPace;
use super::record::GroupRecord;
use super::topics::Topics;

/// What every event comes with.
#[derive(Clone, Copy)]
pub(crate) struct ConsumerContext<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a ConsumerGroupConfig,
    pub(crate) topics: &'a dyn Topics,
    pub(crate) pattern_pace: &'a Cell<PatternPace>,
}

/// One group whose broker assigns, without its offsets.
#[derive(Clone, Debug)]
pub struct ConsumerGroup {
    group_id: GroupId,
    epoch: Generation,
    assignment_epoch: Generation,
    metadata_hash: i64,
    created_at: Option<WallMs>,
    /// Since when it has no member, while it has none: of one that was loaded, since then.
    vacant_since: WallMs,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<InstanceId, MemberId>,
    /// What each member is to have; nobody is in it who is no member.
    targets: BTreeMap<MemberId, PartitionSet>,
    /// Who has each partition, or is still to give it back.
    holders: BTreeMap<TopicPartition, MemberId>,
    /// The patterns of members.
    patterns: BTreeMap<Arc<str>, ResolvedPattern>,
    /// The metadata that the group has last looked at with all of its patterns; none since it was loaded.
    seen: Option<MetadataVersion>,
    /// The metadata that its hash is of.
    hashed: Option<MetadataVersion>,
    /// Before that, patterns are not held against new metadata.
    patterns_fresh_until: MonotonicMs,
    /// No deadline of this group comes before that one; it may come long after.
    wake_at: MonotonicMs,
    /// Whether the log has a record of it.
    is_stored: bool,
}

impl ConsumerGroup {
    /// A group in which nothing has happened.
    pub(crate) fn new(group_id: GroupId, now: Now) -> Self {
        Self {
            group_id,
            epoch: Generation(0),
            assignment_epoch: Generation(0),
            metadata_hash: 0,
            created_at: Some(now.wall),
            vacant_since: now.wall,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            targets: BTreeMap::new(),
            holders: BTreeMap::new(),
            patterns: BTreeMap::new(),
            seen: None,
            hashed: None,
            patterns_fresh_until: MonotonicMs(0),
            wake_at: MonotonicMs::NEVER,
            is_stored: false,
        }
    }

    /// An empty group that goes on counting where another of its name stopped.
    pub(crate) fn following(group_id: GroupId, epoch: Generation, now: Now) -> Self {
        Self { epoch, assignment_epoch: epoch, ..Self::new(group_id, now) }
    }

    /// What it is called.
    pub fn group_id(&self) -> &GroupId {
        &self.group_id
    }

    /// Counts the changes of its members and of what they read.
    pub fn epoch(&self) -> Generation {
        self.epoch
    }

    /// The epoch for which its assignment was made.
    pub fn assignment_epoch(&self) -> Generation {
        self.assignment_epoch
    }

    /// How many members it has.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Whether nobody is a member.
    pub(crate) fn is_vacant(&self) -> bool {
        self.members.is_empty()
    }

    /// From when the retention of its offsets counts.
    pub(crate) fn retention_start(&self) -> RetentionStart {
        match self.is_vacant() {
            // Members commit what has changed: one that reads a quiet topic for long has old commits, and all of them are of use.
            true => RetentionStart::Emptied(self.vacant_since),
            // Every topic that a member reads is known: what nobody reads is kept for as long as it was last of use.
            false => RetentionStart::Commit,
        }
    }

    /// Whether the log has a record of it.
    pub(crate) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// Whether a member reads `topic`, by its name or by a pattern.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        let is_in = |topics: &[super::ids::TopicName]| topics.binary_search_by(|name| name.as_str().cmp(topic)).is_ok();
        self.members.values().any(|member| is_in(&member.subscription.topics))
            || self.patterns.values().any(|pattern| is_in(&pattern.topics))
    }

    /// The time before which a tick has nothing to do.
    pub(crate) fn wake_at(&self) -> MonotonicMs {
        self.wake_at
    }

    /// Whether a member may commit offsets. It does not show that it lives: its heartbeats alone do.
    ///
    /// # Errors
    /// The caller's fault: it is no member; or its epoch is not the member's, and it has to learn of its assignment first.
    pub(crate) fn check_commit(&self, member_id: &str, epoch: Generation) -> Result<(), GroupError> {
        // Whoever is in no group may store offsets of one that has no members.
        if epoch.0 < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_epoch(member_id, epoch)
    }

    /// Whether a caller may fetch offsets; one that says nothing of itself may.
    ///
    /// # Errors
    /// As [`ConsumerGroup::check_commit`].
    pub(crate) fn check_fetch(&self, member_id: Option<&str>, epoch: Generation) -> Result<(), GroupError> {
        match member_id {
            None if epoch.0 < 0 => Ok(()),
            member_id => self.check_epoch(member_id.unwrap_or_default(), epoch),
        }
    }

    fn check_epoch(&self, member_id: &str, got: Generation) -> Result<(), GroupError> {
        let member = self.members.get(member_id).ok_or(GroupError::UnknownMember)?;
        let expected = member.current.epoch;
        match got == expected {
            true => Ok(()),
            false if member.subscription.classic.is_some() => Err(GroupError::IllegalGeneration { expected, got }),
            false => Err(GroupError::StaleMemberEpoch { expected, got }),
        }
    }

    fn record(&self, record: ConsumerRecord, effects: &mut Effects) {
        effects.record(GroupRecord::Consumer { group_id: self.group_id.clone(), record });
    }

    /// Writes the group's own record.
    fn store(&mut self, effects: &mut Effects) {
        self.is_stored = true;
        let (epoch, metadata_hash, created_at) = (self.epoch, self.metadata_hash, self.created_at);
        let stored = StoredConsumerGroup { epoch, metadata_hash, created_at };
        self.record(ConsumerRecord::Group(Some(stored)), effects);
    }

    /// Begins a new epoch: the next heartbeat makes the assignment for it.
    fn bump(&mut self, effects: &mut Effects) {
        self.epoch = self.epoch.next();
        self.store(effects);
    }

    /// Sets what a member has, and who has what.
    fn set_current(&mut self, member_id: &MemberId, current: CurrentAssignment) {
        let member = self.members.get_mut(member_id.as_str()).expect("it is a member");
        for partition in member.current.held() {
            let holder = self.holders.remove(&partition);
            assert_eq!(holder.as_ref(), Some(member_id), "a partition has the holder that it was given");
        }
        for partition in current.held() {
            let other = self.holders.insert(partition, member_id.clone());
            assert_eq!(other, None, "no partition has two holders");
        }
        member.current = current;
    }

    /// Takes a member out of the state and writes that it is gone; the epoch stays with the caller.
    fn remove(&mut self, member_id: &MemberId, effects: &mut Effects) {
        self.set_current(member_id, CurrentAssignment::new());
        let member = self.members.remove(member_id.as_str()).expect("it was a member");
        if let Some(instance_id) = &member.subscription.instance_id
            && self.instances.get(instance_id.as_str()) == Some(member_id)
        {
            self.instances.remove(instance_id.as_str());
        }
        self.targets.remove(member_id.as_str());
        // What it has goes first: whoever reads half of this sees no partition in the hands of nobody's member.
        self.record(ConsumerRecord::Current(member_id.clone(), None), effects);
        self.record(ConsumerRecord::Target(member_id.clone(), None), effects);
        self.record(ConsumerRecord::Member(member_id.clone(), None), effects);
    }

    /// Writes that the group is gone.
    pub(crate) fn write_tombstones(&self, effects: &mut Effects) {
        for member_id in self.members.keys() {
            self.record(ConsumerRecord::Current(member_id.clone(), None), effects);
            self.record(ConsumerRecord::Target(member_id.clone(), None), effects);
            self.record(ConsumerRecord::Member(member_id.clone(), None), effects);
        }
        for pattern in self.patterns.keys() {
            self.record(ConsumerRecord::Pattern(Arc::clone(pattern), None), effects);
        }
        self.record(ConsumerRecord::TargetEpoch(None), effects);
        self.record(ConsumerRecord::Group(None), effects);
    }

    /// Panics where the state contradicts itself: a broken invariant of ours, never of a caller.
    pub fn assert_invariants(&self) {
        let mut held = 0;
        for (member_id, member) in &self.members {
            for partition in member.current.held() {
                held += 1;
                assert_eq!(self.holders.get(&partition), Some(member_id), "who has a partition is its holder");
            }
            assert!(member.current.epoch <= self.assignment_epoch, "no member is ahead of the assignment");
            assert!(member.current.state == MemberState::Unrevoked || member.current.revoking.is_empty());
            assert!(self.wake_at <= member.deadline(), "no deadline passes unseen");
        }
        assert_eq!(self.holders.len(), held, "nobody holds what no member has");
        assert!(self.assignment_epoch <= self.epoch, "no assignment is ahead of the group");
        let mut targets: Vec<_> = self.targets.values().flat_map(PartitionSet::iter).collect();
        let count = targets.len();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets.len(), count, "no partition is to be in two members' hands");
        assert!(self.targets.keys().all(|member_id| self.members.contains_key(member_id)), "targets are members'");
        for (instance_id, member_id) in &self.instances {
            let member = self.members.get(member_id).expect("every instance leads to a member");
            assert_eq!(member.subscription.instance_id.as_ref(), Some(instance_id));
        }
        let of_members = self.members.values().filter(|member| member.subscription.instance_id.is_some()).count();
        assert_eq!(self.instances.len(), of_members, "one instance a static member");
        let wanted =
            |pattern: &Arc<str>| self.members.values().any(|m| m.subscription.pattern.as_ref() == Some(pattern));
        assert!(self.patterns.keys().all(wanted), "patterns are members'");
    }
}
