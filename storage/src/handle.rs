//! A partition between being looked up and being appended to. Owns no partition; the store does. Lives on the owner shard.

use crate::store::SharedPartition;

/// An open partition, looked up once for several steps on it. Does not keep it open.
#[derive(Clone)]
pub struct PartitionHandle(pub(crate) SharedPartition);

impl PartitionHandle {
    /// An append follows, after other things: its memory is asked for. [`Store::find`](crate::Store::find) did the same for the partition's
    /// own, so leave time between the two.
    pub fn expect_append(&self, bytes: usize) {
        if let Ok(partition) = self.0.try_borrow() {
            partition.prefetch_append(bytes);
        }
    }
}

impl std::fmt::Debug for PartitionHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartitionHandle").finish_non_exhaustive()
    }
}
