//! Which partition the next batch goes to: in turn, or drawn so that few get most (Zipf). Owns the draw; deterministic for a
//! lane, so that two runs offer the same. Runs on the generator's thread.

use ouzel_protocol::PartitionIndex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How batches spread over partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Skew {
    /// One after the other.
    #[default]
    Uniform,
    /// Partition n gets 1/(n + 1) of what partition 0 gets.
    Zipf,
}

/// The choices of one lane.
#[derive(Debug)]
pub(crate) struct Picks<'a> {
    partitions: &'a [PartitionIndex],
    turn: usize,
    /// For each partition the weight of it and all before it; empty when they take turns.
    weights: Vec<f64>,
    random: SmallRng,
}

impl<'a> Picks<'a> {
    /// Picks among `partitions`, of which there is one at least.
    pub(crate) fn new(skew: Skew, partitions: &'a [PartitionIndex]) -> Picks<'a> {
        let mut total = 0.0;
        let weights = match skew {
            Skew::Uniform => Vec::new(),
            Skew::Zipf => partitions
                .iter()
                .map(|partition| {
                    total += 1.0 / (f64::from(partition.0) + 1.0);
                    total
                })
                .collect(),
        };
        Picks { partitions, turn: 0, weights, random: SmallRng::seed_from_u64(partitions.len() as u64) }
    }

    /// The partition of the next batch.
    pub(crate) fn next(&mut self) -> PartitionIndex {
        let index = match self.weights.last() {
            None => {
                self.turn += 1;
                (self.turn - 1) % self.partitions.len()
            }
            Some(total) => {
                let drawn = self.random.random_range(0.0..*total);
                self.weights.partition_point(|weight| *weight <= drawn).min(self.partitions.len() - 1)
            }
        };
        self.partitions[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(skew: Skew, partitions: u32, draws: usize) -> Vec<usize> {
        let partitions: Vec<PartitionIndex> = (0..partitions).map(PartitionIndex).collect();
        let mut counts = vec![0; partitions.len()];
        let mut picks = Picks::new(skew, &partitions);
        for _ in 0..draws {
            counts[picks.next().0 as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_takes_turns() {
        assert_eq!(counts(Skew::Uniform, 3, 8), [3, 3, 2]);
    }

    #[test]
    fn zipf_gives_partition_n_its_share() {
        let counts = counts(Skew::Zipf, 100, 100_000);
        // The harmonic number of 100 is 5.187: the first gets 19.3 %, the tenth a tenth of that.
        assert!((18_500..20_100).contains(&counts[0]), "{}", counts[0]);
        assert!((1_700..2_200).contains(&counts[9]), "{}", counts[9]);
        assert!(counts.iter().all(|count| *count > 0));
    }
}
