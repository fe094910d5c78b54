//! Memory of chunks that are gone, kept for the next ones. Owns the free lists of one thread, inside the budget of its
//! ledger; decides nothing about how large a chunk is. Memory of a chunk that ends on another core is freed there.

use std::cell::RefCell;
use std::sync::Arc;

use super::ledger::ChunkLedger;
use crate::buf::{ALIGN, AlignedBuf};

/// Chunks of these sizes, powers of two, are kept for reuse: they come and go at the rate of the log, and fresh memory
/// costs the kernel a cleared page each 4 KiB (measured: half of a shard's CPU at 1,024 busy partitions).
const CLASSES: usize = 7;
const BYTES_LARGEST: usize = ALIGN << (CLASSES - 1);
/// The budget of a thread that was given none.
const BUDGET_DEFAULT: usize = 128 * 1024 * 1024;

struct Reused {
    /// For chunks that belong to no other ledger.
    ledger: Arc<ChunkLedger>,
    /// Memory and the ledger that counts it as kept.
    classes: [Vec<(AlignedBuf, Arc<ChunkLedger>)>; CLASSES],
}

thread_local! {
    static REUSED: RefCell<Reused> = RefCell::new(Reused {
        ledger: Arc::new(ChunkLedger::new(BUDGET_DEFAULT)),
        classes: Default::default(),
    });
}

pub(super) fn ledger() -> Arc<ChunkLedger> {
    REUSED.with_borrow(|reused| Arc::clone(&reused.ledger))
}

/// Memory of `bytes` bytes, a multiple of [`ALIGN`], counted as live in `ledger`.
pub(super) fn take(bytes: usize, ledger: &Arc<ChunkLedger>) -> AlignedBuf {
    let buf = REUSED.with_borrow_mut(|reused| reused.take(bytes, ledger));
    ledger.made(bytes);
    buf
}

/// The last holder of a chunk is gone.
pub(super) fn give_back(buf: AlignedBuf, home: &Arc<ChunkLedger>) {
    home.gone(buf.capacity());
    // A thread that is ending keeps nothing any more; the buffer is freed with the closure then.
    let _ = REUSED.try_with(move |reused| reused.borrow_mut().keep(buf, home));
}

fn class_of(bytes: usize) -> Option<usize> {
    let fits = bytes.is_power_of_two() && (ALIGN..=BYTES_LARGEST).contains(&bytes);
    fits.then(|| (bytes / ALIGN).trailing_zeros() as usize)
}

impl Reused {
    fn take(&mut self, bytes: usize, ledger: &ChunkLedger) -> AlignedBuf {
        let kept = class_of(bytes).and_then(|class| self.classes[class].pop());
        if let Some((buf, keeper)) = kept {
            keeper.kept_no_more(bytes);
            return buf;
        }
        self.trim(ledger.excess(bytes));
        AlignedBuf::zeroed(bytes)
    }

    /// Frees at least `bytes` of what is kept, as far as there is that much: the largest first, which are the fewest.
    fn trim(&mut self, bytes: usize) {
        let mut freed = 0;
        for class in self.classes.iter_mut().rev() {
            while freed < bytes
                && let Some((buf, keeper)) = class.pop()
            {
                freed += buf.capacity();
                keeper.kept_no_more(buf.capacity());
            }
        }
    }

    fn keep(&mut self, buf: AlignedBuf, home: &Arc<ChunkLedger>) {
        let bytes = buf.capacity();
        if let Some(class) = class_of(bytes)
            && home.is_at_home()
            && home.excess(bytes) == 0
        {
            home.kept(bytes);
            self.classes[class].push((buf, Arc::clone(home)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::TailChunk;

    const KIB: usize = 1024;

    #[test]
    fn live_and_kept_memory_together_stay_within_the_budget() {
        // A thread of its own: other tests make chunks as well.
        std::thread::spawn(|| {
            let ledger = ledger();
            ledger.set_budget(64 * KIB);
            let chunks: Vec<_> = (0..4).map(|_| TailChunk::with_capacity(32 * KIB)).collect();
            assert_eq!((ledger.live_bytes(), ledger.kept_bytes()), (128 * KIB, 0), "what is needed is given");
            drop(chunks);
            assert_eq!((ledger.live_bytes(), ledger.kept_bytes()), (0, 64 * KIB), "but no more than that is kept");
            let _small = TailChunk::with_capacity(4 * KIB);
            assert_eq!((ledger.live_bytes(), ledger.kept_bytes()), (4 * KIB, 32 * KIB), "other sizes make room");
        })
        .join()
        .expect("the thread ends well");
    }

    #[test]
    fn a_chunk_counts_until_its_last_slice_is_gone_whichever_thread_drops_it() {
        std::thread::spawn(|| {
            let ledger = ledger();
            let mut chunk = TailChunk::with_capacity(8 * KIB);
            chunk.append(&[1; 100]);
            let slice = chunk.slice(0..100);
            drop(chunk);
            assert_eq!(ledger.live_bytes(), 8 * KIB);
            std::thread::spawn(move || drop(slice)).join().expect("the thread ends well");
            assert_eq!((ledger.live_bytes(), ledger.kept_bytes()), (0, 0));
        })
        .join()
        .expect("the thread ends well");
    }
}
