//! Records on their way out: which batch a record joins, when a batch may go, which batches travel together, and what
//! happens when one comes back. Owns that order: one batch in flight per partition, batches of a partition never overtake
//! each other. No clock (`now` is an argument), no socket, no task. Pure.

mod batch;
mod identity;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ouzel_protocol::limits::BATCH_BYTES_MAX;
use ouzel_protocol::{BatchBuilder, ErrorCode, LeaderEpoch, Offset, PartitionIndex};

pub(crate) use batch::{Batch, Dispatch, Sending};
pub(crate) use identity::Identity;
use identity::{Identities, Numbering};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::config::{Acks, ProducerConfig};
use crate::delivery::{BatchAck, Completion, Delivery};
use crate::error::ClientError;
use crate::metadata::{MetadataImage, Topic, TopicState};
use crate::partitioner::PartitionerState;
use crate::record::Record;

/// Bytes of batches in one request, before compression; one batch may exceed it.
const REQUEST_BYTES: usize = 8 * 1024 * 1024;
/// Partitions in one request.
const REQUEST_PARTITIONS: usize = 4096;
/// Builders kept for later batches.
const SPARE_BUILDERS: usize = 256;

/// Where a partition's batches wait: index of the topic, partition of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    topic: usize,
    partition: PartitionIndex,
}

#[derive(Debug)]
struct TopicQueues {
    name: Arc<str>,
    topic: Arc<Topic>,
    chooser: PartitionerState,
    queues: Vec<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    open: Option<OpenBatch>,
    closed: VecDeque<Batch>,
    state: QueueState,
    /// Result of the batch that is away, for those who wait for everything.
    away: Option<Arc<Completion>>,
    numbering: Numbering,
}

/// Where the head of a queue is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum QueueState {
    /// Here, and nothing is closed.
    #[default]
    Idle,
    /// Among the ready, or parked at an owner that has no room.
    Ready,
    /// In a request.
    Away,
    /// Waiting to be tried again.
    Backoff(Instant),
}

#[derive(Debug)]
struct OpenBatch {
    builder: BatchBuilder,
    completion: Arc<Completion>,
    held_bytes: usize,
    opened: Instant,
    serial: u64,
    /// Its linger is over, but an earlier batch is still away: it goes when that one is back, fuller.
    due: bool,
}

/// What came of pushing a record.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// The record is in a batch. `wake`: the sender has something new to look at.
    Accepted { delivery: Delivery, wake: bool },
    /// The topic must be added first.
    UnknownTopic,
}

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct Accumulator {
    config: ProducerConfig,
    backoff: Backoff,
    topics: Vec<TopicQueues>,
    by_name: HashMap<Arc<str>, usize>,
    ready: VecDeque<QueueKey>,
    /// When open batches end their linger; in order, because the linger is one for all.
    lingering: VecDeque<(Instant, QueueKey, u64)>,
    retries: BTreeSet<(Instant, QueueKey)>,
    owners: HashMap<Option<Address>, OwnerState>,
    spare: Vec<BatchBuilder>,
    next_serial: u64,
    generation: u64,
    batches: usize,
    freed_bytes: usize,
    first_error: Option<ClientError>,
    closed: bool,
    identities: Identities,
    seed: u64,
}

#[derive(Debug, Default)]
struct OwnerState {
    in_flight: usize,
    parked: Vec<QueueKey>,
}

impl Accumulator {
    pub(crate) fn new(config: ProducerConfig, backoff: Backoff, seed: u64) -> Accumulator {
        // Without answers nothing is ever sent again, so there is nothing to recognise.
        let identities = Identities::new(config.idempotence && config.acks != Acks::Zero);
        Accumulator {
            identities,
            config,
            backoff,
            topics: Vec::new(),
            by_name: HashMap::new(),
            ready: VecDeque::new(),
            lingering: VecDeque::new(),
            retries: BTreeSet::new(),
            owners: HashMap::new(),
            spare: Vec::new(),
            next_serial: 0,
            generation: 0,
            batches: 0,
            freed_bytes: 0,
            first_error: None,
            closed: false,
            seed,
        }
    }

    /// Makes a topic known.
    pub(crate) fn add_topic(&mut self, topic: &Arc<Topic>) {
        if let Some(index) = self.by_name.get(&topic.name) {
            self.topics[*index].replace(topic);
            return;
        }
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut queues = TopicQueues {
            name: Arc::clone(&topic.name),
            topic: Arc::clone(topic),
            chooser: PartitionerState::new(self.seed),
            queues: Vec::new(),
        };
        queues.replace(topic);
        self.by_name.insert(Arc::clone(&topic.name), self.topics.len());
        self.topics.push(queues);
    }

    /// Takes over newer owners, ids and partition counts.
    pub(crate) fn update(&mut self, image: &MetadataImage) {
        if image.generation == self.generation {
            return;
        }
        self.generation = image.generation;
        for queues in &mut self.topics {
            if let Some(TopicState::Known(topic)) = image.topic(&queues.name) {
                queues.replace(topic);
            }
        }
    }

    /// Puts a record into its partition's open batch. Its bytes are copied once, here.
    ///
    /// # Errors
    /// The record is too large, names a partition that the topic does not have, or comes after the close.
    pub(crate) fn push(
        &mut self,
        record: &Record<'_>,
        held_bytes: usize,
        wall_ms: i64,
        now: Instant,
    ) -> Result<Pushed, ClientError> {
        if self.closed {
            return Err(ClientError::Closed);
        }
        let Some(&topic) = self.by_name.get(record.topic) else {
            return Ok(Pushed::UnknownTopic);
        };
        let record_bytes = record.bytes();
        let key = QueueKey { topic, partition: self.choose(topic, record, record_bytes)? };
        let batch_bytes = self.config.batch_bytes;
        let mut wake = false;
        if self
            .queue(key)
            .open
            .as_ref()
            .is_some_and(|open| open.builder.bytes_estimate().saturating_add(record_bytes) > batch_bytes)
        {
            wake |= self.close_batch(key);
        }
        if self.queue(key).open.is_none() {
            wake |= self.open(key, now);
        }
        let open = self.queue(key).open.as_mut().expect("opened above");
        let index = open.builder.len();
        let timestamp = record.timestamp.unwrap_or(wall_ms);
        open.builder.push(timestamp, record.key, record.value, record.headers);
        open.held_bytes += held_bytes;
        let delivery = open.completion.delivery(u32::try_from(index).unwrap_or(u32::MAX));
        if open.builder.bytes_estimate() >= batch_bytes {
            wake |= self.close_batch(key);
        }
        Ok(Pushed::Accepted { delivery, wake })
    }

    fn choose(&mut self, topic: usize, record: &Record<'_>, bytes: usize) -> Result<PartitionIndex, ClientError> {
        // A batch adds its header and a codec may add a little; 1 KiB covers both.
        let bytes_max = (BATCH_BYTES_MAX - 1024).min(self.config.buffer_bytes);
        if bytes > bytes_max {
            return Err(ClientError::RecordTooLarge { bytes, bytes_max });
        }
        let queues = &mut self.topics[topic];
        let count = u32::try_from(queues.queues.len()).unwrap_or(u32::MAX);
        let partition = match record.partition {
            Some(partition) => partition,
            None => queues.chooser.choose(
                &self.config.partitioner,
                record.key,
                record.value,
                count,
                bytes,
                self.config.batch_bytes,
            ),
        };
        if partition.0 >= count {
            let topic = queues.name.to_string();
            return Err(ClientError::UnknownPartition { topic, partition, count });
        }
        Ok(partition)
    }

    fn queue(&mut self, key: QueueKey) -> &mut Queue {
        &mut self.topics[key.topic].queues[key.partition.0 as usize]
    }

    /// Opens a batch; true when the sender has a new earliest deadline.
    fn open(&mut self, key: QueueKey, now: Instant) -> bool {
        let builder = self.spare.pop().unwrap_or_else(|| {
            let config = &self.config;
            BatchBuilder::new(config.dialect, config.compression, config.compression_level)
        });
        let serial = self.next_serial;
        self.next_serial += 1;
        self.batches += 1;
        self.queue(key).open = Some(OpenBatch {
            builder,
            completion: Completion::new(key.partition),
            held_bytes: 0,
            opened: now,
            serial,
            due: false,
        });
        let first = self.lingering.is_empty();
        self.lingering.push_back((now + self.config.linger, key, serial));
        first
    }

    /// Closes one open batch; true when the queue became ready by it.
    fn close_batch(&mut self, key: QueueKey) -> bool {
        let delivery_timeout = self.config.delivery_timeout;
        let topic = &mut self.topics[key.topic];
        let count = topic.topic.partition_count();
        let queue = &mut topic.queues[key.partition.0 as usize];
        let Some(open) = queue.open.take() else { return false };
        topic.chooser.batch_closed(key.partition, count);
        queue.closed.push_back(Batch {
            estimate_bytes: open.builder.bytes_estimate(),
            records: u32::try_from(open.builder.len()).unwrap_or(u32::MAX),
            stamp: None,
            built_stamp: None,
            builder: open.builder,
            built: None,
            completion: open.completion,
            held_bytes: open.held_bytes,
            deadline: open.opened + delivery_timeout,
            attempts: 0,
            last_error: None,
        });
        if queue.state == QueueState::Idle {
            queue.state = QueueState::Ready;
            self.ready.push_back(key);
            return true;
        }
        false
    }

    /// Closes every open batch, whatever its linger.
    pub(crate) fn close_all(&mut self) {
        for (_, key, serial) in std::mem::take(&mut self.lingering) {
            if self.queue(key).open.as_ref().is_some_and(|open| open.serial == serial) {
                self.close_batch(key);
            }
        }
        // Those whose linger is over already are no longer in that list.
        for topic in 0..self.topics.len() {
            for partition in 0..self.topics[topic].queues.len() {
                let partition = PartitionIndex(u32::try_from(partition).unwrap_or(u32::MAX));
                self.close_batch(QueueKey { topic, partition });
            }
        }
    }

    /// Lets time pass: lingers end, waits before retries end.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let Some(&(deadline, key, serial)) = self.lingering.front() {
            let queue = self.queue(key);
            let stale = queue.open.as_ref().is_none_or(|open| open.serial != serial);
            if !stale && deadline > now {
                break;
            }
            if !stale && queue.state == QueueState::Idle {
                self.close_batch(key);
            } else if let Some(open) = queue.open.as_mut().filter(|_| !stale) {
                open.due = true;
            }
            self.lingering.pop_front();
        }
        while let Some(&(at, key)) = self.retries.first() {
            if at > now {
                break;
            }
            self.retries.pop_first();
            self.queue(key).state = QueueState::Ready;
            self.ready.push_back(key);
        }
    }

    /// When [`advance`](Self::advance) has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let linger = self.lingering.front().map(|(at, _, _)| *at);
        let retry = self.retries.first().map(|(at, _)| *at);
        linger.into_iter().chain(retry).min()
    }

    /// Takes what may go now, as requests: the heads of ready queues, grouped by owner, within what owners have room for.
    pub(crate) fn take_ready(&mut self, now: Instant) -> Vec<Dispatch> {
        if self.identities.is_missing() {
            self.give_up_overdue(now);
            return Vec::new();
        }
        let mut full = Vec::new();
        let mut filling: HashMap<Option<Address>, Dispatch> = HashMap::new();
        while let Some(key) = self.ready.pop_front() {
            let Some((owner, bytes)) = self.head(key, now) else { continue };
            if self.identities.is_missing() {
                // The epochs ran out while overdue batches were given up.
                self.ready.push_front(key);
                break;
            }
            if filling.get(&owner).is_some_and(|dispatch| {
                dispatch.bytes + bytes > REQUEST_BYTES || dispatch.batches.len() >= REQUEST_PARTITIONS
            }) {
                full.extend(filling.remove(&owner));
            }
            if !filling.contains_key(&owner) {
                let state = self.owners.entry(owner.clone()).or_default();
                if state.in_flight >= self.config.requests_in_flight {
                    state.parked.push(key);
                    continue;
                }
                state.in_flight += 1;
            }
            let sending = self.take_head(key);
            let deadline = sending.batch.deadline;
            let dispatch =
                filling.entry(owner.clone()).or_insert(Dispatch { owner, batches: Vec::new(), deadline, bytes: 0 });
            dispatch.bytes += bytes;
            dispatch.deadline = dispatch.deadline.min(deadline);
            dispatch.batches.push(sending);
        }
        full.extend(filling.into_values());
        full
    }

    /// Owner and size of a ready queue's first batch; batches whose time is over fail on the way. `None`: the queue has
    /// nothing to send.
    fn head(&mut self, key: QueueKey, now: Instant) -> Option<(Option<Address>, usize)> {
        while self.queue(key).closed.front().is_some_and(|batch| batch.deadline <= now) {
            let batch = self.queue(key).closed.pop_front().expect("looked at above");
            let error = self.delivery_timeout(key, &batch);
            self.give_up(key, batch, error);
        }
        let topic = &mut self.topics[key.topic];
        let queue = &mut topic.queues[key.partition.0 as usize];
        match queue.closed.front() {
            Some(batch) => Some((topic.topic.owner(key.partition).cloned(), batch.estimate_bytes)),
            None => {
                queue.state = QueueState::Idle;
                self.close_if_due(key);
                None
            }
        }
    }

    fn take_head(&mut self, key: QueueKey) -> Sending {
        let topic = &mut self.topics[key.topic];
        let queue = &mut topic.queues[key.partition.0 as usize];
        let mut batch = queue.closed.pop_front().expect("only queues with a head are taken from");
        if let (None, Some(identity)) = (batch.stamp, self.identities.current) {
            batch.stamp = Some(queue.numbering.stamp(identity, batch.records));
        }
        queue.state = QueueState::Away;
        queue.away = Some(Arc::clone(&batch.completion));
        Sending { key, topic: Arc::clone(&topic.name), topic_id: topic.topic.id, partition: key.partition, batch }
    }

    /// A request to `owner` is over: those that waited for room there are ready again.
    pub(crate) fn request_done(&mut self, owner: &Option<Address>) {
        if let Some(state) = self.owners.get_mut(owner) {
            state.in_flight = state.in_flight.saturating_sub(1);
            self.ready.extend(state.parked.drain(..));
            if state.in_flight == 0 {
                self.owners.remove(owner);
            }
        }
    }

    /// A batch came back: delivered, to be tried again, or failed for good.
    pub(crate) fn returned(
        &mut self,
        sending: Sending,
        result: Result<BatchAck, ClientError>,
        now: Instant,
        jitter: f64,
    ) {
        let Sending { key, mut batch, .. } = sending;
        self.queue(key).away = None;
        self.queue(key).state = QueueState::Idle;
        let result = self.judge_sequence(key, &mut batch, result);
        match result {
            Err(error) if is_worth_a_retry(&error, &batch) && batch.attempts < self.config.retries => {
                tracing::debug!(topic = %sending.topic, partition = %key.partition, %error, attempts = batch.attempts, "produce failed, trying again");
                batch.attempts += 1;
                batch.last_error = Some(error);
                let at = now + self.backoff.delay(batch.attempts, jitter);
                if batch.deadline <= at {
                    let error = self.delivery_timeout(key, &batch);
                    self.give_up(key, batch, error);
                    self.ready_if_waiting(key);
                } else {
                    let queue = self.queue(key);
                    queue.closed.push_front(batch);
                    queue.state = QueueState::Backoff(at);
                    self.retries.insert((at, key));
                }
            }
            Err(error) => {
                self.give_up(key, batch, error);
                self.ready_if_waiting(key);
            }
            result => {
                self.settle(batch, result);
                self.ready_if_waiting(key);
            }
        }
    }

    /// What a broker's word about the batch's sequence means.
    fn judge_sequence(
        &mut self,
        key: QueueKey,
        batch: &mut Batch,
        result: Result<BatchAck, ClientError>,
    ) -> Result<BatchAck, ClientError> {
        let Some(code) = result.as_ref().err().and_then(ClientError::code).filter(|_| batch.stamp.is_some()) else {
            return result;
        };
        match code {
            // It is there, so long that nobody knows where.
            ErrorCode::DuplicateSequence => {
                Ok(BatchAck { base_offset: Offset::MAX, leader_epoch: LeaderEpoch::NONE, durability: None })
            }
            // One batch is away at a time, so those in front of it were acknowledged, and the broker has lost them or
            // forgotten their producer. This one is not in the log, else it were a duplicate: it goes again, first of an epoch.
            ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducerId => {
                let queue = &self.topics[key.topic].queues[key.partition.0 as usize];
                self.identities.leave(&queue.numbering);
                batch.stamp = None;
                result
            }
            // Somebody else has our number: it is not ours any more.
            ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced => {
                self.identities.current = None;
                result
            }
            _ => result,
        }
    }

    /// A batch fails for good. If it was ever sent, its partition's sequence cannot go on.
    fn give_up(&mut self, key: QueueKey, batch: Batch, error: ClientError) {
        if batch.stamp.is_some() {
            let queue = &self.topics[key.topic].queues[key.partition.0 as usize];
            self.identities.leave(&queue.numbering);
        }
        self.settle(batch, Err(error));
    }

    /// Fails what is ready and has no time left.
    fn give_up_overdue(&mut self, now: Instant) {
        for key in std::mem::take(&mut self.ready) {
            if self.head(key, now).is_some() {
                self.ready.push_back(key);
            }
        }
    }

    /// Whether somebody has to get an identity now; whoever does calls one of the three functions below.
    pub(crate) fn asks_for_identity(&mut self) -> bool {
        let asks = self.wants_identity() && !self.identities.asked;
        self.identities.asked |= asks;
        asks
    }

    /// Whether an identity is still needed by something.
    pub(crate) fn wants_identity(&self) -> bool {
        self.identities.is_missing() && !self.ready.is_empty()
    }

    /// A broker gave an identity.
    pub(crate) fn identified(&mut self, identity: Identity) {
        self.identities.current = Some(identity);
        self.identities.asked = false;
    }

    /// Nobody needs an identity any more.
    pub(crate) fn not_identified(&mut self) {
        self.identities.asked = false;
    }

    /// No broker will ever give an identity: what waits for one fails.
    pub(crate) fn identity_refused(&mut self, error: &ClientError) {
        self.identities.asked = false;
        for key in std::mem::take(&mut self.ready) {
            while let Some(batch) = self.queue(key).closed.pop_front() {
                self.give_up(key, batch, error.clone());
            }
            self.queue(key).state = QueueState::Idle;
            self.close_if_due(key);
        }
    }

    fn ready_if_waiting(&mut self, key: QueueKey) {
        let queue = self.queue(key);
        if queue.closed.is_empty() {
            self.close_if_due(key);
        } else if queue.state == QueueState::Idle {
            queue.state = QueueState::Ready;
            self.ready.push_back(key);
        }
    }

    fn close_if_due(&mut self, key: QueueKey) {
        if self.queue(key).open.as_ref().is_some_and(|open| open.due) {
            self.close_batch(key);
        }
    }

    fn delivery_timeout(&self, key: QueueKey, batch: &Batch) -> ClientError {
        let last = batch.last_error.as_ref();
        ClientError::DeliveryTimeout {
            topic: self.topics[key.topic].name.to_string(),
            partition: key.partition,
            after: self.config.delivery_timeout,
            last: last.map_or_else(|| "it was never sent".to_owned(), ClientError::to_string),
        }
    }

    fn settle(&mut self, batch: Batch, result: Result<BatchAck, ClientError>) {
        if let Err(error) = &result {
            self.first_error.get_or_insert_with(|| error.clone());
        }
        self.batches -= 1;
        self.freed_bytes += batch.held_bytes;
        batch.completion.complete(result);
        if self.spare.len() < SPARE_BUILDERS {
            let mut builder = batch.builder;
            builder.clear();
            self.spare.push(builder);
        }
    }

    /// Bytes of the buffer that were freed since the last call.
    pub(crate) fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed_bytes)
    }

    /// The first failure since the last call.
    pub(crate) fn take_error(&mut self) -> Option<ClientError> {
        self.first_error.take()
    }

    /// Takes no more records and lets go of those that linger.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.close_all();
    }

    /// Whether no more records come and nothing is waiting or away.
    pub(crate) fn is_done(&self) -> bool {
        self.closed && self.batches == 0
    }

    /// The results of all batches that are waiting or away.
    pub(crate) fn outstanding(&self) -> Vec<Arc<Completion>> {
        let queues = self.topics.iter().flat_map(|topic| &topic.queues);
        queues
            .flat_map(|queue| {
                let open = queue.open.iter().map(|open| &open.completion);
                let closed = queue.closed.iter().map(|batch| &batch.completion);
                queue.away.iter().chain(closed).chain(open).cloned()
            })
            .collect()
    }
}

impl TopicQueues {
    /// Takes over a newer state of the topic. Partitions never become fewer: what waits for one that is gone fails at the
    /// broker.
    fn replace(&mut self, topic: &Arc<Topic>) {
        self.topic = Arc::clone(topic);
        let count = topic.owners.len().max(self.queues.len());
        self.queues.resize_with(count, Queue::default);
    }
}

fn is_worth_a_retry(error: &ClientError, batch: &Batch) -> bool {
    // A stamp that was taken away is renewed with the next attempt.
    let sequence_lost = batch.stamp.is_none()
        && matches!(error.code(), Some(ErrorCode::OutOfOrderSequence | ErrorCode::UnknownProducerId));
    error.is_retriable() || sequence_lost
}

#[cfg(test)]
mod tests;
