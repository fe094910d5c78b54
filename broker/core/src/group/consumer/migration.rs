//! A classic group of consumers becomes one whose broker assigns, and goes back, while its members read on (the online migration of
//! KIP-848). Owns what each becomes of the other. Lives on the shard that owns the group.

use std::sync::Arc;

use ouzel_protocol::kafka::consumer_protocol::PROTOCOL_TYPE;
use ouzel_protocol::kafka::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use super::classic_members::{assignment_bytes, partitions};
use super::loading::session_ms;
use super::member::{Member, sorted};
use super::record::{ClassicSubscription, ConsumerRecord, Subscription};
use super::{ConsumerContext, ConsumerGroup, ConsumerGroupConfig, CurrentAssignment};
use crate::group::classic::ClassicGroup;
use crate::group::effects::Effects;
use crate::group::error::GroupError;
use crate::group::ids::Generation;
use crate::group::now::Now;
use crate::group::partition_set::PartitionSet;
use crate::group::record::{ClassicGroupState, ClassicMemberState};
use crate::group::request::{ClassicProtocol, JoinRequest};
use crate::group::topics::Topics;

impl ConsumerGroup {
    /// What a classic group becomes: its members with what their leader last gave them. Whoever comes next makes a new epoch, and they
    /// learn at their next heartbeat that they have to join again.
    ///
    /// # Errors
    /// [`GroupError::UnknownGroup`], as Kafka says it: the group is not one of consumers, what its members say cannot be read,
    /// its leader gave a partition twice, or an operator does not want it.
    pub(crate) fn from_classic(classic: &ClassicGroup, ctx: ConsumerContext<'_>) -> Result<ConsumerGroup, GroupError> {
        let mut group = Self::following(classic.group_id().clone(), classic.generation(), ctx.now);
        // Who was given an id and has not joined with it may do that here.
        if classic.member_count() == 0 {
            return Ok(group);
        }
        if !ctx.config.migration.upgrades()
            || !classic.uses_consumer_protocol()
            || classic.member_count() > ctx.config.member_count_max
        {
            return Err(GroupError::UnknownGroup);
        }
        let mut told = Vec::new();
        for (state, protocols) in classic.members_with_protocols() {
            let (member, owned) = upgraded(&state, protocols, classic.generation(), ctx.topics)?;
            for partition in member.current.held() {
                if group.holders.insert(partition, state.member_id.clone()).is_some() {
                    return Err(GroupError::UnknownGroup);
                }
            }
            if let Some(instance_id) = &member.subscription.instance_id {
                group.instances.insert(instance_id.clone(), state.member_id.clone());
            }
            group.targets.insert(state.member_id.clone(), member.current.assigned.clone());
            told.push((state.member_id.clone(), owned));
            group.members.insert(state.member_id, member);
        }
        // A member that has not fetched what its leader gave it reads what it had before, and that is nobody's until it says so.
        for (member_id, owned) in told {
            let still = owned.filter(|partition| !group.holders.contains_key(&partition));
            group.holders.extend(still.iter().map(|partition| (partition, member_id.clone())));
            let member = group.members.get_mut(member_id.as_str()).expect("it was added");
            member.current.assigned = member.current.assigned.or(&still);
        }
        for member in group.members.values_mut() {
            member.session_ends = ctx.now.monotonic.after(session_ms(member, ctx.config));
        }
        group.rearm();
        Ok(group)
    }

    /// Writes all there is of the group.
    pub(crate) fn write(&mut self, effects: &mut Effects) {
        for (member_id, member) in &self.members {
            let subscription = Arc::clone(&member.subscription);
            self.record(ConsumerRecord::Member(member_id.clone(), Some(subscription)), effects);
        }
        self.store(effects);
        for (member_id, target) in &self.targets {
            self.record(ConsumerRecord::Target(member_id.clone(), Some(target.clone())), effects);
        }
        self.record(ConsumerRecord::TargetEpoch(Some(self.assignment_epoch)), effects);
        for (member_id, member) in &self.members {
            self.record(ConsumerRecord::Current(member_id.clone(), Some(member.current.clone())), effects);
        }
    }

    /// A member of the classic protocol is about to join: where it comes in the place of the last one of the other, that one is taken
    /// out first. The group then goes back in the generation that its members are in, and with the new one in the next.
    pub(crate) fn make_way(
        &mut self,
        now: Now,
        config: &ConsumerGroupConfig,
        request: &JoinRequest<'_>,
        effects: &mut Effects,
    ) {
        let instance_id = request.instance_id.filter(|_| request.member_id.is_empty());
        let Some(last) = instance_id.and_then(|instance_id| self.instances.get(instance_id)).cloned() else { return };
        let is_classic = |member: &Member| member.subscription.classic.is_some();
        let others_are_classic = self.members.iter().all(|(id, member)| is_classic(member) != (*id == last));
        let goes_back = others_are_classic && self.members.len() > 1 && config.migration.downgrades();
        if goes_back && self.check_protocols(Some(&last), request).is_ok() {
            self.fence(now, vec![last], effects);
        }
    }

    /// The classic group that this one becomes, if all members are of the classic protocol and an operator wants it.
    pub(crate) fn downgraded(
        &self,
        now: Now,
        config: &ConsumerGroupConfig,
        topics: &dyn Topics,
    ) -> Option<ClassicGroupState> {
        let is_classic = |member: &Member| member.subscription.classic.is_some();
        if self.members.is_empty() || !config.migration.downgrades() || !self.members.values().all(is_classic) {
            return None;
        }
        let first = self.members.values().next()?.subscription.classic.as_ref()?;
        let is_common = |name: &str| self.members.values().all(|member| member.classic_metadata(name).is_some());
        let (protocol, _) = first.protocols.iter().find(|(name, _)| is_common(name))?;
        let state = |(member_id, member): (&crate::group::ids::MemberId, &Member)| {
            let metadata = member.classic_metadata(protocol).cloned().unwrap_or_else(|| Arc::from([]));
            ClassicMemberState {
                member_id: member_id.clone(),
                instance_id: member.subscription.instance_id.clone(),
                client_id: Arc::clone(&member.subscription.client_id),
                client_host: Arc::clone(&member.subscription.client_host),
                rebalance_timeout_ms: member.subscription.rebalance_timeout_ms,
                session_timeout_ms: session_ms(member, config),
                assignment: assignment_bytes(&member.current.assigned, &metadata, topics),
                subscription: metadata,
            }
        };
        Some(ClassicGroupState {
            protocol_type: Arc::from(PROTOCOL_TYPE),
            // The one in which its members are, so that they are told to join again: the group's own is one further, since whoever
            // left began it, and no member was ever in it.
            generation: self.assignment_epoch,
            protocol: Some(Arc::clone(protocol)),
            leader: self.members.keys().next().cloned(),
            since: Some(now.wall),
            members: self.members.iter().map(state).collect(),
        })
    }
}

/// A member of a classic group, as it is in the other, and what it said that it had when it joined.
fn upgraded(
    state: &ClassicMemberState,
    protocols: &[ClassicProtocol],
    generation: Generation,
    topics: &dyn Topics,
) -> Result<(Member, PartitionSet), GroupError> {
    let unreadable = |_| GroupError::UnknownGroup;
    // All protocols of a consumer say the same.
    let metadata = &protocols.first().ok_or(GroupError::UnknownGroup)?.metadata;
    let (_, told) = ConsumerProtocolSubscription::decode(metadata).map_err(unreadable)?;
    let (_, given) = ConsumerProtocolAssignment::decode(&state.assignment).map_err(unreadable)?;
    let subscription = Subscription {
        instance_id: state.instance_id.clone(),
        rack_id: told.rack_id.map(Arc::from),
        client_id: Arc::clone(&state.client_id),
        client_host: Arc::clone(&state.client_host),
        topics: sorted(&told.topics),
        pattern: None,
        rebalance_timeout_ms: state.rebalance_timeout_ms,
        server_assignor: None,
        classic: Some(ClassicSubscription {
            session_timeout_ms: state.session_timeout_ms,
            protocols: protocols.iter().map(|one| (Arc::clone(&one.name), Arc::clone(&one.metadata))).collect(),
        }),
    };
    let current = CurrentAssignment {
        epoch: generation,
        previous_epoch: generation,
        assigned: partitions(given.assigned_partitions.iter(), topics),
        ..CurrentAssignment::new()
    };
    let owned = partitions(told.owned_partitions.iter(), topics);
    Ok((Member::new(Arc::new(subscription), current), owned))
}
