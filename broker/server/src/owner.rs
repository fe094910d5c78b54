//! What the owner of a partition does with it: append, read, answer questions, park long polls. The one place where
//! requests meet the store; local connections call these functions, other shards reach them through the lanes.
//!
//! Owns nothing but the order of appends per lane. Never parses a client's bytes. Lives on every shard, for the
//! partitions it owns. A row names topic and index; the owner looks it up in its own metadata, so a row that raced a
//! deletion is refused, and one that is ahead of this shard's metadata waits for it first.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{Durability, ErrorCode, Offset, ProducerId};
use ouzel_runtime::{Inbox, Instant};
use ouzel_storage::{Ack, StorageError};

use crate::lanes::{
    AppendOutcome, AppendRow, AppendTimes, OffsetOutcome, Parked, PartitionRef, PartitionStatus, ProduceMessage,
    Publish, ReadOutcome, ReadRow, ShardRequest,
};
use crate::shard::ShardState;
use crate::{error_map, join, shard_status};

/// A batch between its two moments: dispatched, but not produced yet. Or refused.
#[derive(Debug)]
pub(crate) enum Dispatched {
    Refused(AppendOutcome),
    Appended { ack: Ack, outcome: AppendOutcome },
}

/// Appends batches in order: when it returns, their places in the log are fixed (dispatched). Waits only for room.
pub(crate) async fn append(state: &ShardState, rows: Vec<AppendRow>) -> Vec<Dispatched> {
    let mut dispatched = Vec::with_capacity(rows.len());
    // Producers that were refused a batch: what they sent behind it must not get in front of it.
    let mut refused: Vec<(PartitionRef, ProducerId)> = Vec::new();
    for row in rows {
        let taken = state.shard.now();
        let producer = row.header.producer().map(|stamp| (row.at, stamp.id));
        let result = match producer {
            Some(producer) if refused.contains(&producer) => Err(ErrorCode::OutOfOrderSequence),
            _ => append_one(state, &row, taken).await,
        };
        dispatched.push(match result {
            Ok((ack, outcome)) => Dispatched::Appended { ack, outcome },
            Err(error) => {
                refused.extend(producer);
                Dispatched::Refused(AppendOutcome::refused(error, taken))
            }
        });
    }
    dispatched
}

async fn append_one(state: &ShardState, row: &AppendRow, taken: Instant) -> Result<(Ack, AppendOutcome), ErrorCode> {
    let refused = |error: StorageError| {
        if !matches!(
            error,
            StorageError::UnknownPartition { .. } | StorageError::BatchTooLarge { .. } | StorageError::Closing
        ) {
            tracing::debug!(shard = state.index.0, %error, "a batch was refused");
        }
        error_map::of_storage(&error)
    };
    state.topics.owned(row.at)?;
    let reservation = state.store.reserve(row.batch.len()).await.map_err(refused)?;
    // Waiting for room may have taken long: whether the partition is still ours is asked again.
    let partition = state.topics.owned(row.at)?;
    let (id, epoch) = (partition.partition_id, partition.leader_epoch);
    let appended = state.store.append(reservation, id, epoch, &row.header, &row.batch).map_err(refused)?;
    let log_start = state.store.log_start(id).map_err(refused)?;
    let now = state.shard.now();
    let outcome = AppendOutcome {
        error: ErrorCode::None,
        base_offset: appended.base_offset,
        leader_epoch: epoch,
        durability: Durability::Disk,
        log_start,
        times: AppendTimes { taken, appended: now, committed: now },
    };
    Ok((appended.ack, outcome))
}

/// Waits until each batch is at its level (produced), or never will be.
pub(crate) async fn produced(state: &ShardState, dispatched: Vec<Dispatched>) -> Vec<AppendOutcome> {
    let mut waiting: Vec<Producing> = dispatched.into_iter().map(|batch| Producing { batch }).collect();
    let mut outcomes = Vec::with_capacity(waiting.len());
    for (outcome, result) in join::all(&mut waiting).await {
        outcomes.push(match result {
            None => outcome,
            Some(Ok(durability)) => AppendOutcome {
                durability,
                times: AppendTimes { committed: state.shard.now(), ..outcome.times },
                ..outcome
            },
            Some(Err(error)) => {
                tracing::debug!(shard = state.index.0, %error, "an appended batch was not acknowledged");
                AppendOutcome::refused(error_map::of_storage(&error), outcome.times.taken)
            }
        });
    }
    outcomes
}

struct Producing {
    batch: Dispatched,
}

impl Future for Producing {
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

async fn read_one(
    state: &ShardState,
    row: &ReadRow,
    bytes_max: usize,
    at_least_one: bool,
) -> Result<ReadOutcome, ErrorCode> {
    let id = state.topics.owned(row.at)?.partition_id;
    let store = &state.store;
    let code = |error: StorageError| error_map::of_storage(&error);
    let high_watermark = store.durable_end(id).map_err(code)?;
    let log_start = store.log_start(id).map_err(code)?;
    let mut outcome = ReadOutcome { error: ErrorCode::None, high_watermark, log_start, records: Vec::new() };
    if row.offset == high_watermark || (bytes_max == 0 && !at_least_one) {
        let is_out_of_range = row.offset < log_start || row.offset > high_watermark;
        outcome.error = if is_out_of_range { ErrorCode::OffsetOutOfRange } else { ErrorCode::None };
        return Ok(outcome);
    }
    // The plan is made under the borrow and keeps alive what it names; appends and drops meanwhile do not change it.
    let plan = match store.plan_read(id, row.offset, bytes_max, at_least_one) {
        Ok(plan) => plan,
        Err(error) => return Ok(ReadOutcome { error: code(error), ..outcome }),
    };
    match store.read(plan).await {
        Ok(records) => outcome.records = records,
        Err(error) => {
            tracing::error!(shard = state.index.0, partition = id.0, offset = row.offset.0, %error, "a read failed");
            outcome.error = code(error);
        }
    }
    Ok(outcome)
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
    let found = match spec {
        OffsetSpec::Earliest => (store.log_start(id).map_err(code)?, -1),
        OffsetSpec::Latest => (high_watermark, -1),
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

/// What a person wants to know of each partition.
pub(crate) fn status(state: &ShardState, rows: &[PartitionRef]) -> Vec<PartitionStatus> {
    let state_word = if state.store.poisoned().is_some() { "poisoned" } else { "online" };
    let of_row = |at: &PartitionRef| {
        let id = state.topics.owned(*at).ok()?.partition_id;
        Some(PartitionStatus {
            log_start: state.store.log_start(id).ok()?,
            end_offset: state.store.durable_end(id).ok()?,
            bytes: state.store.stored_bytes(id).ok()?,
            state: state_word,
        })
    };
    rows.iter()
        .map(|at| of_row(at).unwrap_or(PartitionStatus { state: "offline", ..PartitionStatus::default() }))
        .collect()
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
        let outcome = state.topics.act_on(image, &state.store).await;
        drop(reply.send(outcome));
    }
}
