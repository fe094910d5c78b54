//! What one shard's storage measures beside its counters: how long the journal takes, how much a commit holds, and where
//! reads are answered from. Owns plain cells of the owner shard, which recording changes and nothing else; what leaves the
//! shard is a copy. No clock is read here.

use std::cell::Cell;

use ouzel_runtime::{Histogram, HistogramCounts};

/// The cells of one shard.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Batches of each commit that has any.
    pub(crate) commit_batches: Histogram,
    /// From the moment a commit is put together until it is written.
    pub(crate) journal_write: Histogram,
    /// One fdatasync of the journal.
    pub(crate) journal_sync: Histogram,
    reads_memory: Cell<u64>,
    reads_disk: Cell<u64>,
}

impl Meter {
    /// A read was answered from memory.
    pub(crate) fn read_memory(&self) {
        self.reads_memory.set(self.reads_memory.get() + 1);
    }

    /// A read took the disk.
    pub(crate) fn read_disk(&self) {
        self.reads_disk.set(self.reads_disk.get() + 1);
    }

    pub(crate) fn measures(&self) -> StoreMeasures {
        StoreMeasures {
            commit_batches: self.commit_batches.counts(),
            journal_write: self.journal_write.counts(),
            journal_sync: self.journal_sync.counts(),
            reads_memory: self.reads_memory.get(),
            reads_disk: self.reads_disk.get(),
        }
    }
}

/// What one shard's storage had measured at some moment.
#[derive(Clone, Debug, Default)]
pub struct StoreMeasures {
    /// Batches of each commit that has any.
    pub commit_batches: HistogramCounts,
    /// From the moment a commit is put together until it is written.
    pub journal_write: HistogramCounts,
    /// One fdatasync of the journal.
    pub journal_sync: HistogramCounts,
    /// Reads of records that memory answered.
    pub reads_memory: u64,
    /// Reads of records that took the disk.
    pub reads_disk: u64,
}

/// What was appended to one partition since the start. A batch that its producer had sent before does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionTraffic {
    /// Bytes of batches, headers included.
    pub bytes: u64,
    /// Offsets given out, which are records.
    pub records: u64,
}
