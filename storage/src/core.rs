//! What the tasks of one shard's storage share: the partitions, the journal, the open segments, the budgets and the
//! poison. Lives on the owner shard; every method is synchronous and holds no borrow when it returns.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use ouzel_protocol::PartitionId;
use ouzel_protocol::batch::BatchHeader;
use ouzel_runtime::sync::{Notify, Semaphore};
use ouzel_runtime::{ChunkLedger, FileSystem, Instant, Shard};

use crate::admission::Admission;
use crate::config::{BLOCK, CHUNK_BYTES_MAX, CHUNK_BYTES_MIN, FLUSH_BYTES_TARGET, StoreConfig};
use crate::error::StorageError;
use crate::format::check::SegmentId;
use crate::format::producers::RememberedBatch;
use crate::journal::{self, Journal};
use crate::meter::Meter;
use crate::partition::{Partition, align_up};
use crate::producers::{Placing, Refusal, Verdict};
use crate::ranks::FlushRanks;
use crate::reserve::Reserve;
use crate::segment::{OpenSegment, SegmentFiles};

/// Below this share of the dirty budget only full pieces are flushed.
const DIRTY_SHARE_RELAXED: f64 = 0.5;

/// How long background work waits before it tries again what a full disk or a failed read prevented.
pub(crate) const RETRY_AFTER: std::time::Duration = std::time::Duration::from_millis(500);

/// Failed reads in a row that background work puts up with.
const READ_FAILURES_MAX: u32 = 10;

/// Counters of one shard's storage since its start. Sizes in bytes.
#[derive(Clone, Debug, Default)]
pub struct StoreStats {
    /// Commits written, seals included.
    pub journal_commits: u64,
    /// Bytes written into the journal, padding included.
    pub journal_bytes: u64,
    /// fdatasyncs of the journal.
    pub fdatasyncs: u64,
    /// fdatasyncs of segments and their side files.
    pub segment_fdatasyncs: u64,
    /// Journal files taken into use.
    pub wraps_files: u64,
    /// Times the journal came round: files taken beyond the first use of each.
    pub wraps: u64,
    /// Bytes written into segment files.
    pub segment_bytes: u64,
    /// Batch bytes made durable.
    pub payload_bytes: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Entries carried forward.
    pub carries: u64,
    /// Payload bytes of those entries.
    pub carry_bytes: u64,
    /// Journal files there are.
    pub journal_files: u64,
    /// Bytes of the journal that replay may need.
    pub journal_used_bytes: u64,
    /// Bytes the journal may have.
    pub journal_bytes_max: u64,
    /// Partitions that are open.
    pub partitions: u64,
    /// Appended bytes that no segment holds.
    pub dirty_bytes: u64,
    /// Memory of the tail cache.
    pub cache_bytes: u64,
    /// Share of the journal in use, 0..=1.
    pub journal_occupancy: f64,
    /// Why the log is poisoned, if it is.
    pub poisoned: Option<String>,
    /// Whether appends are refused because the disk is full.
    pub disk_full: bool,
    /// Space held on the disk for the time when it is full.
    pub reserve_bytes: u64,
}

pub(crate) struct Core {
    pub(crate) shard: Shard,
    pub(crate) data_dir: PathBuf,
    pub(crate) config: StoreConfig,
    pub(crate) shard_index: u16,
    pub(crate) partitions: RefCell<BTreeMap<PartitionId, Rc<RefCell<Partition>>>>,
    pub(crate) journal: Journal,
    pub(crate) segments: SegmentFiles,
    pub(crate) admission: Admission,
    pub(crate) stats: RefCell<StoreStats>,
    pub(crate) meter: Meter,
    /// Appends are allowed.
    pub(crate) begun: Cell<bool>,
    pub(crate) stopping: Cell<bool>,
    pub(crate) disk_full: Cell<bool>,
    pub(crate) reserve: Reserve,
    /// Size of the checkpoint written last.
    pub(crate) checkpoint_bytes: Cell<u64>,
    poison: RefCell<Option<StorageError>>,
    /// Reads that failed in background work since the last flush that went well.
    read_failures: Cell<u32>,
    /// Partitions worth a segment write.
    pub(crate) flush_queue: RefCell<VecDeque<PartitionId>>,
    flush_queued: RefCell<BTreeSet<PartitionId>>,
    /// Partitions by how much they have to flush.
    ranks: FlushRanks,
    /// Flushers look again.
    pub(crate) flush_work: Notify,
    /// A flush of some partition ended, or a segment was synced.
    pub(crate) flushed: Notify,
    pub(crate) recycle_work: Notify,
    /// Checkpoints are written one at a time.
    pub(crate) checkpointing: Semaphore,
    /// The file system that the segments are on; set when the store is created.
    file_system: RefCell<Option<Rc<FileSystem>>>,
    /// When a commit with batches in it was last written.
    pub(crate) committed_at: Cell<Option<Instant>>,
    /// Until then segments are synced one by one, however many.
    pub(crate) syncs_apart_until: Cell<Instant>,
    /// Segments are synced by one caller at a time: a second one must not take the first one's for done.
    pub(crate) syncing: Semaphore,
    /// Clean chunks in the order they were synced, for eviction.
    pub(crate) clean: RefCell<VecDeque<PartitionId>>,
    pub(crate) cache_bytes: Cell<usize>,
    /// Partitions that hold a chunk.
    pub(crate) partitions_cached: Cell<usize>,
    /// Memory of all chunks, of those too that only replies on their way out still hold.
    pub(crate) ledger: Arc<ChunkLedger>,
    /// The cache is over its budget and nothing in it is clean.
    pub(crate) memory_work: Notify,
    /// The disk is full.
    pub(crate) space_work: Notify,
    pub(crate) dirty_bytes: Cell<u64>,
    /// Idempotent producers that all partitions remember.
    pub(crate) producer_count: Cell<usize>,
    /// The commit loop has ended.
    pub(crate) journal_ended: Cell<bool>,
    pub(crate) ended: Notify,
}

impl Core {
    pub(crate) fn new(
        shard: &Shard,
        data_dir: PathBuf,
        shard_index: u16,
        config: StoreConfig,
        journal: Journal,
    ) -> Self {
        let ledger = Arc::new(ChunkLedger::new(config.cache_bytes_max));
        let segments = SegmentFiles::new(shard, &data_dir, config.segments_open_max);
        let reserve = Reserve::new(shard, &data_dir, shard_index, config.reserve_step_bytes());
        Self {
            shard: shard.clone(),
            data_dir,
            config,
            shard_index,
            partitions: RefCell::new(BTreeMap::new()),
            journal,
            segments,
            admission: Admission::new(),
            stats: RefCell::new(StoreStats::default()),
            meter: Meter::default(),
            begun: Cell::new(false),
            stopping: Cell::new(false),
            disk_full: Cell::new(false),
            reserve,
            checkpoint_bytes: Cell::new(0),
            poison: RefCell::new(None),
            read_failures: Cell::new(0),
            flush_queue: RefCell::new(VecDeque::new()),
            flush_queued: RefCell::new(BTreeSet::new()),
            ranks: FlushRanks::default(),
            flush_work: Notify::new(),
            flushed: Notify::new(),
            recycle_work: Notify::new(),
            checkpointing: Semaphore::new(1),
            file_system: RefCell::new(None),
            committed_at: Cell::new(None),
            syncs_apart_until: Cell::new(shard.now()),
            syncing: Semaphore::new(1),
            clean: RefCell::new(VecDeque::new()),
            cache_bytes: Cell::new(0),
            partitions_cached: Cell::new(0),
            ledger,
            memory_work: Notify::new(),
            space_work: Notify::new(),
            dirty_bytes: Cell::new(0),
            producer_count: Cell::new(0),
            journal_ended: Cell::new(false),
            ended: Notify::new(),
        }
    }

    /// The partition, if it is open here.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`].
    pub(crate) fn partition(&self, id: PartitionId) -> Result<Rc<RefCell<Partition>>, StorageError> {
        self.partitions.borrow().get(&id).cloned().ok_or(StorageError::UnknownPartition { partition: id })
    }

    /// The open segment, with as many bytes believed as its file holds now: a plan made earlier may know of fewer, and
    /// whoever opens it opens it for all.
    ///
    /// # Errors
    /// [`StorageError::UnknownPartition`] if the segment is gone; what the disk said.
    pub(crate) async fn open_segment(&self, id: SegmentId) -> Result<Rc<OpenSegment>, StorageError> {
        let extent = || {
            let handle = self.partition(id.partition)?;
            let partition = handle.borrow();
            let segment = partition.segments.iter().find(|segment| segment.base == id.base);
            let segment = segment.ok_or(StorageError::UnknownPartition { partition: id.partition })?;
            Ok((partition.written.clamp(segment.start, align_up(segment.end)) - segment.start, segment.max_timestamp))
        };
        self.with_space(async || self.segments.get(id, extent).await).await
    }

    /// Every partition, in order of id.
    pub(crate) fn all(&self) -> Vec<Rc<RefCell<Partition>>> {
        self.partitions.borrow().values().cloned().collect()
    }

    pub(crate) fn poisoned(&self) -> Option<StorageError> {
        self.poison.borrow().clone()
    }

    /// Nothing is written after the poison.
    ///
    /// # Errors
    /// The poison.
    pub(crate) fn check_poison(&self) -> Result<(), StorageError> {
        self.poisoned().map_or(Ok(()), Err)
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.borrow().is_some()
    }

    /// The disk failed: no acknowledgement, append, flush or checkpoint happens after this. Only a restart, which reads
    /// the disk again, cures it.
    pub(crate) fn poison(&self, error: StorageError) {
        let error = error.poison();
        if self.poison.borrow().is_some() {
            return;
        }
        tracing::error!(shard = self.shard_index, %error, "log poisoned: no append is acknowledged until a restart");
        *self.poison.borrow_mut() = Some(error);
        self.wake_everyone();
    }

    /// What a write or sync outside of the journal came to. A full disk is a state; any other failure of them poisons the
    /// log here, whoever asked for the write; a failed read is its caller's matter.
    pub(crate) fn settled<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(error) = &result {
            if error.is_disk_full() {
                self.set_disk_full(true);
            } else if matches!(error, StorageError::Io { .. }) && !error.is_read_failure() {
                self.poison(error.clone());
                return Err(error.clone().poison());
            }
        }
        result
    }

    /// Background work failed. A full disk, and a read that fails now and then, are tried again after a while; whatever
    /// else it is, and a read that keeps failing, poisons the log: the journal could never be given back.
    pub(crate) async fn background_failed(&self, error: StorageError) {
        if error.is_disk_full() {
            self.set_disk_full(true);
        } else if error.is_read_failure() && self.read_failures.get() < READ_FAILURES_MAX {
            self.read_failures.set(self.read_failures.get() + 1);
            tracing::warn!(shard = self.shard_index, %error, "moving records into segments is tried again");
        } else {
            return self.poison(error);
        }
        self.shard.sleep(RETRY_AFTER).await;
    }

    /// Background work went well.
    pub(crate) fn background_went_well(&self) {
        self.read_failures.set(0);
    }

    /// The file system that the segments are on. It is opened once: it learns of what fails from then on.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) async fn file_system(&self) -> Result<Rc<FileSystem>, StorageError> {
        if let Some(open) = self.file_system.borrow().clone() {
            return Ok(open);
        }
        let opened = self.shard.fs().file_system(&self.data_dir).await;
        let opened = Rc::new(opened.map_err(|error| StorageError::io("open data directory", &self.data_dir, error))?);
        *self.file_system.borrow_mut() = Some(opened.clone());
        Ok(opened)
    }

    pub(crate) fn wake_everyone(&self) {
        self.journal.wake_all();
        self.admission.wake_all();
        self.flush_work.notify_all();
        self.flushed.notify_all();
        self.recycle_work.notify_all();
        self.memory_work.notify_all();
        self.space_work.notify_all();
        for partition in self.all() {
            partition.borrow().moved.notify_all();
        }
    }

    pub(crate) fn journal_stopped(&self) {
        self.journal_ended.set(true);
        // Whoever waits for an entry that no commit will take learns it by the drop of its sender.
        let dropped = std::mem::take(&mut self.journal.state.borrow_mut().queue);
        drop(dropped);
        self.ended.notify_all();
        self.wake_everyone();
    }

    /// Creates the next journal file in the background if none is free and the budget allows one. A full disk is asked for
    /// none but the one small file that the commit loop cannot go on without.
    pub(crate) fn prepare_file_if_needed(self: &Rc<Self>) {
        let is_spare = self.disk_full.get();
        {
            let mut state = self.journal.state.borrow_mut();
            let is_full = state.files_total >= self.config.journal_files_max();
            let is_enough = is_spare && (!state.starved || state.spare_made);
            if state.preparing || !state.free.is_empty() || is_full || is_enough {
                return;
            }
            state.preparing = true;
            state.files_total += 1;
        }
        let core = self.clone();
        self.shard.spawn(async move {
            let bytes = if is_spare { core.spare_journal_bytes() } else { core.config.journal_file_bytes };
            let slot = core.journal.state.borrow().files_total - 1;
            let create = async || journal::create_file(&core.shard, &core.journal.directory, slot, bytes).await;
            match if is_spare { core.with_space(create).await } else { create().await } {
                Ok(file) => {
                    {
                        let mut state = core.journal.state.borrow_mut();
                        state.preparing = false;
                        state.spare_made |= is_spare;
                        state.free.push(file);
                    }
                    core.journal.space.notify_all();
                    core.admit();
                }
                Err(error) if error.is_disk_full() => {
                    // The journal goes on with the files it has; recycling gives them back.
                    tracing::warn!(shard = core.shard_index, %error, "journal keeps its present files: disk full");
                    core.journal.state.borrow_mut().files_total -= 1;
                    core.set_disk_full(true);
                    if is_spare {
                        core.shard.sleep(RETRY_AFTER).await;
                    }
                    core.journal.state.borrow_mut().preparing = false;
                    core.recycle_work.notify_all();
                    // A commit may wait for the file: it asks again.
                    core.journal.space.notify_all();
                }
                Err(error) => core.poison(error),
            }
        });
    }

    pub(crate) fn set_disk_full(&self, full: bool) {
        if self.disk_full.replace(full) != full {
            if full {
                tracing::error!(shard = self.shard_index, path = %self.data_dir.display(), "disk full: appends are refused, reads go on");
            } else {
                tracing::info!(shard = self.shard_index, "disk has space again: appends are accepted");
            }
            self.journal.state.borrow_mut().spare_made = false;
            self.space_work.notify_all();
            self.recycle_work.notify_all();
            // A commit that waits for a file may get one now.
            self.journal.space.notify_all();
            self.admission.wake_all();
        }
    }

    /// Puts a partition in the flushers' queue once.
    pub(crate) fn queue_flush(&self, partition: &Partition) {
        if !partition.flushing && self.flush_queued.borrow_mut().insert(partition.id) {
            self.flush_queue.borrow_mut().push_back(partition.id);
            self.flush_work.notify_all();
        }
    }

    pub(crate) fn next_flush(&self) -> Option<PartitionId> {
        let id = self.flush_queue.borrow_mut().pop_front()?;
        self.flush_queued.borrow_mut().remove(&id);
        Some(id)
    }

    /// Share of the dirty budget in use, 0..=1.
    pub(crate) fn dirty_share(&self) -> f64 {
        self.dirty_bytes.get() as f64 / self.config.dirty_bytes_max as f64
    }

    /// Called after each sync: wakes the flushers if pressure asks for more than full pieces.
    pub(crate) fn flush_if_ready(&self) {
        if self.dirty_share() > DIRTY_SHARE_RELAXED || self.admission.has_waiting() {
            self.queue_biggest();
        }
        if self.journal.is_recycling_due(&self.config) || (self.admission.has_waiting() && self.journal.has_full()) {
            self.recycle_work.notify_all();
        }
    }

    /// A producer waits: whatever makes room is set going.
    pub(crate) fn relieve(self: &Rc<Self>) {
        self.queue_biggest();
        self.prepare_file_if_needed();
        self.recycle_work.notify_all();
        self.memory_work.notify_all();
        self.space_work.notify_all();
    }

    /// Under memory pressure the biggest go first: one large write frees what hundreds of small ones would. Only as much
    /// is queued as brings memory back to where pressure began, because what is biggest changes.
    fn queue_biggest(&self) {
        if !self.flush_queue.borrow().is_empty() {
            return;
        }
        let relaxed = (self.config.dirty_bytes_max as f64 * DIRTY_SHARE_RELAXED) as u64;
        let wanted = self.dirty_bytes.get().saturating_sub(relaxed).max(FLUSH_BYTES_TARGET as u64);
        let mut queued = 0;
        while queued < wanted {
            let Some((id, slot)) = self.ranks.pop() else { return };
            let Ok(handle) = self.partition(id) else { continue };
            let mut partition = handle.borrow_mut();
            let flushable = partition.flushable_bytes();
            if self.ranks.settle(id, &mut partition.ranked, slot, flushable) {
                self.queue_flush(&partition);
                queued += flushable;
            }
        }
    }

    /// The partition's flushable bytes have grown.
    pub(crate) fn rank(&self, partition: &mut Partition) {
        let flushable = partition.flushable_bytes();
        self.ranks.note(partition.id, &mut partition.ranked, flushable);
    }

    /// The largest chunk that a partition should grow to: with many partitions in memory, what is not filled yet would
    /// take the cache.
    pub(crate) fn chunk_bytes_max(&self) -> usize {
        let share = self.config.cache_bytes_max / 8 / self.partitions_cached.get().max(1);
        let power = if share.is_power_of_two() { share } else { share.next_power_of_two() / 2 };
        power.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX)
    }

    /// Bytes of the journal that only carries may use: recycling re-journals at least a block's remainder of every
    /// partition that it frees files from.
    pub(crate) fn carry_reserve_bytes(&self) -> u64 {
        let remainders = self.config.remainder_bytes(self.partitions_cached.get() as u64);
        remainders.min(self.config.journal_bytes_max / 2).max(self.config.journal_file_bytes)
    }

    /// Appended or flushed: keeps the dirty total, and lets waiting producers in.
    pub(crate) fn dirty_changed(&self, before: u64, after: u64) {
        self.dirty_bytes.set(self.dirty_bytes.get() + after - before);
        if after < before {
            self.admit();
        }
    }

    /// Judges a batch that may be of an idempotent producer, and remembers it as the next entry of the journal: it must be
    /// appended then, with nothing in between. `Some`: it is in the log already.
    ///
    /// # Errors
    /// It must not be appended.
    pub(crate) fn admit_producer(
        &self,
        partition: &mut Partition,
        header: &BatchHeader,
    ) -> Result<Option<RememberedBatch>, StorageError> {
        let Some(stamp) = header.producer() else { return Ok(None) };
        let placing = Placing {
            base_offset: partition.end_offset,
            journal_index: self.journal.next_index(),
            now_ms: self.shard.wall_ms(),
            may_grow: self.producer_count.get() < self.config.producers_max,
        };
        let before = partition.producers.len();
        let verdict = partition.producers.admit(stamp, header, placing, self.config.producers);
        self.producers_changed(before, partition.producers.len());
        let (partition, producer, got) = (partition.id, stamp.id, stamp.base_sequence);
        match verdict {
            Verdict::Append => Ok(None),
            Verdict::Duplicate(batch) => Ok(Some(batch)),
            Verdict::Refused(Refusal::OutOfOrder { expected }) => {
                Err(StorageError::OutOfOrderSequence { partition, producer, expected, got })
            }
            Verdict::Refused(Refusal::TooOld { expected }) => {
                Err(StorageError::DuplicateSequence { partition, producer, expected, got })
            }
            Verdict::Refused(Refusal::Fenced { current }) => {
                Err(StorageError::ProducerFenced { partition, producer, current, got: stamp.epoch })
            }
        }
    }

    /// A partition remembers more or fewer producers.
    pub(crate) fn producers_changed(&self, before: usize, after: usize) {
        self.producer_count.set(self.producer_count.get() + after - before);
    }

    /// Lets producers in whose reservation now fits.
    pub(crate) fn admit(&self) {
        self.admission.admit(|reserved, bytes| self.has_room(reserved, bytes));
        self.ask_for_space();
    }

    /// Whether `bytes` more may be promised beside what is dirty and already promised.
    pub(crate) fn has_room(&self, reserved: usize, bytes: usize) -> bool {
        // Less than a block of each partition can never be flushed; it must not keep producers out for ever.
        let remainders = self.partitions_cached.get() * BLOCK;
        let dirty = (self.dirty_bytes.get() as usize).saturating_sub(remainders) + reserved;
        let memory = dirty == 0 || dirty + bytes <= self.config.dirty_bytes_max;
        let covered = self.dirty_bytes.get() + (reserved + bytes) as u64;
        memory
            && self.is_covered(covered)
            && crate::memory::has_room(&self.ledger, reserved, bytes)
            && self.journal.room_bytes(&self.config, self.carry_reserve_bytes()) >= (reserved + bytes) as u64
    }

    /// A partition's memory has changed.
    pub(crate) fn cache_changed(&self, before: usize, after: usize) {
        match (before, after) {
            (0, 1..) => {
                self.partitions_cached.set(self.partitions_cached.get() + 1);
                self.ask_for_space();
            }
            (1.., 0) => self.partitions_cached.set(self.partitions_cached.get() - 1),
            _ => {}
        }
        self.cache_bytes.set(self.cache_bytes.get() + after - before);
    }

    /// Whether chunks take more than they should, or than the producer who waits first can do with.
    pub(crate) fn wants_memory(&self) -> bool {
        crate::memory::is_tight(&self.ledger)
            || self.admission.front_wants(|reserved, bytes| !crate::memory::has_room(&self.ledger, reserved, bytes))
    }

    /// Evicts clean chunks while chunks take more than they should; what replies hold squeezes the cache.
    pub(crate) fn evict(&self) {
        while self.wants_memory() {
            let Some(id) = self.clean.borrow_mut().pop_front() else {
                self.memory_work.notify_all();
                return;
            };
            let Some(partition) = self.partitions.borrow().get(&id).cloned() else { continue };
            let mut partition = partition.borrow_mut();
            while self.wants_memory() {
                let before = partition.cached_bytes();
                if partition.evict_one().is_none() {
                    break;
                }
                self.cache_changed(before, partition.cached_bytes());
            }
            if partition.has_clean() {
                self.clean.borrow_mut().push_front(id);
            }
        }
    }

    pub(crate) fn stats(&self) -> StoreStats {
        let mut stats = self.stats.borrow().clone();
        stats.dirty_bytes = self.dirty_bytes.get();
        stats.cache_bytes = self.cache_bytes.get() as u64;
        stats.journal_occupancy = self.journal.occupancy(&self.config);
        stats.poisoned = self.poisoned().map(|error| error.to_string());
        stats.disk_full = self.disk_full.get();
        stats.reserve_bytes = self.reserve.held();
        stats.journal_files = self.journal.state.borrow().files_total as u64;
        stats.journal_used_bytes = self.journal.used_bytes();
        stats.journal_bytes_max = self.config.journal_bytes_max;
        stats.partitions = self.partitions.borrow().len() as u64;
        stats.wraps = stats.wraps_files / stats.journal_files.max(1);
        stats
    }
}
