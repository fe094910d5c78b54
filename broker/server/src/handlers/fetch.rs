//! Fetch with long poll. Reads what is visible; when that is less than the client waits for, parks at the owners and
//! reads again when something became visible. A parked fetch holds its plan, never bytes: memory for records is taken
//! for the reading only, and kept until the reply is sent.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use ouzel_protocol::native::limits::FETCH_BYTES_MAX;
use ouzel_protocol::native::{FetchReply, FetchRequest, FetchResult, FetchRow, FetchView, append_fetch_reply};
use ouzel_protocol::{ErrorCode, Offset, ShardIndex};
use ouzel_runtime::sync::Permit;
use ouzel_runtime::{Instant, SharedSlice};

use crate::connection::Connection;
use crate::frame_reader::Fault;
use crate::handlers::{by_shard, routes};
use crate::lanes::{PartitionRef, ReadOutcome, ReadRow, ShardRequest};
use crate::limits;
use crate::request::{Arrived, Request};
use crate::shard::ShardState;
use crate::topic_table::Route;
use crate::{join, owner};

/// What a fetch has gathered for its reply.
#[derive(Default)]
pub(crate) struct Gathered {
    rows: Vec<FetchRow>,
    pieces: Vec<SharedSlice>,
}

/// Answers a fetch all of whose records lie in this shard's memory, and that is worth an answer now. Gives it back else.
///
/// # Errors
/// The body is not a fetch request: the connection ends.
pub(crate) fn answer_at_once(
    connection: &Rc<Connection>,
    arrived: Arrived,
    body: &[u8],
) -> Result<Option<Arrived>, Fault> {
    let state = &connection.state;
    let fetch = FetchView::parse(body)?;
    let mut largest = 0;
    for row in fetch.rows() {
        match state.topics.route(PartitionRef { topic_id: row.topic_id, partition: row.partition }) {
            Ok(route) if route.shard == state.index => {
                largest = largest.max(route.topic.config.message_bytes_max() as usize);
            }
            _ => return Ok(Some(arrived)),
        }
    }
    let bytes_most = bytes_most(state, fetch.max_bytes);
    let bytes_min = (fetch.min_bytes as usize).min(bytes_most);
    let bytes_max = bytes_most.min(state.memory.record_bytes_fair().max(bytes_min));
    let memory = bytes_max.max(largest.min(state.budget.record_bytes));
    let Some(of_connection) = connection.response_bytes.try_acquire(memory.min(limits::CONNECTION_RESPONSE_BYTES_MAX))
    else {
        return Ok(Some(arrived));
    };
    let Some(of_shard) = state.memory.records_at_once(memory) else { return Ok(Some(arrived)) };
    let mut gathered = state.gathered.borrow_mut();
    let used = gathered.gather(state, &fetch, bytes_max);
    let is_worth_it =
        |used| used >= bytes_min || fetch.max_wait_ms == 0 || gathered.rows.iter().any(|row| !row.error.is_none());
    let Some(used) = used.filter(|used| is_worth_it(*used)) else {
        gathered.clear();
        return Ok(Some(arrived));
    };
    let Arrived { header, mut held, .. } = arrived;
    held.body = None;
    held.records = Some(trim((of_connection, of_shard), used));
    gathered.rows.iter().for_each(|row| state.meter.read(row.topic_id, row.records_bytes));
    connection.replies.push(|out| {
        out.write(|out| append_fetch_reply(out, header.correlation, gathered.rows.iter().copied()));
        gathered.pieces.drain(..).for_each(|piece| out.share(piece));
        held
    });
    gathered.clear();
    Ok(None)
}

impl Gathered {
    fn clear(&mut self) {
        self.rows.clear();
        self.pieces.clear();
    }

    /// Gathers rows in order until `bytes_max` is used up. Returns the bytes; `None` where the disk is needed.
    fn gather(&mut self, state: &ShardState, fetch: &FetchView<'_>, bytes_max: usize) -> Option<usize> {
        let mut used = 0;
        for row in fetch.rows() {
            let at = PartitionRef { topic_id: row.topic_id, partition: row.partition };
            let left = bytes_max.saturating_sub(used).min(row.max_bytes as usize);
            let first = self.pieces.len();
            let row = ReadRow { at, offset: row.offset, bytes_max: left };
            let read = owner::read_at_once(state, &row, used == 0, &mut self.pieces)?;
            let ReadOutcome { error, high_watermark, log_start, .. } = read;
            let records_bytes = self.pieces.iter().skip(first).map(|piece| piece.len()).sum();
            used += records_bytes;
            let PartitionRef { topic_id, partition } = at;
            self.rows.push(FetchRow { topic_id, partition, error, high_watermark, log_start, records_bytes });
        }
        Some(used)
    }
}

pub(crate) async fn answer(connection: &Rc<Connection>, request: Request) -> Result<(), Fault> {
    let Request { header, body, received, mut held, .. } = request;
    let fetch = FetchRequest::decode(&body)?;
    drop(body);
    // A long poll must not keep the memory of its question.
    held.body = None;
    let rows: Vec<ReadRow> = fetch
        .partitions
        .iter()
        .map(|row| ReadRow {
            at: PartitionRef { topic_id: row.topic_id, partition: row.partition },
            offset: row.offset,
            bytes_max: row.max_bytes as usize,
        })
        .collect();
    let wanted = Wanted {
        bytes_min: fetch.min_bytes as usize,
        bytes_max: fetch.max_bytes,
        deadline: received + Duration::from_millis(fetch.max_wait_ms.min(limits::FETCH_WAIT_MS_MAX).into()),
    };
    let (outcomes, permits) = collect(connection, &rows, wanted).await;
    held.records = Some(trim(permits, outcomes.iter().map(ReadOutcome::bytes).sum()));
    let partitions = fetch.partitions.iter().zip(outcomes).map(|(row, outcome)| FetchResult {
        topic_id: row.topic_id,
        partition: row.partition,
        error: outcome.error,
        high_watermark: outcome.high_watermark,
        log_start: outcome.log_start,
        records: outcome.records,
    });
    let reply = FetchReply { partitions: partitions.collect() };
    connection.replies.push(|out| {
        reply.encode_parts(header.correlation).into_iter().for_each(|part| out.push(part));
        held
    });
    Ok(())
}

/// When a fetch is worth an answer, and what it may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) bytes_min: usize,
    pub(crate) bytes_max: u32,
    pub(crate) deadline: Instant,
}

/// Reads until that is worth an answer, or nobody waits any more. Returns the outcomes in the order of the rows, and the
/// memory that their records take, to be trimmed to what they need.
pub(crate) async fn collect<Row: AsRef<ReadRow>>(
    connection: &Connection,
    rows: &[Row],
    wanted: Wanted,
) -> (Vec<ReadOutcome>, (Permit, Permit)) {
    let (state, deadline) = (&connection.state, wanted.deadline);
    let bytes_most = bytes_most(state, wanted.bytes_max);
    let bytes_min = wanted.bytes_min.min(bytes_most);
    let mut seen = Vec::new();
    loop {
        let routes = routes(state, rows.iter().map(|row| row.as_ref().at)).await;
        let bytes_max = bytes_most.min(state.memory.record_bytes_fair().max(bytes_min));
        let permits = memory(connection, bytes_max.max(first_batch_bytes(state, &routes))).await;
        let outcomes = read(state, &routes, rows, bytes_max).await;
        let marks: Vec<Offset> = outcomes.iter().map(|outcome| outcome.high_watermark).collect();
        let is_over = state.shard.now() >= deadline || state.stopping.is_set() || connection.ended.is_set();
        // Woken without anything new: the log is poisoned or closing, and waiting on would only spin.
        let is_futile = marks == seen;
        if is_over || is_futile || is_enough(rows, &outcomes, bytes_min) {
            let read = rows.iter().map(|row| row.as_ref().at.topic_id).zip(&outcomes);
            read.for_each(|(topic_id, outcome)| state.meter.read(topic_id, outcome.bytes()));
            return (outcomes, permits);
        }
        drop((outcomes, permits));
        park(connection, &routes, rows, &marks, deadline).await;
        seen = marks;
    }
}

/// What one reply may ever hold: the client's wish within what this shard has for replies. A quarter, so that one fetch
/// does not hold up all others.
fn bytes_most(state: &ShardState, wanted: u32) -> usize {
    let mine = (state.budget.record_bytes / 4).min(limits::CONNECTION_RESPONSE_BYTES_MAX).min(FETCH_BYTES_MAX);
    (wanted as usize).min(mine)
}

/// The first batch comes whatever the limits are: what it may take where it is the largest its topic allows.
fn first_batch_bytes(state: &ShardState, routes: &[Result<Route, ErrorCode>]) -> usize {
    let largest = routes.iter().flatten().map(|route| route.topic.config.message_bytes_max() as usize).max();
    largest.unwrap_or(0).min(state.budget.record_bytes)
}

async fn memory(connection: &Connection, bytes: usize) -> (Permit, Permit) {
    let of_connection = connection.response_bytes.acquire(bytes.min(limits::CONNECTION_RESPONSE_BYTES_MAX)).await;
    let of_shard = connection.state.memory.records(bytes).await;
    (of_connection, of_shard)
}

/// Gives back what was not needed. A first batch above all memory for records goes out all the same.
pub(crate) fn trim((mut of_connection, mut of_shard): (Permit, Permit), used: usize) -> (Permit, Permit) {
    let unused = |permit: &Permit| permit.count().saturating_sub(used);
    drop((of_connection.split(unused(&of_connection)), of_shard.split(unused(&of_shard))));
    (of_connection, of_shard)
}

fn is_enough<Row: AsRef<ReadRow>>(rows: &[Row], outcomes: &[ReadOutcome], bytes_min: usize) -> bool {
    let has_error = outcomes.iter().any(|outcome| !outcome.error.is_none());
    // A partition that gives as much as it may will not give more by waiting; whole batches seldom fill it to the last byte.
    let is_full = |(row, outcome): (&Row, &ReadOutcome)| outcome.bytes() > row.as_ref().bytes_max / 2;
    has_error
        || rows.iter().zip(outcomes).any(is_full)
        || outcomes.is_empty()
        || outcomes.iter().map(ReadOutcome::bytes).sum::<usize>() >= bytes_min
}

/// Reads from each owner in turn, the one of the first row first, until `bytes_max` is used up.
async fn read<Row: AsRef<ReadRow>>(
    state: &ShardState,
    routes: &[Result<Route, ErrorCode>],
    rows: &[Row],
    bytes_max: usize,
) -> Vec<ReadOutcome> {
    let refused = |route: &Result<Route, ErrorCode>| {
        ReadOutcome::refused(route.as_ref().err().copied().unwrap_or(ErrorCode::Unknown))
    };
    let mut outcomes: Vec<ReadOutcome> = routes.iter().map(refused).collect();
    let mut used = 0;
    for (shard, indices) in by_shard(routes) {
        let rows: Vec<ReadRow> = indices.iter().filter_map(|index| rows.get(*index).map(|row| *row.as_ref())).collect();
        let (left, at_least_one) = (bytes_max.saturating_sub(used), used == 0);
        for (index, outcome) in indices.iter().zip(read_from(state, shard, rows, left, at_least_one).await) {
            used += outcome.bytes();
            if let Some(place) = outcomes.get_mut(*index) {
                *place = outcome;
            }
        }
    }
    outcomes
}

async fn read_from(
    state: &ShardState,
    shard: ShardIndex,
    rows: Vec<ReadRow>,
    bytes_max: usize,
    at_least_one: bool,
) -> Vec<ReadOutcome> {
    if shard == state.index {
        return owner::read(state, &rows, bytes_max, at_least_one).await;
    }
    state.meter.hopped();
    let (version, count) = (state.topics.version(), rows.len());
    let question = |reply| ShardRequest::Read { version, rows, bytes_max, at_least_one, reply };
    let answer = state.peer(shard).ask(question).await;
    answer.unwrap_or_else(|_| vec![ReadOutcome::refused(ErrorCode::ShardUnavailable); count])
}

/// Waits until any partition is visible beyond what was read, or until nobody waits any more.
async fn park<Row: AsRef<ReadRow>>(
    connection: &Connection,
    routes: &[Result<Route, ErrorCode>],
    rows: &[Row],
    marks: &[Offset],
    deadline: Instant,
) {
    let state = &connection.state;
    let mut waiting: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = vec![
        Box::pin(connection.ended.wait()),
        Box::pin(state.stopping.wait()),
        Box::pin(state.shard.sleep_until(deadline)),
    ];
    for (shard, indices) in by_shard(routes) {
        let beyond: Vec<(PartitionRef, Offset)> =
            indices.iter().filter_map(|index| Some((rows.get(*index)?.as_ref().at, *marks.get(*index)?))).collect();
        if shard == state.index {
            waiting.push(Box::pin(async move { owner::park(state, &beyond, deadline).await }));
        } else {
            waiting.push(Box::pin(async move {
                let version = state.topics.version();
                // A shard that is gone wakes it too: the read that follows says so.
                let _ = state.peer(shard).park(version, beyond, deadline).await;
            }));
        }
    }
    join::first(&mut waiting).await;
}
