//! The store: one shard's storage as the broker sees it. Lives on the owner shard, `!Send`, cheap to clone.
//!
//! Start order of a node, over all its shards: `recover` once, then [`Store::create`] on every shard, then the metadata
//! record `NodeStarted` (the atomic switch to the new journals), then [`Store::begin`], then `retire_old`.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ouzel_protocol::batch::BatchHeader;
use ouzel_protocol::{Durability, Incarnation, LeaderEpoch, Offset, PartitionId, ShardIndex};
use ouzel_runtime::{ChunkLedger, Shard, SharedSlice, TailChunk, prefetch};

use crate::ack::{Ack, Appended};
use crate::admission::Reservation;
use crate::commit::commit_loop;
use crate::config::{BLOCK, PartitionConfig, SEGMENT_BYTES_LIMIT, StoreConfig};
use crate::core::{Core, StoreStats};
use crate::error::StorageError;
use crate::flush::{FLUSHERS, flush_partition, flusher};
use crate::format::commit::{ENTRY_HEADER_BYTES, EntryHeader, EntryKind};
use crate::format::producers::ProducerSnapshot;
use crate::handle::PartitionHandle;
use crate::journal::{self, Journal, JournalFile, QueuedEntry};
use crate::memory::reclaimer;
use crate::meter::{PartitionTraffic, StoreMeasures};
use crate::partition::{Partition, Phase, Segment};
use crate::read::{self, ReadPlan};
use crate::recover::journal_dir;
use crate::recycle::{carry_entry, recycler, sync_segments, write_checkpoint};
use crate::replay::RecoveredPartition;
use crate::space::space_watch;
use crate::truncate::{self, batch_refs};

pub(crate) type SharedPartition = Rc<RefCell<Partition>>;

/// A few bytes as shared memory: the prefixes of journal entries.
pub(crate) fn shared_bytes(bytes: &[u8]) -> SharedSlice {
    let mut chunk = TailChunk::with_capacity(bytes.len().max(1).next_multiple_of(BLOCK));
    chunk.append(bytes);
    chunk.slice(0..bytes.len())
}

/// One shard's storage.
#[derive(Clone)]
pub struct Store(Rc<Core>);

impl Store {
    /// Opens the storage of one shard for a new start of the node: a fresh journal directory that holds the tails of
    /// the recovered partitions, and its first checkpoint, all synced. Nothing of earlier starts is touched, so dying
    /// before the metadata record `NodeStarted` changes nothing.
    ///
    /// # Errors
    /// What the disk said; a full disk is named as such.
    pub async fn create(
        shard: &Shard,
        data_dir: &Path,
        index: ShardIndex,
        incarnation: Incarnation,
        journal_id: u64,
        config: StoreConfig,
        partitions: Vec<(RecoveredPartition, PartitionConfig)>,
    ) -> Result<Self, StorageError> {
        config.assert_sane();
        let directory = journal_dir(data_dir, incarnation, index.0);
        let journal = Journal::new(directory, journal_id, incarnation);
        let core = Rc::new(Core::new(shard, data_dir.to_owned(), index.0, config, journal));
        for (recovered, config) in partitions {
            let mut partition = restore(core.ledger.clone(), recovered, config);
            core.rank(&mut partition);
            core.cache_changed(0, partition.cached_bytes());
            core.dirty_changed(0, partition.dirty_bytes());
            core.producers_changed(0, partition.producers.len());
            core.partitions.borrow_mut().insert(partition.id, Rc::new(RefCell::new(partition)));
        }
        core.reserve.adopt().await?;
        core.with_space(async || prepare_directories(shard, data_dir, &core.journal.directory).await).await?;
        let file = first_file(&core).await?;
        {
            let mut state = core.journal.state.borrow_mut();
            state.files_total = 1;
            state.free.push(file);
        }
        shard.spawn(commit_loop(core.clone()));
        for rank in 0..FLUSHERS {
            shard.spawn(flusher(core.clone(), rank));
        }
        shard.spawn(recycler(core.clone()));
        shard.spawn(reclaimer(core.clone()));
        core.file_system().await?;
        let store = Self(core);
        store.carry_tails().await?;
        let first = store.0.journal.before_oldest();
        write_checkpoint(&store.0, first).await?;
        sync_dir(shard, &data_dir.join("journals")).await?;
        match store.0.fill_reserve().await {
            // A state: reads and deletes go on, appends are refused.
            Err(error) if error.is_disk_full() => {}
            other => other?,
        }
        shard.spawn(space_watch(store.0.clone()));
        Ok(store)
    }

    /// Journals every recovered tail into the new journal.
    async fn carry_tails(&self) -> Result<(), StorageError> {
        let mut waits = Vec::new();
        for handle in self.0.all() {
            let entry = {
                let partition = handle.borrow();
                let Some(carry) = partition.carry() else { continue };
                carry_entry(&handle, &partition, carry)
            };
            let (sender, receiver) = ouzel_runtime::sync::oneshot::channel();
            self.0.journal.enqueue(QueuedEntry { done: Some(sender), ..entry });
            waits.push(receiver);
        }
        for wait in waits {
            wait.await.map_err(|_| self.0.poisoned().unwrap_or(StorageError::Closing))?;
        }
        Ok(())
    }

    pub(crate) fn core(&self) -> &Rc<Core> {
        &self.0
    }

    /// Appends are accepted from here on: the start is committed.
    pub fn begin(&self) {
        self.0.begun.set(true);
        self.0.prepare_file_if_needed();
    }

    /// Opens a partition that has no record yet. Nothing is written; its files come with its first flush.
    pub fn open_partition(&self, id: PartitionId, config: PartitionConfig) {
        self.0
            .partitions
            .borrow_mut()
            .entry(id)
            .or_insert_with(|| Rc::new(RefCell::new(Partition::new(id, config, self.0.ledger.clone()))));
    }

    /// Journals the drop, then removes the partition's files. Waiters for it wake.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`], or what the disk said.
    pub async fn drop_partition(&self, id: PartitionId) -> Result<(), StorageError> {
        truncate::drop_partition(self, id).await
    }

    /// Changes a partition's settings from the next append on.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn set_config(&self, id: PartitionId, config: PartitionConfig) -> Result<(), StorageError> {
        self.0.partition(id)?.borrow_mut().config = config;
        Ok(())
    }

    /// Waits, first come first served, until `bytes` fit the dirty budget and the journal. This is where producers are
    /// slowed. Cancel-safe.
    ///
    /// # Errors
    /// [`StorageError::DiskFull`] (retriable), [`StorageError::BatchTooLarge`], poison, closing.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, StorageError> {
        let core = &self.0;
        let limit = core.config.batch_bytes_max();
        if bytes > limit {
            return Err(StorageError::BatchTooLarge { bytes, limit });
        }
        core.admission
            .reserve(
                bytes,
                |reserved, bytes| {
                    let room = core.has_room(reserved, bytes);
                    if !room {
                        core.relieve();
                    }
                    room
                },
                || self.refusal(),
            )
            .await
    }

    /// As [`reserve`](Self::reserve), for several batches of `bytes` in all, where that takes no waiting; else `None`, also
    /// where it would be refused.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        if self.refusal().is_some() || bytes > self.0.config.batch_bytes_max() {
            return None;
        }
        self.0.admission.try_reserve(bytes, |reserved, bytes| self.0.has_room(reserved, bytes))
    }

    /// Whether an append would be refused now: the log is poisoned, the disk is full, or the store is closing.
    pub fn refuses_appends(&self) -> bool {
        self.refusal().is_some()
    }

    fn refusal(&self) -> Option<StorageError> {
        if let Some(error) = self.0.poisoned() {
            return Some(error);
        }
        if self.0.stopping.get() || !self.0.begun.get() {
            return Some(StorageError::Closing);
        }
        self.0.disk_full.get().then(|| StorageError::DiskFull { path: self.0.data_dir.clone() })
    }

    /// Appends one checked batch. Synchronous: its offset and its order are fixed when this returns (*dispatched*); the
    /// returned future says when it is acknowledged (*produced*). `header` is the batch's own. A batch of an idempotent
    /// producer that is in the log already is not appended again: its first place is returned, and the future waits for that.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`], [`StorageError::BatchTooLarge`], [`StorageError::OutOfOrderSequence`],
    /// [`StorageError::DuplicateSequence`], [`StorageError::ProducerFenced`], poison, closing; nothing was appended then.
    pub fn append(
        &self,
        reservation: Reservation,
        id: PartitionId,
        epoch: LeaderEpoch,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Appended, StorageError> {
        self.append_to(reservation, &self.find(id)?, epoch, header, batch)
    }

    /// The open partition `id`. Its memory is asked for: a caller with several looks all of them up first.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn find(&self, id: PartitionId) -> Result<PartitionHandle, StorageError> {
        let handle = self.0.partition(id)?;
        prefetch(&*handle);
        Ok(PartitionHandle(handle))
    }

    /// [`append`](Self::append), where the partition has been looked up.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_to(
        &self,
        reservation: Reservation,
        partition: &PartitionHandle,
        epoch: LeaderEpoch,
        header: &BatchHeader,
        batch: &[u8],
    ) -> Result<Appended, StorageError> {
        let core = &self.0;
        if let Some(error) = self.refusal() {
            return Err(error);
        }
        debug_assert!(reservation.bytes() >= batch.len());
        let handle = partition.0.clone();
        let (placed, entry_header, durability, flush_interval_ms, log_start) = {
            let mut partition = handle.borrow_mut();
            let limit = (partition.config.batch_bytes_max as usize).min(core.config.batch_bytes_max());
            if batch.len() > limit {
                return Err(StorageError::BatchTooLarge { bytes: batch.len(), limit });
            }
            let id = partition.id;
            if partition.phase != Phase::Open {
                return Err(StorageError::UnknownPartition { partition: id });
            }
            if let Some(first) = core.admit_producer(&mut partition, header)? {
                let durability = partition.config.durability;
                let ack = Ack { core: core.clone(), index: first.journal_index, durability };
                let log_start = partition.log_start;
                return Ok(Appended {
                    base_offset: first.base_offset,
                    last_offset: first.last_offset(),
                    log_start,
                    ack,
                });
            }
            let (dirty, cached) = (partition.dirty_bytes(), partition.cached_bytes());
            let segment_bytes = partition.config.segment_bytes.min(SEGMENT_BYTES_LIMIT);
            partition.chunk_bytes_max = core.chunk_bytes_max();
            let placed = partition.append(header, batch, epoch, segment_bytes);
            partition.traffic.bytes += batch.len() as u64;
            partition.traffic.records += placed.end_offset.0 - placed.base_offset.0;
            core.dirty_changed(dirty, partition.dirty_bytes());
            core.cache_changed(cached, partition.cached_bytes());
            let entry_header = EntryHeader {
                kind: EntryKind::Data,
                first_fragment: true,
                last_fragment: true,
                partition: id,
                base_offset: placed.base_offset,
                end_offset: placed.end_offset,
                segment_base: placed.segment_base,
                position: placed.position,
                ownership_epoch: partition.ownership_epoch,
                leader_epoch: epoch,
            };
            let PartitionConfig { durability, flush_interval_ms, .. } = partition.config;
            (placed, entry_header, durability, flush_interval_ms, partition.log_start)
        };
        reservation.spend();
        let index = core.journal.enqueue(QueuedEntry {
            header: entry_header,
            partition: handle,
            parts: placed.parts,
            payload_bytes: batch.len(),
            end: placed.end,
            sync_within_ms: match durability {
                Durability::Disk => None,
                Durability::Written => Some(flush_interval_ms),
            },
            done: None,
        });
        core.evict();
        let ack = Ack { core: core.clone(), index, durability };
        Ok(Appended { base_offset: placed.base_offset, last_offset: Offset(placed.end_offset.0 - 1), log_start, ack })
    }

    /// The directory that everything durable lies in.
    pub fn data_dir(&self) -> &Path {
        &self.0.data_dir
    }

    /// The offset the next batch gets.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn end_offset(&self, id: PartitionId) -> Result<Offset, StorageError> {
        Ok(self.0.partition(id)?.borrow().end_offset)
    }

    /// Offset after the last durable record: readers never see beyond it, at either durability level (rule J10).
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn durable_end(&self, id: PartitionId) -> Result<Offset, StorageError> {
        Ok(self.0.partition(id)?.borrow().durable_end)
    }

    /// The highest timestamp of any record, in milliseconds since 1970; `None` where there is none.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn max_timestamp(&self, id: PartitionId) -> Result<Option<i64>, StorageError> {
        let handle = self.0.partition(id)?;
        let partition = handle.borrow();
        Ok(partition.segments.iter().filter(|segment| segment.end > segment.start).map(|s| s.max_timestamp).max())
    }

    /// First offset kept.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn log_start(&self, id: PartitionId) -> Result<Offset, StorageError> {
        Ok(self.0.partition(id)?.borrow().log_start)
    }

    /// What the partition remembers of its idempotent producers, as far as it is durable.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn producers(&self, id: PartitionId) -> Result<ProducerSnapshot, StorageError> {
        let handle = self.0.partition(id)?;
        let partition = handle.borrow();
        Ok(partition.producers.snapshot(partition.durable_end, self.0.shard.wall_ms(), self.0.config.producers))
    }

    /// Stored bytes of the partition.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn stored_bytes(&self, id: PartitionId) -> Result<u64, StorageError> {
        Ok(self.0.partition(id)?.borrow().stored_bytes())
    }

    /// What was appended to the partition since the start.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub fn traffic(&self, id: PartitionId) -> Result<PartitionTraffic, StorageError> {
        Ok(self.0.partition(id)?.borrow().traffic)
    }

    /// Whether the partition is open here.
    pub fn has_partition(&self, id: PartitionId) -> bool {
        self.0.partitions.borrow().contains_key(&id)
    }

    /// Appends to `pieces` what the tail in memory has of a read of up to `bytes_max` bytes from offset `from`: whole
    /// batches in order. False, and nothing appended, where it takes the disk. With `at_least_one` the first batch comes
    /// whatever its size.
    ///
    /// # Errors
    /// [`StorageError::OffsetOutOfRange`], [`StorageError::UnknownPartition`].
    pub fn read_cached(
        &self,
        id: PartitionId,
        from: Offset,
        bytes_max: usize,
        at_least_one: bool,
        pieces: &mut Vec<SharedSlice>,
    ) -> Result<bool, StorageError> {
        let handle = self.0.partition(id)?;
        let partition = handle.borrow();
        read::check_range(&partition, from)?;
        if from == partition.durable_end {
            return Ok(true);
        }
        let is_cached = partition.cached_from(from, bytes_max, at_least_one, pieces).is_some();
        if is_cached {
            self.0.meter.read_memory();
        }
        Ok(is_cached)
    }

    /// Decides what a read of up to `bytes_max` bytes from offset `from` will do. No I/O, no wait.
    /// With `at_least_one` the first batch comes whatever its size.
    ///
    /// # Errors
    /// [`StorageError::OffsetOutOfRange`], [`StorageError::UnknownPartition`].
    pub fn plan_read(
        &self,
        id: PartitionId,
        from: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ReadPlan, StorageError> {
        read::plan(&self.0.partition(id)?.borrow(), from, bytes_max, at_least_one)
    }

    /// Executes a plan: whole batches in order, the first of which may start before the offset asked for.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if stored bytes do not prove; [`StorageError::Io`].
    pub async fn read(&self, plan: ReadPlan) -> Result<Vec<Bytes>, StorageError> {
        read::execute(&self.0, plan).await
    }

    /// Returns when the durable end lies beyond `offset`, or the partition is gone, or the store stops. Cancel-safe.
    pub async fn wait_durable(&self, id: PartitionId, offset: Offset) {
        loop {
            let Ok(handle) = self.0.partition(id) else { return };
            let moved = {
                let partition = handle.borrow();
                if partition.durable_end > offset
                    || partition.phase == Phase::Dropped
                    || self.0.is_poisoned()
                    || self.0.stopping.get()
                {
                    return;
                }
                partition.moved.clone()
            };
            moved.notified().await;
        }
    }

    /// Offset and timestamp of the first record at or after `timestamp` (milliseconds); `None` if there is none. Where that is in a
    /// batch that grows beyond 16 MiB when it is decompressed, the batch's first offset and highest timestamp.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn offset_for_timestamp(
        &self,
        id: PartitionId,
        timestamp: i64,
    ) -> Result<Option<(Offset, i64)>, StorageError> {
        read::offset_for_timestamp(&self.0, id, timestamp).await
    }

    /// Cuts the log so that no record at or after `to` is left; a batch that holds `to` goes whole. Returns the new end
    /// offset. Durable when it returns; appends and flushes of the partition wait meanwhile.
    ///
    /// # Errors
    /// [`StorageError::OffsetOutOfRange`] if `to` lies below the log start or beyond the end; what the disk said.
    pub async fn truncate(&self, id: PartitionId, to: Offset) -> Result<Offset, StorageError> {
        truncate::truncate(self, id, to).await
    }

    /// Raises the log start and removes segments wholly below it. Durable when it returns. Returns the log start.
    ///
    /// # Errors
    /// [`StorageError::OffsetOutOfRange`] beyond the durable end; what the disk said.
    pub async fn advance_log_start(&self, id: PartitionId, to: Offset) -> Result<Offset, StorageError> {
        truncate::advance_log_start(self, id, to).await
    }

    /// Whether somebody appends: a commit with batches in it was written within the last `window`.
    pub fn committed_within(&self, window: Duration) -> bool {
        let core = &self.0;
        core.committed_at.get().is_some_and(|at| core.shard.now() <= at + window)
    }

    /// Counters and levels.
    pub fn stats(&self) -> StoreStats {
        self.0.stats()
    }

    /// What was measured since the start.
    pub fn measures(&self) -> StoreMeasures {
        self.0.meter.measures()
    }

    /// Chunk memory that the cache has let go and replies on their way out still hold, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.0.ledger.live_bytes().saturating_sub(self.0.cache_bytes.get())
    }

    /// Sets what chunks may take from now on, in bytes; never less than half of `cache_bytes_max`.
    pub fn set_memory_budget(&self, bytes: usize) {
        let most = self.0.config.cache_bytes_max;
        self.0.ledger.set_budget(bytes.clamp(most / 2, most));
    }

    /// Why the log accepts nothing any more, if so.
    pub fn poisoned(&self) -> Option<StorageError> {
        self.0.poisoned()
    }

    /// Graceful stop: no more appends; what was appended is made durable and answered, large tails go to segments, the
    /// journal is sealed and a checkpoint written. Without this, recovery has more to do, nothing else.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn close(&self) -> Result<(), StorageError> {
        let core = &self.0;
        core.stopping.set(true);
        core.wake_everyone();
        while !core.journal_ended.get() {
            core.ended.notified().await;
        }
        if let Some(error) = core.poisoned() {
            return Err(error);
        }
        for handle in core.all() {
            let (id, flushable) = {
                let partition = handle.borrow();
                (partition.id, partition.flushable_bytes())
            };
            if flushable >= crate::config::CARRY_BYTES_MAX as u64 {
                flush_partition(core, id).await?;
            }
        }
        sync_segments(core).await?;
        write_checkpoint(core, core.journal.before_oldest()).await
    }
}

/// The first file of a journal: at a full disk one that is just large enough for what was recovered and a few commits.
async fn first_file(core: &Core) -> Result<JournalFile, StorageError> {
    let directory = &core.journal.directory;
    match journal::create_file(&core.shard, directory, 0, core.config.journal_file_bytes).await {
        Err(error) if error.is_disk_full() => core.set_disk_full(true),
        other => return other,
    }
    let entries = core.all().len() as u64 * (BLOCK + ENTRY_HEADER_BYTES) as u64;
    let tails = ((core.dirty_bytes.get() + entries) as f64 / core.config.journal_yield()) as u64;
    let bytes = (tails + core.spare_journal_bytes()).next_multiple_of(BLOCK as u64);
    let made = core.with_space(async || journal::create_file(&core.shard, directory, 0, bytes).await).await;
    if made.as_ref().is_err_and(StorageError::is_disk_full) {
        // Nobody believes this journal: what it takes of a full disk, the next start may need.
        let _ = core.shard.fs().remove_dir_all(directory).await;
    }
    made
}

async fn sync_dir(shard: &Shard, path: &Path) -> Result<(), StorageError> {
    shard.fs().sync_dir(path).await.map_err(|error| StorageError::io("sync directory", path, error))
}

async fn prepare_directories(shard: &Shard, data_dir: &Path, journal: &Path) -> Result<(), StorageError> {
    let fs = shard.fs();
    // A start that died before it was committed may have left this directory; nothing in it counts.
    match fs.remove_dir_all(journal).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StorageError::io("remove stale journal", journal, error));
        }
        _ => {}
    }
    for directory in [&data_dir.join("journals"), &data_dir.join("partitions"), journal] {
        fs.create_dir_all(directory).await.map_err(|error| StorageError::io("create directory", directory, error))?;
    }
    sync_dir(shard, data_dir).await?;
    sync_dir(shard, &data_dir.join("journals")).await
}

/// Puts a recovered partition back into memory, ready for appends.
fn restore(ledger: Arc<ChunkLedger>, recovered: RecoveredPartition, config: PartitionConfig) -> Partition {
    let mut partition = Partition::new(recovered.id, config, ledger);
    partition.ownership_epoch = recovered.ownership_epoch;
    partition.leader_epoch = recovered.leader_epoch;
    partition.log_start = recovered.log_start;
    let mut segments = VecDeque::new();
    let mut position = 0;
    for segment in &recovered.segments {
        let start = position;
        position += segment.bytes;
        segments.push_back(Segment {
            base: segment.base,
            start,
            end: position,
            end_offset: segment.end_offset,
            max_timestamp: segment.max_timestamp,
        });
    }
    if let Some(last) = segments.back_mut() {
        last.end += recovered.tail.len() as u64;
    }
    partition.reset_to(segments, position, recovered.end_offset);
    let refs = batch_refs(&recovered.tail, recovered.tail_first_batch, position);
    partition.restore_tail(&recovered.tail, refs.into_iter());
    partition.durable = partition.appended;
    partition.producers = recovered.producers;
    partition
}
