//! The ledger of an owner's chunk memory on one core: what its chunks hold, whoever keeps them alive, and what waits to be used
//! again. Owns the counts; never allocates, frees or refuses. A chunk may end on
//! another core than the one that made it, so the counts are atomic; they are read and raised on their own core.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

use super::reuse;

/// Chunk memory of one owner on one core, in bytes.
#[derive(Debug)]
pub struct ChunkLedger {
    /// The thread that makes the chunks.
    home: ThreadId,
    /// What all of it should stay within.
    budget: AtomicUsize,
    /// Chunks that somebody still holds: their owner, or a slice on its way out.
    live: AtomicUsize,
    /// Of these, chunks that still take appends.
    open: AtomicUsize,
    /// Memory kept to be used again.
    kept: AtomicUsize,
}

/// The ledger of the calling thread: a chunk that is made for nobody else's is counted there until its last slice is gone.
#[must_use]
pub fn chunk_ledger() -> Arc<ChunkLedger> {
    reuse::ledger()
}

impl ChunkLedger {
    /// An empty ledger with a budget in bytes, for chunks that the calling thread makes.
    #[must_use]
    pub fn new(budget: usize) -> Self {
        Self {
            home: thread::current().id(),
            budget: AtomicUsize::new(budget),
            live: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
        }
    }

    /// Sets what chunks and memory kept for them should stay within, in bytes.
    pub fn set_budget(&self, bytes: usize) {
        self.budget.store(bytes, Ordering::Relaxed);
    }

    /// The budget, in bytes.
    #[must_use]
    pub fn budget(&self) -> usize {
        self.budget.load(Ordering::Relaxed)
    }

    /// Bytes of all chunks that somebody still holds.
    #[must_use]
    pub fn live_bytes(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Bytes of those chunks that are not full: memory that nothing can give back, because more is to come.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Bytes of memory kept to be used again.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether the calling thread is the one that makes the chunks.
    pub(super) fn is_at_home(&self) -> bool {
        self.home == thread::current().id()
    }

    /// A chunk of `capacity` bytes takes appends from now on.
    pub(super) fn opened(&self, capacity: usize) {
        self.open.fetch_add(capacity, Ordering::Relaxed);
    }

    /// A chunk of `capacity` bytes is full, or goes before it is.
    pub(super) fn closed(&self, capacity: usize) {
        self.open.fetch_sub(capacity, Ordering::Relaxed);
    }

    pub(super) fn made(&self, bytes: usize) {
        self.live.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn gone(&self, bytes: usize) {
        self.live.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn kept(&self, bytes: usize) {
        self.kept.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn kept_no_more(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes beyond the budget if `more` were added.
    pub(super) fn excess(&self, more: usize) -> usize {
        (self.live_bytes() + self.kept_bytes() + more).saturating_sub(self.budget())
    }
}
