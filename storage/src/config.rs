//! Settings and limits of one shard's storage, and the relations between them.
//!
//! Owns no state and reads no file: the broker fills these structs from its own configuration. Every limit of the
//! engine stands here, so that the relation between two of them can be asserted in one place.

use ouzel_protocol::Durability;

use crate::format::checkpoint::CHECKPOINT_BYTES_MAX;
use crate::format::commit::ENTRY_HEADER_BYTES;
use crate::format::producers::PRODUCER_BYTES_MAX;
use crate::producers::ProducerLimits;

/// Block of every file: alignment of O_DIRECT offsets, lengths and buffers.
pub const BLOCK: usize = ouzel_runtime::ALIGN;

/// A partition with less than this pending is carried forward in the journal instead of being flushed to its own
/// file when a journal file is recycled (rule J9).
pub const CARRY_BYTES_MAX: usize = 64 * 1024;

/// A partition with this much pending is worth a segment write of its own, whatever the pressure.
pub const FLUSH_BYTES_TARGET: usize = 512 * 1024;

/// Largest single write into a segment file.
pub const SEGMENT_WRITE_BYTES_MAX: usize = 1024 * 1024;

/// Largest tail chunk; chunks of a partition grow from one block to this as it proves busy.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// What chunks may grow to with any number of partitions in memory.
pub const CHUNK_BYTES_MIN: usize = 2 * BLOCK;

/// Largest step in which the reserve gives way: the largest segment write.
const RESERVE_STEP_BYTES_MAX: u64 = SEGMENT_WRITE_BYTES_MAX as u64;

/// See [`StoreConfig::dirty_covered_min`].
const DIRTY_COVERED_MIN: u64 = 8 * 1024 * 1024;

/// See [`StoreConfig::free_bytes_min`].
const FREE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// Blocks that each partition with records in memory may take beyond its dirty bytes: the last one of its segment, and one
/// each of its side file, its index and its directory.
pub(crate) const PARTITION_BLOCKS: u64 = 4;

/// Segments are addressed by `u32` positions in their side file.
pub const SEGMENT_BYTES_LIMIT: u64 = 2 * 1024 * 1024 * 1024;

/// Segments that a shard keeps open, where descriptors allow it. With thousands of busy partitions fewer mean many more
/// small syncs.
pub const SEGMENTS_OPEN_DEFAULT: usize = 4096;

/// Descriptors that an open segment takes: data, side file, index.
pub const SEGMENT_DESCRIPTORS: usize = 3;

/// One index slot for each this many stored bytes.
pub const INDEX_INTERVAL_BYTES: u64 = 32 * 1024;

/// Producers that one shard may be told to remember, all its partitions together.
pub const PRODUCERS_LIMIT: usize = 1024 * 1024;

/// Memory that one remembered producer takes, its share of the table included, rounded up.
const PRODUCER_MEMORY_BYTES: usize = 256;

// Half of a checkpoint is left for what else it says of partitions, among them one producer each beyond the limit.
const _: () = assert!(PRODUCERS_LIMIT * PRODUCER_BYTES_MAX <= CHECKPOINT_BYTES_MAX / 2);
const _: () = assert!(CARRY_BYTES_MAX.is_multiple_of(BLOCK) && FLUSH_BYTES_TARGET > CARRY_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES_MAX.is_multiple_of(BLOCK) && CHUNK_BYTES_MAX <= SEGMENT_WRITE_BYTES_MAX);
const _: () = assert!(SEGMENT_BYTES_LIMIT + ouzel_protocol::limits::BATCH_BYTES_MAX as u64 <= u32::MAX as u64);

/// Settings of one shard's storage. Sizes in bytes, all of this shard alone.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// All journal files of this shard together.
    pub journal_bytes_max: u64,
    /// One journal file; a multiple of [`BLOCK`], at most a quarter of `journal_bytes_max`.
    pub journal_file_bytes: u64,
    /// Largest journal commit: one aligned write.
    pub commit_bytes_max: usize,
    /// Appended bytes that are not yet in a synced segment; producers wait beyond it.
    pub dirty_bytes_max: usize,
    /// Tail cache, dirty bytes included; clean chunks are evicted beyond it.
    pub cache_bytes_max: usize,
    /// Segments kept open at once, [`SEGMENT_DESCRIPTORS`] each; at least 2.
    pub segments_open_max: usize,
    /// Segments that are synced one by one; more at once are synced by one call for their file system.
    pub syncs_apart_max: usize,
    /// How long the journal must be quiet before a seal is written (rule J4), in milliseconds.
    pub seal_after_ms: u64,
    /// Idempotent producers remembered by all partitions together; beyond it a partition forgets one of its own for each
    /// new one, unless that is its first.
    pub producers_max: usize,
    /// What one partition remembers of them.
    pub producers: ProducerLimits,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self::for_shard(256 * 1024 * 1024, 256 * 1024 * 1024)
    }
}

impl StoreConfig {
    /// Derives every size from the journal and memory budgets of one shard, both in bytes.
    pub fn for_shard(journal_bytes_max: u64, memory_bytes_max: usize) -> Self {
        let quarter = journal_bytes_max / 4 / BLOCK as u64 * BLOCK as u64;
        Self {
            journal_bytes_max,
            journal_file_bytes: quarter.min(64 * 1024 * 1024),
            commit_bytes_max: 1024 * 1024,
            dirty_bytes_max: memory_bytes_max / 2,
            cache_bytes_max: memory_bytes_max / 8 * 5,
            segments_open_max: SEGMENTS_OPEN_DEFAULT,
            syncs_apart_max: 32,
            seal_after_ms: 100,
            producers_max: (memory_bytes_max / 16 / PRODUCER_MEMORY_BYTES).min(PRODUCERS_LIMIT),
            producers: ProducerLimits::default(),
        }
    }

    /// The least share of journal bytes that entries get: the rest is padding of commits to a block, and room at the end of a
    /// file that is too short for a commit. Nearly 1 for sizes that a broker uses.
    pub(crate) fn journal_yield(&self) -> f64 {
        let commit = self.commit_bytes_max as f64;
        let file = self.journal_file_bytes as f64;
        (commit - BLOCK as f64) / commit * ((file - commit) / file)
    }

    /// Journal bytes that the remainders of so many partitions take when they are carried.
    pub(crate) fn remainder_bytes(&self, partitions: u64) -> u64 {
        let remainders = partitions * (BLOCK + ENTRY_HEADER_BYTES) as u64;
        (remainders as f64 / self.journal_yield()) as u64
    }

    /// What the reserve gives way by, and keeps for the node's other needs at a full disk: its metadata grow by as much.
    pub(crate) fn reserve_step_bytes(&self) -> u64 {
        let block = BLOCK as u64;
        (self.dirty_bytes_max as u64 / 16 / block * block).clamp(4 * block, RESERVE_STEP_BYTES_MAX)
    }

    /// Dirty bytes that the reserve always covers; it grows, by doubling, with what producers bring.
    pub(crate) fn dirty_covered_min(&self) -> u64 {
        (self.dirty_bytes_max as u64 / 4).min(self.journal_bytes_max / 4).min(DIRTY_COVERED_MIN)
    }

    /// Free space beside the reserve that ends the state of a full disk: less would soon be used up.
    pub(crate) fn free_bytes_min(&self) -> u64 {
        (self.journal_bytes_max / 4).min(FREE_BYTES_MIN)
    }

    /// Journal files this shard may own.
    pub fn journal_files_max(&self) -> usize {
        (self.journal_bytes_max / self.journal_file_bytes) as usize
    }

    /// Largest batch this shard can journal and hold: it must fit the files that are neither reserved nor being recycled.
    pub fn batch_bytes_max(&self) -> usize {
        (self.journal_bytes_max as usize / 4).min(self.dirty_bytes_max)
    }

    /// Asserts the relations that the engine relies on; a violation is a programming error of the caller.
    pub fn assert_sane(&self) {
        let block = BLOCK as u64;
        assert!(self.journal_file_bytes.is_multiple_of(block) && self.journal_files_max() >= 4, "{self:?}");
        assert!(self.commit_bytes_max.is_multiple_of(BLOCK) && self.commit_bytes_max >= 2 * BLOCK, "{self:?}");
        assert!(self.commit_bytes_max as u64 * 2 <= self.journal_file_bytes, "{self:?}");
        assert!(self.dirty_bytes_max >= self.commit_bytes_max && self.segments_open_max >= 2, "{self:?}");
        assert!(self.producers_max <= PRODUCERS_LIMIT && self.producers.partition_producers_max > 0, "{self:?}");
    }
}

/// What the owner of a partition decided about it. Changeable at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionConfig {
    /// When producers are answered.
    pub durability: Durability,
    /// At `written`: the longest time between the answer and the fdatasync, in milliseconds.
    pub flush_interval_ms: u32,
    /// A segment is rolled before a batch would take it past this, in bytes.
    pub segment_bytes: u64,
    /// Largest batch accepted, in bytes.
    pub batch_bytes_max: u32,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self {
            durability: Durability::Disk,
            flush_interval_ms: 10,
            segment_bytes: 1024 * 1024 * 1024,
            batch_bytes_max: 1_048_588,
        }
    }
}
