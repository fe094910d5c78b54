//! The one error type of storage. Each variant names the blame (disk, caller, us) and carries the facts.
//! Mapping to wire error codes stands in the broker, not here.

use std::path::PathBuf;
use std::sync::Arc;

use ouzel_protocol::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence};

/// Why storage refused or failed. Cheap to clone: a failed commit hands the same error to all its waiters.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk failed an operation of this shard; the log is poisoned until the process restarts.
    #[error("log poisoned: {stage} failed on {path}: {source}")]
    Poisoned {
        /// Which operation failed.
        stage: &'static str,
        /// File it failed on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// A read or a start-up operation failed; nothing is poisoned.
    #[error("{stage} failed on {path}: {source}")]
    Io {
        /// Which operation failed.
        stage: &'static str,
        /// File it failed on.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Bytes that must be there are damaged. They are refused, never served and never cut.
    #[error("corrupt {what} in {path} at byte {position}: {detail}")]
    Corrupt {
        /// Kind of structure.
        what: &'static str,
        /// File it stands in.
        path: PathBuf,
        /// Byte position in that file.
        position: u64,
        /// Partitions and offsets concerned, expected and got.
        detail: String,
    },
    /// The disk is full; appends are refused until space is there, without a restart.
    #[error("disk full under {path}: appends are refused until space is freed")]
    DiskFull {
        /// Data directory.
        path: PathBuf,
    },
    /// The partition is not open on this shard.
    #[error("partition {partition} is not open on this shard")]
    UnknownPartition {
        /// Which one.
        partition: PartitionId,
    },
    /// The offset lies outside the log.
    #[error("offset {offset} of partition {partition} is outside {log_start}..={end}")]
    OffsetOutOfRange {
        /// Which partition.
        partition: PartitionId,
        /// Asked for.
        offset: Offset,
        /// First offset kept.
        log_start: Offset,
        /// Offset after the last visible record.
        end: Offset,
    },
    /// The batch is larger than the partition or this shard's budgets allow.
    #[error("batch of {bytes} bytes exceeds the limit of {limit} bytes")]
    BatchTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The batch does not follow the last one of its producer; the producer is at fault, or its earlier batches are lost.
    #[error("producer {producer} of partition {partition} is due to go on at sequence {expected}, got {got}")]
    OutOfOrderSequence {
        /// Which partition.
        partition: PartitionId,
        /// Which producer.
        producer: ProducerId,
        /// Sequence that is due.
        expected: Sequence,
        /// Sequence of the batch.
        got: Sequence,
    },
    /// The batch is in the log, so long that its offset is forgotten.
    #[error("producer {producer} of partition {partition} is past sequence {got}, {expected} is due")]
    DuplicateSequence {
        /// Which partition.
        partition: PartitionId,
        /// Which producer.
        producer: ProducerId,
        /// Sequence that is due.
        expected: Sequence,
        /// Sequence of the batch.
        got: Sequence,
    },
    /// A higher epoch of the producer was here.
    #[error("epoch {got} of producer {producer} of partition {partition} was replaced by epoch {current}")]
    ProducerFenced {
        /// Which partition.
        partition: PartitionId,
        /// Which producer.
        producer: ProducerId,
        /// The epoch that counts.
        current: ProducerEpoch,
        /// The batch's.
        got: ProducerEpoch,
    },
    /// The store is closing.
    #[error("storage is closing")]
    Closing,
}

impl StorageError {
    pub(crate) fn io(stage: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { stage, path: path.to_owned(), source: Arc::new(source) }
    }

    /// The same fault, now fatal for the shard's log.
    pub(crate) fn poison(self) -> Self {
        match self {
            Self::Io { stage, path, source } => Self::Poisoned { stage, path, source },
            other => other,
        }
    }

    /// Whether nothing was changed on the disk and nothing about it became unknown: opening and reading failed. Such a
    /// failure may be tried again; after a failed write or sync nobody knows what the disk holds.
    pub(crate) fn is_read_failure(&self) -> bool {
        match self {
            Self::Io { stage, .. } => ["read", "open", "size"].iter().any(|start| stage.starts_with(start)),
            _ => false,
        }
    }

    /// Whether an operation found no space and changed nothing: it may be tried again once there is some. A log that was
    /// poisoned by that is poisoned like any other: waiting for space would be waiting for ever.
    pub(crate) fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_log_poisoned_for_want_of_space_does_not_wait_for_space() {
        let full = StorageError::io("write checkpoint", Path::new("/d"), ErrorKind::StorageFull.into());
        assert!(full.is_disk_full());
        assert!(!full.poison().is_disk_full());
    }
}
