//! Members of the classic protocol in a group whose broker assigns: they join, sync and send heartbeats as ever, and the broker plays
//! the leader (the online migration of KIP-848). Owns what their requests mean here. A join is a full heartbeat; a sync fetches what
//! the member has; a heartbeat tells it to join again when there is something to learn. Lives on the shard that owns the group.

use std::sync::Arc;

use ouzel_protocol::PartitionIndex;
use ouzel_protocol::kafka::consumer_protocol::PROTOCOL_TYPE;
use ouzel_protocol::kafka::{ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopic};

use super::heartbeat::{Speaker, reads_other};
use super::member::{Member, sorted};
use super::record::{ClassicSubscription, Subscription};
use super::{ConsumerContext, ConsumerGroup, MemberState};
use crate::group::classic::new_member_id;
use crate::group::effects::{Effects, JoinOutcome, JoinRefusal, LeftMember, Reply, SyncOutcome, Waiter};
use crate::group::error::GroupError;
use crate::group::ids::{InstanceId, MemberId};
use crate::group::now::{MonotonicMs, Now};
use crate::group::partition_set::{PartitionSet, TopicPartition};
use crate::group::request::{Caller, JoinRequest, Leaving, SyncRequest};
use crate::group::topics::Topics;

impl ConsumerGroup {
    /// A member of the classic protocol joins, and is answered at once: nobody waits for others here. The caller has checked the
    /// request.
    pub(crate) fn join_classic(
        &mut self,
        ctx: ConsumerContext<'_>,
        waiter: Waiter,
        request: JoinRequest<'_>,
        effects: &mut Effects,
    ) {
        let own_id = || (!request.member_id.is_empty()).then(|| MemberId::from(request.member_id));
        let refusal = |error| JoinRefusal { member_id: own_id(), error };
        let reply = match self.classic_speaker(&request) {
            Err(refusal) => Err(refusal),
            Ok(speaker) => self.seat_classic(ctx, speaker, &request, effects).map_err(refusal),
        };
        effects.reply(waiter, Reply::Join(reply));
    }

    /// Whose join it is, and whether that one may speak.
    fn classic_speaker(&self, request: &JoinRequest<'_>) -> Result<Speaker, JoinRefusal> {
        let is_new = request.member_id.is_empty();
        let refuse =
            |error| Err(JoinRefusal { member_id: (!is_new).then(|| MemberId::from(request.member_id)), error });
        let known = self.members.get_key_value(request.member_id).map(|(member_id, _)| member_id.clone());
        let Some(instance_id) = request.instance_id else {
            return match known {
                Some(member_id) => Ok(Speaker::Known(member_id)),
                None if !is_new => Ok(Speaker::New(MemberId::from(request.member_id))),
                None if request.takes_id_first => {
                    let member_id = Some(new_member_id(request));
                    Err(JoinRefusal { member_id, error: GroupError::MemberIdRequired })
                }
                None => Ok(Speaker::New(new_member_id(request))),
            };
        };
        match self.instances.get(instance_id) {
            None if is_new => Ok(Speaker::New(new_member_id(request))),
            None => refuse(GroupError::UnknownMember),
            Some(before) if is_new => {
                Ok(Speaker::Returned { member_id: new_member_id(request), before: before.clone() })
            }
            Some(member_id) if known.as_ref() == Some(member_id) => Ok(Speaker::Known(member_id.clone())),
            Some(_) => refuse(GroupError::FencedInstance),
        }
    }

    fn seat_classic(
        &mut self,
        ctx: ConsumerContext<'_>,
        speaker: Speaker,
        request: &JoinRequest<'_>,
        effects: &mut Effects,
    ) -> Result<JoinOutcome, GroupError> {
        let before_id = match &speaker {
            Speaker::Known(member_id) | Speaker::Returned { before: member_id, .. } => Some(member_id.clone()),
            Speaker::New(_) => None,
        };
        if before_id.is_none() && self.members.len() >= ctx.config.member_count_max {
            return Err(GroupError::GroupFull { max: ctx.config.member_count_max });
        }
        self.check_protocols(before_id.as_ref(), request)?;
        let first = request.protocols.first().ok_or(GroupError::InconsistentProtocol)?;
        let decoded = ConsumerProtocolSubscription::decode(&first.metadata);
        let (_, subscription) = decoded.map_err(|_| GroupError::InconsistentProtocol)?;
        let owned = partitions(subscription.owned_partitions.iter(), ctx.topics);
        let protocol = Arc::clone(&first.name);

        let before = before_id.map(|member_id| Arc::clone(&self.members[member_id.as_str()].subscription));
        let after = Arc::new(classic_subscription(before.as_deref(), request, &subscription));
        let is_changed = reads_other(before.as_deref(), &after);
        let after = (before.as_ref() != Some(&after)).then_some(after);
        let member_id = self.seat(speaker, before, after, effects);
        self.refresh(ctx, is_changed, effects);
        self.assign(ctx, effects);
        self.step(ctx.now.monotonic, &member_id, Some(&owned), effects);

        let member = self.members.get_mut(member_id.as_str()).expect("it was seated");
        // It fetches what it has, or is taken for dead.
        member.classic_ends = ctx.now.monotonic.after(member.subscription.rebalance_timeout_ms);
        self.wake_at = self.wake_at.min(member.classic_ends);
        let generation = member.current.epoch;
        self.renew_classic(&member_id, ctx.now.monotonic);
        Ok(JoinOutcome {
            generation,
            protocol_type: Arc::from(PROTOCOL_TYPE),
            protocol,
            leader: MemberId::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        })
    }

    /// Whether there is a protocol that all members of the classic protocol have, this one included: a group that goes back to
    /// being a classic one needs it.
    pub(super) fn check_protocols(&self, but: Option<&MemberId>, request: &JoinRequest<'_>) -> Result<(), GroupError> {
        let others = self.members.iter().filter(|(member_id, _)| Some(*member_id) != but);
        let others: Vec<_> = others.filter_map(|(_, member)| member.subscription.classic.as_ref()).collect();
        let in_all =
            |name: &str| others.iter().all(|classic| classic.protocols.iter().any(|(other, _)| &**other == name));
        let fits = request.protocol_type == PROTOCOL_TYPE && request.protocols.iter().any(|one| in_all(&one.name));
        if fits { Ok(()) } else { Err(GroupError::InconsistentProtocol) }
    }

    /// A member of the classic protocol fetches what it has.
    ///
    /// # Errors
    /// The caller's fault; or it has to join again first.
    pub(crate) fn sync_classic(
        &mut self,
        now: Now,
        topics: &dyn Topics,
        request: &SyncRequest<'_>,
    ) -> Result<SyncOutcome, GroupError> {
        let member_id = self.classic_member(request.caller)?;
        let member = &self.members[member_id.as_str()];
        let classic = member.subscription.classic.as_ref().expect("it is one of the classic protocol");
        let (protocol, metadata) = classic.protocols.first().cloned().ok_or(GroupError::InconsistentProtocol)?;
        if request.protocol_type.is_some_and(|kind| kind != PROTOCOL_TYPE)
            || request.protocol.is_some_and(|name| name != &*protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        if self.epoch > member.current.epoch && member.current.state != MemberState::Unrevoked {
            self.await_join(&member_id, now.monotonic);
            return Err(GroupError::RebalanceInProgress);
        }
        let assignment = assignment_bytes(&member.current.assigned, &metadata, topics);
        self.members.get_mut(member_id.as_str()).expect("it was found").classic_ends = MonotonicMs::NEVER;
        self.renew_classic(&member_id, now.monotonic);
        Ok(SyncOutcome { protocol_type: Arc::from(PROTOCOL_TYPE), protocol, assignment })
    }

    /// A member of the classic protocol lives. Allocates nothing where nothing has changed.
    ///
    /// # Errors
    /// The caller's fault; or there is something to learn, and it has to join again.
    pub(crate) fn heartbeat_classic(&mut self, now: Now, caller: Caller<'_>) -> Result<(), GroupError> {
        let member_id = self.classic_member(caller)?;
        self.renew_classic(&member_id, now.monotonic);
        let current = &self.members[member_id.as_str()].current;
        let is_late = current.epoch < self.epoch
            || match current.state {
                MemberState::Stable => false,
                MemberState::Unrevoked => true,
                MemberState::Unreleased => self.has_free(&member_id),
            };
        if is_late {
            self.await_join(&member_id, now.monotonic);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Members leave, each for itself.
    pub(crate) fn leave_classic(
        &mut self,
        now: Now,
        leaving: &[Leaving<'_>],
        effects: &mut Effects,
    ) -> Vec<LeftMember> {
        let mut gone = Vec::new();
        let mut rows = Vec::with_capacity(leaving.len());
        for one in leaving {
            let found = self.leaving(*one);
            let (member_id, instance_id) = (MemberId::from(one.member_id), one.instance_id.map(InstanceId::from));
            let outcome = found.map(|member_id| gone.push(member_id));
            rows.push(LeftMember { member_id, instance_id, outcome });
        }
        gone.sort_unstable();
        gone.dedup();
        if !gone.is_empty() {
            self.fence(now, gone, effects);
        }
        rows
    }

    /// Whom a leave means. An operator may name the instance alone, of whatever protocol.
    fn leaving(&self, one: Leaving<'_>) -> Result<MemberId, GroupError> {
        let by_instance =
            one.instance_id.map(|id| self.instances.get(id).ok_or(GroupError::UnknownMember)).transpose()?;
        match by_instance {
            Some(member_id) if one.member_id.is_empty() || member_id.as_str() == one.member_id => Ok(member_id.clone()),
            Some(_) => Err(GroupError::FencedInstance),
            None => {
                let (member_id, member) = self.members.get_key_value(one.member_id).ok_or(GroupError::UnknownMember)?;
                member.subscription.classic.as_ref().map(|_| member_id.clone()).ok_or(GroupError::UnknownMember)
            }
        }
    }

    /// The member that speaks, if it is one of the classic protocol and in its generation.
    fn classic_member(&self, caller: Caller<'_>) -> Result<MemberId, GroupError> {
        if let Some(instance_id) = caller.instance_id {
            let known = self.instances.get(instance_id).ok_or(GroupError::UnknownMember)?;
            if known.as_str() != caller.member_id {
                return Err(GroupError::FencedInstance);
            }
        }
        let found = self.members.get_key_value(caller.member_id).ok_or(GroupError::UnknownMember)?;
        let (member_id, member) = found;
        if member.subscription.classic.is_none() {
            return Err(GroupError::UnknownMember);
        }
        let (expected, got) = (member.current.epoch, caller.generation);
        if got == expected { Ok(member_id.clone()) } else { Err(GroupError::IllegalGeneration { expected, got }) }
    }

    /// Whether something that the member waits for is free.
    fn has_free(&self, member_id: &MemberId) -> bool {
        let assigned = &self.members[member_id.as_str()].current.assigned;
        let Some(target) = self.targets.get(member_id.as_str()) else { return false };
        let is_free = |partition| !assigned.contains(partition) && !self.holders.contains_key(&partition);
        target.iter().any(is_free)
    }

    /// The member is told to join again, and has its rebalance timeout for that from the first time on.
    fn await_join(&mut self, member_id: &MemberId, now: MonotonicMs) {
        let member = self.members.get_mut(member_id.as_str()).expect("it was found");
        if member.classic_ends == MonotonicMs::NEVER {
            member.classic_ends = now.after(member.subscription.rebalance_timeout_ms);
            self.wake_at = self.wake_at.min(member.classic_ends);
        }
    }

    fn renew_classic(&mut self, member_id: &MemberId, now: MonotonicMs) {
        let classic = self.members[member_id.as_str()].subscription.classic.as_ref();
        let session_ms = classic.map_or(0, |classic| classic.session_timeout_ms);
        self.renew(member_id, now.after(session_ms));
    }
}

fn classic_subscription(
    before: Option<&Subscription>,
    request: &JoinRequest<'_>,
    told: &ConsumerProtocolSubscription<'_>,
) -> Subscription {
    let session_timeout_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
    let protocols = request.protocols.iter().map(|one| (Arc::clone(&one.name), Arc::clone(&one.metadata))).collect();
    Subscription {
        // A member keeps the instance that it came with, whether it says so again or not.
        instance_id: request.instance_id.map(InstanceId::from).or_else(|| before.and_then(|b| b.instance_id.clone())),
        rack_id: told.rack_id.map(Arc::from),
        client_id: Arc::from(request.client_id),
        client_host: Arc::from(request.client_host),
        topics: sorted(&told.topics),
        pattern: None,
        rebalance_timeout_ms: u32::try_from(request.rebalance_timeout_ms).unwrap_or(session_timeout_ms),
        server_assignor: None,
        classic: Some(ClassicSubscription { session_timeout_ms, protocols }),
    }
}

/// The partitions of rows that name their topics; of topics that there are not, none.
pub(super) fn partitions<'a>(
    rows: impl Iterator<Item = ConsumerProtocolTopic<'a>>,
    topics: &dyn Topics,
) -> PartitionSet {
    let mut all = Vec::new();
    for row in rows {
        let Some(view) = topics.find(row.topic) else { continue };
        let numbers = row.partitions.iter().filter_map(|number| u32::try_from(number).ok());
        all.extend(numbers.map(|n| TopicPartition { topic_id: view.topic_id, partition: PartitionIndex(n) }));
    }
    all.into_iter().collect()
}

/// An assignment in the member's own bytes, in the version of what it told.
pub(super) fn assignment_bytes(assigned: &PartitionSet, metadata: &[u8], topics: &dyn Topics) -> Arc<[u8]> {
    let version = ConsumerProtocolSubscription::decode(metadata).map_or(0, |(version, _)| version);
    let numbers = |rows: &[TopicPartition]| rows.iter().map(|row| row.partition.0 as i32).collect();
    let row =
        |(topic_id, rows)| Some(ConsumerProtocolTopic { topic: topics.name(topic_id)?, partitions: numbers(rows) });
    let assigned_partitions = assigned.topics().filter_map(row).collect();
    let mut bytes = Vec::new();
    let written = ConsumerProtocolAssignment { assigned_partitions, user_data: None }.encode(version, &mut bytes);
    written.expect("names of topics are short");
    bytes.into()
}

impl Member {
    /// What it says under `protocol`, if it is one of the classic protocol.
    pub(super) fn classic_metadata(&self, protocol: &str) -> Option<&Arc<[u8]>> {
        let classic = self.subscription.classic.as_ref()?;
        classic.protocols.iter().find(|(name, _)| &**name == protocol).map(|(_, metadata)| metadata)
    }
}
