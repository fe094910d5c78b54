//! Which partitions have how much to flush: what memory pressure takes first. Lives on the owner shard.
//!
//! Partitions are ranked by powers of two of their flushable bytes and wait in their rank in order of arrival, so the
//! biggest go first and among equals the oldest. An entry is a hint: a partition's rank is computed again when its turn
//! comes. Each partition stands at most once in each rank, so the queues are bounded by the partitions.

use std::cell::RefCell;
use std::collections::VecDeque;

use ouzel_protocol::PartitionId;

use crate::config::BLOCK;

/// Ranks: one block, two blocks, four, ... The last one holds everything from 128 MiB on.
const RANKS: usize = 16;

/// In which ranks a partition stands, and the highest it reached since its last turn.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ranked {
    queued: u16,
    highest: u8,
}

/// See the module.
#[derive(Default)]
pub(crate) struct FlushRanks(RefCell<[VecDeque<PartitionId>; RANKS]>);

/// Rank of a number of flushable bytes, from 1; 0 for less than a block.
fn rank_of(bytes: u64) -> u8 {
    match bytes / BLOCK as u64 {
        0 => 0,
        blocks => (blocks.ilog2() + 1).min(RANKS as u32) as u8,
    }
}

impl FlushRanks {
    /// A partition has grown to `bytes` flushable bytes. Cheap unless they passed a power of two.
    pub(crate) fn note(&self, id: PartitionId, ranked: &mut Ranked, bytes: u64) {
        let rank = rank_of(bytes);
        if rank <= ranked.highest {
            return;
        }
        ranked.highest = rank;
        self.enter(id, ranked, rank);
    }

    fn enter(&self, id: PartitionId, ranked: &mut Ranked, rank: u8) {
        let slot = usize::from(rank - 1);
        if ranked.queued & (1 << slot) == 0 {
            ranked.queued |= 1 << slot;
            self.0.borrow_mut()[slot].push_back(id);
        }
    }

    /// Takes the front of the highest rank. The caller hands the partition's state to [`FlushRanks::settle`].
    pub(crate) fn pop(&self) -> Option<(PartitionId, RankSlot)> {
        let mut ranks = self.0.borrow_mut();
        ranks
            .iter_mut()
            .enumerate()
            .rev()
            .find_map(|(slot, rank)| rank.pop_front().map(|id| (id, RankSlot(slot as u8))))
    }

    /// Whether the entry said true: the partition still has about as much to flush. If not, it enters the rank it has.
    pub(crate) fn settle(&self, id: PartitionId, ranked: &mut Ranked, slot: RankSlot, bytes: u64) -> bool {
        ranked.queued &= !(1 << slot.0);
        let rank = rank_of(bytes);
        if rank > slot.0 {
            ranked.highest = 0;
            return true;
        }
        ranked.highest = rank;
        if rank > 0 {
            self.enter(id, ranked, rank);
        }
        false
    }
}

/// The queue that an entry came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RankSlot(u8);

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;

    #[test]
    fn the_biggest_come_first_and_among_equals_the_oldest() {
        let ranks = FlushRanks::default();
        let mut ranked = [Ranked::default(); 4];
        for (index, kib) in [(0, 40), (1, 4), (2, 33), (3, 500)] {
            ranks.note(PartitionId(index), &mut ranked[index as usize], kib * KIB);
        }
        let order: Vec<u64> = std::iter::from_fn(|| ranks.pop()).map(|(id, _)| id.0).collect();
        assert_eq!(order, [3, 0, 2, 1]);
    }

    #[test]
    fn an_entry_that_is_out_of_date_moves_to_where_the_partition_stands() {
        let ranks = FlushRanks::default();
        let mut ranked = Ranked::default();
        ranks.note(PartitionId(7), &mut ranked, 100 * KIB);
        let (id, slot) = ranks.pop().expect("one entry");
        assert!(!ranks.settle(id, &mut ranked, slot, 5 * KIB), "it was flushed meanwhile");
        let (id, slot) = ranks.pop().expect("it stands in its own rank");
        assert!(ranks.settle(id, &mut ranked, slot, 5 * KIB));
        assert!(ranks.pop().is_none());
        ranks.note(id, &mut ranked, 9 * KIB);
        assert!(ranks.pop().is_some(), "after its turn it is ranked afresh");
    }

    #[test]
    fn a_partition_stands_once_in_each_rank() {
        let ranks = FlushRanks::default();
        let mut ranked = Ranked::default();
        for _ in 0..100 {
            ranks.note(PartitionId(1), &mut ranked, 9 * KIB);
            // Flushed by somebody else, and grown again.
            ranked.highest = 0;
        }
        assert!(ranks.pop().is_some() && ranks.pop().is_none());
    }
}
