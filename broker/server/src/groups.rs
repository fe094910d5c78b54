//! Groups of consumers, where they are run: each partition of `__consumer_offsets` has a coordinator, on the shard that owns
//! the partition. Owns the coordinators of this shard and the way to those of others; what a group does is decided in
//! `broker/core`. Lives on every shard.
//!
//! A request for a group is a call into the shard that has it: it runs there, against the coordinator, and its result
//! comes back. What a group writes is a batch of that partition, and nobody is answered before it is durable.

mod clock;
mod coordinator;
mod list;
mod load;
mod records;
mod snapshot;
mod topics;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ouzel_broker_core::group::{GroupConfig, HeartbeatOutcome, HeartbeatPace, MonotonicMs, partition_for};
use ouzel_broker_core::{MetadataImage, Topic};
use ouzel_protocol::{ErrorCode, MetadataVersion, PartitionIndex, ShardIndex};
use ouzel_runtime::sync::{Notify, Semaphore};
use ouzel_runtime::{Inbox, remote_oneshot};

pub(crate) use clock::clock;
use coordinator::Coordinator;
pub(crate) use coordinator::CoordinatorRef;
pub(crate) use list::list;
pub(crate) use ouzel_broker_core::metadata::internal::{OFFSETS_PARTITION_COUNT, OFFSETS_TOPIC};
pub(crate) use records::numbers;

use crate::handlers::{create_with_defaults, refresh};
use crate::lanes::PartitionRef;
use crate::limits;
use crate::shard::ShardState;

/// Why a group's coordinator cannot answer. All of it passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unavailable {
    /// It is not here (any more), or there is none yet: to be looked for again.
    NotHere,
    /// It reads its log.
    Loading,
    /// Its log cannot be read or written now.
    Failed,
}

impl Unavailable {
    /// The same for a person.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NotHere => "its coordinator is on another shard now, or begins to be",
            Self::Loading => "its coordinator is reading its log",
            Self::Failed => "its coordinator cannot read or write its log",
        }
    }
}

/// The coordinators of one shard.
pub(crate) struct Groups {
    config: GroupConfig,
    coordinators: RefCell<BTreeMap<PartitionIndex, Rc<Coordinator>>>,
    /// When the clock looks at the coordinators next.
    wakes_at: Cell<MonotonicMs>,
    /// Something is due earlier than that.
    due_earlier: Notify,
    pace: RefCell<HeartbeatPace>,
    /// Those that read their logs at once.
    loading: Semaphore,
    snapshots: snapshot::Snapshots,
}

impl Groups {
    pub(crate) fn new(config: GroupConfig) -> Self {
        Self {
            config,
            coordinators: RefCell::default(),
            wakes_at: Cell::new(MonotonicMs::NEVER),
            due_earlier: Notify::new(),
            pace: RefCell::default(),
            loading: Semaphore::new(limits::GROUP_LOAD_COUNT_MAX),
            snapshots: snapshot::Snapshots::default(),
        }
    }

    fn all(&self) -> Vec<Rc<Coordinator>> {
        self.coordinators.borrow().values().cloned().collect()
    }

    /// The settings of all of them.
    pub(crate) fn config(&self) -> GroupConfig {
        self.config
    }

    /// Something is due then.
    fn due_at(&self, at: MonotonicMs) {
        if at < self.wakes_at.get() {
            self.wakes_at.set(at);
            self.due_earlier.notify_one();
        }
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("coordinators", &self.coordinators.borrow().len()).finish_non_exhaustive()
    }
}

type Work = Box<dyn FnOnce(Rc<ShardState>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// A call that one shard makes into the groups of another.
pub(crate) struct GroupCall {
    version: MetadataVersion,
    work: Work,
}

impl fmt::Debug for GroupCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupCall").field("version", &self.version).finish_non_exhaustive()
    }
}

/// The lane of calls into this shard's groups: each in a task of its own, since members wait for each other.
pub(crate) async fn group_lane(state: Rc<ShardState>, mut inbox: Inbox<GroupCall>) {
    while let Some(GroupCall { version, work }) = inbox.recv().await {
        let state = Rc::clone(&state);
        state.shard.clone().spawn(async move {
            state.topics.reached(version).await;
            work(state).await;
        });
    }
}

/// The topic that groups are kept in, where there is one.
pub(crate) fn offsets_topic(state: &ShardState) -> Option<Arc<Topic>> {
    state.topics.image().topic_named(OFFSETS_TOPIC).cloned()
}

/// Sees to it that groups have a topic to be kept in: it is created when it is first needed, as Kafka does.
///
/// # Errors
/// It is not there and could not be created.
pub(crate) async fn ensure_offsets_topic(state: &ShardState) -> Result<(), ErrorCode> {
    if is_any_group_kept(state).await {
        return Ok(());
    }
    create_with_defaults(state, OFFSETS_TOPIC).await.map(drop)
}

/// Whether there is a topic that groups are kept in.
pub(crate) async fn is_any_group_kept(state: &ShardState) -> bool {
    if offsets_topic(state).is_none() {
        refresh(state).await;
    }
    offsets_topic(state).is_some()
}

/// The partition that a group is kept in.
pub(crate) fn partition_of(topic: &Topic, group_id: &str) -> PartitionRef {
    let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    PartitionRef { topic_id: topic.topic_id, partition: partition_for(group_id, count) }
}

/// Runs `work` with the coordinator of a group, on the shard that has it.
///
/// # Errors
/// There is no coordinator that could be asked now.
pub(crate) async fn at_coordinator<R, W, F>(state: &Rc<ShardState>, group_id: &str, work: W) -> Result<R, Unavailable>
where
    R: Send + 'static,
    W: FnOnce(CoordinatorRef) -> F + Send + 'static,
    F: Future<Output = R> + 'static,
{
    let topic = offsets_topic(state).ok_or(Unavailable::NotHere)?;
    let at = partition_of(&topic, group_id);
    let shard = state.topics.route(at).map_err(|_| Unavailable::NotHere)?.shard;
    let call = async move |state: Rc<ShardState>| Ok(work(CoordinatorRef::open(&state, at).await?).await);
    at_shard(state, shard, call).await?
}

/// After how long a member that was heard is to speak again, in ms.
pub(crate) fn heartbeat_interval_ms(state: &ShardState, outcome: &HeartbeatOutcome) -> u32 {
    let now = clock::now(state).monotonic;
    state.groups.pace.borrow_mut().heard(now, outcome.is_waiting, outcome.interval_ms)
}

/// Runs `work` on a shard.
///
/// # Errors
/// The shard does not run any more.
pub(crate) async fn at_shard<R, W, F>(state: &Rc<ShardState>, shard: ShardIndex, work: W) -> Result<R, Unavailable>
where
    R: Send + 'static,
    W: FnOnce(Rc<ShardState>) -> F + Send + 'static,
    F: Future<Output = R> + 'static,
{
    if shard == state.index {
        return Ok(work(Rc::clone(state)).await);
    }
    let (reply, answer) = remote_oneshot::channel();
    let work: Work = Box::new(move |state| {
        Box::pin(async move {
            // Whoever asked may have gone away.
            let _ = reply.send(work(state).await);
        })
    });
    let call = GroupCall { version: state.topics.version(), work };
    let peer = state.peer(shard);
    let _credit = peer.call_groups(call).await.map_err(|_| Unavailable::NotHere)?;
    answer.await.map_err(|_| Unavailable::NotHere)
}

/// The coordinators of this shard, in the order of their partitions; those that are not loaded yet are waited for a while.
///
/// # Errors
/// One of them cannot serve now.
pub(crate) async fn serving_here(state: &Rc<ShardState>) -> Result<Vec<CoordinatorRef>, Unavailable> {
    let Some(topic) = offsets_topic(state) else { return Ok(Vec::new()) };
    let deadline = state.shard.now() + Duration::from_millis(limits::GROUP_LOAD_WAIT_MS_MAX);
    let mut serving = Vec::new();
    for coordinator in begin_all(state, &topic) {
        serving.push(coordinator.loaded(deadline).await?);
    }
    Ok(serving)
}

/// The coordinators of this shard, in the order of their partitions. Those that are new begin to read their logs.
fn begin_all(state: &Rc<ShardState>, topic: &Topic) -> Vec<CoordinatorRef> {
    let partitions = topic.indexed().map(|(partition, _)| PartitionRef { topic_id: topic.topic_id, partition });
    partitions.filter_map(|at| CoordinatorRef::begin(state, at).ok()).collect()
}

/// The coordinators that this shard has, in the order of their partitions, loaded or not.
pub(crate) fn coordinators(state: &Rc<ShardState>) -> Vec<CoordinatorRef> {
    state.groups.all().iter().map(|coordinator| CoordinatorRef::to(state, coordinator)).collect()
}

/// Begins to load every coordinator of this shard: members that were there before the start have a session's time from now.
pub(crate) fn load_all(state: &Rc<ShardState>) {
    if let Some(topic) = offsets_topic(state) {
        begin_all(state, &topic);
    }
    if state.index == ShardIndex(0) {
        let state = Rc::clone(state);
        state.shard.clone().spawn(async move { snapshot::remove_strays(&state).await });
    }
}

/// The broker stops: members that wait for others wait no longer.
pub(crate) fn stop(state: &Rc<ShardState>) {
    for coordinator in state.groups.all() {
        CoordinatorRef::to(state, &coordinator).stop();
    }
}

/// Shows the coordinators a newer image. Those whose partition is gone or elsewhere are given up; offsets of topics that were
/// there before and are gone are forgotten.
pub(crate) fn metadata_changed(state: &Rc<ShardState>, before: &MetadataImage) {
    let image = state.topics.image();
    let gone: Vec<_> = before.topics().filter(|topic| image.topic(topic.topic_id).is_none()).collect();
    gone.iter().for_each(|topic| snapshot::topic_gone(state, topic));
    for coordinator in state.groups.all() {
        if state.topics.owned(coordinator.at()).is_ok() {
            CoordinatorRef::to(state, &coordinator).metadata_changed(&image, &gone);
        } else {
            coordinator.give_up();
            state.groups.coordinators.borrow_mut().remove(&coordinator.at().partition);
        }
    }
}
