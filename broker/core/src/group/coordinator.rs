//! All groups of one partition of `__consumer_offsets`. Owns which groups there are, leads each event to its group, and
//! wakes groups when something is due; what happens in a group is the group's to say. Lives on the shard that owns the
//! partition, in one value: nothing here is shared.
//!
//! A heartbeat is two look-ups and a store: the member's deadline moves, the time at which the group wakes does not. A
//! group that wakes too early looks at its members and goes to sleep until the first deadline there is, so a group of
//! members that live wakes about once a session, not once a heartbeat.

mod committing;
mod consumer;
mod listing;
mod loading;
mod snapshot;
mod sweep;

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use ouzel_protocol::PartitionIndex;

use super::classic::{ClassicGroup, Context, check_join, refuse_join};
use super::config::GroupConfig;
use super::consumer::{ConsumerContext, ConsumerGroup};
use super::effects::{Effects, LeftMember, Reply, Waiter};
use super::error::GroupError;
use super::ids::{GroupId, InstanceId, TopicName};
use super::limits::{GROUP_COUNT_MAX, GROUP_ID_BYTES_MAX};
use super::now::{MonotonicMs, Now};
use super::offsets::{GroupOffsets, RetentionStart};
use super::pattern_pace::PatternPace;
use super::record::GroupRecord;
use super::request::{Caller, JoinRequest, Leaving, SyncRequest};
use super::topics::{NoTopics, Topics};
pub use listing::{GroupDescription, GroupListing};
pub use snapshot::SnapshotCursor;
use sweep::Sweep;

/// The partition of `__consumer_offsets` that has a group, of `partition_count`: where Kafka puts it (the hash of Java's
/// strings, over UTF-16, without its sign).
pub fn partition_for(group_id: &str, partition_count: u32) -> PartitionIndex {
    assert!(partition_count > 0, "a topic has partitions");
    let hash = group_id.encode_utf16().fold(0u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(u32::from(unit)));
    PartitionIndex((hash & 0x7fff_ffff) % partition_count)
}

/// The kinds of groups. Each has its own rules for members; offsets are alike.
#[derive(Clone, Debug)]
pub enum GroupKind {
    /// Its members assign (or nobody does: it only stores offsets).
    Classic(Box<ClassicGroup>),
    /// The broker assigns (KIP-848).
    Consumer(Box<ConsumerGroup>),
}

/// One group.
#[derive(Clone, Debug)]
pub struct Group {
    kind: GroupKind,
    offsets: GroupOffsets,
    /// When it is woken; [`MonotonicMs::NEVER`] while nothing is due.
    scheduled: MonotonicMs,
}

impl Group {
    fn new(group_id: &GroupId, now: Now) -> Self {
        let kind = GroupKind::Classic(Box::new(ClassicGroup::new(group_id.clone(), now)));
        Self { kind, offsets: GroupOffsets::default(), scheduled: MonotonicMs::NEVER }
    }

    /// Its members, by kind.
    pub fn kind(&self) -> &GroupKind {
        &self.kind
    }

    /// Its offsets. What is read here may not be durable yet: see [`Effects`].
    pub fn offsets(&self) -> &GroupOffsets {
        &self.offsets
    }

    fn wake_at(&self) -> MonotonicMs {
        match &self.kind {
            GroupKind::Classic(group) => group.wake_at(),
            GroupKind::Consumer(group) => group.wake_at(),
        }
    }

    fn tick(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        match &mut self.kind {
            GroupKind::Classic(group) => group.tick(ctx, effects),
            GroupKind::Consumer(group) => group.tick(ctx.now, effects),
        }
    }

    fn start(&mut self, ctx: Context<'_>, effects: &mut Effects) {
        match &mut self.kind {
            GroupKind::Classic(group) => group.start(ctx, effects),
            GroupKind::Consumer(group) => group.start(ctx.now, &ctx.config.consumer, effects),
        }
    }

    /// Whether nobody is a member or about to be one.
    fn is_vacant(&self) -> bool {
        match &self.kind {
            GroupKind::Classic(group) => group.is_vacant(),
            GroupKind::Consumer(group) => group.is_vacant(),
        }
    }

    /// Whether the log has a record of it, besides its offsets.
    fn is_stored(&self) -> bool {
        match &self.kind {
            GroupKind::Classic(group) => group.is_stored(),
            GroupKind::Consumer(group) => group.is_stored(),
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.kind {
            GroupKind::Classic(group) => group.is_subscribed_to(topic),
            GroupKind::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    fn retention_start(&self) -> RetentionStart {
        match &self.kind {
            GroupKind::Classic(group) => group.retention_start(),
            GroupKind::Consumer(group) => group.retention_start(),
        }
    }

    fn write_tombstones(&self, group_id: &GroupId, effects: &mut Effects) {
        match &self.kind {
            GroupKind::Classic(_) => effects.record(GroupRecord::ClassicGroupTombstone { group_id: group_id.clone() }),
            GroupKind::Consumer(group) => group.write_tombstones(effects),
        }
    }
}

/// The groups of one partition.
#[derive(Clone, Debug)]
pub struct GroupCoordinator {
    config: GroupConfig,
    topics: Arc<dyn Topics>,
    pattern_pace: Cell<PatternPace>,
    groups: BTreeMap<GroupId, Group>,
    /// When groups wake. An entry that is not the group's `scheduled` is of no account.
    alarms: BinaryHeap<Reverse<(MonotonicMs, GroupId)>>,
    /// Names of topics, shared by all groups that have offsets of them.
    names: BTreeSet<TopicName>,
    offset_count: usize,
    sweeps: VecDeque<Sweep>,
    /// When expired offsets are looked for again.
    expiry_at: MonotonicMs,
    /// Events were turned away since the last tick.
    has_turned_away: bool,
}

impl GroupCoordinator {
    /// A coordinator without a group. What the log has is given to [`GroupCoordinator::apply`], then
    /// [`GroupCoordinator::start`] begins its work.
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config,
            topics: Arc::new(NoTopics),
            pattern_pace: Cell::default(),
            groups: BTreeMap::new(),
            alarms: BinaryHeap::new(),
            names: BTreeSet::new(),
            offset_count: 0,
            sweeps: VecDeque::new(),
            expiry_at: MonotonicMs::NEVER,
            has_turned_away: false,
        }
    }

    /// Other settings, for what happens from now on.
    pub fn set_config(&mut self, config: GroupConfig) {
        self.config = config;
    }

    /// The topics that there are from now on. Groups whose broker assigns look at them at their next heartbeat; before
    /// [`GroupCoordinator::start`] the coordinator must have been told, or they take their topics for gone.
    pub fn set_topics(&mut self, topics: Arc<dyn Topics>) {
        self.topics = topics;
    }

    /// One group.
    pub fn group(&self, group_id: &str) -> Option<&Group> {
        self.groups.get(group_id)
    }

    /// How many groups there are.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many committed offsets all groups have.
    pub fn offset_count(&self) -> usize {
        self.offset_count
    }

    /// Requests that wait for others. A shard that gives the groups up answers these as well.
    pub fn parked(&self) -> impl Iterator<Item = Waiter> {
        let classic = self.groups.values().filter_map(|group| match &group.kind {
            GroupKind::Classic(group) => Some(group),
            // Nobody waits for others there.
            GroupKind::Consumer(_) => None,
        });
        classic.flat_map(|group| group.parked())
    }

    /// A member joins. Its waiter is answered at once or when the generation begins.
    pub fn join(&mut self, now: Now, waiter: Waiter, group_id: &str, request: JoinRequest<'_>) -> Effects {
        let mut effects = Effects::new();
        let ctx = Context { now, config: &self.config };
        let checked = check_group_id(group_id, 1).and_then(|()| check_join(ctx, &request));
        let mut known = match checked {
            Err(error) => Err(error),
            // Only who has no id yet makes a group: others are of one that is gone.
            Ok(()) if request.member_id.is_empty() => find_or_create(&mut self.groups, group_id, now),
            Ok(()) => self.groups.get_mut(group_id).ok_or(GroupError::UnknownMember),
        };
        if let Ok(group) = &mut known {
            group.become_classic_if_vacant(group_id, now, &mut effects);
            if let GroupKind::Consumer(consumer) = &mut group.kind {
                consumer.make_way(now, &self.config.consumer, &request, &mut effects);
                group.downgrade(ctx, &*self.topics, &mut effects);
            }
        }
        let (config, topics) = (&self.config.consumer, &*self.topics);
        let members = ConsumerContext { now, config, topics, pattern_pace: &self.pattern_pace };
        match known {
            Err(error) => refuse_join(waiter, &request, error, &mut effects),
            Ok(group) => match &mut group.kind {
                GroupKind::Classic(group) => group.join(ctx, waiter, request, &mut effects),
                GroupKind::Consumer(group) => group.join_classic(members, waiter, request, &mut effects),
            },
        }
        self.downgrade(now, group_id, &mut effects);
        self.settle(group_id);
        effects
    }

    /// A member asks for its part; the leader brings everybody's.
    pub fn sync(&mut self, now: Now, waiter: Waiter, group_id: &str, request: SyncRequest<'_>) -> Effects {
        let mut effects = Effects::new();
        let ctx = Context { now, config: &self.config };
        match self.groups.get_mut(group_id).map(|group| &mut group.kind) {
            None => effects.reply(waiter, Reply::Sync(Err(unknown_to(group_id)))),
            Some(GroupKind::Classic(group)) => group.sync(ctx, waiter, request, &mut effects),
            Some(GroupKind::Consumer(group)) => {
                let outcome = group.sync_classic(now, &*self.topics, &request);
                effects.reply(waiter, Reply::Sync(outcome));
            }
        }
        self.settle(group_id);
        effects
    }

    /// A member lives. Answered at once; allocates nothing, unless one of a group whose broker assigns is to join again.
    ///
    /// # Errors
    /// The caller's fault: it is no member, or of another generation; or a rebalance is under way, and it has to join.
    pub fn heartbeat(&mut self, now: Now, group_id: &str, caller: Caller<'_>) -> Result<(), GroupError> {
        match self.groups.get_mut(group_id).map(|group| &mut group.kind) {
            None => Err(unknown_to(group_id)),
            Some(GroupKind::Classic(group)) => group.heartbeat(now, caller),
            Some(GroupKind::Consumer(group)) => {
                let heard = group.heartbeat_classic(now, caller);
                // A member that is told to join again has until then.
                self.settle(group_id);
                heard
            }
        }
    }

    /// Members leave.
    pub fn leave(&mut self, now: Now, waiter: Waiter, group_id: &str, leaving: &[Leaving<'_>]) -> Effects {
        let mut effects = Effects::new();
        let ctx = Context { now, config: &self.config };
        match self.groups.get_mut(group_id).map(|group| &mut group.kind) {
            None => effects.reply(waiter, Reply::Leave(nobody_left(group_id, leaving))),
            Some(GroupKind::Classic(group)) => group.leave(ctx, waiter, leaving, &mut effects),
            Some(GroupKind::Consumer(group)) => {
                let rows = group.leave_classic(now, leaving, &mut effects);
                effects.reply(waiter, Reply::Leave(Ok(rows)));
            }
        }
        self.downgrade(now, group_id, &mut effects);
        self.settle(group_id);
        effects
    }

    /// The log takes nothing now, and members that have something to say are turned away. Who was silent because of that is not
    /// taken for dead: at the next tick every member has its time from then on, as after a load.
    pub fn turned_away(&mut self) {
        self.has_turned_away = true;
    }

    /// Does what is due by now: deadlines of groups, and a slice of the search for offsets that nobody needs.
    pub fn tick(&mut self, now: Now) -> Effects {
        let mut effects = Effects::new();
        if std::mem::take(&mut self.has_turned_away) {
            self.begin_sessions(now);
        }
        while let Some(Reverse((at, _))) = self.alarms.peek()
            && *at <= now.monotonic
        {
            let Reverse((at, group_id)) = self.alarms.pop().expect("it was seen");
            let Some(group) = self.groups.get_mut(&group_id).filter(|group| group.scheduled == at) else { continue };
            group.scheduled = MonotonicMs::NEVER;
            group.tick(Context { now, config: &self.config }, &mut effects);
            self.downgrade(now, group_id.as_str(), &mut effects);
            self.settle(group_id.as_str());
        }
        self.sweep(now, &mut effects);
        effects
    }

    /// When [`GroupCoordinator::tick`] has something to do; it does no harm before, and says so again.
    pub fn next_deadline(&self) -> MonotonicMs {
        let alarm = self.alarms.peek().map_or(MonotonicMs::NEVER, |Reverse((at, _))| *at);
        if self.sweeps.is_empty() { alarm.min(self.expiry_at) } else { MonotonicMs(0) }
    }

    fn begin_sessions(&mut self, now: Now) {
        let group_ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for group_id in group_ids {
            match &mut self.groups.get_mut(&group_id).expect("it was listed").kind {
                GroupKind::Classic(group) => group.begin_sessions(now.monotonic),
                GroupKind::Consumer(group) => group.begin_sessions(now.monotonic, &self.config.consumer),
            }
            self.settle(group_id.as_str());
        }
    }

    fn downgrade(&mut self, now: Now, group_id: &str, effects: &mut Effects) {
        if let Some(group) = self.groups.get_mut(group_id) {
            group.downgrade(Context { now, config: &self.config }, &*self.topics, effects);
        }
    }

    /// After an event: wakes the group in time, or forgets one that came to nothing, of which the log knows nothing.
    fn settle(&mut self, group_id: &str) {
        let Some((group_id, group)) = self.groups.get_key_value(group_id) else { return };
        if group.is_vacant() && !group.is_stored() && group.offsets.count() == 0 {
            let group_id = group_id.clone();
            self.groups.remove(&group_id);
        } else if group.wake_at() < group.scheduled {
            let (group_id, at) = (group_id.clone(), group.wake_at());
            self.groups.get_mut(&group_id).expect("it was found").scheduled = at;
            self.alarms.push(Reverse((at, group_id)));
        }
    }

    /// Panics where the state contradicts itself: a broken invariant of ours, never of a caller.
    pub fn assert_invariants(&self) {
        let offset_count: usize = self.groups.values().map(|group| group.offsets.count()).sum();
        assert_eq!(self.offset_count, offset_count, "offsets are counted");
        let alarms: BTreeSet<_> = self.alarms.iter().map(|Reverse((at, group_id))| (*at, group_id)).collect();
        for (group_id, group) in &self.groups {
            match &group.kind {
                GroupKind::Classic(group) => {
                    assert_eq!(group.group_id(), group_id, "a group stands under its own id");
                    group.assert_invariants();
                }
                GroupKind::Consumer(group) => {
                    assert_eq!(group.group_id(), group_id, "a group stands under its own id");
                    group.assert_invariants();
                }
            }
            assert!(group.scheduled <= group.wake_at(), "group {group_id} is woken in time");
            if group.scheduled != MonotonicMs::NEVER {
                assert!(alarms.contains(&(group.scheduled, group_id)), "group {group_id} has its alarm");
            }
            assert_eq!(group.offsets.iter().count(), group.offsets.count(), "offsets of {group_id} are counted");
        }
    }
}

/// Whether a group id can be. Kafka lets the empty one store offsets, and no more.
fn check_group_id(group_id: &str, min: usize) -> Result<(), GroupError> {
    let (got, max) = (group_id.len(), GROUP_ID_BYTES_MAX);
    if (min..=max).contains(&got) { Ok(()) } else { Err(GroupError::InvalidGroupId { got, max }) }
}

/// Why a member of a group that does not exist is refused.
fn unknown_to(group_id: &str) -> GroupError {
    check_group_id(group_id, 1).err().unwrap_or(GroupError::UnknownMember)
}

/// What becomes of members that leave a group that does not exist: each is unknown to it.
fn nobody_left(group_id: &str, leaving: &[Leaving<'_>]) -> Result<Vec<LeftMember>, GroupError> {
    check_group_id(group_id, 1)?;
    let row = |one: &Leaving<'_>| LeftMember {
        member_id: one.member_id.into(),
        instance_id: one.instance_id.map(InstanceId::from),
        outcome: Err(GroupError::UnknownMember),
    };
    Ok(leaving.iter().map(row).collect())
}

fn find_or_create<'a>(
    groups: &'a mut BTreeMap<GroupId, Group>,
    group_id: &str,
    now: Now,
) -> Result<&'a mut Group, GroupError> {
    if !groups.contains_key(group_id) {
        if groups.len() >= GROUP_COUNT_MAX {
            return Err(GroupError::LimitReached { what: "groups", limit: GROUP_COUNT_MAX });
        }
        let group_id = GroupId::from(group_id);
        let group = Group::new(&group_id, now);
        groups.insert(group_id, group);
    }
    Ok(groups.get_mut(group_id).expect("it is there or was added"))
}
