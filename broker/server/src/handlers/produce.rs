//! Produce, in two moments. *Dispatched*: every batch is checked and has its place in its owner's order; only this is
//! awaited before the connection's next frame is parsed. *Produced*: every batch is at its topic's level; then the reply.
//!
//! `acks` 1 and all mean the same on a node without replicas; 0 wants no reply, so an error ends the connection.
//! `timeout_ms` is for replicas: the own disk answers, or the log is poisoned and answers at once.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use ouzel_broker_core::Topic;
use ouzel_protocol::batch::with_append_time;
use ouzel_protocol::native::{
    Api, ProduceReply, ProduceRequest, ProduceResult, ProduceView, StageTimings, reply_frame,
};
use ouzel_protocol::{BatchHeader, ErrorCode, LeaderEpoch, ProducerId, check_produced};
use ouzel_runtime::Instant;
use ouzel_runtime::remote_oneshot::{self, Receiver};
use ouzel_storage::PartitionHandle;

use crate::connection::Connection;
use crate::error_map;
use crate::frame_reader::Fault;
use crate::handlers::{by_shard, routes};
use crate::lanes::{AppendOutcome, AppendRow, PartitionRef, ProducePart};
use crate::owner::{self, Dispatched};
use crate::producing::{Producing, Row};
use crate::request::{Arrived, Request};
use crate::shard::ShardState;

/// Batches between the one that is appended and the one whose memory is asked for: a request's batches may go to as many
/// partitions, and none of them may be in the core's cache.
const LOOK_AHEAD: usize = 8;

/// The append time of a batch that keeps its producer's.
pub(crate) const NO_STAMP: i64 = -1;

/// A produce request between its two moments; numbers are those of the request's rows.
pub(crate) struct Pending {
    rows: Vec<PartitionRef>,
    /// What is known already: refusals.
    outcomes: Vec<Option<AppendOutcome>>,
    /// The broker's time of each batch that got it.
    stamps: Vec<i64>,
    /// Appended on this shard.
    local: (Vec<usize>, Vec<Dispatched>),
    /// On their way to other shards.
    remote: Vec<(Vec<usize>, Receiver<Vec<AppendOutcome>>)>,
}

/// Where a batch of a request goes that is dispatched at once.
pub(crate) struct Target {
    topic: Arc<Topic>,
    partition: PartitionHandle,
    epoch: LeaderEpoch,
}

impl Target {
    /// `None` where the partition is not this shard's, or not known.
    fn find(state: &ShardState, at: PartitionRef) -> Option<Self> {
        let (owned, topic) = state.topics.owned_with_topic(at).ok()?;
        if topic.config.is_log_append_time() {
            // Its batches are changed before they are appended.
            return None;
        }
        Some(Self { topic, partition: state.store.find(owned.partition_id).ok()?, epoch: owned.leader_epoch })
    }
}

/// Looks up where each batch goes; returns the bytes of all. `None` where one is not this shard's.
fn find_targets(state: &ShardState, produce: &ProduceView<'_>, targets: &mut Vec<Target>) -> Option<usize> {
    let mut bytes = 0;
    for row in produce.rows() {
        targets.push(Target::find(state, PartitionRef { topic_id: row.topic_id, partition: row.partition })?);
        bytes += row.batch.len();
    }
    Some(bytes)
}

/// Dispatches a request whose batches all belong to this shard and for which there is room: the usual case, read in place
/// and without an allocation. Gives the request back where it takes more than that; nothing has happened to it then.
///
/// # Errors
/// The body is not a produce request: the connection ends.
pub(crate) fn dispatch_at_once(
    connection: &Rc<Connection>,
    arrived: Arrived,
    body: &[u8],
) -> Result<Option<Arrived>, Fault> {
    let state = &connection.state;
    let produce = ProduceView::parse(body)?;
    let mut targets = state.targets.borrow_mut();
    let room = find_targets(state, &produce, &mut targets).and_then(|bytes| state.store.try_reserve(bytes));
    let Some(mut reservation) = room else {
        targets.clear();
        return Ok(Some(arrived));
    };
    let mut rows = connection.producing.rows();
    let mut refused: Vec<(PartitionRef, ProducerId)> = Vec::new();
    // The clock is read once for all rows: it would cost as much as a small append.
    let taken = state.shard.now();
    let mut coming = produce.rows().zip(&*targets);
    coming.by_ref().take(LOOK_AHEAD).for_each(|(row, target)| target.partition.expect_append(row.batch.len()));
    for (row, target) in produce.rows().zip(&*targets) {
        if let Some((row, target)) = coming.next() {
            target.partition.expect_append(row.batch.len());
        }
        let at = PartitionRef { topic_id: row.topic_id, partition: row.partition };
        let part = reservation.split(row.batch.len());
        let appended = check(state, &target.topic, row.batch, parse).and_then(|header| {
            owner::append_in_order(&mut refused, at, &header, || {
                owner::append_to(state, part, &target.partition, target.epoch, &header, row.batch, taken)
            })
        });
        rows.push(match appended {
            Ok((ack, outcome)) => Row { at, outcome, ack: Some(ack) },
            Err(error) => Row { at, outcome: AppendOutcome::refused(error, taken), ack: None },
        });
    }
    targets.clear();
    let appended = state.shard.now();
    rows.iter_mut().for_each(|row| row.outcome = row.outcome.appended_at(appended));
    let Arrived { header, received, mut held } = arrived;
    // The batches were copied: the body's memory is free again.
    held.body = None;
    let (acks, wants_timings) = (produce.acks, produce.timings);
    connection.producing.push(connection, Producing { header, acks, wants_timings, received, rows, held });
    Ok(None)
}

/// Dispatches any produce request; its reply follows on its own.
///
/// # Errors
/// The body is not a produce request: the connection ends.
pub(crate) async fn dispatch(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let Request { header, body, received, mut held } = request;
    let started = held.started;
    let produce = ProduceRequest::decode(body)?;
    let (acks, wants_timings) = (produce.acks, produce.timings);
    let batches = produce.partitions.into_iter().map(|row| Batch {
        at: PartitionRef { topic_id: row.topic_id, partition: row.partition },
        bytes: row.batch,
        refused: None,
    });
    let pending = dispatch_batches(&connection.state, batches.collect(), parse).await;
    if pending.remote.is_empty() {
        // Local appends have copied the batches: the body's memory is free again.
        held.body = None;
    }
    let connection = Rc::clone(connection);
    connection.state.shard.clone().spawn(async move {
        let times = (started, received);
        let Produced { rows, outcomes, committed } = produced(&connection.state, pending, times).await;
        held.committed = committed;
        if acks == 0 {
            if let Some(refused) = outcomes.iter().find(|outcome| !outcome.error.is_none()) {
                connection.fail(&Fault::Unacknowledged(refused.error));
            }
            return;
        }
        let timings = wants_timings.then(|| stage_timings(started, received, outcomes.iter()));
        let reply = ProduceReply { partitions: rows.iter().zip(&outcomes).map(result).collect(), timings };
        let frame = reply_frame(Api::Produce, header.correlation, |out| reply.encode(out));
        connection.reply(frame, held);
    });
    Ok(())
}

/// A batch as it came, on its way to being checked.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) at: PartitionRef,
    pub(crate) bytes: Bytes,
    /// Set where the request as a whole is refused.
    pub(crate) refused: Option<ErrorCode>,
}

/// What the native protocol demands of a batch.
fn parse(_topic: &Topic, batch: &[u8]) -> Result<BatchHeader, ErrorCode> {
    check_produced(batch).map_err(|error| {
        tracing::debug!(%error, "a batch was refused");
        error_map::of_batch(&error)
    })
}

/// Checks every batch and fixes its place: elsewhere in the lane to its owner, on this shard in the log itself. `parse` checks
/// what the protocol demands of a batch's bytes.
pub(crate) async fn dispatch_batches(
    state: &ShardState,
    asked: Vec<Batch>,
    parse: impl Fn(&Topic, &[u8]) -> Result<BatchHeader, ErrorCode>,
) -> Pending {
    let rows: Vec<_> = asked.iter().map(|batch| batch.at).collect();
    let routes = routes(state, rows.iter().copied()).await;
    let mut outcomes = Vec::with_capacity(rows.len());
    let mut batches = Vec::with_capacity(rows.len());
    let mut stamps = Vec::with_capacity(rows.len());
    for (Batch { at, bytes, refused }, route) in asked.into_iter().zip(&routes) {
        let route = refused.map_or(route.as_ref().map_err(|error| *error), Err);
        let checked = route.and_then(|route| {
            let header = check(state, &route.topic, &bytes, &parse)?;
            Ok(stamped(state, &route.topic, at, header, bytes))
        });
        let (batch, outcome, stamp) = match checked {
            Ok((row, stamp)) => (Some(row), None, stamp),
            Err(error) => (None, Some(AppendOutcome::refused(error, state.shard.now())), NO_STAMP),
        };
        batches.push(batch);
        outcomes.push(outcome);
        stamps.push(stamp);
    }
    let (mut local, mut remote) = ((Vec::new(), Vec::new()), Vec::new());
    for (shard, indices) in by_shard(&routes) {
        let (indices, batches): (Vec<_>, Vec<_>) =
            indices.into_iter().filter_map(|index| Some((index, batches.get_mut(index)?.take()?))).unzip();
        if batches.is_empty() {
            continue;
        }
        if shard == state.index {
            local = (indices, batches);
        } else {
            let (reply, answer) = remote_oneshot::channel();
            state.meter.hopped();
            state.peer(shard).dispatch(ProducePart { rows: batches, reply });
            remote.push((indices, answer));
        }
    }
    // Last: waiting for room here holds up nothing that goes elsewhere.
    let dispatched = owner::append(state, local.1).await;
    Pending { rows, outcomes, stamps, local: (local.0, dispatched), remote }
}

/// A checked batch, with the broker's time where its topic wants that, and the time, in milliseconds.
fn stamped(state: &ShardState, topic: &Topic, at: PartitionRef, header: BatchHeader, batch: Bytes) -> (AppendRow, i64) {
    if !topic.config.is_log_append_time() {
        return (AppendRow { at, header, batch }, NO_STAMP);
    }
    let now_ms = state.shard.wall_ms();
    let (header, batch) = with_append_time(&header, &batch, now_ms);
    (AppendRow { at, header, batch: batch.into() }, now_ms)
}

/// What the connection's shard checks of a batch, before its owner sees it.
fn check(
    state: &ShardState,
    topic: &Topic,
    batch: &[u8],
    parse: impl Fn(&Topic, &[u8]) -> Result<BatchHeader, ErrorCode>,
) -> Result<BatchHeader, ErrorCode> {
    if state.stopping.is_set() {
        return Err(ErrorCode::ShuttingDown);
    }
    if topic.is_internal() {
        return Err(ErrorCode::InvalidTopic);
    }
    if batch.len() > topic.config.message_bytes_max() as usize {
        return Err(ErrorCode::MessageTooLarge);
    }
    let header = parse(topic, batch)?;
    // Transactions need a coordinator, which this broker does not have.
    if header.is_transactional() { Err(ErrorCode::InvalidRecord) } else { Ok(header) }
}

/// A produce request after its second moment; outcomes are those of its rows.
pub(crate) struct Produced {
    pub(crate) rows: Vec<PartitionRef>,
    pub(crate) outcomes: Vec<AppendOutcome>,
    /// When the last batch was at its level.
    pub(crate) committed: Option<Instant>,
}

/// Waits until every batch is at its level or refused, and measures where the time since `started` and `received` went.
pub(crate) async fn produced(state: &ShardState, pending: Pending, times: (Instant, Instant)) -> Produced {
    let Pending { rows, mut outcomes, stamps, local: (indices, dispatched), remote } = pending;
    let has_hopped = !remote.is_empty();
    let mut place = |indices: Vec<usize>, answers: Vec<AppendOutcome>| {
        for (index, answer) in indices.into_iter().zip(answers) {
            if let Some(outcome) = outcomes.get_mut(index) {
                *outcome = Some(answer);
            }
        }
    };
    place(indices, owner::produced(state, dispatched).await);
    for (indices, answer) in remote {
        let answers = match answer.await {
            Ok(answers) => answers,
            Err(_) => vec![AppendOutcome::refused(ErrorCode::ShardUnavailable, state.shard.now()); indices.len()],
        };
        place(indices, answers);
    }
    let settled = outcomes.into_iter().map(|outcome| outcome.expect("every row was refused or appended"));
    let stamped = settled.zip(stamps).map(|(outcome, log_append_ms)| AppendOutcome { log_append_ms, ..outcome });
    let outcomes: Vec<AppendOutcome> = stamped.collect();
    let committed = state.meter.produced(times, has_hopped, outcomes.iter());
    Produced { rows, outcomes, committed }
}

/// A row of the reply.
pub(crate) fn result((at, outcome): (&PartitionRef, &AppendOutcome)) -> ProduceResult {
    ProduceResult {
        topic_id: at.topic_id,
        partition: at.partition,
        error: outcome.error,
        base_offset: outcome.base_offset,
        leader_epoch: outcome.leader_epoch,
        durability: outcome.durability,
        log_start: outcome.log_start,
    }
}

/// The stages of the slowest row: they follow one another, so they add up to the time the request took here.
pub(crate) fn stage_timings<'a>(
    started: Instant,
    received: Instant,
    outcomes: impl Iterator<Item = &'a AppendOutcome>,
) -> StageTimings {
    let micros =
        |from: Instant, to: Instant| u32::try_from(to.saturating_duration_since(from).as_micros()).unwrap_or(u32::MAX);
    let slowest = outcomes.map(|outcome| outcome.times).max_by_key(|times| times.committed);
    let (taken, appended, committed) =
        slowest.map_or((received, received, received), |times| (times.taken, times.appended, times.committed));
    StageTimings {
        received_us: micros(started, received),
        queued_us: micros(received, taken),
        appended_us: micros(taken, appended),
        committed_us: micros(appended, committed),
    }
}
