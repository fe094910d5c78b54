//! Keeps the memory of chunks inside its budget: what is written and not yet synced is synced early when the cache holds
//! nothing clean any more. Without it memory followed the size of the journal, whose files are what asks for a sync
//! otherwise. Owns the judgement and the task; eviction itself is `core.rs`. Lives on the owner shard.

use std::cmp::Reverse;
use std::rc::Rc;
use std::time::Duration;

use ouzel_runtime::ChunkLedger;

use crate::config::BLOCK;
use crate::core::Core;
use crate::error::StorageError;
use crate::flush::flush_partition;
use crate::recycle::{for_each_limited, sync_segments};

/// Eviction begins here, in quarters of the budget: the last quarter is what producers fill while a sync is under way.
const TIGHT_QUARTERS: usize = 3;
/// Flushes in flight while memory is being made.
const FLUSHES_IN_FLIGHT: usize = 4;
/// Pause where nothing could be freed: commits and replies in flight end without our help, and tell nobody here.
const RETRY: Duration = Duration::from_millis(10);

/// Whether chunks take more than they should in the long run.
pub(crate) fn is_tight(ledger: &ChunkLedger) -> bool {
    ledger.live_bytes() > ledger.budget() / 4 * TIGHT_QUARTERS
}

/// Whether `bytes` more may be promised beside what is held and already promised. Chunks that still take appends cannot
/// be freed by anybody: they must not keep producers out for ever, so half a budget is always left beside them.
pub(crate) fn has_room(ledger: &ChunkLedger, reserved: usize, bytes: usize) -> bool {
    let (live, open, budget) = (ledger.live_bytes(), ledger.open_bytes(), ledger.budget());
    let is_alone = live <= open && reserved == 0;
    is_alone || live + reserved + bytes <= budget.max(open + budget / 2)
}

/// Runs until the store stops.
pub(crate) async fn reclaimer(core: Rc<Core>) {
    while !core.is_poisoned() && !core.journal_ended.get() {
        // What is clean goes first; only if that is not enough is anything written.
        core.evict();
        core.admit();
        if !core.wants_memory() {
            core.memory_work.notified().await;
            continue;
        }
        match reclaim(&core).await {
            Ok(()) => {}
            Err(StorageError::Closing) => return,
            Err(error) => core.background_failed(error).await,
        }
        // What cannot be freed now (open chunks, bytes that replies hold) is looked at again when something is appended.
        if core.admission.has_waiting() {
            core.shard.sleep(RETRY).await;
        } else if core.wants_memory() {
            core.memory_work.notified().await;
        }
    }
}

/// Writes the biggest partitions until half of what is held is in segments, syncs, and evicts.
async fn reclaim(core: &Rc<Core>) -> Result<(), StorageError> {
    let mut biggest: Vec<_> = core
        .all()
        .iter()
        .map(|partition| {
            let partition = partition.borrow();
            (partition.flushable_bytes(), partition.id)
        })
        .filter(|(bytes, _)| *bytes >= BLOCK as u64)
        .collect();
    biggest.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let mut enough = (core.ledger.live_bytes() / 2) as u64;
    let mut flush = Vec::new();
    for (bytes, id) in biggest {
        if enough == 0 {
            break;
        }
        enough = enough.saturating_sub(bytes);
        flush.push(id);
    }
    for_each_limited(
        core,
        flush,
        FLUSHES_IN_FLIGHT,
        |core, id| async move { flush_partition(&core, id).await.map(drop) },
    )
    .await?;
    sync_segments(core).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ouzel_runtime::{ChunkLedger, TailChunk};

    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn chunks_that_nobody_can_free_keep_no_producer_out() {
        std::thread::spawn(|| {
            let ledger = Arc::new(ChunkLedger::new(64 * KIB));
            let open: Vec<_> = (0..4).map(|_| TailChunk::counted_in(32 * KIB, &ledger)).collect();
            assert!(has_room(&ledger, 0, 1000 * KIB), "the first comes in whatever it is");
            assert!(has_room(&ledger, 1, 31 * KIB));
            assert!(!has_room(&ledger, 1, 32 * KIB));
            drop(open);
            let mut full = TailChunk::counted_in(32 * KIB, &ledger);
            full.append_zeros(32 * KIB);
            assert!(has_room(&ledger, 0, 32 * KIB));
            assert!(!has_room(&ledger, 0, 33 * KIB), "a full chunk can be freed: that is waited for");
        })
        .join()
        .expect("the thread ends well");
    }
}
