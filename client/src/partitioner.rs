//! Which partition a record goes to that does not say. Owns the choice; never knows which partitions are healthy, never
//! draws randomness that its state was not seeded with. Pure.

use std::fmt;
use std::sync::Arc;

use ouzel_protocol::PartitionIndex;
use ouzel_protocol::partitioning::partition_for_key;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Chooses from key, value and the count of partitions.
pub type CustomPartitioner = dyn Fn(Option<&[u8]>, Option<&[u8]>, u32) -> PartitionIndex + Send + Sync;

/// How partitions are chosen.
#[derive(Clone, Default)]
pub enum Partitioner {
    /// By murmur2 of the key, as Kafka's Java client, so that a key has one partition whoever writes it. Records without a
    /// key stick to one partition until a batch of it is full, then to another: full batches instead of many small ones.
    #[default]
    KeyOrSticky,
    /// One partition after the other, keys or not.
    RoundRobin,
    /// The caller's function. A partition that the topic does not have fails the record.
    Custom(Arc<CustomPartitioner>),
}

impl Partitioner {
    /// A partitioner from a function of key, value and partition count.
    pub fn custom(
        choose: impl Fn(Option<&[u8]>, Option<&[u8]>, u32) -> PartitionIndex + Send + Sync + 'static,
    ) -> Partitioner {
        Partitioner::Custom(Arc::new(choose))
    }
}

impl fmt::Debug for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Partitioner::KeyOrSticky => "KeyOrSticky",
            Partitioner::RoundRobin => "RoundRobin",
            Partitioner::Custom(_) => "Custom",
        })
    }
}

/// What the choice remembers from record to record of one topic.
#[derive(Debug)]
pub(crate) struct PartitionerState {
    rng: SmallRng,
    sticky: u32,
    sticky_bytes: usize,
    next: u32,
}

impl PartitionerState {
    pub(crate) fn new(seed: u64) -> PartitionerState {
        let mut rng = SmallRng::seed_from_u64(seed);
        PartitionerState { sticky: rng.random(), next: rng.random(), sticky_bytes: 0, rng }
    }

    /// Chooses among `count` partitions, at least one, for a record of `bytes`. `batch_bytes` is what a sticky partition
    /// takes before the next one's turn.
    pub(crate) fn choose(
        &mut self,
        partitioner: &Partitioner,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        count: u32,
        bytes: usize,
        batch_bytes: usize,
    ) -> PartitionIndex {
        let count = count.max(1);
        match (partitioner, key) {
            (Partitioner::KeyOrSticky, Some(key)) => partition_for_key(key, count),
            (Partitioner::KeyOrSticky, None) => {
                if self.sticky_bytes >= batch_bytes {
                    self.move_on(count);
                }
                self.sticky_bytes = self.sticky_bytes.saturating_add(bytes);
                PartitionIndex(self.sticky % count)
            }
            (Partitioner::RoundRobin, _) => {
                self.next = self.next.wrapping_add(1) % count;
                PartitionIndex(self.next)
            }
            (Partitioner::Custom(choose), key) => choose(key, value, count),
        }
    }

    /// A batch of `partition` went out: if it is the sticky one, it is another's turn.
    pub(crate) fn batch_closed(&mut self, partition: PartitionIndex, count: u32) {
        if self.sticky % count.max(1) == partition.0 {
            self.move_on(count.max(1));
        }
    }

    /// Any partition but the present one, if there is another.
    fn move_on(&mut self, count: u32) {
        let step = if count > 1 { self.rng.random_range(1..count) } else { 0 };
        self.sticky = (self.sticky % count + step) % count;
        self.sticky_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(state: &mut PartitionerState, by: &Partitioner, key: Option<&[u8]>) -> u32 {
        state.choose(by, key, None, 6, 100, 1000).0
    }

    #[test]
    fn a_key_always_has_the_partition_that_javas_client_gives_it() {
        let mut state = PartitionerState::new(1);
        let java = (-790_332_482_i32 as u32 & 0x7fff_ffff) % 6;
        for _ in 0..10 {
            assert_eq!(choose(&mut state, &Partitioner::KeyOrSticky, Some(b"foobar")), java);
        }
    }

    #[test]
    fn records_without_a_key_stick_until_a_batch_is_full_and_reach_every_partition() {
        let mut state = PartitionerState::new(7);
        let chosen: Vec<u32> = (0..1000).map(|_| choose(&mut state, &Partitioner::KeyOrSticky, None)).collect();
        for batch in chosen.chunks(10) {
            assert!(batch.iter().all(|partition| *partition == batch[0]), "{batch:?}");
        }
        for pair in chosen.chunks(10).collect::<Vec<_>>().windows(2) {
            assert_ne!(pair[0][0], pair[1][0]);
        }
        assert!((0..6).all(|partition| chosen.contains(&partition)));
    }

    #[test]
    fn a_batch_that_goes_out_early_ends_the_stickiness() {
        let mut state = PartitionerState::new(7);
        let first = choose(&mut state, &Partitioner::KeyOrSticky, None);
        state.batch_closed(PartitionIndex((first + 1) % 6), 6);
        assert_eq!(choose(&mut state, &Partitioner::KeyOrSticky, None), first);
        state.batch_closed(PartitionIndex(first), 6);
        assert_ne!(choose(&mut state, &Partitioner::KeyOrSticky, None), first);
    }

    #[test]
    fn round_robin_takes_every_partition_in_turn() {
        let mut state = PartitionerState::new(3);
        let mut chosen: Vec<u32> = (0..6).map(|_| choose(&mut state, &Partitioner::RoundRobin, Some(b"k"))).collect();
        chosen.sort_unstable();
        assert_eq!(chosen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_custom_function_sees_key_and_count() {
        let by = Partitioner::custom(|key, _, count| PartitionIndex(u32::from(key.map_or(0, |key| key[0])) % count));
        assert_eq!(choose(&mut PartitionerState::new(0), &by, Some(&[10])), 4);
    }
}
