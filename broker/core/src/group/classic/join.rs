//! Joining a classic group. Owns what a join may do in each phase: give an id, add a member, replace a static one, answer
//! at once or park until the generation begins. Lives on the shard that owns the group.

use super::member::{Member, protocol_bytes};
use super::{ClassicGroup, Context, Phase};
use crate::group::effects::{Effects, JoinOutcome, JoinRefusal, Reply, Waiter};
use crate::group::error::GroupError;
use crate::group::ids::{InstanceId, MemberId};
use crate::group::limits::{
    GROUP_METADATA_BYTES_MAX, MEMBER_METADATA_BYTES_MAX, NAME_BYTES_MAX, NEW_MEMBER_JOIN_TIMEOUT_MS, PENDING_COUNT_MAX,
    PROTOCOL_COUNT_MAX,
};
use crate::group::request::{ClassicProtocol, JoinRequest};

/// A join that is refused.
pub(in crate::group) fn refusal(member_id: Option<MemberId>, error: GroupError) -> Reply {
    Reply::Join(Err(JoinRefusal { member_id, error }))
}

/// Refuses a join for which there is no group.
pub(in crate::group) fn refuse_join(
    waiter: Waiter,
    request: &JoinRequest<'_>,
    error: GroupError,
    effects: &mut Effects,
) {
    effects.reply(waiter, refusal(own_id(request), error));
}

/// The id that a refusal repeats.
fn own_id(request: &JoinRequest<'_>) -> Option<MemberId> {
    (!request.member_id.is_empty()).then(|| MemberId::from(request.member_id))
}

/// Whether a join can be at all, whatever the group: its texts, timeouts and bytes.
pub(in crate::group) fn check_join(ctx: Context<'_>, request: &JoinRequest<'_>) -> Result<(), GroupError> {
    let (min, max) = (ctx.config.session_timeout_ms_min, ctx.config.session_timeout_ms_max);
    let got = request.session_timeout_ms;
    if !u32::try_from(got).is_ok_and(|ms| (min..=max).contains(&ms)) {
        return Err(GroupError::InvalidSessionTimeout { got, min, max });
    }
    let texts = [
        ("a member id", request.member_id),
        ("a group instance id", request.instance_id.unwrap_or_default()),
        ("a client id", request.client_id),
        ("a client's host", request.client_host),
        ("a protocol type", request.protocol_type),
    ];
    let names = request.protocols.iter().map(|protocol| ("a protocol name", &*protocol.name));
    for (what, text) in texts.into_iter().chain(names) {
        if text.len() > NAME_BYTES_MAX {
            return Err(GroupError::TooLarge { what, got: text.len(), max: NAME_BYTES_MAX });
        }
    }
    if request.protocols.len() > PROTOCOL_COUNT_MAX {
        return Err(GroupError::InconsistentProtocol);
    }
    let bytes = protocol_bytes(&request.protocols);
    if bytes > MEMBER_METADATA_BYTES_MAX {
        return Err(GroupError::TooLarge { what: "a member's metadata", got: bytes, max: MEMBER_METADATA_BYTES_MAX });
    }
    Ok(())
}

/// The id of a new member: whose it is, for people who read it, and bits that no other has.
pub(in crate::group) fn new_member_id(request: &JoinRequest<'_>) -> MemberId {
    let drawn = format!("{:032x}", request.drawn);
    let (a, b, c, d, e) = (&drawn[..8], &drawn[8..12], &drawn[12..16], &drawn[16..20], &drawn[20..]);
    MemberId::from(format!("{}-{a}-{b}-{c}-{d}-{e}", request.instance_id.unwrap_or(request.client_id)))
}

impl ClassicGroup {
    /// Answers a join, or parks it until the generation begins. The caller has checked the request.
    pub(in crate::group) fn join(
        &mut self,
        ctx: Context<'_>,
        waiter: Waiter,
        mut request: JoinRequest<'_>,
        effects: &mut Effects,
    ) {
        without_repeats(&mut request.protocols);
        if !self.accepts(ctx, request.member_id) {
            self.remove(request.member_id, effects);
            effects.reply(waiter, refusal(None, GroupError::GroupFull { max: ctx.config.member_count_max }));
            // The one that was turned away may have been the last that the others waited for.
            self.complete_join_if_all_are_in(ctx, effects);
            return;
        }
        if let Err(error) = self.check_protocols(&request) {
            effects.reply(waiter, refusal(own_id(&request), error));
        } else if request.member_id.is_empty() {
            self.join_without_id(ctx, waiter, request, effects);
        } else {
            self.join_with_id(ctx, waiter, request, effects);
        }
    }

    /// Whether there is room. While members join those count that have: the limit may have been lowered, and the last
    /// ones to come back are the ones to go.
    fn accepts(&self, ctx: Context<'_>, member_id: &str) -> bool {
        let member = self.members.get(member_id);
        let max = ctx.config.member_count_max;
        match self.phase {
            Phase::Empty => true,
            Phase::Preparing { .. } => {
                self.joining_count < max || member.is_some_and(|member| member.joining.is_some())
            }
            Phase::Completing { .. } | Phase::Stable { .. } => member.is_some() || self.members.len() < max,
        }
    }

    /// Whether the protocols go with those of the members, and their bytes with the group's.
    fn check_protocols(&self, request: &JoinRequest<'_>) -> Result<(), GroupError> {
        let (offered, kind) = (&request.protocols, request.protocol_type);
        let goes = if self.phase == Phase::Empty {
            !kind.is_empty() && !offered.is_empty()
        } else {
            let mut common = offered.iter().filter(|protocol| self.votes.is_common(&protocol.name, self.members.len()));
            self.protocol_type.as_deref() == Some(kind) && common.next().is_some()
        };
        if !goes {
            return Err(GroupError::InconsistentProtocol);
        }
        let got = self.metadata_bytes - self.replaced_bytes(request) + protocol_bytes(offered);
        if got > GROUP_METADATA_BYTES_MAX {
            return Err(GroupError::TooLarge { what: "the group's metadata", got, max: GROUP_METADATA_BYTES_MAX });
        }
        Ok(())
    }

    /// What the member that joins again, or the one whose place it takes, has brought so far.
    fn replaced_bytes(&self, request: &JoinRequest<'_>) -> usize {
        let by_instance = request.instance_id.and_then(|instance_id| self.instances.get(instance_id));
        let member = by_instance.map_or_else(|| self.members.get(request.member_id), |id| self.members.get(id));
        member.map_or(0, Member::metadata_bytes)
    }

    fn join_without_id(&mut self, ctx: Context<'_>, waiter: Waiter, request: JoinRequest<'_>, effects: &mut Effects) {
        let member_id = new_member_id(&request);
        assert!(!self.members.contains_key(&member_id) && !self.pending.contains_key(&member_id), "ids are drawn once");
        match request.instance_id {
            Some(instance_id) => match self.instances.get(instance_id).cloned() {
                Some(old_id) => self.replace_static(ctx, waiter, &old_id, member_id, request, effects),
                None => self.add_member(ctx, waiter, member_id, request, effects),
            },
            None if request.takes_id_first => {
                if self.pending.len() >= PENDING_COUNT_MAX {
                    effects.reply(waiter, refusal(None, GroupError::GroupFull { max: PENDING_COUNT_MAX }));
                    return;
                }
                let session_ms = u32::try_from(request.session_timeout_ms).unwrap_or(0);
                let deadline = ctx.now.monotonic.after(session_ms);
                self.pending.insert(member_id.clone(), deadline);
                self.arm(deadline);
                effects.reply(waiter, refusal(Some(member_id), GroupError::MemberIdRequired));
            }
            None => self.add_member(ctx, waiter, member_id, request, effects),
        }
    }

    fn join_with_id(&mut self, ctx: Context<'_>, waiter: Waiter, request: JoinRequest<'_>, effects: &mut Effects) {
        // Static members are never given an id in advance: who claims both is nobody that this group knows.
        if request.instance_id.is_none() && self.pending.remove(request.member_id).is_some() {
            self.add_member(ctx, waiter, MemberId::from(request.member_id), request, effects);
            return;
        }
        if let Err(error) = self.check_member(request.member_id, request.instance_id) {
            effects.reply(waiter, refusal(own_id(&request), error));
            return;
        }
        let is_leader = self.is_leader(request.member_id);
        let member = self.members.get(request.member_id).expect("it was checked to be a member");
        let is_unchanged = member.protocols == request.protocols;
        match self.phase {
            // Its answer to an earlier join got lost: the generation has not changed for that.
            Phase::Completing { .. } if is_unchanged => self.answer_join(waiter, request.member_id, is_leader, effects),
            // A leader joins again when what it assigns has changed, such as the partitions of a topic.
            Phase::Stable { .. } if is_unchanged && !is_leader => {
                self.answer_join(waiter, request.member_id, false, effects);
            }
            _ => {
                self.update_member(waiter, &request, effects);
                self.rebalance_or_complete(ctx, effects);
            }
        }
    }

    /// Tells a member of the present generation.
    fn answer_join(&self, waiter: Waiter, member_id: &str, with_members: bool, effects: &mut Effects) {
        let (member_id, _) = self.members.get_key_value(member_id).expect("a member is answered");
        let members = if with_members { self.joined_members() } else { Vec::new() };
        effects.reply(waiter, Reply::Join(Ok(JoinOutcome { members, ..self.outcome_for(member_id) })));
    }

    /// The present generation, as one member is told of it; without the members.
    pub(super) fn outcome_for(&self, member_id: &MemberId) -> JoinOutcome {
        JoinOutcome {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().expect("a generation has a protocol type"),
            protocol: self.protocol.clone().expect("a generation has a protocol"),
            leader: self.leader.clone().expect("a generation has a leader"),
            skip_assignment: false,
            member_id: member_id.clone(),
            members: Vec::new(),
        }
    }

    fn add_member(
        &mut self,
        ctx: Context<'_>,
        waiter: Waiter,
        member_id: MemberId,
        mut request: JoinRequest<'_>,
        effects: &mut Effects,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.into());
        }
        let protocols = std::mem::take(&mut request.protocols);
        let mut member = Member::new(request.instance_id.map(InstanceId::from), &request, protocols);
        member.joining = Some(waiter);
        member.session_deadline = ctx.now.monotonic.after(NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.arm(member.session_deadline);
        self.insert(member_id, member);
        if let Phase::Preparing { initial: Some(delay), .. } = &mut self.phase {
            delay.is_extended = true;
        }
        self.rebalance_or_complete(ctx, effects);
    }

    /// Takes over what a member says now, and parks its join in place of an earlier one that nobody reads any more.
    fn update_member(&mut self, waiter: Waiter, request: &JoinRequest<'_>, effects: &mut Effects) {
        let (member_id, _) = self.members.get_key_value(request.member_id).expect("it was checked to be a member");
        let member_id = member_id.clone();
        let mut member = self.take(member_id.as_str()).expect("it was found");
        if let Some(older) = member.joining.replace(waiter) {
            effects.reply(older, refusal(Some(member_id.clone()), GroupError::RebalanceInProgress));
        }
        member.protocols.clone_from(&request.protocols);
        member.set_timeouts(request);
        self.insert(member_id, member);
    }

    /// A static member came back under its instance and without its id (KIP-345): it takes the place of the one that it
    /// was, which is fenced. In a stable generation whose protocol stays the same nobody else notices.
    fn replace_static(
        &mut self,
        ctx: Context<'_>,
        waiter: Waiter,
        old_id: &MemberId,
        new_id: MemberId,
        request: JoinRequest<'_>,
        effects: &mut Effects,
    ) {
        let was_leader = self.is_leader(old_id.as_str());
        let mut member = self.take(old_id.as_str()).expect("every instance leads to a member");
        if let Some(older) = member.joining.take() {
            effects.reply(older, refusal(Some(old_id.clone()), GroupError::FencedInstance));
        }
        if let Some(older) = member.syncing.take() {
            effects.reply(older, Reply::Sync(Err(GroupError::FencedInstance)));
        }
        member.client_id = request.client_id.into();
        member.client_host = request.client_host.into();
        member.protocols = request.protocols.clone();
        member.set_timeouts(&request);
        member.is_new = false;
        member.renew(ctx.now.monotonic);
        self.arm(member.session_deadline);
        let is_stable = matches!(self.phase, Phase::Stable { .. });
        let winner = {
            // Whether the others could go on as they are is asked of the group with the new member in it.
            member.joining = (!is_stable).then_some(waiter);
            self.insert(new_id.clone(), member);
            self.votes.winner(self.members.values())
        };
        if was_leader {
            self.leader = Some(new_id.clone());
        }
        if !is_stable {
            self.rebalance_or_complete(ctx, effects);
        } else if winner == self.protocol {
            self.subscribed = self.read_subscriptions();
            self.answer_replacement(waiter, old_id, &new_id, was_leader, request.skips_assignment, effects);
            self.store(effects);
        } else {
            self.park_join(waiter, &new_id);
            self.rebalance_or_complete(ctx, effects);
        }
    }

    /// Tells a replacement of the generation that stands. A leader that cannot be told to leave the assignment alone
    /// (before version 9) is shown its old id as the leader's, and so takes itself for a follower.
    fn answer_replacement(
        &self,
        waiter: Waiter,
        old_id: &MemberId,
        new_id: &MemberId,
        was_leader: bool,
        skips_assignment: bool,
        effects: &mut Effects,
    ) {
        let mut outcome = self.outcome_for(new_id);
        if was_leader && skips_assignment {
            outcome.skip_assignment = true;
            outcome.members = self.joined_members();
        } else if was_leader {
            outcome.leader = old_id.clone();
        }
        effects.reply(waiter, Reply::Join(Ok(outcome)));
    }

    fn park_join(&mut self, waiter: Waiter, member_id: &MemberId) {
        let member = self.members.get_mut(member_id).expect("it has been added");
        assert!(member.joining.replace(waiter).is_none(), "one join is parked a member");
        self.joining_count += 1;
    }
}

/// Keeps the first of protocols that share a name: each member has one vote for each.
fn without_repeats(protocols: &mut Vec<ClassicProtocol>) {
    let mut kept: Vec<ClassicProtocol> = Vec::with_capacity(protocols.len());
    for protocol in protocols.drain(..) {
        if kept.iter().all(|earlier| earlier.name != protocol.name) {
            kept.push(protocol);
        }
    }
    *protocols = kept;
}
