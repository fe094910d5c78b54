//! From the log of a partition of `__consumer_offsets` to its groups, with the snapshot of them where there is one. Owns the
//! reading; what a record does is decided in `broker/core`. Lives on the shard that owns the partition.

use ouzel_broker_core::group::{GroupConfig, GroupCoordinator};
use ouzel_protocol::batch::{batches, check_batch};
use ouzel_protocol::kafka::StoredGroupRecord;
use ouzel_protocol::records::{DecodeLimits, DecodedBatch};
use ouzel_protocol::{BatchError, BatchHeader, ErrorCode, Offset, PartitionId};
use ouzel_storage::StorageError;
use ouzel_storage::format::FormatError;

use super::records;
use super::snapshot::{SnapshotError, SnapshotReader};
use crate::lanes::PartitionRef;
use crate::limits;
use crate::shard::ShardState;

/// Why the groups of a partition could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("the partition is not here: {0:?}")]
    NotHere(ErrorCode),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("batch at offset {offset}: {error}")]
    Batch { offset: Offset, error: BatchError },
    #[error("nothing could be read at offset {offset}, and the log ends at {end}")]
    Short { offset: Offset, end: Offset },
}

/// The groups of a partition, and what was read for them.
pub(super) struct Loaded {
    pub(super) groups: GroupCoordinator,
    /// Bytes of the log, behind the snapshot.
    pub(super) tail_bytes: u64,
    /// Bytes of the snapshot; 0 where there was none of use.
    pub(super) snapshot_bytes: u64,
    record_count: u64,
    skipped_count: u64,
}

/// Reads the snapshot and what the log has behind it, or the whole log. Records that mean nothing here are passed over and
/// counted in the log.
pub(super) async fn groups(state: &ShardState, at: PartitionRef, config: GroupConfig) -> Result<Loaded, LoadError> {
    let partition_id = state.topics.owned(at).map_err(LoadError::NotHere)?.partition_id;
    let (start, end) = (state.store.log_start(partition_id)?, state.store.durable_end(partition_id)?);
    let (mut loaded, from) = match from_snapshot(state, partition_id, (start, end), config).await {
        Ok(Some(from_snapshot)) => from_snapshot,
        Ok(None) => (Loaded::new(config), start),
        Err(error) => {
            let (shard, partition) = (state.index.0, at.partition.0);
            tracing::warn!(shard, partition, %error, "a snapshot of groups is passed over: the whole log is read");
            (Loaded::new(config), start)
        }
    };
    let snapshot_records = loaded.record_count;
    loaded.read_log(state, partition_id, from, end).await?;
    if loaded.record_count > 0 {
        tracing::info!(
            shard = state.index.0,
            partition = at.partition.0,
            snapshot_records,
            log_records = loaded.record_count - snapshot_records,
            skipped = loaded.skipped_count,
            groups = loaded.groups.group_count(),
            offsets = loaded.groups.offset_count(),
            "groups were loaded"
        );
    }
    Ok(loaded)
}

/// What the snapshot tells, and where the log goes on; `None` where there is none.
async fn from_snapshot(
    state: &ShardState,
    partition_id: PartitionId,
    (start, end): (Offset, Offset),
    config: GroupConfig,
) -> Result<Option<(Loaded, Offset)>, SnapshotError> {
    let opened = SnapshotReader::open(&state.shard.fs(), state.store.data_dir(), partition_id).await?;
    let Some(mut reader) = opened else { return Ok(None) };
    let offset = reader.offset();
    if offset > end {
        return Err(FormatError::new("offset of a snapshot of groups, at most", end.0, offset.0).into());
    }
    if offset < start {
        // Records behind it are gone, and what they changed with them.
        return Err(FormatError::new("offset of a snapshot of groups, at least", start.0, offset.0).into());
    }
    let mut loaded = Loaded::new(config);
    loaded.snapshot_bytes = reader.file_bytes();
    let mut batch_count = 0;
    loop {
        let mut consumed = 0;
        let Some(bytes) = reader.read().await? else { return Ok(Some((loaded, offset))) };
        for batch in batches(bytes) {
            let error = |error| SnapshotError::Batch { batch: batch_count, error };
            let (_, batch) = batch.map_err(error)?;
            let header = check_batch(batch).map_err(error)?;
            loaded.apply_batch(state, header, batch).await.map_err(error)?;
            consumed += batch.len();
            batch_count += 1;
        }
        reader.consume(consumed);
    }
}

impl Loaded {
    fn new(config: GroupConfig) -> Self {
        let groups = GroupCoordinator::new(config);
        Self { groups, tail_bytes: 0, snapshot_bytes: 0, record_count: 0, skipped_count: 0 }
    }

    async fn read_log(
        &mut self,
        state: &ShardState,
        partition_id: PartitionId,
        from: Offset,
        end: Offset,
    ) -> Result<(), LoadError> {
        let mut offset = from;
        while offset < end {
            let plan = state.store.plan_read(partition_id, offset, limits::GROUP_LOAD_BYTES, true)?;
            let pieces = state.store.read(plan).await?;
            let bytes = pieces.concat();
            let from = offset;
            for batch in batches(&bytes) {
                let error = |error| LoadError::Batch { offset, error };
                let (header, batch) = batch.map_err(error)?;
                self.apply_batch(state, header, batch).await.map_err(error)?;
                self.tail_bytes += batch.len() as u64;
                offset = header.base_offset + u64::from(header.last_offset_delta) + 1;
            }
            if offset == from {
                return Err(LoadError::Short { offset, end });
            }
        }
        Ok(())
    }

    /// Takes in a batch whose checksum holds; others have their turn in between.
    async fn apply_batch(&mut self, state: &ShardState, header: BatchHeader, batch: &[u8]) -> Result<(), BatchError> {
        let decoded = DecodedBatch::decode_checked(header, batch, &DecodeLimits::default())?;
        for record in decoded.records() {
            let record = record?;
            self.record_count += 1;
            self.skipped_count += u64::from(!apply(&mut self.groups, record.key, record.value));
            if self.record_count.is_multiple_of(limits::GROUP_LOAD_RECORDS) {
                state.shard.yield_now().await;
            }
        }
        Ok(())
    }
}

/// Takes in one record; whether it meant anything.
fn apply(groups: &mut GroupCoordinator, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
    let Some(key) = key else { return false };
    match StoredGroupRecord::decode(key, value) {
        Ok(Some(stored)) => match records::meaning(stored).map(|record| groups.apply(record)) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                tracing::warn!(%error, "a record of a group was passed over");
                false
            }
            None => false,
        },
        Ok(None) => false,
        Err(error) => {
            tracing::warn!(%error, "a record of a group was passed over");
            false
        }
    }
}
