//! Recycling: gives journal files back in the order of rule J5. Lives on the owner shard.
//!
//! For the oldest half of the used files: partitions that they pin are flushed, or carried forward where little is
//! pending (J9); their segments and side files are synced; a checkpoint says that replay starts behind the files; only
//! then are they free. Half at a time, and only once half of the budget is used: one sync of a segment then covers
//! what several files hold of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ouzel_protocol::{PartitionId, ShardIndex};
use ouzel_runtime::sync::oneshot;
use ouzel_runtime::{AlignedBuf, OpenMode};
use ouzel_runtime::{File, FileSystem};

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

/// Segments synced at once while nobody waits (rule T3): the journal's fdatasync never queues behind more.
const SYNCS_IN_FLIGHT: usize = 2;
/// Segments synced at once while producers wait for journal space: then these syncs are what everybody waits for.
const SYNCS_IN_FLIGHT_PRESSED: usize = 16;
/// Side files written at once before a sync of the file system.
const SIDES_IN_FLIGHT: usize = 16;
/// A sync of the file system that takes longer waited for other programs.
const SYNC_TOGETHER_MAX: Duration = Duration::from_millis(500);
/// How long segments are synced one by one then.
const SYNCS_APART_FOR: Duration = Duration::from_secs(60);
/// Flushes in flight while files are being recycled.
const FLUSHES_IN_FLIGHT: usize = 4;
/// The same while producers wait for journal space.
const FLUSHES_IN_FLIGHT_PRESSED: usize = 16;
/// Carries queued at once: producers' batches come between two such groups.
const CARRY_GROUP_BYTES: usize = 512 * 1024;

/// Runs until the store stops.
pub(crate) async fn recycler(core: Rc<Core>) {
    while !core.is_poisoned() && !core.journal_ended.get() {
        // At a full disk no file can be made: those there are must be free for what is still to be journaled.
        let is_full = core.disk_full.get();
        let is_due = core.journal.is_recycling_due(&core.config) || core.admission.has_waiting() || is_full;
        let Some(number) = core.journal.recycling_target(&core.config, is_full).filter(|_| is_due) else {
            core.recycle_work.notified().await;
            continue;
        };
        match recycle(&core, number).await {
            Ok(()) => {}
            Err(StorageError::Closing) => return,
            Err(error) => core.background_failed(error).await,
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
        let pinned = Pinned::by(core, number);
        if pinned.is_empty() {
            break;
        }
        let (flush_count, carry_count, begun) = (pinned.flush.len(), pinned.carry, core.shard.now());
        let since = || (core.shard.now() - begun).as_millis();
        let flushes = if core.admission.has_waiting() { FLUSHES_IN_FLIGHT_PRESSED } else { FLUSHES_IN_FLIGHT };
        for_each_limited(
            core,
            pinned.flush,
            flushes,
            |core, id| async move { flush_partition(&core, id).await.map(drop) },
        )
        .await?;
        let flushed_ms = since();
        sync_pinned(core, number).await?;
        let synced_ms = since();
        carry_forward(core, number).await?;
        let (shard, carried_ms) = (core.shard_index, since());
        tracing::debug!(shard, number, flush_count, carry_count, flushed_ms, synced_ms, carried_ms, "recycling");
        if core.all().iter().any(|partition| partition.borrow().is_pinned_by(number)) {
            // Something waits for a commit in flight or a truncation; both end without our help.
            core.shard.sleep(std::time::Duration::from_millis(1)).await;
        }
        if let Some(error) = core.poisoned() {
            return Err(error);
        }
    }
    write_checkpoint(core, number).await?;
    if !mutation::is(Mutation::RecycleBeforeCheckpoint) {
        core.journal.release(number);
    }
    core.evict();
    Ok(())
}

/// What one recycling carries at most: less than the journal keeps free for carries, or than it can still get at a full
/// disk, or it would wait for itself.
fn carry_bytes_max(core: &Core) -> usize {
    let room = if core.disk_full.get() { core.spare_journal_bytes() } else { core.carry_reserve_bytes() };
    (room as f64 * core.config.journal_yield() * 0.75) as usize
}

/// Partitions that the files to be given back pin and that no sync alone sets free.
struct Pinned {
    /// Those worth a flush; their remainders are carried afterwards.
    flush: Vec<PartitionId>,
    /// Those small enough to be carried as they are (rule J9).
    carry: usize,
}

impl Pinned {
    /// The smallest are carried, as many as fit beside the remainders of the others: a carried byte is cheap, a file
    /// that is written and synced for a few of them is not.
    fn by(core: &Rc<Core>, number: u64) -> Self {
        let mut flush = Vec::new();
        let mut small = Vec::new();
        for partition in core.all() {
            let partition = partition.borrow();
            if !partition.is_pinned_by(number) {
                continue;
            }
            let pending = (partition.appended - partition.synced) as usize;
            let in_active = partition.segments.back().is_some_and(|active| partition.synced >= active.start);
            if pending < CARRY_BYTES_MAX && in_active {
                small.push((pending, partition.id));
            } else {
                flush.push(partition.id);
            }
        }
        small.sort_unstable();
        let mut left = carry_bytes_max(core).saturating_sub(BLOCK * (flush.len() + small.len()));
        let mut carry = 0;
        for (pending, _) in &small {
            let beyond_remainder = pending.saturating_sub(BLOCK);
            if beyond_remainder > left {
                break;
            }
            left -= beyond_remainder;
            carry += 1;
        }
        flush.extend(small.iter().skip(carry).map(|(_, id)| *id));
        Self { flush, carry }
    }

    fn is_empty(&self) -> bool {
        self.flush.is_empty() && self.carry == 0
    }
}

/// Journals what files up to `number` still pin again, in the current file, and waits until that is durable.
async fn carry_forward(core: &Rc<Core>, number: u64) -> Result<(), StorageError> {
    let mut waits = Vec::new();
    let mut group_bytes = 0;
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
            // It grew since it was looked at: the next turn flushes it. Carrying it would eat what producers left free
            // for carries, and the journal would wait for itself.
            continue;
        }
        let carried = entry.payload_bytes;
        carried_bytes += carried;
        group_bytes += carried;
        let (sender, receiver) = oneshot::channel();
        core.journal.enqueue(QueuedEntry { done: Some(sender), ..entry });
        core.stats.borrow_mut().carries += 1;
        core.stats.borrow_mut().carry_bytes += carried as u64;
        waits.push(receiver);
        if group_bytes >= CARRY_GROUP_BYTES {
            all_durable(core, std::mem::take(&mut waits)).await?;
            group_bytes = 0;
        }
    }
    all_durable(core, waits).await
}

async fn all_durable(core: &Core, waits: Vec<oneshot::Receiver<u64>>) -> Result<(), StorageError> {
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
    let mut parts = carry.parts;
    parts.insert(0, crate::store::shared_bytes(&crate::replay::carried_prefix(carry.first_batch, 0)));
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
    sync_where(core, |_| true).await
}

/// As [`sync_segments`], for the partitions that files up to `number` pin: the others gather bytes until their turn.
async fn sync_pinned(core: &Rc<Core>, number: u64) -> Result<(), StorageError> {
    sync_where(core, |partition| partition.is_pinned_by(number)).await
}

async fn sync_where(core: &Rc<Core>, wanted: impl Fn(&Partition) -> bool) -> Result<(), StorageError> {
    let _one_at_a_time = core.syncing.acquire(1).await;
    // Whoever was here before may have failed, and taken along what it did not get to: nothing is safe to claim then.
    core.check_poison()?;
    let mut targets = BTreeMap::new();
    for handle in core.all() {
        let partition = handle.borrow();
        if partition.written > partition.synced && wanted(&partition) {
            targets.insert(partition.id, (handle.clone(), partition.written, partition.cuts));
        }
    }
    let dirty = core.segments.dirty(|id| targets.contains_key(&id));
    let limit = if core.admission.has_waiting() { SYNCS_IN_FLIGHT_PRESSED } else { SYNCS_IN_FLIGHT };
    core.settled(sync_all_of(core, dirty, limit).await)?;
    for (handle, written, cuts) in targets.into_values() {
        let mut partition = handle.borrow_mut();
        if partition.cuts == cuts {
            partition.sync_to(written);
            core.clean.borrow_mut().push_back(partition.id);
        }
    }
    core.flushed.notify_all();
    core.evict();
    Ok(())
}

/// Syncs segments and the directories they are in, the cheaper way. The caller holds the turn to sync.
async fn sync_all_of(core: &Rc<Core>, dirty: Vec<Rc<OpenSegment>>, limit: usize) -> Result<(), StorageError> {
    if dirty.len() > core.config.syncs_apart_max && core.shard.now() >= core.syncs_apart_until.get() {
        sync_together(core, dirty).await
    } else {
        sync_apart(core, dirty, limit).await
    }
}

/// Syncs segments one by one, and the directories they are in.
async fn sync_apart(core: &Rc<Core>, dirty: Vec<Rc<OpenSegment>>, limit: usize) -> Result<(), StorageError> {
    for_each_limited(core, dirty, limit, |core, segment: Rc<OpenSegment>| async move {
        let synced = core.with_space(async || segment.sync().await).await?;
        core.stats.borrow_mut().segment_fdatasyncs += synced;
        Ok(())
    })
    .await?;
    core.with_space(async || core.segments.sync_directories().await).await
}

/// Syncs many segments by one call for the file system they are on (docs/decisions/0010-one-sync-for-many-segments.md). It
/// waits for the dirty pages of other programs too; where those take long, segments are synced one by one for a while.
async fn sync_together(core: &Rc<Core>, dirty: Vec<Rc<OpenSegment>>) -> Result<(), StorageError> {
    let file_system = core.file_system().await?;
    let directories = core.segments.take_unsynced_directories();
    // Held until the end: a segment that counts as synced already must not be closed before it is.
    let segments = dirty.clone();
    let result = sync_file_system(core, &file_system, dirty).await;
    if result.is_err() {
        // Nothing is known to be durable: whoever tries again finds it all.
        core.segments.put_unsynced_directories(directories);
        segments.iter().for_each(|segment| segment.not_synced());
    }
    result
}

async fn sync_file_system(
    core: &Rc<Core>,
    file_system: &FileSystem,
    dirty: Vec<Rc<OpenSegment>>,
) -> Result<(), StorageError> {
    let last: Rc<RefCell<Option<File>>> = Rc::default();
    let written = last.clone();
    for_each_limited(core, dirty, SIDES_IN_FLIGHT, move |core, segment: Rc<OpenSegment>| {
        let written = written.clone();
        async move {
            if let Some(file) = core.with_space(async || segment.sync_with_file_system().await).await? {
                *written.borrow_mut() = Some(file);
            }
            Ok(())
        }
    })
    .await?;
    let Some(file) = last.take() else { return Ok(()) };
    if !mutation::is(Mutation::NoFdatasync) {
        let begun = core.shard.now();
        let failed = |stage, error| StorageError::io(stage, &core.data_dir, error);
        file_system.sync().await.map_err(|error| failed("sync file system", error))?;
        // A file system that had nothing to do may have left out the device's cache.
        file.fdatasync().await.map_err(|error| failed("fdatasync segment", error))?;
        if core.shard.now() - begun > SYNC_TOGETHER_MAX {
            core.syncs_apart_until.set(core.shard.now() + SYNCS_APART_FOR);
        }
    }
    core.stats.borrow_mut().segment_fdatasyncs += 2;
    Ok(())
}

/// Makes room in the table of open segments before another one is opened: a segment with unsynced writes cannot be closed,
/// because only the descriptor they were made through is sure to learn of their failure.
///
/// # Errors
/// What the disk said; the log is poisoned then.
pub(crate) async fn make_room_for_segment(core: &Rc<Core>) -> Result<(), StorageError> {
    if core.segments.crowding_out().is_empty() {
        return Ok(());
    }
    let _one_at_a_time = core.syncing.acquire(1).await;
    core.check_poison()?;
    // Asked again: whoever was here before may have made room.
    let crowding = core.segments.crowding_out();
    core.settled(sync_all_of(core, crowding, SYNCS_IN_FLIGHT_PRESSED).await)?;
    core.segments.shrink();
    Ok(())
}

/// Runs `work` over the items, at most `limit` at a time, and returns the first error after all have ended.
pub(crate) async fn for_each_limited<T, F>(
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
    core.check_poison()?;
    core.settled(core.with_space(async || checkpoint_after(core, number).await).await)
}

async fn checkpoint_after(core: &Rc<Core>, number: u64) -> Result<(), StorageError> {
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
            partitions: core.all().iter().map(|held| partition_checkpoint(core, &held.borrow(), number)).collect(),
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
    // Nothing is claimed by a log that was poisoned while the file was opened.
    core.check_poison()?;
    let mut image = AlignedBuf::zeroed(bytes.len());
    image[..bytes.len()].copy_from_slice(&bytes);
    let (written, _) = file.write_at(image, 0).await;
    written.map_err(|error| failed("write checkpoint", error))?;
    if !mutation::is(Mutation::NoFdatasync) {
        file.fdatasync().await.map_err(|error| failed("fdatasync checkpoint", error))?;
    }
    core.journal.checkpoint_generation.set(generation);
    core.checkpoint_bytes.set(bytes.len() as u64);
    core.ask_for_space();
    core.stats.borrow_mut().checkpoints += 1;
    Ok(())
}

fn partition_checkpoint(core: &Core, partition: &Partition, number: u64) -> PartitionCheckpoint {
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
        producers: producers_of(core, partition),
    }
}

/// The producer snapshot at the durable end: every batch below it stays, every batch from it on is replayed from the
/// journal. It need not stand at `end_offset`, which may be lower: what lies between is in the journal for certain.
fn producers_of(core: &Core, partition: &Partition) -> Vec<u8> {
    if partition.producers.is_empty() {
        return Vec::new();
    }
    let now_ms = core.shard.wall_ms();
    partition.producers.snapshot(partition.durable_end, now_ms, core.config.producers).encode()
}

/// Offset after the last batch that lies wholly in synced bytes. A batch across that boundary is in the journal, whole.
fn synced_end_offset(partition: &Partition) -> ouzel_protocol::Offset {
    partition.end_offset_at(partition.synced)
}
