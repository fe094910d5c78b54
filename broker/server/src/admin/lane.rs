//! What the admin server may ask of a shard, and the lane that answers. Lives on every shard.
//!
//! Why a question and a copy, and not cells that the admin's thread reads: most of what is asked for (partitions, groups,
//! connections) lies behind `Rc` and `RefCell` of the shard, and a copy that the shard makes in one turn is consistent.
//! What is counted on the way of a record stays a plain cell. A shard answers one question at a time about itself alone:
//! it waits for nothing but its turn, so the lane can neither block nor deadlock, and a question that was given up costs
//! nothing. What has to wait, for the disk or for other shards, gets a task of its own; the admin server bounds how many those
//! are by the requests it takes at once. Walks over partitions, groups or connections give way to other work every few hundred
//! steps; what is walked over is noted in one turn, the names of a coordinator's groups and a handle of each connection.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ouzel_broker_core::group::{GroupCoordinator, GroupKind, GroupListing, TopicName};
use ouzel_broker_core::{Command, MetadataImage};
use ouzel_protocol::native::{DescribeGroupReply, DescribedShard};
use ouzel_protocol::{ErrorCode, Offset, PartitionIndex, TopicId};
use ouzel_runtime::remote_oneshot::Sender;
use ouzel_runtime::{Inbox, Shard};
use ouzel_storage::{StoreMeasures, StoreStats};

use super::reading::{self, Reading};
use crate::groups::Unavailable;
use crate::handlers::{described_group, propose};
use crate::lanes::{PartitionRef, PartitionStatus};
use crate::meter::Measures;
use crate::shard::ShardState;
use crate::{groups, limits, owner, shard_status};

/// A question to one shard about itself.
pub(crate) enum AdminQuestion {
    /// The metadata that it serves from.
    Image { reply: Sender<Arc<MetadataImage>> },
    /// Its counters.
    Shard { reply: Sender<Box<ShardSnapshot>> },
    /// What its partitions took and gave, by topic.
    Topics { kept: Arc<KeptTopics>, reply: Sender<TopicsSnapshot> },
    /// What it knows of these partitions.
    Partitions { rows: Vec<PartitionRef>, reply: Sender<Vec<PartitionStatus>> },
    /// Its groups and what they have committed, up to so many of each.
    Groups { count_max: usize, offset_count_max: usize, reply: Sender<GroupsSnapshot> },
    /// One group; `None` where there is none of that name.
    Group { group_id: String, reply: Sender<Result<Option<Box<GroupDetail>>, Unavailable>> },
    /// Its connections, up to so many.
    Connections { count_max: usize, reply: Sender<ConnectionsSnapshot> },
    /// Records of one of its partitions.
    Read(Box<Reading>),
    /// Change the metadata; `Ok` says in words what could not be done although it is committed. Asked of shard 0.
    Change { command: Command, reply: Sender<Result<String, (ErrorCode, String)>> },
}

/// The counters of one shard at some moment.
pub(crate) struct ShardSnapshot {
    pub(crate) described: DescribedShard,
    pub(crate) uptime_ms: u64,
    pub(crate) stats: StoreStats,
    pub(crate) store: StoreMeasures,
    pub(crate) requests: Measures,
    pub(crate) requests_in_flight: u64,
    pub(crate) connection_bytes: u64,
}

/// Topics that are told apart.
pub(crate) type KeptTopics = BTreeMap<TopicId, String>;

/// What a shard knows of its partitions of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicTotals {
    pub(crate) partitions: u64,
    pub(crate) bytes_in: u64,
    pub(crate) records_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) stored_bytes: u64,
}

impl TopicTotals {
    pub(crate) fn add(&mut self, other: &Self) {
        self.partitions += other.partitions;
        self.bytes_in += other.bytes_in;
        self.records_in += other.records_in;
        self.bytes_out += other.bytes_out;
        self.stored_bytes += other.stored_bytes;
    }
}

/// The same of all topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopicsSnapshot {
    pub(crate) kept: BTreeMap<TopicId, TopicTotals>,
    /// All others together.
    pub(crate) others: TopicTotals,
}

/// How far a group has read one partition.
#[derive(Clone, Debug)]
pub(crate) struct CommittedAt {
    pub(crate) topic: TopicName,
    pub(crate) partition: PartitionIndex,
    pub(crate) offset: Offset,
}

impl CommittedAt {
    pub(super) fn at(&self) -> (&str, PartitionIndex) {
        (self.topic.as_str(), self.partition)
    }
}

/// One group in short.
#[derive(Clone, Debug)]
pub(crate) struct GroupSnapshot {
    pub(crate) group_id: String,
    pub(crate) kind: &'static str,
    pub(crate) state: &'static str,
    pub(crate) protocol_type: String,
    pub(crate) members: usize,
    pub(crate) committed: Vec<CommittedAt>,
}

/// The groups of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupsSnapshot {
    pub(crate) groups: Vec<GroupSnapshot>,
    /// All there are, those that are left out among them.
    pub(crate) group_count: usize,
    /// Offsets that are left out of the groups above.
    pub(crate) offsets_left_out: usize,
    /// Logs of groups that are not read yet, or cannot be.
    pub(crate) unread_count: usize,
}

/// Describes a group, by the metadata, with up to so many rows of each kind; says how many more there are.
type DescribeGroup = Box<dyn FnOnce(&MetadataImage, usize) -> (DescribeGroupReply, usize) + Send>;

/// One group at length.
pub(crate) struct GroupDetail {
    pub(crate) describe: DescribeGroup,
    /// The first of what it has committed, by topic and partition, ...
    pub(crate) committed: Vec<CommittedAt>,
    /// ... and how much that is altogether.
    pub(crate) committed_count: usize,
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionSnapshot {
    pub(crate) peer: std::net::SocketAddr,
    pub(crate) protocol: &'static str,
    /// What its client calls itself, once it has.
    pub(crate) client: Option<String>,
    pub(crate) age_ms: u64,
    pub(crate) requests_in_flight: usize,
}

/// The connections of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionsSnapshot {
    pub(crate) connections: Vec<ConnectionSnapshot>,
    pub(crate) left_out: usize,
}

/// Answers questions, one after the other.
pub(crate) async fn serve(state: Rc<ShardState>, mut inbox: Inbox<AdminQuestion>) {
    while let Some(question) = inbox.recv().await {
        answer(&state, question).await;
    }
}

async fn answer(state: &Rc<ShardState>, question: AdminQuestion) {
    match question {
        AdminQuestion::Image { reply } => tell(reply, async || state.topics.image()).await,
        AdminQuestion::Shard { reply } => tell(reply, async || Box::new(shard(state))).await,
        AdminQuestion::Topics { kept, reply } => tell(reply, async || topics(state, &kept).await).await,
        AdminQuestion::Partitions { rows, reply } => tell(reply, async || partitions(state, &rows).await).await,
        AdminQuestion::Groups { count_max, offset_count_max, reply } => {
            tell(reply, async || all_groups(state, count_max, offset_count_max).await).await;
        }
        AdminQuestion::Group { group_id, reply } => tell(reply, async || group(state, &group_id)).await,
        AdminQuestion::Connections { count_max, reply } => {
            tell(reply, async || connections(state, count_max).await).await;
        }
        AdminQuestion::Read(reading) => {
            let state = Rc::clone(state);
            state.shard.clone().spawn(async move { reading::read(&state, *reading).await });
        }
        AdminQuestion::Change { command, reply } => {
            let state = Rc::clone(state);
            state.shard.clone().spawn(async move { tell(reply, async || propose(&state, command).await).await });
        }
    }
}

/// Answers unless whoever asked has given up.
async fn tell<T: Send>(reply: Sender<T>, work: impl AsyncFnOnce() -> T) {
    if !reply.is_closed() {
        // It may have given up meanwhile.
        let _ = reply.send(work().await);
    }
}

/// Gives way to other work every so many steps.
struct Steps<'a> {
    shard: &'a Shard,
    left: Cell<usize>,
}

impl<'a> Steps<'a> {
    fn new(state: &'a ShardState) -> Self {
        Self { shard: &state.shard, left: Cell::new(limits::ADMIN_SLICE_COUNT) }
    }

    async fn step(&self) {
        let left = self.left.get();
        self.left.set(if left == 0 { limits::ADMIN_SLICE_COUNT } else { left - 1 });
        if left == 0 {
            self.shard.yield_now().await;
        }
    }
}

fn shard(state: &ShardState) -> ShardSnapshot {
    ShardSnapshot {
        described: shard_status::describe(state),
        uptime_ms: shard_status::uptime_ms(state),
        stats: state.store.stats(),
        store: state.store.measures(),
        requests: state.meter.measures(),
        requests_in_flight: state.request_in_flight_count() as u64,
        connection_bytes: state.memory.used_bytes() as u64,
    }
}

async fn topics(state: &ShardState, kept: &KeptTopics) -> TopicsSnapshot {
    let image = state.topics.image();
    let steps = Steps::new(state);
    let mut found = TopicsSnapshot::default();
    for topic in image.topics() {
        let mut totals = TopicTotals::default();
        for partition in &topic.partitions {
            steps.step().await;
            if partition.shard != state.index {
                continue;
            }
            // One that was dropped meanwhile has nothing to tell.
            let Ok(traffic) = state.store.traffic(partition.partition_id) else { continue };
            totals.add(&TopicTotals {
                partitions: 1,
                bytes_in: traffic.bytes,
                records_in: traffic.records,
                bytes_out: 0,
                stored_bytes: state.store.stored_bytes(partition.partition_id).unwrap_or(0),
            });
        }
        if totals.partitions > 0 {
            found.of(kept, topic.topic_id).add(&totals);
        }
    }
    let mut after = None;
    loop {
        let page = state.meter.read_bytes(after, limits::ADMIN_SLICE_COUNT);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        page.into_iter().for_each(|(topic_id, bytes_out)| found.of(kept, topic_id).bytes_out += bytes_out);
        state.shard.yield_now().await;
    }
    let others = &mut found.others;
    [others.bytes_in, others.records_in, others.bytes_out] =
        state.meter.others([others.bytes_in, others.records_in, others.bytes_out]);
    found
}

impl TopicsSnapshot {
    fn of(&mut self, kept: &KeptTopics, topic_id: TopicId) -> &mut TopicTotals {
        if kept.contains_key(&topic_id) { self.kept.entry(topic_id).or_default() } else { &mut self.others }
    }
}

async fn partitions(state: &ShardState, rows: &[PartitionRef]) -> Vec<PartitionStatus> {
    let mut statuses = Vec::with_capacity(rows.len());
    for rows in rows.chunks(limits::ADMIN_SLICE_COUNT) {
        statuses.extend(owner::status(state, rows));
        state.shard.yield_now().await;
    }
    statuses
}

async fn all_groups(state: &Rc<ShardState>, count_max: usize, offset_count_max: usize) -> GroupsSnapshot {
    let mut found = GroupsSnapshot::default();
    let mut offsets_left = offset_count_max;
    for coordinator in groups::coordinators(state) {
        let count_left = count_max - found.groups.len();
        match coordinator.look(|groups| (groups.group_count(), some_groups(groups, count_left))) {
            Ok((group_count, listed)) => {
                found.group_count += group_count;
                state.shard.yield_now().await;
                for page in listed.chunks(limits::ADMIN_SLICE_COUNT) {
                    // What is gone meanwhile, a group or all of them, has nothing to tell.
                    let _ = coordinator.look(|groups| {
                        page.iter().for_each(|listing| found.note(groups, listing, &mut offsets_left));
                    });
                    state.shard.yield_now().await;
                }
            }
            Err(_) => found.unread_count += 1,
        }
        state.shard.yield_now().await;
    }
    found
}

/// The first groups of one coordinator: names alone, so that one turn is enough for them.
fn some_groups(groups: &GroupCoordinator, count_max: usize) -> Vec<GroupListing> {
    if count_max == 0 || groups.group_count() > limits::ADMIN_COORDINATOR_GROUP_COUNT_MAX {
        return Vec::new();
    }
    let mut listed = groups.list(&[], &[]);
    listed.truncate(count_max);
    listed
}

impl GroupsSnapshot {
    /// One group, with as many of its offsets as are left.
    fn note(&mut self, groups: &GroupCoordinator, listing: &GroupListing, offsets_left: &mut usize) {
        let Some(group) = groups.group(listing.group_id.as_str()) else { return };
        let committed = committed(groups, listing.group_id.as_str(), *offsets_left);
        *offsets_left -= committed.len();
        self.offsets_left_out += group.offsets().count() - committed.len();
        self.groups.push(GroupSnapshot {
            group_id: listing.group_id.to_string(),
            kind: listing.kind,
            state: listing.state,
            protocol_type: listing.protocol_type.to_string(),
            members: match group.kind() {
                GroupKind::Classic(group) => group.member_count(),
                GroupKind::Consumer(group) => group.member_count(),
            },
            committed,
        });
    }
}

fn committed(groups: &GroupCoordinator, group_id: &str, count_max: usize) -> Vec<CommittedAt> {
    let Some(group) = groups.group(group_id) else { return Vec::new() };
    let rows = group.offsets().iter().take(count_max);
    rows.map(|(topic, partition, committed)| CommittedAt { topic: topic.clone(), partition, offset: committed.offset })
        .collect()
}

fn group(state: &Rc<ShardState>, group_id: &str) -> Result<Option<Box<GroupDetail>>, Unavailable> {
    let Some(topic) = groups::offsets_topic(state) else { return Ok(None) };
    let at = groups::partition_of(&topic, group_id);
    let coordinator = groups::coordinators(state).into_iter().find(|coordinator| coordinator.partition() == at);
    coordinator.ok_or(Unavailable::NotHere)?.look(|groups| {
        let describe = Box::new(described_group(groups, group_id)?);
        let committed_count = groups.group(group_id)?.offsets().count();
        let committed = committed(groups, group_id, limits::ADMIN_ROW_COUNT_MAX);
        Some(Box::new(GroupDetail { describe, committed, committed_count }))
    })
}

async fn connections(state: &ShardState, count_max: usize) -> ConnectionsSnapshot {
    let (now, steps) = (state.shard.now(), Steps::new(state));
    let all = state.connections();
    let left_out = all.len().saturating_sub(count_max);
    let mut found = Vec::with_capacity(all.len().min(count_max));
    for connection in all.into_iter().take(count_max) {
        steps.step().await;
        let age = now.saturating_duration_since(connection.opened);
        found.push(ConnectionSnapshot {
            peer: connection.peer,
            protocol: connection.language.name(),
            client: connection.client.get().cloned(),
            age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            requests_in_flight: connection.request_in_flight_count(),
        });
    }
    ConnectionsSnapshot { connections: found, left_out }
}

impl std::fmt::Debug for AdminQuestion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Image { .. } => "Image",
            Self::Shard { .. } => "Shard",
            Self::Topics { .. } => "Topics",
            Self::Partitions { .. } => "Partitions",
            Self::Groups { .. } => "Groups",
            Self::Group { .. } => "Group",
            Self::Connections { .. } => "Connections",
            Self::Read(_) => "Read",
            Self::Change { .. } => "Change",
        })
    }
}
