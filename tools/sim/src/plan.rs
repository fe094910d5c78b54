//! What one round does, drawn from its seed: limits so small that everything rolls and wraps, the load, and how each
//! life of the node ends. Owns no state and runs nothing.

use ouzel_storage::{ProducerLimits, StoreConfig};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const KIB: usize = 1024;

/// Partitions of a node at once.
pub(crate) const PARTITIONS_MAX: usize = 12;

/// How one life of the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The power goes at this disk event, or when the load is over.
    PowerCut(u64),
    /// The process dies at this disk event, or when the load is over.
    Kill(u64),
    /// An orderly stop.
    Close,
}

/// One life of the node, from start to end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifePlan {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) end: End,
    /// Batches to send; 0 only reads.
    pub(crate) batches: u32,
    pub(crate) producers: u32,
    pub(crate) readers: u32,
    /// Truncations, log-start moves, topics created, dropped and altered.
    pub(crate) changes: u32,
    /// Unacknowledged batches a producer may have.
    pub(crate) in_flight: usize,
    /// Longest pause of a producer between batches, in microseconds of the fake clock; 0 for none.
    pub(crate) pause_us_max: u64,
}

/// One round.
#[derive(Clone, Debug)]
pub(crate) struct RoundPlan {
    pub(crate) store: StoreConfig,
    pub(crate) segment_bytes: u64,
    pub(crate) topics: u32,
    pub(crate) batch_bytes_typical: usize,
    /// Of 64 batches, how many are larger than one commit.
    pub(crate) large_of_64: u32,
    /// Of 8 topics, how many are at `written`.
    pub(crate) written_of_8: u32,
    pub(crate) lives: Vec<LifePlan>,
}

impl RoundPlan {
    pub(crate) fn draw(seed: u64) -> RoundPlan {
        let mut rng = SmallRng::seed_from_u64(seed);
        let commit_bytes_max = [8, 16, 32][rng.random_range(0..3usize)] * KIB;
        // Small enough to come round often; large enough that the file producers leave free holds a carry of every
        // partition, and that the end of a file too short for a commit is not most of it.
        let file_bytes = (commit_bytes_max * 8).max([128, 192, 256][rng.random_range(0..3usize)] * KIB);
        let files = rng.random_range(4..=6usize);
        let journal_bytes_max = file_bytes * files;
        let dirty_bytes_max = rng.random_range(2..=8usize) * 64 * KIB;
        let store = StoreConfig {
            journal_bytes_max: journal_bytes_max as u64,
            journal_file_bytes: file_bytes as u64,
            commit_bytes_max,
            dirty_bytes_max,
            cache_bytes_max: dirty_bytes_max + rng.random_range(0..8usize) * 64 * KIB,
            segments_open_max: rng.random_range(2..=16),
            syncs_apart_max: [0, 2, usize::MAX][rng.random_range(0..3usize)],
            seal_after_ms: rng.random_range(1..=100),
            producers_max: 1024,
            producers: ProducerLimits::default(),
        };
        store.assert_sane();
        let lives = rng.random_range(4..=8usize);
        let mut shards = rng.random_range(1..=3u16);
        let lives = (0..lives)
            .map(|_| {
                if rng.random_bool(0.3) {
                    shards = rng.random_range(1..=4);
                }
                LifePlan::draw(&mut rng, shards)
            })
            .collect();
        RoundPlan {
            store,
            segment_bytes: [64, 96, 128][rng.random_range(0..3usize)] * KIB as u64,
            topics: rng.random_range(1..=5),
            batch_bytes_typical: [200, 2 * KIB, 6 * KIB][rng.random_range(0..3usize)],
            large_of_64: [0, 1, 4][rng.random_range(0..3usize)],
            written_of_8: [0, 2, 4, 8][rng.random_range(0..4usize)],
            lives,
        }
    }

    /// Bytes of the next batch.
    pub(crate) fn batch_bytes(&self, rng: &mut SmallRng) -> usize {
        if rng.random_range(0..64) < self.large_of_64 {
            let most = (self.store.commit_bytes_max * 5).min(self.store.journal_bytes_max as usize / 3);
            let most = most.min(self.store.batch_bytes_max());
            return rng.random_range(self.store.commit_bytes_max..=most);
        }
        match rng.random_range(0..8u32) {
            0 => 61,
            1 => rng.random_range(61..=self.batch_bytes_typical * 4),
            _ => rng.random_range(61..=self.batch_bytes_typical.max(62)),
        }
    }
}

impl LifePlan {
    fn draw(rng: &mut SmallRng, shards: u16) -> LifePlan {
        let event = match rng.random_range(0..8u32) {
            // In the middle of a start, often enough in its very first steps.
            0 | 1 => rng.random_range(1..=250),
            2..=5 => rng.random_range(100..=1_500),
            _ => rng.random_range(500..=5_000),
        };
        let end = match rng.random_range(0..8u32) {
            0..=4 => End::PowerCut(event),
            5 | 6 => End::Kill(event),
            _ => End::Close,
        };
        LifePlan {
            seed: rng.random(),
            shards,
            end,
            batches: [0, 30, 200, 600][rng.random_range(0..4usize)],
            producers: rng.random_range(1..=6),
            readers: rng.random_range(0..=3),
            changes: [0, 3, 12][rng.random_range(0..3usize)],
            in_flight: [1, 4, 16][rng.random_range(0..3usize)],
            pause_us_max: [0, 300, 20_000][rng.random_range(0..3usize)],
        }
    }

    /// The life after the last one of a round: starts, reads everything, sends a little and stops in order.
    pub(crate) fn last(seed: u64, shards: u16) -> LifePlan {
        LifePlan {
            seed,
            shards,
            end: End::Close,
            batches: 20,
            producers: 2,
            readers: 1,
            changes: 0,
            in_flight: 4,
            pause_us_max: 300,
        }
    }
}
