//! What a shard does about space: how much it holds in reserve (rule J13), what a full disk makes it do, and when that state
//! ends. Owns no file; the reserve is `reserve.rs`. Lives on the owner shard.
//!
//! Appends are accepted while the reserve covers what they may still cost. At a full disk it is spent on moving what was
//! accepted into segments, and the state ends when it is whole again and something is left beside it.

use std::rc::Rc;
use std::time::Duration;

use crate::config::{BLOCK, PARTITION_BLOCKS};
use crate::core::Core;
use crate::error::StorageError;

/// How often a full disk is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Checkpoints that are covered: two slots, each of which may be written anew and larger.
const CHECKPOINTS: u64 = 4;
/// The reserve is never sized for fewer partitions.
const PARTITIONS_MIN: u64 = 8;

/// What a reserve is measured by.
#[derive(Clone, Copy, Debug)]
struct Duty {
    dirty_bytes: u64,
    /// Partitions with records in memory.
    partitions: u64,
    checkpoint_bytes: u64,
}

impl Core {
    /// Does work that may need space. Where the disk has none left, appends are refused from now on, and the reserve gives
    /// way step by step until the work is done: what it holds was measured by what may still have to be done.
    pub(crate) async fn with_space<T>(
        &self,
        work: impl AsyncFn() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        loop {
            match work().await {
                Err(error) if error.is_disk_full() => {
                    self.set_disk_full(true);
                    if !self.reserve.give_way().await? {
                        return Err(error);
                    }
                }
                settled => return settled,
            }
        }
    }

    /// What the shard has to do at a full disk, with this many dirty bytes, those of promised batches among them.
    fn duty(&self, dirty_bytes: u64) -> Duty {
        Duty {
            dirty_bytes,
            partitions: self.partitions_cached.get() as u64,
            checkpoint_bytes: self.checkpoint_bytes.get() + BLOCK as u64,
        }
    }

    /// Space that must be held for it: the dirty bytes and their partitions' last blocks in segments, checkpoints, one journal
    /// file to go on in and one to start again with.
    fn space_for(&self, duty: Duty) -> u64 {
        let Duty { dirty_bytes, partitions, checkpoint_bytes } = duty;
        let blocks = partitions * PARTITION_BLOCKS * BLOCK as u64;
        let metadata = self.config.reserve_step_bytes();
        dirty_bytes + blocks + CHECKPOINTS * checkpoint_bytes + metadata + 2 * self.spare_bytes_for(partitions)
    }

    /// Whether the reserve covers this many dirty bytes.
    pub(crate) fn is_covered(&self, dirty_bytes: u64) -> bool {
        self.reserve.held() >= self.space_for(self.duty(dirty_bytes))
    }

    /// What must be held for appends to be accepted, those that wait among them.
    fn least_duty(&self) -> Duty {
        let wanted = self.dirty_bytes.get() + self.admission.demand() as u64;
        self.duty(wanted.max(self.config.dirty_covered_min()))
    }

    /// What the reserve should grow to, if it is too small: by doubling, so that a shard that is not busy holds little and one
    /// that is seldom waits for it.
    fn reserve_target(&self) -> Option<u64> {
        let least = self.least_duty();
        let dirty_bytes = (2 * least.dirty_bytes).min(self.config.dirty_bytes_max as u64).max(least.dirty_bytes);
        let partitions = 2 * least.partitions.max(PARTITIONS_MIN);
        let doubled = Duty { dirty_bytes, partitions, checkpoint_bytes: 2 * least.checkpoint_bytes };
        (self.reserve.held() < self.space_for(least)).then(|| self.space_for(doubled))
    }

    /// What the reserve must cover has changed, or somebody waits: whoever waits for it alone would tell nobody.
    pub(crate) fn ask_for_space(&self) {
        if self.admission.has_waiting() && self.reserve_target().is_some() {
            self.space_work.notify_all();
        }
    }

    /// Size of a journal file that a full disk has to make do with: room for the remainder of every partition, which are
    /// what gives another file back.
    pub(crate) fn spare_journal_bytes(&self) -> u64 {
        self.spare_bytes_for(self.partitions_cached.get() as u64)
    }

    fn spare_bytes_for(&self, partitions: u64) -> u64 {
        let commits = 4 * self.config.commit_bytes_max as u64;
        let remainders = 2 * self.config.remainder_bytes(partitions);
        (commits + remainders).next_multiple_of(BLOCK as u64).min(self.config.journal_file_bytes)
    }

    /// Takes in reserve what is missing.
    ///
    /// # Errors
    /// What the disk said; that it is full is a state from now on.
    pub(crate) async fn fill_reserve(&self) -> Result<(), StorageError> {
        let Some(target) = self.reserve_target() else { return Ok(()) };
        let mut grown = self.reserve.grow_to(target).await;
        if grown.as_ref().is_err_and(StorageError::is_disk_full) {
            // Without what would spare the next steps.
            grown = self.reserve.grow_to(self.space_for(self.least_duty())).await;
        }
        self.settled(grown)?;
        self.admit();
        Ok(())
    }

    /// Whether there is space beside the reserve.
    async fn has_space(&self) -> bool {
        match self.shard.fs().free_bytes(&self.data_dir).await {
            Ok(free) => free >= self.config.free_bytes_min(),
            Err(error) => {
                // Said by whoever needs the disk next.
                tracing::debug!(shard = self.shard_index, %error, "the free space is not known");
                false
            }
        }
    }
}

/// Keeps the reserve as large as it must be, and ends the state of a full disk. Runs until the store stops.
pub(crate) async fn space_watch(core: Rc<Core>) {
    while !core.is_poisoned() && !core.journal_ended.get() {
        if core.disk_full.get() {
            core.shard.sleep(LOOK).await;
        }
        match core.fill_reserve().await {
            Ok(()) if core.disk_full.get() && core.has_space().await => core.set_disk_full(false),
            Ok(()) if !core.disk_full.get() && core.reserve_target().is_none() => core.space_work.notified().await,
            Ok(()) => {}
            // A state by now, or the end of the log.
            Err(error) => tracing::debug!(shard = core.shard_index, %error, "the reserve is not whole"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ouzel_protocol::batch::parse_header;
    use ouzel_protocol::records::{BatchBuilder, Dialect};
    use ouzel_protocol::{Codec, Durability, Incarnation, LeaderEpoch, PartitionId, ShardIndex};
    use ouzel_runtime::sim::{SimDisk, SimOutcome, run_sim};
    use ouzel_runtime::timeout_at;

    use crate::admission::Reservation;
    use crate::config::{PartitionConfig, StoreConfig};
    use crate::store::Store;

    use super::*;

    const KIB: usize = 1024;

    fn config() -> StoreConfig {
        StoreConfig { commit_bytes_max: 8 * KIB, ..StoreConfig::for_shard(1024 * KIB as u64, 256 * KIB) }
    }

    fn append(store: &Store, reservation: Reservation, partition: u64, value_bytes: usize) {
        let mut builder = BatchBuilder::new(Dialect::Kafka2, Codec::None, None);
        builder.push(1, None, Some(&vec![7; value_bytes]), &[]);
        let batch = builder.build().expect("a batch");
        let header = parse_header(&batch).expect("own batch");
        store.append(reservation, PartitionId(partition), LeaderEpoch(1), &header, &batch).expect("appended");
    }

    #[test]
    fn a_producer_who_waits_for_memory_and_then_for_the_reserve_is_let_in() {
        let outcome = run_sim(1, SimDisk::new(1), |shard| async move {
            let (data_dir, index, incarnation) = (Path::new("/data"), ShardIndex(0), Incarnation(1));
            let store = Store::create(&shard, data_dir, index, incarnation, 1, config(), Vec::new());
            let store = store.await.expect("created");
            store.begin();
            let partition = PartitionConfig {
                durability: Durability::Disk,
                flush_interval_ms: 5,
                segment_bytes: 1024 * KIB as u64,
                batch_bytes_max: 64 * KIB as u32,
            };
            (0..60).for_each(|id| store.open_partition(PartitionId(id), partition.clone()));
            let mut small = Vec::new();
            for _ in 1..60 {
                small.push(store.reserve(200).await.expect("room"));
            }
            while store.stats().dirty_bytes < 96 * KIB as u64 {
                append(&store, store.reserve(9 * KIB).await.expect("room"), 0, 8 * KIB);
            }
            let waiting = store.clone();
            let task = shard.spawn(async move { drop(waiting.reserve(60 * KIB).await.expect("room")) });
            for _ in 0..4 {
                shard.yield_now().await;
            }
            // The reserve covered everybody when the producer began to wait. It does no more when there is memory.
            for (id, reservation) in (1..).zip(small) {
                append(&store, reservation, id, 60);
            }
            timeout_at(&shard, shard.now() + Duration::from_secs(60), task.join()).await.is_ok()
        });
        assert_eq!(outcome, SimOutcome::Done(true));
    }
}
