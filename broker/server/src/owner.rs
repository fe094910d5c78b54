//! What the owner of a partition does with it: append, read, answer questions, park long polls. The one place where
//! requests meet the store; local connections call these functions, other shards reach them through the lanes.
//!
//! Owns nothing but the order of appends per lane. Never parses a client's bytes. Lives on every shard, for the
//! partitions it owns. A row names topic and index; the owner looks it up in its own metadata, so a row that raced a
//! deletion is refused, and one that is ahead of this shard's metadata waits for it first.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{BatchHeader, Durability, ErrorCode, LeaderEpoch, Offset, PartitionId, ProducerId};
use ouzel_runtime::{Inbox, Instant, SharedSlice};
use ouzel_storage::{Ack, PartitionHandle, Reservation, StorageError};

use crate::lanes::{
    AppendOutcome, AppendRow, AppendTimes, OffsetOutcome, Parked, PartitionRef, PartitionStatus, ProduceMessage,
    Publish, ReadOutcome, ReadRow, ShardRequest,
};
use crate::shard::ShardState;
use crate::{epoch_ends, error_map, groups, join, limits, shard_status};

/// A batch between its two moments: dispatched, but not produced yet. Or refused.
#[derive(Debug)]
pub(crate) enum Dispatched {
    Refused(AppendOutcome),
    Appended { ack: Ack, outcome: AppendOutcome },
}

/// Appends batches in order: when it returns, their places in the log are fixed (dispatched). Waits only for room.
pub(crate) async fn append(state: &ShardState, rows: Vec<AppendRow>) -> Vec<Dispatched> {
    let mut dispatched = Vec::with_capacity(rows.len());
    let mut refused = Vec::new();
    for row in rows {
        let taken = state.shard.now();
        let reservation = reserve(state, &row).await;
        let appended = append_in_order(&mut refused, row.at, &row.header, || {
            append_reserved(state, reservation?, row.at, &row.header, &row.batch, taken)
        });
        dispatched.push(match appended {
            Ok((ack, outcome)) => Dispatched::Appended { ack, outcome: outcome.appended_at(state.shard.now()) },
            Err(error) => Dispatched::Refused(AppendOutcome::refused(error, taken)),
        });
    }
    dispatched
}

/// Appends a batch unless its producer was refused one of the same request before: what was sent behind that must not get
/// in front of it.
pub(crate) fn append_in_order<T>(
    refused: &mut Vec<(PartitionRef, ProducerId)>,
    at: PartitionRef,
    header: &BatchHeader,
    append: impl FnOnce() -> Result<T, ErrorCode>,
) -> Result<T, ErrorCode> {
    let Some(producer) = header.producer().map(|stamp| (at, stamp.id)) else { return append() };
    if refused.contains(&producer) {
        return Err(ErrorCode::OutOfOrderSequence);
    }
    append().inspect_err(|_| refused.push(producer))
}

async fn reserve(state: &ShardState, row: &AppendRow) -> Result<Reservation, ErrorCode> {
    state.topics.owned(row.at)?;
    state.store.reserve(row.batch.len()).await.map_err(|error| refused(state, &error))
}

/// Appends a batch for which there is room. Waiting for the room may have taken long, so whether the partition is still ours
/// is asked here.
fn append_reserved(
    state: &ShardState,
    reservation: Reservation,
    at: PartitionRef,
    header: &BatchHeader,
    batch: &[u8],
    taken: Instant,
) -> Result<(Ack, AppendOutcome), ErrorCode> {
    let partition = state.topics.owned(at)?;
    let handle = state.store.find(partition.partition_id).map_err(|error| refused(state, &error))?;
    append_to(state, reservation, &handle, partition.leader_epoch, header, batch, taken)
}

/// Appends a batch for which there is room to a partition that is ours: its place in the log is fixed when this returns, and
/// the caller notes when that was.
pub(crate) fn append_to(
    state: &ShardState,
    reservation: Reservation,
    handle: &PartitionHandle,
    epoch: LeaderEpoch,
    header: &BatchHeader,
    batch: &[u8],
    taken: Instant,
) -> Result<(Ack, AppendOutcome), ErrorCode> {
    let appended =
        state.store.append_to(reservation, handle, epoch, header, batch).map_err(|error| refused(state, &error))?;
    let outcome = AppendOutcome {
        error: ErrorCode::None,
        base_offset: appended.base_offset,
        leader_epoch: epoch,
        durability: Durability::Disk,
        log_start: appended.log_start,
        times: AppendTimes { taken, appended: taken, committed: taken },
        log_append_ms: -1,
    };
    Ok((appended.ack, outcome))
}

fn refused(state: &ShardState, error: &StorageError) -> ErrorCode {
    if !matches!(
        error,
        StorageError::UnknownPartition { .. } | StorageError::BatchTooLarge { .. } | StorageError::Closing
    ) {
        tracing::debug!(shard = state.index.0, %error, "a batch was refused");
    }
    error_map::of_storage(error)
}

/// What an ack makes of the outcome of an appended batch; the caller notes when it came.
pub(crate) fn settled(
    state: &ShardState,
    outcome: AppendOutcome,
    result: Result<Durability, StorageError>,
) -> AppendOutcome {
    match result {
        Ok(durability) => AppendOutcome { durability, ..outcome },
        Err(error) => {
            tracing::debug!(shard = state.index.0, %error, "an appended batch was not acknowledged");
            AppendOutcome::refused(error_map::of_storage(&error), outcome.times.taken)
        }
    }
}

/// Waits until each batch is at its level (produced), or never will be.
pub(crate) async fn produced(state: &ShardState, dispatched: Vec<Dispatched>) -> Vec<AppendOutcome> {
    let mut waiting: Vec<Waiting> = dispatched.into_iter().map(|batch| Waiting { batch }).collect();
    let mut outcomes = Vec::with_capacity(waiting.len());
    for (outcome, result) in join::all(&mut waiting).await {
        outcomes.push(match result {
            None => outcome,
            Some(result) => settled(state, outcome, result).committed_at(state.shard.now()),
        });
    }
    outcomes
}

struct Waiting {
    batch: Dispatched,
}

impl Future for Waiting {
    type Output = (AppendOutcome, Option<Result<Durability, StorageError>>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        match &mut self.batch {
            Dispatched::Refused(outcome) => std::task::Poll::Ready((*outcome, None)),
            Dispatched::Appended { ack, outcome } => Pin::new(ack).poll(cx).map(|result| (*outcome, Some(result))),
        }
    }
}

/// Reads partitions in order until `bytes_max` is used up. With `at_least_one` the first batch of all comes whatever its
/// size, so that one larger than every limit can still be read.
pub(crate) async fn read(
    state: &ShardState,
    rows: &[ReadRow],
    bytes_max: usize,
    at_least_one: bool,
) -> Vec<ReadOutcome> {
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut used = 0;
    for row in rows {
        let left = bytes_max.saturating_sub(used).min(row.bytes_max);
        let outcome = match read_one(state, row, left, at_least_one && used == 0).await {
            Ok(outcome) => outcome,
            Err(error) => ReadOutcome::refused(error),
        };
        used += outcome.bytes();
        outcomes.push(outcome);
    }
    outcomes
}

/// Appends to `pieces` what memory has for a row; the outcome is without records. `None`, and nothing appended, where the
/// disk is needed.
pub(crate) fn read_at_once(
    state: &ShardState,
    row: &ReadRow,
    at_least_one: bool,
    pieces: &mut Vec<SharedSlice>,
) -> Option<ReadOutcome> {
    let (id, outcome) = match outcome_without_records(state, row, row.bytes_max, at_least_one) {
        Ok((Some(id), outcome)) => (id, outcome),
        Ok((None, outcome)) => return Some(outcome),
        Err(error) => return Some(ReadOutcome::refused(error)),
    };
    match state.store.read_cached(id, row.offset, row.bytes_max, at_least_one, pieces) {
        Ok(true) => Some(outcome),
        Ok(false) => None,
        Err(error) => Some(ReadOutcome { error: error_map::of_storage(&error), ..outcome }),
    }
}

/// The outcome but for the records, and the partition if there are any to read.
fn outcome_without_records(
    state: &ShardState,
    row: &ReadRow,
    bytes_max: usize,
    at_least_one: bool,
) -> Result<(Option<PartitionId>, ReadOutcome), ErrorCode> {
    let id = state.topics.owned(row.at)?.partition_id;
    let store = &state.store;
    let code = |error: StorageError| error_map::of_storage(&error);
    let high_watermark = store.durable_end(id).map_err(code)?;
    let log_start = store.log_start(id).map_err(code)?;
    let mut outcome = ReadOutcome { error: ErrorCode::None, high_watermark, log_start, records: Vec::new() };
    if row.offset == high_watermark || (bytes_max == 0 && !at_least_one) {
        let is_out_of_range = row.offset < log_start || row.offset > high_watermark;
        outcome.error = if is_out_of_range { ErrorCode::OffsetOutOfRange } else { ErrorCode::None };
        return Ok((None, outcome));
    }
    Ok((Some(id), outcome))
}

async fn read_one(
    state: &ShardState,
    row: &ReadRow,
    bytes_max: usize,
    at_least_one: bool,
) -> Result<ReadOutcome, ErrorCode> {
    let (id, mut outcome) = match outcome_without_records(state, row, bytes_max, at_least_one)? {
        (Some(id), outcome) => (id, outcome),
        (None, outcome) => return Ok(outcome),
    };
    let store = &state.store;
    let code = |error: StorageError| error_map::of_storage(&error);
    // The plan is made under the borrow and keeps alive what it names; appends and drops meanwhile do not change it.
    let plan = match store.plan_read(id, row.offset, bytes_max, at_least_one) {
        Ok(plan) => plan,
        Err(error) => return Ok(ReadOutcome { error: code(error), ..outcome }),
    };
    let read = if plan.needs_disk() {
        catch_up(state, id, row.offset, bytes_max, at_least_one).await
    } else {
        store.read(plan).await
    };
    match read {
        Ok(records) => outcome.records = records,
        Err(error) => {
            tracing::error!(shard = state.index.0, partition = id.0, offset = row.offset.0, %error, "a read failed");
            outcome.error = code(error);
        }
    }
    Ok(outcome)
}

/// Reads from disk, in the lane of consumers that catch up: a few at a time and not much at once, because the replies of many
/// large reads that leave in one turn would hold up whoever reads and writes the tail. While somebody writes it, one at a time
/// and smaller. Planned when its turn has come.
async fn catch_up(
    state: &ShardState,
    id: PartitionId,
    offset: Offset,
    bytes_max: usize,
    at_least_one: bool,
) -> Result<Vec<Bytes>, StorageError> {
    let beside_tail = state.store.committed_within(limits::TAIL_QUIET);
    let (turns, lane_bytes_max) = match beside_tail {
        true => (limits::CATCH_UP_COUNT_MAX, limits::CATCH_UP_BESIDE_TAIL_BYTES_MAX),
        false => (1, limits::CATCH_UP_BYTES_MAX),
    };
    let _turn = state.catch_up.acquire(turns).await;
    let plan = state.store.plan_read(id, offset, bytes_max.min(lane_bytes_max), at_least_one)?;
    state.store.read(plan).await
}

/// Earliest, latest, or the first record at or after a time.
pub(crate) async fn offsets(state: &ShardState, rows: &[(PartitionRef, OffsetSpec)]) -> Vec<OffsetOutcome> {
    let mut outcomes = Vec::with_capacity(rows.len());
    for (at, spec) in rows {
        outcomes.push(match offset_one(state, *at, *spec).await {
            Ok(outcome) => outcome,
            Err(error) => OffsetOutcome::refused(error),
        });
    }
    outcomes
}

async fn offset_one(state: &ShardState, at: PartitionRef, spec: OffsetSpec) -> Result<OffsetOutcome, ErrorCode> {
    let partition = state.topics.owned(at)?;
    let (id, store) = (partition.partition_id, &state.store);
    let code = |error: StorageError| error_map::of_storage(&error);
    let high_watermark = store.durable_end(id).map_err(code)?;
    let spec = match spec {
        // The first record with it; where that is not visible yet, it is not found yet.
        OffsetSpec::MaxTimestamp => match store.max_timestamp(id).map_err(code)? {
            Some(timestamp) => OffsetSpec::Timestamp(timestamp),
            None => OffsetSpec::Latest,
        },
        spec => spec,
    };
    let found = match spec {
        OffsetSpec::Earliest => (store.log_start(id).map_err(code)?, -1),
        OffsetSpec::Latest | OffsetSpec::MaxTimestamp => (high_watermark, -1),
        OffsetSpec::Timestamp(timestamp) => match store.offset_for_timestamp(id, timestamp).await {
            // A record that is not visible yet is not found yet.
            Ok(Some((offset, timestamp))) if offset < high_watermark => (offset, timestamp),
            Ok(_) => (high_watermark, -1),
            Err(error) => {
                tracing::error!(shard = state.index.0, partition = id.0, %error, "a lookup by time failed");
                return Err(code(error));
            }
        },
    };
    let (offset, timestamp) = found;
    Ok(OffsetOutcome { error: ErrorCode::None, offset, timestamp, leader_epoch: partition.leader_epoch })
}

/// Raises the first offset of partitions, durably; returns the new ones. Without an offset, to the high watermark.
pub(crate) async fn delete_records(
    state: &ShardState,
    rows: &[(PartitionRef, Option<Offset>)],
) -> Vec<Result<Offset, ErrorCode>> {
    let mut outcomes = Vec::with_capacity(rows.len());
    // Side by side, so that one sync serves many.
    for rows in rows.chunks(limits::DELETING_COUNT_MAX) {
        let mut deleting: Vec<_> = rows.iter().map(|(at, to)| Box::pin(delete_records_of(state, *at, *to))).collect();
        outcomes.extend(join::all(&mut deleting).await);
    }
    outcomes
}

async fn delete_records_of(state: &ShardState, at: PartitionRef, to: Option<Offset>) -> Result<Offset, ErrorCode> {
    let (partition, topic) = state.topics.owned_with_topic(at)?;
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopic);
    }
    let id = partition.partition_id;
    let code = |error: StorageError| error_map::of_storage(&error);
    let high_watermark = state.store.durable_end(id).map_err(code)?;
    let to = to.unwrap_or(high_watermark);
    if to > high_watermark {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    state.store.advance_log_start(id, to).await.map_err(code)
}

/// What a person wants to know of each partition.
pub(crate) fn status(state: &ShardState, rows: &[PartitionRef]) -> Vec<PartitionStatus> {
    let (state_word, _) = shard_status::log_state(&state.store.stats());
    let of_row = |at: &PartitionRef| {
        let id = state.topics.owned(*at).ok()?.partition_id;
        Some(PartitionStatus {
            log_start: state.store.log_start(id).ok()?,
            end_offset: state.store.durable_end(id).ok()?,
            bytes: state.store.stored_bytes(id).ok()?,
            state: state_word,
        })
    };
    rows.iter().map(|at| of_row(at).unwrap_or(PartitionStatus::OFFLINE)).collect()
}

/// Waits until one of the partitions is visible beyond its offset or goes away, the deadline passes, or the broker stops.
pub(crate) async fn park(state: &ShardState, rows: &[(PartitionRef, Offset)], deadline: Instant) {
    type Waiting<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
    let mut waiting: Vec<Waiting<'_>> = Vec::with_capacity(rows.len() + 2);
    waiting.push(Box::pin(state.stopping.wait()));
    waiting.push(Box::pin(state.shard.sleep_until(deadline)));
    for (at, beyond) in rows {
        match state.topics.owned(*at) {
            Ok(partition) => waiting.push(Box::pin(state.store.wait_durable(partition.partition_id, *beyond))),
            Err(_) => return,
        }
    }
    join::first(&mut waiting).await;
}

/// The produce lane: parts in the order in which they were dispatched elsewhere. One task, so their order is kept.
pub(crate) async fn produce_lane(state: Rc<ShardState>, mut inbox: Inbox<ProduceMessage>) {
    let mut messages = Vec::new();
    while inbox.recv_batch(&mut messages).await {
        for message in messages.drain(..) {
            state.topics.reached(message.version).await;
            for part in message.parts {
                let dispatched = append(&state, part.rows).await;
                let (task_state, reply) = (Rc::clone(&state), part.reply);
                state.shard.spawn(async move {
                    let outcomes = produced(&task_state, dispatched).await;
                    // The connection may have ended; the batches are in the log all the same.
                    drop(reply.send(outcomes));
                });
            }
        }
    }
}

/// The request lane: each request in a task of its own, so that one that reads from disk holds up none that does not.
pub(crate) async fn request_lane(state: Rc<ShardState>, mut inbox: Inbox<ShardRequest>) {
    while let Some(request) = inbox.recv().await {
        let state = Rc::clone(&state);
        state.shard.clone().spawn(async move { answer(&state, request).await });
    }
}

async fn answer(state: &ShardState, request: ShardRequest) {
    match request {
        ShardRequest::Read { version, rows, bytes_max, at_least_one, reply } => {
            state.topics.reached(version).await;
            drop(reply.send(read(state, &rows, bytes_max, at_least_one).await));
        }
        ShardRequest::Offsets { version, rows, reply } => {
            state.topics.reached(version).await;
            drop(reply.send(offsets(state, &rows).await));
        }
        ShardRequest::DeleteRecords { version, rows, reply } => {
            state.topics.reached(version).await;
            drop(reply.send(delete_records(state, &rows).await));
        }
        ShardRequest::EpochEnds { version, rows, reply } => {
            state.topics.reached(version).await;
            drop(reply.send(epoch_ends::ends(state, &rows).await));
        }
        ShardRequest::Status { version, rows, reply } => {
            state.topics.reached(version).await;
            drop(reply.send(status(state, &rows)));
        }
        ShardRequest::Describe { reply } => drop(reply.send(shard_status::describe(state))),
    }
}

/// The lane of long polls: parked here, at the owner, and woken by the high watermark.
pub(crate) async fn parked_lane(state: Rc<ShardState>, mut inbox: Inbox<Parked>) {
    while let Some(parked) = inbox.recv().await {
        let state = Rc::clone(&state);
        state.shard.clone().spawn(async move {
            state.topics.reached(parked.version).await;
            park(&state, &parked.rows, parked.deadline).await;
            // Whoever parked may have gone away.
            let _ = parked.reply.send(());
        });
    }
}

/// The metadata lane: one version after another.
pub(crate) async fn publish_lane(state: Rc<ShardState>, mut inbox: Inbox<Publish>) {
    while let Some(Publish { image, reply }) = inbox.recv().await {
        let before = state.topics.image();
        let outcome = state.topics.act_on(image, &state.store).await;
        groups::metadata_changed(&state, &before);
        let image = state.topics.image();
        state.meter.keep_topics(|topic_id| image.topic(topic_id).is_some());
        drop(reply.send(outcome));
    }
}
