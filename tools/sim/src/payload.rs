//! The batches the simulator sends: unique by id, recognisable by one hash, of any size. Owns no state.
//! Never looks inside records: storage does not either.

use std::hash::{DefaultHasher, Hasher};

use ouzel_protocol::batch::batch_crc;
use ouzel_protocol::{BATCH_HEADER_BYTES, BatchHeader, LeaderEpoch, Magic, Offset, PartitionId, ProducerStamp};

/// What makes a batch this batch, wherever it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BatchId(pub(crate) u64);

/// What a batch read back is compared by: everything but the bytes that an append patches.
pub(crate) fn hash(batch: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(batch.get(16..).unwrap_or_default());
    hasher.write_usize(batch.len());
    hasher.finish()
}

/// The id a stored batch carries.
pub(crate) fn id(header: &BatchHeader) -> BatchId {
    BatchId(header.base_timestamp.cast_unsigned())
}

/// A batch of `records` records and `bytes` bytes in all, its filler drawn from its id and partition.
pub(crate) fn build(
    id: BatchId,
    partition: PartitionId,
    producer: Option<ProducerStamp>,
    records: u32,
    bytes: usize,
) -> (BatchHeader, Vec<u8>) {
    let bytes = bytes.max(BATCH_HEADER_BYTES);
    let (producer_id, producer_epoch, base_sequence) = producer.map_or((-1, -1, -1), ProducerStamp::to_wire);
    let timestamp = id.0.cast_signed();
    let mut header = BatchHeader {
        base_offset: Offset::ZERO,
        batch_length: u32::try_from(bytes - 12).expect("batches are below 64 MiB"),
        leader_epoch: LeaderEpoch::NONE,
        magic: Magic::Kafka2,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count: records,
    };
    let mut batch = header.to_bytes().to_vec();
    let mut word = (id.0 << 20) ^ partition.0 ^ 0x9e37_79b9_7f4a_7c15;
    while batch.len() < bytes {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        let take = (bytes - batch.len()).min(8);
        batch.extend_from_slice(&word.to_le_bytes()[..take]);
    }
    header.crc = batch_crc(&batch);
    batch[17..21].copy_from_slice(&header.crc.to_be_bytes());
    (header, batch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ouzel_protocol::check_batch;

    #[test]
    fn a_batch_is_whole_and_known_by_its_id_after_an_append_patched_it() {
        for bytes in [0, 61, 62, 4096, 70_001] {
            let (header, mut batch) = build(BatchId(77), PartitionId(3), None, 5, bytes);
            assert_eq!(check_batch(&batch), Ok(header));
            let sent = hash(&batch);
            let patch = ouzel_protocol::patched_prefix(&header, Offset(9), LeaderEpoch(4));
            batch[..16].copy_from_slice(&patch);
            let stored = check_batch(&batch).unwrap();
            assert_eq!((id(&stored), hash(&batch)), (BatchId(77), sent));
            assert_eq!(stored.end_offset(), Offset(14));
        }
        let build = |id| build(BatchId(id), PartitionId(1), None, 1, 100).1;
        assert_ne!(build(1), build(2));
    }
}
