//! A classic group: its members agree on a leader, and the leader says what each is to do (KIP-62, KIP-345, KIP-394).
//!
//! Owns the state and the questions that can be asked of it. Events stand beside: `join`, `sync` (and heartbeats),
//! `leave`, and `rebalance` for what leads from one generation to the next, timers included. What members tell each
//! other is opaque; of the protocol type `consumer` alone the subscribed topics are read, to know which offsets are in
//! use. Lives on the shard that owns the group's partition.
//!
//! ```text
//! Empty --join--> PreparingRebalance --all joined, or time is up--> CompletingRebalance --leader's sync--> Stable
//!   ^                |    ^                                             |                                    |
//!   |                |    +------ a member comes, goes or changes ------+------------------------------------+
//!   +-- nobody left -+
//! ```

mod join;
mod leave;
mod member;
mod rebalance;
mod sync;
mod votes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ouzel_protocol::kafka::consumer_protocol::{PROTOCOL_TYPE, subscribed_topics};

use super::config::GroupConfig;
use super::effects::{Effects, JoinedMember, Reply, Waiter};
use super::error::{GroupError, StoredGroupError};
use super::ids::{Generation, GroupId, InstanceId, MemberId, TopicName};
use super::now::{MonotonicMs, Now, WallMs};
use super::offsets::RetentionStart;
use super::record::{ClassicGroupState, ClassicMemberState, GroupRecord};
use super::request::{Caller, ClassicProtocol};
pub(super) use join::{check_join, new_member_id, refusal, refuse_join};
use member::Member;
use votes::Votes;

/// Where a classic group is on its way from one generation to the next. There is no `Dead`: a group that is gone is not
/// in the coordinator any more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ClassicPhase {
    /// It has no member; it may have offsets.
    Empty,
    /// Members are to join.
    PreparingRebalance,
    /// Members have joined and wait for what the leader assigns.
    CompletingRebalance,
    /// Members have what they were assigned.
    Stable,
}

impl ClassicPhase {
    /// Kafka's name of it, as tools show and filter by.
    pub fn name(self) -> &'static str {
        match self {
            ClassicPhase::Empty => "Empty",
            ClassicPhase::PreparingRebalance => "PreparingRebalance",
            ClassicPhase::CompletingRebalance => "CompletingRebalance",
            ClassicPhase::Stable => "Stable",
        }
    }
}

/// A phase and what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Empty,
    /// `deadline` ends the wait for members that have not joined.
    Preparing {
        deadline: MonotonicMs,
        initial: Option<InitialDelay>,
    },
    /// `deadline` ends the wait for members that have not synced, the leader first of all.
    Completing {
        deadline: MonotonicMs,
    },
    /// `deadline` as above; there is none when everybody has synced.
    Stable {
        deadline: MonotonicMs,
    },
}

/// The first rebalance of an empty group waits for more members, again and again while they come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct InitialDelay {
    /// When it goes on in any case.
    ends: MonotonicMs,
    /// Whether somebody came in the present wait.
    is_extended: bool,
}

/// What every event comes with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a GroupConfig,
}

/// What a stored state gets wrong, if anything.
fn contradiction(state: &ClassicGroupState) -> Option<&'static str> {
    let ids: BTreeSet<&MemberId> = state.members.iter().map(|member| &member.member_id).collect();
    let instances: Vec<_> = state.members.iter().filter_map(|member| member.instance_id.as_ref()).collect();
    if ids.len() < state.members.len() {
        return Some("two members have one id");
    }
    if instances.iter().collect::<BTreeSet<_>>().len() < instances.len() {
        return Some("two members have one instance id");
    }
    if ids.is_empty() {
        return None;
    }
    if state.protocol.is_none() || state.protocol_type.is_empty() {
        return Some("members without a protocol");
    }
    let is_led = state.leader.as_ref().is_some_and(|leader| ids.contains(leader));
    (!is_led).then_some("members without a leader among them")
}

/// One classic group, without its offsets.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    group_id: GroupId,
    phase: Phase,
    /// Since when it is in this phase; not known of the oldest records.
    since: Option<WallMs>,
    generation: Generation,
    /// `None` for one that only stores offsets.
    protocol_type: Option<Arc<str>>,
    protocol: Option<Arc<str>>,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    instances: BTreeMap<InstanceId, MemberId>,
    /// Ids that were given and are to be joined with, and until when.
    pending: BTreeMap<MemberId, MonotonicMs>,
    votes: Votes,
    joining_count: usize,
    unsynced_count: usize,
    metadata_bytes: usize,
    /// The topics that members subscribe to, where that can be known.
    subscribed: Option<BTreeSet<TopicName>>,
    /// No deadline of this group comes before that one; it may come long after.
    wake_at: MonotonicMs,
    /// The last record of it, from which it would be loaded; none where the log has none.
    stored: Option<Arc<ClassicGroupState>>,
}

impl ClassicGroup {
    /// A group in which nothing has happened.
    pub(crate) fn new(group_id: GroupId, now: Now) -> Self {
        Self {
            group_id,
            phase: Phase::Empty,
            since: Some(now.wall),
            generation: Generation(0),
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            votes: Votes::default(),
            joining_count: 0,
            unsynced_count: 0,
            metadata_bytes: 0,
            subscribed: None,
            wake_at: MonotonicMs::NEVER,
            stored: None,
        }
    }

    /// The group that a record tells of. Its members live until [`ClassicGroup::start`] says since when.
    ///
    /// # Errors
    /// The record's fault: what it says of members, leader and protocol does not go together.
    pub(crate) fn from_record(group_id: GroupId, state: &Arc<ClassicGroupState>) -> Result<Self, StoredGroupError> {
        if let Some(detail) = contradiction(state) {
            return Err(StoredGroupError { group_id, detail });
        }
        let mut group = Self::new(group_id, Now::default());
        group.since = state.since;
        group.generation = state.generation;
        group.protocol_type = Some(Arc::clone(&state.protocol_type)).filter(|name| !name.is_empty());
        group.protocol = state.protocol.clone();
        group.leader = state.leader.clone().filter(|_| !state.members.is_empty());
        for member in &state.members {
            group.insert(member.member_id.clone(), Member::loaded(member, state.protocol.as_ref()));
        }
        if !group.members.is_empty() {
            group.phase = Phase::Stable { deadline: MonotonicMs::NEVER };
        }
        group.subscribed = group.read_subscriptions();
        group.stored = Some(Arc::clone(state));
        Ok(group)
    }

    /// The log is read: members that were in it have a session's time to show that they live.
    pub(crate) fn start(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        for member in self.members.values_mut() {
            member.renew(ctx.now.monotonic);
        }
        self.rearm();
        if self.members.len() > ctx.config.member_count_max {
            self.prepare_rebalance(ctx, effects);
        }
    }

    /// Its members as they are now, with all protocols of each.
    pub(crate) fn members_with_protocols(&self) -> impl Iterator<Item = (ClassicMemberState, &[ClassicProtocol])> {
        self.members().zip(self.members.values().map(|member| &*member.protocols))
    }

    /// The group becomes one of another kind: the log forgets it, and whoever waits is to join again.
    pub(crate) fn dissolve(&mut self, effects: &mut Effects) {
        for (member_id, member) in &mut self.members {
            if let Some(waiter) = member.joining.take() {
                effects.reply(waiter, refusal(Some(member_id.clone()), GroupError::RebalanceInProgress));
            }
            if let Some(waiter) = member.syncing.take() {
                effects.reply(waiter, Reply::Sync(Err(GroupError::RebalanceInProgress)));
            }
        }
        if self.is_stored() {
            effects.record(GroupRecord::ClassicGroupTombstone { group_id: self.group_id.clone() });
        }
    }

    /// What it is called.
    pub fn group_id(&self) -> &GroupId {
        &self.group_id
    }

    /// Where it is.
    pub fn phase(&self) -> ClassicPhase {
        match self.phase {
            Phase::Empty => ClassicPhase::Empty,
            Phase::Preparing { .. } => ClassicPhase::PreparingRebalance,
            Phase::Completing { .. } => ClassicPhase::CompletingRebalance,
            Phase::Stable { .. } => ClassicPhase::Stable,
        }
    }

    /// Since when.
    pub fn since(&self) -> Option<WallMs> {
        self.since
    }

    /// Its generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What kind of group it is; `None` for one that only stores offsets.
    pub fn protocol_type(&self) -> Option<&Arc<str>> {
        self.protocol_type.as_ref()
    }

    /// The way to assign of this generation.
    pub fn protocol(&self) -> Option<&Arc<str>> {
        self.protocol.as_ref()
    }

    /// The member that assigns.
    pub fn leader(&self) -> Option<&MemberId> {
        self.leader.as_ref()
    }

    /// Its members as they are now, with what they said under the present protocol.
    pub fn members(&self) -> impl Iterator<Item = ClassicMemberState> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members.iter().map(move |(member_id, member)| member.state(member_id, protocol))
    }

    /// How many there are.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Requests that wait here.
    pub(crate) fn parked(&self) -> impl Iterator<Item = Waiter> {
        self.members.values().flat_map(|member| member.joining.into_iter().chain(member.syncing))
    }

    /// Whether nobody is a member or about to be one.
    pub(crate) fn is_vacant(&self) -> bool {
        self.phase == Phase::Empty && self.pending.is_empty()
    }

    /// Whether the log has a record of it.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored.is_some()
    }

    /// The last record of it, if the log has one.
    pub(crate) fn stored(&self) -> Option<&Arc<ClassicGroupState>> {
        self.stored.as_ref()
    }

    /// Whether it assigns topics, as far as its protocol type says.
    pub fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(PROTOCOL_TYPE)
    }

    /// Whether a member subscribes to `topic`. Where that cannot be known a group of consumers might, others do not.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or_else(|| self.uses_consumer_protocol(), |topics| topics.contains(topic))
    }

    /// From when the retention of its offsets counts.
    pub(crate) fn retention_start(&self) -> RetentionStart {
        match self.phase {
            _ if self.protocol_type.is_none() => RetentionStart::Commit,
            Phase::Empty => self.since.map_or(RetentionStart::Commit, RetentionStart::Emptied),
            // What consumers do not subscribe to any more is of no use to them; of others nobody can tell.
            Phase::Stable { .. } if self.uses_consumer_protocol() && self.subscribed.is_some() => {
                RetentionStart::Commit
            }
            _ => RetentionStart::Never,
        }
    }

    /// Whether offsets may be deleted: of a live group only where it is known which topics it uses.
    ///
    /// # Errors
    /// The caller's fault: the group is not empty.
    pub(crate) fn check_offset_delete(&self) -> Result<(), GroupError> {
        let may = self.phase == Phase::Empty || self.uses_consumer_protocol();
        if may { Ok(()) } else { Err(GroupError::NonEmptyGroup) }
    }

    /// The time before which [`ClassicGroup::tick`] has nothing to do.
    pub(crate) fn wake_at(&self) -> MonotonicMs {
        self.wake_at
    }

    /// Whether `caller` may commit offsets, which also shows that it lives.
    ///
    /// # Errors
    /// The caller's fault: it is no member, or of another generation; or a rebalance is under way, and it has to join.
    pub(crate) fn check_commit(&mut self, caller: Caller<'_>, now: Now) -> Result<(), GroupError> {
        let is_member = caller.generation.0 >= 0 || !caller.member_id.is_empty() || caller.instance_id.is_some();
        if self.phase == Phase::Empty && caller.generation.0 < 0 {
            return Ok(());
        }
        if !is_member {
            return Err(GroupError::UnknownMember);
        }
        self.check_member(caller.member_id, caller.instance_id)?;
        self.check_generation(caller.generation)?;
        if matches!(self.phase, Phase::Completing { .. }) {
            return Err(GroupError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(caller.member_id) {
            member.renew(now.monotonic);
        }
        Ok(())
    }

    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            let known = self.instances.get(instance_id).ok_or(GroupError::UnknownMember)?;
            if known.as_str() != member_id {
                return Err(GroupError::FencedInstance);
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(GroupError::UnknownMember) }
    }

    fn check_generation(&self, got: Generation) -> Result<(), GroupError> {
        if got == self.generation {
            return Ok(());
        }
        Err(GroupError::IllegalGeneration { expected: self.generation, got })
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_ref().is_some_and(|leader| leader.as_str() == member_id)
    }

    /// How long members have to join again, in ms: as long as the slowest asks for.
    fn rebalance_timeout_ms(&self) -> u32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0)
    }

    /// Adds a member, with its votes and its instance.
    fn insert(&mut self, member_id: MemberId, member: Member) {
        if self.leader.is_none() {
            self.leader = Some(member_id.clone());
        }
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member_id.clone());
        }
        self.votes.add(&member.protocols);
        self.metadata_bytes += member.metadata_bytes();
        self.joining_count += usize::from(member.joining.is_some());
        self.unsynced_count += usize::from(member.is_unsynced);
        let old = self.members.insert(member_id, member);
        assert!(old.is_none(), "a member is added once");
    }

    /// Takes a member out, with its votes; its instance and the leadership stay with the caller.
    fn take(&mut self, member_id: &str) -> Option<Member> {
        let member = self.members.remove(member_id)?;
        self.votes.remove(&member.protocols);
        self.metadata_bytes -= member.metadata_bytes();
        self.joining_count -= usize::from(member.joining.is_some());
        self.unsynced_count -= usize::from(member.is_unsynced);
        Some(member)
    }

    /// Forgets a member or an id that was given. What it waits for it will not get; it may join as a new one.
    fn remove(&mut self, member_id: &str, effects: &mut Effects) {
        self.pending.remove(member_id);
        let Some(member) = self.take(member_id) else { return };
        if let Some(instance_id) = &member.instance_id {
            self.instances.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        if let Some(waiter) = member.joining {
            effects.reply(waiter, join::refusal(None, GroupError::UnknownMember));
        }
        if let Some(waiter) = member.syncing {
            effects.reply(waiter, Reply::Sync(Err(GroupError::UnknownMember)));
        }
    }

    fn enter(&mut self, phase: Phase, now: Now) {
        self.phase = phase;
        self.since = Some(now.wall);
        self.arm(self.phase_deadline());
    }

    fn phase_deadline(&self) -> MonotonicMs {
        match self.phase {
            Phase::Empty => MonotonicMs::NEVER,
            Phase::Preparing { deadline, .. } | Phase::Completing { deadline } | Phase::Stable { deadline } => deadline,
        }
    }

    /// Wakes this group at `at` or before. A deadline that moves to a later time needs no call: the group finds nothing
    /// to do when it wakes.
    fn arm(&mut self, at: MonotonicMs) {
        self.wake_at = self.wake_at.min(at);
    }

    /// Finds the first deadline there is.
    fn rearm(&mut self) {
        let members = self.members.values().map(Member::deadline);
        let first = members.chain(self.pending.values().copied()).min().unwrap_or(MonotonicMs::NEVER);
        self.wake_at = first.min(self.phase_deadline());
    }

    /// Everybody, as the leader is told.
    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let joined = |(member_id, member): (&MemberId, &Member)| JoinedMember {
            member_id: member_id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.iter().map(joined).collect()
    }

    /// Writes the generation.
    fn store(&mut self, effects: &mut Effects) {
        let state = Arc::new(ClassicGroupState {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            since: self.since,
            members: self.members().collect(),
        });
        self.stored = Some(Arc::clone(&state));
        effects.record(GroupRecord::ClassicGroup { group_id: self.group_id.clone(), state });
    }

    /// The topics that members subscribe to; `None` where their bytes do not say.
    fn read_subscriptions(&self) -> Option<BTreeSet<TopicName>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for topic in subscribed_topics(&member.metadata(protocol)).ok()? {
                if !topics.contains(topic) {
                    topics.insert(TopicName::from(topic));
                }
            }
        }
        Some(topics)
    }

    /// Panics where the state contradicts itself: a broken invariant of ours, never of a caller.
    pub fn assert_invariants(&self) {
        let count = |what: fn(&Member) -> bool| self.members.values().filter(|member| what(member)).count();
        assert_eq!(self.joining_count, count(|member| member.joining.is_some()), "parked joins are counted");
        assert_eq!(self.unsynced_count, count(|member| member.is_unsynced), "members without a sync are counted");
        let bytes: usize = self.members.values().map(Member::metadata_bytes).sum();
        assert_eq!(self.metadata_bytes, bytes, "metadata is counted");
        let instances = count(|member| member.instance_id.is_some());
        assert_eq!(self.instances.len(), instances, "one instance a static member");
        for (instance_id, member_id) in &self.instances {
            let member = self.members.get(member_id).expect("every instance leads to a member");
            assert_eq!(member.instance_id.as_ref(), Some(instance_id), "a member stands under its own instance");
        }
        let is_empty = self.members.is_empty();
        match self.phase {
            Phase::Empty => assert!(is_empty, "an empty group has no member"),
            Phase::Preparing { .. } => assert_eq!(self.unsynced_count, 0, "no sync is due while members join"),
            Phase::Completing { .. } | Phase::Stable { .. } => {
                assert!(!is_empty, "a generation has members");
                assert_eq!(self.joining_count, 0, "no join is parked once a generation has begun");
            }
        }
        if !matches!(self.phase, Phase::Completing { .. }) {
            assert_eq!(count(|member| member.syncing.is_some()), 0, "syncs are parked for the leader's alone");
        }
        assert_eq!(self.leader.is_none(), is_empty, "members have a leader");
        if let Some(leader) = &self.leader {
            assert!(self.members.contains_key(leader), "the leader is a member");
        }
        let first = self.members.values().map(Member::deadline).chain(self.pending.values().copied()).min();
        let first = first.unwrap_or(MonotonicMs::NEVER).min(self.phase_deadline());
        assert!(self.wake_at <= first, "no deadline passes unseen");
        assert!(
            self.pending.keys().all(|member_id| !self.members.contains_key(member_id)),
            "an id is pending or joined"
        );
    }
}
