//! From the log of a partition of `__consumer_offsets` to its groups. Owns the reading; what a record does is decided in
//! `broker/core`. Lives on the shard that owns the partition.

use ouzel_broker_core::group::{GroupConfig, GroupCoordinator};
use ouzel_protocol::batch::batches;
use ouzel_protocol::kafka::StoredGroupRecord;
use ouzel_protocol::records::{DecodeLimits, DecodedBatch};
use ouzel_protocol::{BatchError, ErrorCode, Offset};
use ouzel_storage::StorageError;

use super::records;
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

/// Reads the whole log. Records that mean nothing here are passed over and counted in the log.
pub(super) async fn groups(
    state: &ShardState,
    at: PartitionRef,
    config: GroupConfig,
) -> Result<GroupCoordinator, LoadError> {
    let partition_id = state.topics.owned(at).map_err(LoadError::NotHere)?.partition_id;
    let (mut offset, end) = (state.store.log_start(partition_id)?, state.store.durable_end(partition_id)?);
    let mut groups = GroupCoordinator::new(config);
    let (mut record_count, mut skipped_count) = (0_u64, 0_u64);
    while offset < end {
        let plan = state.store.plan_read(partition_id, offset, limits::GROUP_LOAD_BYTES, true)?;
        let pieces = state.store.read(plan).await?;
        let bytes = pieces.concat();
        let from = offset;
        for batch in batches(&bytes) {
            let error = |error| LoadError::Batch { offset, error };
            let (header, batch) = batch.map_err(error)?;
            let decoded = DecodedBatch::decode_checked(header, batch, &DecodeLimits::default()).map_err(error)?;
            for record in decoded.records() {
                let record = record.map_err(error)?;
                record_count += 1;
                if !apply(&mut groups, record.key, record.value) {
                    skipped_count += 1;
                }
            }
            offset = header.base_offset + u64::from(header.last_offset_delta) + 1;
            state.shard.yield_now().await;
        }
        if offset == from {
            return Err(LoadError::Short { offset, end });
        }
    }
    if record_count > 0 {
        tracing::info!(
            shard = state.index.0,
            partition = at.partition.0,
            records = record_count,
            skipped = skipped_count,
            groups = groups.group_count(),
            offsets = groups.offset_count(),
            "groups were loaded"
        );
    }
    Ok(groups)
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
