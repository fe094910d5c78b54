//! Groups whose broker assigns, at the door: their heartbeats, their records, and when a group becomes one or ceases to be. Owns the
//! change of a group's kind. Lives on the shard that owns the partition.

use std::sync::Arc;

use ouzel_protocol::kafka::ConsumerGroupHeartbeatRequest;

use super::{Group, GroupCoordinator, GroupKind, check_group_id, find_or_create};
use crate::group::classic::{ClassicGroup, Context};
use crate::group::consumer::{
    ConsumerContext, ConsumerGroup, ConsumerGroupDescription, ConsumerRecord, HeartbeatCaller, HeartbeatOutcome,
};
use crate::group::effects::{Effects, Reply, Waiter};
use crate::group::error::GroupError;
use crate::group::ids::{Generation, GroupId};
use crate::group::now::Now;
use crate::group::record::{ClassicGroupState, GroupRecord};
use crate::group::topics::Topics;

impl GroupCoordinator {
    /// A member of a group whose broker assigns joins, lives, or leaves. Answered at once; where nothing has changed, nothing is
    /// written and nothing allocated but for the reply's place in `effects`, which the caller may use again.
    pub fn consumer_heartbeat(
        &mut self,
        now: Now,
        waiter: Waiter,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        caller: HeartbeatCaller<'_>,
        effects: &mut Effects,
    ) {
        let outcome = self.hear_consumer(now, request, caller, effects);
        // Only a leave can be that of the last one.
        if request.member_epoch < 0
            && let Some(group) = self.groups.get_mut(request.group_id)
        {
            group.downgrade(Context { now, config: &self.config }, &*self.topics, effects);
        }
        effects.reply(waiter, Reply::ConsumerHeartbeat(outcome));
        self.settle(request.group_id);
    }

    fn hear_consumer(
        &mut self,
        now: Now,
        request: &ConsumerGroupHeartbeatRequest<'_>,
        caller: HeartbeatCaller<'_>,
        effects: &mut Effects,
    ) -> Result<HeartbeatOutcome, GroupError> {
        check_group_id(request.group_id, 1)?;
        let (config, topics) = (&self.config.consumer, &*self.topics);
        let ctx = ConsumerContext { now, config, topics, pattern_pace: &self.pattern_pace };
        let group = match request.member_epoch {
            0 => find_or_create(&mut self.groups, request.group_id, now)?,
            _ => self.groups.get_mut(request.group_id).ok_or(GroupError::UnknownGroup)?,
        };
        match &mut group.kind {
            GroupKind::Consumer(group) => group.heartbeat(ctx, request, caller, effects),
            GroupKind::Classic(_) if request.member_epoch != 0 => Err(GroupError::UnknownGroup),
            GroupKind::Classic(classic) => {
                // What was there is left alone until the member is one.
                let mut upgraded = ConsumerGroup::from_classic(classic, ctx)?;
                let mut led_to = Effects::new();
                upgraded.write(&mut led_to);
                let outcome = upgraded.heartbeat(ctx, request, caller, &mut led_to)?;
                classic.dissolve(effects);
                effects.records.append(&mut led_to.records);
                group.kind = GroupKind::Consumer(Box::new(upgraded));
                Ok(outcome)
            }
        }
    }

    /// A group whose broker assigns, or `None` where there is none of this kind.
    pub fn describe_consumer(&self, group_id: &str) -> Option<ConsumerGroupDescription> {
        match &self.groups.get(group_id)?.kind {
            GroupKind::Consumer(group) => Some(group.describe()),
            GroupKind::Classic(_) => None,
        }
    }

    /// Whether a caller may fetch offsets of the group; one that says nothing of itself may.
    ///
    /// # Errors
    /// The caller's fault: it is no member; or its epoch is not the member's, and it has to learn of its assignment first.
    pub fn check_fetch(&self, group_id: &str, member_id: Option<&str>, epoch: Generation) -> Result<(), GroupError> {
        match self.groups.get(group_id).map(|group| &group.kind) {
            Some(GroupKind::Consumer(group)) => group.check_fetch(member_id, epoch),
            // Classic groups ask nobody who reads their offsets.
            Some(GroupKind::Classic(_)) | None => Ok(()),
        }
    }

    pub(super) fn apply_consumer(&mut self, group_id: &GroupId, record: ConsumerRecord) {
        if record.is_tombstone() {
            let Some(group) = self.groups.get_mut(group_id) else { return };
            let GroupKind::Consumer(consumer) = &mut group.kind else { return };
            let is_over = matches!(record, ConsumerRecord::Group(None));
            consumer.apply(record);
            if is_over {
                group.kind = Group::new(group_id, Now::default()).kind;
                self.settle(group_id.as_str());
            }
            return;
        }
        let group = self.loaded(group_id);
        if let GroupKind::Classic(_) = group.kind {
            group.kind = GroupKind::Consumer(Box::new(ConsumerGroup::loaded(group_id.clone())));
        }
        if let GroupKind::Consumer(group) = &mut group.kind {
            group.apply(record);
        }
    }
}

impl Group {
    /// A member of the classic protocol comes to a group whose broker assigns and that has no member: it becomes a classic one, and
    /// goes on counting.
    pub(super) fn become_classic_if_vacant(&mut self, group_id: &str, now: Now, effects: &mut Effects) {
        let GroupKind::Consumer(group) = &self.kind else { return };
        if !group.is_vacant() {
            return;
        }
        let group_id = GroupId::from(group_id);
        group.write_tombstones(effects);
        let state = Arc::new(ClassicGroupState {
            protocol_type: "".into(),
            generation: group.epoch(),
            protocol: None,
            leader: None,
            since: Some(now.wall),
            members: Vec::new(),
        });
        let classic = ClassicGroup::from_record(group_id.clone(), &state).expect("a group without members is one");
        effects.record(GroupRecord::ClassicGroup { group_id: group_id.clone(), state });
        self.kind = GroupKind::Classic(Box::new(classic));
    }

    /// The last member whose broker assigns has gone, and others are left: the group becomes a classic one, whose members join
    /// again.
    pub(super) fn downgrade(&mut self, ctx: Context<'_>, topics: &dyn Topics, effects: &mut Effects) {
        let GroupKind::Consumer(group) = &self.kind else { return };
        let Some(state) = group.downgraded(ctx.now, &ctx.config.consumer, topics).map(Arc::new) else { return };
        let group_id = group.group_id().clone();
        let mut classic = ClassicGroup::from_record(group_id.clone(), &state).expect("its members have what they need");
        group.write_tombstones(effects);
        effects.record(GroupRecord::ClassicGroup { group_id, state });
        classic.start(ctx, effects);
        classic.prepare_rebalance(ctx, effects);
        self.kind = GroupKind::Classic(Box::new(classic));
    }
}
