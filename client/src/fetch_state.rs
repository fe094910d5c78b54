//! Which partitions a consumer reads, from where, what is fetched ahead and what to fetch next. Owns positions: an offset is
//! given out once, in order, whatever is lost or moves meanwhile. No clock (`now` is an argument), no socket. Pure.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ouzel_protocol::native::{FetchPartition, FetchRequest, FetchResult, OffsetSpec};
use ouzel_protocol::{ErrorCode, Offset, PartitionIndex, TopicId, batches};

use crate::address::Address;
use crate::backoff::Backoff;
use crate::config::{ConsumerConfig, OutOfRange};
use crate::error::ClientError;
use crate::metadata::{MetadataImage, TopicState};

/// Fetches in flight to one owner. More than one, so that a long poll for idle partitions does not hold up busy ones.
const FETCHES_PER_OWNER: usize = 8;
/// How long a poll may be held while a partition of the same owner waits for room here.
const SHORT_WAIT_MS: u32 = 50;

/// Index of a partition among those assigned; never used again for another.
pub(crate) type Slot = usize;

/// One batch that was fetched and not yet read.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) slot: Slot,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionIndex,
    /// Records below it were given out before, or are not wanted.
    pub(crate) from: Offset,
    /// Position after it.
    pub(crate) end: Offset,
    pub(crate) batch: Bytes,
}

#[derive(Debug)]
struct Assigned {
    topic: Arc<str>,
    partition: PartitionIndex,
    /// The topic that is meant, where it is not whichever has the name.
    topic_id: Option<TopicId>,
    phase: Phase,
    /// Raised by every seek; what was asked for before it is not wanted any more.
    generation: u64,
    /// Where to fetch next: behind all that is buffered.
    fetch_at: Offset,
    chunks: VecDeque<Chunk>,
    buffered_bytes: usize,
    in_flight: bool,
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fetching,
    /// The position is being looked up.
    Resetting,
    /// An error was reported; until sought.
    Stopped,
    /// No longer assigned.
    Removed,
}

/// A partition asked for in a fetch, and the generation that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) slot: Slot,
    pub(crate) generation: u64,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionIndex,
}

/// One request to be sent.
#[derive(Debug)]
pub(crate) struct FetchPlan {
    pub(crate) owner: Option<Address>,
    pub(crate) request: FetchRequest,
    pub(crate) asked: Vec<Asked>,
}

/// A position to be looked up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) slot: Slot,
    pub(crate) generation: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: PartitionIndex,
    pub(crate) spec: OffsetSpec,
}

/// What a fetch's result asks for beyond what was stored.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// The routing table is old.
    pub(crate) wants_metadata: bool,
    /// Records or an error are there for the reader.
    pub(crate) wake_reader: bool,
    pub(crate) reset: Option<Reset>,
}

/// See the file's comment.
#[derive(Debug)]
pub(crate) struct FetchState {
    config: ConsumerConfig,
    backoff: Backoff,
    slots: Vec<Assigned>,
    by_name: HashMap<(Arc<str>, PartitionIndex), Slot>,
    /// Slots with chunks, in the order of their turn.
    readable: VecDeque<Slot>,
    buffered_bytes: usize,
    in_flight: HashMap<Option<Address>, usize>,
    errors: VecDeque<ClientError>,
    /// Where the next plan starts to look, so that all get their share of the budget.
    turn: usize,
    /// The last plan met a topic that the routing table does not have.
    pub(crate) wants_metadata: bool,
    pub(crate) closed: bool,
}

impl FetchState {
    pub(crate) fn new(config: ConsumerConfig, backoff: Backoff) -> FetchState {
        FetchState {
            config,
            backoff,
            slots: Vec::new(),
            by_name: HashMap::new(),
            readable: VecDeque::new(),
            buffered_bytes: 0,
            in_flight: HashMap::new(),
            errors: VecDeque::new(),
            turn: 0,
            wants_metadata: false,
            closed: false,
        }
    }

    /// Reads a partition from `at` on; one that is read already is sought there. With a `topic_id` no other topic of that name
    /// is read, until the partition is released.
    pub(crate) fn assign(
        &mut self,
        topic: &Arc<str>,
        topic_id: Option<TopicId>,
        partition: PartitionIndex,
        at: Offset,
    ) -> Slot {
        let key = (Arc::clone(topic), partition);
        let slot = *self.by_name.entry(key).or_insert_with(|| {
            self.slots.push(Assigned {
                topic: Arc::clone(topic),
                partition,
                topic_id: None,
                phase: Phase::Stopped,
                generation: 0,
                fetch_at: at,
                chunks: VecDeque::new(),
                buffered_bytes: 0,
                in_flight: false,
                failures: 0,
                retry_at: None,
            });
            self.slots.len() - 1
        });
        self.restart(slot, Phase::Fetching);
        let assigned = &mut self.slots[slot];
        assigned.fetch_at = at;
        assigned.topic_id = topic_id.or(assigned.topic_id);
        slot
    }

    /// Stops reading a topic's partitions; gives their slots.
    pub(crate) fn unassign(&mut self, topic: &str) -> Vec<Slot> {
        let gone: Vec<Slot> = (0..self.slots.len()).filter(|slot| &*self.slots[*slot].topic == topic).collect();
        for slot in &gone {
            self.restart(*slot, Phase::Removed);
        }
        self.by_name.retain(|(name, _), _| &**name != topic);
        gone
    }

    /// Stops reading one partition. Its slot is its own again when it is assigned again, so that partitions which come and go
    /// cost no more than those there are.
    pub(crate) fn release(&mut self, topic: &str, partition: PartitionIndex) -> Option<Slot> {
        let slot = self.slot(topic, partition)?;
        self.restart(slot, Phase::Removed);
        self.slots[slot].topic_id = None;
        Some(slot)
    }

    pub(crate) fn slot(&self, topic: &str, partition: PartitionIndex) -> Option<Slot> {
        self.by_name.get(&(topic.into(), partition)).copied()
    }

    pub(crate) fn partitions_of(&self, topic: &str) -> Vec<PartitionIndex> {
        let keys = self.by_name.keys().filter(|(name, _)| &**name == topic);
        let mut partitions: Vec<PartitionIndex> = keys.map(|(_, partition)| *partition).collect();
        partitions.sort_unstable();
        partitions
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Forgets what is buffered and under way for a slot.
    fn restart(&mut self, slot: Slot, phase: Phase) {
        let assigned = &mut self.slots[slot];
        self.buffered_bytes -= assigned.buffered_bytes;
        assigned.buffered_bytes = 0;
        assigned.chunks.clear();
        assigned.generation += 1;
        assigned.in_flight = false;
        assigned.failures = 0;
        assigned.retry_at = None;
        assigned.phase = phase;
        self.readable.retain(|readable| *readable != slot);
    }

    /// What to fetch now.
    pub(crate) fn plan(&mut self, image: &MetadataImage, now: Instant) -> Vec<FetchPlan> {
        let mut plans: HashMap<Option<Address>, FetchPlan> = HashMap::new();
        let mut withheld: Vec<Option<Address>> = Vec::new();
        let room = self.config.prefetch_bytes.saturating_sub(self.buffered_bytes);
        self.turn = (self.turn + 1) % self.slots.len().max(1);
        for index in 0..self.slots.len() {
            let slot = (index + self.turn) % self.slots.len();
            let assigned = &mut self.slots[slot];
            if assigned.phase != Phase::Fetching || assigned.in_flight || assigned.retry_at.is_some_and(|at| at > now) {
                continue;
            }
            let known = image.topic(&assigned.topic);
            let is_gone = match known {
                Some(TopicState::Known(topic)) => assigned.topic_id.is_some_and(|meant| meant != topic.id),
                Some(TopicState::Refused(code)) => {
                    matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
                }
                None => false,
            };
            if is_gone {
                assigned.phase = Phase::Stopped;
                let topic = assigned.topic.to_string();
                self.errors.push_back(ClientError::UnknownTopic { topic });
                continue;
            }
            let topic = match known {
                Some(TopicState::Known(topic)) if topic.has(assigned.partition) => topic,
                // Not known now; asked again after the backoff, and when the refresh has come through.
                _ => {
                    assigned.failures = assigned.failures.saturating_add(1);
                    assigned.retry_at = Some(now + self.backoff.delay(assigned.failures, 1.0));
                    self.wants_metadata = true;
                    continue;
                }
            };
            let owner = topic.owner(assigned.partition).cloned();
            if room == 0 || assigned.buffered_bytes >= self.config.partition_bytes_max as usize {
                withheld.push(owner);
                continue;
            }
            if !plans.contains_key(&owner) {
                let in_flight = self.in_flight.entry(owner.clone()).or_default();
                if *in_flight >= FETCHES_PER_OWNER {
                    continue;
                }
                *in_flight += 1;
            }
            assigned.in_flight = true;
            assigned.retry_at = None;
            let plan = plans.entry(owner.clone()).or_insert_with(|| new_plan(&self.config, owner, room));
            plan.request.partitions.push(FetchPartition {
                topic_id: topic.id,
                partition: assigned.partition,
                offset: assigned.fetch_at,
                max_bytes: self.config.partition_bytes_max,
            });
            plan.asked.push(Asked {
                slot,
                generation: assigned.generation,
                topic_id: topic.id,
                partition: assigned.partition,
            });
        }
        for owner in withheld {
            if let Some(plan) = plans.get_mut(&owner) {
                plan.request.max_wait_ms = plan.request.max_wait_ms.min(SHORT_WAIT_MS);
            }
        }
        plans.into_values().collect()
    }

    /// When a partition that waits after an error may be fetched again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let waiting = self.slots.iter().filter(|slot| slot.phase == Phase::Fetching && !slot.in_flight);
        waiting.filter_map(|slot| slot.retry_at).min()
    }

    /// A fetch is over, whatever came of it.
    pub(crate) fn fetch_done(&mut self, owner: &Option<Address>) {
        if let Some(in_flight) = self.in_flight.get_mut(owner) {
            *in_flight = in_flight.saturating_sub(1);
            if *in_flight == 0 {
                self.in_flight.remove(owner);
            }
        }
    }

    /// Takes over the result of one partition of a fetch.
    pub(crate) fn apply(
        &mut self,
        asked: &Asked,
        result: Result<&FetchResult, ClientError>,
        now: Instant,
        jitter: f64,
    ) -> Applied {
        let assigned = &mut self.slots[asked.slot];
        if assigned.generation != asked.generation {
            return Applied::default();
        }
        assigned.in_flight = false;
        let error = match result {
            Ok(row) if row.error.is_none() => match self.store(asked.slot, row) {
                Ok(wake_reader) => {
                    self.slots[asked.slot].failures = 0;
                    return Applied { wake_reader, ..Applied::default() };
                }
                Err(error) => error,
            },
            Ok(row) if row.error == ErrorCode::OffsetOutOfRange => {
                return self.out_of_range(asked.slot);
            }
            Ok(row) => {
                let (topic, partition) = (assigned.topic.to_string(), assigned.partition);
                ClientError::Partition { topic, partition, code: row.error }
            }
            Err(error) => error,
        };
        if error.is_retriable() {
            let assigned = &mut self.slots[asked.slot];
            assigned.failures = assigned.failures.saturating_add(1);
            assigned.retry_at = Some(now + self.backoff.delay(assigned.failures, jitter));
            tracing::debug!(topic = %assigned.topic, partition = %assigned.partition, offset = %assigned.fetch_at, %error, "fetch failed, trying again");
            return Applied { wants_metadata: error.wants_metadata(), ..Applied::default() };
        }
        self.stop(asked.slot, error)
    }

    fn stop(&mut self, slot: Slot, error: ClientError) -> Applied {
        self.slots[slot].phase = Phase::Stopped;
        self.errors.push_back(error);
        Applied { wake_reader: true, ..Applied::default() }
    }

    /// Buffers the batches of a row; true when there are any.
    fn store(&mut self, slot: Slot, row: &FetchResult) -> Result<bool, ClientError> {
        let assigned = &mut self.slots[slot];
        let was_empty = assigned.chunks.is_empty();
        for piece in &row.records {
            for batch in batches(piece) {
                let (header, bytes) = batch.map_err(|source| ClientError::Corrupt {
                    topic: assigned.topic.to_string(),
                    partition: assigned.partition,
                    offset: assigned.fetch_at,
                    source,
                })?;
                let end = header.end_offset();
                if end <= assigned.fetch_at {
                    continue;
                }
                assigned.chunks.push_back(Chunk {
                    slot,
                    topic: Arc::clone(&assigned.topic),
                    partition: assigned.partition,
                    from: assigned.fetch_at,
                    end,
                    batch: piece.slice_ref(bytes),
                });
                assigned.fetch_at = end;
                assigned.buffered_bytes += bytes.len();
                self.buffered_bytes += bytes.len();
            }
        }
        if was_empty && !assigned.chunks.is_empty() {
            self.readable.push_back(slot);
        }
        Ok(!self.slots[slot].chunks.is_empty())
    }

    fn out_of_range(&mut self, slot: Slot) -> Applied {
        let assigned = &mut self.slots[slot];
        let spec = match self.config.out_of_range {
            OutOfRange::Earliest => OffsetSpec::Earliest,
            OutOfRange::Latest => OffsetSpec::Latest,
            OutOfRange::Error => {
                let (topic, partition) = (assigned.topic.to_string(), assigned.partition);
                let offset = assigned.fetch_at;
                return self.stop(slot, ClientError::OffsetOutOfRange { topic, partition, offset });
            }
        };
        assigned.phase = Phase::Resetting;
        let reset = Reset {
            slot,
            generation: assigned.generation,
            topic: Arc::clone(&assigned.topic),
            partition: assigned.partition,
            spec,
        };
        Applied { reset: Some(reset), ..Applied::default() }
    }

    /// The position that a reset asked for was found, or not. True when the reader has an error to see.
    pub(crate) fn reset_done(&mut self, reset: &Reset, found: Result<Offset, ClientError>) -> bool {
        let assigned = &mut self.slots[reset.slot];
        if assigned.generation != reset.generation || assigned.phase != Phase::Resetting {
            return false;
        }
        match found {
            Ok(at) => {
                tracing::info!(topic = %reset.topic, partition = %reset.partition, from = %assigned.fetch_at, to = %at, "position out of range, reset");
                assigned.fetch_at = at;
                assigned.phase = Phase::Fetching;
                false
            }
            Err(error) => self.stop(reset.slot, error).wake_reader,
        }
    }

    /// Whether there is an error that the reader has not seen.
    pub(crate) fn has_error(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The next error that the reader has not seen.
    pub(crate) fn take_error(&mut self) -> Option<ClientError> {
        self.errors.pop_front()
    }

    /// The next batch, partitions taking turns. `true` with it: there is room to fetch more.
    pub(crate) fn take_chunk(&mut self) -> Option<(Chunk, bool)> {
        let slot = self.readable.pop_front()?;
        let assigned = &mut self.slots[slot];
        let chunk = assigned.chunks.pop_front().expect("readable slots have chunks");
        let full = |slot_bytes: usize, all_bytes: usize, config: &ConsumerConfig| {
            slot_bytes >= config.partition_bytes_max as usize || all_bytes >= config.prefetch_bytes
        };
        let was_full = full(assigned.buffered_bytes, self.buffered_bytes, &self.config);
        assigned.buffered_bytes -= chunk.batch.len();
        self.buffered_bytes -= chunk.batch.len();
        let is_full = full(assigned.buffered_bytes, self.buffered_bytes, &self.config);
        if !assigned.chunks.is_empty() {
            self.readable.push_back(slot);
        }
        Some((chunk, was_full && !is_full))
    }

    /// A chunk turned out damaged: what is buffered behind it is dropped, and the partition waits to be sought.
    pub(crate) fn damaged(&mut self, chunk: &Chunk, error: ClientError) {
        self.restart(chunk.slot, Phase::Stopped);
        self.slots[chunk.slot].fetch_at = chunk.from;
        self.errors.push_back(error);
    }
}

fn new_plan(config: &ConsumerConfig, owner: Option<Address>, room: usize) -> FetchPlan {
    let request = FetchRequest {
        max_wait_ms: u32::try_from(config.fetch_wait.as_millis()).unwrap_or(u32::MAX),
        min_bytes: config.fetch_bytes_min,
        max_bytes: config.fetch_bytes_max.min(u32::try_from(room).unwrap_or(u32::MAX)),
        partitions: Vec::new(),
    };
    FetchPlan { owner, request, asked: Vec::new() }
}

#[cfg(test)]
mod tests;
