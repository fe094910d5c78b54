//! Recycling: gives journal files back in the order of rule J5. Lives on the owner shard.
//!
//! For the oldest full file: partitions that it pins are flushed, or carried forward where little is pending (J9);
//! segments and side files are synced; a checkpoint says that replay starts behind the file; only then is it free.

use std::cell::RefCell;
use std::rc::Rc;

use ouzel_protocol::{PartitionId, ShardIndex};
use ouzel_runtime::sync::oneshot;
use ouzel_runtime::{AlignedBuf, OpenMode};

use crate::config::{BLOCK, CARRY_BYTES_MAX};
use crate::core::Core;
use crate::error::StorageError;
use crate::flush::flush_partition;
use crate::format::checkpoint::{Checkpoint, PartitionCheckpoint, SegmentCheckpoint};
use crate::format::commit::{EntryHeader, EntryKind};
use crate::journal::QueuedEntry;
use crate::mutation::{self, Mutation};
use crate::partition::{Partition, Phase, align_up};
use crate::segment::OpenSegment;

/// Segment fdatasyncs in flight at most (rule T3): the journal's never queues behind more.
const SYNCS_IN_FLIGHT: usize = 2;
/// Flushes in flight while a file is being recycled.
const FLUSHES_IN_FLIGHT: usize = 4;

/// Runs until the store stops.
pub(crate) async fn recycler(core: Rc<Core>) {
    while !core.is_poisoned() && !core.journal_ended.get() {
        let Some(number) = core.journal.oldest_full() else {
            core.recycle_work.notified().await;
            continue;
        };
        match recycle(&core, number).await {
            Ok(()) => {}
            Err(error) if error.is_disk_full() => {
                core.set_disk_full(true);
                core.shard.sleep(std::time::Duration::from_millis(500)).await;
            }
            Err(StorageError::Closing) => return,
            Err(error) => core.poison(error),
        }
        core.admit();
    }
}

/// Makes every used file up to `number` free.
pub(crate) async fn recycle(core: &Rc<Core>, number: u64) -> Result<(), StorageError> {
    if mutation::is(Mutation::RecycleBeforeCheckpoint) {
        core.journal.release(number);
    }
    loop {
        let (flush, carry) = pinned(core, number);
        if flush.is_empty() && carry.is_empty() {
            break;
        }
        for_each_limited(core, flush, FLUSHES_IN_FLIGHT, |core, id| async move {
            flush_partition(&core, id).await.map(drop)
        })
        .await?;
        sync_segments(core).await?;
        carry_forward(core, number).await?;
        if core.all().iter().any(|partition| partition.borrow().is_pinned_by(number)) {
            // Something waits for a commit in flight or a truncation; both end without our help.
            core.shard.sleep(std::time::Duration::from_millis(1)).await;
        }
        if let Some(error) = core.poisoned() {
            return Err(error);
        }
    }
    sync_segments(core).await?;
    write_checkpoint(core, number).await?;
    if !mutation::is(Mutation::RecycleBeforeCheckpoint) {
        core.journal.release(number);
    }
    core.evict();
    Ok(())
}

/// What one turn carries at most: beyond a quarter of a file, carrying would eat what recycling gives.
fn carry_bytes_max(core: &Core) -> usize {
    core.config.journal_file_bytes as usize / 4
}

/// Partitions pinned by files up to `number`: those worth a flush, and those to carry.
fn pinned(core: &Rc<Core>, number: u64) -> (Vec<PartitionId>, Vec<PartitionId>) {
    let mut flush = Vec::new();
    let mut carry = Vec::new();
    let mut carry_bytes = 0;
    for partition in core.all() {
        let partition = partition.borrow();
        if !partition.is_pinned_by(number) {
            continue;
        }
        let pending = partition.appended.saturating_sub(partition.synced) as usize;
        let in_active = partition.segments.back().is_some_and(|active| partition.synced >= active.start);
        let cap = carry_bytes_max(core);
        let small = pending < CARRY_BYTES_MAX.min(cap / 2).max(2 * BLOCK);
        if small && in_active && carry_bytes + pending <= cap {
            carry_bytes += pending;
            carry.push(partition.id);
        } else {
            flush.push(partition.id);
        }
    }
    (flush, carry)
}

/// Journals what files up to `number` still pin again, in the current file, and waits until that is durable.
async fn carry_forward(core: &Rc<Core>, number: u64) -> Result<(), StorageError> {
    let mut waits = Vec::new();
    let mut carried_bytes = 0;
    for partition in core.all() {
        let entry = {
            let held = partition.borrow();
            if !held.is_pinned_by(number) || held.phase != Phase::Open {
                continue;
            }
            let Some(carry) = held.carry() else { continue };
            carry_entry(&partition, &held, carry)
        };
        if entry.payload_bytes > 2 * BLOCK && carried_bytes + entry.payload_bytes > carry_bytes_max(core) {
            // It grew since it was looked at: the next turn flushes it. Carrying it would eat the file that producers
            // left free for carries, and the journal would wait for itself.
            continue;
        }
        carried_bytes += entry.payload_bytes;
        let (sender, receiver) = oneshot::channel();
        core.journal.enqueue(QueuedEntry { done: Some(sender), ..entry });
        core.stats.borrow_mut().carries += 1;
        waits.push(receiver);
    }
    for wait in waits {
        if wait.await.is_err() {
            return Err(core.poisoned().unwrap_or(StorageError::Closing));
        }
    }
    Ok(())
}

/// The journal entry of a carry: 8 bytes that say where the first batch starts, then the stored bytes.
pub(crate) fn carry_entry(
    handle: &Rc<RefCell<Partition>>,
    partition: &Partition,
    carry: crate::partition::Carry,
) -> QueuedEntry {
    let mut parts = vec![crate::store::shared_bytes(&carry.first_batch.to_le_bytes())];
    parts.extend(carry.parts);
    let payload_bytes = parts.iter().map(|part| part.len()).sum();
    QueuedEntry {
        header: EntryHeader {
            kind: EntryKind::Carry,
            first_fragment: true,
            last_fragment: true,
            partition: partition.id,
            base_offset: carry.end_offset.min(partition.end_offset),
            end_offset: carry.end_offset,
            segment_base: carry.segment_base,
            position: carry.position,
            ownership_epoch: partition.ownership_epoch,
            leader_epoch: partition.leader_epoch,
        },
        partition: handle.clone(),
        parts,
        payload_bytes,
        end: carry.end,
        sync_within_ms: None,
        done: None,
    }
}

/// Makes what was written into segments durable, and moves `synced` of every partition concerned.
pub(crate) async fn sync_segments(core: &Rc<Core>) -> Result<(), StorageError> {
    let _one_at_a_time = core.syncing.acquire(1).await;
    let mut targets: Vec<(Rc<RefCell<Partition>>, u64, u64)> = Vec::new();
    for partition in core.all() {
        let (written, synced, cuts) = {
            let partition = partition.borrow();
            (partition.written, partition.synced, partition.cuts)
        };
        if written > synced {
            targets.push((partition, written, cuts));
        }
    }
    let dirty = core.segments.dirty();
    for_each_limited(core, dirty, SYNCS_IN_FLIGHT, |_, segment: Rc<OpenSegment>| async move { segment.sync().await })
        .await?;
    core.segments.sync_directories().await?;
    for (partition, written, cuts) in targets {
        let mut partition = partition.borrow_mut();
        if partition.cuts == cuts {
            partition.sync_to(written);
            core.clean.borrow_mut().push_back(partition.id);
        }
    }
    core.flushed.notify_all();
    core.evict();
    Ok(())
}

/// Runs `work` over the items, at most `limit` at a time, and returns the first error after all have ended.
async fn for_each_limited<T, F>(
    core: &Rc<Core>,
    items: Vec<T>,
    limit: usize,
    work: impl Fn(Rc<Core>, T) -> F,
) -> Result<(), StorageError>
where
    T: 'static,
    F: Future<Output = Result<(), StorageError>> + 'static,
{
    let failure: Rc<RefCell<Option<StorageError>>> = Rc::default();
    let slots = Rc::new(ouzel_runtime::sync::Semaphore::new(limit));
    for item in items {
        let permit = slots.acquire(1).await;
        let future = work(core.clone(), item);
        let failure = failure.clone();
        core.shard.spawn(async move {
            if let Err(error) = future.await {
                failure.borrow_mut().get_or_insert(error);
            }
            drop(permit);
        });
    }
    drop(slots.acquire(limit).await);
    let error = failure.borrow_mut().take();
    error.map_or(Ok(()), Err)
}

/// Writes the state of every partition into the older checkpoint slot, with replay starting behind file `number`.
pub(crate) async fn write_checkpoint(core: &Rc<Core>, number: u64) -> Result<(), StorageError> {
    let _one_at_a_time = core.checkpointing.acquire(1).await;
    let generation = core.journal.checkpoint_generation.get() + 1;
    let bytes = {
        let (replay_sequence, replay_previous_checksum) = core.journal.replay_start_after(number);
        let checkpoint = Checkpoint {
            generation,
            journal_id: core.journal.id,
            incarnation: core.journal.incarnation,
            shard: ShardIndex(core.shard_index),
            replay_sequence,
            replay_previous_checksum,
            replay_file: (number + 1).min(u64::from(u32::MAX)) as u32,
            durable_sequence: core.journal.state.borrow().durable_sequence,
            partitions: core.all().iter().map(|partition| partition_checkpoint(&partition.borrow(), number)).collect(),
        };
        checkpoint.encode().expect("a shard's checkpoint is within the format's limit")
    };
    let path = core.journal.directory.join(format!("checkpoint.{}", generation % 2));
    let failed = |stage, error| StorageError::io(stage, &path, error);
    let fs = core.shard.fs();
    let file = match fs.open(&path, OpenMode::ReadWrite).await {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let file = fs.open(&path, OpenMode::Create).await.map_err(|error| failed("create checkpoint", error))?;
            fs.sync_dir(&core.journal.directory).await.map_err(|error| failed("sync journal directory", error))?;
            file
        }
        other => other.map_err(|error| failed("open checkpoint", error))?,
    };
    let mut image = AlignedBuf::zeroed(bytes.len());
    image[..bytes.len()].copy_from_slice(&bytes);
    let (written, _) = file.write_at(image, 0).await;
    written.map_err(|error| failed("write checkpoint", error))?;
    if !mutation::is(Mutation::NoFdatasync) {
        file.fdatasync().await.map_err(|error| failed("fdatasync checkpoint", error))?;
    }
    core.journal.checkpoint_generation.set(generation);
    core.stats.borrow_mut().checkpoints += 1;
    Ok(())
}

fn partition_checkpoint(partition: &Partition, number: u64) -> PartitionCheckpoint {
    if !mutation::is(Mutation::RecycleBeforeCheckpoint) {
        assert!(!partition.is_pinned_by(number), "a file is given back only when nothing needs it");
    }
    PartitionCheckpoint {
        partition: partition.id,
        ownership_epoch: partition.ownership_epoch,
        leader_epoch: partition.leader_epoch,
        log_start: partition.log_start,
        end_offset: synced_end_offset(partition),
        replay_from: partition.replay_from,
        segments: partition
            .segments
            .iter()
            .map(|segment| SegmentCheckpoint {
                base_offset: segment.base,
                bytes: partition.synced.clamp(segment.start, align_up(segment.end)) - segment.start,
                max_timestamp: segment.max_timestamp,
                record_end_offset: if partition.synced >= segment.end {
                    segment.end_offset
                } else {
                    segment.base.max(synced_end_offset(partition))
                },
            })
            .collect(),
        producers: Vec::new(),
    }
}

/// Offset after the last batch that lies wholly in synced bytes. A batch across that boundary is in the journal, whole.
fn synced_end_offset(partition: &Partition) -> ouzel_protocol::Offset {
    partition.end_offset_at(partition.synced)
}
