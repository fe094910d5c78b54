//! How often values of each size were seen on one core: counts in buckets whose bounds grow by a half and a third in turn
//! (1, 2, 3, 4, 6, 8, 12, ...), so that a quantile is known to within that. Owns the cells and the bounds. Recording is a
//! few instructions and no allocation; cells belong to one core, and what leaves it is a copy, [`HistogramCounts`].

use std::cell::Cell;

use crate::time::Instant;

/// Octaves above 1 that have buckets of their own; 2^25 microseconds are half a minute.
const OCTAVES: usize = 25;
/// Buckets with a bound; one more counts what lies beyond them all.
const BOUND_COUNT: usize = 2 * OCTAVES;

/// Counts of one core.
#[derive(Debug)]
pub struct Histogram {
    counts: [Cell<u64>; BOUND_COUNT + 1],
    sum: Cell<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [const { Cell::new(0) }; BOUND_COUNT + 1], sum: Cell::new(0) }
    }
}

impl Histogram {
    /// Counts a number of things, which is its own size.
    pub fn count(&self, value: u64) {
        self.add(value, value);
    }

    /// Counts the time between two moments, nothing where the later comes first: its bucket goes by microseconds, the sum is
    /// exact to the nanosecond.
    pub fn time(&self, from: Instant, to: Instant) {
        let nanos = to.as_nanos().saturating_sub(from.as_nanos());
        self.add(nanos.div_ceil(1000), nanos);
    }

    fn add(&self, size: u64, exact: u64) {
        if let Some(count) = self.counts.get(bucket(size)) {
            count.set(count.get() + 1);
        }
        self.sum.set(self.sum.get().saturating_add(exact));
    }

    /// What was counted up to now.
    #[must_use]
    pub fn counts(&self) -> HistogramCounts {
        HistogramCounts { counts: self.counts.each_ref().map(Cell::get), sum: self.sum.get() }
    }
}

/// What a histogram had counted at some moment; any core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramCounts {
    counts: [u64; BOUND_COUNT + 1],
    /// Of the values; nanoseconds where they are times.
    pub sum: u64,
}

impl Default for HistogramCounts {
    fn default() -> Self {
        Self { counts: [0; BOUND_COUNT + 1], sum: 0 }
    }
}

impl HistogramCounts {
    /// Adds what another core has counted.
    pub fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound, with how many values do not exceed it; microseconds where they are times.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut below = 0;
        self.counts.iter().take(BOUND_COUNT).enumerate().map(move |(bucket, count)| {
            below += count;
            (bound(bucket), below)
        })
    }
}

/// The first bucket whose bound is not below `size`.
fn bucket(size: u64) -> usize {
    if size <= 1 {
        return 0;
    }
    let below = size - 1;
    let octave = below.ilog2() as usize;
    let is_upper_half = octave > 0 && below >> (octave - 1) & 1 == 1;
    let bucket = if octave == 0 { 1 } else { 2 * octave + usize::from(is_upper_half) };
    bucket.min(BOUND_COUNT)
}

/// The largest size of a bucket that has one.
fn bound(bucket: usize) -> u64 {
    match (bucket / 2, bucket % 2) {
        (0, rest) => 1 + rest as u64,
        (octave, 0) => 3 << (octave - 1),
        (octave, _) => 2 << octave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_falls_into_the_first_bucket_that_holds_it() {
        let bounds: Vec<u64> = (0..BOUND_COUNT).map(bound).collect();
        assert_eq!(bounds.iter().take(8).copied().collect::<Vec<_>>(), [1, 2, 3, 4, 6, 8, 12, 16]);
        assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        assert_eq!(bounds.last(), Some(&(1 << OCTAVES)));
        let sizes = (0..4096).chain(bounds.iter().flat_map(|bound| [bound - 1, *bound, bound + 1])).chain([u64::MAX]);
        for size in sizes {
            let first = bounds.iter().position(|bound| size <= *bound).unwrap_or(BOUND_COUNT);
            assert_eq!(bucket(size), first, "of {size}");
        }
    }

    #[test]
    fn counts_of_two_cores_add_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        for (histogram, nanos) in [(&one, 1500), (&other, 2000), (&other, 3_600_000_000_000)] {
            histogram.time(Instant::from_nanos(7), Instant::from_nanos(7 + nanos));
        }
        one.time(Instant::from_nanos(9), Instant::from_nanos(8));
        let mut both = one.counts();
        both.merge(&other.counts());
        assert_eq!((both.count(), both.sum), (4, 3_600_000_003_500));
        let cumulative: Vec<(u64, u64)> = both.cumulative().collect();
        assert_eq!(cumulative.iter().take(2).copied().collect::<Vec<_>>(), [(1, 1), (2, 3)]);
        assert_eq!(cumulative.last(), Some(&(1 << OCTAVES, 3)), "an hour is beyond every bound");
    }
}
