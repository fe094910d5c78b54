//! Sets of partitions of many topics: what a member has, is to have, is to give back. Owns their order and their algebra. Plain
//! values, any core.

use std::fmt;
use std::sync::Arc;

use ouzel_protocol::{PartitionIndex, TopicId};

/// A partition of a topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition's number.
    pub partition: PartitionIndex,
}

/// A set of partitions, ascending. A clone shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct PartitionSet(Arc<[TopicPartition]>);

impl PartitionSet {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is in it.
    #[must_use]
    pub fn contains(&self, partition: TopicPartition) -> bool {
        self.0.binary_search(&partition).is_ok()
    }

    /// The partitions, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = TopicPartition> + '_ {
        self.0.iter().copied()
    }

    /// The partitions of each topic, both ascending.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &[TopicPartition])> {
        self.0.chunk_by(|a, b| a.topic_id == b.topic_id).map(|chunk| (chunk[0].topic_id, chunk))
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(&self, other: &PartitionSet) -> PartitionSet {
        self.filter(|partition| other.contains(partition))
    }

    /// Those that are not in the other.
    #[must_use]
    pub fn minus(&self, other: &PartitionSet) -> PartitionSet {
        self.filter(|partition| !other.contains(partition))
    }

    /// Those that are in either.
    #[must_use]
    pub fn or(&self, other: &PartitionSet) -> PartitionSet {
        if other.is_empty() { self.clone() } else { self.iter().chain(other.iter()).collect() }
    }

    /// Those that are wanted.
    #[must_use]
    pub fn filter(&self, mut wanted: impl FnMut(TopicPartition) -> bool) -> PartitionSet {
        PartitionSet(self.iter().filter(|partition| wanted(*partition)).collect())
    }
}

impl Default for PartitionSet {
    fn default() -> Self {
        PartitionSet(Arc::from([]))
    }
}

impl FromIterator<TopicPartition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = TopicPartition>>(partitions: I) -> Self {
        let mut list: Vec<TopicPartition> = partitions.into_iter().collect();
        if !list.is_sorted_by(|a, b| a < b) {
            list.sort_unstable();
            list.dedup();
        }
        PartitionSet(list.into())
    }
}

impl fmt::Debug for PartitionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |partition: TopicPartition| format!("{:x}-{}", partition.topic_id.0, partition.partition);
        f.debug_set().entries(self.iter().map(row)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(partitions: &[(u128, u32)]) -> PartitionSet {
        let row =
            |&(topic, partition)| TopicPartition { topic_id: TopicId(topic), partition: PartitionIndex(partition) };
        partitions.iter().map(row).collect()
    }

    #[test]
    fn a_set_has_no_order_and_nothing_twice() {
        assert_eq!(set(&[(2, 0), (1, 5), (2, 0), (1, 3)]), set(&[(1, 3), (1, 5), (2, 0)]));
        assert_eq!(set(&[]), PartitionSet::default());
    }

    #[test]
    fn the_algebra_is_that_of_sets() {
        let (a, b) = (set(&[(1, 0), (1, 1), (2, 0)]), set(&[(1, 1), (3, 0)]));
        assert_eq!(a.and(&b), set(&[(1, 1)]));
        assert_eq!(a.minus(&b), set(&[(1, 0), (2, 0)]));
        assert_eq!(a.or(&b), set(&[(1, 0), (1, 1), (2, 0), (3, 0)]));
        assert!(a.contains(TopicPartition { topic_id: TopicId(2), partition: PartitionIndex(0) }));
        assert!(!b.contains(TopicPartition { topic_id: TopicId(2), partition: PartitionIndex(0) }));
    }

    #[test]
    fn topics_are_rows() {
        let rows: Vec<_> = set(&[(2, 7), (1, 0), (1, 1)]).topics().map(|(topic, rows)| (topic.0, rows.len())).collect();
        assert_eq!(rows, [(1, 2), (2, 1)]);
    }
}
