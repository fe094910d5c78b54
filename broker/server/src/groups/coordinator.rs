//! One coordinator: the groups of one partition of `__consumer_offsets`, the requests that wait for them, and what they
//! write. Owns the order in which effects become durable and replies leave; decides nothing. Lives on the shard that owns the
//! partition.
//!
//! The state of the groups moves on at once. What that led to stands in a queue: records are appended in its order, all
//! that came while one append was under way in the next, and a reply leaves when all records before it are durable. Where
//! an append fails the coordinator is given up, everybody who waits is told to come back, and the next request loads
//! a new one from the log.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ouzel_broker_core::group::{Effects, GroupCoordinator, MonotonicMs, Now, Reply, Waiter};
use ouzel_broker_core::{MetadataImage, Topic};
use ouzel_protocol::ErrorCode;
use ouzel_protocol::batch::check_batch;
use ouzel_runtime::sync::{Event, oneshot};
use ouzel_runtime::{Instant, timeout_at};

use super::load::{self, Loaded};
use super::snapshot::{self, Stored};
use super::topics::ImageTopics;
use super::{Unavailable, clock, records};
use crate::lanes::{AppendRow, PartitionRef};
use crate::shard::ShardState;
use crate::{limits, owner};

pub(crate) struct Coordinator {
    at: PartitionRef,
    phase: RefCell<Phase>,
    /// The log was read, or cannot be.
    loaded: Event,
    pub(super) stored: Stored,
}

enum Phase {
    Loading,
    Serving(Box<Serving>),
    Gone,
}

struct Serving {
    groups: GroupCoordinator,
    waiting: BTreeMap<Waiter, oneshot::Sender<Reply>>,
    next_waiter: u64,
    queue: VecDeque<Pending>,
    /// A task appends what is queued.
    is_writing: bool,
}

/// What is to be made durable, and who is told then.
#[derive(Default)]
struct Pending {
    effects: Effects,
    /// Somebody who has read the state as it is.
    reader: Option<oneshot::Sender<()>>,
}

/// A coordinator with the shard it lives on: what requests work with.
#[derive(Clone)]
pub(crate) struct CoordinatorRef {
    pub(crate) state: Rc<ShardState>,
    coordinator: Rc<Coordinator>,
}

impl CoordinatorRef {
    pub(super) fn to(state: &Rc<ShardState>, coordinator: &Rc<Coordinator>) -> Self {
        Self { state: Rc::clone(state), coordinator: Rc::clone(coordinator) }
    }

    /// The partition that it is of.
    pub(crate) fn partition(&self) -> PartitionRef {
        self.coordinator.at
    }

    /// What a start would read of it.
    pub(super) fn stored(&self) -> &Stored {
        &self.coordinator.stored
    }

    /// The coordinator of a partition that this shard owns, as [`loaded`](Self::loaded).
    ///
    /// # Errors
    /// The partition is not here, or the log is not read yet or cannot be.
    pub(super) async fn open(state: &Rc<ShardState>, at: PartitionRef) -> Result<Self, Unavailable> {
        let deadline = state.shard.now() + Duration::from_millis(limits::GROUP_LOAD_WAIT_MS_MAX);
        Self::begin(state, at)?.loaded(deadline).await
    }

    /// The coordinator of a partition that this shard owns. One that is new begins to read its log.
    ///
    /// # Errors
    /// The partition is not here.
    pub(super) fn begin(state: &Rc<ShardState>, at: PartitionRef) -> Result<Self, Unavailable> {
        state.topics.owned(at).map_err(|_| Unavailable::NotHere)?;
        let known = state.groups.coordinators.borrow().get(&at.partition).cloned();
        let coordinator = match known {
            Some(known) if known.at == at && !known.is_gone() => known,
            _ => Self::load(state, at),
        };
        Ok(Self::to(state, &coordinator))
    }

    /// The same when it has read its log, which is waited for until `deadline`.
    ///
    /// # Errors
    /// The log is not read yet or cannot be.
    pub(super) async fn loaded(self, deadline: Instant) -> Result<Self, Unavailable> {
        let loaded = timeout_at(&self.state.shard, deadline, self.coordinator.loaded.wait()).await;
        match (loaded, &*self.coordinator.phase.borrow()) {
            (Err(_), Phase::Loading) => return Err(Unavailable::Loading),
            (_, Phase::Gone) => return Err(Unavailable::Failed),
            _ => {}
        }
        Ok(self)
    }

    fn load(state: &Rc<ShardState>, at: PartitionRef) -> Rc<Coordinator> {
        let (phase, loaded, stored) = (RefCell::new(Phase::Loading), Event::new(), Stored::default());
        let coordinator = Rc::new(Coordinator { at, phase, loaded, stored });
        let earlier = state.groups.coordinators.borrow_mut().insert(at.partition, Rc::clone(&coordinator));
        if let Some(earlier) = earlier {
            earlier.give_up();
        }
        let this = Self::to(state, &coordinator);
        state.shard.spawn(async move { this.read_log().await });
        coordinator
    }

    async fn read_log(self) {
        let groups = {
            let _turn = self.state.groups.loading.acquire(1).await;
            load::groups(&self.state, self.coordinator.at, self.state.groups.config).await
        };
        match groups {
            Ok(Loaded { mut groups, tail_bytes, snapshot_bytes, .. }) => {
                groups.set_topics(Arc::new(ImageTopics(self.state.topics.image())));
                let serving = Serving {
                    groups,
                    waiting: BTreeMap::new(),
                    next_waiter: 0,
                    queue: VecDeque::new(),
                    is_writing: false,
                };
                *self.coordinator.phase.borrow_mut() = Phase::Serving(Box::new(serving));
                let now = clock::now(&self.state);
                let _ = self.with(|serving| {
                    let effects = serving.groups.start(now);
                    serving.groups.drop_unknown_topics();
                    serving.take(effects, None);
                });
                self.stored().snapshot_bytes.set(snapshot_bytes);
                snapshot::grown(&self, tail_bytes);
            }
            Err(error) => {
                let (shard, partition) = (self.state.index.0, self.coordinator.at.partition.0);
                tracing::error!(shard, partition, %error, "the groups of a partition could not be loaded");
                self.coordinator.give_up();
            }
        }
        self.coordinator.loaded.set();
    }

    /// Works on the state, and sees to it that what this led to is written and what became due is done.
    fn with<R>(&self, work: impl FnOnce(&mut Serving) -> R) -> Result<R, Unavailable> {
        let (result, starts_writing, due_at) = {
            let mut phase = self.coordinator.phase.borrow_mut();
            let serving = match &mut *phase {
                Phase::Serving(serving) => serving,
                Phase::Loading => return Err(Unavailable::Loading),
                Phase::Gone => return Err(Unavailable::Failed),
            };
            let result = work(serving);
            let starts_writing = !serving.is_writing && !serving.queue.is_empty();
            serving.is_writing |= starts_writing;
            (result, starts_writing, serving.groups.next_deadline())
        };
        if starts_writing {
            let this = self.clone();
            self.state.shard.spawn(async move { this.write().await });
        }
        self.state.groups.due_at(due_at);
        Ok(result)
    }

    /// An event, and the reply to it, at once or when others have done their part. Dropping the future gives up the reply,
    /// not the event.
    ///
    /// # Errors
    /// What the event led to could not be made durable, or the broker stops. Where the log takes nothing anyway, nothing has
    /// happened: heartbeats and questions go on.
    pub(crate) async fn ask(
        &self,
        event: impl FnOnce(&mut GroupCoordinator, Now, Waiter) -> Effects,
    ) -> Result<Reply, Unavailable> {
        if self.state.stopping.is_set() {
            return Err(Unavailable::Failed);
        }
        if self.state.store.refuses_appends() {
            self.turn_away();
            return Err(Unavailable::Failed);
        }
        let now = clock::now(&self.state);
        let reply = self.with(|serving| {
            let (sender, receiver) = oneshot::channel();
            let waiter = Waiter(serving.next_waiter);
            serving.next_waiter += 1;
            serving.waiting.insert(waiter, sender);
            let effects = event(&mut serving.groups, now, waiter);
            serving.take(effects, None);
            receiver
        })?;
        reply.await.map_err(|_| Unavailable::Failed)
    }

    /// The log takes nothing: what is asked is not heard, and what is due is not done.
    fn turn_away(&self) {
        // Nothing becomes due by this: the clock is not called.
        if let Phase::Serving(serving) = &mut *self.coordinator.phase.borrow_mut() {
            serving.groups.turned_away();
        }
    }

    /// The broker stops: whoever waits for other members waits no longer. What is being written is still answered.
    pub(super) fn stop(&self) {
        // One that is not loaded has nobody who waits.
        let _ = self.with(|serving| {
            for waiter in serving.groups.parked() {
                serving.waiting.remove(&waiter);
            }
        });
    }

    /// An event whose outcome does not wait for anything.
    ///
    /// # Errors
    /// The coordinator is gone.
    pub(crate) fn direct<R>(&self, event: impl FnOnce(&mut GroupCoordinator, Now) -> R) -> Result<R, Unavailable> {
        let now = clock::now(&self.state);
        self.with(|serving| event(&mut serving.groups, now))
    }

    /// Reads the state, and waits until all that is in it is durable.
    ///
    /// # Errors
    /// It will not be.
    pub(crate) async fn read<R>(&self, question: impl FnOnce(&GroupCoordinator) -> R) -> Result<R, Unavailable> {
        let (answer, settled) = self.with(|serving| {
            let answer = question(&serving.groups);
            if !serving.is_writing {
                return (answer, None);
            }
            let (sender, receiver) = oneshot::channel();
            serving.take(Effects::new(), Some(sender));
            (answer, Some(receiver))
        })?;
        if let Some(settled) = settled {
            settled.await.map_err(|_| Unavailable::Failed)?;
        }
        Ok(answer)
    }

    /// What the groups are right now, changes that are not durable yet among them: for those who only watch.
    ///
    /// # Errors
    /// The log is not read yet or cannot be.
    pub(crate) fn look<R>(&self, question: impl FnOnce(&GroupCoordinator) -> R) -> Result<R, Unavailable> {
        match &*self.coordinator.phase.borrow() {
            Phase::Serving(serving) => Ok(question(&serving.groups)),
            Phase::Loading => Err(Unavailable::Loading),
            Phase::Gone => Err(Unavailable::Failed),
        }
    }

    /// Does what is due; returns when something is next.
    pub(super) fn tick(&self, now: Now) -> MonotonicMs {
        if self.state.store.refuses_appends() {
            // Whatever is due has to be written; it is due later. Members may have been silent because nobody listens.
            self.turn_away();
            return now.monotonic.after(limits::GROUP_RETRY_MS);
        }
        let next = self.with(|serving| {
            if serving.groups.next_deadline() <= now.monotonic {
                let effects = serving.groups.tick(now);
                serving.take(effects, None);
            }
            serving.groups.next_deadline()
        });
        next.unwrap_or(MonotonicMs::NEVER)
    }

    /// The metadata is another; these topics are gone, and so are the offsets in them.
    pub(super) fn metadata_changed(&self, image: &Arc<MetadataImage>, gone: &[&Arc<Topic>]) {
        // One that loads will look at the newest, and forgets the offsets of topics that are gone by then.
        let _ = self.with(|serving| {
            serving.groups.set_topics(Arc::new(ImageTopics(Arc::clone(image))));
            for topic in gone {
                serving.groups.drop_topic(&topic.name, Some(topic.topic_id));
            }
        });
    }

    /// Appends what is queued, until nothing is.
    async fn write(&self) {
        loop {
            let batch = {
                let mut phase = self.coordinator.phase.borrow_mut();
                let Phase::Serving(serving) = &mut *phase else { return };
                let batch = serving.next_batch();
                serving.is_writing = !batch.is_empty();
                batch
            };
            if batch.is_empty() {
                return;
            }
            if let Err(error) = self.append(&batch).await {
                let (shard, partition) = (self.state.index.0, self.coordinator.at.partition.0);
                tracing::warn!(shard, partition, ?error, "what groups wrote was not stored: they are loaded again");
                self.coordinator.give_up();
                return;
            }
            self.coordinator.answer(batch);
        }
    }

    /// Makes the records of a batch durable.
    async fn append(&self, batch: &[Pending]) -> Result<(), ErrorCode> {
        if batch.iter().all(|pending| pending.effects.records.is_empty()) {
            return Ok(());
        }
        let state = &self.state;
        let all = batch.iter().flat_map(|pending| &pending.effects.records);
        let batches = records::batches(all, clock::now(state).wall).map_err(|_| ErrorCode::MessageTooLarge)?;
        let batch_bytes: usize = batches.iter().map(Vec::len).sum();
        let row = |bytes: Vec<u8>| AppendRow {
            at: self.coordinator.at,
            header: check_batch(&bytes).expect("what was built is a batch"),
            batch: Bytes::from(bytes),
        };
        let dispatched = owner::append(state, batches.into_iter().map(row).collect()).await;
        let outcomes = owner::produced(state, dispatched).await;
        match outcomes.iter().find(|outcome| !outcome.error.is_none()) {
            Some(outcome) => return Err(outcome.error),
            None => snapshot::grown(self, batch_bytes as u64),
        }
        Ok(())
    }
}

impl Coordinator {
    /// Whether its groups are loaded and looked after.
    pub(super) fn is_serving(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Serving(_))
    }

    /// The partition that it is of.
    pub(super) fn at(&self) -> PartitionRef {
        self.at
    }

    fn is_gone(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Gone)
    }

    /// Everybody who waits sees that it is gone.
    pub(super) fn give_up(&self) {
        let phase = std::mem::replace(&mut *self.phase.borrow_mut(), Phase::Gone);
        drop(phase);
        self.loaded.set();
    }

    fn answer(&self, batch: Vec<Pending>) {
        for Pending { effects, reader } in batch {
            for (waiter, reply) in effects.replies {
                let sender = match &mut *self.phase.borrow_mut() {
                    Phase::Serving(serving) => serving.waiting.remove(&waiter),
                    _ => None,
                };
                // Whoever asked may have gone away.
                let _ = sender.map(|sender| sender.send(reply));
            }
            let _ = reader.map(|reader| reader.send(()));
        }
    }
}

impl Serving {
    /// Queues effects, or answers at once where nothing is to be waited for.
    fn take(&mut self, effects: Effects, reader: Option<oneshot::Sender<()>>) {
        if effects.records.is_empty() && !self.is_writing && self.queue.is_empty() {
            for (waiter, reply) in effects.replies {
                let _ = self.waiting.remove(&waiter).map(|sender| sender.send(reply));
            }
            let _ = reader.map(|reader| reader.send(()));
        } else if !effects.is_empty() || reader.is_some() {
            self.queue.push_back(Pending { effects, reader });
        }
    }

    /// What goes into the next append: whole effects, about as many records as a batch is good for.
    fn next_batch(&mut self) -> Vec<Pending> {
        let mut batch = Vec::new();
        let mut record_count = 0;
        while let Some(next) = self.queue.front() {
            if record_count > 0 && record_count + next.effects.records.len() > limits::GROUP_BATCH_RECORD_COUNT_MAX {
                break;
            }
            record_count += next.effects.records.len();
            batch.extend(self.queue.pop_front());
        }
        batch
    }
}
