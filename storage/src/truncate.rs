//! Everything that takes bytes away from a log: truncation by offset, moving the log start, dropping a partition.
//! Each is a journal entry, durable before anything later is appended to the partition (rule J6). Owner shard.
//!
//! A truncation lands on a boundary of the side file's ranges; what lies between that boundary and the cut is journaled
//! with the entry, so no range and no block is ever rewritten in place while something depends on its old content. Two
//! checkpoints frame it: one before the entry, so that replay needs nothing of the partition from before it, and one
//! after, so that the ranges behind the cut may be overwritten.

use std::rc::Rc;

use ouzel_protocol::batch::batches;
use ouzel_protocol::{Offset, PartitionId};
use ouzel_runtime::sync::oneshot;

use crate::core::Core;
use crate::error::StorageError;
use crate::flush::flush_partition;
use crate::format::check::SegmentId;
use crate::format::commit::{EntryHeader, EntryKind};
use crate::journal::QueuedEntry;
use crate::mutation::{self, Mutation};
use crate::partition::{BatchRef, Partition, Phase, Segment, Slices};
use crate::producers::ProducerState;
use crate::recycle::{sync_segments, write_checkpoint};
use crate::replay::carried_prefix;
use crate::segment::{OpenSegment, partition_dir, segment_path};
use crate::store::{SharedPartition, Store, shared_bytes};
use crate::view::SegmentView;

/// Where a truncation lands.
struct Cut {
    segment: Segment,
    /// Byte in the segment: a range boundary at or below the cut.
    boundary: u64,
    /// Stored bytes from the boundary to the cut.
    rest: Vec<u8>,
    first_batch: u64,
    end_offset: Offset,
    max_timestamp: i64,
    producers: ProducerState,
}

fn entry(kind: EntryKind, handle: &SharedPartition, partition: &Partition, parts: Slices) -> QueuedEntry {
    let payload_bytes = parts.iter().map(|part| part.len()).sum();
    QueuedEntry {
        header: EntryHeader {
            kind,
            first_fragment: true,
            last_fragment: true,
            partition: partition.id,
            base_offset: partition.end_offset,
            end_offset: partition.end_offset,
            segment_base: partition.segments.back().map_or(partition.end_offset, |segment| segment.base),
            position: 0,
            ownership_epoch: partition.ownership_epoch,
            leader_epoch: partition.leader_epoch,
        },
        partition: handle.clone(),
        parts,
        payload_bytes,
        end: u64::MAX,
        sync_within_ms: None,
        done: None,
    }
}

/// Journals one entry and waits until it is durable.
async fn journal_entry(core: &Rc<Core>, entry: QueuedEntry) -> Result<u64, StorageError> {
    if core.is_poisoned() || core.journal_ended.get() {
        // No commit will ever take it.
        return Err(core.poisoned().unwrap_or(StorageError::Closing));
    }
    let (sender, receiver) = oneshot::channel();
    core.journal.enqueue(QueuedEntry { done: Some(sender), ..entry });
    receiver.await.map_err(|_| core.poisoned().unwrap_or(StorageError::Closing))
}

/// Waits until nothing of the partition is on its way into the journal.
async fn drained(core: &Rc<Core>, handle: &SharedPartition) -> Result<(), StorageError> {
    loop {
        if let Some(error) = core.poisoned() {
            return Err(error);
        }
        let moved = {
            let partition = handle.borrow();
            if partition.durable_end == partition.end_offset {
                return Ok(());
            }
            partition.moved.clone()
        };
        moved.notified().await;
    }
}

/// See [`Store::truncate`].
pub(crate) async fn truncate(store: &Store, id: PartitionId, to: Offset) -> Result<Offset, StorageError> {
    let core = store.core();
    let handle = core.partition(id)?;
    {
        let mut partition = handle.borrow_mut();
        if to < partition.log_start || to > partition.end_offset {
            return Err(StorageError::OffsetOutOfRange {
                partition: id,
                offset: to,
                log_start: partition.log_start,
                end: partition.end_offset,
            });
        }
        if to == partition.end_offset {
            return Ok(to);
        }
        partition.phase = Phase::Truncating;
    }
    let result = truncate_fenced(core, &handle, to).await;
    let mut partition = handle.borrow_mut();
    if partition.phase == Phase::Truncating {
        partition.phase = Phase::Open;
    }
    partition.moved.notify_all();
    result
}

async fn truncate_fenced(core: &Rc<Core>, handle: &SharedPartition, to: Offset) -> Result<Offset, StorageError> {
    let id = handle.borrow().id;
    drained(core, handle).await?;
    flush_partition(core, id).await?;
    while handle.borrow().flushing {
        core.flushed.notified().await;
    }
    handle.borrow_mut().flushing = true;
    let result = cut_log(core, handle, to).await;
    handle.borrow_mut().flushing = false;
    core.flushed.notify_all();
    result
}

async fn cut_log(core: &Rc<Core>, handle: &SharedPartition, to: Offset) -> Result<Offset, StorageError> {
    sync_segments(core).await?;
    write_checkpoint(core, core.journal.before_oldest()).await?;
    let mut cut = find_cut(core, handle, to).await?;
    cut.producers = producers_at(core, handle, cut.end_offset).await?;
    let id = handle.borrow().id;
    // Opened before the entry: once that is durable, nothing may fail any more but what poisons the log.
    let open = match cut.boundary {
        0 => None,
        _ => Some(core.open_segment(SegmentId { partition: id, base: cut.segment.base }).await?),
    };
    if !mutation::is(Mutation::NoTruncateEntry) {
        let entry = {
            let partition = handle.borrow();
            let producers =
                cut.producers.snapshot(cut.end_offset, core.shard.wall_ms(), core.config.producers).encode();
            let prefix = carried_prefix(cut.first_batch, producers.len());
            let parts: Slices = [&prefix[..], &producers, &cut.rest].into_iter().map(shared_bytes).collect();
            let mut entry = entry(
                EntryKind::Truncate,
                handle,
                &partition,
                parts.into_iter().filter(|part| !part.is_empty()).collect(),
            );
            entry.header.base_offset = cut.end_offset;
            entry.header.end_offset = cut.end_offset;
            entry.header.segment_base = cut.segment.base;
            entry.header.position = cut.boundary;
            entry
        };
        journal_entry(core, entry).await?;
    }
    let removed = apply_cut(core, handle, &cut, open).await;
    while !mutation::is(Mutation::NoTruncateEntry) {
        match write_checkpoint(core, core.journal.before_oldest()).await {
            Ok(()) => break,
            // The ranges behind the cut may not be overwritten before: the partition waits for space.
            Err(error) if error.is_disk_full() => core.background_failed(error).await,
            Err(error) => {
                core.poison(error.clone());
                return Err(error);
            }
        }
    }
    for base in removed {
        core.segments.forget(id, base);
        remove_segment_files(core, SegmentId { partition: id, base }).await?;
    }
    Ok(cut.end_offset)
}

/// The last effect: memory stands where the entry says. Returns the bases of segments that are gone.
async fn apply_cut(core: &Rc<Core>, handle: &SharedPartition, cut: &Cut, open: Option<Rc<OpenSegment>>) -> Vec<Offset> {
    let id = handle.borrow().id;
    // A sync in flight would write the ranges it saw before the cut.
    let _no_sync = core.syncing.acquire(1).await;
    match open {
        Some(open) => open.truncate(cut.boundary, cut.max_timestamp),
        None => core.segments.forget(id, cut.segment.base),
    }
    let mut partition = handle.borrow_mut();
    let (dirty, cached) = (partition.dirty_bytes(), partition.cached_bytes());
    let file = partition.pinned_by().unwrap_or_else(|| core.journal.current_number());
    let mut segments = std::mem::take(&mut partition.segments);
    let removed: Vec<Offset> =
        segments.iter().map(|segment| segment.base).filter(|base| *base > cut.segment.base).collect();
    segments.retain(|segment| segment.base <= cut.segment.base);
    let start = cut.segment.start;
    let written = start + cut.boundary;
    if let Some(last) = segments.back_mut() {
        last.end = written + cut.rest.len() as u64;
        last.end_offset = cut.end_offset;
        last.max_timestamp = cut.max_timestamp;
    }
    partition.reset_to(segments, written, cut.end_offset);
    core.producers_changed(partition.producers.len(), cut.producers.len());
    partition.producers = cut.producers.clone();
    let batches = batch_refs(&cut.rest, cut.first_batch as usize, written);
    partition.restore_tail(&cut.rest, batches.into_iter());
    partition.durable = partition.appended;
    if !cut.rest.is_empty() {
        let end = partition.appended;
        partition.cover(file, end);
    }
    partition.moved.notify_all();
    core.dirty_changed(dirty, partition.dirty_bytes());
    core.cache_changed(cached, partition.cached_bytes());
    removed
}

/// The batches that start in `bytes`, whose first byte stands at log position `at`.
pub(crate) fn batch_refs(bytes: &[u8], first_batch: usize, at: u64) -> Vec<BatchRef> {
    let mut position = at + first_batch as u64;
    let mut refs = Vec::new();
    for (header, stored) in batches(bytes.get(first_batch..).unwrap_or(&[])).flatten() {
        refs.push(BatchRef {
            base_offset: header.base_offset,
            end_offset: header.end_offset(),
            position,
            bytes: stored.len() as u32,
            max_timestamp: header.max_timestamp,
        });
        position += stored.len() as u64;
    }
    refs
}

/// Finds the batch that `to` cuts into (it goes, whole) and the range boundary at or below it.
async fn find_cut(core: &Rc<Core>, handle: &SharedPartition, to: Offset) -> Result<Cut, StorageError> {
    let segment = {
        let partition = handle.borrow();
        let at = partition.segments.iter().rposition(|segment| segment.base <= to).unwrap_or(0);
        partition.segments[at].clone()
    };
    let view = SegmentView::open(core, handle, &segment).await?;
    let mut cut = (segment.end - segment.start, segment.end_offset);
    view.walk(view.floor_by_offset(to), |position, header| {
        let hit = header.end_offset() > to;
        if hit {
            cut = (position, header.base_offset);
        }
        !hit
    })
    .await?;
    let (position, end_offset) = cut;
    let boundary = view.range_boundary(position);
    let mut first_batch = position;
    view.walk(view.floor_by_position(boundary), |at, _| {
        if at >= boundary {
            first_batch = at.min(position);
        }
        at < boundary
    })
    .await?;
    let rest = view.bytes(boundary, position).await?;
    Ok(Cut {
        boundary,
        rest,
        first_batch: first_batch - boundary,
        end_offset,
        max_timestamp: segment.max_timestamp,
        producers: ProducerState::default(),
        segment,
    })
}

/// What is remembered of producers at a cut. Where the last five batches of one reach across it, those before them are
/// looked up in the log, from its first segment on: slow in proportion to the log, exact, and rare.
async fn producers_at(core: &Rc<Core>, handle: &SharedPartition, cut: Offset) -> Result<ProducerState, StorageError> {
    let (segments, known) = {
        let partition = handle.borrow();
        if let Some(producers) = partition.producers.cut_without_log(cut) {
            return Ok(producers);
        }
        let segments: Vec<Segment> = partition.segments.iter().filter(|segment| segment.base < cut).cloned().collect();
        (segments, partition.producers.clone())
    };
    let now_ms = core.shard.wall_ms();
    let mut scanned = ProducerState::default();
    for segment in &segments {
        let view = SegmentView::open(core, handle, segment).await?;
        view.walk(0, |_, header| {
            let below = header.base_offset < cut;
            if below {
                scanned.replay(header, now_ms, core.config.producers);
            }
            below
        })
        .await?;
    }
    Ok(known.cut(scanned, cut))
}

/// See [`Store::advance_log_start`].
pub(crate) async fn advance_log_start(store: &Store, id: PartitionId, to: Offset) -> Result<Offset, StorageError> {
    let core = store.core();
    let handle = core.partition(id)?;
    let entry = {
        let partition = handle.borrow();
        if to > partition.durable_end {
            return Err(StorageError::OffsetOutOfRange {
                partition: id,
                offset: to,
                log_start: partition.log_start,
                end: partition.durable_end,
            });
        }
        if to <= partition.log_start {
            return Ok(partition.log_start);
        }
        let mut entry = entry(EntryKind::LogStart, &handle, &partition, Slices::new());
        entry.header.base_offset = to;
        entry.header.end_offset = to;
        entry
    };
    journal_entry(core, entry).await?;
    let removed: Vec<Offset> = {
        let mut partition = handle.borrow_mut();
        partition.log_start = partition.log_start.max(to);
        let mut removed = Vec::new();
        // A segment goes once its every record lies below the log start and its bytes are settled in its file.
        while partition.segments.len() > 1
            && partition.segments[1].base <= partition.log_start
            && partition.segments[1].start <= partition.synced
        {
            removed.extend(partition.segments.pop_front().map(|segment| segment.base));
        }
        removed
    };
    if !removed.is_empty() {
        // Replay may still write into a segment that the last checkpoint names: its files go after one that does not.
        write_checkpoint(core, core.journal.before_oldest()).await?;
    }
    for base in removed {
        core.segments.forget_one(id, base);
        remove_segment_files(core, SegmentId { partition: id, base }).await?;
    }
    // Another move may have gone further meanwhile.
    Ok(handle.borrow().log_start)
}

/// See [`Store::drop_partition`].
pub(crate) async fn drop_partition(store: &Store, id: PartitionId) -> Result<(), StorageError> {
    let core = store.core();
    let handle = core.partition(id)?;
    let entry = {
        if let Some(error) = core.poisoned() {
            return Err(error);
        }
        let mut partition = handle.borrow_mut();
        partition.phase = Phase::Dropped;
        partition.moved.notify_all();
        entry(EntryKind::Drop, &handle, &partition, Slices::new())
    };
    journal_entry(core, entry).await?;
    while handle.borrow().flushing {
        core.flushed.notified().await;
    }
    core.partitions.borrow_mut().remove(&id);
    {
        let partition = handle.borrow();
        core.producers_changed(partition.producers.len(), 0);
        core.dirty_changed(partition.dirty_bytes(), 0);
        core.cache_changed(partition.cached_bytes(), 0);
    }
    core.segments.forget(id, Offset::ZERO);
    core.segments.forget_directory(id);
    core.flushed.notify_all();
    let directory = partition_dir(&core.data_dir, id);
    match core.shard.fs().remove_dir_all(&directory).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::io("remove partition", &directory, error))
        }
        _ => Ok(()),
    }
}

async fn remove_segment_files(core: &Rc<Core>, id: SegmentId) -> Result<(), StorageError> {
    for kind in ["segment", "check", "index"] {
        let path = segment_path(&core.data_dir, id, kind);
        match core.shard.fs().remove_file(&path).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StorageError::io("remove segment", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}
