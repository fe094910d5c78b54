//! Records for the admin server, on the owner's side: finds where to begin, reads as a fetch does, and counts the memory until
//! whoever asked has let go of it. Never waits for memory and never parks: a shard that has none to spare refuses. Lives on
//! every shard, each reading in a task of its own.

use ouzel_protocol::native::OffsetSpec;
use ouzel_protocol::{ErrorCode, Offset};
use ouzel_runtime::remote_oneshot::{Receiver, Sender};
use ouzel_runtime::sync::Permit;

use bytes::Bytes;

use crate::lanes::{PartitionRef, ReadRow};
use crate::owner;
use crate::shard::ShardState;

/// Where a reading begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadFrom {
    /// At an offset that the partition has, or at its end.
    Offset(Offset),
    /// Where the partition says.
    At(OffsetSpec),
    /// At this many offsets before the end, or at the first.
    Last(u64),
}

/// What to read of one partition.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) at: PartitionRef,
    pub(crate) from: ReadFrom,
    /// The first batch comes whatever its size.
    pub(crate) bytes_max: usize,
    pub(crate) reply: Sender<Result<ReadPart, ErrorCode>>,
    /// Ends when nothing holds the bytes any more.
    pub(crate) held: Receiver<()>,
}

/// What was read of it.
#[derive(Debug)]
pub(crate) struct ReadPart {
    pub(crate) from: Offset,
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    /// One piece or several of whole batches, the last of which may be cut.
    pub(crate) records: Vec<Bytes>,
}

/// Reads, answers, and keeps the memory counted until it is let go of.
pub(super) async fn read(state: &ShardState, reading: Reading) {
    let Reading { at, from, bytes_max, reply, held } = reading;
    if reply.is_closed() {
        return;
    }
    let (answer, permit) = match read_part(state, at, from, bytes_max).await {
        Ok((part, permit)) => (Ok(part), Some(permit)),
        Err(refusal) => (Err(refusal), None),
    };
    if reply.send(answer).is_ok() {
        // Only its end matters: nothing is ever said.
        let _ = held.await;
    }
    drop(permit);
}

async fn read_part(
    state: &ShardState,
    at: PartitionRef,
    from: ReadFrom,
    bytes_max: usize,
) -> Result<(ReadPart, Permit), ErrorCode> {
    if state.stopping.is_set() {
        return Err(ErrorCode::ShuttingDown);
    }
    let (_, topic) = state.topics.owned_with_topic(at)?;
    let offset = begin(state, at, from).await?;
    let largest = bytes_max.max(topic.config.message_bytes_max() as usize).min(state.budget.record_bytes);
    let mut permit = state.memory.records_at_once(largest).ok_or(ErrorCode::Overloaded)?;
    let row = ReadRow { at, offset, bytes_max };
    let outcome = owner::read(state, &[row], bytes_max, true).await.pop().ok_or(ErrorCode::Unknown)?;
    if !outcome.error.is_none() {
        return Err(outcome.error);
    }
    let unused = permit.count().saturating_sub(outcome.bytes());
    drop(permit.split(unused));
    let part = ReadPart {
        from: offset,
        log_start: outcome.log_start,
        high_watermark: outcome.high_watermark,
        records: outcome.records,
    };
    Ok((part, permit))
}

async fn begin(state: &ShardState, at: PartitionRef, from: ReadFrom) -> Result<Offset, ErrorCode> {
    match from {
        ReadFrom::Offset(offset) => Ok(offset),
        ReadFrom::At(spec) => found(state, at, spec).await,
        ReadFrom::Last(count) => {
            let end = found(state, at, OffsetSpec::Latest).await?;
            let log_start = found(state, at, OffsetSpec::Earliest).await?;
            Ok(Offset(end.0.saturating_sub(count)).max(log_start))
        }
    }
}

async fn found(state: &ShardState, at: PartitionRef, spec: OffsetSpec) -> Result<Offset, ErrorCode> {
    let outcome = owner::offsets(state, &[(at, spec)]).await.pop().ok_or(ErrorCode::Unknown)?;
    if outcome.error.is_none() { Ok(outcome.offset) } else { Err(outcome.error) }
}
