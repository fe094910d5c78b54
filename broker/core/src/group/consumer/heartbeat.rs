//! A member's sign of life: it joins, says what changed, and learns what it is to have. Owns the checks of who may speak and the order
//! of what follows. All checks come before the first change, so that a refusal leaves the group as it was. Lives on the shard
//! that owns the group.

use std::sync::Arc;

use ouzel_protocol::PartitionIndex;
use ouzel_protocol::kafka::{ConsumerGroupHeartbeatRequest, MemberTopic};

use super::member::{HeartbeatCaller, Member, updated};
use super::reconcile::{CurrentAssignment, LEFT_EPOCH, MemberState};
use super::record::{ConsumerRecord, Subscription};
use super::{ConsumerContext, ConsumerGroup};
use crate::group::assignor::Assignor;
use crate::group::effects::Effects;
use crate::group::error::GroupError;
use crate::group::ids::{Generation, MemberId};
use crate::group::limits::PATTERN_COUNT_MAX;
use crate::group::now::MonotonicMs;
use crate::group::partition_set::{PartitionSet, TopicPartition};
use crate::group::subscription_pattern::SubscriptionPattern;

/// What a member is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatOutcome {
    /// Its id.
    pub member_id: MemberId,
    /// Its epoch; -1 or -2 for one that has left.
    pub epoch: Generation,
    /// After how long to give the next sign, in ms.
    pub interval_ms: u32,
    /// Whether it waits for partitions that others have.
    pub is_waiting: bool,
    /// All that it is to have; `None` where that is what it was told before.
    pub assignment: Option<PartitionSet>,
}

/// Who a heartbeat is from.
pub(super) enum Speaker {
    /// A member.
    Known(MemberId),
    /// One that is new.
    New(MemberId),
    /// One that takes the place of a static member that is away.
    Returned { member_id: MemberId, before: MemberId },
}

impl ConsumerGroup {
    /// Hears a member.
    ///
    /// # Errors
    /// The caller's fault, and nothing has changed.
    pub(crate) fn heartbeat(
        &mut self,
        ctx: ConsumerContext<'_>,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        caller: HeartbeatCaller<'_>,
        effects: &mut Effects,
    ) -> Result<HeartbeatOutcome, GroupError> {
        check_request(request, caller)?;
        if request.member_epoch < 0 {
            return self.leave(ctx.now, request, effects);
        }
        let speaker = self.speaker(request, caller)?;
        let known = match &speaker {
            Speaker::Known(member_id) | Speaker::Returned { before: member_id, .. } => {
                self.members.get(member_id.as_str())
            }
            Speaker::New(_) => None,
        };
        if known.is_none() && self.members.len() >= ctx.config.member_count_max {
            return Err(GroupError::GroupFull { max: ctx.config.member_count_max });
        }
        let before = known.map(|member| Arc::clone(&member.subscription));
        let after = updated(before.as_deref(), request, caller)?.map(Arc::new);
        self.check_pattern(ctx, before.as_deref(), after.as_deref())?;

        let is_changed = after.as_deref().is_some_and(|after| reads_other(before.as_deref(), after));
        let member_id = self.seat(speaker, before, after, effects);
        self.refresh(ctx, is_changed, effects);
        self.assign(ctx, effects);
        let has_changed = self.reconcile(ctx, &member_id, request.topic_partitions.as_ref(), effects);
        self.renew(&member_id, ctx.now.monotonic.after(ctx.config.session_timeout_ms));

        let current = &self.members[member_id.as_str()].current;
        // Whoever sends everything has lost touch; whoever is an epoch behind has lost a reply.
        let is_full = request.rebalance_timeout_ms >= 0
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let is_told = has_changed || is_full || request.member_epoch != current.epoch.0;
        Ok(HeartbeatOutcome {
            epoch: current.epoch,
            interval_ms: ctx.config.heartbeat_interval_ms,
            is_waiting: current.state == MemberState::Unreleased,
            assignment: is_told.then(|| current.assigned.clone()),
            member_id,
        })
    }

    /// Whose heartbeat it is, and whether that one may speak.
    fn speaker(
        &self,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        caller: HeartbeatCaller<'_>,
    ) -> Result<Speaker, GroupError> {
        let joins = request.member_epoch == 0;
        let of_instance = request.instance_id.map(|instance_id| self.instances.get(instance_id));
        let fresh = || {
            let id = request.member_id;
            if id.is_empty() { MemberId::from(format!("{:032x}", caller.drawn)) } else { MemberId::from(id) }
        };
        match of_instance {
            Some(None) if !joins => Err(GroupError::UnknownMember),
            Some(Some(member_id)) if member_id.as_str() == request.member_id => self.known(request),
            Some(Some(_)) if !joins => Err(GroupError::FencedInstance),
            Some(Some(before)) => {
                let member = &self.members[before.as_str()];
                // One of the classic protocol is replaced as classic groups do it, without having left.
                if member.current.epoch != LEFT_EPOCH && member.subscription.classic.is_none() {
                    return Err(GroupError::UnreleasedInstance { member_id: before.clone() });
                }
                // An id of its own that another member has would be two members of one id.
                if self.members.contains_key(request.member_id) {
                    return Err(GroupError::FencedInstance);
                }
                Ok(Speaker::Returned { member_id: fresh(), before: before.clone() })
            }
            Some(None) | None if self.members.contains_key(request.member_id) => self.known(request),
            Some(None) | None if joins => Ok(Speaker::New(fresh())),
            Some(None) | None => Err(GroupError::UnknownMember),
        }
    }

    /// A member, if its epoch is one that it may have.
    fn known(&self, request: &ConsumerGroupHeartbeatRequest<'_>) -> Result<Speaker, GroupError> {
        let (member_id, member) = self.members.get_key_value(request.member_id).expect("it was found");
        let (got, current) = (Generation(request.member_epoch), &member.current);
        let had = member.subscription.instance_id.as_ref();
        // A member keeps the instance it came with; one that had none gets none.
        if let Some(instance_id) = request.instance_id
            && had.is_none_or(|had| had.as_str() != instance_id)
        {
            return Err(GroupError::InvalidRequest { reason: "a member has one instance id or none" });
        }
        let owns_no_other = || {
            let owned = request.topic_partitions.as_ref().map(|topics| topics.iter().flat_map(partitions_of));
            owned.is_some_and(|mut owned| owned.all(|partition| current.assigned.contains(partition)))
        };
        let fits = got.0 == 0
            || got == current.epoch
            || (got == current.previous_epoch && got < current.epoch && owns_no_other());
        if current.epoch == LEFT_EPOCH && got.0 != 0 {
            return Err(GroupError::UnknownMember);
        }
        match fits {
            true => Ok(Speaker::Known(member_id.clone())),
            false => Err(GroupError::FencedMemberEpoch { expected: current.epoch, got }),
        }
    }

    /// Whether the new pattern of a member is one, and the group may have it.
    fn check_pattern(
        &self,
        ctx: ConsumerContext<'_>,
        before: Option<&Subscription>,
        after: Option<&Subscription>,
    ) -> Result<(), GroupError> {
        let Some(pattern) = after.and_then(|after| after.pattern.as_ref()) else { return Ok(()) };
        if before.and_then(|before| before.pattern.as_ref()) == Some(pattern) || self.patterns.contains_key(pattern) {
            return Ok(());
        }
        let mut pace = ctx.pattern_pace.get();
        if !pace.has_room(ctx.now.monotonic) {
            return Err(GroupError::PatternsBusy);
        }
        // What is no pattern was read all the same.
        pace.spend(ctx.now.monotonic, 0);
        ctx.pattern_pace.set(pace);
        SubscriptionPattern::parse(pattern)?;
        let (got, max) = (self.patterns.len() + 1, PATTERN_COUNT_MAX);
        if got > max { Err(GroupError::TooLarge { what: "set of patterns", got, max }) } else { Ok(()) }
    }

    /// Puts what the member asks for into the state and writes it. Returns its id.
    pub(super) fn seat(
        &mut self,
        speaker: Speaker,
        before: Option<Arc<Subscription>>,
        after: Option<Arc<Subscription>>,
        effects: &mut Effects,
    ) -> MemberId {
        let is_changed = after.is_some();
        let subscription = after.or(before).expect("one that is new asks for something");
        let member_id = match speaker {
            Speaker::Known(member_id) => {
                self.members.get_mut(member_id.as_str()).expect("it is a member").subscription = subscription;
                if is_changed {
                    self.write_subscription(&member_id, effects);
                }
                self.welcome_back(&member_id);
                return member_id;
            }
            Speaker::New(member_id) => {
                self.members.insert(member_id.clone(), Member::new(subscription, CurrentAssignment::new()));
                self.write_subscription(&member_id, effects);
                member_id
            }
            Speaker::Returned { member_id, before } => {
                self.replace(&before, &member_id, subscription, effects);
                member_id
            }
        };
        if let Some(instance_id) = &self.members[member_id.as_str()].subscription.instance_id {
            self.instances.insert(instance_id.clone(), member_id.clone());
        }
        member_id
    }

    /// A static member that comes back under the id that it had.
    fn welcome_back(&mut self, member_id: &MemberId) {
        let member = self.members.get_mut(member_id.as_str()).expect("it is a member");
        if member.current.epoch == LEFT_EPOCH {
            member.current.epoch = Generation(0);
            member.current.previous_epoch = Generation(0);
        }
    }

    /// Gives everything of a static member to the one that takes its place.
    fn replace(
        &mut self,
        before: &MemberId,
        member_id: &MemberId,
        subscription: Arc<Subscription>,
        effects: &mut Effects,
    ) {
        let target = self.targets.get(before.as_str()).cloned().unwrap_or_default();
        let mut current = self.members[before.as_str()].current.clone();
        current.epoch = Generation(0);
        current.previous_epoch = Generation(0);
        self.remove(before, effects);
        self.members.insert(member_id.clone(), Member::new(subscription, CurrentAssignment::new()));
        self.set_current(member_id, current.clone());
        self.targets.insert(member_id.clone(), target.clone());
        self.write_subscription(member_id, effects);
        self.record(ConsumerRecord::Target(member_id.clone(), Some(target)), effects);
        self.record(ConsumerRecord::Current(member_id.clone(), Some(current)), effects);
    }

    fn write_subscription(&self, member_id: &MemberId, effects: &mut Effects) {
        let subscription = Arc::clone(&self.members[member_id.as_str()].subscription);
        self.record(ConsumerRecord::Member(member_id.clone(), Some(subscription)), effects);
    }

    /// Leads the member a step towards what it is to have. Returns whether it is to have something else from now on.
    pub(super) fn reconcile(
        &mut self,
        ctx: ConsumerContext<'_>,
        member_id: &MemberId,
        owned: Option<&ouzel_protocol::kafka::Array<'_, MemberTopic<'_>>>,
        effects: &mut Effects,
    ) -> bool {
        let member = &self.members[member_id.as_str()];
        if member.current.is_reconciled_to(self.assignment_epoch) {
            return false;
        }
        let owned: Option<PartitionSet> = owned.map(|topics| topics.iter().flat_map(partitions_of).collect());
        self.step(ctx.now.monotonic, member_id, owned.as_ref(), effects)
    }

    /// As [`ConsumerGroup::reconcile`], for one that says it has `owned`, or says nothing.
    pub(super) fn step(
        &mut self,
        now: MonotonicMs,
        member_id: &MemberId,
        owned: Option<&PartitionSet>,
        effects: &mut Effects,
    ) -> bool {
        let member = &self.members[member_id.as_str()];
        let nothing = PartitionSet::default();
        let target = self.targets.get(member_id.as_str()).unwrap_or(&nothing);
        let has = |partition| owned.is_none_or(|owned| owned.contains(partition));
        let is_held = |partition| self.holders.contains_key(&partition);
        let Some(next) = member.current.next(self.assignment_epoch, target, has, is_held) else { return false };
        let has_changed = next.assigned != member.current.assigned;
        let timeout_ms = member.subscription.rebalance_timeout_ms;
        self.record(ConsumerRecord::Current(member_id.clone(), Some(next.clone())), effects);
        let ends = if next.state == MemberState::Unrevoked { now.after(timeout_ms) } else { MonotonicMs::NEVER };
        self.set_current(member_id, next);
        self.members.get_mut(member_id.as_str()).expect("it is a member").revocation_ends = ends;
        self.wake_at = self.wake_at.min(ends);
        has_changed
    }

    /// The member lives: the end of its session moves.
    pub(super) fn renew(&mut self, member_id: &MemberId, session_ends: MonotonicMs) {
        self.members.get_mut(member_id.as_str()).expect("it is a member").session_ends = session_ends;
        self.wake_at = self.wake_at.min(session_ends);
    }
}

/// Whether a member reads other topics than before.
pub(super) fn reads_other(before: Option<&Subscription>, after: &Subscription) -> bool {
    before.is_none_or(|before| {
        before.topics != after.topics
            || before.pattern != after.pattern
            || before.server_assignor != after.server_assignor
    })
}

/// The partitions of a row of the wire; numbers below zero are none.
fn partitions_of<'a>(topic: MemberTopic<'a>) -> impl Iterator<Item = TopicPartition> + use<'a> {
    let numbers: Vec<u32> = topic.partitions.iter().filter_map(|number| u32::try_from(number).ok()).collect();
    let row = move |number| TopicPartition { topic_id: topic.topic_id, partition: PartitionIndex(number) };
    numbers.into_iter().map(row)
}

/// Whether the request says what one of its kind must say, as Kafka demands it.
fn check_request(request: &ConsumerGroupHeartbeatRequest<'_>, caller: HeartbeatCaller<'_>) -> Result<(), GroupError> {
    let invalid = |reason| Err(GroupError::InvalidRequest { reason });
    let has_id = !request.member_id.is_empty();
    if request.instance_id == Some("") || request.rack_id == Some("") {
        return invalid("an instance id or a rack has a name, where there is one");
    }
    if !has_id && (caller.makes_its_id || request.member_epoch != 0) {
        return invalid("a member needs an id");
    }
    match request.member_epoch {
        0 => {
            if request.rebalance_timeout_ms < 0 {
                return invalid("a member that joins says how long it may take to give partitions back");
            }
            if request.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty()) {
                return invalid("a member that joins has no partitions");
            }
            // One that reads nothing yet is a member all the same.
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
                return invalid("a member that joins says what it reads");
            }
        }
        -2 if request.instance_id.is_none() => return invalid("only a static member leaves for a while"),
        ..-2 => return invalid("there is no such epoch"),
        _ => {}
    }
    match request.server_assignor {
        Some(name) if Assignor::find(name).is_none() => Err(GroupError::UnsupportedAssignor),
        _ => Ok(()),
    }
}
